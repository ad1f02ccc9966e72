/* run-esp-packets FILE...: whole packets before and after ESP. For each packet and each back end:
 * protecting the plaintext, with IV, number and outer header fields as given, makes the ciphertext
 * octet for octet; opening the ciphertext gives the plaintext back. */
#include "tests/vectors/vector.h"

/* The files' words for algorithms, as IKEv2 transform IDs. */
static const struct {
    const char *word;
    uint16_t id;
} ciphers[] = {{"AES_GCM", 20}, {"AES_CBC", 12}, {"AES_CTR", 13}, {"NULL", 11},
               {"3DES_CBC", 3}, {"DES_CBC", 2},  {"none", 0}},
  auths[] = {{"(aead)", 0},       {"NULL", 0},      {"none", 0},
             {"SHA256_HMAC", 12}, {"SHA1_HMAC", 2}, {"MD5_HMAC", 1}};

struct packet {
    const char *name;
    const struct esp_suite *suite;
    struct esp_keys keys;
    struct vec_bytes iv, plain, cipher;
    enum esp_mode mode;
    bool esn;
    uint32_t spi;
    uint64_t seq;
};

static bool lookup(const char *cipher, const char *auth, uint16_t *encr, uint16_t *integ)
{
    bool c = false, a = false;
    for (size_t i = 0; i < sizeof ciphers / sizeof ciphers[0]; i++)
        if (strcmp(ciphers[i].word, cipher) == 0)
            *encr = ciphers[i].id, c = true;
    for (size_t i = 0; i < sizeof auths / sizeof auths[0]; i++)
        if (strcmp(auths[i].word, auth) == 0)
            *integ = auths[i].id, a = true;
    return c && a;
}

static bool read_packet(const json_t *o, struct packet *p)
{
    struct vec_bytes key, auth, salt;
    const char *mode = vec_str(o, "mode");
    if (!vec_hex(o, "key", &key) || !vec_hex(o, "auth_key", &auth) || !vec_hex(o, "salt", &salt) ||
        !vec_hex(o, "iv", &p->iv) || !vec_hex(o, "plaintext_packet", &p->plain) ||
        !vec_hex(o, "ciphertext_packet", &p->cipher))
        return false;
    p->mode = strcmp(mode, "tunnel") == 0 ? ESP_TUNNEL : ESP_TRANSPORT;
    p->esn = json_is_true(json_object_get(o, "esn"));
    p->spi = (uint32_t)json_integer_value(json_object_get(o, "spi"));
    p->seq = (uint64_t)json_integer_value(json_object_get(o, "seq"));
    const struct esp_suite *s = p->suite;
    return key.n == s->encr_len && auth.n == s->integ_len && salt.n == s->salt_len &&
           p->iv.n == s->iv_len && vec_key(p->keys.encr, sizeof p->keys.encr, &key) &&
           vec_key(p->keys.integ, sizeof p->keys.integ, &auth) &&
           vec_key(p->keys.salt, sizeof p->keys.salt, &salt);
}

/* The outer header's fields that a sender may choose, as the packet has them. */
static bool take_outer(const struct packet *p, struct esp_params *sa)
{
    struct ip_info i;
    if (ip_parse_packet(p->cipher.b, p->cipher.n, &i))
        return false;
    sa->src = i.src;
    sa->dst = i.dst;
    sa->rules = (struct esp_header_rules){.dscp = ESP_SET,
                                          .dscp_value = i.tos >> 2,
                                          .df = i.df ? ESP_SET : ESP_CLEAR,
                                          .ttl = i.ttl,
                                          .flow_label = ESP_SET,
                                          .flow_value = i.flow_label};
    if (i.proto == IPP_UDP) {
        sa->encap = ESP_ENCAP_UDP;
        sa->udp_sport = i.sport;
        sa->udp_dport = i.dport;
    }
    return true;
}

/* In tunnel mode IPv4's identification is the sender's choice; in transport mode it is the host's
 * packet that has it. */
