/*
 * fork.c - forks beside what waits for them, and calls of malloc that come
 * while their own thread is inside another.
 *
 * With -DEARLY this file is a library instead, which has fork handlers before
 * the allocator is there.
 */
#include "test.h"
#include <dlfcn.h>
#include <elf.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <time.h>

typedef void (*fork_handler)(void);

#ifdef EARLY

fork_handler early_prepare, early_parent, early_child;

static void prepare(void)
{
	if (early_prepare)
		early_prepare();
}

static void parent(void)
{
	if (early_parent)
		early_parent();
}

static void child(void)
{
	if (early_child)
		early_child();
}

__attribute__((constructor)) static void early(void)
{
	pthread_atfork(prepare, parent, child);
}

#else

enum { OLD = 64 };

static atomic_int stop, turns;

static pthread_t start(void *(*run)(void *), void *arg)
{
	pthread_t thread;

	CHECK(pthread_create(&thread, NULL, run, arg) == 0);
	return thread;
}

static void join(pthread_t thread)
{
	CHECK(pthread_join(thread, NULL) == 0);
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* 16 B to 400 KB: blocks of slabs, extents and mappings */
static size_t any_size(uint64_t *state)
{
	uint64_t r = test_random(state);

	return 16 + (r >> 8) % (r % 8 < 4 ? 1000 : r % 8 < 7 ? 30000 : 400000);
}

/* A block of `n` bytes that says so, and who made it */
struct item {
	size_t n;
	uint64_t who;
};

static struct item *mark(void *p, size_t n, uint64_t who)
{
	struct item *b = p;

	CHECK(b && malloc_usable_size(b) >= n);
	*b = (struct item){ n, who };
	((char *)p)[n - 1] = (char)who;
	return b;
}

static void drop(struct item *b, uint64_t who)
{
	if (!b)
		return;
	CHECKF(b->who == who && ((char *)b)[b->n - 1] == (char)who,
	       "%p, %zu bytes of %d", (void *)b, b->n, (int)who);
	free(b);
}

/* One step: a block goes, another comes. */
static void step(struct item **old, uint64_t *state, uint64_t who)
{
	struct item **b = &old[test_random(state) % OLD];
	size_t n = any_size(state) + 16;

	if (*b && n % 3 == 0) {
		*b = mark(realloc(*b, n), n, who);
		return;
	}
	drop(*b, who);
	*b = mark(malloc(n), n, who);
}

static void drop_all(struct item **old, uint64_t who)
{
	int i;

	for (i = 0; i < OLD; i++)
		drop(old[i], who);
}

static void steps(int n, uint64_t who)
{
	struct item *old[OLD] = { NULL };
	uint64_t state = who * 77 + 1;

	while (n-- > 0)
		step(old, &state, who);
	drop_all(old, who);
}

static void fork_once(int work)
{
	pid_t pid = fork();
	int code;

	CHECK(pid >= 0);
	if (pid == 0) {
		alarm(40);
		steps(work, 99);
		_exit(0);
	}
	code = test_wait(pid);
	CHECKF(code == 0, "a child ended with %d", code);
}

/* -- fork handlers that were there first */

static void early_set(fork_handler prepare, fork_handler parent,
		      fork_handler child)
{
	fork_handler *at = dlsym(RTLD_DEFAULT, "early_prepare");

	if (!at) { /* measured without the library, too */
		pthread_atfork(prepare, parent, child);
		return;
	}
	*at = prepare;
	*(fork_handler *)dlsym(RTLD_DEFAULT, "early_parent") = parent;
	*(fork_handler *)dlsym(RTLD_DEFAULT, "early_child") = child;
}

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

static void mutex_take(void)
{
	CHECK(pthread_mutex_lock(&mutex) == 0);
	free(malloc(50000));
}

static void mutex_drop(void)
{
	free(malloc(50000));
	CHECK(pthread_mutex_unlock(&mutex) == 0);
}

static void *allocates_locked(void *arg)
{
	struct item *old[OLD] = { NULL };
	uint64_t who = (uintptr_t)arg, state = who;

	while (!stop) {
		pthread_mutex_lock(&mutex);
		step(old, &state, who);
		step(old, &state, who);
		pthread_mutex_unlock(&mutex);
		turns++;
	}
	drop_all(old, who);
	return NULL;
}

static long count_of(long few)
{
	return test_args && test_args[0] ? atol(test_args[0]) : few;
}

/* prepare takes a mutex, which threads hold while they allocate. */
static void mutexes(void)
{
	pthread_t threads[3];
	long n = count_of(30);
	uintptr_t i;

	early_set(mutex_take, mutex_drop, mutex_drop);
	for (i = 0; i < 3; i++)
		threads[i] = start(allocates_locked, (void *)(i + 1));
	while (n-- > 0)
		fork_once(10);
	stop = 1;
	for (i = 0; i < 3; i++)
		join(threads[i]);
}

static pthread_t worker;
static atomic_int dismissed;

static void *works(void *arg)
{
	struct item *old[OLD] = { NULL };
	uint64_t state = 5;
	int i;

	while (!dismissed)
		step(old, &state, 5);
	for (i = 0; i < 20; i++) /* it has something to do still */
		step(old, &state, 5);
	drop_all(old, 5);
	return arg;
}

static void worker_dismiss(void)
{
	dismissed = 1;
	join(worker);
}

static void worker_hire(void)
{
	dismissed = 0;
	worker = start(works, NULL);
}

/* prepare ends a worker, who allocates until then; both sides start one. */
static void workers(void)
{
	long n = count_of(30);

	early_set(worker_dismiss, worker_hire, worker_hire);
	worker_hire();
	while (n-- > 0)
		fork_once(10);
	worker_dismiss();
}

/*
 * Handlers that take a mutex, join a worker and allocate: what a fork costs, in
 * microseconds of processor time, and in all.
 */
static void *works_little(void *arg)
{
	char *p[100];
	int i;

	for (i = 0; i < 100; i++)
		CHECK((p[i] = malloc(100)) != NULL);
	for (i = 0; i < 100; i++)
		free(p[i]);
	return arg;
}

static void little_prepare(void)
{
	works_little(NULL);
	join(worker);
	pthread_mutex_lock(&mutex);
}

static void little_child(void)
{
	pthread_mutex_unlock(&mutex);
	works_little(NULL);
}

static void little_parent(void)
{
	little_child();
	worker = start(works_little, NULL);
}

static void price(void)
{
	long n = count_of(1000), i;
	double began = now(), cpu;
	struct rusage self, children;

	early_set(little_prepare, little_parent, little_child);
	worker = start(works_little, NULL);
	for (i = 0; i < n; i++)
		fork_once(0);
	join(worker);
	getrusage(RUSAGE_SELF, &self);
	getrusage(RUSAGE_CHILDREN, &children);
	cpu = (double)(self.ru_utime.tv_sec + self.ru_stime.tv_sec +
		       children.ru_utime.tv_sec + children.ru_stime.tv_sec) *
		      1e6 +
	      (double)(self.ru_utime.tv_usec + self.ru_stime.tv_usec +
		       children.ru_utime.tv_usec + children.ru_stime.tv_usec);
	printf("%.0f %.0f\n", cpu / (double)n,
	       (now() - began) * 1e6 / (double)n);
}

/* -- stdio: the lists of the C library are locked, too */

static char line_file[] = "/tmp/fork-XXXXXX";

static void *reads_lines(void *arg)
{
	FILE *in = fopen(line_file, "r");

	CHECK(in);
	while (!stop) {
		char *line = NULL;
		size_t room = 0;

		rewind(in);
		CHECK(getline(&line, &room, in) == 40001);
		free(line);
		turns++;
	}
	fclose(in);
	return arg;
}

static void *flushes(void *arg)
{
	while (!stop)
		fflush(NULL);
	return arg;
}

static void *forks_on(void *arg)
{
	while (!stop)
		fork_once(0);
	return arg;
}

static void stdio(void)
{
	pthread_t threads[8];
	int i, fd = mkstemp(line_file);
	FILE *out = fdopen(fd, "w");

	CHECK(out);
	for (i = 0; i < 40000; i++)
		putc('x', out);
	putc('\n', out);
	fclose(out);
	for (i = 0; i < 8; i++)
		threads[i] = start(i < 5 ? reads_lines :
				   i < 6 ? flushes :
					   forks_on,
				   NULL);
	usleep(1500000);
	stop = 1;
	for (i = 0; i < 8; i++)
		join(threads[i]);
	unlink(line_file);
	CHECKF(turns > 100, "%d lines", (int)turns);
}

/* -- handlers of signals */

enum { TICKS = 400 };
static volatile sig_atomic_t ticks, bad;

static void tick_later(int us)
{
	struct itimerval once = { { 0, 0 }, { 0, us } };

	if (ticks < TICKS)
		CHECK(setitimer(ITIMER_REAL, &once, NULL) == 0);
}

static void on(int sig, void (*handler)(int), int flags)
{
	struct sigaction act = { .sa_handler = handler };

	act.sa_flags = SA_RESTART | flags;
	CHECK(sigaction(sig, &act, NULL) == 0);
}

static void fork_on_tick(int sig)
{
	int err = errno, status = -1;
	pid_t pid = fork();

	(void)sig;
	if (pid == 0)
		_exit(0);
	if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0)
		bad++;
	ticks++;
	/* Soon: most of the time is spent in fork */
	tick_later(100 + ticks % 50 * 10);
	errno = err;
}

