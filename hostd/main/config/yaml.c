/* See yaml.h. libfyaml's events are used, not its documents: an event says where a thing stands,
 * aliases stay visible, and doubled keys reach us. */
#include "hostd/main/config/yaml.h"

#include <libfyaml.h>
#include <stdlib.h>
#include <string.h>

enum { DEPTH_MAX = 16, BLOCK = 16384 };

struct arena_block {
    struct arena_block *next;
    size_t used, room;
    _Alignas(max_align_t) char data[];
};

void *arena_alloc(struct arena *a, size_t size)
{
    struct arena_block *b = a->blocks;
    size_t need = (size + sizeof(max_align_t) - 1) / sizeof(max_align_t) * sizeof(max_align_t);
    void *p;

    if (!b || b->room - b->used < need) {
        size_t room = need > BLOCK ? need : BLOCK;
        b = calloc(1, sizeof *b + room);
        if (!b)
            return NULL;
        b->room = room;
        b->next = a->blocks;
        a->blocks = b;
    }
    p = b->data + b->used;
    b->used += need;
    return p;
}

void arena_free(struct arena *a)
{
    while (a->blocks) {
        struct arena_block *b = a->blocks;
        a->blocks = b->next;
        free(b);
    }
}

/* --- the look before parsing --------------------------------------------------------------------
 */

/* Octets of the UTF-8 character at p, 0 for none. */
static size_t utf8_len(const unsigned char *p, size_t left)
{
    size_t n = p[0] < 0x80 ? 1 : p[0] >> 5 == 6 ? 2 : p[0] >> 4 == 14 ? 3 : p[0] >> 3 == 30 ? 4 : 0;

    if (n == 0 || n > left)
        return 0;
    for (size_t i = 1; i < n; i++)
        if (p[i] >> 6 != 2)
            return 0;
    if ((n == 2 && p[0] < 0xc2) || (n == 3 && p[0] == 0xe0 && p[1] < 0xa0) ||
        (n == 3 && p[0] == 0xed && p[1] > 0x9f) || (n == 4 && p[0] == 0xf0 && p[1] < 0x90) ||
        (n == 4 && (p[0] > 0xf4 || (p[0] == 0xf4 && p[1] > 0x8f))))
        return 0;
    return n;
}

static bool scan_fail(struct report *r, const struct source *src, size_t off, const char *what,
                      const char *remedy)
{
    report_add(r, src, off, "%s", what);
    report_remedy(r, "%s", remedy);
    return false;
}

static bool scan_octets(struct report *r, const struct source *src)
{
    const unsigned char *p = (const unsigned char *)src->data;

    for (size_t i = 0, n; i < src->len; i += n) {
        n = utf8_len(p + i, src->len - i);
        if (n == 0)
            return scan_fail(r, src, i, "the file is not UTF-8 here", "save the file as UTF-8");
        if (p[i] == 0)
            return scan_fail(r, src, i, "the file has an octet of value 0",
                             "save the file as plain text in UTF-8");
        if ((p[i] < 0x20 && !strchr("\t\n\r", p[i])) || p[i] == 0x7f)
            return scan_fail(r, src, i, "the file has a control character here",
                             "take the control character out");
    }
    return true;
}

/* Tabs in indentation are an old trap of YAML: some are legal, all are refused. */
static bool scan_tabs(struct report *r, const struct source *src)
{
    for (size_t i = 0; i < src->len;) {
        size_t start = i, tab = SIZE_MAX;
        for (; i < src->len && (src->data[i] == ' ' || src->data[i] == '\t'); i++)
            if (src->data[i] == '\t' && tab == SIZE_MAX)
                tab = i;
        if (tab != SIZE_MAX && i < src->len && !strchr("\r\n#", src->data[i]))
            return scan_fail(r, src, tab, "a tab stands in the indentation",
                             "indent with spaces only");
        while (i < src->len && src->data[i] != '\n')
            i++;
        i += i < src->len;
        if (i == start)
            break;
    }
    return true;
}

static bool scan(struct report *r, const struct source *src)
{
    if (src->len > CFG_FILE_MAX) {
        report_add(r, src, 0, "the file is larger than %d KiB", CFG_FILE_MAX / 1024);
        report_remedy(r, "divide it and name the parts under include");
        return false;
    }
    return scan_octets(r, src) && scan_tabs(r, src);
}

/* --- events to a tree ---------------------------------------------------------------------------
 */

