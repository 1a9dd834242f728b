/*
 * idle - A pool of threads: all sleep after a peak of work, but one goes on.
 *
 * 32 threads allocate 2 MiB each, free them and sleep. Then main allocates
 * as much as all of them, and replaces it over and over. The peak shows
 * whether it got their memory, the end what they hold while they sleep.
 */
#include "bench.h"

enum { THREADS = 32, BLOCKS = 1000, STEPS = 1500 * 1000 };

struct worker {
	pthread_t thread;
	struct block block[BLOCKS];
	uint64_t state, sum;
};

static struct worker worker[THREADS];
static pthread_barrier_t peak;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static int idle;
static bool over;

static void replace(struct worker *w, struct block *b)
{
	uint64_t r = bench_random(&w->state);

	w->sum = w->sum * 31 + bench_drop(*b);
	*b = bench_make(bench_between(32, 4096, r), r);
}

static void fill(struct worker *w)
{
	for (int i = 0; i < BLOCKS; i++)
		replace(w, &w->block[i]);
}

static void empty(struct worker *w)
{
	for (int i = 0; i < BLOCKS; i++) {
		w->sum = w->sum * 31 + bench_drop(w->block[i]);
		w->block[i].p = NULL;
	}
}

static void *work(void *arg)
{
	fill(arg);
	pthread_barrier_wait(&peak);
	empty(arg);
	pthread_mutex_lock(&lock);
	idle++;
	pthread_cond_broadcast(&changed);
	while (!over)
		pthread_cond_wait(&changed, &lock);
	pthread_mutex_unlock(&lock);
	return NULL;
}

static void let_them_work(void)
{
	for (int i = 0; i < THREADS; i++) {
		worker[i].state = bench_seed((uint64_t)i);
		bench_thread(&worker[i].thread, work, &worker[i]);
	}
	pthread_mutex_lock(&lock);
	while (idle < THREADS)
		pthread_cond_wait(&changed, &lock);
	pthread_mutex_unlock(&lock);
}

static void let_them_end(void)
{
	pthread_mutex_lock(&lock);
	over = true;
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&lock);
	for (int i = 0; i < THREADS; i++)
		pthread_join(worker[i].thread, NULL);
}

int main(void)
{
	uint64_t state = bench_seed(THREADS), sum = 0;
	int status;

	pthread_barrier_init(&peak, NULL, THREADS);
	bench_start();
	let_them_work();
	for (int i = 0; i < THREADS; i++)
		fill(&worker[i]);
	for (int i = 0; i < STEPS; i++) {
		uint64_t r = bench_random(&state);
		struct worker *w = &worker[r % THREADS];

		replace(w, &w->block[(r >> 32) % BLOCKS]);
	}
	for (int i = 0; i < THREADS; i++) {
		empty(&worker[i]);
		sum = sum * 31 + worker[i].sum;
	}
	status = bench_done("idle", sum,
			    (uint64_t)4 * THREADS * BLOCKS + 2 * STEPS);
	let_them_end();
	pthread_barrier_destroy(&peak);
	return status;
}
