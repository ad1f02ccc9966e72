/* Placement against scripted cards: every class of refusal, every lack, late answers, audits. */
#include "place_mock.h"

#include "firmware-if/card_if.h"

#define SEC UINT64_C(1000000000)
#define MS  UINT64_C(1000000)

static struct mock *mock_of(void **state)
{
    return *state;
}

static void refuse(struct mock *m, enum place_class cls, const char *name)
{
    struct place_result r = mock_result(cls, name);
    mock_answer(m, 0, &r);
}

static void tick_to(struct mock *m, uint64_t now)
{
    m->now = now;
    place_tick(m->p, now);
}

static void an_sa_goes_to_the_card(void **state)
{
    struct mock *m = mock_of(state);
    mock_up(m, 0, 4, 4);
    struct sa *sa = mock_sa(m, ESP_OUT, 1000);
    assert_int_equal(sa->place, PLACE_SOFTWARE);
    assert_false(place_quiet(m->p));
    assert_int_equal(m->n_asked, 1);
    m->now = 5000;
    mock_settle(m);
    assert_int_equal(sa->place, PLACE_CARD);
    assert_int_equal(sa->card, 0);
    assert_int_equal(sa->moves, 1);
    assert_true(sa->since == 5000);
    assert_string_equal(sa->reason.text, "in card c0");
    assert_int_equal(m->moved, 1);
    assert_true(place_quiet(m->p));
    mock_compare(m);
    mock_delete(m, sa);
    assert_int_equal(m->frees, 1);
    mock_settle(m);
    mock_compare(m);
    assert_true(place_quiet(m->p));
}

static void without_a_card_it_says_so(void **state)
{
    struct mock *m = mock_of(state);
    struct sa *sa = mock_sa(m, ESP_OUT, 1000);
    assert_int_equal(sa->reason.code, PLACE_NO_CARD_CODE);
    place_card_known(m->p, 0, "c0", "not opened yet");
    place_ask(m->p, sa, PLACE_CARD, m->now);
    assert_string_equal(sa->reason.text, "card c0 is not in service: not opened yet");
    mock_up(m, 0, 4, 4);
    mock_settle(m);
    assert_int_equal(sa->place, PLACE_CARD);
    mock_down(m, 0);
    assert_int_equal(sa->place, PLACE_SOFTWARE);
    assert_int_equal(sa->card, -1);
    assert_string_equal(sa->reason.text, "card c0 is not in service: it was pulled");
    struct sa *later = mock_sa(m, ESP_IN, 1001);
    assert_int_equal(later->reason.code, PLACE_CARD_DOWN_CODE);
    mock_up(m, 0, 4, 4);
    mock_settle(m);
    assert_true(sa->place == PLACE_CARD && later->place == PLACE_CARD);
    assert_int_equal(sa->moves, 3);
    mock_compare(m);
}

/* --- what a card lacks --- */

static void lack_esn(struct place_caps *c, struct sa_spec *s)
{
    c->esn = false;
    s->esn = true;
}
static void lack_suite(struct place_caps *c, struct sa_spec *s)
{
    s->suite = esp_suite_by_name("ESP_AES128_CBC_HMAC_SHA2_256");
}
static void lack_len(struct place_caps *c, struct sa_spec *s)
{
    c->suites[0].encr_lens = 1 << 2;
    s->suite = esp_suite_by_name("ESP_AES256_GCM16");
}
static void lack_dir(struct place_caps *c, struct sa_spec *s)
{
    c->suites[0].dirs = 1;
}
static void lack_mode(struct place_caps *c, struct sa_spec *s)
{
    c->suites[0].modes = 1;
}
static void lack_known(struct place_caps *c, struct sa_spec *s)
{
    snprintf(c->suites[0].bad[1], sizeof c->suites[0].bad[1], "the tag was wrong");
}
static void lack_natt(struct place_caps *c, struct sa_spec *s)
{
    c->natt4 = false;
    s->encap = ESP_ENCAP_UDP;
    s->udp_sport = s->udp_dport = 4500;
}
static void lack_spi(struct place_caps *c, struct sa_spec *s)
{
    c->spi_hi = 4095;
    s->spi = 4096;
}
static void lack_slots(struct place_caps *c, struct sa_spec *s)
{
    c->shared_pool = false;
    c->in_max = 0;
}

