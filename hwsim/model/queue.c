/* Packet queues: their commands, their completions, what happens when one errs. */
#include <stdlib.h>

#include "hwsim/model/internal.h"

void hw_queue_error(struct hw_card *c, struct hw_queue *q, unsigned qerr, uint16_t index)
{
    if (q->stopped)
        return;
    q->stopped = true;
    hw_event(c, CIF_EV_QUEUE_ERROR, CIF_SEV_ERROR, qerr, q->qid, index);
}

/* --- completions
 * ------------------------------------------------------------------------------------ */

bool hw_queue_may_complete(const struct hw_card *c, const struct hw_queue *q)
{
    /* two: a fault may write one twice; late ones will want their places, too */
    uint32_t need = q->n_late + (c->faults.per_site[HW_SITE_COMPLETION] ? 2u : 1u);

    return hw_cq_room(c, &q->cq) >= need;
}

static void write_entry(struct hw_card *c, struct hw_queue *q, const uint8_t *entry)
{
    if (hw_cq_write(c, &q->cq, entry) < 0)
        hw_queue_error(c, q, CIF_QERR_DMA, (uint16_t)q->cq.count);
}

static void put_off(struct hw_queue *q, const uint8_t *entry, uint64_t due)
{
    struct hw_late *l = calloc(1, sizeof(*l));

    if (!l)
        return; /* as if lost */
    l->due = due;
    memcpy(l->entry, entry, q->cq.entry);
    if (!q->late)
        q->late_end = &q->late;
    *q->late_end = l;
    q->late_end = &l->next;
    q->n_late++;
}

void hw_queue_complete(struct hw_card *c, struct hw_queue *q, const uint8_t *entry)
{
    unsigned kind = q->type == CIF_QTYPE_TX ? HW_FQ_TX : HW_FQ_RX;
    const struct hw_fault *f =
        hw_fault_hit(&c->faults, c->now,
                     &HW_FAULT_AT(HW_SITE_COMPLETION, .queue = HW_AT(kind), .qid = HW_AT(q->qid)));
    uint8_t noise[sizeof(((struct hw_late *)0)->entry)];

    if (f && f->what == HW_WHAT_GARBLE) {
        hw_garble(c, noise, sizeof(noise));
        entry = noise;
    }
    if (f && f->what == HW_WHAT_DROP)
        return;
    if (q->late || (f && f->what == HW_WHAT_DELAY)) {
        put_off(q, entry, c->now + (f && f->what == HW_WHAT_DELAY ? f->ms * HW_MS : 0));
        return;
    }
    write_entry(c, q, entry);
    if (f && f->what == HW_WHAT_DOUBLE)
        write_entry(c, q, entry);
}

uint64_t hw_queue_late(struct hw_card *c, struct hw_queue *q)
{
    struct hw_late *l;

    while ((l = q->late) && l->due <= c->now && hw_cq_room(c, &q->cq)) {
        q->late = l->next;
        q->n_late--;
        if (!q->stopped)
            write_entry(c, q, l->entry);
        free(l);
        c->moved = true;
    }
    if (!l)
        return HW_NEVER;
    return l->due > c->now ? l->due : c->now + HW_MS; /* no room: look again soon */
}

/* --- life
 * -------------------------------------------------------------------------------------------- */

void hw_queue_clear(struct hw_card *c, struct hw_queue *q)
{
    struct hw_late *l;
    struct hw_held *h;
    uint32_t page = hw_db_page(q->qid);
    uint16_t waiting = (uint16_t)(hw_db_load(c, page + CIF_DB_TAIL) - q->head);

    if (q->exists && q->type == CIF_QTYPE_TX && waiting <= q->size)
        hw_count(c, q->port, q, CIF_STAT_TX_FLUSHED, waiting);
    while ((l = q->late)) {
        q->late = l->next;
        free(l);
    }
    while ((h = q->held)) {
        q->held = h->next;
        free(h);
        hw_count(c, q->port, q, CIF_STAT_RX_FROZEN, 1);
    }
    q->n_held = q->n_late = 0;
    q->head = 0;
    q->cq.count = 0;
    q->cq.unfired = 0;
    q->stopped = false;
    hw_db_store(c, page + CIF_DB_TAIL, 0);
    hw_db_store(c, page + CIF_DB_CQ_HEAD, 0);
}

void hw_queues_drop(struct hw_card *c)
{
    unsigned i;

    for (i = 0; i < c->n_queues; i++) {
        if (!c->queues[i].exists)
            continue;
        hw_queue_clear(c, &c->queues[i]);
        c->queues[i].exists = false;
    }
}

unsigned hw_queues_alive(const struct hw_card *c)
{
    unsigned n = 0, i;

    for (i = 0; i < c->n_queues; i++)
        n += c->queues[i].exists;
    return n;
}

/* --- commands
 * ----------------------------------------------------------------------------------------- */

static bool power_of_two(uint32_t v)
{
    return v && !(v & (v - 1));
}

static unsigned alive_of(const struct hw_card *c, unsigned type)
{
    unsigned n = 0, i;

    for (i = 0; i < c->n_queues; i++)
        n += c->queues[i].exists && c->queues[i].type == type;
    return n;
}

