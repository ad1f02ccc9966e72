/* The receive side: which queue a frame goes to, posted buffers, completions. */
#include <stdlib.h>

#include "hwsim/model/internal.h"

/* Buffers found for one frame. */
struct rx_bufs {
    uint64_t addr[64];
    uint32_t len[64];
    unsigned n;
};

/* Spreads over the Rx queues of a port by the SA's SPI or the addresses: one SA stays on one ring.
 */
static uint32_t frame_hash(const uint8_t *frame, size_t len)
{
    struct hw_frame f;
    uint32_t h = 2166136261u;
    size_t i, n;

    hw_parse_frame(frame, len, &f);
    if (!f.family)
        return 0;
    n = f.family == 4 ? 8 : 32;
    for (i = 0; i < n; i++)
        h = (h ^ f.src[i]) * 16777619u;
    if (!f.fragment && hw_payload_len(&f) >= 4)
        for (i = 0; i < 4; i++)
            h = (h ^ hw_payload(&f)[i]) * 16777619u;
    return h ^ h >> 16;
}

static struct hw_queue *queue_for(struct hw_card *c, unsigned port, const uint8_t *frame,
                                  size_t len, uint32_t *hash)
{
    unsigned n = 0, i, want;

    for (i = 0; i < c->n_queues; i++)
        n += c->queues[i].exists && c->queues[i].type == CIF_QTYPE_RX && c->queues[i].port == port;
    if (!n)
        return NULL;
    *hash = n > 1 ? frame_hash(frame, len) : 0;
    want = *hash % n;
    for (i = 0; i < c->n_queues; i++)
        if (c->queues[i].exists && c->queues[i].type == CIF_QTYPE_RX && c->queues[i].port == port &&
            want-- == 0)
            return &c->queues[i];
    return NULL;
}

/* --- buffers
 * ------------------------------------------------------------------------------------------- */

enum take { TAKEN, SHORT_OF_BUFFERS, NEVER_FITS, BROKEN };

/* Looks at the posted buffers from the head on until they hold len octets. Takes none yet. */
static enum take find_buffers(struct hw_card *c, struct hw_queue *q, size_t len, struct rx_bufs *b)
{
    uint16_t tail = (uint16_t)hw_db_load(c, hw_db_page(q->qid) + CIF_DB_TAIL);
    uint16_t avail = (uint16_t)(tail - q->head);
    uint8_t e[CIF_RXB_SIZE];
    size_t room = 0;

    if (avail > q->size) {
        hw_queue_error(c, q, CIF_QERR_BAD_TAIL, tail);
        return BROKEN;
    }
    for (b->n = 0; room < len; b->n++) {
        uint16_t at = (uint16_t)(q->head + b->n);

        if (b->n == c->shape.rx_max_bufs)
            return NEVER_FITS;
        if (b->n == avail)
            return SHORT_OF_BUFFERS;
        if (hw_dma_read(c, q->ring + (uint64_t)(at & (q->size - 1)) * sizeof(e), e, sizeof(e)) <
            0) {
            hw_queue_error(c, q, CIF_QERR_DMA, at);
            return BROKEN;
        }
        b->addr[b->n] = cif_rxb_addr(e);
        b->len[b->n] = cif_rxb_len(e);
        if (cif_rxb_len(e) < c->shape.buf_min || cif_rxb_len(e) > c->shape.buf_max ||
            cif_rxb_rsvd0(e)) {
            hw_queue_error(c, q, CIF_QERR_BAD_LEN, at);
            return BROKEN;
        }
        room += cif_rxb_len(e);
    }
    return TAKEN;
}

static int fill_buffers(struct hw_card *c, const struct rx_bufs *b, const uint8_t *data, size_t len)
{
    unsigned i;

    for (i = 0; i < b->n; i++) {
        size_t part = len < b->len[i] ? len : b->len[i];
        int err = hw_dma_write(c, b->addr[i], data, part);

        if (err)
            return err;
        data += part;
        len -= part;
    }
    return 0;
}

