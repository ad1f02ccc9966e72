/* The run-time folder: one a daemon. It holds the lock and pid, the control socket and the empty
 * folder that is the children's root. */
#ifndef SALLYPORT_MAIN_RUNDIR_H
#define SALLYPORT_MAIN_RUNDIR_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { RUNDIR_PATH = 108 };

/* Makes the folder where it is missing, its empty folder (0555), and takes the lock
 * (sallyportd.pid, with our pid in it). *lock is the caller's. -EBUSY: another daemon has it. */
int rundir_open(const char *rundir, int *lock);
/* Takes the pid file away, then lets go of the lock. */
void rundir_close(const char *rundir, int lock);
/* "RUNDIR/NAME" into buf (RUNDIR_PATH). 0 or -ENAMETOOLONG. */
int rundir_path(const char *rundir, const char *name, char *buf);

/* The listening control socket, for its owner only. *fd is non-blocking. 0 or -errno. */
int rundir_listen(const char *rundir, int *fd);
/* Lets two groups (GID_NONE: none) connect to it: mode 0660; a socket has one group, so the second
 * comes by an access control list. What they may do there, control decides. 0 or -errno. */
#define GID_NONE UINT32_MAX
int rundir_allow(const char *rundir, uint32_t read_gid, uint32_t change_gid);
/* The number of a group's name; GID_NONE for "" or a name that does not exist. */
uint32_t rundir_gid(const char *group);

/* Opens the day's audit file in folder dir (made if it is missing), to append:
 * "auditYYYY-MM-DD.log", later ones of the day
 * "-2.log" and so on; suffix is "log" or "jsonl". next: start the next one. fd or -errno. */
int rundir_audit(const char *dir, const char *suffix, int next);

#endif
