/* The fault language: words to a struct hw_fault. Grows by rows of the three tables. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "firmware-if/card_if.h"
#include "hwsim/model/fault.h"
#include "hwsim/model/hw_card.h"

#define BIT(n) (1u << (n))

/* A site: its word, what can happen there, which is meant when nothing is said. */
static const struct site_row {
    const char *name;
    unsigned whats;
    enum hw_fault_what usual;
} sites[HW_SITE_COUNT] = {
    [HW_SITE_CMD] = {"cmd", BIT(HW_WHAT_REFUSE) | BIT(HW_WHAT_DELAY), HW_WHAT_REFUSE},
    [HW_SITE_COMPLETION] = {"completion",
                            BIT(HW_WHAT_DROP) | BIT(HW_WHAT_DELAY) | BIT(HW_WHAT_DOUBLE) |
                                BIT(HW_WHAT_GARBLE),
                            HW_WHAT_DROP},
    [HW_SITE_DATAPATH] = {"datapath", BIT(HW_WHAT_STOP), HW_WHAT_STOP},
    [HW_SITE_FIRMWARE] = {"firmware", BIT(HW_WHAT_FREEZE), HW_WHAT_FREEZE},
    [HW_SITE_RX] = {"rx", BIT(HW_WHAT_RAW) | BIT(HW_WHAT_DROP), HW_WHAT_RAW},
    [HW_SITE_TX] = {"tx", BIT(HW_WHAT_REFUSE), HW_WHAT_REFUSE},
    [HW_SITE_DMA] = {"dma", BIT(HW_WHAT_FAIL), HW_WHAT_FAIL},
    [HW_SITE_IRQ] = {"irq", BIT(HW_WHAT_DROP), HW_WHAT_DROP},
    [HW_SITE_LINK] = {"link", BIT(HW_WHAT_DOWN), HW_WHAT_DOWN},
    [HW_SITE_CARD] = {"card", BIT(HW_WHAT_DIE) | BIT(HW_WHAT_FATAL) | BIT(HW_WHAT_NEEDS_RESET),
                      HW_WHAT_DIE},
};

static const char *const whats[HW_WHAT_COUNT] = {
    [HW_WHAT_REFUSE] = "refuse",
    [HW_WHAT_DELAY] = "delay",
    [HW_WHAT_DROP] = "drop",
    [HW_WHAT_DOUBLE] = "double",
    [HW_WHAT_GARBLE] = "garble",
    [HW_WHAT_STOP] = "stop",
    [HW_WHAT_FREEZE] = "freeze",
    [HW_WHAT_RAW] = "raw",
    [HW_WHAT_FAIL] = "fail",
    [HW_WHAT_DOWN] = "down",
    [HW_WHAT_DIE] = "die",
    [HW_WHAT_FATAL] = "fatal",
    [HW_WHAT_NEEDS_RESET] = "needs-reset",
};

const char *hw_fault_site_name(enum hw_fault_site site)
{
    return sites[site].name;
}

const char *hw_fault_what_name(enum hw_fault_what what)
{
    return whats[what];
}

struct parse {
    struct hw_fault *f;
    uint64_t now;
    char **error;
    bool what_given, status_given;
};

static int complain(struct parse *p, const char *format, ...) __attribute__((format(printf, 2, 3)));

static int complain(struct parse *p, const char *format, ...)
{
    va_list ap;

    va_start(ap, format);
    if (!*p->error && vasprintf(p->error, format, ap) < 0)
        *p->error = NULL;
    va_end(ap);
    return -EINVAL;
}

/* Adds " NAME" to a list for an error sentence. */
static void join(char *list, size_t cap, const char *name)
{
    size_t n = strlen(list);

    snprintf(list + n, cap - n, " %s", name);
}

