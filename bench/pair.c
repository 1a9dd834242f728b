/* The fast paths alone: one block of 64 bytes, freed before the next. */
#include "bench.h"

enum { PAIRS = 50 * 1000 * 1000 };

int main(void)
{
	uint64_t sum = 0;

	for (uint64_t i = 0; i < PAIRS; i++) {
		uint64_t *p = bench_block(64, i);

		sum += *p;
		free(p);
	}
	return bench_done("pair", sum);
}
