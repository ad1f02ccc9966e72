/* The memory that outlives the data process. See store.h and store_internal.h. */
#include "hostd/sa/store.h"

#include "hostd/sa/store_internal.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/sha.h>
#include <stdlib.h>
#include <string.h>

static int checksum(const void *data, size_t len, uint8_t *out)
{
    uint8_t full[SHA256_DIGEST_LENGTH];
    if (!SHA256(data, len, full))
        return -ENOMEM;
    memcpy(out, full, STORE_SUM);
    return 0;
}

static bool checks(const void *data, size_t len, const uint8_t *sum)
{
    uint8_t is[STORE_SUM];
    return checksum(data, len, is) == 0 && CRYPTO_memcmp(is, sum, STORE_SUM) == 0;
}

/* --- the whole store --- */

static bool header_fits(const struct store_header *h, unsigned room)
{
    return h->magic == STORE_MAGIC && h->version == STORE_VERSION &&
           h->record_size == STORE_RECORD && h->records == room && h->next_cookie >= 1 &&
           h->next_cookie < STORE_COOKIE_MAX;
}

/* The magic goes last: a process killed here leaves no store, not half of one. */
static void wipe_all(struct sa_store *s)
{
    OPENSSL_cleanse(s->header, STORE_RECORD);
    for (unsigned i = 0; i < s->room; i++)
        OPENSSL_cleanse(&s->records[i], STORE_RECORD);
    s->header->version = STORE_VERSION;
    s->header->record_size = STORE_RECORD;
    s->header->records = s->room;
    s->header->next_cookie = 1;
    __atomic_store_n(&s->header->magic, STORE_MAGIC, __ATOMIC_RELEASE);
}

/* Records that are not live are wiped: a process may have been killed while it filled one. */
static void count_records(struct sa_store *s)
{
    for (unsigned i = s->room; i-- > 0;) {
        if (store_live(s, i)) {
            s->used++;
            continue;
        }
        OPENSSL_cleanse(&s->records[i], STORE_RECORD);
        s->free_list[s->n_free++] = i;
    }
}

int sa_store_open(struct sa_store **out, void *mem, size_t len, int adopt)
{
    size_t records = len / STORE_RECORD;
    if (!mem || (uintptr_t)mem % 64 || records < 2 || records - 1 > UINT32_MAX / 2)
        return -EINVAL;
    unsigned room = (unsigned)(records - 1);
    if (adopt && !header_fits(mem, room))
        return -EBADMSG;
    struct sa_store *s = calloc(1, sizeof *s);
    if (!s)
        return -ENOMEM;
    s->free_list = calloc(room, sizeof *s->free_list);
    if (!s->free_list) {
        free(s);
        return -ENOMEM;
    }
    s->header = mem;
    s->records = (struct sa_record *)mem + 1;
    s->room = room;
    if (!adopt)
        wipe_all(s);
    count_records(s);
    *out = s;
    return 0;
}

void sa_store_close(struct sa_store *s)
{
    if (!s)
        return;
    free(s->free_list);
    free(s);
}

unsigned sa_store_room(const struct sa_store *s)
{
    return s->room;
}

unsigned sa_store_used(const struct sa_store *s)
{
    return s->used;
}

bool store_live(const struct sa_store *s, unsigned i)
{
    return s->records[i].state == STORE_LIVE;
}

int store_take(struct sa_store *s)
{
    if (s->n_free == 0)
        return -ENOSPC;
    s->used++;
    return (int)s->free_list[--s->n_free];
}

void store_drop(struct sa_store *s, unsigned i)
{
    struct sa_record *r = &s->records[i];
    __atomic_store_n(&r->state, STORE_FREE, __ATOMIC_RELEASE);
    OPENSSL_cleanse(r, sizeof *r);
    s->free_list[s->n_free++] = i;
    s->used--;
}

