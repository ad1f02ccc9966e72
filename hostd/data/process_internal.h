#ifndef SALLYPORT_DATA_PROCESS_INTERNAL_H
#define SALLYPORT_DATA_PROCESS_INTERNAL_H

#include "hostd/base/log_relay.h"
#include "hostd/data/engine.h"
#include "hostd/data/host/nexthop.h"
#include "hostd/data/port/packet_port.h"
#include "hostd/data/process.h"
#include "hostd/data/replies.h"

#include <event2/event.h>
#include <sallyport/card_vfu.h>

enum {
    DATA_PORTS = 2 * CFG_INTERFACES,
    DATA_PENDING = 64,
    DATA_IRQS = 3 /* admin, transmit, receive */
};

struct data_tap {
    struct data *d;
    unsigned iface;
    int fd;
    unsigned ifindex;
    struct event *ev;
    bool paused; /* the port is full: not read until there is room */
};

struct data_port {
    struct data *d;
    struct packet_port *port; /* NULL: free row */
    char name[64], interface[64];
    unsigned iface;
    struct event *ev;
};

struct data_card {
    struct data *d;
    char name[64];
    struct card_vfu *transport; /* NULL while it is away */
    struct event *events[DATA_IRQS + 1];
    unsigned n_events;
};

struct data {
    struct event_base *base;
    struct msg_chan *parent, *control;
    struct event *parent_ev, *control_ev, *netlink_ev, *timer;
    struct log_relay *relay;
    struct replies *replies;
    struct cfg cfg;
    bool have_cfg, testing;
    struct engine *engine;
    struct nexthop *nexthop;
    int state_fd, netlink_fd;
    int adopt;
    void *store;
    size_t store_len;
    struct data_tap taps[CFG_INTERFACES];
    struct data_port ports[DATA_PORTS];
    struct data_card cards[CFG_CARDS];
    /* Descriptors that came before MSG_START. */
    struct {
        struct msg_fd what;
        int fd;
    } pending[DATA_PENDING];
    unsigned n_pending;
    uint8_t frame[DP_FRAME_MAX + 16];
    int status;
};

uint64_t data_now(void);
/* Work after any event: the engine's turn, the timer, paused TAPs. */
void data_turn(struct data *d);

/* descriptors.c: what the parent opens and closes. */
void data_take_fd(struct data *d, const struct msg_fd *what, int fd);
void data_fd_gone(struct data *d, const struct msg_fd *what);
void data_close_all(struct data *d);
void data_close_cards(struct data *d);
void data_card_away(struct data *d, const char *card);
/* host_ops.c: the parent watches the card's address and opens it anew. */
void data_card_lost(struct data *d, const char *card);
struct data_tap *data_tap_of(struct data *d, unsigned iface);

/* host_ops.c: the engine's wishes. */
void data_host_ops(struct data *d, struct engine_host *h);

#endif
