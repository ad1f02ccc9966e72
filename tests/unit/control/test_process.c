/* The control process for real, in a child: the parent and data are this test, at the other ends of
 * its channels; clients are the tools' library. */
#include "hostd/base/config.h"
#include "hostd/base/log.h"
#include "hostd/control/control.h"
#include "hostd/control/rpc.h"
#include "hostd/main/config/config_load.h"
#include "tools/ctl/ctl.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

struct rig {
    char dir[64];
    pid_t pid;
    struct msg_chan *chan, *data; /* our ends */
    int text_fd, json_fd;
    struct ctl_conn *c;
};

static struct ctl_error error;

static void give_fd(struct rig *r, uint32_t kind, uint32_t arg, int fd)
{
    struct msg_fd what = {.kind = kind, .arg = arg, .ifindex = UINT32_MAX};

    if (kind == MSG_FD_CONTROL)
        what.arg = UINT32_MAX;
    assert_int_equal(msg_send(r->chan, MSG_FD, 0, &what, sizeof what, &fd, 1), 0);
}

static void give_socket(struct rig *r)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    snprintf(a.sun_path, sizeof a.sun_path, "%s/control.sock", r->dir);
    assert_int_equal(bind(fd, (const struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(listen(fd, 16), 0);
    give_fd(r, MSG_FD_CONTROL, 0, fd);
    close(fd);
}

static void give_data(struct rig *r)
{
    struct msg_arg arg = {PROC_DATA};
    int fds[2];

    assert_int_equal(msg_pair(fds), 0);
    msg_chan_free(r->data);
    assert_int_equal(msg_chan_new(&r->data, fds[0]), 0);
    assert_int_equal(msg_send(r->chan, MSG_PEER, 0, &arg, sizeof arg, &fds[1], 1), 0);
    close(fds[1]);
}

static void give_config(struct rig *r, const char *path)
{
    struct cfg cfg;
    char *json;
    int fd = memfd_create("config", MFD_CLOEXEC);

    assert_int_equal(cfg_load(path, &cfg, stderr), 0);
    json = cfg_to_json(&cfg);
    assert_int_equal(write(fd, json, strlen(json)), strlen(json));
    assert_int_equal(msg_send(r->chan, MSG_CONFIG, 0, NULL, 0, &fd, 1), 0);
    close(fd);
    free(json);
    cfg_free(&cfg);
}

/* The next message on a channel, at most five seconds later. */
static void next(struct msg_chan *c, struct msg *m)
{
    struct pollfd p = {msg_chan_fd(c), POLLIN, 0};

    assert_int_equal(poll(&p, 1, 5000), 1);
    assert_int_equal(msg_recv(c, m), 1);
}

static int set_up(void **state)
{
    struct rig *r = calloc(1, sizeof *r);
    struct msg m;
    int fds[2];

    strcpy(r->dir, "/tmp/sp-control-XXXXXX");
    assert_non_null(mkdtemp(r->dir));
    assert_int_equal(msg_pair(fds), 0);
    r->pid = fork();
    if (r->pid == 0) {
        struct msg_chan *c;
        close(fds[0]);
        _exit(msg_chan_new(&c, fds[1]) ? 99 : control_run(c));
    }
    close(fds[1]);
    assert_int_equal(msg_chan_new(&r->chan, fds[0]), 0);
    r->text_fd = memfd_create("text", MFD_CLOEXEC);
    r->json_fd = memfd_create("json", MFD_CLOEXEC);
    give_config(r, "tests/unit/config/good/full.yaml");
    give_fd(r, MSG_FD_LOG, 1, r->text_fd);
    give_fd(r, MSG_FD_LOG, 2, r->json_fd);
    give_data(r);
    give_socket(r);
    next(r->chan, &m);
    assert_int_equal(m.type, MSG_READY);
    assert_int_equal(ctl_connect(&r->c, r->dir, &error), 0);
    *state = r;
    return 0;
}

static int end_child(struct rig *r)
{
    struct msg_arg arg = {MSG_STOP_END};
    int status = 0;

    msg_send(r->chan, MSG_STOP, 0, &arg, sizeof arg, NULL, 0);
    assert_int_equal(waitpid(r->pid, &status, 0), r->pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int tear_down(void **state)
{
    struct rig *r = *state;
    char path[128];

    ctl_close(r->c);
    assert_int_equal(end_child(r), 0);
    msg_chan_free(r->chan);
    msg_chan_free(r->data);
    close(r->text_fd);
    close(r->json_fd);
    snprintf(path, sizeof path, "%s/control.sock", r->dir);
    unlink(path);
    rmdir(r->dir);
    free(r);
    return 0;
}

/* A client in a process of its own, so that this one can play data. Exits with the call's code; the
 * length of the list "rows" is compared where one is wanted. */
static pid_t call_apart(struct rig *r, const char *method, int key, int rows)
{
    pid_t pid = fork();
    struct ctl_conn *c;
    json_t *result;
    int code;

    if (pid)
        return pid;
    code = ctl_connect(&c, r->dir, &error);
    if (!code)
        code = ctl_call(c, method, json_object(), &key, key >= 0 ? 1 : 0, &result, &error);
    if (!code && rows >= 0 && (int)json_array_size(json_object_get(result, "rows")) != rows)
        code = 50;
    _exit(code);
}

static int code_of(pid_t pid)
{
    int status = 0;

    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WEXITSTATUS(status);
}

static void reply(struct msg_chan *c, uint32_t id, const char *body)
{
    assert_int_equal(msg_send(c, MSG_REPLY, id, body, strlen(body), NULL, 0), 0);
}

static void test_version(void **state)
{
    struct rig *r = *state;
    json_t *result;

    assert_int_equal(ctl_call(r->c, "version", NULL, NULL, 0, &result, &error), 0);
    assert_string_equal(json_string_value(json_object_get(result, "name")), "sallyport");
    json_decref(result);
    assert_int_equal(ctl_call(r->c, "nosuch", NULL, NULL, 0, &result, &error), CTL_USAGE);
    assert_int_equal(error.code, -32601);
    assert_int_equal(ctl_connect(&(struct ctl_conn *){NULL}, "/nonexistent", &error),
                     CTL_NOT_RUNNING);
}

static void test_pages(void **state)
{
    struct rig *r = *state;
    struct msg m;
    pid_t pid = call_apart(r, "sa.list", -1, 5);

    next(r->data, &m);
    assert_int_equal(m.type, MSG_CALL);
    assert_string_equal((const char *)m.body, "{\"method\":\"sa.list\",\"params\":{}}");
    reply(r->data, m.id, "{\"result\":{\"rows\":[1,2],\"at\":7},\"more\":true}");
    reply(r->data, m.id, "{\"result\":{\"rows\":[3,4],\"at\":7},\"more\":true}");
    reply(r->data, m.id, "{\"result\":{\"rows\":[5],\"at\":7}}");
    assert_int_equal(code_of(pid), 0);
    pid = call_apart(r, "sa.delete", -1, -1);
    next(r->data, &m);
    reply(r->data, m.id, "{\"error\":{\"code\":1,\"message\":\"no such SA\"}}");
    assert_int_equal(code_of(pid), CTL_NOT_FOUND);
}

/* The keys' memfd arrives at data as the client made it. */
static void test_descriptor(void **state)
{
    struct rig *r = *state;
    struct msg m;
    struct stat a, b;
    int key = memfd_create("keys", MFD_CLOEXEC);
    pid_t pid = call_apart(r, "sa.add", key, -1);

    next(r->data, &m);
    assert_int_equal(m.n_fds, 1);
    assert_int_equal(fstat(key, &a), 0);
    assert_int_equal(fstat(m.fds[0], &b), 0);
    assert_int_equal(a.st_ino, b.st_ino);
    reply(r->data, m.id, "{\"result\":{}}");
    msg_close_fds(&m);
    assert_int_equal(code_of(pid), 0);
    close(key);
}

static void test_data_dies(void **state)
{
    struct rig *r = *state;
    struct msg m;
    pid_t pid = call_apart(r, "sa.list", -1, -1);

    next(r->data, &m);
    msg_chan_free(r->data);
    r->data = NULL;
    assert_int_equal(code_of(pid), CTL_NOT_RUNNING);
    pid = call_apart(r, "sa.list", -1, -1);
    assert_int_equal(code_of(pid), CTL_NOT_RUNNING);
    give_data(r);
    pid = call_apart(r, "sa.list", -1, -1);
    next(r->data, &m);
    reply(r->data, m.id, "{\"result\":{}}");
    assert_int_equal(code_of(pid), 0);
}

static void test_parent_calls(void **state)
{
    struct rig *r = *state;
    struct msg m;
    pid_t pid = call_apart(r, "status", -1, -1);

    next(r->chan, &m);
    assert_int_equal(m.type, MSG_ADMIN);
    reply(r->chan, m.id, "{\"result\":{}}");
    assert_int_equal(code_of(pid), 0);
    pid = call_apart(r, "reload", -1, -1);
    next(r->chan, &m);
    assert_int_equal(m.type, MSG_RELOAD);
    reply(r->chan, m.id, "{\"error\":{\"code\":4,\"message\":\"s.yaml:1:1: no\"}}");
    assert_int_equal(code_of(pid), CTL_REFUSED);
}

/* Waits until the file has the text, and returns what it holds. */
static const char *file_with(int fd, const char *text)
{
    static char buf[65536];

    for (int i = 0; i < 500; i++) {
        ssize_t n = pread(fd, buf, sizeof buf - 1, 0);
        buf[n > 0 ? n : 0] = '\0';
        if (strstr(buf, text))
            return buf;
        usleep(10000);
    }
    fail_msg("no \"%s\" in the log:\n%s", text, buf);
    return NULL;
}

static void test_log(void **state)
{
    static const char record[] = "{\"time\":1066000000,\"msg\":31,\"event\":\"Main Mode processing "
                                 "failed\\nMsg: 1\",\"object\":\"10.0.0.2\",\"remedy\":\"look\"}";
    static const char bad[] = "{\"time\":1066000000,\"msg\":77777,\"event\":\"x\"}";
    struct rig *r = *state;
    const char *text;
    json_t *result, *event;

    assert_int_equal(ctl_call(r->c, "log.subscribe", NULL, NULL, 0, &result, &error), 0);
    json_decref(result);
    msg_send(r->data, MSG_LOG, 0, record, sizeof record - 1, NULL, 0);
    text = file_with(r->text_fd, "Main Mode");
    assert_non_null(strstr(text, "Msg: 31 From: IKMPD Lvl: ERROR Date: "));
    assert_non_null(strstr(text, "\nEvent: Main Mode processing failed?Msg: 1 [peer 10.0.0.2] "
                                 "Remedy: look\n"));
    assert_non_null(strstr(file_with(r->json_fd, "Main Mode"), "\"msg\":31,\"from\":\"IKMPD\""));
    assert_int_equal(ctl_next_event(r->c, 5000, &event, &error), 0);
    assert_non_null(event);
    assert_int_equal(json_integer_value(json_object_get(json_object_get(event, "record"), "msg")),
                     31);
    json_decref(event);
    msg_send(r->data, MSG_LOG, 0, bad, sizeof bad - 1, NULL, 0);
    file_with(r->text_fd, "a message of process data was malformed");
}

/* The last record before the end is written. */
static void test_log_at_the_end(void **state)
{
    static const char record[] = "{\"time\":1,\"msg\":31,\"event\":\"the last one\"}";
    struct rig *r = *state;

    for (int i = 0; i < 20; i++)
        msg_send(r->data, MSG_LOG, 0, record, sizeof record - 1, NULL, 0);
    assert_int_equal(end_child(r), 0);
    file_with(r->text_fd, "the last one");
    /* and a new child, so that the rig can be taken down */
    r->pid = fork();
    if (r->pid == 0)
        _exit(0);
}

static void test_rotate(void **state)
{
    static const char record[] = "{\"time\":1,\"msg\":31,\"event\":\"again\"}";
    struct rig *r = *state;
    int file = open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    struct msg m;

    assert_int_equal(ftruncate(file, 2000 * 1024), 0); /* file-size of full.yaml */
    give_fd(r, MSG_FD_LOG, 1, file);
    msg_send(r->data, MSG_LOG, 0, record, sizeof record - 1, NULL, 0);
    next(r->chan, &m);
    assert_int_equal(m.type, MSG_ADMIN);
    assert_string_equal((const char *)m.body, "{\"method\":\"log.rotate\"}");
    reply(r->chan, m.id, "{\"result\":{}}");
    close(file);
}

static int raw_client(struct rig *r)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    snprintf(a.sun_path, sizeof a.sun_path, "%s/control.sock", r->dir);
    assert_int_equal(connect(fd, (const struct sockaddr *)&a, sizeof a), 0);
    return fd;
}

/* Reads until a line feed or the end. */
static size_t read_line(int fd, char *buf, size_t room)
{
    size_t n = 0;

    while (n < room - 1 && (n == 0 || buf[n - 1] != '\n') && read(fd, buf + n, 1) == 1)
        n++;
    buf[n] = '\0';
    return n;
}

static void test_raw_clients(void **state)
{
    static const char two[] = "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}\n\n"
                              "{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"ping\"}\n";
    struct rig *r = *state;
    char buf[300], *big = malloc(RPC_LINE_MAX + 2);
    int fd = raw_client(r);

    assert_int_equal(write(fd, two, 20), 20); /* in two pieces */
    usleep(20000);
    assert_int_equal(write(fd, two + 20, sizeof two - 21), sizeof two - 21);
    assert_int_equal(shutdown(fd, SHUT_WR), 0); /* still answered */
    read_line(fd, buf, sizeof buf);
    assert_non_null(strstr(buf, "\"id\":1,\"result\":true"));
    read_line(fd, buf, sizeof buf);
    assert_non_null(strstr(buf, "\"id\":2"));
    assert_int_equal(read_line(fd, buf, sizeof buf), 0);
    close(fd);

    fd = raw_client(r);
    memset(big, 'x', RPC_LINE_MAX + 2);
    assert_true(write(fd, big, RPC_LINE_MAX + 2) > 0);
    assert_int_equal(read_line(fd, buf, sizeof buf), 0); /* cut */
    close(fd);
    free(big);
    file_with(r->text_fd, "Msg: 1402");
}

/* A client that asks and does not read is cut; others are served meanwhile. */
static void test_slow_client(void **state)
{
    static const char ask[] = "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"methods\"}\n";
    struct rig *r = *state;
    int fd = raw_client(r);
    json_t *result;

    for (int i = 0; i < 3000; i++)
        if (send(fd, ask, sizeof ask - 1, MSG_NOSIGNAL) < 0)
            break;
    file_with(r->text_fd, "it does not read what it asked for");
    assert_int_equal(ctl_call(r->c, "ping", NULL, NULL, 0, &result, &error), 0);
    json_decref(result);
    close(fd);
}

enum { PAGES = 96, PAGE = 32000 };

static void send_pages(struct msg_chan *c, uint32_t id)
{
    char *body = malloc(PAGE + 100);
    struct pollfd p = {msg_chan_fd(c), POLLOUT, 0};
    int r;

    for (int i = 0; i < PAGES; i++) {
        sprintf(body, "{\"more\":%s,\"result\":{\"rows\":[\"", i < PAGES - 1 ? "true" : "false");
        size_t head = strlen(body);
        memset(body + head, 'x', PAGE);
        strcpy(body + head + PAGE, "\"]}}");
        while ((r = msg_send(c, MSG_REPLY, id, body, strlen(body), NULL, 0)) == -EAGAIN)
            assert_int_equal(poll(&p, 1, 10000), 1);
        assert_int_equal(r, 0);
    }
    free(body);
}

/* A report of 3 MiB for a client that pauses: data waits, nothing is lost, nobody is cut. */
static void test_long_report(void **state)
{
    static const char ask[] = "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"sa.list\"}\n";
    struct rig *r = *state;
    char *line = malloc(2 * PAGE);
    int fd = raw_client(r), lines = 0;
    struct msg m;
    FILE *f;
    pid_t pid;

    assert_int_equal(write(fd, ask, sizeof ask - 1), sizeof ask - 1);
    next(r->data, &m);
    pid = fork();
    if (pid == 0) {
        send_pages(r->data, m.id);
        _exit(0);
    }
    usleep(700000);
    f = fdopen(fd, "r");
    while (lines < PAGES && fgets(line, 2 * PAGE, f))
        lines += strstr(line, "\"rows\":[\"xxx") != NULL;
    assert_int_equal(lines, PAGES);
    assert_int_equal(code_of(pid), 0);
    fclose(f);
    free(line);
}

static void test_parent_gone(void **state)
{
    struct rig *r = *state;
    int status = 0;

    msg_chan_free(r->chan);
    r->chan = NULL;
    assert_int_equal(waitpid(r->pid, &status, 0), r->pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    r->pid = fork();
    if (r->pid == 0)
        _exit(0);
    int fds[2];
    assert_int_equal(msg_pair(fds), 0);
    close(fds[1]);
    assert_int_equal(msg_chan_new(&r->chan, fds[0]), 0);
}

#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(test_version),      T(test_pages),       T(test_descriptor),     T(test_data_dies),
        T(test_parent_calls), T(test_log),         T(test_log_at_the_end), T(test_rotate),
        T(test_raw_clients),  T(test_slow_client), T(test_long_report),    T(test_parent_gone),
    };
    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
