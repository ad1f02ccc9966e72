/* Sizes, prefixes and routes of the host side. */
#include "hostd/main/host_plan.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct ip_addr addr(const char *text)
{
    struct ip_addr a = {0};
    assert_int_equal(ip_parse(text, &a), 0);
    return a;
}

static struct ip_range range(const char *text)
{
    struct ip_range r;
    assert_int_equal(ip_range_parse(text, &r), 0);
    return r;
}

static struct spd_policy tunnel(const char *local, const char *remote, const char *from,
                                const char *to, const char *suite)
{
    struct spd_policy p = {.action = SPD_PROTECT, .mode = ESP_TUNNEL};
    p.sel.local = range(local);
    p.sel.remote = range(remote);
    p.tunnel_local = addr(from);
    p.tunnel_remote = addr(to);
    p.transforms[0].suite = esp_suite_by_name(suite);
    assert_non_null(p.transforms[0].suite);
    p.n_transforms = 1;
    return p;
}

static const char *route_text(const struct plan_route *r)
{
    static char out[256];
    char a[IP_ADDR_STR], b[IP_ADDR_STR], c[IP_ADDR_STR];
    snprintf(out, sizeof out, "%s/%u via %s src %s mtu %u", ip_str(&r->dst.addr, a), r->dst.bits,
             r->via.family ? ip_str(&r->via, b) : "link",
             r->src.family ? ip_str(&r->src, c) : "any", r->mtu);
    return out;
}

static void test_mtu(void **state)
{
    struct spd_policy p = tunnel("any", "any", "10.0.0.1", "10.0.0.2", "ESP_AES128_GCM16");
    assert_int_equal(plan_mtu(1500, &p), 1446);
    p.encap = ESP_ENCAP_UDP;
    assert_int_equal(plan_mtu(1500, &p), 1438);
    p = tunnel("any", "any", "fd00::1", "fd00::2", "ESP_AES256_GCM16");
    assert_int_equal(plan_mtu(1500, &p), 1426);
    p = tunnel("any", "any", "10.0.0.1", "10.0.0.2", "ESP_AES128_CBC_HMAC_SHA2_256");
    assert_int_equal(plan_mtu(1500, &p), 1438); /* 1500 - 20 - 8 - 16 - 16 = 90 * 16, less 2 */
    p.transforms[1].suite = esp_suite_by_name("ESP_AES128_GCM16");
    p.n_transforms = 2;
    assert_int_equal(plan_mtu(1500, &p), 1438);
    assert_int_equal(plan_mtu(60, &p), 0);
    assert_int_equal(plan_mtu(0, &p), 0);
    p.n_transforms = 0;
    assert_int_equal(plan_mtu(1500, &p), 0);
}

/* Whatever the size, the packet that fits exactly gives no larger outer packet, and one octet more
 * than the slack of the padding does. */
static void test_mtu_exact(void **state)
{
    struct spd_policy p = tunnel("any", "any", "10.0.0.1", "10.0.0.2", "ESP_AES128_GCM16");
    for (unsigned port = 576; port < 9100; port++) {
        unsigned inner = plan_mtu(port, &p);
        unsigned outer = 20 + 8 + 8 + (inner + 2 + 3) / 4 * 4 + 16;
        unsigned more = 20 + 8 + 8 + (inner + 1 + 2 + 3) / 4 * 4 + 16;
        assert_true(outer <= port && more > port);
    }
}

static void check_prefixes(const char *text, uint8_t family, const char *want)
{
    struct plan_prefix p[PLAN_PREFIXES];
    struct ip_range r = range(text);
    char got[1024] = "", one[64], a[IP_ADDR_STR];
    unsigned n = plan_prefixes(&r, family, p, PLAN_PREFIXES);
    for (unsigned i = 0; i < n; i++) {
        snprintf(one, sizeof one, "%s%s/%u", i ? " " : "", ip_str(&p[i].addr, a), p[i].bits);
        strcat(got, one);
    }
    assert_string_equal(got, want);
}

