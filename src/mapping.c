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

/* OS memory for `n` bytes behind so many, and for a guard. */
static size_t mapping_len(size_t head, size_t n)
{
	return round_up(head + n, page_size) + page_size;
}

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

/* A header may be overwritten by what is before it. */
INLINE bool mapping_sound(const struct mapping *m)
{
	return ((uintptr_t)m ^ (uintptr_t)m->base) < page_size && m->span.len &&
	       m->span.len % page_size == 0;
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
	return pagemap_has_mapping(m) && m->user == p && mapping_sound(m) ?
		       m :
		       NULL;
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

/* Undo that; false: the kernel refuses. */
static bool mapping_unguard(struct mapping *m)
{
	if (m->guard && !os_allow(mapping_last_page(m), page_size))
		return false;
	COUNT(guards, -(size_t)m->guard);
	m->guard = false;
	return true;
}

/*
 * The mapping whose block starts at `p`. `claim`: take it off the page map, and
 * it is the caller's alone; who has the lock can look at all the map knows.
 */
static struct mapping *mapping_find(void *p, bool claim)
{
	uint32_t was = os_look();
	struct mapping *m = mapping_at(p);

	if (m && claim)
		pagemap_drop_mapping(m);
	os_looked(was);
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

/* It is no longer in use; nor is it used again if the program altered it. */
static void mapping_return(struct mapping *m)
{
	size_t len = m->span.len;
	bool keep = m->trap || !os_altered(m->base, len - m->guard * page_size);

	if (keep)
		EVENT("cache", m->base, len);
	lock_take(&os.lock);
	mapping_count(-len, (size_t)-1);
	if (keep)
		cache_push(m->trap ? &os.held : &os.maps, &m->span);
	cache_unlock(0);
	if (!keep)
		mapping_unmap(m);
}

/* -- taking from the cache */

/*
 * Under the lock: take a cached mapping, or its first `len` bytes if the rest
 * is large. That is cached still, as old as before, under a header of its own.
 */
static void mapping_take(struct mapping *m, size_t len)
{
	struct mapping rest = *m;
	struct span *s;

	if (m->span.len < len + SPLIT_MIN) {
		cache_remove(&os.maps, &m->span);
		return;
	}
	rest.base += len;
	rest.span.len -= len;
	s = &mapping_put(rest, page_size)->span;
	*(s->newer ? &s->newer->older : &os.maps.newest) = s;
	*(s->older ? &s->older->newer : &os.maps.oldest) = s;
	add_relaxed(&os.maps.bytes, -len);
	COUNT(moved, m->moved);
	m->span.len = len;
	m->guard = false;
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
	bool guard = m->guard;
	char *base = m->base, *to;

	if (m->split || (m->guard && !may_move) || !mapping_unguard(m))
		return NULL;
	to = os_remap(base, m->span.len, len, may_move);
	if (!to && guard) /* else the user has that page */
		mapping_guard(m);
	if (!to)
		return NULL;
	EVENT("map", to, len);
	m = (struct mapping *)(to + at);
	COUNT(moved, to != base && !m->moved);
	m->moved |= to != base;
	m->user = to + ((char *)m->user - base);
	m->base = to;
	m->span.len = len;
	return m;
}

/* A mapping that was taken from the cache grows to `len` bytes, or goes. */
static struct mapping *mapping_extend(struct mapping *m, size_t len)
{
	struct mapping *to;

	make_way(len - m->span.len);
	to = mapping_remap(m, len);
	lock_take(&os.lock);
	if (to)
		mapping_count(len, 1);
	else
		cache_push(&os.maps, &m->span);
	lock_drop(&os.lock);
	return to;
}

/*
 * The cached mapping that fits `len` bytes best. If none is large enough, the
 * largest grows, so that only what is missing has to be faulted in. NULL: that
 * is not worth it.
 */
static struct mapping *mapping_reuse(size_t len, size_t head, size_t align,
				     bool direct)
{
	struct mapping *m;
	size_t old;

	/* It may have been a trap, and have the guard that direct ones lack. */
	if (direct && OPT(check) > 2)
		len += page_size;
	lock_take(&os.lock);
	m = (struct mapping *)cache_fit(&os.maps, len, align, direct);
	old = m ? m->span.len : 0;
	if (old >= len) {
		mapping_take(m, direct ? old : len);
		mapping_count(m->span.len, 1);
	} else if (!direct && align <= page_size && old >= len / 4) {
		cache_remove(&os.maps, &m->span);
	} else {
		m = NULL;
	}
	lock_drop(&os.lock);
	if (m && old < len)
		m = mapping_extend(m, len);
	if (!m)
		return NULL;
	REUSED(m->base, old < len ? old : m->span.len);
	return mapping_put(*m, head);
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

	/* What the program locked it may not have so much of. */
	if (load_relaxed(&altered))
		os_call(SYS_munlock, m->base, m->span.len);
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
	mapping_return(m);
}

/* -- blocks that shrink and grow */

/* It was of `old` bytes, and has no guard yet. */
static void mapping_resized(struct mapping *m, size_t old)
{
	lock_take(&os.lock);
	mapping_count(m->span.len - old, 0);
	lock_drop(&os.lock);
	mapping_guard(m);
}

/* Let go of the end of a block. */
static void mapping_shrink(struct mapping *m, size_t n)
{
	size_t keep = mapping_len(mapping_head(m), n);
	size_t len = m->span.len;

	if (len <= keep)
		return;
	EVENT("unmap", m->base + keep, len - keep);
	if (!os_unmap(m->base + keep, len - keep)) {
		os_purge(m->base + keep, len - keep);
		return;
	}
	COUNT(guards, -(size_t)m->guard);
	m->span.len = keep;
	m->guard = false;
	mapping_resized(m, len);
}

/* Grow a block to `n` bytes with its mapping. NULL: it stayed as it is. */
static void *mapping_grow(struct mapping *m, size_t n)
{
	size_t head = mapping_head(m), old = m->span.len;
	struct mapping *to = NULL;
	uint32_t *leaf;

	if (m->direct || !(leaf = leaf_get()))
		return NULL;
	make_way(n - mapping_room(m));
	if (mapping_find(m->user, true)) { /* else somebody frees it */
		to = mapping_remap(m, mapping_len(head, AMPLE(n)));
		if (!to)
			to = mapping_remap(m, mapping_len(head, n));
		leaf_use(to ? to : m, leaf);
		pagemap_add_mapping(to ? to : m);
	} else {
		leaf_put(leaf);
	}
	if (!to)
		return NULL;
	mapping_resized(to, old);
	return to->user;
}

/*
 * The block grew to `n` bytes, where it was or by moving. A small step is
 * going to be filled at once: fault its pages in together.
 */
static void mapping_grown(struct mapping *m, size_t n)
{
	size_t first = round_up(m->asked, page_size);
	size_t end = round_up(n, page_size);

	if (!m->direct && end > first + page_size && n - m->asked <= SMALL_STEP)
		os_populate((char *)m->user + first, end - first);
	m->asked = n;
}
