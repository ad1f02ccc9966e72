/* The memory that outlives the process: taking over, damage, and death at any moment. */
#include "sa_test.h"

#include "hostd/sa/store_internal.h"

enum { RECORDS = 24 };

static struct sa *add(struct sad *s, enum esp_dir dir, uint32_t spi)
{
    struct sa_spec spec = spec_make(dir, spi);
    struct sa *sa = NULL;
    spec.esn = spi % 2;
    assert_int_equal(sad_add(s, &spec, 1000, &sa), 0);
    return sa;
}

static void bad_memory_is_refused(void **state)
{
    struct sad *s = NULL;
    char *mem = store_mem(4);
    assert_int_equal(
        sad_new(&s, mem, STORE_RECORD, 0, ESP_BACKEND_OPENSSL, rng_fill, NULL, 0, NULL, NULL),
        -EINVAL);
    assert_int_equal(sad_new(&s, mem + 8, 3 * STORE_RECORD, 0, ESP_BACKEND_OPENSSL, rng_fill, NULL,
                             0, NULL, NULL),
                     -EINVAL);
    unsigned adopted, refused;
    s = sad_make(mem, 4, 1, &adopted, &refused); /* garbage: begun afresh */
    assert_int_equal(adopted, 0);
    assert_int_equal(refused, 1);
    add(s, ESP_OUT, 1000);
    sad_free(s);
    free(mem);
}

static void everything_is_taken_over(void **state)
{
    void *mem = store_mem(RECORDS);
    unsigned adopted, refused;
    struct sad *s = sad_make(mem, RECORDS, 0, NULL, NULL);
    struct sa *out = add(s, ESP_OUT, 1001), *in = add(s, ESP_IN, 2001);
    struct sa_spec udp = spec_make(ESP_OUT, 1002);
    udp.encap = ESP_ENCAP_UDP;
    udp.udp_sport = udp.udp_dport = 4500;
    udp.soft.time = 5;
    udp.hard.bytes = 500;
    udp.policy_id = 77;
    udp.rules.ttl = 9;
    udp.suite = esp_suite_by_name("ESP_AES256_CBC_HMAC_SHA2_256");
    struct sa *moved = NULL;
    assert_int_equal(sad_add(s, &udp, 900, &moved), 0);
    struct ip_addr peer;
    assert_int_equal(ip_parse("192.0.2.7", &peer), 0);
    sad_move(s, moved, &udp.src, &peer, 4500, 31000);
    sad_move(s, moved, &udp.src, &peer, 4500, 31001);
    uint64_t first, c_out = out->cookie, c_in = in->cookie, c_moved = moved->cookie;
    assert_int_equal(sad_take(s, out, 10, &first), 0);
    assert_true(first == 1);
    for (uint64_t q = 1; q < 3000; q += 3)
        assert_int_equal(sad_commit(in, q), WIN_NEW);
    sad_count_packet(out, PATH_CARD, 100, 1001);
    sad_count_packet(out, PATH_SOFTWARE, 10, 1002);
    sad_free(s);

    s = sad_make(mem, RECORDS, 1, &adopted, &refused);
    assert_int_equal(adopted, 3);
    assert_int_equal(refused, 0);
    out = sad_by_cookie(s, c_out);
    in = sad_by_cookie(s, c_in);
    moved = sad_by_cookie(s, c_moved);
    assert_true(out && in && moved);
    assert_int_equal(sad_take(s, out, 1, &first), 0);
    assert_true(first == STORE_BLOCK + 1);
    assert_true(out->packets[PATH_CARD] == 1 && out->bytes[PATH_SOFTWARE] == 10);
    assert_true(*in->win.top == 2998);
    for (uint64_t q = 1; q < 3000; q += 3)
        assert_int_not_equal(sad_commit(in, q), WIN_NEW);
    assert_int_equal(sad_commit(in, 2999), WIN_NEW);
    assert_true(in->spec.esn && in->spec.window == WIN_DEFAULT_BITS);
    assert_true(ip_eq(&moved->spec.dst, &peer) && moved->spec.udp_dport == 31001);
    assert_true(moved->spec.policy_id == 77 && moved->spec.rules.ttl == 9 && moved->created == 900);
    assert_true(moved->spec.soft.time == 5 && moved->spec.hard.bytes == 500);
    assert_ptr_equal(moved->spec.suite, udp.suite);
    struct esp_keys keys, zero = {.encr = {0}};
    sad_keys(s, moved, &keys);
    assert_memory_equal(&keys, &udp.keys, sizeof keys);
    assert_memory_equal(&moved->spec.keys, &zero, sizeof zero);
    assert_ptr_equal(sad_outbound(s, 77, &peer), moved);
    sad_free(s);
    free(mem);
}

