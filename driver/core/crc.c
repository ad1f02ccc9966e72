/* CRC-32 as zlib's: IEEE 802.3, reflected, initial and final ~0. */
#include "driver/core/card_internal.h"

uint32_t card_crc32(const void *data, size_t len)
{
    const uint8_t *p = data;
    uint32_t crc = ~0u;
    for (size_t i = 0; i < len; i++) {
        crc ^= p[i];
        for (int k = 0; k < 8; k++)
            crc = crc >> 1 ^ (0xedb88320u & (0u - (crc & 1)));
    }
    return ~crc;
}
