/* Methods of the daemon itself, asked by control for its clients (control has checked who may). */
#include "hostd/base/log.h"
#include "hostd/main/parent_internal.h"
#include "hostd/main/version.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void reply(struct child *c, uint32_t id, json_t *answer)
{
    char *text = answer ? json_dumps(answer, JSON_COMPACT) : NULL;
    static const char none[] = "{\"error\":{\"code\":-32603,\"message\":\"out of memory\"}}";
    const char *body = text ? text : none;
    child_send(c, MSG_REPLY, id, body, strlen(body), NULL, 0);
    free(text);
    json_decref(answer);
}

static json_t *error_of(int code, const char *message)
{
    /* What a configuration's text holds need not be UTF-8: such a text is replaced. */
    json_t *text = json_string(message);
    return json_pack("{s:{s:i,s:o}}", "error", "code", code, "message",
                     text ? text : json_string("the text of the error is not UTF-8"));
}

static json_t *processes(const struct parent *p)
{
    json_t *list = json_array();
    uint64_t now = now_ns();
    for (unsigned i = 0; i < PROC_COUNT; i++) {
        const struct proc_row *row = proc_row(i);
        const struct child *c = &p->child[i];
        bool self = i == PROC_PARENT, runs = self || c->pid;
        json_array_append_new(
            list, json_pack("{s:s,s:b,s:i,s:b,s:i,s:I,s:s}", "name", row->title, "started",
                            row->started, "pid", self ? (int)getpid() : (int)c->pid, "ready",
                            self || c->ready, "restarts", (int)c->restarts, "seconds",
                            (json_int_t)(runs && !self ? (now - c->since) / 1000000000u : 0),
                            "holds", row->holds));
    }
    return list;
}

static json_t *do_status(struct parent *p, const json_t *params)
{
    json_t *s = json_pack("{s:s,s:i,s:s,s:s,s:s,s:b,s:i,s:o}", "version", SALLYPORT_VERSION, "pid",
                          (int)getpid(), "config", p->opt.config, "separation",
                          p->user.mapped ? "users" : "namespace only", "user",
                          p->user.mapped ? p->user.name : "unchanged", "stopped", p->ipsec_stopped,
                          "policies", (int)p->cfg.n_policies, "processes", processes(p));
    json_t *host = host_status(p->host);
    if (s && host)
        json_object_update(s, host);
    json_decref(host);
    return json_pack("{s:o}", "result", s);
}

static json_t *done(void)
{
    return json_pack("{s:{}}", "result");
}

static json_t *do_stop(struct parent *p, const json_t *params)
{
    parent_stop_ipsec(p, true);
    log_event(MSG_IPSEC_STOPPED, "sallyportd");
    return done();
}

static json_t *do_start(struct parent *p, const json_t *params)
{
    if (p->ipsec_stopped) {
        parent_stop_ipsec(p, false);
        log_event(MSG_IPSEC_STARTED, "sallyportd");
    }
    return done();
}

/* The daemon ends, and the ports are given back. {"under": "after-stop"} leaves it to each
 * interface's after-stop, as the end of the system's unit does. */
static json_t *do_release(struct parent *p, const json_t *params)
{
    const char *under = json_string_value(json_object_get(params, "under"));
    p->release = under && !strcmp(under, "after-stop") ? RELEASE_AFTER_STOP : RELEASE_ALL;
    return done();
}

static json_t *do_reload(struct parent *p, const json_t *params)
{
    char *errors;
    int n = parent_reload(p, &errors);
    json_t *answer = n ? error_of(4, errors ? errors : "no memory") : done();
    free(errors);
    return answer;
}

static json_t *do_rotate(struct parent *p, const json_t *params)
{
    parent_give_logs(p, 1);
    return done();
}

static const struct {
    const char *name;
    json_t *(*call)(struct parent *p, const json_t *params);
} methods[] = {
    {"status", do_status},   {"stop", do_stop},     {"start", do_start},
    {"release", do_release}, {"reload", do_reload}, {"log.rotate", do_rotate},
};

void parent_admin(struct parent *p, struct child *c, const struct msg *m)
{
    json_t *call = json_loadb((const char *)m->body, m->len, 0, NULL);
    const char *name = json_string_value(json_object_get(call, "method"));
    json_t *answer = NULL;
    for (size_t i = 0; name && i < sizeof methods / sizeof *methods; i++)
        if (!strcmp(methods[i].name, name))
            answer = methods[i].call(p, json_object_get(call, "params"));
    if (!answer)
        answer = error_of(-32601, "no such method of the daemon");
    reply(c, m->id, answer);
    json_decref(call);
    if (p->release) /* only now: the answer has to come before the end */
        parent_end(p, p->release == RELEASE_ALL, "release");
}

void parent_reload_call(struct parent *p, struct child *c, const struct msg *m)
{
    reply(c, m->id, do_reload(p, NULL));
}
