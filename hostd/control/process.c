/* The shell of the control process: sockets, channels, timers. See control.h. */
#include "hostd/control/control.h"

#include "hostd/base/config.h"
#include "hostd/base/log.h"
#include "hostd/control/audit.h"
#include "hostd/control/client.h"
#include "hostd/control/core.h"
#include "hostd/main/version.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { BURST = 64, CONFIG_MAX = 64 << 20 };
static const uint64_t HOLD_NS = 2000000000u;

/* One process at the other end of a channel. */
struct owner {
    struct control *control;
    enum proc id;
    struct msg_chan *chan;
    struct event *readable;
};

struct control {
    struct event_base *base;
    struct event *accept, *tick;
    struct owner owner[PROC_COUNT];
    struct ctl *ctl;
    struct client_env clients;
    struct audit audit;
    uint64_t held_since; /* answers are not read because a client is slow; 0: no */
    bool held;
    bool done;
};

static uint64_t now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_BOOTTIME, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static uint64_t wall_sec(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    return (uint64_t)ts.tv_sec;
}

/* --- channels -----------------------------------------------------------------------------------
 */

static void owner_close(struct owner *o)
{
    if (!o->chan)
        return;
    event_free(o->readable);
    msg_chan_free(o->chan);
    o->readable = NULL;
    o->chan = NULL;
    ctl_owner_down(o->control->ctl, o->id);
}

static void malformed(struct owner *o, const char *what)
{
    log_event(MSG_PEER_MALFORMED, proc_name(o->id), proc_name(o->id), what);
}

static void on_message(struct owner *o, struct msg *m);

static void owner_lost(struct owner *o)
{
    struct control *c = o->control;

    owner_close(o);
    if (o->id == PROC_PARENT) {
        c->done = true;
        event_base_loopbreak(c->base);
    }
}

/* Reads at most a burst, so that no process keeps the others waiting. False when nothing is left.
 */
static bool owner_read(struct owner *o)
{
    struct msg m;

    for (int i = 0; i < BURST && o->chan && !(o->control->held && o->id != PROC_PARENT); i++) {
        int r = msg_recv(o->chan, &m);
        if (r == 0)
            return false;
        if (r == 1) {
            on_message(o, &m);
            msg_close_fds(&m);
        } else if (r == -EBADMSG) {
            malformed(o, "its length or version");
        } else {
            owner_lost(o);
        }
    }
    return o->chan != NULL;
}

static void on_owner_readable(evutil_socket_t fd, short what, void *arg)
{
    owner_read(arg);
}

/* Takes the channel. */
static int owner_open(struct control *c, enum proc id, struct msg_chan *chan)
{
    struct owner *o = &c->owner[id];

    owner_close(o);
    o->control = c;
    o->id = id;
    o->readable = event_new(c->base, msg_chan_fd(chan), EV_READ | EV_PERSIST, on_owner_readable, o);
    if (!o->readable || event_add(o->readable, NULL)) {
        if (o->readable)
            event_free(o->readable);
        o->readable = NULL;
        msg_chan_free(chan);
        return -ENOMEM;
    }
    o->chan = chan;
    ctl_owner_up(c->ctl, id);
    return 0;
}

/* --- what the parent hands down -----------------------------------------------------------------
 */

static int take_fd(struct msg *m)
{
    int fd = m->n_fds ? m->fds[0] : -1;

    if (m->n_fds)
        m->fds[0] = -1;
    return fd;
}

static void on_peer(struct owner *o, struct msg *m)
{
    struct msg_arg arg;
    struct msg_chan *chan;

    memcpy(&arg, m->body, sizeof arg);
    if (arg.arg >= PROC_COUNT || arg.arg == PROC_PARENT || arg.arg == PROC_CONTROL || !m->n_fds)
        malformed(o, "the process of a pair");
    else if (msg_chan_new(&chan, take_fd(m)) == 0)
        owner_open(o->control, (enum proc)arg.arg, chan);
}

static void apply_config(struct control *c, const struct cfg *cfg)
{
    c->audit.level = (enum log_level)cfg->log_level;
    c->audit.size_max = cfg->log_file_kb * 1024;
}

static void on_config(struct owner *o, struct msg *m)
{
    struct stat st;
    struct cfg cfg;
    int err = -EBADMSG;
    void *map;

    if (!m->n_fds || fstat(m->fds[0], &st) || st.st_size <= 0 || st.st_size > CONFIG_MAX) {
        malformed(o, "the configuration's size");
        return;
    }
    map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, m->fds[0], 0);
    if (map != MAP_FAILED) {
        err = cfg_from_json(map, (size_t)st.st_size, &cfg);
        munmap(map, (size_t)st.st_size);
    }
    if (err) {
        malformed(o, "the configuration");
        return;
    }
    apply_config(o->control, &cfg);
    cfg_free(&cfg);
}

