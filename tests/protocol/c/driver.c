/* The C library on a pipe: the test is the line, the flash and the clock. A command a line, hexadecimal; "." is no
 * bytes. While a session runs, each callback prints what it was called with and reads what it is to return. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "cvm_extras.h"
#include "cvm_internal.h"

enum { LONGEST = 300000 };

static char line[LONGEST];
static uint8_t first[LONGEST / 2], second[LONGEST / 2], third[LONGEST / 2];

static size_t from_hex(const char *text, uint8_t *bytes)
{
    size_t size = 0;
    unsigned value;

    while (text != NULL && sscanf(text, "%2x", &value) == 1) {
        bytes[size++] = (uint8_t)value;
        text += 2;
    }
    return size;
}

static void print_hex(const uint8_t *bytes, size_t size)
{
    size_t i;

    for (i = 0; i < size; i++) {
        printf("%02x", bytes[i]);
    }
    if (size == 0) {
        putchar('.');
    }
}

static const char *read_line(void)
{
    fflush(stdout);
    if (fgets(line, sizeof line, stdin) == NULL) {
        exit(0);
    }
    line[strcspn(line, "\n")] = 0;
    return line;
}

static int reply(void)
{
    putchar('\n');
    return atoi(read_line());
}

/* Reads bytes that must be exactly so many. */
static int reply_bytes(uint8_t *bytes, size_t size)
{
    const char *text;

    putchar('\n');
    text = read_line();
    return text[0] != '.' && strlen(text) == 2 * size && from_hex(text, bytes) == size ? 0 : -1;
}

static int on_send(void *user, const uint8_t *bytes, size_t size)
{
    (void)user;
    printf("send ");
    print_hex(bytes, size);
    return reply();
}

static int on_receive(void *user, uint8_t *bytes, size_t size)
{
    const char *text;

    (void)user;
    printf("receive %zu\n", size);
    text = read_line();
    return strcmp(text, "lost") == 0 ? -1 : (int)from_hex(text[0] == '.' ? NULL : text, bytes);
}

static uint32_t on_now(void *user)
{
    (void)user;
    printf("now\n");
    return (uint32_t)strtoul(read_line(), NULL, 10);
}

static int on_random(void *user, uint8_t *bytes, size_t size)
{
    (void)user;
    printf("random %zu", size);
    return reply_bytes(bytes, size);
}

static int on_store(void *user, uint16_t offset, const uint8_t *bytes, size_t size)
{
    (void)user;
    printf("store %u ", offset);
    print_hex(bytes, size);
    return reply();
}

static int on_load(void *user, uint16_t offset, uint8_t *bytes, size_t size)
{
    (void)user;
    printf("load %u %zu", offset, size);
    return reply_bytes(bytes, size);
}

static int on_remember(void *user, const uint8_t record[CVM_RECORD_SIZE])
{
    (void)user;
    printf("remember ");
    print_hex(record, CVM_RECORD_SIZE);
    return reply();
}

static int on_accept(void *user, const uint8_t digest[CVM_DIGEST_SIZE])
{
    (void)user;
    printf("accept ");
    print_hex(digest, CVM_DIGEST_SIZE);
    return reply();
}

static int on_object(void *user, unsigned kind, uint16_t offset, const uint8_t *bytes, size_t size, bool last)
{
    (void)user;
    printf("object %u %u %d ", kind, offset, last);
    print_hex(bytes, size);
    return reply();
}

#if CVM_SUITE == CVM_SUITE_NOISE && defined PRIMITIVES_OF_THE_TEST
static int on_x25519(void *user, uint8_t result[32], const uint8_t secret[32], const uint8_t *point)
{
    (void)user;
    printf("x25519 ");
    print_hex(secret, 32);
    putchar(' ');
    print_hex(point, point != NULL ? 32 : 0);
    return reply_bytes(result, 32);
}

