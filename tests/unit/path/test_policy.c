/* The flow cache against a plain scan; nothing in clear that a protect policy covers, whatever the
 * mode, the state of the SAs, of the port and of the neighbours. */
#include "tests/unit/path/rig.h"

/* A selector as a person would read it, sharing nothing with sa/. */
static bool plain_match(const struct spd_policy *p, const struct spd_flow *f)
{
    const struct spd_selector *s = &p->sel;
    const struct ip_range *r[2] = {&s->local, &s->remote};
    const struct ip_addr *a[2] = {&f->local, &f->remote};
    for (int i = 0; i < 2; i++)
        if (r[i]->lo.family &&
            (r[i]->lo.family != a[i]->family || memcmp(a[i]->b, r[i]->lo.b, 16) < 0 ||
             memcmp(a[i]->b, r[i]->hi.b, 16) > 0))
            return false;
    if (s->proto && s->proto != f->proto)
        return false;
    bool any = s->local_port.lo == 0 && s->local_port.hi == 65535 && s->remote_port.lo == 0 &&
               s->remote_port.hi == 65535;
    if (any)
        return true;
    return f->has_ports && f->lport >= s->local_port.lo && f->lport <= s->local_port.hi &&
           f->rport >= s->remote_port.lo && f->rport <= s->remote_port.hi;
}

static struct spd_policy random_policy(struct rig *r, unsigned n)
{
    char name[16], local[40], remote[40];
    bool v6 = rig_rand(r) % 4 == 0;
    snprintf(name, sizeof name, "p%u", n);
    unsigned bits = 28 + rig_rand(r) % 5;
    snprintf(local, sizeof local, v6 ? "fd01::%x/%u" : "10.1.0.%u/%u", rig_rand(r) % 16,
             v6 ? bits + 96 : bits);
    snprintf(remote, sizeof remote, v6 ? "fd02::%x/%u" : "10.2.0.%u/%u", rig_rand(r) % 16,
             v6 ? bits + 96 : bits);
    struct spd_policy p =
        rig_policy(name, rig_rand(r) % 5 ? local : "any", rig_rand(r) % 5 ? remote : "any",
                   (enum spd_action)(rig_rand(r) % 3));
    if (p.action == SPD_PROTECT && rig_rand(r) % 2) {
        p.mode = ESP_TUNNEL;
        p.tunnel_local = rig_ip("192.0.2.1");
        p.tunnel_remote = rig_ip("192.0.2.2");
    }
    if (rig_rand(r) % 3 == 0) {
        p.sel.proto = IPP_UDP;
        p.sel.remote_port.lo = (uint16_t)(rig_rand(r) % 4);
        p.sel.remote_port.hi = (uint16_t)(p.sel.remote_port.lo + rig_rand(r) % 4);
    }
    return p;
}

static void random_policies(struct rig *r, struct spd_policy *list, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        list[i] = random_policy(r, i);
    rig_load(r, list, n);
}

static struct spd_flow random_flow(struct rig *r)
{
    bool v6 = rig_rand(r) % 4 == 0;
    struct spd_flow f = {.dir = rig_rand(r) % 2 ? ESP_OUT : ESP_IN,
                         .local = rig_ip(v6 ? "fd01::" : "10.1.0.0"),
                         .remote = rig_ip(v6 ? "fd02::" : "10.2.0.0"),
                         .proto = rig_rand(r) % 2 ? IPP_UDP : IPP_TCP};
    f.local.b[v6 ? 15 : 3] = (uint8_t)(rig_rand(r) % 16);
    f.remote.b[v6 ? 15 : 3] = (uint8_t)(rig_rand(r) % 16);
    f.has_ports = rig_rand(r) % 8 != 0;
    f.lport = f.has_ports ? (uint16_t)(rig_rand(r) % 3) : 0;
    f.rport = f.has_ports ? (uint16_t)(rig_rand(r) % 6) : 0;
    return f;
}

static void test_cache(void **state)
{
    struct rig *r = rig_new(1);
    struct spd_policy list[12];
    struct flow_cache *c = flow_cache_new(7);
    unsigned hits = 0;
    for (unsigned round = 0; round < 40; round++) {
        random_policies(r, list, 12);
        for (unsigned k = 0; k < 3000; k++) {
            struct spd_flow f = random_flow(r);
            bool hit;
            struct spd_policy *got = flow_cache_match(c, r->spd, &f, &hit), *want = NULL;
            for (unsigned i = 0; i < spd_count(r->spd) && !want; i++)
                if (plain_match(spd_at(r->spd, i), &f))
                    want = spd_at(r->spd, i);
            assert_ptr_equal(got, want);
            hits += hit;
        }
        struct dp_cache_row row;
        unsigned rows = 0;
        uint64_t used = 0;
        for (; flow_cache_at(c, r->spd, rows, &row); rows++)
            used += row.hits;
        assert_true(rows > 100 && rows <= 8192 && used <= hits);
    }
    assert_true(hits > 1000);
    random_policies(r, list, 12);
    struct dp_cache_row row;
    assert_false(flow_cache_at(c, r->spd, 0, &row)); /* other policies: forgotten */
    flow_cache_free(c);
    rig_free(r);
}

