/* Readers and writers for octets of the wire: every access is checked, byte order is in the name.
 */
#ifndef SALLYPORT_BYTES_H
#define SALLYPORT_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Network-order loads and stores at any alignment. The caller has checked the room. */
static inline uint16_t get_be16(const uint8_t *p)
{
    return (uint16_t)(p[0] << 8 | p[1]);
}

static inline uint32_t get_be32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static inline uint64_t get_be64(const uint8_t *p)
{
    return (uint64_t)get_be32(p) << 32 | get_be32(p + 4);
}

static inline void put_be16(uint8_t *p, uint16_t v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}

static inline void put_be32(uint8_t *p, uint32_t v)
{
    put_be16(p, (uint16_t)(v >> 16));
    put_be16(p + 2, (uint16_t)v);
}

static inline void put_be64(uint8_t *p, uint64_t v)
{
    put_be32(p, (uint32_t)(v >> 32));
    put_be32(p + 4, (uint32_t)v);
}

/* A reader over [p, end). It owns nothing; the octets must outlive it. */
struct reader {
    const uint8_t *p;
    const uint8_t *end;
};

static inline struct reader rd_from(const void *data, size_t len)
{
    const uint8_t *p = data;
    return (struct reader){p, p ? p + len : p};
}

static inline size_t rd_left(const struct reader *r)
{
    return (size_t)(r->end - r->p);
}

/* Each returns false, and moves nothing, when fewer octets are left than asked. Network order. */
__attribute__((warn_unused_result)) static inline bool rd_bytes(struct reader *r,
                                                                const uint8_t **out, size_t n)
{
    if (rd_left(r) < n)
        return false;
    *out = r->p;
    r->p += n;
    return true;
}

__attribute__((warn_unused_result)) static inline bool rd_u8(struct reader *r, uint8_t *v)
{
    const uint8_t *p;
    if (!rd_bytes(r, &p, 1))
        return false;
    *v = *p;
    return true;
}

__attribute__((warn_unused_result)) static inline bool rd_u16(struct reader *r, uint16_t *v)
{
    const uint8_t *p;
    if (!rd_bytes(r, &p, 2))
        return false;
    *v = get_be16(p);
    return true;
}

__attribute__((warn_unused_result)) static inline bool rd_u32(struct reader *r, uint32_t *v)
{
    const uint8_t *p;
    if (!rd_bytes(r, &p, 4))
        return false;
    *v = get_be32(p);
    return true;
}

__attribute__((warn_unused_result)) static inline bool rd_u64(struct reader *r, uint64_t *v)
{
    const uint8_t *p;
    if (!rd_bytes(r, &p, 8))
        return false;
    *v = get_be64(p);
    return true;
}

/* A writer into [p, end); ok turns false for good at the first write that does not fit. */
struct writer {
    uint8_t *p;
    uint8_t *end;
    bool ok;
};

static inline struct writer wr_into(void *data, size_t len)
{
    uint8_t *p = data;
    return (struct writer){p, p + len, true};
}

static inline void wr_bytes(struct writer *w, const void *data, size_t n)
{
    if (!w->ok || (size_t)(w->end - w->p) < n) {
        w->ok = false;
        return;
    }
    if (n)
        memcpy(w->p, data, n);
    w->p += n;
}

static inline void wr_u8(struct writer *w, uint8_t v)
{
    wr_bytes(w, &v, 1);
}

static inline void wr_u16(struct writer *w, uint16_t v)
{
    uint8_t b[2];
    put_be16(b, v);
    wr_bytes(w, b, sizeof b);
}

static inline void wr_u32(struct writer *w, uint32_t v)
{
    uint8_t b[4];
    put_be32(b, v);
    wr_bytes(w, b, sizeof b);
}

static inline void wr_u64(struct writer *w, uint64_t v)
{
    uint8_t b[8];
    put_be64(b, v);
    wr_bytes(w, b, sizeof b);
}

#endif
