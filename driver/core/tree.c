/* The capability tree, read as hostile input into a plain struct (contract section 5). Wrong length
 * or form = absent, and absent is always the poorer value, which is what the struct holds before.
 */
#include <errno.h>
#include <libfdt.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "driver/core/card_internal.h"

#define DEPTH_MAX 6
#define NODES_MAX 2048

struct tree {
    const void *fdt;
    struct card_caps *caps;
    char *why;
};

/* --- plain properties as rows
 * --------------------------------------------------------------------- */

enum kind { U32, FLAG, TEXT };
struct row {
    const char *node, *name;
    enum kind kind;
    size_t off, size;
};
#define F(field) offsetof(struct card_caps, field), sizeof(((struct card_caps *)0)->field)
static const struct row rows[] = {
    {"/", "model", TEXT, F(model)},
    {"/", "serial", TEXT, F(serial)},
    {"/firmware", "version", TEXT, F(firmware)},
    {"/admin", "depth-max", U32, F(admin_depth)},
    {"/admin", "batch-max", U32, F(batch_max)},
    {"/admin", "atomic-batch", FLAG, F(atomic_batch)},
    {"/queues", "tx-max", U32, F(tx_max)},
    {"/queues", "rx-max", U32, F(rx_max)},
    {"/queues", "depth-max", U32, F(depth_max)},
    {"/queues", "rx-max-bufs", U32, F(rx_max_bufs)},
    {"/queues", "vectors", U32, F(vectors)},
    {"/queues", "completion-us", U32, F(completion_us)},
    {"/queues", "addr-align", U32, F(addr_align)},
    {"/queues", "doorbell-wake", FLAG, F(doorbell_wake)},
    {"/sa", "out-max", U32, F(sa_out_max)},
    {"/sa", "in-max", U32, F(sa_in_max)},
    {"/sa", "shared-pool", FLAG, F(sa_shared_pool)},
    {"/sa", "spi-index-bits", U32, F(spi_index_bits)},
    {"/sa", "seq-guard", FLAG, F(seq_guard)},
    {"/sa", "esn", FLAG, F(esn)},
    {"/health", "heartbeat-ms", U32, F(heartbeat_ms)},
    {"/health", "engines", U32, F(engines)},
};

/* A string in a list sets a flag. */
struct word {
    const char *node, *name, *word;
    size_t off;
};
#define O(field) offsetof(struct card_caps, field)
static const struct word words[] = {
    {"/", "profile", "guard", O(guard)},
    {"/sa", "lookup", "spi-dst", O(lookup_dst)},
    {"/sa", "natt", "ipv4", O(natt_v4)},
    {"/sa", "natt", "ipv6", O(natt_v6)},
    {"/sa", "families", "4-4", O(in4_out4)},
    {"/sa", "families", "4-6", O(in4_out6)},
    {"/sa", "families", "6-4", O(in6_out4)},
    {"/sa", "families", "6-6", O(in6_out6)},
    {"/sa", "hdr", "dscp-copy", O(dscp_copy)},
    {"/sa", "hdr", "dscp-set", O(dscp_set)},
    {"/sa", "hdr", "df", O(df)},
    {"/sa", "hdr", "ecn-6040", O(ecn_6040)},
    {"/sa", "hdr", "flow-label", O(flow_label)},
    {"/sa", "hdr", "dec-ttl", O(dec_ttl)},
    {"/offload", "tx", "ipcsum", O(tx_ipcsum)},
    {"/offload", "tx", "l4csum", O(tx_l4csum)},
    {"/offload", "rx", "ipcsum", O(rx_ipcsum)},
    {"/offload", "rx", "l4csum", O(rx_l4csum)},
    {"/offload", "rx", "rss", O(rx_rss)},
};

__attribute__((format(printf, 3, 4))) static int refuse(struct tree *t, int err, const char *fmt,
                                                        ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(t->why, CARD_REASON_MAX, fmt, ap);
    va_end(ap);
    return err;
}

/* A property's octets, or NULL. */
static const uint8_t *prop(struct tree *t, int node, const char *name, int *len)
{
    return node < 0 ? NULL : fdt_getprop(t->fdt, node, name, len);
}

