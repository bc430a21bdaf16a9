/* What the server's answers mean (SPEC.md, 7.3, 8 and 10). */
#include "cvm_internal.h"

static enum cvm_status remembered(struct cvm_session *session, unsigned state, enum cvm_status status)
{
    return cvm_end(session, cvm_remember(session, state) ? status : CVM_BROKEN);
}

enum cvm_status cvm_refused(struct cvm_session *session, const uint8_t *body, bool tagged)
{
    const uint32_t most_s = tagged ? CVM_MAX_TAGGED_RETRY_S : CVM_MAX_CLEAR_RETRY_S;
    const uint32_t retry_s = cvm_get32(body + 2);

    session->refusal = body[0];
    session->stage = body[1];
    session->retry_s = retry_s < most_s ? retry_s : most_s;
    session->detail = (uint16_t)cvm_get16(body + 6);
    switch (body[0] >> 4) {
    case 1:
        return cvm_end(session, CVM_BUSY);
    case 2:
        break;
    case 4:
        return cvm_end(session, CVM_MEND);
    default:
        return cvm_end(session, CVM_REPORT);
    }
    if (!tagged) { /* it could be anybody's: wait, and erase nothing */
        return cvm_end(session, CVM_BUSY);
    }
    if (body[0] != CVM_STATUS_STALE && session->record.state >= CVM_RECORD_STORED) {
        return cvm_end(session, CVM_BUSY);
    }
    return remembered(session, CVM_RECORD_NONE,
                      body[0] == CVM_STATUS_STALE && session->request != CVM_TYPE_ACK && session->device->have != NULL &&
                              (session->flags & CVM_OWN_HAVE) == 0
                          ? CVM_FORGET
                          : CVM_RESTART);
}

/* All that was asked for has come: ask for more, or read it back. */
static enum cvm_status go_on(struct cvm_session *session)
{
    const uint16_t limit = session->device->limit;
    const uint16_t left = (uint16_t)(session->record.total - session->at);

    if (left == 0) {
        return cvm_read_back(session);
    }
    session->due = left < limit ? left : limit;
    return cvm_begin(session, CVM_TYPE_FETCH);
}

static enum cvm_status manifest(struct cvm_session *session, const uint8_t *body)
{
    struct cvm_record *record = &session->record;
    const uint16_t total = (uint16_t)cvm_get16(body + 16);

    if (record->state >= CVM_RECORD_STORED) { /* what it has is active, and a successor is on offer (9.1) */
        return remembered(session, CVM_RECORD_ACTIVE, CVM_ACTIVE);
    }
    if (total == 0) {
        return cvm_end(session, CVM_PEER);
    }
    if (total > session->device->room) {
        session->retry_s = 3600;
        return cvm_end(session, CVM_NO_ROOM);
    }
    session->flags |= CVM_STREAMING;
    if (record->state != CVM_RECORD_PARTIAL || record->total != total ||
        memcmp(record->bundle_id, body, CVM_BUNDLE_ID_SIZE) != 0) {
        memcpy(record->bundle_id, body, CVM_BUNDLE_ID_SIZE);
        record->total = total;
        record->stored = 0;
        if (!cvm_remember(session, CVM_RECORD_PARTIAL)) {
            return cvm_end(session, CVM_BROKEN);
        }
    }
    session->at = session->record.stored;
    if ((session->flags & CVM_PUSHED) == 0) {
        return go_on(session);
    }
    session->due = total;
    return CVM_CALL_AGAIN;
}

static enum cvm_status data(struct cvm_session *session, const uint8_t *body, size_t size)
{
    const uint16_t offset = (uint16_t)cvm_get16(body);
    unsigned safe;

    size -= 2;
    if (offset != session->at || size > session->due) {
        return cvm_end(session, CVM_PEER);
    }
    if (session->port->store(session->user, offset, body + 2, size) != 0) {
        return cvm_end(session, CVM_BROKEN);
    }
    session->at = (uint16_t)(session->at + size);
    session->due = (uint16_t)(session->due - size);
    safe = session->at == session->record.total ? session->at : session->at & ~(CVM_PAGE - 1u);
    if (safe != session->record.stored) {
        session->record.stored = (uint16_t)safe;
        session->flags |= CVM_PROGRESS;
        if (!cvm_remember(session, CVM_RECORD_PARTIAL)) {
            return cvm_end(session, CVM_BROKEN);
        }
    }
    return session->due == 0 ? go_on(session) : CVM_CALL_AGAIN;
}

static enum cvm_status done(struct cvm_session *session, const uint8_t *body)
{
#if !CVM_TRUST_SERIAL
    if (session->device->token_size != 0)
#endif
        session->time = cvm_get32(body);
    session->connect_after_s = (uint16_t)cvm_get16(body + 4);
    if (session->record.state < CVM_RECORD_STORED) {
        return cvm_end(session, CVM_KEEP);
    }
    return remembered(session, CVM_RECORD_ACTIVE, CVM_ACTIVE);
}

enum cvm_status cvm_answered(struct cvm_session *session, unsigned type, const uint8_t *body, size_t size)
{
    static const uint8_t sizes[] = {CVM_LONGEST_WAIT, CVM_LONGEST_REFUSE, CVM_LONGEST_MANIFEST, 0, CVM_LONGEST_DONE};
    const bool acked = session->request == CVM_TYPE_ACK;
    const bool streaming = !acked && (session->flags & CVM_STREAMING) != 0;
    unsigned turn_s;

    if (type == CVM_TYPE_DATA ? size < 3 : size != sizes[type - CVM_TYPE_WAIT]) {
        return cvm_end(session, CVM_PEER);
    }
    if (type == CVM_TYPE_REFUSE) {
        return cvm_refused(session, body, true);
    }
    if (type == CVM_TYPE_DATA && streaming) {
        return data(session, body, size);
    }
    if (type == CVM_TYPE_MANIFEST && !streaming && !acked) {
        return manifest(session, body);
    }
    if (type == CVM_TYPE_WAIT && !streaming) {
        turn_s = cvm_get16(body);
        session->since_ms += 1000u * (turn_s < CVM_MAX_TURN_S ? turn_s : CVM_MAX_TURN_S);
        session->state = CVM_WAITING;
        return CVM_CALL_AGAIN;
    }
    if (type == CVM_TYPE_DONE && (acked || (!streaming && ((session->flags & CVM_OWN_HAVE) != 0 || session->device->have != NULL)))) {
        return done(session, body);
    }
    return cvm_end(session, CVM_PEER);
}
