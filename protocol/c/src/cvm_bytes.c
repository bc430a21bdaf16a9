/* Integers on the wire: big-endian, at any address. Functions rather than macros: a call is smaller than the shifts. */
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
