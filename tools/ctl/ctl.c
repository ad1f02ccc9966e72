/* See ctl.h. */
#include "tools/ctl/ctl.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { LINE_MAX_OCTETS = 4 << 20, CALL_MS = 60000 };

struct ctl_conn {
    int fd;
    char *in; /* what came and is not yet read; room octets */
    size_t n_in, room;
    json_t *events; /* a list of those that came during calls */
    json_int_t last_id;
};

__attribute__((format(printf, 3, 4))) static int fail(struct ctl_error *e, int exit,
                                                      const char *text, ...)
{
    va_list ap;

    e->exit = exit;
    e->code = 0;
    va_start(ap, text);
    vsnprintf(e->text, sizeof e->text, text, ap);
    va_end(ap);
    return exit;
}

const char *ctl_rundir(const char *given)
{
    const char *env = getenv("SALLYPORT_RUNDIR");

    return given ? given : env && *env ? env : "/run/sallyport";
}

static int open_socket(const char *rundir, struct ctl_error *e)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int n = snprintf(a.sun_path, sizeof a.sun_path, "%s/control.sock", rundir);
    int fd;

    if (n < 0 || (size_t)n >= sizeof a.sun_path) {
        fail(e, CTL_USAGE, "the name of the folder %.200s is too long for a socket", rundir);
        return -1;
    }
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (const struct sockaddr *)&a, sizeof a) == 0)
        return fd;
    if (errno == EACCES || errno == EPERM)
        fail(e, CTL_REFUSED, "you may not use %s: %s", a.sun_path, strerror(errno));
    else
        fail(e, CTL_NOT_RUNNING, "the daemon is not running: %s: %s", a.sun_path, strerror(errno));
    if (fd >= 0)
        close(fd);
    return -1;
}

int ctl_connect(struct ctl_conn **out, const char *rundir, struct ctl_error *e)
{
    struct ctl_conn *c;
    int fd = open_socket(ctl_rundir(rundir), e);

    if (fd < 0)
        return e->exit;
    c = calloc(1, sizeof *c);
    if (c)
        c->events = json_array();
    if (!c || !c->events) {
        free(c);
        close(fd);
        return fail(e, CTL_REFUSED, "out of memory");
    }
    c->fd = fd;
    *out = c;
    return CTL_OK;
}

void ctl_close(struct ctl_conn *c)
{
    if (!c)
        return;
    close(c->fd);
    json_decref(c->events);
    free(c->in);
    free(c);
}

/* The first octet carries the descriptors. */
static ssize_t send_first(struct ctl_conn *c, const char *text, size_t len, const int *fds,
                          unsigned n_fds)
{
    union {
        char b[CMSG_SPACE(sizeof(int) * CTL_FDS)];
        struct cmsghdr align;
    } room = {0};
    struct iovec iov = {.iov_len = len};
    struct msghdr mh = {.msg_iov = &iov, .msg_iovlen = 1};
    struct cmsghdr *h;

    memcpy(&iov.iov_base, &text, sizeof text); /* sendmsg does not write there */
    if (n_fds) {
        mh.msg_control = room.b;
        mh.msg_controllen = CMSG_SPACE(sizeof(int) * n_fds);
        h = CMSG_FIRSTHDR(&mh);
        h->cmsg_level = SOL_SOCKET;
        h->cmsg_type = SCM_RIGHTS;
        h->cmsg_len = CMSG_LEN(sizeof(int) * n_fds);
        memcpy(CMSG_DATA(h), fds, sizeof(int) * n_fds);
    }
    return sendmsg(c->fd, &mh, MSG_NOSIGNAL);
}

static int send_text(struct ctl_conn *c, const char *text, const int *fds, unsigned n_fds,
                     struct ctl_error *e)
{
    size_t len = strlen(text), at = 0;

    while (at < len) {
        ssize_t n = send_first(c, text + at, len - at, fds, at ? 0 : n_fds);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return fail(e, CTL_NOT_RUNNING, "the daemon closed the connection: %s",
                        strerror(errno));
        at += (size_t)n;
    }
    return CTL_OK;
}

static int send_request(struct ctl_conn *c, const char *method, json_t *params, const int *fds,
                        unsigned n_fds, struct ctl_error *e)
{
    json_t *o = json_pack("{s:s,s:I,s:s,s:o*}", "jsonrpc", "2.0", "id", ++c->last_id, "method",
                          method, "params", params);
    char *text = o ? json_dumps(o, JSON_COMPACT) : NULL;
    size_t len = text ? strlen(text) : 0;
    char *line = text ? realloc(text, len + 2) : NULL;
    int r;

    json_decref(o);
    if (!line) {
        free(text);
        return fail(e, CTL_USAGE, "the request cannot be written as JSON");
    }
    memcpy(line + len, "\n", 2);
    r = send_text(c, line, fds, n_fds, e);
    free(line);
    return r;
}

/* Room for more; false when a line is longer than any answer is. */
static bool grow(struct ctl_conn *c)
{
    size_t room = c->room ? c->room * 2 : 65536;
    char *in;

    if (c->n_in < c->room)
        return true;
    in = room <= LINE_MAX_OCTETS ? realloc(c->in, room) : NULL;
    if (!in)
        return false;
    c->in = in;
    c->room = room;
    return true;
}

