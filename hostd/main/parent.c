#include "hostd/main/parent.h"

#include "hostd/base/log.h"
#include "hostd/main/config/config_load.h"
#include "hostd/main/notify.h"
#include "hostd/main/parent_internal.h"
#include "hostd/main/rundir.h"
#include "hostd/main/version.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    END_SECONDS = 3, /* children that do not end by then are killed */
    START_DEATHS = 5 /* in a row, of one child, before all have served once: the start failed */
};

static struct timeval interval(uint64_t ns)
{
    return (struct timeval){(time_t)(ns / 1000000000u), (suseconds_t)(ns / 1000u % 1000000u)};
}

/* --- children --- */

static void start_child(struct parent *p, struct child *c)
{
    int r = child_start(c);
    if (r) {
        log_event(MSG_CHILD_DIED, proc_name(c->id), proc_name(c->id), strerror(-r));
        c->deaths++;
        struct timeval tv = interval(proc_delay(c->deaths + 2));
        event_add(c->restart, &tv);
        return;
    }
    parent_introduce(p, c);
}

static void on_restart(evutil_socket_t fd, short what, void *ctx)
{
    struct child *c = ctx;
    struct parent *p = c->env->ctx;
    if (!p->ending && !c->pid)
        start_child(p, c);
}

static void end_word(int status, char *buf, size_t room)
{
    if (WIFSIGNALED(status))
        snprintf(buf, room, "signal %d", WTERMSIG(status));
    else
        snprintf(buf, room, "exit status %d", WEXITSTATUS(status));
}

/* Control ends last: what the others still have to say is written. */
static void end_the_rest(struct parent *p)
{
    for (unsigned i = PROC_PARENT + 1; i < PROC_COUNT; i++)
        if (p->child[i].pid && i != PROC_CONTROL)
            return;
    if (p->child[PROC_CONTROL].pid)
        child_send_arg(&p->child[PROC_CONTROL], MSG_STOP, MSG_STOP_END, NULL);
    else
        event_base_loopbreak(p->base);
}

static void child_died(struct parent *p, struct child *c, int status)
{
    char why[32];
    uint64_t ran = now_ns() - c->since;
    end_word(status, why, sizeof why);
    if (c->id == PROC_CONTROL)
        log_relay_attach(p->log, NULL);
    child_down(c);
    if (c->id == PROC_DATA)
        host_detach(p->host);
    if (p->ending) {
        end_the_rest(p);
        return;
    }
    log_event(MSG_CHILD_DIED, proc_name(c->id), proc_name(c->id), why);
    c->deaths = proc_deaths(c->deaths, ran);
    c->restarts++;
    if (!p->ready && c->deaths >= START_DEATHS) {
        p->exit_status = 1;
        fprintf(stderr, "sallyportd: process %s cannot start (%s)\n", proc_name(c->id), why);
        parent_end(p, false, "a process cannot start");
        return;
    }
    struct timeval tv = interval(proc_delay(c->deaths));
    if (tv.tv_sec || tv.tv_usec)
        event_add(c->restart, &tv);
    else
        start_child(p, c);
}

static void reap(struct parent *p)
{
    for (unsigned i = 0; i < PROC_COUNT; i++) {
        struct child *c = &p->child[i];
        int status;
        if (c->pid && waitpid(c->pid, &status, WNOHANG) == c->pid)
            child_died(p, c, status);
    }
}

/* --- the life of the daemon --- */

static void on_end_timer(evutil_socket_t fd, short what, void *ctx)
{
    struct parent *p = ctx;
    for (unsigned i = 0; i < PROC_COUNT; i++)
        if (p->child[i].pid)
            kill(p->child[i].pid, SIGKILL);
}

void parent_end(struct parent *p, bool give_back, const char *why)
{
    if (p->ending)
        return;
    p->ending = true;
    p->give_back = give_back;
    notify_state("STOPPING=1");
    log_event(MSG_DAEMON_ENDS, "sallyportd", why);
    struct timeval tv = {END_SECONDS, 0};
    event_add(p->end_timer, &tv);
    for (unsigned i = 0; i < PROC_COUNT; i++) {
        p->child[i].ending = true;
        if (i != PROC_CONTROL)
            child_send_arg(&p->child[i], MSG_STOP, MSG_STOP_END, NULL);
    }
    end_the_rest(p);
}

