/* Placement's book-keeping: items, their slots' states, and the queues for room. */
#include "hostd/sa/place_internal.h"

#include <stdlib.h>
#include <string.h>

/* --- the tables --- */

static uint32_t bucket(uint64_t v)
{
    v *= UINT64_C(0x9e3779b97f4a7c15);
    return (uint32_t)(v >> 40) % PLACE_BUCKETS;
}

static const struct ip_addr *peer_of(const struct sa *sa)
{
    return sa->spec.dir == ESP_OUT ? &sa->spec.dst : &sa->spec.src;
}

static uint32_t kin_bucket(const struct item *it)
{
    uint64_t w[2];
    memcpy(w, it->peer.b, sizeof w);
    return bucket(w[0] ^ (w[1] * 31) ^ ((uint64_t)it->policy_id << 8 | it->dir));
}

static bool kin(const struct item *a, const struct item *b)
{
    return a->policy_id == b->policy_id && a->dir == b->dir && ip_eq(&a->peer, &b->peer);
}

/* A rekey's new SA finds the old one with its slot. The newest come first, and the old one is among
 * them: a bounded look is enough. */
static bool old_has_slot(const struct place *p, const struct item *it)
{
    const struct item *k = p->kin[kin_bucket(it)];
    for (unsigned left = 16; k && left; k = k->by_kin, left--)
        if (k != it && kin(k, it) && k->sa && (k->state == SLOT_HELD || k->state == SLOT_ADDING))
            return true;
    return false;
}

static void unchain(struct item **head, const struct item *it, bool by_kin)
{
    for (struct item **p = head; *p; p = by_kin ? &(*p)->by_kin : &(*p)->by_cookie)
        if (*p == it) {
            *p = by_kin ? it->by_kin : it->by_cookie;
            return;
        }
}

struct item *item_new(struct place *p, struct sa *sa, uint64_t cookie)
{
    struct item *it = calloc(1, sizeof *it);
    if (!it)
        return NULL;
    it->sa = sa;
    it->cookie = cookie;
    it->card = -1;
    it->dir = ESP_OUT;
    it->at = PLACE_NEVER_AT;
    uint32_t b = bucket(cookie);
    it->by_cookie = p->table[b];
    p->table[b] = it;
    if (sa) {
        it->dir = sa->spec.dir;
        it->policy_id = sa->spec.policy_id;
        it->peer = *peer_of(sa);
        it->claim = old_has_slot(p, it);
        b = kin_bucket(it);
        it->by_kin = p->kin[b];
        p->kin[b] = it;
    }
    it->prev = p->last;
    *(p->last ? &p->last->next : &p->first) = it;
    p->last = it;
    return it;
}

void item_free(struct place *p, struct item *it)
{
    for (int c = 0; c < PLACE_CARDS; c++)
        offer_unqueue(p, it, c);
    slot_set(p, it, SLOT_NONE, -1);
    unchain(&p->table[bucket(it->cookie)], it, false);
    unchain(&p->kin[kin_bucket(it)], it, true);
    *(it->prev ? &it->prev->next : &p->first) = it->next;
    *(it->next ? &it->next->prev : &p->last) = it->prev;
    free(it);
}

struct item *item_of(struct place *p, const struct sa *sa)
{
    struct item *it = p->table[bucket(sa->cookie)];
    while (it && it->sa != sa)
        it = it->by_cookie;
    return it;
}

struct item *item_in(struct place *p, int card, uint64_t cookie)
{
    struct item *it = p->table[bucket(cookie)];
    while (it && (it->cookie != cookie || it->card != card))
        it = it->by_cookie;
    return it;
}

struct item *item_slot(struct place *p, int card, uint64_t cookie, uint32_t handle)
{
    struct item *it = p->table[bucket(cookie)];
    for (; it; it = it->by_cookie)
        if (it->cookie == cookie && it->card == card && it->handle == handle &&
            (it->state == SLOT_HELD || it->state == SLOT_FREEING))
            return it;
    return NULL;
}

/* --- slots --- */

static bool under_way(enum slot_state s)
{
    return s == SLOT_ADDING || s == SLOT_FREEING || s == SLOT_UNKNOWN;
}

static void count(struct place *p, const struct item *it, int by)
{
    if (it->state != SLOT_NONE)
        p->cards[it->card].used[it->dir - 1] += (unsigned)by;
    if (under_way(it->state))
        p->busy += (unsigned)by;
}

void slot_set(struct place *p, struct item *it, enum slot_state to, int card)
{
    count(p, it, -1);
    it->state = to;
    it->card = to == SLOT_NONE ? -1 : card;
    it->sent = false;
    it->changed = ++p->clock;
    if (to == SLOT_NONE)
        it->undo = false;
    if (to != SLOT_UNKNOWN)
        it->stale = false;
    count(p, it, 1);
    if (it->sa) {
        it->sa->card = it->card;
        it->sa->place_state = (uint8_t)to;
    }
}

unsigned card_room(const struct card *c, enum esp_dir dir)
{
    bool pool = c->caps.shared_pool;
    unsigned max = pool || dir == ESP_OUT ? c->caps.out_max : c->caps.in_max;
    unsigned used = pool ? c->used[0] + c->used[1] : c->used[dir - 1];
    return max > used ? max - used : 0;
}

/* --- waiting --- */

void place_due(struct place *p, uint64_t at)
{
    if (at < p->due)
        p->due = at;
}

static struct room_queue *queue_of(struct place *p, const struct item *it, int card)
{
    const struct offer *o = &it->offer[card];
    return &p->cards[card].queue[o->line][o->first];
}

void offer_queue(struct place *p, struct item *it, int card)
{
    struct offer *o = &it->offer[card];
    if (o->queued)
        return;
    o->queued = true;
    o->line = p->cards[card].caps.shared_pool ? 0 : (uint8_t)(it->dir - 1);
    o->first = it->claim;
    struct room_queue *q = queue_of(p, it, card);
    o->prev = q->last;
    o->next = NULL;
    *(q->last ? &q->last->offer[card].next : &q->first) = it;
    q->last = it;
}

void offer_unqueue(struct place *p, struct item *it, int card)
{
    struct offer *o = &it->offer[card];
    if (!o->queued)
        return;
    struct room_queue *q = queue_of(p, it, card);
    *(o->prev ? &o->prev->offer[card].next : &q->first) = o->next;
    *(o->next ? &o->next->offer[card].prev : &q->last) = o->prev;
    o->queued = false;
    o->prev = o->next = NULL;
}

/* The soonest moment at which the SA may be tried again, for reports. */
static void tell_retry(struct item *it)
{
    uint64_t at = PLACE_NEVER_AT;
    for (int c = 0; c < PLACE_CARDS; c++) {
        const struct offer *o = &it->offer[c];
        if ((o->wait == WAIT_ROOM || o->wait == WAIT_TIME) && o->at < at)
            at = o->at;
    }
    if (it->sa)
        it->sa->retry_at = at;
}

void offer_wait(struct place *p, struct item *it, int card, enum wait_kind kind, uint64_t at)
{
    struct offer *o = &it->offer[card];
    if (kind == WAIT_ROOM)
        offer_queue(p, it, card);
    else
        offer_unqueue(p, it, card);
    o->wait = kind;
    o->at = at;
    if (kind == WAIT_ROOM || kind == WAIT_TIME)
        place_due(p, at);
    tell_retry(it);
}

void offer_clear(struct place *p, struct item *it, int card)
{
    offer_wait(p, it, card, WAIT_NOT, PLACE_NEVER_AT);
    it->offer[card].tries = 0;
}
