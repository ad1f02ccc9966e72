/* Transmit queues, on the worker's side: post, flush, reap. A completion is copied once and
 * believed only where it equals what was posted. */
#include <errno.h>
#include <string.h>

#include "driver/core/card_internal.h"

#define ABSENT_NS (5 * MS) /* between two looks, while packets are in the ring */

static struct queue *tx_queue(struct card *c, unsigned i)
{
    return i < CARD_QUEUES_MAX ? c->tx[i] : NULL;
}

static uint32_t in_ring(const struct queue *q)
{
    return q->ring.idx - q->cons;
}

uint32_t tx_buf_get(struct queue *q, bool kat)
{
    uint32_t buf = CARD_BUF_NONE;
    pthread_mutex_lock(&q->lock);
    if (queue_usable(q, kat) && q->n_free) {
        buf = q->free[--q->n_free];
        q->held[buf] = 1;
    }
    pthread_mutex_unlock(&q->lock);
    return buf;
}

uint32_t card_buf_get(struct card *c, unsigned i)
{
    struct queue *q = tx_queue(c, i);
    return q ? tx_buf_get(q, false) : CARD_BUF_NONE;
}

/* Lock held. A buffer that is not the caller's is left alone. */
static void put(struct queue *q, uint32_t buf)
{
    if (buf >= q->n_bufs || !q->held[buf])
        return;
    q->held[buf] = 0;
    q->free[q->n_free++] = buf;
}

void card_buf_put(struct card *c, unsigned i, uint32_t buf)
{
    struct queue *q = tx_queue(c, i);
    if (!q)
        return;
    pthread_mutex_lock(&q->lock);
    put(q, buf);
    pthread_mutex_unlock(&q->lock);
}

uint8_t *card_buf_data(struct card *c, unsigned i, uint32_t buf)
{
    struct queue *q = tx_queue(c, i);
    return q && buf < q->n_bufs ? q->bufs.va + (size_t)buf * q->buf_len : NULL;
}

uint32_t card_buf_len(const struct card *c, unsigned i)
{
    return i < CARD_QUEUES_MAX && c->tx[i] ? c->tx[i]->buf_len : 0;
}

/* --- post
 * ------------------------------------------------------------------------------------------ */

static int check_tx(const struct queue *q, const struct card_tx *tx, bool kat)
{
    if (!queue_usable(q, kat))
        return -EPIPE;
    if (in_ring(q) >= q->ring.size)
        return -ENOSPC;
    if (tx->op == CIF_TXOP_NOP)
        return tx->buf == CARD_BUF_NONE ? 0 : -EINVAL;
    if (tx->op != CIF_TXOP_PROTECT && tx->op != CIF_TXOP_RAW && tx->op != CIF_TXOP_CLEAR)
        return -EINVAL;
    if (tx->buf >= q->n_bufs || !q->held[tx->buf] || !tx->len ||
        (uint32_t)tx->off + tx->len > q->buf_len || tx->off % q->card->caps.addr_align)
        return -EINVAL;
    return tx->op == CIF_TXOP_PROTECT && (!tx->seq || tx->sa_handle == CIF_HANDLE_NONE) ? -EINVAL
                                                                                        : 0;
}

static void write_txd(struct queue *q, const struct card_tx *tx)
{
    uint8_t *d = ring_at(&q->ring, q->ring.idx);
    bool protect = tx->op == CIF_TXOP_PROTECT;
    memset(d, 0, CIF_TXD_SIZE);
    if (tx->buf != CARD_BUF_NONE)
        cif_txd_set_addr(d, q->bufs.iova + (uint64_t)tx->buf * q->buf_len + tx->off);
    cif_txd_set_len(d, tx->len);
    cif_txd_set_flags(d, CIF_TXF_SOP | CIF_TXF_EOP | CIF_TXF_CQ | (tx->loop ? CIF_TXF_LOOP : 0));
    cif_txd_set_op(d, tx->op);
    cif_txd_set_sa_handle(d, protect ? tx->sa_handle : CIF_HANDLE_NONE);
    cif_txd_set_seq(d, protect ? tx->seq : 0);
    cif_txd_set_l2_len(d, tx->l2_len);
    cif_txd_set_l3_len(d, tx->l3_len);
    cif_txd_set_ol(d, tx->ol);
    cif_txd_set_tag(d, (uint16_t)q->ring.idx);
}

