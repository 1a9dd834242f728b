/*
 * mixed - A long-running program: objects of all sizes come and go.
 *
 * 100,000 live blocks of 8 bytes to 64 KiB, half of them below 32 bytes; a
 * random one is replaced. There are fewer of each larger size, but they have
 * the greater part of the memory.
 */
#include "bench.h"

enum { LIVE = 100 * 1000, STEPS = 3 * 1000 * 1000 };

static struct block make(uint64_t r)
{
	return bench_make(bench_skewed(r), r);
}

int main(void)
{
	static struct block block[LIVE];

	bench_start();
	return bench_done("mixed", bench_replace(block, LIVE, STEPS, make),
			  2 * STEPS);
}
