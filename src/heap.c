/*
 * heap.c - a thread's heap: magazines in front of slabs.
 *
 * malloc pops a magazine, free pushes on it. An empty one is refilled with
 * the whole list of one slab, so that reused blocks stay hot; a full one is
 * not flushed: the block goes to its slab. All here is the owner's alone.
 */
#define MAG_MAX 4096
#define MAG_BYTES (64 * KIB)
#define FLUSH_TICKS 16 /* refills between flushes of remote batches */
#define TRIM_TICKS 32  /* refills between trims of unused magazines */
#define WORTH 256      /* smaller blocks give nothing back */

/* The magazine at `k`, a class times 16 as tags have it. */
INLINE struct mag *mag_at(struct heap *h, size_t k)
{
	return (struct mag *)((char *)h->mag + 2 * k);
}

/* NULL: there is none, or it is not as it should be. */
INLINE void *mag_pop(struct mag *m, uintptr_t salt)
{
	struct block *b = m->head, *next;

	if (UNLIKELY(!b))
		return NULL;
	next = b->next;
	if (WRONG(b->mark != mark_of(b, next, salt)))
		return NULL;
	m->head = next;
	m->room++;
	if (CHECKS)
		b->mark = MARK_TAKEN;
	return b;
}

/* The fast path of malloc; NULL: the slow one has to do it. */
INLINE void *heap_pop(struct heap *h, size_t n, uintptr_t salt)
{
	if (LIKELY(n <= LINEAR_MAX))
		return mag_pop(mag_at(h, round_up(n, GRAIN)), salt);
	if (LIKELY(n <= SLAB_MAX))
		return mag_pop(&h->mag[class_of_medium(n)], salt);
	return NULL;
}

/* heap_push saw that a block may start at `p`, and counted it in. */
NOINLINE void heap_free_full(struct mag *m, void *p)
{
	struct slab *s = slab_of(p);
	uint64_t nr = (uint64_t)(uint16_t)(uintptr_t)p * m->recip >> 32;

	m->room++;
	if (WRONG(nr >= load_relaxed(&s->carved)) ||
	    WRONG(block_is_free_by(p, MARK_SALT)))
		misused(p, USE_FREE);
	else
		slab_put_by(s, p, MARK_SALT);
}

/* The magazine for blocks of the slab at `p`, if that is the thread's own. */
INLINE struct mag *mag_of(struct heap *h, const void *p)
{
	uint32_t k = pagemap_get(p) ^ h->tag;

	/* A foreign, remote, run's or mapping's tag is above. */
	return LIKELY(k <= TAG_CLASS_MAX) ? mag_at(h, k) : NULL;
}

/* The same, if it is a live block, which is looked at; and its class. */
INLINE struct mag *mag_of_live(struct heap *h, void *p, const struct class **c)
{
	uint32_t k = pagemap_get(p) ^ h->tag;

	if (UNLIKELY(k > TAG_CLASS_MAX))
		return NULL;
	*c = class_at(k);
	if (WRONG(!class_has(*c, p)) || WRONG(block_is_free_by(p, MARK_SALT)))
		return NULL;
	return mag_at(h, k);
}

NOINLINE void heap_put_home(struct block *b, struct mag *m)
{
	m->room++;
	slab_put(slab_of(b), b);
}

/*
 * Does a block of `size` bytes do for `n`, which are not more? Not if so much
 * of it would be left that it is worth having.
 */
INLINE bool fits(size_t n, size_t size)
{
	return 2 * n >= size || size <= WORTH;
}

/* Free a checked block of the thread's own, home to its slab if need be. */
INLINE void heap_put(struct mag *m, struct block *b)
{
	if (UNLIKELY(--m->room < 0)) {
		heap_put_home(b, m);
		return;
	}
	block_link(b, m->head);
	m->head = b;
}

