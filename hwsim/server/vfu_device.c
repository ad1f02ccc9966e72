/* Messages about the device: regions, interrupts, reset. */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "hwsim/server/vfu_internal.h"

enum { INFO_READ = 1, INFO_WRITE = 2, INFO_MMAP = 4 };

uint64_t vfu_region_size(const struct vfu *v, uint32_t region)
{
    const uint64_t sizes[REGION_COUNT] = {
        [REGION_BAR0] = HW_BAR0_SIZE,
        [REGION_BAR2] = hw_bar2_size(v->card),
        [REGION_BAR4] = HW_BAR4_SIZE,
        [REGION_CONFIG] = HW_CONFIG_SIZE,
    };

    return region < REGION_COUNT ? sizes[region] : 0;
}

/* argsz, flags, index, cap_offset u32; size, offset u64. Asked first with a short argsz: the reply
 * is trimmed to it, and the descriptor goes with the full one. */
int vfu_region_info(struct vfu_request *r)
{
    uint8_t info[32] = {0};
    uint32_t index, argsz, flags = 0;
    bool mappable;

    if (r->len < 16)
        return EINVAL;
    argsz = le_get32(r->body);
    index = le_get32(r->body + 8);
    if (argsz < 16 || index >= REGION_COUNT)
        return EINVAL;
    mappable = index == REGION_BAR2 && r->v->bar2_fd >= 0;
    if (vfu_region_size(r->v, index))
        flags = INFO_READ | INFO_WRITE | (mappable ? INFO_MMAP : 0);
    le_put32(info, sizeof(info));
    le_put32(info + 4, flags);
    le_put32(info + 8, index);
    le_put64(info + 16, vfu_region_size(r->v, index));
    r->reply_len = argsz < sizeof(info) ? argsz : sizeof(info);
    memcpy(r->reply, info, r->reply_len);
    if (mappable && r->reply_len == sizeof(info))
        r->reply_fd = r->v->bar2_fd;
    return 0;
}

/* --- access: whole aligned words to BAR0 and BAR2, bytes elsewhere
 * -------------------------------- */

static int bar0(struct vfu *v, uint64_t at, uint8_t *buf, size_t len, bool write)
{
    uint64_t now = v->now(v->ctx);
    size_t i;

    if ((at | len) & 3)
        return EINVAL;
    for (i = 0; i < len; i += 4) {
        if (write)
            hw_reg_write(v->card, (uint32_t)(at + i), le_get32(buf + i), now);
        else
            le_put32(buf + i, hw_reg_read(v->card, (uint32_t)(at + i), now));
    }
    return 0;
}

static int bar2(struct vfu *v, uint64_t at, uint8_t *buf, size_t len, bool write)
{
    uint8_t *mem = hw_doorbells(v->card) + at;

    if ((at | len) & 3)
        return EINVAL;
    if (write)
        memcpy(mem, buf, len);
    else
        memcpy(buf, mem, len);
    return 0;
}

static int bar4(struct vfu *v, uint64_t at, uint8_t *buf, size_t len, bool write)
{
    return -hw_bar4_access(v->card, at, buf, len, write);
}

static int config(struct vfu *v, uint64_t at, uint8_t *buf, size_t len, bool write)
{
    if (write)
        return -hw_pci_write(v->card, v->now(v->ctx), (uint32_t)at, buf, len);
    return -hw_pci_read(v->card, (uint32_t)at, buf, len);
}

static int access_region(struct vfu *v, uint32_t region, uint64_t at, uint8_t *buf, size_t len,
                         bool write)
{
    static int (*const table[REGION_COUNT])(struct vfu *, uint64_t, uint8_t *, size_t, bool) = {
        [REGION_BAR0] = bar0,
        [REGION_BAR2] = bar2,
        [REGION_BAR4] = bar4,
        [REGION_CONFIG] = config,
    };
    uint64_t size = vfu_region_size(v, region);

    if (!size || at > size || len > size - at)
        return EINVAL;
    return table[region](v, at, buf, len, write);
}

/* offset u64; region, count u32 */
int vfu_region_read(struct vfu_request *r)
{
    uint32_t count;

    if (r->len < 16)
        return EINVAL;
    count = le_get32(r->body + 12);
    if (count > VFU_XFER_MAX)
        return EINVAL;
    memcpy(r->reply, r->body, 16);
    r->reply_len = 16 + (size_t)count;
    return access_region(r->v, le_get32(r->body + 8), le_get64(r->body), r->reply + 16, count,
                         false);
}

static int defer(struct vfu *v, uint32_t region, uint64_t at, const uint8_t *data, size_t len)
{
    struct vfu_deferred *d;

    if (v->n_deferred == VFU_DEFER_MAX || len > sizeof(d->data))
        return EBUSY;
    d = &v->deferred[v->n_deferred++];
    d->region = region;
    d->offset = at;
    d->len = (uint32_t)len;
    if (len)
        memcpy(d->data, data, len);
    return 0;
}

