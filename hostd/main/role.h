/* A child's first steps: from the privileged image that the parent executed to the process of the
 * table, before it reads a single message. */
#ifndef SALLYPORT_MAIN_ROLE_H
#define SALLYPORT_MAIN_ROLE_H

#include "hostd/main/process.h"

#include <stdbool.h>
#include <sys/types.h>

enum { ROLE_CHANNEL = 3 }; /* the descriptor of the channel to the parent */

struct role_user {
    char name[64];
    uid_t uid;
    gid_t gid;
    bool mapped; /* false: "separation: namespace only" */
};

/* The named user, or "nobody" where it does not exist. 0 or -ENOENT. */
int role_user(const char *name, struct role_user *out);
/* Does a uid_map or gid_map text (its lines: first inside, first outside, count) map id? Pure. */
bool role_id_mapped(const char *map, unsigned long id);

/* Takes every privilege away from this process: empty root (folder empty), the user, capabilities,
 * NoNewPrivs, no core dumps, not traceable; the limit of locked memory is raised first. parent is
 * the pid that started it: -ESRCH when that is already gone. 0 or -errno; after an error the
 * process must end. */
int role_enter(const struct proc_row *row, const struct role_user *user, const char *empty,
               pid_t parent);

#endif
