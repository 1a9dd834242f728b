/*
 * parked.c - heaps without a thread: those that wait for one, and those that a
 * fork left behind.
 *
 * A child has no thread but one. The heaps of the others were copied while they
 * changed, so no list of theirs can be believed. But a free block proves itself
 * by its mark: when the child wants memory, or a heap for a new thread, all of
 * them are made anew from their slabs. Until then they are nobody's, and what
 * is freed for them goes there under heaps.lock.
 */

/* A heap without a thread, or NULL. */
static struct heap *parked_take(void)
{
	struct heap *h;

	lock_take(&heaps.lock);
	h = heaps.parked;
	if (h) {
		add_relaxed(&heaps.idle, -1u);
		heaps.parked = h->parked;
		if (!h->parked)
			heaps.last = NULL;
	}
	lock_drop(&heaps.lock);
	return h;
}

/* Under the lock: it is the next to be taken, or the last. */
static void parked_add(struct heap *h, bool last)
{
	add_relaxed(&heaps.idle, 1);
	h->parked = last ? NULL : heaps.parked;
	*(last && heaps.last ? heaps.last : &heaps.parked) = h;
	if (!h->parked)
		heaps.last = &h->parked;
}

static void parked_put(struct heap *h, bool last)
{
	lock_take(&heaps.lock);
	parked_add(h, last);
	lock_drop(&heaps.lock);
}

/* Under the lock: a heap as if it had no slab, and no thread had used it. */
static void heap_reset(struct heap *h)
{
	for (struct mag *m = &h->mag[1]; m < &h->mag[CLASSES]; m++) {
		m->head = NULL;
		m->room = (int32_t)m->max;
		m->active = NULL;
	}
	memset(h->partial, 0, sizeof(h->partial));
	memset(h->holed, 0, sizeof(h->holed));
	h->cursor = NULL;
	memset(h->batch, 0, sizeof(h->batch));
	h->inbox = NULL;
	h->emptied = 0;
	h->leaving = h->flushed = false;
}

/*
 * Which blocks of a slab are marked as free, a bit each, and how many. What is
 * linked to itself, the last of a batch, is on its way, and is not counted; nor
 * is one whose seal and poison are not written yet.
 */
static unsigned slab_free_blocks(const struct slab *s, uint64_t *set)
{
	const char *p = slab_start(s);
	unsigned n = 0;

	for (unsigned i = 0; i < s->carved; i++, p += slab_size(s)) {
		const struct block *b = (const struct block *)p;

		if (!block_is_free(b) || b->next == b ||
		    (s->sealed && !seal_good(p, slab_size(s))))
			continue;
		set[i / 64] |= (uint64_t)1 << i % 64;
		n++;
	}
	return n;
}

/* A slab of a heap that was reset; true: it has no block in use. */
static bool slab_readopt(struct slab *s)
{
	struct mag *m = &s->heap->mag[s->cls];
	uint64_t set[SLAB_WORDS] = { 0 };
	bool pending = s->nfree == UINT16_MAX;
	uint64_t word = load_relaxed(&s->remote);

	s->list = NULL;
	s->nfree = 0;
	if (s->state == SLAB_LOST || word & PURGING) {
		s->state = SLAB_LOST; /* it may even be read-only */
		return false;
	}
	if (s->state == SLAB_ZOMBIE || remote_purged(word) ||
	    slab_free_blocks(s, set) == slab_blocks(s))
		return !pending;
	if (pending || m->active)
		s->cap = s->carved; /* only an active one is carved */
	s->state = SLAB_FULL;
	slab_sleep(s);
	store_relaxed(&s->remote, pending ? word | PARKED : PARKED);
	if (pending)
		return false;
	slab_relist(s, set, 0);
	if (s->carved < s->cap) {
		m->active = s;
		s->state = SLAB_ACTIVE;
		s->trigger = UINT16_MAX;
		store_relaxed(&s->remote, 0);
	} else if (s->nfree >= s->trigger) {
		partial_add(s, 0);
	}
	return false;
}

/* Under both locks: all slabs of heaps that were left behind. */
static struct slab *lost_slabs(void)
{
	struct slab *all = NULL, *s;

	for (char *p = extent_next(NULL); p; p = extent_next(p)) {
		uint32_t tag = pagemap_get(p);

		s = slab_of(p);
		if ((!tag_is_slab(tag) && tag != TAG_FREE) ||
		    !heap_lost(s->heap))
			continue;
		s->next = all;
		all = s;
	}
	return all;
}

/* Blocks of these are in a batch that will be sent: they are left alone. */
static void slabs_pending(const struct heap *h)
{
	for (unsigned i = 0; i < BATCHES; i++) {
		struct slab *s = load_relaxed(&h->batch[i].slab);

		if (s && heap_lost(s->heap))
			s->nfree = UINT16_MAX;
	}
}

/* Park all heaps that were left behind. */
static void heaps_adopt(void)
{
	struct slab *s, *next, *empty = NULL;

	lock_both();
	s = load_relaxed(&heaps.lost) ? lost_slabs() : NULL;
	for (struct heap *h = heaps.all; h; h = h->all)
		if (heap_lost(h))
			heap_reset(h);
		else /* what its batches are for can't be unmapped */
			slabs_pending(h);
	lock_drop(&os.lock);
	for (; s; s = next) {
		next = s->next;
		if (!slab_readopt(s))
			continue;
		s->next = empty;
		empty = s;
	}
	for (struct heap *h = heaps.all; h; h = h->all)
		if (heap_lost(h)) {
			store_relaxed(&h->owner, 0);
			parked_add(h, true);
		}
	heaps.torn |= heaps.lost;
	store_release(&heaps.lost, false);
	lock_drop(&heaps.lock);
	for (; empty; empty = next) {
		next = empty->next;
		if (!empty->guarded || slab_unguard(empty))
			slab_leave(empty, false);
	}
}
