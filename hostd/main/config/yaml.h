/* A YAML file as a plain tree in which every node keeps its place. The subset that a configuration
 * needs: one document, maps with words as keys, lists, scalars; no anchors, aliases, tags. */
#ifndef SALLYPORT_CONFIG_YAML_H
#define SALLYPORT_CONFIG_YAML_H

#include "hostd/main/config/report.h"

enum yn_kind { YN_SCALAR, YN_LIST, YN_MAP };

struct yn {
    enum yn_kind kind;
    bool empty; /* a plain scalar of no octets; its place is that of its key */
    bool bad;   /* an error was reported for it already: say nothing more */
    const struct source *src;
    size_t off;
    char *text;           /* of a scalar; no NUL within */
    const struct yn *key; /* in a map: the key's node, whose text is the key */
    struct yn *child, *last, *next;
    unsigned n; /* children */
    struct yn *parent;
};

/* Memory of one load, freed at once. */
struct arena {
    struct arena_block *blocks;
};
/* Zeroed, or NULL. */
void *arena_alloc(struct arena *a, size_t size);
void arena_free(struct arena *a);

/* Looks the file over and parses it. The tree, or NULL when that is impossible: then r has exactly
 * one new error (or, without memory, perhaps one). */
struct yn *yaml_parse(struct report *r, struct arena *a, const struct source *src);

#endif
