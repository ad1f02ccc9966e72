#include <errno.h>
#include <openssl/crypto.h>
#include <stdlib.h>

#include "hwsim/model/random.h"
#include "hwsim/model/sa_table.h"

static uint32_t mix(uint64_t x)
{
    x ^= x >> 33;
    x *= 0xff51afd7ed558ccdu;
    x ^= x >> 33;
    return (uint32_t)x;
}

static void free_push(struct hw_sa_table *t, struct hw_sa_pool *p, uint32_t i)
{
    t->slots[i].prev_free = HW_NO_SLOT;
    t->slots[i].next_free = p->free_head;
    if (p->free_head != HW_NO_SLOT)
        t->slots[p->free_head].prev_free = i;
    p->free_head = i;
    p->free++;
}

static void free_remove(struct hw_sa_table *t, struct hw_sa_pool *p, uint32_t i)
{
    struct hw_sa *sa = &t->slots[i];

    if (sa->prev_free != HW_NO_SLOT)
        t->slots[sa->prev_free].next_free = sa->next_free;
    else
        p->free_head = sa->next_free;
    if (sa->next_free != HW_NO_SLOT)
        t->slots[sa->next_free].prev_free = sa->prev_free;
    p->free--;
}

static void pool_init(struct hw_sa_table *t, struct hw_sa_pool *p, uint32_t first, uint32_t size)
{
    uint32_t i;

    p->first = first;
    p->size = size;
    p->free_head = HW_NO_SLOT;
    for (i = size; i-- > 0;)
        free_push(t, p, first + i);
}

int hw_sa_table_init(struct hw_sa_table *t, const struct hw_shape *s, uint64_t *random)
{
    uint32_t buckets = 16, i;

    memset(t, 0, sizeof(*t));
    t->shared = s->shared_pool;
    t->lookup_dst = s->lookup_dst;
    t->n = s->out_max + (s->shared_pool ? 0 : s->in_max);
    while (buckets < t->n)
        buckets *= 2;
    t->hash_mask = buckets - 1;
    t->slots = calloc(t->n ? t->n : 1, sizeof(*t->slots));
    t->by_spi = malloc(buckets * sizeof(*t->by_spi));
    t->by_cookie = malloc(buckets * sizeof(*t->by_cookie));
    if (!t->slots || !t->by_spi || !t->by_cookie) {
        hw_sa_table_free(t);
        return -ENOMEM;
    }
    memset(t->by_spi, 0xff, buckets * sizeof(*t->by_spi));
    memset(t->by_cookie, 0xff, buckets * sizeof(*t->by_cookie));
    for (i = 0; i < 4; i++)
        hw_put64(t->secret + (size_t)8 * i, hw_random(random));
    for (i = 0; i < t->n; i++)
        t->slots[i].gen = (uint8_t)hw_random(random);
    pool_init(t, &t->pools[0], 0, s->out_max);
    pool_init(t, &t->pools[1], s->out_max, s->shared_pool ? 0 : s->in_max);
    return 0;
}

void hw_sa_table_free(struct hw_sa_table *t)
{
    uint32_t i;

    for (i = 0; t->slots && i < t->n; i++) {
        hw_esp_clear(&t->slots[i].esp);
        free(t->slots[i].window);
    }
    free(t->slots);
    free(t->by_spi);
    free(t->by_cookie);
    OPENSSL_cleanse(t, sizeof(*t));
}

struct hw_sa_pool *hw_sa_pool(struct hw_sa_table *t, unsigned dir)
{
    return &t->pools[!t->shared && dir == CIF_DIR_IN];
}

static uint32_t index_of(const struct hw_sa_table *t, const struct hw_sa *sa)
{
    return (uint32_t)(sa - t->slots);
}

uint32_t hw_sa_handle(const struct hw_sa_table *t, const struct hw_sa *sa)
{
    return (uint32_t)sa->gen << CIF_HANDLE_GEN_SHIFT | index_of(t, sa);
}

struct hw_sa *hw_sa_by_handle(struct hw_sa_table *t, uint32_t handle)
{
    uint32_t i = handle & CIF_HANDLE_INDEX_MASK;

    if (i >= t->n || t->slots[i].state == CIF_SASTATE_FREE ||
        t->slots[i].gen != handle >> CIF_HANDLE_GEN_SHIFT)
        return NULL;
    return &t->slots[i];
}

struct hw_sa *hw_sa_by_cookie(struct hw_sa_table *t, uint64_t cookie)
{
    uint32_t i = t->by_cookie[mix(cookie) & t->hash_mask];

    while (i != HW_NO_SLOT && t->slots[i].cookie != cookie)
        i = t->slots[i].next_cookie;
    return i == HW_NO_SLOT ? NULL : &t->slots[i];
}

static uint32_t *spi_bucket(const struct hw_sa_table *t, uint32_t spi)
{
    return &t->by_spi[mix(spi) & t->hash_mask];
}

struct hw_sa *hw_sa_lookup(struct hw_sa_table *t, unsigned family, uint32_t spi, const uint8_t *dst)
{
    size_t n = family == 4 ? 4 : 16;
    uint32_t i;

