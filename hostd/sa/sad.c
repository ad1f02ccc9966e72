/* The SA database. See sad.h. */
#include "hostd/sa/sad_internal.h"

#include "hostd/sa/place.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *sa_drop_text(enum sa_drop d)
{
    static const char *const texts[] = {
#define DROP(id, text) text,
        SA_DROPS(DROP)
#undef DROP
    };
    return (unsigned)d < SA_DROP_COUNT ? texts[d] : "unknown";
}

/* --- what a spec must be --- */

static bool window_fits(uint32_t bits)
{
    return bits == 0 || (bits >= 32 && bits <= WIN_MAX_BITS && (bits & (bits - 1)) == 0);
}

static bool addresses_fit(const struct sa_spec *s)
{
    if (s->src.family != s->dst.family)
        return false;
    return ip_len(s->src.family) != 0 || (s->src.family == 0 && s->dir == ESP_IN);
}

static bool encap_fits(const struct sa_spec *s)
{
    if (s->encap == ESP_ENCAP_UDP)
        return s->dir == ESP_IN || (s->udp_sport && s->udp_dport);
    return s->encap == ESP_ENCAP_NONE || (s->encap == ESP_ENCAP_EITHER && s->dir == ESP_IN);
}

static bool rules_fit(const struct esp_header_rules *r)
{
    return (unsigned)r->dscp <= ESP_CLEAR && (unsigned)r->df <= ESP_CLEAR &&
           (unsigned)r->flow_label <= ESP_CLEAR && r->dscp_value < 64 && r->flow_value <= 0xfffff;
}

int sa_spec_check(const struct sa_spec *s)
{
    bool dir = s->dir == ESP_OUT || s->dir == ESP_IN;
    bool mode = s->mode == ESP_TRANSPORT || s->mode == ESP_TUNNEL;
    return dir && mode && s->spi >= 256 && s->suite && window_fits(s->window) && addresses_fit(s) &&
                   encap_fits(s) && rules_fit(&s->rules)
               ? 0
               : -EINVAL;
}

uint64_t sa_number_limit(const struct sa_spec *spec)
{
    return spec->esn ? UINT64_MAX : UINT32_MAX;
}

/* --- the hash tables --- */

static uint64_t mix(uint64_t h, uint64_t v)
{
    h ^= v;
    h ^= h >> 33;
    h *= UINT64_C(0xff51afd7ed558ccd);
    h ^= h >> 33;
    h *= UINT64_C(0xc4ceb9fe1a85ec53);
    return h ^ h >> 33;
}

static uint64_t mix_addr(uint64_t h, const struct ip_addr *a)
{
    uint64_t w[2];
    memcpy(w, a->b, sizeof w);
    return mix(mix(mix(h, a->family), w[0]), w[1]);
}

static uint32_t bucket_spi(const struct sad *s, enum esp_dir dir, uint32_t spi)
{
    return (uint32_t)mix(s->seed, (uint64_t)dir << 32 | spi) & s->mask;
}

static uint32_t bucket_cookie(const struct sad *s, uint64_t cookie)
{
    return (uint32_t)mix(s->seed, cookie) & s->mask;
}

static uint32_t bucket_policy(const struct sad *s, uint32_t id)
{
    return (uint32_t)mix(s->seed, id) & s->mask;
}

static uint32_t bucket_peer(const struct sad *s, uint32_t id, const struct ip_addr *peer)
{
    return (uint32_t)mix_addr(mix(s->seed, id), peer) & s->mask;
}

/* Behind those that were made later: a new SA goes to the head at once, and one that comes to
 * another chain (sad_move) is no newer for that. */
static void link_in(struct sad *s, struct node *n, enum sad_table t, uint32_t bucket)
{
    struct node **at = &s->table[t][bucket];
    while (*at && (*at)->sa.cookie > n->sa.cookie)
        at = &(*at)->link[t];
    n->link[t] = *at;
    if (*at)
        (*at)->back[t] = &n->link[t];
    n->back[t] = at;
    *at = n;
}

static void link_out(struct node *n, enum sad_table t)
{
    if (!n->back[t])
        return;
    *n->back[t] = n->link[t];
    if (n->link[t])
        n->link[t]->back[t] = n->back[t];
    n->back[t] = NULL;
}

