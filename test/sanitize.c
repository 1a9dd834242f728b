/*
 * sanitize.c - threads that do all that an allocator has to synchronise, for a
 * sanitizer to watch: they pass blocks around, exit, leave heaps to others.
 *
 * The blocks are written and read by whoever has them, so that a free and a
 * malloc that are not ordered show as a race of the program's own accesses.
 */
#include "test.h"
#include "prefixed.h"
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#define THREADS 4
#define GENERATIONS 10
#define STEPS 1500
#define OWN 64
#define PAIRS 2
#define HANDED 500
#define SHELVES 32
#define WRITTEN 512 /* bytes at either end of a large block */

/* What a block begins with */
struct note {
	struct note *next; /* handed over with it */
	size_t n;
	int fill;
};

struct worker {
	pthread_t thread;
	uint64_t state;
	struct note *own[OWN];
};

/* Where blocks are laid for whoever comes first */
static struct note *_Atomic shelves[SHELVES];
static atomic_int stop;
static pthread_key_t key;
static long steps = STEPS;

static void write_note(struct note *b, size_t n, int fill)
{
	char *p = (char *)(b + 1);
	size_t len = n - sizeof(*b), part = len < WRITTEN ? len : WRITTEN;

	*b = (struct note){ NULL, n, fill };
	memset(p, fill, part);
	memset(p + len - part, fill, part);
}

/* The contents up to `n` are what write_note wrote. */
static void read_note(const struct note *b, size_t n)
{
	const char *p = (const char *)(b + 1);
	size_t len = b->n - sizeof(*b), part = len < WRITTEN ? len : WRITTEN;
	size_t there = n - sizeof(*b) < part ? n - sizeof(*b) : part;

	CHECK(test_all(p, there, b->fill));
	if (n == b->n)
		CHECK(test_all(p + len - part, part, b->fill));
}

/* One in 16 up to 64 KiB, one in 64 up to 4 MiB */
static size_t random_size(uint64_t r)
{
	size_t most = r % 64 == 0 ? 4 * MIB : r % 16 == 0 ? 64 * KIB : 600;

	return (r >> 8) % most + sizeof(struct note);
}

static struct note *make(uint64_t r, size_t n)
{
	struct note *b;

	switch (r % 8) {
	case 0:
		b = al_calloc(1, n);
		CHECK(b && !b->next && !b->n && test_all(b, n, 0));
		break;
	case 1: b = al_aligned_alloc((size_t)1 << r / 8 % 14, n); break;
	default: b = al_malloc(n);
	}
	CHECK(b);
	write_note(b, n, r >> 32 & 127);
	return b;
}

static void drop(struct note *b)
{
	struct note *next;

	for (; b; b = next) {
		next = b->next;
		read_note(b, b->n);
		CHECK(al_malloc_usable_size(b) >= b->n);
		al_free(b);
	}
}

static struct note *resize(struct note *b, size_t n)
{
	struct note *rest = b->next;
	size_t old = b->n;

	read_note(b, old);
	b = al_realloc(b, n);
	CHECK(b);
	read_note(b, n < old ? n : old);
	write_note(b, n, b->fill + 1);
	b->next = rest;
	return b;
}

/* Many of one size, such that batches and slabs go home. */
static struct note *make_many(uint64_t r)
{
	size_t n = (r >> 8) % (r % 4 ? 300 : 9000) + sizeof(struct note);
	struct note *first = NULL, *b;

	for (unsigned i = r >> 40 & 255; i > 0; i--) {
		b = make(r >> 4, n);
		b->next = first;
		first = b;
	}
	return first;
}

static struct note *replace(struct note **slot, struct note *b)
{
	struct note *old = *slot;

	*slot = b;
	return old;
}

/* It shares rarely: what it shares by orders all that others do before. */
static void step(struct worker *w)
{
	uint64_t r = test_random(&w->state);
	struct note **slot = &w->own[r % OWN], *b = *slot;
	struct note *_Atomic *shelf = &shelves[r / OWN % SHELVES];
	unsigned kind = r >> 16 & 63;

	if (kind == 0)
		drop(atomic_exchange(shelf, make_many(r >> 24)));
	else if (kind == 1)
		*slot = atomic_exchange(shelf, b);
	else if (!b)
		*slot = make(r >> 24, random_size(r >> 27));
	else if (kind < 16)
		*slot = resize(b, random_size(r >> 27));
	else
		drop(replace(slot, NULL));
}

/* What it has left is for others to free, after its heap has gone. */
static void *work(void *arg)
{
	struct worker *w = arg;
	struct note *b;

	CHECK(pthread_setspecific(key, w) == 0);
	for (long i = 0; steps ? i < steps : !stop; i++)
		step(w);
	for (int i = 0; i < OWN; i++) {
		b = replace(&w->own[i], NULL);
		drop(atomic_exchange(&shelves[i % SHELVES], b));
	}
	return NULL;
}

/* The destructor of thread-specific data, which may allocate, too */
static void late(void *arg)
{
	struct worker *w = arg;

	drop(atomic_exchange(&shelves[0], make(4, 100)));
	drop(replace(&w->own[0], make(5, 1000)));
	drop(replace(&w->own[0], NULL));
}

static void start(struct worker *w, uint64_t seed)
{
	*w = (struct worker){ .state = seed * 77 + 1 };
	CHECK(pthread_create(&w->thread, NULL, work, w) == 0);
}

