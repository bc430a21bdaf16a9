/* The resume record. Its check is the start of a SHA-256: that is here anyhow. */
#include "cvm_internal.h"

static void get_check(const struct cvm_record *record, uint8_t check[CVM_SHA256_SIZE])
{
    struct cvm_sha256 hash;

    cvm_sha256_begin(&hash);
    cvm_sha256_add(&hash, record, offsetof(struct cvm_record, check));
    cvm_sha256_end(&hash, check);
}

static bool is_whole(const uint8_t *bytes)
{
    struct cvm_record record;
    uint8_t check[CVM_SHA256_SIZE];

    memcpy(&record, bytes, sizeof record);
    get_check(&record, check);
    return memcmp(record.check, check, sizeof record.check) == 0;
}

unsigned cvm_record_state(const uint8_t *bytes)
{
    return is_whole(bytes) ? bytes[offsetof(struct cvm_record, state)] : CVM_RECORD_NONE;
}

const uint8_t *cvm_record_newer(const uint8_t *one, const uint8_t *other)
{
    enum { SEQUENCE = offsetof(struct cvm_record, sequence) };
    const uint8_t *newer = is_whole(one) ? one : NULL;

    if (is_whole(other) && (newer == NULL || (uint8_t)(other[SEQUENCE] - one[SEQUENCE]) < 128)) {
        newer = other;
    }
    return newer;
}

bool cvm_remember(struct cvm_session *session, unsigned state)
{
    struct cvm_record *record = &session->record;
    uint8_t check[CVM_SHA256_SIZE];

    record->state = (uint8_t)state;
    record->sequence++;
    get_check(record, check);
    memcpy(record->check, check, sizeof record->check);
    return session->port->remember(session->user, (const uint8_t *)record) == 0;
}
