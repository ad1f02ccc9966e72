/* Inbound ESP, whoever decrypted it: the one window, lifetimes, selectors, then the host. */
#include "hostd/data/path/path.h"

/* Transport: the ICV does not cover the source, so it must be the SA's, or a peer could speak as
 * another one whom the same policy covers. In UDP the SA has followed the newest packet (nat.c): a
 * late one from the address before is refused. */
static bool from_peer(const struct sa *sa, const struct pkt *p)
{
    return sa->spec.mode == ESP_TUNNEL || sa->spec.src.family == 0 ||
           ip_eq(&p->i.src, &sa->spec.src);
}

/* The policy of the SA must be the one that this packet meets first (RFC 4301 5.2, step 4). */
static void deliver(struct dp *d, struct sa *sa, const struct pkt *p)
{
    struct spd_flow f;
    if (!from_peer(sa, p)) {
        dp_sa_drop(sa, SA_DROP_SELECTOR);
        return;
    }
    const struct spd_policy *policy = dp_classify(d, ESP_IN, &p->i, &f);
    if (!policy || policy->action != SPD_PROTECT || policy->id != sa->spec.policy_id)
        dp_sa_drop(sa, SA_DROP_SELECTOR);
    else
        in_tap_packet(d, p);
}

/* A frame out of ESP. The selectors may ask for ports, so inner fragments are put together first.
 */
static void inner(struct dp *d, uint64_t now, struct sa *sa, const uint8_t *frame, size_t len)
{
    struct pkt p, whole;
    struct reasm_space space = {.cookie = sa->cookie, .dir = ESP_IN};
    if (!pkt_parse(&p, frame, len))
        dp_sa_drop(sa, SA_DROP_MALFORMED);
    else if (p.i.frag == IP_WHOLE)
        deliver(d, sa, &p);
    else if (reasm_add(d->own_frags, now, space, &p, d->whole, &whole,
                       &d->c.drops[DP_DROP_REASSEMBLY]) == REASM_WHOLE)
        deliver(d, sa, &whole);
}

static struct sa *find_sa(const struct dp *d, const struct pkt *p, const struct esp_peek *peek)
{
    struct sa *sa = sad_inbound(d->sad, peek->spi);
    if (!sa)
        return NULL;
    bool ours = sa->spec.dst.family ? ip_eq(&sa->spec.dst, &p->i.dst)
                                    : d->ops.is_local(d->ops.ctx, &p->i.dst);
    bool udp = sa->spec.encap == ESP_ENCAP_UDP, none = sa->spec.encap == ESP_ENCAP_NONE;
    return ours && !(peek->udp ? none : udp) ? sa : NULL;
}

/* 0 when the packet goes on; else it is counted. A result behind the ICV has used its number up. */
static bool judge(struct sa *sa, const struct esp_pkt *v)
{
    static const enum sa_drop drop[ESP_RESULTS] = {
        [ESP_BAD_PACKET] = SA_DROP_MALFORMED, [ESP_NO_ROOM] = SA_DROP_MALFORMED,
        [ESP_BAD_NUMBER] = SA_DROP_MALFORMED, [ESP_BAD_ICV] = SA_DROP_ICV,
        [ESP_BAD_PAD] = SA_DROP_MALFORMED,    [ESP_BAD_NEXT_HEADER] = SA_DROP_MALFORMED,
        [ESP_BAD_INNER] = SA_DROP_MALFORMED,  [ESP_BAD_ECN] = SA_DROP_ECN,
        [ESP_DUMMY] = SA_DROP_DUMMY,          [ESP_UNSUPPORTED] = SA_DROP_MALFORMED,
        [ESP_CRYPTO_ERROR] = SA_DROP_CRYPTO,
    };
    bool verified = v->result == ESP_OK || (v->result >= ESP_BAD_PAD && v->result <= ESP_DUMMY);
    if (verified && sad_commit(sa, v->seq) != WIN_NEW)
        return false;
    if (v->result == ESP_OK)
        return true;
    dp_sa_drop(sa, drop[v->result]);
    return false;
}

/* The card has the SA and still handed the packet up: a word to placement. Reasons that lie in the
 * packet are not in the list. An SA just added may have packets from before under way. */
static void blame_card(struct dp *d, uint64_t now, struct sa *sa)
{
    static const char *const names[] = {"NO_SA",     "STOPPED",   "UNSUPPORTED",
                                        "ICV",       "PAD",       "NEXT_HDR",
                                        "LIFE_HARD", "SEQ_LIMIT", "ENGINE_FAULT"};
    if (!d->raw_reason || sa->place != PLACE_CARD || now < sa->since + 100 * MILLISECOND)
        return;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(d->raw_reason, names[i]) == 0) {
            d->ops.card_failed(d->ops.ctx, sa, names[i]);
            return;
        }
    }
}

static bool acceptable(struct sa *sa, uint64_t seq)
{
    enum win_verdict w = win_check(&sa->win, seq);
    if (w == WIN_NEW)
        return true;
    dp_sa_drop(sa, w == WIN_SEEN ? SA_DROP_REPLAY : SA_DROP_LATE);
    return false;
}

