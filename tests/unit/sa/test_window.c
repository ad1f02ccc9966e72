/* The replay window against numbered cases and against a naive reference that keeps every number.
 */
#include "sa_test.h"

struct kept {
    uint64_t top, guard, bitmap[WIN_MAX_BITS / 64];
    struct window w;
};

static void win_make(struct kept *k, uint32_t bits, bool esn, uint64_t top)
{
    memset(k, 0, sizeof *k);
    k->top = top;
    k->guard = ~top;
    k->w = (struct window){
        .top = &k->top, .top_guard = &k->guard, .bitmap = k->bitmap, .bits = bits, .esn = esn};
}

/* One row: commit seq, and what comes of it. */
struct row {
    int number;
    uint64_t seq;
    enum win_verdict want;
};

static void play(struct kept *k, const struct row *rows, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        enum win_verdict early = win_check(&k->w, rows[i].seq), v = win_commit(&k->w, rows[i].seq);
        if (early != v || v != rows[i].want)
            fail_msg("case %d: number %llu: check %d, commit %d, wanted %d", rows[i].number,
                     (unsigned long long)rows[i].seq, early, v, rows[i].want);
        assert_true(k->guard == ~k->top);
    }
}

static void numbered_cases(void **state)
{
    static const struct row rows[] = {
        {1, 0, WIN_LATE},
        {2, 1, WIN_NEW},
        {3, 1, WIN_SEEN},
        {4, 9, WIN_NEW},
        {5, 8, WIN_NEW},
        {6, 7, WIN_NEW},
        {7, 7, WIN_SEEN},
        {8, 64, WIN_NEW},
        {9, 64, WIN_SEEN},
        {10, 1, WIN_SEEN},
        {11, 2, WIN_NEW},
        {12, 65, WIN_NEW},
        {13, 1, WIN_LATE},
        {14, 2, WIN_SEEN},
        {15, 3, WIN_NEW},
        {16, 128, WIN_NEW},
        {17, 64, WIN_LATE},
        {18, 65, WIN_SEEN},
        {19, 66, WIN_NEW},
        {20, 127, WIN_NEW},
        {21, 100000, WIN_NEW},
        {22, 128, WIN_LATE},
        {23, 99937, WIN_NEW},
        {24, 99936, WIN_LATE},
        {25, 99937, WIN_SEEN},
        {26, UINT32_MAX, WIN_NEW},
        {27, UINT64_C(0x100000000), WIN_LATE},
        {28, UINT32_MAX, WIN_SEEN},
    };
    struct kept k;
    win_make(&k, 64, false, 0);
    play(&k, rows, sizeof rows / sizeof *rows);
}

static void no_window_accepts_all(void **state)
{
    static const struct row rows[] = {
        {1, 0, WIN_LATE}, {2, 5, WIN_NEW}, {3, 5, WIN_NEW}, {4, 1, WIN_NEW}};
    struct kept k;
    win_make(&k, 0, false, 0);
    play(&k, rows, 4);
    assert_true(k.top == 5);
}

static void max_late_is_the_largest_distance(void **state)
{
    struct kept k;
    win_make(&k, 128, false, 0);
    win_commit(&k.w, 100);
    win_commit(&k.w, 90);
    win_commit(&k.w, 40);
    win_commit(&k.w, 95);
    win_commit(&k.w, 40);
    assert_true(k.w.max_late == 60);
}

static void esn_inference(void **state)
{
    static const struct {
        uint64_t top;
        uint32_t lo;
        uint64_t want;
    } rows[] = {
        {0, 1, 1},
        {0, 0xffffffff, 0xffffffff}, /* nothing lies below subspace 0 */
        {0xfffffff0, 0xffffffff, 0xffffffff},
        {0xfffffff0, 0, 0x100000000},
        {0xfffffff0, 5, 0x100000005},
        {0x100000005, 0xfffffff0, 0xfffffff0}, /* late, from before the wrap */
        {0x100000005, 6, 0x100000006},
        {0x100000005, 0x80000000, 0x180000000},
        {0x180000000, 0x80000000 - 63, 0x180000000 - 63},
        {0x180000000, 0x80000000 - 64, 0x280000000 - 64},
        {UINT64_MAX, 0xffffffff, UINT64_MAX},
        {UINT64_MAX, 0, 0xffffffff00000000}, /* no subspace above: stays, and is late */
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct kept k;
        win_make(&k, 64, true, rows[i].top);
        uint64_t got = win_infer(&k.w, rows[i].lo);
        if (got != rows[i].want)
            fail_msg("row %zu: %llx", i, (unsigned long long)got);
    }
}

