/*
 * case_plugin.cc - a library in C++ for a program that is not: what it asks of
 * operator new, and whether what that throws arrives.
 */
#include <new>
#include <stddef.h>
#include <vector>

struct alignas(64) line { char c[64]; };

static int called;

static void gives_up()
{
	if (++called == 3)
		std::set_new_handler(nullptr);
}

/* 0, or -2 for NULL; may throw. */
static int ask(int how, size_t n)
{
	std::vector<int> numbers;
	line *lines;
	char *p;

	switch (how) {
	case 0:
		p = new char[n];
		p[0] = p[n - 1] = 1;
		delete[] p;
		return 0;
	case 1:
		p = new (std::nothrow) char[n];
		if (!p)
			return -2;
		delete[] p;
		return 0;
	case 2:
		numbers.reserve(n / sizeof(int));
		return (int)numbers.size();
	case 3:
		lines = new line[n / sizeof(line)];
		delete[] lines;
		return 0;
	default:
		std::set_new_handler(gives_up);
		p = new char[n];
		delete[] p;
		return 0;
	}
}

/* 0: it was had; -1: thrown; -2: NULL; -3: thrown after the handler gave up */
extern "C" int plugin_work(int how, size_t n)
{
	volatile size_t hidden = n;

	try {
		return ask(how, hidden);
	} catch (const std::bad_alloc &) {
		return called == 3 ? -3 : -1;
	}
}
