/* Commands about ports, events and counters. */
#include "hwsim/model/internal.h"

static uint16_t check_port_set(struct hw_card *c, struct hw_cmd *m, const uint8_t *r)
{
    unsigned port = cif_port_set_port(r), n = cif_port_set_n_ike(r), i;

    if (port >= c->shape.n_ports || !c->ports[port].present)
        return CIF_ST_NO_SUCH;
    if (cif_port_set_flags(r) & ~(CIF_PORTF_ENABLE | CIF_PORTF_PROMISC))
        return hw_bad_field(m, CIF_PORT_SET_FLAGS_OFF);
    if (cif_port_set_mtu(r) < 576 || cif_port_set_mtu(r) > c->shape.ports[port].mtu_max)
        return hw_bad_field(m, CIF_PORT_SET_MTU_OFF);
    if (cif_port_set_mac(r)[0] & 1)
        return hw_bad_field(m, CIF_PORT_SET_MAC_OFF);
    if (n > 8)
        return hw_bad_field(m, CIF_PORT_SET_N_IKE_OFF);
    for (i = 0; i < 8; i++)
        if ((i < n) != (cif_port_set_ike_port(r, i) != 0))
            return hw_bad_field(m, CIF_PORT_SET_IKE_PORT_OFF + 2 * i);
    if (cif_port_set_rsvd0(r))
        return hw_bad_field(m, CIF_PORT_SET_RSVD0_OFF);
    if (!hw_all_zero(cif_port_set_rsvd1(r), CIF_PORT_SET_SIZE - CIF_PORT_SET_RSVD1_OFF))
        return hw_bad_field(m, CIF_PORT_SET_RSVD1_OFF);
    return CIF_ST_OK;
}

uint16_t hw_cmd_port_set(struct hw_card *c, struct hw_cmd *m)
{
    uint8_t r[CIF_PORT_SET_SIZE];
    uint16_t st = hw_cmd_record(c, m, r, sizeof(r));
    struct hw_port *p;
    unsigned i;

    if (st == CIF_ST_OK)
        st = check_port_set(c, m, r);
    if (st != CIF_ST_OK)
        return st;
    p = &c->ports[cif_port_set_port(r)];
    p->flags = cif_port_set_flags(r);
    p->enabled = p->flags & CIF_PORTF_ENABLE;
    p->promisc = p->flags & CIF_PORTF_PROMISC;
    p->mtu = cif_port_set_mtu(r);
    memcpy(p->mac,
           hw_all_zero(cif_port_set_mac(r), 6) ? c->shape.ports[cif_port_set_port(r)].mac
                                               : cif_port_set_mac(r),
           6);
    p->n_ike = cif_port_set_n_ike(r);
    for (i = 0; i < 8; i++)
        p->ike[i] = cif_port_set_ike_port(r, i);
    return CIF_ST_OK;
}

static bool link_up(const struct hw_card *c, unsigned port)
{
    return c->ports[port].link && !hw_fault_lasting(&c->faults, c->now, HW_SITE_LINK, port);
}

uint16_t hw_cmd_port_get(struct hw_card *c, struct hw_cmd *m)
{
    uint8_t r[CIF_PORT_INFO_SIZE] = {0};
    uint32_t port = cif_asq_arg0(m->sqe);

    if (port >= c->shape.n_ports || !c->ports[port].present)
        return CIF_ST_NO_SUCH;
    cif_port_info_set_port(r, (uint8_t)port);
    cif_port_info_set_flags(r, c->ports[port].flags);
    cif_port_info_set_mtu(r, c->ports[port].mtu);
    memcpy(cif_port_info_mac_w(r), c->ports[port].mac, 6);
    cif_port_info_set_link(r, link_up(c, port));
    cif_port_info_set_mbps(r, c->shape.ports[port].mbps);
    return hw_cmd_result(c, m, r, sizeof(r));
}

uint16_t hw_cmd_event_config(struct hw_card *c, struct hw_cmd *m)
{
    uint8_t r[CIF_EVENT_CONFIG_SIZE];
    uint16_t st = hw_cmd_record(c, m, r, sizeof(r));

    if (st != CIF_ST_OK)
        return st;
    if (!hw_all_zero(cif_event_config_rsvd0(r), CIF_EVENT_CONFIG_SIZE - CIF_EVENT_CONFIG_RSVD0_OFF))
        return hw_bad_field(m, CIF_EVENT_CONFIG_RSVD0_OFF);
    c->admin.event_mask = cif_event_config_mask(r);
    c->admin.event_interval_ms = cif_event_config_interval_ms(r);
    return CIF_ST_OK;
}

uint16_t hw_cmd_stats(struct hw_card *c, struct hw_cmd *m)
{
    uint8_t r[CIF_STATS_SIZE] = {0};
    uint32_t scope = cif_asq_arg0(m->sqe), i;
    uint64_t index = cif_asq_arg1(m->sqe);
    const uint64_t *from = c->stats;

    if (scope > CIF_SCOPE_QUEUE)
        return hw_bad_field(m, CIF_ASQ_ARG0_OFF);
    if (scope == CIF_SCOPE_PORT) {
        if (index >= c->shape.n_ports || !c->ports[index].present)
            return CIF_ST_NO_SUCH;
        from = c->ports[index].stats;
    } else if (scope == CIF_SCOPE_QUEUE) {
        if (index >= c->n_queues || !c->queues[index].exists)
            return CIF_ST_NO_SUCH;
        from = c->queues[index].stats;
    }
    cif_stats_set_size(r, CIF_STATS_SIZE);
    cif_stats_set_ver(r, 1);
    cif_stats_set_scope(r, (uint8_t)scope);
    cif_stats_set_index(r, (uint32_t)index);
    cif_stats_set_epoch(r, c->epoch);
    cif_stats_set_n(r, CIF_STAT_COUNT);
    cif_stats_set_time(r, c->now);
    for (i = 0; i < CIF_STAT_COUNT; i++)
        cif_stats_set_counter(r, i, from[i]);
    return hw_cmd_result(c, m, r, sizeof(r));
}
