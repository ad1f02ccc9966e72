/* The packet path's own header: what its files share. Nothing outside this folder includes it. */
#ifndef SALLYPORT_PATH_H
#define SALLYPORT_PATH_H

#include "hostd/base/bytes.h"
#include "hostd/data/path/dp.h"

enum {
    ETH_IP4 = 0x0800,
    ETH_ARP = 0x0806,
    ETH_VLAN = 0x8100,
    ETH_QINQ = 0x88a8,
    ETH_IP6 = 0x86dd,
    ETH_EAPOL = 0x888e,
    ETH_LLDP = 0x88cc,
    ETH_MAX_HDR = 22, /* two tags */
    IP_MAX = 65535,   /* IPv6 does not count its header in that */
    FRAME_BUF = IP_MAX + 40 + ETH_MAX_HDR + 512,
    V6_MIN_MTU = 1280,
    CHUNK = 2048,
    NIL = 0xffffffff
};

#define SECOND      UINT64_C(1000000000)
#define MILLISECOND UINT64_C(1000000)

/* --- ether.c --- */

/* One IP packet behind its link header, lying in one piece: ip == l2 + l2_len. */
struct pkt {
    const uint8_t *l2;
    size_t l2_len;
    const uint8_t *ip;
    struct ip_info i;
    /* Put together from fragments: the largest one's IP length (0: it came whole), DF and ID. */
    uint32_t frag_max;
    bool frag_df;
    uint32_t frag_id;
};

/* The type behind up to two VLAN tags, and the header's length. False: too short. */
bool eth_parse(const uint8_t *frame, size_t len, uint16_t *type, size_t *l2_len);
/* Fills in p; false when it is no well-formed packet of the version that the link header says. */
bool pkt_parse(struct pkt *p, const uint8_t *frame, size_t len);
static inline size_t pkt_frame_len(const struct pkt *p)
{
    return p->l2_len + p->i.total;
}
void eth_write(uint8_t *out, const uint8_t dst[6], const uint8_t src[6], uint16_t type);
static inline uint16_t eth_type(uint8_t family)
{
    return family == 4 ? ETH_IP4 : ETH_IP6;
}

/* --- pool.c: chunks of CHUNK octets, chained; all memory from the start --- */

struct pool {
    uint8_t *mem;
    uint32_t *next;
    uint32_t free, n, n_free;
};
int pool_init(struct pool *p, size_t bytes);
void pool_done(struct pool *p);
/* Keeps len octets; NIL when there is no room. */
uint32_t pool_keep(struct pool *p, const uint8_t *data, size_t len);
void pool_read(const struct pool *p, uint32_t head, uint8_t *out, size_t len);
void pool_drop(struct pool *p, uint32_t head);

/* --- reasm.c --- */

struct reasm;
/* What is put together apart from everything else: outer packets of a direction, or the inner
 * packets of one SA. */
struct reasm_space {
    uint64_t cookie;
    uint8_t dir;
};
enum reasm_verdict { REASM_KEPT, REASM_WHOLE, REASM_DROPPED };
struct reasm *reasm_new(size_t bytes, uint64_t seed);
void reasm_free(struct reasm *r);
/* Takes a fragment. REASM_WHOLE: *whole is the packet, built in out (FRAME_BUF). *lost rises by the
 * fragments given up, this one or older ones. Overlaps end the whole datagram (RFC 5722). */
enum reasm_verdict reasm_add(struct reasm *r, uint64_t now, struct reasm_space space,
                             const struct pkt *frag, uint8_t *out, struct pkt *whole,
                             uint64_t *lost);
/* Gives up what is too old; the next deadline, UINT64_MAX for none. */
uint64_t reasm_age(struct reasm *r, uint64_t now, uint64_t *lost);
size_t reasm_count(const struct reasm *r); /* fragments kept */

/* --- fragment.c --- */

struct frag {
    const uint8_t *ip;
    struct ip_info i;
    size_t hdr_len, room, off;
    uint32_t id;
    bool df;
};
/* Begins to cut the packet at ip into pieces of at most mtu octets with this ID; false when mtu has
 * no room for 8 octets of data. df is set in IPv4 pieces. */
