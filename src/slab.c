/*
 * slab.c - a run of units that holds blocks of one class.
 *
 * Blocks are carved in address order, a page's worth at a time, and come back
 * to the slab's own list. A slab is ACTIVE while it is carved. Exhausted, it
 * sleeps as FULL until some blocks are free, then waits as PARTIAL on its
 * heap's list; a refill takes its whole list and puts it back to sleep. When
 * all blocks are free its units go back. All here is the owner's alone.
 */
#define WAKE_MAX 32 /* free blocks that wake a sleeping slab, at most */
#define MARK_SALT 0x2545f491 /* no pointer sum looks like that */

/* The proof that `b` is free and that its link is `next`. */
INLINE uintptr_t mark_of(const struct block *b, const struct block *next)
{
	return (uintptr_t)b + (uintptr_t)next + MARK_SALT;
}

INLINE void block_link(struct block *b, struct block *next)
{
	b->next = next;
	b->mark = mark_of(b, next);
}

INLINE bool block_is_free(const struct block *b)
{
	return b->mark == mark_of(b, b->next);
}

/* The slab of an address in one of its units. */
INLINE struct slab *slab_of(const void *p)
{
	struct slab *s = unit_of(p);

	return s - s->back;
}

INLINE size_t slab_size(const struct slab *s)
{
	return classes[s->cls].size;
}

/* -- its place in the heap */

static void partial_add(struct slab *s)
{
	struct slab **list = &s->heap->partial[s->cls];

	s->state = SLAB_PARTIAL;
	s->trigger = s->cap;
	s->prev = NULL;
	s->next = *list;
	if (*list)
		(*list)->prev = s;
	*list = s;
}

static void partial_remove(struct slab *s)
{
	if (s->prev)
		s->prev->next = s->next;
	else
		s->heap->partial[s->cls] = s->next;
	if (s->next)
		s->next->prev = s->prev;
}

static void slab_sleep(struct slab *s)
{
	unsigned wake = s->cap / 8;

	s->state = SLAB_FULL;
	s->trigger = (uint16_t)(wake < 1 ? 1 : wake > WAKE_MAX ? WAKE_MAX : wake);
}

/*
 * The remote word: blocks that other threads freed, as a list inside the
 * slab. Its head is an offset, so that no address is packed; the count lets
 * the owner adopt the list without walking it. PARKED: nobody has told the
 * owner yet; whoever clears it by adding blocks must.
 */
#define PARKED ((uint64_t)1 << 63)

INLINE unsigned remote_count(uint64_t word)
{
	return (unsigned)((word & ~PARKED) >> 32);
}

INLINE struct block *remote_head(const struct slab *s, uint64_t word)
{
	uint32_t at = (uint32_t)word;

	if (!at)
		return NULL;
	return (struct block *)(unit_start(s) + (size_t)(at - 1) * GRAIN);
}

INLINE uint64_t remote_word(const struct slab *s, const struct block *head,
			    unsigned count)
{
	size_t at = (size_t)((const char *)head - unit_start(s)) / GRAIN + 1;

	return (uint64_t)count << 32 | at;
}

/* -- birth and death */

/* Make `s` an active slab of class `c`; the page map learns it last. */
static void slab_open(struct slab *s, struct heap *h, unsigned c)
{
	unsigned units = classes[c].units;

	s->list = NULL;
	s->heap = h;
	s->nfree = 0;
	s->trigger = UINT16_MAX;
	s->carved = 0;
	s->cap = classes[c].cap;
	s->cls = (uint8_t)c;
	s->state = SLAB_ACTIVE;
	s->ready = 0;
	store_relaxed(&s->remote, 0);
	for (unsigned i = 0; i < units; i++)
		s[i].back = (uint8_t)i;
	pagemap_set(unit_start(s), units, h->tag | c << 4);
}

/* Some block of the slab was freed twice: find one and stop. */
SLOW void slab_corrupt(struct slab *s, struct block *list)
{
	size_t size = slab_size(s);
	char *start = unit_start(s);
	uint64_t seen[UNIT / GRAIN / 64] = { 0 };

	for (struct block *b = list; b; b = b->next) {
		size_t i = (size_t)((char *)b - start) / size;

		if ((char *)b < start || i >= s->cap || !block_is_free(b))
			die("free list corrupted", b, size);
		if (seen[i / 64] >> i % 64 & 1)
			die("double free", b, size);
		seen[i / 64] |= (uint64_t)1 << i % 64;
	}
	die("free list corrupted", start, size);
}

/*
 * Every block of the slab is said to be free. Before its memory is used for
 * anything else that is proven, in one pass over the blocks: each has a mark,
 * and each but the heads of the two lists is linked to exactly once.
 */