static const struct {
    void (*make)(struct place_caps *c, struct sa_spec *s);
    unsigned code;
    const char *text;
} lacks[] = {
    {lack_esn, PLACE_ESN_CODE,
     "card c0 has no extended sequence numbers (asked: ESN; offered: 32-bit numbers)"},
    {lack_suite, PLACE_SUITE_CODE,
     "card c0 does not have the suite (asked: ESP_AES128_CBC_HMAC_SHA2_256; offered: "
     "ESP_AES128_GCM16, ESP_AES256_GCM16)"},
    {lack_len, PLACE_KEY_LEN_CODE,
     "card c0 does not take the key length of ESP_AES256_GCM16 (asked: 256 bits; offered: 128)"},
    {lack_dir, PLACE_DIRECTION_CODE,
     "card c0 does not do ESP_AES128_GCM16 in this direction (asked: inbound; offered: outbound)"},
    {lack_mode, PLACE_MODE_CODE,
     "card c0 does not do ESP_AES128_GCM16 in this mode (asked: tunnel; offered: transport)"},
    {lack_known, PLACE_KNOWN_ANSWER_CODE,
     "card c0 failed the known-answer test of ESP_AES128_GCM16 inbound: the tag was wrong"},
    {lack_natt, PLACE_NATT_CODE,
     "card c0 does not do UDP encapsulation (asked: over IPv4; offered: over IPv6)"},
    {lack_spi, PLACE_SPI_RANGE_CODE,
     "the SPI is outside the range of card c0 (asked: 0x00001000; offered: 0x00000100 to "
     "0x00000fff)"},
    {lack_slots, PLACE_DIRECTION_CODE, "card c0 has no inbound SAs (asked 1, offered 0 slots)"},
};

static void a_known_lack_is_told_without_asking(void **state)
{
    struct mock *m = mock_of(state);
    m->card[0].up = true;
    for (size_t i = 0; i < sizeof lacks / sizeof *lacks; i++) {
        struct place_caps caps = mock_caps("c0", 4);
        struct sa_spec spec = spec_make(ESP_IN, 1000);
        struct sa *sa = NULL;
        lacks[i].make(&caps, &spec);
        place_card_up(m->p, 0, &caps, m->now);
        assert_int_equal(sad_add(m->sad, &spec, m->now, &sa), 0);
        place_sa(m->p, sa, m->now);
        assert_int_equal(m->adds, 0);
        assert_string_equal(sa->reason.text, lacks[i].text);
        assert_int_equal(sa->reason.code, lacks[i].code);
        assert_true(strlen(sa->reason.remedy) > 10);
        tick_to(m, m->now + 20 * SEC);
        assert_int_equal(m->adds, 0);
        mock_delete(m, sa);
    }
}

static void codes_and_remedies_are_distinct(void **state)
{
    for (unsigned i = 0; i < PLACE_CODE_COUNT; i++) {
        assert_true(strlen(place_code_remedy(i)) > 5);
        for (unsigned k = 0; k < i; k++) {
            assert_string_not_equal(place_code_text(i), place_code_text(k));
            assert_string_not_equal(place_code_name(i), place_code_name(k));
            assert_string_not_equal(place_code_remedy(i), place_code_remedy(k));
        }
    }
    assert_string_equal(place_code_name(9999), "UNKNOWN");
}

static enum place_class class_of_status(uint16_t st)
{
    switch (cif_status_class(st)) {
    case CIF_CLASS_RESOURCE:
        return PLACE_RESOURCE;
    case CIF_CLASS_AGAIN:
        return PLACE_AGAIN;
    case CIF_CLASS_DEVICE:
        return PLACE_DEVICE;
    default:
        return PLACE_NEVER;
    }
}

