/* See core.h. */
#include "hostd/control/core.h"

#include "hostd/base/log.h"
#include "hostd/control/methods.h"
#include "hostd/control/rpc.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const uint64_t SECOND = 1000000000u;

struct pending {
    struct pending *next;
    uint32_t id; /* of the message */
    const struct method *method;
    json_t *client_id; /* NULL: a notification */
    uint64_t deadline;
};

struct ctl_client {
    struct ctl *ctl;
    struct ctl_client *next;
    void *handle;
    uint32_t uid;
    unsigned rights;
    uint32_t topics; /* bit n: topic n */
    struct pending *pending;
    unsigned n_pending;
};

struct ctl {
    struct ctl_ops ops;
    const char *version;
    struct ctl_client *clients;
    uint32_t last_id;
    bool up[PROC_COUNT];
};

struct ctl *ctl_new(const struct ctl_ops *ops, const char *version)
{
    struct ctl *c = calloc(1, sizeof *c);

    if (!c)
        return NULL;
    c->ops = *ops;
    c->version = version;
    return c;
}

struct ctl_client *ctl_client_new(struct ctl *c, void *handle, uint32_t uid, unsigned rights)
{
    struct ctl_client *k = calloc(1, sizeof *k);

    if (!k)
        return NULL;
    *k = (struct ctl_client){c, c->clients, handle, uid, rights, 0, NULL, 0};
    c->clients = k;
    return k;
}

/* Takes the call *at out of its client's list. */
static void drop_pending(struct ctl_client *k, struct pending **at)
{
    struct pending *p = *at;

    *at = p->next;
    k->n_pending--;
    json_decref(p->client_id);
    free(p);
}

void ctl_client_free(struct ctl_client *k)
{
    if (!k)
        return;
    for (struct ctl_client **at = &k->ctl->clients; *at; at = &(*at)->next) {
        if (*at == k) {
            *at = k->next;
            break;
        }
    }
    while (k->pending)
        drop_pending(k, &k->pending);
    free(k);
}

void ctl_free(struct ctl *c)
{
    while (c && c->clients)
        ctl_client_free(c->clients);
    free(c);
}

unsigned ctl_client_pending(const struct ctl_client *k)
{
    return k->n_pending;
}

uint32_t ctl_next_id(struct ctl *c)
{
    if (++c->last_id == 0)
        c->last_id = 1;
    return c->last_id;
}

/* Takes line. */
static void write_line(struct ctl_client *k, char *line)
{
    if (line)
        k->ctl->ops.write(k->ctl->ops.ctx, k->handle, line, strlen(line));
    free(line);
}

/* Every answer to a request goes through these two: a notification gets none. */
static void answer(struct ctl_client *k, json_t *id, json_t *result, bool more)
{
    if (id)
        write_line(k, rpc_result(id, result, more));
    else
        json_decref(result);
}

static void answer_error(struct ctl_client *k, json_t *id, int code, const char *message)
{
    if (id)
        write_line(k, rpc_error(id, code, message));
}

static void answer_away(struct ctl_client *k, json_t *id, enum proc p)
{
    char text[120];

    snprintf(text, sizeof text, "process %s is not running, it is being started again",
             proc_name(p));
    answer_error(k, id, RPC_AWAY, text);
}

/* --- methods of our own -------------------------------------------------------------------------
 */

static json_t *own_version(struct ctl_client *k)
{
    return json_pack("{s:s,s:s}", "name", "sallyport", "version", k->ctl->version);
}

static json_t *own_ping(struct ctl_client *k)
{
    return json_true();
}

static json_t *own_methods(struct ctl_client *k)
{
    json_t *list = json_array();
    const struct method *m;

    for (unsigned i = 0; list && (m = method_at(i)); i++)
        json_array_append_new(list, json_pack("{s:s,s:s,s:s,s:i,s:s}", "name", m->name, "owner",
                                              proc_name(m->owner), "right", right_name(m->right),
                                              "descriptors", (int)m->fds, "doc", m->doc));
    return list;
}

static void own_level(struct ctl_client *k, json_t *id, const json_t *params)
{
    const char *name = json_string_value(json_object_get(params, "level"));
    enum log_level l;

    if (!name || log_level_parse(name, &l)) {
        answer_error(k, id, RPC_PARAMS,
                     "level must be alert, error, warning, informative or debug");
        return;
    }
    if (k->ctl->ops.set_level)
        k->ctl->ops.set_level(k->ctl->ops.ctx, (int)l);
    answer(k, id, json_object(), false);
}

static void call_own(struct ctl_client *k, const struct method *m, json_t *id, const json_t *params)
{
    static const struct {
        const char *name;
        json_t *(*call)(struct ctl_client *k);
    } own[] = {{"version", own_version}, {"ping", own_ping}, {"methods", own_methods}};

    if (m->topic) {
        k->topics |= 1u << method_topic(m->topic);
        answer(k, id, json_pack("{s:s}", "subscribed", m->topic), false);
        return;
    }
    for (size_t i = 0; i < sizeof own / sizeof *own; i++) {
        if (strcmp(own[i].name, m->name) == 0) {
            answer(k, id, own[i].call(k), false);
            return;
        }
    }
    own_level(k, id, params);
}

