/* hwsim, the card as a program. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "hwsim/server/server.h"

static const char usage[] =
    "usage: hwsim -c SHAPE.dts|.dtb -s SOCKET [-p N=link:PATH | N=if:NAME][,pcap=FILE]…\n"
    "             [-m N=MAC]… [-r SEED]\n"
    "       hwsim -ctl SOCKET 'fault add …'    a line of the fault language, or dump "
    "sa|stats|queues\n"
    "\n"
    "The card is served over vfio-user at SOCKET and controlled at SOCKET.ctl. Port N's wire is a "
    "cable\n"
    "to another hwsim (link:, same PATH on both sides) or a network interface (if:). Without -m a "
    "port\n"
    "has the interface's address, or one made from the socket's path. Ends on SIGTERM.\n";

/* "N=TEXT" into a table. */
static int numbered(const char *text, const char **table)
{
    char *end;
    unsigned long n = strtoul(text, &end, 10);

    if (end == text || *end != '=' || n >= SERVER_PORTS_MAX || table[n])
        return -1;
    table[n] = end + 1;
    return 0;
}

static int option(struct server_config *c, int opt, const char *value)
{
    char *end = NULL;

    switch (opt) {
    case 'c':
        c->shape = value;
        return 0;
    case 's':
        c->socket = value;
        return 0;
    case 'p':
        return numbered(value, c->ports);
    case 'm':
        return numbered(value, c->macs);
    case 'r':
        c->seed = strtoull(value, &end, 0);
        return *end ? -1 : 0;
    default:
        return -1;
    }
}

int main(int argc, char **argv)
{
    struct server_config c = {0};
    int opt, bad = 0;

    if (argc == 4 && !strcmp(argv[1], "-ctl"))
        return ctl_client(argv[2], argv[3]);
    if (getrandom(&c.seed, sizeof(c.seed), 0) < 0)
        c.seed = 1;
    while (!bad && (opt = getopt(argc, argv, "c:s:p:m:r:h")) != -1)
        bad = option(&c, opt, optarg);
    if (bad || optind != argc || !c.shape || !c.socket) {
        fputs(usage, stderr);
        return 2;
    }
    return server_run(&c);
}
