/*
 * engine.c - what the entry points do when the fast path can't.
 *
 * Here the ways part: the default engine, or ALLOC_DIRECT with a mapping for
 * each block; and every call is traced. errno is ENOMEM on failure, or kept.
 */
static void engine_init(void)
{
	os_init();
	if (!opt_init())
		return;
	trace_init();
	seal_init(!tracing);
	if (config.slow && tls.me != STUB) {
		/* Something allocated before there were options. */
		tls.mine = STUB;
		tls.me = STUB;
	}
}

/* Of so much, pages are purged rather than cleared. */
#define PURGE_MIN (1 * MIB)

/* So many at a time: each costs system calls, two pages and some VMAs. */
#define SAMPLES_MAX 32

/* One block in N is a sample, on average. */
static uint32_t sample_distance(struct heap *h)
{
	return 1 + heap_random(h) % (2 * (uint32_t)OPT(sample) - 1);
}

/*
 * Is it time for one? heap_refill counts what it hands out, which is due at the
 * slow calls that follow. What comes from no magazine counts for itself.
 */
static bool sample_due(struct heap *h, size_t n)
{
	bool alone = config.slow || n > SLAB_MAX;

	if (!h->sampled)
		h->until = sample_distance(h);
	h->sampled = true;
	if (alone ? h->until <= 0 || --h->until > 0 : h->until > 0)
		return false;
	h->until += sample_distance(h);
	return config.slow || load_relaxed(&os.traps) < SAMPLES_MAX;
}

/* A block that is sealed or a trap, where it is to be; NULL: make another. */
NOINLINE void *engine_marked(struct heap *h, size_t n, size_t align, bool *zero)
{
	bool due = DEEP && (!n || OPT(direct));
	void *p;

	if (OPT(sample) && h)
		due |= sample_due(h, n);
	p = due ? trap_alloc(n, align, zero) : NULL;
	return p || !h || OPT(check) < 2 ? p : sealed_alloc(h, n, align, zero);
}

/* `zero`: all but two words is zeroed already. Inside, as what follows. */
INLINE void *engine_make_at(size_t n, size_t align, bool *zero)
{
	struct heap *h = tls.mine;
	void *p = NULL;

	if (UNLIKELY(h == STUB || h == DEAD))
		h = OPT(direct) ? NULL : heap_enter();

	*zero = false;
	if (n <= PTRDIFF_MAX && power_of_two(align)) {
		if (UNLIKELY(config.marked))
			p = engine_marked(h, n, align, zero);
		if (p)
			; /* that is it */
		else if (h && !config.tail)
			p = heap_alloc(h, n, align, zero);
		else if (OPT(direct))
			p = mapping_alloc(n, align, true, zero);
	}
	heap_leave(h);
	if (UNLIKELY(!p))
		errno = ENOMEM;
	return p;
}

static void *engine_make(size_t n, bool *zero)
{
	return engine_make_at(n, GRAIN, zero);
}

static void engine_drop(void *p, const void *caller)
{
	uint32_t tag = pagemap_get(p);
	struct mapping *m;
	struct heap *h;

	if (tag_is_slab(tag) || tag == TAG_EXTENT) {
		h = tls.mine == DEAD ? NULL : heap_enter();
		if (UNLIKELY(config.tail))
			p = sealed_free(h, p, caller);
		if (p && (tag_is_slab(tag) || config.tail ||
			  extent_claim(p, EXTENT_KEPT)))
			heap_drop(h, p);
		else if (p)
			misused(p, USE_FREE);
		return;
	}
	m = mapping_find(p, true);
	if (!m) {
		misused(p, USE_FREE);
		return;
	}
	mapping_size(m, false); /* what is behind it is looked at */
	if ((m->trap || m->sealed) && mapping_callers(m))
		mapping_callers(m)->freed = caller;
	if (UNLIKELY(m->aside))
		aside_unmap(m);
	else
		mapping_free(m);
}

/* The first `n` bytes at `p` move to `q`; what is there is NULL without `q`. */
static void *engine_move(void *p, void *q, size_t n, bool grew)
{
	struct heap *h = heap_own();

	if (!q)
		return NULL;
	memcpy(q, p, n);
	if (h != STUB && h != DEAD && (!grew || h->shrunk))
		fickle_moved(h, p, q, grew);
	engine_drop(p, NULL);
	return q;
}

