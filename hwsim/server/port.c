/* What all wire ports share: the specification, the capture, patience with a full wire. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "hwsim/server/port.h"

static const struct port_ops *const kinds[] = {&port_link_ops, &port_if_ops};

static uint64_t wall_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_REALTIME, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static const struct port_ops *kind_of(const char *spec)
{
    size_t i;

    for (i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
        if (!strncmp(spec, kinds[i]->prefix, strlen(kinds[i]->prefix)))
            return kinds[i];
    return NULL;
}

static int open_parts(struct port *p, const char *spec, char *err, size_t cap)
{
    char name[256], *comma;

    p->ops = kind_of(spec);
    if (!p->ops || strlen(spec) >= sizeof(name)) {
        snprintf(err, cap, "port '%s': link:PATH or if:NAME, either with ,pcap=FILE", spec);
        return -EINVAL;
    }
    strcpy(name, spec + strlen(p->ops->prefix));
    comma = strchr(name, ',');
    if (comma && strncmp(comma, ",pcap=", 6)) {
        snprintf(err, cap, "port '%s': behind the comma only pcap=FILE is known", spec);
        return -EINVAL;
    }
    if (comma) {
        *comma = 0;
        p->pcap = pcapng_open(comma + 6, spec);
        if (!p->pcap) {
            snprintf(err, cap, "capture '%s': %s", comma + 6, strerror(errno));
            return -EIO;
        }
    }
    return p->ops->open(p, name, err, cap);
}

struct port *port_open(unsigned number, const char *spec, const struct port_user *user, char *err,
                       size_t err_cap)
{
    struct port *p = calloc(1, sizeof(*p));

    snprintf(err, err_cap, "no memory");
    if (!p)
        return NULL;
    p->number = number;
    p->user = *user;
    p->fd = p->listen = p->lock = -1;
    p->up = true; /* as the card believes at its start */
    p->buf_cap = 1u << 17;
    p->buf = malloc(p->buf_cap);
    if (!p->buf || open_parts(p, spec, err, err_cap) < 0) {
        port_close(p);
        return NULL;
    }
    return p;
}

void port_close(struct port *p)
{
    if (!p)
        return;
    if (p->ops)
        p->ops->close(p);
    pcapng_close(p->pcap);
    free(p->buf);
    free(p);
}

/* Names a frame that waits for the wire: it comes again, or its ring was reset and another comes.
 */
static uint64_t hash_of(const uint8_t *frame, size_t len)
{
    uint64_t h = 14695981039346656037u + len;

    while (len--)
        h = (h ^ *frame++) * 1099511628211u;
    return h ? h : 1;
}

/* Into the capture first: a process that dies between the two has captured what it may have sent.
 */
int port_send(struct port *p, uint64_t now, const uint8_t *frame, size_t len)
{
    int err;

    if (p->fd < 0)
        return -ENETDOWN;
    if (p->pcap && (!p->captured || p->captured != hash_of(frame, len)))
        pcapng_write(p->pcap, PCAPNG_OUT, wall_ns(), frame, len);
    p->captured = 0;
    err = p->ops->send(p, frame, len);
    if (err == -EAGAIN) {
        if (!p->full_since)
            p->full_since = now;
        if (now - p->full_since < PORT_PATIENCE_NS) {
            p->captured = hash_of(frame, len);
            return -EAGAIN;
        }
        p->tx_dropped++;
        err = -ENETDOWN; /* it may have left, for all the host can know: LINK_DOWN */
    } else {
        p->full_since = 0;
    }
    return err;
}

void port_received(struct port *p, const uint8_t *frame, size_t len)
{
    if (p->pcap)
        pcapng_write(p->pcap, PCAPNG_IN, wall_ns(), frame, len);
    p->user.rx(p->user.ctx, p->number, frame, len);
}

void port_link(struct port *p, bool up)
{
    if (p->up == up)
        return;
    p->up = up;
    p->user.link(p->user.ctx, p->number, up);
}
