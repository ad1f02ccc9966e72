/* Faults: what the card is told to do wrong. A line of the fault language is
 *
 *     fault add SITE key=value…          SITE is a bare word, or `cmd=NAME`
 *
 * which: what it strikes        where: at which of them        what: what happens     how often
 *
 *   SITE        what=                      keys that narrow it
 *   cmd=NAME    refuse (with status=)      scope=record|command     an admin command by name, `any`
 * for all; delay (with ms=)                                    batched commands per record unless
 *                                                                   scope=command
 *   completion  drop delay double          queue=tx|rx|admin qid=N  a completion is lost, late,
 * written twice datapath    stop                                                nothing moves
 * between host and wire; HB_DP stands; frames wait, then drop firmware    freeze no admin command,
 * no event; HB_FW stands rx          raw drop                   reason= handle= port=    a packet
 * the card could open comes up raw tx          refuse (with status=)      handle= qid= a Tx
 * descriptor completes so, unsent dma         fail                       dir=read|write           a
 * DMA access fails irq         drop                       vector=N                 an interrupt is
 * lost link        down                       port=N                   the port has no link card
 * die                                                 the card is gone (as the line `die`)
 *
 * How often, of what matches: nth=N (that one only), count=N (the first N), rate=P (0 to 1, from
 * the seed), nothing: every time. How long: ms=N for stop, freeze and down (for delay it is the
 * delay); for=N for any (milliseconds from now); until=reset: gone at the next level-F reset. A
 * fault that is used up stays in the list (`spent`) until it is deleted. */
#ifndef SALLYPORT_HWSIM_FAULT_H
#define SALLYPORT_HWSIM_FAULT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HW_FAULT_MAX 256
#define HW_FAULT_ANY UINT32_MAX

enum hw_fault_site {
    HW_SITE_CMD,
    HW_SITE_COMPLETION,
    HW_SITE_DATAPATH,
    HW_SITE_FIRMWARE,
    HW_SITE_RX,
    HW_SITE_TX,
    HW_SITE_DMA,
    HW_SITE_IRQ,
    HW_SITE_LINK,
    HW_SITE_CARD,
    HW_SITE_COUNT
};

enum hw_fault_what {
    HW_WHAT_REFUSE,
    HW_WHAT_DELAY,
    HW_WHAT_DROP,
    HW_WHAT_DOUBLE,
    HW_WHAT_GARBLE,
    HW_WHAT_STOP,
    HW_WHAT_FREEZE,
    HW_WHAT_RAW,
    HW_WHAT_FAIL,
    HW_WHAT_DOWN,
    HW_WHAT_DIE,
    HW_WHAT_FATAL,
    HW_WHAT_NEEDS_RESET,
    HW_WHAT_COUNT
};

enum hw_fault_queue { HW_FQ_TX, HW_FQ_RX, HW_FQ_ADMIN };

struct hw_fault {
    unsigned id; /* 0: the place is free */
    enum hw_fault_site site;
    enum hw_fault_what what;
    uint32_t op, queue, qid, handle, port, vector, dir; /* HW_FAULT_ANY: all */
    uint32_t status, reason;                            /* numbers of the contract */
    bool per_command, until_reset, spent;
    uint32_t nth, count; /* 0: not given */
    double rate;         /* negative: not given */
    uint64_t ms, until;  /* until: HW_NEVER or a time */
    uint64_t seen, hits;
    char *line; /* as it was written, for the list */
};

struct hw_faults {
    struct hw_fault list[HW_FAULT_MAX];
    unsigned next_id;
    unsigned per_site[HW_SITE_COUNT]; /* how many live there: none is the usual case */
    uint64_t *random;                 /* the card's generator */
};

/* What is about to happen. A field holds HW_AT(value); 0: it does not apply here. */
#define HW_AT(v) ((uint32_t)(v) + 1)
struct hw_fault_at {
    enum hw_fault_site site;
    uint32_t what, op, queue, qid, handle, port, vector, dir;
    bool per_command;
};

#define HW_FAULT_AT(s, ...) ((struct hw_fault_at){.site = (s), __VA_ARGS__})

/* The first fault that strikes here and now, counted as a hit; NULL: all goes well. */
const struct hw_fault *hw_fault_hit(struct hw_faults *f, uint64_t now,
                                    const struct hw_fault_at *at);
/* Is a lasting fault (stop, freeze, down) in force? Counts nothing. */
bool hw_fault_lasting(const struct hw_faults *f, uint64_t now, enum hw_fault_site site,
                      uint32_t port);
/* When the next lasting fault ends, HW_NEVER if none does. */
uint64_t hw_fault_next_end(const struct hw_faults *f, uint64_t now);
/* A level-F reset takes away those that said until=reset. */
void hw_fault_reset(struct hw_faults *f);
void hw_fault_clear(struct hw_faults *f);

/* The words behind `fault add`. Returns the id, or 0 and a malloc'd sentence in *error. */
unsigned hw_fault_parse(struct hw_faults *f, uint64_t now, const char *words, char **error);
bool hw_fault_delete(struct hw_faults *f, unsigned id);

const char *hw_fault_site_name(enum hw_fault_site site);
const char *hw_fault_what_name(enum hw_fault_what what);

#endif
