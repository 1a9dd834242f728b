/*
 * falseshare - Threads that count, each in small objects it allocated itself.
 *
 * Active false sharing: slow where an allocator puts blocks of two threads in
 * one cache line, so that each write takes the line from the other core.
 */
#include "bench.h"

enum { THREADS = 2, ROUNDS = 50 * 1000, TIMES = 2000 };

static pthread_barrier_t ready;

static void *count(void *arg)
{
	uint64_t *counter[BENCH_COUNTERS], sum = 0;

	pthread_barrier_wait(&ready);
	for (uint64_t round = 0; round < ROUNDS; round++) {
		for (int i = 0; i < BENCH_COUNTERS; i++) {
			counter[i] = bench_need(malloc(sizeof(*counter[i])));
			*counter[i] = round + (uint64_t)i;
		}
		bench_count(counter, TIMES);
		for (int i = 0; i < BENCH_COUNTERS; i++) {
			sum = sum * 31 + *counter[i];
			free(counter[i]);
		}
	}
	*(uint64_t *)arg = sum;
	return NULL;
}

int main(void)
{
	pthread_t thread[THREADS];
	uint64_t sums[THREADS], sum = 0;

	pthread_barrier_init(&ready, NULL, THREADS);
	bench_start();
	for (int i = 0; i < THREADS; i++)
		bench_thread(&thread[i], count, &sums[i]);
	for (int i = 0; i < THREADS; i++) {
		pthread_join(thread[i], NULL);
		sum = sum * 31 + sums[i];
	}
	pthread_barrier_destroy(&ready);
	return bench_done("falseshare", sum,
			  2 * THREADS * ROUNDS * BENCH_COUNTERS);
}
