/* Tx rings: descriptors to frames, in ring order. Everything in a ring is hostile. */
#include <errno.h>

#include "hwsim/model/internal.h"

enum { FETCH = 16 };

/* A packet collected from its descriptors. */
struct tx_packet {
    uint8_t op, ol, flags, l3_len;
    uint32_t handle;
    uint64_t seq;
    uint16_t tag, n_desc;
    bool extra;     /* mss or l4_len: the segment profile */
    size_t len;     /* octets in card->in */
    bool dma_fault; /* a buffer could not be read */
};

/* What an op makes of it: a status, and when it is OK a frame (NULL: nothing leaves). */
struct tx_result {
    unsigned status;
    const uint8_t *frame;
    size_t len;
    uint16_t segs;
    struct hw_sa *sa;
};

/* --- ops
 * ------------------------------------------------------------------------------------------------
 */

static void too_big(const struct hw_card *c, unsigned port, const struct hw_frame *f,
                    struct tx_result *r)
{
    if (f->len - f->l2_len > c->ports[port].mtu) {
        r->status = CIF_TXS_PMTU_EXCEEDED;
        r->segs = c->ports[port].mtu;
    }
}

static void op_clear(struct hw_card *c, struct hw_queue *q, const struct tx_packet *p,
                     struct tx_result *r)
{
    struct hw_frame f;

    hw_parse_frame(c->in, p->len, &f);
    r->status = p->len < 14 ? CIF_TXS_BAD_PACKET : CIF_TXS_OK;
    r->frame = c->in;
    r->len = p->len;
    too_big(c, q->port, &f, r);
}

static bool is_ike_port(const struct hw_port *port, uint16_t udp)
{
    unsigned i;

    if (udp == 500 || udp == 4500)
        return true;
    for (i = 0; i < port->n_ike; i++)
        if (port->ike[i] == udp)
            return true;
    return false;
}

/* RAW: IP protocol 50 or 51, UDP from or to an IKE port, a later fragment of 50, 51 or 17. */
bool hw_tx_raw_ok(const struct hw_port *port, const struct hw_frame *f)
{
    if (!f->family)
        return false;
    if (f->proto == HW_IPPROTO_ESP || f->proto == HW_IPPROTO_AH)
        return true;
    if (f->proto != HW_IPPROTO_UDP)
        return false;
    if (f->later)
        return true;
    return hw_payload_len(f) >= 8 && (is_ike_port(port, hw_get16(hw_payload(f))) ||
                                      is_ike_port(port, hw_get16(hw_payload(f) + 2)));
}

static void op_raw(struct hw_card *c, struct hw_queue *q, const struct tx_packet *p,
                   struct tx_result *r)
{
    struct hw_frame f;

    hw_parse_frame(c->in, p->len, &f);
    r->status = hw_tx_raw_ok(&c->ports[q->port], &f) ? CIF_TXS_OK : CIF_TXS_BAD_PACKET;
    r->frame = c->in;
    r->len = p->len;
    if (r->status == CIF_TXS_OK)
        too_big(c, q->port, &f, r);
}

static void op_nop(struct hw_card *c, struct hw_queue *q, const struct tx_packet *p,
                   struct tx_result *r)
{
    r->status = CIF_TXS_OK;
}

/* Before the number counts as taken: is the SA there, does it send, is the number one of its own?
 */
static unsigned sa_refuses(const struct hw_card *c, const struct hw_sa *sa, uint64_t seq)
{
    if (!sa || sa->dir != CIF_DIR_OUT)
        return CIF_TXS_SA_GONE;
    if (sa->state != CIF_SASTATE_ACTIVE)
        return CIF_TXS_SA_STOPPED;
    if (seq == 0)
        return CIF_TXS_BAD_PACKET; /* the first number is 1 */
    if (seq > (sa->esp.esn ? UINT64_MAX - 1 : UINT32_MAX))
        return CIF_TXS_SEQ_EXHAUSTED;
    if (c->feat_drv[0] & CIF_FEAT_SEQ_GUARD && seq <= sa->highest)
        return CIF_TXS_SEQ_REUSED;
    return CIF_TXS_OK;
}

static void op_protect(struct hw_card *c, struct hw_queue *q, const struct tx_packet *p,
                       struct tx_result *r)
{
    struct hw_build b = {.out = c->out, .cap = HW_FRAME_MAX};

