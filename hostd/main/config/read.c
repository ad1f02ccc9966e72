/* See read.h. */
#include "hostd/main/config/read.h"

#include "hostd/main/config/value.h"

#include <errno.h>
#include <string.h>

enum { MAP_MAX = 64 }; /* keys of one map: no object has nearly as many */

const char *rec_name(const struct rec *r)
{
    return r->object->many ? r->data : "";
}

const struct yn *rec_at(const struct rec *r, const char *key)
{
    const struct schema_key *k = schema_key_find(r->id, key);
    const struct yn *n = k ? r->vals[schema_key_index(k)] : NULL;

    return n ? n : r->node;
}

bool rec_has(const struct rec *r, const char *key)
{
    const struct schema_key *k = schema_key_find(r->id, key);
    return k && r->vals[schema_key_index(k)];
}

struct rec *rec_find(const struct loader *l, enum schema_object_id id, const char *name)
{
    for (struct rec *r = l->first[id]; r; r = r->next)
        if (strcmp(rec_name(r), name) == 0)
            return r;
    return NULL;
}

void rec_error(struct loader *l, struct rec *r, const char *key, const char *what, ...)
{
    const struct schema_key *k = schema_key_find(r->id, key);
    const struct yn *n = rec_at(r, key);
    char text[REPORT_WHAT];
    va_list ap;

    va_start(ap, what);
    vsnprintf(text, sizeof text, what, ap);
    va_end(ap);
    report_add(&l->report, n->src, n->off, "%s.%s: %s", r->object->name, key, text);
    report_remedy(&l->report, "%s", k ? k->remedy : r->object->example);
    r->bad = true;
}

static void node_error(struct loader *l, const struct yn *n, const char *what, const char *name,
                       const char *remedy)
{
    if (n->bad)
        return;
    report_add(&l->report, n->src, n->off, "%s%s%s", name, *name ? ": " : "", what);
    report_remedy(&l->report, "%s", remedy);
}

static void key_error(struct loader *l, struct rec *r, const struct schema_key *k,
                      const struct yn *n, const struct value *v)
{
    const char *dot = *r->object->name ? "." : "";

    r->bad = true;
    if (n->bad)
        return;
    report_add(&l->report, n->src, n->off, "%s%s%s: %s", r->object->name, dot, k->key, v->what);
    report_remedy(&l->report, "%s%s%s", v->remedy, v->remedy[0] ? " " : "", k->remedy);
}

static void read_scalar(struct loader *l, struct rec *r, const struct schema_key *k,
                        const struct yn *n)
{
    struct value v = {.key = k, .text = n->text, .dst = (char *)r->data + k->off};

    if (n->kind != YN_SCALAR) {
        snprintf(v.what, sizeof v.what, "a %s stands where one value should",
                 n->kind == YN_LIST ? "list" : "map");
        key_error(l, r, k, n, &v);
    } else if (n->empty) {
        snprintf(v.what, sizeof v.what, "there is no value");
        key_error(l, r, k, n, &v);
    } else if (n->bad || !value_read(&v)) {
        key_error(l, r, k, n, &v);
    }
}

static void read_key(struct loader *l, struct rec *r, const struct schema_key *k,
                     const struct yn *n)
{
    struct value v = {.key = k};

    r->vals[schema_key_index(k)] = n;
    if (!value_is_list(k->type) || n->kind == YN_SCALAR) {
        read_scalar(l, r, k, n);
        return;
    }
    if (n->kind == YN_MAP || n->n == 0) {
        snprintf(v.what, sizeof v.what,
                 n->n ? "a map stands where a list should" : "there is no value");
        key_error(l, r, k, n, &v);
        return;
    }
    for (const struct yn *i = n->child; i && !report_full(&l->report); i = i->next)
        read_scalar(l, r, k, i);
}

/* Defaults go in before what is written: a list that is written has none. */
static void read_fallbacks(struct rec *r)
{
    const struct schema_key *k;

    for (unsigned i = 0; (k = schema_key_at(i)); i++) {
        struct value v = {.key = k, .text = k->fallback, .dst = (char *)r->data + k->off};
        if (k->object == r->id && k->fallback && k->fallback[0])
            value_read(&v);
    }
}

