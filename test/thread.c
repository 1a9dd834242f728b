/*
 * thread.c - threads that come, go, idle and exchange blocks; fork; exit.
 *
 * FULL=1 runs the long counts. With -DEARLY this file is a library instead,
 * whose constructor runs threads and forks before main.
 */
#include "test.h"
#include <limits.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/time.h>
#include <time.h>

static atomic_int stop;

static pthread_t start(void *(*run)(void *), void *arg)
{
	pthread_t thread;
	int code = pthread_create(&thread, NULL, run, arg);

	CHECKF(code == 0, "pthread_create gave %d", code);
	return thread;
}

static void join(pthread_t thread)
{
	CHECK(pthread_join(thread, NULL) == 0);
}

/* One step among 32 blocks, 16 B to 2 MiB, that verifies what it frees */
static void shuffle(char **slots, uint64_t *state)
{
	uint64_t r = test_random(state);
	size_t n = (r >> 8) % ((size_t)16 << (r >> 32) % 18) + 16;
	char **slot = &slots[r % 32], *p = *slot;

	if (p && r & 32) {
		CHECK(p[0] == 77 && p[15] == 78);
		free(p);
		*slot = NULL;
		return;
	}
	if (p) {
		CHECK(p[0] == 77 && p[15] == 78);
		p = realloc(p, n);
	} else {
		p = malloc(n);
	}
	CHECK(p);
	p[0] = 77;
	p[15] = 78;
	p[n - 1] = n == 16 ? 78 : 79;
	*slot = p;
}

static void empty(char **slots)
{
	int i;

	for (i = 0; i < 32; i++)
		free(slots[i]);
}

/* Works until told to stop, with pauses so that others get a processor. */
static void *busy(void *arg)
{
	uint64_t state = (uintptr_t)arg * 77 + 1;
	char *slots[32] = { NULL };
	unsigned int i;

	for (i = 0; !stop; i++) {
		shuffle(slots, &state);
		if (i % 64 == 0)
			usleep(50);
	}
	empty(slots);
	return NULL;
}

static void *short_life(void *arg)
{
	free(malloc(1000));
	return arg;
}

/* What a child must be able to do, however its parent was interrupted */
__attribute__((noreturn)) static void child_life(void)
{
	uint64_t state = 99;
	char *slots[32] = { NULL }, *p;
	int i;

	alarm(30);
	CHECK(setenv("ALLOC_TEST_CHILD", "yes", 1) == 0);
	free(malloc(64));
	p = malloc(4 * MIB);
	CHECK(p);
	p[0] = p[4 * MIB - 1] = 1;
	free(p);
	for (i = 0; i < 100; i++)
		shuffle(slots, &state);
	join(start(short_life, NULL));
	empty(slots);
	_exit(0);
}

static void fork_once(void)
{
	pid_t pid = fork();
	int code;

	CHECK(pid >= 0);
	if (pid == 0)
		child_life();
	code = test_wait(pid);
	CHECKF(code == 0, "a child ended with %d", code);
}

#ifdef EARLY

__attribute__((constructor)) static void early(void)
{
	pthread_t threads[4];
	uintptr_t i;

	for (i = 0; i < 4; i++)
		threads[i] = start(busy, (void *)i);
	for (i = 0; i < 3; i++)
		fork_once();
	stop = 1;
	for (i = 0; i < 4; i++)
		join(threads[i]);
}

#else

static void forks(void)
{
	pthread_t threads[8];
	long n = test_scale(600, 2000);
	uintptr_t i;

	for (i = 0; i < 8; i++)
		threads[i] = start(busy, (void *)i);
	while (n-- > 0)
		fork_once();
	stop = 1;
	for (i = 0; i < 8; i++)
		join(threads[i]);
}

static void *busy_forking(void *arg)
{
	uint64_t state = (uintptr_t)arg * 77 + 1;
	long i, rounds = test_scale(60, 250);
	char *slots[32] = { NULL };
	int k;

	for (i = 0; i < rounds; i++) {
		for (k = 0; k < 64; k++)
			shuffle(slots, &state);
		fork_once();
	}
	empty(slots);
	return NULL;
}

static void forks_in_threads(void)
{
	pthread_t threads[8];
	uintptr_t i;

	for (i = 0; i < 8; i++)
		threads[i] = start(busy_forking, (void *)i);
	for (i = 0; i < 8; i++)
		join(threads[i]);
}

/* The children free what threads that they do not have had allocated. */
static atomic_int makers_ready;

static void *makes_blocks(void *arg)
{
	char **p = arg;
	size_t i;

	for (i = 0; i < 1000; i++) {
		size_t n = i * 97 % 40000 + 16;

		p[i] = malloc(n);
		CHECK(p[i]);
		test_fill(p[i], 16, i);
	}
	makers_ready++;
	while (!stop)
		usleep(1000);
	return NULL;
}

static void child_frees(void)
{
	static char *p[4][1000];
	pthread_t threads[4];
	int i, k, round;
	pid_t pid;

	for (i = 0; i < 4; i++)
		threads[i] = start(makes_blocks, p[i]);
	while (makers_ready < 4)
		usleep(100);
	for (round = 0; round < 20; round++) {
		pid = fork();
		CHECK(pid >= 0);
		for (i = 0; pid == 0 && i < 4; i++)
			for (k = 0; k < 1000; k++) {
				CHECK(test_filled(p[i][k], 16, (size_t)k));
				free(realloc(p[i][k], (size_t)k * 50 + 1));
			}
		if (pid == 0)
			child_life();
		CHECK(test_wait(pid) == 0);
	}
	stop = 1;
	for (i = 0; i < 4; i++)
		join(threads[i]);
	for (i = 0; i < 4; i++)
		for (k = 0; k < 1000; k++)
			free(p[i][k]);
}

/*
 * Blocks of all sizes that threads of the parent have, some of which another
 * made: a child's new threads look at them, free or resize them, and allocate;
 * what they leave is for grandchildren.
 */
