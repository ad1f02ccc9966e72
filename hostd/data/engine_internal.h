/* The engine's own parts; for engine*.c alone. */
#ifndef SALLYPORT_ENGINE_INTERNAL_H
#define SALLYPORT_ENGINE_INTERNAL_H

#include "hostd/data/engine.h"

#include <stdio.h>

struct iface {
    struct engine *e;
    unsigned index;
    const struct cfg_interface *cfg;
    struct dp *dp;
    const struct dp_port *main, *standby, *active;
    bool standby_wanted;
    uint64_t refused; /* by ports used before */
    bool told;        /* the MAC of told_mac was given to the host */
    uint8_t told_mac[6];
};

struct ecard {
    char name[CFG_NAME], at[CFG_PATH];
    struct card_unit *unit;
    bool gone; /* the unit is to be freed at the end of this poll */
    char away[REASON_TEXT];
    uint64_t since;
};

struct engine {
    struct engine_host host;
    struct cfg *cfg;
    struct spd *spd;
    struct sad *sad;
    struct place *place;
    struct iface ifaces[CFG_INTERFACES];
    unsigned n_ifaces;
    struct ecard cards[CFG_CARDS];
    unsigned n_cards;
    uint64_t now; /* of the call under way, for callbacks */
    bool life_due;
    uint64_t deadline; /* of the earliest time limit of an SA */
};

/* The port that serves the interface now: the main one when it is up, else the standby. */
void engine_choose_port(struct engine *e, struct iface *f);
/* Placement's requests (place.h), carried to the card units; ctx is the engine. */
int engine_ask_add(void *ctx, int card, const struct sa *sa);
int engine_ask_free(void *ctx, int card, uint32_t handle, uint64_t cookie);
int engine_ask_query(void *ctx, int card);
void engine_on_moved(void *ctx, struct sa *sa, enum sa_place old);

#endif
