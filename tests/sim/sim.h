/* Deterministic simulation: two hosts, two cards, one wire, one seed, a virtual clock. The engine,
 * libcard's core and the card model are the daemon's and hwsim's own code; only the shells differ.
 * A seed that fails replays exactly. */
#ifndef SALLYPORT_SIM_H
#define SALLYPORT_SIM_H

#include "hostd/data/engine.h"
#include "hwsim/model/hw_card.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define US  1000ull
#define MS  1000000ull
#define SEC 1000000000ull

enum {
    SIM_HOSTS = 2,
    SIM_DMA = 64,
    SIM_FLOWS = 8,
    SIM_QUEUE = 8192,
    SIM_FRAME = 2048,
    SIM_FIRST_SPI = 0x1000,
    SIM_SPIS = 1 << 20
};

/* splitmix64: one stream for everything, so that a run is its seed. */
struct rng {
    uint64_t s;
};
uint64_t rng_next(struct rng *r);
uint64_t rng_below(struct rng *r, uint64_t n);

struct sim;

/* Host memory as a card reaches it. */
struct sim_dma {
    uint8_t *va;
    uint64_t iova;
    size_t len;
};

struct sim_card {
    struct sim *sim;
    int host;
    struct hw_card *model; /* NULL: dead */
    struct sim_dma dma[SIM_DMA];
    uint64_t next_iova, next_run;
    uint64_t faults;  /* DMA outside of what was mapped */
    uint64_t hole;    /* a page that was unmapped under the card's hands; 0: none */
    bool open;        /* the engine has it */
    bool cut;         /* a card that was killed: the connection to it stays dead */
    uint64_t open_at; /* the parent opens the card anew then; 0: nothing to open */
    uint64_t back_at; /* dead until then; 0: no plan */
    uint64_t
        sick_until; /* a fault that may cost packets has been set, or its recovery is under way */
};

struct frame {
    uint64_t at;
    uint16_t len;
    uint8_t data[SIM_FRAME];
};

/* A plain interface on the same wire. */
struct sim_plain {
    struct dp_port port;
    uint8_t slot[SIM_FRAME + 64];
    bool open;
    uint64_t open_at; /* asked for: it is there then; 0: not asked */
};

struct sim_host {
    struct sim *sim;
    int index;
    struct sim_plain standby;
    struct engine *engine;
    void *store;
    size_t store_len;
    struct sim_card card;
    uint64_t next_poll;
    struct frame *in; /* frames on the wire towards this host, a ring in order of arrival */
    unsigned head, tail;
};

/* One protected flow: a policy and the SA pairs it has had. */
struct flow {
    char name[16];
    bool inner6, outer6, tunnel, udp, esn;
    const struct esp_suite *suite;
    uint32_t spi[SIM_HOSTS]; /* of the SA that host i sends under */
    uint64_t sent[SIM_HOSTS], delivered[SIM_HOSTS], twice, strange;
    uint8_t *seen[SIM_HOSTS]; /* bit a serial, of what host i sent */
    uint64_t room;
};

struct sim {
    uint64_t now, seed;
    struct rng rng;
    struct sim_host host[SIM_HOSTS];
    struct flow flow[SIM_FLOWS];
    unsigned n_flows;
    const void *shape;
    size_t shape_len;
    uint32_t next_spi;
    uint32_t *last_number; /* on the wire, by SPI */
    FILE *pcap, *sas;
    bool first_sa;
    uint64_t clear_on_wire, wire_frames;
    uint64_t failures;
    bool verbose, with_standby;
};

/* world.c */
int sim_new(struct sim *s, uint64_t seed, const char *shape, bool standby, FILE *pcap, FILE *sas);
void sim_free(struct sim *s);
/* Lets time pass until `until`: everything that is due happens in order. */
void sim_run(struct sim *s, uint64_t until);
/* Says what is wrong, with seed and time, and counts it. */
void sim_fail(struct sim *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Waits on the virtual clock until both placements are quiet; false after `limit` ns. */
bool sim_settle(struct sim *s, uint64_t limit);

/* host.c */
int sim_host_new(struct sim *s, int index, int adopt);
void sim_host_end(struct sim *s, int index); /* as kill -9: the store stays */
void sim_card_kill(struct sim *s, int host);
void sim_card_start(struct sim *s, int host);
void sim_card_ctl(struct sim *s, int host, const char *line);
/* Place in the SADB against the card's own table, both ways. */
void sim_check_tables(struct sim *s, int host);
int sim_card_open(struct sim *s, int host);
bool sim_serves(const struct sim *s, int host);
void sim_open_standby(struct sim *s, int host);
const struct ip_addr *sim_addr(int host, bool six, bool inner, unsigned flow);

/* traffic.c */
void flows_make(struct sim *s);
void flows_free(struct sim *s);
struct cfg sim_cfg(struct sim *s, int host);
void flow_add_sas(struct sim *s, unsigned flow); /* a new pair each way; the old ones are deleted */
void flow_send(struct sim *s, int from, unsigned flow);
void traffic_from_tap(struct sim *s, int host, const uint8_t *frame, size_t len);
void traffic_on_wire(struct sim *s, int from, const uint8_t *frame, size_t len);
/* Asserts what a user would: nothing twice, nothing strange, losses no more than accounted. */
void traffic_report(struct sim *s);
uint64_t traffic_sent(const struct sim *s);
uint64_t traffic_delivered(const struct sim *s);

/* events.c */
unsigned events_run(struct sim *s, unsigned n);

#endif