enum { ADOPT_THREADS = 12, ADOPT_BLOCKS = 300 };

static struct adopted {
	char *p;
	size_t n;
} adopted[ADOPT_THREADS][ADOPT_BLOCKS];

static atomic_int adopt_ready;

static size_t adopt_size(uint64_t *state)
{
	uint64_t r = test_random(state);

	/* 16 B to 1 KiB, to 32 KiB, to 400 KiB */
	return 16 + (r >> 8) % (r % 4 < 2   ? 1000 :
				r % 32 < 31 ? 32000 :
					      400000);
}

static void adopt_fill(struct adopted *a, size_t n)
{
	CHECK(a->p);
	a->n = n;
	test_fill(a->p, n, n);
}

/* Makes blocks, of which it keeps some, and then goes on with others. */
static void *adopt_maker(void *arg)
{
	size_t me = (size_t)(uintptr_t)arg, i, k;
	uint64_t state = 31 * me + 7;
	char *slots[32] = { NULL };

	for (k = 0; k < 4; k++)
		for (i = 0; i < ADOPT_BLOCKS; i++) {
			struct adopted *a = &adopted[me][i];
			size_t n = adopt_size(&state);

			if (a->p && test_random(&state) % 2)
				continue;
			free(a->p);
			a->p = malloc(n);
			adopt_fill(a, n);
		}
	/* Holes, lists, batches, and extents that are kept */
	for (i = 0; i < ADOPT_BLOCKS; i++)
		if (test_random(&state) % 2) {
			free(adopted[me][i].p);
			adopted[me][i].p = NULL;
		}
	adopt_ready++;
	while (adopt_ready < ADOPT_THREADS)
		usleep(100);
	if (me % 3 == 0) /* some have blocks that another made */
		for (i = 0; i < ADOPT_BLOCKS; i += 3) {
			struct adopted *a = &adopted[me + 1][i];

			free(a->p);
			a->p = malloc(a->n = 200 + i);
			adopt_fill(a, a->n);
		}
	adopt_ready++;
	while (!stop) {
		shuffle(slots, &state);
		if (me % 2)
			usleep(50);
	}
	empty(slots);
	return NULL;
}

/* A child's thread takes half of what is left of one of the parent's. */
static void *adopt_taker(void *arg)
{
	size_t me = (size_t)(uintptr_t)arg, i;
	uint64_t state = 77 * me + (uint64_t)getpid();
	char *slots[32] = { NULL };

	for (i = 0; i < ADOPT_BLOCKS; i++) {
		struct adopted *a = &adopted[me][i];
		uint64_t r = test_random(&state);

		if (!a->p)
			continue;
		CHECKF(test_filled(a->p, a->n, a->n), "%p of %zu bytes",
		       (void *)a->p, a->n);
		shuffle(slots, &state);
		if (r % 4 == 0) {
			size_t n = adopt_size(&state);

			a->p = realloc(a->p, n);
			adopt_fill(a, n);
		} else if (r % 4 < 3) {
			free(a->p);
			a->p = NULL;
		}
	}
	for (i = 0; i < 2000; i++)
		shuffle(slots, &state);
	empty(slots);
	return NULL;
}

/* `more` generations of children */
__attribute__((noreturn)) static void adopt_child(int more)
{
	pthread_t threads[ADOPT_THREADS];
	uintptr_t i, k;
	pid_t pid;

	alarm(50);
	for (i = 0; i < ADOPT_THREADS; i++)
		threads[i] = start(adopt_taker, (void *)i);
	if (more % 2) /* while they are at work */
		usleep(1000);
	pid = more > 1 && more % 2 == 0 ? fork() : -1;
	for (i = 0; i < ADOPT_THREADS && pid; i++)
		join(threads[i]);
	if (pid == 0)
		child_life();
	CHECK(pid < 0 || test_wait(pid) == 0);
	pid = more ? fork() : -1;
	if (pid == 0)
		adopt_child(more - 1);
	CHECK(pid < 0 || test_wait(pid) == 0);
	for (i = 0; i < ADOPT_THREADS; i++)
		for (k = 0; k < ADOPT_BLOCKS; k++) {
			struct adopted *a = &adopted[i][k];

			CHECK(!a->p || test_filled(a->p, a->n, a->n));
			free(a->p);
			a->p = NULL;
		}
	malloc_trim(0);
	child_life();
}

static void adoption(void)
{
	pthread_t threads[ADOPT_THREADS];
	long round, rounds = test_scale(3, 60);
	uintptr_t i, k;

	for (i = 0; i < ADOPT_THREADS; i++)
		threads[i] = start(adopt_maker, (void *)i);
	while (adopt_ready < 2 * ADOPT_THREADS)
		usleep(100);
	for (round = 0; round < rounds; round++) {
		pid_t pid = fork();

		CHECK(pid >= 0);
		if (pid == 0)
			adopt_child(3);
		CHECK(test_wait(pid) == 0);
	}
	stop = 1;
	for (i = 0; i < ADOPT_THREADS; i++)
		join(threads[i]);
	for (i = 0; i < ADOPT_THREADS; i++)
		for (k = 0; k < ADOPT_BLOCKS; k++) {
			struct adopted *a = &adopted[i][k];

			CHECK(!a->p || test_filled(a->p, a->n, a->n));
			free(a->p);
		}
}

enum { TICKS = 1000 };
static volatile sig_atomic_t ticks, bad_ticks;

/*
 * The next tick, if there is to be one. Not by a timer that repeats: a fork may
 * take longer than that, and nothing would run but the handler.
 */
static void tick_later(void)
{
	struct itimerval once = { { 0, 0 }, { 0, 300 } };

	if (ticks < TICKS)
		CHECK(setitimer(ITIMER_REAL, &once, NULL) == 0);
}

