#include "hostd/data/replies.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

enum {
    PAGE_ROWS = 32,        /* a row of a report is about 1 KiB */
    KEEP_BYTES = 64u << 20 /* more waiting than this is dropped: control is not reading */
};

struct page {
    STAILQ_ENTRY(page) next;
    uint32_t id;
    size_t len;
    char *text;
};

struct replies {
    STAILQ_HEAD(pages, page) pages;
    size_t bytes;
};

struct replies *replies_new(void)
{
    struct replies *r = calloc(1, sizeof *r);
    if (r)
        STAILQ_INIT(&r->pages);
    return r;
}

void replies_drop(struct replies *r)
{
    struct page *p;
    while ((p = STAILQ_FIRST(&r->pages))) {
        STAILQ_REMOVE_HEAD(&r->pages, next);
        free(p->text);
        free(p);
    }
    r->bytes = 0;
}

void replies_free(struct replies *r)
{
    if (!r)
        return;
    replies_drop(r);
    free(r);
}

static void keep(struct replies *r, uint32_t id, json_t *answer)
{
    struct page *p = calloc(1, sizeof *p);
    char *text = p ? json_dumps(answer, JSON_COMPACT) : NULL;
    if (!text || r->bytes > KEEP_BYTES) {
        free(text);
        free(p);
        return;
    }
    *p = (struct page){.id = id, .len = strlen(text), .text = text};
    r->bytes += p->len;
    STAILQ_INSERT_TAIL(&r->pages, p, next);
}

/* The one list of a report: {"result": {"sas": [ … ], …}}. NULL when there is none. */
static json_t *find_list(json_t *result, const char **key)
{
    const char *k;
    json_t *v;
    json_object_foreach(result, k, v)
    {
        if (json_is_array(v) && json_array_size(v) > PAGE_ROWS) {
            *key = k;
            return v;
        }
    }
    return NULL;
}

static void keep_pages(struct replies *r, uint32_t id, json_t *answer)
{
    const char *key = NULL;
    json_t *result = json_object_get(answer, "result");
    json_t *list = find_list(result, &key);
    if (!list) {
        keep(r, id, answer);
        return;
    }
    size_t n = json_array_size(list);
    for (size_t at = 0; at < n; at += PAGE_ROWS) {
        json_t *part = json_array(), *page = json_copy(result);
        for (size_t i = at; i < n && i < at + PAGE_ROWS; i++)
            json_array_append(part, json_array_get(list, i));
        json_object_set_new(page, key, part);
        json_t *whole = json_pack("{s:o,s:b}", "result", page, "more", at + PAGE_ROWS < n);
        keep(r, id, whole);
        json_decref(whole);
    }
}

void replies_send(struct replies *r, struct msg_chan *c, uint32_t id, json_t *answer)
{
    static const char none[] =
        "{\"error\":{\"code\":-32000,\"message\":\"the data process is out of memory\"}}";
    if (answer)
        keep_pages(r, id, answer);
    else
        (void)msg_send(c, MSG_REPLY, id, none, sizeof none - 1, NULL, 0);
    json_decref(answer);
    (void)replies_flush(r, c);
}

bool replies_flush(struct replies *r, struct msg_chan *c)
{
    struct page *p;
    while ((p = STAILQ_FIRST(&r->pages))) {
        int rc = msg_send(c, MSG_REPLY, p->id, p->text, p->len, NULL, 0);
        if (rc == -EAGAIN || rc == -ENOBUFS)
            return true;
        STAILQ_REMOVE_HEAD(&r->pages, next);
        r->bytes -= p->len;
        free(p->text);
        free(p);
    }
    return false;
}
