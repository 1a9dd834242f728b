/*
 * process.c - the start of the process, and its end: what is looked at then.
 */
/*
 * A second free may lie unseen in a magazine or a batch. Is each list of this
 * thread as long as it should be? If one is longer, find what is on it twice.
 */
static void check_lists(struct heap *h)
{
	for (unsigned c = 1; c < CLASSES; c++) {
		struct mag *m = &h->mag[c];
		int64_t left = mag_length(m) + 1;
		struct block *b;

		for (b = m->head; b && left > 0; b = b->next, left--) {
			if (!block_is_free(b)) {
				free_list_corrupt(b);
				break;
			}
			if (!slab_has(slab_of(b), b))
				misused(b, USE_FREE);
		}
		if (b)
			mag_flush(m);
	}
	for (unsigned i = 0; i < BATCHES; i++) {
		const struct batch *e = &h->batch[i];
		unsigned left = e->slab ? e->count : 0;
		struct block *b = e->slab ? e->head : e->tail;

		for (; b && left > 0 && block_is_free(b); left--)
			b = b->next;
		if (b != e->tail || left > 0) /* its owner has it too */
			free_list_corrupt(b && left > 0 ? b : e->tail);
	}
}

/*
 * Blocks that are never freed are looked at in the end, if nobody else can be
 * using any: no other thread has a heap, and none gets one meanwhile.
 */
static void check_seals(const struct heap *h)
{
	enum { MOST = 64 }; /* to be told of */
	void *bad[MOST];
	unsigned n = 0;
	bool alone;

	for (void *const *p = h->held; p < h->held + 2 * QUARANTINE; p++)
		if (*p)
			seal_leave(*p, pagemap_get(*p));
	lock_both();
	alone = heaps.idle + 1 == heaps.count && !heaps.torn;
	for (char *p = extent_next(NULL); p && alone; p = extent_next(p))
		n += extent_bad_seals(p, bad + n, MOST - n);
	lock_drop(&os.lock);
	lock_drop(&heaps.lock);
	/* Now, since who handles SIGABRT may allocate. */
	for (unsigned i = 0; i < n; i++)
		seal_tell(bad[i]);
}

/* As the library that is initialised first, ours comes before glibc's own. */
static void process_start(int argc, char **argv, char **envp)
{
	(void)argc, (void)argv, (void)envp;
#ifdef __GLIBC__
	environ = environ ?: envp;
#endif
	engine_init();
	watch_fork();
	bind_tell();
}

/* Not by an attribute: -flto would leave out what glibc hands over. */
static void (*started)(int argc, char **argv, char **envp)
	__attribute__((used, section(".init_array"))) = process_start;

/* Also when the library is unloaded: nobody may call into it after that. */
__attribute__((destructor)) static void process_end(void)
{
	struct heap *h = heap_own();

	if (h != STUB && h != DEAD && enter()) {
		if (CHECKS)
			check_lists(h);
		if (OPT(check) > 1)
			check_seals(h);
		leave();
	}
	trace_end();
	if (!exit_key_made)
		return;
	exit_key_made = false; /* the key will be somebody else's */
	pthread_key_delete(exit_key);
}