/* The interrupted malloc may be anywhere; the child must not need it. */
static void fork_on_tick(int sig)
{
	int err = errno, status = -1;
	pid_t pid = fork();

	(void)sig;
	if (pid == 0)
		_exit(0);
	if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0)
		bad_ticks++;
	ticks++;
	tick_later();
	errno = err;
}

static void fork_in_handler(void)
{
	struct sigaction act = { .sa_handler = fork_on_tick };
	char *slots[32] = { NULL };
	uint64_t state = 5;

	act.sa_flags = SA_RESTART;
	CHECK(sigaction(SIGALRM, &act, NULL) == 0);
	tick_later();
	while (ticks < TICKS)
		shuffle(slots, &state);
	CHECKF(bad_ticks == 0, "%d of %d forks", (int)bad_ticks, (int)ticks);
	empty(slots);
	/* The heap is in order: all of it can be used again. */
	for (ticks = 0; ticks < 10000; ticks++)
		shuffle(memset(slots, 0, ticks ? 0 : sizeof(slots)), &state);
	empty(slots);
}

/* Every start of a program runs threads and forks in its constructors. */
static void early(void)
{
	int i, code;
	pid_t pid;

	for (i = 0; i < 60; i++) {
		pid = fork();
		CHECK(pid >= 0);
		if (pid == 0) {
			alarm(30);
			execl("/bin/true", "true", (char *)NULL);
			_exit(TEST_FAILED);
		}
		code = test_wait(pid);
		CHECKF(code == 0, "round %d ended with %d", i, code);
	}
}

/* Freed memory past the bound is gone, so a fork need not promise it. */
static void fork_after_free(void)
{
	enum { BLOCKS = 1000 };
	static char *p[BLOCKS];
	size_t i, before = test_status("VmData:"), after;

	for (i = 0; i < BLOCKS; i++) {
		p[i] = malloc(64 * KIB + i * KIB);
		CHECK(p[i]);
		p[i][0] = 1;
	}
	CHECK(test_status("VmData:") > before + 500 * MIB);
	for (i = 0; i < BLOCKS; i++)
		free(p[i]);
	after = test_status("VmData:");
	CHECKF(after < before + 80 * MIB, "%zu MiB", (after - before) / MIB);
	CHECK(system("true") == 0);
}

/* Parent and child write to the same addresses and see their own bytes. */
static void private_memory(void)
{
	static char *p[100];
	int i, k;
	pid_t pid;

	for (i = 0; i < 100; i++) {
		p[i] = malloc((size_t)16 << i % 17);
		CHECK(p[i]);
		p[i][0] = 1;
	}
	for (k = 0; k < 10; k++) {
		pid = fork();
		CHECK(pid >= 0);
		for (i = 0; i < 100; i++) {
			CHECK(p[i][0] == 1 + k);
			p[i][0] = pid ? (char)(2 + k) : 99;
		}
		for (i = 0; pid == 0 && i < 100; i++)
			free(p[i]);
		if (pid == 0)
			_exit(0);
		CHECK(test_wait(pid) == 0);
	}
	for (i = 0; i < 100; i++)
		CHECK(p[i][0] == 1 + k);
}

/* A new process image while the others allocate: spawn shares the memory. */
static void spawns(void)
{
	pthread_t threads[4];
	uintptr_t i;

	for (i = 0; i < 4; i++)
		threads[i] = start(busy, (void *)i);
	for (i = 0; i < 100; i++)
		CHECK(system("exit 0") == 0);
	stop = 1;
	for (i = 0; i < 4; i++)
		join(threads[i]);
}

/* A process may end while its threads are in the middle of malloc. */
static void exit_while_running(void)
{
	uintptr_t i, k;
	int code;
	pid_t pid;

	for (i = 0; i < 60; i++) {
		pid = fork();
		CHECK(pid >= 0);
		if (pid == 0) {
			alarm(30);
			for (k = 0; k < 8; k++)
				start(busy, (void *)k);
			usleep((useconds_t)(i * 100));
			exit(0);
		}
		code = test_wait(pid);
		CHECKF(code == 0, "round %d ended with %d", (int)i, code);
	}
}

static char *volatile left_behind;

static void *one_round(void *arg)
{
	size_t n = 4096 + (uintptr_t)arg * 7919 % MIB;
	char *p = malloc(n), *q = malloc(100);

	CHECK(p && q);
	p[0] = p[n - 1] = 1;
	p = realloc(p, n / 2 + 4096);
	CHECK(p && p[0] == 1);
	free(p);
	free(left_behind);
	q[0] = 5;
	left_behind = q;
	return NULL;
}

/* Create and join for ever: memory and mappings stay as they were. */
static void churn(void)
{
	long i, rounds = test_scale(20000, 100000), maps = 0;
	size_t rss = 0;

	for (i = 0; i < rounds; i++) {
		if (i == rounds / 4) {
			rss = test_rss();
			maps = test_maps();
		}
		join(start(one_round, (void *)i));
	}
	CHECKF(test_rss() < rss + 3 * MIB, "%zu KiB more after %ld rounds",
	       (test_rss() - rss) / KIB, rounds);
	/* It varies with the pieces that cached blocks are made of. */
	CHECKF(test_maps() < maps + 200, "%ld mappings, at first %ld",
	       test_maps(), maps);
	free(left_behind);
}

/* Each thread ends with its blocks live; the next one replaces half. */
static void *relay_leg(void *arg)
{
	char **slots = arg;
	uint64_t state = (uintptr_t)slots[32];
	int i;

	for (i = 0; i < 100; i++)
		shuffle(slots, &state);
	return NULL;
}

