/*
 * resize.c - mappings that shrink and grow, in place or by mremap.
 */

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
	if (os_unmap(m->base + keep, len - keep))
		mapping_resized(m, keep);
	else
		os_purge(m->base + keep, len - keep);
}

/* Do without the page behind; false: the kernel would not unmap it. */
static bool mapping_unguard(struct mapping *m)
{
	size_t len = m->span.len - page_size;

	if (!m->guard)
		return true;
	if (!os_unmap(m->base + len, page_size))
		return false;
	lock_take(&os.lock);
	mapping_count(-page_size, 0);
	lock_drop(&os.lock);
	m->span.len = len;
	m->guard = false;
	return true;
}

/*
 * Grow a block to `n` bytes by moving its pages. NULL: it stayed. One of
 * several VMAs does: kernels that would move it may give up half-way.
 */
static void *mapping_grow(struct mapping *m, size_t n)
{
	size_t head = mapping_head(m), old = head + mapping_room(m);
	size_t len = round_up(head + AMPLE(n), page_size) + page_size;
	char *base = m->base, *to;
	uint32_t *leaf;

	if (m->direct || m->pieces > 1 || !mapping_unguard(m) ||
	    !(leaf = leaf_get()))
		return NULL;
	make_way(n - mapping_room(m));
	pagemap_drop_mapping(m);
	to = os_remap(base, old, len, NULL);
	if (!to) {
		len = round_up(head + n, page_size) + page_size;
		to = os_remap(base, old, len, NULL);
	}
	m = to ? mapping_header(to + head) : m;
	leaf_use(m, leaf);
	pagemap_add_mapping(m);
	if (!to)
		return NULL;
	EVENT("map", to, len);
	m->base = to;
	m->user = to + head;
	mapping_resized(m, len);
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
