/* The life of a packet queue, on the main thread: memory, up, down, reset. What a worker does is in
 * tx.c and rx.c; the lock keeps the two apart. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "driver/core/card_internal.h"

unsigned queue_count(const struct card *c)
{
    return c->cfg.n_tx + c->cfg.n_rx;
}

struct queue *queue_nth(const struct card *c, unsigned i)
{
    return i < c->cfg.n_tx ? c->tx[i] : c->rx[i - c->cfg.n_tx];
}

/* qids: Tx queues first, then Rx queues. */
struct queue *queue_by_qid(struct card *c, uint32_t qid)
{
    return qid < queue_count(c) ? queue_nth(c, qid) : NULL;
}

static uint32_t power_of_two(uint32_t v)
{
    uint32_t p = CIF_RING_DEPTH_MIN;
    while (p * 2 <= v && p < CIF_RING_DEPTH_MAX)
        p *= 2;
    return p;
}

static uint32_t frame_room(const struct card *c, uint8_t port)
{
    uint32_t mtu = 1500;
    for (unsigned i = 0; i < c->caps.n_ports; i++) {
        if (c->caps.ports[i].port == port)
            mtu = c->caps.ports[i].mtu_max;
    }
    for (unsigned i = 0; i < c->cfg.n_ports; i++) {
        if (c->cfg.port[i].port == port && c->cfg.port[i].mtu && c->cfg.port[i].mtu < mtu)
            mtu = c->cfg.port[i].mtu;
    }
    return mtu;
}

/* Room for the frame, two VLAN tags, and what ESP adds, so that software can work in place. */
static uint32_t buffer_len(const struct card *c, const struct queue *q,
                           const struct card_queue_cfg *cfg)
{
    uint32_t len = cfg->buf_len ? cfg->buf_len : frame_room(c, q->port) + 256;
    if (!q->tx && len > c->caps.buf_len_max)
        len = c->caps.buf_len_max;
    if (!q->tx && len < c->caps.buf_len_min)
        len = c->caps.buf_len_min;
    if (len < 256)
        len = 256;
    return (len + 63) & ~63u;
}

static int alloc_arrays(struct queue *q)
{
    q->posted = calloc(q->ring.size, sizeof *q->posted);
    q->free = calloc(q->n_bufs, sizeof *q->free);
    q->held = calloc(q->n_bufs, 1);
    q->lost = calloc(q->n_bufs + q->ring.size, sizeof *q->lost);
    if (!q->posted || !q->free || !q->held || !q->lost)
        return -ENOMEM;
    for (uint32_t i = 0; i < q->n_bufs; i++)
        q->free[i] = q->n_bufs - 1 - i;
    q->n_free = q->n_bufs;
    return 0;
}

static void queue_free(struct card *c, struct queue *q)
{
    if (!q)
        return;
    if (q->bufs.va)
        c->bus.dma_free(c->bus.ctx, &q->bufs);
    ring_free(c, &q->cq);
    ring_free(c, &q->ring);
    free(q->posted);
    free(q->free);
    free(q->held);
    free(q->lost);
    pthread_mutex_destroy(&q->lock);
    free(q);
}

static int queue_alloc(struct card *c, struct queue *q, const struct card_queue_cfg *cfg)
{
    uint32_t depth = cfg->depth ? cfg->depth : 256;
    depth = power_of_two(depth < c->caps.depth_max ? depth : c->caps.depth_max);
    q->n_bufs = cfg->bufs ? cfg->bufs : depth;
    q->buf_len = buffer_len(c, q, cfg);
    int err = ring_alloc(c, &q->ring, depth, q->tx ? CIF_TXD_SIZE : CIF_RXB_SIZE);
    if (!err)
        err = ring_alloc(c, &q->cq, depth, q->tx ? CIF_TXC_SIZE : CIF_RXC_SIZE);
    if (!err)
        err = c->bus.dma_alloc(c->bus.ctx, (size_t)q->n_bufs * q->buf_len, &q->bufs);
    return err ? err : alloc_arrays(q);
}

