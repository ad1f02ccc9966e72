/* Errors of a configuration: collected, sorted by place, printed with line, caret and remedy. */
#ifndef SALLYPORT_CONFIG_REPORT_H
#define SALLYPORT_CONFIG_REPORT_H

#include "hostd/main/config/config_load.h"

#include <stdarg.h>
#include <stdbool.h>

enum { SOURCE_NAME = 512, REPORT_WHAT = 320, REPORT_REMEDY = 320 };

/* A file as read; no is its place in the order of reading. */
struct source {
    char name[SOURCE_NAME];
    char *data; /* owned, NUL behind it */
    size_t len;
    unsigned no;
};

struct report_error {
    const struct source *src; /* NULL: no place (the file could not be opened) */
    size_t off;
    unsigned seq;
    char what[REPORT_WHAT], remedy[REPORT_REMEDY];
};

struct report {
    struct report_error *list; /* room for CFG_ERRORS_MAX */
    unsigned n;
};

/* Adds an error at octet off of src. Both texts are formats: first what, then the remedy. Beyond
 * CFG_ERRORS_MAX nothing is added. */
__attribute__((format(printf, 4, 5))) void report_add(struct report *r, const struct source *src,
                                                      size_t off, const char *what, ...);
/* Sets the remedy of the error added last. */
__attribute__((format(printf, 2, 3))) void report_remedy(struct report *r, const char *remedy, ...);
bool report_full(const struct report *r);
void report_print(struct report *r, FILE *out);

/* Line and column, from 1; the column counts characters. */
void source_place(const struct source *src, size_t off, unsigned *line, unsigned *column);

#endif
