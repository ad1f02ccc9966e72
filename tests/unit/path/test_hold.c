/* Packets that wait: for an SA, for a neighbour; order, bounds, time. */
#include "tests/unit/path/rig.h"

#define A  "10.1.0.1"
#define OA "192.0.2.1"
#define OB "192.0.2.2"

static struct rig *fresh(enum esp_mode mode)
{
    struct rig *r = rig_new(1);
    struct spd_policy p = mode == ESP_TUNNEL
                              ? rig_tunnel("t", "10.1.0.0/16", "10.2.0.0/16", OA, OB)
                              : rig_policy("t", "192.0.2.0/24", "192.0.2.0/24", SPD_PROTECT);
    rig_load(r, &p, 1);
    return r;
}

static struct sa *add(struct rig *r, enum esp_mode mode, const char *peer, uint32_t spi)
{
    struct sa_spec s = rig_spec(ESP_OUT, spd_at(r->spd, 0)->id, spi, mode, OA, peer);
    return rig_sa(r, &s);
}

/* One packet of a flow; its data says which. */
static void send(struct rig *r, const char *src, const char *dst, uint16_t port, uint8_t mark)
{
    uint8_t f[256];
    size_t n = rig_udp(f, r, true, src, dst, port, 2, 16, false);
    f[n - 1] = mark;
    rig_send_host(r, f, n);
}

static uint8_t mark_of(struct rig *r, unsigned i)
{
    uint8_t plain[512];
    struct sa_spec s = rig_spec(ESP_IN, 1, get_be32(r->out[i].p + 34), ESP_TUNNEL, OA, OB);
    struct esp_params p = {.dir = ESP_IN,
                           .mode = ESP_TUNNEL,
                           .spi = s.spi,
                           .suite = s.suite,
                           .keys = &s.keys,
                           .src = s.src,
                           .dst = s.dst};
    struct esp_sa *sa;
    assert_int_equal(esp_sa_new(&sa, &p, ESP_BACKEND_BEST), 0);
    struct esp_pkt v = {.in = r->out[i].p + 14,
                        .in_len = r->out[i].tx.len - 14,
                        .out = plain,
                        .out_room = sizeof plain,
                        .seq = r->out[i].tx.seq};
    esp_open(sa, &v, 1);
    esp_sa_free(sa);
    assert_int_equal(v.result, ESP_OK);
    return plain[v.out_len - 1];
}

static size_t held(const struct rig *r)
{
    size_t h, f;
    dp_in_use(r->dp, &h, &f);
    return h;
}

static void test_order(void **state)
{
    struct rig *r = fresh(ESP_TUNNEL);
    for (uint8_t i = 0; i < 12; i++)
        send(r, A, "10.2.0.1", 1000 + i % 3, i);
    assert_int_equal(r->acquires, 1); /* once per policy and peer */
    assert_true(ip_eq(&r->acquire_peer, &(struct ip_addr){4, {192, 0, 2, 2}}));
    assert_int_equal(held(r), 12);
    assert_int_equal(r->n_out, 0);
    struct sa *sa = add(r, ESP_TUNNEL, OB, 0x1001);
    dp_sa_ready(r->dp, r->now, sa);
    assert_int_equal(r->n_out, 12);
    for (uint8_t i = 0; i < 12; i++) {
        assert_int_equal(mark_of(r, i), i);
        assert_int_equal(r->out[i].tx.seq, i + 1);
    }
    assert_int_equal(held(r), 0);
    assert_int_equal(dp_counters(r->dp)->held_sent, 12);
    rig_free(r);
}

/* A packet that comes between the SA and the word of it does not overtake. */
static void test_no_overtaking(void **state)
{
    struct rig *r = fresh(ESP_TUNNEL);
    send(r, A, "10.2.0.1", 1, 1);
    send(r, A, "10.2.0.1", 1, 2);
    struct sa *sa = add(r, ESP_TUNNEL, OB, 0x1001);
    send(r, A, "10.2.0.1", 1, 3);
    assert_int_equal(r->n_out, 3);
    for (uint8_t i = 0; i < 3; i++)
        assert_int_equal(mark_of(r, i), i + 1);
    dp_sa_ready(r->dp, r->now, sa);
    assert_int_equal(r->n_out, 3);
    rig_free(r);
}

