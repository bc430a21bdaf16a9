/* cvm-vend: a device in C on a POSIX machine. It gets its certificate by the C library, with a directory for its flash:
 * kill it at any moment, and the same command goes on where it stopped. */
#define _POSIX_C_SOURCE 200809L

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "posix_port.h"

/* As cvm-client's. */
enum { DONE = 0, REFUSED = 1, USAGE = 2, TEMPORARY = 3, FAILED = 4 };

static const char usage[] =
    "cvm-vend --host HOST --serial SERIAL --out DIR [options]\n"
    "Get a device's AWS IoT certificate from cvmd, by the C client library, suite mac.\n\n"
    "  --port PORT        where cvmd listens (default 7433)\n"
    "  --token-file FILE  the device's token in hex; none: auth serial\n"
    "  --max-frame BYTES  largest frame from the server, 48 to 1400 (default 512)\n"
    "  --limit BYTES      bytes asked for at a time (default: all)\n"
    "  --want LIST        objects beside certificate and key: root-ca,endpoint,thing-name, or none\n"
    "                     (default: all; without a token the thing name alone, since nothing proves who answers)\n"
    "  --key-format FORM  sec1 (PKCS#1 for RSA) or pkcs8 (default sec1)\n"
    "  --max-wait SECONDS to queue (default 120)\n"
    "  --attempts N       connections for what may pass by itself (default 1)\n"
    "  --cut-after BYTES  end at once after so many, like a device whose power fails\n\n"
    "exit codes: 0 active, 1 refused and a person must act, 2 an option or file is wrong, 3 refused for now,\n"
    "4 no connection or no right answer, 5 cut. After 3, 4, 5 or a kill the same command goes on.\n";

struct options {
    const char *host, *port, *serial, *token_file, *out, *want, *key_format;
    unsigned long max_frame, limit, max_wait_s, attempts, cut_after;
};

static unsigned long number(const char *text, unsigned long most)
{
    char *end;
    const unsigned long value = strtoul(text, &end, 10);

    if (text[0] < '0' || text[0] > '9' || *end != 0 || value > most) {
        fprintf(stderr, "cvm-vend: %s is no number from 0 to %lu\n", text, most);
        exit(USAGE);
    }
    return value;
}

static void read_options(int count, char **words, struct options *options)
{
    static const struct option known[] = {
        {"host", required_argument, NULL, 'h'},       {"port", required_argument, NULL, 'p'},
        {"serial", required_argument, NULL, 's'},     {"token-file", required_argument, NULL, 't'},
        {"out", required_argument, NULL, 'o'},        {"want", required_argument, NULL, 'w'},
        {"key-format", required_argument, NULL, 'k'}, {"max-frame", required_argument, NULL, 'f'},
        {"limit", required_argument, NULL, 'l'},      {"max-wait", required_argument, NULL, 'q'},
        {"attempts", required_argument, NULL, 'a'},   {"cut-after", required_argument, NULL, 'c'},
        {"help", no_argument, NULL, '?'},             {NULL, 0, NULL, 0},
    };
    int each;

    while ((each = getopt_long(count, words, "", known, NULL)) != -1) {
        switch (each) {
        case 'h': options->host = optarg; break;
        case 'p': options->port = optarg; break;
        case 's': options->serial = optarg; break;
        case 't': options->token_file = optarg; break;
        case 'o': options->out = optarg; break;
        case 'w': options->want = optarg; break;
        case 'k': options->key_format = optarg; break;
        case 'f': options->max_frame = number(optarg, 65535); break;
        case 'l': options->limit = number(optarg, 65535); break;
        case 'q': options->max_wait_s = number(optarg, 65535); break;
        case 'a': options->attempts = number(optarg, 1000000); break;
        case 'c': options->cut_after = number(optarg, 1000000000); break;
        default: fputs(usage, stderr); exit(USAGE);
        }
    }
    if (options->host == NULL || options->serial == NULL || options->out == NULL || optind != count) {
        fputs(usage, stderr);
        exit(USAGE);
    }
}

