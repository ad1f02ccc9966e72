#include "tests/unit/esp/esp_fixture.h"

#include <errno.h>

static void table_is_whole(void **state)
{
    unsigned n = 0;
    for (const struct esp_suite *s; (s = esp_suite_at(n)); n++) {
        assert_ptr_equal(esp_suite_by_name(s->name), s);
        assert_ptr_equal(esp_suite_by_id(s->encr_id, s->integ_id, s->encr_len), s);
        assert_true(s->encr_len <= 32 && s->integ_len <= 64 && s->salt_len <= 4);
        assert_true(s->pad_to == 4 || s->pad_to == 16);
        assert_int_equal(s->aead, s->integ_len == 0);
    }
    assert_int_equal(n, 4);
    assert_null(esp_suite_at(n));
    assert_null(esp_suite_by_name("ESP_NULL"));
    assert_null(esp_suite_by_name("ESP_AES128_GCM1"));
    assert_null(esp_suite_by_id(12, 0, 16)); /* encryption without integrity */
    assert_null(esp_suite_by_id(20, 0, 24));
}

static void refusals_name_their_reason(void **state)
{
    for (unsigned i = 0; esp_suite_at(i); i++)
        assert_null(esp_suite_refusal(esp_suite_at(i)->encr_id, esp_suite_at(i)->integ_id));
    assert_string_equal(esp_suite_refusal(12, 0), "encryption without integrity");
    assert_string_equal(esp_suite_refusal(11, 0), "encryption without integrity");
    assert_non_null(esp_suite_refusal(3, 12)); /* 3DES */
    assert_non_null(esp_suite_refusal(18, 0)); /* 8-octet tag */
    assert_non_null(esp_suite_refusal(12, 1)); /* HMAC-MD5 */
    assert_null(esp_suite_refusal(11, 12));    /* NULL with integrity */
    assert_null(esp_suite_refusal(28, 0));     /* ChaCha20-Poly1305 */
}

static void every_result_has_a_text(void **state)
{
    for (unsigned i = 0; i < ESP_RESULTS; i++)
        for (unsigned j = 0; j < i; j++)
            assert_string_not_equal(esp_result_text(i), esp_result_text(j));
    assert_non_null(esp_result_text((enum esp_result)99));
    assert_true(esp_result_verified(ESP_DUMMY));
    assert_false(esp_result_verified(ESP_BAD_ICV));
    assert_false(esp_result_verified(ESP_BAD_NUMBER));
}

static void backend_is_named(void **state)
{
    struct combo c;
    assert_true(combo_at(0, &c));
    struct esp_sa *sa = fix_sa(&c, ESP_OUT);
    assert_string_equal(esp_sa_backend(sa), "openssl");
    esp_sa_free(sa);
    c.backend = ESP_BACKEND_BEST;
    sa = fix_sa(&c, ESP_OUT);
    assert_string_equal(esp_sa_backend(sa),
                        backend_there(ESP_BACKEND_IPSEC_MB) ? "ipsec-mb" : "openssl");
    esp_sa_free(sa);
    esp_sa_free(NULL);
}

static int try_params(const struct esp_params *p)
{
    struct esp_sa *sa = NULL;
    int rc = esp_sa_new(&sa, p, ESP_BACKEND_OPENSSL);
    esp_sa_free(sa);
    return rc;
}

static void unfit_parameters_are_refused(void **state)
{
    struct combo c;
    struct esp_keys keys;
    combo_at(0, &c);
    const struct esp_params good = fix_params(&c, ESP_OUT, &keys);
    assert_int_equal(try_params(&good), 0);
#define BAD(change)                                                                                \
    do {                                                                                           \
        struct esp_params p = good;                                                                \
        change;                                                                                    \
        assert_int_equal(try_params(&p), -EINVAL);                                                 \
    } while (0)
    BAD(p.dir = 0);
    BAD(p.mode = 3);
    BAD(p.encap = 3);
    BAD(p.encap = ESP_ENCAP_EITHER);
    BAD((p.encap = ESP_ENCAP_UDP, p.udp_dport = 0));
    BAD(p.spi = 0);
    BAD(p.suite = NULL);
    BAD(p.keys = NULL);
    BAD(p.src.family = 6);
    BAD(p.src.family = p.dst.family = 0);
    BAD(p.src.family = p.dst.family = 5);
    BAD(p.rules.dscp_value = 64);
    BAD(p.rules.flow_value = 0x100000);
    BAD(p.rules.df = 3);
#undef BAD
    struct esp_params in = good;
    in.dir = ESP_IN;
    in.encap = ESP_ENCAP_EITHER;
    in.src.family = in.dst.family = 0;
    assert_int_equal(try_params(&in), 0);
    struct esp_suite odd = *good.suite;
    odd.encr_id = 28;
    in.suite = &odd;
    assert_int_equal(try_params(&in), -ENOTSUP);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(table_is_whole),
        cmocka_unit_test(refusals_name_their_reason),
        cmocka_unit_test(every_result_has_a_text),
        cmocka_unit_test(backend_is_named),
        cmocka_unit_test(unfit_parameters_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