static void clear_shelves(void)
{
	for (int i = 0; i < SHELVES; i++)
		drop(atomic_exchange(&shelves[i], NULL));
}

/* Threads that end at any time are replaced by others. */
static void generations(void)
{
	struct worker workers[THREADS];
	int i, n;

	for (i = 0; i < THREADS; i++)
		start(&workers[i], i);
	for (n = 0; n < THREADS * GENERATIONS; n++) {
		i = n % THREADS;
		CHECK(pthread_join(workers[i].thread, NULL) == 0);
		start(&workers[i], i + n);
	}
	for (i = 0; i < THREADS; i++)
		CHECK(pthread_join(workers[i].thread, NULL) == 0);
	clear_shelves();
	al_malloc_trim(0);
	CHECKF(al_held() == 0, "%zu bytes", al_held());
}

/* Runs `each` again and again beside threads at work. */
static void beside(void (*each)(struct worker *w), int times)
{
	struct worker workers[THREADS], self = { .state = 5 };
	int i;

	steps = 0;
	for (i = 0; i < THREADS; i++)
		start(&workers[i], i);
	while (times-- > 0)
		each(&self);
	stop = 1;
	for (i = 0; i < THREADS; i++)
		CHECK(pthread_join(workers[i].thread, NULL) == 0);
	for (i = 0; i < OWN; i++)
		drop(self.own[i]);
	clear_shelves();
}

static void fork_once(struct worker *w)
{
	pid_t pid;

	for (int i = 0; i < 20; i++)
		step(w);
	pid = fork();
	CHECK(pid >= 0);
	if (pid == 0) {
		alarm(30);
		for (int i = 0; i < 200; i++)
			step(w);
		_exit(0);
	}
	CHECK(test_wait(pid) == 0);
}

static void forks(void)
{
	beside(fork_once, 20);
}

static void look_once(struct worker *w)
{
	static FILE *nowhere;
	struct mallinfo2 m;

	if (!nowhere)
		nowhere = fopen("/dev/null", "w");
	CHECK(nowhere);
	step(w);
	m = al_mallinfo2();
	CHECK(m.fordblks <= m.arena);
	CHECK(al_malloc_info(0, nowhere) == 0);
	al_malloc_trim(0);
	usleep(1000);
}

static void figures(void)
{
	beside(look_once, 100);
}

/* Small blocks to one other thread, which can tell us nothing but by free */
static void *give(void *arg)
{
	struct note *_Atomic *shelf = arg;
	uint64_t state = (uintptr_t)arg;
	int i = HANDED;

	while (i > 0) {
		if (atomic_load_explicit(shelf, memory_order_relaxed)) {
			sched_yield();
			continue;
		}
		atomic_store_explicit(shelf, make_many(test_random(&state)),
				      memory_order_release);
		i--;
	}
	return NULL;
}

static void *take(void *arg)
{
	struct note *_Atomic *shelf = arg;
	struct note *b;

	while (!stop) {
		b = atomic_load_explicit(shelf, memory_order_acquire);
		if (!b) {
			sched_yield();
			continue;
		}
		atomic_store_explicit(shelf, NULL, memory_order_relaxed);
		drop(b);
	}
	return NULL;
}

static void handover(void)
{
	pthread_t givers[PAIRS], takers[PAIRS];
	int i;

	for (i = 0; i < PAIRS; i++) {
		CHECK(pthread_create(&takers[i], NULL, take, &shelves[i]) == 0);
		CHECK(pthread_create(&givers[i], NULL, give, &shelves[i]) == 0);
	}
	for (i = 0; i < PAIRS; i++)
		CHECK(pthread_join(givers[i], NULL) == 0);
	stop = 1;
	for (i = 0; i < PAIRS; i++)
		CHECK(pthread_join(takers[i], NULL) == 0);
	clear_shelves();
}

static void *do_nothing(void *arg)
{
	CHECK(pthread_setspecific(key, arg) == 0);
	return NULL;
}

/* Threads whose first call is a destructor's, of a key made late */
static void late_first(void)
{
	struct worker w = { .state = 3 };
	pthread_t thread;
	char *text;
	size_t size;
	FILE *out = open_memstream(&text, &size);
	int i;

	start(&w, 3);
	CHECK(pthread_join(w.thread, NULL) == 0);
	CHECK(pthread_key_create(&key, late) == 0);
	for (i = 0; i < 100; i++) {
		CHECK(pthread_create(&thread, NULL, do_nothing, &w) == 0);
		CHECK(pthread_join(thread, NULL) == 0);
	}
	clear_shelves();
	CHECK(out && al_malloc_info(0, out) == 0 && fclose(out) == 0);
	CHECKF(strtoul(strstr(text, "<heaps") + 14, NULL, 10) <= 2, "%s", text);
	free(text);
}

/* At levels 2 and 3 what a process with one thread leaves is looked at. */
static void alone(void)
{
	for (size_t n = 1; n < 64 * KIB; n += n / 8 + 1) {
		unsigned char *p = al_malloc(n);

		al_free(al_malloc(n));
		memset(p, 1, n);
	}
}

#define CASES(X) \
	X(generations) \
	X(handover) \
	X(forks) \
	X(figures) \
	X(late_first) \
	X(alone)

static const struct test tests[] = { CASES(TEST_ROW) };

int main(int argc, char **argv)
{
	al_free(al_malloc(1));
	CHECK(pthread_key_create(&key, late) == 0);
	return test_main(tests, COUNT(tests), argc, argv);
}
