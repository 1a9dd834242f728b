/*
 * cache.c - freed blocks of OS memory, kept for reuse: linked lists.
 *
 * The newest is reused first, the oldest is given back first. There are two
 * lists, of units and of mappings, since neither can serve for the other, but
 * one bound for both: at most ALLOC_THRESH blocks, and no more bytes than a
 * fraction of what is in use. Callers hold os.lock.
 */
#define CACHE_FLOOR (32 * MIB) /* kept whatever is in use */

static void cache_push(struct cache *c, struct span *s)
{
	static uint64_t frees;

	s->stamp = ++frees;
	s->newer = NULL;
	s->older = c->newest;
	*(c->newest ? &c->newest->newer : &c->oldest) = s;
	c->newest = s;
	c->count++;
	c->bytes += s->len;
}

static void cache_remove(struct cache *c, struct span *s)
{
	*(s->newer ? &s->newer->older : &c->newest) = s->older;
	*(s->older ? &s->older->newer : &c->oldest) = s->newer;
	c->count--;
	c->bytes -= s->len;
}

/*
 * One that holds `len` bytes, or NULL: the newest, as the original searched,
 * or the smallest.
 */
static struct span *cache_fit(const struct cache *c, size_t len, bool newest)
{
	struct span *best = NULL;

	for (struct span *s = c->newest; s; s = s->older) {
		if (s->len < len || (best && s->len >= best->len))
			continue;
		best = s;
		if (newest)
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
