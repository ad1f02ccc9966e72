/* The vfio-user server against a hostile client: messages, and the memory and doorbells it
 * controls. The input is a row of pieces, each with a kind octet and a 16-bit length: 0 a message
 * (its header's size is mended, so that the fuzzer gets past it) 1 octets written into the mapped
 * memory at a 32-bit offset 2 a doorbell: page, offset, value 3 time passes, and the card runs 4 a
 * frame from the wire 5 a control line */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "firmware-if/card_if.h"
#include "hwsim/server/le.h"
#include "hwsim/server/server.h"
#include "hwsim/server/vfu.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MEM = 1 << 18, BASE = 0x10000 };

static uint64_t clock_ns;
static struct vfu v;
static int mem_fd = -1;
static uint8_t *mem;

static uint64_t fuzz_now(void *ctx)
{
    return clock_ns;
}

static int fuzz_send(void *ctx, const uint8_t *msg, size_t len, int fd)
{
    if (len < VFU_HEADER || le_get32(msg + 4) != len)
        abort();
    return 0;
}

static int bus_read(void *ctx, uint64_t iova, void *buf, size_t len)
{
    return dma_map_read(&v.dma, iova, buf, len);
}

static int bus_write(void *ctx, uint64_t iova, const void *buf, size_t len)
{
    return dma_map_write(&v.dma, iova, buf, len);
}

static void bus_irq(void *ctx, unsigned vector)
{
    vfu_irq(&v, vector);
}

static int bus_wire(void *ctx, unsigned port, const uint8_t *frame, size_t len)
{
    static unsigned n;

    return n++ % 7 ? 0 : -11;
}

/* Once: the memory, the card, the server. */
static void make_all(void)
{
    struct hw_bus bus = {NULL, bus_read, bus_write, bus_irq, bus_wire, NULL};
    const char *err;
    size_t len;
    void *blob = shape_load("hwsim/cards/small.dts", &len);

    mem_fd = memfd_create("fuzz", MFD_CLOEXEC);
    if (!blob || mem_fd < 0 || ftruncate(mem_fd, MEM) < 0)
        abort();
    mem = mmap(NULL, MEM, PROT_READ | PROT_WRITE, MAP_SHARED, mem_fd, 0);
    v.card = hw_card_new(blob, len, &bus, 1, clock_ns, &err);
    v.bar2_fd = -1;
    v.now = fuzz_now;
    v.send = fuzz_send;
    if (!v.card || vfu_init(&v) < 0)
        abort();
    free(blob);
}

/* Each input meets a card just switched on. */
static void set_up(void)
{
    uint8_t master[2] = {6, 0};

    if (mem_fd < 0)
        make_all();
    clock_ns = 1000000;
    hw_card_reset(v.card, HW_RESET_P, clock_ns);
    memset(hw_doorbells(v.card), 0, hw_bar2_size(v.card));
    memset(mem, 0, 0x8000);
    dma_map_add(&v.dma, BASE, MEM, 3, mem_fd, 0);
    hw_pci_write(v.card, clock_ns, 4, master, 2);
}

/* The card RUNNING with its three admin rings in the memory, so that what the fuzzer writes there
 * counts. */
static void bring_up(void)
{
    static const uint32_t regs[][2] = {
        {CIF_REG_CONTROL, CIF_CONTROL_ACK | CIF_CONTROL_DRIVER | CIF_CONTROL_FEATURES_OK},
        {CIF_REG_ASQ_LO, BASE},
        {CIF_REG_ASQ_SIZE, 16},
        {CIF_REG_ACQ_LO, BASE + 0x1000},
        {CIF_REG_ACQ_SIZE, 16},
        {CIF_REG_EVQ_LO, BASE + 0x2000},
        {CIF_REG_EVQ_SIZE, 16},
        {CIF_REG_CONTROL, CIF_CONTROL_RUN},
    };
    size_t i;

    for (i = 0; i < sizeof(regs) / sizeof(regs[0]); i++)
        hw_reg_write(v.card, regs[i][0], regs[i][1], clock_ns);
}

static void on_message(const uint8_t *p, size_t n)
{
    uint8_t msg[VFU_HEADER + 4096] = {0};
    int fd = -1;

    if (n > 4096)
        return;
    memcpy(msg, p, n);
    if (n < VFU_HEADER)
        n = VFU_HEADER;
    le_put32(msg + 4, (uint32_t)n);
    le_put32(msg + 8, le_get32(msg + 8) & (VFU_NO_REPLY | VFU_TYPE));
    if (msg[0] & 1)
        fd = fcntl(mem_fd, F_DUPFD_CLOEXEC, 10);
    vfu_message(&v, msg, n, &fd, fd >= 0);
}

static void on_memory(const uint8_t *p, size_t n)
{
    uint32_t at = n >= 4 ? le_get32(p) % MEM : 0;

    if (n > 4 && n - 4 <= MEM - at)
        memcpy(mem + at, p + 4, n - 4);
}

static void on_doorbell(const uint8_t *p, size_t n)
{
    if (n >= 6)
        cif_put32(hw_doorbells(v.card) + (p[0] % 17u) * CIF_DB_PAGE_SIZE + (p[1] & 12u),
                  le_get32(p + 2));
}

static void on_time(const uint8_t *p, size_t n)
{
    unsigned i;

    clock_ns += n ? (uint64_t)p[0] * 1000000 : 1000;
    v.inside = true;
    for (i = 0; i < 16 && hw_card_run(v.card, clock_ns) <= clock_ns; i++)
        ;
    vfu_settle(&v);
}

static void on_frame(const uint8_t *p, size_t n)
{
    hw_card_wire_rx(v.card, clock_ns, 0, p, n);
}

static void on_line(const uint8_t *p, size_t n)
{
    char text[256] = {0};

    memcpy(text, p, n < sizeof(text) ? n : sizeof(text) - 1);
    free(hw_card_ctl(v.card, clock_ns, text));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const on[])(const uint8_t *p, size_t n) = {on_message, on_memory, on_doorbell,
                                                             on_time,    on_frame,  on_line};

    set_up();
    if (size && data[0] & 0x80)
        bring_up();
    while (size >= 3) {
        size_t n = le_get16(data + 1);
        unsigned kind = data[0] & 7;

        data += 3;
        size -= 3;
        if (n > size)
            n = size;
        if (kind < sizeof(on) / sizeof(on[0]))
            on[kind](data, n);
        data += n;
        size -= n;
    }
    vfu_disconnect(&v);
    return 0;
}
