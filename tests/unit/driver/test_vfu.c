/* The vfio-user client: messages as octets, and a whole opening against answers prepared in the
 * socket, good and bad. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <sallyport/card_vfu.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "driver/transport/vfu_msg.h"

/* --- messages ------------------------------------------------------------------------------------
 */

static void headers(void **state)
{
    uint8_t b[VFUC_HEADER];
    struct vfuc_header h = {7, VFUC_REGION_READ, 100, VFUC_TYPE_REPLY, 0}, g;
    vfuc_put_header(b, &h);
    assert_int_equal(vfuc_get_header(b, &g), 0);
    assert_memory_equal(&h, &g, sizeof h);
    assert_int_equal(vfuc_check_reply(&g, 7, VFUC_REGION_READ), 0);
    assert_int_equal(vfuc_check_reply(&g, 8, VFUC_REGION_READ), -EPROTO);
    assert_int_equal(vfuc_check_reply(&g, 7, VFUC_REGION_WRITE), -EPROTO);
    g.flags |= VFUC_ERROR;
    g.error = EINVAL;
    assert_int_equal(vfuc_check_reply(&g, 7, VFUC_REGION_READ), -EINVAL);
    g.error = 0xffffffff;
    assert_int_equal(vfuc_check_reply(&g, 7, VFUC_REGION_READ), -EIO);
    h.size = VFUC_HEADER - 1;
    vfuc_put_header(b, &h);
    assert_int_equal(vfuc_get_header(b, &g), -EPROTO);
    h.size = 0xffffffff;
    vfuc_put_header(b, &h);
    assert_int_equal(vfuc_get_header(b, &g), -EPROTO);
}

static void answers(void **state)
{
    uint8_t b[64] = {0};
    uint32_t n, m;
    struct vfuc_region r;
    const uint8_t *p;
    assert_int_equal(vfuc_parse_version(b, 3), -EPROTO);
    assert_int_equal(vfuc_parse_version(b, 4), 0);
    b[0] = 1; /* another major version */
    assert_int_equal(vfuc_parse_version(b, 4), -EPROTO);
    assert_int_equal(vfuc_parse_device_info(b, 16, &n, &m), -EPROTO); /* not PCI */
    assert_int_equal(vfuc_parse_region_info(b, 31, 0, &r), -EPROTO);
    memset(b, 0xff, sizeof b);
    cif_put32(b + 8, 2);
    assert_int_equal(vfuc_parse_region_info(b, 32, 2, &r), -EPROTO); /* a region of 2^64 */
    assert_int_equal(vfuc_parse_irq_info(b, 16, 2, &n), -EPROTO);    /* 2^32 interrupts */
    vfuc_region_access(b, 0, 12, 4);
    assert_int_equal(vfuc_parse_region_read(b, 20, 0, 12, 4, &p), 0);
    assert_ptr_equal(p, b + 16);
    assert_int_equal(vfuc_parse_region_read(b, 19, 0, 12, 4, &p), -EPROTO);
    assert_int_equal(vfuc_parse_region_read(b, 20, 0, 16, 4, &p), -EPROTO);
    assert_int_equal(vfuc_parse_region_read(b, 20, 1, 12, 4, &p), -EPROTO);
}

/* --- a server that has answered before it is asked
 * -------------------------------------------------- */

struct server {
    int fd, client;
    uint16_t id;
};

static void begin(struct server *s)
{
    int sp[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sp), 0);
    *s = (struct server){sp[1], sp[0], 0};
}

static void say(struct server *s, uint16_t command, const void *body, size_t len, int pass)
{
    uint8_t m[VFUC_HEADER + 128];
    char ctl[CMSG_SPACE(sizeof(int))] = {0};
    struct iovec iov = {m, VFUC_HEADER + len};
    struct msghdr h = {.msg_iov = &iov, .msg_iovlen = 1};
    struct vfuc_header head = {s->id++, command, (uint32_t)(VFUC_HEADER + len), VFUC_TYPE_REPLY, 0};
    vfuc_put_header(m, &head);
    if (len)
        memcpy(m + VFUC_HEADER, body, len);
    if (pass >= 0) {
        h.msg_control = ctl;
        h.msg_controllen = sizeof ctl;
        struct cmsghdr *c = CMSG_FIRSTHDR(&h);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(c), &pass, sizeof pass);
    }
    assert_int_equal(sendmsg(s->fd, &h, 0), VFUC_HEADER + len);
}

static void words(struct server *s, uint16_t command, unsigned n, const uint32_t *v, int pass)
{
    uint8_t b[64];
    for (unsigned i = 0; i < n; i++)
        cif_put32(b + 4 * (size_t)i, v[i]);
    say(s, command, b, 4 * (size_t)n, pass);
}

static void region(struct server *s, uint32_t index, uint32_t flags, uint32_t size, int pass)
{
    words(s, VFUC_REGION_INFO, 8, (uint32_t[]){32, flags, index, 0, size, 0, 0, 0}, pass);
}

static void say_access(struct server *s, uint16_t command, uint32_t reg, uint64_t off, uint32_t n,
                       uint32_t value)
{
    uint8_t b[20];
    vfuc_region_access(b, reg, off, n);
    cif_put32(b + 16, value);
    say(s, command, b, command == VFUC_REGION_READ ? 20 : 16, -1);
}

