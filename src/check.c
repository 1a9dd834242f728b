/*
 * check.c - is this pointer a block, and if not, what is it?
 *
 * Any address may be asked about: the page map answers without touching it,
 * and only memory that is known to be ours is read.
 */
enum use { USE_FREE, USE_REALLOC, USE_SIZE };
enum fault { FREED, FOREIGN, MISALIGNED, INTERIOR };

#define MISUSES(freed, use) \
	{ \
		freed, use " of foreign pointer", \
			use " of misaligned pointer", \
			use " of interior pointer" \
	}
static const char *const misuse_text[][4] = {
	[USE_FREE] = MISUSES("double free", "free"),
	[USE_REALLOC] = MISUSES("realloc of freed pointer", "realloc"),
	[USE_SIZE] = MISUSES("usable size of freed pointer", "usable size"),
};

INLINE bool tag_is_slab(uint32_t tag)
{
	return tag >> TAG_ID_SHIFT && !(tag & TAG_MAPPING);
}

/* A block of this slab starts at `p` and was carved; see class.h. */
INLINE bool slab_has(const struct slab *s, const void *p)
{
	uint32_t offset = (uint32_t)((const char *)p - unit_start(s));
	const struct class *k = &classes[s->cls];
	uint64_t product = (uint64_t)offset * k->recip;
	uint32_t carved = load_relaxed(&s->carved);

	if (k->limit)
		return (uint32_t)product < k->limit && product >> 32 < carved;
	return offset % k->size == 0 && offset / k->size < carved;
}

/* Does `p` lie in a live mapping? Its header is looked for, going back. */
static bool mapping_around(const char *p)
{
	char *page = (char *)((uintptr_t)p & ~(page_size - 1));
	/* Four gigabytes will do: this only chooses the words. */
	size_t left = (size_t)1 << (32 - page_shift);

	for (; page && left > 0; page -= page_size, left--) {
		const struct mapping *m = (const struct mapping *)page;

		if (!pagemap_has_mapping(page))
			continue;
		if (m->user != page + HEADER) /* not a direct block */
			m = mapping_header(page + page_size);
		return p < m->base + m->span.len;
	}
	return false;
}

/* Is there a cached mapping whose block was at `p`? */
static bool mapping_was(const void *p)
{
	bool found = false;

	lock_take(&os.lock);
	for (struct span *s = os.maps.newest; s && !found; s = s->older)
		found = ((struct mapping *)s)->user == p;
	lock_drop(&os.lock);
	return found;
}

static enum fault fault_of(const char *p)
{
	uint32_t tag = pagemap_get(p);
	const struct slab *s;

	if ((!tag || tag & TAG_MAPPING) && !mapping_around(p))
		return mapping_was(p) ? FREED : FOREIGN;
	if ((uintptr_t)p % GRAIN)
		return MISALIGNED;
	if (!tag_is_slab(tag))
		return tag == TAG_FREE ? FREED : INTERIOR;
	/* A block that was never handed out is as good as freed. */
	s = slab_of(p);
	return (size_t)(p - unit_start(s)) % slab_size(s) ? INTERIOR : FREED;
}

SLOW _Noreturn void misused(void *p, enum use use)
{
	os_init(); /* a free may be the very first call */
	die(misuse_text[use][fault_of(p)], p, 0);
}

/* Usable bytes of the live block at `p`, of whatever kind; else misuse. */
static size_t block_size(void *p, enum use use)
{
	uint32_t tag = pagemap_get(p);
	const struct mapping *m;

	if (tag_is_slab(tag)) {
		const struct slab *s = slab_of(p);

		if (slab_has(s, p) && !block_is_free(p))
			return slab_size(s);
	} else if (tag == TAG_RUN) {
		if (!((uintptr_t)p & (UNIT - 1)))
			return unit_of(p)->units * UNIT;
	} else if ((m = mapping_at(p)) != NULL) {
		return mapping_room(m);
	}
	misused(p, use);
}
