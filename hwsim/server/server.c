#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "hwsim/server/conn.h"
#include "hwsim/server/ctl_server.h"
#include "hwsim/server/port.h"
#include "hwsim/server/server.h"

enum { SPIN_NS = 20000, TICK_NS = 10000000, FULL_WIRE_NS = 200000, EXIT_DIED = 42 };

/* What an epoll event is about: kind in the high half, number in the low. */
enum { ON_LISTEN, ON_CLIENT, ON_CTL_LISTEN, ON_CTL, ON_PORT, ON_SIGNAL };

struct server {
    const struct server_config *config;
    struct hw_card *card;
    struct vfu vfu;
    struct conn conn;
    struct ctl_server ctl;
    struct port *ports[SERVER_PORTS_MAX];
    int port_fd[SERVER_PORTS_MAX];
    int epoll, listen, signals, bar2;
    void *doorbells;
    size_t bar2_size;
    uint64_t next_tick;
    int exit_code; /* -1: go on */
};

static uint64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_BOOTTIME, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint64_t vfu_now(void *ctx)
{
    return now_ns();
}

static int watch(struct server *s, uint32_t kind, uint32_t n, int fd, uint32_t events)
{
    struct epoll_event e = {.events = events, .data.u64 = (uint64_t)kind << 32 | n};

    if (epoll_ctl(s->epoll, EPOLL_CTL_ADD, fd, &e) == 0)
        return 0;
    return errno == EEXIST && epoll_ctl(s->epoll, EPOLL_CTL_MOD, fd, &e) == 0 ? 0 : -errno;
}

/* --- the card's bus
 * ----------------------------------------------------------------------------------- */

static int bus_read(void *ctx, uint64_t iova, void *buf, size_t len)
{
    struct server *s = ctx;

    return dma_map_read(&s->vfu.dma, iova, buf, len);
}

static int bus_write(void *ctx, uint64_t iova, const void *buf, size_t len)
{
    struct server *s = ctx;

    return dma_map_write(&s->vfu.dma, iova, buf, len);
}

static void bus_irq(void *ctx, unsigned vector)
{
    struct server *s = ctx;

    vfu_irq(&s->vfu, vector);
}

static int bus_wire(void *ctx, unsigned port, const uint8_t *frame, size_t len)
{
    struct server *s = ctx;

    return s->ports[port] ? port_send(s->ports[port], now_ns(), frame, len) : -ENETDOWN;
}

static void bus_die(void *ctx)
{
    struct server *s = ctx;

    s->exit_code = EXIT_DIED;
}

/* --- ports
 * ---------------------------------------------------------------------------------------------- */

static void on_frame(void *ctx, unsigned port, const uint8_t *frame, size_t len)
{
    struct server *s = ctx;

    hw_card_wire_rx(s->card, now_ns(), port, frame, len);
}

static void on_link(void *ctx, unsigned port, bool up)
{
    struct server *s = ctx;

    if (s->card)
        hw_card_set_link(s->card, now_ns(), port, up);
}

static int on_port_watch(void *ctx, unsigned port, int fd, uint32_t events)
{
    struct server *s = ctx;

    if (s->port_fd[port] >= 0)
        epoll_ctl(s->epoll, EPOLL_CTL_DEL, s->port_fd[port], NULL); /* may be closed already */
    s->port_fd[port] = fd;
    return fd >= 0 ? watch(s, ON_PORT, port, fd, events) : 0;
}

static int open_ports(struct server *s)
{
    struct port_user user = {s, on_frame, on_link, on_port_watch};
    char err[256];
    unsigned i;

    for (i = 0; i < SERVER_PORTS_MAX; i++) {
        if (!s->config->ports[i])
            continue;
        s->ports[i] = port_open(i, s->config->ports[i], &user, err, sizeof(err));
        if (!s->ports[i]) {
            fprintf(stderr, "hwsim: %s\n", err);
            return -1;
        }
    }
    return 0;
}

/* --- the card
 * ------------------------------------------------------------------------------------------- */

