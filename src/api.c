/*
 * api.c - the malloc family: all names that the library exports but one.
 *
 * Any thread may call them at any time. What fails returns NULL with errno
 * ENOMEM, or EINVAL for an alignment that is no power of two; errno is kept on
 * success, and always by free. The C23 and glibc 2.36 manuals hold.
 */
PUBLIC void *NAME(malloc)(size_t n)
{
	void *p = heap_pop(tls.me, n, MARK_SALT);

	return LIKELY(p != NULL) ? p : alloc_slow(n, GRAIN, CALLER);
}

PUBLIC void NAME(free)(void *p)
{
	if (UNLIKELY(!heap_push(tls.me, p)))
		free_slow(p, CALLER);
}

PUBLIC void NAME(free_sized)(void *p, size_t n)
{
	if (UNLIKELY(!heap_push(tls.me, p)))
		free_sized_slow(p, n, CALLER);
}

/* Bytes in all; on overflow, more than there ever are. */
INLINE size_t array_size(size_t count, size_t size)
{
	size_t n;

	return UNLIKELY(__builtin_mul_overflow(count, size, &n)) ? SIZE_MAX : n;
}

/* Zero a block: up to 64 bytes without a call, by overlapping stores. */
INLINE void *zero_block(char *p, size_t n)
{
	typedef uint64_t pair __attribute__((vector_size(16), may_alias));
	const pair zero = { 0, 0 };
	size_t last = (n - 1) & ~(size_t)(GRAIN - 1);

	if (UNLIKELY(n > 64))
		return memset(p, 0, n);
	if (n > 32) {
		*(pair *)(p + 16) = zero;
		*(pair *)(p + last - 16) = zero;
	}
	*(pair *)p = zero;
	*(pair *)(p + last) = zero;
	return p;
}

PUBLIC void *NAME(calloc)(size_t count, size_t size)
{
	size_t n = array_size(count, size);
	void *p = heap_pop(tls.me, n, MARK_SALT);

	return LIKELY(p != NULL) ? zero_block(p, n) : calloc_slow(n, CALLER);
}

PUBLIC void *NAME(realloc)(void *p, size_t n)
{
	void *q = p ? heap_resize(tls.me, p, n) :
		      heap_pop(tls.me, n, MARK_SALT);

	return LIKELY(q != NULL) ? q : realloc_slow(p, n, CALLER);
}

PUBLIC void *NAME(reallocarray)(void *p, size_t count, size_t size)
{
	return realloc_slow(p, array_size(count, size), CALLER);
}

static void *bad_alignment(void)
{
	errno = EINVAL;
	return NULL;
}

PUBLIC void NAME(free_aligned_sized)(void *p, size_t align, size_t n)
{
	(void)align;
	NAME(free_sized)(p, n);
}

PUBLIC void *NAME(aligned_alloc)(size_t align, size_t n)
{
	return power_of_two(align) ? alloc_aligned(n, align, CALLER) :
				     bad_alignment();
}

/* glibc's memalign rounds a bad alignment up. */
PUBLIC void *NAME(memalign)(size_t align, size_t n)
{
	size_t power = GRAIN;

	while (power && power < align)
		power *= 2;
	return power ? alloc_aligned(n, power, CALLER) : bad_alignment();
}

PUBLIC int NAME(posix_memalign)(void **out, size_t align, size_t n)
{
	void *p;

	if (!power_of_two(align) || align < sizeof(void *))
		return EINVAL;
	/* Programs look for ENOMEM in errno, too, where glibc leaves it. */
	p = alloc_aligned(n, align, CALLER);
	if (p)
		*out = p;
	return p ? 0 : ENOMEM;
}

PUBLIC void *NAME(valloc)(size_t n)
{
	os_init();
	return alloc_aligned(n, page_size, CALLER);
}

PUBLIC void *NAME(pvalloc)(size_t n)
{
	os_init();
	n = n > PTRDIFF_MAX ? SIZE_MAX : round_up(n ? n : 1, page_size);
	return alloc_aligned(n, page_size, CALLER);
}

PUBLIC size_t NAME(malloc_usable_size)(void *p)
{
	size_t n = p ? block_size(p, USE_SIZE) : 0;

	return n == NO_BLOCK ? 0 : n;
}

/*
 * glibc's parameters, M_ARENA_MAX to M_MXFAST, are accepted to no effect; but
 * who asks M_PERTURB to fill memory would look for what is there.
 */
PUBLIC int NAME(mallopt)(int param, int value)
{
	return param >= -8 && param <= 1 && param && (param != -6 || !value);
}

/* -- other names. An alignment, and what programs in the wild get wrong of the
 *    size, is not looked at: only ALLOC_CHECK=2 and 3 report that. */

#ifndef __clang__
#pragma GCC diagnostic ignored "-Wattribute-alias"
#pragma GCC diagnostic ignored "-Wmissing-attributes"
#endif

int NAME(malloc_trim)(size_t pad) ALIAS(stat_trim);
void NAME(malloc_stats)(void) ALIAS(stat_print);
int NAME(malloc_info)(int flags, FILE *out) ALIAS(stat_xml);

void NAME(cfree)(void *p) ALIAS(NAME(free));

#ifdef __GLIBC__
struct mallinfo2 NAME(mallinfo2)(void) ALIAS(stat_mallinfo2);
struct mallinfo NAME(mallinfo)(void) ALIAS(stat_mallinfo);
#endif

#ifndef ALLOC_PREFIX
/* glibc's own names for the family; in other libcs they mean other things. */
#ifdef __GLIBC__
#define LIBC(type, name, params) type __libc_##name params ALIAS(name)
LIBC(void *, malloc, (size_t n));
LIBC(void, free, (void *p));
LIBC(void *, calloc, (size_t count, size_t size));
LIBC(void *, realloc, (void *p, size_t n));
LIBC(void *, memalign, (size_t align, size_t n));
LIBC(void *, valloc, (size_t n));
LIBC(void *, pvalloc, (size_t n));
LIBC(int, mallopt, (int param, int value));
LIBC(struct mallinfo, mallinfo, (void));
#endif
#endif
