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
#define SPLIT_MIN MIB /* a rest as large as this stays cached */
/* Of what takes VMAs, two a guard, for a process that may have 65,530. */
#define GUARDS_MAX 10000
#define MOVED_MAX 4000
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

/*
 * The mapping whose block starts at `p`, or NULL. Touches ours only; what is
 * not the caller's may go unless he has the lock.
 */
static struct mapping *mapping_at(void *p)
{
	char *page = (char *)((uintptr_t)p & ~(page_size - 1));
	struct mapping *m = mapping_header(page);

	if (p == page + HEADER && pagemap_has_mapping(page))
		m = (struct mapping *)page;
	return pagemap_has_mapping(m) && m->user == p ? m : NULL;
}

/* Make the page at `p` inaccessible, unless too many are; did it work? */
static bool guard_page(char *p)
{
	if (load_relaxed(&os.guards) >= GUARDS_MAX || !os_forbid(p, page_size))
		return false;
	COUNT(guards, 1);
	return true;
}

#define mapping_last_page(m) ((m)->base + (m)->span.len - page_size)

/* An overflow of it traps. */
static void mapping_guard(struct mapping *m)
{
	if (!m->direct && !m->guard && load_relaxed(&os.mappings) < GUARDS_MAX)
		m->guard = guard_page(mapping_last_page(m));
}

/*
 * Likewise, without the lock. `claim`: take it off the page map, and it is the
 * caller's alone. So who has the lock can look at all that the map knows.
 */
static struct mapping *mapping_find(void *p, bool claim)
{
	struct mapping *m;

	lock_take(&os.lock);
	m = mapping_at(p);
	if (m && claim)
		pagemap_drop_mapping(m);
	lock_drop(&os.lock);
	return m;
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
	struct mapping m = { .span.len = len };

	if (!base)
		return NULL;
	m.base = base;
	lock_take(&os.lock);
	mapping_count(len, 1);
	lock_drop(&os.lock);
	return mapping_put(m, head);
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

/* Likewise, and the program altered it: it is never used again. */
static void mapping_drop(struct mapping *m)
{
	char *base = m->base;
	size_t len = m->span.len;

	EVENT("unmap", base, len);
	COUNT(guards, -(size_t)m->guard);
	COUNT(moved, -(size_t)m->moved);
	lock_take(&os.lock);
	mapping_count(-len, (size_t)-1);
	lock_drop(&os.lock);
	range_unmap(base, len);
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
	COUNT(moved, m->moved);
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

/*
 * Give a mapping another length, where it is or by moving its pages. NULL: it
 * stayed as it is. What was moved merges with no other VMA, so a process may
 * not have any number; of several VMAs kernels may move only some.
 */
static struct mapping *mapping_remap(struct mapping *m, size_t len)
{
	size_t at = (size_t)((char *)m - m->base);
	bool may_move = m->moved || load_relaxed(&os.moved) < MOVED_MAX;
	char *base = m->base, *to, *last = mapping_last_page(m);

	if (m->split)
		return NULL;
	if (m->guard && (!may_move || !os_allow(last, page_size)))
		return NULL;
	to = os_remap(base, m->span.len, len, may_move);
	if (!to) {
		/* If the kernel refuses, what is behind the block stays. */
		if (m->guard)
			os_forbid(last, page_size);
		return NULL;
	}
	EVENT("map", to, len);
	m = (struct mapping *)(to + at);
	COUNT(moved, to != base && !m->moved);
	m->moved |= to != base;
	m->user = to + ((char *)m->user - base);
	m->base = to;
	m->span.len = len;
	COUNT(guards, -(size_t)m->guard);
	m->guard = false;
	return m;
}

/*
 * No cached mapping is large enough: the largest grows to `len` bytes, so that
 * only what is missing has to be faulted in. NULL: not worth it.
 */
static struct mapping *mapping_extend(size_t len)
{
	struct mapping *m, *to;
	size_t old;

	lock_take(&os.lock);
	m = (struct mapping *)cache_fit(&os.maps, SIZE_MAX, false);
	old = m ? m->span.len : 0;
	if (old >= len / 4)
		cache_remove(&os.maps, &m->span);
	lock_drop(&os.lock);
	if (old < len / 4)
		return NULL;
	make_way(len - old);
	to = mapping_remap(m, len);
	lock_take(&os.lock);
	if (to)
		mapping_count(len, 1);
	else
		cache_push(&os.maps, &m->span);
	lock_drop(&os.lock);
	if (!to)
		return NULL;
	REUSED(to->base, old);
	return mapping_put(*to, page_size);
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
		m = mapping_extend(len);
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
	    !load_relaxed(&altered) && os.held.oldest->len == len) {
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
	if (load_relaxed(&os.guards) >= GUARDS_MAX ||
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
	m->split |= fresh && os_apart(trap_body(m), body);
	mapping_guard(m);
	m->direct = true;
	m->trap = m->guard && pagemap_add_mapping(m);
	if (m->trap) {
		COUNT(traps, 1);
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

/* Free a block that was claimed. */
static void mapping_free(struct mapping *m)
{
	COUNT(traps, -(size_t)m->trap);
	m->trap |= OPT(check) > 2 && !m->direct;
	m->trap = m->trap && trap_close(m);
	if (m->trap || !os_altered(m->base, m->span.len - m->guard * page_size))
		mapping_return(m);
	else
		mapping_drop(m);
}
