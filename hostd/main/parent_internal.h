#ifndef SALLYPORT_MAIN_PARENT_INTERNAL_H
#define SALLYPORT_MAIN_PARENT_INTERNAL_H

#include "hostd/base/config.h"
#include "hostd/base/log_relay.h"
#include "hostd/main/child.h"
#include "hostd/main/host.h"
#include "hostd/main/parent.h"
#include "hostd/main/role.h"

#include <signal.h>

enum { PARENT_SIGNALS = 4 };

struct parent {
    struct parent_options opt;
    struct event_base *base;
    struct event *signal[PARENT_SIGNALS], *end_timer;
    struct log_relay *log;
    struct role_user user;
    struct cfg cfg;
    uint32_t state_sas; /* the room of the state memfd */
    int lock, control_fd, state_fd, started_fd;
    bool state_adopted; /* the next data process finds SAs of an earlier one */
    bool ipsec_stopped; /* by the method stop: a restarted data is told so */
    bool ready, ending, give_back;
    enum { RELEASE_NONE = 0, RELEASE_AFTER_STOP, RELEASE_ALL } release; /* asked for */
    int exit_status;
    struct child_env env;
    struct child child[PROC_COUNT];
    struct host *host;
};

/* --- parent.c --- */
/* Loads the file again. 0, or the number of errors with their text (malloc'd) in *errors. */
int parent_reload(struct parent *p, char **errors);
/* Ends the daemon in order: children first, then the host side. */
void parent_end(struct parent *p, bool give_back, const char *why);
/* stop (true) or start of IPsec, the processes staying. */
void parent_stop_ipsec(struct parent *p, bool stop);

/* --- parent_start.c: what a child gets before it serves --- */
/* A memfd of the configuration as JSON, sealed; or -errno. */
int parent_config_fd(const struct cfg *cfg);
int parent_open_state(struct parent *p);
void parent_give_config(struct parent *p, struct child *c);
/* Pairs, configuration and descriptors, in the order that msg.h tells. */
void parent_introduce(struct parent *p, struct child *c);
void parent_give_logs(struct parent *p, int next);
/* The control socket with the groups that may use it. 0 or -errno of the groups. */
int parent_give_control(struct parent *p);

/* --- parent_admin.c --- */
void parent_admin(struct parent *p, struct child *c, const struct msg *m);
void parent_reload_call(struct parent *p, struct child *c, const struct msg *m);

#endif
