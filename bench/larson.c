/*
 * larson - A server whose threads end and leave their sessions to new ones.
 *
 * Two threads at a time, with 5000 sessions each; a random one is replaced.
 * After 5000 times the thread starts another, which goes on with the same
 * sessions, and ends: most blocks are freed by a thread that did not yet live
 * when they were allocated.
 */
#include "bench.h"

enum { CHAINS = 2, GENERATIONS = 400, SESSIONS = 5000, STEPS = 5000 };

struct chain {
	struct block session[SESSIONS];
	pthread_t thread[GENERATIONS];
	uint64_t state, sum;
	int generation;
};

static void *serve(void *arg)
{
	struct chain *c = arg;
	int next = c->generation + 1;

	for (int i = 0; i < STEPS; i++) {
		uint64_t r = bench_random(&c->state);
		struct block *b = &c->session[r % SESSIONS];

		c->sum = c->sum * 31 + bench_drop(*b);
		*b = bench_make(bench_between(16, 500, r), r);
	}
	c->generation = next;
	if (next < GENERATIONS)
		bench_thread(&c->thread[next], serve, c);
	return NULL;
}

static uint64_t finish(struct chain *c)
{
	for (int i = 0; i < SESSIONS; i++)
		c->sum = c->sum * 31 + bench_drop(c->session[i]);
	return c->sum;
}

int main(void)
{
	static struct chain chain[CHAINS];
	uint64_t sum = 0;

	bench_start();
	for (int i = 0; i < CHAINS; i++) {
		chain[i].state = bench_seed((uint64_t)i);
		bench_thread(&chain[i].thread[0], serve, &chain[i]);
	}
	/* Each has been started once the one before in its chain has ended. */
	for (int g = 0; g < GENERATIONS; g++)
		for (int i = 0; i < CHAINS; i++)
			pthread_join(chain[i].thread[g], NULL);
	for (int i = 0; i < CHAINS; i++)
		sum = sum * 31 + finish(&chain[i]);
	return bench_done("larson", sum, 2 * CHAINS * GENERATIONS * STEPS);
}
