/*
 * startup.c - programs about how the allocator gets into a process.
 *
 * startup NAME [ARG...]      be one of the programs in the table at the end
 *
 * The same file makes the libraries that such a program meets: -DPART_HOOK
 * (a preload that hooks system calls and allocates in them), PART_AUDIT (an
 * auditor of the loader), PART_PLUGIN (for RTLD_DEEPBIND), PART_TLS (static
 * thread-local storage); PART_OWN makes a program with a malloc of its own,
 * STATIC leaves out what a static program can't do.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <malloc.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define LEN(a) ((int)(sizeof(a) / sizeof((a)[0])))

#define REQUIRE(x) \
	do { \
		if (!(x)) { \
			dprintf(2, "%s:%d: %s\n", __FILE__, __LINE__, #x); \
			_exit(1); \
		} \
	} while (0)

#if defined(PART_HOOK)

/*
 * Each hook allocates and asks the loader before it passes the call on, as
 * fakechroot, libfaketime and their like do.
 */
static __thread int inside __attribute__((tls_model("initial-exec")));

static void stir(const char *name)
{
	if (inside++ == 0) {
		if (!dlsym(RTLD_NEXT, name) && strcmp(name, "openat"))
			_exit(66);
		free(malloc(40));
	}
	inside--;
}

void *mmap(void *at, size_t len, int prot, int flags, int fd, off_t off)
{
	stir("mmap");
	return (void *)syscall(SYS_mmap, at, len, prot, flags, fd, off);
}

int munmap(void *at, size_t len)
{
	stir("munmap");
	return (int)syscall(SYS_munmap, at, len);
}

int madvise(void *at, size_t len, int advice)
{
	stir("madvise");
	return (int)syscall(SYS_madvise, at, len, advice);
}

ssize_t read(int fd, void *to, size_t len)
{
	stir("read");
	return syscall(SYS_read, fd, to, len);
}

ssize_t write(int fd, const void *from, size_t len)
{
	stir("write");
	return syscall(SYS_write, fd, from, len);
}

ssize_t readlink(const char *path, char *to, size_t len)
{
	stir("readlink");
	return syscall(SYS_readlink, path, to, len);
}

static int open_at(int dir, const char *path, int flags, va_list more)
{
	mode_t mode = flags & O_CREAT ? va_arg(more, mode_t) : 0;

	stir("openat");
	return (int)syscall(SYS_openat, dir, path, flags, mode);
}

int open(const char *path, int flags, ...)
{
	va_list more;
	int fd;

	va_start(more, flags);
	fd = open_at(AT_FDCWD, path, flags, more);
	va_end(more);
	return fd;
}

int openat(int dir, const char *path, int flags, ...)
{
	va_list more;
	int fd;

	va_start(more, flags);
	fd = open_at(dir, path, flags, more);
	va_end(more);
	return fd;
}

char *secure_getenv(const char *name)
{
	stir("secure_getenv");
	return getenv(name);
}

#elif defined(PART_AUDIT)

unsigned int la_version(unsigned int version)
{
	free(malloc(100));
	return version;
}

unsigned int la_objopen(struct link_map *map, Lmid_t id, uintptr_t *cookie)
{
	(void)map, (void)id, (void)cookie;
	free(malloc(1000));
	return LA_FLG_BINDTO | LA_FLG_BINDFROM;
}

#elif defined(PART_PLUGIN)

void *plugin_malloc(size_t n)
{
	return malloc(n);
}

void plugin_free(void *p)
{
	free(p);
}

char *plugin_text(void)
{
	return strdup("from libc, which allocates with the library");
}

#elif defined(PART_TLS)

static __thread char area[64] __attribute__((tls_model("initial-exec")));

char *area_of(void)
{
	return area;
}

#else /* programs */

#ifndef PART_OWN

static const size_t sizes[] = { 1,     24,     100,    1000,   4096,
				30000, 100000, 200000, 3 << 20 };