void parent_stop_ipsec(struct parent *p, bool stop)
{
    struct child *data = &p->child[PROC_DATA];
    uint32_t how = MSG_STOP_PASS;
    for (unsigned i = 0; i < p->cfg.n_interfaces; i++)
        if (p->cfg.interfaces[i].after_stop == CFG_STOP_DISCARD)
            how = MSG_STOP_DISCARD;
    p->ipsec_stopped = stop;
    if (stop)
        child_send_arg(data, MSG_STOP, how, NULL);
    else
        child_send(data, MSG_START, 0, NULL, 0, NULL, 0);
}

static void check_limit(const struct parent *p)
{
    if (p->cfg.limit_sas != p->state_sas)
        log_event(MSG_LIMIT_NEEDS_RESTART, p->opt.config, p->state_sas, p->cfg.limit_sas);
}

/* A record of the log is one line: the first error's. */
static void log_refused(const struct parent *p, const char *errors)
{
    char first[256];
    snprintf(first, sizeof first, "%.*s", (int)strcspn(errors, "\n"), errors);
    log_event(MSG_CONFIG_REFUSED, p->opt.config, first);
}

int parent_reload(struct parent *p, char **errors)
{
    struct cfg fresh;
    size_t len;
    *errors = NULL;
    FILE *f = open_memstream(errors, &len);
    if (!f)
        return 1;
    notify_reloading();
    int n = cfg_load(p->opt.config, &fresh, f);
    fclose(f);
    if (n) {
        log_refused(p, *errors ? *errors : "no memory");
        notify_state("READY=1");
        return n;
    }
    struct cfg old = p->cfg;
    p->cfg = fresh;
    for (unsigned i = PROC_PARENT + 1; i < PROC_COUNT; i++)
        if (p->child[i].pid)
            parent_give_config(p, &p->child[i]);
    host_configure(p->host, &p->cfg);
    if (strcmp(old.log_dir, p->cfg.log_dir))
        parent_give_logs(p, 0);
    if (strcmp(old.read_group, p->cfg.read_group) || strcmp(old.change_group, p->cfg.change_group))
        parent_give_control(p);
    cfg_free(&old);
    if (!p->ipsec_stopped)
        child_send(&p->child[PROC_DATA], MSG_START, 0, NULL, 0, NULL, 0);
    check_limit(p);
    log_event(MSG_CONFIG_LOADED, p->opt.config, p->cfg.n_policies, p->cfg.n_cards,
              p->cfg.n_interfaces);
    notify_state("READY=1");
    return 0;
}

static void on_signal(evutil_socket_t sig, short what, void *ctx)
{
    struct parent *p = ctx;
    char *errors;
    if (sig == SIGCHLD)
        reap(p);
    else if (sig != SIGHUP)
        parent_end(p, false, strsignal(sig));
    else if (!p->ending) {
        parent_reload(p, &errors);
        free(errors);
    }
}

/* --- messages from children: each kind from one sender only, with one length --- */

/* From here on a daemon in the background holds nothing of the terminal it was started from. */
static void tell_started(struct parent *p)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (write(p->started_fd, "", 1) != 1) {
        /* Who started us is gone: nobody to tell. */
    }
    close(p->started_fd);
    p->started_fd = -1;
    for (int fd = STDIN_FILENO; null >= 0 && fd <= STDERR_FILENO; fd++)
        dup2(null, fd);
    if (null > STDERR_FILENO)
        close(null);
}

static void on_ready(struct parent *p, struct child *c, struct msg *m)
{
    c->ready = true;
    if (c->id == PROC_DATA)
        host_ready(p->host);
    for (unsigned i = PROC_PARENT + 1; i < PROC_COUNT; i++)
        if (proc_row(i)->started && !p->child[i].ready)
            return;
    if (p->ready)
        return;
    p->ready = true;
    log_event(MSG_STARTED, "sallyportd", "sallyportd", SALLYPORT_VERSION);
    notify_state("READY=1");
    if (p->started_fd >= 0)
        tell_started(p);
}

