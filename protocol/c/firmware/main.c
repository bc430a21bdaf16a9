/* A device in QEMU: it reads who it is from its flash, gets its certificate, and hands the objects to the host. */
#include "board.h"
#include "cvm_extras.h"
#include "flash.h"
#include "port.h"

/* What factory.py writes into page 0; integers little-endian, as the part has them. */
struct factory {
    uint16_t max_frame, limit, want;
    uint8_t serial_size, token_size;
    char serial[CVM_MAX_SERIAL];
    uint8_t token[CVM_MAX_TOKEN];
    uint8_t has_own_key; /* of a secure element: device-csr */
};

static struct cvm_session session;
static struct cvm_device device;
static struct factory factory;
static uint8_t buffer[CVM_MAX_MAX_FRAME];

static void print_number(const char *before, uint32_t number)
{
    char digits[11];
    char *each = digits + sizeof digits - 1;

    *each = 0;
    do {
        *--each = (char)('0' + number % 10);
        number /= 10;
    } while (number != 0);
    host_print(before);
    host_print(each);
}

/* Each object becomes a file of the host. */
static int unpack(void *user, unsigned kind, uint16_t offset, const uint8_t *bytes, size_t size, bool last)
{
    static const char *const names[] = {"", "cert.der", "key.der", "key.der", "root-ca.der", "endpoint", "thing-name"};
    static int file;
    int result;

    (void)user;
    if (kind >= sizeof names / sizeof *names) {
        return 0;
    }
    file = offset == 0 ? host_open(names[kind], HOST_CREATE) : file;
    result = host_write(file, bytes, size);
    if (last) {
        host_close(file);
    }
    return result;
}

#if CVM_CSR
/* The secure element is played by a program of the host, which has the key: ./secure-element in QEMU's directory. */
static int exchange(const char *command, const char *name, uint8_t bytes[64])
{
    const int file = host_run(command) == 0 ? host_open(name, HOST_READ) : -1;
    int result;

    if (file < 0) {
        return -1;
    }
    result = host_read(file, bytes, 64);
    host_close(file);
    return result;
}

static int sign(void *user, const uint8_t digest[32], uint8_t signature[64])
{
    const int file = host_open("digest", HOST_CREATE);

    (void)user;
    if (file < 0 || host_write(file, digest, 32) != 0) {
        return -1;
    }
    host_close(file);
    return exchange("./secure-element sign", "signature", signature);
}

static size_t make_csr(uint8_t csr[CVM_LARGEST_CSR])
{
    uint8_t public_key[64];

    return exchange("./secure-element public", "public", public_key) != 0
               ? 0
               : cvm_csr(factory.serial, factory.serial_size, public_key, sign, NULL, csr);
}
#endif

static enum cvm_status one_session(void)
{
    enum cvm_status status = cvm_start(&session);

    while (status <= CVM_CALL_LATER) {
        status = cvm_step(&session);
    }
    return status;
}

static void wait_ms(uint32_t pause_ms)
{
    const uint32_t start = host_ms();

    while (host_ms() - start < pause_ms) {
    }
}

/* Whether it may come right by itself. */
static bool may_pass(enum cvm_status status)
{
    return status == CVM_LINE || status == CVM_PEER || status == CVM_BUSY || status == CVM_RESTART;
}

int main(void)
{
    const uint32_t start_ms = host_ms();
    enum cvm_status status;
    const uint8_t *record;
    bool failed;

    record = port_open(&failed);
    if (failed || flash_read(FLASH_FACTORY, &factory, sizeof factory) != 0) {
        host_print("no flash: make flash.bin by firmware/factory\n");
        return CVM_MISUSE;
    }
    device.serial = factory.serial;
    device.serial_size = factory.serial_size;
    device.token = factory.token;
    device.token_size = factory.token_size;
    device.buffer = buffer;
    device.buffer_size = sizeof buffer;
    device.max_frame = factory.max_frame;
    device.limit = factory.limit;
    device.want = factory.want;
    device.room = FLASH_BUNDLE_SIZE;
    device.max_wait_s = 60;
#if CVM_CSR
    if (factory.has_own_key != 0) {
        static uint8_t csr[CVM_LARGEST_CSR];

        device.csr = csr;
        device.csr_size = (uint16_t)make_csr(csr);
        if (device.csr_size == 0) {
            host_print("no signature from ./secure-element\n");
            return CVM_BROKEN;
        }
    }
#endif
    cvm_init(&session, &port, NULL, &device, record);
    for (status = one_session(); may_pass(status); status = one_session()) {
        print_number("again, after status ", status);
        print_number(", refusal ", session.refusal);
        host_print("\n");
        wait_ms(cvm_pause_ms(&session));
    }
    if (status == CVM_ACTIVE && cvm_objects(&port, NULL, (const uint8_t *)&session.record, buffer, sizeof buffer,
                                            unpack) != 0) {
        status = CVM_BROKEN;
    }
    print_number("status ", status);
    print_number(", refusal ", session.refusal);
    print_number(", bytes up ", port_bytes_up);
    print_number(", bytes down ", port_bytes_down);
    print_number(", stack ", stack_used());
    print_number(", ms ", host_ms() - start_ms);
    host_print("\n");
    return status == CVM_ACTIVE || status == CVM_KEEP ? 0 : (int)status;
}
