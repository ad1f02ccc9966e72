/* What a card lacks for an SA, by its capability tree: found without asking the card, and said in
 * words with what was asked and what is offered. */
#include "hostd/sa/place_internal.h"

#include <stdio.h>
#include <string.h>

struct words {
    char s[96];
    size_t n;
};

static void add(struct words *w, const char *text)
{
    int n = snprintf(w->s + w->n, sizeof w->s - w->n, "%s%s", w->n ? ", " : "", text);
    if (n > 0)
        w->n += (size_t)n < sizeof w->s - w->n ? (size_t)n : sizeof w->s - w->n - 1;
}

static const char *said(const struct words *w)
{
    return w->n ? w->s : "none";
}

/* The name of a row's suites that we know; a number otherwise. */
static void add_suite(struct words *w, const struct place_suite *row)
{
    char buf[32];
    bool known = false;
    for (unsigned i = 0; esp_suite_at(i); i++) {
        const struct esp_suite *e = esp_suite_at(i);
        if (e->encr_id == row->encr_id && e->integ_id == row->integ_id &&
            row->encr_lens >> (e->encr_len / 8) & 1) {
            add(w, e->name);
            known = true;
        }
    }
    if (!known) {
        snprintf(buf, sizeof buf, "suite %u/%u", row->encr_id, row->integ_id);
        add(w, buf);
    }
}

static const char *dir_word(enum esp_dir d)
{
    return d == ESP_OUT ? "outbound" : "inbound";
}

static const char *mode_word(enum esp_mode m)
{
    return m == ESP_TUNNEL ? "tunnel" : "transport";
}

/* --- the suites: the row that comes furthest tells what is missing --- */

enum step { STEP_LEN, STEP_DIR, STEP_MODE, STEP_KNOWN, STEP_ALL };

static enum step row_fits(const struct place_suite *row, const struct sa_spec *s)
{
    if (!(row->encr_lens >> (s->suite->encr_len / 8) & 1))
        return STEP_LEN;
    if (!(row->dirs >> (s->dir - 1) & 1))
        return STEP_DIR;
    if (!(row->modes >> (s->mode - 1) & 1))
        return STEP_MODE;
    return row->bad[s->dir - 1][0] ? STEP_KNOWN : STEP_ALL;
}

static bool same_suite(const struct place_suite *row, const struct sa_spec *s)
{
    return row->encr_id == s->suite->encr_id && row->integ_id == s->suite->integ_id;
}

static unsigned lacks_suite(const struct place_caps *c, const struct sa_spec *s,
                            struct sa_reason *why)
{
    struct words w = {.n = 0};
    for (unsigned i = 0; i < c->n_suites && i < PLACE_SUITES; i++)
        add_suite(&w, &c->suites[i]);
    why_set(why, PLACE_SUITE_CODE, "card %s does not have the suite (asked: %s; offered: %s)",
            c->name, s->suite->name, said(&w));
    return why->code;
}

static unsigned lacks_len(const struct place_caps *c, const struct place_suite *row,
                          const struct sa_spec *s, struct sa_reason *why)
{
    struct words w = {.n = 0};
    char buf[16];
    for (unsigned n = 1; n < 16; n++)
        if (row->encr_lens >> n & 1) {
            snprintf(buf, sizeof buf, "%u", n * 64);
            add(&w, buf);
        }
    why_set(why, PLACE_KEY_LEN_CODE,
            "card %s does not take the key length of %s (asked: %u bits; offered: %s)", c->name,
            s->suite->name, s->suite->encr_len * 8u, said(&w));
    return why->code;
}

