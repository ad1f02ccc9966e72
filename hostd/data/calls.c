#include "hostd/data/calls.h"

#include "hostd/data/calls_internal.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { /* JSON-RPC's own, and ours */
       CALL_BAD_METHOD = -32601,
       CALL_BAD_PARAMS = -32602,
       CALL_REFUSED = -32000,
       CALL_NO_SUCH = -32001
};

json_t *call_error(int code, const char *fmt, ...)
{
    char text[300];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    return json_pack("{s:{s:i,s:s}}", "error", "code", code, "message", text);
}

static json_t *call_result(json_t *result)
{
    return json_pack("{s:o}", "result", result ? result : json_object());
}

/* --- reading parameters -------------------------------------------------------------------------
 */

static const char *get_str(json_t *p, const char *key, const char *def)
{
    json_t *v = json_object_get(p, key);
    return json_is_string(v) ? json_string_value(v) : def;
}

static uint64_t get_int(json_t *p, const char *key, uint64_t def)
{
    json_t *v = json_object_get(p, key);
    if (!json_is_integer(v) || json_integer_value(v) < 0)
        return def;
    return (uint64_t)json_integer_value(v);
}

static struct sa_lifetime get_life(json_t *p, const char *key)
{
    json_t *v = json_object_get(p, key);
    double seconds = json_number_value(json_object_get(v, "seconds"));
    return (struct sa_lifetime){.time = seconds > 0 ? (uint64_t)(seconds * 1e9) : 0,
                                .bytes = get_int(v, "bytes", 0),
                                .packets = get_int(v, "packets", 0)};
}

struct word {
    const char *name;
    int value;
};

/* Looks a word up in a table that ends in a NULL name; -1 for none. */
static int get_word(json_t *p, const char *key, const char *def, const struct word *table)
{
    const char *name = get_str(p, key, def);
    for (; table->name; table++)
        if (strcmp(table->name, name) == 0)
            return table->value;
    return -1;
}

static const struct word dirs[] = {{"out", ESP_OUT}, {"in", ESP_IN}, {NULL, 0}};
static const struct word modes[] = {
    {"tunnel", ESP_TUNNEL}, {"transport", ESP_TRANSPORT}, {NULL, 0}};
static const struct word encaps[] = {
    {"none", ESP_ENCAP_NONE}, {"udp", ESP_ENCAP_UDP}, {"either", ESP_ENCAP_EITHER}, {NULL, 0}};
static const struct word places[] = {{"card", PLACE_CARD}, {"software", PLACE_SOFTWARE}, {NULL, 0}};

static int read_keys(int fd, struct esp_keys *k)
{
    uint8_t raw[CALLS_KEY_LEN];
    ssize_t n = fd < 0 ? -1 : pread(fd, raw, sizeof raw, 0);
    if (n == (ssize_t)sizeof raw) {
        memcpy(k->encr, raw, 32);
        memcpy(k->integ, raw + 32, 64);
        memcpy(k->salt, raw + 96, 4);
        memcpy(k->iv_key, raw + 100, 16);
    }
    OPENSSL_cleanse(raw, sizeof raw);
    return n == (ssize_t)sizeof raw ? 0 : -EBADMSG;
}

/* Fills spec out of the parameters; NULL, or the error. */
static json_t *read_spec(struct engine *e, json_t *p, int fd, struct sa_spec *s)
{
    memset(s, 0, sizeof *s);
    struct spd_policy *policy = spd_by_name(engine_spd(e), get_str(p, "policy", ""));
    if (!policy)
        return call_error(CALL_NO_SUCH, "there is no policy \"%s\"; policy.list names them",
                          get_str(p, "policy", ""));
    int dir = get_word(p, "dir", "", dirs), mode = get_word(p, "mode", "tunnel", modes);
    int encap = get_word(p, "encap", "none", encaps);
    if (dir < 0 || mode < 0 || encap < 0)
        return call_error(CALL_BAD_PARAMS,
                          "dir is out or in, mode tunnel or transport, encap none, udp or either");
    s->suite = esp_suite_by_name(get_str(p, "suite", "ESP_AES128_GCM16"));
    if (!s->suite)
        return call_error(CALL_BAD_PARAMS, "there is no suite \"%s\"", get_str(p, "suite", ""));
    if (ip_parse(get_str(p, "src", ""), &s->src) || ip_parse(get_str(p, "dst", ""), &s->dst))
        return call_error(CALL_BAD_PARAMS, "src and dst are the outer addresses");
    if (read_keys(fd, &s->keys))
        return call_error(CALL_BAD_PARAMS,
                          "pass the keys as one descriptor of %d octets: encr, integ, salt, iv_key",
                          CALLS_KEY_LEN);
    s->policy_id = policy->id;
    s->dir = (enum esp_dir)dir;
    s->mode = (enum esp_mode)mode;
    s->encap = (enum esp_encap)encap;
    s->spi = (uint32_t)get_int(p, "spi", 0);
    s->esn = json_is_true(json_object_get(p, "esn"));
    s->window = (uint32_t)get_int(p, "window", WIN_DEFAULT_BITS);
    s->udp_sport = (uint16_t)get_int(p, "sport", encap == ESP_ENCAP_NONE ? 0 : 4500);
    s->udp_dport = (uint16_t)get_int(p, "dport", encap == ESP_ENCAP_NONE ? 0 : 4500);
    s->soft = get_life(p, "soft");
    s->hard = get_life(p, "hard");
    return NULL;
}

