/* Next hops without a kernel: the table fed with messages made here, whole, cut short and hostile,
 * and questions over a pair of sockets whose other end has its own idea of answers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <errno.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "hostd/data/host/nexthop.h"
#include "hostd/data/host/nexthop_nl.h"
#include "hostd/data/host/nexthop_table.h"

union message {
    struct nlmsghdr h;
    uint8_t b[512];
};

static struct ip_addr addr(const char *text)
{
    struct ip_addr a;
    assert_int_equal(ip_parse(text, &a), 0);
    return a;
}

static uint8_t af_of(const struct ip_addr *a)
{
    return a->family == 4 ? AF_INET : AF_INET6;
}

static void put_addr(struct nlmsghdr *h, uint16_t type, const struct ip_addr *a)
{
    mnl_attr_put(h, type, ip_len(a->family), a->b);
}

static struct nlmsghdr *neighbour(union message *m, uint16_t type, unsigned ifindex,
                                  const struct ip_addr *a, uint16_t state, uint8_t mac)
{
    const uint8_t lladdr[6] = {2, 0, 0, 0, 0, mac};
    struct nlmsghdr *h = mnl_nlmsg_put_header(m);
    struct ndmsg *nd = mnl_nlmsg_put_extra_header(h, sizeof *nd);
    h->nlmsg_type = type;
    nd->ndm_family = af_of(a);
    nd->ndm_ifindex = (int)ifindex;
    nd->ndm_state = state;
    put_addr(h, NDA_DST, a);
    if (mac)
        mnl_attr_put(h, NDA_LLADDR, sizeof lladdr, lladdr);
    return h;
}

static struct nlmsghdr *route(union message *m, uint8_t kind, uint32_t oif,
                              const struct ip_addr *gateway)
{
    struct nlmsghdr *h = mnl_nlmsg_put_header(m);
    struct rtmsg *rt = mnl_nlmsg_put_extra_header(h, sizeof *rt);
    h->nlmsg_type = RTM_NEWROUTE;
    rt->rtm_type = kind;
    rt->rtm_family = AF_INET;
    mnl_attr_put_u32(h, RTA_OIF, oif);
    if (gateway)
        put_addr(h, RTA_GATEWAY, gateway);
    return h;
}

static struct nlmsghdr *address(union message *m, uint16_t type, unsigned ifindex,
                                const struct ip_addr *a)
{
    struct nlmsghdr *h = mnl_nlmsg_put_header(m);
    struct ifaddrmsg *ifa = mnl_nlmsg_put_extra_header(h, sizeof *ifa);
    h->nlmsg_type = type;
    ifa->ifa_family = af_of(a);
    ifa->ifa_index = ifindex;
    put_addr(h, IFA_ADDRESS, a);
    return h;
}

static int setup(void **state)
{
    *state = nh_table_new(7);
    return *state ? 0 : -1;
}

static int teardown(void **state)
{
    nh_table_free(*state);
    return 0;
}

/* --- the table --- */

static void neighbour_events_leave_the_routes(void **state)
{
    struct nh_table *t = *state;
    struct ip_addr dst = addr("192.0.2.1"), gw = addr("10.0.0.1");
    struct nh_local who;
    union message m;
    struct nh_row *r = nh_route(t, 3, &dst);
    assert_false(r->known);
    nh_route_answer(r, route(&m, RTN_UNICAST, 3, &gw));
    r->known = true;
    nh_event(t, neighbour(&m, RTM_NEWNEIGH, 3, &gw, NUD_REACHABLE, 1), &who);
    nh_event(t, neighbour(&m, RTM_NEWNEIGH, 3, &gw, NUD_STALE, 1), &who);
    nh_event(t, neighbour(&m, RTM_DELNEIGH, 4, &gw, NUD_FAILED, 0), &who);
    r = nh_route(t, 3, &dst);
    assert_true(r->known && r->good && ip_eq(&r->gateway, &gw));

    static const uint16_t changes[] = {RTM_NEWLINK,  RTM_DELLINK, RTM_NEWROUTE,
                                       RTM_DELROUTE, RTM_NEWADDR, RTM_DELADDR};
    for (unsigned i = 0; i < sizeof changes / sizeof *changes; i++) {
        r->known = r->good = true;
        route(&m, RTN_UNICAST, 3, NULL);
        m.h.nlmsg_type = changes[i];
        assert_false(nh_event(t, &m.h, &who));
        r = nh_route(t, 3, &dst);
        assert_false(r->known || r->good);
    }
}

