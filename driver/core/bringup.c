/* Bring-up (contract 4.2) as named steps, each with a deadline and a sentence that says what it
 * waits for. A step that fails starts the whole again, a few times; then the card is gone. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "driver/core/card_internal.h"

#define RETRY_MS   50u
#define TREE_WORDS 256u /* register reads in one poll */

enum result { WAIT, NEXT, STOP }; /* STOP: failed or gone; nothing more to do in this poll */

struct step_row {
    const char *name, *waits_for;
    unsigned deadline_ms; /* 0 = the card's ready time-out */
    enum result (*start)(struct card *c);
    enum result (*poll)(struct card *c);
};

/* --- reset and ready
 * --------------------------------------------------------------------------------- */

static enum result refuse(struct card *c, const char *why)
{
    recover_gone(c, "%s", why);
    return STOP;
}

static enum result start_reset(struct card *c)
{
    uint32_t magic, version, timing;
    if (!card_rd(c, CIF_REG_MAGIC, &magic) || !card_rd(c, CIF_REG_VERSION, &version) ||
        !card_rd(c, CIF_REG_TIMING, &timing))
        return STOP;
    if (magic != CIF_MAGIC)
        return refuse(c, "the device is not a Sallyport card (magic number)");
    if (version >> 16 != CIF_VERSION_MAJOR)
        return refuse(c, "the card speaks another major version of the contract");
    c->timing = timing;
    c->db_shift = cif_field(timing, CIF_TIMING_DB_STRIDE_MASK, CIF_TIMING_DB_STRIDE_SHIFT);
    if (c->db_shift < 12 || c->db_shift > 20)
        return refuse(c, "the card's doorbell stride cannot be");
    bool written = c->reset_written;
    c->reset_written = false;
    if (!written && (!card_wr(c, CIF_REG_RESET_REASON, c->reset_code) ||
                     !card_wr(c, CIF_REG_CONTROL, CIF_CONTROL_RESET)))
        return STOP;
    return NEXT;
}

/* CONTROL.RESET is in force before the next read is answered: READY alone means that it is over. */
static enum result poll_ready(struct card *c)
{
    uint32_t status;
    const uint32_t busy = CIF_STATUS_RESETTING | CIF_STATUS_FEATURES_OK | CIF_STATUS_RUNNING;
    if (!card_rd(c, CIF_REG_STATUS, &status))
        return STOP;
    if (!(status & CIF_STATUS_READY) || (status & busy))
        return WAIT;
    if (!card_rd(c, CIF_REG_EPOCH, &c->epoch))
        return STOP;
    if (!c->epoch) {
        bringup_fail(c, "the card's epoch is 0");
        return STOP;
    }
    return card_wr(c, CIF_REG_CONTROL, CIF_CONTROL_ACK) ? NEXT : STOP;
}

/* --- tree
 * --------------------------------------------------------------------------------------------- */

static enum result start_tree(struct card *c)
{
    uint32_t off;
    if (!card_rd(c, CIF_REG_FDT_SIZE, &c->fdt_size) || !card_rd(c, CIF_REG_FDT_OFF, &off) ||
        !card_rd(c, CIF_REG_FDT_GEN, &c->fdt_gen))
        return STOP;
    c->fdt_at = 0;
    if (off != CIF_BAR0_FDT_OFF || c->fdt_size > CIF_BAR0_FDT_MAX || c->fdt_size < 64) {
        bringup_fail(c, "the capability tree's window cannot be (offset %#x, %u octets)", off,
                     c->fdt_size);
        return STOP;
    }
    return WAIT;
}

static void put_word(struct card *c, uint32_t v)
{
    uint8_t b[4];
    uint32_t left = c->fdt_size - c->fdt_at;
    cif_put32(b, v);
    memcpy(c->fdt + c->fdt_at, b, left < 4 ? left : 4);
    c->fdt_at += left < 4 ? left : 4;
}

