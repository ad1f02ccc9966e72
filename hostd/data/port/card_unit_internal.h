/* One card's unit; for card_unit*.c alone. */
#ifndef SALLYPORT_CARD_UNIT_INTERNAL_H
#define SALLYPORT_CARD_UNIT_INTERNAL_H

#include "hostd/data/port/card_unit.h"

enum {
    UNIT_COMMANDS = 128, /* in flight, of one card; placement asks again when they are taken */
    UNIT_TX_DEPTH = 512,
    UNIT_TX_BUFS = 1024,
    UNIT_RX_DEPTH = 1024,
    UNIT_BURST = 64,
    UNIT_ROOM = 128,    /* free descriptors and buffers below which the TAP is not read */
    UNIT_HEADROOM = 128 /* what ESP adds to a frame, at most */
};
#define UNIT_REAP_EVERY 1000000ull /* ns: overdue completions are seen by two looks 1 ms apart */
#define UNIT_POLL_EVERY 200000ull  /* ns: a bus without interrupts */

/* What the card said a handle is. */
struct unit_handle {
    uint32_t handle;
    uint64_t clock;  /* of the unit when it was learnt or last seen in the table */
    uint64_t cookie; /* 0: free */
    bool doubt;      /* its SA_START had no answer: only the table tells whether it is ACTIVE */
};

/* An admin command under way: what its answer is about. */
struct unit_command {
    struct card_unit *u;
    bool used;
    uint64_t cookie;
    uint32_t handle;
    bool inbound;
};

struct card_unit {
    char name[32];
    int index;
    struct card *card;
    struct sad *sad;
    struct card_unit_ops ops;
    struct dp_port port;
    bool serves; /* up was told */
    bool enabling;
    uint64_t now;

    struct unit_handle *handles; /* by the index in the handle */
    uint32_t n_handles;
    uint64_t clock, query_clock; /* counts the readings of the table; when this one was asked for */
    struct unit_command commands[UNIT_COMMANDS];
    unsigned n_commands;
    /* Freed, and still known until the receive ring was read up to the answer: what the card
     * decrypted before is in there. */
    uint32_t freed[UNIT_COMMANDS];
    unsigned n_freed;
    struct place_row *rows; /* of the query under way */
    unsigned n_rows, rows_room;
    bool querying;

    struct dp_tx tx[UNIT_TX_BUFS]; /* by buffer */
    bool posted[UNIT_TX_BUFS];     /* by us: libcard's own known-answer packets are not */
    unsigned in_flight;
    /* Frames, by buffer and in order, that wait for a ring under suspicion or being made anew:
     * their numbers are spent, and in no descriptor yet. */
    uint32_t waiting[UNIT_TX_BUFS];
    unsigned waiting_at, n_waiting;
    uint32_t pending_seen;
    bool room_wanted;
    bool rx_dirty;
    uint64_t lost, resets, ring_resets, refusals, unknown_handles;
    struct place_caps caps;
    bool polls; /* no interrupts: looked at on a timer */
};

/* admin.c */
uint64_t unit_cookie_of(const struct card_unit *u, uint32_t handle);
void unit_forget_handles(struct card_unit *u);
void unit_forget_freed(struct card_unit *u); /* the receive ring is empty */
int unit_size_handles(struct card_unit *u);

#endif