static json_t *sa_add_error(int rc, const struct sa_spec *s)
{
    switch (rc) {
    case -EEXIST:
        return call_error(CALL_REFUSED, "SPI 0x%08x is in use", s->spi);
    case -ENOSPC:
        return call_error(CALL_REFUSED,
                          "the SA database is full; raise limits: sas in the configuration");
    case -ENOTSUP:
        return call_error(CALL_REFUSED, "no cryptographic library here has %s", s->suite->name);
    case -EINVAL:
        return call_error(
            CALL_BAD_PARAMS,
            "the SA's parameters do not fit together: SPI from 256, both addresses of one family, "
            "window 0 or a power of two from 32 to 4096");
    default:
        return call_error(CALL_REFUSED, "the SA could not be added: %s", strerror(-rc));
    }
}

static json_t *call_sa_add(struct call *c)
{
    struct sa_spec spec;
    json_t *err = read_spec(c->e, c->params, c->fd, &spec);
    struct sa *sa = NULL;
    if (!err) {
        int rc = engine_sa_add(c->e, &spec, c->now, &sa);
        err = rc ? sa_add_error(rc, &spec) : NULL;
    }
    OPENSSL_cleanse(&spec.keys, sizeof spec.keys);
    return err ? err : call_result(report_sa(c->e, sa, c->now));
}

static struct sa *find_sa(struct call *c)
{
    int dir = get_word(c->params, "dir", "", dirs);
    uint32_t spi = (uint32_t)get_int(c->params, "spi", 0);
    return dir < 0 ? NULL : sad_by_spi(engine_sad(c->e), (enum esp_dir)dir, spi);
}

static json_t *no_sa(struct call *c)
{
    return call_error(CALL_NO_SUCH, "there is no SA with SPI 0x%08x in direction \"%s\"",
                      (unsigned)get_int(c->params, "spi", 0), get_str(c->params, "dir", ""));
}

static json_t *call_sa_delete(struct call *c)
{
    if (json_is_true(json_object_get(c->params, "all"))) {
        for (struct sa *sa = sad_next(engine_sad(c->e), NULL), *next; sa; sa = next) {
            next = sad_next(engine_sad(c->e), sa);
            engine_sa_delete(c->e, sa, c->now);
        }
        return call_result(NULL);
    }
    struct sa *sa = find_sa(c);
    if (!sa)
        return no_sa(c);
    engine_sa_delete(c->e, sa, c->now);
    return call_result(NULL);
}

static json_t *call_place_move(struct call *c)
{
    struct sa *sa = find_sa(c);
    int where = get_word(c->params, "to", "", places);
    if (where < 0)
        return call_error(CALL_BAD_PARAMS, "to is card or software");
    if (!sa)
        return no_sa(c);
    place_ask(engine_place(c->e), sa, (enum sa_place)where, c->now);
    return call_result(report_sa(c->e, sa, c->now));
}

static json_t *call_acquire_answer(struct call *c)
{
    struct spd_policy *p = spd_by_name(engine_spd(c->e), get_str(c->params, "policy", ""));
    struct ip_addr peer;
    if (!p || ip_parse(get_str(c->params, "peer", ""), &peer))
        return call_error(CALL_BAD_PARAMS, "policy and peer name the acquire that failed");
    engine_acquire_failed(c->e, p->id, &peer, c->now);
    return call_result(NULL);
}

static json_t *call_report(struct call *c)
{
    return call_result(c->row->report(c->e, c->now));
}

static const struct call_row rows[] = {
    {"sa.add", call_sa_add, NULL, true},
    {"sa.delete", call_sa_delete, NULL, true},
    {"acquire.answer", call_acquire_answer, NULL, true},
    {"place.move", call_place_move, NULL, false},
    {"sa.list", call_report, report_sas, false},
    {"policy.list", call_report, report_policies, false},
    {"card.list", call_report, report_cards, false},
    {"counters", call_report, report_counters, false},
    {"cache.list", call_report, report_cache, false},
};

json_t *calls_run(struct engine *e, const char *method, json_t *params, int fd, uint64_t now,
                  bool testing)
{
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (strcmp(rows[i].name, method) != 0)
            continue;
        if (rows[i].testing && !testing)
            return call_error(CALL_REFUSED,
                              "%s is for tests: write \"testing: yes\" in the configuration",
                              method);
        struct call c = {e, params, fd, now, &rows[i]};
        // cppcheck-suppress returnDanglingLifetime
        return rows[i].run(&c);
    }
    return call_error(CALL_BAD_METHOD, "the data process has no method \"%s\"", method);
}
