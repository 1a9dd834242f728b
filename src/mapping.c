/*
 * mapping.c - blocks with a mapping of their own: header, then user memory.
 *
 *	base | ... HEADER bytes: struct mapping | user memory ... | guard page
 *
 * Large blocks start on a page, with the header at the end of the page before
 * and an inaccessible page behind. Direct blocks, the original design, start
 * right behind a header at the start of their mapping. Freed ones go into the
 * cache. The page map knows the pages with headers: a pointer is looked at
 * only when there is a header in front of it, and must then be its block.
 */
#define SPLIT_MIN (1 * MIB)  /* a rest as large as this stays cached */
#define PIECES_MAX 1000      /* VMAs in one block; vm.max_map_count is 65530 */
#define GUARDS_MAX 10000     /* beyond, guards would eat up the VMAs */
#define ALIGN_GAP 64         /* where user memory may start in its page */

static size_t mapping_head(const struct mapping *m)
{
	return (size_t)((char *)m->user - m->base);
}

/* Bytes that the user may have. */
static size_t mapping_room(const struct mapping *m)
{
	return m->span.len - mapping_head(m) - (m->guard ? page_size : 0);
}

INLINE struct mapping *mapping_header(void *user)
{
	return (struct mapping *)((char *)user - HEADER);
}

/* The mapping whose block starts at `p`, or NULL. Touches ours only. */
static struct mapping *mapping_at(void *p)
{
	size_t offset = (uintptr_t)p & (page_size - 1);
	struct mapping *m = mapping_header(p);

	if (offset != 0 && offset != ALIGN_GAP)
		return NULL;
	if (!pagemap_has_mapping(m) || m->user != p)
		return NULL;
	return m;
}

/* Make the last page inaccessible, so that an overflow traps. */
static void mapping_guard(struct mapping *m)
{
	if (m->direct || m->guard || os.mappings > GUARDS_MAX)
		return;
	m->guard = os_protect(m->base + m->span.len - page_size, page_size,
			      false);
}

/* The header for a block `head` bytes into [base, base + len). */
static struct mapping *mapping_init(char *base, size_t len, size_t head)
{
	struct mapping *m = mapping_header(base + head);

	m->base = base;
	m->user = base + head;
	m->span.len = len;
	m->pieces = 1;
	m->guard = false;
	m->direct = false;
	return m;
}

/* Move the header of a cached mapping, should the new block need that. */
static struct mapping *mapping_rehead(struct mapping *m, size_t head)
{
	struct mapping was = *m;

	if (mapping_head(m) == head)
		return m;
	m = mapping_init(was.base, was.span.len, head);
	m->pieces = was.pieces;
	m->guard = was.guard;
	return m;
}

/* Count a mapping in or out of use. */
static void mapping_account(size_t len, bool in)
{
	lock_take(&os.lock);
	os.mapped += in ? len : -len;
	os.mappings += in ? 1 : (size_t)-1;
	note_peak();
	lock_drop(&os.lock);
}

/* -- taking from the cache */

/*
 * Cut [base, base + len) off a cached mapping; what is left stays cached
 * under a header of its own, as old as before. Lock held.
 */
static void mapping_split(struct mapping *m, size_t len)
{
	size_t head = mapping_head(m), rest = m->span.len - len;
	struct mapping *r = mapping_header(m->base + len + head);

	*r = *m;
	r->base = m->base + len;
	r->user = r->base + head;
	r->span.len = rest;
	if (r->span.newer)
		r->span.newer->older = &r->span;
	else
		os.maps.newest = &r->span;
	if (r->span.older)
		r->span.older->newer = &r->span;
	else
		os.maps.oldest = &r->span;
	os.maps.bytes -= len;
	m->span.len = len;
	m->guard = false;
}

/* A cached mapping of at least `len` bytes, or NULL. */
static struct mapping *mapping_reuse(size_t len, size_t head, bool direct)
{
	struct span *s;
	struct mapping *m = NULL;

	lock_take(&os.lock);
	s = direct ? cache_first_fit(&os.maps, len) :
		     cache_best_fit(&os.maps, len);
	if (s) {
		m = (struct mapping *)s;
		if (!direct && s->len - len >= SPLIT_MIN)
			mapping_split(m, len);
		else
			cache_remove(&os.maps, s);
		os.mapped += m->span.len;
		os.mappings++;
		note_peak();
	}
	lock_drop(&os.lock);
	if (!m)
		return NULL;
	EVENT("reuse", m->base, m->span.len);
	m = mapping_rehead(m, head);
	m->direct = direct;
	mapping_guard(m);
	return m;
}

