#include "flash.h"

#include "board.h"

static int file;

int flash_open(void)
{
    file = host_open("flash.bin", HOST_UPDATE);
    return file < 0 ? -1 : 0;
}

int flash_read(size_t address, void *bytes, size_t size)
{
    return host_seek(file, address) == 0 ? host_read(file, bytes, size) : -1;
}

int flash_program(size_t address, const uint8_t unit[FLASH_UNIT])
{
    uint8_t before[FLASH_UNIT];
    unsigned i;

    if (address % FLASH_UNIT != 0 || flash_read(address, before, sizeof before) != 0) {
        return -1;
    }
    for (i = 0; i < FLASH_UNIT; i++) {
        if (before[i] != 0xff) {
            return -1;
        }
    }
    return host_seek(file, address) == 0 ? host_write(file, unit, FLASH_UNIT) : -1;
}

int flash_erase(size_t page_address)
{
    uint8_t erased[FLASH_UNIT];
    unsigned i;

    memset(erased, 0xff, sizeof erased);
    if (host_seek(file, page_address) != 0) {
        return -1;
    }
    for (i = 0; i < FLASH_PAGE / FLASH_UNIT; i++) {
        if (host_write(file, erased, sizeof erased) != 0) {
            return -1;
        }
    }
    return 0;
}
