/* Life cycle, counters, time. All memory is taken here; a packet takes none.
 *
 * Who may write which working buffer (each FRAME_BUF octets), so that a frame in use is never
 * overwritten while packets released from the hold queue pass through the same code:
 *   work    a completed checksum, or the segment in hand
 *   whole   a packet put together from fragments
 *   held    a packet taken out of the hold queue
 *   piece   a piece of one of these on its way to the port or the TAP
 *   cipher  ESP that will leave in pieces
 *   plain   inbound: the decrypted packet, or a copy of the card's that must be changed */
#include "hostd/data/path/path.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <stdlib.h>

const char *dp_drop_text(enum dp_drop why)
{
    static const char *const texts[] = {
#define DROP(id, text) text,
        DP_DROPS(DROP)
#undef DROP
    };
    return (unsigned)why < DP_DROP_COUNT ? texts[why] : "unknown";
}

static uint8_t **buffers(struct dp *d, unsigned i)
{
    uint8_t **all[] = {&d->work, &d->whole, &d->piece, &d->cipher, &d->plain, &d->held};
    return i < sizeof all / sizeof *all ? all[i] : NULL;
}

int dp_new(struct dp **out, const struct dp_config *cfg, const struct dp_ops *ops, struct spd *spd,
           struct sad *sad)
{
    if (cfg->n_ike_ports > sizeof cfg->ike_ports / sizeof *cfg->ike_ports)
        return -EINVAL;
    struct dp *d = calloc(1, sizeof *d);
    if (!d)
        return -ENOMEM;
    d->cfg = *cfg;
    d->ops = *ops;
    d->spd = spd;
    d->sad = sad;
    d->frag_id = (uint32_t)(cfg->rng_seed * UINT64_C(0x9e3779b97f4a7c15) >> 32);
    d->flows = flow_cache_new(cfg->rng_seed ^ UINT64_C(0x5bd1e995));
    d->wire_frags = reasm_new(cfg->reassembly_bytes / 2, cfg->rng_seed);
    d->own_frags = reasm_new(cfg->reassembly_bytes / 2, ~cfg->rng_seed);
    d->hold = hold_new(cfg->hold_packets, cfg->hold_per_flow);
    bool ok = d->flows && d->wire_frags && d->own_frags && d->hold;
    for (unsigned i = 0; buffers(d, i); i++) {
        *buffers(d, i) = calloc(1, FRAME_BUF);
        ok = ok && *buffers(d, i);
    }
    if (!ok) {
        dp_free(d);
        return -ENOMEM;
    }
    *out = d;
    return 0;
}

void dp_free(struct dp *d)
{
    if (!d)
        return;
    flow_cache_free(d->flows);
    reasm_free(d->wire_frags);
    reasm_free(d->own_frags);
    hold_free(d->hold);
    for (unsigned i = 0; buffers(d, i); i++) {
        if (*buffers(d, i))
            OPENSSL_cleanse(*buffers(d, i), FRAME_BUF);
        free(*buffers(d, i));
    }
    free(d);
}

void dp_set_mode(struct dp *d, enum dp_mode m)
{
    d->mode = m;
}

void dp_set_mac(struct dp *d, const uint8_t mac[6])
{
    memcpy(d->mac, mac, 6);
    memcpy(d->far_mac, mac, 6);
    d->far_mac[0] = (uint8_t)((mac[0] | 2) & ~1);
    d->far_mac[5] ^= 0xff;
}

void dp_set_port(struct dp *d, const struct dp_port *port)
{
    static const uint8_t none[6];
    d->port = port;
    if (port && memcmp(d->mac, none, 6) == 0)
        dp_set_mac(d, port->mac);
}

uint64_t dp_tick(struct dp *d, uint64_t now)
{
    unsigned lost = 0;
    uint64_t a = reasm_age(d->wire_frags, now, &d->c.drops[DP_DROP_REASSEMBLY]);
    uint64_t b = reasm_age(d->own_frags, now, &d->c.drops[DP_DROP_REASSEMBLY]);
    uint64_t c = hold_age(d->hold, now, &lost);
    d->c.drops[DP_DROP_HOLD_FULL] += lost;
    a = a < b ? a : b;
    return a < c ? a : c;
}

void dp_flush(struct dp *d)
{
    if (d->port)
        d->port->flush(d->port->ctx);
}

const struct dp_counters *dp_counters(const struct dp *d)
{
    return &d->c;
}

void dp_in_use(const struct dp *d, size_t *held, size_t *fragments)
{
    *held = hold_count(d->hold);
    *fragments = reasm_count(d->wire_frags) + reasm_count(d->own_frags);
}

bool dp_cache_at(const struct dp *d, unsigned i, struct dp_cache_row *out)
{
    return flow_cache_at(d->flows, d->spd, i, out);
}

bool bucket_take(struct bucket *b, uint64_t now, unsigned per_second, unsigned burst)
{
    uint64_t step = SECOND / per_second;
    if (b->at == 0) {
        b->tokens = burst;
        b->at = now;
    }
    if (now > b->at) {
        uint64_t more = (now - b->at) / step;
        b->tokens = more > burst - b->tokens ? burst : b->tokens + more;
        b->at += more * step;
    }
    if (!b->tokens)
        return false;
    b->tokens--;
    return true;
}

struct spd_policy *dp_classify(struct dp *d, enum esp_dir dir, const struct ip_info *i,
                               struct spd_flow *f)
{
    bool hit;
    spd_flow_from(f, dir, i);
    struct spd_policy *p = flow_cache_match(d->flows, d->spd, f, &hit);
    if (hit)
        d->c.cache_hits++;
    else
        d->c.cache_misses++;
    if (p)
        p->hits[dir - 1]++;
    return p;
}

bool dp_covered(struct dp *d, const struct spd_flow *f)
{
    for (unsigned i = 0; i < spd_count(d->spd); i++) {
        const struct spd_policy *p = spd_at(d->spd, i);
        if (p->action == SPD_PROTECT && spd_selector_match(&p->sel, f))
            return true;
    }
    return false;
}

bool dp_alive(struct dp *d, uint64_t now, struct sa *sa)
{
    enum sa_life life = sad_life(sa, now);
    if (life != LIFE_HARD) {
        if (life == LIFE_SOFT)
            d->ops.life(d->ops.ctx, sa, LIFE_SOFT);
        return true;
    }
    bool spent =
        sa->spec.dir == ESP_OUT && (sa->next == 0 || (!sa->spec.esn && sa->next > UINT32_MAX));
    bool told = sa->drops[SA_DROP_LIFETIME] || sa->drops[SA_DROP_EXHAUSTED];
    dp_sa_drop(sa, spent ? SA_DROP_EXHAUSTED : SA_DROP_LIFETIME);
    if (!told)
        d->ops.life(d->ops.ctx, sa, LIFE_HARD);
    return false;
}
