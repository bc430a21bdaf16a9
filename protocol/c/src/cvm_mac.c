/* Suite mac (SPEC.md, 5.3 and 6.2). */
#include "cvm_internal.h"

#if CVM_SUITE == CVM_SUITE_MAC

void cvm_keys(struct cvm_session *session, const uint8_t *challenge)
{
    const struct cvm_device *device = session->device;
    uint8_t prk[CVM_SHA256_SIZE], info[CVM_SHA256_SIZE + 1];

    cvm_transcript(session, NULL, 0, challenge, info);
    info[CVM_SHA256_SIZE] = 1;
    cvm_extract(device->token, device->token_size, prk);
    cvm_hmac(prk, "cvm1 mac device", 15, info, sizeof info, session->secret.device_key);
    cvm_hmac(prk, "cvm1 mac server", 15, info, sizeof info, session->secret.server_key);
    cvm_wipe(prk, sizeof prk);
}

const uint8_t *cvm_seal(struct cvm_session *session, uint8_t *room, size_t *size)
{
    uint8_t *frame = room + CVM_COUNTER_SIZE; /* the counter is hashed before it, and not sent */
    const size_t laid = CVM_HEADER_SIZE + cvm_lay_out(session, frame + CVM_HEADER_SIZE);
    const uint8_t *csr = NULL;
    size_t csr_size = 0;

#if CVM_CSR
    csr = session->device->csr;
    csr_size = cvm_csr_size(session);
#endif
    *size = laid + CVM_TAG_SIZE;
    cvm_put32(room, session->sent_frames);
    cvm_put16(frame, (unsigned)(*size - CVM_HEADER_SIZE + csr_size));
    frame[2] = session->request;
    cvm_hmac(session->secret.device_key, room, CVM_COUNTER_SIZE + laid, csr, csr_size, frame + laid);
    return frame;
}

uint8_t *cvm_open(struct cvm_session *session, uint8_t *frame, size_t *size)
{
    uint8_t tag[CVM_SHA256_SIZE], counter[CVM_COUNTER_SIZE];

    *size -= CVM_TAG_SIZE;
    cvm_put32(counter, session->opened_frames++);
    cvm_hmac(session->secret.server_key, counter, sizeof counter, frame, *size, tag);
    if (cvm_differ(tag, frame + *size, CVM_TAG_SIZE)) {
        return NULL;
    }
    *size -= CVM_HEADER_SIZE;
    return frame + CVM_HEADER_SIZE;
}

#endif
