/*
 * pages.h - the library as on a machine with larger pages: it is compiled with
 * this in front (-include), and with PAGE defined.
 *
 * AT_PAGESZ reads PAGE, mappings start at multiples of it, and the process ends
 * when a call has an address or length that is none. A real kernel says EINVAL
 * then, or takes the whole page. Each call is made once by the library's code
 * itself, for inject.h to see it; what is done besides goes through libc.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <stdlib.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static unsigned long pages_auxval(unsigned long type)
{
	return type == AT_PAGESZ ? PAGE : getauxval(type);
}

static inline long pages_kernel(long, long, long, long, long, long, long);

/* `len` bytes at a multiple of PAGE, or a negative error number */
static long pages_reserve(long len, long flags)
{
	long p = syscall(SYS_mmap, 0, len + PAGE, PROT_READ | PROT_WRITE, flags,
			 -1, 0);
	long start = (p + PAGE - 1) & -PAGE;

	if (p == -1)
		return -errno;
	if (start > p)
		syscall(SYS_munmap, p, start - p);
	syscall(SYS_munmap, start + len, p + PAGE - start);
	return start;
}

static long pages_mmap(long len, long prot, long flags)
{
	long p = pages_kernel(SYS_mmap, 0, len, prot, flags, -1, 0);

	if (p > -4096 && p < 0)
		return p;
	if (p % PAGE == 0)
		return p;
	syscall(SYS_munmap, p, len);
	return pages_reserve(len, flags);
}

/* Where to must be known before, for it to be a multiple. */
static long pages_mremap(long from, long old, long len, long flags, long to)
{
	int move = (flags & MREMAP_MAYMOVE) && !(flags & MREMAP_FIXED);
	long p;

	if (move)
		to = pages_reserve(len, MAP_PRIVATE | MAP_ANONYMOUS);
	if (to > -4096 && to < 0)
		return to;
	p = pages_kernel(SYS_mremap, from, old, len,
			 move ? flags | MREMAP_FIXED : flags, to, 0);
	if (move && p != to)
		syscall(SYS_munmap, to, len);
	return p;
}

static long pages_syscall(long nr, long a, long b, long c, long d, long e,
			  long f)
{
	int err = errno;
	long ret;

	switch (nr) {
	case SYS_mmap:
	case SYS_munmap:
	case SYS_mprotect:
	case SYS_madvise:
	case SYS_mincore:
	case SYS_mremap:
		if (a % PAGE || (b % PAGE && nr != SYS_mincore) ||
		    (c % PAGE && nr == SYS_mremap))
			abort();
	}
	ret = nr == SYS_mmap   ? pages_mmap(b, c, d) :
	      nr == SYS_mremap ? pages_mremap(a, b, c, d, e) :
				 pages_kernel(nr, a, b, c, d, e, f);
	errno = err;
	return ret;
}

#define getauxval pages_auxval

/*
 * os.c defines os_syscall(long nr, ...) and calls os_syscall(NUMBER, ...). Both
 * get another name: where the first argument begins with `long` it is that of
 * the definition.
 */
#define PAGES_DEFINES_long ~, pages_kernel,
#define PAGES_SECOND(a, b, ...) b
#define PAGES_PICK(...) PAGES_SECOND(__VA_ARGS__)
#define os_syscall(nr, ...) \
	PAGES_PICK(PAGES_DEFINES_##nr, pages_syscall, ~)(nr, __VA_ARGS__)
