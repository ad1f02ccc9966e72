/* The configuration as JSON and back: one table of fields serves both ways. See config.h. */
#include "hostd/base/config.h"
#include "hostd/base/log.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_JSON = 64 << 20 };

enum kind { K_BOOL, K_U8, K_U16, K_U32, K_U64, K_ENUM, K_TEXT, K_ADDR, K_RANGE, K_SUITE };

struct field {
    const char *name;
    enum kind kind;
    size_t off;
    uint64_t max; /* of a number; the room of a text */
};

#define F(type, kind, member, max)                                                                 \
    {                                                                                              \
#member, kind, offsetof(struct type, member), max                                          \
    }
#define T(type, member) F(type, K_TEXT, member, sizeof((struct type *)0)->member)
#define ROWS(t)         t, sizeof t / sizeof *t

static const struct field cfg_fields[] = {
    F(cfg, K_BOOL, testing, 1),
    F(cfg, K_U32, limit_sas, UINT32_MAX),
    F(cfg, K_U8, log_level, LOG_LVL_COUNT - 1),
    T(cfg, log_dir),
    F(cfg, K_U64, log_file_kb, INT64_MAX),
    T(cfg, read_group),
    T(cfg, change_group),
    F(cfg, K_U32, reassembly_kb, UINT32_MAX),
    F(cfg, K_U32, hold_packets, UINT32_MAX),
    F(cfg, K_U32, hold_per_flow, UINT32_MAX),
    F(cfg, K_U16, natt_port, UINT16_MAX),
};

static const struct field port_fields[] = {{"port", K_U16, 0, UINT16_MAX}};

static const struct field card_fields[] = {T(cfg_card, name), T(cfg_card, at)};

static const struct field addr_fields[] = {
    F(cfg_addr, K_ADDR, addr, 0),
    F(cfg_addr, K_U8, bits, 128),
};

static const struct field interface_fields[] = {
    T(cfg_interface, name),
    T(cfg_interface, port),
    T(cfg_interface, standby),
    F(cfg_interface, K_BOOL, take_addresses, 1),
    F(cfg_interface, K_ADDR, gateway4, 0),
    F(cfg_interface, K_ADDR, gateway6, 0),
    F(cfg_interface, K_U16, mtu, UINT16_MAX),
    F(cfg_interface, K_ENUM, after_stop, CFG_STOP_PASS),
};

static const struct field policy_fields[] = {
    T(spd_policy, name),
    T(spd_policy, where),
    F(spd_policy, K_ENUM, action, SPD_PROTECT),
    F(spd_policy, K_RANGE, sel.local, 0),
    F(spd_policy, K_RANGE, sel.remote, 0),
    F(spd_policy, K_U8, sel.proto, UINT8_MAX),
    F(spd_policy, K_U16, sel.local_port.lo, UINT16_MAX),
    F(spd_policy, K_U16, sel.local_port.hi, UINT16_MAX),
    F(spd_policy, K_U16, sel.remote_port.lo, UINT16_MAX),
    F(spd_policy, K_U16, sel.remote_port.hi, UINT16_MAX),
    F(spd_policy, K_ENUM, mode, ESP_TUNNEL),
    F(spd_policy, K_ADDR, tunnel_local, 0),
    F(spd_policy, K_ADDR, tunnel_remote, 0),
    F(spd_policy, K_ENUM, encap, ESP_ENCAP_UDP),
    F(spd_policy, K_BOOL, esn, 1),
    F(spd_policy, K_U32, window, 4096),
};

static const struct field transform_fields[] = {
    F(spd_transform, K_SUITE, suite, 0),
    F(spd_transform, K_U64, soft.time, INT64_MAX),
    F(spd_transform, K_U64, soft.bytes, INT64_MAX),
    F(spd_transform, K_U64, soft.packets, INT64_MAX),
    F(spd_transform, K_U64, hard.time, INT64_MAX),
    F(spd_transform, K_U64, hard.bytes, INT64_MAX),
    F(spd_transform, K_U64, hard.packets, INT64_MAX),
};

void cfg_free(struct cfg *c)
{
    free(c->policies);
    c->policies = NULL;
    c->n_policies = 0;
}

static uint64_t get_number(const struct field *f, const void *at)
{
    switch (f->kind) {
    case K_BOOL:
        return *(const bool *)at;
    case K_U8:
        return *(const uint8_t *)at;
    case K_U16:
        return *(const uint16_t *)at;
    case K_U32:
    case K_ENUM:
        return *(const uint32_t *)at;
    default:
        return *(const uint64_t *)at;
    }
}