/* A handler forks amid forks; what allocates is not interrupted. */
static void nested(void)
{
	struct item *old[OLD] = { NULL };
	uint64_t state = 3;
	sigset_t alarms, was;

	sigemptyset(&alarms);
	sigaddset(&alarms, SIGALRM);
	on(SIGALRM, fork_on_tick, 0);
	tick_later(300);
	while (ticks < TICKS) {
		pid_t pid = fork();

		CHECK(pid >= 0);
		CHECK(sigprocmask(SIG_BLOCK, &alarms, &was) == 0);
		step(old, &state, 3);
		malloc_trim(0);
		CHECK(sigprocmask(SIG_SETMASK, &was, NULL) == 0);
		if (pid == 0)
			_exit(0);
		CHECK(test_wait(pid) == 0);
	}
	CHECKF(bad == 0, "%d of %d", (int)bad, (int)ticks);
	drop_all(old, 3);
}

static struct item *given[OLD]; /* by the handler, to whoever frees them */
static uint64_t handler_state = 17;

/*
 * Sizes that are no one else's: to interrupt the few instructions of malloc
 * that take a block off a list, and take one off the same, is what POSIX says.
 */
static size_t odd_size(void)
{
	uint64_t r = test_random(&handler_state);

	return r % 4 ? 4000 + r / 4 % 200 : 9000 + r / 4 % 300000;
}

