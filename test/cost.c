/*
 * cost WHAT COUNT - makes one kind of call COUNT times, for a tool that counts
 * instructions. `stub` and `stub2` make the same calls to functions of a single
 * instruction: the difference to them is what the allocator itself costs.
 */
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

LOOP void zeroed(long count, void *(*get)(size_t, size_t), void (*put)(void *))
{
	while (count-- > 0)
		put(get(1, 24));
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
		zeroed(count, calloc, free);
	else if (!strcmp(what, "stub2"))
		zeroed(count, stub_get2, stub_put);
	else
		return fprintf(stderr, "usage: cost WHAT COUNT\n"), 1;
	return 0;
}