static uint32_t be32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* A list of cells, at least min and at most max of them; the count, or 0 = absent. */
static unsigned cells(struct tree *t, int node, const char *name, uint32_t *out, unsigned min,
                      unsigned max)
{
    int len;
    const uint8_t *p = prop(t, node, name, &len);
    if (!p)
        return 0;
    unsigned n = (unsigned)len / 4;
    if (len % 4 || n < min || n > max) {
        t->caps->warnings++;
        return 0;
    }
    for (unsigned i = 0; i < n; i++)
        out[i] = be32(p + 4 * (size_t)i);
    return n;
}

/* Strings end in NUL; only printable ASCII is taken, since they reach logs. */
static const char *text(struct tree *t, int node, const char *name, int *len)
{
    const uint8_t *p = prop(t, node, name, len);
    if (!p)
        return NULL;
    bool good = *len > 0 && p[*len - 1] == 0;
    for (int i = 0; good && i < *len; i++)
        good = p[i] == 0 || (p[i] >= 0x20 && p[i] < 0x7f);
    if (!good) {
        t->caps->warnings++;
        return NULL;
    }
    return (const char *)p;
}

static bool list_has(struct tree *t, int node, const char *name, const char *word)
{
    int len;
    const char *p = text(t, node, name, &len);
    if (!p)
        return false;
    for (const char *end = p + len; p < end; p += strlen(p) + 1) {
        if (!strcmp(p, word))
            return true;
    }
    return false;
}

static void read_row(struct tree *t, const struct row *r, int node)
{
    uint8_t *at = (uint8_t *)t->caps + r->off;
    uint32_t v;
    int len;
    if (r->kind == U32) {
        if (cells(t, node, r->name, &v, 1, 1))
            memcpy(at, &v, sizeof v);
    } else if (r->kind == FLAG) {
        bool on = prop(t, node, r->name, &len) != NULL;
        memcpy(at, &on, sizeof on);
    } else {
        const char *s = text(t, node, r->name, &len);
        if (s) {
            size_t n = strnlen(s, r->size - 1);
            memcpy(at, s, n);
            at[n] = 0;
        }
    }
}

/* --- shape of the blob
 * --------------------------------------------------------------------------------- */

static int check_shape(struct tree *t, size_t len)
{
    if (len < sizeof(struct fdt_header) || len > CIF_BAR0_FDT_MAX)
        return refuse(t, -EINVAL, "the capability tree has %zu octets", len);
    if (fdt_check_header(t->fdt) || fdt_totalsize(t->fdt) != len)
        return refuse(t, -EINVAL, "the capability tree's header is not one, or its size differs");
    /* The contract says 17, and libfdt's full check falls over names in trees of other versions. */
    if (fdt_version(t->fdt) != 17)
        return refuse(t, -EINVAL, "the capability tree has version %u, not 17",
                      (unsigned)fdt_version(t->fdt));
    int err = fdt_check_full(t->fdt, len);
    if (err)
        return refuse(t, -EINVAL, "the capability tree is damaged: %s", fdt_strerror(err));
    unsigned nodes = 0;
    int depth = 0;
    for (int n = fdt_next_node(t->fdt, -1, &depth); n >= 0; n = fdt_next_node(t->fdt, n, &depth)) {
        if (depth < 0)
            break;
        if (++nodes > NODES_MAX || depth > DEPTH_MAX)
            return refuse(t, -EINVAL, "the capability tree is too large or too deep");
    }
    return 0;
}

static bool name_known(const char *name)
{
    for (unsigned i = 0; i < CIF_TREE_PROP_COUNT; i++) {
        if (!strcmp(cif_tree_prop_at(i)->name, name))
            return true;
    }
    return false;
}

/* The first name of must-understand that we do not know, or NULL. */
static const char *not_understood(struct tree *t, int node)
{
    int len;
    const char *p = text(t, node, "must-understand", &len);
    if (!p)
        return prop(t, node, "must-understand", &len) ? "(unreadable)" : NULL;
    for (const char *end = p + len; p < end; p += strlen(p) + 1) {
        if (!name_known(p))
            return p;
    }
    return NULL;
}

