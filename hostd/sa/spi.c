/* SPIs for inbound SAs (RFC 4301 4.1: 1 to 255 are reserved). */
#include "hostd/sa/sad_internal.h"

#include <errno.h>

enum { SPI_FIRST = 256 };

void spi_added(struct sad *s, uint32_t spi)
{
    for (unsigned i = 0; i < SPI_PENDING; i++)
        if (s->pending[i] == spi)
            s->pending[i] = 0;
}

static bool pending(const struct sad *s, uint32_t spi)
{
    for (unsigned i = 0; i < SPI_PENDING; i++)
        if (s->pending[i] == spi)
            return true;
    return false;
}

static uint32_t at_random(struct sad *s, uint32_t lo, uint64_t span)
{
    uint64_t r = 0;
    s->rnd(s->rnd_ctx, &r, sizeof r);
    return lo + (uint32_t)(r % span);
}

/* From a random start upwards, so that a random source that is stuck still ends: among one more
 * value than there are SPIs in use or pending, one is free. */
static uint32_t probe(struct sad *s, uint32_t lo, uint64_t span, bool spare_pending)
{
    uint64_t bound = (uint64_t)s->count + SPI_PENDING + 1;
    uint32_t start = at_random(s, lo, span);
    for (uint64_t i = 0; i < span && i < bound; i++) {
        uint32_t spi = lo + (uint32_t)((start - lo + i) % span);
        if (!sad_inbound(s, spi) && !(spare_pending && pending(s, spi)))
            return spi;
    }
    return 0;
}

int sad_alloc_spi(struct sad *s, uint32_t lo, uint32_t hi, uint32_t *spi)
{
    uint32_t got = 0;
    if (lo < SPI_FIRST)
        lo = SPI_FIRST;
    if (lo > hi)
        return -ENOSPC;
    uint64_t span = (uint64_t)hi - lo + 1;
    for (int i = 0; i < SPI_TRIES && got == 0; i++) {
        uint32_t v = at_random(s, lo, span);
        if (!sad_inbound(s, v) && !pending(s, v))
            got = v;
    }
    if (got == 0)
        got = probe(s, lo, span, true);
    if (got == 0)
        got = probe(s, lo, span, false);
    if (got == 0)
        return -ENOSPC;
    s->pending[s->pending_at++ % SPI_PENDING] = got;
    *spi = got;
    return 0;
}
