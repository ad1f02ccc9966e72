#include "hostd/data/port/card_unit_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hostd/base/log.h"

/* --- the wire port
 * ---------------------------------------------------------------------------------- */

static int port_get(void *ctx, size_t room, struct dp_buf *b)
{
    struct card_unit *u = ctx;
    if (!u->serves)
        return -ENODEV;
    if (room > card_buf_len(u->card, 0))
        return -ENOBUFS;
    uint32_t buf = card_buf_get(u->card, 0);
    if (buf == CARD_BUF_NONE)
        return -ENOBUFS;
    *b = (struct dp_buf){card_buf_data(u->card, 0, buf), card_buf_len(u->card, 0), buf};
    return 0;
}

static void port_put(void *ctx, struct dp_buf *b)
{
    struct card_unit *u = ctx;
    card_buf_put(u->card, 0, b->id);
}

static int post(struct card_unit *u, uint32_t buf)
{
    static const uint8_t ops[] = {
        [DP_PROTECT] = CIF_TXOP_PROTECT, [DP_RAW] = CIF_TXOP_RAW, [DP_CLEAR] = CIF_TXOP_CLEAR};
    const struct dp_tx *tx = &u->tx[buf];
    struct card_tx d = {.op = ops[tx->op],
                        .l2_len = (uint8_t)tx->l2_len,
                        .l3_len = (uint8_t)tx->l3_len,
                        .buf = buf,
                        .len = (uint16_t)tx->len,
                        .sa_handle = tx->handle,
                        .seq = tx->seq,
                        .user = buf};
    int rc = card_tx_post(u->card, 0, &d);
    if (!rc) {
        u->posted[buf] = true;
        u->in_flight++;
    }
    return rc;
}

static void wait_for_ring(struct card_unit *u, uint32_t buf)
{
    u->waiting[(u->waiting_at + u->n_waiting++) % UNIT_TX_BUFS] = buf;
}

/* What waited goes first, in order, as soon as the ring takes it. */
static void post_waiting(struct card_unit *u)
{
    while (u->n_waiting) {
        uint32_t buf = u->waiting[u->waiting_at];
        int rc = post(u, buf);
        if (rc == -EPIPE || rc == -ENOSPC)
            return;
        if (rc)
            card_buf_put(u->card, 0, buf);
        u->waiting_at = (u->waiting_at + 1) % UNIT_TX_BUFS;
        u->n_waiting--;
    }
}

static int port_send(void *ctx, struct dp_buf *b, const struct dp_tx *tx)
{
    struct card_unit *u = ctx;
    if (b->id >= UNIT_TX_BUFS || tx->len > b->room) {
        port_put(u, b);
        return -EINVAL;
    }
    u->tx[b->id] = *tx;
    int rc = u->n_waiting ? -EPIPE : post(u, b->id);
    if (rc == -EPIPE) {
        wait_for_ring(u, b->id);
        return 0;
    }
    if (rc)
        port_put(u, b);
    return rc ? -ENOBUFS : 0;
}

static void port_flush(void *ctx)
{
    struct card_unit *u = ctx;
    post_waiting(u);
    (void)card_tx_flush(u->card, 0, u->now);
}

static bool port_ready(void *ctx)
{
    struct card_unit *u = ctx;
    return !u->serves || (!u->n_waiting && card_tx_room(u->card, 0) > UNIT_ROOM);
}

/* --- completions
 * -------------------------------------------------------------------------------------- */

static void one_tx_done(struct card_unit *u, const struct card_tx_done *d)
{
    static const enum dp_fate fates[] = {
        [CIF_FATE_SENT] = DP_SENT, [CIF_FATE_UNSENT] = DP_UNSENT, [CIF_FATE_MAYBE] = DP_MAYBE_SENT};
    if (d->buf == CARD_BUF_NONE || d->buf >= UNIT_TX_BUFS)
        return;
    if (d->user != d->buf || !u->posted[d->buf]) {
        card_buf_put(u->card, 0, d->buf);
        return;
    }
    u->posted[d->buf] = false;
    struct dp_tx tx = u->tx[d->user];
    bool lost = d->status == CARD_TXS_LOST;
    u->in_flight--;
    u->lost += lost;
    u->ops.tx_done(u->ops.ctx, u->index, &tx, card_buf_data(u->card, 0, d->buf) + d->off,
                   lost ? DP_MAYBE_SENT : fates[d->fate],
                   lost ? DP_RING_LOST : cif_txs_name(d->status));
    card_buf_put(u->card, 0, d->buf);
}

static bool reap_tx(struct card_unit *u)
{
    struct card_tx_done done[UNIT_BURST];
    int n = card_tx_reap(u->card, 0, u->now, done, UNIT_BURST);
    for (int i = 0; i < n; i++)
        one_tx_done(u, &done[i]);
    return n == UNIT_BURST;
}

