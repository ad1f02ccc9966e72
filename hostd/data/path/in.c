/* From the wire: bypasses, fragments, ESP (open.c), quoted errors (icmp.c), policy. */
#include "hostd/data/path/path.h"

void in_tap(struct dp *d, const uint8_t *frame, size_t len)
{
    /* A port with a MAC of its own (a standby): the host knows the TAP's. */
    if (!(frame[0] & 1) && memcmp(frame, d->mac, 6) != 0 && len <= FRAME_BUF) {
        if (frame != d->piece)
            memcpy(d->piece, frame, len);
        memcpy(d->piece, d->mac, 6);
        frame = d->piece;
    }
    if (d->ops.to_tap(d->ops.ctx, frame, len, d->rx_off))
        dp_drop(d, DP_DROP_TAP_FULL);
    else
        d->c.tap_out++;
}

void in_tap_packet(struct dp *d, const struct pkt *p)
{
    struct frag f;
    size_t n;
    size_t mtu = d->port ? d->port->mtu : 1500;
    if (!p->frag_max || p->i.total <= mtu) {
        in_tap(d, p->l2, pkt_frame_len(p));
        return;
    }
    if (!frag_begin(&f, p->ip, &p->i, p->frag_max, p->frag_id, p->frag_df)) {
        dp_drop(d, DP_DROP_TOO_BIG);
        return;
    }
    memcpy(d->piece, p->l2, p->l2_len);
    while ((n = frag_next(&f, d->piece + p->l2_len)) != 0)
        in_tap(d, d->piece, p->l2_len + n);
}

static void in_bypass(struct dp *d, const struct pkt *p)
{
    d->c.bypassed[1]++;
    d->c.passed[1]++;
    in_tap_packet(d, p);
}

static void in_stopped(struct dp *d, const struct spd_policy *policy, const struct spd_flow *f,
                       const struct pkt *p)
{
    bool pass = policy && policy->action == SPD_PASS;
    if (d->mode == DP_DISCARD) {
        dp_drop(d, DP_DROP_STOPPED);
    } else if (!pass && dp_covered(d, f)) {
        dp_drop(d, DP_DROP_CLEAR_FORBIDDEN);
    } else {
        d->c.passed[1]++;
        in_tap_packet(d, p);
    }
}

static void in_clear(struct dp *d, const struct pkt *p)
{
    struct spd_flow f;
    const struct spd_policy *policy = dp_classify(d, ESP_IN, &p->i, &f);
    if (d->mode != DP_RUNNING) {
        in_stopped(d, policy, &f, p);
    } else if (!policy) {
        dp_drop(d, DP_DROP_NO_POLICY);
    } else if (policy->action == SPD_PROTECT) {
        dp_drop(d, DP_DROP_CLEAR_FORBIDDEN);
    } else if (policy->action == SPD_DISCARD) {
        dp_drop(d, DP_DROP_DISCARD);
    } else {
        d->c.passed[1]++;
        in_tap_packet(d, p);
    }
}

static void in_packet(struct dp *d, uint64_t now, const struct pkt *p)
{
    if (bypass_ip(d, now, ESP_IN, p) != BYPASS_NO)
        in_bypass(d, p);
    else if (!open_packet(d, now, p) && !icmp_quotes_us(d, now, p))
        in_clear(d, p);
}

static void in_other(struct dp *d, const uint8_t *frame, size_t len, uint16_t type)
{
    bool bypass = bypass_type(type);
    if (!bypass && d->mode != DP_PASS) {
        dp_drop(d, d->mode == DP_DISCARD ? DP_DROP_STOPPED : DP_DROP_NO_POLICY);
        return;
    }
    d->c.bypassed[1] += bypass;
    d->c.passed[1]++;
    in_tap(d, frame, len);
}

static void in_ip(struct dp *d, uint64_t now, const uint8_t *frame, size_t len)
{
    static const struct reasm_space inbound = {.dir = ESP_IN};
    struct pkt p, whole;
    if (!pkt_parse(&p, frame, len))
        dp_drop(d, DP_DROP_MALFORMED);
    else if (p.i.frag == IP_WHOLE)
        in_packet(d, now, &p);
    else if (reasm_add(d->wire_frags, now, inbound, &p, d->whole, &whole,
                       &d->c.drops[DP_DROP_REASSEMBLY]) == REASM_WHOLE)
        in_packet(d, now, &whole);
}

/* What a kernel left undone on the way (veth, GRO). Datagrams may be ESP, so they are cut and each
 * is judged; TCP is never ours to open and goes on as one, as the TAP takes it. */
static void in_undone(struct dp *d, uint64_t now, const struct dp_rx *rx)
{
    struct seg s;
    size_t n;
    if (rx->off->gso == DP_GSO_NONE) {
        if (seg_complete(d->work, rx->frame, rx->len, rx->off))
            in_ip(d, now, d->work, rx->len);
        else
            dp_drop(d, DP_DROP_MALFORMED);
        return;
    }
    if (!seg_begin(&s, rx->frame, rx->len, rx->off)) {
        dp_drop(d, DP_DROP_MALFORMED);
        return;
    }
    if (rx->off->gso != DP_GSO_UDP) {
        d->rx_off = rx->off;
        in_ip(d, now, rx->frame, rx->len);
        d->rx_off = NULL;
        return;
    }
    while ((n = seg_next(&s, d->work)) != 0)
        in_ip(d, now, d->work, n);
}

static bool for_us(const struct dp *d, const uint8_t *dst)
{
    return (dst[0] & 1) || memcmp(dst, d->mac, 6) == 0 ||
           (d->port && memcmp(dst, d->port->mac, 6) == 0);
}

void dp_from_port(struct dp *d, uint64_t now, const struct dp_rx *rx)
{
    uint16_t type;
    size_t l2;
    d->c.wire_in++;
    d->raw_reason = rx->raw_reason;
    if (rx->raw_reason)
        d->c.raw_from_card++;
    if (rx->len > FRAME_BUF || !eth_parse(rx->frame, rx->len, &type, &l2))
        dp_drop(d, DP_DROP_MALFORMED);
    else if (rx->kind == DP_RX_PROTECTED)
        open_protected(d, now, rx);
    else if (!for_us(d, rx->frame))
        dp_drop(d, DP_DROP_NOT_FOR_US);
    else if ((type == ETH_IP4 || type == ETH_IP6) && rx->off &&
             (rx->off->needs_csum || rx->off->gso != DP_GSO_NONE))
        in_undone(d, now, rx);
    else if (type == ETH_IP4 || type == ETH_IP6)
        in_ip(d, now, rx->frame, rx->len);
    else
        in_other(d, rx->frame, rx->len, type);
    d->raw_reason = NULL;
}
