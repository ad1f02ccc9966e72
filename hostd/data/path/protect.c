/* A packet of an outbound SA: link header, size, who transforms it, number, port. The order is the
 * contract's (1.4): everything that can refuse the packet comes before its number is taken. */
#include "hostd/data/path/path.h"

#include <errno.h>

/* One packet on its way; pieces of it share this. */
struct way {
    struct dp *d;
    uint64_t now;
    struct sa *sa;
    size_t mtu; /* of the outer path */
    size_t l2_len;
    uint8_t l2[ETH_MAX_HDR];
    bool retried;
};

static bool tunnel(const struct sa *sa)
{
    return sa->spec.mode == ESP_TUNNEL;
}

static size_t path_mtu(const struct dp *d, const struct sa *sa)
{
    return sa->pmtu && sa->pmtu < d->port->mtu ? sa->pmtu : d->port->mtu;
}

/* The header before ESP: transport mode's ESP goes behind what would be repeated in fragments. */
static size_t before_esp(const struct sa *sa, const struct ip_info *i)
{
    return tunnel(sa) ? 0 : i->unfrag_len;
}

static bool port_get(const struct way *w, size_t room, struct dp_buf *b)
{
    const struct dp_port *port = w->d->port;
    int rc = port ? port->get(port->ctx, room, b) : -ENODEV;
    if (rc)
        dp_sa_drop(w->sa, rc == -ENODEV ? SA_DROP_NO_WIRE : SA_DROP_NO_BUFFER);
    return rc == 0;
}

static bool port_send(const struct way *w, struct dp_buf *b, struct dp_tx *tx)
{
    const struct dp_port *port = w->d->port;
    tx->cookie = w->sa->cookie;
    tx->retried = w->retried;
    w->d->c.wire_out++;
    int rc = port->send(port->ctx, b, tx);
    if (rc) {
        w->d->c.wire_out--;
        dp_sa_drop(w->sa, rc == -ENODEV ? SA_DROP_NO_WIRE : SA_DROP_NO_BUFFER);
    }
    return rc == 0;
}

static bool take_number(const struct way *w, uint64_t *seq)
{
    if (sad_take(w->d->sad, w->sa, 1, seq) == 0)
        return true;
    bool told = w->sa->drops[SA_DROP_LIFETIME] || w->sa->drops[SA_DROP_EXHAUSTED];
    dp_sa_drop(w->sa, SA_DROP_EXHAUSTED);
    if (!told)
        w->d->ops.life(w->d->ops.ctx, w->sa, LIFE_HARD);
    return false;
}

/* Does the card take this packet? Its SA is there, and the shape is one that every card does. */
static bool for_card(const struct way *w, const struct pkt *p)
{
    const struct dp_port *port = w->d->port;
    size_t plain = p->i.version == 4 ? 20 : 40;
    return port->card && w->sa->place == PLACE_CARD && w->sa->card == port->card_index &&
           p->i.frag == IP_WHOLE && p->i.l4_off == plain && !p->i.has_options && !w->retried;
}

static void send_card(const struct way *w, const struct pkt *p)
{
    struct dp_buf b;
    size_t len = w->l2_len + p->i.total;
    struct dp_tx tx = {.op = DP_PROTECT, .handle = w->sa->handle, .len = len};
    if (!port_get(w, len, &b))
        return;
    if (!take_number(w, &tx.seq)) {
        w->d->port->put(w->d->port->ctx, &b);
        return;
    }
    memcpy(b.p, w->l2, w->l2_len);
    put_be16(b.p + w->l2_len - 2, eth_type(p->i.version));
    memcpy(b.p + w->l2_len, p->ip, p->i.total);
    tx.l2_len = (uint16_t)w->l2_len;
    tx.l3_len = (uint16_t)p->i.unfrag_len;
    /* Counted before it is sent: its completion may come before send returns. */
    sad_count_packet(w->sa, PATH_CARD, p->i.total, w->now);
    w->d->c.protected_card++;
    if (port_send(w, &b, &tx))
        return;
    w->d->c.protected_card--;
    w->sa->packets[PATH_CARD]--;
    w->sa->bytes[PATH_CARD] -= p->i.total;
}

static const enum sa_drop protect_drop[ESP_RESULTS] = {
    [ESP_BAD_PACKET] = SA_DROP_MALFORMED, [ESP_NO_ROOM] = SA_DROP_TOO_BIG,
    [ESP_BAD_NUMBER] = SA_DROP_EXHAUSTED, [ESP_UNSUPPORTED] = SA_DROP_MALFORMED,
    [ESP_CRYPTO_ERROR] = SA_DROP_CRYPTO,
};

