/* JSON-RPC 2.0 lines, read as hostile input and written. */
#ifndef SALLYPORT_CONTROL_RPC_H
#define SALLYPORT_CONTROL_RPC_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

enum {
    RPC_LINE_MAX = 60000, /* octets: with what is added it fits a message between processes */
    RPC_DEPTH_MAX = 24,
    RPC_ID_MAX = 128 /* characters of an id that is text */
};

struct rpc_request {
    json_t *root;       /* owned: rpc_request_free */
    json_t *id;         /* borrowed; NULL: a notification, which gets no answer */
    const char *method; /* borrowed */
    json_t *params;     /* borrowed; an object, or NULL */
};

/* 0; or a code of methods.h and the reason in *why (static); root and id are set where they could
 * be read, so that the answer can name them. */
int rpc_parse(const char *line, size_t len, struct rpc_request *out, const char **why);
void rpc_request_free(struct rpc_request *r);

/* True when brackets are nested at most max deep: before a parser that recurses. */
bool rpc_depth_ok(const char *text, size_t len, unsigned max);

/* Lines with their line feed, malloc'd, or NULL. id may be NULL (null is written); result is taken.
 * more: pages follow under the same id. */
char *rpc_result(json_t *id, json_t *result, bool more);
char *rpc_error(json_t *id, int code, const char *message);
/* An event for a subscriber: params is taken. */
char *rpc_event(json_t *params);

#endif
