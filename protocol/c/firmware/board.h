/* What this firmware has below it: one board's UART, and the host of the emulator by semihosting. */
#ifndef BOARD_H
#define BOARD_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* startup.c: bytes of stack that were written to since reset. */
size_t stack_used(void);

/* uart_*.c: of the board that the build is for. */
void uart_start(void);
int uart_read(void); /* a byte, or -1: none has come */
void uart_write(uint8_t byte); /* waits for room */

/* semihosting.c: Arm's "Semihosting for AArch32 and AArch64". Files are the host's, in QEMU's directory. */
enum { EXIT_FAULT = 99 };
enum host_mode { HOST_READ = 1, HOST_UPDATE = 3, HOST_CREATE = 5 }; /* "rb", "r+b", "wb" */

int host_open(const char *name, enum host_mode mode); /* a handle, or -1 */
int host_read(int file, void *bytes, size_t size);    /* 0, or -1: not all of it is there */
int host_write(int file, const void *bytes, size_t size);
int host_seek(int file, size_t offset);
void host_close(int file);
uint32_t host_ms(void); /* since QEMU started */
int host_run(const char *command); /* its exit code */
void host_print(const char *text);
void host_exit(int code) __attribute__((noreturn));

#endif