static void only_a_way_by_the_interface_counts(void **state)
{
    struct nh_table *t = *state;
    struct ip_addr dst = addr("192.0.2.1"), via6 = addr("fe80::1");
    union message m;
    struct nh_row *r = nh_route(t, 3, &dst);
    nh_route_answer(r, route(&m, RTN_UNICAST, 4, NULL));
    nh_route_answer(r, route(&m, RTN_LOCAL, 3, NULL));
    nh_route_answer(r, neighbour(&m, RTM_NEWNEIGH, 3, &dst, NUD_REACHABLE, 1));
    assert_false(r->good);
    nh_route_answer(r, route(&m, RTN_UNICAST, 3, NULL));
    assert_true(r->good && ip_eq(&r->gateway, &dst)); /* on the link */
    struct {
        uint16_t family;
        uint8_t a[16];
    } via = {.family = AF_INET6};
    memcpy(via.a, via6.b, 16);
    mnl_attr_put(route(&m, RTN_UNICAST, 3, NULL), RTA_VIA, sizeof via, &via);
    nh_route_answer(r, &m.h);
    assert_true(ip_eq(&r->gateway, &via6));
}

static void a_neighbour_is_told_once(void **state)
{
    struct nh_table *t = *state;
    struct ip_addr gw = addr("fe80::7");
    struct nh_local who;
    union message m;
    assert_false(nh_event(t, neighbour(&m, RTM_NEWNEIGH, 3, &gw, NUD_REACHABLE, 1), &who));
    struct nh_row *nb = nh_neighbour(t, 3, &gw);
    assert_false(nb->known || nb->good); /* nobody had asked for it: nothing was kept */
    assert_false(nh_event(t, neighbour(&m, RTM_NEWNEIGH, 3, &gw, NUD_INCOMPLETE, 0), &who));
    assert_true(nh_event(t, neighbour(&m, RTM_NEWNEIGH, 3, &gw, NUD_REACHABLE, 1), &who));
    assert_true(who.ifindex == 3 && ip_eq(&who.addr, &gw));
    assert_false(nh_event(t, neighbour(&m, RTM_NEWNEIGH, 3, &gw, NUD_STALE, 1), &who));
    assert_true(nh_event(t, neighbour(&m, RTM_NEWNEIGH, 3, &gw, NUD_STALE, 2), &who));
    nb = nh_neighbour(t, 3, &gw);
    assert_true(nb->good && nb->mac[5] == 2);
    nh_event(t, neighbour(&m, RTM_DELNEIGH, 3, &gw, NUD_STALE, 2), &who);
    assert_false(nh_neighbour(t, 3, &gw)->good);
    nh_neighbour_answer(nb, neighbour(&m, RTM_NEWNEIGH, 4, &gw, NUD_REACHABLE, 1));
    assert_false(nb->good); /* another interface's */
}

static void a_busy_neighbourhood_pushes_nothing_out(void **state)
{
    struct nh_table *t = *state;
    struct ip_addr gw = addr("10.0.0.1"), other = addr("10.9.0.0");
    struct nh_local who;
    union message m;
    (void)nh_neighbour(t, 3, &gw);
    assert_true(nh_event(t, neighbour(&m, RTM_NEWNEIGH, 3, &gw, NUD_REACHABLE, 1), &who));
    for (unsigned i = 0; i < 5000; i++) {
        other.b[2] = (uint8_t)(i >> 8);
        other.b[3] = (uint8_t)i;
        for (unsigned iface = 3; iface < 5; iface++)
            nh_event(t, neighbour(&m, RTM_NEWNEIGH, iface, &other, NUD_REACHABLE, 2), &who);
    }
    struct nh_row *nb = nh_neighbour(t, 3, &gw);
    assert_true(nb->known && nb->good && nb->mac[5] == 1);
}

