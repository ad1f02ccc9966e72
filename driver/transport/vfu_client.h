/* The connection: one request, one answer, by a deadline. */
#ifndef SALLYPORT_VFU_CLIENT_H
#define SALLYPORT_VFU_CLIENT_H

#include <pthread.h>
#include <sallyport/card_vfu.h>

#include "driver/transport/vfu_msg.h"

#define VFU_VECTORS_MAX (1u + 2u * CARD_QUEUES_MAX)

struct card_vfu {
    int sock;
    _Atomic bool dead;
    pthread_mutex_t send_lock;
    _Atomic uint16_t next_id;
    unsigned deadline_ms;
    uint8_t *doorbells;
    size_t doorbells_len;
    uint64_t bar0_size;
    int irq[VFU_VECTORS_MAX];
    unsigned n_irq;
    uint64_t next_iova;
    uint8_t body[VFUC_HEADER + VFUC_BODY_MAX]; /* of the last answer */
};

/* Sends body with descriptors and waits for the answer, whose body is then v->body, *len octets. A
 * descriptor that comes with it goes to *fd when fd is not NULL (-1: none), else it is closed. 0;
 * the server's error; or -ETIMEDOUT, -EPROTO, -EPIPE: then the connection is dead. */
int vfu_request(struct card_vfu *v, uint16_t command, const uint8_t *body, size_t body_len,
                const int *fds, unsigned n_fds, size_t *len, int *fd);
/* Sends without asking for an answer; from any thread. wait = false: a message that finds the
 * socket full is dropped, since the server has as many to read already. */
int vfu_post(struct card_vfu *v, uint16_t command, const uint8_t *body, size_t body_len, bool wait);
/* Reads what the server says unasked, if anything: a request of its own is refused. */
void vfu_service(struct card_vfu *v);

#endif