static void one_rx(struct card_unit *u, const struct card_rx *r)
{
    struct dp_rx rx = {
        .kind = DP_RX_WIRE, .frame = r->data, .len = r->len, .outer_tos = r->outer_tos};
    if (r->kind == CIF_RXK_PROTECTED) {
        uint64_t cookie = unit_cookie_of(u, r->sa_handle);
        rx.kind = DP_RX_PROTECTED;
        rx.sa = cookie ? sad_by_cookie(u->sad, cookie) : NULL;
        rx.seq = r->seq;
        u->unknown_handles += !rx.sa; /* deleted since: the path counts it, too */
    } else if (r->kind == CIF_RXK_RAW) {
        rx.raw_reason = cif_rxs_name(r->status);
    } else if (r->kind != CIF_RXK_CLEAR) {
        return;
    }
    u->ops.rx(u->ops.ctx, u->index, &rx);
}

static bool reap_rx(struct card_unit *u)
{
    struct card_rx got[UNIT_BURST];
    int n = card_rx_reap(u->card, 0, u->now, got, UNIT_BURST);
    for (int i = 0; i < n; i++) {
        if (u->serves)
            one_rx(u, &got[i]);
        card_rx_put(u->card, 0, got[i].buf);
    }
    if (n > 0)
        (void)card_rx_flush(u->card, 0, u->now);
    return n == UNIT_BURST;
}

/* --- capabilities
 * ---------------------------------------------------------------------------------------- */

static void suite_caps(struct place_suite *to, const struct card_suite *from)
{
    to->encr_id = from->encr_id;
    to->integ_id = from->integ_id;
    to->encr_lens = (uint16_t)(1u << (from->encr_len / 8));
    to->dirs = (uint8_t)((from->out ? 1 : 0) | (from->in ? 2 : 0));
    to->modes = (uint8_t)((from->transport ? 1 : 0) | (from->tunnel ? 2 : 0));
    snprintf(to->bad[0], sizeof to->bad[0], "%.79s", from->why_not_out);
    snprintf(to->bad[1], sizeof to->bad[1], "%.79s", from->why_not_in);
}

static void fill_caps(struct card_unit *u)
{
    const struct card_caps *c = card_caps(u->card);
    struct place_caps *p = &u->caps;
    memset(p, 0, sizeof *p);
    snprintf(p->name, sizeof p->name, "%s", u->name);
    for (unsigned i = 0; i < c->n_suites && p->n_suites < PLACE_SUITES; i++)
        suite_caps(&p->suites[p->n_suites++], &c->suites[i]);
    p->out_max = c->sa_out_max;
    p->in_max = c->sa_in_max;
    p->shared_pool = c->sa_shared_pool;
    p->esn = c->esn;
    p->natt4 = c->natt_v4;
    p->natt6 = c->natt_v6;
    p->spi_lo = c->spi_lo;
    p->spi_hi = c->spi_hi;
}

/* --- states of the card
 * ------------------------------------------------------------------------------------ */

static struct card_port_cfg wire_cfg(bool enable)
{
    return (struct card_port_cfg){.port = 0, .enable = enable, .mtu = 1500};
}

/* The card left before these were in a ring: surely not sent. */
static void give_up_waiting(struct card_unit *u, const char *why)
{
    while (u->n_waiting) {
        uint32_t buf = u->waiting[u->waiting_at];
        struct dp_tx tx = u->tx[buf];
        u->waiting_at = (u->waiting_at + 1) % UNIT_TX_BUFS;
        u->n_waiting--;
        u->ops.tx_done(u->ops.ctx, u->index, &tx, card_buf_data(u->card, 0, buf), DP_UNSENT, why);
        card_buf_put(u->card, 0, buf);
    }
}

static void go_down(struct card_unit *u, const char *why, bool gone)
{
    struct card_port_cfg off = wire_cfg(false);
    bool told = u->serves || gone;
    u->serves = u->enabling = false;
    unit_forget_handles(u);
    (void)card_port_set(u->card, &off, NULL,
                        NULL); /* the next bring-up leaves the wire dark, too */
    if (told)
        u->ops.down(u->ops.ctx, u->index, why, gone);
    give_up_waiting(u, why);
}

static void on_wire_live(void *arg, const struct card_reply *reply)
{
    struct card_unit *u = arg;
    if (!u->enabling)
        return;
    u->enabling = false;
    if (reply->err || cif_status_class(reply->status) != CIF_CLASS_OK) {
        card_reset(u->card, CIF_RESET_ADMIN_TIMEOUT, "the card did not enable its wire port");
        return;
    }
    u->serves = true;
    u->ops.up(u->ops.ctx, u->index, &u->caps);
}

/* The wire goes live only after a standby on the same wire was closed: no frame is taken in twice.
 */
static void go_up(struct card_unit *u)
{
    const struct card_caps *c = card_caps(u->card);
    struct card_port_cfg on = wire_cfg(true);
    if (unit_size_handles(u))
        return;
    fill_caps(u);
    if (c->n_ports)
        memcpy(u->port.mac, c->ports[0].mac, 6);
    u->port.mtu = 1500;
    u->ops.before_run(u->ops.ctx, u->index);
    u->enabling = card_port_set(u->card, &on, on_wire_live, u) == 0;
}

