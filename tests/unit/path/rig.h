/* A dp with a port and a TAP made of memory, for the tests of the packet path. */
#ifndef TEST_PATH_RIG_H
#define TEST_PATH_RIG_H

#include "hostd/data/path/path.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define MAYBE_UNUSED __attribute__((unused))

enum { RIG_FRAMES = 512, RIG_STORE = 128 };

struct rig_frame {
    uint8_t *p;
    struct dp_tx tx; /* from the port */
};

struct rig {
    struct spd *spd;
    struct sad *sad;
    struct dp *dp;
    void *mem;
    struct dp_port port;
    struct ip_addr local[4]; /* our own addresses */
    uint64_t now;
    struct rig_frame out[RIG_FRAMES], tap[RIG_FRAMES];
    unsigned n_out, n_tap;
    unsigned got, given; /* buffers taken from the port and handed back or sent */
    unsigned tap_octets;
    int get_rc, send_rc, hop_rc, tap_rc;
    unsigned acquires, lives, failed, moved;
    enum sa_life life;
    uint32_t acquire_policy;
    struct ip_addr acquire_peer, hop_dst;
    char why[64];
    uint8_t hop_mac[6];
    uint32_t rnd;
};

static MAYBE_UNUSED void rig_random(void *ctx, void *buf, size_t len)
{
    struct rig *r = ctx;
    for (size_t i = 0; i < len; i++) {
        r->rnd = r->rnd * 1103515245u + 12345u;
        ((uint8_t *)buf)[i] = (uint8_t)(r->rnd >> 16);
    }
}

static MAYBE_UNUSED uint32_t rig_rand(struct rig *r)
{
    uint32_t v;
    rig_random(r, &v, sizeof v);
    return v;
}

static int rig_get(void *ctx, size_t room, struct dp_buf *b)
{
    struct rig *r = ctx;
    if (r->get_rc)
        return r->get_rc;
    *b =
        (struct dp_buf){.p = malloc(room), .room = room}; /* exact: the sanitizer watches its end */
    assert_non_null(b->p);
    r->got++;
    return 0;
}

static int rig_send(void *ctx, struct dp_buf *b, const struct dp_tx *tx)
{
    struct rig *r = ctx;
    r->given++;
    assert_true(tx->len <= b->room);
    if (r->send_rc || r->n_out == RIG_FRAMES) {
        free(b->p);
        return r->send_rc ? r->send_rc : -ENOBUFS;
    }
    r->out[r->n_out++] = (struct rig_frame){b->p, *tx};
    return 0;
}

static void rig_put(void *ctx, struct dp_buf *b)
{
    struct rig *r = ctx;
    r->given++;
    free(b->p);
}

static void rig_flush(void *ctx)
{
}

static int rig_to_tap(void *ctx, const uint8_t *frame, size_t len, const struct dp_offload *off)
{
    struct rig *r = ctx;
    if (r->tap_rc || r->n_tap == RIG_FRAMES)
        return r->tap_rc ? r->tap_rc : -ENOBUFS;
    uint8_t *p = malloc(len);
    assert_non_null(p);
    memcpy(p, frame, len);
    r->tap[r->n_tap++] = (struct rig_frame){p, {.len = len}};
    return 0;
}

static int rig_next_hop(void *ctx, const struct ip_addr *dst, uint8_t mac[6])
{
    struct rig *r = ctx;
    r->hop_dst = *dst;
    memcpy(mac, r->hop_mac, 6);
    return r->hop_rc;
}

static bool rig_is_local(void *ctx, const struct ip_addr *a)
{
    struct rig *r = ctx;
    for (unsigned i = 0; i < 4; i++)
        if (r->local[i].family && ip_eq(&r->local[i], a))
            return true;
    return false;
}

static void rig_acquire(void *ctx, const struct spd_policy *p, const struct spd_flow *f,
                        const struct ip_addr *peer)
{
    struct rig *r = ctx;
    r->acquires++;
    r->acquire_policy = p->id;
    r->acquire_peer = *peer;
}

