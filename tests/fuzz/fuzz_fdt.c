/* The capability tree from a hostile card. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <sallyport/card.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct card_caps caps;
    char why[CARD_REASON_MAX];
    void *copy = malloc(len ? len : 1); /* malloc's alignment, and the exact length for ASan */
    if (!copy)
        return 0;
    memcpy(copy, data, len);
    if (!card_caps_parse(copy, len, &caps, why) &&
        (caps.n_suites > CARD_SUITES_MAX || caps.n_ports > CARD_PORTS_MAX || !caps.batch_max ||
         !caps.completion_us || !caps.heartbeat_ms))
        abort();
    free(copy);
    return 0;
}
