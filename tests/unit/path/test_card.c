/* What the card is given, what comes back from it, and what happens when it refuses. */
#include "tests/unit/path/rig.h"

#define A  "10.1.0.1"
#define B  "10.2.0.1"
#define OA "192.0.2.1"
#define OB "192.0.2.2"

static struct rig *with_sa(enum esp_mode mode, struct sa **out, struct sa **in)
{
    struct rig *r = rig_new(1);
    struct spd_policy p = mode == ESP_TUNNEL ? rig_tunnel("t", "10.1.0.0/16", "10.2.0.0/16", OA, OB)
                                             : rig_policy("t", OA, OB, SPD_PROTECT);
    rig_load(r, &p, 1);
    uint32_t id = spd_at(r->spd, 0)->id;
    struct sa_spec s = rig_spec(ESP_OUT, id, 0x1001, mode, OA, OB);
    struct sa_spec t = rig_spec(ESP_IN, id, 0x1002, mode, OB, OA);
    *out = rig_sa(r, &s);
    *in = rig_sa(r, &t);
    (*out)->place = (*in)->place = PLACE_CARD;
    (*out)->card = (*in)->card = 2;
    (*out)->handle = 0x01000005;
    r->port.card = true;
    r->port.card_index = 2;
    r->local[0] = rig_ip(OA);
    return r;
}

static void test_descriptor_tunnel(void **state)
{
    struct sa *out, *in;
    struct rig *r = with_sa(ESP_TUNNEL, &out, &in);
    uint8_t f[2048], big[2048];
    size_t n = rig_udp(f, r, true, A, B, 1, 2, 100, false);
    rig_send_host(r, f, n);
    /* a shape that the card is not asked to do goes by software, same ring, next number */
    size_t m = rig_udp(big, r, true, A, B, 1, 2, 1472, false);
    rig_send_host(r, big, m);
    rig_send_host(r, f, n);
    assert_int_equal(r->n_out, 4);
    const struct rig_frame *x = &r->out[0];
    assert_int_equal(x->tx.op, DP_PROTECT);
    assert_int_equal(x->tx.handle, 0x01000005);
    assert_int_equal(x->tx.seq, 1);
    assert_int_equal(x->tx.cookie, out->cookie);
    assert_int_equal(x->tx.len, n);
    assert_int_equal(x->tx.l2_len, 14);
    assert_int_equal(x->tx.l3_len, 20);
    assert_false(x->tx.retried);
    assert_memory_equal(x->p, r->hop_mac, 6); /* the next hop of the far end, not the host's */
    assert_memory_equal(x->p + 6, r->port.mac, 6);
    assert_int_equal(get_be16(x->p + 12), ETH_IP4);
    assert_memory_equal(x->p + 14, f + 14, n - 14);
    assert_true(ip_eq(&r->hop_dst, &out->spec.dst));
    for (unsigned i = 1; i < 3; i++) {
        assert_int_equal(r->out[i].tx.op, DP_RAW);
        assert_int_equal(get_be32(r->out[i].p + 14 + 20 + 4), i + 1);
    }
    assert_int_equal(r->out[3].tx.op, DP_PROTECT);
    assert_int_equal(r->out[3].tx.seq, 4);
    assert_int_equal(out->packets[PATH_CARD], 2);
    assert_int_equal(out->packets[PATH_SOFTWARE], 2);
    rig_free(r);
}

static void test_descriptor_transport(void **state)
{
    struct sa *out, *in;
    struct rig *r = with_sa(ESP_TRANSPORT, &out, &in);
    uint8_t f[2048];
    size_t n = rig_udp(f, r, true, OA, OB, 1, 2, 100, false);
    rig_send_host(r, f, n);
    assert_int_equal(r->n_out, 1);
    assert_int_equal(r->out[0].tx.op, DP_PROTECT);
    assert_int_equal(r->out[0].tx.len, n);
    assert_memory_equal(r->out[0].p, f, n); /* the frame as it is */
    /* another card's SA is software here */
    out->card = 1;
    rig_send_host(r, f, n);
    assert_int_equal(r->out[1].tx.op, DP_RAW);
    rig_free(r);
}

static void test_options_by_software(void **state)
{
    struct sa *out, *in;
    struct rig *r = with_sa(ESP_TUNNEL, &out, &in);
    uint8_t f[2048], g[2048];
    size_t n = rig_udp(f, r, true, A, B, 1, 2, 100, false);
    memcpy(g, f, 34);
    memset(g + 34, 1, 4); /* four no-ops */
    memcpy(g + 38, f + 34, n - 34);
    g[14] = 0x46;
    put_be16(g + 16, (uint16_t)(n + 4 - 14));
    ip4_fix_checksum(g + 14, 24);
    rig_send_host(r, g, n + 4);
    assert_int_equal(r->n_out, 1);
    assert_int_equal(r->out[0].tx.op, DP_RAW);
    rig_free(r);
}

