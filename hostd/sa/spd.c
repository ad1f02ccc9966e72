/* The security policy database. See spd.h and RFC 4301, 4.4.1. The look-up is a linear scan: it
 * runs once per flow (the packet path caches its answer), and nobody outside spd_match knows how.
 */
#include "hostd/sa/spd.h"

#include "hostd/base/bytes.h"
#include "hostd/sa/spd_index.h"

#include <errno.h>
#include <openssl/sha.h>
#include <stdlib.h>
#include <string.h>

/* One loaded list and the ways into it. */
struct shelf {
    struct spd_policy *list;
    uint64_t *content; /* of each: what its id and cookie are made from */
    unsigned n;
    struct spd_index by_id, by_name, by_content;
};

struct spd {
    struct shelf in_force;
    uint64_t generation;
};

static void shelf_free(struct shelf *h)
{
    free(h->list);
    free(h->content);
    spd_index_free(&h->by_id);
    spd_index_free(&h->by_name);
    spd_index_free(&h->by_content);
    *h = (struct shelf){0};
}

struct spd *spd_new(void)
{
    return calloc(1, sizeof(struct spd));
}

void spd_free(struct spd *s)
{
    if (!s)
        return;
    shelf_free(&s->in_force);
    free(s);
}

/* --- what a policy is: the octets that decide whether two are the same --- */

enum { CANON_MAX = 1024 };

static void put_addr(struct writer *w, const struct ip_addr *a)
{
    wr_u8(w, a->family);
    wr_bytes(w, a->b, ip_len(a->family));
}

static void put_life(struct writer *w, const struct sa_lifetime *l)
{
    wr_u64(w, l->time);
    wr_u64(w, l->bytes);
    wr_u64(w, l->packets);
}

static void put_selector(struct writer *w, const struct spd_selector *s)
{
    put_addr(w, &s->local.lo);
    put_addr(w, &s->local.hi);
    put_addr(w, &s->remote.lo);
    put_addr(w, &s->remote.hi);
    wr_u8(w, s->proto);
    wr_u16(w, s->local_port.lo);
    wr_u16(w, s->local_port.hi);
    wr_u16(w, s->remote_port.lo);
    wr_u16(w, s->remote_port.hi);
}

static void put_transform(struct writer *w, const struct spd_transform *t)
{
    const struct esp_suite *e = t->suite;
    wr_u16(w, e ? e->encr_id : 0);
    wr_u16(w, e ? e->integ_id : 0);
    wr_u8(w, e ? e->encr_len : 0);
    put_life(w, &t->soft);
    put_life(w, &t->hard);
}

/* Name and content; not where it stands, nor what was counted. */
static size_t canon(const struct spd_policy *p, uint8_t *buf)
{
    struct writer w = wr_into(buf, CANON_MAX);
    unsigned n = p->n_transforms < SPD_TRANSFORMS ? p->n_transforms : SPD_TRANSFORMS;
    size_t name = strnlen(p->name, SPD_NAME);
    wr_u8(&w, (uint8_t)name);
    wr_bytes(&w, p->name, name);
    wr_u8(&w, (uint8_t)p->action);
    put_selector(&w, &p->sel);
    wr_u8(&w, (uint8_t)p->mode);
    put_addr(&w, &p->tunnel_local);
    put_addr(&w, &p->tunnel_remote);
    wr_u8(&w, (uint8_t)p->encap);
    wr_u8(&w, p->esn);
    wr_u32(&w, p->window);
    wr_u8(&w, (uint8_t)n);
    for (unsigned i = 0; i < n; i++)
        put_transform(&w, &p->transforms[i]);
    return (size_t)(w.p - buf);
}

static bool same(const struct spd_policy *a, const struct spd_policy *b)
{
    uint8_t ca[CANON_MAX], cb[CANON_MAX];
    size_t na = canon(a, ca), nb = canon(b, cb);
    return na == nb && memcmp(ca, cb, na) == 0;
}

static uint64_t content_of(const struct spd_policy *p)
{
    uint8_t buf[CANON_MAX], sum[SHA256_DIGEST_LENGTH];
    SHA256(buf, canon(p, buf), sum);
    return get_be64(sum);
}

static uint64_t name_key(const char *name)
{
    uint64_t h = UINT64_C(0xcbf29ce484222325); /* FNV-1a */
    for (unsigned i = 0; i < SPD_NAME && name[i]; i++)
        h = (h ^ (uint8_t)name[i]) * UINT64_C(0x100000001b3);
    return h;
}

/* --- loading --- */

static struct spd_policy *find_id(struct shelf *h, uint32_t id)
{
    for (uint32_t *at = spd_index_chain(&h->by_id, id); *at; at = spd_index_next(&h->by_id, at))
        if (h->list[*at - 1].id == id)
            return &h->list[*at - 1];
    return NULL;
}

/* A copy of list, with its contents; the ids are not there yet. */
static int shelf_make(struct shelf *h, const struct spd_policy *list, unsigned n)
{
    *h = (struct shelf){.n = n};
    h->list = calloc(n ? n : 1, sizeof *h->list);
    h->content = calloc(n ? n : 1, sizeof *h->content);
    if (!h->list || !h->content || spd_index_new(&h->by_id, n) || spd_index_new(&h->by_name, n) ||
        spd_index_new(&h->by_content, n)) {
        shelf_free(h);
        return -ENOMEM;
    }
    if (n)
        memcpy(h->list, list, n * sizeof *h->list);
    for (unsigned i = n; i-- > 0;) { /* so that a chain has the first of equal ones first */
        struct spd_policy *p = &h->list[i];
        p->id = 0;
        p->hits[0] = p->hits[1] = 0;
        h->content[i] = content_of(p);
        spd_index_put(&h->by_content, h->content[i], i);
        spd_index_put(&h->by_name, name_key(p->name), i);
    }
    return 0;
}

