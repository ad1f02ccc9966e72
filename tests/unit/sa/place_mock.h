/* Cards that do what a test says: a table of slots, and every question kept until the test has it
 * carried out and answered. */
#ifndef SALLYPORT_PLACE_MOCK_H
#define SALLYPORT_PLACE_MOCK_H

#include "sa_test.h"

#include "hostd/sa/place.h"

enum { MOCK_CARDS = 2, MOCK_SLOTS = 64, MOCK_ASKED = 4096 };

enum mock_kind { ASK_ADD, ASK_FREE, ASK_QUERY };

struct mock_slot {
    bool used;
    uint32_t handle;
    uint64_t cookie;
    enum esp_dir dir;
};

struct mock_card {
    bool up;
    unsigned room; /* what it really has, whatever its tree says */
    struct mock_slot slot[MOCK_SLOTS];
    uint8_t generation;
};

struct asked {
    enum mock_kind kind;
    int card;
    uint64_t cookie;
    uint32_t handle;
    enum esp_dir dir;
    bool done; /* carried out; result is what to answer */
    struct place_result result;
    struct place_row rows[MOCK_SLOTS];
    unsigned n_rows;
};

struct mock {
    void *mem;
    struct sad *sad;
    struct place *p;
    struct mock_card card[MOCK_CARDS];
    struct asked *asked[MOCK_ASKED];
    unsigned n_asked, adds, frees, queries, moved;
    int refuse_ask; /* the operation itself fails with this */
    uint64_t now;
    char last_text[REASON_TEXT];
};

static inline int mock_push(struct mock *m, const struct asked *a)
{
    if (m->refuse_ask)
        return m->refuse_ask;
    assert_true(m->card[a->card].up);
    assert_true(m->n_asked < MOCK_ASKED);
    struct asked *copy = malloc(sizeof *copy);
    assert_non_null(copy);
    *copy = *a;
    m->asked[m->n_asked++] = copy;
    return 0;
}

static inline int mock_add(void *ctx, int card, const struct sa *sa)
{
    struct mock *m = ctx;
    m->adds++;
    return mock_push(
        m,
        &(struct asked){.kind = ASK_ADD, .card = card, .cookie = sa->cookie, .dir = sa->spec.dir});
}

static inline int mock_free(void *ctx, int card, uint32_t handle, uint64_t cookie)
{
    struct mock *m = ctx;
    m->frees++;
    return mock_push(
        m, &(struct asked){.kind = ASK_FREE, .card = card, .cookie = cookie, .handle = handle});
}

static inline int mock_query(void *ctx, int card)
{
    struct mock *m = ctx;
    m->queries++;
    return mock_push(m, &(struct asked){.kind = ASK_QUERY, .card = card});
}

static inline void mock_moved(void *ctx, struct sa *sa, enum sa_place old)
{
    struct mock *m = ctx;
    assert_true(sa->place != old);
    m->moved++;
    snprintf(m->last_text, sizeof m->last_text, "%s", sa->reason.text);
}

static inline struct place_caps mock_caps(const char *name, unsigned slots)
{
    struct place_caps c = {.out_max = slots,
                           .in_max = slots,
                           .shared_pool = true,
                           .esn = true,
                           .natt4 = true,
                           .natt6 = true,
                           .spi_lo = 256,
                           .spi_hi = UINT32_MAX,
                           .n_suites = 1};
    snprintf(c.name, sizeof c.name, "%s", name);
    c.suites[0] = (struct place_suite){
        .encr_id = 20, .integ_id = 0, .encr_lens = 1 << 2 | 1 << 4, .dirs = 3, .modes = 3};
    return c;
}

static inline void mock_up(struct mock *m, int card, unsigned told, unsigned room)
{
    char name[16];
    snprintf(name, sizeof name, "c%d", card);
    struct place_caps caps = mock_caps(name, told);
    m->card[card].up = true;
    m->card[card].room = room;
    place_card_up(m->p, card, &caps, m->now);
}

static inline void mock_drop_asked(struct mock *m, unsigned i)
{
    free(m->asked[i]);
    memmove(&m->asked[i], &m->asked[i + 1], (--m->n_asked - i) * sizeof m->asked[0]);
}

static inline void mock_down(struct mock *m, int card)
{
    m->card[card].up = false;
    memset(m->card[card].slot, 0, sizeof m->card[card].slot);
    for (unsigned i = m->n_asked; i-- > 0;)
        if (m->asked[i]->card == card)
            mock_drop_asked(m, i);
    place_card_down(m->p, card, "it was pulled", m->now);
}

static inline int mock_setup(void **state)
{
    struct mock *m = calloc(1, sizeof *m);
    struct place_ops ops = {.ctx = m,
                            .add = mock_add,
                            .free_slot = mock_free,
                            .query = mock_query,
                            .moved = mock_moved};
    assert_non_null(m);
    m->mem = store_mem(256);
    m->sad = sad_make(m->mem, 256, 0, NULL, NULL);
    m->p = place_new(m->sad, &ops);
    assert_non_null(m->p);
    m->now = 1000;
    *state = m;
    return 0;
}

