/* The card object: life, registers, doorbells, state, and the one poll function. */
#include <endian.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "driver/core/card_internal.h"

static const char *const state_names[] = {"bring-up", "running", "recovering", "gone"};

const char *card_state_name(enum card_state state)
{
    return (unsigned)state < 4 ? state_names[state] : "unknown";
}

enum card_state card_state(const struct card *c)
{
    return c->state;
}

const char *card_reason(const struct card *c)
{
    return c->reason;
}

const char *card_step(const struct card *c)
{
    bool up = c->state == CARD_RUNNING || c->state == CARD_GONE;
    return up ? "" : bringup_step_name(c->step);
}

const struct card_caps *card_caps(const struct card *c)
{
    return c->have_caps ? &c->caps : NULL;
}

uint32_t card_epoch(const struct card *c)
{
    return c->epoch;
}

void card_log(struct card *c, enum card_level level, const char *remedy, const char *fmt, ...)
{
    char text[2 * CARD_REASON_MAX];
    va_list ap;
    if (!c->cb.log)
        return;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    c->cb.log(c->cb.arg, level, text, remedy);
}

/* The one place where the state changes. */
void card_set_state(struct card *c, enum card_state state, const char *why)
{
    if (c->state == CARD_GONE)
        return;
    snprintf(c->reason, sizeof c->reason, "%s", why);
    if (c->state == state)
        return;
    c->state = state;
    if (c->cb.state)
        c->cb.state(c->cb.arg, state, c->reason);
}

bool card_rd(struct card *c, uint32_t off, uint32_t *v)
{
    if (c->state == CARD_GONE)
        return false;
    int err = c->bus.reg_read(c->bus.ctx, off, v);
    if (!err && *v != ~0u)
        return true;
    if (err)
        recover_gone(c, "a register read failed: %s", strerror(-err));
    else
        recover_gone(c, "register %#x reads all ones: the card is unplugged or dead", off);
    return false;
}

bool card_wr(struct card *c, uint32_t off, uint32_t v)
{
    if (c->state == CARD_GONE)
        return false;
    int err = c->bus.reg_write(c->bus.ctx, off, v);
    if (!err)
        return true;
    recover_gone(c, "a register write failed: %s", strerror(-err));
    return false;
}

/* BAR2 is uncached memory, or a page shared with a program: one aligned 32-bit store. */
static uint32_t *db_word(struct card *c, unsigned page, uint32_t word)
{
    size_t off = ((size_t)page << c->db_shift) + word;
    if (!c->bus.doorbells || off + 4 > c->bus.doorbells_len)
        return NULL;
    return (uint32_t *)(void *)(c->bus.doorbells + off);
}

bool card_doorbell(struct card *c, unsigned page, uint32_t word, uint32_t value)
{
    uint32_t *db = db_word(c, page, word), *sleeping;
    if (!db) {
        if (!c->bus.doorbells && c->bus.db_write)
            c->bus.db_write(c->bus.ctx, (uint32_t)((page << c->db_shift) + word), value);
        return false;
    }
    /* Release: the entries are visible before the doorbell. */
    __atomic_store_n(db, htole32(value), __ATOMIC_RELEASE);
    if (!c->wake)
        return false;
    /* The card sets `sleeping`, fences, looks at the doorbells; we write one, fence, look. */
    atomic_thread_fence(memory_order_seq_cst);
    sleeping = db_word(c, page, CIF_DB_SLEEPING);
    if (!sleeping || !__atomic_load_n(sleeping, __ATOMIC_ACQUIRE))
        return false;
    (void)c->bus.reg_write(c->bus.ctx, CIF_REG_WAKE, 1); /* a failure is seen by the heartbeat */
    return true;
}

