/*
 * remote.c - what one thread does to the memory and locks of another.
 *
 * The model in test/model found these cases.
 */
#include "test.h"
#include <pthread.h>
#include <signal.h>
#include <sys/time.h>

enum { BLOCKS = 1000000, SIZE = 64, SLAB = 64 * 1024 / SIZE };

static void *block[BLOCKS];

static void drop(int i)
{
	free(block[i]);
	block[i] = NULL;
}

/* One block in each slab or so */
static void *drop_few(void *arg)
{
	for (int i = SLAB / 2; i < BLOCKS; i += SLAB)
		drop(i);
	return arg;
}

/*
 * Slabs with a list of their own, then blocks from another thread that the
 * owner hears of, then all the rest from the owner: nothing may stay behind.
 */
static void few_by_another(void)
{
	struct mallinfo2 before, after;
	pthread_t thread;
	int i;

	for (i = 0; i < BLOCKS; i++) {
		block[i] = malloc(SIZE);
		CHECK(block[i] != NULL);
	}
	before = mallinfo2();
	for (i = 0; i < BLOCKS; i++)
		if (i % SLAB < SLAB / 16)
			drop(i);
	CHECK(pthread_create(&thread, NULL, drop_few, NULL) == 0);
	CHECK(pthread_join(thread, NULL) == 0);
	/* Refills, which read the inbox */
	for (i = 0; i < 2 * SLAB; i++)
		if (!block[i])
			block[i] = malloc(SIZE);
	for (i = 0; i < BLOCKS; i++)
		drop(i);
	malloc_trim(0);
	after = mallinfo2();
	CHECKF(after.arena <= before.arena / 4, "%zu of %zu bytes are held",
	       after.arena, before.arena);
}

static volatile sig_atomic_t forks, done;

/* Counts the forks; one that fails is a million. */
static void fork_now(int sig)
{
	pid_t pid = fork();
	int status = 0;

	(void)sig;
	if (pid == 0)
		_exit(0);
	if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0)
		forks += 1000000;
	forks++;
}

static void *forker(void *arg)
{
	while (!done) {
		pid_t pid = fork();
		int status;

		if (pid == 0)
			_exit(0);
		CHECK(pid > 0 && waitpid(pid, &status, 0) == pid);
	}
	return arg;
}

static void *counter(void *arg)
{
	while (!done)
		mallinfo2();
	return arg;
}

/* The handler interrupts who holds a lock; another thread wants both. */
static void handler_forks(void *(*beside)(void *))
{
	struct itimerval every = { { 0, 700 }, { 0, 700 } }, never = { 0 };
	struct sigaction act = { .sa_handler = fork_now };
	int most = (int)test_scale(1000, 20000);
	sigset_t alarm_only;
	pthread_t thread;

	sigemptyset(&alarm_only);
	sigaddset(&alarm_only, SIGALRM);
	act.sa_flags = SA_RESTART;
	CHECK(sigaction(SIGALRM, &act, NULL) == 0);
	CHECK(pthread_sigmask(SIG_BLOCK, &alarm_only, NULL) == 0);
	CHECK(pthread_create(&thread, NULL, beside, NULL) == 0);
	CHECK(pthread_sigmask(SIG_UNBLOCK, &alarm_only, NULL) == 0);
	CHECK(setitimer(ITIMER_REAL, &every, NULL) == 0);
	while (forks < most) {
		void *p = malloc(200000), *q = malloc(300000);

		CHECK(p && q);
		free(p);
		free(q);
	}
	CHECK(setitimer(ITIMER_REAL, &never, NULL) == 0);
	CHECKF(forks < 1000000, "%d forks failed", (int)forks / 1000000);
	done = 1;
	CHECK(pthread_join(thread, NULL) == 0);
}

static void handler_beside_fork(void)
{
	handler_forks(forker);
}

static void handler_beside_census(void)
{
	handler_forks(counter);
}

static void *frees_all(void *arg)
{
	void **some = arg;

	for (int i = 0; i < 60; i++)
		free(some[i]);
	free(some);
	return NULL;
}

/* Threads come, free what another made, and go: their heaps have batches. */
static void *makes(void *arg)
{
	while (!done) {
		pthread_t thread[4];

		for (int k = 0; k < 4; k++) {
			void **some = malloc(60 * sizeof(*some));

			for (int i = 0; i < 60; i++)
				some[i] =
					malloc(16 + (size_t)(i * 37 % 60) * 40);
			CHECK(pthread_create(&thread[k], NULL, frees_all,
					     some) == 0);
		}
		for (int k = 0; k < 4; k++)
			CHECK(pthread_join(thread[k], NULL) == 0);
	}
	return arg;
}

static void *trims(void *arg)
{
	while (!done)
		malloc_trim(0);
	return arg;
}

/* Batches of heaps that are not the sender's own, and children of children */
static void forks_beside_trim(void)
{
	pthread_t maker, trimmer;
	int i, most = (int)test_scale(300, 3000);
	pid_t pid;

	CHECK(pthread_create(&maker, NULL, makes, NULL) == 0);
	CHECK(pthread_create(&trimmer, NULL, trims, NULL) == 0);
	for (i = 0; i < most; i++) {
		pid = fork();
		CHECK(pid >= 0);
		if (pid == 0) {
			alarm(20);
			pid = fork();
			_exit(pid > 0 ? test_wait(pid) : pid < 0);
		}
		CHECK(test_wait(pid) == 0);
	}
	done = 1;
	CHECK(pthread_join(maker, NULL) == 0);
	CHECK(pthread_join(trimmer, NULL) == 0);
}

#define CASES(X) \
	X(few_by_another) \
	X(handler_beside_fork) \
	X(handler_beside_census) \
	X(forks_beside_trim)

static const struct test cases[] = { CASES(TEST_ROW) };

int main(int argc, char **argv)
{
	return test_main(cases, COUNT(cases), argc, argv);
}
