/*
 * levels.c - one mistake a run: levels CASE [SIZE].
 *
 * Whoever lets it pass prints "survived" and ends with 0. What an allocator
 * does with each is shown in doc/security.md; test/levels.bats knows what ours
 * has to do.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

void free_sized(void *, size_t) __attribute__((weak));
/* C++: operator delete with a size */
void delete_sized(void *, size_t) __asm__("_ZdlPvm") __attribute__((weak));
void *new_plain(size_t) __asm__("_Znwm") __attribute__((weak));

#define MANY 20000
static size_t n = 24;
static char *p, *q;
static char in_data[64] __attribute__((aligned(16)));
static volatile char sink;

static void *free_elsewhere(void *arg)
{
	free(arg);
	return NULL;
}

static void in_thread(void *(*run)(void *), void *arg)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, run, arg) == 0)
		pthread_join(thread, NULL);
}

/* Allocate and free until the block at `old` was used again. */
static void churn(void)
{
	static void *kept[256];

	for (size_t i = 0; i < MANY; i++) {
		free(kept[i % 256]);
		kept[i % 256] = malloc(n);
	}
}

static void double_free(void)
{
	free(p);
	free(p);
}

static void double_free_delayed(void)
{
	free(p);
	free(q);
	free(p);
}

static void double_free_thread(void)
{
	free(p);
	in_thread(free_elsewhere, p);
	in_thread(free_elsewhere, q);
	churn();
}

static void free_stack(void)
{
	char on_stack[64] __attribute__((aligned(16)));

	free((void *)(uintptr_t)on_stack);
}

static void free_static(void)
{
	free((void *)(uintptr_t)in_data);
}

static void free_code(void)
{
	free((void *)(((uintptr_t)free_code | 15) + 1));
}

static void free_one(void)
{
	free((void *)1);
}

static void free_high(void)
{
	free((void *)-16L);
}

static void free_noncanonical(void)
{
	free((void *)0x5555000000000010);
}

