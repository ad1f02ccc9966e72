/* Known-answer packets, and the driver as a whole, against the card model: promises kept and
 * broken. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <errno.h>
#include <libfdt.h>
#include <openssl/evp.h>

#include "driver/core/kat.h"
#include "hwsim/model/hw_card.h"

#define MS 1000000ull

/* --- what we expect is itself right ------------------------------------------------------------
 */

static const struct card_suite gcm = {.encr_id = 20,
                                      .encr_len = 16,
                                      .salt_len = 4,
                                      .icv_len = 16,
                                      .in = true,
                                      .out = true,
                                      .tunnel = true,
                                      .transport = true};

/* Opened by hand: key 10 11 12 ..., salt c0 c1 c2 c3, IV = the number 1, AAD = SPI and number. */
static void gcm_packet_opens(void **state)
{
    struct kat_packet p;
    uint8_t key[16], nonce[12] = {0xc0, 0xc1, 0xc2, 0xc3, 0, 0, 0, 0, 0, 0, 0, 1}, out[256],
                     tag[16];
    int n;
    assert_int_equal(kat_build(&p, &gcm, 0x1234), 0);
    for (int i = 0; i < 16; i++)
        key[i] = (uint8_t)(0x10 + i);
    const uint8_t *esp = p.esp + p.esp_off;
    int len = (int)(p.esp_len - p.esp_off) - 8 - 8 - 16;
    assert_int_equal(esp[2] << 8 | esp[3], 0x1234);
    memcpy(tag, esp + 16 + len, 16);
    EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
    assert_int_equal(EVP_DecryptInit_ex(c, EVP_aes_128_gcm(), NULL, key, nonce), 1);
    assert_int_equal(EVP_DecryptUpdate(c, NULL, &n, esp, 8), 1);
    assert_int_equal(EVP_DecryptUpdate(c, out, &n, esp + 16, len), 1);
    assert_int_equal(EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_GCM_SET_TAG, 16, tag), 1);
    assert_int_equal(EVP_DecryptFinal_ex(c, out + n, &n), 1);
    EVP_CIPHER_CTX_free(c);
    assert_memory_equal(out, p.clear + 14, p.clear_len - 14);
    assert_int_equal(out[len - 1], 4); /* IPv4 in the tunnel */
}

static void what_we_know(void **state)
{
    struct card_suite s = gcm;
    struct kat_packet p;
    assert_true(kat_knows(&s));
    s.icv_len = 8;
    assert_false(kat_knows(&s));
    assert_int_equal(kat_build(&p, &s, 1), -ENOTSUP);
    s = (struct card_suite){.encr_id = 12,
                            .integ_id = 12,
                            .encr_len = 32,
                            .integ_len = 32,
                            .icv_len = 16,
                            .transport = true};
    assert_true(kat_knows(&s));
    assert_int_equal(kat_build(&p, &s, 0x100), 0);
    assert_int_equal((p.esp_len - p.esp_off - 8 - 16 - 16) % 16, 0);
    assert_false(p.esp[p.esp_off + 8] == 0 && p.esp[p.esp_off + 9] == 0); /* no bare number */
}

/* --- with the model
 * ------------------------------------------------------------------------------- */

struct pair {
    struct hw_card *hw;
    struct card *card;
    uint64_t now;
    unsigned frames, running, recovering;
};

static int reg_read(void *ctx, uint32_t off, uint32_t *v)
{
    struct pair *p = ctx;
    *v = hw_reg_read(p->hw, off, p->now);
    return 0;
}

static int reg_write(void *ctx, uint32_t off, uint32_t v)
{
    struct pair *p = ctx;
    hw_reg_write(p->hw, off, v, p->now);
    return 0;
}

static int dma_alloc(void *ctx, size_t len, struct card_dma *out)
{
    len = (len + 4095) & ~(size_t)4095;
    out->va = aligned_alloc(4096, len);
    assert_non_null(out->va);
    memset(out->va, 0, len);
    out->iova = (uint64_t)(uintptr_t)out->va;
    out->len = len;
    return 0;
}

static void dma_free(void *ctx, struct card_dma *m)
{
    free(m->va);
}

static int dma_read(void *ctx, uint64_t iova, void *buf, size_t len)
{
    memcpy(buf, (const void *)(uintptr_t)iova, len);
    return 0;
}

