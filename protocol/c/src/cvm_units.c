#include <string.h>

#include "cvm_extras.h"

int cvm_units_store(struct cvm_units *units, uint16_t offset, const uint8_t *bytes, size_t size)
{
    if (offset != units->offset + units->filled) { /* the bundle begins, or goes on after a cut: at a unit's start */
        units->offset = offset;
        units->filled = 0;
    }
    for (; size > 0; size--) {
        units->bytes[units->filled++] = *bytes++;
        if (units->filled == units->unit) {
            units->filled = 0;
            if (units->write(units->user, units->offset, units->bytes, units->unit) != 0) {
                return -1;
            }
            units->offset = (uint16_t)(units->offset + units->unit);
        }
    }
    return 0;
}

int cvm_units_remember(struct cvm_units *units, const uint8_t record[CVM_RECORD_SIZE])
{
    struct cvm_record is;
    unsigned filled = units->filled;

    memcpy(&is, record, sizeof is);
    if (is.stored != is.total || filled == 0) {
        return 0;
    }
    memset(units->bytes + filled, 0xff, units->unit - filled);
    units->filled = 0;
    return units->write(units->user, units->offset, units->bytes, units->unit);
}
