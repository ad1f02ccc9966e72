/* The SA commands. Each is a batch over records in host memory: one function for the loop, one
 * small function a record. */
#include <errno.h>
#include <openssl/crypto.h>
#include <stdlib.h>

#include "hwsim/model/internal.h"

enum { RECORD_MAX = CIF_SA_MODIFY_SIZE };

/* The outcome of one record. */
struct outcome {
    uint16_t status;
    uint32_t handle;
    uint64_t value;
};

typedef void each_record(struct hw_card *c, const uint8_t *rec, struct outcome *o);

/* --- reading records
 * ------------------------------------------------------------------------------------ */

/* A record of `size` octets that begins with its own size (u16): a shorter one is zero-filled, of a
 * longer one the tail must be zero. Records without a size field (sa_ref): own = size. */
static uint16_t read_record(struct hw_card *c, uint64_t at, uint16_t distance, bool sized,
                            uint8_t *to, uint16_t size)
{
    uint8_t tail[256];
    uint32_t own, done, part;

    memset(to, 0, size);
    part = distance < size ? distance : size;
    if (hw_dma_read(c, at, to, part) < 0)
        return CIF_ST_DMA_FAULT;
    if (!sized)
        return part < size ? CIF_ST_BAD_SIZE : CIF_ST_OK;
    own = cif_get16(to);
    if (own > distance || own < 4)
        return CIF_ST_BAD_SIZE;
    if (own < size)
        memset(to + own, 0, size - own);
    for (done = size; done < own; done += part) {
        part = own - done < sizeof(tail) ? own - done : (uint32_t)sizeof(tail);
        if (hw_dma_read(c, at + done, tail, part) < 0)
            return CIF_ST_DMA_FAULT;
        if (!hw_all_zero(tail, part))
            return CIF_ST_BAD_SIZE;
    }
    return CIF_ST_OK;
}

static uint16_t check_batch(const struct hw_card *c, struct hw_cmd *m, uint16_t least)
{
    uint32_t n = cif_asq_count(m->sqe), distance = cif_asq_rec_size(m->sqe);
    uint8_t mode = cif_asq_flags(m->sqe) & (CIF_ADMF_STOP | CIF_ADMF_ATOMIC);

    if (n == 0 || n > c->shape.batch_max)
        return hw_bad_field(m, CIF_ASQ_COUNT_OFF);
    if (distance < least || cif_asq_data_len(m->sqe) < n * distance ||
        cif_asq_result_len(m->sqe) < n * CIF_REC_STATUS_SIZE)
        return CIF_ST_BAD_SIZE;
    if (mode == (CIF_ADMF_STOP | CIF_ADMF_ATOMIC) ||
        (mode == CIF_ADMF_ATOMIC && !(c->feat_drv[0] & CIF_FEAT_ATOMIC_BATCH)))
        return hw_bad_field(m, CIF_ASQ_FLAGS_OFF);
    return CIF_ST_OK;
}

/* --- the loop
 * -----------------------------------------------------------------------------------------------
 */

struct batch {
    each_record *each, *undo;
    uint16_t size, least; /* of a record; the least distance */
    bool sized;
    bool stale_good; /* a handle that is gone already is what the caller wants */
};

static bool good(const struct batch *b, uint16_t status)
{
    return status == CIF_ST_OK || status == CIF_ST_ALREADY ||
           (b->stale_good && status == CIF_ST_STALE_HANDLE);
}

static void one_record(struct hw_card *c, const struct hw_cmd *m, const struct batch *b, uint32_t i,
                       struct outcome *o)
{
    uint32_t op = cif_asq_op(m->sqe), distance = cif_asq_rec_size(m->sqe);
    const struct hw_fault *f =
        hw_fault_hit(&c->faults, c->now,
                     &HW_FAULT_AT(HW_SITE_CMD, .op = HW_AT(op), .what = HW_AT(HW_WHAT_REFUSE)));
    uint8_t rec[RECORD_MAX];

    *o = (struct outcome){.handle = CIF_HANDLE_NONE};
    if (f) {
        o->status = (uint16_t)f->status;
        return;
    }
    o->status = read_record(c, cif_asq_data(m->sqe) + (uint64_t)i * distance, (uint16_t)distance,
                            b->sized, rec, b->size);
    if (o->status == CIF_ST_OK)
        b->each(c, rec, o);
    OPENSSL_cleanse(rec, sizeof(rec));
}

