/* Readers and writers of packet bytes (network order). Records and descriptors are read by the
 * accessors of firmware-if instead. Nothing here casts. */
#ifndef SALLYPORT_HWSIM_BYTES_H
#define SALLYPORT_HWSIM_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline uint16_t hw_get16(const uint8_t *p)
{
    return (uint16_t)(p[0] << 8 | p[1]);
}

static inline uint32_t hw_get32(const uint8_t *p)
{
    return (uint32_t)hw_get16(p) << 16 | hw_get16(p + 2);
}

static inline void hw_put16(uint8_t *p, uint16_t v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}

static inline void hw_put32(uint8_t *p, uint32_t v)
{
    hw_put16(p, (uint16_t)(v >> 16));
    hw_put16(p + 2, (uint16_t)v);
}

static inline void hw_put64(uint8_t *p, uint64_t v)
{
    hw_put32(p, (uint32_t)(v >> 32));
    hw_put32(p + 4, (uint32_t)v);
}

static inline bool hw_all_zero(const uint8_t *p, size_t n)
{
    uint8_t any = 0;

    while (n--)
        any |= *p++;
    return any == 0;
}

#endif
