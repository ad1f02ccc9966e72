/* One card as the daemon uses it: libcard beneath, placement's requests and the wire port above. No
 * clock and no sockets of its own: the bus table is handed in, time is an argument, so that the
 * simulation runs it as the daemon does. */
#ifndef SALLYPORT_CARD_UNIT_H
#define SALLYPORT_CARD_UNIT_H

#include "hostd/data/path/dp.h"
#include "hostd/sa/place.h"

#include <sallyport/card.h>

struct card_unit;

struct card_unit_ops {
    void *ctx;
    /* It serves: caps for placement; the port is ready. before_run is asked just before the card's
     * wire goes live: a standby on the same wire is closed then. */
    void (*before_run)(void *ctx, int index);
    void (*up)(void *ctx, int index, const struct place_caps *caps);
    /* It does not serve: why in words; gone: nothing more will come of this bus. */
    void (*down)(void *ctx, int index, const char *why, bool gone);
    void (*added)(void *ctx, int index, uint64_t cookie, const struct place_result *r);
    void (*freed)(void *ctx, int index, uint32_t handle, uint64_t cookie,
                  const struct place_result *r);
    void (*table)(void *ctx, int index, const struct place_row *rows, unsigned n, bool complete);
    void (*room)(void *ctx, int index);
    void (*failed)(void *ctx, int index, struct sa *sa, const char *what);
    void (*rx)(void *ctx, int index, const struct dp_rx *rx);
    void (*tx_done)(void *ctx, int index, const struct dp_tx *tx, const uint8_t *frame,
                    enum dp_fate fate, const char *why);
};

struct card_unit_report {
    const char *state, *reason;
    char model[64], serial[64], firmware[32];
    struct place_caps caps;
    unsigned handles;      /* SAs that the card holds, as far as answers tell */
    unsigned commands;     /* admin commands without an answer */
    unsigned tx_in_flight; /* frames without a completion */
    unsigned buffers_in_use;
    uint64_t lost; /* frames that were in a ring when it died */
    uint64_t resets, ring_resets;
    uint64_t refusals;
    uint64_t bad_completions;
};

/* bus is libcard's table (copied by it). 0 or -errno. */
int card_unit_new(struct card_unit **out, const char *name, int index, const struct card_bus *bus,
                  struct sad *sad, const struct card_unit_ops *ops, uint64_t now);
void card_unit_free(struct card_unit *u, uint64_t now);
/* Does all that is due and returns the next moment wanted. */
uint64_t card_unit_poll(struct card_unit *u, uint64_t now);
/* Arms the interrupts before a sleep; true when something arrived meanwhile: poll again. */
bool card_unit_arm(struct card_unit *u);
const struct dp_port *card_unit_port(struct card_unit *u);
bool card_unit_serves(const struct card_unit *u);

/* Placement's three requests (place.h). An inbound SA is added stopped, its handle learned, and
 * only then started: no packet is ever decrypted under a handle that the host does not know. */
int card_unit_add(struct card_unit *u, const struct sa *sa, const struct esp_keys *keys);
int card_unit_free_slot(struct card_unit *u, uint32_t handle, uint64_t cookie);
int card_unit_query(struct card_unit *u);
/* The SA is forgotten: completions under its handle are dropped from now on. */
void card_unit_report(const struct card_unit *u, struct card_unit_report *r);

#endif
