/* Reassembly: any order, holes, repeats, overlaps, bounds and time. */
#include "tests/unit/path/rig.h"

static uint8_t out[FRAME_BUF], frame[FRAME_BUF], pieces[128][2048];
static size_t piece_len[128];

static struct reasm *fresh(size_t bytes)
{
    struct reasm *r = reasm_new(bytes, 42);
    assert_non_null(r);
    return r;
}

/* A UDP packet of n octets of data, cut at mtu; returns the number of pieces. */
static unsigned cut(bool v6, size_t n, size_t mtu, uint32_t id, size_t *len)
{
    struct rig r = {.port.mac = {2, 0, 0, 0, 0, 1}};
    struct pkt p;
    struct frag f;
    unsigned k = 0;
    *len = rig_udp(frame, &r, true, v6 ? "fd01::1" : "10.1.0.1", v6 ? "fd02::1" : "10.2.0.1", 1, 2,
                   n, false);
    assert_true(pkt_parse(&p, frame, *len));
    assert_true(frag_begin(&f, p.ip, &p.i, mtu, id, false));
    for (size_t m; (m = frag_next(&f, pieces[k] + ETH_HDR)) != 0; k++) {
        assert_true(m <= mtu);
        memcpy(pieces[k], frame, ETH_HDR);
        piece_len[k] = ETH_HDR + m;
    }
    return k;
}

static enum reasm_verdict feed(struct reasm *r, uint64_t now, unsigned k, struct pkt *whole,
                               uint64_t *lost)
{
    struct pkt p;
    assert_true(pkt_parse(&p, pieces[k], piece_len[k]));
    assert_true(p.i.frag != IP_WHOLE);
    return reasm_add(r, now, (struct reasm_space){.dir = ESP_OUT}, &p, out, whole, lost);
}

static void is_whole(const struct pkt *w, size_t len, bool v6)
{
    size_t hdr = ETH_HDR + (v6 ? 40 : 20);
    assert_int_equal(pkt_frame_len(w), len);
    assert_memory_equal(out + hdr, frame + hdr, len - hdr);
    if (v6)
        assert_memory_equal(out, frame, hdr);
    else
        assert_int_equal(ip_sum_fold(ip_sum(w->ip, 20, 0)), 0);
}

static void test_orders(void **state)
{
    struct reasm *r = fresh(256 * 1024);
    struct pkt w;
    uint64_t lost = 0;
    uint32_t rnd = 1;
    for (unsigned round = 0; round < 400; round++) {
        bool v6 = round & 1;
        size_t len;
        unsigned k = cut(v6, 2000 + round * 17, 576 + round % 900, round, &len), order[128];
        for (unsigned i = 0; i < k; i++)
            order[i] = i;
        for (unsigned i = k - 1; i > 0; i--) {
            rnd = rnd * 1103515245u + 12345u;
            unsigned j = (rnd >> 16) % (i + 1), t = order[i];
            order[i] = order[j];
            order[j] = t;
        }
        for (unsigned i = 0; i < k; i++) {
            if (i) /* an exact repeat does nothing */
                assert_int_equal(feed(r, 0, order[i - 1], &w, &lost), REASM_KEPT);
            enum reasm_verdict v = feed(r, 0, order[i], &w, &lost);
            assert_int_equal(v, i + 1 == k ? REASM_WHOLE : REASM_KEPT);
        }
        is_whole(&w, len, v6);
        assert_int_equal(w.frag_id, round);
        assert_int_equal(reasm_count(r), 0);
    }
    assert_int_equal(lost, 0);
    reasm_free(r);
}

static void test_holes_and_time(void **state)
{
    struct reasm *r = fresh(256 * 1024);
    struct pkt w;
    uint64_t lost = 0;
    size_t len;
    unsigned k = cut(false, 5000, 1500, 5, &len);
    for (unsigned i = 0; i < k; i++)
        if (i != 1)
            assert_int_equal(feed(r, 7 * SECOND, i, &w, &lost), REASM_KEPT);
    assert_int_equal(reasm_count(r), k - 1);
    assert_int_equal(reasm_age(r, 36 * SECOND, &lost), 37 * SECOND);
    assert_int_equal(lost, 0);
    assert_int_equal(reasm_age(r, 37 * SECOND, &lost), UINT64_MAX);
    assert_int_equal(lost, k - 1);
    assert_int_equal(reasm_count(r), 0);
    /* too late: the missing one begins a new datagram */
    assert_int_equal(feed(r, 38 * SECOND, 1, &w, &lost), REASM_KEPT);
    assert_int_equal(reasm_count(r), 1);
    reasm_free(r);
}

