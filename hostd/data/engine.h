/* The engine of the data process, pure: interfaces, ports, cards, SPD, SADB and placement joined.
 * The process (process.c) and the simulation (tests/sim) are shells around it. */
#ifndef SALLYPORT_ENGINE_H
#define SALLYPORT_ENGINE_H

#include "hostd/base/config.h"
#include "hostd/data/path/dp.h"
#include "hostd/data/port/card_unit.h"
#include "hostd/sa/place.h"
#include "hostd/sa/sad.h"
#include "hostd/sa/spd.h"

struct engine;

/* What the engine asks of its shell. Interfaces are numbered as in the configuration. */
struct engine_host {
    void *ctx;
    int (*to_tap)(void *ctx, unsigned iface, const uint8_t *frame, size_t len,
                  const struct dp_offload *off);
    int (*next_hop)(void *ctx, unsigned iface, const struct ip_addr *dst, uint8_t mac[6]);
    bool (*is_local)(void *ctx, const struct ip_addr *a);
    /* A card is gone: close it, watch its address, give engine_card_open when it is back. */
    void (*card_gone)(void *ctx, const char *card, const char *why);
    /* Open or close the standby port of an interface. */
    void (*want_port)(void *ctx, const char *iface, const char *port, bool open);
    /* The interface's port is known: its MAC and MTU for the TAP. */
    void (*port_info)(void *ctx, const char *iface, const uint8_t mac[6], uint16_t mtu);
    /* An SA is wanted for a policy; an SA reached a limit. For IKE; until it is there, for tests.
     */
    void (*acquire)(void *ctx, const struct spd_policy *p, const struct spd_flow *f,
                    const struct ip_addr *peer);
    void (*expired)(void *ctx, const struct sa *sa, enum sa_life what);
    sad_random random;
};

/* store/store_len: the memory of SA state (sa/store.h); adopt: take over what stands in it. */
int engine_new(struct engine **out, const struct cfg *cfg, const struct engine_host *host,
               void *store, size_t store_len, int adopt, uint64_t now);
void engine_free(struct engine *e, uint64_t now);
/* A reload: policies that did not change keep their SAs, ids and counters. 0 or -errno. */
int engine_reload(struct engine *e, const struct cfg *cfg, uint64_t now);
/* The stop of IPsec: SAs end, the interfaces forward by mode. */
void engine_stop(struct engine *e, uint64_t now, bool pass);
void engine_start(struct engine *e, uint64_t now);

/* A card's bus is there (bus copied by libcard). A plain port is there (owned by the shell), as
 * main port or standby of the interface; closed: it must not be used any more. */
int engine_card_open(struct engine *e, const char *card, const struct card_bus *bus, uint64_t now);
int engine_port_open(struct engine *e, const char *iface, const char *port, const struct dp_port *p,
                     uint64_t now);
void engine_port_closed(struct engine *e, const char *iface, const char *port, uint64_t now);

/* Frames. */
void engine_from_tap(struct engine *e, unsigned iface, uint64_t now, const uint8_t *frame,
                     size_t len, const struct dp_offload *off);
void engine_from_wire(struct engine *e, unsigned iface, uint64_t now, const uint8_t *frame,
                      size_t len, const struct dp_offload *off);
void engine_neighbour(struct engine *e, unsigned iface, uint64_t now, const struct ip_addr *a);
/* May the shell read from the TAP now (the port has room for a super-packet)? */
bool engine_tap_ready(struct engine *e, unsigned iface);

/* Cards, timers, lifetimes, placement; returns the next moment wanted. engine_arm: before sleeping;
 * true means poll again at once. */
uint64_t engine_poll(struct engine *e, uint64_t now);
bool engine_arm(struct engine *e);

/* Hand-made SAs, and IKE's later. *out lives until it is deleted or expires. */
int engine_sa_add(struct engine *e, const struct sa_spec *spec, uint64_t now, struct sa **out);
void engine_sa_delete(struct engine *e, struct sa *sa, uint64_t now);
void engine_acquire_failed(struct engine *e, uint32_t policy_id, const struct ip_addr *peer,
                           uint64_t now);

struct spd *engine_spd(struct engine *e);
struct sad *engine_sad(struct engine *e);
struct place *engine_place(struct engine *e);
unsigned engine_interfaces(const struct engine *e);
struct dp *engine_dp(struct engine *e, unsigned iface);
const struct cfg_interface *engine_interface(const struct engine *e, unsigned iface);
/* "c0", "if:eth1" or "none": the port in use now. */
const char *engine_port_name(const struct engine *e, unsigned iface);
int engine_interface_index(const struct engine *e, const char *name);
/* Frames that the interface's ports took and the kernel did not put on the wire. */
uint64_t engine_refused(const struct engine *e, unsigned iface);
struct engine_card {
    const char *name, *at;
    struct card_unit *unit; /* NULL while it is away */
    const char *away;       /* why, in words */
    uint64_t since;
};
bool engine_card_at(const struct engine *e, unsigned i, struct engine_card *out);

#endif