struct builder {
    struct report *r;
    struct arena *a;
    const struct source *src;
    struct yn *root, *open; /* open: the list or map that takes children */
    struct yn *key;         /* a key that waits for its value */
    unsigned depth, documents;
    bool failed; /* an error that ends the reading is reported */
};

static bool build_fail(struct builder *b, size_t off, const char *what, const char *remedy)
{
    b->failed = true;
    return scan_fail(b->r, b->src, off, what, remedy);
}

static struct yn *new_node(struct builder *b, enum yn_kind kind, size_t off)
{
    struct yn *n = arena_alloc(b->a, sizeof *n);

    if (!n) {
        build_fail(b, off, "there is no memory for this file", "make the file smaller");
        return NULL;
    }
    n->kind = kind;
    n->src = b->src;
    n->off = off < b->src->len ? off : b->src->len;
    return n;
}

/* Puts a node where it belongs: the root, an item, a key or a value. */
static bool place_node(struct builder *b, struct yn *n)
{
    struct yn *to = b->open;

    if (!to) {
        b->root = n;
        return true;
    }
    if (to->kind == YN_MAP && !b->key) {
        if (n->kind != YN_SCALAR)
            return build_fail(b, n->off, "a list or map stands where a key should",
                              "write KEY: VALUE");
        b->key = n;
        return true;
    }
    n->key = b->key;
    n->parent = to;
    if (n->empty && b->key)
        n->off = b->key->off;
    b->key = NULL;
    if (to->last)
        to->last->next = n;
    else
        to->child = n;
    to->last = n;
    to->n++;
    return true;
}

static size_t token_off(const struct builder *b, struct fy_token *t)
{
    const struct fy_mark *m = t ? fy_token_start_mark(t) : NULL;
    return m && m->input_pos <= b->src->len ? m->input_pos : b->src->len;
}

/* The token of an anchor or alias begins behind its sign. */
static size_t sign_off(const struct builder *b, struct fy_token *t, char sign)
{
    size_t off = token_off(b, t);
    return off && b->src->data[off - 1] == sign ? off - 1 : off;
}

/* Reports what a configuration does not have; true when there was such a thing. */
static bool refuse_marks(struct builder *b, struct fy_token *anchor, struct fy_token *tag)
{
    if (anchor)
        scan_fail(b->r, b->src, sign_off(b, anchor, '&'), "an anchor (&) has no place here",
                  "write the value out where it is used; put a value that begins with & in quotes");
    if (tag)
        scan_fail(b->r, b->src, token_off(b, tag), "a tag (!) has no place here",
                  "write the value without it; put a value that begins with ! in quotes");
    return anchor || tag;
}

static bool on_alias(struct builder *b, struct fy_event *e)
{
    struct yn *n = new_node(b, YN_SCALAR, sign_off(b, e->alias.anchor, '*'));
    static char nothing[] = "";

    if (!n)
        return false;
    scan_fail(b->r, b->src, n->off, "an alias (*) has no place here",
              "write the value out; put a value that begins with * in quotes");
    n->text = nothing;
    n->bad = true;
    return place_node(b, n);
}

/* The token of a quoted text begins behind the quote. */
static size_t scalar_off(const struct builder *b, struct fy_token *t)
{
    enum fy_scalar_style style = fy_token_scalar_style(t);

    if (style == FYSS_SINGLE_QUOTED)
        return sign_off(b, t, '\'');
    return style == FYSS_DOUBLE_QUOTED ? sign_off(b, t, '"') : token_off(b, t);
}

static bool on_scalar(struct builder *b, struct fy_event *e)
{
    size_t len = 0;
    const char *text = fy_token_get_text(e->scalar.value, &len);
    struct yn *n = new_node(b, YN_SCALAR, scalar_off(b, e->scalar.value));

    if (!n)
        return false;
    n->text = arena_alloc(b->a, len + 1);
    if (!n->text)
        return build_fail(b, n->off, "there is no memory for this file", "make the file smaller");
    if (len)
        memcpy(n->text, text, len);
    n->empty = len == 0 && fy_token_scalar_style(e->scalar.value) == FYSS_PLAIN;
    n->bad = refuse_marks(b, e->scalar.anchor, e->scalar.tag);
    for (size_t i = 0; i < len && !n->bad; i++) {
        n->bad = (unsigned char)text[i] < 0x20 || text[i] == 0x7f;
        if (n->bad)
            scan_fail(b->r, b->src, n->off, "the value has a line break or a control character",
                      "write the value on one line, without escapes");
    }
    return place_node(b, n);
}