static void relay(void)
{
	char *slots[4][33];
	pthread_t threads[4];
	size_t rss = 0;
	long i, rounds = test_scale(2500, 20000);
	int k;

	memset(slots, 0, sizeof(slots));
	for (i = 0; i < rounds; i++) {
		if (i == 500)
			rss = test_rss();
		for (k = 0; k < 4; k++) {
			slots[k][32] = (char *)(uintptr_t)(i * 4 + k + 1);
			threads[k] = start(relay_leg, slots[k]);
		}
		for (k = 0; k < 4; k++)
			join(threads[k]);
	}
	CHECKF(test_rss() < rss + 32 * MIB, "%zu KiB more",
	       (test_rss() - rss) / KIB);
	for (k = 0; k < 4; k++)
		empty(slots[k]);
}

enum { RING = 1024 };

static struct ring {
	_Atomic(char *) slot[RING];
	long items;
} ring;

static const size_t ring_sizes[] = { 256, 512, 4096, 256 };

static void *produce(void *arg)
{
	struct ring *r = arg;
	long i;
	char *p;

	for (i = 0; i < r->items; i++) {
		p = malloc(ring_sizes[i / 3 % 4]);
		CHECK(p);
		memcpy(p, &i, sizeof(i));
		while (atomic_load_explicit(&r->slot[i % RING],
					    memory_order_acquire))
			sched_yield();
		atomic_store_explicit(&r->slot[i % RING], p,
				      memory_order_release);
	}
	return NULL;
}

/* One thread allocates, another frees: memory stays near what is live. */
static void producer_consumer(void)
{
	size_t begin = test_rss(), early_rss = 0, rss;
	pthread_t thread;
	long i;
	char *p;

	ring.items = test_scale(5000000, 50000000);
	thread = start(produce, &ring);
	for (i = 0; i < ring.items; i++) {
		while (!(p = atomic_load_explicit(&ring.slot[i % RING],
						  memory_order_acquire)))
			sched_yield();
		CHECK(memcmp(p, &i, sizeof(i)) == 0);
		atomic_store_explicit(&ring.slot[i % RING], NULL,
				      memory_order_release);
		free(p);
		if ((i + 1) % (ring.items / 20))
			continue;
		rss = test_rss();
		if (!early_rss && i >= ring.items / 10)
			early_rss = rss;
		CHECKF(rss < begin + 48 * MIB, "%zu MiB after %ld items",
		       (rss - begin) / MIB, i);
		CHECKF(!early_rss || rss < early_rss + 8 * MIB,
		       "from %zu to %zu KiB", early_rss / KIB, rss / KIB);
	}
	join(thread);
}

static _Atomic(char *) mailbox[512];

static void *exchanges(void *arg)
{
	uint64_t state = (uintptr_t)arg * 13 + 7, r;
	long i, items = test_scale(1000000, 10000000);
	char *p;

	for (i = 0; i < items; i++) {
		r = test_random(&state);
		p = malloc(ring_sizes[r % 4]);
		CHECK(p);
		memset(p, (int)(r & 127), 32);
		p = atomic_exchange(&mailbox[(r >> 8) % 512], p);
		CHECK(!p || test_all(p, 32, p[0]));
		free(p);
	}
	return NULL;
}

/* Everybody frees what anybody allocated. */
static void n_to_n(void)
{
	size_t begin = test_rss();
	pthread_t threads[4];
	uintptr_t i;

	for (i = 0; i < 4; i++)
		threads[i] = start(exchanges, (void *)i);
	for (i = 0; i < 4; i++)
		join(threads[i]);
	CHECKF(test_rss() < begin + 24 * MIB, "%zu MiB",
	       (test_rss() - begin) / MIB);
	for (i = 0; i < COUNT(mailbox); i++)
		free(mailbox[i]);
}

static pthread_key_t old_key, new_key;
static pthread_once_t new_key_once = PTHREAD_ONCE_INIT;
static __thread int rounds_left;

/* Frees the value and, in all rounds but the last, leaves another one. */
static void destroy(pthread_key_t key, char *value)
{
	char *p;

	CHECK(value[0] == 3);
	free(value);
	p = realloc(calloc(1, 200), 3000);
	CHECK(p);
	if (rounds_left-- > 0) {
		p[0] = 3;
		CHECK(pthread_setspecific(key, p) == 0);
	} else {
		free(p);
	}
	free(malloc(40000));
	free(malloc(300000));
}

static void destroy_old(void *value)
{
	destroy(old_key, value);
}

static void destroy_new(void *value)
{
	destroy(new_key, value);
}

static void make_new_key(void)
{
	CHECK(pthread_key_create(&new_key, destroy_new) == 0);
}

static void *with_keys(void *from_main)
{
	char *p = malloc(10), *q = malloc(5000);

	CHECK(p && q);
	p[0] = q[0] = 3;
	CHECK(pthread_setspecific(old_key, p) == 0);
	CHECK(pthread_once(&new_key_once, make_new_key) == 0);
	CHECK(pthread_setspecific(new_key, q) == 0);
	CHECK(!dlsym(RTLD_DEFAULT, "no_such_name_anywhere"));
	rounds_left = 6;
	free(from_main);
	return NULL;
}

/* Destructors of thread-specific data allocate until the thread is gone. */
static void late_destructors(void)
{
	size_t rss = 0;
	int i;

	CHECK(pthread_key_create(&old_key, destroy_old) == 0);
	for (i = 0; i < 10000; i++) {
		if (i == 1000)
			rss = test_rss();
		join(start(with_keys, malloc((size_t)i)));
	}
	CHECKF(test_rss() < rss + 2 * MIB, "%zu KiB more",
	       (test_rss() - rss) / KIB);
}

static void *cancelled(void *arg)
{
	char *slots[32] = { NULL };
	uint64_t state = 3;
	int i;

	if (arg) {
		free(malloc(100));
		pthread_exit(NULL);
	}
	for (i = 0;; i++) {
		shuffle(slots, &state);
		if (i == 200) {
			empty(slots);
			memset(slots, 0, sizeof(slots));
			pthread_testcancel();
			i = 0;
		}
	}
}

