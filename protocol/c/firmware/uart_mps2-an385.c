/* UART0 of the MPS2 with AN385, a CMSDK APB UART. */
#include "board.h"

#define UART ((volatile uint32_t *)0x40004000)

enum { DATA = 0, STATE = 1, CONTROL = 2, DIVISOR = 4, TX_FULL = 1, RX_FULL = 2 };

void uart_start(void)
{
    UART[DIVISOR] = 25000000 / 115200;
    UART[CONTROL] = 3;
}

int uart_read(void)
{
    return (UART[STATE] & RX_FULL) == 0 ? -1 : (int)(UART[DATA] & 0xffu);
}

void uart_write(uint8_t byte)
{
    while ((UART[STATE] & TX_FULL) != 0) {
    }
    UART[DATA] = byte;
}
