/* The card's side of the bus: DMA, interrupts, doorbells, and the rings that the card writes. */
#include <errno.h>

#include "hwsim/model/internal.h"
#include "hwsim/model/random.h"

uint32_t hw_crc32(const uint8_t *p, size_t len)
{
    uint32_t crc = ~0u;
    unsigned bit;

    while (len--) {
        crc ^= *p++;
        for (bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
    }
    return ~crc;
}

void hw_garble(struct hw_card *c, uint8_t *p, size_t len)
{
    while (len--)
        *p++ = (uint8_t)hw_random(&c->random);
}

void hw_count(struct hw_card *c, unsigned port, struct hw_queue *q, unsigned stat, uint64_t n)
{
    c->stats[stat] += n;
    c->total[stat] += n;
    if (port < HW_PORTS_MAX)
        c->ports[port].stats[stat] += n;
    if (q)
        q->stats[stat] += n;
}

/* --- DMA: only while the host allows it
 * ------------------------------------------------------------ */

static int dma_refused(struct hw_card *c, uint64_t iova, size_t len, uint32_t dir)
{
    if (!hw_pci_may_dma(c) || c->status & CIF_STATUS_RESETTING)
        return -EPERM;
    if (iova + len < iova)
        return -EFAULT;
    return hw_fault_hit(&c->faults, c->now, &HW_FAULT_AT(HW_SITE_DMA, .dir = HW_AT(dir))) ? -EFAULT
                                                                                          : 0;
}

int hw_dma_read(struct hw_card *c, uint64_t iova, void *buf, size_t len)
{
    int err = dma_refused(c, iova, len, 0);

    return err ? err : c->bus.dma_read(c->bus.ctx, iova, buf, len);
}

int hw_dma_write(struct hw_card *c, uint64_t iova, const void *buf, size_t len)
{
    int err = dma_refused(c, iova, len, 1);

    return err ? err : c->bus.dma_write(c->bus.ctx, iova, buf, len);
}

/* --- interrupts
 * -------------------------------------------------------------------------------------- */

void hw_irq(struct hw_card *c, unsigned vector)
{
    if (!c->bus.irq || vector >= c->shape.vectors || !hw_pci_may_dma(c) ||
        c->status & CIF_STATUS_RESETTING)
        return;
    if (vector < 32 && c->int_mask >> vector & 1) {
        c->int_pending |= 1u << vector;
        return;
    }
    if (hw_fault_hit(&c->faults, c->now, &HW_FAULT_AT(HW_SITE_IRQ, .vector = HW_AT(vector))))
        return;
    c->bus.irq(c->bus.ctx, vector);
}

/* --- doorbells: words that the host writes while we read
 * ---------------------------------------------- */

static uint32_t *db_word(const struct hw_card *c, uint32_t offset)
{
    void *p = c->db + offset; /* the region is page aligned and offsets are multiples of 4 */

    return p;
}

uint32_t hw_db_load(const struct hw_card *c, uint32_t offset)
{
    uint32_t v = __atomic_load_n(db_word(c, offset), __ATOMIC_ACQUIRE);

    return __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__ ? __builtin_bswap32(v) : v;
}

void hw_db_store(struct hw_card *c, uint32_t offset, uint32_t value)
{
    uint32_t v = __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__ ? __builtin_bswap32(value) : value;

    __atomic_store_n(db_word(c, offset), v, __ATOMIC_SEQ_CST);
}

/* Takes the arm bit back, unless the host has just written the word again. */
static bool db_disarm(struct hw_card *c, uint32_t offset, uint32_t seen)
{
    uint32_t from = seen, to = seen & ~CIF_DB_ARM;

    if (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__) {
        from = __builtin_bswap32(from);
        to = __builtin_bswap32(to);
    }
    return __atomic_compare_exchange_n(db_word(c, offset), &from, to, false, __ATOMIC_ACQ_REL,
                                       __ATOMIC_ACQUIRE);
}

uint32_t hw_db_page(unsigned qid)
{
    return qid == HW_QID_ADMIN ? 0 : (qid + 1) * CIF_DB_PAGE_SIZE;
}

/* --- rings that the card writes
 * ------------------------------------------------------------------------- */

uint32_t hw_cq_room(const struct hw_card *c, const struct hw_cq *q)
{
    uint16_t head = (uint16_t)hw_db_load(c, q->doorbell);
    uint16_t used = (uint16_t)(q->count - head);

    return used > q->size ? 0 : q->size - used;
}

int hw_cq_write(struct hw_card *c, struct hw_cq *q, const uint8_t *entry)
{
    uint8_t out[64];
    uint64_t slot = q->count & (q->size - 1);
    int err;

    memcpy(out, entry, q->entry);
    out[q->entry - 1] = cif_phase((uint32_t)(q->count / q->size));
    err = hw_dma_write(c, q->base + slot * q->entry, out, q->entry);
    if (err)
        return err;
    if (!q->unfired++)
        q->unread_since = c->now;
    q->count++;
    c->moved = true;
    return 0;
}

/* Moderation: the interrupt waits until there are enough entries or the first is old enough. */
static bool moderated(const struct hw_cq *q, uint64_t now)
{
    return q->mod_usec && now < q->unread_since + (uint64_t)q->mod_usec * 1000 &&
           !(q->mod_count && q->unfired >= q->mod_count);
}

uint64_t hw_cq_arm(struct hw_card *c, struct hw_cq *q)
{
    uint32_t v = hw_db_load(c, q->doorbell);

    if (!(v & CIF_DB_ARM) || (uint16_t)v == (uint16_t)q->count)
        return HW_NEVER;
    if (moderated(q, c->now))
        return q->unread_since + (uint64_t)q->mod_usec * 1000;
    if (!db_disarm(c, q->doorbell, v))
        return c->now;
    q->unfired = 0;
    if (!q->no_irq)
        hw_irq(c, q->vector);
    return HW_NEVER;
}
