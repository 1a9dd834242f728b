/*
 * interp - Two interpreters in two threads: most values die with their frame.
 *
 * Each step makes a frame of a few values: numbers of 16 and 32 bytes, strings,
 * lists. Some are put in a global table of 20,000, and replace another there.
 */
#include "bench.h"

enum { THREADS = 2, STEPS = 400 * 1000, GLOBALS = 20 * 1000, DEPTH = 16 };

struct machine {
	uint64_t state, sum, ops;
	struct block global[GLOBALS];
	struct block stack[DEPTH][8];
	pthread_t thread;
};

static struct machine machine[THREADS];

static size_t size_of(uint64_t r)
{
	switch (r % 16) {
	case 0: return bench_between(64, 512, r);
	case 1:
	case 2:
	case 3: return bench_between(24, 96, r);
	default: return r & 16 ? 16 : 32;
	}
}

static void frame(struct machine *m, struct block *slot)
{
	uint64_t r = bench_random(&m->state);
	unsigned n = 2 + r % 7;

	for (unsigned i = 0; i < n; i++) {
		uint64_t q = bench_random(&m->state);

		m->sum = m->sum * 31 + bench_drop(slot[i]);
		slot[i] = bench_make(size_of(q), q);
	}
	m->ops += 2 * n;
	if (r % 8 == 0) {
		struct block *g = &m->global[r / 8 % GLOBALS], b = *g;

		*g = slot[0];
		slot[0] = b;
	}
}

static void *run(void *arg)
{
	struct machine *m = arg;

	for (int i = 0; i < STEPS; i++)
		frame(m, m->stack[bench_random(&m->state) % DEPTH]);
	for (int i = 0; i < GLOBALS; i++)
		m->sum = m->sum * 31 + bench_drop(m->global[i]);
	for (int i = 0; i < DEPTH * 8; i++)
		m->sum = m->sum * 31 + bench_drop(m->stack[i / 8][i % 8]);
	return NULL;
}

int main(void)
{
	uint64_t sum = 0, ops = 0;

	bench_start();
	for (unsigned i = 0; i < THREADS; i++) {
		machine[i].state = bench_seed(i);
		bench_thread(&machine[i].thread, run, &machine[i]);
	}
	for (unsigned i = 0; i < THREADS; i++) {
		pthread_join(machine[i].thread, NULL);
		sum = sum * 31 + machine[i].sum;
		ops += machine[i].ops;
	}
	return bench_done("interp", sum, ops);
}
