/* A card of a few hundred lines that does what the script says, lies included. Memory addresses are
 * the host's own pointers. */
#ifndef FAKE_CARD_H
#define FAKE_CARD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef FAKE_NO_CMOCKA /* a fuzz target: a failed check is a finding */
#define assert_int_equal(a, b) ((a) == (b) ? (void)0 : abort())
#define assert_non_null(a)     ((a) ? (void)0 : abort())
#else
#include <cmocka.h>
#endif
#include <errno.h>
#include <libfdt.h>
#include <sallyport/card.h>

#include "driver/core/card_internal.h"

/* Each test uses what it needs of this. */
#define FAKE __attribute__((unused)) static

#define FAKE_PAGES 33
#define FAKE_MS    1000000ull

struct fake_queue {
    bool up;
    bool tx;
    uint64_t ring, cq;
    uint32_t size, cq_size, head, cq_idx;
};

enum fake_answer { FAKE_OK, FAKE_HOLD, FAKE_TWICE };

struct fake {
    uint8_t db[FAKE_PAGES << 12] __attribute__((aligned(4096)));
    uint32_t reg[0x100 / 4];
    uint8_t fdt[8192] __attribute__((aligned(8)));
    uint32_t fdt_len;
    uint32_t asq_head, acq_idx, evq_idx;
    struct fake_queue q[32];
    unsigned maps; /* DMA maps alive */
    bool dead, no_ready, frozen_fw, frozen_dp, admin_deaf, ignore_admin_reset;
    unsigned resets, wakes, commands[256];
    /* The script: what to do with a command; NULL = OK. May change status and value. */
    enum fake_answer (*script)(struct fake *f, const uint8_t *asq, uint16_t *status,
                               uint64_t *value);
    void *user;
    /* what the driver said */
    enum card_state states[64];
    unsigned n_states, n_down, n_up, n_lost, n_events, n_logs;
    char last_log[512];
    uint64_t now;
    struct card *card;
};

FAKE uint32_t *fake_reg(struct fake *f, uint32_t off)
{
    return &f->reg[off / 4];
}

FAKE uint64_t fake_reg64(struct fake *f, uint32_t off)
{
    return *fake_reg(f, off) | (uint64_t)*fake_reg(f, off + 4) << 32;
}

FAKE uint32_t fake_db(struct fake *f, unsigned page, uint32_t word)
{
    return cif_get32(f->db + ((size_t)page << 12) + word);
}

FAKE void fake_zero_db(struct fake *f, unsigned page)
{
    memset(f->db + ((size_t)page << 12), 0, 12);
}

FAKE void fake_power(struct fake *f)
{
    memset(f->q, 0, sizeof f->q);
    for (unsigned i = 0; i < FAKE_PAGES; i++)
        fake_zero_db(f, i);
    f->asq_head = f->acq_idx = f->evq_idx = 0;
    *fake_reg(f, CIF_REG_STATUS) = f->no_ready ? CIF_STATUS_RESETTING : CIF_STATUS_READY;
}

FAKE void fake_control(struct fake *f, uint32_t v)
{
    uint32_t *status = fake_reg(f, CIF_REG_STATUS);
    if (v & CIF_CONTROL_RESET) {
        ++*fake_reg(f, CIF_REG_EPOCH);
        f->resets++;
        fake_power(f);
    }
    if (v & CIF_CONTROL_FEATURES_OK)
        *status |= CIF_STATUS_FEATURES_OK;
    if (v & CIF_CONTROL_RUN) {
        fake_zero_db(f, 0);
        *status |= CIF_STATUS_RUNNING;
    }
    if (v & CIF_CONTROL_ADMIN_RESET && !f->ignore_admin_reset)
        *status |= CIF_STATUS_ADMIN_OFF;
    if (v & CIF_CONTROL_ADMIN_RUN) {
        fake_zero_db(f, 0);
        f->asq_head = f->acq_idx = f->evq_idx = 0;
        *status &= ~CIF_STATUS_ADMIN_OFF;
    }
}

FAKE int fake_read(void *ctx, uint32_t off, uint32_t *v)
{
    struct fake *f = ctx;
    if (f->dead) {
        *v = ~0u;
        return 0;
    }
    if (off >= CIF_BAR0_FDT_OFF)
        *v = cif_get32(f->fdt + (off - CIF_BAR0_FDT_OFF));
    else
        *v = *fake_reg(f, off);
    return 0;
}

FAKE int fake_write(void *ctx, uint32_t off, uint32_t v)
{
    struct fake *f = ctx;
    if (off == CIF_REG_CONTROL)
        fake_control(f, v);
    else if (off == CIF_REG_WAKE)
        f->wakes++;
    else
        *fake_reg(f, off) = v;
    return 0;
}

