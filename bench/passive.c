/*
 * passive - Threads that are handed small objects and put their own in place.
 *
 * Passive false sharing: main allocates blocks side by side and hands them to
 * two threads; each frees its own and allocates others, to count in. Slow
 * where they get the handed blocks again, which share cache lines.
 */
#include "bench.h"

enum { THREADS = 2, ROUNDS = 200, TIMES = 20 * 1000 };

struct worker {
	pthread_t thread;
	uint64_t *counter[BENCH_COUNTERS], sum;
};

static pthread_barrier_t ready;

static uint64_t *new_counter(uint64_t value)
{
	uint64_t *p = bench_need(malloc(sizeof(*p)));

	*p = value;
	return p;
}

static void replace(struct worker *w)
{
	for (int i = 0; i < BENCH_COUNTERS; i++) {
		w->sum = w->sum * 31 + *w->counter[i];
		free(w->counter[i]);
	}
	for (int i = 0; i < BENCH_COUNTERS; i++)
		w->counter[i] = new_counter((uint64_t)i);
}

static void *count(void *arg)
{
	struct worker *w = arg;
	uint64_t *counter[BENCH_COUNTERS];

	replace(w);
	memcpy(counter, w->counter, sizeof(counter));
	pthread_barrier_wait(&ready);
	bench_count(counter, TIMES);
	for (int i = 0; i < BENCH_COUNTERS; i++) {
		w->sum = w->sum * 31 + *counter[i];
		free(counter[i]);
	}
	return NULL;
}

int main(void)
{
	static struct worker worker[THREADS];
	uint64_t sum = 0;

	pthread_barrier_init(&ready, NULL, THREADS);
	bench_start();
	for (uint64_t round = 0; round < ROUNDS; round++) {
		for (int i = 0; i < BENCH_COUNTERS * THREADS; i++)
			worker[i % THREADS].counter[i / THREADS] =
				new_counter(round);
		for (int i = 0; i < THREADS; i++)
			bench_thread(&worker[i].thread, count, &worker[i]);
		for (int i = 0; i < THREADS; i++)
			pthread_join(worker[i].thread, NULL);
	}
	for (int i = 0; i < THREADS; i++)
		sum = sum * 31 + worker[i].sum;
	pthread_barrier_destroy(&ready);
	return bench_done("passive", sum,
			  4 * THREADS * ROUNDS * BENCH_COUNTERS);
}