/* Threads that end by pthread_exit() and by being cancelled */
static void cancellation(void)
{
	pthread_t thread;
	size_t rss = 0;
	int i;

	for (i = 0; i < 1500; i++) {
		if (i == 300)
			rss = test_rss();
		thread = start(cancelled, i % 2 ? &i : NULL);
		if (i % 2 == 0)
			CHECK(pthread_cancel(thread) == 0);
		join(thread);
	}
	CHECKF(test_rss() < rss + 8 * MIB, "%zu KiB more",
	       (test_rss() - rss) / KIB);
}

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t wake = PTHREAD_COND_INITIALIZER;
static int idle, dismissed;

/* Counts itself idle and waits for the end. */
static void wait_idle(void)
{
	pthread_mutex_lock(&lock);
	idle++;
	pthread_cond_broadcast(&wake);
	while (!dismissed)
		pthread_cond_wait(&wake, &lock);
	pthread_mutex_unlock(&lock);
}

static void await_idle(int count)
{
	pthread_mutex_lock(&lock);
	while (idle < count)
		pthread_cond_wait(&wake, &lock);
	pthread_mutex_unlock(&lock);
}

static void dismiss(pthread_t *threads, int count)
{
	int i;

	pthread_mutex_lock(&lock);
	dismissed = 1;
	pthread_cond_broadcast(&wake);
	pthread_mutex_unlock(&lock);
	for (i = 0; i < count; i++)
		join(threads[i]);
}

/* A chain of small blocks of 16 MiB together */
static char **chain_16m(void)
{
	char **chain = NULL, **p;
	size_t n = 64, sum;

	for (sum = 0; sum < 16 * MIB; sum += n) {
		n = 64 + (sum >> 4) % 8 * 64;
		p = malloc(n);
		CHECK(p);
		memset(p, 1, n);
		*p = (char *)chain;
		chain = p;
	}
	return chain;
}

static void free_chain(char **chain)
{
	char **next;

	for (; chain; chain = next) {
		next = (char **)(void *)*chain;
		free(chain);
	}
}

static void *works_then_idles(void *arg)
{
	free_chain(chain_16m());
	wait_idle();
	return arg;
}

/* Threads that were busy and now sleep do not sit on their memory. */
static void idle_pool(void)
{
	enum { POOL = 16 };
	pthread_t threads[POOL];
	size_t begin = test_rss(), rss;
	int i;

	for (i = 0; i < POOL; i++) {
		threads[i] = start(works_then_idles, NULL);
		await_idle(i + 1);
	}
	rss = test_rss();
	CHECKF(rss < begin + 64 * MIB, "%zu MiB", (rss - begin) / MIB);
	malloc_trim(0);
	rss = test_rss();
	CHECKF(rss < begin + POOL * MIB, "%zu KiB after malloc_trim",
	       (rss - begin) / KIB);
	dismiss(threads, POOL);
}

static char **of_sleeper;

static void *makes_then_idles(void *arg)
{
	of_sleeper = chain_16m();
	wait_idle();
	return arg;
}

/* What others free while the owner sleeps is not lost until it wakes. */
static void sleeping_owner(void)
{
	pthread_t thread = start(makes_then_idles, NULL);
	size_t begin;
	ssize_t fell;

	await_idle(1);
	begin = test_rss();
	free_chain(of_sleeper);
	malloc_trim(0);
	fell = (ssize_t)begin - (ssize_t)test_rss();
	CHECKF(fell > 12 * (ssize_t)MIB, "%zd of 16384 KiB returned",
	       fell / (ssize_t)KIB);
	dismiss(&thread, 1);
}

static size_t idle_top;

/* Touches each size class up to idle_top once. */
static void *touches_classes(void *arg)
{
	size_t n;
	char *p;

	for (n = 1; n <= idle_top; n += n < KIB ? 16 : n / 8) {
		p = malloc(n);
		CHECK(p);
		p[0] = 1;
		free(p);
	}
	wait_idle();
	return arg;
}

/* The resident memory of an idle thread that used sizes up to `top`, KiB */
static int idle_cost(size_t top)
{
	enum { THREADS = 500 };
	size_t begin = test_rss(), end;
	int ends[2], i;
	pid_t pid;

	CHECK(pipe(ends) == 0);
	pid = fork();
	CHECK(pid >= 0);
	if (pid == 0) {
		idle_top = top;
		for (i = 0; i < THREADS; i++)
			start(touches_classes, NULL);
		await_idle(THREADS);
		end = test_rss();
		CHECK(write(ends[1], &end, sizeof(end)) == sizeof(end));
		_exit(0);
	}
	close(ends[1]);
	CHECK(read(ends[0], &end, sizeof(end)) == sizeof(end));
	CHECK(test_wait(pid) == 0);
	close(ends[0]);
	return (int)((end - begin) / KIB / THREADS);
}

/* 500 threads: what each costs beyond what the C library needs for it */
static void idle_threads(void)
{
	int none = idle_cost(0), one = idle_cost(16);
	int small = idle_cost(KIB), all = idle_cost(32 * KIB);

	dprintf(1,
		"KiB a thread: %d; with one class %d; up to 1 KiB %d; "
		"up to 32 KiB %d\n",
		none, one, small, all);
	CHECK(one - none <= 64);
	CHECK(small - none <= 400);
	CHECK(all - none <= 800);
}

/* Every kind of call, for a thread with next to no stack */
static void all_calls(void)
{
	size_t n;
	char *p;

	for (n = 1; n < 4 * MIB; n += n / 5 + 1) {
		p = malloc(n);
		p = realloc(p, n + n / 3);
		CHECK(p);
		p[0] = 1;
		free(p);
		p = calloc(n, 1);
		p = realloc(p, n / 2 + 1);
		free(p);
		p = memalign((size_t)16 << n % 10, n);
		CHECK(p && malloc_usable_size(p) >= n);
		free(p);
	}
	CHECK(mallinfo2().hblkhd < GIB);
	malloc_trim(0);
}