static void print_call(const char *name, const uint8_t key[32], const uint8_t nonce[12], const uint8_t *ad,
                       size_t ad_size, const uint8_t *text, size_t size)
{
    printf("%s ", name);
    print_hex(key, 32);
    putchar(' ');
    print_hex(nonce, 12);
    putchar(' ');
    print_hex(ad, ad_size);
    putchar(' ');
    print_hex(text, size);
}

static int on_seal(void *user, const uint8_t key[32], const uint8_t nonce[12], const uint8_t *ad, size_t ad_size,
                   uint8_t *text, size_t size, uint8_t tag[16])
{
    (void)user;
    print_call("seal", key, nonce, ad, ad_size, text, size);
    if (reply_bytes(third, size + 16) != 0) {
        return -1;
    }
    memcpy(text, third, size);
    memcpy(tag, third + size, 16);
    return 0;
}

static int on_open(void *user, const uint8_t key[32], const uint8_t nonce[12], const uint8_t *ad, size_t ad_size,
                   uint8_t *text, size_t size, const uint8_t tag[16])
{
    (void)user;
    print_call("open", key, nonce, ad, ad_size, text, size);
    putchar(' ');
    print_hex(tag, 16);
    if (size == 0) {
        return reply();
    }
    return reply_bytes(text, size);
}
#elif CVM_SUITE == CVM_SUITE_NOISE
#include <mbedtls/chachapoly.h>
#include <mbedtls/ecp.h>

static int no_entropy(void *user, unsigned char *bytes, size_t size)
{
    (void)user;
    memset(bytes, 1, size); /* it blinds the multiplication, and changes no result */
    return 0;
}

static int on_x25519(void *user, uint8_t result[32], const uint8_t secret[32], const uint8_t *point)
{
    mbedtls_ecp_group group;
    mbedtls_ecp_point in, out;
    mbedtls_mpi scalar;
    uint8_t clamped[32];
    int failed;

    (void)user;
    memcpy(clamped, secret, 32);
    clamped[0] &= 248;
    clamped[31] = (uint8_t)((clamped[31] & 127) | 64);
    mbedtls_ecp_group_init(&group);
    mbedtls_ecp_point_init(&in);
    mbedtls_ecp_point_init(&out);
    mbedtls_mpi_init(&scalar);
    failed = mbedtls_ecp_group_load(&group, MBEDTLS_ECP_DP_CURVE25519) != 0 ||
             mbedtls_mpi_read_binary_le(&scalar, clamped, 32) != 0 ||
             (point != NULL && mbedtls_ecp_point_read_binary(&group, &in, point, 32) != 0) ||
             mbedtls_ecp_mul(&group, &out, &scalar, point != NULL ? &in : &group.G, no_entropy, NULL) != 0 ||
             mbedtls_mpi_write_binary_le(&out.X, result, 32) != 0;
    mbedtls_mpi_free(&scalar);
    mbedtls_ecp_point_free(&in);
    mbedtls_ecp_point_free(&out);
    mbedtls_ecp_group_free(&group);
    return failed;
}

static int on_seal(void *user, const uint8_t key[32], const uint8_t nonce[12], const uint8_t *ad, size_t ad_size,
                   uint8_t *text, size_t size, uint8_t tag[16])
{
    mbedtls_chachapoly_context context;
    int failed;

    (void)user;
    mbedtls_chachapoly_init(&context);
    failed = mbedtls_chachapoly_setkey(&context, key) != 0 ||
             mbedtls_chachapoly_encrypt_and_tag(&context, size, nonce, ad, ad_size, text, text, tag) != 0;
    mbedtls_chachapoly_free(&context);
    return failed;
}

static int on_open(void *user, const uint8_t key[32], const uint8_t nonce[12], const uint8_t *ad, size_t ad_size,
                   uint8_t *text, size_t size, const uint8_t tag[16])
{
    mbedtls_chachapoly_context context;
    int failed;

    (void)user;
    mbedtls_chachapoly_init(&context);
    failed = mbedtls_chachapoly_setkey(&context, key) != 0 ||
             mbedtls_chachapoly_auth_decrypt(&context, size, nonce, ad, ad_size, tag, text, text) != 0;
    mbedtls_chachapoly_free(&context);
    return failed;
}
#endif

