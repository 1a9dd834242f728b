/*
 * load.h - a mixed workload that verifies every byte, for fault.c.
 *
 * Any call may find no memory: then it has to say NULL and ENOMEM and to leave
 * the old block as it was. All others, and free, keep errno. A block's contents
 * depend on its number and on the place in it; they are verified whole before
 * the block is resized or freed, by whatever thread does that.
 */
#ifndef LOAD_H
#define LOAD_H

#include "test.h"
#include <pthread.h>
#include <stdatomic.h>

enum { SENTINEL = 1234, WORKERS = 2, SLOTS = 48, POSTS = 32, PILE = 2400 };

struct held {
	char *p;
	size_t n;
	uint64_t id;
};

/* How to get a block; above these, an alignment */
enum { BY_MALLOC, BY_CALLOC, BY_ALIGN };

static atomic_long load_nulls; /* calls that had no memory */
static size_t load_pile = PILE;

static void fill(const struct held *b, size_t from)
{
	uint64_t *word = (uint64_t *)(void *)b->p, last;
	uint64_t seed = b->id * 0x9e3779b97f4a7c15ull;
	size_t i;

	for (i = from / 8; i < b->n / 8; i++)
		word[i] = seed + i * 0x0101010101010101ull;
	last = seed + i * 0x0101010101010101ull;
	memcpy(word + i, &last, b->n % 8);
}

/* The first `n` bytes are what they were. */
static int intact(const struct held *b, size_t n)
{
	const uint64_t *word = (const uint64_t *)(const void *)b->p;
	uint64_t seed = b->id * 0x9e3779b97f4a7c15ull, wrong = 0, last;
	size_t i;

	for (i = 0; i < n / 8; i++)
		wrong |= word[i] ^ (seed + i * 0x0101010101010101ull);
	last = seed + i * 0x0101010101010101ull;
	return !wrong && memcmp(word + i, &last, n % 8) == 0;
}

/* What a call returned after errno was set to SENTINEL */
static int got(const void *p, const char *call, size_t n)
{
	if (p) {
		CHECKF(errno == SENTINEL, "%s of %zu", call, n);
		return 1;
	}
	CHECKF(errno == ENOMEM, "%s of %zu", call, n);
	load_nulls++;
	return 0;
}

static void block_new(struct held *b, size_t n, size_t how)
{
	static atomic_ulong ids;
	char *p;

	errno = SENTINEL;
	p = how == BY_MALLOC ? malloc(n) :
	    how == BY_CALLOC ? calloc(1, n) :
			       memalign(how, n);
	b->p = NULL;
	if (!got(p, "a block", n))
		return;
	CHECKF(how != BY_CALLOC || test_all(p, n, 0), "calloc %zu", n);
	CHECKF((uintptr_t)p % (how > 16 ? how : 16) == 0, "%p", (void *)p);
	CHECKF(malloc_usable_size(p) >= n, "%zu", n);
	*b = (struct held){ p, n, ++ids };
	fill(b, 0);
}

static void block_resize(struct held *b, size_t n)
{
	size_t old = b->n;
	char *p;

	CHECKF(intact(b, old), "%zu bytes, before realloc", old);
	errno = SENTINEL;
	p = realloc(b->p, n);
	if (!got(p, "realloc", n)) {
		CHECKF(intact(b, old), "%zu bytes, realloc failed", old);
		return;
	}
	b->p = p;
	b->n = n;
	CHECKF(intact(b, n < old ? n : old), "from %zu to %zu", old, n);
	if (n > old)
		fill(b, old);
}

static void block_drop(struct held *b)
{
	if (!b->p)
		return;
	CHECKF(intact(b, b->n), "%zu bytes, before free", b->n);
	errno = SENTINEL;
	free(b->p);
	CHECKF(errno == SENTINEL, "free of %zu", b->n);
	b->p = NULL;
}

static void drop_all(struct held *b, size_t count)
{
	while (count--)
		block_drop(&b[count]);
}

