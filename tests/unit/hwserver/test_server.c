/* The whole program from outside: two cards as processes, joined by a cable, each driven by a
 * client of the fewest lines over its socket. */
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "firmware-if/card_if.h"
#include "hwsim/server/le.h"
#include "hwsim/server/server.h"
#include "hwsim/server/vfu.h"

#define MEM  0x200000u
#define BASE 0x40000000ull

struct client {
    pid_t pid;
    int fd, mem_fd, irq;
    char sock[100];
    uint8_t *mem, *bar2;
    uint16_t id, asq, acq;
};

static char dir[64];

static void nap(unsigned ms)
{
    struct timespec t = {0, (long)ms * 1000000};

    nanosleep(&t, NULL);
}

/* --- the protocol
 * ------------------------------------------------------------------------------------------ */

static int receive(int fd, uint8_t *buf, size_t len, int *got_fd)
{
    char control[CMSG_SPACE(sizeof(int))];
    struct iovec iov = {buf, len};
    struct msghdr m = {.msg_iov = &iov,
                       .msg_iovlen = 1,
                       .msg_control = control,
                       .msg_controllen = sizeof(control)};
    ssize_t n = recvmsg(fd, &m, MSG_WAITALL);
    struct cmsghdr *c = CMSG_FIRSTHDR(&m);

    if (got_fd && c && c->cmsg_type == SCM_RIGHTS)
        memcpy(got_fd, CMSG_DATA(c), sizeof(int));
    return n == (ssize_t)len ? 0 : -1;
}

/* Sends a command and reads its reply into reply. The error number of the reply. */
static int call(struct client *c, unsigned cmd, const void *body, size_t len, int fd,
                uint8_t *reply, size_t cap, int *got_fd)
{
    uint8_t msg[4096], head[16];
    char control[CMSG_SPACE(sizeof(int))] = {0};
    struct iovec iov = {msg, 16 + len};
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
    size_t rest;

    le_put16(msg, c->id++);
    le_put16(msg + 2, (uint16_t)cmd);
    le_put32(msg + 4, (uint32_t)(16 + len));
    le_put64(msg + 8, 0);
    memcpy(msg + 16, body, len);
    if (fd >= 0) {
        struct cmsghdr *h;

        m.msg_control = control;
        m.msg_controllen = sizeof(control);
        h = CMSG_FIRSTHDR(&m);
        h->cmsg_level = SOL_SOCKET;
        h->cmsg_type = SCM_RIGHTS;
        h->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(h), &fd, sizeof(int));
    }
    assert_int_equal(sendmsg(c->fd, &m, 0), 16 + len);
    assert_int_equal(receive(c->fd, head, 16, got_fd), 0);
    assert_int_equal(le_get32(head + 8) & 1, 1);
    rest = le_get32(head + 4) - 16;
    assert_true(rest <= cap);
    if (rest)
        assert_int_equal(receive(c->fd, reply, rest, got_fd), 0);
    return (int)le_get32(head + 12);
}

static uint32_t region(struct client *c, bool write, uint32_t reg, uint32_t off, uint32_t v,
                       unsigned size)
{
    uint8_t b[20], r[64];

    le_put64(b, off);
    le_put32(b + 8, reg);
    le_put32(b + 12, size);
    le_put32(b + 16, v);
    assert_int_equal(call(c, write ? VFU_REGION_WRITE : VFU_REGION_READ, b, write ? 16 + size : 16,
                          -1, r, sizeof(r), NULL),
                     0);
    return write ? 0 : le_get32(r + 16);
}

static uint32_t rd(struct client *c, uint32_t off)
{
    return region(c, false, 0, off, 0, 4);
}

static void wr(struct client *c, uint32_t off, uint32_t v)
{
    region(c, true, 0, off, v, 4);
}

/* --- processes
 * --------------------------------------------------------------------------------------------- */

static pid_t start_card(const char *sock, const char *port)
{
    struct server_config cfg = {
        .shape = "build/cards/reference.dtb", .socket = sock, .ports = {port}, .seed = 1};
    pid_t pid = fork();

    if (pid == 0)
        _exit(server_run(&cfg));
    return pid;
}

