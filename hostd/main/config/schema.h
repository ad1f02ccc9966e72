/* The one table of everything that a configuration can say. Checks, defaults, error texts and the
 * option reference come from it; a new key is a row, a new object is a row of objects and its keys.
 */
#ifndef SALLYPORT_CONFIG_SCHEMA_H
#define SALLYPORT_CONFIG_SCHEMA_H

#include "hostd/base/config.h"

#include <stdbool.h>
#include <stddef.h>

/* Types of value; each has a reader in value.c. */
enum schema_type {
    ST_NAME,      /* a word of letters, digits, . _ - */
    ST_IFNAME,    /* name of a network interface */
    ST_CARD_AT,   /* unix:/PATH or pci:0000:01:00.0 */
    ST_PORT_REF,  /* a card's name or if:NAME */
    ST_GROUP,     /* a group of users, or "none" (stored as "") */
    ST_DIRECTORY, /* an absolute path, or "none" (stored as "") */
    ST_BOOL,      /* yes, no */
    ST_ENUM,      /* allowed: "word=value|word=value" */
    ST_U32,       /* allowed: "lo..hi" */
    ST_U64,       /* the same */
    ST_LEVEL,     /* a log level */
    ST_MTU,       /* port, or 576..9216 */
    ST_WINDOW,    /* 0, 32, 64 … 4096 */
    ST_ADDRESS,   /* one IP address */
    ST_SELECTOR,  /* address, prefix, range A-B, any */
    ST_PROTOCOL,  /* tcp, udp, …, a number, any */
    ST_PORTS,     /* N, N-M, any; for ICMP TYPE or TYPE/CODE */
    /* These three take lists. */
    ST_ADDRESSES,  /* a list of address/bits, or from-port */
    ST_GATEWAYS,   /* one address of each family */
    ST_TRANSFORMS, /* a list of NAME[/seconds[/kbytes]] */
    ST_TYPES
};

enum schema_object_id {
    OBJ_TOP, /* keys that stand outside any object */
    OBJ_CARD,
    OBJ_INTERFACE,
    OBJ_POLICY,
    OBJ_TUNNEL,
    OBJ_LIMITS,
    OBJ_LOG,
    OBJ_CONTROL,
    OBJ_COUNT
};

struct schema_object {
    const char *name;
    bool many;       /* a list of records, each with a name; else one record */
    unsigned max;    /* records */
    size_t size;     /* of the record's struct; its name, where it has one, comes first */
    const char *doc; /* for the option reference */
    const char *example;
};

struct schema_key {
    enum schema_object_id object;
    const char *key;
    enum schema_type type;
    size_t off;           /* in the record's struct; lists fill in several members of it */
    const char *fallback; /* the default, as one would write it; NULL: none, "": stays zero */
    const char *allowed;
    const char *doc;
    const char *remedy; /* what to write: shown below every error of this key */
};

/* fallback of a key that must be written. */
#define SCHEMA_REQUIRED NULL

const struct schema_object *schema_object(enum schema_object_id id);
/* Returns OBJ_COUNT for none. */
enum schema_object_id schema_object_by_name(const char *name);
const struct schema_key *schema_key_at(unsigned i); /* NULL past the end */
const struct schema_key *schema_key_find(enum schema_object_id object, const char *key);
unsigned schema_key_index(const struct schema_key *k);

enum { SCHEMA_KEYS_MAX = 96 };

/* --- what records look like between the file and struct cfg --------------------------------------
 */

struct draft_ports {
    uint16_t lo, hi;
    bool written, has_code;
    uint8_t code;
};

struct draft_policy {
    char name[CFG_NAME];
    struct ip_range local, remote;
    struct draft_ports local_port, remote_port;
    uint32_t proto, action, mode, encap, window, priority, soft;
    bool esn;
    char tunnel[CFG_NAME];
    struct spd_transform transforms[SPD_TRANSFORMS];
    unsigned n_transforms;
};

enum { MODE_UNSET = 0 }; /* of draft_policy.mode; else enum esp_mode */

struct draft_tunnel {
    char name[CFG_NAME];
    struct ip_addr local, remote;
    uint32_t mode;
};

struct draft_interface {
    struct cfg_interface out;
    uint32_t mtu, after_stop;
};

struct draft_card {
    struct cfg_card out;
};

struct draft_top {
    bool testing;
};

struct draft_limits {
    uint32_t sas, reassembly, hold, hold_per_flow;
};

struct draft_log {
    uint32_t level;
    char directory[CFG_PATH];
    uint64_t file_size;
};

struct draft_control {
    char read_group[CFG_NAME], change_group[CFG_NAME];
};

#endif
