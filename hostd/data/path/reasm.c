/* Reassembly, bounded and timed, of both families. Fragments lie in one pool of chunks; when it is
 * full the oldest datagram goes. A datagram is complete when its pieces cover it without a gap; any
 * overlap ends it (RFC 5722; for IPv4 too), an exact repeat is ignored. */
#include "hostd/data/path/path.h"

#include <stdlib.h>

enum { MAX_PIECES = 160, BUCKETS = 256 };
#define REASM_TIME (30 * SECOND)

struct key {
    struct reasm_space space;
    struct ip_addr src, dst;
    uint32_t id;
    uint8_t proto; /* IPv4 only: RFC 8200 leaves it out */
};

struct piece {
    uint32_t off, len; /* of the datagram's fragmentable part */
    uint32_t chunk;
    uint32_t next;
};

struct gram {
    struct key key;
    uint64_t deadline;
    uint32_t chain;         /* next in the bucket, or in the free list */
    uint32_t older, newer;  /* by age */
    uint32_t first;         /* pieces, by offset */
    uint32_t n, have, need; /* need 0: the last piece is not here yet */
    uint32_t head;          /* chunk of link and IP headers, from the piece at 0 */
    uint16_t head_len, l2_len;
    uint32_t max_len;
    uint8_t next_header;
    bool df;
};

struct reasm {
    struct pool pool;
    struct gram *gram;
    struct piece *piece;
    uint32_t n_gram, n_piece;
    uint32_t free_gram, free_piece;
    uint32_t bucket[BUCKETS];
    uint32_t oldest, newest;
    size_t kept;
    uint64_t seed;
};

/* One fragment, as both families show it. */
struct bit {
    struct key key;
    uint32_t off, len;
    bool more;
    const uint8_t *data;
    size_t hdr_len;      /* IP header octets before the fragment header or data */
    uint8_t next_header; /* IPv6: what the fragment header names */
};

struct reasm *reasm_new(size_t bytes, uint64_t seed)
{
    struct reasm *r = calloc(1, sizeof *r);
    if (!r || pool_init(&r->pool, bytes))
        goto fail;
    r->seed = seed;
    r->n_piece = r->pool.n;
    r->n_gram = r->pool.n / 2;
    r->gram = calloc(r->n_gram, sizeof *r->gram);
    r->piece = calloc(r->n_piece, sizeof *r->piece);
    if (!r->gram || !r->piece)
        goto fail;
    for (uint32_t i = 0; i < r->n_gram; i++)
        r->gram[i].chain = i + 1 < r->n_gram ? i + 1 : NIL;
    for (uint32_t i = 0; i < r->n_piece; i++)
        r->piece[i].next = i + 1 < r->n_piece ? i + 1 : NIL;
    for (unsigned i = 0; i < BUCKETS; i++)
        r->bucket[i] = NIL;
    r->oldest = r->newest = NIL;
    return r;
fail:
    reasm_free(r);
    return NULL;
}

void reasm_free(struct reasm *r)
{
    if (!r)
        return;
    pool_done(&r->pool);
    free(r->gram);
    free(r->piece);
    free(r);
}

size_t reasm_count(const struct reasm *r)
{
    return r->kept;
}

/* Where the fragment header of an IPv6 packet stands; 0 for none. The chain was parsed before. */
static size_t v6_frag_at(const uint8_t *ip, size_t total, size_t *nh)
{
    size_t at = 40;
    *nh = 6;
    for (int depth = 0; depth < 9 && ip[*nh] != IPP_FRAGMENT; depth++) {
        if (total - at < 8)
            return 0;
        *nh = at;
        at += ((size_t)ip[at + 1] + 1) * 8;
        if (at > total)
            return 0;
    }
    return ip[*nh] == IPP_FRAGMENT && total - at >= 8 ? at : 0;
}

static bool read_bit(struct bit *b, struct reasm_space space, const struct pkt *p)
{
    const struct ip_info *i = &p->i;
    memset(b, 0, sizeof *b);
    b->key.space = space;
    b->key.src = i->src;
    b->key.dst = i->dst;
    b->key.id = i->frag_id;
    b->off = i->frag_off;
    b->more = i->frag_more;
    size_t start;
    if (i->version == 4) {
        b->key.proto = i->proto;
        start = b->hdr_len = i->unfrag_len;
    } else {
        size_t nh;
        b->hdr_len = v6_frag_at(p->ip, i->total, &nh);
        if (!b->hdr_len)
            return false;
        start = b->hdr_len + 8;
        b->next_header = p->ip[b->hdr_len];
    }
    b->data = p->ip + start;
    b->len = (uint32_t)(i->total - start);
    /* Every piece but the last is a multiple of 8; the whole fits into the length field. */
    size_t most = i->version == 4 ? IP_MAX : IP_MAX + 40;
    return b->len && (!b->more || b->len % 8 == 0) && b->hdr_len + b->off + b->len <= most;
}

