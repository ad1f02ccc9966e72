/* Placement: decisions and answers. See place.h, and place_internal.h for the states. */
#include "hostd/sa/place_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* How long each class of refusal waits: first and last back-off, and on what. */
static const struct {
    enum wait_kind wait;
    uint64_t first, last;
} patience[] = {
    [PLACE_OK] = {WAIT_NOT, 0, 0},
    [PLACE_NEVER] = {WAIT_CHANGE, 0, 0},
    [PLACE_RESOURCE] = {WAIT_ROOM, 5 * PLACE_S, 60 * PLACE_S},
    [PLACE_AGAIN] = {WAIT_TIME, 10 * PLACE_MS, PLACE_S},
    [PLACE_DEVICE] = {WAIT_TIME, PLACE_S, 600 * PLACE_S},
    [PLACE_UNKNOWN] = {WAIT_TIME, 100 * PLACE_MS, 60 * PLACE_S},
};
enum { ROOM_BUDGET = 16 }; /* SAs tried at once when the card says that there is room */

uint64_t backoff(uint8_t *tries, uint64_t first, uint64_t last)
{
    uint64_t wait = first;
    for (unsigned i = 0; i < *tries && wait < last; i++)
        wait *= 2;
    if (*tries < 60)
        ++*tries;
    return wait < last ? wait : last;
}

void wait_for(struct place *p, struct item *it, int card, enum place_class cls, uint64_t now)
{
    uint64_t at = PLACE_NEVER_AT;
    if (patience[cls].wait != WAIT_CHANGE)
        at = now + backoff(&it->offer[card].tries, patience[cls].first, patience[cls].last);
    offer_wait(p, it, card, patience[cls].wait, at);
}

/* --- the place of an SA changes here only --- */

void place_reason(struct place *p, struct item *it, const struct sa_reason *why, uint64_t now)
{
    (void)p;
    if (it->sa->reason.code != why->code)
        it->sa->since = now;
    it->sa->reason = *why;
}

static void set_place(struct place *p, struct item *it, enum sa_place to,
                      const struct sa_reason *why, uint64_t now)
{
    struct sa *sa = it->sa;
    enum sa_place old = sa->place;
    place_reason(p, it, why, now);
    if (old == to)
        return;
    sa->place = to;
    sa->since = now;
    sa->moves++;
    p->ops.moved(p->ops.ctx, sa, old);
}

void place_to_card(struct place *p, struct item *it, uint32_t handle, uint64_t now)
{
    struct sa_reason why;
    it->handle = handle;
    slot_set(p, it, SLOT_HELD, it->card);
    offer_clear(p, it, it->card);
    it->claim = false;
    it->sa->handle = handle;
    why_set(&why, PLACE_IN_CARD_CODE, "in card %s", p->cards[it->card].caps.name);
    set_place(p, it, PLACE_CARD, &why, now);
}

void place_to_software(struct place *p, struct item *it, const struct sa_reason *why, uint64_t now)
{
    set_place(p, it, PLACE_SOFTWARE, why, now);
}

/* --- asking for a slot --- */

static void add_failed(struct place *p, struct item *it, int card, int rc, uint64_t now)
{
    struct sa_reason why;
    const char *name = p->cards[card].caps.name;
    if (rc == -EAGAIN)
        why_set(&why, PLACE_BUSY_CODE, "the admin queue of card %s is full", name);
    else
        why_set(&why, PLACE_REFUSED_CODE, "card %s could not be asked: %s", name, strerror(-rc));
    slot_set(p, it, SLOT_NONE, -1);
    wait_for(p, it, card, rc == -EAGAIN ? PLACE_AGAIN : PLACE_DEVICE, now);
    place_reason(p, it, &why, now);
}

/* False: too many adds lately; *at is when the next burst may start. */
static bool in_pace(struct place *p, uint64_t now, uint64_t *at)
{
    const uint64_t one = PLACE_S / PLACE_ADDS_PER_SECOND, burst = PLACE_S / 2;
    if (p->paced < now)
        p->paced = now;
    *at = p->paced;
    if (p->paced - now >= burst)
        return false;
    p->paced += one;
    return true;
}

static void say_pace(struct place *p, struct item *it, uint64_t now)
{
    struct sa_reason why;
    why_set(&why, PLACE_BUSY_CODE, "its turn comes: cards are given at most %d SAs a second",
            PLACE_ADDS_PER_SECOND);
    place_reason(p, it, &why, now);
}

static bool may_try(const struct offer *o, uint64_t now)
{
    return o->wait == WAIT_NOT || (o->wait != WAIT_CHANGE && now >= o->at);
}

