/*
 * stat.c - what the heap holds: mallinfo, malloc_stats, malloc_info, trim.
 *
 * Nothing is counted while the program runs: the figures are read off chunks
 * and heaps when asked for, and may miss what other threads do meanwhile.
 */
struct census {
	size_t slabs[CLASSES], carved[CLASSES], free[CLASSES];
	size_t free_blocks;   /* their number, over all classes */
	size_t live;          /* bytes of blocks in use but for mappings */
	size_t heaps, parked; /* all, and those without a thread */
	size_t chunks, arena, mapped, mappings, peak; /* of os */
	struct cache pages, maps, held;
	size_t blocks; /* that `pages` count for */
};

static void count_extent(struct census *n, const char *p)
{
	const struct slab *s = slab_of(p);
	uint32_t word = extent_get(p);

	if (tag_is_slab(pagemap_get(p))) {
		n->slabs[s->cls]++;
		n->carved[s->cls] += slab_blocks(s);
		n->free[s->cls] += load_relaxed(&s->nfree) +
				   remote_count(load_relaxed(&s->remote));
	} else if ((word & EXTENT_STATE) == EXTENT_USED &&
		   pagemap_get(p) == TAG_EXTENT) {
		n->live += word_len(word);
	}
}

/* What a heap holds in front of the slabs: magazines and batches. */
static void count_heap(struct census *n, const struct heap *h)
{
	for (unsigned c = 1; c < CLASSES; c++) {
		int64_t held = mag_length(&h->mag[c]);

		n->free[c] += held > 0 ? (size_t)held : 0;
	}
	for (unsigned i = 0; i < BATCHES; i++) {
		const struct slab *s = load_relaxed(&h->batch[i].slab);

		if (s)
			n->free[s->cls] += load_relaxed(&h->batch[i].count);
	}
}

static void take_census(struct census *n)
{
	memset(n, 0, sizeof(*n));
	if (!enter()) /* in a handler: nothing can be looked at */
		return;
	lock_both();
	n->chunks = os.chunks;
	n->arena = os.arena;
	n->mapped = os.mapped;
	n->mappings = os.mappings;
	n->peak = os.peak;
	n->pages = os.pages;
	n->blocks = (os.weight + UNIT - 1) / UNIT;
	n->maps = os.maps;
	n->held = os.held;
	n->heaps = heaps.count;
	for (const struct heap *h = heaps.all; h; h = h->all)
		count_heap(n, h);
	n->parked = heaps.idle;
	for (char *p = extent_next(NULL); p; p = extent_next(p))
		count_extent(n, p);
	lock_drop(&os.lock);
	lock_drop(&heaps.lock);
	leave();
	for (unsigned c = 1; c < CLASSES; c++) {
		/* Read at different moments, it must not go negative. */
		if (n->free[c] > n->carved[c])
			n->free[c] = n->carved[c];
		n->free_blocks += n->free[c];
		n->live += (n->carved[c] - n->free[c]) * classes[c].size;
	}
}

#ifdef __GLIBC__
/*
 * As in glibc, hblks and hblkhd speak of mappings, all others of the rest. By
 * ALLOC_DIRECT there is no rest, so mappings are what is ordinary.
 */
static struct mallinfo2 stat_mallinfo2(void)
{
	struct census n;
	size_t arena;

	take_census(&n);
	arena = n.arena;
	if (OPT(direct)) {
		n.free_blocks = n.maps.count + n.held.count;
		n.live = n.mapped;
		arena = n.mapped + n.maps.bytes + n.held.bytes;
		n.mapped = n.mappings = 0;
	}
	return (struct mallinfo2){
		.arena = arena,
		.ordblks = n.free_blocks,
		.hblks = n.mappings,
		.hblkhd = n.mapped,
		.uordblks = n.live,
		.fordblks = arena - n.live,
		.keepcost = n.pages.bytes + n.maps.bytes,
	};
}

/* The old form has int fields: what is too large reads INT_MAX. */
static struct mallinfo stat_mallinfo(void)
{
	struct mallinfo2 wide = stat_mallinfo2();
	const size_t *from = (const size_t *)&wide;
	struct mallinfo m;

	_Static_assert(sizeof(wide) == 2 * sizeof(m), "the same fields");
	for (size_t i = 0; i < sizeof(m) / sizeof(int); i++)
		((int *)&m)[i] = from[i] > INT_MAX ? INT_MAX : (int)from[i];
	return m;
}
#endif

/* What is held, and what it took: one line, to stay whole in a shared file. */
static void stat_print(void)
{
	struct census n;

	take_census(&n);
	output_say(stats_out.path[0] ? &stats_out : &log_out,
		   "allocator[%d] system=%zu in_use=%zu peak=%zu mmap=%zu "
		   "munmap=%zu mremap=%zu madvise=%zu mprotect=%zu reused=%zu",
		   os_pid(), n.arena + n.mapped + n.maps.bytes + n.held.bytes,
		   n.live + n.mapped, n.peak, tally.mmap, tally.munmap,
		   tally.mremap, tally.madvise, tally.mprotect, tally.reused);
}

__attribute__((destructor)) static void stat_end(void)
{
	if (stats_out.path[0])
		stat_print();
}

static int stat_xml(int flags, FILE *out)
{
	struct census n;

	if (flags)
		return EINVAL;
	take_census(&n);
	fprintf(out, "<malloc version=\"allocator-" VERSION "\">\n");
	for (unsigned c = 1; c < CLASSES; c++)
		if (n.slabs[c])
			fprintf(out,
				"<bin size=\"%u\" slabs=\"%zu\" live=\"%zu\" "
				"total=\"%zu\"/>\n",
				classes[c].size, n.slabs[c],
				n.carved[c] - n.free[c], n.carved[c]);
	fprintf(out,
		"<heaps count=\"%zu\" parked=\"%zu\"/>\n"
		"<chunks count=\"%zu\" size=\"%zu\" live=\"%zu\"/>\n"
		"<mappings count=\"%zu\" size=\"%zu\"/>\n"
		"<cache count=\"%zu\" size=\"%zu\"/>\n"
		"<peak size=\"%zu\"/>\n</malloc>\n",
		n.heaps, n.parked, n.chunks, n.arena, n.live, n.mappings,
		n.mapped, n.blocks + n.maps.count, n.pages.bytes + n.maps.bytes,
		n.peak);
	return ferror(out) ? -1 : 0;
}

/* All that is free goes back: this heap's, parked heaps', the cache. */
static int stat_trim(void)
{
	struct heap *h;
	bool any;

	engine_init();
	if (!enter())
		return 0;
	h = OPT(direct) ? NULL : heap_enter();
	if (h)
		held_flush(h);
	parked_empty(true);
	if (h)
		heap_empty(h);
	heap_leave(h);
	any = cache_empty(SPARE_MAX) > 0;
	leave();
	return any;
}
