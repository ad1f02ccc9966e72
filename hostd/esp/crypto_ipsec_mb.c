/* intel-ipsec-mb back end (1.3 and later). GCM by direct calls, packet by packet: its lanes lie
 * inside one packet, so that a queue gains nothing. CBC and HMAC gain from many packets at once and
 * run as bursts, which are complete when the call returns. */
#include "hostd/esp/crypto.h"

#ifdef HAVE_IPSEC_MB

#include "hostd/base/bytes.h"

#include <errno.h>
#include <intel-ipsec-mb.h>
#include <openssl/crypto.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* Headers of so many packets are made before the first is encrypted. The cipher reads nonce,
 * additional data and trailer in wider pieces than they were written in; so soon after the writes
 * that stalls, 10 ns a packet and more. */
enum { GCM_AHEAD = 4 };

struct mb {
    struct esp_crypto base;
    aes_gcm_enc_dec_t gcm; /* one of four, by key length and direction */
    uint64_t aad_len;
    uint64_t key_len;
    bool esn;
    _Alignas(64) struct gcm_key_data gcm_key;
    _Alignas(16) uint8_t enc[16 * 15];
    _Alignas(16) uint8_t dec[16 * 15];
    _Alignas(16) uint8_t iv_enc[16 * 15];
    _Alignas(16) uint8_t ipad[32];
    _Alignas(16) uint8_t opad[32];
};

static struct mb *self(struct esp_crypto *c)
{
    return (struct mb *)(void *)c;
}

/* A manager holds the lanes in work, so every thread has its own; the key is there to free it. */
static _Thread_local IMB_MGR *mgr_own;
static pthread_key_t mgr_key;
static pthread_once_t mgr_once = PTHREAD_ONCE_INIT;
static int mgr_key_rc;

static void mgr_free(void *mgr)
{
    mgr_own = NULL;
    free_mb_mgr(mgr);
}

static void mgr_make_key(void)
{
    mgr_key_rc = pthread_key_create(&mgr_key, mgr_free);
}

/* The library emulates AES in plain code where the CPU has none: slow and with secret-dependent
 * timing, so that counts as "not there". It tests itself when a manager is made. */
static bool cpu_fits(void)
{
    return __builtin_cpu_supports("aes") && __builtin_cpu_supports("pclmul") &&
           __builtin_cpu_supports("sse4.2");
}

static int mgr_make(void)
{
    if (pthread_once(&mgr_once, mgr_make_key) || mgr_key_rc)
        return -ENOMEM;
    IMB_MGR *m = alloc_mb_mgr(0);
    if (!m)
        return -ENOMEM;
    init_mb_mgr_auto(m, NULL);
    int rc = imb_get_errno(m) ? -ENOTSUP : pthread_setspecific(mgr_key, m) ? -ENOMEM : 0;
    if (rc) {
        free_mb_mgr(m);
        return rc;
    }
    mgr_own = m;
    return 0;
}

static int mgr_get(IMB_MGR **out)
{
    int rc = mgr_own ? 0 : cpu_fits() ? mgr_make() : -ENOTSUP;
    *out = mgr_own;
    return rc;
}

/* By the function itself, kept in the key: no manager, which these do not need. */
static void gcm_seal(struct esp_crypto *c, struct esp_op *op, unsigned n)
{
    const struct mb *k = self(c);
    struct gcm_context_data ctx;
    for (unsigned i = 0; i < n; i++) {
        k->gcm(&k->gcm_key, &ctx, op[i].dst, op[i].src, op[i].len, op[i].iv, op[i].aad, k->aad_len,
               op[i].icv, 16);
        op[i].ok = true;
    }
}

static void gcm_open(struct esp_crypto *c, struct esp_op *op, unsigned n)
{
    const struct mb *k = self(c);
    struct gcm_context_data ctx;
    uint8_t tag[16];
    for (unsigned i = 0; i < n; i++) {
        k->gcm(&k->gcm_key, &ctx, op[i].dst, op[i].src, op[i].len, op[i].iv, op[i].aad, k->aad_len,
               tag, sizeof tag);
        op[i].ok = CRYPTO_memcmp(tag, op[i].icv_in, sizeof tag) == 0;
        if (!op[i].ok)
            OPENSSL_cleanse(op[i].dst, op[i].len);
    }
}