static void insert(struct sad *s, struct node *n)
{
    const struct sa_spec *p = &n->sa.spec;
    link_in(s, n, TABLE_SPI, bucket_spi(s, p->dir, p->spi));
    link_in(s, n, TABLE_COOKIE, bucket_cookie(s, n->sa.cookie));
    if (p->dir == ESP_OUT) {
        link_in(s, n, TABLE_POLICY, bucket_policy(s, p->policy_id));
        link_in(s, n, TABLE_PEER, bucket_peer(s, p->policy_id, &p->dst));
    }
    n->prev = s->last;
    *(s->last ? &s->last->next : &s->first) = n;
    s->last = n;
    s->count++;
}

static void extract(struct sad *s, struct node *n)
{
    for (unsigned t = 0; t < TABLES; t++)
        link_out(n, t);
    if (s->walk_next == n)
        s->walk_next = n->next;
    *(n->prev ? &n->prev->next : &s->first) = n->next;
    *(n->next ? &n->next->prev : &s->last) = n->prev;
    s->count--;
}

/* --- making and ending the database --- */

static int tables_new(struct sad *s)
{
    uint32_t n = 64;
    while (n < sa_store_room(s->store) && n < 1u << 24)
        n *= 2;
    s->mask = n - 1;
    for (unsigned t = 0; t < TABLES; t++) {
        s->table[t] = calloc(n, sizeof *s->table[t]);
        if (!s->table[t])
            return -ENOMEM;
    }
    return 0;
}

static void node_free(struct node *n)
{
    esp_sa_free(n->sa.esp);
    OPENSSL_cleanse(n, sizeof *n);
    free(n);
}

/* The packet-path half and the ties to record i. Keys are wiped from the spec on every path. */
static int node_new(struct sad *s, const struct sa_spec *spec, unsigned i, uint64_t now,
                    struct node **out)
{
    struct node *n = calloc(1, sizeof *n);
    if (!n)
        return -ENOMEM;
    struct esp_params p = {.dir = spec->dir,
                           .mode = spec->mode,
                           .encap = spec->encap,
                           .esn = spec->esn,
                           .spi = spec->spi,
                           .suite = spec->suite,
                           .keys = &spec->keys,
                           .src = spec->src,
                           .dst = spec->dst,
                           .udp_sport = spec->udp_sport,
                           .udp_dport = spec->udp_dport,
                           .rules = spec->rules};
    int rc = esp_sa_new(&n->sa.esp, &p, s->backend);
    if (rc) {
        free(n);
        return rc;
    }
    struct sa *sa = &n->sa;
    sa->spec = *spec;
    OPENSSL_cleanse(&sa->spec.keys, sizeof sa->spec.keys);
    if (spec->dir == ESP_OUT)
        sa->spec.window = 0;
    sa->slot = i;
    sa->record = &s->store->records[i];
    sa->next = 1;
    sa->win = (struct window){.top = &sa->record->top,
                              .top_guard = &sa->record->top_guard,
                              .bitmap = sa->record->bitmap,
                              .bits = sa->spec.window,
                              .esn = spec->esn};
    sa->created = sa->since = now;
    sa->card = -1;
    sa->retry_at = UINT64_MAX;
    snprintf(sa->reason.text, sizeof sa->reason.text, "%s", place_code_text(PLACE_NEW_CODE));
    snprintf(sa->reason.remedy, sizeof sa->reason.remedy, "%s", place_code_remedy(PLACE_NEW_CODE));
    *out = n;
    return 0;
}

static struct sa *outbound(struct sad *s, uint32_t spi, const struct ip_addr *dst)
{
    struct node *n = s->table[TABLE_SPI][bucket_spi(s, ESP_OUT, spi)];
    for (; n; n = n->link[TABLE_SPI])
        if (n->sa.spec.dir == ESP_OUT && n->sa.spec.spi == spi && ip_eq(&n->sa.spec.dst, dst))
            return &n->sa;
    return NULL;
}

static bool clashes(struct sad *s, const struct sa_spec *spec)
{
    return spec->dir == ESP_IN ? sad_inbound(s, spec->spi) != NULL
                               : outbound(s, spec->spi, &spec->dst) != NULL;
}

int sad_add(struct sad *s, const struct sa_spec *spec, uint64_t now, struct sa **out)
{
    struct node *n = NULL;
    if (sa_spec_check(spec))
        return -EINVAL;
    if (clashes(s, spec))
        return -EEXIST;
    int i = store_take(s->store);
    if (i < 0)
        return i;
    int rc = node_new(s, spec, (unsigned)i, now, &n);
    if (rc)
        goto undo_record;
    n->sa.cookie = store_next_cookie(s->store);
    rc = store_publish(s->store, (unsigned)i, &n->sa, &spec->keys);
    if (rc)
        goto undo_node;
    insert(s, n);
    if (spec->dir == ESP_IN)
        spi_added(s, spec->spi);
    *out = &n->sa;
    return 0;

undo_node:
    node_free(n);
undo_record:
    store_drop(s->store, (unsigned)i);
    return rc;
}