/* More flows than rows: still right, and bounded. */
static void test_cache_full(void **state)
{
    struct rig *r = rig_new(1);
    struct spd_policy p = rig_policy("p", "10.1.0.0/16", "any", SPD_PASS);
    rig_load(r, &p, 1);
    struct flow_cache *c = flow_cache_new(7);
    for (uint32_t k = 0; k < 100000; k++) {
        bool hit;
        struct spd_flow f = {.dir = ESP_OUT, .local = rig_ip("10.1.0.1"), .proto = 6};
        f.remote.family = 4;
        put_be32(f.remote.b, k);
        if (k & 1)
            f.local.b[1] = 2;
        assert_true((flow_cache_match(c, r->spd, &f, &hit) != NULL) == !(k & 1));
    }
    struct dp_cache_row row;
    assert_false(flow_cache_at(c, r->spd, 8192, &row));
    flow_cache_free(c);
    rig_free(r);
}

/* Would sending this packet as it is break the rule? The first match decides while running; once
 * stopped, any protect policy that covers it forbids it unless a pass policy comes first. */
static bool forbidden(struct rig *r, const uint8_t *frame, size_t len)
{
    struct pkt p;
    struct spd_flow f;
    if (!pkt_parse(&p, frame, len) || p.i.proto == IPP_ESP)
        return false;
    spd_flow_from(&f, ESP_OUT, &p.i);
    for (unsigned i = 0; i < spd_count(r->spd); i++) {
        const struct spd_policy *q = spd_at(r->spd, i);
        if (plain_match(q, &f))
            return q->action == SPD_PROTECT;
    }
    return false;
}

static void change(struct rig *r)
{
    struct sa *sa;
    switch (rig_rand(r) % 16) {
    case 0:
        dp_set_mode(r->dp, rig_rand(r) % 3 ? DP_RUNNING : (enum dp_mode)(rig_rand(r) % 3));
        break;
    case 1:
        dp_set_port(r->dp, rig_rand(r) % 4 ? &r->port : NULL);
        break;
    case 2:
        r->hop_rc = rig_rand(r) % 4 ? 0 : -EAGAIN;
        break;
    case 3:
        sa = sad_next(r->sad, NULL);
        if (sa)
            sad_delete(r->sad, sa);
        break;
    case 4:
        sa = sad_next(r->sad, NULL);
        if (sa)
            sa->spec.hard.packets = 3;
        break;
    case 6:
        r->now += SECOND / 10 * (rig_rand(r) % 200);
        dp_tick(r->dp, r->now);
        break;
    case 5:
        r->send_rc = rig_rand(r) % 4 ? 0 : -ENOBUFS;
        break;
    default: {
        unsigned i = rig_rand(r) % spd_count(r->spd);
        const struct spd_policy *p = spd_at(r->spd, i);
        struct sa_spec s = rig_spec(ESP_OUT, p->id, 0x1000 + rig_rand(r) % 4096, p->mode,
                                    "192.0.2.1", "192.0.2.2");
        if (p->action == SPD_PROTECT && sad_count(r->sad) < 30 &&
            sad_add(r->sad, &s, r->now, &sa) == 0) {
            sa->place = rig_rand(r) % 2 ? PLACE_CARD : PLACE_SOFTWARE;
            sa->card = 0;
            dp_sa_ready(r->dp, r->now, sa);
        }
    }
    }
}

static size_t random_frame(struct rig *r, uint8_t *f)
{
    struct spd_flow w = random_flow(r);
    char src[IP_ADDR_STR], dst[IP_ADDR_STR];
    size_t n = rig_rand(r) % 3 ? rig_rand(r) % 1400 : 1400 + rig_rand(r) % 1800;
    return rig_udp(f, r, true, ip_str(&w.local, src), ip_str(&w.remote, dst), w.lport, w.rport, n,
                   rig_rand(r) % 2);
}

/* Every CLEAR frame at the port is judged; PROTECT is the card's, RAW must be ESP or a fragment of
 * it. Reassembled here, so that fragments are judged by the whole. */
