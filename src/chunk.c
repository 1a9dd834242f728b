/*
 * chunk.c - chunks of 4 MiB, cut into 64 units of 64 KiB; and the accounts of
 * all OS memory, which decide what leaves the cache.
 *
 * A freed unit keeps its contents and is cached for any class, run or thread.
 * What leaves the cache is purged; chunks that are all free are unmapped.
 *
 * Invariant, under os.lock: a unit is in use, or free and clean, or free,
 * dirty and cached, or on its way to the kernel (in no set at all). No system
 * call is made under the lock.
 */
enum { FULL, AVAIL }; /* chunks without and with free units */

static struct {
	struct lock lock;
	struct chunk *first[2], *last[2];
	size_t chunks;
	size_t free_chunks; /* without any unit in use */
	size_t used;        /* bytes of units in use */
	size_t mapped;      /* bytes of mappings in use */
	size_t mappings;    /* their number */
	size_t guards;      /* inaccessible pages behind blocks; relaxed */
	size_t moved;       /* mappings that merge with no other; relaxed */
	size_t traps;       /* in use; relaxed */
	size_t peak;        /* most bytes ever held, cache included */
	struct cache units, maps;
	struct cache held; /* freed traps: inaccessible, without contents */
} os;

/* What any thread counts: more of it, or by wrapping less. */
#define COUNT(what, n) __atomic_fetch_add(&os.what, n, __ATOMIC_RELAXED)

#define UNITS_ALL (~(uint64_t)1) /* unit 0 is the header's */
#define SEARCH_MAX 128           /* chunks looked at for a run */
#define SPARE_MAX 2              /* chunks kept without a unit in use */
#define GROWTH (1 * MIB)         /* what counts as growing */

INLINE struct chunk *chunk_of(const void *p)
{
	return (struct chunk *)((uintptr_t)p & ~(CHUNK - 1));
}

INLINE struct slab *unit_of(const void *p)
{
	return (struct slab *)(void *)chunk_of(p) +
	       ((uintptr_t)p >> UNIT_SHIFT) % CHUNK_UNITS;
}

/* The memory that a descriptor describes. */
INLINE char *unit_start(const struct slab *s)
{
	struct chunk *c = chunk_of(s);

	return (char *)c + (size_t)(s - c->unit + 1) * UNIT;
}

/* The bits of `n` units, in the words of their chunk. */
static uint64_t units_mask(const struct slab *s, size_t n)
{
	return (((uint64_t)1 << n) - 1) << (s - chunk_of(s)->unit + 1);
}

/* The first of `n` neighbouring units of a set, or NULL. */
static struct slab *units_find(struct chunk *c, uint64_t set, unsigned n)
{
	while (--n)
		set &= set >> 1;
	return set ? &c->unit[__builtin_ctzll(set) - 1] : NULL;
}

/* -- lists, under the lock */

static void units_uncache(struct chunk *c, uint64_t units)
{
	for (; units; units &= units - 1)
		cache_remove(&os.units, &units_find(c, units, 1)->span);
}

static void chunk_link(struct chunk *c, bool last)
{
	int list = c->free ? AVAIL : FULL;

	c->next = last ? NULL : os.first[list];
	c->prev = last ? os.last[list] : NULL;
	*(c->prev ? &c->prev->next : &os.first[list]) = c;
	*(c->next ? &c->next->prev : &os.last[list]) = c;
}

static void chunk_unlink(const struct chunk *c)
{
	int list = c->free ? AVAIL : FULL;

	*(c->prev ? &c->prev->next : &os.first[list]) = c->next;
	*(c->next ? &c->next->prev : &os.last[list]) = c->prev;
}

/* Units become free, or are no longer; `last`: to be searched last. */
static void units_flip(struct chunk *c, uint64_t units, bool last)
{
	bool move = !c->free || c->free == units;

	os.free_chunks -= c->free == UNITS_ALL;
	if (move)
		chunk_unlink(c);
	c->free ^= units;
	if (move)
		chunk_link(c, last);
	os.free_chunks += c->free == UNITS_ALL;
}

