/*
 * vanish - a fork, at every so many instructions of a call of another thread.
 *
 *	vanish CASE STRIDE
 *
 * Single steps of the processor bring a thread to where it is to be; then the
 * program forks, and the child, which lacks that thread, allocates and frees
 * all that it can of what is left. "adopt" is the other way round: a child is
 * in the midst of a free for a thread that it lacks, while a new thread of it
 * takes all memory over. What a child finds may be less; it must be whole.
 */
#include "test.h"
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>

enum { BLOCKS = 200, MORE = 400 };

/* What tracer, thread and child tell each other */
static volatile struct shared {
	pid_t thread;
	int go, forked, done, status;
} * shared;

static unsigned char *block[BLOCKS];
static size_t size;
static const char *what;

static void marker(void)
{
	syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), SIGUSR2);
}

static void wait_for(volatile int *flag)
{
	while (!*flag)
		usleep(50);
}

static void make(size_t n)
{
	for (size_t i = 0; i < BLOCKS; i++) {
		block[i] = malloc(n);
		CHECK(block[i]);
		test_fill(block[i], n, i);
	}
}

static void drop(size_t i)
{
	free(block[i]);
	block[i] = NULL;
}

static void drop_all_but(size_t each)
{
	for (size_t i = 0; i < BLOCKS; i++)
		if (i % each)
			drop(i);
}

/* Units with old contents, for slabs of other blocks */
static void soil(void)
{
	void *p[20];

	for (int i = 0; i < 20; i++)
		p[i] = memset(malloc(60000), 0x5a, 60000);
	for (int i = 0; i < 20; i++)
		free(p[i]);
}

static long faults(void)
{
	struct rusage usage;

	CHECK(getrusage(RUSAGE_THREAD, &usage) == 0);
	return usage.ru_minflt;
}

/* Pages that the heap gave back, of which it has taken the first again */
static void punch(void)
{
	long before;

	drop_all_but(25);
	malloc_trim(0);
	before = faults();
	for (int i = 0; i < BLOCKS && faults() == before; i++)
		CHECK(malloc(size));
}

/* Up to the call */
static void prepare(void)
{
	if (!strcmp(what, "carve"))
		soil();
	make(size);
	if (!strcmp(what, "hole"))
		punch();
	else if (strcmp(what, "carve") != 0)
		drop_all_but(2);
	if (!strcmp(what, "realloc"))
		block[0] = realloc(block[0], size + 16);
}

/* The call that is not to end; what it has in hand is nobody's. */
static void call(void)
{
	unsigned char *p = block[0];

	if (!strcmp(what, "free") || !strcmp(what, "realloc"))
		block[0] = NULL;
	if (!strcmp(what, "free"))
		free(p);
	else if (!strcmp(what, "realloc"))
		free(realloc(p, size / 2));
	else if (!strcmp(what, "trim"))
		malloc_trim(0);
	else
		for (int i = 0; i < 3; i++)
			*(volatile char *)malloc(size) = 1;
}

static void *vanishes(void *arg)
{
	prepare();
	CHECK(ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0);
	shared->thread = (pid_t)syscall(SYS_gettid);
	marker();
	call();
	marker();
	return arg;
}

/* All that is left is handed out, and does not overlap. */
static void *takes(void *arg)
{
	static unsigned char *more[MORE];
	size_t i;

	for (i = 0; i < MORE; i++) {
		more[i] = malloc(size);
		CHECK(more[i]);
		test_fill(more[i], size, i + 1000);
	}
	shared->done = 1;
	if (arg)
		wait_for((volatile int *)arg);
	for (i = 0; i < MORE; i++) {
		CHECKF(test_filled(more[i], size, i + 1000), "block %zu", i);
		free(more[i]);
	}
	return NULL;
}

static pthread_t start(void *(*run)(void *), void *arg)
{
	pthread_t thread;

	CHECK(pthread_create(&thread, NULL, run, arg) == 0);
	return thread;
}

static void see_blocks(void)
{
	for (size_t i = 0; i < BLOCKS; i++) {
		CHECKF(!block[i] || test_filled(block[i], size, i), "%zu", i);
		free(block[i]);
	}
	malloc_trim(0);
}

static void forked_child(void)
{
	alarm(20);
	shared->forked = 1;
	CHECK(pthread_join(start(takes, NULL), NULL) == 0);
	see_blocks();
	CHECK(pthread_join(start(takes, NULL), NULL) == 0);
	_exit(0);
}

static void program(void)
{
	pid_t pid;
	int status;

	start(vanishes, NULL);
	wait_for(&shared->go);
	pid = fork();
	CHECK(pid >= 0);
	if (!pid)
		forked_child();
	CHECK(waitpid(pid, &status, 0) == pid);
	shared->status = status;
	shared->done = 1;
	pause();
}

static volatile int asleep;

static void *sleeps(void *arg)
{
	prepare();
	asleep = 1;
	for (;;)
		pause();
	return arg;
}

static volatile int adopted;

static void *adopts(void *arg)
{
	(void)arg;
	wait_for(&shared->go);
	return takes((void *)&adopted);
}

