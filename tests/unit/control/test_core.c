/* The control process without sockets: lines in, calls out, answers back. */
#include "hostd/base/log.h"
#include "hostd/control/client.h"
#include "hostd/control/core.h"
#include "hostd/control/methods.h"
#include "hostd/control/rpc.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define SECOND 1000000000ull

struct rig {
    struct ctl *ctl;
    struct ctl_client *k;
    char out[4][70000]; /* lines written, by client handle */
    unsigned lines[4];
    char body[70000]; /* of the last message sent */
    uint16_t type;
    uint32_t id;
    enum proc to;
    unsigned sent, n_fds;
    int send_error, level;
};

static int mock_send(void *ctx, enum proc to, uint16_t type, uint32_t id, const char *body,
                     size_t len, const int *fds, unsigned n_fds)
{
    struct rig *r = ctx;

    if (r->send_error)
        return r->send_error;
    snprintf(r->body, sizeof r->body, "%.*s", (int)len, body);
    r->to = to;
    r->type = type;
    r->id = id;
    r->n_fds = n_fds;
    r->sent++;
    return 0;
}

static void mock_write(void *ctx, void *client, const char *line, size_t len)
{
    struct rig *r = ctx;
    uintptr_t i = (uintptr_t)client;

    assert_int_equal(line[len - 1], '\n');
    assert_int_equal(strlen(line), len);
    snprintf(r->out[i], sizeof r->out[i], "%.*s", (int)len - 1, line);
    r->lines[i]++;
}

static void mock_level(void *ctx, int level)
{
    ((struct rig *)ctx)->level = level;
}

static void *handle(uintptr_t i)
{
    return (void *)i;
}

static int set_up(void **state)
{
    struct rig *r = calloc(1, sizeof *r);
    const struct ctl_ops ops = {r, mock_send, mock_write, mock_level};

    r->ctl = ctl_new(&ops, "1.2.3");
    r->k = ctl_client_new(r->ctl, handle(0), 0, RIGHT_READ | RIGHT_CHANGE);
    ctl_owner_up(r->ctl, PROC_DATA);
    ctl_owner_up(r->ctl, PROC_PARENT);
    *state = r;
    return 0;
}

static int tear_down(void **state)
{
    struct rig *r = *state;

    ctl_free(r->ctl);
    free(r);
    return 0;
}

static const char *say(struct rig *r, const char *line)
{
    r->out[0][0] = '\0';
    ctl_client_line(r->k, line, strlen(line), NULL, 0, SECOND);
    return r->out[0];
}

static void say_as(struct ctl_client *k, const char *line)
{
    ctl_client_line(k, line, strlen(line), NULL, 0, SECOND);
}

static int owner_says(struct rig *r, uint16_t type, uint32_t id, const char *body)
{
    return ctl_owner_message(r->ctl, PROC_DATA, type, id, body, strlen(body), SECOND);
}

#define REQ(id, rest) "{\"jsonrpc\":\"2.0\",\"id\":" id "," rest "}"

static void test_own_methods(void **state)
{
    struct rig *r = *state;

    assert_string_equal(say(r, REQ("1", "\"method\":\"ping\"")),
                        "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":true}");
    assert_non_null(strstr(say(r, REQ("\"x\"", "\"method\":\"version\"")), "\"1.2.3\""));
    assert_non_null(strstr(r->out[0], "\"id\":\"x\""));
    assert_non_null(strstr(say(r, REQ("2", "\"method\":\"methods\"")), "\"sa.add\""));
    say(r, REQ("3", "\"method\":\"log.level\",\"params\":{\"level\":\"debug\"}"));
    assert_int_equal(r->level, LOG_LVL_DEBUG);
    assert_non_null(strstr(say(r, REQ("4", "\"method\":\"log.level\"")), "-32602"));
    assert_int_equal(r->sent, 0);
}

