/* The SA database. One struct sa is one direction of an SA: the control side's truth, the numbers
 * and window (in the store), the counters by path, and its one place with the reason for it. */
#ifndef SALLYPORT_SAD_H
#define SALLYPORT_SAD_H

#include "hostd/base/ip.h"
#include "hostd/esp/esp.h"
#include "hostd/sa/spd.h"
#include "hostd/sa/store.h"
#include "hostd/sa/window.h"

#include <stdbool.h>
#include <stdint.h>

/* Why an SA is where it is, in words: what was asked, what was offered, what a person can do. */
enum { REASON_TEXT = 200 };
struct sa_reason {
    uint16_t code; /* enum place_code; place.h */
    char text[REASON_TEXT];
    char remedy[REASON_TEXT];
};

enum sa_place { PLACE_SOFTWARE = 0, PLACE_CARD = 1 };

enum sa_path { /* who transformed a packet */
               PATH_SOFTWARE = 0,
               PATH_CARD = 1,
               PATHS = 2
};

/* Every drop of a packet that has an SA, from one list (DROP(id, text)). */
#define SA_DROPS(DROP)                                                                             \
    DROP(REPLAY, "replayed")                                                                       \
    DROP(LATE, "below the replay window")                                                          \
    DROP(ICV, "integrity check failed")                                                            \
    DROP(MALFORMED, "malformed after decryption")                                                  \
    DROP(SELECTOR, "outside the SA's selectors")                                                   \
    DROP(ECN, "congestion mark not allowed")                                                       \
    DROP(DUMMY, "dummy packet")                                                                    \
    DROP(EXHAUSTED, "sequence numbers exhausted")                                                  \
    DROP(LIFETIME, "hard lifetime reached")                                                        \
    DROP(TOO_BIG, "larger than the path")                                                          \
    DROP(NO_BUFFER, "no transmit buffer")                                                          \
    DROP(NO_NEXT_HOP, "no next hop")                                                               \
    DROP(NO_WIRE, "no wire")                                                                       \
    DROP(LOST_IN_CARD, "lost in the card")                                                         \
    DROP(CRYPTO, "cryptographic library refused")

enum sa_drop {
#define DROP(id, text) SA_DROP_##id,
    SA_DROPS(DROP)
#undef DROP
        SA_DROP_COUNT
};
const char *sa_drop_text(enum sa_drop d);

/* What IKE, or a test by hand, hands over; copied, the caller wipes its keys. Inbound, src and dst
 * may both be family 0: any. The window is read inbound only. */
struct sa_spec {
    enum esp_dir dir;
    uint32_t policy_id;
    uint32_t spi;
    enum esp_mode mode;
    enum esp_encap encap;
    const struct esp_suite *suite;
    struct esp_keys keys;
    bool esn;
    uint32_t window; /* bits, inbound */
    struct ip_addr src, dst;
    uint16_t udp_sport, udp_dport;
    struct esp_header_rules rules;
    struct sa_lifetime soft, hard;
};

struct sa {
    uint64_t cookie;     /* unique for the life of the store; the card's table carries it */
    uint32_t slot;       /* in the store */
    struct sa_spec spec; /* the keys in it are wiped; they live in esp and in the store */
    struct esp_sa *esp;
    bool dying; /* no new packets outbound; inbound still opens until it is deleted */
    bool soft_told;
    uint16_t home; /* the worker that alone takes its numbers or judges its window */

    struct sa_record *record; /* in the store; sa/'s own */
    uint64_t next;            /* outbound: the next number, first 1; 0: all are used */
    struct window win;

    uint64_t created, last_used; /* ns */
    uint64_t moved_at;           /* inbound: when the peer's endpoint last moved; 0: never */
    uint64_t packets[PATHS], bytes[PATHS];
    uint64_t drops[SA_DROP_COUNT];
    uint16_t pmtu; /* outer path MTU learned, 0 = the port's */

    enum sa_place place;
    struct sa_reason reason;
    uint64_t since;
    uint32_t moves;
    int card;            /* index of the card where it is, or is being added; -1 none */
    uint32_t handle;     /* valid while place is PLACE_CARD */
    uint8_t place_state; /* place.c's own */
    uint64_t retry_at;
    uint64_t card_bad; /* when a ring was last lost with packets of this SA in it; 0: never */
};

