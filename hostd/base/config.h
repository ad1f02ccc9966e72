/* The configuration as plain data, checked and with its defaults filled in. main/config makes it
 * from YAML; it crosses to the other processes as JSON in a memfd. */
#ifndef SALLYPORT_CONFIG_H
#define SALLYPORT_CONFIG_H

#include "hostd/base/ip.h"
#include "hostd/sa/spd.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    CFG_NAME = 64,
    CFG_PATH = 108,
    CFG_CARDS = 8,
    CFG_INTERFACES = 8,
    CFG_ADDRS = 16,
    CFG_IKE_PORTS = 8,
    CFG_POLICIES = 4096
};

struct cfg_card {
    char name[CFG_NAME];
    char at[CFG_PATH]; /* unix:/path or pci:0000:01:00.0 */
};

enum cfg_after_stop { CFG_STOP_DISCARD = 0, CFG_STOP_PASS };

struct cfg_addr {
    struct ip_addr addr;
    uint8_t bits;
};

struct cfg_interface {
    char name[CFG_NAME];    /* the TAP: "ipsec0" */
    char port[CFG_PATH];    /* a card's name, or if:eth1 */
    char standby[CFG_PATH]; /* "", a card's name, or if:eth1 */
    struct cfg_addr address[CFG_ADDRS];
    unsigned n_addresses;
    bool take_addresses; /* "address: from-port": move them from the plain interface, with its
                            routes */
    struct ip_addr gateway4, gateway6; /* family 0: none */
    uint16_t mtu;                      /* 0: the port's */
    enum cfg_after_stop after_stop;
};

struct cfg {
    bool testing;
    uint32_t limit_sas;
    uint8_t log_level;      /* enum log_level */
    char log_dir[CFG_PATH]; /* "" : standard error only (-f) */
    uint64_t log_file_kb;
    char read_group[CFG_NAME], change_group[CFG_NAME];
    uint32_t reassembly_kb, hold_packets, hold_per_flow; /* bounds of the packet path */
    uint16_t natt_port;
    uint16_t ike_ports[CFG_IKE_PORTS]; /* bypassed: 500 and natt_port unless written */
    unsigned n_ike_ports;
    struct cfg_card cards[CFG_CARDS];
    unsigned n_cards;
    struct cfg_interface interfaces[CFG_INTERFACES];
    unsigned n_interfaces;
    struct spd_policy *policies; /* owned; in order */
    unsigned n_policies;
};

void cfg_free(struct cfg *c); /* frees what it owns, not c itself */
/* JSON of a checked configuration: malloc'd, or NULL. cfg_from_json checks it again: 0, -EBADMSG.
 */
char *cfg_to_json(const struct cfg *c);
int cfg_from_json(const char *json, size_t len, struct cfg *out);
/* Window sizes that a policy may have: 0 (none), or a power of two from 32 to 4,096. */
bool cfg_window_ok(uint32_t bits);

#endif
