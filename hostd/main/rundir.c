#include "hostd/main/rundir.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

int rundir_path(const char *rundir, const char *name, char *buf)
{
    int n = snprintf(buf, RUNDIR_PATH, "%s/%s", rundir, name);
    return n < 0 || n >= RUNDIR_PATH ? -ENAMETOOLONG : 0;
}

static int make_folder(const char *path, mode_t mode)
{
    if (mkdir(path, mode) && errno != EEXIST)
        return -errno;
    struct stat st;
    if (lstat(path, &st))
        return -errno;
    return S_ISDIR(st.st_mode) ? 0 : -ENOTDIR;
}

static int take_lock(const char *path, int *lock)
{
    for (;;) {
        struct stat held, named;
        int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
        if (fd < 0)
            return -errno;
        if (flock(fd, LOCK_EX | LOCK_NB)) {
            int e = errno;
            close(fd);
            return e == EWOULDBLOCK ? -EBUSY : -e;
        }
        /* The one who held it may have taken the name away meanwhile: then lock the new file. */
        if (!fstat(fd, &held) && !stat(path, &named) && held.st_ino == named.st_ino &&
            held.st_dev == named.st_dev) {
            *lock = fd;
            return 0;
        }
        close(fd);
    }
}

int rundir_open(const char *rundir, int *lock)
{
    char path[RUNDIR_PATH];
    int r = make_folder(rundir, 0755);
    if (!r)
        r = rundir_path(rundir, "empty", path);
    if (!r)
        r = make_folder(path, 0555);
    if (!r)
        r = chmod(path, 0555) ? -errno : 0;
    if (!r)
        r = rundir_path(rundir, "sallyportd.pid", path);
    if (!r)
        r = take_lock(path, lock);
    if (r)
        return r;
    char pid[16];
    int n = snprintf(pid, sizeof pid, "%d\n", getpid());
    if (ftruncate(*lock, 0) || write(*lock, pid, (size_t)n) != n) {
        r = -errno;
        close(*lock);
    }
    return r;
}

void rundir_close(const char *rundir, int lock)
{
    char path[RUNDIR_PATH];
    if (!rundir_path(rundir, "sallyportd.pid", path))
        unlink(path);
    if (!rundir_path(rundir, "control.sock", path))
        unlink(path);
    close(lock);
}

uint32_t rundir_gid(const char *group)
{
    const struct group *g = *group ? getgrnam(group) : NULL;
    return g ? g->gr_gid : GID_NONE;
}

/* acl(5) as the kernel's attribute: version 2, then (tag, permissions, id), little-endian; the
 * entries in the order of their tags. */
static void allow_group(const char *path, uint32_t gid)
{
    struct {
        uint16_t tag, perm;
        uint32_t id;
    } e[] = {
        {0x01, 6, UINT32_MAX}, /* owner */
        {0x04, 6, UINT32_MAX}, /* the file's group */
        {0x08, 6, gid},        /* this group */
        {0x10, 6, UINT32_MAX}, /* mask */
        {0x20, 0, UINT32_MAX}, /* others */
    };
    uint8_t acl[4 + sizeof e] = {2, 0, 0, 0};
    memcpy(acl + 4, e, sizeof e);
    if (setxattr(path, "system.posix_acl_access", acl, sizeof acl, 0)) {
        /* A file system without lists: that group's members need the other group, or root. */
    }
}

int rundir_allow(const char *rundir, uint32_t read_gid, uint32_t change_gid)
{
    char path[RUNDIR_PATH];
    uint32_t owner = change_gid != GID_NONE ? change_gid : read_gid;
    int r = rundir_path(rundir, "control.sock", path);
    if (r)
        return r;
    removexattr(path, "system.posix_acl_access");
    if (chmod(path, 0660))
        return -errno;
    /* EINVAL: a group that this namespace does not map. */
    if (chown(path, (uid_t)-1, owner != GID_NONE ? owner : 0) && errno != EINVAL)
        return -errno;
    if (read_gid != GID_NONE && read_gid != owner)
        allow_group(path, read_gid);
    return 0;
}

int rundir_listen(const char *rundir, int *fd)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    int r = rundir_path(rundir, "control.sock", sa.sun_path);
    if (r)
        return r;
    int s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (s < 0)
        return -errno;
    unlink(sa.sun_path); /* we hold the lock: what is there is dead */
    mode_t before = umask(0177);
    r = bind(s, (struct sockaddr *)&sa, sizeof sa) || listen(s, 64) ? -errno : 0;
    umask(before);
    if (r) {
        close(s);
        return r;
    }
    *fd = s;
    return 0;
}

static int audit_name(char *buf, size_t room, const char *dir, const char *suffix, unsigned i)
{
    char day[16];
    struct tm tm;
    time_t now = time(NULL);
    if (!localtime_r(&now, &tm) || !strftime(day, sizeof day, "%Y-%m-%d", &tm))
        return -EINVAL;
    int n = i == 1 ? snprintf(buf, room, "%s/audit%s.%s", dir, day, suffix)
                   : snprintf(buf, room, "%s/audit%s-%u.%s", dir, day, i, suffix);
    return n < 0 || (size_t)n >= room ? -ENAMETOOLONG : 0;
}

int rundir_audit(const char *dir, const char *suffix, int next)
{
    char path[256];
    unsigned i = 1;
    int r = make_folder(dir, 0750);
    if (r)
        return r;
    while (!(r = audit_name(path, sizeof path, dir, suffix, i)) && !access(path, F_OK))
        i++;
    if (!r && i > 1 && !next)
        r = audit_name(path, sizeof path, dir, suffix, i - 1);
    if (r)
        return r;
    int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY, 0640);
    return fd < 0 ? -errno : fd;
}
