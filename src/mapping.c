/*
 * mapping.c - blocks with a mapping of their own: header, then user memory.
 *
 *	base | ... HEADER bytes: struct mapping | user memory ... | guard page
 *
 * Large blocks start on a page, with the header at the end of the page before
 * and an inaccessible page behind. Direct blocks, the original design, start
 * right behind a header at the start of their mapping, without a guard. Freed
 * ones go into the cache. The page map knows the pages with headers: only
 * where there is one in front of a pointer is it looked at.
 */
#define SPLIT_MIN MIB    /* a rest as large as this stays cached */
#define PIECES_MAX 1000  /* VMAs in one block; vm.max_map_count is 65530 */
#define GUARDS_MAX 10000 /* beyond, guards would eat up the VMAs */
#define SMALL_STEP (256 * KIB) /* growth that will be used at once */

INLINE struct mapping *mapping_header(void *user)
{
	return (struct mapping *)((char *)user - HEADER);
}

static size_t mapping_head(const struct mapping *m)
{
	return (size_t)((char *)m->user - m->base);
}

/* Bytes that the user may have. */
static size_t mapping_room(const struct mapping *m)
{
	return m->span.len - mapping_head(m) - (m->guard ? page_size : 0);
}

/* The mapping whose block starts at `p`, or NULL. Touches ours only. */
static struct mapping *mapping_at(void *p)
{
	size_t offset = (uintptr_t)p & (page_size - 1);
	struct mapping *m = mapping_header(p);

	if ((offset != 0 && offset != HEADER) || !pagemap_has_mapping(m))
		return NULL;
	return m->user == p ? m : NULL;
}

/* Make the last page inaccessible, so that an overflow traps. */
static void mapping_guard(struct mapping *m)
{
	char *end = m->base + m->span.len;

	if (!m->direct && !m->guard && os.mappings < GUARDS_MAX)
		m->guard = os_forbid(end - page_size, page_size);
}

/* Put the header of a block `head` bytes into [base, base + len). */
static struct mapping *mapping_init(char *base, size_t len, size_t head)
{
	struct mapping *m = mapping_header(base + head);

	*m = (struct mapping){
		.span.len = len, .base = base, .user = base + head, .pieces = 1
	};
	return m;
}

/* Count a mapping into use. */
static void mapping_count(size_t len)
{
	lock_take(&os.lock);
	os.mapped += len;
	os.mappings++;
	note_peak();
	lock_drop(&os.lock);
}

static void mapping_uncount(size_t len)
{
	os.mapped -= len;
	os.mappings--;
}

/* -- taking from the cache */

/*
 * Cut the first `len` bytes off a cached mapping; the rest stays cached under
 * a header of its own, as old as before. Lock held.
 */
static void mapping_split(struct mapping *m, size_t len)
{
	struct mapping *rest = mapping_header((char *)m->user + len);
	struct span *s = &rest->span;

	*rest = *m;
	rest->base += len;
	rest->user = (char *)m->user + len;
	s->len -= len;
	*(s->newer ? &s->newer->older : &os.maps.newest) = s;
	*(s->older ? &s->older->newer : &os.maps.oldest) = s;
	os.maps.bytes -= len;
	m->span.len = len;
	m->guard = false;
}

/* A cached mapping of at least `len` bytes, or NULL. */
static struct mapping *mapping_reuse(size_t len, size_t head, bool direct)
{
	struct mapping *m, was;

	lock_take(&os.lock);
	m = (struct mapping *)cache_fit(&os.maps, len, direct);
	if (m) {
		if (!direct && m->span.len - len >= SPLIT_MIN)
			mapping_split(m, len);
		else
			cache_remove(&os.maps, &m->span);
		os.mapped += m->span.len;
		os.mappings++;
		note_peak();
	}
	lock_drop(&os.lock);
	if (!m)
		return NULL;
	EVENT("reuse", m->base, m->span.len);
	if (mapping_head(m) != head) {
		was = *m;
		m = mapping_init(was.base, was.span.len, head);
		m->pieces = was.pieces;
		m->guard = was.guard;
	}
	m->direct = direct;
	mapping_guard(m);
	return m;
}

/* Take the largest cached piece, of `len` bytes and `pieces` at most. */
static struct mapping *piece_take(size_t len, uint32_t pieces)
{
	struct mapping *m;

