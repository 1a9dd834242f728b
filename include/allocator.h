/*
 * allocator.h - what the allocator offers a program: malloc and its kin.
 *
 * No program needs this to run on the library: LD_PRELOAD does that, and
 * <stdlib.h> and <malloc.h>, included here, declare most of the functions. This
 * declares the ones that some libc of today lacks, and says what each does. A
 * program that calls one its libc lacks is linked with the library itself:
 *
 *	cc program.c -L/usr/local/lib -lallocator -Wl,-rpath,/usr/local/lib
 */
#ifndef ALLOCATOR_H
#define ALLOCATOR_H

#include <malloc.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#define ALLOCATOR_VERSION "0.1.0"

/*
 * For all functions:
 *
 * Sizes and alignments are in bytes. A block starts at a multiple of 16, and
 * the functions are interchangeable: any thread may free or resize any block by
 * any of them, however it was made. A size of 0 makes a block, too.
 *
 * On failure they return NULL and set errno: ENOMEM when memory is out, or the
 * size (of an array, the product) is above PTRDIFF_MAX; EINVAL for a bad
 * alignment. errno is kept on success, and always by what frees.
 *
 * Any thread may call them at any time, and so may a child after fork(). A
 * signal handler should not, unless what it interrupts is no call of them.
 *
 * To free, resize or ask the size of anything but a live block is misuse: of a
 * foreign pointer, a misaligned one, one into a block, one freed before. So is
 * a write to a free block, which is noticed in the first 16 bytes of one up to
 * 64 KiB. Misuse ends the program: one line says what it was, then abort(). A
 * double free is found at the second free, or at the latest before the block
 * would be handed out twice; a write, when the block is about to be used again.
 * A write past the usable size of a block above 128 KiB is a SIGSEGV, but not
 * with ALLOC_DIRECT, nor where there are 10,000 such blocks. With ALLOC_CHECK=2
 * and 3 it is one from the next page on, and before it is reported at free.
 *
 * ALLOC_CHECK=2 and 3 see more; malloc_usable_size is exact then: what was
 * asked for. The size that free_sized and C++'s delete are given is compared
 * with it; it is ignored otherwise. With ALLOC_ABORT=0 misuse is reported, and
 * a call with a pointer to no live block does nothing (realloc gives NULL with
 * ENOMEM). A live block is freed or resized though it was damaged.
 */

/*
 * malloc(n), calloc(count, size): the latter's memory is zeroed.
 *
 * realloc(p, n), reallocarray(p, count, size): the contents stay, up to the
 * smaller size. NULL as p makes a block; else a size of 0 frees p and returns
 * NULL. When it fails, p is as it was.
 *
 * aligned_alloc(align, n): align is a power of two, n is any size.
 * memalign(align, n): rounds align up to a power of two. One above the largest
 * there is (2^63) is EINVAL.
 * posix_memalign(&p, align, n): align is a power of two, and 8 at least. It
 * returns 0, EINVAL or ENOMEM, and keeps errno; p is set only on success.
 * valloc(n): aligned to a page.
 *
 * free(p): nothing happens for NULL.
 *
 * malloc_usable_size(p): how many bytes the block has, n or more; all may be
 * used. 0 for NULL.
 *
 * mallinfo(), mallinfo2(), on glibc only: arena, the bytes of chunks; ordblks,
 * free small blocks; hblks and hblkhd, number and bytes of mappings; uordblks
 * and fordblks, bytes of chunks in use and not; keepcost, bytes cached; the
 * others are 0. In mallinfo() what an int can't hold is INT_MAX. These figures,
 * and those below, may miss what other threads do meanwhile.
 *
 * operator new, delete, all forms of C++17: as the standard has it, by way of
 * std::get_new_handler() and std::bad_alloc when memory is out.
 */

/* In C++ all declarations of a function agree on noexcept; glibc has it. */
#ifdef __GLIBC__
#define ALLOCATOR_NOTHROW __THROW
#else
#define ALLOCATOR_NOTHROW
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* C23; and SunOS of old. They free(p); the alignment is not looked at. */
void free_sized(void *p, size_t n) ALLOCATOR_NOTHROW;
void free_aligned_sized(void *p, size_t align, size_t n) ALLOCATOR_NOTHROW;
void cfree(void *p) ALLOCATOR_NOTHROW;

#ifndef __GLIBC__ /* which has these in <malloc.h> */
/* Aligned to a page; n is rounded up to whole pages, 0 to one. */
void *pvalloc(size_t n);

/*
 * Gives back to the kernel what lies all free: of this thread, of threads that
 * ended, in the cache. pad has no effect. 1: some went back, 0: there was none.
 */
int malloc_trim(size_t pad);

/*
 * Writes one line: allocator[PID], then name=number for bytes held, in use and
 * at the peak, the calls to the kernel, and what the cache saved. It goes to
 * the file of ALLOC_STATS, else to that of ALLOC_LOG, else to standard error.
 */
void malloc_stats(void);

/*
 * Writes XML on all sizes. 0; EINVAL when options is not 0; -1 when out had an
 * error, now or before.
 */
int malloc_info(int options, FILE *out);

/*
 * No effect. 1 for the parameters of glibc, -8 to 1 but not 0, unless -6,
 * M_PERTURB, is to fill; else 0.
 */
int mallopt(int param, int value);
#endif

#ifdef __cplusplus
}
#endif

#undef ALLOCATOR_NOTHROW

/*
 * Environment variables, read once at the first call. A bad value costs one
 * line and means the default, a name that begins like these and is none costs
 * one, too; an empty value is none. Programs that gain rights (set-user-ID and
 * the like) ignore them.
 *
 *	name          value       default
 *	ALLOC_THRESH  0 to 65536  200  freed blocks of OS memory kept for reuse
 *	ALLOC_DIRECT  0, 1        0    1: a mapping of its own for every block
 *	ALLOC_CHECK   1 to 3      1    2, 3: more misuse is found, at a price
 *	ALLOC_SAMPLE  0 to 1000000000  0  N: one block in N is a trap
 *	ALLOC_ABORT   0, 1        1    0: report misuse and go on
 *	ALLOC_DEEPBIND  0, 1      0    1: dlopen() keeps RTLD_DEEPBIND
 *	ALLOC_HELP    0, 1        0    1: print version, build and these first
 *	ALLOC_LOG     file             for all output, instead of standard error
 *	ALLOC_TRACE   file             a line for each call, if built in
 *	ALLOC_STATS   file             the line of malloc_stats(), at the end
 *
 * Files are appended to. %p in a name is the process id. A name has 216 bytes
 * at most.
 */

#endif
