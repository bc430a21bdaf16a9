/* A fuzzer of what a device makes of a server's bytes (libFuzzer), with the Python session as oracle.
 *
 * An input is a byte of settings, then pieces: 0, n and n bytes as they are; or a frame's type, n and n bytes of body,
 * which get their header and tag here. Tags are not checked and digests are zero (no_sha256.h), on both sides: what
 * lies behind them is reached. The stream that comes of it goes to the oracle, over the socket that CVM_ORACLE numbers;
 * what it says must be what the C client said and how it ended, to the byte. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "cvm_internal.h"

enum { LONGEST_STREAM = 16384, LONGEST_SAID = 65536, PADDING = 1500 };
enum { PULL = 1, HAVE = 2, RENEW = 4, NO_TOKEN = 8, PARTIAL = 16, SMALL_FRAME = 32, CHALLENGED = 64, TRICKLE = 128 };

static uint8_t stream[LONGEST_STREAM + PADDING], flash[65536], said[LONGEST_SAID];
static size_t stream_size, heard, said_size;
static uint32_t now;
static unsigned settings;

/* The suite that trusts everybody, in the place of cvm_mac.c. */
void cvm_keys(struct cvm_session *session, const uint8_t *challenge)
{
    uint8_t transcript[32];

    cvm_transcript(session, NULL, 0, challenge, transcript);
}

const uint8_t *cvm_seal(struct cvm_session *session, uint8_t *room, size_t *size)
{
    const size_t laid = cvm_lay_out(session, room + CVM_HEADER_SIZE);

    cvm_put16(room, (unsigned)(laid + CVM_TAG_SIZE));
    room[2] = session->request;
    memset(room + CVM_HEADER_SIZE + laid, 0, CVM_TAG_SIZE);
    *size = CVM_HEADER_SIZE + laid + CVM_TAG_SIZE;
    return room;
}

uint8_t *cvm_open(struct cvm_session *session, uint8_t *frame, size_t *size)
{
    session->opened_frames++;
    *size -= CVM_HEADER_SIZE + CVM_TAG_SIZE;
    return frame + CVM_HEADER_SIZE;
}

static int on_send(void *user, const uint8_t *bytes, size_t size)
{
    const size_t taken = (settings & TRICKLE) != 0 && size > 7 ? 7 : size;

    (void)user;
    if (said_size + taken > sizeof said) {
        return -1;
    }
    memcpy(said + said_size, bytes, taken);
    said_size += taken;
    return (int)taken;
}

static int on_receive(void *user, uint8_t *bytes, size_t size)
{
    const size_t left = stream_size - heard;

    (void)user;
    if ((settings & TRICKLE) != 0 && size > 1) {
        size = 1 + size / 3;
    }
    if (size > left) {
        size = left;
    }
    memcpy(bytes, stream + heard, size);
    heard += size;
    return size > 0 ? (int)size : -1;
}

static uint32_t on_now(void *user)
{
    (void)user;
    return now;
}

static int on_random(void *user, uint8_t *bytes, size_t size)
{
    (void)user;
    memset(bytes, 0x11, size);
    return 0;
}

static int on_store(void *user, uint16_t offset, const uint8_t *bytes, size_t size)
{
    (void)user;
    if (offset + size > sizeof flash) {
        abort();
    }
    memcpy(flash + offset, bytes, size);
    return 0;
}

static int on_load(void *user, uint16_t offset, uint8_t *bytes, size_t size)
{
    (void)user;
    if (offset + size > sizeof flash) {
        return -1;
    }
    memcpy(bytes, flash + offset, size);
    return 0;
}

static int on_remember(void *user, const uint8_t record[CVM_RECORD_SIZE])
{
    const struct cvm_session *session = (const struct cvm_session *)user;

    if (memcmp(&session->record, record, CVM_RECORD_SIZE) != 0 || session->record.stored > session->record.total) {
        abort();
    }
    return 0;
}

static int on_accept(void *user, const uint8_t digest[CVM_DIGEST_SIZE])
{
    (void)user;
    (void)digest;
    return 0;
}

static const struct cvm_port port = {on_send, on_receive, on_now, on_random, on_store, on_load, on_remember, on_accept};

static void lay_out_stream(const uint8_t *data, size_t size)
{
    static const uint8_t nonce[16] = {0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11,
                                      0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11};

    memset(stream, 0, sizeof stream);
    stream_size = 0;
    if ((settings & CHALLENGED) != 0) {
        stream[1] = CVM_LONGEST_CHALLENGE;
        stream[2] = CVM_TYPE_CHALLENGE;
        memcpy(stream + 3, nonce, sizeof nonce);
        stream_size = CVM_HEADER_SIZE + CVM_LONGEST_CHALLENGE;
    }
    while (size >= 2 && stream_size + 300 < LONGEST_STREAM) {
        const unsigned type = data[0];
        size_t body = data[1];

        data += 2;
        size -= 2;
        if (body > size) {
            body = size;
        }
        if (type != 0) {
            const size_t tag = type == CVM_TYPE_CLEAR_REFUSE ? 0 : CVM_TAG_SIZE;

            cvm_put16(stream + stream_size, (unsigned)(body + tag));
            stream[stream_size + 2] = (uint8_t)type;
            memcpy(stream + stream_size + 3, data, body);
            stream_size += 3 + body + tag;
        } else {
            memcpy(stream + stream_size, data, body);
            stream_size += body;
        }
        data += body;
        size -= body;
    }
    stream_size += PADDING; /* what is not whole is made so: each side judges it, be it early or late */
}

