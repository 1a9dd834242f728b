/*
 * bench.h - what the benchmark programs share.
 *
 * Each does to the allocator what one kind of real program does; its first
 * line says which. It takes some tenths of a second, does the same on every
 * run and every allocator, frees all, and prints one line. The checksum there
 * is over what was read back: a wrong one means that blocks overlapped.
 */
#ifndef BENCH_H
#define BENCH_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static inline _Noreturn void bench_fail(const char *what, int error)
{
	fprintf(stderr, "%s: %s: %s\n", program_invocation_short_name, what,
		strerror(error));
	exit(1);
}

/* A block as it came from the allocator; there is always one. */
static inline void *bench_need(void *p)
{
	if (!p)
		bench_fail("malloc", ENOMEM);
	return p;
}

static inline void bench_thread(pthread_t *thread, void *(*run)(void *),
				void *arg)
{
	int error = pthread_create(thread, NULL, run, arg);

	if (error)
		bench_fail("pthread_create", error);
}

/* -- numbers */

/* A state for bench_random: one for each thread, never 0 */
static inline uint64_t bench_seed(uint64_t n)
{
	return (n + 1) * 0x9e3779b97f4a7c15u | 1;
}

/* xorshift64: cheap beside any malloc, and the same numbers everywhere */
static inline uint64_t bench_random(uint64_t *state)
{
	uint64_t x = *state;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	return *state = x;
}

/* From `least` to `most`, all as likely */
static inline size_t bench_between(size_t least, size_t most, uint64_t r)
{
	return least + (r >> 32) % (most - least + 1);
}

/*
 * From 8 bytes to 64 KiB, the small ones most often: 25, 25, 19, 12, 8, 5, 3,
 * 2, 1 ... per cent have at least 8, 16, 32 ... bytes and less than twice that.
 */
static inline size_t bench_skewed(uint64_t r)
{
	int doubled = __builtin_ctz((unsigned)r | 1u << 12) +
		      __builtin_ctz((unsigned)(r >> 16) | 1u << 12);
	size_t least = (size_t)8 << (doubled < 12 ? doubled : 12);

	return least + (r >> 32) % least;
}

/* -- how long a call takes: a histogram, if BENCH_LATENCY is set */

enum { BENCH_FINE = 8 }; /* buckets a doubling */

static bool bench_timed;
static uint64_t bench_latency[64 * BENCH_FINE]; /* calls, by ticks; atomic */

static inline uint64_t bench_ticks(void)
{
#ifdef __x86_64__
	return __builtin_ia32_rdtsc();
#else
	uint64_t t;

	__asm__ volatile("isb; mrs %0, cntvct_el0" : "=r"(t));
	return t;
#endif
}

/* A call is over that began at `begin`. */
static inline void bench_note(uint64_t begin)
{
	uint64_t t = (bench_ticks() - begin) | BENCH_FINE;
	unsigned log2 = 63 - (unsigned)__builtin_clzll(t);
	size_t i = log2 * BENCH_FINE + (t >> (log2 - 3)) % BENCH_FINE;

	__atomic_fetch_add(&bench_latency[i], 1, __ATOMIC_RELAXED);
}

static inline void *bench_malloc(size_t n)
{
	uint64_t begin = bench_timed ? bench_ticks() : 0;
	void *p = bench_need(malloc(n));

	if (bench_timed)
		bench_note(begin);
	return p;
}

static inline void bench_free(void *p)
{
	uint64_t begin = bench_timed ? bench_ticks() : 0;

	free(p);
	if (bench_timed)
		bench_note(begin);
}

/* The ticks that a part of all calls stays below, to a bucket's precision */
static inline double bench_quantile(double part)
{
	double left = 0;
	size_t i;

	for (i = 0; i < 64 * BENCH_FINE; i++)
		left += (double)bench_latency[i] * part;
	for (i = 0; i < 64 * BENCH_FINE - 1 && left > bench_latency[i]; i++)
		left -= (double)bench_latency[i];
	return (double)(BENCH_FINE + i % BENCH_FINE + 1) *
	       (double)((uint64_t)1 << i / BENCH_FINE) / BENCH_FINE;
}

/* -- blocks and what is in them */

struct block {
	unsigned char *p;
	size_t size;
};

/* -fno-builtin makes calls of plain memcpy(). */
static inline uint64_t bench_get(const unsigned char *p)
{
	uint64_t v;

	__builtin_memcpy(&v, p, sizeof(v));
	return v;
}

static inline void bench_put(unsigned char *p, uint64_t v)
{
	__builtin_memcpy(p, &v, sizeof(v));
}

/* Uses the block, of 8 bytes or more: a word in each page, and the last one */
static inline void bench_write(struct block b, uint64_t tag)
{
	for (size_t at = 0; at + 8 < b.size; at += 4096)
		bench_put(b.p + at, tag + at);
	bench_put(b.p + b.size - 8, ~tag);
}

static inline uint64_t bench_read(struct block b)
{
	uint64_t sum = bench_get(b.p + b.size - 8);

	for (size_t at = 0; at + 8 < b.size; at += 4096)
		sum = sum * 31 + bench_get(b.p + at);
	return sum;
}

