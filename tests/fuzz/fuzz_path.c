/* Random frames into both sides of a dp that has policies of every kind and SAs in both places. The
 * input is a list of records: kind, length (two octets, big-endian), data. Within one input
 * fragments, holds and caches meet; between inputs all of that is emptied and the SAs are new.
 *
 * Beside memory errors: what leaves in clear is nothing that the one protect-all prefix covers, and
 * every buffer taken from the port goes back. */
#include "hostd/data/path/path.h"

#include <errno.h>
#include <stdlib.h>

enum { STORE = 32, ROOM = 70000 };

struct world {
    struct dp *dp;
    struct spd *spd;
    struct sad *sad;
    struct sa *in, *in_udp;
    struct dp_port port;
    struct dp_tx last;
    uint8_t *last_frame;
    unsigned taken, back, tick;
    uint64_t now;
    int hop;
};

static const uint8_t us[4] = {192, 0, 2, 1}, far_side[4] = {10, 2, 0, 0};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool ok)
{
    if (!ok)
        abort();
}

static int get(void *ctx, size_t room, struct dp_buf *b)
{
    struct world *w = ctx;
    if (w->tick % 13 == 12)
        return -ENOBUFS;
    *b = (struct dp_buf){.p = malloc(room ? room : 1), .room = room};
    check(b->p != NULL);
    w->taken++;
    return 0;
}

static void judge(const struct dp_tx *tx, const uint8_t *frame)
{
    struct pkt p;
    if (tx->op != DP_CLEAR || !pkt_parse(&p, frame, tx->len) || p.i.version != 4)
        return;
    bool dhcp = p.i.proto == IPP_UDP &&
                (p.i.frag == IP_FRAG_LATER ||
                 ((p.i.sport == 67 || p.i.sport == 68) && (p.i.dport == 67 || p.i.dport == 68)));
    check(dhcp || p.i.proto == IPP_IGMP || memcmp(p.i.dst.b, far_side, 2) != 0);
}

static int send(void *ctx, struct dp_buf *b, const struct dp_tx *tx)
{
    struct world *w = ctx;
    w->back++;
    check(tx->len <= b->room);
    judge(tx, b->p);
    free(w->last_frame);
    w->last = *tx;
    w->last_frame = b->p;
    return 0;
}

static void put(void *ctx, struct dp_buf *b)
{
    struct world *w = ctx;
    w->back++;
    free(b->p);
}

static void flush(void *ctx)
{
}

static int to_tap(void *ctx, const uint8_t *frame, size_t len, const struct dp_offload *off)
{
    unsigned sum = 0;
    for (size_t i = 0; i < len; i++)
        sum += frame[i];
    return sum % 251 == 250 ? -ENOBUFS : 0;
}

static int next_hop(void *ctx, const struct ip_addr *dst, uint8_t mac[6])
{
    struct world *w = ctx;
    memset(mac, 2, 6);
    return w->hop;
}

static bool is_local(void *ctx, const struct ip_addr *a)
{
    return a->family == 4 ? memcmp(a->b, us, 4) == 0 : a->b[0] == 0xfe;
}

static void acquire(void *ctx, const struct spd_policy *p, const struct spd_flow *f,
                    const struct ip_addr *peer)
{
}

static void life(void *ctx, struct sa *sa, enum sa_life what)
{
}

static void failed(void *ctx, struct sa *sa, const char *what)
{
}

static void fill(void *ctx, void *buf, size_t len)
{
    memset(buf, 0x5a, len);
}

static struct sa *add(struct world *w, enum esp_dir dir, uint32_t policy, uint32_t spi,
                      enum esp_mode mode, enum esp_encap encap)
{
    struct sa_spec s = {.dir = dir,
                        .policy_id = policy,
                        .spi = spi,
                        .mode = mode,
                        .encap = encap,
                        .suite = esp_suite_by_name("ESP_AES128_GCM16"),
                        .window = 64,
                        .udp_sport = 4500,
                        .udp_dport = 4500};
    s.src.family = s.dst.family = 4;
    memcpy(s.src.b, us, 4);
    memcpy(s.dst.b, us, 4);
    (dir == ESP_OUT ? &s.dst : &s.src)->b[3] = 2;
    struct sa *sa = NULL;
    check(sad_add(w->sad, &s, w->now, &sa) == 0);
    return sa;
}

static void policies(struct world *w)
{
    static const char *const remote[] = {"10.2.0.0/16", "192.0.2.2", "fd02::/64", "10.3.0.0/16",
                                         "10.4.0.0/16"};
    struct spd_policy p[5];
    memset(p, 0, sizeof p);
    for (int i = 0; i < 5; i++) {
        p[i].name[0] = (char)('a' + i);
        p[i].action = i == 3 ? SPD_PASS : i == 4 ? SPD_DISCARD : SPD_PROTECT;
        p[i].mode = i == 1 ? ESP_TRANSPORT : ESP_TUNNEL;
        check(ip_range_parse(remote[i], &p[i].sel.remote) == 0);
        p[i].sel.local_port.hi = p[i].sel.remote_port.hi = 65535;
        check(ip_parse("192.0.2.1", &p[i].tunnel_local) == 0);
        check(ip_parse("192.0.2.2", &p[i].tunnel_remote) == 0);
    }
    check(spd_load(w->spd, p, 5, NULL, NULL) == 0);
}

