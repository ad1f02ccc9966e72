/* run-rfc FILE...: published vectors of the primitives, through the same back-end interface that
 * ESP uses, and of ESP packets. See the note in rfc-esp.json for the form. */
#include "tests/vectors/vector.h"

#include <openssl/sha.h>

enum { AES_CBC = 12, HMAC_SHA256 = 12, AES_GCM16 = 20 };

/* --- AES-CBC ------------------------------------------------------------------------------- */

static const char *cbc(const json_t *o, enum esp_backend b)
{
    static struct vec_bytes key, iv, plain, cipher;
    struct esp_keys keys = {{0}, {0}, {0}, {0}};
    uint8_t buf[VEC_MAX + 16];
    struct esp_crypto *k;
    if (!vec_hex(o, "key", &key) || !vec_hex(o, "iv", &iv) || !vec_hex(o, "plaintext", &plain) ||
        !vec_hex(o, "ciphertext", &cipher) || !vec_key(keys.encr, sizeof keys.encr, &key))
        return "fields missing";
    const struct esp_suite *s = esp_suite_by_id(AES_CBC, HMAC_SHA256, (unsigned)key.n);
    if (!s || esp_crypto_new(&k, b, s, &keys, ESP_OUT, false))
        return "no such key";
    struct esp_op op = {.hdr = buf,
                        .mac_len = plain.n,
                        .src = buf,
                        .dst = buf,
                        .len = plain.n,
                        .icv = buf + plain.n};
    memcpy(op.iv, iv.b, 16);
    memcpy(buf, plain.b, plain.n);
    k->seal(k, &op, 1);
    k->free(k);
    if (!op.ok || !vec_equal(buf, plain.n, &cipher))
        return "encrypts otherwise";
    if (esp_crypto_new(&k, b, s, &keys, ESP_IN, false))
        return "no such key";
    uint8_t back[VEC_MAX + 16];
    struct esp_op in = {.hdr = buf,
                        .mac_len = plain.n,
                        .src = buf,
                        .dst = back,
                        .len = plain.n,
                        .icv_in = buf + plain.n,
                        .scratch = back};
    memcpy(in.iv, iv.b, 16);
    k->open(k, &in, 1);
    k->free(k);
    return in.ok && vec_equal(back, plain.n, &plain) ? NULL : "decrypts otherwise";
}

/* --- HMAC-SHA-256, truncated to 16 octets as ESP has it ----------------------------------- */

/* A key longer than the block is hashed first (RFC 2104); ESP never has one. */
static void shorten(struct vec_bytes *key)
{
    uint8_t sum[SHA256_DIGEST_LENGTH];
    if (key->n <= SHA256_CBLOCK)
        return;
    SHA256(key->b, key->n, sum);
    memcpy(key->b, sum, sizeof sum);
    key->n = sizeof sum;
}

static const char *hmac(const json_t *o, enum esp_backend b)
{
    static struct vec_bytes key, data, mac;
    struct esp_keys keys = {{0}, {0}, {0}, {0}};
    uint8_t block[16] = {0}, icv[16];
    struct esp_crypto *k;
    if (!vec_hex(o, "key", &key) || !vec_hex(o, "data", &data) || !vec_hex(o, "mac", &mac) ||
        mac.n < sizeof icv)
        return "fields missing";
    shorten(&key);
    struct esp_suite s = *esp_suite_by_id(AES_CBC, HMAC_SHA256, 16);
    s.integ_len = (uint8_t)key.n;
    if (!vec_key(keys.integ, sizeof keys.integ, &key) ||
        esp_crypto_new(&k, b, &s, &keys, ESP_OUT, false))
        return "no such key";
    struct esp_op op = {.hdr = data.b,
                        .mac_len = data.n,
                        .src = block,
                        .dst = block,
                        .len = sizeof block,
                        .icv = icv};
    k->seal(k, &op, 1);
    k->free(k);
    return op.ok && memcmp(icv, mac.b, sizeof icv) == 0 ? NULL : "another MAC";
}

/* --- ESP packets with AES-GCM -------------------------------------------------------------- */

struct gcm_case {
    struct vec_bytes iv, text, packet;
    struct esp_keys keys;
    const struct esp_suite *suite;
    uint32_t spi;
    uint64_t number;
    bool esn;
};