static bool key_eq(const struct key *a, const struct key *b)
{
    return a->id == b->id && a->proto == b->proto && a->space.cookie == b->space.cookie &&
           a->space.dir == b->space.dir && ip_eq(&a->src, &b->src) && ip_eq(&a->dst, &b->dst);
}

static unsigned key_bucket(const struct reasm *r, const struct key *k)
{
    uint64_t h = r->seed ^ k->id ^ (uint64_t)k->proto << 32 ^ k->space.cookie;
    for (int i = 0; i < 16; i += 4) {
        h = (h ^ get_be32(k->src.b + i)) * UINT64_C(0x9e3779b97f4a7c15);
        h = (h ^ get_be32(k->dst.b + i) ^ h >> 29) * UINT64_C(0xbf58476d1ce4e5b9);
    }
    return (unsigned)(h >> 40) % BUCKETS;
}

static void gram_drop(struct reasm *r, uint32_t gi)
{
    struct gram *g = &r->gram[gi];
    uint32_t *at = &r->bucket[key_bucket(r, &g->key)];
    while (*at != gi)
        at = &r->gram[*at].chain;
    *at = g->chain;
    *(g->older == NIL ? &r->oldest : &r->gram[g->older].newer) = g->newer;
    *(g->newer == NIL ? &r->newest : &r->gram[g->newer].older) = g->older;
    for (uint32_t i = g->first; i != NIL;) {
        uint32_t next = r->piece[i].next;
        pool_drop(&r->pool, r->piece[i].chunk);
        r->piece[i].next = r->free_piece;
        r->free_piece = i;
        i = next;
    }
    pool_drop(&r->pool, g->head);
    r->kept -= g->n;
    g->chain = r->free_gram;
    r->free_gram = gi;
}

static void drop_oldest(struct reasm *r, uint64_t *lost)
{
    *lost += r->gram[r->oldest].n;
    gram_drop(r, r->oldest);
}

static uint32_t gram_find(const struct reasm *r, const struct key *k)
{
    uint32_t i = r->bucket[key_bucket(r, k)];
    while (i != NIL && !key_eq(&r->gram[i].key, k))
        i = r->gram[i].chain;
    return i;
}

static uint32_t gram_new(struct reasm *r, uint64_t now, const struct key *k, uint64_t *lost)
{
    if (r->free_gram == NIL)
        drop_oldest(r, lost);
    uint32_t gi = r->free_gram, *at = &r->bucket[key_bucket(r, k)];
    struct gram *g = &r->gram[gi];
    r->free_gram = g->chain;
    *g = (struct gram){.key = *k, .deadline = now + REASM_TIME, .chain = *at, .older = r->newest};
    g->newer = g->first = g->head = NIL;
    *at = gi;
    *(r->newest == NIL ? &r->oldest : &r->gram[r->newest].newer) = gi;
    r->newest = gi;
    return gi;
}

/* Where the piece goes: 1 ok (*at), 0 an exact repeat, -1 an overlap or beyond the end. */
static int place_bit(struct reasm *r, struct gram *g, const struct bit *b, uint32_t **at)
{
    uint32_t end = b->off + b->len;
    if (g->need && (end > g->need || (!b->more && end != g->need)))
        return -1;
    *at = &g->first;
    while (**at != NIL) {
        struct piece *q = &r->piece[**at];
        if (q->off == b->off && q->len == b->len)
            return 0;
        if (q->off >= end)
            break;
        if (q->off + q->len > b->off)
            return -1;
        *at = &q->next;
    }
    return !b->more && **at != NIL ? -1 : 1;
}

/* Room for a piece: the oldest datagrams go for it, never gi itself. */
static bool make_room(struct reasm *r, uint32_t gi, size_t octets, uint64_t *lost)
{
    size_t chunks = (octets + CHUNK - 1) / CHUNK + 2;
    while (r->pool.n_free < chunks || r->free_piece == NIL) {
        if (r->oldest == gi)
            return false;
        drop_oldest(r, lost);
    }
    return true;
}

