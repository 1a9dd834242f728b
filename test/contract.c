/*
 * contract.c - what each entry point promises: results, errno, limits.
 *
 * The promises are those of glibc 2.36 and of C23, with aligned_alloc() strict
 * about its alignment as later versions of glibc are.
 */
#include "test.h"
#include <dirent.h>
#include <glob.h>
#include <limits.h>
#include <locale.h>
#include <netdb.h>
#include <pthread.h>
#include <regex.h>
#include <time.h>
#include <wchar.h>

#define PAGE 4096

static void *by_posix_memalign(size_t align, size_t n)
{
	void *p = NULL;
	int code = posix_memalign(&p, align, n);

	if (code)
		errno = code;
	return p;
}

/* How to get a block: name, alignment, whether it is there, expression */
#define MAKERS(X) \
	X(malloc, 16, malloc, malloc(n)) \
	X(calloc_1n, 16, calloc, calloc(1, n)) \
	X(calloc_n1, 16, calloc, calloc(n, 1)) \
	X(realloc, 16, realloc, realloc(NULL, n)) \
	X(reallocarray, 16, reallocarray, reallocarray(NULL, n, 1)) \
	X(aligned_alloc, 64, aligned_alloc, aligned_alloc(64, n)) \
	X(memalign, 256, memalign, memalign(256, n)) \
	X(posix_memalign, 1024, posix_memalign, by_posix_memalign(1024, n)) \
	X(valloc, PAGE, valloc, valloc(n)) \
	X(pvalloc, PAGE, pvalloc, pvalloc(n)) \
	X(libc_malloc, 16, __libc_malloc, __libc_malloc(n)) \
	X(libc_calloc, 16, __libc_calloc, __libc_calloc(1, n)) \
	X(libc_realloc, 16, __libc_realloc, __libc_realloc(NULL, n)) \
	X(libc_memalign, 128, __libc_memalign, __libc_memalign(128, n)) \
	X(libc_valloc, PAGE, __libc_valloc, __libc_valloc(n)) \
	X(libc_pvalloc, PAGE, __libc_pvalloc, __libc_pvalloc(n))

/* C23 has no sizes for what pvalloc rounded up: then it is what is usable. */
static size_t sized(void *p, size_t n)
{
	return (uintptr_t)p % PAGE ? n : malloc_usable_size(p);
}

/* How to give a block back: name, whether it is there, expression */
#define FREERS(X) \
	X(free, free, free(p)) \
	X(cfree, cfree, cfree(p)) \
	X(free_sized, free_sized, free_sized(p, sized(p, n))) \
	X(free_aligned_sized, free_aligned_sized, \
	  free_aligned_sized(p, align, sized(p, n))) \
	X(libc_free, __libc_free, __libc_free(p)) \
	X(realloc_0, realloc, CHECK(!p || !realloc(p, 0))) \
	X(reallocarray_0, reallocarray, CHECK(!p || !reallocarray(p, 0, 8))) \
	X(libc_realloc_0, __libc_realloc, CHECK(!p || !__libc_realloc(p, 0)))

struct maker {
	const char *name;
	void *(*make)(size_t n);
	size_t align;
	void *there;
};

struct freer {
	const char *name;
	void (*give)(void *p, size_t align, size_t n);
	void *there;
};

#define X(id, align, there, expr) \
	static void *make_##id(size_t n) \
	{ \
		return expr; \
	}
MAKERS(X)
#undef X
#define X(id, there, expr) \
	static void give_##id(void *p, size_t align TEST_UNUSED, \
			      size_t n TEST_UNUSED) \
	{ \
		expr; \
	}
FREERS(X)
#undef X

static const struct maker makers[] = {
#define X(id, align, there, expr) { #id, make_##id, align, (void *)there },
	MAKERS(X)
#undef X
};
static const struct freer freers[] = {
#define X(id, there, expr) { #id, give_##id, (void *)there },
	FREERS(X)
#undef X
};

/* The next one that is there, the first one after NULL; NULL after the last */
static const struct maker *next_maker(const struct maker *m)
{
	for (m = m ? m + 1 : makers; m < makers + COUNT(makers); m++)
		if (m->there)
			return m;
	return NULL;
}

static const struct freer *next_freer(const struct freer *f)
{
	for (f = f ? f + 1 : freers; f < freers + COUNT(freers); f++)
		if (f->there)
			return f;
	return NULL;
}

static int aligned(const void *p, size_t align)
{
	return (uintptr_t)p % align == 0;
}

/* The value goes through a variable that the compiler can't look into. */
static size_t opaque(size_t n)
{
	volatile size_t hidden = n;

	return hidden;
}

/* Every name is there and comes from the object that malloc comes from. */
static void exports(void)
{
	/* clang-format off */
	static const char *const names[] = {
		"malloc", "free", "calloc", "realloc", "reallocarray",
		"aligned_alloc", "memalign", "posix_memalign", "valloc",
		"pvalloc", "malloc_usable_size", "mallinfo", "mallinfo2",
		"malloc_stats", "malloc_info", "malloc_trim", "mallopt",
		"__libc_malloc", "__libc_calloc", "__libc_realloc",
		"__libc_memalign", "__libc_valloc", "__libc_pvalloc",
		"__libc_free", "cfree", "free_sized", "free_aligned_sized",
	};
	/* clang-format on */
	Dl_info home, info;
	size_t i;

	CHECK(dladdr((void *)malloc, &home));
	for (i = 0; i < COUNT(names); i++) {
		void *sym = dlsym(RTLD_DEFAULT, names[i]);

		if (!sym && !test_replaced())
			continue;
		CHECKF(sym && dladdr(sym, &info), "%s is missing", names[i]);
		CHECKF(strcmp(info.dli_fname, home.dli_fname) == 0,
		       "%s comes from %s", names[i], info.dli_fname);
	}
}

