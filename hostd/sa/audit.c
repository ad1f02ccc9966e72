/* The audit: the card's table, read whole, against what placement believes. Whatever changed after
 * the table was asked for is not judged by it: the next audit sees that. */
#include "hostd/sa/place_internal.h"

static void ask(struct place *p, int card, uint64_t now)
{
    struct card *c = &p->cards[card];
    if (!c->up || c->asked || !c->want_query || now < c->query_at)
        return;
    c->asked = true;
    c->want_query = false;
    c->query_clock = p->clock;
    c->audit_at = now + PLACE_AUDIT_PERIOD;
    if (p->ops.query(p->ops.ctx, card) == 0)
        return;
    c->asked = false;
    c->want_query = true;
    c->query_at = now + backoff(&c->tries, 10 * PLACE_MS, 10 * PLACE_S);
}

/* A table that is being read already may be older than what is to be known: it is read once more.
 */
void audit_want(struct place *p, int card, uint64_t at)
{
    struct card *c = &p->cards[card];
    if (!c->want_query || at < c->query_at)
        c->query_at = at;
    c->want_query = true;
}

uint64_t audit_tick(struct place *p, uint64_t now)
{
    uint64_t next = PLACE_NEVER_AT;
    for (int i = 0; i < PLACE_CARDS; i++) {
        struct card *c = &p->cards[i];
        if (!c->up)
            continue;
        if (!c->asked && !c->want_query && now >= c->audit_at)
            audit_want(p, i, now);
        ask(p, i, now);
        uint64_t at = c->asked ? PLACE_NEVER_AT : c->want_query ? c->query_at : c->audit_at;
        next = at < next ? at : next;
    }
    return next;
}

static bool judged(const struct card *c, const struct item *it)
{
    return it->changed <= c->query_clock;
}

/* The card holds a slot that nobody wants. Without memory it is met again at the next audit. */
static void orphan(struct place *p, int card, const struct place_row *row, uint64_t now)
{
    struct item *it = item_new(p, NULL, row->cookie);
    if (!it)
        return;
    it->handle = row->handle;
    slot_set(p, it, SLOT_HELD, card);
    slot_free(p, it, now);
}

/* The outcome of a command without an answer: the slot is there. */
static void found(struct place *p, struct item *it, uint32_t handle, uint64_t now)
{
    it->handle = handle;
    it->seen = true;
    if (it->sa && !it->undo)
        place_to_card(p, it, handle, now);
    else
        slot_free(p, it, now);
}

static void one_row(struct place *p, int card, const struct place_row *row, uint64_t now)
{
    struct card *c = &p->cards[card];
    struct item *it = item_slot(p, card, row->cookie, row->handle);
    if (it) {
        it->seen = true;
        return;
    }
    it = item_in(p, card, row->cookie);
    if (it && !judged(c, it))
        return;
    if (it && it->state == SLOT_UNKNOWN)
        found(p, it, row->handle, now);
    else if (!it || it->state != SLOT_ADDING)
        orphan(p, card, row, now);
}

static void missing(struct place *p, struct item *it, uint64_t now)
{
    struct sa_reason why;
    int card = it->card;
    bool back = it->sa && !it->undo;
    if (back) {
        uint64_t at = now + backoff(&it->offer[card].tries, 100 * PLACE_MS, 60 * PLACE_S);
        offer_wait(p, it, card, WAIT_TIME, at);
    }
    if (it->sa && it->state == SLOT_HELD) {
        why_set(&why, PLACE_MISSING_CODE, "card %s has lost the SA (asked: slot 0x%x; not there)",
                p->cards[card].caps.name, it->handle);
        place_to_software(p, it, &why, now);
    }
    slot_gone(p, it, now);
}

static void judge_items(struct place *p, int card, uint64_t now)
{
    struct card *c = &p->cards[card];
    for (struct item *it = p->first, *next; it; it = next) {
        next = it->next;
        bool gone = it->card == card && judged(c, it) && !it->seen;
        it->seen = false;
        if (!gone)
            continue;
        if (it->state == SLOT_HELD || it->state == SLOT_UNKNOWN)
            missing(p, it, now);
    }
}

static bool any_unknown(const struct place *p, int card)
{
    for (const struct item *it = p->first; it; it = it->next)
        if (it->card == card && it->state == SLOT_UNKNOWN)
            return true;
    return false;
}

void place_audit(struct place *p, int card, const struct place_row *rows, unsigned n, bool complete,
                 uint64_t now)
{
    if (card < 0 || card >= PLACE_CARDS || !p->cards[card].up || !p->cards[card].asked)
        return;
    struct card *c = &p->cards[card];
    c->asked = false;
    if (!complete) {
        audit_want(p, card, now + backoff(&c->tries, 100 * PLACE_MS, 10 * PLACE_S));
        return;
    }
    c->tries = 0;
    for (unsigned i = 0; i < n; i++)
        one_row(p, card, &rows[i], now);
    judge_items(p, card, now);
    if (any_unknown(p, card))
        audit_want(p, card, now);
    ask(p, card, now);
}
