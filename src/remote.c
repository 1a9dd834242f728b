/*
 * remote.c - frees by other threads than the owner of the slab.
 *
 * The freeing thread gathers blocks by slab and publishes a batch with one
 * compare-and-swap of the slab's remote word. An active slab is looked at by
 * its owner anyway. Any other is PARKED: the first batch clears that and puts
 * a note, the slab itself, on the owner's inbox; draining arms it again.
 *
 * Race to know: between clearing PARKED and the note's arrival the owner may
 * find the slab empty. It must not free it then: slab.c makes it a ZOMBIE.
 */
#define BATCH_BLOCKS 64
#define BATCH_BYTES (8 * KIB)
#define EMPTIED_MAX (2 * MIB) /* of slabs that wait for a sleeping owner */

/* All heaps. Who has this lock must not wait for os.lock: see lock_both. */
static struct {
	struct lock lock;
	struct heap *parked, **last; /* without a thread */
	struct heap *all;
	uint32_t count, idle; /* of all; of the parked, relaxed */
} heaps = { .last = &heaps.parked };

/*
 * A slab with all blocks in its word may be gone any time: only PURGING and a
 * note that is owed keep it. An owner that sleeps would keep the memory:
 * beyond some megabytes slabs are emptied for it.
 */
static void remote_publish(struct batch *e)
{
	struct slab *s = e->slab;
	struct heap *owner = s->heap;
	uint64_t old = load_relaxed(&s->remote), word;
	size_t len = s->units * UNIT;
	bool all;

	store_relaxed(&e->slab, NULL); /* a census must not follow it later */
	do {
		block_link(e->tail, remote_head(s, old));
		word = remote_word(s, e->head, e->count + remote_count(old));
		all = remote_count(word) == s->cap;
		if (all && load_relaxed(&owner->emptied) + len > EMPTIED_MAX)
			word = (uint64_t)s->cap << 32 | PURGING;
	} while (!cas(&s->remote, &old, word));
	if (all)
		__atomic_fetch_add(&owner->emptied, len, __ATOMIC_RELAXED);
	if (word & PURGING) {
		EVENT("purge", unit_start(s), len);
		os_purge(unit_start(s), len);
		store_release(&s->remote, word & ~PURGING);
	}
	if (old & PARKED)
		slab_note(s);
}

/* A thread without a heap publishes at once, under the lock. */
SLOW void remote_free_alone(struct slab *s, struct block *b)
{
	struct batch e = { s, b, b, 1 };

	lock_take(&heaps.lock);
	remote_publish(&e);
	lock_drop(&heaps.lock);
}

/*
 * fork copies memory page by page while other threads run: a batch whose word
 * is copied later than its links would be broken in the child. So fork waits
 * until nobody publishes, and publishing waits while somebody forks.
 */
static void remote_send(struct heap *h, struct batch *e)
{
	for (;;) {
		__atomic_exchange_n(&h->busy, 1, __ATOMIC_SEQ_CST);
		if (LIKELY(!__atomic_load_n(&forking, __ATOMIC_SEQ_CST)) ||
		    lock_mine(&heaps.lock))
			break;
		store_release(&h->busy, 0);
		lock_take(&heaps.lock);
		lock_drop(&heaps.lock);
	}
	remote_publish(e);
	store_release(&h->busy, 0);
}

static void remote_flush(struct heap *h)
{
	for (struct batch *e = h->batch; e < h->batch + BATCHES; e++)
		if (e->slab)
			remote_send(h, e);
}

/* Free a checked block of class `c` of a foreign slab. */
static void remote_free(struct heap *h, struct slab *s, unsigned c,
			struct block *b)
{
	size_t i = ((uintptr_t)s / sizeof(*s)) ^ ((uintptr_t)s >> CHUNK_SHIFT);
	struct batch *e = &h->batch[i % BATCHES];

	if (e->slab != s) {
		if (e->slab)
			remote_send(h, e);
		*e = (struct batch){ s, NULL, b, 0 };
	}
	block_link(b, e->head);
	e->head = b;
	e->count++;
	if (e->count >= BATCH_BLOCKS ||
	    e->count * classes[c].size >= BATCH_BYTES)
		remote_send(h, e);
}

/*
 * Take the batch of a slab that was ACTIVE, and leave `word` there: PARKED if
 * it is to sleep. One that was purged is released then; before, it stays.
 */
static struct block *remote_take(struct slab *s, uint64_t word, unsigned *n)
{
	uint64_t old = remote_swap(s, word);

	*n = remote_count(old);
	if (!remote_purged(old))
		return remote_head(s, old);
	store_release(&s->remote, old);
	if (word == PARKED)
		slab_release(s, true);
	return NULL;
}

/*
 * A sleeping slab has no list: the waiting batch becomes it. PARKED stays as
 * it is, since a note may be on its way.
 */
static void remote_adopt(struct slab *s)
{
	uint64_t word = load_relaxed(&s->remote);

	do {
		if (!remote_head(s, word))
			return;
	} while (!cas(&s->remote, &word, word & PARKED));
	s->list = remote_head(s, word);
	s->nfree = (uint16_t)remote_count(word);
	if (s->nfree >= s->trigger)
		slab_event(s);
}

/* A note has arrived: arm the slab again, or give it back. */
static void drain_slab(struct slab *s)
{
	unsigned others = 0, n;

	if (s->state == SLAB_LOST)
		return;
	if (s->state != SLAB_ZOMBIE)
		others = remote_count(__atomic_fetch_or(&s->remote, PARKED,
							__ATOMIC_ACQ_REL));
	n = s->nfree + others;
	if (s->state == SLAB_ZOMBIE || n >= s->cap)
		slab_release(s, true);
	else if (!s->list)
		remote_adopt(s);
	else if (s->state == SLAB_PARTIAL)
		s->trigger = (uint16_t)(s->cap - others);
	else if (n >= s->trigger)
		partial_add(s, others);
}

/* Read the inbox: slabs that other threads freed blocks of. */
static void remote_drain(struct heap *h)
{
	struct slab *next;

	if (!load_relaxed(&h->inbox))
		return;
	store_relaxed(&h->emptied, 0);
	for (struct slab *s = exchange(&h->inbox, NULL); s; s = next) {
		next = s->note;
		drain_slab(s);
	}
}