int vfu_region_write(struct vfu_request *r)
{
    uint8_t data[4096];
    uint32_t region, count;
    uint64_t at;

    if (r->len < 16)
        return EINVAL;
    at = le_get64(r->body);
    region = le_get32(r->body + 8);
    count = le_get32(r->body + 12);
    if (count > r->len - 16 || count > sizeof(data))
        return EINVAL;
    memcpy(data, r->body + 16, count);
    memcpy(r->reply, r->body, 16);
    r->reply_len = 16;
    if (r->v->inside)
        return defer(r->v, region, at, data, count);
    return access_region(r->v, region, at, data, count, true);
}

int vfu_device_reset(struct vfu_request *r)
{
    if (r->v->inside)
        return defer(r->v, UINT32_MAX, 0, NULL, 0);
    hw_card_reset(r->v->card, HW_RESET_F, r->v->now(r->v->ctx));
    return 0;
}

void vfu_settle(struct vfu *v)
{
    unsigned i;

    v->inside = false;
    for (i = 0; i < v->n_deferred; i++) {
        struct vfu_deferred *d = &v->deferred[i];

        if (d->region == UINT32_MAX)
            hw_card_reset(v->card, HW_RESET_F, v->now(v->ctx));
        else
            access_region(v, d->region, d->offset, d->data, d->len, true);
    }
    v->n_deferred = 0;
}

/* --- interrupts
 * ----------------------------------------------------------------------------------- */

enum { IRQ_MSIX = 2, IRQ_ERR = 3, IRQ_COUNT = 5 };
enum { SET_NONE = 1, SET_BOOL = 2, SET_EVENTFD = 4, SET_TRIGGER = 32 };

static uint32_t irq_count(const struct vfu *v, uint32_t index)
{
    if (index == IRQ_MSIX)
        return hw_card_vectors(v->card);
    return index == IRQ_ERR ? 1 : 0;
}

/* argsz, flags, index, count: u32 */
int vfu_irq_info(struct vfu_request *r)
{
    uint32_t index;

    if (r->len < 16 || le_get32(r->body) < 16)
        return EINVAL;
    index = le_get32(r->body + 8);
    if (index >= IRQ_COUNT)
        return EINVAL;
    le_put32(r->reply, 16);
    le_put32(r->reply + 4, irq_count(r->v, index) ? 1 : 0); /* eventfd; never NORESIZE */
    le_put32(r->reply + 8, index);
    le_put32(r->reply + 12, irq_count(r->v, index));
    r->reply_len = 16;
    return 0;
}

static void fire(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLOUT};
    uint64_t one = 1;

    /* the client may have given us anything, a full pipe too: never block */
    if (fd < 0 || poll(&p, 1, 0) != 1 || !(p.revents & POLLOUT) || write(fd, &one, sizeof(one)) < 0)
        return; /* the counter is full or the reader is gone: the interrupt is pending anyway */
}

void vfu_irq(struct vfu *v, unsigned vector)
{
    if (vector < VFU_VECTORS_MAX)
        fire(v->irq_fd[vector]);
}

static int *irq_slot(struct vfu *v, uint32_t index, uint32_t n)
{
    return index == IRQ_MSIX ? &v->irq_fd[n] : &v->err_fd;
}

/* Puts a descriptor (or none: de-assign) in a slot. */
static void assign(struct vfu_request *r, int *slot, unsigned n)
{
    if (*slot >= 0)
        close(*slot);
    *slot = -1;
    if (n < r->n_fds) {
        *slot = r->fds[n];
        r->fds[n] = -1;
    }
}

/* argsz, flags, index, start, count: u32, then data */
int vfu_set_irqs(struct vfu_request *r)
{
    uint32_t flags, index, start, count, kind, i;

    if (r->len < 20)
        return EINVAL;
    flags = le_get32(r->body + 4);
    index = le_get32(r->body + 8);
    start = le_get32(r->body + 12);
    count = le_get32(r->body + 16);
    kind = flags & 7;
    if ((flags & ~7u) != SET_TRIGGER || start > irq_count(r->v, index) ||
        count > irq_count(r->v, index) - start)
        return EINVAL;
    if (kind == SET_NONE && count == 0) { /* all off */
        start = 0;
        count = irq_count(r->v, index);
        kind = SET_EVENTFD;
        if (r->n_fds)
            return EINVAL;
    }
    if ((kind != SET_NONE && kind != SET_BOOL && kind != SET_EVENTFD) ||
        (kind == SET_BOOL && r->len - 20 < count))
        return EINVAL;
    for (i = 0; i < count; i++) {
        int *slot = irq_slot(r->v, index, start + i);

        if (kind == SET_EVENTFD)
            assign(r, slot, i);
        else if (kind == SET_NONE || r->body[20 + i])
            fire(*slot);
    }
    return 0;
}
