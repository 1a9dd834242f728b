/*
 * test.h - the frame of the C tests, for C and C++.
 *
 * A test program is a table of named cases and one call of test_main(). With
 * no argument it runs each case in a child of its own, so that a crash or a
 * hang costs that case only; with a name it runs this case in the process
 * itself, as the bats files and a debugger want it; `list` prints the names.
 * Nothing here allocates: a case may be about the first call of a process.
 */
#ifndef TEST_H
#define TEST_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)
#define GIB ((size_t)1 << 30)
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define TEST_UNUSED __attribute__((unused))
#define TEST_WEAK __attribute__((weak))

enum { TEST_FAILED = 1, TEST_SKIPPED = 77, TEST_SECONDS = 60 };

struct test {
	const char *name;
	void (*run)(void);
};

/* A row of the table, for a list of cases in the form X(name) X(name) ... */
#define TEST_ROW(name) { #name, name },

/* The arguments behind the name of the case, NULL at their end */
static char *test_no_args[1];
static char **test_args TEST_UNUSED = test_no_args;

/* Names that the headers of glibc 2.36 lack; NULL where nobody has them. */
#ifdef __cplusplus
extern "C" {
#endif
void free_sized(void *, size_t) TEST_WEAK;
void free_aligned_sized(void *, size_t, size_t) TEST_WEAK;
void cfree(void *) TEST_WEAK;
void *__libc_malloc(size_t) TEST_WEAK;
void *__libc_calloc(size_t, size_t) TEST_WEAK;
void *__libc_realloc(void *, size_t) TEST_WEAK;
void *__libc_memalign(size_t, size_t) TEST_WEAK;
void *__libc_valloc(size_t) TEST_WEAK;
void *__libc_pvalloc(size_t) TEST_WEAK;
void __libc_free(void *) TEST_WEAK;
#ifdef __cplusplus
}
#endif

