/* A card behind a vfio-user socket (hwsim, or any server of the protocol): a bus table for
 * card_new().
 *
 * Calls wait for the server's answers, each up to a deadline (card_vfu_deadline); one that is late,
 * or an answer that makes no sense, ends the connection for good: alive() turns false. Everything
 * the server sends is checked as hostile. Registers and memory from one thread; doorbells and the
 * WAKE register from any. */
#ifndef SALLYPORT_CARD_VFU_H
#define SALLYPORT_CARD_VFU_H

#include <sallyport/card.h>

struct card_vfu;

/* Connects to a server's socket without blocking on it. Returns the descriptor or -errno. */
int card_vfu_connect(const char *path);

/* Shakes hands on a connected stream socket, turns bus mastering on, maps the doorbells (if the
 * server's file is sealed against shrinking; else they go by message), sets up to max_vectors
 * interrupts (0 = none). Takes sock, also on failure. 0 or -errno, with a sentence in why
 * (CARD_REASON_MAX octets). */
int card_vfu_open(int sock, unsigned max_vectors, struct card_vfu **out, char *why);
/* The table for card_new(). Valid until card_vfu_close(). */
void card_vfu_bus(struct card_vfu *v, struct card_bus *bus);
/* Readable when the server has closed (or says something unasked): call card_poll() then. */
int card_vfu_fd(const struct card_vfu *v);
/* How long a register access may take, milliseconds; 500 unless set. */
void card_vfu_deadline(struct card_vfu *v, unsigned ms);
/* After card_free() of the card on it. */
void card_vfu_close(struct card_vfu *v);

#endif
