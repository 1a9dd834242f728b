/*
 * large - A viewer of images: large buffers of many sizes, used in part.
 *
 * Sixteen live blocks of 128 KiB to 8 MiB, as many of each doubling; a random
 * one is replaced. A quarter to all of a block is touched.
 */
#include "bench.h"

enum { LIVE = 16, STEPS = 3000 };

static struct block make(uint64_t r)
{
	size_t least = (size_t)128 << 10 << r % 6;
	size_t size = bench_between(least, 2 * least, r);
	struct block used = { bench_need(malloc(size)),
			      size / 4 * (1 + (r >> 8) % 4) };

	bench_write(used, r);
	return used;
}

int main(void)
{
	static struct block block[LIVE];

	bench_start();
	return bench_done("large", bench_replace(block, LIVE, STEPS, make),
			  2 * STEPS);
}
