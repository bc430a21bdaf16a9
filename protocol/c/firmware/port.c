#include "port.h"

#include "board.h"
#include "cvm_extras.h"
#include "flash.h"

static uint8_t next_record; /* the slot to write next: 0 or 1 */

uint32_t port_bytes_up, port_bytes_down;

static int on_write(void *user, uint16_t offset, const uint8_t *bytes, size_t size)
{
    (void)user;
    (void)size;
    if (offset % FLASH_PAGE == 0 && flash_erase(FLASH_BUNDLE + (size_t)offset) != 0) {
        return -1;
    }
    return flash_program(FLASH_BUNDLE + (size_t)offset, bytes);
}

static struct cvm_units units = {on_write, NULL, 0, FLASH_UNIT, 0, {0}};

/* It waits for the UART's register, at most size * 87 us at 115200 baud: so short a wait is no harm. */
static int on_send(void *user, const uint8_t *bytes, size_t size)
{
    size_t i;

    (void)user;
    for (i = 0; i < size; i++) {
        uart_write(bytes[i]);
    }
    port_bytes_up += size;
    return (int)size;
}

/* A bare line does not say that it is gone: the library's timeouts find out. */
static int on_receive(void *user, uint8_t *bytes, size_t size)
{
    size_t got = 0;
    int byte;

    (void)user;
    while (got < size && (byte = uart_read()) >= 0) {
        bytes[got++] = (uint8_t)byte;
    }
    port_bytes_down += got;
    return (int)got;
}

static uint32_t on_now_ms(void *user)
{
    (void)user;
    return host_ms();
}

/* In the place of the part's generator. */
static int on_random(void *user, uint8_t *bytes, size_t size)
{
    const int file = host_open("/dev/urandom", HOST_READ);
    int result;

    (void)user;
    if (file < 0) {
        return -1;
    }
    result = host_read(file, bytes, size);
    host_close(file);
    return result;
}

static int on_store(void *user, uint16_t offset, const uint8_t *bytes, size_t size)
{
    (void)user;
    return cvm_units_store(&units, offset, bytes, size);
}

static int on_load(void *user, uint16_t offset, uint8_t *bytes, size_t size)
{
    (void)user;
    return flash_read(FLASH_BUNDLE + (size_t)offset, bytes, size);
}

static size_t slot(unsigned number)
{
    return FLASH_RECORD + (size_t)number * FLASH_PAGE;
}

static int on_remember(void *user, const uint8_t record[CVM_RECORD_SIZE])
{
    uint8_t bytes[2 * FLASH_UNIT];
    const size_t address = slot(next_record);

    (void)user;
    memset(bytes, 0xff, sizeof bytes);
    memcpy(bytes, record, CVM_RECORD_SIZE);
    if (cvm_units_remember(&units, record) != 0 || flash_erase(address) != 0 || flash_program(address, bytes) != 0 ||
        flash_program(address + FLASH_UNIT, bytes + FLASH_UNIT) != 0) {
        return -1;
    }
    next_record ^= 1u;
    return 0;
}

const struct cvm_port port = {
    on_send, on_receive, on_now_ms, on_random, on_store, on_load, on_remember, NULL,
#if CVM_SUITE == CVM_SUITE_NOISE
    port_x25519, port_seal, port_unseal,
#endif
};

const uint8_t *port_open(bool *failed)
{
    static uint8_t records[2][CVM_RECORD_SIZE];
    const uint8_t *newer;

    uart_start();
    *failed = flash_open() != 0 || flash_read(slot(0), records[0], CVM_RECORD_SIZE) != 0 ||
              flash_read(slot(1), records[1], CVM_RECORD_SIZE) != 0;
    newer = *failed ? NULL : cvm_record_newer(records[0], records[1]);
    next_record = newer == records[0] ? 1 : 0;
    return newer;
}