static int number(struct parse *p, const char *key, const char *value, uint64_t max, uint64_t *out)
{
    char *end;

    errno = 0;
    *out = strtoull(value, &end, 0);
    if (errno || *end || end == value || *value == '-' || *out > max)
        return complain(p, "%s=%s: a number from 0 to %llu is wanted", key, value,
                        (unsigned long long)max);
    return 0;
}

static int put32(struct parse *p, const char *key, const char *value, uint32_t *to)
{
    uint64_t n;
    int err = number(p, key, value, UINT32_MAX - 1, &n);

    if (!err)
        *to = (uint32_t)n;
    return err;
}

/* A value out of a short list; its place is the number. */
static int pick(struct parse *p, const char *key, const char *value, const char *const *from,
                unsigned n, uint32_t *to)
{
    char known[256] = "";
    unsigned i;

    for (i = 0; i < n; i++) {
        if (!strcmp(value, from[i])) {
            *to = i;
            return 0;
        }
        join(known, sizeof(known), from[i]);
    }
    return complain(p, "%s=%s: known are%s", key, value, known);
}

static int key_what(struct parse *p, const char *key, const char *value)
{
    char known[128] = "";
    unsigned i;

    for (i = 0; i < HW_WHAT_COUNT; i++) {
        if (!(sites[p->f->site].whats & BIT(i)))
            continue;
        if (!strcmp(value, whats[i])) {
            p->f->what = (enum hw_fault_what)i;
            p->what_given = true;
            return 0;
        }
        join(known, sizeof(known), whats[i]);
    }
    return complain(p, "what=%s: at %s are known%s", value, sites[p->f->site].name, known);
}

static int status_tx(struct parse *p, const char *value)
{
    char known[512] = "";
    unsigned i;

    for (i = 0; i < 256; i++) {
        const char *name = cif_txs_name(i);

        if (cif_txs_fate(i) != CIF_FATE_UNSENT)
            continue;
        if (!strcasecmp(value, name)) {
            p->f->status = i;
            return 0;
        }
        join(known, sizeof(known), name);
    }
    return complain(p, "status=%s: the statuses that mean unsent are%s", value, known);
}

static int status_admin(struct parse *p, const char *value)
{
    char known[1200] = "";
    unsigned i;

    for (i = 0; i < CIF_STATUS_COUNT; i++) {
        const char *name = cif_status_name(cif_status_at(i));

        if (!strcasecmp(value, name)) {
            p->f->status = cif_status_at(i);
            return 0;
        }
        join(known, sizeof(known), name);
    }
    return complain(p, "status=%s: known are%s", value, known);
}

static int key_status(struct parse *p, const char *key, const char *value)
{
    p->status_given = true;
    return p->f->site == HW_SITE_TX ? status_tx(p, value) : status_admin(p, value);
}

static int key_reason(struct parse *p, const char *key, const char *value)
{
    char known[512] = "";
    unsigned i;

    for (i = 0; i < 256; i++) {
        const char *name = cif_rxs_name(i);

        if (!strcasecmp(value, name)) {
            p->f->reason = i;
            return 0;
        }
        if (i < 32 && strcasecmp(name, "UNKNOWN"))
            join(known, sizeof(known), name);
    }
    return complain(p, "reason=%s: known are%s", value, known);
}

static int key_queue(struct parse *p, const char *key, const char *value)
{
    static const char *const queues[] = {"tx", "rx", "admin"};

    return pick(p, key, value, queues, 3, &p->f->queue);
}

static int key_dir(struct parse *p, const char *key, const char *value)
{
    static const char *const dirs[] = {"read", "write"};

    return pick(p, key, value, dirs, 2, &p->f->dir);
}

static int key_scope(struct parse *p, const char *key, const char *value)
{
    static const char *const scopes[] = {"record", "command"};
    uint32_t n = 0;
    int err = pick(p, key, value, scopes, 2, &n);

    p->f->per_command = n == 1;
    return err;
}

static int key_until(struct parse *p, const char *key, const char *value)
{
    static const char *const ends[] = {"reset"};
    uint32_t n;

    p->f->until_reset = true;
    return pick(p, key, value, ends, 1, &n);
}

