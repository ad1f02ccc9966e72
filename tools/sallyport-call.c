/* sallyport-call: one call of the control socket, for scripts and tests. */
#include "tools/ctl/ctl.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static const char usage_text[] =
    "usage: sallyport-call [-r RUNDIR] [-k FILE] [-n COUNT] [-t SECONDS] METHOD [JSON]\n"
    "  -r RUNDIR   the daemon's folder ($SALLYPORT_RUNDIR, /run/sallyport)\n"
    "  -k FILE     pass what FILE holds (- is standard input) as a memfd, as sa.add wants its "
    "keys\n"
    "  -n COUNT    after METHOD, print COUNT events, one a line (0: until interrupted)\n"
    "  -t SECONDS  wait no longer for an event\n"
    "METHOD methods lists all methods. Exit: 0, 1 no such thing, 2 usage, 3 daemon not running,\n"
    "4 refused.\n";

struct options {
    const char *rundir, *key_file, *method, *params;
    bool events;
    long count;
    int timeout_ms;
};

static int usage(void)
{
    fputs(usage_text, stderr);
    return CTL_USAGE;
}

static int read_options(int argc, char **argv, struct options *o)
{
    int opt;

    *o = (struct options){.timeout_ms = -1};
    while ((opt = getopt(argc, argv, "+r:k:n:t:h")) != -1) {
        if (opt == 'r') {
            o->rundir = optarg;
        } else if (opt == 'k') {
            o->key_file = optarg;
        } else if (opt == 'n') {
            o->events = true;
            o->count = strtol(optarg, NULL, 10);
        } else if (opt == 't') {
            o->timeout_ms = (int)(strtod(optarg, NULL) * 1000);
        } else {
            return usage();
        }
    }
    if (argc - optind < 1 || argc - optind > 2)
        return usage();
    o->method = argv[optind];
    o->params = argv[optind + 1];
    return CTL_OK;
}

/* Copies a file into a memfd; the copy in between is wiped. */
static int key_memfd(const char *file)
{
    char buf[4096];
    ssize_t n = -1;
    int in = strcmp(file, "-") ? open(file, O_RDONLY | O_CLOEXEC) : STDIN_FILENO;
    int out = in < 0 ? -1 : memfd_create("keys", MFD_CLOEXEC);

    while (out >= 0 && (n = read(in, buf, sizeof buf)) > 0)
        if (write(out, buf, (size_t)n) != n)
            break;
    explicit_bzero(buf, sizeof buf);
    if (in > STDIN_FILENO)
        close(in);
    if (n == 0 && lseek(out, 0, SEEK_SET) == 0)
        return out;
    fprintf(stderr, "sallyport-call: %s: %s\n", file, strerror(errno));
    if (out >= 0)
        close(out);
    return -1;
}

static int failed(const struct ctl_error *e)
{
    fprintf(stderr, "sallyport-call: %s\n", e->text);
    return e->exit;
}

static void print(const json_t *v, size_t flags)
{
    json_dumpf(v, stdout, flags | JSON_ENCODE_ANY);
    putchar('\n');
    fflush(stdout);
}

static int print_events(struct ctl_conn *c, const struct options *o, struct ctl_error *e)
{
    json_t *event;

    for (long i = 0; o->count == 0 || i < o->count; i++) {
        if (ctl_next_event(c, o->timeout_ms, &event, e))
            return failed(e);
        if (!event)
            return CTL_NOT_FOUND;
        print(event, JSON_COMPACT);
        json_decref(event);
    }
    return CTL_OK;
}

static int run(const struct options *o, json_t *params, int key)
{
    static struct ctl_error e;
    struct ctl_conn *c;
    json_t *result;
    int r;

    if (ctl_connect(&c, o->rundir, &e)) {
        json_decref(params);
        return failed(&e);
    }
    r = ctl_call(c, o->method, params, &key, key >= 0 ? 1 : 0, &result, &e);
    if (r)
        failed(&e);
    else
        print(result, o->events ? JSON_COMPACT : JSON_INDENT(2));
    json_decref(result);
    if (!r && o->events)
        r = print_events(c, o, &e);
    ctl_close(c);
    return r;
}

int main(int argc, char **argv)
{
    struct options o;
    json_t *params = NULL;
    json_error_t where;
    int key = -1, r;

    if (read_options(argc, argv, &o))
        return CTL_USAGE;
    if (o.params && !(params = json_loads(o.params, JSON_REJECT_DUPLICATES, &where))) {
        fprintf(stderr, "sallyport-call: the parameters are not JSON: %s\n", where.text);
        return CTL_USAGE;
    }
    if (o.key_file && (key = key_memfd(o.key_file)) < 0) {
        json_decref(params);
        return CTL_USAGE;
    }
    r = run(&o, params, key);
    if (key >= 0)
        close(key);
    return r;
}