/* A bit of everything; false when a block does not hold what it should. */
static int workout(void)
{
	char *p[LEN(sizes)];
	int good = 1;

	for (int i = 0; i < LEN(sizes); i++) {
		p[i] = malloc(sizes[i]);
		if (!p[i] || (uintptr_t)p[i] % 16)
			return 0;
		memset(p[i], i, sizes[i]);
	}
	for (int i = 0; i < LEN(sizes); i++) {
		char *z = calloc(3, sizes[i]);

		good &= z && !z[0] && !z[3 * sizes[i] - 1];
		free(z);
		p[i] = realloc(p[i], 2 * sizes[i]);
		good &= p[i] && p[i][sizes[i] - 1] == i;
		good &= malloc_usable_size(p[i]) >= 2 * sizes[i];
		free(p[i]);
		p[i] = memalign(256, sizes[i]);
		good &= p[i] && !((uintptr_t)p[i] % 256);
		free(p[i]);
	}
	return good;
}

static int run_work(char **arg)
{
	(void)arg;
	for (int i = 0; i < 10; i++)
		REQUIRE(workout());
	puts("worked");
	return 0;
}

/* One zeroed block: a calloc that calls itself does not come back. */
static int run_calloc(char **arg)
{
	volatile size_t n = 1;

	(void)arg;
	for (; n < 5 << 20; n = n * 3 / 2 + 1) {
		char *p = malloc(n), *z;

		memset(p, 1, n);
		free(p);
		z = calloc(1, n);
		for (size_t i = 0; i < n; i++)
			REQUIRE(!z[i]);
		free(z);
	}
	return 0;
}

static int early_done;

/* Before main, free() and friends may be the first the heap hears of us. */
static __attribute__((constructor(101))) void early(void)
{
	void *p;

	free(NULL);
	early_done = malloc_usable_size(NULL) == 0;
	p = realloc(NULL, 1);
	early_done &= p != NULL;
	free(p);
	p = realloc(NULL, 0);
	early_done &= p != NULL;
	free(p);
}

static int run_early(char **arg)
{
	(void)arg;
	REQUIRE(early_done);
	return 0;
}

/* The open descriptors, and which of them an exec would pass on. */
static int run_fds(char **arg)
{
	(void)arg;
	REQUIRE(workout());
	for (int i = 0; i < 2000; i++) {
		int flags = fcntl(i, F_GETFD);

		if (flags >= 0)
			printf("%d%s\n", i,
			       flags & FD_CLOEXEC ? " cloexec" : "");
	}
	return 0;
}

/* A program that can't open anything starts us, or itself, anew. */
static int run_nofile(char **arg)
{
	struct rlimit none = { 0, 0 };

	REQUIRE(!setrlimit(RLIMIT_NOFILE, &none));
	execv(arg[0], arg);
	return 126;
}

/* An environment that no shell would make. */
static int run_environment(char **arg)
{
	char preload[4096];
	char *odd[] = { preload, "ALLOC_THRESH",    "=",
			"",      "ALLOC_LOG",       "ALLOC_",
			"A",     "ALLOC_THRESH_=x", "ALLOC_DIRECTLY=x",
			NULL };
	char *none[] = { NULL, NULL };
	char *bare[] = { preload, NULL };
	const char *so = getenv("TEST_SO");

	REQUIRE(so);
	snprintf(preload, sizeof(preload), "LD_PRELOAD=%s", so);
	if (!strcmp(arg[0], "none"))
		execve("/proc/self/exe", none, bare);
	arg[-1] = "startup";
	execve("/proc/self/exe", arg - 1, odd);
	return 126;
}

#if defined(__GLIBC__) && !defined(STATIC)

static void nothing(void)
{
}

/* Enough exit functions for libc to allocate a list while it holds a lock. */
static __attribute__((constructor)) void many_atexit(int argc, char **argv)
{
	if (argc > 1 && !strcmp(argv[1], "atexit"))
		for (int i = 0; i < 200; i++)
			if (atexit(nothing))
				_exit(3);
}

static int run_atexit(char **arg)
{
	(void)arg;
	return 0;
}

/* ---- what libc's own heap must not notice ----------------------------- */

static void *ask(void *arg)
{
	struct mallinfo2 m;
	FILE *null = fopen("/dev/null", "w");

	(void)arg;
	REQUIRE(null);
	REQUIRE(workout());
	m = mallinfo2();
	REQUIRE(m.arena + m.hblkhd > 0);
	REQUIRE(!malloc_info(0, null));
	mallopt(M_MMAP_THRESHOLD, 1 << 20);
	mallopt(M_ARENA_MAX, 2);
	malloc_trim(0);
	if (dup2(fileno(null), 2) == 2)
		malloc_stats();
	fclose(null);
	REQUIRE(workout());
	return NULL;
}

