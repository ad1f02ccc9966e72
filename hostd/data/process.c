#include "hostd/data/process_internal.h"

#include "hostd/base/log.h"
#include "hostd/data/calls.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { MAX_CONFIG = 16 << 20, TURNS = 8 };

uint64_t data_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_BOOTTIME, &t);
    return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

static void set_timer(struct data *d, uint64_t now, uint64_t next)
{
    uint64_t wait = next <= now ? 0 : next - now;
    if (wait > 1000000000ull)
        wait = 1000000000ull;
    struct timeval tv = {.tv_sec = (time_t)(wait / 1000000000ull),
                         .tv_usec = (suseconds_t)((wait % 1000000000ull + 999) / 1000)};
    event_add(d->timer, &tv);
}

static void resume_taps(struct data *d)
{
    for (unsigned i = 0; i < CFG_INTERFACES; i++)
        if (d->taps[i].paused && engine_tap_ready(d->engine, d->taps[i].iface)) {
            d->taps[i].paused = false;
            event_add(d->taps[i].ev, NULL);
        }
}

void data_turn(struct data *d)
{
    if (!d->engine)
        return;
    uint64_t now = data_now(), next = 0;
    for (int i = 0; i < TURNS; i++) {
        next = engine_poll(d->engine, now);
        resume_taps(d);
        if (!engine_arm(d->engine))
            break;
        now = data_now();
        next = now;
    }
    set_timer(d, data_now(), next);
    log_relay_flush(d->relay);
    if (d->control)
        (void)replies_flush(d->replies, d->control);
}

static void on_timer(evutil_socket_t fd, short what, void *ctx)
{
    (void)fd;
    (void)what;
    data_turn(ctx);
}

/* --- the configuration --------------------------------------------------------------------------
 */

static int read_config(int fd, struct cfg *out)
{
    struct stat st;
    if (fd < 0 || fstat(fd, &st) || st.st_size <= 0 || st.st_size > MAX_CONFIG)
        return -EBADMSG;
    char *text = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (text == MAP_FAILED)
        return -errno;
    int rc = cfg_from_json(text, (size_t)st.st_size, out);
    munmap(text, (size_t)st.st_size);
    return rc;
}

/* What the engine is built around. Addresses, routes and after-stop are the parent's business. */
static bool same_frame(const struct cfg *a, const struct cfg *b)
{
    bool same = a->n_cards == b->n_cards && a->n_interfaces == b->n_interfaces;
    for (unsigned i = 0; same && i < a->n_cards; i++)
        same = strcmp(a->cards[i].name, b->cards[i].name) == 0 &&
               strcmp(a->cards[i].at, b->cards[i].at) == 0;
    for (unsigned i = 0; same && i < a->n_interfaces; i++)
        same = strcmp(a->interfaces[i].name, b->interfaces[i].name) == 0 &&
               strcmp(a->interfaces[i].port, b->interfaces[i].port) == 0 &&
               strcmp(a->interfaces[i].standby, b->interfaces[i].standby) == 0;
    return same;
}

static void on_config(struct data *d, struct msg *m)
{
    struct cfg cfg;
    int rc = read_config(m->n_fds ? m->fds[0] : -1, &cfg);
    if (rc) {
        log_event(MSG_DATA_CONFIG_BAD, "data", strerror(-rc));
        return;
    }
    if (d->engine && !same_frame(&d->cfg, &cfg)) {
        /* The store outlives us: the next process has the same SAs, numbers and windows. */
        log_event(MSG_DATA_ANEW, "data");
        cfg_free(&cfg);
        event_base_loopbreak(d->base);
        return;
    }
    if (d->engine)
        rc = engine_reload(d->engine, &cfg, data_now());
    if (rc)
        log_event(MSG_DATA_CONFIG_BAD, "data", strerror(-rc));
    if (d->have_cfg)
        cfg_free(&d->cfg);
    d->cfg = cfg;
    d->have_cfg = true;
    d->testing = cfg.testing;
}

/* --- start --------------------------------------------------------------------------------------
 */

static int map_store(struct data *d)
{
    struct stat st;
    if (d->state_fd < 0 || fstat(d->state_fd, &st) || st.st_size <= 0)
        return -EBADMSG;
    d->store_len = (size_t)st.st_size;
    d->store = mmap(NULL, d->store_len, PROT_READ | PROT_WRITE, MAP_SHARED, d->state_fd, 0);
    if (d->store == MAP_FAILED) {
        d->store = NULL;
        return -errno;
    }
    /* Keys lie in it: not in a core file, and where the limit allows not in swap. */
    (void)madvise(d->store, d->store_len, MADV_DONTDUMP);
    (void)mlock2(d->store, d->store_len, MLOCK_ONFAULT);
    return 0;
}