static void take_id(const struct packet *p, uint8_t *out)
{
    if (p->mode != ESP_TUNNEL || out[0] >> 4 != 4)
        return;
    memcpy(out + 4, p->cipher.b + 4, 2);
    ip4_fix_checksum(out, 20);
}

static const char *protect(const struct packet *p, const struct esp_params *params,
                           enum esp_backend b)
{
    struct esp_sa *sa;
    uint8_t out[VEC_MAX];
    struct esp_pkt v = {
        .in = p->plain.b, .in_len = p->plain.n, .out = out, .out_room = sizeof out, .seq = p->seq};
    if (esp_sa_new(&sa, params, b))
        return "no outbound SA could be made";
    esp_protect_iv(sa, &v, p->iv.b);
    esp_sa_free(sa);
    if (v.result != ESP_OK)
        return esp_result_text(v.result);
    take_id(p, out);
    return vec_equal(out, v.out_len, &p->cipher) ? NULL : "protecting makes another packet";
}

static const char *open_again(const struct packet *p, const struct esp_params *params,
                              enum esp_backend b)
{
    struct esp_sa *sa;
    uint8_t out[VEC_MAX];
    struct esp_pkt v = {.in = p->cipher.b,
                        .in_len = p->cipher.n,
                        .out = out,
                        .out_room = sizeof out,
                        .seq = p->seq};
    if (esp_sa_new(&sa, params, b))
        return "no inbound SA could be made";
    esp_open(sa, &v, 1);
    esp_sa_free(sa);
    if (v.result != ESP_OK)
        return esp_result_text(v.result);
    return vec_equal(out, v.out_len, &p->plain) ? NULL : "opening gives another packet";
}

static const char *check(const struct packet *p)
{
    struct esp_params params = {
        .mode = p->mode, .esn = p->esn, .spi = p->spi, .suite = p->suite, .keys = &p->keys};
    if (!take_outer(p, &params))
        return "the ciphertext is no IP packet";
    for (unsigned i = 0; i < sizeof vec_backends / sizeof vec_backends[0]; i++) {
        if (!vec_backend_there(vec_backends[i]))
            continue;
        params.dir = ESP_OUT;
        const char *why = protect(p, &params, vec_backends[i]);
        params.dir = ESP_IN;
        if (!why)
            why = open_again(p, &params, vec_backends[i]);
        if (why)
            return why;
    }
    return NULL;
}

static void run_packet(const json_t *o, struct vec_count *c)
{
    static struct packet p;
    const char *name = vec_str(o, "name"), *proto = vec_str(o, "proto");
    const char *cipher = vec_str(o, "cipher"), *auth = vec_str(o, "auth");
    uint16_t encr = 0, integ = 0;
    char why[160];
    snprintf(why, sizeof why, "no suite %s with %s and %s", proto, cipher, auth);
    if (strcmp(proto, "ESP") != 0 || !lookup(cipher, auth, &encr, &integ)) {
        vec_result(c, name, why);
        return;
    }
    const char *refusal = esp_suite_refusal(encr, integ);
    if (refusal) {
        printf("refused %s: %s\n", name, refusal);
        c->passed++;
        return;
    }
    p.suite = esp_suite_by_id(encr, integ, (unsigned)strlen(vec_str(o, "key")) / 2);
    if (!p.suite)
        vec_result(c, name, why);
    else if (!read_packet(o, &p))
        vec_result(c, name, "fields missing or of a length that does not fit");
    else
        vec_result(c, name, check(&p));
}

static void run_file(const char *path, struct vec_count *c)
{
    json_t *root, *o;
    size_t i;
    if (!vec_load(path, &root)) {
        c->failed++;
        return;
    }
    json_t *packets = json_object_get(root, "packets");
    if (!json_is_array(packets))
        vec_result(c, path, "there is no array \"packets\"");
    json_array_foreach(packets, i, o) run_packet(o, c);
    json_decref(root);
}

int main(int argc, char **argv)
{
    struct vec_count c = {0};
    if (argc < 2) {
        fprintf(stderr, "usage: run-esp-packets FILE...\n");
        return 2;
    }
    for (int i = 1; i < argc; i++)
        run_file(argv[i], &c);
    return vec_end(&c);
}
