/* sallyport-sim --events N [--seed S] [--shape FILE.dtb] [--standby] [--pcap FILE --sas FILE]
 * [--verbose] Ends with "N passed, N failed"; a failure names its seed. */
#include "hostd/base/log.h"
#include "tests/sim/sim.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct options {
    uint64_t seed;
    unsigned events;
    const char *shape, *pcap, *sas;
    bool verbose, standby;
};

static int parse(int argc, char **argv, struct options *o)
{
    for (int i = 1; i < argc; i++) {
        const char *v = i + 1 < argc ? argv[i + 1] : NULL;
        if (strcmp(argv[i], "--verbose") == 0 || strcmp(argv[i], "--standby") == 0) {
            *(argv[i][2] == 'v' ? &o->verbose : &o->standby) = true;
            continue;
        }
        if (!v)
            return -1;
        if (strcmp(argv[i], "--seed") == 0)
            o->seed = strtoull(v, NULL, 0);
        else if (strcmp(argv[i], "--events") == 0)
            o->events = (unsigned)strtoul(v, NULL, 0);
        else if (strcmp(argv[i], "--shape") == 0)
            o->shape = v;
        else if (strcmp(argv[i], "--pcap") == 0)
            o->pcap = v;
        else if (strcmp(argv[i], "--sas") == 0)
            o->sas = v;
        else
            return -1;
        i++;
    }
    return 0;
}

static void show(void *ctx, const struct log_record *r)
{
    const struct sim *s = ctx;
    printf("    %.6f %s\n", (double)s->now / 1e9, r->text);
}

/* The log's rate limit counts on the virtual clock, too. */
static const struct sim *the_sim;

static uint64_t sim_clock(void)
{
    return the_sim->now;
}

static FILE *open_pcap(const char *path)
{
    /* The classic header, nanoseconds, Ethernet. */
    static const uint32_t head[6] = {0xa1b23c4d, 4u << 16 | 2, 0, 0, 65535, 1};
    FILE *f = path ? fopen(path, "wb") : NULL;
    if (f)
        fwrite(head, sizeof head, 1, f);
    return f;
}

/* At the end everything is given back: no SA in a card, no buffer, no map. */
static void check_empty(struct sim *s)
{
    for (int h = 0; h < SIM_HOSTS; h++) {
        struct sad *sad = engine_sad(s->host[h].engine);
        for (struct sa *sa; (sa = sad_next(sad, NULL));)
            engine_sa_delete(s->host[h].engine, sa, s->now);
        s->host[h].next_poll = s->now;
    }
    if (!sim_settle(s, 3 * SEC))
        sim_fail(s, "the deletions at the end did not come to rest");
    for (int h = 0; h < SIM_HOSTS; h++) {
        struct engine_card c;
        struct card_unit_report r;
        size_t held, fragments;
        sim_check_tables(s, h);
        dp_in_use(engine_dp(s->host[h].engine, 0), &held, &fragments);
        if (engine_card_at(s->host[h].engine, 0, &c) && c.unit) {
            card_unit_report(c.unit, &r);
            if (r.handles || r.tx_in_flight || r.commands || held || fragments)
                sim_fail(s,
                         "host %d at the end: %u handles, %u frames in flight, %u commands, %zu "
                         "held, %zu fragments",
                         h, r.handles, r.tx_in_flight, r.commands, held, fragments);
        }
        sim_host_end(s, h);
        for (unsigned i = 0; i < SIM_DMA; i++)
            if (s->host[h].card.dma[i].va)
                sim_fail(s, "host %d at the end: a DMA map of %zu octets is left", h,
                         s->host[h].card.dma[i].len);
    }
}

int main(int argc, char **argv)
{
    struct options o = {.seed = 1, .events = 100, .shape = "build/cards/reference.dtb"};
    static struct sim s;
    if (parse(argc, argv, &o)) {
        fprintf(stderr, "usage: sallyport-sim --events N [--seed S] [--shape FILE.dtb] [--pcap "
                        "FILE --sas FILE]\n");
        return 2;
    }
    FILE *pcap = open_pcap(o.pcap), *sas = o.sas ? fopen(o.sas, "w") : NULL;
    the_sim = &s;
    log_set_clock(sim_clock);
    if (o.verbose)
        log_set_sink(show, &s);
    if (sim_new(&s, o.seed, o.shape, o.standby, pcap, sas))
        return 2;
    s.verbose = o.verbose;
    unsigned done = events_run(&s, o.events);
    check_empty(&s);
    printf("seed %" PRIu64 ", %s%s: %u events in %.1f s of virtual time; packets sent %" PRIu64
           ", delivered %" PRIu64 ", lost %" PRIu64 ", wire frames %" PRIu64 ", in clear %" PRIu64
           "\n",
           o.seed, o.shape, o.standby ? " with standby ports" : "", done, (double)s.now / 1e9,
           traffic_sent(&s), traffic_delivered(&s), traffic_sent(&s) - traffic_delivered(&s),
           s.wire_frames, s.clear_on_wire);
    if (sas) {
        fprintf(sas, "\n]}\n");
        fclose(sas);
    }
    if (pcap)
        fclose(pcap);
    printf("%u passed, %u failed\n", s.failures ? 0 : 1, s.failures ? 1 : 0);
    sim_free(&s);
    return s.failures ? 1 : 0;
}
