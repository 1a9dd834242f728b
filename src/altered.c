/*
 * altered.c - calls by which a program may alter its blocks: what is freed
 * after one of these is looked at, and comes back as new (see os_altered).
 *
 * Weak, so that a program that is linked statically may have its own.
 */
#ifndef ALLOC_PREFIX
#define NOTED_CALL(nr, a, b, c, d, ...) \
	os_syscall(nr, (long)(a), (long)(b), (long)(c), (long)(d), 0, 0)
#define NOTED(name, nr, params, ...) \
	__attribute__((weak, visibility("default"))) int name params \
	{ \
		long ret; \
\
		store_relaxed(&altered, true); \
		ret = NOTED_CALL(nr, __VA_ARGS__, 0, 0, 0); \
		if (!os_failed(ret)) \
			return (int)ret; \
		errno = (int)-ret; \
		return -1; \
	}

NOTED(mprotect, SYS_mprotect, (void *p, size_t len, int prot), p, len, prot)
NOTED(madvise, SYS_madvise, (void *p, size_t len, int advice), p, len, advice)
NOTED(mlock, SYS_mlock, (const void *p, size_t len), p, len)
NOTED(mlock2, SYS_mlock2, (const void *p, size_t len, unsigned flags), p, len,
      flags)
#ifdef __GLIBC__
/* Without a key the C library makes the other call, which no kernel lacks. */
NOTED(pkey_mprotect, key == -1 ? SYS_mprotect : SYS_pkey_mprotect,
      (void *p, size_t len, int prot, int key), p, len, prot, key)
#endif
#endif
