/* Cards: connected for data, watched for while they are away. The parent keeps no duplicate of the
 * connection: when data closes it, the card sees its end. */
#include "hostd/base/log.h"
#include "hostd/main/child.h"
#include "hostd/main/host_internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define MS 1000000ull

/* After a sign of life of the socket's folder a server may not listen yet: tries in ms. The last
 * row repeats, for what no watch can see: a server that listens again on the same socket. A card
 * that data gives up as soon as it has it gets the same delays. */
static const uint16_t retry_ms[] = {2, 3, 5, 10, 20, 20, 50, 100};
enum { RETRIES = sizeof retry_ms / sizeof *retry_ms };

static void retry_later(struct host_card *c)
{
    unsigned at = c->tries < RETRIES ? c->tries : RETRIES - 1;
    c->tries++;
    struct timeval tv = {0, retry_ms[at] * 1000};
    event_add(c->retry, &tv);
}

static void watch_folder(struct host_card *c)
{
    char folder[CFG_PATH];
    if (c->inotify < 0 || c->watch >= 0)
        return;
    snprintf(folder, sizeof folder, "%s", c->path);
    char *slash = strrchr(folder, '/');
    if (!slash)
        snprintf(folder, sizeof folder, ".");
    else
        slash[slash == folder] = 0;
    c->watch =
        inotify_add_watch(c->inotify, folder, IN_CREATE | IN_MOVED_TO | IN_ATTRIB | IN_ONLYDIR);
}

static int connect_to(const char *path)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof sa.sun_path)
        return -ENAMETOOLONG;
    memcpy(sa.sun_path, path, strlen(path));
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    if (!connect(fd, (struct sockaddr *)&sa, sizeof sa))
        return fd;
    int r = -errno;
    close(fd);
    return r;
}

static const char *interface_of(const struct host *h, const char *card)
{
    for (unsigned k = 0; k < CFG_INTERFACES; k++)
        for (unsigned p = 0; p < PORT_COUNT; p++)
            if (h->ifs[k].name[0] && !strcmp(h->ifs[k].port[p].name, card))
                return h->ifs[k].name;
    return "";
}

static void hand_down(struct host_card *c, int fd)
{
    struct msg_fd what = {.kind = MSG_FD_CARD};
    memcpy(what.name, c->name, sizeof what.name);
    snprintf(what.interface, sizeof what.interface, "%s", interface_of(c->h, c->name));
    c->h->out.give(c->h->out.ctx, &what, fd);
    close(fd);
    /* A card that went soon after the last hand-over keeps its delays. */
    uint64_t now = now_ns();
    if (now - c->opened > 1000 * MS)
        c->tries = 0;
    c->opened = now;
    c->given = true;
    c->trouble = 0;
    log_event(MSG_CARD_OPENED, c->name, c->at);
}

static void try_card(struct host_card *c)
{
    if (!c->name[0] || !c->wanted || c->given || !c->h->attached)
        return;
    watch_folder(c);
    int fd = c->path[0] ? connect_to(c->path) : -ENOTSUP;
    if (fd >= 0) {
        event_del(c->retry);
        hand_down(c, fd);
        return;
    }
    if (!c->trouble)
        log_event(MSG_CARD_WAITED_FOR, c->name, c->at, strerror(-fd));
    c->trouble = fd;
    if (c->path[0])
        retry_later(c);
}

static void on_retry(evutil_socket_t fd, short what, void *ctx)
{
    try_card(ctx);
}

/* Anything that happens to our name in the folder, or the end of the watch. */
static void on_folder(evutil_socket_t fd, short what, void *ctx)
{
    struct host_card *c = ctx;
    _Alignas(struct inotify_event) char buf[4096];
    const char *slash = strrchr(c->path, '/'), *base = slash ? slash + 1 : c->path;
    bool ours = false;
    ssize_t n;
    while ((n = read(c->inotify, buf, sizeof buf)) > 0) {
        for (ssize_t at = 0; at < n;) {
            struct inotify_event e;
            memcpy(&e, buf + at, sizeof e);
            const char *name = buf + at + sizeof e;
            if (e.mask & IN_IGNORED)
                c->watch = -1;
            ours |= (e.mask & (IN_IGNORED | IN_Q_OVERFLOW)) || (e.len && !strcmp(name, base));
            at += (ssize_t)(sizeof e + e.len);
        }
    }
    if (ours && !c->given) {
        c->tries = 0;
        try_card(c);
    }
}

