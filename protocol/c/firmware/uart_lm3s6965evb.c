/* UART0 of the LM3S6965, a PL011. */
#include "board.h"

#define UART ((volatile uint32_t *)0x4000c000)

enum { DATA = 0, FLAGS = 0x18 / 4, LINE = 0x2c / 4, CONTROL = 0x30 / 4, RX_EMPTY = 1 << 4, TX_FULL = 1 << 5 };

void uart_start(void)
{
    UART[LINE] = 3 << 5 | 1 << 4; /* 8 bits, FIFO */
    UART[CONTROL] = 1 << 9 | 1 << 8 | 1;
}

int uart_read(void)
{
    return (UART[FLAGS] & RX_EMPTY) != 0 ? -1 : (int)(UART[DATA] & 0xffu);
}

void uart_write(uint8_t byte)
{
    while ((UART[FLAGS] & TX_FULL) != 0) {
    }
    UART[DATA] = byte;
}
