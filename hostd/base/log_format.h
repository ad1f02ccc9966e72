/* The text half of the log: formats, cleaning, and bounded output. Used by log.c and its tests. */
#ifndef SALLYPORT_LOG_FORMAT_H
#define SALLYPORT_LOG_FORMAT_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One conversion of a format: %[-0][width][.precision][h|hh|l|ll|z|j]conversion, with d i u x X c s
 * only. star: the precision is an argument ("%.*s"). */
struct log_conv {
    bool left, zero, star;
    unsigned width;
    int precision; /* -1: none */
    char length;   /* 0, 'h', 'l', 'q' (ll), 'z', 'j' */
    char conv;     /* '%' for "%%" */
};

/* Reads the conversion that starts behind a '%'. Returns the octets read, or 0 for one that is not
 * in the list above. */
size_t log_conv_read(const char *p, struct log_conv *out);

/* As vsnprintf for these conversions; always ends buf with a NUL (room > 0); a NULL string is
 * "(none)"; a conversion that is not known ends the text. */
void log_vformat(char *buf, size_t room, const char *format, va_list ap);

/* Makes a text safe to print and to send as JSON, in place: control characters (C0, DEL, C1), line
 * and direction marks and octets that are no UTF-8 become '?'. */
void log_clean(char *text);

/* Bounded output that counts what it would have written, as snprintf does. */
struct log_out {
    char *buf;
    size_t room;
    size_t len;
};
void log_out_char(struct log_out *o, char c);
void log_out_text(struct log_out *o, const char *text);
void log_out_uint(struct log_out *o, uint64_t v);
/* ,"name":"value" with JSON escapes. */
void log_out_member(struct log_out *o, const char *name, const char *value);

#endif
