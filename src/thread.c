/*
 * thread.c - which heap a thread uses: birth, exit, fork.
 *
 * A thread gets a heap at its first call: a parked one, else a new one. Its
 * exit parks the whole heap, in constant time; to allocate after that borrows
 * one for the call. No heap is ever unmapped: foreign frees may look at it.
 */
#define STACK_MOST ((uintptr_t)1 << 28)
/* Between enter and jumped_out; a handler or debugger leaves more. */
#define OWN_FRAMES 256
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
	if (!enter())
		return; /* a fork waits for us: see heaps_reap */
	remote_flush(h);
	leave();
	tls.me = STUB;
	tls.mine = DEAD;
	if (!enter())
		return;
	heap_park(h);
	leave();
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
		store_release(&heaps.all, h); /* fork looks without the lock */
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
		    cas(&h->owner, &owner, 0)) {
			store_relaxed(&h->busy, 0);
			heap_park(h);
		}
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

/*
 * A handler jumped out of a call that was inside, and that never ends: the call
 * that comes now is not deeper in the stack. It is as if it had ended, unless
 * it has a lock.
 */
SLOW bool jumped_out(void)
{
	bool first = os_tid() == os_pid();
	uintptr_t top = first ? getauxval(AT_RANDOM) : (uintptr_t)&tls;
	uintptr_t depth = top - stack_here();
	uint32_t was = (uint32_t)top - tls.within;
	stack_t s = { .ss_flags = SS_ONSTACK };
	struct heap *h = heap_own();

	/* Both on the thread's own stack, SS_AUTODISARM or not. */
	if (depth >= STACK_MOST || was >= STACK_MOST ||
	    depth > was + OWN_FRAMES || lock_mine(&os.lock) ||
	    lock_mine(&heaps.lock) ||
	    os_failed(os_call(SYS_sigaltstack, NULL, &s)) ||
	    s.ss_flags & SS_ONSTACK)
		return false;
	if (tls.inside & INSIDE_STRAY) {
		leave();
	} else if (h != STUB && h != DEAD) {
		store_relaxed(&h->waits, NULL);
		store_release(&h->busy, 0);
		if (!tracing && !config.slow) {
			tls.me = h;
			tls.mine = STUB;
		}
	}
	tls.inside = OUTSIDE;
	return true;
}

/* -- fork */

#define NAP 50000   /* ns */
#define NAPS 100000 /* at most: some seconds */

/* Let others go on for a moment; false: they had their time. */
static bool fork_nap(unsigned *naps)
{
	struct timespec t = { 0, NAP };

	if (*naps >= NAPS)
		return false;
	if ((*naps)++ < SPINS)
		cpu_relax();
	else
		os_call(SYS_nanosleep, &t, NULL);
	return true;
}

/* A handler forks, amid a change that can be seen. */
static bool fork_holds(void)
{
	return lock_mine(&os.lock) || lock_mine(&heaps.lock);
}

/*
 * There is a fork more, or fewer. To a handler that is one step. Who forks in a
 * handler, amid a call, is out of the way of others that fork: unless he has a
 * lock, nothing is half done.
 */
static void forks_add(uint32_t n)
{
	uint64_t all = ~(uint64_t)0, old = 0;
	bool stray = tls.inside & INSIDE_STRAY;

	os_call(SYS_rt_sigprocmask, SIG_BLOCK, &all, &old, sizeof(all));
	tls.forks += n;
	__atomic_fetch_add(&forks, n, __ATOMIC_SEQ_CST);
	if (tls.forks == 1 && n == 1 && tls.inside & INSIDE && !fork_holds() &&
	    (stray || heap_own()->busy)) {
		busy_end(stray);
		tls.inside |= INSIDE_PAUSED;
	} else if (!tls.forks && tls.inside & INSIDE_PAUSED) {
		busy_begin(stray);
		tls.inside &= ~INSIDE_PAUSED;
	}
	os_call(SYS_rt_sigprocmask, SIG_SETMASK, &old, NULL, sizeof(all));
}

