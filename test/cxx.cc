/*
 * cxx.cc - what every form of new and delete ends in, counted.
 *
 * PART_PAIR are operators of a program's own: those two that most replace; when
 * it is 2, their aligned forms, too. Their blocks have a header that is proved,
 * so that none passes that another form handed out. PART_WORK calls all forms
 * and uses containers, PART_MAIN is a program that does, or has a plugin do it.
 */
#include <dlfcn.h>
#include <new>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

extern "C" {
/* One for all parts of a process: the linker takes the first. */
__attribute__((weak)) struct counts {
	long asked, news, deletes, aligned_news, aligned_deletes;
} cxx_counts;

/* By these names even where the language has no such form yet */
#define NEW(name, ...) void *name(__VA_ARGS__) __asm__(#name)
#define DELETE(name, ...) void name(__VA_ARGS__) __asm__(#name)
NEW(_ZnwmSt11align_val_t, size_t n, size_t align);
NEW(_ZnamSt11align_val_t, size_t n, size_t align);
NEW(_ZnwmSt11align_val_tRKSt9nothrow_t, size_t n, size_t align, const void *);
NEW(_ZnamSt11align_val_tRKSt9nothrow_t, size_t n, size_t align, const void *);
DELETE(_ZdlPvm, void *p, size_t n);
DELETE(_ZdaPvm, void *p, size_t n);
DELETE(_ZdlPvSt11align_val_t, void *p, size_t align);
DELETE(_ZdaPvSt11align_val_t, void *p, size_t align);
DELETE(_ZdlPvmSt11align_val_t, void *p, size_t n, size_t align);
DELETE(_ZdaPvmSt11align_val_t, void *p, size_t n, size_t align);
DELETE(_ZdlPvSt11align_val_tRKSt9nothrow_t, void *p, size_t align,
       const void *);
DELETE(_ZdaPvSt11align_val_tRKSt9nothrow_t, void *p, size_t align,
       const void *);
}

#ifdef PART_PAIR
struct header {
	void *base;
	uintptr_t proof;
};

static void *get(size_t n, size_t align)
{
	size_t room = n < SIZE_MAX / 4 ? n + align + sizeof(header) : n;
	char *base = static_cast<char *>(malloc(room));
	uintptr_t p = reinterpret_cast<uintptr_t>(base) + sizeof(header);
	header *h;

	cxx_counts.asked++;
	if (!base)
		throw std::bad_alloc();
	p = (p + align - 1) & ~(align - 1);
	h = reinterpret_cast<header *>(p) - 1;
	h->base = base;
	h->proof = p ^ align;
	return h + 1;
}

static void put(void *p, size_t align)
{
	header *h = static_cast<header *>(p) - 1;

	if (h->proof != (reinterpret_cast<uintptr_t>(p) ^ align)) {
		fprintf(stderr, "cxx: delete of what is not the pair's\n");
		abort();
	}
	h->proof = 0;
	free(h->base);
}

void *operator new(size_t n)
{
	void *p = get(n, 16);

	cxx_counts.news++;
	return p;
}

void operator delete(void *p) noexcept
{
	if (p) {
		cxx_counts.deletes++;
		put(p, 16);
	}
}

#if PART_PAIR > 1
void *_ZnwmSt11align_val_t(size_t n, size_t align)
{
	void *p = get(n, align);

	cxx_counts.aligned_news++;
	return p;
}

void _ZdlPvSt11align_val_t(void *p, size_t align)
{
	if (p) {
		cxx_counts.aligned_deletes++;
		put(p, align);
	}
}
#endif
#endif

#ifdef PART_WORK
#include <algorithm>
#include <deque>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

static int expected, failures;

static void check(bool good, const char *what, size_t n)
{
	if (!good) {
		fprintf(stderr, "cxx: %s, %zu\n", what, n);
		failures++;
	}
}

static counts now()
{
	return expected ? cxx_counts : counts();
}

/* So many of each since then, if anybody counts */
static void counted(const counts &then, long news, long aligned,
		    const char *what, size_t n)
{
	counts c = now();

	if (expected < 1)
		news = 0;
	if (expected < 2)
		aligned = 0;
	check(c.news - then.news == news &&
		      c.deletes - then.deletes == news &&
		      c.aligned_news - then.aligned_news == aligned &&
		      c.aligned_deletes - then.aligned_deletes == aligned,
	      what, n);
}

/* Plain forms to 3, aligned ones from 4 on; their deletes likewise */
enum { ALIGNED = 4, NEWS = 8, DELETES = 6 };

static void *make(int how, size_t n, size_t align)
{
	switch (how) {
	case 0: return operator new(n);
	case 1: return operator new[](n);
	case 2: return operator new(n, std::nothrow);
	case 3: return operator new[](n, std::nothrow);
	case 4: return _ZnwmSt11align_val_t(n, align);
	case 5: return _ZnamSt11align_val_t(n, align);
	case 6: return _ZnwmSt11align_val_tRKSt9nothrow_t(n, align,
							  &std::nothrow);
	default: return _ZnamSt11align_val_tRKSt9nothrow_t(n, align,
							   &std::nothrow);
	}
}

static void give(int how, void *p, size_t n)
{
	switch (how) {
	case 0: return operator delete(p);
	case 1: return operator delete[](p);
	case 2: return operator delete(p, std::nothrow);
	case 3: return operator delete[](p, std::nothrow);
	case 4: return _ZdlPvm(p, n);
	default: return _ZdaPvm(p, n);
	}
}