struct card *card_new(const struct card_bus *bus, const struct card_cfg *cfg,
                      const struct card_callbacks *cbs, uint64_t now)
{
    struct card *c = calloc(1, sizeof *c);
    if (!c)
        return NULL;
    c->fdt = calloc(1, CIF_BAR0_FDT_MAX); /* malloc's alignment is what libfdt needs */
    if (!c->fdt) {
        free(c);
        return NULL;
    }
    c->bus = *bus;
    c->cfg = *cfg;
    c->cb = *cbs;
    c->now = now;
    if (c->cfg.n_tx > CARD_QUEUES_MAX)
        c->cfg.n_tx = CARD_QUEUES_MAX;
    if (c->cfg.n_rx > CARD_QUEUES_MAX)
        c->cfg.n_rx = CARD_QUEUES_MAX;
    if (c->cfg.n_ports > CARD_PORTS_MAX)
        c->cfg.n_ports = CARD_PORTS_MAX;
    if (c->cfg.no_irq)
        c->bus.vectors = 0;
    snprintf(c->reason, sizeof c->reason, "bring-up has just begun");
    bringup_start(c, CIF_RESET_OPEN);
    return c;
}

void card_free(struct card *c)
{
    if (!c)
        return;
    if (c->state != CARD_GONE) {
        /* Level F: keys are wiped and DMA ends before the memory goes. The read makes sure that the
         * write has arrived. */
        uint32_t v;
        (void)c->bus.reg_write(c->bus.ctx, CIF_REG_RESET_REASON, CIF_RESET_CLOSE);
        if (!c->bus.reg_write(c->bus.ctx, CIF_REG_CONTROL, CIF_CONTROL_RESET))
            (void)c->bus.reg_read(c->bus.ctx, CIF_REG_STATUS, &v);
    }
    kat_stop(c);
    queue_teardown(c);
    admin_teardown(c);
    free(c->fdt);
    free(c);
}

static uint64_t min64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* When to come back while the card runs. Interrupts only make it sooner. */
static uint64_t running_next(const struct card *c)
{
    uint64_t next = min64(c->hb_at, admin_next(c));
    if (c->rec != REC_NONE)
        next = min64(next, c->now + POLL_NS);
    return next;
}

static void arm_admin(struct card *c)
{
    if (ring_wants_arm(&c->acq))
        card_doorbell(c, 0, CIF_DB_ACQ_HEAD, (c->acq.idx & 0xffff) | CIF_DB_ARM);
    if (ring_wants_arm(&c->evq))
        card_doorbell(c, 0, CIF_DB_EVQ_HEAD, (c->evq.idx & 0xffff) | CIF_DB_ARM);
}

uint64_t card_poll(struct card *c, uint64_t now)
{
    if (now > c->now)
        c->now = now;
    if (c->state != CARD_GONE && c->bus.alive && !c->bus.alive(c->bus.ctx))
        recover_gone(c, "the connection to the card is closed");
    if (c->state == CARD_GONE)
        return CARD_NEVER;
    uint64_t next = c->now;
    if (c->step != STEP_DONE)
        next = bringup_poll(c);
    if (c->state == CARD_RUNNING) {
        admin_poll(c);
        events_poll(c);
    }
    if (c->state == CARD_RUNNING)
        heartbeat_poll(c);
    if (c->state == CARD_RUNNING)
        queue_poll(c);
    if (c->state == CARD_RUNNING)
        recover_poll(c);
    if (c->state == CARD_RUNNING && c->bus.vectors)
        arm_admin(c);
    if (c->state == CARD_GONE)
        return CARD_NEVER;
    return c->state == CARD_RUNNING ? running_next(c) : next;
}

void card_reset(struct card *c, enum cif_reset code, const char *why)
{
    if (c->state != CARD_GONE)
        recover_reset(c, code, "%s", why);
}

void card_counters(struct card *c, struct card_counters *out)
{
    *out = c->n;
    for (unsigned i = 0; i < queue_count(c); i++) {
        struct queue *q = queue_nth(c, i);
        if (!q)
            continue;
        pthread_mutex_lock(&q->lock);
        out->bad_completions += q->n_bad;
        out->queue_resets += q->n_resets;
        out->wakes += q->n_wakes;
        if (q->tx) {
            out->tx_posted += q->n_posted;
            out->tx_done += q->n_done;
            out->tx_lost += q->n_lost_total;
        } else {
            out->rx_frames += q->n_done;
        }
        pthread_mutex_unlock(&q->lock);
    }
}
