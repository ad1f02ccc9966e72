/* Recent decisions. Two ways a bucket; everything goes when the policies change, so that a row's
 * policy is always one in force. */
#include "hostd/data/path/path.h"

#include <stdlib.h>

enum { ROWS = 8192, SETS = ROWS / 2 };

struct row {
    struct spd_flow flow;
    struct spd_policy *policy;
    uint64_t hits;
};

struct flow_cache {
    uint64_t seed, generation;
    unsigned n;
    uint16_t way[SETS][2]; /* row + 1; the first was used last */
    struct row row[ROWS];
};

struct flow_cache *flow_cache_new(uint64_t seed)
{
    struct flow_cache *c = calloc(1, sizeof *c);
    if (c) {
        c->seed = seed;
        c->generation = UINT64_MAX;
    }
    return c;
}

void flow_cache_free(struct flow_cache *c)
{
    free(c);
}

static uint64_t mix(uint64_t h, uint64_t v)
{
    h = (h ^ v) * UINT64_C(0x9e3779b97f4a7c15);
    return h ^ h >> 29;
}

uint64_t flow_hash(const struct spd_flow *f, uint64_t seed)
{
    uint64_t h = mix(seed, (uint64_t)f->dir << 48 | (uint64_t)f->proto << 40 |
                               (uint64_t)f->has_ports << 32 | (uint32_t)f->lport << 16 | f->rport);
    h = mix(h, get_be64(f->local.b));
    h = mix(h, get_be64(f->remote.b));
    if (f->local.family == 6) {
        h = mix(h, get_be64(f->local.b + 8));
        h = mix(h, get_be64(f->remote.b + 8));
    }
    return h;
}

static bool flow_eq(const struct spd_flow *a, const struct spd_flow *b)
{
    return a->dir == b->dir && a->proto == b->proto && a->has_ports == b->has_ports &&
           a->lport == b->lport && a->rport == b->rport && ip_eq(&a->local, &b->local) &&
           ip_eq(&a->remote, &b->remote);
}

static struct row *find(struct flow_cache *c, uint16_t *way, const struct spd_flow *f)
{
    for (int i = 0; i < 2; i++) {
        uint16_t at = way[i];
        if (!at || !flow_eq(&c->row[at - 1].flow, f))
            continue;
        if (i) {
            way[1] = way[0];
            way[0] = at;
        }
        return &c->row[at - 1];
    }
    return NULL;
}

struct spd_policy *flow_cache_match(struct flow_cache *c, struct spd *spd, const struct spd_flow *f,
                                    bool *hit)
{
    uint64_t generation = spd_generation(spd);
    if (c->generation != generation) {
        memset(c->way, 0, sizeof c->way);
        c->n = 0;
        c->generation = generation;
    }
    uint16_t *way = c->way[(flow_hash(f, c->seed) >> 40) % SETS];
    struct row *r = find(c, way, f);
    *hit = r != NULL;
    if (r) {
        r->hits++;
        return r->policy;
    }
    uint16_t at = way[1] ? way[1] : (uint16_t)++c->n;
    way[1] = way[0];
    way[0] = at;
    c->row[at - 1] = (struct row){.flow = *f, .policy = spd_match(spd, f)};
    return c->row[at - 1].policy;
}

bool flow_cache_at(const struct flow_cache *c, const struct spd *spd, unsigned i,
                   struct dp_cache_row *out)
{
    if (i >= c->n || c->generation != spd_generation(spd))
        return false;
    const struct row *r = &c->row[i];
    *out = (struct dp_cache_row){.flow = r->flow, .hits = r->hits, .action = SPD_DISCARD};
    if (r->policy) {
        out->policy_id = r->policy->id;
        out->policy_cookie = r->policy->cookie;
        out->action = r->policy->action;
    }
    return true;
}
