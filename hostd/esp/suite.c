/* The suite table: IKEv2 transform IDs 20 = AES-GCM-16, 12 = AES-CBC; integrity 12 =
 * HMAC-SHA2-256-128 (RFC 4106, 3602, 4868). Padding of AES-GCM to 4, of AES-CBC to its block. */
#include "hostd/esp/esp.h"

#include <string.h>

#define GCM16(bits)                                                                                \
    {                                                                                              \
        .name = "ESP_AES" #bits "_GCM16", .encr_id = 20, .integ_id = 0, .encr_len = (bits) / 8,    \
        .integ_len = 0, .salt_len = 4, .iv_len = 8, .icv_len = 16, .pad_to = 4, .aead = true       \
    }
#define CBC_SHA256(bits)                                                                           \
    {                                                                                              \
        .name = "ESP_AES" #bits "_CBC_HMAC_SHA2_256", .encr_id = 12, .integ_id = 12,               \
        .encr_len = (bits) / 8, .integ_len = 32, .salt_len = 0, .iv_len = 16, .icv_len = 16,       \
        .pad_to = 16, .aead = false                                                                \
    }

static const struct esp_suite suites[] = {
    GCM16(128),
    GCM16(256),
    CBC_SHA256(128),
    CBC_SHA256(256),
};

enum { SUITES = sizeof suites / sizeof suites[0] };

const struct esp_suite *esp_suite_at(unsigned i)
{
    return i < SUITES ? &suites[i] : NULL;
}

const struct esp_suite *esp_suite_by_name(const char *name)
{
    for (unsigned i = 0; i < SUITES; i++)
        if (strcmp(suites[i].name, name) == 0)
            return &suites[i];
    return NULL;
}

const struct esp_suite *esp_suite_by_id(uint16_t encr_id, uint16_t integ_id, unsigned encr_len)
{
    for (unsigned i = 0; i < SUITES; i++)
        if (suites[i].encr_id == encr_id && suites[i].integ_id == integ_id &&
            suites[i].encr_len == encr_len)
            return &suites[i];
    return NULL;
}

enum { ANY = 0xffff };

/* By IKEv2 transform IDs; the first row that matches. */
static const struct {
    uint16_t encr_first, encr_last, integ;
    const char *why;
} refusals[] = {
    {1, 10, ANY, "DES, 3DES, Blowfish and their contemporaries are retired"},
    {11, 13, 0, "encryption without integrity"},
    {18, 19, ANY, "AES-GCM with a tag shorter than 16 octets"},
    {0, ANY, 1, "HMAC-MD5 is retired"},
    {0, ANY, 3, "DES-MAC is retired"},
    {0, ANY, 4, "KPDK-MD5 is retired"},
};

const char *esp_suite_refusal(uint16_t encr_id, uint16_t integ_id)
{
    for (unsigned i = 0; i < sizeof refusals / sizeof refusals[0]; i++)
        if (encr_id >= refusals[i].encr_first && encr_id <= refusals[i].encr_last &&
            (refusals[i].integ == ANY || refusals[i].integ == integ_id))
            return refusals[i].why;
    return NULL;
}

static const char *const texts[ESP_RESULTS] = {
    [ESP_OK] = "ok",
    [ESP_BAD_PACKET] = "not a well-formed IP or ESP packet",
    [ESP_NO_ROOM] = "the output buffer is too small",
    [ESP_BAD_NUMBER] = "sequence number zero, beyond the SA's range, or not the packet's",
    [ESP_BAD_ICV] = "integrity check failed",
    [ESP_BAD_PAD] = "padding is not 1, 2, 3 ... or longer than the packet",
    [ESP_BAD_NEXT_HEADER] = "next header does not fit the SA's mode",
    [ESP_BAD_INNER] = "the inner packet is malformed",
    [ESP_BAD_ECN] = "congestion mark outside on a packet that is not ECN-capable inside",
    [ESP_DUMMY] = "dummy packet",
    [ESP_UNSUPPORTED] = "a form of packet that ESP does not take in this mode",
    [ESP_CRYPTO_ERROR] = "the cryptographic library failed",
};

const char *esp_result_text(enum esp_result r)
{
    return (unsigned)r < ESP_RESULTS ? texts[r] : "unknown result";
}

bool esp_result_verified(enum esp_result r)
{
    switch (r) {
    case ESP_OK:
    case ESP_BAD_PAD:
    case ESP_BAD_NEXT_HEADER:
    case ESP_BAD_INNER:
    case ESP_BAD_ECN:
    case ESP_DUMMY:
        return true;
    default:
        return false;
    }
}
