/* Requests (SPEC.md, 4). A frame is not kept: it is made anew from the session for each piece that is sent. So HELLO,
 * PROOF and ACK may be longer than the buffer, and the line may take as few bytes at a time as it likes. */
#include "cvm_internal.h"

enum { LONGEST_HEAD = 29 };

/* Where in the buffer the bytes lie that are due: a sealed frame stays whole in it. */
#if CVM_SUITE == CVM_SUITE_NOISE
#define CVM_SENT_FROM(session) (((session)->flags & CVM_SEALED) != 0 ? (session)->in_buffer : 0u)
#else
#define CVM_SENT_FROM(session) 0u
#endif

/* Writes those bytes of a frame into the buffer that come after `skip` and fit, and hashes all of them. */
struct writer {
    struct cvm_sha256 hash;
    uint8_t *to;
    size_t skip;
    size_t room;
    size_t size; /* of the frame so far */
};

static void put(struct writer *writer, const void *bytes, size_t size)
{
    const uint8_t *each = (const uint8_t *)bytes;

    cvm_sha256_add(&writer->hash, bytes, size);
    for (; size > 0; size--, each++) {
        if (writer->size++ >= writer->skip && writer->room > 0) {
            writer->room--;
            *writer->to++ = *each;
        }
    }
}

/* Writes HELLO. */
static void hello(const struct cvm_session *session, struct writer *writer)
{
    const struct cvm_device *device = session->device;
    uint8_t head[LONGEST_HEAD];

    cvm_put16(head, 26u + device->serial_size);
    head[2] = CVM_TYPE_HELLO;
    memcpy(head + 3, CVM_MAGIC, 3);
    head[6] = CVM_VERSION;
    memcpy(head + 7, session->nonce, CVM_NONCE_SIZE);
    head[23] = CVM_SUITE;
    head[24] = 0;
    cvm_put16(head + 25, device->max_frame);
    cvm_put16(head + 27, device->max_wait_s);
    put(writer, head, sizeof head);
    put(writer, device->serial, device->serial_size);
}

/* What a tagged request consists of: at most 5 bytes, a digest (or none), a CSR (or none). */
struct request {
    uint8_t fields[5];
    uint8_t size;
    uint16_t csr_size;
    const uint8_t *digest;
};

static void lay_out(const struct cvm_session *session, struct request *request)
{
    const struct cvm_device *device = session->device;

    request->size = 0;
    request->csr_size = 0;
    request->digest = session->u.digest;
    if (session->request == CVM_TYPE_FETCH) {
        cvm_put16(request->fields, session->at);
        cvm_put16(request->fields + 2, (session->flags & CVM_STREAMING) != 0 ? device->limit
                                       : (session->flags & CVM_PUSHED) != 0  ? CVM_TO_THE_END
                                                                             : 0);
        request->size = 4;
        request->digest = NULL;
    } else if (session->request == CVM_TYPE_PROOF) {
        if ((session->flags & CVM_OWN_HAVE) == 0) {
            request->digest = device->have;
        }
        request->fields[0] = (uint8_t)((device->renew ? CVM_PROOF_RENEW : 0u) |
                                       (request->digest != NULL ? CVM_PROOF_HAVE : 0u));
        cvm_put16(request->fields + 1, device->want);
        cvm_put16(request->fields + 3, (session->flags & CVM_PUSHED) != 0 ? CVM_TO_THE_END : 0);
        request->size = 5;
#if CVM_CSR
        request->csr_size = device->csr_size;
        if (device->csr_size != 0) {
            request->fields[0] |= CVM_PROOF_CSR;
        }
#endif
    }
}

