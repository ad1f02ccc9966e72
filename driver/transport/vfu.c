/* The device behind the connection: handshake, doorbell mapping, interrupts, memory, the bus table.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/vfio.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "driver/transport/vfu_client.h"

#define PAGE            4096u
#define IOVA_FIRST      0x10000000ull
#define PCI_CMD         4u
#define PCI_CMD_ON      0x0406u /* memory, bus mastering, no INTx */
#define REG_DEADLINE_MS 500u    /* a program on shared cores may wait for its turn */

int card_vfu_connect(const char *path)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof a.sun_path)
        return -ENAMETOOLONG;
    strcpy(a.sun_path, path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    if (!connect(fd, (const struct sockaddr *)(const void *)&a, sizeof a))
        return fd;
    int err = -errno;
    close(fd);
    return err;
}

/* --- registers
 * ------------------------------------------------------------------------------------- */

static int region_read(struct card_vfu *v, uint32_t region, uint64_t off, uint32_t count,
                       const uint8_t **data)
{
    uint8_t req[16];
    size_t len;
    if (v->dead)
        return -EPIPE;
    int err = vfu_request(v, VFUC_REGION_READ, req, vfuc_region_access(req, region, off, count),
                          NULL, 0, &len, NULL);
    if (!err)
        err = vfuc_parse_region_read(v->body, len, region, off, count, data);
    if (err == -EPROTO)
        v->dead = true;
    return err;
}

static int reg_read(void *ctx, uint32_t off, uint32_t *value)
{
    const uint8_t *p;
    int err = region_read(ctx, VFIO_PCI_BAR0_REGION_INDEX, off, 4, &p);
    if (!err)
        *value = cif_get32(p);
    return err;
}

static int reg_read_block(void *ctx, uint32_t off, uint8_t *out, size_t len)
{
    const uint8_t *p;
    if (len > 65536)
        return -EINVAL;
    int err = region_read(ctx, VFIO_PCI_BAR0_REGION_INDEX, off, (uint32_t)len, &p);
    if (!err)
        memcpy(out, p, len);
    return err;
}

static int reg_write(void *ctx, uint32_t off, uint32_t value)
{
    struct card_vfu *v = ctx;
    uint8_t req[20];
    size_t n = vfuc_region_access(req, VFIO_PCI_BAR0_REGION_INDEX, off, 4);
    cif_put32(req + n, value);
    /* WAKE comes from workers and wants no answer. */
    if (off == CIF_REG_WAKE)
        return vfu_post(v, VFUC_REGION_WRITE, req, n + 4, false);
    return v->dead ? -EPIPE : vfu_request(v, VFUC_REGION_WRITE, req, n + 4, NULL, 0, NULL, NULL);
}

static void db_write(void *ctx, uint32_t off, uint32_t value)
{
    uint8_t req[20];
    size_t n = vfuc_region_access(req, VFIO_PCI_BAR2_REGION_INDEX, off, 4);
    cif_put32(req + n, value);
    (void)vfu_post(ctx, VFUC_REGION_WRITE, req, n + 4, true); /* a failure shows in alive() */
}

static int config_command(struct card_vfu *v)
{
    uint8_t req[18];
    size_t n = vfuc_region_access(req, VFIO_PCI_CONFIG_REGION_INDEX, PCI_CMD, 2);
    cif_put16(req + n, PCI_CMD_ON);
    return vfu_request(v, VFUC_REGION_WRITE, req, n + 2, NULL, 0, NULL, NULL);
}

static int device_reset(void *ctx)
{
    struct card_vfu *v = ctx;
    if (v->dead)
        return -EPIPE;
    int err = vfu_request(v, VFUC_DEVICE_RESET, NULL, 0, NULL, 0, NULL, NULL);
    return err ? err : config_command(v);
}

static bool alive(void *ctx)
{
    struct card_vfu *v = ctx;
    if (!v->dead)
        vfu_service(v);
    return !v->dead;
}

static int irq_fd(void *ctx, unsigned vector)
{
    const struct card_vfu *v = ctx;
    return vector < v->n_irq ? v->irq[vector] : -1;
}

