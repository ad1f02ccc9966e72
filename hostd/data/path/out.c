/* From the host: bypasses, offloads, fragments, policy; what is to be protected goes to protect.c.
 */
#include "hostd/data/path/path.h"

#include <errno.h>

static bool port_get(struct dp *d, size_t room, struct dp_buf *b)
{
    int rc = d->port ? d->port->get(d->port->ctx, room, b) : -ENODEV;
    if (rc)
        dp_drop(d, rc == -ENODEV ? DP_DROP_NO_WIRE : DP_DROP_NO_BUFFER);
    return rc == 0;
}

static bool port_send(struct dp *d, enum dp_op op, struct dp_buf *b, size_t len, size_t l2_len,
                      bool retried)
{
    struct dp_tx tx = {.op = op, .len = len, .l2_len = (uint16_t)l2_len, .retried = retried};
    d->c.wire_out++;
    int rc = d->port->send(d->port->ctx, b, &tx);
    if (rc) {
        d->c.wire_out--;
        dp_drop(d, rc == -ENODEV ? DP_DROP_NO_WIRE : DP_DROP_NO_BUFFER);
    }
    return rc == 0;
}

bool out_frame(struct dp *d, enum dp_op op, const uint8_t *frame, size_t len, bool retried)
{
    struct dp_buf b;
    if (!port_get(d, len, &b))
        return false;
    memcpy(b.p, frame, len);
    return port_send(d, op, &b, len, ETH_HDR, retried);
}

void out_hold_neighbour(struct dp *d, uint64_t now, const struct ip_addr *dst, const struct pkt *p)
{
    struct spd_flow f;
    struct hold_key k = {.neighbour = true, .addr = *dst};
    spd_flow_from(&f, ESP_OUT, &p->i);
    d->c.held++;
    d->c.drops[DP_DROP_HOLD_FULL] += hold_put(d->hold, now, &k, flow_hash(&f, d->cfg.rng_seed), p);
}

void out_release(struct dp *d, uint64_t now, const struct hold_key *k)
{
    struct pkt p;
    uint64_t mark = hold_mark(d->hold);
    if (d->releasing || !hold_has(d->hold, k))
        return;
    d->releasing = true;
    while (hold_take(d->hold, k, mark, d->held, &p)) {
        d->c.held_sent++;
        d->told_once = false;
        out_packet(d, now, &p);
    }
    d->releasing = false;
}

/* The host may have a MAC of ours for this destination (neigh.c): then the real one. False: the
 * packet was held or dropped. */
static bool clear_mac(struct dp *d, uint64_t now, const struct pkt *p, uint8_t mac[6])
{
    memcpy(mac, p->l2, 6);
    if (memcmp(mac, d->far_mac, 6) != 0)
        return true;
    int rc = d->ops.next_hop(d->ops.ctx, &p->i.dst, mac);
    if (rc == -EAGAIN)
        out_hold_neighbour(d, now, &p->i.dst, p);
    else if (rc)
        dp_drop(d, DP_DROP_NO_NEXT_HOP);
    else
        dp_neighbour_ready(d, now, &p->i.dst); /* what waits longer goes first */
    return rc == 0;
}

static bool clear_whole(struct dp *d, enum dp_op op, const struct pkt *p, const uint8_t mac[6])
{
    struct dp_buf b;
    size_t len = pkt_frame_len(p);
    if (!port_get(d, len, &b))
        return false;
    memcpy(b.p, p->l2, len);
    memcpy(b.p, mac, 6);
    return port_send(d, op, &b, len, p->l2_len, false);
}

static bool clear_pieces(struct dp *d, enum dp_op op, const struct pkt *p, size_t mtu,
                         const uint8_t mac[6])
{
    struct frag f;
    struct dp_buf b;
    uint32_t id = p->frag_max ? p->frag_id : p->i.version == 4 ? get_be16(p->ip + 4) : d->frag_id++;
    if (!frag_begin(&f, p->ip, &p->i, mtu, id, p->frag_df)) {
        dp_drop(d, DP_DROP_TOO_BIG);
        return false;
    }
    while (f.off < p->i.total) {
        if (!port_get(d, p->l2_len + mtu, &b))
            return false;
        memcpy(b.p, p->l2, p->l2_len);
        memcpy(b.p, mac, 6);
        size_t n = frag_next(&f, b.p + p->l2_len);
        if (!port_send(d, op, &b, p->l2_len + n, p->l2_len, false))
            return false;
    }
    return true;
}

