/* The inbound pipeline: what a frame is, which SA opens it, and why it may come up as it came.
 * Order (contract 1.5): lookup, late/replay pre-check, ICV, commit, padding and next header, outer
 * address, inner packet. Nothing changes state before the ICV was good. */
#include <errno.h>

#include "hwsim/model/internal.h"

/* Where the ESP packet lies in a frame. */
struct esp_at {
    const uint8_t *p;
    size_t len;
    bool udp;
    uint16_t sport, dport;
};

static void as_is(struct hw_verdict *v, uint8_t kind, uint8_t reason)
{
    v->kind = kind;
    v->reason = reason;
}

static void drop(struct hw_card *c, unsigned port, struct hw_verdict *v, unsigned stat)
{
    v->drop = true;
    hw_count(c, port, NULL, stat, 1);
}

/* --- what is it?
 * --------------------------------------------------------------------------------------- */

/* UDP on a NAT traversal port. True: at holds ESP. False: *v says what it is. A looped frame
 * carries the peer's ports, so its source counts as well. */
static bool classify_udp(struct hw_card *c, unsigned port, const struct hw_frame *f, bool looped,
                         struct esp_at *at, struct hw_verdict *v)
{
    const uint8_t *udp = hw_payload(f);
    size_t len = hw_payload_len(f), udp_len;

    if (len < 8)
        return false;
    at->sport = hw_get16(udp);
    at->dport = hw_get16(udp + 2);
    udp_len = hw_get16(udp + 4);
    if ((at->dport != 4500 && !(looped && at->sport == 4500)) || udp_len < 8 || udp_len > len)
        return false;
    at->p = udp + 8;
    at->len = udp_len - 8;
    if (at->len == 1 && at->p[0] == 0xff) {
        drop(c, port, v, CIF_STAT_RX_KEEPALIVE);
        return false;
    }
    if (at->len < 4 || hw_all_zero(at->p, 4)) /* too short for anything, or IKE's marker */
        return false;
    at->udp = true;
    v->sport = at->sport;
    return true;
}

/* False: the verdict stands (CLEAR unless changed). */
static bool find_esp(struct hw_card *c, unsigned port, const struct hw_frame *f, bool looped,
                     struct esp_at *at, struct hw_verdict *v)
{
    if (f->proto == HW_IPPROTO_AH) {
        as_is(v, CIF_RXK_RAW, f->fragment ? CIF_RXS_FRAGMENT : CIF_RXS_UNSUPPORTED);
        return false;
    }
    if (f->proto == HW_IPPROTO_UDP && !f->later) {
        if (!classify_udp(c, port, f, looped, at, v))
            return false;
    } else if (f->proto == HW_IPPROTO_ESP) {
        at->p = hw_payload(f);
        at->len = hw_payload_len(f);
    } else {
        return false;
    }
    if (f->fragment) {
        as_is(v, CIF_RXK_RAW, CIF_RXS_FRAGMENT);
        return false;
    }
    if (f->options) {
        as_is(v, CIF_RXK_RAW, CIF_RXS_EXT_HDR);
        return false;
    }
    return true;
}

/* Does the record let this packet in by this way? */
static bool way_fits(const struct hw_sa *sa, unsigned port, const struct esp_at *at)
{
    if (at->udp ? sa->encap == CIF_ENCAP_NONE : sa->encap == CIF_ENCAP_UDP)
        return false;
    return !sa->port_mask || sa->port_mask >> port & 1;
}

/* --- failures
 * ------------------------------------------------------------------------------------------- */

