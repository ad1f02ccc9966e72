/* Every file of bad/ must give exactly the errors that its first lines announce:
 *     # expect [FILE] LINE:COLUMN what is wrong
 * each with its line, a caret under the place, and a remedy. Where the parser's own words differ
 * from version to version only "this is not YAML" and the file are compared. */
#include "hostd/main/config/config_load.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define BAD "tests/unit/config/bad"
enum { LEAST_CASES = 30, LINE = 1024, MOST = CFG_ERRORS_MAX };

static const char not_yaml[] = "this is not YAML";

struct expected {
    unsigned n;
    char line[MOST][4 * LINE];
};

/* "# expect parts/one.yaml 3:23 text" becomes "DIR/parts/one.yaml:3:23: text". */
static void take_expectation(struct expected *x, const char *name, char *text)
{
    char *colon = strchr(text, ':'), *space = strchr(text, ' ');
    const char *file = name;

    text[strcspn(text, "\n")] = '\0';
    if (colon > space) {
        file = text;
        *space = '\0';
        text = space + 1;
        space = strchr(text, ' ');
    }
    *space = '\0';
    assert_true(x->n < MOST);
    snprintf(x->line[x->n++], sizeof x->line[0], BAD "/%s:%.40s: %s", file, text, space + 1);
}

static void read_expected(const char *name, const char *path, struct expected *x)
{
    char line[LINE];
    FILE *f = fopen(path, "r");

    assert_non_null(f);
    x->n = 0;
    while (fgets(line, sizeof line, f) && strncmp(line, "# expect ", 9) == 0)
        take_expectation(x, name, line + 9);
    fclose(f);
}

static bool same_error(const char *got, const char *want)
{
    const char *words = strstr(want, not_yaml);

    if (!words)
        return strcmp(got, want) == 0;
    return strstr(got, not_yaml) && strncmp(got, want, strcspn(want, ":")) == 0;
}

static void check_case(const char *name)
{
    static struct expected x;
    char path[512], *out = NULL, *line, *save;
    size_t size = 0;
    unsigned errors = 0, remedies = 0, carets = 0;
    struct cfg cfg;
    FILE *f;
    int n;

    snprintf(path, sizeof path, BAD "/%s", name);
    read_expected(name, path, &x);
    f = open_memstream(&out, &size);
    n = cfg_load(path, &cfg, f);
    fclose(f);
    for (line = strtok_r(out, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        remedies += strncmp(line, "  remedy: ", 10) == 0 && strlen(line) > 15;
        carets += line[strspn(line, " \t")] == '^';
        if (strncmp(line, BAD "/", strlen(BAD) + 1) != 0)
            continue;
        if (errors >= x.n || !same_error(line, x.line[errors]))
            fail_msg("%s: got  %s\nwant %s", name, line, errors < x.n ? x.line[errors] : "nothing");
        errors++;
    }
    assert_int_equal(n, x.n);
    assert_int_equal(errors, x.n);
    assert_int_equal(remedies, x.n);
    assert_int_equal(carets, x.n);
    assert_true(n > 0);
    assert_null(cfg.policies);
    free(out);
}

static void test_every_case(void **state)
{
    DIR *d = opendir(BAD);
    struct dirent *e;
    unsigned n = 0;

    assert_non_null(d);
    while ((e = readdir(d))) {
        const char *dot = strrchr(e->d_name, '.');
        if (!dot || strcmp(dot, ".yaml") != 0)
            continue;
        check_case(e->d_name);
        n++;
    }
    closedir(d);
    print_message("%u bad configurations\n", n);
    assert_true(n >= LEAST_CASES);
}

/* A reader that gives one text for every name. */
static int one_text(void *ctx, const char *path, char **data, size_t *len)
{
    *data = strdup(ctx);
    *len = strlen(ctx);
    return *data ? 0 : -1;
}

static char *load_text(char *text, int *n)
{
    char *out = NULL;
    size_t size = 0;
    FILE *f = open_memstream(&out, &size);
    struct cfg cfg;

    *n = cfg_load_with(one_text, text, "x.yaml", &cfg, f);
    fclose(f);
    cfg_free(&cfg);
    return out;
}

static void test_errors_are_bounded(void **state)
{
    enum { RECORDS = 300 };
    char *text = calloc(RECORDS + 1, 32), *out;
    int n;

    strcpy(text, "policy:\n");
    for (int i = 0; i < RECORDS; i++)
        sprintf(text + strlen(text), " - {name: p%d, action: x}\n", i);
    out = load_text(text, &n);
    assert_int_equal(n, CFG_ERRORS_MAX);
    assert_non_null(strstr(out, "stopped after 100 errors"));
    free(out);
    free(text);
}

static void test_too_large(void **state)
{
    char *text = malloc(CFG_FILE_MAX + 2), *out;
    int n;

    memset(text, '#', CFG_FILE_MAX + 1);
    text[CFG_FILE_MAX + 1] = '\0';
    out = load_text(text, &n);
    assert_int_equal(n, 1);
    assert_non_null(strstr(out, "larger than 1024 KiB"));
    free(out);
    free(text);
}

/* Each file includes one of another name: the depth is what ends it. */
static int deeper(void *ctx, const char *path, char **data, size_t *len)
{
    unsigned *n = ctx;
    char text[64];

    snprintf(text, sizeof text, "include: x%u.yaml\n", ++*n);
    *data = strdup(text);
    *len = strlen(text);
    return 0;
}

static void test_include_depth(void **state)
{
    struct cfg cfg;
    unsigned n = 0;

    assert_int_equal(cfg_load_with(deeper, &n, "x.yaml", &cfg, NULL), 1);
    assert_int_equal(n, CFG_INCLUDE_DEPTH + 1);
}

static void test_no_file(void **state)
{
    struct cfg cfg;
    char *out = NULL;
    size_t size = 0;
    FILE *f = open_memstream(&out, &size);

    assert_int_equal(cfg_load("/nonexistent/s.yaml", &cfg, f), 1);
    assert_int_equal(cfg_load("/", &cfg, f), 1);
    assert_int_equal(cfg_load("/dev/zero", &cfg, f), 1);
    fclose(f);
    assert_non_null(strstr(out, "/nonexistent/s.yaml cannot be read: No such file"));
    assert_non_null(strstr(out, "  remedy: see that the file exists"));
    free(out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_case), cmocka_unit_test(test_errors_are_bounded),
        cmocka_unit_test(test_too_large),  cmocka_unit_test(test_include_depth),
        cmocka_unit_test(test_no_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
