/* BAR0: a table of registers, the window of the tree; and the doorbells' rule of sleep. */
#include "hwsim/model/internal.h"

typedef uint32_t reg_read(struct hw_card *c);
typedef void reg_write(struct hw_card *c, uint32_t v);

static uint32_t rd_magic(struct hw_card *c)
{
    return CIF_MAGIC;
}

static uint32_t rd_version(struct hw_card *c)
{
    return CIF_VERSION_MAJOR << 16 | CIF_VERSION_MINOR;
}

static uint32_t rd_epoch(struct hw_card *c)
{
    return c->epoch;
}

static uint32_t rd_status(struct hw_card *c)
{
    uint32_t v = c->status;

    if (v & CIF_STATUS_RESETTING)
        c->reset_seen = true;
    return v;
}

static uint32_t rd_reason(struct hw_card *c)
{
    return c->reset_reason;
}

static void wr_reason(struct hw_card *c, uint32_t v)
{
    c->reset_reason = v == UINT32_MAX ? 0 : v;
}

static uint32_t rd_fatal(struct hw_card *c)
{
    return c->fatal_code;
}

static uint32_t rd_fatal_lo(struct hw_card *c)
{
    return (uint32_t)c->fatal_arg;
}

static uint32_t rd_fatal_hi(struct hw_card *c)
{
    return (uint32_t)(c->fatal_arg >> 32);
}

static uint32_t rd_hb_fw(struct hw_card *c)
{
    return c->hb_fw;
}

static uint32_t rd_hb_dp(struct hw_card *c)
{
    return c->hb_dp;
}

static uint32_t rd_timing(struct hw_card *c)
{
    return 10u << CIF_TIMING_READY_SHIFT | c->shape.heartbeat_ms << CIF_TIMING_HEARTBEAT_SHIFT |
           12u << CIF_TIMING_DB_STRIDE_SHIFT | 64u << CIF_TIMING_DMA_BITS_SHIFT;
}

static uint32_t rd_feat_sel(struct hw_card *c)
{
    return c->feat_sel;
}

static void wr_feat_sel(struct hw_card *c, uint32_t v)
{
    c->feat_sel = v & 0xff;
}

static uint32_t rd_feat_dev(struct hw_card *c)
{
    return hw_features(c, c->feat_sel);
}

static uint32_t rd_feat_drv(struct hw_card *c)
{
    return c->feat_sel < 2 ? c->feat_drv[c->feat_sel] : 0;
}

static void wr_feat_drv(struct hw_card *c, uint32_t v)
{
    if (c->feat_sel < 2 && !(c->status & CIF_STATUS_FEATURES_OK))
        c->feat_drv[c->feat_sel] = v;
}

static uint32_t rd_fdt_off(struct hw_card *c)
{
    return CIF_BAR0_FDT_OFF;
}

static uint32_t rd_fdt_size(struct hw_card *c)
{
    return (uint32_t)c->fdt_len;
}

static uint32_t rd_fdt_crc(struct hw_card *c)
{
    return c->fdt_crc;
}

static uint32_t rd_fdt_gen(struct hw_card *c)
{
    return 1;
}

static void wr_mask_set(struct hw_card *c, uint32_t v)
{
    c->int_mask |= v;
}

static void wr_mask_clear(struct hw_card *c, uint32_t v)
{
    uint32_t fire = c->int_pending & v;
    unsigned i;

    c->int_mask &= ~v;
    c->int_pending &= ~v;
    for (i = 0; i < 32; i++)
        if (fire >> i & 1)
            hw_irq(c, i);
}

static uint32_t rd_pending(struct hw_card *c)
{
    return c->int_pending;
}

static uint32_t rd_time_lo(struct hw_card *c)
{
    c->time_latch = c->now;
    return (uint32_t)c->now;
}

static uint32_t rd_time_hi(struct hw_card *c)
{
    return (uint32_t)(c->time_latch >> 32);
}

