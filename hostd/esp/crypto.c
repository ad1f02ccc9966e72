#include "hostd/esp/crypto.h"

#include <errno.h>

#ifndef HAVE_IPSEC_MB
int esp_crypto_ipsec_mb(struct esp_crypto **out, const struct esp_suite *s,
                        const struct esp_keys *keys, enum esp_dir dir, bool esn)
{
    return -ENOTSUP;
}
#endif

int esp_crypto_new(struct esp_crypto **out, enum esp_backend backend, const struct esp_suite *s,
                   const struct esp_keys *keys, enum esp_dir dir, bool esn)
{
    if (backend == ESP_BACKEND_IPSEC_MB)
        return esp_crypto_ipsec_mb(out, s, keys, dir, esn);
    if (backend == ESP_BACKEND_OPENSSL)
        return esp_crypto_openssl(out, s, keys, dir, esn);
    if (backend != ESP_BACKEND_BEST)
        return -EINVAL;
    int rc = esp_crypto_ipsec_mb(out, s, keys, dir, esn);
    return rc == -ENOTSUP ? esp_crypto_openssl(out, s, keys, dir, esn) : rc;
}
