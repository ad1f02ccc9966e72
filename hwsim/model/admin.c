/* The admin queue: submissions in, completions out, and the commands that order others. */
#include <stdlib.h>

#include "hwsim/model/internal.h"

/* --- helpers of the handlers
 * ------------------------------------------------------------------------------- */

uint16_t hw_bad_field(struct hw_cmd *m, uint32_t offset)
{
    m->value = offset;
    return CIF_ST_BAD_FIELD;
}

uint16_t hw_cmd_record(struct hw_card *c, const struct hw_cmd *m, uint8_t *to, size_t size)
{
    if (cif_asq_data_len(m->sqe) < size)
        return CIF_ST_BAD_SIZE;
    return hw_dma_read(c, cif_asq_data(m->sqe), to, size) < 0 ? CIF_ST_DMA_FAULT : CIF_ST_OK;
}

uint16_t hw_cmd_result(struct hw_card *c, const struct hw_cmd *m, const uint8_t *from, size_t size)
{
    if (cif_asq_result_len(m->sqe) < size)
        return CIF_ST_BAD_SIZE;
    return hw_dma_write(c, cif_asq_result(m->sqe), from, size) < 0 ? CIF_ST_DMA_FAULT : CIF_ST_OK;
}

/* --- small commands
 * ------------------------------------------------------------------------------------------ */

static uint16_t get_tree(struct hw_card *c, struct hw_cmd *m)
{
    m->value = c->fdt_len;
    return hw_cmd_result(c, m, c->fdt, c->fdt_len);
}

static uint16_t ping(struct hw_card *c, struct hw_cmd *m)
{
    m->value = cif_asq_arg1(m->sqe);
    return CIF_ST_OK;
}

static uint16_t vector_test(struct hw_card *c, struct hw_cmd *m)
{
    if (cif_asq_arg0(m->sqe) >= c->shape.vectors)
        return CIF_ST_NO_SUCH;
    hw_irq(c, cif_asq_arg0(m->sqe));
    return CIF_ST_OK;
}

static uint16_t fence(struct hw_card *c, struct hw_cmd *m)
{
    return CIF_ST_OK; /* the waiting is done before */
}

/* The commands. Those that contract and card know but that are not here are not built: BAD_OP. */
static const struct {
    hw_handler *run;
    bool batch; /* a `cmd=` fault strikes its records one by one */
} commands[256] = {
    [CIF_OP_GET_TREE] = {get_tree, false},
    [CIF_OP_PING] = {ping, false},
    [CIF_OP_FENCE] = {fence, false},
    [CIF_OP_Q_CREATE] = {hw_q_create, false},
    [CIF_OP_Q_DESTROY] = {hw_q_destroy, false},
    [CIF_OP_Q_RESET] = {hw_q_reset, false},
    [CIF_OP_Q_MODIFY] = {hw_q_modify, false},
    [CIF_OP_VECTOR_TEST] = {vector_test, false},
    [CIF_OP_EVENT_CONFIG] = {hw_cmd_event_config, false},
    [CIF_OP_PORT_SET] = {hw_cmd_port_set, false},
    [CIF_OP_PORT_GET] = {hw_cmd_port_get, false},
    [CIF_OP_SA_ADD] = {hw_sa_cmd_add, true},
    [CIF_OP_SA_MODIFY] = {hw_sa_cmd_modify, true},
    [CIF_OP_SA_START] = {hw_sa_cmd_start, true},
    [CIF_OP_SA_STOP] = {hw_sa_cmd_stop, true},
    [CIF_OP_SA_QUERY] = {hw_sa_cmd_query, false},
    [CIF_OP_SA_FREE] = {hw_sa_cmd_free, true},
    [CIF_OP_SA_FLUSH] = {hw_sa_cmd_flush, false},
    [CIF_OP_STATS] = {hw_cmd_stats, false},
};

/* --- completions
 * -----------------------------------------------------------------------------------------------
 */

static void post(struct hw_card *c, uint8_t *acq)
{
    cif_acq_set_sq_head(acq, c->admin.head);
    if (hw_cq_write(c, &c->admin.acq, acq) < 0)
        c->admin.stopped = true; /* the completion queue is not there: only level A or F helps */
    hw_count(c, HW_PORTS_MAX, NULL, CIF_STAT_ADMIN_COMMANDS, 1);
}