static int memory(size_t len, bool sealed)
{
    int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, (off_t)len), 0);
    if (sealed)
        assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK), 0);
    return fd;
}

/* An opening without interrupts; the doorbell region of `size` octets in a file of `file`, sealed
 * against shrinking or not. */
static void opening(struct server *s, uint32_t size, size_t file, bool sealed)
{
    int fd = memory(file, sealed);
    begin(s);
    say(s, VFUC_VERSION, "\0\0\1\0{}", 7, -1);
    words(s, VFUC_DEVICE_GET_INFO, 4, (uint32_t[]){16, 3, 9, 5}, -1);
    region(s, 0, 3, CIF_BAR0_SIZE, -1);
    say_access(s, VFUC_REGION_WRITE, 7, 4, 2, 0);
    region(s, 2, 7, size, fd);
    close(fd);
}

static void opens(void **state)
{
    struct server s;
    struct card_vfu *v;
    struct card_bus bus;
    char why[CARD_REASON_MAX];
    uint32_t value = 0;
    opening(&s, 8192, 8192, true);
    say_access(&s, VFUC_REGION_READ, 0, CIF_REG_EPOCH, 4, 99);
    assert_int_equal(card_vfu_open(s.client, 0, &v, why), 0);
    card_vfu_bus(v, &bus);
    assert_non_null(bus.doorbells);
    assert_int_equal(bus.doorbells_len, 8192);
    assert_false(bus.alive(bus.ctx)); /* it answered what nobody had asked */
    assert_int_equal(bus.reg_read(bus.ctx, CIF_REG_EPOCH, &value), -EPIPE);
    card_vfu_close(v);
    close(s.fd);
}

static void reads_registers(void **state)
{
    struct server s;
    struct card_vfu *v;
    struct card_bus bus;
    char why[CARD_REASON_MAX];
    uint32_t value = 0;
    opening(&s, 8192, 8192, true);
    assert_int_equal(card_vfu_open(s.client, 0, &v, why), 0);
    card_vfu_bus(v, &bus);
    assert_true(bus.alive(bus.ctx));
    say_access(&s, VFUC_REGION_READ, 0, CIF_REG_EPOCH, 4, 99);
    assert_int_equal(bus.reg_read(bus.ctx, CIF_REG_EPOCH, &value), 0);
    assert_int_equal(value, 99);
    assert_int_equal(bus.reg_write(bus.ctx, CIF_REG_WAKE, 1), 0); /* wants no answer */
    close(s.fd);
    assert_false(bus.alive(bus.ctx));
    assert_int_equal(bus.reg_read(bus.ctx, CIF_REG_EPOCH, &value), -EPIPE);
    card_vfu_close(v);
}

static void unsafe_file_is_not_mapped(void **state)
{
    struct server s;
    struct card_vfu *v;
    struct card_bus bus;
    char why[CARD_REASON_MAX];
    for (int i = 0; i < 2; i++) { /* too short, or free to get shorter */
        opening(&s, 8192, i ? 8192 : 4096, !i);
        assert_int_equal(card_vfu_open(s.client, 0, &v, why), 0);
        card_vfu_bus(v, &bus);
        assert_null(bus.doorbells);
        card_vfu_close(v);
        close(s.fd);
    }
}

static void late_answer(void **state)
{
    struct server s;
    struct card_vfu *v;
    struct card_bus bus;
    char why[CARD_REASON_MAX];
    uint32_t value;
    opening(&s, 8192, 8192, true);
    assert_int_equal(card_vfu_open(s.client, 0, &v, why), 0);
    card_vfu_bus(v, &bus);
    card_vfu_deadline(v, 20);
    assert_int_equal(bus.reg_read(bus.ctx, CIF_REG_EPOCH, &value), -ETIMEDOUT);
    assert_false(bus.alive(bus.ctx));
    card_vfu_close(v);
    close(s.fd);
}

static void small_registers(void **state)
{
    struct server s;
    struct card_vfu *v;
    char why[CARD_REASON_MAX];
    begin(&s);
    say(&s, VFUC_VERSION, "\0\0\1\0{}", 7, -1);
    words(&s, VFUC_DEVICE_GET_INFO, 4, (uint32_t[]){16, 3, 9, 5}, -1);
    region(&s, 0, 3, 4096, -1);
    assert_int_equal(card_vfu_open(s.client, 0, &v, why), -EPROTO);
    assert_non_null(strstr(why, "BAR0"));
    close(s.fd);
}

static void closed_at_once(void **state)
{
    struct server s;
    struct card_vfu *v;
    char why[CARD_REASON_MAX];
    begin(&s);
    close(s.fd);
    assert_int_equal(card_vfu_open(s.client, 0, &v, why), -EPIPE);
    assert_non_null(strstr(why, "handshake"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(headers),
        cmocka_unit_test(answers),
        cmocka_unit_test(opens),
        cmocka_unit_test(reads_registers),
        cmocka_unit_test(unsafe_file_is_not_mapped),
        cmocka_unit_test(late_answer),
        cmocka_unit_test(small_registers),
        cmocka_unit_test(closed_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
