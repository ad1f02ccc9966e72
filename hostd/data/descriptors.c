#include "hostd/data/process_internal.h"

#include "hostd/base/log.h"
#include "hostd/data/host/tap.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

/* What the parent opens for us: TAPs, plain interfaces, cards. */

enum { TAP_BURST = 8, WIRE_BURST = 64 };

struct data_tap *data_tap_of(struct data *d, unsigned iface)
{
    for (unsigned i = 0; i < CFG_INTERFACES; i++)
        if (d->taps[i].fd >= 0 && d->taps[i].iface == iface)
            return &d->taps[i];
    return NULL;
}

/* --- the TAP
 * --------------------------------------------------------------------------------------- */

static void close_tap(struct data_tap *t)
{
    if (t->fd < 0)
        return;
    if (t->ev)
        event_free(t->ev);
    close(t->fd);
    *t = (struct data_tap){.fd = -1};
}

static void on_tap(evutil_socket_t fd, short what, void *ctx)
{
    struct data_tap *t = ctx;
    struct data *d = t->d;
    (void)what;
    for (int i = 0; i < TAP_BURST; i++) {
        struct dp_offload off;
        if (!engine_tap_ready(d->engine, t->iface)) {
            event_del(t->ev);
            t->paused = true;
            break;
        }
        int n = tap_read(fd, d->frame, sizeof d->frame, &off);
        if (n < 0) { /* the TAP was deleted under us: an event that never ends */
            log_event(MSG_TAP_GONE, engine_interface(d->engine, t->iface)->name,
                      engine_interface(d->engine, t->iface)->name, strerror(-n));
            close_tap(t);
            break;
        }
        if (n == 0)
            break;
        engine_from_tap(d->engine, t->iface, data_now(), d->frame, (size_t)n, &off);
    }
    data_turn(d);
}

static void take_tap(struct data *d, const struct msg_fd *what, int fd)
{
    int iface =
        engine_interface_index(d->engine, what->interface[0] ? what->interface : what->name);
    struct data_tap *t = NULL;
    for (unsigned i = 0; i < CFG_INTERFACES && !t; i++)
        if (d->taps[i].fd < 0)
            t = &d->taps[i];
    if (iface < 0 || !t || tap_setup(fd)) {
        close(fd);
        return;
    }
    *t = (struct data_tap){.d = d, .iface = (unsigned)iface, .fd = fd, .ifindex = what->ifindex};
    t->ev = event_new(d->base, fd, EV_READ | EV_PERSIST, on_tap, t);
    if (t->ev)
        event_add(t->ev, NULL);
}

/* --- plain interfaces
 * -------------------------------------------------------------------------------- */

struct wire_ctx {
    struct data_port *p;
    uint64_t now;
};

static void on_frame(void *ctx, const uint8_t *frame, size_t len, const struct dp_offload *off)
{
    struct wire_ctx *w = ctx;
    engine_from_wire(w->p->d->engine, w->p->iface, w->now, frame, len, off);
}

static void close_port(struct data_port *p)
{
    if (!p->port)
        return;
    engine_port_closed(p->d->engine, p->interface, p->name, data_now());
    if (p->ev)
        event_free(p->ev);
    packet_port_free(p->port);
    p->port = NULL;
    p->ev = NULL;
}

static void on_wire(evutil_socket_t fd, short what, void *ctx)
{
    struct data_port *p = ctx;
    struct data *d = p->d;
    struct wire_ctx w = {p, data_now()};
    (void)fd;
    (void)what;
    if (packet_port_read(p->port, WIRE_BURST, on_frame, &w) < 0)
        close_port(p);
    data_turn(d);
}

static void take_port(struct data *d, const struct msg_fd *what, int fd)
{
    struct data_port *p = NULL;
    for (unsigned i = 0; i < DATA_PORTS && !p; i++)
        if (!d->ports[i].port)
            p = &d->ports[i];
    int iface = engine_interface_index(d->engine, what->interface);
    struct packet_port *port;
    if (!p || iface < 0 || packet_port_new(&port, fd, what->mac, what->mtu)) {
        close(fd);
        return;
    }
    *p = (struct data_port){.d = d, .port = port, .iface = (unsigned)iface};
    memcpy(p->name, what->name, sizeof p->name);
    memcpy(p->interface, what->interface, sizeof p->interface);
    if (engine_port_open(d->engine, p->interface, p->name, packet_port_dp(port), data_now())) {
        packet_port_free(port); /* a standby that is not wanted any more */
        p->port = NULL;
        return;
    }
    p->ev = event_new(d->base, fd, EV_READ | EV_PERSIST, on_wire, p);
    if (p->ev)
        event_add(p->ev, NULL);
}