/* True when an add is under way. */
static bool try_card(struct place *p, struct item *it, int card, uint64_t now)
{
    struct card *c = &p->cards[card];
    struct sa_reason why;
    uint64_t at;
    if (!c->up || !may_try(&it->offer[card], now))
        return false;
    if (place_fit(&c->caps, it->sa, &why) != PLACE_IN_CARD_CODE) {
        wait_for(p, it, card, PLACE_NEVER, now);
        place_reason(p, it, &why, now);
        return false;
    }
    if (item_in(p, card, it->cookie)) { /* an older slot under this cookie is being freed */
        wait_for(p, it, card, PLACE_AGAIN, now);
        return false;
    }
    if (card_room(c, it->dir) == 0) {
        why_full(&why, c, it->dir);
        wait_for(p, it, card, PLACE_RESOURCE, now);
        place_reason(p, it, &why, now);
        return false;
    }
    if (!in_pace(p, now, &at)) {
        offer_wait(p, it, card, WAIT_TIME, at);
        say_pace(p, it, now);
        return false;
    }
    offer_wait(p, it, card, WAIT_NOT, PLACE_NEVER_AT);
    slot_set(p, it, SLOT_ADDING, card);
    int rc = p->ops.add(p->ops.ctx, card, it->sa);
    if (rc)
        add_failed(p, it, card, rc, now);
    return rc == 0;
}

static const struct card *any_card(const struct place *p, bool up)
{
    for (int c = 0; c < PLACE_CARDS; c++)
        if (up ? p->cards[c].up : p->cards[c].caps.name[0] != 0)
            return &p->cards[c];
    return NULL;
}

static void say_no_card(struct place *p, struct item *it, uint64_t now)
{
    const struct card *c = any_card(p, false);
    struct sa_reason why;
    if (!c)
        why_set(&why, PLACE_NO_CARD_CODE, "there is no card");
    else
        why_set(&why, PLACE_CARD_DOWN_CODE, "card %s is not in service: %s", c->caps.name, c->why);
    place_reason(p, it, &why, now);
}

void place_try(struct place *p, struct item *it, uint64_t now)
{
    if (!it->sa || it->state != SLOT_NONE || it->pinned)
        return;
    if (!any_card(p, true)) {
        say_no_card(p, it, now);
        return;
    }
    for (int c = 0; c < PLACE_CARDS; c++)
        if (try_card(p, it, c, now))
            return;
}

static unsigned kick_queue(struct place *p, int card, struct room_queue *q, unsigned budget,
                           uint64_t now)
{
    while (budget && q->first && card_room(&p->cards[card], q->first->dir)) {
        struct item *it = q->first;
        budget -= it->state == SLOT_NONE; /* else another card has it by now */
        offer_wait(p, it, card, WAIT_NOT, PLACE_NEVER_AT);
        place_try(p, it, now);
    }
    return budget;
}

/* Claims first, then first come first served. Each success tries one more (place_added), so a card
 * with much room fills up, and one that refuses is not asked by all at once. */
void place_kick(struct place *p, int card, unsigned budget, uint64_t now)
{
    struct card *c = &p->cards[card];
    for (int claim = 1; claim >= 0 && c->up; claim--)
        for (int d = 0; d < 2; d++)
            budget = kick_queue(p, card, &c->queue[d][claim], budget, now);
}

/* --- giving a slot back --- */

void slot_free(struct place *p, struct item *it, uint64_t now)
{
    if (it->state != SLOT_FREEING) {
        slot_set(p, it, SLOT_FREEING, it->card);
        it->tries = 0;
    }
    it->sent = true;
    int rc = p->ops.free_slot(p->ops.ctx, it->card, it->handle, it->cookie);
    if (rc == 0)
        return;
    it->sent = false;
    it->at = now + backoff(&it->tries, 10 * PLACE_MS, 10 * PLACE_S);
    place_due(p, it->at);
}

/* The slot is free, or never was: whoever waits for room goes first, then the SA itself. */
void slot_gone(struct place *p, struct item *it, uint64_t now)
{
    int card = it->card;
    slot_set(p, it, SLOT_NONE, -1);
    place_kick(p, card, 1, now);
    if (it->sa)
        place_try(p, it, now);
    else
        item_free(p, it);
}

static bool slot_open(const struct item *it)
{
    return it->state == SLOT_ADDING || it->state == SLOT_UNKNOWN;
}

/* Out of the card, or out of an add under way; the SA stays. */
static void leave_card(struct place *p, struct item *it, const struct sa_reason *why, uint64_t now)
{
    place_to_software(p, it, why, now);
    if (it->state == SLOT_HELD)
        slot_free(p, it, now);
    else if (slot_open(it))
        it->undo = true;
}

