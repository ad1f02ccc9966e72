/* The tools' way to the daemon: the control socket of a RUNDIR, JSON-RPC 2.0 (hostd/control). */
#ifndef SALLYPORT_CTL_H
#define SALLYPORT_CTL_H

#include <jansson.h>

/* What a call came to; also the exit codes of every tool. */
enum {
    CTL_OK = 0,
    CTL_NOT_FOUND = 1,   /* no such thing */
    CTL_USAGE = 2,       /* no such method, or parameters that it does not take */
    CTL_NOT_RUNNING = 3, /* the daemon, or the process of it that answers */
    CTL_REFUSED = 4
};

enum { CTL_TEXT = 8192, CTL_FDS = 4 };

struct ctl_error {
    int exit; /* one of the above */
    int code; /* as the daemon gave it, or 0 */
    char text[CTL_TEXT];
};

/* given (a tool's -r), or $SALLYPORT_RUNDIR, or /run/sallyport. */
const char *ctl_rundir(const char *given);

struct ctl_conn;

/* All of these block, a call no longer than a minute. They return one of the codes above, and for
 * all but CTL_OK *e says why in a sentence. */
int ctl_connect(struct ctl_conn **out, const char *rundir, struct ctl_error *e);
void ctl_close(struct ctl_conn *c); /* NULL is fine */

/* Calls a method. params is taken (an object, or NULL). fds are passed beside the request and stay
 * the caller's. *result is the caller's: pages are joined, lists one behind the other. */
int ctl_call(struct ctl_conn *c, const char *method, json_t *params, const int *fds, unsigned n_fds,
             json_t **result, struct ctl_error *e);

/* The next event of what was subscribed on this connection: the caller's. Events that came during a
 * call are kept. timeout_ms < 0: waits for ever; when it is over, CTL_OK and *event is NULL. */
int ctl_next_event(struct ctl_conn *c, int timeout_ms, json_t **event, struct ctl_error *e);

#endif
