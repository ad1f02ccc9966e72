/* The heartbeat's known answer: a packet through parser, ESP out, ESP in, and compared. It needs no
 * SA of the host's and never leaves the card. */
#include <errno.h>

#include "hwsim/model/internal.h"

static const uint8_t kat_frame[] = {
    0x02, 0,   0,   0,   0,   2,   0x02, 0,   0,   0,   0,    1,    0x08, 0x00, /* Ethernet */
    0x45, 0,   0,   36,  0,   0,   0x40, 0,   64,  253, 0x66, 0xc5, /* IPv4, protocol 253 */
    10,   0,   0,   1,   10,  0,   0,    2,                         /* */
    's',  'a', 'l', 'l', 'y', 'p', 'o',  'r', 't', ' ', 'k',  'a',  't',  ' ',  '0', '1',
};

static int kat_half(struct hw_esp *e, bool outbound)
{
    static const uint8_t key[16] = {0xfe, 0xff, 0xe9, 0x92, 0x86, 0x65, 0x73, 0x1c,
                                    0x6d, 0x6a, 0x8f, 0x94, 0x67, 0x30, 0x83, 0x08};
    static const uint8_t ends[8] = {192, 0, 2, 1, 192, 0, 2, 2};

    e->suite = hw_suite_find(20, 0, 16);
    memcpy(e->salt, "\xca\xfe\xba\xbe", 4);
    e->spi = 0x100;
    e->outbound = outbound;
    e->tunnel = true;
    e->family = 4;
    e->pmtu = 1500;
    memcpy(e->src, ends, 4);
    memcpy(e->dst, ends + 4, 4);
    return hw_esp_key(e, key);
}

int hw_kat_init(struct hw_card *c)
{
    int err = kat_half(&c->kat_out, true);

    return err ? err : kat_half(&c->kat_in, false);
}

bool hw_kat_run(struct hw_card *c)
{
    uint8_t wire[256], back[256], plain[256];
    struct hw_build out = {.out = wire, .cap = sizeof(wire)},
                    in = {.out = back, .cap = sizeof(back)};
    struct hw_frame f;
    uint8_t next;
    size_t len;

    if (hw_esp_protect(&c->kat_out, kat_frame, sizeof(kat_frame), 0, c->hb_dp + 1u, &out) !=
        CIF_TXS_OK)
        return false;
    hw_parse_frame(wire, out.len, &f);
    if (f.proto != HW_IPPROTO_ESP ||
        hw_esp_open(&c->kat_in, hw_payload(&f), hw_payload_len(&f), 0, plain, &len) < 0 ||
        hw_esp_strip(plain, &len, &next) < 0 ||
        hw_esp_deliver(&c->kat_in, &f, next, plain, len, &in) < 0)
        return false;
    return in.len == sizeof(kat_frame) && !memcmp(back, kat_frame, in.len);
}