static bool fd_record(const struct msg *m, struct msg_fd *out)
{
    memcpy(out, m->body, sizeof *out);
    return memchr(out->name, 0, sizeof out->name) &&
           memchr(out->interface, 0, sizeof out->interface);
}

static void on_card_gone(struct parent *p, struct child *c, struct msg *m)
{
    struct msg_fd what;
    if (fd_record(m, &what))
        host_card_gone(p->host, &what);
}

static void on_port_want(struct parent *p, struct child *c, struct msg *m)
{
    struct msg_fd what;
    if (fd_record(m, &what))
        host_port_want(p->host, &what);
}

static void on_probe(struct parent *p, struct child *c, struct msg *m)
{
    struct msg_probe what;
    memcpy(&what, m->body, sizeof what);
    if (memchr(what.interface, 0, sizeof what.interface))
        host_probe(p->host, &what);
}

static void on_port_info(struct parent *p, struct child *c, struct msg *m)
{
    struct msg_port_info what;
    memcpy(&what, m->body, sizeof what);
    if (memchr(what.interface, 0, sizeof what.interface))
        host_port_info(p->host, &what);
}

static void on_admin(struct parent *p, struct child *c, struct msg *m)
{
    parent_admin(p, c, m);
}

static void on_reload(struct parent *p, struct child *c, struct msg *m)
{
    parent_reload_call(p, c, m);
}

enum { ANY_CHILD = PROC_COUNT, ANY_LEN = -1 };

static const struct {
    enum msg_type type;
    unsigned from;
    long len;
    void (*handle)(struct parent *p, struct child *c, struct msg *m);
} handlers[] = {
    {MSG_READY, ANY_CHILD, 0, on_ready},
    {MSG_CARD_GONE, PROC_DATA, sizeof(struct msg_fd), on_card_gone},
    {MSG_PORT_WANT, PROC_DATA, sizeof(struct msg_fd), on_port_want},
    {MSG_PROBE, PROC_DATA, sizeof(struct msg_probe), on_probe},
    {MSG_PORT_INFO, PROC_DATA, sizeof(struct msg_port_info), on_port_info},
    {MSG_RELOAD, PROC_CONTROL, ANY_LEN, on_reload},
    {MSG_ADMIN, PROC_CONTROL, ANY_LEN, on_admin},
    {MSG_CALL, PROC_CONTROL, ANY_LEN, on_admin},
};

static void on_msg(void *ctx, struct child *c, struct msg *m)
{
    struct parent *p = ctx;
    for (size_t i = 0; i < sizeof handlers / sizeof *handlers; i++) {
        if (handlers[i].type != m->type ||
            (handlers[i].from != ANY_CHILD && handlers[i].from != (unsigned)c->id))
            continue;
        if (handlers[i].len != ANY_LEN && (size_t)handlers[i].len != m->len)
            break;
        handlers[i].handle(p, c, m);
        return;
    }
    char what[32];
    snprintf(what, sizeof what, "type %u, length %zu", m->type, m->len);
    log_event(MSG_PEER_MALFORMED, proc_name(c->id), proc_name(c->id), what);
}

/* --- start and end --- */

static void to_data(void *ctx, const struct msg_fd *what, int fd)
{
    struct parent *p = ctx;
    child_send(&p->child[PROC_DATA], MSG_FD, 0, what, sizeof *what, &fd, 1);
}

static void to_data_gone(void *ctx, const struct msg_fd *what)
{
    struct parent *p = ctx;
    child_send(&p->child[PROC_DATA], MSG_FD_GONE, 0, what, sizeof *what, NULL, 0);
}

