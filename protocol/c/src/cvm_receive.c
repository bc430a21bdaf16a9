/* Frames from the server: the hunt for the first one (SPEC.md, 7.4), then one at a time, judged by its header. */
#include "cvm_internal.h"

enum {
    HEAD = CVM_HEADER_SIZE,
    WINDOW = HEAD + CVM_NONCE_SIZE /* what a hunt looks at */
};

static bool is_hunting(const struct cvm_session *session)
{
    return session->request == CVM_TYPE_HELLO;
}

/* Whether it begins with a frame of this session that is not tagged. */
static bool has_nonce(const struct cvm_session *session)
{
    return !cvm_differ(session->device->buffer + HEAD, session->nonce, CVM_NONCE_SIZE);
}

/* Whether a frame with the header in the buffer may come. */
static bool is_expected(const struct cvm_session *session)
{
    const uint8_t *buffer = session->device->buffer;
    const unsigned length = cvm_get16(buffer), type = buffer[2];

    if (type == CVM_TYPE_CLEAR_REFUSE) {
        return length == CVM_LONGEST_CLEAR_REFUSE && session->opened_frames == 0;
    }
    if (is_hunting(session)) {
        return length == CVM_LONGEST_CHALLENGE && type == CVM_TYPE_CHALLENGE;
    }
    return type >= CVM_TYPE_WAIT && type <= CVM_TYPE_DONE && length >= CVM_OVERHEAD &&
           length <= session->device->max_frame - CVM_HEADER_SIZE; /* HEAD + length may be beyond 16 bits */
}

/* The header is there, or when hunting the window. */
static enum cvm_status judged(struct cvm_session *session)
{
    uint8_t *buffer = session->device->buffer;
    const bool expected = is_expected(session);

    if (!is_hunting(session)) {
        return expected ? CVM_CALL_AGAIN : CVM_PEER;
    }
    if (!expected || !has_nonce(session)) {
        session->in_buffer--;
        memmove(buffer, buffer + 1, WINDOW - 1);
        if (++session->at == 0) { /* 65536 bytes were skipped */
            return CVM_PEER;
        }
    }
    return CVM_CALL_AGAIN;
}

static enum cvm_status whole(struct cvm_session *session, size_t size)
{
    uint8_t *buffer = session->device->buffer;
    const uint8_t *body;

    session->in_buffer = 0;
    if (buffer[2] == CVM_TYPE_CLEAR_REFUSE) {
        return has_nonce(session) ? cvm_refused(session, buffer + WINDOW, false) : CVM_PEER;
    }
    if (is_hunting(session)) {
        if (cvm_get16(buffer + WINDOW + CVM_NONCE_SIZE) != 0) { /* reserved flags */
            return CVM_PEER;
        }
        cvm_keys(session, buffer);
        return cvm_begin(session, CVM_TYPE_PROOF);
    }
    body = cvm_open(session, buffer, &size);
    return body != NULL ? cvm_answered(session, buffer[2], body, size) : CVM_PEER;
}

enum cvm_status cvm_receive(struct cvm_session *session)
{
    uint8_t *buffer = session->device->buffer;
    const bool hunting = is_hunting(session);
    const size_t had = session->in_buffer, head = hunting ? WINDOW : HEAD;
    const size_t want = had < head ? head : HEAD + cvm_get16(buffer);
    const int got = session->port->receive(session->user, buffer + had, want - had);

    if ((size_t)got > want - had) { /* or below 0 */
        return CVM_LINE;
    }
    if (got > 0 && !hunting) { /* the hunt has one limit in all, whatever bytes come */
        session->since_ms = session->port->now_ms(session->user);
    }
    if (cvm_elapsed(session, had == 0 || hunting ? CVM_ANSWER_TIMEOUT_MS : CVM_BYTE_TIMEOUT_MS)) {
        return CVM_LINE;
    }
    if (got == 0) {
        return CVM_CALL_LATER;
    }
    session->in_buffer = (uint16_t)(had + (size_t)got);
    if (session->in_buffer < want) {
        return CVM_CALL_AGAIN;
    }
    return had < head ? judged(session) : whole(session, want);
}
