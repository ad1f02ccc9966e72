/* The inside of a card, shared by the files of the model. */
#ifndef SALLYPORT_HWSIM_INTERNAL_H
#define SALLYPORT_HWSIM_INTERNAL_H

#include "firmware-if/card_if.h"
#include "hwsim/model/fault.h"
#include "hwsim/model/hw_card.h"
#include "hwsim/model/sa_table.h"
#include "hwsim/model/shape.h"

#define HW_MS           1000000u
#define HW_RESET_NS     (1 * HW_MS)  /* how long RESETTING lasts, if somebody reads it meanwhile */
#define HW_RESET_MAX_NS (50 * HW_MS) /* and if nobody does */
#define HW_HELD_FRAMES  512u         /* packet memory of an Rx queue, frames */
#define HW_TX_BUDGET    64u          /* packets of one ring in one run, so that all get a turn */
#define HW_ADMIN_BUDGET 64u
#define HW_ADMIN_VECTOR CIF_ADMIN_VECTOR
#define HW_QID_ADMIN    0xffffu
#define HW_ESN_SLACK    4096u /* how far below T a number may lie and still get T's high half */
#define HW_BURST_FAILS  64u
#define HW_BURST_NS     (50 * HW_MS)
#define HW_PACKET_MAX   65536u

/* A ring that the card writes: completions and events. */
struct hw_cq {
    uint64_t base;
    uint32_t size, entry; /* entries; octets of one */
    uint64_t count;       /* entries written; slot, pass and free-running tail come from it */
    uint32_t doorbell;    /* offset in BAR2 of its head word */
    unsigned vector;
    bool no_irq;
    uint16_t mod_usec, mod_count;
    uint64_t unread_since; /* for moderation: when the first entry that fired nothing was written */
    uint32_t unfired;
};

/* A completion that is late by a fault. Those behind it in the same packet queue wait, too, while
 * the packets themselves go on. */
struct hw_late {
    struct hw_late *next;
    uint64_t due;
    uint8_t entry[64];
};

struct hw_held {
    struct hw_held *next;
    size_t len;
    bool looped;
    uint8_t frame[];
};

struct hw_queue {
    bool exists, stopped;
    uint8_t type, port;
    uint16_t qid;
    uint64_t ring;
    uint32_t size;
    uint16_t head;                 /* free-running: next descriptor or buffer to take */
    uint16_t seen_tail, seen_head; /* doorbells as the last run found them */
    struct hw_cq cq;
    struct hw_late *late, **late_end;
    uint32_t n_late;
    struct hw_held *held, **held_end; /* Rx: frames that wait for buffers */
    unsigned n_held;
    uint8_t record[CIF_Q_CREATE_SIZE];
    uint64_t stats[CIF_STAT_COUNT];
};

struct hw_port {
    bool present, enabled, promisc, link, fault_down;
    uint16_t mtu;
    uint8_t mac[6];
    uint8_t flags;
    uint16_t ike[8];
    unsigned n_ike;
    uint64_t stats[CIF_STAT_COUNT];
};

/* A command that is not complete yet: held back before or after it was carried out. */
struct hw_pending {
    struct hw_pending *next;
    uint8_t sqe[CIF_ASQ_SIZE];
    uint8_t acq[CIF_ACQ_SIZE];
    bool executed, fence;
    uint64_t due, serial;
};

struct hw_admin {
    bool on, stopped;
    uint64_t asq;
    uint32_t asq_size;
    uint16_t head;
    struct hw_cq acq, evq;
    struct hw_pending *pending;
    unsigned n_pending;
    uint64_t serial;
    uint64_t event_mask;
    uint32_t event_interval_ms;
    uint16_t lost;
    uint32_t seen[3]; /* doorbells as the last run found them */
};

struct hw_pci {
    uint8_t value[HW_CONFIG_SIZE];
    uint8_t mask[HW_CONFIG_SIZE]; /* bits that the host may write */
};

