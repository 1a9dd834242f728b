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
	b->mark = 0;
	seal_write(seal, b, n, key, false);
	if (deep)
		*seal->by = (struct callers){ caller, NULL };
	return b;
}

/* Is there a block of `n` bytes in the magazine? NULL: the long way. */
INLINE void *sealed_pop(size_t n, const void *caller, bool deep)
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

	return DEEP ? sealed_take(k, n, poison_steps(k, true), caller, true) :
		      sealed_take(k, n, poison_steps(k, false), caller, false);
}

/* Room for `n` bytes and what is behind them. */
static void *sealed_alloc(struct heap *h, size_t n, size_t align, bool *zero)
{
	size_t room = (n > GRAIN ? n : GRAIN) + config.tail;
	void *p;

	/* A mapping has no seal, and can be closed when it is freed. */
	if (room > (DEEP ? SLAB_MAX : RUN_MAX))
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
	size_t size;

	if (tag_is_slab(tag) || tag == TAG_RUN) {
		const struct slab *s = config.tail ? slab_of(p) : NULL;

		if (!s || !s->sealed)
			return;
		size = tag == TAG_RUN ? s->units * UNIT : slab_size(s);
		seal_write(seal_of(p, size, DEEP), p, n, seal_key(p), true);
		if (DEEP)
			*seal_of(p, size, true)->by =
				(struct callers){ caller, NULL };
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
		seal_links(p);
	return p;
}

/* Check and poison a block of a slab. The block to be freed for it, or NULL. */
static void *sealed_free(struct heap *h, void *p, const void *caller)
{
	struct slab *s = slab_of(p);
	struct seal *seal;

	if (!slab_has_live(s, pagemap_get(p), p)) {
		misused(p, USE_FREE);
		return NULL;
	}
	if (!s->sealed)
		return p;
	seal = seal_of(p, slab_size(s), DEEP);
	seal_size(seal, p);
	seal_poison(seal, p, poison_steps_of(seal_room(seal, p)), DEEP);
	if (DEEP)
		seal->by->freed = caller;
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
	seal_poison(seal, p, poison_steps(own.k, deep), deep);
	if (deep) {
		seal->by->freed = caller;
		p = quarantine(tls.mine, p);
		own.m = p ? mag_of(tls.mine, p) : NULL;
	}
	if (!deep || LIKELY(own.m != NULL))
		heap_put(own.m, p);
	else if (p)
		heap_free(tls.mine, p, pagemap_get(p));
}

/* Free the thread's own block; false: the long way. */
INLINE bool sealed_push(void *p, const void *caller, bool deep, bool any)
{
	struct own own = { NULL, 0 };
	struct seal *seal = sealed_own(p, seal_key(p), &own, deep, any);

	if (LIKELY(seal != NULL))
		sealed_drop(seal, p, own, caller, deep);
	return seal;
}

NOINLINE bool sealed_put(void *p, const void *caller)
{
	return sealed_push(p, caller, DEEP, true);
}

/* realloc of the thread's own block; NULL: the long way. */
static void *sealed_resize(void *p, size_t n, const void *caller)
{
	bool deep = DEEP;
	uint64_t key = seal_key(p);
	struct own own;
	struct seal *seal = sealed_own(p, key, &own, deep, false);
	void *q = NULL;

	if (seal && n && n <= seal_room(seal, p)) {
		seal_write(seal, p, n, key, true);
		if (deep)
			seal->by->made = caller;
		return p;
	}
	if (seal && n)
		q = sealed_get(n, caller);
	if (q) {
		memcpy(q, p, seal_room(seal, p) - seal_pad(seal, key));
		sealed_drop(seal, p, own, caller, deep);
	}
	return q;
}
