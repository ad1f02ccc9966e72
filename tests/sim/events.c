#include "tests/sim/sim.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* Random events: each makes one fault, traffic goes on through it, then everything must be as if
 * nothing had been: placement settled, report equal to the card's table, a burst without loss. */

enum { BURST = 6 };
#define SETTLE (3 * SEC)

struct event {
    const char *name;
    void (*make)(struct sim *s, int host);
    unsigned weight;
};

/* 2,000 packets a second each way, over all flows. */
static void traffic(struct sim *s, uint64_t until)
{
    while (s->now < until) {
        for (int host = 0; host < SIM_HOSTS; host++)
            if (s->host[host].engine)
                flow_send(s, host, (unsigned)rng_below(&s->rng, s->n_flows));
        sim_run(s, s->now + 500 * US);
    }
}

static uint64_t missing(const struct sim *s)
{
    return traffic_sent(s) - traffic_delivered(s);
}

/* Long enough for the daemon to notice what does not show at once. */
static void linger(struct sim *s)
{
    traffic(s, s->now + (rng_below(&s->rng, 2) ? 250 : 20) * MS);
}

/* A card dies and comes back. With a standby port the traffic is back at once, long before the
 * card. */
static void ev_kill(struct sim *s, int host)
{
    uint64_t dead = 20 + rng_below(&s->rng, 150);
    sim_card_kill(s, host);
    s->host[host].card.back_at = s->now + dead * MS;
    if (!s->with_standby)
        return;
    traffic(s, s->now + 10 * MS);
    sim_run(s, s->now + MS);
    uint64_t before = missing(s);
    traffic(s, s->host[host].card.back_at - 2 * MS);
    sim_run(s, s->host[host].card.back_at - MS / 2);
    if (missing(s) != before)
        sim_fail(s,
                 "host %d: %" PRIu64
                 " packets were lost from 10 ms after the card's death on, with a standby port",
                 host, missing(s) - before);
}

static void ev_kill_in_burst(struct sim *s, int host)
{
    for (unsigned i = 0; i < s->n_flows; i++)
        for (int n = 0; n < 4; n++)
            flow_send(s, (int)rng_below(&s->rng, 2), i);
    sim_run(s, s->now + rng_below(&s->rng, 40) * US);
    ev_kill(s, host);
}

static void ctl(struct sim *s, int host, const char *line)
{
    if (s->verbose)
        printf("  %.6f host %d: %s\n", (double)s->now / 1e9, host, line);
    sim_card_ctl(s, host, line);
}

static void ev_stop_datapath(struct sim *s, int host)
{
    ctl(s, host,
        rng_below(&s->rng, 2) ? "fault add datapath what=stop ms=200"
                              : "fault add datapath what=stop");
    linger(s);
}

static void ev_freeze(struct sim *s, int host)
{
    ctl(s, host,
        rng_below(&s->rng, 2) ? "fault add firmware what=freeze ms=30"
                              : "fault add firmware what=freeze");
    linger(s);
}

/* Every status of the contract, for every command that the daemon uses. */
static void ev_refuse(struct sim *s, int host)
{
    static const char *const commands[] = {"SA_ADD", "SA_ADD", "SA_START", "SA_FREE", "SA_QUERY"};
    char line[160];
    uint16_t status;
    do
        status = cif_status_at((unsigned)rng_below(&s->rng, CIF_STATUS_COUNT));
    while (cif_status_class(status) == CIF_CLASS_OK);
    snprintf(line, sizeof line, "fault add cmd=%s status=%s count=%" PRIu64,
             commands[rng_below(&s->rng, sizeof commands / sizeof commands[0])],
             cif_status_name(status), 1 + rng_below(&s->rng, 6));
    ctl(s, host, line);
    flow_add_sas(s, (unsigned)rng_below(&s->rng, s->n_flows));
    flow_add_sas(s, (unsigned)rng_below(&s->rng, s->n_flows));
}

static void ev_completions(struct sim *s, int host)
{
    static const char *const what[] = {"drop", "delay", "double"};
    static const char *const queue[] = {"tx", "rx", "admin"};
    char line[160];
    const char *w = what[rng_below(&s->rng, 3)];
    snprintf(line, sizeof line, "fault add completion what=%s%s queue=%s count=%" PRIu64, w,
             strcmp(w, "delay") == 0 ? " ms=3" : "", queue[rng_below(&s->rng, 3)],
             1 + rng_below(&s->rng, 4));
    ctl(s, host, line);
    flow_add_sas(s, (unsigned)rng_below(&s->rng, s->n_flows));
}

static void ev_raw(struct sim *s, int host)
{
    ctl(s, host, "fault add rx what=raw count=20");
}

static void ev_rekey(struct sim *s, int host)
{
    (void)host;
    flow_add_sas(s, (unsigned)rng_below(&s->rng, s->n_flows));
}

static void ev_data_dies(struct sim *s, int host)
{
    sim_host_end(s, host);
    sim_run(s, s->now + rng_below(&s->rng, 5) * MS);
    (void)sim_host_new(s, host, 1);
}

