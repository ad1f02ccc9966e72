/* Rings in shared memory: one place reads completions, copies each once, and judges its phase. */
#include <errno.h>
#include <string.h>

#include "driver/core/card_internal.h"

int ring_alloc(struct card *c, struct ring *r, uint32_t size, uint32_t esize)
{
    size_t len = ((size_t)size * esize + CIF_RING_ALIGN - 1) & ~(size_t)(CIF_RING_ALIGN - 1);
    int err = c->bus.dma_alloc(c->bus.ctx, len, &r->mem);
    if (err)
        return err;
    r->size = size;
    r->esize = esize;
    r->idx = 0;
    return 0;
}

void ring_free(struct card *c, struct ring *r)
{
    if (r->mem.va)
        c->bus.dma_free(c->bus.ctx, &r->mem);
    memset(r, 0, sizeof *r);
}

void ring_zero(struct ring *r)
{
    memset(r->mem.va, 0, (size_t)r->size * r->esize);
    r->idx = 0;
    r->armed = false;
}

static uint8_t phase_at(const struct ring *r, uint32_t idx)
{
    return __atomic_load_n(ring_at(r, idx) + r->esize - 1, __ATOMIC_ACQUIRE);
}

static uint8_t phase_wanted(const struct ring *r, uint32_t idx)
{
    return cif_phase(idx / r->size);
}

/* What stands in an entry that the card has not written yet. */
static bool phase_is_old(const struct ring *r, uint32_t idx, uint8_t phase)
{
    uint32_t pass = idx / r->size;
    return phase == (pass ? cif_phase(pass - 1) : 0);
}

int ring_take(struct ring *r, uint8_t *out)
{
    uint8_t phase = phase_at(r, r->idx);
    if (phase != phase_wanted(r, r->idx)) {
        if (!phase_is_old(r, r->idx, phase))
            return -EBADMSG;
        /* Entries are written in order. A later one without this one means that this one is lost.
         */
        if (phase_at(r, r->idx + 1) == phase_wanted(r, r->idx + 1) &&
            phase_at(r, r->idx) != phase_wanted(r, r->idx))
            return -EBADMSG;
        return 0;
    }
    memcpy(out, ring_at(r, r->idx), r->esize);
    r->idx++;
    return 1;
}

bool ring_has_entry(const struct ring *r)
{
    return phase_at(r, r->idx) == phase_wanted(r, r->idx);
}

bool ring_wants_arm(struct ring *r)
{
    if (r->armed && r->armed_at == r->idx && !ring_has_entry(r))
        return false;
    r->armed = true;
    r->armed_at = r->idx;
    return true;
}