static int open_all(struct parent *p)
{
    int r = role_user(p->opt.user, &p->user);
    if (!r)
        r = rundir_open(p->opt.rundir, &p->lock);
    if (!r)
        r = log_relay_new(&p->log, "parent");
    if (!r)
        r = rundir_listen(p->opt.rundir, &p->control_fd);
    if (!r)
        r = parent_open_state(p);
    const struct host_out out = {to_data, to_data_gone, p};
    if (!r)
        r = host_new(&p->host, p->base, &out, p->user.mapped ? p->user.uid : (uid_t)-1);
    return r;
}

static int prepare_loop(struct parent *p)
{
    static const int signals[PARENT_SIGNALS] = {SIGCHLD, SIGHUP, SIGTERM, SIGINT};
    p->base = event_base_new();
    if (!p->base)
        return -ENOMEM;
    p->end_timer = evtimer_new(p->base, on_end_timer, p);
    if (!p->end_timer)
        return -ENOMEM;
    for (unsigned i = 0; i < PARENT_SIGNALS; i++) {
        p->signal[i] = evsignal_new(p->base, signals[i], on_signal, p);
        if (!p->signal[i] || event_add(p->signal[i], NULL))
            return -ENOMEM;
    }
    p->env = (struct child_env){p->base, p->opt.rundir, p->opt.user, !p->opt.foreground, on_msg, p};
    for (unsigned i = 0; i < PROC_COUNT; i++) {
        p->child[i].id = i;
        p->child[i].env = &p->env;
        p->child[i].restart = evtimer_new(p->base, on_restart, &p->child[i]);
        if (!p->child[i].restart)
            return -ENOMEM;
    }
    return 0;
}

static void close_all(struct parent *p)
{
    for (unsigned i = 0; i < PROC_COUNT; i++) {
        child_down(&p->child[i]);
        if (p->child[i].restart)
            event_free(p->child[i].restart);
    }
    host_free(p->host);
    for (unsigned i = 0; i < PARENT_SIGNALS; i++)
        if (p->signal[i])
            event_free(p->signal[i]);
    if (p->end_timer)
        event_free(p->end_timer);
    if (p->base)
        event_base_free(p->base);
    if (p->control_fd >= 0)
        close(p->control_fd);
    if (p->state_fd >= 0)
        close(p->state_fd);
    if (p->started_fd >= 0)
        close(p->started_fd);
    if (p->lock >= 0)
        rundir_close(p->opt.rundir, p->lock);
    log_relay_free(p->log);
    cfg_free(&p->cfg);
}

static int serve(struct parent *p)
{
    if (!p->user.mapped)
        log_event(MSG_NAMESPACE_ONLY, "sallyportd", p->user.name);
    log_event(MSG_CONFIG_LOADED, p->opt.config, p->cfg.n_policies, p->cfg.n_cards,
              p->cfg.n_interfaces);
    /* Interfaces first: from here on nothing that a policy protects leaves in clear. */
    host_configure(p->host, &p->cfg);
    static const enum proc order[] = {PROC_CONTROL, PROC_FETCH, PROC_KEYS, PROC_IKE, PROC_DATA};
    for (size_t i = 0; i < sizeof order / sizeof *order; i++)
        if (proc_row(order[i])->started)
            start_child(p, &p->child[order[i]]);
    event_base_dispatch(p->base);
    host_release(p->host, p->give_back);
    return p->exit_status;
}

int parent_run(const struct parent_options *o, int started_fd)
{
    static struct parent p;
    p = (struct parent){
        .opt = *o, .lock = -1, .control_fd = -1, .state_fd = -1, .started_fd = started_fd};
    signal(SIGPIPE, SIG_IGN);
    int r = cfg_load(o->config, &p.cfg, stderr);
    if (!r) {
        r = prepare_loop(&p);
        if (!r)
            r = open_all(&p);
        if (r == -EBUSY)
            fprintf(stderr, "sallyportd: another daemon runs in %s\n", o->rundir);
        else if (r)
            fprintf(stderr, "sallyportd: cannot start in %s: %s\n", o->rundir, strerror(-r));
    }
    int status = r ? 1 : serve(&p);
    close_all(&p);
    return status;
}
