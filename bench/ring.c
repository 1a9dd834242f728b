/*
 * ring - A pipeline: one thread makes messages, another uses and frees them.
 *
 * Up to 1024 messages, of 16 to 512 bytes, are on their way.
 */
#include "bench.h"

enum { MESSAGES = 3 * 1000 * 1000 };

static struct lane lane;

static void *consume(void *arg)
{
	uint64_t sum = 0;
	struct block b;
	int spins = 0;

	for (int i = 0; i < MESSAGES; i++) {
		while (!bench_receive(&lane, &b))
			bench_spin(&spins);
		sum = sum * 31 + bench_drop(b);
	}
	*(uint64_t *)arg = sum;
	return NULL;
}

int main(void)
{
	uint64_t state = bench_seed(0), sum = 0;
	pthread_t consumer;

	bench_start();
	bench_thread(&consumer, consume, &sum);
	for (int i = 0; i < MESSAGES; i++) {
		uint64_t r = bench_random(&state);

		bench_send(&lane, bench_make(bench_between(16, 512, r), r));
	}
	pthread_join(consumer, NULL);
	return bench_done("ring", sum, (uint64_t)2 * MESSAGES);
}