bool frag_begin(struct frag *f, const uint8_t *ip, const struct ip_info *i, size_t mtu, uint32_t id,
                bool df);
/* Writes the next piece, an IP packet of at most mtu octets; its length, 0 at the end. */
size_t frag_next(struct frag *f, uint8_t *out);

/* --- segment.c --- */

struct seg {
    const uint8_t *frame;
    struct pkt p;
    const struct dp_offload *o;
    size_t hdr_len; /* link header to payload */
    size_t l4_off, end, off;
    unsigned n;
};
/* Completes a partial checksum: a copy of the frame in out. False: the offsets do not fit. */
bool seg_complete(uint8_t *out, const uint8_t *frame, size_t len, const struct dp_offload *o);
/* Cuts a super-packet; false when it is not what o says. */
bool seg_begin(struct seg *s, const uint8_t *frame, size_t len, const struct dp_offload *o);
/* The next frame, with right lengths, IDs, flags and checksums; its length, 0 at the end. */
size_t seg_next(struct seg *s, uint8_t *out);

/* --- flow_cache.c --- */

struct flow_cache;
struct flow_cache *flow_cache_new(uint64_t seed);
void flow_cache_free(struct flow_cache *c);
uint64_t flow_hash(const struct spd_flow *f, uint64_t seed);
/* spd_match through the cache; *hit says whether it was remembered. */
struct spd_policy *flow_cache_match(struct flow_cache *c, struct spd *spd, const struct spd_flow *f,
                                    bool *hit);
bool flow_cache_at(const struct flow_cache *c, const struct spd *spd, unsigned i,
                   struct dp_cache_row *out);

/* --- hold.c --- */

struct hold;
struct hold_key { /* what is waited for: an SA of a policy for a peer, or a neighbour */
    bool neighbour;
    uint32_t policy_id;
    struct ip_addr addr; /* family 0, when releasing: any */
};
struct hold *hold_new(unsigned packets, unsigned per_flow);
void hold_free(struct hold *h);
/* Keeps a copy of p; returns the packets that had to go for it (itself, when it is too large). */
unsigned hold_put(struct hold *h, uint64_t now, const struct hold_key *k, uint64_t flow,
                  const struct pkt *p);
/* Takes the oldest packet that waits for k and was kept before mark; built in out. */
bool hold_take(struct hold *h, const struct hold_key *k, uint64_t mark, uint8_t *out,
               struct pkt *p);
uint64_t hold_mark(const struct hold *h); /* what is kept from now on is not before it */
unsigned hold_drop(struct hold *h, const struct hold_key *k);
uint64_t hold_age(struct hold *h, uint64_t now, unsigned *lost);
size_t hold_count(const struct hold *h);
/* False: nothing waits for k. True: something may. */
bool hold_has(const struct hold *h, const struct hold_key *k);
uint64_t hold_steps(const struct hold *h); /* rows looked at so far: what the queue costs */
/* Acquires under way: true when this one is new (to be asked); full: *full. */
bool hold_ask(struct hold *h, uint64_t now, const struct hold_key *k, bool *full);
void hold_answered(struct hold *h, const struct hold_key *k);

/* --- shared by the rest --- */

struct bucket { /* tokens, for everything an outsider can make us do */
    uint64_t at, tokens;
};
bool bucket_take(struct bucket *b, uint64_t now, unsigned per_second, unsigned burst);

struct dp {
    struct dp_config cfg;
    struct dp_ops ops;
    struct spd *spd;
    struct sad *sad;
    const struct dp_port *port;
    enum dp_mode mode;
    uint8_t mac[6], far_mac[6];
    struct dp_counters c;
    struct flow_cache *flows;
    /* Apart, so that a flood from the wire takes no room from the host's own fragments nor from
     * those that came out of ESP. Half the configured memory each. */
    struct reasm *wire_frags, *own_frags;
    struct hold *hold;
    struct bucket told, walks; /* too big told; SADB walks for quoted errors */
    uint32_t frag_id;
    uint64_t dhcp_until; /* an answer to this host's DHCP request may come */
    bool releasing;
    bool told_once;                  /* of this super-packet: one "too big" is enough */
    const char *raw_reason;          /* of the frame in work */
    const struct dp_offload *rx_off; /* of a TCP super-packet in work, which goes on as one */
    /* Working memory, FRAME_BUF each. Who may use which is in dp.c. */
    uint8_t *work, *whole, *piece, *cipher, *plain, *held;
};