int tx_post(struct queue *q, const struct card_tx *tx, bool kat)
{
    pthread_mutex_lock(&q->lock);
    int err = check_tx(q, tx, kat);
    if (!err) {
        bool protect = tx->op == CIF_TXOP_PROTECT;
        write_txd(q, tx);
        q->posted[q->ring.idx & (q->ring.size - 1)] =
            (struct posted){.user = tx->user,
                            .seq = protect ? tx->seq : 0,
                            .sa_handle = protect ? tx->sa_handle : CIF_HANDLE_NONE,
                            .buf = tx->buf,
                            .off = tx->off,
                            .len = tx->len,
                            .op = tx->op};
        if (tx->buf != CARD_BUF_NONE)
            q->held[tx->buf] = 0;
        q->ring.idx++;
        q->n_posted++;
    }
    pthread_mutex_unlock(&q->lock);
    return err;
}

int card_tx_post(struct card *c, unsigned i, const struct card_tx *tx)
{
    struct queue *q = tx_queue(c, i);
    return q ? tx_post(q, tx, false) : -EPIPE;
}

int tx_flush(struct queue *q, uint64_t now, bool kat)
{
    pthread_mutex_lock(&q->lock);
    int err = queue_usable(q, kat) ? 0 : -EPIPE;
    if (!err && q->flushed != q->ring.idx) {
        for (; q->flushed != q->ring.idx; q->flushed++)
            q->posted[q->flushed & (q->ring.size - 1)].at = now;
        queue_doorbell(q, CIF_DB_TAIL, q->ring.idx & 0xffff);
    }
    pthread_mutex_unlock(&q->lock);
    return err;
}

int card_tx_flush(struct card *c, unsigned i, uint64_t now)
{
    struct queue *q = tx_queue(c, i);
    return q ? tx_flush(q, now, false) : -EPIPE;
}

/* --- reap
 * ------------------------------------------------------------------------------------------- */

/* What is wrong with a completion, or NULL. */
static const char *lie(const struct queue *q, const uint8_t *e, const struct posted *p)
{
    if (q->cons == q->flushed)
        return "nothing is in the ring";
    if (cif_txc_qid(e) != q->qid)
        return "it names another queue";
    if (cif_txc_tag(e) != (uint16_t)q->cons)
        return "its tag is not the oldest descriptor's";
    if (cif_txc_sq_head(e) != (uint16_t)(q->cons + 1))
        return "its ring index does not follow";
    if (cif_txc_kind(e) != p->op)
        return "it names another operation";
    if (p->op == CIF_TXOP_PROTECT && cif_txc_status(e) == CIF_TXS_OK &&
        (cif_txc_sa_handle(e) != p->sa_handle || cif_txc_seq_first(e) != p->seq))
        return "it names another SA or number";
    if (cif_txc_status(e) == CARD_TXS_LOST)
        return "its status cannot be";
    return NULL;
}

static void fill_done(struct card_tx_done *d, const struct posted *p)
{
    *d = (struct card_tx_done){.user = p->user,
                               .seq = p->seq,
                               .sa_handle = p->sa_handle,
                               .buf = p->buf,
                               .off = p->off,
                               .len = p->len,
                               .op = p->op,
                               .status = CARD_TXS_LOST,
                               .fate = CIF_FATE_MAYBE};
}

static void hand_over(struct queue *q, const struct posted *p)
{
    if (p->buf != CARD_BUF_NONE)
        q->held[p->buf] = 1;
}

static unsigned reap_lost(struct queue *q, struct card_tx_done *out, unsigned max)
{
    unsigned n = 0;
    uint32_t room = q->n_bufs + q->ring.size;
    for (; n < max && q->n_lost; q->n_lost--) {
        const struct posted *p = &q->lost[q->lost_head];
        fill_done(&out[n++], p);
        hand_over(q, p);
        q->lost_head = (q->lost_head + 1) % room;
    }
    return n;
}