static void make_acq(const struct hw_card *c, const struct hw_cmd *m, uint8_t *acq)
{
    memset(acq, 0, CIF_ACQ_SIZE);
    cif_acq_set_cid(acq, cif_asq_cid(m->sqe));
    cif_acq_set_gen(acq, cif_asq_gen(m->sqe));
    cif_acq_set_status(acq, m->status);
    cif_acq_set_done(acq, m->done);
    cif_acq_set_first_bad(acq, m->first_bad);
    cif_acq_set_value(acq, m->value);
    cif_acq_set_epoch(acq, c->epoch);
}

static struct hw_pending *wait_for(struct hw_card *c, const struct hw_cmd *m, uint64_t due)
{
    struct hw_pending *p = calloc(1, sizeof(*p)), **at = &c->admin.pending;

    if (!p)
        return NULL;
    memcpy(p->sqe, m->sqe, sizeof(p->sqe));
    p->due = due;
    p->serial = c->admin.serial;
    while (*at)
        at = &(*at)->next;
    *at = p;
    c->admin.n_pending++;
    return p;
}

static void forget(struct hw_card *c, struct hw_pending *p)
{
    struct hw_pending **at = &c->admin.pending;

    while (*at != p)
        at = &(*at)->next;
    *at = p->next;
    c->admin.n_pending--;
    free(p);
}

static void finish(struct hw_card *c, const struct hw_cmd *m)
{
    const struct hw_fault *f = hw_fault_hit(
        &c->faults, c->now, &HW_FAULT_AT(HW_SITE_COMPLETION, .queue = HW_AT(HW_FQ_ADMIN)));
    uint8_t acq[CIF_ACQ_SIZE];
    struct hw_pending *p;

    make_acq(c, m, acq);
    if (f && f->what == HW_WHAT_GARBLE)
        hw_garble(c, acq, sizeof(acq));
    if (f && f->what == HW_WHAT_DROP)
        return;
    if (f && f->what == HW_WHAT_DELAY) {
        p = wait_for(c, m, c->now + f->ms * HW_MS);
        if (p) {
            p->executed = true;
            memcpy(p->acq, acq, sizeof(acq));
        }
        return;
    }
    post(c, acq);
    if (f && f->what == HW_WHAT_DOUBLE)
        post(c, acq);
}

/* --- one command
 * --------------------------------------------------------------------------------------------------
 */

static uint16_t check_head(const struct hw_card *c, struct hw_cmd *m)
{
    const uint8_t *s = m->sqe;
    uint8_t known =
        CIF_ADMF_STOP | CIF_ADMF_ATOMIC | (c->feat_drv[0] & CIF_FEAT_ADMIN_CRC ? CIF_ADMF_CRC : 0);

    if (cif_asq_flags(s) & ~known)
        return hw_bad_field(m, CIF_ASQ_FLAGS_OFF);
    if (cif_asq_rsvd0(s))
        return hw_bad_field(m, CIF_ASQ_RSVD0_OFF);
    if (cif_asq_arg2(s))
        return hw_bad_field(m, CIF_ASQ_ARG2_OFF);
    if (cif_asq_owner(s))
        return CIF_ST_NOT_OWNER;
    if (cif_asq_crc(s) != (cif_asq_flags(s) & CIF_ADMF_CRC ? hw_crc32(s, CIF_ASQ_CRC_OFF) : 0u))
        return hw_bad_field(m, CIF_ASQ_CRC_OFF);
    return CIF_ST_OK;
}

/* The fault that refuses this command as a whole. Batches are struck record by record unless the
 * fault says scope=command. */
static const struct hw_fault *refusal(struct hw_card *c, unsigned op)
{
    struct hw_fault_at at = HW_FAULT_AT(HW_SITE_CMD, .op = HW_AT(op), .what = HW_AT(HW_WHAT_REFUSE),
                                        .per_command = true);
    const struct hw_fault *f = hw_fault_hit(&c->faults, c->now, &at);

    at.per_command = false;
    return f || commands[op].batch ? f : hw_fault_hit(&c->faults, c->now, &at);
}

