/* Messages between processes: what is sent arrives, what is malformed is refused, and no descriptor
 * is ever left open by a refusal. */
#include "hostd/base/msg.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

struct ends {
    struct msg_chan *a, *b;
};

static int setup(void **state)
{
    static struct ends e;
    int fds[2];
    if (msg_pair(fds) || msg_chan_new(&e.a, fds[0]) || msg_chan_new(&e.b, fds[1]))
        return -1;
    *state = &e;
    return 0;
}

static int teardown(void **state)
{
    struct ends *e = *state;
    msg_chan_free(e->a);
    msg_chan_free(e->b);
    return 0;
}

static unsigned open_fds(void)
{
    unsigned n = 0;
    for (int i = 0; i < 256; i++)
        n += fcntl(i, F_GETFD) >= 0;
    return n;
}

static void test_round_trip(void **state)
{
    struct ends *e = *state;
    struct msg m;
    assert_int_equal(msg_recv(e->b, &m), 0);
    assert_int_equal(msg_send(e->a, MSG_CALL, 77, "hello", 5, NULL, 0), 0);
    assert_int_equal(msg_send(e->a, MSG_READY, 78, NULL, 0, NULL, 0), 0);
    assert_int_equal(msg_recv(e->b, &m), 1);
    assert_int_equal(m.type, MSG_CALL);
    assert_int_equal(m.id, 77);
    assert_int_equal(m.len, 5);
    assert_memory_equal(m.body, "hello", 6); /* the NUL is there too */
    assert_int_equal(m.n_fds, 0);
    assert_int_equal(msg_recv(e->b, &m), 1);
    assert_int_equal(m.type, MSG_READY);
    assert_int_equal(m.len, 0);
    assert_int_equal(msg_recv(e->b, &m), 0);
}

static void test_largest(void **state)
{
    struct ends *e = *state;
    size_t len = MSG_MAX - MSG_HEADER;
    uint8_t *big = malloc(len + 1);
    assert_non_null(big);
    for (size_t i = 0; i <= len; i++)
        big[i] = (uint8_t)(i * 31);
    struct msg m;
    assert_int_equal(msg_send(e->a, MSG_REPLY, 1, big, len, NULL, 0), 0);
    assert_int_equal(msg_recv(e->b, &m), 1);
    assert_int_equal(m.len, len);
    assert_memory_equal(m.body, big, len);
    assert_int_equal(msg_send(e->a, MSG_REPLY, 1, big, len + 1, NULL, 0), -EMSGSIZE);
    free(big);
}

static void test_descriptors(void **state)
{
    struct ends *e = *state;
    int p[2], fds[MSG_FDS + 1];
    assert_int_equal(pipe(p), 0);
    for (unsigned i = 0; i <= MSG_FDS; i++)
        fds[i] = p[1];
    assert_int_equal(msg_send(e->a, MSG_FD, 0, "x", 1, fds, MSG_FDS + 1), -EMSGSIZE);
    unsigned before = open_fds();
    assert_int_equal(msg_send(e->a, MSG_FD, 0, "x", 1, fds, MSG_FDS), 0);
    struct msg m;
    assert_int_equal(msg_recv(e->b, &m), 1);
    assert_int_equal(m.n_fds, MSG_FDS);
    for (unsigned i = 0; i < m.n_fds; i++)
        assert_true(fcntl(m.fds[i], F_GETFD) & FD_CLOEXEC);
    assert_int_equal(write(m.fds[2], "z", 1), 1);
    char c = 0;
    assert_int_equal(read(p[0], &c, 1), 1);
    assert_int_equal(c, 'z');
    msg_close_fds(&m);
    assert_int_equal(open_fds(), before);
    close(p[0]);
    close(p[1]);
}