static void icv_failed(struct hw_card *c, unsigned port, struct hw_sa *sa, struct hw_verdict *v)
{
    sa->icv_fail++;
    if (sa->flags & CIF_SAF_SAMPLE_FAIL && sa->icv_fail % 16 == 1) {
        hw_count(c, port, NULL, CIF_STAT_RX_ICV_FAIL, 1);
        as_is(v, CIF_RXK_SAMPLE, CIF_RXS_ICV);
    } else {
        drop(c, port, v, CIF_STAT_RX_ICV_FAIL);
    }
    if (!sa->fail_run++)
        sa->fail_since = c->now;
    if (!sa->esp.esn || sa->burst ||
        (sa->fail_run < HW_BURST_FAILS &&
         (sa->fail_run < 2 || c->now - sa->fail_since < HW_BURST_NS)))
        return;
    /* The card's idea of the high half may be wrong: from here on the host opens them itself. */
    sa->burst = true;
    hw_event(c, CIF_EV_ICV_BURST, CIF_SEV_WARNING, 0, hw_sa_handle(&c->sa, sa), sa->fail_run);
}

/* One event of an SA an interval: a log line a packet is an attacker's tool. */
static void say_replay(struct hw_card *c, struct hw_sa *sa)
{
    uint64_t ms = c->admin.event_interval_ms ? c->admin.event_interval_ms : 100;

    if (sa->replay_said && c->now - sa->replay_said < ms * HW_MS)
        return;
    sa->replay_said = c->now;
    hw_event(c, CIF_EV_REPLAY_BURST, CIF_SEV_INFO, 0, hw_sa_handle(&c->sa, sa), sa->replay);
}

static void filtered(struct hw_card *c, unsigned port, struct hw_sa *sa, int err,
                     struct hw_verdict *v)
{
    if (err == -ETIME) {
        sa->late++;
        drop(c, port, v, CIF_STAT_RX_LATE);
    } else {
        sa->replay++;
        drop(c, port, v, CIF_STAT_RX_REPLAY);
        say_replay(c, sa);
    }
}

static void malformed(struct hw_card *c, unsigned port, struct hw_sa *sa, struct hw_verdict *v)
{
    sa->malformed++;
    drop(c, port, v, CIF_STAT_RX_MALFORMED);
}

/* --- the SA opens it
 * ----------------------------------------------------------------------------------- */

static uint64_t number_of(const struct hw_sa *sa, const uint8_t *esp)
{
    uint32_t window = sa->window_bits > HW_ESN_SLACK ? sa->window_bits : HW_ESN_SLACK;
    uint32_t lo = hw_get32(esp + 4);

    return sa->esp.esn ? hw_esn_infer(sa->highest, lo, window) : lo;
}

/* The outer source against the record; 0 or the reason. */
static unsigned moved(const struct hw_sa *sa, const struct hw_frame *f, const struct esp_at *at)
{
    size_t n = f->family == 4 ? 4 : 16;

    if (!hw_all_zero(sa->esp.src, 16) && memcmp(sa->esp.src, f->src, n))
        return CIF_RXS_ADDR;
    if (at->udp && sa->esp.sport && sa->esp.sport != at->sport)
        return CIF_RXS_PORT;
    return 0;
}

static void deliver(struct hw_card *c, unsigned port, struct hw_sa *sa, const struct hw_frame *f,
                    const struct esp_at *at, size_t len, struct hw_verdict *v)
{
    struct hw_build b = {.out = c->rx, .cap = sizeof(c->rx)};
    unsigned other = moved(sa, f, at);
    uint8_t next;
    int err;

    if (hw_esp_strip(c->plain, &len, &next) < 0) {
        malformed(c, port, sa, v);
        return;
    }
    if (next == HW_IPPROTO_NONE) {
        drop(c, port, v, CIF_STAT_RX_DUMMY);
        return;
    }
    if (other) {
        sa->mismatch++;
        as_is(v, CIF_RXK_RAW, (uint8_t)other);
        return;
    }
    err = hw_esp_deliver(&sa->esp, f, next, c->plain, len, &b);
    if (err == -ECONNABORTED) {
        sa->other++;
        drop(c, port, v, CIF_STAT_RX_ECN_DROP);
    } else if (err == -EPROTO) {
        as_is(v, CIF_RXK_RAW, CIF_RXS_NEXT_HDR);
    } else if (err) {
        malformed(c, port, sa, v);
    } else {
        as_is(v, CIF_RXK_PROTECTED, CIF_RXS_OK);
        v->flags |= sa->flags & CIF_SAF_TRUST_ICV_CSUM ? CIF_RXF_L4_OK : 0;
        v->data = b.out;
        v->len = b.len;
    }
}

