/* Both back ends make the same octets and open each other's; the IV is the one written down; a
 * packet costs no allocation. */
#include "tests/unit/esp/esp_fixture.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <pthread.h>

static _Atomic unsigned long allocations;

static void *count_malloc(size_t n, const char *file, int line)
{
    allocations++;
    return malloc(n);
}

static void *count_realloc(void *p, size_t n, const char *file, int line)
{
    allocations++;
    return realloc(p, n);
}

static void count_free(void *p, const char *file, int line)
{
    free(p);
}

static void equal_bytes(void **state)
{
    struct combo c;
    if (!backend_there(ESP_BACKEND_IPSEC_MB))
        skip();
    for (unsigned i = 0; combo_at(i, &c); i++) {
        if (c.backend != ESP_BACKEND_OPENSSL)
            continue;
        struct esp_sa *a = fix_sa(&c, ESP_OUT), *a_in = fix_sa(&c, ESP_IN);
        c.backend = ESP_BACKEND_IPSEC_MB;
        struct esp_sa *b = fix_sa(&c, ESP_OUT), *b_in = fix_sa(&c, ESP_IN);
        for (size_t len = 40; len < 1500; len += len < 200 ? 1 : 61) {
            uint8_t inner[FIX_ROOM], x[FIX_ROOM], y[FIX_ROOM], back[FIX_ROOM];
            size_t n, m;
            uint64_t seq = len + (c.esn ? 0x700000000 : 0);
            fix_packet(inner, c.inner, len);
            assert_int_equal(run_protect(a, inner, len, seq, x, &n), ESP_OK);
            assert_int_equal(run_protect(b, inner, len, seq, y, &m), ESP_OK);
            assert_int_equal(n, m);
            assert_memory_equal(x, y, n);
            assert_int_equal(run_open(b_in, x, n, seq, back, &m), ESP_OK);
            assert_memory_equal(back, inner, len);
            assert_int_equal(run_open(a_in, y, n, seq, back, &m), ESP_OK);
            assert_memory_equal(back, inner, len);
        }
        esp_sa_free(a);
        esp_sa_free(a_in);
        esp_sa_free(b);
        esp_sa_free(b_in);
    }
}

static void ecb(const uint8_t key[16], const uint8_t in[16], uint8_t out[16])
{
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    int n;
    assert_non_null(ctx);
    assert_int_equal(EVP_EncryptInit_ex(ctx, EVP_aes_128_ecb(), NULL, key, NULL), 1);
    assert_int_equal(EVP_CIPHER_CTX_set_padding(ctx, 0), 1);
    assert_int_equal(EVP_EncryptUpdate(ctx, out, &n, in, 16), 1);
    EVP_CIPHER_CTX_free(ctx);
}

static void iv_is_the_contracts(void **state)
{
    struct combo c;
    for (unsigned i = 0; combo_at(i, &c); i++) {
        if (!backend_there(c.backend) || !c.esn)
            continue;
        const uint64_t seq = 0x0000002a00000017;
        struct esp_sa *sa = fix_sa(&c, ESP_OUT);
        uint8_t inner[200], wire[FIX_ROOM], want[16], block[16] = {0};
        struct esp_keys keys;
        size_t n, iv_off = (c.outer == 4 ? 20u : 40u) + (c.udp ? 8 : 0) + 8;
        fix_keys(&keys, c.suite);
        fix_packet(inner, c.inner, 100);
        assert_int_equal(run_protect(sa, inner, 100, seq, wire, &n), ESP_OK);
        put_be64(block + 8, seq);
        if (c.suite->aead)
            put_be64(want, seq ^ 0x0102030405060708);
        else
            ecb(keys.iv_key, block, want);
        assert_memory_equal(wire + iv_off, want, c.suite->iv_len);
        esp_sa_free(sa);
    }
}

