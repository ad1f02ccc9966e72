/* The program around the model: one card, one client at a time, a control socket, wire ports, and
 * one event loop over all of them. */
#ifndef SALLYPORT_HWSIM_SERVER_H
#define SALLYPORT_HWSIM_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SERVER_PORTS_MAX 8

struct server_config {
    const char *shape;  /* .dts or .dtb */
    const char *socket; /* path; the control socket is PATH.ctl */
    const char *ports[SERVER_PORTS_MAX];
    const char *macs[SERVER_PORTS_MAX]; /* text, or NULL: made from the socket's path */
    uint64_t seed;
};

/* Runs until SIGTERM or SIGINT (0), the fault `die` (42), or a failure at the start (1, a sentence
 * on standard error). */
int server_run(const struct server_config *config);

/* The control client: sends one line to SOCKET.ctl, prints the answer. 0, or 1 when the answer says
 * no or nobody answers. */
int ctl_client(const char *socket, const char *line);

/* shape_file.c: the blob of a .dtb, or of a .dts by running dtc; malloc'd. NULL with a sentence on
 * standard error. */
void *shape_load(const char *path, size_t *len);
/* Writes a port's mac into the blob. False: the blob has no such port. */
bool shape_set_mac(void *fdt, unsigned port, const uint8_t mac[6]);

#endif
