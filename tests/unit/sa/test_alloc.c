/* Every allocation of this room fails once, in turn: an error comes back, nothing is half done. */
#include "sa_test.h"

#include "hostd/sa/place.h"

#if defined(__SANITIZE_ADDRESS__)
#define OWN_ALLOCATOR 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define OWN_ALLOCATOR 1
#endif
#endif

static unsigned fail_at; /* 0: never; counts down */

#ifndef OWN_ALLOCATOR
void *__libc_calloc(size_t n, size_t size);
void *calloc(size_t n, size_t size)
{
    if (fail_at && --fail_at == 0)
        return NULL;
    return __libc_calloc(n, size);
}
#endif

static void only_with_our_allocator(void)
{
#ifdef OWN_ALLOCATOR
    skip(); /* the sanitizer has its own */
#endif
}

enum { RECORDS = 8 };

static void the_database_survives(void **state)
{
    only_with_our_allocator();
    unsigned failed = 0;
    void *mem = store_mem(RECORDS);
    struct sa_spec in = spec_make(ESP_IN, 1000), out = spec_make(ESP_OUT, 1001);
    for (unsigned n = 1; n < 60; n++) {
        struct sad *s = NULL;
        struct sa *a = NULL, *b = NULL;
        fail_at = n;
        int rc = sad_new(&s, mem, store_len(RECORDS), 0, ESP_BACKEND_OPENSSL, rng_fill, NULL, 0,
                         NULL, NULL);
        if (rc == 0) {
            int ra = sad_add(s, &in, 0, &a), rb = sad_add(s, &out, 0, &b);
            fail_at = 0;
            assert_true((ra == 0) == (a != NULL) && (rb == 0) == (b != NULL));
            assert_int_equal(sad_count(s), (ra == 0) + (rb == 0));
            if (ra)
                assert_int_equal(sad_add(s, &in, 0, &a), 0);
            if (rb)
                assert_int_equal(sad_add(s, &out, 0, &b), 0);
            failed += ra != 0 || rb != 0;
        } else {
            assert_int_equal(rc, -ENOMEM);
            failed++;
        }
        fail_at = 0;
        sad_free(s);
    }
    assert_true(failed > 5);
    free(mem);
}

/* No memory while SAs are taken over: the next try takes them all. */
static void taking_over_can_be_repeated(void **state)
{
    only_with_our_allocator();
    unsigned failed = 0, adopted, refused;
    void *mem = store_mem(RECORDS);
    struct sad *s = sad_make(mem, RECORDS, 0, NULL, NULL);
    struct sa *sa;
    for (uint32_t i = 0; i < 4; i++) {
        struct sa_spec spec = spec_make(i % 2 ? ESP_OUT : ESP_IN, 1000 + i);
        assert_int_equal(sad_add(s, &spec, 0, &sa), 0);
    }
    sad_free(s);
    for (unsigned n = 1; n < 40; n++) {
        s = NULL;
        fail_at = n;
        int rc = sad_new(&s, mem, store_len(RECORDS), 1, ESP_BACKEND_OPENSSL, rng_fill, NULL, 0,
                         &adopted, &refused);
        fail_at = 0;
        failed += rc != 0;
        if (rc == 0)
            assert_true(adopted == 4 && refused == 0);
        sad_free(s);
    }
    assert_true(failed > 5);
    free(mem);
}

static void a_reload_keeps_the_old_list(void **state)
{
    only_with_our_allocator();
    struct spd *s = spd_new();
    struct spd_policy p = {.name = "a", .action = SPD_PASS};
    unsigned gone;
    assert_int_equal(spd_load(s, &p, 1, NULL, NULL), 0);
    uint32_t id = spd_at(s, 0)->id;
    snprintf(p.name, sizeof p.name, "b");
    for (unsigned n = 1;; n++) {
        fail_at = n;
        int rc = spd_load(s, &p, 1, NULL, &gone);
        fail_at = 0;
        if (rc == 0) {
            assert_true(n > 2 && gone == 1);
            break;
        }
        assert_int_equal(rc, -ENOMEM);
        assert_int_equal(spd_at(s, 0)->id, id);
        assert_ptr_equal(spd_by_id(s, id), spd_at(s, 0));
        assert_ptr_equal(spd_by_name(s, "a"), spd_at(s, 0));
    }
    assert_null(spd_by_id(s, id));
    assert_string_equal(spd_at(s, 0)->name, "b");
    spd_free(s);
}

static void unplaced_for_want_of_memory(void **state)
{
    only_with_our_allocator();
    void *mem = store_mem(RECORDS);
    struct sad *s = sad_make(mem, RECORDS, 0, NULL, NULL);
    struct place_ops ops = {.ctx = NULL};
    struct place *p = place_new(s, &ops);
    struct sa_spec spec = spec_make(ESP_IN, 1000);
    struct sa *sa;
    assert_int_equal(sad_add(s, &spec, 0, &sa), 0);
    fail_at = 1;
    place_sa(p, sa, 0);
    fail_at = 0;
    assert_int_equal(sa->place, PLACE_SOFTWARE);
    assert_non_null(strstr(sa->reason.text, "no memory"));
    place_failed(p, sa, "x", 0);
    place_changed(p, sa, 0);
    place_ask(p, sa, PLACE_CARD, 0); /* and tried again when asked */
    assert_int_equal(sa->reason.code, PLACE_NO_CARD_CODE);
    place_forget(p, sa, 0);
    place_forget(p, sa, 0);
    place_free(p);
    sad_free(s);
    free(mem);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_database_survives),
        cmocka_unit_test(taking_over_can_be_repeated),
        cmocka_unit_test(a_reload_keeps_the_old_list),
        cmocka_unit_test(unplaced_for_want_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