/* --- calls to owners ----------------------------------------------------------------------------
 */

static struct pending *find_pending(struct ctl_client *k, const json_t *id)
{
    struct pending *p = id ? k->pending : NULL;

    while (p && !(p->client_id && json_equal(p->client_id, id)))
        p = p->next;
    return p;
}

static int send_call(struct ctl *c, const struct pending *p, json_t *params, const int *fds,
                     unsigned n_fds)
{
    json_t *o = json_pack("{s:s,s:O*}", "method", p->method->name, "params", params);
    char *body = o ? json_dumps(o, JSON_COMPACT) : NULL;
    int err = body ? 0 : -ENOMEM;

    if (!err && strlen(body) > MSG_MAX - MSG_HEADER)
        err = -EMSGSIZE;
    if (!err)
        err = c->ops.send(c->ops.ctx, p->method->owner, p->method->type, p->id, body, strlen(body),
                          fds, n_fds);
    free(body);
    json_decref(o);
    return err;
}

static void call_failed(struct ctl_client *k, json_t *id, enum proc owner, int err)
{
    char text[120];

    if (err == -ENOTCONN || err == -EPIPE || err == -ECONNRESET) {
        answer_away(k, id, owner);
        return;
    }
    if (err == -EMSGSIZE)
        snprintf(text, sizeof text, "the request is too large");
    else if (err == -EAGAIN)
        snprintf(text, sizeof text, "process %s is busy, try again", proc_name(owner));
    else
        snprintf(text, sizeof text, "process %s cannot be asked: %s", proc_name(owner),
                 strerror(-err));
    answer_error(k, id, err == -EMSGSIZE ? RPC_INVALID : RPC_AWAY, text);
}

static void call_owner(struct ctl_client *k, const struct method *m, json_t *id, json_t *params,
                       const int *fds, unsigned n_fds, uint64_t now)
{
    struct pending *p;
    int err;

    if (!k->ctl->up[m->owner]) {
        answer_away(k, id, m->owner);
        return;
    }
    p = calloc(1, sizeof *p);
    if (!p) {
        answer_error(k, id, RPC_INTERNAL, "out of memory");
        return;
    }
    *p = (struct pending){k->pending, ctl_next_id(k->ctl), m, id ? json_incref(id) : NULL,
                          now + m->seconds * SECOND};
    k->pending = p;
    k->n_pending++;
    err = send_call(k->ctl, p, params, fds, n_fds);
    if (err) {
        call_failed(k, id, m->owner, err);
        drop_pending(k, &k->pending);
    }
}

/* Everything about a request that can be judged here. 0, or the error's code. */
static int judge(struct ctl_client *k, const struct rpc_request *r, const struct method *m,
                 unsigned n_fds, char *why, size_t room)
{
    if (!m) {
        snprintf(why, room, "there is no method \"%.60s\"", r->method);
        return RPC_NO_METHOD;
    }
    if (!(k->rights & m->right)) {
        snprintf(why, room, "%s is not allowed: it needs the right to %s", m->name,
                 right_name(m->right));
        log_event(MSG_CALL_REFUSED, "control", m->name, (unsigned)k->uid, right_name(m->right));
        return RPC_REFUSED;
    }
    if (n_fds != m->fds) {
        snprintf(why, room, "%s takes %u descriptors, %u came", m->name, m->fds, n_fds);
        return RPC_PARAMS;
    }
    if (find_pending(k, r->id)) {
        snprintf(why, room, "the id is that of a request which is not answered yet");
        return RPC_INVALID;
    }
    if (k->n_pending >= CTL_PENDING_MAX) {
        snprintf(why, room, "there are %d requests unanswered: wait", CTL_PENDING_MAX);
        return RPC_REFUSED;
    }
    return 0;
}

static void serve(struct ctl_client *k, const struct rpc_request *r, const int *fds, unsigned n_fds,
                  uint64_t now)
{
    const struct method *m = method_find(r->method);
    char why[160];
    int code = judge(k, r, m, n_fds, why, sizeof why);

    if (code) {
        answer_error(k, r->id, code, why);
        return;
    }
    if (m->right == RIGHT_CHANGE && !m->topic)
        log_event(MSG_CHANGE_CALLED, "control", m->name, (unsigned)k->uid);
    if (m->owner == PROC_CONTROL)
        call_own(k, m, r->id, r->params);
    else
        call_owner(k, m, r->id, r->params, fds, n_fds, now);
}

void ctl_client_line(struct ctl_client *k, const char *line, size_t len, const int *fds,
                     unsigned n_fds, uint64_t now)
{
    struct rpc_request r;
    const char *why;
    int code = rpc_parse(line, len, &r, &why);

    if (code)
        write_line(k, rpc_error(r.id, code, why));
    else
        serve(k, &r, fds, n_fds, now);
    rpc_request_free(&r);
}