static bool read_gcm(const json_t *o, struct gcm_case *g)
{
    struct vec_bytes key, salt, spi, number;
    if (!vec_hex(o, "key", &key) || !vec_hex(o, "salt", &salt) || !vec_hex(o, "iv", &g->iv) ||
        !vec_hex(o, "spi", &spi) || !vec_hex(o, "number", &number) ||
        !vec_hex(o, "text", &g->text) || !vec_hex(o, "packet", &g->packet))
        return false;
    memset(&g->keys, 0, sizeof g->keys);
    g->spi = (uint32_t)vec_number(&spi);
    g->number = vec_number(&number);
    g->esn = json_is_true(json_object_get(o, "esn"));
    g->suite = esp_suite_by_id(AES_GCM16, 0, (unsigned)key.n);
    return g->suite && g->iv.n == 8 && g->text.n >= 2 && g->packet.n == g->text.n + 32 &&
           vec_key(g->keys.encr, sizeof g->keys.encr, &key) &&
           vec_key(g->keys.salt, sizeof g->keys.salt, &salt);
}

static void gcm_op(const struct gcm_case *g, struct esp_op *op)
{
    struct esp_sa sa = {.suite = *g->suite, .spi = g->spi, .esn = g->esn};
    *op = (struct esp_op){.len = g->text.n};
    memcpy(op->iv, g->keys.salt, 4);
    memcpy(op->iv + 4, g->iv.b, 8);
    esp_write_aad(&sa, g->number, op->aad);
}

/* The back end alone: text and packet, both ways. */
static const char *gcm_bare(const struct gcm_case *g, enum esp_backend b)
{
    struct esp_crypto *k;
    struct esp_op op;
    uint8_t buf[VEC_MAX];
    if (esp_crypto_new(&k, b, g->suite, &g->keys, ESP_OUT, g->esn))
        return "no such key";
    gcm_op(g, &op);
    memcpy(buf, g->text.b, g->text.n);
    op.src = op.dst = buf;
    op.icv = buf + g->text.n;
    k->seal(k, &op, 1);
    k->free(k);
    if (!op.ok || memcmp(buf, g->packet.b + 16, g->text.n + 16) != 0)
        return "seals otherwise";
    if (esp_crypto_new(&k, b, g->suite, &g->keys, ESP_IN, g->esn))
        return "no such key";
    gcm_op(g, &op);
    op.src = g->packet.b + 16;
    op.dst = buf;
    op.icv_in = op.src + g->text.n;
    k->open(k, &op, 1);
    k->free(k);
    return op.ok && memcmp(buf, g->text.b, g->text.n) == 0 ? NULL : "opens otherwise";
}

static struct esp_sa *gcm_sa(const struct gcm_case *g, enum esp_dir dir, enum esp_backend b)
{
    struct esp_params p = {.dir = dir,
                           .mode = ESP_TRANSPORT,
                           .esn = g->esn,
                           .spi = g->spi,
                           .suite = g->suite,
                           .keys = &g->keys};
    struct esp_sa *sa = NULL;
    return esp_sa_new(&sa, &p, b) ? NULL : sa;
}

static void v4_header(uint8_t *p, size_t total, uint8_t proto)
{
    static const uint8_t hdr[20] = {0x45, 0, 0, 0,   0, 9, 0, 0, 64, 0,
                                    0,    0, 1, 192, 0, 2, 1, 2, 0,  2};
    memcpy(p, hdr, sizeof hdr);
    put_be16(p + 2, (uint16_t)total);
    p[9] = proto;
    ip4_fix_checksum(p, 20);
}

/* The whole way: the text's payload as an IPv4 packet in transport mode. SPI 0 has no SA. */
static const char *gcm_whole(const struct gcm_case *g, enum esp_backend b)
{
    size_t text = g->text.n, pad = g->text.b[text - 2], payload = text - 2 - pad;
    uint8_t plain[VEC_MAX], wire[VEC_MAX], out[VEC_MAX];
    v4_header(plain, 20 + payload, g->text.b[text - 1]);
    memcpy(plain + 20, g->text.b, payload);
    v4_header(wire, 20 + g->packet.n, IPP_ESP);
    memcpy(wire + 20, g->packet.b, g->packet.n);
    struct esp_sa *sa = gcm_sa(g, ESP_OUT, b);
    if (!sa)
        return "no outbound SA";
    struct esp_pkt v = {
        .in = plain, .in_len = 20 + payload, .out = out, .out_room = sizeof out, .seq = g->number};
    esp_protect_iv(sa, &v, g->iv.b);
    esp_sa_free(sa);
    if (v.result != ESP_OK || v.out_len != 20 + g->packet.n || memcmp(out, wire, v.out_len) != 0)
        return "protects otherwise";
    sa = gcm_sa(g, ESP_IN, b);
    if (!sa)
        return "no inbound SA";
    v = (struct esp_pkt){.in = wire,
                         .in_len = 20 + g->packet.n,
                         .out = out,
                         .out_room = sizeof out,
                         .seq = g->number};
    esp_open(sa, &v, 1);
    esp_sa_free(sa);
    return v.result == ESP_OK && v.out_len == 20 + payload && memcmp(out, plain, v.out_len) == 0
               ? NULL
               : "opens a packet otherwise";
}

