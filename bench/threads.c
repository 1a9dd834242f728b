/*
 * threads - A server with a thread for each request, which leaves nothing.
 *
 * 7000 threads, two at a time; each allocates 100 blocks and frees them.
 */
#include "bench.h"

enum { THREADS = 7 * 1000, BLOCKS = 100, LARGEST = 1000 };

static void *work(void *arg)
{
	struct block block[BLOCKS];
	uint64_t *sum = arg, state = bench_seed(*sum);

	for (int i = 0; i < BLOCKS; i++) {
		uint64_t r = bench_random(&state);

		block[i] = bench_make(bench_between(16, LARGEST, r), r);
	}
	for (int i = 0; i < BLOCKS; i++)
		*sum = *sum * 31 + bench_drop(block[i]);
	return NULL;
}

int main(void)
{
	uint64_t sum[2] = { 1, 2 };
	pthread_t thread[2];

	bench_start();
	for (int i = 0; i < THREADS; i++) {
		if (i >= 2)
			pthread_join(thread[i % 2], NULL);
		bench_thread(&thread[i % 2], work, &sum[i % 2]);
	}
	pthread_join(thread[0], NULL);
	pthread_join(thread[1], NULL);
	return bench_done("threads", sum[0] * 31 + sum[1],
			  2 * THREADS * BLOCKS);
}
