#ifndef SALLYPORT_CALLS_INTERNAL_H
#define SALLYPORT_CALLS_INTERNAL_H

#include "hostd/data/calls.h"

struct call_row;

struct call {
    struct engine *e;
    json_t *params;
    int fd;
    uint64_t now;
    const struct call_row *row;
};

struct call_row {
    const char *name;
    json_t *(*run)(struct call *c);
    json_t *(*report)(struct engine *e, uint64_t now);
    bool testing; /* refused unless the configuration says testing: yes */
};

json_t *call_error(int code, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* reports.c: each returns a new reference. */
json_t *report_sa(struct engine *e, const struct sa *sa, uint64_t now);
json_t *report_sas(struct engine *e, uint64_t now);
json_t *report_policies(struct engine *e, uint64_t now);
json_t *report_cards(struct engine *e, uint64_t now);
json_t *report_counters(struct engine *e, uint64_t now);
json_t *report_cache(struct engine *e, uint64_t now);

#endif
