/*
 * remote.c - frees by other threads than the owner of the slab.
 *
 * The freeing thread gathers blocks by slab and publishes a batch with one
 * compare-and-swap of the slab's remote word. An active slab is looked at by
 * its owner anyway. Any other is PARKED: the first batch clears that and puts
 * a note, the slab itself, on the owner's inbox; draining arms it again. No
 * list is ever walked.
 *
 * Race to know: between clearing PARKED and the note's arrival the owner may
 * find the slab empty. It must not free it then: slab.c makes it a ZOMBIE.
 */
#define BATCH_BLOCKS 64
#define BATCH_BYTES (8 * KIB)
#define EMPTIED_MAX (2 * MIB) /* of slabs that wait for a sleeping owner */

/* All heaps. Order of locks: this one, then os.lock. */
static struct {
	struct lock lock;
	struct heap *parked; /* without a thread */
	struct heap *all;
	uint32_t count;
} heaps;

/*
 * fork copies memory page by page while other threads run: a batch whose word
 * is copied later than its links would be broken in the child. So fork waits
 * until nobody publishes, and publishing waits while somebody forks.
 */
static void publish_begin(struct heap *h)
{
	for (;;) {
		__atomic_exchange_n(&h->busy, 1, __ATOMIC_SEQ_CST);
		if (LIKELY(!__atomic_load_n(&forking, __ATOMIC_SEQ_CST)) ||
		    lock_mine(&heaps.lock))
			return;
		store_release(&h->busy, 0);
		lock_take(&heaps.lock);
		lock_drop(&heaps.lock);
	}
}

static void publish_end(struct heap *h)
{
	store_release(&h->busy, 0);
}

/*
 * All blocks of the slab are in its remote word. Its owner gives the slab back
 * when it reads its inbox. One that sleeps would keep the memory: beyond some
 * megabytes we empty slabs for it.
 */
static void remote_emptied(struct slab *s, uint64_t word)
{
	uint64_t empty = (uint64_t)s->cap << 32;
	size_t len = s->units * UNIT;

	if (__atomic_add_fetch(&s->heap->emptied, len, __ATOMIC_RELAXED) <=
		    EMPTIED_MAX ||
	    !cas(&s->remote, &word, empty | PURGING))
		return;
	EVENT("purge", unit_start(s), len);
	os_purge(unit_start(s), len);
	store_release(&s->remote, empty);
}

static void remote_publish(struct batch *e)
{
	struct slab *s = e->slab;
	struct heap *owner = s->heap;
	uint64_t old = load_relaxed(&s->remote), word;

	do {
		block_link(e->tail, remote_head(s, old));
		word = remote_word(s, e->head, e->count + remote_count(old));
	} while (!cas(&s->remote, &old, word));
	e->slab = NULL;
	if (old & PARKED) {
		struct slab *first = load_relaxed(&owner->inbox);

		do {
			s->note = first;
		} while (!cas(&owner->inbox, &first, s));
	}
	if (UNLIKELY(remote_count(word) == s->cap))
		remote_emptied(s, word);
}

/* A thread without a heap publishes each block at once, under the lock. */
SLOW void remote_free_alone(struct slab *s, struct block *b)
{
	struct batch e = { s, b, b, 1 };

	lock_take(&heaps.lock);
	remote_publish(&e);
	lock_drop(&heaps.lock);
}

static void remote_send(struct heap *h, struct batch *e)
{
	publish_begin(h);
	remote_publish(e);
	publish_end(h);
}

/* Publish all that thread heap `h` holds back. */
static void remote_flush(struct heap *h)
{
	for (int i = 0; i < BATCHES; i++)
		if (h->batch[i].slab)
			remote_send(h, &h->batch[i]);
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

/* -- the owner's side */

/* Take the batch that waits at a slab, and leave `word` there. */
static struct block *remote_take(struct slab *s, uint64_t word, unsigned *n)
{
	uint64_t old = remote_swap(s, word);

	if (remote_purged(old)) /* no list any more: slab_release wants it */
		store_release(&s->remote, old);
	*n = remote_count(old);
	return remote_head(s, old);
}

/* The same for a slab that goes to sleep; one that was purged is released. */
static struct block *remote_park(struct slab *s, unsigned *n)
{
	struct block *list = remote_take(s, PARKED, n);

	if (!list && *n)
		slab_release(s, true);
	return list;
}

/* The list of a sleeping slab was taken: the waiting batch is the next. */
static void remote_adopt(struct slab *s)
{
	uint64_t word = load_relaxed(&s->remote);

	if (!(uint32_t)word)
		return;
	/* A note may be on its way: PARKED must stay as it is. */
	while (!cas(&s->remote, &word, word & PARKED))
		;
	s->list = remote_head(s, word);
	s->nfree = (uint16_t)remote_count(word);
	if (s->nfree >= s->trigger)
		slab_event(s);
}

/* The note of a slab has arrived: arm it again, or give the slab back. */
static void drain_slab(struct slab *s)
{
	struct block *list;
	unsigned n;

	if (s->state == SLAB_ZOMBIE) {
		slab_release(s, true);
	} else if (s->list) {
		n = s->nfree + remote_count(__atomic_fetch_or(
				       &s->remote, PARKED, __ATOMIC_ACQ_REL));
		if (n >= s->cap)
			slab_release(s, false);
		else if (s->state == SLAB_FULL && n >= s->trigger)
			partial_add(s);
	} else if ((list = remote_park(s, &n)) != NULL) {
		s->list = list;
		s->nfree = (uint16_t)n;
		if (s->nfree >= s->trigger)
			slab_event(s);
	}
}

/* Read the inbox: slabs that other threads freed blocks of. */
static void remote_drain(struct heap *h)
{
	struct slab *s, *next;

	if (!load_relaxed(&h->inbox))
		return;
	store_relaxed(&h->emptied, 0);
	for (s = exchange(&h->inbox, NULL); s; s = next) {
		next = s->note;
		drain_slab(s);
	}
}
