/*
 * pair - A loop that needs a small buffer for a moment in each of its rounds.
 *
 * The fast paths alone: one block of 64 bytes, freed before the next.
 */
#include "bench.h"

enum { PAIRS = 30 * 1000 * 1000 };

int main(void)
{
	uint64_t sum = 0;

	bench_start();
	for (uint64_t i = 0; i < PAIRS; i++)
		sum += bench_drop(bench_make(64, i));
	return bench_done("pair", sum, 2 * PAIRS);
}