static void cookies_are_never_given_twice(void **state)
{
    void *mem = store_mem(RECORDS);
    struct sad *s = sad_make(mem, RECORDS, 0, NULL, NULL);
    uint64_t last = 0;
    for (int i = 0; i < 20; i++) {
        struct sa *sa = add(s, ESP_IN, 3000 + (uint32_t)i);
        assert_true(sa->cookie > last);
        last = sa->cookie;
        sad_delete(s, sa);
        if (i % 3 == 0) {
            sad_free(s);
            s = sad_make(mem, RECORDS, 1, NULL, NULL);
        }
    }
    sad_free(s);
    free(mem);
}

static void a_deleted_record_is_wiped(void **state)
{
    void *mem = store_mem(RECORDS);
    struct sad *s = sad_make(mem, RECORDS, 0, NULL, NULL);
    add(s, ESP_OUT, 4000);
    add(s, ESP_IN, 4001);
    sad_flush(s);
    assert_int_equal(sad_count(s), 0);
    const uint8_t *p = (const uint8_t *)mem + STORE_RECORD;
    for (size_t i = 0; i < (size_t)RECORDS * STORE_RECORD; i++)
        assert_int_equal(p[i], 0);
    sad_free(s);
    free(mem);
}

static void a_full_store_refuses(void **state)
{
    void *mem = store_mem(RECORDS);
    struct sad *s = sad_make(mem, RECORDS, 0, NULL, NULL);
    struct sa *sa, *first = add(s, ESP_IN, 6000);
    for (unsigned i = 1; i < RECORDS; i++)
        add(s, ESP_IN, 6000 + i);
    struct sa_spec spec = spec_make(ESP_IN, 7000);
    assert_int_equal(sad_add(s, &spec, 0, &sa), -ENOSPC);
    sad_delete(s, first);
    assert_int_equal(sad_add(s, &spec, 0, &sa), 0);
    sad_free(s);
    free(mem);
}

/* --- no number twice, over deaths at random moments --- */

/* The process dies after any of the stores of one advance: what the memory then holds. */
static void cut_short(struct sa *sa, uint64_t limit)
{
    struct sa_record *r = sa->record;
    uint64_t end = limit - r->reserved < STORE_BLOCK ? limit : r->reserved + STORE_BLOCK;
    if (rng_below(3) == 0)
        r->reserved = end; /* its complement not yet written */
}

static void numbers_are_never_reused(void **state)
{
    void *mem = store_mem(RECORDS);
    struct sad *s = sad_make(mem, RECORDS, 0, NULL, NULL);
    uint64_t used[2] = {0, 0}, first;
    uint64_t cookie[2] = {add(s, ESP_OUT, 1000)->cookie, add(s, ESP_OUT, 1001)->cookie};
    unsigned adopted, refused;
    for (int kill = 0; kill < 1000; kill++) {
        for (int i = (int)rng_below(12); i > 0; i--) {
            unsigned k = (unsigned)rng_below(2),
                     n = 1 + (unsigned)rng_below(rng_below(4) ? 64 : STORE_BLOCK);
            struct sa *sa = sad_by_cookie(s, cookie[k]);
            assert_int_equal(sad_take(s, sa, n, &first), 0);
            assert_true(first > used[k]);
            used[k] = first + n - 1;
            assert_true(used[k] <= sa->record->reserved);
        }
        struct sa *last = sad_by_cookie(s, cookie[rng_below(2)]);
        cut_short(last, sa_number_limit(&last->spec));
        sad_free(s);
        s = sad_make(mem, RECORDS, 1, &adopted, &refused);
        assert_int_equal(adopted, 2);
        assert_int_equal(refused, 0);
    }
    sad_free(s);
    free(mem);
}

