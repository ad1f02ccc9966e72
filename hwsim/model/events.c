/* The event ring. Events are hints: a full ring or frozen firmware loses them, and says how many.
 */
#include "hwsim/model/internal.h"

static bool wanted(const struct hw_card *c, unsigned type)
{
    /* these two cannot be switched off */
    return type == CIF_EV_NEEDS_RESET || type == CIF_EV_FATAL ||
           (type < 64 && c->admin.event_mask >> type & 1);
}

static void lose(struct hw_card *c)
{
    if (c->admin.lost < UINT16_MAX)
        c->admin.lost++;
    hw_count(c, HW_PORTS_MAX, NULL, CIF_STAT_EV_LOST, 1);
}

void hw_event(struct hw_card *c, unsigned type, unsigned sev, unsigned qual, uint32_t id,
              uint64_t arg0)
{
    uint8_t e[CIF_EVENT_SIZE] = {0};

    if (!c->admin.on || !wanted(c, type))
        return;
    if (!hw_cq_room(c, &c->admin.evq) ||
        hw_fault_lasting(&c->faults, c->now, HW_SITE_FIRMWARE, HW_FAULT_ANY)) {
        lose(c);
        return;
    }
    cif_event_set_type(e, (uint8_t)type);
    cif_event_set_sev(e, (uint8_t)sev);
    cif_event_set_qual(e, (uint16_t)qual);
    cif_event_set_id(e, id);
    cif_event_set_arg0(e, arg0);
    cif_event_set_lost(e, c->admin.lost);
    cif_event_set_epoch_lo(e, (uint16_t)c->epoch);
    if (hw_cq_write(c, &c->admin.evq, e) < 0)
        lose(c);
    else
        c->admin.lost = 0;
}