static void test_prefixes(void **state)
{
    check_prefixes("10.2.0.0/24", 4, "10.2.0.0/24");
    check_prefixes("10.2.0.0/24", 6, "");
    check_prefixes("10.0.0.1", 4, "10.0.0.1/32");
    check_prefixes("10.0.0.1-10.0.0.6", 4, "10.0.0.1/32 10.0.0.2/31 10.0.0.4/31 10.0.0.6/32");
    check_prefixes("10.0.0.0-10.0.1.0", 4, "10.0.0.0/24 10.0.1.0/32");
    check_prefixes("255.255.255.254-255.255.255.255", 4, "255.255.255.254/31");
    check_prefixes("0.0.0.0-255.255.255.255", 4, "0.0.0.0/0");
    check_prefixes("any", 4, "0.0.0.0/0");
    check_prefixes("any", 6, "::/0");
    check_prefixes("fd00::-fd00::1:ffff", 6, "fd00::/111");
    struct plan_prefix p[2];
    struct ip_range r = range("10.0.0.1-10.0.0.6");
    assert_int_equal(plan_prefixes(&r, 4, p, 2), 2); /* no more than there is room for */
}

static const struct plan_addr host_addrs[] = {
    {{{4, {127, 0, 0, 1}}, 8}, 1, true},    {{{4, {10, 9, 0, 1}}, 24}, 2, true},
    {{{4, {10, 1, 0, 5}}, 32}, 1, true},    {{{4, {10, 1, 0, 6}}, 32}, 1, true},
    {{{4, {10, 0, 0, 1}}, 24}, 7, true},    {{{6, {0xfe, 0x80}}, 64}, 7, true},
    {{{6, {0xfd, [15] = 1}}, 64}, 7, true}, {{{6, {0xfd, 1, [15] = 1}}, 128}, 1, false},
};
enum { N_HOST = sizeof host_addrs / sizeof *host_addrs };

static struct cfg one_interface(struct spd_policy *policies, unsigned n)
{
    struct cfg c = {.policies = policies, .n_policies = n, .n_interfaces = 1};
    struct cfg_interface *i = &c.interfaces[0];
    strcpy(i->name, "ipsec0");
    i->address[0] = (struct cfg_addr){addr("10.0.0.1"), 24};
    i->address[1] = (struct cfg_addr){addr("fd00::1"), 64};
    i->n_addresses = 2;
    return c;
}

static void check_routes(const struct cfg *c, const char *const *want, unsigned n)
{
    struct plan p;
    assert_int_equal(plan_make(&p, c, &c->interfaces[0], 7, host_addrs, N_HOST, 1500), 0);
    for (unsigned i = 0; i < n && i < p.n; i++)
        assert_string_equal(route_text(&p.routes[i]), want[i]);
    assert_int_equal(p.n, n);
    plan_free(&p);
}

static void test_routes(void **state)
{
    struct spd_policy p[] = {
        tunnel("10.1.0.0/24", "10.2.0.0/24", "10.0.0.1", "10.0.0.2", "ESP_AES128_GCM16"),
        tunnel("any", "192.168.5.0/24", "10.0.0.1", "172.16.0.9", "ESP_AES128_GCM16"),
        tunnel("fd01::/64", "fd02::/64", "10.0.0.1", "10.0.0.2", "ESP_AES128_GCM16"),
        tunnel("any", "10.0.0.64/26", "10.0.0.1", "10.0.0.66", "ESP_AES128_GCM16"),
        tunnel("any", "10.0.0.0/24", "10.0.0.1", "10.0.0.66", "ESP_AES128_GCM16"),
        tunnel("10.7.0.0/16", "10.2.0.0/24", "10.0.0.1", "10.0.0.3", "ESP_AES128_GCM16"),
    };
    struct cfg c = one_interface(p, 6);
    c.interfaces[0].gateway4 = addr("10.0.0.254");
    static const char *const want[] = {
        "0.0.0.0/0 via 10.0.0.254 src any mtu 0",
        /* on the link: no gateway, data answers ARP; the link's own prefix is left alone */
        "10.0.0.64/26 via link src 10.0.0.1 mtu 1446",
        /* the first policy of a destination decides; src is the first address inside local */
        "10.2.0.0/24 via 10.0.0.2 src 10.1.0.5 mtu 1446",
        /* a peer behind the gateway */
        "192.168.5.0/24 via 10.0.0.254 src 10.0.0.1 mtu 1446",
        /* IPv6 in IPv4; the only source is tentative, so it is not named yet */
        "fd02::/64 via link src any mtu 1446",
    };
    check_routes(&c, want, 5);
}

