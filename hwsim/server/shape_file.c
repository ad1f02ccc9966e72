#include <errno.h>
#include <fcntl.h>
#include <libfdt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "hwsim/server/server.h"

enum { BLOB_MAX = 65536 };

/* Reads at most BLOB_MAX octets; more is refused by the size being too long. */
static void *read_all(int fd, size_t *len)
{
    uint8_t *blob = malloc(BLOB_MAX + 1);
    ssize_t n;

    *len = 0;
    while (blob && *len <= BLOB_MAX && (n = read(fd, blob + *len, BLOB_MAX + 1 - *len)) != 0) {
        if (n > 0)
            *len += (size_t)n;
        else if (errno != EINTR)
            break;
    }
    return blob;
}

/* dtc by fork and exec, no shell. Its complaints go to our standard error. */
static void *compile(const char *path, size_t *len)
{
    int pipes[2], status = 0;
    void *blob;
    pid_t pid;

    if (pipe2(pipes, O_CLOEXEC) < 0)
        return NULL;
    pid = fork();
    if (pid == 0) {
        dup2(pipes[1], 1);
        execlp("dtc", "dtc", "-q", "-I", "dts", "-O", "dtb", path, (char *)NULL);
        fprintf(stderr, "hwsim: dtc cannot be run: %s (package device-tree-compiler)\n",
                strerror(errno));
        _exit(127);
    }
    close(pipes[1]);
    blob = pid > 0 ? read_all(pipes[0], len) : NULL;
    close(pipes[0]);
    if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0) {
        free(blob);
        return NULL;
    }
    return blob;
}

void *shape_load(const char *path, size_t *len)
{
    const char *dot = strrchr(path, '.');
    void *blob = NULL;
    int fd;

    if (dot && !strcmp(dot, ".dts")) {
        blob = compile(path, len);
    } else {
        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd >= 0) {
            blob = read_all(fd, len);
            close(fd);
        }
    }
    if (!blob)
        fprintf(stderr, "hwsim: shape '%s' cannot be read\n", path);
    return blob;
}

bool shape_set_mac(void *fdt, unsigned port, const uint8_t mac[6])
{
    int ports = fdt_path_offset(fdt, "/ports"), node;

    if (ports < 0)
        return false;
    for (node = fdt_first_subnode(fdt, ports); node >= 0; node = fdt_next_subnode(fdt, node)) {
        int len;
        const uint8_t *reg = fdt_getprop(fdt, node, "reg", &len);

        if (reg && len == 4 && reg[3] == port && !reg[0] && !reg[1] && !reg[2])
            return fdt_setprop_inplace(fdt, node, "mac", mac, 6) == 0;
    }
    return false;
}