static const struct cvm_port port = {
    on_send,     on_receive, on_now,  on_random, on_store, on_load, on_remember, on_accept,
#if CVM_SUITE == CVM_SUITE_NOISE
    on_x25519, on_seal, on_open,
#endif
};

static struct cvm_session session;
static struct cvm_device device;
static char serial[CVM_MAX_SERIAL + 1];
static uint8_t token[256], have[CVM_DIGEST_SIZE], record[CVM_RECORD_SIZE];
#if CVM_CSR
static uint8_t csr[CVM_MAX_CSR + 1]; /* one too many is refused */
#endif

static unsigned number(char **rest)
{
    const char *word = strtok_r(NULL, " ", rest);

    return word != NULL ? (unsigned)strtoul(word, NULL, 10) : 0;
}

/* init SERIAL TOKEN BUFFER_SIZE WANT LIMIT ROOM MAX_WAIT_S HAVE RENEW RECORD [BOOT CSR] */
static void on_init(char **rest)
{
    unsigned boot;

    free(device.buffer);
    device.serial_size = (uint8_t)from_hex(strtok_r(NULL, " ", rest), (uint8_t *)serial);
    device.serial = serial;
    device.token_size = (uint8_t)from_hex(strtok_r(NULL, " ", rest), token);
    device.token = token;
    device.buffer_size = (uint16_t)number(rest);
    device.max_frame = device.buffer_size;
#if CVM_SUITE == CVM_SUITE_NOISE
    device.buffer_size = (uint16_t)(device.max_frame < CVM_NOISE_BUFFER ? CVM_NOISE_BUFFER : device.max_frame);
#endif
    device.buffer = malloc(device.buffer_size); /* of its very size, so that a byte too many is seen */
    device.want = (uint16_t)number(rest);
    device.limit = (uint16_t)number(rest);
    device.room = (uint16_t)number(rest);
    device.max_wait_s = (uint16_t)number(rest);
    device.have = from_hex(strtok_r(NULL, " ", rest), have) != 0 ? have : NULL;
    device.renew = number(rest) != 0;
    cvm_init(&session, &port, NULL, &device,
             from_hex(strtok_r(NULL, " ", rest), record) == CVM_RECORD_SIZE ? record : NULL);
    boot = number(rest);
#if CVM_NONCE_COUNTERS
    device.boot = boot;
#endif
#if CVM_CSR
    device.csr = csr;
    device.csr_size = (uint16_t)from_hex(strtok_r(NULL, " ", rest), csr);
#endif
    (void)boot;
    printf("end\n");
}

static void on_run(void)
{
    enum cvm_status status = cvm_start(&session);

    while (status <= CVM_CALL_LATER) {
        status = cvm_step(&session);
        if (status == CVM_CALL_LATER) {
            printf("later");
            reply();
        }
    }
    printf("end %d %u %u %lu %u %lu %u %u %lu %d\n", status, session.refusal, session.stage,
           (unsigned long)session.retry_s, session.detail, (unsigned long)session.time, session.connect_after_s,
           session.failures, (unsigned long)cvm_pause_ms(&session), cvm_step(&session));
}

static void answer(const uint8_t *bytes, size_t size)
{
    printf("end ");
    print_hex(bytes, size);
    putchar('\n');
}

static int on_sign(void *user, const uint8_t digest[32], uint8_t signature[64])
{
    (void)user;
    printf("sign ");
    print_hex(digest, 32);
    return reply_bytes(signature, 64);
}

static int on_text(void *user, const char *text, size_t size)
{
    (void)user;
    printf("text ");
    print_hex((const uint8_t *)text, size);
    return reply();
}