static void free_card(struct host_card *c)
{
    if (c->seen)
        event_free(c->seen);
    if (c->retry)
        event_free(c->retry);
    if (c->inotify >= 0)
        close(c->inotify);
    *c = (struct host_card){.inotify = -1, .watch = -1};
}

static void make_card(struct host *h, struct host_card *c, const struct cfg_card *want)
{
    static const char scheme[] = "unix:";
    *c =
        (struct host_card){.h = h, .inotify = inotify_init1(IN_CLOEXEC | IN_NONBLOCK), .watch = -1};
    memcpy(c->name, want->name, sizeof c->name);
    memcpy(c->at, want->at, sizeof c->at);
    if (!strncmp(c->at, scheme, sizeof scheme - 1))
        snprintf(c->path, sizeof c->path, "%s", c->at + sizeof scheme - 1);
    c->retry = evtimer_new(h->base, on_retry, c);
    if (c->inotify >= 0)
        c->seen = event_new(h->base, c->inotify, EV_READ | EV_PERSIST, on_folder, c);
    if (!c->retry || (c->seen && event_add(c->seen, NULL)))
        free_card(c);
}

static struct host_card *find(struct host *h, const char *name)
{
    for (unsigned k = 0; k < CFG_CARDS && name[0]; k++)
        if (!strcmp(h->cards[k].name, name))
            return &h->cards[k];
    return NULL;
}

static const struct cfg_card *configured(const struct cfg *cfg, const struct host_card *c)
{
    for (unsigned k = 0; k < cfg->n_cards; k++)
        if (!strcmp(cfg->cards[k].name, c->name) && !strcmp(cfg->cards[k].at, c->at))
            return &cfg->cards[k];
    return NULL;
}

static void remove_card(struct host *h, struct host_card *c)
{
    struct msg_fd what = {.kind = MSG_FD_CARD};
    memcpy(what.name, c->name, sizeof what.name);
    if (c->given && h->attached)
        h->out.gone(h->out.ctx, &what);
    free_card(c);
}

static bool main_port(const struct cfg *cfg, const char *card)
{
    for (unsigned k = 0; k < cfg->n_interfaces; k++)
        if (!strcmp(cfg->interfaces[k].port, card))
            return true;
    return false;
}

void cards_configure(struct host *h)
{
    for (unsigned k = 0; k < CFG_CARDS; k++)
        if (h->cards[k].name[0] && !configured(h->cfg, &h->cards[k]))
            remove_card(h, &h->cards[k]);
    for (unsigned k = 0; k < h->cfg->n_cards; k++) {
        const struct cfg_card *want = &h->cfg->cards[k];
        struct host_card *c = find(h, want->name);
        for (unsigned f = 0; f < CFG_CARDS && !c; f++)
            if (!h->cards[f].name[0])
                make_card(h, c = &h->cards[f], want);
        if (c && main_port(h->cfg, want->name))
            c->wanted = true;
    }
    for (unsigned k = 0; k < CFG_CARDS; k++)
        try_card(&h->cards[k]);
}

void cards_want(struct host *h, const char *name, bool wanted)
{
    struct host_card *c = find(h, name);
    if (!c)
        return;
    c->wanted = wanted || main_port(h->cfg, name);
    if (!c->wanted) /* data has closed it */
        c->given = false;
    try_card(c);
}

void card_gone(struct host *h, const char *name)
{
    struct host_card *c = find(h, name);
    if (!c || !c->given)
        return;
    c->given = false;
    if (now_ns() - c->opened > 1000 * MS) {
        c->tries = 0;
        try_card(c);
    } else {
        retry_later(c);
    }
}

void cards_detach(struct host *h)
{
    for (unsigned k = 0; k < CFG_CARDS; k++) {
        struct host_card *c = &h->cards[k];
        if (!c->name[0])
            continue;
        c->given = false;
        c->wanted = main_port(h->cfg, c->name);
        c->tries = 0;
        c->opened = 0;
        event_del(c->retry);
    }
}

void cards_free(struct host *h)
{
    for (unsigned k = 0; k < CFG_CARDS; k++)
        if (h->cards[k].name[0])
            free_card(&h->cards[k]);
}