/* What is not a request gets the code of JSON-RPC, and is never passed on. */
static void test_hostile_lines(void **state)
{
    static const struct {
        const char *line, *code;
    } rows[] = {
        {"", "-32700"},
        {"hello", "-32700"},
        {"{\"jsonrpc\":\"2.0\"", "-32700"},
        {"{\"jsonrpc\":\"2.0\",\"id\":1,\"id\":2,\"method\":\"ping\"}", "-32700"},
        {"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"p\\u0000ng\"}", "-32700"},
        {"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"\xff\"}", "-32700"},
        {"[]", "-32600"},
        {"7", "-32700"},
        {"{}", "-32600"},
        {"{\"jsonrpc\":\"1.0\",\"id\":1,\"method\":\"ping\"}", "-32600"},
        {REQ("1", "\"method\":5"), "-32600"},
        {REQ("1.5", "\"method\":\"ping\""), "-32600"},
        {REQ("{}", "\"method\":\"ping\""), "-32600"},
        {REQ("1", "\"method\":\"ping\",\"params\":[1]"), "-32602"},
        {REQ("1", "\"method\":\"nosuch\""), "-32601"},
        {REQ("99999999999999999999", "\"method\":\"ping\""), "-32700"},
    };
    struct rig *r = *state;

    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (!strstr(say(r, rows[i].line), rows[i].code))
            fail_msg("%s: %s", rows[i].line, r->out[0]);
    assert_int_equal(r->sent, 0);
}

static void test_depth(void **state)
{
    struct rig *r = *state;
    char line[200] = "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"sa.list\",\"params\":{\"a\":";

    memset(line + strlen(line), '[', 60);
    assert_non_null(strstr(say(r, line), "nested too deep"));
    assert_true(rpc_depth_ok("[[\"[[[[\\\"[[[\"]]", 15, 2));
    assert_false(rpc_depth_ok("[[[", 3, 2));
    assert_true(rpc_depth_ok("]]]][[", 6, 2));
}

static void test_call(void **state)
{
    struct rig *r = *state;

    say(r, REQ("7", "\"method\":\"sa.list\",\"params\":{\"policy\":\"lan\"}"));
    assert_int_equal(r->to, PROC_DATA);
    assert_int_equal(r->type, MSG_CALL);
    assert_string_equal(r->body, "{\"method\":\"sa.list\",\"params\":{\"policy\":\"lan\"}}");
    assert_int_equal(r->lines[0], 0);
    assert_int_equal(owner_says(r, MSG_REPLY, r->id, "{\"result\":{\"sas\":[1]},\"more\":true}"),
                     0);
    assert_string_equal(r->out[0],
                        "{\"jsonrpc\":\"2.0\",\"id\":7,\"result\":{\"sas\":[1]},\"more\":true}");
    assert_int_equal(ctl_client_pending(r->k), 1);
    owner_says(r, MSG_REPLY, r->id, "{\"result\":{\"sas\":[2]}}");
    assert_string_equal(r->out[0], "{\"jsonrpc\":\"2.0\",\"id\":7,\"result\":{\"sas\":[2]}}");
    assert_int_equal(ctl_client_pending(r->k), 0);
    owner_says(r, MSG_REPLY, r->id, "{\"result\":{\"sas\":[3]}}");
    assert_int_equal(r->lines[0], 2);
    say(r, REQ("8", "\"method\":\"reload\""));
    assert_int_equal(r->to, PROC_PARENT);
    assert_int_equal(r->type, MSG_RELOAD);
    assert_string_equal(r->body, "{\"method\":\"reload\"}");
}

static void test_owner_errors(void **state)
{
    struct rig *r = *state;

    say(r, REQ("1", "\"method\":\"sa.delete\""));
    owner_says(r, MSG_REPLY, r->id, "{\"error\":{\"code\":1,\"message\":\"no such SA\"}}");
    assert_string_equal(r->out[0], "{\"jsonrpc\":\"2.0\",\"id\":1,\"error\":{\"code\":1,"
                                   "\"message\":\"no such SA\"}}");
    /* An answer of another process is not taken for data's. */
    say(r, REQ("2", "\"method\":\"sa.list\""));
    ctl_owner_message(r->ctl, PROC_PARENT, MSG_REPLY, r->id, "{\"result\":1}", 12, SECOND);
    assert_string_equal(r->out[0], "");
    assert_int_equal(owner_says(r, MSG_REPLY, r->id, "{\"resul\":1}"), -EBADMSG);
    assert_non_null(strstr(r->out[0], "malformed"));
    assert_int_equal(ctl_client_pending(r->k), 0);
    assert_int_equal(owner_says(r, MSG_EVENT, 0, "{\"topic\":\"nosuch\"}"), -EBADMSG);
    assert_int_equal(owner_says(r, MSG_EVENT, 0, "nonsense"), -EBADMSG);
}

