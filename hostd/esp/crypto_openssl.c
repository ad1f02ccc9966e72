/* OpenSSL back end. Contexts are made with the SA and only re-keyed with an IV per packet: no
 * allocation on the way of a packet. */

/* HMAC-SHA-256 runs on the plain SHA256_CTX, inner and outer state computed once: EVP's HMAC copies
 * a digest context, and so allocates, for each packet. The functions are marked deprecated in
 * OpenSSL 3 but remain part of it. */
#define OPENSSL_SUPPRESS_DEPRECATED

#include "hostd/esp/crypto.h"

#include "hostd/base/bytes.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/sha.h>
#include <stdlib.h>
#include <string.h>

struct ossl {
    struct esp_crypto base;
    EVP_CIPHER_CTX *ctx;
    EVP_CIPHER_CTX *iv_ctx; /* AES-128-ECB under iv_key; NULL with an AEAD */
    SHA256_CTX inner, outer;
    int aad_len;
    bool esn;
};

static struct ossl *self(struct esp_crypto *c)
{
    return (struct ossl *)(void *)c;
}

static bool gcm_seal_one(const struct ossl *k, const struct esp_op *op)
{
    int n;
    return EVP_EncryptInit_ex(k->ctx, NULL, NULL, NULL, op->iv) == 1 &&
           EVP_EncryptUpdate(k->ctx, NULL, &n, op->aad, k->aad_len) == 1 &&
           EVP_EncryptUpdate(k->ctx, op->dst, &n, op->src, (int)op->len) == 1 &&
           EVP_EncryptFinal_ex(k->ctx, op->dst + n, &n) == 1 &&
           EVP_CIPHER_CTX_ctrl(k->ctx, EVP_CTRL_AEAD_GET_TAG, 16, op->icv) == 1;
}

static void gcm_seal(struct esp_crypto *c, struct esp_op *op, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        op[i].ok = gcm_seal_one(self(c), &op[i]);
}

static bool gcm_open_one(const struct ossl *k, const struct esp_op *op)
{
    int n;
    uint8_t tag[16];
    memcpy(tag, op->icv_in, sizeof tag);
    return EVP_DecryptInit_ex(k->ctx, NULL, NULL, NULL, op->iv) == 1 &&
           EVP_DecryptUpdate(k->ctx, NULL, &n, op->aad, k->aad_len) == 1 &&
           EVP_DecryptUpdate(k->ctx, op->dst, &n, op->src, (int)op->len) == 1 &&
           EVP_CIPHER_CTX_ctrl(k->ctx, EVP_CTRL_AEAD_SET_TAG, 16, tag) == 1 &&
           EVP_DecryptFinal_ex(k->ctx, op->dst + n, &n) == 1;
}

static void gcm_open(struct esp_crypto *c, struct esp_op *op, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        op[i].ok = gcm_open_one(self(c), &op[i]);
        if (!op[i].ok)
            OPENSSL_cleanse(op[i].dst, op[i].len);
    }
}

static bool mac(const struct ossl *k, const struct esp_op *op, uint8_t out[SHA256_DIGEST_LENGTH])
{
    SHA256_CTX ctx = k->inner;
    bool ok = SHA256_Update(&ctx, op->hdr, op->mac_len) == 1 &&
              (!k->esn || SHA256_Update(&ctx, op->aad, 4) == 1) && SHA256_Final(out, &ctx) == 1;
    ctx = k->outer;
    ok = ok && SHA256_Update(&ctx, out, SHA256_DIGEST_LENGTH) == 1 && SHA256_Final(out, &ctx) == 1;
    OPENSSL_cleanse(&ctx, sizeof ctx);
    return ok;
}

static bool cbc(const struct ossl *k, const struct esp_op *op)
{
    int n;
    return EVP_CipherInit_ex(k->ctx, NULL, NULL, NULL, op->iv, -1) == 1 &&
           EVP_CIPHER_CTX_set_padding(k->ctx, 0) == 1 &&
           EVP_CipherUpdate(k->ctx, op->dst, &n, op->src, (int)op->len) == 1 && n == (int)op->len;
}

static void cbc_seal(struct esp_crypto *c, struct esp_op *op, unsigned n)
{
    uint8_t sum[SHA256_DIGEST_LENGTH];
    for (unsigned i = 0; i < n; i++) {
        op[i].ok = cbc(self(c), &op[i]) && mac(self(c), &op[i], sum);
        memcpy(op[i].icv, sum, 16);
    }
}