/* A chunk of free units is searched last; those that are dirty are cached. */
static void chunk_add(struct chunk *c)
{
	c->free = UNITS_ALL;
	lock_take(&os.lock);
	for (uint64_t units = c->dirty; units; units &= units - 1)
		cache_push(&os.units, &units_find(c, units, 1)->span);
	chunk_link(c, true);
	add_relaxed(&os.chunks, 1);
	os.free_chunks++;
	lock_drop(&os.lock);
}

/* `n` units are free: clean, or dirty and cached and soon to be used. */
static void units_return(struct slab *s, size_t n, bool clean)
{
	struct chunk *c = chunk_of(s);
	uint64_t units = units_mask(s, n);

	if (clean)
		c->dirty &= ~units;
	while (!clean && n-- > 0) {
		s[n].state = SLAB_FREE;
		s[n].back = 0;
		s[n].span.len = UNIT;
		cache_push(&os.units, &s[n].span);
	}
	units_flip(c, units, clean);
}

/* -- accounts, under the lock */

static size_t held_bytes(void)
{
	return os.used + os.mapped + os.units.bytes + os.maps.bytes;
}

static void note_peak(void)
{
	if (held_bytes() > os.peak)
		os.peak = held_bytes();
}

/* The list whose oldest entry has to go, or NULL when all is in bounds. */
static struct cache *over_bound(void)
{
	const struct span *unit = os.units.oldest, *map = os.maps.oldest;
	bool older = map && (!unit || map->stamp < unit->stamp);

	if (os.held.count > OPT(thresh))
		return &os.held;
	if (os.units.count + os.maps.count > OPT(thresh))
		return older ? &os.maps : &os.units;
	if (os.units.bytes > CACHE_FLOOR && os.units.bytes > os.used / 4)
		return &os.units;
	if (os.maps.bytes > CACHE_FLOOR &&
	    os.maps.bytes > (os.used + os.mapped) / 2)
		return &os.maps;
	return NULL;
}

/* -- giving back */

/* The span of a range that is to be a cached mapping: a header for it. */
static struct span *range_span(struct mapping m)
{
	struct mapping *to = (struct mapping *)(m.base + page_size - HEADER);

	m.user = to + 1;
	*to = m;
	return &to->span;
}

/* Give a range back. If the kernel can't, for want of mappings, cache it. */
static void range_unmap(char *p, size_t len)
{
	if (!len || os_unmap(p, len) || !os_mapped(p))
		return;
	os_purge(p, len);
	lock_take(&os.lock);
	cache_push(&os.maps,
		   range_span((struct mapping){
			   .base = p, .span.len = len, .split = true }));
	lock_drop(&os.lock);
}

/* Memory on its way to the kernel: units to be purged, or of a mapping. */
struct victim {
	char *start;
	size_t len;
	struct slab *unit; /* the first */
	struct span *map;  /* if all of it goes */
	struct cache *from;
};

/* The oldest unit, and those behind it that are the next oldest. */
static void victim_units(struct victim *v, size_t want)
{
	struct slab *u = (struct slab *)os.units.oldest;
	struct chunk *c = chunk_of(u);

	*v = (struct victim){ .start = unit_start(u), .unit = u };
	do {
		v->len += UNIT;
		cache_remove(&os.units, &u->span);
		u++;
	} while (os.units.oldest == &u->span && chunk_of(u) == c &&
		 (over_bound() == &os.units || v->len < want));
	units_flip(c, units_mask(v->unit, v->len / UNIT), true);
}