/* Is it about to change something? Not while it waits for a lock of ours. */
static bool in_the_way(const struct heap *h)
{
	const struct lock *l;

	if (!__atomic_load_n(&h->busy, __ATOMIC_SEQ_CST))
		return false;
	l = load_relaxed(&h->waits);
	return !l || !lock_mine(l);
}

/* The same of those without a heap. */
static bool strays_in_the_way(void)
{
	uint32_t n = __atomic_load_n(&strays, __ATOMIC_SEQ_CST);
	bool own = tls.inside & INSIDE_STRAY && !(tls.inside & INSIDE_PAUSED);

	n -= lock_mine(&os.lock) ? load_relaxed(&os.lock.strays) : 0;
	n -= lock_mine(&heaps.lock) ? load_relaxed(&heaps.lock.strays) : 0;
	return (int32_t)(n - own) > 0;
}

/*
 * The kernel copies memory page by page while other threads run. So they have
 * to be out of what is shared, and what a thread has for itself is to be proof
 * against that. They go there again when the fork is over, or do without: it
 * waits for no thread that waits for it. Two handlers may, each with a lock:
 * hence the end of patience.
 */
static void fork_prepare(void)
{
	struct heap *self = heap_own();
	unsigned naps = tls.inside ? NAPS - NAPS / 10 : 0;

	forks_add(1);
	for (struct heap *h = load_acquire(&heaps.all); h; h = h->all)
		while (h != self && in_the_way(h) && fork_nap(&naps))
			;
	while (strays_in_the_way() && fork_nap(&naps))
		;
}

/* A call that the handler interrupted goes on when nobody forks. */
static void fork_resume(void)
{
	bool stray = tls.inside & INSIDE_STRAY, wait = true;
	unsigned naps = 0;

	while (wait && others_fork()) {
		busy_end(stray);
		wait = fork_nap(&naps);
		busy_begin(stray);
	}
}

static void fork_parent(void)
{
	bool paused = tls.inside & INSIDE_PAUSED;

	forks_add(-1u);
	os_call(SYS_futex, &forks, FUTEX_WAKE_OWN, INT_MAX);
	if (paused && !tls.forks)
		fork_resume();
}

/*
 * The child has one thread. The heaps of those that are gone are left as they
 * are, until they are needed: see parked.c.
 */
static void fork_child(void)
{
	struct heap *self = heap_own();

	os.lock = (struct lock){ lock_mine(&os.lock) ? lock_id() : 0, 0 };
	heaps.lock = (struct lock){ lock_mine(&heaps.lock) ? lock_id() : 0, 0 };
	heaps.pid = (uint32_t)os_pid();
	if (self != STUB && self != DEAD)
		store_relaxed(&self->owner, owner_self());
	for (struct heap *h = heaps.all; h; h = h->all)
		if (h != self && h->busy)
			h->busy = 0; /* it was about to wait for us */
	strays = tls.inside & INSIDE_STRAY && !(tls.inside & INSIDE_PAUSED);
	heaps.lost = heaps.count > heaps.idle + (self != STUB && self != DEAD);
	forks = tls.forks | (forks & FORKS_ASIDE);
	forks_add(-1u);
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
		pthread_atfork(fork_prepare, fork_parent, fork_child);
	}
}

/* The heap of this thread, or one on loan; NULL when memory is out. */
static struct heap *heap_enter(void)
{
	struct heap *h = tls.mine;

	if (LIKELY(h != STUB && h != DEAD))
		return h;
	h = heap_obtain();
	if (h && tls.mine != DEAD) {
		tls.mine = h;
		tls.inside |= INSIDE_BORN;
		if (!tracing && !config.slow)
			tls.inside |= INSIDE_FAST;
	}
	return h;
}

/* Its first call is over: what these call may allocate. */
static void heap_born(struct heap *h)
{
	watch_fork();
	watch_exit(h);
}

static void heap_leave(struct heap *h)
{
	if (UNLIKELY(tls.mine == DEAD) && h)
		heap_park(h);
}
