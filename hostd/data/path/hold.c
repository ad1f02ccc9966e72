/* Packets that wait for an SA or for a neighbour, in one queue by age, and the acquires under way.
 * Bounded per flow and in all: the oldest goes. */
#include "hostd/data/path/path.h"

#include <stdlib.h>

enum { MAX_ASKED = 1024, BUCKETS = 1024 };
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
    uint64_t until;
    uint32_t chain;      /* of its bucket; also in the free list */
    uint32_t prev, next; /* by age, which is the order of until */
};

struct hold {
    struct pool pool;
    struct entry *e;
    unsigned n, max, per_flow;
    uint32_t free, oldest, newest;
    uint64_t serial, steps;
    uint64_t due; /* no deadline is before this */
    /* How many entries have their key, policy or flow in a bucket: where none has, the queue is not
     * walked, so what waits costs only those who wait. */
    uint32_t by_key[BUCKETS], by_policy[BUCKETS], by_flow[BUCKETS];
    struct asked asked[MAX_ASKED];
    uint32_t asked_by_key[BUCKETS];
    uint32_t asked_free, asked_oldest, asked_newest;
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
    h->oldest = h->newest = h->asked_oldest = h->asked_newest = NIL;
    for (uint32_t i = 0; i < MAX_ASKED; i++)
        h->asked[i].chain = i + 1 < MAX_ASKED ? i + 1 : NIL;
    for (uint32_t i = 0; i < BUCKETS; i++)
        h->asked_by_key[i] = NIL;
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

uint64_t hold_steps(const struct hold *h)
{
    return h->steps;
}

static uint32_t bucket(uint64_t v)
{
    return (uint32_t)(v * UINT64_C(0x9e3779b97f4a7c15) >> 54);
}
_Static_assert(BUCKETS == 1 << 10, "bucket() gives 10 bits");

static uint32_t policy_bucket(const struct hold_key *k)
{
    return bucket((uint64_t)k->neighbour << 32 | k->policy_id);
}

static uint32_t key_bucket(const struct hold_key *k)
{
    uint64_t w[2] = {0};
    memcpy(w, k->addr.b, ip_len(k->addr.family));
    uint64_t v = (w[0] ^ k->addr.family) * UINT64_C(0xff51afd7ed558ccd);
    v = (v ^ v >> 33 ^ w[1]) * UINT64_C(0xc4ceb9fe1a85ec53);
    return bucket(v ^ v >> 33 ^ ((uint64_t)k->neighbour << 32 | k->policy_id));
}

static void count(struct hold *h, const struct entry *e, uint32_t by)
{
    h->by_key[key_bucket(&e->key)] += by;
    h->by_policy[policy_bucket(&e->key)] += by;
    h->by_flow[bucket(e->flow)] += by;
}

bool hold_has(const struct hold *h, const struct hold_key *k)
{
    return k->addr.family ? h->by_key[key_bucket(k)] : h->by_policy[policy_bucket(k)];
}

static bool key_match(const struct hold_key *want, const struct hold_key *k)
{
    return want->neighbour == k->neighbour && want->policy_id == k->policy_id &&
           (want->addr.family == 0 || ip_eq(&want->addr, &k->addr));
}

static void entry_drop(struct hold *h, uint32_t i)
{
    struct entry *e = &h->e[i];
    count(h, e, UINT32_MAX); /* one less */
    *(e->prev == NIL ? &h->oldest : &h->e[e->prev].next) = e->next;
    *(e->next == NIL ? &h->newest : &h->e[e->next].prev) = e->prev;
    pool_drop(&h->pool, e->chunk);
    e->next = h->free;
    h->free = i;
    h->n--;
}

/* The oldest of a flow that has its fill, or NIL. */
static uint32_t flow_full(struct hold *h, uint64_t flow)
{
    uint32_t first = NIL;
    unsigned n = 0;
    if (h->by_flow[bucket(flow)] < h->per_flow)
        return NIL;
    for (uint32_t i = h->oldest; i != NIL; i = h->e[i].next) {
        h->steps++;
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
    h->due = h->n++ && h->due < e->deadline ? h->due : e->deadline;
    count(h, e, 1);
    return lost;
}

uint64_t hold_mark(const struct hold *h)
{
    return h->serial;
}

bool hold_take(struct hold *h, const struct hold_key *k, uint64_t mark, uint8_t *out, struct pkt *p)
{
    if (!hold_has(h, k))
        return false;
    for (uint32_t i = h->oldest; i != NIL; i = h->e[i].next) {
        struct entry *e = &h->e[i];
        h->steps++;
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
    if (!hold_has(h, k))
        return 0;
    for (uint32_t i = h->oldest, next; i != NIL; i = next) {
        next = h->e[i].next;
        if (!key_match(k, &h->e[i].key))
            continue;
        entry_drop(h, i);
        lost++;
    }
    return lost;
}

/* --- acquires under way --- */

static void asked_end(struct hold *h, uint32_t i)
{
    struct asked *a = &h->asked[i];
    uint32_t *at = &h->asked_by_key[key_bucket(&a->key)];
    while (*at != i)
        at = &h->asked[*at].chain;
    *at = a->chain;
    *(a->prev == NIL ? &h->asked_oldest : &h->asked[a->prev].next) = a->next;
    *(a->next == NIL ? &h->asked_newest : &h->asked[a->next].prev) = a->prev;
    a->chain = h->asked_free;
    h->asked_free = i;
}

static void asked_age(struct hold *h, uint64_t now)
{
    while (h->asked_oldest != NIL && h->asked[h->asked_oldest].until <= now)
        asked_end(h, h->asked_oldest);
}

/* Two times of holding, so the queue is not sorted by deadline: it is short. */
uint64_t hold_age(struct hold *h, uint64_t now, unsigned *lost)
{
    uint64_t soonest = UINT64_MAX;
    asked_age(h, now);
    if (!h->n || now < h->due)
        return h->n ? h->due : soonest;
    for (uint32_t i = h->oldest, next; i != NIL; i = next) {
        next = h->e[i].next;
        h->steps++;
        if (h->e[i].deadline <= now) {
            entry_drop(h, i);
            ++*lost;
        } else if (h->e[i].deadline < soonest) {
            soonest = h->e[i].deadline;
        }
    }
    h->due = soonest;
    return soonest;
}

static bool asked_already(struct hold *h, const struct hold_key *k)
{
    for (uint32_t i = h->asked_by_key[key_bucket(k)]; i != NIL; i = h->asked[i].chain) {
        h->steps++;
        if (key_match(&h->asked[i].key, k) && ip_eq(&h->asked[i].key.addr, &k->addr))
            return true;
    }
    return false;
}

bool hold_ask(struct hold *h, uint64_t now, const struct hold_key *k, bool *full)
{
    asked_age(h, now);
    *full = false;
    if (asked_already(h, k))
        return false;
    uint32_t i = h->asked_free, *head = &h->asked_by_key[key_bucket(k)];
    if (i == NIL) {
        *full = true;
        return false;
    }
    struct asked *a = &h->asked[i];
    h->asked_free = a->chain;
    *a = (struct asked){*k, now + ASK_AGAIN, *head, h->asked_newest, NIL};
    *head = i;
    *(a->prev == NIL ? &h->asked_oldest : &h->asked[a->prev].next) = i;
    h->asked_newest = i;
    return true;
}

void hold_answered(struct hold *h, const struct hold_key *k)
{
    for (uint32_t i = h->asked_oldest, next; i != NIL; i = next) {
        next = h->asked[i].next;
        if (key_match(k, &h->asked[i].key))
            asked_end(h, i);
    }
}