#if CVM_SUITE == CVM_SUITE_MAC
/* Writes a tagged frame. */
static bool tagged(struct cvm_session *session, struct writer *writer)
{
    struct request request;
    uint8_t head[4 + CVM_HEADER_SIZE]; /* the counter first: hashed, and not sent */
    uint8_t tag[CVM_SHA256_SIZE];
    size_t rest;

    lay_out(session, &request);
    rest = request.digest != NULL ? CVM_DIGEST_SIZE : 0;
    cvm_put32(head, session->sent_frames);
    cvm_put16(head + 4, (unsigned)(request.size + rest + request.csr_size + CVM_TAG_SIZE));
    head[6] = session->request;
    cvm_hmac_begin(&writer->hash, session->device_key, sizeof session->device_key);
    cvm_sha256_add(&writer->hash, head, 4);
    put(writer, head + 4, CVM_HEADER_SIZE);
    put(writer, request.fields, request.size);
    put(writer, request.digest, rest);
#if CVM_CSR
    put(writer, session->device->csr, request.csr_size);
#endif
    cvm_hmac_end(&writer->hash, session->device_key, sizeof session->device_key, tag);
    put(writer, tag, CVM_TAG_SIZE);
    return true;
}
#else
/* Seals a frame in the buffer, once, and counts it as written from `skip` on. Returns whether there is one. */
static bool tagged(struct cvm_session *session, struct writer *writer)
{
    uint8_t *buffer = session->device->buffer, *text = cvm_text(session);
    struct request request;
    size_t size = 1;

    if ((session->flags & CVM_SEALED) == 0) {
        lay_out(session, &request);
        text[0] = session->request;
        memcpy(text + 1, request.fields, request.size);
        size += request.size;
        if (request.digest != NULL) {
            memcpy(text + size, request.digest, CVM_DIGEST_SIZE);
            size += CVM_DIGEST_SIZE;
        }
#if CVM_CSR
        memcpy(text + size, session->device->csr, request.csr_size);
        size += request.csr_size;
#endif
        if (cvm_seal(session, size) == 0) {
            return false;
        }
        session->flags |= CVM_SEALED;
    }
    writer->size = CVM_HEADER_SIZE + cvm_get16(buffer);
    writer->room -= writer->size - writer->skip;
    return true;
}
#endif

enum cvm_status cvm_begin(struct cvm_session *session, unsigned request)
{
    session->request = (uint8_t)request;
    session->in_buffer = 0;
    session->flags = (uint8_t)(session->flags & ~(unsigned)CVM_SEALED);
    session->state = CVM_SENDING;
    session->since_ms = session->port->now_ms(session->user);
    return CVM_CALL_AGAIN;
}

void cvm_transcript(const struct cvm_session *session, const uint8_t *first, size_t size, const uint8_t *challenge,
                    uint8_t transcript[32])
{
    struct writer writer;

    writer.room = 0;
    cvm_sha256_begin(&writer.hash);
    cvm_sha256_add(&writer.hash, first, size);
    hello(session, &writer);
    cvm_sha256_add(&writer.hash, challenge, CVM_HEADER_SIZE + CVM_LONGEST_CHALLENGE);
    cvm_sha256_end(&writer.hash, transcript);
}

enum cvm_status cvm_send(struct cvm_session *session)
{
    const struct cvm_device *device = session->device;
    struct writer writer;
    size_t made;
    int taken;

    writer.to = device->buffer;
    writer.skip = session->in_buffer; /* bytes that the line took already */
    writer.room = device->buffer_size;
    writer.size = 0;
    if (session->request == CVM_TYPE_HELLO) {
        cvm_sha256_begin(&writer.hash); /* of no use here, but hello goes through it */
        hello(session, &writer);
    } else if (!tagged(session, &writer)) {
        return cvm_end(session, CVM_BROKEN);
    }
    made = device->buffer_size - writer.room;
    taken = session->port->send(session->user, device->buffer + CVM_SENT_FROM(session), made);
    if (taken < 0 || (size_t)taken > made) {
        return cvm_end(session, CVM_LINE);
    }
    if (taken == 0) {
        return cvm_elapsed(session, CVM_BYTE_TIMEOUT_MS) ? cvm_end(session, CVM_LINE) : CVM_CALL_LATER;
    }
    session->since_ms = session->port->now_ms(session->user);
    session->in_buffer = (uint16_t)(session->in_buffer + taken);
    if (session->in_buffer == writer.size) {
        session->in_buffer = 0;
        if (session->request == CVM_TYPE_HELLO) {
            session->at = 0;
            session->state = CVM_HUNTING;
        } else {
            session->sent_frames++;
            session->state = CVM_ANSWER;
        }
    }
    return CVM_CALL_AGAIN;
}