    r->sa = hw_sa_by_handle(&c->sa, p->handle);
    r->status = sa_refuses(c, r->sa, p->seq);
    if (r->status != CIF_TXS_OK) {
        if (r->sa)
            r->sa->refused++;
        return;
    }
    r->sa->esp.pmtu = r->sa->record_pmtu && r->sa->record_pmtu < c->ports[q->port].mtu
                          ? r->sa->record_pmtu
                          : c->ports[q->port].mtu;
    r->status = hw_esp_protect(&r->sa->esp, c->in, p->len, p->l3_len, p->seq, &b);
    r->frame = b.out;
    r->len = b.len;
    if (r->status == CIF_TXS_PMTU_EXCEEDED) {
        r->segs = b.fit;
        r->sa->pmtu++;
    }
}

static const struct tx_op {
    void (*run)(struct hw_card *c, struct hw_queue *q, const struct tx_packet *p,
                struct tx_result *r);
} ops[] = {
    [CIF_TXOP_PROTECT] = {op_protect},
    [CIF_TXOP_RAW] = {op_raw},
    [CIF_TXOP_CLEAR] = {op_clear},
    [CIF_TXOP_NOP] = {op_nop},
};

static bool known_op(unsigned op)
{
    return op < sizeof(ops) / sizeof(ops[0]) && ops[op].run;
}

/* --- from descriptors to a packet
 * --------------------------------------------------------------------- */

static unsigned bad_descriptor(const struct hw_card *c, const uint8_t *d, unsigned n, size_t len)
{
    const uint8_t all = CIF_TXF_SOP | CIF_TXF_EOP | CIF_TXF_CQ | CIF_TXF_LOOP;
    uint8_t flags = cif_txd_flags(d);

    if (flags & ~all || !(flags & CIF_TXF_SOP) == (n == 0) ||
        ((flags & CIF_TXF_EOP) && !(flags & CIF_TXF_CQ)))
        return CIF_QERR_BAD_FLAGS;
    if (n == 0 && !known_op(cif_txd_op(d)))
        return CIF_QERR_BAD_OP;
    if ((cif_txd_len(d) == 0 && cif_txd_op(d) != CIF_TXOP_NOP) || n >= c->shape.tx_max_bufs ||
        len + cif_txd_len(d) > HW_FRAME_MAX)
        return CIF_QERR_BAD_LEN;
    return 0;
}

static void first_descriptor(struct tx_packet *p, const uint8_t *d)
{
    p->op = cif_txd_op(d);
    p->flags = cif_txd_flags(d);
    p->handle = cif_txd_sa_handle(d);
    p->seq = cif_txd_seq(d);
    p->ol = cif_txd_ol(d);
    p->l3_len = cif_txd_l3_len(d);
    p->extra = cif_txd_mss(d) || cif_txd_l4_len(d);
}

/* Collects the packet at the head. 1: whole; 0: its EOP is not there yet; -1: the queue was
 * stopped. */
static int collect(struct hw_card *c, struct hw_queue *q, uint16_t avail, struct tx_packet *p)
{
    uint8_t d[CIF_TXD_SIZE];

    for (p->n_desc = 0; p->n_desc < avail; p->n_desc++) {
        uint16_t at = (uint16_t)(q->head + p->n_desc);
        unsigned bad;

        if (hw_dma_read(c, q->ring + (uint64_t)(at & (q->size - 1)) * sizeof(d), d, sizeof(d)) <
            0) {
            hw_queue_error(c, q, CIF_QERR_DMA, at);
            return -1;
        }
        bad = bad_descriptor(c, d, p->n_desc, p->len);
        if (bad) {
            hw_queue_error(c, q, bad, at);
            return -1;
        }
        if (p->n_desc == 0)
            first_descriptor(p, d);
        if (cif_txd_len(d) && hw_dma_read(c, cif_txd_addr(d), c->in + p->len, cif_txd_len(d)) < 0)
            p->dma_fault = true;
        p->len += cif_txd_len(d);
        if (cif_txd_flags(d) & CIF_TXF_EOP) {
            p->tag = cif_txd_tag(d);
            p->n_desc++;
            return 1;
        }
    }
    return 0;
}

/* --- from a packet to the wire
 * ----------------------------------------------------------------------- */

static void judge(struct hw_card *c, struct hw_queue *q, const struct tx_packet *p,
                  struct tx_result *r)
{
    const struct hw_fault *f =
        hw_fault_hit(&c->faults, c->now,
                     &HW_FAULT_AT(HW_SITE_TX, .handle = HW_AT(p->handle), .qid = HW_AT(q->qid)));
    uint8_t offers = c->shape.time ? CIF_TXOL_TSTAMP : 0;

