#include "hostd/sa/spd_index.h"

#include <errno.h>
#include <stdlib.h>

int spd_index_new(struct spd_index *x, unsigned n)
{
    uint32_t buckets = 16;
    while (buckets < n && buckets < UINT32_C(1) << 30)
        buckets *= 2;
    x->head = calloc((size_t)buckets + n, sizeof *x->head);
    if (!x->head)
        return -ENOMEM;
    x->next = x->head + buckets;
    x->mask = buckets - 1;
    return 0;
}

void spd_index_free(struct spd_index *x)
{
    free(x->head);
    *x = (struct spd_index){0};
}

uint32_t *spd_index_chain(struct spd_index *x, uint64_t key)
{
    static uint32_t none = SPD_INDEX_END; /* never written: only a link to a row is */
    key *= UINT64_C(0x9e3779b97f4a7c15);
    return x->head ? &x->head[(uint32_t)(key >> 32) & x->mask] : &none;
}

uint32_t *spd_index_next(struct spd_index *x, const uint32_t *link)
{
    return &x->next[*link - 1];
}

void spd_index_put(struct spd_index *x, uint64_t key, unsigned row)
{
    uint32_t *head = spd_index_chain(x, key);
    x->next[row] = *head;
    *head = row + 1;
}
