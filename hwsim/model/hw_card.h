/* The card as a pure model: registers, admin queue, SA table, packet rings, ESP, faults.
 *
 * No sockets, no clock, no threads, no globals: time comes in as `now` (nanoseconds of any clock
 * that never goes back; the daemon's is CLOCK_BOOTTIME), memory and wires are reached through
 * struct hw_bus. One thread at a time may be inside one card. Everything a host or a wire hands in
 * is checked as hostile input. Randomness (EPOCH's start, fault rates) comes from the seed alone,
 * so that a run replays exactly.
 *
 * What a caller does with it:
 *   card = hw_card_new(dtb, len, &bus, seed, now, &err);
 *   hw_pci_write(card, now, 4, &command, 2);              bus mastering on, else every DMA is
 * refused hw_reg_write(card, CIF_REG_CONTROL, …, now); …        bring-up, as the contract says
 * (4.2) next = hw_card_run(card, now);                        after doorbells, register writes,
 * frames and when `next` has come
 */
#ifndef SALLYPORT_HWSIM_HW_CARD_H
#define SALLYPORT_HWSIM_HW_CARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct hw_card;

#define HW_NEVER UINT64_MAX

/* The sizes of the PCI regions. BAR2 has one 4 KiB page for the admin queue and one for each packet
 * queue; hw_bar2_size() gives its size (a power of two). */
#define HW_BAR0_SIZE   0x20000u
#define HW_BAR4_SIZE   0x2000u
#define HW_CONFIG_SIZE 0x1000u

#define HW_PCI_VENDOR 0x1234u
#define HW_PCI_DEVICE 0x5350u

#define HW_FRAME_MAX 9728u /* longest Ethernet frame, header and VLAN tags included, no FCS */

/* The card's ways out. All are called only from inside a hw_… call on the same card, never from a
 * thread. dma_read/dma_write return 0 or -errno (-EFAULT: the address is not mapped); a failure
 * becomes a status or an event. The model calls them only while the host allows it (bus mastering
 * on, not in reset). irq may be NULL (a host that polls). */
struct hw_bus {
    void *ctx;
    int (*dma_read)(void *ctx, uint64_t iova, void *buf, size_t len);
    int (*dma_write)(void *ctx, uint64_t iova, const void *buf, size_t len);
    void (*irq)(void *ctx, unsigned vector);
    /* A whole frame leaves a wire port. 0: it left. -EAGAIN: the port is full, the card keeps the
     * descriptor and tries again at its next hw_card_run() (ring order holds). -ENETDOWN: no link,
     * the descriptor completes LINK_DOWN. */
    int (*wire_tx)(void *ctx, unsigned port, const uint8_t *frame, size_t len);
    /* The fault word `die` was given. The server exits at once; a simulation drops the card. May be
     * NULL. After it the card answers every register with ~0 and does nothing more. */
    void (*die)(void *ctx);
};

/* Makes a card of the shape that a flattened device tree describes (hwsim/cards/\*.dts, contract
 * section 5). The blob and the bus table are copied; `bus->ctx` must outlive the card. The card
 * starts as after power-up: READY, nothing set up. NULL on failure; *err then points to a static
 * sentence. */
struct hw_card *hw_card_new(const void *fdt, size_t fdt_len, const struct hw_bus *bus,
                            uint64_t seed, uint64_t now, const char **err);
void hw_card_free(struct hw_card *card);

unsigned hw_card_ports(const struct hw_card *card);
unsigned hw_card_vectors(const struct hw_card *card); /* MSI-X vectors */

/* BAR0: aligned 32-bit accesses; others read ~0 or are ignored (the server refuses them before). */
uint32_t hw_reg_read(struct hw_card *card, uint32_t offset, uint64_t now);
void hw_reg_write(struct hw_card *card, uint32_t offset, uint32_t value, uint64_t now);

/* BAR2, the doorbells: plain memory that the host writes at any time and the card looks at in
 * hw_card_run(). The card has memory of its own until hw_set_doorbells() gives it a mapping (page
 * aligned, at least hw_bar2_size() bytes, owned by the caller, must outlive the card). A host in
 * the same process writes little-endian 32-bit words at hw_doorbells() + offset with release order.
 */
size_t hw_bar2_size(const struct hw_card *card);
uint8_t *hw_doorbells(struct hw_card *card);
void hw_set_doorbells(struct hw_card *card, void *mem);

/* The rule of `doorbell-wake` (contract 4.5). hw_doorbells_rung: has a doorbell moved since the
 * last run? hw_card_sleep sets every `sleeping` word, fences and looks once more: false means that
 * a doorbell has moved, do not sleep. hw_card_wake clears the words; call it before the next run.
 */
bool hw_doorbells_rung(const struct hw_card *card);
bool hw_card_sleep(struct hw_card *card);
void hw_card_wake(struct hw_card *card);

/* BAR4: MSI-X table and pending bits, kept as memory. 0 or -EINVAL when outside. */
int hw_bar4_access(struct hw_card *card, uint64_t offset, void *buf, size_t len, bool write);

/* PCI configuration space, any length and alignment inside HW_CONFIG_SIZE. A write of the FLR bit
 * in PCIe device control is a level-F reset. 0 or -EINVAL when outside. */
int hw_pci_read(struct hw_card *card, uint32_t offset, void *buf, size_t len);
int hw_pci_write(struct hw_card *card, uint64_t now, uint32_t offset, const void *buf, size_t len);

/* A frame (Ethernet header on, no FCS) comes in from a wire port. It is copied. Frames that nobody
 * can take are dropped and counted (`dump stats`). Delivered by this call or by a later
 * hw_card_run(). */
void hw_card_wire_rx(struct hw_card *card, uint64_t now, unsigned port, const uint8_t *frame,
                     size_t len);
/* Link state of a port (up at the start): the LINK event; Tx on a port that is down completes
 * LINK_DOWN. */
void hw_card_set_link(struct hw_card *card, uint64_t now, unsigned port, bool up);

/* Does all work that is pending, a bounded piece at a time: admin queue, Tx rings, held Rx frames,
 * delayed completions, heartbeats, events. Returns when it wants to be called again if nothing
 * happens before: `now` means at once (there is more), HW_NEVER never. */
uint64_t hw_card_run(struct hw_card *card, uint64_t now);

/* Reset levels of contract 4.3 (level Q is the command Q_RESET). D is F for a card of one function;
 * P is power: like F, and EPOCH, FATAL registers and faults start anew. */
enum hw_reset { HW_RESET_A, HW_RESET_F, HW_RESET_D, HW_RESET_P };
void hw_card_reset(struct hw_card *card, enum hw_reset level, uint64_t now);

/* One line of the fault language or of the dumps, answered by a malloc'd JSON text without newline;
 * NULL only when memory is out. {"ok":true,…} or {"ok":false,"error":"…"}.
 *   fault add …     → {"ok":true,"id":N}            the grammar: hwsim/model/fault.h
 *   fault del ID|all, fault list
 *   dump sa         →
 * {"ok":true,"epoch":N,"sa":[{handle,dir,spi,cookie,state,src,dst,suite,mode,…}]} dump stats |
 * queues die No answer ever contains a key, a salt or an IV key. */
char *hw_card_ctl(struct hw_card *card, uint64_t now, const char *line);

#endif