static int connect_to(const char *sock)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    unsigned i;

    strcpy(a.sun_path, sock);
    for (i = 0; i < 500; i++) {
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        if (connect(fd, (const struct sockaddr *)&a, sizeof(a)) == 0)
            return fd;
        close(fd);
        nap(10);
    }
    return -1;
}

static void map_memory(struct client *c)
{
    uint8_t b[32], r[64];

    c->mem_fd = memfd_create("client", MFD_CLOEXEC);
    assert_int_equal(ftruncate(c->mem_fd, MEM), 0);
    c->mem = mmap(NULL, MEM, PROT_READ | PROT_WRITE, MAP_SHARED, c->mem_fd, 0);
    le_put32(b, 32);
    le_put32(b + 4, 3);
    le_put64(b + 8, 0);
    le_put64(b + 16, BASE);
    le_put64(b + 24, MEM);
    assert_int_equal(call(c, VFU_DMA_MAP, b, 32, c->mem_fd, r, sizeof(r), NULL), 0);
}

static void map_doorbells(struct client *c)
{
    uint8_t b[32] = {0}, r[64];
    int fd = -1;

    le_put32(b, 32);
    le_put32(b + 8, 2);
    assert_int_equal(call(c, VFU_GET_REGION_INFO, b, 32, -1, r, sizeof(r), &fd), 0);
    assert_true(fd >= 0);
    assert_true(le_get32(r + 4) & 4);
    c->bar2 = mmap(NULL, le_get64(r + 16), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    assert_ptr_not_equal(c->bar2, MAP_FAILED);
    assert_int_equal(ftruncate(fd, 0), -1); /* sealed */
    close(fd);
}

static void take_irq(struct client *c, unsigned vector)
{
    uint8_t b[20], r[64];

    c->irq = eventfd(0, EFD_CLOEXEC);
    le_put32(b, 20);
    le_put32(b + 4, 4 | 32);
    le_put32(b + 8, 2);
    le_put32(b + 12, vector);
    le_put32(b + 16, 1);
    assert_int_equal(call(c, VFU_SET_IRQS, b, 20, c->irq, r, sizeof(r), NULL), 0);
}

static void open_client(struct client *c)
{
    static const char version[] = "\0\0\1\0{\"capabilities\":{\"max_msg_fds\":16,"
                                  "\"max_data_xfer_size\":1048576,\"pgsizes\":4096}}";
    uint8_t r[256];

    c->fd = connect_to(c->sock);
    assert_true(c->fd >= 0);
    assert_int_equal(call(c, VFU_VERSION, version, sizeof(version), -1, r, sizeof(r), NULL), 0);
    map_memory(c);
    map_doorbells(c);
    take_irq(c, 0);
    region(c, true, 7, 4, 6, 2);
}

static void run_card(struct client *c)
{
    static const uint32_t admin[] = {CIF_REG_ASQ_LO, CIF_REG_ACQ_LO, CIF_REG_EVQ_LO};
    unsigned i;

    wr(c, CIF_REG_CONTROL, CIF_CONTROL_RESET);
    assert_true(rd(c, CIF_REG_STATUS) & CIF_STATUS_RESETTING);
    for (i = 0; i < 200 && !(rd(c, CIF_REG_STATUS) & CIF_STATUS_READY); i++)
        nap(1);
    wr(c, CIF_REG_CONTROL, CIF_CONTROL_ACK | CIF_CONTROL_DRIVER);
    wr(c, CIF_REG_FEAT_DRV, CIF_FEAT_DOORBELL_WAKE);
    wr(c, CIF_REG_CONTROL, CIF_CONTROL_FEATURES_OK);
    for (i = 0; i < 3; i++) {
        wr(c, admin[i], (uint32_t)BASE + i * 0x4000);
        wr(c, admin[i] + 8, 64);
    }
    wr(c, CIF_REG_CONTROL, CIF_CONTROL_RUN);
    assert_true(rd(c, CIF_REG_STATUS) & CIF_STATUS_RUNNING);
    c->asq = c->acq = 0;
}

static void ring(struct client *c, uint32_t page, uint32_t off, uint32_t v)
{
    cif_put32(c->bar2 + page + off, v);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (cif_get32(c->bar2 + page + CIF_DB_SLEEPING))
        wr(c, CIF_REG_WAKE, 1);
}

/* One admin command, its argument at 0x20000; waits by interrupt. Its status. */
static uint16_t admin(struct client *c, unsigned op, uint32_t arg0, uint64_t arg1, uint64_t *value)
{
    uint8_t *s = c->mem + (c->asq & 63) * CIF_ASQ_SIZE, *e;
    struct pollfd p = {.fd = c->irq, .events = POLLIN};
    uint64_t n;

    memset(s, 0, CIF_ASQ_SIZE);
    cif_asq_set_cid(s, c->asq);
    cif_asq_set_op(s, (uint8_t)op);
    cif_asq_set_data(s, BASE + 0x20000);
    cif_asq_set_data_len(s, 0x1000);
    cif_asq_set_result(s, BASE + 0x28000);
    cif_asq_set_result_len(s, 0x8000);
    cif_asq_set_arg0(s, arg0);
    cif_asq_set_arg1(s, arg1);
    ring(c, 0, CIF_DB_ACQ_HEAD, c->acq | CIF_DB_ARM);
    ring(c, 0, CIF_DB_ASQ_TAIL, ++c->asq);
    assert_int_equal(poll(&p, 1, 2000), 1);
    assert_int_equal(read(c->irq, &n, 8), 8);
    e = c->mem + 0x4000 + (c->acq & 63) * CIF_ACQ_SIZE;
    assert_int_equal(cif_acq_phase(e), cif_phase(c->acq / 64));
    c->acq++;
    if (value)
        *value = cif_acq_value(e);
    return cif_acq_status(e);
}

static void open_queue(struct client *c, unsigned qid, unsigned type)
{
    uint8_t *r = c->mem + 0x20000;

    memset(r, 0, CIF_Q_CREATE_SIZE);
    cif_q_create_set_qid(r, (uint16_t)qid);
    cif_q_create_set_type(r, (uint8_t)type);
    cif_q_create_set_flags(r, CIF_QF_NO_IRQ);
    cif_q_create_set_ring(r, BASE + 0x40000 + qid * 0x20000);
    cif_q_create_set_cq(r, BASE + 0x50000 + qid * 0x20000);
    cif_q_create_set_ring_size(r, 64);
    cif_q_create_set_cq_size(r, 64);
    assert_int_equal(admin(c, CIF_OP_Q_CREATE, 0, 0, NULL), CIF_ST_OK);
}

static void open_port(struct client *c)
{
    uint8_t *r = c->mem + 0x20000;

    memset(r, 0, CIF_PORT_SET_SIZE);
    cif_port_set_set_flags(r, CIF_PORTF_ENABLE | CIF_PORTF_PROMISC);
    cif_port_set_set_mtu(r, 1500);
    assert_int_equal(admin(c, CIF_OP_PORT_SET, 0, 0, NULL), CIF_ST_OK);
    open_queue(c, 0, CIF_QTYPE_TX);
    open_queue(c, 1, CIF_QTYPE_RX);
    r = c->mem + 0x60000;
    cif_rxb_set_addr(r, BASE + 0x100000);
    cif_rxb_set_len(r, 2048);
    ring(c, 0x2000, CIF_DB_TAIL, 1);
}

static void start_client(struct client *c, const char *name, const char *port)
{
    memset(c, 0, sizeof(*c));
    snprintf(c->sock, sizeof(c->sock), "%s/%s", dir, name);
    c->pid = start_card(c->sock, port);
    open_client(c);
    run_card(c);
}

static void stop_client(struct client *c)
{
    int status;

    close(c->fd);
    kill(c->pid, SIGTERM);
    assert_int_equal(waitpid(c->pid, &status, 0), c->pid);
    assert_int_equal(status, 0);
    munmap(c->mem, MEM);
    close(c->mem_fd);
    close(c->irq);
}

/* --- tests
 * -----------------------------------------------------------------------------------------------------
 */

static void ping_and_come_again(void **state)
{
    struct client c;
    uint64_t value = 0;

    start_client(&c, "a", NULL);
    assert_int_equal(admin(&c, CIF_OP_PING, 0, 0x1234567890, &value), CIF_ST_OK);
    assert_int_equal(value, 0x1234567890);
    close(c.fd);
    munmap(c.mem, MEM);
    close(c.mem_fd);
    close(c.irq);
    open_client(&c);
    run_card(&c);
    assert_int_equal(admin(&c, CIF_OP_PING, 0, 7, &value), CIF_ST_OK);
    stop_client(&c);
}

static void a_frame_through_the_cable(void **state)
{
    char port[256], line[64];
    struct client a, b;
    uint8_t *d, *e;
    unsigned i;

    snprintf(port, sizeof(port), "link:%s/cable,pcap=%s/cable.pcapng", dir, dir);
    start_client(&a, "a", port);
    start_client(&b, "b", port);
    open_port(&a);
    open_port(&b);
    nap(50); /* the cable connects */
    d = a.mem + 0x40000;
    memset(d, 0, CIF_TXD_SIZE);
    memset(a.mem + 0x100000, 0xab, 100);
    cif_txd_set_addr(d, BASE + 0x100000);
    cif_txd_set_len(d, 100);
    cif_txd_set_op(d, CIF_TXOP_CLEAR);
    cif_txd_set_flags(d, CIF_TXF_SOP | CIF_TXF_EOP | CIF_TXF_CQ);
    ring(&a, 0x1000, CIF_DB_TAIL, 1);
    e = b.mem + 0x70000;
    for (i = 0; i < 1000 && !e[CIF_RXC_SIZE - 1]; i++)
        nap(1);
    assert_int_equal(cif_rxc_kind(e), CIF_RXK_CLEAR);
    assert_int_equal(cif_rxc_len(e), 100);
    assert_memory_equal(b.mem + 0x100000, a.mem + 0x100000, 100);
    snprintf(line, sizeof(line), "dump stats");
    assert_int_equal(ctl_client(a.sock, line), 0);
    assert_int_equal(ctl_client(a.sock, "fault add nonsense"), 1);
    stop_client(&a);
    stop_client(&b);
}

/* The memory goes while the card uses it: an error, not a crash. */
static void unmapped_in_the_middle(void **state)
{
    struct client c;
    uint8_t b[24] = {0}, r[64];

    start_client(&c, "a", NULL);
    le_put32(b, 24);
    le_put64(b + 8, 0);
    le_put64(b + 16, 1ull << 47);
    assert_int_equal(call(&c, VFU_DMA_UNMAP, b, 24, -1, r, sizeof(r), NULL), 0);
    ring(&c, 0, CIF_DB_ASQ_TAIL, 1);
    nap(20);
    assert_int_equal(rd(&c, CIF_REG_MAGIC), CIF_MAGIC);
    map_memory(&c);
    assert_int_equal(ftruncate(c.mem_fd, 0), 0); /* pulled away under the mapping */
    run_card(&c);
    ring(&c, 0, CIF_DB_ASQ_TAIL, 1);
    nap(20);
    assert_int_equal(rd(&c, CIF_REG_MAGIC), CIF_MAGIC);
    stop_client(&c);
}

static void flr_by_config_write(void **state)
{
    struct client c;
    uint32_t epoch;

    start_client(&c, "a", NULL);
    epoch = rd(&c, CIF_REG_EPOCH);
    region(&c, true, 7, 0x68, 0x8000 | region(&c, false, 7, 0x68, 0, 2), 2);
    assert_int_not_equal(rd(&c, CIF_REG_EPOCH), epoch);
    assert_int_equal(region(&c, false, 7, 4, 0, 2) & 4, 0);
    stop_client(&c);
}

static int make_dir(void **state)
{
    strcpy(dir, "/tmp/sp-hwsim-XXXXXX");
    signal(SIGPIPE, SIG_IGN);
    if (access("build/cards/reference.dtb", R_OK))
        exit(77);
    return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
    static const char *const left[] = {"cable", "cable.lock", "cable.pcapng"};
    char path[128];
    unsigned i;

    for (i = 0; i < 3; i++) {
        snprintf(path, sizeof(path), "%s/%s", dir, left[i]);
        unlink(path);
    }
    return rmdir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ping_and_come_again),
        cmocka_unit_test(a_frame_through_the_cable),
        cmocka_unit_test(unmapped_in_the_middle),
        cmocka_unit_test(flr_by_config_write),
    };

    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
