/* The privileged parent: children, messages, configuration, host. */
#ifndef SALLYPORT_MAIN_PARENT_H
#define SALLYPORT_MAIN_PARENT_H

#include <stdbool.h>

struct parent_options {
    const char *config; /* path of the file */
    const char *rundir;
    const char *user; /* the children's */
    bool foreground;
};

/* Runs the daemon until it is told to end. The exit status. Errors before the log is there go to
 * standard error. started_fd (or -1): gets one octet when everything serves, then is closed. */
int parent_run(const struct parent_options *o, int started_fd);

#endif
