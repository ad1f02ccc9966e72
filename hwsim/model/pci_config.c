/* PCI configuration space: a type 0 header, power management, MSI-X and PCI Express capabilities.
 */
#include <errno.h>

#include "hwsim/model/internal.h"

enum {
    COMMAND = 0x04,
    STATUS = 0x06,
    BAR = 0x10,
    CAP_PM = 0x40,
    CAP_MSIX = 0x50,
    CAP_PCIE = 0x60,
    PMCSR = CAP_PM + 4,
    MSIX_CTL = CAP_MSIX + 2,
    DEVCTL = CAP_PCIE + 8,
    COMMAND_MASTER = 0x04,
    DEVCTL_FLR = 0x8000,
};

/* One register: offset, octets, value after reset, bits that the host may write. */
static const struct {
    uint16_t at;
    uint8_t size;
    uint32_t value, mask;
} rows[] = {
    {0x00, 2, CIF_PCI_VENDOR, 0},
    {0x02, 2, CIF_PCI_DEVICE, 0},
    {COMMAND, 2, 0, 0x0546},              /* memory, master, parity, SERR, INTx off */
    {STATUS, 2, 0x0010, 0},               /* capability list */
    {0x08, 4, CIF_PCI_CLASS << 8 | 1, 0}, /* class, revision */
    {0x0c, 1, 0, 0xff},                   /* cache line */
    {0x2c, 2, CIF_PCI_VENDOR, 0},
    {0x2e, 2, CIF_PCI_DEVICE, 0},
    {0x34, 1, CAP_PM, 0},
    {0x3c, 1, 0, 0xff},                                /* interrupt line; no INTx pin */
    {CAP_PM, 4, 0x0003u << 16 | CAP_MSIX << 8 | 1, 0}, /* version 3: D0 and D3hot */
    {PMCSR, 2, 0x0008, 0x0003},                        /* No_Soft_Reset */
    {CAP_MSIX, 2, CAP_PCIE << 8 | 0x11, 0},
    {MSIX_CTL, 2, 0, 0xc000},                     /* size filled in: enable, mask all */
    {CAP_MSIX + 4, 4, CIF_MSIX_TABLE_OFF | 4, 0}, /* in BAR4 */
    {CAP_MSIX + 8, 4, CIF_MSIX_PBA_OFF | 4, 0},
    {CAP_PCIE, 4, 0x0002u << 16 | 0x10, 0}, /* version 2, endpoint */
    {CAP_PCIE + 4, 4, 0x10008001, 0},       /* FLR, 256 octets */
    {DEVCTL, 2, 0x2810, 0x78ff},            /* FLR reads 0 */
    {CAP_PCIE + 12, 4, 0x00000143, 0},      /* link: x4, 8 GT/s */
    {CAP_PCIE + 0x12, 2, 0x0043, 0},
    {CAP_PCIE + 0x28, 2, 0, 0x001f},
};

static void put(uint8_t *p, uint32_t v, unsigned size)
{
    unsigned i;

    for (i = 0; i < size; i++)
        p[i] = (uint8_t)(v >> 8 * i);
}

/* A 64-bit memory BAR: the address bits below its size cannot be written, so that writing ones
 * tells the size. */
static void put_bar(struct hw_pci *p, unsigned n, uint64_t size)
{
    put(p->value + BAR + 4 * n, 0x4, 4);
    put(p->mask + BAR + 4 * n, (uint32_t) ~(size - 1), 4);
    put(p->mask + BAR + 4 * n + 4, 0xffffffff, 4);
}

static void set_rows(struct hw_card *c)
{
    struct hw_pci *p = &c->pci;
    unsigned vectors = c->shape.vectors, i;

    memset(p, 0, sizeof(*p));
    for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        put(p->value + rows[i].at, rows[i].value, rows[i].size);
        put(p->mask + rows[i].at, rows[i].mask, rows[i].size);
    }
    put_bar(p, 0, HW_BAR0_SIZE);
    put_bar(p, 2, hw_bar2_size(c));
    put_bar(p, 4, HW_BAR4_SIZE);
    put(p->value + MSIX_CTL, vectors ? vectors - 1 : 0, 2);
    if (!vectors) /* no interrupts: the chain leaves MSI-X out */
        p->value[CAP_PM + 1] = CAP_PCIE;
}

void hw_pci_init(struct hw_card *c)
{
    set_rows(c);
}

void hw_pci_flr(struct hw_card *c)
{
    set_rows(c);
    memset(c->bar4, 0, sizeof(c->bar4));
}

bool hw_pci_may_dma(const struct hw_card *c)
{
    return (c->pci.value[COMMAND] & COMMAND_MASTER) && !(c->pci.value[PMCSR] & 3);
}

int hw_pci_read(struct hw_card *card, uint32_t offset, void *buf, size_t len)
{
    if (offset > HW_CONFIG_SIZE || len > HW_CONFIG_SIZE - offset)
        return -EINVAL;
    if (card->dead)
        memset(buf, 0xff, len);
    else
        memcpy(buf, card->pci.value + offset, len);
    return 0;
}

int hw_pci_write(struct hw_card *card, uint64_t now, uint32_t offset, const void *buf, size_t len)
{
    const uint8_t *in = buf;
    struct hw_pci *p = &card->pci;
    bool flr = false;
    size_t i;

    if (offset > HW_CONFIG_SIZE || len > HW_CONFIG_SIZE - offset)
        return -EINVAL;
    if (card->dead)
        return 0;
    for (i = 0; i < len; i++) {
        uint8_t *v = &p->value[offset + i], m = p->mask[offset + i];

        *v = (uint8_t)((*v & ~m) | (in[i] & m));
        flr = flr || (offset + i == DEVCTL + 1 && (in[i] & DEVCTL_FLR >> 8));
    }
    if (flr) {
        hw_card_reset(card, HW_RESET_F, now);
        hw_pci_flr(card);
    }
    return 0;
}

int hw_bar4_access(struct hw_card *card, uint64_t offset, void *buf, size_t len, bool write)
{
    if (offset > HW_BAR4_SIZE || len > HW_BAR4_SIZE - offset)
        return -EINVAL;
    if (card->dead)
        memset(buf, 0xff, write ? 0 : len);
    else if (write)
        memcpy(card->bar4 + offset, buf, len);
    else
        memcpy(buf, card->bar4 + offset, len);
    return 0;
}
