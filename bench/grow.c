/*
 * grow - A file of unknown length, read into one buffer that has to grow.
 *
 * It grows to 32 MiB, by a quarter each time, in every fourth round by 64 KiB,
 * while small blocks are allocated in between so that it can't stay where it
 * is.
 */
#include "bench.h"

/* A small block for each step: there are most when the steps are small. */
enum { LIMIT = 32 << 20, STEP = 64 << 10, ROUNDS = 8, MOST = LIMIT / STEP };

static uint64_t ops;

static size_t next_size(size_t size, int round)
{
	size_t next = size + (round % 4 == 3 ? (size_t)STEP : size / 4 + 8);

	return next < LIMIT ? next : LIMIT;
}

static uint64_t grow(int round)
{
	struct block small[MOST];
	size_t size = 0, old;
	unsigned char *p = NULL;
	uint64_t sum = 0;
	int n = 0;

	while (size < LIMIT) {
		old = size;
		size = next_size(old, round);
		p = bench_need(realloc(p, size));
		memset(p + old, round + n, size - old);
		small[n++] = bench_make(48, size);
		ops += 3;
	}
	for (size_t i = 0; i < LIMIT; i += 4099)
		sum = sum * 31 + p[i];
	while (n > 0)
		sum = sum * 31 + bench_drop(small[--n]);
	free(p);
	ops++;
	return sum;
}

int main(void)
{
	uint64_t sum = 0;

	bench_start();
	for (int round = 0; round < ROUNDS; round++)
		sum = sum * 31 + grow(round);
	return bench_done("grow", sum, ops);
}
