/*
 * heap.c - a thread's heap: magazines in front of slabs.
 *
 * malloc pops a magazine, free pushes on it. An empty one is refilled with
 * the whole list of one slab, so that reused blocks stay hot; a full one is
 * not flushed: the block goes to its slab. All here is the owning thread's
 * alone, but for parked heaps, which belong to whoever took them off the
 * list of parked ones.
 */
#define MAG_MIN 2
#define MAG_START 64
#define MAG_MAX 4096
#define MAG_BYTES (64 * KIB)
#define FLUSH_TICKS 16 /* refills between flushes of remote batches */
#define TRIM_TICKS 32  /* refills between trims of unused magazines */

/* The magazine at `k`, a class times 16 as tags have it. */
INLINE struct mag *mag_at(struct heap *h, size_t k)
{
	return (struct mag *)((char *)h->mag + 2 * k);
}

/* The fast path of malloc; NULL: the slow one has to do it. */
INLINE void *heap_pop(struct heap *h, size_t n)
{
	struct block *b, *next;
	struct mag *m;
	size_t k;

	if (LIKELY(n <= LINEAR_MAX))
		k = (n + GRAIN - 1) & ~(size_t)(GRAIN - 1);
	else if (LIKELY(n <= SLAB_MAX))
		k = (size_t)class_of_medium(n) * GRAIN;
	else
		return NULL;
	m = mag_at(h, k);
	b = m->head;
	if (UNLIKELY(!b))
		return NULL;
	next = b->next;
	if (UNLIKELY(b->mark != mark_of(b, next)))
		return NULL;
	m->head = next;
	m->room++;
	b->mark = 0;
	return b;
}

enum push { PUSHED, PUSH_SLOW, PUSH_FULL };

/* The fast path of free, or the word for what has to do it instead. */
INLINE enum push heap_push(struct heap *h, void *p)
{
	const uint32_t *slot = pagemap_slot(p);
	struct block *b = p;
	struct mag *m;
	uint32_t k;

	if (UNLIKELY(!slot))
		return PUSH_SLOW;
	k = load_relaxed(slot) ^ h->tag;
	if (UNLIKELY(k > TAG_CLASS_MAX))
		return PUSH_SLOW; /* foreign, remote, run, mapping */
	m = mag_at(h, k);
	if (UNLIKELY((uint16_t)(uintptr_t)p * m->recip >= m->limit))
		return PUSH_SLOW; /* no block starts here, or a large class */
	if (UNLIKELY(m->head == b))
		return PUSH_SLOW; /* freed twice in a row */
	if (UNLIKELY(--m->room < 0))
		return PUSH_FULL;
	block_link(b, m->head);
	m->head = b;
	return PUSHED;
}

/* -- trimming: what the magazines hold goes to the slabs */

static void mag_flush(struct mag *m)
{
	struct block *b = m->head, *next;

	list_prove(b);
	for (m->head = NULL; b; b = next) {
		next = b->next;
		slab_put(slab_of(b), b);
		m->room++;
	}
}

static void heap_flush(struct heap *h, bool all)
{
	for (unsigned c = 1; c < CLASSES; c++) {
		if (h->mag[c].head && (all || !h->used[c]))
			mag_flush(&h->mag[c]);
		h->used[c] = false;
	}
	h->last_trim = h->ticks;
}

/* Let an exhausted or wholly free active slab go. */
static void heap_drop_active(struct heap *h)
{
	for (unsigned c = 1; c < CLASSES; c++) {
		struct slab *s = h->mag[c].active;

		if (!s || s->nfree + remote_count(load_acquire(&s->remote)) !=
				  s->carved)
			continue;
		h->mag[c].active = NULL;
		slab_release(s, false);
	}
}

/* Give back all that is free in a heap that nobody else uses. */
static void heap_empty(struct heap *h)
{
	remote_drain(h);
	heap_flush(h, true);
	heap_drop_active(h);
}

/* Do that for each parked heap that has something. */
static void parked_empty(void)
{
	struct heap *list, *h, *last = NULL;

	lock_take(&heaps.lock);
	list = heaps.parked;
	heaps.parked = NULL;
	lock_drop(&heaps.lock);
	for (h = list; h; h = h->parked) {
		if (!h->flushed || load_relaxed(&h->inbox))
			heap_empty(h);
		h->flushed = true;
		last = h;
	}
	if (!last)
		return;
	lock_take(&heaps.lock);
	last->parked = heaps.parked;
	heaps.parked = list;
	lock_drop(&heaps.lock);
}

/* -- units */

/*
 * `n` neighbouring units. Before anything fresh is touched, everything else
 * is tried: units of the cache, then what unused magazines hold back. A chunk
 * is mapped only when parked heaps have nothing either.
 */
static struct slab *heap_units(struct heap *h, unsigned n)
{
	struct slab *s = units_take(n, true);

	if (s)
		return s;
	if (h->ticks - h->last_trim >= TRIM_TICKS) {
		heap_flush(h, false);
		if ((s = units_take(n, true)) != NULL)
			return s;
	}
	if (load_relaxed(&os.maps.bytes) >= GROWTH)
		make_way(GROWTH);
	if ((s = units_take(n, false)) != NULL)
		return s;
	if (os.chunks) {
		heap_flush(h, false);
		parked_empty();
		if ((s = units_take(n, false)) != NULL)
			return s;
	}
	return chunk_map() ? units_take(n, false) : NULL;
}

/* -- runs: one block of whole units */

