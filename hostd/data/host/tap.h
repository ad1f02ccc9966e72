/* The TAP: frames with the kernel's struct virtio_net_hdr (12 octets, TUNSETVNETHDRSZ) beside them.
 */
#ifndef SALLYPORT_TAP_H
#define SALLYPORT_TAP_H

#include "hostd/data/path/dp.h"

enum { VNET_HDR = 12 };

/* Decodes the header in front of a frame of frame_len octets. 0, or -EBADMSG for what does not fit
 * the frame (the offsets are checked here, so that the path may trust them). */
int vnet_decode(const uint8_t hdr[VNET_HDR], size_t frame_len, struct dp_offload *off);
/* The header for a frame; off may be NULL: complete, not a super-packet. */
void vnet_encode(const struct dp_offload *off, uint8_t hdr[VNET_HDR]);

/* Sets the header size; the descriptor stays the caller's. 0 or -errno. */
int tap_setup(int fd);
/* Reads one frame into buf (room of at least DP_FRAME_MAX). Returns its length, 0 when nothing
 * waits, -errno. Malformed headers are skipped. */
int tap_read(int fd, uint8_t *buf, size_t room, struct dp_offload *off);
int tap_write(int fd, const uint8_t *frame, size_t len, const struct dp_offload *off);

#endif
