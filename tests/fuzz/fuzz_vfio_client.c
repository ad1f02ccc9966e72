/* A hostile vfio-user server: its answers, wrapped in headers that mostly fit the client's
 * questions, are in the socket before the client asks. Each: length, change of the flags, body. */
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <sallyport/card_vfu.h>

#include "driver/transport/vfu_msg.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static const uint16_t asked[] = {VFUC_VERSION,      VFUC_DEVICE_GET_INFO, VFUC_REGION_INFO,
                                 VFUC_REGION_WRITE, VFUC_REGION_INFO,     VFUC_IRQ_INFO,
                                 VFUC_SET_IRQS,     VFUC_REGION_READ,     VFUC_REGION_READ,
                                 VFUC_DMA_MAP,      VFUC_DMA_UNMAP};

static void send_answer(int fd, const uint8_t *msg, size_t len, int pass)
{
    char ctl[CMSG_SPACE(sizeof(int))] = {0};
    uint8_t copy[512];
    struct iovec iov = {copy, len};
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
    memcpy(copy, msg, len);
    if (pass >= 0) {
        m.msg_control = ctl;
        m.msg_controllen = sizeof ctl;
        struct cmsghdr *c = CMSG_FIRSTHDR(&m);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(c), &pass, sizeof pass);
    }
    (void)!sendmsg(fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void send_all(int fd, const uint8_t *data, size_t len)
{
    uint8_t msg[VFUC_HEADER + 256];
    int mem = memfd_create("fuzz", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (mem >= 0 && (ftruncate(mem, 8192) || fcntl(mem, F_ADD_SEALS, F_SEAL_SHRINK)))
        len = 0;
    for (unsigned i = 0; len >= 2; i++) {
        size_t n = data[0] < len - 2 ? data[0] : len - 2;
        struct vfuc_header h = {(uint16_t)i, asked[i % (sizeof asked / sizeof asked[0])],
                                (uint32_t)(VFUC_HEADER + n), VFUC_TYPE_REPLY ^ data[1], data[1]};
        vfuc_put_header(msg, &h);
        memcpy(msg + VFUC_HEADER, data + 2, n);
        send_answer(fd, msg, VFUC_HEADER + n, i == 4 ? mem : -1);
        data += 2 + n;
        len -= 2 + n;
    }
    if (mem >= 0)
        close(mem);
}

static void use(struct card_vfu *v)
{
    struct card_bus bus;
    struct card_dma mem = {0};
    uint8_t block[64];
    uint32_t word;
    card_vfu_bus(v, &bus);
    if (bus.doorbells)
        bus.doorbells[bus.doorbells_len - 1] = 1; /* the whole mapping is there */
    (void)bus.reg_read(bus.ctx, CIF_REG_STATUS, &word);
    (void)bus.reg_read_block(bus.ctx, CIF_BAR0_FDT_OFF, block, sizeof block);
    if (!bus.dma_alloc(bus.ctx, 4096, &mem))
        bus.dma_free(bus.ctx, &mem);
    (void)bus.alive(bus.ctx);
    (void)bus.reg_write(bus.ctx, CIF_REG_WAKE, 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    char why[CARD_REASON_MAX];
    struct card_vfu *v;
    int sp[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sp))
        return 0;
    send_all(sp[1], data, len < 4096 ? len : 4096);
    shutdown(sp[1], SHUT_WR); /* the client sees the end instead of waiting */
    if (!card_vfu_open(sp[0], 4, &v, why)) {
        use(v);
        card_vfu_close(v);
    }
    close(sp[1]);
    return 0;
}
