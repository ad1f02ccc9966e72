/* A hash table from keys to rows of an array that it does not know: chains of row numbers. For
 * spd.c; the keys are an administrator's, so no seed guards the chains. */
#ifndef SALLYPORT_SPD_INDEX_H
#define SALLYPORT_SPD_INDEX_H

#include <stdint.h>

enum { SPD_INDEX_END = 0 };

struct spd_index {
    uint32_t *head, *next; /* row + 1; SPD_INDEX_END at the end of a chain */
    uint32_t mask;
};

/* For rows 0 .. n-1. 0 or -ENOMEM. One of zeros is empty and needs no freeing. */
int spd_index_new(struct spd_index *x, unsigned n);
void spd_index_free(struct spd_index *x);
/* A row goes to the head of its chain: who adds the last row first finds the first row first. Each
 * row is put once. */
void spd_index_put(struct spd_index *x, uint64_t key, unsigned row);
/* Where the chain of a key begins: *link is row + 1 (of this key or another), or SPD_INDEX_END;
 * the next link is spd_index_next. *link = *spd_index_next takes the row out. Never NULL. */
uint32_t *spd_index_chain(struct spd_index *x, uint64_t key);
uint32_t *spd_index_next(struct spd_index *x, const uint32_t *link);

#endif
