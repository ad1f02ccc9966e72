/* A small host around a card for its unit tests: memory, a wire that remembers frames, a clock that
 * only moves when told, and a driver of the fewest lines. Shares nothing with driver/. */
#ifndef SALLYPORT_TEST_HW_HOST_H
#define SALLYPORT_TEST_HW_HOST_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "firmware-if/card_if.h"
#include "hwsim/model/hw_card.h"

#define HOST_BASE 0x10000000u
#define HOST_SIZE 0x400000u
#define FRAMES    64

/* Where things lie in the host's memory. */
enum {
    AT_ASQ = 0x0000,
    AT_ACQ = 0x2000,
    AT_EVQ = 0x4000,
    AT_ARG = 0x8000,     /* argument records */
    AT_RESULT = 0x20000, /* results */
    AT_TXR = 0x40000,
    AT_TXC = 0x50000,
    AT_RXR = 0x60000,
    AT_RXC = 0x70000,
    AT_TXB = 0x100000, /* 16 KiB a packet */
    AT_RXB = 0x200000, /* 2 KiB a buffer */
    DEPTH = 64,
    ADMIN = 64,
};

struct frame {
    unsigned port;
    size_t len;
    uint8_t data[10000];
};

struct host {
    struct hw_card *card;
    uint8_t *mem;
    uint64_t now;
    struct frame out[FRAMES];
    unsigned n_out, irqs[32];
    int wire_error;
    bool died;
    uint16_t asq_tail, acq_head, evq_head, tx_tail, txc_head, rx_tail, rxc_head, cid;
    uint64_t dma_from, dma_to; /* the part of memory that is mapped */
};

static inline int host_dma(struct host *h, uint64_t iova, size_t len)
{
    return iova < h->dma_from || iova + len > h->dma_to ? -EFAULT : 0;
}

static inline int host_read(void *ctx, uint64_t iova, void *buf, size_t len)
{
    struct host *h = ctx;

    if (host_dma(h, iova, len))
        return -EFAULT;
    memcpy(buf, h->mem + (iova - HOST_BASE), len);
    return 0;
}

static inline int host_write(void *ctx, uint64_t iova, const void *buf, size_t len)
{
    struct host *h = ctx;

    if (host_dma(h, iova, len))
        return -EFAULT;
    memcpy(h->mem + (iova - HOST_BASE), buf, len);
    return 0;
}

static inline void host_irq(void *ctx, unsigned vector)
{
    ((struct host *)ctx)->irqs[vector & 31]++;
}

static inline int host_wire(void *ctx, unsigned port, const uint8_t *frame, size_t len)
{
    struct host *h = ctx;

    if (h->wire_error)
        return h->wire_error;
    if (h->n_out < FRAMES) {
        struct frame *f = &h->out[h->n_out++];

        f->port = port;
        f->len = len;
        memcpy(f->data, frame, len);
    }
    return 0;
}

static inline void host_die(void *ctx)
{
    ((struct host *)ctx)->died = true;
}

static inline uint32_t reg(struct host *h, uint32_t r)
{
    return hw_reg_read(h->card, r, h->now);
}

static inline void set(struct host *h, uint32_t r, uint32_t v)
{
    hw_reg_write(h->card, r, v, h->now);
}

static inline void doorbell(struct host *h, uint32_t offset, uint32_t v)
{
    cif_put32(hw_doorbells(h->card) + offset, v);
}

/* Runs until the card has nothing to do now. */
static inline void run(struct host *h)
{
    unsigned n = 0;

    while (hw_card_run(h->card, h->now) <= h->now)
        assert_true(n++ < 10000);
}

static inline void pass(struct host *h, uint64_t ms)
{
    uint64_t end = h->now + ms * 1000000;

    run(h);
    while (h->now < end) {
        uint64_t next = hw_card_run(h->card, h->now);

        h->now = next > end ? end : next;
        run(h);
    }
}