static void unknown_key(struct loader *l, enum schema_object_id id, const struct yn *key)
{
    const char *words[SCHEMA_KEYS_MAX + OBJ_COUNT + 2];
    const char *name = schema_object(id)->name;
    unsigned n = 0;
    const char *near;

    for (unsigned i = 0; schema_key_at(i); i++)
        if (schema_key_at(i)->object == id)
            words[n++] = schema_key_at(i)->key;
    for (int i = OBJ_CARD; id == OBJ_TOP && i < OBJ_COUNT; i++)
        words[n++] = schema_object((enum schema_object_id)i)->name;
    if (id == OBJ_TOP)
        words[n++] = "include";
    words[n] = NULL;
    near = value_nearest(key->text, words);
    report_add(&l->report, key->src, key->off, "%s%sthere is no key \"%.60s\"", name,
               *name ? ": " : "", key->text);
    if (near)
        report_remedy(&l->report, "did you mean %s?", near);
    else
        report_remedy(&l->report, "take it out; see the option reference for what %s can have",
                      *name ? name : "a configuration");
}

/* True when an earlier child of the map has the same key: reported. */
static bool doubled(struct loader *l, const struct yn *map, const struct yn *n)
{
    unsigned line, column;

    for (const struct yn *o = map->child; o != n; o = o->next) {
        if (strcmp(o->key->text, n->key->text) == 0) {
            source_place(o->src, o->key->off, &line, &column);
            report_add(&l->report, n->src, n->key->off, "%.60s is given twice, first in line %u",
                       n->key->text, line);
            report_remedy(&l->report, "keep one of the two");
            return true;
        }
    }
    return false;
}

static bool map_fits(struct loader *l, const struct yn *map)
{
    if (map->n <= MAP_MAX)
        return true;
    node_error(l, map, "there are too many keys here", "", "keep those of the option reference");
    return false;
}

static void read_keys(struct loader *l, struct rec *r)
{
    const struct schema_key *k;

    if (!map_fits(l, r->node)) {
        r->bad = true;
        return;
    }
    for (const struct yn *n = r->node->child; n && !report_full(&l->report); n = n->next) {
        k = schema_key_find(r->id, n->key->text);
        if (n->key->bad || doubled(l, r->node, n))
            r->bad = true;
        else if (k)
            read_key(l, r, k, n);
        else
            unknown_key(l, r->id, n->key);
        r->bad |= !k;
    }
}

static void check_required(struct loader *l, struct rec *r)
{
    const struct schema_key *k;

    for (unsigned i = 0; (k = schema_key_at(i)); i++) {
        if (k->object != r->id || k->fallback || r->vals[i])
            continue;
        r->bad = true;
        report_add(&l->report, r->node->src, r->node->off, "%s: %s is missing", r->object->name,
                   k->key);
        report_remedy(&l->report, "%s", k->remedy);
    }
}

static struct rec *new_rec(struct loader *l, enum schema_object_id id, const struct yn *node)
{
    const struct schema_object *o = schema_object(id);
    struct rec *r = arena_alloc(&l->arena, sizeof *r);

    if (!r)
        return NULL;
    *r = (struct rec){.object = o, .id = id, .node = node};
    r->data = arena_alloc(&l->arena, o->size);
    r->vals = arena_alloc(&l->arena, SCHEMA_KEYS_MAX * sizeof *r->vals);
    if (!r->data || !r->vals)
        return NULL;
    if (l->last[id])
        l->last[id]->next = r;
    else
        l->first[id] = r;
    l->last[id] = r;
    l->count[id]++;
    read_fallbacks(r);
    return r;
}

static void no_memory(struct loader *l, const struct yn *n)
{
    report_add(&l->report, n->src, n->off, "there is no memory for this record");
    report_remedy(&l->report, "free memory, or make the configuration smaller");
}

static void check_doubled_name(struct loader *l, struct rec *r)
{
    struct rec *first = r->object->many ? rec_find(l, r->id, rec_name(r)) : NULL;
    unsigned line, column;

    if (!first || first == r || r->bad)
        return;
    source_place(first->node->src, rec_at(first, "name")->off, &line, &column);
    rec_error(l, r, "name", "\"%.60s\" is given twice, first in %s line %u", rec_name(r),
              first->node->src->name, line);
}

