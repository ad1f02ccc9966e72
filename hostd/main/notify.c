#include "hostd/main/notify.h"

#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { FIRST_KEPT = 3 }; /* SD_LISTEN_FDS_START */

static void notify_send(const char *lines, int fd)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    size_t len = path ? strlen(path) : 0;
    if (!len || len >= sizeof sa.sun_path || (*path != '/' && *path != '@'))
        return;
    memcpy(sa.sun_path, path, len);
    if (*path == '@')
        sa.sun_path[0] = 0;
    char text[256];
    struct iovec iov = {text, (size_t)snprintf(text, sizeof text, "%s", lines)};
    if (iov.iov_len >= sizeof text)
        return;
    union {
        struct cmsghdr align;
        char b[CMSG_SPACE(sizeof(int))];
    } room = {.b = {0}};
    struct msghdr mh = {.msg_name = &sa,
                        .msg_namelen = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len),
                        .msg_iov = &iov,
                        .msg_iovlen = 1};
    if (fd >= 0) {
        mh.msg_control = room.b;
        mh.msg_controllen = sizeof room.b;
        struct cmsghdr *c = CMSG_FIRSTHDR(&mh);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof fd);
        memcpy(CMSG_DATA(c), &fd, sizeof fd);
    }
    int s = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (s < 0)
        return;
    if (sendmsg(s, &mh, MSG_NOSIGNAL) < 0) {
        /* The manager is away: readiness is a courtesy, the daemon goes on without. */
    }
    close(s);
}

void notify_state(const char *lines)
{
    notify_send(lines, -1);
}

void notify_reloading(void)
{
    struct timespec ts;
    char text[96];
    clock_gettime(CLOCK_MONOTONIC, &ts);
    snprintf(text, sizeof text, "RELOADING=1\nMONOTONIC_USEC=%llu",
             (unsigned long long)ts.tv_sec * 1000000ull + (unsigned long long)ts.tv_nsec / 1000);
    notify_send(text, -1);
}

void notify_keep_fd(const char *name, int fd)
{
    char text[128];
    snprintf(text, sizeof text, "FDSTORE=1\nFDNAME=%s", name);
    notify_send(text, fd);
}

int notify_kept_fd(const char *name)
{
    const char *pid = getenv("LISTEN_PID"), *count = getenv("LISTEN_FDS");
    const char *names = getenv("LISTEN_FDNAMES");
    if (!pid || !count || !names || strtol(pid, NULL, 10) != getpid())
        return -1;
    long n = strtol(count, NULL, 10);
    for (long i = 0; i < n && *names; i++) {
        size_t len = strcspn(names, ":");
        if (len == strlen(name) && !memcmp(names, name, len))
            return fcntl(FIRST_KEPT + (int)i, F_DUPFD_CLOEXEC, FIRST_KEPT + (int)n);
        names += len + (names[len] == ':');
    }
    return -1;
}