static unsigned lacks_step(const struct place_caps *c, const struct place_suite *row,
                           enum step step, const struct sa_spec *s, struct sa_reason *why)
{
    bool other_dir = row->dirs >> (2 - s->dir) & 1, other_mode = row->modes >> (2 - s->mode) & 1;
    const char *suite = s->suite->name;
    if (step == STEP_LEN)
        return lacks_len(c, row, s, why);
    if (step == STEP_DIR)
        why_set(why, PLACE_DIRECTION_CODE,
                "card %s does not do %s in this direction (asked: %s; offered: %s)", c->name, suite,
                dir_word(s->dir), other_dir ? dir_word(3 - s->dir) : "none");
    else if (step == STEP_MODE)
        why_set(why, PLACE_MODE_CODE,
                "card %s does not do %s in this mode (asked: %s; offered: %s)", c->name, suite,
                mode_word(s->mode), other_mode ? mode_word(3 - s->mode) : "none");
    else
        why_set(why, PLACE_KNOWN_ANSWER_CODE, "card %s failed the known-answer test of %s %s: %s",
                c->name, suite, dir_word(s->dir), row->bad[s->dir - 1]);
    return why->code;
}

static unsigned fit_suite(const struct place_caps *c, const struct sa_spec *s,
                          struct sa_reason *why)
{
    const struct place_suite *best = NULL;
    enum step far = STEP_LEN;
    for (unsigned i = 0; i < c->n_suites && i < PLACE_SUITES; i++) {
        const struct place_suite *row = &c->suites[i];
        if (!same_suite(row, s))
            continue;
        enum step step = row_fits(row, s);
        if (step == STEP_ALL)
            return PLACE_IN_CARD_CODE;
        if (!best || step > far) {
            best = row;
            far = step;
        }
    }
    return best ? lacks_step(c, best, far, s, why) : lacks_suite(c, s, why);
}

/* --- the rest, each a row of the table --- */

static unsigned fit_slots(const struct place_caps *c, const struct sa_spec *s,
                          struct sa_reason *why)
{
    unsigned max = s->dir == ESP_OUT || c->shared_pool ? c->out_max : c->in_max;
    if (max)
        return PLACE_IN_CARD_CODE;
    why_set(why, PLACE_DIRECTION_CODE, "card %s has no %s SAs (asked 1, offered 0 slots)", c->name,
            dir_word(s->dir));
    return why->code;
}

static unsigned fit_esn(const struct place_caps *c, const struct sa_spec *s, struct sa_reason *why)
{
    if (!s->esn || c->esn)
        return PLACE_IN_CARD_CODE;
    why_set(why, PLACE_ESN_CODE,
            "card %s has no extended sequence numbers (asked: ESN; offered: 32-bit numbers)",
            c->name);
    return why->code;
}

/* Inbound "either" fits a card without: what arrives in UDP comes up raw and is opened here. */
static unsigned fit_natt(const struct place_caps *c, const struct sa_spec *s, struct sa_reason *why)
{
    bool v6 = s->src.family == 6;
    if (s->encap != ESP_ENCAP_UDP || (v6 ? c->natt6 : c->natt4))
        return PLACE_IN_CARD_CODE;
    why_set(why, PLACE_NATT_CODE,
            "card %s does not do UDP encapsulation (asked: over IPv%d; offered: %s)", c->name,
            v6 ? 6 : 4,
            c->natt4   ? "over IPv4"
            : c->natt6 ? "over IPv6"
                       : "none");
    return why->code;
}

static unsigned fit_spi(const struct place_caps *c, const struct sa_spec *s, struct sa_reason *why)
{
    uint32_t hi = c->spi_hi ? c->spi_hi : UINT32_MAX;
    if (s->dir != ESP_IN || (s->spi >= c->spi_lo && s->spi <= hi))
        return PLACE_IN_CARD_CODE;
    why_set(why, PLACE_SPI_RANGE_CODE,
            "the SPI is outside the range of card %s (asked: 0x%08x; offered: 0x%08x to 0x%08x)",
            c->name, s->spi, c->spi_lo, hi);
    return why->code;
}

unsigned place_fit(const struct place_caps *caps, const struct sa *sa, struct sa_reason *why)
{
    static unsigned (*const checks[])(const struct place_caps *, const struct sa_spec *,
                                      struct sa_reason *) = {fit_suite, fit_slots, fit_esn,
                                                             fit_natt, fit_spi};
    for (size_t i = 0; i < sizeof checks / sizeof *checks; i++) {
        unsigned code = checks[i](caps, &sa->spec, why);
        if (code != PLACE_IN_CARD_CODE)
            return code;
    }
    return PLACE_IN_CARD_CODE;
}
