/* The process table and the first steps of a child, as far as they are arithmetic. */
#include "hostd/main/process.h"
#include "hostd/main/role.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static void test_table(void **state)
{
    for (unsigned i = 0; i < PROC_COUNT; i++) {
        const struct proc_row *r = proc_row(i);
        assert_non_null(r);
        assert_int_equal(r->id, i);
        assert_string_equal(r->title, proc_name(i));
        assert_int_equal(proc_by_name(r->title), i);
        assert_true(r->holds[0]);
        /* the parent alone keeps its privileges */
        assert_int_equal(r->drops, i != PROC_PARENT);
    }
    assert_null(proc_row(PROC_COUNT));
    assert_int_equal(proc_by_name("nobody"), PROC_COUNT);
    assert_true(proc_row(PROC_DATA)->started && proc_row(PROC_CONTROL)->started);
    assert_false(proc_row(PROC_IKE)->started);
}

static void test_pairs(void **state)
{
    for (unsigned a = 0; a < PROC_COUNT; a++)
        for (unsigned b = 0; b < PROC_COUNT; b++) {
            assert_int_equal(proc_talks(a, b), proc_talks(b, a));
            if (a == b)
                assert_false(proc_talks(a, b));
            else if (a == PROC_PARENT)
                assert_true(proc_talks(a, b));
        }
    assert_true(proc_talks(PROC_DATA, PROC_CONTROL));
    assert_true(proc_talks(PROC_IKE, PROC_FETCH));
    /* private keys are beside ike only; the network's data never meets them */
    assert_false(proc_talks(PROC_KEYS, PROC_DATA));
    assert_false(proc_talks(PROC_KEYS, PROC_CONTROL));
    assert_false(proc_talks(PROC_FETCH, PROC_DATA));
}

static void test_backoff(void **state)
{
    unsigned deaths = proc_deaths(0, 0);
    assert_int_equal(deaths, 1);
    assert_true(proc_delay(deaths) == 0); /* the first restart is at once */
    uint64_t before = 0;
    for (int i = 0; i < 20; i++) {
        deaths = proc_deaths(deaths, 1000);
        assert_true(proc_delay(deaths) >= before);
        before = proc_delay(deaths);
    }
    assert_true(before == 5ull * 1000000000);
    assert_true(proc_delay(proc_deaths(deaths, PROC_STEADY)) == 0);
}

static void test_mapped(void **state)
{
    assert_true(role_id_mapped("         0          0 4294967295\n", 65534));
    assert_true(role_id_mapped("0 1000 1\n", 0));
    assert_false(role_id_mapped("0 1000 1\n", 65534));
    assert_true(role_id_mapped("0 1000 1\n1 100000 65536\n", 65534));
    assert_false(role_id_mapped("0 1000 1\n10 100000 20\n", 30));
    assert_true(role_id_mapped("0 1000 1\n10 100000 20\n", 29));
    assert_false(role_id_mapped("", 0));
    assert_false(role_id_mapped("no numbers", 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_pairs),
        cmocka_unit_test(test_backoff),
        cmocka_unit_test(test_mapped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
