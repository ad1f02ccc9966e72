/* The suites of this card: one row each. */
#include <errno.h>
#include <openssl/crypto.h>

#include "hwsim/model/esp.h"

static int gcm_load(struct hw_esp *e, const uint8_t *key)
{
    const EVP_CIPHER *c = e->suite->key_len == 16 ? EVP_aes_128_gcm() : EVP_aes_256_gcm();

    if (EVP_CipherInit_ex(e->ctx, c, NULL, key, NULL, e->outbound) != 1)
        return -EIO;
    return 0;
}

/* RFC 4106 section 4: salt and IV make the nonce; AAD comes before the text. */
static int gcm_start(const struct hw_esp *e, const uint8_t *iv, const uint8_t *aad, size_t aad_len)
{
    uint8_t nonce[12];
    int n;

    memcpy(nonce, e->salt, 4);
    memcpy(nonce + 4, iv, 8);
    if (EVP_CipherInit_ex(e->ctx, NULL, NULL, NULL, nonce, -1) != 1)
        return -EIO;
    return EVP_CipherUpdate(e->ctx, NULL, &n, aad, (int)aad_len) == 1 ? 0 : -EIO;
}

static int gcm_seal(const struct hw_esp *e, uint64_t seq, const uint8_t *aad, size_t aad_len,
                    uint8_t *iv, uint8_t *buf, size_t len)
{
    int n;

    hw_put64(iv, seq ^ e->iv_xor);
    if (gcm_start(e, iv, aad, aad_len) < 0 ||
        EVP_CipherUpdate(e->ctx, buf, &n, buf, (int)len) != 1 ||
        EVP_CipherFinal_ex(e->ctx, buf + len, &n) != 1 ||
        EVP_CIPHER_CTX_ctrl(e->ctx, EVP_CTRL_AEAD_GET_TAG, e->suite->icv_len, buf + len) != 1)
        return -EIO;
    return 0;
}

static int gcm_open(const struct hw_esp *e, const uint8_t *iv, const uint8_t *aad, size_t aad_len,
                    const uint8_t *in, size_t len, uint8_t *out)
{
    uint8_t tag[16], none[16];
    int n;

    memcpy(tag, in + len, sizeof(tag));
    if (gcm_start(e, iv, aad, aad_len) < 0 ||
        EVP_CIPHER_CTX_ctrl(e->ctx, EVP_CTRL_AEAD_SET_TAG, e->suite->icv_len, tag) != 1 ||
        EVP_CipherUpdate(e->ctx, out, &n, in, (int)len) != 1)
        return -EIO;
    return EVP_CipherFinal_ex(e->ctx, none, &n) == 1 ? 0 : -EBADMSG;
}

static const struct hw_suite suites[] = {
    {"ESP_AES128_GCM16", 20, 0, 16, 0, 4, 16, 8, 4, gcm_load, gcm_seal, gcm_open},
    {"ESP_AES256_GCM16", 20, 0, 32, 0, 4, 16, 8, 4, gcm_load, gcm_seal, gcm_open},
};

const struct hw_suite *hw_suite_find(unsigned encr_id, unsigned integ_id, unsigned key_len)
{
    size_t i;

    for (i = 0; i < sizeof(suites) / sizeof(suites[0]); i++)
        if (suites[i].encr_id == encr_id && suites[i].integ_id == integ_id &&
            suites[i].key_len == key_len)
            return &suites[i];
    return NULL;
}

int hw_esp_key(struct hw_esp *e, const uint8_t *key)
{
    int err;

    e->ctx = EVP_CIPHER_CTX_new();
    if (!e->ctx)
        return -ENOMEM;
    err = e->suite->load(e, key);
    if (err)
        hw_esp_clear(e);
    return err;
}

void hw_esp_clear(struct hw_esp *e)
{
    EVP_CIPHER_CTX_free(e->ctx); /* cleanses the key schedule */
    e->ctx = NULL;
    OPENSSL_cleanse(e->salt, sizeof(e->salt));
}
