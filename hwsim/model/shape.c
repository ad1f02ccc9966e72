#include <errno.h>
#include <libfdt.h>
#include <string.h>

#include "firmware-if/card_if.h"
#include "hwsim/model/esp.h"
#include "hwsim/model/hw_card.h"
#include "hwsim/model/shape.h"

static uint32_t cell(const void *p)
{
    uint8_t b[4];

    memcpy(b, p, sizeof(b));
    return hw_get32(b);
}

static uint32_t u32_of(const void *fdt, int node, const char *name, uint32_t absent)
{
    int len;
    const void *p = node >= 0 ? fdt_getprop(fdt, node, name, &len) : NULL;

    return p && len == 4 ? cell(p) : absent;
}

/* Up to max cells; returns how many. */
static unsigned cells_of(const void *fdt, int node, const char *name, uint32_t *out, unsigned max)
{
    int len;
    const char *p = node >= 0 ? fdt_getprop(fdt, node, name, &len) : NULL;
    unsigned n, i;

    if (!p || len <= 0 || len % 4)
        return 0;
    n = (unsigned)len / 4;
    for (i = 0; i < n && i < max; i++)
        out[i] = cell(p + (size_t)i * 4);
    return n < max ? n : max;
}

static bool has(const void *fdt, int node, const char *name)
{
    return node >= 0 && fdt_getprop(fdt, node, name, NULL);
}

static bool lists(const void *fdt, int node, const char *name, const char *word)
{
    return node >= 0 && fdt_stringlist_search(fdt, node, name, word) >= 0;
}

static const struct {
    const char *word;
    unsigned bit;
} hdr_words[] = {
    {"dscp-copy", HW_CAN_DSCP_COPY}, {"dscp-set", HW_CAN_DSCP_SET},     {"df", HW_CAN_DF},
    {"ecn-6040", HW_CAN_ECN_6040},   {"flow-label", HW_CAN_FLOW_LABEL}, {"dec-ttl", HW_CAN_DEC_TTL},
};

static void read_queues(const void *fdt, struct hw_shape *s)
{
    int admin = fdt_path_offset(fdt, "/admin"), q = fdt_path_offset(fdt, "/queues");
    uint32_t two[2];

    s->admin_depth = u32_of(fdt, admin, "depth-max", 16);
    s->batch_max = u32_of(fdt, admin, "batch-max", 1);
    s->atomic = has(fdt, admin, "atomic-batch");
    s->tx_max = u32_of(fdt, q, "tx-max", 0);
    s->rx_max = u32_of(fdt, q, "rx-max", 0);
    s->ring_depth = u32_of(fdt, q, "depth-max", 64);
    s->rx_max_bufs = u32_of(fdt, q, "rx-max-bufs", 1);
    s->tx_max_bufs = u32_of(fdt, q, "tx-max-bufs", 1);
    s->vectors = u32_of(fdt, q, "vectors", 0);
    s->doorbell_wake = has(fdt, q, "doorbell-wake");
    s->buf_min = s->buf_max = 2048;
    if (cells_of(fdt, q, "buf-len", two, 2) == 2) {
        s->buf_min = two[0];
        s->buf_max = two[1];
    }
    if (cells_of(fdt, q, "moderation-us", two, 2) == 2)
        s->mod_us_max = two[1];
}

static void read_families(const void *fdt, int sa, struct hw_shape *s)
{
    static const char *const pairs[2][2] = {{"4-4", "4-6"}, {"6-4", "6-6"}};
    unsigned i, o;

    for (i = 0; i < 2; i++)
        for (o = 0; o < 2; o++)
            s->family_pair[i][o] = lists(fdt, sa, "families", pairs[i][o]);
    if (!has(fdt, sa, "families"))
        s->family_pair[0][0] = true;
}

static int read_suite(const void *fdt, int node, struct hw_shape *s, const char **err)
{
    struct hw_shape_suite *u = &s->suites[s->n_suites];
    uint32_t id[2] = {0}, key[2] = {0};

    if (cells_of(fdt, node, "id", id, 2) < 2 || cells_of(fdt, node, "key", key, 2) < 1)
        return 0; /* the contract: suite ignored */
    if (s->n_suites == HW_SUITES_MAX || !hw_suite_find(id[0], id[1], key[0])) {
        *err = "/sa/suites claims a suite that this model does not have";
        return -EINVAL;
    }
    u->encr_id = (uint16_t)id[0];
    u->integ_id = (uint16_t)id[1];
    u->key_len = (uint8_t)key[0];
    u->integ_len = (uint8_t)key[1];
    u->salt_len = (uint8_t)u32_of(fdt, node, "salt", 0);
    u->icv_len = (uint8_t)u32_of(fdt, node, "icv", 0);
    u->in = lists(fdt, node, "dir", "in");
    u->out = lists(fdt, node, "dir", "out");
    u->transport = lists(fdt, node, "mode", "transport");
    u->tunnel = lists(fdt, node, "mode", "tunnel");
    s->n_suites++;
    return 0;
}

