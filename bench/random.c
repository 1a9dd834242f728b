/*
 * random - A cache of small objects: any one may be the next to be replaced.
 *
 * 100,000 live blocks of 16 to 1000 bytes.
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
		struct block *b = &block[r % LIVE];

		sum = sum * 31 + bench_drop(*b);
		*b = bench_make(bench_between(16, 1000, r), r);
	}
	for (int i = 0; i < LIVE; i++)
		sum = sum * 31 + bench_drop(block[i]);
	return bench_done("random", sum, 2 * STEPS);
}
