/* An SA record in host memory: every field is checked before any is believed. */
#include "hwsim/model/internal.h"

/* A check: the status when it fails; for BAD_FIELD the offset names the field. Run in order. */
typedef uint16_t sa_check(const struct hw_card *c, const uint8_t *r);

static bool between(uint32_t v, uint32_t lo, uint32_t hi)
{
    return v >= lo && v <= hi;
}

static uint16_t bad_if(bool bad)
{
    return bad ? CIF_ST_BAD_FIELD : CIF_ST_OK;
}

static bool outbound(const uint8_t *r)
{
    return cif_sa_dir(r) == CIF_DIR_OUT;
}

static uint16_t check_size(const struct hw_card *c, const uint8_t *r)
{
    return bad_if(cif_sa_size(r) < CIF_SA_RSVD0_OFF || cif_sa_ver(r) != 1);
}

static uint16_t check_dir(const struct hw_card *c, const uint8_t *r)
{
    return bad_if(!between(cif_sa_dir(r), CIF_DIR_OUT, CIF_DIR_IN));
}

static uint16_t check_proto(const struct hw_card *c, const uint8_t *r)
{
    if (cif_sa_proto(r) == 51)
        return CIF_ST_UNSUPPORTED;
    return bad_if(cif_sa_proto(r) != 50);
}

static uint16_t check_mode(const struct hw_card *c, const uint8_t *r)
{
    return bad_if(!between(cif_sa_mode(r), CIF_MODE_TRANSPORT, CIF_MODE_TUNNEL));
}

static uint16_t check_family(const struct hw_card *c, const uint8_t *r)
{
    unsigned f = cif_sa_family(r), o = f == 6;

    if (f != 4 && f != 6)
        return CIF_ST_BAD_FIELD;
    if (cif_sa_mode(r) == CIF_MODE_TRANSPORT)
        return c->shape.family_pair[o][o] ? CIF_ST_OK : CIF_ST_UNSUPPORTED;
    return c->shape.family_pair[0][o] || c->shape.family_pair[1][o] ? CIF_ST_OK
                                                                    : CIF_ST_UNSUPPORTED;
}

static uint16_t check_encap(const struct hw_card *c, const uint8_t *r)
{
    unsigned e = cif_sa_encap(r);

    if (e > CIF_ENCAP_EITHER || (e == CIF_ENCAP_EITHER && outbound(r)))
        return CIF_ST_BAD_FIELD;
    if (e == CIF_ENCAP_NONE || (cif_sa_family(r) == 4 ? c->shape.natt4 : c->shape.natt6))
        return CIF_ST_OK;
    return CIF_ST_UNSUPPORTED;
}

static uint16_t check_spi(const struct hw_card *c, const uint8_t *r)
{
    uint32_t spi = cif_sa_spi(r);

    if (spi < 256)
        return CIF_ST_BAD_SPI;
    return outbound(r) || between(spi, c->shape.spi_lo, c->shape.spi_hi) ? CIF_ST_OK
                                                                         : CIF_ST_BAD_SPI;
}

static const struct hw_shape_suite *shape_suite(const struct hw_card *c, const uint8_t *r)
{
    unsigned i;

    for (i = 0; i < c->shape.n_suites; i++) {
        const struct hw_shape_suite *s = &c->shape.suites[i];

        if (s->encr_id == cif_sa_encr_id(r) && s->integ_id == cif_sa_integ_id(r) &&
            s->key_len == cif_sa_encr_len(r))
            return s;
    }
    return NULL;
}

static uint16_t check_suite(const struct hw_card *c, const uint8_t *r)
{
    const struct hw_shape_suite *s = shape_suite(c, r);
    bool tunnel = cif_sa_mode(r) == CIF_MODE_TUNNEL;
    unsigned i;

    for (i = 0; !s && i < c->shape.n_suites; i++) /* the suite is there, with other keys only */
        if (c->shape.suites[i].encr_id == cif_sa_encr_id(r) &&
            c->shape.suites[i].integ_id == cif_sa_integ_id(r))
            return cif_sa_encr_len(r) == 16 || cif_sa_encr_len(r) == 24 || cif_sa_encr_len(r) == 32
                       ? CIF_ST_BAD_ALG
                       : CIF_ST_BAD_KEY_LEN;
    if (!s || !(outbound(r) ? s->out : s->in) || !(tunnel ? s->tunnel : s->transport))
        return CIF_ST_BAD_ALG;
    return s->integ_len == cif_sa_integ_len(r) && s->salt_len == cif_sa_salt_len(r) &&
                   s->icv_len == cif_sa_icv_len(r)
               ? CIF_ST_OK
               : CIF_ST_BAD_KEY_LEN;
}