static int read_sa(const void *fdt, struct hw_shape *s, const char **err)
{
    int sa = fdt_path_offset(fdt, "/sa"), suites = fdt_path_offset(fdt, "/sa/suites"), node;
    uint32_t range[2] = {0x100, 0xffffffff};
    unsigned i;
    int bad = 0;

    s->out_max = u32_of(fdt, sa, "out-max", 0);
    s->in_max = u32_of(fdt, sa, "in-max", 0);
    s->shared_pool = has(fdt, sa, "shared-pool");
    s->lookup_dst = lists(fdt, sa, "lookup", "spi-dst");
    cells_of(fdt, sa, "spi-range", range, 2);
    s->spi_lo = range[0];
    s->spi_hi = range[1];
    s->spi_index_bits = u32_of(fdt, sa, "spi-index-bits", 0);
    s->seq_guard = has(fdt, sa, "seq-guard");
    s->esn = has(fdt, sa, "esn");
    s->n_windows = cells_of(fdt, sa, "replay-windows", s->windows, 8);
    s->natt4 = lists(fdt, sa, "natt", "ipv4");
    s->natt6 = lists(fdt, sa, "natt", "ipv6");
    for (i = 0; i < sizeof(hdr_words) / sizeof(hdr_words[0]); i++)
        if (lists(fdt, sa, "hdr", hdr_words[i].word))
            s->hdr |= hdr_words[i].bit;
    read_families(fdt, sa, s);
    if (suites < 0)
        return 0;
    for (node = fdt_first_subnode(fdt, suites); node >= 0 && !bad;
         node = fdt_next_subnode(fdt, node))
        bad = read_suite(fdt, node, s, err);
    return bad;
}

static void read_port(const void *fdt, int node, struct hw_shape *s)
{
    uint32_t reg = u32_of(fdt, node, "reg", UINT32_MAX);
    int len;
    const void *mac = fdt_getprop(fdt, node, "mac", &len);
    struct hw_shape_port *p;

    if (reg >= HW_PORTS_MAX || !mac || len != 6)
        return;
    p = &s->ports[reg];
    p->present = true;
    p->mtu_max = u32_of(fdt, node, "mtu-max", 1500);
    cells_of(fdt, node, "speeds", &p->mbps, 1);
    memcpy(p->mac, mac, 6);
    if (reg >= s->n_ports)
        s->n_ports = reg + 1;
}

static void read_ports(const void *fdt, struct hw_shape *s)
{
    int ports = fdt_path_offset(fdt, "/ports"), node;

    if (ports < 0)
        return;
    for (node = fdt_first_subnode(fdt, ports); node >= 0; node = fdt_next_subnode(fdt, node))
        read_port(fdt, node, s);
}

/* What the model needs to be able to keep its promises. */
static const char *impossible(const struct hw_shape *s)
{
    unsigned i;

    if (!s->n_ports)
        return "/ports has no port with reg and a mac of 6 octets";
    for (i = 0; i < s->n_ports; i++)
        if (s->ports[i].present && (s->ports[i].mtu_max < 576 || s->ports[i].mtu_max > 9600))
            return "/ports: mtu-max is not from 576 to 9600";
    if (s->tx_max + s->rx_max == 0 || s->tx_max > 256 || s->rx_max > 256)
        return "/queues: tx-max and rx-max together from 1 to 512";
    if (s->vectors > 256 || s->admin_depth < CIF_ADMIN_DEPTH_MIN || s->admin_depth > 4096)
        return "/queues/vectors up to 256, /admin/depth-max from 16 to 4096";
    if (s->ring_depth < CIF_RING_DEPTH_MIN || s->ring_depth > CIF_RING_DEPTH_MAX)
        return "/queues/depth-max is not from 64 to 32768";
    if (s->rx_max_bufs < 1 || s->rx_max_bufs > 64 || s->tx_max_bufs < 1 || s->tx_max_bufs > 64)
        return "/queues: rx-max-bufs and tx-max-bufs from 1 to 64";
    if (s->out_max > 1u << 20 || s->in_max > 1u << 20 || s->spi_index_bits)
        return "/sa: up to 1048576 SAs, no spi-index-bits";
    for (i = 0; i < s->n_windows; i++)
        if (s->windows[i] < 32 || s->windows[i] > 4096 || s->windows[i] & (s->windows[i] - 1))
            return "/sa/replay-windows: powers of two from 32 to 4096";
    if (!s->batch_max || !s->heartbeat_ms || s->heartbeat_ms > 20)
        return "/admin/batch-max at least 1, /health/heartbeat-ms from 1 to 20";
    return NULL;
}

int hw_shape_read(const void *fdt, size_t len, struct hw_shape *s, const char **err)
{
    memset(s, 0, sizeof(*s));
    *err = "not a well-formed flattened device tree of at most 64 KiB";
    if (len < sizeof(struct fdt_header) || len > CIF_BAR0_FDT_MAX || fdt_check_header(fdt) ||
        fdt_totalsize(fdt) != len || fdt_check_full(fdt, len))
        return -EINVAL;
    read_queues(fdt, s);
    if (read_sa(fdt, s, err) < 0)
        return -EINVAL;
    read_ports(fdt, s);
    s->time = has(fdt, fdt_path_offset(fdt, "/time"), "resolution-ns");
    s->heartbeat_ms = u32_of(fdt, fdt_path_offset(fdt, "/health"), "heartbeat-ms", 20);
    *err = impossible(s);
    return *err ? -EINVAL : 0;
}
