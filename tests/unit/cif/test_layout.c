/* The contract's layout does not move: the list made from the tables equals the golden one, and the
 * offsets of contract 1.2 and 1.3 are in the header. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "firmware-if/card_if.h"

static void sa_record(void **state)
{
    assert_int_equal(CIF_SA_SIZE, 320);
    assert_int_equal(CIF_SA_SPI_OFF, 0x08);
    assert_int_equal(CIF_SA_PROTO_OFF, 0x0c);
    assert_int_equal(CIF_SA_FLAGS_OFF, 0x18);
    assert_int_equal(CIF_SA_UDP_SPORT_OFF, 0x28);
    assert_int_equal(CIF_SA_COOKIE_OFF, 0x38);
    assert_int_equal(CIF_SA_SRC_OFF, 0x40);
    assert_int_equal(CIF_SA_SEQ_OFF, 0x60);
    assert_int_equal(CIF_SA_IV_XOR_OFF, 0x78);
    assert_int_equal(CIF_SA_SALT_OFF, 0x9c);
    assert_int_equal(CIF_SA_ENCR_KEY_OFF, 0xa0);
    assert_int_equal(CIF_SA_IV_KEY_OFF, 0x100);
    assert_int_equal(CIF_SA_STATE_ICV_FAIL_OFF, 0x40);
}

static void entries(void **state)
{
    assert_int_equal(CIF_ASQ_SIZE, 64);
    assert_int_equal(CIF_ACQ_PHASE_OFF, CIF_ACQ_SIZE - 1);
    assert_int_equal(CIF_TXC_PHASE_OFF, CIF_TXC_SIZE - 1);
    assert_int_equal(CIF_RXC_PHASE_OFF, CIF_RXC_SIZE - 1);
    assert_int_equal(CIF_EVENT_PHASE_OFF, CIF_EVENT_SIZE - 1);
    assert_int_equal(CIF_TXD_SIZE, 32);
    assert_int_equal(CIF_RXB_SIZE, 16);
    assert_int_equal(CIF_REC_STATUS_SIZE, 16);
}

static char *slurp(const char *path)
{
    FILE *f = fopen(path, "r");
    static char buf[2][65536];
    static int which;
    char *b = buf[which++ & 1];
    if (!f)
        return NULL;
    size_t n = fread(b, 1, sizeof buf[0] - 1, f);
    b[n] = 0;
    fclose(f);
    return b;
}

static void golden(void **state)
{
    char now[] = "/tmp/sallyport-layout-XXXXXX";
    char cmd[300];
    int fd = mkstemp(now);
    assert_true(fd >= 0);
    snprintf(cmd, sizeof cmd,
             "/usr/bin/python3 firmware-if/generate.py --layout %s firmware-if/*.toml", now);
    if (access("firmware-if/generate.py", R_OK))
        skip(); /* not run from the root of the sources */
    assert_int_equal(system(cmd), 0);
    char *made = slurp(now), *kept = slurp("tests/unit/cif/layout.golden");
    close(fd);
    unlink(now);
    assert_non_null(made);
    assert_non_null(kept);
    assert_string_equal(made, kept);
}

static void phases(void **state)
{
    assert_int_equal(cif_phase(0), 0x01);
    assert_int_equal(cif_phase(1), 0x02);
    assert_int_equal(cif_phase(2), 0x05);
    for (uint32_t pass = 0; pass < 300; pass++) {
        assert_int_not_equal(cif_phase(pass), 0);
        assert_int_not_equal(cif_phase(pass) & 1, cif_phase(pass + 1) & 1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sa_record),
        cmocka_unit_test(entries),
        cmocka_unit_test(golden),
        cmocka_unit_test(phases),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
