/* The message catalogue at work: see log.h. */
#include "hostd/base/log.h"
#include "hostd/base/log_format.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>

static const struct log_row rows[LOG_MSG_COUNT] = {
#define M(id, number, source, level, object, text, remedy)                                         \
    [MSG_##id] = {#id, number, source, level, object, text, remedy},
#include "hostd/base/messages.def"
#undef M
};

static const char *const level_names[LOG_LVL_COUNT] = {
    "ALERT", "ERROR", "WARNING", "INFORMATIVE", "DEBUG",
};

/* The administrator's guide has a second number for one message: taken on input, never written. */
static const struct {
    unsigned alias, number;
} aliases[] = {{203, 31}};

/* The limit: at most LIMIT records of one message in a period; what is over is counted. */
enum { LIMIT = 100 };
static const uint64_t PERIOD_NS = 10u * 1000000000ull;

struct gate {
    _Atomic uint64_t since;
    _Atomic uint32_t passed, held;
};

static struct gate gates[LOG_MSG_COUNT];
static log_sink the_sink;
static void *sink_ctx;
static _Atomic int max_level = LOG_LVL_DEBUG;

static uint64_t boottime(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_BOOTTIME, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static log_clock the_clock = boottime;

const struct log_row *log_row(enum log_msg m)
{
    return (unsigned)m < LOG_MSG_COUNT ? &rows[m] : NULL;
}

const struct log_row *log_row_by_number(unsigned number)
{
    for (size_t i = 0; i < sizeof aliases / sizeof *aliases; i++)
        if (aliases[i].alias == number)
            number = aliases[i].number;
    for (unsigned i = 0; i < LOG_MSG_COUNT; i++)
        if (rows[i].number == number)
            return &rows[i];
    return NULL;
}

const char *log_level_name(enum log_level l)
{
    return (unsigned)l < LOG_LVL_COUNT ? level_names[l] : "UNKNOWN";
}

int log_level_parse(const char *name, enum log_level *out)
{
    for (int i = 0; i < LOG_LVL_COUNT; i++) {
        if (strcasecmp(name, level_names[i]) == 0) {
            *out = (enum log_level)i;
            return 0;
        }
    }
    return -EINVAL;
}

void log_set_sink(log_sink sink, void *ctx)
{
    the_sink = sink;
    sink_ctx = ctx;
}

void log_set_level(enum log_level max)
{
    max_level = (int)max;
}

void log_set_clock(log_clock clock)
{
    the_clock = clock;
}

/* True when the record may pass; *held gets the number held back before it. Several threads may
 * come here at once: at a period's turn one record more or less may pass, none is lost uncounted.
 */
static bool gate_pass(struct gate *g, uint64_t now, uint32_t *held)
{
    uint64_t since = atomic_load(&g->since);

    if (since == 0 || now - since >= PERIOD_NS) {
        if (atomic_compare_exchange_strong(&g->since, &since, now ? now : 1))
            atomic_store(&g->passed, 0);
    }
    if (atomic_fetch_add(&g->passed, 1) >= LIMIT) {
        atomic_fetch_add(&g->held, 1);
        return false;
    }
    *held = atomic_exchange(&g->held, 0);
    return true;
}

static void fill(struct log_record *r, enum log_msg m, const char *object, va_list ap)
{
    va_list again;

    r->msg = m;
    va_copy(again, ap);
    log_vformat(r->text, sizeof r->text, rows[m].text, ap);
    log_vformat(r->remedy, sizeof r->remedy, rows[m].remedy, again);
    va_end(again);
    snprintf(r->object, sizeof r->object, "%s", object ? object : "");
    log_clean(r->text);
    log_clean(r->remedy);
    log_clean(r->object);
}

static void emit(enum log_msg m, const char *object, ...)
{
    struct log_record r;
    va_list ap;

    va_start(ap, object);
    fill(&r, m, object, ap);
    va_end(ap);
    if (the_sink)
        the_sink(sink_ctx, &r);
}

static void say_held(enum log_msg m, uint32_t held)
{
    if (held)
        emit(MSG_LOG_HELD, rows[m].source, held, rows[m].number);
}

void log_event(enum log_msg m, const char *object, ...)
{
    struct log_record r;
    uint32_t held = 0;
    va_list ap;

    if ((unsigned)m >= LOG_MSG_COUNT || !the_sink || (int)rows[m].level > max_level)
        return;
    if (the_clock && rows[m].level != LOG_LVL_ALERT && !gate_pass(&gates[m], the_clock(), &held))
        return;
    say_held(m, held);
    va_start(ap, object);
    fill(&r, m, object, ap);
    va_end(ap);
    the_sink(sink_ctx, &r);
}

void log_tick(void)
{
    uint64_t now = the_clock ? the_clock() : 0;

    for (unsigned i = 0; i < LOG_MSG_COUNT && the_sink; i++) {
        if (atomic_load(&gates[i].held) && now - atomic_load(&gates[i].since) >= PERIOD_NS)
            say_held((enum log_msg)i, atomic_exchange(&gates[i].held, 0));
    }
}

size_t log_json(const struct log_record *r, uint64_t wall_sec, char *buf, size_t room)
{
    const struct log_row *row = log_row(r->msg);
    struct log_out o = {buf, room, 0};

    if (!row)
        row = &rows[0];
    log_out_text(&o, "{\"time\":");
    log_out_uint(&o, wall_sec);
    log_out_text(&o, ",\"msg\":");
    log_out_uint(&o, row->number);
    log_out_member(&o, "from", row->source);
    log_out_member(&o, "level", log_level_name(row->level));
    log_out_member(&o, "event", r->text);
    log_out_member(&o, "kind", row->object);
    log_out_member(&o, "object", r->object);
    if (r->remedy[0])
        log_out_member(&o, "remedy", r->remedy);
    log_out_text(&o, "}");
    return o.len;
}

size_t log_two_lines(const struct log_record *r, uint64_t wall_sec, char *buf, size_t room)
{
    const struct log_row *row = log_row(r->msg);
    struct log_out o = {buf, room, 0};
    time_t t = (time_t)wall_sec;
    struct tm tm;
    char date[64] = "?";

    if (!row)
        row = &rows[0];
    if (localtime_r(&t, &tm))
        strftime(date, sizeof date, "%a %b %d %H:%M:%S %Y", &tm);
    log_out_text(&o, "Msg: ");
    log_out_uint(&o, row->number);
    log_out_text(&o, " From: ");
    log_out_text(&o, row->source);
    log_out_text(&o, " Lvl: ");
    log_out_text(&o, log_level_name(row->level));
    log_out_text(&o, " Date: ");
    log_out_text(&o, date);
    log_out_text(&o, "\nEvent: ");
    log_out_text(&o, r->text);
    if (r->object[0]) {
        log_out_text(&o, " [");
        log_out_text(&o, row->object);
        log_out_text(&o, " ");
        log_out_text(&o, r->object);
        log_out_text(&o, "]");
    }
    if (r->remedy[0]) {
        log_out_text(&o, " Remedy: ");
        log_out_text(&o, r->remedy);
    }
    log_out_text(&o, "\n");
    return o.len;
}
