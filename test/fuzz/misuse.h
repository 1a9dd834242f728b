/*
 * misuse.h - pointers that were freed, for a program that keeps using them.
 *
 * What such a call means is up to who owns the address by now: at the start of
 * a live block it is a correct call, else there is nothing it may change.
 */
#include "model.h"

#define STALE 256 /* so that a byte chooses one */

struct stale {
	unsigned char *p;
	size_t n;
};

static struct stale stale[STALE];
static unsigned stale_count; /* ever: the oldest are overwritten */

static void remember(const struct block *b)
{
	stale[stale_count++ % STALE] = (struct stale){ b->p, b->n };
}

/* The one freed `back` frees ago, or as many less as there were */
static const struct stale *stale_at(unsigned back)
{
	unsigned known = stale_count < STALE ? stale_count : STALE;

	return known ? &stale[(stale_count - 1 - back % known) % STALE] : NULL;
}

/* The number of the live block that `p` lies in, or `count`. */
static unsigned live_around(const unsigned char *p)
{
	unsigned place = place_of(p + 1), i;

	if (place == 0)
		return count;
	i = order[place - 1];
	return p < live[i].p + live[i].usable ? i : count;
}
