/* Integers on the wire, big-endian, at any address; and secrets. Functions rather than macros: a call is smaller. */
#include "cvm_internal.h"

unsigned cvm_get16(const uint8_t *bytes)
{
    return ((unsigned)bytes[0] << 8) | bytes[1];
}

uint32_t cvm_get32(const uint8_t *bytes)
{
    return ((uint32_t)cvm_get16(bytes) << 16) | cvm_get16(bytes + 2);
}

void cvm_put16(uint8_t *bytes, unsigned value)
{
    bytes[0] = (uint8_t)(value >> 8);
    bytes[1] = (uint8_t)value;
}

void cvm_put32(uint8_t *bytes, uint32_t value)
{
    cvm_put16(bytes, (unsigned)(value >> 16));
    cvm_put16(bytes + 2, (unsigned)(value & 0xffffu));
}

bool cvm_differ(const uint8_t *one, const uint8_t *other, size_t size)
{
    volatile uint8_t difference = 0; /* volatile: every byte is looked at, whatever the first ones say */

    while (size-- > 0) {
        difference = (uint8_t)(difference | (one[size] ^ other[size]));
    }
    return difference != 0;
}

void cvm_wipe(void *secret, size_t size)
{
    volatile uint8_t *each = (volatile uint8_t *)secret; /* volatile: a store that nobody reads is made all the same */

    while (size-- > 0) {
        *each++ = 0;
    }
}