static void test_away(void **state)
{
    static const char text[] = "process data is not running, it is being started again";
    struct rig *r = *state;

    say(r, REQ("1", "\"method\":\"sa.list\""));
    say(r, REQ("2", "\"method\":\"status\""));
    ctl_owner_down(r->ctl, PROC_DATA);
    assert_non_null(strstr(r->out[0], text));
    assert_non_null(strstr(r->out[0], "\"code\":3"));
    assert_int_equal(ctl_client_pending(r->k), 1);
    assert_non_null(strstr(say(r, REQ("3", "\"method\":\"sa.list\"")), text));
    ctl_owner_up(r->ctl, PROC_DATA);
    r->send_error = -EPIPE;
    assert_non_null(strstr(say(r, REQ("4", "\"method\":\"sa.list\"")), text));
    r->send_error = -EAGAIN;
    assert_non_null(strstr(say(r, REQ("5", "\"method\":\"sa.list\"")), "busy"));
    r->send_error = -EMSGSIZE;
    assert_non_null(strstr(say(r, REQ("6", "\"method\":\"sa.list\"")), "too large"));
    assert_int_equal(ctl_client_pending(r->k), 1);
}

static void test_timeout(void **state)
{
    struct rig *r = *state;

    say(r, REQ("1", "\"method\":\"counters\""));
    assert_int_equal(ctl_tick(r->ctl, 2 * SECOND), 11 * SECOND);
    assert_int_equal(r->lines[0], 0);
    assert_true(ctl_tick(r->ctl, 11 * SECOND) == UINT64_MAX);
    assert_non_null(strstr(r->out[0], "process data did not answer within 10 seconds"));
    owner_says(r, MSG_REPLY, r->id, "{\"result\":1}");
    assert_int_equal(r->lines[0], 1);
}

static void test_limits(void **state)
{
    struct rig *r = *state;
    char line[120];

    say(r, REQ("5", "\"method\":\"counters\""));
    assert_non_null(strstr(say(r, REQ("5", "\"method\":\"counters\"")), "not answered yet"));
    for (int i = 0; i < CTL_PENDING_MAX - 1; i++) {
        snprintf(line, sizeof line, REQ("%d", "\"method\":\"counters\""), 100 + i);
        assert_string_equal(say(r, line), "");
    }
    assert_non_null(strstr(say(r, REQ("6", "\"method\":\"counters\"")), "unanswered"));
    assert_int_equal(r->sent, CTL_PENDING_MAX);
}

static void test_notifications(void **state)
{
    struct rig *r = *state;

    assert_string_equal(say(r, "{\"jsonrpc\":\"2.0\",\"method\":\"ping\"}"), "");
    say(r, "{\"jsonrpc\":\"2.0\",\"method\":\"sa.list\"}");
    assert_int_equal(r->sent, 1);
    owner_says(r, MSG_REPLY, r->id, "{\"result\":1}");
    assert_int_equal(r->lines[0], 0);
    assert_int_equal(ctl_client_pending(r->k), 0);
}

static void test_rights(void **state)
{
    struct rig *r = *state;
    struct ctl_client *reader = ctl_client_new(r->ctl, handle(1), 1000, RIGHT_READ);
    struct ctl_client *nobody = ctl_client_new(r->ctl, handle(2), 1001, RIGHT_NONE);
    const struct method *m;
    char line[120];

    for (unsigned i = 0; (m = method_at(i)); i++) {
        snprintf(line, sizeof line, REQ("%u", "\"method\":\"%s\""), i, m->name);
        if (m->right == RIGHT_CHANGE) {
            say_as(reader, line);
            assert_non_null(strstr(r->out[1], "\"code\":4"));
        }
        say_as(nobody, line);
        assert_non_null(strstr(r->out[2], "\"code\":4"));
    }
    assert_int_equal(r->sent, 0);
    say_as(reader, REQ("1", "\"method\":\"sa.list\""));
    ctl_client_free(reader);
    ctl_client_free(nobody);
}

