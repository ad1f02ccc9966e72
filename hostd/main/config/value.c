/* See value.h. */
#include "hostd/main/config/value.h"

#include "hostd/base/log.h"

#include <ctype.h>
#include <net/if.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

__attribute__((format(printf, 2, 3))) static bool wrong(struct value *v, const char *what, ...)
{
    va_list ap;

    va_start(ap, what);
    vsnprintf(v->what, sizeof v->what, what, ap);
    va_end(ap);
    return false;
}

/* A value as it is shown in an error: not longer than a person reads. */
#define SHOWN "\"%.60s\""

static bool read_text(struct value *v, size_t room)
{
    size_t len = strlen(v->text);

    if (len >= room)
        return wrong(v, SHOWN " is longer than %zu characters", v->text, room - 1);
    memcpy(v->dst, v->text, len + 1);
    return true;
}

static bool word_chars(const char *s, const char *more)
{
    for (; *s; s++)
        if (!isascii((unsigned char)*s) || (!isalnum((unsigned char)*s) && !strchr(more, *s)))
            return false;
    return true;
}

static bool read_name(struct value *v)
{
    if (!*v->text || !word_chars(v->text, "._-"))
        return wrong(v, SHOWN " is not a name: letters, digits, . _ and - make one", v->text);
    return read_text(v, CFG_NAME);
}

static bool good_ifname(const char *s)
{
    return *s && strlen(s) < IFNAMSIZ && word_chars(s, "._-@") && strcmp(s, ".") != 0 &&
           strcmp(s, "..") != 0;
}

static bool read_ifname(struct value *v)
{
    if (!good_ifname(v->text))
        return wrong(v, SHOWN " is not the name of an interface (at most %d letters and digits)",
                     v->text, IFNAMSIZ - 1);
    return read_text(v, CFG_NAME);
}

static bool good_pci(const char *s)
{
    static const char form[] = "hhhh:hh:hh.h";

    if (strlen(s) != sizeof form - 1)
        return false;
    for (size_t i = 0; form[i]; i++)
        if (form[i] == 'h' ? !isxdigit((unsigned char)s[i]) : s[i] != form[i])
            return false;
    return true;
}

static bool read_card_at(struct value *v)
{
    if (strncmp(v->text, "unix:", 5) == 0) {
        if (v->text[5] != '/')
            return wrong(v, SHOWN " is not the absolute path of a socket", v->text);
    } else if (strncmp(v->text, "pci:", 4) == 0) {
        if (!good_pci(v->text + 4))
            return wrong(v, SHOWN " is not a PCI address", v->text);
    } else {
        return wrong(v, SHOWN " begins with neither unix: nor pci:", v->text);
    }
    return read_text(v, CFG_PATH);
}

static bool read_port_ref(struct value *v)
{
    if (strncmp(v->text, "if:", 3) == 0) {
        if (!good_ifname(v->text + 3))
            return wrong(v, SHOWN " is not the name of an interface", v->text + 3);
    } else if (!*v->text || strlen(v->text) >= CFG_NAME || !word_chars(v->text, "._-")) {
        return wrong(v, SHOWN " is neither a card's name nor if: with an interface", v->text);
    }
    return read_text(v, CFG_PATH);
}

static bool read_group(struct value *v)
{
    if (strcmp(v->text, "none") == 0) {
        *(char *)v->dst = '\0';
        return true;
    }
    if (!*v->text || !word_chars(v->text, "._-"))
        return wrong(v, SHOWN " is not the name of a group", v->text);
    return read_text(v, CFG_NAME);
}

static bool read_directory(struct value *v)
{
    if (strcmp(v->text, "none") == 0) {
        *(char *)v->dst = '\0';
        return true;
    }
    if (v->text[0] != '/')
        return wrong(v, SHOWN " is not an absolute path", v->text);
    return read_text(v, CFG_PATH);
}

static bool read_bool(struct value *v)
{
    static const char *const words[] = {"no", "yes", "false", "true", "off", "on"};

    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (strcasecmp(v->text, words[i]) == 0) {
            *(bool *)v->dst = i % 2;
            return true;
        }
    }
    return wrong(v, SHOWN " is neither yes nor no", v->text);
}