static int write_outcome(struct hw_card *c, const struct hw_cmd *m, uint32_t i,
                         const struct outcome *o)
{
    uint8_t r[CIF_REC_STATUS_SIZE] = {0};

    cif_rec_status_set_status(r, o->status);
    cif_rec_status_set_handle(r, o->handle);
    cif_rec_status_set_entries_used(r, o->status == CIF_ST_OK);
    cif_rec_status_set_value(r, o->value);
    return hw_dma_write(c, cif_asq_result(m->sqe) + (uint64_t)i * sizeof(r), r, sizeof(r));
}

/* ATOMIC: record n was refused, those before it go back as they were. Only SA_ADD has an undo; the
 * other batches are refused in this mode. */
static void undo_all(struct hw_card *c, const struct batch *b, const uint32_t *made, uint32_t n)
{
    uint8_t ref[CIF_SA_REF_SIZE];
    struct outcome o;

    while (n--) {
        if (made[n] == CIF_HANDLE_NONE)
            continue;
        memset(ref, 0, sizeof(ref));
        cif_sa_ref_set_handle(ref, made[n]);
        b->undo(c, ref, &o);
    }
}

static uint16_t run_atomic(struct hw_card *c, struct hw_cmd *m, const struct batch *b)
{
    uint32_t n = cif_asq_count(m->sqe), i;
    uint32_t *made = b->undo ? calloc(n, sizeof(*made)) : NULL;
    struct outcome o = {0};

    if (!made)
        return hw_bad_field(m, CIF_ASQ_FLAGS_OFF);
    for (i = 0; i < n; i++) {
        one_record(c, m, b, i, &o);
        made[i] = o.status == CIF_ST_OK ? o.handle : CIF_HANDLE_NONE;
        if (!good(b, o.status) || write_outcome(c, m, i, &o) < 0)
            break;
    }
    if (i < n) {
        undo_all(c, b, made, i + 1);
        for (m->first_bad = i; i-- > 0;) { /* not tried, as if it never had been */
            uint8_t untried[CIF_REC_STATUS_SIZE];

            memset(untried, 0xff, sizeof(untried));
            hw_dma_write(c, cif_asq_result(m->sqe) + (uint64_t)i * sizeof(untried), untried,
                         sizeof(untried));
        }
        write_outcome(c, m, m->first_bad, &o);
    }
    m->done = m->first_bad == UINT32_MAX ? n : 0;
    free(made);
    return m->first_bad == UINT32_MAX ? CIF_ST_OK : CIF_ST_PARTIAL;
}

static uint16_t run_batch(struct hw_card *c, struct hw_cmd *m, const struct batch *b)
{
    uint32_t n = cif_asq_count(m->sqe), i;
    uint16_t st = check_batch(c, m, b->least);
    struct outcome o;

    if (st != CIF_ST_OK)
        return st;
    if (cif_asq_flags(m->sqe) & CIF_ADMF_ATOMIC)
        return run_atomic(c, m, b);
    for (i = 0; i < n; i++) {
        one_record(c, m, b, i, &o);
        if (write_outcome(c, m, i, &o) < 0)
            return CIF_ST_DMA_FAULT;
        m->done += good(b, o.status);
        if (good(b, o.status))
            continue;
        if (m->first_bad == UINT32_MAX)
            m->first_bad = i;
        if (cif_asq_flags(m->sqe) & CIF_ADMF_STOP)
            break;
    }
    return m->first_bad == UINT32_MAX ? CIF_ST_OK : CIF_ST_PARTIAL;
}

/* --- SA_ADD
 * --------------------------------------------------------------------------------------------------
 */

static uint16_t refused_by_table(struct hw_card *c, const struct hw_sa *like)
{
    const struct hw_esp *e = &like->esp;

    if (like->dir == CIF_DIR_OUT ? hw_sa_out_twin(&c->sa, like)
                                 : hw_sa_lookup(&c->sa, e->family, e->spi, e->dst) != NULL)
        return CIF_ST_DUP_SA;
    return CIF_ST_OK;
}

static uint16_t repeat_of(const struct hw_sa *old, const uint8_t digest[32], struct outcome *o,
                          uint32_t handle)
{
    if (CRYPTO_memcmp(old->digest, digest, 32))
        return CIF_ST_COOKIE_DUP;
    o->handle = handle;
    return CIF_ST_ALREADY;
}

