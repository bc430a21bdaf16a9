/* The library's port on these boards: a UART that some bridge takes to the server, and NOR flash. */
#ifndef PORT_H
#define PORT_H

#include "cvm.h"

extern const struct cvm_port port;

extern uint32_t port_bytes_up, port_bytes_down;

/* Reads the newer record. Returns it, or null: there is none; and for a broken flash also null, with *failed set. */
const uint8_t *port_open(bool *failed);

#if CVM_SUITE == CVM_SUITE_NOISE
/* monocypher.c of this directory */
int port_x25519(void *user, uint8_t result[32], const uint8_t secret[32], const uint8_t *point);
int port_seal(void *user, const uint8_t key[32], const uint8_t nonce[12], const uint8_t *ad, size_t ad_size,
              uint8_t *text, size_t size, uint8_t tag[16]);
int port_unseal(void *user, const uint8_t key[32], const uint8_t nonce[12], const uint8_t *ad, size_t ad_size,
                uint8_t *text, size_t size, const uint8_t tag[16]);
#endif

#endif