static void test_peer_rights(void **state)
{
    const uint32_t staff[] = {5, 50}, none[] = {UINT32_MAX};

    assert_int_equal(client_rights(0, NULL, 0, UINT32_MAX, UINT32_MAX), RIGHT_READ | RIGHT_CHANGE);
    assert_int_equal(client_rights(7, staff, 2, 50, 60), RIGHT_READ);
    assert_int_equal(client_rights(7, staff, 2, 60, 50), RIGHT_READ | RIGHT_CHANGE);
    assert_int_equal(client_rights(7, staff, 2, 60, 61), RIGHT_NONE);
    assert_int_equal(client_rights(7, none, 1, UINT32_MAX, UINT32_MAX), RIGHT_NONE);
}

static void test_descriptors(void **state)
{
    static const char add[] = REQ("1", "\"method\":\"sa.add\",\"params\":{}");
    struct rig *r = *state;
    int fds[2] = {0, 1};

    assert_non_null(strstr(say(r, add), "takes 1 descriptors, 0 came"));
    ctl_client_line(r->k, add, strlen(add), fds, 2, 0);
    assert_non_null(strstr(r->out[0], "2 came"));
    assert_int_equal(r->sent, 0);
    ctl_client_line(r->k, add, strlen(add), fds, 1, 0);
    assert_int_equal(r->sent, 1);
    assert_int_equal(r->n_fds, 1);
}

static void test_events(void **state)
{
    struct rig *r = *state;
    struct ctl_client *other = ctl_client_new(r->ctl, handle(1), 0, RIGHT_READ);

    say(r, REQ("1", "\"method\":\"acquire.subscribe\""));
    say_as(other, REQ("1", "\"method\":\"log.subscribe\""));
    assert_int_equal(r->lines[1], 1);
    assert_int_equal(owner_says(r, MSG_EVENT, 0, "{\"topic\":\"acquire\",\"policy\":\"lan\"}"), 0);
    assert_string_equal(r->out[0], "{\"jsonrpc\":\"2.0\",\"method\":\"event\",\"params\":"
                                   "{\"topic\":\"acquire\",\"policy\":\"lan\"}}");
    ctl_event(r->ctl, "log", json_pack("{s:i}", "record", 1));
    assert_int_equal(r->lines[0], 2);
    assert_int_equal(r->lines[1], 2);
    assert_non_null(strstr(r->out[1], "\"topic\":\"log\""));
    ctl_client_free(other);
    ctl_event(r->ctl, "log", json_pack("{s:i}", "record", 2));
}

static void test_client_goes(void **state)
{
    struct rig *r = *state;

    say(r, REQ("1", "\"method\":\"sa.list\""));
    ctl_client_free(r->k);
    owner_says(r, MSG_REPLY, r->id, "{\"result\":1}");
    assert_int_equal(r->lines[0], 0);
}

static void test_table(void **state)
{
    const struct method *m;

    for (unsigned i = 0; (m = method_at(i)); i++) {
        assert_ptr_equal(method_find(m->name), m);
        assert_true(m->right == RIGHT_READ || m->right == RIGHT_CHANGE);
        assert_true(strlen(m->doc) > 5);
        assert_true(m->fds <= MSG_FDS);
        assert_true(m->owner == PROC_CONTROL || (m->seconds && m->type));
        assert_true(!m->topic || (m->owner == PROC_CONTROL && method_topic(m->topic) >= 0));
    }
    assert_int_equal(method_topic("nosuch"), -1);
}

#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_own_methods),   T(test_hostile_lines), T(test_depth),       T(test_call),
        T(test_owner_errors),  T(test_away),          T(test_timeout),     T(test_limits),
        T(test_notifications), T(test_rights),        T(test_peer_rights), T(test_descriptors),
        T(test_events),        T(test_client_goes),   T(test_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