static inline void bring_up(struct host *h, uint32_t features)
{
    uint8_t master[2] = {6, 0};
    uint32_t admin[] = {CIF_REG_ASQ_LO, CIF_REG_ACQ_LO, CIF_REG_EVQ_LO};
    unsigned i;

    hw_pci_write(h->card, h->now, 4, master, 2);
    assert_int_equal(reg(h, CIF_REG_STATUS) & CIF_STATUS_READY, CIF_STATUS_READY);
    set(h, CIF_REG_CONTROL, CIF_CONTROL_ACK);
    set(h, CIF_REG_CONTROL, CIF_CONTROL_DRIVER);
    set(h, CIF_REG_FEAT_SEL, 0);
    set(h, CIF_REG_FEAT_DRV, features);
    set(h, CIF_REG_CONTROL, CIF_CONTROL_FEATURES_OK);
    assert_true(reg(h, CIF_REG_STATUS) & CIF_STATUS_FEATURES_OK);
    for (i = 0; i < 3; i++) {
        memset(h->mem + i * 0x2000, 0, 0x2000);
        set(h, admin[i], HOST_BASE + i * 0x2000);
        set(h, admin[i] + 4, 0);
        set(h, admin[i] + 8, ADMIN);
    }
    set(h, CIF_REG_CONTROL, CIF_CONTROL_RUN);
    assert_true(reg(h, CIF_REG_STATUS) & CIF_STATUS_RUNNING);
    h->asq_tail = h->acq_head = h->evq_head = 0;
}

static inline void *load_shape(const char *name, size_t *len)
{
    char path[256];
    uint8_t *dtb = malloc(65536);
    FILE *f;

    snprintf(path, sizeof(path), "build/cards/%s.dtb", name);
    f = fopen(path, "rb");
    if (!f) {
        print_message("%s is not there: make all\n", path);
        exit(77);
    }
    *len = fread(dtb, 1, 65536, f);
    fclose(f);
    return dtb;
}

static inline struct host *host_new(const char *shape)
{
    struct host *h = calloc(1, sizeof(*h));
    struct hw_bus bus = {h, host_read, host_write, host_irq, host_wire, host_die};
    const char *err = NULL;
    size_t len;
    void *dtb = load_shape(shape, &len);

    h->mem = calloc(1, HOST_SIZE);
    h->dma_from = HOST_BASE;
    h->dma_to = HOST_BASE + HOST_SIZE;
    h->now = 1000000000;
    h->card = hw_card_new(dtb, len, &bus, 7, h->now, &err);
    if (!h->card)
        print_error("%s\n", err);
    assert_non_null(h->card);
    free(dtb);
    return h;
}

static inline void host_free(struct host *h)
{
    hw_card_free(h->card);
    free(h->mem);
    free(h);
}

/* --- admin
 * -----------------------------------------------------------------------------------------------------------
 */

static inline uint8_t *arg(struct host *h)
{
    return h->mem + AT_ARG;
}

static inline uint8_t *result(struct host *h)
{
    return h->mem + AT_RESULT;
}

/* Fills the next submission; the caller may change it, then rings. */
static inline uint8_t *submission(struct host *h, unsigned op, unsigned count, unsigned rec_size)
{
    uint8_t *s = h->mem + AT_ASQ + (h->asq_tail++ & (ADMIN - 1)) * CIF_ASQ_SIZE;

    memset(s, 0, CIF_ASQ_SIZE);
    cif_asq_set_cid(s, h->cid);
    cif_asq_set_gen(s, (uint16_t)(0x100 + h->cid++));
    cif_asq_set_op(s, (uint8_t)op);
    cif_asq_set_count(s, (uint16_t)count);
    cif_asq_set_rec_size(s, (uint16_t)rec_size);
    cif_asq_set_data(s, HOST_BASE + AT_ARG);
    cif_asq_set_data_len(s, count ? count * rec_size : 0x1000);
    cif_asq_set_result(s, HOST_BASE + AT_RESULT);
    cif_asq_set_result_len(s, 0x18000);
    return s;
}