static void allocate_on_tick(int sig)
{
	int err = errno, i;

	(void)sig;
	for (i = 0; i < 4; i++) {
		struct item **b = &given[test_random(&handler_state) % OLD];
		size_t n = odd_size();
		void *p = NULL;

		drop(*b, 17);
		switch (test_random(&handler_state) % 5) {
		case 0: p = calloc(1, n); break;
		case 1: p = realloc(malloc(9000), n); break;
		case 2: p = memalign(8192, n); break;
		case 3:
			if (posix_memalign(&p, 1 << 17, n) != 0)
				p = NULL;
			break;
		default: p = malloc(n);
		}
		*b = mark(p, n, 17);
		*b = mark(realloc(*b, n + 3000), n + 3000, 17);
	}
	ticks++;
	tick_later(50 + ticks % 100 * 4);
	errno = err;
}

static void *frees_given(void *arg)
{
	int i;

	for (i = 0; i < OLD; i++) {
		if (given[i])
			given[i] = mark(realloc(given[i], given[i]->n + 40000),
					given[i]->n + 40000, 17);
		drop(given[i], 17);
		given[i] = NULL;
	}
	return arg;
}

/* Sizes of main() here */
static size_t even_size(uint64_t *state)
{
	uint64_t r = test_random(state);

	return r % 4 ? 32 + r / 4 % 3000 : 9000 + r / 4 % 300000;
}