/* --- cards
 * ------------------------------------------------------------------------------------------- */

static void on_card(evutil_socket_t fd, short what, void *ctx)
{
    struct data_card *c = ctx;
    uint64_t count;
    (void)what;
    if (fd != card_vfu_fd(c->transport) && read(fd, &count, sizeof count) < 0 && errno != EAGAIN)
        return;
    data_turn(c->d);
}

static void free_card(struct data_card *c)
{
    for (unsigned i = 0; i < c->n_events; i++)
        event_free(c->events[i]);
    c->n_events = 0;
    card_vfu_close(c->transport);
    c->transport = NULL;
}

static struct data_card *card_row(struct data *d, const char *name)
{
    struct data_card *empty = NULL;
    for (unsigned i = 0; i < CFG_CARDS; i++) {
        if (strcmp(d->cards[i].name, name) == 0)
            return &d->cards[i];
        if (!d->cards[i].name[0] && !empty)
            empty = &d->cards[i];
    }
    return empty;
}

void data_card_away(struct data *d, const char *card)
{
    struct data_card *c = card_row(d, card);
    if (c && c->transport)
        free_card(c);
}

static void watch(struct data_card *c, int fd)
{
    struct event *ev = fd < 0 ? NULL : event_new(c->d->base, fd, EV_READ | EV_PERSIST, on_card, c);
    if (!ev)
        return;
    event_add(ev, NULL);
    c->events[c->n_events++] = ev;
}

static void take_card(struct data *d, const struct msg_fd *what, int fd)
{
    struct data_card *c = card_row(d, what->name);
    struct card_bus bus;
    char why[CARD_REASON_MAX];
    if (!c || c->transport) {
        close(fd);
        return;
    }
    c->d = d;
    memcpy(c->name, what->name, sizeof c->name);
    if (card_vfu_open(fd, DATA_IRQS, &c->transport, why)) {
        log_event(MSG_CARD_NOT_OPENED, c->name, c->name, why);
        c->transport = NULL;
        data_card_lost(d, c->name);
        return;
    }
    card_vfu_bus(c->transport, &bus);
    if (engine_card_open(d->engine, c->name, &bus, data_now())) {
        free_card(c);
        return;
    }
    watch(c, card_vfu_fd(c->transport));
    for (unsigned v = 0; v < bus.vectors && v < DATA_IRQS; v++)
        watch(c, bus.irq_fd(bus.ctx, v));
}

/* --- the parent's messages
 * ------------------------------------------------------------------------------ */

void data_take_fd(struct data *d, const struct msg_fd *what, int fd)
{
    static const struct {
        uint32_t kind;
        void (*take)(struct data *, const struct msg_fd *, int);
    } kinds[] = {{MSG_FD_TAP, take_tap}, {MSG_FD_PACKET, take_port}, {MSG_FD_CARD, take_card}};
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if (kinds[i].kind == what->kind) {
            kinds[i].take(d, what, fd);
            return;
        }
    close(fd);
}

static void tap_gone(struct data *d, const char *interface)
{
    for (unsigned i = 0; i < CFG_INTERFACES; i++)
        if (d->taps[i].fd >= 0 &&
            strcmp(engine_interface(d->engine, d->taps[i].iface)->name, interface) == 0)
            close_tap(&d->taps[i]);
}

void data_fd_gone(struct data *d, const struct msg_fd *what)
{
    if (what->kind == MSG_FD_TAP)
        tap_gone(d, what->interface[0] ? what->interface : what->name);
    for (unsigned i = 0; i < DATA_PORTS; i++)
        if (what->kind == MSG_FD_PACKET && d->ports[i].port &&
            strcmp(d->ports[i].name, what->name) == 0 &&
            strcmp(d->ports[i].interface, what->interface) == 0)
            close_port(&d->ports[i]);
}

void data_close_all(struct data *d)
{
    for (unsigned i = 0; i < DATA_PORTS; i++)
        close_port(&d->ports[i]);
    for (unsigned i = 0; i < CFG_INTERFACES; i++)
        close_tap(&d->taps[i]);
}

void data_close_cards(struct data *d)
{
    for (unsigned i = 0; i < CFG_CARDS; i++)
        if (d->cards[i].transport)
            free_card(&d->cards[i]);
}