static void read_token(const char *path, uint8_t *token, uint8_t *size)
{
    FILE *file = fopen(path, "r");
    char digits[3] = "";

    if (file == NULL) {
        fprintf(stderr, "cvm-vend: %s: %s\n", path, strerror(errno));
        exit(USAGE);
    }
    *size = 0;
    while (fscanf(file, " %2[0-9A-Fa-f]", digits) == 1 && digits[1] != 0 && *size < CVM_MAX_TOKEN) {
        token[(*size)++] = (uint8_t)strtoul(digits, NULL, 16);
    }
    if (*size < CVM_MIN_TOKEN || digits[1] == 0 || !feof(file)) { /* too few, an odd one, or more behind them */
        fprintf(stderr, "cvm-vend: %s: a token is 16 to 64 bytes in hex\n", path);
        exit(USAGE);
    }
    fclose(file);
}

static uint16_t wanted(const struct options *options)
{
    static const struct {
        const char *name;
        unsigned kind;
    } extras[] = {{"root-ca", CVM_KIND_ROOT_CA}, {"endpoint", CVM_KIND_ENDPOINT}, {"thing-name", CVM_KIND_THING_NAME}};
    const char *left = options->want;
    const bool pkcs8 = strcmp(options->key_format, "pkcs8") == 0;
    unsigned want = 1u << CVM_KIND_CERTIFICATE | 1u << (pkcs8 ? CVM_KIND_KEY_PKCS8 : CVM_KIND_KEY_SEC1_PKCS1);
    size_t i, size;

    if (left == NULL) {
        left = options->token_file == NULL ? "thing-name" : "root-ca,endpoint,thing-name";
    }
    for (; strcmp(left, "none") != 0 && *left != 0; left += size + (left[size] == ',')) {
        size = strcspn(left, ",");
        for (i = 0; i < 3 && (strlen(extras[i].name) != size || strncmp(extras[i].name, left, size) != 0); i++) {
        }
        if (i == 3) {
            fprintf(stderr, "cvm-vend: --want takes root-ca, endpoint, thing-name, or none\n");
            exit(USAGE);
        }
        want |= 1u << extras[i].kind;
    }
    if (!pkcs8 && strcmp(options->key_format, "sec1") != 0) {
        fprintf(stderr, "cvm-vend: --key-format is sec1 or pkcs8\n");
        exit(USAGE);
    }
    return (uint16_t)want;
}

static struct posix_port port;
static uint8_t object[CVM_MAX_BUNDLE];

/* Each object of the active certificate becomes a file. */
static int unpack(void *user, unsigned kind, uint16_t offset, const uint8_t *bytes, size_t size, bool last)
{
    static const char *const names[] = {NULL,          "cert.der", "key.der",   "key.der",
                                        "root-ca.der", "endpoint", "thing-name"};

    (void)bytes; /* it is `object`: the whole at once */
    if (kind >= sizeof names / sizeof *names || offset != 0 || !last) {
        return 0;
    }
    return posix_port_write((struct posix_port *)user, names[kind], object, size);
}

static enum cvm_status one_session(struct cvm_session *session, const struct options *options)
{
    enum cvm_status status = cvm_start(session);
    const char *error;

    if (status == CVM_CALL_AGAIN) {
        error = posix_port_connect(&port, options->host, options->port);
        if (error != NULL) {
            fprintf(stderr, "cvm-vend: %s port %s: %s\n", options->host, options->port, error);
            status = cvm_lost(session);
        }
    }
    while (status <= CVM_CALL_LATER) {
        if (status == CVM_CALL_LATER) {
            posix_port_wait(&port);
        }
        status = cvm_step(session);
    }
    posix_port_disconnect(&port);
    return status;
}