    if (f)
        r->status = f->status;
    else if (p->dma_fault)
        r->status = CIF_TXS_DMA_FAULT;
    else if (p->ol & ~offers || p->extra)
        r->status = CIF_TXS_BAD_OFFLOAD;
    else
        ops[p->op].run(c, q, p, r);
}

/* The frame leaves, or turns back. -EAGAIN: the port is full, nothing happened yet. */
static int emit(struct hw_card *c, struct hw_queue *q, const struct tx_packet *p,
                struct tx_result *r)
{
    struct hw_port *port = &c->ports[q->port];
    int err;

    if (r->status != CIF_TXS_OK || !r->frame)
        return 0;
    if (p->flags & CIF_TXF_LOOP) {
        hw_count(c, q->port, q, CIF_STAT_TX_LOOPED, 1);
        hw_rx_input(c, q->port, r->frame, r->len, true);
        return 0;
    }
    if (!port->enabled || !port->link ||
        hw_fault_lasting(&c->faults, c->now, HW_SITE_LINK, q->port)) {
        r->status = CIF_TXS_LINK_DOWN;
        return 0;
    }
    err = c->bus.wire_tx(c->bus.ctx, q->port, r->frame, r->len);
    if (err == -EAGAIN)
        return err;
    if (err) {
        r->status = CIF_TXS_LINK_DOWN;
        return 0;
    }
    hw_count(c, q->port, q, CIF_STAT_TX_PACKETS, 1);
    hw_count(c, q->port, q, CIF_STAT_TX_BYTES, r->len);
    return 0;
}

static void count_result(struct hw_card *c, struct hw_queue *q, const struct tx_packet *p,
                         const struct tx_result *r)
{
    if (cif_txs_fate(r->status) == CIF_FATE_UNSENT)
        hw_count(c, q->port, q, CIF_STAT_TX_REFUSED, 1);
    else if (r->status == CIF_TXS_LINK_DOWN)
        hw_count(c, q->port, q, CIF_STAT_TX_LINK_DOWN, 1);
    else if (r->status != CIF_TXS_OK)
        hw_count(c, q->port, q, CIF_STAT_TX_FAULT, 1);
    else if (p->op == CIF_TXOP_PROTECT)
        hw_count(c, q->port, q, CIF_STAT_TX_PROTECTED, 1);
    if (r->sa && r->status == CIF_TXS_OK && p->seq > r->sa->highest)
        r->sa->highest = p->seq;
}

static void complete(struct hw_card *c, struct hw_queue *q, const struct tx_packet *p,
                     const struct tx_result *r)
{
    uint8_t e[CIF_TXC_SIZE] = {0};

    cif_txc_set_seq_first(e, p->seq);
    if (c->feat_drv[0] & CIF_FEAT_TIMESTAMP)
        cif_txc_set_tstamp(e, c->now);
    cif_txc_set_sa_handle(e, p->handle);
    cif_txc_set_tag(e, p->tag);
    cif_txc_set_sq_head(e, q->head);
    cif_txc_set_segs(e, r->status == CIF_TXS_OK ? 1 : r->segs);
    cif_txc_set_status(e, (uint8_t)r->status);
    cif_txc_set_kind(e, p->op);
    cif_txc_set_qid(e, q->qid);
    hw_queue_complete(c, q, e);
}

/* One packet. False: nothing more can be done on this ring now. */
static bool one(struct hw_card *c, struct hw_queue *q)
{
    uint16_t tail = (uint16_t)hw_db_load(c, hw_db_page(q->qid) + CIF_DB_TAIL);
    uint16_t avail = (uint16_t)(tail - q->head);
    struct tx_packet p = {0};
    struct tx_result r = {0};

    if (!avail || !hw_queue_may_complete(c, q))
        return false;
    if (avail > q->size) {
        hw_queue_error(c, q, CIF_QERR_BAD_TAIL, tail);
        return false;
    }
    if (collect(c, q, avail, &p) <= 0)
        return false;
    judge(c, q, &p, &r);
    if (emit(c, q, &p, &r) == -EAGAIN)
        return false;
    q->head = (uint16_t)(q->head + p.n_desc);
    count_result(c, q, &p, &r);
    complete(c, q, &p, &r);
    c->moved = true;
    return !q->stopped;
}

void hw_tx_run(struct hw_card *c, struct hw_queue *q)
{
    unsigned n;

    if (q->stopped)
        return;
    for (n = 0; n < HW_TX_BUDGET; n++)
        if (!one(c, q))
            return;
}
