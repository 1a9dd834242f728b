/*
 * walk.c - a random walk through the whole interface, against a shadow model.
 *
 * walk SEED [OPS [THREADS [BLOCKS [LARGEST]]]]
 *
 * The model has a bit for every 16 bytes of address space, set while a live
 * block covers them: two blocks that overlap meet at once. Each block is full
 * of a byte of its own up to its usable size, looked at whenever the block is
 * resized, freed or handed to another thread. The last line on failure is the
 * command that repeats it; with threads, the order of events may differ.
 */
#include "test.h"
#include <pthread.h>
#include <stdatomic.h>

enum { MOST_THREADS = 16, MOST_BLOCKS = 1 << 16, SHELVES = 256 };

/* 16 bytes a bit, 64 bits a word: 1 KiB a word, for 47 bits of address */
#define SHADOW_BYTES (((size_t)1 << 47) / 128)

struct block {
	unsigned char *p;
	size_t size, usable;
	unsigned char fill;
};

struct walker {
	pthread_t thread;
	uint64_t seed;
	struct block *blocks;
};

static _Atomic uint64_t *shadow;
/* Where blocks wait for another thread: one holder at a time */
static struct shelf {
	atomic_flag taken;
	struct block block;
} shelves[SHELVES];
static struct walker walkers[MOST_THREADS];
static unsigned long seed, ops = 1000000, threads = 1, count = 4096;
static unsigned long largest = 8 * MIB;

#define OK(cond) ((cond) ? (void)0 : broken(__LINE__, #cond, b))

__attribute__((noreturn)) static void broken(int line, const char *cond,
					     const struct block *b)
{
	dprintf(2,
		"walk.c:%d: failed: %s: block %p of %zu (usable %zu), "
		"errno %d\nrepeat: walk %lu %lu %lu %lu %lu\n",
		line, cond, (void *)b->p, b->size, b->usable, errno, seed, ops,
		threads, count, largest);
	_exit(TEST_FAILED);
}

/* Sets or clears the bits of a block; fails if they were set already. */
static void mark(const struct block *b, int live)
{
	size_t at = (uintptr_t)b->p / 16, end = at + (b->usable + 15) / 16;
	uint64_t mask, old;

	while (at < end) {
		size_t n = 64 - at % 64 < end - at ? 64 - at % 64 : end - at;

		mask = (n == 64 ? ~0ull : (1ull << n) - 1) << at % 64;
		if (live)
			old = atomic_fetch_or(&shadow[at / 64], mask);
		else
			old = ~atomic_fetch_and(&shadow[at / 64], ~mask);
		OK((old & mask) == 0);
		at += n;
	}
}

/* A new block is in nobody's way; fill it to the end of what it offers. */
static void born(struct block *b, void *p, size_t n, uint64_t random)
{
	b->p = p;
	b->size = n;
	b->usable = 0;
	OK(p != NULL);
	OK((uintptr_t)p % 16 == 0 && (uintptr_t)p < SHADOW_BYTES * 128);
	b->usable = malloc_usable_size(p);
	OK(b->usable >= n);
	mark(b, 1);
	b->fill = (unsigned char)(random | 1);
	memset(p, b->fill, b->usable);
}

static void verify(const struct block *b)
{
	OK(test_all(b->p, b->usable, b->fill));
	OK(malloc_usable_size(b->p) == b->usable);
}

/* Log-uniform up to 64 KiB; one in 32 up to 256 KiB, one in 512 to the top */
static size_t random_size(uint64_t *state)
{
	uint64_t r = test_random(state);
	unsigned int kind = r % 512, bits = (r >> 9) % 17;
	size_t n = (r >> 20) & (((size_t)2 << bits) - 1) & 0xffff;

	if (kind == 0)
		n = (r >> 20) % (8 * MIB) >> (r >> 9) % 5;
	else if (kind < 16)
		n = 64 * KIB + (r >> 20) % (192 * KIB);
	return n <= largest ? n : n % (largest + 1);
}

static void *random_posix(struct block *b, size_t align, size_t n)
{
	void *p = b;

	align = align < sizeof(void *) ? sizeof(void *) : align;
	OK(posix_memalign(&p, align, n) == 0);
	OK((uintptr_t)p % align == 0);
	return p;
}

/* A block by any entry point, with its promises of alignment and zeroes */
static void make(struct block *b, uint64_t *state)
{
	uint64_t r = test_random(state);
	size_t n = random_size(state), align = (size_t)1 << (r >> 32) % 17;
	void *p;

	if (largest < 64 * KIB && align > 4096)
		align = 4096;
	switch (r % 16) {
	case 0:
	case 1:
		p = r & 64 ? calloc(1, n) : calloc(n, 1);
		OK(p && test_all(p, n, 0));
		break;
	case 2: p = realloc(NULL, n); break;
	case 3:
		p = reallocarray(NULL, n / 8, 8);
		n = n / 8 * 8;
		break;
	case 4:
		p = aligned_alloc(align, n);
		OK((uintptr_t)p % align == 0);
		break;
	case 5:
		p = memalign(align, n);
		OK((uintptr_t)p % align == 0);
		break;
	case 6: p = random_posix(b, align, n); break;
	case 7:
		p = r & 64 ? valloc(n) : pvalloc(n);
		OK((uintptr_t)p % 4096 == 0);
		break;
	case 8: p = __libc_malloc ? __libc_malloc(n) : malloc(n); break;
	default: p = malloc(n);
	}
	born(b, p, n, r >> 40);
}