/* What a hostile peer writes with its own sendmsg. */
static void raw_send(struct ends *e, const void *data, size_t len, const int *fds, unsigned n)
{
    struct iovec iov = {(void *)(uintptr_t)data, len};
    union {
        struct cmsghdr align;
        char b[CMSG_SPACE(16 * sizeof(int))];
    } room = {.b = {0}};
    struct msghdr mh = {.msg_iov = &iov, .msg_iovlen = 1};
    if (n) {
        mh.msg_control = room.b;
        mh.msg_controllen = CMSG_SPACE(n * sizeof(int));
        struct cmsghdr *c = CMSG_FIRSTHDR(&mh);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(n * sizeof(int));
        memcpy(CMSG_DATA(c), fds, n * sizeof(int));
    }
    assert_int_equal(sendmsg(msg_chan_fd(e->a), &mh, 0), len);
}

static void put_header(uint8_t *b, uint16_t type, uint16_t version, uint32_t len, uint32_t id)
{
    memcpy(b, &type, 2);
    memcpy(b + 2, &version, 2);
    memcpy(b + 4, &len, 4);
    memcpy(b + 8, &id, 4);
}

static void test_malformed(void **state)
{
    struct ends *e = *state;
    static uint8_t b[MSG_MAX + 64];
    int fds[8];
    for (int i = 0; i < 8; i++)
        fds[i] = 1;
    static const struct {
        uint16_t version;
        uint32_t len;
        size_t sent;
        unsigned n_fds;
    } rows[] = {
        {MSG_VERSION, 0, 11, 1},     /* no whole header */
        {MSG_VERSION + 1, 4, 16, 2}, /* another version */
        {MSG_VERSION, 5, 16, 1},     /* says more than there is */
        {MSG_VERSION, 3, 16, 1},     /* says less */
        {MSG_VERSION, 0xffffffff, 16, 0},
        {MSG_VERSION, MSG_MAX + 64 - MSG_HEADER, MSG_MAX + 64, 1}, /* longer than allowed */
        {MSG_VERSION, 4, 16, 8},                                   /* too many descriptors */
    };
    unsigned before = open_fds();
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        put_header(b, MSG_FD, rows[i].version, rows[i].len, 1);
        raw_send(e, b, rows[i].sent, fds, rows[i].n_fds);
        struct msg m;
        assert_int_equal(msg_recv(e->b, &m), -EBADMSG);
        assert_int_equal(m.n_fds, 0);
        assert_int_equal(open_fds(), before);
    }
    /* and the channel still works */
    struct msg m;
    assert_int_equal(msg_send(e->a, MSG_READY, 3, NULL, 0, NULL, 0), 0);
    assert_int_equal(msg_recv(e->b, &m), 1);
    assert_int_equal(m.id, 3);
}

static void test_full_and_gone(void **state)
{
    struct ends *e = *state;
    static uint8_t b[MSG_MAX - MSG_HEADER];
    int r, sent = 0;
    while ((r = msg_send(e->a, MSG_LOG, 0, b, sizeof b, NULL, 0)) == 0)
        assert_true(++sent < 1000);
    assert_int_equal(r, -EAGAIN);
    struct msg m;
    for (int i = 0; i < sent; i++)
        assert_int_equal(msg_recv(e->b, &m), 1);
    assert_int_equal(msg_recv(e->b, &m), 0);
    msg_chan_free(e->a);
    e->a = NULL;
    assert_int_equal(msg_recv(e->b, &m), -ECONNRESET);
    assert_int_equal(msg_send(e->b, MSG_LOG, 0, NULL, 0, NULL, 0), -EPIPE);
}

static void test_names(void **state)
{
    for (unsigned i = 0; i < PROC_COUNT; i++)
        assert_non_null(proc_name(i));
    assert_string_equal(proc_name(PROC_DATA), "data");
    assert_string_equal(proc_name(PROC_COUNT), "unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_round_trip, setup, teardown),
        cmocka_unit_test_setup_teardown(test_largest, setup, teardown),
        cmocka_unit_test_setup_teardown(test_descriptors, setup, teardown),
        cmocka_unit_test_setup_teardown(test_malformed, setup, teardown),
        cmocka_unit_test_setup_teardown(test_full_and_gone, setup, teardown),
        cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
