/*
 * sealed.c - malloc and free of sealed blocks, for ALLOC_CHECK=2 and 3.
 *
 * No thread has a fast path then: each call comes here. Most are done by
 * sealed_pop and sealed_push, which give up on whatever is not as it should be.
 */

/* A block of class `k` / GRAIN; NULL: the long way. */
INLINE void *sealed_take(size_t k, size_t n, const struct steps *steps,
			 const void *caller, bool deep)
{
	struct mag *m = mag_at(tls.mine, k);
	struct block *b = m->head, *next;
	struct seal *seal;
	uint64_t key;

	if (UNLIKELY(!b))
		return NULL;
	next = b->next;
	__builtin_prefetch(next); /* all its lines are going to be looked at */
	__builtin_prefetch((void *)((uintptr_t)next + m->seal));
	seal = (struct seal *)((char *)b + m->seal);
	key = seal_key(b);
	if (UNLIKELY(b->mark != mark_of(b, next, mark_salt)) ||
	    UNLIKELY(!seal_untouched(seal, b, key, steps, deep)))
		return NULL;
	m->head = next;
	m->room++;
	b->mark = MARK_TAKEN;
	seal_write(seal, b, n, key, caller, deep, false);
	return b;
}

/* Is there a block of `n` bytes in the magazine? NULL: the long way. */
INLINE void *sealed_pick(size_t n, const void *caller, bool deep)
{
	size_t tail = TAIL(deep), k;

	if (deep && !n)
		return NULL;
	if (LIKELY(n <= LINEAR_MAX - tail)) {
		k = round_up((n > GRAIN ? n : GRAIN) + tail, GRAIN);
		return sealed_take(k, n, poison_steps(k, deep), caller, deep);
	}
	if (n > SLAB_MAX - tail)
		return NULL;
	k = class_of_medium(n + tail) * GRAIN;
	return sealed_take(k, n, POISON_STEPS_LARGE, caller, deep);
}

/* The same, from outside. */
INLINE void *sealed_pop(size_t n, const void *caller, bool deep)
{
	void *p;

	if (UNLIKELY(tls.inside))
		return NULL;
	quick_begin();
	p = sealed_pick(n, caller, deep);
	quick_end();
	return p;
}

NOINLINE void *sealed_get(size_t n, const void *caller)
{
	return DEEP ? sealed_pop(n, caller, true) :
		      sealed_pop(n, caller, false);
}

/* The same of an aligned one. */
NOINLINE void *sealed_get_aligned(size_t n, size_t align, const void *caller)
{
	size_t room = (n > GRAIN ? n : GRAIN) + config.tail;
	size_t k = GRAIN * class_aligned(room, align);
	void *p;

	if (UNLIKELY(tls.inside))
		return NULL;
	quick_begin();
	p = DEEP ? sealed_take(k, n, poison_steps(k, true), caller, true) :
		   sealed_take(k, n, poison_steps(k, false), caller, false);
	quick_end();
	return p;
}

/* Room for `n` bytes and what is behind them. */
static void *sealed_alloc(struct heap *h, size_t n, size_t align, bool *zero)
{
	size_t room = (n > GRAIN ? n : GRAIN) + config.tail;
	void *p;

	/* A mapping has no seal, and can be closed when it is freed. */
	if (room > extent_max())
		return mapping_alloc(n, align, false, zero);
	p = heap_alloc(h, room, align, zero);
	if (p && tag_is_slab(pagemap_get(p)) && slab_of(p)->sealed) {
		seal_reuse(seal_of(p, slab_size(slab_of(p)), DEEP), p);
		*zero = false;
	}
	return p;
}

/* `n` bytes at `p`, of whatever kind, are the user's from now on. */
static void sealed_made(void *p, size_t n, const void *caller)
{
	uint32_t tag = pagemap_get(p);
	struct mapping *m;
	struct seal *seal;

	if (tag_is_slab(tag) || tag == TAG_EXTENT) {
		seal = config.tail ? seal_at(p, tag) : NULL;
		if (!seal)
			return;
		seal_write(seal, p, n, seal_key(p), caller, DEEP, true);
	} else if ((m = mapping_at(p)) != NULL && (m->trap || config.tail)) {
		seal_mapping(m, n, caller);
	}
}

/* Hold a freed block back, first in a queue, then for a random time. */
INLINE void *quarantine(struct heap *h, void *p)
{
	void **slot = &h->held[h->turn++ % QUARANTINE], *out = *slot;

	*slot = p;
	if (!out)
		return NULL;
	slot = &h->held[QUARANTINE + (heap_random(h) >> 16) % QUARANTINE];
	p = *slot;
	*slot = out;
	if (p)
		seal_leave(p, pagemap_get(p));
	return p;
}

/* Check and poison a block that is no mapping. What to free for it, or NULL. */
static void *sealed_free(struct heap *h, void *p, const void *caller)
{
	uint32_t tag = pagemap_get(p);
	struct seal *seal;

	if (tag == TAG_EXTENT ? !extent_claim(p, EXTENT_KEPT) :
				!slab_has_live(slab_of(p), tag, p)) {
		misused(p, USE_FREE);
		return NULL;
	}
	seal = seal_at(p, tag);
	if (!seal)
		return p;
	seal_size(seal, p);
	if (tag == TAG_EXTENT && !extent_renew(p, seal_room(seal, p)))
		return NULL;
	seal_poison(seal, p, poison_steps_of(seal_room(seal, p)), caller, DEEP);
	return h && DEEP ? quarantine(h, p) : p;
}