static const char *gcm(const json_t *o, enum esp_backend b)
{
    static struct gcm_case g;
    if (!read_gcm(o, &g))
        return "fields missing";
    const char *why = gcm_bare(&g, b);
    return why || !g.spi ? why : gcm_whole(&g, b);
}

/* --- ESP packets with AES-CBC: RFC 3602's have no integrity, so ours are compared less the ICV ---
 */

static bool cbc_params(const json_t *o, struct esp_params *p, struct esp_keys *keys,
                       const struct vec_bytes *wire)
{
    static struct vec_bytes key, spi;
    struct ip_info info;
    memset(keys, 0, sizeof *keys);
    if (!vec_hex(o, "key", &key) || !vec_hex(o, "spi", &spi) ||
        !vec_key(keys->encr, sizeof keys->encr, &key) || ip_parse_packet(wire->b, wire->n, &info))
        return false;
    *p = (struct esp_params){.dir = ESP_OUT,
                             .mode = strcmp(vec_str(o, "mode"), "tunnel") == 0 ? ESP_TUNNEL
                                                                               : ESP_TRANSPORT,
                             .spi = (uint32_t)vec_number(&spi),
                             .suite = esp_suite_by_id(AES_CBC, HMAC_SHA256, (unsigned)key.n),
                             .keys = keys,
                             .src = info.src,
                             .dst = info.dst,
                             .rules = {.df = ESP_CLEAR, .ttl = info.ttl}};
    return p->suite;
}

static const char *cbc_packet(const json_t *o, enum esp_backend b)
{
    static struct vec_bytes iv, number, plain, wire;
    struct esp_keys keys;
    struct esp_params p;
    struct esp_sa *sa;
    uint8_t out[VEC_MAX];
    if (!vec_hex(o, "iv", &iv) || !vec_hex(o, "number", &number) ||
        !vec_hex(o, "plain_ip", &plain) || !vec_hex(o, "packet_ip", &wire) ||
        !cbc_params(o, &p, &keys, &wire) || iv.n != 16)
        return "fields missing";
    if (esp_sa_new(&sa, &p, b))
        return "no SA";
    struct esp_pkt v = {.in = plain.b,
                        .in_len = plain.n,
                        .out = out,
                        .out_room = sizeof out,
                        .seq = vec_number(&number)};
    esp_protect_iv(sa, &v, iv.b);
    esp_sa_free(sa);
    if (v.result != ESP_OK || v.out_len != wire.n + 16)
        return "another length";
    put_be16(out + 2, (uint16_t)wire.n);
    memcpy(out + 4, wire.b + 4, 2); /* the identification is the sender's choice */
    ip4_fix_checksum(out, 20);
    return vec_equal(out, wire.n, &wire) ? NULL : "another packet";
}

/* --- the file ------------------------------------------------------------------------------ */

static const struct {
    const char *key;
    const char *(*run)(const json_t *o, enum esp_backend b);
} groups[] = {
    {"aes-cbc", cbc}, {"hmac-sha2-256", hmac}, {"aes-gcm-esp", gcm}, {"aes-cbc-esp", cbc_packet}};

static void run_group(const json_t *cases, const char *group,
                      const char *(*run)(const json_t *o, enum esp_backend b),
                      enum esp_backend backend, struct vec_count *c)
{
    char name[160];
    size_t i;
    json_t *o;
    json_array_foreach(cases, i, o)
    {
        snprintf(name, sizeof name, "%s %s (%s)", group, vec_str(o, "name"),
                 backend == ESP_BACKEND_OPENSSL ? "openssl" : "ipsec-mb");
        vec_result(c, name, run(o, backend));
    }
}

static void run_file(const char *path, struct vec_count *c)
{
    json_t *root;
    if (!vec_load(path, &root)) {
        c->failed++;
        return;
    }
    for (size_t i = 0; i < sizeof groups / sizeof groups[0]; i++) {
        const json_t *cases = json_object_get(root, groups[i].key);
        if (!json_array_size(cases))
            vec_result(c, groups[i].key, "there are no such vectors in the file");
        for (size_t b = 0; b < sizeof vec_backends / sizeof vec_backends[0]; b++)
            if (vec_backend_there(vec_backends[b]))
                run_group(cases, groups[i].key, groups[i].run, vec_backends[b], c);
    }
    json_decref(root);
}

int main(int argc, char **argv)
{
    struct vec_count c = {0};
    if (argc < 2) {
        fprintf(stderr, "usage: run-rfc FILE...\n");
        return 2;
    }
    for (int i = 1; i < argc; i++)
        run_file(argv[i], &c);
    return vec_end(&c);
}