/* The fast path of free; false: the slow one has to do it. */
INLINE bool heap_push(struct heap *h, void *p)
{
	struct mag *m = mag_of(h, p);

	if (UNLIKELY(!m))
		return false;
	if (WRONG((uint16_t)(uintptr_t)p * m->recip >= m->limit))
		return false; /* no block starts here, or a large class */
	if (WRONG(m->head == p))
		return false; /* freed twice in a row */
	if (UNLIKELY(--m->room < 0)) {
		heap_free_full(m, p);
		return true;
	}
	block_link_by(p, m->head, MARK_SALT);
	m->head = p;
	return true;
}

/*
 * A block that shrinks and grows in turn is not to be copied each time. Where
 * it is now is remembered: for each time that it grew again, it keeps its place
 * twice as often as before.
 */
static struct fickle *fickle_at(struct heap *h, const void *p)
{
	size_t i = (uintptr_t)p / GRAIN ^ (uintptr_t)p / PAGE;

	return &h->fickle[i % FICKLE];
}

SLOW void fickle_moved(struct heap *h, const void *p, const void *q, bool grew)
{
	struct fickle was = *fickle_at(h, p), *to = fickle_at(h, q);

	if (was.p == p)
		fickle_at(h, p)->p = NULL;
	else if (grew)
		return; /* it never shrank */
	else
		was.grown = 0;
	was.grown += grew && was.grown < 31;
	*to = (struct fickle){ q, was.grown,
			       grew ? ((uint32_t)1 << was.grown) - 1 : 0 };
	h->shrunk = true;
}

/* Is it to stay where it is, this time? */
static bool fickle_stays(struct heap *h, const void *p)
{
	struct fickle *f = fickle_at(h, p);

	return f->p == p && f->left && f->left--;
}

static void heap_flush(struct heap *h, bool all)
{
	for (unsigned c = 1; c < CLASSES; c++) {
		if (all || !h->used[c])
			mag_flush(&h->mag[c]);
		h->used[c] = false;
	}
	h->last_trim = h->ticks;
}

/* Give back all that is free, be it in an active slab. */
static void heap_empty(struct heap *h)
{
	remote_drain(h);
	heap_flush(h, true);
	heap_punch_all(h);
	stock_empty(h);
	for (struct mag *m = &h->mag[1]; m < &h->mag[CLASSES]; m++) {
		struct slab *s = m->active;

		if (!s || doubtful ||
		    s->nfree + remote_count(load_acquire(&s->remote)) !=
			    slab_blocks(s))
			continue;
		m->active = NULL;
		slab_release(s, false);
	}
}

/* What ALLOC_CHECK=3 holds back is freed, and what is for others is sent. */
static void held_flush(struct heap *h)
{
	for (void **p = h->held; p < h->held + 2 * QUARANTINE; p++) {
		void *q = *p;
		uint32_t tag = pagemap_get(q);

		*p = NULL; /* first: a fork may come in between */
		if (!q)
			continue;
		seal_leave(q, tag);
		if (tag == TAG_EXTENT)
			extent_free(NULL, q);
		else if (slab_of(q)->heap == h)
			slab_put(slab_of(q), q);
		else
			remote_free(h, slab_of(q), tag, q);
	}
	remote_flush(h);
}

/*
 * Empty each parked heap that has something; or `all`, with what they hold
 * back, since no note comes of what others free in an active slab. One by one:
 * a thread that starts meanwhile and finds none makes a new heap, for good.
 */
static void parked_empty(bool all)
{
	for (int held = all; held >= 0; held--)
		for (uint32_t n = load_relaxed(&heaps.idle); n; n--) {
			struct heap *h = parked_take();

			if (!h)
				break;
			if (held)
				held_flush(h);
			else if (all || !h->flushed || load_relaxed(&h->inbox))
				heap_empty(h);
			h->flushed |= !held;
			parked_put(h, true);
		}
}

