#include "hostd/data/calls_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* Everything a report says is read from what is in force, never from the configuration's wishes. */

static json_t *json_addr(const struct ip_addr *a)
{
    char buf[IP_ADDR_STR];
    return json_string(ip_str(a, buf));
}

static json_t *json_hex(uint64_t v)
{
    char buf[24];
    snprintf(buf, sizeof buf, "%016" PRIx64, v);
    return json_string(buf);
}

static json_t *json_u64(uint64_t v)
{
    return json_integer((json_int_t)v);
}

static const char *mode_name(enum esp_mode m)
{
    return m == ESP_TUNNEL ? "tunnel" : "transport";
}

static const char *encap_name(enum esp_encap e)
{
    static const char *const names[] = {"none", "udp", "either"};
    return names[e];
}

static json_t *sa_drops_json(const struct sa *sa)
{
    json_t *o = json_object();
    for (unsigned i = 0; i < SA_DROP_COUNT; i++)
        if (sa->drops[i])
            json_object_set_new(o, sa_drop_text((enum sa_drop)i), json_u64(sa->drops[i]));
    return o;
}

static json_t *by_path(const uint64_t v[PATHS])
{
    return json_pack("{s:o,s:o}", "software", json_u64(v[PATH_SOFTWARE]), "card",
                     json_u64(v[PATH_CARD]));
}

static const char *policy_name(struct engine *e, uint32_t id)
{
    struct spd_policy *p = spd_by_id(engine_spd(e), id);
    return p ? p->name : "";
}

static const char *card_name(struct engine *e, int index)
{
    struct engine_card c;
    return index >= 0 && engine_card_at(e, (unsigned)index, &c) ? c.name : "";
}

static json_t *life_left(const struct sa *sa, uint64_t now)
{
    json_t *o = json_object();
    const struct sa_lifetime *h = &sa->spec.hard;
    uint64_t age = now - sa->created;
    if (h->time)
        json_object_set_new(o, "seconds",
                            json_real(h->time > age ? (double)(h->time - age) / 1e9 : 0));
    uint64_t bytes = sa->bytes[0] + sa->bytes[1], packets = sa->packets[0] + sa->packets[1];
    if (h->bytes)
        json_object_set_new(o, "bytes", json_u64(h->bytes > bytes ? h->bytes - bytes : 0));
    if (h->packets)
        json_object_set_new(o, "packets",
                            json_u64(h->packets > packets ? h->packets - packets : 0));
    return o;
}

static void sa_place_json(struct engine *e, const struct sa *sa, uint64_t now, json_t *o)
{
    json_object_set_new(o, "place", json_string(sa->place == PLACE_CARD ? "card" : "software"));
    json_object_set_new(o, "card",
                        json_string(sa->place == PLACE_CARD ? card_name(e, sa->card) : ""));
    json_object_set_new(o, "handle",
                        sa->place == PLACE_CARD ? json_integer(sa->handle) : json_null());
    json_object_set_new(o, "reason",
                        json_pack("{s:s,s:s,s:s}", "code", place_code_name(sa->reason.code), "text",
                                  sa->reason.text, "remedy", sa->reason.remedy));
    json_object_set_new(o, "since_s", json_real((double)(now - sa->since) / 1e9));
    json_object_set_new(o, "moves", json_integer(sa->moves));
}

json_t *report_sa(struct engine *e, const struct sa *sa, uint64_t now)
{
    const struct sa_spec *s = &sa->spec;
    bool out = s->dir == ESP_OUT;
    json_t *o = json_object();
    json_object_set_new(o, "dir", json_string(out ? "out" : "in"));
    json_object_set_new(o, "spi", json_integer(s->spi));
    json_object_set_new(o, "policy", json_string(policy_name(e, s->policy_id)));
    json_object_set_new(o, "src", json_addr(&s->src));
    json_object_set_new(o, "dst", json_addr(&s->dst));
    json_object_set_new(o, "mode", json_string(mode_name(s->mode)));
    json_object_set_new(o, "encap", json_string(encap_name(s->encap)));
    json_object_set_new(o, "sport", json_integer(s->udp_sport));
    json_object_set_new(o, "dport", json_integer(s->udp_dport));
    json_object_set_new(o, "suite", json_string(s->suite->name));
    json_object_set_new(o, "key_bits", json_integer(s->suite->encr_len * 8));
    json_object_set_new(o, "esn", json_boolean(s->esn));
    sa_place_json(e, sa, now, o);
    json_object_set_new(o, out ? "next" : "top", json_u64(out ? sa->next : *sa->win.top));
    if (!out) {
        json_object_set_new(o, "window", json_integer(sa->win.bits));
        json_object_set_new(o, "largest_reorder", json_u64(sa->win.max_late));
    }
    json_object_set_new(o, "packets", by_path(sa->packets));
    json_object_set_new(o, "bytes", by_path(sa->bytes));
    json_object_set_new(o, "left", life_left(sa, now));
    json_object_set_new(o, "pmtu", json_integer(sa->pmtu));
    json_object_set_new(o, "drops", sa_drops_json(sa));
    json_object_set_new(o, "backend", json_string(esp_sa_backend(sa->esp)));
    json_object_set_new(o, "cookie", json_hex(sa->cookie));
    return o;
}

