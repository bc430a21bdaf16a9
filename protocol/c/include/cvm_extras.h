/* What a port may want beside the session. Each function is linked only where it is called. */
#ifndef CVM_EXTRAS_H
#define CVM_EXTRAS_H

#include "cvm.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Flash that is written in units of 4 to CVM_LARGEST_UNIT bytes: collects what `store` is given. CVM_PAGE must be a
 * multiple of the unit. */
#define CVM_LARGEST_UNIT 32u

struct cvm_units {
    /* Write one whole unit of the bundle's area. Returns 0, or else: failed. */
    int (*write)(void *user, uint16_t offset, const uint8_t *bytes, size_t size);
    void *user;
    uint16_t offset; /* of the unit that is being collected */
    uint8_t unit;
    uint8_t filled;
    uint8_t bytes[CVM_LARGEST_UNIT];
};

/* In port->store. Returns 0, or else: failed. */
int cvm_units_store(struct cvm_units *units, uint16_t offset, const uint8_t *bytes, size_t size);

/* In port->remember, before the record is written: once the bundle is whole its last unit is filled up with FF and
 * written. Returns 0, or else: failed. */
int cvm_units_remember(struct cvm_units *units, const uint8_t record[CVM_RECORD_SIZE]);

/* PEM (RFC 7468) of DER that comes in parts, for modems that take no other. */
struct cvm_pem {
    /* Take text, without a NUL. Returns 0, or else: failed. */
    int (*write)(void *user, const char *text, size_t size);
    void *user;
    const char *label; /* "CERTIFICATE", "EC PRIVATE KEY", "RSA PRIVATE KEY", "PRIVATE KEY" */
    uint8_t bytes[3];
    uint8_t filled;
    uint8_t column;
};

/* Set write, user and label; then begin, add as often as need be, end. Each returns 0, or what `write` returned. */
int cvm_pem_begin(struct cvm_pem *pem);
int cvm_pem_add(struct cvm_pem *pem, const uint8_t *bytes, size_t size);
int cvm_pem_end(struct cvm_pem *pem);

/* A CSR (PKCS#10, RFC 2986) of a P-256 key, signed with SHA-256; its subject is CN = serial (SPEC.md, 9.2). public_key
 * is x and y. `sign` writes r and s over the digest and returns 0, or else: failed. Returns the size in `csr`, at most
 * CVM_LARGEST_CSR; 0: the serial is not of 1 to 64 bytes, or signing failed. */
#define CVM_LARGEST_CSR 280u

size_t cvm_csr(const char *serial, size_t serial_size, const uint8_t public_key[64],
               int (*sign)(void *user, const uint8_t digest[32], uint8_t signature[64]), void *user,
               uint8_t csr[CVM_LARGEST_CSR]);

#ifdef __cplusplus
}
#endif

#endif
