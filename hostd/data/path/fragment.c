/* Cutting IP packets (RFC 791, RFC 8200 4.5). */
#include "hostd/data/path/path.h"

enum { V4_DF = 0x4000, V4_MF = 0x2000, FRAG_HDR = 8 };

bool frag_begin(struct frag *f, const uint8_t *ip, const struct ip_info *i, size_t mtu, uint32_t id,
                bool df)
{
    size_t over = i->unfrag_len + (i->version == 6 ? FRAG_HDR : 0);
    *f = (struct frag){.ip = ip, .i = *i, .hdr_len = i->unfrag_len, .id = id, .df = df};
    f->off = i->unfrag_len;
    if (mtu < over + 8)
        return false;
    f->room = (mtu - over) & ~(size_t)7;
    return true;
}

/* Options without the copied flag stand in the first piece only (RFC 791): no-ops instead. */
static void drop_options(uint8_t *h, size_t hlen)
{
    for (size_t o = 20; o < hlen;) {
        size_t n = h[o] <= 1 ? 1 : o + 1 < hlen ? h[o + 1] : 0;
        if (h[o] == 0)
            return;
        if (n == 0 || n > hlen - o || (n == 1 && h[o] > 1))
            n = hlen - o;
        if (!(h[o] & 0x80))
            memset(h + o, 1, n);
        o += n;
    }
}

static size_t piece4(const struct frag *f, uint8_t *out, size_t n, bool more)
{
    size_t at = f->off - f->hdr_len;
    memcpy(out, f->ip, f->hdr_len);
    if (at)
        drop_options(out, f->hdr_len);
    put_be16(out + 2, (uint16_t)(f->hdr_len + n));
    put_be16(out + 4, (uint16_t)f->id);
    put_be16(out + 6, (uint16_t)(at / 8 | (more ? V4_MF : 0) | (f->df ? V4_DF : 0)));
    ip4_fix_checksum(out, f->hdr_len);
    memcpy(out + f->hdr_len, f->ip + f->off, n);
    return f->hdr_len + n;
}

/* The octet that names the header at off, in an IPv6 header chain that was parsed already. */
static size_t v6_names(const uint8_t *ip, size_t off)
{
    size_t at = 40, nh = 6;
    while (at < off) {
        nh = at;
        at += ((size_t)ip[at + 1] + 1) * 8;
    }
    return nh;
}

static size_t piece6(const struct frag *f, uint8_t *out, size_t n, bool more)
{
    size_t nh = v6_names(f->ip, f->hdr_len);
    uint8_t *fh = out + f->hdr_len;
    memcpy(out, f->ip, f->hdr_len);
    fh[0] = out[nh];
    fh[1] = 0;
    put_be16(fh + 2, (uint16_t)((f->off - f->hdr_len) | (more ? 1 : 0)));
    put_be32(fh + 4, f->id);
    out[nh] = IPP_FRAGMENT;
    put_be16(out + 4, (uint16_t)(f->hdr_len - 40 + FRAG_HDR + n));
    memcpy(fh + FRAG_HDR, f->ip + f->off, n);
    return f->hdr_len + FRAG_HDR + n;
}

size_t frag_next(struct frag *f, uint8_t *out)
{
    size_t left = f->i.total - f->off;
    if (!left)
        return 0;
    bool more = left > f->room;
    size_t n = more ? f->room : left;
    size_t len = f->i.version == 4 ? piece4(f, out, n, more) : piece6(f, out, n, more);
    f->off += n;
    return len;
}
