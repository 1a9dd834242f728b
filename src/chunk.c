/*
 * chunk.c - chunks of 4 MiB, cut into 64 units of 64 KiB.
 *
 * A freed unit keeps its contents and goes into the cache; it serves any
 * class, run or thread, the newest first. What falls out of the cache is
 * purged, or, when all of a chunk is free, unmapped. This file also does the
 * accounts of all OS memory and so decides what falls out.
 *
 * Invariant, under os.lock: a unit is in use, or free and clean, or free,
 * dirty and in the cache, or on its way to the kernel (in no set at all).
 * No system call is made under the lock.
 */
static struct {
	struct lock lock;
	struct chunk *avail, *avail_last; /* with free units */
	struct chunk *all;
	size_t chunks;
	size_t free_chunks; /* without any unit in use */
	size_t used;        /* bytes of units in use */
	size_t mapped;      /* bytes of mappings in use */
	size_t mappings;    /* their number */
	size_t peak;        /* most bytes ever held, cache included */
	struct cache units, maps;
	char *meta, *meta_end; /* room for heaps */
} os;

#define UNITS_ALL (~(uint64_t)1) /* unit 0 is the header's */
#define SEARCH_MAX 128           /* chunks looked at for a run */
#define GROWTH (1 * MIB)         /* what counts as growing */
#define META_SIZE (64 * KIB)

INLINE struct chunk *chunk_of(const void *p)
{
	return (struct chunk *)((uintptr_t)p & ~(CHUNK - 1));
}

INLINE unsigned unit_index(const void *p)
{
	return ((uintptr_t)p >> UNIT_SHIFT) & (CHUNK_UNITS - 1);
}

INLINE struct slab *unit_of(const void *p)
{
	return &chunk_of(p)->unit[unit_index(p) - 1];
}

/* The memory that a descriptor describes. */
INLINE char *unit_start(const struct slab *s)
{
	struct chunk *c = chunk_of(s);

	return (char *)c + (size_t)(s - c->unit + 1) * UNIT;
}

static uint64_t units_mask(unsigned first, unsigned n)
{
	return (((uint64_t)1 << n) - 1) << first;
}

/* The first of `n` neighbouring set bits, or 0. */
static unsigned units_find(uint64_t set, unsigned n)
{
	unsigned left = n - 1, step = 1;

	while (left && set) {
		unsigned k = step < left ? step : left;

		set &= set >> k;
		left -= k;
		step *= 2;
	}
	return set ? (unsigned)__builtin_ctzll(set) : 0;
}

/* -- lists, under the lock */

static void units_uncache(struct chunk *c, uint64_t units)
{
	for (; units; units &= units - 1)
		cache_remove(&os.units,
			     &c->unit[__builtin_ctzll(units) - 1].span);
}

static void avail_add(struct chunk *c, bool last)
{
	c->listed = true;
	c->next = last ? NULL : os.avail;
	c->prev = last ? os.avail_last : NULL;
	*(c->prev ? &c->prev->next : &os.avail) = c;
	*(c->next ? &c->next->prev : &os.avail_last) = c;
}

static void avail_remove(struct chunk *c)
{
	c->listed = false;
	*(c->prev ? &c->prev->next : &os.avail) = c->next;
	*(c->next ? &c->next->prev : &os.avail_last) = c->prev;
}

static void chunk_list(struct chunk *c)
{
	c->all_prev = NULL;
	c->all_next = os.all;
	if (os.all)
		os.all->all_prev = c;
	os.all = c;
	os.chunks++;
	avail_add(c, true);
}

/* Take a chunk without units in use off all lists, and its units too. */
static void chunk_unlist(struct chunk *c)
{
	*(c->all_prev ? &c->all_prev->all_next : &os.all) = c->all_next;
	if (c->all_next)
		c->all_next->all_prev = c->all_prev;
	os.chunks--;
	os.free_chunks--;
	avail_remove(c);
	units_uncache(c, c->dirty);
}

/* -- accounts */

static size_t held_bytes(void)
{
	return os.used + os.mapped + os.units.bytes + os.maps.bytes;
}

static void note_peak(void)
{
	if (held_bytes() > os.peak)
		os.peak = held_bytes();
}

static size_t at_least(size_t a, size_t b)
{
	return a > b ? a : b;
}

/* The list whose oldest entry has to go, or NULL when all is in bounds. */
static struct cache *over_bound(void)
{
	bool maps = os.maps.oldest &&
		    (!os.units.oldest ||
		     os.maps.oldest->stamp < os.units.oldest->stamp);