static int key_handle(struct parse *p, const char *key, const char *value)
{
    return put32(p, key, value, &p->f->handle);
}

static int key_qid(struct parse *p, const char *key, const char *value)
{
    return put32(p, key, value, &p->f->qid);
}

static int key_port(struct parse *p, const char *key, const char *value)
{
    return put32(p, key, value, &p->f->port);
}

static int key_vector(struct parse *p, const char *key, const char *value)
{
    return put32(p, key, value, &p->f->vector);
}

static int key_nth(struct parse *p, const char *key, const char *value)
{
    return put32(p, key, value, &p->f->nth);
}

static int key_count(struct parse *p, const char *key, const char *value)
{
    return put32(p, key, value, &p->f->count);
}

static int key_ms(struct parse *p, const char *key, const char *value)
{
    return number(p, key, value, 86400000, &p->f->ms);
}

static int key_for(struct parse *p, const char *key, const char *value)
{
    uint64_t ms;
    int err = number(p, key, value, 86400000, &ms);

    if (!err)
        p->f->until = p->now + ms * 1000000;
    return err;
}

static int key_rate(struct parse *p, const char *key, const char *value)
{
    char *end;

    p->f->rate = strtod(value, &end);
    if (*end || end == value || !(p->f->rate >= 0 && p->f->rate <= 1))
        return complain(p, "rate=%s: a number from 0 to 1 is wanted", value);
    return 0;
}

static int key_cmd(struct parse *p, const char *key, const char *value)
{
    char known[800] = "";
    unsigned i;

    if (!strcmp(value, "any"))
        return 0;
    for (i = 0; i < 256; i++) {
        const char *name = cif_op_name(i);

        if (!strcasecmp(value, name)) {
            p->f->op = i;
            return 0;
        }
        if (strcasecmp(name, "UNKNOWN") && i < 0x60)
            join(known, sizeof(known), name);
    }
    return complain(p, "cmd=%s: known are%s", value, known);
}

#define EVERYWHERE (~0u)
static const struct key_row {
    const char *name;
    unsigned at; /* the sites where it means something */
    int (*set)(struct parse *p, const char *key, const char *value);
} keys[] = {
    {"cmd", BIT(HW_SITE_CMD), key_cmd},
    {"what", EVERYWHERE, key_what},
    {"status", BIT(HW_SITE_CMD) | BIT(HW_SITE_TX), key_status},
    {"scope", BIT(HW_SITE_CMD), key_scope},
    {"queue", BIT(HW_SITE_COMPLETION), key_queue},
    {"qid", BIT(HW_SITE_COMPLETION) | BIT(HW_SITE_TX), key_qid},
    {"reason", BIT(HW_SITE_RX), key_reason},
    {"handle", BIT(HW_SITE_RX) | BIT(HW_SITE_TX), key_handle},
    {"port", BIT(HW_SITE_RX) | BIT(HW_SITE_LINK), key_port},
    {"dir", BIT(HW_SITE_DMA), key_dir},
    {"vector", BIT(HW_SITE_IRQ), key_vector},
    {"nth", ~(BIT(HW_SITE_DATAPATH) | BIT(HW_SITE_FIRMWARE) | BIT(HW_SITE_LINK)), key_nth},
    {"count", ~(BIT(HW_SITE_DATAPATH) | BIT(HW_SITE_FIRMWARE) | BIT(HW_SITE_LINK)), key_count},
    {"rate", ~(BIT(HW_SITE_DATAPATH) | BIT(HW_SITE_FIRMWARE) | BIT(HW_SITE_LINK)), key_rate},
    {"ms", EVERYWHERE, key_ms},
    {"for", EVERYWHERE, key_for},
    {"until", EVERYWHERE, key_until},
};