/* A page of the card's memory is unmapped while it works. */
static void ev_unmap(struct sim *s, int host)
{
    struct sim_card *c = &s->host[host].card;
    for (int tries = 0; tries < 64; tries++) {
        const struct sim_dma *d = &c->dma[rng_below(&s->rng, SIM_DMA)];
        if (!d->va)
            continue;
        c->hole = d->iova + rng_below(&s->rng, d->len / 4096) * 4096;
        break;
    }
    linger(s);
    c->hole = 0;
    traffic(s, s->now + 300 * MS); /* what stands still since then shows by its deadline */
}

static const struct event events[] = {{"card killed", ev_kill, 3},
                                      {"card killed in a burst", ev_kill_in_burst, 3},
                                      {"data path stopped", ev_stop_datapath, 2},
                                      {"firmware frozen", ev_freeze, 2},
                                      {"commands refused", ev_refuse, 6},
                                      {"completions lost, late, doubled", ev_completions, 6},
                                      {"packets handed up raw", ev_raw, 2},
                                      {"page unmapped", ev_unmap, 2},
                                      {"rekey", ev_rekey, 3},
                                      {"data process killed", ev_data_dies, 2}};

static const struct event *pick(struct sim *s)
{
    unsigned total = 0;
    for (size_t i = 0; i < sizeof events / sizeof events[0]; i++)
        total += events[i].weight;
    uint64_t n = rng_below(&s->rng, total);
    const struct event *e = events;
    while (n >= e->weight)
        n -= (e++)->weight;
    return e;
}

static void settle(struct sim *s, const char *what)
{
    for (int host = 0; host < SIM_HOSTS; host++) {
        sim_card_ctl(s, host, "fault del all");
        s->host[host].card.hole = 0;
    }
    if (!sim_settle(s, SETTLE)) {
        sim_fail(s, "after \"%s\" the placement did not come to rest in %llu ms", what,
                 (unsigned long long)(SETTLE / MS));
        return;
    }
    for (int host = 0; host < SIM_HOSTS; host++)
        sim_check_tables(s, host);
}

/* Where a host dropped packets, in words. */
static void show_drops(struct sim *s, int host)
{
    const struct dp_counters *c = dp_counters(engine_dp(s->host[host].engine, 0));
    for (unsigned i = 0; i < DP_DROP_COUNT; i++)
        if (c->drops[i])
            printf("  host %d: %" PRIu64 " %s\n", host, c->drops[i], dp_drop_text((enum dp_drop)i));
    struct sad *sad = engine_sad(s->host[host].engine);
    for (struct sa *sa = sad_next(sad, NULL); sa; sa = sad_next(sad, sa))
        for (unsigned i = 0; i < SA_DROP_COUNT; i++)
            if (sa->drops[i])
                printf("  host %d SPI 0x%x: %" PRIu64 " %s\n", host, sa->spec.spi, sa->drops[i],
                       sa_drop_text((enum sa_drop)i));
    char *queues = s->host[host].card.model
                       ? hw_card_ctl(s->host[host].card.model, s->now, "dump queues")
                       : NULL;
    printf("  host %d's card: %s\n", host, queues ? queues : "dead");
    free(queues);
}

static void burst(struct sim *s, const char *what)
{
    uint64_t before = missing(s);
    for (int n = 0; n < BURST; n++)
        for (unsigned i = 0; i < s->n_flows; i++)
            for (int host = 0; host < SIM_HOSTS; host++)
                flow_send(s, host, i);
    sim_run(s, s->now + 20 * MS);
    uint64_t lost = missing(s) - before;
    if (lost)
        sim_fail(s, "behind \"%s\" %" PRId64 " of %d packets were lost", what, (int64_t)lost,
                 BURST * 2 * (int)s->n_flows);
    for (int host = 0; lost && host < SIM_HOSTS; host++)
        show_drops(s, host);
}

/* From the card's return on it takes 200 ms at most until it serves again. */
static void await_card(struct sim *s, int host)
{
    if (s->host[host].card.model)
        return;
    while (!s->host[host].card.model)
        traffic(s, s->now + MS);
    for (uint64_t end = s->now + 200 * MS; s->now < end && !sim_serves(s, host);)
        traffic(s, s->now + MS);
    if (!sim_serves(s, host))
        sim_fail(s, "host %d: the card is back since 200 ms and does not serve", host);
}

unsigned events_run(struct sim *s, unsigned n)
{
    for (unsigned i = 0; i < s->n_flows; i++)
        flow_add_sas(s, i);
    settle(s, "start");
    burst(s, "start");
    unsigned done = 0;
    for (; done < n && !s->failures; done++) {
        const struct event *e = pick(s);
        int host = (int)rng_below(&s->rng, SIM_HOSTS);
        if (s->verbose)
            printf("%.6f event %u, host %d: %s\n", (double)s->now / 1e9, done, host, e->name);
        e->make(s, host);
        traffic(s, s->now + (10 + rng_below(&s->rng, 20)) * MS);
        for (int h = 0; h < SIM_HOSTS; h++) {
            if (!s->host[h].card.model)
                s->host[h].card.back_at =
                    s->host[h].card.back_at ? s->host[h].card.back_at : s->now;
            await_card(s, h);
        }
        settle(s, e->name);
        if (s->verbose)
            printf("%.6f   missing %" PRIu64 " of %" PRIu64 "\n", (double)s->now / 1e9, missing(s),
                   traffic_sent(s));
        burst(s, e->name);
    }
    return done;
}
