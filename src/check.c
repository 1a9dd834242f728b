/*
 * check.c - is this pointer a block, and if not, what is it?
 *
 * Any address may be asked about: the page map answers without touching it,
 * and only memory that is known to be ours is read.
 */
enum use { USE_FREE, USE_REALLOC, USE_SIZE, USE_FREE_SIZED };
enum fault { FREED, FOREIGN, MISALIGNED, INTERIOR };
#define NO_BLOCK SIZE_MAX

#define MISUSES(freed, use) \
	{ \
		freed, use " of foreign pointer", \
			use " of misaligned pointer", \
			use " of interior pointer" \
	}
static const char *const misuse_text[][4] = {
	[USE_FREE] = MISUSES(DOUBLE_FREE, "free"),
	[USE_FREE_SIZED] = MISUSES(DOUBLE_FREE, "free"),
	[USE_REALLOC] = MISUSES("realloc of freed pointer", "realloc"),
	[USE_SIZE] = MISUSES("usable size of freed pointer", "usable size"),
};

/* A block of this slab's class starts at `p` and was carved; see class.h. */
INLINE bool class_has(const struct class *k, const void *p)
{
	uint64_t product = (uint64_t)(uint16_t)(uintptr_t)p * k->recip;

	return (uint32_t)product < k->limit &&
	       product >> 32 < load_relaxed(&slab_of(p)->carved) &&
	       !block_gone(slab_of(p), p);
}
#define slab_has(s, p) class_has(&classes[(s)->cls], p)

/*
 * Does `p` lie in a live mapping? Its header is looked for, going back. Under
 * the lock: none goes meanwhile.
 */
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

static const struct mapping *cached_at(const void *p, const struct cache *c)
{
	const struct span *s = c->newest;

	while (s && ((const struct mapping *)s)->user != p)
		s = s->older;
	return (const struct mapping *)s;
}

/* Is there a cached mapping whose block was at `p`? */
static bool mapping_was(const void *p, struct facts *facts)
{
	const struct mapping *m;

	m = cached_at(p, &os.maps) ?: cached_at(p, &os.held);
	if (m && (m->trap || m->sealed) && mapping_callers(m)) {
		facts->size = m->asked;
		facts->made = mapping_callers(m)->made;
		facts->freed = mapping_callers(m)->freed;
	}
	return m;
}

/* Under the lock, since an extent may be cut or merged. */
static enum fault fault_of_extent(const char *p, struct facts *facts)
{
	const char *e = extent_around(p);
	uint32_t word = extent_get(e);

	if ((word & EXTENT_STATE) != EXTENT_USED) {
		if (word & EXTENT_SEALED && p == e)
			*facts =
				seal_facts(seal_of(p, word_len(word), DEEP), p);
		return FREED;
	}
	*facts = (struct facts){ .start = e, .size = word_len(word) };
	return INTERIOR;
}

static enum fault fault_of(const char *p, uint32_t tag, struct facts *facts)
{
	if ((!tag || tag & TAG_MAPPING) && !mapping_around(p))
		return mapping_was(p, facts) ? FREED : FOREIGN;
	if ((uintptr_t)p % GRAIN)
		return MISALIGNED;
	if (tag == TAG_EXTENT)
		return fault_of_extent(p, facts);
	if (!tag_is_slab(tag))
		return tag == TAG_FREE ? FREED : INTERIOR;
	/* A block that was never handed out is as good as freed. */
	return (size_t)(p - slab_start(slab_of(p))) % tag_class(tag)->size ?
		       INTERIOR :
		       FREED;
}

/* The block around `p`, which is none but lies in a slab of this tag. */
static struct facts facts_of(const char *p, uint32_t tag, enum fault fault)
{
	const struct slab *s = slab_of(p);
	size_t size = tag_class(tag)->size;

	p -= (size_t)(p - slab_start(s)) % size;
	if (fault != FREED)
		return (struct facts){ .start = p, .size = size };
	return s->sealed && class_has(tag_class(tag), p) &&
			       seal_is_free(seal_of(p, size, DEEP), p) ?
		       seal_facts(seal_of(p, size, DEEP), p) :
		       (struct facts){ 0 };
}

/* Returns only with ALLOC_ABORT=0. */
SLOW void misused(void *p, enum use use)
{
	struct facts facts = { 0 };
	enum fault fault;
	uint32_t tag, was;

	os_init(); /* a free may be the very first call */
	/* What the page map knows stays, be it somebody else's. */
	was = os_look();
	tag = pagemap_get(p);
	fault = fault_of(p, tag, &facts);
	if (tag_is_slab(tag))
		facts = facts_of(p, tag, fault);
	os_looked(was);
	report(misuse_text[use][fault], p, facts);
}

/* A slab that was emptied has no marks, and no seals, on its free blocks. */
static bool sealed_freed(const struct slab *s, const void *p)
{
	return seal_is_free(seal_of(p, slab_size(s), DEEP), p) ||
	       remote_purged(load_relaxed(&s->remote));
}

/* A block of a slab of this tag, and that is in use, starts at `p`. */
INLINE bool slab_has_live(const struct slab *s, uint32_t tag, const void *p)
{
	return class_has(tag_class(tag), p) && !block_is_free(p) &&
	       !(s->sealed && sealed_freed(s, p));
}

/*
 * Bytes of the live block at `p`, of whatever kind; else it is misuse. Of a
 * sealed one, what the user asked for; to free or realloc it, what he may have.
 */
static size_t block_size(void *p, enum use use)
{
	uint32_t tag = pagemap_get(p);
	bool exact = use >= USE_SIZE, sealed = false;
	const struct mapping *m;
	size_t size = 0, n;

	if (tag_is_slab(tag)) {
		const struct slab *s = slab_of(p);

		size = slab_has_live(s, tag, p) || !CHECKS ?
			       tag_class(tag)->size :
			       0;
		sealed = s->sealed;
	} else if (tag == TAG_EXTENT) {
		uint32_t word = extent_live(p);

		size = word_len(word);
		sealed = word & EXTENT_SEALED;
	} else if ((m = mapping_find(p, false)) != NULL) {
		return mapping_size(m, exact);
	}
	if (UNLIKELY(!size)) {
		misused(p, use);
		return NO_BLOCK;
	}
	if (!sealed)
		return size;
	n = seal_size(seal_of(p, size, DEEP), p);
	return exact ? n : size - config.tail;
}
