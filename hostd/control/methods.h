/* Every method that a client can call: who answers it, and who may ask. */
#ifndef SALLYPORT_CONTROL_METHODS_H
#define SALLYPORT_CONTROL_METHODS_H

#include "hostd/base/msg.h"

#include <stdbool.h>

enum { RIGHT_NONE = 0, RIGHT_READ = 1, RIGHT_CHANGE = 2 };

/* Codes of errors: those of JSON-RPC, and ours, which are the exit codes of the tools. */
enum {
    RPC_PARSE = -32700,
    RPC_INVALID = -32600,
    RPC_NO_METHOD = -32601,
    RPC_PARAMS = -32602,
    RPC_INTERNAL = -32603,
    RPC_NOT_FOUND = 1,
    RPC_USAGE = 2,
    RPC_AWAY = 3, /* the process that answers is not running, or does not answer */
    RPC_REFUSED = 4
};

struct method {
    const char *name;
    enum proc owner;   /* who answers; PROC_CONTROL: we do */
    uint16_t type;     /* the message that carries it to the owner */
    unsigned right;    /* what the caller must have */
    unsigned fds;      /* descriptors it takes, exactly */
    unsigned seconds;  /* for the answer, or for each page of it */
    const char *topic; /* subscriptions: whose events follow; else NULL */
    const char *doc;
};

const struct method *method_at(unsigned i); /* NULL past the end */
const struct method *method_find(const char *name);
/* The number of a topic, 0 to 31, or -1. */
int method_topic(const char *topic);
const char *right_name(unsigned right);

#endif
