/* A SHA-256 that is small rather than fast: one loop for all 64 rounds, the schedule in the block's own words. */
#include "cvm_sha256.h"

#ifndef CVM_SHA256_HEADER

#include <string.h>

static const uint32_t initial[8] = {
    0x6a09e667u, 0xbb67ae85u, 0x3c6ef372u, 0xa54ff53au, 0x510e527fu, 0x9b05688cu, 0x1f83d9abu, 0x5be0cd19u,
};

static const uint32_t constants[64] = {
    0x428a2f98u, 0x71374491u, 0xb5c0fbcfu, 0xe9b5dba5u, 0x3956c25bu, 0x59f111f1u, 0x923f82a4u, 0xab1c5ed5u,
    0xd807aa98u, 0x12835b01u, 0x243185beu, 0x550c7dc3u, 0x72be5d74u, 0x80deb1feu, 0x9bdc06a7u, 0xc19bf174u,
    0xe49b69c1u, 0xefbe4786u, 0x0fc19dc6u, 0x240ca1ccu, 0x2de92c6fu, 0x4a7484aau, 0x5cb0a9dcu, 0x76f988dau,
    0x983e5152u, 0xa831c66du, 0xb00327c8u, 0xbf597fc7u, 0xc6e00bf3u, 0xd5a79147u, 0x06ca6351u, 0x14292967u,
    0x27b70a85u, 0x2e1b2138u, 0x4d2c6dfcu, 0x53380d13u, 0x650a7354u, 0x766a0abbu, 0x81c2c92eu, 0x92722c85u,
    0xa2bfe8a1u, 0xa81a664bu, 0xc24b8b70u, 0xc76c51a3u, 0xd192e819u, 0xd6990624u, 0xf40e3585u, 0x106aa070u,
    0x19a4c116u, 0x1e376c08u, 0x2748774cu, 0x34b0bcb5u, 0x391c0cb3u, 0x4ed8aa4au, 0x5b9cca4fu, 0x682e6ff3u,
    0x748f82eeu, 0x78a5636fu, 0x84c87814u, 0x8cc70208u, 0x90befffau, 0xa4506cebu, 0xbef9a3f7u, 0xc67178f2u,
};

static uint32_t rotated(uint32_t word, unsigned places)
{
    return (word >> places) | (word << (32u - places));
}

static void compress(struct cvm_sha256 *hash)
{
    uint32_t v[8];
    uint32_t *w = hash->block;
    unsigned i;

    memcpy(v, hash->state, sizeof v);
    for (i = 0; i < 64; i++) {
        uint32_t t, u;
        unsigned j;

        if (i >= 16) {
            t = w[(i + 1u) & 15u];
            u = w[(i + 14u) & 15u];
            w[i & 15u] += w[(i + 9u) & 15u] + (rotated(t, 7) ^ rotated(t, 18) ^ (t >> 3)) +
                          (rotated(u, 17) ^ rotated(u, 19) ^ (u >> 10));
        }
        t = v[7] + constants[i] + w[i & 15u] + (rotated(v[4], 6) ^ rotated(v[4], 11) ^ rotated(v[4], 25)) +
            ((v[4] & v[5]) ^ (~v[4] & v[6]));
        u = (rotated(v[0], 2) ^ rotated(v[0], 13) ^ rotated(v[0], 22)) +
            ((v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]));
        for (j = 7; j > 0; j--) {
            v[j] = v[j - 1u];
        }
        v[4] += t;
        v[0] = t + u;
    }
    for (i = 0; i < 8; i++) {
        hash->state[i] += v[i];
    }
}

void cvm_sha256_begin(struct cvm_sha256 *hash)
{
    hash->size = 0;
    memcpy(hash->state, initial, sizeof initial);
}

static void add_byte(struct cvm_sha256 *hash, unsigned byte)
{
    uint32_t *word = &hash->block[(hash->size >> 2) & 15u];

    *word = (*word << 8) | (byte & 0xffu);
    if ((++hash->size & 63u) == 0) {
        compress(hash);
    }
}

void cvm_sha256_add(struct cvm_sha256 *hash, const void *bytes, size_t size)
{
    const uint8_t *each = (const uint8_t *)bytes;

    while (size-- > 0) {
        add_byte(hash, *each++);
    }
}

void cvm_sha256_end(struct cvm_sha256 *hash, uint8_t digest[32])
{
    const uint32_t size = hash->size;
    unsigned i;

    add_byte(hash, 0x80);
    while ((hash->size & 63u) != 56) {
        add_byte(hash, 0);
    }
    for (i = 0; i < 4; i++) {
        add_byte(hash, 0);
    }
    hash->block[14] = size >> 29;
    hash->block[15] = size << 3;
    compress(hash);
    for (i = 0; i < 32; i++) {
        digest[i] = (uint8_t)(hash->state[i >> 2] >> (24u - 8u * (i & 3u)));
    }
}

#endif
