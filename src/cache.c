/*
 * cache.c - freed blocks of OS memory, kept for reuse; under os.lock.
 *
 * The newest is reused first, the oldest given back first. Units and mappings
 * have a list each, since neither can serve for the other, but one bound: at
 * most ALLOC_THRESH blocks, and a fraction of the bytes in use.
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
	add_relaxed(&c->count, 1);
	add_relaxed(&c->bytes, s->len);
}

static void cache_remove(struct cache *c, struct span *s)
{
	*(s->newer ? &s->newer->older : &c->newest) = s->older;
	*(s->older ? &s->older->newer : &c->oldest) = s->newer;
	add_relaxed(&c->count, -1);
	add_relaxed(&c->bytes, -s->len);
}

/* The newest or smallest that holds `len` bytes; if none does, the largest. */
static struct span *cache_fit(const struct cache *c, size_t len, bool newest)
{
	struct span *best = c->newest;

	for (struct span *s = best; s; s = s->older) {
		if (newest && s->len >= len)
			return s;
		if (best->len < len ? s->len > best->len :
				      s->len >= len && s->len < best->len)
			best = s;
	}
	return best;
}
