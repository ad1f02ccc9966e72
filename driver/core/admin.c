/* The admin queue: slots, submission, completion. A slot's buffers belong to its command until the
 * completion, or until a level A or F is known to be done. */
#include <errno.h>
#include <openssl/crypto.h>
#include <string.h>

#include "driver/core/card_internal.h"

int admin_setup(struct card *c)
{
    int err;
    if (c->slots.va)
        return 0;
    err = ring_alloc(c, &c->asq, ADMIN_SLOTS, CIF_ASQ_SIZE);
    if (err)
        return err;
    err = ring_alloc(c, &c->acq, ACQ_SIZE, CIF_ACQ_SIZE);
    if (err)
        goto asq;
    err = ring_alloc(c, &c->evq, EVQ_SIZE, CIF_EVENT_SIZE);
    if (err)
        goto acq;
    err = c->bus.dma_alloc(c->bus.ctx, (size_t)ADMIN_SLOTS * SLOT_SIZE, &c->slots);
    if (err)
        goto evq;
    return 0;
evq:
    ring_free(c, &c->evq);
acq:
    ring_free(c, &c->acq);
asq:
    ring_free(c, &c->asq);
    return err;
}

void admin_teardown(struct card *c)
{
    if (!c->slots.va)
        return;
    OPENSSL_cleanse(c->slots.va, c->slots.len);
    c->bus.dma_free(c->bus.ctx, &c->slots);
    ring_free(c, &c->evq);
    ring_free(c, &c->acq);
    ring_free(c, &c->asq);
}

/* Called when the card does no DMA for the admin queues: before RUN and before ADMIN_RUN. */
void admin_start(struct card *c)
{
    ring_zero(&c->asq);
    ring_zero(&c->acq);
    ring_zero(&c->evq);
    OPENSSL_cleanse(c->slots.va, c->slots.len);
    for (unsigned i = 0; i < ADMIN_SLOTS; i++)
        c->cmd[i].state = CMD_FREE;
    c->asq_head = 0;
}

static bool program_ring(struct card *c, uint32_t reg, const struct ring *r)
{
    return card_wr(c, reg, (uint32_t)r->mem.iova) &&
           card_wr(c, reg + 4, (uint32_t)(r->mem.iova >> 32)) && card_wr(c, reg + 8, r->size);
}

bool admin_program(struct card *c)
{
    return program_ring(c, CIF_REG_ASQ_LO, &c->asq) && program_ring(c, CIF_REG_ACQ_LO, &c->acq) &&
           program_ring(c, CIF_REG_EVQ_LO, &c->evq);
}

uint8_t *admin_data(struct card *c, unsigned slot)
{
    return c->slots.va + (size_t)slot * SLOT_SIZE;
}

uint8_t *admin_result(struct card *c, unsigned slot)
{
    return admin_data(c, slot) + SLOT_DATA;
}

/* A free slot. The last few are kept for the driver's own commands, so that PING and ABORT always
 * find one. */
int admin_begin(struct card *c, bool own, unsigned *slot)
{
    unsigned limit = own ? ADMIN_SLOTS - 1 : ADMIN_SLOTS - ADMIN_RESERVED, used = 0, found = ~0u;
    for (unsigned i = 0; i < ADMIN_SLOTS; i++) {
        if (c->cmd[i].state != CMD_FREE)
            used++;
        else if (found == ~0u)
            found = i;
    }
    if (used >= limit || found == ~0u)
        return -EBUSY;
    c->cmd[found].state = CMD_FILLING;
    *slot = found;
    return 0;
}

