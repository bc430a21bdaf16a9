/* A SHA-256 that is small rather than fast: one loop for all 64 rounds, in place. */
#include "cvm_internal.h"

#ifndef CVM_SHA256_HEADER

/* From h to a: the order in which compress keeps them. */
static const uint32_t initial[8] = {
    0x5be0cd19u, 0x1f83d9abu, 0x9b05688cu, 0x510e527fu, 0xa54ff53au, 0x3c6ef372u, 0xbb67ae85u, 0x6a09e667u,
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

/* The rounds run in the words themselves: h to a, then the next 16 words of the schedule. With each round all of them
 * move down by one place, which makes g the next h and so on, and the schedule's first word the place of the next a. */
static void compress(struct cvm_sha256 *hash)
{
    uint32_t *x = hash->words;
    uint32_t before[8];
    unsigned i, j;

    memcpy(before, x, sizeof before);
    for (i = 0; i < 64; i++) {
        uint32_t moved = x[8] + x[17] + (rotated(x[9], 7) ^ rotated(x[9], 18) ^ (x[9] >> 3)) +
                         (rotated(x[22], 17) ^ rotated(x[22], 19) ^ (x[22] >> 10));

        for (j = 24; j-- > 0;) {
            const uint32_t next = x[j];

            x[j] = moved;
            moved = next;
        }
        moved += constants[i] + x[7] + (rotated(x[2], 6) ^ rotated(x[2], 11) ^ rotated(x[2], 25)) +
                 ((x[2] & x[1]) ^ (~x[2] & x[0]));
        x[3] += moved;
        x[7] = moved + (rotated(x[6], 2) ^ rotated(x[6], 13) ^ rotated(x[6], 22)) +
               ((x[6] & x[5]) ^ (x[6] & x[4]) ^ (x[5] & x[4]));
    }
    for (i = 0; i < 8; i++) {
        x[i] += before[i];
    }
}

void cvm_sha256_begin(struct cvm_sha256 *hash)
{
    hash->size = 0;
    memcpy(hash->words, initial, sizeof initial);
}

void cvm_sha256_add(struct cvm_sha256 *hash, const void *bytes, size_t size)
{
    const uint8_t *each = (const uint8_t *)bytes;

    while (size-- > 0) {
        uint32_t *word = &hash->words[8 + ((hash->size >> 2) & 15u)];

        *word = (*word << 8) | *each++;
        if ((++hash->size & 63u) == 0) {
            compress(hash);
        }
    }
}

void cvm_sha256_end(struct cvm_sha256 *hash, uint8_t digest[32])
{
    const uint32_t size = hash->size;
    uint8_t padding[8] = {0x80};
    unsigned i;

    do {
        cvm_sha256_add(hash, padding, 1);
        padding[0] = 0;
    } while ((hash->size & 63u) != 56);
    cvm_put32(padding, size >> 29);
    cvm_put32(padding + 4, size << 3);
    cvm_sha256_add(hash, padding, sizeof padding);
    for (i = 0; i < 8; i++) {
        cvm_put32(digest + 4 * i, hash->words[7 - i]);
    }
}

#endif
