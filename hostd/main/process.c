#include "hostd/main/process.h"

#include <string.h>

static const struct proc_row rows[PROC_COUNT] = {
    [PROC_PARENT] = {PROC_PARENT, "parent", false, false, true,
                     "sockets, TAP, devices, log files; never parses network input"},
    [PROC_IKE] = {PROC_IKE, "ike", true, true, false, "IKE state and peers' certificates"},
    [PROC_KEYS] = {PROC_KEYS, "keys", true, true, false, "private keys and pre-shared keys"},
    [PROC_FETCH] = {PROC_FETCH, "fetch", true, false, false, "CRL, OCSP and enrolment"},
    [PROC_DATA] = {PROC_DATA, "data", true, true, true,
                   "packets, ESP keys, SA and policy databases, the card"},
    [PROC_CONTROL] = {PROC_CONTROL, "control", true, true, true,
                      "the control socket, reports, the log"},
};

static const enum proc pairs[][2] = {
    {PROC_DATA, PROC_IKE},    {PROC_DATA, PROC_CONTROL}, {PROC_IKE, PROC_KEYS},
    {PROC_IKE, PROC_CONTROL}, {PROC_IKE, PROC_FETCH},
};

const struct proc_row *proc_row(enum proc p)
{
    return (unsigned)p < PROC_COUNT ? &rows[p] : NULL;
}

enum proc proc_by_name(const char *name)
{
    for (unsigned i = 0; i < PROC_COUNT; i++)
        if (!strcmp(rows[i].title, name))
            return rows[i].id;
    return PROC_COUNT;
}

bool proc_talks(enum proc a, enum proc b)
{
    if (a == b)
        return false;
    if (a == PROC_PARENT || b == PROC_PARENT)
        return true;
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
        if ((pairs[i][0] == a && pairs[i][1] == b) || (pairs[i][0] == b && pairs[i][1] == a))
            return true;
    return false;
}

uint64_t proc_delay(unsigned deaths)
{
    static const uint16_t ms[] = {0, 0, 100, 200, 400, 800, 1600, 3200, 5000};
    unsigned last = sizeof ms / sizeof *ms - 1;
    return ms[deaths < last ? deaths : last] * 1000000ull;
}

unsigned proc_deaths(unsigned before, uint64_t ran)
{
    return ran >= PROC_STEADY ? 1 : before + 1;
}
