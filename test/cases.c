/*
 * cases.c - what went wrong elsewhere when malloc was replaced, and no other
 * file here is about: doc/compatibility.md lists it all.
 */
#include "test.h"
#include <limits.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/auxv.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <ucontext.h>

static atomic_int stop;

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

/* Blocks of `n` bytes and `total` bytes together, linked, all of it written */
static void *pile(size_t n, size_t total)
{
	void **list = NULL, **p;
	size_t sum;

	for (sum = 0; sum < total; sum += n, list = p) {
		p = malloc(n);
		CHECK(p);
		memset(p, 1, n);
		*p = list;
	}
	return list;
}

static void drop(void *list)
{
	void *next;

	for (; list; list = next) {
		next = *(void **)list;
		free(list);
	}
}

/* Every way that memory can take, in a few milliseconds */
static void *errand(void *arg)
{
	size_t n;
	char *p;

	for (n = 1; n < 2 * MIB; n += n / 3 + 1) {
		p = realloc(malloc(n), 2 * n);
		CHECK(p);
		p[0] = p[2 * n - 1] = 1;
		free(calloc(1, n));
		free(p);
		p = memalign(256, n);
		CHECK(p);
		free(p);
	}
	drop(pile(60000, MIB));
	return arg;
}

/* Threads, one after another and at once; children; all that is free goes. */
static void errands(void)
{
	pthread_t threads[4];
	int i, k;
	pid_t pid;

	for (i = 0; i < 5; i++) {
		join(start(errand, NULL));
		for (k = 0; k < 4; k++)
			threads[k] = start(errand, NULL);
		pid = fork();
		CHECK(pid >= 0);
		if (pid == 0) {
			alarm(30);
			join(start(errand, NULL));
			exit(0);
		}
		CHECK(test_wait(pid) == 0);
		for (k = 0; k < 4; k++)
			join(threads[k]);
		malloc_trim(0);
	}
	CHECK(write(1, "done\n", 5) == 5);
}

static pthread_key_t last_key;
static int keys;

static void *uses_key(void *arg)
{
	void *p = pile(3000, 300000);

	drop(p);
	if (keys)
		CHECK(pthread_setspecific(last_key, malloc(5000)) == 0);
	return arg;
}

/* The program takes all keys for thread-specific data that there are. */
static void thread_keys(void)
{
	size_t rss = 0;
	int i;

	while (pthread_key_create(&last_key, free) == 0)
		keys++;
	CHECK(keys > 100);
	for (i = 0; i < 400; i++) {
		if (i == 100)
			rss = test_rss();
		join(start(uses_key, NULL));
	}
	CHECKF(test_rss() < rss + 4 * MIB, "%zu KiB more, with %d keys",
	       (test_rss() - rss) / KIB, keys);
}

/* Asks for all there is to know, which takes each lock of the library. */
static void ask(void)
{
	char *text = NULL;
	size_t size;
	FILE *f = open_memstream(&text, &size);

	CHECK(f && malloc_info(0, f) == 0 && fclose(f) == 0);
	free(text);
	CHECK(mallinfo2().hblkhd < GIB);
	malloc_stats();
	malloc_trim(0);
}

static void *asks(void *arg)
{
	while (!stop)
		ask();
	return arg;
}

static void *runs_errands(void *arg)
{
	while (!stop)
		errand(arg);
	return arg;
}

static void forks_while_asked(void)
{
	pthread_t threads[4];
	int i, rounds = (int)test_scale(40, 2000);
	pid_t pid;

	for (i = 0; i < 4; i++)
		threads[i] = start(i % 2 ? asks : runs_errands, NULL);
	for (i = 0; i < rounds; i++) {
		pid = fork();
		CHECK(pid >= 0);
		if (pid == 0) {
			alarm(30);
			errand(NULL);
			ask();
			join(start(errand, NULL));
			_exit(0);
		}
		CHECKF(test_wait(pid) == 0, "child %d", i);
	}
	stop = 1;
	for (i = 0; i < 4; i++)
		join(threads[i]);
}

