/* libcard: how a host uses a Sallyport card.
 *
 * Nothing here blocks: no call waits longer than the bus table's register access does (vfio-user:
 * its deadline; PCIe: nothing). Time is `now`, nanoseconds of CLOCK_BOOTTIME; the core reads no
 * clock, opens no file and calls no socket.
 *
 * Threads: everything is called from one thread (the main one), but card_tx_*, card_rx_* and
 * card_buf_* of one queue may be called from one other thread each; a queue's lock keeps the main
 * thread's resets and the worker apart. Callbacks come from inside card_poll() and card_reset()
 * only, on the thread that called; they may call anything here but card_poll and card_free.
 *
 * Records are contract records (firmware-if/card_if.h), little-endian, built with cif_sa_set_…().
 */
#ifndef SALLYPORT_CARD_H
#define SALLYPORT_CARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "firmware-if/card_if.h"

struct card;

#define CARD_NEVER       UINT64_MAX
#define CARD_PORTS_MAX   8
#define CARD_QUEUES_MAX  16 /* of each direction */
#define CARD_SUITES_MAX  32
#define CARD_WINDOWS_MAX 8
#define CARD_BATCH_MAX   64 /* records of one call; see card_batch_max() */
#define CARD_REASON_MAX  192

/* --- the bus: how registers, doorbells and memory are reached -------------------------------- */

/* Memory that host and card share: page aligned, zeroed. priv belongs to the bus. */
struct card_dma {
    uint8_t *va;
    uint64_t iova;
    size_t len;
    void *priv;
};

struct card_bus {
    void *ctx; /* must outlive the card */
    /* BAR0, aligned 32-bit. 0 or -errno; an error means that the card is gone. A value of ~0 means
     * the same. reg_write of CIF_REG_WAKE may come from any worker thread, the rest from the main
     * thread. */
    int (*reg_read)(void *ctx, uint32_t off, uint32_t *value);
    int (*reg_write)(void *ctx, uint32_t off, uint32_t value);
    /* Several words at once, as octets in address order; both multiples of 4. May be NULL. */
    int (*reg_read_block)(void *ctx, uint32_t off, uint8_t *out, size_t len);
    /* BAR2, mapped: doorbells are written there as 32-bit little-endian words, and the word
     * `sleeping` is read there. NULL: db_write is called for each doorbell instead. */
    uint8_t *doorbells;
    size_t doorbells_len;
    void (*db_write)(void *ctx, uint32_t off, uint32_t value);
    /* 0 or -errno. The main thread only. */
    int (*dma_alloc)(void *ctx, size_t len, struct card_dma *out);
    void (*dma_free)(void *ctx, struct card_dma *mem);
    /* A reset beside CONTROL.RESET (FLR, DEVICE_RESET), for a card that does not answer the latter.
     * May be NULL. */
    int (*reset)(void *ctx);
    /* false: the connection is closed, the device is unplugged. May be NULL. */
    bool (*alive)(void *ctx);
    /* Descriptor that becomes readable when vector v fires (eventfd, read by the caller), or -1.
     * NULL or vectors = 0: no interrupts, the caller polls. */
    int (*irq_fd)(void *ctx, unsigned vector);
    unsigned vectors;
};

/* --- what the card can do -----------------------------------------------------------------------
 */

struct card_suite {
    char name[32]; /* the node's name */
    uint16_t encr_id, integ_id;
    uint8_t encr_len, integ_len, salt_len, icv_len;
    bool in, out; /* false also when a known-answer packet failed */
    bool transport, tunnel;
    char why_not_in[96], why_not_out[96]; /* empty, or why the card's own claim was taken back */
};

struct card_port_caps {
    uint8_t port;
    uint8_t mac[6];
    uint32_t mtu_max;
    uint32_t mbps; /* highest speed, 0 = unknown */
};