static void test_bounds(void **state)
{
    struct rig *r = fresh(ESP_TUNNEL);
    for (uint8_t i = 0; i < 10; i++) /* 4 a flow: the oldest goes */
        send(r, A, "10.2.0.1", 1, i);
    assert_int_equal(held(r), 4);
    assert_int_equal(rig_drop(r, DP_DROP_HOLD_FULL), 6);
    for (uint8_t i = 0; i < 30; i++) /* 16 in all */
        send(r, A, "10.2.0.1", 10 + i, 10 + i);
    assert_int_equal(held(r), 16);
    assert_int_equal(rig_drop(r, DP_DROP_HOLD_FULL), 40 - 16);
    dp_sa_ready(r->dp, r->now, add(r, ESP_TUNNEL, OB, 0x1001));
    assert_int_equal(r->n_out, 16);
    for (uint8_t i = 0; i < 16; i++)
        assert_int_equal(mark_of(r, i), 24 + i);
    rig_free(r);
}

static void test_failed_and_time(void **state)
{
    struct rig *r = fresh(ESP_TUNNEL);
    struct ip_addr peer = rig_ip(OB);
    send(r, A, "10.2.0.1", 1, 1);
    dp_acquire_failed(r->dp, r->now, r->acquire_policy, &peer);
    assert_int_equal(held(r), 0);
    assert_int_equal(rig_drop(r, DP_DROP_HOLD_FULL), 1);
    send(r, A, "10.2.0.1", 1, 2);
    assert_int_equal(r->acquires, 2); /* asked anew */
    uint64_t next = dp_tick(r->dp, r->now);
    assert_true(next > r->now && next <= r->now + 10 * SECOND);
    assert_int_equal(held(r), 1);
    r->now = next;
    assert_int_equal(dp_tick(r->dp, r->now), UINT64_MAX);
    assert_int_equal(held(r), 0);
    /* nobody answered: not asked again at once, but after a while */
    send(r, A, "10.2.0.1", 1, 3);
    assert_int_equal(r->acquires, 2);
    r->now += 60 * SECOND;
    send(r, A, "10.2.0.1", 1, 3);
    assert_int_equal(r->acquires, 3);
    rig_free(r);
}

/* Transport: one negotiation a peer, each releases its own. */
static void test_peers(void **state)
{
    struct rig *r = fresh(ESP_TRANSPORT);
    char peer[32];
    for (unsigned i = 0; i < 6; i++) {
        snprintf(peer, sizeof peer, "192.0.2.%u", 10 + i);
        send(r, OA, peer, 1, (uint8_t)i);
        send(r, OA, peer, 2, (uint8_t)i);
    }
    assert_int_equal(r->acquires, 6);
    assert_int_equal(held(r), 12);
    for (unsigned i = 0; i < 6; i++) {
        snprintf(peer, sizeof peer, "192.0.2.%u", 10 + i);
        dp_sa_ready(r->dp, r->now, add(r, ESP_TRANSPORT, peer, 0x2000 + i));
        assert_int_equal(r->n_out, 2 * i + 2);
        assert_int_equal(r->out[2 * i].p[14 + 19], 10 + i);
    }
    rig_free(r);
}

static void test_neighbour(void **state)
{
    struct rig *r = fresh(ESP_TUNNEL);
    struct ip_addr dst = rig_ip(OB);
    struct sa *sa = add(r, ESP_TUNNEL, OB, 0x1001);
    r->hop_rc = -EAGAIN;
    for (uint8_t i = 0; i < 4; i++)
        send(r, A, "10.2.0.1", 1, i);
    assert_int_equal(r->n_out, 0);
    assert_int_equal(sa->next, 1); /* no number while it waits */
    r->hop_rc = 0;
    dp_neighbour_ready(r->dp, r->now, &dst);
    assert_int_equal(r->n_out, 4);
    for (uint8_t i = 0; i < 4; i++)
        assert_int_equal(mark_of(r, i), i);
    /* no word of it: the next packet lets them go first */
    r->hop_rc = -EAGAIN;
    send(r, A, "10.2.0.1", 1, 10);
    r->hop_rc = 0;
    send(r, A, "10.2.0.1", 1, 11);
    assert_int_equal(r->n_out, 6);
    assert_int_equal(mark_of(r, 4), 10);
    r->hop_rc = -EHOSTUNREACH;
    send(r, A, "10.2.0.1", 1, 12);
    assert_int_equal(sa->drops[SA_DROP_NO_NEXT_HOP], 1);
    assert_int_equal(held(r), 0);
    rig_free(r);
}