static bool on_open(struct builder *b, enum yn_kind kind, struct fy_token *start,
                    struct fy_token *anchor, struct fy_token *tag)
{
    struct yn *n = new_node(b, kind, token_off(b, start));

    if (!n || !place_node(b, n))
        return false;
    n->parent = b->open;
    b->open = n;
    refuse_marks(b, anchor, tag);
    if (++b->depth > DEPTH_MAX)
        return build_fail(b, n->off, "lists and maps are nested too deep",
                          "write what the option reference shows: nothing there is so deep");
    return true;
}

static bool on_close(struct builder *b)
{
    b->open = b->open->parent;
    b->depth--;
    return true;
}

static bool on_document(struct builder *b, struct fy_event *e)
{
    if (++b->documents == 1)
        return true;
    return build_fail(b, token_off(b, e->document_start.document_start),
                      "a second document begins here",
                      "keep one document in a file; other files are named under include");
}

static bool on_event(struct builder *b, struct fy_event *e)
{
    switch (e->type) {
    case FYET_DOCUMENT_START:
        return on_document(b, e);
    case FYET_ALIAS:
        return on_alias(b, e);
    case FYET_SCALAR:
        return on_scalar(b, e);
    case FYET_MAPPING_START:
        return on_open(b, YN_MAP, e->mapping_start.mapping_start, e->mapping_start.anchor,
                       e->mapping_start.tag);
    case FYET_SEQUENCE_START:
        return on_open(b, YN_LIST, e->sequence_start.sequence_start, e->sequence_start.anchor,
                       e->sequence_start.tag);
    case FYET_MAPPING_END:
    case FYET_SEQUENCE_END:
        return on_close(b);
    default:
        return true;
    }
}

static size_t place_off(const struct source *src, int line, int column)
{
    size_t off = 0;

    for (; line > 1 && off < src->len; off++)
        line -= src->data[off] == '\n';
    for (; column > 1 && off < src->len && src->data[off] != '\n'; column--) {
        off++;
        while (off < src->len && ((unsigned char)src->data[off] & 0xc0) == 0x80)
            off++;
    }
    return off;
}

/* The first error of the parser, in its words. */
static void syntax_error(struct builder *b, struct fy_diag *diag)
{
    void *iter = NULL;
    struct fy_diag_error *e;

    while ((e = fy_diag_errors_iterate(diag, &iter)) && e->type != FYET_ERROR)
        ;
    report_add(b->r, b->src, e ? place_off(b->src, e->line, e->column) : b->src->len,
               "this is not YAML: %s", e && e->msg ? e->msg : "the reading ended here");
    report_remedy(b->r, "look at the indentation, colons, quotes and brackets here and on the line "
                        "before; a value with : # { [ , & * ! in it goes in quotes");
    b->failed = true;
}

static void read_events(struct builder *b, struct fy_parser *p, struct fy_diag *diag)
{
    struct fy_event *e;
    bool end = false, go = true;

    while (go && !end && (e = fy_parser_parse(p))) {
        end = e->type == FYET_STREAM_END;
        go = on_event(b, e);
        fy_parser_event_free(p, e);
    }
    if (!end && !b->failed)
        syntax_error(b, diag);
}

struct yn *yaml_parse(struct report *r, struct arena *a, const struct source *src)
{
    struct builder b = {.r = r, .a = a, .src = src};
    struct fy_parse_cfg cfg = {.flags = FYPCF_DEFAULT_VERSION_1_2 | FYPCF_JSON_NONE};
    struct fy_parser *p = NULL;

    if (!scan(r, src))
        return NULL;
    cfg.diag = fy_diag_create(NULL);
    if (cfg.diag)
        fy_diag_set_collect_errors(cfg.diag, true);
    p = cfg.diag ? fy_parser_create(&cfg) : NULL;
    if (!p || fy_parser_set_string(p, src->data, src->len))
        build_fail(&b, 0, "there is no memory for this file", "make the file smaller");
    else
        read_events(&b, p, cfg.diag);
    fy_parser_destroy(p);
    fy_diag_destroy(cfg.diag);
    if (b.failed)
        return NULL;
    if (!b.root || (b.root->kind == YN_SCALAR && b.root->empty)) {
        scan_fail(r, src, 0, "the file has nothing in it",
                  "write the objects: card, interface, policy, tunnel");
        return NULL;
    }
    return b.root;
}
