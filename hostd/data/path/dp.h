/* The packet path, pure: a frame from the TAP or from a wire port comes in with the time; frames go
 * out through tables of operations. No clock, no sockets; the same code runs in the data process,
 * in the simulation and in the fuzzers (design, section 2: the packet's way).
 *
 * One dp serves one interface (a TAP and the wire port behind it) for one worker. SPD and SADB are
 * shared by all interfaces of the process. */
#ifndef SALLYPORT_DP_H
#define SALLYPORT_DP_H

#include "hostd/base/ip.h"
#include "hostd/sa/sad.h"
#include "hostd/sa/spd.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { ETH_HDR = 14, DP_FRAME_MAX = 65536 + 64 };

/* What the kernel says of a frame beside it (struct virtio_net_hdr, decoded by the shell). */
enum dp_gso {
    DP_GSO_NONE = 0,
    DP_GSO_TCP4,
    DP_GSO_TCP6,
    DP_GSO_UDP /* UDP_L4: equal datagrams, the last may be shorter */
};
struct dp_offload {
    bool needs_csum;                  /* the checksum at csum_start + csum_offset is partial */
    uint16_t csum_start, csum_offset; /* from the frame's start */
    enum dp_gso gso;
    uint16_t gso_size, hdr_len;
};

/* A transmit buffer of a port: DMA memory for a card. */
struct dp_buf {
    uint8_t *p;
    size_t room;
    uint32_t id; /* the port's own */
};

enum dp_op {
    DP_PROTECT, /* the card encrypts under handle with number seq */
    DP_RAW,     /* ESP made here, IKE, and fragments of these: the card passes it */
    DP_CLEAR    /* every other frame */
};

struct dp_tx {
    enum dp_op op;
    uint32_t handle;
    uint64_t seq;
    uint64_t cookie; /* of the SA; 0 for none: comes back with the completion */
    size_t len;      /* frame in the buffer, from the Ethernet header */
    uint16_t l2_len;
    uint16_t l3_len; /* of the inner IP header with extension headers before ESP (transport) */
    bool retried;    /* this packet was unsent once already */
};

/* A wire port. get/send/put/flush never block. All are called by the home worker alone. */
struct dp_port {
    void *ctx;
    bool card;      /* does DP_PROTECT; RAW and CLEAR are told apart */
    int card_index; /* placement's number of the card, -1 */
    uint16_t mtu;
    uint8_t mac[6];
    /* A buffer of at least room octets: 0; -ENOBUFS: none now; -ENODEV: the port is out of service
     * (counted "no wire"). */
    int (*get)(void *ctx, size_t room, struct dp_buf *b);
    /* Hands the frame over, takes the buffer whatever it returns. 0; -ENODEV, -ENOBUFS: not sent.
     */
    int (*send)(void *ctx, struct dp_buf *b, const struct dp_tx *tx);
    void (*put)(void *ctx, struct dp_buf *b);
    void (*flush)(void *ctx);
    /* Room for a super-packet's worth of frames? NULL: always. The shell stops reading the TAP. */
    bool (*ready)(void *ctx);
    /* Frames taken by send() and then not put on the wire, since the port was made; NULL: none. */
    uint64_t (*refused)(void *ctx);
};

/* How a packet came from a port. */
enum dp_rx_kind {
    DP_RX_WIRE,     /* as it came: from a plain interface, or RAW and CLEAR of a card */
    DP_RX_PROTECTED /* the card decrypted it: sa and seq are set, frame is Ethernet + inner packet
                     */
};
struct dp_rx {
    enum dp_rx_kind kind;
    struct sa *sa; /* PROTECTED: by the port's own handle table, checked by it */
    uint64_t seq;
    const char *raw_reason; /* card: why it came raw (status name); NULL otherwise */
    uint8_t outer_tos;
    /* A plain interface: partial checksum, super-packet (veth hands these over whole); NULL:
     * complete. A frame that passes in clear goes to the TAP with it; anything else is completed
     * and cut first. */
    const struct dp_offload *off;
    const uint8_t *frame;
    size_t len;
};