static void on_netlink(evutil_socket_t fd, short what, void *ctx)
{
    struct data *d = ctx;
    (void)fd;
    (void)what;
    nexthop_read(d->nexthop);
    data_turn(d);
}

static int make_engine(struct data *d)
{
    struct engine_host host;
    int rc = map_store(d);
    if (rc)
        return rc;
    rc = nexthop_new(&d->nexthop, d->netlink_fd);
    d->netlink_fd = -1;
    if (rc)
        return rc;
    d->netlink_ev = event_new(d->base, nexthop_fd(d->nexthop), EV_READ | EV_PERSIST, on_netlink, d);
    if (!d->netlink_ev)
        return -ENOMEM;
    event_add(d->netlink_ev, NULL);
    data_host_ops(d, &host);
    rc = engine_new(&d->engine, &d->cfg, &host, d->store, d->store_len, d->adopt, data_now());
    if (rc == -EBADMSG && d->adopt) /* nothing usable was left: start afresh, IKE negotiates anew */
        rc = engine_new(&d->engine, &d->cfg, &host, d->store, d->store_len, 0, data_now());
    return rc;
}

static void on_start(struct data *d)
{
    if (d->engine) {
        engine_start(d->engine, data_now());
        return;
    }
    int rc = d->have_cfg ? make_engine(d) : -EBADMSG;
    if (rc) {
        log_event(MSG_DATA_CONFIG_BAD, "data", strerror(-rc));
        d->status = 1;
        event_base_loopbreak(d->base);
        return;
    }
    for (unsigned i = 0; i < d->n_pending; i++)
        data_take_fd(d, &d->pending[i].what, d->pending[i].fd);
    d->n_pending = 0;
    (void)msg_send(d->parent, MSG_READY, 0, NULL, 0, NULL, 0);
}

/* --- calls
 * ---------------------------------------------------------------------------------------- */

static void reply(struct data *d, uint32_t id, json_t *answer)
{
    replies_send(d->replies, d->control, id, answer);
}

static void on_call(struct data *d, struct msg *m)
{
    json_error_t err;
    json_t *call = json_loadb((const char *)m->body, m->len, 0, &err);
    const char *method = json_string_value(json_object_get(call, "method"));
    if (!method || !d->engine) {
        reply(d, m->id,
              json_pack("{s:{s:i,s:s}}", "error", "code", -32000, "message",
                        method ? "the data process is starting" : "a call without a method"));
    } else {
        reply(d, m->id,
              calls_run(d->engine, method, json_object_get(call, "params"),
                        m->n_fds ? m->fds[0] : -1, data_now(), d->testing));
    }
    json_decref(call);
}

static void drop_control(struct data *d)
{
    log_relay_attach(d->relay, NULL);
    replies_drop(d->replies);
    if (d->control_ev)
        event_free(d->control_ev);
    msg_chan_free(d->control);
    d->control_ev = NULL;
    d->control = NULL;
}

static void on_control(evutil_socket_t fd, short what, void *ctx)
{
    struct data *d = ctx;
    struct msg m;
    (void)fd;
    (void)what;
    for (int i = 0; i < 16 && d->control; i++) {
        int rc = msg_recv(d->control, &m);
        if (rc == -EBADMSG)
            continue;
        if (rc < 0)
            drop_control(d);
        if (rc <= 0)
            break;
        if (m.type == MSG_CALL)
            on_call(d, &m);
        msg_close_fds(&m);
    }
    data_turn(d);
}

static void take_peer(struct data *d, struct msg *m)
{
    uint32_t who;
    if (m->len < sizeof who || !m->n_fds)
        return;
    memcpy(&who, m->body, sizeof who);
    if (who != PROC_CONTROL)
        return;
    drop_control(d);
    int fd = m->fds[0];
    m->fds[0] = -1;
    if (msg_chan_new(&d->control, fd))
        return;
    d->control_ev =
        event_new(d->base, msg_chan_fd(d->control), EV_READ | EV_PERSIST, on_control, d);
    if (d->control_ev)
        event_add(d->control_ev, NULL);
    log_relay_attach(d->relay, d->control);
}

/* --- the parent
 * ------------------------------------------------------------------------------------ */