static int64_t now_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* Waits for octets until the moment end (< 0: for ever): 1, 0 for the end of time, -1. */
static int wait_readable(struct ctl_conn *c, int64_t end)
{
    struct pollfd p = {c->fd, POLLIN, 0};
    int r;

    do {
        int64_t left = end < 0 ? -1 : end - now_ms();
        r = poll(&p, 1, end < 0 ? -1 : left > 0 ? (int)left : 0);
    } while (r < 0 && errno == EINTR);
    return r;
}

static int read_more(struct ctl_conn *c, struct ctl_error *e)
{
    ssize_t n;

    if (!grow(c))
        return fail(e, CTL_REFUSED, "the daemon's answer is too long");
    do {
        n = read(c->fd, c->in + c->n_in, c->room - c->n_in);
    } while (n < 0 && errno == EINTR);
    if (n <= 0)
        return fail(e, CTL_NOT_RUNNING, "the daemon closed the connection%s%s", n ? ": " : "",
                    n ? strerror(errno) : "");
    c->n_in += (size_t)n;
    return CTL_OK;
}

/* The first whole line as JSON, or NULL. *bad: there was a line, and it was not JSON. */
static json_t *take_line(struct ctl_conn *c, bool *bad)
{
    char *lf = c->n_in ? memchr(c->in, '\n', c->n_in) : NULL;
    size_t len = lf ? (size_t)(lf - c->in) : 0;
    json_t *o;

    *bad = false;
    if (!lf)
        return NULL;
    o = json_loadb(c->in, len, 0, NULL);
    c->n_in -= len + 1;
    memmove(c->in, lf + 1, c->n_in);
    *bad = !o;
    return o;
}

/* The next message; *out is NULL when the time is over. */
static int next_message(struct ctl_conn *c, int64_t end, json_t **out, struct ctl_error *e)
{
    bool bad;
    int r;

    while (!(*out = take_line(c, &bad))) {
        if (bad)
            return fail(e, CTL_REFUSED, "the daemon's answer is not JSON");
        r = wait_readable(c, end);
        if (r == 0)
            return CTL_OK;
        if (r < 0)
            return fail(e, CTL_NOT_RUNNING, "waiting for the daemon: %s", strerror(errno));
        r = read_more(c, e);
        if (r)
            return r;
    }
    return CTL_OK;
}

static int exit_of(int code)
{
    if (code >= CTL_NOT_FOUND && code <= CTL_REFUSED)
        return code;
    return code >= -32700 && code <= -32600 && code != -32603 ? CTL_USAGE : CTL_REFUSED;
}

static int take_error(const json_t *error, struct ctl_error *e)
{
    const char *text = json_string_value(json_object_get(error, "message"));
    int code = (int)json_integer_value(json_object_get(error, "code"));

    fail(e, exit_of(code), "%s", text ? text : "the daemon refused without a reason");
    e->code = code;
    return e->exit;
}

/* Puts a page behind what came before: lists grow, other members keep their first value. */
static int join(json_t **all, json_t *page)
{
    const char *key;
    json_t *v;

    if (!*all) {
        *all = json_incref(page);
        return 0;
    }
    if (json_is_array(*all))
        return json_array_extend(*all, page);
    json_object_foreach(page, key, v)
    {
        json_t *mine = json_object_get(*all, key);
        if (json_is_array(mine) && json_is_array(v) && json_array_extend(mine, v))
            return -1;
        if (!mine && json_object_set(*all, key, v))
            return -1;
    }
    return 0;
}

static int read_answer(struct ctl_conn *c, json_t **result, struct ctl_error *e)
{
    int64_t end = now_ms() + CALL_MS;
    bool more = true;
    json_t *o;
    int r = CTL_OK;

    while (more && !(r = next_message(c, end, &o, e))) {
        if (!o)
            return fail(e, CTL_NOT_RUNNING, "the daemon did not answer in time");
        if (json_object_get(o, "error")) {
            r = take_error(json_object_get(o, "error"), e);
            more = false;
        } else if (json_object_get(o, "method")) {
            json_array_append(c->events, json_object_get(o, "params"));
        } else if (json_integer_value(json_object_get(o, "id")) == c->last_id) {
            more = json_is_true(json_object_get(o, "more"));
            if (!json_object_get(o, "result") || join(result, json_object_get(o, "result")))
                r = fail(e, CTL_REFUSED, "the daemon's answer is malformed");
        }
        json_decref(o);
        if (r)
            break;
    }
    return r;
}

int ctl_call(struct ctl_conn *c, const char *method, json_t *params, const int *fds, unsigned n_fds,
             json_t **result, struct ctl_error *e)
{
    int r;

    *result = NULL;
    if (n_fds > CTL_FDS) {
        json_decref(params);
        return fail(e, CTL_USAGE, "too many descriptors");
    }
    r = send_request(c, method, params, fds, n_fds, e);
    if (!r)
        r = read_answer(c, result, e);
    if (r) {
        json_decref(*result);
        *result = NULL;
    }
    return r;
}

int ctl_next_event(struct ctl_conn *c, int timeout_ms, json_t **event, struct ctl_error *e)
{
    int64_t end = timeout_ms < 0 ? -1 : now_ms() + timeout_ms;
    json_t *o;
    int r;

    *event = NULL;
    if (json_array_size(c->events)) {
        *event = json_incref(json_array_get(c->events, 0));
        json_array_remove(c->events, 0);
        return CTL_OK;
    }
    while (!(r = next_message(c, end, &o, e)) && o) {
        if (json_object_get(o, "method"))
            *event = json_incref(json_object_get(o, "params"));
        json_decref(o);
        if (*event)
            break;
    }
    return r;
}
