/* The writer of logs: the two-line form and JSON, each to a descriptor that the parent opened. */
#ifndef SALLYPORT_CONTROL_AUDIT_H
#define SALLYPORT_CONTROL_AUDIT_H

#include "hostd/base/log.h"

#include <stdbool.h>

/* As in MSG_FD_LOG: files in the two forms, and standard error in the two-line form. */
enum audit_form { AUDIT_TEXT = 1, AUDIT_JSON, AUDIT_CONSOLE, AUDIT_FORMS };

struct audit {
    int fd[AUDIT_FORMS]; /* by form; -1: none */
    bool file[AUDIT_FORMS];
    uint64_t size[AUDIT_FORMS];
    uint64_t size_max; /* octets after which full is called; 0: never */
    enum log_level level;
    uint32_t failed;         /* records that could not be written since the last that could */
    void (*full)(void *ctx); /* a file has its size: ask for the next */
    void (*written)(void *ctx, const struct log_record *r, uint64_t wall_sec);
    void *ctx;
    bool asked;
};

void audit_init(struct audit *a);
void audit_close(struct audit *a);
/* Takes fd in place of the one before; -EINVAL (fd closed) for an unknown form. */
int audit_fd(struct audit *a, uint32_t form, int fd);
/* Writes a record where its level is wanted. Never fails: what cannot be written is counted, and
 * said when writing works again. */
void audit_write(struct audit *a, const struct log_record *r, uint64_t wall_sec);
/* Reads a record of MSG_LOG, as hostile input: 0, or -EBADMSG. wall_sec is the sender's. */
int audit_parse(const char *body, size_t len, struct log_record *r, uint64_t *wall_sec);

#endif
