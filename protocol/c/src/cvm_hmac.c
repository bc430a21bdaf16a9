/* HMAC-SHA256 (RFC 2104) under keys of at most a block, and HKDF (RFC 5869) in the one form that SPEC.md 5.2 needs. */
#include "cvm_internal.h"

static void pad(struct cvm_sha256 *hash, const void *key, size_t key_size, unsigned with)
{
    const uint8_t *bytes = (const uint8_t *)key;
    size_t i;

    cvm_sha256_begin(hash);
    for (i = 0; i < CVM_SHA256_BLOCK; i++) {
        const uint8_t byte = (uint8_t)((i < key_size ? bytes[i] : 0u) ^ with);
        cvm_sha256_add(hash, &byte, 1);
    }
}

void cvm_hmac_begin(struct cvm_sha256 *hash, const void *key, size_t key_size)
{
    pad(hash, key, key_size, 0x36);
}

void cvm_hmac_end(struct cvm_sha256 *hash, const void *key, size_t key_size, uint8_t tag[32])
{
    cvm_sha256_end(hash, tag);
    pad(hash, key, key_size, 0x5c);
    cvm_sha256_add(hash, tag, CVM_SHA256_SIZE);
    cvm_sha256_end(hash, tag);
    cvm_wipe(hash, sizeof *hash);
}

void cvm_extract(const void *secret, size_t size, uint8_t prk[32])
{
    struct cvm_sha256 hash;

    cvm_hmac_begin(&hash, "cvm1", 4);
    cvm_sha256_add(&hash, secret, size);
    cvm_hmac_end(&hash, "cvm1", 4, prk);
}

void cvm_expand(const uint8_t prk[32], const char *label, size_t label_size, const uint8_t *info, size_t info_size,
                uint8_t key[32])
{
    static const uint8_t one = 1;
    struct cvm_sha256 hash;

    cvm_hmac_begin(&hash, prk, 32);
    cvm_sha256_add(&hash, label, label_size);
    cvm_sha256_add(&hash, info, info_size);
    cvm_sha256_add(&hash, &one, 1);
    cvm_hmac_end(&hash, prk, 32, key);
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
