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
#define IDLE_MIN(peak) (2 * MIB + (peak) / 16) /* else it grows all the same */

/* -- giving back */

/*
 * Give back a mapping that is in no list: true. If the kernel can't, for want
 * of mappings, cache it, accessible if it can be.
 */
static bool mapping_unmap(const struct mapping *m)
{
	struct mapping old = *m, *to;
	bool changed = load_relaxed(&altered);

	EVENT("unmap", old.base, old.span.len);
	if (os_unmap(old.base, old.span.len) || !os_mapped(old.base)) {
		COUNT(guards, -(size_t)old.guard);
		COUNT(moved, -(size_t)old.moved);
		return true;
	}
	os_purge(old.base, old.span.len);
	if ((old.guard || old.trap || changed) &&
	    os_allow(old.base, old.span.len)) {
		COUNT(guards, -(size_t)old.guard);
		old.guard = old.trap = false;
	}
	to = (struct mapping *)(old.base + page_size - HEADER);
	old.user = to + 1;
	old.split |= changed;
	*to = old;
	lock_take(&os.lock);
	cache_push(to->trap ? &os.held : &os.maps, &to->span);
	lock_drop(&os.lock);
	return false;
}

/* The same with a range, if it is one. */
static void range_unmap(char *p, size_t len)
{
	if (len)
		mapping_unmap(&(struct mapping){
			.span.len = len, .base = p, .split = true });
}

/* What leaves the cache: a mapping, or an extent. */
struct victim {
	struct mapping *map;
	char *start;
	size_t len;
	size_t gain; /* bytes with old contents */
};

/* The oldest: a mapping, an extent, or if `refused`, a trap; false: nothing. */
static bool victim_choose(struct victim *v, bool want, bool refused)
{
	struct cache *from = over_bound();
	struct span *s;

	if (!from && want)
		from = os.maps.count && !refused  ? &os.maps :
		       os.pages.count && !refused ? &os.pages :
						    &os.held;
	if (!from || !from->count)
		return false;
	s = from->oldest;
	*v = (struct victim){ .gain = s->len };
	if (from == &os.pages) {
		v->start = extent_start((struct extent *)s);
		v->len = extent_len((struct extent *)s);
		extent_take((struct extent *)s, v->start, v->len, EXTENT_AWAY);
	} else {
		v->map = (struct mapping *)s;
		cache_remove(from, s);
	}
	return true;
}

/* The pages that a range has to itself. */
static char *inner_pages(char *p, size_t *len)
{
	char *from = (char *)round_up((uintptr_t)p, page_size);
	char *to = (char *)(((uintptr_t)p + *len) & ~(page_size - 1));

	*len = (size_t)(to - from);
	return from;
}

/*
 * Under the lock, which is dropped for the system call. What the kernel takes
 * is clean; what not, still cached.
 */
static bool victim_release(const struct victim *v)
{
	size_t len = v->len;
	char *p = inner_pages(v->start, &len);
	bool done;

	lock_drop(&os.lock);
	if (!v->map)
		EVENT("purge", p, len);
	done = v->map ? mapping_unmap(v->map) : os_purge(p, len);
	lock_take(&os.lock);
	if (!v->map) {
		if (done) {
			dirty_had(chunk_of(p));
			dirty_inside(p, len, PAGES_CLEAN);
		}
		extent_release(v->start, v->len);
	}
	return done;
}

/* Drop the lock; what is over the bounds goes, then `want` bytes more. */
static size_t cache_unlock(size_t want)
{
	struct victim v;
	size_t gone = 0;
	bool refused = false;

	while (victim_choose(&v, want > gone, refused)) {
		if (victim_release(&v))
			gone += v.gain;
		else if (refused)
			break;
		else
			refused = true;
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
	dirty_had(c);
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

/*
 * Under the lock, which is dropped meanwhile: all but so many of the chunks
 * without any use go. How many?
 */
static size_t chunks_unmap(size_t spare)
{
	struct chunk *c, *next, *list = NULL;
	size_t n = 0;

	for (c = os.first; c && os.free_chunks > spare; c = next) {
		next = c->next;
		if (!chunk_empty(c))
			continue;
		chunk_remove(c);
		c->next = list;
		list = c;
		n++;
	}
	lock_drop(&os.lock);
	for (; (c = list); chunk_unmap(c))
		list = c->next;
	lock_take(&os.lock);
	return n;
}

/*
 * All that is free by now goes, but for so many chunks that keep their place;
 * what others free meanwhile may be endless.
 */
static size_t cache_empty(size_t spare)
{
	size_t chunks;

	lock_take(&os.lock);
	chunks = chunks_unmap(spare);
	return chunks + cache_unlock(idle_bytes() + os.held.bytes);
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
	char *p = os_map(len), *start;
	uintptr_t below = 0;

	for (int i = 0; p && (off = (uintptr_t)(p + head) % align); i++) {
		range_unmap(p, len);
		below = i ? below + align : (uintptr_t)p - off;
		p = i < 2 ? os_map_near((void *)below, len) : NULL;
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

	if (!p && cache_empty(0))
		p = map_aligned(len, align, head);
	if (p)
		EVENT("map", p, len);
	return p;
}

/* -- extents and units */

/*
 * So much is in use from now on, and has not been touched. Drop the lock, and
 * let as much idle memory go if there would be more than ever.
 */
static void used_unlock(size_t len)
{
	size_t held;

	os.used += len;
	held = held_bytes();
	len = 0;
	if (held > os.peak && idle_bytes() >= IDLE_MIN(os.peak))
		len = held - os.peak;
	cache_unlock(len);
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
	extent_take(extent_node(extent_around(p)), p, UNIT, EXTENT_AWAY);
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
		range_unmap((char *)c, c ? len : 0);
	}
	return false;
}

/* Under the lock, which is dropped: a range is free. */
static void release_unlock(char *p, size_t len)
{
	os.used -= len;
	extent_release(p, len);
	if (os.free_chunks > SPARE_MAX)
		chunks_unmap(SPARE_MAX);
	cache_unlock(0);
}

/*
 * An extent of whose kind the C library would unmap is as new, except where it
 * shares pages. False: it must not be used again.
 */
static bool extent_renew(char *p, size_t len)
{
	char *c = (char *)chunk_of(p);
	bool small = len < RENEW_MIN;

	p = inner_pages(p, &len);
	return small || !os_altered(c, (size_t)(p - c) + len) ||
	       os_map_flagged(p, len, MAP_FIXED);
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
static void unit_return(struct slab *s, uint16_t had, uint16_t old,
			uint16_t holes)
{
	char *p = slab_start(s);

	EVENT("cache", p, UNIT);
	pagemap_set(p, 1, TAG_EXTENT);
	lock_take(&os.lock);
	dirty_unit_set(p, had); /* so that it is remembered */
	dirty_unit_set(p, old);
	os.used += pages_bytes(holes);
	release_unlock(p, UNIT);
}
