#include "hostd/data/process_internal.h"

#include "hostd/data/calls.h"
#include "hostd/data/host/tap.h"

#include <errno.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int to_tap(void *ctx, unsigned iface, const uint8_t *frame, size_t len,
                  const struct dp_offload *off)
{
    struct data *d = ctx;
    struct data_tap *t = data_tap_of(d, iface);
    return t ? tap_write(t->fd, frame, len, off) : -ENODEV;
}

static int next_hop(void *ctx, unsigned iface, const struct ip_addr *dst, uint8_t mac[6])
{
    struct data *d = ctx;
    struct data_tap *t = data_tap_of(d, iface);
    return t ? nexthop_find(d->nexthop, t->ifindex, dst, data_now(), mac) : -EHOSTUNREACH;
}

static bool is_local(void *ctx, const struct ip_addr *a)
{
    struct data *d = ctx;
    return nexthop_is_local(d->nexthop, a);
}

static void tell_parent(struct data *d, uint16_t type, const struct msg_fd *m)
{
    (void)msg_send(d->parent, type, 0, m, sizeof *m, NULL, 0);
}

void data_card_lost(struct data *d, const char *card)
{
    struct msg_fd m = {.kind = MSG_FD_CARD};
    snprintf(m.name, sizeof m.name, "%s", card);
    tell_parent(d, MSG_CARD_GONE, &m);
}

static void card_gone(void *ctx, const char *card, const char *why)
{
    (void)why;
    data_card_away(ctx, card);
    data_card_lost(ctx, card);
}

static void want_port(void *ctx, const char *iface, const char *port, bool open)
{
    struct data *d = ctx;
    struct msg_fd m = {.kind = MSG_FD_PACKET, .arg = open};
    snprintf(m.name, sizeof m.name, "%s", port);
    snprintf(m.interface, sizeof m.interface, "%s", iface);
    if (!open)
        data_fd_gone(d, &m);
    tell_parent(d, MSG_PORT_WANT, &m);
}

static void port_info(void *ctx, const char *iface, const uint8_t mac[6], uint16_t mtu)
{
    struct data *d = ctx;
    struct msg_port_info m = {.mtu = mtu};
    memcpy(m.mac, mac, 6);
    snprintf(m.interface, sizeof m.interface, "%s", iface);
    (void)msg_send(d->parent, MSG_PORT_INFO, 0, &m, sizeof m, NULL, 0);
}

static void publish(struct data *d, json_t *event)
{
    char *text = event ? json_dumps(event, JSON_COMPACT) : NULL;
    json_decref(event);
    if (text && d->control)
        (void)msg_send(d->control, MSG_EVENT, 0, text, strlen(text), NULL, 0);
    free(text);
}

static void acquire(void *ctx, const struct spd_policy *p, const struct spd_flow *f,
                    const struct ip_addr *peer)
{
    publish(ctx, calls_acquire_event(p, f, peer));
}

static void expired(void *ctx, const struct sa *sa, enum sa_life what)
{
    publish(ctx, json_pack("{s:s,s:I,s:s,s:s}", "topic", "life", "spi", (json_int_t)sa->spec.spi,
                           "dir", sa->spec.dir == ESP_OUT ? "out" : "in", "what",
                           what == LIFE_HARD ? "hard" : "soft"));
}

static void random_bytes(void *ctx, void *buf, size_t len)
{
    (void)ctx;
    if (RAND_bytes(buf, (int)len) != 1)
        abort(); /* no randomness: no key or SPI may be made from here on */
}

static void probe(void *ctx, unsigned ifindex, const struct ip_addr *a)
{
    struct data *d = ctx;
    struct msg_probe m = {.family = a->family};
    memcpy(m.addr, a->b, sizeof m.addr);
    for (unsigned i = 0; i < CFG_INTERFACES; i++)
        if (d->taps[i].fd >= 0 && d->taps[i].ifindex == ifindex)
            snprintf(m.interface, sizeof m.interface, "%s",
                     engine_interface(d->engine, d->taps[i].iface)->name);
    (void)msg_send(d->parent, MSG_PROBE, 0, &m, sizeof m, NULL, 0);
}

/* Packets wait under their destination, the kernel tells of a gateway: all that wait are tried
 * again. */
static void ready(void *ctx, unsigned ifindex, const struct ip_addr *a)
{
    struct data *d = ctx;
    const struct ip_addr any = {0};
    (void)a;
    for (unsigned i = 0; d->engine && i < CFG_INTERFACES; i++)
        if (d->taps[i].fd >= 0 && d->taps[i].ifindex == ifindex)
            engine_neighbour(d->engine, d->taps[i].iface, data_now(), &any);
}

void data_host_ops(struct data *d, struct engine_host *h)
{
    *h = (struct engine_host){.ctx = d,
                              .to_tap = to_tap,
                              .next_hop = next_hop,
                              .is_local = is_local,
                              .card_gone = card_gone,
                              .want_port = want_port,
                              .port_info = port_info,
                              .acquire = acquire,
                              .expired = expired,
                              .random = random_bytes};
    nexthop_set_callbacks(d->nexthop, probe, ready, d);
}