void sad_keys(const struct sad *s, const struct sa *sa, struct esp_keys *out)
{
    (void)s;
    *out = sa->record->fixed.keys;
}

void sad_delete(struct sad *s, struct sa *sa)
{
    struct node *n = node_of(sa);
    extract(s, n);
    store_drop(s->store, sa->slot);
    node_free(n);
}

void sad_flush(struct sad *s)
{
    while (s->first)
        sad_delete(s, &s->first->sa);
}

/* --- taking over an earlier process's SAs --- */

static int adopt_one(struct sad *s, unsigned i, uint64_t now)
{
    struct store_image img;
    struct node *n = NULL;
    int rc = store_read(s->store, i, now, &img);
    if (rc == 0 && (clashes(s, &img.spec) || sad_by_cookie(s, img.cookie)))
        rc = -EBADMSG;
    if (rc == 0)
        rc = node_new(s, &img.spec, i, now, &n);
    if (rc == 0) {
        struct sa *sa = &n->sa;
        sa->cookie = img.cookie;
        sa->created = img.created;
        sa->next = img.next;
        memcpy(sa->packets, sa->record->packets, sizeof sa->packets);
        memcpy(sa->bytes, sa->record->bytes, sizeof sa->bytes);
        insert(s, n);
    }
    OPENSSL_cleanse(&img, sizeof img);
    return rc;
}

struct found {
    uint64_t cookie;
    unsigned record;
};

static int by_cookie(const void *a, const void *b)
{
    const struct found *x = a, *y = b;
    return x->cookie < y->cookie ? -1 : x->cookie > y->cookie;
}

/* In the order in which they were made: the newest of a policy is the one to use. */
static int adopt_all(struct sad *s, uint64_t now, unsigned *adopted, unsigned *refused)
{
    unsigned n = 0, room = sa_store_room(s->store);
    struct found *f = calloc(room, sizeof *f);
    if (!f)
        return -ENOMEM;
    for (unsigned i = 0; i < room; i++)
        if (store_live(s->store, i))
            f[n++] = (struct found){s->store->records[i].fixed.cookie, i};
    qsort(f, n, sizeof *f, by_cookie);
    int rc = 0;
    for (unsigned i = 0; i < n && rc != -ENOMEM; i++) {
        rc = adopt_one(s, f[i].record, now);
        if (rc == 0) {
            ++*adopted;
        } else if (rc != -ENOMEM) {
            store_drop(s->store, f[i].record);
            ++*refused;
        }
    }
    free(f);
    return rc == -ENOMEM ? rc : 0;
}

int sad_new(struct sad **out, void *mem, size_t len, int adopt, enum esp_backend backend,
            sad_random rnd, void *rnd_ctx, uint64_t now, unsigned *adopted, unsigned *refused)
{
    unsigned none[2] = {0, 0};
    adopted = adopted ? adopted : &none[0];
    refused = refused ? refused : &none[1];
    *adopted = *refused = 0;
    struct sad *s = calloc(1, sizeof *s);
    if (!s)
        return -ENOMEM;
    s->backend = backend;
    s->rnd = rnd;
    s->rnd_ctx = rnd_ctx;
    rnd(rnd_ctx, &s->seed, sizeof s->seed);
    int rc = sa_store_open(&s->store, mem, len, adopt);
    if (rc == -EBADMSG) {
        *refused = 1;
        adopt = 0;
        rc = sa_store_open(&s->store, mem, len, 0);
    }
    if (rc == 0)
        rc = tables_new(s);
    if (rc == 0 && adopt)
        rc = adopt_all(s, now, adopted, refused);
    if (rc) {
        sad_free(s);
        return rc;
    }
    *out = s;
    return 0;
}

void sad_free(struct sad *s)
{
    if (!s)
        return;
    for (struct node *n = s->first, *next; n; n = next) {
        next = n->next;
        node_free(n);
    }
    for (unsigned t = 0; t < TABLES; t++)
        free(s->table[t]);
    sa_store_close(s->store);
    OPENSSL_cleanse(s, sizeof *s);
    free(s);
}

/* --- finding --- */

