#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "hwsim/server/server.h"

static int talk(int fd, const char *line)
{
    char buf[4096];
    bool first = true, good = false;
    ssize_t n;

    if (dprintf(fd, "%s\n", line) < 0)
        return 1;
    shutdown(fd, SHUT_WR);
    while ((n = read(fd, buf, sizeof(buf))) > 0) {
        if (first)
            good = n >= 10 && !memcmp(buf, "{\"ok\":true", 10);
        first = false;
        fwrite(buf, 1, (size_t)n, stdout);
    }
    if (first)
        fprintf(stderr, "hwsim: the card did not answer\n");
    return good ? 0 : 1;
}

int ctl_client(const char *path, const char *line)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), rc;

    if (strlen(path) + 5 > sizeof(a.sun_path)) {
        fprintf(stderr, "hwsim: socket path '%s' is too long\n", path);
        return 1;
    }
    snprintf(a.sun_path, sizeof(a.sun_path), "%s.ctl", path);
    if (fd < 0 || connect(fd, (const struct sockaddr *)&a, sizeof(a)) < 0) {
        fprintf(stderr, "hwsim: nobody listens at %s\n", a.sun_path);
        if (fd >= 0)
            close(fd);
        return 1;
    }
    rc = talk(fd, line);
    close(fd);
    return rc;
}
