/* The engine without a card: SAs by hand, what they show, reloads, the calls of the control socket.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "hostd/data/calls.h"

enum { ROOM = 17 * STORE_RECORD };

struct fixture {
    struct engine *e;
    void *store;
};

static int none_tap(void *c, unsigned i, const uint8_t *f, size_t n, const struct dp_offload *o)
{
    return 0;
}

static int none_hop(void *c, unsigned i, const struct ip_addr *a, uint8_t mac[6])
{
    return -EHOSTUNREACH;
}

static bool none_local(void *c, const struct ip_addr *a)
{
    return false;
}

static void none_gone(void *c, const char *card, const char *why)
{
}

static void none_want(void *c, const char *i, const char *p, bool open)
{
}

static void none_info(void *c, const char *i, const uint8_t mac[6], uint16_t mtu)
{
}

static void none_acquire(void *c, const struct spd_policy *p, const struct spd_flow *f,
                         const struct ip_addr *peer)
{
}

static void none_expired(void *c, const struct sa *sa, enum sa_life what)
{
}

static void counting(void *ctx, void *buf, size_t len)
{
    static uint8_t n;
    memset(buf, ++n, len);
}

static struct cfg config(const char *const *remotes, unsigned n)
{
    struct cfg c = {.testing = true,
                    .limit_sas = 16,
                    .reassembly_kb = 64,
                    .hold_packets = 8,
                    .hold_per_flow = 2};
    c.n_interfaces = 1;
    snprintf(c.interfaces[0].name, sizeof c.interfaces[0].name, "ipsec0");
    snprintf(c.interfaces[0].port, sizeof c.interfaces[0].port, "if:eth1");
    c.policies = calloc(n, sizeof *c.policies);
    c.n_policies = n;
    for (unsigned i = 0; i < n; i++) {
        struct spd_policy *p = &c.policies[i];
        snprintf(p->name, sizeof p->name, "p%u", i);
        assert_int_equal(ip_range_parse("10.1.0.0/24", &p->sel.local), 0);
        assert_int_equal(ip_range_parse(remotes[i], &p->sel.remote), 0);
        p->sel.local_port.hi = p->sel.remote_port.hi = 65535;
        p->action = SPD_PROTECT;
        p->mode = ESP_TUNNEL;
        assert_int_equal(ip_parse("10.0.0.1", &p->tunnel_local), 0);
        assert_int_equal(ip_parse("10.0.0.2", &p->tunnel_remote), 0);
        p->transforms[0].suite = esp_suite_by_name("ESP_AES128_GCM16");
        p->n_transforms = 1;
        p->window = WIN_DEFAULT_BITS;
    }
    return c;
}

static const char *const three[] = {"10.2.0.0/24", "10.3.0.0/24", "10.4.0.0/24"};

static int make(void **state)
{
    static struct fixture f;
    const struct engine_host host = {.to_tap = none_tap,
                                     .next_hop = none_hop,
                                     .is_local = none_local,
                                     .card_gone = none_gone,
                                     .want_port = none_want,
                                     .port_info = none_info,
                                     .acquire = none_acquire,
                                     .expired = none_expired,
                                     .random = counting};
    struct cfg c = config(three, 3);
    f.store = aligned_alloc(64, ROOM);
    memset(f.store, 0, ROOM);
    int rc = engine_new(&f.e, &c, &host, f.store, ROOM, 0, 1);
    cfg_free(&c);
    *state = &f;
    return rc;
}

static int unmake(void **state)
{
    struct fixture *f = *state;
    engine_free(f->e, 2);
    free(f->store);
    return 0;
}

static int key_fd(void)
{
    int fd = memfd_create("keys", MFD_CLOEXEC);
    uint8_t keys[CALLS_KEY_LEN];
    memset(keys, 0x5a, sizeof keys);
    assert_int_equal(write(fd, keys, sizeof keys), sizeof keys);
    return fd;
}

static json_t *call(struct fixture *f, const char *method, json_t *params, int fd, bool testing)
{
    json_t *answer = calls_run(f->e, method, params, fd, 1000, testing);
    json_decref(params);
    assert_non_null(answer);
    return answer;
}

static json_t *add(struct fixture *f, const char *policy, int spi, const char *dir, int fd,
                   bool testing)
{
    return call(f, "sa.add",
                json_pack("{s:s,s:s,s:i,s:s,s:s}", "policy", policy, "dir", dir, "spi", spi, "src",
                          "10.0.0.1", "dst", "10.0.0.2"),
                fd, testing);
}

static void refused(json_t *answer, const char *word)
{
    const char *text =
        json_string_value(json_object_get(json_object_get(answer, "error"), "message"));
    assert_non_null(text);
    if (!strstr(text, word))
        fail_msg("\"%s\" does not say \"%s\"", text, word);
    json_decref(answer);
}

static void accepted(json_t *answer)
{
    assert_non_null(json_object_get(answer, "result"));
    json_decref(answer);
}

static void by_hand(void **state)
{
    struct fixture *f = *state;
    int fd = key_fd();
    json_t *answer = add(f, "p0", 4096, "out", fd, true);
    json_t *sa = json_object_get(answer, "result");
    assert_string_equal(json_string_value(json_object_get(sa, "place")), "software");
    assert_string_equal(json_string_value(json_object_get(json_object_get(sa, "reason"), "code")),
                        "NO_CARD");
    assert_true(json_string_length(json_object_get(json_object_get(sa, "reason"), "remedy")) > 0);
    assert_int_equal(json_integer_value(json_object_get(sa, "next")), 1);
    char *text = json_dumps(answer, 0);
    assert_null(strstr(text, "5a5a5a5a")); /* no report contains a key */
    free(text);
    json_decref(answer);
    refused(add(f, "p0", 4096, "out", fd, true), "in use");
    refused(add(f, "p0", 255, "in", fd, true), "256");
    refused(add(f, "nobody", 4097, "in", fd, true), "nobody");
    refused(add(f, "p0", 4097, "in", -1, true), "descriptor");
    refused(add(f, "p0", 4097, "in", fd, false), "testing: yes");
    refused(call(f, "no.such", json_object(), -1, true), "no.such");
    close(fd);
}