static void describe(const struct hw_card *c, const struct hw_queue *q, const struct hw_verdict *v,
                     const struct rx_bufs *b, uint8_t *e)
{
    struct hw_frame f;

    hw_parse_frame(v->data, v->len, &f);
    cif_rxc_set_seq(e, v->seq);
    cif_rxc_set_sa_handle(e, v->handle);
    cif_rxc_set_len(e, (uint32_t)v->len);
    cif_rxc_set_first_idx(e, q->head);
    cif_rxc_set_nbufs(e, (uint16_t)b->n);
    cif_rxc_set_kind(e, v->kind);
    cif_rxc_set_status(e, v->reason);
    cif_rxc_set_ptype_outer(e, v->outer_family);
    cif_rxc_set_ptype_inner(e, f.family);
    cif_rxc_set_port(e, q->port);
    cif_rxc_set_l3_off(e, f.l2_len);
    cif_rxc_set_l4_off(e, f.family ? (uint16_t)(f.l2_len + f.l3_len) : 0);
    cif_rxc_set_outer_tos(e, v->tos);
    cif_rxc_set_outer_ttl(e, v->ttl);
    cif_rxc_set_outer_sport(e, v->sport);
    cif_rxc_set_qid(e, q->qid);
    if (c->feat_drv[0] & CIF_FEAT_TIMESTAMP)
        cif_rxc_set_tstamp(e, c->now);
    cif_rxc_set_flags(
        e, (uint16_t)(v->flags | (c->feat_drv[0] & CIF_FEAT_TIMESTAMP ? CIF_RXF_TSTAMP : 0)));
}

static void count_verdict(struct hw_card *c, struct hw_queue *q, const struct hw_verdict *v)
{
    static const uint8_t stat[] = {
        [CIF_RXK_PROTECTED] = CIF_STAT_RX_PROTECTED, [CIF_RXK_RAW] = CIF_STAT_RX_RAW,
        [CIF_RXK_CLEAR] = CIF_STAT_RX_CLEAR,         [CIF_RXK_TRAP] = CIF_STAT_RX_CLEAR,
        [CIF_RXK_SAMPLE] = CIF_STAT_RX_RAW,
    };

    hw_count(c, q->port, q, stat[v->kind], 1);
}

/* A frame into buffers that are there. Its verdict fell before they were sought, so the frame that
 * is delivered, never longer than the one that came, fits. */
static void hand_up(struct hw_card *c, struct hw_queue *q, const struct hw_verdict *v,
                    uint32_t hash)
{
    struct rx_bufs b;
    uint8_t e[CIF_RXC_SIZE] = {0};

    if (find_buffers(c, q, v->len, &b) != TAKEN)
        return;
    if (fill_buffers(c, &b, v->data, v->len) < 0) {
        hw_count(c, q->port, q, CIF_STAT_RX_DMA_FAULT, 1);
        hw_queue_error(c, q, CIF_QERR_DMA, q->head);
        return;
    }
    describe(c, q, v, &b, e);
    cif_rxc_set_rss_hash(e, hash);
    cif_rxc_set_hash_type(e, hash ? 2 : 0);
    q->head = (uint16_t)(q->head + b.n);
    count_verdict(c, q, v);
    hw_queue_complete(c, q, e);
}

/* --- frames in
 * ------------------------------------------------------------------------------------------ */

/* Whether a frame can be taken now: buffers for it and room for its completion. */
static enum take ready(struct hw_card *c, struct hw_queue *q, size_t len)
{
    struct rx_bufs b;

    if (!hw_datapath_works(c) || !hw_queue_may_complete(c, q))
        return SHORT_OF_BUFFERS;
    return find_buffers(c, q, len, &b);
}

static void process(struct hw_card *c, struct hw_queue *q, const uint8_t *frame, size_t len,
                    bool looped, uint32_t hash)
{
    struct hw_verdict v;

    hw_pipeline(c, q->port, frame, len, looped, &v);
    if (!v.drop)
        hand_up(c, q, &v, hash);
    c->moved = true;
}

static unsigned why_held(const struct hw_card *c, struct hw_queue *q)
{
    if (hw_fault_lasting(&c->faults, c->now, HW_SITE_DATAPATH, HW_FAULT_ANY))
        return CIF_STAT_RX_FROZEN;
    return hw_queue_may_complete(c, q) ? CIF_STAT_RX_NO_BUFFERS : CIF_STAT_RX_CQ_FULL;
}

