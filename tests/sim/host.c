#include "tests/sim/sim.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

/* --- the bus between libcard and the model
 * --------------------------------------------------------- */

static struct sim_dma *find_dma(struct sim_card *c, uint64_t iova, size_t len)
{
    bool holed = c->hole && iova < c->hole + 4096 && iova + len > c->hole;
    for (unsigned i = 0; i < SIM_DMA && !holed; i++)
        if (c->dma[i].va && iova >= c->dma[i].iova && len <= c->dma[i].len &&
            iova - c->dma[i].iova <= c->dma[i].len - len)
            return &c->dma[i];
    c->faults++;
    return NULL;
}

static int model_read(void *ctx, uint64_t iova, void *buf, size_t len)
{
    struct sim_dma *d = find_dma(ctx, iova, len);
    if (!d)
        return -EFAULT;
    memcpy(buf, d->va + (iova - d->iova), len);
    return 0;
}

static int model_write(void *ctx, uint64_t iova, const void *buf, size_t len)
{
    struct sim_dma *d = find_dma(ctx, iova, len);
    if (!d)
        return -EFAULT;
    memcpy(d->va + (iova - d->iova), buf, len);
    return 0;
}

static int onto_wire(struct sim *s, int from, const uint8_t *frame, size_t len)
{
    struct sim_host *to = &s->host[!from];
    if (len > SIM_FRAME || to->tail - to->head == SIM_QUEUE)
        return -EAGAIN;
    struct frame *f = &to->in[to->tail++ % SIM_QUEUE];
    f->at = s->now + 20 * US;
    f->len = (uint16_t)len;
    memcpy(f->data, frame, len);
    traffic_on_wire(s, from, frame, len);
    return 0;
}

static int model_wire_tx(void *ctx, unsigned port, const uint8_t *frame, size_t len)
{
    struct sim_card *c = ctx;
    (void)port;
    return onto_wire(c->sim, c->host, frame, len);
}

/* --- the standby port
 * -------------------------------------------------------------------------------- */

static int plain_get(void *ctx, size_t room, struct dp_buf *b)
{
    struct sim_host *h = ctx;
    if (room > sizeof h->standby.slot)
        return -ENOBUFS;
    *b = (struct dp_buf){h->standby.slot, sizeof h->standby.slot, 0};
    return h->standby.open ? 0 : -ENODEV;
}

static int plain_send(void *ctx, struct dp_buf *b, const struct dp_tx *tx)
{
    struct sim_host *h = ctx;
    return onto_wire(h->sim, h->index, b->p, tx->len) ? -ENOBUFS : 0;
}

static void plain_put(void *ctx, struct dp_buf *b)
{
    (void)ctx;
    (void)b;
}

static void plain_flush(void *ctx)
{
    (void)ctx;
}

void sim_open_standby(struct sim *s, int host)
{
    struct sim_host *h = &s->host[host];
    h->standby.open_at = 0;
    h->standby.open = true;
    h->standby.port = (struct dp_port){.ctx = h,
                                       .card_index = -1,
                                       .mtu = 1500,
                                       .mac = {2, 0, 0, 0, 0, 1},
                                       .get = plain_get,
                                       .send = plain_send,
                                       .put = plain_put,
                                       .flush = plain_flush};
    if (engine_port_open(h->engine, "ipsec0", "if:w0", &h->standby.port, s->now))
        h->standby.open = false; /* not wanted any more */
    h->next_poll = s->now;
}

/* --- registers
 * --------------------------------------------------------------------------------------- */

static int bus_read(void *ctx, uint32_t off, uint32_t *value)
{
    struct sim_card *c = ctx;
    if (!c->model || c->cut)
        return -ENODEV;
    *value = hw_reg_read(c->model, off, c->sim->now);
    return 0;
}

static int bus_write(void *ctx, uint32_t off, uint32_t value)
{
    struct sim_card *c = ctx;
    if (!c->model || c->cut)
        return -ENODEV;
    hw_reg_write(c->model, off, value, c->sim->now);
    c->next_run = c->sim->now;
    return 0;
}

static void bus_doorbell(void *ctx, uint32_t off, uint32_t value)
{
    struct sim_card *c = ctx;
    if (!c->model || c->cut || off + 4 > hw_bar2_size(c->model))
        return;
    uint8_t *p = hw_doorbells(c->model) + off;
    for (int i = 0; i < 4; i++)
        p[i] = (uint8_t)(value >> (8 * i));
    c->next_run = c->sim->now;
}

