/*
 * pagemap.c - which unit of the address space is whose: a tag each.
 *
 * Two levels, the lower ones made on demand and never given back. A look-up
 * dereferences nothing it is asked about, so any address may be asked. Whoever
 * owns a unit writes its tag; mappings with headers in one unit share that
 * unit's, and change it atomically.
 */
#define ADDRESS_BITS ARCH(47, 48)
#define LEAF_SHIFT 32
#define ROOTS ((size_t)1 << (ADDRESS_BITS - LEAF_SHIFT))
#define LEAF_UNITS ((size_t)1 << (LEAF_SHIFT - UNIT_SHIFT))

/* Set once each; release/acquire. Last, so that all else shares pages. */
static uint32_t *pagemap[ROOTS] __attribute__((section(".bss.pagemap")));

/* The word for the unit of `p`, or NULL where nothing was ever ours. */
INLINE uint32_t *pagemap_slot(const void *p)
{
	size_t root = (uintptr_t)p >> LEAF_SHIFT;
	uint32_t *leaf = NULL;

	if (LIKELY(root < ROOTS))
		leaf = load_relaxed(&pagemap[root]);
	return leaf ? leaf + ((uint32_t)(uintptr_t)p >> UNIT_SHIFT) : NULL;
}

INLINE uint32_t pagemap_get(const void *p)
{
	const uint32_t *slot = pagemap_slot(p);

	return LIKELY(slot != NULL) ? load_relaxed(slot) : 0;
}

#define LEAF_BYTES (LEAF_UNITS * sizeof(uint32_t))
static uint32_t *spare_leaf; /* any thread, acquire/release */

/* A leaf in hand, or NULL when memory is out; what is not used is kept. */
static uint32_t *leaf_get(void)
{
	uint32_t *leaf = exchange(&spare_leaf, NULL);

	return leaf ? leaf : os_map_sparse(LEAF_BYTES);
}

static void leaf_put(uint32_t *leaf)
{
	leaf = exchange(&spare_leaf, leaf);
	if (leaf)
		os_unmap(leaf, LEAF_BYTES);
}

/* For the addresses around `p`, unless they have one. */
static void leaf_use(const void *p, uint32_t *leaf)
{
	uint32_t *none = NULL;

	if (!cas(&pagemap[(uintptr_t)p >> LEAF_SHIFT], &none, leaf))
		leaf_put(leaf);
}

/* Make the leaves of a range; false when memory is out. */
static bool pagemap_cover(const void *p, size_t len)
{
	size_t last = ((uintptr_t)p + len - 1) >> LEAF_SHIFT;

	for (size_t i = (uintptr_t)p >> LEAF_SHIFT; i <= last; i++) {
		uint32_t *leaf;

		if (i >= ROOTS)
			return false;
		if (load_acquire(&pagemap[i]))
			continue;
		leaf = leaf_get();
		if (!leaf)
			return false;
		leaf_use((const char *)(i << LEAF_SHIFT), leaf);
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

/* The bit that says a mapping's header lies in the page of `header`. */
INLINE uint32_t pagemap_page_bit(const void *header)
{
	return (uint32_t)1 << (16 + ((uintptr_t)header % UNIT >> page_shift));
}

static bool pagemap_has_mapping(const void *header)
{
	uint32_t tag = pagemap_get(header);

	return (tag & TAG_MAPPING) && (tag & pagemap_page_bit(header));
}

static bool pagemap_add_mapping(const void *header)
{
	uint32_t bits = TAG_MAPPING | pagemap_page_bit(header);

	if (!pagemap_cover(header, HEADER))
		return false;
	__atomic_fetch_or(pagemap_slot(header), bits, __ATOMIC_ACQ_REL);
	return true;
}

static void pagemap_drop_mapping(const void *header)
{
	__atomic_fetch_and(pagemap_slot(header), ~pagemap_page_bit(header),
			   __ATOMIC_ACQ_REL);
}
