/* What the server's answers mean (SPEC.md, 7.3, 8 and 10). */
#include "cvm_internal.h"

/* Tagged types as bits: may this answer come? */
#define BIT(type) (1u << ((type) - CVM_TYPE_WAIT))

enum cvm_status cvm_refused(struct cvm_session *session, const uint8_t *body, bool tagged)
{
    const uint32_t most_s = tagged ? CVM_MAX_TAGGED_RETRY_S : CVM_MAX_CLEAR_RETRY_S;
    const uint32_t retry_s = cvm_get32(body + 2);
    const unsigned group = body[0] >> 4;
    const bool stale = body[0] == CVM_STATUS_STALE;

    session->refusal = body[0];
    session->stage = body[1];
    session->retry_s = retry_s < most_s ? retry_s : most_s;
    session->detail = (uint16_t)cvm_get16(body + 6);
    if (group == 2 && tagged && (stale || session->record.state < CVM_RECORD_STORED)) {
        const bool retired = stale && session->request != CVM_TYPE_ACK && session->have != NULL &&
                             session->have != session->secret.u.digest;

        return cvm_remember(session, CVM_RECORD_NONE, retired ? CVM_FORGET : CVM_RESTART);
    }
    if (group == 1 || group == 2) { /* in clear, 2 could be anybody's: wait, and erase nothing */
        return CVM_BUSY;
    }
    return group == 4 ? CVM_MEND : CVM_REPORT;
}

/* All that was asked for has come: ask for more, or read it back. */
static enum cvm_status go_on(struct cvm_session *session)
{
    const unsigned left = session->record.total - (unsigned)session->at, limit = session->device->limit;

    if (left == 0) {
        return cvm_read_back(session);
    }
    session->due = (uint16_t)(left < limit ? left : limit);
    return cvm_begin(session, CVM_TYPE_FETCH);
}

static enum cvm_status manifest(struct cvm_session *session, const uint8_t *body)
{
    struct cvm_record *record = &session->record;
    const unsigned total = cvm_get16(body + CVM_BUNDLE_ID_SIZE);
    enum cvm_status status = CVM_CALL_AGAIN;

    if (record->state >= CVM_RECORD_STORED) { /* what it has is active, and a successor is on offer (9.1) */
        return cvm_remember(session, CVM_RECORD_ACTIVE, CVM_ACTIVE);
    }
    if (total == 0) {
        return CVM_PEER;
    }
    if (total > session->device->room) {
        session->retry_s = 3600;
        return CVM_NO_ROOM;
    }
    session->flags |= CVM_STREAMING;
    if (record->state != CVM_RECORD_PARTIAL || record->total != total ||
        cvm_differ(record->bundle_id, body, CVM_BUNDLE_ID_SIZE)) {
        memcpy(record->bundle_id, body, CVM_BUNDLE_ID_SIZE);
        record->total = (uint16_t)total;
        record->stored = 0;
        status = cvm_remember(session, CVM_RECORD_PARTIAL, CVM_CALL_AGAIN);
    }
    session->at = record->stored;
    session->due = (uint16_t)total;
    return status == CVM_CALL_AGAIN && (session->flags & CVM_PUSHED) == 0 ? go_on(session) : status;
}

static enum cvm_status data(struct cvm_session *session, const uint8_t *body, size_t size)
{
    const struct cvm_port *port = session->port;
    const unsigned offset = session->at, end = (unsigned)(offset + size);
    enum cvm_status status = CVM_CALL_AGAIN;
    unsigned safe;

    if (cvm_get16(body) != offset || size > session->due) {
        return CVM_PEER;
    }
    if (port->store(session->user, (uint16_t)offset, body + 2, size) != 0) {
        return CVM_BROKEN;
    }
    session->at = (uint16_t)end;
    session->due = (uint16_t)(session->due - size);
    safe = end == session->record.total ? end : end & ~(CVM_PAGE - 1u);
    if (safe != session->record.stored) {
        session->record.stored = (uint16_t)safe;
        session->flags |= CVM_PROGRESS;
        status = cvm_remember(session, CVM_RECORD_PARTIAL, CVM_CALL_AGAIN);
    }
    return status == CVM_CALL_AGAIN && session->due == 0 ? go_on(session) : status;
}

static enum cvm_status done(struct cvm_session *session, const uint8_t *body)
{
#if !CVM_TRUST_SERIAL
    if (session->device->token_size != 0)
#endif
        session->time = cvm_get32(body);
    session->connect_after_s = (uint16_t)cvm_get16(body + 4);
    if (session->record.state < CVM_RECORD_STORED) {
        return CVM_KEEP;
    }
    return cvm_remember(session, CVM_RECORD_ACTIVE, CVM_ACTIVE);
}

enum cvm_status cvm_answered(struct cvm_session *session, unsigned type, const uint8_t *body, size_t size)
{
    /* By type: bytes of the body, or the fewest of DATA. */
    static const uint8_t sizes[] = {CVM_LONGEST_WAIT, CVM_LONGEST_REFUSE, CVM_LONGEST_MANIFEST, CVM_SHORTEST_DATA,
                                    CVM_LONGEST_DONE};
    const unsigned least = sizes[type - CVM_TYPE_WAIT];
    unsigned may = BIT(CVM_TYPE_WAIT) | BIT(CVM_TYPE_REFUSE);
    uint32_t turn_s; /* for milliseconds, where int has 16 bits */

    if (session->request == CVM_TYPE_ACK) {
        may |= BIT(CVM_TYPE_DONE);
    } else if ((session->flags & CVM_STREAMING) != 0) {
        may = BIT(CVM_TYPE_DATA) | BIT(CVM_TYPE_REFUSE);
    } else {
        may |= BIT(CVM_TYPE_MANIFEST) | (session->have != NULL ? BIT(CVM_TYPE_DONE) : 0u);
    }
    if ((may & BIT(type)) == 0 || size < least || (size > least && type != CVM_TYPE_DATA)) {
        return CVM_PEER;
    }
    if (type == CVM_TYPE_DATA) {
        return data(session, body, size - 2);
    }
    if (type == CVM_TYPE_MANIFEST) {
        return manifest(session, body);
    }
    if (type == CVM_TYPE_DONE) {
        return done(session, body);
    }
    if (type == CVM_TYPE_REFUSE) {
        return cvm_refused(session, body, true);
    }
    turn_s = cvm_get16(body);
    session->since_ms += 1000u * (turn_s < CVM_MAX_TURN_S ? turn_s : CVM_MAX_TURN_S);
    session->state = CVM_WAITING;
    return CVM_CALL_AGAIN;
}
