/*
 * extent.c - what the memory of chunks is used for; under os.lock.
 *
 * From unit 1 on a chunk is divided into extents, free or not, side by side
 * and without gaps; no two free ones touch. They are of whole lines, so that
 * blocks of a page or more don't all start in the same sets of the cache, and
 * none is shorter than a page, so that at most one starts in each. A word for
 * each page tells where, how long it is and what it is: so a pointer is proved
 * without a look at the block. A slab is an extent, too: that of its unit.
 *
 * Free extents are in a bin of their size, and in the cache while whole pages
 * of them have old contents.
 */
#define EXTENT_AWAY ((uint32_t)0) /* a slab, or on its way */
#define EXTENT_FREE ((uint32_t)1)
#define EXTENT_USED ((uint32_t)2)
#define EXTENT_KEPT ((uint32_t)3) /* in a thread's stock */
#define EXTENT_STATE ((uint32_t)3)
#define EXTENT_SEALED ((uint32_t)4) /* in use, and sealed: see seal.c */

#define BINS ((CHUNK_SHIFT - PAGE_SHIFT) * 8) /* 8 a doubling, from a page */
#define BIN_LOOKS 32 /* extents of a bin that are looked at */

/* A set for extents with old contents, which serve first, and for others. */
static struct bins {
	struct extent *first[BINS];
	uint64_t any[BINS / 64 + 1]; /* bins that are not empty */
} bins[2][2];                        /* of ordinary and of huge pages */

INLINE struct chunk *chunk_of(const void *p)
{
	return (struct chunk *)((uintptr_t)p & ~(CHUNK - 1));
}

/* The descriptor of the unit at `p`, of which a slab has one. */
INLINE struct slab *slab_of(const void *p)
{
	return (struct slab *)(void *)chunk_of(p) +
	       ((uintptr_t)p >> UNIT_SHIFT) % CHUNK_UNITS;
}

/* Its memory. */
INLINE char *slab_start(const struct slab *s)
{
	struct chunk *c = chunk_of(s);

	return (char *)c + (size_t)(s - c->unit + 1) * UNIT;
}

INLINE size_t page_of(const void *p)
{
	return (uintptr_t)p % CHUNK >> PAGE_SHIFT;
}

/* -- the words */

INLINE uint32_t *extent_word(const void *p)
{
	return &chunk_of(p)->page[page_of(p)];
}

/* Some states change without the lock. */
INLINE uint32_t extent_get(const void *p)
{
	return load_relaxed(extent_word(p));
}

INLINE size_t word_len(uint32_t word)
{
	return (word >> 16) * LINE;
}

/* Does an extent start at `p`, which lies in an extent? Its word, or 0. */
INLINE uint32_t extent_at(const void *p)
{
	uint32_t word = load_acquire(extent_word(p));

	return (word >> 8 & 0xff) * LINE == (uintptr_t)p % PAGE ? word : 0;
}

/* All of it is one free extent. */
static bool chunk_empty(struct chunk *c)
{
	uint32_t word = extent_get((char *)c + UNIT);

	return word_len(word) == c->len - UNIT &&
	       (word & EXTENT_STATE) == EXTENT_FREE;
}

static void extent_set(const char *p, size_t len, uint32_t state)
{
	size_t i = page_of(p);

	chunk_of(p)->starts[i / 64] |= (uint64_t)1 << i % 64;
	store_release(extent_word(p),
		      (uint32_t)(len / LINE) << 16 |
			      (uint32_t)((uintptr_t)p % PAGE / LINE) << 8 |
			      state);
}

/* None starts at `p` any more. */
static void extent_unset(const char *p)
{
	size_t i = page_of(p);

	chunk_of(p)->starts[i / 64] &= ~((uint64_t)1 << i % 64);
	store_release(extent_word(p), 0);
}

