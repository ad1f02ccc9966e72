/* The control line: faults and dumps, answered in JSON. No key can get here: dumps read tables that
 * hold none in readable form. */
#include <arpa/inet.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "hwsim/model/internal.h"

static json_t *refuse(const char *why)
{
    return json_pack("{s:b, s:s}", "ok", 0, "error", why ? why : "no memory");
}

/* --- faults
 * --------------------------------------------------------------------------------------------------------
 */

/* The faults of the card as a whole strike as soon as they are said, once. */
static void strike_card(struct hw_card *c)
{
    const struct hw_fault *f =
        hw_fault_hit(&c->faults, c->now, &HW_FAULT_AT(HW_SITE_CARD, .op = 0));

    if (f && f->what == HW_WHAT_DIE)
        hw_die(c);
    else if (f)
        hw_stop(c, f->what == HW_WHAT_FATAL);
}

static json_t *fault_add(struct hw_card *c, const char *words)
{
    char *error;
    unsigned id = hw_fault_parse(&c->faults, c->now, words, &error);
    json_t *answer;

    if (id && c->faults.per_site[HW_SITE_CARD])
        strike_card(c);
    answer = id ? json_pack("{s:b, s:i}", "ok", 1, "id", (int)id) : refuse(error);
    free(error);
    return answer;
}

static json_t *fault_del(struct hw_card *c, const char *words)
{
    char *end;
    unsigned long id = strtoul(words, &end, 10);

    if (!strcmp(words, "all")) {
        hw_fault_clear(&c->faults);
    } else if (*end || end == words) {
        return refuse("fault del ID, or fault del all");
    } else if (!hw_fault_delete(&c->faults, (unsigned)id)) {
        return refuse("no fault has this id");
    }
    return json_pack("{s:b}", "ok", 1);
}

static json_t *fault_list(struct hw_card *c, const char *words)
{
    json_t *list = json_array();
    unsigned i;

    for (i = 0; i < HW_FAULT_MAX; i++) {
        const struct hw_fault *f = &c->faults.list[i];

        if (f->id)
            json_array_append_new(
                list, json_pack("{s:i, s:s, s:s, s:s, s:I, s:I, s:b}", "id", (int)f->id, "site",
                                hw_fault_site_name(f->site), "what", hw_fault_what_name(f->what),
                                "line", f->line, "seen", (json_int_t)f->seen, "hits",
                                (json_int_t)f->hits, "spent", f->spent || f->until <= c->now));
    }
    return json_pack("{s:b, s:o}", "ok", 1, "faults", list);
}

/* --- dumps
 * ----------------------------------------------------------------------------------------------------------
 */

static void text_addr(const struct hw_esp *e, const uint8_t *addr, char *to)
{
    if (!inet_ntop(e->family == 4 ? AF_INET : AF_INET6, addr, to, INET6_ADDRSTRLEN))
        *to = 0;
}

static void lower(char *to, const char *from, size_t cap)
{
    size_t i;

    for (i = 0; i + 1 < cap && from[i]; i++)
        to[i] = (char)(from[i] >= 'A' && from[i] <= 'Z' ? from[i] + 32 : from[i]);
    to[i] = 0;
}

static json_t *dump_one_sa(const struct hw_card *c, const struct hw_sa *sa)
{
    char src[INET6_ADDRSTRLEN], dst[INET6_ADDRSTRLEN], cookie[24], state[24], encap[24];

    text_addr(&sa->esp, sa->esp.src, src);
    text_addr(&sa->esp, sa->esp.dst, dst);
    snprintf(cookie, sizeof(cookie), "0x%016" PRIx64, sa->cookie);
    lower(state, cif_sastate_name(sa->state), sizeof(state));
    lower(encap, cif_encap_name(sa->encap), sizeof(encap));
    return json_pack(
        "{s:I, s:s, s:I, s:s, s:s, s:s, s:s, s:i, s:s, s:s, s:s, s:b, s:b, s:I, s:I, s:I}",
        "handle", (json_int_t)hw_sa_handle(&c->sa, sa), "dir",
        sa->dir == CIF_DIR_OUT ? "out" : "in", "spi", (json_int_t)sa->esp.spi, "cookie", cookie,
        "state", state, "src", src, "dst", dst, "family", (int)sa->esp.family, "suite",
        sa->esp.suite->name, "mode", sa->esp.tunnel ? "tunnel" : "transport", "encap", encap, "esn",
        (int)sa->esp.esn, "burst", (int)sa->burst, "icv_fail", (json_int_t)sa->icv_fail, "mismatch",
        (json_int_t)sa->mismatch, "refused", (json_int_t)sa->refused);
}

