/* sallyportd: the daemon's one binary. Without -p it is the privileged parent; with -p it is the
 * child of that name, executed anew by the parent, which is not for people. */
#include "hostd/control/control.h"
#include "hostd/data/process.h"
#include "hostd/main/config/config_load.h"
#include "hostd/main/parent.h"
#include "hostd/main/role.h"
#include "hostd/main/rundir.h"
#include "hostd/main/version.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { EXIT_USAGE = 2 };

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define LEAKS_ARE_SOUGHT 1
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define LEAKS_ARE_SOUGHT 1
#endif

#ifdef LEAKS_ARE_SOUGHT
/* A process that may not be traced cannot search itself for leaks at its end. */
int __lsan_is_turned_off(void);
int __lsan_is_turned_off(void)
{
    return prctl(PR_GET_DUMPABLE) == 0;
}
#endif

struct options {
    struct parent_options parent;
    bool check, version;
    const char *role;
};

static const char usage_text[] =
    "usage: sallyportd [-c FILE] [-r RUNDIR] [-u USER] [-f]   run the daemon (-f: stay in front)\n"
    "       sallyportd -n [-c FILE]                           check the configuration only\n"
    "       sallyportd -V                                     print the version\n";

static int parse(int argc, char **argv, struct options *o)
{
    *o = (struct options){
        .parent = {"/etc/sallyport/sallyport.yaml", "/run/sallyport", "_sallyport", false}};
    int c;
    while ((c = getopt(argc, argv, "c:nfr:u:p:Vh")) != -1) {
        switch (c) {
        case 'c':
            o->parent.config = optarg;
            break;
        case 'n':
            o->check = true;
            break;
        case 'f':
            o->parent.foreground = true;
            break;
        case 'r':
            o->parent.rundir = optarg;
            break;
        case 'u':
            o->parent.user = optarg;
            break;
        case 'p':
            o->role = optarg;
            break;
        case 'V':
            o->version = true;
            break;
        default:
            fputs(usage_text, c == 'h' ? stdout : stderr);
            return c == 'h' ? 0 : EXIT_USAGE;
        }
    }
    if (optind == argc)
        return -1;
    fputs(usage_text, stderr);
    return EXIT_USAGE;
}

static int check_config(const char *path)
{
    struct cfg cfg;
    int errors = cfg_load(path, &cfg, stderr);
    if (errors) {
        fprintf(stderr, "%s: %d error%s\n", path, errors, errors == 1 ? "" : "s");
        return 1;
    }
    printf("%s: good: %u policies, %u cards, %u interfaces\n", path, cfg.n_policies, cfg.n_cards,
           cfg.n_interfaces);
    cfg_free(&cfg);
    return 0;
}

/* Rooms that are there; the others are "started: no" in the process table. */
static const struct {
    enum proc id;
    int (*run)(struct msg_chan *parent);
} roles[] = {
    {PROC_DATA, data_run},
    {PROC_CONTROL, control_run},
};

static int run_role(const struct options *o)
{
    enum proc id = proc_by_name(o->role);
    char empty[RUNDIR_PATH], title[16];
    struct role_user user;
    struct msg_chan *chan;
    for (size_t i = 0; i < sizeof roles / sizeof *roles; i++) {
        if (roles[i].id != id)
            continue;
        snprintf(title, sizeof title, "sp-%s", o->role);
        prctl(PR_SET_NAME, title);
        int r = rundir_path(o->parent.rundir, "empty", empty);
        if (!r)
            r = role_user(o->parent.user, &user);
        tzset(); /* the log's dates are local: the zone is read before the root is empty */
        if (!r)
            r = role_enter(proc_row(id), &user, empty, getppid());
        if (!r)
            r = msg_chan_new(&chan, ROLE_CHANNEL);
        if (!r)
            return roles[i].run(chan);
        fprintf(stderr, "sallyportd: process %s cannot give its privileges up: %s\n", o->role,
                strerror(-r));
        return 1;
    }
    fprintf(stderr, "sallyportd: no process of the name %s\n", o->role);
    return EXIT_USAGE;
}

/* A daemon in the background leaves the folder it was started in, and may be told to reload. */
static int absolute(const char **path)
{
    char *whole = realpath(*path, NULL);
    if (!whole)
        return -errno;
    *path = whole; /* for as long as the daemon runs */
    return 0;
}

/* In the background the one who called waits until everything serves: exit 0, or 1 with the errors
 * on standard error. Returns the descriptor to report on, in the daemon only. */
static int go_background(struct parent_options *o)
{
    int fds[2];
    char c;
    if (mkdir(o->rundir, 0755) && errno != EEXIST)
        return -errno;
    int r = absolute(&o->config);
    if (!r)
        r = absolute(&o->rundir);
    if (r)
        return r;
    if (pipe2(fds, O_CLOEXEC))
        return -errno;
    pid_t pid = fork();
    if (pid < 0)
        return -errno;
    if (pid > 0) {
        close(fds[1]);
        _exit(read(fds[0], &c, 1) == 1 ? 0 : 1);
    }
    close(fds[0]);
    setsid();
    if (chdir("/")) {
        /* Then it stays where it is. */
    }
    return fds[1];
}

int main(int argc, char **argv)
{
    struct options o;
    int status = parse(argc, argv, &o);
    if (status >= 0)
        return status;
    if (o.role)
        return run_role(&o);
    if (o.version) {
        printf("sallyportd %s\n", SALLYPORT_VERSION);
        return 0;
    }
    if (o.check)
        return check_config(o.parent.config);
    if (geteuid()) {
        fputs("sallyportd: the parent needs root, of the machine or of a user namespace (unshare "
              "-Urn); -n needs none\n",
              stderr);
        return 1;
    }
    int started = o.parent.foreground ? -1 : go_background(&o.parent);
    if (started < 0 && !o.parent.foreground) {
        fprintf(stderr, "sallyportd: %s\n", strerror(-started));
        return 1;
    }
    return parent_run(&o.parent, started);
}
