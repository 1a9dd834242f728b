/*
 * stat.c - what the heap holds: mallinfo, malloc_stats, malloc_info, trim.
 *
 * Nothing is counted while the program runs; the figures are read off the
 * chunks when asked for. What other threads do meanwhile may be missed by a
 * few blocks.
 */
struct figures {
	size_t chunk_bytes, chunks;      /* mapped for slabs and runs */
	size_t carved, free_blocks;      /* bytes of blocks made; free of them */
	size_t free_count;               /* number of free blocks */
	size_t runs;                     /* bytes of runs in use */
	size_t units, unit_bytes;        /* cached */
	size_t mappings, mapping_bytes;  /* in use */
	size_t maps, map_bytes;          /* cached */
	size_t peak, heaps, parked;
};

struct class_figures {
	size_t slabs, carved, free; /* slabs; blocks */
};

struct census {
	struct figures sum;
	struct class_figures class[CLASSES];
};

static void count_chunk(struct census *n, const struct chunk *c)
{
	for (unsigned i = 0; i < CHUNK_UNITS - 1; i++) {
		const struct slab *s = &c->unit[i];
		struct class_figures *k = &n->class[s->cls];

		if (c->free >> (i + 1) & 1 || s->back)
			continue;
		if (s->state == SLAB_RUN) {
			n->sum.runs += s->units * UNIT;
			i += s->units - 1u;
		} else if (tag_is_slab(pagemap_get(unit_start(s)))) {
			k->slabs++;
			k->carved += load_relaxed(&s->carved);
			k->free += load_relaxed(&s->nfree) +
				   remote_count(load_relaxed(&s->remote));
		}
	}
}

/* What a heap holds in front of the slabs: magazines and batches. */
static void count_heap(struct census *n, const struct heap *h)
{
	for (unsigned c = 1; c < CLASSES; c++) {
		const struct mag *m = &h->mag[c];
		int64_t held = (int64_t)load_relaxed(&m->max) -
			       load_relaxed(&m->room);

		if (held > 0)
			n->class[c].free += (size_t)held;
	}
	for (unsigned i = 0; i < BATCHES; i++) {
		const struct slab *s = load_relaxed(&h->batch[i].slab);

		if (s)
			n->class[s->cls].free += load_relaxed(
				&h->batch[i].count);
	}
	n->sum.heaps++;
}

static void take_census(struct census *n)
{
	memset(n, 0, sizeof(*n));
	lock_take(&heaps.lock);
	lock_take(&os.lock);
	for (const struct chunk *c = os.all; c; c = c->all_next)
		count_chunk(n, c);
	n->sum.chunks = os.chunks;
	n->sum.chunk_bytes = os.chunks * CHUNK;
	n->sum.units = os.units.count;
	n->sum.unit_bytes = os.units.bytes;
	n->sum.mappings = os.mappings;
	n->sum.mapping_bytes = os.mapped;
	n->sum.maps = os.maps.count;
	n->sum.map_bytes = os.maps.bytes;
	n->sum.peak = os.peak;
	lock_drop(&os.lock);
	for (const struct heap *h = heaps.all; h; h = h->all)
		count_heap(n, h);
	for (const struct heap *h = heaps.parked; h; h = h->parked)
		n->sum.parked++;
	lock_drop(&heaps.lock);
	for (unsigned c = 1; c < CLASSES; c++) {
		struct class_figures *k = &n->class[c];

		/* Counts read at different moments must not go negative. */
		if (k->free > k->carved)
			k->free = k->carved;
		n->sum.carved += k->carved * classes[c].size;
		n->sum.free_blocks += k->free * classes[c].size;
		n->sum.free_count += k->free;
	}
}

static size_t live_in_chunks(const struct figures *f)
{
	return f->carved - f->free_blocks + f->runs;
}

#ifdef __GLIBC__
/* glibc's fields: arena and fordblks speak of chunks, hblk* of mappings. */
static struct mallinfo2 stat_mallinfo(void)
{
	struct census n;
	struct mallinfo2 m = { 0 };

	take_census(&n);
	m.arena = n.sum.chunk_bytes;
	m.ordblks = n.sum.free_count;
	m.hblks = n.sum.mappings;
	m.hblkhd = n.sum.mapping_bytes;
	m.uordblks = live_in_chunks(&n.sum);
	m.fordblks = n.sum.chunk_bytes - m.uordblks;
	m.keepcost = n.sum.unit_bytes + n.sum.map_bytes;
	return m;
}
#endif

static void stat_line(const char *name, size_t value)
{
	struct line l = { .len = 0 };

	line_str(&l, name);
	while (l.len < 28)
		l.text[l.len++] = ' ';
	line_dec(&l, value);
	log_line(&l);
}

static void stat_print(void)
{
	struct census n;

	take_census(&n);
	stat_line("allocator " VERSION " heaps", n.sum.heaps);
	stat_line("parked heaps", n.sum.parked);
	stat_line("bytes in use", live_in_chunks(&n.sum) + n.sum.mapping_bytes);
	stat_line("chunks", n.sum.chunks);
	stat_line("chunk bytes mapped", n.sum.chunk_bytes);
	stat_line("free bytes in slabs", n.sum.free_blocks);
	stat_line("mappings in use", n.sum.mappings);
	stat_line("mapping bytes in use", n.sum.mapping_bytes);
	stat_line("cached blocks", n.sum.units + n.sum.maps);
	stat_line("cached bytes", n.sum.unit_bytes + n.sum.map_bytes);
	stat_line("peak bytes held", n.sum.peak);
}

static int stat_xml(FILE *out)
{
	struct census n;
	const struct figures *f = &n.sum;

	take_census(&n);
	fprintf(out, "<malloc version=\"allocator-" VERSION "\">\n");
	for (unsigned c = 1; c < CLASSES; c++) {
		const struct class_figures *k = &n.class[c];

		if (k->slabs)
			fprintf(out,
				"<bin size=\"%u\" slabs=\"%zu\" live=\"%zu\" "
				"total=\"%zu\"/>\n",
				classes[c].size, k->slabs, k->carved - k->free,
				k->carved);
	}
	fprintf(out, "<heaps count=\"%zu\" parked=\"%zu\"/>\n", f->heaps,
		f->parked);
	fprintf(out, "<chunks count=\"%zu\" size=\"%zu\" live=\"%zu\"/>\n",
		f->chunks, f->chunk_bytes, live_in_chunks(f));
	fprintf(out, "<mappings count=\"%zu\" size=\"%zu\"/>\n", f->mappings,
		f->mapping_bytes);
	fprintf(out, "<cache count=\"%zu\" size=\"%zu\"/>\n",
		f->units + f->maps, f->unit_bytes + f->map_bytes);
	fprintf(out, "<peak size=\"%zu\"/>\n</malloc>\n", f->peak);
	return ferror(out) ? -1 : 0;
}

/* All that is free goes back: this heap's, parked heaps', the cache. */
static int stat_trim(void)
{
	struct heap *h;
	size_t gone;

	engine_init();
	h = OPT(direct) ? NULL : heap_enter();
	if (h) {
		remote_flush(h);
		heap_empty(h);
	}
	heap_leave(h);
	parked_empty();
	gone = cache_settle(SIZE_MAX);
	return gone > 0;
}
