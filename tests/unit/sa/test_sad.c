/* The SA database: specs, look-ups, the walk, lifetimes and SPIs. */
#include "sa_test.h"

#include "hostd/sa/place.h"

enum { RECORDS = 64 };

struct env {
    void *mem;
    struct sad *s;
};

static int setup(void **state)
{
    struct env *e = calloc(1, sizeof *e);
    if (!e)
        return -1;
    e->mem = store_mem(RECORDS);
    e->s = sad_make(e->mem, RECORDS, 0, NULL, NULL);
    *state = e;
    return 0;
}

static int teardown(void **state)
{
    struct env *e = *state;
    sad_free(e->s);
    free(e->mem);
    free(e);
    return 0;
}

static struct sad *sad_of(void **state)
{
    return ((struct env *)*state)->s;
}

static struct sa *add(struct sad *s, const struct sa_spec *spec)
{
    struct sa *sa = NULL;
    assert_int_equal(sad_add(s, spec, 1000, &sa), 0);
    return sa;
}

static struct sa *add_spi(struct sad *s, enum esp_dir dir, uint32_t spi)
{
    struct sa_spec spec = spec_make(dir, spi);
    return add(s, &spec);
}

static void refuses(struct sad *s, struct sa_spec spec, int want)
{
    struct sa *sa;
    unsigned before = sad_count(s);
    assert_int_equal(sad_add(s, &spec, 0, &sa), want);
    assert_int_equal(sad_count(s), before);
}

static void bad_specs_are_refused(void **state)
{
    struct sad *s = sad_of(state);
    struct sa_spec in = spec_make(ESP_IN, 300), out = spec_make(ESP_OUT, 300), x;
#define WITH(base, field, value)                                                                   \
    x = base;                                                                                      \
    x.field = value;                                                                               \
    refuses(s, x, -EINVAL)
    WITH(in, dir, 0);
    WITH(in, dir, 3);
    WITH(in, mode, 0);
    WITH(in, mode, 9);
    WITH(in, spi, 255);
    WITH(in, suite, NULL);
    WITH(in, window, 31);
    WITH(in, window, 48);
    WITH(in, window, 8192);
    WITH(in, src.family, 6);
    WITH(in, src.family, 0);
    WITH(out, dst.family, 5);
    WITH(out, encap, ESP_ENCAP_EITHER);
    WITH(out, encap, ESP_ENCAP_UDP); /* no ports */
    WITH(out, encap, 7);
    WITH(out, rules.dscp, 3);
    WITH(out, rules.dscp_value, 64);
    WITH(out, rules.flow_value, 1u << 20);
#undef WITH
    in.src.family = in.dst.family = 0;
    add(s, &in);
}

static void clashes_are_refused(void **state)
{
    struct sad *s = sad_of(state);
    struct sa_spec in = spec_make(ESP_IN, 300), out = spec_make(ESP_OUT, 300);
    add(s, &in);
    add(s, &out);
    refuses(s, in, -EEXIST);
    refuses(s, out, -EEXIST);
    assert_int_equal(ip_parse("10.0.0.3", &out.dst), 0);
    add(s, &out); /* another peer may choose the same SPI */
    assert_int_equal(ip_parse("10.0.0.9", &in.src), 0);
    refuses(s, in, -EEXIST);
}

static void the_newest_outbound_is_used(void **state)
{
    struct sad *s = sad_of(state);
    struct sa *a = add_spi(s, ESP_OUT, 300), *b = add_spi(s, ESP_OUT, 301);
    struct ip_addr peer, other;
    assert_int_equal(ip_parse("10.0.0.2", &peer), 0);
    assert_int_equal(ip_parse("10.0.0.7", &other), 0);
    add_spi(s, ESP_IN, 302);
    assert_ptr_equal(sad_outbound(s, 1, NULL), b);
    assert_ptr_equal(sad_outbound(s, 1, &peer), b);
    assert_null(sad_outbound(s, 1, &other));
    assert_null(sad_outbound(s, 2, NULL));
    b->dying = true;
    assert_ptr_equal(sad_outbound(s, 1, NULL), a);
    sad_move(s, a, &a->spec.src, &other, 0, 0);
    assert_ptr_equal(sad_outbound(s, 1, &other), a);
    assert_null(sad_outbound(s, 1, &peer));
    sad_delete(s, a);
    assert_null(sad_outbound(s, 1, NULL));
    assert_null(sad_outbound(s, 1, &other));
}

