/*
 * newdel.cc - the C++ operators new and delete on the allocator.
 *
 * Every form of them, in every pairing that the standard or real programs
 * know, and what new does when there is no memory.
 */
#include "test.h"
#include <map>
#include <memory>
#include <new>
#include <pthread.h>
#include <string>
#include <vector>

#define ALIGN(n) (static_cast<std::align_val_t>(n))

static const size_t sizes[] = { 0, 1, 8, 24, 100, 1000, 5000, 40000, 100000,
	300000, 3000000 };

static size_t opaque(size_t n)
{
	volatile size_t hidden = n;

	return hidden;
}

static void *checked(void *p, size_t align, size_t n)
{
	CHECK(p && (uintptr_t)p % align == 0);
	CHECK(malloc_usable_size(p) >= n);
	memset(p, 1, n);
	return p;
}

enum { MAKES = 10, GIVES = 13 };

static void *make(int kind, size_t n, size_t align)
{
	switch (kind) {
	case 0: return checked(operator new(n), 16, n);
	case 1: return checked(operator new[](n), 16, n);
	case 2: return checked(operator new(n, std::nothrow), 16, n);
	case 3: return checked(operator new[](n, std::nothrow), 16, n);
	case 4: return checked(operator new(n, ALIGN(align)), align, n);
	case 5: return checked(operator new[](n, ALIGN(align)), align, n);
	case 6: return checked(operator new(n, ALIGN(align), std::nothrow),
			       align, n);
	case 7: return checked(operator new[](n, ALIGN(align), std::nothrow),
			       align, n);
	case 8: return checked(malloc(n), 16, n);
	case 9: return checked(memalign(align, n), align, n);
	default: abort();
	}
}

static void give(int kind, void *p, size_t n, size_t align)
{
	switch (kind) {
	case 0: operator delete(p); break;
	case 1: operator delete[](p); break;
	case 2: operator delete(p, n); break;
	case 3: operator delete[](p, n); break;
	case 4: operator delete(p, std::nothrow); break;
	case 5: operator delete[](p, std::nothrow); break;
	case 6: operator delete(p, ALIGN(align)); break;
	case 7: operator delete[](p, ALIGN(align)); break;
	case 8: operator delete(p, n, ALIGN(align)); break;
	case 9: operator delete[](p, n, ALIGN(align)); break;
	case 10: operator delete(p, ALIGN(align), std::nothrow); break;
	case 11: operator delete[](p, ALIGN(align), std::nothrow); break;
	case 12: free(p); break;
	default: abort();
	}
}

static void pairs()
{
	int kind, end;
	size_t align;

	for (align = 8; align <= 1 << 20; align *= 8)
		for (size_t n : sizes)
			for (kind = 0; kind < MAKES; kind++)
				for (end = 0; end < GIVES; end++)
					give(end, make(kind, n, align), n,
					     align);
	for (end = 0; end < GIVES; end++)
		give(end, NULL, 0, 64);
}

/*
 * All operators come from where malloc comes from. The nothrow forms may be the
 * C++ library's own: they call the others and catch.
 */
static void exports()
{
	static const char *const names[] = {
		"_Znwm", "_Znam", "_ZnwmRKSt9nothrow_t",
		"_ZnamRKSt9nothrow_t", "_ZnwmSt11align_val_t",
		"_ZnamSt11align_val_t", "_ZnwmSt11align_val_tRKSt9nothrow_t",
		"_ZnamSt11align_val_tRKSt9nothrow_t", "_ZdlPv", "_ZdaPv",
		"_ZdlPvm", "_ZdaPvm", "_ZdlPvRKSt9nothrow_t",
		"_ZdaPvRKSt9nothrow_t", "_ZdlPvSt11align_val_t",
		"_ZdaPvSt11align_val_t", "_ZdlPvmSt11align_val_t",
		"_ZdaPvmSt11align_val_t", "_ZdlPvSt11align_val_tRKSt9nothrow_t",
		"_ZdaPvSt11align_val_tRKSt9nothrow_t",
	};
	Dl_info home, info;
	size_t i;

	CHECK(dladdr((void *)malloc, &home));
	for (i = 0; i < COUNT(names); i++) {
		CHECKF(dladdr(dlsym(RTLD_DEFAULT, names[i]), &info), "%s",
		       names[i]);
		CHECKF(!test_replaced() || strstr(names[i], "nothrow") ||
		       strcmp(info.dli_fname, home.dli_fname) == 0,
		       "%s comes from %s", names[i], info.dli_fname);
	}
}

struct alignas(64) line { char c[64]; };
struct alignas(4096) page { char c[4096 * 3]; };
struct counted {
	static int live;
	std::string name;
	counted() : name(100, 'x') { live++; }
	~counted() { live--; }
};
int counted::live;

/* new and delete as programs write them, with over-aligned types */
static void expressions()
{
	for (int i = 0; i < 1000; i++) {
		std::unique_ptr<line> one(new line);
		std::unique_ptr<line[]> many(new line[i % 50 + 1]);
		std::unique_ptr<page> big(new page);
		std::unique_ptr<counted[]> some(new counted[i % 9 + 1]);
		auto shared = std::make_shared<page>();

		CHECK((uintptr_t)one.get() % 64 == 0);
		CHECK((uintptr_t)many.get() % 64 == 0);
		CHECK((uintptr_t)big.get() % 4096 == 0);
		CHECK((uintptr_t)shared.get() % 4096 == 0);
		CHECK(counted::live == i % 9 + 1);
	}
	CHECK(counted::live == 0);
}