/* Before a new chunk is made: is there memory that nobody needs? */
static bool heap_scrape(struct heap *h)
{
	if (!load_relaxed(&os.chunks))
		return false;
	heap_flush(h, false);
	if (load_relaxed(&heaps.lost))
		heaps_adopt();
	parked_empty(false);
	return true;
}

/*
 * A unit: used ones before fresh ones, a new chunk last. The `first` slab of a
 * class may stay nearly empty: that goes on a clean unit. Of large blocks much
 * may not be touched: they get no huge pages.
 */
static struct slab *heap_unit(struct heap *h, unsigned c, bool first)
{
	struct slab *s = first ? unit_obtain(CLEAN, false) : NULL;
	bool huge = h->carved >= HUGE_MIN && classes[c].size < page_size &&
		    load_relaxed(&os.chunks) >= HUGE_CHUNKS;

	if (!s)
		s = unit_obtain(DIRTY, huge);
	if (!s && h->ticks - h->last_trim >= TRIM_TICKS) {
		heap_flush(h, false);
		s = unit_obtain(DIRTY, huge);
	}
	if (!s && load_relaxed(&os.chunks) >= SPARSE_CHUNKS)
		heap_punch(h, peak_near());
	if (!s)
		s = unit_obtain(ANY, huge);
	if (!s && heap_scrape(h))
		s = unit_obtain(ANY, huge);
	while (!s && chunk_map(huge))
		s = unit_obtain(ANY, huge);
	return s;
}

/* The list came from frees: the class is busy, let it keep more. */
static void mag_grow(struct mag *m, size_t size)
{
	if (m->max < MAG_MAX && 2 * m->max * size <= MAG_BYTES)
		m->max *= 2;
}

static void mag_init(struct mag *m, const struct class *c)
{
	uint32_t max = MAG_BYTES / c->size;
	uint32_t room = UNIT - (DEEP ? (uint32_t)page_size : 0);

	if (config.quick) {
		m->seal = c->size - (uint32_t)config.tail;
		m->edge = c->size > room ? 0 : room - c->size + 1;
	} else {
		m->recip = c->recip;
		m->limit = c->limit;
	}
	/* Last: a child that has a part of this would not do it again. */
	max = max > MAG_START ? MAG_START : max < MAG_MIN ? MAG_MIN : max;
	store_release(&m->max, max);
}

/* Freed blocks, from wherever they are at hand. */
static struct block *refill_freed(struct heap *h, unsigned c, unsigned *n)
{
	struct mag *m = &h->mag[c];
	struct slab *s = m->active, *part;
	struct block *list;

	if (s && s->list) {
		mag_grow(m, classes[c].size);
		return slab_take_list(s, n);
	}
	remote_drain(h);
	part = h->partial[c];
	if (part) {
		mag_grow(m, classes[c].size);
		slab_unlink(part);
		slab_sleep(part);
		list = slab_take_list(part, n);
		remote_adopt(part);
		return list;
	}
	if (!s)
		return NULL;
	list = remote_take(s, 0, n);
	if (list || s->carved < s->cap)
		return list;
	m->active = NULL;
	slab_sleep(s);
	return remote_take(s, PARKED, n);
}

/* Blocks that never were used, of a new slab if need be. */
static struct block *refill_carve(struct heap *h, unsigned c, unsigned *n)
{
	struct mag *m = &h->mag[c];
	bool first = !m->max;
	struct slab *s = m->active, *active = NULL;
	struct block *list;

	if (first)
		mag_init(m, &classes[c]);
	if (!s && h->holed[c]) {
		s = h->holed[c];
		list = slab_fill(s, n);
		if (UNLIKELY(!list)) /* all were misused */
			return refill_carve(h, c, n);
		return s->sealed ? seal_carved(s, list, *n) : list;
	}
	if (!s) {
		s = heap_unit(h, c, first);
		if (!s)
			return NULL;
		slab_open(s, h, c);
		if (!cas(&m->active, &active, s)) {
			slab_release(s, false); /* a signal handler has one */
			s = active;
		}
	}
	list = slab_carve(s, n);
	if (UNLIKELY(!list)) {
		m->active = NULL;
		slab_sleep(s);
		return refill_carve(h, c, n);
	}
	return s->sealed ? seal_carved(s, list, *n) : list;
}

