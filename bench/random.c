/*
 * random - A cache of small objects: any one may be the next to be replaced.
 *
 * 100,000 live blocks of 16 to 1000 bytes.
 */
#include "bench.h"

enum { LIVE = 100 * 1000, STEPS = 3 * 1000 * 1000 };

static struct block make(uint64_t r)
{
	return bench_make(bench_between(16, 1000, r), r);
}

int main(void)
{
	static struct block block[LIVE];

	bench_start();
	return bench_done("random", bench_replace(block, LIVE, STEPS, make),
			  2 * STEPS);
}