static void the_end_of_the_numbers(void **state)
{
    for (int esn = 0; esn < 2; esn++) {
        void *mem = store_mem(RECORDS);
        struct sad *s = sad_make(mem, RECORDS, 0, NULL, NULL);
        struct sa *sa = add(s, ESP_OUT, 1000 + (uint32_t)esn);
        uint64_t limit = esn ? UINT64_MAX : UINT32_MAX, first, cookie = sa->cookie;
        sa->next = limit - 10;
        sa->record->reserved = limit & ~UINT64_C(4095);
        sa->record->reserved_guard = ~sa->record->reserved;
        assert_int_equal(sad_take(s, sa, 12, &first), -ERANGE);
        assert_int_equal(sad_take(s, sa, 10, &first), 0);
        assert_int_equal(sad_take(s, sa, 1, &first), 0);
        assert_true(first == limit);
        assert_int_equal(sad_take(s, sa, 1, &first), -ERANGE);
        assert_int_equal(sad_life(sa, 1000), LIFE_HARD);
        sad_free(s);
        s = sad_make(mem, RECORDS, 1, NULL, NULL);
        sa = sad_by_cookie(s, cookie);
        assert_non_null(sa);
        assert_int_equal(sad_take(s, sa, 1, &first), -ERANGE);
        assert_int_equal(sad_life(sa, 1000), LIFE_HARD);
        sad_free(s);
        free(mem);
    }
}

/* A window whose process died between two stores of an advance admits nothing twice. */
static void a_window_cut_short_admits_nothing_twice(void **state)
{
    void *mem = store_mem(RECORDS);
    struct sad *s = sad_make(mem, RECORDS, 0, NULL, NULL);
    uint64_t cookie = add(s, ESP_IN, 2001)->cookie, top = 0;
    unsigned adopted;
    for (int i = 0; i < 500; i++) {
        struct sa *sa = sad_by_cookie(s, cookie);
        uint64_t base = top;
        for (int k = 0; k < 40; k++) {
            uint64_t q = base + 1 + rng_below(60);
            sad_commit(sa, q);
            top = q > top ? q : top;
        }
        sa->record->top = top + 1 + rng_below(3000); /* died before the complement */
        sad_free(s);
        s = sad_make(mem, RECORDS, 1, &adopted, NULL);
        assert_int_equal(adopted, 1);
        sa = sad_by_cookie(s, cookie);
        assert_true(*sa->win.top == top);
        assert_int_equal(win_check(&sa->win, top), WIN_SEEN);
    }
    sad_free(s);
    free(mem);
}

/* --- damage --- */

static void fill(struct sad *s)
{
    uint64_t first;
    for (uint32_t i = 0; i < 8; i++) {
        struct sa *out = add(s, ESP_OUT, 1000 + i), *in = add(s, ESP_IN, 2000 + i);
        assert_int_equal(sad_take(s, out, 100 + i, &first), 0);
        for (uint64_t q = 1; q < 2000; q += 1 + rng_below(3))
            sad_commit(in, q);
    }
}

/* Uses whatever was taken over, as the packet path would. */
static void exercise(struct sad *s)
{
    uint64_t first;
    for (struct sa *sa = sad_next(s, NULL); sa; sa = sad_next(s, sa)) {
        if (sa->spec.dir == ESP_OUT) {
            if (sad_take(s, sa, 3, &first) == 0)
                assert_true(first > 100);
        } else {
            sad_commit(sa, win_infer(&sa->win, 12345));
        }
        sad_count_packet(sa, PATH_SOFTWARE, 100, 2000);
        sad_life(sa, 2000);
    }
}

