/* ESP input. The first octet chooses an SA, the second what the rest is:
 *   0  a packet from the wire: classified and opened as it is
 *   1  a decrypted text: sealed under a good header, so that the trailer and the inner packet are
 *      reached behind a good ICV, which no fuzzer finds by itself
 *   2  a packet to protect: what is made must be found by the classifier and open to the same
 *
 * Every buffer is a block of its own, so that reads and writes beyond it are seen. */
#include "hostd/esp/esp_internal.h"

#include <stdlib.h>
#include <string.h>

enum { SAS = 64, ROOM = 4096, SPI = 0x11223344, OVERHEAD = 512 };

static struct esp_sa *outs[SAS], *ins[SAS];

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool ok)
{
    if (!ok)
        abort();
}

/* Bits: 0 tunnel, 1 outer v6, 2 UDP, 3 ESN, 4 suite, 5 back end. */
static void make_pair(unsigned i)
{
    static const struct esp_keys keys = {
        .encr = {1, 2, 3}, .integ = {4, 5, 6}, .salt = {7, 8, 9, 10}, .iv_key = {11, 12}};
    enum esp_backend backend = i & 32 ? ESP_BACKEND_OPENSSL : ESP_BACKEND_BEST;
    struct esp_params p = {.dir = ESP_OUT,
                           .mode = i & 1 ? ESP_TUNNEL : ESP_TRANSPORT,
                           .encap = i & 4 ? ESP_ENCAP_UDP : ESP_ENCAP_NONE,
                           .esn = i & 8,
                           .spi = SPI,
                           .suite = esp_suite_at(i & 16 ? 2 : 0),
                           .keys = &keys,
                           .udp_sport = 4500,
                           .udp_dport = 4500};
    must(ip_parse(i & 2 ? "2001:db8::1" : "192.0.2.1", &p.src) == 0);
    must(ip_parse(i & 2 ? "2001:db8::2" : "192.0.2.2", &p.dst) == 0);
    must(esp_sa_new(&outs[i], &p, backend) == 0);
    p.dir = ESP_IN;
    must(esp_sa_new(&ins[i], &p, backend) == 0);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    for (unsigned i = 0; i < SAS; i++)
        make_pair(i);
    return 0;
}

static void *block(const void *from, size_t n)
{
    void *p = malloc(n ? n : 1);
    must(p);
    if (from && n)
        memcpy(p, from, n);
    return p;
}

/* Opens in a block of exactly the octets given into one of exactly the room asked. */
static enum esp_result open_exact(struct esp_sa *sa, const uint8_t *wire, size_t len, uint64_t seq,
                                  struct esp_pkt *pkt)
{
    uint8_t *out = block(NULL, len);
    *pkt = (struct esp_pkt){.in = wire, .in_len = len, .out = out, .out_room = len, .seq = seq};
    esp_open(sa, pkt, 1);
    must(pkt->result < ESP_RESULTS && (pkt->result == ESP_OK || pkt->out_len == 0));
    if (pkt->result == ESP_OK) {
        struct esp_look l;
        must(pkt->out_len <= len && esp_look(out, pkt->out_len, &l) && l.total == pkt->out_len);
    }
    return pkt->result;
}

static void from_wire(unsigned i, const uint8_t *data, size_t size)
{
    struct ip_info info;
    struct esp_peek peek = {0};
    struct esp_pkt pkt;
    uint8_t *wire = block(data, size);
    if (ip_parse_packet(wire, size, &info) == 0 &&
        esp_classify(wire, &info, 4500, &peek) == ESP_KIND_ESP)
        must(peek.esp_len >= 8 && peek.esp_off + peek.esp_len <= size);
    open_exact(ins[i], wire, size, peek.seq_lo ? peek.seq_lo : 1, &pkt);
    free(pkt.out);
    free(wire);
}

static size_t wire_header(unsigned i, uint8_t *wire, size_t esp_len)
{
    size_t udp = i & 4 ? 8 : 0, hdr = i & 2 ? 40 : 20;
    struct esp_look look = {.version = 4, .df = true};
    memset(wire, 0, hdr + udp);
    if (ins[i]->outer_len == hdr)
        esp_outer_write(outs[i], &look, 5, hdr + udp + esp_len, wire);
    if (udp)
        esp_udp_write(outs[i], wire + hdr, udp + esp_len);
    return hdr + udp;
}

static void from_text(unsigned i, const uint8_t *data, size_t size)
{
    struct esp_sa *sa = outs[i];
    size_t iv = sa->suite.iv_len, pad = sa->suite.pad_to, text = size / pad * pad;
    struct esp_pkt pkt;
    struct esp_op op = {.len = text, .mac_len = 8 + iv + text};
    if (!text || text > ROOM)
        return;
    uint8_t *wire = block(NULL, OVERHEAD + text);
    size_t off = wire_header(i, wire, 8 + iv + text + 16);
    put_be32(wire + off, SPI);
    put_be32(wire + off + 4, 5);
    memset(wire + off + 8, 0x42, iv);
    memcpy(op.iv, sa->salt, sa->suite.salt_len);
    memset(op.iv + sa->suite.salt_len, 0x42, iv);
    esp_write_aad(sa, 5, op.aad);
    op.hdr = wire + off;
    op.src = op.dst = wire + off + 8 + iv;
    op.icv = op.dst + text;
    memcpy(op.dst, data, text);
    sa->crypto->seal(sa->crypto, &op, 1);
    enum esp_result r = open_exact(ins[i], wire, off + 8 + iv + text + 16, 5, &pkt);
    must(esp_result_verified(r));
    free(pkt.out);
    free(wire);
}

static void to_protect(unsigned i, const uint8_t *data, size_t size)
{
    struct ip_info info;
    struct esp_peek peek;
    uint8_t *in = block(data, size), *wire = block(NULL, size + OVERHEAD);
    struct esp_pkt pkt = {.in = in,
                          .in_len = size,
                          .out = wire,
                          .out_room = size + OVERHEAD,
                          .seq = outs[i]->esn ? 0x500000005 : 5};
    esp_protect(outs[i], &pkt, 1);
    if (pkt.result == ESP_OK && ip_parse_packet(wire, pkt.out_len, &info) == 0) {
        struct esp_pkt back;
        must(esp_classify(wire, &info, 4500, &peek) == ESP_KIND_ESP && peek.spi == SPI);
        enum esp_result r = open_exact(ins[i], wire, pkt.out_len, pkt.seq, &back);
        must(esp_result_verified(r));
        if (r == ESP_OK && outs[i]->mode == ESP_TUNNEL)
            must(memcmp(back.out, in, back.out_len) == 0);
        free(back.out);
    }
    free(wire);
    free(in);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    unsigned i = data[0] % SAS;
    if (data[1] % 3 == 0)
        from_wire(i, data + 2, size - 2);
    else if (data[1] % 3 == 1)
        from_text(i, data + 2, size - 2);
    else
        to_protect(i, data + 2, size - 2);
    return 0;
}
