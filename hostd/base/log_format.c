/* See log_format.h. A reader of formats of our own, because the formats stand in a table: the
 * compiler cannot check a call against them, so nothing here may trust one blindly. */
#include "hostd/base/log_format.h"

#include <stdio.h>
#include <string.h>

static size_t read_number(const char *p, unsigned *out)
{
    size_t n = 0;
    *out = 0;
    while (p[n] >= '0' && p[n] <= '9' && n < 4)
        *out = *out * 10 + (unsigned)(p[n++] - '0');
    return n;
}

static size_t read_precision(const char *p, struct log_conv *out)
{
    unsigned v = 0;
    size_t n = 0;

    if (p[n++] != '.')
        return 0;
    if (p[n] == '*') {
        out->star = true;
        return n + 1;
    }
    n += read_number(p + n, &v);
    out->precision = (int)v;
    return n;
}

static size_t read_length(const char *p, struct log_conv *out)
{
    if (*p == 'h' || *p == 'z' || *p == 'j') {
        out->length = *p;
        return p[0] == 'h' && p[1] == 'h' ? 2 : 1;
    }
    if (*p != 'l')
        return 0;
    out->length = p[1] == 'l' ? 'q' : 'l';
    return p[1] == 'l' ? 2 : 1;
}

size_t log_conv_read(const char *p, struct log_conv *out)
{
    size_t n = 0;

    *out = (struct log_conv){.precision = -1};
    for (; p[n] == '-' || p[n] == '0'; n++) {
        out->left |= p[n] == '-';
        out->zero |= p[n] == '0';
    }
    n += read_number(p + n, &out->width);
    n += read_precision(p + n, out);
    n += read_length(p + n, out);
    if (p[n] == '\0' || !strchr("diuxXcs%", p[n]))
        return 0;
    out->conv = p[n];
    return n + 1;
}

void log_out_char(struct log_out *o, char c)
{
    if (o->len + 1 < o->room) {
        o->buf[o->len] = c;
        o->buf[o->len + 1] = '\0';
    } else if (o->room && o->len == 0) {
        o->buf[0] = '\0';
    }
    o->len++;
}

void log_out_text(struct log_out *o, const char *text)
{
    while (*text)
        log_out_char(o, *text++);
}

static void pad(struct log_out *o, char c, size_t have, size_t width)
{
    for (; have < width; have++)
        log_out_char(o, c);
}

static void out_field(struct log_out *o, const struct log_conv *c, const char *s, size_t len)
{
    bool zero = c->zero && !c->left && c->conv != 's' && c->conv != 'c';

    if (zero && len && *s == '-') {
        log_out_char(o, '-');
        pad(o, '0', len, c->width);
        s++;
        len--;
    } else if (!c->left) {
        pad(o, zero ? '0' : ' ', len, c->width);
    }
    for (size_t i = 0; i < len; i++)
        log_out_char(o, s[i]);
    if (c->left)
        pad(o, ' ', len, c->width);
}

/* Digits of v into the end of buf; returns where they start. */
static char *digits(uint64_t v, unsigned base, bool upper, char *end)
{
    const char *set = upper ? "0123456789ABCDEF" : "0123456789abcdef";

    *end = '\0';
    do {
        *--end = set[v % base];
        v /= base;
    } while (v);
    return end;
}

void log_out_uint(struct log_out *o, uint64_t v)
{
    char buf[32];
    log_out_text(o, digits(v, 10, false, buf + sizeof buf - 1));
}

/* A struct around va_list, so that helpers can take it by pointer on every ABI. */
struct args {
    va_list ap;
};

static int64_t take_signed(struct args *a, char length)
{
    switch (length) {
    case 'l':
        return va_arg(a->ap, long);
    case 'q':
    case 'j':
        return va_arg(a->ap, long long);
    case 'z':
        return (int64_t)va_arg(a->ap, size_t);
    default:
        return va_arg(a->ap, int);
    }
}

static uint64_t take_unsigned(struct args *a, char length)
{
    switch (length) {
    case 'l':
        return va_arg(a->ap, unsigned long);
    case 'q':
    case 'j':
        return va_arg(a->ap, unsigned long long);
    case 'z':
        return va_arg(a->ap, size_t);
    default:
        return va_arg(a->ap, unsigned);
    }
}