static void take_fd(struct data *d, struct msg *m)
{
    struct msg_fd what;
    if (m->len < sizeof what || !m->n_fds)
        return;
    memcpy(&what, m->body, sizeof what);
    what.name[sizeof what.name - 1] = what.interface[sizeof what.interface - 1] = 0;
    int fd = m->fds[0];
    m->fds[0] = -1;
    if (what.kind == MSG_FD_STATE) {
        d->state_fd = fd;
        d->adopt = what.arg == 1;
    } else if (what.kind == MSG_FD_NETLINK) {
        d->netlink_fd = fd;
    } else if (d->engine) {
        data_take_fd(d, &what, fd);
    } else if (d->n_pending < DATA_PENDING) {
        d->pending[d->n_pending].what = what;
        d->pending[d->n_pending++].fd = fd;
    } else {
        close(fd);
    }
}

static void stop(struct data *d, struct msg *m)
{
    struct msg_arg how = {MSG_STOP_DISCARD};
    if (m->len >= sizeof how)
        memcpy(&how, m->body, sizeof how);
    if (how.arg == MSG_STOP_END)
        event_base_loopbreak(d->base);
    else if (d->engine)
        engine_stop(d->engine, data_now(), how.arg == MSG_STOP_PASS);
}

static void fd_gone(struct data *d, struct msg *m)
{
    struct msg_fd what;
    if (m->len < sizeof what)
        return;
    memcpy(&what, m->body, sizeof what);
    what.name[sizeof what.name - 1] = what.interface[sizeof what.interface - 1] = 0;
    data_fd_gone(d, &what);
}

static void dispatch(struct data *d, struct msg *m)
{
    switch (m->type) {
    case MSG_PEER:
        take_peer(d, m);
        break;
    case MSG_CONFIG:
        on_config(d, m);
        break;
    case MSG_FD:
        take_fd(d, m);
        break;
    case MSG_FD_GONE:
        fd_gone(d, m);
        break;
    case MSG_START:
        on_start(d);
        break;
    case MSG_STOP:
        stop(d, m);
        break;
    default:
        break;
    }
}

static void on_parent(evutil_socket_t fd, short what, void *ctx)
{
    struct data *d = ctx;
    struct msg m;
    (void)fd;
    (void)what;
    for (int i = 0; i < 64; i++) {
        int rc = msg_recv(d->parent, &m);
        if (rc == 0)
            break;
        if (rc == -EBADMSG)
            continue;
        if (rc < 0) { /* the parent is gone: nothing may go on without it */
            event_base_loopbreak(d->base);
            return;
        }
        dispatch(d, &m);
        msg_close_fds(&m);
    }
    data_turn(d);
}

static int set_up(struct data *d)
{
    d->base = event_base_new();
    d->replies = replies_new();
    if (!d->base || !d->replies || log_relay_new(&d->relay, "data"))
        return -ENOMEM;
    d->timer = evtimer_new(d->base, on_timer, d);
    d->parent_ev = event_new(d->base, msg_chan_fd(d->parent), EV_READ | EV_PERSIST, on_parent, d);
    if (!d->timer || !d->parent_ev)
        return -ENOMEM;
    event_add(d->parent_ev, NULL);
    return 0;
}

static void tear_down(struct data *d)
{
    data_close_all(d);
    engine_free(d->engine, data_now());
    data_close_cards(d); /* a card unit uses its bus to the end */
    nexthop_free(d->nexthop);
    drop_control(d);
    log_relay_free(d->relay);
    replies_free(d->replies);
    if (d->netlink_ev)
        event_free(d->netlink_ev);
    if (d->timer)
        event_free(d->timer);
    if (d->parent_ev)
        event_free(d->parent_ev);
    if (d->store)
        munmap(d->store, d->store_len);
    if (d->state_fd >= 0)
        close(d->state_fd);
    if (d->have_cfg)
        cfg_free(&d->cfg);
    msg_chan_free(d->parent);
    if (d->base)
        event_base_free(d->base);
    free(d);
}

int data_run(struct msg_chan *parent)
{
    struct data *d = calloc(1, sizeof *d);
    if (!d)
        return 1;
    d->parent = parent;
    d->state_fd = d->netlink_fd = -1;
    for (unsigned i = 0; i < CFG_INTERFACES; i++)
        d->taps[i].fd = -1;
    d->status = set_up(d) ? 1 : 0;
    if (!d->status)
        event_base_dispatch(d->base);
    int status = d->status;
    tear_down(d);
    return status;
}
