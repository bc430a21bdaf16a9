/* Requests (SPEC.md, 4). A frame is not kept: it is made anew from the session for each piece that is sent. So HELLO,
 * PROOF and ACK may be longer than the buffer, and the line may take as few bytes at a time as it likes. */
#include "cvm_internal.h"

enum { LONGEST_HEAD = 29 };

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

/* Writes HELLO; its hash is begun. */
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
    cvm_put16(head + 25, device->buffer_size);
    cvm_put16(head + 27, device->max_wait_s);
    cvm_sha256_begin(&writer->hash);
    put(writer, head, sizeof head);
    put(writer, device->serial, device->serial_size);
}

/* Writes a tagged frame of at most 5 bytes, a digest (or none), and a CSR (or none). */
static void tagged(const struct cvm_session *session, struct writer *writer)
{
    const struct cvm_device *device = session->device;
    const uint8_t *digest = session->u.digest;
    uint8_t head[4 + CVM_HEADER_SIZE + 5]; /* the counter first: hashed, and not sent */
    uint8_t *body = head + 4 + CVM_HEADER_SIZE;
    uint8_t tag[CVM_SHA256_SIZE];
    size_t size = 0, rest = CVM_DIGEST_SIZE, csr_size = 0;

    if (session->request == CVM_TYPE_FETCH) {
        cvm_put16(body, session->at);
        cvm_put16(body + 2, (session->flags & CVM_STREAMING) != 0 ? device->limit
                            : (session->flags & CVM_PUSHED) != 0  ? CVM_TO_THE_END
                                                                  : 0);
        size = 4;
        rest = 0;
    } else if (session->request == CVM_TYPE_PROOF) {
        if ((session->flags & CVM_OWN_HAVE) == 0) {
            digest = device->have;
        }
        body[0] = device->renew ? CVM_PROOF_RENEW : 0;
        cvm_put16(body + 1, device->want);
        cvm_put16(body + 3, (session->flags & CVM_PUSHED) != 0 ? CVM_TO_THE_END : 0);
        size = 5;
        if (digest != NULL) {
            body[0] |= CVM_PROOF_HAVE;
        } else {
            rest = 0;
        }
#if CVM_CSR
        csr_size = device->csr_size;
        if (csr_size != 0) {
            body[0] |= CVM_PROOF_CSR;
        }
#endif
    }
    cvm_put32(head, session->sent_frames);
    head[6] = session->request;
    cvm_put16(head + 4, (unsigned)(size + rest + csr_size + CVM_TAG_SIZE));
    cvm_hmac_begin(&writer->hash, session->device_key, sizeof session->device_key);
    cvm_sha256_add(&writer->hash, head, 4);
    put(writer, head + 4, CVM_HEADER_SIZE + size);
    put(writer, digest, rest);
#if CVM_CSR
    put(writer, device->csr, csr_size);
#endif
    cvm_hmac_end(&writer->hash, session->device_key, sizeof session->device_key, tag);
    put(writer, tag, CVM_TAG_SIZE);
}

enum cvm_status cvm_begin(struct cvm_session *session, unsigned request)
{
    session->request = (uint8_t)request;
    session->in_buffer = 0;
    session->state = CVM_SENDING;
    session->since_ms = session->port->now_ms(session->user);
    return CVM_CALL_AGAIN;
}

void cvm_transcript(const struct cvm_session *session, const uint8_t *challenge, uint8_t transcript[32])
{
    struct writer writer;

    writer.room = 0;
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
        hello(session, &writer);
    } else {
        tagged(session, &writer);
    }
    made = device->buffer_size - writer.room;
    taken = session->port->send(session->user, device->buffer, made);
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