/* The answer may come from inside acquire. */
static struct rig *now_ready;
static void at_once(void *ctx, const struct spd_policy *p, const struct spd_flow *f,
                    const struct ip_addr *peer)
{
    rig_acquire(ctx, p, f, peer);
    dp_sa_ready(now_ready->dp, now_ready->now, add(now_ready, ESP_TUNNEL, OB, 0x1001));
}

static void test_ready_inside_acquire(void **state)
{
    struct rig *r = fresh(ESP_TUNNEL);
    now_ready = r;
    r->dp->ops.acquire = at_once;
    for (uint8_t i = 0; i < 3; i++)
        send(r, A, "10.2.0.1", 1, i);
    assert_int_equal(r->n_out, 3);
    assert_int_equal(held(r), 0);
    rig_free(r);
}

/* Large packets share the same memory, and come out as they went in. */
static void test_large(void **state)
{
    static uint8_t f[70000];
    struct rig *r = fresh(ESP_TUNNEL);
    for (int i = 0; i < 4; i++) {
        size_t n = rig_udp(f, r, true, A, "10.2.0.1", 1, 2, 20000 + (size_t)i, false);
        rig_send_cut(r, f, n, 1500);
    }
    assert_int_equal(held(r), 4);
    dp_sa_ready(r->dp, r->now, add(r, ESP_TUNNEL, OB, 0x1001));
    assert_int_equal(held(r), 0);
    assert_int_equal(r->n_out, 4 * ((20008 + 1423) / 1424));
    rig_free(r);
}

/* A dead peer's packets cost those of others nothing: neither the queue nor the acquires under way
 * are walked for them. */
static void test_cost(void **state)
{
    enum { PEERS = 900 };
    struct rig *r = fresh(ESP_TRANSPORT);
    struct spd_policy p[2] = {rig_policy("t", "192.0.2.0/24", "192.0.2.0/24", SPD_PROTECT),
                              rig_policy("dead", "192.0.2.0/24", "10.0.0.0/8", SPD_PROTECT)};
    char peer[32];
    rig_load(r, p, 2);
    hold_free(r->dp->hold);
    r->dp->hold = hold_new(256, 8);
    assert_non_null(r->dp->hold);
    uint64_t steps = hold_steps(r->dp->hold);
    for (unsigned i = 0; i < PEERS; i++) {
        snprintf(peer, sizeof peer, "10.0.%u.%u", i / 100, i % 100);
        send(r, OA, peer, 1, (uint8_t)i);
    }
    assert_int_equal(r->acquires, PEERS);
    assert_int_equal(held(r), 256);
    /* about one row of a bucket for each held packet */
    assert_true(hold_steps(r->dp->hold) - steps < 2 * PEERS);
    add(r, ESP_TRANSPORT, OB, 0x1001);
    struct hold_key k = {.policy_id = spd_at(r->spd, 0)->id, .addr = rig_ip(OB)};
    assert_false(hold_has(r->dp->hold, &k));
    steps = hold_steps(r->dp->hold);
    for (unsigned i = 0; i < 100; i++)
        send(r, OA, OB, 1, 1);
    assert_int_equal(r->n_out, 100);
    assert_int_equal(dp_tick(r->dp, r->now), r->now + 10 * SECOND);
    assert_int_equal(hold_steps(r->dp->hold), steps);
    /* all room for questions is taken: no more are asked, until the time of the first is over */
    for (unsigned i = 0; i < 200; i++) {
        snprintf(peer, sizeof peer, "10.1.0.%u", i);
        send(r, OA, peer, 1, (uint8_t)i);
    }
    assert_int_equal(r->acquires, 1024);
    r->now += 30 * SECOND;
    send(r, OA, "10.1.0.199", 1, 1);
    assert_int_equal(r->acquires, 1025);
    dp_tick(r->dp, r->now);
    assert_int_equal(held(r), 1);
    rig_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_no_overtaking),
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_failed_and_time),
        cmocka_unit_test(test_peers),
        cmocka_unit_test(test_neighbour),
        cmocka_unit_test(test_ready_inside_acquire),
        cmocka_unit_test(test_large),
        cmocka_unit_test(test_cost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