static void table_full(void **state)
{
    struct fixture *f = *state;
    int fd = key_fd();
    for (int i = 0; i < 16; i++)
        accepted(add(f, "p0", 5000 + i, "in", fd, true));
    refused(add(f, "p0", 6000, "in", fd, true), "limits: sas");
    accepted(call(f, "sa.delete", json_pack("{s:s,s:i}", "dir", "in", "spi", 5003), -1, true));
    accepted(add(f, "p0", 6000, "in", fd, true));
    refused(call(f, "sa.delete", json_pack("{s:s,s:i}", "dir", "in", "spi", 5003), -1, true),
            "0x0000138b");
    accepted(call(f, "sa.delete", json_pack("{s:b}", "all", 1), -1, true));
    assert_int_equal(sad_count(engine_sad(f->e)), 0);
    close(fd);
}

/* A reload touches what changed and nothing else. */
static void reload(void **state)
{
    static const char *const changed[] = {"10.2.0.0/24", "10.9.0.0/24", "10.4.0.0/24"};
    struct fixture *f = *state;
    int fd = key_fd();
    for (int i = 0; i < 3; i++) {
        char name[16];
        snprintf(name, sizeof name, "p%d", i);
        accepted(add(f, name, 7000 + i, "out", fd, true));
    }
    struct sa *kept = sad_by_spi(engine_sad(f->e), ESP_OUT, 7000);
    uint64_t first, cookie = kept->cookie;
    assert_int_equal(sad_take(engine_sad(f->e), kept, 5, &first), 0);
    sad_count_packet(kept, PATH_SOFTWARE, 100, 1000);
    struct cfg c = config(changed, 3);
    assert_int_equal(engine_reload(f->e, &c, 2000), 0);
    cfg_free(&c);
    assert_null(sad_by_spi(engine_sad(f->e), ESP_OUT, 7001));
    kept = sad_by_spi(engine_sad(f->e), ESP_OUT, 7000);
    assert_non_null(kept);
    assert_non_null(sad_by_spi(engine_sad(f->e), ESP_OUT, 7002));
    assert_int_equal(kept->cookie, cookie);
    assert_int_equal(kept->next, 6);
    assert_int_equal(kept->packets[PATH_SOFTWARE], 1);
    close(fd);
}

static void reports_say_something(void **state)
{
    static const char *const methods[] = {"sa.list", "policy.list", "card.list", "counters",
                                          "cache.list"};
    struct fixture *f = *state;
    for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++)
        accepted(call(f, methods[i], json_object(), -1, false));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(by_hand, make, unmake),
        cmocka_unit_test_setup_teardown(table_full, make, unmake),
        cmocka_unit_test_setup_teardown(reload, make, unmake),
        cmocka_unit_test_setup_teardown(reports_say_something, make, unmake)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