static int queue_new(struct card *c, bool tx, unsigned index, struct queue **out)
{
    const struct card_queue_cfg *cfg = tx ? &c->cfg.tx[index] : &c->cfg.rx[index];
    struct queue *q = calloc(1, sizeof *q);
    if (!q)
        return -ENOMEM;
    pthread_mutex_init(&q->lock, NULL);
    q->card = c;
    q->tx = tx;
    q->index = index;
    q->port = cfg->port;
    q->qid = (uint16_t)(tx ? index : c->cfg.n_tx + index);
    int err = queue_alloc(c, q, cfg);
    if (err)
        queue_free(c, q);
    else
        *out = q;
    return err;
}

/* The memory outlives resets: a worker may hold a buffer through one. */
int queue_setup(struct card *c)
{
    int err = 0;
    if (c->cfg.n_tx > c->caps.tx_max || c->cfg.n_rx > c->caps.rx_max)
        return -ENOSPC;
    for (unsigned i = 0; i < c->cfg.n_tx && !err; i++)
        err = c->tx[i] ? 0 : queue_new(c, true, i, &c->tx[i]);
    for (unsigned i = 0; i < c->cfg.n_rx && !err; i++)
        err = c->rx[i] ? 0 : queue_new(c, false, i, &c->rx[i]);
    return err;
}

void queue_teardown(struct card *c)
{
    for (unsigned i = 0; i < CARD_QUEUES_MAX; i++) {
        queue_free(c, c->tx[i]);
        queue_free(c, c->rx[i]);
        c->tx[i] = c->rx[i] = NULL;
    }
}

/* --- up and down
 * ------------------------------------------------------------------------------------------- */

void queue_doorbell(struct queue *q, uint32_t word, uint32_t value)
{
    q->n_wakes += card_doorbell(q->card, 1u + q->qid, word, value);
}

/* The card does no DMA for this queue now: before Q_CREATE, or after Q_RESET. */
void queue_prepare(struct queue *q)
{
    ring_zero(&q->ring);
    ring_zero(&q->cq);
    q->cons = q->flushed = 0;
    q->suspect = 0;
    q->overdue = false;
    q->progress = q->card->now;
}

void queue_up(struct queue *q)
{
    pthread_mutex_lock(&q->lock);
    q->state = QUEUE_UP;
    q->why[0] = 0;
    if (!q->tx)
        rx_fill(q);
    pthread_mutex_unlock(&q->lock);
}

/* Lock held. Descriptors without outcome: to the list of the lost (Tx), or their buffers are free
 * again (Rx). */
static void drain(struct queue *q)
{
    q->lost_last = 0;
    for (; q->cons != q->ring.idx; q->cons++) {
        struct posted *p = &q->posted[q->cons & (q->ring.size - 1)];
        uint32_t room = q->n_bufs + q->ring.size;
        if (!q->tx) {
            q->free[q->n_free++] = p->buf;
        } else if (q->n_lost < room) {
            q->lost[(q->lost_head + q->n_lost++) % room] = *p;
            q->lost_last++;
        }
    }
    q->n_lost_total += q->lost_last;
}

void queue_down(struct queue *q, const char *why)
{
    pthread_mutex_lock(&q->lock);
    drain(q);
    q->state = QUEUE_OFF;
    q->open = false;
    snprintf(q->why, sizeof q->why, "%s", why);
    pthread_mutex_unlock(&q->lock);
}

void queue_all_down(struct card *c, const char *why)
{
    for (unsigned i = 0; i < queue_count(c); i++) {
        struct queue *q = queue_nth(c, i);
        if (q)
            queue_down(q, why);
    }
}

/* The end of bring-up: workers may use the queues. */
void queue_open_all(struct card *c)
{
    for (unsigned i = 0; i < queue_count(c); i++) {
        struct queue *q = queue_nth(c, i);
        pthread_mutex_lock(&q->lock);
        q->open = true;
        pthread_mutex_unlock(&q->lock);
    }
}

void queue_mark_dead(struct queue *q, const char *fmt, ...)
{
    va_list ap;
    if (q->state != QUEUE_UP)
        return;
    va_start(ap, fmt);
    vsnprintf(q->why, sizeof q->why, fmt, ap);
    va_end(ap);
    q->state = QUEUE_DEAD;
}

/* --- level Q
 * ----------------------------------------------------------------------------------------------------
 */

