/*
 * check.c - is this pointer a block, and if not, what is it?
 *
 * Any address may be asked about: the page map answers without touching it,
 * and only memory that is known to be ours is read.
 */
enum use { USE_FREE, USE_REALLOC, USE_SIZE, USE_FREE_SIZED };
enum fault { FREED, FOREIGN, MISALIGNED, INTERIOR, UNUSED, SPOILT };
#define NO_BLOCK SIZE_MAX

#define MISUSES(freed, use) \
	{ \
		freed, use " of foreign pointer", \
			use " of misaligned pointer", \
			use " of interior pointer", \
			use " of unallocated pointer", OUT_OF_BOUNDS \
	}
static const char *const misuse_text[][6] = {
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

/* Was a header written to, which lies where that of a block at `p` would? */
static bool mapping_spoilt(const char *p)
{
	const char *page = (char *)((uintptr_t)p & ~(page_size - 1));
	const struct mapping *m;

	if (p != page + HEADER || !pagemap_has_mapping(page))
		page -= page_size;
	m = (const struct mapping *)page;
	if (!pagemap_has_mapping(page) ||
	    (m->user == page + HEADER && mapping_sound(m)))
		return false;
	m = mapping_header((char *)(uintptr_t)page + page_size);
	return !mapping_sound(m) ||
	       (uintptr_t)m->user - (uintptr_t)page - page_size >= page_size;
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
	if (m && (m->trap || m->sealed))
		*facts = mapping_facts(m);
	return m;
}

/* Where a block is, or may be, in a slab or an extent. */
struct place {
	const char *start;
	size_t size;
	const struct seal *seal; /* or NULL */
	bool used;               /* as far as the tag or word can tell */
};

/* That around `p`. Under the lock, since extents are cut and merged. */
static struct place place_of(const char *p)
{
	uint32_t tag = pagemap_get(p), word;
	const struct slab *s = slab_of(p);
	struct place at;
	bool sealed;

	if (tag_is_slab(tag)) {
		at.size = tag_class(tag)->size;
		at.start = p - (size_t)(p - slab_start(s)) % at.size;
		at.used = class_has(tag_class(tag), at.start);
		sealed = s->sealed && at.used;
	} else {
		at.start = extent_around(p);
		word = extent_get(at.start);
		at.size = word_len(word);
		at.used = tag == TAG_EXTENT &&
			  (word & EXTENT_STATE) == EXTENT_USED;
		sealed = word & EXTENT_SEALED;
	}
	at.seal = sealed ? seal_of(at.start, at.size, DEEP) : NULL;
	return at;
}

/* No block was ever handed out there, as far as is known. */
static bool place_fresh(const struct place *at, const char *p)
{
	const struct slab *s = slab_of(at->start);

	/* TAG_FREE: all of it had blocks. */
	if (pagemap_get(p) == TAG_FREE ||
	    (at->seal ? at->seal->word : at->used))
		return false;
	return pagemap_get(p) == TAG_EXTENT ? !page_had(p) :
					      !s->holes && !page_had(at->start);
}

static enum fault fault_of(const char *p, uint32_t tag, struct facts *facts)
{
	bool crooked = (uintptr_t)p % GRAIN;
	struct place at;

	if (!tag || tag & TAG_MAPPING) {
		if (mapping_spoilt(p))
			return SPOILT;
		if (!mapping_around(p))
			return mapping_was(p, facts) ? FREED : FOREIGN;
		return crooked ? MISALIGNED : INTERIOR;
	}
	at = place_of(p);
	if (!crooked && !at.used && place_fresh(&at, p))
		return UNUSED;
	if (!crooked && (tag_is_slab(tag) ? p == at.start : !at.used)) {
		if (p == at.start && at.seal)
			*facts = seal_facts(at.seal, p);
		return place_fresh(&at, p) ? UNUSED : FREED;
	}
	if (at.used || tag_is_slab(tag))
		*facts = (struct facts){ .start = at.start, .size = at.size };
	return crooked ? MISALIGNED : INTERIOR;
}

/* Is that in use? Of an extent only the word tells. */
static bool place_live(const struct place *at)
{
	const struct block *b = (const struct block *)at->start;

	if (!at->used || at->seal)
		return at->used && !seal_unused(at->seal, at->start);
	return pagemap_get(b) == TAG_EXTENT ||
	       !(block_is_free(b) || b->mark == MARK_UNUSED);
}

/*
 * Under the lock: the nearest block before `p` that is in use. One whose seal
 * was written over may be: the first of those side by side, if it is known that
 * what is before them is as it was.
 */
static void facts_before(const char *p, struct facts *f)
{
	f->known = false;
	while (!f->known && (uintptr_t)p % CHUNK > UNIT) {
		struct place at = place_of(p - 1);
		struct facts is = { .size = at.size, .known = true };
		bool live = place_live(&at);

		p = at.start;
		if (at.seal)
			is = seal_facts(at.seal, p);
		if (f->before && (is.known || !live)) {
			f->before = at.used ? f->before : NULL;
			return;
		}
		if (!live)
			continue;
		f->before = p;
		f->end = is.size;
		f->known = is.known;
	}
}

/* A free block was written to, or what is going to be one. */
SLOW void report_written(const void *p, struct facts f)
{
	const char *at = (const char *)p + f.damage - (f.damage > 0);
	uint32_t was = os_look();

	facts_before(p, &f);
	os_looked(was);
	f.gap = (size_t)(at - f.before) - f.end;
	report(WRITE_TO_FREE, p, f);
}

SLOW void list_report(struct wrong w)
{
	struct facts f = { .size = w.size };
	uint32_t tag = pagemap_get(w.p);

	doubtful = true;
	if (config.tail)
		f = tag_is_slab(tag) && class_has(tag_class(tag), w.p) ?
			    seal_facts(seal_at(w.p, tag), w.p) :
			    (struct facts){ .size = 0 };
	/* Who was handed out has the seal of a live block. */
	if (f.known && w.what == DOUBLE_FREE &&
	    seal_is_free(seal_at(w.p, tag), w.p))
		w.what = WRITE_TO_FREE;
	if (w.what == WRITE_TO_FREE)
		report_written(w.p, f);
	else
		report(w.what, w.p, f);
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
	os_looked(was);
	report(misuse_text[use][fault], p, facts);
}

/*
 * A block of a slab of this tag, and that is in use, starts at `p`. One that
 * was emptied has no marks, and no seals, on its free blocks.
 */
INLINE bool slab_has_live(const struct slab *s, uint32_t tag, const void *p)
{
	return class_has(tag_class(tag), p) && !block_is_free(p) &&
	       !(s->sealed &&
		 (seal_is_free(seal_of(p, slab_size(s), DEEP), p) ||
		  remote_purged(load_relaxed(&s->remote))));
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
