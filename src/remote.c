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

/* All heaps. Who has os.lock must not wait for this one. */
static struct {
	struct lock lock;
	struct heap *parked, **last; /* without a thread */
	struct heap *all;
	uint32_t count, idle; /* of all; of the parked, relaxed */
	uint32_t obtained;    /* since heaps_reap looked; relaxed */
	uint32_t pid;         /* of the process, since its first heap */
	bool lost;            /* a fork left some behind: see parked.c */
	bool torn;            /* it did: calls may have been half done */
} heaps; /* without a value to begin with: no page of its own in a child */

static void lock_both(void)
{
	lock_take(&heaps.lock);
	lock_take(&os.lock);
}

/* Is it that of a thread which a fork left in the parent? */
INLINE bool heap_lost(const struct heap *h)
{
	uint64_t owner = load_relaxed(&h->owner);

	return owner && owner >> 32 != heaps.pid;
}

/*
 * Link a batch's last block, which is linked to itself, as no list of the owner
 * is, to another; false: it isn't any more. The owner may have freed it again,
 * unseen, and may have it in use by now.
 */
static bool batch_relink(struct block *b, struct block *was, struct block *next)
{
	if (!CHECKS)
		block_link(b, next);
	return !CHECKS ||
	       cas_pair(b, (uintptr_t)was, mark_of(b, was, mark_salt),
			(uintptr_t)next, mark_of(b, next, mark_salt));
}

/* Its last block was freed twice, or written to: none of it is used again. */
SLOW struct wrong batch_wrong(const struct batch *e)
{
	if (pagemap_get(e->tail) != e->tag)
		return (struct wrong){ DOUBLE_FREE, e->tail, 0 };
	return list_wrong(e->tail);
}

/* The first on a list that is wrong, or if it has not all blocks, the slab. */
SLOW struct wrong list_first_wrong(const struct slab *s, const struct block *b)
{
	for (unsigned n = s->cap; n-- && b && block_is_free(b);)
		b = b->next;
	return b ? list_wrong(b) :
		   (struct wrong){ LIST_CORRUPTED, slab_start(s),
				   slab_size(s) };
}

/*
 * Empty a slab whose blocks are all in this batch. They were counted, which
 * proves nothing. So look at them while nobody can write there: who has one on
 * another list finds it without a mark later. And first let the page map lose
 * the slab, so that none is freed again from now on. What its remote word is to
 * be: 0 when something is wrong, and the slab stays.
 */
static uint64_t remote_purge(struct slab *s, const struct batch *e,
			     struct wrong *wrong)
{
	char *start = slab_start(s);
	size_t len = UNIT - (s->guarded ? page_size : 0);
	uint64_t word = remote_word(s, e->head, s->cap);
	bool good = true;

	EVENT("purge", start, len);
	pagemap_set(start, 1, TAG_FREE);
	if (os_seal(start, len)) {
		good = !CHECKS ||
		       (s->carved == s->cap && slab_all_free(s, e->head, NULL));
		/* What is in the guard is of an earlier life, and goes, too. */
		if (good && os_purge(start, UNIT))
			word = (uint64_t)s->cap << 32;
		if (!os_allow(start, len))
			return 0; /* it stays as it is */
	}
	if (!remote_purged(word))
		pagemap_set(start, 1, e->tag);
	if (!good)
		*wrong = list_first_wrong(s, e->head);
	return good ? word : 0;
}

/*
 * Send a batch home. A slab with all blocks in its word may be gone any time:
 * only PURGING and a note that is owed keep it. An owner that sleeps would keep
 * the memory: beyond some megabytes slabs are emptied for it.
 */
static struct wrong remote_publish(struct batch *e)
{
	struct wrong wrong = { NULL, NULL, 0 };
	struct slab *s = e->slab;
	struct block *was = e->tail, *next;
	struct heap *owner;
	uint64_t old, word;
	bool all;

	store_relaxed(&e->slab, NULL); /* a census must not follow it later */
	if (WRONG(pagemap_get(e->tail) != e->tag) ||
	    WRONG(!class_has(tag_class(e->tag), e->tail)))
		return batch_wrong(e);
	owner = s->heap;
	old = load_relaxed(&s->remote);
	do {
		next = remote_head(s, old);
		if (WRONG(e->count + remote_count(old) > s->cap) ||
		    !batch_relink(e->tail, was, next))
			return batch_wrong(e);
		was = next;
		word = remote_word(s, e->head, e->count + remote_count(old));
		all = remote_count(word) == s->cap;
		if (all && load_relaxed(&owner->emptied) + UNIT > EMPTIED_MAX &&
		    !doubtful)
			word = (uint64_t)s->cap << 32 | PURGING;
	} while (!cas(&s->remote, &old, word));
	if (all)
		__atomic_fetch_add(&owner->emptied, UNIT, __ATOMIC_RELAXED);
	if (word & PURGING)
		old |= exchange(&s->remote, remote_purge(s, e, &wrong));
	if (old & PARKED)
		slab_note(s);
	return wrong;
}

