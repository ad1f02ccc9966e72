#include "hostd/data/port/card_unit_internal.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

/* Placement's requests as admin commands, and their answers. */

enum { INDEX_MASK = 0xffffff }; /* of a handle: index 24 bits, generation 8 (contract 1.2) */

/* --- handles
 * ----------------------------------------------------------------------------------------- */

int unit_size_handles(struct card_unit *u)
{
    const struct card_caps *c = card_caps(u->card);
    uint64_t want = (uint64_t)c->sa_out_max + (c->sa_shared_pool ? 0 : c->sa_in_max);
    if (want > INDEX_MASK)
        want = INDEX_MASK;
    struct unit_handle *h = calloc(want ? want : 1, sizeof *h);
    if (!h)
        return -ENOMEM;
    free(u->handles);
    u->handles = h;
    u->n_handles = (uint32_t)want;
    return 0;
}

void unit_forget_handles(struct card_unit *u)
{
    u->n_freed = 0;
    if (u->handles)
        memset(u->handles, 0, u->n_handles * sizeof *u->handles);
}

static struct unit_handle *row_of(const struct card_unit *u, uint32_t handle)
{
    uint32_t i = handle & INDEX_MASK;
    return i < u->n_handles ? &u->handles[i] : NULL;
}

uint64_t unit_cookie_of(const struct card_unit *u, uint32_t handle)
{
    const struct unit_handle *h = row_of(u, handle);
    return h && h->handle == handle ? h->cookie : 0;
}

static bool learn_handle(struct card_unit *u, uint32_t handle, uint64_t cookie)
{
    struct unit_handle *h = row_of(u, handle);
    if (!h)
        return false; /* an index that the card said it does not have */
    *h = (struct unit_handle){handle, u->clock, cookie, false};
    return true;
}

static void forget_handle(struct card_unit *u, uint32_t handle)
{
    struct unit_handle *h = row_of(u, handle);
    if (h && h->handle == handle)
        h->cookie = 0;
}

static void forget_soon(struct card_unit *u, uint32_t handle)
{
    if (u->n_freed < UNIT_COMMANDS)
        u->freed[u->n_freed++] = handle;
    else
        forget_handle(u, handle);
}

void unit_forget_freed(struct card_unit *u)
{
    while (u->n_freed)
        forget_handle(u, u->freed[--u->n_freed]);
}

/* --- commands
 * ---------------------------------------------------------------------------------------- */

static struct unit_command *take_command(struct card_unit *u, uint64_t cookie, uint32_t handle)
{
    for (unsigned i = 0; i < UNIT_COMMANDS; i++)
        if (!u->commands[i].used) {
            u->commands[i] = (struct unit_command){u, true, cookie, handle, false};
            u->n_commands++;
            return &u->commands[i];
        }
    return NULL;
}

static void end_command(struct unit_command *c)
{
    c->used = false;
    c->u->n_commands--;
}

/* A card that is not running refuses at once; a queue of commands that is full is asked again. */
static int submitted(struct unit_command *c, int rc)
{
    if (rc)
        end_command(c);
    return rc == -EBUSY ? -EAGAIN : rc;
}

static enum place_class class_of(uint16_t status)
{
    static const enum place_class by_class[16] = {[CIF_CLASS_OK] = PLACE_OK,
                                                  [CIF_CLASS_CALLER] = PLACE_NEVER,
                                                  [CIF_CLASS_RESOURCE] = PLACE_RESOURCE,
                                                  [CIF_CLASS_AGAIN] = PLACE_AGAIN,
                                                  [CIF_CLASS_STATE] = PLACE_AGAIN,
                                                  [CIF_CLASS_DEVICE] = PLACE_DEVICE,
                                                  [CIF_CLASS_SECURITY] = PLACE_NEVER,
                                                  [CIF_CLASS_ABORTED] = PLACE_UNKNOWN,
                                                  [CIF_CLASS_VENDOR] = PLACE_NEVER};
    enum place_class c = by_class[status >> 12];
    return c == PLACE_OK && status >> 12 != CIF_CLASS_OK ? PLACE_NEVER : c;
}

/* The outcome of a one-record command. */
static struct place_result result_of(const struct card_reply *r)
{
    if (r->err)
        return (struct place_result){PLACE_UNKNOWN, "NO_ANSWER", r->why,
                                     "the card's table is read again by itself", 0};
    uint16_t status = r->status;
    uint32_t handle = 0;
    if (r->n) { /* the record's own status says more than the command's */
        if (r->rec[0].status != 0xffff)
            status = r->rec[0].status;
        handle = r->rec[0].handle;
    }
    return (struct place_result){class_of(status), cif_status_name(status), cif_status_text(status),
                                 cif_status_remedy(status), handle};
}

/* --- add
 * ---------------------------------------------------------------------------------------------- */

