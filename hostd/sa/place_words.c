/* The words of placement: codes, their texts and remedies, and refusals as a person reads them. */
#include "hostd/sa/place_internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const char *place_code_name(unsigned code)
{
    static const char *const names[] = {
#define CODE(id, text) #id,
        PLACE_CODES(CODE)
#undef CODE
    };
    return code < PLACE_CODE_COUNT ? names[code] : "UNKNOWN";
}

const char *place_code_text(unsigned code)
{
    static const char *const texts[] = {
#define CODE(id, text) text,
        PLACE_CODES(CODE)
#undef CODE
    };
    return code < PLACE_CODE_COUNT ? texts[code] : "unknown";
}

const char *place_code_remedy(unsigned code)
{
    static const char *const remedies[PLACE_CODE_COUNT] = {
        [PLACE_NEW_CODE] = "None needed: the first decision follows at once.",
        [PLACE_IN_CARD_CODE] = "None needed.",
        [PLACE_NO_CARD_CODE] = "Name a card in the configuration to have SAs done in hardware.",
        [PLACE_CARD_DOWN_CODE] = "The card is watched and used again when it is back; look at its "
                                 "state and the log if it stays away.",
        [PLACE_SUITE_CODE] = "Put a suite that the card has first in the policy's transforms.",
        [PLACE_KEY_LEN_CODE] = "Put a key length that the card takes first in the policy's "
                               "transforms.",
        [PLACE_DIRECTION_CODE] = "Choose a suite that the card does both ways, or leave this "
                                 "direction to software.",
        [PLACE_MODE_CODE] = "Use the mode that the card does, or leave the SA to software.",
        [PLACE_ESN_CODE] = "Turn extended sequence numbers off in the policy, or leave the SA to "
                           "software.",
        [PLACE_NATT_CODE] = "Remove the NAT from the path, or leave the SA to software.",
        [PLACE_SPI_RANGE_CODE] = "None needed: the next rekey takes an SPI inside the range.",
        [PLACE_FULL_CODE] = "It moves to the card when a slot is free; use fewer SAs or a larger "
                            "card if that matters.",
        [PLACE_REFUSED_CODE] = "Look the status up in the card's manual; the SA stays in software "
                               "until it or the card changes.",
        [PLACE_BUSY_CODE] = "None needed: the card is asked again soon.",
        [PLACE_NO_ANSWER_CODE] = "None needed: the card's table is read and the card asked again; "
                                 "look at its health if this repeats.",
        [PLACE_MISSING_CODE] = "The card is given the SA again; report it to the card's maker if "
                               "this repeats.",
        [PLACE_NOT_WORKING_CODE] = "The card is tried again later, ever more slowly; update its "
                                   "firmware or report it to its maker.",
        [PLACE_KNOWN_ANSWER_CODE] = "Update the card's firmware or replace the card: what it "
                                    "computes with this suite is wrong.",
        [PLACE_CHANGED_CODE] = "None needed: the card gets the SA with its new endpoint at once.",
        [PLACE_ASKED_CODE] = "Ask for the card in the same way to undo it.",
    };
    return code < PLACE_CODE_COUNT ? remedies[code] : "";
}

/* Words that may come from a card's firmware: nothing but printable characters reaches a person. */
static void put_text(char *out, const char *in)
{
    size_t n = 0;
    for (; n < REASON_TEXT - 1 && in[n]; n++)
        out[n] = in[n] >= ' ' && in[n] != 0x7f ? in[n] : '?';
    out[n] = 0;
}

void why_set(struct sa_reason *why, unsigned code, const char *text, ...)
{
    char buf[REASON_TEXT];
    va_list ap;
    va_start(ap, text);
    vsnprintf(buf, sizeof buf, text, ap);
    va_end(ap);
    why->code = (uint16_t)code;
    put_text(why->text, buf);
    put_text(why->remedy, place_code_remedy(code));
}

static unsigned slots(const struct card *c, enum esp_dir dir)
{
    return dir == ESP_OUT || c->caps.shared_pool ? c->caps.out_max : c->caps.in_max;
}

void why_full(struct sa_reason *why, const struct card *c, enum esp_dir dir)
{
    why_set(why, PLACE_FULL_CODE, "the SA table of card %s is full (asked 1, free 0 of %u)",
            c->caps.name, slots(c, dir));
}

static unsigned code_of(enum place_class cls)
{
    static const unsigned codes[] = {
        [PLACE_OK] = PLACE_IN_CARD_CODE,     [PLACE_NEVER] = PLACE_REFUSED_CODE,
        [PLACE_RESOURCE] = PLACE_FULL_CODE,  [PLACE_AGAIN] = PLACE_BUSY_CODE,
        [PLACE_DEVICE] = PLACE_REFUSED_CODE, [PLACE_UNKNOWN] = PLACE_NO_ANSWER_CODE,
    };
    return (unsigned)cls < sizeof codes / sizeof *codes ? codes[cls] : PLACE_REFUSED_CODE;
}

/* The card's own word stands in the text, so that every status reads differently; its remedy is the
 * contract's where there is one. */
void why_refused(struct sa_reason *why, const struct card *c, enum esp_dir dir,
                 const struct place_result *r)
{
    const char *name = r->name ? r->name : "no status", *text = r->text ? r->text : "";
    unsigned code = code_of(r->cls);
    if (code == PLACE_FULL_CODE)
        why_set(why, code, "card %s has no room: %s%s%s (asked 1; %u of %u given)", c->caps.name,
                name, *text ? ": " : "", text, c->used[dir - 1], slots(c, dir));
    else if (code == PLACE_NO_ANSWER_CODE)
        why_set(why, code, "card %s did not answer: %s%s%s", c->caps.name, name, *text ? ": " : "",
                text);
    else
        why_set(why, code, "card %s refused the SA: %s%s%s", c->caps.name, name, *text ? ": " : "",
                text);
    if (r->remedy && *r->remedy)
        put_text(why->remedy, r->remedy);
}