/* Takes a policy that equals p out of those of the old list that are still there: its row + 1, or
 * 0. */
static uint32_t take_same(struct shelf *old, const struct spd_policy *p, uint64_t content)
{
    struct spd_index *x = &old->by_content;
    for (uint32_t *at = spd_index_chain(x, content); *at; at = spd_index_next(x, at)) {
        uint32_t row = *at;
        if (old->content[row - 1] != content || !same(&old->list[row - 1], p))
            continue;
        *at = *spd_index_next(x, at);
        return row;
    }
    return 0;
}

static void keep_ids(struct shelf *made, struct shelf *old, bool *taken)
{
    for (unsigned i = 0; i < made->n; i++) {
        struct spd_policy *p = &made->list[i];
        uint32_t row = take_same(old, p, made->content[i]);
        if (!row)
            continue;
        const struct spd_policy *was = &old->list[row - 1];
        taken[row - 1] = true;
        p->id = was->id;
        p->cookie = was->cookie;
        memcpy(p->hits, was->hits, sizeof p->hits);
        spd_index_put(&made->by_id, p->id, i);
    }
}

/* The id comes from the content: a restarted process gives the same ids to the same policies, so
 * SAs taken over from the store still know theirs. */
static void new_ids(struct shelf *made, struct shelf *old)
{
    for (unsigned i = 0; i < made->n; i++) {
        struct spd_policy *p = &made->list[i];
        if (p->id)
            continue;
        uint32_t id = (uint32_t)(made->content[i] >> 32);
        p->cookie = made->content[i];
        while (id == 0 || find_id(made, id) || find_id(old, id)) {
            id++;
            p->cookie++;
        }
        p->id = id;
        spd_index_put(&made->by_id, id, i);
    }
}

int spd_load(struct spd *s, const struct spd_policy *list, unsigned n, uint32_t *gone,
             unsigned *n_gone)
{
    struct shelf made, *old = &s->in_force;
    unsigned lost = 0;
    bool *taken = calloc(old->n ? old->n : 1, sizeof *taken);
    if (!taken || shelf_make(&made, list, n)) {
        free(taken);
        return -ENOMEM;
    }
    keep_ids(&made, old, taken);
    new_ids(&made, old);
    for (unsigned i = 0; i < old->n; i++)
        if (!taken[i]) {
            if (gone)
                gone[lost] = old->list[i].id;
            lost++;
        }
    if (n_gone)
        *n_gone = lost;
    free(taken);
    shelf_free(old);
    *old = made;
    s->generation++;
    return 0;
}

/* --- looking up --- */

unsigned spd_count(const struct spd *s)
{
    return s->in_force.n;
}

struct spd_policy *spd_at(struct spd *s, unsigned i)
{
    return i < s->in_force.n ? &s->in_force.list[i] : NULL;
}

struct spd_policy *spd_by_id(struct spd *s, uint32_t id)
{
    return find_id(&s->in_force, id);
}

struct spd_policy *spd_by_name(struct spd *s, const char *name)
{
    struct shelf *h = &s->in_force;
    uint32_t *at = spd_index_chain(&h->by_name, name_key(name));
    for (; *at; at = spd_index_next(&h->by_name, at))
        if (strncmp(h->list[*at - 1].name, name, SPD_NAME) == 0)
            return &h->list[*at - 1];
    return NULL;
}

static bool any_port(const struct spd_ports *p)
{
    return p->lo == 0 && p->hi == UINT16_MAX;
}

static bool ports_match(const struct spd_selector *sel, const struct spd_flow *f)
{
    if (any_port(&sel->local_port) && any_port(&sel->remote_port))
        return true;
    if (!f->has_ports)
        return false;
    return sel->local_port.lo <= f->lport && f->lport <= sel->local_port.hi &&
           sel->remote_port.lo <= f->rport && f->rport <= sel->remote_port.hi;
}

bool spd_selector_match(const struct spd_selector *sel, const struct spd_flow *f)
{
    return (sel->proto == IPP_ANY || sel->proto == f->proto) && ip_in(&sel->local, &f->local) &&
           ip_in(&sel->remote, &f->remote) && ports_match(sel, f);
}

struct spd_policy *spd_match(struct spd *s, const struct spd_flow *f)
{
    const struct shelf *h = &s->in_force;
    for (unsigned i = 0; i < h->n; i++)
        if (spd_selector_match(&h->list[i].sel, f))
            return &h->list[i];
    return NULL;
}

uint64_t spd_generation(const struct spd *s)
{
    return s->generation;
}

/* The type and code of ICMP stand in the local port whichever way the packet goes. */
void spd_flow_from(struct spd_flow *f, enum esp_dir dir, const struct ip_info *i)
{
    bool icmp = i->proto == IPP_ICMP || i->proto == IPP_ICMPV6;
    bool turn = dir == ESP_IN;
    memset(f, 0, sizeof *f);
    f->dir = dir;
    f->local = turn ? i->dst : i->src;
    f->remote = turn ? i->src : i->dst;
    f->proto = i->proto;
    f->has_ports = i->has_ports;
    f->lport = turn && !icmp ? i->dport : i->sport;
    f->rport = turn && !icmp ? i->sport : i->dport;
}

const char *spd_action_name(enum spd_action a)
{
    static const char *const names[] = {"discard", "pass", "protect"};
    return (unsigned)a < sizeof names / sizeof *names ? names[a] : "discard";
}
