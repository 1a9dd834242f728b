/*
 * mixed - A long-running program: objects of all sizes come and go.
 *
 * 100,000 live blocks of 8 bytes to 64 KiB, half of them below 32 bytes; a
 * random one is replaced. There are fewer of each larger size, but they have
 * the greater part of the memory.
 */
#include "bench.h"

enum { LIVE = 100 * 1000, STEPS = 3 * 1000 * 1000 };

int main(void)
{
	static struct block block[LIVE];
	uint64_t state = bench_seed(0), sum = 0;

	bench_start();
	for (int i = 0; i < STEPS; i++) {
		uint64_t r = bench_random(&state);
		struct block *b = &block[bench_random(&state) % LIVE];

		sum = sum * 31 + bench_drop(*b);
		*b = bench_make(bench_skewed(r), r);
	}
	for (int i = 0; i < LIVE; i++)
		sum = sum * 31 + bench_drop(block[i]);
	return bench_done("mixed", sum, 2 * STEPS);
}