/* --- what owners say ----------------------------------------------------------------------------
 */

void ctl_owner_up(struct ctl *c, enum proc p)
{
    c->up[p] = true;
}

void ctl_owner_down(struct ctl *c, enum proc p)
{
    c->up[p] = false;
    for (struct ctl_client *k = c->clients; k; k = k->next) {
        for (struct pending **at = &k->pending; *at;) {
            if ((*at)->method->owner != p) {
                at = &(*at)->next;
                continue;
            }
            answer_away(k, (*at)->client_id, p);
            drop_pending(k, at);
        }
    }
}

/* The call that a reply of p answers, or NULL; *owner gets its client. */
static struct pending **find_call(struct ctl *c, enum proc p, uint32_t id,
                                  struct ctl_client **owner)
{
    for (struct ctl_client *k = c->clients; k; k = k->next) {
        for (struct pending **at = &k->pending; *at; at = &(*at)->next) {
            if ((*at)->id == id && (*at)->method->owner == p) {
                *owner = k;
                return at;
            }
        }
    }
    return NULL;
}

static bool good_error(const json_t *e)
{
    json_int_t code = json_integer_value(json_object_get(e, "code"));

    return json_is_integer(json_object_get(e, "code")) && code >= -32768 && code <= 32767 &&
           json_is_string(json_object_get(e, "message"));
}

/* Passes an error on, with data where the owner gave it. */
static void pass_error(struct ctl_client *k, json_t *id, const json_t *e)
{
    answer_error(k, id, (int)json_integer_value(json_object_get(e, "code")),
                 json_string_value(json_object_get(e, "message")));
}

static int on_reply(struct ctl *c, enum proc p, uint32_t id, const json_t *o, uint64_t now)
{
    struct ctl_client *k = NULL;
    struct pending **at = find_call(c, p, id, &k);
    json_t *result = json_object_get(o, "result"), *error = json_object_get(o, "error");
    bool more = json_is_true(json_object_get(o, "more"));

    if (!at)
        return 0;
    if (result && !error) {
        answer(k, (*at)->client_id, json_incref(result), more);
    } else if (good_error(error)) {
        pass_error(k, (*at)->client_id, error);
        more = false;
    } else {
        answer_error(k, (*at)->client_id, RPC_INTERNAL, "the answer was malformed");
        drop_pending(k, at);
        return -EBADMSG;
    }
    if (more)
        (*at)->deadline = now + (*at)->method->seconds * SECOND;
    else
        drop_pending(k, at);
    return 0;
}

static int on_event(struct ctl *c, json_t *o)
{
    const char *topic = json_string_value(json_object_get(o, "topic"));

    if (!topic || method_topic(topic) < 0)
        return -EBADMSG;
    ctl_event(c, topic, json_incref(o));
    return 0;
}

int ctl_owner_message(struct ctl *c, enum proc p, uint16_t type, uint32_t id, const char *body,
                      size_t len, uint64_t now)
{
    json_t *o = rpc_depth_ok(body, len, RPC_DEPTH_MAX)
                    ? json_loadb(body, len, JSON_REJECT_DUPLICATES, NULL)
                    : NULL;
    int err = -EBADMSG;

    if (type == MSG_REPLY)
        err = on_reply(c, p, id, o, now); /* without an object: its caller is told */
    else if (json_is_object(o) && type == MSG_EVENT)
        err = on_event(c, o);
    json_decref(o);
    return err;
}

void ctl_event(struct ctl *c, const char *topic, json_t *params)
{
    int n = method_topic(topic);
    char *line = NULL;

    if (n < 0 || json_object_set_new(params, "topic", json_string(topic))) {
        json_decref(params);
        return;
    }
    for (struct ctl_client *k = c->clients; k; k = k->next) {
        if (!(k->topics >> n & 1))
            continue;
        if (!line)
            line = rpc_event(json_incref(params));
        if (line)
            c->ops.write(c->ops.ctx, k->handle, line, strlen(line));
    }
    free(line);
    json_decref(params);
}

static void overdue(struct ctl_client *k, const struct pending *p)
{
    char text[120];

    snprintf(text, sizeof text, "process %s did not answer within %u seconds",
             proc_name(p->method->owner), p->method->seconds);
    answer_error(k, p->client_id, RPC_AWAY, text);
}

uint64_t ctl_tick(struct ctl *c, uint64_t now)
{
    uint64_t next = UINT64_MAX;

    for (struct ctl_client *k = c->clients; k; k = k->next) {
        for (struct pending **at = &k->pending; *at;) {
            if ((*at)->deadline <= now) {
                overdue(k, *at);
                drop_pending(k, at);
                continue;
            }
            next = (*at)->deadline < next ? (*at)->deadline : next;
            at = &(*at)->next;
        }
    }
    return next;
}
