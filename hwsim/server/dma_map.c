#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "hwsim/server/dma_map.h"

struct dma_file {
    struct dma_file *next;
    dev_t dev;
    ino_t ino;
    uint8_t *base;
    uint64_t size;
    unsigned users;
    bool writable;
};

struct dma_node {
    struct dma_node *left, *right;
    uint64_t priority, iova, size, offset;
    struct dma_file *file; /* NULL: by message */
    unsigned prot;
};

/* --- the treap: small, and insertion in any order stays logarithmic ------------------------------
 */

static void split(struct dma_node *t, uint64_t key, struct dma_node **lower, struct dma_node **rest)
{
    if (!t) {
        *lower = *rest = NULL;
    } else if (t->iova < key) {
        split(t->right, key, &t->right, rest);
        *lower = t;
    } else {
        split(t->left, key, lower, &t->left);
        *rest = t;
    }
}

static struct dma_node *join(struct dma_node *a, struct dma_node *b)
{
    if (!a || !b)
        return a ? a : b;
    if (a->priority > b->priority) {
        a->right = join(a->right, b);
        return a;
    }
    b->left = join(a, b->left);
    return b;
}

/* The last interval that begins at or before iova. */
static struct dma_node *floor_of(const struct dma_map *m, uint64_t iova)
{
    struct dma_node *t = m->root, *best = NULL;

    while (t) {
        if (t->iova <= iova) {
            best = t;
            t = t->right;
        } else {
            t = t->left;
        }
    }
    return best;
}

static uint64_t next_random(struct dma_map *m)
{
    m->random = m->random * 6364136223846793005u + 1442695040888963407u;
    return m->random >> 11;
}

/* --- files ---------------------------------------------------------------------------------------
 */

static void file_put(struct dma_map *m, struct dma_file *f)
{
    struct dma_file **at = &m->files;

    if (!f || --f->users)
        return;
    while (*at != f)
        at = &(*at)->next;
    *at = f->next;
    munmap(f->base, f->size);
    m->n_files--;
    free(f);
}

/* The file grew since it was mapped: map all of it again. Nobody holds pointers into it between
 * calls. */
static int file_grow(struct dma_file *f, int fd, uint64_t size)
{
    int prot = PROT_READ | (f->writable ? PROT_WRITE : 0);
    void *base = mmap(NULL, size, prot, MAP_SHARED, fd, 0);

    if (base == MAP_FAILED)
        return -errno;
    munmap(f->base, f->size);
    f->base = base;
    f->size = size;
    return 0;
}

static int file_open(struct dma_map *m, int fd, const struct stat *st, bool write,
                     struct dma_file **out)
{
    struct dma_file *f = calloc(1, sizeof(*f));

    if (!f)
        return -ENOMEM;
    f->base =
        mmap(NULL, (size_t)st->st_size, PROT_READ | (write ? PROT_WRITE : 0), MAP_SHARED, fd, 0);
    if (f->base == MAP_FAILED) {
        int err = -errno;

        free(f);
        return err;
    }
    f->dev = st->st_dev;
    f->ino = st->st_ino;
    f->size = (uint64_t)st->st_size;
    f->writable = write;
    f->next = m->files;
    m->files = f;
    m->n_files++;
    *out = f;
    return 0;
}

static int file_get(struct dma_map *m, int fd, uint64_t end, bool write, struct dma_file **out)
{
    struct dma_file *f;
    struct stat st;
    int err = 0;

    if (fstat(fd, &st) < 0)
        return -errno;
    if (st.st_size <= 0 || end > (uint64_t)st.st_size)
        return -EINVAL;
    for (f = m->files; f; f = f->next)
        if (f->dev == st.st_dev && f->ino == st.st_ino && f->writable == write)
            break;
    if (!f)
        err = file_open(m, fd, &st, write, &f);
    else if (f->size < end)
        err = file_grow(f, fd, (uint64_t)st.st_size);
    if (err)
        return err;
    f->users++;
    *out = f;
    return 0;
}

/* --- the map -------------------------------------------------------------------------------------
 */

static bool overlaps(const struct dma_map *m, uint64_t iova, uint64_t size)
{
    const struct dma_node *n = floor_of(m, iova + size - 1);

    return n && n->iova + (n->size - 1) >= iova;
}

static void insert(struct dma_map *m, struct dma_node *n)
{
    struct dma_node *lower, *rest;

    split(m->root, n->iova, &lower, &rest);
    m->root = join(join(lower, n), rest);
    m->count++;
}

