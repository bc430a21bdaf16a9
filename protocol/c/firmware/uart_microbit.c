/* UART0 of the nRF51822. */
#include "board.h"

#define UART ((volatile uint32_t *)0x40002000)

enum {
    START_RX = 0x000 / 4,
    START_TX = 0x008 / 4,
    RX_READY = 0x108 / 4,
    TX_READY = 0x11c / 4,
    ENABLE = 0x500 / 4,
    RX_DATA = 0x518 / 4,
    TX_DATA = 0x51c / 4,
    BAUD_RATE = 0x524 / 4
};

void uart_start(void)
{
    UART[BAUD_RATE] = 0x01d7e000; /* 115200 */
    UART[ENABLE] = 4;
    UART[START_RX] = 1;
    UART[START_TX] = 1;
}

int uart_read(void)
{
    if (UART[RX_READY] == 0) {
        return -1;
    }
    UART[RX_READY] = 0;
    return (int)(UART[RX_DATA] & 0xffu);
}

void uart_write(uint8_t byte)
{
    UART[TX_READY] = 0;
    UART[TX_DATA] = byte;
    while (UART[TX_READY] == 0) {
    }
}