static void *all_calls_thread(void *arg)
{
	int i;

	for (i = 0; i < 5; i++)
		all_calls();
	return arg;
}

static void small_stack(void)
{
	pthread_t threads[8];
	pthread_attr_t attr;
	int i, round;

	CHECK(pthread_attr_init(&attr) == 0);
	CHECK(pthread_attr_setstacksize(&attr, (size_t)PTHREAD_STACK_MIN) == 0);
	for (round = 0; round < 3; round++) {
		for (i = 0; i < 8; i++)
			CHECK(pthread_create(&threads[i], &attr,
					     all_calls_thread, NULL) == 0);
		for (i = 0; i < 8; i++)
			join(threads[i]);
	}
}

static char *volatile handler_frame;

static void on_signal(int sig)
{
	(void)sig;
	if (handler_frame)
		all_calls();
	else
		handler_frame = __builtin_frame_address(0);
}

/*
 * In a signal handler with 4 to 8 KiB of stack. What the kernel puts there
 * depends on the processor, so a first signal measures it.
 */
static void signal_stack(void)
{
	struct sigaction act = { .sa_handler = on_signal };
	size_t size = MIB, left;
	stack_t stack = { 0 };
	char *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	CHECK(p != MAP_FAILED);
	stack.ss_sp = p;
	stack.ss_size = size;
	act.sa_flags = SA_ONSTACK;
	CHECK(sigaltstack(&stack, NULL) == 0);
	CHECK(sigaction(SIGUSR1, &act, NULL) == 0);
	CHECK(raise(SIGUSR1) == 0);
	CHECK(handler_frame > p && handler_frame < p + size);
	left = (size_t)(handler_frame - p - 4096) & ~(size_t)4095;
	CHECK(mprotect(p, left, PROT_NONE) == 0);
	CHECK(raise(SIGUSR1) == 0);
}

/* A function of a library that is open in `handle` */
static void *symbol(void *handle, const char *name)
{
	void *sym = dlsym(handle, name);

	CHECKF(sym, "%s", name);
	return sym;
}

static void *opens_and_closes(void *arg)
{
	void *handle = dlopen(test_args[0], RTLD_NOW | RTLD_LOCAL);
	void *(*make)(size_t);
	void (*give)(void *);
	void *p[100];
	int i;

	CHECKF(handle, "%s", dlerror());
	*(void **)&make = symbol(handle, "malloc");
	*(void **)&give = symbol(handle, "free");
	CHECK((void *)make != (void *)malloc);
	for (i = 0; i < 100; i++) {
		p[i] = make((size_t)i * 1000);
		CHECK(p[i]);
	}
	for (i = 0; i < 100; i++)
		give(p[i]);
	CHECK(dlclose(handle) == 0);
	return arg;
}

/* The library (first argument) is closed before its user thread ends. */
static void unload(void)
{
	int i;

	if (!test_args[0])
		SKIP("no library given\n");
	for (i = 0; i < 30; i++)
		join(start(opens_and_closes, NULL));
}

static void *touches_libraries(void *handles)
{
	void **handle = handles;
	char *(*touch)(void);
	char *slots[32] = { NULL };
	uint64_t state = 8;

	for (; *handle; handle++) {
		*(void **)&touch = symbol(*handle, "touch");
		CHECK(touch()[0] == 1);
		shuffle(slots, &state);
	}
	empty(slots);
	wait_idle();
	return NULL;
}

/*
 * The arguments are libraries with thread-local data. The C library makes
 * room for it with malloc when a thread first touches it.
 */
static void thread_local_libraries(void)
{
	static void *handles[256];
	pthread_t threads[4];
	int i;

	if (!test_args[0])
		SKIP("no libraries given\n");
	for (i = 0; test_args[i] && i < 255; i++) {
		handles[i] = dlopen(test_args[i], RTLD_NOW);
		CHECKF(handles[i], "%s", dlerror());
	}
	for (i = 0; i < 4; i++)
		threads[i] = start(touches_libraries, handles);
	await_idle(4);
	for (i = 0; handles[i]; i++)
		CHECK(dlclose(handles[i]) == 0);
	dismiss(threads, 4);
}

static void *trims(void *arg)
{
	(void)arg;
	while (!stop)
		malloc_trim(0);
	return NULL;
}

static void *allocates_once(void *arg)
{
	(void)arg;
	free(malloc(100));
	return NULL;
}

/* How many heaps there are, says malloc_info */
static int heaps_count(void)
{
	size_t size;
	char *xml;
	FILE *out = open_memstream(&xml, &size);
	const char *s;
	int count = 0;

	CHECK(out && malloc_info(0, out) == 0 && fclose(out) == 0);
	s = strstr(xml, "<heaps count=");
	CHECK(s && sscanf(s, "<heaps count=\"%d\"", &count) == 1);
	free(xml);
	return count;
}

/* Threads come and go while another empties the heaps that they left. */
static void heaps_stay(void)
{
	pthread_t trimmer;
	int i, count;

	trimmer = start(trims, NULL);
	for (i = 0; i < 5000; i++)
		join(start(allocates_once, NULL));
	stop = 1;
	join(trimmer);
	count = heaps_count();
	CHECKF(count >= 2 && count <= 6, "%d heaps for 3 threads", count);
}

/*
 * A destructor that comes before that of the library, whose key is as old as
 * the process, and one that comes after it: a round of them goes by the age of
 * the keys. Such a function of a program is called before any library's.
 */
static void destroy_late(void *value);
static pthread_key_t first_key, last_key;

static void make_first_key(void)
{
	if (pthread_key_create(&first_key, destroy_late) != 0)
		abort();
}

__attribute__((section(".preinit_array"),
	       used)) static void (*before_all)(void) = make_first_key;

/* What such a thread does: its first call of malloc or free is that late. */
struct late {
	pthread_key_t key;
	int round, calls;
	void *given; /* a block to be freed, if that is all it does */
	int leaks;
};