/* --- memory
 * ---------------------------------------------------------------------------------------- */

/* A memfd that cannot shrink, locked if the limit allows it, and left out of dumps. */
static int shared_memory(size_t len, uint8_t **va)
{
    int fd = memfd_create("sallyport-dma", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0)
        return -errno;
    void *p = MAP_FAILED;
    if (!ftruncate(fd, (off_t)len) && !fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW))
        p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (p == MAP_FAILED) {
        int err = -errno;
        close(fd);
        return err;
    }
    (void)madvise(p, len, MADV_DONTDUMP);
    (void)mlock(p, len);
    *va = p;
    return fd;
}

static int dma_alloc(void *ctx, size_t len, struct card_dma *out)
{
    struct card_vfu *v = ctx;
    uint8_t req[32];
    len = (len + PAGE - 1) & ~(size_t)(PAGE - 1);
    if (v->dead)
        return -EPIPE;
    int fd = shared_memory(len, &out->va);
    if (fd < 0)
        return fd;
    int err =
        vfu_request(v, VFUC_DMA_MAP, req, vfuc_dma_map(req, v->next_iova, len), &fd, 1, NULL, NULL);
    close(fd); /* the server has its own */
    if (err) {
        munmap(out->va, len);
        return err;
    }
    out->iova = v->next_iova;
    out->len = len;
    out->priv = NULL;
    v->next_iova += len + PAGE; /* a page that is never mapped catches a card that runs over */
    return 0;
}

static void dma_free(void *ctx, struct card_dma *mem)
{
    struct card_vfu *v = ctx;
    uint8_t req[24];
    if (!v->dead)
        (void)vfu_request(v, VFUC_DMA_UNMAP, req, vfuc_dma_unmap(req, mem->iova, mem->len), NULL, 0,
                          NULL, NULL);
    munmap(mem->va, mem->len);
    memset(mem, 0, sizeof *mem);
}

/* --- open
 * ------------------------------------------------------------------------------------------ */

static int shake_hands(struct card_vfu *v)
{
    uint8_t req[128];
    size_t len;
    uint32_t regions, irqs;
    int err = vfu_request(v, VFUC_VERSION, req, vfuc_version(req), NULL, 0, &len, NULL);
    if (!err)
        err = vfuc_parse_version(v->body, len);
    if (!err)
        err = vfu_request(v, VFUC_DEVICE_GET_INFO, req, vfuc_device_info(req), NULL, 0, &len, NULL);
    return err ? err : vfuc_parse_device_info(v->body, len, &regions, &irqs);
}

static int region_info(struct card_vfu *v, uint32_t index, struct vfuc_region *r, int *fd)
{
    uint8_t req[32];
    size_t len;
    int err =
        vfu_request(v, VFUC_REGION_INFO, req, vfuc_region_info(req, index), NULL, 0, &len, fd);
    if (!err)
        err = vfuc_parse_region_info(v->body, len, index, r);
    if (err && fd && *fd >= 0) {
        close(*fd);
        *fd = -1;
    }
    return err;
}

static bool cannot_shrink(int fd)
{
    int seals = fcntl(fd, F_GET_SEALS);
    return seals >= 0 && seals & F_SEAL_SHRINK;
}

/* A mapping past the file's end would be a SIGBUS: the file must be large enough, and sealed
 * against getting smaller. Otherwise doorbells go by message. */
static int map_doorbells(struct card_vfu *v)
{
    struct vfuc_region r;
    struct stat st;
    int fd = -1;
    int err = region_info(v, VFIO_PCI_BAR2_REGION_INDEX, &r, &fd);
    if (err)
        return err;
    bool can = fd >= 0 && r.flags & VFIO_REGION_INFO_FLAG_MMAP && r.size && !(r.offset % PAGE) &&
               !fstat(fd, &st) && st.st_size >= 0 && r.offset + r.size <= (uint64_t)st.st_size &&
               cannot_shrink(fd);
    if (can) {
        void *p = mmap(NULL, r.size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)r.offset);
        if (p != MAP_FAILED) {
            v->doorbells = p;
            v->doorbells_len = r.size;
        }
    }
    if (fd >= 0)
        close(fd);
    return 0;
}