/* Length of the word at p in "word=value|word=value". */
static size_t word_len(const char *p)
{
    return strcspn(p, "=|");
}

static const char *next_word(const char *p)
{
    p += strcspn(p, "|");
    return *p ? p + 1 : NULL;
}

const char *value_words(const char *allowed, char *buf, size_t room)
{
    size_t n = 0;

    buf[0] = '\0';
    for (const char *p = allowed; p && n < room; p = next_word(p)) {
        const char *before = p == allowed ? "" : next_word(p) ? ", " : " or ";
        n += (size_t)snprintf(buf + n, room - n, "%s%.*s", before, (int)word_len(p), p);
    }
    return buf;
}

/* Edits (insert, delete, replace) from a to b; both are short. */
static unsigned distance(const char *a, const char *b)
{
    enum { MAX = 32 };
    unsigned row[MAX + 1], left, up_left;
    size_t la = strlen(a), lb = strlen(b);

    if (la > MAX || lb > MAX)
        return MAX;
    for (unsigned i = 0; i <= lb; i++)
        row[i] = i;
    for (size_t i = 1; i <= la; i++) {
        up_left = row[0];
        row[0] = (unsigned)i;
        for (size_t k = 1; k <= lb; k++) {
            left = row[k - 1] + 1;
            unsigned change =
                up_left + (tolower((unsigned char)a[i - 1]) != tolower((unsigned char)b[k - 1]));
            up_left = row[k];
            row[k] = row[k] + 1 < left ? row[k] + 1 : left;
            row[k] = change < row[k] ? change : row[k];
        }
    }
    return row[lb];
}

const char *value_nearest(const char *text, const char *const *words)
{
    const char *best = NULL;
    unsigned best_at = (unsigned)strlen(text) / 3 + 2; /* a third of it wrong, and one more */

    for (; *words; words++) {
        unsigned d = distance(text, *words);
        if (d < best_at && d < strlen(*words)) {
            best_at = d;
            best = *words;
        }
    }
    return best;
}

static bool read_number(const char *s, uint64_t max, uint64_t *out)
{
    uint64_t n = 0;

    if (!*s)
        return false;
    for (; *s; s++) {
        if (*s < '0' || *s > '9' || n > (max - (uint64_t)(*s - '0')) / 10)
            return false;
        n = n * 10 + (uint64_t)(*s - '0');
    }
    *out = n;
    return true;
}

static bool read_enum(struct value *v)
{
    char words[120];

    for (const char *p = v->key->allowed; p; p = next_word(p)) {
        size_t n = word_len(p);
        if (strncmp(v->text, p, n) == 0 && v->text[n] == '\0' && p[n] == '=') {
            *(uint32_t *)v->dst = (uint32_t)(p[n + 1] - '0');
            return true;
        }
    }
    return wrong(v, SHOWN " is not %s", v->text, value_words(v->key->allowed, words, sizeof words));
}

/* The two ends of "lo..hi". */
static void limits_of(const char *allowed, uint64_t *lo, uint64_t *hi)
{
    unsigned long long a = 0, b = 0;

    sscanf(allowed, "%llu..%llu", &a, &b);
    *lo = a;
    *hi = b;
}

static bool read_limited(struct value *v, uint64_t *n)
{
    uint64_t lo, hi;

    limits_of(v->key->allowed, &lo, &hi);
    if (!*v->text || v->text[strspn(v->text, "0123456789")])
        return wrong(v, SHOWN " is not a number", v->text);
    if (!read_number(v->text, UINT64_MAX, n) || *n < lo || *n > hi)
        return wrong(v, "%.30s is outside %llu to %llu", v->text, (unsigned long long)lo,
                     (unsigned long long)hi);
    return true;
}

static bool read_u32(struct value *v)
{
    uint64_t n;

    if (!read_limited(v, &n))
        return false;
    *(uint32_t *)v->dst = (uint32_t)n;
    return true;
}