static inline void ring_admin(struct host *h)
{
    doorbell(h, CIF_DB_ASQ_TAIL, h->asq_tail);
    run(h);
}

/* The next completion if it is there. */
static inline bool completion(struct host *h, uint8_t *to)
{
    const uint8_t *e = h->mem + AT_ACQ + (h->acq_head & (ADMIN - 1)) * CIF_ACQ_SIZE;

    memset(to, 0, CIF_ACQ_SIZE);
    if (cif_acq_phase(e) != cif_phase(h->acq_head / ADMIN))
        return false;
    memcpy(to, e, CIF_ACQ_SIZE);
    h->acq_head++;
    doorbell(h, CIF_DB_ACQ_HEAD, h->acq_head);
    return true;
}

static inline uint16_t wait_status(struct host *h, uint8_t *acq)
{
    ring_admin(h);
    assert_true(completion(h, acq));
    return cif_acq_status(acq);
}

/* One command with one argument record in arg(). */
static inline uint16_t command(struct host *h, unsigned op, uint32_t arg0, uint64_t arg1)
{
    uint8_t acq[CIF_ACQ_SIZE], *s = submission(h, op, 0, 0);

    cif_asq_set_arg0(s, arg0);
    cif_asq_set_arg1(s, arg1);
    return wait_status(h, acq);
}

static inline bool event(struct host *h, uint8_t *to)
{
    const uint8_t *e = h->mem + AT_EVQ + (h->evq_head & (ADMIN - 1)) * CIF_EVENT_SIZE;

    memset(to, 0, CIF_EVENT_SIZE);
    if (cif_event_phase(e) != cif_phase(h->evq_head / ADMIN))
        return false;
    memcpy(to, e, CIF_EVENT_SIZE);
    h->evq_head++;
    doorbell(h, CIF_DB_EVQ_HEAD, h->evq_head);
    return true;
}

/* A record of an outbound (or inbound) tunnel SA, v4 in v4, AES-128. */
static inline uint8_t *sa_record(uint8_t *r, unsigned dir, uint32_t spi, uint64_t cookie)
{
    unsigned i;

    memset(r, 0, CIF_SA_SIZE);
    cif_sa_set_size(r, CIF_SA_SIZE);
    cif_sa_set_ver(r, 1);
    cif_sa_set_dir(r, (uint8_t)dir);
    cif_sa_set_handle(r, CIF_HANDLE_NONE);
    cif_sa_set_spi(r, spi);
    cif_sa_set_proto(r, 50);
    cif_sa_set_mode(r, CIF_MODE_TUNNEL);
    cif_sa_set_family(r, 4);
    cif_sa_set_encr_id(r, 20);
    cif_sa_set_encr_len(r, 16);
    cif_sa_set_salt_len(r, 4);
    cif_sa_set_icv_len(r, 16);
    cif_sa_set_cookie(r, cookie);
    memcpy(cif_sa_src_w(r), "\xc0\x00\x02\x01", 4);
    memcpy(cif_sa_dst_w(r), "\xc0\x00\x02\x02", 4);
    cif_sa_set_seq_limit(r, CIF_LIMIT_NONE);
    cif_sa_set_seq_warn(r, CIF_LIMIT_NONE);
    cif_sa_set_byte_soft(r, CIF_LIMIT_NONE);
    cif_sa_set_byte_hard(r, CIF_LIMIT_NONE);
    memcpy(cif_sa_salt_w(r), "\xca\xfe\xba\xbe", 4);
    for (i = 0; i < 16; i++)
        cif_sa_encr_key_w(r)[i] = (uint8_t)(spi + i);
    return r;
}

/* Adds the one record in arg(); its status, and its handle. */
static inline uint16_t add_sa(struct host *h, uint32_t *handle)
{
    uint8_t acq[CIF_ACQ_SIZE];

    submission(h, CIF_OP_SA_ADD, 1, CIF_SA_SIZE);
    memset(result(h), 0xff, CIF_REC_STATUS_SIZE);
    wait_status(h, acq);
    if (handle)
        *handle = cif_rec_status_handle(result(h));
    return cif_rec_status_status(result(h));
}