struct card_caps {
    char model[64], serial[64], firmware[32];
    bool guard;
    uint32_t admin_depth, batch_max, timeout_ms[3]; /* enum cif_timeout */
    bool atomic_batch;
    uint32_t tx_max, rx_max, depth_max, rx_max_bufs, vectors, completion_us, addr_align;
    uint32_t buf_len_min, buf_len_max;
    bool doorbell_wake;
    uint32_t sa_out_max, sa_in_max; /* 0 = none in this direction */
    bool sa_shared_pool;            /* both directions share sa_out_max entries */
    bool lookup_dst;                /* inbound SAs are found by SPI and destination, else by SPI */
    uint32_t spi_lo, spi_hi;        /* inbound SPIs the card takes */
    uint32_t spi_index_bits;
    bool esn, seq_guard, natt_v4, natt_v6;
    bool in4_out4, in4_out6, in6_out4,
        in6_out6; /* tunnel's family pairs; transport: the equal ones */
    bool dscp_copy, dscp_set, df, ecn_6040, flow_label, dec_ttl;
    uint32_t windows[CARD_WINDOWS_MAX];
    unsigned n_windows;
    struct card_suite suites[CARD_SUITES_MAX];
    unsigned n_suites;
    bool tx_ipcsum, tx_l4csum, rx_ipcsum, rx_l4csum, rx_rss;
    struct card_port_caps ports[CARD_PORTS_MAX];
    unsigned n_ports;
    uint32_t heartbeat_ms, engines;
    unsigned warnings; /* properties taken as absent because they were malformed */
};

/* Reads a capability tree as hostile input. `fdt` is 8-byte aligned, len its size. 0, -EINVAL (not
 * a tree, too deep, too large), -ENOTSUP (something that must be understood is not); why (at least
 * CARD_REASON_MAX octets) then says so. Pure. */
int card_caps_parse(const void *fdt, size_t len, struct card_caps *caps, char *why);

/* --- life
 * ------------------------------------------------------------------------------------------ */

enum card_state { CARD_BRINGUP, CARD_RUNNING, CARD_RECOVERING, CARD_GONE };
enum card_level { CARD_DEBUG, CARD_INFO, CARD_WARNING, CARD_ERROR };

struct card_event {
    uint8_t type, sev; /* enum cif_ev, cif_sev */
    uint16_t qual;
    uint32_t id;
    uint64_t arg0, arg1;
    uint16_t lost;
};

struct card_callbacks {
    void *arg;
    /* The state changed. RECOVERING: all SAs of the card are lost, all queues are down, handles
     * mean nothing any more. RUNNING: queues are up, ports set, the SA table is empty. GONE: for
     * good; free the card. why is valid during the call. */
    void (*state)(void *arg, enum card_state state, const char *why);
    /* A queue went down (its packets are lost, its SAs belong in software until it is up) or came
     * up anew, which is when `lost` is known. Not called for the changes that come with the card's
     * state. May be NULL. */
    void (*queue)(void *arg, bool tx, unsigned q, bool up, unsigned lost, const char *why);
    /* An event: a hint, the truth is read by query. May be NULL. */
    void (*event)(void *arg, const struct card_event *ev);
    /* A sentence for the log, and what a person can do (may be ""). May be NULL. */
    void (*log)(void *arg, enum card_level level, const char *what, const char *remedy);
};

struct card_queue_cfg {
    uint8_t port;
    uint32_t depth;   /* entries, a power of two; 0 = 256 or what the card has */
    uint32_t bufs;    /* buffers of the queue; 0 = depth */
    uint32_t buf_len; /* octets of each; 0 = enough for the port's MTU */
};

/* What PORT_SET says. mac all zero = the card's own. */
struct card_port_cfg {
    uint8_t port;
    bool enable, promisc;
    uint16_t mtu; /* 0 = 1500 */
    uint8_t mac[6];
    uint8_t n_ike;
    uint16_t ike_port[8]; /* beside 500 and 4500, host order */
};

struct card_cfg {
    struct card_queue_cfg tx[CARD_QUEUES_MAX], rx[CARD_QUEUES_MAX];
    unsigned n_tx, n_rx;
    struct card_port_cfg port[CARD_PORTS_MAX]; /* set at each bring-up; later by card_port_set() */
    unsigned n_ports;
    unsigned tries; /* bring-ups in a row that may fail before GONE; 0 = go on for ever */
    bool no_kat;    /* no known-answer packets at bring-up */
    bool no_irq;    /* do not use the bus's interrupts */
};

/* Makes a card and starts its bring-up. bus, cfg and cbs are copied (bus->ctx and cbs->arg must
 * outlive the card). NULL when memory is out. */
struct card *card_new(const struct card_bus *bus, const struct card_cfg *cfg,
                      const struct card_callbacks *cbs, uint64_t now);

/* Resets the card (level F, not waited for) and frees everything. No callback comes; commands in
 * flight are forgotten. No worker may be inside a call. */