/* Encrypts p into out; the length of the ESP packet, 0 when it was dropped and counted. */
static size_t encrypt(const struct way *w, const struct pkt *p, uint64_t seq, uint8_t *out,
                      size_t room)
{
    struct esp_pkt v = {
        .in = p->ip, .in_len = p->i.total, .out = out, .out_room = room, .seq = seq};
    esp_protect(w->sa->esp, &v, 1);
    if (v.result == ESP_OK)
        return v.out_len;
    dp_sa_drop(w->sa, protect_drop[v.result]);
    return 0;
}

static uint16_t outer_type(const struct sa *sa, const struct pkt *p)
{
    return eth_type(tunnel(sa) ? sa->spec.dst.family : p->i.version);
}

static bool send_software(const struct way *w, const struct pkt *p)
{
    struct dp_buf b;
    struct dp_tx tx = {.op = DP_RAW, .l2_len = (uint16_t)w->l2_len};
    size_t room = w->l2_len + esp_outer_len(w->sa->esp, p->i.total, before_esp(w->sa, &p->i)) + 16;
    if (!port_get(w, room, &b))
        return false;
    size_t n = 0;
    if (take_number(w, &tx.seq))
        n = encrypt(w, p, tx.seq, b.p + w->l2_len, b.room - w->l2_len);
    if (!n) {
        w->d->port->put(w->d->port->ctx, &b);
        return false;
    }
    memcpy(b.p, w->l2, w->l2_len);
    put_be16(b.p + w->l2_len - 2, outer_type(w->sa, p));
    tx.len = w->l2_len + n;
    if (!port_send(w, &b, &tx))
        return false;
    sad_count_packet(w->sa, PATH_SOFTWARE, p->i.total, w->now);
    w->d->c.protected_software++;
    return true;
}

/* ESP first, then the outer packet in pieces: where the inner one may not be cut. */
static void send_cut(const struct way *w, const struct pkt *p)
{
    struct dp *d = w->d;
    struct ip_info outer;
    struct frag f;
    struct dp_buf b;
    struct dp_tx tx = {.op = DP_RAW, .l2_len = (uint16_t)w->l2_len};
    if (!take_number(w, &tx.seq))
        return;
    size_t n = encrypt(w, p, tx.seq, d->cipher, FRAME_BUF);
    if (!n)
        return;
    bool parsed = ip_parse_packet(d->cipher, n, &outer) == 0;
    /* An ID given by esp/ is unique only where DF is not set (RFC 6864). */
    uint32_t id =
        parsed && outer.version == 4 && !outer.df ? get_be16(d->cipher + 4) : d->frag_id++;
    if (!parsed || !frag_begin(&f, d->cipher, &outer, w->mtu, id, false)) {
        dp_sa_drop(w->sa, SA_DROP_TOO_BIG);
        return;
    }
    while (f.off < outer.total) {
        if (!port_get(w, w->l2_len + w->mtu, &b))
            return;
        memcpy(b.p, w->l2, w->l2_len);
        put_be16(b.p + w->l2_len - 2, outer_type(w->sa, p));
        tx.len = w->l2_len + frag_next(&f, b.p + w->l2_len);
        if (!port_send(w, &b, &tx))
            return;
    }
    sad_count_packet(w->sa, PATH_SOFTWARE, p->i.total, w->now);
    d->c.protected_software++;
}

static void send_fitting(const struct way *w, const struct pkt *p)
{
    if (for_card(w, p))
        send_card(w, p);
    else
        send_software(w, p);
}

static size_t room_inside(const struct way *w, const struct pkt *p)
{
    return esp_max_inner(w->sa->esp, w->mtu, before_esp(w->sa, &p->i));
}

/* RFC 4301 8.2.1: Linux takes no word from its own address, so the far end seems to speak. */
static void tell(const struct way *w, const struct pkt *p, size_t room)
{
    const struct ip_addr *src = &p->i.dst;
    if (tunnel(w->sa) && w->sa->spec.dst.family == p->i.version)
        src = &w->sa->spec.dst;
    dp_sa_drop(w->sa, SA_DROP_TOO_BIG);
    icmp_too_big(w->d, w->now, p, room, src);
}

