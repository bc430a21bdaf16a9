/* A device's end of CVM/1 (SPEC.md): it gets a certificate for AWS IoT and sees it ACTIVE.
 *
 * No heap, no socket, no clock, no static state. All that a session holds is one struct cvm_session and the frame
 * buffer that the caller lends it. The caller gives functions for the line, the flash, time and randomness, and
 * calls cvm_step until it says how the session ended:
 *
 *     cvm_init(&session, &port, user, &device, record);
 *     for (;;) {
 *         status = cvm_start(&session);
 *         if (status == CVM_CALL_AGAIN && !connect_to_server()) status = cvm_lost(&session);
 *         while (status <= CVM_CALL_LATER) status = cvm_step(&session);
 *         disconnect();
 *         if (status == CVM_ACTIVE || status == CVM_KEEP || status == CVM_MISUSE) break;
 *         sleep_ms(cvm_pause_ms(&session));
 *     }
 *
 * PORTING.md says what to write, and why it is safe at every byte.
 */
#ifndef CVM_H
#define CVM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cvm_constants.h"
#include "cvm_options.h"
#include "cvm_sha256.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Of the suite of this build: what it adds to a body, and the smallest buffer. */
#if CVM_SUITE == CVM_SUITE_NOISE
#define CVM_OVERHEAD CVM_NOISE_OVERHEAD
#define CVM_MIN_MAX_FRAME CVM_NOISE_MIN_MAX_FRAME
#else
#define CVM_OVERHEAD CVM_MAC_OVERHEAD
#define CVM_MIN_MAX_FRAME CVM_MAC_MIN_MAX_FRAME
#endif

/* What to do now. */
enum cvm_status {
    /* The session goes on: */
    CVM_CALL_AGAIN, /* call cvm_step again */
    CVM_CALL_LATER, /* nothing to do yet: call cvm_step when bytes have come, and at least once a second */

    /* It has ended: close the connection, */
    CVM_ACTIVE,   /* the certificate in flash is active. Take the clock from session.time, unless that is 0, and
                     connect to AWS IoT no sooner than session.connect_after_s from now */
    CVM_KEEP,     /* the certificate that device.have names is active, and there is no other: go on with it */
    CVM_LINE,     /* the line is gone or silent: come back after cvm_pause_ms */
    CVM_PEER,     /* what came is not from the server, or was bent on the way: come back after cvm_pause_ms */
    CVM_BUSY,     /* refused, and nothing is wrong with this device: come back after cvm_pause_ms */
    CVM_RESTART,  /* refused, and what was stored is dropped: come back after cvm_pause_ms */
    CVM_FORGET,   /* the certificate that device.have names is retired: clear device.have, come back as above; erase
                     that certificate when the new one is stored, or when its room is needed */
    CVM_REPORT,   /* refused, a person must act: show session.refusal and .detail; come back after cvm_pause_ms */
    CVM_MEND,     /* refused, this firmware or its configuration is wrong: show session.refusal and .detail; come
                     back after cvm_pause_ms, since the server's configuration may change */
    CVM_NO_ROOM,  /* the bundle is larger than device.room: show it; come back after cvm_pause_ms */
    CVM_BROKEN,   /* flash or random generator failed, or the flash does not hold what was written (then that is
                     dropped): show it; come back after cvm_pause_ms */
    CVM_MISUSE    /* a field of struct cvm_device or the port is out of its range: mend the program */
};

/* The resume record: what the flash keeps beside the bundle, as bytes. Erased flash, zeros and a torn record are all
 * "nothing". It is in the byte order of the part, which is the only one to read it. */
#define CVM_RECORD_SIZE 24u

struct cvm_record {
    uint16_t total;  /* bytes of the bundle */
    uint16_t stored; /* of them, safe in flash */
    uint8_t state;   /* enum cvm_record_state */
    uint8_t sequence;
    uint8_t bundle_id[CVM_BUNDLE_ID_SIZE];
    uint8_t check[2];
};

enum cvm_record_state {
    CVM_RECORD_NONE = 0,
    CVM_RECORD_PARTIAL = 1, /* `stored` bytes of the bundle are safe */
    CVM_RECORD_STORED = 2,  /* all of it, read back and checked; not known to be ACTIVE */
    CVM_RECORD_ACTIVE = 3   /* the certificate in it is in use */
};

