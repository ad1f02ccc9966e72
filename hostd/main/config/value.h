/* Readers of single values, by the types of the schema. */
#ifndef SALLYPORT_CONFIG_VALUE_H
#define SALLYPORT_CONFIG_VALUE_H

#include "hostd/main/config/schema.h"

struct value {
    const struct schema_key *key;
    const char *text;
    void *dst; /* the record, at the key's offset */
    /* Filled in on failure: what is wrong, and a better remedy than the key's, or "". */
    char what[200], remedy[200];
};

/* True for types that take a list; the reader is then called for each item. */
bool value_is_list(enum schema_type t);
/* Reads text into dst. */
bool value_read(struct value *v);
/* "a, b, c or d" of an allowed text "a=1|b=2|…". */
const char *value_words(const char *allowed, char *buf, size_t room);
/* The word nearest to text, or NULL where none is near. words ends with NULL. */
const char *value_nearest(const char *text, const char *const *words);

#endif
