#include "tests/sim/sim.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

uint64_t rng_next(struct rng *r)
{
    uint64_t z = r->s += 0x9e3779b97f4a7c15ull;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ z >> 27) * 0x94d049bb133111ebull;
    return z ^ z >> 31;
}

uint64_t rng_below(struct rng *r, uint64_t n)
{
    return rng_next(r) % n;
}

void sim_fail(struct sim *s, const char *fmt, ...)
{
    va_list ap;
    if (s->failures++ > 20)
        return;
    printf("FAIL seed %llu at %.6f s: ", (unsigned long long)s->seed, (double)s->now / 1e9);
    va_start(ap, fmt);
    vprintf(fmt, ap);
    va_end(ap);
    printf("\n");
}

static int read_shape(struct sim *s, const char *path)
{
    FILE *f = fopen(path, "rb");
    uint8_t *blob = aligned_alloc(64, 65536);
    size_t n = f && blob ? fread(blob, 1, 65536, f) : 0;
    if (f)
        fclose(f);
    s->shape = blob;
    s->shape_len = n;
    if (!n)
        fprintf(stderr, "sim: cannot read the card's shape %s: run make\n", path);
    return n ? 0 : -1;
}

int sim_new(struct sim *s, uint64_t seed, const char *shape, bool standby, FILE *pcap, FILE *sas)
{
    memset(s, 0, sizeof *s);
    s->with_standby = standby;
    s->seed = seed;
    s->rng.s = seed;
    s->now = SEC;
    s->next_spi = SIM_FIRST_SPI;
    s->last_number = calloc(SIM_SPIS, sizeof *s->last_number);
    if (!s->last_number)
        return -1;
    s->pcap = pcap;
    s->sas = sas;
    s->first_sa = true;
    if (read_shape(s, shape))
        return -1;
    flows_make(s);
    for (int i = 0; i < SIM_HOSTS; i++) {
        s->host[i].in = calloc(SIM_QUEUE, sizeof *s->host[i].in);
        if (!s->host[i].in || sim_host_new(s, i, 0))
            return -1;
        sim_card_start(s, i);
    }
    return 0;
}

void sim_free(struct sim *s)
{
    for (int i = 0; i < SIM_HOSTS; i++) {
        sim_host_end(s, i);
        if (s->host[i].card.model)
            hw_card_free(s->host[i].card.model);
        free(s->host[i].in);
        free(s->host[i].store);
    }
    flows_free(s);
    free(s->last_number);
    free((void *)(uintptr_t)s->shape);
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t next_moment(const struct sim *s, uint64_t until)
{
    for (int i = 0; i < SIM_HOSTS; i++) {
        const struct sim_host *h = &s->host[i];
        until = earlier(until, h->next_poll);
        if (h->card.model)
            until = earlier(until, h->card.next_run);
        if (h->card.back_at)
            until = earlier(until, h->card.back_at);
        if (h->standby.open_at && h->engine)
            until = earlier(until, h->standby.open_at);
        if (h->card.open_at && h->card.model && h->engine && !h->card.open)
            until = earlier(until, h->card.open_at);
        if (h->head != h->tail)
            until = earlier(until, h->in[h->head % SIM_QUEUE].at);
    }
    return until < s->now ? s->now : until;
}

static void deliver(struct sim *s, struct sim_host *h)
{
    while (h->head != h->tail && h->in[h->head % SIM_QUEUE].at <= s->now) {
        struct frame *f = &h->in[h->head++ % SIM_QUEUE];
        if (h->standby.open && h->engine) {
            engine_from_wire(h->engine, 0, s->now, f->data, f->len, NULL);
            h->next_poll = s->now;
        }
        if (!h->card.model)
            continue;
        hw_card_wire_rx(h->card.model, s->now, 0, f->data, f->len);
        h->card.next_run = s->now;
    }
}

static void turn(struct sim *s, struct sim_host *h)
{
    struct sim_card *c = &h->card;
    if (c->back_at && c->back_at <= s->now)
        sim_card_start(s, h->index);
    if (c->open_at && c->open_at <= s->now && c->model && h->engine && !c->open &&
        sim_card_open(s, h->index))
        sim_fail(s, "the engine did not take the card");
    if (h->standby.open_at && h->standby.open_at <= s->now && h->engine)
        sim_open_standby(s, h->index);
    deliver(s, h);
    if (c->model && (c->next_run <= s->now || hw_doorbells_rung(c->model)))
        c->next_run = hw_card_run(c->model, s->now);
    if (h->engine && h->next_poll <= s->now)
        h->next_poll = engine_poll(h->engine, s->now);
    if (c->model && hw_doorbells_rung(c->model))
        c->next_run = s->now;
    if (h->next_poll <= s->now)
        h->next_poll = s->now + US; /* the turn costs time, as everything does */
    if (c->next_run <= s->now)
        c->next_run = s->now + US;
}

void sim_run(struct sim *s, uint64_t until)
{
    while (s->now < until) {
        s->now = next_moment(s, until);
        for (int i = 0; i < SIM_HOSTS; i++)
            turn(s, &s->host[i]);
    }
}

bool sim_serves(const struct sim *s, int host)
{
    struct engine_card c;
    return s->host[host].card.model && engine_card_at(s->host[host].engine, 0, &c) && c.unit &&
           card_unit_serves(c.unit);
}

static bool at_rest(const struct sim *s, int host)
{
    return sim_serves(s, host) && place_quiet(engine_place(s->host[host].engine));
}

bool sim_settle(struct sim *s, uint64_t limit)
{
    for (uint64_t end = s->now + limit; s->now < end;) {
        sim_run(s, s->now + 5 * MS);
        if (at_rest(s, 0) && at_rest(s, 1))
            return true;
    }
    return false;
}
