/* Completions and events from a hostile card: a script of octets makes the scripted card of the
 * unit tests write honest entries, spoils them, and lets the driver read. */
#define FAKE_NO_CMOCKA
#include "tests/unit/driver/fake_card.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

struct input {
    const uint8_t *p, *end;
};

static uint8_t next(struct input *in)
{
    return in->p < in->end ? *in->p++ : 0;
}

/* Up to seven places of an entry are changed. */
static void spoil(struct input *in, uint8_t *e, unsigned size)
{
    for (unsigned n = next(in) & 7; n; n--) {
        unsigned at = next(in) % size;
        e[at] ^= next(in);
    }
}

static void post(struct fake *f, struct input *in)
{
    uint32_t buf = card_buf_get(f->card, 0);
    struct card_tx tx = {.op = (uint8_t)(next(in) & 7),
                         .buf = buf,
                         .len = (uint16_t)(next(in) << 2),
                         .sa_handle = next(in),
                         .seq = next(in)};
    if (buf != CARD_BUF_NONE && card_tx_post(f->card, 0, &tx))
        card_buf_put(f->card, 0, buf);
    (void)card_tx_flush(f->card, 0, f->now);
}

static void reap(struct fake *f)
{
    struct card_tx_done d[8];
    struct card_rx r[8];
    volatile uint8_t sum = 0;
    int n = card_tx_reap(f->card, 0, f->now, d, 8);
    for (int i = 0; i < n; i++)
        card_buf_put(f->card, 0, d[i].buf);
    n = card_rx_reap(f->card, 0, f->now, r, 8);
    for (int i = 0; i < n; i++) {
        for (uint32_t k = 0; k < r[i].len; k++)
            sum = (uint8_t)(sum + r[i].data[k]);
        card_rx_put(f->card, 0, r[i].buf);
    }
    (void)card_rx_flush(f->card, 0, f->now);
}

static void tx_entry(struct fake *f, struct input *in)
{
    uint8_t *e = fake_txc(f, 0, next(in));
    spoil(in, e, CIF_TXC_SIZE);
    fake_show(f, 0, e);
}

static void rx_entry(struct fake *f, struct input *in)
{
    static const uint8_t frame[200];
    uint8_t *e = fake_rxc(f, 1, (uint8_t)(1 + next(in) % 5), frame, next(in) % 200u);
    spoil(in, e, CIF_RXC_SIZE);
    fake_show(f, 1, e);
}

static void admin_entry(struct fake *f, struct input *in)
{
    uint8_t asq[CIF_ASQ_SIZE] = {0};
    cif_asq_set_cid(asq, next(in) & 63);
    cif_asq_set_gen(asq, next(in));
    cif_asq_set_count(asq, next(in));
    fake_acq(f, asq, (uint16_t)(next(in) << 8 | next(in)), next(in));
    spoil(in, ring_at(&f->card->acq, f->acq_idx - 1), CIF_ACQ_SIZE);
}

static void event_entry(struct fake *f, struct input *in)
{
    fake_event(f, next(in) & 31, next(in), next(in));
    spoil(in, ring_at(&f->card->evq, f->evq_idx - 1), CIF_EVENT_SIZE);
}

static void command(struct fake *f, struct input *in)
{
    static const uint8_t recs[4 * CIF_SA_SIZE];
    uint32_t handles[4] = {next(in)};
    f->admin_deaf = next(in) & 1;
    (void)card_sa_add(f->card, recs, 1 + (next(in) & 3), NULL, NULL);
    (void)card_sa_query_handles(f->card, handles, 1, NULL, NULL);
}

static void step(struct fake *f, struct input *in)
{
    bool up = card_state(f->card) == CARD_RUNNING && f->q[0].up && f->q[1].up;
    switch (next(in) & 7) {
    case 0:
        post(f, in);
        break;
    case 1:
        if (up)
            tx_entry(f, in);
        break;
    case 2:
        if (up)
            rx_entry(f, in);
        break;
    case 3:
        if (up)
            admin_entry(f, in);
        break;
    case 4:
        if (up)
            event_entry(f, in);
        break;
    case 5:
        command(f, in);
        break;
    case 6:
        reap(f);
        break;
    default:
        fake_run(f, 1 + (next(in) & 31));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct input in = {data, data + (len < 512 ? len : 512)};
    struct fake *f = fake_running();
    while (in.p < in.end && card_state(f->card) != CARD_GONE)
        step(f, &in);
    f->admin_deaf = false;
    fake_run(f, 2);
    reap(f);
    fake_close(f);
    return 0;
}