uint64_t store_next_cookie(struct sa_store *s)
{
    uint64_t c = s->header->next_cookie;
    __atomic_store_n(&s->header->next_cookie, c + 1, __ATOMIC_RELEASE);
    return c;
}

/* --- one record, written --- */

static void put_life(uint64_t *out, const struct sa_lifetime *l)
{
    out[0] = l->time;
    out[1] = l->bytes;
    out[2] = l->packets;
}

static struct sa_lifetime get_life(const uint64_t *in)
{
    return (struct sa_lifetime){.time = in[0], .bytes = in[1], .packets = in[2]};
}

static void put_fixed(struct store_fixed *f, unsigned i, const struct sa *sa,
                      const struct esp_keys *keys)
{
    const struct sa_spec *s = &sa->spec;
    f->cookie = sa->cookie;
    f->created = sa->created;
    put_life(f->soft, &s->soft);
    put_life(f->hard, &s->hard);
    f->slot = i;
    f->spi = s->spi;
    f->policy_id = s->policy_id;
    f->window = s->window;
    f->encr_id = s->suite->encr_id;
    f->integ_id = s->suite->integ_id;
    f->encr_len = s->suite->encr_len;
    f->dir = (uint8_t)s->dir;
    f->mode = (uint8_t)s->mode;
    f->encap = (uint8_t)s->encap;
    f->esn = s->esn;
    f->dscp = (uint8_t)s->rules.dscp;
    f->df = (uint8_t)s->rules.df;
    f->flow_label = (uint8_t)s->rules.flow_label;
    f->dscp_value = s->rules.dscp_value;
    f->ttl = s->rules.ttl;
    f->flow_value = s->rules.flow_value;
    f->keys = *keys;
}

static size_t endpoint_len(void)
{
    return offsetof(struct store_endpoint, sum);
}

static bool endpoint_whole(const struct store_endpoint *e)
{
    return checks(e, endpoint_len(), e->sum);
}

/* The copy not in force is overwritten, so a kill in between leaves the old endpoint. */
int store_move(struct sa_record *r, const struct sa_spec *spec)
{
    unsigned old = r->end[1].generation > r->end[0].generation;
    struct store_endpoint e = {.generation = r->end[old].generation + 1,
                               .src = spec->src,
                               .dst = spec->dst,
                               .udp_sport = spec->udp_sport,
                               .udp_dport = spec->udp_dport};
    int rc = checksum(&e, endpoint_len(), e.sum);
    if (rc == 0)
        r->end[!old] = e;
    return rc;
}

int store_publish(struct sa_store *s, unsigned i, const struct sa *sa, const struct esp_keys *keys)
{
    struct sa_record *r = &s->records[i];
    r->reserved_guard = ~UINT64_C(0);
    r->top_guard = ~UINT64_C(0);
    put_fixed(&r->fixed, i, sa, keys);
    int rc = store_move(r, &sa->spec);
    if (rc == 0)
        rc = checksum(&r->fixed, sizeof r->fixed, r->sum);
    if (rc == 0)
        __atomic_store_n(&r->state, STORE_LIVE, __ATOMIC_RELEASE);
    return rc;
}

/* --- one record, read as hostile input --- */

static void get_fixed(const struct store_fixed *f, struct sa_spec *s)
{
    memset(s, 0, sizeof *s);
    s->dir = f->dir;
    s->policy_id = f->policy_id;
    s->spi = f->spi;
    s->mode = f->mode;
    s->encap = f->encap;
    s->suite = esp_suite_by_id(f->encr_id, f->integ_id, f->encr_len);
    s->keys = f->keys;
    s->esn = f->esn;
    s->window = f->window;
    s->rules = (struct esp_header_rules){.dscp = f->dscp,
                                         .df = f->df,
                                         .flow_label = f->flow_label,
                                         .dscp_value = f->dscp_value,
                                         .ttl = f->ttl,
                                         .flow_value = f->flow_value};
    s->soft = get_life(f->soft);
    s->hard = get_life(f->hard);
}

