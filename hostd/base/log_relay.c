/* See log_relay.h. */
#include "hostd/base/log_relay.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { LINE = 2048 };

struct log_relay {
    pthread_mutex_t lock;
    struct msg_chan *chan;
    const char *process;
    char *kept[LOG_RELAY_KEEP]; /* a ring: oldest at first */
    unsigned first, n;
    uint32_t lost;
};

static size_t record_line(const struct log_record *r, char *buf, size_t room)
{
    struct timespec ts;
    size_t len;

    clock_gettime(CLOCK_REALTIME, &ts);
    len = log_json(r, (uint64_t)ts.tv_sec, buf, room);
    return len < room ? len : 0;
}

/* True when the line needs no more care: sent, or refused for good. */
static bool send_line(struct log_relay *l, const char *line)
{
    if (!l->chan)
        return false;
    return msg_send(l->chan, MSG_LOG, 0, line, strlen(line), NULL, 0) != -EAGAIN;
}

static void keep_line(struct log_relay *l, const char *line)
{
    char *copy = l->n < LOG_RELAY_KEEP ? strdup(line) : NULL;

    if (!copy) {
        l->lost++;
        return;
    }
    l->kept[(l->first + l->n++) % LOG_RELAY_KEEP] = copy;
}

static void say_lost(struct log_relay *l)
{
    struct log_record r = {.msg = MSG_LOG_LOST};
    char line[LINE];
    uint32_t lost = l->lost;

    if (!lost)
        return;
    snprintf(r.text, sizeof r.text, "%u records were lost while the log was away", lost);
    snprintf(r.object, sizeof r.object, "%s", l->process);
    if (record_line(&r, line, sizeof line) && send_line(l, line))
        l->lost = 0;
}

static void flush_locked(struct log_relay *l)
{
    while (l->n && send_line(l, l->kept[l->first])) {
        free(l->kept[l->first]);
        l->kept[l->first] = NULL;
        l->first = (l->first + 1) % LOG_RELAY_KEEP;
        l->n--;
    }
    if (!l->n)
        say_lost(l);
}

static void relay_sink(void *ctx, const struct log_record *r)
{
    struct log_relay *l = ctx;
    char line[LINE];

    if (!record_line(r, line, sizeof line))
        return;
    pthread_mutex_lock(&l->lock);
    flush_locked(l);
    if (l->n || !send_line(l, line))
        keep_line(l, line);
    pthread_mutex_unlock(&l->lock);
}

int log_relay_new(struct log_relay **out, const char *process)
{
    struct log_relay *l = calloc(1, sizeof *l);

    if (!l)
        return -ENOMEM;
    pthread_mutex_init(&l->lock, NULL);
    l->process = process;
    *out = l;
    log_set_sink(relay_sink, l);
    return 0;
}

void log_relay_free(struct log_relay *l)
{
    if (!l)
        return;
    log_set_sink(NULL, NULL);
    for (; l->n; l->n--, l->first = (l->first + 1) % LOG_RELAY_KEEP)
        free(l->kept[l->first]);
    pthread_mutex_destroy(&l->lock);
    free(l);
}

void log_relay_attach(struct log_relay *l, struct msg_chan *to_control)
{
    pthread_mutex_lock(&l->lock);
    l->chan = to_control;
    flush_locked(l);
    pthread_mutex_unlock(&l->lock);
}

unsigned log_relay_flush(struct log_relay *l)
{
    unsigned left;

    pthread_mutex_lock(&l->lock);
    flush_locked(l);
    left = l->n;
    pthread_mutex_unlock(&l->lock);
    return left;
}