struct hw_card {
    struct hw_bus bus;
    struct hw_shape shape;
    uint8_t *fdt;
    size_t fdt_len;
    uint32_t fdt_crc;
    uint64_t random, now;
    bool dead, ran; /* ran: an admin queue was latched since the last loss of state */
    bool moved;     /* this run did something: look again at once */

    uint32_t epoch, status, reset_reason, fatal_code;
    uint64_t fatal_arg;
    uint32_t hb_fw, hb_dp, feat_sel, feat_drv[2], int_mask, int_pending;
    uint32_t admin_reg[12]; /* ASQ_LO … EVQ_SIZE */
    uint64_t time_latch, next_heartbeat, reset_at;
    bool acked, driver, reset_seen;
    bool quiesce; /* asked for */

    struct hw_pci pci;
    uint8_t bar4[HW_BAR4_SIZE];
    uint8_t *db, *own_db;

    struct hw_admin admin;
    struct hw_queue *queues;
    unsigned n_queues;
    unsigned rr; /* where the round over the Tx rings begins */
    struct hw_port ports[HW_PORTS_MAX];
    struct hw_sa_table sa;
    struct hw_faults faults;
    uint64_t stats[CIF_STAT_COUNT];
    uint64_t total[CIF_STAT_COUNT]; /* since power-up, whatever was reset: for the dumps */
    struct hw_esp kat_out, kat_in;  /* the heartbeat's known answer */

    uint8_t in[HW_PACKET_MAX], out[HW_PACKET_MAX]; /* Tx */
    uint8_t plain[HW_PACKET_MAX], rx[HW_PACKET_MAX];
};

/* --- pci_config.c --------------------------------------------------------------------------------
 */
void hw_pci_init(struct hw_card *c);
void hw_pci_flr(struct hw_card *c); /* configuration space as after a function reset */
bool hw_pci_may_dma(const struct hw_card *c);

/* --- bus.c: DMA, interrupts, doorbells, rings the card writes ------------------------------------
 */
int hw_dma_read(struct hw_card *c, uint64_t iova, void *buf, size_t len);
int hw_dma_write(struct hw_card *c, uint64_t iova, const void *buf, size_t len);
void hw_irq(struct hw_card *c, unsigned vector);
uint32_t hw_db_load(const struct hw_card *c, uint32_t offset);
void hw_db_store(struct hw_card *c, uint32_t offset, uint32_t value);
uint32_t hw_db_page(unsigned qid); /* HW_QID_ADMIN: page 0 */
/* Free entries, by the host's head doorbell; a head that cannot be counts as full. */
uint32_t hw_cq_room(const struct hw_card *c, const struct hw_cq *q);
/* Writes one entry, its phase filled in. 0 or the DMA error (nothing was counted then). */
int hw_cq_write(struct hw_card *c, struct hw_cq *q, const uint8_t *entry);
/* Fires what is armed and due. Returns when moderation wants to be looked at again. */
uint64_t hw_cq_arm(struct hw_card *c, struct hw_cq *q);
void hw_count(struct hw_card *c, unsigned port, struct hw_queue *q, unsigned stat, uint64_t n);
/* Random octets, for the fault that garbles a completion. */
void hw_garble(struct hw_card *c, uint8_t *p, size_t len);
uint32_t hw_crc32(const uint8_t *p, size_t len);

/* --- events.c ------------------------------------------------------------------------------------
 */
void hw_event(struct hw_card *c, unsigned type, unsigned sev, unsigned qual, uint32_t id,
              uint64_t arg0);

/* --- queue.c
 * -------------------------------------------------------------------------------------- */
/* A bad entry stops its queue: QUEUE_ERROR. */
void hw_queue_error(struct hw_card *c, struct hw_queue *q, unsigned qerr, uint16_t index);
/* Writes a packet completion, with the faults of completions. */
void hw_queue_complete(struct hw_card *c, struct hw_queue *q, const uint8_t *entry);
/* Writes late completions that are due; returns the next due time. */
uint64_t hw_queue_late(struct hw_card *c, struct hw_queue *q);
/* Room for one more completion, late and doubled ones included. */
bool hw_queue_may_complete(const struct hw_card *c, const struct hw_queue *q);
void hw_queue_clear(struct hw_card *c, struct hw_queue *q); /* indices, held frames, late ones */
void hw_queues_drop(struct hw_card *c);                     /* level F */
unsigned hw_queues_alive(const struct hw_card *c);