/* The oldest mapping, or as much of its end as is wanted. */
static void victim_mapping(struct victim *v, struct cache *from, size_t want)
{
	struct mapping *m = (struct mapping *)from->oldest;
	size_t len = m->span.len;

	*v = (struct victim){ m->base, len, NULL, &m->span, from };
	if (over_bound() || len < GROWTH || len - GROWTH < want || m->trap) {
		cache_remove(from, &m->span);
		return;
	}
	/* Its first page gets a header, so that is not to be the guard. */
	v->len = round_up(want, page_size) + (m->guard ? page_size : 0);
	v->start += len - v->len;
	v->map = range_span((struct mapping){ .base = v->start,
					      .span.len = v->len,
					      .split = m->split,
					      .moved = m->moved,
					      .guard = m->guard });
	COUNT(moved, m->moved);
	m->span.len -= v->len;
	m->guard = false;
	add_relaxed(&os.maps.bytes, -v->len);
}

/* What goes next: mappings, units, or if `refused`, traps; false: nothing. */
static bool victim_choose(struct victim *v, size_t want, bool refused)
{
	struct cache *from = over_bound();

	if (!from && want)
		from = os.maps.count && !refused  ? &os.maps :
		       os.units.count && !refused ? &os.units :
						    &os.held;
	if (!from || !from->count)
		return false;
	if (from == &os.units)
		victim_units(v, want);
	else
		victim_mapping(v, from, want);
	return true;
}

/* The system call, without the lock. */
static bool victim_release(struct victim *v)
{
	struct mapping *m = (struct mapping *)v->map, old;

	EVENT(v->unit ? "purge" : "unmap", v->start, v->len);
	if (v->unit)
		return os_purge(v->start, v->len);
	old = *m;
	if (os_unmap(v->start, v->len)) {
		COUNT(guards, -(size_t)old.guard);
		COUNT(moved, -(size_t)old.moved);
		return true;
	}
	/* Too many mappings to split one: empty it at least. */
	os_purge(v->start + page_size, v->len - page_size);
	/* A trap that stays is none any more: others are to have the memory. */
	if (v->from == &os.held &&
	    os_allow(v->start + page_size, v->len - page_size)) {
		COUNT(guards, -(size_t)m->guard);
		m->trap = m->guard = false;
		v->from = &os.maps;
	}
	return false;
}

/* Purged units are clean again; what the kernel refused stays cached. */
static void victim_return(const struct victim *v, bool done)
{
	if (v->map && !done)
		cache_push(v->from, v->map);
	if (v->unit)
		units_return(v->unit, v->len / UNIT, done);
}

/* Drop the lock; what is over the bounds goes, then `want` bytes more. */
static size_t cache_unlock(size_t want)
{
	struct victim v;
	size_t gone = 0;
	bool done, refused = false;

	while (victim_choose(&v, want > gone ? want - gone : 0, refused)) {
		lock_drop(&os.lock);
		done = victim_release(&v);
		lock_take(&os.lock);
		victim_return(&v, done);
		gone += v.len;
		if (!done && refused)
			break;
		refused |= !done;
	}
	lock_drop(&os.lock);
	return gone;
}

/* All that is cached by now goes; what others free meanwhile may be endless. */
static size_t cache_empty(void)
{
	lock_take(&os.lock);
	return cache_unlock(os.units.bytes + os.maps.bytes + os.held.bytes);
}

/*
 * Before fresh memory is touched that takes us above the highest point so
 * far, as much idle memory goes: the peak stays that of the program.
 */
static void make_way(size_t len)
{
	if (len < GROWTH)
		return;
	lock_take(&os.lock);
	if (held_bytes() + len <= os.peak ||
	    os.units.bytes + os.maps.bytes < 4 * UNIT)
		len = 0;
	cache_unlock(len);
}

/*
 * `len` bytes, of which those from `head` on start at a multiple of `align`, a
 * power of two. The kernel often gives such a place at once.
 */
static void *map_aligned(size_t len, size_t align, size_t head)
{
	char *p = os_map(len), *start;
	size_t slack = align - page_size, before;

	if (!p || !(((uintptr_t)p + head) & (align - 1)))
		return p;
	range_unmap(p, len);
	if (len + slack < len || !(p = os_map(len + slack)))
		return NULL;
	start = (char *)round_up((uintptr_t)p + head, align) - head;
	before = (size_t)(start - p);
	range_unmap(p, before);
	range_unmap(start + len, slack - before);
	return start;
}