/* Every status of the contract as the answer to an add: its own words, and a remedy. */
static void every_status_has_its_words(void **state)
{
    static char texts[CIF_STATUS_COUNT][REASON_TEXT];
    struct mock *m = mock_of(state);
    unsigned n = 0;
    mock_up(m, 0, 4, 4);
    for (unsigned i = 0; i < CIF_STATUS_COUNT; i++) {
        uint16_t st = cif_status_at(i);
        if (cif_status_class(st) == CIF_CLASS_OK)
            continue;
        struct place_result r = {.cls = class_of_status(st),
                                 .name = cif_status_name(st),
                                 .text = cif_status_text(st),
                                 .remedy = cif_status_remedy(st)};
        struct sa *sa = mock_sa(m, ESP_IN, 1000);
        mock_answer(m, 0, &r);
        assert_int_equal(sa->place, PLACE_SOFTWARE);
        assert_non_null(strstr(sa->reason.text, r.name));
        assert_true(strlen(sa->reason.remedy) > 5);
        snprintf(texts[n], REASON_TEXT, "%s", sa->reason.text);
        for (unsigned k = 0; k < n; k++)
            assert_string_not_equal(texts[k], texts[n]);
        n++;
        mock_delete(m, sa);
        assert_int_equal(m->n_asked, 0);
    }
    assert_true(n > 20);
}

/* --- classes of refusal --- */

static void resource_waits_for_room(void **state)
{
    struct mock *m = mock_of(state);
    mock_up(m, 0, 8, 2);
    struct sa *a[4];
    for (unsigned i = 0; i < 4; i++)
        a[i] = mock_sa(m, ESP_OUT, 1000 + i);
    mock_settle(m);
    assert_true(a[0]->place == PLACE_CARD && a[1]->place == PLACE_CARD);
    assert_true(a[2]->place == PLACE_SOFTWARE && a[3]->place == PLACE_SOFTWARE);
    assert_int_equal(a[2]->reason.code, PLACE_FULL_CODE);
    assert_non_null(strstr(a[2]->reason.text, "NO_SA_SPACE"));
    assert_string_equal(a[2]->reason.remedy, "a remedy");
    unsigned before = m->adds;
    tick_to(m, m->now + 4 * SEC);
    assert_int_equal(m->adds, before);
    m->card[0].room = 4;
    place_room(m->p, 0, m->now);
    mock_settle(m);
    assert_true(a[2]->place == PLACE_CARD && a[3]->place == PLACE_CARD);
    mock_compare(m);
}

static void resource_is_tried_on_a_slow_timer(void **state)
{
    struct mock *m = mock_of(state);
    mock_up(m, 0, 8, 0);
    struct sa *a = mock_sa(m, ESP_OUT, 1000);
    mock_settle(m);
    assert_int_equal(m->adds, 1);
    m->card[0].room = 1;
    tick_to(m, m->now + 5 * SEC);
    mock_settle(m);
    assert_int_equal(a->place, PLACE_CARD);
}

static void a_full_card_is_not_asked(void **state)
{
    struct mock *m = mock_of(state);
    mock_up(m, 0, 4, 4);
    struct sa *a[6];
    for (unsigned i = 0; i < 6; i++)
        a[i] = mock_sa(m, i % 2 ? ESP_OUT : ESP_IN, 1000 + i);
    mock_settle(m);
    assert_int_equal(m->adds, 4);
    assert_int_equal(a[4]->place, PLACE_SOFTWARE);
    assert_string_equal(a[4]->reason.text,
                        "the SA table of card c0 is full (asked 1, free 0 of 4)");
    mock_delete(m, a[1]);
    mock_settle(m);
    assert_int_equal(a[4]->place, PLACE_CARD);
    assert_int_equal(a[5]->place, PLACE_SOFTWARE);
    mock_delete(m, a[0]);
    mock_settle(m);
    assert_int_equal(a[5]->place, PLACE_CARD);
    mock_compare(m);
}

static void pools_apart_are_counted_apart(void **state)
{
    struct mock *m = mock_of(state);
    struct place_caps caps = mock_caps("c0", 2);
    caps.shared_pool = false;
    m->card[0] = (struct mock_card){.up = true, .room = 4};
    place_card_up(m->p, 0, &caps, m->now);
    struct sa *a[6];
    for (unsigned i = 0; i < 6; i++)
        a[i] = mock_sa(m, i < 3 ? ESP_IN : ESP_OUT, 1000 + i);
    mock_settle(m);
    assert_true(a[2]->place == PLACE_SOFTWARE && a[5]->place == PLACE_SOFTWARE);
    mock_delete(m, a[4]);
    mock_settle(m);
    assert_true(a[2]->place == PLACE_SOFTWARE && a[5]->place == PLACE_CARD);
}

