#include "hostd/data/engine_internal.h"

#include "hostd/base/log.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

/* --- what the packet path asks of us; ctx is the interface -------------------------------------
 */

static int dp_to_tap(void *ctx, const uint8_t *frame, size_t len, const struct dp_offload *off)
{
    struct iface *f = ctx;
    return f->e->host.to_tap(f->e->host.ctx, f->index, frame, len, off);
}

static int dp_next_hop(void *ctx, const struct ip_addr *dst, uint8_t mac[6])
{
    struct iface *f = ctx;
    return f->e->host.next_hop(f->e->host.ctx, f->index, dst, mac);
}

static bool dp_is_local(void *ctx, const struct ip_addr *a)
{
    struct iface *f = ctx;
    return f->e->host.is_local(f->e->host.ctx, a);
}

static void dp_acquire(void *ctx, const struct spd_policy *p, const struct spd_flow *flow,
                       const struct ip_addr *peer)
{
    struct iface *f = ctx;
    f->e->host.acquire(f->e->host.ctx, p, flow, peer);
}

static void tell_life(struct engine *e, const struct sa *sa, enum sa_life what)
{
    char spi[24];
    snprintf(spi, sizeof spi, "0x%08x", sa->spec.spi);
    log_event(what == LIFE_HARD ? MSG_SA_HARD : MSG_SA_SOFT, spi, spi);
    e->host.expired(e->host.ctx, sa, what);
}

/* A soft limit is told at once, since it is reported once only; an SA at its hard limit is deleted
 * after the burst: the path still holds it. */
static void dp_life(void *ctx, struct sa *sa, enum sa_life what)
{
    struct iface *f = ctx;
    if (what == LIFE_HARD)
        f->e->life_due = true;
    else if (what == LIFE_SOFT)
        tell_life(f->e, sa, what);
}

static void dp_card_failed(void *ctx, struct sa *sa, const char *what)
{
    struct iface *f = ctx;
    place_failed(f->e->place, sa, what, f->e->now);
}

/* The card has the endpoint in its record: it gets the SA anew. */
static void dp_moved(void *ctx, struct sa *sa)
{
    struct iface *f = ctx;
    place_changed(f->e->place, sa, f->e->now);
}

/* --- interfaces
 * ----------------------------------------------------------------------------------- */

static int iface_init(struct engine *e, unsigned i)
{
    struct iface *f = &e->ifaces[i];
    f->e = e;
    f->index = i;
    f->cfg = &e->cfg->interfaces[i];
    struct dp_config dc = {.natt_port = e->cfg->natt_port,
                           /* By the sockets really in use: there is no IKE process yet, and a
                            * bypass without a socket of ours is anybody's way out in clear. */
                           .n_ike_ports = e->cfg->testing ? e->cfg->n_ike_ports : 0,
                           .reassembly_bytes = (size_t)e->cfg->reassembly_kb * 1024,
                           .hold_packets = e->cfg->hold_packets,
                           .hold_per_flow = e->cfg->hold_per_flow};
    memcpy(dc.ike_ports, e->cfg->ike_ports, sizeof dc.ike_ports);
    e->host.random(e->host.ctx, &dc.rng_seed, sizeof dc.rng_seed);
    struct dp_ops ops = {.ctx = f,
                         .to_tap = dp_to_tap,
                         .next_hop = dp_next_hop,
                         .is_local = dp_is_local,
                         .acquire = dp_acquire,
                         .life = dp_life,
                         .card_failed = dp_card_failed,
                         .moved = dp_moved};
    return dp_new(&f->dp, &dc, &ops, e->spd, e->sad);
}

/* The port that serves the interface now: the main one when it is up, else the standby. */
void engine_choose_port(struct engine *e, struct iface *f)
{
    const struct dp_port *port = f->main ? f->main : f->standby;
    if (port == f->active)
        return;
    if (f->active) {
        f->active->flush(f->active->ctx); /* what was given to it leaves by it */
        f->refused += f->active->refused ? f->active->refused(f->active->ctx) : 0;
    }
    f->active = port;
    dp_set_port(f->dp, port);
    const char *name = port == NULL ? "none" : port == f->main ? f->cfg->port : f->cfg->standby;
    log_event(port ? MSG_PORT_IN_USE : MSG_PORT_NONE, f->cfg->name, f->cfg->name, name);
    if (!port)
        return;
    dp_set_mac(f->dp, port->mac);
    if (!f->told || memcmp(f->told_mac, port->mac, 6) != 0) {
        f->told = true;
        memcpy(f->told_mac, port->mac, 6);
        e->host.port_info(e->host.ctx, f->cfg->name, port->mac, port->mtu);
    }
}

