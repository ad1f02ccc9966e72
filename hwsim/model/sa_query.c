/* SA_QUERY: state records, never a key. */
#include "hwsim/model/internal.h"

static void describe(const struct hw_card *c, const struct hw_sa *sa, uint8_t *r)
{
    cif_sa_state_set_state(r, sa->state);
    cif_sa_state_set_handle(r, hw_sa_handle(&c->sa, sa));
    if (sa->dir == CIF_DIR_IN && sa->esp.esn)
        cif_sa_state_set_seq(r, sa->highest);
    cif_sa_state_set_cookie(r, sa->cookie);
    cif_sa_state_set_spi(r, sa->esp.spi);
    cif_sa_state_set_dir(r, sa->dir);
    cif_sa_state_set_icv_fail(r, sa->icv_fail);
    cif_sa_state_set_replay(r, sa->replay);
    cif_sa_state_set_late(r, sa->late);
    cif_sa_state_set_malformed(r, sa->malformed);
    cif_sa_state_set_mismatch(r, sa->mismatch);
    cif_sa_state_set_refused(r, sa->refused);
    cif_sa_state_set_pmtu(r, sa->pmtu);
    cif_sa_state_set_other(r, sa->other);
}

static int write_state(struct hw_card *c, struct hw_cmd *m, const struct hw_sa *sa, uint32_t handle,
                       uint64_t cookie)
{
    uint64_t at = cif_asq_result(m->sqe) + (uint64_t)m->done * cif_asq_rec_size(m->sqe);
    uint8_t r[CIF_SA_STATE_SIZE] = {0};

    cif_sa_state_set_size(r, sizeof(r));
    cif_sa_state_set_ver(r, 1);
    cif_sa_state_set_epoch(r, c->epoch);
    cif_sa_state_set_handle(r, handle);
    cif_sa_state_set_cookie(r, cookie);
    if (sa)
        describe(c, sa, r);
    if (hw_dma_write(c, at, r, sizeof(r)) < 0)
        return -1;
    m->done++;
    return 0;
}

static uint16_t query_refs(struct hw_card *c, struct hw_cmd *m, bool by_cookie)
{
    uint32_t n = cif_asq_count(m->sqe), i;
    uint8_t ref[CIF_SA_REF_SIZE];

    if (cif_asq_data_len(m->sqe) < n * sizeof(ref))
        return CIF_ST_BAD_SIZE;
    for (i = 0; i < n; i++) {
        uint32_t handle;
        uint64_t cookie;
        const struct hw_sa *sa;

        if (hw_dma_read(c, cif_asq_data(m->sqe) + i * sizeof(ref), ref, sizeof(ref)) < 0)
            return CIF_ST_DMA_FAULT;
        handle = by_cookie ? CIF_HANDLE_NONE : cif_sa_ref_handle(ref);
        cookie = cif_sa_ref_cookie(ref);
        sa = by_cookie ? hw_sa_by_cookie(&c->sa, cookie) : hw_sa_by_handle(&c->sa, handle);
        if (write_state(c, m, sa, handle, cookie) < 0)
            return CIF_ST_DMA_FAULT;
    }
    return CIF_ST_OK;
}

static uint16_t query_all(struct hw_card *c, struct hw_cmd *m)
{
    uint64_t i = cif_asq_arg1(m->sqe);
    uint32_t n = cif_asq_count(m->sqe);

    for (; i < c->sa.n && m->done < n; i++) {
        const struct hw_sa *sa = &c->sa.slots[i];

        if (sa->state != CIF_SASTATE_FREE && write_state(c, m, sa, 0, 0) < 0)
            return CIF_ST_DMA_FAULT;
    }
    while (i < c->sa.n && c->sa.slots[i].state == CIF_SASTATE_FREE)
        i++;
    m->value = i < c->sa.n ? i : UINT64_MAX;
    return CIF_ST_OK;
}

uint16_t hw_sa_cmd_query(struct hw_card *c, struct hw_cmd *m)
{
    uint32_t how = cif_asq_arg0(m->sqe), n = cif_asq_count(m->sqe);
    uint32_t distance = cif_asq_rec_size(m->sqe);

    if (how > CIF_QUERY_ALL)
        return hw_bad_field(m, CIF_ASQ_ARG0_OFF);
    if (n == 0 || n > c->shape.batch_max)
        return hw_bad_field(m, CIF_ASQ_COUNT_OFF);
    if (distance < CIF_SA_STATE_SIZE || cif_asq_result_len(m->sqe) < n * distance)
        return CIF_ST_BAD_SIZE;
    return how == CIF_QUERY_ALL ? query_all(c, m) : query_refs(c, m, how == CIF_QUERY_COOKIE);
}
