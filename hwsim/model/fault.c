/* Faults: which one strikes. */
#include <stdlib.h>

#include "hwsim/model/fault.h"
#include "hwsim/model/hw_card.h"
#include "hwsim/model/random.h"

static bool matches(const struct hw_fault *f, const struct hw_fault_at *at)
{
    const uint32_t want[] = {f->op, f->queue, f->qid, f->handle, f->port, f->vector, f->dir};
    const uint32_t is[] = {at->op, at->queue, at->qid, at->handle, at->port, at->vector, at->dir};
    size_t i;

    if (f->site != at->site || f->per_command != at->per_command ||
        (at->what && at->what != HW_AT(f->what)))
        return false;
    for (i = 0; i < sizeof(want) / sizeof(want[0]); i++)
        if (want[i] != HW_FAULT_ANY && HW_AT(want[i]) != is[i])
            return false;
    return true;
}

static bool in_force(const struct hw_fault *f, uint64_t now)
{
    return f->id && !f->spent && now < f->until;
}

/* How often: of those that match. */
static bool strikes(struct hw_faults *all, struct hw_fault *f)
{
    f->seen++;
    if (f->nth) {
        f->spent = f->seen >= f->nth;
        return f->seen == f->nth;
    }
    if (f->rate >= 0 && hw_random_unit(all->random) >= f->rate)
        return false;
    if (f->count)
        f->spent = f->hits + 1 >= f->count;
    return true;
}

const struct hw_fault *hw_fault_hit(struct hw_faults *f, uint64_t now, const struct hw_fault_at *at)
{
    unsigned i;

    if (!f->per_site[at->site])
        return NULL;
    for (i = 0; i < HW_FAULT_MAX; i++) {
        struct hw_fault *one = &f->list[i];

        if (in_force(one, now) && matches(one, at) && strikes(f, one)) {
            one->hits++;
            return one;
        }
    }
    return NULL;
}

bool hw_fault_lasting(const struct hw_faults *f, uint64_t now, enum hw_fault_site site,
                      uint32_t port)
{
    unsigned i;

    if (!f->per_site[site])
        return false;
    for (i = 0; i < HW_FAULT_MAX; i++) {
        const struct hw_fault *one = &f->list[i];

        if (one->site == site && in_force(one, now) &&
            (one->port == HW_FAULT_ANY || one->port == port))
            return true;
    }
    return false;
}

uint64_t hw_fault_next_end(const struct hw_faults *f, uint64_t now)
{
    uint64_t next = HW_NEVER;
    unsigned live = 0, i;

    for (i = 0; i < HW_SITE_COUNT; i++)
        live += f->per_site[i];
    for (i = 0; live && i < HW_FAULT_MAX; i++)
        if (in_force(&f->list[i], now) && f->list[i].until < next)
            next = f->list[i].until;
    return next;
}

static void drop(struct hw_faults *f, struct hw_fault *one)
{
    f->per_site[one->site]--;
    free(one->line);
    *one = (struct hw_fault){0};
}

bool hw_fault_delete(struct hw_faults *f, unsigned id)
{
    unsigned i;

    for (i = 0; id && i < HW_FAULT_MAX; i++) {
        if (f->list[i].id == id) {
            drop(f, &f->list[i]);
            return true;
        }
    }
    return false;
}

void hw_fault_reset(struct hw_faults *f)
{
    unsigned i;

    for (i = 0; i < HW_FAULT_MAX; i++)
        if (f->list[i].id && f->list[i].until_reset)
            drop(f, &f->list[i]);
}

void hw_fault_clear(struct hw_faults *f)
{
    unsigned i;

    for (i = 0; i < HW_FAULT_MAX; i++)
        if (f->list[i].id)
            drop(f, &f->list[i]);
}
