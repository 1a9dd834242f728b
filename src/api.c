/*
 * api.c - the malloc family: the only names the library exports.
 *
 * Each may be called by any thread at any time, by a program that mixes them
 * freely. Sizes and alignments are in bytes. What fails returns NULL with
 * errno ENOMEM, or EINVAL for an alignment that is no power of two; errno is
 * kept on success, and always by free. The C23 and glibc 2.36 manuals hold.
 * include nothing here: <malloc.h> declares what C programs need.
 */

PUBLIC void *malloc(size_t n)
{
	void *p = heap_pop(tls.me, n);

	return LIKELY(p != NULL) ? p : malloc_slow(n, CALLER);
}

PUBLIC void free(void *p)
{
	enum push pushed = heap_push(tls.me, p);

	if (UNLIKELY(pushed == PUSH_FULL))
		heap_free_full(tls.me, p);
	else if (UNLIKELY(pushed == PUSH_SLOW))
		free_slow(p, CALLER);
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

PUBLIC void *calloc(size_t count, size_t size)
{
	size_t n;
	void *p;

	if (UNLIKELY(__builtin_mul_overflow(count, size, &n)))
		n = SIZE_MAX; /* fails below */
	p = heap_pop(tls.me, n);
	if (UNLIKELY(!p))
		return calloc_slow(n, CALLER);
	return zero_block(p, n);
}

PUBLIC void *realloc(void *p, size_t n)
{
	return realloc_slow(p, n, CALLER);
}

PUBLIC void *reallocarray(void *p, size_t count, size_t size)
{
	size_t n;

	if (UNLIKELY(__builtin_mul_overflow(count, size, &n)))
		n = SIZE_MAX;
	return realloc_slow(p, n, CALLER);
}

PUBLIC void *aligned_alloc(size_t align, size_t n)
{
	if (!power_of_two(align)) {
		errno = EINVAL;
		return NULL;
	}
	return aligned_slow(align, n, CALLER);
}

/* glibc's memalign rounds a bad alignment up. */
PUBLIC void *memalign(size_t align, size_t n)
{
	if (!power_of_two(align)) {
		if (align > PTRDIFF_MAX) {
			errno = EINVAL;
			return NULL;
		}
		align = align ? (size_t)1 << (64 - __builtin_clzl(align)) : 1;
	}
	return aligned_slow(align, n, CALLER);
}

PUBLIC int posix_memalign(void **out, size_t align, size_t n)
{
	int err = errno;
	void *p;

	if (!power_of_two(align) || align < sizeof(void *))
		return EINVAL;
	p = aligned_slow(align, n, CALLER);
	errno = err;
	if (!p)
		return ENOMEM;
	*out = p;
	return 0;
}

PUBLIC void *valloc(size_t n)
{
	os_init();
	return aligned_slow(page_size, n, CALLER);
}

PUBLIC void *pvalloc(size_t n)
{
	os_init();
	if (n > PTRDIFF_MAX)
		n = SIZE_MAX;
	else
		n = round_up(n ? n : 1, page_size);
	return aligned_slow(page_size, n, CALLER);
}

PUBLIC size_t malloc_usable_size(void *p)
{
	return p ? block_size(p, USE_SIZE) : 0;
}

/* -- other names for free: what comes after the pointer is no more than a
 *    hint, which programs in the wild get wrong, and is not looked at. */

#ifndef __clang__
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wattribute-alias"
#pragma GCC diagnostic ignored "-Wmissing-attributes"
#endif

void cfree(void *p) ALIAS(free);
void free_sized(void *p, size_t n) ALIAS(free);
void free_aligned_sized(void *p, size_t align, size_t n) ALIAS(free);

/*
 * C++: operators delete and delete[], plain, nothrow, sized, aligned, and
 * sized and aligned. The names are those of the Itanium ABI; m is size_t.
 */
#define DELETE(name, ...) \
	void name(void *p, ##__VA_ARGS__); \
	void name(void *p, ##__VA_ARGS__) ALIAS(free)

DELETE(_ZdlPv);
DELETE(_ZdaPv);
DELETE(_ZdlPvm, size_t n);
DELETE(_ZdaPvm, size_t n);
DELETE(_ZdlPvRKSt9nothrow_t, const void *nothrow);
DELETE(_ZdaPvRKSt9nothrow_t, const void *nothrow);
DELETE(_ZdlPvSt11align_val_t, size_t align);
DELETE(_ZdaPvSt11align_val_t, size_t align);
DELETE(_ZdlPvmSt11align_val_t, size_t n, size_t align);
DELETE(_ZdaPvmSt11align_val_t, size_t n, size_t align);
DELETE(_ZdlPvSt11align_val_tRKSt9nothrow_t, size_t align, const void *nothrow);
DELETE(_ZdaPvSt11align_val_tRKSt9nothrow_t, size_t align, const void *nothrow);

/* glibc's own names for the family; in other libcs they mean other things. */
#ifdef __GLIBC__
#define LIBC(type, name, args) \
	type __libc_##name args; \
	type __libc_##name args ALIAS(name)

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

#ifndef __clang__
#pragma GCC diagnostic pop
#endif

/* -- C++: operators new and new[] */

/* libstdc++'s, when the program has it; the library itself needs none. */
typedef void new_handler(void);
new_handler *get_new_handler(void) __asm__("_ZSt15get_new_handlerv")
	__attribute__((weak));
_Noreturn void throw_bad_alloc(void) __asm__("_ZSt17__throw_bad_allocv")
	__attribute__((weak));

/* Memory is out: run the handler for as long as there is one, else throw. */
SLOW void *new_slow(size_t n, size_t align, const void *caller)
{
	void *p;

	while (!(p = aligned_slow(align, n, caller))) {
		new_handler *handler = get_new_handler ? get_new_handler() :
							 NULL;

		if (handler)
			handler();
		else if (throw_bad_alloc)
			throw_bad_alloc();
		else
			die("no memory and no C++ library to throw for", caller,
			    n);
	}
	return p;
}

INLINE void *new_plain(size_t n, const void *caller)
{
	void *p = heap_pop(tls.me, n);

	return LIKELY(p != NULL) ? p : new_slow(n, GRAIN, caller);
}

#define NEW(name, ...) \
	void *name(size_t n, ##__VA_ARGS__); \
	PUBLIC void *name(size_t n, ##__VA_ARGS__)

NEW(_Znwm)
{
	return new_plain(n, CALLER);
}

NEW(_Znam)
{
	return new_plain(n, CALLER);
}

NEW(_ZnwmSt11align_val_t, size_t align)
{
	return new_slow(n, align, CALLER);
}

NEW(_ZnamSt11align_val_t, size_t align)
{
	return new_slow(n, align, CALLER);
}

/*
 * These must catch what a handler throws, which C can't. libstdc++ has the one
 * form that we leave to it: that calls ours above, and catches.
 */
void *new_catching(size_t n, size_t align, const void *nothrow) __asm__(
	"_ZnwmSt11align_val_tRKSt9nothrow_t") __attribute__((weak));

static void *new_nothrow(size_t n, size_t align, const void *nothrow,
			 const void *caller)
{
	void *p = aligned_slow(align, n, caller);

	return p || !new_catching ? p : new_catching(n, align, nothrow);
}

NEW(_ZnwmRKSt9nothrow_t, const void *nothrow)
{
	return new_nothrow(n, GRAIN, nothrow, CALLER);
}

NEW(_ZnamRKSt9nothrow_t, const void *nothrow)
{
	return new_nothrow(n, GRAIN, nothrow, CALLER);
}

NEW(_ZnamSt11align_val_tRKSt9nothrow_t, size_t align, const void *nothrow)
{
	return new_nothrow(n, align, nothrow, CALLER);
}

/* -- statistics and tuning */

int mallopt(int param, int value);
int malloc_info(int flags, FILE *out);
int malloc_trim(size_t pad);
void malloc_stats(void);

PUBLIC int malloc_trim(size_t pad)
{
	(void)pad;
	return stat_trim();
}

/* glibc's parameters, M_ARENA_MAX to M_MXFAST, are accepted to no effect. */
PUBLIC int mallopt(int param, int value)
{
	(void)value;
	return param >= -8 && param <= 1 && param;
}

PUBLIC void malloc_stats(void)
{
	stat_print();
}

PUBLIC int malloc_info(int flags, FILE *out)
{
	return flags ? EINVAL : stat_xml(out);
}

#ifdef __GLIBC__
PUBLIC struct mallinfo2 mallinfo2(void)
{
	return stat_mallinfo();
}

/* The old form has int fields: what is too large reads INT_MAX. */
PUBLIC struct mallinfo mallinfo(void)
{
	struct mallinfo2 wide = stat_mallinfo();
	struct mallinfo m;
	const size_t *from = (const size_t *)&wide;
	int *to = (int *)&m;

	_Static_assert(sizeof(wide) / sizeof(*from) == sizeof(m) / sizeof(*to),
		       "the same fields");
	for (size_t i = 0; i < sizeof(m) / sizeof(*to); i++)
		to[i] = from[i] > INT32_MAX ? INT32_MAX : (int)from[i];
	return m;
}
#endif
