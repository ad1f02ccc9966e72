/* What ESP must make of a packet (RFC 4303, 4106, 3602, 4868), on libcrypto. It is written apart
 * from the host's own ESP and from any card's. */
#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <string.h>

#include "driver/core/kat.h"

enum { ENCR_AES_CBC = 12, ENCR_AES_GCM_16 = 20, INTEG_SHA256_128 = 12 };
enum { ETH = 14, IPV4 = 20, UDP = 8, DATA = 18, ESP_HEADER = 8 };

static const uint8_t outer_src[4] = {192, 0, 2, 1}, outer_dst[4] = {192, 0, 2, 2};
static const uint8_t inner_src[4] = {198, 51, 100, 1}, inner_dst[4] = {198, 51, 100, 2};
static const uint8_t eth_header[ETH] = {2, 0, 0, 0x4b, 0x41, 2, 2, 0, 0, 0x4b, 0x41, 1, 8, 0};

/* Published keys: every octet differs, so that swapped words show. */
static void key_octets(uint8_t *out, size_t n, uint8_t first)
{
    for (size_t i = 0; i < n; i++)
        out[i] = (uint8_t)(first + i);
}

bool kat_knows(const struct card_suite *s)
{
    bool aes = s->encr_len == 16 || s->encr_len == 24 || s->encr_len == 32;
    if (s->encr_id == ENCR_AES_GCM_16)
        return aes && !s->integ_id && s->salt_len == 4 && s->icv_len == 16;
    return s->encr_id == ENCR_AES_CBC && aes && s->integ_id == INTEG_SHA256_128 &&
           s->integ_len == 32 && s->icv_len == 16;
}

bool kat_tunnel(const struct card_suite *s)
{
    return s->tunnel;
}

void kat_record(uint8_t *rec, const struct card_suite *s, enum cif_dir dir, uint32_t spi,
                uint64_t cookie)
{
    memset(rec, 0, CIF_SA_SIZE);
    cif_sa_set_size(rec, CIF_SA_SIZE);
    cif_sa_set_ver(rec, 1);
    cif_sa_set_dir(rec, (uint8_t)dir);
    cif_sa_set_handle(rec, CIF_HANDLE_NONE);
    cif_sa_set_spi(rec, spi);
    cif_sa_set_proto(rec, 50);
    cif_sa_set_mode(rec, kat_tunnel(s) ? CIF_MODE_TUNNEL : CIF_MODE_TRANSPORT);
    cif_sa_set_family(rec, 4);
    cif_sa_set_encr_id(rec, s->encr_id);
    cif_sa_set_integ_id(rec, s->integ_id);
    cif_sa_set_encr_len(rec, s->encr_len);
    cif_sa_set_integ_len(rec, s->integ_len);
    cif_sa_set_salt_len(rec, s->salt_len);
    cif_sa_set_icv_len(rec, s->icv_len);
    cif_sa_set_cookie(rec, cookie);
    memcpy(cif_sa_src_w(rec), outer_src, 4);
    memcpy(cif_sa_dst_w(rec), outer_dst, 4);
    cif_sa_set_seq_limit(rec, CIF_LIMIT_NONE);
    cif_sa_set_seq_warn(rec, CIF_LIMIT_NONE);
    cif_sa_set_byte_soft(rec, CIF_LIMIT_NONE);
    cif_sa_set_byte_hard(rec, CIF_LIMIT_NONE);
    key_octets(cif_sa_encr_key_w(rec), s->encr_len, 0x10);
    key_octets(cif_sa_integ_key_w(rec), s->integ_len, 0x80);
    key_octets(cif_sa_salt_w(rec), s->salt_len, 0xc0);
    if (s->encr_id == ENCR_AES_CBC && dir == CIF_DIR_OUT)
        key_octets(cif_sa_iv_key_w(rec), CIF_SA_IV_KEY_LEN, 0x40);
}

/* --- packets
 * ---------------------------------------------------------------------------------------- */

static void be16(uint8_t *p, uint32_t v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}

static void be32(uint8_t *p, uint32_t v)
{
    be16(p, v >> 16);
    be16(p + 2, v);
}

static void ipv4(uint8_t *p, size_t len, uint8_t proto, const uint8_t *src, const uint8_t *dst)
{
    uint32_t sum = 0;
    memset(p, 0, IPV4);
    p[0] = 0x45;
    be16(p + 2, (uint32_t)len);
    p[6] = 0x40; /* DF */
    p[8] = 64;
    p[9] = proto;
    memcpy(p + 12, src, 4);
    memcpy(p + 16, dst, 4);
    for (int i = 0; i < IPV4; i += 2)
        sum += (uint32_t)p[i] << 8 | p[i + 1];
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    be16(p + 10, ~sum);
}

/* UDP with checksum 0: no one along the way may change it. */
static void clear_packet(struct kat_packet *p, bool tunnel)
{
    uint8_t *ip = p->clear + ETH, *udp = ip + IPV4;
    memcpy(p->clear, eth_header, ETH);
    ipv4(ip, IPV4 + UDP + DATA, 17, tunnel ? inner_src : outer_src, tunnel ? inner_dst : outer_dst);
    memset(udp, 0, UDP);
    be16(udp, 7);
    be16(udp + 2, 7);
    be16(udp + 4, UDP + DATA);
    key_octets(udp + UDP, DATA, 'A');
    p->clear_len = ETH + IPV4 + UDP + DATA;
}

