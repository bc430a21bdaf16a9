/* NOR flash of 256-byte pages, programmed in units of 16 bytes, each once after an erase: a file of the host. Its map:
 * page 0 what the factory wrote, pages 1 and 2 the record by turns, from page 3 on the bundle. */
#ifndef FLASH_H
#define FLASH_H

#include <stddef.h>
#include <stdint.h>

enum { FLASH_PAGE = 256, FLASH_UNIT = 16, FLASH_PAGES = 35 };
enum { FLASH_FACTORY = 0, FLASH_RECORD = FLASH_PAGE, FLASH_BUNDLE = 3 * FLASH_PAGE };
enum { FLASH_BUNDLE_SIZE = FLASH_PAGES * FLASH_PAGE - FLASH_BUNDLE };

/* Each returns 0, or -1: failed. */
int flash_open(void);
int flash_read(size_t address, void *bytes, size_t size);
int flash_erase(size_t page_address);
int flash_program(size_t address, const uint8_t unit[FLASH_UNIT]); /* -1 also where it was not erased */

#endif
