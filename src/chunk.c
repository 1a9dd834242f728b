/*
 * chunk.c - memory from the OS and back: chunks of 4 MiB, for extents; and what
 * leaves the cache.
 *
 * A freed extent keeps its contents and is cached for any use. What leaves the
 * cache is purged, by page; chunks that are all free are unmapped.
 *
 * Invariant, under os.lock: memory of a chunk is in use, or free, and cached if
 * it is not clean, or on its way to the kernel. No system call is made under
 * the lock.
 */
#define CHUNK_LEAST (512 * KIB) /* enough for any block, however aligned */
#define RENEW_MIN (128 * KIB)   /* from here on glibc unmaps what is freed */
#define SPARE_MAX 2             /* chunks kept without any use */
#define GROWTH (256 * KIB)      /* what counts as growing */
#define STEP (256 * KIB)        /* goes at once for what grows by less */
#define IDLE_MIN(peak) (2 * MIB + (peak) / 16) /* else it grows all the same */

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
	os_allow(p, len);
	lock_take(&os.lock);
	cache_push(&os.maps,
		   range_span((struct mapping){
			   .base = p, .span.len = len, .split = true }));
	lock_drop(&os.lock);
}

/* Memory on its way to the kernel: an extent, or of a mapping. */
struct victim {
	char *start;
	size_t len;
	size_t gain;      /* bytes with old contents */
	struct span *map; /* if all of it goes */
	struct cache *from;
};

/* The oldest extent with old contents, from these on; of a long one a part. */
static void victim_extent(struct victim *v, size_t want)
{
	struct extent *e = (struct extent *)os.pages.oldest;
	char *start = extent_start(e), *end = start + extent_len(e);
	char *at = (char *)round_up((uintptr_t)start, page_size);
	size_t len;

	while (!dirty_inside(at, page_size, PAGES_COUNT))
		at += page_size;
	want = round_up(want, page_size) + page_size;
	if (at < start + PAGE) {
		want += (size_t)(at - start);
		at = start;
	}
	len = (size_t)(end - at);
	if (!over_bound() && len > want + UNIT)
		len = want;
	v->len = extent_take(e, at, len, EXTENT_KEPT);
	v->start = at;
	v->gain = dirty_inside(at, v->len, PAGES_COUNT) * PAGE;
	v->map = NULL;
	v->from = &os.pages;
}