static void test_overlaps(void **state)
{
    struct pkt w;
    size_t len;
    for (int v6 = 0; v6 < 2; v6++) {
        struct reasm *r = fresh(256 * 1024);
        uint64_t lost = 0;
        size_t off = ETH_HDR + (v6 ? 42 : 6); /* the offset's field */
        cut(v6, 4000, 1000, 5, &len);
        assert_int_equal(feed(r, 0, 0, &w, &lost), REASM_KEPT);
        assert_int_equal(feed(r, 0, 2, &w, &lost), REASM_KEPT);
        /* the second begins 8 octets early */
        uint16_t was = get_be16(pieces[1] + off);
        put_be16(pieces[1] + off, (uint16_t)(was - (v6 ? 8 : 1)));
        if (!v6)
            ip4_fix_checksum(pieces[1] + ETH_HDR, 20);
        assert_int_equal(feed(r, 0, 1, &w, &lost), REASM_DROPPED);
        assert_int_equal(lost, 3);
        assert_int_equal(reasm_count(r), 0);
        reasm_free(r);
    }
}

static void test_ends(void **state)
{
    struct reasm *r = fresh(256 * 1024);
    struct pkt w;
    uint64_t lost = 0;
    size_t len;
    unsigned k = cut(false, 4000, 1000, 5, &len);
    /* a second end before the first */
    feed(r, 0, k - 1, &w, &lost);
    put_be16(pieces[1] + ETH_HDR + 6, get_be16(pieces[1] + ETH_HDR + 6) & 0x1fff);
    assert_int_equal(feed(r, 0, 1, &w, &lost), REASM_DROPPED);
    /* beyond 65535 */
    k = cut(false, 4000, 1000, 6, &len);
    put_be16(pieces[k - 1] + ETH_HDR + 6, 0x1fff);
    assert_int_equal(feed(r, 0, k - 1, &w, &lost), REASM_DROPPED);
    /* not a multiple of 8, and more to come */
    put_be16(pieces[0] + ETH_HDR + 2, get_be16(pieces[0] + ETH_HDR + 2) - 1);
    assert_int_equal(feed(r, 0, 0, &w, &lost), REASM_DROPPED);
    assert_int_equal(reasm_count(r), 0);
    reasm_free(r);
}

/* A flood of first fragments takes its bound and no more; the oldest go, and are counted. */
static void test_bounds(void **state)
{
    struct reasm *r = fresh(64 * CHUNK);
    struct pkt w;
    uint64_t lost = 0, sent = 0;
    size_t len;
    for (uint32_t id = 0; id < 1000; id++) {
        cut(id & 1, 3000, 1500, id, &len);
        assert_int_equal(feed(r, id, 0, &w, &lost), REASM_KEPT);
        sent++;
        assert_int_equal(reasm_count(r) + lost, sent);
        assert_true(reasm_count(r) <= 64);
    }
    /* the newest is still there */
    assert_int_equal(feed(r, 1000, 1, &w, &lost), REASM_KEPT);
    assert_int_equal(feed(r, 1000, 2, &w, &lost), REASM_WHOLE);
    is_whole(&w, len, true);
    reasm_free(r);
}

/* Equal keys in different spaces stay apart: nothing from outside meets what an SA brought. */
static void test_spaces(void **state)
{
    struct reasm *r = fresh(256 * 1024);
    struct pkt p, w;
    uint64_t lost = 0;
    size_t len;
    cut(false, 1600, 1500, 5, &len);
    for (unsigned s = 0; s < 3; s++) {
        struct reasm_space space = {.cookie = s / 2 * 9, .dir = s == 0 ? ESP_OUT : ESP_IN};
        assert_true(pkt_parse(&p, pieces[0], piece_len[0]));
        assert_int_equal(reasm_add(r, 0, space, &p, out, &w, &lost), REASM_KEPT);
    }
    assert_int_equal(reasm_count(r), 3);
    reasm_free(r);
}

/* A flood from the wire does not end what the host is sending. */
static void test_flood(void **state)
{
    struct rig *r = rig_new(1);
    struct spd_policy pass = rig_policy("p", "any", "any", SPD_PASS);
    size_t len, held, kept;
    rig_load(r, &pass, 1);
    cut(false, 1600, 1500, 5, &len);
    rig_send_host(r, pieces[0], piece_len[0]);
    uint8_t last[2048];
    size_t last_len = piece_len[1];
    memcpy(last, pieces[1], last_len);
    for (uint32_t id = 0; id < 3000; id++) {
        cut(id & 1, 3000, 1500, 100 + id, &len);
        memcpy(pieces[0], r->port.mac, 6);
        rig_send_wire(r, pieces[0], piece_len[0]);
    }
    dp_in_use(r->dp, &held, &kept);
    assert_true(kept > 50 && kept < 300);
    assert_int_equal(rig_drop(r, DP_DROP_REASSEMBLY), 3001 - kept);
    assert_int_equal(r->n_out, 0);
    rig_send_host(r, last, last_len);
    assert_int_equal(r->n_out, 2);
    rig_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_orders),   cmocka_unit_test(test_holes_and_time),
        cmocka_unit_test(test_overlaps), cmocka_unit_test(test_ends),
        cmocka_unit_test(test_bounds),   cmocka_unit_test(test_spaces),
        cmocka_unit_test(test_flood),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
