/* Suite mac (SPEC.md, 5.3 and 6.2). */
#include "cvm_internal.h"

#if CVM_SUITE == CVM_SUITE_MAC

void cvm_keys(struct cvm_session *session, const uint8_t *challenge)
{
    const struct cvm_device *device = session->device;
    uint8_t *transcript = session->server_key; /* until the last line, which reads it before it writes there */
    uint8_t prk[CVM_SHA256_SIZE];

    cvm_transcript(session, NULL, 0, challenge, transcript);
    cvm_extract(device->token, device->token_size, prk);
    cvm_expand(prk, "cvm1 mac device", 15, transcript, 32, session->device_key);
    cvm_expand(prk, "cvm1 mac server", 15, transcript, 32, session->server_key);
    cvm_wipe(prk, sizeof prk);
}

uint8_t *cvm_open(struct cvm_session *session, uint8_t *frame, size_t *size)
{
    struct cvm_sha256 hash;
    uint8_t tag[CVM_SHA256_SIZE], counter[4];

    *size -= CVM_TAG_SIZE;
    cvm_put32(counter, session->opened_frames++);
    cvm_hmac_begin(&hash, session->server_key, sizeof session->server_key);
    cvm_sha256_add(&hash, counter, sizeof counter);
    cvm_sha256_add(&hash, frame, *size);
    cvm_hmac_end(&hash, session->server_key, sizeof session->server_key, tag);
    if (cvm_differ(tag, frame + *size, CVM_TAG_SIZE)) {
        return NULL;
    }
    *size -= CVM_HEADER_SIZE;
    return frame + CVM_HEADER_SIZE;
}

#endif