/* A peer that moves takes its old SAs along: they are no newer for that. */
static void a_moved_sa_keeps_its_age(void **state)
{
    struct sad *s = sad_of(state);
    struct ip_addr here, there;
    assert_int_equal(ip_parse("10.0.0.2", &here), 0);
    assert_int_equal(ip_parse("10.0.0.7", &there), 0);
    struct sa *list[6];
    for (uint32_t i = 0; i < 6; i++)
        list[i] = add_spi(s, ESP_OUT, 300 + i);
    static const uint8_t order[] = {5, 0, 3, 1, 4, 2};
    for (unsigned k = 0; k < 6; k++) {
        unsigned newest = 0;
        sad_move(s, list[order[k]], &list[order[k]]->spec.src, &there, 0, 0);
        for (unsigned j = 0; j <= k; j++)
            newest = order[j] > newest ? order[j] : newest;
        assert_ptr_equal(sad_outbound(s, 1, &there), list[newest]);
    }
    assert_null(sad_outbound(s, 1, &here));
    for (unsigned i = 6; i-- > 0;) {
        assert_ptr_equal(sad_outbound(s, 1, &there), list[i]);
        sad_delete(s, list[i]);
    }
}

static void tables_agree_with_a_list(void **state)
{
    struct sad *s = sad_of(state);
    struct sa *list[RECORDS] = {NULL};
    for (int step = 0; step < 20000; step++) {
        unsigned k = (unsigned)rng_below(RECORDS);
        enum esp_dir dir = k % 2 ? ESP_OUT : ESP_IN;
        if (list[k]) {
            assert_ptr_equal(sad_by_spi(s, dir, 1000 + k), list[k]);
            assert_ptr_equal(sad_by_cookie(s, list[k]->cookie), list[k]);
            sad_delete(s, list[k]);
            list[k] = NULL;
        } else {
            assert_null(sad_by_spi(s, dir, 1000 + k));
            list[k] = add_spi(s, dir, 1000 + k);
        }
    }
    unsigned n = 0, want = 0;
    for (struct sa *sa = sad_next(s, NULL); sa; sa = sad_next(s, sa))
        n++;
    for (unsigned k = 0; k < RECORDS; k++)
        want += list[k] != NULL;
    assert_int_equal(n, want);
    assert_int_equal(sad_count(s), want);
}

static void a_walk_may_delete(void **state)
{
    struct sad *s = sad_of(state);
    for (uint32_t i = 0; i < 20; i++)
        add_spi(s, ESP_IN, 1000 + i);
    unsigned seen = 0;
    for (struct sa *sa = sad_next(s, NULL); sa; sa = sad_next(s, sa)) {
        seen++;
        if (sa->spec.spi % 3 == 0)
            sad_delete(s, sa);
        else if (sa->spec.spi == 1001)
            sad_delete(s, sad_inbound(s, 1003)); /* one further on, too */
    }
    assert_int_equal(seen, 19);
    for (struct sa *sa = sad_next(s, NULL); sa; sa = sad_next(s, sa))
        sad_delete(s, sa);
    assert_int_equal(sad_count(s), 0);
}

static void drops_have_their_words(void **state)
{
    for (unsigned i = 0; i < SA_DROP_COUNT; i++)
        for (unsigned k = 0; k < i; k++)
            assert_string_not_equal(sa_drop_text(i), sa_drop_text(k));
    struct sad *s = sad_of(state);
    struct sa *sa = add_spi(s, ESP_IN, 1000);
    assert_string_equal(sa->reason.text, place_code_text(PLACE_NEW_CODE));
    sad_commit(sa, 5000);
    sad_commit(sa, 5000);
    sad_commit(sa, 1);
    assert_int_equal(sa->drops[SA_DROP_REPLAY], 1);
    assert_int_equal(sa->drops[SA_DROP_LATE], 1);
}

/* --- lifetimes --- */

