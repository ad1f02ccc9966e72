/* The client's memory as the card sees it: intervals of IOVA, each in a mapped file or, without a
 * descriptor, behind messages. Every memfd is mapped once, whole, however many intervals use it:
 * with 4 KiB maps each carries a descriptor, and a mapping each would run out of them. */
#ifndef SALLYPORT_HWSIM_DMA_MAP_H
#define SALLYPORT_HWSIM_DMA_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DMA_READABLE 1u
#define DMA_WRITABLE 2u
#define DMA_MAPS_MAX (1u << 20) /* intervals; a client that wants more gets -ENOSPC */

struct dma_node;
struct dma_file;

struct dma_map {
    struct dma_node *root; /* treap by address */
    struct dma_file *files;
    unsigned count, n_files;
    uint64_t random;
    /* Access to intervals without a descriptor. 0 or -errno. */
    int (*message)(void *ctx, bool write, uint64_t iova, void *buf, size_t len);
    void *ctx;
};

/* Adds [iova, iova+size). fd >= 0: the file to map (the caller keeps and closes its descriptor);
 * -1: none. 0, -EINVAL (empty, wraps, beyond the file's end), -EEXIST (overlaps), -ENOSPC, -ENOMEM
 * or what mmap says. */
int dma_map_add(struct dma_map *m, uint64_t iova, uint64_t size, unsigned prot, int fd,
                uint64_t offset);
/* Drops every interval that lies wholly inside [iova, iova+size); size 0 with iova 0: all. Returns
 * how many bytes were dropped. One that reaches out of the range stays. */
uint64_t dma_map_remove(struct dma_map *m, uint64_t iova, uint64_t size);
void dma_map_clear(struct dma_map *m);

/* Copies across as many intervals as it takes. 0, -EFAULT (a hole, a direction not allowed, or the
 * file behind it got shorter), or the message's error. */
int dma_map_read(struct dma_map *m, uint64_t iova, void *buf, size_t len);
int dma_map_write(struct dma_map *m, uint64_t iova, const void *buf, size_t len);

/* A file behind a map may shrink under us: SIGBUS. Installed once by a program; without it such a
 * client kills the process. */
void dma_map_catch_sigbus(void);

#endif