static int set_irqs(struct card_vfu *v, unsigned want)
{
    uint8_t req[20];
    size_t len;
    uint32_t count;
    int err = vfu_request(v, VFUC_IRQ_INFO, req, vfuc_irq_info(req, VFIO_PCI_MSIX_IRQ_INDEX), NULL,
                          0, &len, NULL);
    if (!err)
        err = vfuc_parse_irq_info(v->body, len, VFIO_PCI_MSIX_IRQ_INDEX, &count);
    if (err)
        return err;
    want = want < VFU_VECTORS_MAX ? want : VFU_VECTORS_MAX;
    want = want < count ? want : count;
    for (unsigned at = 0; at < want && !err; at += VFUC_FDS_MAX) {
        unsigned n = want - at < VFUC_FDS_MAX ? want - at : VFUC_FDS_MAX;
        for (unsigned i = 0; i < n; i++) {
            v->irq[at + i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
            if (v->irq[at + i] < 0)
                return -errno;
            v->n_irq++;
        }
        err = vfu_request(v, VFUC_SET_IRQS, req, vfuc_set_irqs(req, VFIO_PCI_MSIX_IRQ_INDEX, at, n),
                          v->irq + at, n, NULL, NULL);
    }
    return err;
}

static int open_steps(struct card_vfu *v, unsigned max_vectors, const char **what)
{
    struct vfuc_region r;
    *what = "the handshake";
    int err = shake_hands(v);
    if (err)
        return err;
    *what = "the registers (BAR0)";
    err = region_info(v, VFIO_PCI_BAR0_REGION_INDEX, &r, NULL);
    if (!err && r.size < CIF_BAR0_SIZE)
        err = -EPROTO;
    if (err)
        return err;
    *what = "bus mastering";
    err = config_command(v);
    if (err)
        return err;
    *what = "the doorbells (BAR2)";
    err = map_doorbells(v);
    if (err)
        return err;
    *what = "interrupts";
    return max_vectors ? set_irqs(v, max_vectors) : 0;
}

int card_vfu_open(int sock, unsigned max_vectors, struct card_vfu **out, char *why)
{
    const char *what = "memory";
    struct card_vfu *v = calloc(1, sizeof *v);
    if (!v) {
        close(sock);
        snprintf(why, CARD_REASON_MAX, "out of memory");
        return -ENOMEM;
    }
    v->sock = sock;
    v->deadline_ms = 1000;
    v->next_iova = IOVA_FIRST;
    pthread_mutex_init(&v->send_lock, NULL);
    int err = open_steps(v, max_vectors, &what);
    if (err) {
        snprintf(why, CARD_REASON_MAX, "the vfio-user server failed at %s: %s", what,
                 strerror(-err));
        card_vfu_close(v);
        return err;
    }
    v->deadline_ms = REG_DEADLINE_MS;
    *out = v;
    return 0;
}

void card_vfu_bus(struct card_vfu *v, struct card_bus *bus)
{
    *bus = (struct card_bus){.ctx = v,
                             .reg_read = reg_read,
                             .reg_write = reg_write,
                             .reg_read_block = reg_read_block,
                             .doorbells = v->doorbells,
                             .doorbells_len = v->doorbells_len,
                             .db_write = db_write,
                             .dma_alloc = dma_alloc,
                             .dma_free = dma_free,
                             .reset = device_reset,
                             .alive = alive,
                             .irq_fd = irq_fd,
                             .vectors = v->n_irq};
}

int card_vfu_fd(const struct card_vfu *v)
{
    return v->sock;
}

void card_vfu_deadline(struct card_vfu *v, unsigned ms)
{
    v->deadline_ms = ms ? ms : REG_DEADLINE_MS;
}

void card_vfu_close(struct card_vfu *v)
{
    if (!v)
        return;
    for (unsigned i = 0; i < v->n_irq; i++)
        close(v->irq[i]);
    if (v->doorbells)
        munmap(v->doorbells, v->doorbells_len);
    close(v->sock);
    pthread_mutex_destroy(&v->send_lock);
    free(v);
}
