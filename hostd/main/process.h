/* The process table (design, section 5) and what follows from it. Pure: no calls to the system. */
#ifndef SALLYPORT_MAIN_PROCESS_H
#define SALLYPORT_MAIN_PROCESS_H

#include "hostd/base/msg.h"

#include <stdbool.h>
#include <stdint.h>

struct proc_row {
    enum proc id;
    const char *title;
    bool drops;   /* runs as the unprivileged user, without capabilities */
    bool chroots; /* in an empty folder */
    bool started; /* false: its room is not there yet */
    const char *holds;
};

/* NULL when p is no process of the table. */
const struct proc_row *proc_row(enum proc p);
/* PROC_COUNT for a name that is not in the table. */
enum proc proc_by_name(const char *name);

/* Do a and b talk to each other directly? Every child talks with the parent. Symmetric. */
bool proc_talks(enum proc a, enum proc b);

/* A child that died is started again: at once the first time, then ever later, up to 5 s; one that
 * ran for PROC_STEADY counts as new. Nanoseconds. */
#define PROC_STEADY (5ull * 1000000000)
uint64_t proc_delay(unsigned deaths);
/* The number of deaths in a row after one more, of a process that ran that long. */
unsigned proc_deaths(unsigned before, uint64_t ran);

#endif
