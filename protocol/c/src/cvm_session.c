/* A session from cvm_start to its end, and when to come back (SPEC.md, 7 and 11). */
#include "cvm_internal.h"

void cvm_init(struct cvm_session *session, const struct cvm_port *port, void *user, const struct cvm_device *device,
              const uint8_t *record)
{
    cvm_wipe(session, sizeof *session);
    session->port = port;
    session->user = user;
    session->device = device;
    if (record != NULL) {
        memcpy(&session->record, record, CVM_RECORD_SIZE);
        session->record.state = (uint8_t)cvm_record_state(record);
    }
}

bool cvm_elapsed(const struct cvm_session *session, uint32_t limit_ms)
{
    const uint32_t gone_ms = session->port->now_ms(session->user) - session->since_ms - limit_ms;

    return gone_ms < UINT32_MAX / 2; /* since_ms may lie ahead, after WAIT */
}

static bool is_right(const struct cvm_device *device)
{
#if !CVM_TRUST_SERIAL
    if (device->token_size == 0 && (device->want & (1u << CVM_KIND_ROOT_CA | 1u << CVM_KIND_ENDPOINT)) != 0) {
        return false;
    }
#endif
#if CVM_CSR
    if (device->csr_size > CVM_MAX_CSR) {
        return false;
    }
#endif
#if CVM_SUITE == CVM_SUITE_NOISE
    unsigned least = CVM_NOISE_BUFFER;

#if CVM_CSR
    least += device->csr_size;
#endif
    if (device->buffer_size < least) {
        return false;
    }
#endif
    return device->max_frame >= CVM_MIN_MAX_FRAME && device->max_frame <= CVM_MAX_MAX_FRAME &&
           device->buffer_size >= device->max_frame &&
           device->serial_size - 1u < CVM_MAX_SERIAL && device->token_size <= CVM_MAX_TOKEN &&
           device->token_size - 1u >= CVM_MIN_TOKEN - 1u && device->limit != 0 && /* a token of 0 bytes is right */
           (device->want & (1u << CVM_KIND_CERTIFICATE)) != 0;
}

/* nonce_c, which never repeats for a token (SPEC.md, 5.4). Returns whether there is one. */
static bool draw_nonce(struct cvm_session *session)
{
    bool good = session->port->random(session->user, session->nonce, CVM_NONCE_SIZE) == 0;
#if CVM_NONCE_COUNTERS
    const struct cvm_device *device = session->device;
    uint8_t info[8 + CVM_NONCE_SIZE + 1], prk[CVM_SHA256_SIZE], key[CVM_SHA256_SIZE];
    size_t size = 8;

    cvm_put32(info, device->boot);
    cvm_put32(info + 4, ++session->connection);
    if (good) {
        memcpy(info + size, session->nonce, CVM_NONCE_SIZE);
        size += CVM_NONCE_SIZE;
    }
    info[size] = 1;
    cvm_extract(device->token, device->token_size, prk);
    cvm_hmac(prk, "cvm1 nonce", 10, info, size + 1, key);
    memcpy(session->nonce, key, CVM_NONCE_SIZE);
    cvm_wipe(prk, sizeof prk);
    good = true;
#endif
    return good;
}

/* What a session leaves behind when it ends with this status, if it does. Returns the status. */
static enum cvm_status ended(struct cvm_session *session, enum cvm_status status)
{
    if (status <= CVM_CALL_LATER) {
        return status;
    }
    /* 11: DONE, TURN and new bytes in flash are no failures; bytes that were dropped again are. */
    if (status <= CVM_KEEP || session->refusal == CVM_STATUS_TURN ||
        ((session->flags & CVM_PROGRESS) != 0 && session->record.state != CVM_RECORD_NONE)) {
        session->failures = 0;
    } else if (session->failures < 255) {
        session->failures++;
    }
    session->state = CVM_IDLE;
    cvm_wipe(&session->secret, sizeof session->secret);
    cvm_wipe(session->device->buffer, session->device->buffer_size);
    return status;
}

static enum cvm_status started(struct cvm_session *session)
{
    const struct cvm_device *device = session->device;

    session->time = 0;
    session->retry_s = 0;
    session->refusal = 0;
    session->flags = 0;
    session->sent_frames = 0;
    session->opened_frames = 0;
    session->have = device->have;
    if (!is_right(device)) {
        return CVM_MISUSE;
    }
    if (!draw_nonce(session)) {
        return CVM_BROKEN;
    }
    if (session->record.state >= CVM_RECORD_STORED) {
        return cvm_read_back(session);
    }
    if (session->record.state == CVM_RECORD_NONE && device->limit == CVM_TO_THE_END) {
        session->flags = CVM_PUSHED;
    }
    return cvm_begin(session, CVM_TYPE_HELLO);
}

enum cvm_status cvm_start(struct cvm_session *session)
{
    return ended(session, started(session));
}

static enum cvm_status stepped(struct cvm_session *session)
{
    const unsigned state = session->state;

    if (state == CVM_HASHING) {
        return cvm_hash_some(session);
    }
    if (state == CVM_SENDING) {
        return cvm_send(session);
    }
    if (state == CVM_ANSWER) {
        return cvm_receive(session);
    }
    if (!cvm_elapsed(session, 0)) { /* the turn that WAIT gave */
        return CVM_CALL_LATER;
    }
    return cvm_begin(session, session->request == CVM_TYPE_ACK ? CVM_TYPE_ACK : CVM_TYPE_FETCH);
}

enum cvm_status cvm_step(struct cvm_session *session)
{
    return session->state == CVM_IDLE ? CVM_MISUSE : ended(session, stepped(session));
}

enum cvm_status cvm_lost(struct cvm_session *session)
{
    return ended(session, CVM_LINE);
}

uint32_t cvm_pause_ms(const struct cvm_session *session)
{
    uint32_t wait_s = 5;
    unsigned i;

    for (i = 1; i < session->failures && wait_s < 3600; i++) {
        wait_s *= 2;
    }
    if (wait_s > 3600) {
        wait_s = 3600;
    }
    if (wait_s < session->retry_s) {
        wait_s = session->retry_s;
    }
    /* and up to a quarter more, by 10 random bits */
    return wait_s * 1000 + wait_s * 250 / 16 * (cvm_get16(session->nonce) & 1023u) / 64;
}
