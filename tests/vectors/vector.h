/* What the vector programs share: reading hex and JSON, and the line for each case. */
#ifndef TESTS_VECTORS_VECTOR_H
#define TESTS_VECTORS_VECTOR_H

#include "hostd/esp/esp_internal.h"

#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { VEC_MAX = 4096 };

struct vec_bytes {
    uint8_t b[VEC_MAX];
    size_t n;
};

struct vec_count {
    unsigned passed, failed;
};

static const enum esp_backend vec_backends[] = {ESP_BACKEND_OPENSSL, ESP_BACKEND_IPSEC_MB};

static inline const char *vec_str(const json_t *o, const char *key)
{
    const char *s = json_string_value(json_object_get(o, key));
    return s ? s : "";
}

/* The hex string under key; false when it is missing, odd or too long. */
static inline bool vec_hex(const json_t *o, const char *key, struct vec_bytes *out)
{
    const char *s = json_string_value(json_object_get(o, key));
    out->n = 0;
    if (!s || strlen(s) % 2 || strlen(s) / 2 > VEC_MAX)
        return false;
    for (; *s; s += 2) {
        unsigned v;
        char two[3] = {s[0], s[1], 0};
        if (strspn(two, "0123456789abcdefABCDEF") != 2 || sscanf(two, "%x", &v) != 1)
            return false;
        out->b[out->n++] = (uint8_t)v;
    }
    return true;
}

static inline uint64_t vec_number(const struct vec_bytes *v)
{
    uint64_t n = 0;
    for (size_t i = 0; i < v->n; i++)
        n = n << 8 | v->b[i];
    return n;
}

/* Puts a key, checked for its length, into a field of that many octets. */
static inline bool vec_key(uint8_t *to, size_t room, const struct vec_bytes *v)
{
    memset(to, 0, room);
    if (v->n > room)
        return false;
    memcpy(to, v->b, v->n);
    return true;
}

static inline bool vec_equal(const uint8_t *p, size_t n, const struct vec_bytes *want)
{
    return n == want->n && memcmp(p, want->b, n) == 0;
}

/* why NULL: passed. */
static inline void vec_result(struct vec_count *c, const char *name, const char *why)
{
    if (why) {
        printf("failed %s: %s\n", name, why);
        c->failed++;
    } else {
        printf("passed %s\n", name);
        c->passed++;
    }
}

/* Is the back end there at all? AES-GCM-16 with 128 bits is in each. */
static inline bool vec_backend_there(enum esp_backend b)
{
    struct esp_keys keys = {{0}, {0}, {0}, {0}};
    struct esp_crypto *c;
    if (esp_crypto_new(&c, b, esp_suite_at(0), &keys, ESP_IN, false))
        return false;
    c->free(c);
    return true;
}

/* An array of the file, or an error line and NULL. */
static inline json_t *vec_load(const char *path, json_t **root)
{
    json_error_t err;
    *root = json_load_file(path, 0, &err);
    if (!*root)
        fprintf(stderr, "%s:%d:%d: %s\n", path, err.line, err.column, err.text);
    return *root;
}

static inline int vec_end(const struct vec_count *c)
{
    printf("%u passed, %u failed\n", c->passed, c->failed);
    return c->failed ? 1 : 0;
}

#endif
