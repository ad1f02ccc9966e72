/* What a child is given before it serves. Order for data: MSG_PEER per pair, MSG_CONFIG, MSG_FD
 * (STATE, NETLINK, then per interface TAP and port), MSG_START. For control: MSG_PEER, MSG_CONFIG,
 * MSG_FD (CONTROL, LOG, LOG). */
#include "hostd/base/log.h"
#include "hostd/main/notify.h"
#include "hostd/main/parent_internal.h"
#include "hostd/main/rundir.h"
#include "hostd/sa/store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static int write_all(int fd, const char *p, size_t len)
{
    while (len) {
        ssize_t n = write(fd, p, len);
        if (n < 0)
            return -errno;
        p += n;
        len -= (size_t)n;
    }
    return 0;
}

int parent_config_fd(const struct cfg *cfg)
{
    char *json = cfg_to_json(cfg);
    if (!json)
        return -ENOMEM;
    int fd = memfd_create("config", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    int r = fd < 0 ? -errno : write_all(fd, json, strlen(json));
    free(json);
    if (!r && fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL))
        r = -errno;
    if (!r && lseek(fd, 0, SEEK_SET))
        r = -errno;
    if (!r)
        return fd;
    if (fd >= 0)
        close(fd);
    return r;
}

enum { STATE_SEALS = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL };
static const char state_name[] = "sa-state";

/* One that the service manager kept for us: of an earlier parent, so its size is its own. */
static bool adopt_state(struct parent *p)
{
    struct stat st;
    int fd = notify_kept_fd(state_name);
    if (fd < 0)
        return false;
    if (fstat(fd, &st) || (fcntl(fd, F_GET_SEALS) & STATE_SEALS) != STATE_SEALS ||
        st.st_size < 2 * STORE_RECORD ||
        (uint64_t)st.st_size != ((uint64_t)p->cfg.limit_sas + 1) * STORE_RECORD) {
        close(fd);
        return false;
    }
    p->state_fd = fd;
    p->state_adopted = true;
    return true;
}

int parent_open_state(struct parent *p)
{
    p->state_sas = p->cfg.limit_sas;
    if (adopt_state(p))
        return 0;
    p->state_fd = memfd_create(state_name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (p->state_fd < 0)
        return -errno;
    if (ftruncate(p->state_fd, ((off_t)p->state_sas + 1) * STORE_RECORD) ||
        fcntl(p->state_fd, F_ADD_SEALS, STATE_SEALS))
        return -errno;
    notify_keep_fd(state_name, p->state_fd);
    return 0;
}

void parent_give_config(struct parent *p, struct child *c)
{
    int fd = parent_config_fd(&p->cfg);
    if (fd < 0)
        return; /* no memory: the child keeps the one it has, or dies and is started again */
    child_send(c, MSG_CONFIG, 0, NULL, 0, &fd, 1);
    close(fd);
}

static void give_pairs(struct parent *p, struct child *c)
{
    for (unsigned i = PROC_PARENT + 1; i < PROC_COUNT; i++) {
        struct child *other = &p->child[i];
        int fds[2];
        if (!other->pid || !proc_talks(c->id, other->id) || msg_pair(fds))
            continue;
        child_send_arg(c, MSG_PEER, other->id, &fds[0]);
        child_send_arg(other, MSG_PEER, c->id, &fds[1]);
        close(fds[0]);
        close(fds[1]);
    }
}

static void give(struct child *c, uint32_t kind, uint32_t arg, uint32_t ifindex, int fd)
{
    struct msg_fd what = {.kind = kind, .arg = arg, .ifindex = ifindex};
    child_send(c, MSG_FD, 0, &what, sizeof what, &fd, 1);
}

static int give_audit(struct parent *p, int next)
{
    static const char *const suffix[] = {"log", "jsonl"};
    for (unsigned i = 0; i < 2; i++) {
        int fd = rundir_audit(p->cfg.log_dir, suffix[i], next);
        if (fd < 0)
            return fd;
        give(&p->child[PROC_CONTROL], MSG_FD_LOG, i + 1, 0, fd);
        close(fd);
    }
    return 0;
}

void parent_give_logs(struct parent *p, int next)
{
    int r = p->cfg.log_dir[0] ? give_audit(p, next) : 0;
    if (r)
        log_event(MSG_LOG_NOT_OPENED, p->cfg.log_dir, strerror(-r));
    if (p->opt.foreground)
        give(&p->child[PROC_CONTROL], MSG_FD_LOG, 3, 0, STDERR_FILENO);
}

int parent_give_control(struct parent *p)
{
    uint32_t read_gid = rundir_gid(p->cfg.read_group), change_gid = rundir_gid(p->cfg.change_group);
    int r = rundir_allow(p->opt.rundir, read_gid, change_gid);
    give(&p->child[PROC_CONTROL], MSG_FD_CONTROL, read_gid, change_gid, p->control_fd);
    return r;
}

static void introduce_control(struct parent *p, struct child *c)
{
    parent_give_control(p);
    parent_give_logs(p, 0);
    log_relay_attach(p->log, c->chan);
}

static void introduce_data(struct parent *p, struct child *c)
{
    give(c, MSG_FD_STATE, p->state_adopted, 0, p->state_fd);
    p->state_adopted = true;
    host_attach(p->host);
    child_send(c, MSG_START, 0, NULL, 0, NULL, 0);
    if (p->ipsec_stopped)
        parent_stop_ipsec(p, true);
}

void parent_introduce(struct parent *p, struct child *c)
{
    give_pairs(p, c);
    parent_give_config(p, c);
    if (c->id == PROC_CONTROL)
        introduce_control(p, c);
    if (c->id == PROC_DATA)
        introduce_data(p, c);
}
