/*
 * slab.c - a unit that holds blocks of one class.
 *
 * Blocks are carved in address order, a page's worth at a time, and come back
 * to the slab's own list. A slab is ACTIVE while it is carved. Exhausted, it
 * sleeps as FULL until some blocks are free, then waits as PARTIAL on its
 * heap's list; a refill takes its whole list and puts it back to sleep. When
 * all blocks are free its unit goes back. All here is the owner's alone.
 */
#define slab_guard_page(s) (slab_start(s) + UNIT - page_size)

/* Put an inaccessible page behind the blocks, at the price of a VMA or two. */
static void slab_guard(struct slab *s)
{
	size_t room = UNIT - page_size;

	/* Pages may be as large as a unit. */
	if (!room || !guard_page(slab_guard_page(s)))
		return;
	s->guarded = true;
	s->cap = (uint16_t)((room - CLASS_EDGE(slab_size(s))) / slab_size(s));
}

/* Its owner is to look at it: a note on his inbox. */
static void slab_note(struct slab *s)
{
	struct slab *first = load_relaxed(&s->heap->inbox);

	do {
		s->note = first;
	} while (!cas(&s->heap->inbox, &first, s));
}

/* Has the page at `p` of a slab contents of an earlier life? */
INLINE bool slab_page_old(const struct slab *s, const void *p)
{
	return s->old >> (uintptr_t)p % UNIT / PAGE & 1;
}

/*
 * A stale pointer may lead to a block that was carved in an earlier life of the
 * unit and is not yet in this: free takes it, fast as it is, and malloc hands
 * it out. So the mark of such blocks tells until they are carved.
 */
static void slab_stamp(struct slab *s)
{
	size_t size = slab_size(s);
	char *p = slab_start(s), *end = p + s->cap * size;

	for (; p < end; p += size)
		if (slab_page_old(s, p))
			((struct block *)p)->mark = MARK_UNUSED;
}

/* Make `s` an active slab; the page map learns it last. */
static void slab_open(struct slab *s, struct heap *h, unsigned c)
{
	*s = (struct slab){
		.heap = h,
		.trigger = UINT16_MAX,
		.cap = (uint16_t)classes[c].cap,
		.old = s->old,
		.cls = (uint8_t)c,
		.state = SLAB_ACTIVE,
		.sealed = OPT(check) > 1,
	};
	if (OPT(check) > 2)
		slab_guard(s);
	if (CHECKS && s->old && !s->sealed)
		slab_stamp(s);
	pagemap_set(slab_start(s), 1, h->tag | c << 4);
}

/*
 * A block that should be free has not the mark that it should. If it was handed
 * out, or is on another list, too, it was freed twice; else it was written to.
 */
static struct wrong block_wrong(const struct block *b, const char *freed)
{
	bool again = b->mark == MARK_TAKEN || block_is_free(b);

	return (struct wrong){ again ? freed : WRITE_TO_FREE, b,
			       slab_size(slab_of(b)) };
}
#define list_wrong(b) block_wrong(b, DOUBLE_FREE)
#define free_list_corrupt(b) list_report(list_wrong(b))

/*
 * Prove a list, at the price of its marks: who is met twice was taken. Its
 * first block that is not as it should be, or NULL.
 */
static struct block *list_prove(struct block *b)
{
	for (; b; b = b->next) {
		if (WRONG(!block_is_free(b))) {
			free_list_corrupt(b);
			break;
		}
		b->mark = MARK_TAKEN;
	}
	return b;
}

/*
 * `k` blocks that are not carved yet, from the `i`-th on, are as they were
 * left, if that is known, unless one was freed that never was one.
 */
INLINE bool slab_untouched(const struct slab *s, unsigned i, unsigned k)
{
	size_t size = slab_size(s);
	char *p = slab_start(s) + i * size, *end = p + k * size;

	if (s->old && s->sealed)
		return true;
	for (; p < end; p += size) {
		const struct block *b = (const struct block *)p;

		if (UNLIKELY(slab_page_old(s, p) ?
				     b->mark != MARK_UNUSED :
				     ((uintptr_t)b->next | b->mark) != 0))
			break;
	}
	if (UNLIKELY(p < end))
		list_report(block_wrong((const struct block *)p,
					slab_page_old(s, p) ? DOUBLE_FREE :
							      FREE_OF_NONE));
	return p >= end;
}

/* The page that its link and mark are in. */
INLINE uint32_t block_header_page(const struct block *b)
{
	return (uint32_t)1 << (uintptr_t)b % UNIT / PAGE;
}

