/* The log. There is no free-text log call: every message is a row of messages.def, with its number
 * (for ever), source, level, text, the kind of object it is about, and for an error the remedy. */
#ifndef SALLYPORT_LOG_H
#define SALLYPORT_LOG_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

enum log_level {
    LOG_LVL_ALERT = 0,
    LOG_LVL_ERROR,
    LOG_LVL_WARNING,
    LOG_LVL_INFORMATIVE,
    LOG_LVL_DEBUG,
    LOG_LVL_COUNT
};

/* M(id, number, SOURCE, LEVEL, object, text, remedy): text and remedy are printf formats that share
 * one argument list; remedy is "" where there is nothing to do. */
enum log_msg {
#define M(id, number, source, level, object, text, remedy) MSG_##id,
#include "hostd/base/messages.def"
#undef M
    LOG_MSG_COUNT
};

struct log_row {
    const char *id;
    unsigned number;
    const char *source; /* IKMPD, SECPOLICYD, DATA, CARD, CONFIG, … */
    enum log_level level;
    const char *object; /* kind: peer, sa, policy, card, interface, file, process */
    const char *text, *remedy;
};
const struct log_row *log_row(enum log_msg m);
/* NULL when there is none. 203 finds 31: the guide has two numbers for that message. */
const struct log_row *log_row_by_number(unsigned number);
const char *log_level_name(enum log_level l); /* "ERROR" */
int log_level_parse(const char *name, enum log_level *out);

/* Where records go: each process sets one sink at its start; a pure core under test sets its own.
 * object is the name of the thing ("c0", "10.0.0.2", "lan"). wall is seconds since 1970, or 0. */
struct log_record {
    enum log_msg msg;
    char object[96];
    char text[512]; /* formatted; control characters are made '?' so that a peer cannot inject a
                       line */
    char remedy[256];
};
typedef void (*log_sink)(void *ctx, const struct log_record *r);
void log_set_sink(log_sink sink, void *ctx);

/* Formats and hands to the sink. Never fails, never blocks. The arguments are those of the row's
 * text; the compiler cannot see the format, so messages_test checks every row with its documented
 * types. */
void log_event(enum log_msg m, const char *object, ...);

/* Records above this level are not formatted at all; DEBUG (everything) until it is set. */
void log_set_level(enum log_level max);
/* The limit: of one message at most 100 records pass in ten seconds, what is over is counted and
 * LOG_HELD says how many, at the next record of that message or by log_tick, which a process calls
 * about every ten seconds. ALERT is never held back. The clock is CLOCK_BOOTTIME in nanoseconds; a
 * simulation gives its own, NULL switches the limit off. */
typedef uint64_t (*log_clock)(void);
void log_set_clock(log_clock clock);
void log_tick(void);

/* A record as one line of JSON (for MSG_LOG and the JSON log): returns the length, as snprintf. */
size_t log_json(const struct log_record *r, uint64_t wall_sec, char *buf, size_t room);
/* The two-line form: "Msg: N From: SOURCE Lvl: LEVEL Date: Www Mmm dd hh:mm:ss yyyy\nEvent:
 * TEXT\n", with the object and remedy behind the text. */
size_t log_two_lines(const struct log_record *r, uint64_t wall_sec, char *buf, size_t room);

#endif