static void report(struct queue *q, bool up, const char *why)
{
    struct card *c = q->card;
    if (c->cb.queue)
        c->cb.queue(c->cb.arg, q->tx, q->index, up, up ? q->lost_last : 0, why);
}

static void reset_done(void *arg, const struct card_reply *reply)
{
    struct queue *q = arg;
    struct card *c = q->card;
    if (reply->err) {
        /* Level A: ask again. Level F: the queue is off already. */
        pthread_mutex_lock(&q->lock);
        if (q->state == QUEUE_RESETTING)
            q->state = QUEUE_DEAD;
        pthread_mutex_unlock(&q->lock);
        return;
    }
    if (cif_status_class(reply->status) != CIF_CLASS_OK) {
        recover_reset(c, CIF_RESET_TX_OVERDUE, "a dead ring could not be reset: %s", reply->why);
        return;
    }
    pthread_mutex_lock(&q->lock);
    drain(q);
    queue_prepare(q);
    q->n_resets++;
    pthread_mutex_unlock(&q->lock);
    card_log(c, CARD_WARNING, "Nothing to do if it stays rare; else keep the log for the vendor.",
             "%s queue %u was reset, %u packets lost in the card: %s",
             q->tx ? "transmit" : "receive", q->index, q->lost_last, q->why);
    queue_up(q);
    report(q, true, "the queue was made anew");
}

/* A late completion has one more chance: a card that is a program may only have waited for its turn
 * on the processor, and has had it once it has answered two reads one after the other. */
static void second_look(struct queue *q)
{
    uint32_t status;
    struct card *c = q->card;
    if (!q->overdue || !card_rd(c, CIF_REG_STATUS, &status) || !card_rd(c, CIF_REG_STATUS, &status))
        return;
    pthread_mutex_lock(&q->lock);
    q->overdue = false;
    if (q->state == QUEUE_DEAD && ring_has_entry(&q->cq)) {
        q->state = QUEUE_UP;
        q->suspect = 0;
        q->progress = c->now;
    }
    pthread_mutex_unlock(&q->lock);
}

static void reset_dead(struct queue *q)
{
    struct card *c = q->card;
    pthread_mutex_lock(&q->lock);
    bool dead = q->state == QUEUE_DEAD;
    pthread_mutex_unlock(&q->lock);
    if (!dead)
        return;
    second_look(q);
    if (c->state != CARD_RUNNING)
        return;
    pthread_mutex_lock(&q->lock);
    dead = q->state == QUEUE_DEAD;
    if (dead)
        q->state = QUEUE_RESETTING;
    pthread_mutex_unlock(&q->lock);
    if (!dead)
        return;
    report(q, false, q->why);
    if (c->state == CARD_RUNNING && command_q_reset(c, q, reset_done, q))
        recover_reset(c, CIF_RESET_TX_OVERDUE, "no command slot is free to reset a dead ring");
}

void queue_poll(struct card *c)
{
    for (unsigned i = 0; i < queue_count(c) && c->state == CARD_RUNNING && c->rec < REC_ADMIN_OFF;
         i++)
        reset_dead(queue_nth(c, i));
}

int card_queue_fd(const struct card *c, bool tx, unsigned i)
{
    struct queue *q = NULL;
    if (i < CARD_QUEUES_MAX)
        q = tx ? c->tx[i] : c->rx[i];
    unsigned vector = q ? 1u + q->qid : 0;
    if (!q || vector >= c->bus.vectors || vector >= c->caps.vectors || !c->bus.irq_fd)
        return -1;
    return c->bus.irq_fd(c->bus.ctx, vector);
}

void card_queue_arm(struct card *c, bool tx, unsigned i)
{
    struct queue *q = NULL;
    if (i < CARD_QUEUES_MAX)
        q = tx ? c->tx[i] : c->rx[i];
    if (!q)
        return;
    pthread_mutex_lock(&q->lock);
    if (q->state == QUEUE_UP && ring_wants_arm(&q->cq))
        queue_doorbell(q, CIF_DB_CQ_HEAD, (q->cq.idx & 0xffff) | CIF_DB_ARM);
    pthread_mutex_unlock(&q->lock);
}