/* What the platform does. `user` is the pointer that cvm_init was given. Nothing here may call the library. */
struct cvm_port {
    /* Hand bytes to the line. Returns how many it took, 0 if none yet, below 0 if the line is gone. */
    int (*send)(void *user, const uint8_t *bytes, size_t size);
    /* Take up to `size` bytes that have come, without waiting for more than a moment. Returns how many, 0 if none yet
     * (never when the line is gone), below 0 if the line is gone. */
    int (*receive)(void *user, uint8_t *bytes, size_t size);
    /* Milliseconds since any moment, never going back, wrapping round after 2^32. */
    uint32_t (*now_ms)(void *user);
    /* Cryptographic random bytes; under CVM_NONCE_COUNTERS whatever entropy there is. Returns 0, or else: there are
     * none, which ends the session (CVM_BROKEN) unless nonces are counters. */
    int (*random)(void *user, uint8_t *bytes, size_t size);
    /* Store bytes of the bundle at that offset. They come in ascending order, from a multiple of CVM_PAGE on, which may
     * have been written before: erase there. Returns 0, or else: failed. */
    int (*store)(void *user, uint16_t offset, const uint8_t *bytes, size_t size);
    /* Read bytes of the bundle back, from the flash itself. Returns 0, or else: failed. */
    int (*load)(void *user, uint16_t offset, uint8_t *bytes, size_t size);
    /* Make all that was stored safe, then put this record in the place of the former one, atomically: after a power cut
     * one of the two is read. Returns 0, or else: failed. */
    int (*remember)(void *user, const uint8_t record[CVM_RECORD_SIZE]);
    /* May be null. The bundle was read back from flash and is right; `digest` is its certificate's. ACK, after which the
     * server forgets the key, goes out only if this returns 0. It may walk the objects by cvm_objects, hand them to a
     * modem's store, check the certificate against the device's own key; after a power cut it comes again. */
    int (*accept)(void *user, const uint8_t digest[CVM_DIGEST_SIZE]);
#if CVM_SUITE == CVM_SUITE_NOISE
    /* X25519 (RFC 7748): `result` of the secret and the point, or of the base point where `point` is null. Returns 0, or
     * else: failed. */
    int (*x25519)(void *user, uint8_t result[32], const uint8_t secret[32], const uint8_t *point);
    /* ChaCha20-Poly1305 (RFC 8439), in place: encrypt `text` and write its tag; or check the tag, then decrypt. Returns
     * 0, or else: failed, or the tag is wrong. */
    int (*seal)(void *user, const uint8_t key[32], const uint8_t nonce[12], const uint8_t *ad, size_t ad_size,
                uint8_t *text, size_t size, uint8_t tag[16]);
    int (*open)(void *user, const uint8_t key[32], const uint8_t nonce[12], const uint8_t *ad, size_t ad_size,
                uint8_t *text, size_t size, const uint8_t tag[16]);
#endif
};

/* Who this device is, what it wants, what it has. It must stay while the session is used. */
struct cvm_device {
    const char *serial; /* serial_size bytes of A-Z a-z 0-9 : _ . - */
    const uint8_t *token; /* token_size raw bytes, 16 to 64; none under auth `serial` */
    uint8_t *buffer; /* for frames: buffer_size bytes, at least max_frame. Suite noise makes each request in it, so
                        there it is also at least CVM_NOISE_BUFFER and the size of a CSR */
    const uint8_t *have; /* null, or the digest of a certificate in use (not of the record's): 32 bytes */
    uint16_t buffer_size;
    uint16_t max_frame; /* the largest frame that the line's buffers can take, from CVM_MIN_MAX_FRAME up */
    uint16_t want; /* bit n, 1 << CVM_KIND_..., for each object that is wanted */
    uint16_t limit; /* bytes of the bundle a request: CVM_TO_THE_END (push), or what the line's buffers hold (pull):
                       CVM_PULL_LIMIT(max_frame) for one frame at a time */
    uint16_t room; /* bytes of flash for the bundle */
    uint16_t max_wait_s; /* how long it would queue, in seconds; 60 is good */
    uint8_t serial_size;
    uint8_t token_size;
    bool renew; /* with `have`: ask for a successor */
#if CVM_NONCE_COUNTERS
    uint32_t boot; /* counts calls of cvm_init, over all resets: incremented and safe in flash before each */
#endif
#if CVM_CSR
    const uint8_t *csr; /* null, or the PKCS#10 request in DER: csr_size bytes */
    uint16_t csr_size;
#endif
};

