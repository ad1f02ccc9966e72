/* The configuration: any octets as a file, included files too. What loads must go to JSON and back.
 * The input is cut at octets of value 1: the first part is the file, the others are what it may
 * include, by the names 1.yaml, 2.yaml and so on. */
#include "hostd/main/config/config_load.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* libfyaml 0.7.12 loses a buffer of a quoted text that is long, escaped and not closed: a kilobyte
 * for a file that is refused. Our own leaks stay visible: every path of ours allocates in this
 * program.
 */
const char *__lsan_default_suppressions(void);

const char *__lsan_default_suppressions(void)
{
    return "leak:libfyaml.so\n";
}

struct parts {
    const uint8_t *data;
    size_t size;
};

static int read_part(void *ctx, const char *path, char **data, size_t *len)
{
    const struct parts *p = ctx;
    const uint8_t *at = p->data, *end = at + p->size, *cut;
    unsigned long n = strtoul(path, NULL, 10);

    for (; n > 0; n--) {
        at = at < end ? memchr(at, 1, (size_t)(end - at)) : NULL;
        if (!at)
            return -ENOENT;
        at++;
    }
    cut = at < end ? memchr(at, 1, (size_t)(end - at)) : NULL;
    *len = (size_t)((cut ? cut : end) - at);
    *data = malloc(*len + 1);
    if (!*data)
        return -ENOMEM;
    memcpy(*data, at, *len);
    return 0;
}

static void through_json(const struct cfg *c)
{
    char *first = cfg_to_json(c), *second;
    struct cfg again;

    if (!first || cfg_from_json(first, strlen(first), &again))
        abort();
    second = cfg_to_json(&again);
    if (!second || strcmp(first, second) != 0)
        abort();
    free(first);
    free(second);
    cfg_free(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct parts parts = {data, size};
    struct cfg cfg;
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    int n = cfg_load_with(read_part, &parts, "0.yaml", &cfg, out);

    fclose(out);
    if (n < 0 || (n > 0) != (len > 0))
        abort();
    if (n == 0)
        through_json(&cfg);
    cfg_free(&cfg);
    free(text);
    return 0;
}