static void destroy_late(void *value)
{
	struct late *l = value;
	void *p;

	if (++l->calls < l->round) {
		if (pthread_setspecific(l->key, l) != 0)
			abort();
		return;
	}
	if (l->given) {
		free(l->given);
		return;
	}
	p = malloc(16);
	CHECK(p);
	memset(p, 1, 16);
	if (!l->leaks)
		free(p);
}

static void *ends_late(void *arg)
{
	struct late *l = arg;

	CHECK(pthread_setspecific(l->key, l) == 0);
	return NULL;
}

/* Threads, one by one, whose first call comes in a round of destructors */
static void late_threads(pthread_key_t key, int round)
{
	long i, rounds = test_scale(20000, 100000);

	for (i = 0; i < rounds; i++) {
		struct late l = { key, round, 0, NULL, i % 16 == 1 };

		if (i % 3 == 2)
			l.given = malloc(100);
		join(start(ends_late, &l));
		CHECKF(l.calls == round, "%d of %d rounds", l.calls, round);
	}
}

/* None of them may keep a heap for ever: each is some pages, and a number. */
static void late_heaps(void)
{
	size_t begin, more;
	int round, count;

	CHECK(pthread_key_create(&last_key, destroy_late) == 0);
	free(malloc(100));
	join(start(allocates_once, NULL));
	begin = test_rss();
	for (round = 1; round <= PTHREAD_DESTRUCTOR_ITERATIONS; round++) {
		late_threads(first_key, round);
		count = heaps_count();
		CHECKF(count < 150, "%d heaps, round %d, first", count, round);
		late_threads(last_key, round);
		count = heaps_count();
		CHECKF(count < 150, "%d heaps, round %d, last", count, round);
	}
	more = test_rss() - begin;
	CHECKF((ssize_t)more < 8 * (ssize_t)MIB, "%zu KiB more", more / KIB);
}

static int keeping; /* threads keep their blocks, and look at them */

/* Whose first call may come from a child that shares all memory */
static void *keeper(void *arg)
{
	unsigned char *mine[32], id = (unsigned char)(uintptr_t)arg;
	int status, i;
	pid_t pid;

	if (id & 1 && (pid = vfork()) >= 0) {
		if (pid == 0) {
			free(malloc(100));
			_exit(0);
		}
		CHECK(waitpid(pid, &status, 0) == pid);
	}
	while (__atomic_load_n(&keeping, __ATOMIC_ACQUIRE)) {
		for (i = 0; i < 32; i++)
			memset(mine[i] = malloc(16 + (size_t)i * 13), id, 16);
		usleep(100);
		for (i = 0; i < 32; i++) {
			CHECK(mine[i][0] == id && mine[i][15] == id);
			free(mine[i]);
		}
	}
	return NULL;
}

/* More threads than heaps are made without a look at which have ended */
static void keepers(void)
{
	pthread_t thread[80];
	uintptr_t i;

	keeping = 1;
	for (i = 0; i < COUNT(thread); i++) {
		thread[i] = start(keeper, (void *)(i + 1));
		usleep(500);
	}
	__atomic_store_n(&keeping, 0, __ATOMIC_RELEASE);
	for (i = 0; i < COUNT(thread); i++)
		join(thread[i]);
}

/* In the process, and in children that libc does not know of */
static void unknown_children(void)
{
	pid_t pid;

	free(malloc(10));
	keepers();
	pid = (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
	CHECK(pid >= 0);
	if (pid == 0) {
		keepers();
		_exit(0);
	}
	CHECK(test_wait(pid) == 0);
}

/* Has the main thread ended? The process is a zombie then, but for us. */
static int main_ended(void)
{
	char text[256] = "";
	int fd = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
	const char *s;

	CHECK(fd >= 0 && read(fd, text, sizeof(text) - 1) > 0);
	close(fd);
	s = strrchr(text, ')');
	return s && s[2] == 'Z';
}

/* The heap of the main thread is as good as any other. */
static void *outlives_main(void *arg)
{
	int i, count;

	free(malloc(100));
	while (!main_ended())
		usleep(1000);
	for (i = 0; i < 1000; i++)
		join(start(allocates_once, NULL));
	count = heaps_count();
	CHECKF(count == 2, "%d heaps for 2 threads", count);
	_exit(0);
	return arg;
}

static void main_heap(void)
{
	free(malloc(100));
	start(outlives_main, NULL);
	pthread_exit(NULL);
}

static long long nanoseconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000000ll + now.tv_nsec;
}

/* Before any thread is made: all of them on the first processor we may use */
static void one_processor(void)
{
	cpu_set_t may, one;
	int i;

	CHECK(sched_getaffinity(0, sizeof(may), &may) == 0);
	for (i = 0; !CPU_ISSET(i, &may); i++)
		;
	CPU_ZERO(&one);
	CPU_SET(i, &one);
	CHECK(sched_setaffinity(0, sizeof(one), &one) == 0);
}

/* From here on this thread runs whenever it can; the others are normal. */
static void real_time_thread(void)
{
	struct sched_param param = { .sched_priority = 1 };

	if (pthread_setschedparam(pthread_self(), SCHED_FIFO, &param) != 0)
		SKIP("no right to SCHED_FIFO\n");
}

enum { PASSED = 4096, AT_MOST_MS = 20, TRIES = 3 };

/* Blocks that the real-time thread allocates and a normal one frees */
static char *passed[PASSED];
static atomic_int passed_count; /* 0: all of them were freed */
static size_t passed_size;

static void *frees_passed(void *arg)
{
	int i, n;

	(void)arg;
	free(malloc(100));
	while (!stop) {
		n = passed_count;
		for (i = 0; i < n; i++)
			free(passed[i]);
		if (n)
			passed_count = 0;
		else
			usleep(20);
	}
	return NULL;
}

static long long slowest; /* call of malloc or fork */