/* 32 queues a word. */
static uint32_t stopped(struct hw_card *c, unsigned word)
{
    uint32_t bits = 0;
    unsigned qid;

    for (qid = 32 * word; qid < 32 * word + 32 && qid < c->n_queues; qid++)
        if (c->queues[qid].exists && c->queues[qid].stopped)
            bits |= 1u << qid % 32;
    return bits;
}

static uint32_t rd_qstop0(struct hw_card *c)
{
    return stopped(c, 0);
}

static uint32_t rd_qstop1(struct hw_card *c)
{
    return stopped(c, 1);
}

static uint32_t rd_qstop2(struct hw_card *c)
{
    return stopped(c, 2);
}

static uint32_t rd_qstop3(struct hw_card *c)
{
    return stopped(c, 3);
}

static const struct {
    uint32_t offset;
    reg_read *read;
    reg_write *write;
} regs[] = {
    {CIF_REG_MAGIC, rd_magic, NULL},
    {CIF_REG_VERSION, rd_version, NULL},
    {CIF_REG_EPOCH, rd_epoch, NULL},
    {CIF_REG_STATUS, rd_status, NULL},
    {CIF_REG_CONTROL, NULL, hw_control},
    {CIF_REG_RESET_REASON, rd_reason, wr_reason},
    {CIF_REG_FATAL_CODE, rd_fatal, NULL},
    {CIF_REG_FATAL_ARG_LO, rd_fatal_lo, NULL},
    {CIF_REG_FATAL_ARG_HI, rd_fatal_hi, NULL},
    {CIF_REG_HB_FW, rd_hb_fw, NULL},
    {CIF_REG_HB_DP, rd_hb_dp, NULL},
    {CIF_REG_TIMING, rd_timing, NULL},
    {CIF_REG_FEAT_SEL, rd_feat_sel, wr_feat_sel},
    {CIF_REG_FEAT_DEV, rd_feat_dev, NULL},
    {CIF_REG_FEAT_DRV, rd_feat_drv, wr_feat_drv},
    {CIF_REG_FDT_OFF, rd_fdt_off, NULL},
    {CIF_REG_FDT_SIZE, rd_fdt_size, NULL},
    {CIF_REG_FDT_CRC, rd_fdt_crc, NULL},
    {CIF_REG_FDT_GEN, rd_fdt_gen, NULL},
    {CIF_REG_INT_MASK_SET, NULL, wr_mask_set},
    {CIF_REG_INT_MASK_CLEAR, NULL, wr_mask_clear},
    {CIF_REG_INT_PENDING, rd_pending, NULL},
    {CIF_REG_TIME_LO, rd_time_lo, NULL},
    {CIF_REG_TIME_HI, rd_time_hi, NULL},
    {CIF_REG_QSTOP0, rd_qstop0, NULL},
    {CIF_REG_QSTOP1, rd_qstop1, NULL},
    {CIF_REG_QSTOP2, rd_qstop2, NULL},
    {CIF_REG_QSTOP3, rd_qstop3, NULL},
};

/* The place of an admin queue register in c->admin_reg, or -1. */
static int admin_reg(uint32_t offset)
{
    return offset >= CIF_REG_ASQ_LO && offset <= CIF_REG_EVQ_SIZE
               ? (int)((offset - CIF_REG_ASQ_LO) / 4)
               : -1;
}

static uint32_t tree_word(const struct hw_card *c, uint32_t at)
{
    uint8_t b[4] = {0};

    if (at < c->fdt_len)
        memcpy(b, c->fdt + at, c->fdt_len - at < 4 ? c->fdt_len - at : 4);
    return cif_get32(b);
}

uint32_t hw_reg_read(struct hw_card *card, uint32_t offset, uint64_t now)
{
    int a = admin_reg(offset);
    size_t i;

    if (card->dead || offset & 3 || offset >= HW_BAR0_SIZE)
        return UINT32_MAX;
    card->now = now;
    if (offset >= CIF_BAR0_FDT_OFF)
        return tree_word(card, offset - CIF_BAR0_FDT_OFF);
    if (a >= 0)
        return card->admin_reg[a];
    for (i = 0; i < sizeof(regs) / sizeof(regs[0]); i++)
        if (regs[i].offset == offset)
            return regs[i].read ? regs[i].read(card) : 0;
    return 0;
}

