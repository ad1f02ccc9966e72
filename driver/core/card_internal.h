/* The inside of libcard's core. */
#ifndef SALLYPORT_CARD_INTERNAL_H
#define SALLYPORT_CARD_INTERNAL_H

#include <pthread.h>
#include <sallyport/card.h>
#include <stdatomic.h>

#define MS             1000000ull
#define US             1000ull
#define ADMIN_SLOTS    32u /* also the size of ASQ and ACQ */
#define ADMIN_RESERVED 6u  /* slots that only the driver's own commands may take */
#define EVQ_SIZE       64u
#define ACQ_SIZE       64u
#define SLOT_DATA      (CARD_BATCH_MAX * CIF_SA_MODIFY_SIZE)
#define SLOT_RESULT    (CARD_BATCH_MAX * CIF_SA_STATE_SIZE)
#define SLOT_SIZE      (SLOT_DATA + SLOT_RESULT)
#define HB_MISSES      3
#define HB_MISSES_WAKE 8 /* a card that claims doorbell-wake is a program: its cores are shared */
#define POLL_NS        (1 * MS)

/* A completion or descriptor ring in shared memory, read by one thread at a time. */
struct ring {
    struct card_dma mem;
    uint32_t size;  /* entries, a power of two */
    uint32_t esize; /* octets of an entry */
    uint32_t idx;   /* free-running: next entry to read, or to fill */
    bool armed;     /* the interrupt is armed, since nothing was read after armed_at */
    uint32_t armed_at;
};

/* One admin command slot; its number is the cid. Its buffers belong to it from SENT to FREE. */
enum cmd_state { CMD_FREE, CMD_FILLING, CMD_SENT };
struct cmd {
    enum cmd_state state;
    uint16_t gen;
    uint8_t op;
    bool secret;           /* data holds keys */
    bool own;              /* of the recovery itself: its time-out is judged there */
    bool stamped;          /* deadline is set */
    bool reset_on_overdue; /* level F instead of PING and ABORT */
    unsigned count;
    uint32_t result_len;
    uint64_t deadline;
    card_cb cb;
    void *arg;
};

struct admin_req {
    uint8_t op;
    bool secret, own, reset_on_overdue;
    uint16_t count, rec_size;
    uint32_t data_len, result_len, arg0;
    uint64_t arg1;
    card_cb cb;
    void *arg;
};

enum queue_state { QUEUE_OFF, QUEUE_UP, QUEUE_DEAD, QUEUE_RESETTING };

/* What the driver knows of a posted descriptor or buffer. */
struct posted {
    uint64_t user, seq, at;
    uint32_t sa_handle, buf;
    uint16_t off, len;
    uint8_t op;
};

struct queue {
    pthread_mutex_t lock;
    struct card *card;
    bool tx;
    uint16_t qid;
    unsigned index; /* into cfg.tx or cfg.rx */
    uint8_t port;
    enum queue_state state;
    bool overdue; /* dead only for being late: worth a second look */
    bool open;    /* workers may use it; not before the end of bring-up */
    struct ring ring, cq;
    struct card_dma bufs;
    uint32_t buf_len, n_bufs;
    uint32_t cons;         /* free-running: oldest descriptor without outcome */
    uint32_t flushed;      /* free-running: what the doorbell says */
    struct posted *posted; /* by ring slot */
    uint32_t *free;        /* stack of free buffers */
    uint32_t n_free;
    uint8_t *held;       /* by buffer: 1 = the caller's, 0 = free or posted */
    struct posted *lost; /* a circular list: outcomes to hand out after the queue went down */
    uint32_t lost_head, n_lost;
    uint64_t progress;  /* when the last completion came */
    uint64_t suspect;   /* when a descriptor was first seen overdue; 0 = none */
    uint64_t looked;    /* Tx: when the caller last reaped */
    unsigned lost_last; /* lost by the last going down */
    char why[CARD_REASON_MAX];
    uint64_t n_posted, n_done, n_lost_total, n_bad, n_resets, n_wakes;
};

enum step {
    STEP_RESET,
    STEP_READY,
    STEP_TREE,
    STEP_FEATURES,
    STEP_RUN,
    STEP_RUNNING,
    STEP_EVENTS,
    STEP_QUEUES,
    STEP_KAT,
    STEP_HEARTBEATS,
    STEP_PORTS,
    STEP_DONE,
};

enum recovery { REC_NONE, REC_PING, REC_ABORT, REC_ADMIN_OFF, REC_ADMIN_ON, REC_ADMIN_PING };

struct kat;

struct card {
    struct card_bus bus;
    struct card_cfg cfg;
    struct card_callbacks cb;
    uint64_t now;
    enum card_state state;
    char reason[CARD_REASON_MAX];

    unsigned life; /* changes when the admin queue starts anew or the card is reset */
    enum step step;
    uint64_t step_deadline, retry_at;
    unsigned failures; /* bring-ups that failed in a row */
    unsigned step_index, step_pending;
    bool step_started, bus_reset_tried;
    uint64_t running_since;
    enum cif_reset reset_code;
    bool reset_written; /* by the recovery: the bring-up need not write it again */

    uint32_t epoch, timing;
    unsigned db_shift;
    bool wake;
    uint8_t *fdt;
    uint32_t fdt_size, fdt_at, fdt_gen;
    bool have_caps;
    struct card_caps caps;

    struct ring asq, acq, evq;
    struct card_dma slots;
    struct cmd cmd[ADMIN_SLOTS];
    uint32_t asq_head; /* free-running, from completions */

