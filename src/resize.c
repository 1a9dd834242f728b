/*
 * resize.c - mappings that shrink and grow, in place or by mremap.
 */

/* OS memory for `n` bytes behind so many, and for a guard. */
static size_t mapping_len(size_t head, size_t n)
{
	return round_up(head + n, page_size) + page_size;
}

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
	struct mapping *to;
	uint32_t *leaf;

	if (m->direct || !(leaf = leaf_get()))
		return NULL;
	make_way(n - mapping_room(m));
	if (!mapping_find(m->user, true)) { /* somebody frees it */
		leaf_put(leaf);
		return NULL;
	}
	to = mapping_remap(m, mapping_len(head, AMPLE(n)));
	if (!to)
		to = mapping_remap(m, mapping_len(head, n));
	leaf_use(to ? to : m, leaf);
	pagemap_add_mapping(to ? to : m);
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