static void on_state(void *arg, enum card_state state, const char *why)
{
    struct card_unit *u = arg;
    if (state == CARD_RUNNING) {
        go_up(u);
    } else if (state == CARD_RECOVERING) {
        u->resets++;
        go_down(u, why, false);
    } else if (state == CARD_GONE) {
        go_down(u, why, true);
    }
}

static void on_queue(void *arg, bool tx, unsigned q, bool up, unsigned lost, const char *why)
{
    struct card_unit *u = arg;
    (void)q;
    (void)lost;
    if (up)
        return;
    u->ring_resets++;
    log_event(MSG_CARD_RING, u->name, u->name, tx ? "transmit" : "receive", why);
}

static void on_event(void *arg, const struct card_event *ev)
{
    struct card_unit *u = arg;
    if (ev->type == CIF_EV_TABLE_LOW)
        u->room_wanted = true;
}

static void on_log(void *arg, enum card_level level, const char *what, const char *remedy)
{
    struct card_unit *u = arg;
    if (level >= CARD_WARNING)
        log_event(MSG_CARD_SAYS, u->name, u->name, what, remedy);
}

/* --- life
 * ------------------------------------------------------------------------------------------------------
 */

int card_unit_new(struct card_unit **out, const char *name, int index, const struct card_bus *bus,
                  struct sad *sad, const struct card_unit_ops *ops, uint64_t now)
{
    struct card_unit *u = calloc(1, sizeof *u);
    if (!u)
        return -ENOMEM;
    snprintf(u->name, sizeof u->name, "%.31s", name);
    u->index = index;
    u->sad = sad;
    u->ops = *ops;
    u->now = now;
    u->polls = !bus->irq_fd || bus->vectors == 0;
    u->port = (struct dp_port){.ctx = u,
                               .card = true,
                               .card_index = index,
                               .get = port_get,
                               .send = port_send,
                               .put = port_put,
                               .flush = port_flush,
                               .ready = port_ready};
    struct card_cfg cfg = {.n_tx = 1, .n_rx = 1, .n_ports = 1};
    cfg.tx[0] = (struct card_queue_cfg){.port = 0, .depth = UNIT_TX_DEPTH, .bufs = UNIT_TX_BUFS};
    cfg.rx[0] = (struct card_queue_cfg){.port = 0, .depth = UNIT_RX_DEPTH};
    cfg.port[0] = wire_cfg(false);
    struct card_callbacks cbs = {
        .arg = u, .state = on_state, .queue = on_queue, .event = on_event, .log = on_log};
    u->card = card_new(bus, &cfg, &cbs, now);
    if (!u->card) {
        free(u);
        return -ENOMEM;
    }
    *out = u;
    return 0;
}

void card_unit_free(struct card_unit *u, uint64_t now)
{
    if (!u)
        return;
    u->now = now;
    u->serves = false;
    while (reap_tx(u))
        ;
    card_free(u->card);
    free(u->handles);
    free(u->rows);
    free(u);
}

uint64_t card_unit_poll(struct card_unit *u, uint64_t now)
{
    u->now = now;
    uint64_t next = card_poll(u->card, now);
    bool more = reap_rx(u);
    if (!more)
        unit_forget_freed(u);
    more |= reap_tx(u);
    if (u->n_waiting)
        port_flush(u);
    if (u->room_wanted && u->serves) {
        u->room_wanted = false;
        u->ops.room(u->ops.ctx, u->index);
    }
    if (more)
        return now;
    if ((u->in_flight || u->n_waiting) && next > now + UNIT_REAP_EVERY)
        next = now + UNIT_REAP_EVERY;
    if (u->polls && next > now + UNIT_POLL_EVERY)
        next = now + UNIT_POLL_EVERY;
    return next;
}

bool card_unit_arm(struct card_unit *u)
{
    if (u->polls || card_state(u->card) != CARD_RUNNING)
        return false;
    card_queue_arm(u->card, true, 0);
    card_queue_arm(u->card, false, 0);
    return false;
}

const struct dp_port *card_unit_port(struct card_unit *u)
{
    return &u->port;
}

bool card_unit_serves(const struct card_unit *u)
{
    return u->serves;
}

void card_unit_report(const struct card_unit *u, struct card_unit_report *r)
{
    const struct card_caps *c = card_caps(u->card);
    struct card_counters n;
    card_counters(u->card, &n);
    memset(r, 0, sizeof *r);
    r->state = card_state_name(card_state(u->card));
    r->reason = card_reason(u->card);
    if (c) {
        snprintf(r->model, sizeof r->model, "%s", c->model);
        snprintf(r->serial, sizeof r->serial, "%s", c->serial);
        snprintf(r->firmware, sizeof r->firmware, "%s", c->firmware);
    }
    r->caps = u->caps;
    for (uint32_t i = 0; i < u->n_handles; i++)
        r->handles += u->handles[i].cookie != 0;
    r->commands = u->n_commands;
    r->tx_in_flight = u->in_flight;
    r->buffers_in_use = u->in_flight + u->n_waiting;
    r->lost = u->lost;
    r->resets = u->resets;
    r->ring_resets = u->ring_resets;
    r->refusals = u->refusals;
    r->bad_completions = n.bad_completions + u->unknown_handles;
}
