#include "cvm_modem.h"

#include <string.h>

enum state {
    DISCONNECTED,
    FINDING,   /* is the modem there, and listening to commands? */
    SETTING_UP,
    OPENING,
    CONNECTED, /* and no command is under way */
    PROMPTING, /* the prompt is due, for `promised` bytes */
    SENDING,   /* the bytes were handed over, `sent` is due */
    READING
};

enum heard { NOTHING, OTHER, OK, ERROR, OPENED, FAILED, SENT, PROMPT, DATA, ARRIVED, CLOSED, LOST };

enum {
    FIND_MS = 300,      /* for the answer to AT */
    MOST_TRIES = 30,    /* of AT. A modem that was left at its prompt takes them for the bytes that it waits for */
    LARGEST_PIECE = 64, /* so that it soon has had enough of them */
    SET_UP_MS = 10000,  /* to close takes so long, for some */
    POLL_MS = 1000      /* reads that nobody announced */
};

static bool elapsed(const struct cvm_modem *modem, uint32_t limit_ms)
{
    return modem->now_ms(modem->user) - modem->since_ms >= limit_ms;
}

static void write_number(const struct cvm_modem *modem, unsigned number)
{
    char digits[5];
    size_t first = sizeof digits;

    do {
        digits[--first] = (char)('0' + number % 10u);
        number /= 10u;
    } while (number != 0 && first > 0);
    modem->write(modem->user, digits + first, sizeof digits - first);
}

/* Writes a command, up to its \r. Returns what comes after it. */
static const char *say(struct cvm_modem *modem, const char *command, unsigned number)
{
    size_t size;

    modem->since_ms = modem->now_ms(modem->user);
    do {
        size = strcspn(command, "@#\r");
        if (command[size] == '\r') {
            size++;
        }
        modem->write(modem->user, command, size);
        command += size;
        if (*command == '@') {
            modem->write(modem->user, modem->host, strlen(modem->host));
            command++;
        } else if (*command == '#') {
            write_number(modem, number);
            command++;
        }
    } while (command[-1] != '\r');
    return command;
}

/* Whether the line begins so; `number` is what # stands for. */
static bool is(const struct cvm_modem *modem, const char *beginning, uint16_t *number)
{
    const char *line = modem->line;
    uint32_t value = 0;

    if (beginning == NULL) {
        return false;
    }
    for (; *beginning != 0; beginning++) {
        if (*beginning != '#') {
            if (*line++ != *beginning) {
                return false;
            }
            continue;
        }
        if (*line < '0' || *line > '9') {
            return false;
        }
        for (; *line >= '0' && *line <= '9'; line++) {
            value = value * 10u + (uint32_t)(*line - '0');
            if (value > UINT16_MAX) {
                return false;
            }
        }
        *number = (uint16_t)value;
    }
    return true;
}

static enum heard judged(const struct cvm_modem *modem)
{
    const struct cvm_modem_commands *commands = modem->commands;
    const struct {
        const char *beginning;
        enum heard heard;
    } lines[] = {
        {commands->opened, OPENED}, {commands->failed, FAILED}, {commands->sent, SENT}, {commands->arrived, ARRIVED},
        {commands->closed, CLOSED}, {"OK", OK},           {"CLOSE OK", OK},   {"ERROR", ERROR},
        {"+CME ERROR", ERROR},      {"SEND FAIL", ERROR},       {"busy", ERROR},
    };
    uint16_t unused;
    size_t i;

    for (i = 0; i < sizeof lines / sizeof *lines; i++) {
        /* `opened` may well be the OK of any other command, */
        if (is(modem, lines[i].beginning, &unused) && (lines[i].heard != OPENED || modem->state == OPENING)) {
            return lines[i].heard;
        }
    }
    return OTHER;
}

static enum heard hear_byte(struct cvm_modem *modem, char byte)
{
    const struct cvm_modem_commands *commands = modem->commands;
    enum heard heard;

    if (modem->filled == 0 && modem->state == PROMPTING && byte == '>') {
        return PROMPT;
    }
    modem->line[modem->filled] = 0;
    if (byte == commands->data_after && is(modem, commands->data, &modem->left)) {
        modem->filled = 0;
        return DATA;
    }
    if (byte == '\n') {
        heard = judged(modem);
        modem->filled = 0;
        return heard;
    }
    if (byte != '\r' && (byte != ' ' || modem->filled != 0) && modem->filled < sizeof modem->line - 1u) {
        modem->line[modem->filled++] = byte;
    }
    return OTHER;
}

/* What the modem says next, and what follows from it whatever we are about. Data that are still due answer nothing that
 * was asked, and are dropped. */
static enum heard hear(struct cvm_modem *modem)
{
    enum heard heard = OTHER;
    uint8_t byte;