/* The magazine of a block, and its class times GRAIN. */
struct own {
	struct mag *m;
	size_t k;
};

/* The seal of the thread's own live block, if all is as it was; else NULL. */
INLINE struct seal *sealed_own(void *p, uint64_t key, struct own *own,
			       bool deep, bool any)
{
	struct heap *h = tls.mine;
	struct seal *seal;
	uint32_t k = pagemap_get(p) ^ h->tag;

	if (UNLIKELY(k > TAG_CLASS_MAX))
		return NULL;
	*own = (struct own){ mag_at(h, k), k };
	/* The seal proves that a block starts here, if it can be read. */
	if (UNLIKELY(any ? !class_has(class_at(k), p) :
			   (uint16_t)(uintptr_t)p >= own->m->edge))
		return NULL;
	seal = (struct seal *)((char *)p + own->m->seal);
	return LIKELY(seal_whole(seal, p, key, deep)) ? seal : NULL;
}

/* The thread's own block, of which all is as it was, is free from now on. */
INLINE void sealed_drop(struct seal *seal, void *p, struct own own,
			const void *caller, bool deep)
{
	seal_poison(seal, p, poison_steps(own.k, deep), caller, deep);
	if (deep) {
		p = quarantine(tls.mine, p);
		own.m = p ? mag_of(tls.mine, p) : NULL;
	}
	if (!deep || LIKELY(own.m != NULL))
		heap_put(own.m, p);
	else if (p)
		heap_drop(tls.mine, p);
}

/* What the quarantine gives back may be anybody's. */
INLINE bool sealed_begin(bool deep)
{
	if (deep)
		return enter();
	if (UNLIKELY(tls.inside))
		return false;
	quick_begin();
	return true;
}

INLINE void sealed_end(bool deep)
{
	if (deep)
		leave();
	else
		quick_end();
}

/* Free the thread's own block; false: the long way. */
INLINE bool sealed_push(void *p, const void *caller, bool deep, bool any)
{
	struct own own = { NULL, 0 };
	struct seal *seal;

	if (UNLIKELY(!sealed_begin(deep)))
		return false;
	seal = sealed_own(p, seal_key(p), &own, deep, any);
	if (LIKELY(seal != NULL))
		sealed_drop(seal, p, own, caller, deep);
	sealed_end(deep);
	return seal;
}

NOINLINE bool sealed_put(void *p, const void *caller)
{
	return sealed_push(p, caller, DEEP, true);
}

/* realloc of the thread's own block; NULL: the long way. */
static void *sealed_fit(void *p, size_t n, const void *caller, bool deep)
{
	uint64_t key = seal_key(p);
	struct own own;
	struct seal *seal = sealed_own(p, key, &own, deep, false);
	void *q = NULL;

	if (seal && n && n <= seal_room(seal, p)) {
		if (!fits(n, seal_room(seal, p)))
			return NULL;
		seal_write(seal, p, n, key, caller, deep, true);
		return p;
	}
	if (seal && n > seal_room(seal, p))
		q = deep ? sealed_pick(n, caller, true) :
			   sealed_pick(n, caller, false);
	if (q) {
		memcpy(q, p, seal_room(seal, p) - seal_pad(seal, key));
		if (UNLIKELY(tls.mine->shrunk))
			fickle_moved(tls.mine, p, q, true);
		sealed_drop(seal, p, own, caller, deep);
	}
	return q;
}

static void *sealed_resize(void *p, size_t n, const void *caller)
{
	bool deep = DEEP;
	void *q;

	if (UNLIKELY(!sealed_begin(deep)))
		return NULL;
	q = sealed_fit(p, n, caller, deep);
	sealed_end(deep);
	return q;
}

/* -- at the end of the process */

/* Report what is not. */
static void seal_tell(void *p)
{
	struct seal *seal = seal_at(p, pagemap_get(p));

	if (seal_unused(seal, p))
		seal_reuse(seal, p);
	else
		seal_size(seal, p);
}

/* Blocks of an extent, not as they should be, up to `max`: how many. */
static unsigned extent_bad_seals(char *p, void **bad, unsigned max)
{
	uint32_t word = extent_get(p);
	const struct slab *s = tag_is_slab(pagemap_get(p)) ? slab_of(p) : NULL;
	size_t size = s ? slab_size(s) : word_len(word);
	unsigned n = 0, count = 0;

	if (s && s->sealed && !remote_purged(load_relaxed(&s->remote)))
		count = s->carved;
	else if (!s && word & EXTENT_SEALED)
		count = (word & EXTENT_STATE) == EXTENT_USED;
	for (; count > 0 && n < max; count--, p += size)
		if (!(s && block_gone(s, p)) && !seal_good(p, size))
			bad[n++] = p;
	return n;
}
