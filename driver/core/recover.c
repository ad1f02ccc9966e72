/* Recovery in levels (contract 4.3, 4.4). Overdue command while both heartbeats count: PING, ABORT,
 * level A, level F. Heartbeats missed, a ring that will not reset, a lie of the admin queue: level
 * F at once. Reads of all ones, a closed connection, bring-ups that fail: gone. */
#include <stdarg.h>
#include <stdio.h>

#include "driver/core/card_internal.h"

#define STABLE_NS (1000 * MS) /* a card that ran this long was healthy */

__attribute__((format(printf, 2, 0))) static void vtext(char *out, const char *fmt, va_list ap)
{
    vsnprintf(out, CARD_REASON_MAX, fmt, ap);
}

/* Level F. What was in the queues is lost; commands in flight have an unknown outcome. */
void recover_reset(struct card *c, enum cif_reset code, const char *fmt, ...)
{
    char why[CARD_REASON_MAX];
    va_list ap;
    if (c->state == CARD_GONE)
        return;
    va_start(ap, fmt);
    vtext(why, fmt, ap);
    va_end(ap);
    if (c->step != STEP_DONE) { /* already in a bring-up: that one has failed */
        bringup_fail(c, "%s", why);
        return;
    }
    if (c->now < c->running_since + STABLE_NS && bringup_count_failure(c, why))
        return;
    c->life++;
    c->n.resets++;
    card_log(c, CARD_ERROR,
             "The driver resets the card and goes on; traffic runs in software meanwhile.",
             "card reset: %s", why);
    /* At once, though the bring-up may wait: whoever takes over the wire must not meet packets of
     * the old rings there. */
    if (!card_wr(c, CIF_REG_RESET_REASON, code) || !card_wr(c, CIF_REG_CONTROL, CIF_CONTROL_RESET))
        return;
    c->reset_written = true;
    queue_all_down(c, why);
    bringup_retry(c, code);
    card_set_state(c, CARD_RECOVERING, why);
    admin_fail_all(c, why);
}

void recover_gone(struct card *c, const char *fmt, ...)
{
    char why[CARD_REASON_MAX];
    va_list ap;
    if (c->state == CARD_GONE)
        return;
    va_start(ap, fmt);
    vtext(why, fmt, ap);
    va_end(ap);
    c->life++;
    kat_stop(c);
    queue_all_down(c, why);
    card_log(c, CARD_ERROR, "The card is opened again when its address answers.",
             "the card is gone: %s", why);
    card_set_state(c, CARD_GONE, why);
    admin_fail_all(c, why);
}

/* --- an overdue command
 * -------------------------------------------------------------------------------- */

static void level_a(struct card *c, const char *why)
{
    c->rec = REC_ADMIN_OFF;
    c->rec_deadline = c->now + 100 * MS;
    c->n.admin_resets++;
    card_log(c, CARD_WARNING, "Nothing to do: SAs and packet queues are not touched.",
             "the admin queue is restarted: %s", why);
    card_wr(c, CIF_REG_CONTROL, CIF_CONTROL_ADMIN_RESET);
}

void recover_admin(struct card *c, const char *why)
{
    if (c->state == CARD_RUNNING && c->rec < REC_ADMIN_OFF)
        level_a(c, why);
}

static void abort_answered(void *arg, const struct card_reply *reply)
{
    struct card *c = arg;
    if (reply->err || c->rec != REC_ABORT)
        return;
    const struct cmd *v = &c->cmd[c->rec_victim];
    if (v->state == CMD_SENT && v->gen == c->rec_victim_gen) {
        level_a(c, "a command was neither completed nor aborted");
        return;
    }
    c->rec = REC_NONE;
}

static void ping_answered(void *arg, const struct card_reply *reply)
{
    struct card *c = arg;
    if (!reply->err && c->rec == REC_PING)
        c->rec_answered = true;
}

void recover_overdue(struct card *c, unsigned slot)
{
    struct cmd *cmd = &c->cmd[slot];
    const char *name = cif_op_name(cmd->op);
    if (cmd->reset_on_overdue || c->step != STEP_DONE) {
        recover_reset(c, c->step == STEP_DONE ? CIF_RESET_TX_OVERDUE : CIF_RESET_ADMIN_TIMEOUT,
                      "the card did not complete %s in time", name);
        return;
    }
    if (c->rec != REC_NONE)
        return;
    card_log(c, CARD_WARNING, "Nothing to do: the driver finds out what became of it.",
             "the card did not complete %s within %u ms", name,
             c->caps.timeout_ms[cif_op_timeout(cmd->op)]);
    c->rec = REC_PING;
    c->rec_victim = slot;
    c->rec_victim_gen = cmd->gen;
    c->rec_answered = false;
    c->rec_deadline = c->now + c->caps.timeout_ms[CIF_TIMEOUT_FAST] * MS;
    if (command_own(c, CIF_OP_PING, 0, 1, ping_answered, c))
        level_a(c, "no command slot is free");
}

static void poll_ping(struct card *c)
{
    const struct cmd *v = &c->cmd[c->rec_victim];
    if (v->state != CMD_SENT || v->gen != c->rec_victim_gen) {
        c->rec = REC_NONE; /* completed meanwhile: only late */
    } else if (c->rec_answered) {
        c->rec = REC_ABORT;
        c->rec_deadline = c->now + c->caps.timeout_ms[CIF_TIMEOUT_FAST] * MS;
        if (command_own(c, CIF_OP_ABORT, c->rec_victim | (uint32_t)c->rec_victim_gen << 16, 0,
                        abort_answered, c))
            level_a(c, "no command slot is free");
    } else if (c->now >= c->rec_deadline) {
        level_a(c, "the card does not answer PING");
    }
}