static void rig_life(void *ctx, struct sa *sa, enum sa_life what)
{
    struct rig *r = ctx;
    r->lives++;
    r->life = what;
}

static void rig_failed(void *ctx, struct sa *sa, const char *what)
{
    struct rig *r = ctx;
    r->failed++;
    snprintf(r->why, sizeof r->why, "%s", what);
}

static void rig_moved(void *ctx, struct sa *sa)
{
    struct rig *r = ctx;
    r->moved++;
}

static MAYBE_UNUSED struct ip_addr rig_ip(const char *text)
{
    struct ip_addr a;
    if (strcmp(text, "none") == 0)
        return (struct ip_addr){0};
    assert_int_equal(ip_parse(text, &a), 0);
    return a;
}

static MAYBE_UNUSED struct rig *rig_new(uint8_t n)
{
    struct rig *r = calloc(1, sizeof *r);
    assert_non_null(r);
    r->rnd = n * 7919u + 1;
    r->now = 1000 * SECOND;
    r->mem = aligned_alloc(64, (size_t)RIG_STORE * STORE_RECORD);
    assert_non_null(r->mem);
    memset(r->mem, 0, (size_t)RIG_STORE * STORE_RECORD);
    r->spd = spd_new();
    assert_non_null(r->spd);
    assert_int_equal(sad_new(&r->sad, r->mem, (size_t)RIG_STORE * STORE_RECORD, 0, ESP_BACKEND_BEST,
                             rig_random, r, r->now, NULL, NULL),
                     0);
    struct dp_config cfg = {.natt_port = 4500,
                            .ike_ports = {500, 4500},
                            .n_ike_ports = 2,
                            .reassembly_bytes = 512 * 1024,
                            .hold_packets = 16,
                            .hold_per_flow = 4,
                            .rng_seed = 12345};
    struct dp_ops ops = {.ctx = r,
                         .to_tap = rig_to_tap,
                         .next_hop = rig_next_hop,
                         .is_local = rig_is_local,
                         .acquire = rig_acquire,
                         .life = rig_life,
                         .card_failed = rig_failed,
                         .moved = rig_moved};
    assert_int_equal(dp_new(&r->dp, &cfg, &ops, r->spd, r->sad), 0);
    r->port = (struct dp_port){.ctx = r,
                               .card_index = -1,
                               .mtu = 1500,
                               .mac = {2, 0, 0, 0, 0, n},
                               .get = rig_get,
                               .send = rig_send,
                               .put = rig_put,
                               .flush = rig_flush};
    memcpy(r->hop_mac, (uint8_t[6]){2, 0, 0, 0, 1, n}, 6);
    dp_set_port(r->dp, &r->port);
    return r;
}

static MAYBE_UNUSED void rig_clear(struct rig *r)
{
    for (unsigned i = 0; i < r->n_out; i++)
        free(r->out[i].p);
    for (unsigned i = 0; i < r->n_tap; i++)
        free(r->tap[i].p);
    r->n_out = r->n_tap = 0;
}

static MAYBE_UNUSED void rig_free(struct rig *r)
{
    assert_int_equal(r->got, r->given); /* every buffer went back */
    rig_clear(r);
    dp_free(r->dp);
    sad_free(r->sad);
    spd_free(r->spd);
    free(r->mem);
    free(r);
}

/* --- policies and SAs --- */

static MAYBE_UNUSED struct spd_policy rig_policy(const char *name, const char *local,
                                                 const char *remote, enum spd_action a)
{
    struct spd_policy p = {.action = a, .mode = ESP_TRANSPORT, .window = 1024};
    snprintf(p.name, sizeof p.name, "%s", name);
    assert_int_equal(ip_range_parse(local, &p.sel.local), 0);
    assert_int_equal(ip_range_parse(remote, &p.sel.remote), 0);
    p.sel.local_port.hi = p.sel.remote_port.hi = 65535;
    if (a == SPD_PROTECT) {
        p.transforms[0].suite = esp_suite_by_name("ESP_AES128_GCM16");
        p.n_transforms = 1;
    }
    return p;
}

