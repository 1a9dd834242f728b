/*
 * check.c - is this pointer a block, and if not, what is it?
 *
 * Level 1, always on. Any address may be asked about: the page map answers
 * without touching it, and only memory that is known to be ours is read.
 */
enum use { USE_FREE, USE_REALLOC, USE_SIZE };
enum fault { FREED, FOREIGN, MISALIGNED, INTERIOR };

static const char *const misuse_text[][4] = {
	[USE_FREE] = { "double free", "free of foreign pointer",
		       "free of misaligned pointer",
		       "free of interior pointer" },
	[USE_REALLOC] = { "realloc of freed pointer",
			  "realloc of foreign pointer",
			  "realloc of misaligned pointer",
			  "realloc of interior pointer" },
	[USE_SIZE] = { "usable size of freed pointer",
		       "usable size of foreign pointer",
		       "usable size of misaligned pointer",
		       "usable size of interior pointer" },
};

INLINE bool tag_is_slab(uint32_t tag)
{
	return tag >> TAG_ID_SHIFT && !(tag & TAG_MAPPING);
}

/* A block of this slab starts at `p` and was carved. */
INLINE bool slab_has(const struct slab *s, const void *p)
{
	size_t offset = (size_t)((const char *)p - unit_start(s));
	uint32_t size = classes[s->cls].size;

	return (uint32_t)offset % size == 0 &&
	       (uint32_t)offset / size < load_relaxed(&s->carved);
}

/* The mapping whose header lies in this page. */
static struct mapping *mapping_in(char *page)
{
	struct mapping *m = (struct mapping *)page;

	if (!pagemap_has_mapping(page))
		return NULL;
	return m->user == page + HEADER ? m : mapping_header(page + page_size);
}

/* The live mapping that `p` lies in, found by going back from there. */
static struct mapping *mapping_around(char *p)
{
	uintptr_t page = (uintptr_t)p & ~(page_size - 1);
	struct mapping *m;

	/* Four gigabytes back will do: this only chooses the words. */
	for (size_t i = 0; i < (size_t)1 << (32 - page_shift); i++) {
		m = mapping_in((char *)page);
		if (m)
			return p < m->base + m->span.len ? m : NULL;
		if (page < page_size)
			break;
		page -= page_size;
	}
	return NULL;
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

static enum fault fault_of(void *p)
{
	uint32_t tag = pagemap_get(p);
	bool misaligned = (uintptr_t)p % GRAIN != 0;

	if (tag_is_slab(tag)) {
		const struct slab *s = slab_of(p);
		size_t offset = (size_t)((char *)p - unit_start(s));

		if (misaligned)
			return MISALIGNED;
		/* Never handed out is as good as freed. */
		return offset % slab_size(s) ? INTERIOR : FREED;
	}
	if (tag == TAG_RUN || tag == TAG_TAIL)
		return misaligned ? MISALIGNED : INTERIOR;
	if (tag == TAG_FREE)
		return misaligned ? MISALIGNED : FREED;
	if (mapping_around(p))
		return misaligned ? MISALIGNED : INTERIOR;
	return mapping_was(p) ? FREED : FOREIGN;
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
	struct mapping *m;

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

/*
 * A block on a list of free ones has lost its mark. Without any it was handed
 * out, and was on the list a second time; otherwise it was written to.
 */
SLOW _Noreturn void free_list_corrupt(struct block *b)
{
	die(b->mark ? "free list corrupted" : "double free", b,
	    slab_size(slab_of(b)));
}