/* The extent that starts in page `i`, or in the last before. */
static char *extent_from(struct chunk *c, size_t i)
{
	size_t k = i / 64;
	uint64_t set = c->starts[k] & ~(uint64_t)0 >> (63 - i % 64);

	while (!set)
		set = c->starts[--k];
	i = k * 64 + 63 - (size_t)__builtin_clzll(set);
	return (char *)c + i * PAGE +
	       (load_relaxed(&c->page[i]) >> 8 & 0xff) * LINE;
}

/* The extent around `p`, which lies in unit 1 or behind. */
static char *extent_around(const char *p)
{
	char *e = extent_from(chunk_of(p), page_of(p));

	return e <= p ? e : extent_from(chunk_of(p), page_of(p) - 1);
}

/* Of all extents, free or not: the next, or the first. NULL: no more. */
static char *extent_next(char *p)
{
	const struct chunk *c = p ? chunk_of(p) : NULL;

	p = p ? p + word_len(extent_get(p)) : NULL;
	if (p && p < (const char *)c + c->len)
		return p;
	c = c ? c->next : os.first;
	return c ? (char *)(uintptr_t)c + UNIT : NULL;
}

/* -- pages with old contents */

/* The builtin is a call where the processor may lack it. */
INLINE size_t bits_count(uint64_t x)
{
	const uint64_t m1 = ~(uint64_t)0 / 3, m2 = ~(uint64_t)0 / 5;

	x -= x >> 1 & m1;
	x = (x & m2) + (x >> 2 & m2);
	x = (x + (x >> 4)) & ~(uint64_t)0 / 17;
	return x * (~(uint64_t)0 / 255) >> 56;
}

enum marking { PAGES_COUNT, PAGES_DIRTY, PAGES_CLEAN };

/* How many of the pages of a chunk have any; and what they are to have. */
static size_t dirty_mark(struct chunk *c, size_t from, size_t to,
			 enum marking how)
{
	size_t n = 0;

	for (size_t i = from / 64; i * 64 < to; i++) {
		uint64_t *word = &c->dirty[i], bits = ~(uint64_t)0;

		bits <<= from > i * 64 ? from - i * 64 : 0;
		bits &= ~(uint64_t)0 >>
			(to < i * 64 + 64 ? i * 64 + 64 - to : 0);
		if (how == PAGES_COUNT && !*word)
			continue;
		n += bits_count(*word & bits);
		if (how == PAGES_DIRTY)
			*word |= bits;
		else if (how == PAGES_CLEAN)
			*word &= ~bits;
	}
	return n;
}

/* Those of the unit at `p`, a bit each. */
static uint16_t dirty_unit(const char *p)
{
	size_t i = page_of(p);

	return (uint16_t)(chunk_of(p)->dirty[i / 64] >> i % 64);
}

/* They are going to be clean; but that they were not is remembered. */
static void dirty_had(struct chunk *c)
{
	for (size_t i = 0; i < CHUNK_PAGES / 64; i++)
		c->had[i] |= c->dirty[i];
}

/* Had the page at `p` ever a block? */
static bool page_had(const char *p)
{
	const struct chunk *c = chunk_of(p);
	size_t i = page_of(p);

	return (c->had[i / 64] | c->dirty[i / 64]) >> i % 64 & 1;
}

static void dirty_unit_set(const char *p, uint16_t pages)
{
	uint64_t *word = &chunk_of(p)->dirty[page_of(p) / 64];
	size_t at = page_of(p) % 64;

	chunk_of(p)->had[page_of(p) / 64] |= *word;
	*word &= ~((uint64_t)UINT16_MAX << at);
	*word |= (uint64_t)pages << at;
}

/* The same of whole pages of the kernel in a range. */
static size_t dirty_inside(const char *p, size_t len, enum marking how)
{
	const char *c = (const char *)chunk_of(p);
	size_t from = round_up((size_t)(p - c), page_size) >> PAGE_SHIFT;
	size_t to = ((size_t)(p - c) + len) / page_size * page_size >>
		    PAGE_SHIFT;

	return from < to ? dirty_mark(chunk_of(p), from, to, how) : 0;
}