json_t *report_sas(struct engine *e, uint64_t now)
{
    json_t *list = json_array();
    for (struct sa *sa = sad_next(engine_sad(e), NULL); sa; sa = sad_next(engine_sad(e), sa))
        json_array_append_new(list, report_sa(e, sa, now));
    return json_pack("{s:o,s:b}", "sas", list, "quiet", place_quiet(engine_place(e)));
}

static json_t *report_policy(const struct spd_policy *p)
{
    char local[2 * IP_ADDR_STR], remote[2 * IP_ADDR_STR];
    json_t *o =
        json_pack("{s:s,s:s,s:I,s:o,s:s,s:s,s:s,s:i}", "name", p->name, "where", p->where, "id",
                  (json_int_t)p->id, "cookie", json_hex(p->cookie), "action",
                  spd_action_name(p->action), "local", ip_range_str(&p->sel.local, local), "remote",
                  ip_range_str(&p->sel.remote, remote), "protocol", (int)p->sel.proto);
    json_object_set_new(o, "local_port",
                        json_pack("[i,i]", (int)p->sel.local_port.lo, (int)p->sel.local_port.hi));
    json_object_set_new(o, "remote_port",
                        json_pack("[i,i]", (int)p->sel.remote_port.lo, (int)p->sel.remote_port.hi));
    if (p->action == SPD_PROTECT) {
        json_object_set_new(o, "mode", json_string(mode_name(p->mode)));
        json_object_set_new(o, "tunnel_local", json_addr(&p->tunnel_local));
        json_object_set_new(o, "tunnel_remote", json_addr(&p->tunnel_remote));
        json_t *t = json_array();
        for (unsigned i = 0; i < p->n_transforms; i++)
            json_array_append_new(t, json_string(p->transforms[i].suite->name));
        json_object_set_new(o, "transforms", t);
    }
    json_object_set_new(
        o, "hits", json_pack("{s:o,s:o}", "out", json_u64(p->hits[0]), "in", json_u64(p->hits[1])));
    return o;
}

json_t *report_policies(struct engine *e, uint64_t now)
{
    (void)now;
    json_t *list = json_array();
    for (unsigned i = 0; i < spd_count(engine_spd(e)); i++)
        json_array_append_new(list, report_policy(spd_at(engine_spd(e), i)));
    return json_pack("{s:o}", "policies", list);
}

static unsigned in_card(struct engine *e, unsigned index, enum esp_dir dir)
{
    unsigned n = 0;
    for (struct sa *sa = sad_next(engine_sad(e), NULL); sa; sa = sad_next(engine_sad(e), sa))
        n += sa->place == PLACE_CARD && sa->card == (int)index && sa->spec.dir == dir;
    return n;
}

static void card_unit_json(const struct card_unit *u, json_t *o)
{
    struct card_unit_report r;
    card_unit_report(u, &r);
    json_object_set_new(o, "state", json_string(r.state));
    json_object_set_new(o, "reason", json_string(r.reason));
    json_object_set_new(o, "model", json_string(r.model));
    json_object_set_new(o, "serial", json_string(r.serial));
    json_object_set_new(o, "firmware", json_string(r.firmware));
    json_object_set_new(o, "room_out", json_integer(r.caps.out_max));
    json_object_set_new(o, "room_in", json_integer(r.caps.in_max));
    json_object_set_new(o, "shared_pool", json_boolean(r.caps.shared_pool));
    json_object_set_new(o, "handles", json_integer(r.handles));
    json_object_set_new(o, "commands_pending", json_integer(r.commands));
    json_object_set_new(o, "tx_in_flight", json_integer(r.tx_in_flight));
    json_object_set_new(o, "buffers_in_use", json_integer(r.buffers_in_use));
    json_object_set_new(o, "lost", json_u64(r.lost));
    json_object_set_new(o, "resets", json_u64(r.resets));
    json_object_set_new(o, "ring_resets", json_u64(r.ring_resets));
    json_object_set_new(o, "refusals", json_u64(r.refusals));
    json_object_set_new(o, "bad_completions", json_u64(r.bad_completions));
}