static void set_number(const struct field *f, void *at, uint64_t v)
{
    switch (f->kind) {
    case K_BOOL:
        *(bool *)at = v != 0;
        break;
    case K_U8:
        *(uint8_t *)at = (uint8_t)v;
        break;
    case K_U16:
        *(uint16_t *)at = (uint16_t)v;
        break;
    case K_U32:
    case K_ENUM:
        *(uint32_t *)at = (uint32_t)v;
        break;
    default:
        *(uint64_t *)at = v;
    }
}
_Static_assert(sizeof(enum spd_action) == 4 && sizeof(enum esp_mode) == 4 &&
                   sizeof(enum esp_encap) == 4 && sizeof(enum cfg_after_stop) == 4,
               "K_ENUM fields are 32 bits");

static json_t *value_json(const struct field *f, const void *at)
{
    const struct esp_suite *const *suite = at;
    char buf[2 * IP_ADDR_STR];

    switch (f->kind) {
    case K_BOOL:
        return json_boolean(*(const bool *)at);
    case K_TEXT:
        return json_string(at);
    case K_ADDR:
        return json_string(ip_str(at, buf));
    case K_RANGE:
        return json_string(ip_range_str(at, buf));
    case K_SUITE:
        return json_string(*suite ? (*suite)->name : "");
    default:
        return json_integer((json_int_t)get_number(f, at));
    }
}

static json_t *record_json(const struct field *f, size_t n, const void *record)
{
    json_t *o = json_object();

    for (size_t i = 0; o && i < n; i++) {
        if (json_object_set_new(o, f[i].name, value_json(&f[i], (const char *)record + f[i].off))) {
            json_decref(o);
            return NULL;
        }
    }
    return o;
}

/* A list of count records of size octets each. */
static json_t *list_json(const struct field *f, size_t n, const void *first, size_t size,
                         unsigned count)
{
    json_t *a = json_array();

    for (unsigned i = 0; a && i < count; i++) {
        if (json_array_append_new(a, record_json(f, n, (const char *)first + i * size))) {
            json_decref(a);
            return NULL;
        }
    }
    return a;
}

/* Adds a member that may be NULL for want of memory; false then. */
static bool put(json_t *o, const char *name, json_t *v)
{
    return json_object_set_new(o, name, v) == 0;
}

static json_t *interfaces_json(const struct cfg *c)
{
    json_t *a =
        list_json(ROWS(interface_fields), c->interfaces, sizeof *c->interfaces, c->n_interfaces);

    for (unsigned i = 0; a && i < c->n_interfaces; i++) {
        const struct cfg_interface *f = &c->interfaces[i];
        if (!put(json_array_get(a, i), "address",
                 list_json(ROWS(addr_fields), f->address, sizeof *f->address, f->n_addresses))) {
            json_decref(a);
            return NULL;
        }
    }
    return a;
}

static json_t *policies_json(const struct cfg *c)
{
    json_t *a = list_json(ROWS(policy_fields), c->policies, sizeof *c->policies, c->n_policies);

    for (unsigned i = 0; a && i < c->n_policies; i++) {
        const struct spd_policy *p = &c->policies[i];
        if (!put(json_array_get(a, i), "transforms",
                 list_json(ROWS(transform_fields), p->transforms, sizeof *p->transforms,
                           p->n_transforms))) {
            json_decref(a);
            return NULL;
        }
    }
    return a;
}

char *cfg_to_json(const struct cfg *c)
{
    json_t *o = record_json(ROWS(cfg_fields), c);
    char *text = NULL;

    if (o &&
        put(o, "ike_ports",
            list_json(ROWS(port_fields), c->ike_ports, sizeof *c->ike_ports, c->n_ike_ports)) &&
        put(o, "cards", list_json(ROWS(card_fields), c->cards, sizeof *c->cards, c->n_cards)) &&
        put(o, "interfaces", interfaces_json(c)) && put(o, "policies", policies_json(c)))
        text = json_dumps(o, JSON_COMPACT);
    json_decref(o);
    return text;
}

/* --- back: everything is checked as if it came from the network ------------------------------- */

static bool clean_text(const char *s, size_t len, size_t room)
{
    if (len >= room || strlen(s) != len)
        return false;
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)s[i] < 0x20 || s[i] == 0x7f)
            return false;
    return true;
}

static bool read_text(const struct field *f, const json_t *v, void *at)
{
    const char *s = json_string_value(v);
    size_t len = json_string_length(v);

    if (!s || !clean_text(s, len, f->kind == K_TEXT ? f->max : 2 * IP_ADDR_STR))
        return false;
    switch (f->kind) {
    case K_TEXT:
        memcpy(at, s, len + 1);
        return true;
    case K_ADDR:
        return strcmp(s, "none") == 0 || ip_parse(s, at) == 0;
    case K_RANGE:
        return ip_range_parse(s, at) == 0;
    default:
        *(const struct esp_suite **)at = esp_suite_by_name(s);
        return *(const struct esp_suite **)at != NULL;
    }
}

