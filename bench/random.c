/* 100,000 live blocks; over and over a random one of them is replaced. */
#include "bench.h"

enum { LIVE = 100 * 1000, STEPS = 8 * 1000 * 1000, LARGEST = 1000 };

int main(void)
{
	static uint64_t *block[LIVE];
	uint64_t state = 88172645463325252u, sum = 0;

	for (int i = 0; i < STEPS; i++) {
		uint64_t r = bench_random(&state);
		uint64_t **slot = &block[r % LIVE];

		if (*slot)
			sum = sum * 31 + **slot;
		free(*slot);
		*slot = bench_block(16 + (r >> 32) % (LARGEST - 15), r);
	}
	for (int i = 0; i < LIVE; i++) {
		if (block[i])
			sum = sum * 31 + *block[i];
		free(block[i]);
	}
	return bench_done("random", sum);
}
