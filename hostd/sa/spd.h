/* The security policy database (RFC 4301 4.4.1): an ordered list, the first match decides, no match
 * is discard. A policy serves both directions, mirrored: local is the source outbound and the
 * destination inbound. */
#ifndef SALLYPORT_SPD_H
#define SALLYPORT_SPD_H

#include "hostd/base/ip.h"
#include "hostd/esp/esp.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum spd_action { SPD_DISCARD = 0, SPD_PASS, SPD_PROTECT };

enum { SPD_NAME = 64, SPD_TRANSFORMS = 8 };

struct sa_lifetime { /* 0 means no limit; time in ns, the others counted */
    uint64_t time, bytes, packets;
};

struct spd_transform {
    const struct esp_suite *suite;
    struct sa_lifetime soft, hard;
};

struct spd_ports {
    uint16_t lo, hi; /* 0..65535 is any; for ICMP type << 8 | code stands in local */
};

struct spd_selector {
    struct ip_range local, remote;
    uint8_t proto; /* 0 any */
    struct spd_ports local_port, remote_port;
};

struct spd_policy {
    uint32_t id; /* made from name and content by spd_load: stays through reloads that do not
                    change the policy, and is the same in a restarted process */
    char name[SPD_NAME];
    char where[SPD_NAME]; /* "sallyport.yaml:12", for reports */
    uint64_t cookie;      /* made beside the id */
    enum spd_action action;
    struct spd_selector sel;
    enum esp_mode mode;
    struct ip_addr tunnel_local, tunnel_remote; /* tunnel mode; family 0 otherwise */
    enum esp_encap encap;
    bool esn;
    uint32_t window; /* bits */
    struct spd_transform transforms[SPD_TRANSFORMS];
    unsigned n_transforms;
    uint64_t hits[2]; /* by direction - 1 */
};

/* What is matched. Local and remote are already turned by direction. */
struct spd_flow {
    enum esp_dir dir;
    struct ip_addr local, remote;
    uint8_t proto;
    bool has_ports;
    uint16_t lport, rport;
};

struct spd;

struct spd *spd_new(void);
void spd_free(struct spd *s);
/* Replaces the whole list in one step (copied, in order). A policy equal to one in force, by name
 * and content, keeps its id, cookie and hits; gone[] (may be NULL) gets the ids of policies that
 * are no longer there or changed, *n_gone (may be NULL) their number; room for as many as there
 * were. id, cookie and hits of list are not read. Takes time in proportion to both lists. 0 or
 * -ENOMEM. */
int spd_load(struct spd *s, const struct spd_policy *list, unsigned n, uint32_t *gone,
             unsigned *n_gone);
unsigned spd_count(const struct spd *s);
struct spd_policy *spd_at(struct spd *s, unsigned i);
/* By hash. Of policies with one name the first. */
struct spd_policy *spd_by_id(struct spd *s, uint32_t id);
struct spd_policy *spd_by_name(struct spd *s, const char *name);
/* The first match, or NULL for none (which means discard). A policy with ports matches no flow
 * without them (RFC 4301: such a packet has been reassembled, or the protocol has none). */
struct spd_policy *spd_match(struct spd *s, const struct spd_flow *f);
bool spd_selector_match(const struct spd_selector *sel, const struct spd_flow *f);
/* Rises with every spd_load: caches of decisions compare it. */
uint64_t spd_generation(const struct spd *s);
/* A flow from a parsed packet: outbound local = src, inbound local = dst. */
void spd_flow_from(struct spd_flow *f, enum esp_dir dir, const struct ip_info *i);
const char *spd_action_name(enum spd_action a);

#endif