static bool read_value(const struct field *f, const json_t *v, void *at)
{
    if (f->kind >= K_TEXT)
        return read_text(f, v, at);
    if (f->kind == K_BOOL) {
        if (!json_is_boolean(v))
            return false;
        *(bool *)at = json_is_true(v);
        return true;
    }
    if (!json_is_integer(v) || json_integer_value(v) < 0 ||
        (uint64_t)json_integer_value(v) > f->max)
        return false;
    set_number(f, at, (uint64_t)json_integer_value(v));
    return true;
}

static bool read_record(const struct field *f, size_t n, const json_t *o, void *record)
{
    for (size_t i = 0; i < n; i++) {
        if (!read_value(&f[i], json_object_get(o, f[i].name), (char *)record + f[i].off))
            return false;
    }
    return true;
}

static bool read_list(const struct field *f, size_t n, const json_t *a, void *first, size_t size,
                      unsigned max, unsigned *count)
{
    size_t have = json_array_size(a);

    if (!json_is_array(a) || have > max)
        return false;
    for (size_t i = 0; i < have; i++)
        if (!read_record(f, n, json_array_get(a, i), (char *)first + i * size))
            return false;
    *count = (unsigned)have;
    return true;
}

static bool read_interface_lists(const json_t *a, struct cfg *c)
{
    for (unsigned i = 0; i < c->n_interfaces; i++) {
        struct cfg_interface *f = &c->interfaces[i];
        if (!read_list(ROWS(addr_fields), json_object_get(json_array_get(a, i), "address"),
                       f->address, sizeof *f->address, CFG_ADDRS, &f->n_addresses))
            return false;
        for (unsigned k = 0; k < f->n_addresses; k++)
            if (f->address[k].bits > 8 * ip_len(f->address[k].addr.family))
                return false;
    }
    return true;
}

static bool policy_holds(const struct spd_policy *p)
{
    const struct spd_selector *s = &p->sel;
    bool tunnel = p->mode == ESP_TUNNEL;

    if (s->local_port.lo > s->local_port.hi || s->remote_port.lo > s->remote_port.hi)
        return false;
    if (p->action != SPD_PROTECT)
        return p->n_transforms == 0;
    if (p->n_transforms == 0 || p->mode < ESP_TRANSPORT || !cfg_window_ok(p->window))
        return false;
    return p->tunnel_local.family == p->tunnel_remote.family &&
           (p->tunnel_local.family != 0) == tunnel;
}

static bool read_policies(const json_t *a, struct cfg *c)
{
    size_t n = json_array_size(a);

    if (!json_is_array(a) || n > CFG_POLICIES)
        return false;
    c->policies = calloc(n ? n : 1, sizeof *c->policies);
    if (!c->policies || !read_list(ROWS(policy_fields), a, c->policies, sizeof *c->policies,
                                   CFG_POLICIES, &c->n_policies))
        return false;
    for (unsigned i = 0; i < c->n_policies; i++) {
        struct spd_policy *p = &c->policies[i];
        if (!read_list(ROWS(transform_fields), json_object_get(json_array_get(a, i), "transforms"),
                       p->transforms, sizeof *p->transforms, SPD_TRANSFORMS, &p->n_transforms) ||
            !policy_holds(p))
            return false;
    }
    return true;
}

bool cfg_window_ok(uint32_t bits)
{
    return bits == 0 || (bits >= 32 && bits <= 4096 && (bits & (bits - 1)) == 0);
}

int cfg_from_json(const char *json, size_t len, struct cfg *out)
{
    json_t *o = len <= MAX_JSON ? json_loadb(json, len, JSON_REJECT_DUPLICATES, NULL) : NULL;
    json_t *interfaces = json_object_get(o, "interfaces");
    bool ok;

    memset(out, 0, sizeof *out);
    ok = o && read_record(ROWS(cfg_fields), o, out) &&
         read_list(ROWS(port_fields), json_object_get(o, "ike_ports"), out->ike_ports,
                   sizeof *out->ike_ports, CFG_IKE_PORTS, &out->n_ike_ports) &&
         read_list(ROWS(card_fields), json_object_get(o, "cards"), out->cards, sizeof *out->cards,
                   CFG_CARDS, &out->n_cards) &&
         read_list(ROWS(interface_fields), interfaces, out->interfaces, sizeof *out->interfaces,
                   CFG_INTERFACES, &out->n_interfaces) &&
         read_interface_lists(interfaces, out) &&
         read_policies(json_object_get(o, "policies"), out);
    json_decref(o);
    if (!ok)
        cfg_free(out);
    return ok ? 0 : -EBADMSG;
}