/* Suite noise: the longest request without a CSR, which is HELLO. */
#define CVM_NOISE_BUFFER (CVM_HELLO_HEAD + CVM_MAX_SERIAL)
#define CVM_HELLO_HEAD 29u /* up to the serial */

/* The bytes of the bundle that one DATA frame of this size holds. */
#define CVM_PULL_LIMIT(max_frame) ((uint16_t)((max_frame) - CVM_HEADER_SIZE - CVM_OVERHEAD - 2u))

/* What a session holds. Read the result; all else is the library's. In this order Thumb code reaches most of it with
 * short instructions. */
struct cvm_session {
    uint8_t state;
    uint8_t request;
    uint8_t flags;
    uint8_t failures; /* sessions in a row that brought nothing */
    uint8_t refusal;  /* result: CVM_STATUS_..., or 0 */
    uint8_t stage;    /* result: CVM_STAGE_..., for people */
    struct cvm_record record;
    uint16_t in_buffer;
    uint16_t at;
    uint16_t due;
    uint16_t connect_after_s; /* result: of DONE */
    uint16_t detail;          /* result: of REFUSE */
    uint32_t time;            /* result: of DONE, Unix seconds, UTC; 0 if there was none */
    uint32_t retry_s;         /* result: of REFUSE, clamped */
    const struct cvm_port *port;
    const struct cvm_device *device;
    void *user;
    const uint8_t *have; /* the digest that PROOF names, if any */
    uint32_t since_ms;
    uint32_t sent_frames;
    uint32_t opened_frames;
    uint8_t nonce[CVM_NONCE_SIZE];
    struct { /* wiped when the session ends */
        uint8_t device_key[CVM_SHA256_SIZE];
        uint8_t server_key[CVM_SHA256_SIZE];
        union {
            struct cvm_sha256 hash;          /* while the bundle is read back */
            uint8_t digest[CVM_DIGEST_SIZE]; /* of the certificate, afterwards */
            uint8_t noise[2][32];            /* in the handshake */
        } u;
    } secret;
#if CVM_NONCE_COUNTERS
    uint32_t connection;
#endif
};

/* Structures depend on these options: a program that was built with others than the library does not link. */
#define CVM_NAME(suite, csr, counters, sha) cvm_init_suite##suite##_csr##csr##_counters##counters##_platformsha##sha
#define CVM_NAMED(suite, csr, counters, sha) CVM_NAME(suite, csr, counters, sha)
#define cvm_init CVM_NAMED(CVM_SUITE, CVM_CSR, CVM_NONCE_COUNTERS, CVM_PLATFORM_SHA256)

/* Once after boot. `record` is what port->remember stored last, or null. */
void cvm_init(struct cvm_session *session, const struct cvm_port *port, void *user, const struct cvm_device *device,
              const uint8_t *record);

/* Begin a session; then open the connection. CVM_CALL_AGAIN, or how it ended. */
enum cvm_status cvm_start(struct cvm_session *session);

/* One bounded step: at most one call of send or receive, and one frame's or one buffer's worth of work. */
enum cvm_status cvm_step(struct cvm_session *session);

/* The connection could not be made, or the caller gives up: ends the session with CVM_LINE and wipes its secrets. */
enum cvm_status cvm_lost(struct cvm_session *session);

/* After the end: how long to stay away, in milliseconds; back-off and jitter included (SPEC.md, 11). */
uint32_t cvm_pause_ms(const struct cvm_session *session);

/* enum cvm_record_state of a record, CVM_RECORD_NONE for what is none. */
unsigned cvm_record_state(const uint8_t *record);

/* Of two places that are written in turn, the one that was written last and is whole; null: neither is. */
const uint8_t *cvm_record_newer(const uint8_t *one, const uint8_t *other);

/* Takes `size` bytes of an object at `offset` of it, and whether they are its last. Returns 0, or else: stop. */
typedef int (*cvm_sink)(void *user, unsigned kind, uint16_t offset, const uint8_t *bytes, size_t size, bool last);

/* Walk the objects of the bundle in flash that this record (STORED, ACTIVE, or port->accept was called) is of, at most
 * scratch_size bytes at a time. Returns 0, what the sink returned, or -1: the flash failed. */
int cvm_objects(const struct cvm_port *port, void *user, const uint8_t *record, uint8_t *scratch, size_t scratch_size,
                cvm_sink sink);

#ifdef __cplusplus
}
#endif

#endif
