/*
 * engine.c - what the entry points do when the fast path can't.
 *
 * Here the ways part: the default engine, or ALLOC_DIRECT with a mapping for
 * each block; and every call is traced. errno is ENOMEM on failure, or kept.
 */
static void engine_init(void)
{
	os_init();
	opt_init();
	trace_init();
}

/* `zero`: all but two words is zeroed already. */
static void *engine_alloc(size_t n, size_t align, bool *zero)
{
	struct heap *h = tls.me;
	void *p = NULL;

	*zero = false;
	if (UNLIKELY(h == STUB)) {
		engine_init();
		h = OPT(direct) ? NULL : heap_enter();
	}
	if (n <= PTRDIFF_MAX && power_of_two(align)) {
		if (h)
			p = heap_alloc(h, n, align, zero);
		else if (OPT(direct))
			p = mapping_alloc(n, align, true, zero);
	}
	heap_leave(h);
	if (UNLIKELY(!p))
		errno = ENOMEM;
	return p;
}

static void engine_free(void *p)
{
	uint32_t tag = pagemap_get(p);

	if (tls.me == STUB) /* a thread's first call may be a free */
		engine_init();
	if (tag_is_slab(tag))
		heap_free(tls.mine == DEAD ? NULL : heap_enter(), p, tag);
	else if (!(tag == TAG_RUN ? run_free(p) : mapping_free(p)))
		misused(p, USE_FREE);
}

/* A run or mapping holds `n` bytes from now on; what it need not is freed. */
static void engine_fit(void *p, size_t n)
{
	if (pagemap_get(p) != TAG_RUN) {
		mapping_shrink(mapping_header(p), n);
		mapping_grown(mapping_header(p), n);
	} else if (n <= UNIT && unit_of(p)->units > 1) {
		unsigned rest = unit_of(p)->units - 1u;

		unit_of(p)->units = 1;
		units_free(unit_of(p) + 1, rest);
	}
}

/* A larger place for `size` bytes at `p`, contents and all, or NULL. */
static void *engine_grow(void *p, size_t n, size_t size)
{
	struct mapping *m = n <= PTRDIFF_MAX / 2 ? mapping_at(p) : NULL;
	void *q = m ? mapping_grow(m, n) : NULL;
	int err = errno;
	bool zero;

	if (q) {
		mapping_grown(mapping_header(q), n);
		return q;
	}
	if (m && !m->direct)
		q = engine_alloc(AMPLE(n), GRAIN, &zero);
	if (!q) {
		errno = err;
		q = engine_alloc(n, GRAIN, &zero);
	}
	if (q) {
		memcpy(q, p, size);
		engine_free(p);
	}
	return q;
}

/* `p` has `size` usable bytes, or is NULL. */
static void *engine_realloc(void *p, size_t n, size_t size)
{
	bool zero;

	if (!p)
		return engine_alloc(n, GRAIN, &zero);
	if (!n) {
		engine_free(p);
		return NULL;
	}
	if (n > size)
		return engine_grow(p, n, size);
	if (size > SLAB_MAX)
		engine_fit(p, n);
	return p;
}

/* -- the slow halves of the entry points */

NOINLINE void free_slow(void *p, const void *caller)
{
	if (!p)
		return;
	trace_free(p, caller);
	engine_free(p);
}

NOINLINE void *calloc_slow(size_t n, const void *caller)
{
	bool zero;
	struct block *p = engine_alloc(n, GRAIN, &zero);

	if (p && !zero)
		memset(p, 0, n);
	else if (p && n <= SLAB_MAX)
		*p = (struct block){ NULL, 0 };
	trace_alloc(p, n, caller);
	return p;
}

NOINLINE void *alloc_slow(size_t n, size_t align, const void *caller)
{
	bool zero;
	void *p = engine_alloc(n, align, &zero);

	trace_alloc(p, n, caller);
	return p;
}

NOINLINE void *realloc_slow(void *p, size_t n, const void *caller)
{
	size_t size = p ? block_size(p, USE_REALLOC) : 0;
	void *q;

	trace_realloc_old(p, caller);
	q = engine_realloc(p, n, size);
	if (q || n || !p)
		trace_realloc_new(p, size, q, n, caller);
	return q;
}

/*
 * A second free may lie unseen in a magazine or a batch. Is each list of this
 * thread as long as it should be? If one is longer, find what is on it twice.
 */
static void check_lists(struct heap *h)
{
	for (unsigned c = 1; c < CLASSES; c++) {
		struct mag *m = &h->mag[c];
		int64_t left = (int64_t)m->max - m->room + 1;
		struct block *b;

		for (b = m->head; b && left > 0; b = b->next, left--) {
			if (!block_is_free(b))
				free_list_corrupt(b);
			if (!slab_has(slab_of(b), b))
				misused(b, USE_FREE);
		}
		if (b)
			mag_flush(m);
	}
	for (unsigned i = 0; i < BATCHES; i++) {
		const struct batch *e = &h->batch[i];
		unsigned left = e->slab ? e->count : 0;
		struct block *b = e->slab ? e->head : NULL;

		for (; b && left > 0 && block_is_free(b); left--)
			b = b->next;
		if (b || left > 0) /* its owner has it too */
			die("double free", b && left > 0 ? b : e->tail,
			    slab_size(e->slab));
	}
}

__attribute__((constructor)) static void process_start(void)
{
	engine_init();
	watch_fork();
}

/* Also when the library is unloaded: nobody may call into it after that. */
__attribute__((destructor)) static void process_end(void)
{
	if (tls.me != STUB)
		check_lists(tls.me);
	trace_end();
	if (exit_key_made)
		pthread_key_delete(exit_key);
}