/* A block stays as large as it is: what pages it has beyond `n` bytes go. */
static void purge_tail(char *p, size_t n, size_t size)
{
	char *from = (char *)round_up((uintptr_t)p + n, page_size);
	char *to = (char *)((uintptr_t)(p + size) & ~(page_size - 1));

	/* In front of the last page: a seal may be in that. */
	if (from + UNIT < to)
		os_purge(from, (size_t)(to - from) - page_size);
}

/* A live block of `size` bytes needs `n`: give back what is worth it. */
static void *engine_shrink(void *p, size_t n, size_t size)
{
	struct heap *h = heap_own();
	uint32_t tag = pagemap_get(p);
	struct mapping *m;
	int err = errno;
	bool zero;
	void *q;

	if (size <= MIB && h != STUB && h != DEAD && fickle_stays(h, p)) {
		purge_tail(p, n, size);
		return p;
	}
	/* What the program may have altered goes as a whole. */
	if (tag == TAG_EXTENT && n + config.tail > SLAB_MAX &&
	    !(size >= RENEW_MIN && load_relaxed(&altered))) {
		if (extent_resize(p, n + config.tail))
			return p;
		misused(p, USE_REALLOC); /* somebody freed it meanwhile */
		errno = ENOMEM;
		return NULL;
	}
	m = tag == TAG_EXTENT || tag_is_slab(tag) ? NULL : mapping_at(p);
	if (m && !m->direct && n > extent_max() / 2) {
		mapping_shrink(m, n);
		mapping_grown(m, n);
		return p;
	}
	q = engine_move(p, engine_make(n, &zero), n, false);
	errno = err;
	return q ? q : p;
}

/* A larger place for `size` bytes at `p`, contents and all, or NULL. */
static void *engine_grow(void *p, size_t n, size_t size)
{
	bool extent = pagemap_get(p) == TAG_EXTENT;
	struct mapping *m = !extent && n <= PTRDIFF_MAX / 2 ? mapping_at(p) :
							      NULL;
	void *q = m ? mapping_grow(m, n) : NULL;
	int err = errno;
	bool zero;

	if (q) {
		mapping_grown(mapping_header(q), n);
		return q;
	}
	if (extent && n <= extent_max() - config.tail &&
	    extent_resize(p, n + config.tail))
		return p;
	if (extent || (m && !m->direct))
		q = engine_make(AMPLE(n), &zero);
	if (!q) {
		errno = err;
		q = engine_make(n, &zero);
	}
	return engine_move(p, q, size, true);
}

/* `p` has `size` usable bytes, or is NULL. */
static void *engine_realloc(void *p, size_t n, size_t size)
{
	bool zero;

	if (!p)
		return engine_make(n, &zero);
	if (!n) {
		engine_drop(p, NULL);
		return NULL;
	}
	return n > size ? engine_grow(p, n, size) : engine_shrink(p, n, size);
}

/* -- the slow halves of the entry points */

INLINE bool engine_enter(void)
{
	if (UNLIKELY(tls.me == STUB)) /* a thread's first call may be a free */
		engine_init();
	return enter();
}

/* What was freed while it could not be is freed now. */
SLOW void heap_catch_up(void)
{
	void *p;

	__atomic_fetch_and(&forks, ~FORKS_ASIDE, __ATOMIC_SEQ_CST);
	while ((p = aside_take()) != NULL)
		engine_drop(p, NULL);
}

static void *engine_alloc(size_t n, size_t align, bool *zero)
{
	void *p;

	if (UNLIKELY(!engine_enter()))
		return aside_alloc(n, align, zero);
	p = engine_make_at(n, align, zero);
	leave();
	return p;
}

static void engine_free(void *p, const void *caller)
{
	uint32_t tag = pagemap_get(p);

	if (tag_is_slab(tag) && heap_free_quick(p, tag))
		return;
	if (UNLIKELY(!engine_enter())) {
		aside_free(p);
		return;
	}
	engine_drop(p, caller);
	leave();
}

/* What the quick ways leave: all that is no slab's, and misuse. */
NOINLINE void free_long(void *p, const void *caller)
{
	if (p && !(config.quick && sealed_put(p, caller))) {
		trace_free(p, caller);
		engine_free(p, caller);
	}
}

/* All but ALLOC_CHECK=2, whose quick way is in free_slow itself. */
NOINLINE void free_deep(void *p, const void *caller)
{
	if (config.quick != 3 || UNLIKELY(!sealed_push(p, caller, true, false)))
		free_long(p, caller);
}