struct sad;
typedef void (*sad_random)(void *ctx, void *buf, size_t len);

/* mem is the store (store.h). With adopt, SAs of an earlier process are taken over: outbound
 * numbers go on at the reserved block's end, windows, counters, endpoints and cookies as they are,
 * the place is software; *adopted and *refused (may be NULL) count them. A refused record is wiped.
 * A store that is none of this version counts as one refusal and is begun afresh. What is not taken
 * over: dying and soft_told. rnd must fill the whole buffer. 0, -EINVAL (mem), -ENOMEM. */
int sad_new(struct sad **out, void *mem, size_t len, int adopt, enum esp_backend backend,
            sad_random rnd, void *rnd_ctx, uint64_t now, unsigned *adopted, unsigned *refused);
void sad_free(struct sad *s); /* the store's records stay: see sad_flush */

/* Adds an SA. 0; -EINVAL (spec), -EEXIST (inbound: SPI in use; outbound: SPI and destination in
 * use), -ENOSPC (limits: sas), -ENOTSUP (suite), -ENOMEM. The SA begins in software. */
int sad_add(struct sad *s, const struct sa_spec *spec, uint64_t now, struct sa **out);
/* The keys of an SA out of its record, for a card's slot; the caller wipes them. */
void sad_keys(const struct sad *s, const struct sa *sa, struct esp_keys *out);
/* Forgets it and wipes its record. The placement must have let go of it first (place_forget). */
void sad_delete(struct sad *s, struct sa *sa);
void sad_flush(struct sad *s);

unsigned sad_count(const struct sad *s);
/* Walks all: start with NULL; NULL at the end. Deleting the one just returned is allowed. */
struct sa *sad_next(struct sad *s, const struct sa *after);
struct sa *sad_inbound(struct sad *s, uint32_t spi);
struct sa *sad_by_cookie(struct sad *s, uint64_t cookie);
struct sa *sad_by_spi(struct sad *s, enum esp_dir dir, uint32_t spi);
/* The newest outbound SA, not dying, of a policy; transport: whose dst is peer (NULL or family 0:
 * any). */
struct sa *sad_outbound(struct sad *s, uint32_t policy_id, const struct ip_addr *peer);

/* Takes n numbers, [*first, *first + n): spent from here on, whatever happens. Crossing a block
 * reserves the next in the store first. All or none. -EINVAL: n is 0 or above STORE_BLOCK, or the
 * SA is inbound; -ERANGE: fewer than n are left (2^32-1, or 2^64-1 with ESN); counting the drop is
 * the caller's. */
int sad_take(struct sad *s, struct sa *sa, unsigned n, uint64_t *first);
/* Judges an inbound number after a good ICV; counts the drop. */
enum win_verdict sad_commit(struct sa *sa, uint64_t seq);
/* Counts a packet of len octets (inner) that passed, by path. */
void sad_count_packet(struct sa *sa, enum sa_path path, size_t len, uint64_t now);

enum sa_life {
    LIFE_OK,
    LIFE_SOFT, /* told once */
    LIFE_HARD
};
/* A limit is reached when the count equals it. Outbound numbers are a lifetime of their own: soft
 * at 15/16 of the space, hard when none is left. */
enum sa_life sad_life(struct sa *sa, uint64_t now);
/* The next moment at which a time limit of any SA may be reached, UINT64_MAX for none. Walks all.
 */
uint64_t sad_deadline(const struct sad *s);

/* A new inbound SPI: random, 256.., inside [lo, hi] (what the cards allow), in use nowhere, and not
 * among the last 1,024 handed out and not added yet (unless the range has no other left). -ENOSPC.
 */
int sad_alloc_spi(struct sad *s, uint32_t lo, uint32_t hi, uint32_t *spi);
/* A verified packet came from a new address: the peer's endpoint moves in the SA, software and
 * store. */
void sad_move(struct sad *s, struct sa *sa, const struct ip_addr *src, const struct ip_addr *dst,
              uint16_t udp_sport, uint16_t udp_dport);

#endif
