/*
 * prefixed.c - the allocator with the prefix al_ (ALLOC_PREFIX), and what only
 * somebody inside can do for its tests.
 */
#define _GNU_SOURCE
#include <limits.h>

/*
 * TSan drops its record of a thread in the last round of destructors, and dies
 * in code that runs after: the allocator has to be done one round before.
 */
#if defined(__SANITIZE_THREAD__)
#define TSAN 1
#elif defined(__has_feature)
#define TSAN __has_feature(thread_sanitizer)
#else
#define TSAN 0
#endif
#if TSAN
#undef PTHREAD_DESTRUCTOR_ITERATIONS
#define PTHREAD_DESTRUCTOR_ITERATIONS 3
#endif

/* Calls of the kernel come here: TSan hears of them, some are refused. */
static long al_syscall(long nr, long a, long b, long c, long d, long e, long f);
#define OS_SYSCALL al_syscall

#define ALLOC_PREFIX al_
#include "../allocator.c"
#include "prefixed.h"
#if TSAN
#include <sanitizer/tsan_interface.h>
#else
#define __tsan_acquire(p) ((void)(p))
#define __tsan_release(p) ((void)(p))
#endif

/* Pointers in our blocks are hidden from it: it would find leaks in libc. */
PUBLIC const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
	return "detect_leaks=0";
}

/*
 * Figures are read off heaps and slabs while these change: they are words that
 * are whole at any moment, those that lead on are not freed meanwhile, and a
 * figure that is out of date is what the manual says it may be. Their owners
 * can't write them by atomic stores: that takes more instructions in malloc.
 */
PUBLIC const char *__tsan_default_suppressions(void);
const char *__tsan_default_suppressions(void)
{
	return "race:count_heap\nrace:count_extent\n";
}

/* What is mapped, once al_reset was called; only one thread at a time then */
static struct range {
	uintptr_t start, end;
} ranges[1 << 14];
static unsigned range_count;
static bool watching;

static enum refusal refused;
static unsigned reports;

static void range_add(uintptr_t start, size_t len)
{
	if (range_count >= sizeof(ranges) / sizeof(*ranges))
		abort(); /* too many mappings */
	ranges[range_count++] = (struct range){ start, start + len };
}

static void range_drop(uintptr_t start, size_t len)
{
	uintptr_t end = start + len;

	for (unsigned i = range_count; i-- > 0;) {
		struct range *r = &ranges[i], old = *r;

		if (old.end <= start || old.start >= end)
			continue;
		*r = ranges[--range_count];
		if (old.start < start)
			range_add(old.start, start - old.start);
		if (old.end > end)
			range_add(end, old.end - end);
	}
}

static void range_watch(long nr, uintptr_t p, size_t len, size_t new, long ret)
{
	if (!watching || os_failed(ret))
		return;
	if (nr == SYS_munmap || nr == SYS_mremap)
		range_drop(p, len);
	if (nr == SYS_mremap)
		range_drop((uintptr_t)ret, new);
	if (nr == SYS_mmap || nr == SYS_mremap)
		range_add((uintptr_t)ret, nr == SYS_mmap ? len : new);
}

static enum refusal refusal_of(long nr)
{
	switch (nr) {
	case SYS_mmap: return REFUSE_MMAP;
	case SYS_munmap: return REFUSE_MUNMAP;
	case SYS_mremap: return REFUSE_MREMAP;
	case SYS_mprotect: return REFUSE_MPROTECT;
	case SYS_madvise: return REFUSE_MADVISE;
	default: return 0;
	}
}

/* TSan sees no system call: what is unmapped here may be mapped there next. */
static long al_syscall(long nr, long a, long b, long c, long d, long e, long f)
{
	static char order;
	long ret;

	if (refused & refusal_of(nr))
		return -ENOMEM;
	if (nr == SYS_write && a == STDERR_FILENO && report_only) {
		reports++;
		return c;
	}
	if (nr == SYS_munmap || nr == SYS_mremap)
		__tsan_release(&order);
	ret = os_syscall(nr, a, b, c, d, e, f);
	if (nr == SYS_mmap || nr == SYS_mremap)
		__tsan_acquire(&order);
	range_watch(nr, (uintptr_t)a, (size_t)b, (size_t)c, ret);
	return ret;
}

void al_refuse(enum refusal what)
{
	refused = what;
}

unsigned al_reports(void)
{
	return reports;
}

size_t al_held(void)
{
	return held_bytes();
}

size_t al_mapped(void)
{
	size_t sum = 0;

	for (unsigned i = 0; i < range_count; i++)
		sum += ranges[i].end - ranges[i].start;
	return sum;
}

/* The random bytes of a process are the same always: what fails fails again. */
static void no_chance(void)
{
	memset((void *)getauxval(AT_RANDOM), 7, 16);
}

void al_reset(size_t thresh, bool direct, unsigned check, size_t sample,
	      bool stop)
{
	for (watching = true; range_count > 0;) {
		const struct range *r = &ranges[--range_count];

		os_syscall(SYS_munmap, (long)r->start,
			   (long)(r->end - r->start), 0, 0, 0, 0);
	}
	memset(&os, 0, sizeof(os));
	memset(&heaps, 0, sizeof(heaps));
	heaps.last = &heaps.parked;
	memset(bins, 0, sizeof(bins));
	memset(pagemap, 0, sizeof(pagemap));
	spare_leaf = NULL;
	mark_salt = MARK_SALT;
	doubtful = false;
	tls.me = STUB;
	tls.mine = STUB;
	no_chance();
	os_syscall(SYS_mprotect, (long)&config, CONFIG_ALIGN,
		   PROT_READ | PROT_WRITE, 0, 0, 0);
	config = (struct config){ .value = { [OPT_thresh] = thresh,
					     [OPT_direct] = direct,
					     [OPT_check] = check,
					     [OPT_sample] = sample,
					     [OPT_abort] = stop } };
	reports = 0;
	opt_ready = false;
	engine_init();
}
