/* Wire ports of a card that is a program: where its frames go and come from. */
#ifndef SALLYPORT_HWSIM_PORT_H
#define SALLYPORT_HWSIM_PORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hwsim/model/hw_card.h"
#include "hwsim/server/pcapng.h"

struct port;

/* What a port hands to its owner. */
struct port_user {
    void *ctx;
    void (*rx)(void *ctx, unsigned port, const uint8_t *frame, size_t len);
    void (*link)(void *ctx, unsigned port, bool up);
    /* The descriptor to watch changed (-1: none now); events are EPOLLIN and friends. */
    int (*watch)(void *ctx, unsigned port, int fd, uint32_t events);
};

struct port_ops {
    const char *prefix; /* "link:" or "if:" */
    int (*open)(struct port *p, const char *name, char *err, size_t err_cap);
    void (*close)(struct port *p);
    /* The watched descriptor is ready. */
    void (*ready)(struct port *p, uint32_t events);
    /* 0, -EAGAIN (full), -ENETDOWN (nobody there). */
    int (*send)(struct port *p, const uint8_t *frame, size_t len);
    /* Called about every 10 ms: for reconnecting. */
    void (*tick)(struct port *p);
};

struct port {
    const struct port_ops *ops;
    struct port_user user;
    unsigned number;
    int fd;     /* frames */
    int listen; /* link: the listening socket, or -1 */
    int lock;   /* link: who listens is who holds this lock */
    bool up;    /* link state as told to the user */
    char path[108];
    char ifname[16];
    bool ipv6_was_on, deaf;
    struct pcapng *pcap;
    uint64_t full_since; /* the wire has been full since; 0: it is not */
    uint64_t captured;   /* hash of a frame that waits and is in the capture already; 0: none */
    uint64_t tx_dropped; /* frames given up because the wire stayed full */
    uint8_t *buf;        /* a frame, or an IP super-packet */
    size_t buf_cap;
    uint8_t mac[6]; /* of the interface, when there is one */
};

/* spec: "link:PATH" or "if:NAME", either with ",pcap=FILE". NULL with a sentence in err. */
struct port *port_open(unsigned number, const char *spec, const struct port_user *user, char *err,
                       size_t err_cap);
void port_close(struct port *p);

/* For struct hw_bus.wire_tx: captures, sends. A wire that stays full for longer than PORT_PATIENCE
 * loses the frame, counted: a peer that does not read is a peer that is not there. */
#define PORT_PATIENCE_NS 5000000u
int port_send(struct port *p, uint64_t now, const uint8_t *frame, size_t len);

/* For the implementations. */
void port_received(struct port *p, const uint8_t *frame, size_t len);
void port_link(struct port *p, bool up);
extern const struct port_ops port_link_ops, port_if_ops;

/* port_if.c: makes one frame, or many, of what a packet socket with a vnet header gives:
 * super-packets are cut, partial checksums completed. Public for its test. */
struct vnet {
    uint8_t flags, gso_type;
    uint16_t hdr_len, gso_size, csum_start, csum_offset;
};
int vnet_frames(const struct vnet *v, uint8_t *data, size_t len,
                void (*emit)(void *ctx, const uint8_t *frame, size_t len), void *ctx);

/* deaf.c: the host's own stack must not see what the wire carries. 0 or -errno, a sentence in err.
 */
int deaf_make(struct port *p, char *err, size_t err_cap);
void deaf_undo(struct port *p);

#endif
