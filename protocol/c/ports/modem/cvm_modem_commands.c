/* Of the makers' command references: SIMCom "SIM800 Series AT Command Manual" and "SIM7500/SIM7600 Series", Quectel
 * "BG96 TCP/IP AT Commands Manual", Espressif "ESP-AT User Guide". Connection number 0 where there are several. */
#include "cvm_modem.h"

const struct cvm_modem_commands cvm_modem_sim800 = {
    "ATE0\rAT+CIPCLOSE=1\rAT+CIPRXGET=1\r",
    "AT+CIPSTART=\"TCP\",\"@\",\"#\"\r",
    "CONNECT OK",
    "CONNECT FAIL",
    "AT+CIPSEND=#\r",
    "SEND OK",
    "+CIPRXGET: 1",
    "AT+CIPRXGET=2,#\r",
    "+CIPRXGET: 2,#",
    '\n',
    "CLOSED",
    "AT+CIPCLOSE=1\r",
};

const struct cvm_modem_commands cvm_modem_sim7600 = {
    "ATE0\rAT+CIPCLOSE=0\rAT+CIPRXGET=1\r",
    "AT+CIPOPEN=0,\"TCP\",\"@\",#\r",
    "+CIPOPEN: 0,0",
    "+CIPOPEN: 0,",
    "AT+CIPSEND=0,#\r",
    "+CIPSEND: 0,",
    "+CIPRXGET: 1,0",
    "AT+CIPRXGET=2,0,#\r",
    "+CIPRXGET: 2,0,#",
    '\n',
    "+IPCLOSE: 0",
    "AT+CIPCLOSE=0\r",
};

const struct cvm_modem_commands cvm_modem_bg96 = {
    "ATE0\rAT+QICLOSE=0\r",
    "AT+QIOPEN=1,0,\"TCP\",\"@\",#,0,0\r",
    "+QIOPEN: 0,0",
    "+QIOPEN: 0,",
    "AT+QISEND=0,#\r",
    "SEND OK",
    "+QIURC: \"recv\",0",
    "AT+QIRD=0,#\r",
    "+QIRD: #",
    '\n',
    "+QIURC: \"closed\",0",
    "AT+QICLOSE=0\r",
};

const struct cvm_modem_commands cvm_modem_esp_at = {
    "ATE0\rAT+CIPCLOSE\rAT+CIPMODE=0\rAT+CIPMUX=0\r",
    "AT+CIPSTART=\"TCP\",\"@\",#\r",
    "OK",
    "ALREADY CONNECTED",
    "AT+CIPSEND=#\r",
    "SEND OK",
    NULL,
    NULL,
    "+IPD,#",
    ':',
    "CLOSED",
    "AT+CIPCLOSE\r",
};
