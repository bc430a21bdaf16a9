/* The resume record: state 1, sequence 1, bundle_id 16, total 2, stored 2, check 2 (the start of a SHA-256). */
#include "cvm_internal.h"

enum { STATE = 0, SEQUENCE = 1, CHECKED = 22 };

static void checksum(const uint8_t *record, uint8_t check[32])
{
    struct cvm_sha256 hash;

    cvm_sha256_begin(&hash);
    cvm_sha256_add(&hash, record, CHECKED);
    cvm_sha256_end(&hash, check);
}

static bool is_whole(const uint8_t *record)
{
    uint8_t check[32];

    checksum(record, check);
    return record[CHECKED] == check[0] && record[CHECKED + 1] == check[1] && record[STATE] <= CVM_RECORD_ACTIVE;
}

unsigned cvm_record_state(const uint8_t *record)
{
    return is_whole(record) ? record[STATE] : CVM_RECORD_NONE;
}

const uint8_t *cvm_record_newer(const uint8_t *one, const uint8_t *other)
{
    const uint8_t *newer = is_whole(one) ? one : NULL;

    if (is_whole(other) && (newer == NULL || (uint8_t)(other[SEQUENCE] - one[SEQUENCE]) < 128)) {
        newer = other;
    }
    return newer;
}

bool cvm_remember(struct cvm_session *session, unsigned state)
{
    uint8_t *record = session->record;
    uint8_t check[32];

    record[STATE] = (uint8_t)state;
    record[SEQUENCE]++;
    checksum(record, check);
    memcpy(record + CHECKED, check, 2);
    return session->port->remember(session->user, record) == 0;
}
