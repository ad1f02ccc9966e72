/* Placement: which SA lives where, and why (design, section 3). Pure: it is told events and asks
 * for actions through a table; the card may refuse at any step, and every refusal ends in
 * "software". */
#ifndef SALLYPORT_PLACE_H
#define SALLYPORT_PLACE_H

#include "hostd/sa/sad.h"

/* What a card can carry, out of its capability tree (data/ fills it in from libcard). */
enum { PLACE_SUITES = 32, PLACE_CARDS = 8 };

struct place_suite {
    uint16_t encr_id, integ_id;
    uint16_t encr_lens; /* bit n: a key of 8 * n octets is taken */
    uint8_t dirs;       /* bit 0 out, bit 1 in */
    uint8_t modes;      /* bit 0 transport, bit 1 tunnel */
    char bad[2][80]; /* by direction - 1: why it was taken out of service (known answer), or "" */
};

struct place_caps {
    char name[32]; /* the card's name in the configuration */
    struct place_suite suites[PLACE_SUITES];
    unsigned n_suites;
    uint32_t out_max, in_max; /* slots; 0 = none */
    bool shared_pool;         /* out_max slots serve both directions */
    bool esn;
    bool natt4, natt6;
    uint32_t spi_lo, spi_hi;
};

/* No more SAs a second than this are given to cards, in bursts of half as many. */
enum { PLACE_ADDS_PER_SECOND = 8192 };

/* Classes of refusal: the contract's status classes, in words of placement. */
enum place_class {
    PLACE_OK,
    PLACE_NEVER,    /* caller, security: not until something changes */
    PLACE_RESOURCE, /* wait for room */
    PLACE_AGAIN,    /* busy: soon */
    PLACE_DEVICE,   /* the card is ill: ever more slowly */
    PLACE_UNKNOWN   /* no answer: the table is read by cookie before anything else */
};

struct place_result {
    enum place_class cls;
    const char *name, *text, *remedy; /* "NO_SA_SPACE", a sentence, what to do */
    uint32_t handle;
};

/* Codes of reasons, each with its own text and remedy (place_code_text); the numbers are for JSON.
 */
#define PLACE_CODES(CODE)                                                                          \
    CODE(NEW, "new, not yet placed")                                                               \
    CODE(IN_CARD, "in the card")                                                                   \
    CODE(NO_CARD, "there is no card")                                                              \
    CODE(CARD_DOWN, "the card is not in service")                                                  \
    CODE(SUITE, "the card does not have the suite")                                                \
    CODE(KEY_LEN, "the card does not take the key length")                                         \
    CODE(DIRECTION, "the card does not do the suite in this direction")                            \
    CODE(MODE, "the card does not do the mode")                                                    \
    CODE(ESN, "the card has no extended sequence numbers")                                         \
    CODE(NATT, "the card does not do UDP encapsulation")                                           \
    CODE(SPI_RANGE, "the SPI is outside the card's range")                                         \
    CODE(FULL, "the card's SA table is full")                                                      \
    CODE(REFUSED, "the card refused the SA")                                                       \
    CODE(BUSY, "the card is busy")                                                                 \
    CODE(NO_ANSWER, "the card did not answer")                                                     \
    CODE(MISSING, "the card has lost the SA")                                                      \
    CODE(NOT_WORKING, "the card has the SA and does not transform its packets")                    \
    CODE(KNOWN_ANSWER, "the card failed the known-answer test of the suite")                       \
    CODE(ASKED, "an administrator asked for it")                                                   \
    CODE(CHANGED, "its endpoint moved, and the card gets it anew")

enum place_code {
#define CODE(id, text) PLACE_##id##_CODE,
    PLACE_CODES(CODE)
#undef CODE
        PLACE_CODE_COUNT
};
const char *place_code_name(unsigned code);
const char *place_code_text(unsigned code);
const char *place_code_remedy(unsigned code);

/* None of these may answer from inside the call: place_added, place_freed and place_audit come
 * later. An answer that was asked of a card before place_card_down is not handed in after
 * place_card_up. Any error but -EAGAIN counts as an ill card. Every function here may be followed
 * by work for place_tick, so call that before waiting. */
struct place_ops {
    void *ctx;
    /* Ask card c for a slot for sa; the answer comes by place_added with the cookie. -EAGAIN: its
     * admin queue has no room now. */
    int (*add)(void *ctx, int card, const struct sa *sa);
    /* Free a slot; the answer comes by place_freed with handle and cookie. */
    int (*free_slot)(void *ctx, int card, uint32_t handle, uint64_t cookie);
    /* Read the whole table; the answer comes by place_audit. */
    int (*query)(void *ctx, int card);
    /* The place of sa changed: log it, and tell whoever caches it. old is the place before. */
    void (*moved)(void *ctx, struct sa *sa, enum sa_place old);
};

struct place;

struct place *place_new(struct sad *sad, const struct place_ops *ops);
void place_free(struct place *p);

/* A card of the configuration that was not in service yet: reasons name it (else they say that
 * there is no card). Optional. */
void place_card_known(struct place *p, int card, const char *name, const char *why);
/* A card came into service with an empty table, or left it. Down: every SA in it is software at
 * once. */
void place_card_up(struct place *p, int card, const struct place_caps *caps, uint64_t now);
void place_card_down(struct place *p, int card, const char *why, uint64_t now);
/* What a card in service can do has changed (a known-answer test ended): SAs that it cannot carry
 * any more leave it, the others are tried again. */
void place_card_caps(struct place *p, int card, const struct place_caps *caps, uint64_t now);
/* A new SA; an SA about to be deleted (its slot is freed, or later when an add is under way). */
void place_sa(struct place *p, struct sa *sa, uint64_t now);
void place_forget(struct place *p, struct sa *sa, uint64_t now);
/* Answers. The SA may be gone by now: then the slot is freed. */
void place_added(struct place *p, int card, uint64_t cookie, const struct place_result *r,
                 uint64_t now);
void place_freed(struct place *p, int card, uint32_t handle, uint64_t cookie,
                 const struct place_result *r, uint64_t now);
/* The card's table as read: what is there and not ours is freed, what is ours and not there is
 * software. complete is false when the read failed. */
struct place_row {
    uint32_t handle;
    uint64_t cookie;
};
void place_audit(struct place *p, int card, const struct place_row *rows, unsigned n, bool complete,
                 uint64_t now);
/* The card says that there is room again. */
void place_room(struct place *p, int card, uint64_t now);
/* The card has the SA and fails its packets (SA_GONE, handed up raw, ICV in the card only). */
void place_failed(struct place *p, struct sa *sa, const char *what, uint64_t now);
/* What the card was told of the SA holds no longer (sad_move): it is freed there and added anew,
 * through software. */
void place_changed(struct place *p, struct sa *sa, uint64_t now);
/* An administrator's wish: move SPI to the card (retry now) or keep it in software. */
void place_ask(struct place *p, struct sa *sa, enum sa_place where, uint64_t now);
/* Retries, audits on a timer; returns the next moment wanted. */
uint64_t place_tick(struct place *p, uint64_t now);
/* Is everything settled: no add, free or query under way? */
bool place_quiet(const struct place *p);
/* SPIs that every card in service can carry; 256..2^32-1 without a card. */
void place_spi_range(const struct place *p, uint32_t *lo, uint32_t *hi);

#endif
