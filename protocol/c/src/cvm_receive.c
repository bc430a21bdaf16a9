/* Frames from the server: the hunt for the first one (SPEC.md, 7.4), then one at a time, judged by its header. */
#include "cvm_internal.h"

enum {
    HEAD = CVM_HEADER_SIZE,
    WINDOW = HEAD + CVM_NONCE_SIZE,
};

/* Take what has come, up to `want` bytes in the buffer. */
static enum cvm_status fill(struct cvm_session *session, size_t want)
{
    const size_t room = want - session->in_buffer;
    const bool first = session->in_buffer == 0 || session->state == CVM_HUNTING;
    const int got = session->port->receive(session->user, session->device->buffer + session->in_buffer, room);

    if (got < 0 || (size_t)got > room) {
        return cvm_end(session, CVM_LINE);
    }
    if (got > 0) {
        session->in_buffer = (uint16_t)(session->in_buffer + got);
        if (session->state != CVM_HUNTING) {
            session->since_ms = session->port->now_ms(session->user);
            return CVM_CALL_AGAIN;
        }
    }
    /* The hunt has one limit in all, whatever bytes come. */
    if (cvm_elapsed(session, first ? CVM_ANSWER_TIMEOUT_MS : CVM_BYTE_TIMEOUT_MS)) {
        return cvm_end(session, CVM_LINE);
    }
    return got > 0 ? CVM_CALL_AGAIN : CVM_CALL_LATER;
}

/* Whether the window holds the start of CHALLENGE or of a clear REFUSE with this session's nonce. */
static bool is_found(const struct cvm_session *session)
{
    const uint8_t *window = session->device->buffer;
    const unsigned head = cvm_get16(window + 1);

    return window[0] == 0 &&
           (head == (CVM_LONGEST_CHALLENGE << 8 | CVM_TYPE_CHALLENGE) ||
            head == (CVM_LONGEST_CLEAR_REFUSE << 8 | CVM_TYPE_CLEAR_REFUSE)) &&
           memcmp(window + HEAD, session->nonce, CVM_NONCE_SIZE) == 0;
}

enum cvm_status cvm_hunt(struct cvm_session *session)
{
    uint8_t *buffer = session->device->buffer;
    const bool found = session->in_buffer >= WINDOW;
    const size_t want = found ? (size_t)HEAD + buffer[1] : (size_t)WINDOW;
    const enum cvm_status status = fill(session, want);

    if (status != CVM_CALL_AGAIN || session->in_buffer < want) {
        return status;
    }
    if (!found) {
        if (!is_found(session)) {
            session->in_buffer--;
            memmove(buffer, buffer + 1, session->in_buffer);
            if (++session->at == 0) { /* 65536 bytes were skipped */
                return cvm_end(session, CVM_PEER);
            }
        }
        return CVM_CALL_AGAIN;
    }
    if (buffer[2] == CVM_TYPE_CLEAR_REFUSE) {
        return cvm_refused(session, buffer + WINDOW, false);
    }
    if (cvm_get16(buffer + HEAD + 32) != 0) { /* reserved flags */
        return cvm_end(session, CVM_PEER);
    }
    cvm_keys(session, buffer);
    session->at = 0;
    return cvm_begin(session, CVM_TYPE_PROOF);
}

/* Whether a frame with this header may come. Its body is as yet unread. */
static bool is_expected(const struct cvm_session *session, unsigned type, unsigned length)
{
    if (type == CVM_TYPE_CLEAR_REFUSE) {
        return session->opened_frames == 0 && length == CVM_LONGEST_CLEAR_REFUSE;
    }
    return type >= CVM_TYPE_WAIT && type <= CVM_TYPE_DONE && length >= CVM_OVERHEAD &&
           length <= (unsigned)session->device->max_frame - HEAD;
}

enum cvm_status cvm_receive(struct cvm_session *session)
{
    uint8_t *buffer = session->device->buffer;
    size_t length = session->in_buffer < HEAD ? 0 : cvm_get16(buffer);
    const enum cvm_status status = fill(session, HEAD + length);
    const uint8_t *body;

    if (status != CVM_CALL_AGAIN || session->in_buffer < HEAD) {
        return status;
    }
    length = cvm_get16(buffer);
    if (!is_expected(session, buffer[2], (unsigned)length)) {
        return cvm_end(session, CVM_PEER);
    }
    if (session->in_buffer < HEAD + length) {
        return CVM_CALL_AGAIN;
    }
    session->in_buffer = 0;
    if (buffer[2] == CVM_TYPE_CLEAR_REFUSE) {
        return memcmp(buffer + HEAD, session->nonce, CVM_NONCE_SIZE) == 0
                   ? cvm_refused(session, buffer + WINDOW, false)
                   : cvm_end(session, CVM_PEER);
    }
    length += HEAD;
    body = cvm_open(session, buffer, &length);
    return body != NULL ? cvm_answered(session, buffer[2], body, length) : cvm_end(session, CVM_PEER);
}