static void execute(struct hw_card *c, struct hw_cmd *m)
{
    unsigned op = cif_asq_op(m->sqe);
    const struct hw_fault *f = refusal(c, op);

    m->first_bad = UINT32_MAX;
    m->status = check_head(c, m);
    if (m->status == CIF_ST_OK && f)
        m->status = (uint16_t)f->status;
    else if (m->status == CIF_ST_OK)
        m->status = commands[op].run ? commands[op].run(c, m) : CIF_ST_BAD_OP;
}

/* ABORT completes after its target has: a command held back before it was carried out ends ABORTED,
 * one whose completion is late completes now with what it did. */
static void abort_command(struct hw_card *c, struct hw_cmd *m)
{
    uint32_t which = cif_asq_arg0(m->sqe);
    struct hw_pending *p;

    for (p = c->admin.pending; p; p = p->next)
        if ((cif_asq_cid(p->sqe) | (uint32_t)cif_asq_gen(p->sqe) << 16) == which)
            break;
    m->status = check_head(c, m);
    m->first_bad = UINT32_MAX;
    if (m->status == CIF_ST_OK && p) {
        if (!p->executed) {
            struct hw_cmd dead = {.status = CIF_ST_ABORTED, .first_bad = UINT32_MAX};

            memcpy(dead.sqe, p->sqe, sizeof(dead.sqe));
            make_acq(c, &dead, p->acq);
        }
        post(c, p->acq);
        forget(c, p);
    }
    finish(c, m);
}

static void serve(struct hw_card *c, struct hw_cmd *m)
{
    unsigned op = cif_asq_op(m->sqe);
    const struct hw_fault *f =
        hw_fault_hit(&c->faults, c->now,
                     &HW_FAULT_AT(HW_SITE_CMD, .op = HW_AT(op), .what = HW_AT(HW_WHAT_DELAY),
                                  .per_command = true));
    struct hw_pending *p;

    c->admin.serial++;
    if (f) {
        wait_for(c, m, c->now + f->ms * HW_MS);
    } else if (op == CIF_OP_FENCE && c->admin.pending) {
        p = wait_for(c, m, c->now);
        if (p)
            p->fence = true;
    } else if (op == CIF_OP_ABORT) {
        abort_command(c, m);
    } else {
        execute(c, m);
        finish(c, m);
    }
}

/* --- what waits
 * -----------------------------------------------------------------------------------------------------
 */

static void wake_up(struct hw_card *c, struct hw_pending *p)
{
    struct hw_cmd m = {.first_bad = UINT32_MAX};
    uint8_t acq[CIF_ACQ_SIZE];

    if (p->executed) {
        memcpy(acq, p->acq, sizeof(acq));
        forget(c, p);
        post(c, acq);
        return;
    }
    memcpy(m.sqe, p->sqe, sizeof(m.sqe));
    forget(c, p);
    execute(c, &m);
    finish(c, &m);
}

/* A fence waits for all that were there before it: for being the first in the list. */
static bool may_wake(const struct hw_card *c, const struct hw_pending *p)
{
    return p->fence ? p == c->admin.pending : p->due <= c->now;
}

static uint64_t run_pending(struct hw_card *c)
{
    struct hw_pending *p, *next;
    uint64_t soonest = HW_NEVER;

    for (p = c->admin.pending; p; p = next) {
        next = p->next;
        if (may_wake(c, p) && hw_cq_room(c, &c->admin.acq) >= 2) {
            wake_up(c, p);
            next = c->admin.pending; /* the list changed: a fence may be first now */
            soonest = HW_NEVER;
        } else if (!p->fence && p->due < soonest) {
            soonest = p->due > c->now ? p->due : c->now + HW_MS;
        }
    }
    return soonest;
}

/* --- the queue
 * --------------------------------------------------------------------------------------------------------
 */

static uint64_t reg64(const struct hw_card *c, unsigned i)
{
    return c->admin_reg[i] | (uint64_t)c->admin_reg[i + 1] << 32;
}

