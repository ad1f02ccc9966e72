/* A tree becomes records by the schema; then the records are checked against each other. */
#ifndef SALLYPORT_CONFIG_READ_H
#define SALLYPORT_CONFIG_READ_H

#include "hostd/main/config/schema.h"
#include "hostd/main/config/yaml.h"

struct rec {
    const struct schema_object *object;
    enum schema_object_id id;
    const struct yn *node;
    void *data;             /* the struct of the object, defaults filled in; a name comes first */
    const struct yn **vals; /* by schema_key_index: what was written, or NULL */
    bool bad;               /* an error was reported in it: its values may be missing */
    struct rec *next;       /* of the same object, in order */
};

struct loader {
    struct report report;
    struct arena arena;
    struct source *sources[CFG_FILES_MAX];
    unsigned n_sources;
    cfg_reader read;
    void *ctx;
    struct rec *first[OBJ_COUNT], *last[OBJ_COUNT];
    unsigned count[OBJ_COUNT];
    bool incomplete; /* a file could not be read: what seems to be missing may stand there */
};

/* Reads a top map: records are added to l. include is called for each value of the key include. */
void read_top(struct loader *l, const struct yn *top, unsigned depth,
              void (*include)(struct loader *l, const struct yn *name, unsigned depth));
/* A record with nothing but defaults for each object of one record that was not written. 0 or
 * -ENOMEM. */
int read_missing(struct loader *l);

/* The name of a record, and where a key of it was written (else the record itself). */
const char *rec_name(const struct rec *r);
const struct yn *rec_at(const struct rec *r, const char *key);
bool rec_has(const struct rec *r, const char *key);
struct rec *rec_find(const struct loader *l, enum schema_object_id id, const char *name);

/* An error of a key of a record: what is wrong (a format); the remedy is the key's. */
__attribute__((format(printf, 4, 5))) void rec_error(struct loader *l, struct rec *r,
                                                     const char *key, const char *what, ...);

/* cross.c: checks between records, and where there is no error in all the making of *out (build.c).
 * Records with errors of their own are looked at as far as that makes sense. 0, or -ENOMEM. */
int cross_check(struct loader *l, struct cfg *out);
int build_cfg(struct loader *l, struct cfg *out);

#endif