static void exchange(int (*move)(int, uint8_t *, size_t), int line, uint8_t *bytes, size_t size)
{
    while (size > 0) {
        const int done = move(line, bytes, size);

        if (done > 0) {
            bytes += done;
            size -= (size_t)done;
        } else if (done == 0 || errno != EINTR) { /* the fuzzer has a timer */
            fprintf(stderr, "THE ORACLE HAS LEFT\n");
            abort();
        }
    }
}

static int move_out(int line, uint8_t *bytes, size_t size)
{
    return (int)write(line, bytes, size);
}

static int move_in(int line, uint8_t *bytes, size_t size)
{
    return (int)read(line, bytes, size);
}

/* As the oracle says it: how it ended, what the refusal was, and all that was said. */
static size_t result(const struct cvm_session *session, enum cvm_status status, uint8_t *out)
{
    const bool refused = session->refusal != 0;

    out[0] = (uint8_t)status;
    out[1] = session->refusal;
    out[2] = refused ? session->stage : 0;
    cvm_put32(out + 3, refused ? session->retry_s : 0);
    cvm_put16(out + 7, refused ? session->detail : 0);
    cvm_put32(out + 9, status == CVM_ACTIVE || status == CVM_KEEP ? session->time : 0);
    memcpy(out + 13, said, said_size);
    return 13 + said_size;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t ours[13 + LONGEST_SAID], theirs[13 + LONGEST_SAID], head[5];
    static const uint8_t have[32] = {0x22}, token[32] = {0x33};
    static struct cvm_session session;
    struct cvm_device device;
    enum cvm_status status;
    const char *oracle = getenv("CVM_ORACLE");
    size_t our_size, their_size;

    if (size == 0) {
        return 0;
    }
    settings = data[0];
    lay_out_stream(data + 1, size - 1);
    memset(&device, 0, sizeof device);
    memset(&session, 0, sizeof session);
    device.serial = "A1";
    device.serial_size = 2;
    device.token = token;
    device.token_size = (settings & NO_TOKEN) != 0 ? 0 : sizeof token;
    device.max_frame = (settings & SMALL_FRAME) != 0 ? 48 : 512;
    device.buffer_size = device.max_frame;
    device.buffer = malloc(device.buffer_size); /* of its very size, so that a byte too many is seen */
    device.have = (settings & HAVE) != 0 ? have : NULL;
    device.renew = (settings & RENEW) != 0;
    device.want = 1u << CVM_KIND_CERTIFICATE | 1u << CVM_KIND_KEY_SEC1_PKCS1;
    device.limit = (settings & PULL) != 0 ? 27 : CVM_TO_THE_END;
    device.room = 2000;
    device.max_wait_s = 60;
    memset(flash, 0xff, sizeof flash);
    heard = said_size = 0;
    now = UINT32_MAX - 100000;
    cvm_init(&session, &port, &session, &device, NULL);
    if ((settings & PARTIAL) != 0) { /* half a bundle of 600 bytes is there from before */
        session.record.total = 600;
        session.record.stored = 256;
        session.record.state = CVM_RECORD_PARTIAL;
        memcpy(flash, "\1\2", 3);
    }
    for (status = cvm_start(&session); status <= CVM_CALL_LATER; status = cvm_step(&session)) {
        now += status == CVM_CALL_LATER ? 1000 : 0;
    }
    free(device.buffer);
    our_size = result(&session, status, ours);
    if (oracle == NULL) {
        return 0;
    }
    head[0] = (uint8_t)settings;
    cvm_put32(head + 1, (uint32_t)stream_size);
    exchange(move_out, atoi(oracle), head, sizeof head);
    exchange(move_out, atoi(oracle), stream, stream_size);
    exchange(move_in, atoi(oracle), head, 4);
    their_size = cvm_get32(head);
    exchange(move_in, atoi(oracle), theirs, their_size);
    if (our_size != their_size || memcmp(ours, theirs, our_size) != 0) {
        size_t i;

        fprintf(stderr, "SESSIONS DIFFER, settings %02x: the C client, then the oracle\n", settings);
        for (i = 0; i < our_size; i++) {
            fprintf(stderr, "%02x", ours[i]);
        }
        fputc('\n', stderr);
        for (i = 0; i < their_size; i++) {
            fprintf(stderr, "%02x", theirs[i]);
        }
        fputc('\n', stderr);
        abort();
    }
    return 0;
}
