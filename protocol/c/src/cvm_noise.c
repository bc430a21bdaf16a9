/* Suite noise (SPEC.md, 5.3 and 6.3): Noise_NNpsk0_25519_ChaChaPoly_SHA256 as its initiator, revision 34.
 *
 * Until the first answer has opened, device_key holds h, server_key holds ck, and u.noise, where HAVE has no more use for
 * its digest then, the ephemeral secret and the key of the message in hand. */
#include "cvm_internal.h"

#if CVM_SUITE == CVM_SUITE_NOISE

enum { KEY = 32 };

static uint8_t *h(struct cvm_session *session)
{
    return session->secret.device_key;
}

static void mix_hash(struct cvm_session *session, const uint8_t *bytes, size_t size)
{
    struct cvm_sha256 hash;

    cvm_sha256_begin(&hash);
    cvm_sha256_add(&hash, h(session), KEY);
    cvm_sha256_add(&hash, bytes, size);
    cvm_sha256_end(&hash, h(session));
}

/* Noise's HKDF with two outputs, into `one` and `two`, of which `from` or `material` may be one. */
static void derive(const uint8_t *from, const uint8_t *material, size_t size, uint8_t *one, uint8_t *two)
{
    uint8_t key[KEY];

    cvm_hmac(from, material, size, NULL, 0, key);
    cvm_hmac(key, "\1", 1, NULL, 0, one);
    cvm_hmac(key, one, KEY, "\2", 1, two);
    cvm_wipe(key, sizeof key);
}

static void mix_key(struct cvm_session *session, const uint8_t material[KEY], uint8_t key[KEY])
{
    derive(session->secret.server_key, material, KEY, session->secret.server_key, key);
}

void cvm_keys(struct cvm_session *session, const uint8_t *challenge)
{
    /* SHA-256 of "Noise_NNpsk0_25519_ChaChaPoly_SHA256". */
    static const uint8_t name[KEY] = {
        0xf0, 0xb8, 0x90, 0x82, 0x6f, 0xb8, 0xe6, 0x58, 0x4a, 0xf6, 0x94, 0x8d, 0x22, 0x71, 0x69, 0xc3,
        0x81, 0xc9, 0xed, 0x6a, 0x4c, 0x1c, 0x90, 0xdf, 0x4b, 0x9f, 0xf4, 0x54, 0xfa, 0x94, 0x7f, 0x7b,
    };
    const struct cvm_device *device = session->device;
    uint8_t *ck = session->secret.server_key, mixed[KEY + 1];

    cvm_transcript(session, NULL, 0, challenge, mixed);
    mixed[KEY] = 1;
    cvm_extract(device->token, device->token_size, h(session));
    cvm_hmac(h(session), "cvm1 noise psk", 14, mixed, sizeof mixed, ck); /* the PSK, in the place of ck */
    cvm_transcript(session, name, KEY, challenge, h(session));

    /* MixKeyAndHash(psk): HKDF with three outputs. The last one, a key, is replaced before it is used: not made. */
    derive(name, ck, KEY, ck, mixed);
    mix_hash(session, mixed, KEY);
    cvm_wipe(mixed, sizeof mixed);
}

static void count_in(uint8_t nonce[12], uint32_t count)
{
    unsigned i;

    memset(nonce, 0, 12);
    for (i = 0; i < 4; i++) {
        nonce[4 + i] = (uint8_t)(count >> (8 * i));
    }
}

static bool seal(struct cvm_session *session, uint8_t *frame)
{
    const struct cvm_port *port = session->port;
    const bool first = session->sent_frames == 0;
    const uint8_t *key = session->secret.device_key;
    uint8_t *ephemeral = frame + CVM_HEADER_SIZE, *text = first ? ephemeral + CVM_EPHEMERAL_SIZE : ephemeral;
    uint8_t nonce[12], *ephemeral_secret = session->secret.u.noise[0], *first_key = session->secret.u.noise[1];
    size_t size;
    int failed = 0;

    text[0] = session->request;
    size = 1 + cvm_lay_out(session, text + 1);
#if CVM_CSR
    memcpy(text + size, session->device->csr, cvm_csr_size(session));
    size += cvm_csr_size(session);
#endif
    count_in(nonce, first ? 0 : session->sent_frames - 1);
    if (first) {
        key = first_key;
        failed = port->random(session->user, ephemeral_secret, KEY) != 0 ||
                 port->x25519(session->user, ephemeral, ephemeral_secret, NULL) != 0;
        mix_hash(session, ephemeral, KEY);
        mix_key(session, ephemeral, first_key);
    }
    failed |= port->seal(session->user, key, nonce, h(session), first ? (size_t)KEY : 0, text, size, text + size);
    size += CVM_TAG_SIZE;
    if (first) {
        cvm_wipe(first_key, KEY);
        mix_hash(session, text, size);
    }
    size += (size_t)(text - ephemeral);
    cvm_put16(frame, (unsigned)size);
    frame[2] = session->request;
    return failed == 0;
}

const uint8_t *cvm_seal(struct cvm_session *session, uint8_t *room, size_t *size)
{
    if ((session->flags & CVM_SEALED) == 0 && !seal(session, room)) { /* once: a key and nonce seal one text */
        return NULL;
    }
    session->flags |= CVM_SEALED;
    *size = CVM_HEADER_SIZE + cvm_get16(room);
    return room;
}

/* Message 2: e, ee. Its payload is opened under the second key of u.noise, then both directions have their own. */
static bool read_ephemeral(struct cvm_session *session, const uint8_t *ephemeral)
{
    static const uint8_t zeros[KEY];
    uint8_t *secret = session->secret.u.noise[0], *key = session->secret.u.noise[1];
    bool good;

    mix_hash(session, ephemeral, KEY);
    mix_key(session, ephemeral, key);
    good = session->port->x25519(session->user, key, secret, ephemeral) == 0 &&
           cvm_differ(key, zeros, KEY); /* zeros: a point of low order */
    mix_key(session, key, key);
    cvm_wipe(secret, KEY);
    return good;
}

uint8_t *cvm_open(struct cvm_session *session, uint8_t *frame, size_t *size)
{
    const bool first = session->opened_frames == 0;
    const uint8_t *key = session->secret.server_key;
    uint8_t *text = frame + CVM_HEADER_SIZE, *first_key = session->secret.u.noise[1], nonce[12];
    bool good = *size >= CVM_HEADER_SIZE + (first ? CVM_NOISE_FIRST_OVERHEAD : CVM_NOISE_OVERHEAD);

    if (!good) {
        return NULL;
    }
    count_in(nonce, first ? 0 : session->opened_frames - 1);
    session->opened_frames++;
    if (first) {
        key = first_key;
        good = read_ephemeral(session, text);
        text += CVM_EPHEMERAL_SIZE;
    }
    *size -= (size_t)(text - frame) + CVM_TAG_SIZE;
    good = good && session->port->open(session->user, key, nonce, h(session), first ? (size_t)KEY : 0, text, *size,
                                       text + *size) == 0;
    if (first) {
        cvm_wipe(first_key, KEY);
        derive(session->secret.server_key, NULL, 0, session->secret.device_key, session->secret.server_key);
    }
    *size -= 1;
    return good && text[0] == frame[2] ? text + 1 : NULL;
}

#endif
