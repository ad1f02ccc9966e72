/* The table of the schema itself: every row can be used. */
#include "hostd/main/config/value.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void test_rows(void **state)
{
    const struct schema_key *k;

    for (unsigned i = 0; (k = schema_key_at(i)); i++) {
        assert_ptr_equal(schema_key_find(k->object, k->key), k);
        assert_int_equal(schema_key_index(k), i);
        assert_true(strlen(k->doc) > 5);
        assert_true(strlen(k->remedy) > 5);
        assert_true(k->off < schema_object(k->object)->size);
        assert_true((unsigned)k->type < ST_TYPES);
        if (k->type == ST_ENUM)
            assert_non_null(strchr(k->allowed, '='));
        if (k->type == ST_U32 || k->type == ST_U64)
            assert_non_null(strstr(k->allowed, ".."));
        if (strcmp(k->key, "name") == 0)
            assert_int_equal(k->off, 0);
    }
}

static void test_defaults_are_good_values(void **state)
{
    const struct schema_key *k;

    for (unsigned i = 0; (k = schema_key_at(i)); i++) {
        void *record = calloc(1, schema_object(k->object)->size);
        struct value v = {.key = k, .text = k->fallback, .dst = (char *)record + k->off};
        if (k->fallback && k->fallback[0] && !value_read(&v))
            fail_msg("%s: default %s: %s", k->key, k->fallback, v.what);
        free(record);
    }
}

static void test_objects(void **state)
{
    for (int i = OBJ_CARD; i < OBJ_COUNT; i++) {
        const struct schema_object *o = schema_object((enum schema_object_id)i);
        assert_int_equal(schema_object_by_name(o->name), i);
        assert_true(strlen(o->doc) > 5 && strlen(o->example) > 5);
        assert_true(!o->many || schema_key_find((enum schema_object_id)i, "name"));
    }
    assert_int_equal(schema_object_by_name(""), OBJ_COUNT);
    assert_int_equal(schema_object_by_name("nothing"), OBJ_COUNT);
}

static void test_nearest(void **state)
{
    static const char *const words[] = {"action", "transforms", "tunnel", "sas", NULL};

    assert_string_equal(value_nearest("acton", words), "action");
    assert_string_equal(value_nearest("tunel", words), "tunnel");
    assert_string_equal(value_nearest("Transform", words), "transforms");
    assert_null(value_nearest("colour", words));
    assert_null(value_nearest("", words));
    assert_null(value_nearest("xyz", words));
}

static void test_words(void **state)
{
    char buf[80], small[12];

    assert_string_equal(value_words("a=1|b=2|c=3", buf, sizeof buf), "a, b or c");
    assert_string_equal(value_words("a=1", buf, sizeof buf), "a");
    assert_true(strlen(value_words("aaaa=1|bbbb=2|cccc=3", small, sizeof small)) < sizeof small);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),    cmocka_unit_test(test_defaults_are_good_values),
        cmocka_unit_test(test_objects), cmocka_unit_test(test_nearest),
        cmocka_unit_test(test_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