static bool keep_bit(struct reasm *r, struct gram *g, const struct pkt *p, const struct bit *b,
                     uint32_t *at)
{
    if (b->off == 0) {
        g->head_len = (uint16_t)(p->l2_len + b->hdr_len);
        g->l2_len = (uint16_t)p->l2_len;
        g->next_header = b->next_header;
        g->head = pool_keep(&r->pool, p->l2, g->head_len);
        if (g->head == NIL)
            return false;
    }
    uint32_t chunk = pool_keep(&r->pool, b->data, b->len), i = r->free_piece;
    if (chunk == NIL)
        return false;
    struct piece *q = &r->piece[i];
    r->free_piece = q->next;
    *q = (struct piece){.off = b->off, .len = b->len, .chunk = chunk, .next = *at};
    *at = i;
    g->n++;
    g->have += b->len;
    if (!b->more)
        g->need = b->off + b->len;
    if (p->i.total > g->max_len)
        g->max_len = (uint32_t)p->i.total;
    g->df |= p->i.version == 4 && p->i.df;
    r->kept++;
    return true;
}

/* The header of the whole: as if it had never been cut. */
static void whole_header(const struct gram *g, uint8_t *ip, size_t total)
{
    if (g->key.src.family == 4) {
        put_be16(ip + 2, (uint16_t)total);
        put_be16(ip + 6, 0);
        ip4_fix_checksum(ip, (size_t)(g->head_len - g->l2_len));
        return;
    }
    size_t at = 40, nh = 6;
    while (at < (size_t)(g->head_len - g->l2_len)) {
        nh = at;
        at += ((size_t)ip[at + 1] + 1) * 8;
    }
    ip[nh] = g->next_header;
    put_be16(ip + 4, (uint16_t)(total - 40));
}

static bool build(struct reasm *r, const struct gram *g, uint8_t *out, struct pkt *whole)
{
    size_t len = (size_t)g->head_len + g->need;
    if (len > FRAME_BUF || len - g->l2_len > IP_MAX + (g->key.src.family == 6 ? 40u : 0u))
        return false;
    pool_read(&r->pool, g->head, out, g->head_len);
    for (uint32_t i = g->first; i != NIL; i = r->piece[i].next)
        pool_read(&r->pool, r->piece[i].chunk, out + g->head_len + r->piece[i].off,
                  r->piece[i].len);
    whole_header(g, out + g->l2_len, len - g->l2_len);
    if (!pkt_parse(whole, out, len))
        return false;
    whole->frag_max = g->max_len;
    whole->frag_df = g->df;
    whole->frag_id = g->key.id;
    return whole->i.frag == IP_WHOLE;
}

enum reasm_verdict reasm_add(struct reasm *r, uint64_t now, struct reasm_space space,
                             const struct pkt *frag, uint8_t *out, struct pkt *whole,
                             uint64_t *lost)
{
    struct bit b;
    uint32_t *at;
    if (!read_bit(&b, space, frag)) {
        ++*lost;
        return REASM_DROPPED;
    }
    uint32_t gi = gram_find(r, &b.key);
    if (gi == NIL)
        gi = gram_new(r, now, &b.key, lost);
    struct gram *g = &r->gram[gi];
    bool room = make_room(r, gi, frag->l2_len + b.hdr_len + b.len, lost);
    int fits = place_bit(r, g, &b, &at);
    if (fits == 0)
        return REASM_KEPT;
    if (fits < 0 || !room || g->n == MAX_PIECES || !keep_bit(r, g, frag, &b, at)) {
        *lost += g->n + 1;
        gram_drop(r, gi);
        return REASM_DROPPED;
    }
    if (!g->need || g->have != g->need || g->head == NIL)
        return REASM_KEPT;
    bool ok = build(r, g, out, whole);
    if (!ok)
        *lost += g->n;
    gram_drop(r, gi);
    return ok ? REASM_WHOLE : REASM_DROPPED;
}

uint64_t reasm_age(struct reasm *r, uint64_t now, uint64_t *lost)
{
    while (r->oldest != NIL && r->gram[r->oldest].deadline <= now)
        drop_oldest(r, lost);
    return r->oldest == NIL ? UINT64_MAX : r->gram[r->oldest].deadline;
}
