/* The SA table: slots, generations, lookup by SPI and by cookie. A slot is found by a packet only
 * when its record is whole, and holds a key only while it is STOPPED or ACTIVE. */
#ifndef SALLYPORT_HWSIM_SA_TABLE_H
#define SALLYPORT_HWSIM_SA_TABLE_H

#include "firmware-if/card_if.h"
#include "hwsim/model/esp.h"
#include "hwsim/model/shape.h"

#define HW_NO_SLOT UINT32_MAX

struct hw_sa {
    uint8_t state; /* CIF_SASTATE_ */
    uint8_t gen, dir, encap;
    uint32_t flags, policy_group;
    uint64_t cookie;
    uint16_t port_mask, vlan, record_pmtu;
    struct hw_esp esp;
    uint8_t digest[32];     /* keyed hash of the whole record: is a repeat the same? */
    uint8_t key_digest[32]; /* keyed hash of key and salt: is it the same key? */
    uint64_t highest; /* in: T, the highest number accepted; out: the highest used (seq-guard) */
    uint64_t *window; /* REPLAY_CARD: bit i of the ring = seen */
    uint32_t window_bits;
    /* failures in a row, for the ESN burst rule */
    uint32_t fail_run;
    uint64_t fail_since;
    bool burst;
    uint64_t replay_said; /* when REPLAY_BURST was sent */
    uint64_t icv_fail, replay, late, malformed, mismatch, refused, pmtu, other;
    uint32_t next_spi, next_cookie; /* hash chains */
    uint32_t prev_free, next_free;
};

struct hw_sa_pool {
    uint32_t first, size, free, free_head;
    bool refused, high; /* a refusal waits for TABLE_LOW; TABLE_HIGH was said */
};

struct hw_sa_table {
    struct hw_sa *slots;
    uint32_t n, hash_mask;
    uint32_t *by_spi, *by_cookie;
    struct hw_sa_pool pools[2]; /* [0] out or shared, [1] in */
    bool shared, lookup_dst;
    uint8_t secret[32];
};

int hw_sa_table_init(struct hw_sa_table *t, const struct hw_shape *s, uint64_t *random);
void hw_sa_table_free(struct hw_sa_table *t);

struct hw_sa_pool *hw_sa_pool(struct hw_sa_table *t, unsigned dir);
uint32_t hw_sa_handle(const struct hw_sa_table *t, const struct hw_sa *sa);
/* The SA of a handle, or NULL when the index is out of range, free, or of another generation. */
struct hw_sa *hw_sa_by_handle(struct hw_sa_table *t, uint32_t handle);
struct hw_sa *hw_sa_by_cookie(struct hw_sa_table *t, uint64_t cookie);
struct hw_sa *hw_sa_lookup(struct hw_sa_table *t, unsigned family, uint32_t spi,
                           const uint8_t *dst);
/* Another outbound SA with this SPI, destination and key? */
bool hw_sa_out_twin(const struct hw_sa_table *t, const struct hw_sa *like);

/* Takes a free slot (index: the one wanted, or HW_NO_SLOT) in state FREE; NULL when there is none.
 */
struct hw_sa *hw_sa_take(struct hw_sa_table *t, unsigned dir, uint32_t index);
/* Makes a filled slot findable. */
void hw_sa_publish(struct hw_sa_table *t, struct hw_sa *sa);
/* Takes it out of the lookups, wipes keys, generation + 1, back to the free list. */
void hw_sa_release(struct hw_sa_table *t, struct hw_sa *sa);
/* Re-hash after a change of destination: call remove, change, publish. */
void hw_sa_unpublish(struct hw_sa_table *t, struct hw_sa *sa);
/* A keyed digest of n pieces. */
int hw_sa_digest(const struct hw_sa_table *t, const uint8_t *p, size_t len, uint8_t out[32]);
uint32_t hw_sa_in_use(const struct hw_sa_table *t);

/* The card's own filter. check: 0 new, -EALREADY repeat, -ETIME late (only where the filter is on).
 * commit: marks and moves T. */
int hw_window_check(const struct hw_sa *sa, uint64_t seq);
void hw_window_commit(struct hw_sa *sa, uint64_t seq);

#endif
