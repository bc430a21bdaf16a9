/* Requests (SPEC.md, 4). A frame is not kept: it is made anew from the session for each piece that the line takes. So
 * HELLO, PROOF and ACK may be longer than the buffer. */
#include "cvm_internal.h"

/* Writes HELLO up to the serial. */
static void hello(const struct cvm_session *session, uint8_t head[CVM_HELLO_HEAD])
{
    const struct cvm_device *device = session->device;

    cvm_put16(head, CVM_HELLO_HEAD - CVM_HEADER_SIZE + device->serial_size);
    head[2] = CVM_TYPE_HELLO;
    memcpy(head + 3, CVM_MAGIC, 3);
    head[6] = CVM_VERSION;
    memcpy(head + 7, session->nonce, CVM_NONCE_SIZE);
    head[23] = CVM_SUITE;
    head[24] = 0;
    cvm_put16(head + 25, device->max_frame);
    cvm_put16(head + 27, device->max_wait_s);
}

void cvm_transcript(const struct cvm_session *session, const uint8_t *first, size_t size, const uint8_t *challenge,
                    uint8_t transcript[32])
{
    struct cvm_sha256 hash;
    uint8_t head[CVM_HELLO_HEAD];

    hello(session, head);
    cvm_sha256_begin(&hash);
    cvm_sha256_add(&hash, first, size);
    cvm_sha256_add(&hash, head, sizeof head);
    cvm_sha256_add(&hash, session->device->serial, session->device->serial_size);
    cvm_sha256_add(&hash, challenge, CVM_HEADER_SIZE + CVM_LONGEST_CHALLENGE);
    cvm_sha256_end(&hash, transcript);
}

#if CVM_CSR
size_t cvm_csr_size(const struct cvm_session *session)
{
    return session->request == CVM_TYPE_PROOF ? session->device->csr_size : 0;
}
#endif

size_t cvm_lay_out(const struct cvm_session *session, uint8_t *body)
{
    const struct cvm_device *device = session->device;
    const unsigned limit = (session->flags & (CVM_PUSHED | CVM_STREAMING)) != 0 ? device->limit : 0;
    const uint8_t *digest = session->secret.u.digest; /* of ACK */
    size_t size = 0;

    if (session->request == CVM_TYPE_FETCH) {
        cvm_put16(body, session->at);
        cvm_put16(body + 2, limit);
        return CVM_LONGEST_FETCH;
    }
    if (session->request == CVM_TYPE_PROOF) {
        digest = session->have;
        body[0] = (uint8_t)((digest != NULL ? CVM_PROOF_HAVE : 0u) | (device->renew ? CVM_PROOF_RENEW : 0u));
#if CVM_CSR
        body[0] |= device->csr_size != 0 ? CVM_PROOF_CSR : 0u;
#endif
        cvm_put16(body + 1, device->want);
        cvm_put16(body + 3, limit);
        size = CVM_SHORTEST_PROOF;
    }
    if (digest != NULL) {
        memcpy(body + size, digest, CVM_DIGEST_SIZE);
        size += CVM_DIGEST_SIZE;
    }
    return size;
}

enum cvm_status cvm_begin(struct cvm_session *session, unsigned request)
{
    session->request = (uint8_t)request;
    session->in_buffer = 0;
    if (request != CVM_TYPE_FETCH) {
        session->at = 0; /* HELLO: bytes that the hunt has skipped; PROOF: what FETCH asks for after WAIT */
    }
    session->flags = (uint8_t)(session->flags & ~(unsigned)CVM_SEALED);
    session->state = CVM_SENDING;
    session->since_ms = session->port->now_ms(session->user);
    return CVM_CALL_AGAIN;
}

enum cvm_status cvm_send(struct cvm_session *session)
{
#if CVM_SUITE == CVM_SUITE_NOISE
    uint8_t *room = session->device->buffer;
#else
    uint8_t room[CVM_COUNTER_SIZE + CVM_HELLO_HEAD + CVM_MAX_SERIAL];
#endif
    const uint8_t *frame = room;
    size_t size, at = session->in_buffer, end;
    int taken;

    if (session->request == CVM_TYPE_HELLO) {
        size = CVM_HELLO_HEAD + (size_t)session->device->serial_size;
        hello(session, room);
        memcpy(room + CVM_HELLO_HEAD, session->device->serial, session->device->serial_size);
    } else {
        frame = cvm_seal(session, room, &size);
        if (frame == NULL) {
            return CVM_BROKEN;
        }
    }
    end = size;
#if CVM_CSR && CVM_SUITE == CVM_SUITE_MAC
    if (cvm_csr_size(session) != 0) {
        const size_t csr_at = size - CVM_TAG_SIZE, csr_size = cvm_csr_size(session);

        size += csr_size;
        if (at < csr_at) { /* the piece before the CSR, it, or the one behind it */
            end = csr_at;
        } else if (at < csr_at + csr_size) {
            frame = session->device->csr;
            at -= csr_at;
            end = csr_size;
        } else {
            at -= csr_size;
        }
    }
#endif
    taken = session->port->send(session->user, frame + at, end - at);
    if ((size_t)taken > end - at) { /* or below 0 */
        return CVM_LINE;
    }
    if (taken == 0) {
        return cvm_elapsed(session, CVM_BYTE_TIMEOUT_MS) ? CVM_LINE : CVM_CALL_LATER;
    }
    session->since_ms = session->port->now_ms(session->user);
    session->in_buffer = (uint16_t)(session->in_buffer + taken);
    if (session->in_buffer == size) {
        session->in_buffer = 0;
        session->state = CVM_ANSWER;
        if (session->request != CVM_TYPE_HELLO) {
            session->sent_frames++;
        }
    }
    return CVM_CALL_AGAIN;
}
