/* The memory that outlives the data process: one record of 1 KiB an SA in a memfd that the parent
 * holds and never maps. A restarted process takes it as hostile input.
 *
 * Record, host order (the memory never leaves the machine): identity and keys written once and
 * covered by a checksum; then what changes per packet, each word beside its complement: reserved
 * (outbound: no number above it was ever used), top and bitmap (inbound); counters; the endpoint in
 * two copies with a generation and a checksum. Every store is ordered so that a process may be
 * killed between any two.
 *
 * The bitmap alone has no guard. A checksum over it would be made anew for every packet, and a
 * complement would double what is written and still not cover a kill between two words of one
 * advance. What a wrong bitmap can do is bounded: a bit too many drops a packet that was not seen;
 * a bit too few admits one packet again, of those with a good ICV, inside the window. top has its
 * guard, so nothing below the window ever comes back, and what cannot stand in a bitmap (bits
 * beyond the size, bits without a top) refuses the record. Whoever can write the memory has the
 * keys in it as well: a guard here would be against accidents only. */
#ifndef SALLYPORT_STORE_H
#define SALLYPORT_STORE_H

#include <stddef.h>
#include <stdint.h>

enum {
    STORE_RECORD = 1024,
    STORE_BLOCK = 4096 /* outbound numbers are reserved in blocks */
};

struct sa_store;

/* mem (64-byte aligned, len octets) is used in place and stays the caller's; the room is
 * len / STORE_RECORD - 1 records (the first holds the header). With adopt, records of an earlier
 * process are kept, else all is wiped. 0, -EINVAL (too small), -ENOMEM, -EBADMSG (adopt: no store
 * of this version; the caller starts afresh). */
int sa_store_open(struct sa_store **out, void *mem, size_t len, int adopt);
void sa_store_close(struct sa_store *s); /* the records stay */
unsigned sa_store_room(const struct sa_store *s);
unsigned sa_store_used(const struct sa_store *s);

#endif
