/* Addresses, prefixes, and the one bounds-checked look at an IP packet that every room uses. */
#ifndef SALLYPORT_IP_H
#define SALLYPORT_IP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    IPP_ICMP = 1,
    IPP_IGMP = 2,
    IPP_IPIP = 4,
    IPP_TCP = 6,
    IPP_UDP = 17,
    IPP_IPV6 = 41,
    IPP_ROUTING = 43,
    IPP_FRAGMENT = 44,
    IPP_ESP = 50,
    IPP_AH = 51,
    IPP_ICMPV6 = 58,
    IPP_NONE = 59,
    IPP_DSTOPTS = 60,
    IPP_HOPOPTS = 0,
    IPP_ANY = 0,
};

/* family 4 or 6, or 0 for "none"; IPv4 stands in the first 4 octets, the rest is zero. Wire order.
 */
struct ip_addr {
    uint8_t family;
    uint8_t b[16];
};

/* An inclusive range: selectors keep ranges, since traffic selectors are ranges (RFC 7296, 3.13).
 */
struct ip_range {
    struct ip_addr lo, hi;
};

enum { IP_ADDR_STR = 48 };

/* Octets of an address of that family: 4, 16, or 0. */
size_t ip_len(uint8_t family);
bool ip_eq(const struct ip_addr *a, const struct ip_addr *b);
/* memcmp order inside one family; the families sort 4 before 6. */
int ip_cmp(const struct ip_addr *a, const struct ip_addr *b);
bool ip_in(const struct ip_range *r, const struct ip_addr *a);
/* "10.0.0.1", "2001:db8::1". 0 or -EINVAL. */
int ip_parse(const char *text, struct ip_addr *out);
/* "10.0.0.0/24", one address, "A-B", or "any" with the family wanted (0 = both: lo.family is 0). */
int ip_range_parse(const char *text, struct ip_range *out);
/* Writes into buf (IP_ADDR_STR) and returns it. */
const char *ip_str(const struct ip_addr *a, char *buf);
/* "10.0.0.0/24", "10.0.0.1", "A-B" or "any"; buf of 2 * IP_ADDR_STR. */
const char *ip_range_str(const struct ip_range *r, char *buf);

enum ip_frag { IP_WHOLE, IP_FRAG_FIRST, IP_FRAG_LATER };

/* What a classifier needs of one packet. Ports are host order; for ICMP sport is type << 8 | code
 * and dport is 0 (RFC 7296, 3.13.1). has_ports is false for fragments after the first, for other
 * protocols, and where the packet is too short. */
struct ip_info {
    struct ip_addr src, dst;
    uint8_t version; /* 4 or 6 */
    uint8_t proto;   /* the upper protocol, behind extension headers */
    uint8_t tos;     /* TOS or traffic class */
    uint8_t ttl;     /* TTL or hop limit */
    uint32_t flow_label;
    bool df;          /* IPv4 DF; true for IPv6 */
    bool has_options; /* IPv4 options, or IPv6 extension headers other than fragment */
    enum ip_frag frag;
    uint32_t frag_id;
    uint32_t frag_off; /* octets */
    bool frag_more;
    bool has_ports;
    uint16_t sport, dport;
    size_t l4_off; /* from the IP header; where proto's header (or the fragment's data) starts */
    size_t unfrag_len; /* IPv6: octets of headers before a fragment header would go; IPv4: header
                          length */
    size_t nh_off;     /* offset of the octet that names proto (for ESP in transport mode) */
    size_t total;      /* length by the IP header; the octets beyond it are link padding */
};

/* Reads an IP packet of len octets. 0; -EBADMSG when it is no well-formed IPv4 or IPv6 packet.
 * total <= len holds after success. Extension headers are followed to a bounded depth (8). */
int ip_parse_packet(const uint8_t *pkt, size_t len, struct ip_info *out);

/* The Internet checksum (RFC 1071) over data, starting from sum; not folded to network order: store
 * the result with put_be16. */
uint32_t ip_sum(const uint8_t *data, size_t len, uint32_t sum);
uint16_t ip_sum_fold(uint32_t sum);
/* Sum of the pseudo header of TCP, UDP or ICMPv6. */
uint32_t ip_pseudo_sum(const struct ip_addr *src, const struct ip_addr *dst, uint8_t proto,
                       size_t len);
/* Writes the IPv4 header checksum of a header of hlen octets. */
void ip4_fix_checksum(uint8_t *hdr, size_t hlen);

#endif
