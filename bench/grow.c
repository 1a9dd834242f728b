/*
 * A block that grows to 64 MiB, by a quarter or by 64 KiB each time, while
 * small blocks are allocated in between so that it can't stay where it is.
 */
#include "bench.h"

#define LIMIT ((size_t)64 << 20)

enum { ROUNDS = 16, SMALL = 4096 };

static size_t next_size(size_t size, int round)
{
	size_t next = size + (round % 2 ? (size_t)64 << 10 : size / 4 + 8);

	return next < LIMIT ? next : LIMIT;
}

static uint64_t grow(int round)
{
	size_t size = 64, next;
	uint64_t sum = 0, *small[SMALL];
	unsigned char *p = (unsigned char *)bench_block(size, 0);
	int n = 0;

	for (; size < LIMIT; size = next) {
		next = next_size(size, round);
		p = realloc(p, next);
		if (!p)
			exit(1);
		memset(p + size, round + n, next - size);
		if (n < SMALL)
			small[n++] = bench_block(48, next);
	}
	for (size_t i = 64; i < LIMIT; i += 4099)
		sum = sum * 31 + p[i];
	while (n > 0)
		free(small[--n]);
	free(p);
	return sum;
}

int main(void)
{
	uint64_t sum = 0;

	for (int round = 0; round < ROUNDS; round++)
		sum = sum * 31 + grow(round);
	return bench_done("grow", sum);
}
