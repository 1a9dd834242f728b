/*
 * cache.c - the accounts of all OS memory, and what is freed and kept for
 * reuse; under os.lock.
 *
 * The newest is reused first, the oldest given back first. Free extents and
 * mappings have a list each, since neither can serve for the other, but one
 * bound: at most ALLOC_THRESH blocks, and a fraction of the bytes in use.
 * Blocks that are smaller than a unit count together.
 */
#define CACHE_FLOOR (32 * MIB) /* kept whatever is in use */

struct cache {
	struct span *newest, *oldest;
	size_t count, bytes;
};

static struct {
	struct lock lock;
	struct chunk *first;
	size_t chunks, arena; /* their number, their bytes */
	size_t free_chunks;   /* without any use */
	size_t used;          /* bytes of extents in use, slabs included */
	size_t mapped;        /* bytes of mappings in use */
	size_t mappings;      /* their number */
	size_t guards;        /* inaccessible pages behind blocks; relaxed */
	size_t moved;         /* mappings that merge with no other; relaxed */
	size_t traps;         /* in use; relaxed */
	size_t peak;          /* most bytes ever held, cache included */
	struct cache pages;   /* free extents with old contents */
	size_t weight;        /* of these, bytes; relaxed */
	struct cache maps;
	struct cache held; /* freed traps: inaccessible, without contents */
} os;

/*
 * Take the lock to look at something, also in a handler, whose thread may hold
 * it; with os_looked() afterwards.
 */
static uint32_t os_look(void)
{
	uint32_t was = tls.inside;

	if (lock_mine(&os.lock))
		return UINT32_MAX;
	if (was == OUTSIDE)
		quick_begin();
	lock_take(&os.lock);
	return was;
}

static void os_looked(uint32_t was)
{
	if (was == UINT32_MAX)
		return;
	lock_drop(&os.lock);
	in_order();
	tls.inside = (uint8_t)was;
}

/* What any thread counts: more of it, or by wrapping less. */
#define COUNT(what, n) __atomic_fetch_add(&os.what, n, __ATOMIC_RELAXED)

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

/*
 * The newest or smallest mapping that holds `len` bytes; if none does, the
 * largest. Only of those in which a large block is aligned so.
 */
static struct span *cache_fit(const struct cache *c, size_t len, size_t align,
			      bool newest)
{
	struct span *best = NULL;

	for (struct span *s = c->newest; s; s = s->older) {
		uintptr_t base = (uintptr_t)((struct mapping *)s)->base;

		if (align > page_size && (base + page_size) % align)
			continue;
		if (newest && s->len >= len)
			return s;
		if (!best ||
		    (best->len < len ? s->len > best->len :
				       s->len >= len && s->len < best->len))
			best = s;
	}
	return best;
}

/* -- accounts */

static size_t held_bytes(void)
{
	return os.used + os.mapped + os.pages.bytes + os.maps.bytes;
}

static size_t idle_bytes(void)
{
	return os.pages.bytes + os.maps.bytes;
}

static void note_peak(void)
{
	if (held_bytes() > os.peak)
		os.peak = held_bytes();
}

/* The list whose oldest entry has to go, or NULL when all is in bounds. */
static struct cache *over_bound(void)
{
	const struct span *pages = os.pages.oldest, *map = os.maps.oldest;
	bool older = map && (!pages || map->stamp < pages->stamp);

	if (os.held.count > OPT(thresh))
		return &os.held;
	if (os.weight + os.maps.count * UNIT > OPT(thresh) * UNIT)
		return older ? &os.maps : &os.pages;
	if (os.pages.bytes > CACHE_FLOOR && os.pages.bytes > os.used / 4)
		return &os.pages;
	if (os.maps.bytes > CACHE_FLOOR &&
	    os.maps.bytes > (os.used + os.mapped) / 2)
		return &os.maps;
	return NULL;
}
