/* Configurations that are right: what comes out, defaults, order, and the way through JSON. */
#include "hostd/base/log.h"
#include "hostd/main/config/config_load.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define GOOD   "tests/unit/config/good/"
#define SECOND 1000000000ull

static void load(const char *name, struct cfg *out)
{
    char path[256];

    snprintf(path, sizeof path, GOOD "%s", name);
    assert_int_equal(cfg_load(path, out, stderr), 0);
}

static const struct spd_policy *policy(const struct cfg *c, const char *name)
{
    for (unsigned i = 0; i < c->n_policies; i++)
        if (strcmp(c->policies[i].name, name) == 0)
            return &c->policies[i];
    fail_msg("no policy %s", name);
    return NULL;
}

static void check_addr(const struct ip_addr *a, const char *text)
{
    char buf[IP_ADDR_STR];
    assert_string_equal(ip_str(a, buf), text);
}

static void test_short(void **state)
{
    struct cfg c;
    const struct spd_policy *p;

    load("short.yaml", &c);
    assert_false(c.testing);
    assert_int_equal(c.limit_sas, 16384);
    assert_int_equal(c.log_level, LOG_LVL_ERROR);
    assert_string_equal(c.log_dir, "/var/log/sallyport");
    assert_int_equal(c.log_file_kb, 100);
    assert_string_equal(c.read_group, "");
    assert_int_equal(c.n_ike_ports, 2);
    assert_int_equal(c.ike_ports[1], 4500);
    assert_string_equal(c.cards[0].at, "unix:/run/c0.sock");
    assert_string_equal(c.interfaces[0].standby, "if:eth1");
    assert_int_equal(c.interfaces[0].address[0].bits, 24);
    assert_int_equal(c.interfaces[0].after_stop, CFG_STOP_DISCARD);
    assert_int_equal(c.n_policies, 1);
    p = policy(&c, "lan");
    assert_string_equal(p->where, "short.yaml:3");
    assert_int_equal(p->action, SPD_PROTECT);
    assert_int_equal(p->mode, ESP_TUNNEL);
    check_addr(&p->tunnel_local, "10.0.0.1");
    check_addr(&p->tunnel_remote, "10.0.0.2");
    assert_int_equal(p->encap, ESP_ENCAP_NONE);
    assert_true(p->esn);
    assert_int_equal(p->window, 1024);
    assert_int_equal(p->sel.local_port.lo, 0);
    assert_int_equal(p->sel.local_port.hi, 65535);
    assert_int_equal(p->transforms[0].hard.time, 28800 * SECOND);
    assert_int_equal(p->transforms[0].soft.time, 25920 * SECOND);
    assert_int_equal(p->transforms[0].hard.bytes, 0);
    cfg_free(&c);
}

static void test_full(void **state)
{
    /* ping by its priority; the others ten times their place: the included one is the first. */
    static const char *const order[] = {"ping", "included", "web", "neighbours", "six", "rest"};
    struct cfg c;
    const struct spd_policy *p;

    load("full.yaml", &c);
    assert_int_equal(c.n_policies, 6);
    for (unsigned i = 0; i < 6; i++)
        assert_string_equal(c.policies[i].name, order[i]);
    assert_true(c.testing);
    assert_int_equal(c.log_level, LOG_LVL_INFORMATIVE);
    assert_string_equal(c.log_dir, "");
    assert_string_equal(c.change_group, "wheel");
    assert_int_equal(c.hold_per_flow, 4);
    check_addr(&c.interfaces[0].gateway4, "10.0.0.254");
    check_addr(&c.interfaces[0].gateway6, "fe80::1");
    assert_int_equal(c.interfaces[0].mtu, 1500);
    assert_int_equal(c.interfaces[0].after_stop, CFG_STOP_PASS);
    assert_true(c.interfaces[1].take_addresses);
    assert_int_equal(c.interfaces[1].mtu, 0);
    p = policy(&c, "web");
    assert_int_equal(p->mode, ESP_TRANSPORT);
    assert_int_equal(p->encap, ESP_ENCAP_UDP);
    assert_false(p->esn);
    assert_int_equal(p->window, 4096);
    assert_int_equal(p->n_transforms, 2);
    assert_int_equal(p->transforms[0].hard.bytes, 1000 * 1024);
    assert_int_equal(p->transforms[0].soft.bytes, 800 * 1024);
    assert_int_equal(p->sel.remote_port.lo, 1024);
    p = policy(&c, "ping");
    assert_int_equal(p->action, SPD_PASS);
    assert_int_equal(p->sel.local_port.lo, 8 << 8);
    assert_int_equal(p->sel.local_port.hi, 8 << 8);
    p = policy(&c, "neighbours");
    assert_int_equal(p->sel.local_port.lo, 133 << 8);
    assert_int_equal(p->sel.local_port.hi, 137 << 8 | 255);
    assert_int_equal(policy(&c, "six")->transforms[0].hard.time, 0);
    cfg_free(&c);
}

