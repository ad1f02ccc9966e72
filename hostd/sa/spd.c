/* The security policy database. See spd.h and RFC 4301, 4.4.1. The look-up is a linear scan: it
 * runs once per flow (the packet path caches its answer), and nobody outside spd_match knows how.
 */
#include "hostd/sa/spd.h"

#include "hostd/base/bytes.h"

#include <errno.h>
#include <openssl/sha.h>
#include <stdlib.h>
#include <string.h>

struct spd {
    struct spd_policy *list;
    unsigned n;
    uint64_t generation;
};

struct spd *spd_new(void)
{
    return calloc(1, sizeof(struct spd));
}

void spd_free(struct spd *s)
{
    if (!s)
        return;
    free(s->list);
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

/* The id comes from the content: a restarted process gives the same ids to the same policies, so
 * SAs taken over from the store still know theirs. */
static void identify(struct spd_policy *p)
{
    uint8_t buf[CANON_MAX], sum[SHA256_DIGEST_LENGTH];
    size_t n = canon(p, buf);
    SHA256(buf, n, sum);
    p->cookie = get_be64(sum);
    p->id = get_be32(sum);
}

static bool id_taken(const struct spd_policy *list, unsigned n, uint32_t id)
{
    for (unsigned i = 0; i < n; i++)
        if (list[i].id == id)
            return true;
    return id == 0;
}

/* --- loading --- */

/* The policy in force that equals p and that no other of the new list has taken yet; the same place
 * in the order is looked at first, since most reloads change little. */
static struct spd_policy *find_same(struct spd *s, const bool *taken, const struct spd_policy *p,
                                    unsigned hint)
{
    for (unsigned k = 0; k < s->n; k++) {
        unsigned i = (k + hint) % s->n;
        if (!taken[i] && strncmp(s->list[i].name, p->name, SPD_NAME) == 0 && same(&s->list[i], p))
            return &s->list[i];
    }
    return NULL;
}

static void take_one(struct spd *s, bool *taken, struct spd_policy *made, unsigned i)
{
    struct spd_policy *p = &made[i];
    const struct spd_policy *old = find_same(s, taken, p, i);
    p->hits[0] = p->hits[1] = 0;
    if (old) {
        taken[old - s->list] = true;
        p->id = old->id;
        p->cookie = old->cookie;
        memcpy(p->hits, old->hits, sizeof p->hits);
        return;
    }
    p->id = 0;
}

static void new_ids(struct spd *s, struct spd_policy *made, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        if (made[i].id)
            continue;
        identify(&made[i]);
        uint32_t id = made[i].id;
        made[i].id = 0;
        while (id_taken(made, n, id) || id_taken(s->list, s->n, id)) {
            id++;
            made[i].cookie++;
        }
        made[i].id = id;
    }
}

int spd_load(struct spd *s, const struct spd_policy *list, unsigned n, uint32_t *gone,
             unsigned *n_gone)
{
    struct spd_policy *made = calloc(n ? n : 1, sizeof *made);
    bool *taken = calloc(s->n ? s->n : 1, sizeof *taken);
    unsigned lost = 0;
    if (!made || !taken) {
        free(made);
        free(taken);
        return -ENOMEM;
    }
    if (n)
        memcpy(made, list, n * sizeof *made);
    for (unsigned i = 0; i < n; i++)
        take_one(s, taken, made, i);
    new_ids(s, made, n);
    for (unsigned i = 0; i < s->n; i++)
        if (!taken[i]) {
            if (gone)
                gone[lost] = s->list[i].id;
            lost++;
        }
    if (n_gone)
        *n_gone = lost;
    free(taken);
    free(s->list);
    s->list = made;
    s->n = n;
    s->generation++;
    return 0;
}

/* --- looking up --- */

unsigned spd_count(const struct spd *s)
{
    return s->n;
}

struct spd_policy *spd_at(struct spd *s, unsigned i)
{
    return i < s->n ? &s->list[i] : NULL;
}

struct spd_policy *spd_by_id(struct spd *s, uint32_t id)
{
    for (unsigned i = 0; i < s->n; i++)
        if (s->list[i].id == id)
            return &s->list[i];
    return NULL;
}

struct spd_policy *spd_by_name(struct spd *s, const char *name)
{
    for (unsigned i = 0; i < s->n; i++)
        if (strncmp(s->list[i].name, name, SPD_NAME) == 0)
            return &s->list[i];
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
    for (unsigned i = 0; i < s->n; i++)
        if (spd_selector_match(&s->list[i].sel, f))
            return &s->list[i];
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
