/* SHA-256 (FIPS 180-4) of up to 2^32 - 1 bytes, taken in parts. */
#ifndef CVM_SHA256_H
#define CVM_SHA256_H

#include <stddef.h>
#include <stdint.h>

#include "cvm_options.h"

#ifdef __cplusplus
extern "C" {
#endif

#define CVM_SHA256_SIZE 32u
#define CVM_SHA256_BLOCK 64u

#ifdef CVM_SHA256_HEADER
#include CVM_SHA256_HEADER
#define CVM_PLATFORM_SHA256 1
#else
#define CVM_PLATFORM_SHA256 0
struct cvm_sha256 {
    uint32_t words[24]; /* the state, last word first, then the block: bytes are shifted in, on any machine */
    uint32_t size;      /* bytes so far */
};
#endif

void cvm_sha256_begin(struct cvm_sha256 *hash);
void cvm_sha256_add(struct cvm_sha256 *hash, const void *bytes, size_t size);

/* Writes the digest, which must not lie within `hash`. `hash` is used up. */
void cvm_sha256_end(struct cvm_sha256 *hash, uint8_t digest[32]);

#ifdef __cplusplus
}
#endif

#endif
