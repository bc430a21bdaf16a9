/* From reset to main on a Cortex-M: vectors, memory, a painted stack. */
#include "board.h"

enum { PAINT = 0xc5 };

extern uint8_t data_load[], data_start[], data_end[], bss_start[], bss_end[], stack_top[];

int main(void);
void reset(void);

static void fault(void)
{
    host_exit(EXIT_FAULT);
}

__attribute__((section(".vectors"), used)) static void (*const vectors[16])(void) = {
    (void (*)(void))stack_top, reset, fault, fault, fault, fault, fault, NULL, NULL, NULL, NULL, fault,
    fault, NULL, fault, fault,
};

void reset(void)
{
    uint8_t *here = (uint8_t *)__builtin_frame_address(0) - 64, *each;

    memcpy(data_start, data_load, (size_t)(data_end - data_start));
    memset(bss_start, 0, (size_t)(bss_end - bss_start));
    for (each = bss_end; each < here; each++) {
        *(volatile uint8_t *)each = PAINT;
    }
    host_exit(main());
}

size_t stack_used(void)
{
    const uint8_t *each = bss_end;

    while (*each == PAINT) {
        each++;
    }
    return (size_t)(stack_top - each);
}