NOINLINE void free_slow(void *p, const void *caller)
{
	if (config.quick != 2)
		free_deep(p, caller);
	else if (UNLIKELY(!sealed_push(p, NULL, false, false)))
		free_long(p, caller);
}

/* The size that the program says it was is looked at from ALLOC_CHECK=2 on. */
NOINLINE void free_sized_slow(void *p, size_t n, const void *caller)
{
	size_t size = p && OPT(check) > 1 ? block_size(p, USE_FREE_SIZED) : n;

	if (size != n && size != NO_BLOCK)
		report(SIZE_MISMATCH, p, (struct facts){ .size = size });
	if (size != NO_BLOCK)
		free_slow(p, caller);
}

/* What each entry point does with a new block. */
static void block_made(void *p, size_t n, const void *caller)
{
	if (UNLIKELY(config.marked) && p)
		sealed_made(p, n, caller);
	trace_alloc(p, n, caller);
}

/*
 * Zero `n` bytes. Whole pages that are not `zero` go to the kernel when they
 * are many, and come back zeroed if they are touched; what else is in the first
 * and the last may have old contents.
 */
static void clear(char *p, size_t n, bool zero)
{
	size_t first = round_up((uintptr_t)p, page_size) - (uintptr_t)p;
	size_t last = (uintptr_t)(p + n) % page_size;

	if (!zero && n >= PURGE_MIN)
		zero = os_purge(p + first, n - first - last);
	if (!zero || first + last >= n) {
		memset(p, 0, n);
	} else {
		memset(p, 0, first);
		memset(p + n - last, 0, last);
	}
}

NOINLINE void *calloc_slow(size_t n, const void *caller)
{
	bool zero;
	struct block *p = config.quick ? sealed_get(n, caller) : NULL;

	if (p)
		return memset(p, 0, n);
	p = engine_alloc(n, GRAIN, &zero);
	if (p && (!zero || pagemap_get(p) == TAG_EXTENT))
		clear((char *)p, n, zero);
	else if (p && n - 1 < SLAB_MAX)
		*p = (struct block){ NULL, 0 };
	block_made(p, n, caller);
	return p;
}

NOINLINE void *alloc_long(size_t n, size_t align, const void *caller)
{
	bool zero;
	void *p = engine_alloc(n, align, &zero);

	block_made(p, n, caller);
	return p;
}

NOINLINE void *alloc_deep(size_t n, const void *caller)
{
	void *p = config.quick == 3 ? sealed_pop(n, caller, true) : NULL;

	return LIKELY(p != NULL) ? p : alloc_long(n, GRAIN, caller);
}

/* Of the first class in which all blocks are aligned, if there is one. */
NOINLINE void *alloc_aligned(size_t n, size_t align, const void *caller)
{
	bool slab = n - 1 < SLAB_MAX - config.tail && align <= SLAB_MAX;
	void *p = NULL;

	if (slab && power_of_two(align))
		p = config.quick ?
			    sealed_get_aligned(n, align, caller) :
			    mag_pop(&tls.me->mag[class_aligned(n, align)],
				    MARK_SALT);
	return p ? p : alloc_long(n, align, caller);
}

NOINLINE void *alloc_slow(size_t n, size_t align, const void *caller)
{
	void *p;

	if (align != GRAIN)
		return alloc_aligned(n, align, caller);
	if (config.quick != 2)
		return alloc_deep(n, caller);
	p = sealed_pop(n, NULL, false);
	return LIKELY(p != NULL) ? p : alloc_long(n, GRAIN, NULL);
}

NOINLINE void *realloc_slow(void *p, size_t n, const void *caller)
{
	void *q = NULL;
	size_t size;

	if (config.quick)
		q = p ? sealed_resize(p, n, caller) : sealed_get(n, caller);
	if (q)
		return q;
	size = p ? block_size(p, USE_REALLOC) : 0;
	if (UNLIKELY(size == NO_BLOCK)) {
		errno = ENOMEM;
		return NULL;
	}
	trace_realloc_old(p, caller);
	if (n && n <= size && fits(n, size)) {
		q = p;
	} else if (LIKELY(engine_enter())) {
		q = engine_realloc(p, n, size);
		leave();
	} else {
		q = aside_realloc(p, n, size);
	}
	if (UNLIKELY(config.marked) && q)
		sealed_made(q, n, caller);
	if (q || n || !p)
		trace_realloc_new(p, size, q, n, caller);
	return q;
}
