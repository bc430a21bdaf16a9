/* A device behind a UART with a ring of 64 bytes:
 *
 *     modem_device FD FAMILY PORT SERIAL TOKEN DIR MAX_FRAME LIMIT ATTEMPTS BUSY
 *
 * FD is the UART's other end; FAMILY a modem's, or "uart" for a transparent line. The device looks at its ring often
 * enough that no more than 32 bytes gather there; but if BUSY is 1, it was busy whenever more than 150 wait, and all of
 * them are put there. Prints how each session ended, and how many connections lost bytes. */
#define _GNU_SOURCE

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "cvm_modem.h"
#include "posix_port.h"

static struct posix_port flash;
static struct cvm_modem modem;
static const char *family;
static int fd, busy;

enum { GATHER = 32, FLOOD = 150 };

static void interrupts(void)
{
    const uint8_t gathered = (uint8_t)(modem.uart.put - modem.uart.taken);
    uint8_t bytes[4096];
    ssize_t i, got;
    int waiting = 0;

    if (busy && ioctl(fd, FIONREAD, &waiting) == 0 && waiting > FLOOD) {
        got = read(fd, bytes, sizeof bytes);
    } else if (gathered < GATHER) {
        got = read(fd, bytes, GATHER - gathered);
    } else {
        return;
    }
    for (i = 0; i < got; i++) {
        cvm_uart_put(&modem.uart, bytes[i]);
    }
    if (got == 0) {
        exit(1); /* the test has ended */
    }
}

static void sleep_until_bytes_come(void)
{
    struct pollfd ready = {fd, POLLIN, 0};

    poll(&ready, 1, 100);
    interrupts();
}

static void write_all(void *user, const void *bytes, size_t size)
{
    const uint8_t *each = (const uint8_t *)bytes;

    (void)user;
    while (size > 0) {
        const ssize_t done = write(fd, each, size);

        if (done > 0) {
            each += done;
            size -= (size_t)done;
        }
    }
}

static int on_send(void *user, const uint8_t *bytes, size_t size)
{
    (void)user;
    interrupts();
    if (modem.commands != NULL) {
        return cvm_modem_send(&modem, bytes, size);
    }
    write_all(NULL, bytes, size);
    return (int)size;
}

static int on_receive(void *user, uint8_t *bytes, size_t size)
{
    (void)user;
    interrupts();
    return modem.commands != NULL ? cvm_modem_receive(&modem, bytes, size) : cvm_uart_receive(&modem.uart, bytes, size);
}

static uint32_t on_now_ms(void *user)
{
    (void)user;
    return posix_port.now_ms(&flash);
}

static bool connected(void)
{
    int stands;

    if (modem.commands == NULL) {
        interrupts();
        cvm_uart_open(&modem.uart);
        return true;
    }
    while ((stands = cvm_modem_connect(&modem)) == 0) {
        sleep_until_bytes_come();
    }
    return stands > 0;
}

static enum cvm_status one_session(struct cvm_session *session)
{
    enum cvm_status status = cvm_start(session);

    if (status == CVM_CALL_AGAIN && !connected()) {
        status = cvm_lost(session);
    }
    while (status <= CVM_CALL_LATER) {
        if (status == CVM_CALL_LATER) {
            sleep_until_bytes_come();
        }
        status = cvm_step(session);
    }
    if (modem.commands != NULL) {
        cvm_modem_disconnect(&modem);
    }
    return status;
}

static const struct cvm_modem_commands *commands_of(const char *name)
{
    return strcmp(name, "sim800") == 0    ? &cvm_modem_sim800
           : strcmp(name, "sim7600") == 0 ? &cvm_modem_sim7600
           : strcmp(name, "bg96") == 0    ? &cvm_modem_bg96
           : strcmp(name, "esp-at") == 0  ? &cvm_modem_esp_at
                                          : NULL;
}

int main(int count, char **words)
{
    static uint8_t buffer[512], token[CVM_MAX_TOKEN];
    static struct cvm_session session;
    static struct cvm_device device;
    struct cvm_port port = posix_port;
    enum cvm_status status = CVM_LINE;
    uint8_t record[CVM_RECORD_SIZE];
    const char *text;
    unsigned value;
    int left, lossy = 0;

    if (count != 11) {
        return 2;
    }
    busy = atoi(words[10]);
    fd = atoi(words[1]);
    family = words[2];
    fcntl(fd, F_SETFL, O_NONBLOCK);
    modem.commands = commands_of(family);
    modem.host = "127.0.0.1";
    modem.port = (uint16_t)atoi(words[3]);
    modem.write = write_all;
    modem.now_ms = on_now_ms;
    device.serial = words[4];
    device.serial_size = (uint8_t)strlen(words[4]);
    for (text = words[5]; sscanf(text, "%2x", &value) == 1; text += 2) {
        token[device.token_size++] = (uint8_t)value;
    }
    device.token = token;
    device.buffer = buffer;
    device.buffer_size = sizeof buffer;
    device.max_frame = (uint16_t)atoi(words[7]);
    device.limit = (uint16_t)atoi(words[8]);
    device.want = 1u << CVM_KIND_CERTIFICATE | 1u << CVM_KIND_KEY_SEC1_PKCS1 | 1u << CVM_KIND_THING_NAME;
    device.room = CVM_MAX_BUNDLE;
    device.max_wait_s = 60;
    port.send = on_send;
    port.receive = on_receive;
    if (posix_port_open(&flash, words[6], record) != 0) {
        return 2;
    }
    cvm_init(&session, &port, &flash, &device, record);
    for (left = atoi(words[9]); left > 0 && status != CVM_ACTIVE; left--) { /* at once: a test does not wait */
        status = one_session(&session);
        lossy += modem.uart.dropped != modem.uart.forgiven;
        printf("%d\n", status);
    }
    printf("lossy %d\n", lossy);
    return status == CVM_ACTIVE ? 0 : 1;
}