/* --- life cycle
 * ------------------------------------------------------------------------------------ */

static int engine_parts(struct engine *e, void *store, size_t store_len, int adopt, uint64_t now)
{
    struct place_ops ops = {.ctx = e,
                            .add = engine_ask_add,
                            .free_slot = engine_ask_free,
                            .query = engine_ask_query,
                            .moved = engine_on_moved};
    unsigned adopted = 0, refused = 0;
    e->spd = spd_new();
    if (!e->spd)
        return -ENOMEM;
    int rc = spd_load(e->spd, e->cfg->policies, e->cfg->n_policies, NULL, NULL);
    if (rc)
        return rc;
    rc = sad_new(&e->sad, store, store_len, adopt, ESP_BACKEND_BEST, e->host.random, e->host.ctx,
                 now, &adopted, &refused);
    if (rc)
        return rc;
    e->place = place_new(e->sad, &ops);
    if (!e->place)
        return -ENOMEM;
    if (adopt)
        log_event(MSG_SAS_ADOPTED, "sadb", adopted, refused);
    for (unsigned i = 0; i < e->cfg->n_cards; i++) {
        snprintf(e->cards[i].name, sizeof e->cards[i].name, "%s", e->cfg->cards[i].name);
        snprintf(e->cards[i].at, sizeof e->cards[i].at, "%s", e->cfg->cards[i].at);
        snprintf(e->cards[i].away, sizeof e->cards[i].away, "not opened yet");
        place_card_known(e->place, (int)i, e->cards[i].name, e->cards[i].away);
    }
    e->n_cards = e->cfg->n_cards;
    e->n_ifaces = e->cfg->n_interfaces;
    for (unsigned i = 0; i < e->n_ifaces && !rc; i++)
        rc = iface_init(e, i);
    return rc;
}

/* Every SA that was adopted asks for its place as a new one does; one whose policy is gone ends. */
static void place_all(struct engine *e, uint64_t now)
{
    for (struct sa *sa = sad_next(e->sad, NULL), *next; sa; sa = next) {
        next = sad_next(e->sad, sa);
        if (spd_by_id(e->spd, sa->spec.policy_id))
            place_sa(e->place, sa, now);
        else
            sad_delete(e->sad, sa);
    }
}

static int copy_cfg(const struct cfg *from, struct cfg **out)
{
    struct cfg *c = malloc(sizeof *c);
    if (!c)
        return -ENOMEM;
    *c = *from;
    c->policies = calloc(from->n_policies ? from->n_policies : 1, sizeof *c->policies);
    if (!c->policies) {
        free(c);
        return -ENOMEM;
    }
    if (from->n_policies)
        memcpy(c->policies, from->policies, from->n_policies * sizeof *c->policies);
    *out = c;
    return 0;
}

int engine_new(struct engine **out, const struct cfg *cfg, const struct engine_host *host,
               void *store, size_t store_len, int adopt, uint64_t now)
{
    struct engine *e = calloc(1, sizeof *e);
    if (!e)
        return -ENOMEM;
    e->host = *host;
    e->now = now;
    int rc = copy_cfg(cfg, &e->cfg);
    if (!rc)
        rc = engine_parts(e, store, store_len, adopt, now);
    if (rc) {
        engine_free(e, now);
        return rc;
    }
    place_all(e, now);
    e->deadline = sad_deadline(e->sad);
    *out = e;
    return 0;
}

void engine_free(struct engine *e, uint64_t now)
{
    if (!e)
        return;
    for (unsigned i = 0; i < e->n_ifaces; i++)
        if (e->ifaces[i].dp)
            dp_set_port(e->ifaces[i].dp, NULL);
    for (unsigned i = 0; i < e->n_cards; i++)
        card_unit_free(e->cards[i].unit, now);
    for (unsigned i = 0; i < e->n_ifaces; i++)
        dp_free(e->ifaces[i].dp);
    place_free(e->place);
    sad_free(e->sad);
    spd_free(e->spd);
    if (e->cfg) {
        cfg_free(e->cfg);
        free(e->cfg);
    }
    free(e);
}

