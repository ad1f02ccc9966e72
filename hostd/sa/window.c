/* The replay window: a ring of bits in the SA's record. See window.h and RFC 4303, 3.4.3 and A2. */
#include "hostd/sa/window.h"

enum { WORD = 64 };

/* The low edge of an ESN number is decoded against a window even when the policy judges none. */
static uint32_t infer_bits(const struct window *w)
{
    return w->bits ? w->bits : WIN_MAX_BITS;
}

uint64_t win_infer(const struct window *w, uint32_t seq_lo)
{
    if (!w->esn)
        return seq_lo;
    uint64_t top = *w->top;
    uint32_t tl = (uint32_t)top, th = (uint32_t)(top >> 32), span = infer_bits(w);
    uint32_t bottom = tl - span + 1; /* modulo 2^32 */
    if (tl >= span - 1) {            /* A2.2 case A: the window lies in one subspace */
        if (seq_lo < bottom && th != UINT32_MAX)
            th++;
    } else if (seq_lo >= bottom && th > 0) { /* case B; below subspace 0 there is nothing */
        th--;
    }
    return (uint64_t)th << 32 | seq_lo;
}

static bool in_space(const struct window *w, uint64_t seq)
{
    return seq != 0 && (w->esn || seq <= UINT32_MAX);
}

static bool bit_is_set(const struct window *w, uint64_t seq)
{
    uint64_t i = seq & (w->bits - 1);
    return w->bitmap[i / WORD] >> (i % WORD) & 1;
}

enum win_verdict win_check(const struct window *w, uint64_t seq)
{
    if (!in_space(w, seq))
        return WIN_LATE;
    uint64_t top = *w->top;
    if (w->bits == 0 || seq > top)
        return WIN_NEW;
    if (top - seq >= w->bits)
        return WIN_LATE;
    return bit_is_set(w, seq) ? WIN_SEEN : WIN_NEW;
}

static uint64_t mask_from(unsigned lo, unsigned n)
{
    uint64_t m = n >= WORD ? UINT64_MAX : (UINT64_C(1) << n) - 1;
    return m << lo;
}

/* Clears the places of the numbers first .. first + n - 1 (n <= bits), word by word. */
static void clear_span(struct window *w, uint64_t first, uint64_t n)
{
    while (n) {
        uint64_t i = first & (w->bits - 1);
        unsigned lo = (unsigned)(i % WORD);
        uint64_t room = WORD - lo;
        if (room > w->bits - i)
            room = w->bits - i;
        uint64_t take = n < room ? n : room;
        w->bitmap[i / WORD] &= ~mask_from(lo, (unsigned)take);
        first += take;
        n -= take;
    }
}

/* The order of the stores is what a process killed between any two of them leaves behind. The top
 * goes first: bits not yet cleared then say "seen" of numbers that never came, which costs a packet
 * and never admits one. The complement follows before any bit is touched, so that whoever adopts
 * the record can tell a cut-short advance (take the old top, its bits are whole) from damage. */
static void advance(struct window *w, uint64_t seq)
{
    uint64_t old = *w->top, step = seq - old;
    __atomic_store_n(w->top, seq, __ATOMIC_RELEASE);
    if (w->top_guard)
        __atomic_store_n(w->top_guard, ~seq, __ATOMIC_RELEASE);
    if (w->bits)
        clear_span(w, step >= w->bits ? 0 : old + 1, step >= w->bits ? w->bits : step);
}

static void set_bit(struct window *w, uint64_t seq)
{
    uint64_t i = seq & (w->bits - 1);
    uint64_t word = w->bitmap[i / WORD] | UINT64_C(1) << (i % WORD);
    __atomic_store_n(&w->bitmap[i / WORD], word, __ATOMIC_RELEASE);
}

enum win_verdict win_commit(struct window *w, uint64_t seq)
{
    enum win_verdict v = win_check(w, seq);
    if (v != WIN_NEW)
        return v;
    if (seq > *w->top)
        advance(w, seq);
    else if (*w->top - seq > w->max_late)
        w->max_late = *w->top - seq;
    if (w->bits)
        set_bit(w, seq);
    return WIN_NEW;
}