/* pem LABEL BYTES PART, csr SERIAL POINT, units UNIT BYTES PART [CUT] */
static void on_extra(const char *command, size_t size, size_t more, char **rest)
{
    struct cvm_pem pem = {on_text, NULL, (const char *)first, {0}, 0, 0};
    struct cvm_units units = {on_store, NULL, 0, first[0], 0, {0}};
    uint8_t csr_made[CVM_LARGEST_CSR];
    const size_t part = number(rest);
    struct cvm_record is;
    size_t at, step;
    int failed = 0;

    if (strcmp(command, "csr") == 0) {
        answer(csr_made, cvm_csr((const char *)first, size, second, on_sign, NULL, csr_made));
        return;
    }
    first[size] = 0;
    failed = strcmp(command, "pem") == 0 ? cvm_pem_begin(&pem) : 0;
    for (at = 0; at < more; at += step) {
        step = more - at < part ? more - at : part;
        failed |= strcmp(command, "pem") == 0 ? cvm_pem_add(&pem, second + at, step)
                                              : cvm_units_store(&units, (uint16_t)at, second + at, step);
    }
    memset(&is, 0, sizeof is);
    is.total = is.stored = (uint16_t)more;
    failed |= strcmp(command, "pem") == 0 ? cvm_pem_end(&pem) : cvm_units_remember(&units, (const uint8_t *)&is);
    printf("end %d\n", failed);
}

static void obey(const char *command, char **rest)
{
    struct cvm_sha256 hash;
    uint8_t out[32];
    size_t size, more;
    const uint8_t *newer;

    if (strcmp(command, "init") == 0) {
        on_init(rest);
        return;
    }
    if (strcmp(command, "run") == 0) {
        on_run();
        return;
    }
    if (strcmp(command, "lost") == 0) {
        printf("end %d %u %lu\n", cvm_lost(&session), session.failures, (unsigned long)cvm_pause_ms(&session));
        return;
    }
    size = from_hex(strtok_r(NULL, " ", rest), first);
    more = from_hex(strtok_r(NULL, " ", rest), second);
    if (strcmp(command, "sha256") == 0) {
        cvm_sha256_begin(&hash);
        cvm_sha256_add(&hash, first, size);
        cvm_sha256_add(&hash, second, more);
        cvm_sha256_end(&hash, out);
        answer(out, 32);
    } else if (strcmp(command, "hmac") == 0) {
        memset(first + size, 0, 32 - size);
        cvm_hmac(first, second, more / 2, second + more / 2, more - more / 2, out);
        answer(out, 32);
    } else if (strcmp(command, "extract") == 0) {
        cvm_extract(first, size, out);
        answer(out, 32);
    } else if (strcmp(command, "expand") == 0) {
        size = from_hex(strtok_r(NULL, " ", rest), third);
        third[size] = 1;
        cvm_hmac(first, second, more, third, size + 1, out);
        answer(out, 32);
    } else if (strcmp(command, "differ") == 0) {
        printf("end %d\n", cvm_differ(first, second, size));
    } else if (strcmp(command, "open") == 0) { /* KEY FRAME COUNTER */
        memcpy(session.secret.server_key, first, sizeof session.secret.server_key);
        session.opened_frames = number(rest);
        printf("end %d\n", cvm_open(&session, second, &more) != NULL);
    } else if (strcmp(command, "record") == 0) {
        printf("end %u\n", cvm_record_state(first));
    } else if (strcmp(command, "newer") == 0) {
        newer = cvm_record_newer(first, second);
        printf("end %d\n", newer == NULL ? 0 : newer == first ? 1 : 2);
    } else if (strcmp(command, "objects") == 0) {
        uint8_t *scratch = malloc(more);

        printf("end %d\n", cvm_objects(&port, NULL, first, scratch, more, on_object));
        free(scratch);
    } else if (strcmp(command, "pem") == 0 || strcmp(command, "csr") == 0 || strcmp(command, "units") == 0) {
        on_extra(command, size, more, rest);
    } else {
        printf("end ?\n");
    }
}

int main(void)
{
    for (;;) {
        char *rest = NULL, *copy = strdup(read_line());

        obey(strtok_r(copy, " ", &rest), &rest);
        free(copy);
    }
}