static const struct store_endpoint *endpoint_in_force(const struct sa_record *r)
{
    bool a = endpoint_whole(&r->end[0]) && r->end[0].generation;
    bool b = endpoint_whole(&r->end[1]) && r->end[1].generation;
    if (a && b)
        return &r->end[r->end[1].generation > r->end[0].generation];
    return a ? &r->end[0] : b ? &r->end[1] : NULL;
}

static int read_endpoint(struct sa_record *r, struct sa_spec *s)
{
    const struct store_endpoint *e = endpoint_in_force(r);
    if (!e)
        return -EBADMSG;
    s->src = e->src;
    s->dst = e->dst;
    s->udp_sport = e->udp_sport;
    s->udp_dport = e->udp_dport;
    struct store_endpoint *other = &r->end[e == &r->end[0]];
    memset(other, 0, sizeof *other); /* so that the next move finds the right generation */
    return 0;
}

/* A block's end, its complement one block behind at most: a process may die between the two stores.
 * Anything else could hide a number that was used. */
static int read_reserved(struct sa_record *r, uint64_t limit, uint64_t *next)
{
    uint64_t a = r->reserved, b = ~r->reserved_guard;
    if (a > limit || (a % STORE_BLOCK && a != limit))
        return -EBADMSG;
    if (a != b && (b > a || b % STORE_BLOCK || a - b > STORE_BLOCK))
        return -EBADMSG;
    r->reserved_guard = ~a;
    *next = a + 1; /* 0 after 2^64-1: exhausted */
    return 0;
}

static bool bitmap_empty(const uint64_t *m, unsigned from)
{
    for (unsigned i = from; i < WIN_MAX_BITS / 64; i++)
        if (m[i])
            return false;
    return true;
}

/* See advance() in window.c for what a kill leaves. */
static int read_window(struct sa_record *r, uint32_t bits, uint64_t limit)
{
    uint64_t top = r->top, guard = ~r->top_guard;
    if (top < guard || top > limit)
        return -EBADMSG;
    top = guard;
    if (!bitmap_empty(r->bitmap, bits < 64 && bits ? 1 : bits / 64))
        return -EBADMSG;
    if (bits && bits < 64 && r->bitmap[0] >> bits)
        return -EBADMSG;
    if (top == 0 && !bitmap_empty(r->bitmap, 0))
        return -EBADMSG;
    r->top = top;
    if (bits && top) /* killed before the packet was delivered: it counts as seen */
        r->bitmap[(top & (bits - 1)) / 64] |= UINT64_C(1) << ((top & (bits - 1)) % 64);
    return 0;
}

static int read_moving(struct sa_record *r, const struct sa_spec *s, uint64_t *next)
{
    uint64_t limit = sa_number_limit(s);
    if (s->dir == ESP_OUT) {
        if (r->top || ~r->top_guard || !bitmap_empty(r->bitmap, 0))
            return -EBADMSG;
        return read_reserved(r, limit, next);
    }
    *next = 1;
    if (r->reserved || ~r->reserved_guard)
        return -EBADMSG;
    return read_window(r, s->window, limit);
}

int store_read(struct sa_store *s, unsigned i, uint64_t now, struct store_image *out)
{
    struct sa_record *r = &s->records[i];
    const struct store_fixed *f = &r->fixed;
    memset(out, 0, sizeof *out);
    if (!checks(f, sizeof *f, r->sum) || f->slot != i || f->esn > 1 || f->created > now ||
        f->cookie == 0 || f->cookie >= s->header->next_cookie)
        return -EBADMSG;
    get_fixed(f, &out->spec);
    out->cookie = f->cookie;
    out->created = f->created;
    int rc = read_endpoint(r, &out->spec);
    if (rc == 0 && sa_spec_check(&out->spec))
        rc = -EBADMSG;
    if (rc == 0)
        rc = read_moving(r, &out->spec, &out->next);
    if (rc)
        OPENSSL_cleanse(out, sizeof *out);
    return rc;
}