void hw_reg_write(struct hw_card *card, uint32_t offset, uint32_t value, uint64_t now)
{
    int a = admin_reg(offset);
    size_t i;

    if (card->dead || offset & 3 || offset >= HW_BAR0_SIZE)
        return;
    card->now = now;
    if (a >= 0 && a % 4 != 3 && !card->admin.on)
        card->admin_reg[a] = value;
    for (i = 0; a < 0 && i < sizeof(regs) / sizeof(regs[0]); i++)
        if (regs[i].offset == offset && regs[i].write)
            regs[i].write(card, value);
}

/* --- doorbells
 * ----------------------------------------------------------------------------------------------------
 */

uint8_t *hw_doorbells(struct hw_card *card)
{
    return card->db;
}

void hw_set_doorbells(struct hw_card *card, void *mem)
{
    memcpy(mem, card->db, hw_bar2_size(card));
    card->db = mem;
}

/* What makes a run worth while: something to take, or an arm that would fire. */
static bool queue_rung(const struct hw_card *c, const struct hw_queue *q)
{
    uint32_t head = hw_db_load(c, q->cq.doorbell);
    uint16_t tail = (uint16_t)hw_db_load(c, hw_db_page(q->qid) + CIF_DB_TAIL);

    if (head & CIF_DB_ARM && (uint16_t)head != (uint16_t)q->cq.count && !q->cq.mod_usec)
        return true;
    if (tail != q->seen_tail || (uint16_t)head != q->seen_head)
        return true;
    return false;
}

bool hw_doorbells_rung(const struct hw_card *card)
{
    const struct hw_admin *a = &card->admin;
    unsigned i;

    if (card->dead || !(card->status & CIF_STATUS_RUNNING))
        return false;
    if (a->on && (hw_db_load(card, CIF_DB_ASQ_TAIL) != a->seen[0] ||
                  hw_db_load(card, CIF_DB_ACQ_HEAD) != a->seen[1] ||
                  hw_db_load(card, CIF_DB_EVQ_HEAD) != a->seen[2]))
        return true;
    for (i = 0; i < card->n_queues; i++)
        if (card->queues[i].exists && queue_rung(card, &card->queues[i]))
            return true;
    return false;
}

/* Remembers the doorbells before a run reads them: what comes later rings again. */
void hw_doorbells_note(struct hw_card *c)
{
    unsigned i;

    c->admin.seen[0] = hw_db_load(c, CIF_DB_ASQ_TAIL);
    c->admin.seen[1] = hw_db_load(c, CIF_DB_ACQ_HEAD);
    c->admin.seen[2] = hw_db_load(c, CIF_DB_EVQ_HEAD);
    for (i = 0; i < c->n_queues; i++) {
        struct hw_queue *q = &c->queues[i];

        if (!q->exists)
            continue;
        q->seen_tail = (uint16_t)hw_db_load(c, hw_db_page(q->qid) + CIF_DB_TAIL);
        q->seen_head = (uint16_t)hw_db_load(c, q->cq.doorbell);
    }
}

static void set_sleeping(struct hw_card *c, uint32_t v)
{
    unsigned i;

    for (i = 0; i <= c->n_queues; i++)
        if (i == 0 || c->queues[i - 1].exists)
            hw_db_store(c, i * CIF_DB_PAGE_SIZE + CIF_DB_SLEEPING, v);
}

bool hw_card_sleep(struct hw_card *card)
{
    if (!card->shape.doorbell_wake)
        return true; /* such a card is polled by its own clock */
    set_sleeping(card, 1);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    return !hw_doorbells_rung(card);
}

void hw_card_wake(struct hw_card *card)
{
    if (card->shape.doorbell_wake)
        set_sleeping(card, 0);
}
