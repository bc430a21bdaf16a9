/* Suite noise by Monocypher 4, which is not part of this tree. */
#include "cvm_options.h"

#if CVM_SUITE == CVM_SUITE_NOISE

#include <monocypher.h>

#include "port.h"

int port_x25519(void *user, uint8_t result[32], const uint8_t secret[32], const uint8_t *point)
{
    (void)user;
    if (point == NULL) {
        crypto_x25519_public_key(result, secret);
    } else {
        crypto_x25519(result, secret, point);
    }
    return 0;
}

int port_seal(void *user, const uint8_t key[32], const uint8_t nonce[12], const uint8_t *ad, size_t ad_size,
              uint8_t *text, size_t size, uint8_t tag[16])
{
    crypto_aead_ctx context;

    (void)user;
    crypto_aead_init_ietf(&context, key, nonce);
    crypto_aead_write(&context, text, tag, ad, ad_size, text, size);
    crypto_wipe(&context, sizeof context);
    return 0;
}

int port_unseal(void *user, const uint8_t key[32], const uint8_t nonce[12], const uint8_t *ad, size_t ad_size,
                uint8_t *text, size_t size, const uint8_t tag[16])
{
    crypto_aead_ctx context;
    int result;

    (void)user;
    crypto_aead_init_ietf(&context, key, nonce);
    result = crypto_aead_read(&context, text, tag, ad, ad_size, text, size);
    crypto_wipe(&context, sizeof context);
    return result;
}

#endif
