#include <string.h>

#include "cvm_extras.h"

/* SubjectPublicKeyInfo of a P-256 key up to its point, which is uncompressed: ecPublicKey, prime256v1. */
static const uint8_t key_head[] = {0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06,
                                   0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00, 0x04};
/* ecdsa-with-SHA256; then the BIT STRING that holds the signature. */
static const uint8_t algorithm[] = {0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02, 0x03};
/* CertificationRequestInfo from version 0 to the serial: four lengths in it are of that. */
static const uint8_t info_head[] = {0x02, 0x01, 0x00, 0x30, 0, 0x31, 0, 0x30, 0, 0x06, 0x03, 0x55, 0x04, 0x03, 0x0c, 0};

enum { POINT = 64, HALF = 32, LONGEST_HEAD = 4, INFO_HEAD = 3 };

/* Writes the tag and length of a DER element in front of `content`. Returns where it begins. */
static uint8_t *wrap(uint8_t *content, uint8_t tag, size_t size)
{
    *--content = (uint8_t)size;
    if (size > 255) {
        *--content = (uint8_t)(size >> 8);
        *--content = 0x82;
    } else if (size > 127) {
        *--content = 0x81;
    }
    *--content = tag;
    return content;
}

static uint8_t *append(uint8_t *to, const void *bytes, size_t size)
{
    memcpy(to, bytes, size);
    return to + size;
}

/* An INTEGER: as short as can be, and positive. */
static uint8_t *append_integer(uint8_t *to, const uint8_t *bytes)
{
    size_t size = HALF;
    unsigned sign;

    while (size > 1 && *bytes == 0) {
        bytes++;
        size--;
    }
    sign = *bytes >> 7;
    *to++ = 0x02;
    *to++ = (uint8_t)(size + sign);
    if (sign != 0) {
        *to++ = 0;
    }
    return append(to, bytes, size);
}

size_t cvm_csr(const char *serial, size_t serial_size, const uint8_t public_key[64],
               int (*sign)(void *user, const uint8_t digest[32], uint8_t signature[64]), void *user,
               uint8_t csr[CVM_LARGEST_CSR])
{
    uint8_t *const info = csr + LONGEST_HEAD + INFO_HEAD, *start, *end, *bits;
    uint8_t digest[CVM_SHA256_SIZE], signature[POINT];
    struct cvm_sha256 hash;
    size_t size;

    if (serial_size - 1 >= CVM_MAX_SERIAL) {
        return 0;
    }
    end = append(info, info_head, sizeof info_head);
    info[4] = (uint8_t)(serial_size + 11);
    info[6] = (uint8_t)(serial_size + 9);
    info[8] = (uint8_t)(serial_size + 7);
    info[15] = (uint8_t)serial_size;
    end = append(end, serial, serial_size);
    end = append(end, key_head, sizeof key_head);
    end = append(end, public_key, POINT);
    *end++ = 0xa0; /* no attributes */
    *end++ = 0;
    start = wrap(info, 0x30, (size_t)(end - info));

    cvm_sha256_begin(&hash);
    cvm_sha256_add(&hash, start, (size_t)(end - start));
    cvm_sha256_end(&hash, digest);
    if (sign(user, digest, signature) != 0) {
        return 0;
    }
    bits = append(end, algorithm, sizeof algorithm);
    end = append_integer(bits + LONGEST_HEAD, signature);
    end = append_integer(end, signature + HALF);
    size = (size_t)(end - bits - LONGEST_HEAD);
    bits[0] = (uint8_t)(size + 3); /* the BIT STRING: no unused bits, a SEQUENCE of both */
    bits[1] = 0;
    bits[2] = 0x30;
    bits[3] = (uint8_t)size;

    start = wrap(start, 0x30, (size_t)(end - start));
    size = (size_t)(end - start);
    memmove(csr, start, size);
    return size;
}