/* A handler allocates, resizes and frees, wherever malloc stands. */
static void handler(void)
{
	struct item *old[OLD] = { NULL };
	uint64_t state = 3;
	sigset_t alarms;

	on(SIGALRM, allocate_on_tick, 0);
	tick_later(300);
	while (ticks < TICKS) {
		struct item **b = &old[test_random(&state) % OLD];
		size_t n = even_size(&state);

		drop(*b, 3);
		*b = mark(malloc(n), n, 3);
		if (n % 64 == 0)
			malloc_trim(0);
	}
	sigemptyset(&alarms);
	sigaddset(&alarms, SIGALRM);
	sigprocmask(SIG_BLOCK, &alarms, NULL);
	join(start(frees_given, NULL));
	drop_all(old, 3);
	steps(2000, 7);
}

/* The same beside forks, by others and by the handler */
static void handler_forks(void)
{
	pthread_t threads[2] = { start(forks_on, NULL),
				 start(allocates_locked, (void *)9) };

	handler();
	stop = 1;
	join(threads[0]);
	join(threads[1]);
}

/* -- what else was seen elsewhere */

static char *crash_at;
static size_t alt_size;

/* Reports a crash: it allocates, starts a program and lets it print. */
static void report_crash(int sig)
{
	char line[100];
	FILE *out;

	(void)sig;
	free(malloc(100));
	free(malloc(100000));
	out = popen("echo crashed", "r");
	if (!out || !fgets(line, sizeof(line), out) ||
	    strcmp(line, "crashed\n") != 0)
		_exit(3);
	pclose(out);
	fork_once(0); /* what it runs allocates */
	if (crash_at)
		_exit(0);
	_exit(4);
}

/* A write behind the library's back makes it fault inside; or a report. */
static void crash(int how)
{
	stack_t stack = { .ss_size = alt_size = 1 << 17 };

	stack.ss_sp = malloc(stack.ss_size);
	CHECK(stack.ss_sp && sigaltstack(&stack, NULL) == 0);
	on(SIGABRT, report_crash, SA_ONSTACK);
	on(SIGSEGV, report_crash, SA_ONSTACK);
	crash_at = malloc(how ? 300000 : 20000);
	CHECK(crash_at);
	if (how) { /* its header is read, under a lock */
		uintptr_t page = (uintptr_t)(crash_at - 64) & -(uintptr_t)4096;

		CHECK(mprotect((void *)page, 4096, PROT_NONE) == 0);
	} else {
		free(crash_at);
	}
	dup2(open("/dev/null", O_WRONLY), 2);
	free(crash_at);
	_exit(5);
}

static void crash_report(void)
{
	crash(0);
}

static void crash_fault(void)
{
	crash(1);
}

/* Threads that fork all at once, with children that allocate */
static void *forks_some(void *arg)
{
	struct item *old[OLD] = { NULL };
	uint64_t who = (uintptr_t)arg + 1, state = who;
	int i, k;

	for (i = 0; i < 20; i++) {
		for (k = 0; k < 50; k++)
			step(old, &state, who);
		fork_once(100);
	}
	drop_all(old, who);
	return arg;
}

static void crowd(void)
{
	pthread_t threads[16];
	uintptr_t i;

	for (i = 0; i < 16; i++)
		threads[i] = start(forks_some, (void *)i);
	for (i = 0; i < 16; i++)
		join(threads[i]);
}

/* Handlers of the fork that allocate, and fork themselves, in the child too */
static atomic_int deep;

static void forks_again(void)
{
	free(malloc(70000));
	if (deep++ == 0) {
		pid_t pid = fork();

		CHECK(pid >= 0);
		if (pid == 0) {
			steps(50, 8);
			_exit(0);
		}
		CHECK(test_wait(pid) == 0);
	}
	deep--;
}

