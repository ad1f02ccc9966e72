/* The map of the client's memory: order, holes, ranges to drop, one mapping for each file. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "hwsim/server/dma_map.h"

#define PAGE 4096u

static int make_file(size_t size)
{
    int fd = memfd_create("dma", MFD_CLOEXEC);

    assert_int_equal(ftruncate(fd, (off_t)size), 0);
    return fd;
}

static void thousands_of_pages_one_mapping(void **state)
{
    enum { N = 20000 };
    struct dma_map m = {.random = 1};
    int fd = make_file((size_t)N * PAGE), i;
    uint32_t v;

    for (i = 0; i < N; i++) {
        uint64_t k = (uint64_t)i * 7919 % N; /* in no order */

        assert_int_equal(dma_map_add(&m, 0x100000 + k * PAGE, PAGE, 3, fd, k * PAGE), 0);
    }
    assert_int_equal(m.n_files, 1);
    for (i = 0; i < N; i++) {
        v = (uint32_t)i * 3;
        assert_int_equal(dma_map_write(&m, 0x100000 + (uint64_t)i * PAGE + 17, &v, 4), 0);
    }
    assert_int_equal(pread(fd, &v, 4, 777 * PAGE + 17), 4);
    assert_int_equal(v, 777 * 3);
    assert_int_equal(dma_map_remove(&m, 0x100000, 100 * PAGE), 100 * PAGE);
    assert_int_equal(dma_map_read(&m, 0x100000 + 99 * PAGE, &v, 4), -EFAULT);
    assert_int_equal(dma_map_read(&m, 0x100000 + 100 * PAGE, &v, 4), 0);
    assert_int_equal(dma_map_remove(&m, 0, 1ull << 47), (N - 100) * PAGE);
    assert_int_equal(m.count, 0);
    assert_int_equal(m.n_files, 0);
    close(fd);
}

static void access_runs_across_and_stops_at_holes(void **state)
{
    struct dma_map m = {.random = 1};
    int a = make_file(4 * PAGE), b = make_file(4 * PAGE);
    uint8_t buf[3 * PAGE], back[3 * PAGE];

    memset(buf, 0x5a, sizeof(buf));
    assert_int_equal(dma_map_add(&m, 0x10000, 2 * PAGE, 3, a, PAGE), 0);
    assert_int_equal(dma_map_add(&m, 0x10000 + 2 * PAGE, PAGE, 3, b, 0), 0);
    assert_int_equal(dma_map_add(&m, 0x10000 + 4 * PAGE, PAGE, 1, b, PAGE), 0);
    assert_int_equal(dma_map_add(&m, 0x10000 + PAGE, PAGE, 3, a, 0), -EEXIST);
    assert_int_equal(dma_map_add(&m, 0x90000, 5 * PAGE, 3, a, 0), -EINVAL);
    assert_int_equal(dma_map_add(&m, 0x90000, 0, 3, a, 0), -EINVAL);
    assert_int_equal(dma_map_add(&m, UINT64_MAX - 10, PAGE, 3, a, 0), -EINVAL);
    assert_int_equal(dma_map_write(&m, 0x10000, buf, sizeof(buf)), 0);
    assert_int_equal(dma_map_read(&m, 0x10000, back, sizeof(back)), 0);
    assert_memory_equal(buf, back, sizeof(buf));
    assert_int_equal(dma_map_read(&m, 0x10000 + PAGE, back, sizeof(back)), -EFAULT);
    assert_int_equal(dma_map_write(&m, 0x10000 + 4 * PAGE, buf, 4), -EFAULT); /* read only */
    assert_int_equal(dma_map_read(&m, 0xfffffffffffffffe, back, 8), -EFAULT);
    /* a range that cuts into an interval leaves it */
    assert_int_equal(dma_map_remove(&m, 0x10000, 2 * PAGE + 5), 2 * PAGE);
    assert_int_equal(dma_map_read(&m, 0x10000 + 2 * PAGE, back, 4), 0);
    dma_map_clear(&m);
    close(a);
    close(b);
}

static void a_file_that_shrinks(void **state)
{
    struct dma_map m = {.random = 1};
    int fd = make_file(4 * PAGE);
    uint8_t b[8] = {0};

    dma_map_catch_sigbus();
    assert_int_equal(dma_map_add(&m, 0, 4 * PAGE, 3, fd, 0), 0);
    assert_int_equal(ftruncate(fd, 0), 0);
    assert_int_equal(dma_map_read(&m, PAGE, b, 8), -EFAULT);
    assert_int_equal(dma_map_write(&m, PAGE, b, 8), -EFAULT);
    assert_int_equal(ftruncate(fd, 4 * PAGE), 0);
    assert_int_equal(dma_map_write(&m, PAGE, b, 8), 0);
    dma_map_clear(&m);
    close(fd);
}

static int by_message(void *ctx, bool write, uint64_t iova, void *buf, size_t len)
{
    if (!write)
        memset(buf, (int)(iova >> 12), len);
    ++*(unsigned *)ctx;
    return 0;
}

static void without_a_descriptor_by_message(void **state)
{
    unsigned calls = 0;
    struct dma_map m = {.random = 1, .message = by_message, .ctx = &calls};
    uint8_t b[16];

    assert_int_equal(dma_map_add(&m, 0x5000, PAGE, 3, -1, 0), 0);
    assert_int_equal(dma_map_read(&m, 0x5010, b, sizeof(b)), 0);
    assert_int_equal(b[15], 5);
    assert_int_equal(dma_map_write(&m, 0x5010, b, sizeof(b)), 0);
    assert_int_equal(calls, 2);
    dma_map_clear(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(thousands_of_pages_one_mapping),
        cmocka_unit_test(access_runs_across_and_stops_at_holes),
        cmocka_unit_test(a_file_that_shrinks),
        cmocka_unit_test(without_a_descriptor_by_message),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
