/*
 * os.c - the only system calls: memory, lock, log and process.
 *
 * They are made directly, not through libc: a program or another preload may
 * interpose mmap or open and call malloc inside, libc's would clobber errno,
 * and ours must work before libc is relocated. Every function here keeps
 * errno. Memory calls return NULL or false when the kernel refuses.
 */
#if defined(__x86_64__)
INLINE long os_call(long nr, long a, long b, long c, long d, long e, long f)
{
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;
	long ret;

	__asm__ volatile("syscall"
			 : "=a"(ret)
			 : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8),
			   "r"(r9)
			 : "rcx", "r11", "memory");
	return ret;
}
#define os_pause() __builtin_ia32_pause()
#elif defined(__aarch64__)
INLINE long os_call(long nr, long a, long b, long c, long d, long e, long f)
{
	register long x8 __asm__("x8") = nr;
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = d;
	register long x4 __asm__("x4") = e;
	register long x5 __asm__("x5") = f;

	__asm__ volatile("svc 0"
			 : "+r"(x0)
			 : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
			 : "memory", "cc");
	return x0;
}
#define os_pause() __asm__ volatile("yield")
#else
#error "x86-64 and aarch64 only"
#endif

#define OS_POPULATE_WRITE 23 /* Linux 5.14; older headers lack the name */

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

/* `len` bytes of zeroed memory, a multiple of the page size. */
static void *os_map(size_t len)
{
	long p = os_call(SYS_mmap, 0, (long)len, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return os_failed(p) ? NULL : (void *)p;
}

/* Like os_map, but memory that may never be touched does not count. */
static void *os_map_sparse(size_t len)
{
	long p = os_call(SYS_mmap, 0, (long)len, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return os_failed(p) ? NULL : (void *)p;
}

static bool os_unmap(void *p, size_t len)
{
	return !os_failed(os_call(SYS_munmap, (long)p, (long)len, 0, 0, 0, 0));
}

/*
 * `len` bytes at a multiple of `align`, a power of two above the page size.
 * The kernel often gives an aligned place at once, below the last one.
 */
static void *os_map_aligned(size_t len, size_t align)
{
	char *p = os_map(len), *start;
	size_t slack = align - page_size, before;

	if (!p || !((uintptr_t)p & (align - 1)))
		return p;
	os_unmap(p, len);
	if (len + slack < len || !(p = os_map(len + slack)))
		return NULL;
	start = (char *)round_up((uintptr_t)p, align);
	before = (size_t)(start - p);
	if (before)
		os_unmap(p, before);
	if (slack - before)
		os_unmap(start + len, slack - before);
	return start;
}

/* Give the contents back; true: the memory reads as zeros from now on. */
static bool os_purge(void *p, size_t len)
{
	return !os_failed(os_call(SYS_madvise, (long)p, (long)len,
				  MADV_DONTNEED, 0, 0, 0));
}

/* Fault pages in at once, at less than half the price of one by one. */
static bool os_populate(void *p, size_t len)
{
	return !os_failed(os_call(SYS_madvise, (long)p, (long)len,
				  OS_POPULATE_WRITE, 0, 0, 0));
}

static bool os_forbid(void *p, size_t len)
{
	return !os_failed(
		os_call(SYS_mprotect, (long)p, (long)len, PROT_NONE, 0, 0, 0));
}

/* Resize, moving if need be; with `to`, move exactly there. */
static void *os_remap(void *p, size_t old, size_t len, void *to)
{
	long flags = MREMAP_MAYMOVE | (to ? MREMAP_FIXED : 0);
	long q = os_call(SYS_mremap, (long)p, (long)old, (long)len, flags,
			 (long)to, 0);

	return os_failed(q) ? NULL : (void *)q;
}

static int os_pid(void)
{
	return (int)os_call(SYS_getpid, 0, 0, 0, 0, 0, 0);
}

static int os_tid(void)
{
	return (int)os_call(SYS_gettid, 0, 0, 0, 0, 0, 0);
}

/*
 * A lock: 0, or who holds it and whether others wait. One word tells both, so
 * that a signal handler that re-enters malloc, and fork, always know whether
 * the thread they interrupted holds it: that must not hang.
 */
struct lock {
	uint32_t word; /* any thread, acquire/release */
};

#define LOCK_WAITED 1u
#define FUTEX_WAIT_OWN 128 /* FUTEX_WAIT, _WAKE | FUTEX_PRIVATE_FLAG */
#define FUTEX_WAKE_OWN 129

static bool forking; /* somebody is inside fork, and holds all locks */
SLOW void lock_reentered(void);

/* A number for this thread: where its TLS is, unique within 32 GiB. */
INLINE uint32_t lock_id(void)
{
	return (uint32_t)((uintptr_t)&tls >> 4) << 1 | 1u << 31;
}

INLINE bool lock_mine(const struct lock *l)
{
	return (load_relaxed(&l->word) & ~LOCK_WAITED) == lock_id();
}

SLOW void lock_wait(struct lock *l)
{
	if (lock_mine(l))
		lock_reentered();
	for (int i = 0; i < 100; i++) {
		uint32_t zero = 0;

		os_pause();
		if (!load_relaxed(&l->word) && cas(&l->word, &zero, lock_id()))
			return;
	}
	for (;;) {
		uint32_t old = 0;

		/* Once we slept, others may sleep too: wake them later. */
		if (cas(&l->word, &old, lock_id() | LOCK_WAITED))
			return;
		if (!(old & LOCK_WAITED) &&
		    !cas(&l->word, &old, old | LOCK_WAITED))
			continue;
		os_call(SYS_futex, (long)&l->word, FUTEX_WAIT_OWN,
			(long)(old | LOCK_WAITED), 0, 0, 0);
	}
}

INLINE void lock_take(struct lock *l)
{
	uint32_t zero = 0;

	if (UNLIKELY(!cas(&l->word, &zero, lock_id())) &&
	    !(forking && lock_mine(l))) /* then fork took it for us */
		lock_wait(l);
}

INLINE void lock_drop(struct lock *l)
{
	if (UNLIKELY(forking))
		return; /* we are inside fork, which drops it */
	if (UNLIKELY(exchange(&l->word, 0) & LOCK_WAITED))
		os_call(SYS_futex, (long)&l->word, FUTEX_WAKE_OWN, 1, 0, 0, 0);
}