/* The packet memory before the ring: a short pause of the host costs nothing. */
static void hold(struct hw_card *c, struct hw_queue *q, const uint8_t *frame, size_t len,
                 bool looped)
{
    struct hw_held *h = q->n_held < HW_HELD_FRAMES ? malloc(sizeof(*h) + len) : NULL;

    if (!h) {
        hw_count(c, q->port, q, why_held(c, q), 1);
        return;
    }
    h->next = NULL;
    h->len = len;
    h->looped = looped;
    memcpy(h->frame, frame, len);
    if (!q->held)
        q->held_end = &q->held;
    *q->held_end = h;
    q->held_end = &h->next;
    q->n_held++;
}

static void into_queue(struct hw_card *c, struct hw_queue *q, const uint8_t *frame, size_t len,
                       bool looped, uint32_t hash)
{
    enum take t = q->held ? SHORT_OF_BUFFERS : ready(c, q, len);

    if (q->stopped || t == BROKEN || t == NEVER_FITS)
        hw_count(c, q->port, q, CIF_STAT_RX_NO_BUFFERS, 1);
    else if (t == SHORT_OF_BUFFERS)
        hold(c, q, frame, len, looped);
    else
        process(c, q, frame, len, looped, hash);
}

static bool ours(const struct hw_port *p, const uint8_t *frame)
{
    return p->promisc || (frame[0] & 1) || !memcmp(frame, p->mac, 6);
}

/* The counter under which a frame ends at the port; CIF_STAT_COUNT: it may pass. */
static unsigned at_the_door(const struct hw_port *p, const uint8_t *frame, size_t len, bool looped)
{
    if (!p->enabled && !looped) /* known answers come before the port is on */
        return CIF_STAT_RX_PORT_OFF;
    if (len < 14)
        return CIF_STAT_RX_RUNT;
    if (len > HW_FRAME_MAX || len > (size_t)p->mtu + 14 + 8)
        return CIF_STAT_RX_TOO_LONG;
    return looped || ours(p, frame) ? CIF_STAT_COUNT : CIF_STAT_RX_FILTERED;
}

void hw_rx_input(struct hw_card *c, unsigned port, const uint8_t *frame, size_t len, bool looped)
{
    struct hw_port *p = &c->ports[port];
    struct hw_queue *q;
    uint32_t hash;
    unsigned end;

    if (!looped) {
        hw_count(c, port, NULL, CIF_STAT_RX_PACKETS, 1);
        hw_count(c, port, NULL, CIF_STAT_RX_BYTES, len);
    }
    end = at_the_door(p, frame, len, looped);
    if (end != CIF_STAT_COUNT) {
        hw_count(c, port, NULL, end, 1);
        return;
    }
    q = queue_for(c, port, frame, len, &hash);
    if (q)
        into_queue(c, q, frame, len, looped, hash);
    else
        hw_count(c, port, NULL, CIF_STAT_RX_NO_QUEUE, 1);
}

void hw_rx_run(struct hw_card *c, struct hw_queue *q)
{
    struct hw_held *h;

    while (!q->stopped && (h = q->held)) {
        enum take t = ready(c, q, h->len);

        if (t == SHORT_OF_BUFFERS)
            return;
        q->held = h->next;
        q->n_held--;
        if (t == TAKEN)
            process(c, q, h->frame, h->len, h->looped, 0);
        else
            hw_count(c, q->port, q, CIF_STAT_RX_NO_BUFFERS, 1);
        free(h);
    }
}

void hw_card_wire_rx(struct hw_card *card, uint64_t now, unsigned port, const uint8_t *frame,
                     size_t len)
{
    card->now = now;
    if (card->dead || port >= card->shape.n_ports)
        return;
    if (!(card->status & CIF_STATUS_RUNNING)) {
        hw_count(card, port, NULL, CIF_STAT_RX_PACKETS, 1);
        hw_count(card, port, NULL, CIF_STAT_RX_BYTES, len);
        hw_count(card, port, NULL, CIF_STAT_RX_PORT_OFF, 1);
        return;
    }
    hw_rx_input(card, port, frame, len, false);
}
