/* One thread allocates, another frees, through a ring of 1024 slots. */
#include "bench.h"

enum { SLOTS = 1024, BLOCKS = 12 * 1000 * 1000 };

static uint64_t *slot[SLOTS];
static _Alignas(64) uint64_t made;
static _Alignas(64) uint64_t used;

/* Waits until *count differs from `value`; without a core to spare, yields. */
static void await(const uint64_t *count, uint64_t value)
{
	for (int spins = 0; __atomic_load_n(count, __ATOMIC_ACQUIRE) == value;)
		if (++spins % 256 == 0)
			sched_yield();
}

static void *consume(void *arg)
{
	uint64_t *sum = arg;

	for (uint64_t i = 0; i < BLOCKS; i++) {
		await(&made, i);
		*sum = *sum * 31 + *slot[i % SLOTS];
		free(slot[i % SLOTS]);
		__atomic_store_n(&used, i + 1, __ATOMIC_RELEASE);
	}
	return NULL;
}

int main(void)
{
	uint64_t state = 88172645463325252u, sum = 0;
	pthread_t consumer;

	if (pthread_create(&consumer, NULL, consume, &sum))
		return 1;
	for (uint64_t i = 0; i < BLOCKS; i++) {
		if (i >= SLOTS)
			await(&used, i - SLOTS);
		slot[i % SLOTS] =
			bench_block(16 + bench_random(&state) % 496, i);
		__atomic_store_n(&made, i + 1, __ATOMIC_RELEASE);
	}
	pthread_join(consumer, NULL);
	return bench_done("ring", sum);
}
