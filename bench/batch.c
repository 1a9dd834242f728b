/*
 * batch - A server's requests: each allocates many blocks, then frees all.
 *
 * A thousand blocks of 8 to 512 bytes at a time, freed in the same order.
 */
#include "bench.h"

enum { BATCH = 1000, ROUNDS = 8000, LARGEST = 512 };

int main(void)
{
	static struct block block[BATCH];
	static size_t size[BATCH];
	uint64_t state = bench_seed(0), sum = 0;

	for (int i = 0; i < BATCH; i++)
		size[i] = bench_between(8, LARGEST, bench_random(&state));
	bench_start();
	for (int round = 0; round < ROUNDS; round++) {
		/* The same kinds of blocks, in another order */
		for (int i = 0; i < BATCH; i++)
			block[i] = bench_make(size[(i + round * 7) % BATCH],
					      (uint64_t)(round ^ i));
		for (int i = 0; i < BATCH; i++)
			sum = sum * 31 + bench_drop(block[i]);
	}
	return bench_done("batch", sum, 2 * BATCH * ROUNDS);
}