/* Fresh memory, for which the cache gives way when the OS has none. */
static void *fresh_map(size_t len, size_t align, size_t head)
{
	void *p = map_aligned(len, align, head);

	if (!p && cache_empty())
		p = map_aligned(len, align, head);
	if (p)
		EVENT("map", p, len);
	return p;
}

/* Take `n` units from `s` on; `fresh` when none held anything. */
static void units_claim(struct slab *s, unsigned n)
{
	struct chunk *c = chunk_of(s);
	uint64_t units = units_mask(s, n), old = c->dirty & units;

	s->fresh = !old;
	s->units = (uint8_t)n;
	/* Blocks may start anywhere in these, see slab_stamp. */
	for (unsigned i = 0; n > 1 && i < n; i++)
		s[i].ready = UINT8_MAX;
	units_uncache(c, old);
	c->dirty |= units;
	units_flip(c, units, true);
	os.used += n * UNIT;
	note_peak();
}

enum units { DIRTY, CLEAN, ANY };

/* The first of `n` neighbouring free units of a kind. */
static struct slab *units_search(unsigned n, enum units kind)
{
	unsigned left = SEARCH_MAX;
	struct slab *s = NULL;
	struct chunk *c;
	uint64_t set;

	if (kind == DIRTY && os.units.bytes < n * UNIT)
		return NULL;
	if (kind == DIRTY && n == 1)
		return (struct slab *)os.units.newest;
	for (c = os.first[AVAIL]; c && !s && left--; c = c->next) {
		set = kind == DIRTY ? c->dirty :
		      kind == CLEAN ? ~c->dirty :
				      UNITS_ALL;
		s = units_find(c, c->free & set, n);
	}
	/* The newest chunk is the last; it may lie beyond the search. */
	c = os.last[AVAIL];
	return s || kind != ANY || !c ? s : units_find(c, c->free, n);
}

static struct slab *units_take(unsigned n, enum units kind)
{
	struct slab *s;

	lock_take(&os.lock);
	s = units_search(n, kind);
	if (s)
		units_claim(s, n);
	lock_drop(&os.lock);
	if (s && !s->fresh)
		REUSED(unit_start(s), n * UNIT);
	return s;
}

/* A new chunk of free units; false when memory is out. */
static bool chunk_map(bool huge)
{
	struct chunk *c = fresh_map(CHUNK, CHUNK, 0);

	if (!c)
		return false;
	if (!pagemap_cover(c, CHUNK)) {
		EVENT("unmap", c, CHUNK);
		range_unmap((char *)c, CHUNK);
		return false;
	}
	if (huge)
		os_huge(c, CHUNK);
	chunk_add(c);
	return true;
}

/* Give back a chunk that is on neither list, nor in the page map. */
static void chunk_unmap(struct chunk *c)
{
	EVENT("unmap", c, CHUNK);
	/* If the kernel can't: keep it for later. */
	if (os_unmap(c, CHUNK))
		return;
	if (os_purge((char *)c + UNIT, CHUNK - UNIT))
		c->dirty = 0;
	chunk_add(c);
}

/* Free units. Beyond SPARE_MAX, a chunk without any in use goes back whole. */
static void units_free(struct slab *s, unsigned n)
{
	struct chunk *c = chunk_of(s);
	bool whole;

	EVENT("cache", unit_start(s), n * UNIT);
	pagemap_set(unit_start(s), n, TAG_FREE);
	lock_take(&os.lock);
	units_return(s, n, false);
	os.used -= n * UNIT;
	whole = c->free == UNITS_ALL && os.free_chunks > SPARE_MAX;
	if (whole) {
		units_uncache(c, c->dirty);
		chunk_unlink(c);
		add_relaxed(&os.chunks, -1);
		os.free_chunks--;
		/* Before the lock is dropped: who has it may look at ours. */
		pagemap_set(c, CHUNK_UNITS, 0);
	}
	cache_unlock(0);
	if (whole)
		chunk_unmap(c);
}