static void latch_cq(const struct hw_card *c, struct hw_cq *q, unsigned reg, uint32_t entry,
                     uint32_t doorbell)
{
    memset(q, 0, sizeof(*q));
    q->base = reg64(c, reg);
    q->size = c->admin_reg[reg + 2];
    q->entry = entry;
    q->doorbell = doorbell;
    q->vector = HW_ADMIN_VECTOR;
}

static bool depth_ok(const struct hw_card *c, uint32_t n)
{
    return n >= CIF_ADMIN_DEPTH_MIN && n <= c->shape.admin_depth && !(n & (n - 1));
}

void hw_admin_latch(struct hw_card *c)
{
    struct hw_admin *a = &c->admin;

    if (!depth_ok(c, c->admin_reg[2]) || !depth_ok(c, c->admin_reg[6]) ||
        !depth_ok(c, c->admin_reg[10]) || c->admin_reg[6] < c->admin_reg[2] ||
        (reg64(c, 0) | reg64(c, 4) | reg64(c, 8)) % CIF_RING_ALIGN)
        return; /* out of order: ignored, STATUS does not change */
    a->asq = reg64(c, 0);
    a->asq_size = c->admin_reg[2];
    a->head = 0;
    latch_cq(c, &a->acq, 4, CIF_ACQ_SIZE, CIF_DB_ACQ_HEAD);
    latch_cq(c, &a->evq, 8, CIF_EVENT_SIZE, CIF_DB_EVQ_HEAD);
    if (hw_db_load(c, CIF_DB_ASQ_TAIL))
        hw_count(c, HW_PORTS_MAX, NULL, CIF_STAT_DB_IGNORED, 1);
    hw_db_store(c, CIF_DB_ASQ_TAIL, 0);
    hw_db_store(c, CIF_DB_ACQ_HEAD, 0);
    hw_db_store(c, CIF_DB_EVQ_HEAD, 0);
    a->on = true;
    a->stopped = false;
    c->ran = true;
}

void hw_admin_off(struct hw_card *c)
{
    while (c->admin.pending)
        forget(c, c->admin.pending);
    c->admin.on = false;
    c->admin.event_mask = 0;
    c->admin.event_interval_ms = 0;
    c->admin.lost = 0;
}

static bool fetch(struct hw_card *c, struct hw_cmd *m)
{
    struct hw_admin *a = &c->admin;
    uint16_t tail = (uint16_t)hw_db_load(c, CIF_DB_ASQ_TAIL);
    uint16_t waiting = (uint16_t)(tail - a->head);
    uint64_t at = a->asq + (uint64_t)(a->head & (a->asq_size - 1)) * CIF_ASQ_SIZE;

    /* every command that waits has its place in the completion queue, and two for this one */
    if (a->stopped || !waiting || hw_cq_room(c, &a->acq) < a->n_pending + 2)
        return false;
    if (waiting > a->asq_size || hw_dma_read(c, at, m->sqe, sizeof(m->sqe)) < 0) {
        a->stopped = true;
        hw_event(c, CIF_EV_QUEUE_ERROR, CIF_SEV_ERROR,
                 waiting > a->asq_size ? CIF_QERR_BAD_TAIL : CIF_QERR_DMA, HW_QID_ADMIN, a->head);
        return false;
    }
    a->head++;
    c->moved = true;
    return true;
}

uint64_t hw_admin_run(struct hw_card *c)
{
    uint64_t next = HW_NEVER, t;
    unsigned n;

    if (!c->admin.on || c->status & CIF_STATUS_FATAL ||
        hw_fault_lasting(&c->faults, c->now, HW_SITE_FIRMWARE, HW_FAULT_ANY))
        return HW_NEVER;
    for (n = 0; n < HW_ADMIN_BUDGET; n++) {
        struct hw_cmd m = {0};

        if (!fetch(c, &m))
            break;
        serve(c, &m);
        explicit_bzero(&m, sizeof(m));
    }
    t = run_pending(c);
    next = t < next ? t : next;
    t = hw_cq_arm(c, &c->admin.acq);
    next = t < next ? t : next;
    t = hw_cq_arm(c, &c->admin.evq);
    return t < next ? t : next;
}