/* What malloc_trim() leaves behind must be as good as new. */
static int run_trim(char **arg)
{
	(void)arg;
	for (size_t a = 100; a < 8 << 20; a = a * 3 / 2)
		for (size_t b = a / 2; b < 4 * a; b += a / 4) {
			char *p = malloc(a);

			REQUIRE(p);
			memset(p, 1, a);
			free(p);
			REQUIRE(malloc_trim(0) || a < 100000);
			p = malloc(b);
			REQUIRE(p);
			memset(p, 2, b);
			free(p);
		}
	return 0;
}

/* Is there a heap by brk, or an arena of libc: 64 MiB, most of it shut? */
static int libc_heap(void)
{
	FILE *maps = fopen("/proc/self/maps", "r");
	unsigned long from, to;
	char line[512], prot[8];
	int found = 0;

	REQUIRE(maps);
	while (fgets(line, sizeof(line), maps)) {
		REQUIRE(sscanf(line, "%lx-%lx %7s", &from, &to, prot) == 3);
		if (strstr(line, "[heap]") ||
		    (!strcmp(prot, "---p") && to - from > 60ul << 20 &&
		     to % (64 << 20) == 0)) {
			fputs(line, stderr);
			found = 1;
		}
	}
	fclose(maps);
	return found;
}

static int run_maps(char **arg)
{
	int err = dup(2);
	pthread_t id[3];

	(void)arg;
	ask(NULL);
	for (int i = 0; i < LEN(id); i++)
		REQUIRE(!pthread_create(&id[i], NULL, ask, NULL));
	for (int i = 0; i < LEN(id); i++)
		pthread_join(id[i], NULL);
	dup2(err, 2);
	return libc_heap();
}

/* ---- loaded late, or beside others ------------------------------------ */

/* Load all the libraries named, then the allocator, and use its malloc. */
static int run_tls(char **arg)
{
	void *(*make)(size_t);
	void (*drop)(void *);
	void *so, *m, *f;

	for (; arg[1]; arg++) {
		if (!dlopen(*arg, RTLD_NOW | RTLD_LOCAL)) {
			puts(dlerror());
			return 1;
		}
	}
	so = dlopen(*arg, RTLD_NOW | RTLD_LOCAL);
	if (!so) {
		puts(dlerror());
		return 1;
	}
	m = dlsym(so, "malloc");
	f = dlsym(so, "free");
	REQUIRE(m && f && m != dlsym(RTLD_DEFAULT, "malloc"));
	memcpy(&make, &m, sizeof(m));
	memcpy(&drop, &f, sizeof(f));
	for (size_t n = 1; n < 10 << 20; n *= 2) {
		char *p = make(n);

		REQUIRE(p);
		memset(p, 1, n);
		drop(p);
	}
	return 0;
}

/* arg: plugin, "pair" | "text" | "cross" */
static int run_deepbind(char **arg)
{
	void *so = dlopen(arg[0], RTLD_NOW | RTLD_DEEPBIND), *sym[3], *p;
	void *(*make)(size_t);
	void (*drop)(void *);
	char *(*text)(void);

	REQUIRE(so);
	sym[0] = dlsym(so, "plugin_malloc");
	sym[1] = dlsym(so, "plugin_free");
	sym[2] = dlsym(so, "plugin_text");
	REQUIRE(sym[0] && sym[1] && sym[2]);
	memcpy(&make, &sym[0], sizeof(make));
	memcpy(&drop, &sym[1], sizeof(drop));
	memcpy(&text, &sym[2], sizeof(text));
	p = make(1000);
	REQUIRE(p);
	memset(p, 1, 1000);
	if (!strcmp(arg[1], "cross"))
		free(p);
	else
		drop(p);
	if (!strcmp(arg[1], "text"))
		free(text());
	return 0;
}

/* ---- every way to get a block, every way to be rid of it --------------- */