/* A packet that leaves as it is; one that came in fragments leaves in fragments. */
static bool out_clear(struct dp *d, uint64_t now, enum dp_op op, const struct pkt *p)
{
    uint8_t mac[6];
    size_t mtu = d->port ? d->port->mtu : 0;
    if (!mtu) {
        dp_drop(d, DP_DROP_NO_WIRE);
        return false;
    }
    if (!clear_mac(d, now, p, mac))
        return false;
    if (p->i.total <= mtu)
        return clear_whole(d, op, p, mac);
    if (p->frag_max && p->frag_max <= mtu)
        return clear_pieces(d, op, p, p->frag_max, mac);
    if (p->i.version == 4 && !p->i.df && !p->frag_df)
        return clear_pieces(d, op, p, mtu, mac);
    dp_drop(d, DP_DROP_TOO_BIG);
    icmp_too_big(d, now, p, mtu, &p->i.dst);
    return false;
}

static void out_bypass(struct dp *d, uint64_t now, enum bypass b, const struct pkt *p)
{
    if (!out_clear(d, now, b == BYPASS_IKE ? DP_RAW : DP_CLEAR, p))
        return;
    d->c.bypassed[0]++;
    d->c.passed[0]++;
}

static void out_pass(struct dp *d, uint64_t now, const struct pkt *p)
{
    if (out_clear(d, now, DP_CLEAR, p))
        d->c.passed[0]++;
}

static void acquire(struct dp *d, uint64_t now, const struct spd_policy *policy,
                    const struct spd_flow *f, const struct ip_addr *peer, const struct pkt *p)
{
    bool full;
    struct hold_key k = {.policy_id = policy->id, .addr = *peer};
    d->c.held++;
    d->c.drops[DP_DROP_HOLD_FULL] += hold_put(d->hold, now, &k, flow_hash(f, d->cfg.rng_seed), p);
    if (!hold_ask(d->hold, now, &k, &full))
        return;
    d->c.acquires++;
    d->ops.acquire(d->ops.ctx, policy, f, peer);
}

static void out_protect(struct dp *d, uint64_t now, const struct spd_policy *policy,
                        const struct spd_flow *f, const struct pkt *p)
{
    static const struct ip_addr any;
    bool tunnel = policy->mode == ESP_TUNNEL;
    const struct ip_addr *peer = tunnel ? &policy->tunnel_remote : &p->i.dst;
    struct sa *sa = sad_outbound(d->sad, policy->id, tunnel ? &any : peer);
    if (!sa) {
        acquire(d, now, policy, f, peer, p);
        return;
    }
    struct hold_key k = {.policy_id = policy->id, .addr = *peer};
    out_release(d, now, &k); /* what waits longer goes first */
    if (dp_alive(d, now, sa))
        out_sa(d, now, sa, p);
}

/* May the flow leave in clear? Stopped with "pass": everything but what a protect policy covers. */
static bool may_pass(struct dp *d, const struct spd_policy *policy, const struct spd_flow *f)
{
    bool pass = policy && policy->action == SPD_PASS;
    if (d->mode == DP_RUNNING || d->mode == DP_DISCARD)
        return pass && d->mode == DP_RUNNING;
    return pass || !dp_covered(d, f);
}

void out_packet(struct dp *d, uint64_t now, const struct pkt *p)
{
    enum bypass b = bypass_ip(d, now, ESP_OUT, p);
    if (b != BYPASS_NO) {
        if (!neigh_nd(d, p))
            out_bypass(d, now, b, p);
        return;
    }
    struct spd_flow f;
    const struct spd_policy *policy = dp_classify(d, ESP_OUT, &p->i, &f);
    if (may_pass(d, policy, &f))
        out_pass(d, now, p);
    else if (d->mode != DP_RUNNING)
        dp_drop(d, DP_DROP_STOPPED);
    else if (!policy)
        dp_drop(d, DP_DROP_NO_POLICY);
    else if (policy->action == SPD_PROTECT)
        out_protect(d, now, policy, &f, p);
    else
        dp_drop(d, DP_DROP_DISCARD);
}