static bool cbc_burst(const struct mb *k, IMB_MGR *m, const struct esp_op *op, unsigned n,
                      IMB_CIPHER_DIRECTION dir)
{
    IMB_JOB job[ESP_LANES];
    unsigned jobs = 0;
    memset(job, 0, n * sizeof job[0]);
    for (unsigned i = 0; i < n; i++) {
        if (!op[i].ok)
            continue;
        job[jobs++] = (IMB_JOB){.enc_keys = k->enc,
                                .dec_keys = k->dec,
                                .key_len_in_bytes = k->key_len,
                                .src = op[i].src,
                                .dst = op[i].dst,
                                .msg_len_to_cipher_in_bytes = op[i].len,
                                .iv = op[i].iv,
                                .iv_len_in_bytes = 16};
    }
    if (!jobs)
        return true;
    return IMB_SUBMIT_CIPHER_BURST(m, job, jobs, IMB_CIPHER_CBC, dir,
                                   (IMB_KEY_SIZE_BYTES)k->key_len) == jobs;
}

/* from[i] holds what the MAC covers, ESN's high half included; tag[i] gets 16 octets. */
static bool mac_burst(const struct mb *k, IMB_MGR *m, const struct esp_op *op, unsigned n,
                      const uint8_t *const *from, uint8_t *const *tag)
{
    IMB_JOB job[ESP_LANES];
    for (unsigned i = 0; i < n; i++)
        job[i] = (IMB_JOB){
            .src = from[i],
            .msg_len_to_hash_in_bytes = op[i].mac_len + (k->esn ? 4 : 0),
            .auth_tag_output = tag[i],
            .auth_tag_output_len_in_bytes = 16,
            .u.HMAC = {._hashed_auth_key_xor_ipad = k->ipad, ._hashed_auth_key_xor_opad = k->opad}};
    return IMB_SUBMIT_HASH_BURST(m, job, n, IMB_AUTH_HMAC_SHA_256) == n;
}

static void cbc_seal(struct esp_crypto *c, struct esp_op *op, unsigned n)
{
    struct mb *k = self(c);
    const uint8_t *from[ESP_LANES] = {0};
    uint8_t *tag[ESP_LANES] = {0};
    IMB_MGR *m;
    for (unsigned i = 0; i < n; i++) {
        op[i].ok = true;
        from[i] = op[i].hdr;
        tag[i] = op[i].icv;
    }
    bool ok = mgr_get(&m) == 0 && cbc_burst(k, m, op, n, IMB_DIR_ENCRYPT);
    /* the high half stands for a moment where the ICV will be */
    for (unsigned i = 0; i < n; i++)
        if (k->esn)
            memcpy(op[i].icv, op[i].aad, 4);
    ok = ok && mac_burst(k, m, op, n, from, tag);
    for (unsigned i = 0; i < n; i++)
        op[i].ok = ok;
}

/* The MAC's input must be one piece and the received packet is not ours to write on: so with ESN
 * its ciphertext is joined with the number's high half in the scratch room. */
static const uint8_t *join_esn(const struct esp_op *op)
{
    memcpy(op->scratch, op->hdr, op->mac_len);
    memcpy(op->scratch + op->mac_len, op->aad, 4);
    return op->scratch;
}

static void cbc_open(struct esp_crypto *c, struct esp_op *op, unsigned n)
{
    struct mb *k = self(c);
    const uint8_t *from[ESP_LANES] = {0};
    uint8_t sum[ESP_LANES][16], *tag[ESP_LANES] = {0};
    IMB_MGR *m;
    for (unsigned i = 0; i < n; i++) {
        from[i] = k->esn ? join_esn(&op[i]) : op[i].hdr;
        tag[i] = sum[i];
    }
    bool ok = mgr_get(&m) == 0 && mac_burst(k, m, op, n, from, tag);
    for (unsigned i = 0; i < n; i++) {
        op[i].fault = !ok;
        op[i].ok = ok && CRYPTO_memcmp(sum[i], op[i].icv_in, 16) == 0;
    }
    if (!ok || cbc_burst(k, m, op, n, IMB_DIR_DECRYPT))
        return;
    for (unsigned i = 0; i < n; i++) {
        op[i].fault = op[i].ok;
        op[i].ok = false;
    }
}

