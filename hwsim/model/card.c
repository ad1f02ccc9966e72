/* The card as a whole: life, resets, heartbeats, and the round over all its parts. */
#include <errno.h>
#include <stdlib.h>

#include "hwsim/model/internal.h"
#include "hwsim/model/random.h"

/* --- making one
 * ------------------------------------------------------------------------------------------------
 */

static uint32_t next_epoch(uint32_t e)
{
    do
        e++;
    while (e == 0 || e == UINT32_MAX);
    return e;
}

static void power_up(struct hw_card *c)
{
    unsigned i;

    c->epoch = next_epoch((uint32_t)hw_random(&c->random));
    c->status = CIF_STATUS_READY;
    c->fatal_code = 0;
    c->fatal_arg = 0;
    c->next_heartbeat = c->now + (uint64_t)c->shape.heartbeat_ms * HW_MS;
    for (i = 0; i < c->n_queues; i++)
        c->queues[i].qid = (uint16_t)i;
}

static void ports_default(struct hw_card *c)
{
    unsigned i;

    for (i = 0; i < c->shape.n_ports; i++) {
        struct hw_port *p = &c->ports[i];

        p->present = c->shape.ports[i].present;
        p->enabled = p->promisc = false;
        p->flags = 0;
        p->n_ike = 0;
        p->mtu = (uint16_t)(c->shape.ports[i].mtu_max < 1500 ? c->shape.ports[i].mtu_max : 1500);
        memcpy(p->mac, c->shape.ports[i].mac, 6);
    }
}

static int build(struct hw_card *c, const void *fdt, size_t len, const char **err)
{
    unsigned i;
    int bad;

    *err = "no memory";
    c->fdt = aligned_alloc(8, (len + 7) & ~(size_t)7);
    if (!c->fdt)
        return -ENOMEM;
    memcpy(c->fdt, fdt, len);
    c->fdt_len = len;
    bad = hw_shape_read(c->fdt, len, &c->shape, err);
    if (bad)
        return bad;
    *err = "no memory";
    c->fdt_crc = hw_crc32(c->fdt, len);
    c->n_queues = c->shape.tx_max + c->shape.rx_max;
    c->queues = calloc(c->n_queues, sizeof(*c->queues));
    c->own_db = aligned_alloc(CIF_DB_PAGE_SIZE, hw_bar2_size(c));
    if (!c->queues || !c->own_db || hw_sa_table_init(&c->sa, &c->shape, &c->random) < 0 ||
        hw_kat_init(c) < 0)
        return -ENOMEM;
    memset(c->own_db, 0, hw_bar2_size(c));
    c->db = c->own_db;
    for (i = 0; i < HW_PORTS_MAX; i++)
        c->ports[i].link = true;
    return 0;
}

struct hw_card *hw_card_new(const void *fdt, size_t fdt_len, const struct hw_bus *bus,
                            uint64_t seed, uint64_t now, const char **err)
{
    struct hw_card *c = calloc(1, sizeof(*c));

    *err = "no memory";
    if (!c)
        return NULL;
    c->bus = *bus;
    c->random = seed;
    c->now = now;
    c->faults.random = &c->random;
    if (build(c, fdt, fdt_len, err) < 0) {
        hw_card_free(c);
        return NULL;
    }
    hw_pci_init(c);
    ports_default(c);
    power_up(c);
    return c;
}

void hw_card_free(struct hw_card *card)
{
    if (!card)
        return;
    if (card->queues && card->db) {
        hw_queues_drop(card);
        hw_admin_off(card);
    }
    if (card->sa.slots)
        hw_sa_table_free(&card->sa);
    hw_fault_clear(&card->faults);
    hw_esp_clear(&card->kat_out);
    hw_esp_clear(&card->kat_in);
    free(card->queues);
    free(card->own_db);
    free(card->fdt);
    explicit_bzero(card, sizeof(*card));
    free(card);
}