static void *make(int how, size_t n)
{
	void *p = NULL;

	switch (how) {
	case 0: return malloc(n);
	case 1: return calloc(1, n);
	case 2: return realloc(NULL, n);
	case 3: return reallocarray(NULL, 2, n / 2 + 1);
	case 4: return aligned_alloc(64, n);
	case 5: return memalign(4096, n);
	case 6: return posix_memalign(&p, 128, n) ? NULL : p;
	case 7: return valloc(n);
	case 8: return pvalloc(n);
	case 9: return memset(realloc(malloc(n / 3 + 1), n), 1, n);
	}
	p = malloc(n + 1);
	memset(p, 'x', n);
	((char *)p)[n] = 0;
	{
		char *s = strdup(p);

		free(p);
		return s;
	}
}

static void drop(int how, void *p, size_t n)
{
	void (*cfree_)(void *);
	void *sym;

	REQUIRE(p && malloc_usable_size(p) >= n);
	memset(p, 0x5a, malloc_usable_size(p));
	switch (how) {
	case 0: free(p); return;
	case 1: REQUIRE(!realloc(p, 0)); return;
	case 2: free(realloc(p, n * 2)); return;
	case 3: free(reallocarray(p, 1, n / 2 + 1)); return;
	}
	sym = dlsym(RTLD_DEFAULT, "cfree");
	REQUIRE(sym);
	memcpy(&cfree_, &sym, sizeof(sym));
	cfree_(p);
}

static int run_matrix(char **arg)
{
	(void)arg;
	for (int i = 0; i < LEN(sizes); i++)
		for (int how = 0; how <= 10; how++)
			for (int end = 0; end < 5; end++)
				drop(end, make(how, sizes[i]), sizes[i]);
	return 0;
}

#endif /* a program of glibc, not static */

/* ---- reads that are wrong but have always worked ------------------------ */

static volatile unsigned long sink;

/* Sixteen aligned bytes at a time, as strlen() does, past the last one. */
static int run_reads(char **arg)
{
	(void)arg;
	for (size_t n = 1; n < 70000; n += n / 8 + 1) {
		uintptr_t last;
		char *p = malloc(n);

		REQUIRE(p);
		for (size_t i = 0; i < n; i += 16)
			sink += (unsigned char)p[i];
		last = ((uintptr_t)p + n - 1) & -(uintptr_t)16;
		for (int i = 0; i < 16; i++)
			sink += ((unsigned char *)last)[i];
		memset(p, 'x', n);
		p[n - 1] = 0;
		REQUIRE(strlen(p) == n - 1);
	}
	return 0;
}

/* ---- signals ---------------------------------------------------------- */

static sigjmp_buf out;
static volatile sig_atomic_t jumps, hits;