/* START, STOP or FREE of one handle. */
static inline uint16_t by_handle(struct host *h, unsigned op, uint32_t handle)
{
    uint8_t acq[CIF_ACQ_SIZE];

    memset(arg(h), 0, CIF_SA_REF_SIZE);
    cif_sa_ref_set_handle(arg(h), handle);
    submission(h, op, 1, CIF_SA_REF_SIZE);
    wait_status(h, acq);
    return cif_rec_status_status(result(h));
}

/* --- rings
 * ------------------------------------------------------------------------------------------------------------
 */

static inline uint16_t create_queue(struct host *h, unsigned qid, unsigned type, uint64_t ring,
                                    uint64_t cq)
{
    uint8_t *r = arg(h);

    memset(r, 0, CIF_Q_CREATE_SIZE);
    cif_q_create_set_qid(r, (uint16_t)qid);
    cif_q_create_set_type(r, (uint8_t)type);
    cif_q_create_set_vector(r, (uint16_t)(1 + qid));
    cif_q_create_set_ring(r, HOST_BASE + ring);
    cif_q_create_set_cq(r, HOST_BASE + cq);
    cif_q_create_set_ring_size(r, DEPTH);
    cif_q_create_set_cq_size(r, DEPTH);
    memset(h->mem + cq, 0, DEPTH * 64);
    return command(h, CIF_OP_Q_CREATE, 0, 0);
}

static inline void post_buffers(struct host *h, unsigned n)
{
    while (n--) {
        unsigned slot = h->rx_tail++ & (DEPTH - 1);
        uint8_t *b = h->mem + AT_RXR + slot * CIF_RXB_SIZE;

        memset(b, 0, CIF_RXB_SIZE);
        cif_rxb_set_addr(b, HOST_BASE + AT_RXB + slot * 2048);
        cif_rxb_set_len(b, 2048);
    }
    doorbell(h, 0x2000 + CIF_DB_TAIL, h->rx_tail);
}

/* Port 0 on, Tx queue 0, Rx queue 1 with all but one buffer posted, all events on. */
static inline void open_rings(struct host *h)
{
    uint8_t *r = arg(h);

    memset(r, 0, CIF_PORT_SET_SIZE);
    cif_port_set_set_flags(r, CIF_PORTF_ENABLE | CIF_PORTF_PROMISC);
    cif_port_set_set_mtu(r, 1500);
    assert_int_equal(command(h, CIF_OP_PORT_SET, 0, 0), CIF_ST_OK);
    memset(r, 0, CIF_EVENT_CONFIG_SIZE);
    cif_event_config_set_mask(r, UINT64_MAX);
    assert_int_equal(command(h, CIF_OP_EVENT_CONFIG, 0, 0), CIF_ST_OK);
    assert_int_equal(create_queue(h, 0, CIF_QTYPE_TX, AT_TXR, AT_TXC), CIF_ST_OK);
    assert_int_equal(create_queue(h, 1, CIF_QTYPE_RX, AT_RXR, AT_RXC), CIF_ST_OK);
    h->tx_tail = h->txc_head = h->rx_tail = h->rxc_head = 0;
    post_buffers(h, DEPTH - 1);
    run(h);
}

static inline struct host *host_open(const char *shape)
{
    struct host *h = host_new(shape);

    bring_up(h, 0);
    open_rings(h);
    return h;
}

/* A descriptor for the whole frame; the caller may change it before it rings. */
static inline uint8_t *describe(struct host *h, unsigned op, const uint8_t *frame, size_t len)
{
    unsigned slot = h->tx_tail++ & (DEPTH - 1);
    uint8_t *d = h->mem + AT_TXR + slot * CIF_TXD_SIZE;

    memset(d, 0, CIF_TXD_SIZE);
    memcpy(h->mem + AT_TXB + slot * 16384, frame, len);
    cif_txd_set_addr(d, HOST_BASE + AT_TXB + slot * 16384);
    cif_txd_set_len(d, (uint16_t)len);
    cif_txd_set_flags(d, CIF_TXF_SOP | CIF_TXF_EOP | CIF_TXF_CQ);
    cif_txd_set_op(d, (uint8_t)op);
    cif_txd_set_sa_handle(d, CIF_HANDLE_NONE);
    cif_txd_set_l2_len(d, 14);
    cif_txd_set_tag(d, (uint16_t)(0x4000 + slot));
    return d;
}

