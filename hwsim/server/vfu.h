/* The vfio-user server's messages: one whole message in, one reply out. No sockets here, so that a
 * fuzzer feeds it directly. Protocol: docs/interop/vfio-user.rst of QEMU, version 0.1. */
#ifndef SALLYPORT_HWSIM_VFU_H
#define SALLYPORT_HWSIM_VFU_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hwsim/model/hw_card.h"
#include "hwsim/server/dma_map.h"

#define VFU_HEADER      16u
#define VFU_XFER_MAX    (1u << 20)
#define VFU_MESSAGE_MAX (VFU_HEADER + 64u + VFU_XFER_MAX)
#define VFU_FDS_MAX     16u
#define VFU_VECTORS_MAX 256u
#define VFU_DEFER_MAX   1024u

enum vfu_command {
    VFU_VERSION = 1,
    VFU_DMA_MAP,
    VFU_DMA_UNMAP,
    VFU_GET_INFO,
    VFU_GET_REGION_INFO,
    VFU_GET_REGION_IO_FDS,
    VFU_GET_IRQ_INFO,
    VFU_SET_IRQS,
    VFU_REGION_READ,
    VFU_REGION_WRITE,
    VFU_DMA_READ,
    VFU_DMA_WRITE,
    VFU_DEVICE_RESET,
};

#define VFU_TYPE     0xfu
#define VFU_REPLY    0x1u
#define VFU_NO_REPLY 0x10u
#define VFU_ERROR    0x20u

/* A register write that came while the model was at work (a nested DMA by message): it is applied
 * afterwards, in order, like the posted write that it is. */
struct vfu_deferred {
    uint32_t region; /* ~0: device reset */
    uint32_t len;
    uint64_t offset;
    uint8_t data[64];
};

struct vfu {
    struct hw_card *card;
    struct dma_map dma;
    int bar2_fd; /* memfd behind the doorbells; -1: not mappable */
    int irq_fd[VFU_VECTORS_MAX];
    int err_fd;
    bool inside; /* the model is at work: defer what would change it */
    struct vfu_deferred *deferred;
    unsigned n_deferred;
    uint8_t *reply; /* VFU_MESSAGE_MAX */
    void *ctx;
    uint64_t (*now)(void *ctx);
    /* Sends a message, with a descriptor when fd >= 0 (kept by the caller). 0 or -errno. */
    int (*send)(void *ctx, const uint8_t *msg, size_t len, int fd);
};

/* card and callbacks are set by the caller before; the rest is made ready here. 0 or -ENOMEM. */
int vfu_init(struct vfu *v);
/* After a client has gone: maps and descriptors dropped, the card reset to power-up of its bus. */
void vfu_disconnect(struct vfu *v);
void vfu_free(struct vfu *v);

/* One whole message that is not a reply, len as its header says. Takes the descriptors: every one
 * is kept or closed. 0, or -errno when the connection cannot go on. */
int vfu_message(struct vfu *v, const uint8_t *msg, size_t len, const int *fds, unsigned n_fds);

/* Call when the model is no longer at work: applies what was deferred. */
void vfu_settle(struct vfu *v);

/* The model's interrupt: a write to the eventfd of the vector, if it has one. */
void vfu_irq(struct vfu *v, unsigned vector);

#endif