static enum result judge_tree(struct card *c)
{
    uint32_t crc, gen;
    char why[CARD_REASON_MAX];
    /* A CRC may well be all ones: read past the check for a dead card. */
    if (c->bus.reg_read(c->bus.ctx, CIF_REG_FDT_CRC, &crc) || !card_rd(c, CIF_REG_FDT_GEN, &gen)) {
        recover_gone(c, "a register read failed");
        return STOP;
    }
    if (crc != card_crc32(c->fdt, c->fdt_size) || gen != c->fdt_gen) {
        bringup_fail(c, "the capability tree's checksum is wrong");
        return STOP;
    }
    int err = card_caps_parse(c->fdt, c->fdt_size, &c->caps, why);
    if (err == -ENOTSUP)
        return refuse(c, why);
    if (err) {
        bringup_fail(c, "%s", why);
        return STOP;
    }
    c->have_caps = true;
    if (c->caps.warnings)
        card_log(c, CARD_WARNING, "Report it to the card's vendor.",
                 "%u properties of the capability tree are malformed and count as absent",
                 c->caps.warnings);
    return NEXT;
}

/* The whole window in one go, where the bus can. */
static bool block_tree(struct card *c)
{
    uint32_t len = (c->fdt_size + 3) & ~3u;
    if (c->fdt_at || !c->bus.reg_read_block || len > CIF_BAR0_FDT_MAX ||
        c->bus.reg_read_block(c->bus.ctx, CIF_BAR0_FDT_OFF, c->fdt, len))
        return false;
    c->fdt_at = c->fdt_size;
    return true;
}

static enum result poll_tree(struct card *c)
{
    if (block_tree(c))
        return judge_tree(c);
    for (unsigned i = 0; i < TREE_WORDS && c->fdt_at < c->fdt_size; i++) {
        uint32_t v; /* any value is good here */
        int err = c->bus.reg_read(c->bus.ctx, CIF_BAR0_FDT_OFF + c->fdt_at, &v);
        if (err) {
            recover_gone(c, "a register read failed: %s", strerror(-err));
            return STOP;
        }
        put_word(c, v);
    }
    return c->fdt_at < c->fdt_size ? WAIT : judge_tree(c);
}

/* --- features, run
 * ------------------------------------------------------------------------------------ */

static enum result start_features(struct card *c)
{
    uint32_t dev, must, status;
    if (!card_wr(c, CIF_REG_CONTROL, CIF_CONTROL_DRIVER) || !card_wr(c, CIF_REG_FEAT_SEL, 1) ||
        !card_rd(c, CIF_REG_FEAT_DEV, &must))
        return STOP;
    if (must)
        return refuse(c, "the card has features that must be known and are not: update the driver");
    if (!card_wr(c, CIF_REG_FEAT_DRV, 0) || !card_wr(c, CIF_REG_FEAT_SEL, 0) ||
        !card_rd(c, CIF_REG_FEAT_DEV, &dev))
        return STOP;
    uint32_t want = dev & CIF_FEAT_DOORBELL_WAKE;
    if (c->cfg.n_rx > 1)
        want |= dev & CIF_FEAT_RSS;
    c->wake = (want & CIF_FEAT_DOORBELL_WAKE) || c->caps.doorbell_wake;
    if (!card_wr(c, CIF_REG_FEAT_DRV, want) ||
        !card_wr(c, CIF_REG_CONTROL, CIF_CONTROL_FEATURES_OK) ||
        !card_rd(c, CIF_REG_STATUS, &status))
        return STOP;
    return status & CIF_STATUS_FEATURES_OK ? NEXT : WAIT;
}

static enum result poll_status(struct card *c, uint32_t bit)
{
    uint32_t status;
    if (!card_rd(c, CIF_REG_STATUS, &status))
        return STOP;
    return status & bit ? NEXT : WAIT;
}

static enum result poll_features(struct card *c)
{
    return poll_status(c, CIF_STATUS_FEATURES_OK);
}

static enum result start_run(struct card *c)
{
    int err = admin_setup(c);
    if (!err)
        err = queue_setup(c);
    if (err == -ENOSPC)
        return refuse(c, "the card has fewer packet queues than the configuration asks for");
    if (err) {
        bringup_fail(c, "memory for the queues: %s", strerror(-err));
        return STOP;
    }
    admin_start(c);
    if (!admin_program(c) || !card_wr(c, CIF_REG_CONTROL, CIF_CONTROL_RUN))
        return STOP;
    return NEXT;
}

