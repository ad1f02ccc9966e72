/* cross-check [COUNT [SEED]]: random packets through hostd's two back ends and through the card
 * model's own ESP, which shares no code with them. All make the same octets; each opens what they
 * made to the same packet, under an outer ECN field changed at random; a flipped bit opens nowhere.
 * The model has the AES-GCM suites only; on AES-CBC the two back ends check each other. */
#include "tests/vectors/vector.h"

#include "firmware-if/card_if.h"
#include "hwsim/model/esp.h"

#include <errno.h>

enum { ROOM = 4096, ETHER = 14, PER_SA = 16, MAX_INNER = 2000 };

static uint64_t random_state;

/* splitmix64 */
static uint64_t next_random(void)
{
    uint64_t z = random_state += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

static unsigned below(unsigned n)
{
    return (unsigned)(next_random() % n);
}

static void random_fill(uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        p[i] = (uint8_t)next_random();
}

/* One SA in three engines: [0] OpenSSL, [1] intel-ipsec-mb, and the model where it has the suite.
 */
struct trio {
    struct esp_params p;
    struct esp_keys keys;
    struct esp_sa *out[2], *in[2];
    unsigned engines;
    struct hw_esp hw_out, hw_in;
    bool hw;
};

static struct ip_addr random_addr(uint8_t family)
{
    struct ip_addr a = {.family = family};
    random_fill(a.b, ip_len(family));
    return a;
}

static void random_params(struct trio *t)
{
    uint8_t family = below(2) ? 4 : 6;
    random_fill((uint8_t *)&t->keys, sizeof t->keys);
    t->p = (struct esp_params){
        .mode = below(2) ? ESP_TUNNEL : ESP_TRANSPORT,
        .encap = below(2) ? ESP_ENCAP_UDP : ESP_ENCAP_NONE,
        .esn = below(2),
        .spi = 256 + below(0xffff0000),
        .suite = esp_suite_at(below(8) ? below(2) : 2 + below(2)),
        .keys = &t->keys,
        .src = random_addr(family),
        .dst = random_addr(family),
        .udp_sport = (uint16_t)(1 + below(65535)),
        .udp_dport = (uint16_t)(1 + below(65535)),
        .iv_xor = below(2) ? next_random() : 0,
        .rules = {.dscp = below(2) ? ESP_SET : ESP_COPY,
                  .df = (enum esp_field_rule)below(3),
                  .flow_label = below(2) ? ESP_SET : ESP_COPY,
                  .dscp_value = (uint8_t)below(64),
                  .ttl = (uint8_t)below(256),
                  .flow_value = below(0x100000)},
    };
}

static int model_key(struct trio *t, struct hw_esp *e, bool outbound)
{
    const struct esp_params *p = &t->p;
    *e = (struct hw_esp){
        .suite = hw_suite_find(p->suite->encr_id, p->suite->integ_id, p->suite->encr_len),
        .iv_xor = p->iv_xor,
        .spi = p->spi,
        .outbound = outbound,
        .esn = p->esn,
        .tunnel = p->mode == ESP_TUNNEL,
        .udp = p->encap == ESP_ENCAP_UDP,
        .family = p->src.family,
        .ttl = p->rules.ttl,
        .dscp = p->rules.dscp_value,
        .dscp_mode = p->rules.dscp == ESP_SET ? HW_DSCP_SET : HW_DSCP_COPY,
        .df_mode = (uint8_t)(p->rules.df == ESP_COPY  ? HW_DF_COPY
                             : p->rules.df == ESP_SET ? HW_DF_SET
                                                      : HW_DF_CLEAR),
        .ecn_mode = HW_ECN_NORMAL,
        .flow_mode = p->rules.flow_label == ESP_SET ? HW_FLOW_SET : HW_FLOW_COPY,
        .flow_label = p->rules.flow_value,
        .sport = p->udp_sport,
        .dport = p->udp_dport,
        .pmtu = 0xffff};
    memcpy(e->salt, t->keys.salt, 4);
    memcpy(e->src, p->src.b, 16);
    memcpy(e->dst, p->dst.b, 16);
    return e->suite ? hw_esp_key(e, t->keys.encr) : -ENOTSUP;
}

static bool make_trio(struct trio *t)
{
    memset(t, 0, sizeof *t);
    random_params(t);
    t->engines = vec_backend_there(ESP_BACKEND_IPSEC_MB) ? 2 : 1;
    for (unsigned i = 0; i < t->engines; i++) {
        t->p.dir = ESP_OUT;
        if (esp_sa_new(&t->out[i], &t->p, vec_backends[i]))
            return false;
        t->p.dir = ESP_IN;
        if (esp_sa_new(&t->in[i], &t->p, vec_backends[i]))
            return false;
    }
    t->hw = t->p.suite->aead;
    return !t->hw || (model_key(t, &t->hw_out, true) == 0 && model_key(t, &t->hw_in, false) == 0);
}

static void free_trio(struct trio *t)
{
    for (unsigned i = 0; i < 2; i++) {
        esp_sa_free(t->out[i]);
        esp_sa_free(t->in[i]);
    }
    hw_esp_clear(&t->hw_out);
    hw_esp_clear(&t->hw_in);
}

/* --- packets ------------------------------------------------------------------------------- */

struct packet {
    uint8_t frame[ROOM]; /* Ethernet header and inner packet */
    uint8_t *ip;
    size_t len;
    size_t front; /* transport: what stands in front of ESP */
    bool ext;     /* IPv6 with extension headers */
    uint64_t seq;
};

static uint8_t random_proto(void)
{
    static const uint8_t protos[] = {IPP_TCP, IPP_UDP, IPP_ICMP, IPP_ICMPV6, 132, 253};
    return protos[below(sizeof protos)];
}

static void make_v4(struct packet *k, size_t payload)
{
    size_t hdr = 20 + (below(8) ? 0 : 4 * below(11));
    k->len = hdr + payload;
    random_fill(k->ip, k->len);
    k->ip[0] = (uint8_t)(0x40 | hdr / 4);
    memset(k->ip + 20, 1, hdr - 20); /* no-operation options */
    put_be16(k->ip + 2, (uint16_t)k->len);
    put_be16(k->ip + 6, below(2) ? 0x4000 : 0);
    k->ip[9] = random_proto();
    ip4_fix_checksum(k->ip, hdr);
    k->front = hdr;
}

static void make_v6(struct packet *k, size_t payload)
{
    size_t hop = below(4) ? 0 : 8 * (1 + below(3)), dst = below(4) ? 0 : 8;
    uint8_t *p = k->ip + 40;
    k->len = 40 + hop + dst + payload;
    random_fill(k->ip, k->len);
    k->ip[0] = (uint8_t)(0x60 | (k->ip[0] & 15));
    put_be16(k->ip + 4, (uint16_t)(k->len - 40));
    uint8_t proto = random_proto(), *name = k->ip + 6;
    if (hop) {
        *name = IPP_HOPOPTS;
        name = p;
        memset(p, 0, hop);
        p[1] = (uint8_t)(hop / 8 - 1);
        p += hop;
    }
    if (dst) {
        *name = IPP_DSTOPTS;
        name = p;
        memset(p, 0, dst);
    }
    *name = proto;
    k->front = 40 + hop;
    k->ext = hop || dst;
}

static void make_packet(const struct trio *t, struct packet *k)
{
    size_t payload = below(4) ? below(200) : below(MAX_INNER);
    bool v4 = t->p.mode == ESP_TUNNEL ? below(2) : t->p.src.family == 4;
    random_fill(k->frame, ETHER);
    k->ip = k->frame + ETHER;
    k->ext = false;
    put_be16(k->frame + 12, v4 ? 0x0800 : 0x86dd);
    if (v4)
        make_v4(k, payload);
    else
        make_v6(k, payload);
    do
        k->seq = t->p.esn ? next_random() >> below(64) : 1 + below(0xffffffff);
    while (!k->seq);
}

/* --- the comparison ------------------------------------------------------------------------ */

struct wire {
    uint8_t frame[ROOM];
    size_t len; /* of the IP packet */
};

static const char *protect_all(struct trio *t, const struct packet *k, struct wire *w)
{
    uint8_t other[ROOM];
    for (unsigned i = 0; i < t->engines; i++) {
        struct esp_pkt v = {.in = k->ip,
                            .in_len = k->len,
                            .out = i ? other : w->frame + ETHER,
                            .out_room = ROOM - ETHER,
                            .seq = k->seq};
        esp_protect(t->out[i], &v, 1);
        if (v.result != ESP_OK)
            return esp_result_text(v.result);
        if (!i)
            w->len = v.out_len;
        else if (v.out_len != w->len || memcmp(other, w->frame + ETHER, w->len) != 0)
            return "the back ends make different packets";
    }
    memcpy(w->frame, k->frame, ETHER);
    put_be16(w->frame + 12, t->p.src.family == 4 ? 0x0800 : 0x86dd);
    if (!t->hw)
        return NULL;
    struct hw_build b = {.out = other, .cap = sizeof other};
    unsigned front = t->p.mode == ESP_TRANSPORT ? (unsigned)k->front : 0;
    if (hw_esp_protect(&t->hw_out, k->frame, ETHER + k->len, front, k->seq, &b) != CIF_TXS_OK)
        return "the model does not protect it";
    return b.len == ETHER + w->len && memcmp(other, w->frame, b.len) == 0
               ? NULL
               : "the model makes another packet";
}

/* The model's answer in hostd's words; out gets the IP packet. */
static enum esp_result model_open(struct trio *t, const struct wire *w, uint64_t seq, uint8_t *out,
                                  size_t *len)
{
    uint8_t plain[ROOM], frame[ROOM], nh;
    struct hw_frame f;
    struct hw_build b = {.out = frame, .cap = sizeof frame};
    hw_parse_frame(w->frame, ETHER + w->len, &f);
    if (!f.family)
        return ESP_BAD_PACKET;
    size_t udp = t->p.encap == ESP_ENCAP_UDP ? 8 : 0, n;
    int rc = hw_esp_open(&t->hw_in, hw_payload(&f) + udp, hw_payload_len(&f) - udp,
                         (uint32_t)(seq >> 32), plain, &n);
    if (rc)
        return rc == -EBADMSG ? ESP_BAD_ICV : ESP_BAD_PACKET;
    if (hw_esp_strip(plain, &n, &nh))
        return ESP_BAD_PAD;
    rc = hw_esp_deliver(&t->hw_in, &f, nh, plain, n, &b);
    if (rc)
        return rc == -ECONNABORTED ? ESP_BAD_ECN : ESP_BAD_INNER;
    *len = b.len - ETHER;
    memcpy(out, frame + ETHER, *len);
    return ESP_OK;
}

static const char *open_all(struct trio *t, const struct packet *k, const struct wire *w,
                            enum esp_result *first)
{
    uint8_t a[ROOM], b[ROOM];
    size_t len = 0, other = 0;
    for (unsigned i = 0; i < t->engines; i++) {
        struct esp_pkt v = {.in = w->frame + ETHER,
                            .in_len = w->len,
                            .out = i ? b : a,
                            .out_room = ROOM,
                            .seq = k->seq};
        esp_open(t->in[i], &v, 1);
        if (!i) {
            *first = v.result;
            len = v.out_len;
        } else if (v.result != *first || v.out_len != len || memcmp(a, b, len) != 0) {
            return "the back ends open it differently";
        }
    }
    /* the model takes no extension headers in transport mode: a card hands those up raw */
    if (t->hw && !(k->ext && t->p.mode == ESP_TRANSPORT)) {
        enum esp_result r = model_open(t, w, k->seq, b, &other);
        if (r != *first || (r == ESP_OK && (other != len || memcmp(a, b, len) != 0)))
            return "the model opens it differently";
    }
    if (*first != ESP_OK)
        return NULL;
    unsigned skip = t->p.mode == ESP_TUNNEL ? 12 : 0; /* ECN and checksum may have changed */
    return len == k->len && memcmp(a + skip, k->ip + skip, len - skip) == 0
               ? NULL
               : "not the packet that was";
}

/* A router on the way may mark. */
static void remark(const struct trio *t, struct wire *w)
{
    uint8_t *ip = w->frame + ETHER;
    if (t->p.mode != ESP_TUNNEL)
        return;
    if (t->p.src.family == 4) {
        ip[1] = (uint8_t)((ip[1] & 0xfc) | below(4));
        ip4_fix_checksum(ip, 20);
    } else {
        ip[1] = (uint8_t)((ip[1] & 0xcf) | below(4) << 4);
    }
}

static const char *one(struct trio *t, struct packet *k)
{
    static struct wire w;
    enum esp_result r;
    make_packet(t, k);
    const char *why = protect_all(t, k, &w);
    if (why)
        return why;
    remark(t, &w);
    why = open_all(t, k, &w, &r);
    if (why)
        return why;
    if (r != ESP_OK && r != ESP_BAD_ECN)
        return esp_result_text(r);
    /* the last 16 octets are ICV, those before it IV and text */
    w.frame[ETHER + w.len - 1 - below(24)] ^= (uint8_t)(1u << below(8));
    why = open_all(t, k, &w, &r);
    if (why)
        return why;
    return r == ESP_BAD_ICV ? NULL : "a flipped bit opened";
}

int main(int argc, char **argv)
{
    static struct trio t;
    static struct packet k;
    struct vec_count c = {0};
    unsigned long count = argc > 1 ? strtoul(argv[1], NULL, 10) : 100000;
    random_state = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
    printf("%lu packets, seed %llu, %s and the card model\n", count,
           (unsigned long long)random_state,
           vec_backend_there(ESP_BACKEND_IPSEC_MB) ? "openssl, ipsec-mb" : "openssl");
    for (unsigned long i = 0; i < count && c.failed < 10; i++) {
        if (i % PER_SA == 0) {
            free_trio(&t);
            if (!make_trio(&t)) {
                vec_result(&c, "SA", "could not be made");
                break;
            }
        }
        const char *why = one(&t, &k);
        c.passed += !why;
        if (!why)
            continue;
        c.failed++;
        printf("failed packet %lu: %s (%s, %s, outer v%u, inner v%u, udp %d, esn %d, %zu octets)\n",
               i, why, t.p.suite->name, t.p.mode == ESP_TUNNEL ? "tunnel" : "transport",
               t.p.src.family, k.ip[0] >> 4u, t.p.encap == ESP_ENCAP_UDP, t.p.esn, k.len);
    }
    free_trio(&t);
    return vec_end(&c);
}
