/* Admin commands: each fills its records and arguments as firmware-if/commands.toml says. */
#include <errno.h>
#include <string.h>

#include "driver/core/card_internal.h"

unsigned card_batch_max(const struct card *c)
{
    return c->have_caps ? c->caps.batch_max : 1;
}

/* May a user's command go now? */
static int gate(const struct card *c, unsigned n)
{
    if (c->state != CARD_RUNNING)
        return -ENODEV;
    if (c->rec >= REC_ADMIN_OFF)
        return -EBUSY;
    if (!n)
        return -EINVAL;
    return n > card_batch_max(c) ? -E2BIG : 0;
}

/* A batch of records copied as they are. */
static int batch(struct card *c, uint8_t op, const uint8_t *recs, uint16_t rec_size, unsigned n,
                 card_cb cb, void *arg)
{
    unsigned slot;
    int err = gate(c, n);
    if (!err)
        err = admin_begin(c, false, &slot);
    if (err)
        return err;
    memcpy(admin_data(c, slot), recs, (size_t)n * rec_size);
    struct admin_req req = {.op = op,
                            .secret = op == CIF_OP_SA_ADD || op == CIF_OP_SA_MODIFY,
                            .count = (uint16_t)n,
                            .rec_size = rec_size,
                            .data_len = n * rec_size,
                            .result_len = n * CIF_REC_STATUS_SIZE,
                            .cb = cb,
                            .arg = arg};
    return admin_send(c, slot, &req);
}

int card_sa_add(struct card *c, const uint8_t *recs, unsigned n, card_cb cb, void *arg)
{
    return batch(c, CIF_OP_SA_ADD, recs, CIF_SA_SIZE, n, cb, arg);
}

int card_sa_modify(struct card *c, const uint8_t *recs, unsigned n, card_cb cb, void *arg)
{
    return batch(c, CIF_OP_SA_MODIFY, recs, CIF_SA_MODIFY_SIZE, n, cb, arg);
}

static void fill_refs(uint8_t *out, const uint32_t *handles, const uint64_t *cookies, unsigned n)
{
    for (unsigned i = 0; i < n; i++, out += CIF_SA_REF_SIZE) {
        cif_sa_ref_set_handle(out, handles ? handles[i] : CIF_HANDLE_NONE);
        cif_sa_ref_set_cookie(out, cookies ? cookies[i] : 0);
    }
}

static int by_handle(struct card *c, uint8_t op, const uint32_t *handles, unsigned n, card_cb cb,
                     void *arg)
{
    uint8_t recs[CARD_BATCH_MAX * CIF_SA_REF_SIZE] = {0};
    int err = gate(c, n);
    if (err)
        return err;
    fill_refs(recs, handles, NULL, n);
    return batch(c, op, recs, CIF_SA_REF_SIZE, n, cb, arg);
}

int card_sa_free(struct card *c, const uint32_t *handles, unsigned n, card_cb cb, void *arg)
{
    return by_handle(c, CIF_OP_SA_FREE, handles, n, cb, arg);
}

int card_sa_start(struct card *c, const uint32_t *handles, unsigned n, card_cb cb, void *arg)
{
    return by_handle(c, CIF_OP_SA_START, handles, n, cb, arg);
}

int card_sa_stop(struct card *c, const uint32_t *handles, unsigned n, card_cb cb, void *arg)
{
    return by_handle(c, CIF_OP_SA_STOP, handles, n, cb, arg);
}

/* A query: refs as data (none for ALL), state records as result. rec_size is the results' distance.
 */
static int query(struct card *c, enum cif_query how, const uint32_t *handles,
                 const uint64_t *cookies, unsigned n, uint64_t from, card_cb cb, void *arg)
{
    unsigned slot;
    bool all = how == CIF_QUERY_ALL;
    int err = gate(c, n);
    if (!err)
        err = admin_begin(c, false, &slot);
    if (err)
        return err;
    if (!all)
        fill_refs(admin_data(c, slot), handles, cookies, n);
    struct admin_req req = {.op = CIF_OP_SA_QUERY,
                            .count = (uint16_t)n,
                            .rec_size = CIF_SA_STATE_SIZE,
                            .data_len = all ? 0 : n * CIF_SA_REF_SIZE,
                            .result_len = n * CIF_SA_STATE_SIZE,
                            .arg0 = (uint32_t)how,
                            .arg1 = from,
                            .cb = cb,
                            .arg = arg};
    return admin_send(c, slot, &req);
}

int card_sa_query_handles(struct card *c, const uint32_t *handles, unsigned n, card_cb cb,
                          void *arg)
{
    return query(c, CIF_QUERY_HANDLE, handles, NULL, n, 0, cb, arg);
}

int card_sa_query_cookies(struct card *c, const uint64_t *cookies, unsigned n, card_cb cb,
                          void *arg)
{
    return query(c, CIF_QUERY_COOKIE, NULL, cookies, n, 0, cb, arg);
}

int card_sa_query_all(struct card *c, uint64_t from, card_cb cb, void *arg)
{
    return query(c, CIF_QUERY_ALL, NULL, NULL, card_batch_max(c), from, cb, arg);
}

/* A command of plain arguments and perhaps a result. */
static int simple(struct card *c, bool own, const struct admin_req *req)
{
    unsigned slot;
    int err = own ? 0 : gate(c, 1);
    if (!err)
        err = admin_begin(c, own, &slot);
    return err ? err : admin_send(c, slot, req);
}

int card_sa_flush(struct card *c, unsigned dir, card_cb cb, void *arg)
{
    struct admin_req req = {.op = CIF_OP_SA_FLUSH, .arg0 = dir, .cb = cb, .arg = arg};
    return dir > CIF_DIR_IN ? -EINVAL : simple(c, false, &req);
}