static int dma_write(void *ctx, uint64_t iova, const void *buf, size_t len)
{
    memcpy((void *)(uintptr_t)iova, buf, len);
    return 0;
}

static int wire_tx(void *ctx, unsigned port, const uint8_t *frame, size_t len)
{
    ((struct pair *)ctx)->frames++;
    return 0;
}

static void on_state(void *arg, enum card_state s, const char *why)
{
    struct pair *p = arg;
    p->running += s == CARD_RUNNING;
    p->recovering += s == CARD_RECOVERING;
}

static void u32s(void *t, const char *name, unsigned n, const uint32_t *v)
{
    fdt32_t c[4];
    for (unsigned i = 0; i < n; i++)
        c[i] = cpu_to_fdt32(v[i]);
    fdt_property(t, name, c, (int)(4 * n));
}

static size_t tree(void *t, size_t room)
{
    static const uint8_t mac[6] = {2, 0, 0, 0, 0, 1};
    fdt_create(t, (int)room);
    fdt_finish_reservemap(t);
    fdt_begin_node(t, "");
    fdt_property(t, "compatible", "sallyport,card-1.0\0sallyport,card", 34);
    fdt_begin_node(t, "admin");
    u32s(t, "depth-max", 1, (uint32_t[]){64});
    u32s(t, "batch-max", 1, (uint32_t[]){64});
    fdt_end_node(t);
    fdt_begin_node(t, "queues");
    u32s(t, "tx-max", 1, (uint32_t[]){2});
    u32s(t, "rx-max", 1, (uint32_t[]){2});
    u32s(t, "depth-max", 1, (uint32_t[]){1024});
    u32s(t, "vectors", 1, (uint32_t[]){5});
    u32s(t, "buf-len", 2, (uint32_t[]){128, 16384});
    u32s(t, "addr-align", 1, (uint32_t[]){1});
    fdt_end_node(t);
    fdt_begin_node(t, "sa");
    u32s(t, "out-max", 1, (uint32_t[]){1});
    u32s(t, "in-max", 1, (uint32_t[]){1});
    fdt_begin_node(t, "suites");
    for (uint32_t key = 16; key <= 32; key += 16) {
        fdt_begin_node(t, key == 16 ? "gcm16-128" : "gcm16-256");
        u32s(t, "id", 2, (uint32_t[]){20, 0});
        u32s(t, "key", 1, &key);
        u32s(t, "salt", 1, (uint32_t[]){4});
        u32s(t, "icv", 1, (uint32_t[]){16});
        fdt_property(t, "dir", "in\0out", 7);
        fdt_property(t, "mode", "transport\0tunnel", 17);
        fdt_end_node(t);
    }
    fdt_end_node(t);
    fdt_end_node(t);
    fdt_begin_node(t, "ports");
    fdt_begin_node(t, "port@0");
    u32s(t, "reg", 1, (uint32_t[]){0});
    fdt_property(t, "mac", mac, sizeof mac);
    fdt_end_node(t);
    fdt_end_node(t);
    fdt_end_node(t);
    assert_int_equal(fdt_finish(t), 0);
    return fdt_totalsize(t);
}

static void run(struct pair *p, unsigned ms)
{
    for (unsigned i = 0; i < 10 * ms; i++) {
        hw_card_run(p->hw, p->now);
        card_poll(p->card, p->now);
        p->now += MS / 10;
    }
}

static struct pair *make(const char *fault)
{
    static uint8_t blob[8192] __attribute__((aligned(8)));
    const char *err = "";
    const uint8_t master[2] = {6, 0};
    struct pair *p = calloc(1, sizeof *p);
    assert_non_null(p);
    p->now = 1000 * MS;
    const struct hw_bus hb = {
        .ctx = p, .dma_read = dma_read, .dma_write = dma_write, .wire_tx = wire_tx};
    p->hw = hw_card_new(blob, tree(blob, sizeof blob), &hb, 1, p->now, &err);
    if (!p->hw)
        fail_msg("%s", err);
    hw_pci_write(p->hw, p->now, 4, master, 2);
    if (fault) {
        char *answer = hw_card_ctl(p->hw, p->now, fault);
        assert_non_null(strstr(answer, "true"));
        free(answer);
    }
    const struct card_bus bus = {.ctx = p,
                                 .reg_read = reg_read,
                                 .reg_write = reg_write,
                                 .doorbells = hw_doorbells(p->hw),
                                 .doorbells_len = hw_bar2_size(p->hw),
                                 .dma_alloc = dma_alloc,
                                 .dma_free = dma_free};
    const struct card_cfg cfg = {.n_tx = 1, .n_rx = 1, .n_ports = 1, .port = {{.enable = true}}};
    const struct card_callbacks cbs = {.arg = p, .state = on_state};
    p->card = card_new(&bus, &cfg, &cbs, p->now);
    assert_non_null(p->card);
    return p;
}