json_t *report_cards(struct engine *e, uint64_t now)
{
    json_t *list = json_array();
    struct engine_card c;
    for (unsigned i = 0; engine_card_at(e, i, &c); i++) {
        json_t *o = json_pack("{s:s,s:s,s:f,s:i,s:i}", "name", c.name, "at", c.at, "since_s",
                              (double)(now - c.since) / 1e9, "sas_out", (int)in_card(e, i, ESP_OUT),
                              "sas_in", (int)in_card(e, i, ESP_IN));
        if (c.unit)
            card_unit_json(c.unit, o);
        else
            json_object_update_new(o, json_pack("{s:s,s:s}", "state", "away", "reason", c.away));
        json_array_append_new(list, o);
    }
    return json_pack("{s:o}", "cards", list);
}

static json_t *drops_json(const struct dp_counters *c, uint64_t refused)
{
    json_t *o = json_object();
    for (unsigned i = 0; i < DP_DROP_COUNT; i++)
        json_object_set_new(o, dp_drop_text((enum dp_drop)i),
                            json_u64(c->drops[i] + (i == DP_DROP_NO_WIRE ? refused : 0)));
    return o;
}

static json_t *interface_json(struct engine *e, unsigned i)
{
    const struct dp_counters *c = dp_counters(engine_dp(e, i));
    const struct {
        const char *name;
        uint64_t v;
    } rows[] = {{"tap_in", c->tap_in},
                {"tap_out", c->tap_out},
                {"wire_in", c->wire_in},
                {"wire_out", c->wire_out},
                {"passed_out", c->passed[0]},
                {"passed_in", c->passed[1]},
                {"bypassed_out", c->bypassed[0]},
                {"bypassed_in", c->bypassed[1]},
                {"protected_card", c->protected_card},
                {"protected_software", c->protected_software},
                {"opened_card", c->opened_card},
                {"opened_software", c->opened_software},
                {"retried", c->retried},
                {"raw_from_card", c->raw_from_card},
                {"acquires", c->acquires},
                {"held", c->held},
                {"held_sent", c->held_sent},
                {"too_big_sent", c->too_big_sent},
                {"cache_hits", c->cache_hits},
                {"cache_misses", c->cache_misses}};
    json_t *o = json_pack("{s:s,s:s}", "name", engine_interface(e, i)->name, "port",
                          engine_port_name(e, i));
    for (size_t k = 0; k < sizeof rows / sizeof rows[0]; k++)
        json_object_set_new(o, rows[k].name, json_u64(rows[k].v));
    size_t held, fragments;
    dp_in_use(engine_dp(e, i), &held, &fragments);
    json_object_set_new(o, "held_now", json_u64(held));
    json_object_set_new(o, "fragments_now", json_u64(fragments));
    json_object_set_new(o, "drops", drops_json(c, engine_refused(e, i)));
    return o;
}

json_t *report_counters(struct engine *e, uint64_t now)
{
    (void)now;
    json_t *list = json_array();
    for (unsigned i = 0; i < engine_interfaces(e); i++)
        json_array_append_new(list, interface_json(e, i));
    return json_pack("{s:o}", "interfaces", list);
}

static json_t *flow_json(const struct spd_flow *f)
{
    return json_pack("{s:s,s:o,s:o,s:i,s:i,s:i}", "dir", f->dir == ESP_OUT ? "out" : "in", "local",
                     json_addr(&f->local), "remote", json_addr(&f->remote), "protocol",
                     (int)f->proto, "local_port", (int)f->lport, "remote_port", (int)f->rport);
}

json_t *report_cache(struct engine *e, uint64_t now)
{
    (void)now;
    json_t *list = json_array();
    struct dp_cache_row row;
    for (unsigned i = 0; i < engine_interfaces(e); i++)
        for (unsigned k = 0; dp_cache_at(engine_dp(e, i), k, &row); k++) {
            json_t *o = flow_json(&row.flow);
            json_object_set_new(o, "policy", json_string(policy_name(e, row.policy_id)));
            json_object_set_new(o, "cookie", json_hex(row.policy_cookie));
            json_object_set_new(o, "action", json_string(spd_action_name(row.action)));
            json_object_set_new(o, "hits", json_u64(row.hits));
            json_array_append_new(list, o);
        }
    return json_pack("{s:o}", "cache", list);
}

json_t *calls_acquire_event(const struct spd_policy *p, const struct spd_flow *f,
                            const struct ip_addr *peer)
{
    return json_pack("{s:s,s:s,s:o,s:o}", "topic", "acquire", "policy", p->name, "peer",
                     json_addr(peer), "flow", flow_json(f));
}