/* --- tx.c, rx.c
 * ----------------------------------------------------------------------------------- */
void hw_tx_run(struct hw_card *c, struct hw_queue *q);
bool hw_tx_raw_ok(const struct hw_port *port, const struct hw_frame *f);
void hw_rx_input(struct hw_card *c, unsigned port, const uint8_t *frame, size_t len, bool looped);
void hw_rx_run(struct hw_card *c, struct hw_queue *q);

/* What the inbound pipeline makes of a frame (pipeline.c). */
struct hw_verdict {
    bool drop;
    uint8_t kind, reason;
    uint32_t handle;
    uint64_t seq;
    uint16_t flags, sport;
    uint8_t outer_family, tos, ttl;
    const uint8_t *data;
    size_t len;
};
void hw_pipeline(struct hw_card *c, unsigned port, const uint8_t *frame, size_t len, bool looped,
                 struct hw_verdict *v);

/* --- admin
 * ----------------------------------------------------------------------------------------- */
/* A command being served. The handler fills in status, done, first_bad, value. */
struct hw_cmd {
    uint8_t sqe[CIF_ASQ_SIZE];
    uint16_t status;
    uint32_t done, first_bad;
    uint64_t value;
};
void hw_admin_latch(struct hw_card *c);
void hw_admin_off(struct hw_card *c);
uint64_t hw_admin_run(struct hw_card *c);

uint16_t hw_bad_field(struct hw_cmd *m, uint32_t offset);
/* Reads the one argument record of a command. Status OK, BAD_SIZE or DMA_FAULT. */
uint16_t hw_cmd_record(struct hw_card *c, const struct hw_cmd *m, uint8_t *to, size_t size);
uint16_t hw_cmd_result(struct hw_card *c, const struct hw_cmd *m, const uint8_t *from, size_t size);

typedef uint16_t hw_handler(struct hw_card *c, struct hw_cmd *m);
hw_handler hw_sa_cmd_add, hw_sa_cmd_modify, hw_sa_cmd_start, hw_sa_cmd_stop, hw_sa_cmd_free;
hw_handler hw_sa_cmd_flush, hw_sa_cmd_query;
hw_handler hw_q_create, hw_q_destroy, hw_q_reset, hw_q_modify;
hw_handler hw_cmd_port_set, hw_cmd_port_get, hw_cmd_event_config, hw_cmd_stats;

/* One record of SA_ADD (sa_record.c): checks it and fills a slot's values from it. rec has
 * CIF_SA_SIZE octets. The status; *offset names the field of BAD_FIELD. Nothing keyed yet. */
uint16_t hw_sa_check(const struct hw_card *c, const uint8_t *rec, uint32_t *offset);
void hw_sa_fill(struct hw_sa *sa, const uint8_t *rec);
void hw_sa_header(struct hw_sa *sa, const uint8_t *rec); /* ttl, dscp, hdr_ctl, flow label */
unsigned hw_sa_hdr_bad(const struct hw_card *c, unsigned hdr_ctl);
/* A slot became free or was refused: TABLE_HIGH and TABLE_LOW. */
void hw_sa_room(struct hw_card *c, unsigned dir, bool refused);

/* --- card.c, kat.c, ctl.c
 * ---------------------------------------------------------------------------- */
void hw_control(struct hw_card *c, uint32_t bits);
uint32_t hw_features(const struct hw_card *c, uint32_t word);
void hw_doorbells_note(struct hw_card *c);
void hw_die(struct hw_card *c);
/* Stops transmitting and decrypting, then says so: FATAL (until level F) or NEEDS_RESET. */
void hw_stop(struct hw_card *c, bool fatal);
bool hw_datapath_works(struct hw_card *c);
int hw_kat_init(struct hw_card *c);
bool hw_kat_run(struct hw_card *c);

#endif
