/* See report.h. */
#include "hostd/main/config/report.h"

#include <stdlib.h>
#include <string.h>

enum { SHOWN = 120, LEAD = 60 }; /* of a long line: octets shown, and octets before the place */

static bool starts_char(char c)
{
    return ((unsigned char)c & 0xc0) != 0x80;
}

static size_t line_start(const struct source *src, size_t off)
{
    while (off > 0 && src->data[off - 1] != '\n')
        off--;
    return off;
}

void source_place(const struct source *src, size_t off, unsigned *line, unsigned *column)
{
    size_t start;

    if (off > src->len)
        off = src->len;
    start = line_start(src, off);
    *line = 1;
    for (size_t i = 0; i < start; i++)
        *line += src->data[i] == '\n';
    *column = 1;
    for (size_t i = start; i < off; i++)
        *column += starts_char(src->data[i]);
}

bool report_full(const struct report *r)
{
    return r->n >= CFG_ERRORS_MAX;
}

void report_add(struct report *r, const struct source *src, size_t off, const char *what, ...)
{
    struct report_error *e;
    va_list ap;

    if (report_full(r))
        return;
    e = &r->list[r->n];
    *e = (struct report_error){.src = src, .off = off, .seq = r->n++};
    va_start(ap, what);
    vsnprintf(e->what, sizeof e->what, what, ap);
    va_end(ap);
}

void report_remedy(struct report *r, const char *remedy, ...)
{
    struct report_error *e = &r->list[r->n - 1];
    va_list ap;

    if (report_full(r) && e->remedy[0])
        return;
    va_start(ap, remedy);
    vsnprintf(e->remedy, sizeof e->remedy, remedy, ap);
    va_end(ap);
}

static int by_place(const void *a, const void *b)
{
    const struct report_error *x = a, *y = b;

    if (x->src != y->src && x->src && y->src)
        return x->src->no < y->src->no ? -1 : 1;
    if (x->src == y->src && x->off != y->off)
        return x->off < y->off ? -1 : 1;
    return x->seq < y->seq ? -1 : 1;
}

/* Text of a file on a terminal: no control character, no broken character reaches it. */
static void put_clean(FILE *out, const char *s, size_t n, const char *tail)
{
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)s[i];
        fputc(c == '\t' || (c >= 0x20 && c != 0x7f) ? c : '?', out);
    }
    fputs(tail, out);
}

static void print_line(const struct source *src, size_t off, FILE *out)
{
    size_t start = line_start(src, off), end = off;

    while (end < src->len && src->data[end] != '\n' && src->data[end] != '\r')
        end++;
    if (end - start > SHOWN) {
        start = off - start > LEAD ? off - LEAD : start;
        while (start < off && !starts_char(src->data[start]))
            start++;
        end = end - start > SHOWN ? start + SHOWN : end;
    }
    put_clean(out, src->data + start, end - start, "\n");
    for (size_t i = start; i < off; i++)
        if (starts_char(src->data[i]))
            fputc(src->data[i] == '\t' ? '\t' : ' ', out);
    fputs("^\n", out);
}

static void print_error(const struct report_error *e, FILE *out)
{
    unsigned line, column;

    if (e->src) {
        size_t off = e->off < e->src->len ? e->off : e->src->len;
        source_place(e->src, off, &line, &column);
        fprintf(out, "%s:%u:%u: ", e->src->name, line, column);
        put_clean(out, e->what, strlen(e->what), "\n");
        print_line(e->src, off, out);
    } else {
        put_clean(out, e->what, strlen(e->what), "\n");
    }
    fputs("  remedy: ", out);
    put_clean(out, e->remedy, strlen(e->remedy), "\n");
}

void report_print(struct report *r, FILE *out)
{
    qsort(r->list, r->n, sizeof *r->list, by_place);
    for (unsigned i = 0; i < r->n; i++)
        print_error(&r->list[i], out);
    if (report_full(r))
        fprintf(out, "stopped after %u errors\n", r->n);
}
