/* Shared by the parts of the message server. */
#ifndef SALLYPORT_HWSIM_VFU_INTERNAL_H
#define SALLYPORT_HWSIM_VFU_INTERNAL_H

#include "hwsim/server/le.h"
#include "hwsim/server/vfu.h"

/* A request being answered. */
struct vfu_request {
    struct vfu *v;
    const uint8_t *body; /* behind the header */
    size_t len;
    int fds[VFU_FDS_MAX]; /* -1 once taken */
    unsigned n_fds;
    uint8_t *reply; /* body of the reply, VFU_XFER_MAX + 64 bytes of room */
    size_t reply_len;
    int reply_fd; /* goes with the reply; kept by the server */
};

enum { REGION_BAR0, REGION_BAR2 = 2, REGION_BAR4 = 4, REGION_CONFIG = 7, REGION_COUNT = 9 };

uint64_t vfu_region_size(const struct vfu *v, uint32_t region);

/* One handler a message: 0 or a positive errno for the error reply. */
int vfu_region_read(struct vfu_request *r);
int vfu_region_write(struct vfu_request *r);
int vfu_region_info(struct vfu_request *r);
int vfu_irq_info(struct vfu_request *r);
int vfu_set_irqs(struct vfu_request *r);
int vfu_device_reset(struct vfu_request *r);

#endif