static void handlers_fork(void)
{
	pthread_t thread = start(allocates_locked, (void *)1);
	int i;

	early_set(forks_again, forks_again, forks_again);
	for (i = 0; i < 20; i++)
		fork_once(50);
	stop = 1;
	join(thread);
}

/* Two crash at once, in malloc, and both handlers fork. */
static void forks_in_handler(int sig)
{
	int err = errno;

	(void)sig;
	fork_once(20);
	turns++;
	errno = err;
}

static void *interrupted(void *arg)
{
	struct item *old[OLD] = { NULL };
	uint64_t who = (uintptr_t)arg + 1, state = who;

	while (!stop)
		step(old, &state, who);
	drop_all(old, who);
	return arg;
}

static void two_handlers(void)
{
	pthread_t threads[3];
	uintptr_t i;
	int round;

	on(SIGUSR1, forks_in_handler, 0);
	for (i = 0; i < 3; i++)
		threads[i] = start(interrupted, (void *)i);
	for (round = 0; round < 100; round++) {
		for (i = 0; i < 3; i++)
			pthread_kill(threads[i], SIGUSR1);
		while (turns < 3 * (round + 1))
			usleep(100);
	}
	stop = 1;
	for (i = 0; i < 3; i++)
		join(threads[i]);
}

/* -- a debugger, which calls malloc in a process wherever that stands */

#ifdef __x86_64__
static void busy(void)
{
	struct item *old[OLD] = { NULL };
	uint64_t state = 3;
	int i;

	for (i = 0; i < 10; i++) /* what the debugger asks for is its own */
		CHECK(malloc(10));
	while (!stop) {
		struct item **b = &old[test_random(&state) % OLD];
		size_t n = even_size(&state) + 32;

		drop(*b, 3);
		*b = mark(malloc(n), n, 3);
	}
	drop_all(old, 3);
	steps(1000, 7);
	_exit(0);
}

__asm__(".text\ncall_returns:\n\tint3\n");
extern char call_returns[];

static pid_t pid;
static struct user_regs_struct was;

static void trace(int how, void *arg, void *value)
{
	CHECK(ptrace(how, pid, arg, value) == 0);
}

static void stops(int sig)
{
	int status;

	CHECK(waitpid(pid, &status, 0) == pid);
	CHECKF(WIFSTOPPED(status) && WSTOPSIG(status) == sig, "status %x",
	       status);
}

/* As gdb does it: below the stack, and to a breakpoint as return address */
static uintptr_t call(const void *f, uintptr_t a, uintptr_t b)
{
	struct user_regs_struct r = was;

	r.rsp = ((was.rsp - 512) & -(uintptr_t)16) - 8;
	r.rip = (uintptr_t)f;
	r.rdi = a;
	r.rsi = b;
	r.rax = 0;
	r.orig_rax = -1UL;
	trace(PTRACE_POKEDATA, (void *)r.rsp, call_returns);
	trace(PTRACE_SETREGS, NULL, &r);
	trace(PTRACE_CONT, NULL, NULL);
	stops(SIGTRAP);
	trace(PTRACE_GETREGS, NULL, &r);
	CHECK(r.rip == (uintptr_t)call_returns + 1);
	return r.rax;
}

static void calls(void)
{
	uintptr_t p = call(malloc, 10, 0), q = call(malloc, 500000, 0);

	CHECK(p && q && call(calloc, 1, 7000));
	trace(PTRACE_POKEDATA, (void *)p, (void *)77);
	p = call(realloc, p, 7000);
	CHECK(p && ptrace(PTRACE_PEEKDATA, pid, p, NULL) == 77);
	CHECK(call(malloc_usable_size, p, 0) >= 7000);
	call(free, p, 0);
	call(free, q, 0);
	q = call(memalign, 65536, 100);
	CHECK(q && q % 65536 == 0);
	CHECK(call(malloc_usable_size, q, 0) >= 100);
	call(free, q, 0);
}