static inline int mock_teardown(void **state)
{
    struct mock *m = *state;
    while (m->n_asked)
        mock_drop_asked(m, 0);
    place_free(m->p);
    sad_free(m->sad);
    free(m->mem);
    free(m);
    return 0;
}

static inline unsigned mock_used(const struct mock_card *c)
{
    unsigned n = 0;
    for (unsigned i = 0; i < MOCK_SLOTS; i++)
        n += c->slot[i].used;
    return n;
}

static inline struct mock_slot *mock_find(struct mock_card *c, uint64_t cookie)
{
    for (unsigned i = 0; i < MOCK_SLOTS; i++)
        if (c->slot[i].used && c->slot[i].cookie == cookie)
            return &c->slot[i];
    return NULL;
}

/* The card takes a slot; NULL when it has none. */
static inline struct mock_slot *mock_take(struct mock_card *c, uint64_t cookie, enum esp_dir dir)
{
    if (mock_used(c) >= c->room)
        return NULL;
    for (unsigned i = 0; i < MOCK_SLOTS; i++)
        if (!c->slot[i].used) {
            c->slot[i] = (struct mock_slot){.used = true,
                                            .handle = i | (uint32_t)++c->generation << 24,
                                            .cookie = cookie,
                                            .dir = dir};
            return &c->slot[i];
        }
    return NULL;
}

static inline struct place_result mock_result(enum place_class cls, const char *name)
{
    return (struct place_result){
        .cls = cls, .name = name, .text = "a sentence", .remedy = "a remedy"};
}

static inline void mock_do_add(struct mock_card *c, struct asked *a)
{
    struct mock_slot *s = mock_find(c, a->cookie);
    if (!s)
        s = mock_take(c, a->cookie, a->dir);
    a->result = s ? mock_result(PLACE_OK, "OK") : mock_result(PLACE_RESOURCE, "NO_SA_SPACE");
    a->result.handle = s ? s->handle : 0;
}

/* The card carries out a question; nothing is answered yet. */
static inline void mock_do(struct mock *m, struct asked *a)
{
    struct mock_card *c = &m->card[a->card];
    a->done = true;
    a->result = mock_result(PLACE_OK, "OK");
    if (a->kind == ASK_ADD)
        mock_do_add(c, a);
    for (unsigned i = 0; i < MOCK_SLOTS; i++) {
        if (a->kind == ASK_FREE && c->slot[i].used && c->slot[i].handle == a->handle)
            c->slot[i].used = false;
        if (a->kind == ASK_QUERY && c->slot[i].used)
            a->rows[a->n_rows++] = (struct place_row){c->slot[i].handle, c->slot[i].cookie};
    }
}

static inline void mock_tell(struct mock *m, const struct asked *a)
{
    if (a->kind == ASK_ADD)
        place_added(m->p, a->card, a->cookie, &a->result, m->now);
    else if (a->kind == ASK_FREE)
        place_freed(m->p, a->card, a->handle, a->cookie, &a->result, m->now);
    else
        place_audit(m->p, a->card, a->rows, a->n_rows, a->result.cls == PLACE_OK, m->now);
}

/* Answers question i with r (NULL: by carrying it out). */
static inline void mock_answer(struct mock *m, unsigned i, const struct place_result *r)
{
    assert_true(i < m->n_asked);
    struct asked a = *m->asked[i];
    if (r)
        a.result = *r;
    else if (!a.done)
        mock_do(m, &a);
    mock_drop_asked(m, i);
    mock_tell(m, &a);
}

/* Everything that is asked is carried out and answered, and what that leads to. */
static inline void mock_settle(struct mock *m)
{
    for (int i = 0; i < 10000; i++) {
        place_tick(m->p, m->now);
        if (m->n_asked == 0)
            return;
        mock_answer(m, 0, NULL);
    }
    fail_msg("does not settle");
}

static inline struct sa *mock_sa(struct mock *m, enum esp_dir dir, uint32_t spi)
{
    struct sa_spec spec = spec_make(dir, spi);
    struct sa *sa = NULL;
    assert_int_equal(sad_add(m->sad, &spec, m->now, &sa), 0);
    place_sa(m->p, sa, m->now);
    return sa;
}

static inline void mock_delete(struct mock *m, struct sa *sa)
{
    place_forget(m->p, sa, m->now);
    sad_delete(m->sad, sa);
}

/* Places equal the cards' tables, both ways. */
static inline void mock_compare(struct mock *m)
{
    unsigned in_cards = 0, used = 0;
    for (struct sa *sa = sad_next(m->sad, NULL); sa; sa = sad_next(m->sad, sa)) {
        if (sa->place != PLACE_CARD)
            continue;
        in_cards++;
        assert_true(m->card[sa->card].up);
        struct mock_slot *s = mock_find(&m->card[sa->card], sa->cookie);
        assert_non_null(s);
        assert_int_equal(s->handle, sa->handle);
    }
    for (int c = 0; c < MOCK_CARDS; c++)
        used += mock_used(&m->card[c]);
    assert_int_equal(in_cards, used);
}

#endif