/* Of slabs that are nobody's; then tell what is wrong. */
static void remote_publish_locked(struct batch *e)
{
	struct wrong wrong;

	lock_take(&heaps.lock);
	wrong = remote_publish(e);
	lock_drop(&heaps.lock);
	if (UNLIKELY(wrong.what != NULL))
		list_report(wrong);
}

/* A thread without a heap publishes at once, under the lock. */
SLOW void remote_free_alone(struct slab *s, struct block *b)
{
	struct batch e = { s, b, b, 1, pagemap_get(b) };

	block_link(b, b);
	remote_publish_locked(&e);
}

/* Is it of such a heap? Its descriptor is read only in such a child. */
INLINE bool slab_lost(const struct slab *s)
{
	return load_relaxed(&heaps.lost) && heap_lost(s->heap);
}

static void remote_send(struct heap *h, struct batch *e)
{
	struct wrong wrong;

	/* On loan, or parked */
	if (h != heap_own() || UNLIKELY(slab_lost(e->slab))) {
		remote_publish_locked(e);
		return;
	}
	wrong = remote_publish(e);
	if (UNLIKELY(wrong.what != NULL))
		list_report(wrong);
}

static void remote_flush(struct heap *h)
{
	for (struct batch *e = h->batch; e < h->batch + BATCHES; e++)
		if (e->slab)
			remote_send(h, e);
}

INLINE struct batch *batch_for(struct heap *h, const struct slab *s)
{
	size_t i = ((uintptr_t)s / sizeof(*s)) ^ ((uintptr_t)s >> CHUNK_SHIFT);

	return &h->batch[i % BATCHES];
}

/* A checked block of a foreign slab; true: its batch is to be sent. */
INLINE bool batch_add(struct batch *e, struct slab *s, uint32_t tag,
		      struct block *b)
{
	if (e->slab != s)
		*e = (struct batch){ s, b, b, 0, tag };
	block_link(b, e->head);
	e->head = b;
	e->count++;
	return e->count >= BATCH_BLOCKS ||
	       e->count * tag_class(tag)->size >= BATCH_BYTES;
}

/* Is there a batch that takes one more, and is not sent for it? */
INLINE bool batch_takes(const struct batch *e, const struct slab *s)
{
	return e->slab == s && e->count + 1 < BATCH_BLOCKS &&
	       (e->count + 1) * tag_class(e->tag)->size < BATCH_BYTES;
}

/* Free a checked block of a foreign slab, whose tag that is. */
static void remote_free(struct heap *h, struct slab *s, uint32_t tag,
			struct block *b)
{
	struct batch *e = batch_for(h, s);

	if (UNLIKELY(slab_lost(s))) {
		remote_free_alone(s, b);
		return;
	}
	if (e->slab && e->slab != s)
		remote_send(h, e);
	if (batch_add(e, s, tag, b))
		remote_send(h, e);
}

/*
 * Take the batch of a slab that was ACTIVE, and leave `word` there: PARKED if
 * it is to sleep. One that was purged is released then; before, it stays, and
 * so does one that is being purged.
 */
static struct block *remote_take(struct slab *s, uint64_t word, unsigned *n)
{
	uint64_t old = remote_swap(s, word, word);

	*n = remote_count(old);
	if (!remote_purged(old))
		return remote_head(s, old);
	if (old & PURGING)
		return NULL;
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
	if (slab_join(s) && s->nfree >= s->trigger)
		slab_event(s);
}

/*
 * A note has arrived: arm the slab again, or give it back. If it is being
 * purged, arming asks for another note.
 */
static void drain_slab(struct slab *s)
{
	unsigned others, n;
	uint64_t word = 0;

	if (s->state == SLAB_LOST)
		return;
	if (s->state != SLAB_ZOMBIE)
		word = __atomic_fetch_or(&s->remote, PARKED, __ATOMIC_ACQ_REL);
	if (word & PURGING)
		return;
	others = remote_count(word);
	n = s->nfree + others;
	if (s->state == SLAB_ZOMBIE || (n >= slab_whole(s) && !doubtful))
		slab_release(s, true);
	else if (!s->list)
		remote_adopt(s);
	else if (s->state == SLAB_PARTIAL)
		s->trigger = (uint16_t)(slab_whole(s) - others);
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