/* Payload, pad 1, 2, 3, ..., its length, next header; the length of it all. */
static size_t trailer(uint8_t *out, const uint8_t *in, size_t len, size_t align, uint8_t next)
{
    size_t pad = (align - (len + 2) % align) % align;
    memcpy(out, in, len);
    for (size_t i = 0; i < pad; i++)
        out[len + i] = (uint8_t)(i + 1);
    out[len + pad] = (uint8_t)pad;
    out[len + pad + 1] = next;
    return len + pad + 2;
}

static const EVP_CIPHER *cipher(const struct card_suite *s)
{
    bool gcm = s->encr_id == ENCR_AES_GCM_16;
    if (s->encr_len == 16)
        return gcm ? EVP_aes_128_gcm() : EVP_aes_128_cbc();
    if (s->encr_len == 24)
        return gcm ? EVP_aes_192_gcm() : EVP_aes_192_cbc();
    return gcm ? EVP_aes_256_gcm() : EVP_aes_256_cbc();
}

/* esp: header (8), IV (8), plaintext of len in place, room for the tag. */
static int seal_gcm(const struct card_suite *s, const uint8_t *rec, uint8_t *esp, size_t len)
{
    uint8_t nonce[12], *text = esp + ESP_HEADER + 8;
    int n, ok;
    EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
    if (!c)
        return -ENOMEM;
    memcpy(nonce, cif_sa_salt(rec), 4);
    memcpy(nonce + 4, esp + ESP_HEADER, 8);
    ok = EVP_EncryptInit_ex(c, cipher(s), NULL, cif_sa_encr_key(rec), nonce) &&
         EVP_EncryptUpdate(c, NULL, &n, esp, ESP_HEADER) &&
         EVP_EncryptUpdate(c, text, &n, text, (int)len) && EVP_EncryptFinal_ex(c, text + n, &n) &&
         EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_GCM_GET_TAG, 16, text + len);
    EVP_CIPHER_CTX_free(c);
    return ok ? 0 : -EIO;
}

static int encrypt(const EVP_CIPHER *how, const uint8_t *key, const uint8_t *iv, uint8_t *text,
                   size_t len)
{
    int n, ok;
    EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
    if (!c)
        return -ENOMEM;
    ok = EVP_EncryptInit_ex(c, how, NULL, key, iv) && EVP_CIPHER_CTX_set_padding(c, 0) &&
         EVP_EncryptUpdate(c, text, &n, text, (int)len);
    EVP_CIPHER_CTX_free(c);
    return ok ? 0 : -EIO;
}

/* esp: header (8), IV (16: the number in its last 8 octets, still clear), plaintext, room for the
 * ICV. IV = AES-128-ECB(iv_key, 8 zero octets | number), contract 1.1. */
static int seal_cbc(const struct card_suite *s, const uint8_t *rec, uint8_t *esp, size_t len)
{
    uint8_t iv_key[16], mac[EVP_MAX_MD_SIZE], *iv = esp + ESP_HEADER, *text = iv + 16;
    key_octets(iv_key, sizeof iv_key, 0x40);
    int err = encrypt(EVP_aes_128_ecb(), iv_key, NULL, iv, 16);
    if (!err)
        err = encrypt(cipher(s), cif_sa_encr_key(rec), iv, text, len);
    if (err)
        return err;
    if (!HMAC(EVP_sha256(), cif_sa_integ_key(rec), s->integ_len, esp, ESP_HEADER + 16 + len, mac,
              NULL))
        return -EIO;
    memcpy(text + len, mac, 16);
    return 0;
}

int kat_build(struct kat_packet *p, const struct card_suite *s, uint32_t spi)
{
    uint8_t rec[CIF_SA_SIZE], *esp = p->esp + ETH + IPV4;
    bool tunnel = kat_tunnel(s), gcm = s->encr_id == ENCR_AES_GCM_16;
    size_t iv = gcm ? 8 : 16;
    if (!kat_knows(s))
        return -ENOTSUP;
    memset(p, 0, sizeof *p);
    clear_packet(p, tunnel);
    const uint8_t *in = p->clear + ETH + (tunnel ? 0 : IPV4);
    size_t in_len = UDP + DATA + (tunnel ? IPV4 : 0);
    kat_record(rec, s, CIF_DIR_IN, spi, 1);
    be32(esp, spi);
    be32(esp + 4, KAT_SEQ);
    be32(esp + ESP_HEADER + iv - 4, KAT_SEQ);
    size_t len = trailer(esp + ESP_HEADER + iv, in, in_len, gcm ? 4 : 16, tunnel ? 4 : 17);
    int err = gcm ? seal_gcm(s, rec, esp, len) : seal_cbc(s, rec, esp, len);
    OPENSSL_cleanse(rec, sizeof rec);
    size_t total = IPV4 + ESP_HEADER + iv + len + s->icv_len;
    memcpy(p->esp, eth_header, ETH);
    ipv4(p->esp + ETH, total, 50, outer_src, outer_dst);
    p->esp_off = ETH + IPV4;
    p->esp_len = ETH + total;
    return err;
}