static bool parse_mac(const char *text, uint8_t mac[6])
{
    unsigned b[6], i;
    char end;

    if (sscanf(text, "%2x:%2x:%2x:%2x:%2x:%2x%c", &b[0], &b[1], &b[2], &b[3], &b[4], &b[5], &end) !=
        6)
        return false;
    for (i = 0; i < 6; i++)
        mac[i] = (uint8_t)b[i];
    return true;
}

/* The address of a port: as told, else the interface's own, else made from the socket's path, so
 * that two cards of one shape have different ones and a restarted card has its old one. */
static bool choose_mac(const struct server *s, unsigned port, uint8_t mac[6])
{
    static const uint8_t none[6];
    uint64_t h = 14695981039346656037u + port;
    const char *c;
    unsigned i;

    if (s->config->macs[port])
        return parse_mac(s->config->macs[port], mac);
    if (s->ports[port] && memcmp(s->ports[port]->mac, none, 6)) {
        memcpy(mac, s->ports[port]->mac, 6);
        return true;
    }
    for (c = s->config->socket; *c; c++)
        h = (h ^ (uint8_t)*c) * 1099511628211u;
    mac[0] = 0x02;
    for (i = 1; i < 6; i++)
        mac[i] = (uint8_t)(h >> 8 * i);
    return true;
}

static int make_card(struct server *s)
{
    struct hw_bus bus = {s, bus_read, bus_write, bus_irq, bus_wire, bus_die};
    const char *err = NULL;
    size_t len;
    void *fdt = shape_load(s->config->shape, &len);
    uint8_t mac[6];
    unsigned i;

    if (!fdt)
        return -1;
    for (i = 0; i < SERVER_PORTS_MAX; i++) {
        if (!choose_mac(s, i, mac)) {
            fprintf(stderr, "hwsim: '%s' is no MAC address\n", s->config->macs[i]);
            free(fdt);
            return -1;
        }
        shape_set_mac(fdt, i, mac);
    }
    s->card = hw_card_new(fdt, len, &bus, s->config->seed, now_ns(), &err);
    free(fdt);
    if (!s->card) {
        fprintf(stderr, "hwsim: shape '%s': %s\n", s->config->shape, err);
        return -1;
    }
    for (i = 0; i < hw_card_ports(s->card); i++)
        hw_card_set_link(s->card, now_ns(), i, s->ports[i] && s->ports[i]->up);
    return 0;
}