static void end(struct pair *p)
{
    card_free(p->card);
    hw_card_free(p->hw);
    free(p);
}

/* One slot a direction: the answers are taken in several rounds. Nothing reaches the wire. */
static void promises_kept(void **state)
{
    struct pair *p = make(NULL);
    run(p, 200);
    assert_int_equal(card_state(p->card), CARD_RUNNING);
    const struct card_caps *c = card_caps(p->card);
    assert_int_equal(c->n_suites, 2);
    for (unsigned i = 0; i < 2; i++) {
        assert_true(c->suites[i].in && c->suites[i].out);
        assert_string_equal(c->suites[i].why_not_in, "");
    }
    assert_int_equal(p->frames, 0);
    char *sas = hw_card_ctl(p->hw, p->now, "dump sa");
    assert_null(strstr(sas, "cookie")); /* the test SAs are gone */
    free(sas);
    end(p);
}

static void inbound_broken(void **state)
{
    struct pair *p = make("fault add rx what=raw count=1");
    run(p, 400);
    assert_int_equal(card_state(p->card), CARD_RUNNING);
    const struct card_suite *s = card_caps(p->card)->suites;
    assert_true(s[0].out && s[1].out);
    assert_int_equal(s[0].in + s[1].in, 1);
    assert_non_null(strstr(s[0].in ? s[1].why_not_in : s[0].why_not_in, "answer"));
    end(p);
}

static void outbound_broken(void **state)
{
    struct pair *p = make("fault add tx what=refuse status=SA_STOPPED count=1");
    run(p, 400);
    assert_int_equal(card_state(p->card), CARD_RUNNING);
    const struct card_suite *s = card_caps(p->card)->suites;
    assert_int_equal(s[0].in + s[1].in + s[0].out + s[1].out, 3);
    end(p);
}

static void refused_sa(void **state)
{
    struct pair *p = make("fault add cmd=SA_ADD what=refuse status=BAD_ALG count=1");
    run(p, 400);
    assert_int_equal(card_state(p->card), CARD_RUNNING);
    const struct card_suite *s = card_caps(p->card)->suites;
    assert_int_equal(s[0].in + s[1].in + s[0].out + s[1].out, 3);
    assert_non_null(strstr(s[0].out ? s[0].why_not_in : s[0].why_not_out, "BAD_ALG"));
    end(p);
}

/* A data path that stands still is no reason to judge suites: the bring-up waits for it. */
static void data_path_stopped(void **state)
{
    struct pair *p = make("fault add datapath what=stop ms=500");
    run(p, 400);
    assert_int_not_equal(card_state(p->card), CARD_RUNNING);
    run(p, 400);
    assert_int_equal(card_state(p->card), CARD_RUNNING);
    const struct card_suite *s = card_caps(p->card)->suites;
    assert_int_equal(s[0].in + s[1].in + s[0].out + s[1].out, 4);
    end(p);
}

static void freezes_and_returns(void **state)
{
    struct pair *p = make(NULL);
    run(p, 1500);
    char *a = hw_card_ctl(p->hw, p->now, "fault add firmware what=freeze ms=400");
    free(a);
    run(p, 120);
    assert_int_equal(p->recovering, 1);
    run(p, 480);
    assert_int_equal(p->running, 2);
    assert_int_equal(card_state(p->card), CARD_RUNNING);
    end(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gcm_packet_opens),  cmocka_unit_test(what_we_know),
        cmocka_unit_test(promises_kept),     cmocka_unit_test(inbound_broken),
        cmocka_unit_test(outbound_broken),   cmocka_unit_test(refused_sa),
        cmocka_unit_test(data_path_stopped), cmocka_unit_test(freezes_and_returns),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