static MAYBE_UNUSED struct spd_policy rig_tunnel(const char *name, const char *local,
                                                 const char *remote, const char *here,
                                                 const char *there)
{
    struct spd_policy p = rig_policy(name, local, remote, SPD_PROTECT);
    p.mode = ESP_TUNNEL;
    p.tunnel_local = rig_ip(here);
    p.tunnel_remote = rig_ip(there);
    return p;
}

static MAYBE_UNUSED void rig_load(struct rig *r, const struct spd_policy *list, unsigned n)
{
    assert_int_equal(spd_load(r->spd, list, n, NULL, NULL), 0);
}

static MAYBE_UNUSED struct sa_spec rig_spec(enum esp_dir dir, uint32_t policy, uint32_t spi,
                                            enum esp_mode mode, const char *src, const char *dst)
{
    struct sa_spec s = {.dir = dir,
                        .policy_id = policy,
                        .spi = spi,
                        .mode = mode,
                        .suite = esp_suite_by_name("ESP_AES128_GCM16"),
                        .window = 1024,
                        .src = rig_ip(src),
                        .dst = rig_ip(dst)};
    memset(s.keys.encr, 0x11, s.suite->encr_len);
    memset(s.keys.salt, 0x22, s.suite->salt_len);
    return s;
}

static MAYBE_UNUSED struct sa *rig_sa(struct rig *r, const struct sa_spec *s)
{
    struct sa *sa;
    assert_int_equal(sad_add(r->sad, s, r->now, &sa), 0);
    return sa;
}

/* --- frames --- */

static const uint8_t rig_gateway[6] = {2, 0xaa, 0, 0, 0, 1};

static MAYBE_UNUSED uint8_t *rig_eth(uint8_t *f, const struct rig *r, bool from_host, uint16_t type)
{
    const uint8_t *mac = r->port.mac;
    eth_write(f, from_host ? rig_gateway : mac, from_host ? mac : rig_gateway, type);
    return f + ETH_HDR;
}

/* An IP header for len octets of proto behind it; returns where they go. */
static MAYBE_UNUSED uint8_t *rig_hdr(uint8_t *ip, const struct ip_addr *src,
                                     const struct ip_addr *dst, uint8_t proto, size_t len, bool df)
{
    if (src->family == 4) {
        memset(ip, 0, 20);
        ip[0] = 0x45;
        put_be16(ip + 2, (uint16_t)(20 + len));
        put_be16(ip + 4, (uint16_t)(0x1000 + len));
        put_be16(ip + 6, df ? 0x4000 : 0);
        ip[8] = 64;
        ip[9] = proto;
        memcpy(ip + 12, src->b, 4);
        memcpy(ip + 16, dst->b, 4);
        ip4_fix_checksum(ip, 20);
        return ip + 20;
    }
    memset(ip, 0, 40);
    ip[0] = 0x60;
    put_be16(ip + 4, (uint16_t)len);
    ip[6] = proto;
    ip[7] = 64;
    memcpy(ip + 8, src->b, 16);
    memcpy(ip + 24, dst->b, 16);
    return ip + 40;
}

/* A whole frame with UDP and n octets of data; its length. */
static MAYBE_UNUSED size_t rig_udp(uint8_t *f, const struct rig *r, bool from_host, const char *src,
                                   const char *dst, uint16_t sport, uint16_t dport, size_t n,
                                   bool df)
{
    struct ip_addr s = rig_ip(src), d = rig_ip(dst);
    uint8_t *ip = rig_eth(f, r, from_host, eth_type(s.family));
    uint8_t *udp = rig_hdr(ip, &s, &d, IPP_UDP, 8 + n, df);
    put_be16(udp, sport);
    put_be16(udp + 2, dport);
    put_be16(udp + 4, (uint16_t)(8 + n));
    put_be16(udp + 6, 0);
    for (size_t i = 0; i < n; i++)
        udp[8 + i] = (uint8_t)(i * 7 + n);
    uint16_t sum = ip_sum_fold(ip_sum(udp, 8 + n, ip_pseudo_sum(&s, &d, IPP_UDP, 8 + n)));
    put_be16(udp + 6, sum ? sum : 0xffff);
    return (size_t)(udp - f) + 8 + n;
}

