/* The service manager's readiness protocol (sd_notify(3)), spoken without its library. All of it
 * does nothing where no manager listens. */
#ifndef SALLYPORT_MAIN_NOTIFY_H
#define SALLYPORT_MAIN_NOTIFY_H

/* "READY=1", "STOPPING=1", "RELOADING=1\nMONOTONIC_USEC=…": lines as in sd_notify(3). Never fails,
 * never blocks. */
void notify_state(const char *lines);
/* RELOADING=1 with the clock stamp that Type=notify-reload wants. */
void notify_reloading(void);
/* Leaves a copy of fd with the manager under that name: it comes back at the next start. */
void notify_keep_fd(const char *name, int fd);
/* The descriptor that the manager kept under that name, now the caller's, or -1. */
int notify_kept_fd(const char *name);

#endif