unsigned hw_card_ports(const struct hw_card *card)
{
    return card->shape.n_ports;
}

unsigned hw_card_vectors(const struct hw_card *card)
{
    return card->shape.vectors;
}

size_t hw_bar2_size(const struct hw_card *card)
{
    size_t need = (size_t)(card->n_queues + 1) * CIF_DB_PAGE_SIZE, size = CIF_DB_PAGE_SIZE;

    while (size < need)
        size *= 2;
    return size;
}

/* --- resets
 * ----------------------------------------------------------------------------------------------------------
 */

static bool has_state(const struct hw_card *c)
{
    return c->ran || hw_queues_alive(c) || hw_sa_in_use(&c->sa);
}

static void flush_sas(struct hw_card *c)
{
    uint32_t i;

    for (i = 0; i < c->sa.n; i++)
        if (c->sa.slots[i].state != CIF_SASTATE_FREE)
            hw_sa_release(&c->sa, &c->sa.slots[i]);
    for (i = 0; i < 2; i++)
        c->sa.pools[i].refused = c->sa.pools[i].high = false;
}

static void clear_stats(struct hw_card *c)
{
    unsigned i;

    memset(c->stats, 0, sizeof(c->stats));
    for (i = 0; i < HW_PORTS_MAX; i++)
        memset(c->ports[i].stats, 0, sizeof(c->ports[i].stats));
}

/* Level F. All is gone at once; RESETTING stands a moment so that the host sees it. */
static void function_reset(struct hw_card *c)
{
    bool lost = has_state(c);

    hw_queues_drop(c);
    hw_admin_off(c);
    flush_sas(c);
    ports_default(c);
    memset(c->admin_reg, 0, sizeof(c->admin_reg));
    memset(c->feat_drv, 0, sizeof(c->feat_drv));
    hw_db_store(c, CIF_DB_ASQ_TAIL, 0);
    hw_db_store(c, CIF_DB_ACQ_HEAD, 0);
    hw_db_store(c, CIF_DB_EVQ_HEAD, 0);
    hw_fault_reset(&c->faults);
    if (lost) {
        c->epoch = next_epoch(c->epoch);
        clear_stats(c); /* counters are monotonic within an epoch */
    }
    c->ran = c->acked = c->driver = c->quiesce = c->reset_seen = false;
    c->feat_sel = c->int_mask = c->int_pending = 0;
    c->status = CIF_STATUS_RESETTING;
    c->reset_at = c->now;
}

void hw_card_reset(struct hw_card *card, enum hw_reset level, uint64_t now)
{
    card->now = now;
    if (card->dead && level != HW_RESET_P)
        return;
    if (level == HW_RESET_A) {
        hw_admin_off(card);
        card->status |= CIF_STATUS_ADMIN_OFF;
        return;
    }
    function_reset(card);
    if (level != HW_RESET_P)
        return;
    hw_fault_clear(&card->faults);
    hw_pci_init(card);
    card->reset_reason = card->hb_fw = card->hb_dp = 0;
    card->dead = false;
    power_up(card);
}

/* RESETTING ends after its time, once somebody has seen it or it has lasted long. */
static uint64_t end_reset(struct hw_card *c)
{
    uint64_t age = c->now - c->reset_at;

    if (!(c->status & CIF_STATUS_RESETTING))
        return HW_NEVER;
    if (age < (c->reset_seen ? HW_RESET_NS : HW_RESET_MAX_NS))
        return c->reset_at + (c->reset_seen ? HW_RESET_NS : HW_RESET_MAX_NS);
    c->status = CIF_STATUS_READY;
    return HW_NEVER;
}

/* --- control
 * ----------------------------------------------------------------------------------------------------------
 */

static void ask_ack(struct hw_card *c)
{
    c->acked = c->acked || c->status & CIF_STATUS_READY;
}

static void ask_driver(struct hw_card *c)
{
    c->driver = c->driver || c->acked;
}