/* ADMIN_OFF seen: no more DMA for the old queues. Their commands' outcome is unknown. */
static void admin_restart(struct card *c)
{
    c->life++;
    admin_fail_all(c, "the admin queue was restarted: the outcome is unknown");
    admin_start(c);
    if (!admin_program(c) || !card_wr(c, CIF_REG_CONTROL, CIF_CONTROL_ADMIN_RUN))
        return;
    c->rec = REC_ADMIN_ON;
    c->rec_deadline = c->now + 100 * MS;
}

static void restart_ping(void *arg, const struct card_reply *reply)
{
    struct card *c = arg;
    if (reply->err || c->rec != REC_ADMIN_PING)
        return;
    c->rec = REC_NONE;
    card_log(c, CARD_INFO, "", "the admin queue works again");
}

static void poll_status(struct card *c)
{
    uint32_t status;
    if (!card_rd(c, CIF_REG_STATUS, &status))
        return;
    bool off = status & CIF_STATUS_ADMIN_OFF;
    if (c->rec == REC_ADMIN_OFF && off) {
        admin_restart(c);
    } else if (c->rec == REC_ADMIN_ON && !off) {
        c->rec = REC_ADMIN_PING;
        c->rec_deadline = c->now + c->caps.timeout_ms[CIF_TIMEOUT_FAST] * MS;
        if (command_own(c, CIF_OP_PING, 0, 2, restart_ping, c))
            c->rec_deadline = c->now;
    }
}

void recover_poll(struct card *c)
{
    switch (c->rec) {
    case REC_NONE:
        return;
    case REC_PING:
        poll_ping(c);
        return;
    case REC_ABORT:
        if (c->now >= c->rec_deadline)
            level_a(c, "the card does not complete ABORT");
        return;
    case REC_ADMIN_OFF:
    case REC_ADMIN_ON:
        poll_status(c);
        break;
    case REC_ADMIN_PING:
        break;
    }
    if (c->state == CARD_RUNNING && c->rec >= REC_ADMIN_OFF && c->now >= c->rec_deadline)
        recover_reset(c, CIF_RESET_ADMIN_TIMEOUT,
                      "the admin queue did not come back after its restart");
}

/* --- heartbeats
 * --------------------------------------------------------------------------------------------- */

static bool status_good(struct card *c, uint32_t status)
{
    if (status & CIF_STATUS_FATAL)
        recover_reset(c, CIF_RESET_FATAL, "the card reports a fatal error");
    else if (status & CIF_STATUS_NEEDS_RESET)
        recover_reset(c, CIF_RESET_NEEDS_RESET, "the card asks for a reset");
    else if (!(status & CIF_STATUS_RUNNING))
        recover_reset(c, CIF_RESET_UNEXPECTED_STATE,
                      "the card stopped running by itself (status %#x)", status);
    else
        return true;
    return false;
}

static unsigned missed(uint32_t *last, uint32_t now, unsigned n)
{
    n = *last == now ? n + 1 : 0;
    *last = now;
    return n;
}

/* The level behind QUEUE_ERROR: an event that was lost must not leave a queue dead for ever. A
 * queue that is known to be down is being reset already. */
static bool read_stopped(struct card *c)
{
    for (uint32_t word = 0; word * 32 < queue_count(c) && word < 4; word++) {
        uint32_t bits;
        if (!card_rd(c, CIF_REG_QSTOP0 + 4 * word, &bits))
            return false;
        for (uint32_t n = 0; bits; n++, bits >>= 1) {
            struct queue *q = bits & 1 ? queue_by_qid(c, 32 * word + n) : NULL;
            if (!q)
                continue;
            pthread_mutex_lock(&q->lock);
            queue_mark_dead(q, "the card stopped the queue, and its event was lost");
            pthread_mutex_unlock(&q->lock);
        }
    }
    return true;
}

void heartbeat_poll(struct card *c)
{
    uint32_t status, fw, dp;
    if (c->now < c->hb_at)
        return;
    if (!card_rd(c, CIF_REG_STATUS, &status) || !status_good(c, status) ||
        !card_rd(c, CIF_REG_HB_FW, &fw) || !card_rd(c, CIF_REG_HB_DP, &dp) || !read_stopped(c))
        return;
    /* Counted from now, not from when it was due: a host that slept must not see misses. */
    c->hb_at = c->now + c->caps.heartbeat_ms * MS;
    if (c->now >= c->running_since + STABLE_NS)
        c->failures = 0;
    c->hb_fw_missed = missed(&c->hb_fw, fw, c->hb_fw_missed);
    c->hb_dp_missed = missed(&c->hb_dp, dp, c->hb_dp_missed);
    unsigned limit = c->caps.doorbell_wake ? HB_MISSES_WAKE : HB_MISSES;
    if (c->hb_fw_missed >= limit)
        recover_reset(c, CIF_RESET_HB_FW, "the firmware's heartbeat stands still at %u", fw);
    else if (c->hb_dp_missed >= limit)
        recover_reset(c, CIF_RESET_HB_DP, "the data path's heartbeat stands still at %u", dp);
}
