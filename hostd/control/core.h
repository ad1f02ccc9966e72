/* The control process without sockets: lines of clients in, messages to owners out, and back. The
 * shell (process.c) gives it time and carries what it sends; tests and the fuzzer give it mocks. */
#ifndef SALLYPORT_CONTROL_CORE_H
#define SALLYPORT_CONTROL_CORE_H

#include "hostd/base/msg.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    CTL_CLIENTS_MAX = 64,
    CTL_PENDING_MAX = 32 /* unanswered calls of one client */
};

struct ctl_ops {
    void *ctx;
    /* To a process: 0; -ENOTCONN: it is not there; -EAGAIN: it does not read; or another -errno. */
    int (*send)(void *ctx, enum proc to, uint16_t type, uint32_t id, const char *body, size_t len,
                const int *fds, unsigned n_fds);
    /* To a client: queues a copy. The client must not be freed from within. */
    void (*write)(void *ctx, void *client, const char *line, size_t len);
    /* log.level was called. */
    void (*set_level)(void *ctx, int level);
};

struct ctl;
struct ctl_client;

/* ops is copied. NULL without memory. */
struct ctl *ctl_new(const struct ctl_ops *ops, const char *version);
void ctl_free(struct ctl *c);

/* handle is what ops->write gets. rights: RIGHT_READ | RIGHT_CHANGE. NULL without memory. */
struct ctl_client *ctl_client_new(struct ctl *c, void *handle, uint32_t uid, unsigned rights);
/* Its calls are forgotten; their answers, when they come, are dropped. NULL is fine. */
void ctl_client_free(struct ctl_client *k);
/* Calls that wait for an answer. */
unsigned ctl_client_pending(const struct ctl_client *k);
/* One line without its line feed. The descriptors stay the caller's. */
void ctl_client_line(struct ctl_client *k, const char *line, size_t len, const int *fds,
                     unsigned n_fds, uint64_t now);

/* An owner is there (again), or gone: its calls are answered with an error. */
void ctl_owner_up(struct ctl *c, enum proc p);
void ctl_owner_down(struct ctl *c, enum proc p);
/* MSG_REPLY or MSG_EVENT of a process, checked as hostile: 0, or -EBADMSG for what was malformed
 * and dropped. Replies that nobody waits for are dropped without a word. */
int ctl_owner_message(struct ctl *c, enum proc p, uint16_t type, uint32_t id, const char *body,
                      size_t len, uint64_t now);
/* Sends an event to those who subscribed its topic; params is taken, and gets "topic". */
void ctl_event(struct ctl *c, const char *topic, json_t *params);
/* A number for a call of our own; its answer is dropped. */
uint32_t ctl_next_id(struct ctl *c);
/* Answers what is overdue; returns when it wants to be called again (UINT64_MAX: need not). */
uint64_t ctl_tick(struct ctl *c, uint64_t now);

#endif