/* Many peers have their routes kept at once; the ones in use outlive those that are not. */
static void many_routes_stay(void **state)
{
    enum { PEERS = 4000 };
    struct nh_table *t = *state;
    struct ip_addr dst = addr("192.0.0.0");
    unsigned again = 0;
    for (unsigned round = 0; round < 2; round++)
        for (unsigned i = 0; i < PEERS; i++) {
            dst.b[2] = (uint8_t)(i >> 8);
            dst.b[3] = (uint8_t)i;
            struct nh_row *r = nh_route(t, 3, &dst);
            again += round && !r->known;
            r->known = true;
        }
    assert_true(again < PEERS / 50);
    struct ip_addr used = addr("198.51.100.1");
    nh_route(t, 3, &used)->known = true;
    for (unsigned i = 0; i < 100000; i++) {
        dst.b[1] = (uint8_t)(i >> 16);
        dst.b[2] = (uint8_t)(i >> 8);
        dst.b[3] = (uint8_t)i;
        (void)nh_route(t, 3, &dst);
        assert_true(nh_route(t, 3, &used)->known);
    }
}

static void addresses_by_interface(void **state)
{
    struct nh_table *t = *state;
    struct ip_addr a = addr("10.0.0.1"), peer = addr("10.0.0.2"), lots = addr("10.1.0.0");
    struct nh_local who;
    union message m;
    nh_event(t, address(&m, RTM_NEWADDR, 1, &a), &who);
    nh_event(t, address(&m, RTM_NEWADDR, 2, &a), &who);
    nh_event(t, address(&m, RTM_NEWADDR, 2, &a), &who);
    assert_int_equal(t->locals.n, 2);
    nh_event(t, address(&m, RTM_DELADDR, 2, &a), &who);
    assert_true(nh_is_local(t, &a));
    nh_event(t, address(&m, RTM_DELADDR, 1, &a), &who);
    assert_false(nh_is_local(t, &a));
    address(&m, RTM_NEWADDR, 1, &peer);
    put_addr(&m.h, IFA_LOCAL, &a);
    nh_event(t, &m.h, &who);
    assert_true(nh_is_local(t, &a) && !nh_is_local(t, &peer));
    for (unsigned i = 0; i < 2 * NH_LOCALS; i++) {
        lots.b[2] = (uint8_t)(i >> 8);
        lots.b[3] = (uint8_t)i;
        nh_event(t, address(&m, RTM_NEWADDR, 1, &lots), &who);
    }
    assert_int_equal(t->locals.n, NH_LOCALS);
}

static void lost_events_make_all_unknown(void **state)
{
    struct nh_table *t = *state;
    struct ip_addr a = addr("10.0.0.1"), b = addr("10.0.0.2"), c = addr("10.0.0.3");
    struct nh_local who;
    union message m;
    unsigned waiting[2] = {0, 0};
    (void)nh_neighbour(t, 3, &a);
    nh_event(t, neighbour(&m, RTM_NEWNEIGH, 3, &a, NUD_REACHABLE, 1), &who);
    (void)nh_neighbour(t, 4, &b);
    (void)nh_neighbour(t, 4, &c);
    nh_route(t, 3, &a)->known = true;
    assert_int_equal(nh_forget(t, waiting, 2), 1);
    assert_int_equal(waiting[0], 4);
    assert_false(nh_neighbour(t, 3, &a)->known || nh_route(t, 3, &a)->known);
}

static void take_hostile(void *ctx, const struct nlmsghdr *h)
{
    struct nh_table *t = ctx;
    struct nh_row r = {.addr = addr("10.0.0.1"), .ifindex = 3};
    struct nh_local who;
    nh_event(t, h, &who);
    nh_route_answer(&r, h);
    nh_neighbour_answer(&r, h);
    nh_local_answer(&t->locals, h);
    assert_true(t->locals.n <= NH_LOCALS);
}

/* Every message cut at every length, with its length told right or not, and with every octet
 * changed; the copy is of the exact size, so that a sanitizer sees any look beyond. */
static void hostile(struct nh_table *t, const union message *m)
{
    size_t len = m->h.nlmsg_len;
    for (size_t cut = 0; cut <= len; cut++)
        for (unsigned lie = 0; lie < 2; lie++)
            for (size_t at = 0; at <= len; at++) {
                uint8_t *copy = malloc(cut ? cut : 1);
                uint32_t told = (uint32_t)cut;
                int rc = 0;
                assert_non_null(copy);
                memcpy(copy, m->b, cut);
                if (!lie && cut >= sizeof told)
                    memcpy(copy, &told, sizeof told);
                if (at < cut)
                    copy[at] = (uint8_t)(copy[at] ^ (lie ? 0xff : 0x11));
                nl_each(copy, cut, take_hostile, t);
                (void)nl_answer(copy, cut, 0, take_hostile, t, &rc);
                free(copy);
            }
}