	if (os.units.count + os.maps.count > OPT(thresh))
		return maps ? &os.maps : &os.units;
	if (os.units.bytes > at_least(CACHE_FLOOR, os.used / 4))
		return &os.units;
	if (os.maps.bytes > at_least(CACHE_FLOOR, (os.used + os.mapped) / 2))
		return &os.maps;
	return NULL;
}

/* -- giving back */

/* Memory on its way to the kernel. */
struct victim {
	char *start;
	size_t len;
	bool unit;         /* of a chunk: only purged */
	struct span *span; /* of a whole mapping */
};

/* The oldest unit, and those behind it that are the next oldest. */
static void victim_units(struct victim *v, size_t want)
{
	struct slab *u = (struct slab *)os.units.oldest;
	struct chunk *c = chunk_of(u);

	*v = (struct victim){ .start = unit_start(u), .unit = true };
	os.free_chunks -= c->free == UNITS_ALL && !c->permanent;
	do {
		v->len += UNIT;
		cache_remove(&os.units, &u->span);
		c->free &= ~((uint64_t)1 << (u - c->unit + 1));
		u++;
	} while (os.units.oldest == &u->span && chunk_of(u) == c &&
		 (over_bound() == &os.units || v->len < want));
	if (!c->free)
		avail_remove(c);
}

/* The oldest mapping, or as much of its end as is wanted. */
static void victim_mapping(struct victim *v, size_t want)
{
	struct mapping *m = (struct mapping *)os.maps.oldest;

	*v = (struct victim){ m->base, m->span.len, false, &m->span };
	if (!over_bound() && v->len > want && v->len - want >= GROWTH) {
		want = round_up(want, page_size);
		m->span.len -= want;
		m->guard = false;
		os.maps.bytes -= want;
		*v = (struct victim){ m->base + m->span.len, want, false,
				      NULL };
	} else {
		cache_remove(&os.maps, &m->span);
	}
}

/* Choose what goes next, mappings before units; false: nothing. */
static bool victim_choose(struct victim *v, size_t want)
{
	struct cache *from = over_bound();

	if (!from && want)
		from = os.maps.count ? &os.maps : &os.units;
	if (!from || !from->count)
		return false;
	(from == &os.units ? victim_units : victim_mapping)(v, want);
	return true;
}

/* The system call, without the lock. */
static bool victim_release(const struct victim *v)
{
	EVENT(v->unit ? "purge" : "unmap", v->start, v->len);
	if (v->unit)
		return os_purge(v->start, v->len);
	if (os_unmap(v->start, v->len))
		return true;
	/* Too many mappings to split one: empty it at least. */
	os_purge(v->start + page_size, v->len - page_size);
	return false;
}

/* Purged units are clean again; what the kernel refused stays cached. */
static void victim_return(const struct victim *v, bool done)
{
	struct chunk *c = chunk_of(v->start);
	unsigned first = unit_index(v->start), n = (unsigned)(v->len / UNIT);

	if (!v->unit) {
		if (!done && v->span)
			cache_push(&os.maps, v->span);
		return;
	}
	c->free |= units_mask(first, n);
	if (done)
		c->dirty &= ~units_mask(first, n);
	for (unsigned i = 0; i < n && !done; i++)
		cache_push(&os.units, &c->unit[first + i - 1].span);
	if (!c->listed)
		avail_add(c, true);
	os.free_chunks += c->free == UNITS_ALL && !c->permanent;
}

/* Give back what is over the bounds, then `want` bytes of the rest. */
static size_t cache_settle(size_t want)
{
	struct victim v;
	size_t gone = 0;
	bool found, done = true;

	while (done) {
		lock_take(&os.lock);
		found = victim_choose(&v, want > gone ? want - gone : 0);
		lock_drop(&os.lock);
		if (!found)
			break;
		done = victim_release(&v);
		lock_take(&os.lock);
		victim_return(&v, done);
		lock_drop(&os.lock);
		gone += v.len;
	}
	return gone;
}

/*
 * Before fresh memory is touched that takes us above the highest point so
 * far, as much idle memory goes: the peak stays that of the program.
 */
static void make_way(size_t len)
{
	bool grow;

	if (len < GROWTH)
		return;
	lock_take(&os.lock);
	grow = held_bytes() + len > os.peak &&
	       os.maps.bytes + os.units.bytes >= 4 * UNIT;
	lock_drop(&os.lock);
	if (grow)
		cache_settle(len);
}

/* -- units */

/* Take `n` units from bit `first` on; true when none held anything. */
static bool units_claim(struct chunk *c, unsigned first, unsigned n)
{
	uint64_t mask = units_mask(first, n), old = c->dirty & mask;

	os.free_chunks -= c->free == UNITS_ALL && !c->permanent;
	units_uncache(c, old);
	c->free &= ~mask;
	c->dirty |= mask;
	os.used += n * UNIT;
	if (!c->free)
		avail_remove(c);
	note_peak();
	return !old;
}