static void not_a_record(struct loader *l, const struct schema_object *o, const struct yn *n)
{
    bool empty = n->kind == YN_SCALAR && n->empty;

    if (n->bad)
        return;
    report_add(&l->report, n->src, n->off, "%s: %s", o->name,
               empty ? "there is no value" : "a record should stand here");
    report_remedy(&l->report, "write %s", o->example);
}

static void read_record(struct loader *l, enum schema_object_id id, const struct yn *n)
{
    const struct schema_object *o = schema_object(id);
    struct rec *r;

    if (n->kind != YN_MAP) {
        not_a_record(l, o, n);
        return;
    }
    if (l->count[id] == o->max) {
        report_add(&l->report, n->src, n->off, "%s: there may be %u at most", o->name, o->max);
        report_remedy(&l->report, o->max == 1 ? "keep one of them" : "take some out");
        return;
    }
    r = new_rec(l, id, n);
    if (!r) {
        no_memory(l, n);
        return;
    }
    read_keys(l, r);
    check_required(l, r);
    check_doubled_name(l, r);
}

static void read_object(struct loader *l, enum schema_object_id id, const struct yn *n)
{
    if (n->kind != YN_LIST || !schema_object(id)->many) {
        read_record(l, id, n);
        return;
    }
    for (const struct yn *i = n->child; i && !report_full(&l->report); i = i->next)
        read_record(l, id, i);
}

/* Keys outside any object live in one record whose node is the first top map. */
static struct rec *top_rec(struct loader *l, const struct yn *top)
{
    return l->first[OBJ_TOP] ? l->first[OBJ_TOP] : new_rec(l, OBJ_TOP, top);
}

static void read_top_key(struct loader *l, const struct yn *top, const struct yn *n)
{
    const struct schema_key *k = schema_key_find(OBJ_TOP, n->key->text);
    enum schema_object_id id = schema_object_by_name(n->key->text);
    struct rec *r = top_rec(l, top);

    if (id != OBJ_COUNT) {
        read_object(l, id, n);
    } else if (!k) {
        unknown_key(l, OBJ_TOP, n->key);
    } else if (!r) {
        no_memory(l, n);
    } else if (r->vals[schema_key_index(k)]) {
        node_error(l, n, "this is given in another file too", k->key, "keep one of the two");
    } else {
        read_key(l, r, k, n);
    }
}

static void read_includes(struct loader *l, const struct yn *n, unsigned depth,
                          void (*include)(struct loader *, const struct yn *, unsigned))
{
    static const char remedy[] = "write include: other.yaml, or a list of such names";
    const struct yn *i = n->kind == YN_LIST ? n->child : n;

    if (n->kind == YN_MAP || !i)
        node_error(l, n, "this should be a file or a list of files", "include", remedy);
    for (; i && n->kind != YN_MAP; i = n->kind == YN_LIST ? i->next : NULL) {
        if (i->kind != YN_SCALAR || !*i->text)
            node_error(l, i, "the name of a file should stand here", "include", remedy);
        else if (!i->bad)
            include(l, i, depth);
    }
}

void read_top(struct loader *l, const struct yn *top, unsigned depth,
              void (*include)(struct loader *, const struct yn *, unsigned))
{
    if (top->kind != YN_MAP) {
        node_error(l, top, "the file is not a map of objects", "",
                   "write OBJECT: at the beginning of a line, as in policy:");
        return;
    }
    if (!map_fits(l, top))
        return;
    for (const struct yn *n = top->child; n && !report_full(&l->report); n = n->next) {
        if (n->key->bad || doubled(l, top, n))
            continue;
        if (strcmp(n->key->text, "include") == 0)
            read_includes(l, n, depth, include);
        else
            read_top_key(l, top, n);
    }
}

int read_missing(struct loader *l)
{
    for (int i = 0; i < OBJ_COUNT; i++) {
        const struct schema_object *o = schema_object((enum schema_object_id)i);
        if (!o->many && !l->first[i] && !new_rec(l, (enum schema_object_id)i, NULL))
            return -ENOMEM;
    }
    return 0;
}