static void pause_accept(struct control *c)
{
    if (c->accept)
        event_del(c->accept);
}

static void resume_accept(void *ctx)
{
    struct control *c = ctx;

    if (c->accept && c->clients.n < CTL_CLIENTS_MAX)
        event_add(c->accept, NULL);
}

static void on_accept(evutil_socket_t fd, short what, void *arg)
{
    struct control *c = arg;
    int s = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

    if (s >= 0)
        client_new(&c->clients, s);
    else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS)
        pause_accept(c); /* the tick tries again */
    if (c->clients.n >= CTL_CLIENTS_MAX)
        pause_accept(c);
}

static void listen_on(struct control *c, const struct msg_fd *what, int fd)
{
    int old = c->accept ? event_get_fd(c->accept) : -1;

    if (c->accept)
        event_free(c->accept);
    if (old >= 0)
        close(old);
    c->clients.read_gid = what->arg;
    c->clients.change_gid = what->ifindex;
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    c->accept = event_new(c->base, fd, EV_READ | EV_PERSIST, on_accept, c);
    if (!c->accept || event_add(c->accept, NULL)) {
        close(fd);
        return;
    }
    log_event(MSG_CONTROL_STARTED, "control");
    msg_send(c->owner[PROC_PARENT].chan, MSG_READY, 0, NULL, 0, NULL, 0);
}

static void on_fd(struct owner *o, struct msg *m)
{
    struct msg_fd what;

    memcpy(&what, m->body, sizeof what);
    if (!m->n_fds)
        malformed(o, "a descriptor is missing");
    else if (what.kind == MSG_FD_CONTROL)
        listen_on(o->control, &what, take_fd(m));
    else if (what.kind != MSG_FD_LOG || audit_fd(&o->control->audit, what.arg, take_fd(m)))
        malformed(o, "the kind of a descriptor");
}

static void on_stop(struct owner *o, struct msg *m)
{
    struct msg_arg arg;

    memcpy(&arg, m->body, sizeof arg);
    if (arg.arg != MSG_STOP_END)
        return;
    o->control->done = true;
    event_base_loopbreak(o->control->base);
}

static void on_log(struct owner *o, struct msg *m)
{
    struct log_record r;
    uint64_t wall;

    if (audit_parse((const char *)m->body, m->len, &r, &wall))
        malformed(o, "a record of the log");
    else
        audit_write(&o->control->audit, &r, wall ? wall : wall_sec());
}

static void on_owner(struct owner *o, struct msg *m)
{
    if (ctl_owner_message(o->control->ctl, o->id, m->type, m->id, (const char *)m->body, m->len,
                          now_ns()))
        malformed(o, "an answer or an event");
}

/* Who may send what, with the least length of its body. */
static const struct {
    uint16_t type;
    bool parent_only;
    size_t least;
    void (*take)(struct owner *o, struct msg *m);
} takes[] = {
    {MSG_PEER, true, sizeof(struct msg_arg), on_peer},
    {MSG_CONFIG, true, 0, on_config},
    {MSG_FD, true, sizeof(struct msg_fd), on_fd},
    {MSG_STOP, true, sizeof(struct msg_arg), on_stop},
    {MSG_LOG, false, 2, on_log},
    {MSG_REPLY, false, 2, on_owner},
    {MSG_EVENT, false, 2, on_owner},
};

static void on_message(struct owner *o, struct msg *m)
{
    for (size_t i = 0; i < sizeof takes / sizeof *takes; i++) {
        if (takes[i].type != m->type)
            continue;
        if ((takes[i].parent_only && o->id != PROC_PARENT) || m->len < takes[i].least)
            break;
        takes[i].take(o, m);
        return;
    }
    malformed(o, "its type or length");
}

/* --- what core and audit ask for ----------------------------------------------------------------
 */

static int send_to(void *ctx, enum proc to, uint16_t type, uint32_t id, const char *body,
                   size_t len, const int *fds, unsigned n_fds)
{
    struct control *c = ctx;

    if (!c->owner[to].chan)
        return -ENOTCONN;
    return msg_send(c->owner[to].chan, type, id, body, len, fds, n_fds);
}

