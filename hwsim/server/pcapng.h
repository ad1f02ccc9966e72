/* A capture of a wire, pcapng: each frame with its direction. Every frame is written before it is
 * acted on, so that a process killed at any time has captured all that it sent. */
#ifndef SALLYPORT_HWSIM_PCAPNG_H
#define SALLYPORT_HWSIM_PCAPNG_H

#include <stddef.h>
#include <stdint.h>

struct pcapng;

/* Appends a section to the file (made when it is not there). NULL and errno on failure. */
struct pcapng *pcapng_open(const char *path, const char *interface);
void pcapng_close(struct pcapng *p);

enum pcapng_dir { PCAPNG_IN = 1, PCAPNG_OUT = 2 };
/* 0 or -errno. */
int pcapng_write(struct pcapng *p, enum pcapng_dir dir, uint64_t wall_ns, const uint8_t *frame,
                 size_t len);

#endif
