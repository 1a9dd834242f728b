/*
 * lognormal - A store of documents, whose sizes spread as those of files do.
 *
 * 60,000 live blocks, a random one is replaced. The sizes are log-normal, with
 * a median of 250 bytes: two thirds lie between 80 and 780 bytes.
 */
#include "bench.h"

enum { LIVE = 60 * 1000, STEPS = 3 * 1000 * 1000 };

/*
 * The sum of eight random bytes is as good as normal: 1020, give or take 209.
 * In units of 1/128 it is the logarithm to base 2 of the size, from 0 to 15.9.
 * Whole numbers only, and 2^x is a straight line between powers of 2: it must
 * be the same on every machine.
 */
static size_t lognormal(uint64_t r)
{
	size_t x = 0, size;

	for (int i = 0; i < 8; i++, r >>= 8)
		x += r & 255;
	size = ((128 + x % 128) << x / 128) / 128;
	return size < 8 ? 8 : size;
}

int main(void)
{
	static struct block block[LIVE];
	uint64_t state = bench_seed(0), sum = 0;

	bench_start();
	for (int i = 0; i < STEPS; i++) {
		uint64_t r = bench_random(&state);
		struct block *b = &block[bench_random(&state) % LIVE];

		sum = sum * 31 + bench_drop(*b);
		*b = bench_make(lognormal(r), r);
	}
	for (int i = 0; i < LIVE; i++)
		sum = sum * 31 + bench_drop(block[i]);
	return bench_done("lognormal", sum, 2 * STEPS);
}