static void *run_alloc(struct heap *h, size_t n, bool *zero)
{
	unsigned units = (unsigned)(round_up(n, UNIT) / UNIT);
	struct slab *s = heap_units(h, units);

	if (!s)
		return NULL;
	s->state = SLAB_RUN;
	*zero = s->fresh;
	pagemap_set(unit_start(s), units, TAG_TAIL);
	pagemap_set(unit_start(s), 1, TAG_RUN);
	return unit_start(s);
}

/* False: `p` is no run, or freed already. */
static bool run_free(void *p)
{
	struct slab *s;

	if ((uintptr_t)p & (UNIT - 1) || pagemap_get(p) != TAG_RUN)
		return false;
	s = unit_of(p);
	if (!pagemap_swap(p, TAG_RUN, TAG_FREE))
		return false;
	units_free(s, s->units);
	return true;
}

/* -- refilling a magazine */

/* The list came from frees: the class is busy, let it keep more. */
static void mag_grow(struct mag *m, size_t size)
{
	if (m->max < MAG_MAX && 2 * m->max * size <= MAG_BYTES)
		m->max *= 2;
}

static void mag_init(struct mag *m, const struct class *c)
{
	size_t max = MAG_BYTES / c->size;

	m->max = (uint32_t)(max < MAG_MIN   ? MAG_MIN :
			    max > MAG_START ? MAG_START :
					      max);
	m->recip = c->recip;
	m->limit = c->limit;
}

/* Freed blocks of the class, from wherever they are at hand. */
static struct block *refill_freed(struct heap *h, unsigned c, unsigned *n)
{
	struct mag *m = &h->mag[c];
	struct slab *s = m->active;
	struct block *list = NULL;

	if (s && s->list) {
		mag_grow(m, classes[c].size);
		return slab_take_list(s, n);
	}
	remote_drain(h);
	s = h->partial[c];
	if (s) {
		mag_grow(m, classes[c].size);
		partial_remove(s);
		slab_sleep(s);
		list = slab_take_list(s, n);
		remote_adopt(s);
		return list;
	}
	s = m->active;
	if (!s)
		return NULL;
	list = remote_take(s, 0, n);
	if (list || s->carved < s->cap)
		return list;
	m->active = NULL;
	slab_sleep(s);
	return remote_park(s, n);
}

/* Blocks that never were used. `fresh`: they are zeroed but for the link. */
static struct block *refill_carve(struct heap *h, unsigned c, unsigned *n,
				  bool *fresh)
{
	struct mag *m = &h->mag[c];
	struct slab *s = m->active;

	if (!s) {
		s = heap_units(h, classes[c].units);
		if (!s)
			return NULL;
		slab_open(s, h, c);
		m->active = s;
	}
	*fresh = s->fresh;
	return slab_carve(s, n);
}

/*
 * The slow half of malloc for classes: fill the magazine, pop one. `zero`:
 * all but the first two words is zeroed.
 */
static void *heap_refill(struct heap *h, unsigned c, bool *zero)
{
	struct mag *m = &h->mag[c];
	struct block *list, *next;
	bool fresh = false;
	unsigned n;

	if (m->head) /* heap_pop would not have it */
		free_list_corrupt(m->head);
	if (!m->max)
		mag_init(m, &classes[c]);
	h->used[c] = true;
	if (++h->ticks % FLUSH_TICKS == 0)
		remote_flush(h);
	list = refill_freed(h, c, &n);
	if (!list)
		list = refill_carve(h, c, &n, &fresh);
	if (!list)
		return NULL;
	*zero = fresh && n == 1;
	if (!block_is_free(list))
		free_list_corrupt(list);
	next = list->next;
	list->mark = 0;
	m->head = next;
	m->room = (int32_t)m->max - (int32_t)n + 1;
	return list;
}

/* -- all sizes */

static void *heap_alloc(struct heap *h, size_t n, bool *zero)
{
	void *p;

	*zero = false;
	if (n > RUN_MAX)
		return large_alloc(n, page_size, zero);
	if (n > SLAB_MAX)
		return run_alloc(h, n, zero);
	p = heap_pop(h, n ? n : 1);
	return p ? p : heap_refill(h, class_of(n), zero);
}

/* heap_push counted the block in: count it out, the slab takes it. */
NOINLINE void heap_free_full(struct heap *h, void *p)
{
	struct slab *s = slab_of(p);

	h->mag[s->cls].room++;
	if (!slab_has(s, p) || block_is_free(p))
		misused(p, USE_FREE);
	slab_put(s, p);
}

/*
 * Free a block of a slab: checked, and to wherever it belongs. A slab of one
 * unit is found and checked without reading its descriptor, which its owner
 * keeps writing to.
 */
static void heap_free(struct heap *h, void *p, uint32_t tag)
{
	unsigned c = (tag & TAG_CLASS_MAX) / GRAIN;
	const struct class *k = &classes[c];
	struct slab *s = k->limit ? unit_of(p) : slab_of(p);
	struct block *b = p;

	if (k->limit ? (uint16_t)(uintptr_t)p * k->recip >= k->limit :
		       !slab_has(s, p))
		misused(p, USE_FREE);
	if (block_is_free(b))
		misused(p, USE_FREE);
	if (!h) {
		remote_free_alone(s, b);
	} else if ((tag ^ h->tag) > TAG_CLASS_MAX) {
		remote_free(h, s, c, b);
	} else if (h->mag[c].room > 0) {
		h->mag[c].room--;
		block_link(b, h->mag[c].head);
		h->mag[c].head = b;
	} else {
		slab_put(s, b);
	}
}
