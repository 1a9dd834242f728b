/*
 * smoke.c - does this build of the allocator work at all? A short run through
 * every entry point that each libc declares, with threads and a fork. It needs
 * no test.h, so that it can also be linked statically with allocator.c, by
 * another compiler, for another libc or machine. Prints `ok`.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHECK(x) \
	do { \
		if (!(x)) { \
			printf("line %d: %s\n", __LINE__, #x); \
			_exit(1); \
		} \
	} while (0)

enum { THREADS = 4, SLOTS = 500, STEPS = 40000, LARGEST = 3000 };

/* Blocks that one thread leaves for another to free */
static void *volatile handed[SLOTS];

static int filled(const unsigned char *p, size_t n, int c)
{
	for (size_t i = 0; i < n; i++)
		if (p[i] != (unsigned char)c)
			return 0;
	return 1;
}

static void zeroed(size_t n)
{
	unsigned char *p = malloc(n);

	CHECK(p);
	memset(p, 0xaa, malloc_usable_size(p));
	free(p);
	p = calloc(n, 1);
	CHECK(p && filled(p, n, 0));
	free(p);
}

static void grown(size_t n)
{
	unsigned char *p = malloc(n), *q;

	CHECK(p && (uintptr_t)p % 16 == 0 && malloc_usable_size(p) >= n);
	memset(p, 0x5c, n);
	q = realloc(p, 3 * n + 1);
	CHECK(q && filled(q, n, 0x5c));
	q = realloc(q, n / 2 + 1);
	CHECK(q && filled(q, n / 2, 0x5c));
	free(q);
}

static void aligned(size_t alignment)
{
	void *p, *q, *r;

	CHECK(posix_memalign(&p, alignment, 100) == 0);
	q = aligned_alloc(alignment, alignment);
	r = memalign(alignment, 1);
	CHECK(((uintptr_t)p | (uintptr_t)q | (uintptr_t)r) % alignment == 0);
	CHECK(p && q && r);
	memset(p, 1, 100);
	memset(q, 2, alignment);
	free(q);
	free(p);
	free(r);
}

static void refused(void)
{
	volatile size_t huge = SIZE_MAX / 2 + 1;
	static int mark;
	void *p = &mark;

	errno = 0;
	CHECK(!malloc(huge) && errno == ENOMEM);
	errno = 0;
	CHECK(!calloc(huge, 4) && errno == ENOMEM);
	CHECK(posix_memalign(&p, 3, 8) == EINVAL && p == &mark);
	errno = 123;
	free(NULL);
	free(malloc(5 << 20));
	CHECK(errno == 123);
}

static void *walk(void *arg)
{
	unsigned int state = (unsigned int)(uintptr_t)arg;
	void *p;

	for (int i = 0; i < STEPS; i++) {
		state = state * 1103515245 + 12345;
		p = malloc(1 + (state >> 8) % LARGEST);
		CHECK(p);
		memset(p, i, 1 + (state >> 8) % LARGEST);
		p = __atomic_exchange_n(&handed[(state >> 20) % SLOTS], p,
					__ATOMIC_ACQ_REL);
		free(p);
	}
	return NULL;
}

static void threads(void)
{
	pthread_t thread[THREADS];

	for (uintptr_t i = 0; i < THREADS; i++)
		CHECK(!pthread_create(&thread[i], NULL, walk, (void *)i));
	for (int i = 0; i < THREADS; i++)
		CHECK(!pthread_join(thread[i], NULL));
	for (int i = 0; i < SLOTS; i++)
		free(handed[i]);
}

static void forked(void)
{
	int status;
	pid_t pid;
	void *p = malloc(1000);

	CHECK(p);
	pid = fork();
	if (pid == 0) {
		free(p);
		p = malloc(1 << 20);
		_exit(p ? 0 : 1);
	}
	CHECK(pid > 0 && waitpid(pid, &status, 0) == pid && status == 0);
	free(p);
}

int main(void)
{
	for (size_t n = 1; n < 10 << 20; n = n + n / 3 + 1) {
		zeroed(n);
		grown(n);
	}
	for (size_t n = sizeof(void *); n <= 8 << 20; n *= 2)
		aligned(n);
	refused();
	threads();
	forked();
	return puts("ok") < 0;
}