static char *timed_malloc(size_t n)
{
	long long begin = nanoseconds(), took;
	char *p = malloc(n);

	took = nanoseconds() - begin;
	slowest = took > slowest ? took : slowest;
	CHECK(p);
	return p;
}

/*
 * What is passed on are slabs of 16 MiB in all, which is more than an owner
 * that sleeps is left with: the other thread gives their memory back for it.
 * The owner wakes up at any moment of that, and wants blocks of these slabs.
 */
static void real_time_round(uint64_t *state)
{
	size_t n = 16 * MIB / passed_size, i;
	char *own[64];

	if (n > PASSED)
		n = PASSED;
	for (i = 0; i < n; i++)
		memset(passed[i] = timed_malloc(passed_size), 1, passed_size);
	passed_count = (int)n;
	while (passed_count && slowest < AT_MOST_MS * 1000000) {
		usleep((useconds_t)(300 + test_random(state) % 1000));
		for (i = 0; i < COUNT(own); i++)
			own[i] = timed_malloc(passed_size);
		for (i = 0; i < COUNT(own); i++)
			free(own[i]);
	}
}

/*
 * A real-time thread must never wait in a loop for one that it keeps from
 * running: it would end only when the kernel takes the processor away, which
 * it does after most of a second. What others do on this machine may cost time,
 * too, but not in each of some tries.
 */
static void real_time(void)
{
	static const size_t sizes[] = { 4096, 8192, 20000 };
	uint64_t state = 3;
	pthread_t thread;
	int try, i;

	one_processor();
	thread = start(frees_passed, NULL);
	real_time_thread();
	for (try = 0; try < TRIES; try++) {
		slowest = 0;
		for (i = 0; i < 90 && slowest < AT_MOST_MS * 1000000; i++) {
			passed_size = sizes[i % 3];
			real_time_round(&state);
		}
		while (passed_count)
			usleep(1000);
		dprintf(1, "at most %lld us\n", slowest / 1000);
		if (slowest < AT_MOST_MS * 1000000)
			break;
	}
	CHECKF(try < TRIES, "a malloc took %lld us", slowest / 1000);
	stop = 1;
	join(thread);
}

static atomic_int passed_freed; /* so many for certain, and one more maybe */

static void *frees_and_tells(void *arg)
{
	int i, n;

	(void)arg;
	free(malloc(100));
	while (!stop) {
		n = passed_count;
		for (i = 0; i < n; i++) {
			free(passed[i]);
			passed_freed = i + 1;
		}
		if (n)
			passed_count = 0;
		else
			usleep(20);
	}
	return NULL;
}

/*
 * All that the other thread had not freed is whole, and what it had sent home
 * is free once: new blocks lie beside those that are live.
 */
__attribute__((noreturn)) static void real_time_child(int count)
{
	static char *more[PASSED];
	int from = passed_freed + 1, i;

	alarm(5);
	for (i = 0; i < count; i++) {
		more[i] = malloc(passed_size);
		CHECK(more[i]);
		memset(more[i], 2, passed_size);
	}
	for (i = from; i < count; i++) {
		CHECK(test_all(passed[i], passed_size, 1));
		free(passed[i]);
	}
	for (i = 0; i < count; i++) {
		CHECK(test_all(more[i], passed_size, 2));
		free(more[i]);
	}
	_exit(0);
}

/* A child in the middle of all that the other thread has to free */
static void real_time_fork_round(uint64_t *state)
{
	int count = (int)(8 * MIB / passed_size), i, code;
	long long begin, took;
	pid_t pid;

	for (i = 0; i < count; i++) {
		passed[i] = malloc(passed_size);
		CHECK(passed[i]);
		memset(passed[i], 1, passed_size);
	}
	passed_freed = 0;
	passed_count = count;
	usleep((useconds_t)(500 + test_random(state) % 2000));
	begin = nanoseconds();
	pid = fork();
	took = nanoseconds() - begin;
	CHECK(pid >= 0);
	if (pid == 0)
		real_time_child(count);
	slowest = took > slowest ? took : slowest;
	code = test_wait(pid);
	CHECKF(code == 0, "a child ended with %d, fork took %lld us", code,
	       took / 1000);
	while (passed_count)
		usleep(100);
}

/* The same where fork waits until nobody is sending blocks home */
static void real_time_fork(void)
{
	uint64_t state = 4;
	pthread_t thread;
	int try, i;

	one_processor();
	thread = start(frees_and_tells, NULL);
	real_time_thread();
	for (try = 0; try < TRIES; try++) {
		slowest = 0;
		for (i = 0; i < 90 && slowest < AT_MOST_MS * 1000000; i++) {
			passed_size = i % 2 ? 4096 : 8192;
			real_time_fork_round(&state);
		}
		dprintf(1, "at most %lld us\n", slowest / 1000);
		if (slowest < AT_MOST_MS * 1000000)
			break;
	}
	CHECKF(try < TRIES, "a fork took %lld us", slowest / 1000);
	stop = 1;
	join(thread);
}

#define CASES(X) \
	X(heaps_stay) \
	X(late_heaps) \
	X(unknown_children) \
	X(main_heap) \
	X(real_time) \
	X(real_time_fork) \
	X(forks) \
	X(forks_in_threads) \
	X(child_frees) \
	X(adoption) \
	X(fork_in_handler) \
	X(early) \
	X(fork_after_free) \
	X(private_memory) \
	X(spawns) \
	X(exit_while_running) \
	X(churn) \
	X(relay) \
	X(producer_consumer) \
	X(n_to_n) \
	X(late_destructors) \
	X(cancellation) \
	X(idle_pool) \
	X(sleeping_owner) \
	X(idle_threads) \
	X(small_stack) \
	X(signal_stack) \
	X(unload) \
	X(thread_local_libraries)

static const struct test cases[] = { CASES(TEST_ROW) };

int main(int argc, char **argv)
{
	return test_main(cases, COUNT(cases), argc, argv);
}

#endif