/* The inner packet in pieces of at most room octets, each a packet of the tunnel. */
static void send_pieces(const struct way *w, const struct pkt *p, size_t room)
{
    struct dp *d = w->d;
    struct frag f;
    struct pkt piece;
    size_t n;
    uint32_t id = p->frag_max ? p->frag_id : p->i.version == 4 ? get_be16(p->ip + 4) : d->frag_id++;
    if (!frag_begin(&f, p->ip, &p->i, room, id, p->frag_df)) {
        dp_sa_drop(w->sa, SA_DROP_TOO_BIG);
        return;
    }
    memcpy(d->piece, w->l2, w->l2_len);
    put_be16(d->piece + w->l2_len - 2, eth_type(p->i.version));
    while ((n = frag_next(&f, d->piece + w->l2_len)) != 0) {
        if (!pkt_parse(&piece, d->piece, w->l2_len + n))
            return; /* never: it was made from a packet that was parsed */
        if (n <= room_inside(w, &piece))
            send_software(w, &piece);
        else
            send_cut(w, &piece);
    }
}

static void too_big_tunnel(const struct way *w, const struct pkt *p, size_t room)
{
    bool v4 = p->i.version == 4;
    if (v4 && !p->i.df && !p->frag_df)
        send_pieces(w, p, room);
    else if (p->frag_max && (p->frag_max <= room || (!v4 && p->frag_max <= V6_MIN_MTU)))
        send_pieces(w, p, p->frag_max);
    else if (!v4 && p->i.total <= V6_MIN_MTU)
        send_cut(w, p); /* below 1280 an IPv6 sender cannot go */
    else
        tell(w, p, room);
}

/* A packet that came whole and may not be cut is told of; one that the host had cut already may be
 * cut again behind ESP, IPv6 too: the source is this host. */
static void too_big_transport(const struct way *w, const struct pkt *p, size_t room)
{
    bool may = p->frag_max || (p->i.version == 4 && !p->i.df);
    size_t most = p->i.version == 4 ? IP_MAX : IP_MAX + 40;
    if (may && p->i.total <= esp_max_inner(w->sa->esp, most, before_esp(w->sa, &p->i)))
        send_cut(w, p);
    else
        tell(w, p, room);
}

/* The link header: in tunnel mode, or where the host's entry is one of ours, made here; else as the
 * host made it. False: held or dropped. */
static bool link_header(struct way *w, const struct pkt *p)
{
    struct dp *d = w->d;
    const struct ip_addr *dst = tunnel(w->sa) ? &w->sa->spec.dst : &p->i.dst;
    w->l2_len = tunnel(w->sa) ? (size_t)ETH_HDR : p->l2_len;
    memcpy(w->l2, p->l2, w->l2_len);
    if (!tunnel(w->sa) && memcmp(p->l2, d->far_mac, 6) != 0)
        return true;
    int rc = d->ops.next_hop(d->ops.ctx, dst, w->l2);
    if (rc == -EAGAIN) {
        out_hold_neighbour(d, w->now, dst, p);
        return false;
    }
    if (rc) {
        dp_sa_drop(w->sa, SA_DROP_NO_NEXT_HOP);
        return false;
    }
    if (tunnel(w->sa))
        memcpy(w->l2 + 6, d->port->mac, 6);
    dp_neighbour_ready(d, w->now, dst); /* what waits longer goes first */
    return true;
}

void out_sa(struct dp *d, uint64_t now, struct sa *sa, const struct pkt *p)
{
    struct way w = {.d = d, .now = now, .sa = sa};
    if (!d->port) {
        dp_sa_drop(sa, SA_DROP_NO_WIRE);
        return;
    }
    if (!link_header(&w, p))
        return;
    w.mtu = path_mtu(d, sa);
    size_t room = room_inside(&w, p);
    if (p->i.total <= room)
        send_fitting(&w, p);
    else if (tunnel(sa))
        too_big_tunnel(&w, p, room);
    else
        too_big_transport(&w, p, room);
}

bool out_again(struct dp *d, uint64_t now, struct sa *sa, const struct pkt *p)
{
    struct way w = {.d = d, .now = now, .sa = sa, .retried = true, .l2_len = p->l2_len};
    if (!d->port) {
        dp_sa_drop(sa, SA_DROP_NO_WIRE);
        return false;
    }
    w.mtu = path_mtu(d, sa);
    memcpy(w.l2, p->l2, p->l2_len);
    if (tunnel(sa))
        memcpy(w.l2 + 6, d->port->mac, 6);
    if (p->i.total > room_inside(&w, p)) {
        dp_sa_drop(sa, SA_DROP_TOO_BIG);
        return false;
    }
    return send_software(&w, p);
}
