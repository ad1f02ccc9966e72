/* The log: the catalogue row by row, formatting, the two forms, the limit, and the relay. */
#include "hostd/base/log.h"
#include "hostd/base/log_format.h"
#include "hostd/base/log_relay.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* --- the catalogue ------------------------------------------------------------------------------
 */

enum { CONVS = 12 };

/* The conversions of a format as one letter each: what an argument must be. Fails for any that the
 * formatter does not know. */
static unsigned conversions(const struct log_row *r, const char *format, char out[CONVS][4])
{
    unsigned n = 0;
    struct log_conv c;

    for (const char *p = format; *p; p++) {
        if (*p != '%')
            continue;
        size_t len = log_conv_read(p + 1, &c);
        if (len == 0)
            fail_msg("%s: bad conversion in \"%s\"", r->id, format);
        p += len;
        if (c.conv == '%')
            continue;
        assert_true(n < CONVS);
        assert_true(c.conv != 's' || c.length == 0);
        if (c.star)
            snprintf(out[n++], 4, "*");
        /* u, x and X take the same argument */
        snprintf(out[n++], 4, "%c%c", c.conv == 'x' || c.conv == 'X' ? 'u' : c.conv,
                 c.length ? c.length : '-');
    }
    return n;
}

static void check_formats(const struct log_row *r)
{
    char text[CONVS][4], remedy[CONVS][4];
    unsigned n = conversions(r, r->text, text), m = conversions(r, r->remedy, remedy);

    /* The longer one says how many there are: "%.0s" passes over an argument. */
    for (unsigned i = 0; i < m && i < n; i++)
        if (strcmp(text[i], remedy[i]) != 0)
            fail_msg("%s: argument %u is %s in the text and %s in the remedy", r->id, i, text[i],
                     remedy[i]);
}

static void check_words(const struct log_row *r)
{
    assert_true(r->number > 0 && r->number < 100000);
    assert_int_not_equal(r->number, 203); /* an alias on input */
    assert_true(strlen(r->source) > 2 && strlen(r->object) > 1 && strlen(r->text) > 3);
    assert_null(strpbrk(r->text, "\n\t\r"));
    assert_null(strpbrk(r->remedy, "\n\t\r"));
    assert_null(strchr(r->source, ' '));
    if (r->level <= LOG_LVL_ERROR && strlen(r->remedy) < 10)
        fail_msg("%s is %s and has no remedy", r->id, log_level_name(r->level));
}

static void test_catalogue(void **state)
{
    for (unsigned i = 0; i < LOG_MSG_COUNT; i++) {
        const struct log_row *r = log_row((enum log_msg)i);
        check_words(r);
        check_formats(r);
        assert_ptr_equal(log_row_by_number(r->number), r); /* so numbers are unique */
        for (unsigned k = 0; k < i; k++)
            assert_string_not_equal(log_row((enum log_msg)k)->id, r->id);
    }
    assert_null(log_row(LOG_MSG_COUNT));
    assert_null(log_row_by_number(99998));
}

/* Numbers, sources and texts of the administrator's guide stand for ever. */
static void test_guide(void **state)
{
    static const struct {
        unsigned number;
        const char *text;
    } rows[] = {{31, "Main Mode processing failed"},
                {203, "Main Mode processing failed"},
                {413, "MM negotiation timeout, src %s"},
                {201, "Unable to obtain public/private key pair!"}};

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const struct log_row *r = log_row_by_number(rows[i].number);
        assert_non_null(r);
        assert_string_equal(r->source, "IKMPD");
        assert_string_equal(r->text, rows[i].text);
        assert_int_equal(r->level, LOG_LVL_ERROR);
    }
    assert_non_null(log_row_by_number(202));
}

static void test_levels(void **state)
{
    enum log_level l;

    for (int i = 0; i < LOG_LVL_COUNT; i++) {
        assert_int_equal(log_level_parse(log_level_name((enum log_level)i), &l), 0);
        assert_int_equal(l, i);
    }
    assert_int_equal(log_level_parse("warning", &l), 0);
    assert_true(log_level_parse("loud", &l) < 0);
}

/* --- formatting ---------------------------------------------------------------------------------
 */

static char *form(const char *format, ...)
{
    static char buf[80];
    va_list ap;

    va_start(ap, format);
    log_vformat(buf, sizeof buf, format, ap);
    va_end(ap);
    return buf;
}