/* BAR2 in a sealed memfd, so that a client that maps it cannot cut it short under us. */
static int map_doorbells(struct server *s)
{
    s->bar2_size = hw_bar2_size(s->card);
    s->bar2 = memfd_create("hwsim-bar2", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (s->bar2 < 0 || ftruncate(s->bar2, (off_t)s->bar2_size) < 0 ||
        fcntl(s->bar2, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
        return -errno;
    s->doorbells = mmap(NULL, s->bar2_size, PROT_READ | PROT_WRITE, MAP_SHARED, s->bar2, 0);
    if (s->doorbells == MAP_FAILED) {
        s->doorbells = NULL;
        return -errno;
    }
    hw_set_doorbells(s->card, s->doorbells);
    return 0;
}

/* --- the client
 * ---------------------------------------------------------------------------------------- */

static void lose_client(struct server *s)
{
    conn_close(&s->conn);
    vfu_disconnect(&s->vfu);
}

static bool client_gone(const struct server *s)
{
    struct pollfd p = {.fd = s->conn.fd, .events = POLLRDHUP};

    return s->conn.fd < 0 || (poll(&p, 1, 0) == 1 && p.revents & (POLLHUP | POLLRDHUP | POLLERR));
}

static void on_listen(struct server *s, uint32_t n, uint32_t events)
{
    int fd = accept4(s->listen, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

    if (fd < 0)
        return;
    if (s->conn.fd >= 0 && !client_gone(s)) {
        close(fd); /* one client at a time */
        return;
    }
    if (s->conn.fd >= 0)
        lose_client(s);
    conn_open(&s->conn, fd);
    if (watch(s, ON_CLIENT, 0, fd, EPOLLIN | EPOLLRDHUP) < 0)
        lose_client(s);
}

static void on_client(struct server *s, uint32_t n, uint32_t events)
{
    if (s->conn.fd >= 0 && conn_read(&s->conn) < 0)
        lose_client(s);
}

/* --- control
 * -----------------------------------------------------------------------------------------------
 */

static char *ctl_answer(void *ctx, const char *line)
{
    struct server *s = ctx;

    return hw_card_ctl(s->card, now_ns(), line);
}

static void ctl_watch(void *ctx, unsigned slot, int fd, uint32_t events)
{
    watch(ctx, ON_CTL, slot, fd, events);
}

static void on_ctl_listen(struct server *s, uint32_t n, uint32_t events)
{
    ctl_accept(&s->ctl);
}

static void on_ctl(struct server *s, uint32_t n, uint32_t events)
{
    ctl_ready(&s->ctl, n, events);
}

static void on_port(struct server *s, uint32_t n, uint32_t events)
{
    s->vfu.inside = true; /* frames go straight into the model */
    if (s->ports[n])
        s->ports[n]->ops->ready(s->ports[n], events);
    vfu_settle(&s->vfu);
}

static void on_signal(struct server *s, uint32_t n, uint32_t events)
{
    s->exit_code = 0;
}

/* --- the loop
 * -------------------------------------------------------------------------------------------- */

static void handle(struct server *s, const struct epoll_event *e, int n)
{
    static void (*const on[])(struct server * s, uint32_t n, uint32_t events) = {
        [ON_LISTEN] = on_listen, [ON_CLIENT] = on_client, [ON_CTL_LISTEN] = on_ctl_listen,
        [ON_CTL] = on_ctl,       [ON_PORT] = on_port,     [ON_SIGNAL] = on_signal,
    };
    int i;

    for (i = 0; i < n; i++)
        on[e[i].data.u64 >> 32](s, (uint32_t)e[i].data.u64, e[i].events);
}

static bool wire_full(const struct server *s)
{
    unsigned i;

    for (i = 0; i < SERVER_PORTS_MAX; i++)
        if (s->ports[i] && s->ports[i]->full_since)
            return true;
    return false;
}

static void tick(struct server *s, uint64_t now)
{
    unsigned i;

    if (now < s->next_tick)
        return;
    s->next_tick = now + TICK_NS;
    s->vfu.inside = true;
    for (i = 0; i < SERVER_PORTS_MAX; i++)
        if (s->ports[i])
            s->ports[i]->ops->tick(s->ports[i]);
    vfu_settle(&s->vfu);
}

/* A short watch over doorbells and sockets before sleep. The number of events, 0: doorbell or time.
 */
static int spin(struct server *s, uint64_t from, struct epoll_event *e, int max)
{
    int n = 0;

    while (!n && !hw_doorbells_rung(s->card) && now_ns() - from < SPIN_NS)
        n = epoll_wait(s->epoll, e, max, 0);
    return n;
}

static int sleep_until(struct server *s, uint64_t next, struct epoll_event *e, int max)
{
    uint64_t now = now_ns(), wait = next > now ? next - now : 0;
    struct timespec t;
    int n = 0;

    if (wait > TICK_NS)
        wait = TICK_NS;
    t.tv_sec = 0;
    t.tv_nsec = (long)wait;
    if (hw_card_sleep(s->card))
        n = epoll_pwait2(s->epoll, e, max, &t, NULL);
    hw_card_wake(s->card);
    return n;
}

static void loop(struct server *s)
{
    struct epoll_event e[32];
    uint64_t busy_at = now_ns();

    while (s->exit_code < 0) {
        uint64_t now = now_ns(), next;
        int n;

        s->vfu.inside = true;
        next = hw_card_run(s->card, now);
        vfu_settle(&s->vfu);
        if (wire_full(s) && next > now + FULL_WIRE_NS)
            next = now + FULL_WIRE_NS;
        if (next <= now) {
            busy_at = now;
            n = epoll_wait(s->epoll, e, 32, 0);
        } else {
            n = spin(s, busy_at, e, 32);
            if (!n && !hw_doorbells_rung(s->card))
                n = sleep_until(s, next, e, 32);
            if (n)
                busy_at = now_ns();
        }
        handle(s, e, n);
        tick(s, now);
    }
}

/* --- beginning and end
 * ------------------------------------------------------------------------------------ */

static int complain(const char *what, int err)
{
    fprintf(stderr, "hwsim: %s: %s\n", what, strerror(-err));
    return -1;
}

static int open_sockets(struct server *s)
{
    char path[128];
    int err;

    s->ctl.ctx = s;
    s->ctl.answer = ctl_answer;
    s->ctl.watch = ctl_watch;
    snprintf(path, sizeof(path), "%s.ctl", s->config->socket);
    err = ctl_open(&s->ctl, path);
    if (err < 0)
        return complain(path, err);
    s->listen = listen_at(s->config->socket);
    if (s->listen < 0)
        return complain(s->config->socket, s->listen);
    err = watch(s, ON_CTL_LISTEN, 0, s->ctl.listen, EPOLLIN);
    return err ? err : watch(s, ON_LISTEN, 0, s->listen, EPOLLIN);
}

static int take_signals(struct server *s)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    s->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return s->signals < 0 ? -errno : watch(s, ON_SIGNAL, 0, s->signals, EPOLLIN);
}

static int set_up(struct server *s)
{
    int err;

    s->epoll = epoll_create1(EPOLL_CLOEXEC);
    err = s->epoll < 0 ? -errno : take_signals(s);
    if (err)
        return complain("event loop", err);
    if (open_ports(s) < 0 || make_card(s) < 0)
        return -1;
    err = map_doorbells(s);
    if (err)
        return complain("doorbell memory", err);
    s->vfu.card = s->card;
    s->vfu.bar2_fd = s->bar2;
    s->vfu.ctx = &s->conn;
    s->vfu.now = vfu_now;
    s->vfu.send = conn_send;
    s->vfu.dma.message = conn_dma;
    s->vfu.dma.ctx = &s->conn;
    if (getrandom(&s->vfu.dma.random, sizeof(s->vfu.dma.random), 0) < 0)
        s->vfu.dma.random = s->config->seed;
    if (vfu_init(&s->vfu) < 0 || conn_init(&s->conn, &s->vfu) < 0)
        return complain("memory", -ENOMEM);
    dma_map_catch_sigbus();
    return open_sockets(s);
}

static void close_fd(int fd)
{
    if (fd >= 0)
        close(fd);
}

static void tear_down(struct server *s)
{
    unsigned i;

    if (s->listen >= 0)
        unlink(s->config->socket);
    close_fd(s->listen);
    if (s->ctl.listen >= 0) {
        char path[128];

        snprintf(path, sizeof(path), "%s.ctl", s->config->socket);
        unlink(path);
        ctl_close(&s->ctl);
    }
    conn_free(&s->conn);
    for (i = 0; i < SERVER_PORTS_MAX; i++)
        port_close(s->ports[i]);
    vfu_free(&s->vfu);
    hw_card_free(s->card);
    if (s->doorbells)
        munmap(s->doorbells, s->bar2_size);
    close_fd(s->bar2);
    close_fd(s->signals);
    close_fd(s->epoll);
}

int server_run(const struct server_config *config)
{
    struct server *s = calloc(1, sizeof(*s));
    int code = 1;
    unsigned i;

    if (!s)
        return 1;
    s->config = config;
    s->exit_code = -1;
    s->epoll = s->listen = s->signals = s->bar2 = s->ctl.listen = s->conn.fd = -1;
    for (i = 0; i < VFU_VECTORS_MAX; i++)
        s->vfu.irq_fd[i] = -1;
    s->vfu.err_fd = -1;
    for (i = 0; i < SERVER_PORTS_MAX; i++)
        s->port_fd[i] = -1;
    if (set_up(s) == 0) {
        printf("hwsim: ready at %s\n", config->socket);
        fflush(stdout);
        loop(s);
        code = s->exit_code;
    }
    tear_down(s);
    free(s);
    return code;
}
