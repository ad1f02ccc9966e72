#include "hostd/esp/esp_internal.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

static bool addresses_fit(const struct esp_params *p)
{
    if (p->src.family != p->dst.family)
        return false;
    if (p->src.family == 4 || p->src.family == 6)
        return true;
    return p->src.family == 0 && (p->dir == ESP_IN || p->mode == ESP_TRANSPORT);
}

static bool encap_fits(const struct esp_params *p)
{
    if (p->encap == ESP_ENCAP_NONE)
        return true;
    if (p->encap == ESP_ENCAP_EITHER)
        return p->dir == ESP_IN;
    return p->encap == ESP_ENCAP_UDP && (p->dir == ESP_IN || (p->udp_sport && p->udp_dport));
}

static bool rules_fit(const struct esp_header_rules *r)
{
    return (unsigned)r->dscp <= ESP_CLEAR && (unsigned)r->df <= ESP_CLEAR &&
           (unsigned)r->flow_label <= ESP_CLEAR && r->dscp_value < 64 && r->flow_value <= 0xfffff;
}

static bool params_fit(const struct esp_params *p)
{
    return (p->dir == ESP_OUT || p->dir == ESP_IN) &&
           (p->mode == ESP_TRANSPORT || p->mode == ESP_TUNNEL) && p->spi && p->suite && p->keys &&
           addresses_fit(p) && encap_fits(p) && rules_fit(&p->rules);
}

int esp_sa_new(struct esp_sa **out, const struct esp_params *p, enum esp_backend backend)
{
    if (!params_fit(p))
        return -EINVAL;
    struct esp_sa *sa = calloc(1, sizeof *sa);
    if (!sa)
        return -ENOMEM;
    sa->suite = *p->suite;
    sa->iv_xor = p->iv_xor;
    sa->spi = p->spi;
    sa->dir = (uint8_t)p->dir;
    sa->mode = (uint8_t)p->mode;
    sa->encap = (uint8_t)p->encap;
    sa->esn = p->esn;
    memcpy(sa->salt, p->keys->salt, sizeof sa->salt);
    sa->rules = p->rules;
    esp_sa_move(sa, &p->src, &p->dst, p->udp_sport, p->udp_dport);
    int rc = esp_crypto_new(&sa->crypto, backend, p->suite, p->keys, p->dir, p->esn);
    if (rc) {
        esp_sa_free(sa);
        return rc;
    }
    *out = sa;
    return 0;
}

void esp_sa_free(struct esp_sa *sa)
{
    if (!sa)
        return;
    if (sa->crypto)
        sa->crypto->free(sa->crypto);
    OPENSSL_cleanse(sa, sizeof *sa);
    free(sa);
}

const char *esp_sa_backend(const struct esp_sa *sa)
{
    return sa->crypto->name;
}

void esp_sa_move(struct esp_sa *sa, const struct ip_addr *src, const struct ip_addr *dst,
                 uint16_t udp_sport, uint16_t udp_dport)
{
    sa->src = *src;
    sa->dst = *dst;
    sa->udp_sport = udp_sport;
    sa->udp_dport = udp_dport;
    esp_outer_template(sa);
}

/* What every packet carries beside the payload, its padding and the trailer's two octets. */
static size_t fixed_len(const struct esp_sa *sa, size_t ip_hdr_len)
{
    size_t hdr = sa->mode == ESP_TUNNEL ? sa->outer_len : ip_hdr_len;
    size_t udp = sa->encap == ESP_ENCAP_UDP ? UDP_HDR : 0;
    return hdr + udp + ESP_HDR + sa->suite.iv_len + sa->suite.icv_len;
}

size_t esp_outer_len(const struct esp_sa *sa, size_t inner_len, size_t ip_hdr_len)
{
    size_t own = sa->mode == ESP_TUNNEL ? 0 : ip_hdr_len;
    size_t payload = inner_len > own ? inner_len - own : 0;
    return fixed_len(sa, ip_hdr_len) + payload + esp_pad_len(&sa->suite, payload) + 2;
}

size_t esp_max_inner(const struct esp_sa *sa, size_t outer_max, size_t ip_hdr_len)
{
    size_t fixed = fixed_len(sa, ip_hdr_len);
    size_t room = outer_max > fixed ? (outer_max - fixed) & ~(size_t)(sa->suite.pad_to - 1u) : 0;
    if (room <= 2)
        return 0;
    return room - 2 + (sa->mode == ESP_TUNNEL ? 0 : ip_hdr_len);
}