/* Blocks of every size; then zeroed ones, where those were */
static void load_sizes(void)
{
	static struct held b[12];
	size_t n, i, count;

	for (n = 1; n < MIB; n += n / 5 * 3 + 1) {
		count = n < 50 * KIB ? COUNT(b) : 3;
		for (i = 0; i < count; i++)
			block_new(&b[i], n, i % 4 ? 0 : (size_t)32 << i);
		drop_all(b, count);
		for (i = 0; i < count; i++)
			block_new(&b[i], n, BY_CALLOC);
		drop_all(b, count);
	}
}

/* A block that grows in large and in small steps, then shrinks */
static void load_resize(void)
{
	struct held b, wall = { NULL, 0, 0 };
	size_t n;

	block_new(&b, 40, BY_MALLOC);
	for (n = 60; b.p && n < 700 * KIB; n += n / 2)
		block_resize(&b, n);
	for (; b.p && n < 2 * MIB; n += 90 * KIB) {
		block_resize(&b, n);
		block_drop(&wall);
		block_new(&wall, n / 5, BY_MALLOC);
	}
	for (; b.p && n > 1; n -= n / 3 + 1)
		block_resize(&b, n);
	block_drop(&b);
	block_drop(&wall);
}

static void load_aligned(void)
{
	struct held b[2];
	size_t align;

	for (align = 32; align <= 8 * MIB; align *= 4) {
		block_new(&b[0], align / 16 + 1, align);
		block_new(&b[1], 70000, align);
		if (b[0].p)
			block_resize(&b[0], align / 8 + 1000);
		drop_all(b, 2);
	}
}

/* Chunks of small blocks that become empty; a part lives on for a while */
static void load_chunks(void)
{
	static struct held b[PILE];
	size_t i;

	for (i = 0; i < load_pile; i++)
		block_new(&b[i], 500 + i * 37 % 6500, BY_MALLOC);
	for (i = 0; i < load_pile; i++)
		if (i % 16)
			block_drop(&b[i]);
	for (i = 0; i < 40 && i * 16 < load_pile; i++)
		block_new(&b[i * 16 + 1], 65000 + i * 1600, BY_MALLOC);
	drop_all(b, load_pile);
}

/* The kernel has to make several mappings of one. */
static void split(const struct held *b)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	uintptr_t at = ((uintptr_t)b->p + b->n / 2) & -page;

	if (b->p)
		syscall(SYS_madvise, (void *)at, page, MADV_DONTFORK);
}

/* Large blocks out of the pages of freed ones, and parts of them */
static void load_pieces(void)
{
	struct held b[12], large[2];
	size_t i;

	for (i = 0; i < COUNT(b); i++)
		block_new(&b[i], 150 * KIB + i * 30 * KIB, BY_MALLOC);
	split(&b[COUNT(b) - 2]);
	for (i = 0; i < COUNT(b); i += 2)
		block_drop(&b[i]);
	block_new(&large[0], MIB, BY_MALLOC);
	drop_all(b, COUNT(b));
	block_new(&large[1], 2 * MIB, BY_CALLOC);
	block_drop(&large[1]);
	block_new(&large[1], 300 * KIB, BY_MALLOC);
	drop_all(large, 2);
}

