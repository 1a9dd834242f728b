/*
 * mesh - Stages of a server: messages from every producer to every consumer.
 *
 * Two producers and two consumers, with a queue from each to each.
 */
#include "bench.h"

enum { N = 2, MESSAGES = 400 * 1000 };

struct stage {
	pthread_t thread;
	int number;
};

static struct lane lane[N][N];
static uint64_t sums[N][N]; /* of what came from whom */

static void *produce(void *arg)
{
	const struct stage *me = arg;
	uint64_t state = bench_seed((uint64_t)me->number);

	for (int i = 0; i < MESSAGES; i++) {
		for (int to = 0; to < N; to++) {
			uint64_t r = bench_random(&state);
			size_t size = bench_between(16, 512, r);

			bench_send(&lane[me->number][to], bench_make(size, r));
		}
	}
	return NULL;
}

static void *consume(void *arg)
{
	const struct stage *me = arg;
	uint64_t sum[N] = { 0 };
	struct block b;
	int spins = 0;

	for (int left = N * MESSAGES, before; left > 0;) {
		before = left;
		for (int from = 0; from < N; from++) {
			if (!bench_receive(&lane[from][me->number], &b))
				continue;
			sum[from] = sum[from] * 31 + bench_drop(b);
			left--;
		}
		if (left == before)
			bench_spin(&spins);
	}
	memcpy(sums[me->number], sum, sizeof(sum));
	return NULL;
}

int main(void)
{
	struct stage producer[N], consumer[N];
	uint64_t sum = 0;

	bench_start();
	for (int i = 0; i < N; i++) {
		producer[i].number = consumer[i].number = i;
		bench_thread(&producer[i].thread, produce, &producer[i]);
		bench_thread(&consumer[i].thread, consume, &consumer[i]);
	}
	for (int i = 0; i < N; i++) {
		pthread_join(producer[i].thread, NULL);
		pthread_join(consumer[i].thread, NULL);
	}
	for (int i = 0; i < N * N; i++)
		sum = sum * 31 + sums[i / N][i % N];
	return bench_done("mesh", sum, (uint64_t)2 * N * N * MESSAGES);
}
