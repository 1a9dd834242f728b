/*
 * trace.c - programs whose calls the tests want to find in a trace.
 *
 * trace NAME [ARG...]        be one of the programs in the table at the end
 *
 * None of them uses stdio: its buffers would be leaks in the eyes of mtrace.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <malloc.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define LEN(a) ((int)(sizeof(a) / sizeof((a)[0])))

#define REQUIRE(x) \
	do { \
		if (!(x)) { \
			static const char at[] = __FILE__ ": " #x "\n"; \
			if (write(2, at, sizeof(at) - 1) < 0) \
				_exit(2); \
			_exit(1); \
		} \
	} while (0)

static void *keep[16];

static void *symbol(const char *name)
{
	void *s = dlsym(RTLD_DEFAULT, name);

	REQUIRE(s);
	return s;
}

/* Every entry point that allocates, told apart by the size it asks for. */
static void get_each(void)
{
	void *(*one)(size_t), *(*two)(size_t, size_t);
	void *s;

	keep[0] = malloc(1001);
	keep[1] = calloc(1, 1002);
	keep[2] = realloc(NULL, 1003);
	keep[3] = reallocarray(NULL, 1, 1004);
	keep[4] = aligned_alloc(64, 1005);
	keep[5] = memalign(64, 1006);
	REQUIRE(!posix_memalign(&keep[6], 64, 1007));
	keep[7] = valloc(1008);
	keep[8] = pvalloc(1009);
	s = symbol("_Znwm");
	memcpy(&one, &s, sizeof(s));
	keep[9] = one(1010);
	s = symbol("_Znam");
	memcpy(&one, &s, sizeof(s));
	keep[10] = one(1011);
	s = symbol("_ZnwmSt11align_val_t");
	memcpy(&two, &s, sizeof(s));
	keep[11] = two(1012, 64);
	keep[12] = strdup("twelve");
	keep[13] = malloc(300000);
	for (int i = 0; i < 14; i++)
		REQUIRE(keep[i]);
}

static void drop_each(void)
{
	static const char *const one_name[] = { "cfree", "_ZdlPv", "_ZdaPv" };
	static const char *const two_name[] = { "free_sized", "_ZdlPvm" };
	void (*one)(void *), (*two)(void *, size_t);
	void (*three)(void *, size_t, size_t);
	int n = 0;
	void *s;

	for (int i = 0; i < LEN(one_name); i++) {
		s = symbol(one_name[i]);
		memcpy(&one, &s, sizeof(s));
		one(keep[n++]);
	}
	for (int i = 0; i < LEN(two_name); i++) {
		s = symbol(two_name[i]);
		memcpy(&two, &s, sizeof(s));
		two(keep[n], 1001 + (size_t)n);
		n++;
	}
	s = symbol("free_aligned_sized");
	memcpy(&three, &s, sizeof(s));
	three(keep[n++], 64, 1006);
	REQUIRE(!realloc(keep[n++], 0));
	while (n < 14)
		free(keep[n++]);
}

static int run_entries(char **arg)
{
	(void)arg;
	get_each();
	return 0;
}

static int run_clean(char **arg)
{
	(void)arg;
	for (int i = 0; i < 20; i++) {
		get_each();
		drop_each();
	}
	free(NULL);
	return 0;
}

/* The call is the last of its line, so its return address is in the next. */
static __attribute__((noinline)) void leak(void)
{
	malloc(12345); /* the planted leak */
	keep[0] = NULL;
}

static int run_leak(char **arg)
{
	(void)arg;
	free(malloc(500));
	leak();
	free(malloc(12345));
	return run_clean(NULL);
}

/* realloc() in every way it can end. */
static int run_realloc(char **arg)
{
	volatile size_t huge = SIZE_MAX / 2 + 100;
	void *p = malloc(100), *wall = malloc(100);

	(void)arg;
	p = realloc(p, 101);        /* where it is */
	p = realloc(p, 54321);      /* elsewhere */
	REQUIRE(!realloc(p, huge)); /* nowhere */
	p = realloc(p, 1 << 20);
	p = realloc(p, 4 << 20);
	p = realloc(p, 10);
	free(p);
	free(wall);
	return 0;
}

static void *work(void *arg)
{
	void *mine[8] = { NULL };

	for (int i = 0; i < 1000; i++) {
		void **at = &mine[i % LEN(mine)];

		free(*at);
		*at = malloc((size_t)(i % 500 + 1));
	}
	for (int i = 0; i < LEN(mine); i++)
		free(mine[i]);
	return arg;
}

