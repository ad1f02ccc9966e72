/* A plain interface as a wire port: an AF_PACKET socket with PACKET_VNET_HDR, opened, bound and
 * made deaf to the host's stack by the parent. */
#ifndef SALLYPORT_PACKET_PORT_H
#define SALLYPORT_PACKET_PORT_H

#include "hostd/data/path/dp.h"

struct packet_port;

/* Takes the descriptor. 0 or -errno. */
int packet_port_new(struct packet_port **out, int fd, const uint8_t mac[6], uint16_t mtu);
void packet_port_free(struct packet_port *p);
int packet_port_fd(const struct packet_port *p);
/* The table for dp_set_port; valid as long as the port. */
const struct dp_port *packet_port_dp(struct packet_port *p);
/* Reads up to max frames and calls rx for each; super-packets and partial checksums are left to the
 * caller by off. Returns the number read, or -errno (-ENETDOWN, -ENODEV: the interface is gone). */
typedef void (*packet_rx)(void *ctx, const uint8_t *frame, size_t len,
                          const struct dp_offload *off);
int packet_port_read(struct packet_port *p, unsigned max, packet_rx rx, void *ctx);

#endif
