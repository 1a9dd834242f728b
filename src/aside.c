/*
 * aside.c - calls that come while the heap can't be touched: of a signal
 * handler or a debugger, amid another of their thread, or while a fork lasts.
 *
 * What they ask for is a mapping, direct, and in no account, so that it needs
 * no lock. What they free is written down, and freed by the next call that can.
 */
#define ASIDE_SLOTS 511

/* Freed blocks. All of it: any thread, by cas; it is never taken away. */
static struct aside {
	struct aside *next;
	void *freed[ASIDE_SLOTS];
} * aside;

static void *aside_alloc(size_t n, size_t align, bool *zero)
{
	size_t head = align <= HEADER ? HEADER : page_size;
	size_t slack = align > page_size ? align : 0;
	size_t asked = n;
	struct mapping *m;
	char *base = NULL;

	*zero = true;
	if (n <= PTRDIFF_MAX / 2 && slack <= PTRDIFF_MAX / 2 &&
	    power_of_two(align)) {
		n = round_up(head + n + slack, page_size);
		base = os_map(n);
	}
	if (!base) {
		errno = ENOMEM;
		return NULL;
	}
	if (slack) { /* the header is in the first page, as in any */
		slack = round_up((uintptr_t)base + head, align) -
			((uintptr_t)base + head);
		os_unmap(base, slack);
		base += slack;
		n -= slack;
	}
	m = mapping_header(base + head);
	*m = (struct mapping){ .span.len = n,
			       .base = base,
			       .asked = asked,
			       .direct = true,
			       .aside = true,
			       .user = base + head };
	if (pagemap_add_mapping(m))
		return m->user;
	os_unmap(base, n);
	errno = ENOMEM;
	return NULL;
}

/* Free a block that was claimed. */
static void aside_unmap(const struct mapping *m)
{
	char *base = m->base;
	size_t len = m->span.len;

	if (!os_unmap(base, len)) /* too many mappings: it stays, empty */
		os_purge(base, len);
}

/* What is at `at`, or is to be; NULL: there is no memory for it. */
static struct aside *aside_more(struct aside **at)
{
	struct aside *a = load_acquire(at), *none = NULL;
	size_t len = round_up(sizeof(*a), page_size);

	if (a || !(a = os_map(len)) || cas(at, &none, a))
		return a;
	os_unmap(a, len);
	return none;
}

/* Write down that it is to be freed. Without memory for that it never is. */
static void aside_free(void *p)
{
	struct mapping *m = mapping_at(p);

	if (m && m->aside) {
		pagemap_drop_mapping(m);
		mapping_size(m, false); /* what is behind it is looked at */
		aside_unmap(m);
		return;
	}
	for (struct aside *a = aside_more(&aside); a; a = aside_more(&a->next))
		for (void **slot = a->freed; slot < a->freed + ASIDE_SLOTS;
		     slot++) {
			void *none = NULL;

			if (load_relaxed(slot) || !cas(slot, &none, p))
				continue;
			__atomic_fetch_or(&forks, FORKS_ASIDE,
					  __ATOMIC_SEQ_CST);
			return;
		}
}

/* One of these, or NULL. */
static void *aside_take(void)
{
	for (struct aside *a = load_acquire(&aside); a;
	     a = load_acquire(&a->next))
		for (void **slot = a->freed; slot < a->freed + ASIDE_SLOTS;
		     slot++) {
			void *p = load_relaxed(slot) ? exchange(slot, NULL) :
						       NULL;

			if (p)
				return p;
		}
	return NULL;
}

/* A live block of `size` bytes, or NULL. */
static void *aside_realloc(void *p, size_t n, size_t size)
{
	bool zero;
	void *q;

	if (p && n && n <= size)
		return p;
	q = n || !p ? aside_alloc(n, GRAIN, &zero) : NULL;
	if (q && p)
		memcpy(q, p, size);
	if (p && (q || !n))
		aside_free(p);
	return q;
}