static int run_threads(char **arg)
{
	pthread_t id[4];

	(void)arg;
	for (int i = 0; i < LEN(id); i++)
		REQUIRE(!pthread_create(&id[i], NULL, work, NULL));
	for (int i = 0; i < LEN(id); i++)
		pthread_join(id[i], NULL);
	return 0;
}

/* The standard descriptors are closed; arg: a file to put in their place. */
static int run_closed(char **arg)
{
	keep[0] = malloc(2001);
	for (int i = 0; i < 3; i++)
		close(i);
	for (int i = 0; arg[0] && i < 3; i++)
		REQUIRE(open(arg[0], O_WRONLY | O_CREAT, 0600) == i);
	keep[1] = malloc(2002);
	keep[2] = malloc(3 << 20);
	free(keep[0]);
	free(keep[1]);
	free(keep[2]);
	return 0;
}

/* Every descriptor there is becomes one of the program's own file. */
static int run_taken(char **arg)
{
	int fd;

	keep[0] = malloc(2001);
	fd = open(arg[0], O_WRONLY | O_CREAT | O_TRUNC, 0600);
	REQUIRE(fd >= 0);
	for (int i = 0; i < 1100; i++)
		if (i != fd)
			dup2(fd, i);
	for (int i = 0; i < 100; i++)
		free(malloc((size_t)i * 5000));
	free(keep[0]);
	return 0;
}

/* Parent, child and grandchild, each with a size of its own. */
static int run_fork(char **arg)
{
	size_t mine = 4000;
	pid_t pid = 0;
	int status = 0;

	(void)arg;
	free(malloc(mine));
	while (mine < 4002 && !(pid = fork()))
		free(malloc(++mine));
	free(malloc(mine + 100));
	if (pid)
		REQUIRE(waitpid(pid, &status, 0) == pid);
	return status != 0;
}

static int run_fork_threads(char **arg)
{
	pthread_t id[2];
	int status;

	(void)arg;
	for (int i = 0; i < LEN(id); i++)
		REQUIRE(!pthread_create(&id[i], NULL, work, NULL));
	for (int i = 0; i < 20; i++) {
		pid_t pid = fork();

		if (!pid) {
			free(malloc(4444));
			_exit(0);
		}
		REQUIRE(waitpid(pid, &status, 0) == pid && !status);
	}
	for (int i = 0; i < LEN(id); i++)
		pthread_join(id[i], NULL);
	return 0;
}

static void *all_sizes(void *arg)
{
	for (size_t n = 1; n < 8 << 20; n = n * 5 / 4 + 1) {
		void *p = malloc(n);

		p = realloc(p, n * 2);
		free(p);
		free(calloc(1, n));
		free(memalign(64, n));
	}
	return arg;
}

/* As little stack as a thread may have. */
static int run_stack(char **arg)
{
	pthread_attr_t attr;
	pthread_t id;

	(void)arg;
	pthread_attr_init(&attr);
	REQUIRE(!pthread_attr_setstacksize(&attr, PTHREAD_STACK_MIN));
	REQUIRE(!pthread_create(&id, &attr, all_sizes, NULL));
	pthread_join(id, NULL);
	return 0;
}

static int run_abort(char **arg)
{
	(void)arg;
	keep[0] = malloc(5001);
	free(keep[0]);
	abort();
}

/* One thread after another, so that a heap is parked and adopted. */
static int run_heaps(char **arg)
{
	(void)arg;
	for (int i = 0; i < 3; i++) {
		pthread_t id;

		REQUIRE(!pthread_create(&id, NULL, all_sizes, NULL));
		pthread_join(id, NULL);
	}
	return 0;
}

static int run_errno(char **arg)
{
	void *p = malloc(100);

	(void)arg;
	for (int i = 0; i < 3; i++)
		close(i);
	errno = 1234;
	free(p);
	p = malloc(3 << 20);
	free(p);
	return errno != 1234;
}

static const struct {
	const char *name;
	int (*run)(char **);
} programs[] = { { "entries", run_entries },
		 { "clean", run_clean },
		 { "leak", run_leak },
		 { "realloc", run_realloc },
		 { "threads", run_threads },
		 { "closed", run_closed },
		 { "taken", run_taken },
		 { "fork", run_fork },
		 { "fork-threads", run_fork_threads },
		 { "stack", run_stack },
		 { "abort", run_abort },
		 { "heaps", run_heaps },
		 { "errno", run_errno } };

int main(int argc, char **argv)
{
	for (int i = 0; argc > 1 && i < LEN(programs); i++)
		if (!strcmp(argv[1], programs[i].name))
			return programs[i].run(argv + 2);
	return 125;
}
