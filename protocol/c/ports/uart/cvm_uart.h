/* A UART whose interrupt handler puts each byte that comes into a small ring. The line is transparent: a radio, a modem
 * in data mode, a wire to a gateway.
 *
 *     void UART0_IRQHandler(void) { cvm_uart_put(&uart, UART0->DATA); }
 *     static int on_receive(void *user, uint8_t *bytes, size_t size) { return cvm_uart_receive(&uart, bytes, size); }
 *
 * Such a line is never closed, and may still carry the answers to a device that was reset: the library finds its own
 * (SPEC.md, 7.4). A ring that overran has lost bytes for good, so the session is ended at once instead of by its
 * timeout; the next one goes on from what the flash holds.
 */
#ifndef CVM_UART_H
#define CVM_UART_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Bytes, a power of two up to 128: as many as come while nobody takes them. */
#ifndef CVM_UART_RING
#define CVM_UART_RING 64u
#endif

/* One writer, the interrupt handler; one reader. All zeros is a ring that is empty. */
struct cvm_uart {
    volatile uint8_t put;      /* by the writer: bytes ever, modulo 256 */
    volatile uint8_t dropped;  /* by the writer: likewise, but no more than 255 after `forgiven` */
    volatile uint8_t taken;    /* by the reader: bytes ever, modulo 256 */
    volatile uint8_t forgiven; /* by the reader: `dropped` at cvm_uart_open */
    volatile uint8_t bytes[CVM_UART_RING];
};

/* From the interrupt handler: a byte has come. It is dropped where there is no room. */
void cvm_uart_put(struct cvm_uart *uart, uint8_t byte);

/* A connection begins: what has come, and what was dropped, was not meant for it. */
void cvm_uart_open(struct cvm_uart *uart);

/* As struct cvm_port's `receive`: how many bytes were taken; below 0: bytes were dropped, the connection is no good. */
int cvm_uart_receive(struct cvm_uart *uart, uint8_t *bytes, size_t size);

#ifdef __cplusplus
}
#endif

#endif
