/* A modem that is driven by AT commands (3GPP TS 27.007 and its maker's own): it opens the TCP connection, and hands the
 * bytes over in pieces. Below it lies a UART with its ring (../uart).
 *
 *     cvm_modem_connect until it is not 0; then cvm_modem_send and cvm_modem_receive are struct cvm_port's `send` and
 *     `receive`; at the end cvm_modem_disconnect.
 *
 * Nothing here waits, save for the UART's transmitter; nothing is stored but the line that is being read. Makers differ
 * in their commands, which are a table: struct cvm_modem_commands. The network (SIM, APN, PDP context, Wi-Fi) is up
 * before cvm_modem_connect: that part differs by operator, not by connection.
 *
 * A modem says things unasked, between any two lines. What is data is known by its announcement and its count alone, so
 * a line is never taken for data, and data never for a line.
 */
#ifndef CVM_MODEM_H
#define CVM_MODEM_H

#include <stdbool.h>

#include "cvm_uart.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Bytes that are read at a time: what the ring holds, less the announcement, the OK, and one line unasked. */
#ifndef CVM_MODEM_READ
#define CVM_MODEM_READ (CVM_UART_RING - 48u)
#endif

/* Milliseconds for the modem to connect. */
#ifndef CVM_MODEM_OPEN_MS
#define CVM_MODEM_OPEN_MS 75000u
#endif

/* What a family of modems is told and says. In what it is told @ is the host and # a number (port, bytes), and each
 * command ends with \r. In what it says each text is the beginning of a line, and # any number. */
struct cvm_modem_commands {
    const char *set_up;  /* commands that come first, each answered before the next; with an older connection's close */
    const char *open;    /* host, port */
    const char *opened;  /* the connection stands */
    const char *failed;  /* it does not, beside ERROR; judged after `opened` */
    const char *send;    /* bytes; answered by the prompt > */
    const char *sent;    /* they are on their way */
    const char *arrived; /* unasked: there is something to read */
    const char *read;    /* bytes; null: data come unasked */
    const char *data;    /* so many bytes of data follow, */
    char data_after;     /* after this character: the line's end (\n), or sooner */
    const char *closed;  /* unasked: the server has hung up */
    const char *close;
};

extern const struct cvm_modem_commands cvm_modem_sim800;  /* SIMCom SIM800, SIM900, SIM7000, SIM868; reads when asked */
extern const struct cvm_modem_commands cvm_modem_sim7600; /* SIMCom SIM7500, SIM7600, A76xx; reads when asked */
extern const struct cvm_modem_commands cvm_modem_bg96;    /* Quectel BG95, BG96, EC2x, EG9x; reads when asked */
extern const struct cvm_modem_commands cvm_modem_esp_at;  /* Espressif ESP-AT; data come unasked: max_frame is 48 and
                                                             `limit` CVM_PULL_LIMIT(48) where the ring is 64 */

/* Set the first part, zero the rest. */
struct cvm_modem {
    const struct cvm_modem_commands *commands;
    const char *host; /* name or address; it must stay */
    uint16_t port;
    /* Hand all these bytes to the UART. */
    void (*write)(void *user, const void *bytes, size_t size);
    uint32_t (*now_ms)(void *user); /* as struct cvm_port's */
    void *user;

    struct cvm_uart uart; /* cvm_uart_put(&modem.uart, byte) is for the interrupt handler */
    const char *step;     /* the next command of set_up */
    uint32_t since_ms;
    uint16_t left;     /* bytes of data that are due */
    uint16_t promised; /* bytes that the modem was told to expect */
    uint8_t state;
    uint8_t tries;
    bool answered;
    bool readable;
    bool hung_up;
    uint8_t filled;
    char line[24];
};

/* Call it until it is not 0, when bytes have come and at least once a second. 1: the connection stands; below 0: there
 * is none (cvm_lost). Whatever state a reset left the modem in, it is found and an older connection closed. */
int cvm_modem_connect(struct cvm_modem *modem);

/* As struct cvm_port's `send` and `receive`. Data that come while a request is being sent answer nothing, and are
 * dropped (where they are read when asked, they stay in the modem). */
int cvm_modem_send(struct cvm_modem *modem, const uint8_t *bytes, size_t size);
int cvm_modem_receive(struct cvm_modem *modem, uint8_t *bytes, size_t size);

/* Have the connection closed. What the modem answers is left to the next cvm_modem_connect. */
void cvm_modem_disconnect(struct cvm_modem *modem);

#ifdef __cplusplus
}
#endif

#endif
