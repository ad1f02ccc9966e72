/* The writer of logs: levels, forms, a disk that is full, sizes, and records as hostile input. */
#include "hostd/control/audit.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

static char buf[65536];

static const char *holds(int fd)
{
    ssize_t n = pread(fd, buf, sizeof buf - 1, 0);

    buf[n > 0 ? n : 0] = '\0';
    return buf;
}

static struct log_record record(enum log_msg m, const char *text)
{
    struct log_record r = {.msg = m};

    strcpy(r.text, text);
    strcpy(r.object, "x");
    return r;
}

static void test_forms_and_levels(void **state)
{
    struct log_record error = record(MSG_MM_FAILED, "bad"),
                      debug = record(MSG_CONTROL_STARTED, "s");
    int text = memfd_create("t", 0), json = memfd_create("j", 0), console = memfd_create("c", 0);
    struct audit a;

    audit_init(&a);
    audit_write(&a, &error, 1); /* nowhere */
    assert_int_equal(audit_fd(&a, AUDIT_TEXT, dup(text)), 0);
    assert_int_equal(audit_fd(&a, AUDIT_JSON, dup(json)), 0);
    assert_int_equal(audit_fd(&a, AUDIT_CONSOLE, dup(console)), 0);
    assert_int_equal(audit_fd(&a, 0, dup(text)), -EINVAL);
    assert_int_equal(audit_fd(&a, 4, dup(text)), -EINVAL);
    audit_write(&a, &error, 1);
    audit_write(&a, &debug, 1);
    assert_null(strstr(holds(text), "Msg: 1401"));
    a.level = LOG_LVL_DEBUG;
    audit_write(&a, &debug, 1);
    assert_non_null(strstr(holds(text), "Msg: 31 "));
    assert_non_null(strstr(buf, "Msg: 1401 "));
    assert_non_null(strstr(holds(json), "\"event\":\"bad\""));
    assert_int_equal(buf[strlen(buf) - 1], '\n');
    assert_non_null(strstr(holds(console), "Event: bad [peer x]\n"));
    audit_close(&a);
    close(text);
    close(json);
    close(console);
}

static void test_full_disk(void **state)
{
    struct log_record r = record(MSG_MM_FAILED, "bad");
    int text = memfd_create("t", 0), quiet = open("/dev/null", O_WRONLY), old = dup(STDERR_FILENO);
    struct audit a;

    audit_init(&a);
    assert_int_equal(audit_fd(&a, AUDIT_TEXT, open("/dev/full", O_WRONLY)), 0);
    dup2(quiet, STDERR_FILENO);
    for (int i = 0; i < 3; i++)
        audit_write(&a, &r, 1);
    dup2(old, STDERR_FILENO);
    assert_int_equal(a.failed, 3);
    assert_int_equal(audit_fd(&a, AUDIT_TEXT, dup(text)), 0);
    audit_write(&a, &r, 1);
    assert_int_equal(a.failed, 0);
    assert_non_null(strstr(holds(text), "3 records could not be written"));
    assert_non_null(strstr(buf, "Event: bad"));
    audit_close(&a);
    close(text);
    close(quiet);
    close(old);
}

static void count(void *ctx)
{
    ++*(unsigned *)ctx;
}

static void test_size(void **state)
{
    struct log_record r = record(MSG_MM_FAILED, "bad");
    unsigned asked = 0;
    struct audit a;

    audit_init(&a);
    a.size_max = 500;
    a.full = count;
    a.ctx = &asked;
    assert_int_equal(audit_fd(&a, AUDIT_TEXT, memfd_create("t", 0)), 0);
    for (int i = 0; i < 20; i++)
        audit_write(&a, &r, 1);
    assert_int_equal(asked, 1);
    assert_int_equal(audit_fd(&a, AUDIT_TEXT, memfd_create("t", 0)), 0);
    for (int i = 0; i < 20; i++)
        audit_write(&a, &r, 1);
    assert_int_equal(asked, 2);
    audit_close(&a);
}

static int parse(const char *json, struct log_record *r)
{
    uint64_t wall;
    return audit_parse(json, strlen(json), r, &wall);
}

static void test_parse(void **state)
{
    static const char *const bad[] = {
        "",
        "[]",
        "{}",
        "{\"msg\":31",
        "{\"msg\":99999}",
        "{\"msg\":-1}",
        "{\"msg\":4294967327}",
        "{\"msg\":\"31\"}",
        "{\"msg\":31,\"time\":-5}",
        "{\"msg\":31,\"time\":9000000000000}",
        "{\"msg\":31,\"event\":7}",
        "{\"msg\":31,\"event\":\"a\",\"event\":\"b\"}",
        "{\"msg\":31,\"object\":[[[[]]]]}",
    };
    struct log_record r;
    char line[3000] = "{\"msg\":203,\"event\":\"";

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (parse(bad[i], &r) == 0)
            fail_msg("taken: %s", bad[i]);
    memset(line + strlen(line), '"' - 1, 2000); /* longer than a text may be */
    strcat(line, "\",\"object\":\"a\\nb\"}");
    assert_int_equal(parse(line, &r), 0);
    assert_int_equal(r.msg, MSG_MM_FAILED);
    assert_int_equal(strlen(r.text), sizeof r.text - 1);
    assert_string_equal(r.object, "a?b");
}

/* What log_json writes is what audit_parse reads, whatever the texts are. */
static void test_there_and_back(void **state)
{
    struct log_record r = record(MSG_MM_FAILED, ""), back;
    char line[4096];
    uint64_t wall;

    memset(r.text, '"', sizeof r.text - 1);
    memset(r.object, '\\', sizeof r.object - 1);
    memset(r.remedy, '"', sizeof r.remedy - 1);
    assert_true(log_json(&r, 77, line, sizeof line) < sizeof line);
    assert_int_equal(audit_parse(line, strlen(line), &back, &wall), 0);
    assert_int_equal(wall, 77);
    assert_string_equal(back.text, r.text);
    assert_string_equal(back.object, r.object);
    assert_string_equal(back.remedy, r.remedy);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forms_and_levels),
        cmocka_unit_test(test_full_disk),
        cmocka_unit_test(test_size),
        cmocka_unit_test(test_parse),
        cmocka_unit_test(test_there_and_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