uint32_t hw_features(const struct hw_card *c, uint32_t word)
{
    if (word != 0)
        return 0;
    return CIF_FEAT_ADMIN_CRC | CIF_FEAT_DEBUG_FAULTS |
           (c->shape.doorbell_wake ? CIF_FEAT_DOORBELL_WAKE : 0) |
           (c->shape.atomic ? CIF_FEAT_ATOMIC_BATCH : 0) |
           (c->shape.seq_guard ? CIF_FEAT_SEQ_GUARD : 0) |
           (c->shape.rx_max > 1 ? CIF_FEAT_RSS : 0) | (c->shape.time ? CIF_FEAT_TIMESTAMP : 0);
}

static void ask_features(struct hw_card *c)
{
    bool good =
        c->driver && !(c->feat_drv[0] & ~hw_features(c, 0)) && c->feat_drv[1] == hw_features(c, 1);

    if (good)
        c->status |= CIF_STATUS_FEATURES_OK;
    else if (!(c->status & CIF_STATUS_RUNNING))
        c->status &= ~CIF_STATUS_FEATURES_OK;
}

static void ask_run(struct hw_card *c)
{
    if (c->status & CIF_STATUS_RUNNING) {
        c->quiesce = false;
        c->status &= ~CIF_STATUS_QUIESCED;
        return;
    }
    if (!(c->status & CIF_STATUS_FEATURES_OK))
        return;
    hw_admin_latch(c);
    if (c->admin.on)
        c->status |= CIF_STATUS_RUNNING;
}

static void ask_quiesce(struct hw_card *c)
{
    c->quiesce = c->quiesce || c->status & CIF_STATUS_RUNNING;
}

static void ask_reset(struct hw_card *c)
{
    function_reset(c);
}

static void ask_admin_reset(struct hw_card *c)
{
    if (c->status & CIF_STATUS_RUNNING)
        hw_card_reset(c, HW_RESET_A, c->now);
}

static void ask_admin_run(struct hw_card *c)
{
    if (!(c->status & CIF_STATUS_ADMIN_OFF))
        return;
    hw_admin_latch(c);
    if (c->admin.on)
        c->status &= ~CIF_STATUS_ADMIN_OFF;
}

void hw_control(struct hw_card *c, uint32_t bits)
{
    static const struct {
        uint32_t bit;
        void (*ask)(struct hw_card *c);
    } rows[] = {
        {CIF_CONTROL_RESET, ask_reset},
        {CIF_CONTROL_ACK, ask_ack},
        {CIF_CONTROL_DRIVER, ask_driver},
        {CIF_CONTROL_FEATURES_OK, ask_features},
        {CIF_CONTROL_RUN, ask_run},
        {CIF_CONTROL_QUIESCE, ask_quiesce},
        {CIF_CONTROL_ADMIN_RESET, ask_admin_reset},
        {CIF_CONTROL_ADMIN_RUN, ask_admin_run},
    };
    size_t i;

    for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if (bits & rows[i].bit && (i == 0 || !(c->status & CIF_STATUS_RESETTING)))
            rows[i].ask(c);
}

/* --- heartbeats
 * ----------------------------------------------------------------------------------------------------
 */

static uint32_t beat(uint32_t v)
{
    return v >= UINT32_MAX - 1 ? 0 : v + 1;
}

bool hw_datapath_works(struct hw_card *c)
{
    return (c->status & (CIF_STATUS_RUNNING | CIF_STATUS_NEEDS_RESET | CIF_STATUS_FATAL)) ==
               CIF_STATUS_RUNNING &&
           !hw_fault_lasting(&c->faults, c->now, HW_SITE_DATAPATH, HW_FAULT_ANY);
}

