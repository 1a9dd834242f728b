/*
 * host.c - a program that opens modules by RTLD_DEEPBIND, and all they need:
 * PART_INNER makes the library that a module finds by its own RUNPATH,
 * PART_MODULE the module, PART_OPENER a library that opens modules where its
 * own RUNPATH says, PART_HOOK a preload that stands in front of dlopen, and
 * PART_OTHER one with a malloc.
 */
#define _GNU_SOURCE
#include <assert.h>
#include <dlfcn.h>
#include <malloc.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#if defined(PART_INNER)

char *inner_text(void)
{
	return strdup("from a library of the module");
}

#elif defined(PART_MODULE)

char *inner_text(void);

const char *whose(void)
{
	return "the module's";
}

/* Calls by a name that the program has, too */
const char *module_whose(void)
{
	return whose();
}

void *module_malloc(size_t n)
{
	return malloc(n);
}

void module_free(void *p)
{
	free(p);
}

char *module_text(void)
{
	free(inner_text());
	return strdup("libc allocates, for a module");
}

static __attribute__((constructor)) void module_start(void)
{
	free(realloc(malloc(10), 10000));
}

#elif defined(PART_OPENER)

void *opener_open(const char *name, int mode)
{
	return dlopen(name, mode);
}

#elif defined(PART_OTHER)

/* A malloc that never gives back */
void *malloc(size_t n)
{
	static char area[4 << 20];
	static size_t used;

	used += (n + 15) / 16 * 16;
	return used > sizeof(area) ? NULL : area + used - (n + 15) / 16 * 16;
}

void *calloc(size_t count, size_t size)
{
	return malloc(count * size);
}

void *realloc(void *p, size_t n)
{
	void *q = malloc(n);

	return p && q ? memmove(q, p, n) : q;
}

void free(void *p)
{
	(void)p;
}

#elif defined(PART_HOOK)

void *dlopen(const char *name, int mode)
{
	void *(*next)(const char *, int);

	free(malloc(100));
	*(void **)&next = dlsym(RTLD_NEXT, "dlopen");
	if (write(1, "hooked\n", 7) != 7)
		_exit(66);
	return next(name, mode);
}

#else

#define DEEP (RTLD_NOW | RTLD_DEEPBIND)

#define REQUIRE(x) \
	do { \
		if (!(x)) { \
			dprintf(2, "%s:%d: %s\n", __FILE__, __LINE__, #x); \
			_exit(1); \
		} \
	} while (0)

/* The module is to find this one, unless it is deeply bound. */
const char *whose(void)
{
	return "the program's";
}

static void *symbol(void *so, const char *name)
{
	void *p = so ? dlsym(so, name) : NULL;

	if (!p) {
		puts(dlerror());
		exit(1);
	}
	return p;
}

/* Blocks go from each to each, by way of libc, too. */
static void cross(void *so)
{
	void *(*make)(size_t);
	void (*drop)(void *);
	char *(*text)(void), *line = NULL;
	/* In a program that is not PIE this binds the name to its PLT. */
	void *(*volatile own)(size_t) = malloc;
	size_t size = 0;
	FILE *file = fopen("/proc/self/maps", "r");

	*(void **)&make = symbol(so, "module_malloc");
	*(void **)&drop = symbol(so, "module_free");
	*(void **)&text = symbol(so, "module_text");
	for (size_t n = 1; n < 4000000; n *= 3) {
		free(make(n));
		drop(own(n));
		drop(realloc(make(n), 2 * n));
	}
	free(text());
	drop(strdup("libc allocates, for the program"));
	REQUIRE(file && getline(&line, &size, file) > 0);
	drop(line);
	fclose(file);
	puts("crossed");
}

static int run_cross(char **arg)
{
	cross(dlopen(arg[0], DEEP));
	return 0;
}

static int run_whose(char **arg)
{
	const char *(*ask)(void);

	*(void **)&ask = symbol(dlopen(arg[0], DEEP), "module_whose");
	puts(ask());
	return 0;
}

/* Nothing is opened but what is there, and can be asked for. */
static int run_missing(char **arg)
{
	REQUIRE(!dlopen(arg[0], DEEP));
	puts(dlerror());
	REQUIRE(!dlopen(arg[0], RTLD_DEEPBIND));
	puts(dlerror());
	REQUIRE(dlopen(NULL, DEEP) == dlopen(NULL, RTLD_NOW));
	REQUIRE(!dlopen("libm.so.6", DEEP | RTLD_NOLOAD));
	REQUIRE(dlopen("libm.so.6", DEEP));
	REQUIRE(dlopen("libm.so.6", DEEP | RTLD_NOLOAD));
	return 0;
}

/*
 * arg: an opener, how it is opened, a module by name. The module is to be in
 * the opener's namespace, and what that holds crosses if it has our malloc.
 */
static int run_opener(char **arg)
{
	bool apart = !strcmp(arg[1], "apart");
	void *so = apart ? dlmopen(LM_ID_NEWLM, arg[0], RTLD_NOW) :
			   dlopen(arg[0],
				  strcmp(arg[1], "deep") ? RTLD_NOW : DEEP);
	void *(*open)(const char *, int), *module;
	Lmid_t here, there;

	*(void **)&open = symbol(so, "opener_open");
	module = open(arg[2], DEEP);
	symbol(module, "module_text");
	REQUIRE(!dlinfo(so, RTLD_DI_LMID, &here));
	REQUIRE(!dlinfo(module, RTLD_DI_LMID, &there));
	REQUIRE(here == there && apart == (here != LM_ID_BASE));
	if (!apart)
		cross(module);
	return 0;
}

/* arg: where free is looked up, or nothing: in the program */
static int run_handle(char **arg)
{
	void (*drop)(void *);

	*(void **)&drop = symbol(dlopen(arg[0], RTLD_NOW), "free");
	for (size_t n = 1; n < 4000000; n *= 3)
		drop(memset(malloc(n), 'x', n));
	drop(strdup("text"));
	return 0;
}

/* What glibc keeps of the reason why a process ends */
static void show_reason(int sig)
{
	static int before;
	char **reason = dlsym(RTLD_DEFAULT, "__abort_msg");

	REQUIRE(sig == SIGABRT && reason && *reason);
	REQUIRE(write(1, *reason + 4, strlen(*reason + 4)) > 0);
	if (before++)
		_exit(3);
	/* Its own reason takes the place of ours, which it unmaps. */
	__assert_fail("all is well", "host.c", 1, "show_reason");
}

/* arg: "quiet" */
static int run_misuse(char **arg)
{
	struct sigaction action = { .sa_handler = show_reason,
				    .sa_flags = SA_NODEFER };
	void *volatile p = malloc(24);

	if (!arg[0])
		sigaction(SIGABRT, &action, NULL);
	free(p);
	free(p);
	return 0;
}

static int run_perturb(char **arg)
{
	char *p;

	REQUIRE(!arg[0]);
	printf("%d ", mallopt(M_PERTURB, 0xa5));
	p = malloc(1000);
	printf("%d\n", p[500] == (char)~0xa5);
	return 0;
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		int (*run)(char **);
	} cases[] = {
		{ "cross", run_cross },     { "whose", run_whose },
		{ "missing", run_missing }, { "opener", run_opener },
		{ "misuse", run_misuse },   { "handle", run_handle },
		{ "perturb", run_perturb },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
		if (argc > 1 && !strcmp(argv[1], cases[i].name))
			return cases[i].run(argv + 2);
	return 99;
}

#endif