static bool make_iv(struct esp_crypto *c, uint64_t number, uint8_t iv[16])
{
    static const uint8_t zero[16];
    uint8_t block[16] = {0};
    IMB_MGR *m;
    if (mgr_get(&m))
        return false;
    put_be64(block + 8, number);
    /* one block of CFB over zeros is the block cipher itself, without the queue */
    IMB_AES128_CFB_ONE(m, iv, zero, block, self(c)->iv_enc, 16);
    return true;
}

static void mb_free(struct esp_crypto *c)
{
    struct mb *k = self(c);
    OPENSSL_cleanse(k, sizeof *k);
    free(k);
}

static void hmac_key(struct mb *k, IMB_MGR *m, const uint8_t *key, size_t len)
{
    uint8_t block[64] = {0};
    memcpy(block, key, len);
    for (size_t i = 0; i < sizeof block; i++)
        block[i] ^= 0x36;
    IMB_SHA256_ONE_BLOCK(m, block, k->ipad);
    for (size_t i = 0; i < sizeof block; i++)
        block[i] ^= 0x36 ^ 0x5c;
    IMB_SHA256_ONE_BLOCK(m, block, k->opad);
    OPENSSL_cleanse(block, sizeof block);
}

static void set_gcm(struct mb *k, IMB_MGR *m, const struct esp_suite *s,
                    const struct esp_keys *keys, enum esp_dir dir)
{
    bool small = s->encr_len == 16;
    if (small)
        IMB_AES128_GCM_PRE(m, keys->encr, &k->gcm_key);
    else
        IMB_AES256_GCM_PRE(m, keys->encr, &k->gcm_key);
    if (dir == ESP_OUT)
        k->gcm = small ? m->gcm128_enc : m->gcm256_enc;
    else
        k->gcm = small ? m->gcm128_dec : m->gcm256_dec;
    k->base.lanes = GCM_AHEAD;
    k->base.seal = gcm_seal;
    k->base.open = gcm_open;
}

static void set_cbc(struct mb *k, IMB_MGR *m, const struct esp_suite *s,
                    const struct esp_keys *keys)
{
    uint8_t unused[16 * 15];
    if (s->encr_len == 16)
        IMB_AES_KEYEXP_128(m, keys->encr, k->enc, k->dec);
    else
        IMB_AES_KEYEXP_256(m, keys->encr, k->enc, k->dec);
    IMB_AES_KEYEXP_128(m, keys->iv_key, k->iv_enc, unused);
    OPENSSL_cleanse(unused, sizeof unused);
    hmac_key(k, m, keys->integ, s->integ_len);
    k->base.lanes = ESP_LANES;
    k->base.seal = cbc_seal;
    k->base.open = cbc_open;
}

static bool has_suite(const struct esp_suite *s)
{
    bool gcm = s->encr_id == 20 && s->integ_id == 0;
    bool cbc_sha256 = s->encr_id == 12 && s->integ_id == 12 && s->integ_len <= 64;
    return (gcm || cbc_sha256) && (s->encr_len == 16 || s->encr_len == 32) && s->icv_len == 16;
}

int esp_crypto_ipsec_mb(struct esp_crypto **out, const struct esp_suite *s,
                        const struct esp_keys *keys, enum esp_dir dir, bool esn)
{
    IMB_MGR *m;
    if (!has_suite(s))
        return -ENOTSUP;
    int rc = mgr_get(&m);
    if (rc)
        return rc;
    struct mb *k = aligned_alloc(64, (sizeof *k + 63) / 64 * 64);
    if (!k)
        return -ENOMEM;
    memset(k, 0, sizeof *k);
    k->base = (struct esp_crypto){.name = "ipsec-mb", .make_iv = make_iv, .free = mb_free};
    k->aad_len = esn ? 12 : 8;
    k->key_len = s->encr_len;
    k->esn = esn;
    if (s->aead)
        set_gcm(k, m, s, keys, dir);
    else
        set_cbc(k, m, s, keys);
    *out = &k->base;
    return 0;
}
#endif