static enum result poll_running(struct card *c)
{
    uint32_t epoch;
    enum result r = poll_status(c, CIF_STATUS_RUNNING);
    if (r != NEXT)
        return r;
    if (!card_rd(c, CIF_REG_EPOCH, &epoch))
        return STOP;
    if (epoch == c->epoch)
        return card_rd(c, CIF_REG_HB_FW, &c->hb_fw) && card_rd(c, CIF_REG_HB_DP, &c->hb_dp) ? NEXT
                                                                                            : STOP;
    bringup_fail(c, "the epoch changed during bring-up");
    return STOP;
}

/* --- commands of bring-up
 * ------------------------------------------------------------------------------- */

static void step_reply(void *arg, const struct card_reply *reply)
{
    struct card *c = arg;
    if (reply->err)
        return; /* the bring-up that sent it has ended */
    if (cif_status_class(reply->status) != CIF_CLASS_OK) {
        bringup_fail(c, "the card refused step \"%s\": %s (%s)", bringup_step_name(c->step),
                     reply->why, cif_status_name(reply->status));
        return;
    }
    c->step_pending--;
}

/* Sends one command after another as slots allow; done when all are answered. `send` gets the
 * index. */
static enum result run_commands(struct card *c, unsigned n, int (*send)(struct card *c, unsigned i))
{
    unsigned life = c->life;
    admin_poll(c);
    if (c->life != life)
        return STOP;
    while (c->step_index < n && !send(c, c->step_index)) {
        c->step_index++;
        c->step_pending++;
    }
    return c->step_index == n && !c->step_pending ? NEXT : WAIT;
}

static int send_events(struct card *c, unsigned i)
{
    return command_event_config(c, step_reply, c);
}

static enum result poll_events(struct card *c)
{
    return run_commands(c, 1, send_events);
}

static int send_queue(struct card *c, unsigned i)
{
    struct queue *q = queue_nth(c, i);
    pthread_mutex_lock(&q->lock);
    queue_prepare(q);
    pthread_mutex_unlock(&q->lock);
    return command_q_create(c, q, step_reply, c);
}

static enum result poll_queues(struct card *c)
{
    enum result r = run_commands(c, queue_count(c), send_queue);
    for (unsigned i = 0; r == NEXT && i < queue_count(c); i++)
        queue_up(queue_nth(c, i));
    return r;
}

static enum result poll_kat(struct card *c)
{
    unsigned life = c->life;
    admin_poll(c);
    if (c->life != life)
        return STOP;
    bool done = kat_poll(c);
    if (c->life != life)
        return STOP;
    return done ? NEXT : WAIT;
}

/* Both hearts beat, or the card is not trusted with traffic. */
static enum result poll_heartbeats(struct card *c)
{
    uint32_t fw, dp;
    if (!card_rd(c, CIF_REG_HB_FW, &fw) || !card_rd(c, CIF_REG_HB_DP, &dp))
        return STOP;
    return fw != c->hb_fw && dp != c->hb_dp ? NEXT : WAIT;
}

static int send_port(struct card *c, unsigned i)
{
    return command_port_set(c, &c->cfg.port[i], step_reply, c);
}

static enum result poll_ports(struct card *c)
{
    return run_commands(c, c->cfg.n_ports, send_port);
}

/* --- the machine
 * ------------------------------------------------------------------------------------------ */

static const struct step_row steps[] = {
    [STEP_RESET] = {"reset", "the card's registers", 0, start_reset, NULL},
    [STEP_READY] = {"ready", "the card to be ready after its reset", 0, NULL, poll_ready},
    [STEP_TREE] = {"tree", "the capability tree", 5000, start_tree, poll_tree},
    [STEP_FEATURES] = {"features", "the card to accept the features", 100, start_features,
                       poll_features},
    [STEP_RUN] = {"run", "the admin queues", 100, start_run, NULL},
    [STEP_RUNNING] = {"running", "the card to run", 0, NULL, poll_running},
    [STEP_EVENTS] = {"events", "events to be switched on", 2000, NULL, poll_events},
    [STEP_QUEUES] = {"queues", "the packet queues to be made", 2000, NULL, poll_queues},
    [STEP_KAT] = {"known-answers", "known-answer packets of each suite", 5000, NULL, poll_kat},
    [STEP_HEARTBEATS] = {"heartbeats", "both heartbeats to count", 200, NULL, poll_heartbeats},
    [STEP_PORTS] = {"ports", "the ports to be set", 2000, NULL, poll_ports},
};

