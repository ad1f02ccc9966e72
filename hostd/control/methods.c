/* See methods.h. */
#include "hostd/control/methods.h"

#include <string.h>

/* Rows of three kinds: answered here, passed to data, passed to the parent. */
#define OWN(name, right, doc)                                                                      \
    {                                                                                              \
        name, PROC_CONTROL, 0, right, 0, 0, NULL, doc                                              \
    }
#define SUB(name, right, topic, doc)                                                               \
    {                                                                                              \
        name, PROC_CONTROL, 0, right, 0, 0, topic, doc                                             \
    }
#define DATA(name, right, fds, doc)                                                                \
    {                                                                                              \
        name, PROC_DATA, MSG_CALL, right, fds, 10, NULL, doc                                       \
    }
#define PARENT(name, type, right, doc)                                                             \
    {                                                                                              \
        name, PROC_PARENT, type, right, 0, 30, NULL, doc                                           \
    }

static const struct method methods[] = {
    OWN("version", RIGHT_READ, "the daemon's version"),
    OWN("ping", RIGHT_READ, "answers true"),
    OWN("methods", RIGHT_READ, "this table"),
    OWN("log.level", RIGHT_CHANGE, "the level of the log until the next reload: {level}"),
    SUB("acquire.subscribe", RIGHT_CHANGE, "acquire", "events: a policy wants an SA"),
    SUB("log.subscribe", RIGHT_READ, "log", "events: records of the log"),

    DATA("sa.add", RIGHT_CHANGE, 1, "an SA by hand (testing: yes), its keys in a passed memfd"),
    DATA("sa.delete", RIGHT_CHANGE, 0, "deletes an SA"),
    DATA("sa.list", RIGHT_READ, 0, "the SAs with place, reason and counters"),
    DATA("policy.list", RIGHT_READ, 0, "the policies in force, in order"),
    DATA("card.list", RIGHT_READ, 0, "the cards with state and capabilities"),
    DATA("counters", RIGHT_READ, 0, "counters of packets, every drop by name"),
    DATA("cache.list", RIGHT_READ, 0, "recent decisions"),
    DATA("place.move", RIGHT_CHANGE, 0, "moves an SA to the card or to software"),
    DATA("acquire.answer", RIGHT_CHANGE, 0, "answers an acquire (testing: yes)"),

    PARENT("status", MSG_ADMIN, RIGHT_READ, "the processes, interfaces and cards"),
    PARENT("reload", MSG_RELOAD, RIGHT_CHANGE, "reads the configuration again"),
    PARENT("start", MSG_ADMIN, RIGHT_CHANGE, "begins IPsec again after stop"),
    PARENT("stop", MSG_ADMIN, RIGHT_CHANGE, "ends SAs; packets go by after-stop"),
    PARENT("release", MSG_ADMIN, RIGHT_CHANGE, "ends the daemon and gives the ports back"),
};

enum { N_METHODS = sizeof methods / sizeof *methods };

const struct method *method_at(unsigned i)
{
    return i < N_METHODS ? &methods[i] : NULL;
}

const struct method *method_find(const char *name)
{
    for (unsigned i = 0; i < N_METHODS; i++)
        if (strcmp(methods[i].name, name) == 0)
            return &methods[i];
    return NULL;
}

int method_topic(const char *topic)
{
    int n = 0;

    for (unsigned i = 0; i < N_METHODS; i++) {
        if (!methods[i].topic)
            continue;
        if (strcmp(methods[i].topic, topic) == 0)
            return n;
        n++;
    }
    return -1;
}

const char *right_name(unsigned right)
{
    return right == RIGHT_READ ? "read" : right == RIGHT_CHANGE ? "change" : "none";
}