static void zero_size(void)
{
	const struct maker *m;
	void *p, *q;

	for (m = next_maker(NULL); m; m = next_maker(m)) {
		p = m->make(0);
		q = m->make(0);
		CHECKF(p && q && p != q, "%s", m->name);
		CHECKF(aligned(p, m->align), "%s: %p", m->name, p);
		free(p);
		free(q);
	}
	p = calloc(0, opaque(SIZE_MAX));
	q = reallocarray(NULL, 0, opaque(SIZE_MAX));
	CHECK(p && q && p != q);
	free(p);
	free(q);
}

static void too_large(void)
{
	/* clang-format off */
	static const size_t sizes[] = {
		(size_t)PTRDIFF_MAX + 1, (size_t)PTRDIFF_MAX + 2 * PAGE,
		(size_t)PTRDIFF_MAX, (size_t)PTRDIFF_MAX - PAGE,
		SIZE_MAX, SIZE_MAX - 1, SIZE_MAX - 15, SIZE_MAX - 16,
		SIZE_MAX - 63, SIZE_MAX - PAGE, SIZE_MAX - 2 * PAGE,
		SIZE_MAX - MIB, SIZE_MAX - 8 * MIB, (size_t)1 << 47,
	};
	/* clang-format on */
	const struct maker *m;
	size_t i;

	for (m = next_maker(NULL); m; m = next_maker(m)) {
		for (i = 0; i < COUNT(sizes); i++) {
			errno = 0;
			CHECKF(!m->make(opaque(sizes[i])), "%s(%#zx)", m->name,
			       sizes[i]);
			CHECKF(errno == ENOMEM, "%s(%#zx)", m->name, sizes[i]);
		}
	}
}

static void product_overflow(void)
{
	/* clang-format off */
	static const size_t pairs[][2] = {
		{ SIZE_MAX, SIZE_MAX }, { SIZE_MAX / 2 + 1, 2 },
		{ 2, SIZE_MAX / 2 + 1 }, { SIZE_MAX, 2 },
		{ (size_t)1 << 32, (size_t)1 << 32 },
		{ ((size_t)1 << 32) + 1, ((size_t)1 << 32) + 1 },
		{ SIZE_MAX / 16 + 2, 16 }, { SIZE_MAX / 2, 2 },
	};
	/* clang-format on */
	char *p = malloc(100);
	size_t i, a, b;

	CHECK(p);
	test_fill(p, 100, 1);
	for (i = 0; i < COUNT(pairs); i++) {
		a = opaque(pairs[i][0]);
		b = opaque(pairs[i][1]);
		errno = 0;
		CHECKF(!calloc(a, b) && errno == ENOMEM, "%#zx, %#zx", a, b);
		errno = 0;
		CHECKF(!reallocarray(NULL, a, b) && errno == ENOMEM,
		       "%#zx, %#zx", a, b);
		errno = 0;
		CHECKF(!reallocarray(p, a, b) && errno == ENOMEM, "%#zx, %#zx",
		       a, b);
		CHECK(test_filled(p, 100, 1));
	}
	free(p);
}

/* A realloc that fails leaves the block as it was, whatever its size. */
static void realloc_fails(void)
{
	static const size_t sizes[] = { 1,     24,        1000,      5000,
					40000, 100 * KIB, 300 * KIB, 3 * MIB };
	static const size_t wanted[] = { SIZE_MAX, (size_t)PTRDIFF_MAX + 1,
					 (size_t)PTRDIFF_MAX, (size_t)1 << 47 };
	size_t i, k, usable;
	char *p;

	for (i = 0; i < COUNT(sizes); i++) {
		p = malloc(sizes[i]);
		CHECK(p);
		test_fill(p, sizes[i], i);
		usable = malloc_usable_size(p);
		for (k = 0; k < COUNT(wanted); k++) {
			errno = 0;
			CHECK(!realloc(p, opaque(wanted[k])));
			CHECK(errno == ENOMEM);
			CHECK(test_filled(p, sizes[i], i));
			CHECK(malloc_usable_size(p) == usable);
		}
		p = realloc(p, 2 * sizes[i]);
		CHECK(p && test_filled(p, sizes[i], i));
		free(p);
	}
}

static void null_pointer(void)
{
	const struct freer *f;
	void *p;

	errno = 1234;
	for (f = next_freer(NULL); f; f = next_freer(f))
		f->give(NULL, 16, 0);
	CHECK(malloc_usable_size(NULL) == 0);
	CHECK(errno == 1234);
	p = realloc(NULL, 10);
	CHECK(p && malloc_usable_size(p) >= 10);
	free(p);
}

static void *free_all(void *blocks)
{
	void **p = blocks;
	int i;

	errno = 1234;
	for (i = 0; i < 64; i++)
		free(p[i]);
	CHECK(errno == 1234);
	return NULL;
}