/* Every number within half a space of the top is inferred right, whatever the top. */
static void esn_inference_random(void **state)
{
    for (int i = 0; i < 100000; i++) {
        uint32_t bits = 32u << rng_below(8);
        uint64_t top = rng() >> rng_below(40);
        struct kept k;
        win_make(&k, bits, true, top);
        uint64_t lo = top > bits - 1 ? top - (bits - 1) : 1;
        uint64_t span = UINT64_C(0x80000000);
        uint64_t seq = lo + rng_below(rng() % 2 ? bits * 2 : span);
        if (seq < lo)
            continue; /* past 2^64 */
        assert_true(win_infer(&k.w, (uint32_t)seq) == seq);
    }
}

static void esn_wraps_in_order(void **state)
{
    struct kept k;
    win_make(&k, 128, true, UINT64_C(0xfffffff0));
    for (uint64_t seq = UINT64_C(0xfffffff1); seq < UINT64_C(0x100000100); seq++) {
        uint64_t got = win_infer(&k.w, (uint32_t)seq);
        assert_true(got == seq);
        assert_int_equal(win_commit(&k.w, got), WIN_NEW);
        assert_int_equal(win_commit(&k.w, got), WIN_SEEN);
    }
}

/* --- the naive reference: a list of all numbers accepted near the top --- */

enum { REF_MAX = 16384 };
struct reference {
    uint64_t top, seen[REF_MAX];
    unsigned n;
};

static enum win_verdict ref_commit(struct reference *r, uint32_t bits, uint64_t seq)
{
    if (seq == 0 || (seq < r->top && r->top - seq >= bits))
        return WIN_LATE;
    for (unsigned i = 0; i < r->n; i++)
        if (r->seen[i] == seq)
            return WIN_SEEN;
    if (r->n == REF_MAX) { /* forget what lies below every window */
        unsigned kept = 0;
        for (unsigned i = 0; i < r->n; i++)
            if (r->top - r->seen[i] < WIN_MAX_BITS)
                r->seen[kept++] = r->seen[i];
        r->n = kept;
    }
    r->seen[r->n++] = seq;
    if (seq > r->top)
        r->top = seq;
    return WIN_NEW;
}

static uint64_t next_number(uint64_t top, uint32_t bits, bool esn)
{
    uint64_t max = esn ? UINT64_MAX : UINT32_MAX, seq;
    switch (rng_below(16)) {
    case 0:
        seq = top + rng_below(4ull * bits);
        break;
    case 1:
        seq = top - rng_below(2ull * bits);
        break;
    case 2:
        seq = top - bits + rng_below(5) - 2;
        break;
    case 3:
        seq = top + bits + rng_below(5) - 2;
        break;
    default:
        seq = top + rng_below(24) - 16;
    }
    return seq > max ? top : seq;
}

static void against_reference(uint32_t bits, bool esn, uint64_t start)
{
    struct kept k;
    struct reference *r = calloc(1, sizeof *r);
    assert_non_null(r);
    win_make(&k, bits, esn, 0);
    assert_int_equal(win_commit(&k.w, start), WIN_NEW);
    ref_commit(r, bits, start);
    for (int i = 0; i < 12000; i++) {
        uint64_t seq = next_number(k.top, bits, esn);
        enum win_verdict early = win_check(&k.w, seq), got = win_commit(&k.w, seq);
        enum win_verdict want = ref_commit(r, bits, seq);
        if (got != want || early != want)
            fail_msg("bits %u, step %d, top %llu, number %llu: %d, wanted %d", bits, i,
                     (unsigned long long)k.top, (unsigned long long)seq, got, want);
        assert_true(k.top == r->top);
    }
    free(r);
}

static void every_size_against_the_reference(void **state)
{
    for (uint32_t bits = 32; bits <= WIN_MAX_BITS; bits *= 2) {
        against_reference(bits, false, 1);
        against_reference(bits, true, UINT64_C(0xffffff00));
    }
}

static void bits_beyond_the_size_stay_clear(void **state)
{
    struct kept k;
    win_make(&k, 32, false, 0);
    for (uint64_t i = 1; i < 1000; i += 1 + rng_below(3))
        win_commit(&k.w, i);
    assert_true(k.bitmap[0] >> 32 == 0);
    for (unsigned i = 1; i < WIN_MAX_BITS / 64; i++)
        assert_true(k.bitmap[i] == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbered_cases),
        cmocka_unit_test(no_window_accepts_all),
        cmocka_unit_test(max_late_is_the_largest_distance),
        cmocka_unit_test(esn_inference),
        cmocka_unit_test(esn_inference_random),
        cmocka_unit_test(esn_wraps_in_order),
        cmocka_unit_test(every_size_against_the_reference),
        cmocka_unit_test(bits_beyond_the_size_stay_clear),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