static void test_everything(void **state)
{
    struct spd_policy p[] = {tunnel("any", "any", "10.0.0.1", "10.0.0.2", "ESP_AES128_GCM16")};
    struct cfg c = one_interface(p, 1);
    static const char *const without[] = {"0.0.0.0/0 via 10.0.0.2 src 10.0.0.1 mtu 1446",
                                          "::/0 via link src fd00::1 mtu 1446"};
    check_routes(&c, without, 2);
    c.interfaces[0].gateway4 = addr("10.0.0.254");
    static const char *const with[] = {"0.0.0.0/0 via 10.0.0.254 src 10.0.0.1 mtu 1446",
                                       "::/0 via link src fd00::1 mtu 1446"};
    check_routes(&c, with, 2);
    p[0].action = SPD_PASS; /* no tunnel, no route */
    check_routes(&c, (const char *const[]){"0.0.0.0/0 via 10.0.0.254 src any mtu 0"}, 1);
    p[0].action = SPD_PROTECT;
    p[0].mode = ESP_TRANSPORT;
    check_routes(&c, (const char *const[]){"0.0.0.0/0 via 10.0.0.254 src any mtu 0"}, 1);
}

static void test_which_interface(void **state)
{
    struct spd_policy p = tunnel("any", "10.2.0.0/24", "10.0.0.1", "10.8.0.2", "ESP_AES128_GCM16");
    struct cfg c = one_interface(&p, 1);
    assert_ptr_equal(plan_interface(&c, &p), &c.interfaces[0]);
    c.n_interfaces = 2;
    c.interfaces[1].address[0] = (struct cfg_addr){addr("10.8.0.1"), 24};
    c.interfaces[1].n_addresses = 1;
    assert_ptr_equal(plan_interface(&c, &p), &c.interfaces[0]); /* has the local end */
    p.tunnel_local = addr("10.3.3.3");
    assert_ptr_equal(plan_interface(&c, &p), &c.interfaces[1]); /* reaches the peer */
    p.tunnel_remote = addr("172.16.0.1");
    assert_null(plan_interface(&c, &p));
    c.interfaces[0].gateway4 = addr("10.0.0.254");
    assert_ptr_equal(plan_interface(&c, &p), &c.interfaces[0]);
}

struct journal {
    char text[1024];
};

static void note(struct journal *j, char what, const struct plan_route *r)
{
    size_t at = strlen(j->text);
    snprintf(j->text + at, sizeof j->text - at, "%c%s;", what, route_text(r));
}

static void on_put(void *ctx, const struct plan_route *r)
{
    note(ctx, '+', r);
}

static void on_drop(void *ctx, const struct plan_route *r)
{
    note(ctx, '-', r);
}

static void test_diff(void **state)
{
    struct plan_route have[] = {
        {.dst = {addr("10.1.0.0"), 24}, .mtu = 1446},
        {.dst = {addr("10.2.0.0"), 24}, .mtu = 1446},
        {.dst = {addr("10.3.0.0"), 24}, .mtu = 1446},
    };
    struct plan_route wanted[] = {
        {.dst = {addr("10.1.0.0"), 24}, .mtu = 1446},
        {.dst = {addr("10.2.0.0"), 24}, .via = addr("10.0.0.9"), .mtu = 1446},
        {.dst = {addr("10.4.0.0"), 24}},
    };
    struct plan want = {wanted, 3, 3};
    struct journal j = {""};
    plan_diff(have, 3, &want, on_put, on_drop, &j);
    /* replaced and added first, taken away last; what is right is not touched */
    assert_string_equal(j.text, "+10.2.0.0/24 via 10.0.0.9 src any mtu 1446;"
                                "+10.4.0.0/24 via link src any mtu 0;"
                                "-10.3.0.0/24 via link src any mtu 1446;");
    j.text[0] = 0;
    plan_diff(wanted, 3, &want, on_put, on_drop, &j);
    assert_string_equal(j.text, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mtu),        cmocka_unit_test(test_mtu_exact),
        cmocka_unit_test(test_prefixes),   cmocka_unit_test(test_routes),
        cmocka_unit_test(test_everything), cmocka_unit_test(test_which_interface),
        cmocka_unit_test(test_diff),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
