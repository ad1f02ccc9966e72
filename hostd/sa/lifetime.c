/* Lifetimes in time, octets, packets and numbers (RFC 4301 4.4.2.1, RFC 4303 3.3.3). */
#include "hostd/sa/sad_internal.h"

static uint64_t total(const uint64_t *by_path)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < PATHS; i++)
        sum = by_path[i] > UINT64_MAX - sum ? UINT64_MAX : sum + by_path[i];
    return sum;
}

static bool reached(uint64_t limit, uint64_t used)
{
    return limit && used >= limit;
}

static bool any_reached(const struct sa *sa, const struct sa_lifetime *l, uint64_t now)
{
    uint64_t age = now > sa->created ? now - sa->created : 0;
    return reached(l->time, age) || reached(l->bytes, total(sa->bytes)) ||
           reached(l->packets, total(sa->packets));
}

/* A new SA must stand before the last number is used: a sixteenth of the space is the margin. */
static bool numbers_low(const struct sa *sa)
{
    uint64_t limit = sa_number_limit(&sa->spec);
    return sa->spec.dir == ESP_OUT && (sa->next == 0 || sa->next > limit - limit / 16);
}

static bool numbers_gone(const struct sa *sa)
{
    return sa->spec.dir == ESP_OUT && (sa->next == 0 || sa->next > sa_number_limit(&sa->spec));
}

enum sa_life sad_life(struct sa *sa, uint64_t now)
{
    if (numbers_gone(sa) || any_reached(sa, &sa->spec.hard, now))
        return LIFE_HARD;
    if (sa->soft_told || !(numbers_low(sa) || any_reached(sa, &sa->spec.soft, now)))
        return LIFE_OK;
    sa->soft_told = true;
    return LIFE_SOFT;
}

static uint64_t moment(const struct sa *sa, uint64_t limit)
{
    if (limit == 0 || limit > UINT64_MAX - sa->created)
        return UINT64_MAX;
    return sa->created + limit;
}

uint64_t sad_deadline(const struct sad *s)
{
    uint64_t first = UINT64_MAX;
    for (const struct node *n = s->first; n; n = n->next) {
        uint64_t soft = n->sa.soft_told ? UINT64_MAX : moment(&n->sa, n->sa.spec.soft.time);
        uint64_t hard = moment(&n->sa, n->sa.spec.hard.time);
        uint64_t at = soft < hard ? soft : hard;
        first = at < first ? at : first;
    }
    return first;
}
