/* What a build chooses. Name a header of your own by CVM_OPTIONS_FILE, or define these on the command line.
 * An option that is off costs nothing.
 */
#ifndef CVM_OPTIONS_H
#define CVM_OPTIONS_H

#include "cvm_constants.h"

#ifdef CVM_OPTIONS_FILE
#include CVM_OPTIONS_FILE
#endif

/* One suite a build: there is no fallback (SPEC.md, 6.1). CVM_SUITE_NOISE takes X25519 and ChaCha20-Poly1305 from the
 * port. */
#ifndef CVM_SUITE
#define CVM_SUITE CVM_SUITE_MAC
#endif

/* A header that defines struct cvm_sha256 and the functions of cvm_sha256.h by the platform's own SHA-256, say
 * "my_sha256.h"; without it the library's own is used. */
/* #define CVM_SHA256_HEADER "my_sha256.h" */

/* The device makes its own key and sends a CSR (product's key source device-csr). */
#ifndef CVM_CSR
#define CVM_CSR 0
#endif

/* Under auth `serial` nothing is proven: the library takes root CA, endpoint and time from such a session only where
 * this says so (SPEC.md, 12.1). */
#ifndef CVM_TRUST_SERIAL
#define CVM_TRUST_SERIAL 0
#endif

/* nonce_c out of counters, for parts without a random generator that its maker calls cryptographic (SPEC.md, 5.4). */
#ifndef CVM_NONCE_COUNTERS
#define CVM_NONCE_COUNTERS 0
#endif

/* Bytes: `stored` moves on in flash whenever so many more are safe. A power of two, and a multiple of what the flash
 * erases at once and of the unit in which it is written. */
#ifndef CVM_PAGE
#define CVM_PAGE 256
#endif

/* Milliseconds without an answer, and between two bytes of one or of a request (SPEC.md, 7.6). */
#ifndef CVM_ANSWER_TIMEOUT_MS
#define CVM_ANSWER_TIMEOUT_MS 25000
#endif
#ifndef CVM_BYTE_TIMEOUT_MS
#define CVM_BYTE_TIMEOUT_MS 30000
#endif

#endif
