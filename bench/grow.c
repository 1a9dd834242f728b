/*
 * grow - A file of unknown length, read into one buffer that has to grow.
 *
 * It grows to 64 MiB, by a quarter or by 64 KiB each time, while small blocks
 * are allocated in between so that it can't stay where it is.
 */
#include "bench.h"

#define LIMIT ((size_t)64 << 20)

enum { ROUNDS = 16, SMALL = 4096 };

static uint64_t ops;

static size_t next_size(size_t size, int round)
{
	size_t next = size + (round % 2 ? (size_t)64 << 10 : size / 4 + 8);

	return next < LIMIT ? next : LIMIT;
}

static uint64_t grow(int round)
{
	size_t size = 64, old;
	uint64_t sum = 0;
	struct block small[SMALL];
	unsigned char *p = bench_need(malloc(size));
	int n = 0;

	while (size < LIMIT) {
		old = size;
		size = next_size(old, round);
		p = bench_need(realloc(p, size));
		memset(p + old, round + n, size - old);
		ops++;
		if (n < SMALL) {
			small[n++] = bench_make(48, size);
			ops += 2;
		}
	}
	for (size_t i = 64; i < LIMIT; i += 4099)
		sum = sum * 31 + p[i];
	while (n > 0)
		sum = sum * 31 + bench_drop(small[--n]);
	free(p);
	ops += 2;
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