static void slab_verify(struct slab *s, uint64_t word)
{
	struct block *other = remote_head(s, word);
	uintptr_t sum = (uintptr_t)s->list + (uintptr_t)other;
	size_t size = slab_size(s);
	char *p = unit_start(s);
	bool ok = s->nfree + remote_count(word) == s->carved;

	for (unsigned i = 0; i < s->carved; i++, p += size) {
		struct block *b = (struct block *)p;

		ok &= block_is_free(b);
		sum += (uintptr_t)b->next - (uintptr_t)b;
	}
	if (UNLIKELY(!ok || sum))
		slab_corrupt(s, s->list ? s->list : other);
}

/*
 * Give back a slab whose blocks are all free. If a note about it is still on
 * its way to the inbox it must stay until that has arrived.
 */
NOINLINE void slab_release(struct slab *s)
{
	uint64_t word = exchange(&s->remote, 0);

	if (s->state != SLAB_ZOMBIE) {
		slab_verify(s, word);
		if (s->state == SLAB_PARTIAL)
			partial_remove(s);
		if (!(word & PARKED) && s->state != SLAB_ACTIVE) {
			s->state = SLAB_ZOMBIE;
			s->trigger = UINT16_MAX;
			return;
		}
	}
	units_free(s, s->units);
}

/* -- blocks in and out */

/* The list grew to the trigger. */
NOINLINE void slab_event(struct slab *s)
{
	if (s->state == SLAB_ACTIVE || s->state == SLAB_ZOMBIE)
		return;
	if (s->nfree >= s->cap)
		slab_release(s);
	else if (s->state == SLAB_FULL)
		partial_add(s);
}

/* Take back a block; the caller has checked it. */
INLINE void slab_put(struct slab *s, struct block *b)
{
	block_link(b, s->list);
	s->list = b;
	if (UNLIKELY(++s->nfree >= s->trigger))
		slab_event(s);
}

static struct block *slab_take_list(struct slab *s, unsigned *n)
{
	struct block *list = s->list;

	*n = s->nfree;
	s->list = NULL;
	s->nfree = 0;
	return list;
}

/* Fault in what carving is about to touch, in batches that double. */
static void slab_populate(struct slab *s, char *end, size_t total)
{
	uint8_t *log2 = &s->heap->populate[s->cls];
	char *start = unit_start(s);
	size_t need = ((size_t)(end - start) + page_size - 1) >> page_shift;
	size_t all = (total + page_size - 1) >> page_shift;
	size_t done = (s->carved * slab_size(s) + page_size - 1) >> page_shift;
	size_t n = (size_t)1 << *log2;

	if (s->ready < done)
		s->ready = (uint8_t)done;
	if (need <= s->ready)
		return;
	if (*log2 < POPULATE_LOG2_MAX)
		++*log2;
	if (n < need - s->ready)
		n = need - s->ready;
	if (s->ready + n > all)
		n = all - s->ready;
	if (n > 1)
		os_populate(start + ((size_t)s->ready << page_shift),
			    n << page_shift);
	s->ready = (uint8_t)(s->ready + n);
}

/* Fresh memory is zero, unless a block was freed that never was one. */
INLINE void slab_untouched(const struct slab *s, char *p, unsigned k)
{
	/* A page is written first: to read it first would cost two faults. */
	__atomic_fetch_or(&((struct block *)p)->mark, 0, __ATOMIC_RELAXED);
	for (; k--; p += slab_size(s)) {
		const struct block *b = (struct block *)p;

		if (UNLIKELY((uintptr_t)b->next | b->mark))
			die("double free", p, slab_size(s));
	}
}

/*
 * Carve the blocks that start before the end of the page that the first new
 * one ends in, and link them. There is at least one.
 */
static struct block *slab_carve(struct slab *s, unsigned *n)
{
	size_t size = slab_size(s);
	char *first = unit_start(s) + s->carved * size;
	size_t end = round_up((uintptr_t)first + size, page_size);
	unsigned k = (unsigned)((end - (uintptr_t)first) / size);
	char *p = first;

	if (k > (unsigned)(s->cap - s->carved))
		k = s->cap - s->carved;
	if (s->fresh && s->heap->carved >= POPULATE_MIN)
		slab_populate(s, first + k * size, s->cap * size);
	if (s->fresh)
		slab_untouched(s, first, k);
	for (unsigned i = 1; i < k; i++, p += size)
		block_link((struct block *)p, (struct block *)(p + size));
	block_link((struct block *)p, NULL);
	s->carved = (uint16_t)(s->carved + k);
	s->heap->carved += k * size;
	*n = k;
	return (struct block *)first;
}
