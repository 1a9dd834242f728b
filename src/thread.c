/*
 * thread.c - which heap a thread uses: birth, exit, fork.
 *
 * A thread gets a heap at its first call: a parked one, else a new one. Its
 * exit parks the whole heap, in constant time; to allocate after that borrows
 * one for the call. No heap is ever unmapped: foreign frees may look at it.
 */
static pthread_key_t exit_key;
static bool exit_key_made; /* before there is a second thread */

static void heap_park(struct heap *h)
{
	EVENT("park", h, sizeof(*h));
	h->flushed = false;
	parked_put(h, false);
}

/*
 * The key's destructor. Others may still free and allocate after it. A thread
 * whose first call is made by one in the first round misses that round: so the
 * last but one is the last that is sure to come.
 */
static void thread_exit(void *arg)
{
	struct heap *h = tls.me != STUB ? tls.me : tls.mine;

	/* Not `arg`: a second libc in the process gives out the same keys. */
	(void)arg;
	if (h == STUB || h == DEAD)
		return;
	if (++h->rounds < PTHREAD_DESTRUCTOR_ITERATIONS - 1 &&
	    pthread_setspecific(exit_key, h) == 0)
		return;
	remote_flush(h);
	tls.me = STUB;
	tls.mine = DEAD;
	heap_park(h);
}

static struct heap *heap_new(void)
{
	struct heap *h = NULL;

	if (load_relaxed(&os.chunks) || chunk_map(false))
		h = os_map(round_up(sizeof(*h), page_size));
	lock_take(&heaps.lock);
	if (heaps.count + 1 >= HEAPS_MAX)
		h = NULL;
	if (h) {
		h->tag = ++heaps.count << TAG_ID_SHIFT;
		h->all = heaps.all;
		heaps.all = h;
	}
	lock_drop(&heaps.lock);
	return h;
}

/* A heap without a thread, or a new one; NULL when memory is out. */
static struct heap *heap_obtain(void)
{
	struct heap *h = parked_take();

	if (h)
		EVENT("adopt", h, sizeof(*h));
	return h ? h : heap_new();
}

/* Only a process with a second thread needs to hear of exits. */
static void watch_exit(struct heap *h)
{
	int err = errno;

	h->rounds = 0;
	if (exit_key_made)
		pthread_setspecific(exit_key, h);
	errno = err;
}

/* The locks were ours before: a signal handler forks. Under the locks. */
static bool fork_had_heaps, fork_had_os;

/* Wait, not for ever, until no other thread is publishing a batch. */
static void fork_wait(void)
{
	struct heap *self = tls.me != STUB ? tls.me : tls.mine;

	for (struct heap *h = heaps.all; h; h = h->all)
		for (int i = 0; i < 100000 && h != self; i++) {
			if (!__atomic_load_n(&h->busy, __ATOMIC_SEQ_CST))
				break;
			sched_yield();
		}
}

/*
 * Both locks. Nobody waits for one of them with the other, except a handler
 * that forks: its thread may hold either.
 */
static void lock_both(void)
{
	for (;;) {
		lock_take(&heaps.lock);
		if (lock_try(&os.lock))
			return;
		lock_drop(&heaps.lock);
		lock_take(&os.lock);
		if (lock_try(&heaps.lock))
			return;
		lock_drop(&os.lock);
	}
}

static void fork_prepare(void)
{
	bool had_heaps = lock_mine(&heaps.lock);
	bool had_os = lock_mine(&os.lock);

	if (!had_heaps && !had_os)
		lock_both();
	else if (!had_heaps)
		lock_take(&heaps.lock);
	else if (!had_os)
		lock_take(&os.lock);
	fork_had_heaps = had_heaps;
	fork_had_os = had_os;
	__atomic_store_n(&forking, true, __ATOMIC_SEQ_CST);
	fork_wait();
}

static void fork_done(void)
{
	__atomic_store_n(&forking, false, __ATOMIC_SEQ_CST);
	if (!fork_had_os)
		lock_drop(&os.lock);
	if (!fork_had_heaps)
		lock_drop(&heaps.lock);
}

/*
 * The child has one thread; nobody waits for the locks. The heaps of threads
 * that are gone were copied while they changed: blocks in them can be freed,
 * the rest is lost to the child.
 */
static void fork_child(void)
{
	os.lock.word = heaps.lock.word = lock_id();
	fork_done();
	output_forked(&log_out);
	output_forked(&stats_out);
	memset(&tally, 0, sizeof(tally));
	trace_forked();
}

/*
 * Early: constructors of other libraries may fork, and the program may take all
 * keys. Under no lock: what stands in front of libc's functions may allocate.
 */
static void watch_fork(void)
{
	static bool done;

	if (!done) {
		done = true;
		exit_key_made = !pthread_key_create(&exit_key, thread_exit);
		pthread_atfork(fork_prepare, fork_done, fork_child);
	}
}

/* The heap of this thread, or one on loan; NULL when memory is out. */
static struct heap *heap_enter(void)
{
	struct heap *h = tls.me;

	if (LIKELY(h != STUB))
		return h;
	if (tls.mine != STUB && tls.mine != DEAD)
		return tls.mine;
	h = heap_obtain();
	if (!h || tls.mine == DEAD)
		return h;
	*(tracing || config.slow ? &tls.mine : &tls.me) = h;
	if (h->tag >> TAG_ID_SHIFT > 1)
		watch_exit(h);
	else
		watch_fork();
	return h;
}

static void heap_leave(struct heap *h)
{
	if (UNLIKELY(tls.mine == DEAD) && h)
		heap_park(h);
}