static uint16_t take_slot(struct hw_card *c, const uint8_t *rec, struct hw_sa **sa,
                          struct outcome *o)
{
    uint32_t wanted = cif_sa_handle(rec), dir = cif_sa_dir(rec);

    if (wanted != CIF_HANDLE_NONE)
        wanted &= CIF_HANDLE_INDEX_MASK;
    *sa = hw_sa_take(&c->sa, dir, wanted == CIF_HANDLE_NONE ? HW_NO_SLOT : wanted);
    if (*sa)
        return CIF_ST_OK;
    if (wanted != CIF_HANDLE_NONE && hw_sa_pool(&c->sa, dir)->free) {
        o->value = CIF_SA_HANDLE_OFF; /* there is room, but not at that index */
        return CIF_ST_BAD_FIELD;
    }
    hw_sa_room(c, dir, true);
    return CIF_ST_NO_SA_SPACE;
}

/* Keys, digests and window of a filled slot. */
static uint16_t complete_slot(struct hw_card *c, struct hw_sa *sa, const uint8_t *rec)
{
    if (sa->flags & CIF_SAF_REPLAY_CARD) {
        sa->window_bits = cif_sa_replay_win(rec);
        sa->window = calloc(sa->window_bits / 64 + 1, sizeof(*sa->window));
        if (!sa->window)
            return CIF_ST_NO_REPLAY_MEM;
    }
    return hw_esp_key(&sa->esp, cif_sa_encr_key(rec)) < 0 ? CIF_ST_ENGINE : CIF_ST_OK;
}

static void add_one(struct hw_card *c, const uint8_t *rec, struct outcome *o)
{
    uint8_t digest[32];
    struct hw_sa *sa;
    uint32_t offset;

    o->status = hw_sa_check(c, rec, &offset);
    if (o->status != CIF_ST_OK) {
        o->value = o->status == CIF_ST_BAD_FIELD ? offset : 0;
        return;
    }
    if (hw_sa_digest(&c->sa, rec, CIF_SA_SIZE, digest) < 0) {
        o->status = CIF_ST_INTERNAL;
        return;
    }
    sa = hw_sa_by_cookie(&c->sa, cif_sa_cookie(rec));
    if (sa) {
        o->status = repeat_of(sa, digest, o, hw_sa_handle(&c->sa, sa));
        return;
    }
    o->status = take_slot(c, rec, &sa, o);
    if (o->status != CIF_ST_OK)
        return;
    hw_sa_fill(sa, rec);
    memcpy(sa->digest, digest, 32);
    if (hw_sa_digest(&c->sa, rec + CIF_SA_SALT_OFF, CIF_SA_INTEG_KEY_OFF - CIF_SA_SALT_OFF,
                     sa->key_digest) < 0)
        o->status = CIF_ST_INTERNAL;
    else
        o->status = refused_by_table(c, sa);
    if (o->status == CIF_ST_OK)
        o->status = complete_slot(c, sa, rec);
    if (o->status != CIF_ST_OK) {
        hw_sa_release(&c->sa, sa);
        return;
    }
    sa->state = sa->flags & CIF_SAF_START_STOPPED ? CIF_SASTATE_STOPPED : CIF_SASTATE_ACTIVE;
    hw_sa_publish(&c->sa, sa); /* whole: from here on a packet can find it */
    o->handle = hw_sa_handle(&c->sa, sa);
    hw_sa_room(c, sa->dir, false);
}

/* TABLE_HIGH when less than a sixteenth is free, TABLE_LOW when there is room after a refusal. */
void hw_sa_room(struct hw_card *c, unsigned dir, bool refused)
{
    struct hw_sa_pool *p = hw_sa_pool(&c->sa, dir);
    unsigned qual = c->sa.shared ? 0 : dir;
    bool high = p->free <= p->size / 16;

    p->refused = p->refused || refused;
    if (high && !p->high)
        hw_event(c, CIF_EV_TABLE_HIGH, CIF_SEV_INFO, qual, 0, p->free);
    p->high = high;
    if (p->refused && p->free) {
        p->refused = false;
        hw_event(c, CIF_EV_TABLE_LOW, CIF_SEV_INFO, qual, 0, p->free);
    }
}

/* --- the commands by handle
 * --------------------------------------------------------------------------------- */

static struct hw_sa *by_ref(struct hw_card *c, const uint8_t *rec, struct outcome *o)
{
    struct hw_sa *sa;