/* Offset of the first field that cannot be, UINT32_MAX when all is well. */
static uint32_t bad_queue_field(const struct hw_card *c, const uint8_t *r)
{
    uint32_t n = cif_q_create_ring_size(r), m = cif_q_create_cq_size(r);

    if (cif_q_create_type(r) != CIF_QTYPE_TX && cif_q_create_type(r) != CIF_QTYPE_RX)
        return CIF_Q_CREATE_TYPE_OFF;
    if (cif_q_create_flags(r) & ~CIF_QF_NO_IRQ)
        return CIF_Q_CREATE_FLAGS_OFF;
    if (cif_q_create_ring(r) % CIF_RING_ALIGN)
        return CIF_Q_CREATE_RING_OFF;
    if (cif_q_create_cq(r) % CIF_RING_ALIGN)
        return CIF_Q_CREATE_CQ_OFF;
    if (!power_of_two(n) || n < CIF_RING_DEPTH_MIN || n > c->shape.ring_depth)
        return CIF_Q_CREATE_RING_SIZE_OFF;
    if (!power_of_two(m) || m < n || m > CIF_RING_DEPTH_MAX)
        return CIF_Q_CREATE_CQ_SIZE_OFF;
    if (cif_q_create_mod_usec(r) > c->shape.mod_us_max)
        return CIF_Q_CREATE_MOD_USEC_OFF;
    if (!hw_all_zero(cif_q_create_rsvd0(r), CIF_Q_CREATE_SIZE - CIF_Q_CREATE_RSVD0_OFF))
        return CIF_Q_CREATE_RSVD0_OFF;
    return UINT32_MAX;
}

static uint16_t check_queue(struct hw_card *c, struct hw_cmd *m, const uint8_t *r)
{
    uint32_t bad = bad_queue_field(c, r);
    unsigned type = cif_q_create_type(r), port = cif_q_create_port(r);

    if (bad != UINT32_MAX)
        return hw_bad_field(m, bad);
    if (cif_q_create_qid(r) >= c->n_queues ||
        alive_of(c, type) >= (type == CIF_QTYPE_TX ? c->shape.tx_max : c->shape.rx_max))
        return CIF_ST_NO_QUEUE;
    if (port >= c->shape.n_ports || !c->ports[port].present)
        return CIF_ST_NO_SUCH;
    if (cif_q_create_vector(r) >= c->shape.vectors && !(cif_q_create_flags(r) & CIF_QF_NO_IRQ))
        return CIF_ST_NO_QUEUE;
    return CIF_ST_OK;
}

static void make_queue(struct hw_card *c, struct hw_queue *q, const uint8_t *r)
{
    q->type = cif_q_create_type(r);
    q->port = cif_q_create_port(r);
    q->ring = cif_q_create_ring(r);
    q->size = cif_q_create_ring_size(r);
    q->cq.base = cif_q_create_cq(r);
    q->cq.size = cif_q_create_cq_size(r);
    q->cq.entry = q->type == CIF_QTYPE_TX ? CIF_TXC_SIZE : CIF_RXC_SIZE;
    q->cq.doorbell = hw_db_page(q->qid) + CIF_DB_CQ_HEAD;
    q->cq.vector = cif_q_create_vector(r);
    q->cq.no_irq = cif_q_create_flags(r) & CIF_QF_NO_IRQ;
    q->cq.mod_usec = cif_q_create_mod_usec(r);
    q->cq.mod_count = cif_q_create_mod_count(r);
    memcpy(q->record, r, sizeof(q->record));
    memset(q->stats, 0, sizeof(q->stats));
    if (hw_db_load(c, hw_db_page(q->qid) + CIF_DB_TAIL))
        hw_count(c, HW_PORTS_MAX, NULL, CIF_STAT_DB_IGNORED, 1);
    hw_queue_clear(c, q);
    q->exists = true;
}

uint16_t hw_q_create(struct hw_card *c, struct hw_cmd *m)
{
    uint8_t r[CIF_Q_CREATE_SIZE];
    uint16_t st = hw_cmd_record(c, m, r, sizeof(r));
    struct hw_queue *q;

    if (st != CIF_ST_OK)
        return st;
    q = cif_q_create_qid(r) < c->n_queues ? &c->queues[cif_q_create_qid(r)] : NULL;
    if (q && q->exists)
        return memcmp(q->record, r, sizeof(r)) ? hw_bad_field(m, CIF_Q_CREATE_QID_OFF)
                                               : CIF_ST_ALREADY;
    st = check_queue(c, m, r);
    if (st == CIF_ST_OK)
        make_queue(c, q, r);
    return st;
}

static struct hw_queue *queue_of(struct hw_card *c, const struct hw_cmd *m)
{
    uint32_t qid = cif_asq_arg0(m->sqe);

    return qid < c->n_queues && c->queues[qid].exists ? &c->queues[qid] : NULL;
}

uint16_t hw_q_destroy(struct hw_card *c, struct hw_cmd *m)
{
    struct hw_queue *q = queue_of(c, m);

    if (q) {
        hw_queue_clear(c, q);
        q->exists = false;
    }
    return CIF_ST_OK;
}

uint16_t hw_q_reset(struct hw_card *c, struct hw_cmd *m)
{
    struct hw_queue *q = queue_of(c, m);

    if (!q)
        return CIF_ST_NO_SUCH;
    hw_queue_clear(c, q);
    return CIF_ST_OK;
}

uint16_t hw_q_modify(struct hw_card *c, struct hw_cmd *m)
{
    struct hw_queue *q = queue_of(c, m);
    uint64_t arg = cif_asq_arg1(m->sqe);

    if (!q)
        return CIF_ST_NO_SUCH;
    if (arg >> 32 || (arg & 0xffff) > c->shape.mod_us_max)
        return hw_bad_field(m, CIF_ASQ_ARG1_OFF);
    q->cq.mod_usec = (uint16_t)arg;
    q->cq.mod_count = (uint16_t)(arg >> 16);
    return CIF_ST_OK;
}
