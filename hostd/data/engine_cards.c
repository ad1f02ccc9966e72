#include "hostd/data/engine_internal.h"

#include "hostd/base/log.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <string.h>

/* The cards of the engine: what libcard tells goes to placement and the packet path, and back. */

static void iface_want_standby(struct engine *e, struct iface *f, bool open)
{
    if (!f->cfg->standby[0] || f->standby_wanted == open)
        return;
    f->standby_wanted = open;
    e->host.want_port(e->host.ctx, f->cfg->name, f->cfg->standby, open);
}

static void ifaces_of_card(struct engine *e, const char *card,
                           void (*fn)(struct engine *, struct iface *, int), int index)
{
    for (unsigned i = 0; i < e->n_ifaces; i++)
        if (strcmp(e->ifaces[i].cfg->port, card) == 0)
            fn(e, &e->ifaces[i], index);
}

/* --- cards
 * ---------------------------------------------------------------------------------------- */

static void iface_card_going_up(struct engine *e, struct iface *f, int index)
{
    (void)index;
    f->standby = NULL;
    engine_choose_port(e, f); /* before the shell closes the port */
    iface_want_standby(e, f, false);
}

static void iface_card_up(struct engine *e, struct iface *f, int index)
{
    f->main = card_unit_port(e->cards[index].unit);
    engine_choose_port(e, f);
}

static void iface_card_down(struct engine *e, struct iface *f, int index)
{
    (void)index;
    f->main = NULL;
    iface_want_standby(e, f, true);
    engine_choose_port(e, f);
}

static void on_before_run(void *ctx, int index)
{
    struct engine *e = ctx;
    ifaces_of_card(e, e->cards[index].name, iface_card_going_up, index);
}

static void on_up(void *ctx, int index, const struct place_caps *caps)
{
    struct engine *e = ctx;
    struct ecard *c = &e->cards[index];
    c->since = e->now;
    ifaces_of_card(e, c->name, iface_card_up, index);
    log_event(MSG_CARD_UP, c->name, c->name, caps->out_max, caps->in_max);
    place_card_up(e->place, index, caps, e->now);
}

static void on_down(void *ctx, int index, const char *why, bool gone)
{
    struct engine *e = ctx;
    struct ecard *c = &e->cards[index];
    c->since = e->now;
    snprintf(c->away, sizeof c->away, "%s", why);
    ifaces_of_card(e, c->name, iface_card_down, index);
    place_card_down(e->place, index, why, e->now);
    log_event(gone ? MSG_CARD_GONE_AWAY : MSG_CARD_RESETTING, c->name, c->name, why);
    c->gone = gone;
}

static void on_added(void *ctx, int index, uint64_t cookie, const struct place_result *r)
{
    struct engine *e = ctx;
    place_added(e->place, index, cookie, r, e->now);
}

static void on_freed(void *ctx, int index, uint32_t handle, uint64_t cookie,
                     const struct place_result *r)
{
    struct engine *e = ctx;
    place_freed(e->place, index, handle, cookie, r, e->now);
}

static void on_table(void *ctx, int index, const struct place_row *rows, unsigned n, bool complete)
{
    struct engine *e = ctx;
    place_audit(e->place, index, rows, n, complete, e->now);
}

static void on_room(void *ctx, int index)
{
    struct engine *e = ctx;
    place_room(e->place, index, e->now);
}

static void on_failed(void *ctx, int index, struct sa *sa, const char *what)
{
    struct engine *e = ctx;
    (void)index;
    place_failed(e->place, sa, what, e->now);
}

static struct iface *iface_of_card(struct engine *e, int index)
{
    for (unsigned i = 0; i < e->n_ifaces; i++)
        if (e->ifaces[i].active == card_unit_port(e->cards[index].unit))
            return &e->ifaces[i];
    return NULL;
}

static void on_rx(void *ctx, int index, const struct dp_rx *rx)
{
    struct engine *e = ctx;
    struct iface *f = iface_of_card(e, index);
    if (f)
        dp_from_port(f->dp, e->now, rx);
}

/* A completion belongs to the interface whatever port it uses by now. */
static void on_tx_done(void *ctx, int index, const struct dp_tx *tx, const uint8_t *frame,
                       enum dp_fate fate, const char *why)
{
    struct engine *e = ctx;
    for (unsigned i = 0; i < e->n_ifaces; i++)
        if (strcmp(e->ifaces[i].cfg->port, e->cards[index].name) == 0) {
            dp_tx_done(e->ifaces[i].dp, e->now, tx, frame, fate, why);
            return;
        }
}

static int card_index(const struct engine *e, const char *name)
{
    for (unsigned i = 0; i < e->n_cards; i++)
        if (strcmp(e->cards[i].name, name) == 0)
            return (int)i;
    return -ENOENT;
}

int engine_card_open(struct engine *e, const char *card, const struct card_bus *bus, uint64_t now)
{
    static const struct card_unit_ops ops = {.before_run = on_before_run,
                                             .up = on_up,
                                             .down = on_down,
                                             .added = on_added,
                                             .freed = on_freed,
                                             .table = on_table,
                                             .room = on_room,
                                             .failed = on_failed,
                                             .rx = on_rx,
                                             .tx_done = on_tx_done};
    e->now = now;
    int i = card_index(e, card);
    if (i < 0)
        return i;
    struct ecard *c = &e->cards[i];
    if (c->unit)
        return -EBUSY;
    struct card_unit_ops mine = ops;
    mine.ctx = e;
    c->gone = false;
    return card_unit_new(&c->unit, c->name, i, bus, e->sad, &mine, now);
}

/* --- placement's requests ------------------------------------------------------------------------
 */

int engine_ask_add(void *ctx, int card, const struct sa *sa)
{
    struct engine *e = ctx;
    if (!e->cards[card].unit)
        return -ENODEV;
    struct esp_keys keys;
    sad_keys(e->sad, sa, &keys);
    int rc = card_unit_add(e->cards[card].unit, sa, &keys);
    OPENSSL_cleanse(&keys, sizeof keys);
    return rc;
}

int engine_ask_free(void *ctx, int card, uint32_t handle, uint64_t cookie)
{
    struct engine *e = ctx;
    return e->cards[card].unit ? card_unit_free_slot(e->cards[card].unit, handle, cookie) : -ENODEV;
}

int engine_ask_query(void *ctx, int card)
{
    struct engine *e = ctx;
    return e->cards[card].unit ? card_unit_query(e->cards[card].unit) : -ENODEV;
}

void engine_on_moved(void *ctx, struct sa *sa, enum sa_place old)
{
    char spi[24];
    (void)ctx;
    if (sa->place == old)
        return;
    snprintf(spi, sizeof spi, "0x%08x", sa->spec.spi);
    log_event(MSG_SA_MOVED, spi, spi, sa->spec.dir == ESP_OUT ? "out" : "in",
              sa->place == PLACE_CARD ? "the card" : "software", sa->reason.text);
}
