/*
 * bench.h - what the benchmark programs share.
 *
 * Each of them does one thing to the allocator, the same on every run and on
 * every allocator, takes some tenths of a second, and prints a checksum of
 * what it wrote into its blocks: a wrong one means that blocks overlapped.
 */
#ifndef BENCH_H
#define BENCH_H

#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* xorshift64: cheap beside any malloc, and the same numbers everywhere */
static inline uint64_t bench_random(uint64_t *state)
{
	uint64_t x = *state;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	return *state = x;
}

/* A block that carries `tag`; a failed malloc ends the program. */
static inline uint64_t *bench_block(size_t size, uint64_t tag)
{
	uint64_t *p = malloc(size);

	if (!p) {
		perror("malloc");
		exit(1);
	}
	*p = tag;
	return p;
}

static inline int bench_done(const char *name, uint64_t sum)
{
	printf("%s %016llx\n", name, (unsigned long long)sum);
	return 0;
}

#endif
