#include <string.h>

#include "cvm_extras.h"

enum { COLUMNS = 64 };

static int edge(struct cvm_pem *pem, const char *start)
{
    const int first = pem->write(pem->user, start, strlen(start));
    const int second = first != 0 ? first : pem->write(pem->user, pem->label, strlen(pem->label));

    return second != 0 ? second : pem->write(pem->user, "-----\n", 6);
}

int cvm_pem_begin(struct cvm_pem *pem)
{
    pem->filled = 0;
    pem->column = 0;
    return edge(pem, "-----BEGIN ");
}

/* Up to three bytes become four characters. */
static int group(struct cvm_pem *pem)
{
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char text[5];
    uint32_t bits = 0;
    unsigned i;

    for (i = 0; i < 3; i++) {
        bits = (bits << 8) | (i < pem->filled ? pem->bytes[i] : 0u);
    }
    for (i = 0; i < 4; i++) {
        text[i] = (char)(i <= pem->filled ? alphabet[(bits >> (18 - 6 * i)) & 63] : '=');
    }
    text[4] = '\n';
    pem->filled = 0;
    pem->column = (uint8_t)((pem->column + 4) % COLUMNS);
    return pem->write(pem->user, text, pem->column == 0 ? 5 : 4);
}

int cvm_pem_add(struct cvm_pem *pem, const uint8_t *bytes, size_t size)
{
    int result = 0;

    for (; size > 0 && result == 0; size--) {
        pem->bytes[pem->filled++] = *bytes++;
        if (pem->filled == 3) {
            result = group(pem);
        }
    }
    return result;
}

int cvm_pem_end(struct cvm_pem *pem)
{
    int result = pem->filled != 0 ? group(pem) : 0;

    if (result == 0 && pem->column != 0) {
        result = pem->write(pem->user, "\n", 1);
    }
    memset(pem->bytes, 0, sizeof pem->bytes);
    return result != 0 ? result : edge(pem, "-----END ");
}