/* In a child: the free of a block of a thread that it lacks */
static void adopt_program(void)
{
	pthread_t thread;

	alarm(20);
	signal(SIGUSR2, SIG_IGN);
	thread = start(adopts, NULL); /* has no heap before it is told to go */
	CHECK(ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0);
	shared->thread = getpid();
	marker();
	drop(0);
	marker();
	adopted = 1;
	CHECK(pthread_join(thread, NULL) == 0);
	see_blocks();
	_exit(0);
}

/* True: it has stopped at a step, and not at its mark. */
static bool step(pid_t tid)
{
	int status = 0;

	CHECK(ptrace(PTRACE_SINGLESTEP, tid, NULL, NULL) == 0);
	CHECK(waitpid(tid, &status, __WALL) == tid);
	CHECKF(WIFSTOPPED(status), "status %x", status);
	return WSTOPSIG(status) == SIGTRAP;
}

static bool soon(volatile int *flag, int ms)
{
	for (int i = 0; i < ms * 20 && !*flag; i++)
		usleep(50);
	return *flag;
}

static unsigned char *stale;

/* A slab is opened where a block was that is freed again meanwhile. */
static void *opens(void *arg)
{
	size_t i;

	for (i = 0; i < 60; i++)
		CHECK(malloc(size));
	stale = aligned_alloc(65536, 60000);
	CHECK(stale);
	memset(stale, 1, 60000);
	free(stale);
	CHECK(ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0);
	shared->thread = (pid_t)syscall(SYS_gettid);
	marker();
	for (i = 0; i < 6; i++)
		block[i] = malloc(size);
	marker();
	for (i = 0; i < BLOCKS; i++) {
		block[i] = i < 6 ? block[i] : malloc(size);
		CHECK(block[i]);
		/* The first is handed out before it is freed, or after. */
		if (block[i] == stale)
			block[i] = NULL;
		else
			test_fill(block[i], size, i);
	}
	return arg;
}

/* ALLOC_ABORT=0: a report is not the end. */
static void stale_program(void)
{
	unsigned char *p[8];
	pthread_t thread;
	size_t i;

	alarm(20);
	signal(SIGUSR2, SIG_IGN);
	thread = start(opens, NULL);
	wait_for(&shared->go);
	free(stale);
	for (i = 0; i < 8; i++) {
		p[i] = malloc(50000);
		CHECK(p[i]);
		test_fill(p[i], 50000, i);
	}
	shared->forked = 1;
	CHECK(pthread_join(thread, NULL) == 0);
	for (i = 0; i < 8; i++)
		CHECKF(test_filled(p[i], 50000, i), "%zu", i);
	for (i = 0; i < BLOCKS; i++)
		CHECKF(!block[i] || test_filled(block[i], size, i), "%zu", i);
	_exit(0);
}

/* After so many steps; false: the call has fewer. */
static bool vanish(long steps)
{
	bool adopt = !strcmp(what, "adopt"), inside = true;
	pid_t pid, tid;
	int status = 0;

	memset((void *)shared, 0, sizeof(*shared));
	pid = fork();
	CHECK(pid >= 0);
	if (!pid) {
		adopt                  ? adopt_program() :
		!strcmp(what, "stale") ? stale_program() :
					 program();
		_exit(1);
	}
	while (!(tid = shared->thread))
		usleep(50);
	CHECK(waitpid(tid, &status, __WALL) == tid && WIFSTOPPED(status));
	for (long i = 0; i < steps && inside; i++)
		inside = step(tid);
	shared->go = 1;
	if (adopt) {
		soon(&shared->done, 10); /* or it waits for a lock */
		CHECK(ptrace(PTRACE_DETACH, tid, NULL, NULL) == 0);
		CHECK(waitpid(pid, &status, 0) == pid);
	} else {
		/* It may have a lock that fork waits for. */
		while (inside && !soon(&shared->forked, 2))
			for (int i = 0; i < 10 && inside; i++)
				inside = step(tid);
		if (!strcmp(what, "stale")) {
			CHECK(ptrace(PTRACE_DETACH, tid, NULL, NULL) == 0);
			CHECK(waitpid(pid, &status, 0) == pid);
			shared->status = status;
			shared->done = 1;
		}
		wait_for(&shared->done);
		status = shared->status;
		kill(pid, SIGKILL);
		while (waitpid(-1, NULL, __WALL) > 0)
			;
	}
	CHECKF(status == 0, "%s: status %x after %ld steps", what, status,
	       steps);
	return inside;
}

int main(int argc, char **argv)
{
	long stride = argc > 2 ? atol(argv[2]) : 1, steps = 0;
	pid_t pid;

	what = argc > 1 ? argv[1] : "hole";
	size = argc > 3 ? strtoul(argv[3], NULL, 0) : 2560;
	pid = fork();
	if (!pid)
		_exit(ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0);
	if (test_wait(pid) != 0)
		SKIP("no process may trace another here\n");
	shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(shared != MAP_FAILED);
	if (!strcmp(what, "adopt")) {
		start(sleeps, NULL);
		wait_for(&asleep);
	}
	while (vanish(steps))
		steps += stride;
	printf("%s: %ld steps\n", what, steps);
	CHECKF(steps > 20, "%ld", steps);
	return 0;
}