/*
 * A block that was given back: nobody wrote to it since. Without a mark is also
 * one whose page a thread was filling that this child of a fork has not.
 */
INLINE bool block_unused(const struct slab *s, const struct block *b)
{
	return s->sealed || b->mark == MARK_UNUSED ||
	       !((uintptr_t)b->next | b->mark);
}

/* Are all carved blocks marked, and linked to but for two heads? */
static bool slab_all_free(const struct slab *s, const struct block *head,
			  const struct block *other)
{
	uintptr_t sum = (uintptr_t)head + (uintptr_t)other;
	size_t size = slab_size(s);
	char *p = slab_start(s);
	bool ok = true;

	for (unsigned i = 0; i < s->carved; i++, p += size) {
		const struct block *b = (const struct block *)p;

		if (block_gone(s, p)) {
			ok &= block_unused(s, b);
			continue;
		}
		ok &= block_is_free(b);
		sum += (uintptr_t)b->next - (uintptr_t)b;
	}
	return ok && !sum;
}

/* Blocks that a magazine has, be it closed. */
static int64_t mag_length(const struct mag *m)
{
	int64_t n = (int64_t)load_relaxed(&m->max) - load_relaxed(&m->room);

	return n < MAG_CLOSED ? n : n - MAG_CLOSED;
}

/*
 * Quick frees look at no mark, so a magazine may have what is free in its slab,
 * too. Is it whole, and apart from this slab? A long one takes no more frees
 * from then on, until it is refilled: it is looked at once for many slabs.
 */
static bool mag_apart(struct mag *m, struct slab *s)
{
	int64_t left = mag_length(m) + 1;
	struct block *b = m->head;
	bool closed = m->room < -MAG_CLOSED / 2;

	if (closed && !s->stocked)
		return true;
	if (left > MAG_START && !closed)
		m->room -= MAG_CLOSED;
	s->stocked = false;
	for (; b && left > 0 && block_is_free(b); b = b->next, left--) {
		if (slab_of(b) == s)
			break;
		slab_of(b)->stocked = true;
	}
	if (b)
		free_list_corrupt(b);
	return !b;
}

/* Prove that all blocks are free. */
static bool slab_verify(struct slab *s, uint64_t word)
{
	struct block *other = remote_head(s, word);
	bool ok = s->nfree + remote_count(word) == slab_blocks(s);

	if (LIKELY(ok && slab_all_free(s, s->list, other)))
		return slab_untouched(s, s->carved, s->cap - s->carved);
	if (!list_prove(s->list) && !list_prove(other))
		list_report((struct wrong){ LIST_CORRUPTED, slab_start(s),
					    slab_size(s) });
	return false;
}

static bool slab_unguard(struct slab *s)
{
	if (!os_allow(slab_guard_page(s), page_size))
		return false;
	COUNT(guards, -(size_t)1);
	s->guarded = false;
	return true;
}

/* The pages that were carved, or populated. */
static uint16_t slab_touched(const struct slab *s)
{
	size_t carved = (s->carved * slab_size(s) + PAGE - 1) / PAGE;
	size_t ready = ((size_t)s->ready << page_shift) / PAGE;

	return (uint16_t)(((uint32_t)1 << (carved > ready ? carved : ready)) -
			  1);
}

/* Nothing of it is needed any more; it may have been purged. */
static void slab_leave(struct slab *s, bool purged)
{
	uint16_t had = s->old | slab_touched(s);
	uint32_t used = purged ? 0 : had;

	unit_return(s, had, (uint16_t)(used & ~(uint32_t)s->holes), s->holes);
}

/*
 * Give back a slab whose blocks are all free, if that is certain and can be.
 * While a note about it is on its way, not `noted` yet, it has to stay.
 */
NOINLINE void slab_release(struct slab *s, bool noted)
{
	uint64_t word = remote_swap(s, 0, PARKED);
	bool good;

	if (word & PURGING) { /* a note will come */
		if (s->state == SLAB_ACTIVE)
			slab_sleep(s);
		return;
	}
	good = !CHECKS || (!doubtful && mag_apart(&s->heap->mag[s->cls], s) &&
			   (s->state == SLAB_ZOMBIE || remote_purged(word) ||
			    slab_verify(s, word)));
	slab_unlink(s);
	noted |= s->state == SLAB_ACTIVE || word & PARKED;
	if (good && noted && (!s->guarded || slab_unguard(s))) {
		slab_leave(s, remote_purged(word));
		return;
	}
	s->state = good ? SLAB_ZOMBIE : SLAB_LOST;
	if (good) /* so that none is freed again, unseen */
		pagemap_set(slab_start(s), 1, TAG_FREE);
	if (good && noted)
		slab_note(s); /* the kernel refused: once more, later */
	s->nfree = s->carved; /* the remote word's, too, for the figures */
}