static uint16_t check_flags(const struct hw_card *c, const uint8_t *r)
{
    const uint32_t known = CIF_SAF_SEQ_CARD | CIF_SAF_ESN | CIF_SAF_REPLAY_CARD |
                           CIF_SAF_STATE_IMPORT | CIF_SAF_START_STOPPED | CIF_SAF_INNER_CSUM |
                           CIF_SAF_COUNT_BYTES_INNER | CIF_SAF_DEC_TTL | CIF_SAF_TFC_OUT |
                           CIF_SAF_SAMPLE_FAIL | CIF_SAF_WRAPPED | CIF_SAF_TRUST_ICV_CSUM;
    uint32_t can = CIF_SAF_START_STOPPED | CIF_SAF_SAMPLE_FAIL | CIF_SAF_TRUST_ICV_CSUM;

    can |= c->shape.esn ? CIF_SAF_ESN : 0;
    can |= c->shape.n_windows ? CIF_SAF_REPLAY_CARD : 0;
    can |= c->shape.hdr & HW_CAN_DEC_TTL ? CIF_SAF_DEC_TTL : 0;
    if (cif_sa_flags(r) & ~known)
        return CIF_ST_BAD_FIELD;
    return cif_sa_flags(r) & ~can ? CIF_ST_UNSUPPORTED : CIF_ST_OK;
}

static uint16_t check_window(const struct hw_card *c, const uint8_t *r)
{
    unsigned i;

    if (!(cif_sa_flags(r) & CIF_SAF_REPLAY_CARD) || outbound(r))
        return bad_if(cif_sa_replay_win(r) != 0);
    for (i = 0; i < c->shape.n_windows; i++)
        if (c->shape.windows[i] == cif_sa_replay_win(r))
            return CIF_ST_OK;
    return CIF_ST_BAD_WINDOW;
}

static uint16_t check_dscp(const struct hw_card *c, const uint8_t *r)
{
    return bad_if(cif_sa_dscp(r) > 63);
}