static void write_client(void *ctx, void *client, const char *line, size_t len)
{
    client_write(client, line, len);
}

static void set_level(void *ctx, int level)
{
    struct control *c = ctx;
    c->audit.level = (enum log_level)level;
}

static void own_record(void *ctx, const struct log_record *r)
{
    struct control *c = ctx;
    audit_write(&c->audit, r, wall_sec());
}

static void ask_rotate(void *ctx)
{
    static const char body[] = "{\"method\":\"log.rotate\"}";
    struct control *c = ctx;

    if (c->owner[PROC_PARENT].chan)
        msg_send(c->owner[PROC_PARENT].chan, MSG_ADMIN, ctl_next_id(c->ctl), body, sizeof body - 1,
                 NULL, 0);
}

static void on_written(void *ctx, const struct log_record *r, uint64_t wall)
{
    struct control *c = ctx;
    char line[4096];
    size_t len = log_json(r, wall, line, sizeof line);
    json_t *record = len < sizeof line ? json_loadb(line, len, 0, NULL) : NULL;

    if (record)
        ctl_event(c->ctl, "log", json_pack("{s:o}", "record", record));
}

static void hold(struct control *c, bool held)
{
    c->held = held;
    for (int i = PROC_PARENT + 1; i < PROC_COUNT; i++) {
        if (c->owner[i].readable && held)
            event_del(c->owner[i].readable);
        else if (c->owner[i].readable)
            event_add(c->owner[i].readable, NULL);
    }
}

/* A client reads slower than an owner answers: the owner waits, but not for long. After that the
 * queue grows, and the client is cut where it does not read at all. */
static void on_flow(void *ctx)
{
    struct control *c = ctx;

    if (c->clients.n_full && !c->held_since) {
        c->held_since = now_ns();
        hold(c, true);
    } else if (!c->clients.n_full) {
        c->held_since = 0;
        hold(c, false);
    }
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
    static unsigned ticks;
    struct control *c = arg;

    if (c->held && now_ns() - c->held_since > HOLD_NS)
        hold(c, false);
    ctl_tick(c->ctl, now_ns());
    client_sweep(&c->clients);
    resume_accept(c);
    if (++ticks % 10 == 0) {
        log_tick();
        c->audit.asked = false; /* a request for the next file may have been lost */
    }
}

static int set_up(struct control *c, struct msg_chan *parent)
{
    const struct ctl_ops ops = {c, send_to, write_client, set_level};
    const struct timeval second = {1, 0};

    audit_init(&c->audit);
    c->audit.full = ask_rotate;
    c->audit.written = on_written;
    c->audit.ctx = c;
    c->base = event_base_new();
    c->ctl = ctl_new(&ops, SALLYPORT_VERSION);
    c->tick = c->base ? event_new(c->base, -1, EV_PERSIST, on_tick, c) : NULL;
    if (!c->ctl || !c->tick || event_add(c->tick, &second)) {
        msg_chan_free(parent);
        return -ENOMEM;
    }
    c->clients = (struct client_env){.base = c->base,
                                     .ctl = c->ctl,
                                     .read_gid = UINT32_MAX,
                                     .change_gid = UINT32_MAX,
                                     .closed = resume_accept,
                                     .flow = on_flow,
                                     .ctx = c};
    log_set_sink(own_record, c);
    return owner_open(c, PROC_PARENT, parent);
}

/* The last records of the others are written before the end. */
static void drain(struct control *c)
{
    for (int i = 0; i < PROC_COUNT; i++)
        for (int n = 0; n < 64 && c->owner[i].chan && owner_read(&c->owner[i]); n++)
            ;
}

static void tear_down(struct control *c)
{
    log_set_sink(NULL, NULL);
    client_end_all(&c->clients);
    for (int i = 0; i < PROC_COUNT; i++)
        owner_close(&c->owner[i]);
    ctl_free(c->ctl);
    if (c->accept) {
        close(event_get_fd(c->accept));
        event_free(c->accept);
    }
    if (c->tick)
        event_free(c->tick);
    if (c->base)
        event_base_free(c->base);
    audit_close(&c->audit);
}

int control_run(struct msg_chan *parent)
{
    struct control *c = calloc(1, sizeof *c);
    int err = c ? 0 : -ENOMEM;

    signal(SIGPIPE, SIG_IGN);
    if (!err)
        err = set_up(c, parent);
    if (!err) {
        event_base_dispatch(c->base);
        drain(c);
    }
    if (c)
        tear_down(c);
    free(c);
    return err ? 1 : 0;
}