/* --- SAs
 * -------------------------------------------------------------------------------------------- */

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* When a time limit of an SA may be due; the whole database is walked only then. */
static uint64_t deadline_of(const struct sa *sa)
{
    const struct sa_lifetime *soft = &sa->spec.soft, *hard = &sa->spec.hard;
    return earlier(soft->time ? sa->created + soft->time : UINT64_MAX,
                   hard->time ? sa->created + hard->time : UINT64_MAX);
}

int engine_sa_add(struct engine *e, const struct sa_spec *spec, uint64_t now, struct sa **out)
{
    e->now = now;
    struct sa *sa;
    int rc = sad_add(e->sad, spec, now, &sa);
    if (rc)
        return rc;
    place_sa(e->place, sa, now);
    e->deadline = earlier(e->deadline, deadline_of(sa));
    if (spec->dir == ESP_OUT)
        for (unsigned i = 0; i < e->n_ifaces; i++)
            dp_sa_ready(e->ifaces[i].dp, now, sa);
    *out = sa;
    return 0;
}

void engine_sa_delete(struct engine *e, struct sa *sa, uint64_t now)
{
    e->now = now;
    place_forget(e->place, sa, now);
    sad_delete(e->sad, sa);
}

void engine_acquire_failed(struct engine *e, uint32_t policy_id, const struct ip_addr *peer,
                           uint64_t now)
{
    for (unsigned i = 0; i < e->n_ifaces; i++)
        dp_acquire_failed(e->ifaces[i].dp, now, policy_id, peer);
}

/* Soft limits are told, hard ones end the SA: nothing leaves under it any more. */
static void lifetimes(struct engine *e, uint64_t now)
{
    e->life_due = false;
    for (struct sa *sa = sad_next(e->sad, NULL), *next; sa; sa = next) {
        next = sad_next(e->sad, sa);
        enum sa_life life = sad_life(sa, now);
        if (life == LIFE_OK)
            continue;
        tell_life(e, sa, life);
        if (life == LIFE_HARD)
            engine_sa_delete(e, sa, now);
    }
    e->deadline = sad_deadline(e->sad);
}

static int by_number(const void *a, const void *b)
{
    const uint32_t *x = a, *y = b;
    return *x < *y ? -1 : *x > *y;
}

static void delete_gone(struct engine *e, uint32_t *gone, unsigned n, uint64_t now)
{
    qsort(gone, n, sizeof *gone, by_number);
    for (struct sa *sa = sad_next(e->sad, NULL), *next; sa; sa = next) {
        next = sad_next(e->sad, sa);
        if (bsearch(&sa->spec.policy_id, gone, n, sizeof *gone, by_number))
            engine_sa_delete(e, sa, now);
    }
}

int engine_reload(struct engine *e, const struct cfg *cfg, uint64_t now)
{
    e->now = now;
    unsigned n = spd_count(e->spd);
    uint32_t *gone = calloc(n ? n : 1, sizeof *gone);
    if (!gone)
        return -ENOMEM;
    int rc = spd_load(e->spd, cfg->policies, cfg->n_policies, gone, &n);
    if (!rc)
        delete_gone(e, gone, n, now);
    free(gone);
    return rc;
}

void engine_stop(struct engine *e, uint64_t now, bool pass)
{
    for (unsigned i = 0; i < e->n_ifaces; i++)
        dp_set_mode(e->ifaces[i].dp, pass ? DP_PASS : DP_DISCARD);
    for (struct sa *sa = sad_next(e->sad, NULL), *next; sa; sa = next) {
        next = sad_next(e->sad, sa);
        engine_sa_delete(e, sa, now);
    }
}

void engine_start(struct engine *e, uint64_t now)
{
    e->now = now;
    for (unsigned i = 0; i < e->n_ifaces; i++)
        dp_set_mode(e->ifaces[i].dp, DP_RUNNING);
}

/* --- ports and frames
 * -------------------------------------------------------------------------------- */

uint64_t engine_refused(const struct engine *e, unsigned iface)
{
    const struct iface *f = &e->ifaces[iface];
    const struct dp_port *p = f->active;
    return f->refused + (p && p->refused ? p->refused(p->ctx) : 0);
}

int engine_interface_index(const struct engine *e, const char *name)
{
    for (unsigned i = 0; i < e->n_ifaces; i++)
        if (strcmp(e->ifaces[i].cfg->name, name) == 0)
            return (int)i;
    return -ENOENT;
}