static void free_protected(void)
{
	char *map =
		mmap(NULL, 8192, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	free(map + 4096);
}

static void free_unmapped(void)
{
	char *map = mmap(NULL, 8192, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	munmap(map, 8192);
	free(map + 4096);
}

static void free_misaligned(void)
{
	free(p + 1);
}

static void free_interior(void)
{
	free(p + 16);
}

/* The same at the end of a slab: nothing may be read behind it. */
static void free_interior_last(void)
{
	for (size_t i = 0; i < 4 << 20; i += n) {
		q = malloc(n);
		if ((uintptr_t)q % 65536 > (uintptr_t)p % 65536)
			p = q;
	}
	free(p + (n - 1) / 16 * 16);
}

static void realloc_freed(void)
{
	free(p);
	p = realloc(p, 2 * n);
}

static void realloc_foreign(void)
{
	p = realloc(in_data, 100);
}

static void usable_freed(void)
{
	free(p);
	sink = (char)malloc_usable_size(p);
}

static void write_link(void)
{
	free(p);
	memset(p, 'x', 8);
	churn();
}

static void write_after_free(void)
{
	free(p);
	p[20] ^= 1;
	churn();
}

static void write_after_free_end(void)
{
	free(p);
	p[n - 1] ^= 1;
	churn();
}

static void read_after_free(void)
{
	free(p);
	sink = *(volatile char *)p;
}

static void overflow_byte(void)
{
	p[n] = 'x';
	free(p);
}

static void overflow_word(void)
{
	memset(p + n, 'x', 8);
	free(p);
}

/* What is behind another block was there, as a reader of both can write it. */
static void overflow_copied(void)
{
	memcpy(p + n, q + n, 8);
	free(p);
}

static void overflow_zero(void)
{
	p[n] = '\0';
	free(p);
}

static void overflow_realloc(void)
{
	p[n] = 'x';
	p = realloc(p, 4 * n);
}

static void overflow_kept(void)
{
	p[n] = 'x'; /* and p is never freed */
}

/* The same, and a thread was there that is gone. */
static void overflow_kept_after(void)
{
	in_thread(free_elsewhere, malloc(n));
	p[n] = 'x';
}

static void overflow_page(void)
{
	memset(p + n, 'x', 4096);
	free(p);
}

static void underflow_byte(void)
{
	char *many[32];

	for (size_t i = 0; i < 32; i++)
		many[i] = malloc(n);
	for (size_t i = 0; i < 32; i++)
		many[i][-1] ^= 1;
	for (size_t i = 0; i < 32; i++)
		free(many[i]);
}

static void read_overflow(void)
{
	sink = *(volatile char *)(p + n + 15);
}

static void zero_read(void)
{
	p = malloc(0);
	sink = *(volatile char *)p;
}

static void zero_write(void)
{
	p = malloc(0);
	*(volatile char *)p = 1;
}

static void zero_twice(void)
{
	if (malloc(0) == malloc(0))
		abort();
}

static void reuse_soon(void)
{
	free(p);
	for (int i = 0; i < 32; i++)
		if (malloc(n) == p)
			puts("reused");
}

static void size_wrong(void)
{
	if (free_sized)
		free_sized(p, n + 1);
	else
		free(p);
}

static void delete_wrong(void)
{
	if (!new_plain || !delete_sized)
		return;
	p = new_plain(n);
	delete_sized(p, 2 * n);
}

static void size_right(void)
{
	if (free_sized)
		free_sized(p, n);
	if (!new_plain || !delete_sized)
		return;
	p = new_plain(n);
	delete_sized(p, n);
}

/* What the library read-protects of its data: behind what can be written. */
static void write_options(void)
{
	const char *so = getenv("LD_PRELOAD");
	FILE *maps = fopen("/proc/self/maps", "r");
	bool data = false;
	unsigned long start;
	char line[512], mode[8];

	while (maps && fgets(line, sizeof(line), maps)) {
		if (!so || !strstr(line, so) ||
		    sscanf(line, "%lx-%*x %7s", &start, mode) != 2)
			continue;
		if (mode[1] == 'w')
			data = true;
		else if (data && mode[2] != 'x')
			*(volatile char *)start = 1;
	}
}

/* Each of many blocks, none of which is freed, is read behind its end. */
static void sampled_read(void)
{
	static volatile char *many[1000];

	for (size_t i = 0; i < 1000; i++) {
		many[i] = malloc(n);
		sink = many[i][n];
	}
}

/* How many of 200,000 blocks that stay say they have not a byte to spare? */
static void sampled_rate(void)
{
	int samples = 0;

	for (int i = 0; i < 200000; i++)
		samples += malloc_usable_size(malloc(n)) == n;
	printf("%d samples\n", samples);
}

static void dies_allocating(int sig)
{
	(void)sig;
	free(malloc(1000000));
	_Exit(3);
}

/* What is found in the end, and a handler that allocates. */
static void handled_kept(void)
{
	signal(SIGABRT, dies_allocating);
	p[n] = 'x';
}

/* Written to once free, and nothing else happens before the end. */
static void written_last(void)
{
	free(p);
	p[n - 1] ^= 1;
}

/* A thread that frees others' blocks first is to have its share of samples. */
static void *sampled_late(void *many)
{
	int samples = 0;

	for (int i = 0; i < 1000; i++)
		free(((void **)many)[i]);
	for (int i = 0; i < 2000; i++)
		samples += ((uintptr_t)malloc(16) + 16) % 4096 == 0;
	printf("%d samples\n", samples);
	return NULL;
}

static void sampled_thread(void)
{
	static void *many[1000];

	for (int i = 0; i < 1000; i++)
		many[i] = malloc(16);
	in_thread(sampled_late, many);
}

static const struct {
	const char *name;
	void (*run)(void);
} cases[] = {
#define CASE(name) \
	{ \
#name, name \
	}
	CASE(double_free),        CASE(double_free_delayed),
	CASE(double_free_thread), CASE(free_stack),
	CASE(free_static),        CASE(free_code),
	CASE(free_one),           CASE(free_high),
	CASE(free_noncanonical),  CASE(free_protected),
	CASE(free_unmapped),      CASE(free_misaligned),
	CASE(free_interior),      CASE(free_interior_last),
	CASE(realloc_freed),      CASE(realloc_foreign),
	CASE(usable_freed),       CASE(write_link),
	CASE(write_after_free),   CASE(write_after_free_end),
	CASE(read_after_free),    CASE(overflow_byte),
	CASE(overflow_word),      CASE(overflow_copied),
	CASE(overflow_zero),      CASE(overflow_realloc),
	CASE(overflow_kept),      CASE(overflow_kept_after),
	CASE(overflow_page),      CASE(underflow_byte),
	CASE(read_overflow),      CASE(zero_read),
	CASE(zero_write),         CASE(zero_twice),
	CASE(reuse_soon),         CASE(size_wrong),
	CASE(delete_wrong),       CASE(size_right),
	CASE(write_options),      CASE(sampled_read),
};

int main(int argc, char **argv)
{
	size_t count = sizeof(cases) / sizeof(*cases);

	for (size_t i = 0; argc < 2 && i < count; i++)
		puts(cases[i].name);
	if (argc < 2)
		return 0;
	if (argc > 2)
		n = strtoul(argv[2], NULL, 10);
	/* The first blocks of a class may be larger: these are not. */
	for (int i = 0; i < 200 && n <= 1024 && !getenv("LEVELS_COLD") &&
			strncmp(argv[1], "sampled_", 8) != 0;
	     i++)
		sink = !malloc(n);
	p = malloc(n);
	q = malloc(n);
	if (strcmp(argv[1], "handled_kept") == 0) {
		handled_kept();
		return 0;
	}
	if (strcmp(argv[1], "written_last") == 0) {
		written_last();
		return 0;
	}
	if (strncmp(argv[1], "sampled_", 8) == 0 && /* not mistakes */
	    strcmp(argv[1], "sampled_read") != 0) {
		strcmp(argv[1], "sampled_rate") ? sampled_thread() :
						  sampled_rate();
		return 0;
	}
	for (size_t i = 0; i < count; i++)
		if (strcmp(cases[i].name, argv[1]) == 0) {
			cases[i].run();
			puts("survived");
			return 0;
		}
	return 2;
}