static void test_unsent_goes_again(void **state)
{
    struct sa *out, *in;
    struct rig *r = with_sa(ESP_TUNNEL, &out, &in);
    uint8_t f[2048];
    size_t n = rig_udp(f, r, true, A, B, 1, 2, 100, false);
    rig_send_host(r, f, n);
    rig_send_host(r, f, n);
    dp_tx_done(r->dp, r->now, &r->out[0].tx, r->out[0].p, DP_UNSENT, "SA_GONE");
    assert_int_equal(r->failed, 1);
    assert_string_equal(r->why, "SA_GONE");
    assert_int_equal(r->n_out, 3);
    const struct rig_frame *x = &r->out[2];
    assert_int_equal(x->tx.op, DP_RAW);
    assert_true(x->tx.retried);
    assert_int_equal(x->tx.seq, 3); /* 1 and 2 are spent */
    assert_int_equal(get_be32(x->p + 14 + 20 + 4), 3);
    assert_memory_equal(x->p, r->hop_mac, 6);
    assert_int_equal(out->packets[PATH_CARD], 1);
    assert_int_equal(out->packets[PATH_SOFTWARE], 1);
    assert_int_equal(dp_counters(r->dp)->retried, 1);
    /* once only */
    dp_tx_done(r->dp, r->now, &x->tx, x->p, DP_UNSENT, "FLUSHED");
    assert_int_equal(r->n_out, 3);
    assert_int_equal(out->drops[SA_DROP_NO_WIRE], 1);
    /* what may have left is never sent again */
    dp_tx_done(r->dp, r->now, &r->out[1].tx, r->out[1].p, DP_MAYBE_SENT, "DMA_FAULT");
    assert_int_equal(r->n_out, 3);
    assert_int_equal(out->drops[SA_DROP_LOST_IN_CARD], 1);
    assert_int_equal(out->next, 4);
    rig_free(r);
}

static void lose(struct rig *r, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        dp_tx_done(r->dp, r->now, &r->out[i].tx, r->out[i].p, DP_MAYBE_SENT, DP_RING_LOST);
}

/* A ring that dies once takes no SA out of the card; the one that is in it when it dies again is.
 */
static void test_ring_lost(void **state)
{
    struct sa *out, *in;
    struct rig *r = with_sa(ESP_TUNNEL, &out, &in);
    uint8_t f[2048];
    size_t n = rig_udp(f, r, true, A, B, 1, 2, 100, false);
    for (int i = 0; i < 3; i++)
        rig_send_host(r, f, n);
    lose(r, 3);
    r->now += MILLISECOND; /* told in two bursts */
    lose(r, 3);
    assert_int_equal(r->failed, 0);
    r->now += 11 * SECOND;
    lose(r, 1);
    assert_int_equal(r->failed, 0);
    r->now += 9 * SECOND;
    lose(r, 1);
    assert_int_equal(r->failed, 1);
    assert_string_equal(r->why, "the ring was lost");
    /* in software: what else the ring held says nothing of the card */
    out->place = PLACE_SOFTWARE;
    r->now += SECOND;
    lose(r, 1);
    assert_int_equal(r->failed, 1);
    /* ESP made here is not the card's to fail */
    out->place = PLACE_CARD;
    r->out[0].tx.op = DP_RAW;
    lose(r, 1);
    assert_int_equal(r->failed, 1);
    assert_int_equal(out->drops[SA_DROP_LOST_IN_CARD], 10);
    rig_free(r);
}

