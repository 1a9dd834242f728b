/*
 * os.c - the only system calls: memory, lock, log and process.
 *
 * They are made directly, not through libc: a program or another preload may
 * interpose mmap or open and call malloc inside, libc's would clobber errno,
 * and ours must work before libc is relocated. Every function here keeps
 * errno. Memory calls return NULL or false when the kernel refuses.
 */
#if defined(__x86_64__)
#define ARCH(x86_64, aarch64) x86_64
#elif defined(__aarch64__)
#define ARCH(x86_64, aarch64) aarch64
#else
#error "x86-64 and aarch64 only"
#endif

INLINE long os_syscall(long nr, long a, long b, long c, long d, long e, long f)
{
	register long r __asm__(ARCH("rax", "x8")) = nr;
	register long r0 __asm__(ARCH("rdi", "x0")) = a;
	register long r1 __asm__(ARCH("rsi", "x1")) = b;
	register long r2 __asm__(ARCH("rdx", "x2")) = c;
	register long r3 __asm__(ARCH("r10", "x3")) = d;
	register long r4 __asm__(ARCH("r8", "x4")) = e;
	register long r5 __asm__(ARCH("r9", "x5")) = f;

	__asm__ volatile(ARCH("syscall", "svc 0")
			 : "+r"(r), "+r"(r0)
			 : "r"(r1), "r"(r2), "r"(r3), "r"(r4), "r"(r5)
			 : ARCH("rcx", "cc"), ARCH("r11", "cc"), "memory");
	return ARCH(r, r0);
}

#ifndef OS_SYSCALL /* a test may watch the calls, and refuse some */
#define OS_SYSCALL os_syscall
#endif
/* Arguments of any type; zeros at the end may be left out. */
#define os_call(...) os_call_padded(__VA_ARGS__, 0, 0, 0, 0, 0, 0, 0)
#define os_call_padded(nr, a, b, c, d, e, f, ...) \
	OS_SYSCALL(nr, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), \
		   (long)(f))

#define os_pid() ((int)os_call(SYS_getpid))
#define os_tid() ((int)os_call(SYS_gettid))

#define OS_POPULATE_WRITE 23 /* Linux 5.14; older headers lack the name */

/* For the statistics: what the kernel was asked, and what it was not. */
static struct {
	size_t mmap, munmap, mremap, mprotect, madvise, reused;
} tally;
#define TALLY(what) __atomic_fetch_add(&tally.what, 1, __ATOMIC_RELAXED)

static size_t page_size; /* set by os_init, before any memory is had */
static unsigned page_shift;

static void os_init(void)
{
	if (page_size)
		return;
	page_size = getauxval(AT_PAGESZ);
	page_shift = (unsigned)__builtin_ctzl(page_size);
}

static bool os_failed(long ret)
{
	return (unsigned long)ret > -4096UL;
}

static void *os_memory(long ret)
{
	return os_failed(ret) ? NULL : (void *)ret;
}

/* `len` bytes of zeroed memory, in whole pages; at `p`, if that is free. */
static void *os_map_flagged(const void *p, size_t len, int flags)
{
	TALLY(mmap);
	return os_memory(os_call(SYS_mmap, p, len, PROT_READ | PROT_WRITE,
				 MAP_PRIVATE | MAP_ANONYMOUS | flags, -1));
}

#define os_map_near(p, len) os_map_flagged(p, len, 0)
#define os_map(len) os_map_near(NULL, len)
/* Memory that may never be touched, and does not count as used. */
#define os_map_sparse(len) os_map_flagged(NULL, len, MAP_NORESERVE)