unsigned sad_count(const struct sad *s)
{
    return s->count;
}

struct sa *sad_next(struct sad *s, const struct sa *after)
{
    struct node *n = s->first;
    if (after && s->walked == (uintptr_t)after)
        n = s->walk_next;
    else if (after)
        n = ((const struct node *)(const void *)after)->next;
    s->walked = (uintptr_t)n;
    s->walk_next = n ? n->next : NULL;
    return n ? &n->sa : NULL;
}

struct sa *sad_by_spi(struct sad *s, enum esp_dir dir, uint32_t spi)
{
    struct node *n = s->table[TABLE_SPI][bucket_spi(s, dir, spi)];
    for (; n; n = n->link[TABLE_SPI])
        if (n->sa.spec.spi == spi && n->sa.spec.dir == dir)
            return &n->sa;
    return NULL;
}

struct sa *sad_inbound(struct sad *s, uint32_t spi)
{
    return sad_by_spi(s, ESP_IN, spi);
}

struct sa *sad_by_cookie(struct sad *s, uint64_t cookie)
{
    struct node *n = s->table[TABLE_COOKIE][bucket_cookie(s, cookie)];
    for (; n; n = n->link[TABLE_COOKIE])
        if (n->sa.cookie == cookie)
            return &n->sa;
    return NULL;
}

struct sa *sad_outbound(struct sad *s, uint32_t policy_id, const struct ip_addr *peer)
{
    bool any = !peer || peer->family == 0;
    enum sad_table t = any ? TABLE_POLICY : TABLE_PEER;
    uint32_t b = any ? bucket_policy(s, policy_id) : bucket_peer(s, policy_id, peer);
    for (struct node *n = s->table[t][b]; n; n = n->link[t])
        if (n->sa.spec.policy_id == policy_id && !n->sa.dying &&
            (any || ip_eq(&n->sa.spec.dst, peer)))
            return &n->sa;
    return NULL;
}

/* --- per packet --- */

/* The block is in the store, beside its complement, before a number of it is used. */
static void reserve(struct sa_record *r, uint64_t limit)
{
    uint64_t end = limit - r->reserved < STORE_BLOCK ? limit : r->reserved + STORE_BLOCK;
    __atomic_store_n(&r->reserved, end, __ATOMIC_RELEASE);
    __atomic_store_n(&r->reserved_guard, ~end, __ATOMIC_RELEASE);
}

int sad_take(struct sad *s, struct sa *sa, unsigned n, uint64_t *first)
{
    uint64_t limit = sa_number_limit(&sa->spec);
    if (n == 0 || n > STORE_BLOCK || sa->spec.dir != ESP_OUT)
        return -EINVAL;
    if (sa->next == 0 || sa->next > limit || limit - sa->next < n - 1)
        return -ERANGE;
    uint64_t last = sa->next + (n - 1);
    while (last > sa->record->reserved)
        reserve(sa->record, limit);
    *first = sa->next;
    sa->next = last + 1;
    return 0;
}

enum win_verdict sad_commit(struct sa *sa, uint64_t seq)
{
    enum win_verdict v = win_commit(&sa->win, seq);
    if (v == WIN_SEEN)
        sa->drops[SA_DROP_REPLAY]++;
    else if (v == WIN_LATE)
        sa->drops[SA_DROP_LATE]++;
    return v;
}

void sad_count_packet(struct sa *sa, enum sa_path path, size_t len, uint64_t now)
{
    sa->packets[path]++;
    sa->bytes[path] += len;
    sa->last_used = now;
    sa->record->packets[path] = sa->packets[path];
    sa->record->bytes[path] = sa->bytes[path];
}

void sad_move(struct sad *s, struct sa *sa, const struct ip_addr *src, const struct ip_addr *dst,
              uint16_t udp_sport, uint16_t udp_dport)
{
    struct node *n = node_of(sa);
    sa->spec.src = *src;
    sa->spec.dst = *dst;
    sa->spec.udp_sport = udp_sport;
    sa->spec.udp_dport = udp_dport;
    esp_sa_move(sa->esp, src, dst, udp_sport, udp_dport);
    /* Without memory for the checksum the old endpoint stays in the store: after a restart the peer
     * is met there again, and moves again. */
    (void)store_move(sa->record, &sa->spec);
    if (sa->spec.dir == ESP_OUT) {
        link_out(n, TABLE_PEER);
        link_in(s, n, TABLE_PEER, bucket_peer(s, sa->spec.policy_id, dst));
    }
}