/* Take the largest cached piece, up to `len` bytes of it; lock not held. */
static struct mapping *piece_take(size_t len, size_t *taken)
{
	struct mapping *m;

	lock_take(&os.lock);
	m = (struct mapping *)cache_largest(&os.maps);
	if (m && (m->span.len < 2 * UNIT || m->pieces > PIECES_MAX / 2))
		m = NULL;
	if (m && m->span.len >= len + SPLIT_MIN)
		mapping_split(m, len);
	else if (m)
		cache_remove(&os.maps, &m->span);
	lock_drop(&os.lock);
	if (m)
		*taken = m->span.len - (m->guard ? page_size : 0);
	return m;
}

/*
 * No cached mapping is large enough: move the pages of several into a fresh
 * range; only what is missing has to be faulted in. NULL: not worth it.
 */
static struct mapping *mapping_assemble(size_t len, size_t head, size_t *filled)
{
	size_t at = 0, want = len - page_size, n;
	uint32_t pieces = 1;
	struct mapping *m;
	char *base;

	if (load_relaxed(&os.maps.bytes) < len / 4 || !(base = os_map(len)))
		return NULL;
	while (at < want && pieces < PIECES_MAX &&
	       (m = piece_take(want - at, &n)) != NULL) {
		struct mapping piece = *m;
		size_t use = n < want - at ? n : want - at;

		if (!os_remap(piece.base, use, use, base + at)) {
			/* Older kernels may stop half-way: start afresh. */
			os_unmap(piece.base, piece.span.len);
			os_unmap(base, len);
			return NULL;
		}
		if (piece.span.len > use)
			os_unmap(piece.base + use, piece.span.len - use);
		EVENT("reuse", piece.base, use);
		pieces += piece.pieces;
		at += use;
	}
	make_way(want - at);
	m = mapping_init(base, len, head);
	m->pieces = pieces;
	*filled = at;
	return m;
}

/* -- allocation */

/* A fresh mapping whose user memory is aligned to more than a page. */
static struct mapping *mapping_map_aligned(size_t len, size_t align)
{
	size_t slack = align - page_size, before;
	char *p, *user;

	if (len + slack < len || !(p = os_map(len + slack)))
		return NULL;
	user = (char *)round_up((uintptr_t)p + page_size, align);
	before = (size_t)(user - page_size - p);
	if (before)
		os_unmap(p, before);
	if (slack - before)
		os_unmap(p + before + len, slack - before);
	return mapping_init(user - page_size, len, page_size);
}

static struct mapping *mapping_map(size_t len, size_t head, size_t align)
{
	struct mapping *m = NULL;

	for (int i = 0; i < 2 && !m; i++) {
		if (align > page_size) {
			m = mapping_map_aligned(len, align);
		} else {
			char *base = os_map(len);

			m = base ? mapping_init(base, len, head) : NULL;
		}
		if (!m && !cache_settle(SIZE_MAX))
			break;
	}
	if (m)
		EVENT("map", m->base, len);
	return m;
}

/* Let the page map know it, and the guard stand, before the user has it. */
static void *mapping_hand_out(struct mapping *m)
{
	if (!pagemap_add_mapping(m)) {
		size_t len = m->span.len;

		os_unmap(m->base, len);
		mapping_account(len, false);
		return NULL;
	}
	return m->user;
}

/*
 * A large block of `n` bytes, aligned to a page or to `align` if more. `zero`
 * tells whether it is known to be zeroed. NULL when memory is out.
 */
static void *large_alloc(size_t n, size_t align, bool *zero)
{
	size_t len, filled = 0;
	struct mapping *m = NULL;

	*zero = false;
	if (n > PTRDIFF_MAX - 4 * page_size)
		return NULL;
	len = round_up(n, page_size) + 2 * page_size; /* header, guard */
	if (align <= page_size) {
		m = mapping_reuse(len, page_size, false);
		if (m)
			return mapping_hand_out(m);
		m = mapping_assemble(len, page_size, &filled);
	}
	if (!m) {
		make_way(len);
		m = mapping_map(len, page_size, align);
	}
	if (!m)
		return NULL;
	*zero = !filled;
	mapping_account(len, true);
	mapping_guard(m);
	return mapping_hand_out(m);
}

