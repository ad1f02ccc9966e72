/* Messages: header checks, version, DMA maps, the table of handlers. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "hwsim/server/vfu_internal.h"

int vfu_init(struct vfu *v)
{
    unsigned i;

    for (i = 0; i < VFU_VECTORS_MAX; i++)
        v->irq_fd[i] = -1;
    v->err_fd = -1;
    v->inside = false;
    v->n_deferred = 0;
    v->deferred = calloc(VFU_DEFER_MAX, sizeof(*v->deferred));
    v->reply = malloc(VFU_MESSAGE_MAX);
    return v->deferred && v->reply ? 0 : -ENOMEM;
}

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

void vfu_disconnect(struct vfu *v)
{
    const uint8_t off[2] = {0, 0};
    unsigned i;

    v->n_deferred = 0;
    hw_card_reset(v->card, HW_RESET_F, v->now(v->ctx));
    hw_pci_write(v->card, v->now(v->ctx), 4, off, sizeof(off)); /* bus mastering off */
    dma_map_clear(&v->dma);
    for (i = 0; i < VFU_VECTORS_MAX; i++)
        close_fd(&v->irq_fd[i]);
    close_fd(&v->err_fd);
}

void vfu_free(struct vfu *v)
{
    unsigned i;

    dma_map_clear(&v->dma);
    for (i = 0; i < VFU_VECTORS_MAX; i++)
        close_fd(&v->irq_fd[i]);
    close_fd(&v->err_fd);
    free(v->deferred);
    free(v->reply);
    v->deferred = NULL;
    v->reply = NULL;
}

/* major u16, minor u16, JSON text. The answer may not be longer than the request (QEMU's rule). */
static int on_version(struct vfu_request *r)
{
    static const char full[] = "{\"capabilities\":{\"max_msg_fds\":16,"
                               "\"max_data_xfer_size\":1048576}}";
    const char *json = r->len >= 4 + sizeof(full) ? full : "{}";

    if (r->len < 4 || le_get16(r->body) != 0)
        return EINVAL;
    le_put16(r->reply, 0);
    le_put16(r->reply + 2, 1);
    r->reply_len = 4;
    if (r->len >= 4 + 3) {
        memcpy(r->reply + 4, json, strlen(json) + 1);
        r->reply_len += strlen(json) + 1;
    }
    return 0;
}

/* argsz, flags u32; offset, address, size u64 */
static int on_dma_map(struct vfu_request *r)
{
    uint32_t flags;

    if (r->len < 32 || r->n_fds > 1)
        return EINVAL;
    flags = le_get32(r->body + 4);
    if (flags & ~(DMA_READABLE | DMA_WRITABLE))
        return EINVAL;
    return -dma_map_add(&r->v->dma, le_get64(r->body + 16), le_get64(r->body + 24), flags,
                        r->n_fds ? r->fds[0] : -1, le_get64(r->body + 8));
}

/* argsz, flags u32; address, size u64. Flag bit 1: all. A dirty bitmap is not offered. */
static int on_dma_unmap(struct vfu_request *r)
{
    uint32_t flags;

    if (r->len < 24)
        return EINVAL;
    flags = le_get32(r->body + 4);
    if (flags & ~2u)
        return ENOTSUP;
    if (flags & 2)
        dma_map_clear(&r->v->dma);
    else
        dma_map_remove(&r->v->dma, le_get64(r->body + 8), le_get64(r->body + 16));
    memcpy(r->reply, r->body, 24);
    r->reply_len = 24;
    return 0;
}

/* argsz, flags, regions, interrupt kinds: all u32. Flags: reset works, PCI. */
static int on_get_info(struct vfu_request *r)
{
    if (r->len < 16 || le_get32(r->body) < 16)
        return EINVAL;
    le_put32(r->reply, 16);
    le_put32(r->reply + 4, 3);
    le_put32(r->reply + 8, REGION_COUNT);
    le_put32(r->reply + 12, 5);
    r->reply_len = 16;
    return 0;
}

static const struct {
    int (*handle)(struct vfu_request *r);
} handlers[] = {
    [VFU_VERSION] = {on_version},
    [VFU_DMA_MAP] = {on_dma_map},
    [VFU_DMA_UNMAP] = {on_dma_unmap},
    [VFU_GET_INFO] = {on_get_info},
    [VFU_GET_REGION_INFO] = {vfu_region_info},
    [VFU_GET_IRQ_INFO] = {vfu_irq_info},
    [VFU_SET_IRQS] = {vfu_set_irqs},
    [VFU_REGION_READ] = {vfu_region_read},
    [VFU_REGION_WRITE] = {vfu_region_write},
    [VFU_DEVICE_RESET] = {vfu_device_reset},
};

static int answer(struct vfu_request *r, const uint8_t *msg, uint8_t *out, int err)
{
    uint32_t flags = VFU_REPLY | (err ? VFU_ERROR : 0);
    size_t len = VFU_HEADER + (err ? 0 : r->reply_len);

    memcpy(out, msg, 4);
    le_put32(out + 4, (uint32_t)len);
    le_put32(out + 8, flags);
    le_put32(out + 12, (uint32_t)err);
    return r->v->send(r->v->ctx, out, len, err ? -1 : r->reply_fd);
}

static int handle(struct vfu_request *r, const uint8_t *msg)
{
    uint16_t command = le_get16(msg + 2);
    uint32_t flags = le_get32(msg + 8);
    uint8_t *out = r->v->reply; /* no handler reads from the connection, so none nests */
    int err = ENOTSUP;

    r->reply = out + VFU_HEADER;
    if (flags & ~(VFU_TYPE | VFU_NO_REPLY))
        err = EINVAL;
    else if (command < sizeof(handlers) / sizeof(handlers[0]) && handlers[command].handle)
        err = handlers[command].handle(r);
    if (!(flags & VFU_NO_REPLY))
        err = answer(r, msg, out, err);
    else
        err = 0;
    return err;
}

int vfu_message(struct vfu *v, const uint8_t *msg, size_t len, const int *fds, unsigned n_fds)
{
    struct vfu_request r = {.v = v, .reply_fd = -1};
    unsigned i;
    int err;

    r.n_fds = n_fds < VFU_FDS_MAX ? n_fds : VFU_FDS_MAX;
    for (i = 0; i < r.n_fds; i++)
        r.fds[i] = fds[i];
    if (len < VFU_HEADER || le_get32(msg + 4) != len) {
        err = -EPROTO;
    } else {
        r.body = msg + VFU_HEADER;
        r.len = len - VFU_HEADER;
        err = handle(&r, msg);
    }
    for (i = 0; i < r.n_fds; i++)
        close_fd(&r.fds[i]);
    for (; i < n_fds; i++)
        close(fds[i]);
    return err;
}