    enum recovery rec;
    uint64_t rec_deadline;
    unsigned rec_victim;
    uint16_t rec_victim_gen;
    bool rec_answered;

    uint64_t hb_at;
    uint32_t hb_fw, hb_dp;
    unsigned hb_fw_missed, hb_dp_missed;

    struct queue *tx[CARD_QUEUES_MAX], *rx[CARD_QUEUES_MAX];
    struct kat *kat;
    struct card_counters n;
};

/* card.c: registers and doorbells. A failed access makes the card gone and returns false. */
bool card_rd(struct card *c, uint32_t off, uint32_t *v);
bool card_wr(struct card *c, uint32_t off, uint32_t v);
/* Release barrier, doorbell, and the rule of `sleeping` (contract 4.5). True: WAKE was written. */
bool card_doorbell(struct card *c, unsigned page, uint32_t word, uint32_t value);
void card_set_state(struct card *c, enum card_state state, const char *why);
void card_log(struct card *c, enum card_level level, const char *remedy, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
int ring_alloc(struct card *c, struct ring *r, uint32_t size, uint32_t esize);
void ring_free(struct card *c, struct ring *r);
void ring_zero(struct ring *r);
/* Next entry of a completion ring copied once into out (r->esize octets): 1 got it, 0 none yet,
 * -EBADMSG a phase that cannot be, or a later entry was written before this one. */
int ring_take(struct ring *r, uint8_t *out);
/* Is there an entry to read? */
bool ring_has_entry(const struct ring *r);
/* Must the interrupt be armed (again)? An unread entry fires at once, so then: yes. */
bool ring_wants_arm(struct ring *r);
static inline uint8_t *ring_at(const struct ring *r, uint32_t idx)
{
    return r->mem.va + (size_t)(idx & (r->size - 1)) * r->esize;
}

/* bringup.c */
void bringup_start(struct card *c, enum cif_reset code);
void bringup_retry(struct card *c, enum cif_reset code);
/* One more failure in a row; true when the card has been given up. */
bool bringup_count_failure(struct card *c, const char *why);
uint64_t bringup_poll(struct card *c);
void bringup_fail(struct card *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
const char *bringup_step_name(enum step s);

/* recover.c: level F; gone; overdue commands; heartbeats. */
void recover_reset(struct card *c, enum cif_reset code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void recover_gone(struct card *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void recover_admin(struct card *c, const char *why); /* level A */
void recover_overdue(struct card *c, unsigned slot);
void recover_poll(struct card *c);
void heartbeat_poll(struct card *c);

/* admin.c */
int admin_setup(struct card *c);  /* memory, once */
void admin_start(struct card *c); /* empty queues before RUN or ADMIN_RUN */
bool admin_program(struct card *c);
int admin_begin(struct card *c, bool own, unsigned *slot);
uint8_t *admin_data(struct card *c, unsigned slot);
uint8_t *admin_result(struct card *c, unsigned slot);
int admin_send(struct card *c, unsigned slot, const struct admin_req *req);
void admin_poll(struct card *c);
void admin_fail_all(struct card *c, const char *why);
uint64_t admin_next(const struct card *c);
void admin_teardown(struct card *c);
int command_event_config(struct card *c, card_cb cb, void *arg);
int command_q_create(struct card *c, struct queue *q, card_cb cb, void *arg);
int command_q_reset(struct card *c, struct queue *q, card_cb cb, void *arg);
int command_port_set(struct card *c, const struct card_port_cfg *p, card_cb cb, void *arg);
int command_own(struct card *c, uint8_t op, uint32_t arg0, uint64_t arg1, card_cb cb, void *arg);

/* events.c */
void events_poll(struct card *c);

/* queue.c: the life of a queue; called by the main thread. */
int queue_setup(struct card *c); /* memory of all queues, once, when the caps are known */
void queue_teardown(struct card *c);
void queue_prepare(struct queue *q); /* zero rings before Q_CREATE or after Q_RESET */
void queue_up(struct queue *q);
void queue_down(struct queue *q, const char *why); /* outstanding packets become lost */
void queue_all_down(struct card *c, const char *why);
void queue_mark_dead(struct queue *q, const char *fmt, ...)
    __attribute__((format(printf, 2, 3))); /* lock held */
void queue_poll(struct card *c);           /* dead queues are reset */
struct queue *queue_by_qid(struct card *c, uint32_t qid);
unsigned queue_count(const struct card *c);
struct queue *queue_nth(const struct card *c, unsigned i);
void queue_doorbell(struct queue *q, uint32_t word, uint32_t value);
void queue_open_all(struct card *c);
void rx_fill(struct queue *q); /* lock held */
/* tx.c, rx.c: what a worker does. kat: the caller is the known-answer test, which owns the queues
 * until they are open to workers. */
static inline bool queue_usable(const struct queue *q, bool kat)
{
    return q->state == QUEUE_UP && q->open != kat;
}
uint32_t tx_buf_get(struct queue *q, bool kat);
int tx_post(struct queue *q, const struct card_tx *tx, bool kat);
int tx_flush(struct queue *q, uint64_t now, bool kat);
int tx_reap(struct queue *q, uint64_t now, struct card_tx_done *out, unsigned max, bool kat);
int rx_reap(struct queue *q, uint64_t now, struct card_rx *out, unsigned max, bool kat);

/* kat.c: known answers. Progress of STEP_KAT: true when done. */
bool kat_poll(struct card *c);
void kat_stop(struct card *c);

uint32_t card_crc32(const void *data, size_t len);

#endif