/* A block of the original design: any size, header in front, no guard. */
static void *direct_alloc(size_t n, size_t align, bool *zero)
{
	size_t head = align > ALIGN_GAP ? page_size : HEADER, len;
	struct mapping *m = NULL;

	*zero = false;
	if (n > PTRDIFF_MAX - 4 * page_size)
		return NULL;
	len = round_up(n + head, page_size);
	if (align <= page_size)
		m = mapping_reuse(len, head, true);
	if (!m) {
		*zero = true;
		m = mapping_map(len, head, align);
		if (!m)
			return NULL;
		m->direct = true;
		mapping_account(len, true);
	}
	return mapping_hand_out(m);
}

/* Free the block at `p`; false when there is none, or no longer. */
static bool mapping_free(void *p)
{
	struct mapping *m = mapping_at(p);
	bool over;

	if (!m || !pagemap_drop_mapping(m))
		return false;
	EVENT("cache", m->base, m->span.len);
	lock_take(&os.lock);
	os.mapped -= m->span.len;
	os.mappings--;
	cache_push(&os.maps, &m->span, ++os.stamp);
	over = over_bound() != NULL;
	lock_drop(&os.lock);
	if (over)
		cache_settle(0);
	return true;
}

/* -- resizing */

/*
 * Let go of the end of a block, when that is much: a block that grows has an
 * eighth to spare, and is not to lose that at the next step.
 */
static void mapping_shrink(struct mapping *m, size_t n)
{
	size_t keep = round_up(mapping_head(m) + n, page_size) + page_size;
	size_t len = m->span.len;

	if (m->direct || len < keep + keep / 4 + SPLIT_MIN)
		return;
	if (!os_unmap(m->base + keep, len - keep)) {
		os_purge(m->base + keep, len - keep - page_size);
		return;
	}
	EVENT("unmap", m->base + keep, len - keep);
	m->span.len = keep;
	m->guard = false;
	mapping_guard(m);
	lock_take(&os.lock);
	os.mapped -= len - keep;
	lock_drop(&os.lock);
}

/* Move the pages of `m` to where `len` bytes are free; NULL: can't. */
static char *mapping_move(const struct mapping *m, size_t old, size_t len)
{
	char *to = NULL;

	if (m->pieces == 1)
		to = os_remap(m->base, old, len, NULL);
	if (to)
		return to;
	/* Several VMAs: newer kernels move them to a place made before. */
	to = os_map(len);
	if (to && !os_remap(m->base, old, old, to)) {
		os_unmap(to, len);
		to = NULL;
	}
	return to;
}

/*
 * Grow the block at `m` to `n` bytes by moving its pages; the user gets an
 * eighth more in address space, so that growing step by step stays cheap.
 * NULL: nothing was changed.
 */
static void *mapping_grow(struct mapping *m, size_t n)
{
	size_t head = mapping_head(m), was = m->span.len, old, len;
	bool guard = m->guard;
	char *base = m->base, *to;

	if (m->direct || n > PTRDIFF_MAX / 2)
		return NULL;
	old = was - (guard ? page_size : 0);
	make_way(n - mapping_room(m));
	pagemap_drop_mapping(m);
	len = round_up(head + n + n / 8, page_size) + page_size;
	to = mapping_move(m, old, len);
	if (!to) {
		len = round_up(head + n, page_size) + page_size;
		to = mapping_move(m, old, len);
	}
	if (to && !pagemap_add_mapping(to + head - HEADER)) {
		/* No memory for a leaf of the page map: go back. */
		os_unmap(to + old, len - old);
		os_remap(to, old, old, base);
		to = NULL;
	}
	if (!to) {
		pagemap_add_mapping(m);
		return NULL;
	}
	EVENT("map", to, len);
	if (guard)
		os_unmap(base + old, page_size);
	m = mapping_header(to + head);
	m->base = to;
	m->user = to + head;
	m->span.len = len;
	m->guard = false;
	m->pieces += m->pieces > 1;
	mapping_guard(m);
	lock_take(&os.lock);
	os.mapped += len - was;
	note_peak();
	lock_drop(&os.lock);
	return m->user;
}