static void cbc_open(struct esp_crypto *c, struct esp_op *op, unsigned n)
{
    uint8_t sum[SHA256_DIGEST_LENGTH];
    for (unsigned i = 0; i < n; i++) {
        bool good = mac(self(c), &op[i], sum) && CRYPTO_memcmp(sum, op[i].icv_in, 16) == 0;
        op[i].ok = good && cbc(self(c), &op[i]);
        op[i].fault = good && !op[i].ok;
    }
}

static bool make_iv(struct esp_crypto *c, uint64_t number, uint8_t iv[16])
{
    uint8_t block[16] = {0};
    int n;
    put_be64(block + 8, number);
    return EVP_EncryptUpdate(self(c)->iv_ctx, iv, &n, block, sizeof block) == 1 && n == 16;
}

static void ossl_free(struct esp_crypto *c)
{
    struct ossl *k = self(c);
    EVP_CIPHER_CTX_free(k->ctx);
    EVP_CIPHER_CTX_free(k->iv_ctx);
    OPENSSL_cleanse(k, sizeof *k);
    free(k);
}

static bool hmac_key(struct ossl *k, const uint8_t *key, size_t len)
{
    uint8_t block[SHA256_CBLOCK] = {0};
    memcpy(block, key, len);
    for (size_t i = 0; i < sizeof block; i++)
        block[i] ^= 0x36;
    bool ok = SHA256_Init(&k->inner) == 1 && SHA256_Update(&k->inner, block, sizeof block) == 1;
    for (size_t i = 0; i < sizeof block; i++)
        block[i] ^= 0x36 ^ 0x5c;
    ok = ok && SHA256_Init(&k->outer) == 1 && SHA256_Update(&k->outer, block, sizeof block) == 1;
    OPENSSL_cleanse(block, sizeof block);
    return ok;
}

static bool set_keys(struct ossl *k, const struct esp_suite *s, const struct esp_keys *keys,
                     int enc)
{
    const EVP_CIPHER *c = s->aead ? (s->encr_len == 16 ? EVP_aes_128_gcm() : EVP_aes_256_gcm())
                                  : (s->encr_len == 16 ? EVP_aes_128_cbc() : EVP_aes_256_cbc());
    k->ctx = EVP_CIPHER_CTX_new();
    if (!k->ctx || EVP_CipherInit_ex(k->ctx, c, NULL, keys->encr, NULL, enc) != 1)
        return false;
    if (s->aead)
        return true;
    k->iv_ctx = EVP_CIPHER_CTX_new();
    return k->iv_ctx &&
           EVP_EncryptInit_ex(k->iv_ctx, EVP_aes_128_ecb(), NULL, keys->iv_key, NULL) == 1 &&
           EVP_CIPHER_CTX_set_padding(k->iv_ctx, 0) == 1 && hmac_key(k, keys->integ, s->integ_len);
}

static bool has_suite(const struct esp_suite *s)
{
    bool gcm = s->encr_id == 20 && s->integ_id == 0;
    bool cbc_sha256 = s->encr_id == 12 && s->integ_id == 12 && s->integ_len <= SHA256_CBLOCK;
    return (gcm || cbc_sha256) && (s->encr_len == 16 || s->encr_len == 32) && s->icv_len == 16;
}

int esp_crypto_openssl(struct esp_crypto **out, const struct esp_suite *s,
                       const struct esp_keys *keys, enum esp_dir dir, bool esn)
{
    if (!has_suite(s))
        return -ENOTSUP;
    struct ossl *k = calloc(1, sizeof *k);
    if (!k)
        return -ENOMEM;
    k->base = (struct esp_crypto){.name = "openssl",
                                  .lanes = 1,
                                  .seal = s->aead ? gcm_seal : cbc_seal,
                                  .open = s->aead ? gcm_open : cbc_open,
                                  .make_iv = make_iv,
                                  .free = ossl_free};
    k->aad_len = esn ? 12 : 8;
    k->esn = esn;
    if (!set_keys(k, s, keys, dir == ESP_OUT)) {
        ossl_free(&k->base);
        return -ENOMEM;
    }
    *out = &k->base;
    return 0;
}