static int bus_alloc(void *ctx, size_t len, struct card_dma *out)
{
    struct sim_card *c = ctx;
    len = (len + 4095) & ~(size_t)4095;
    for (unsigned i = 0; i < SIM_DMA; i++) {
        if (c->dma[i].va)
            continue;
        uint8_t *va = aligned_alloc(4096, len);
        if (!va)
            return -ENOMEM;
        memset(va, 0, len);
        c->dma[i] = (struct sim_dma){va, c->next_iova, len};
        *out = (struct card_dma){va, c->next_iova, len, &c->dma[i]};
        c->next_iova += len + 4096; /* a hole between two maps: an overrun is a fault */
        return 0;
    }
    return -ENOMEM;
}

static void bus_free(void *ctx, struct card_dma *mem)
{
    struct sim_dma *d = mem->priv;
    (void)ctx;
    free(d->va);
    *d = (struct sim_dma){0};
}

static bool bus_alive(void *ctx)
{
    struct sim_card *c = ctx;
    return c->model != NULL && !c->cut;
}

/* --- cards
 * ------------------------------------------------------------------------------------------ */

void sim_card_kill(struct sim *s, int host)
{
    struct sim_card *c = &s->host[host].card;
    if (!c->model)
        return;
    hw_card_free(c->model);
    c->model = NULL;
    c->cut = true; /* a socket stays closed, even when a new card is there soon */
    s->host[host].next_poll = s->now;
}

int sim_card_open(struct sim *s, int host)
{
    struct sim_card *c = &s->host[host].card;
    struct card_bus bus = {.ctx = c,
                           .reg_read = bus_read,
                           .reg_write = bus_write,
                           .db_write = bus_doorbell,
                           .dma_alloc = bus_alloc,
                           .dma_free = bus_free,
                           .alive = bus_alive};
    c->open_at = 0;
    c->cut = false;
    int rc = engine_card_open(s->host[host].engine, "c0", &bus, s->now);
    if (!rc)
        c->open = true;
    s->host[host].next_poll = s->now;
    return rc;
}

void sim_card_start(struct sim *s, int host)
{
    struct sim_card *c = &s->host[host].card;
    struct hw_bus bus = {
        .ctx = c, .dma_read = model_read, .dma_write = model_write, .wire_tx = model_wire_tx};
    const char *err = NULL;
    uint8_t master[2] = {6, 0};
    c->back_at = 0;
    if (c->model)
        return;
    c->model = hw_card_new(s->shape, s->shape_len, &bus, rng_next(&s->rng), s->now, &err);
    if (!c->model) {
        sim_fail(s, "the model refused the shape: %s", err);
        return;
    }
    (void)hw_pci_write(c->model, s->now, 4, master, 2);
    c->next_run = s->now;
    c->open_at = s->now + 2 * MS;
}

void sim_card_ctl(struct sim *s, int host, const char *line)
{
    struct sim_card *c = &s->host[host].card;
    if (!c->model)
        return;
    char *answer = hw_card_ctl(c->model, s->now, line);
    if (!answer || strncmp(answer, "{\"ok\":true", 10) != 0)
        sim_fail(s, "hwsim refused \"%s\": %s", line, answer ? answer : "no memory");
    free(answer);
    c->next_run = s->now;
}

/* --- the engine's shell
 * ------------------------------------------------------------------------------ */

static int host_to_tap(void *ctx, unsigned iface, const uint8_t *frame, size_t len,
                       const struct dp_offload *off)
{
    struct sim_host *h = ctx;
    (void)iface;
    (void)off;
    traffic_from_tap(h->sim, h->index, frame, len);
    return 0;
}

static int host_next_hop(void *ctx, unsigned iface, const struct ip_addr *dst, uint8_t mac[6])
{
    (void)ctx;
    (void)iface;
    (void)dst;
    memcpy(mac, "\x02\0\0\0\0\x01", 6);
    return 0;
}

static bool host_is_local(void *ctx, const struct ip_addr *a)
{
    struct sim_host *h = ctx;
    for (int six = 0; six < 2; six++)
        if (ip_eq(a, sim_addr(h->index, six, false, 0)))
            return true;
    for (unsigned f = 0; f < SIM_FLOWS; f++)
        for (int six = 0; six < 2; six++)
            if (ip_eq(a, sim_addr(h->index, six, true, f)))
                return true;
    return false;
}

static void host_card_gone(void *ctx, const char *card, const char *why)
{
    struct sim_host *h = ctx;
    (void)card;
    (void)why;
    h->card.open = false;
    h->card.open_at = h->sim->now + 2 * MS; /* what the parent's watch takes */
}

