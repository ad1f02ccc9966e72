/* The policy database: loading, ids, and the look-up against a naive reference. */
#include "sa_test.h"

#include <time.h>

static struct ip_range range(const char *text)
{
    struct ip_range r = {.lo = {.family = 0}};
    assert_int_equal(ip_range_parse(text, &r), 0);
    return r;
}

static struct spd_policy policy(const char *name, const char *local, const char *remote,
                                enum spd_action action)
{
    struct spd_policy p = {.action = action, .mode = ESP_TUNNEL, .window = 1024};
    snprintf(p.name, sizeof p.name, "%s", name);
    p.sel.local = range(local);
    p.sel.remote = range(remote);
    p.sel.local_port.hi = p.sel.remote_port.hi = 65535;
    return p;
}

static struct ip_addr addr(const char *text)
{
    struct ip_addr a;
    assert_int_equal(ip_parse(text, &a), 0);
    return a;
}

static void first_match_decides(void **state)
{
    struct spd *s = spd_new();
    struct spd_policy l[3] = {
        policy("a", "10.0.0.0/24", "10.1.0.5", SPD_PASS),
        policy("b", "10.0.0.0/24", "10.1.0.0/16", SPD_PROTECT),
        policy("c", "any", "any", SPD_DISCARD),
    };
    assert_int_equal(spd_load(s, l, 3, NULL, NULL), 0);
    struct spd_flow f = {.dir = ESP_OUT, .local = addr("10.0.0.9"), .remote = addr("10.1.0.5")};
    assert_string_equal(spd_match(s, &f)->name, "a");
    f.remote = addr("10.1.0.6");
    assert_string_equal(spd_match(s, &f)->name, "b");
    f.local = addr("2001:db8::1");
    f.remote = addr("2001:db8::2");
    assert_string_equal(spd_match(s, &f)->name, "c");
    assert_int_equal(spd_load(s, l, 2, NULL, NULL), 0);
    assert_null(spd_match(s, &f));
    spd_free(s);
}

static void ports_need_ports(void **state)
{
    struct spd *s = spd_new();
    struct spd_policy p = policy("web", "any", "any", SPD_PROTECT);
    p.sel.proto = IPP_TCP;
    p.sel.remote_port = (struct spd_ports){443, 443};
    assert_int_equal(spd_load(s, &p, 1, NULL, NULL), 0);
    struct spd_flow f = {
        .local = addr("10.0.0.1"), .remote = addr("10.0.0.2"), .proto = IPP_TCP, .rport = 443};
    assert_null(spd_match(s, &f));
    f.has_ports = true;
    assert_non_null(spd_match(s, &f));
    f.rport = 80;
    assert_null(spd_match(s, &f));
    f.rport = 443;
    f.proto = IPP_UDP;
    assert_null(spd_match(s, &f));
    spd_free(s);
}

static void flows_are_turned_by_direction(void **state)
{
    struct ip_info i = {.src = addr("10.0.0.1"),
                        .dst = addr("10.0.0.2"),
                        .proto = IPP_TCP,
                        .has_ports = true,
                        .sport = 1000,
                        .dport = 22};
    struct spd_flow f;
    spd_flow_from(&f, ESP_OUT, &i);
    assert_true(ip_eq(&f.local, &i.src) && f.lport == 1000 && f.rport == 22);
    spd_flow_from(&f, ESP_IN, &i);
    assert_true(ip_eq(&f.local, &i.dst) && ip_eq(&f.remote, &i.src));
    assert_true(f.lport == 22 && f.rport == 1000);
    i.proto = IPP_ICMP;
    i.sport = 8 << 8;
    i.dport = 0;
    spd_flow_from(&f, ESP_IN, &i);
    assert_true(f.lport == 8 << 8 && f.rport == 0);
}

