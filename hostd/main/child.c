#include "hostd/main/child.h"

#include "hostd/base/log.h"
#include "hostd/main/role.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
    QUEUE_MAX = 4096, /* messages that may wait for a child */
    READ_BURST = 64
};

struct out_msg {
    struct out_msg *next;
    uint16_t type;
    uint32_t id;
    size_t len;
    int fds[MSG_FDS];
    unsigned n_fds;
    uint8_t body[];
};

uint64_t now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_BOOTTIME, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void out_free(struct out_msg *o)
{
    for (unsigned i = 0; i < o->n_fds; i++)
        close(o->fds[i]);
    free(o);
}

static void stuck(struct child *c)
{
    log_event(MSG_CHILD_STUCK, proc_name(c->id), proc_name(c->id));
    kill(c->pid, SIGKILL); /* the reaper starts it again, with everything sent anew */
}

static int out_dup(struct out_msg *o, const int *fds, unsigned n)
{
    for (; o->n_fds < n; o->n_fds++) {
        int fd = fcntl(fds[o->n_fds], F_DUPFD_CLOEXEC, 0);
        if (fd < 0)
            return -errno;
        o->fds[o->n_fds] = fd;
    }
    return 0;
}

static void enqueue(struct child *c, uint16_t type, uint32_t id, const void *body, size_t len,
                    const int *fds, unsigned n_fds)
{
    struct out_msg *o = c->queued < QUEUE_MAX ? calloc(1, sizeof *o + len) : NULL;
    if (!o) {
        stuck(c);
        return;
    }
    o->type = type;
    o->id = id;
    o->len = len;
    if (len)
        memcpy(o->body, body, len);
    if (out_dup(o, fds, n_fds)) {
        out_free(o);
        stuck(c);
        return;
    }
    *c->last = o;
    c->last = &o->next;
    c->queued++;
    event_add(c->writable, NULL);
}

void child_send(struct child *c, uint16_t type, uint32_t id, const void *body, size_t len,
                const int *fds, unsigned n_fds)
{
    if (!c->chan)
        return;
    int r = c->first ? -EAGAIN : msg_send(c->chan, type, id, body, len, fds, n_fds);
    if (r == -EAGAIN)
        enqueue(c, type, id, body, len, fds, n_fds);
    /* Other errors mean that the other end is gone: the reaper will tell. */
}

void child_send_arg(struct child *c, uint16_t type, uint32_t arg, const int *fd)
{
    struct msg_arg a = {arg};
    child_send(c, type, 0, &a, sizeof a, fd, fd ? 1 : 0);
}

static void on_writable(evutil_socket_t fd, short what, void *ctx)
{
    struct child *c = ctx;
    while (c->first) {
        struct out_msg *o = c->first;
        int r = msg_send(c->chan, o->type, o->id, o->body, o->len, o->fds, o->n_fds);
        if (r == -EAGAIN)
            return;
        c->first = o->next;
        if (!c->first)
            c->last = &c->first;
        c->queued--;
        out_free(o);
    }
    event_del(c->writable);
}

static void on_readable(evutil_socket_t fd, short what, void *ctx)
{
    struct child *c = ctx;
    struct msg m;
    for (int i = 0; i < READ_BURST && c->chan; i++) {
        int r = msg_recv(c->chan, &m);
        if (r == 0)
            return;
        if (r == 1) {
            c->env->on_msg(c->env->ctx, c, &m);
            msg_close_fds(&m);
            continue;
        }
        if (r == -EBADMSG) {
            log_event(MSG_PEER_MALFORMED, proc_name(c->id), proc_name(c->id), "its length");
            continue;
        }
        /* The channel is the leash: a process without one has no business any more. */
        event_del(c->readable);
        if (!c->ending)
            kill(c->pid, SIGKILL);
        return;
    }
}

/* Standard input and output mean nothing to a child. The keys of a terminal are for the parent. */
static void detach_child(const struct child *c)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null >= 0) {
        dup2(null, STDIN_FILENO);
        dup2(null, STDOUT_FILENO);
        if (c->env->quiet)
            dup2(null, STDERR_FILENO);
    }
    signal(SIGINT, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
}

static void exec_child(const struct child *c, int chan)
{
    char title[16], rundir[256], user[64];
    strncpy(title, proc_name(c->id), sizeof title - 1);
    title[sizeof title - 1] = 0;
    strncpy(rundir, c->env->rundir, sizeof rundir - 1);
    rundir[sizeof rundir - 1] = 0;
    strncpy(user, c->env->user, sizeof user - 1);
    user[sizeof user - 1] = 0;
    char arg0[] = "sallyportd", p[] = "-p", r[] = "-r", u[] = "-u";
    char *argv[] = {arg0, p, title, r, rundir, u, user, NULL};
    detach_child(c);
    if (chan == ROLE_CHANNEL)
        fcntl(chan, F_SETFD, 0);
    else if (dup2(chan, ROLE_CHANNEL) < 0)
        _exit(126);
    if (close_range(ROLE_CHANNEL + 1, ~0u, 0))
        _exit(126);
    execv("/proc/self/exe", argv);
    _exit(127);
}

int child_start(struct child *c)
{
    int fds[2];
    int r = msg_pair(fds);
    if (r)
        return r;
    r = msg_chan_new(&c->chan, fds[0]);
    if (r)
        goto close_both;
    c->last = &c->first;
    c->readable = event_new(c->env->base, fds[0], EV_READ | EV_PERSIST, on_readable, c);
    c->writable = event_new(c->env->base, fds[0], EV_WRITE | EV_PERSIST, on_writable, c);
    r = -ENOMEM;
    if (!c->readable || !c->writable || event_add(c->readable, NULL))
        goto down;
    c->pid = fork();
    if (c->pid == 0)
        exec_child(c, fds[1]);
    if (c->pid > 0) {
        close(fds[1]);
        c->since = now_ns();
        log_event(MSG_CHILD_STARTED, proc_name(c->id), proc_name(c->id), (int)c->pid);
        return 0;
    }
    r = -errno;
    c->pid = 0;
down:
    child_down(c);
    close(fds[1]);
    return r;
close_both:
    close(fds[0]);
    close(fds[1]);
    return r;
}

void child_down(struct child *c)
{
    if (c->readable)
        event_free(c->readable);
    if (c->writable)
        event_free(c->writable);
    c->readable = c->writable = NULL;
    while (c->first) {
        struct out_msg *o = c->first;
        c->first = o->next;
        out_free(o);
    }
    c->last = &c->first;
    c->queued = 0;
    msg_chan_free(c->chan);
    c->chan = NULL;
    c->pid = 0;
    c->ready = false;
}