static void again_comes_soon_with_back_off(void **state)
{
    struct mock *m = mock_of(state);
    mock_up(m, 0, 4, 4);
    tick_to(m, m->now + SEC);
    mock_settle(m); /* the first audit */
    assert_int_equal(m->queries, 1);
    struct sa *sa = mock_sa(m, ESP_OUT, 1000);
    uint64_t gap = 10 * MS;
    for (unsigned i = 1; i < 12; i++) {
        refuse(m, PLACE_AGAIN, "BUSY");
        assert_int_equal(sa->reason.code, PLACE_BUSY_CODE);
        assert_true(place_tick(m->p, m->now) == m->now + gap);
        tick_to(m, m->now + gap - 1);
        assert_int_equal(m->adds, i);
        tick_to(m, m->now + 1);
        assert_int_equal(m->adds, i + 1);
        gap = gap * 2 < SEC ? gap * 2 : SEC;
    }
    mock_settle(m);
    assert_int_equal(sa->place, PLACE_CARD);
}

static void never_waits_for_a_change(void **state)
{
    struct mock *m = mock_of(state);
    mock_up(m, 0, 4, 4);
    struct sa *sa = mock_sa(m, ESP_OUT, 1000);
    refuse(m, PLACE_NEVER, "BAD_ALG");
    assert_string_equal(sa->reason.text, "card c0 refused the SA: BAD_ALG: a sentence");
    for (int i = 0; i < 50; i++) {
        tick_to(m, m->now + 100 * SEC);
        mock_settle(m);
    }
    assert_int_equal(m->adds, 1);
    place_room(m->p, 0, m->now);
    assert_int_equal(m->adds, 1);
    mock_down(m, 0);
    mock_up(m, 0, 4, 4);
    assert_int_equal(m->adds, 2);
    refuse(m, PLACE_NEVER, "BAD_ALG");
    place_ask(m->p, sa, PLACE_CARD, m->now);
    assert_int_equal(m->adds, 3);
    mock_settle(m);
    assert_int_equal(sa->place, PLACE_CARD);
}

static void an_ill_card_is_asked_ever_more_slowly(void **state)
{
    struct mock *m = mock_of(state);
    mock_up(m, 0, 4, 4);
    mock_sa(m, ESP_OUT, 1000);
    uint64_t gap = SEC;
    for (unsigned i = 1; i < 14; i++) {
        refuse(m, PLACE_DEVICE, "ENGINE");
        m->now += gap - 1;
        place_tick(m->p, m->now);
        assert_int_equal(m->adds, i);
        for (unsigned k = 0; k < m->n_asked; k++)
            assert_int_equal(m->asked[k]->kind, ASK_QUERY);
        mock_settle(m);
        tick_to(m, m->now + 1);
        assert_int_equal(m->adds, i + 1);
        gap = gap * 2 < 600 * SEC ? gap * 2 : 600 * SEC;
    }
}

static void a_full_admin_queue_is_met_again(void **state)
{
    struct mock *m = mock_of(state);
    m->refuse_ask = -EAGAIN;
    mock_up(m, 0, 4, 4);
    struct sa *sa = mock_sa(m, ESP_OUT, 1000);
    assert_int_equal(sa->reason.code, PLACE_BUSY_CODE);
    assert_int_equal(sa->card, -1);
    m->refuse_ask = 0;
    tick_to(m, m->now + 10 * MS);
    mock_settle(m);
    assert_int_equal(sa->place, PLACE_CARD);
    m->refuse_ask = -EAGAIN; /* and so is one that does not take the free */
    mock_delete(m, sa);
    assert_false(place_quiet(m->p));
    m->refuse_ask = 0;
    tick_to(m, m->now + 10 * MS);
    mock_settle(m);
    assert_true(place_quiet(m->p));
    assert_int_equal(mock_used(&m->card[0]), 0);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, mock_setup, mock_teardown)
    const struct CMUnitTest tests[] = {
        T(an_sa_goes_to_the_card),
        T(without_a_card_it_says_so),
        T(a_known_lack_is_told_without_asking),
        T(codes_and_remedies_are_distinct),
        T(every_status_has_its_words),
        T(resource_waits_for_room),
        T(resource_is_tried_on_a_slow_timer),
        T(a_full_card_is_not_asked),
        T(pools_apart_are_counted_apart),
        T(again_comes_soon_with_back_off),
        T(never_waits_for_a_change),
        T(an_ill_card_is_asked_ever_more_slowly),
        T(a_full_admin_queue_is_met_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
