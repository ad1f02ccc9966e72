/* Completions that say that a packet did not surely leave. What may have left is spent; what surely
 * did not goes out once more, in software, under a new number (design, section 0). */
#include "hostd/data/path/path.h"

#define ONE_DEATH  (5 * MILLISECOND) /* a queue is given 10 ms to complete before it is reset */
#define TWO_DEATHS (10 * SECOND)

/* Statuses in which the card and the SA disagree; the others are about one packet or the ring. */
static bool sa_at_fault(const char *why)
{
    static const char *const names[] = {"SA_GONE",   "SA_STOPPED",  "SEQ_EXHAUSTED", "SEQ_REUSED",
                                        "LIFE_HARD", "BAD_OFFLOAD", "ENGINE_FAULT"};
    for (size_t i = 0; why && i < sizeof names / sizeof *names; i++)
        if (strcmp(why, names[i]) == 0)
            return true;
    return false;
}

/* A ring that dies has many SAs in it and one cause. The SA whose packets are in it when it dies
 * again soon after is taken for the cause; what one death loses is told within a moment. */
static bool ring_at_fault(struct sa *sa, uint64_t now, const char *why)
{
    uint64_t before = sa->card_bad;
    if (!why || strcmp(why, DP_RING_LOST) != 0)
        return false;
    sa->card_bad = now;
    return before && now - before > ONE_DEATH && now - before <= TWO_DEATHS;
}

static void gone(struct dp *d, struct sa *sa, bool lost)
{
    if (sa)
        dp_sa_drop(sa, lost ? SA_DROP_LOST_IN_CARD : SA_DROP_NO_WIRE);
    else
        dp_drop(d, lost ? DP_DROP_LOST_IN_CARD : DP_DROP_NO_WIRE);
}

/* The frame in the buffer is still the clear one: the card reads it and does not change it. */
static void protect_again(struct dp *d, uint64_t now, struct sa *sa, const struct dp_tx *tx,
                          const uint8_t *frame)
{
    struct pkt p;
    if (!sa || tx->retried || !pkt_parse(&p, frame, tx->len)) {
        gone(d, sa, false);
        return;
    }
    sa->packets[PATH_CARD]--;
    sa->bytes[PATH_CARD] -= p.i.total;
    d->c.protected_card--;
    if (dp_alive(d, now, sa) && out_again(d, now, sa, &p))
        d->c.retried++;
}

void dp_tx_done(struct dp *d, uint64_t now, const struct dp_tx *tx, const uint8_t *frame,
                enum dp_fate fate, const char *why)
{
    if (fate == DP_SENT)
        return;
    struct sa *sa = tx->cookie ? sad_by_cookie(d->sad, tx->cookie) : NULL;
    if (sa && tx->op == DP_PROTECT && sa->place == PLACE_CARD && sa->handle == tx->handle &&
        (sa_at_fault(why) || ring_at_fault(sa, now, why)))
        d->ops.card_failed(d->ops.ctx, sa, why);
    if (fate == DP_MAYBE_SENT)
        gone(d, sa, true);
    else if (tx->op == DP_PROTECT)
        protect_again(d, now, sa, tx, frame);
    else if (tx->cookie || tx->retried)
        gone(d, sa, false); /* ESP made here: its clear text is gone */
    else
        out_clear_again(d, now, tx, frame);
}