/* As leave_card, and an add under way is of no use any more, whatever anybody wishes. */
static void leave_stale(struct place *p, struct item *it, const struct sa_reason *why, uint64_t now)
{
    leave_card(p, it, why, now);
    it->stale = slot_open(it);
}

/* --- cards --- */

bool card_fits(int card)
{
    return card >= 0 && card < PLACE_CARDS;
}

static void card_lost(struct place *p, int card, uint64_t now)
{
    struct card *c = &p->cards[card];
    struct sa_reason why;
    why_set(&why, PLACE_CARD_DOWN_CODE, "card %s is not in service: %s", c->caps.name, c->why);
    c->up = c->asked = c->want_query = false;
    for (struct item *it = p->first, *next; it; it = next) {
        next = it->next;
        bool here = it->card == card;
        if (!it->sa) {
            if (here)
                item_free(p, it);
            continue;
        }
        if (here) {
            slot_set(p, it, SLOT_NONE, -1);
            if (!it->pinned)
                place_to_software(p, it, &why, now);
        }
        offer_clear(p, it, card);
        it->offer[card].bad = 0;
    }
}

static void try_all(struct place *p, uint64_t now)
{
    for (struct item *it = p->first, *next; it; it = next) {
        next = it->next;
        place_try(p, it, now);
    }
}

void place_card_known(struct place *p, int card, const char *name, const char *why)
{
    if (!card_fits(card) || p->cards[card].up)
        return;
    struct card *c = &p->cards[card];
    snprintf(c->caps.name, sizeof c->caps.name, "%s", name);
    snprintf(c->why, sizeof c->why, "%s", why);
}

void place_card_down(struct place *p, int card, const char *why, uint64_t now)
{
    if (!card_fits(card))
        return;
    struct card *c = &p->cards[card];
    snprintf(c->why, sizeof c->why, "%s", why ? why : "no reason given");
    if (!c->up)
        return;
    card_lost(p, card, now);
    try_all(p, now);
}

void place_card_up(struct place *p, int card, const struct place_caps *caps, uint64_t now)
{
    if (!card_fits(card))
        return;
    struct card *c = &p->cards[card];
    if (c->up) {
        snprintf(c->why, sizeof c->why, "it came into service anew");
        card_lost(p, card, now);
    }
    c->caps = *caps;
    c->caps.name[sizeof c->caps.name - 1] = 0;
    c->up = true;
    c->tries = 0;
    c->audit_at = now + PLACE_S; /* what was asked first is in the table by then */
    try_all(p, now);
}

void place_card_caps(struct place *p, int card, const struct place_caps *caps, uint64_t now)
{
    if (!card_fits(card) || !p->cards[card].up)
        return;
    struct card *c = &p->cards[card];
    struct sa_reason why;
    c->caps = *caps;
    c->caps.name[sizeof c->caps.name - 1] = 0;
    for (struct item *it = p->first, *next; it; it = next) {
        next = it->next;
        if (!it->sa)
            continue;
        if (it->card != card)
            offer_clear(p, it, card);
        else if (place_fit(caps, it->sa, &why) != PLACE_IN_CARD_CODE)
            leave_stale(p, it, &why, now);
    }
    try_all(p, now);
}

void place_room(struct place *p, int card, uint64_t now)
{
    if (card_fits(card))
        place_kick(p, card, ROOM_BUDGET, now);
}

/* --- SAs --- */

void place_sa(struct place *p, struct sa *sa, uint64_t now)
{
    struct item *it = item_of(p, sa);
    if (!it)
        it = item_new(p, sa, sa->cookie);
    if (it) {
        place_try(p, it, now);
        return;
    }
    why_set(&sa->reason, PLACE_NEW_CODE, "no memory to place it: it stays in software");
}

void place_forget(struct place *p, struct sa *sa, uint64_t now)
{
    struct item *it = item_of(p, sa);
    if (!it)
        return;
    for (int c = 0; c < PLACE_CARDS; c++)
        offer_unqueue(p, it, c);
    sa->place = PLACE_SOFTWARE;
    sa->card = -1;
    it->sa = NULL;
    if (it->state == SLOT_NONE)
        item_free(p, it);
    else if (it->state == SLOT_HELD)
        slot_free(p, it, now);
    else
        it->undo = true;
}

