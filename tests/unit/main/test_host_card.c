/* Cards that come, go and come back: handed down at once, watched for while away. */
#include "hostd/main/host_internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

struct world {
    char dir[64], path[96];
    struct event_base *base;
    struct host h;
    struct cfg cfg;
    unsigned given, gone;
    int server;
};

static void on_give(void *ctx, const struct msg_fd *what, int fd)
{
    struct world *w = ctx;
    assert_int_equal(what->kind, MSG_FD_CARD);
    assert_string_equal(what->name, "c0");
    assert_true(fd >= 0);
    w->given++;
    event_base_loopbreak(w->base);
}

static void on_gone(void *ctx, const struct msg_fd *what)
{
    struct world *w = ctx;
    w->gone++;
}

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    if (!w)
        return -1;
    strcpy(w->dir, "/tmp/sp-card-XXXXXX");
    if (!mkdtemp(w->dir))
        return -1;
    snprintf(w->path, sizeof w->path, "%s/c0.sock", w->dir);
    w->server = -1;
    w->base = event_base_new();
    w->cfg.n_cards = w->cfg.n_interfaces = 1;
    strcpy(w->cfg.cards[0].name, "c0");
    snprintf(w->cfg.cards[0].at, sizeof w->cfg.cards[0].at, "unix:%s", w->path);
    strcpy(w->cfg.interfaces[0].name, "ipsec0");
    strcpy(w->cfg.interfaces[0].port, "c0");
    w->h.base = w->base;
    w->h.cfg = &w->cfg;
    w->h.attached = true;
    w->h.out = (struct host_out){on_give, on_gone, w};
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    cards_free(&w->h);
    event_base_free(w->base);
    if (w->server >= 0)
        close(w->server);
    unlink(w->path);
    rmdir(w->dir);
    free(w);
    return 0;
}

static void serve(struct world *w)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    memcpy(sa.sun_path, w->path, strlen(w->path));
    unlink(w->path);
    w->server = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(w->server, (struct sockaddr *)&sa, sizeof sa), 0);
    assert_int_equal(listen(w->server, 4), 0);
}

static void die(struct world *w)
{
    close(w->server); /* the name stays, as after kill -9 */
    w->server = -1;
}

static void turn(struct world *w, unsigned ms)
{
    struct timeval tv = {ms / 1000, (suseconds_t)(ms % 1000 * 1000)};
    event_base_loopexit(w->base, &tv);
    event_base_dispatch(w->base);
}

static void test_there(void **state)
{
    struct world *w = *state;
    serve(w);
    cards_configure(&w->h);
    assert_int_equal(w->given, 1);
    cards_configure(&w->h); /* a reload that changes nothing gives nothing */
    assert_int_equal(w->given, 1);
}

static void test_comes_late(void **state)
{
    struct world *w = *state;
    cards_configure(&w->h);
    turn(w, 20);
    assert_int_equal(w->given, 0);
    serve(w);
    turn(w, 1000);
    assert_int_equal(w->given, 1);
}

static void test_comes_back(void **state)
{
    struct world *w = *state;
    serve(w);
    cards_configure(&w->h);
    for (unsigned i = 1; i < 4; i++) {
        die(w);
        card_gone(&w->h, "c0");
        turn(w, 10);
        assert_int_equal(w->given, i);
        serve(w);
        turn(w, 1000);
        assert_int_equal(w->given, i + 1);
    }
    card_gone(&w->h, "c7"); /* no such card */
}

/* A card that data gives up as soon as it has it must not make a busy loop. */
static void test_no_busy_loop(void **state)
{
    struct world *w = *state;
    serve(w);
    cards_configure(&w->h);
    for (int i = 0; i < 10; i++) {
        card_gone(&w->h, "c0");
        turn(w, 60);
    }
    assert_true(w->given < 11);
    card_gone(&w->h, "c0");
    turn(w, 1000);
    assert_true(w->given > 1);
}

static void test_standby(void **state)
{
    struct world *w = *state;
    strcpy(w->cfg.interfaces[0].port, "if:eth1");
    strcpy(w->cfg.interfaces[0].standby, "c0");
    serve(w);
    cards_configure(&w->h);
    assert_int_equal(w->given, 0); /* only when data wants it */
    cards_want(&w->h, "c0", true);
    assert_int_equal(w->given, 1);
    cards_want(&w->h, "c0", false);
    cards_want(&w->h, "c0", true);
    assert_int_equal(w->given, 2);
    w->cfg.n_cards = 0;
    cards_configure(&w->h);
    assert_int_equal(w->gone, 1);
}

static void test_not_attached(void **state)
{
    struct world *w = *state;
    serve(w);
    w->h.attached = false;
    cards_configure(&w->h);
    assert_int_equal(w->given, 0);
    w->h.attached = true;
    cards_configure(&w->h);
    assert_int_equal(w->given, 1);
    cards_detach(&w->h); /* the data process died: the next one gets it anew */
    cards_configure(&w->h);
    assert_int_equal(w->given, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_there, setup, teardown),
        cmocka_unit_test_setup_teardown(test_comes_late, setup, teardown),
        cmocka_unit_test_setup_teardown(test_comes_back, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_busy_loop, setup, teardown),
        cmocka_unit_test_setup_teardown(test_standby, setup, teardown),
        cmocka_unit_test_setup_teardown(test_not_attached, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