static void build(struct world *w, void *mem)
{
    struct dp_config cfg = {.natt_port = 4500,
                            .ike_ports = {500, 4500},
                            .n_ike_ports = 2,
                            .reassembly_bytes = 1,
                            .hold_packets = 8,
                            .hold_per_flow = 3};
    struct dp_ops ops = {w, to_tap, next_hop, is_local, acquire, life, failed, NULL};
    w->port = (struct dp_port){.ctx = w,
                               .card = true,
                               .mtu = 1500,
                               .mac = {2, 0, 0, 0, 0, 1},
                               .get = get,
                               .send = send,
                               .put = put,
                               .flush = flush};
    w->now = SECOND;
    w->spd = spd_new();
    check(w->spd && sad_new(&w->sad, mem, STORE * (size_t)STORE_RECORD, 0, ESP_BACKEND_OPENSSL,
                            fill, NULL, w->now, NULL, NULL) == 0);
    check(dp_new(&w->dp, &cfg, &ops, w->spd, w->sad) == 0);
    dp_set_port(w->dp, &w->port);
}

/* As after the start: nothing held or kept, new SAs, no decision remembered. */
static void renew(struct world *w)
{
    size_t held, kept;
    w->now += 3600 * SECOND;
    w->tick = w->hop = 0;
    dp_tick(w->dp, w->now);
    dp_in_use(w->dp, &held, &kept);
    check(held == 0 && kept == 0);
    dp_set_mode(w->dp, DP_RUNNING);
    sad_flush(w->sad);
    policies(w);
    add(w, ESP_OUT, spd_at(w->spd, 0)->id, 0x1001, ESP_TUNNEL, ESP_ENCAP_NONE);
    struct sa *sa = add(w, ESP_OUT, spd_at(w->spd, 1)->id, 0x1002, ESP_TRANSPORT, ESP_ENCAP_UDP);
    sa->place = PLACE_CARD;
    sa->card = 0;
    w->in = add(w, ESP_IN, spd_at(w->spd, 0)->id, 0x2001, ESP_TUNNEL, ESP_ENCAP_EITHER);
    w->in_udp = add(w, ESP_IN, spd_at(w->spd, 1)->id, 0x2002, ESP_TRANSPORT, ESP_ENCAP_UDP);
}

static void undone(struct world *w, const uint8_t *p, size_t n, uint8_t kind)
{
    struct dp_offload o = {.needs_csum = kind & 8, .gso = (enum dp_gso)(kind >> 4 & 3)};
    struct dp_rx rx = {.kind = DP_RX_WIRE, .frame = p + 3, .len = n - 3, .off = &o};
    if (n < 8)
        return;
    o.csum_start = p[0];
    o.csum_offset = p[1];
    o.gso_size = (uint16_t)(p[2] << 2 | 1);
    if (kind & 0x80)
        dp_from_port(w->dp, w->now, &rx);
    else
        dp_from_tap(w->dp, w->now, p + 3, n - 3, &o);
}

static void completion(struct world *w, uint8_t kind)
{
    uint8_t *frame = w->last_frame;
    struct dp_tx tx = w->last;
    if (!frame)
        return;
    w->last_frame = NULL; /* this call gives it back */
    dp_tx_done(w->dp, w->now, &tx, frame, (enum dp_fate)((kind >> 3) % 3), "SA_GONE");
    free(frame);
}

static void record(struct world *w, uint8_t kind, const uint8_t *p, size_t n)
{
    struct dp_rx rx = {.kind = DP_RX_WIRE, .frame = p, .len = n};
    switch (kind & 7) {
    case 0:
        undone(w, p, n, kind);
        break;
    case 1:
        dp_from_tap(w->dp, w->now, p, n, NULL);
        break;
    case 2:
        rx.kind = DP_RX_PROTECTED;
        rx.sa = kind & 8 ? w->in : w->in_udp;
        rx.seq = ++w->tick;
        rx.outer_tos = kind >> 4;
        dp_from_port(w->dp, w->now, &rx);
        break;
    case 3:
        completion(w, kind);
        break;
    case 4:
        w->now += (uint64_t)kind * 100 * MILLISECOND;
        dp_tick(w->dp, w->now);
        dp_set_mode(w->dp, (enum dp_mode)(kind >> 6 == 3 ? 0 : kind >> 6));
        w->hop = kind & 8 ? -EAGAIN : 0;
        break;
    case 5:
        dp_sa_ready(w->dp, w->now, sad_next(w->sad, NULL));
        break;
    default:
        rx.raw_reason = kind & 8 ? "ICV" : NULL;
        dp_from_port(w->dp, w->now, &rx);
    }
    w->tick++;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static _Alignas(64) uint8_t mem[STORE * STORE_RECORD];
    static struct world w;
    struct reader r = rd_from(data, size);
    uint8_t kind;
    uint16_t len;
    const uint8_t *p;
    if (!w.dp)
        build(&w, mem);
    renew(&w);
    while (rd_u8(&r, &kind) && rd_u16(&r, &len)) {
        size_t n = len < rd_left(&r) ? len : rd_left(&r);
        uint8_t *copy = malloc(n ? n : 1);
        if (!copy || !rd_bytes(&r, &p, n))
            abort();
        memcpy(copy, p, n);
        record(&w, kind, copy, n);
        free(copy);
    }
    check(w.taken == w.back);
    free(w.last_frame);
    w.last_frame = NULL;
    return 0;
}
