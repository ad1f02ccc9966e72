/* The client's connection: bytes to whole messages and back, and DMA by message. */
#ifndef SALLYPORT_HWSIM_CONN_H
#define SALLYPORT_HWSIM_CONN_H

#include "hwsim/server/vfu.h"

struct conn {
    int fd; /* -1: nobody */
    struct vfu *vfu;
    uint8_t *buf; /* VFU_MESSAGE_MAX */
    size_t have;
    int fds[VFU_FDS_MAX];
    unsigned n_fds;
    /* a DMA request of ours that waits for its reply */
    uint16_t next_id;
    bool waiting;
    uint16_t wait_id;
    uint8_t *wait_buf; /* where a read's data goes */
    size_t wait_len;
    int wait_result; /* 1: not there yet */
};

int conn_init(struct conn *c, struct vfu *vfu);
void conn_free(struct conn *c);
void conn_open(struct conn *c, int fd);
void conn_close(struct conn *c);

/* Reads what is there, at most a burst. 0, or -errno when the client is gone or talks nonsense. */
int conn_read(struct conn *c);

/* struct vfu.send and struct dma_map.message with a struct conn as context. */
int conn_send(void *ctx, const uint8_t *msg, size_t len, int fd);
int conn_dma(void *ctx, bool write, uint64_t iova, void *buf, size_t len);

#endif