static unsigned judge(struct rig *r, struct reasm *all)
{
    static uint8_t buf[FRAME_BUF];
    unsigned clear = 0;
    for (unsigned i = 0; i < r->n_out; i++) {
        struct pkt p, whole;
        uint64_t lost = 0;
        assert_true(pkt_parse(&p, r->out[i].p, r->out[i].tx.len));
        if (r->out[i].tx.op == DP_PROTECT)
            continue;
        if (r->out[i].tx.op == DP_RAW) {
            assert_int_equal(p.i.proto, IPP_ESP);
            continue;
        }
        clear++;
        if (p.i.frag == IP_WHOLE)
            assert_false(forbidden(r, r->out[i].p, r->out[i].tx.len));
        else if (reasm_add(all, r->now, (struct reasm_space){0}, &p, buf, &whole, &lost) ==
                 REASM_WHOLE)
            assert_false(forbidden(r, buf, pkt_frame_len(&whole)));
    }
    rig_clear(r);
    return clear;
}

static void test_nothing_in_clear(void **state)
{
    static uint8_t f[8192];
    unsigned clear = 0, protected = 0;
    for (unsigned round = 0; round < 60; round++) {
        struct rig *r = rig_new(1);
        struct reasm *all = reasm_new(256 * 1024, 1);
        struct spd_policy list[8];
        r->rnd = round * 1000 + 17;
        r->port.card = round & 1;
        r->port.card_index = 0;
        random_policies(r, list, 8);
        for (unsigned k = 0; k < 600; k++) {
            if (rig_rand(r) % 4 == 0)
                change(r);
            if (rig_rand(r) % 100 == 0) {
                while (sad_next(r->sad, NULL))
                    sad_delete(r->sad, sad_next(r->sad, NULL));
                random_policies(r, list, 8);
            }
            size_t n = random_frame(r, f);
            struct dp_offload off = {.gso = DP_GSO_UDP, .gso_size = 500};
            if (n > 1514 && rig_rand(r) % 2)
                dp_from_tap(r->dp, r->now, f, n, &off);
            else if (n > 1514)
                rig_send_cut(r, f, n, 1500);
            else
                rig_send_host(r, f, n);
            clear += judge(r, all);
        }
        const struct dp_counters *c = dp_counters(r->dp);
        protected += (unsigned)(c->protected_card + c->protected_software);
        reasm_free(all);
        rig_free(r);
    }
    print_message("%u clear, %u protected\n", clear, protected);
    assert_true(clear > 1000 && protected > 300);
}

/* Fragments of what a policy protects by port are not told apart by their lack of ports. */
static void test_fragments_by_port(void **state)
{
    static uint8_t f[8192];
    struct rig *r = rig_new(1);
    struct spd_policy list[2] = {rig_policy("web", "any", "any", SPD_PROTECT),
                                 rig_policy("rest", "any", "any", SPD_PASS)};
    list[0].sel.proto = IPP_UDP;
    list[0].sel.remote_port = (struct spd_ports){443, 443};
    rig_load(r, list, 2);
    size_t n = rig_udp(f, r, true, "10.1.0.1", "10.2.0.1", 9, 443, 4000, false);
    rig_send_cut(r, f, n, 1500);
    assert_int_equal(r->n_out, 0);
    assert_int_equal(r->acquires, 1);
    n = rig_udp(f, r, true, "10.1.0.1", "10.2.0.1", 9, 444, 4000, false);
    rig_send_cut(r, f, n, 1500);
    assert_int_equal(r->n_out, 3);
    rig_free(r);
}

/* Stopped with pass: all but what a protect policy covers; stopped with discard: nothing. */
static void test_modes(void **state)
{
    struct rig *r = rig_new(1);
    struct spd_policy list[3] = {rig_policy("a", "any", "10.2.0.1", SPD_PASS),
                                 rig_policy("b", "any", "10.2.0.0/24", SPD_DISCARD),
                                 rig_policy("c", "any", "10.2.0.0/28", SPD_PROTECT)};
    rig_load(r, list, 3);
    static const char *const dst[] = {"10.2.0.1", "10.2.0.2", "10.2.0.200", "10.3.0.1"};
    static const unsigned passes[3][4] = {{1, 0, 0, 0}, {1, 0, 1, 1}, {0, 0, 0, 0}};
    for (int m = 0; m < 3; m++) {
        dp_set_mode(r->dp, (enum dp_mode)m);
        for (int i = 0; i < 4; i++) {
            uint8_t f[256];
            size_t n = rig_udp(f, r, true, "10.1.0.1", dst[i], 1, 2, 10, false);
            rig_send_host(r, f, n);
            assert_int_equal(r->n_out, passes[m][i]);
            n = rig_udp(f, r, false, dst[i], "10.1.0.1", 2, 1, 10, false);
            rig_send_wire(r, f, n);
            assert_int_equal(r->n_tap, passes[m][i]);
            rig_clear(r);
        }
    }
    rig_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cache),
        cmocka_unit_test(test_cache_full),
        cmocka_unit_test(test_nothing_in_clear),
        cmocka_unit_test(test_fragments_by_port),
        cmocka_unit_test(test_modes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
