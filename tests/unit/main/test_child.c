/* A child process from start to death. The parent executes /proc/self/exe, so this program is its
 * own child: with -p it plays the part of the data process. */
#include "hostd/main/child.h"
#include "hostd/main/role.h"

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* --- the child: sends back what it gets; sleeps on MSG_RELOAD, ends on MSG_STOP --- */

static int echo(struct msg_chan *c)
{
    struct msg m;
    struct pollfd p = {ROLE_CHANNEL, POLLIN, 0};
    poll(&p, 1, -1);
    int r = msg_recv(c, &m);
    if (r <= 0)
        return r < 0 ? 2 : 0;
    if (m.type == MSG_STOP)
        return 3;
    if (m.type == MSG_RELOAD)
        usleep(200000);
    while (msg_send(c, m.type, m.id + 1, m.body, m.len, m.fds, m.n_fds) == -EAGAIN)
        usleep(1000);
    msg_close_fds(&m);
    return 0;
}

static int play(void)
{
    struct msg_chan *c;
    int status = 0;
    if (msg_chan_new(&c, ROLE_CHANNEL))
        return 1;
    while (!status)
        status = echo(c);
    msg_chan_free(c);
    return status;
}

/* --- the parent --- */

struct world {
    struct child_env env;
    struct child child;
    unsigned got;
    uint32_t last_id;
    unsigned fds;
    unsigned wait_for;
};

static void on_msg(void *ctx, struct child *c, struct msg *m)
{
    struct world *w = ctx;
    w->got++;
    w->last_id = m->id;
    w->fds += m->n_fds;
    if (w->got == w->wait_for)
        event_base_loopbreak(w->env.base);
}

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    if (!w)
        return -1;
    w->env = (struct child_env){event_base_new(), "/tmp", "nobody", true, on_msg, w};
    w->child.id = PROC_DATA;
    w->child.env = &w->env;
    *state = w;
    return w->env.base ? child_start(&w->child) : -1;
}

static int teardown(void **state)
{
    struct world *w = *state;
    child_down(&w->child);
    event_base_free(w->env.base);
    free(w);
    return 0;
}

static void wait_for(struct world *w, unsigned n)
{
    struct timeval tv = {5, 0};
    w->wait_for = n;
    event_base_loopexit(w->env.base, &tv);
    event_base_dispatch(w->env.base);
    assert_int_equal(w->got, n);
}

static int reap(struct world *w)
{
    int status;
    assert_int_equal(waitpid(w->child.pid, &status, 0), w->child.pid);
    return status;
}

static void test_round_trip(void **state)
{
    struct world *w = *state;
    int null = STDERR_FILENO;
    child_send_arg(&w->child, MSG_PEER, PROC_CONTROL, &null);
    child_send(&w->child, MSG_CALL, 41, "abc", 3, NULL, 0);
    wait_for(w, 2);
    assert_int_equal(w->last_id, 42);
    assert_int_equal(w->fds, 1);
    child_send_arg(&w->child, MSG_STOP, MSG_STOP_END, NULL);
    assert_int_equal(WEXITSTATUS(reap(w)), 3);
}

/* A child that does not read for a while loses nothing, and the order stays. */
static void test_queue(void **state)
{
    struct world *w = *state;
    static uint8_t big[20000];
    int null = STDERR_FILENO;
    child_send(&w->child, MSG_RELOAD, 1, NULL, 0, NULL, 0);
    for (uint32_t i = 0; i < 100; i++)
        child_send(&w->child, MSG_CALL, 100 + i, big, sizeof big, &null, 1);
    assert_true(w->child.queued > 0);
    wait_for(w, 101);
    assert_int_equal(w->last_id, 200);
    assert_int_equal(w->fds, 100);
    assert_int_equal(w->child.queued, 0);
    child_down(&w->child); /* the end of the channel is the end of the child */
    int status;
    assert_true(wait(&status) > 0);
    assert_int_equal(WEXITSTATUS(status), 2);
}

/* One that never reads is ended: what waits for it is bounded. */
static void test_stuck(void **state)
{
    struct world *w = *state;
    kill(w->child.pid, SIGSTOP);
    for (uint32_t i = 0; i < 6000; i++)
        child_send(&w->child, MSG_CALL, i, "x", 1, NULL, 0);
    assert_int_equal(WTERMSIG(reap(w)), SIGKILL);
    child_down(&w->child);
    assert_int_equal(w->child.queued, 0);
    child_send(&w->child, MSG_CALL, 0, "x", 1, NULL, 0); /* nobody there: nothing happens */
}

int main(int argc, char **argv)
{
    if (argc > 2 && !strcmp(argv[1], "-p"))
        return play();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_round_trip, setup, teardown),
        cmocka_unit_test_setup_teardown(test_queue, setup, teardown),
        cmocka_unit_test_setup_teardown(test_stuck, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