static void fill_record(uint8_t *rec, const struct sa *sa, const struct esp_keys *k)
{
    const struct sa_spec *s = &sa->spec;
    memset(rec, 0, CIF_SA_SIZE);
    cif_sa_set_size(rec, CIF_SA_SIZE);
    cif_sa_set_ver(rec, 1);
    cif_sa_set_dir(rec, s->dir == ESP_OUT ? CIF_DIR_OUT : CIF_DIR_IN);
    cif_sa_set_handle(rec, ~0u);
    cif_sa_set_spi(rec, s->spi);
    cif_sa_set_proto(rec, IPP_ESP);
    cif_sa_set_mode(rec, s->mode == ESP_TUNNEL ? CIF_MODE_TUNNEL : CIF_MODE_TRANSPORT);
    cif_sa_set_encap(rec, (uint8_t)s->encap);
    cif_sa_set_family(rec, s->src.family);
    cif_sa_set_encr_id(rec, s->suite->encr_id);
    cif_sa_set_integ_id(rec, s->suite->integ_id);
    cif_sa_set_encr_len(rec, s->suite->encr_len);
    cif_sa_set_integ_len(rec, s->suite->integ_len);
    cif_sa_set_salt_len(rec, s->suite->salt_len);
    cif_sa_set_icv_len(rec, s->suite->icv_len);
    cif_sa_set_flags(rec,
                     (s->esn ? CIF_SAF_ESN : 0) | (s->dir == ESP_IN ? CIF_SAF_START_STOPPED : 0));
    cif_sa_set_udp_sport(rec, s->udp_sport);
    cif_sa_set_udp_dport(rec, s->udp_dport);
    cif_sa_set_cookie(rec, sa->cookie);
    memcpy(cif_sa_src_w(rec), s->src.b, 16);
    memcpy(cif_sa_dst_w(rec), s->dst.b, 16);
    cif_sa_set_seq(rec, s->dir == ESP_IN ? *sa->win.top : 0);
    cif_sa_set_seq_limit(rec, UINT64_MAX);
    cif_sa_set_seq_warn(rec, UINT64_MAX);
    cif_sa_set_byte_soft(rec, UINT64_MAX);
    cif_sa_set_byte_hard(rec, UINT64_MAX);
    memcpy(cif_sa_salt_w(rec), k->salt, 4);
    memcpy(cif_sa_encr_key_w(rec), k->encr, 32);
    memcpy(cif_sa_integ_key_w(rec), k->integ, 64);
    if (s->dir == ESP_OUT && !s->suite->aead)
        memcpy(cif_sa_iv_key_w(rec), k->iv_key, 16);
}

/* The outer header rules beside the defaults. */
static void fill_rules(uint8_t *rec, const struct esp_header_rules *r)
{
    static const uint8_t dscp[] = {0, CIF_HDR_DSCP_SET, CIF_HDR_DSCP_SET};
    static const uint8_t df[] = {0, CIF_HDR_DF_SET, CIF_HDR_DF_CLEAR};
    static const uint8_t flow[] = {0, CIF_HDR_FLOW_SET, CIF_HDR_FLOW_SET};
    cif_sa_set_hdr_ctl(rec, (uint8_t)(dscp[r->dscp] | df[r->df] | flow[r->flow_label]));
    cif_sa_set_ttl(rec, r->ttl);
    cif_sa_set_dscp(rec, r->dscp == ESP_SET ? r->dscp_value : 0);
    cif_sa_set_flow_label(rec, r->flow_label == ESP_SET ? r->flow_value & 0xfffff : 0);
}

static void add_ended(struct unit_command *c, const struct place_result *r)
{
    struct card_unit *u = c->u;
    uint64_t cookie = c->cookie;
    end_command(c);
    if (r->cls != PLACE_OK)
        u->refusals++;
    u->ops.added(u->ops.ctx, u->index, cookie, r);
}

/* The slot of an add that went wrong half-way is let go; whether or not that is answered, the audit
 * by cookie sees what is left. */
static void drop_slot(struct card_unit *u, uint32_t handle)
{
    forget_handle(u, handle);
    (void)card_sa_free(u->card, &handle, 1, NULL, NULL);
}

static void on_started(void *arg, const struct card_reply *reply)
{
    struct unit_command *c = arg;
    struct place_result r = result_of(reply);
    r.handle = c->handle;
    struct unit_handle *h = row_of(c->u, c->handle);
    if (r.cls == PLACE_UNKNOWN && h)
        h->doubt = true; /* packets that come decrypted under it are still known */
    else if (r.cls != PLACE_OK)
        drop_slot(c->u, c->handle);
    add_ended(c, &r);
}

static void on_sa_added(void *arg, const struct card_reply *reply)
{
    static const struct place_result nonsense = {
        PLACE_DEVICE, "BAD_HANDLE", "the card answered with a handle outside its own table",
        "the card's firmware is at fault: update it", 0};
    struct unit_command *c = arg;
    struct place_result r = result_of(reply);
    if (r.cls != PLACE_OK) {
        add_ended(c, &r);
        return;
    }
    c->handle = r.handle;
    if (!learn_handle(c->u, r.handle, c->cookie)) {
        add_ended(c, &nonsense);
        return;
    }
    if (!c->inbound) {
        add_ended(c, &r);
        return;
    }
    int rc = card_sa_start(c->u->card, &c->handle, 1, on_started, c);
    if (rc) {
        drop_slot(c->u, c->handle);
        r = (struct place_result){PLACE_AGAIN, "BUSY", "the card's command queue is full",
                                  "it is asked again", 0};
        add_ended(c, &r);
    }
}

