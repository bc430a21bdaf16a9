/* What the library's files share. Not for callers. */
#ifndef CVM_INTERNAL_H
#define CVM_INTERNAL_H

#include <string.h>

#include "cvm.h"

/* States of struct cvm_session. */
enum {
    CVM_IDLE,
    CVM_HASHING, /* reading the bundle back, whole or its certificate */
    CVM_SENDING, /* session.request */
    CVM_ANSWER,  /* to it; to HELLO that is hunted for */
    CVM_WAITING
};

/* Bits of session.flags. */
enum {
    CVM_PUSHED = 1,    /* PROOF asks for all at once */
    CVM_STREAMING = 2, /* MANIFEST has come */
    CVM_PROGRESS = 4,  /* the flash has more than before */
    CVM_CHECKED = 8,   /* what was read back is the bundle of bundle_id */
    CVM_SEALED = 16    /* the request lies in the buffer (suite noise) */
};

/* A function that returns enum cvm_status ends nothing itself: cvm_step does, where the status says so. */

/* cvm_bytes.c */
unsigned cvm_get16(const uint8_t *bytes);
uint32_t cvm_get32(const uint8_t *bytes);
void cvm_put16(uint8_t *bytes, unsigned value);
void cvm_put32(uint8_t *bytes, uint32_t value);
bool cvm_differ(const uint8_t *one, const uint8_t *other, size_t size); /* in constant time */
void cvm_wipe(void *secret, size_t size);

/* cvm_hmac.c: HMAC-SHA256 of two parts. A shorter key is the same as one with zeros behind it; none may lie where the
 * tag goes. HKDF-Expand is an HMAC whose last byte is 1. */
void cvm_hmac(const uint8_t key[32], const void *first, size_t first_size, const void *second, size_t second_size,
              uint8_t tag[32]);
void cvm_extract(const void *token, size_t size, uint8_t prk[32]);

/* The suite of this build: cvm_mac.c or cvm_noise.c. */
void cvm_keys(struct cvm_session *session, const uint8_t *challenge); /* CHALLENGE, whole */
/* A whole frame, its size checked against its length. Returns its body, of `size` less CVM_HEADER_SIZE and what the
 * suite adds; null: it does not open. */
uint8_t *cvm_open(struct cvm_session *session, uint8_t *frame, size_t *size);
/* Makes the request that session.request names, in `room`. Returns its frame there; null: the port failed. Suite noise
 * seals it in the session's buffer, once; suite mac leaves out the CSR, which comes before the tag. */
const uint8_t *cvm_seal(struct cvm_session *session, uint8_t *room, size_t *size);

/* cvm_send.c */
enum { CVM_COUNTER_SIZE = 4 };
enum cvm_status cvm_begin(struct cvm_session *session, unsigned request);
enum cvm_status cvm_send(struct cvm_session *session);
/* Writes the body of that request, without the CSR. Returns its size. */
size_t cvm_lay_out(const struct cvm_session *session, uint8_t *body);
#if CVM_CSR
size_t cvm_csr_size(const struct cvm_session *session); /* of the CSR that it ends with, or 0 */
#endif
/* SHA-256 of `first` (size bytes), HELLO and CHALLENGE. */
void cvm_transcript(const struct cvm_session *session, const uint8_t *first, size_t size, const uint8_t *challenge,
                    uint8_t transcript[32]);

/* cvm_receive.c */
enum cvm_status cvm_receive(struct cvm_session *session);

/* cvm_answer.c: what a frame that opened, or a clear REFUSE, means. */
enum cvm_status cvm_refused(struct cvm_session *session, const uint8_t *body, bool tagged);
enum cvm_status cvm_answered(struct cvm_session *session, unsigned type, const uint8_t *body, size_t size);

/* cvm_bundle.c */
enum cvm_status cvm_read_back(struct cvm_session *session);
enum cvm_status cvm_hash_some(struct cvm_session *session);
enum { CVM_OBJECT_HEAD = 3 }; /* kind, length */

/* cvm_record.c: put the record in that state into flash. Returns `then`; or CVM_BROKEN, where the flash failed. */
enum cvm_status cvm_remember(struct cvm_session *session, unsigned state, enum cvm_status then);

/* cvm_session.c */
bool cvm_elapsed(const struct cvm_session *session, uint32_t limit_ms);

#endif