/* In a daemon no thread is left but the one that called daemon(). */
static void daemon_shrinks(int report)
{
	static const size_t sizes[] = { 100, 3000, 100 * KIB, MIB };
	size_t begin, i;
	ssize_t kept;

	join(start(errand, NULL));
	CHECK(daemon(1, 1) == 0);
	alarm(60);
	begin = test_rss();
	for (i = 0; i < COUNT(sizes); i++)
		drop(pile(sizes[i], 120 * MIB));
	kept = (ssize_t)test_rss() - (ssize_t)begin;
	CHECK(write(report, &kept, sizeof(kept)) == sizeof(kept));
	_exit(0);
}

static void in_daemon(void)
{
	int fds[2];
	pid_t pid;
	ssize_t kept;

	CHECK(pipe(fds) == 0);
	pid = fork();
	CHECK(pid >= 0);
	if (pid == 0)
		daemon_shrinks(fds[1]);
	close(fds[1]);
	CHECK(test_wait(pid) == 0);
	CHECK(read(fds[0], &kept, sizeof(kept)) == sizeof(kept));
	CHECKF(kept < 48 * (ssize_t)MIB, "%zd KiB kept", kept / 1024);
}

/* Nothing is shared with children or with a file, nor can it be executed. */
static void private_mappings(void)
{
	void *list = pile(100, MIB), *more = pile(MIB, 8 * MIB);
	char line[512], modes[5], name[256];
	FILE *f = fopen("/proc/self/maps", "r");
	unsigned long from, to, at[] = { (uintptr_t)list, (uintptr_t)more };
	int i, found = 0;

	CHECK(f);
	while (fgets(line, sizeof(line), f)) {
		name[0] = '\0';
		CHECK(sscanf(line, "%lx-%lx %4s %*s %*s %*s %255s", &from, &to,
			     modes, name) >= 3);
		CHECKF(modes[3] == 'p' && strcmp(modes, "rwxp") != 0, "%s",
		       line);
		for (i = 0; i < 2; i++)
			if (at[i] >= from && at[i] < to) {
				CHECKF(!name[0], "%s", line);
				found++;
			}
	}
	CHECK(found == 2);
	fclose(f);
	drop(list);
	drop(more);
}

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
/* The old form of mallinfo has 31 bits for what may be more. */
static void large_mallinfo(void)
{
	enum { BLOCKS = 5 };
	size_t n = 512 * MIB;
	void *p[BLOCKS];
	int i;

	for (i = 0; i < BLOCKS; i++) {
		p[i] = malloc(n);
		if (!p[i])
			SKIP("there is no memory to promise\n");
	}
	CHECK(mallinfo2().hblkhd >= BLOCKS * n);
	CHECKF(mallinfo().hblkhd == INT_MAX, "%d", mallinfo().hblkhd);
	CHECK(mallinfo().hblks >= BLOCKS && mallinfo().hblks < 1000);
	for (i = 0; i < BLOCKS; i++)
		free(p[i]);
	CHECK(mallinfo().hblkhd < (int)(64 * MIB));
}
#pragma GCC diagnostic pop

static char *trap;
static volatile sig_atomic_t traps;

static void on_fault(int sig, siginfo_t *info, void *context)
{
	(void)sig;
	(void)context;
	if (info->si_addr != trap)
		_exit(TEST_FAILED);
	traps++;
	mprotect(trap, 4096, PROT_READ | PROT_WRITE);
}

/* Signals are the program's: no handler is there but its own. */
static void own_signals(void)
{
	struct sigaction act = { .sa_sigaction = on_fault };
	int sig, asked = 0;

	join(start(errand, NULL));
	errand(NULL);
	for (sig = 1; sig < 65; sig++) {
		struct sigaction is;

		if (sigaction(sig, NULL, &is) != 0)
			continue; /* libc's own */
		CHECKF(is.sa_handler == SIG_DFL || is.sa_handler == SIG_IGN,
		       "signal %d has a handler", sig);
		asked++;
	}
	CHECK(asked > 50);
	act.sa_flags = SA_SIGINFO;
	CHECK(sigaction(SIGSEGV, &act, NULL) == 0);
	trap = memalign(4096, 8192);
	CHECK(trap && mprotect(trap, 4096, PROT_NONE) == 0);
	errand(NULL);
	*(volatile char *)trap = 1;
	CHECK(traps == 1 && trap[0] == 1);
	free(trap);
}