static void round_trip(const char *name)
{
    struct cfg c, again;
    char *first, *second;

    load(name, &c);
    first = cfg_to_json(&c);
    assert_non_null(first);
    assert_int_equal(cfg_from_json(first, strlen(first), &again), 0);
    second = cfg_to_json(&again);
    assert_string_equal(first, second);
    assert_int_equal(again.n_policies, c.n_policies);
    assert_ptr_equal(again.policies[0].transforms[0].suite, c.policies[0].transforms[0].suite);
    cfg_free(&c);
    cfg_free(&again);
    free(first);
    free(second);
}

static void test_round_trip(void **state)
{
    round_trip("short.yaml");
    round_trip("full.yaml");
    round_trip("more.yaml");
}

/* Replaces what by with in the JSON of a good configuration; it must be refused. */
static void refuse(const char *json, const char *what, const char *with)
{
    const char *at = strstr(json, what);
    size_t room = strlen(json) + strlen(with) + 1;
    char *text = malloc(room);
    struct cfg c;

    assert_non_null(at);
    snprintf(text, room, "%.*s%s%s", (int)(at - json), json, with, at + strlen(what));
    assert_int_equal(cfg_from_json(text, strlen(text), &c), -EBADMSG);
    assert_null(c.policies);
    free(text);
}

static void test_hostile_json(void **state)
{
    static const struct {
        const char *what, *with;
    } cases[] = {
        {"\"window\":1024", "\"window\":1000"},
        {"\"window\":1024", "\"window\":8192"},
        {"\"mode\":2", "\"mode\":1"},
        {"\"mode\":2", "\"mode\":3"},
        {"\"encap\":0", "\"encap\":2"},
        {"ESP_AES128_GCM16", "ESP_NONE"},
        {"\"action\":2", "\"action\":1"},
        {"\"action\":2", "\"action\":\"x\""},
        {"\"bits\":24", "\"bits\":33"},
        {"\"bits\":24", "\"bits\":-1"},
        {"10.1.0.0/24", "10.1.0.0/99"},
        {"\"name\":\"lan\"", "\"name\":\"l\\u0001n\""},
        {"\"name\":\"lan\"", "\"nam\":\"lan\""},
        {"\"sel.local_port.lo\":0", "\"sel.local_port.lo\":65536"},
        {"\"limit_sas\":16384", "\"limit_sas\":99999999999"},
        {"\"esn\":true", "\"esn\":1"},
        {"\"policies\":[", "\"policies\":[{},"},
        {"{\"port\":500}", "{\"port\":70000}"},
        {"\"testing\":false", "\"testing\":false,\"testing\":false"},
    };
    struct cfg c;
    char *json;

    load("short.yaml", &c);
    json = cfg_to_json(&c);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        refuse(json, cases[i].what, cases[i].with);
    refuse(json, "10.0.0.1",
           "10.00000000000000000000000000000000000000000000000000000000000000000000"
           "00000000000000000000000000000000000000000000000000000000000000000001");
    free(json);
    cfg_free(&c);
    assert_int_equal(cfg_from_json("", 0, &c), -EBADMSG);
    assert_int_equal(cfg_from_json("[]", 2, &c), -EBADMSG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_short),
        cmocka_unit_test(test_full),
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_hostile_json),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
