#include "driver/transport/vfu_msg.h"

#include <errno.h>
#include <linux/vfio.h>
#include <string.h>

#include "firmware-if/card_if.h" /* little-endian loads and stores */

#define VERSION_JSON                                                                               \
    "{\"capabilities\":{\"max_msg_fds\":8,\"max_data_xfer_size\":65536,\"migration\":{}}}"

void vfuc_put_header(uint8_t *out, const struct vfuc_header *h)
{
    cif_put16(out, h->id);
    cif_put16(out + 2, h->command);
    cif_put32(out + 4, h->size);
    cif_put32(out + 8, h->flags);
    cif_put32(out + 12, h->error);
}

int vfuc_get_header(const uint8_t *in, struct vfuc_header *h)
{
    h->id = cif_get16(in);
    h->command = cif_get16(in + 2);
    h->size = cif_get32(in + 4);
    h->flags = cif_get32(in + 8);
    h->error = cif_get32(in + 12);
    if (h->size < VFUC_HEADER || h->size > VFUC_HEADER + VFUC_BODY_MAX)
        return -EPROTO;
    return (h->flags & VFUC_TYPE_MASK) > VFUC_TYPE_REPLY ? -EPROTO : 0;
}

int vfuc_check_reply(const struct vfuc_header *h, uint16_t id, uint16_t command)
{
    if ((h->flags & VFUC_TYPE_MASK) != VFUC_TYPE_REPLY || h->id != id || h->command != command)
        return -EPROTO;
    if (!(h->flags & VFUC_ERROR))
        return 0;
    return h->error && h->error < 4096 ? -(int)h->error : -EIO;
}

/* --- requests ------------------------------------------------------------------------------------
 */

size_t vfuc_version(uint8_t *out)
{
    cif_put16(out, 0);
    cif_put16(out + 2, 1);
    memcpy(out + 4, VERSION_JSON, sizeof VERSION_JSON);
    return 4 + sizeof VERSION_JSON;
}

static size_t put_words(uint8_t *out, const uint32_t *w, size_t n)
{
    for (size_t i = 0; i < n; i++)
        cif_put32(out + 4 * i, w[i]);
    return 4 * n;
}

size_t vfuc_device_info(uint8_t *out)
{
    return put_words(out, (const uint32_t[]){16, 0, 0, 0}, 4);
}

size_t vfuc_region_info(uint8_t *out, uint32_t index)
{
    return put_words(out, (const uint32_t[]){32, 0, index, 0, 0, 0, 0, 0}, 8);
}

size_t vfuc_irq_info(uint8_t *out, uint32_t index)
{
    return put_words(out, (const uint32_t[]){16, 0, index, 0}, 4);
}

size_t vfuc_set_irqs(uint8_t *out, uint32_t index, uint32_t start, uint32_t count)
{
    uint32_t flags = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER;
    return put_words(out, (const uint32_t[]){20, flags, index, start, count}, 5);
}

size_t vfuc_dma_map(uint8_t *out, uint64_t iova, uint64_t len)
{
    put_words(out, (const uint32_t[]){32, VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE}, 2);
    cif_put64(out + 8, 0);
    cif_put64(out + 16, iova);
    cif_put64(out + 24, len);
    return 32;
}

size_t vfuc_dma_unmap(uint8_t *out, uint64_t iova, uint64_t len)
{
    put_words(out, (const uint32_t[]){24, 0}, 2);
    cif_put64(out + 8, iova);
    cif_put64(out + 16, len);
    return 24;
}

size_t vfuc_region_access(uint8_t *out, uint32_t region, uint64_t off, uint32_t count)
{
    cif_put64(out, off);
    cif_put32(out + 8, region);
    cif_put32(out + 12, count);
    return 16;
}

/* --- answers -------------------------------------------------------------------------------------
 */

int vfuc_parse_version(const uint8_t *in, size_t len)
{
    if (len < 4 || cif_get16(in) != 0)
        return -EPROTO;
    return len > 4 && in[len - 1] != 0 ? -EPROTO : 0; /* we need nothing of its JSON */
}

int vfuc_parse_device_info(const uint8_t *in, size_t len, uint32_t *regions, uint32_t *irqs)
{
    if (len < 16 || !(cif_get32(in + 4) & VFIO_DEVICE_FLAGS_PCI))
        return -EPROTO;
    *regions = cif_get32(in + 8);
    *irqs = cif_get32(in + 12);
    return *regions <= VFIO_PCI_CONFIG_REGION_INDEX || *irqs <= VFIO_PCI_MSIX_IRQ_INDEX ? -EPROTO
                                                                                        : 0;
}

int vfuc_parse_region_info(const uint8_t *in, size_t len, uint32_t index, struct vfuc_region *r)
{
    if (len < 32 || cif_get32(in + 8) != index)
        return -EPROTO;
    r->flags = cif_get32(in + 4);
    r->index = index;
    r->size = cif_get64(in + 16);
    r->offset = cif_get64(in + 24);
    return r->size > (1ull << 32) || r->offset > (1ull << 40) ? -EPROTO : 0;
}

int vfuc_parse_irq_info(const uint8_t *in, size_t len, uint32_t index, uint32_t *count)
{
    if (len < 16 || cif_get32(in + 8) != index)
        return -EPROTO;
    *count = cif_get32(in + 4) & VFIO_IRQ_INFO_EVENTFD ? cif_get32(in + 12) : 0;
    return *count > 4096 ? -EPROTO : 0;
}

int vfuc_parse_region_read(const uint8_t *in, size_t len, uint32_t region, uint64_t off,
                           uint32_t count, const uint8_t **data)
{
    if (len != 16 + (size_t)count || cif_get64(in) != off || cif_get32(in + 8) != region ||
        cif_get32(in + 12) != count)
        return -EPROTO;
    *data = in + 16;
    return 0;
}