const char *bringup_step_name(enum step s)
{
    return s < STEP_DONE ? steps[s].name : "done";
}

static void enter(struct card *c, enum step s)
{
    c->step = s;
    c->step_started = false;
    c->step_index = c->step_pending = 0;
    c->step_deadline = 0;
}

void bringup_start(struct card *c, enum cif_reset code)
{
    c->reset_code = code;
    c->retry_at = c->now;
    c->rec = REC_NONE;
    enter(c, STEP_RESET);
}

/* As bringup_start, later the more often it failed: but a card that comes back is soon found. */
void bringup_retry(struct card *c, enum cif_reset code)
{
    bringup_start(c, code);
    if (c->failures)
        c->retry_at = c->now + (c->failures > 1 ? RETRY_MS : RETRY_MS / 2) * MS;
}

bool bringup_count_failure(struct card *c, const char *why)
{
    c->failures++;
    if (!c->cfg.tries || c->failures < c->cfg.tries)
        return false;
    recover_gone(c, "it failed %u times in a row, last: %s", c->failures, why);
    return true;
}

/* The bring-up has failed: again after a while. */
void bringup_fail(struct card *c, const char *fmt, ...)
{
    char why[CARD_REASON_MAX];
    const char *name = bringup_step_name(c->step);
    va_list ap;
    if (c->state == CARD_GONE)
        return;
    va_start(ap, fmt);
    vsnprintf(why, sizeof why, fmt, ap);
    va_end(ap);
    c->life++;
    kat_stop(c);
    queue_all_down(c, why);
    if (bringup_count_failure(c, why))
        return;
    if (c->failures < 4 || !(c->failures & (c->failures - 1))) /* then ever more rarely */
        card_log(c, CARD_WARNING, "It is tried again by itself; look at the card if it goes on.",
                 "bring-up failed in step \"%s\" (failure %u in a row): %s", name, c->failures,
                 why);
    snprintf(c->reason, sizeof c->reason, "%s", why);
    bringup_retry(c, CIF_RESET_BRINGUP_FAILED);
    admin_fail_all(c, c->reason);
}

static uint64_t step_time(const struct card *c)
{
    if (steps[c->step].deadline_ms)
        return steps[c->step].deadline_ms * MS;
    uint32_t ready = cif_field(c->timing, CIF_TIMING_READY_MASK, CIF_TIMING_READY_SHIFT);
    return (ready ? ready : 1) * 100 * MS;
}

static void too_late(struct card *c)
{
    /* A card that does not take CONTROL.RESET may take the bus's. */
    if (c->step == STEP_READY && c->bus.reset)
        (void)c->bus.reset(c->bus.ctx);
    bringup_fail(c, "waited %u ms for %s", (unsigned)(step_time(c) / MS), steps[c->step].waits_for);
}

static void finish(struct card *c)
{
    enter(c, STEP_DONE);
    c->hb_fw_missed = c->hb_dp_missed = 0;
    c->hb_at = c->now + c->caps.heartbeat_ms * MS;
    c->running_since = c->now;
    queue_open_all(c);
    card_set_state(c, CARD_RUNNING, "the card works");
}

static enum result run_step(struct card *c)
{
    const struct step_row *s = &steps[c->step];
    enum result r = WAIT;
    if (!c->step_started) {
        c->step_started = true;
        c->step_deadline = c->now + step_time(c);
        if (c->state == CARD_BRINGUP)
            snprintf(c->reason, sizeof c->reason, "bring-up waits for %s", s->waits_for);
        if (s->start)
            r = s->start(c);
    } else if (!s->poll) {
        r = NEXT;
    }
    if (r == WAIT && s->poll)
        r = s->poll(c);
    return r;
}

uint64_t bringup_poll(struct card *c)
{
    if (c->now < c->retry_at)
        return c->retry_at;
    while (c->step != STEP_DONE) {
        unsigned life = c->life;
        enum result r = run_step(c);
        if (r == STOP || c->life != life)
            return c->now < c->retry_at ? c->retry_at : c->now;
        if (r == WAIT) {
            if (c->now >= c->step_deadline)
                too_late(c);
            return c->step == STEP_TREE ? c->now : c->now + POLL_NS;
        }
        if (c->step + 1u == STEP_DONE)
            finish(c);
        else
            enter(c, c->step + 1u);
    }
    return c->now;
}