static void debugger(void)
{
	static char wide[1 << 16];
	int i;

	pid = fork();
	CHECK(pid >= 0);
	if (pid == 0) {
		alarm(50);
		busy();
	}
	if (ptrace(PTRACE_SEIZE, pid, NULL, NULL) != 0) {
		kill(pid, SIGKILL);
		SKIP("no process may trace another here\n");
	}
	for (i = 0; i < 500; i++) {
		struct iovec all = { wide, sizeof(wide) };

		usleep(100 + i % 50 * 10);
		trace(PTRACE_INTERRUPT, NULL, NULL);
		stops(SIGTRAP);
		trace(PTRACE_GETREGS, NULL, &was);
		trace(PTRACE_GETREGSET, (void *)NT_X86_XSTATE, &all);
		calls();
		trace(PTRACE_SETREGSET, (void *)NT_X86_XSTATE, &all);
		trace(PTRACE_SETREGS, NULL, &was);
		if (i == 499)
			trace(PTRACE_POKEDATA, &stop, (void *)1);
		trace(i == 499 ? PTRACE_DETACH : PTRACE_CONT, NULL, NULL);
	}
	CHECK(test_wait(pid) == 0);
}
#else
static void debugger(void)
{
	SKIP("registers of x86-64\n");
}
#endif

/* -- a child of a child, which takes over a slab for the second time */

enum { OLD_SIZE = 6000, OLD_BLOCKS = 3 };

static char *old_block[OLD_BLOCKS];
static pthread_barrier_t turn;

static char *old_size(void)
{
	char *p = malloc(OLD_SIZE);

	CHECK(p && malloc_usable_size(p) >= OLD_SIZE);
	return memset(p, 1, OLD_SIZE);
}

/* The slab is not carved to its end when this is gone. */
static void *first_owner(void *arg)
{
	for (int i = 0; i < OLD_BLOCKS; i++)
		old_block[i] = old_size();
	pthread_barrier_wait(&turn);
	pause();
	return arg;
}

/* The slab is its, and what others have freed of it goes back. */
static void *second_owner(void *arg)
{
	char *volatile p = malloc(1);

	free(p);
	pthread_barrier_wait(&turn);
	pthread_barrier_wait(&turn);
	malloc_trim(0);
	pthread_barrier_wait(&turn);
	pause();
	return arg;
}

/* Nothing is carved where pages were given back. */
static void *third_owner(void *arg)
{
	char *p[20];

	for (int i = 0; i < 20; i++)
		p[i] = old_size();
	for (int i = 0; i < 20; i++)
		free(p[i]);
	return arg;
}

static void owned_by(void *owner(void *arg))
{
	pthread_t thread;

	pthread_barrier_init(&turn, NULL, 2);
	CHECK(pthread_create(&thread, NULL, owner, NULL) == 0);
	if (owner == third_owner)
		pthread_join(thread, NULL);
	else
		pthread_barrier_wait(&turn);
}

static void grandchild(void)
{
	pid_t pid;

	owned_by(first_owner);
	free(old_block[1]); /* it waits in a batch of this thread */
	pid = fork();
	if (pid) {
		CHECK(test_wait(pid) == 0);
		return;
	}
	owned_by(second_owner);
	free(old_block[2]);
	pthread_barrier_wait(&turn);
	pthread_barrier_wait(&turn);
	pid = fork();
	if (!pid)
		owned_by(third_owner);
	_exit(pid ? test_wait(pid) : 0);
}

static const struct test tests[] = {
	{ "grandchild", grandchild },
	{ "mutexes", mutexes },
	{ "workers", workers },
	{ "price", price },
	{ "stdio", stdio },
	{ "nested", nested },
	{ "handler", handler },
	{ "handler_forks", handler_forks },
	{ "crash_report", crash_report },
	{ "crash_fault", crash_fault },
	{ "crowd", crowd },
	{ "handlers_fork", handlers_fork },
	{ "two_handlers", two_handlers },
	{ "debugger", debugger },
};

int main(int argc, char **argv)
{
	return test_main(tests, sizeof(tests) / sizeof(*tests), argc, argv);
}

#endif