/* What is mapped from now on lies 4 GiB away, if there is room for that. */
static void *barrier(void)
{
	/* Shared, for it to be one mapping whatever is beside it */
	return mmap(NULL, 4 * GIB, PROT_NONE,
		    MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
}

/*
 * The page map has a leaf for every 4 GiB: a block that is new there needs one
 * more, and so does a block that is moved there.
 */
static void load_far(void)
{
	void *first, *second;
	struct held b[2];

	block_new(&b[0], MIB, BY_MALLOC);
	first = barrier();
	block_new(&b[1], MIB, BY_MALLOC);
	second = barrier();
	if (b[0].p)
		block_resize(&b[0], 2 * MIB);
	drop_all(b, 2);
	if (first != MAP_FAILED)
		CHECK(munmap(first, 4 * GIB) == 0);
	if (second != MAP_FAILED)
		CHECK(munmap(second, 4 * GIB) == 0);
}

static struct held posts[POSTS];
static pthread_mutex_t posts_lock = PTHREAD_MUTEX_INITIALIZER;

/* Swaps with what others left in one of the posts. */
static void trade(struct held *b, size_t post)
{
	struct held old;

	pthread_mutex_lock(&posts_lock);
	old = posts[post];
	posts[post] = *b;
	pthread_mutex_unlock(&posts_lock);
	*b = old;
}

static size_t any_size(uint64_t r)
{
	size_t top = r % 16 < 11 ? KIB :
		     r % 16 < 14 ? 64 * KIB :
		     r % 16 < 15 ? 128 * KIB :
				   MIB / 2;

	return 1 + (r >> 8) % top;
}

static void mix(struct held *slots, uint64_t seed, int steps)
{
	uint64_t r;

	while (steps--) {
		struct held *b = &slots[(r = test_random(&seed)) % SLOTS];

		if (r >> 61 == 0)
			trade(b, (r >> 40) % POSTS);
		else if (!b->p)
			block_new(b, any_size(r >> 6),
				  r >> 60 < 8  ? BY_MALLOC :
				  r >> 60 < 12 ? BY_CALLOC :
						 (size_t)32 << (r >> 50) % 8);
		else if (r >> 60 < 8)
			block_resize(b, any_size(r >> 6));
		else
			block_drop(b);
	}
}

static struct worker {
	pthread_t id;
	pthread_barrier_t meet; /* with main */
	int runs;
	struct held slots[SLOTS];
	char stack[256 * 1024] __attribute__((aligned(65536)));
} workers[WORKERS];

static struct held sleepers[PILE];

/* What the first leaves is freed while it sleeps, or when it is gone. */
static void *work(void *arg)
{
	struct worker *w = arg;
	size_t i;

	block_new(&w->slots[0], 100, BY_MALLOC);
	for (i = 0; w == workers && i < load_pile; i++)
		block_new(&sleepers[i], 1100 + i % 90, BY_MALLOC);
	pthread_barrier_wait(&w->meet);
	pthread_barrier_wait(&w->meet);
	mix(w->slots, (uint64_t)(w - workers) + 7, 300);
	return NULL;
}

/* On a stack of ours: the C library is to map nothing. */
static void worker_start(struct worker *w)
{
	pthread_attr_t attr;

	CHECK(pthread_barrier_init(&w->meet, NULL, 2) == 0);
	CHECK(pthread_attr_init(&attr) == 0);
	CHECK(pthread_attr_setstack(&attr, w->stack, sizeof(w->stack)) == 0);
	w->runs = pthread_create(&w->id, &attr, work, w) == 0;
	pthread_attr_destroy(&attr);
	if (w->runs)
		pthread_barrier_wait(&w->meet);
}

/* All are there before the first goes: the number of heaps is always that. */
static void load_threads(void)
{
	static struct held own[SLOTS];
	struct worker *w;

	for (w = workers; w < workers + WORKERS; w++)
		worker_start(w);
	drop_all(sleepers, load_pile);
	malloc_trim(0); /* all of it is sent home while its owner sleeps */
	for (w = workers; w < workers + WORKERS; w++)
		if (w->runs)
			pthread_barrier_wait(&w->meet);
	mix(own, 99, 300);
	for (w = workers; w < workers + WORKERS; w++) {
		CHECK(!w->runs || pthread_join(w->id, NULL) == 0);
		drop_all(w->slots, SLOTS);
	}
	mix(own, 101, 300);
	drop_all(own, SLOTS);
	drop_all(posts, POSTS);
}

static void load_round(void)
{
	load_far();
	load_sizes();
	load_resize();
	load_aligned();
	load_pieces();
	load_threads();
	load_chunks();
	errno = SENTINEL;
	malloc_trim(0);
}

#endif
