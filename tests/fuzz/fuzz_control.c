/* The control process's core: lines of a client (octet 1 in front gives it few rights, 2 passes a
 * descriptor) and messages of owners, as hostile as they come. Records are cut at octets of value
 * 0; the first octet of a record says who speaks:
 *     'c' client, line     'r' data, MSG_REPLY to the last call     'e' data, MSG_EVENT
 *     'p' parent, MSG_REPLY     'l' MSG_LOG     'd' data goes     'u' data comes     't' time */
#include "hostd/control/audit.h"
#include "hostd/control/core.h"
#include "hostd/control/methods.h"
#include "hostd/control/rpc.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct mock {
    struct ctl *ctl;
    struct ctl_client *strong, *weak;
    uint32_t last_id;
    uint64_t now;
};

static int mock_send(void *ctx, enum proc to, uint16_t type, uint32_t id, const char *body,
                     size_t len, const int *fds, unsigned n_fds)
{
    struct mock *m = ctx;

    if (len > MSG_MAX - MSG_HEADER || !rpc_depth_ok(body, len, RPC_DEPTH_MAX))
        abort();
    m->last_id = id;
    return id % 7 == 6 ? -EAGAIN : 0;
}

/* Whatever is written is one line of JSON. */
static void mock_write(void *ctx, void *client, const char *line, size_t len)
{
    json_t *o = len ? json_loadb(line, len - 1, JSON_REJECT_DUPLICATES, NULL) : NULL;

    if (!o || line[len - 1] != '\n' || memchr(line, '\n', len - 1))
        abort();
    json_decref(o);
}

static void client_says(struct mock *m, const char *p, size_t len)
{
    struct ctl_client *k = m->strong;
    int fds[1] = {0};
    unsigned n_fds = 0;

    for (; len && (*p == 1 || *p == 2); p++, len--) {
        k = *p == 1 ? m->weak : k;
        n_fds = *p == 2 ? 1 : n_fds;
    }
    if (len <= RPC_LINE_MAX && !memchr(p, '\n', len))
        ctl_client_line(k, p, len, fds, n_fds, m->now);
}

static void log_says(const char *p, size_t len)
{
    struct log_record r;
    uint64_t wall;
    char line[4096];

    if (audit_parse(p, len, &r, &wall))
        return;
    if (log_json(&r, wall, line, sizeof line) >= sizeof line)
        abort();
    json_t *o = json_loads(line, JSON_REJECT_DUPLICATES, NULL);
    if (!o)
        abort();
    json_decref(o);
    if (log_two_lines(&r, wall, line, sizeof line) >= sizeof line)
        abort();
}

static void one(struct mock *m, const char *p, size_t len)
{
    char who = *p++;

    len--;
    if (who == 'c')
        client_says(m, p, len);
    else if (who == 'r' || who == 'e')
        ctl_owner_message(m->ctl, PROC_DATA, who == 'r' ? MSG_REPLY : MSG_EVENT, m->last_id, p, len,
                          m->now);
    else if (who == 'p')
        ctl_owner_message(m->ctl, PROC_PARENT, MSG_REPLY, m->last_id, p, len, m->now);
    else if (who == 'l')
        log_says(p, len);
    else if (who == 'd')
        ctl_owner_down(m->ctl, PROC_DATA);
    else if (who == 'u')
        ctl_owner_up(m->ctl, PROC_DATA);
    else if (who == 't')
        ctl_tick(m->ctl, m->now += 5000000000u);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct mock m = {.now = 1};
    const struct ctl_ops ops = {&m, mock_send, mock_write, NULL};
    const uint8_t *end = data + size;

    m.ctl = ctl_new(&ops, "0");
    m.strong = m.ctl ? ctl_client_new(m.ctl, &m, 0, RIGHT_READ | RIGHT_CHANGE) : NULL;
    m.weak = m.ctl ? ctl_client_new(m.ctl, &m, 1, RIGHT_READ) : NULL;
    if (!m.strong || !m.weak)
        abort();
    ctl_owner_up(m.ctl, PROC_DATA);
    ctl_owner_up(m.ctl, PROC_PARENT);
    while (data < end) {
        const uint8_t *cut = memchr(data, 0, (size_t)(end - data));
        size_t len = (size_t)((cut ? cut : end) - data);
        if (len)
            one(&m, (const char *)data, len);
        data += len + 1;
    }
    ctl_free(m.ctl);
    return 0;
}