/* Fills the entry; the doorbell follows behind a release barrier (card_doorbell). */
static void write_entry(struct card *c, unsigned slot, const struct admin_req *req)
{
    uint8_t *e = ring_at(&c->asq, c->asq.idx);
    uint64_t iova = c->slots.iova + (uint64_t)slot * SLOT_SIZE;
    memset(e, 0, CIF_ASQ_SIZE);
    cif_asq_set_cid(e, (uint16_t)slot);
    cif_asq_set_gen(e, c->cmd[slot].gen);
    cif_asq_set_op(e, req->op);
    cif_asq_set_count(e, req->count);
    cif_asq_set_rec_size(e, req->rec_size);
    if (req->data_len) {
        cif_asq_set_data(e, iova);
        cif_asq_set_data_len(e, req->data_len);
    }
    if (req->result_len) {
        cif_asq_set_result(e, iova + SLOT_DATA);
        cif_asq_set_result_len(e, req->result_len);
    }
    cif_asq_set_arg0(e, req->arg0);
    cif_asq_set_arg1(e, req->arg1);
    c->asq.idx++;
}

int admin_send(struct card *c, unsigned slot, const struct admin_req *req)
{
    struct cmd *cmd = &c->cmd[slot];
    cmd->gen++;
    cmd->op = req->op;
    cmd->secret = req->secret;
    cmd->own = req->own;
    cmd->reset_on_overdue = req->reset_on_overdue;
    cmd->stamped = false;
    cmd->count = req->count;
    cmd->result_len = req->result_len;
    cmd->cb = req->cb;
    cmd->arg = req->arg;
    cmd->state = CMD_SENT;
    /* 0xffff in a record's status afterwards means that it was not tried. */
    memset(admin_result(c, slot), 0xff, req->result_len);
    write_entry(c, slot, req);
    c->n.commands++;
    card_doorbell(c, 0, CIF_DB_ASQ_TAIL, c->asq.idx & 0xffff);
    return 0;
}

/* --- completion
 * -------------------------------------------------------------------------------------- */

static bool is_batch(uint8_t op)
{
    return op == CIF_OP_SA_ADD || op == CIF_OP_SA_MODIFY || op == CIF_OP_SA_START ||
           op == CIF_OP_SA_STOP || op == CIF_OP_SA_FREE;
}

static unsigned copy_records(struct card *c, unsigned slot, struct card_rec *out)
{
    const uint8_t *res = admin_result(c, slot);
    unsigned n = c->cmd[slot].count;
    for (unsigned i = 0; i < n; i++) {
        const uint8_t *r = res + (size_t)i * CIF_REC_STATUS_SIZE;
        out[i].status = cif_rec_status_status(r);
        out[i].handle = cif_rec_status_handle(r);
        out[i].value = cif_rec_status_value(r);
    }
    return n;
}

/* What a query wrote: never more than was asked for. */
static void result_extent(const struct cmd *cmd, struct card_reply *reply)
{
    if (cmd->op == CIF_OP_SA_QUERY) {
        uint32_t room = cmd->result_len / CIF_SA_STATE_SIZE;
        reply->n = reply->done < room ? reply->done : room;
        reply->len = (size_t)reply->n * CIF_SA_STATE_SIZE;
    } else {
        reply->len = cmd->result_len;
    }
}

static void release(struct card *c, unsigned slot)
{
    struct cmd *cmd = &c->cmd[slot];
    if (cmd->secret)
        OPENSSL_cleanse(admin_data(c, slot), SLOT_DATA);
    else
        memset(admin_data(c, slot), 0, SLOT_DATA);
    cmd->state = CMD_FREE;
    cmd->cb = NULL;
}

static void deliver(struct card *c, unsigned slot, struct card_reply *reply)
{
    struct cmd *cmd = &c->cmd[slot];
    struct card_rec rec[CARD_BATCH_MAX];
    uint8_t data[SLOT_RESULT]; /* the card could change shared memory under the reader */
    if (!reply->err && is_batch(cmd->op)) {
        reply->n = copy_records(c, slot, rec);
        reply->rec = rec;
    } else if (!reply->err && cmd->result_len) {
        result_extent(cmd, reply);
        memcpy(data, admin_result(c, slot), reply->len);
        reply->data = data;
    }
    card_cb cb = cmd->cb;
    void *arg = cmd->arg;
    release(c, slot);
    if (cb)
        cb(arg, reply);
}

