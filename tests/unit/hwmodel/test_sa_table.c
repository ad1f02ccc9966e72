/* The SA table: slots and generations, lookups under churn, the card's own filter, the sequence
 * guard. */
#include "hwsim/model/random.h"
#include "hwsim/model/sa_table.h"
#include "tests/unit/hwmodel/hw_host.h"

static struct hw_sa_table table;

static void make_table(uint32_t out, uint32_t in, bool shared)
{
    struct hw_shape s = {.out_max = out, .in_max = in, .shared_pool = shared, .lookup_dst = true};
    uint64_t random = 5;

    assert_int_equal(hw_sa_table_init(&table, &s, &random), 0);
}

static struct hw_sa *put(unsigned dir, uint32_t spi, uint64_t cookie)
{
    struct hw_sa *sa = hw_sa_take(&table, dir, HW_NO_SLOT);

    if (!sa)
        return NULL;
    sa->dir = (uint8_t)dir;
    sa->cookie = cookie;
    sa->esp.spi = spi;
    sa->esp.family = 4;
    memcpy(sa->esp.dst, "\1\2\3\4", 4);
    sa->state = CIF_SASTATE_ACTIVE;
    hw_sa_publish(&table, sa);
    return sa;
}

static void a_handle_never_means_another(void **state)
{
    uint32_t old;
    struct hw_sa *sa;
    unsigned i;

    make_table(4, 4, true);
    for (i = 0; i < 255; i++) {
        sa = put(CIF_DIR_IN, 0x1000, 1);
        assert_non_null(sa);
        old = hw_sa_handle(&table, sa);
        assert_ptr_equal(hw_sa_by_handle(&table, old), sa);
        hw_sa_release(&table, sa);
        assert_null(hw_sa_by_handle(&table, old));
        assert_null(hw_sa_by_cookie(&table, 1));
        assert_null(hw_sa_lookup(&table, 4, 0x1000, (const uint8_t *)"\1\2\3\4"));
        sa = put(CIF_DIR_IN, 0x1000, 1);
        assert_int_not_equal(hw_sa_handle(&table, sa), old);
        hw_sa_release(&table, sa);
    }
    assert_int_equal(hw_sa_in_use(&table), 0);
    hw_sa_table_free(&table);
}

static void pools_are_apart_or_shared(void **state)
{
    unsigned i;

    make_table(3, 2, false);
    for (i = 0; i < 3; i++)
        assert_non_null(put(CIF_DIR_OUT, 0x1000 + i, 1 + i));
    assert_null(put(CIF_DIR_OUT, 0x2000, 9));
    assert_non_null(put(CIF_DIR_IN, 0x2000, 9));
    assert_non_null(put(CIF_DIR_IN, 0x2001, 10));
    assert_null(put(CIF_DIR_IN, 0x2002, 11));
    hw_sa_table_free(&table);
}

/* 20,000 random steps against a plain list. */
static void churn(void **state)
{
    enum { N = 64 };
    struct hw_sa *have[N] = {0};
    uint64_t random = 9, step;
    unsigned n = 0, i;

    make_table(N, N, true);
    for (step = 0; step < 20000; step++) {
        i = (unsigned)(hw_random(&random) % N);
        if (have[i]) {
            uint32_t spi = have[i]->esp.spi;

            assert_ptr_equal(hw_sa_lookup(&table, 4, spi, (const uint8_t *)"\1\2\3\4"), have[i]);
            assert_ptr_equal(hw_sa_by_cookie(&table, 0x100 + i), have[i]);
            hw_sa_release(&table, have[i]);
            have[i] = NULL;
            n--;
        } else {
            have[i] = put(CIF_DIR_IN, 0x1000 + i * 16, 0x100 + i);
            assert_non_null(have[i]);
            n++;
        }
        assert_int_equal(hw_sa_in_use(&table), n);
    }
    hw_sa_table_free(&table);
}

/* The filter against a plain memory of all numbers. */
static void the_filter(void **state)
{
    static const uint32_t sizes[] = {64, 256, 1024, 4096};
    static uint8_t seen[40000];
    uint64_t random = 3;
    unsigned k, i;

    for (k = 0; k < 4; k++) {
        struct hw_sa sa = {.window_bits = sizes[k]};

        memset(seen, 0, sizeof(seen));
        sa.window = calloc(sizes[k] / 64 + 1, 8);
        for (i = 0; i < 30000; i++) {
            uint64_t base = sa.highest > 5000 ? sa.highest - 5000 : 0;
            uint64_t seq = base + hw_random(&random) % 5040;
            int want = 0;

            if (seq >= sizeof(seen))
                break;
            if (seq <= sa.highest)
                want = sa.highest - seq >= sizes[k] ? -ETIME : seen[seq] ? -EALREADY : 0;
            assert_int_equal(hw_window_check(&sa, seq), want);
            if (!want) {
                hw_window_commit(&sa, seq);
                seen[seq] = 1;
            }
        }
        free(sa.window);
    }
}

static void repeats_end_in_the_card_when_asked(void **state)
{
    struct host *h = host_open("reference");
    uint8_t f[200], c[CIF_RXC_SIZE];
    uint32_t out, in;
    unsigned i, got = 0;

    sa_record(arg(h), CIF_DIR_OUT, 0x1000, 1);
    assert_int_equal(add_sa(h, &out), CIF_ST_OK);
    cif_sa_set_flags(sa_record(arg(h), CIF_DIR_IN, 0x1000, 2), CIF_SAF_REPLAY_CARD);
    cif_sa_set_replay_win(arg(h), 65);
    assert_int_equal(add_sa(h, &in), CIF_ST_BAD_WINDOW);
    cif_sa_set_replay_win(arg(h), 64);
    assert_int_equal(add_sa(h, &in), CIF_ST_OK);
    assert_int_equal(protect(h, out, 9, f, udp_frame(f, 1, 2, 18)), CIF_TXS_OK);
    for (i = 0; i < 3; i++) {
        hw_card_wire_rx(h->card, h->now, 0, h->out[0].data, h->out[0].len);
        run(h);
        got += rx_completion(h, c);
    }
    assert_int_equal(got, 1);
    host_free(h);
}

static void the_guard_refuses_numbers_used(void **state)
{
    struct host *h = host_new("reference");
    uint8_t f[200];
    uint32_t out;
    size_t len = udp_frame(f, 1, 2, 18);

    bring_up(h, CIF_FEAT_SEQ_GUARD);
    open_rings(h);
    sa_record(arg(h), CIF_DIR_OUT, 0x1000, 1);
    assert_int_equal(add_sa(h, &out), CIF_ST_OK);
    assert_int_equal(protect(h, out, 5, f, len), CIF_TXS_OK);
    assert_int_equal(protect(h, out, 5, f, len), CIF_TXS_SEQ_REUSED);
    assert_int_equal(protect(h, out, 4, f, len), CIF_TXS_SEQ_REUSED);
    assert_int_equal(protect(h, out, 6, f, len), CIF_TXS_OK);
    assert_int_equal(h->n_out, 2);
    host_free(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_handle_never_means_another),
        cmocka_unit_test(pools_are_apart_or_shared),
        cmocka_unit_test(churn),
        cmocka_unit_test(the_filter),
        cmocka_unit_test(repeats_end_in_the_card_when_asked),
        cmocka_unit_test(the_guard_refuses_numbers_used),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
