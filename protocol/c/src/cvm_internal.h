/* What the library's files share. Not for callers. */
#ifndef CVM_INTERNAL_H
#define CVM_INTERNAL_H

#include <string.h>

#include "cvm.h"

/* States of struct cvm_session. */
enum {
    CVM_IDLE,
    CVM_HASHING, /* reading the bundle back, whole or its certificate */
    CVM_SENDING,
    CVM_HUNTING,
    CVM_ANSWER,
    CVM_WAITING,
    CVM_END
};

/* Bits of session.flags. */
enum {
    CVM_PUSHED = 1,    /* PROOF asks for all at once */
    CVM_STREAMING = 2, /* MANIFEST has come */
    CVM_OWN_HAVE = 4,  /* PROOF names the record's certificate */
    CVM_PROGRESS = 8,  /* the flash has more than before */
    CVM_SEALED = 32,   /* the request lies in the buffer (suite noise) */
    CVM_CHECKED = 16   /* what was read back is the bundle of bundle_id */
};

/* cvm_bytes.c: integers on the wire. */
unsigned cvm_get16(const uint8_t *bytes);
uint32_t cvm_get32(const uint8_t *bytes);
void cvm_put16(uint8_t *bytes, unsigned value);
void cvm_put32(uint8_t *bytes, uint32_t value);

/* cvm_hmac.c: keys of at most 64 bytes, which must not lie where the result goes. */
void cvm_hmac_begin(struct cvm_sha256 *hash, const void *key, size_t key_size);
void cvm_hmac_end(struct cvm_sha256 *hash, const void *key, size_t key_size, uint8_t tag[32]);
void cvm_extract(const void *secret, size_t size, uint8_t prk[32]);
void cvm_expand(const uint8_t prk[32], const char *label, size_t label_size, const uint8_t *info, size_t info_size,
                uint8_t key[32]);
bool cvm_differ(const uint8_t *one, const uint8_t *other, size_t size); /* in constant time */
void cvm_wipe(void *secret, size_t size);

/* The suite of this build: cvm_mac.c or cvm_noise.c. */
void cvm_keys(struct cvm_session *session, const uint8_t *challenge); /* CHALLENGE, whole */
/* A whole frame, its size checked against its length. Returns its body, of `size` less CVM_HEADER_SIZE and what the
 * suite adds; null: it does not open. */
uint8_t *cvm_open(struct cvm_session *session, uint8_t *frame, size_t *size);
#if CVM_SUITE == CVM_SUITE_NOISE
/* Makes the frame of `size` bytes, type and body, that lie in the buffer where the suite wants them
 * (cvm_text). Returns its size; 0: the port failed. */
uint8_t *cvm_text(const struct cvm_session *session);
size_t cvm_seal(struct cvm_session *session, size_t size);
#endif

/* cvm_send.c */
enum cvm_status cvm_begin(struct cvm_session *session, unsigned request);
/* SHA-256 of `first` (size bytes), HELLO and CHALLENGE. */
void cvm_transcript(const struct cvm_session *session, const uint8_t *first, size_t size, const uint8_t *challenge,
                    uint8_t transcript[32]);
enum cvm_status cvm_send(struct cvm_session *session);

/* cvm_receive.c */
enum cvm_status cvm_hunt(struct cvm_session *session);
enum cvm_status cvm_receive(struct cvm_session *session);

/* cvm_answer.c: what a frame that opened, or a clear REFUSE, means. */
enum cvm_status cvm_refused(struct cvm_session *session, const uint8_t *body, bool tagged);
enum cvm_status cvm_answered(struct cvm_session *session, unsigned type, const uint8_t *body, size_t size);

/* cvm_bundle.c */
enum cvm_status cvm_read_back(struct cvm_session *session);
enum cvm_status cvm_hash_some(struct cvm_session *session);
enum { CVM_OBJECT_HEAD = 3 }; /* kind, length */

/* cvm_record.c */
bool cvm_remember(struct cvm_session *session, unsigned state);

/* cvm_session.c */
enum cvm_status cvm_end(struct cvm_session *session, enum cvm_status status);
bool cvm_elapsed(const struct cvm_session *session, uint32_t limit_ms);

#endif
