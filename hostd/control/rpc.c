/* See rpc.h. */
#include "hostd/control/rpc.h"

#include "hostd/control/methods.h"

#include <stdlib.h>
#include <string.h>

bool rpc_depth_ok(const char *text, size_t len, unsigned max)
{
    unsigned depth = 0;
    bool quoted = false;

    for (size_t i = 0; i < len; i++) {
        char c = text[i];
        if (quoted) {
            if (c == '\\')
                i++;
            else if (c == '"')
                quoted = false;
        } else if (c == '"') {
            quoted = true;
        } else if (c == '{' || c == '[') {
            if (++depth > max)
                return false;
        } else if ((c == '}' || c == ']') && depth) {
            depth--;
        }
    }
    return true;
}

static bool good_id(const json_t *id)
{
    return json_is_integer(id) || json_is_null(id) ||
           (json_is_string(id) && json_string_length(id) <= RPC_ID_MAX);
}

static int check(struct rpc_request *r, const char **why)
{
    const char *version = json_string_value(json_object_get(r->root, "jsonrpc"));
    json_t *id = json_object_get(r->root, "id");

    *why = "an id must be a number, a text of at most 128 characters, or null";
    if (id && !good_id(id))
        return RPC_INVALID;
    r->id = id;
    *why = "the request has no \"jsonrpc\": \"2.0\"";
    if (!version || strcmp(version, "2.0") != 0)
        return RPC_INVALID;
    *why = "the request has no method";
    r->method = json_string_value(json_object_get(r->root, "method"));
    if (!r->method)
        return RPC_INVALID;
    *why = "params must be an object";
    r->params = json_object_get(r->root, "params");
    if (r->params && !json_is_object(r->params))
        return RPC_PARAMS;
    return 0;
}

int rpc_parse(const char *line, size_t len, struct rpc_request *out, const char **why)
{
    *out = (struct rpc_request){0};
    *why = "the request is nested too deep";
    if (!rpc_depth_ok(line, len, RPC_DEPTH_MAX))
        return RPC_INVALID;
    *why = "the line is not JSON";
    out->root = json_loadb(line, len, JSON_REJECT_DUPLICATES, NULL);
    if (!out->root)
        return RPC_PARSE;
    *why = "a request must be one object on one line";
    if (!json_is_object(out->root))
        return RPC_INVALID;
    return check(out, why);
}

void rpc_request_free(struct rpc_request *r)
{
    json_decref(r->root);
    *r = (struct rpc_request){0};
}

/* Takes o; a line of it. */
static char *to_line(json_t *o)
{
    char *text = o ? json_dumps(o, JSON_COMPACT) : NULL;
    size_t len = text ? strlen(text) : 0;
    char *line = text ? realloc(text, len + 2) : NULL;

    json_decref(o);
    if (!line) {
        free(text);
        return NULL;
    }
    line[len] = '\n';
    line[len + 1] = '\0';
    return line;
}

static json_t *id_or_null(json_t *id)
{
    return id ? json_incref(id) : json_null();
}

char *rpc_result(json_t *id, json_t *result, bool more)
{
    json_t *o = json_pack("{s:s,s:o,s:o}", "jsonrpc", "2.0", "id", id_or_null(id), "result",
                          result ? result : json_null());

    if (o && more && json_object_set_new(o, "more", json_true())) {
        json_decref(o);
        return NULL;
    }
    return to_line(o);
}

char *rpc_error(json_t *id, int code, const char *message)
{
    json_t *text = json_string(message);

    return to_line(json_pack("{s:s,s:o,s:{s:i,s:o}}", "jsonrpc", "2.0", "id", id_or_null(id),
                             "error", "code", code, "message", text ? text : json_string("error")));
}

char *rpc_event(json_t *params)
{
    return to_line(json_pack("{s:s,s:s,s:o}", "jsonrpc", "2.0", "method", "event", "params",
                             params ? params : json_null()));
}
