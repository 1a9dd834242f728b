/*
 * prefixed.h - the allocator as prefixed.c has it: al_malloc and so on, for
 * programs whose own malloc is that of a sanitizer.
 */
#ifndef PREFIXED_H
#define PREFIXED_H

#include <malloc.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

void *al_malloc(size_t n);
void *al_calloc(size_t count, size_t size);
void *al_realloc(void *p, size_t n);
void *al_reallocarray(void *p, size_t count, size_t size);
void *al_aligned_alloc(size_t align, size_t n);
void *al_memalign(size_t align, size_t n);
int al_posix_memalign(void **out, size_t align, size_t n);
void *al_valloc(size_t n);
void *al_pvalloc(size_t n);
void al_free(void *p);
void al_cfree(void *p);
void al_free_sized(void *p, size_t n);
void al_free_aligned_sized(void *p, size_t align, size_t n);
size_t al_malloc_usable_size(void *p);
int al_malloc_trim(size_t pad);
int al_malloc_info(int options, FILE *out);
struct mallinfo2 al_mallinfo2(void);

/*
 * Back to what was before the first call, with these values of ALLOC_THRESH,
 * ALLOC_DIRECT, ALLOC_CHECK, ALLOC_SAMPLE, ALLOC_ABORT. All threads but this
 * have ended; all they had is gone. So what an input does to a fuzzer's process
 * is nothing to the next: what fails there will fail alone.
 */
void al_reset(size_t thresh, bool direct, unsigned check, size_t sample,
	      bool stop);

/* Reports of misuse since then; without `stop` they are not printed. */
unsigned al_reports(void);

/* Bytes of OS memory in use or cached; bytes mapped since al_reset, for all */
size_t al_held(void);
size_t al_mapped(void);

/* From now on the kernel refuses these calls. */
enum refusal {
	REFUSE_NOTHING,
	REFUSE_MMAP = 1,
	REFUSE_MUNMAP = 2,
	REFUSE_MREMAP = 4,
	REFUSE_MPROTECT = 8,
	REFUSE_MADVISE = 16,
	REFUSE_ALL = 31
};
void al_refuse(enum refusal what);

#endif
