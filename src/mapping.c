/*
 * mapping.c - blocks with a mapping of their own: header, then user memory.
 *
 *	base | ... HEADER bytes: struct mapping | user memory ... | guard page
 *
 * Large blocks start on a page, with the header at the end of the page before
 * and an inaccessible page behind. Direct blocks, the original design, start
 * right behind a header at the start of their mapping, without a guard. Traps
 * have the header of a large block, but end where their guard begins. The page
 * map knows the pages with headers; no others are looked at for one.
 */
#define SPLIT_MIN MIB    /* a rest as large as this stays cached */
#define PIECES_MAX 1000  /* VMAs in one block; vm.max_map_count is 65530 */
#define GUARDS_MAX 10000 /* beyond, guards would eat up the VMAs */
#define AMPLE(n) ((n) + (n) / 8) /* for a growing block: few steps cost much */
#define SMALL_STEP (256 * KIB)   /* growth that will be used at once */

/* Of a block that is no trap. */
INLINE struct mapping *mapping_header(void *user)
{
	return (struct mapping *)((char *)user - HEADER);
}

static size_t mapping_head(const struct mapping *m)
{
	return (size_t)((char *)m->user - m->base);
}

/* Who allocated and who freed it, in front of the header if there is room. */
struct callers {
	const void *made, *freed;
};

INLINE struct callers *mapping_callers(const struct mapping *m)
{
	return m->direct && !m->trap ? NULL :
				       (struct callers *)(uintptr_t)m - 1;
}

/* Bytes that the user may have. */
static size_t mapping_room(const struct mapping *m)
{
	return m->span.len - mapping_head(m) - (m->guard ? page_size : 0);
}

/* The mapping whose block starts at `p`, or NULL. Touches ours only. */
static struct mapping *mapping_at(void *p)
{
	char *page = (char *)((uintptr_t)p & ~(page_size - 1));
	struct mapping *m = mapping_header(page);

	if (p == page + HEADER && pagemap_has_mapping(page))
		m = (struct mapping *)page;
	return pagemap_has_mapping(m) && m->user == p ? m : NULL;
}

/* Make the last page inaccessible, so that an overflow traps. */
static void mapping_guard(struct mapping *m)
{
	char *end = m->base + m->span.len;

	if (!m->direct && !m->guard && load_relaxed(&os.mappings) < GUARDS_MAX)
		m->guard = os_forbid(end - page_size, page_size);
}

/* Write a header where it belongs, `head` bytes into its mapping. */
static struct mapping *mapping_put(struct mapping m, size_t head)
{
	struct mapping *to = mapping_header(m.base + head);

	/* A direct block has it at one place, others at another. */
	mapping_header(m.base + HEADER + page_size - head)->user = NULL;
	m.user = m.base + head;
	*to = m;
	return to;
}

/* Under the lock: there is more in use, or by wrapping less. */
static void mapping_count(size_t bytes, size_t mappings)
{
	os.mapped += bytes;
	add_relaxed(&os.mappings, mappings);
	note_peak();
}

/* A fresh mapping, if it could be had, is in use. */
static struct mapping *mapping_new(char *base, size_t len, size_t head)
{
	struct mapping m = { .span.len = len, .pieces = 1 };

	if (!base)
		return NULL;
	m.base = base;
	lock_take(&os.lock);
	mapping_count(len, 1);
	lock_drop(&os.lock);
	return mapping_put(m, head);
}

/* Its length has changed, and its guard is gone. */
static void mapping_resized(struct mapping *m, size_t len)
{
	lock_take(&os.lock);
	mapping_count(len - m->span.len, 0);
	lock_drop(&os.lock);
	m->span.len = len;
	m->guard = false;
	mapping_guard(m);
}

/* It is no longer in use. */
static void mapping_return(struct mapping *m)
{
	EVENT("cache", m->base, m->span.len);
	lock_take(&os.lock);
	mapping_count(-m->span.len, (size_t)-1);
	cache_push(m->trap ? &os.held : &os.maps, &m->span);
	cache_unlock(0);
}

/* -- taking from the cache */

/*
 * Under the lock: take the first `len` bytes of a cached mapping. The rest is
 * cached still, as old as before, under a header of its own.
 */
static struct mapping *mapping_cut(struct mapping *m, size_t len)
{
	struct mapping rest = *m, *to;
	struct span *s;

