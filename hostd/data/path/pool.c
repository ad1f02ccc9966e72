#include "hostd/data/path/path.h"

#include <errno.h>
#include <stdlib.h>

int pool_init(struct pool *p, size_t bytes)
{
    size_t n = bytes / CHUNK;
    if (n < 64)
        n = 64;
    if (n > UINT32_MAX / 2)
        return -EINVAL;
    p->mem = malloc(n * CHUNK);
    p->next = calloc(n, sizeof *p->next);
    if (!p->mem || !p->next) {
        pool_done(p);
        return -ENOMEM;
    }
    p->n = p->n_free = (uint32_t)n;
    for (uint32_t i = 0; i < p->n; i++)
        p->next[i] = i + 1 < p->n ? i + 1 : NIL;
    p->free = 0;
    return 0;
}

void pool_done(struct pool *p)
{
    free(p->mem);
    free(p->next);
    memset(p, 0, sizeof *p);
}

uint32_t pool_keep(struct pool *p, const uint8_t *data, size_t len)
{
    size_t need = len ? (len + CHUNK - 1) / CHUNK : 1;
    if (need > p->n_free)
        return NIL;
    uint32_t head = p->free, last = head;
    for (size_t off = 0;; off += CHUNK) {
        size_t n = len - off < CHUNK ? len - off : CHUNK;
        memcpy(p->mem + (size_t)last * CHUNK, data + off, n);
        p->n_free--;
        if (off + n >= len)
            break;
        last = p->next[last];
    }
    p->free = p->next[last];
    p->next[last] = NIL;
    return head;
}

void pool_read(const struct pool *p, uint32_t head, uint8_t *out, size_t len)
{
    for (size_t off = 0; off < len; off += CHUNK, head = p->next[head]) {
        size_t n = len - off < CHUNK ? len - off : CHUNK;
        memcpy(out + off, p->mem + (size_t)head * CHUNK, n);
    }
}

void pool_drop(struct pool *p, uint32_t head)
{
    while (head != NIL) {
        uint32_t next = p->next[head];
        p->next[head] = p->free;
        p->free = head;
        p->n_free++;
        head = next;
    }
}