/* What became of a frame given to send(): from the port's completions. `why` of dp_tx_done and
 * raw_reason above are the contract's status names ("SA_GONE", "ICV"), DP_RING_LOST, or NULL. A
 * completion may come from inside send(). */
#define DP_RING_LOST "the ring was lost" /* its ring was reset with the frame in it */
enum dp_fate {
    DP_SENT,
    DP_UNSENT,    /* surely not on the wire: may be tried again, in software, under a new number */
    DP_MAYBE_SENT /* spent, counted lost in card, never sent again */
};

/* Every drop that has no SA to count it, from one list. */
#define DP_DROPS(DROP)                                                                             \
    DROP(MALFORMED, "malformed packet")                                                            \
    DROP(NO_POLICY, "no policy matched (discard)")                                                 \
    DROP(DISCARD, "discarded by policy")                                                           \
    DROP(CLEAR_FORBIDDEN, "arrived in clear where policy protects")                                \
    DROP(UNKNOWN_SPI, "no SA with this SPI")                                                       \
    DROP(HOLD_FULL, "held for an SA that did not come")                                            \
    DROP(REASSEMBLY, "fragments that were not completed")                                          \
    DROP(NO_WIRE, "no wire")                                                                       \
    DROP(NO_BUFFER, "no transmit buffer")                                                          \
    DROP(NO_NEXT_HOP, "no next hop")                                                               \
    DROP(TOO_BIG, "larger than the path")                                                          \
    DROP(STOPPED, "IPsec is stopped (discard)")                                                    \
    DROP(LOST_IN_CARD, "lost in the card")                                                         \
    DROP(NOT_FOR_US, "another host's frame")                                                       \
    DROP(SA_GONE, "decrypted by the card for an SA that is gone")                                  \
    DROP(KEEPALIVE, "NAT keep-alive")                                                              \
    DROP(TAP_FULL, "the host's queue is full")

enum dp_drop {
#define DROP(id, text) DP_DROP_##id,
    DP_DROPS(DROP)
#undef DROP
        DP_DROP_COUNT
};
const char *dp_drop_text(enum dp_drop d);

struct dp_counters {
    uint64_t drops[DP_DROP_COUNT];
    uint64_t tap_in, tap_out, wire_in, wire_out; /* frames */
    uint64_t passed[2];                          /* by policy or bypass; by direction - 1 */
    uint64_t bypassed[2];                        /* built-in bypasses */
    uint64_t protected_card, protected_software, opened_card, opened_software;
    uint64_t retried; /* unsent by the card, sent again in software under a new number */
    uint64_t raw_from_card;
    uint64_t acquires, held, held_sent;
    uint64_t too_big_sent; /* ICMP told to the host */
    uint64_t cache_hits, cache_misses;
};

/* None but moved is NULL. None deletes an SA or loads policies before the dp call that it came from
 * has returned; acquire may call dp_sa_ready or dp_acquire_failed at once. */
struct dp_ops {
    void *ctx;
    /* A frame for the host. off may be NULL. 0 or -errno (counted). */
    int (*to_tap)(void *ctx, const uint8_t *frame, size_t len, const struct dp_offload *off);
    /* The MAC for an outer destination on this interface: 0; -EHOSTUNREACH (no route), -EAGAIN
     * (being resolved: the implementation asks the parent to probe; the packet is held like an
     * acquire). */
    int (*next_hop)(void *ctx, const struct ip_addr *dst, uint8_t mac[6]);
    /* Our own outer source addresses: is it ours? */
    bool (*is_local)(void *ctx, const struct ip_addr *a);
    /* A protect policy has no SA for this flow: asked once per policy and peer until dp_sa_ready or
     * dp_acquire_failed. */
    void (*acquire)(void *ctx, const struct spd_policy *p, const struct spd_flow *f,
                    const struct ip_addr *peer);
    /* An SA reached a soft or hard lifetime (once each), or its numbers are exhausted. */
    void (*life)(void *ctx, struct sa *sa, enum sa_life what);
    /* The card and this SA disagree (placement's place_failed). */
    void (*card_failed)(void *ctx, struct sa *sa, const char *what);
    /* A verified packet moved the peer's endpoint in this SA (inbound, then its outbound twin): in
     * software and store it is done; a card's entry still has the old one, so placement takes the
     * SA out (place is PLACE_SOFTWARE when this returns) and adds it anew. */
    void (*moved)(void *ctx, struct sa *sa);
};