static int one_key(struct parse *p, const char *word)
{
    const char *eq = strchr(word, '=');
    char known[256] = "";
    size_t i;

    for (i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        if (!(keys[i].at & BIT(p->f->site)))
            continue;
        if (eq && strlen(keys[i].name) == (size_t)(eq - word) &&
            !strncmp(word, keys[i].name, (size_t)(eq - word)))
            return keys[i].set(p, keys[i].name, eq + 1);
        join(known, sizeof(known), keys[i].name);
    }
    return complain(p, "'%s': keys of %s are%s", word, sites[p->f->site].name, known);
}

static int find_site(struct parse *p, const char *word)
{
    char known[256] = "";
    unsigned i;

    for (i = 0; word && i < HW_SITE_COUNT; i++) {
        bool cmd = i == HW_SITE_CMD;

        if (cmd ? !strncmp(word, "cmd=", 4) : !strcmp(word, sites[i].name)) {
            p->f->site = (enum hw_fault_site)i;
            p->f->what = sites[i].usual;
            return 0;
        }
    }
    for (i = 0; i < HW_SITE_COUNT; i++)
        join(known, sizeof(known), i == HW_SITE_CMD ? "cmd=NAME" : sites[i].name);
    return complain(p, "'%s': a fault begins with one of%s", word ? word : "", known);
}

/* What the keys say together. */
static int agree(struct parse *p)
{
    struct hw_fault *f = p->f;

    if (f->what == HW_WHAT_REFUSE && !p->status_given)
        return complain(p, "%s: say status=NAME, or what=delay ms=N", sites[f->site].name);
    if (f->what == HW_WHAT_DELAY && !f->ms)
        return complain(p, "what=delay: say how long, ms=N");
    if (f->nth && f->count)
        return complain(p, "nth= and count= exclude each other");
    if (f->site == HW_SITE_CARD)
        f->count = 1;
    if (f->ms && f->what != HW_WHAT_DELAY)
        f->until = p->now + f->ms * 1000000;
    if (f->what == HW_WHAT_DELAY && f->site == HW_SITE_CMD)
        f->per_command = true; /* a delay holds the whole command */
    return 0;
}

static int parse_words(struct parse *p, char *words)
{
    char *save = NULL, *word = strtok_r(words, " \t", &save);
    int err = find_site(p, word);

    if (!err && p->f->site == HW_SITE_CMD)
        err = one_key(p, word);
    while (!err && (word = strtok_r(NULL, " \t", &save)))
        err = one_key(p, word);
    return err ? err : agree(p);
}

static struct hw_fault *free_place(struct hw_faults *f)
{
    unsigned i;

    for (i = 0; i < HW_FAULT_MAX; i++)
        if (!f->list[i].id)
            return &f->list[i];
    for (i = 0; i < HW_FAULT_MAX; i++)
        if (f->list[i].spent && hw_fault_delete(f, f->list[i].id))
            return &f->list[i];
    return NULL;
}

unsigned hw_fault_parse(struct hw_faults *f, uint64_t now, const char *words, char **error)
{
    struct hw_fault *place = free_place(f);
    struct hw_fault made = {.op = HW_FAULT_ANY,
                            .queue = HW_FAULT_ANY,
                            .qid = HW_FAULT_ANY,
                            .handle = HW_FAULT_ANY,
                            .port = HW_FAULT_ANY,
                            .vector = HW_FAULT_ANY,
                            .dir = HW_FAULT_ANY,
                            .reason = HW_FAULT_ANY,
                            .rate = -1,
                            .until = HW_NEVER};
    struct parse p = {.f = &made, .now = now, .error = error};
    char *copy = strdup(words);

    *error = NULL;
    made.line = strdup(words);
    if (!place || !copy || !made.line)
        complain(&p, place ? "no memory" : "too many faults: delete some");
    else if (parse_words(&p, copy) == 0)
        made.id = ++f->next_id;
    free(copy);
    if (!made.id) {
        free(made.line);
        return 0;
    }
    *place = made;
    f->per_site[made.site]++;
    return made.id;
}
