/*
 * choose.c - what a block is made of: part of a slab, an extent or a mapping.
 */
/* A block of pages. `zero`: those that it has to itself are zeroed. */
static void *heap_extent(struct heap *h, size_t n, size_t align, bool *zero)
{
	size_t len = extent_size(n, align);
	uint32_t state = EXTENT_USED | (OPT(check) > 1 ? EXTENT_SEALED : 0);
	void *p = stock_take(h, len, align);

	*zero = false;
	if (!p)
		p = extent_obtain(len, align, state, zero);
	if (!p && heap_scrape(h))
		p = extent_obtain(len, align, state, zero);
	while (!p && n <= EXTENT_MAX && chunk_map(false))
		p = extent_obtain(len, align, state, zero);
	return p;
}

/* An extent or a mapping; when a limit leaves none of these, the other. */
static void *heap_large(struct heap *h, size_t n, size_t align, bool *zero)
{
	size_t most = load_relaxed(&altered) ? RENEW_MIN : EXTENT_MAX;
	bool extent = align <= UNIT && n <= most;
	void *p = extent ? heap_extent(h, n, align, zero) :
			   mapping_alloc(n, align, false, zero);

	if (!p)
		p = extent        ? mapping_alloc(n, align, false, zero) :
		    align <= UNIT ? heap_extent(h, n, align, zero) :
				    NULL;
	return p;
}

/* A class that has no slab yet: where its next block is to come from. */
static unsigned heap_borrow(struct heap *h, unsigned c)
{
	unsigned lender = class_lender(c, h->lent[c]);

	h->lent[c] += lender != c;
	return lender;
}

/* A limit leaves no memory for class `c`; what is too large may be free. */
SLOW void *heap_larger(struct heap *h, unsigned c, size_t n, size_t align,
		       bool *zero)
{
	void *p = NULL;

	*zero = false;
	for (unsigned k = c + 1; !p && k <= c + 16 && k < CLASSES; k++)
		if (align <= GRAIN)
			p = mag_pop(&h->mag[k], mark_salt) ?:
				    heap_refill(h, k, zero);
	return p ? p : heap_large(h, n, align > LINE ? align : LINE, zero);
}

/* `align` is a power of two; some class has it in all its blocks. */
INLINE void *heap_alloc(struct heap *h, size_t n, size_t align, bool *zero)
{
	unsigned c;
	void *p;

	if (align > SLAB_MAX || round_up(n, align) > SLAB_MAX)
		return heap_large(h, n, align > LINE ? align : LINE, zero);
	c = class_aligned(n, align);
	if (UNLIKELY(!h->mag[c].max))
		c = heap_borrow(h, c);
	p = mag_pop(&h->mag[c], mark_salt);
	if (!p)
		p = heap_refill(h, c, zero);
	return p ? p : heap_larger(h, c, n, align, zero);
}