static void hostile_messages(void **state)
{
    struct nh_table *t = *state;
    struct ip_addr a = addr("10.0.0.1"), b = addr("2001:db8::1");
    union message m;
    (void)nh_neighbour(t, 3, &a);
    neighbour(&m, RTM_NEWNEIGH, 3, &a, NUD_REACHABLE, 1);
    hostile(t, &m);
    neighbour(&m, RTM_NEWNEIGH, 3, &b, NUD_REACHABLE, 1);
    hostile(t, &m);
    route(&m, RTN_UNICAST, 3, &a);
    mnl_attr_put(&m.h, RTA_VIA, 1, "x");
    hostile(t, &m);
    address(&m, RTM_NEWADDR, 3, &b);
    hostile(t, &m);
}

/* --- questions --- */

struct pair {
    struct nl_ask ask;
    int kernel;
    unsigned taken;
    uint32_t last;
};

static void take(void *ctx, const struct nlmsghdr *h)
{
    struct pair *p = ctx;
    p->taken++;
    p->last = h->nlmsg_pid;
}

static int pair_setup(void **state)
{
    const struct timeval wait = {.tv_usec = 20000};
    struct pair *p = calloc(1, sizeof *p);
    int fd[2];
    if (!p || socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, fd))
        return -1;
    p->ask = (struct nl_ask){.fd = fd[0], .seq = 40};
    p->kernel = fd[1];
    setsockopt(fd[0], SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
    *state = p;
    return 0;
}

static int pair_teardown(void **state)
{
    struct pair *p = *state;
    nl_ask_close(&p->ask);
    close(p->kernel);
    free(p);
    return 0;
}

/* One message of an answer; mark is found again in last. With error: the type NLMSG_ERROR. */
static struct nlmsghdr *part(union message *m, uint16_t type, uint32_t seq, uint16_t flags,
                             uint32_t mark, const int32_t *error)
{
    struct nlmsghdr *h = mnl_nlmsg_put_header(m);
    h->nlmsg_type = type;
    h->nlmsg_seq = seq;
    h->nlmsg_flags = flags;
    h->nlmsg_pid = mark;
    if (error)
        memcpy(mnl_nlmsg_put_extra_header(h, sizeof *error), error, sizeof *error);
    return h;
}

static void says(struct pair *p, const struct nlmsghdr *h)
{
    assert_int_equal(send(p->kernel, h, h->nlmsg_len, 0), h->nlmsg_len);
}

static int asks(struct pair *p, uint16_t flags)
{
    union message m;
    p->taken = 0;
    return nl_question(&p->ask, mnl_nlmsg_put_header(&m), flags, take, p);
}

/* The answers to earlier questions, and parts of a dump that was given up, are not believed. */
static void only_the_own_answer_is_taken(void **state)
{
    struct pair *p = *state;
    union message m;
    const int32_t no = -ENETUNREACH, none = 0;
    says(p, part(&m, RTM_NEWROUTE, 40, 0, 1, NULL));
    says(p, part(&m, RTM_NEWADDR, 39, NLM_F_MULTI, 2, NULL));
    says(p, part(&m, NLMSG_DONE, 39, NLM_F_MULTI, 3, &none));
    says(p, part(&m, NLMSG_ERROR, 38, 0, 4, &no));
    says(p, part(&m, RTM_NEWROUTE, 41, 0, 5, NULL));
    assert_int_equal(asks(p, 0), 0);
    assert_true(p->taken == 1 && p->last == 5);
    says(p, part(&m, NLMSG_ERROR, 41, 0, 6, &none));
    says(p, part(&m, NLMSG_ERROR, 42, 0, 7, &no));
    assert_int_equal(asks(p, 0), -ENETUNREACH);
    assert_int_equal(p->taken, 0);
    assert_int_equal(p->ask.seq, 42);
}