static json_t *dump_sa(struct hw_card *c, const char *words)
{
    json_t *list = json_array();
    uint32_t i;

    for (i = 0; i < c->sa.n; i++)
        if (c->sa.slots[i].state != CIF_SASTATE_FREE)
            json_array_append_new(list, dump_one_sa(c, &c->sa.slots[i]));
    return json_pack("{s:b, s:I, s:i, s:o}", "ok", 1, "epoch", (json_int_t)c->epoch, "free",
                     (int)(c->sa.pools[0].free + c->sa.pools[1].free), "sa", list);
}

static json_t *counters(const uint64_t *stats)
{
    json_t *all = json_object();
    char name[48];
    unsigned i;

    for (i = 0; i < CIF_STAT_COUNT; i++) {
        lower(name, cif_stat_name(i), sizeof(name));
        json_object_set_new(all, name, json_integer((json_int_t)stats[i]));
    }
    return all;
}

static json_t *dump_stats(struct hw_card *c, const char *words)
{
    json_t *ports = json_array();
    unsigned i;

    for (i = 0; i < c->shape.n_ports; i++)
        json_array_append_new(ports,
                              json_pack("{s:i, s:b, s:b, s:o}", "port", (int)i, "enabled",
                                        (int)c->ports[i].enabled, "link", (int)c->ports[i].link,
                                        "counters", counters(c->ports[i].stats)));
    return json_pack("{s:b, s:I, s:I, s:I, s:I, s:o, s:o, s:o}", "ok", 1, "epoch",
                     (json_int_t)c->epoch, "status", (json_int_t)c->status, "hb_fw",
                     (json_int_t)c->hb_fw, "hb_dp", (json_int_t)c->hb_dp, "card",
                     counters(c->stats), "total", counters(c->total), "ports", ports);
}

static json_t *dump_one_queue(const struct hw_card *c, const struct hw_queue *q)
{
    char type[8];
    uint32_t page = hw_db_page(q->qid);

    lower(type, cif_qtype_name(q->type), sizeof(type));
    return json_pack("{s:i, s:s, s:i, s:b, s:i, s:i, s:i, s:i, s:i, s:i, s:b, s:o}", "qid",
                     (int)q->qid, "type", type, "port", (int)q->port, "stopped", (int)q->stopped,
                     "size", (int)q->size, "head", (int)q->head, "tail",
                     (int)(hw_db_load(c, page + CIF_DB_TAIL) & 0xffff), "cq_tail",
                     (int)(q->cq.count & 0xffff), "cq_head",
                     (int)(hw_db_load(c, page + CIF_DB_CQ_HEAD) & 0xffff), "held", (int)q->n_held,
                     "late", q->late != NULL, "counters", counters(q->stats));
}

static json_t *dump_queues(struct hw_card *c, const char *words)
{
    json_t *list = json_array();
    unsigned i;

    for (i = 0; i < c->n_queues; i++)
        if (c->queues[i].exists)
            json_array_append_new(list, dump_one_queue(c, &c->queues[i]));
    return json_pack("{s:b, s:{s:b, s:b, s:i, s:i}, s:o}", "ok", 1, "admin", "on", (int)c->admin.on,
                     "stopped", (int)c->admin.stopped, "head", (int)c->admin.head, "pending",
                     (int)c->admin.n_pending, "queues", list);
}

/* --- the line
 * ------------------------------------------------------------------------------------------------------
 */

void hw_die(struct hw_card *c)
{
    c->dead = true;
    if (c->bus.die)
        c->bus.die(c->bus.ctx);
}

static json_t *die(struct hw_card *c, const char *words)
{
    hw_die(c);
    return json_pack("{s:b}", "ok", 1);
}

static const struct {
    const char *words;
    json_t *(*run)(struct hw_card *c, const char *rest);
} lines[] = {
    {"fault add", fault_add},
    {"fault del", fault_del},
    {"fault list", fault_list},
    {"dump sa", dump_sa},
    {"dump stats", dump_stats},
    {"dump queues", dump_queues},
    {"die", die},
};

static json_t *answer_line(struct hw_card *c, const char *line)
{
    size_t i;

    line += strspn(line, " \t");
    for (i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        size_t n = strlen(lines[i].words);

        if (!strncmp(line, lines[i].words, n) && strchr(" \t\r\n", line[n]))
            return lines[i].run(c, line + n + strspn(line + n, " \t\r\n"));
    }
    return refuse("known are: fault add …, fault del ID|all, fault list, dump sa, dump stats, "
                  "dump queues, die");
}

char *hw_card_ctl(struct hw_card *card, uint64_t now, const char *line)
{
    json_t *answer;
    char *text;

    card->now = now;
    answer = answer_line(card, line);
    text = answer ? json_dumps(answer, JSON_COMPACT) : NULL;
    json_decref(answer);
    return text;
}