    o->handle = cif_sa_ref_handle(rec);
    o->status = CIF_ST_BAD_FIELD;
    o->value = CIF_SA_REF_RSVD0_OFF;
    if (cif_sa_ref_rsvd0(rec))
        return NULL;
    o->value = CIF_SA_REF_COOKIE_OFF;
    if (cif_sa_ref_cookie(rec))
        return NULL;
    o->value = 0;
    sa = hw_sa_by_handle(&c->sa, o->handle);
    o->status = sa ? CIF_ST_OK : CIF_ST_STALE_HANDLE;
    return sa;
}

static void start_one(struct hw_card *c, const uint8_t *rec, struct outcome *o)
{
    struct hw_sa *sa = by_ref(c, rec, o);

    if (!sa)
        return;
    sa->state = CIF_SASTATE_ACTIVE;
    sa->burst = false;
    sa->fail_run = 0;
}

static void stop_one(struct hw_card *c, const uint8_t *rec, struct outcome *o)
{
    struct hw_sa *sa = by_ref(c, rec, o);

    if (sa)
        sa->state = CIF_SASTATE_STOPPED;
}

static void free_one(struct hw_card *c, const uint8_t *rec, struct outcome *o)
{
    struct hw_sa *sa = by_ref(c, rec, o);
    unsigned dir;

    if (!sa)
        return;
    dir = sa->dir;
    hw_sa_release(&c->sa, sa);
    hw_sa_room(c, dir, false);
}

/* --- SA_MODIFY
 * ------------------------------------------------------------------------------------------------
 */

static void mod_addrs(struct hw_card *c, struct hw_sa *sa, const uint8_t *r)
{
    hw_sa_unpublish(&c->sa, sa);
    memcpy(sa->esp.src, cif_sa_src(r), 16);
    memcpy(sa->esp.dst, cif_sa_dst(r), 16);
    hw_sa_publish(&c->sa, sa);
}

static void apply_modify(struct hw_card *c, struct hw_sa *sa, uint32_t mask, const uint8_t *r)
{
    const uint32_t flags = CIF_SAF_DEC_TTL | CIF_SAF_SAMPLE_FAIL | CIF_SAF_TRUST_ICV_CSUM;

    if (mask & CIF_MOD_PMTU)
        sa->record_pmtu = cif_sa_pmtu(r);
    if (mask & CIF_MOD_UDP_PORTS) {
        sa->esp.sport = cif_sa_udp_sport(r);
        sa->esp.dport = cif_sa_udp_dport(r);
    }
    if (mask & CIF_MOD_ADDRS)
        mod_addrs(c, sa, r);
    if (mask & CIF_MOD_DSCP)
        hw_sa_header(sa, r);
    if (mask & CIF_MOD_POLICY_GROUP)
        sa->policy_group = cif_sa_policy_group(r);
    if (mask & CIF_MOD_FLAGS) {
        sa->flags = (sa->flags & ~flags) | (cif_sa_flags(r) & flags);
        sa->esp.dec_ttl = sa->flags & CIF_SAF_DEC_TTL;
    }
}

static uint16_t check_modify(struct hw_card *c, const struct hw_sa *sa, uint32_t mask,
                             const uint8_t *r, uint64_t *value)
{
    const uint32_t can = CIF_MOD_PMTU | CIF_MOD_UDP_PORTS | CIF_MOD_ADDRS | CIF_MOD_DSCP |
                         CIF_MOD_POLICY_GROUP | CIF_MOD_FLAGS;
    const struct hw_sa *other;

    *value = CIF_SA_MODIFY_MASK_OFF;
    if (mask & ~can)
        return CIF_ST_BAD_FIELD;
    *value = CIF_SA_MODIFY_SA_OFF + CIF_SA_DST_OFF;
    if (mask & CIF_MOD_ADDRS && (hw_all_zero(cif_sa_dst(r), 16) ||
                                 (sa->esp.family == 4 && (!hw_all_zero(cif_sa_dst(r) + 4, 12) ||
                                                          !hw_all_zero(cif_sa_src(r) + 4, 12)))))
        return CIF_ST_BAD_FIELD;
    *value = CIF_SA_MODIFY_SA_OFF + CIF_SA_HDR_CTL_OFF;
    if (mask & CIF_MOD_DSCP && (hw_sa_hdr_bad(c, cif_sa_hdr_ctl(r)) || cif_sa_dscp(r) > 63 ||
                                cif_sa_flow_label(r) > 0xfffff))
        return CIF_ST_BAD_FIELD;
    *value = CIF_SA_MODIFY_SA_OFF + CIF_SA_UDP_SPORT_OFF;
    if (mask & CIF_MOD_UDP_PORTS && sa->esp.udp && (!cif_sa_udp_sport(r) || !cif_sa_udp_dport(r)))
        return CIF_ST_BAD_FIELD;
    *value = 0;
    if (mask & CIF_MOD_FLAGS && cif_sa_flags(r) & CIF_SAF_DEC_TTL &&
        !(c->shape.hdr & HW_CAN_DEC_TTL))
        return CIF_ST_UNSUPPORTED;
    other = mask & CIF_MOD_ADDRS && sa->dir == CIF_DIR_IN
                ? hw_sa_lookup(&c->sa, sa->esp.family, sa->esp.spi, cif_sa_dst(r))
                : NULL;
    return other && other != sa ? CIF_ST_DUP_SA : CIF_ST_OK;
}

