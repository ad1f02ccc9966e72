#ifndef SALLYPORT_MAIN_HOST_INTERNAL_H
#define SALLYPORT_MAIN_HOST_INTERNAL_H

#include "hostd/main/host.h"
#include "hostd/main/host_nl.h"
#include "hostd/main/host_plan.h"

#include <net/if.h>

enum { HOST_TAKEN = 64, PORT_COUNT = 2 };

/* A port of an interface: [0] port, [1] standby. */
struct host_port {
    char name[CFG_PATH];   /* as configured; "" none */
    char device[IFNAMSIZ]; /* of a plain interface; "" for a card */
    struct nl_link link;   /* index 0: not there */
    bool deaf;             /* our drop is in, addresses and IPv6 are out */
    bool wanted;           /* data shall have it: always for [0] */
    bool given;            /* data has a socket of it */
    int trouble;           /* the last thing that was logged, so that it is logged once */
};

struct host_if {
    struct host *h;
    char name[CFG_NAME]; /* "": the slot is free */
    const struct cfg_interface *cfg;
    int tap;
    bool tap_given;
    struct nl_link link; /* of the TAP */
    struct host_port port[PORT_COUNT];
    uint8_t mac[6]; /* of the wire, by data's MSG_PORT_INFO (cards) or the plain interface */
    uint16_t mtu;
    bool known;         /* mac is */
    bool waited;        /* long enough for a card to tell */
    struct event *wait; /* ends that */
    int trouble;
    /* What came from the plain interface ("from-port") and is not on the TAP yet. */
    struct nl_addr addr[HOST_TAKEN];
    struct nl_route route[HOST_TAKEN];
    unsigned n_addr, n_route;
};

struct host_card {
    struct host *h;
    char name[CFG_NAME]; /* "": the slot is free */
    char path[CFG_PATH]; /* of the socket; "" where the kind of address is not served */
    char at[CFG_PATH];
    bool wanted, given;
    int watch, inotify; /* the watch of the socket's folder */
    struct event *seen, *retry;
    unsigned tries;  /* since the last success or sign of life */
    uint64_t opened; /* CLOCK_BOOTTIME of the last hand-over */
    int trouble;
};

struct host {
    struct event_base *base;
    struct host_out out;
    uid_t tap_owner;
    struct nl *nl;
    int monitor;
    struct event *changed, *settle;
    const struct cfg *cfg;
    bool attached;
    bool served; /* a data process has served once */
    struct host_if ifs[CFG_INTERFACES];
    struct host_card cards[CFG_CARDS];
    double probe_tokens;
    uint64_t probe_at;
};

/* --- host_sys.c: calls to the system that are not rtnetlink. 0 (or a descriptor) or -errno --- */
int sys_tap_open(const char *name, uid_t owner, uint32_t *index);
/* Without a carrier nothing is sent, and IPv6 begins no duplicate address detection. */
void sys_tap_carrier(int fd, bool on);
/* The device goes when its last descriptor is closed. */
void sys_tap_forget(int fd);
/* Writes to /proc/sys/net/FAMILY/conf/DEVICE/KEY. */
int sys_sysctl(const char *family, const char *device, const char *key, const char *value);
/* IPv6 on a device as the host has it for new ones. */
void sys_ipv6_back(const char *device);
/* Everything that the host's own stack would receive on device is dropped; packet sockets read
 * before that. The table is named after the device, and made or replaced in one step. */
int sys_drop_in(const char *device);
int sys_drop_out(const char *device);
/* An AF_PACKET socket on the device: ETH_P_ALL, virtio header, without our own frames. */
int sys_packet_open(uint32_t index);

/* --- host_port.c --- */
void port_configure(struct host_if *i);
/* Looks the device up and makes it deaf. True when it can carry the wire. */
bool port_prepare(struct host_if *i, struct host_port *p);
/* Data shall close its socket of the port. */
void port_take_back(struct host_if *i, struct host_port *p);
/* Gives data a socket of each wanted plain port that it has none of. */
void port_give(struct host_if *i);
/* The plain port gets addresses and routes of the TAP, the drop goes out. */
void port_return(struct host_if *i);
/* The first plain port, or NULL. */
struct host_port *port_plain(struct host_if *i);

/* --- host_card.c --- */
void cards_configure(struct host *h);
void cards_want(struct host *h, const char *name, bool wanted);
void cards_detach(struct host *h);
void card_gone(struct host *h, const char *name);
void cards_free(struct host *h);

/* --- host_if.c --- */
/* Brings TAP, addresses and routes to what the configuration wants; may be called at any time. */
void if_apply(struct host_if *i);
void if_give(struct host_if *i);
void if_close(struct host_if *i);
void if_learn(struct host_if *i, const uint8_t mac[6], uint16_t mtu);
bool if_may_have_addresses(const struct host_if *i);

/* Logs a failed step (MSG_HOST_STEP_FAILED) once until *trouble changes; r is 0 or -errno. */
void host_trouble(int *trouble, const char *object, const char *step, int r);

#endif