/* An IP packet of proto with n octets behind the header. */
static MAYBE_UNUSED size_t rig_raw(uint8_t *f, const struct rig *r, bool from_host, const char *src,
                                   const char *dst, uint8_t proto, const uint8_t *data, size_t n)
{
    struct ip_addr s = rig_ip(src), d = rig_ip(dst);
    uint8_t *ip = rig_eth(f, r, from_host, eth_type(s.family));
    uint8_t *l4 = rig_hdr(ip, &s, &d, proto, n, false);
    memcpy(l4, data, n);
    return (size_t)(l4 - f) + n;
}

static MAYBE_UNUSED void rig_send_host(struct rig *r, const uint8_t *f, size_t len)
{
    /* an exact copy, so that reading beyond it is seen */
    uint8_t *p = malloc(len);
    assert_non_null(p);
    memcpy(p, f, len);
    dp_from_tap(r->dp, r->now, p, len, NULL);
    free(p);
}

static MAYBE_UNUSED void rig_send_wire(struct rig *r, const uint8_t *f, size_t len)
{
    uint8_t *p = malloc(len ? len : 1);
    assert_non_null(p);
    memcpy(p, f, len);
    struct dp_rx rx = {.kind = DP_RX_WIRE, .frame = p, .len = len};
    dp_from_port(r->dp, r->now, &rx);
    free(p);
}

/* What a card does with PROTECT: the frame as it leaves the wire port. */
static MAYBE_UNUSED size_t rig_card(struct rig *r, const struct rig_frame *f, uint8_t *out)
{
    const struct dp_tx *tx = &f->tx;
    if (tx->op != DP_PROTECT) {
        memcpy(out, f->p, tx->len);
        return tx->len;
    }
    struct sa *sa = sad_by_cookie(r->sad, tx->cookie);
    assert_non_null(sa);
    struct esp_pkt v = {.in = f->p + tx->l2_len,
                        .in_len = tx->len - tx->l2_len,
                        .out = out + tx->l2_len,
                        .out_room = 65536,
                        .seq = tx->seq};
    esp_protect(sa->esp, &v, 1);
    assert_int_equal(v.result, ESP_OK);
    memcpy(out, f->p, tx->l2_len);
    put_be16(out + tx->l2_len - 2, v.out[0] >> 4 == 4 ? ETH_IP4 : ETH_IP6);
    return tx->l2_len + v.out_len;
}

/* Everything that left a goes in at b. */
static MAYBE_UNUSED void rig_wire(struct rig *a, struct rig *b)
{
    static uint8_t f[70000];
    for (unsigned i = 0; i < a->n_out; i++) {
        size_t n = rig_card(a, &a->out[i], f);
        memcpy(f, b->port.mac, 6);
        rig_send_wire(b, f, n);
    }
    for (unsigned i = 0; i < a->n_out; i++)
        free(a->out[i].p);
    a->n_out = 0;
}

static MAYBE_UNUSED uint64_t rig_drop(const struct rig *r, enum dp_drop d)
{
    return dp_counters(r->dp)->drops[d];
}

/* Sends a packet larger than the MTU as the host's stack would: in fragments. */
static MAYBE_UNUSED void rig_send_cut(struct rig *r, const uint8_t *f, size_t len, size_t mtu)
{
    static uint8_t piece[70000];
    struct pkt p;
    struct frag cut;
    size_t n;
    assert_true(pkt_parse(&p, f, len));
    assert_true(frag_begin(&cut, p.ip, &p.i, mtu, 0x7700 + (uint32_t)len, false));
    memcpy(piece, f, ETH_HDR);
    while ((n = frag_next(&cut, piece + ETH_HDR)) != 0)
        rig_send_host(r, piece, ETH_HDR + n);
}

#endif