	rest.base += len;
	rest.span.len -= len;
	to = mapping_put(rest, page_size);
	s = &to->span;
	*(s->newer ? &s->newer->older : &os.maps.newest) = s;
	*(s->older ? &s->older->newer : &os.maps.oldest) = s;
	add_relaxed(&os.maps.bytes, -len);
	m->span.len = len;
	m->guard = false;
	return to;
}

/* Take so much, or all if the rest would be small. */
static void mapping_uncache(struct mapping *m, size_t len)
{
	if (m->span.len < len + SPLIT_MIN)
		cache_remove(&os.maps, &m->span);
	else
		mapping_cut(m, len);
}

/* What is in front of an aligned block and its header. */
static size_t aligned_front(const struct span *s, size_t align)
{
	uintptr_t body =
		(uintptr_t)((const struct mapping *)s)->base + page_size;

	return round_up(body, align) - body;
}

/*
 * The smallest cached one in which a block can be aligned, rid of what is in
 * front, or NULL. Only while the kernel does not unmap what is around such a
 * block in a fresh mapping.
 */
static struct mapping *aligned_fit(size_t len, size_t align)
{
	struct span *best = NULL;
	size_t front;

	for (struct span *s = over_bound() ? os.maps.newest : NULL; s;
	     s = s->older)
		if (s->len >= aligned_front(s, align) + len &&
		    (!best || s->len < best->len))
			best = s;
	front = best ? aligned_front(best, align) : 0;
	if (front) {
		struct span *rest =
			&mapping_cut((struct mapping *)best, front)->span;

		cache_push(&os.maps, best);
		best = rest;
	}
	return (struct mapping *)best;
}

/* A cached mapping of at least `len` bytes, or NULL. */
static struct mapping *mapping_reuse(size_t len, size_t head, size_t align,
				     bool direct)
{
	struct mapping *m;

	/* It may have been a trap, and have the guard that direct ones lack. */
	if (direct && OPT(check) > 2)
		len += page_size;
	lock_take(&os.lock);
	m = align > page_size ?
		    aligned_fit(len, align) :
		    (struct mapping *)cache_fit(&os.maps, len, direct);
	if (m && m->span.len < len)
		m = NULL;
	if (m) {
		mapping_uncache(m, direct ? m->span.len : len);
		mapping_count(m->span.len, 1);
	}
	lock_drop(&os.lock);
	if (!m)
		return NULL;
	REUSED(m->base, m->span.len);
	return mapping_put(*m, head);
}

/* Take the largest cached piece, of `len` bytes and `pieces` at most. */
static struct mapping *piece_take(size_t len, uint32_t pieces)
{
	struct mapping *m;

	lock_take(&os.lock);
	m = (struct mapping *)cache_fit(&os.maps, SIZE_MAX, false);
	if (m && (m->span.len < 2 * UNIT || m->pieces > pieces))
		m = NULL;
	if (m)
		mapping_uncache(m, len);
	lock_drop(&os.lock);
	return m;
}

/*
 * Cut a piece to the `want` bytes or less that are to be moved; how many those
 * are. 0: the kernel would not move or cut it, and it is back in the cache.
 */
static size_t piece_trim(struct mapping *m, size_t want)
{
	size_t use = m->span.len - (m->guard ? page_size : 0), rest;

	use = use > want ? want : use;
	rest = m->span.len - use;
	if (os_movable(m->base, use) &&
	    (!rest || os_unmap(m->base + use, rest))) {
		m->span.len = use;
		m->guard = false;
		return use;
	}
	lock_take(&os.lock);
	cache_push(&os.maps, &m->span);
	lock_drop(&os.lock);
	return 0;
}

/*
 * No cached mapping is large enough: move the pages of several into a fresh
 * range; only what is missing has to be faulted in. NULL: not worth it.
 */
static struct mapping *mapping_assemble(size_t len)
{
	size_t at = 0, want = len - page_size, use;
	uint32_t pieces = 1;
	struct mapping *m, part;
	char *base;

	if (load_relaxed(&os.maps.bytes) < len / 4 || !(base = os_map(len)))
		return NULL;
	while (at < want && (m = piece_take(want - at, PIECES_MAX - pieces))) {
		use = piece_trim(m, want - at);
		part = *m;
		if (!use)
			break;
		if (!os_remap(part.base, use, use, base + at)) {
			/* It may have stopped half-way: start afresh. */
			range_unmap(part.base, use);
			range_unmap(base, len);
			return NULL;
		}
		REUSED(part.base, use);
		pieces += part.pieces;
		at += use;
	}
	make_way(want - at);
	m = mapping_new(base, len, page_size);
	m->pieces = pieces;
	return m;
}