int card_stats(struct card *c, enum cif_scope scope, unsigned index, card_cb cb, void *arg)
{
    struct admin_req req = {.op = CIF_OP_STATS,
                            .result_len = CIF_STATS_SIZE,
                            .arg0 = (uint32_t)scope,
                            .arg1 = index,
                            .cb = cb,
                            .arg = arg};
    return simple(c, false, &req);
}

int card_port_get(struct card *c, unsigned port, card_cb cb, void *arg)
{
    struct admin_req req = {.op = CIF_OP_PORT_GET,
                            .result_len = CIF_PORT_INFO_SIZE,
                            .arg0 = port,
                            .cb = cb,
                            .arg = arg};
    return simple(c, false, &req);
}

int card_ping(struct card *c, uint64_t echo, card_cb cb, void *arg)
{
    struct admin_req req = {.op = CIF_OP_PING, .arg1 = echo, .cb = cb, .arg = arg};
    return simple(c, false, &req);
}

/* PING and ABORT are the recovery's own: it judges their time itself. */
int command_own(struct card *c, uint8_t op, uint32_t arg0, uint64_t arg1, card_cb cb, void *arg)
{
    struct admin_req req = {.op = op,
                            .own = op == CIF_OP_PING || op == CIF_OP_ABORT,
                            .arg0 = arg0,
                            .arg1 = arg1,
                            .cb = cb,
                            .arg = arg};
    return simple(c, true, &req);
}

/* One argument record that `fill` has put into the slot. */
static int one_record(struct card *c, unsigned slot, uint8_t op, uint32_t size, card_cb cb,
                      void *arg)
{
    struct admin_req req = {.op = op,
                            .count = 1,
                            .rec_size = (uint16_t)size,
                            .data_len = size,
                            .reset_on_overdue = op == CIF_OP_Q_CREATE,
                            .cb = cb,
                            .arg = arg};
    return admin_send(c, slot, &req);
}

int command_event_config(struct card *c, card_cb cb, void *arg)
{
    unsigned slot;
    int err = admin_begin(c, true, &slot);
    if (err)
        return err;
    uint8_t *r = admin_data(c, slot);
    cif_event_config_set_mask(r, ~0ull);
    cif_event_config_set_interval_ms(r, 100);
    return one_record(c, slot, CIF_OP_EVENT_CONFIG, CIF_EVENT_CONFIG_SIZE, cb, arg);
}

int command_q_create(struct card *c, struct queue *q, card_cb cb, void *arg)
{
    unsigned slot, vector = 1u + q->qid;
    int err = admin_begin(c, true, &slot);
    if (err)
        return err;
    uint8_t *r = admin_data(c, slot);
    bool irq = vector < c->bus.vectors && vector < c->caps.vectors;
    cif_q_create_set_qid(r, q->qid);
    cif_q_create_set_type(r, q->tx ? CIF_QTYPE_TX : CIF_QTYPE_RX);
    cif_q_create_set_port(r, q->port);
    cif_q_create_set_vector(r, (uint16_t)(irq ? vector : 0));
    cif_q_create_set_flags(r, irq ? 0 : CIF_QF_NO_IRQ);
    cif_q_create_set_ring(r, q->ring.mem.iova);
    cif_q_create_set_cq(r, q->cq.mem.iova);
    cif_q_create_set_ring_size(r, q->ring.size);
    cif_q_create_set_cq_size(r, q->cq.size);
    return one_record(c, slot, CIF_OP_Q_CREATE, CIF_Q_CREATE_SIZE, cb, arg);
}

/* Overdue means level F at once (contract 4.4). */
int command_q_reset(struct card *c, struct queue *q, card_cb cb, void *arg)
{
    struct admin_req req = {
        .op = CIF_OP_Q_RESET, .reset_on_overdue = true, .arg0 = q->qid, .cb = cb, .arg = arg};
    return simple(c, true, &req);
}

int command_port_set(struct card *c, const struct card_port_cfg *p, card_cb cb, void *arg)
{
    unsigned slot;
    int err = admin_begin(c, true, &slot);
    if (err)
        return err;
    uint8_t *r = admin_data(c, slot);
    cif_port_set_set_port(r, p->port);
    cif_port_set_set_flags(
        r, (uint8_t)((p->enable ? CIF_PORTF_ENABLE : 0) | (p->promisc ? CIF_PORTF_PROMISC : 0)));
    cif_port_set_set_mtu(r, p->mtu ? p->mtu : 1500);
    memcpy(cif_port_set_mac_w(r), p->mac, CIF_PORT_SET_MAC_LEN);
    unsigned n = p->n_ike < CIF_PORT_SET_IKE_PORT_N ? p->n_ike : CIF_PORT_SET_IKE_PORT_N;
    cif_port_set_set_n_ike(r, (uint8_t)n);
    for (unsigned i = 0; i < n; i++)
        cif_port_set_set_ike_port(r, i, p->ike_port[i]);
    return one_record(c, slot, CIF_OP_PORT_SET, CIF_PORT_SET_SIZE, cb, arg);
}

static void remember_port(struct card *c, const struct card_port_cfg *p)
{
    for (unsigned i = 0; i < c->cfg.n_ports; i++) {
        if (c->cfg.port[i].port == p->port) {
            c->cfg.port[i] = *p;
            return;
        }
    }
    if (c->cfg.n_ports < CARD_PORTS_MAX)
        c->cfg.port[c->cfg.n_ports++] = *p;
}

int card_port_set(struct card *c, const struct card_port_cfg *p, card_cb cb, void *arg)
{
    remember_port(c, p);
    int err = gate(c, 1);
    return err ? err : command_port_set(c, p, cb, arg);
}