/* The oldest mapping, or as much of its end as is wanted. */
static void victim_mapping(struct victim *v, struct cache *from, size_t want)
{
	struct mapping *m = (struct mapping *)from->oldest;
	size_t len = m->span.len;

	*v = (struct victim){ m->base, len, len, &m->span, from };
	if (over_bound() || len < GROWTH || len - GROWTH < want || m->trap) {
		cache_remove(from, &m->span);
		return;
	}
	/* Its first page gets a header, so that is not to be the guard. */
	v->len = round_up(want, page_size) + (m->guard ? page_size : 0);
	v->start += len - v->len;
	v->gain = v->len;
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

/* What goes next: mappings, extents, or if `refused`, traps; false: nothing. */
static bool victim_choose(struct victim *v, size_t want, bool refused)
{
	struct cache *from = over_bound();

	if (!from && want)
		from = os.maps.count && !refused  ? &os.maps :
		       os.pages.count && !refused ? &os.pages :
						    &os.held;
	if (!from || !from->count)
		return false;
	if (from == &os.pages)
		victim_extent(v, want);
	else
		victim_mapping(v, from, want);
	return true;
}

/* Give back the pages of an extent that it has to itself. */
static bool extent_purge(char *p, size_t len)
{
	char *from = (char *)round_up((uintptr_t)p, page_size);
	char *to = (char *)((uintptr_t)(p + len) & ~(page_size - 1));

	return os_purge(from, (size_t)(to - from));
}

/* The system call, without the lock. */
static bool victim_release(struct victim *v)
{
	struct mapping *m = (struct mapping *)v->map, old;

	EVENT(v->map ? "unmap" : "purge", v->start, v->len);
	if (!v->map)
		return extent_purge(v->start, v->len);
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

/* Purged pages are clean again; what the kernel refused stays cached. */
static void victim_return(const struct victim *v, bool done)
{
	if (v->map && !done)
		cache_push(v->from, v->map);
	if (v->map)
		return;
	if (done)
		dirty_inside(v->start, v->len, PAGES_CLEAN);
	extent_release(v->start, v->len);
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
		gone += done ? v.gain : 0;
		if (!done && refused)
			break;
		refused |= !done;
	}
	note_peak();
	lock_drop(&os.lock);
	return gone;
}

/* -- chunks */

/* A chunk of free memory. */
static void chunk_add(struct chunk *c)
{
	size_t units = c->len / UNIT;

	pagemap_set((char *)c + UNIT, units - 1, TAG_EXTENT);
	lock_take(&os.lock);
	c->prev = NULL;
	c->next = os.first;
	if (c->next)
		c->next->prev = c;
	os.first = c;
	add_relaxed(&os.chunks, 1);
	os.arena += c->len;
	extent_link((char *)c + UNIT, c->len - UNIT, units);
	lock_drop(&os.lock);
}

/* Give back a chunk that was removed. */
static void chunk_unmap(struct chunk *c)
{
	EVENT("unmap", c, c->len);
	/* If the kernel can't: keep it for later. */
	if (os_unmap(c, c->len))
		return;
	if (os_purge((char *)c + UNIT, c->len - UNIT))
		memset(c->dirty, 0, sizeof(c->dirty));
	chunk_add(c);
}

/* Under the lock: it is of no use any more, and nobody's. */
static void chunk_remove(struct chunk *c)
{
	extent_unlink(extent_node((char *)c + UNIT));
	*(c->prev ? &c->prev->next : &os.first) = c->next;
	if (c->next)
		c->next->prev = c->prev;
	add_relaxed(&os.chunks, -1);
	os.arena -= c->len;
	/* Before the lock is dropped: who has it may look at ours. */
	pagemap_set(c, c->len / UNIT, 0);
}

/* The chunks without any use go: how many? */
static size_t chunks_empty(void)
{
	struct chunk *c, *list = NULL;
	size_t n;

	lock_take(&os.lock);
	n = os.free_chunks;
	for (struct chunk *next = os.first; (c = next) && os.free_chunks;) {
		next = c->next;
		if (!chunk_empty(c))
			continue;
		chunk_remove(c);
		c->next = list;
		list = c;
	}
	lock_drop(&os.lock);
	for (; (c = list); chunk_unmap(c))
		list = c->next;
	return n;
}

/* All that is cached by now goes; what others free meanwhile may be endless. */
static size_t cache_empty(void)
{
	lock_take(&os.lock);
	return cache_unlock(idle_bytes() + os.held.bytes);
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
	if (held_bytes() + len <= os.peak || idle_bytes() < 4 * UNIT)
		len = 0;
	cache_unlock(len);
}

/*
 * `len` bytes, of which those from `head` on start at a multiple of `align`, a
 * power of two. Where the kernel gives another place, what is below is mostly
 * free, else what is above: a limit may leave room for no more than `len`.
 */
static void *map_aligned(size_t len, size_t align, size_t head)
{
	size_t slack = align - page_size, off, before;
	char *p = os_map(len), *below = NULL, *start;

	for (int i = 0; p && (off = (uintptr_t)(p + head) % align); i++) {
		range_unmap(p, len);
		below = i ? below : p - off;
		p = i < 2 ? os_map_near(below + align * i, len) : NULL;
	}
	if (p || !below)
		return p;
	if (len + slack < len || !(p = os_map(len + slack)))
		return NULL;
	start = (char *)round_up((uintptr_t)p + head, align) - head;
	before = (size_t)(start - p);
	range_unmap(p, before);
	range_unmap(start + len, slack - before);
	return start;
}

/* Fresh memory, for which all that is free gives way when the OS has none. */
static void *fresh_map(size_t len, size_t align, size_t head)
{
	void *p = map_aligned(len, align, head);

	if (!p && (cache_empty() | chunks_empty()))
		p = map_aligned(len, align, head);
	if (p)
		EVENT("map", p, len);
	return p;
}

/* -- extents and units */

/*
 * So much is in use from now on, and has not been touched. Drop the lock, and
 * let idle memory go if there would be more than ever: a step's worth.
 */
static void used_unlock(size_t len)
{
	size_t held;

	os.used += len;
	held = held_bytes();
	if (held > os.peak && idle_bytes() >= IDLE_MIN(os.peak))
		cache_unlock(held - os.peak > STEP ? held - os.peak : STEP);
	else
		cache_unlock(0);
}

/* The most there ever was, if one more unit makes it more; else 0. */
static size_t peak_near(void)
{
	size_t peak;

	lock_take(&os.lock);
	peak = held_bytes() + UNIT > os.peak ? os.peak : 0;
	lock_drop(&os.lock);
	return peak;
}

/* Of the pages of a unit, a bit each. */
static size_t pages_bytes(uint32_t pages)
{
	return bits_count(pages) * PAGE;
}

/* A free extent is in use: `len` bytes of it, aligned. NULL: there is none. */
static void *extent_obtain(size_t len, size_t align, uint32_t state, bool *zero)
{
	struct extent *e;
	char *p;

	lock_take(&os.lock);
	e = extent_fit(&bins[false][0], len, align);
	if (!e)
		e = extent_fit(&bins[false][1], len, align);
	p = e ? extent_place(e, len, align) : NULL;
	if (!p) {
		lock_drop(&os.lock);
		return NULL;
	}
	len = extent_take(e, p, len, state);
	*zero = !dirty_inside(p, len, PAGES_COUNT);
	extent_soil(p, len);
	used_unlock(len);
	if (!*zero)
		REUSED(p, len);
	return p;
}

/* A unit for a slab, which knows what of it has old contents; or NULL. */
static struct slab *unit_obtain(enum units kind, bool huge)
{
	struct slab *s;
	char *p;

	lock_take(&os.lock);
	p = unit_search(kind, huge);
	if (!p) {
		lock_drop(&os.lock);
		return NULL;
	}
	s = slab_of(p);
	/* No block: a stale pointer must not free it. */
	extent_take(extent_node(extent_around(p)), p, UNIT, EXTENT_KEPT);
	s->old = dirty_unit(p);
	used_unlock(UNIT);
	if (s->old)
		REUSED(p, UNIT);
	return s;
}

/* False when memory is out; a shorter one when a limit leaves no more. */
static bool chunk_map(bool huge)
{
	for (size_t len = CHUNK; len >= CHUNK_LEAST; len /= 2) {
		struct chunk *c = fresh_map(len, CHUNK, 0);

		if (c && pagemap_cover(c, len)) {
			c->len = len;
			c->huge = huge && os_huge(c, len);
			chunk_add(c);
			return true;
		}
		if (c)
			EVENT("unmap", c, len);
		range_unmap((char *)c, c ? len : 0);
	}
	return false;
}

/* Under the lock, which is dropped: a range is free. */
static void release_unlock(char *p, size_t len)
{
	struct chunk *c = chunk_of(p);
	bool whole;

	os.used -= len;
	extent_release(p, len);
	whole = chunk_empty(c) && os.free_chunks > SPARE_MAX;
	if (whole)
		chunk_remove(c);
	cache_unlock(0);
	if (whole)
		chunk_unmap(c);
}

/*
 * An extent of whose kind the C library would unmap is as new, except where it
 * shares pages. False: it must not be used again.
 */
static bool extent_renew(char *p, size_t len)
{
	char *from = (char *)round_up((uintptr_t)p, page_size);
	char *to = (char *)((uintptr_t)(p + len) & ~(page_size - 1));
	char *c = (char *)chunk_of(p);

	return len < RENEW_MIN || !os_altered(c, (size_t)(to - c)) ||
	       os_renew(from, (size_t)(to - from));
}

/* Free an extent of that length, which no pointer leads to any more. */
static void extent_return(char *p, size_t len)
{
	if (!extent_renew(p, len))
		return;
	EVENT("cache", p, len);
	lock_take(&os.lock);
	release_unlock(p, len);
}

/* Free a unit: pages of it that have contents, and that it gave back before. */
static void unit_return(struct slab *s, uint16_t old, uint16_t holes)
{
	char *p = slab_start(s);

	EVENT("cache", p, UNIT);
	pagemap_set(p, 1, TAG_EXTENT);
	lock_take(&os.lock);
	dirty_unit_set(p, old);
	os.used += pages_bytes(holes);
	release_unlock(p, UNIT);
}
