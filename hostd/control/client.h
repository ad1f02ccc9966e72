/* One client's socket: lines in, with the descriptors beside them, and a bounded queue out. */
#ifndef SALLYPORT_CONTROL_CLIENT_H
#define SALLYPORT_CONTROL_CLIENT_H

#include "hostd/control/core.h"

#include <event2/event.h>

enum {
    CLIENT_QUEUE_MAX = 1 << 20, /* octets not read by the client, then it is cut */
    CLIENT_QUEUE_HIGH = 1 << 18 /* from here on the client counts in n_full */
};

struct client;

/* What the process knows and a client needs. */
struct client_env {
    struct event_base *base;
    struct ctl *ctl;
    uint32_t read_gid, change_gid; /* UINT32_MAX: none */
    struct client *list;           /* all of them */
    unsigned n, n_full;
    void (*flow)(void *ctx);   /* n_full turned zero or one */
    void (*closed)(void *ctx); /* a place is free again */
    void *ctx;
};

/* Takes the connected socket. 0 or -errno. */
int client_new(struct client_env *env, int fd);
/* Queues a line; from within a call of the core. */
void client_write(struct client *k, const char *line, size_t len);
/* Ends those that send no more and wait for nothing; from a timer. */
void client_sweep(struct client_env *env);
/* Ends all of them, after a last try to write what is queued. */
void client_end_all(struct client_env *env);

/* Rights of a peer: root and the process's own user may change; members of the groups as named. */
unsigned client_rights(uint32_t uid, const uint32_t *gids, unsigned n_gids, uint32_t read_gid,
                       uint32_t change_gid);

#endif
