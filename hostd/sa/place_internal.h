/* The inside of placement. One item for every SA known to placement, and one for every slot of a
 * card that has no SA any more (a forgotten SA's, or one that the audit found) until it is freed.
 */
#ifndef SALLYPORT_PLACE_INTERNAL_H
#define SALLYPORT_PLACE_INTERNAL_H

#include "hostd/sa/place.h"

#include <errno.h>

/* Nanoseconds. The back-offs double from their first to their last value. */
#define PLACE_MS           UINT64_C(1000000)
#define PLACE_S            (1000 * PLACE_MS)
#define PLACE_NEVER_AT     UINT64_MAX
#define PLACE_AUDIT_PERIOD (30 * PLACE_S)

enum { PLACE_BUCKETS = 1 << 14 };

/* The state of the one slot an item may have. Every arrow is one call of slot_set (place_item.c).
 */
enum slot_state {
    SLOT_NONE,    /* no slot anywhere */
    SLOT_ADDING,  /* an add is under way */
    SLOT_HELD,    /* the slot is ours */
    SLOT_FREEING, /* to be freed: asked (sent), or to be asked at item.at */
    SLOT_UNKNOWN, /* no answer: the card's table decides */
    SLOT_STATES
};

enum wait_kind {
    WAIT_NOT,   /* may be tried */
    WAIT_ROOM,  /* in a queue of the card; also tried at offer.at */
    WAIT_TIME,  /* at offer.at */
    WAIT_CHANGE /* until the card or the SA changes */
};

/* One card's standing with one SA. */
struct offer {
    enum wait_kind wait;
    uint8_t tries; /* exponent of the back-off */
    uint8_t bad;   /* times the card failed its packets */
    bool queued;
    uint8_t line, first; /* which queue: [line][first] */
    uint64_t at;
    struct item *prev, *next;
};

struct item {
    struct sa *sa; /* NULL: forgotten */
    uint64_t cookie;
    enum slot_state state;
    int card; /* of the slot; -1 without one */
    uint32_t handle;
    bool undo;   /* ADDING, UNKNOWN: not wanted any more */
    bool stale;  /* undo for what the card was told holds no longer: no wish takes it back */
    bool sent;   /* FREEING: asked */
    bool pinned; /* an administrator keeps it in software */
    bool claim;  /* made while an older SA of its policy and peer had a slot */
    bool seen;   /* in the audit at hand */
    uint8_t tries;
    enum esp_dir dir;
    uint64_t at;
    uint64_t changed; /* place.clock at the last change of state */
    uint32_t policy_id;
    struct ip_addr peer; /* when it was made */
    struct item *by_cookie, *by_kin, *prev, *next;
    struct offer offer[PLACE_CARDS];
};

/* Items that wait for room, first come first served: [direction - 1, or 0 where the directions
 * share a pool][claim]. */
struct room_queue {
    struct item *first, *last;
};

struct card {
    bool up;
    struct place_caps caps;
    char why[REASON_TEXT]; /* it is down */
    unsigned used[2];      /* by direction - 1; slots that are or may be taken */
    struct room_queue queue[2][2];
    bool want_query, asked;
    uint8_t tries;
    uint64_t query_at, audit_at, query_clock;
};

struct place {
    struct sad *sad;
    struct place_ops ops;
    struct card cards[PLACE_CARDS];
    struct item *table[PLACE_BUCKETS], *kin[PLACE_BUCKETS];
    struct item *first, *last;
    unsigned busy;  /* items in ADDING, FREEING, UNKNOWN */
    uint64_t clock; /* counts events: what an audit's snapshot may not know yet */
    uint64_t paced; /* the moment at which the adds given so far would be done at the full rate */
    uint64_t due;   /* no item wants anything before */
};

/* place_item.c */
/* Of an SA, or with sa NULL of a slot that nobody wants. NULL: no memory. */
struct item *item_new(struct place *p, struct sa *sa, uint64_t cookie);
void item_free(struct place *p, struct item *it);
struct item *item_of(struct place *p, const struct sa *sa);
/* An item whose slot is, or is being made, in this card. */
struct item *item_in(struct place *p, int card, uint64_t cookie);
/* The item in SLOT_FREEING, HELD or UNKNOWN with that handle, or NULL. */
struct item *item_slot(struct place *p, int card, uint64_t cookie, uint32_t handle);
/* The one place where a slot's state changes: keeps used, busy, sa->card and the clock. */
void slot_set(struct place *p, struct item *it, enum slot_state to, int card);
void offer_queue(struct place *p, struct item *it, int card);
void offer_unqueue(struct place *p, struct item *it, int card);
void offer_wait(struct place *p, struct item *it, int card, enum wait_kind kind, uint64_t at);
void offer_clear(struct place *p, struct item *it, int card);
void place_due(struct place *p, uint64_t at);
unsigned card_room(const struct card *c, enum esp_dir dir);

/* place.c */
void place_try(struct place *p, struct item *it, uint64_t now);
void place_kick(struct place *p, int card, unsigned budget, uint64_t now);
void slot_free(struct place *p, struct item *it, uint64_t now);
void slot_gone(struct place *p, struct item *it, uint64_t now);
void place_to_card(struct place *p, struct item *it, uint32_t handle, uint64_t now);
void place_to_software(struct place *p, struct item *it, const struct sa_reason *why, uint64_t now);
void place_reason(struct place *p, struct item *it, const struct sa_reason *why, uint64_t now);
void wait_for(struct place *p, struct item *it, int card, enum place_class cls, uint64_t now);
bool card_fits(int card);
uint64_t backoff(uint8_t *tries, uint64_t first, uint64_t last);

/* audit.c */
void audit_want(struct place *p, int card, uint64_t at);
uint64_t audit_tick(struct place *p, uint64_t now);

/* place_fit.c: PLACE_IN_CARD_CODE when the card's capabilities have all that the SA needs; else the
 * code, and *why filled in. */
unsigned place_fit(const struct place_caps *caps, const struct sa *sa, struct sa_reason *why);

/* place_words.c */
__attribute__((format(printf, 3, 4))) void why_set(struct sa_reason *why, unsigned code,
                                                   const char *text, ...);
void why_refused(struct sa_reason *why, const struct card *c, enum esp_dir dir,
                 const struct place_result *r);
void why_full(struct sa_reason *why, const struct card *c, enum esp_dir dir);

#endif