	lock_take(&os.lock);
	m = (struct mapping *)cache_largest(&os.maps);
	if (m && (m->span.len < 2 * UNIT || m->pieces > pieces))
		m = NULL;
	if (m && m->span.len >= len + SPLIT_MIN)
		mapping_split(m, len);
	else if (m)
		cache_remove(&os.maps, &m->span);
	lock_drop(&os.lock);
	return m;
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
	while (at < want &&
	       (m = piece_take(want - at, PIECES_MAX - pieces)) != NULL) {
		part = *m;
		use = part.span.len - (part.guard ? page_size : 0);
		if (use > want - at)
			use = want - at;
		if (!os_remap(part.base, use, use, base + at)) {
			/* Older kernels may stop half-way: start afresh. */
			os_unmap(part.base, part.span.len);
			os_unmap(base, len);
			return NULL;
		}
		if (part.span.len > use)
			os_unmap(part.base + use, part.span.len - use);
		EVENT("reuse", part.base, use);
		pieces += part.pieces;
		at += use;
	}
	make_way(want - at);
	m = mapping_init(base, len, page_size);
	m->pieces = pieces;
	return m;
}

/* -- allocation */

/* A fresh mapping; `align` is that of the user's memory. */
static struct mapping *mapping_map(size_t len, size_t head, size_t align)
{
	size_t slack = align > page_size ? align - page_size : 0, before;
	char *p, *user;

	if (len + slack < len)
		return NULL;
	p = os_map(len + slack);
	if (!p && cache_settle(SIZE_MAX))
		p = os_map(len + slack);
	if (!p)
		return NULL;
	if (slack) {
		user = (char *)round_up((uintptr_t)p + head, align);
		before = (size_t)(user - head - p);
		if (before)
			os_unmap(p, before);
		p += before;
		if (slack > before)
			os_unmap(p + len, slack - before);
	}
	EVENT("map", p, len);
	return mapping_init(p, len, head);
}

/* Let the page map know it before the user has it. */
static void *mapping_hand_out(struct mapping *m)
{
	if (pagemap_add_mapping(m))
		return m->user;
	lock_take(&os.lock);
	mapping_uncount(m->span.len);
	lock_drop(&os.lock);
	os_unmap(m->base, m->span.len);
	return NULL;
}

/*
 * A large block of `n` bytes, aligned to a page or to `align` if more. `zero`
 * tells whether it is known to be zeroed. NULL when memory is out.
 */
static void *large_alloc(size_t n, size_t align, bool *zero)
{
	size_t len = round_up(n, page_size) + 2 * page_size;
	struct mapping *m = NULL;

	*zero = false;
	if (align <= page_size) {
		m = mapping_reuse(len, page_size, false);
		if (m)
			m->asked = n;
		if (m)
			return mapping_hand_out(m);
		m = mapping_assemble(len);
	}
	if (!m) {
		*zero = true;
		make_way(len);
		m = mapping_map(len, page_size, align);
		if (!m)
			return NULL;
	}
	mapping_count(len);
	mapping_guard(m);
	m->asked = n;
	return mapping_hand_out(m);
}

/* A block of the original design: any size, header in front, no guard. */
static void *direct_alloc(size_t n, size_t align, bool *zero)
{
	size_t head = align > HEADER ? page_size : HEADER;
	size_t len = round_up(n + head, page_size);
	struct mapping *m = NULL;

	if (align <= page_size)
		m = mapping_reuse(len, head, true);
	*zero = !m;
	if (!m) {
		m = mapping_map(len, head, align);
		if (!m)
			return NULL;
		m->direct = true;
		mapping_count(len);
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
	mapping_uncount(m->span.len);
	cache_push(&os.maps, &m->span);
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
	EVENT("unmap", m->base + keep, len - keep);
	if (!os_unmap(m->base + keep, len - keep)) {
		os_purge(m->base + keep, len - keep);
		return;
	}
	m->span.len = keep;
	m->guard = false;
	mapping_guard(m);
	lock_take(&os.lock);
	os.mapped -= len - keep;
	lock_drop(&os.lock);
}

/* Move `old` bytes to where `len` are free; NULL: can't, nothing changed. */
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
 * Grow a block to `n` bytes by moving its pages. It gets an eighth more in
 * address space, so that growing step by step stays cheap. NULL: it stayed.
 */
static void *mapping_grow(struct mapping *m, size_t n)
{
	size_t head = mapping_head(m), was = m->span.len, len;
	size_t old = was - (m->guard ? page_size : 0);
	char *base = m->base, *to;

	if (m->direct)
		return NULL;
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
	m = mapping_header(to + head);
	if (m->guard)
		os_unmap(base + old, page_size);
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