static unsigned reap_ring(struct queue *q, uint64_t now, struct card_tx_done *out, unsigned max)
{
    uint8_t e[CIF_TXC_SIZE];
    unsigned n = 0;
    int got = 0;
    while (n < max && (got = ring_take(&q->cq, e)) > 0) {
        const struct posted *p = &q->posted[q->cons & (q->ring.size - 1)];
        const char *what = lie(q, e, p);
        if (what) {
            q->n_bad++;
            queue_mark_dead(q, "the card wrote a completion that cannot be true: %s", what);
            break;
        }
        fill_done(&out[n], p);
        out[n].status = cif_txc_status(e);
        out[n].fate = cif_txs_fate(out[n].status);
        out[n].segs = cif_txc_segs(e);
        n++;
        hand_over(q, p);
        q->cons++;
        q->n_done++;
        q->progress = now;
        q->suspect = 0;
    }
    if (got < 0) {
        q->n_bad++;
        queue_mark_dead(q, "a completion is missing or has a wrong phase");
    }
    if (n && q->state == QUEUE_UP)
        queue_doorbell(q, CIF_DB_CQ_HEAD, q->cq.idx & 0xffff);
    return n;
}

/* Contract 4.4: at two looks at least 1 ms apart the oldest descriptor is older than completion-us.
 * Age counts from the doorbell or from the last completion, whichever is later: a ring that moves
 * is not dead. */
/* A caller that was off its processor for a while counts that time against itself, not the card. */
static void excuse_absence(struct queue *q, uint64_t now)
{
    uint64_t gap = q->looked && now > q->looked ? now - q->looked : 0;
    q->looked = now;
    if (gap > ABSENT_NS)
        q->progress = q->progress + gap < now ? q->progress + gap : now;
}

static void check_overdue(struct queue *q, uint64_t now)
{
    excuse_absence(q, now);
    if (q->state != QUEUE_UP || q->cons == q->flushed)
        return;
    uint64_t at = q->posted[q->cons & (q->ring.size - 1)].at;
    at = at > q->progress ? at : q->progress;
    if (now < at + q->card->caps.completion_us * US) {
        q->suspect = 0;
        return;
    }
    if (!q->suspect) {
        q->suspect = now ? now : 1;
    } else if (now >= q->suspect + MS) {
        q->overdue = true;
        queue_mark_dead(q, "no completion for %llu us, %u packets are in the ring",
                        (unsigned long long)((now - at) / US), q->flushed - q->cons);
    }
}

int tx_reap(struct queue *q, uint64_t now, struct card_tx_done *out, unsigned max, bool kat)
{
    pthread_mutex_lock(&q->lock);
    unsigned n = kat ? 0 : reap_lost(q, out, max);
    if (queue_usable(q, kat) && n < max) {
        n += reap_ring(q, now, out + n, max - n);
        check_overdue(q, now);
    }
    bool down = !queue_usable(q, kat);
    pthread_mutex_unlock(&q->lock);
    return !n && down ? -EPIPE : (int)n;
}

int card_tx_reap(struct card *c, unsigned i, uint64_t now, struct card_tx_done *out, unsigned max)
{
    struct queue *q = tx_queue(c, i);
    return q ? tx_reap(q, now, out, max, false) : -EPIPE;
}

unsigned card_tx_room(struct card *c, unsigned i)
{
    struct queue *q = tx_queue(c, i);
    if (!q)
        return 0;
    pthread_mutex_lock(&q->lock);
    unsigned room = queue_usable(q, false) ? q->ring.size - in_ring(q) : 0;
    pthread_mutex_unlock(&q->lock);
    return room;
}

unsigned card_tx_pending(struct card *c, unsigned i)
{
    struct queue *q = tx_queue(c, i);
    if (!q)
        return 0;
    pthread_mutex_lock(&q->lock);
    unsigned n = in_ring(q);
    pthread_mutex_unlock(&q->lock);
    return n;
}
