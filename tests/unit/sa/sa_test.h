/* What the tests of this room share: a seeded random source, a store, a spec. */
#ifndef SALLYPORT_SA_TEST_H
#define SALLYPORT_SA_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "hostd/sa/sad.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t rng_state = 1;

/* splitmix64 */
static inline uint64_t rng(void)
{
    uint64_t z = rng_state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static inline uint64_t rng_below(uint64_t n)
{
    return rng() % n;
}

static inline void rng_fill(void *ctx, void *buf, size_t len)
{
    uint8_t *p = buf;
    (void)ctx;
    for (size_t i = 0; i < len; i++)
        p[i] = (uint8_t)rng();
}

static inline void *store_mem(unsigned records)
{
    size_t len = ((size_t)records + 1) * STORE_RECORD;
    void *mem = aligned_alloc(64, len);
    assert_non_null(mem);
    memset(mem, 0xa5, len);
    return mem;
}

static inline size_t store_len(unsigned records)
{
    return ((size_t)records + 1) * STORE_RECORD;
}

static inline struct sad *sad_make(void *mem, unsigned records, int adopt, unsigned *adopted,
                                   unsigned *refused)
{
    struct sad *s = NULL;
    assert_int_equal(sad_new(&s, mem, store_len(records), adopt, ESP_BACKEND_OPENSSL, rng_fill,
                             NULL, 1000, adopted, refused),
                     0);
    return s;
}

static inline struct sa_spec spec_make(enum esp_dir dir, uint32_t spi)
{
    struct sa_spec s = {.dir = dir,
                        .policy_id = 1,
                        .spi = spi,
                        .mode = ESP_TUNNEL,
                        .suite = esp_suite_by_name("ESP_AES128_GCM16"),
                        .window = dir == ESP_IN ? WIN_DEFAULT_BITS : 0};
    assert_non_null(s.suite);
    assert_int_equal(ip_parse("10.0.0.1", &s.src), 0);
    assert_int_equal(ip_parse("10.0.0.2", &s.dst), 0);
    memset(s.keys.encr, 0x11, 16);
    memset(s.keys.salt, 0x22, 4);
    return s;
}

#endif