/* A node by path; -1 when it is absent or lists something we do not understand. */
static int node_at(struct tree *t, const char *path)
{
    int node = fdt_path_offset(t->fdt, path);
    if (node < 0)
        return -1;
    if (strcmp(path, "/") && not_understood(t, node)) {
        t->caps->warnings++;
        return -1;
    }
    return node;
}

/* --- lists of nodes
 * ---------------------------------------------------------------------------------------- */

static void read_suite(struct tree *t, int node)
{
    struct card_suite s = {0};
    uint32_t id[2], key[2] = {0, 0}, salt = 0, icv;
    const char *name = fdt_get_name(t->fdt, node, NULL);
    if (t->caps->n_suites == CARD_SUITES_MAX || not_understood(t, node) || !name)
        return;
    if (!cells(t, node, "id", id, 2, 2) || !cells(t, node, "key", key, 1, 2) ||
        !cells(t, node, "icv", &icv, 1, 1))
        return;
    cells(t, node, "salt", &salt, 1, 1);
    if (id[0] > 0xffff || id[1] > 0xffff || key[0] > CIF_SA_ENCR_KEY_LEN ||
        key[1] > CIF_SA_INTEG_KEY_LEN || salt > CIF_SA_SALT_LEN || icv > 64) {
        t->caps->warnings++;
        return;
    }
    for (size_t i = 0; i + 1 < sizeof s.name && name[i]; i++)
        s.name[i] = name[i] >= 0x20 && name[i] < 0x7f ? name[i] : '?';
    s.encr_id = (uint16_t)id[0];
    s.integ_id = (uint16_t)id[1];
    s.encr_len = (uint8_t)key[0];
    s.integ_len = (uint8_t)key[1];
    s.salt_len = (uint8_t)salt;
    s.icv_len = (uint8_t)icv;
    s.in = list_has(t, node, "dir", "in");
    s.out = list_has(t, node, "dir", "out");
    s.transport = list_has(t, node, "mode", "transport");
    s.tunnel = list_has(t, node, "mode", "tunnel");
    t->caps->suites[t->caps->n_suites++] = s;
}

static void read_port(struct tree *t, int node)
{
    struct card_port_caps p = {.mtu_max = 1500};
    uint32_t reg, speeds[16];
    int len;
    const uint8_t *mac = prop(t, node, "mac", &len);
    if (t->caps->n_ports == CARD_PORTS_MAX || not_understood(t, node))
        return;
    if (!mac || len != 6 || !cells(t, node, "reg", &reg, 1, 1) || reg > 255) {
        t->caps->warnings++;
        return;
    }
    for (unsigned i = 0; i < t->caps->n_ports; i++) {
        if (t->caps->ports[i].port == reg)
            return;
    }
    p.port = (uint8_t)reg;
    memcpy(p.mac, mac, 6);
    cells(t, node, "mtu-max", &p.mtu_max, 1, 1);
    unsigned n = cells(t, node, "speeds", speeds, 1, 16);
    for (unsigned i = 0; i < n; i++)
        p.mbps = speeds[i] > p.mbps ? speeds[i] : p.mbps;
    t->caps->ports[t->caps->n_ports++] = p;
}

static void each_child(struct tree *t, const char *path, void (*f)(struct tree *, int))
{
    int parent = node_at(t, path);
    if (parent < 0)
        return;
    for (int node = fdt_first_subnode(t->fdt, parent); node >= 0;
         node = fdt_next_subnode(t->fdt, node))
        f(t, node);
}

/* --- the whole
 * ------------------------------------------------------------------------------------------------
 */

static void poorest(struct card_caps *caps)
{
    memset(caps, 0, sizeof *caps);
    snprintf(caps->model, sizeof caps->model, "unknown");
    caps->admin_depth = 16;
    caps->batch_max = 1;
    caps->timeout_ms[CIF_TIMEOUT_FAST] = 20;
    caps->timeout_ms[CIF_TIMEOUT_TABLE] = 200;
    caps->timeout_ms[CIF_TIMEOUT_FIRMWARE] = 60000;
    caps->depth_max = CIF_RING_DEPTH_MIN;
    caps->rx_max_bufs = 1;
    caps->completion_us = 10000;
    caps->addr_align = 64;
    caps->buf_len_min = caps->buf_len_max = 2048;
    caps->spi_lo = 0x100;
    caps->spi_hi = 0xffffffff;
    caps->heartbeat_ms = 20;
    caps->engines = 1;
}