/*
 * A block of `n` bytes, direct or large. `zero` tells whether it is known to
 * be zeroed. NULL when memory is out.
 */
static void *mapping_alloc(size_t n, size_t align, bool direct, bool *zero)
{
	size_t head = direct && align <= HEADER ? HEADER : page_size;
	size_t len = round_up(head + n, page_size) + (direct ? 0 : page_size);
	struct mapping *m = mapping_reuse(len, head, align, direct);

	if (!m && align <= page_size && !direct)
		m = mapping_assemble(len);
	*zero = !m;
	if (!m && !direct)
		make_way(len);
	if (!m)
		m = mapping_new(fresh_map(len, align, head), len, head);
	if (!m)
		return NULL;
	m->asked = n;
	m->direct = direct;
	m->trap = m->sealed = false;
	mapping_guard(m);
	/* The page map has to know it before the user does. */
	if (pagemap_add_mapping(m))
		return m->user;
	mapping_return(m);
	return NULL;
}

#define trap_body(m) ((m)->base + page_size)

/*
 * One that was freed ALLOC_THRESH frees ago, for `len` bytes of OS memory. Half
 * as many samples were freed in that time, at most.
 */
static struct mapping *trap_reuse(size_t len)
{
	size_t others = OPT(thresh) / (OPT(sample) > 1 && !OPT(direct) ? 2 : 1);
	struct mapping *m = NULL;

	lock_take(&os.lock);
	if (os.held.count && os.held.count >= others &&
	    os.held.oldest->len == len) {
		m = (struct mapping *)os.held.oldest;
		cache_remove(&os.held, &m->span);
		mapping_count(len, 1);
	}
	lock_drop(&os.lock);
	if (!m || os_allow(trap_body(m), len - 2 * page_size))
		return m;
	mapping_return(m);
	return NULL;
}

/*
 * A block that ends, to the multiple of its alignment, where inaccessible
 * memory begins, and that is inaccessible itself once it is freed, until
 * ALLOC_THRESH others are: the very instruction that is wrong faults. NULL:
 * memory is out, or there are as many as the kernel lets us have.
 */
static void *trap_alloc(size_t n, size_t align, bool *zero)
{
	size_t body = round_up(n, page_size), len = body + 2 * page_size;
	size_t grain = align > GRAIN ? align : GRAIN;
	size_t used = grain < page_size ? round_up(n, grain) : body;
	struct mapping *m;
	bool fresh;

	/* While the kernel takes nothing back there are to be no more. */
	if (load_relaxed(&os.mappings) + load_relaxed(&os.held.count) + 1 >=
		    GUARDS_MAX ||
	    load_relaxed(&os.maps.count) > OPT(thresh))
		return NULL;
	m = align <= page_size ? trap_reuse(len) : NULL;
	fresh = !m;
	if (!m)
		m = mapping_new(fresh_map(len, align, page_size), len,
				page_size);
	if (!m)
		return NULL;
	m->user = m->base + page_size + body - used;
	m->asked = n;
	if (fresh && os_apart(trap_body(m), body))
		m->pieces = 3;
	mapping_guard(m);
	m->direct = true;
	m->trap = m->guard && pagemap_add_mapping(m);
	if (m->trap) {
		__atomic_fetch_add(&os.traps, 1, __ATOMIC_RELAXED);
		*zero = fresh;
		return m->user;
	}
	mapping_return(m);
	return NULL;
}

/* What was freed faults from now on, and takes a page at most; false: no. */
static bool trap_close(const struct mapping *m)
{
	size_t len = m->span.len - 2 * page_size;

	if (len && !os_forbid(trap_body(m), len))
		return false;
	if (len > page_size)
		os_purge(trap_body(m), len);
	return true;
}

/* Free the block at `p`; false when there is none, or no longer. */
static bool mapping_free(void *p)
{
	struct mapping *m = mapping_at(p);

	if (!m || !pagemap_drop_mapping(m))
		return false;
	if (m->trap)
		__atomic_fetch_sub(&os.traps, 1, __ATOMIC_RELAXED);
	m->trap |= OPT(check) > 2 && !m->direct;
	m->trap = m->trap && trap_close(m);
	mapping_return(m);
	return true;
}
