/* Checked records become struct cfg: see read.h. */
#include "hostd/main/config/read.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Policies in the order of priority; one without has ten times its place in the files, so that a
 * written priority can stand between two others. */
struct ordered {
    const struct rec *rec;
    uint64_t priority;
    unsigned place;
};

static int by_priority(const void *a, const void *b)
{
    const struct ordered *x = a, *y = b;

    if (x->priority != y->priority)
        return x->priority < y->priority ? -1 : 1;
    return x->place < y->place ? -1 : 1;
}

static void set_ports(struct spd_ports *out, const struct draft_ports *in, uint32_t proto)
{
    bool icmp = proto == IPP_ICMP || proto == IPP_ICMPV6;

    *out = (struct spd_ports){in->lo, in->hi};
    if (icmp && in->written) {
        out->lo = (uint16_t)(in->lo << 8 | (in->has_code ? in->code : 0));
        out->hi = (uint16_t)(in->hi << 8 | (in->has_code ? in->code : 255));
    }
}

static uint64_t percent(uint64_t v, uint32_t of)
{
    return v / 100 * of + v % 100 * of / 100;
}

static void set_transforms(struct spd_policy *out, const struct draft_policy *in)
{
    out->n_transforms = in->n_transforms;
    for (unsigned i = 0; i < in->n_transforms; i++) {
        struct spd_transform *t = &out->transforms[i];
        *t = in->transforms[i];
        t->soft.time = percent(t->hard.time, in->soft);
        t->soft.bytes = percent(t->hard.bytes, in->soft);
    }
}

static void set_where(struct spd_policy *out, const struct yn *node)
{
    const char *name = node->src->name, *slash = strrchr(name, '/');
    unsigned line, column;

    source_place(node->src, node->off, &line, &column);
    snprintf(out->where, sizeof out->where, "%.48s:%u", slash ? slash + 1 : name, line);
}

static void set_policy(const struct loader *l, struct spd_policy *out, const struct rec *r)
{
    const struct draft_policy *in = r->data;
    const struct rec *tunnel = rec_find(l, OBJ_TUNNEL, in->tunnel);

    memcpy(out->name, in->name, sizeof out->name);
    set_where(out, r->node);
    out->action = (enum spd_action)in->action;
    out->sel.local = in->local;
    out->sel.remote = in->remote;
    out->sel.proto = (uint8_t)in->proto;
    set_ports(&out->sel.local_port, &in->local_port, in->proto);
    set_ports(&out->sel.remote_port, &in->remote_port, in->proto);
    if (in->action != SPD_PROTECT)
        return;
    out->mode = in->tunnel[0] ? ESP_TUNNEL : ESP_TRANSPORT;
    if (tunnel) {
        const struct draft_tunnel *t = tunnel->data;
        out->tunnel_local = t->local;
        out->tunnel_remote = t->remote;
    }
    out->encap = (enum esp_encap)in->encap;
    out->esn = in->esn;
    out->window = in->window;
    set_transforms(out, in);
}
_Static_assert((int)SPD_NAME == (int)CFG_NAME, "names of policies fit");

static int build_policies(const struct loader *l, struct cfg *out)
{
    unsigned n = l->count[OBJ_POLICY], i = 0;
    struct ordered *order = calloc(n + 1, sizeof *order);

    out->policies = calloc(n + 1, sizeof *out->policies);
    if (!order || !out->policies) {
        free(order);
        return -ENOMEM;
    }
    for (const struct rec *r = l->first[OBJ_POLICY]; r; r = r->next, i++) {
        uint32_t written = ((const struct draft_policy *)r->data)->priority;
        order[i] = (struct ordered){r, written ? written : 10ull * (i + 1), i};
    }
    qsort(order, n, sizeof *order, by_priority);
    for (i = 0; i < n; i++)
        set_policy(l, &out->policies[i], order[i].rec);
    out->n_policies = n;
    free(order);
    return 0;
}

static void build_interface(struct cfg_interface *out, const struct rec *r)
{
    const struct draft_interface *in = r->data;

    *out = in->out;
    out->mtu = (uint16_t)in->mtu;
    out->after_stop = (enum cfg_after_stop)in->after_stop;
}

static void build_singles(const struct loader *l, struct cfg *out)
{
    const struct draft_limits *limits = l->first[OBJ_LIMITS]->data;
    const struct draft_log *log = l->first[OBJ_LOG]->data;
    const struct draft_control *control = l->first[OBJ_CONTROL]->data;

    out->testing = ((const struct draft_top *)l->first[OBJ_TOP]->data)->testing;
    out->limit_sas = limits->sas;
    out->reassembly_kb = limits->reassembly;
    out->hold_packets = limits->hold;
    out->hold_per_flow = limits->hold_per_flow;
    out->log_level = (uint8_t)log->level;
    memcpy(out->log_dir, log->directory, sizeof out->log_dir);
    out->log_file_kb = log->file_size;
    memcpy(out->read_group, control->read_group, sizeof out->read_group);
    memcpy(out->change_group, control->change_group, sizeof out->change_group);
}

int build_cfg(struct loader *l, struct cfg *out)
{
    build_singles(l, out);
    out->natt_port = 4500;
    out->ike_ports[out->n_ike_ports++] = 500;
    out->ike_ports[out->n_ike_ports++] = out->natt_port;
    for (const struct rec *r = l->first[OBJ_CARD]; r; r = r->next)
        out->cards[out->n_cards++] = ((const struct draft_card *)r->data)->out;
    for (const struct rec *r = l->first[OBJ_INTERFACE]; r; r = r->next)
        build_interface(&out->interfaces[out->n_interfaces++], r);
    return build_policies(l, out);
}