static void bad(struct card *c, const char *what, unsigned cid)
{
    c->n.bad_completions++;
    if (c->n.bad_completions < 16 || !(c->n.bad_completions & 0xff))
        card_log(c, CARD_WARNING, "Report it to the card's vendor if it goes on.",
                 "the card completed an admin command that %s (command id %u)", what, cid);
}

static void complete(struct card *c, const uint8_t *e)
{
    unsigned cid = cif_acq_cid(e);
    if (cif_acq_epoch(e) != c->epoch) {
        recover_reset(c, CIF_RESET_EPOCH,
                      "the card's epoch changed from %u to %u: it lost its state", c->epoch,
                      cif_acq_epoch(e));
        return;
    }
    if (cid >= ADMIN_SLOTS || c->cmd[cid].state != CMD_SENT) {
        bad(c, "is not in flight", cid);
        return;
    }
    if (cif_acq_gen(e) != c->cmd[cid].gen) {
        bad(c, "belongs to an earlier use of its id", cid);
        return;
    }
    unsigned status = cif_acq_status(e);
    struct card_reply reply = {.status = (uint16_t)status,
                               .value = cif_acq_value(e),
                               .done = cif_acq_done(e),
                               .why = cif_status_text(status)};
    deliver(c, cid, &reply);
}

static void stamp(struct card *c)
{
    for (unsigned i = 0; i < ADMIN_SLOTS; i++) {
        struct cmd *cmd = &c->cmd[i];
        if (cmd->state != CMD_SENT || cmd->stamped)
            continue;
        cmd->deadline = c->now + c->caps.timeout_ms[cif_op_timeout(cmd->op)] * MS;
        cmd->stamped = true;
    }
}

static void check_overdue(struct card *c)
{
    unsigned life = c->life;
    for (unsigned i = 0; i < ADMIN_SLOTS && c->life == life; i++) {
        struct cmd *cmd = &c->cmd[i];
        if (cmd->state == CMD_SENT && cmd->stamped && !cmd->own && c->now >= cmd->deadline)
            recover_overdue(c, i);
    }
}

void admin_poll(struct card *c)
{
    uint8_t e[CIF_ACQ_SIZE];
    unsigned life = c->life, n = 0;
    int got = 0;
    stamp(c);
    /* A completion may reset the card: then the ring is no longer ours to read. */
    while (n < 2 * ACQ_SIZE && c->life == life && (got = ring_take(&c->acq, e)) > 0) {
        n++;
        complete(c, e);
    }
    if (c->life != life)
        return;
    if (n)
        card_doorbell(c, 0, CIF_DB_ACQ_HEAD, c->acq.idx & 0xffff);
    if (got < 0) {
        c->n.bad_completions++;
        recover_reset(c, CIF_RESET_BAD_COMPLETION,
                      "the admin completion queue has an entry that cannot be: a completion was "
                      "lost, or its phase is wrong");
        return;
    }
    stamp(c);
    check_overdue(c);
}

void admin_fail_all(struct card *c, const char *why)
{
    for (unsigned i = 0; i < ADMIN_SLOTS; i++) {
        struct cmd *cmd = &c->cmd[i];
        if (cmd->state != CMD_SENT)
            continue;
        struct card_reply reply = {.err = -ETIMEDOUT, .status = 0xffff, .why = why};
        card_cb cb = cmd->cb;
        void *arg = cmd->arg;
        cmd->cb = NULL; /* the slot stays taken: the card may still write there */
        if (cb)
            cb(arg, &reply);
    }
}

uint64_t admin_next(const struct card *c)
{
    for (unsigned i = 0; i < ADMIN_SLOTS; i++) {
        if (c->cmd[i].state == CMD_SENT)
            return c->now + POLL_NS;
    }
    return CARD_NEVER;
}
