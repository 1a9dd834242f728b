/*
 * calloc - A program that wants its tables zeroed, of 16 bytes to 32 KiB.
 *
 * 2000 live tables, as many of each doubling of the size; a random one is
 * replaced. A new one is looked through, since it must be zero, and filled.
 */
#include "bench.h"

enum { LIVE = 2000, STEPS = 600 * 1000 };

struct table {
	size_t count;
	uint64_t *word;
};

static uint64_t add_up(const struct table *t)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < t->count; i++)
		sum += t->word[i];
	return sum;
}

static void make(struct table *t, uint64_t r)
{
	size_t least = (size_t)2 << r % 11;

	t->count = bench_between(least, 2 * least, r);
	t->word = bench_need(calloc(t->count, sizeof(t->word[0])));
}

int main(void)
{
	static struct table table[LIVE];
	uint64_t state = bench_seed(0), sum = 0;

	bench_start();
	for (int i = 0; i < STEPS; i++) {
		uint64_t r = bench_random(&state);
		struct table *t = &table[bench_random(&state) % LIVE];

		sum = sum * 31 + add_up(t);
		free(t->word);
		make(t, r);
		sum = sum * 31 + add_up(t);
		for (size_t k = 0; k < t->count; k++)
			t->word[k] = r + k;
	}
	for (int i = 0; i < LIVE; i++) {
		sum = sum * 31 + add_up(&table[i]);
		free(table[i].word);
	}
	return bench_done("calloc", sum, 2 * STEPS);
}