/* Where `n` neighbouring free units are; dirty ones only, if so asked. */
static struct chunk *units_search(unsigned n, bool dirty, unsigned *first)
{
	unsigned left = SEARCH_MAX;
	struct chunk *c;

	if (dirty && os.units.bytes < n * UNIT)
		return NULL;
	if (dirty && n == 1) {
		struct slab *u = (struct slab *)os.units.newest;

		*first = unit_index(unit_start(u));
		return chunk_of(u);
	}
	for (c = os.avail; c && left--; c = c->next) {
		*first = units_find(dirty ? c->free & c->dirty : c->free, n);
		if (*first)
			return c;
	}
	/* The newest chunk is the last; it may lie beyond the search. */
	c = dirty ? NULL : os.avail_last;
	return c && (*first = units_find(c->free, n)) ? c : NULL;
}

static struct slab *units_take(unsigned n, bool dirty)
{
	struct slab *s = NULL;
	unsigned first;
	struct chunk *c;

	lock_take(&os.lock);
	c = units_search(n, dirty, &first);
	if (c) {
		s = &c->unit[first - 1];
		s->fresh = units_claim(c, first, n);
		s->units = (uint8_t)n;
	}
	lock_drop(&os.lock);
	if (s && !s->fresh)
		EVENT("reuse", unit_start(s), n * UNIT);
	return s;
}

/* A new chunk of free units; false when memory is out. */
static bool chunk_map(void)
{
	struct chunk *c = os_map_aligned(CHUNK, CHUNK);

	if (!c && cache_settle(SIZE_MAX))
		c = os_map_aligned(CHUNK, CHUNK);
	if (!c)
		return false;
	if (!pagemap_cover(c, CHUNK)) {
		os_unmap(c, CHUNK);
		return false;
	}
	EVENT("map", c, CHUNK);
	c->free = UNITS_ALL;
	lock_take(&os.lock);
	chunk_list(c);
	os.free_chunks++;
	if (!os.meta) {
		c->permanent = true;
		os.free_chunks--;
		os.meta = (char *)c + round_up(sizeof(*c), page_size);
		os.meta_end = (char *)c + UNIT;
	}
	lock_drop(&os.lock);
	return true;
}

/* Give back a chunk that is on no list. */
static void chunk_unmap(struct chunk *c)
{
	pagemap_set(c, CHUNK_UNITS, 0);
	EVENT("unmap", c, CHUNK);
	if (os_unmap(c, CHUNK))
		return;
	/* The kernel could not: keep it, emptied, for later. */
	os_purge(c, CHUNK);
	c->free = UNITS_ALL;
	c->dirty = 0;
	lock_take(&os.lock);
	chunk_list(c);
	os.free_chunks++;
	lock_drop(&os.lock);
}

/*
 * Free `n` units; the caller owned them. A second chunk without any unit in
 * use goes back whole.
 */
static void units_free(struct slab *s, unsigned n)
{
	struct chunk *c = chunk_of(s), *empty = NULL;
	unsigned first = (unsigned)(s - c->unit) + 1;
	bool over;

	pagemap_set(unit_start(s), n, TAG_FREE);
	lock_take(&os.lock);
	for (unsigned i = n; i-- > 0;) {
		s[i].state = SLAB_FREE;
		s[i].back = 0;
		s[i].span.len = UNIT;
		cache_push(&os.units, &s[i].span);
	}
	c->free |= units_mask(first, n);
	os.used -= n * UNIT;
	if (!c->listed)
		avail_add(c, false);
	if (c->free == UNITS_ALL && !c->permanent) {
		os.free_chunks++;
		if (os.free_chunks > 1) {
			chunk_unlist(c);
			empty = c;
		}
	}
	over = over_bound() != NULL;
	lock_drop(&os.lock);
	EVENT("cache", unit_start(s), n * UNIT);
	if (empty)
		chunk_unmap(empty);
	if (over)
		cache_settle(0);
}

/* Memory for a heap: zeroed, never given back. NULL when memory is out. */
static void *meta_alloc(size_t len)
{
	char *p = NULL, *more;

	len = round_up(len, HEADER);
	lock_take(&os.lock);
	if (len <= (size_t)(os.meta_end - os.meta)) {
		p = os.meta;
		os.meta += len;
	}
	lock_drop(&os.lock);
	if (p || !(more = os_map(META_SIZE)))
		return p;
	lock_take(&os.lock);
	os.meta = more;
	os.meta_end = more + META_SIZE;
	lock_drop(&os.lock);
	return meta_alloc(len);
}