void card_free(struct card *card);

/* Does what is due: bring-up, completions, events, heartbeats, recovery. Call it when irq_fd of
 * vector 0 or the bus's own descriptor is readable, after submitting a command, after a queue call
 * returned -EPIPE, and at the time it returned (CARD_NEVER: only when gone). */
uint64_t card_poll(struct card *card, uint64_t now);

enum card_state card_state(const struct card *card);
const char *card_state_name(enum card_state state);
/* Why the card is in its state; in bring-up the step and what it waits for. Never NULL. */
const char *card_reason(const struct card *card);
const char *card_step(const struct card *card); /* name of the bring-up step, "" when running */
/* Valid (not NULL) from the reading of the tree on; changes at a new bring-up. */
const struct card_caps *card_caps(const struct card *card);
uint32_t card_epoch(const struct card *card); /* 0 before it is known */

/* For tests and administrators: level F now, with this reason. */
void card_reset(struct card *card, enum cif_reset code, const char *why);

struct card_counters {
    uint64_t tx_posted, tx_done, tx_lost; /* lost: went into the card, outcome unknown */
    uint64_t rx_frames;
    uint64_t bad_completions; /* lies: of rings, admin queue, events */
    uint64_t queue_resets, admin_resets, resets, commands, events, events_lost, wakes;
};
void card_counters(struct card *card, struct card_counters *out);

/* --- admin commands
 * ------------------------------------------------------------------------------- */

/* Outcome of one record. status 0xffff: not tried. */
struct card_rec {
    uint16_t status; /* enum cif_st */
    uint32_t handle;
    uint64_t value;
};

struct card_reply {
    /* 0: the card answered, look at status (and rec).
     * -ETIMEDOUT: the outcome is unknown; re-read by cookie what exists (card_sa_query), or after a
     * change to RECOVERING take the table as empty. */
    int err;
    uint16_t status;
    uint64_t value;
    uint32_t done;
    const struct card_rec *rec; /* batches: n outcomes */
    unsigned n;
    const uint8_t
        *data; /* queries: n sa_state records CIF_SA_STATE_SIZE apart; stats: one record */
    size_t len;
    const char *why; /* a sentence; never NULL */
};
/* Comes exactly once for each accepted command (but not after card_free). Pointers are valid during
 * the call. */
typedef void (*card_cb)(void *arg, const struct card_reply *reply);

/* All return 0 (accepted, cb will come), -ENODEV (not running), -EBUSY (all command slots taken:
 * try after the next reply), -EINVAL, -E2BIG (n > card_batch_max). cb may be NULL. Call card_poll
 * soon after: the command's time runs from there. Records are copied, and the copies of keys wiped
 * when the card has completed the command. */
unsigned card_batch_max(const struct card *card);
int card_sa_add(struct card *card, const uint8_t *recs, unsigned n, card_cb cb, void *arg);
int card_sa_modify(struct card *card, const uint8_t *recs, unsigned n, card_cb cb, void *arg);
int card_sa_free(struct card *card, const uint32_t *handles, unsigned n, card_cb cb, void *arg);
int card_sa_start(struct card *card, const uint32_t *handles, unsigned n, card_cb cb, void *arg);
int card_sa_stop(struct card *card, const uint32_t *handles, unsigned n, card_cb cb, void *arg);
int card_sa_query_handles(struct card *card, const uint32_t *handles, unsigned n, card_cb cb,
                          void *arg);
int card_sa_query_cookies(struct card *card, const uint64_t *cookies, unsigned n, card_cb cb,
                          void *arg);
/* From index `from` on; reply.value is the index to go on from, UINT64_MAX when that was all. */
int card_sa_query_all(struct card *card, uint64_t from, card_cb cb, void *arg);
/* dir: enum cif_dir, 0 = both. */
int card_sa_flush(struct card *card, unsigned dir, card_cb cb, void *arg);
int card_stats(struct card *card, enum cif_scope scope, unsigned index, card_cb cb, void *arg);
/* Also remembered for the next bring-up, whether or not the card runs now (then -ENODEV and no cb).
 */
int card_port_set(struct card *card, const struct card_port_cfg *port, card_cb cb, void *arg);
int card_port_get(struct card *card, unsigned port, card_cb cb, void *arg);
int card_ping(struct card *card, uint64_t echo, card_cb cb, void *arg);

