/* Known-answer packets at bring-up: a card's promises are tried before they are trusted. For each
 * suite and direction an SA with published keys is added; an outbound one gets a clear packet with
 * PROTECT+LOOP and must answer with the ESP packet we expect; an inbound one gets that ESP packet
 * with RAW+LOOP and must answer with the clear packet. What fails is taken out of the caps, with
 * the reason; a data path that does not move at all fails the bring-up. */
#include "driver/core/kat.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "driver/core/card_internal.h"

#define CHUNK_MAX 8u
#define COOKIE    0x4b41540000000000ull /* "KAT" */
#define ANSWER_NS (50 * MS)
#define ITEMS_MAX (2u * CARD_SUITES_MAX)

enum phase { ADD, ADDING, POST, COLLECT, FREE, FREEING };

struct item {
    unsigned suite;
    bool out;
    bool added, sent, answered, good;
    uint32_t handle, spi;
    struct kat_packet packet;
};

struct kat {
    struct card *card;
    struct queue *tx;
    enum phase phase;
    struct item item[ITEMS_MAX];
    unsigned n, at, chunk; /* items, first of the chunk, items in it */
    unsigned unsent;       /* Tx completions still to come */
    uint64_t deadline;
};

static void fail_item(struct card *c, struct item *it, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

static void fail_item(struct card *c, struct item *it, const char *fmt, ...)
{
    struct card_suite *s = &c->caps.suites[it->suite];
    char *why = it->out ? s->why_not_out : s->why_not_in;
    va_list ap;
    if (!*(it->out ? &s->out : &s->in))
        return;
    *(it->out ? &s->out : &s->in) = false;
    va_start(ap, fmt);
    vsnprintf(why, sizeof s->why_not_out, fmt, ap);
    va_end(ap);
    card_log(c, CARD_WARNING, "SAs of this kind run in software; report it to the card's vendor.",
             "suite %s %s is not used in the card: %s", s->name, it->out ? "outbound" : "inbound",
             why);
}

/* --- items
 * --------------------------------------------------------------------------------------------- */

static void add_item(struct kat *k, unsigned suite, bool out)
{
    const struct card_caps *caps = &k->card->caps;
    const struct card_suite *s = &caps->suites[suite];
    struct item *it = &k->item[k->n];
    uint32_t span = caps->spi_hi - caps->spi_lo;
    if (!(out ? s->out && caps->sa_out_max : s->in && caps->sa_in_max) || !kat_knows(s) ||
        !(s->tunnel || s->transport))
        return;
    memset(it, 0, sizeof *it);
    it->suite = suite;
    it->out = out;
    it->handle = CIF_HANDLE_NONE;
    it->spi = caps->spi_lo + (span ? (k->n + 1) % span : 0);
    if (!kat_build(&it->packet, s, it->spi))
        k->n++;
}

static struct queue *first_tx(struct card *c)
{
    for (unsigned i = 0; i < c->cfg.n_tx; i++) {
        for (unsigned j = 0; j < c->cfg.n_rx; j++) {
            if (c->rx[j]->port == c->tx[i]->port)
                return c->tx[i];
        }
    }
    return NULL;
}

static struct kat *begin(struct card *c)
{
    struct queue *tx = first_tx(c);
    struct kat *k = tx ? calloc(1, sizeof *k) : NULL;
    if (!k)
        return NULL;
    k->card = c;
    k->tx = tx;
    for (unsigned i = 0; i < c->caps.n_suites; i++) {
        add_item(k, i, true);
        add_item(k, i, false);
    }
    return k;
}

void kat_stop(struct card *c)
{
    free(c->kat);
    c->kat = NULL;
}

/* How many SAs at once: no more than a small card has room for. */
static unsigned chunk_size(const struct kat *k)
{
    const struct card_caps *caps = &k->card->caps;
    uint32_t n = caps->batch_max < CHUNK_MAX ? caps->batch_max : CHUNK_MAX;
    n = caps->sa_out_max && n > caps->sa_out_max ? caps->sa_out_max : n;
    n = caps->sa_in_max && n > caps->sa_in_max ? caps->sa_in_max : n;
    return k->n - k->at < n ? k->n - k->at : n;
}

/* --- add and free
 * ------------------------------------------------------------------------------------- */

static void added(void *arg, const struct card_reply *r)
{
    struct card *c = arg;
    struct kat *k = c->kat;
    if (r->err || !k)
        return;
    for (unsigned i = 0; i < k->chunk && i < r->n; i++) {
        struct item *it = &k->item[k->at + i];
        it->added = cif_status_class(r->rec[i].status) == CIF_CLASS_OK;
        it->handle = r->rec[i].handle;
        if (!it->added)
            fail_item(c, it, "claimed, but refused: %s", cif_status_name(r->rec[i].status));
    }
    k->phase = POST;
}

static int send_add(struct kat *k)
{
    struct card *c = k->card;
    unsigned slot;
    k->chunk = chunk_size(k);
    int err = admin_begin(c, true, &slot);
    if (err)
        return err;
    for (unsigned i = 0; i < k->chunk; i++) {
        const struct item *it = &k->item[k->at + i];
        kat_record(admin_data(c, slot) + (size_t)i * CIF_SA_SIZE, &c->caps.suites[it->suite],
                   it->out ? CIF_DIR_OUT : CIF_DIR_IN, it->spi, COOKIE + k->at + i);
    }
    struct admin_req req = {.op = CIF_OP_SA_ADD,
                            .count = (uint16_t)k->chunk,
                            .rec_size = CIF_SA_SIZE,
                            .data_len = k->chunk * CIF_SA_SIZE,
                            .result_len = k->chunk * CIF_REC_STATUS_SIZE,
                            .cb = added,
                            .arg = c};
    return admin_send(c, slot, &req);
}

static void freed(void *arg, const struct card_reply *r)
{
    struct card *c = arg;
    struct kat *k = c->kat;
    if (r->err || !k)
        return;
    if (cif_status_class(r->status) != CIF_CLASS_OK) {
        bringup_fail(c, "the SAs of the known-answer packets could not be freed: %s", r->why);
        return;
    }
    k->at += k->chunk;
    k->phase = ADD;
}

/* All of them by one command: nothing else is in the table at bring-up. */
static int send_flush(struct kat *k)
{
    return command_own(k->card, CIF_OP_SA_FLUSH, 0, 0, freed, k->card);
}

/* --- packets
 * -------------------------------------------------------------------------------------------- */

static bool post_item(struct kat *k, struct item *it, unsigned index)
{
    const uint8_t *frame = it->out ? it->packet.clear : it->packet.esp;
    size_t len = it->out ? it->packet.clear_len : it->packet.esp_len;
    uint32_t buf = tx_buf_get(k->tx, true);
    if (buf == CARD_BUF_NONE)
        return false;
    memcpy(k->tx->bufs.va + (size_t)buf * k->tx->buf_len, frame, len);
    struct card_tx tx = {.op = it->out ? CIF_TXOP_PROTECT : CIF_TXOP_RAW,
                         .loop = true,
                         .l2_len = 14,
                         .l3_len = 20,
                         .buf = buf,
                         .len = (uint16_t)len,
                         .sa_handle = it->handle,
                         .seq = KAT_SEQ,
                         .user = index};
    if (tx_post(k->tx, &tx, true)) {
        card_buf_put(k->card, k->tx->index, buf);
        return false;
    }
    return true;
}

static void post_all(struct kat *k)
{
    k->unsent = 0;
    for (unsigned i = k->at; i < k->at + k->chunk; i++) {
        struct item *it = &k->item[i];
        if (it->added && post_item(k, it, i))
            k->unsent++;
        else if (it->added)
            fail_item(k->card, it, "its known-answer packet could not be posted");
    }
    (void)tx_flush(k->tx, k->card->now, true);
    k->deadline = k->card->now + k->card->caps.completion_us * US + ANSWER_NS;
    k->phase = COLLECT;
}

static bool reap_tx(struct kat *k)
{
    struct card_tx_done d[CHUNK_MAX];
    int n = tx_reap(k->tx, k->card->now, d, CHUNK_MAX, true);
    for (int i = 0; i < n; i++) {
        struct item *it = &k->item[d[i].user];
        card_buf_put(k->card, k->tx->index, d[i].buf);
        k->unsent--;
        it->sent = d[i].status == CIF_TXS_OK;
        if (!it->sent)
            fail_item(k->card, it, "known-answer packet not sent: %s", cif_txs_name(d[i].status));
    }
    return n >= 0;
}

/* The outbound answer: the outer header's fixed parts, and every octet of ESP. */
static bool esp_equal(const struct kat_packet *p, const struct card_rx *r)
{
    size_t off = p->esp_off;
    return r->kind == CIF_RXK_RAW && r->len == p->esp_len && r->data[12] == 8 && !r->data[13] &&
           r->data[14] == 0x45 && r->data[23] == 50 && !memcmp(r->data + 26, p->esp + 26, 8) &&
           !memcmp(r->data + off, p->esp + off, p->esp_len - off);
}

static bool clear_equal(const struct kat_packet *p, const struct card_rx *r)
{
    return r->len == p->clear_len && r->data[12] == 8 && !r->data[13] &&
           !memcmp(r->data + 14, p->clear + 14, p->clear_len - 14) && r->seq == KAT_SEQ;
}

static void answer(struct kat *k, const struct card_rx *r)
{
    for (unsigned i = k->at; i < k->at + k->chunk; i++) {
        struct item *it = &k->item[i];
        const uint8_t *spi = it->packet.esp + it->packet.esp_off;
        bool mine = it->out ? r->kind != CIF_RXK_PROTECTED && r->len > it->packet.esp_off + 4 &&
                                  !memcmp(r->data + it->packet.esp_off, spi, 4)
                            : r->kind == CIF_RXK_PROTECTED && r->sa_handle == it->handle;
        if (!mine || !it->added || it->answered)
            continue;
        it->answered = true;
        it->good = it->out ? esp_equal(&it->packet, r) : clear_equal(&it->packet, r);
        if (!it->good)
            fail_item(k->card, it, "wrong answer to its known-answer packet");
        return;
    }
}

static bool reap_rx(struct kat *k)
{
    struct card *c = k->card;
    struct card_rx r[CHUNK_MAX];
    for (unsigned q = 0; q < c->cfg.n_rx; q++) {
        int n = rx_reap(c->rx[q], c->now, r, CHUNK_MAX, true);
        if (n < 0)
            return false;
        for (int i = 0; i < n; i++) {
            answer(k, &r[i]);
            card_rx_put(c, q, r[i].buf);
        }
        (void)card_rx_flush(c, q, c->now);
    }
    return true;
}

static void collect(struct kat *k)
{
    struct card *c = k->card;
    bool late = c->now >= k->deadline, wait = k->unsent;
    if (!reap_tx(k) || !reap_rx(k)) {
        bringup_fail(c, "a packet queue failed under the known-answer packets");
        return;
    }
    if (late && k->unsent) {
        bringup_fail(c, "the data path does not move: no completion for a known-answer packet");
        return;
    }
    for (unsigned i = k->at; i < k->at + k->chunk; i++) {
        struct item *it = &k->item[i];
        if (!it->sent || it->answered)
            continue;
        wait = true;
        if (late)
            fail_item(c, it, "no answer to its known-answer packet");
    }
    if (late || !(wait || k->unsent))
        k->phase = FREE;
}

/* True when there is nothing more to try. A failed bring-up takes c->kat away under us. */
bool kat_poll(struct card *c)
{
    if (c->cfg.no_kat || (!c->kat && !(c->kat = begin(c))))
        return true;
    struct kat *k = c->kat;
    if (k->phase == ADD && k->at >= k->n) {
        kat_stop(c);
        return true;
    }
    if (k->phase == ADD && !send_add(k))
        k->phase = ADDING;
    else if (k->phase == FREE && !send_flush(k))
        k->phase = FREEING;
    if (k->phase == POST)
        post_all(k);
    if (k->phase == COLLECT)
        collect(k);
    return false;
}