static void give(struct block *b, uint64_t *state)
{
	uint64_t r = test_random(state);
	int err = (int)(r >> 32 & 255);

	verify(b);
	mark(b, 0);
	errno = err;
	switch (r % 16) {
	case 0: OK(!realloc(b->p, 0)); break;
	case 1: free_sized ? free_sized(b->p, b->usable) : free(b->p); break;
	case 2:
		free_aligned_sized ? free_aligned_sized(b->p, 16, b->usable) :
				     free(b->p);
		break;
	case 3: __libc_free ? __libc_free(b->p) : free(b->p); break;
	default: free(b->p);
	}
	OK(errno == err);
	b->p = NULL;
}

/* A quarter of the new sizes are near the old one, as when a text grows. */
static void resize(struct block *b, uint64_t *state)
{
	uint64_t r = test_random(state);
	size_t n = r % 4 ? random_size(state) : b->size + r / 4 % 64;
	struct block old = *b;
	void *p;

	n = n ? n : 1;
	verify(b);
	mark(b, 0);
	p = r & 256 ? realloc(b->p, n) : reallocarray(b->p, 1, n);
	OK(p && test_all(p, n < old.usable ? n : old.usable, old.fill));
	born(b, p, n, r >> 40);
}

/* Lays the block on a shelf and takes what lay there, if anything did. */
static void hand_over(struct block *b, uint64_t *state)
{
	struct shelf *shelf = &shelves[test_random(state) % SHELVES];
	struct block other;

	if (atomic_flag_test_and_set_explicit(&shelf->taken,
					      memory_order_acquire))
		return;
	other = shelf->block;
	shelf->block = *b;
	atomic_flag_clear_explicit(&shelf->taken, memory_order_release);
	*b = other;
	if (b->p)
		verify(b);
}

static void look(const struct block *b, uint64_t random)
{
	struct mallinfo2 m;

	if (b->p)
		verify(b);
	if (random % 4096 == 0)
		OK((malloc_trim(0) & ~1) == 0);
	if (random % 4096 == 1) {
		m = mallinfo2();
		OK(m.fordblks <= m.arena && m.hblkhd < (size_t)1 << 40);
	}
}

static void step(struct block *b, uint64_t *state)
{
	uint64_t r = test_random(state);
	unsigned int kind = r % 32;

	if (kind == 0 && threads > 1)
		hand_over(b, state);
	else if (kind < 3)
		look(b, r >> 8);
	else if (!b->p)
		make(b, state);
	else if (kind < 12)
		resize(b, state);
	else
		give(b, state);
}

/* The busy part of the table moves, so that most blocks live long. */
static void *walk(void *arg)
{
	struct walker *w = arg;
	unsigned long i, mine = count / threads, at;
	uint64_t state = w->seed;

	for (i = 0; i < ops / threads; i++) {
		at = test_random(&state);
		at = at & 1 << 20 ? at % mine : (i / 64 + at % 256) % mine;
		step(&w->blocks[at], &state);
	}
	for (i = 0; i < mine; i++)
		if (w->blocks[i].p)
			give(&w->blocks[i], &state);
	return NULL;
}

static void run(void)
{
	static struct block blocks[MOST_BLOCKS];
	uint64_t state = seed * 0x9e3779b97f4a7c15ull + 1;
	unsigned long i;

	for (i = 0; i < threads; i++) {
		walkers[i].seed = test_random(&state) | 1;
		walkers[i].blocks = blocks + i * (count / threads);
		if (i > 0)
			CHECK(pthread_create(&walkers[i].thread, NULL, walk,
					     &walkers[i]) == 0);
	}
	walk(&walkers[0]);
	for (i = 1; i < threads; i++)
		CHECK(pthread_join(walkers[i].thread, NULL) == 0);
	for (i = 0; i < SHELVES; i++)
		if (shelves[i].block.p)
			give(&shelves[i].block, &state);
}

int main(int argc, char **argv)
{
	unsigned long *const values[] = { &seed, &ops, &threads, &count,
					  &largest };
	struct rlimit none = { 0, 0 };
	int i;

	setrlimit(RLIMIT_CORE, &none);
	for (i = 1; i < argc && i <= (int)COUNT(values); i++)
		*values[i - 1] = strtoul(argv[i], NULL, 0);
	if (argc < 2 || !threads || threads > MOST_THREADS ||
	    count / threads < 256 || count > MOST_BLOCKS) {
		dprintf(2, "usage: walk SEED [OPS [THREADS [BLOCKS "
			   "[LARGEST]]]]\n");
		return 2;
	}
	shadow = mmap(NULL, SHADOW_BYTES, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (shadow == MAP_FAILED)
		SKIP("no address space for the shadow\n");
	run();
	return 0;
}