int engine_port_open(struct engine *e, const char *iface, const char *port, const struct dp_port *p,
                     uint64_t now)
{
    e->now = now;
    int i = engine_interface_index(e, iface);
    if (i < 0)
        return i;
    struct iface *f = &e->ifaces[i];
    if (strcmp(f->cfg->port, port) == 0)
        f->main = p;
    else if (strcmp(f->cfg->standby, port) == 0 && f->standby_wanted)
        f->standby = p;
    else
        return -ENOENT;
    engine_choose_port(e, f);
    return 0;
}

void engine_port_closed(struct engine *e, const char *iface, const char *port, uint64_t now)
{
    e->now = now;
    int i = engine_interface_index(e, iface);
    if (i < 0)
        return;
    struct iface *f = &e->ifaces[i];
    if (strcmp(f->cfg->port, port) == 0)
        f->main = NULL;
    else
        f->standby = NULL;
    engine_choose_port(e, f);
}

void engine_from_tap(struct engine *e, unsigned iface, uint64_t now, const uint8_t *frame,
                     size_t len, const struct dp_offload *off)
{
    e->now = now;
    dp_from_tap(e->ifaces[iface].dp, now, frame, len, off);
}

void engine_from_wire(struct engine *e, unsigned iface, uint64_t now, const uint8_t *frame,
                      size_t len, const struct dp_offload *off)
{
    e->now = now;
    struct dp_rx rx = {.kind = DP_RX_WIRE, .frame = frame, .len = len, .off = off};
    dp_from_port(e->ifaces[iface].dp, now, &rx);
}

void engine_neighbour(struct engine *e, unsigned iface, uint64_t now, const struct ip_addr *a)
{
    e->now = now;
    dp_neighbour_ready(e->ifaces[iface].dp, now, a);
}

/* --- the turn of the wheel
 * ----------------------------------------------------------------------------- */

static uint64_t poll_card(struct engine *e, struct ecard *c, uint64_t now)
{
    if (!c->unit)
        return UINT64_MAX;
    uint64_t next = card_unit_poll(c->unit, now);
    if (!c->gone)
        return next;
    card_unit_free(c->unit, now);
    c->unit = NULL;
    e->host.card_gone(e->host.ctx, c->name, c->away);
    return UINT64_MAX;
}

uint64_t engine_poll(struct engine *e, uint64_t now)
{
    e->now = now;
    uint64_t next = UINT64_MAX;
    for (unsigned i = 0; i < e->n_cards; i++)
        next = earlier(next, poll_card(e, &e->cards[i], now));
    for (unsigned i = 0; i < e->n_ifaces; i++) {
        next = earlier(next, dp_tick(e->ifaces[i].dp, now));
        dp_flush(e->ifaces[i].dp);
    }
    if (e->life_due || e->deadline <= now)
        lifetimes(e, now);
    next = earlier(next, place_tick(e->place, now));
    return earlier(next, e->deadline);
}

bool engine_arm(struct engine *e)
{
    bool again = false;
    for (unsigned i = 0; i < e->n_cards; i++)
        if (e->cards[i].unit && card_unit_arm(e->cards[i].unit))
            again = true;
    return again;
}

/* A super-packet becomes up to 64 frames: only when so many buffers are free is the next one read,
 * so that a full ring slows the host down instead of losing its packets. */
bool engine_tap_ready(struct engine *e, unsigned iface)
{
    const struct dp_port *p = e->ifaces[iface].active;
    return !p || !p->ready || p->ready(p->ctx);
}

/* --- views
 * --------------------------------------------------------------------------------------------- */

struct spd *engine_spd(struct engine *e)
{
    return e->spd;
}

struct sad *engine_sad(struct engine *e)
{
    return e->sad;
}

struct place *engine_place(struct engine *e)
{
    return e->place;
}

unsigned engine_interfaces(const struct engine *e)
{
    return e->n_ifaces;
}

struct dp *engine_dp(struct engine *e, unsigned iface)
{
    return e->ifaces[iface].dp;
}

const struct cfg_interface *engine_interface(const struct engine *e, unsigned iface)
{
    return e->ifaces[iface].cfg;
}

const char *engine_port_name(const struct engine *e, unsigned iface)
{
    const struct iface *f = &e->ifaces[iface];
    if (!f->active)
        return "none";
    return f->active == f->main ? f->cfg->port : f->cfg->standby;
}

bool engine_card_at(const struct engine *e, unsigned i, struct engine_card *out)
{
    if (i >= e->n_cards)
        return false;
    const struct ecard *c = &e->cards[i];
    *out = (struct engine_card){c->name, c->at, c->unit, c->away, c->since};
    return true;
}