static inline void ring_tx(struct host *h)
{
    doorbell(h, 0x1000 + CIF_DB_TAIL, h->tx_tail);
    run(h);
}

static inline bool tx_completion(struct host *h, uint8_t *to)
{
    const uint8_t *e = h->mem + AT_TXC + (h->txc_head & (DEPTH - 1)) * CIF_TXC_SIZE;

    memset(to, 0, CIF_TXC_SIZE);
    if (cif_txc_phase(e) != cif_phase(h->txc_head / DEPTH))
        return false;
    memcpy(to, e, CIF_TXC_SIZE);
    h->txc_head++;
    doorbell(h, 0x1000 + CIF_DB_CQ_HEAD, h->txc_head);
    return true;
}

static inline bool rx_completion(struct host *h, uint8_t *to)
{
    const uint8_t *e = h->mem + AT_RXC + (h->rxc_head & (DEPTH - 1)) * CIF_RXC_SIZE;

    memset(to, 0, CIF_RXC_SIZE);
    if (cif_rxc_phase(e) != cif_phase(h->rxc_head / DEPTH))
        return false;
    memcpy(to, e, CIF_RXC_SIZE);
    h->rxc_head++;
    doorbell(h, 0x2000 + CIF_DB_CQ_HEAD, h->rxc_head);
    return true;
}

static inline const uint8_t *rx_data(struct host *h, const uint8_t *rxc)
{
    return h->mem + AT_RXB + (cif_rxc_first_idx(rxc) & (DEPTH - 1)) * 2048;
}

/* Sends one packet under a number; the Tx status. */
static inline unsigned protect(struct host *h, uint32_t handle, uint64_t seq, const uint8_t *frame,
                               size_t len)
{
    uint8_t c[CIF_TXC_SIZE], *d = describe(h, CIF_TXOP_PROTECT, frame, len);

    cif_txd_set_sa_handle(d, handle);
    cif_txd_set_seq(d, seq);
    ring_tx(h);
    assert_true(tx_completion(h, c));
    assert_int_equal(cif_txc_seq_first(c), seq);
    return cif_txc_status(c);
}

/* An Ethernet frame with a UDP packet of n octets of payload in IPv4. */
static inline size_t udp_frame(uint8_t *f, unsigned sport, unsigned dport, size_t n)
{
    static const uint8_t head[] = {2, 0, 0, 0, 0, 2,  2,  0, 0, 0,  0, 1, 8, 0,  0x45, 0, 0,
                                   0, 0, 1, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0,    0, 2};
    uint32_t sum = 0;
    size_t i;

    memcpy(f, head, sizeof(head));
    f[16] = (uint8_t)((28 + n) >> 8);
    f[17] = (uint8_t)(28 + n);
    for (i = 14; i < 34; i += 2)
        sum += (uint32_t)f[i] << 8 | f[i + 1];
    sum = (sum & 0xffff) + (sum >> 16);
    sum = ~((sum & 0xffff) + (sum >> 16));
    f[24] = (uint8_t)(sum >> 8);
    f[25] = (uint8_t)sum;
    f[34] = (uint8_t)(sport >> 8);
    f[35] = (uint8_t)sport;
    f[36] = (uint8_t)(dport >> 8);
    f[37] = (uint8_t)dport;
    f[38] = (uint8_t)((8 + n) >> 8);
    f[39] = (uint8_t)(8 + n);
    f[40] = f[41] = 0;
    for (i = 0; i < n; i++)
        f[42 + i] = (uint8_t)i;
    return 42 + n;
}

#endif