static void out_integer(struct log_out *o, const struct log_conv *c, struct args *a)
{
    char buf[40], *end = buf + sizeof buf - 1, *s;

    if (c->conv == 'd' || c->conv == 'i') {
        int64_t v = take_signed(a, c->length);
        s = digits(v < 0 ? 0 - (uint64_t)v : (uint64_t)v, 10, false, end);
        if (v < 0)
            *--s = '-';
    } else {
        s = digits(take_unsigned(a, c->length), c->conv == 'u' ? 10 : 16, c->conv == 'X', end);
    }
    out_field(o, c, s, (size_t)(end - s));
}

static void out_string(struct log_out *o, const struct log_conv *c, struct args *a)
{
    int precision = c->star ? va_arg(a->ap, int) : c->precision;
    const char *s = va_arg(a->ap, const char *);

    if (!s)
        s = "(none)";
    out_field(o, c, s, precision >= 0 ? strnlen(s, (size_t)precision) : strlen(s));
}

static void out_conv(struct log_out *o, const struct log_conv *c, struct args *a)
{
    char ch;

    switch (c->conv) {
    case '%':
        log_out_char(o, '%');
        break;
    case 'c':
        ch = (char)va_arg(a->ap, int);
        out_field(o, c, &ch, 1);
        break;
    case 's':
        out_string(o, c, a);
        break;
    default:
        out_integer(o, c, a);
    }
}

void log_vformat(char *buf, size_t room, const char *format, va_list ap)
{
    struct log_out o = {buf, room, 0};
    struct log_conv c;
    struct args a;
    size_t n;

    buf[0] = '\0';
    va_copy(a.ap, ap);
    for (const char *p = format; *p;) {
        if (*p != '%') {
            log_out_char(&o, *p++);
            continue;
        }
        n = log_conv_read(p + 1, &c);
        if (n == 0)
            break;
        out_conv(&o, &c, &a);
        p += 1 + n;
    }
    va_end(a.ap);
}

/* Octets of the UTF-8 character at p and its code point, or 0 where there is none (RFC 3629). */
static size_t utf8_char(const unsigned char *p, uint32_t *cp)
{
    static const uint32_t least[5] = {0, 0, 0x80, 0x800, 0x10000};
    size_t n = p[0] < 0x80 ? 1 : p[0] >> 5 == 6 ? 2 : p[0] >> 4 == 14 ? 3 : p[0] >> 3 == 30 ? 4 : 0;

    if (n == 0)
        return 0;
    *cp = n == 1 ? p[0] : p[0] & (0x7fu >> n);
    for (size_t i = 1; i < n; i++) {
        if (p[i] >> 6 != 2)
            return 0;
        *cp = *cp << 6 | (p[i] & 0x3fu);
    }
    if (*cp < least[n] || *cp > 0x10ffff || (*cp >= 0xd800 && *cp < 0xe000))
        return 0;
    return n;
}

static bool printable(uint32_t cp)
{
    if (cp < 0x20 || (cp >= 0x7f && cp < 0xa0))
        return false;
    return !((cp >= 0x2028 && cp <= 0x202e) || (cp >= 0x2066 && cp <= 0x2069));
}

void log_clean(char *text)
{
    unsigned char *p = (unsigned char *)text;
    unsigned char *to = p;
    uint32_t cp = 0;

    while (*p) {
        size_t n = utf8_char(p, &cp);
        if (n == 0 || !printable(cp)) {
            *to++ = '?';
            p += n ? n : 1;
            continue;
        }
        memmove(to, p, n);
        to += n;
        p += n;
    }
    *to = '\0';
}

static void out_escaped(struct log_out *o, unsigned char c)
{
    char buf[8];

    if (c == '"' || c == '\\') {
        log_out_char(o, '\\');
        log_out_char(o, (char)c);
    } else if (c < 0x20 || c == 0x7f) {
        snprintf(buf, sizeof buf, "\\u%04x", c);
        log_out_text(o, buf);
    } else {
        log_out_char(o, (char)c);
    }
}

void log_out_member(struct log_out *o, const char *name, const char *value)
{
    log_out_text(o, ",\"");
    log_out_text(o, name);
    log_out_text(o, "\":\"");
    for (const char *p = value; *p; p++)
        out_escaped(o, (unsigned char)*p);
    log_out_char(o, '"');
}