static bool read_u64(struct value *v)
{
    return read_limited(v, v->dst);
}

static bool read_mtu(struct value *v)
{
    if (strcmp(v->text, "port") != 0)
        return read_u32(v);
    *(uint32_t *)v->dst = 0;
    return true;
}

static bool read_level(struct value *v)
{
    enum log_level l;

    if (log_level_parse(v->text, &l))
        return wrong(v, SHOWN " is not a level of the log", v->text);
    *(uint32_t *)v->dst = (uint32_t)l;
    return true;
}

static bool read_window(struct value *v)
{
    uint64_t n;

    if (!read_number(v->text, UINT32_MAX, &n) || !cfg_window_ok((uint32_t)n))
        return wrong(v, SHOWN " is not a size that a window can have", v->text);
    *(uint32_t *)v->dst = (uint32_t)n;
    return true;
}

static bool read_address(struct value *v)
{
    if (ip_parse(v->text, v->dst) == 0)
        return true;
    if (strchr(v->text, '/'))
        return wrong(v, SHOWN " is a prefix where one address should stand", v->text);
    return wrong(v, SHOWN " is not an IP address", v->text);
}

static bool read_selector(struct value *v)
{
    if (ip_range_parse(v->text, v->dst) == 0)
        return true;
    return wrong(v, SHOWN " is no address, prefix or range", v->text);
}

static const struct {
    const char *name;
    uint8_t number;
} protocols[] = {
    {"any", IPP_ANY},          {"icmp", IPP_ICMP}, {"igmp", IPP_IGMP}, {"ipip", IPP_IPIP},
    {"tcp", IPP_TCP},          {"udp", IPP_UDP},   {"dccp", 33},       {"gre", 47},
    {"icmpv6", IPP_ICMPV6},    {"ospf", 89},       {"sctp", 132},      {"udplite", 136},
    {"ipv6-icmp", IPP_ICMPV6},
};

static bool read_protocol(struct value *v)
{
    uint64_t n;

    for (size_t i = 0; i < sizeof protocols / sizeof *protocols; i++) {
        if (strcasecmp(v->text, protocols[i].name) == 0) {
            *(uint32_t *)v->dst = protocols[i].number;
            return true;
        }
    }
    if (!read_number(v->text, UINT32_MAX, &n) || n < 1 || n > 255)
        return wrong(v, SHOWN " is not a protocol", v->text);
    *(uint32_t *)v->dst = (uint32_t)n;
    return true;
}

/* Copies the part of text before c into buf and returns what is behind c, or NULL without c. */
static const char *split(const char *text, char c, char *buf, size_t room)
{
    const char *at = strchr(text, c);
    size_t n = at ? (size_t)(at - text) : strlen(text);

    snprintf(buf, room, "%.*s", (int)(n < room ? n : room - 1), text);
    return at ? at + 1 : NULL;
}

static bool read_ports(struct value *v)
{
    struct draft_ports *p = v->dst;
    uint64_t lo, hi = 0, code = 0;
    const char *to, *behind;
    char first[32];

    if (strcmp(v->text, "any") == 0) {
        *p = (struct draft_ports){.hi = UINT16_MAX};
        return true;
    }
    behind = split(v->text, '/', first, sizeof first);
    to = behind ? NULL : split(v->text, '-', first, sizeof first);
    if (strlen(first) > 5 || !read_number(first, 99999, &lo) ||
        (to && !read_number(to, 99999, &hi)) || (behind && !read_number(behind, 255, &code)))
        return wrong(v, SHOWN " is not a port", v->text);
    if (lo > UINT16_MAX || hi > UINT16_MAX)
        return wrong(v, SHOWN " is more than 65535", v->text);
    if (to && hi < lo)
        return wrong(v, SHOWN " ends before it begins", v->text);
    *p = (struct draft_ports){(uint16_t)lo, (uint16_t)(to ? hi : lo), true, behind, (uint8_t)code};
    return true;
}

