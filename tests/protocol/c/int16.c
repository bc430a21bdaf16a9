/* The library where int and size_t have 16 bits: an ATmega2560 in simavr. The server is played here, with the session's
 * own keys; what came of it goes to the UART. */
#include <avr/interrupt.h>
#include <avr/io.h>
#include <avr/sleep.h>
#include <stdio.h>

#include "cvm_internal.h"

enum { MAX_FRAME = 48, TOTAL = 8 };

static const uint8_t bundle[TOTAL] = {CVM_KIND_CERTIFICATE, 0, 5, 'a', 'b', 'c', 'd', 'e'};
static struct cvm_session session;
static uint8_t buffer[MAX_FRAME], flash[TOTAL];
static uint8_t frame[64]; /* from the server: what is left of it */
static size_t at, size;
static uint8_t frames;       /* that the server has tagged */
static unsigned long now_ms; /* a second passes with each step */
static unsigned bent_length; /* of the first tagged frame; 0: as it should be */
static bool overrun;

static int on_send(void *user, const uint8_t *bytes, size_t count)
{
    (void)user;
    (void)bytes;
    return (int)count;
}

/* The answer to session.request. */
static void answer(void)
{
    uint8_t counter[CVM_COUNTER_SIZE], tag[CVM_SHA256_SIZE];
    size_t body = 0;

    at = 0;
    if (session.request == CVM_TYPE_HELLO) {
        memset(frame, 0, sizeof frame);
        frame[1] = CVM_LONGEST_CHALLENGE;
        frame[2] = CVM_TYPE_CHALLENGE;
        memcpy(frame + 3, session.nonce, CVM_NONCE_SIZE);
        size = CVM_HEADER_SIZE + CVM_LONGEST_CHALLENGE;
        return;
    }
    if (session.request == CVM_TYPE_PROOF) {
        frame[2] = CVM_TYPE_WAIT;
        cvm_put16(frame + 3, 65535);
        body = CVM_LONGEST_WAIT;
    } else if (session.request == CVM_TYPE_ACK) {
        frame[2] = CVM_TYPE_DONE;
        cvm_put32(frame + 3, 1800000000);
        cvm_put16(frame + 7, 5);
        body = CVM_LONGEST_DONE;
    } else if ((session.flags & CVM_STREAMING) == 0) {
        struct cvm_sha256 hash;

        frame[2] = CVM_TYPE_MANIFEST;
        cvm_sha256_begin(&hash);
        cvm_sha256_add(&hash, bundle, TOTAL);
        cvm_sha256_end(&hash, frame + 3);
        cvm_put16(frame + 19, TOTAL);
        body = CVM_LONGEST_MANIFEST;
    } else {
        frame[2] = CVM_TYPE_DATA;
        cvm_put16(frame + 3, 0);
        memcpy(frame + 5, bundle, TOTAL);
        body = 2 + TOTAL;
    }
    cvm_put16(frame, bent_length != 0 ? bent_length : (unsigned)body + CVM_TAG_SIZE);
    cvm_put32(counter, frames++);
    cvm_hmac(session.secret.server_key, counter, sizeof counter, frame, CVM_HEADER_SIZE + body, tag);
    memcpy(frame + CVM_HEADER_SIZE + body, tag, CVM_TAG_SIZE);
    size = CVM_HEADER_SIZE + body + CVM_TAG_SIZE;
}

static int on_receive(void *user, uint8_t *bytes, size_t room)
{
    size_t count = 0;

    (void)user;
    if (room > (size_t)(buffer + sizeof buffer - bytes)) {
        overrun = true;
        return -1;
    }
    if (at == size) {
        answer();
    }
    while (count < room && at < size) {
        bytes[count++] = frame[at++];
    }
    return (int)count;
}

static uint32_t on_now_ms(void *user)
{
    (void)user;
    return now_ms;
}

static int on_random(void *user, uint8_t *bytes, size_t count)
{
    (void)user;
    memset(bytes, 7, count);
    return 0;
}

static int on_store(void *user, uint16_t offset, const uint8_t *bytes, size_t count)
{
    (void)user;
    memcpy(flash + offset, bytes, count);
    return 0;
}

static int on_load(void *user, uint16_t offset, uint8_t *bytes, size_t count)
{
    (void)user;
    memcpy(bytes, flash + offset, count);
    return 0;
}

static int on_remember(void *user, const uint8_t record[CVM_RECORD_SIZE])
{
    (void)user;
    (void)record;
    return 0;
}

static const struct cvm_port port = {on_send, on_receive, on_now_ms, on_random, on_store, on_load, on_remember, NULL};

static void print(const char *text)
{
    for (; *text != 0; text++) {
        while ((UCSR0A & (1u << UDRE0)) == 0) {
        }
        UDR0 = (uint8_t)*text;
    }
}

/* One session: how it ended, how long it took, and whether more was to be received than the buffer holds. */
static void run(unsigned length)
{
    static const uint8_t token[CVM_MIN_TOKEN] = {0};
    struct cvm_device device = {.serial = "A", .serial_size = 1, .token = token, .token_size = sizeof token};
    enum cvm_status status;
    char line[60];

    device.buffer = buffer;
    device.buffer_size = sizeof buffer;
    device.max_frame = MAX_FRAME;
    device.want = 1u << CVM_KIND_CERTIFICATE;
    device.limit = CVM_PULL_LIMIT(MAX_FRAME);
    device.room = TOTAL;
    bent_length = length;
    frames = 0;
    at = size = 0;
    now_ms = 0;
    cvm_init(&session, &port, NULL, &device, NULL);
    for (status = cvm_start(&session); status <= CVM_CALL_LATER; status = cvm_step(&session)) {
        now_ms += 1000;
    }
    snprintf(line, sizeof line, "status %d after %lu s, overrun %d\n", (int)status, now_ms / 1000, overrun);
    print(line);
}

int main(void)
{
    UCSR0B = 1u << TXEN0;
    run(0);
    run(65533);
    cli();
    sleep_enable();
    sleep_cpu(); /* ends simavr */
    return 0;
}
