/* The resume record. Its check is the start of a SHA-256: that is here anyhow. */
#include "cvm_internal.h"

enum {
    STATE = offsetof(struct cvm_record, state),
    SEQUENCE = offsetof(struct cvm_record, sequence),
    CHECK = offsetof(struct cvm_record, check)
};

static unsigned check_of(const uint8_t *record)
{
    struct cvm_sha256 hash;
    uint8_t digest[CVM_SHA256_SIZE];

    cvm_sha256_begin(&hash);
    cvm_sha256_add(&hash, record, CHECK);
    cvm_sha256_end(&hash, digest);
    return cvm_get16(digest);
}

unsigned cvm_record_state(const uint8_t *record)
{
    return check_of(record) == cvm_get16(record + CHECK) ? record[STATE] : CVM_RECORD_NONE;
}

const uint8_t *cvm_record_newer(const uint8_t *one, const uint8_t *other)
{
    const bool first = check_of(one) == cvm_get16(one + CHECK), second = check_of(other) == cvm_get16(other + CHECK);

    if (second && (!first || (uint8_t)(other[SEQUENCE] - one[SEQUENCE]) < 128)) {
        return other;
    }
    return first ? one : NULL;
}

enum cvm_status cvm_remember(struct cvm_session *session, unsigned state, enum cvm_status then)
{
    struct cvm_record *record = &session->record;
    const uint8_t before = record->state;

    record->state = (uint8_t)state;
    record->sequence++;
    cvm_put16(record->check, check_of((const uint8_t *)record));
    if (session->port->remember(session->user, (const uint8_t *)record) == 0) {
        return then;
    }
    record->state = before; /* the next session must not name a certificate that the flash knows nothing of */
    return CVM_BROKEN;
}