static void open_esp(struct hw_card *c, unsigned port, struct hw_sa *sa, const struct hw_frame *f,
                     const struct esp_at *at, struct hw_verdict *v)
{
    uint64_t seq = number_of(sa, at->p);
    size_t len;
    int err = hw_window_check(sa, seq);

    if (err) {
        filtered(c, port, sa, err, v);
        return;
    }
    err = hw_esp_open(&sa->esp, at->p, at->len, (uint32_t)(seq >> 32), c->plain, &len);
    if (err == -EINVAL) {
        malformed(c, port, sa, v);
    } else if (err == -EBADMSG) {
        icv_failed(c, port, sa, v);
    } else if (err) {
        as_is(v, CIF_RXK_RAW, CIF_RXS_ENGINE_FAULT);
    } else {
        hw_window_commit(sa, seq);
        sa->fail_run = 0;
        v->seq = seq;
        deliver(c, port, sa, f, at, len, v);
    }
}

/* A fault that hands up raw what the card could open. */
static bool forced_raw(struct hw_card *c, unsigned port, const struct hw_sa *sa,
                       struct hw_verdict *v)
{
    const struct hw_fault *f = hw_fault_hit(
        &c->faults, c->now,
        &HW_FAULT_AT(HW_SITE_RX, .handle = HW_AT(hw_sa_handle(&c->sa, sa)), .port = HW_AT(port)));

    if (!f)
        return false;
    if (f->what == HW_WHAT_DROP)
        drop(c, port, v, CIF_STAT_RX_FROZEN);
    else
        as_is(v, CIF_RXK_RAW, f->reason == HW_FAULT_ANY ? CIF_RXS_UNSUPPORTED : (uint8_t)f->reason);
    return true;
}

static void esp_packet(struct hw_card *c, unsigned port, const struct hw_frame *f,
                       const struct esp_at *at, struct hw_verdict *v)
{
    struct hw_sa *sa;

    if (at->len < 8) {
        as_is(v, CIF_RXK_RAW, CIF_RXS_UNSUPPORTED);
        return;
    }
    v->flags |= at->udp ? CIF_RXF_UDP_ENCAP : 0;
    sa = hw_sa_lookup(&c->sa, f->family, hw_get32(at->p), f->dst);
    as_is(v, CIF_RXK_RAW, CIF_RXS_NO_SA);
    if (!sa)
        return;
    v->handle = hw_sa_handle(&c->sa, sa);
    if (sa->state != CIF_SASTATE_ACTIVE)
        v->reason = CIF_RXS_STOPPED;
    else if (!way_fits(sa, port, at))
        v->reason = CIF_RXS_PORT;
    else if (sa->burst)
        v->reason = CIF_RXS_ICV;
    else if (!forced_raw(c, port, sa, v))
        open_esp(c, port, sa, f, at, v);
    if (v->kind != CIF_RXK_PROTECTED)
        v->seq = 0;
}

void hw_pipeline(struct hw_card *c, unsigned port, const uint8_t *frame, size_t len, bool looped,
                 struct hw_verdict *v)
{
    struct hw_frame f;
    struct esp_at at = {0};

    memset(v, 0, sizeof(*v));
    v->handle = CIF_HANDLE_NONE;
    v->data = frame;
    v->len = len;
    v->flags = looped ? CIF_RXF_LOOPED : 0;
    as_is(v, CIF_RXK_CLEAR, CIF_RXS_OK);
    hw_parse_frame(frame, len, &f);
    if (!f.family)
        return;
    v->outer_family = f.family;
    v->tos = f.tos;
    v->ttl = f.ttl;
    if (find_esp(c, port, &f, looped, &at, v))
        esp_packet(c, port, &f, &at, v);
}