static void test_format(void **state)
{
    static const char *const none = NULL;

    assert_string_equal(form("%s and %s", "a", none), "a and (none)");
    assert_string_equal(form("%d %i %u", -5, 7, 4000000000u), "-5 7 4000000000");
    assert_string_equal(form("%08x|%X|%x", 0xbeefu, 0xbeefu, 0u), "0000beef|BEEF|0");
    assert_string_equal(form("%5d|%-5d|%05d", -42, 42, -42), "  -42|42   |-0042");
    assert_string_equal(form("%lu %llu %zu %ld", 1ul, 18446744073709551615ull, (size_t)3, -4l),
                        "1 18446744073709551615 3 -4");
    assert_string_equal(form("%lld", (long long)INT64_MIN), "-9223372036854775808");
    assert_string_equal(form("%.2s|%.*s|%c|%%|%4s", "abc", 1, "xyz", 'c', "r"), "ab|x|c|%|   r");
    assert_string_equal(form("before %n after", 1), "before ");
    assert_string_equal(form("end %"), "end ");
    assert_int_equal(strlen(form("%200s", "x")), 79);
}

static void test_clean(void **state)
{
    static const struct {
        const char *in, *out;
    } rows[] = {{"plain", "plain"},
                {"a\nMsg: 31\rb\tc\x1b[0m", "a?Msg: 31?b?c?[0m"},
                {"\x7f", "?"},
                {"\xc3\xbc\xe2\x82\xac\xf0\x9f\x98\x80", "\xc3\xbc\xe2\x82\xac\xf0\x9f\x98\x80"},
                {"\xff\xc3", "??"},
                {"\xc0\x80", "??"},
                {"\xed\xa0\x80", "???"},
                {"\xc2\x85", "?"},
                {"\xe2\x80\xae", "?"},
                {"", ""}};
    char buf[64];

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        strcpy(buf, rows[i].in);
        log_clean(buf);
        assert_string_equal(buf, rows[i].out);
    }
}

/* --- records ------------------------------------------------------------------------------------
 */

static struct log_record last;
static unsigned records;

static void keep(void *ctx, const struct log_record *r)
{
    last = *r;
    records++;
    assert_ptr_equal(ctx, &records);
}

static int start(void **state)
{
    records = 0;
    log_set_level(LOG_LVL_DEBUG);
    log_set_clock(NULL);
    log_set_sink(keep, &records);
    return 0;
}

static int stop(void **state)
{
    log_set_sink(NULL, NULL);
    return 0;
}

static void test_event(void **state)
{
    log_event(MSG_MM_TIMEOUT, "10.0.0.2\nMsg: 31", "10.0.0.2");
    assert_int_equal(records, 1);
    assert_string_equal(last.text, "MM negotiation timeout, src 10.0.0.2");
    assert_string_equal(last.object, "10.0.0.2?Msg: 31");
    log_event(MSG_CALL_REFUSED, NULL, "stop", 1000u, "change");
    assert_string_equal(last.text, "stop refused: user 1000 may not change");
    assert_true(strncmp(last.remedy, "run stop as root", 16) == 0);
    assert_string_equal(last.object, "");
    log_set_level(LOG_LVL_ERROR);
    log_event(MSG_CALL_REFUSED, NULL, "stop", 1000u, "change");
    log_event(LOG_MSG_COUNT, NULL);
    assert_int_equal(records, 2);
}

static void test_two_lines(void **state)
{
    char buf[512], small[20];
    size_t n;

    setenv("TZ", "UTC", 1);
    log_event(MSG_MM_FAILED, "10.0.0.2");
    n = log_two_lines(&last, 1066000000, buf, sizeof buf);
    assert_int_equal(n, strlen(buf));
    assert_true(strncmp(buf,
                        "Msg: 31 From: IKMPD Lvl: ERROR Date: Sun Oct 12 23:06:40 2003\n"
                        "Event: Main Mode processing failed [peer 10.0.0.2] Remedy: compare",
                        127) == 0);
    assert_int_equal(buf[n - 1], '\n');
    assert_int_equal(log_two_lines(&last, 1066000000, small, sizeof small), n);
    assert_int_equal(strlen(small), sizeof small - 1);
    assert_int_equal(log_two_lines(&last, 1066000000, NULL, 0), n);
}

