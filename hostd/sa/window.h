/* The one replay window of an inbound SA, whatever path its packets take (RFC 4303 3.4.3, A2).
 * The bitmap lies in the SA's record in shared memory (store.h), so that a bit is set there before
 * the packet is delivered, and a restarted process goes on where the old one died. */
#ifndef SALLYPORT_WINDOW_H
#define SALLYPORT_WINDOW_H

#include <stdbool.h>
#include <stdint.h>

enum { WIN_MAX_BITS = 4096, WIN_DEFAULT_BITS = 1024 };

/* Ring of bits indexed by number modulo bits; bits is a power of two, 32 to 4096, or 0 for "no
 * replay protection" (top is still kept: ESN needs it). top is the highest number accepted, 0
 * before the first. */
struct window {
    uint64_t *top;
    uint64_t *top_guard; /* keeps ~*top beside it, so that damage is seen when the record is taken
                            over; NULL: none */
    uint64_t *bitmap;    /* WIN_MAX_BITS / 64 words */
    uint32_t bits;
    bool esn;
    uint64_t max_late; /* the largest distance behind top that arrived and was new */
};

enum win_verdict {
    WIN_NEW,
    WIN_SEEN, /* an exact repeat */
    WIN_LATE  /* below the window */
};

/* The 64-bit number for the low 32 bits on the wire (RFC 4303 A2.2); without ESN the low bits. With
 * bits 0 the numbers are decoded as by a window of WIN_MAX_BITS. In subspace 0 there is nothing
 * below: a number that would lie there is taken for a jump ahead, and the ICV decides. */
uint64_t win_infer(const struct window *w, uint32_t seq_lo);
/* Before the ICV: may this number still be accepted? Changes nothing. Number 0 is WIN_LATE. */
enum win_verdict win_check(const struct window *w, uint64_t seq);
/* After a good ICV: judge again and set, in one step. Only WIN_NEW changes the window. */
enum win_verdict win_commit(struct window *w, uint64_t seq);

#endif