/* Fill a magazine, pop one. `zero`: all but its first two words is zeroed. */
static void *heap_refill(struct heap *h, unsigned c, bool *zero)
{
	struct mag *m = &h->mag[c];
	struct block *list;
	unsigned n;

	if (m->head) /* heap_pop would not have it */
		free_list_corrupt(m->head);
	h->used[c] = true;
	if (++h->ticks % FLUSH_TICKS == 0)
		remote_flush(h);
	list = refill_freed(h, c, &n);
	if (list && WRONG(!block_is_free(list))) {
		free_list_corrupt(list);
		list = NULL; /* and all that it led to */
	}
	if (!list) {
		list = refill_carve(h, c, &n);
		if (!list)
			return NULL;
		*zero = n == 1 && m->active && !m->active->old;
	}
	if (UNLIKELY(OPT(sample)) && !config.slow)
		h->until -= n;
	m->head = list->next;
	list->mark = MARK_TAKEN;
	m->room = (int32_t)m->max - (int32_t)n + 1;
	return list;
}

/* No block of a slab of that tag, by all but the line that its owner writes. */
INLINE bool heap_has_not(void *p, uint32_t tag)
{
	const struct class *k = tag_class(tag);

	return WRONG(
		(uint16_t)(uintptr_t)p * k->recip >= k->limit ||
		block_is_free(p) ||
		(((struct block *)p)->mark == MARK_UNUSED && !class_has(k, p)));
}

/* What goes into a batch of this thread is its own so far: most of the time. */
INLINE bool heap_free_quick(void *p, uint32_t tag)
{
	struct heap *h = tls.me;
	struct slab *s = slab_of(p);
	struct batch *e;
	bool done;

	if (UNLIKELY(h == STUB || tls.inside != OUTSIDE))
		return false;
	quick_begin();
	e = batch_for(h, s);
	done = batch_takes(e, s) && e->tag == tag && !heap_has_not(p, tag) &&
	       !slab_lost(s);
	if (done)
		batch_add(e, s, tag, p);
	quick_end();
	return done;
}

/* Free a block of a slab. */
NOINLINE void heap_free(struct heap *h, void *p, uint32_t tag)
{
	unsigned c = (tag & TAG_CLASS_MAX) / GRAIN;
	struct slab *s = slab_of(p);

	if (heap_has_not(p, tag)) {
		misused(p, USE_FREE);
	} else if (!h) {
		remote_free_alone(s, p);
	} else if ((tag ^ h->tag) > TAG_CLASS_MAX) {
		remote_free(h, s, tag, p);
	} else {
		heap_put(&h->mag[c], p);
	}
}

/* Free a block that was looked at, of a slab or an extent. */
static void heap_drop(struct heap *h, void *p)
{
	uint32_t tag = pagemap_get(p);

	if (tag == TAG_EXTENT)
		extent_free(h, p);
	else
		heap_free(h, p, tag);
}

/* realloc of the thread's own block in a slab; NULL: the slow path's task. */
INLINE void *heap_resize(struct heap *h, void *p, size_t n)
{
	const struct class *c = NULL;
	struct mag *m = mag_of_live(h, p, &c);
	void *q;

	if (UNLIKELY(!m))
		return NULL;
	if (n - 1 < c->size) /* realloc(p, 0) is no resize */
		return fits(n, c->size) ? p : NULL;
	q = heap_pop(h, n, MARK_SALT);
	if (!q)
		return NULL;
	memcpy(q, p, c->size);
	heap_put(m, p);
	if (UNLIKELY(h->shrunk))
		fickle_moved(h, p, q, true);
	return q;
}
