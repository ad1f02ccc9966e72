/* Packets that wait for an SA or for a neighbour, in one queue by age, and the acquires under way.
 * Bounded per flow and in all: the oldest goes. */
#include "hostd/data/path/path.h"

#include <stdlib.h>

enum { MAX_ASKED = 1024 };
#define HOLD_TIME      (10 * SECOND) /* of a packet for an SA */
#define NEIGHBOUR_TIME (3 * SECOND)  /* of a packet for a neighbour */
#define ASK_AGAIN      (30 * SECOND) /* an acquire that nobody answered is asked anew after this */

struct entry {
    struct hold_key key;
    uint64_t flow, deadline, serial;
    uint32_t chunk, len;
    uint32_t prev, next; /* by age; next also in the free list */
    struct pkt meta;     /* what the frame itself does not say: the frag_ fields */
};

struct asked {
    struct hold_key key;
    uint64_t until; /* 0: free */
};

struct hold {
    struct pool pool;
    struct entry *e;
    unsigned n, max, per_flow;
    uint32_t free, oldest, newest;
    uint64_t serial;
    struct asked asked[MAX_ASKED];
    unsigned n_asked;
};

struct hold *hold_new(unsigned packets, unsigned per_flow)
{
    struct hold *h = calloc(1, sizeof *h);
    if (!h)
        return NULL;
    h->max = packets ? packets : 1;
    h->per_flow = per_flow ? per_flow : 1;
    h->e = calloc(h->max, sizeof *h->e);
    if (!h->e || pool_init(&h->pool, ((size_t)h->max + 64) * CHUNK)) {
        hold_free(h);
        return NULL;
    }
    for (uint32_t i = 0; i < h->max; i++)
        h->e[i].next = i + 1 < h->max ? i + 1 : NIL;
    h->oldest = h->newest = NIL;
    return h;
}

void hold_free(struct hold *h)
{
    if (!h)
        return;
    pool_done(&h->pool);
    free(h->e);
    free(h);
}

size_t hold_count(const struct hold *h)
{
    return h->n;
}

static bool key_match(const struct hold_key *want, const struct hold_key *k)
{
    return want->neighbour == k->neighbour && want->policy_id == k->policy_id &&
           (want->addr.family == 0 || ip_eq(&want->addr, &k->addr));
}

static void entry_drop(struct hold *h, uint32_t i)
{
    struct entry *e = &h->e[i];
    *(e->prev == NIL ? &h->oldest : &h->e[e->prev].next) = e->next;
    *(e->next == NIL ? &h->newest : &h->e[e->next].prev) = e->prev;
    pool_drop(&h->pool, e->chunk);
    e->next = h->free;
    h->free = i;
    h->n--;
}

/* The oldest of a flow that has its fill, or NIL. */
static uint32_t flow_full(const struct hold *h, uint64_t flow)
{
    uint32_t first = NIL;
    unsigned n = 0;
    for (uint32_t i = h->oldest; i != NIL; i = h->e[i].next) {
        if (h->e[i].flow != flow)
            continue;
        if (first == NIL)
            first = i;
        n++;
    }
    return n >= h->per_flow ? first : NIL;
}

unsigned hold_put(struct hold *h, uint64_t now, const struct hold_key *k, uint64_t flow,
                  const struct pkt *p)
{
    unsigned lost = 0;
    size_t len = pkt_frame_len(p);
    uint32_t full = flow_full(h, flow);
    if (full != NIL) {
        entry_drop(h, full);
        lost++;
    }
    while (h->n && (h->n == h->max || (size_t)h->pool.n_free * CHUNK < len)) {
        entry_drop(h, h->oldest);
        lost++;
    }
    uint32_t chunk = pool_keep(&h->pool, p->l2, len);
    if (chunk == NIL)
        return lost + 1;
    uint32_t i = h->free;
    struct entry *e = &h->e[i];
    h->free = e->next;
    *e = (struct entry){.key = *k, .flow = flow, .serial = h->serial++, .chunk = chunk};
    e->deadline = now + (k->neighbour ? NEIGHBOUR_TIME : HOLD_TIME);
    e->len = (uint32_t)len;
    e->meta.frag_max = p->frag_max;
    e->meta.frag_df = p->frag_df;
    e->meta.frag_id = p->frag_id;
    e->prev = h->newest;
    e->next = NIL;
    *(h->newest == NIL ? &h->oldest : &h->e[h->newest].next) = i;
    h->newest = i;
    h->n++;
    return lost;
}

uint64_t hold_mark(const struct hold *h)
{
    return h->serial;
}

bool hold_take(struct hold *h, const struct hold_key *k, uint64_t mark, uint8_t *out, struct pkt *p)
{
    for (uint32_t i = h->oldest; i != NIL; i = h->e[i].next) {
        struct entry *e = &h->e[i];
        if (e->serial >= mark)
            return false;
        if (!key_match(k, &e->key))
            continue;
        struct pkt meta = e->meta;
        size_t len = e->len;
        pool_read(&h->pool, e->chunk, out, len);
        entry_drop(h, i);
        if (!pkt_parse(p, out, len))
            return false; /* it was parsed before it was kept */
        p->frag_max = meta.frag_max;
        p->frag_df = meta.frag_df;
        p->frag_id = meta.frag_id;
        return true;
    }
    return false;
}

unsigned hold_drop(struct hold *h, const struct hold_key *k)
{
    unsigned lost = 0;
    for (uint32_t i = h->oldest, next; i != NIL; i = next) {
        next = h->e[i].next;
        if (!key_match(k, &h->e[i].key))
            continue;
        entry_drop(h, i);
        lost++;
    }
    return lost;
}

/* Two times of holding, so the queue is not sorted by deadline: it is short. */
uint64_t hold_age(struct hold *h, uint64_t now, unsigned *lost)
{
    uint64_t soonest = UINT64_MAX;
    for (uint32_t i = h->oldest, next; i != NIL; i = next) {
        next = h->e[i].next;
        if (h->e[i].deadline <= now) {
            entry_drop(h, i);
            ++*lost;
        } else if (h->e[i].deadline < soonest) {
            soonest = h->e[i].deadline;
        }
    }
    for (unsigned i = 0; h->n_asked && i < MAX_ASKED; i++) {
        if (h->asked[i].until && h->asked[i].until <= now) {
            h->asked[i].until = 0;
            h->n_asked--;
        }
    }
    return soonest;
}

bool hold_ask(struct hold *h, uint64_t now, const struct hold_key *k, bool *full)
{
    struct asked *spare = NULL;
    unsigned seen = 0;
    *full = false;
    for (unsigned i = 0; i < MAX_ASKED && (seen < h->n_asked || !spare); i++) {
        struct asked *a = &h->asked[i];
        seen += a->until != 0;
        if (a->until > now && key_match(&a->key, k) && ip_eq(&a->key.addr, &k->addr))
            return false;
        if (!spare && a->until <= now)
            spare = a;
    }
    if (!spare) {
        *full = true;
        return false;
    }
    if (!spare->until)
        h->n_asked++;
    spare->key = *k;
    spare->until = now + ASK_AGAIN;
    return true;
}

void hold_answered(struct hold *h, const struct hold_key *k)
{
    for (unsigned i = 0; h->n_asked && i < MAX_ASKED; i++) {
        if (h->asked[i].until && key_match(k, &h->asked[i].key)) {
            h->asked[i].until = 0;
            h->n_asked--;
        }
    }
}
