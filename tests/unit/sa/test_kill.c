/* A process that takes numbers and judges packets is killed, for real, at any moment; the next one
 * takes the memory over. No number is used twice, and nothing delivered is delivered again. */
#include "sa_test.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { RECORDS = 4, KILLS = 200, KEPT = 4096 };

/* What the outer world saw: written after the number was used, as a packet leaves after that. */
struct seen {
    volatile uint64_t used, delivered[KEPT];
    volatile unsigned n;
};

static void *shared(size_t len)
{
    void *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(p != MAP_FAILED);
    return p;
}

static void deliver(struct seen *w, struct sa *in, uint64_t q)
{
    if (sad_commit(in, q) != WIN_NEW)
        return;
    w->delivered[w->n % KEPT] = q;
    w->n++;
}

__attribute__((noreturn)) static void child(struct seen *w, struct sad *s, uint64_t seed)
{
    struct sa *out = sad_by_spi(s, ESP_OUT, 1000), *in = sad_by_spi(s, ESP_IN, 1001);
    uint64_t first, base = *in->win.top;
    rng_state = seed;
    for (;;) {
        unsigned n = 1 + (unsigned)rng_below(700);
        if (sad_take(s, out, n, &first) || first <= w->used)
            _exit(1);
        w->used = first + n - 1;
        base += rng_below(8);
        deliver(w, in, base + 1 + rng_below(100));
    }
}

static void check_after(struct seen *w, struct sad *s)
{
    struct sa *out = sad_by_spi(s, ESP_OUT, 1000), *in = sad_by_spi(s, ESP_IN, 1001);
    uint64_t first;
    assert_true(out && in);
    assert_int_equal(sad_take(s, out, 1, &first), 0);
    assert_true(first > w->used);
    w->used = first;
    for (unsigned i = 0; i < KEPT && i < w->n; i++)
        assert_int_not_equal(win_check(&in->win, w->delivered[i]), WIN_NEW);
}

static void killed_at_any_moment(void **state)
{
    size_t len = store_len(RECORDS);
    void *mem = shared(len);
    struct seen *w = shared(sizeof *w);
    struct sad *s = sad_make(mem, RECORDS, 0, NULL, NULL);
    struct sa_spec out = spec_make(ESP_OUT, 1000), in = spec_make(ESP_IN, 1001);
    struct sa *sa;
    unsigned adopted, refused;
    out.esn = in.esn = true;
    assert_int_equal(sad_add(s, &out, 0, &sa), 0);
    assert_int_equal(sad_add(s, &in, 0, &sa), 0);
    for (int i = 0; i < KILLS; i++) {
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0)
            child(w, s, (uint64_t)i);
        usleep(200 + (useconds_t)rng_below(1000));
        int status;
        assert_int_equal(kill(pid, SIGKILL), 0);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFSIGNALED(status));
        sad_free(s);
        s = sad_make(mem, RECORDS, 1, &adopted, &refused);
        assert_int_equal(adopted, 2);
        assert_int_equal(refused, 0);
        check_after(w, s);
    }
    print_message("%d kills: %llu numbers used, %u delivered\n", KILLS, (unsigned long long)w->used,
                  w->n);
    assert_true(w->n > KILLS);
    sad_free(s);
    munmap(mem, len);
    munmap(w, sizeof *w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(killed_at_any_moment),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
