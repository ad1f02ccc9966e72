/* Placement: the cards' answers, as hostile input. What answers nothing that was asked is not
 * believed; at most the card's table is read. */
#include "hostd/sa/place_internal.h"

static enum place_class class_of(const struct place_result *r)
{
    return (unsigned)r->cls <= PLACE_UNKNOWN ? r->cls : PLACE_DEVICE;
}

static void add_refused(struct place *p, struct item *it, const struct place_result *r,
                        uint64_t now)
{
    int card = it->card;
    enum place_class cls = class_of(r);
    struct sa_reason why;
    bool wanted = it->sa && !it->undo;
    slot_set(p, it, SLOT_NONE, -1);
    if (cls != PLACE_RESOURCE) /* the room kept for it is somebody else's */
        place_kick(p, card, 1, now);
    if (!it->sa) {
        item_free(p, it);
        return;
    }
    if (!wanted) {
        place_try(p, it, now);
        return;
    }
    why_refused(&why, &p->cards[card], it->dir, r);
    wait_for(p, it, card, cls, now);
    place_reason(p, it, &why, now);
    place_try(p, it, now);
}

static void add_unknown(struct place *p, struct item *it, const struct place_result *r,
                        uint64_t now)
{
    struct sa_reason why;
    int card = it->card;
    bool undo = it->undo;
    slot_set(p, it, SLOT_UNKNOWN, card);
    it->undo = undo;
    if (it->sa && !undo) {
        why_refused(&why, &p->cards[card], it->dir, r);
        place_reason(p, it, &why, now);
    }
    audit_want(p, card, now);
}

static void add_done(struct place *p, struct item *it, uint32_t handle, uint64_t now)
{
    int card = it->card;
    it->handle = handle;
    if (!it->sa || it->undo) {
        it->undo = false;
        slot_free(p, it, now);
        return;
    }
    place_to_card(p, it, handle, now);
    place_kick(p, card, 1, now);
}

void place_added(struct place *p, int card, uint64_t cookie, const struct place_result *r,
                 uint64_t now)
{
    if (!card_fits(card) || !p->cards[card].up)
        return;
    struct item *it = item_in(p, card, cookie);
    enum place_class cls = class_of(r);
    if (!it || it->state != SLOT_ADDING) {
        /* Told twice, or of a slot that nobody asked for: the table is the truth. */
        if (cls == PLACE_OK && !item_slot(p, card, cookie, r->handle))
            audit_want(p, card, now);
        return;
    }
    if (cls == PLACE_OK)
        add_done(p, it, r->handle, now);
    else if (cls == PLACE_UNKNOWN)
        add_unknown(p, it, r, now);
    else
        add_refused(p, it, r, now);
}

void place_freed(struct place *p, int card, uint32_t handle, uint64_t cookie,
                 const struct place_result *r, uint64_t now)
{
    if (!card_fits(card) || !p->cards[card].up)
        return;
    struct item *it = item_slot(p, card, cookie, handle);
    enum place_class cls = class_of(r);
    if (!it || it->state != SLOT_FREEING || !it->sent)
        return;
    if (cls == PLACE_OK) {
        slot_gone(p, it, now);
        return;
    }
    if (cls == PLACE_UNKNOWN || cls == PLACE_NEVER) { /* the table says what became of it */
        slot_set(p, it, SLOT_UNKNOWN, card);
        it->undo = it->stale = true; /* why it was freed may hold still */
        audit_want(p, card,
                   now +
                       (cls == PLACE_NEVER ? backoff(&it->tries, 10 * PLACE_MS, 60 * PLACE_S) : 0));
        return;
    }
    it->sent = false;
    it->at = now + backoff(&it->tries, 10 * PLACE_MS, 60 * PLACE_S);
    place_due(p, it->at);
}
