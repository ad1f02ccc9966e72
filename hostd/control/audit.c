/* See audit.h. */
#include "hostd/control/audit.h"

#include "hostd/base/log_format.h"
#include "hostd/control/rpc.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LINE = 4096 };

void audit_init(struct audit *a)
{
    *a = (struct audit){.fd = {-1, -1, -1, -1}, .level = LOG_LVL_ERROR};
}

void audit_close(struct audit *a)
{
    for (int i = 0; i < AUDIT_FORMS; i++) {
        if (a->fd[i] >= 0)
            close(a->fd[i]);
        a->fd[i] = -1;
    }
}

int audit_fd(struct audit *a, uint32_t form, int fd)
{
    struct stat st;

    if (form < AUDIT_TEXT || form >= AUDIT_FORMS) {
        close(fd);
        return -EINVAL;
    }
    if (a->fd[form] >= 0)
        close(a->fd[form]);
    a->fd[form] = fd;
    a->file[form] = fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
    a->size[form] = a->file[form] ? (uint64_t)st.st_size : 0;
    a->asked = false;
    return 0;
}

/* A short write is written on, so that a line stays whole; an error ends it. */
static bool write_all(int fd, const char *p, size_t len)
{
    while (len) {
        ssize_t n = write(fd, p, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        p += n;
        len -= (size_t)n;
    }
    return true;
}

static bool write_form(struct audit *a, int form, const struct log_record *r, uint64_t wall_sec)
{
    char line[LINE];
    size_t len;

    if (a->fd[form] < 0)
        return true;
    len = form == AUDIT_JSON ? log_json(r, wall_sec, line, sizeof line - 1)
                             : log_two_lines(r, wall_sec, line, sizeof line);
    if (len >= sizeof line - 1)
        len = sizeof line - 2;
    if (form == AUDIT_JSON)
        line[len++] = '\n';
    if (!write_all(a->fd[form], line, len))
        return false;
    a->size[form] += len;
    return true;
}

static void say_failed(struct audit *a, uint64_t wall_sec)
{
    struct log_record r = {.msg = MSG_LOG_LOST};
    uint32_t n = a->failed;

    if (!n)
        return;
    snprintf(r.text, sizeof r.text, "%u records could not be written", n);
    snprintf(r.object, sizeof r.object, "control");
    a->failed = 0;
    for (int form = AUDIT_TEXT; form < AUDIT_FORMS; form++)
        if (!write_form(a, form, &r, wall_sec))
            a->failed = n;
}

/* The disk is full or gone: standard error is the last place left to say so. */
static void say_on_stderr(int err)
{
    char text[160];
    int n =
        snprintf(text, sizeof text, "sallyportd: the log cannot be written: %s\n", strerror(err));

    if (write(STDERR_FILENO, text, (size_t)n) < 0)
        return;
}

static void check_size(struct audit *a)
{
    for (int form = AUDIT_TEXT; form < AUDIT_FORMS; form++) {
        if (a->asked || !a->size_max || !a->file[form] || a->size[form] < a->size_max)
            continue;
        a->asked = true;
        if (a->full)
            a->full(a->ctx);
    }
}

void audit_write(struct audit *a, const struct log_record *r, uint64_t wall_sec)
{
    const struct log_row *row = log_row(r->msg);
    bool ok = true;

    if (!row || row->level > a->level)
        return;
    say_failed(a, wall_sec);
    for (int form = AUDIT_TEXT; form < AUDIT_FORMS; form++)
        ok &= write_form(a, form, r, wall_sec);
    if (!ok && a->failed++ == 0)
        say_on_stderr(errno);
    if (a->written)
        a->written(a->ctx, r, wall_sec);
    check_size(a);
}

static bool take(const json_t *o, const char *key, char *out, size_t room)
{
    const json_t *v = json_object_get(o, key);

    if (!v)
        return true;
    if (!json_is_string(v))
        return false;
    snprintf(out, room, "%s", json_string_value(v));
    log_clean(out);
    return true;
}

static bool read_record(const json_t *o, struct log_record *r, uint64_t *wall_sec)
{
    json_int_t number = json_integer_value(json_object_get(o, "msg"));
    json_int_t time = json_integer_value(json_object_get(o, "time"));
    const struct log_row *row =
        number > 0 && number <= 99999 ? log_row_by_number((unsigned)number) : NULL;

    *r = (struct log_record){0};
    if (!row || time < 0 || time > (json_int_t)1 << 40)
        return false;
    *wall_sec = (uint64_t)time;
    r->msg = (enum log_msg)(row - log_row((enum log_msg)0));
    return take(o, "event", r->text, sizeof r->text) &&
           take(o, "object", r->object, sizeof r->object) &&
           take(o, "remedy", r->remedy, sizeof r->remedy);
}

int audit_parse(const char *body, size_t len, struct log_record *r, uint64_t *wall_sec)
{
    json_t *o =
        rpc_depth_ok(body, len, 2) ? json_loadb(body, len, JSON_REJECT_DUPLICATES, NULL) : NULL;
    bool ok = json_is_object(o) && read_record(o, r, wall_sec);

    json_decref(o);
    return ok ? 0 : -EBADMSG;
}
