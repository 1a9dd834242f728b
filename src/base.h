/*
 * base.h - system headers, attributes, atomics, and the constants of the
 * layout. Everything else may rely on what is asserted here.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dlfcn.h>
#include <elf.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define VERSION "0.1.0"

/*
 * LOGGER, TRACE_ON: 0 leaves the code out, 1 puts it in and switches it on,
 * undefined puts it in and leaves it to ALLOC_LOG and ALLOC_TRACE.
 */
#ifndef LOGGER
#define LOGGER 2
#endif
#ifndef TRACE_ON
#define TRACE_ON 2
#endif

/* CHECKS=0 leaves out all checks, to measure what they cost. */
#ifndef CHECKS
#define CHECKS 1
#endif
#define WRONG(x) (CHECKS && UNLIKELY(x))

#define LIKELY(x) __builtin_expect(!!(x), 1)
#define UNLIKELY(x) __builtin_expect(!!(x), 0)
/* Without -O gcc inlines only this, so all of a fast path must have it. */
#define INLINE static inline __attribute__((always_inline))
/* Keeps a rare path out of its caller's registers and cache lines. */
#define SLOW static __attribute__((noinline, cold))
/* Hot code starts on a cache line: malloc and free are 5 % faster for it. */
#define NOINLINE static __attribute__((noinline, aligned(64)))
#define PUBLIC __attribute__((visibility("default"), aligned(64)))
#define ALIAS(name) ALIAS_OF(name)
#define ALIAS_OF(name) __attribute__((alias(#name), visibility("default")))
#define CALLER __builtin_return_address(0)

/*
 * -DALLOC_PREFIX=al_ exports al_malloc and so on, and no name of C++ or glibc:
 * a program has this beside its malloc, such as that of a sanitizer.
 */
#ifdef ALLOC_PREFIX
#define NAME(name) NAME_OF(ALLOC_PREFIX, name)
#define NAME_OF(...) NAME_PASTE(__VA_ARGS__)
#define NAME_PASTE(prefix, name) prefix##name
#else
#define NAME(name) name
#endif

/* Every shared word goes through these; a field's comment says its order. */
#define load_relaxed(p) __atomic_load_n(p, __ATOMIC_RELAXED)
#define load_acquire(p) __atomic_load_n(p, __ATOMIC_ACQUIRE)
#define store_relaxed(p, v) __atomic_store_n(p, v, __ATOMIC_RELAXED)
#define store_release(p, v) __atomic_store_n(p, v, __ATOMIC_RELEASE)
/* For a word that is written under a lock, and read without. */
#define add_relaxed(p, n) store_relaxed(p, *(p) + (n))
#define exchange(p, v) __atomic_exchange_n(p, v, __ATOMIC_ACQ_REL)
#define cas(p, old, v) \
	__atomic_compare_exchange_n(p, old, v, false, __ATOMIC_ACQ_REL, \
				    __ATOMIC_RELAXED)

/* The same for two words at once, for which compilers would call a library. */
INLINE bool cas_pair(void *p, uintptr_t a, uintptr_t b, uintptr_t to_a,
		     uintptr_t to_b)
{
	bool done;
#ifdef __x86_64__
	__asm__ volatile("lock cmpxchg16b (%1)"
			 : "=@ccz"(done), "+r"(p), "+a"(a), "+d"(b)
			 : "b"(to_a), "c"(to_b)
			 : "memory");
#else
	uintptr_t x, y;

	__asm__ volatile("1: ldaxp %1, %2, [%3]; cmp %1, %4;"
			 "ccmp %2, %5, #0, eq; b.ne 2f;"
			 "stlxp %w1, %6, %7, [%3]; cbnz %w1, 1b;"
			 "2: cset %w0, eq"
			 : "=&r"(done), "=&r"(x), "=&r"(y)
			 : "r"(p), "r"(a), "r"(b), "r"(to_a), "r"(to_b)
			 : "cc", "memory");
#endif
	return done;
}

#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)

/*
 * Address space: a chunk is what the OS gives at once, a unit is what a slab
 * is made of and what the page map describes.
 */
#define UNIT_SHIFT 16
#define UNIT ((size_t)1 << UNIT_SHIFT)
#define CHUNK_SHIFT 22
#define CHUNK ((size_t)1 << CHUNK_SHIFT)
#define CHUNK_UNITS (CHUNK / UNIT)

/* Extents are of whole lines, and no shorter than a page: see extent.c. */
#define LINE ((size_t)64)
#define PAGE_SHIFT 12
#define PAGE ((size_t)1 << PAGE_SHIFT)
#define CHUNK_PAGES (CHUNK / PAGE)
#define UNIT_PAGES (UNIT / PAGE)

/* Sizes: slabs to SLAB_MAX, extents to EXTENT_MAX, else mappings. */
#define GRAIN 16
#define SLAB_MAX (8 * KIB)
#define EXTENT_MAX (256 * KIB + PAGE)

/* Size classes: each 16 bytes to 512, then 8 a doubling. */
#define LINEAR_SHIFT 9
#define SLAB_SHIFT 13
#define LINEAR_MAX (1 << LINEAR_SHIFT)
#define LINEAR_CLASSES (LINEAR_MAX / GRAIN)
#define CLASSES (LINEAR_CLASSES + (SLAB_SHIFT - LINEAR_SHIFT) * 8 + 1)

/* What lies in front of the user's memory in a mapping of its own. */
#define HEADER 64

_Static_assert(CHUNK_UNITS == 64, "a chunk's units are the bits of a word");
_Static_assert(SLAB_MAX == (size_t)1 << SLAB_SHIFT, "the last class");
_Static_assert(UNIT_PAGES == 16, "a unit's pages are the bits of a half-word");
_Static_assert(CLASSES << 4 <= 0x1000, "a class fits its bits of a tag");
_Static_assert(sizeof(void *) == 8, "64-bit only");

INLINE size_t round_up(size_t n, size_t to)
{
	return (n + to - 1) & ~(to - 1);
}

INLINE bool power_of_two(size_t n)
{
	return n && !(n & (n - 1));
}
