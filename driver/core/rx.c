/* Receive queues, on the worker's side: reap frames, give buffers back. */
#include <errno.h>
#include <string.h>

#include "driver/core/card_internal.h"

#define ETH_HEADER 14u

static struct queue *rx_queue(struct card *c, unsigned i)
{
    return i < CARD_QUEUES_MAX ? c->rx[i] : NULL;
}

/* Lock held. Posts every free buffer and rings the doorbell. */
void rx_fill(struct queue *q)
{
    uint32_t before = q->ring.idx;
    while (q->n_free && q->ring.idx - q->cons < q->ring.size) {
        uint32_t buf = q->free[--q->n_free];
        uint8_t *e = ring_at(&q->ring, q->ring.idx);
        memset(e, 0, CIF_RXB_SIZE);
        cif_rxb_set_addr(e, q->bufs.iova + (uint64_t)buf * q->buf_len);
        cif_rxb_set_len(e, q->buf_len);
        cif_rxb_set_buf_id(e, (uint16_t)buf);
        q->posted[q->ring.idx & (q->ring.size - 1)].buf = buf;
        q->ring.idx++;
    }
    if (q->ring.idx == before)
        return;
    q->flushed = q->ring.idx;
    queue_doorbell(q, CIF_DB_TAIL, q->ring.idx & 0xffff);
}

static const char *lie_about_kind(const uint8_t *e)
{
    switch (cif_rxc_kind(e)) {
    case CIF_RXK_PROTECTED:
        if (cif_rxc_status(e) != CIF_RXS_OK)
            return "it is protected and yet failed";
        return cif_rxc_sa_handle(e) == CIF_HANDLE_NONE ? "it is protected under no SA" : NULL;
    case CIF_RXK_RAW:
    case CIF_RXK_CLEAR:
    case CIF_RXK_TRAP:
    case CIF_RXK_SAMPLE:
        return NULL;
    default:
        return "its kind is unknown";
    }
}

static const char *lie(const struct queue *q, const uint8_t *e)
{
    uint32_t len = cif_rxc_len(e), off = cif_rxc_data_off(e);
    if (cif_rxc_qid(e) != q->qid)
        return "it names another queue";
    if (q->cons == q->flushed)
        return "no buffer is posted";
    if (cif_rxc_first_idx(e) != (uint16_t)q->cons)
        return "its buffer is not the oldest";
    if (cif_rxc_nbufs(e) != 1)
        return "it claims more buffers than the frame needs";
    if (len < ETH_HEADER || len > q->buf_len || off > q->buf_len - len)
        return "its length does not fit the buffer";
    if (cif_rxc_port(e) != q->port)
        return "it names another port";
    return lie_about_kind(e);
}

static void fill_rx(const struct queue *q, const uint8_t *e, struct card_rx *r)
{
    uint32_t buf = q->posted[q->cons & (q->ring.size - 1)].buf, len = cif_rxc_len(e);
    *r = (struct card_rx){.kind = cif_rxc_kind(e),
                          .status = cif_rxc_status(e),
                          .port = cif_rxc_port(e),
                          .ip_outer = cif_rxc_ptype_outer(e),
                          .ip_inner = cif_rxc_ptype_inner(e),
                          .outer_tos = cif_rxc_outer_tos(e),
                          .outer_ttl = cif_rxc_outer_ttl(e),
                          .flags = cif_rxc_flags(e),
                          .outer_sport = cif_rxc_outer_sport(e),
                          .sa_handle = cif_rxc_sa_handle(e),
                          .rss_hash = cif_rxc_rss_hash(e),
                          .seq = cif_rxc_seq(e),
                          .data = q->bufs.va + (size_t)buf * q->buf_len + cif_rxc_data_off(e),
                          .len = len,
                          .buf = buf};
    r->l3_off = cif_rxc_l3_off(e) < len ? cif_rxc_l3_off(e) : 0;
    r->l4_off = cif_rxc_l4_off(e) < len ? cif_rxc_l4_off(e) : 0;
}

static unsigned reap_ring(struct queue *q, uint64_t now, struct card_rx *out, unsigned max)
{
    uint8_t e[CIF_RXC_SIZE];
    unsigned n = 0;
    int got = 0;
    while (n < max && (got = ring_take(&q->cq, e)) > 0) {
        const char *what = lie(q, e);
        if (what) {
            q->n_bad++;
            queue_mark_dead(q, "the card wrote a completion that cannot be true: %s", what);
            break;
        }
        fill_rx(q, e, &out[n]);
        q->held[out[n].buf] = 1;
        q->cons++;
        q->n_done++;
        n++;
    }
    if (got < 0) {
        q->n_bad++;
        queue_mark_dead(q, "a completion is missing or has a wrong phase");
    }
    if (n && q->state == QUEUE_UP)
        queue_doorbell(q, CIF_DB_CQ_HEAD, q->cq.idx & 0xffff);
    q->progress = n ? now : q->progress;
    return n;
}

int rx_reap(struct queue *q, uint64_t now, struct card_rx *out, unsigned max, bool kat)
{
    pthread_mutex_lock(&q->lock);
    unsigned n = queue_usable(q, kat) ? reap_ring(q, now, out, max) : 0;
    bool down = !queue_usable(q, kat);
    pthread_mutex_unlock(&q->lock);
    return !n && down ? -EPIPE : (int)n;
}

int card_rx_reap(struct card *c, unsigned i, uint64_t now, struct card_rx *out, unsigned max)
{
    struct queue *q = rx_queue(c, i);
    return q ? rx_reap(q, now, out, max, false) : -EPIPE;
}

void card_rx_put(struct card *c, unsigned i, uint32_t buf)
{
    struct queue *q = rx_queue(c, i);
    if (!q)
        return;
    pthread_mutex_lock(&q->lock);
    if (buf < q->n_bufs && q->held[buf]) {
        q->held[buf] = 0;
        q->free[q->n_free++] = buf;
    }
    pthread_mutex_unlock(&q->lock);
}

int card_rx_flush(struct card *c, unsigned i, uint64_t now)
{
    struct queue *q = rx_queue(c, i);
    if (!q)
        return -EPIPE;
    pthread_mutex_lock(&q->lock);
    int err = q->state == QUEUE_UP ? 0 : -EPIPE;
    if (!err)
        rx_fill(q);
    pthread_mutex_unlock(&q->lock);
    return err;
}
