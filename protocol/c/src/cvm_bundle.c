/* The bundle in flash (SPEC.md, 8): read back, a buffer's worth a step. The whole first: does the flash hold what the
 * server sent? Then, of bytes that are right, the objects' heads, and the certificate once more for its digest. */
#include "cvm_internal.h"

static enum cvm_status hash_from(struct cvm_session *session, unsigned offset, unsigned size)
{
    session->at = (uint16_t)offset;
    session->due = (uint16_t)size;
    session->state = CVM_HASHING;
    cvm_sha256_begin(&session->secret.u.hash);
    return CVM_CALL_AGAIN;
}

enum cvm_status cvm_read_back(struct cvm_session *session)
{
    return hash_from(session, 0, session->record.total);
}

/* Judge the objects' heads. Returns the size of the certificate, which comes first; 0: the bundle is malformed, or an
 * object that was wanted is missing. */
static unsigned parsed(const struct cvm_session *session)
{
    const uint32_t total = session->record.total;
    uint32_t at = 0, missing = session->device->want, size = 0, first = 0;
    unsigned kind = 0;
    uint8_t head[CVM_OBJECT_HEAD];

    for (; at < total; at += size) {
        if (total - at < sizeof head || session->port->load(session->user, (uint16_t)at, head, sizeof head) != 0 ||
            head[0] <= kind) {
            return 0;
        }
        kind = head[0];
        size = cvm_get16(head + 1);
        if (size == 0) {
            return 0;
        }
        at += sizeof head;
        first = first == 0 ? size : first;
        missing &= kind < 16 ? ~(1u << kind) : ~0u;
    }
    /* What was acknowledged cannot be had again: it is kept, though this firmware wants more than a former one did. */
    return at == total && (missing == 0 || session->record.state != CVM_RECORD_PARTIAL) ? first : 0;
}

/* The certificate's digest is known: the flash holds all that was asked for. */
static enum cvm_status checked(struct cvm_session *session)
{
    const struct cvm_port *port = session->port;

    if (session->record.state != CVM_RECORD_PARTIAL) { /* from before a reset: it goes into HAVE */
        session->have = session->secret.u.digest;
        return cvm_begin(session, CVM_TYPE_HELLO);
    }
    if (port->accept != NULL && port->accept(session->user, session->secret.u.digest) != 0) {
        return CVM_BROKEN;
    }
    return cvm_remember(session, CVM_RECORD_STORED, cvm_begin(session, CVM_TYPE_ACK));
}

enum cvm_status cvm_hash_some(struct cvm_session *session)
{
    const struct cvm_device *device = session->device;
    const unsigned size = session->due < device->buffer_size ? session->due : device->buffer_size;
    uint8_t digest[CVM_DIGEST_SIZE];
    unsigned certificate;

    if (session->port->load(session->user, session->at, device->buffer, size) != 0) {
        return CVM_BROKEN;
    }
    cvm_sha256_add(&session->secret.u.hash, device->buffer, size);
    session->at = (uint16_t)(session->at + size);
    session->due = (uint16_t)(session->due - size);
    if (session->due != 0) {
        return CVM_CALL_AGAIN;
    }
    cvm_sha256_end(&session->secret.u.hash, digest);
    if ((session->flags & CVM_CHECKED) != 0) {
        memcpy(session->secret.u.digest, digest, sizeof digest);
        return checked(session);
    }
    if (cvm_differ(digest, session->record.bundle_id, CVM_BUNDLE_ID_SIZE)) { /* nothing of it is kept */
        return cvm_remember(session, CVM_RECORD_NONE, CVM_BROKEN);
    }
    certificate = parsed(session);
    if (certificate == 0) {
        return cvm_remember(session, CVM_RECORD_NONE, CVM_PEER);
    }
    session->flags |= CVM_CHECKED;
    return hash_from(session, CVM_OBJECT_HEAD, certificate);
}