    for (i = *spi_bucket(t, spi); i != HW_NO_SLOT; i = t->slots[i].next_spi) {
        struct hw_sa *sa = &t->slots[i];

        if (sa->dir == CIF_DIR_IN && sa->esp.spi == spi && sa->esp.family == family &&
            (!t->lookup_dst || !memcmp(sa->esp.dst, dst, n)))
            return sa;
    }
    return NULL;
}

bool hw_sa_out_twin(const struct hw_sa_table *t, const struct hw_sa *like)
{
    uint32_t i;

    for (i = *spi_bucket(t, like->esp.spi); i != HW_NO_SLOT; i = t->slots[i].next_spi) {
        const struct hw_sa *sa = &t->slots[i];

        if (sa->dir == CIF_DIR_OUT && sa->esp.spi == like->esp.spi &&
            !memcmp(sa->esp.dst, like->esp.dst, 16) &&
            !CRYPTO_memcmp(sa->key_digest, like->key_digest, 32))
            return true;
    }
    return false;
}

struct hw_sa *hw_sa_take(struct hw_sa_table *t, unsigned dir, uint32_t index)
{
    struct hw_sa_pool *p = hw_sa_pool(t, dir);
    uint32_t i = index == HW_NO_SLOT ? p->free_head : index;

    if (i == HW_NO_SLOT || i < p->first || i >= p->first + p->size ||
        t->slots[i].state != CIF_SASTATE_FREE)
        return NULL;
    free_remove(t, p, i);
    return &t->slots[i];
}

void hw_sa_publish(struct hw_sa_table *t, struct hw_sa *sa)
{
    uint32_t *spi = spi_bucket(t, sa->esp.spi);
    uint32_t *cookie = &t->by_cookie[mix(sa->cookie) & t->hash_mask];

    sa->next_spi = *spi;
    *spi = index_of(t, sa);
    sa->next_cookie = *cookie;
    *cookie = index_of(t, sa);
}

void hw_sa_unpublish(struct hw_sa_table *t, struct hw_sa *sa)
{
    uint32_t *spi = spi_bucket(t, sa->esp.spi), i = index_of(t, sa);
    uint32_t *cookie = &t->by_cookie[mix(sa->cookie) & t->hash_mask];

    while (*spi != i)
        spi = &t->slots[*spi].next_spi;
    *spi = sa->next_spi;
    while (*cookie != i)
        cookie = &t->slots[*cookie].next_cookie;
    *cookie = sa->next_cookie;
}

void hw_sa_release(struct hw_sa_table *t, struct hw_sa *sa)
{
    struct hw_sa_pool *p = hw_sa_pool(t, sa->dir);
    uint8_t gen = (uint8_t)(sa->gen + 1);

    if (sa->state != CIF_SASTATE_FREE)
        hw_sa_unpublish(t, sa);
    hw_esp_clear(&sa->esp);
    free(sa->window);
    OPENSSL_cleanse(sa, sizeof(*sa));
    sa->gen = gen;
    free_push(t, p, index_of(t, sa));
}

int hw_sa_digest(const struct hw_sa_table *t, const uint8_t *p, size_t len, uint8_t out[32])
{
    EVP_MD_CTX *c = EVP_MD_CTX_new();
    int ok = c && EVP_DigestInit_ex(c, EVP_sha256(), NULL) == 1 &&
             EVP_DigestUpdate(c, t->secret, sizeof(t->secret)) == 1 &&
             EVP_DigestUpdate(c, p, len) == 1 && EVP_DigestFinal_ex(c, out, NULL) == 1;

    EVP_MD_CTX_free(c);
    return ok ? 0 : -ENOMEM;
}

uint32_t hw_sa_in_use(const struct hw_sa_table *t)
{
    return t->n - t->pools[0].free - t->pools[1].free;
}

/* --- the filter
 * ------------------------------------------------------------------------------------ */

static uint64_t *window_word(const struct hw_sa *sa, uint64_t seq)
{
    return &sa->window[seq / 64 % (sa->window_bits / 64 + 1)];
}

int hw_window_check(const struct hw_sa *sa, uint64_t seq)
{
    if (!sa->window || seq > sa->highest)
        return 0;
    if (sa->highest - seq >= sa->window_bits)
        return -ETIME;
    return *window_word(sa, seq) >> seq % 64 & 1 ? -EALREADY : 0;
}

void hw_window_commit(struct hw_sa *sa, uint64_t seq)
{
    uint64_t words = sa->window_bits / 64 + 1, w;

    if (sa->window && seq > sa->highest) {
        /* words between the old and the new highest begin anew (one more word than bits, so that
         * the window never reaches into the word being filled) */
        uint64_t from = sa->highest / 64 + 1, to = seq / 64;

        if (to - from >= words && to >= from)
            from = to - words + 1;
        for (w = from; w <= to; w++)
            sa->window[w % words] = 0;
    }
    if (seq > sa->highest)
        sa->highest = seq;
    if (sa->window)
        *window_word(sa, seq) |= (uint64_t)1 << seq % 64;
}