/* Which bits of hdr_ctl cannot be: 1 = nonsense, 2 = not offered. */
unsigned hw_sa_hdr_bad(const struct hw_card *c, unsigned hdr)
{
    const struct {
        unsigned mask, value, need;
    } rows[] = {
        {CIF_HDR_DSCP_MASK, CIF_HDR_DSCP_SET, HW_CAN_DSCP_SET},
        {CIF_HDR_DF_MASK, CIF_HDR_DF_SET, HW_CAN_DF},
        {CIF_HDR_DF_MASK, CIF_HDR_DF_CLEAR, HW_CAN_DF},
        {CIF_HDR_ECN_MASK, CIF_HDR_ECN_COMPAT, HW_CAN_ECN_6040},
        {CIF_HDR_ECN_MASK, CIF_HDR_ECN_DROP, HW_CAN_ECN_6040},
        {CIF_HDR_FLOW_MASK, CIF_HDR_FLOW_SET, HW_CAN_FLOW_LABEL},
        {CIF_HDR_FLOW_MASK, CIF_HDR_FLOW_HASH, HW_CAN_FLOW_LABEL},
    };
    const unsigned all[] = {CIF_HDR_DSCP_MASK, CIF_HDR_DF_MASK, CIF_HDR_ECN_MASK,
                            CIF_HDR_FLOW_MASK};
    size_t i;

    for (i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        if ((hdr & all[i]) == all[i])
            return 1;
    if ((hdr & CIF_HDR_DSCP_MASK) == 2) /* a table of DSCP values is not built */
        return 2;
    for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if ((hdr & rows[i].mask) == rows[i].value && !(c->shape.hdr & rows[i].need))
            return 2;
    return 0;
}

static uint16_t check_hdr(const struct hw_card *c, const uint8_t *r)
{
    unsigned bad = hw_sa_hdr_bad(c, cif_sa_hdr_ctl(r));

    if (bad)
        return bad == 1 ? CIF_ST_BAD_FIELD : CIF_ST_UNSUPPORTED;
    return CIF_ST_OK;
}

static uint16_t check_pad(const struct hw_card *c, const uint8_t *r)
{
    unsigned a = cif_sa_pad_align(r);

    return bad_if(a && (a < 4 || a & (a - 1)));
}

static uint16_t check_flow(const struct hw_card *c, const uint8_t *r)
{
    return bad_if(cif_sa_flow_label(r) > 0xfffff);
}

static uint16_t check_udp(const struct hw_card *c, const uint8_t *r)
{
    bool udp = cif_sa_encap(r) != CIF_ENCAP_NONE;

    if (!udp)
        return bad_if(cif_sa_udp_sport(r) || cif_sa_udp_dport(r));
    return bad_if(outbound(r) && (!cif_sa_udp_sport(r) || !cif_sa_udp_dport(r)));
}

static uint16_t check_vlan(const struct hw_card *c, const uint8_t *r)
{
    return cif_sa_vlan_match(r) ? CIF_ST_UNSUPPORTED : CIF_ST_OK;
}

static uint16_t check_owner(const struct hw_card *c, const uint8_t *r)
{
    return cif_sa_owner(r) ? CIF_ST_NOT_OWNER : CIF_ST_OK;
}

static uint16_t check_cookie(const struct hw_card *c, const uint8_t *r)
{
    return bad_if(cif_sa_cookie(r) == 0);
}

static uint16_t check_src(const struct hw_card *c, const uint8_t *r)
{
    return bad_if(cif_sa_family(r) == 4 && !hw_all_zero(cif_sa_src(r) + 4, 12));
}

static uint16_t check_dst(const struct hw_card *c, const uint8_t *r)
{
    return bad_if(hw_all_zero(cif_sa_dst(r), 16) ||
                  (cif_sa_family(r) == 4 && !hw_all_zero(cif_sa_dst(r) + 4, 12)));
}

static uint16_t check_rsvd0(const struct hw_card *c, const uint8_t *r)
{
    return bad_if(cif_sa_rsvd0(r) != 0);
}

static uint16_t check_slot(const struct hw_card *c, const uint8_t *r)
{
    return cif_sa_key_slot(r) ? CIF_ST_KEY_SLOT : CIF_ST_OK;
}

static uint16_t check_encr_tail(const struct hw_card *c, const uint8_t *r)
{
    size_t n = cif_sa_encr_len(r);

    return bad_if(n > CIF_SA_ENCR_KEY_LEN ||
                  !hw_all_zero(cif_sa_encr_key(r) + n, CIF_SA_ENCR_KEY_LEN - n));
}

static uint16_t check_integ_tail(const struct hw_card *c, const uint8_t *r)
{
    size_t n = cif_sa_integ_len(r);

    return bad_if(n > CIF_SA_INTEG_KEY_LEN ||
                  !hw_all_zero(cif_sa_integ_key(r) + n, CIF_SA_INTEG_KEY_LEN - n));
}

static uint16_t check_iv_key(const struct hw_card *c, const uint8_t *r)
{
    return bad_if(!hw_all_zero(cif_sa_iv_key(r), CIF_SA_IV_KEY_LEN));
}

static uint16_t check_rsvd1(const struct hw_card *c, const uint8_t *r)
{
    return bad_if(!hw_all_zero(cif_sa_rsvd1(r), CIF_SA_SIZE - CIF_SA_RSVD1_OFF));
}

static const struct {
    uint32_t offset; /* of the field that BAD_FIELD names */
    sa_check *check;
} checks[] = {
    {CIF_SA_SIZE_OFF, check_size},
    {CIF_SA_DIR_OFF, check_dir},
    {CIF_SA_PROTO_OFF, check_proto},
    {CIF_SA_MODE_OFF, check_mode},
    {CIF_SA_FAMILY_OFF, check_family},
    {CIF_SA_ENCAP_OFF, check_encap},
    {CIF_SA_SPI_OFF, check_spi},
    {CIF_SA_ENCR_ID_OFF, check_suite},
    {CIF_SA_FLAGS_OFF, check_flags},
    {CIF_SA_REPLAY_WIN_OFF, check_window},
    {CIF_SA_DSCP_OFF, check_dscp},
    {CIF_SA_HDR_CTL_OFF, check_hdr},
    {CIF_SA_PAD_ALIGN_OFF, check_pad},
    {CIF_SA_FLOW_LABEL_OFF, check_flow},
    {CIF_SA_UDP_SPORT_OFF, check_udp},
    {CIF_SA_VLAN_MATCH_OFF, check_vlan},
    {CIF_SA_OWNER_OFF, check_owner},
    {CIF_SA_COOKIE_OFF, check_cookie},
    {CIF_SA_SRC_OFF, check_src},
    {CIF_SA_DST_OFF, check_dst},
    {CIF_SA_RSVD0_OFF, check_rsvd0},
    {CIF_SA_KEY_SLOT_OFF, check_slot},
    {CIF_SA_ENCR_KEY_OFF, check_encr_tail},
    {CIF_SA_INTEG_KEY_OFF, check_integ_tail},
    {CIF_SA_IV_KEY_OFF, check_iv_key},
    {CIF_SA_RSVD1_OFF, check_rsvd1},
};

uint16_t hw_sa_check(const struct hw_card *c, const uint8_t *rec, uint32_t *offset)
{
    size_t i;

    for (i = 0; i < sizeof(checks) / sizeof(checks[0]); i++) {
        uint16_t st = checks[i].check(c, rec);

        if (st != CIF_ST_OK) {
            *offset = checks[i].offset;
            return st;
        }
    }
    return CIF_ST_OK;
}

void hw_sa_header(struct hw_sa *sa, const uint8_t *r)
{
    unsigned h = cif_sa_hdr_ctl(r);

    sa->esp.ttl = cif_sa_ttl(r);
    sa->esp.dscp = cif_sa_dscp(r);
    sa->esp.flow_label = cif_sa_flow_label(r);
    sa->esp.dscp_mode = h & 3;
    sa->esp.df_mode = h >> 2 & 3;
    sa->esp.ecn_mode = h >> 4 & 3;
    sa->esp.flow_mode = h >> 6 & 3;
}

void hw_sa_fill(struct hw_sa *sa, const uint8_t *r)
{
    struct hw_esp *e = &sa->esp;

    sa->dir = cif_sa_dir(r);
    sa->encap = cif_sa_encap(r);
    sa->flags = cif_sa_flags(r);
    sa->policy_group = cif_sa_policy_group(r);
    sa->cookie = cif_sa_cookie(r);
    sa->port_mask = cif_sa_port_mask(r);
    sa->record_pmtu = cif_sa_pmtu(r);
    sa->highest = sa->dir == CIF_DIR_IN ? cif_sa_seq(r) : 0;
    e->suite = hw_suite_find(cif_sa_encr_id(r), cif_sa_integ_id(r), cif_sa_encr_len(r));
    memcpy(e->salt, cif_sa_salt(r), sizeof(e->salt));
    e->iv_xor = cif_sa_iv_xor(r);
    e->spi = cif_sa_spi(r);
    e->outbound = outbound(r);
    e->esn = sa->flags & CIF_SAF_ESN;
    e->tunnel = cif_sa_mode(r) == CIF_MODE_TUNNEL;
    e->udp = outbound(r) && sa->encap == CIF_ENCAP_UDP;
    e->dec_ttl = sa->flags & CIF_SAF_DEC_TTL;
    e->family = cif_sa_family(r);
    e->pad_align = cif_sa_pad_align(r);
    e->sport = cif_sa_udp_sport(r);
    e->dport = cif_sa_udp_dport(r);
    memcpy(e->src, cif_sa_src(r), 16);
    memcpy(e->dst, cif_sa_dst(r), 16);
    hw_sa_header(sa, r);
}