static void mag_flush(struct mag *m);

/*
 * The list grew to the trigger. A slab that is nearly free tells that fewer of
 * its blocks are needed: a magazine with some of each would keep all slabs.
 */
NOINLINE void slab_event(struct slab *s)
{
	unsigned others = remote_count(load_relaxed(&s->remote));
	struct mag *m = &s->heap->mag[s->cls];
	uint32_t from = tls.inside;

	if (s->state == SLAB_ACTIVE || s->state >= SLAB_ZOMBIE)
		return;
	if (from < INSIDE && !enter_from(from))
		return; /* the next free comes here, too */
	if (s->nfree + others >= slab_whole(s) && !doubtful) {
		slab_release(s, false);
	} else if (s->state != SLAB_PARTIAL) {
		partial_add(s, others);
	} else {
		s->trigger = (uint16_t)(slab_whole(s) - others);
		if (load_relaxed(&os.chunks) >= SPARSE_CHUNKS) {
			m->max = MAG_MIN; /* until refills show otherwise */
			mag_flush(m);
		}
	}
	if (from < INSIDE)
		leave_to(from);
}

/* Take back a checked block. */
INLINE void slab_put_by(struct slab *s, struct block *b, uintptr_t salt)
{
	block_link_by(b, s->list, salt);
	s->list = b;
	if (UNLIKELY(++s->nfree >= s->trigger))
		slab_event(s);
}
#define slab_put(s, b) slab_put_by(s, b, mark_salt)

/* What a magazine holds goes home. */
static void mag_flush(struct mag *m)
{
	struct block *b = m->head, *next;
	const struct block *bad = list_prove(b);

	for (m->head = NULL; b != bad; b = next) {
		next = b->next;
		slab_put(slab_of(b), b);
	}
	m->room = (int32_t)m->max;
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
static void slab_populate(struct slab *s, size_t carved, size_t end)
{
	uint8_t *log2 = &s->heap->populate[s->cls];
	size_t size = slab_size(s), mask = page_size - 1;
	size_t done = (carved * size + mask) >> page_shift;
	size_t need = (end + mask) >> page_shift;
	size_t all = (s->cap * size + mask) >> page_shift;
	size_t from = done > s->ready ? done : s->ready;
	size_t upto = from + ((size_t)1 << *log2);

	if (need <= from || size >= page_size)
		return; /* what is not used of a large block is not to be */
	*log2 += *log2 < POPULATE_LOG2_MAX;
	upto = upto < need ? need : upto > all ? all : upto;
	if (upto - from > 1)
		os_populate(slab_start(s) + (from << page_shift),
			    (upto - from) << page_shift);
	s->ready = (uint8_t)upto;
}

/*
 * Carve and link what fits the pages of the next block, which is the least.
 * NULL: a signal handler that interrupted malloc took what there was.
 * Small blocks keep off the end: a vector load with a mask that reaches into a
 * page without memory is right, but costs a hundred times as much.
 */
static struct block *slab_carve(struct slab *s, unsigned *n)
{
	size_t size = slab_size(s), edge = CLASS_EDGE(size), end;
	uint16_t carved = s->carved;
	unsigned k;
	char *first, *p;

	do {
		first = p = slab_start(s) + carved * size;
		end = round_up((uintptr_t)p + size + edge, page_size) - edge;
		k = (unsigned)((end - (uintptr_t)p) / size);
		if (k > (unsigned)(s->cap - carved))
			k = s->cap - carved;
		if (!k)
			return NULL;
	} while (!cas(&s->carved, &carved, (uint16_t)(carved + k)));
	if (!s->old && s->heap->carved >= POPULATE_MIN)
		slab_populate(s, carved, (carved + k) * size);
	if (CHECKS && !s->old) /* to read a page first would cost two faults */
		__atomic_fetch_or(&((struct block *)(p + (k - 1) * size))->mark,
				  0, __ATOMIC_RELAXED);
	if (CHECKS && !slab_untouched(s, carved, k))
		return slab_carve(s, n); /* without these */
	for (unsigned i = 1; i < k; i++, p += size)
		block_link((struct block *)p, (struct block *)(p + size));
	block_link((struct block *)p, NULL);
	s->heap->carved += size < page_size ? k * size : 0;
	*n = k;
	return (struct block *)first;
}
