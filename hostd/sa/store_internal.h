/* The layout of the store, for store.c and sad*.c only. The structs lie in memory of this machine
 * and this version alone: another version refuses the whole store. */
#ifndef SALLYPORT_SA_STORE_INTERNAL_H
#define SALLYPORT_SA_STORE_INTERNAL_H

#include "hostd/sa/sad.h"
#include "hostd/sa/store.h"

enum {
    STORE_VERSION = 1,
    STORE_SUM = 16,
    STORE_FREE = 0,
    STORE_LIVE = 0x4c495645 /* any other value is a record half made or half wiped */
};

#define STORE_MAGIC UINT64_C(0x53616c6c79536131)
/* Cookies count up from 1; one above this bound is damage. */
#define STORE_COOKIE_MAX (UINT64_C(1) << 62)

struct store_header {
    uint64_t magic;
    uint32_t version, record_size, records, reserved;
    uint64_t next_cookie; /* written before a cookie is used */
};

/* Written once, when the SA is made. No padding: the checksum is over its octets. */
struct store_fixed {
    uint64_t cookie, created;
    uint64_t soft[3], hard[3];
    uint32_t slot, spi, policy_id, window;
    uint32_t flow_value;
    uint16_t encr_id, integ_id;
    uint8_t encr_len, dir, mode, encap;
    uint8_t esn, dscp, df, flow_label;
    uint8_t dscp_value, ttl, zero[2];
    struct esp_keys keys;
};

struct store_endpoint {
    uint64_t generation; /* the higher of two whole copies is the one in force */
    struct ip_addr src, dst;
    uint16_t udp_sport, udp_dport;
    uint8_t zero[2];
    uint8_t sum[STORE_SUM];
};

struct sa_record {
    uint32_t state; /* STORE_LIVE is written last and cleared first */
    uint32_t zero;
    uint64_t reserved, reserved_guard; /* outbound: the highest number that may have been used */
    uint64_t top, top_guard;           /* inbound */
    uint64_t packets[PATHS], bytes[PATHS];
    struct store_endpoint end[2];
    struct store_fixed fixed;
    uint8_t sum[STORE_SUM];
    uint8_t spare[STORE_RECORD - 512 - (72 + 2 * 64 + 216 + STORE_SUM)];
    uint64_t bitmap[WIN_MAX_BITS / 64];
};

_Static_assert(sizeof(struct store_header) <= STORE_RECORD, "header");
_Static_assert(sizeof(struct store_endpoint) == 64, "endpoint without padding");
_Static_assert(sizeof(struct store_fixed) == 216, "fixed part without padding");
_Static_assert(sizeof(struct sa_record) == STORE_RECORD, "record");
_Static_assert(sizeof(struct ip_addr) == 17 && sizeof(struct esp_keys) == 116, "no padding");

struct sa_store {
    struct store_header *header;
    struct sa_record *records;
    unsigned room, used;
    uint32_t *free_list; /* a stack; the lowest free record on top after opening */
    unsigned n_free;
};

/* What an adopted record says, checked; keys point into the record. */
struct store_image {
    struct sa_spec spec;
    uint64_t cookie, created, next;
};

/* Takes a free record: its index, or -ENOSPC. The caller fills it and calls store_publish. */
int store_take(struct sa_store *s);
/* Wipes record i and makes it free. */
void store_drop(struct sa_store *s, unsigned i);
uint64_t store_next_cookie(struct sa_store *s);
/* Writes everything of a new SA into record i; then it is live. */
int store_publish(struct sa_store *s, unsigned i, const struct sa *sa, const struct esp_keys *keys);
/* A live record of an earlier process as hostile input: 0, or -EBADMSG. It may mend what a killed
 * process left half done. */
int store_read(struct sa_store *s, unsigned i, uint64_t now, struct store_image *out);
bool store_live(const struct sa_store *s, unsigned i);
int store_move(struct sa_record *r, const struct sa_spec *spec);

/* Whether a spec, from a caller or from the store, is whole: 0 or -EINVAL. */
int sa_spec_check(const struct sa_spec *spec);
/* The last number that the SA may use or accept. */
uint64_t sa_number_limit(const struct sa_spec *spec);

#endif