void hw_stop(struct hw_card *c, bool fatal)
{
    c->status |= fatal ? CIF_STATUS_FATAL : CIF_STATUS_NEEDS_RESET;
    if (fatal)
        c->fatal_code = CIF_FATAL_CODE_INTERNAL;
    hw_event(c, fatal ? CIF_EV_FATAL : CIF_EV_NEEDS_RESET, CIF_SEV_ERROR,
             fatal ? CIF_FATAL_CODE_INTERNAL : 0, 0, 0);
    if (c->admin.on)
        hw_cq_arm(c, &c->admin.evq);
}

static uint64_t heartbeats(struct hw_card *c)
{
    uint64_t period = (uint64_t)c->shape.heartbeat_ms * HW_MS;

    if (c->now < c->next_heartbeat)
        return c->next_heartbeat;
    if ((c->status & (CIF_STATUS_READY | CIF_STATUS_FATAL)) == CIF_STATUS_READY &&
        !hw_fault_lasting(&c->faults, c->now, HW_SITE_FIRMWARE, HW_FAULT_ANY))
        c->hb_fw = beat(c->hb_fw);
    if (hw_datapath_works(c) && hw_kat_run(c))
        c->hb_dp = beat(c->hb_dp);
    c->next_heartbeat = c->now + period;
    return c->next_heartbeat;
}

/* --- the round
 * --------------------------------------------------------------------------------------------------------
 */

static uint64_t min64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static void run_datapath(struct hw_card *c)
{
    unsigned i, n = c->n_queues;

    for (i = 0; i < n; i++)
        if (c->queues[i].exists && c->queues[i].type == CIF_QTYPE_RX)
            hw_rx_run(c, &c->queues[i]);
    if (c->quiesce)
        return;
    c->rr++;
    for (i = 0; i < n; i++) {
        struct hw_queue *q = &c->queues[(i + c->rr) % n];

        if (q->exists && q->type == CIF_QTYPE_TX)
            hw_tx_run(c, q);
    }
}

static uint64_t run_queues(struct hw_card *c)
{
    uint64_t next = HW_NEVER;
    bool late = false;
    unsigned i;

    for (i = 0; i < c->n_queues; i++) {
        struct hw_queue *q = &c->queues[i];

        if (!q->exists)
            continue;
        next = min64(next, hw_queue_late(c, q));
        late = late || q->late;
        next = min64(next, hw_cq_arm(c, &q->cq));
    }
    if (c->quiesce && !late)
        c->status |= CIF_STATUS_QUIESCED;
    return next;
}

/* Link faults come and go: the LINK event tells. */
static void watch_links(struct hw_card *c)
{
    unsigned i;

    for (i = 0; i < c->shape.n_ports; i++) {
        struct hw_port *p = &c->ports[i];
        bool down = hw_fault_lasting(&c->faults, c->now, HW_SITE_LINK, i);

        if (p->fault_down == down)
            continue;
        p->fault_down = down;
        if (p->link)
            hw_event(c, CIF_EV_LINK, CIF_SEV_INFO, !down, i, c->shape.ports[i].mbps);
    }
}

uint64_t hw_card_run(struct hw_card *card, uint64_t now)
{
    uint64_t next;

    card->now = now;
    if (card->dead)
        return HW_NEVER;
    card->moved = false;
    next = min64(end_reset(card), heartbeats(card));
    if (!(card->status & CIF_STATUS_RUNNING) || card->status & CIF_STATUS_RESETTING)
        return next;
    hw_doorbells_note(card);
    watch_links(card);
    next = min64(next, hw_admin_run(card));
    if (hw_datapath_works(card))
        run_datapath(card);
    next = min64(next, run_queues(card));
    next = min64(next, hw_fault_next_end(&card->faults, now));
    return card->moved || next < now ? now : next;
}

void hw_card_set_link(struct hw_card *card, uint64_t now, unsigned port, bool up)
{
    card->now = now;
    if (port >= card->shape.n_ports || card->ports[port].link == up || card->dead)
        return;
    card->ports[port].link = up;
    hw_event(card, CIF_EV_LINK, CIF_SEV_INFO, up, port, card->shape.ports[port].mbps);
}