struct dp_config {
    uint16_t natt_port; /* of ESP in UDP */
    /* IKE passes on these, by the sockets in use; on natt_port too only when it is among them. */
    uint16_t ike_ports[8];
    unsigned n_ike_ports;
    /* In all: half for fragments off the wire, half for the host's and those out of ESP. Kept 30 s.
     */
    size_t reassembly_bytes;
    /* Bounds of what waits for an SA (10 s) or a neighbour (3 s). An acquire that nobody answered
     * is asked anew after 30 s. */
    unsigned hold_packets, hold_per_flow;
    uint64_t rng_seed; /* hash seeds */
};

enum dp_mode {
    DP_RUNNING,
    DP_PASS,   /* stopped, after-stop pass: forwards everything, except what a protect policy covers
                */
    DP_DISCARD /* stopped: nothing but the built-in bypasses */
};

struct dp;

int dp_new(struct dp **out, const struct dp_config *cfg, const struct dp_ops *ops, struct spd *spd,
           struct sad *sad);
void dp_free(struct dp *d);
void dp_set_mode(struct dp *d, enum dp_mode m);
/* The port in use from now on; NULL: none ("no wire"). The caller owns it. */
void dp_set_port(struct dp *d, const struct dp_port *port);
/* The TAP's own MAC (until then the first port's): the destination of what goes to the host.
 * Answers to ARP and ND made here tell a MAC derived from it, which exists on the TAP alone:
 * locally administered bit set, last octet inverted. Frames for that MAC that leave in clear or in
 * transport mode get the real next hop's. */
void dp_set_mac(struct dp *d, const uint8_t mac[6]);

/* A frame from the host / from the port. frame is only read, and only during the call. */
void dp_from_tap(struct dp *d, uint64_t now, const uint8_t *frame, size_t len,
                 const struct dp_offload *off);
void dp_from_port(struct dp *d, uint64_t now, const struct dp_rx *rx);
/* A completion of the port: tx as given to send(), frame still in its buffer (valid for this call).
 */
void dp_tx_done(struct dp *d, uint64_t now, const struct dp_tx *tx, const uint8_t *frame,
                enum dp_fate fate, const char *why);
/* An SA stands (or was moved): held packets of its policy and peer go out in order. */
void dp_sa_ready(struct dp *d, uint64_t now, const struct sa *sa);
void dp_acquire_failed(struct dp *d, uint64_t now, uint32_t policy_id, const struct ip_addr *peer);
/* A neighbour was resolved: held packets for it go out. */
void dp_neighbour_ready(struct dp *d, uint64_t now, const struct ip_addr *dst);
/* Ages holds, reassembly, caches; returns the next moment wanted, UINT64_MAX for none. */
uint64_t dp_tick(struct dp *d, uint64_t now);
/* End of a burst: flushes the port. */
void dp_flush(struct dp *d);
const struct dp_counters *dp_counters(const struct dp *d);
/* Everything that must be empty at rest: packets held, fragments kept. */
void dp_in_use(const struct dp *d, size_t *held, size_t *fragments);

/* A recent decision, for ipsec_report -cache: walks the flow cache; false at the end. */
struct dp_cache_row {
    struct spd_flow flow;
    uint32_t policy_id; /* 0 with none: the default discard */
    uint64_t policy_cookie;
    enum spd_action action;
    uint64_t hits;
};
bool dp_cache_at(const struct dp *d, unsigned i, struct dp_cache_row *out);

#endif