static inline void dp_drop(struct dp *d, enum dp_drop why)
{
    d->c.drops[why]++;
}
static inline void dp_sa_drop(struct sa *sa, enum sa_drop why)
{
    sa->drops[why]++;
}
/* The first match of the packet's flow, counted; *f is filled in. */
struct spd_policy *dp_classify(struct dp *d, enum esp_dir dir, const struct ip_info *i,
                               struct spd_flow *f);
/* Does any protect policy cover the flow? For the modes in which the list's order is not asked. */
bool dp_covered(struct dp *d, const struct spd_flow *f);
/* Lifetimes: false when the SA may carry nothing more (counted, told). */
bool dp_alive(struct dp *d, uint64_t now, struct sa *sa);

/* --- bypass.c --- */
enum bypass { BYPASS_NO, BYPASS_YES, BYPASS_IKE };
bool bypass_type(uint16_t ether_type);
/* A request of DHCP that leaves is remembered: its answer may come to an address not ours yet. */
enum bypass bypass_ip(struct dp *d, uint64_t now, enum esp_dir dir, const struct pkt *p);

/* --- out.c, protect.c --- */
void out_packet(struct dp *d, uint64_t now, const struct pkt *p);
void out_sa(struct dp *d, uint64_t now, struct sa *sa, const struct pkt *p);
/* Sends a complete frame as it is; true: sent. */
bool out_frame(struct dp *d, enum dp_op op, const uint8_t *frame, size_t len, bool retried);
/* A packet that the card did not send, once more in software, behind the same link header; true:
 * sent. False: dropped and counted. Uses no working memory: it may be called from inside send. */
bool out_again(struct dp *d, uint64_t now, struct sa *sa, const struct pkt *p);
/* A frame without an SA that was not sent, once more as it is, if the policies in force now still
 * let it: a piece of a packet cannot be judged, and is dropped. */
void out_clear_again(struct dp *d, uint64_t now, const struct dp_tx *tx, const uint8_t *frame);
void out_hold_neighbour(struct dp *d, uint64_t now, const struct ip_addr *dst, const struct pkt *p);
void out_release(struct dp *d, uint64_t now, const struct hold_key *k);

/* --- in.c, open.c --- */
void in_tap(struct dp *d, const uint8_t *frame, size_t len);
void in_tap_packet(struct dp *d, const struct pkt *p);
/* ESP for one of our SAs: true when the packet was taken, whatever became of it. */
bool open_packet(struct dp *d, uint64_t now, const struct pkt *p);
void open_protected(struct dp *d, uint64_t now, const struct dp_rx *rx);

/* --- icmp.c --- */
/* Tells the sender that p is larger than mtu; src is the source of the message. */
void icmp_too_big(struct dp *d, uint64_t now, const struct pkt *p, size_t mtu,
                  const struct ip_addr *src);
/* An ICMP error that quotes one of our ESP packets: true when it was (it goes no further). */
bool icmp_quotes_us(struct dp *d, uint64_t now, const struct pkt *p);

/* --- neigh.c --- */
/* ARP requests and neighbour solicitations for what lies behind a tunnel: true when answered. */
bool neigh_arp(struct dp *d, const uint8_t *frame, size_t len, size_t l2_len);
bool neigh_nd(struct dp *d, const struct pkt *p);

/* --- nat.c --- */
struct esp_peek;
/* RFC 3948 3.1.2: the checksum of a transport packet that came through a NAT, in place. */
void nat_mend(uint8_t *ip, const struct ip_info *i);
/* A verified packet's endpoint: moves the SA and its outbound twin where that is allowed. */
void nat_follow(struct dp *d, uint64_t now, struct sa *sa, const struct pkt *p,
                const struct esp_peek *peek, uint64_t seq);

#endif