int card_unit_add(struct card_unit *u, const struct sa *sa, const struct esp_keys *keys)
{
    uint8_t rec[CIF_SA_SIZE];
    struct unit_command *c = take_command(u, sa->cookie, 0);
    if (!c)
        return -EAGAIN;
    c->inbound = sa->spec.dir == ESP_IN;
    fill_record(rec, sa, keys);
    if (sa->spec.dir == ESP_OUT)
        fill_rules(rec, &sa->spec.rules);
    int rc = card_sa_add(u->card, rec, 1, on_sa_added, c);
    OPENSSL_cleanse(rec, sizeof rec);
    return submitted(c, rc);
}

/* --- free
 * --------------------------------------------------------------------------------------------- */

static void on_slot_freed(void *arg, const struct card_reply *reply)
{
    struct unit_command *c = arg;
    struct card_unit *u = c->u;
    struct place_result r = result_of(reply);
    uint32_t handle = c->handle;
    uint64_t cookie = c->cookie;
    end_command(c);
    if (r.cls == PLACE_OK) /* anything else: placement reads the table, which says what is there */
        forget_soon(u, handle);
    u->ops.freed(u->ops.ctx, u->index, handle, cookie, &r);
}

int card_unit_free_slot(struct card_unit *u, uint32_t handle, uint64_t cookie)
{
    struct unit_command *c = take_command(u, cookie, handle);
    if (!c)
        return -EAGAIN;
    return submitted(c, card_sa_free(u->card, &handle, 1, on_slot_freed, c));
}

/* --- the whole table
 * ------------------------------------------------------------------------------------ */

/* A whole table was read: handles that were known when it was asked for and are not in it are gone.
 */
static void drop_missing(struct card_unit *u)
{
    for (unsigned i = 0; i < u->n_rows; i++) {
        struct unit_handle *h = row_of(u, u->rows[i].handle);
        if (h && h->handle == u->rows[i].handle)
            h->clock = u->clock;
    }
    for (uint32_t i = 0; i < u->n_handles; i++)
        if (u->handles[i].cookie && u->handles[i].clock < u->query_clock)
            u->handles[i].cookie = 0;
}

static void query_ended(struct card_unit *u, bool complete)
{
    u->querying = false;
    if (complete)
        drop_missing(u);
    u->ops.table(u->ops.ctx, u->index, u->rows, u->n_rows, complete);
}

/* A slot that is not ACTIVE is on its way between SA_ADD and SA_START, or nobody's: the answer to
 * one of the two was lost; then it is freed, and the SA asks anew. */
static bool being_added(const struct card_unit *u, uint32_t handle, uint64_t cookie)
{
    const struct unit_handle *h = row_of(u, handle);
    if (h && h->handle == handle && h->cookie == cookie)
        return !h->doubt;
    for (unsigned i = 0; i < UNIT_COMMANDS; i++)
        if (u->commands[i].used && u->commands[i].inbound && u->commands[i].cookie == cookie)
            return true;
    return false;
}

static int keep_row(struct card_unit *u, const uint8_t *rec)
{
    if (u->n_rows == u->rows_room) {
        unsigned room = u->rows_room ? 2 * u->rows_room : 256;
        struct place_row *rows = realloc(u->rows, room * sizeof *rows);
        if (!rows)
            return -ENOMEM;
        u->rows = rows;
        u->rows_room = room;
    }
    uint32_t handle = cif_sa_state_handle(rec);
    uint64_t cookie = cif_sa_state_cookie(rec);
    if (cif_sa_state_state(rec) == CIF_SASTATE_ACTIVE)
        (void)learn_handle(u, handle, cookie);
    else if (!being_added(u, handle, cookie))
        cookie = 0;
    u->rows[u->n_rows++] = (struct place_row){handle, cookie};
    return 0;
}

static void on_table_page(void *arg, const struct card_reply *reply)
{
    struct unit_command *c = arg;
    struct card_unit *u = c->u;
    bool good = !reply->err && cif_status_class(reply->status) == CIF_CLASS_OK;
    for (unsigned i = 0; good && i < reply->n; i++) {
        const uint8_t *rec = reply->data + (size_t)i * CIF_SA_STATE_SIZE;
        if (cif_sa_state_state(rec) != CIF_SASTATE_FREE && keep_row(u, rec))
            good = false;
    }
    if (good && reply->value != UINT64_MAX &&
        card_sa_query_all(u->card, reply->value, on_table_page, c) == 0)
        return;
    end_command(c);
    query_ended(u, good && reply->value == UINT64_MAX);
}

int card_unit_query(struct card_unit *u)
{
    if (u->querying)
        return 0;
    struct unit_command *c = take_command(u, 0, 0);
    if (!c)
        return -EAGAIN;
    u->n_rows = 0;
    u->query_clock = ++u->clock;
    int rc = submitted(c, card_sa_query_all(u->card, 0, on_table_page, c));
    u->querying = rc == 0;
    return rc;
}