void out_clear_again(struct dp *d, uint64_t now, const struct dp_tx *tx, const uint8_t *frame)
{
    struct pkt p;
    struct spd_flow f;
    uint16_t type;
    size_t l2;
    bool may = eth_parse(frame, tx->len, &type, &l2) && bypass_type(type);
    if (pkt_parse(&p, frame, tx->len) && p.i.frag == IP_WHOLE)
        may = bypass_ip(d, now, ESP_OUT, &p) != BYPASS_NO ||
              may_pass(d, dp_classify(d, ESP_OUT, &p.i, &f), &f);
    if (!may)
        dp_drop(d, DP_DROP_NO_WIRE);
    else if (out_frame(d, tx->op, frame, tx->len, true))
        d->c.retried++;
}

/* A frame that is not IP. */
static void out_other(struct dp *d, const uint8_t *frame, size_t len, uint16_t type, size_t l2_len)
{
    if (type == ETH_ARP && neigh_arp(d, frame, len, l2_len))
        return;
    bool bypass = bypass_type(type);
    if (!bypass && d->mode != DP_PASS) {
        dp_drop(d, d->mode == DP_DISCARD ? DP_DROP_STOPPED : DP_DROP_NO_POLICY);
        return;
    }
    if (!out_frame(d, DP_CLEAR, frame, len, false))
        return;
    d->c.bypassed[0] += bypass;
    d->c.passed[0]++;
}

static void out_ip(struct dp *d, uint64_t now, const uint8_t *frame, size_t len)
{
    static const struct reasm_space outbound = {.dir = ESP_OUT};
    struct pkt p, whole;
    if (!pkt_parse(&p, frame, len)) {
        dp_drop(d, DP_DROP_MALFORMED);
        return;
    }
    if (p.i.frag == IP_WHOLE) {
        out_packet(d, now, &p);
        return;
    }
    if (reasm_add(d->own_frags, now, outbound, &p, d->whole, &whole,
                  &d->c.drops[DP_DROP_REASSEMBLY]) == REASM_WHOLE)
        out_packet(d, now, &whole);
}

static void out_super(struct dp *d, uint64_t now, const uint8_t *frame, size_t len,
                      const struct dp_offload *off)
{
    struct seg s;
    size_t n;
    if (!seg_begin(&s, frame, len, off)) {
        dp_drop(d, DP_DROP_MALFORMED);
        return;
    }
    while ((n = seg_next(&s, d->work)) != 0)
        out_ip(d, now, d->work, n);
}

void dp_from_tap(struct dp *d, uint64_t now, const uint8_t *frame, size_t len,
                 const struct dp_offload *off)
{
    uint16_t type;
    size_t l2;
    d->c.tap_in++;
    d->told_once = false;
    if (len > FRAME_BUF || !eth_parse(frame, len, &type, &l2)) {
        dp_drop(d, DP_DROP_MALFORMED);
    } else if (type != ETH_IP4 && type != ETH_IP6) {
        out_other(d, frame, len, type, l2);
    } else if (off && off->gso != DP_GSO_NONE) {
        out_super(d, now, frame, len, off);
    } else if (off && off->needs_csum) {
        if (seg_complete(d->work, frame, len, off))
            out_ip(d, now, d->work, len);
        else
            dp_drop(d, DP_DROP_MALFORMED);
    } else {
        out_ip(d, now, frame, len);
    }
}

void dp_sa_ready(struct dp *d, uint64_t now, const struct sa *sa)
{
    struct hold_key k = {.policy_id = sa->spec.policy_id};
    if (sa->spec.dir != ESP_OUT)
        return;
    if (sa->spec.mode == ESP_TRANSPORT)
        k.addr = sa->spec.dst;
    hold_answered(d->hold, &k);
    out_release(d, now, &k);
}

void dp_acquire_failed(struct dp *d, uint64_t now, uint32_t policy_id, const struct ip_addr *peer)
{
    struct hold_key k = {.policy_id = policy_id, .addr = *peer};
    hold_answered(d->hold, &k);
    d->c.drops[DP_DROP_HOLD_FULL] += hold_drop(d->hold, &k);
}

void dp_neighbour_ready(struct dp *d, uint64_t now, const struct ip_addr *dst)
{
    struct hold_key k = {.neighbour = true, .addr = *dst};
    out_release(d, now, &k);
}