static bool read_addresses(struct value *v)
{
    struct cfg_interface *f = &((struct draft_interface *)v->dst)->out;
    struct cfg_addr *a = &f->address[f->n_addresses];
    uint64_t bits = 0;
    char text[64];
    const char *behind;

    if (strcmp(v->text, "from-port") == 0) {
        f->take_addresses = true;
        return true;
    }
    behind = split(v->text, '/', text, sizeof text);
    if (f->n_addresses == CFG_ADDRS)
        return wrong(v, "there are more than %d addresses", CFG_ADDRS);
    if (ip_parse(text, &a->addr))
        return wrong(v, SHOWN " is not an IP address", text);
    if (!behind)
        return wrong(v, SHOWN " has no prefix length", v->text);
    if (!read_number(behind, 999, &bits) || bits < 1 || bits > 8 * ip_len(a->addr.family))
        return wrong(v, SHOWN " is not a prefix length", behind);
    a->bits = (uint8_t)bits;
    f->n_addresses++;
    return true;
}

static bool read_gateways(struct value *v)
{
    struct cfg_interface *f = &((struct draft_interface *)v->dst)->out;
    struct ip_addr a, *to;

    if (ip_parse(v->text, &a))
        return wrong(v, SHOWN " is not an IP address", v->text);
    to = a.family == 4 ? &f->gateway4 : &f->gateway6;
    if (to->family)
        return wrong(v, "there are two gateways of IPv%u", a.family);
    *to = a;
    return true;
}

static bool unknown_suite(struct value *v, const char *name)
{
    const char *names[64] = {NULL};
    const struct esp_suite *s;
    const char *near;

    for (unsigned i = 0; i < 63 && (s = esp_suite_at(i)); i++)
        names[i] = s->name;
    near = value_nearest(name, names);
    if (near)
        snprintf(v->remedy, sizeof v->remedy, "did you mean %s?", near);
    return wrong(v, SHOWN " is not a transform", name);
}

static bool read_transforms(struct value *v)
{
    struct draft_policy *p = v->dst;
    struct spd_transform *t = &p->transforms[p->n_transforms];
    uint64_t seconds = 28800, kbytes = 0;
    char name[64], first[32];
    const char *behind, *last;

    if (p->n_transforms == SPD_TRANSFORMS)
        return wrong(v, "there are more than %d transforms", SPD_TRANSFORMS);
    behind = split(v->text, '/', name, sizeof name);
    t->suite = esp_suite_by_name(name);
    if (!t->suite)
        return unknown_suite(v, name);
    if (behind) {
        last = split(behind, '/', first, sizeof first);
        if (!read_number(first, INT32_MAX, &seconds))
            return wrong(v, SHOWN " is not a number of seconds", first);
        if (last && !read_number(last, 1ull << 40, &kbytes))
            return wrong(v, SHOWN " is not a number of kilobytes", last);
    }
    t->hard = (struct sa_lifetime){seconds * 1000000000u, kbytes * 1024, 0};
    p->n_transforms++;
    return true;
}

static bool (*const readers[ST_TYPES])(struct value *) = {
    [ST_NAME] = read_name,         [ST_IFNAME] = read_ifname,
    [ST_CARD_AT] = read_card_at,   [ST_PORT_REF] = read_port_ref,
    [ST_GROUP] = read_group,       [ST_DIRECTORY] = read_directory,
    [ST_BOOL] = read_bool,         [ST_ENUM] = read_enum,
    [ST_U32] = read_u32,           [ST_U64] = read_u64,
    [ST_LEVEL] = read_level,       [ST_MTU] = read_mtu,
    [ST_WINDOW] = read_window,     [ST_ADDRESS] = read_address,
    [ST_SELECTOR] = read_selector, [ST_PROTOCOL] = read_protocol,
    [ST_PORTS] = read_ports,       [ST_ADDRESSES] = read_addresses,
    [ST_GATEWAYS] = read_gateways, [ST_TRANSFORMS] = read_transforms,
};

bool value_is_list(enum schema_type t)
{
    return t >= ST_ADDRESSES;
}

bool value_read(struct value *v)
{
    v->what[0] = v->remedy[0] = '\0';
    return readers[v->key->type](v);
}