static void a_dump_ends_at_its_end(void **state)
{
    struct pair *p = *state;
    union message m;
    const int32_t none = 0, busy = -EBUSY, odd = 1, far = -100000;
    for (unsigned i = 0; i < 3; i++)
        says(p, part(&m, RTM_NEWADDR, 41, NLM_F_MULTI, i, NULL));
    says(p, part(&m, NLMSG_DONE, 41, NLM_F_MULTI, 0, &none));
    assert_int_equal(asks(p, NLM_F_DUMP), 0);
    assert_int_equal(p->taken, 3);
    says(p, part(&m, RTM_NEWADDR, 42, NLM_F_MULTI | NLM_F_DUMP_INTR, 0, NULL));
    says(p, part(&m, NLMSG_DONE, 42, NLM_F_MULTI, 0, &none));
    assert_int_equal(asks(p, NLM_F_DUMP), -EINTR);
    says(p, part(&m, NLMSG_DONE, 43, NLM_F_MULTI, 0, &busy));
    assert_int_equal(asks(p, NLM_F_DUMP), -EBUSY);
    says(p, part(&m, NLMSG_DONE, 44, 0, 0, NULL)); /* without a word on errors */
    assert_int_equal(asks(p, NLM_F_DUMP), 0);
    says(p, part(&m, NLMSG_ERROR, 45, 0, 0, NULL));
    assert_int_equal(asks(p, 0), -EBADMSG);
    says(p, part(&m, NLMSG_ERROR, 46, 0, 0, &odd));
    assert_int_equal(asks(p, 0), -EBADMSG);
    says(p, part(&m, NLMSG_ERROR, 47, 0, 0, &far));
    assert_int_equal(asks(p, 0), -EBADMSG);
}

static void silence_and_noise_end(void **state)
{
    struct pair *p = *state;
    union message m;
    static const uint8_t big[NL_BUFFER + 64];
    assert_int_equal(asks(p, 0), -ETIMEDOUT);
    says(p, part(&m, RTM_NEWADDR, 42, NLM_F_MULTI, 0, NULL)); /* a dump that stops half-way */
    assert_int_equal(asks(p, NLM_F_DUMP), -ETIMEDOUT);
    part(&m, RTM_NEWADDR, 43, 0, 0, NULL)->nlmsg_len = 400; /* longer than what was sent */
    assert_true(send(p->kernel, &m, 16, 0) == 16 && send(p->kernel, &m, 3, 0) == 3);
    assert_int_equal(asks(p, 0), -ETIMEDOUT);
    assert_int_equal(p->taken, 0);
    assert_int_equal(send(p->kernel, big, sizeof big, 0), sizeof big);
    assert_int_equal(asks(p, 0), -EMSGSIZE);
}

/* --- this machine's kernel --- */

static void the_kernel_is_understood(void **state)
{
    struct nexthop *n = NULL;
    struct ip_addr lo = addr("127.0.0.1"), none = {0};
    uint8_t mac[6];
    unsigned ifindex = if_nametoindex("lo");
    int rc = nexthop_new(&n, -1);
    if (rc || !ifindex || !nexthop_is_local(n, &lo)) {
        nexthop_free(n);
        skip(); /* no rtnetlink or no loopback here */
    }
    assert_int_equal(nexthop_find(n, ifindex, &lo, 1, mac), -EHOSTUNREACH);
    assert_int_equal(nexthop_find(n, ifindex, &none, 1, mac), -EHOSTUNREACH);
    assert_int_equal(nexthop_find(n, 0, &lo, 1, mac), -EHOSTUNREACH);
    nexthop_read(n);
    nexthop_free(n);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
#define Q(f) cmocka_unit_test_setup_teardown(f, pair_setup, pair_teardown)
    const struct CMUnitTest tests[] = {
        T(neighbour_events_leave_the_routes),
        T(only_a_way_by_the_interface_counts),
        T(a_neighbour_is_told_once),
        T(a_busy_neighbourhood_pushes_nothing_out),
        T(many_routes_stay),
        T(addresses_by_interface),
        T(lost_events_make_all_unknown),
        T(hostile_messages),
        Q(only_the_own_answer_is_taken),
        Q(a_dump_ends_at_its_end),
        Q(silence_and_noise_end),
        cmocka_unit_test(the_kernel_is_understood),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
