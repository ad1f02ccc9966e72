/* The control socket: lines in, JSON lines out. Never blocks the card. */
#ifndef SALLYPORT_HWSIM_CTL_SERVER_H
#define SALLYPORT_HWSIM_CTL_SERVER_H

#include <stddef.h>
#include <stdint.h>

#define CTL_CLIENTS 16
#define CTL_LINE    4096

struct ctl_peer {
    int fd; /* -1: free */
    char in[CTL_LINE];
    size_t in_len;
    char *out;
    size_t out_len, out_at;
    int ended; /* it will send no more */
};

struct ctl_server {
    int listen;
    struct ctl_peer peers[CTL_CLIENTS];
    void *ctx;
    /* Answers a line: malloc'd text without newline, or NULL. */
    char *(*answer)(void *ctx, const char *line);
    /* Watch fd for these epoll events under this slot; events 0: no longer. */
    void (*watch)(void *ctx, unsigned slot, int fd, uint32_t events);
};

/* path: the socket to make. 0 or -errno. */
int ctl_open(struct ctl_server *s, const char *path);
void ctl_close(struct ctl_server *s);
void ctl_accept(struct ctl_server *s);
void ctl_ready(struct ctl_server *s, unsigned slot, uint32_t events);

/* A listening UNIX socket that appears at path ready to be connected to. The fd, or -errno;
 * -EADDRINUSE when somebody serves there. */
int listen_at(const char *path);

#endif