static void read_lists(struct tree *t)
{
    struct card_caps *caps = t->caps;
    uint32_t v[3];
    if (cells(t, node_at(t, "/admin"), "timeout-ms", v, 3, 3))
        memcpy(caps->timeout_ms, v, sizeof v);
    if (cells(t, node_at(t, "/queues"), "buf-len", v, 2, 2)) {
        caps->buf_len_min = v[0];
        caps->buf_len_max = v[1];
    }
    int sa = node_at(t, "/sa");
    if (cells(t, sa, "spi-range", v, 2, 2)) {
        caps->spi_lo = v[0];
        caps->spi_hi = v[1];
    }
    caps->n_windows = cells(t, sa, "replay-windows", caps->windows, 1, CARD_WINDOWS_MAX);
    if (sa >= 0 && !fdt_getprop(t->fdt, sa, "families", NULL))
        caps->in4_out4 = true;
    if (sa >= 0)
        each_child(t, "/sa/suites", read_suite);
    each_child(t, "/ports", read_port);
}

static uint32_t clamp(uint32_t v, uint32_t lo, uint32_t hi)
{
    return v < lo ? lo : v > hi ? hi : v;
}

/* Values that the driver counts or shifts by stay inside what is sane. */
static void bound(struct card_caps *caps)
{
    caps->admin_depth = clamp(caps->admin_depth, CIF_ADMIN_DEPTH_MIN, 4096);
    caps->batch_max = clamp(caps->batch_max, 1, CARD_BATCH_MAX);
    caps->depth_max = clamp(caps->depth_max, CIF_RING_DEPTH_MIN, CIF_RING_DEPTH_MAX);
    caps->completion_us = clamp(caps->completion_us, 100, 10000000);
    caps->heartbeat_ms = clamp(caps->heartbeat_ms, 1, 1000);
    caps->addr_align = clamp(caps->addr_align, 1, 4096);
    caps->buf_len_max = clamp(caps->buf_len_max, 256, 65536);
    for (unsigned i = 0; i < 3; i++)
        caps->timeout_ms[i] = clamp(caps->timeout_ms[i], 1, 600000);
    for (unsigned i = 0; i < caps->n_ports; i++)
        caps->ports[i].mtu_max = clamp(caps->ports[i].mtu_max, 68, 16000);
    if (caps->sa_shared_pool)
        caps->sa_in_max = caps->sa_out_max;
    caps->sa_out_max = clamp(caps->sa_out_max, 0, CIF_HANDLE_INDEX_MASK);
    caps->sa_in_max = clamp(caps->sa_in_max, 0, CIF_HANDLE_INDEX_MASK);
    if (caps->spi_lo < 0x100)
        caps->spi_lo = 0x100;
    if (caps->spi_hi < caps->spi_lo)
        caps->sa_in_max = 0;
}

int card_caps_parse(const void *fdt, size_t len, struct card_caps *caps, char *why)
{
    struct tree t = {fdt, caps, why};
    why[0] = 0;
    poorest(caps);
    int err = check_shape(&t, len);
    if (err)
        return err;
    const char *unknown = not_understood(&t, 0);
    if (unknown)
        return refuse(&t, -ENOTSUP, "the card says that \"%.40s\" must be understood", unknown);
    if (!list_has(&t, 0, "compatible", "sallyport,card"))
        return refuse(&t, -ENOTSUP, "the tree is not that of a Sallyport card (compatible)");
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        read_row(&t, &rows[i], node_at(&t, rows[i].node));
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        bool on = list_has(&t, node_at(&t, words[i].node), words[i].name, words[i].word);
        memcpy((uint8_t *)caps + words[i].off, &on, sizeof on);
    }
    read_lists(&t);
    bound(caps);
    return 0;
}