static void host_want_port(void *ctx, const char *iface, const char *port, bool open)
{
    struct sim_host *h = ctx;
    (void)iface;
    (void)port;
    h->standby.open = false;
    h->standby.open_at = open ? h->sim->now + MS : 0; /* a message to the parent and back */
}

static void host_port_info(void *ctx, const char *iface, const uint8_t mac[6], uint16_t mtu)
{
    (void)ctx;
    (void)iface;
    (void)mac;
    (void)mtu;
}

static void host_acquire(void *ctx, const struct spd_policy *p, const struct spd_flow *f,
                         const struct ip_addr *peer)
{
    (void)ctx;
    (void)p;
    (void)f;
    (void)peer;
}

static void host_expired(void *ctx, const struct sa *sa, enum sa_life what)
{
    (void)ctx;
    (void)sa;
    (void)what;
}

static void host_random(void *ctx, void *buf, size_t len)
{
    struct sim_host *h = ctx;
    uint8_t *p = buf;
    while (len--)
        *p++ = (uint8_t)rng_next(&h->sim->rng);
}

int sim_host_new(struct sim *s, int index, int adopt)
{
    struct sim_host *h = &s->host[index];
    struct engine_host ops = {.ctx = h,
                              .to_tap = host_to_tap,
                              .next_hop = host_next_hop,
                              .is_local = host_is_local,
                              .card_gone = host_card_gone,
                              .want_port = host_want_port,
                              .port_info = host_port_info,
                              .acquire = host_acquire,
                              .expired = host_expired,
                              .random = host_random};
    struct cfg cfg = sim_cfg(s, index);
    h->sim = s;
    h->index = index;
    h->card.sim = s;
    h->card.host = index;
    if (!h->card.next_iova)
        h->card.next_iova = 0x100000000ull;
    if (!h->store) {
        h->store_len = 257 * STORE_RECORD;
        h->store = aligned_alloc(4096, (h->store_len + 4095) & ~(size_t)4095);
        memset(h->store, 0, h->store_len);
    }
    int rc = engine_new(&h->engine, &cfg, &ops, h->store, h->store_len, adopt, s->now);
    cfg_free(&cfg);
    if (rc)
        sim_fail(s, "the engine did not start: %s", strerror(-rc));
    h->next_poll = s->now;
    if (!rc && adopt && h->card.model)
        rc = sim_card_open(s, index);
    return rc;
}

void sim_host_end(struct sim *s, int index)
{
    struct sim_host *h = &s->host[index];
    engine_free(h->engine, s->now);
    h->engine = NULL;
    h->card.open = h->standby.open = false;
    h->standby.open_at = 0;
}

/* --- the card's table against ours
 * ----------------------------------------------------------------------- */

static json_t *dump_sa(struct sim *s, int host)
{
    char *text = hw_card_ctl(s->host[host].card.model, s->now, "dump sa");
    json_t *o = text ? json_loads(text, 0, NULL) : NULL;
    free(text);
    return o;
}

static json_t *find_cookie(json_t *list, uint64_t cookie)
{
    size_t i;
    json_t *row;
    json_array_foreach(list, i, row)
    {
        const char *hex = json_string_value(json_object_get(row, "cookie"));
        if (hex && strtoull(hex, NULL, 16) == cookie)
            return row;
    }
    return NULL;
}

void sim_check_tables(struct sim *s, int host)
{
    struct sad *sad = engine_sad(s->host[host].engine);
    json_t *dump = dump_sa(s, host), *list = json_object_get(dump, "sa");
    size_t ours = 0;
    for (struct sa *sa = sad_next(sad, NULL); sa; sa = sad_next(sad, sa)) {
        json_t *row = find_cookie(list, sa->cookie);
        const char *state = row ? json_string_value(json_object_get(row, "state")) : "not there";
        bool active = row && strcasecmp(state, "ACTIVE") == 0;
        ours += row != NULL;
        if ((sa->place == PLACE_CARD) != active)
            sim_fail(s,
                     "host %d SPI 0x%x is in %s by the report (%s), in the card's table it is %s",
                     host, sa->spec.spi, sa->place == PLACE_CARD ? "the card" : "software",
                     sa->reason.text, state);
        if (!sa->reason.text[0])
            sim_fail(s, "host %d SPI 0x%x has no reason for its place", host, sa->spec.spi);
    }
    if (json_array_size(list) != ours)
        sim_fail(s, "host %d: the card holds %zu SAs, %zu of them ours", host,
                 json_array_size(list), ours);
    json_decref(dump);
}