/* Neither a free nor a call that succeeds may touch errno. */
static void errno_kept(void)
{
	const struct maker *m = makers;
	const struct freer *f = freers;
	pthread_t thread;
	void *p[64];
	size_t n;
	int i;

	for (n = 0; n < 4 * MIB; n = n < 4 * KIB ? n + 1 : n + n / 9) {
		m = next_maker(m) ? next_maker(m) : makers;
		f = next_freer(f) ? next_freer(f) : freers;
		errno = 1234;
		p[0] = m->make(n);
		CHECKF(p[0] && errno == 1234, "%s(%zu)", m->name, n);
		p[1] = malloc(n);
		f->give(p[0], m->align, n);
		CHECKF(errno == 1234, "%s(%zu)", f->name, n);
		p[1] = realloc(p[1], n * 2 + 1);
		free(p[1]);
		CHECKF(errno == 1234, "realloc(%zu)", n * 2 + 1);
	}
	for (n = 8; n < 4 * MIB; n = n * 5 / 2) {
		for (i = 0; i < 64; i++)
			p[i] = malloc(n);
		CHECK(pthread_create(&thread, NULL, free_all, p) == 0);
		pthread_join(thread, NULL);
	}
}

static void posix_memalign_errors(void)
{
	static const size_t bad[] = { 0,      1,    2,        3,
				      4,      6,    7,        9,
				      12,     24,   40,       100,
				      4095,   4097, SIZE_MAX, SIZE_MAX / 2 + 2,
				      3 * MIB };
	void *const mark = &free_all;
	void *p;
	size_t i;

	for (i = 0; i < COUNT(bad); i++) {
		p = mark;
		errno = 1234;
		CHECKF(posix_memalign(&p, bad[i], 8) == EINVAL, "%zu", bad[i]);
		CHECKF(p == mark && errno == 1234, "%zu", bad[i]);
	}
	for (i = 8; i <= 256 * MIB; i *= 4) {
		p = mark;
		errno = 1234;
		CHECK(posix_memalign(&p, i, SIZE_MAX - 2 * i) == ENOMEM);
		CHECK(posix_memalign(&p, i, SIZE_MAX) == ENOMEM);
		CHECK(posix_memalign(&p, i, (size_t)PTRDIFF_MAX) == ENOMEM);
		CHECKF(p == mark && errno == ENOMEM, "%zu", i);
		errno = 1234;
		CHECK(posix_memalign(&p, i, 0) == 0);
		CHECKF(p && aligned(p, i) && errno == 1234, "%zu", i);
		free(p);
	}
	p = mark;
	CHECK(posix_memalign(&p, (size_t)1 << 62, 8) == ENOMEM && p == mark);
}

static void aligned_alloc_errors(void)
{
	static const size_t bad[] = {
		0, 3, 5, 6, 7, 24, 4095, 4097, SIZE_MAX, SIZE_MAX / 2 + 2
	};
	size_t i;
	void *p;

	for (i = 0; i < COUNT(bad); i++) {
		errno = 0;
		CHECKF(!aligned_alloc(opaque(bad[i]), 8), "%zu", bad[i]);
		CHECKF(errno == EINVAL, "%zu", bad[i]);
	}
	/* The size need not be a multiple of the alignment. */
	for (i = 1; i <= MIB; i *= 2) {
		p = aligned_alloc(i, i + 1);
		CHECKF(p && aligned(p, i), "%zu", i);
		free(p);
		p = aligned_alloc(i, i > 1 ? i - 1 : 0);
		CHECKF(p && aligned(p, i), "%zu", i);
		free(p);
	}
	errno = 0;
	CHECK(!aligned_alloc(opaque((size_t)1 << 62), 8) && errno == ENOMEM);
}

static void memalign_rounds(void)
{
	/* clang-format off */
	static const size_t pairs[][2] = {
		{ 0, 16 }, { 1, 16 }, { 3, 16 }, { 8, 16 }, { 17, 32 },
		{ 24, 32 }, { 33, 64 }, { 100, 128 }, { 4095, 4096 },
		{ 4097, 8192 }, { MIB + 1, 2 * MIB },
	};
	/* clang-format on */
	size_t i;
	void *p;

	for (i = 0; i < COUNT(pairs); i++) {
		p = memalign(opaque(pairs[i][0]), 100);
		CHECKF(p && aligned(p, pairs[i][1]), "%zu", pairs[i][0]);
		free(p);
	}
	errno = 0;
	CHECK(!memalign(8, opaque(SIZE_MAX)) && errno == ENOMEM);
	errno = 0;
	CHECK(!memalign(4096, opaque(SIZE_MAX)) && errno == ENOMEM);
	errno = 0;
	CHECK(!memalign(opaque(SIZE_MAX / 2 + 2), 8) && errno == EINVAL);
	errno = 0;
	CHECK(!memalign(opaque((size_t)1 << 62), 8) && errno == ENOMEM);
}

static void valloc_pages(void)
{
	static const size_t sizes[] = { 0,    1,        100,    PAGE - 1,
					PAGE, PAGE + 1, 100000, 3 * MIB + 1 };
	size_t i, usable;
	char *p;

	for (i = 0; i < COUNT(sizes); i++) {
		p = valloc(sizes[i]);
		CHECKF(p && aligned(p, PAGE), "%zu", sizes[i]);
		CHECK(malloc_usable_size(p) >= sizes[i]);
		free(p);
		p = pvalloc(sizes[i]);
		CHECKF(p && aligned(p, PAGE), "%zu", sizes[i]);
		usable = malloc_usable_size(p);
		CHECKF(usable >= (sizes[i] + PAGE - 1) / PAGE * PAGE,
		       "pvalloc(%zu) has %zu", sizes[i], usable);
		memset(p, 1, usable);
		free(p);
	}
}