    while (heard == OTHER) {
        const int got = cvm_uart_receive(&modem->uart, &byte, 1);

        if (got <= 0) {
            return got < 0 ? LOST : NOTHING;
        }
        if (modem->left > 0) {
            modem->left--;
        } else {
            heard = hear_byte(modem, (char)byte);
        }
    }
    if ((heard == SENT && modem->state == SENDING) ||
        ((heard == OK || heard == ERROR) && modem->state == READING)) { /* ERROR: there is nothing to read */
        modem->state = CONNECTED;
    } else if (heard == ERROR && modem->state != PROMPTING && modem->state != SENDING) {
        heard = modem->state < CONNECTED ? ERROR : OTHER;
    }
    modem->hung_up = modem->hung_up || heard == CLOSED;
    modem->readable = modem->readable || heard == ARRIVED || heard == CLOSED || (heard == DATA && modem->left != 0);
    return heard;
}

static void listen_anew(struct cvm_modem *modem)
{
    cvm_uart_open(&modem->uart);
    modem->filled = 0;
    modem->left = 0;
}

static int gone(struct cvm_modem *modem)
{
    modem->state = DISCONNECTED;
    return -1;
}

/* AT until it answers: a reset may have left the modem amid data, or waiting for them. */
static void find(struct cvm_modem *modem)
{
    listen_anew(modem);
    modem->answered = false;
    modem->tries++;
    say(modem, "AT\r", 0);
}

/* The next command of set_up; then the connection. */
static void go_on(struct cvm_modem *modem)
{
    if (*modem->step != 0) {
        modem->state = SETTING_UP;
        modem->step = say(modem, modem->step, 0);
    } else {
        modem->state = OPENING;
        modem->hung_up = false;
        modem->readable = false;
        say(modem, modem->commands->open, modem->port);
    }
}

/* What is due when there is nothing to hear. */
static int connect_in_time(struct cvm_modem *modem)
{
    switch (modem->state) {
    case FINDING: /* its answers are awaited for the whole time: one may be to a command before */
        if (elapsed(modem, FIND_MS)) {
            if (modem->answered) {
                go_on(modem);
            } else if (modem->tries < MOST_TRIES) {
                find(modem);
            } else {
                return gone(modem);
            }
        }
        return 0;
    case SETTING_UP:
        if (elapsed(modem, SET_UP_MS)) {
            go_on(modem);
        }
        return 0;
    default:
        return elapsed(modem, CVM_MODEM_OPEN_MS) ? gone(modem) : 0;
    }
}

int cvm_modem_connect(struct cvm_modem *modem)
{
    if (modem->state == DISCONNECTED) {
        modem->state = FINDING;
        modem->step = modem->commands->set_up;
        modem->tries = 0;
        find(modem);
    }
    for (;;) {
        const enum heard heard = hear(modem);

        switch (heard) {
        case OPENED:
            modem->state = CONNECTED;
            return 1;
        case LOST: /* much may be said while nobody listens, as long as nothing is asked */
            if (modem->state == OPENING) {
                return gone(modem);
            }
            listen_anew(modem);
            break;
        case FAILED:
        case ERROR:
        case OK: /* set_up goes on whatever is answered: there was nothing to close, perhaps */
            if (modem->state == FINDING) {
                modem->answered = true;
            } else if (modem->state == SETTING_UP) {
                go_on(modem);
            } else if (heard != OK) {
                return gone(modem);
            }
            break;
        case NOTHING:
            return connect_in_time(modem);
        default:
            break;
        }
    }
}

int cvm_modem_send(struct cvm_modem *modem, const uint8_t *bytes, size_t size)
{
    for (;;) {
        switch (hear(modem)) {
        case PROMPT:
            if (size < modem->promised) {
                return -1;
            }
            modem->write(modem->user, bytes, modem->promised);
            modem->state = SENDING;
            return modem->promised;
        case LOST:
        case ERROR:
        case CLOSED:
            return -1;
        case NOTHING:
            if (modem->hung_up) {
                return -1;
            }
            if (modem->state == CONNECTED) {
                modem->promised = (uint16_t)(size < LARGEST_PIECE ? size : LARGEST_PIECE);
                modem->state = PROMPTING;
                say(modem, modem->commands->send, modem->promised);
            }
            return 0;
        default:
            break;
        }
    }
}

int cvm_modem_receive(struct cvm_modem *modem, uint8_t *bytes, size_t size)
{
    int got;

    for (;;) {
        if (modem->left > 0) {
            got = cvm_uart_receive(&modem->uart, bytes, size < modem->left ? size : modem->left);
            if (got > 0) {
                modem->left = (uint16_t)(modem->left - got);
            }
            return got;
        }
        switch (hear(modem)) {
        case LOST:
            return -1;
        case ERROR:
            if (modem->state != CONNECTED) {
                return -1;
            }
            break;
        case NOTHING:
            if (modem->state != CONNECTED) {
                return 0;
            }
            if (modem->commands->read != NULL && (modem->readable || (!modem->hung_up && elapsed(modem, POLL_MS)))) {
                modem->readable = false;
                modem->state = READING;
                say(modem, modem->commands->read, CVM_MODEM_READ);
            } else if (modem->hung_up) {
                return -1;
            }
            return 0;
        default:
            break;
        }
    }
}

void cvm_modem_disconnect(struct cvm_modem *modem)
{
    if (modem->state != DISCONNECTED) {
        say(modem, modem->commands->close, 0);
        modem->state = DISCONNECTED;
    }
}
