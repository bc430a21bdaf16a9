#include "cvm_uart.h"

#if CVM_UART_RING > 128u || (CVM_UART_RING & (CVM_UART_RING - 1u)) != 0
#error "CVM_UART_RING is a power of two up to 128"
#endif

void cvm_uart_put(struct cvm_uart *uart, uint8_t byte)
{
    const uint8_t put = uart->put;
    const uint8_t dropped = uart->dropped;

    if ((uint8_t)(put - uart->taken) == CVM_UART_RING) {
        if ((uint8_t)(dropped - uart->forgiven) != 255u) {
            uart->dropped = (uint8_t)(dropped + 1u);
        }
        return;
    }
    uart->bytes[put & (CVM_UART_RING - 1u)] = byte;
    uart->put = (uint8_t)(put + 1u); /* last: from now on the reader may take it */
}

void cvm_uart_open(struct cvm_uart *uart)
{
    uart->taken = uart->put;
    uart->forgiven = uart->dropped;
}

int cvm_uart_receive(struct cvm_uart *uart, uint8_t *bytes, size_t size)
{
    const uint8_t put = uart->put, dropped = uart->dropped;
    uint8_t taken = uart->taken;
    size_t count = 0;

    if (dropped != uart->forgiven) {
        return -1;
    }
    while (count < size && taken != put) {
        bytes[count++] = uart->bytes[taken++ & (CVM_UART_RING - 1u)];
    }
    uart->taken = taken; /* last: from now on the writer may use their room */
    return (int)count;
}
