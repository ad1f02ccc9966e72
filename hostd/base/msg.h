/* Messages between the daemon's processes (design, section 5): SOCK_SEQPACKET, at most 64 KiB each,
 * header type u16, version u16, length u32, id u32 (host order: the socket never leaves the
 * machine), descriptors beside it. What a less trusted process sends is checked like network input.
 */
#ifndef SALLYPORT_MSG_H
#define SALLYPORT_MSG_H

#include <stddef.h>
#include <stdint.h>

enum proc { /* the process table of the design; rows in main/process.c */
            PROC_PARENT = 0,
            PROC_IKE,
            PROC_KEYS,
            PROC_FETCH,
            PROC_DATA,
            PROC_CONTROL,
            PROC_COUNT
};
const char *proc_name(enum proc p);

enum { MSG_VERSION = 1, MSG_HEADER = 12, MSG_MAX = 65536, MSG_FDS = 4 };

enum msg_type {
    MSG_PEER = 1, /* parent → child: struct msg_arg (enum proc): fds[0] is a pair's end to that
                     process; replaces an older one */
    MSG_CONFIG, /* parent → child: the whole checked configuration as JSON in a sealed memfd of its
                   own (fds[0], size by fstat, read from offset 0), no body (config.h) */
    MSG_FD,     /* parent → data, control: struct msg_fd, fds[0] */
    MSG_FD_GONE, /* parent → data: struct msg_fd: what was opened under that name is closed */
    MSG_START,   /* parent → data: all descriptors for this configuration are there */
    MSG_READY,   /* child → parent: it serves */
    MSG_STOP,    /* parent → child: struct msg_arg, enum msg_stop */
    MSG_LOG,     /* any → control: a JSON log record (log.h) */
    MSG_CALL, /* control → owner: JSON {"method":…, "params":…}; fds: what a client passed on */
    MSG_REPLY, /* owner → control: JSON {"result":…} or {"error":…}, "more": true = pages follow */
    MSG_EVENT,     /* owner → control: JSON {"topic":…, …} for subscribers */
    MSG_CARD_GONE, /* data → parent: struct msg_fd (name): close, watch its address, open anew */
    MSG_PORT_WANT, /* data → parent: struct msg_fd: open (arg 1) or close (arg 0) a standby port */
    MSG_PROBE,     /* data → parent: struct msg_probe: resolve a neighbour */
    MSG_RELOAD,    /* control → parent: reload the configuration; the answer is MSG_REPLY */
    MSG_ADMIN,     /* control → parent: JSON {"method": "status" | "stop" | "start" | "release" |
                      "reload"}; the answer is MSG_REPLY with the same id */
    MSG_PORT_INFO, /* data → parent: struct msg_port_info: what a card's port told of itself */
    MSG_TYPES
};

struct msg_arg {
    uint32_t arg;
};

/* A stop of IPsec is not the end of a process: data lets its SAs go and forwards by each
 * interface's after-stop (its configuration says which; the argument says it for all).
 * MSG_STOP_END: finish in order and exit 0; also what a closed channel means. */
enum msg_stop { MSG_STOP_DISCARD = 0, MSG_STOP_PASS = 1, MSG_STOP_END = 2 };

/* Kinds of descriptor that the parent opens for data, and (CONTROL, LOG) for control. */
enum msg_fd_kind {
    MSG_FD_TAP = 1, /* a TAP queue, IFF_VNET_HDR; name = interface */
    MSG_FD_CARD,    /* a connected vfio-user socket; name = card */
    MSG_FD_PACKET,  /* an AF_PACKET socket bound to the wire, PACKET_VNET_HDR; name = port */
    MSG_FD_STATE,   /* the memfd of SA state; arg 1 = adopt */
    MSG_FD_NETLINK, /* a NETLINK_ROUTE socket, bound to link, address, route, neighbour groups */
    MSG_FD_CONTROL, /* → control: the listening control socket; arg = the group that may read,
                       ifindex = the group that may change (UINT32_MAX: none) */
    MSG_FD_LOG, /* → control: a log file, O_APPEND; arg 1 = two-line form, 2 = JSON, 3 = standard
                   error, two-line form (-f); replaces the one before. Control asks for a new one by
                   MSG_ADMIN {"method": "log.rotate"} */
};

struct msg_fd {
    uint32_t kind;
    uint32_t arg;
    char name[64];      /* NUL-terminated */
    char interface[64]; /* the interface record it serves */
    uint8_t mac[6];     /* of the wire, where there is one */
    uint16_t mtu;
    uint32_t ifindex;
};

struct msg_probe {
    char interface[64];
    uint8_t family; /* 4 or 6 */
    uint8_t pad[3];
    uint8_t addr[16];
};

struct msg {
    uint16_t type;
    uint32_t id;
    size_t len;
    uint8_t *body; /* points into the receiver's buffer; valid until the next msg_recv on it */
    int fds[MSG_FDS];
    unsigned n_fds;
};

struct msg_port_info {
    char interface[64];
    uint8_t mac[6];
    uint16_t mtu; /* of the wire, 0 unknown */
};

/* A channel end with its own receive buffer. The socket is non-blocking. */
struct msg_chan;
int msg_chan_new(struct msg_chan **out, int fd); /* takes the descriptor */
void msg_chan_free(struct msg_chan *c);          /* closes it; NULL is fine */
int msg_chan_fd(const struct msg_chan *c);
/* Both ends, SOCK_SEQPACKET | NONBLOCK | CLOEXEC. 0 or -errno. */
int msg_pair(int fds[2]);

/* A body is at most MSG_MAX - MSG_HEADER octets. 0; -EAGAIN (the peer does not read: the caller
 * keeps or counts it), -EMSGSIZE, -EPIPE and others. Descriptors stay the caller's. */
int msg_send(struct msg_chan *c, uint16_t type, uint32_t id, const void *body, size_t len,
             const int *fds, unsigned n_fds);
/* 1: *m is filled in, its body aligned to 16 with a NUL behind its len octets, and its descriptors
 * are the caller's (CLOEXEC); 0: nothing there; -ECONNRESET:
 * the other end is gone; -EBADMSG: malformed (dropped, its descriptors closed). */
int msg_recv(struct msg_chan *c, struct msg *m);
void msg_close_fds(struct msg *m);

#endif