static _Atomic(void *) letters[64];
static atomic_long sent;

/* Passes blocks on to others, and frees those that come from them. */
static void *corresponds(void *arg)
{
	uint64_t state = (uintptr_t)arg;
	long i, n = test_scale(200000, 5000000);

	for (i = 0; i < n; i++) {
		uint64_t r = test_random(&state);
		void *p = malloc(i % 1000 ? 16 << r % 8 : 200000);

		CHECK(p);
		free(atomic_exchange(&letters[(r >> 8) % 64], p));
	}
	sent++;
	return NULL;
}

static void *_Atomic handed;

static void *makes_and_waits(void *arg)
{
	handed = pile(500, 4 * MIB);
	while (!stop)
		usleep(1000);
	return arg;
}

static size_t in_use(void)
{
	struct mallinfo2 m = mallinfo2();

	CHECKF(m.uordblks <= m.arena && m.uordblks + m.fordblks == m.arena,
	       "%zu in use of %zu, %zu free", m.uordblks, m.arena, m.fordblks);
	return m.uordblks + m.hblkhd;
}

/* What others free is not lost to the figures, which never go below zero. */
static void figures(void)
{
	size_t before, most = 0, now;
	pthread_t threads[3];
	uintptr_t i;

	join(start(errand, NULL));
	before = in_use();
	for (i = 0; i < 3; i++)
		threads[i] = start(corresponds, (void *)(i + 1));
	while (sent < 3) {
		now = in_use();
		most = now > most ? now : most;
	}
	for (i = 0; i < 3; i++)
		join(threads[i]);
	CHECKF(most < 64 * MIB, "%zu KiB at times", most / KIB);
	for (i = 0; i < 64; i++)
		free(letters[i]);
	now = in_use();
	CHECKF(now < before + 256 * KIB, "from %zu to %zu", before, now);
	threads[0] = start(makes_and_waits, NULL);
	while (!handed)
		usleep(1000);
	CHECK(in_use() > before + 4 * MIB);
	drop(handed);
	now = in_use();
	CHECKF(now < before + 256 * KIB, "from %zu to %zu", before, now);
	stop = 1;
	join(threads[0]);
}

#ifdef __x86_64__

enum { OURS = 0x600d }; /* the sixth argument of calls that go through */
static atomic_long rounds, returned;
static __thread int trimming;

/*
 * The kernel hands us each munmap and madvise instead of doing it. If it was
 * called under a lock, others could not go on now.
 */
static void on_call(int sig, siginfo_t *info, void *context)
{
	greg_t *r = ((ucontext_t *)context)->uc_mcontext.gregs;
	long upto = rounds + 20;

	(void)sig;
	returned += trimming;
	while (trimming && rounds < upto)
		sched_yield();
	r[REG_RAX] = syscall(info->si_syscall, r[REG_RDI], r[REG_RSI],
			     r[REG_RDX], r[REG_R10], r[REG_R8], OURS);
}

/* Each round takes the lock of OS memory several times. */
static void *goes_round(void *arg)
{
	char *p;

	for (;; rounds++) {
		p = malloc(300000);
		CHECK(p);
		p[0] = 1;
		free(p);
		free(malloc(100000));
	}
	return arg;
}

#define LOAD(field) \
	BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define IS(value, yes, no) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, yes, no)
#define RETURN(what) BPF_STMT(BPF_RET | BPF_K, what)

/* malloc_trim() ends, and holds nobody up, while others go on freeing. */
static void trim_beside_others(void)
{
	struct sock_filter code[] = {
		LOAD(nr),
		IS(SYS_munmap, 2, 0),
		IS(SYS_madvise, 1, 0),
		RETURN(SECCOMP_RET_ALLOW),
		LOAD(args[5]),
		IS(OURS, 0, 1),
		RETURN(SECCOMP_RET_ALLOW),
		RETURN(SECCOMP_RET_TRAP),
	};
	struct sock_fprog program = { COUNT(code), code };
	struct sigaction act = { .sa_sigaction = on_call };
	void *small, *large;

	act.sa_flags = SA_SIGINFO | SA_NODEFER;
	CHECK(sigaction(SIGSYS, &act, NULL) == 0);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
		SKIP("this kernel has no seccomp filters\n");
	start(goes_round, NULL);
	small = pile(5000, 8 * MIB);
	large = pile(200000, 20 * MIB);
	drop(small);
	drop(large);
	trimming = 1;
	CHECK(malloc_trim(0) == 1);
	CHECKF(returned > 10, "%ld calls", (long)returned);
	_exit(0); /* the end of a thread is a call of madvise, too */
}