static void a_reload_keeps_what_did_not_change(void **state)
{
    struct spd *s = spd_new(), *other = spd_new();
    uint32_t gone[8], ids[3];
    unsigned n;
    struct spd_policy l[4] = {
        policy("a", "10.0.0.0/24", "10.1.0.0/16", SPD_PROTECT),
        policy("b", "10.0.0.0/24", "10.2.0.0/16", SPD_PROTECT),
        policy("c", "any", "any", SPD_DISCARD),
    };
    assert_int_equal(spd_load(s, l, 3, gone, &n), 0);
    assert_int_equal(n, 0);
    for (unsigned i = 0; i < 3; i++) {
        ids[i] = spd_at(s, i)->id;
        assert_int_not_equal(ids[i], 0);
        assert_ptr_equal(spd_by_id(s, ids[i]), spd_at(s, i));
    }
    spd_at(s, 0)->hits[0] = 7;
    uint64_t before = spd_generation(s);
    l[3] = l[2];
    l[2] = l[1];
    l[1] = policy("new", "10.9.0.0/16", "10.1.0.0/16", SPD_PASS);
    l[2].window = 64; /* b changed */
    snprintf(l[0].where, sizeof l[0].where, "moved.yaml:9");
    assert_int_equal(spd_load(s, l, 4, gone, &n), 0);
    assert_int_equal(n, 1);
    assert_int_equal(gone[0], ids[1]);
    assert_true(spd_generation(s) > before);
    assert_int_equal(spd_by_name(s, "a")->id, ids[0]);
    assert_int_equal(spd_by_name(s, "a")->hits[0], 7);
    assert_string_equal(spd_by_name(s, "a")->where, "moved.yaml:9");
    assert_int_equal(spd_by_name(s, "c")->id, ids[2]);
    assert_int_not_equal(spd_by_name(s, "b")->id, ids[1]);
    /* Another process gives the same ids. */
    assert_int_equal(spd_load(other, l, 4, NULL, NULL), 0);
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(spd_at(s, i)->id, spd_at(other, i)->id);
    assert_int_equal(spd_load(s, NULL, 0, gone, &n), 0);
    assert_int_equal(n, 4);
    assert_null(spd_at(s, 0));
    spd_free(s);
    spd_free(other);
}

static void equal_policies_get_two_ids(void **state)
{
    struct spd *s = spd_new();
    struct spd_policy l[2] = {policy("a", "any", "any", SPD_PASS),
                              policy("a", "any", "any", SPD_PASS)};
    assert_int_equal(spd_load(s, l, 2, NULL, NULL), 0);
    assert_int_not_equal(spd_at(s, 0)->id, spd_at(s, 1)->id);
    assert_int_equal(spd_load(s, l, 1, NULL, NULL), 0);
    assert_int_equal(spd_count(s), 1);
    spd_free(s);
}

static void look_ups_agree_with_a_list(void **state)
{
    enum { N = 60 };
    struct spd *s = spd_new();
    struct spd_policy l[N], old[N];
    uint32_t gone[N];
    unsigned n_old = 0, n_gone;
    assert_null(spd_by_id(s, 1));
    assert_null(spd_by_name(s, "p1"));
    for (int round = 0; round < 200; round++) {
        unsigned n = (unsigned)rng_below(N + 1), kept = 0;
        for (unsigned i = 0; i < n; i++) {
            char name[8];
            snprintf(name, sizeof name, "p%u", (unsigned)rng_below(20));
            l[i] = policy(name, "any", "any", (enum spd_action)rng_below(2));
        }
        assert_int_equal(spd_load(s, l, n, gone, &n_gone), 0);
        for (unsigned i = 0; i < n; i++) {
            const struct spd_policy *p = spd_at(s, i);
            unsigned first = 0, was = 0;
            while (strcmp(l[first].name, p->name) != 0)
                first++;
            while (was < n_old && old[was].id != p->id)
                was++;
            kept += was < n_old;
            if (was < n_old)
                assert_true(strcmp(old[was].name, p->name) == 0 && old[was].action == p->action);
            assert_ptr_equal(spd_by_id(s, p->id), p);
            assert_ptr_equal(spd_by_name(s, p->name), spd_at(s, first));
        }
        assert_int_equal(n_gone, n_old - kept);
        for (unsigned i = 0; i < n_gone; i++)
            assert_null(spd_by_id(s, gone[i]));
        for (unsigned i = 0; i < n; i++)
            old[i] = *spd_at(s, i);
        n_old = n;
    }
    spd_free(s);
}

static double cpu_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* The packet path stands still while a list is loaded: time in proportion to its length. The bound
 * is wide enough for a sanitizer; in the square of the length it would be ten times as long. */
static void a_long_list_loads_in_linear_time(void **state)
{
    enum { N = 40000 };
    struct spd *s = spd_new();
    struct spd_policy *l = calloc(N, sizeof *l);
    uint32_t *gone = calloc(N, sizeof *gone);
    unsigned n;
    assert_true(s && l && gone);
    double begin = cpu_seconds();
    for (unsigned pass = 0; pass < 2; pass++) {
        for (unsigned i = 0; i < N; i++) {
            if (i == 0)
                l[0] = policy("", "any", "any", SPD_PASS);
            l[i] = l[0];
            snprintf(l[i].name, sizeof l[i].name, "%u-%u", pass, i);
        }
        assert_int_equal(spd_load(s, l, N, gone, &n), 0);
        assert_int_equal(n, pass ? N : 0);
    }
    for (unsigned i = 0; i < N; i++) {
        assert_ptr_equal(spd_by_id(s, spd_at(s, i)->id), spd_at(s, i));
        assert_ptr_equal(spd_by_name(s, l[i].name), spd_at(s, i));
    }
    assert_true(cpu_seconds() - begin < 2.0);
    free(gone);
    free(l);
    spd_free(s);
}

