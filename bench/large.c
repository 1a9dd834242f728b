/*
 * large - A viewer of images: large buffers of many sizes, used in part.
 *
 * Sixteen live blocks of 128 KiB to 8 MiB, as many of each doubling; a random
 * one is replaced. A quarter to all of a block is touched.
 */
#include "bench.h"

enum { LIVE = 16, STEPS = 3000 };

static size_t large(uint64_t r)
{
	size_t least = (size_t)128 << 10 << r % 6;

	return bench_between(least, 2 * least, r);
}

int main(void)
{
	static struct block used[LIVE];
	uint64_t state = bench_seed(0), sum = 0;

	bench_start();
	for (int i = 0; i < STEPS; i++) {
		uint64_t r = bench_random(&state);
		struct block *b = &used[bench_random(&state) % LIVE];
		size_t size = large(r);

		sum = sum * 31 + bench_drop(*b);
		b->p = bench_need(malloc(size));
		b->size = size / 4 * (1 + (r >> 8) % 4);
		bench_write(*b, r);
	}
	for (int i = 0; i < LIVE; i++)
		sum = sum * 31 + bench_drop(used[i]);
	return bench_done("large", sum, 2 * STEPS);
}
