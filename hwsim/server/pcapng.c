#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "hwsim/server/le.h"
#include "hwsim/server/pcapng.h"

struct pcapng {
    int fd;
};

enum { SECTION = 0x0a0d0d0a, INTERFACE = 1, PACKET = 6 };
enum { OPT_NAME = 2, OPT_TSRESOL = 9, OPT_FLAGS = 2 };

static size_t padded(size_t n)
{
    return (n + 3) & ~(size_t)3;
}

/* An option: code, length, value, padding. */
static size_t put_option(uint8_t *to, uint16_t code, const void *value, size_t len)
{
    le_put16(to, code);
    le_put16(to + 2, (uint16_t)len);
    memset(to + 4, 0, padded(len));
    memcpy(to + 4, value, len);
    return 4 + padded(len);
}

static size_t put_block(uint8_t *to, uint32_t type, size_t body)
{
    size_t len = 8 + body + 4;

    le_put32(to, type);
    le_put32(to + 4, (uint32_t)len);
    le_put32(to + 8 + body, (uint32_t)len);
    return len;
}

static int write_heads(int fd, const char *name)
{
    static const uint8_t nanoseconds = 9;
    uint8_t b[256];
    size_t n, at;

    le_put32(b + 8, 0x1a2b3c4d);
    le_put16(b + 12, 1);
    le_put16(b + 14, 0);
    le_put64(b + 16, UINT64_MAX); /* section length not known */
    at = put_block(b, SECTION, 16);
    le_put16(b + at + 8, 1); /* Ethernet */
    le_put16(b + at + 10, 0);
    le_put32(b + at + 12, 0); /* no limit */
    n = 8;
    n += put_option(b + at + 8 + n, OPT_NAME, name, strnlen(name, 64));
    n += put_option(b + at + 8 + n, OPT_TSRESOL, &nanoseconds, 1);
    n += put_option(b + at + 8 + n, 0, "", 0);
    at += put_block(b + at, INTERFACE, n);
    return write(fd, b, at) == (ssize_t)at ? 0 : -EIO;
}

struct pcapng *pcapng_open(const char *path, const char *interface)
{
    struct pcapng *p = calloc(1, sizeof(*p));

    if (!p)
        return NULL;
    p->fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (p->fd < 0 || write_heads(p->fd, interface) < 0) {
        pcapng_close(p);
        return NULL;
    }
    return p;
}

void pcapng_close(struct pcapng *p)
{
    if (!p)
        return;
    if (p->fd >= 0)
        close(p->fd);
    free(p);
}

int pcapng_write(struct pcapng *p, enum pcapng_dir dir, uint64_t wall_ns, const uint8_t *frame,
                 size_t len)
{
    union {
        const uint8_t *in;
        void *out;
    } data = {.in = frame}; /* writev only reads it */
    uint8_t head[28], tail[3 + 8 + 4 + 4], flags[4];
    size_t pad = padded(len) - len, body = 20 + padded(len) + 12, n;
    struct iovec iov[3] = {{head, sizeof(head)}, {data.out, len}, {tail, 0}};

    le_put32(head, PACKET);
    le_put32(head + 4, (uint32_t)(8 + body + 4));
    le_put32(head + 8, 0);
    le_put32(head + 12, (uint32_t)(wall_ns >> 32));
    le_put32(head + 16, (uint32_t)wall_ns);
    le_put32(head + 20, (uint32_t)len);
    le_put32(head + 24, (uint32_t)len);
    memset(tail, 0, sizeof(tail));
    le_put32(flags, dir);
    n = pad + put_option(tail + pad, OPT_FLAGS, flags, 4);
    n += 4; /* end of options */
    le_put32(tail + n, (uint32_t)(8 + body + 4));
    iov[2].iov_len = n + 4;
    n = sizeof(head) + len + iov[2].iov_len;
    return writev(p->fd, iov, 3) == (ssize_t)n ? 0 : -EIO;
}
