/*
 * thread.c - which heap a thread uses: birth, exit, fork.
 *
 * A thread gets a heap at its first call: a parked one, else a new one. Its
 * exit parks the whole heap, in constant time; to allocate after that borrows
 * one for the call. No heap is ever unmapped: foreign frees may look at it.
 */
#define REAP_MIN 32 /* heaps, before lost ones are looked for */

static pthread_key_t exit_key;
static bool exit_key_made; /* before there is a second thread */

static void heap_park(struct heap *h)
{
	EVENT("park", h, sizeof(*h));
	store_relaxed(&h->owner, 0);
	h->flushed = false;
	parked_put(h, false);
}

/*
 * The key's destructor. Others may still free and allocate after it, mostly in
 * the same round: so the next is soon enough.
 */
static void thread_exit(void *arg)
{
	struct heap *h = heap_own();

	/* Not `arg`: a second libc in the process gives out the same keys. */
	(void)arg;
	if (h == STUB || h == DEAD)
		return;
	if (!h->leaving && pthread_setspecific(exit_key, h) == 0) {
		h->leaving = true;
		return;
	}
	remote_flush(h);
	tls.me = STUB;
	tls.mine = DEAD;
	heap_park(h);
}

static struct heap *heap_new(void)
{
	size_t len = round_up(sizeof(struct heap), page_size);
	struct heap *h = NULL;
	bool full;

	if (load_relaxed(&os.chunks) || chunk_map(false))
		h = fresh_map(len, page_size, 0);
	lock_take(&heaps.lock);
	full = heaps.count + 1 >= HEAPS_MAX;
	if (h && !full) {
		add_relaxed(&heaps.count, 1);
		h->tag = heaps.count << TAG_ID_SHIFT;
		h->all = heaps.all;
		heaps.all = h;
	}
	lock_drop(&heaps.lock);
	if (h && full)
		os_unmap(h, len);
	return full ? NULL : h;
}

/* This thread, as the owner of a heap, also in a child of fork. */
static uint64_t owner_self(void)
{
	return (uint64_t)heaps.pid << 32 | (uint32_t)os_tid();
}

/*
 * Park the heaps of threads that ended without a word: no destructor of ours
 * runs in one whose first call comes from one of the last. What a child has of
 * its parent's threads is not whole, and stays.
 */
static void heaps_reap(void)
{
	struct heap *h;

	if ((uint32_t)os_pid() != heaps.pid)
		return; /* a child that fork_child knows nothing of */
	store_relaxed(&heaps.obtained, 0);
	lock_take(&heaps.lock);
	h = heaps.all;
	lock_drop(&heaps.lock);
	for (; h; h = h->all) {
		uint64_t owner = load_relaxed(&h->owner);

		if (owner >> 32 == heaps.pid &&
		    os_call(SYS_tgkill, heaps.pid, (uint32_t)owner) == -ESRCH &&
		    cas(&h->owner, &owner, 0))
			heap_park(h);
	}
}

/* It takes a call for each heap, so half as many were obtained since. */
static bool reap_due(void)
{
	uint32_t count = load_relaxed(&heaps.count);

	return count >= REAP_MIN && load_relaxed(&heaps.obtained) >= count / 2;
}

/* A heap without a thread, or a new one; NULL when memory is out. */
static struct heap *heap_obtain(void)
{
	struct heap *h = parked_take();

	__atomic_fetch_add(&heaps.obtained, 1, __ATOMIC_RELAXED);
	if (!h && load_relaxed(&heaps.lost)) {
		heaps_adopt();
		h = parked_take();
	}
	if (!h && reap_due()) {
		heaps_reap();
		h = parked_take();
	}
	if (h)
		EVENT("adopt", h, sizeof(*h));
	return h ? h : heap_new();
}

static void watch_exit(struct heap *h)
{
	int err = errno;

	h->leaving = false;
	/* In a child by vfork or clone it may be the parent's thread's, too. */
	if ((uint32_t)os_pid() == heaps.pid)
		store_relaxed(&h->owner, owner_self());
	if (exit_key_made)
		pthread_setspecific(exit_key, h);
	errno = err;
}

/* The locks were ours before: a signal handler forks. Under the locks. */
static bool fork_had_heaps, fork_had_os;

/* Wait until no other thread is publishing a batch, or each that is sleeps. */
static void fork_wait(void)
{
	const struct heap *self = heap_own();

	for (struct heap *h = heaps.all; h; h = h->all)
		if (h != self)
			busy_wait(h);
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
 * that are gone are left as they are, until they are needed: see parked.c.
 */
static void fork_child(void)
{
	struct heap *self = heap_own();

	os.lock.word = heaps.lock.word = lock_id();
	heaps.pid = (uint32_t)os_pid();
	if (self != STUB && self != DEAD)
		store_relaxed(&self->owner, owner_self());
	for (struct heap *h = heaps.all; h; h = h->all)
		if (h != self && h->busy)
			h->busy = 0; /* it was about to wait for us */
	heaps.lost = heaps.count > heaps.idle + (self != STUB && self != DEAD);
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
		heaps.pid = (uint32_t)os_pid();
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
	watch_fork();
	watch_exit(h);
	return h;
}

static void heap_leave(struct heap *h)
{
	if (UNLIKELY(tls.mine == DEAD) && h)
		heap_park(h);
}
