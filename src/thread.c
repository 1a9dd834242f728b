/*
 * thread.c - which heap a thread uses: birth, exit, fork.
 *
 * A thread gets a heap at its first allocation: a parked one, else a new one.
 * When it exits the whole heap is parked, in constant time. A thread that
 * allocates after that borrows a heap for the call. Heaps are never unmapped,
 * so a foreign free may always look at its owner.
 */
static struct {
	pthread_key_t key;
	bool made;
} exit_key; /* under heaps.lock */

static void heap_park(struct heap *h)
{
	EVENT("park", h, sizeof(*h));
	lock_take(&heaps.lock);
	h->flushed = false;
	h->parked = heaps.parked;
	heaps.parked = h;
	lock_drop(&heaps.lock);
}

/* The key's destructor. Others may still free and allocate after us. */
static void thread_exit(void *arg)
{
	struct heap *h = arg;

	if (++h->rounds < PTHREAD_DESTRUCTOR_ITERATIONS &&
	    pthread_setspecific(exit_key.key, h) == 0)
		return;
	remote_flush(h);
	tls.me = STUB;
	tls.mine = DEAD;
	heap_park(h);
}

static struct heap *heap_new(void)
{
	struct heap *h;

	if (!os.chunks && !chunk_map())
		return NULL;
	h = meta_alloc(sizeof(*h));
	if (!h)
		return NULL;
	lock_take(&heaps.lock);
	if (heaps.count + 1 >= HEAPS_MAX) {
		lock_drop(&heaps.lock);
		return NULL;
	}
	h->tag = ++heaps.count << TAG_ID_SHIFT;
	h->all = heaps.all;
	heaps.all = h;
	lock_drop(&heaps.lock);
	return h;
}

/* A heap without a thread, or a new one; NULL when memory is out. */
static struct heap *heap_obtain(void)
{
	struct heap *h;

	lock_take(&heaps.lock);
	h = heaps.parked;
	if (h)
		heaps.parked = h->parked;
	lock_drop(&heaps.lock);
	if (!h)
		return heap_new();
	EVENT("adopt", h, sizeof(*h));
	return h;
}

/* Only a process with a second thread needs to hear of exits. */
static void watch_exit(struct heap *h)
{
	int err = errno;

	lock_take(&heaps.lock);
	if (!exit_key.made)
		exit_key.made =
			pthread_key_create(&exit_key.key, thread_exit) == 0;
	lock_drop(&heaps.lock);
	h->rounds = 0;
	if (exit_key.made)
		pthread_setspecific(exit_key.key, h);
	errno = err;
}

/* -- fork */

static struct {
	bool heaps, os; /* the locks were ours before: a signal handler forks */
} fork_held;

/* Wait until no other thread is in the middle of publishing a batch. */
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

static void fork_prepare(void)
{
	bool had_heaps = lock_mine(&heaps.lock), had_os = lock_mine(&os.lock);

	if (!had_heaps)
		lock_take(&heaps.lock);
	if (!had_os)
		lock_take(&os.lock);
	fork_held.heaps = had_heaps;
	fork_held.os = had_os;
	__atomic_store_n(&forking, true, __ATOMIC_SEQ_CST);
	fork_wait();
}

static void fork_done(void)
{
	__atomic_store_n(&forking, false, __ATOMIC_SEQ_CST);
	if (!fork_held.os)
		lock_drop(&os.lock);
	if (!fork_held.heaps)
		lock_drop(&heaps.lock);
}

/*
 * The child has one thread. Nobody waits for the locks any more. The heaps of
 * threads that are gone stay as they are: their lists were copied while they
 * changed. Blocks in them can be freed; the rest is lost to the child.
 */
static void fork_child(void)
{
	os.lock.word = heaps.lock.word = lock_id();
	fork_done();
	output_forked(&log_out);
	trace_forked();
}

/*
 * No later than the first allocation: constructors of other libraries, which
 * may run before ours, may start threads and fork.
 */
static void watch_fork(void)
{
	static bool done;

	if (!done) {
		done = true;
		pthread_atfork(fork_prepare, fork_done, fork_child);
	}
}

/* -- which heap */

/* The heap of this thread, or one on loan; NULL when memory is out. */
static struct heap *heap_enter(void)
{
	struct heap *h = tls.me;

	if (LIKELY(h != STUB))
		return h;
	if (tls.mine && tls.mine != DEAD)
		return tls.mine;
	h = heap_obtain();
	if (!h || tls.mine == DEAD)
		return h;
	if (tracing)
		tls.mine = h;
	else
		tls.me = h;
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
