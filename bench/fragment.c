/*
 * fragment - A cache whose load changes: most objects go, others come.
 *
 * It grows to 48 MiB, 90 % of the blocks are freed at random, and it grows
 * again with other sizes between those that are left; and so on.
 */
#include "bench.h"

#define FULL ((size_t)48 << 20)

enum { MOST = 600 * 1000 };

static const struct {
	size_t least, most;
} load[] = {
	{ 32, 256 }, { 200, 1000 }, { 100, 400 }, { 1000, 8000 }, { 64, 512 },
};

static struct block block[MOST];
static size_t count, bytes;
static uint64_t state, sum, ops;

static void grow(size_t least, size_t most)
{
	while (bytes < FULL && count < MOST) {
		uint64_t r = bench_random(&state);

		block[count] = bench_make(bench_between(least, most, r), r);
		bytes += block[count++].size;
		ops += 2;
	}
}

static void shrink(size_t left)
{
	while (count > left) {
		struct block *b = &block[bench_random(&state) % count];

		bytes -= b->size;
		sum = sum * 31 + bench_drop(*b);
		*b = block[--count];
	}
}

int main(void)
{
	state = bench_seed(0);
	bench_start();
	for (size_t i = 0; i < sizeof(load) / sizeof(load[0]); i++) {
		grow(load[i].least, load[i].most);
		shrink(count / 10);
	}
	shrink(0);
	return bench_done("fragment", sum, ops);
}