/* Blocks of all sizes, 64 of them live at a time, by every entry point */
static void alignment(void)
{
	void *ring[64] = { NULL };
	const struct maker *m;
	size_t n, at = 0;

	for (m = next_maker(NULL); m; m = next_maker(m)) {
		for (n = 0; n <= 2 * MIB; n = n < 4096 ? n + 1 : 2 * n) {
			at = (at + 7) % 64;
			free(ring[at]);
			ring[at] = m->make(n);
			CHECKF(ring[at], "%s(%zu)", m->name, n);
			CHECKF(aligned(ring[at], m->align), "%s(%zu) = %p",
			       m->name, n, ring[at]);
		}
	}
	for (at = 0; at < 64; at++)
		free(ring[at]);
}

/* Touches all of a small block, of a large one a byte in each 64 KiB. */
static void touch(char *p, size_t n)
{
	size_t i, step = n <= MIB ? 1 : 64 * KIB;

	for (i = 0; i < n; i += step)
		p[i] = 1;
	p[n - 1] = 1;
}

static void huge_alignment_of(size_t align, size_t n)
{
	char *p = memalign(align, n), *q;
	void *room;

	if (!p) {
		/* Only for want of address space or memory to promise */
		CHECK(errno == ENOMEM);
		room = mmap(NULL, n + align, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		CHECKF(room == MAP_FAILED, "memalign(%zu, %zu)", align, n);
		return;
	}
	CHECKF(aligned(p, align), "memalign(%zu, %zu) = %p", align, n, p);
	CHECK(malloc_usable_size(p) >= n);
	touch(p, n);
	if (n <= 64 * MIB + 1) {
		q = realloc(p, n + n / 2);
		CHECK(q && q[0] == 1 && q[n - 1] == 1);
		touch(q, n + n / 2);
		p = realloc(q, n / 2 + 1);
		CHECK(p && p[0] == 1);
	}
	free(p);
}

static void huge_alignment(void)
{
	size_t align, before, after;

	free(memalign(PAGE, 1));
	before = test_status("VmSize:");
	for (align = 32; align <= GIB; align *= 2) {
		huge_alignment_of(align, 1);
		huge_alignment_of(align, align - 1);
		huge_alignment_of(align, align);
		huge_alignment_of(align, align + 1);
	}
	huge_alignment_of(PAGE, 64 * MIB);
	huge_alignment_of(2 * MIB, 64 * MIB);
	huge_alignment_of(GIB, 64 * MIB);
	malloc_trim(0);
	after = test_status("VmSize:");
	CHECKF(after < before + 32 * MIB, "%zu MiB of address space kept",
	       (after - before) / MIB);
}

/* Dirties `count` blocks of `n` bytes to their end, then wants zeroes. */
static void calloc_after_dirt(size_t n, int count, size_t align)
{
	char *p[8];
	int i;

	for (i = 0; i < count; i++) {
		p[i] = align ? memalign(align, n) : malloc(n);
		CHECK(p[i]);
		memset(p[i], 0xaa, malloc_usable_size(p[i]));
	}
	if (n > 64) {
		p[0] = realloc(p[0], n - n / 3);
		CHECK(p[0]);
	}
	for (i = 0; i < count; i++)
		free(p[i]);
	for (i = 0; i < count; i++) {
		p[i] = i % 2 ? calloc(n, 1) : calloc(1, n);
		CHECKF(p[i] && test_all(p[i], n, 0), "calloc(%zu)", n);
		memset(p[i], 0xaa, malloc_usable_size(p[i]));
	}
	for (i = 0; i < count; i++)
		free(p[i]);
}

static void calloc_zeroes(void)
{
	size_t n;

	for (n = 1; n <= 8 * MIB; n = test_next_size(n))
		calloc_after_dirt(n, n < 64 * KIB ? 8 : n < MIB ? 2 : 1, 0);
	for (n = 1; n <= 8 * MIB; n += n / 2 + 1)
		calloc_after_dirt(n, n < MIB ? 8 : 1, n % 2 ? 256 : PAGE);
}

/* From every size to every other, up and down, across all boundaries */
static void realloc_keeps(void)
{
	/* clang-format off */
	static const size_t sizes[] = {
		1, 8, 16, 17, 24, 64, 100, 128, 129, 500, 1024, 1025, 1152,
		2000, 4096, 4097, 8192, 8193, 20000, 32768, 32769, 50000,
		65536, 65537, 100000, 131072, 131073, 200000, 262145, 400000,
		524288, 1000000, MIB + 1, 2 * MIB, 2 * MIB + 1, 4 * MIB + 1,
	};
	/* clang-format on */
	size_t i, k, least;
	char *p;

	for (i = 0; i < COUNT(sizes); i++) {
		for (k = 0; k < COUNT(sizes); k++) {
			least = sizes[i] < sizes[k] ? sizes[i] : sizes[k];
			p = (i + k) % 5 ? malloc(sizes[i]) :
					  memalign(64 << k % 7, sizes[i]);
			CHECK(p);
			test_fill(p, sizes[i], i + k);
			p = realloc(p, sizes[k]);
			CHECK(p && malloc_usable_size(p) >= sizes[k]);
			CHECKF(test_filled(p, least, i + k), "%zu to %zu",
			       sizes[i], sizes[k]);
			p[sizes[k] - 1] = 1;
			free(p);
		}
	}
}

/* realloc(p, 0) frees: a million of them keep the process as small as ever. */
static void realloc_zero(void)
{
	static const size_t sizes[] = { 1, 100, 3000, 40000, 100000, 500000 };
	size_t before = 0;
	char *p;
	long i;

	for (i = 0; i < 1000000; i++) {
		if (i == 1000)
			before = test_rss();
		p = malloc(sizes[i % (i % 100 ? 3 : COUNT(sizes))]);
		CHECK(p);
		p[0] = 1;
		errno = 1234;
		CHECK(!realloc(p, 0) && errno == 1234);
	}
	CHECK(test_rss() < before + 4 * MIB);
}

/* A block that realloc moves leaves nothing behind, from and to any size. */
static void realloc_moves(void)
{
	static const size_t sizes[] = { 10, 400, 2000, 9000, 40000, 100000 };
	size_t before = 0;
	char *p;
	long i;

	for (i = 0; i < 60000; i++) {
		if (i == 1000)
			before = test_rss();
		p = malloc(sizes[i % COUNT(sizes)]);
		CHECK(p);
		p = realloc(p, 3 * sizes[i % COUNT(sizes)]);
		CHECK(p);
		p[0] = 1;
		free(p);
	}
	CHECK(test_rss() < before + 4 * MIB);
}

/* All of malloc_usable_size() is writable, constant, and kept by realloc. */
static void usable_size(void)
{
	size_t n, usable;
	char *p, *q;
	int twice;

	for (n = 1; n < 4 * MIB; n = n < 5000 ? n + 1 : n + n / 16) {
		for (twice = 0; twice < 2; twice++) {
			p = malloc(n);
			CHECK(p);
			usable = malloc_usable_size(p);
			CHECKF(usable >= n, "%zu of %zu", usable, n);
			test_fill(p, usable, n);
			CHECK(malloc_usable_size(p) == usable);
			q = realloc(p, twice ? 2 * usable : usable + 1);
			CHECKF(q && test_filled(q, usable, n), "%zu", n);
			usable = n / 2 + 1;
			q = realloc(q, usable);
			CHECK(q && malloc_usable_size(q) >= usable);
			CHECKF(test_filled(q, usable, n), "%zu", n);
			memset(q, 7, malloc_usable_size(q));
			free(q);
		}
	}
}

/* A block of any origin goes back by any door. */
static void interchange(void)
{
	static const size_t sizes[] = { 0,    1,     24,     100,    1000,
					5000, 33000, 100000, 300000, 2 * MIB };
	const struct maker *m;
	const struct freer *f;
	size_t i;
	char *p;

	for (m = next_maker(NULL); m; m = next_maker(m)) {
		for (f = next_freer(NULL); f; f = next_freer(f)) {
			for (i = 0; i < COUNT(sizes); i++) {
				p = m->make(sizes[i]);
				CHECKF(p, "%s(%zu)", m->name, sizes[i]);
				CHECK(malloc_usable_size(p) >= sizes[i]);
				memset(p, 1, sizes[i]);
				f->give(p, m->align, sizes[i]);
			}
		}
		p = realloc(m->make(100), 100000);
		CHECKF(p, "%s", m->name);
		free(p);
	}
}

/* A free that lost its block would grow the process. */
static void free_returns(void)
{
	const struct freer *f;
	size_t before, n;
	char *p;
	int i;

	for (f = next_freer(NULL); f; f = next_freer(f)) {
		for (n = 40; n <= 4 * MIB; n *= 10) {
			free(malloc(n));
			before = test_rss();
			for (i = 0; i < 20000; i++) {
				p = malloc(n);
				CHECK(p);
				p[0] = p[n - 1] = 1;
				f->give(p, 16, n);
			}
			CHECKF(test_rss() < before + 2 * MIB, "%s, %zu B",
			       f->name, n);
		}
	}
}

static void *first_calls(void *blocks)
{
	void **p = blocks;

	switch ((intptr_t)p[4]) {
	case 0: free(p[0]); break;
	case 1:
		p[0] = realloc(p[0], 5000);
		CHECK(p[0] && test_filled(p[0], 100, 1));
		free(p[0]);
		break;
	case 2:
		CHECK(malloc_usable_size(p[0]) >= 100);
		free(p[0]);
		break;
	default: CHECK(!realloc(p[0], 0));
	}
	free(p[1]);
	free(p[2]);
	p[3] = calloc(1, 100);
	CHECK(test_all(p[3], 100, 0));
	return NULL;
}

/* The first call of a thread may be the free of somebody else's block. */
static void first_of_thread(void)
{
	pthread_t thread;
	void *p[5];
	int i;

	for (i = 0; i < 400; i++) {
		p[0] = malloc(100);
		p[1] = malloc(100000);
		p[2] = malloc(MIB);
		p[4] = (void *)(intptr_t)(i % 4);
		CHECK(p[0] && p[1] && p[2]);
		test_fill(p[0], 100, 1);
		CHECK(pthread_create(&thread, NULL, first_calls, p) == 0);
		CHECK(pthread_join(thread, NULL) == 0);
		free(p[3]);
	}
}

/* The row to start a process with: -1 when there are no more. */
static int first_call(int row)
{
	int makes = COUNT(makers), frees = COUNT(freers);

	if (row < makes)
		return !makers[row].there || makers[row].make(100);
	row -= makes;
	if (row < frees) {
		if (freers[row].there)
			freers[row].give(NULL, 16, 0);
		return malloc(100) != NULL;
	}
	switch (row - frees) {
	case 0: return malloc_usable_size(NULL) == 0;
	case 1: return mallinfo2().uordblks < MIB;
	case 2: return (malloc_trim(0) & ~1) == 0;
	case 3: return mallopt(M_MMAP_THRESHOLD, 1 << 20) == 1;
	case 4: return malloc_stats(), 1;
	case 5: return malloc_info(0, stdout) == 0;
	case 6: return !malloc(opaque(SIZE_MAX)) && errno == ENOMEM;
	case 7: return !calloc(opaque(SIZE_MAX), 2) && errno == ENOMEM;
	case 8: return malloc(MIB) && malloc(100000);
	case 9: return memalign(8 * MIB, MIB) != NULL;
	default: return -1;
	}
}

static void first_call_here(void)
{
	int result = first_call(atoi(test_args[0]));
	int i;

	if (result < 0)
		_exit(200);
	CHECK(result);
	/* The heap has to be in order whatever came first. */
	for (i = 0; i < 1000; i++)
		free(malloc((size_t)i * 97));
}

static void first_of_process(void)
{
	char row[16];
	int i, code = 0;
	pid_t pid;

	for (i = 0; code != 200; i++) {
		snprintf(row, sizeof(row), "%d", i);
		pid = fork();
		CHECK(pid >= 0);
		if (pid == 0) {
			int null = open("/dev/null", O_WRONLY);

			dup2(null, 1);
			if (!getenv("VERBOSE"))
				dup2(null, 2);
			execl("/proc/self/exe", "contract", "first_call_here",
			      row, (char *)NULL);
			_exit(TEST_FAILED);
		}
		code = test_wait(pid);
		CHECKF(code == 0 || code == 200, "row %d ended with %d", i,
		       code);
	}
	CHECK(i > (int)COUNT(makers) + (int)COUNT(freers) + 5);
}

/* Calls before main, and before most constructors; only for its case */
__attribute__((constructor(101))) static void early(int argc, char **argv)
{
	void *p;

	if (argc < 2 || strcmp(argv[1], "constructor") != 0)
		return;
	free(NULL);
	p = realloc(NULL, 1);
	CHECK(p);
	free(p);
	CHECK(!realloc(malloc(10), 0));
}

static void count_exit(void)
{
}

/* 200 exit handlers make the C library allocate under its own lock. */
static void constructor(void)
{
	int i;

	for (i = 0; i < 200; i++)
		CHECK(atexit(count_exit) == 0);
	free(malloc(1));
}

static size_t live_bytes(void)
{
	struct mallinfo2 m = mallinfo2();

	return m.uordblks + m.hblkhd;
}

static int near(size_t value, size_t wanted)
{
	return value >= wanted && value <= wanted + wanted / 5 + 256 * KIB;
}

/* The figures rise by what is allocated and fall when it is freed. */
static void mallinfo2_figures(void)
{
	enum { SMALL = 4000, LARGE = 8 };
	static void *p[SMALL + LARGE];
	size_t i, start, full, end;
	struct mallinfo2 m;

	for (i = 0; i < 100; i++)
		free(malloc(i * 16));
	start = live_bytes();
	for (i = 0; i < SMALL; i++)
		p[i] = malloc(1000);
	full = live_bytes();
	CHECKF(near(full - start, SMALL * 1000), "%zu after %d small blocks",
	       full - start, SMALL);
	for (; i < SMALL + LARGE; i++)
		p[i] = malloc(2 * MIB);
	m = mallinfo2();
	full = live_bytes();
	CHECKF(near(full - start, SMALL * 1000 + LARGE * 2 * MIB), "%zu",
	       full - start);
	CHECK(m.hblks >= LARGE && m.hblkhd >= LARGE * 2 * MIB);
	CHECK(m.arena >= SMALL * 1000 && m.fordblks <= m.arena);
	for (i = 0; i < SMALL + LARGE; i++)
		free(p[i]);
	end = live_bytes();
	CHECKF(end < start + 128 * KIB, "%zu, and at first %zu", end, start);
	CHECK(mallinfo2().hblkhd < 2 * MIB);
}

static void *fill_array(void *array)
{
	void **p = array;
	int i;

	for (i = 0; i < 4000; i++)
		CHECK((p[i] = malloc(500)) != NULL);
	return NULL;
}

/* Blocks of a thread that has ended count until somebody frees them. */
static void mallinfo2_threads(void)
{
	static void *p[4000];
	size_t i, start, full, end;
	pthread_t thread;

	free(malloc(500));
	start = live_bytes();
	CHECK(pthread_create(&thread, NULL, fill_array, p) == 0);
	pthread_join(thread, NULL);
	full = live_bytes();
	CHECKF(near(full - start, 4000 * 500), "%zu", full - start);
	for (i = 0; i < 4000; i++)
		free(p[i]);
	end = live_bytes();
	CHECKF(end < start + 256 * KIB, "%zu, and at first %zu", end, start);
}

/* Of ALLOC_DIRECT=1: all blocks are mappings, and ordinary. */
static void mallinfo2_direct(void)
{
	enum { BLOCKS = 500 };
	static void *p[BLOCKS];
	struct mallinfo2 start = mallinfo2(), m;
	size_t i;

	for (i = 0; i < BLOCKS; i++)
		p[i] = malloc(1000);
	m = mallinfo2();
	CHECKF(m.uordblks >= start.uordblks + BLOCKS * 1000, "%zu after %zu",
	       m.uordblks, start.uordblks);
	CHECKF(!m.hblks && !m.hblkhd, "%zu, %zu", m.hblks, m.hblkhd);
	for (i = 0; i < BLOCKS; i++)
		free(p[i]);
	m = mallinfo2();
	CHECKF(m.uordblks <= start.uordblks, "%zu after %zu", m.uordblks,
	       start.uordblks);
	CHECK(m.ordblks > 100 && m.uordblks + m.fordblks == m.arena);
}

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
static void mallinfo_figures(void)
{
	struct mallinfo before = mallinfo(), after;
	void *p = malloc(3 * MIB), *q = malloc(1000);

	after = mallinfo();
	CHECK(p && q);
	CHECK(after.uordblks + after.hblkhd - before.uordblks - before.hblkhd >=
	      3 * (int)MIB);
	CHECK(after.hblks > before.hblks);
	free(p);
	free(q);
}
#pragma GCC diagnostic pop

/* What `say` writes to descriptor 2; at most what a pipe holds */
static size_t said(void (*say)(void), char *text, size_t size)
{
	int pipes[2], saved = dup(2);
	ssize_t n;

	CHECK(saved >= 0 && pipe(pipes) == 0);
	fflush(stderr);
	dup2(pipes[1], 2);
	say();
	fflush(stderr);
	dup2(saved, 2);
	close(saved);
	close(pipes[1]);
	n = read(pipes[0], text, size - 1);
	close(pipes[0]);
	CHECK(n >= 0);
	text[n] = '\0';
	return (size_t)n;
}

/* The largest number in a text */
static size_t largest_number(const char *s)
{
	size_t n, most = 0;
	char *end;

	while (*s) {
		if (*s < '0' || *s > '9') {
			s++;
			continue;
		}
		n = strtoul(s, &end, 10);
		most = n > most ? n : most;
		s = end;
	}
	return most;
}

static void stats_text(void)
{
	char text[16384];
	void *p = malloc(20 * MIB);
	size_t n;

	CHECK(p);
	n = said(malloc_stats, text, sizeof(text));
	CHECK(n > 0 && text[n - 1] == '\n');
	CHECKF(largest_number(text) >= 20 * MIB, "%s", text);
	free(p);
	close(2);
	malloc_stats();
}

/* Into a stream that itself allocates while it is written to */
static void info_stream(void)
{
	char *text = NULL;
	size_t size = 0;
	FILE *f = open_memstream(&text, &size);

	CHECK(f);
	CHECK(malloc_info(0, f) == 0);
	CHECK(fclose(f) == 0);
	CHECKF(strncmp(text, "<malloc version=", 16) == 0, "%.40s", text);
	CHECK(strstr(text, "</malloc>"));
	free(text);
	CHECK(malloc_info(1, stdout) == EINVAL);
}

/* For xmllint; some of all kinds is live. */
static void info_xml(void)
{
	size_t n;

	for (n = 1; n < 4 * MIB; n += n / 7 + 1)
		CHECK(malloc(n) && malloc(n));
	CHECK(malloc_info(0, stdout) == 0);
	fflush(stdout);
}

static void trim(void)
{
	enum { BLOCKS = 4000 };
	static void *p[BLOCKS];
	size_t i, full, start = test_rss();
	int result;

	for (i = 0; i < BLOCKS; i++) {
		p[i] = malloc(16000);
		CHECK(p[i]);
		memset(p[i], 1, 16000);
	}
	full = test_rss();
	CHECK(full > start + BLOCKS * 15000);
	for (i = 0; i < BLOCKS; i++)
		free(p[i]);
	result = malloc_trim(0);
	CHECKF(result == 0 || result == 1, "%d", result);
	CHECKF(test_rss() < start + 4 * MIB, "%zu of %zu KiB kept",
	       (test_rss() - start) / KIB, (full - start) / KIB);
	result = malloc_trim(1 << 20);
	CHECKF(result == 0 || result == 1, "%d", result);
}

static void options(void)
{
	CHECK(mallopt(M_MMAP_THRESHOLD, 256 * 1024) == 1);
	CHECK(mallopt(M_TRIM_THRESHOLD, 256 * 1024) == 1);
	CHECK(mallopt(M_TOP_PAD, 64 * 1024) == 1);
	CHECK(mallopt(M_MMAP_MAX, 1000) == 1);
	CHECK(mallopt(M_MXFAST, 64) == 1);
	CHECK(mallopt(M_ARENA_MAX, 2) == 1);
	CHECK(mallopt(M_PERTURB, 0) == 1);
	free(malloc(300 * KIB));
}

/* The statistics are ours: they must not wake glibc's idle heap. */
static void no_other_heap(void)
{
	static char text[1 << 16];
	size_t n = 0;
	ssize_t got;
	int fd, null = open("/dev/null", O_WRONLY);

	if (!test_replaced())
		SKIP("malloc is the C library's own");
	dup2(null, 2);
	free(malloc(100));
	malloc_trim(0);
	mallopt(M_ARENA_MAX, 1);
	malloc_stats();
	CHECK(mallinfo2().arena + mallinfo2().hblkhd > 0);
	fd = open("/proc/self/maps", O_RDONLY);
	while ((got = read(fd, text + n, sizeof(text) - 1 - n)) > 0)
		n += (size_t)got;
	CHECK(n > 0);
	CHECKF(!strstr(text, "[heap]"), "%s", text);
}

static int any_entry(const struct dirent *d)
{
	return d->d_name[0] != '\0';
}

static void libc_strings(void)
{
	char *s = strdup("abc"), *t = strndup("abcdef", 3), *u = NULL;
	wchar_t *w = wcsdup(L"abc");

	CHECK(s && t && w && strcmp(s, t) == 0);
	CHECK(asprintf(&u, "%s %0500d", s, 7) == 504);
	free(s);
	free(t);
	free(u);
	free(w);
	s = realpath("/proc/../tmp/.", NULL);
	t = getcwd(NULL, 0);
	u = get_current_dir_name();
	CHECK(s && t && u);
	free(s);
	free(realloc(t, 10000));
	free(u);
}

static void libc_streams(void)
{
	char *line = NULL, *text = NULL;
	size_t room = 0, size = 0;
	FILE *f = fopen("/proc/self/maps", "r");

	CHECK(f && setvbuf(f, NULL, _IOFBF, 100) == 0);
	while (getline(&line, &room, f) > 0)
		CHECK(malloc_usable_size(line) >= room);
	CHECK(fclose(f) == 0);
	f = open_memstream(&text, &size);
	CHECK(f);
	while (size < 100000)
		CHECK(fprintf(f, "%01000d", 5) == 1000 && fflush(f) == 0);
	CHECK(fclose(f) == 0 && strlen(text) == size);
	f = fmemopen(text, size, "r");
	line = realloc(line, room = 1);
	CHECK(f && getdelim(&line, &room, 'x', f) == (ssize_t)size);
	CHECK(fclose(f) == 0);
	free(line);
	free(text);
}

static void libc_tables(void)
{
	struct dirent **list;
	struct addrinfo *info;
	locale_t place;
	regex_t regex;
	glob_t found;
	int i, n = scandir("/proc/self", &list, any_entry, alphasort);

	CHECK(n > 2);
	for (i = 0; i < n; i++)
		free(list[i]);
	free(list);
	CHECK(glob("/proc/self/*", 0, NULL, &found) == 0);
	globfree(&found);
	CHECK(regcomp(&regex, "(a|b)*c{1,40}[[:alpha:]]", REG_EXTENDED) == 0);
	CHECK(regexec(&regex, "ababcccx", 0, NULL, 0) == 0);
	regfree(&regex);
	CHECK(getaddrinfo("127.0.0.1", "80", NULL, &info) == 0);
	freeaddrinfo(info);
	place = newlocale(LC_ALL_MASK, "C", NULL);
	CHECK(place);
	freelocale(place);
	CHECK(setenv("ALLOC_TEST_VARIABLE", "some value", 1) == 0);
	CHECK(unsetenv("ALLOC_TEST_VARIABLE") == 0);
}

static void *libc_all(void *arg)
{
	libc_strings();
	libc_streams();
	libc_tables();
	CHECK(!dlsym(RTLD_DEFAULT, "no_such_name_anywhere") && dlerror());
	return arg;
}

/* What the C library allocates we free, in the main thread and in others. */
static void libc_blocks(void)
{
	pthread_t threads[4];
	int i;

	CHECK(setlocale(LC_ALL, "C.UTF-8"));
	tzset();
	libc_all(NULL);
	for (i = 0; i < 4; i++)
		CHECK(pthread_create(&threads[i], NULL, libc_all, NULL) == 0);
	for (i = 0; i < 4; i++)
		CHECK(pthread_join(threads[i], NULL) == 0);
}

/* The sizes that C23 wants to hear at free, for each way to allocate */
static void sized_free(void)
{
	size_t n, align;
	char *p;

	if (!free_sized || !free_aligned_sized) {
		CHECK(!test_replaced());
		SKIP("this C library has no free_sized");
	}
	for (n = 0; n < 4 * MIB; n = n < 2000 ? n + 1 : n + n / 8) {
		p = n % 2 ? malloc(n) : calloc(1, n);
		CHECK(p);
		memset(p, 1, n);
		p = realloc(p, n + 1);
		CHECK(p);
		errno = 1234;
		free_sized(p, n + 1);
		align = (size_t)8 << n % 12;
		p = aligned_alloc(align, n);
		CHECK(p);
		free_aligned_sized(p, align, n);
		CHECK(errno == 1234);
	}
}

/* After requests that can't be met the heap serves those that can. */
static void goes_on_after_failure(void)
{
	void *p[100];
	int i, round;

	for (round = 0; round < 100; round++) {
		for (i = 0; i < 100; i++) {
			CHECK(!malloc(opaque((size_t)1 << 47)));
			CHECK(!memalign(opaque((size_t)1 << 48), 1 << 20));
			p[i] = calloc(1, (size_t)i * 1000 + 1);
			CHECK(p[i]);
		}
		for (i = 0; i < 100; i++)
			free(p[i]);
	}
}

#define CASES(X) \
	X(exports) \
	X(zero_size) \
	X(too_large) \
	X(product_overflow) \
	X(realloc_fails) \
	X(null_pointer) \
	X(errno_kept) \
	X(posix_memalign_errors) \
	X(aligned_alloc_errors) \
	X(memalign_rounds) \
	X(valloc_pages) \
	X(alignment) \
	X(huge_alignment) \
	X(calloc_zeroes) \
	X(realloc_keeps) \
	X(realloc_zero) \
	X(realloc_moves) \
	X(usable_size) \
	X(interchange) \
	X(free_returns) \
	X(first_of_thread) \
	X(first_of_process) \
	X(constructor) \
	X(mallinfo2_figures) \
	X(mallinfo2_threads) \
	X(mallinfo2_direct) \
	X(mallinfo_figures) \
	X(stats_text) \
	X(info_stream) \
	X(info_xml) \
	X(trim) \
	X(options) \
	X(no_other_heap) \
	X(libc_blocks) \
	X(sized_free) \
	X(goes_on_after_failure)

static const struct test cases[] = { CASES(TEST_ROW) };

/* Not in the table: it is for the children of first_of_process. */
static const struct test inner = { "first_call_here", first_call_here };

int main(int argc, char **argv)
{
	if (argc > 2 && strcmp(argv[1], inner.name) == 0)
		return test_main(&inner, 1, argc, argv);
	return test_main(cases, COUNT(cases), argc, argv);
}
