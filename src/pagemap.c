/*
 * pagemap.c - which unit of the address space is whose: a tag each.
 *
 * Two levels, the lower ones made on demand and never given back. A look-up
 * dereferences no pointer it is asked about, so any address may be asked.
 * Writers: whoever owns the unit. The tags of mappings are shared by those
 * whose headers lie in the same unit, and change atomically.
 */
#if defined(__x86_64__)
#define ADDRESS_BITS 47
#else
#define ADDRESS_BITS 48
#endif
#define LEAF_SHIFT 32
#define ROOTS ((size_t)1 << (ADDRESS_BITS - LEAF_SHIFT))
#define LEAF_UNITS ((size_t)1 << (LEAF_SHIFT - UNIT_SHIFT))

static uint32_t *pagemap[ROOTS]; /* set once each; release/acquire */

/* The word for the unit of `p`, or NULL where nothing was ever ours. */
INLINE uint32_t *pagemap_slot(const void *p)
{
	size_t root = (uintptr_t)p >> LEAF_SHIFT;
	uint32_t *leaf;

	if (UNLIKELY(root >= ROOTS))
		return NULL;
	leaf = load_relaxed(&pagemap[root]);
	if (UNLIKELY(!leaf))
		return NULL;
	return leaf + ((uint32_t)(uintptr_t)p >> UNIT_SHIFT);
}

INLINE uint32_t pagemap_get(const void *p)
{
	const uint32_t *slot = pagemap_slot(p);

	return LIKELY(slot != NULL) ? load_relaxed(slot) : 0;
}

/* Make the leaves of a range; false when memory is out. */
static bool pagemap_cover(const void *p, size_t len)
{
	size_t last = ((uintptr_t)p + len - 1) >> LEAF_SHIFT;

	for (size_t i = (uintptr_t)p >> LEAF_SHIFT; i <= last; i++) {
		uint32_t *none = NULL, *leaf;

		if (i >= ROOTS)
			return false;
		if (load_acquire(&pagemap[i]))
			continue;
		leaf = os_map_sparse(LEAF_UNITS * sizeof(*leaf));
		if (!leaf)
			return false;
		if (!cas(&pagemap[i], &none, leaf))
			os_unmap(leaf, LEAF_UNITS * sizeof(*leaf));
	}
	return true;
}

/* Tag `n` covered units from `p` on, in one leaf: chunks do not straddle. */
static void pagemap_set(const void *p, unsigned n, uint32_t tag)
{
	uint32_t *slot = pagemap_slot(p);

	while (n--)
		store_release(slot++, tag);
}

/* Replace a unit's tag if it still is `old`. */
static bool pagemap_swap(const void *p, uint32_t old, uint32_t tag)
{
	return cas(pagemap_slot(p), &old, tag);
}

/* The bit that says a mapping's header lies in the page of `header`. */
INLINE uint32_t pagemap_page_bit(const void *header)
{
	size_t page = ((uintptr_t)header & (UNIT - 1)) >> page_shift;

	return (uint32_t)1 << (16 + page);
}

static bool pagemap_has_mapping(const void *header)
{
	uint32_t tag = pagemap_get(header);

	return (tag & TAG_MAPPING) && (tag & pagemap_page_bit(header));
}

static bool pagemap_add_mapping(const void *header)
{
	if (!pagemap_cover(header, HEADER))
		return false;
	__atomic_fetch_or(pagemap_slot(header),
			  TAG_MAPPING | pagemap_page_bit(header),
			  __ATOMIC_ACQ_REL);
	return true;
}

/* True for the one caller that takes the mapping off. */
static bool pagemap_drop_mapping(const void *header)
{
	uint32_t bit = pagemap_page_bit(header);

	return __atomic_fetch_and(pagemap_slot(header), ~bit,
				  __ATOMIC_ACQ_REL) &
	       bit;
}