/* A range is the user's: all that it has a part of may get contents. */
static void extent_soil(const char *p, size_t len)
{
	size_t end = (size_t)(p - (char *)chunk_of(p)) + len + PAGE - 1;

	dirty_mark(chunk_of(p), page_of(p), end >> PAGE_SHIFT, PAGES_DIRTY);
}

/* -- free extents */

/* Of the extent that starts at `p`; no two end in one page, either. */
INLINE struct extent *extent_node(const char *p)
{
	const char *last = p + word_len(extent_get(p)) - 1;

	return &chunk_of(p)->node[page_of(last) - UNIT_PAGES];
}

static char *extent_start(const struct extent *e)
{
	return extent_from(chunk_of(e), e->page);
}

static size_t extent_len(const struct extent *e)
{
	return word_len(load_relaxed(&chunk_of(e)->page[e->page]));
}

/* All that are as long as `len` are in this bin or in later ones. */
static size_t bin_of(size_t len)
{
	size_t lines = len / LINE;
	size_t log2 = 63 - (size_t)__builtin_clzll(lines);

	return (log2 - 6) * 8 + (lines >> (log2 - 3)) % 8;
}

/* The first from the `i`-th on that is not empty, or BINS. */
static size_t bin_next(const struct bins *b, size_t i)
{
	uint64_t set;

	for (; i < BINS; i = round_up(i + 1, 64)) {
		set = b->any[i / 64] >> i % 64;
		if (set)
			return i + (size_t)__builtin_ctzll(set);
	}
	return BINS;
}

static size_t extent_blocks(const struct extent *e)
{
	return (e->weight + UNIT - 1) / UNIT;
}

static struct bins *bins_of(const struct extent *e)
{
	return &bins[chunk_of(e)->huge][!e->span.len];
}

/* A range is free, of which so many blocks were freed. */
static void extent_link(char *p, size_t len, size_t blocks)
{
	struct bins *b;
	struct extent *e;
	size_t i = bin_of(len), units;

	extent_set(p, len, EXTENT_FREE);
	e = extent_node(p);
	e->page = (uint32_t)page_of(p);
	e->span.len = dirty_inside(p, len, PAGES_COUNT) * PAGE;
	if (e->span.len)
		cache_push(&os.pages, &e->span);
	b = bins_of(e);
	e->prev = NULL;
	e->next = b->first[i];
	if (e->next)
		e->next->prev = e;
	b->first[i] = e;
	b->any[i / 64] |= (uint64_t)1 << i % 64;
	units = e->span.len / UNIT;
	e->weight =
		units ? (uint32_t)((units < blocks ? units : blocks) * UNIT) :
			(uint32_t)e->span.len;
	add_relaxed(&os.weight, e->weight);
	os.free_chunks += len == chunk_of(p)->len - UNIT;
}

static void extent_unlink(struct extent *e)
{
	struct bins *b = bins_of(e);
	size_t len = extent_len(e), i = bin_of(len);

	*(e->prev ? &e->prev->next : &b->first[i]) = e->next;
	if (e->next)
		e->next->prev = e->prev;
	if (!b->first[i])
		b->any[i / 64] &= ~((uint64_t)1 << i % 64);
	if (e->span.len)
		cache_remove(&os.pages, &e->span);
	add_relaxed(&os.weight, -(size_t)e->weight);
	os.free_chunks -= len == chunk_of(e)->len - UNIT;
}

/*
 * The free extent that starts at `p`, in no list any more: its length, or 0.
 * Its blocks are added.
 */
static size_t extent_grab(const char *p, size_t *blocks)
{
	uint32_t word = (uintptr_t)p % CHUNK ? extent_get(p) : 0;

	if ((word & EXTENT_STATE) != EXTENT_FREE)
		return 0;
	*blocks += extent_blocks(extent_node(p));
	extent_unlink(extent_node(p));
	extent_unset(p);
	return word_len(word);
}

