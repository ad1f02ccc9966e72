/* The event ring. Events are hints: what matters is read again; here only what the driver itself
 * must act on is acted on. */
#include "driver/core/card_internal.h"

#define ADMIN_QID 0xffffu /* in QUEUE_ERROR */

static void queue_error(struct card *c, const struct card_event *ev)
{
    struct queue *q = queue_by_qid(c, ev->id);
    if (ev->id == ADMIN_QID)
        recover_admin(c, cif_qerr_text(ev->qual));
    if (!q)
        return;
    pthread_mutex_lock(&q->lock);
    queue_mark_dead(q, "the card stopped the queue: %s", cif_qerr_text(ev->qual));
    pthread_mutex_unlock(&q->lock);
}

static void act(struct card *c, const struct card_event *ev)
{
    if (ev->type == CIF_EV_QUEUE_ERROR)
        queue_error(c, ev);
    else if (ev->type == CIF_EV_NEEDS_RESET)
        recover_reset(c, CIF_RESET_NEEDS_RESET, "the card asks for a reset");
    else if (ev->type == CIF_EV_FATAL)
        recover_reset(c, CIF_RESET_FATAL, "the card reports a fatal error: %s",
                      cif_fatal_text(ev->qual));
}

static void one(struct card *c, const uint8_t *e)
{
    struct card_event ev = {.type = cif_event_type(e),
                            .sev = cif_event_sev(e),
                            .qual = cif_event_qual(e),
                            .id = cif_event_id(e),
                            .arg0 = cif_event_arg0(e),
                            .arg1 = cif_event_arg1(e),
                            .lost = cif_event_lost(e)};
    c->n.events++;
    c->n.events_lost += ev.lost;
    if (cif_event_epoch_lo(e) != (uint16_t)c->epoch) {
        recover_reset(c, CIF_RESET_EPOCH, "the card's epoch changed: it lost its state");
        return;
    }
    act(c, &ev);
    if (c->cb.event)
        c->cb.event(c->cb.arg, &ev);
}

void events_poll(struct card *c)
{
    uint8_t e[CIF_EVENT_SIZE];
    unsigned life = c->life, n = 0;
    int got = 0;
    while (n < EVQ_SIZE && c->life == life && (got = ring_take(&c->evq, e)) > 0) {
        n++;
        one(c, e);
    }
    if (c->life != life)
        return;
    if (n)
        card_doorbell(c, 0, CIF_DB_EVQ_HEAD, c->evq.idx & 0xffff);
    if (got < 0) {
        c->n.bad_completions++;
        recover_reset(c, CIF_RESET_BAD_COMPLETION, "the event ring has an entry that cannot be");
    }
}
