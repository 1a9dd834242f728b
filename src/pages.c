/*
 * pages.c - blocks of more than SLAB_MAX bytes, to EXTENT_MAX: an extent each.
 *
 * No page of one is touched before the program does. A thread keeps the few
 * that it freed last, its stock, for its next calls: without a lock.
 */
#define STOCK_LEN (20 * KIB) /* the longest that is kept so */

/*
 * What a block of `n` bytes takes: lines, of an odd number, so that neighbours
 * of one size start in different sets of the cache; or whole pages, if it is to
 * start on one.
 */
static size_t extent_size(size_t n, size_t align)
{
	size_t lines = (n < PAGE ? PAGE : n + LINE - 1) / LINE;

	return align < PAGE ? (lines | 1) * LINE : round_up(lines * LINE, PAGE);
}

/* A block starts at `p` and is in use: its word, or 0. */
static uint32_t extent_live(const void *p)
{
	uint32_t word = extent_at(p);

	return (word & EXTENT_STATE) == EXTENT_USED ? word : 0;
}

/* It is in use no more, and the caller's alone; false: nor was it before. */
static bool extent_claim(void *p, uint32_t state)
{
	uint32_t word = extent_live(p);

	return word && cas(extent_word(p), &word, word ^ EXTENT_USED ^ state);
}

/* -- the stock of a thread: a word a block, since a fork may come any time */

/*
 * A block that was kept gets another state; false: a signal handler was faster,
 * and may have left something else there, even of the same start or length.
 */
static bool extent_change(void *p, size_t len, uint32_t to)
{
	uint32_t word = extent_at(p);

	return (word & EXTENT_STATE) == EXTENT_KEPT && word_len(word) == len &&
	       cas(extent_word(p), &word, word ^ EXTENT_KEPT ^ to);
}

/* A block of about that length, aligned, or NULL. */
static void *stock_take(struct heap *h, size_t len, size_t align)
{
	for (unsigned i = 0; i < STOCK; i++) {
		uint64_t word = h->stock[i];
		size_t has = (word & 0xffff) * LINE;
		void *p = (void *)(uintptr_t)(word >> 16);

		if (has < len || has > len + len / 8 ||
		    (uintptr_t)p & (align - 1))
			continue;
		store_relaxed(&h->stock[i], 0);
		/* A signal handler may have taken it meanwhile. */
		if (extent_change(p, has, EXTENT_USED))
			return p;
	}
	return NULL;
}

/* Return a block that was kept. */
static void extent_drop(uint64_t word)
{
	char *p = (char *)(uintptr_t)(word >> 16);
	size_t len = (word & 0xffff) * LINE;

	if (word && extent_change(p, len, EXTENT_AWAY))
		extent_return(p, len);
}

/* Free a claimed block; what has been in the stock for longest goes for it. */
static void extent_free(struct heap *h, char *p)
{
	size_t len = word_len(extent_get(p));
	uint64_t *at, word = (uint64_t)(uintptr_t)p << 16 | len / LINE, old;

	if (h && len <= STOCK_LEN && OPT(thresh) >= STOCK && !config.tail) {
		at = &h->stock[h->stocked++ % STOCK];
		old = *at;
		store_relaxed(at, word);
		word = old;
	}
	extent_drop(word);
}

static void stock_empty(struct heap *h)
{
	for (unsigned i = 0; i < STOCK; i++) {
		uint64_t word = h->stock[i];

		/* First: a fork may leave this behind in the midst of it. */
		store_relaxed(&h->stock[i], 0);
		extent_drop(word);
	}
}

/*
 * Give a live block the length for `n` bytes, in place; false: what is behind
 * it is in use.
 */
static bool extent_resize(char *p, size_t n)
{
	size_t len = extent_size(n, LINE), old, all, blocks = 1;
	uint32_t word;
	bool done;

	if (!extent_claim(p, EXTENT_AWAY)) /* somebody frees it */
		return false;
	lock_take(&os.lock);
	word = extent_get(p);
	old = word_len(word);
	all = old + extent_grab(p + old, &blocks);
	done = len <= all;
	if (!done)
		len = old;
	if (all - len < PAGE)
		len = all;
	extent_set(p, len, EXTENT_USED | (word & EXTENT_SEALED));
	if (all > len)
		extent_link(p + len, all - len, blocks);
	extent_soil(p, len);
	used_unlock(len - old);
	return done;
}