static void test_unsent_of_others(void **state)
{
    struct sa *out, *in;
    struct rig *r = with_sa(ESP_TUNNEL, &out, &in);
    uint8_t f[2048];
    size_t n = rig_udp(f, r, true, A, B, 1, 2, 100, false);
    rig_send_host(r, f, n);
    struct dp_tx tx = r->out[0].tx;
    /* the SA was deleted meanwhile */
    sad_delete(r->sad, out);
    dp_tx_done(r->dp, r->now, &tx, r->out[0].p, DP_UNSENT, "FLUSHED");
    assert_int_equal(r->n_out, 1);
    assert_int_equal(rig_drop(r, DP_DROP_NO_WIRE), 1);
    /* IKE is sent again as it is, once */
    n = rig_udp(f, r, true, OA, OB, 500, 500, 60, false);
    rig_send_host(r, f, n);
    assert_int_equal(r->out[1].tx.op, DP_RAW);
    dp_tx_done(r->dp, r->now, &r->out[1].tx, r->out[1].p, DP_UNSENT, "FLUSHED");
    assert_int_equal(r->n_out, 3);
    assert_memory_equal(r->out[2].p, f, n);
    dp_tx_done(r->dp, r->now, &r->out[2].tx, r->out[2].p, DP_UNSENT, "FLUSHED");
    assert_int_equal(r->n_out, 3);
    /* clear frames too, but only while policy still lets them */
    struct spd_policy p[2] = {rig_policy("p", "10.7.0.0/16", "any", SPD_PASS)};
    rig_load(r, p, 1);
    n = rig_udp(f, r, true, "10.7.0.1", B, 1, 2, 60, false);
    rig_send_host(r, f, n);
    assert_int_equal(r->n_out, 4);
    dp_tx_done(r->dp, r->now, &r->out[3].tx, r->out[3].p, DP_UNSENT, "FLUSHED");
    assert_int_equal(r->n_out, 5);
    p[0].action = SPD_PROTECT;
    rig_load(r, p, 1);
    dp_tx_done(r->dp, r->now, &r->out[3].tx, r->out[3].p, DP_UNSENT, "FLUSHED");
    assert_int_equal(r->n_out, 5);
    rig_free(r);
}

/* A completion that comes before send returns. */
static int refuse(void *ctx, struct dp_buf *b, const struct dp_tx *tx)
{
    struct rig *r = ctx;
    if (tx->op != DP_PROTECT)
        return rig_send(ctx, b, tx);
    r->given++;
    dp_tx_done(r->dp, r->now, tx, b->p, DP_UNSENT, "SA_STOPPED");
    free(b->p);
    return 0;
}

static void test_refused_inside_send(void **state)
{
    struct sa *out, *in;
    struct rig *r = with_sa(ESP_TUNNEL, &out, &in);
    uint8_t f[2048];
    r->port.send = refuse;
    size_t n = rig_udp(f, r, true, A, B, 1, 2, 100, false);
    for (int i = 0; i < 10; i++)
        rig_send_host(r, f, n);
    assert_int_equal(r->n_out, 10);
    for (unsigned i = 0; i < 10; i++)
        assert_int_equal(r->out[i].tx.seq, 2 * i + 2);
    assert_int_equal(out->packets[PATH_CARD], 0);
    assert_int_equal(out->packets[PATH_SOFTWARE], 10);
    rig_free(r);
}

static void give(struct rig *r, struct sa *sa, uint64_t seq, const uint8_t *f, size_t n,
                 uint8_t tos)
{
    struct dp_rx rx = {
        .kind = DP_RX_PROTECTED, .sa = sa, .seq = seq, .frame = f, .len = n, .outer_tos = tos};
    dp_from_port(r->dp, r->now, &rx);
}

static void test_protected_in(void **state)
{
    struct sa *out, *in;
    struct rig *r = with_sa(ESP_TUNNEL, &out, &in);
    uint8_t f[2048];
    size_t n = rig_udp(f, r, false, B, A, 1, 2, 100, false);
    give(r, in, 1, f, n, 0);
    give(r, in, 1, f, n, 0);
    give(r, in, 5000, f, n, 0);
    give(r, in, 3000, f, n, 0);
    give(r, in, UINT64_C(1) << 32, f, n, 0);
    assert_int_equal(r->n_tap, 2);
    assert_memory_equal(r->tap[0].p, f, n);
    assert_int_equal(in->drops[SA_DROP_REPLAY], 1);
    assert_int_equal(in->drops[SA_DROP_LATE], 1);
    assert_int_equal(in->packets[PATH_CARD], 2);
    /* selectors are judged again */
    n = rig_udp(f, r, false, "10.3.0.1", A, 1, 2, 100, false);
    give(r, in, 5001, f, n, 0);
    assert_int_equal(in->drops[SA_DROP_SELECTOR], 1);
    /* congestion outside, not ECN-capable inside */
    n = rig_udp(f, r, false, B, A, 1, 2, 100, false);
    give(r, in, 5002, f, n, 3);
    assert_int_equal(in->drops[SA_DROP_ECN], 1);
    f[15] = 2;
    ip4_fix_checksum(f + 14, 20);
    give(r, in, 5003, f, n, 3);
    assert_int_equal(r->n_tap, 3);
    assert_int_equal(r->tap[2].p[15], 3);
    assert_int_equal(ip_sum_fold(ip_sum(r->tap[2].p + 14, 20, 0)), 0);
    give(r, NULL, 1, f, n, 0);
    assert_int_equal(rig_drop(r, DP_DROP_MALFORMED), 1);
    assert_int_equal(rig_drop(r, DP_DROP_SA_GONE), 1);
    rig_free(r);
}