/* What is done to a range of memory. */
#define OS_MEMORY(name, call, arg) \
	static bool name(void *p, size_t len) \
	{ \
		TALLY(call); \
		return !os_failed(os_call(SYS_##call, p, len, arg)); \
	}

OS_MEMORY(os_unmap, munmap, 0)
/* Make any access a fault; undo that. */
OS_MEMORY(os_forbid, mprotect, PROT_NONE)
OS_MEMORY(os_allow, mprotect, PROT_READ | PROT_WRITE)
/* For constants. */
OS_MEMORY(os_seal, mprotect, PROT_READ)
/* Give the contents back; true: the memory reads as zeros from now on. */
OS_MEMORY(os_purge, madvise, MADV_DONTNEED)
/* Let the kernel use pages of 2 MiB. */
OS_MEMORY(os_huge, madvise, MADV_HUGEPAGE)
/* Not here: a VMA of its own, which is cheap to forbid and allow. */
OS_MEMORY(os_apart, madvise, MADV_NOHUGEPAGE)
/* Fault pages in at once, at less than half the price of one by one. */
OS_MEMORY(os_populate, madvise, OS_POPULATE_WRITE)

/* Resize, elsewhere if need be and `move` allows it. */
static void *os_remap(void *p, size_t old, size_t len, bool move)
{
	TALLY(mremap);
	return os_memory(
		os_call(SYS_mremap, p, old, len, move ? MREMAP_MAYMOVE : 0));
}

static bool altered; /* the program may have altered blocks; relaxed */

/*
 * Did it alter memory that we had as a whole, and unlike what it starts with?
 * Then that is of several VMAs, and to make it endless is not just refused;
 * where mremap is forbidden nobody knows.
 */
static bool os_altered(void *p, size_t len)
{
	long ret;

	if (!load_relaxed(&altered))
		return false;
	TALLY(mremap);
	ret = os_call(SYS_mremap, p, len, len + ((size_t)1 << 46));
	return ret != -ENOMEM && ret != -EAGAIN;
}

/* Is the page at `p` mapped? */
static bool os_mapped(void *p)
{
	unsigned char in;

	return !os_failed(os_call(SYS_mincore, p, 1, &in));
}

/*
 * A lock: 0, or who holds it and whether others wait. One word tells both, so
 * that fork always knows whether the thread that it interrupted holds it.
 */
struct lock {
	uintptr_t word;  /* any thread, acquire/release */
	uint32_t strays; /* that sleep for it; relaxed */
};

#define LOCK_WAITED ((uintptr_t)1)
#define SPINS 100
#define FUTEX_WAIT_OWN 128 /* FUTEX_WAIT, _WAKE | FUTEX_PRIVATE_FLAG */
#define FUTEX_WAKE_OWN 129
#define cpu_relax() \
	ARCH(__builtin_ia32_pause(), __asm__ volatile("yield" ::: "memory"))

/* This thread: where its TLS is. The futex is the lower half of a word. */
#define lock_id() ((uintptr_t)&tls)

INLINE bool lock_mine(const struct lock *l)
{
	return (load_relaxed(&l->word) & ~LOCK_WAITED) == lock_id();
}

/* The heap that this thread has, be it traced; STUB or DEAD: none. */
INLINE struct heap *heap_own(void)
{
	return tls.me != STUB ? tls.me : tls.mine;
}

/*
 * What this thread is in the midst of, for a signal handler of its own, which
 * can't do as usual then: see aside.c. QUICK: its own lists. INSIDE: what it
 * shares with others; a fork waits for that, and the fast paths miss.
 */
enum {
	OUTSIDE,
	QUICK,
	INSIDE,
	INSIDE_STRAY = 4,  /* without a heap; it is counted in `strays` */
	INSIDE_FAST = 8,   /* the fast paths are to have tls.mine again */
	INSIDE_BORN = 16,  /* the thread got its heap */
	INSIDE_PAUSED = 32 /* a handler forks */
};

/* Forks under way, of all threads, and is something in `aside`? seq_cst */
static uint32_t forks;
#define FORKS_ASIDE ((uint32_t)1 << 31)
static uint32_t strays; /* seq_cst */
static void heap_born(struct heap *h);
static void heap_catch_up(void);
static bool jumped_out(void);

INLINE uintptr_t stack_here(void)
{
	uintptr_t sp;

	__asm__ volatile(ARCH("mov %%rsp, %0", "mov %0, sp") : "=r"(sp));
	return sp;
}

/* For a handler it happened before. */
#define in_order() __atomic_signal_fence(__ATOMIC_SEQ_CST)

INLINE void busy_begin(bool stray)
{
	if (UNLIKELY(stray))
		__atomic_fetch_add(&strays, 1, __ATOMIC_SEQ_CST);
	else
		__atomic_exchange_n(&heap_own()->busy, 1, __ATOMIC_SEQ_CST);
}

INLINE void busy_end(bool stray)
{
	if (UNLIKELY(stray))
		__atomic_fetch_sub(&strays, 1, __ATOMIC_SEQ_CST);
	else
		store_release(&heap_own()->busy, 0);
}

/* Does any other thread fork? It waits for none that comes from now on. */
INLINE bool others_fork(void)
{
	return (__atomic_load_n(&forks, __ATOMIC_SEQ_CST) & ~FORKS_ASIDE) !=
	       tls.forks;
}

/*
 * Sleep until they don't; false: it takes too long. A handler of the fork may
 * wait for this very thread. Who found that out once waits for less from then
 * on, and in the end not at all.
 */
SLOW bool forks_outlast(void)
{
	static uint32_t patience = 16 * 1000 * 1000; /* ns; relaxed */
	struct timespec t = { 0, (long)load_relaxed(&patience) };
	uint32_t now = __atomic_load_n(&forks, __ATOMIC_SEQ_CST);

	if ((now & ~FORKS_ASIDE) == tls.forks)
		return true;
	if (t.tv_nsec < 1000)
		return false;
	if (os_call(SYS_futex, &forks, FUTEX_WAIT_OWN, now, &t) != -ETIMEDOUT)
		return true;
	store_relaxed(&patience, (uint32_t)t.tv_nsec / 2);
	return false;
}

INLINE void quick_begin(void)
{
	tls.within = (uint32_t)stack_here();
	tls.inside = QUICK;
	in_order();
}

INLINE void quick_end(void)
{
	in_order();
	tls.inside = OUTSIDE;
}

/* The fast paths have the heap again, if they had it. */
INLINE void fast_again(uint32_t was)
{
	if (was & INSIDE_FAST) {
		tls.me = tls.mine;
		in_order();
		tls.mine = STUB;
	}
	in_order();
}

/* Somebody may be forking: later, or not at all. */
SLOW bool enter_later(uint32_t as, uint32_t from)
{
	while (others_fork()) {
		busy_end(as & INSIDE_STRAY);
		if (!forks_outlast()) {
			fast_again(as);
			tls.inside = (uint8_t)from;
			return false;
		}
		busy_begin(as & INSIDE_STRAY);
	}
	in_order();
	tls.inside = (uint8_t)as;
	return true;
}

/* Not in the midst of a free, whose slab that may give back. */
SLOW bool enter_caught_up(bool entered)
{
	if (entered && load_relaxed(&forks) & FORKS_ASIDE)
		heap_catch_up();
	return entered;
}

/*
 * To the memory that all threads share, from OUTSIDE or QUICK; with leave_to()
 * afterwards. False: not now, since this thread is there already, or another
 * forks.
 */
SLOW bool enter_from(uint32_t from)
{
	uint32_t as = INSIDE;
	struct heap *h;

	if (tls.inside > from && !jumped_out())
		return false;
	h = tls.me; /* not before: jumped_out may give it back */
	quick_begin();
	if (h != STUB) {
		as |= INSIDE_FAST;
		tls.mine = h;
		in_order();
		tls.me = STUB;
	} else if (tls.mine == STUB || tls.mine == DEAD) {
		as |= INSIDE_STRAY;
	}
	busy_begin(as & INSIDE_STRAY);
	return enter_later(as, from);
}

SLOW void leave_to(uint32_t from)
{
	uint32_t was = tls.inside;

	in_order();
	tls.inside = QUICK;
	in_order();
	busy_end(was & INSIDE_STRAY);
	fast_again(was);
	tls.inside = (uint8_t)from;
	if (was & INSIDE_BORN)
		heap_born(heap_own());
}

/* The same from OUTSIDE, and with a heap mostly. */
INLINE bool enter(void)
{
	struct heap *h = tls.me;

	if (UNLIKELY(h == STUB || tls.inside != OUTSIDE))
		return enter_caught_up(enter_from(OUTSIDE));
	tls.within = (uint32_t)stack_here();
	tls.inside = INSIDE | INSIDE_FAST;
	in_order();
	tls.mine = h;
	in_order();
	tls.me = STUB;
	__atomic_exchange_n(&h->busy, 1, __ATOMIC_SEQ_CST);
	if (LIKELY(!__atomic_load_n(&forks, __ATOMIC_SEQ_CST)))
		return true;
	return enter_caught_up(enter_later(INSIDE | INSIDE_FAST, OUTSIDE));
}

INLINE void leave(void)
{
	struct heap *h = tls.mine;

	if (UNLIKELY(tls.inside != (INSIDE | INSIDE_FAST))) {
		leave_to(OUTSIDE);
		return;
	}
	in_order();
	tls.me = h;
	in_order();
	tls.mine = STUB;
	store_release(&h->busy, 0);
	in_order();
	tls.inside = OUTSIDE;
}

/* Who is inside tells a fork, whose handler may hold it, what it waits for. */
SLOW void lock_wait(struct lock *l)
{
	bool stray = tls.inside & INSIDE_STRAY;
	bool tell = tls.inside & INSIDE && !stray;

	if (tell)
		store_relaxed(&tls.mine->waits, l);
	__atomic_fetch_add(&l->strays, stray, __ATOMIC_RELAXED);
	for (unsigned spins = 0;; spins++) {
		/* Once we slept, others may sleep too: wake them later. */
		uintptr_t flag = spins < SPINS ? 0 : LOCK_WAITED;
		uintptr_t old = load_relaxed(&l->word);

		if (!old && cas(&l->word, &old, lock_id() | flag))
			break;
		if (spins < SPINS)
			cpu_relax();
		else if (old & LOCK_WAITED || cas(&l->word, &old, old | flag))
			os_call(SYS_futex, &l->word, FUTEX_WAIT_OWN,
				old | flag);
	}
	__atomic_fetch_sub(&l->strays, stray, __ATOMIC_RELAXED);
	if (tell)
		store_relaxed(&tls.mine->waits, NULL);
}

INLINE void lock_take(struct lock *l)
{
	uintptr_t zero = 0;

	if (UNLIKELY(!cas(&l->word, &zero, lock_id())))
		lock_wait(l);
}

INLINE void lock_drop(struct lock *l)
{
	if (UNLIKELY(exchange(&l->word, 0) & LOCK_WAITED))
		os_call(SYS_futex, &l->word, FUTEX_WAKE_OWN, 1);
}
