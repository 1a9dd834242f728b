/*
 * holes.c - pages of a slab that are given back while others hold blocks.
 *
 * A page all of whose blocks are free is purged. Its blocks are on no list from
 * then on, as if they had not been carved: all that have a part of it, and of
 * what they have in other pages a mark says so. When the class wants more, and
 * before it takes a new unit, they are carved again, a page's worth at a time.
 */
#define PUNCH_LOOKS 8 /* slabs that are looked at each time */
#define PUNCH_MIN (32 * MIB)
#define PUNCH_STEP(peak) ((peak) / 8) /* growth until all are once more */

#define SLAB_WORDS (UNIT / GRAIN / 64)

/* The blocks on the list of a slab, a bit each; false: one is not free. */
static bool slab_listed(const struct slab *s, uint64_t *set)
{
	const char *start = slab_start(s);

	/* In order that is quick; the list has none. */
	for (unsigned i = 0; i < s->carved; i++)
		__builtin_prefetch(start + i * slab_size(s));
	for (const struct block *b = s->list; b; b = b->next) {
		size_t i = (uintptr_t)b % UNIT / slab_size(s);

		if (WRONG(slab_of(b) != s || !block_is_free(b) ||
			  set[i / 64] >> i % 64 & 1)) {
			free_list_corrupt(b);
			return false;
		}
		set[i / 64] |= (uint64_t)1 << i % 64;
	}
	return true;
}

/* The pages of a slab in which all blocks are in the set. */
static uint32_t slab_free_pages(const struct slab *s, const uint64_t *set)
{
	size_t size = slab_size(s), end = s->carved * size + PAGE - 1;
	uint32_t pages = ((uint32_t)1 << end / PAGE) - 1;
	const char *p = slab_start(s);

	for (unsigned i = 0; i < s->carved; i++, p += size)
		if (!(set[i / 64] >> i % 64 & 1) && !block_gone(s, p))
			pages &= ~block_pages(s, p);
	return pages & ~(uint32_t)s->holes;
}

/* Its list is the set, without the blocks of these pages. */
static void slab_relist(struct slab *s, const uint64_t *set, uint32_t pages)
{
	size_t size = slab_size(s);
	char *start = slab_start(s);
	struct block *b;

	s->list = NULL;
	s->nfree = 0;
	for (unsigned i = s->carved; i-- > 0;) {
		b = (struct block *)(start + i * size);
		if (!(set[i / 64] >> i % 64 & 1) ||
		    block_header_page(b) & pages)
			continue;
		if (block_pages(s, b) & pages) {
			b->mark = MARK_UNUSED;
			continue;
		}
		block_link(b, s->list);
		s->list = b;
		s->nfree++;
	}
}

static void pages_purge(char *start, uint32_t pages)
{
	while (pages) {
		unsigned from = (unsigned)__builtin_ctz(pages);
		unsigned n = (unsigned)__builtin_ctz(~(pages >> from));
		char *p = start + from * PAGE;

		EVENT("purge", p, n * PAGE);
		if (!os_purge(p, n * PAGE))
			memset(p, 0, n * PAGE);
		pages &= ~((((uint32_t)1 << n) - 1) << from);
	}
}

/* What others freed joins the list of a slab; false: there is nothing. */
static bool slab_join(struct slab *s)
{
	uint64_t word = load_relaxed(&s->remote);
	struct block *first, *last;

	do {
		first = last = remote_head(s, word);
		if (!first)
			return false;
	} while (!cas(&s->remote, &word, word & PARKED));
	for (unsigned n = remote_count(word);
	     s->list && --n && block_is_free(last) && last->next;)
		last = last->next;
	if (s->list && block_is_free(last)) /* or who looks at it will tell */
		block_link(last, s->list);
	s->nfree += (uint16_t)remote_count(word);
	s->list = first;
	return true;
}

/*
 * Give back the pages of a partial slab that no block in use has a part of:
 * `few`, or at least a quarter of all.
 */
static size_t slab_punch(struct slab *s, bool few)
{
	unsigned live, most = few ? 4 * UNIT_PAGES : UNIT_PAGES;
	uint64_t set[SLAB_WORDS] = { 0 };
	uint32_t pages;

	slab_join(s);
	live = slab_blocks(s) - s->nfree;
	if (!live && !doubtful) {
		slab_release(s, false);
		return UNIT;
	}
	if (s->nfree * slab_size(s) < 2 * PAGE || page_size != PAGE ||
	    doubtful || live > most || !slab_listed(s, set))
		return 0;
	pages = slab_free_pages(s, set);
	if (pages_bytes(pages) < (few ? PAGE : UNIT / 4))
		return 0;
	slab_relist(s, set, pages);
	pages_purge(slab_start(s), pages);
	s->holes |= (uint16_t)pages;
	s->old &= (uint16_t)~pages;
	if (s->list) {
		partial_add(s, remote_count(load_relaxed(&s->remote)));
	} else {
		slab_unlink(s);
		slab_sleep(s);
	}
	lock_take(&os.lock);
	os.used -= pages_bytes(pages);
	lock_drop(&os.lock);
	return pages_bytes(pages);
}

/*
 * The holes `filled` are filled: list the blocks that have no part of another,
 * and mark those that have.
 */
static struct block *holes_carve(struct slab *s, uint32_t filled, unsigned *n)
{
	size_t size = slab_size(s), end = (size_t)(32 - __builtin_clz(filled));
	size_t last = (end * PAGE - 1) / size;
	char *p = slab_start(s) +
		  (last < s->carved ? last : s->carved - 1u) * size;
	struct block *list = NULL;

	for (; p >= slab_start(s) && block_pages(s, p) & filled; p -= size) {
		struct block *b = (struct block *)p;

		if (WRONG(!block_unused(s, b))) {
			free_list_corrupt(b);
			continue; /* who has it keeps it */
		}
		if (block_gone(s, b)) {
			if (block_header_page(b) & filled)
				b->mark = MARK_UNUSED;
			continue;
		}
		block_link(b, list);
		list = b;
		++*n;
	}
	return list;
}

/* Blocks of a slab on the list of those with holes. */
static struct block *slab_fill(struct slab *s, unsigned *n)
{
	uint32_t was = s->holes;
	struct block *list = NULL;

	slab_unlink(s);
	for (*n = 0; !*n && s->holes;) {
		uint32_t lowest = s->holes & -(uint32_t)s->holes;

		s->holes ^= (uint16_t)lowest;
		list = holes_carve(s, lowest, n);
	}
	lock_take(&os.lock);
	used_unlock(pages_bytes(was ^ s->holes));
	slab_sleep(s);
	return list;
}

/* All partial slabs of a heap. */
static void heap_punch_all(struct heap *h)
{
	for (unsigned c = 1; c < CLASSES; c++)
		for (struct slab *s = h->partial[c], *next; s; s = next) {
			next = s->next;
			slab_punch(s, true);
		}
	h->cursor = NULL;
}

/* Some of them, before more memory is taken than ever was, this `peak`. */
static void heap_punch(struct heap *h, size_t peak)
{
	size_t got = 0;

	if (peak < PUNCH_MIN)
		return;
	for (unsigned left = PUNCH_LOOKS;
	     peak > h->punch && left && got < UNIT;) {
		struct slab *s = h->cursor;

		if (s) {
			h->cursor = s->next;
			got += slab_punch(s, false);
			left--;
		} else if (++h->punching < CLASSES) {
			h->cursor = h->partial[h->punching];
		} else {
			h->punching = 0;
			h->punch = peak + PUNCH_STEP(peak);
		}
	}
}