void place_failed(struct place *p, struct sa *sa, const char *what, uint64_t now)
{
    struct item *it = item_of(p, sa);
    struct sa_reason why;
    if (!it || it->state != SLOT_HELD || sa->place != PLACE_CARD)
        return;
    int card = it->card;
    why_set(&why, PLACE_NOT_WORKING_CODE,
            "card %s has the SA and does not transform its packets: %s", p->cards[card].caps.name,
            what ? what : "no reason given");
    if (now - sa->since > 600 * PLACE_S) /* it did well for long */
        it->offer[card].bad = 0;
    uint64_t at = now + backoff(&it->offer[card].bad, 10 * PLACE_S, 3600 * PLACE_S);
    offer_wait(p, it, card, WAIT_TIME, at);
    leave_card(p, it, &why, now);
}

void place_changed(struct place *p, struct sa *sa, uint64_t now)
{
    struct item *it = item_of(p, sa);
    struct sa_reason why;
    if (!it || it->state == SLOT_NONE)
        return;
    if (it->pinned) { /* on its way out already, for good or until asked */
        it->stale = slot_open(it);
        return;
    }
    why_set(&why, PLACE_CHANGED_CODE, "%s", place_code_text(PLACE_CHANGED_CODE));
    leave_stale(p, it, &why, now);
}

void place_ask(struct place *p, struct sa *sa, enum sa_place where, uint64_t now)
{
    struct item *it = item_of(p, sa);
    struct sa_reason why;
    if (!it) {
        place_sa(p, sa, now);
        it = item_of(p, sa);
    }
    if (!it)
        return;
    it->pinned = where != PLACE_CARD;
    if (it->pinned) {
        why_set(&why, PLACE_ASKED_CODE, "an administrator asked for software");
        for (int c = 0; c < PLACE_CARDS; c++)
            offer_clear(p, it, c);
        leave_card(p, it, &why, now);
        return;
    }
    if (slot_open(it) && !it->stale)
        it->undo = false;
    for (int c = 0; c < PLACE_CARDS; c++)
        if (it->card != c)
            offer_clear(p, it, c);
    place_try(p, it, now);
}

/* --- time --- */

static uint64_t item_due(const struct place *p, const struct item *it)
{
    uint64_t at = PLACE_NEVER_AT;
    if (it->state == SLOT_FREEING && !it->sent)
        return it->at;
    if (it->state != SLOT_NONE || !it->sa || it->pinned)
        return at;
    for (int c = 0; c < PLACE_CARDS; c++) {
        const struct offer *o = &it->offer[c];
        if (p->cards[c].up && (o->wait == WAIT_ROOM || o->wait == WAIT_TIME) && o->at < at)
            at = o->at;
    }
    return at;
}

static void run_items(struct place *p, uint64_t now)
{
    uint64_t first = PLACE_NEVER_AT;
    p->due = PLACE_NEVER_AT;
    for (struct item *it = p->first, *next; it; it = next) {
        next = it->next;
        if (item_due(p, it) <= now) {
            if (it->state == SLOT_FREEING)
                slot_free(p, it, now);
            else
                place_try(p, it, now);
        }
        uint64_t at = item_due(p, it);
        first = at < first ? at : first;
    }
    place_due(p, first);
}

uint64_t place_tick(struct place *p, uint64_t now)
{
    uint64_t next;
    if (p->due <= now)
        run_items(p, now);
    next = audit_tick(p, now);
    return p->due < next ? p->due : next;
}

bool place_quiet(const struct place *p)
{
    for (int c = 0; c < PLACE_CARDS; c++)
        if (p->cards[c].asked || p->cards[c].want_query)
            return false;
    return p->busy == 0;
}

void place_spi_range(const struct place *p, uint32_t *lo, uint32_t *hi)
{
    uint32_t l = 256, h = UINT32_MAX;
    for (int c = 0; c < PLACE_CARDS; c++) {
        const struct card *k = &p->cards[c];
        if (!k->up)
            continue;
        l = k->caps.spi_lo > l ? k->caps.spi_lo : l;
        h = k->caps.spi_hi && k->caps.spi_hi < h ? k->caps.spi_hi : h;
    }
    *lo = l <= h ? l : 256;
    *hi = l <= h ? h : UINT32_MAX;
}

struct place *place_new(struct sad *sad, const struct place_ops *ops)
{
    struct place *p = calloc(1, sizeof *p);
    if (!p)
        return NULL;
    p->sad = sad;
    p->ops = *ops;
    p->due = PLACE_NEVER_AT;
    return p;
}

void place_free(struct place *p)
{
    if (!p)
        return;
    for (struct item *it = p->first, *next; it; it = next) {
        next = it->next;
        free(it);
    }
    free(p);
}