/* Says what came of it. Returns the exit code. */
static int told(const struct cvm_session *session, enum cvm_status status)
{
    switch (status) {
    case CVM_ACTIVE:
    case CVM_KEEP:
        printf("active; connect after %u s; %ld bytes up, %ld down\n", session->connect_after_s, port.bytes_up,
               port.bytes_down);
        return DONE;
    case CVM_LINE:
        fprintf(stderr, "cvm-vend: the line was lost or stayed silent\n");
        return FAILED;
    case CVM_PEER:
        fprintf(stderr, "cvm-vend: what came is not from the server, or was bent on the way\n");
        return FAILED;
    case CVM_BROKEN:
        fprintf(stderr, "cvm-vend: the directory does not hold what was written, or cannot be written\n");
        return USAGE;
    case CVM_MISUSE:
        fprintf(stderr, "cvm-vend: a serial has 1 to 64 bytes, --max-frame is 48 to 1400, --limit is not 0,\n"
                        "and without a token --want has neither root-ca nor endpoint\n");
        return USAGE;
    case CVM_NO_ROOM:
        fprintf(stderr, "cvm-vend: the bundle is too large\n");
        return REFUSED;
    default:
        fprintf(stderr, "cvm-vend: refused: status %02x, stage %u, detail %u; come back after %" PRIu32 " s\n",
                session->refusal, session->stage, session->detail, session->retry_s);
        return status == CVM_BUSY || status == CVM_RESTART ? TEMPORARY : REFUSED;
    }
}

int main(int count, char **words)
{
    struct options options = {NULL, "7433", NULL, NULL, NULL, NULL, "sec1", CVM_DEFAULT_MAX_FRAME, CVM_TO_THE_END, 120, 1, 0};
    static struct cvm_session session;
    static struct cvm_device device;
    static uint8_t buffer[CVM_MAX_MAX_FRAME], token[CVM_MAX_TOKEN];
    uint8_t record[CVM_RECORD_SIZE];
    unsigned long attempt;
    int code = USAGE;

    read_options(count, words, &options);
    if (strlen(options.serial) > CVM_MAX_SERIAL || options.max_frame > sizeof buffer) {
        fprintf(stderr, "cvm-vend: a serial has 1 to 64 bytes, --max-frame is 48 to 1400\n");
        return USAGE;
    }
    device.serial = options.serial;
    device.serial_size = (uint8_t)strlen(options.serial);
    if (options.token_file != NULL) {
        read_token(options.token_file, token, &device.token_size);
    }
    device.token = token;
    device.buffer = buffer;
    device.buffer_size = sizeof buffer;
    device.max_frame = (uint16_t)options.max_frame;
    device.want = wanted(&options);
    device.limit = (uint16_t)options.limit;
    device.room = CVM_MAX_BUNDLE;
    device.max_wait_s = (uint16_t)options.max_wait_s;
    if (posix_port_open(&port, options.out, record) != 0) {
        fprintf(stderr, "cvm-vend: %s: %s\n", options.out, strerror(errno));
        return USAGE;
    }
    port.cut_after = (long)options.cut_after;
    cvm_init(&session, &posix_port, &port, &device, record);
    for (attempt = 1;; attempt++) {
        const enum cvm_status status = one_session(&session, &options);

        code = told(&session, status);
        if (status == CVM_ACTIVE &&
            cvm_objects(&posix_port, &port, (const uint8_t *)&session.record, object, sizeof object, unpack) != 0) {
            fprintf(stderr, "cvm-vend: %s: %s\n", options.out, strerror(errno));
            code = USAGE;
        }
        if ((code != TEMPORARY && code != FAILED) || attempt >= options.attempts) {
            break;
        }
        const uint32_t pause_ms = cvm_pause_ms(&session);
        const struct timespec pause = {(time_t)(pause_ms / 1000), (long)(pause_ms % 1000) * 1000000};
        nanosleep(&pause, NULL);
    }
    memset(object, 0, sizeof object);
    return code;
}