#ifdef FAKE_NO_CMOCKA
/* Fuzzing makes thousands of cards: their memory is used again instead of faulted in anew. */
static uint8_t fake_arena[4 << 20] __attribute__((aligned(4096)));
static size_t fake_arena_used;

FAKE void *fake_memory(size_t len)
{
    void *p = fake_arena + fake_arena_used;
    if (len > sizeof fake_arena - fake_arena_used)
        abort();
    fake_arena_used += len;
    return p;
}
#define fake_release(p) ((void)(p))
#else
#define fake_memory(len) aligned_alloc(4096, len)
#define fake_release(p)  free(p)
#endif

FAKE int fake_alloc(void *ctx, size_t len, struct card_dma *out)
{
    struct fake *f = ctx;
    out->va = fake_memory((len + 4095) & ~(size_t)4095);
    if (!out->va)
        return -ENOMEM;
    memset(out->va, 0, len);
    out->iova = (uint64_t)(uintptr_t)out->va;
    out->len = len;
    f->maps++;
    return 0;
}

FAKE void fake_free(void *ctx, struct card_dma *mem)
{
    struct fake *f = ctx;
    fake_release(mem->va);
    mem->va = NULL;
    f->maps--;
}

FAKE uint8_t *fake_mem(uint64_t iova)
{
    return (uint8_t *)(uintptr_t)iova;
}

/* --- entries the card writes ------------------------------------------------------------------ */

FAKE void fake_acq(struct fake *f, const uint8_t *asq, uint16_t status, uint64_t value)
{
    uint32_t size = *fake_reg(f, CIF_REG_ACQ_SIZE);
    uint8_t *e =
        fake_mem(fake_reg64(f, CIF_REG_ACQ_LO)) + (size_t)(f->acq_idx & (size - 1)) * CIF_ACQ_SIZE;
    cif_acq_set_cid(e, cif_asq_cid(asq));
    cif_acq_set_gen(e, cif_asq_gen(asq));
    cif_acq_set_status(e, status);
    cif_acq_set_value(e, value);
    cif_acq_set_done(e, cif_asq_count(asq));
    cif_acq_set_epoch(e, *fake_reg(f, CIF_REG_EPOCH));
    cif_acq_set_phase(e, cif_phase(f->acq_idx / size));
    f->acq_idx++;
}

FAKE void fake_event(struct fake *f, uint8_t type, uint16_t qual, uint32_t id)
{
    uint32_t size = *fake_reg(f, CIF_REG_EVQ_SIZE);
    uint8_t *e = fake_mem(fake_reg64(f, CIF_REG_EVQ_LO)) +
                 (size_t)(f->evq_idx & (size - 1)) * CIF_EVENT_SIZE;
    cif_event_set_type(e, type);
    cif_event_set_qual(e, qual);
    cif_event_set_id(e, id);
    cif_event_set_epoch_lo(e, (uint16_t)*fake_reg(f, CIF_REG_EPOCH));
    cif_event_set_phase(e, cif_phase(f->evq_idx / size));
    f->evq_idx++;
}

/* The next completion slot of queue qid, not yet visible; fake_show makes it so. */
FAKE uint8_t *fake_cqe(struct fake *f, unsigned qid)
{
    struct fake_queue *q = &f->q[qid];
    uint32_t esize = q->tx ? CIF_TXC_SIZE : CIF_RXC_SIZE;
    uint8_t *e = fake_mem(q->cq) + (size_t)(q->cq_idx & (q->cq_size - 1)) * esize;
    uint8_t phase = e[esize - 1];
    memset(e, 0, esize);
    e[esize - 1] = phase;
    return e;
}

FAKE void fake_show(struct fake *f, unsigned qid, uint8_t *e)
{
    struct fake_queue *q = &f->q[qid];
    e[(q->tx ? CIF_TXC_SIZE : CIF_RXC_SIZE) - 1] = cif_phase(q->cq_idx / q->cq_size);
    q->cq_idx++;
}

/* An honest Tx completion for the oldest descriptor; the caller may spoil it before fake_show. */
FAKE uint8_t *fake_txc(struct fake *f, unsigned qid, uint8_t status)
{
    struct fake_queue *q = &f->q[qid];
    const uint8_t *d = fake_mem(q->ring) + (size_t)(q->head & (q->size - 1)) * CIF_TXD_SIZE;
    uint8_t *e = fake_cqe(f, qid);
    q->head++;
    cif_txc_set_seq_first(e, cif_txd_seq(d));
    cif_txc_set_sa_handle(e, cif_txd_sa_handle(d));
    cif_txc_set_tag(e, cif_txd_tag(d));
    cif_txc_set_sq_head(e, (uint16_t)q->head);
    cif_txc_set_segs(e, 1);
    cif_txc_set_status(e, status);
    cif_txc_set_kind(e, cif_txd_op(d));
    cif_txc_set_qid(e, (uint16_t)qid);
    return e;
}