/* A range is free, and with its free neighbours one extent. */
static void extent_release(char *p, size_t len)
{
	char *before = (uintptr_t)p % CHUNK > UNIT ?
			       extent_from(chunk_of(p), page_of(p) - 1) :
			       p;
	size_t blocks = 1;
	size_t more = before == p ? 0 : extent_grab(before, &blocks);

	extent_unset(p);
	len += extent_grab(p + len, &blocks);
	extent_link(more ? before : p, len + more, blocks);
}

/*
 * `len` bytes at `at` of a free extent are in use from now on, and what would
 * be left behind them but is too short: how many.
 */
static size_t extent_take(struct extent *e, char *at, size_t len,
			  uint32_t state)
{
	char *start = extent_start(e), *end = start + extent_len(e);
	size_t rest = (size_t)(end - at) - len;
	size_t blocks = extent_blocks(e);

	extent_unlink(e);
	extent_unset(start);
	if (rest < PAGE)
		len += rest;
	else
		extent_link(at + len, rest, blocks);
	if (at > start)
		extent_link(start, (size_t)(at - start), blocks);
	extent_set(at, len, state);
	return len;
}

/* Where in a free extent a block can be: nothing or a page before. Or NULL. */
static char *extent_place(const struct extent *e, size_t len, size_t align)
{
	char *start = extent_start(e);
	char *at = (char *)round_up((uintptr_t)start, align);

	while (at != start && at < start + PAGE)
		at += align;
	return at + len <= start + extent_len(e) ? at : NULL;
}

/* The smallest for a block, the first of these; or NULL. */
static struct extent *extent_fit(const struct bins *b, size_t len, size_t align)
{
	struct extent *best = NULL;

	for (size_t i = bin_next(b, bin_of(len)); i < BINS && !best;
	     i = bin_next(b, i + 1)) {
		struct extent *e = b->first[i];
		size_t is, least = SIZE_MAX;

		for (unsigned left = BIN_LOOKS; e && left--; e = e->next) {
			is = extent_len(e);
			if (is > least || (is == least && e > best) ||
			    !extent_place(e, len, align))
				continue;
			best = e;
			least = is;
		}
	}
	return best;
}

/* -- units */

enum units { DIRTY, CLEAN, ANY };

/* A unit of a kind in a free extent, or NULL. */
static char *extent_unit(const struct extent *e, enum units kind)
{
	char *start = extent_start(e), *end = start + extent_len(e);
	char *at = (char *)round_up((uintptr_t)start, UNIT);

	for (; at + UNIT <= end; at += UNIT) {
		size_t before = (size_t)(at - start);
		size_t behind = (size_t)(end - at) - UNIT;
		bool dirty = dirty_unit(at);

		if ((before && before < PAGE) || (behind && behind < PAGE))
			continue;
		if (kind == ANY || dirty == (kind == DIRTY))
			return at;
	}
	return NULL;
}

/* A dirty unit: of the extents that were freed last. Or NULL. */
static char *unit_newest(void)
{
	struct extent *e = (struct extent *)os.pages.newest;
	unsigned left = BIN_LOOKS;
	char *at = NULL;

	for (; e && !at && left--; e = (struct extent *)e->span.older)
		at = extent_unit(e, DIRTY);
	return at;
}

/* One of a kind, of the smallest extent that has any. Or NULL. */
static char *unit_smallest(const struct bins *b, enum units kind)
{
	char *at = NULL;

	for (size_t i = bin_next(b, bin_of(UNIT)); i < BINS && !at;
	     i = bin_next(b, i + 1)) {
		struct extent *e = b->first[i];

		for (unsigned left = BIN_LOOKS; e && !at && left--; e = e->next)
			at = extent_unit(e, kind);
	}
	return at;
}

/* Those of huge pages are the first to be searched, or the last. */
static char *unit_search(enum units kind, bool huge)
{
	char *at = kind == DIRTY ? unit_newest() : NULL;

	for (int i = 0; kind != DIRTY && !at && i < 4; i++)
		at = unit_smallest(&bins[huge ^ (i > 1)][i % 2], kind);
	return at;
}