static void modify_one(struct hw_card *c, const uint8_t *rec, struct outcome *o)
{
    const uint8_t *r = cif_sa_modify_sa(rec);
    struct hw_sa *sa;

    o->handle = cif_sa_modify_handle(rec);
    o->status = CIF_ST_BAD_FIELD;
    o->value = CIF_SA_MODIFY_VER_OFF;
    if (cif_sa_modify_ver(rec) != 1)
        return;
    o->value = CIF_SA_MODIFY_RSVD0_OFF;
    if (cif_sa_modify_rsvd0(rec) ||
        !hw_all_zero(cif_sa_modify_rsvd1(rec), CIF_SA_MODIFY_SA_OFF - CIF_SA_MODIFY_RSVD1_OFF))
        return;
    o->value = 0;
    sa = hw_sa_by_handle(&c->sa, o->handle);
    if (!sa) {
        o->status = CIF_ST_STALE_HANDLE;
        return;
    }
    o->status = check_modify(c, sa, cif_sa_modify_mask(rec), r, &o->value);
    if (o->status == CIF_ST_OK)
        apply_modify(c, sa, cif_sa_modify_mask(rec), r);
}

/* --- the commands
 * ---------------------------------------------------------------------------------------------- */

uint16_t hw_sa_cmd_add(struct hw_card *c, struct hw_cmd *m)
{
    const struct batch b = {add_one, free_one, CIF_SA_SIZE, CIF_SA_RSVD1_OFF, true, false};

    return run_batch(c, m, &b);
}

uint16_t hw_sa_cmd_modify(struct hw_card *c, struct hw_cmd *m)
{
    const struct batch b = {modify_one, NULL, CIF_SA_MODIFY_SIZE, CIF_SA_MODIFY_SIZE, true, false};

    return run_batch(c, m, &b);
}

uint16_t hw_sa_cmd_start(struct hw_card *c, struct hw_cmd *m)
{
    const struct batch b = {start_one, NULL, CIF_SA_REF_SIZE, CIF_SA_REF_SIZE, false, false};

    return run_batch(c, m, &b);
}

uint16_t hw_sa_cmd_stop(struct hw_card *c, struct hw_cmd *m)
{
    const struct batch b = {stop_one, NULL, CIF_SA_REF_SIZE, CIF_SA_REF_SIZE, false, false};

    return run_batch(c, m, &b);
}

uint16_t hw_sa_cmd_free(struct hw_card *c, struct hw_cmd *m)
{
    const struct batch b = {free_one, NULL, CIF_SA_REF_SIZE, CIF_SA_REF_SIZE, false, true};

    return run_batch(c, m, &b);
}

uint16_t hw_sa_cmd_flush(struct hw_card *c, struct hw_cmd *m)
{
    uint32_t dir = cif_asq_arg0(m->sqe), i;

    if (dir > CIF_DIR_IN)
        return hw_bad_field(m, CIF_ASQ_ARG0_OFF);
    for (i = 0; i < c->sa.n; i++) {
        struct hw_sa *sa = &c->sa.slots[i];

        if (sa->state == CIF_SASTATE_FREE || (dir && sa->dir != dir))
            continue;
        hw_sa_release(&c->sa, sa);
        m->value++;
    }
    hw_sa_room(c, CIF_DIR_OUT, false);
    hw_sa_room(c, CIF_DIR_IN, false);
    return CIF_ST_OK;
}