#define CHECK(cond) \
	((cond) ? (void)0 : test_fail(__FILE__, __LINE__, #cond, "%s", ""))
/* The same with some words about the values, as for printf. */
#define CHECKF(cond, ...) \
	((cond) ? (void)0 : test_fail(__FILE__, __LINE__, #cond, __VA_ARGS__))
#define SKIP(...) (dprintf(1, __VA_ARGS__), _exit(TEST_SKIPPED))

__attribute__((noreturn, format(printf, 4, 5))) TEST_UNUSED static void
test_fail(const char *file, int line, const char *cond, const char *format, ...)
{
	char words[512], text[1024];
	va_list ap;
	int err = errno, len;

	va_start(ap, format);
	vsnprintf(words, sizeof(words), format, ap);
	va_end(ap);
	/* dprintf allocates, and this may be in one of malloc's own calls. */
	len = snprintf(text, sizeof(text), "%s:%d: failed: %s%s%s (errno %d)\n",
		       file, line, cond, *words ? ": " : "", words, err);
	if (len < 0 || write(2, text, strlen(text)) < 0)
		abort();
	_exit(TEST_FAILED);
}

/* xorshift64*: the same numbers from the same seed everywhere. */
TEST_UNUSED static uint64_t test_random(uint64_t *state)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return *state * 0x2545f4914f6cdd1dull;
}

/* The larger count when FULL=1 asks for it */
TEST_UNUSED static long test_scale(long normal, long full)
{
	const char *s = getenv("FULL");

	return s && *s == '1' ? full : normal;
}

/* Whether malloc is not the one of the C library */
TEST_UNUSED static int test_replaced(void)
{
	Dl_info ours, libc;

	CHECK(dladdr((void *)malloc, &ours) && dladdr((void *)getpid, &libc));
	return strcmp(ours.dli_fname, libc.dli_fname) != 0;
}

/*
 * Sizes on both sides of every class boundary there may be: all up to 1 KiB,
 * then a boundary - 1, itself and + 1, 16 boundaries to a doubling.
 */
TEST_UNUSED static size_t test_next_size(size_t n)
{
	size_t step, rest;

	if (n < KIB)
		return n + 1;
	step = ((size_t)1 << (63 - __builtin_clzl(n))) / 16;
	rest = n % step;
	return rest == 1 ? n + step - 2 : n + 1;
}

static uint64_t test_word(size_t i, uint64_t seed)
{
	return (i + seed) * 0x9e3779b97f4a7c15ull;
}

/* Fills with bytes that depend on their place, so that a shift shows. */
TEST_UNUSED static void test_fill(void *p, size_t n, uint64_t seed)
{
	unsigned char *to = (unsigned char *)p;
	uint64_t word;
	size_t i;

	for (i = 0; i + 8 <= n; i += 8) {
		word = test_word(i, seed);
		memcpy(to + i, &word, 8);
	}
	word = test_word(i, seed);
	memcpy(to + i, &word, n - i);
}

TEST_UNUSED static int test_filled(const void *p, size_t n, uint64_t seed)
{
	const unsigned char *from = (const unsigned char *)p;
	uint64_t word;
	size_t i;

	for (i = 0; i + 8 <= n; i += 8) {
		word = test_word(i, seed);
		if (memcmp(from + i, &word, 8) != 0)
			return 0;
	}
	word = test_word(i, seed);
	return memcmp(from + i, &word, n - i) == 0;
}

/* Whether all `n` bytes are `byte`; at the speed of memcmp. */
TEST_UNUSED static int test_all(const void *p, size_t n, int byte)
{
	const unsigned char *s = (const unsigned char *)p;

	return n == 0 || (s[0] == byte && memcmp(s, s + 1, n - 1) == 0);
}

/* The `i`-th argument of the case as a number, if there are so many */
TEST_UNUSED static size_t test_argument(int i, size_t otherwise)
{
	int k;

	for (k = 0; k <= i; k++)
		if (!test_args[k])
			return otherwise;
	return strtoul(test_args[i], NULL, 0);
}

/* A figure of a file of /proc in bytes, by its name, such as "VmRSS:" */
TEST_UNUSED static size_t test_figure(const char *file, const char *name)
{
	char text[4096];
	const char *s;
	ssize_t n;
	int fd = open(file, O_RDONLY | O_CLOEXEC);

	CHECK(fd >= 0);
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	CHECK(n > 0);
	text[n] = '\0';
	s = strstr(text, name);
	CHECK(s != NULL);
	return strtoul(s + strlen(name), NULL, 10) * KIB;
}

TEST_UNUSED static size_t test_status(const char *name)
{
	return test_figure("/proc/self/status", name);
}

TEST_UNUSED static size_t test_rss(void)
{
	return test_status("VmRSS:");
}

/* The number of mappings of this process */
TEST_UNUSED static long test_maps(void)
{
	char text[4096];
	long lines = 0;
	ssize_t n, i;
	int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);

	CHECK(fd >= 0);
	while ((n = read(fd, text, sizeof(text))) > 0)
		for (i = 0; i < n; i++)
			lines += text[i] == '\n';
	close(fd);
	return lines;
}

/* How a child ended: its exit code, or 128 + the signal */
TEST_UNUSED static int test_wait(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) < 0)
		CHECK(errno == EINTR);
	if (WIFSIGNALED(status))
		return 128 + WTERMSIG(status);
	return WEXITSTATUS(status);
}

static int test_child(const struct test *t)
{
	pid_t pid = fork();
	int code;

	CHECK(pid >= 0);
	if (pid == 0) {
		alarm(TEST_SECONDS);
		t->run();
		_exit(0);
	}
	code = test_wait(pid);
	if (code == 0 || code == TEST_SKIPPED) {
		dprintf(1, "ok %s%s\n", t->name, code ? " # skip" : "");
		return 0;
	}
	dprintf(1, "not ok %s # ended with %d\n", t->name, code);
	return 1;
}

TEST_UNUSED static int test_main(const struct test *tests, size_t count,
				 int argc, char **argv)
{
	struct rlimit none = { 0, 0 };
	int failed = 0;
	size_t i;

	setrlimit(RLIMIT_CORE, &none);
	if (argc < 2) {
		for (i = 0; i < count; i++)
			failed += test_child(&tests[i]);
		return failed ? TEST_FAILED : 0;
	}
	test_args = argv + 2;
	for (i = 0; i < count; i++) {
		if (strcmp(argv[1], "list") == 0) {
			dprintf(1, "%s\n", tests[i].name);
		} else if (strcmp(argv[1], tests[i].name) == 0) {
			tests[i].run();
			return 0;
		}
	}
	if (strcmp(argv[1], "list") == 0)
		return 0;
	dprintf(2, "%s: no case named %s\n", argv[0], argv[1]);
	return TEST_FAILED;
}

#endif
