/* bench_esp [ROUNDS]: ESP in memory on one core beside the bare GCM call of the same library,
 * tunnel mode v4 in v4, AES-128-GCM, one SA. Rounds are interleaved, medians printed; the control
 * is the bare call against itself. */
#include "hostd/esp/esp_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { PACKETS = 48, BURST = 32, ROOM = 2240, MOST_ROUNDS = 101, CALLS = 20000 };

struct bench {
    size_t len; /* of the inner packet */
    struct esp_sa *out, *in;
    struct esp_pkt protect[PACKETS], open[PACKETS];
    /* at cache lines, and not at equal offsets of their pages: either would tell in the figures */
    _Alignas(64) uint8_t plain[PACKETS][ROOM];
    _Alignas(64) uint8_t wire[PACKETS][ROOM];
    _Alignas(64) uint8_t back[PACKETS][ROOM];
};

static double now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static int by_value(const void *a, const void *b)
{
    const double *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

static double median(double *v, unsigned n)
{
    qsort(v, n, sizeof *v, by_value);
    return v[n / 2];
}

/* The bare call on as many octets as ESP encrypts, from one buffer to another. */
static double bare(struct bench *b, bool out)
{
    struct esp_sa *sa = out ? b->out : b->in;
    size_t text = b->len + esp_pad_len(&sa->suite, b->len) + 2;
    static _Alignas(64) struct esp_op op[PACKETS];
    for (unsigned i = 0; i < PACKETS; i++) {
        op[i].src = out ? b->plain[i] : b->wire[i] + 36;
        op[i].dst = b->back[i];
        op[i].len = text;
        op[i].icv = b->back[i] + text;
        op[i].icv_in = b->wire[i] + 36 + text;
        memcpy(op[i].iv, sa->salt, 4);
        memcpy(op[i].iv + 4, b->wire[i] + 28, 8);
        esp_write_aad(sa, i + 1, op[i].aad);
    }
    double begin = now_ns();
    for (unsigned n = 0, i = 0; n < CALLS; n++, i = i + 1 == PACKETS ? 0 : i + 1) {
        if (out)
            sa->crypto->seal(sa->crypto, &op[i], 1);
        else
            sa->crypto->open(sa->crypto, &op[i], 1);
    }
    double took = (now_ns() - begin) / CALLS;
    for (unsigned i = 0; i < PACKETS; i++)
        if (!op[i].ok)
            exit(1);
    return took;
}

static double whole(struct bench *b, bool out)
{
    unsigned calls = 0;
    double begin = now_ns();
    while (calls < CALLS) {
        for (unsigned at = 0; at + BURST / 2 <= PACKETS; at += BURST / 2) {
            if (out)
                esp_protect(b->out, b->protect + at, BURST / 2);
            else
                esp_open(b->in, b->open + at, BURST / 2);
            calls += BURST / 2;
        }
    }
    return (now_ns() - begin) / calls;
}

static void set_up(struct bench *b, size_t len, enum esp_backend backend)
{
    static const struct esp_keys keys = {.encr = {1, 2, 3}, .salt = {4, 5, 6, 7}};
    struct esp_params p = {.dir = ESP_OUT,
                           .mode = ESP_TUNNEL,
                           .spi = 0x1000,
                           .suite = esp_suite_by_name("ESP_AES128_GCM16"),
                           .keys = &keys};
    ip_parse("192.0.2.1", &p.src);
    ip_parse("192.0.2.2", &p.dst);
    if (esp_sa_new(&b->out, &p, backend))
        exit(1);
    p.dir = ESP_IN;
    if (esp_sa_new(&b->in, &p, backend))
        exit(1);
    b->len = len;
    for (unsigned i = 0; i < PACKETS; i++) {
        uint8_t *ip = b->plain[i];
        memset(ip, (int)i, len);
        ip[0] = 0x45;
        put_be16(ip + 2, (uint16_t)len);
        put_be16(ip + 6, 0x4000);
        ip4_fix_checksum(ip, 20);
        b->protect[i] = (struct esp_pkt){
            .in = ip, .in_len = len, .out = b->wire[i], .out_room = ROOM, .seq = i + 1};
    }
    esp_protect(b->out, b->protect, PACKETS);
    for (unsigned i = 0; i < PACKETS; i++)
        b->open[i] = (struct esp_pkt){.in = b->wire[i],
                                      .in_len = b->protect[i].out_len,
                                      .out = b->back[i],
                                      .out_room = ROOM,
                                      .seq = i + 1};
    esp_open(b->in, b->open, PACKETS);
    for (unsigned i = 0; i < PACKETS; i++)
        if (b->protect[i].result != ESP_OK || b->open[i].result != ESP_OK)
            exit(1);
}

static void measure(struct bench *b, bool out, unsigned rounds)
{
    double ref[MOST_ROUNDS], esp[MOST_ROUNDS], again[MOST_ROUNDS];
    for (unsigned i = 0; i < rounds; i++) {
        ref[i] = bare(b, out);
        esp[i] = whole(b, out);
        again[i] = bare(b, out);
    }
    double x = median(ref, rounds), y = median(esp, rounds), z = median(again, rounds);
    printf(
        "%-8s %4zu B %-3s  bare %6.1f ns  esp %6.1f ns (%.1f to %.1f)  ratio %.2f  control %.2f\n",
        esp_sa_backend(b->out), b->len, out ? "out" : "in", x, y, esp[0], esp[rounds - 1], y / x,
        z / x);
}

int main(int argc, char **argv)
{
    static const size_t lens[] = {84, 576, 1408};
    static const enum esp_backend backends[] = {ESP_BACKEND_IPSEC_MB, ESP_BACKEND_OPENSSL};
    static struct bench b;
    unsigned rounds = argc > 1 ? (unsigned)atoi(argv[1]) : 9;
    if (rounds < 1 || rounds > MOST_ROUNDS)
        return 2;
    for (unsigned k = 0; k < 2; k++) {
        struct esp_crypto *c;
        struct esp_keys none = {{0}, {0}, {0}, {0}};
        if (esp_crypto_new(&c, backends[k], esp_suite_at(0), &none, ESP_OUT, false))
            continue;
        c->free(c);
        for (unsigned i = 0; i < 3; i++) {
            set_up(&b, lens[i], backends[k]);
            measure(&b, true, rounds);
            measure(&b, false, rounds);
            esp_sa_free(b.out);
            esp_sa_free(b.in);
        }
    }
    return 0;
}