static void on_timer(int sig)
{
	char *p;

	(void)sig;
	hits++;
	p = malloc(sizes[hits % 7]);
	if (p)
		memset(p, 0xee, sizes[hits % 7]);
	free(p);
	if (jumps && hits % 3 == 0)
		siglongjmp(out, 1);
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Blocks that hold their own address; whoever else writes there is seen. */
static void signal_loop(double until)
{
	static void **keep[256];
	static unsigned int seed;

	while (now() < until) {
		unsigned int r = (unsigned int)rand_r(&seed);
		void ***at = &keep[r % LEN(keep)];

		if (*at)
			REQUIRE(**at == *at);
		free(*at);
		*at = malloc(16 + sizes[r / 256 % 7]);
		if (*at)
			**at = *at;
	}
}

/* A timer whose handler allocates; with an argument it also jumps out. */
static int run_signal(char **arg)
{
	struct itimerval tick = { { 0, 200 }, { 0, 200 } };
	double until = now() + 0.7;

	jumps = arg[0] != NULL;
	signal(SIGALRM, on_timer);
	if (!sigsetjmp(out, 1))
		setitimer(ITIMER_REAL, &tick, NULL);
	/* what was being replaced when the jump came may be lost */
	if (jumps)
		while (now() < until)
			free(malloc(100));
	else
		signal_loop(until);
	signal(SIGALRM, SIG_IGN);
	return hits < 20;
}

static void *sleeper(void *arg)
{
	while (!hits)
		syscall(SYS_sched_yield);
	return arg;
}

/* The first a thread asks of the heap, it asks in a signal handler. */
static int run_signal_first(char **arg)
{
	(void)arg;
	signal(SIGUSR1, on_timer);
	for (int i = 0; i < 100; i++) {
		pthread_t id;

		hits = 0;
		REQUIRE(!pthread_create(&id, NULL, sleeper, NULL));
		pthread_kill(id, SIGUSR1);
		pthread_join(id, NULL);
	}
	return 0;
}

/* ---- the ways a process ends ------------------------------------------ */

static void *exit_in_thread(void *arg)
{
	(void)arg;
	free(malloc(100));
	exit(7);
}

static void *return_late(void *arg)
{
	usleep(20000);
	free(malloc(100));
	return arg;
}

static int run_exit(char **arg)
{
	const char *how = arg[0];
	pthread_t id;

	workout();
	if (!malloc(100) || !malloc(300000))
		return 1;
	if (!strcmp(how, "exit"))
		exit(4);
	if (!strcmp(how, "_exit"))
		_exit(5);
#ifdef __GLIBC__
	if (!strcmp(how, "quick_exit"))
		quick_exit(6);
#endif
	if (!strcmp(how, "abort"))
		abort();
	if (!strcmp(how, "term"))
		raise(SIGTERM);
	if (!strcmp(how, "exec"))
		execl("/bin/sh", "sh", "-c", "exit 9", (char *)NULL);
	if (!strcmp(how, "thread")) {
		pthread_create(&id, NULL, exit_in_thread, NULL);
		pthread_join(id, NULL);
	}
	if (!strcmp(how, "pthread_exit")) {
		pthread_create(&id, NULL, return_late, NULL);
		pthread_exit(NULL);
	}
	return 3;
}

static const struct {
	const char *name;
	int (*run)(char **);
} programs[] = { { "work", run_work },
		 { "calloc", run_calloc },
		 { "early", run_early },
		 { "fds", run_fds },
		 { "nofile", run_nofile },
		 { "environment", run_environment },
#if defined(__GLIBC__) && !defined(STATIC)
		 { "atexit", run_atexit },
		 { "maps", run_maps },
		 { "trim", run_trim },
		 { "tls", run_tls },
		 { "deepbind", run_deepbind },
		 { "matrix", run_matrix },
#endif
		 { "reads", run_reads },
		 { "signal", run_signal },
		 { "signal-first", run_signal_first },
		 { "exit", run_exit } };

int main(int argc, char **argv)
{
	if (!argc || !*argv[0]) /* run_environment() without arguments */
		return workout() ? 0 : 1;
	for (int i = 0; argc > 1 && i < LEN(programs); i++)
		if (!strcmp(argv[1], programs[i].name))
			return programs[i].run(argv + 2);
	return 125;
}

#else /* PART_OWN */

/*
 * A program with a malloc of its own: linked as usual libc uses it as well;
 * with -fvisibility=hidden libc has that of the preload, and what libc has
 * allocated must go there.
 */
static char arena[1 << 20] __attribute__((aligned(16)));
static size_t top;
static unsigned long mine, theirs;

void *malloc(size_t n)
{
	size_t *p = (size_t *)(arena + top);

	n = (n + 31) & -(size_t)16;
	if (n > sizeof(arena) - top)
		return NULL;
	top += n;
	p[1] = n - 16;
	mine++;
	return p + 2;
}

void free(void *p)
{
	void (*next)(void *);
	void *sym;

	if (!p || ((char *)p >= arena && (char *)p < arena + sizeof(arena)))
		return;
	theirs++;
	sym = dlsym(RTLD_NEXT, "free");
	memcpy(&next, &sym, sizeof(sym));
	next(p);
}

void *calloc(size_t a, size_t b)
{
	return malloc(a * b); /* the arena is used but once */
}

void *realloc(void *p, size_t n)
{
	void *q = malloc(n);

	if (p && q)
		memcpy(q, p, n < ((size_t *)p)[-1] ? n : ((size_t *)p)[-1]);
	return q;
}

int main(void)
{
	static const char want[] = "one two three";
	char *line = NULL, *text = NULL;
	size_t room = 0;
	FILE *f = tmpfile();

	REQUIRE(f);
	fprintf(f, "%s\n", want);
	rewind(f);
	REQUIRE(getline(&line, &room, f) == sizeof(want));
	REQUIRE(asprintf(&text, "<%s>", line) == sizeof(want) + 2);
	free(line);
	free(text);
	text = strdup(want);
	REQUIRE(text && !strcmp(text, want));
	free(text);
	free(malloc(1000));
	fclose(f);
	printf("own blocks: %s, of others: %s\n", mine ? "some" : "none",
	       theirs ? "some" : "none");
	return 0;
}

#endif
#endif
