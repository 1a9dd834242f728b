/* 10,000 threads, two at a time; each allocates 100 blocks and frees them. */
#include "bench.h"

enum { THREADS = 10 * 1000, BLOCKS = 100 };

static void *work(void *arg)
{
	uint64_t *block[BLOCKS], *sum = arg, state = *sum + 1;

	for (int i = 0; i < BLOCKS; i++)
		block[i] = bench_block(16 + bench_random(&state) % 1000,
				       (uint64_t)i);
	for (int i = 0; i < BLOCKS; i++) {
		*sum = *sum * 31 + *block[i];
		free(block[i]);
	}
	return NULL;
}

int main(void)
{
	uint64_t sum[2] = { 1, 2 };
	pthread_t thread[2];

	for (int i = 0; i < THREADS; i++) {
		if (i >= 2)
			pthread_join(thread[i % 2], NULL);
		if (pthread_create(&thread[i % 2], NULL, work, &sum[i % 2]))
			return 1;
	}
	pthread_join(thread[0], NULL);
	pthread_join(thread[1], NULL);
	return bench_done("threads", sum[0] ^ sum[1]);
}
