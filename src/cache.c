/*
 * cache.c - freed blocks of OS memory, kept for reuse: linked lists.
 *
 * The newest is reused first, the oldest is given back first. There are two
 * lists, of units and of mappings, since neither can serve for the other, but
 * one bound for both: at most ALLOC_THRESH blocks, and no more bytes than a
 * fraction of what is in use. Callers hold os.lock.
 */
#define CACHE_FLOOR (32 * MIB) /* kept whatever is in use */

static void cache_push(struct cache *c, struct span *s, uint64_t stamp)
{
	s->stamp = stamp;
	s->newer = NULL;
	s->older = c->newest;
	if (c->newest)
		c->newest->newer = s;
	else
		c->oldest = s;
	c->newest = s;
	c->count++;
	c->bytes += s->len;
}

static void cache_remove(struct cache *c, struct span *s)
{
	if (s->newer)
		s->newer->older = s->older;
	else
		c->newest = s->older;
	if (s->older)
		s->older->newer = s->newer;
	else
		c->oldest = s->newer;
	c->count--;
	c->bytes -= s->len;
}

/* The newest that holds `len` bytes: the original's search. */
static struct span *cache_first_fit(const struct cache *c, size_t len)
{
	struct span *s = c->newest;

	while (s && s->len < len)
		s = s->older;
	return s;
}

/* The smallest that holds `len` bytes; one that wastes little will do. */
static struct span *cache_best_fit(const struct cache *c, size_t len)
{
	struct span *best = NULL;

	for (struct span *s = c->newest; s; s = s->older) {
		if (s->len < len || (best && s->len >= best->len))
			continue;
		best = s;
		if (best->len - len <= len / 16)
			break;
	}
	return best;
}

static struct span *cache_largest(const struct cache *c)
{
	struct span *best = c->newest;

	for (struct span *s = c->newest; s; s = s->older)
		if (s->len > best->len)
			best = s;
	return best;
}