static void test_json(void **state)
{
    char buf[1024];
    size_t n;

    log_event(MSG_CLIENT_CUT, "a\"b\\c", "it \"said\"");
    n = log_json(&last, 5, buf, sizeof buf);
    assert_int_equal(n, strlen(buf));
    assert_string_equal(buf, "{\"time\":5,\"msg\":1402,\"from\":\"CONTROL\",\"level\":\"WARNING\","
                             "\"event\":\"a client was cut off: it \\\"said\\\"\","
                             "\"kind\":\"client\",\"object\":\"a\\\"b\\\\c\"}");
}

static uint64_t fake_now = 1;

static uint64_t fake_clock(void)
{
    return fake_now;
}

static void test_limit(void **state)
{
    log_set_clock(fake_clock);
    for (int i = 0; i < 150; i++)
        log_event(MSG_CONTROL_STARTED, "control");
    assert_int_equal(records, 100);
    log_tick();
    assert_int_equal(records, 100); /* the period is not over */
    fake_now += 10000000000u;
    log_tick();
    assert_int_equal(records, 101);
    assert_int_equal(last.msg, MSG_LOG_HELD);
    assert_string_equal(last.text, "50 more records of message 1401 were held back");
    log_event(MSG_CONTROL_STARTED, "control");
    assert_int_equal(records, 102);
    for (int i = 0; i < 100; i++)
        log_event(MSG_CONTROL_STARTED, "control");
    assert_int_equal(records, 201);
    fake_now += 10000000000u;
    log_event(MSG_CONTROL_STARTED, "control"); /* says it before itself */
    assert_int_equal(records, 203);
    for (int i = 0; i < 300; i++)
        log_event(MSG_LOG_WRITE_FAILED, "f", "x"); /* an alert */
    assert_int_equal(records, 503);
}

/* --- the relay ----------------------------------------------------------------------------------
 */

static unsigned drain(struct msg_chan *c, char *text, size_t room)
{
    unsigned n = 0;
    struct msg m;

    while (msg_recv(c, &m) == 1) {
        assert_int_equal(m.type, MSG_LOG);
        snprintf(text, room, "%.*s", (int)m.len, (const char *)m.body);
        n++;
    }
    return n;
}

static void test_relay(void **state)
{
    struct log_relay *l;
    struct msg_chan *here, *there;
    unsigned got = 0;
    char text[2048];
    int fds[2];

    assert_int_equal(log_relay_new(&l, "data"), 0);
    for (unsigned i = 0; i < LOG_RELAY_KEEP + 7; i++)
        log_event(MSG_MM_TIMEOUT, "peer", "10.0.0.2");
    assert_int_equal(msg_pair(fds), 0);
    assert_int_equal(msg_chan_new(&here, fds[0]), 0);
    assert_int_equal(msg_chan_new(&there, fds[1]), 0);
    log_relay_attach(l, here);
    while (log_relay_flush(l))
        got += drain(there, text, sizeof text);
    got += drain(there, text, sizeof text);
    assert_int_equal(got, LOG_RELAY_KEEP + 1);
    assert_non_null(strstr(text, "7 records were lost"));
    assert_non_null(strstr(text, "\"object\":\"data\""));
    log_event(MSG_MM_FAILED, "peer");
    assert_int_equal(drain(there, text, sizeof text), 1);
    assert_non_null(strstr(text, "\"msg\":31"));
    log_relay_attach(l, NULL);
    log_event(MSG_MM_FAILED, "peer");
    assert_int_equal(log_relay_flush(l), 1);
    log_relay_free(l);
    msg_chan_free(here);
    msg_chan_free(there);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_catalogue),
        cmocka_unit_test(test_guide),
        cmocka_unit_test(test_levels),
        cmocka_unit_test(test_format),
        cmocka_unit_test(test_clean),
        cmocka_unit_test_setup_teardown(test_event, start, stop),
        cmocka_unit_test_setup_teardown(test_two_lines, start, stop),
        cmocka_unit_test_setup_teardown(test_json, start, stop),
        cmocka_unit_test_setup_teardown(test_limit, start, stop),
        cmocka_unit_test_setup_teardown(test_relay, start, stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