/* A received frame into the oldest buffer. */
FAKE uint8_t *fake_rxc(struct fake *f, unsigned qid, uint8_t kind, const void *frame, uint32_t len)
{
    struct fake_queue *q = &f->q[qid];
    const uint8_t *b = fake_mem(q->ring) + (size_t)(q->head & (q->size - 1)) * CIF_RXB_SIZE;
    uint8_t *e = fake_cqe(f, qid);
    if (len <= cif_rxb_len(b))
        memcpy(fake_mem(cif_rxb_addr(b)), frame, len);
    cif_rxc_set_first_idx(e, (uint16_t)q->head);
    cif_rxc_set_nbufs(e, 1);
    cif_rxc_set_len(e, len);
    cif_rxc_set_kind(e, kind);
    cif_rxc_set_qid(e, (uint16_t)qid);
    cif_rxc_set_sa_handle(e, CIF_HANDLE_NONE);
    q->head++;
    return e;
}

/* --- commands --------------------------------------------------------------------------------- */

FAKE void fake_q_create(struct fake *f, const uint8_t *rec)
{
    struct fake_queue *q = &f->q[cif_q_create_qid(rec) & 31];
    *q = (struct fake_queue){.up = true,
                             .tx = cif_q_create_type(rec) == CIF_QTYPE_TX,
                             .ring = cif_q_create_ring(rec),
                             .cq = cif_q_create_cq(rec),
                             .size = cif_q_create_ring_size(rec),
                             .cq_size = cif_q_create_cq_size(rec)};
}

FAKE void fake_batch(const uint8_t *asq)
{
    uint8_t *res = fake_mem(cif_asq_result(asq));
    for (unsigned i = 0; i < cif_asq_count(asq); i++, res += CIF_REC_STATUS_SIZE) {
        memset(res, 0, CIF_REC_STATUS_SIZE);
        cif_rec_status_set_handle(res, 0x01000000u + i);
    }
}

FAKE void fake_command(struct fake *f, const uint8_t *asq)
{
    uint16_t status = CIF_ST_OK;
    uint64_t value = cif_asq_arg1(asq);
    uint8_t op = cif_asq_op(asq);
    enum fake_answer a = f->script ? f->script(f, asq, &status, &value) : FAKE_OK;
    f->commands[op]++;
    if (a == FAKE_HOLD)
        return;
    if (op == CIF_OP_Q_CREATE)
        fake_q_create(f, fake_mem(cif_asq_data(asq)));
    if (op == CIF_OP_Q_RESET) {
        struct fake_queue *q = &f->q[cif_asq_arg0(asq) & 31];
        q->head = q->cq_idx = 0;
        fake_zero_db(f, 1 + (cif_asq_arg0(asq) & 31));
    }
    if (op >= CIF_OP_SA_ADD && op <= CIF_OP_SA_STOP && op != CIF_OP_SA_QUERY &&
        cif_asq_result_len(asq) && status == CIF_ST_OK)
        fake_batch(asq);
    fake_acq(f, asq, status, value);
    if (a == FAKE_TWICE)
        fake_acq(f, asq, status, value);
}

FAKE void fake_admin(struct fake *f)
{
    uint32_t status = *fake_reg(f, CIF_REG_STATUS);
    if (!(status & CIF_STATUS_RUNNING) || status & CIF_STATUS_ADMIN_OFF || f->admin_deaf)
        return;
    uint32_t size = *fake_reg(f, CIF_REG_ASQ_SIZE);
    while ((uint16_t)f->asq_head != (uint16_t)fake_db(f, 0, CIF_DB_ASQ_TAIL)) {
        const uint8_t *e = fake_mem(fake_reg64(f, CIF_REG_ASQ_LO)) +
                           (size_t)(f->asq_head & (size - 1)) * CIF_ASQ_SIZE;
        f->asq_head++;
        fake_command(f, e);
    }
}

/* --- what the driver says --------------------------------------------------------------------- */

FAKE void fake_on_state(void *arg, enum card_state s, const char *why)
{
    struct fake *f = arg;
    if (f->n_states < 64)
        f->states[f->n_states++] = s;
}

FAKE void fake_on_queue(void *arg, bool tx, unsigned q, bool up, unsigned lost, const char *why)
{
    struct fake *f = arg;
    if (up) {
        f->n_up++;
        f->n_lost += lost;
    } else {
        f->n_down++;
    }
}

FAKE void fake_on_event(void *arg, const struct card_event *ev)
{
    ((struct fake *)arg)->n_events++;
}

FAKE void fake_on_log(void *arg, enum card_level level, const char *what, const char *remedy)
{
    struct fake *f = arg;
    f->n_logs++;
    snprintf(f->last_log, sizeof f->last_log, "%s", what);
}