/* One window for both paths: what the card delivered software does not deliver again. */
static void test_one_window(void **state)
{
    struct sa *out, *in;
    struct rig *r = with_sa(ESP_TUNNEL, &out, &in);
    uint8_t f[2048], w[2048];
    size_t n = rig_udp(f, r, false, B, A, 1, 2, 100, false);
    struct sa_spec s = rig_spec(ESP_OUT, 99, 0x1002, ESP_TUNNEL, OB, OA);
    struct sa *peer = rig_sa(r, &s);
    struct esp_pkt v = {.in = f + 14, .in_len = n - 14, .out = w + 14, .out_room = 2000, .seq = 7};
    esp_protect(peer->esp, &v, 1);
    memcpy(w, f, 14);
    give(r, in, 7, f, n, 0);
    rig_send_wire(r, w, 14 + v.out_len);
    assert_int_equal(r->n_tap, 1);
    assert_int_equal(in->drops[SA_DROP_REPLAY], 1);
    /* handed up raw by a card that has the SA: software opens it, placement is told */
    v.seq = 8;
    esp_protect(peer->esp, &v, 1);
    struct dp_rx rx = {.kind = DP_RX_WIRE, .raw_reason = "ICV", .frame = w, .len = 14 + v.out_len};
    r->now += SECOND;
    dp_from_port(r->dp, r->now, &rx);
    assert_int_equal(r->n_tap, 2);
    assert_int_equal(r->failed, 1);
    assert_int_equal(in->packets[PATH_SOFTWARE], 1);
    assert_int_equal(dp_counters(r->dp)->raw_from_card, 1);
    rig_free(r);
}

static void test_no_buffer_no_wire(void **state)
{
    struct sa *out, *in;
    struct rig *r = with_sa(ESP_TUNNEL, &out, &in);
    uint8_t f[2048];
    size_t n = rig_udp(f, r, true, A, B, 1, 2, 100, false);
    r->get_rc = -ENOBUFS;
    rig_send_host(r, f, n);
    r->get_rc = -ENODEV;
    rig_send_host(r, f, n);
    assert_int_equal(out->next, 1); /* a refused packet takes no number */
    r->get_rc = 0;
    r->send_rc = -ENODEV;
    rig_send_host(r, f, n);
    assert_int_equal(out->next, 2); /* a taken one is spent */
    dp_set_port(r->dp, NULL);
    rig_send_host(r, f, n);
    assert_int_equal(out->drops[SA_DROP_NO_BUFFER], 1);
    assert_int_equal(out->drops[SA_DROP_NO_WIRE], 3);
    assert_int_equal(out->packets[PATH_CARD], 0);
    rig_free(r);
}

static void test_lifetimes(void **state)
{
    struct sa *out, *in;
    struct rig *r = with_sa(ESP_TUNNEL, &out, &in);
    uint8_t f[2048];
    size_t n = rig_udp(f, r, true, A, B, 1, 2, 100, false);
    out->spec.soft.packets = 3;
    out->spec.hard.packets = 5;
    for (int i = 0; i < 10; i++)
        rig_send_host(r, f, n);
    assert_int_equal(r->n_out, 5);
    assert_int_equal(out->drops[SA_DROP_LIFETIME], 5);
    assert_int_equal(r->lives, 2);
    assert_int_equal(r->life, LIFE_HARD);
    /* the end of the numbers */
    out->spec.hard.packets = 0;
    out->next = UINT32_MAX;
    rig_send_host(r, f, n);
    rig_send_host(r, f, n);
    assert_int_equal(r->n_out, 6);
    assert_int_equal(r->out[5].tx.seq, UINT32_MAX);
    assert_int_equal(out->drops[SA_DROP_EXHAUSTED], 1);
    rig_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_descriptor_tunnel),   cmocka_unit_test(test_descriptor_transport),
        cmocka_unit_test(test_options_by_software), cmocka_unit_test(test_unsent_goes_again),
        cmocka_unit_test(test_unsent_of_others),    cmocka_unit_test(test_refused_inside_send),
        cmocka_unit_test(test_protected_in),        cmocka_unit_test(test_one_window),
        cmocka_unit_test(test_ring_lost),           cmocka_unit_test(test_no_buffer_no_wire),
        cmocka_unit_test(test_lifetimes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
