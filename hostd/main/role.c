#include "hostd/main/role.h"

#include <cap-ng.h>
#include <errno.h>
#include <grp.h>
#include <linux/securebits.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

bool role_id_mapped(const char *map, unsigned long id)
{
    unsigned long first, outside, count;
    int used;
    while (sscanf(map, "%lu %lu %lu%n", &first, &outside, &count, &used) == 3) {
        if (id >= first && id - first < count)
            return true;
        map += used;
    }
    return false;
}

static bool mapped_in(const char *path, unsigned long id)
{
    char map[4096];
    FILE *f = fopen(path, "re");
    if (!f)
        return true; /* a kernel without user namespaces maps everybody */
    size_t n = fread(map, 1, sizeof map - 1, f);
    fclose(f);
    map[n] = 0;
    return role_id_mapped(map, id);
}

int role_user(const char *name, struct role_user *out)
{
    const struct passwd *pw = getpwnam(name);
    if (!pw)
        pw = getpwnam("nobody");
    if (!pw)
        return -ENOENT;
    snprintf(out->name, sizeof out->name, "%s", pw->pw_name);
    out->uid = pw->pw_uid;
    out->gid = pw->pw_gid;
    out->mapped =
        mapped_in("/proc/self/uid_map", out->uid) && mapped_in("/proc/self/gid_map", out->gid);
    return 0;
}

static void set_limits(void)
{
    struct rlimit core = {0, 0}, all = {RLIM_INFINITY, RLIM_INFINITY}, r;
    setrlimit(RLIMIT_CORE, &core);
    /* DMA pools and key memory are locked. Without CAP_SYS_RESOURCE the hard limit is what there
     * is; a card that needs more than that refuses with a reason of its own. */
    if (setrlimit(RLIMIT_MEMLOCK, &all) && !getrlimit(RLIMIT_MEMLOCK, &r)) {
        r.rlim_cur = r.rlim_max;
        setrlimit(RLIMIT_MEMLOCK, &r);
    }
    if (!getrlimit(RLIMIT_NOFILE, &r)) {
        r.rlim_cur = r.rlim_max;
        setrlimit(RLIMIT_NOFILE, &r);
    }
}

/* In the empty root, without /proc, the library cannot read the bounding set and says so; the sets
 * that count here come by a system call. */
static void read_caps(void)
{
    int bounding_unknown = capng_get_caps_process();
    (void)bounding_unknown;
}

/* The order matters: the bounding set needs CAP_SETPCAP, chroot CAP_SYS_CHROOT, the user
 * CAP_SETUID. */
static int drop_bounds(void)
{
    capng_clear(CAPNG_SELECT_BOTH);
    if (capng_apply(CAPNG_SELECT_BOUNDS))
        return -EPERM;
    /* uid 0 of a namespace with one user stays uid 0: it must not mean anything. */
    if (prctl(PR_SET_SECUREBITS, SECBIT_NOROOT | SECBIT_NOROOT_LOCKED |
                                     SECBIT_NO_CAP_AMBIENT_RAISE |
                                     SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED))
        return -errno;
    return 0;
}

static int become(const struct role_user *user)
{
    if (!user->mapped)
        return 0;
    if (setgroups(0, NULL) || setresgid(user->gid, user->gid, user->gid) ||
        setresuid(user->uid, user->uid, user->uid))
        return -errno;
    return 0;
}

static int drop_caps(void)
{
    capng_clear(CAPNG_SELECT_BOTH);
    if (capng_apply(CAPNG_SELECT_CAPS))
        return -EPERM;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        return -errno;
    read_caps();
    if (capng_have_capabilities(CAPNG_SELECT_CAPS) > CAPNG_NONE)
        return -EPERM;
    return 0;
}

int role_enter(const struct proc_row *row, const struct role_user *user, const char *empty,
               pid_t parent)
{
    set_limits();
    read_caps(); /* while /proc can be read */
    int r = row->drops ? drop_bounds() : 0;
    if (!r && row->chroots && (chroot(empty) || chdir("/")))
        r = -errno;
    if (!r && row->drops)
        r = become(user);
    if (!r && row->drops)
        r = drop_caps();
    if (r)
        return r;
    /* A change of user clears both of these, so they come last. */
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) || prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0))
        return -errno;
    return getppid() == parent ? 0 : -ESRCH;
}