int dma_map_add(struct dma_map *m, uint64_t iova, uint64_t size, unsigned prot, int fd,
                uint64_t offset)
{
    struct dma_node *n;
    int err = 0;

    if (!size || iova + (size - 1) < iova || offset + size < offset)
        return -EINVAL;
    if (overlaps(m, iova, size))
        return -EEXIST;
    if (m->count >= DMA_MAPS_MAX)
        return -ENOSPC;
    n = calloc(1, sizeof(*n));
    if (!n)
        return -ENOMEM;
    if (fd >= 0)
        err = file_get(m, fd, offset + size, (prot & DMA_WRITABLE) != 0, &n->file);
    if (err) {
        free(n);
        return err;
    }
    n->iova = iova;
    n->size = size;
    n->prot = prot;
    n->offset = offset;
    n->priority = next_random(m);
    insert(m, n);
    return 0;
}

static uint64_t free_tree(struct dma_map *m, struct dma_node *t)
{
    uint64_t bytes;

    if (!t)
        return 0;
    bytes = t->size + free_tree(m, t->left) + free_tree(m, t->right);
    file_put(m, t->file);
    free(t);
    m->count--;
    return bytes;
}

uint64_t dma_map_remove(struct dma_map *m, uint64_t iova, uint64_t size)
{
    struct dma_node *lower, *middle, *upper = NULL, *last;
    uint64_t end = iova + size, bytes;

    split(m->root, iova, &lower, &middle);
    if (end > iova) /* a range up to the end of the space has no upper part */
        split(middle, end, &middle, &upper);
    for (last = middle; last && last->right;)
        last = last->right;
    if (last && end > iova && last->iova + (last->size - 1) > end - 1) {
        /* the last one reaches out of the range: it stays */
        struct dma_node *out;

        split(middle, last->iova, &middle, &out);
        upper = join(out, upper);
    }
    bytes = free_tree(m, middle);
    m->root = join(lower, upper);
    return bytes;
}

void dma_map_clear(struct dma_map *m)
{
    free_tree(m, m->root);
    m->root = NULL;
}

/* --- access --------------------------------------------------------------------------------------
 */

static sigjmp_buf bus_jump;
static volatile sig_atomic_t bus_armed;

static void on_sigbus(int sig)
{
    if (bus_armed)
        siglongjmp(bus_jump, 1);
    signal(sig, SIG_DFL);
    raise(sig);
}

void dma_map_catch_sigbus(void)
{
    struct sigaction sa = {.sa_handler = on_sigbus, .sa_flags = SA_NODEFER};

    sigaction(SIGBUS, &sa, NULL);
}

static int copy_guarded(void *to, const void *from, size_t len)
{
    if (sigsetjmp(bus_jump, 0)) {
        bus_armed = 0;
        return -EFAULT;
    }
    bus_armed = 1;
    memcpy(to, from, len);
    bus_armed = 0;
    return 0;
}

static int access_one(struct dma_map *m, const struct dma_node *n, bool write, uint64_t iova,
                      uint8_t *buf, size_t len)
{
    uint8_t *mem;

    if (!(n->prot & (write ? DMA_WRITABLE : DMA_READABLE)))
        return -EFAULT;
    if (!n->file)
        return m->message ? m->message(m->ctx, write, iova, buf, len) : -EFAULT;
    mem = n->file->base + n->offset + (iova - n->iova);
    return write ? copy_guarded(mem, buf, len) : copy_guarded(buf, mem, len);
}

static int access_all(struct dma_map *m, bool write, uint64_t iova, uint8_t *buf, size_t len)
{
    while (len) {
        const struct dma_node *n = floor_of(m, iova);
        uint64_t room;
        size_t part;
        int err;

        if (!n || iova - n->iova >= n->size)
            return -EFAULT;
        room = n->size - (iova - n->iova);
        part = len < room ? len : (size_t)room;
        err = access_one(m, n, write, iova, buf, part);
        if (err)
            return err;
        iova += part;
        buf += part;
        len -= part;
        if (len && iova == 0)
            return -EFAULT;
    }
    return 0;
}

int dma_map_read(struct dma_map *m, uint64_t iova, void *buf, size_t len)
{
    return access_all(m, false, iova, buf, len);
}

int dma_map_write(struct dma_map *m, uint64_t iova, const void *buf, size_t len)
{
    union {
        const void *in;
        uint8_t *out;
    } same = {.in = buf}; /* one walk serves both directions; a write only reads it */

    return access_all(m, true, iova, same.out, len);
}
