/* The card's only randomness: SplitMix64 from the seed. Not for keys. */
#ifndef SALLYPORT_HWSIM_RANDOM_H
#define SALLYPORT_HWSIM_RANDOM_H

#include <stdint.h>

static inline uint64_t hw_random(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

/* 0 <= x < 1 */
static inline double hw_random_unit(uint64_t *state)
{
    return (double)(hw_random(state) >> 11) * 0x1p-53;
}

#endif