/* --- packet queues
 * -------------------------------------------------------------------------------- */
/* A worker may begin with the first RUNNING, and need not stop at a reset.
 * Numbers: q is the index into cfg.tx or cfg.rx. Buffers are numbers of the queue; card_buf_data
 * gives the memory. A queue call returns -EPIPE while its queue is down; the card's thread must
 * then be told to call card_poll. */

#define CARD_BUF_NONE UINT32_MAX

/* A free buffer of Tx queue q, or CARD_BUF_NONE. The caller owns it until it posts or puts it. */
uint32_t card_buf_get(struct card *card, unsigned q);
void card_buf_put(struct card *card, unsigned q, uint32_t buf);
uint8_t *card_buf_data(struct card *card, unsigned q, uint32_t buf);
uint32_t card_buf_len(const struct card *card, unsigned q);

struct card_tx {
    uint8_t op; /* enum cif_txop */
    bool loop;  /* turn the frame back into the port's receive side */
    uint8_t ol; /* CIF_TXOL_… */
    uint8_t l2_len, l3_len;
    uint32_t buf;
    uint16_t off, len;  /* the frame in the buffer */
    uint32_t sa_handle; /* PROTECT; else ignored */
    uint64_t seq;       /* PROTECT: the number, spent from here on */
    uint64_t user;      /* comes back in card_tx_done */
};

#define CARD_TXS_LOST 0xff /* card_tx_done.status: the queue went down before a completion came */

struct card_tx_done {
    uint64_t user, seq;
    uint32_t sa_handle;
    uint32_t buf;
    uint16_t off, len;
    uint16_t segs;      /* PMTU_EXCEEDED: largest inner length that fits */
    uint8_t op, status; /* enum cif_txs, or CARD_TXS_LOST */
    enum cif_fate fate; /* UNSENT: may be tried again, under a new number; MAYBE: never */
};

/* Takes the buffer. 0; -EPIPE queue down, -ENOSPC ring full, -EINVAL (then the buffer stays the
 * caller's). The card sees it at the next flush. */
int card_tx_post(struct card *card, unsigned q, const struct card_tx *tx);
/* Rings the doorbell for all that was posted. 0 or -EPIPE. */
int card_tx_flush(struct card *card, unsigned q, uint64_t now);
/* Up to max outcomes, in ring order; after a queue went down the lost ones come here too, also
 * while it is down. Each buffer is the caller's again (NONE: a NOP). Also looks for overdue
 * completions: call it at least once a millisecond or two while packets are in the ring, and again
 * after more than 1 ms when it has found none. Returns the count, or -EPIPE (queue down and nothing
 * to return). */
int card_tx_reap(struct card *card, unsigned q, uint64_t now, struct card_tx_done *out,
                 unsigned max);
unsigned card_tx_room(struct card *card, unsigned q);    /* descriptors that can be posted now */
unsigned card_tx_pending(struct card *card, unsigned q); /* posted, without outcome */

struct card_rx {
    uint8_t kind, status; /* enum cif_rxk, cif_rxs */
    uint8_t port;
    uint8_t ip_outer, ip_inner; /* 4, 6, 0 */
    uint8_t outer_tos, outer_ttl;
    uint16_t flags; /* CIF_RXF_… */
    uint16_t outer_sport;
    uint16_t l3_off, l4_off; /* inside the frame, 0 = not parsed */
    uint32_t sa_handle;      /* the caller must know it; else drop and count */
    uint32_t rss_hash;
    uint64_t seq;
    uint8_t *data; /* the frame, Ethernet header first */
    uint32_t len;
    uint32_t buf; /* give it back by card_rx_put */
};

/* Up to max frames. Frames and buffers are the caller's until card_rx_put; memory stays valid until
 * card_free, whatever becomes of the queue. Count, or -EPIPE. */
int card_rx_reap(struct card *card, unsigned q, uint64_t now, struct card_rx *out, unsigned max);
void card_rx_put(struct card *card, unsigned q, uint32_t buf);
/* Posts the buffers that were given back. 0 or -EPIPE. */
int card_rx_flush(struct card *card, unsigned q, uint64_t now);

/* Descriptor to wait on for completions of a queue, -1 when it has none; arm it before waiting: an
 * unread completion fires at once. */
int card_queue_fd(const struct card *card, bool tx, unsigned q);
void card_queue_arm(struct card *card, bool tx, unsigned q);

#endif
