/*
 * cost WHAT COUNT - makes one kind of call COUNT times, for a tool that counts
 * instructions. `stub` and `stub2` make the same calls to functions of a single
 * instruction: the difference to them is what the allocator itself costs. What
 * has a + in it are two functions by name, one that gets and one that puts.
 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void *stub_get(size_t n);
void *stub_get2(size_t n, size_t size);
void stub_put(void *p);

__asm__(".text\n"
	".type stub_get, @function\n"
	".type stub_get2, @function\n"
	".type stub_put, @function\n"
	"stub_get:\n"
	"stub_get2:\n"
	"stub_put:\n"
	"\tret\n");

/* Not inlined and not specialised: all callees are called in the same way. */
#define LOOP __attribute__((noinline, noclone)) static

LOOP void pairs(long count, void *(*get)(size_t), void (*put)(void *))
{
	while (count-- > 0)
		put(get(64));
}

LOOP void pairs2(long count, size_t first, size_t second,
		 void *(*get)(size_t, size_t), void (*put)(void *))
{
	while (count-- > 0)
		put(get(first, second));
}

/* -- three fixed programs, of which all instructions are counted */

enum { SLOTS = 5000 };

static unsigned next_random(void)
{
	static unsigned x = 1;

	return (x = x * 1103515245 + 12345) >> 8;
}

/* Any of many blocks, of 1 to 1000 bytes, is the next to be replaced. */
static void replaced(long count)
{
	static void *slot[SLOTS];

	while (count-- > 0) {
		unsigned i = next_random() % SLOTS;

		free(slot[i]);
		slot[i] = malloc(1 + next_random() % 1000);
	}
	for (int i = 0; i < SLOTS; i++)
		free(slot[i]);
}

/* Texts that grow, a few bytes at a time, to some kilobytes. */
static void grown(long count)
{
	static struct {
		char *p;
		size_t n;
	} text[100];

	while (count-- > 0) {
		unsigned i = next_random() % 100;

		text[i].n += 1 + next_random() % 200;
		if (text[i].n > 10000)
			text[i].n = 0;
		text[i].p = realloc(text[i].p, text[i].n);
	}
	for (int i = 0; i < 100; i++)
		free(text[i].p);
}

/* Batches of all sizes to 100 KiB are made whole, and dropped whole. */
static void batched(long count)
{
	static void *block[2000];

	while (count > 0) {
		int n = 0;

		for (; n < 2000 && count > 0; n++, count--) {
			unsigned log2 = next_random() % 17;

			block[n] = calloc(1, 1 + next_random() % (1u << log2));
		}
		while (n > 0)
			free(block[--n]);
	}
}

/* Functions by name, as the operators of C++ have none in C. */
static void named(long count, char *name)
{
	void *(*get)(size_t);
	void (*put)(void *);

	*(void **)&get = dlsym(RTLD_DEFAULT, strtok(name, "+"));
	*(void **)&put = dlsym(RTLD_DEFAULT, strtok(NULL, "+"));
	pairs(count, get, put);
}

int main(int argc, char **argv)
{
	const char *what = argc == 3 ? argv[1] : "";
	long count = argc == 3 ? atol(argv[2]) : 0;

	if (!strcmp(what, "pair"))
		pairs(count, malloc, free);
	else if (!strcmp(what, "stub"))
		pairs(count, stub_get, stub_put);
	else if (!strcmp(what, "calloc"))
		pairs2(count, 1, 24, calloc, free);
	else if (!strcmp(what, "aligned"))
		pairs2(count, 64, 200, aligned_alloc, free);
	else if (!strcmp(what, "stub2"))
		pairs2(count, 1, 24, stub_get2, stub_put);
	else if (!strcmp(what, "replaced"))
		replaced(count);
	else if (!strcmp(what, "grown"))
		grown(count);
	else if (!strcmp(what, "batched"))
		batched(count);
	else if (strchr(what, '+'))
		named(count, argv[1]);
	else
		return fprintf(stderr, "usage: cost WHAT COUNT\n"), 1;
	return 0;
}