static void give_aligned(int how, void *p, size_t n, size_t align)
{
	const void *nothrow = &std::nothrow;

	switch (how) {
	case 0: return _ZdlPvSt11align_val_t(p, align);
	case 1: return _ZdaPvSt11align_val_t(p, align);
	case 2: return _ZdlPvSt11align_val_tRKSt9nothrow_t(p, align, nothrow);
	case 3: return _ZdaPvSt11align_val_tRKSt9nothrow_t(p, align, nothrow);
	case 4: return _ZdlPvmSt11align_val_t(p, n, align);
	default: return _ZdaPvmSt11align_val_t(p, n, align);
	}
}

static void pairs(size_t n, size_t align)
{
	for (int how = 0; how < NEWS; how++)
		for (int end = 0; end < DELETES; end++) {
			bool aligned = how >= ALIGNED;
			counts then = now();
			void *p = make(how, n, align);

			check(p && reinterpret_cast<uintptr_t>(p) %
						   (aligned ? align : 16) ==
					   0,
			      "alignment", n);
			memset(p, how + 1, n);
			if (aligned)
				give_aligned(end, p, n, align);
			else
				give(end, p, n);
			counted(then, !aligned, aligned, "pair",
				static_cast<size_t>(how * 10 + end));
		}
}

/* A form that has no memory has asked the one that it stands for. */
static void fails()
{
	volatile size_t huge = SIZE_MAX / 8;

	for (int how = 0; how < NEWS; how++) {
		bool throws = how % 4 < 2, thrown = false;
		counts then = now();
		void *p = nullptr;

		try {
			p = make(how, huge, 64);
		} catch (const std::bad_alloc &) {
			thrown = true;
		}
		check(!p && thrown == throws, "no memory",
		      static_cast<size_t>(how));
		check(now().asked - then.asked ==
			      (how < ALIGNED ? expected > 0 : expected > 1),
		      "asked", static_cast<size_t>(how));
	}
}

struct base {
	int x[5];
	base() : x() {}
	virtual ~base() {}
};
struct derived : base {
	std::string s;
	derived() : s(100, 'x') {}
};
struct quiet {
	char c[24];
};

/* Compilers may leave out a new whose delete they see. */
template <typename T> static T *kept(T *p)
{
	static T *volatile hidden;

	hidden = p;
	return hidden;
}

static void expressions()
{
	counts then = now();

	delete kept<base>(new derived);
	counted(then, 2, 0, "virtual", 0);
	then = now();
	delete[] kept(new derived[7]);
	counted(then, 8, 0, "array", 7);
	then = now();
	delete[] kept(new quiet[9]);
	delete kept(new quiet);
	delete kept(new (std::nothrow) quiet);
	delete[] kept(new (std::nothrow) quiet[1000]);
	counted(then, 4, 0, "quiet", 0);
#ifdef __cpp_aligned_new
	struct alignas(64) line {
		char c[64];
		~line() { c[0]++; }
	};
	then = now();
	delete kept(new line);
	delete[] kept(new line[3]);
	delete kept(new (std::nothrow) line);
	delete[] kept(new (std::nothrow) line[3]);
	kept(std::make_shared<line>().get());
	kept(std::vector<line>(5).data());
	counted(then, 0, 6, "line", 0);
#endif
}

static void containers()
{
	counts then = now();

	{
		std::vector<int> numbers(1000);
		std::string text(1000, 'x');
		std::list<int> list(10, 1);
		std::shared_ptr<int> shared = std::make_shared<int>(1);
		std::unique_ptr<derived[]> many(new derived[3]);

		kept(numbers.data());
		kept(&text[0]);
		kept(&list.front());
		kept(shared.get());
		kept(many.get());
	}
	counted(then, 1 + 1 + 10 + 1 + 4, 0, "containers", 0);
	then = now();
	std::map<std::string, int> map;
	std::unordered_map<int, std::string> hash;
	std::deque<std::string> deque;
	std::function<size_t()> call = [map, hash] { return map.size(); };
	for (int i = 0; i < 1000; i++) {
		map[std::string(static_cast<size_t>(i % 50), 'x')] = i;
		hash[i] = std::string(40, 'x');
		deque.push_back(std::string(50, 'y'));
	}
	std::stable_sort(deque.begin(), deque.end());
	map.clear();
	hash = std::unordered_map<int, std::string>();
	std::deque<std::string>().swap(deque);
	call = nullptr;
	check(!expected || now().news - then.news > 3000, "many", 0);
}

/* Everything, counted by nobody (0), PART_PAIR 1 or 2: the failures */
extern "C" int plugin_work(int who, size_t)
{
	counts then;

	expected = who;
	then = now();
	for (size_t n : { 1, 24, 1000, 20000, 300000 })
		for (size_t align : { 16, 64, 4096 })
			pairs(n, align);
	fails();
	expressions();
	containers();
	check(now().news - then.news == now().deletes - then.deletes,
	      "all that was had is given back", 0);
	return failures;
}

#ifdef EARLY
/* Before the constructor of what was preloaded */
static int early = plugin_work(EARLY, 0);
#endif
#endif

#ifdef PART_MAIN
extern "C" int plugin_work(int who, size_t) __attribute__((weak));

/* cxx WHO [PLUGIN FLAGS] - the plugin is opened and closed again. */
int main(int argc, char **argv)
{
	int (*work)(int who, size_t n) = plugin_work;
	void *plugin = nullptr;
	int bad;

	if (argc < 2)
		return 2;
	if (argc > 3) {
		plugin = dlopen(argv[2], atoi(argv[3]));
		if (!plugin)
			return fprintf(stderr, "%s\n", dlerror()), 2;
		*reinterpret_cast<void **>(&work) =
			dlsym(plugin, "plugin_work");
	}
	bad = work(atoi(argv[1]), 0);
	if (plugin)
		bad += dlclose(plugin) != 0;
	printf("%d failed\n", bad);
	return bad != 0;
}
#endif
