#include "board.h"

enum { OPEN = 1, CLOSE = 2, WRITE0 = 4, WRITE = 5, READ = 6, SEEK = 10, SYSTEM = 18, EXIT_EXTENDED = 32, ELAPSED = 48 };

static int call(int operation, const void *block)
{
    register int r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = block;

    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
}

int host_open(const char *name, enum host_mode mode)
{
    const uint32_t block[3] = {(uint32_t)name, mode, strlen(name)};

    return call(OPEN, block);
}

int host_read(int file, void *bytes, size_t size)
{
    const uint32_t block[3] = {(uint32_t)file, (uint32_t)bytes, size};

    return call(READ, block) == 0 ? 0 : -1; /* how many bytes are missing */
}

int host_write(int file, const void *bytes, size_t size)
{
    const uint32_t block[3] = {(uint32_t)file, (uint32_t)bytes, size};

    return call(WRITE, block) == 0 ? 0 : -1;
}

int host_seek(int file, size_t offset)
{
    const uint32_t block[2] = {(uint32_t)file, offset};

    return call(SEEK, block);
}

void host_close(int file)
{
    const uint32_t block[1] = {(uint32_t)file};

    call(CLOSE, block);
}

uint32_t host_ms(void)
{
    uint64_t ticks = 0; /* QEMU's are nanoseconds */

    call(ELAPSED, &ticks);
    return (uint32_t)(ticks / 1000000u);
}

int host_run(const char *command)
{
    const uint32_t block[2] = {(uint32_t)command, strlen(command)};

    return call(SYSTEM, block);
}

void host_print(const char *text)
{
    call(WRITE0, text);
}

void host_exit(int code)
{
    const uint32_t block[2] = {0x20026, (uint32_t)code}; /* ADP_Stopped_ApplicationExit */

    call(EXIT_EXTENDED, block);
    for (;;) {
    }
}