#else

static void trim_beside_others(void)
{
	SKIP("changes registers of x86-64\n");
}

#endif

static void *until_exit[2];

__attribute__((destructor)) static void last_of_all(void)
{
	drop(until_exit[1]);
}

static void at_exit(void)
{
	drop(until_exit[0]);
}

/* How a process may end; what it holds is freed by what runs at an exit. */
static void ends(void)
{
	const char *how = test_args[0];

	until_exit[0] = pile(1000, 8 * MIB);
	until_exit[1] = pile(MIB, 8 * MIB);
	CHECK(how && atexit(at_exit) == 0);
	if (strcmp(how, "exit") == 0)
		exit(0);
	if (strcmp(how, "_exit") == 0)
		_exit(0);
	if (strcmp(how, "quick_exit") == 0)
		quick_exit(0);
	if (strcmp(how, "abort") == 0)
		abort();
	if (strcmp(how, "term") == 0)
		raise(SIGTERM);
	if (strcmp(how, "exec") == 0)
		execl("/bin/true", "true", (char *)NULL);
}

/* For a program that the kernel takes for a secure one */
static void secure(void)
{
	errand(NULL);
	dprintf(1, "secure=%lu\n", getauxval(AT_SECURE));
}

/* Arguments: a library in C++, what it should do and with how many bytes. */
static void plugin(void)
{
	void *handle = dlopen(test_args[0], RTLD_NOW | RTLD_LOCAL);
	int (*work)(int how, size_t n);

	CHECKF(handle, "%s", dlerror());
	*(void **)&work = dlsym(handle, "plugin_work");
	CHECK(work);
	dprintf(1, "%d\n",
		work(atoi(test_args[1]), strtoul(test_args[2], NULL, 0)));
	CHECK(dlclose(handle) == 0);
}

static void *(*its_malloc)(size_t n);
static void (*its_free)(void *p);
static atomic_int used, closed;

static void *uses_library(void *arg)
{
	size_t n;

	for (n = 1; n < MIB; n = 3 * n + 1)
		its_free(its_malloc(n));
	used++;
	while (arg && !closed)
		usleep(1000);
	return NULL;
}

/* A library, the argument, is closed before a thread ends that used it. */
static void unload(void)
{
	pthread_t thread;
	void *handle;
	pid_t pid;
	int i;

	for (i = 0; i < 20; i++) {
		handle = dlopen(test_args[0], RTLD_NOW | RTLD_LOCAL);
		CHECKF(handle, "%s", dlerror());
		*(void **)&its_malloc = dlsym(handle, "malloc");
		*(void **)&its_free = dlsym(handle, "free");
		CHECK(its_malloc && its_free && its_malloc != malloc);
		used = closed = 0;
		uses_library(NULL);
		thread = start(uses_library, &used);
		while (used < 2)
			usleep(1000);
		CHECK(dlclose(handle) == 0);
		closed = 1;
		join(thread);
		pid = fork();
		if (pid == 0)
			_exit(0);
		CHECK(test_wait(pid) == 0);
	}
}

#define CASES(X) \
	X(errands) \
	X(thread_keys) \
	X(forks_while_asked) \
	X(in_daemon) \
	X(private_mappings) \
	X(large_mallinfo) \
	X(own_signals) \
	X(figures) \
	X(trim_beside_others) \
	X(ends) \
	X(secure) \
	X(unload) \
	X(plugin)

static const struct test cases[] = { CASES(TEST_ROW) };

int main(int argc, char **argv)
{
	return test_main(cases, COUNT(cases), argc, argv);
}