static void lifetimes(void **state)
{
    struct sad *s = sad_of(state);
    struct sa_spec spec = spec_make(ESP_OUT, 300);
    assert_true(sad_deadline(s) == UINT64_MAX);
    struct sa *free_sa = add(s, &spec);
    assert_true(sad_deadline(s) == UINT64_MAX);
    assert_int_equal(sad_life(free_sa, UINT64_MAX), LIFE_OK);

    spec.spi++;
    spec.soft.time = 100;
    spec.hard.time = 200;
    struct sa *t = add(s, &spec);
    assert_true(sad_deadline(s) == 1100);
    assert_int_equal(sad_life(t, 1099), LIFE_OK);
    assert_int_equal(sad_life(t, 1100), LIFE_SOFT);
    assert_int_equal(sad_life(t, 1101), LIFE_OK); /* told once */
    assert_true(sad_deadline(s) == 1200);
    assert_int_equal(sad_life(t, 1200), LIFE_HARD);
    assert_int_equal(sad_life(t, 1300), LIFE_HARD);

    spec.spi++;
    spec.soft = (struct sa_lifetime){.bytes = 1000};
    spec.hard = (struct sa_lifetime){.bytes = 2000, .packets = 100};
    struct sa *b = add(s, &spec);
    sad_count_packet(b, PATH_CARD, 600, 1);
    sad_count_packet(b, PATH_SOFTWARE, 399, 1);
    assert_int_equal(sad_life(b, 0), LIFE_OK);
    sad_count_packet(b, PATH_SOFTWARE, 1, 1);
    assert_int_equal(sad_life(b, 0), LIFE_SOFT);
    sad_count_packet(b, PATH_CARD, 1000, 1);
    assert_int_equal(sad_life(b, 0), LIFE_HARD);

    spec.spi++;
    spec.soft = (struct sa_lifetime){.packets = 2};
    spec.hard = (struct sa_lifetime){.packets = 3};
    struct sa *p = add(s, &spec);
    sad_count_packet(p, PATH_CARD, 0, 7);
    assert_int_equal(sad_life(p, 0), LIFE_OK);
    sad_count_packet(p, PATH_SOFTWARE, 0, 8);
    assert_int_equal(sad_life(p, 0), LIFE_SOFT);
    sad_count_packet(p, PATH_SOFTWARE, 0, 9);
    assert_int_equal(sad_life(p, 0), LIFE_HARD);
    assert_true(p->last_used == 9);
}

static void numbers_are_a_lifetime(void **state)
{
    struct sad *s = sad_of(state);
    struct sa *sa = add_spi(s, ESP_OUT, 300);
    sa->next = UINT32_MAX - UINT32_MAX / 16;
    assert_int_equal(sad_life(sa, 0), LIFE_OK);
    sa->next++;
    assert_int_equal(sad_life(sa, 0), LIFE_SOFT);
    assert_int_equal(sad_life(sa, 0), LIFE_OK);
}

/* --- SPIs --- */

static void spis_are_new_and_in_range(void **state)
{
    struct sad *s = sad_of(state);
    uint32_t seen[600], spi;
    for (int i = 0; i < 600; i++) {
        assert_int_equal(sad_alloc_spi(s, 0, UINT32_MAX, &spi), 0);
        assert_true(spi >= 256);
        for (int k = 0; k < i; k++)
            assert_int_not_equal(seen[k], spi);
        seen[i] = spi;
    }
    for (int i = 0; i < 200; i++) {
        assert_int_equal(sad_alloc_spi(s, 5000, 5999, &spi), 0);
        assert_true(spi >= 5000 && spi <= 5999);
    }
    assert_int_equal(sad_alloc_spi(s, 10, 20, &spi), -ENOSPC);
    assert_int_equal(sad_alloc_spi(s, 6000, 5999, &spi), -ENOSPC);
}

static void a_small_range_is_used_up_exactly(void **state)
{
    struct sad *s = sad_of(state);
    uint32_t spi;
    for (int i = 0; i < 16; i++) {
        assert_int_equal(sad_alloc_spi(s, 1000, 1015, &spi), 0);
        add_spi(s, ESP_IN, spi);
    }
    assert_int_equal(sad_alloc_spi(s, 1000, 1015, &spi), -ENOSPC);
    sad_delete(s, sad_inbound(s, 1007));
    assert_int_equal(sad_alloc_spi(s, 1000, 1015, &spi), 0);
    assert_int_equal(spi, 1007);
    /* Handed out, never added, and the only one left: it is given again. */
    assert_int_equal(sad_alloc_spi(s, 1000, 1015, &spi), 0);
    assert_int_equal(spi, 1007);
}

static void stuck(void *ctx, void *buf, size_t len)
{
    (void)ctx;
    memset(buf, 0, len);
}

static void a_stuck_random_source_still_ends(void **state)
{
    void *mem = store_mem(RECORDS);
    struct sad *s = NULL;
    uint32_t spi;
    assert_int_equal(
        sad_new(&s, mem, store_len(RECORDS), 0, ESP_BACKEND_OPENSSL, stuck, NULL, 0, NULL, NULL),
        0);
    for (uint32_t i = 0; i < 50; i++) {
        assert_int_equal(sad_alloc_spi(s, 256, UINT32_MAX, &spi), 0);
        assert_int_equal(spi, 256 + i);
        if (i % 2)
            add_spi(s, ESP_IN, spi);
    }
    sad_free(s);
    free(mem);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(bad_specs_are_refused),
        T(clashes_are_refused),
        T(the_newest_outbound_is_used),
        T(a_moved_sa_keeps_its_age),
        T(tables_agree_with_a_list),
        T(a_walk_may_delete),
        T(drops_have_their_words),
        T(lifetimes),
        T(numbers_are_a_lifetime),
        T(spis_are_new_and_in_range),
        T(a_small_range_is_used_up_exactly),
        T(a_stuck_random_source_still_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
