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

/* `len` bytes of zeroed memory, a multiple of the page size; at `p`, if free. */
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
 * Then that is of several VMAs, and to make it endless is not just refused.
 */
static bool os_altered(void *p, size_t len)
{
	if (!load_relaxed(&altered))
		return false;
	TALLY(mremap);
	return os_call(SYS_mremap, p, len, len + ((size_t)1 << 46)) == -EFAULT;
}

/* Is the page at `p` mapped? */
static bool os_mapped(void *p)
{
	unsigned char in;

	return !os_failed(os_call(SYS_mincore, p, 1, &in));
}

/*
 * A lock: 0, or who holds it and whether others wait. One word tells both, so
 * that a signal handler that re-enters malloc, and fork, always know whether
 * the thread they interrupted holds it: that must not hang.
 */
struct lock {
	uintptr_t word; /* any thread, acquire/release */
};

#define LOCK_WAITED ((uintptr_t)1)
#define SPINS 100
#define FUTEX_WAIT_OWN 128 /* FUTEX_WAIT, _WAKE | FUTEX_PRIVATE_FLAG */
#define FUTEX_WAKE_OWN 129

static bool forking; /* somebody is inside fork, and holds all locks */
SLOW void lock_reentered(void);

/* This thread: where its TLS is. The futex is the lower half of a word. */
#define lock_id() ((uintptr_t)&tls)

INLINE bool lock_mine(const struct lock *l)
{
	return (load_relaxed(&l->word) & ~LOCK_WAITED) == lock_id();
}

/*
 * The word `busy` of a heap: its thread publishes what it freed for others, and
 * fork waits for the end of that, with BUSY_WAITED asleep.
 */
#define BUSY 1u
#define BUSY_WAITED 2u

INLINE void busy_begin(struct heap *h)
{
	__atomic_fetch_or(&h->busy, BUSY, __ATOMIC_SEQ_CST);
}

INLINE void busy_end(struct heap *h)
{
	uint32_t old = __atomic_exchange_n(&h->busy, 0, __ATOMIC_SEQ_CST);

	if (UNLIKELY(old & BUSY_WAITED))
		os_call(SYS_futex, &h->busy, FUTEX_WAKE_OWN, 1);
}

static void busy_wait(struct heap *h)
{
	uint32_t old, waited;

	while ((old = __atomic_load_n(&h->busy, __ATOMIC_SEQ_CST)) & BUSY) {
		waited = old | BUSY_WAITED;
		if (old == waited || cas(&h->busy, &old, waited))
			os_call(SYS_futex, &h->busy, FUTEX_WAIT_OWN, waited);
	}
}

/* The heap that this thread has, be it traced; STUB or DEAD: none. */
INLINE struct heap *heap_own(void)
{
	return tls.me != STUB ? tls.me : tls.mine;
}

/*
 * A signal handler may come here while its thread publishes. It changes nothing
 * while it waits, and who has the lock may be fork: that is to go on.
 */
SLOW void lock_wait(struct lock *l)
{
	struct heap *h = heap_own();
	bool busy = load_relaxed(&h->busy);

	if (lock_mine(l))
		lock_reentered();
	if (busy)
		busy_end(h);
	for (unsigned spins = 0;; spins++) {
		/* Once we slept, others may sleep too: wake them later. */
		uintptr_t flag = spins < SPINS ? 0 : LOCK_WAITED;
		uintptr_t old = load_relaxed(&l->word);

		if (!old && cas(&l->word, &old, lock_id() | flag))
			break;
		if (spins < SPINS)
			ARCH(__builtin_ia32_pause(), __asm__ volatile("yield"));
		else if (old & LOCK_WAITED || cas(&l->word, &old, old | flag))
			os_call(SYS_futex, &l->word, FUTEX_WAIT_OWN,
				old | flag);
	}
	if (busy)
		busy_begin(h);
}

INLINE bool lock_try(struct lock *l)
{
	uintptr_t zero = 0;

	return LIKELY(cas(&l->word, &zero, lock_id())) ||
	       (load_relaxed(&forking) && lock_mine(l)); /* by fork */
}

INLINE void lock_take(struct lock *l)
{
	if (UNLIKELY(!lock_try(l)))
		lock_wait(l);
}

INLINE void lock_drop(struct lock *l)
{
	if (UNLIKELY(load_relaxed(&forking)))
		return; /* we are inside fork, which drops it */
	if (UNLIKELY(exchange(&l->word, 0) & LOCK_WAITED))
		os_call(SYS_futex, &l->word, FUTEX_WAKE_OWN, 1);
}