static bool throws_bad_alloc(int kind, size_t n)
{
	try {
		make(kind, opaque(n), 64);
	} catch (const std::bad_alloc &) {
		return true;
	}
	return false;
}

/* Without a handler: bad_alloc, or NULL from the nothrow forms */
static void no_memory()
{
	static const size_t large[] = { (size_t)PTRDIFF_MAX, SIZE_MAX,
		(size_t)PTRDIFF_MAX + 1, SIZE_MAX - 15, (size_t)1 << 47 };

	for (size_t n : large) {
		CHECK(throws_bad_alloc(0, n) && throws_bad_alloc(1, n));
		CHECK(throws_bad_alloc(4, n) && throws_bad_alloc(5, n));
		n = opaque(n);
		CHECK(!operator new(n, std::nothrow));
		CHECK(!operator new[](n, std::nothrow));
		CHECK(!operator new(n, ALIGN(64), std::nothrow));
		CHECK(!operator new[](n, ALIGN(64), std::nothrow));
	}
	CHECK(!throws_bad_alloc(0, 100));
}

static int called;

static void gives_up()
{
	if (++called == 3)
		std::set_new_handler(nullptr);
}

struct own_error : std::bad_alloc {
	int code = 42;
};

/* None is to be had, whatever the handler does: it is not even asked. */
static void bad_alignment()
{
	static const size_t bad[] = { 0, 3, 24, SIZE_MAX, 4097 };

	called = 0;
	std::set_new_handler(gives_up);
	for (size_t align : bad) {
		void *p = &p;

		try {
			p = operator new(100, ALIGN(opaque(align)));
		} catch (const std::bad_alloc &) {
			p = nullptr;
		}
		CHECK(!p);
		CHECK(!operator new(100, ALIGN(opaque(align)), std::nothrow));
	}
	CHECK(called == 0);
	std::set_new_handler(nullptr);
}

static void throws_own()
{
	called++;
	throw own_error();
}

/* The handler runs until it gives up; what it throws arrives. */
static void handler()
{
	static const int throwing[] = { 0, 1, 4, 5 };
	size_t huge = opaque((size_t)1 << 47);

	for (int kind : throwing) {
		called = 0;
		std::set_new_handler(gives_up);
		CHECK(throws_bad_alloc(kind, huge) && called == 3);
		called = 0;
		std::set_new_handler(throws_own);
		try {
			make(kind, huge, 64);
			CHECK(!"no exception");
		} catch (const own_error &e) {
			CHECK(e.code == 42 && called == 1);
		}
	}
	called = 0;
	std::set_new_handler(gives_up);
	CHECK(!operator new(huge, std::nothrow) && called == 3);
	called = 0;
	std::set_new_handler(throws_own);
	CHECK(!operator new[](huge, std::nothrow) && called == 1);
	CHECK(!operator new(huge, ALIGN(64), std::nothrow) && called == 2);
	std::set_new_handler(nullptr);
}

static char *reserve;

static void frees_reserve()
{
	called++;
	delete[] reserve;
	reserve = nullptr;
	std::set_new_handler(nullptr);
}

/* The usual use of a handler: a reserve for the day when memory is short */
static void handler_reserve()
{
	size_t room = test_status("VmSize:") + 128 * MIB;
	struct rlimit limit = { room, room };
	std::vector<char *> blocks;

	blocks.reserve(1000);
	CHECK(setrlimit(RLIMIT_AS, &limit) == 0);
	reserve = new char[48 * MIB];
	std::set_new_handler(frees_reserve);
	called = 0;
	while (!called)
		blocks.push_back(new char[4 * MIB]);
	CHECK(blocks.size() > 5 && !reserve);
	blocks.push_back(new char[8 * MIB]);
	for (char *p : blocks)
		delete[] p;
	blocks.clear();
	delete[] new char[64 * MIB];
}

static thread_local std::string late = "a string that lives in the heap";

static void *uses_late(void *arg)
{
	thread_local std::map<int, std::string> names;

	late += late + late;
	for (int i = 0; i < 100; i++)
		names[i] = late;
	return arg;
}

/* Destructors of thread_local objects run when a thread is nearly gone. */
static void thread_locals()
{
	size_t before = 0;
	pthread_t thread;

	for (int i = 0; i < 3000; i++) {
		if (i == 300)
			before = test_rss();
		CHECK(pthread_create(&thread, NULL, uses_late, NULL) == 0);
		CHECK(pthread_join(thread, NULL) == 0);
	}
	CHECKF(test_rss() < before + 2 * MIB, "%zu KiB more",
	       (test_rss() - before) / KIB);
}

/* Objects with static lifetime free when everything else is torn down. */
static std::map<int, std::string> table;

static void static_objects()
{
	for (int i = 0; i < 10000; i++)
		table[i] = std::string((size_t)(i % 300), 'x');
	exit(0);
}

#define CASES(X) \
	X(pairs) \
	X(exports) \
	X(expressions) \
	X(no_memory) \
	X(bad_alignment) \
	X(handler) \
	X(handler_reserve) \
	X(thread_locals) \
	X(static_objects)

static const struct test cases[] = { CASES(TEST_ROW) };

int main(int argc, char **argv)
{
	return test_main(cases, COUNT(cases), argc, argv);
}