static inline struct block bench_make(size_t size, uint64_t tag)
{
	struct block b = { bench_malloc(size), size };

	bench_write(b, tag);
	return b;
}

/* Frees the block, if there is one, and tells what was in it. */
static inline uint64_t bench_drop(struct block b)
{
	uint64_t sum;

	if (!b.p)
		return 0;
	sum = bench_read(b);
	bench_free(b.p);
	return sum;
}

/*
 * Random replacement: at each step one of `live` blocks, any of them, is freed
 * and another made for it; all are freed at last. Tells what was in them.
 */
static inline uint64_t bench_replace(struct block *block, int live, int steps,
				     struct block (*make)(uint64_t r))
{
	uint64_t state = bench_seed(0), sum = 0;

	for (int i = 0; i < steps; i++) {
		uint64_t r = bench_random(&state);
		struct block *b = &block[bench_random(&state) % (unsigned)live];

		sum = sum * 31 + bench_drop(*b);
		*b = make(r);
	}
	for (int i = 0; i < live; i++)
		sum = sum * 31 + bench_drop(block[i]);
	return sum;
}

/* -- a queue from one thread to one other */

enum { BENCH_SLOTS = 1024 };

struct lane {
	_Alignas(64) uint64_t made;
	_Alignas(64) uint64_t used;
	_Alignas(64) struct block slot[BENCH_SLOTS];
};

/* To wait for another thread, which may need this core to go on */
static inline void bench_spin(int *spins)
{
	if (++*spins % 256 == 0)
		sched_yield();
}

static inline void bench_send(struct lane *l, struct block b)
{
	uint64_t made = l->made;

	for (int spins = 0;
	     made - __atomic_load_n(&l->used, __ATOMIC_ACQUIRE) == BENCH_SLOTS;)
		bench_spin(&spins);
	l->slot[made % BENCH_SLOTS] = b;
	__atomic_store_n(&l->made, made + 1, __ATOMIC_RELEASE);
}

/* False when there is none at the moment */
static inline bool bench_receive(struct lane *l, struct block *b)
{
	uint64_t used = l->used;

	if (__atomic_load_n(&l->made, __ATOMIC_ACQUIRE) == used)
		return false;
	*b = l->slot[used % BENCH_SLOTS];
	__atomic_store_n(&l->used, used + 1, __ATOMIC_RELEASE);
	return true;
}

/* -- counters, each a block of its own */

enum { BENCH_COUNTERS = 8 };

/* Adds `times` to each counter, one by one, every time in memory. */
static inline void bench_count(uint64_t **counter, int times)
{
	for (int t = 0; t < times; t++)
		for (int i = 0; i < BENCH_COUNTERS; i++)
			++*(volatile uint64_t *)counter[i];
}

/* -- the result */

static struct timespec bench_begin;
static uint64_t bench_first;

/* From here on time and peak RSS are measured: 5 forgets the peak so far. */
static inline void bench_start(void)
{
	int fd = open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC);

	if (fd >= 0) {
		/* Where that isn't allowed, the peak is that of the process. */
		(void)!write(fd, "5", 1);
		close(fd);
	}
	bench_timed = getenv("BENCH_LATENCY") != NULL;
	clock_gettime(CLOCK_MONOTONIC, &bench_begin);
	bench_first = bench_ticks();
}

static inline unsigned long bench_kib(const char *status, const char *key)
{
	const char *at = strstr(status, key);

	return at ? strtoul(at + strlen(key), NULL, 10) : 0;
}

/* Call it with all freed. `ops` are the calls of malloc, free and so on. */
static inline int bench_done(const char *name, uint64_t sum, uint64_t ops)
{
	uint64_t ticks = bench_ticks() - bench_first;
	char status[4096];
	struct timespec end;
	ssize_t n = 0;
	double s, ns;
	int fd;

	clock_gettime(CLOCK_MONOTONIC, &end);
	fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
	if (fd >= 0) {
		n = read(fd, status, sizeof(status) - 1);
		close(fd);
	}
	status[n > 0 ? n : 0] = 0;
	s = (double)(end.tv_sec - bench_begin.tv_sec) +
	    (double)(end.tv_nsec - bench_begin.tv_nsec) * 1e-9;
	printf("%s checksum=%016llx ops=%llu seconds=%.6f ops_per_s=%.0f "
	       "rss_peak_kib=%lu rss_end_kib=%lu",
	       name, (unsigned long long)sum, (unsigned long long)ops, s,
	       (double)ops / s, bench_kib(status, "VmHWM:"),
	       bench_kib(status, "VmRSS:"));
	ns = s * 1e9 / (double)ticks;
	if (bench_quantile(1) > 2) /* a call was timed */
		printf(" p50_ns=%.0f p99_ns=%.0f p999_ns=%.0f max_ns=%.0f",
		       bench_quantile(.5) * ns, bench_quantile(.99) * ns,
		       bench_quantile(.999) * ns, bench_quantile(1) * ns);
	putchar('\n');
	return fflush(stdout) != 0;
}

#endif
