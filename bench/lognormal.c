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

static struct block make(uint64_t r)
{
	return bench_make(lognormal(r), r);
}

int main(void)
{
	static struct block block[LIVE];

	bench_start();
	return bench_done("lognormal", bench_replace(block, LIVE, STEPS, make),
			  2 * STEPS);
}