/* A card in hardware: it does not claim doorbell-wake. */
static bool fake_silicon;

/* --- a tree, and the whole ----------------------------------------------------------------------
 */

FAKE void fake_tree(struct fake *f)
{
    const fdt32_t timeouts[3] = {cpu_to_fdt32(20), cpu_to_fdt32(50), cpu_to_fdt32(1000)};
    const uint8_t mac[6] = {2, 0, 0, 0, 0, 1};
    void *t = f->fdt;
    assert_int_equal(fdt_create(t, sizeof f->fdt), 0);
    fdt_finish_reservemap(t);
    fdt_begin_node(t, "");
    fdt_property_string(t, "compatible", "sallyport,card");
    fdt_property_string(t, "model", "fake,card");
    fdt_begin_node(t, "admin");
    fdt_property_u32(t, "depth-max", 64);
    fdt_property_u32(t, "batch-max", 16);
    fdt_property(t, "timeout-ms", timeouts, sizeof timeouts);
    fdt_end_node(t);
    fdt_begin_node(t, "queues");
    fdt_property_u32(t, "tx-max", 8);
    fdt_property_u32(t, "rx-max", 8);
    fdt_property_u32(t, "depth-max", 256);
    fdt_property_u32(t, "addr-align", 1);
    if (!fake_silicon)
        fdt_property(t, "doorbell-wake", NULL, 0);
    fdt_end_node(t);
    fdt_begin_node(t, "ports");
    fdt_begin_node(t, "port@0");
    fdt_property_u32(t, "reg", 0);
    fdt_property(t, "mac", mac, sizeof mac);
    fdt_end_node(t);
    fdt_end_node(t);
    fdt_end_node(t);
    assert_int_equal(fdt_finish(t), 0);
    f->fdt_len = fdt_totalsize(t);
}

FAKE void fake_publish_tree(struct fake *f)
{
    *fake_reg(f, CIF_REG_FDT_OFF) = CIF_BAR0_FDT_OFF;
    *fake_reg(f, CIF_REG_FDT_SIZE) = f->fdt_len;
    *fake_reg(f, CIF_REG_FDT_CRC) = card_crc32(f->fdt, f->fdt_len);
}

FAKE struct fake *fake_new(void)
{
    struct fake *f;
#ifdef FAKE_NO_CMOCKA
    fake_arena_used = 0;
#endif
    f = fake_memory((sizeof *f + 4095) & ~(size_t)4095);
    assert_non_null(f);
    memset(f, 0, sizeof *f);
    *fake_reg(f, CIF_REG_MAGIC) = CIF_MAGIC;
    *fake_reg(f, CIF_REG_VERSION) = 0x10000;
    *fake_reg(f, CIF_REG_EPOCH) = 41;
    *fake_reg(f, CIF_REG_TIMING) = 1 | 20 << 8 | 12 << 16 | 48u << 24;
    fake_tree(f);
    fake_publish_tree(f);
    fake_power(f);
    f->now = 1000 * FAKE_MS;
    return f;
}

FAKE void fake_open(struct fake *f)
{
    const struct card_bus bus = {.ctx = f,
                                 .reg_read = fake_read,
                                 .reg_write = fake_write,
                                 .doorbells = f->db,
                                 .doorbells_len = sizeof f->db,
                                 .dma_alloc = fake_alloc,
                                 .dma_free = fake_free};
    const struct card_cfg cfg = {.n_tx = 1,
                                 .n_rx = 1,
                                 .tx = {{.depth = 64}},
                                 .rx = {{.depth = 64}},
                                 .n_ports = 1,
                                 .port = {{.enable = true}},
                                 .tries = 3,
                                 .no_kat = true};
    const struct card_callbacks cbs = {.arg = f,
                                       .state = fake_on_state,
                                       .queue = fake_on_queue,
                                       .event = fake_on_event,
                                       .log = fake_on_log};
    f->card = card_new(&bus, &cfg, &cbs, f->now);
    assert_non_null(f->card);
}

FAKE void fake_close(struct fake *f)
{
    card_free(f->card);
    assert_int_equal(f->maps, 0);
    fake_release(f);
}

/* n milliseconds of both sides. */
FAKE void fake_run(struct fake *f, unsigned n)
{
    while (n--) {
        if (!f->frozen_fw)
            ++*fake_reg(f, CIF_REG_HB_FW);
        if (!f->frozen_dp)
            ++*fake_reg(f, CIF_REG_HB_DP);
        fake_admin(f);
        f->now += FAKE_MS;
        card_poll(f->card, f->now);
    }
}

FAKE struct fake *fake_running(void)
{
    struct fake *f = fake_new();
    fake_open(f);
    fake_run(f, 20);
    assert_int_equal(card_state(f->card), CARD_RUNNING);
    return f;
}

#endif
