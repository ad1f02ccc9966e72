/* What a card of this shape can do: the capability tree read into plain numbers. */
#ifndef SALLYPORT_HWSIM_SHAPE_H
#define SALLYPORT_HWSIM_SHAPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HW_PORTS_MAX  8
#define HW_SUITES_MAX 16

/* hdr property, a bit each */
#define HW_CAN_DSCP_COPY  1u
#define HW_CAN_DSCP_SET   2u
#define HW_CAN_DF         4u
#define HW_CAN_ECN_6040   8u
#define HW_CAN_FLOW_LABEL 16u
#define HW_CAN_DEC_TTL    32u

struct hw_shape_suite {
    uint16_t encr_id, integ_id;
    uint8_t key_len, integ_len, salt_len, icv_len;
    bool in, out, transport, tunnel;
};

struct hw_shape_port {
    bool present;
    uint32_t mtu_max, mbps;
    uint8_t mac[6];
};

struct hw_shape {
    uint32_t admin_depth, batch_max;
    bool atomic;
    uint32_t tx_max, rx_max, ring_depth, rx_max_bufs, tx_max_bufs, vectors;
    uint32_t buf_min, buf_max, mod_us_max;
    bool doorbell_wake;
    uint32_t out_max, in_max;
    bool shared_pool, lookup_dst, seq_guard, esn, time;
    uint32_t spi_lo, spi_hi, spi_index_bits;
    uint32_t windows[8], n_windows;
    bool natt4, natt6;
    bool family_pair[2][2]; /* [inner is 6][outer is 6] */
    unsigned hdr;
    struct hw_shape_suite suites[HW_SUITES_MAX];
    unsigned n_suites;
    struct hw_shape_port ports[HW_PORTS_MAX];
    unsigned n_ports; /* highest port number + 1 */
    uint32_t heartbeat_ms;
};

/* Reads a tree. 0, or -EINVAL with *err a static sentence: a tree that is not well-formed, or that
 * claims what this model cannot do. */
int hw_shape_read(const void *fdt, size_t len, struct hw_shape *s, const char **err);

#endif