static void iv_may_be_given(void **state)
{
    static const uint8_t iv[16] = {9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 1, 2, 3, 4, 5, 6};
    struct combo c;
    for (unsigned i = 0; combo_at(i, &c); i++) {
        if (!backend_there(c.backend))
            continue;
        struct esp_sa *sa = fix_sa(&c, ESP_OUT), *in = fix_sa(&c, ESP_IN);
        uint8_t inner[200], wire[FIX_ROOM], back[FIX_ROOM];
        size_t n, iv_off = (c.outer == 4 ? 20u : 40u) + (c.udp ? 8 : 0) + 8;
        fix_packet(inner, c.inner, 100);
        struct esp_pkt p = {
            .in = inner, .in_len = 100, .out = wire, .out_room = FIX_ROOM, .seq = 1};
        esp_protect_iv(sa, &p, iv);
        assert_int_equal(p.result, ESP_OK);
        assert_memory_equal(wire + iv_off, iv, c.suite->iv_len);
        assert_int_equal(run_open(in, wire, p.out_len, 1, back, &n), ESP_OK);
        assert_memory_equal(back, inner, 100);
        esp_sa_free(sa);
        esp_sa_free(in);
    }
}

static void no_allocation_per_packet(void **state)
{
    struct combo c;
    for (unsigned i = 0; combo_at(i, &c); i++) {
        if (!backend_there(c.backend))
            continue;
        struct esp_sa *out = fix_sa(&c, ESP_OUT), *in = fix_sa(&c, ESP_IN);
        uint8_t inner[200], wire[FIX_ROOM], back[FIX_ROOM];
        size_t n, m;
        fix_packet(inner, c.inner, 100);
        for (uint64_t seq = 1; seq < 5; seq++) {
            unsigned long was = allocations;
            assert_int_equal(run_protect(out, inner, 100, seq, wire, &n), ESP_OK);
            assert_int_equal(run_open(in, wire, n, seq, back, &m), ESP_OK);
            wire[n - 1] ^= 1;
            assert_int_equal(run_open(in, wire, n, seq, back, &m), ESP_BAD_ICV);
            if (seq > 1)
                assert_int_equal(allocations, was);
        }
        esp_sa_free(out);
        esp_sa_free(in);
    }
}

static void *round_trips(void *arg)
{
    const struct combo *c = arg;
    struct esp_sa *out = fix_sa(c, ESP_OUT), *in = fix_sa(c, ESP_IN);
    uint8_t inner[200], wire[FIX_ROOM], back[FIX_ROOM];
    size_t n, m;
    bool good = true;
    fix_packet(inner, c->inner, 100);
    for (uint64_t seq = 1; seq < 200; seq++) {
        good &= run_protect(out, inner, 100, seq, wire, &n) == ESP_OK;
        good &= run_open(in, wire, n, seq, back, &m) == ESP_OK;
        good &= m == 100 && memcmp(back, inner, 100) == 0;
    }
    esp_sa_free(out);
    esp_sa_free(in);
    return good ? arg : NULL;
}

/* Several SAs in several threads at once, each thread with what its library needs of its own. */
static void threads_do_not_meet(void **state)
{
    enum { THREADS = 4 };
    struct combo c;
    for (unsigned i = 0; combo_at(i, &c); i += 6) {
        pthread_t t[THREADS];
        void *good;
        if (!backend_there(c.backend))
            continue;
        for (unsigned k = 0; k < THREADS; k++)
            assert_int_equal(pthread_create(&t[k], NULL, round_trips, &c), 0);
        for (unsigned k = 0; k < THREADS; k++) {
            assert_int_equal(pthread_join(t[k], &good), 0);
            assert_ptr_equal(good, &c);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equal_bytes),         cmocka_unit_test(iv_is_the_contracts),
        cmocka_unit_test(iv_may_be_given),     cmocka_unit_test(no_allocation_per_packet),
        cmocka_unit_test(threads_do_not_meet),
    };
    if (CRYPTO_set_mem_functions(count_malloc, count_realloc, count_free) != 1)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
