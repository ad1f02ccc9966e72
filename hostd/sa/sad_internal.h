/* The inside of the SA database, for sad*.c, lifetime.c and spi.c. */
#ifndef SALLYPORT_SAD_INTERNAL_H
#define SALLYPORT_SAD_INTERNAL_H

#include "hostd/sa/sad.h"
#include "hostd/sa/store_internal.h"

/* Hash tables; an SA stands in each that has a key for it. A chain has the newest SA first, so
 * the first that fits is the newest. */
enum sad_table {
    TABLE_SPI, /* both directions */
    TABLE_COOKIE,
    TABLE_POLICY, /* outbound, by policy */
    TABLE_PEER,   /* outbound, by policy and dst */
    TABLES
};

struct node {
    struct sa sa; /* first: a struct sa of this room is the beginning of a node */
    struct node *link[TABLES], **back[TABLES]; /* back: what points here; NULL when in no chain */
    struct node *prev, *next;
};

enum { SPI_PENDING = 1024, SPI_TRIES = 16 };

struct sad {
    struct sa_store *store;
    enum esp_backend backend;
    sad_random rnd;
    void *rnd_ctx;
    struct node **table[TABLES];
    uint32_t mask; /* buckets - 1 */
    uint64_t seed; /* peers choose outbound SPIs: chains must not be theirs to build */
    struct node *first, *last;
    unsigned count;
    uintptr_t walked; /* what sad_next returned last, and what follows it: it may be deleted */
    struct node *walk_next;
    uint32_t pending[SPI_PENDING]; /* SPIs handed out and not added; a ring */
    unsigned pending_at;
};

static inline struct node *node_of(struct sa *sa)
{
    return (struct node *)(void *)sa;
}

void spi_added(struct sad *s, uint32_t spi);

#endif