static void damage_never_crashes(void **state)
{
    size_t len = store_len(RECORDS);
    void *good = store_mem(RECORDS), *mem = store_mem(RECORDS);
    struct sad *s = sad_make(good, RECORDS, 0, NULL, NULL);
    fill(s);
    sad_free(s);
    unsigned adopted, refused, all = 0, total = 0;
    for (int round = 0; round < 1500; round++) {
        memcpy(mem, good, len);
        uint8_t *p = mem;
        for (uint64_t i = 1 + rng_below(round % 3 ? 8 : 400); i > 0; i--)
            p[rng_below(round % 2 ? len : 18 * STORE_RECORD)] ^= (uint8_t)(1u << rng_below(8));
        s = sad_make(mem, RECORDS, 1, &adopted, &refused);
        assert_true(adopted <= 16 && adopted == sad_count(s));
        all += adopted;
        total += 16;
        exercise(s);
        sad_free(s);
    }
    assert_true(all > 0 && all < total);
    free(good);
    free(mem);
}

/* Each bit of a record outside bitmap, counters and spare room: the SA is refused, or nothing of it
 * is worse than before (an older endpoint, a number further on). */
static void every_bit_that_matters_is_guarded(void **state)
{
    size_t len = store_len(RECORDS);
    void *good = store_mem(RECORDS), *mem = store_mem(RECORDS);
    struct sad *s = sad_make(good, RECORDS, 0, NULL, NULL);
    uint64_t first;
    unsigned adopted, refused, kept = 0;
    struct sa *out = add(s, ESP_OUT, 1001);
    assert_int_equal(sad_take(s, out, 5000, &first), -EINVAL);
    assert_int_equal(sad_take(s, out, 4000, &first), 0);
    assert_int_equal(sad_take(s, out, 4000, &first), 0);
    sad_free(s);
    size_t record = STORE_RECORD; /* the first */
    const size_t ends[] = {offsetof(struct sa_record, packets), offsetof(struct sa_record, spare)};
    const size_t begins[] = {0, offsetof(struct sa_record, end)};
    for (int part = 0; part < 2; part++)
        for (size_t bit = begins[part] * 8; bit < ends[part] * 8; bit++) {
            memcpy(mem, good, len);
            ((uint8_t *)mem)[record + bit / 8] ^= (uint8_t)(1u << bit % 8);
            s = sad_make(mem, RECORDS, 1, &adopted, &refused);
            struct sa *sa = sad_by_spi(s, ESP_OUT, 1001);
            assert_int_equal(adopted, sa != NULL);
            if (sa) {
                kept++;
                assert_int_equal(sad_take(s, sa, 1, &first), 0);
                assert_true(first > 8000);
            }
            sad_free(s);
        }
    /* The unused endpoint copy, the zero word, and a complement one block behind. */
    assert_true(kept <= 64 * 8 + 32 + 8);
    free(good);
    free(mem);
}

static void doubles_are_refused(void **state)
{
    uint8_t *mem = store_mem(RECORDS);
    struct sad *s = sad_make(mem, RECORDS, 0, NULL, NULL);
    struct sa *sa = add(s, ESP_IN, 2000);
    size_t from = ((size_t)sa->slot + 1) * STORE_RECORD;
    sad_free(s);
    memcpy(mem + 5 * STORE_RECORD, mem + from, STORE_RECORD);
    unsigned adopted, refused;
    s = sad_make(mem, RECORDS, 1, &adopted, &refused);
    assert_int_equal(adopted, 1);
    assert_int_equal(refused, 1);
    sad_free(s);
    s = sad_make(mem, RECORDS, 1, &adopted, &refused);
    assert_int_equal(adopted, 1);
    assert_int_equal(refused, 0); /* it was wiped */
    sad_free(s);
    free(mem);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_memory_is_refused),
        cmocka_unit_test(everything_is_taken_over),
        cmocka_unit_test(cookies_are_never_given_twice),
        cmocka_unit_test(a_deleted_record_is_wiped),
        cmocka_unit_test(a_full_store_refuses),
        cmocka_unit_test(numbers_are_never_reused),
        cmocka_unit_test(the_end_of_the_numbers),
        cmocka_unit_test(a_window_cut_short_admits_nothing_twice),
        cmocka_unit_test(damage_never_crashes),
        cmocka_unit_test(every_bit_that_matters_is_guarded),
        cmocka_unit_test(doubles_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
