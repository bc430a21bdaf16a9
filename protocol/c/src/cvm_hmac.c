/* HMAC-SHA256 (RFC 2104), and with it HKDF (RFC 5869) in the one form that SPEC.md 5.2 needs. */
#include "cvm_internal.h"

static void begin(struct cvm_sha256 *hash, const uint8_t key[32], unsigned pad)
{
    unsigned i;

    cvm_sha256_begin(hash);
    for (i = 0; i < CVM_SHA256_BLOCK; i++) {
        const uint8_t byte = (uint8_t)((i < CVM_SHA256_SIZE ? key[i] : 0u) ^ pad);

        cvm_sha256_add(hash, &byte, 1);
    }
}

void cvm_hmac(const uint8_t key[32], const void *first, size_t first_size, const void *second, size_t second_size,
              uint8_t tag[32])
{
    struct cvm_sha256 hash;

    begin(&hash, key, 0x36);
    cvm_sha256_add(&hash, first, first_size);
    cvm_sha256_add(&hash, second, second_size);
    cvm_sha256_end(&hash, tag);
    begin(&hash, key, 0x5c);
    cvm_sha256_add(&hash, tag, CVM_SHA256_SIZE);
    cvm_sha256_end(&hash, tag);
    cvm_wipe(&hash, sizeof hash);
}

void cvm_extract(const void *token, size_t size, uint8_t prk[32])
{
    static const uint8_t salt[CVM_SHA256_SIZE] = "cvm1";

    cvm_hmac(salt, token, size, NULL, 0, prk);
}
