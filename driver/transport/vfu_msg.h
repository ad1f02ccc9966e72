/* vfio-user messages as octets, without a socket: what a client sends, and what it believes of an
 * answer. Protocol: docs/interop/vfio-user.rst of QEMU, version 0.1. */
#ifndef SALLYPORT_VFU_MSG_H
#define SALLYPORT_VFU_MSG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VFUC_HEADER   16u
#define VFUC_BODY_MAX (64u + 65536u) /* longest answer we ever ask for */
#define VFUC_FDS_MAX  8u

enum vfuc_command {
    VFUC_VERSION = 1,
    VFUC_DMA_MAP = 2,
    VFUC_DMA_UNMAP = 3,
    VFUC_DEVICE_GET_INFO = 4,
    VFUC_REGION_INFO = 5,
    VFUC_IRQ_INFO = 7,
    VFUC_SET_IRQS = 8,
    VFUC_REGION_READ = 9,
    VFUC_REGION_WRITE = 10,
    VFUC_DEVICE_RESET = 13,
};

#define VFUC_TYPE_MASK  0xfu
#define VFUC_TYPE_REPLY 1u
#define VFUC_NO_REPLY   0x10u
#define VFUC_ERROR      0x20u

struct vfuc_header {
    uint16_t id, command;
    uint32_t size, flags, error;
};

struct vfuc_region {
    uint32_t flags, index;
    uint64_t size, offset;
};

void vfuc_put_header(uint8_t *out, const struct vfuc_header *h);
/* 0, or -EPROTO: the size is less than a header or more than we take, or the type is unknown. */
int vfuc_get_header(const uint8_t *in, struct vfuc_header *h);
/* Is this the answer to that request? 0, -EPROTO, or the server's own error as -errno. */
int vfuc_check_reply(const struct vfuc_header *h, uint16_t id, uint16_t command);

/* Bodies of requests; each returns its length. out has room for 64 octets (version: 128). */
size_t vfuc_version(uint8_t *out);
size_t vfuc_device_info(uint8_t *out);
size_t vfuc_region_info(uint8_t *out, uint32_t index);
size_t vfuc_irq_info(uint8_t *out, uint32_t index);
size_t vfuc_set_irqs(uint8_t *out, uint32_t index, uint32_t start, uint32_t count);
size_t vfuc_dma_map(uint8_t *out, uint64_t iova, uint64_t len);
size_t vfuc_dma_unmap(uint8_t *out, uint64_t iova, uint64_t len);
size_t vfuc_region_access(uint8_t *out, uint32_t region, uint64_t off, uint32_t count);

/* Bodies of answers, checked: 0 or -EPROTO. */
int vfuc_parse_version(const uint8_t *in, size_t len);
int vfuc_parse_device_info(const uint8_t *in, size_t len, uint32_t *regions, uint32_t *irqs);
int vfuc_parse_region_info(const uint8_t *in, size_t len, uint32_t index, struct vfuc_region *r);
int vfuc_parse_irq_info(const uint8_t *in, size_t len, uint32_t index, uint32_t *count);
/* The data of a REGION_READ answer: exactly what was asked. */
int vfuc_parse_region_read(const uint8_t *in, size_t len, uint32_t region, uint64_t off,
                           uint32_t count, const uint8_t **data);

#endif