/* --- random policies against a reference written from RFC 4301's words --- */

static uint32_t v4(const struct ip_addr *a)
{
    return (uint32_t)a->b[0] << 24 | (uint32_t)a->b[1] << 16 | (uint32_t)a->b[2] << 8 | a->b[3];
}

static struct ip_addr random_addr(void)
{
    struct ip_addr a = {.family = 4, .b = {10, 0, (uint8_t)rng_below(2), (uint8_t)rng_below(16)}};
    if (rng_below(4) == 0)
        a = (struct ip_addr){.family = 6, .b = {0x20, [15] = (uint8_t)rng_below(16)}};
    return a;
}

static struct ip_range random_range(void)
{
    struct ip_range r = {.lo = random_addr()};
    if (rng_below(4) == 0)
        return (struct ip_range){.lo = {.family = 0}};
    r.hi = r.lo;
    uint8_t last = r.lo.family == 4 ? 3 : 15;
    r.hi.b[last] = (uint8_t)(r.lo.b[last] + rng_below(8));
    return r;
}

static struct spd_ports random_ports(void)
{
    struct spd_ports p = {0, 65535};
    if (rng_below(2)) {
        p.lo = (uint16_t)rng_below(8);
        p.hi = (uint16_t)(p.lo + rng_below(4));
    }
    return p;
}

static bool ref_in(const struct ip_range *r, const struct ip_addr *a)
{
    if (r->lo.family == 0)
        return true;
    if (r->lo.family != a->family)
        return false;
    if (a->family == 4)
        return v4(a) >= v4(&r->lo) && v4(a) <= v4(&r->hi);
    return a->b[15] >= r->lo.b[15] && a->b[15] <= r->hi.b[15];
}

static bool ref_match(const struct spd_selector *s, const struct spd_flow *f)
{
    bool wants_ports = s->local_port.lo || s->local_port.hi != 65535 || s->remote_port.lo ||
                       s->remote_port.hi != 65535;
    if (s->proto && s->proto != f->proto)
        return false;
    if (!ref_in(&s->local, &f->local) || !ref_in(&s->remote, &f->remote))
        return false;
    if (!wants_ports)
        return true;
    return f->has_ports && f->lport >= s->local_port.lo && f->lport <= s->local_port.hi &&
           f->rport >= s->remote_port.lo && f->rport <= s->remote_port.hi;
}

static void random_policies_against_the_reference(void **state)
{
    enum { N = 40 };
    static const uint8_t protos[] = {IPP_ANY, IPP_TCP, IPP_UDP, IPP_ICMP};
    struct spd *s = spd_new();
    struct spd_policy l[N];
    unsigned matched = 0;
    for (int round = 0; round < 50; round++) {
        for (int i = 0; i < N; i++) {
            char name[16];
            snprintf(name, sizeof name, "p%d", i);
            l[i] = policy(name, "any", "any", (enum spd_action)rng_below(3));
            l[i].sel = (struct spd_selector){random_range(), random_range(), protos[rng_below(4)],
                                             random_ports(), random_ports()};
        }
        assert_int_equal(spd_load(s, l, N, NULL, NULL), 0);
        for (int k = 0; k < 400; k++) {
            struct spd_flow f = {.local = random_addr(),
                                 .remote = random_addr(),
                                 .proto = protos[1 + rng_below(3)],
                                 .has_ports = rng_below(4) != 0,
                                 .lport = (uint16_t)rng_below(10),
                                 .rport = (uint16_t)rng_below(10)};
            int want = 0;
            while (want < N && !ref_match(&l[want].sel, &f))
                want++;
            const struct spd_policy *got = spd_match(s, &f);
            assert_ptr_equal(got, spd_at(s, (unsigned)want));
            matched += got != NULL;
        }
    }
    assert_true(matched > 1000);
    spd_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(first_match_decides),
        cmocka_unit_test(ports_need_ports),
        cmocka_unit_test(flows_are_turned_by_direction),
        cmocka_unit_test(a_reload_keeps_what_did_not_change),
        cmocka_unit_test(equal_policies_get_two_ids),
        cmocka_unit_test(look_ups_agree_with_a_list),
        cmocka_unit_test(a_long_list_loads_in_linear_time),
        cmocka_unit_test(random_policies_against_the_reference),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