static void open_sa(struct dp *d, uint64_t now, struct sa *sa, const struct pkt *p,
                    const struct esp_peek *peek)
{
    /* Tunnel: a fresh link header. Transport: the frame's own, tags and all. */
    size_t l2 = sa->spec.mode == ESP_TUNNEL ? (size_t)ETH_HDR : p->l2_len;
    struct esp_pkt v = {.in = p->ip,
                        .in_len = p->i.total,
                        .out = d->plain + l2,
                        .out_room = FRAME_BUF - l2,
                        .seq = win_infer(&sa->win, peek->seq_lo)};
    struct ip_info i;
    if (!dp_alive(d, now, sa) || !acceptable(sa, v.seq))
        return;
    esp_open(sa->esp, &v, 1);
    if (!judge(sa, &v))
        return;
    sad_count_packet(sa, PATH_SOFTWARE, v.out_len, now);
    d->c.opened_software++;
    blame_card(d, now, sa);
    nat_follow(d, now, sa, p, peek, v.seq);
    memcpy(d->plain, p->l2, l2);
    if (ip_parse_packet(v.out, v.out_len, &i)) {
        dp_sa_drop(sa, SA_DROP_MALFORMED);
        return;
    }
    put_be16(d->plain + l2 - 2, eth_type(i.version));
    if (sa->spec.mode == ESP_TRANSPORT && peek->udp)
        nat_mend(v.out, &i);
    inner(d, now, sa, d->plain, l2 + v.out_len);
}

bool open_packet(struct dp *d, uint64_t now, const struct pkt *p)
{
    struct esp_peek peek;
    enum esp_kind kind = esp_classify(p->ip, &p->i, d->cfg.natt_port, &peek);
    if (kind == ESP_KIND_NONE || kind == ESP_KIND_IKE)
        return false;
    struct sa *sa = kind == ESP_KIND_ESP ? find_sa(d, p, &peek) : NULL;
    if (!sa && !d->ops.is_local(d->ops.ctx, &p->i.dst))
        return false; /* another host's ESP, forwarded: policy decides */
    if (sa && d->mode == DP_RUNNING)
        open_sa(d, now, sa, p, &peek);
    else if (kind == ESP_KIND_KEEPALIVE)
        dp_drop(d, DP_DROP_KEEPALIVE);
    else if (kind == ESP_KIND_SHORT)
        dp_drop(d, DP_DROP_MALFORMED);
    else
        dp_drop(d, d->mode == DP_RUNNING ? DP_DROP_UNKNOWN_SPI : DP_DROP_STOPPED);
    return true;
}

/* RFC 6040 for what a card decrypted: a card that did it already is not contradicted. */
static bool card_ecn(struct sa *sa, uint8_t outer_tos, uint8_t *ip, const struct ip_info *i)
{
    if (sa->spec.mode != ESP_TUNNEL || (outer_tos & 3) != 3 || (i->tos & 3) == 3)
        return true;
    if (!(i->tos & 3)) {
        dp_sa_drop(sa, SA_DROP_ECN);
        return false;
    }
    if (i->version == 4) {
        ip[1] |= 3;
        ip4_fix_checksum(ip, i->unfrag_len);
    } else {
        ip[1] |= 0x30;
    }
    return true;
}

/* The frame is the card's: where it must be changed, a copy is. False: dropped. */
static bool finish_card(struct dp *d, struct sa *sa, const struct dp_rx *rx, const uint8_t **frame)
{
    struct pkt p;
    bool mend = sa->spec.mode == ESP_TRANSPORT && sa->spec.encap == ESP_ENCAP_UDP;
    bool mark = sa->spec.mode == ESP_TUNNEL && (rx->outer_tos & 3) == 3;
    *frame = rx->frame;
    if (!mend && !mark)
        return true;
    memcpy(d->plain, rx->frame, rx->len);
    *frame = d->plain;
    if (!pkt_parse(&p, d->plain, rx->len))
        return true; /* inner() says so */
    uint8_t *ip = d->plain + p.l2_len;
    if (mend)
        nat_mend(ip, &p.i);
    return card_ecn(sa, rx->outer_tos, ip, &p.i);
}

void open_protected(struct dp *d, uint64_t now, const struct dp_rx *rx)
{
    struct sa *sa = rx->sa;
    const uint8_t *frame;
    if (!sa) {
        dp_drop(d, DP_DROP_SA_GONE);
        return;
    }
    if (sa->spec.dir != ESP_IN || (!sa->spec.esn && rx->seq > UINT32_MAX)) {
        dp_drop(d, DP_DROP_MALFORMED);
        return;
    }
    if (d->mode != DP_RUNNING) {
        dp_drop(d, DP_DROP_STOPPED);
        return;
    }
    if (!dp_alive(d, now, sa) || sad_commit(sa, rx->seq) != WIN_NEW)
        return;
    sad_count_packet(sa, PATH_CARD, rx->len > ETH_HDR ? rx->len - ETH_HDR : 0, now);
    d->c.opened_card++;
    if (finish_card(d, sa, rx, &frame))
        inner(d, now, sa, frame, rx->len);
}
