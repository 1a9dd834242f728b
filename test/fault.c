/*
 * fault.c - nothing that fails in the machine may lose or corrupt anything.
 *
 * A workload that verifies every byte (load.h) runs while system calls fail
 * (inject.h), at the limits of memory and of mappings, and in locked memory.
 * It must find each block as it was, and be refused memory only when there is
 * none; and no byte may stay mapped that the allocator knows nothing of.
 */
#include "account.h"
#include "inject.h"
#include "load.h"
#include <limits.h>

enum { CHILD_SECONDS = 60, ROW_LENGTH = 8, SHOWN = 20 };

/* Which calls of a kind fail: one, some in a row, all from one on */
enum { ONCE, ROW, ON, PATTERNS };

static void run_rounds(int rounds)
{
	ssize_t before;

	while (rounds--) {
		before = plan->extra;
		load_nulls = 0;
		load_round();
		squatters_leave();
		plan->extra = unaccounted();
		plan->grown = plan->extra - before;
		plan->nulls[0] += load_nulls;
		plan->nulls[1] = load_nulls;
	}
}

/* -- a child for each fault, and what is to be said of it */

/* True in the child. False in the parent, once it has ended, and how */
static int in_child(int *code)
{
	size_t head = offsetof(struct plan, seen);
	pid_t pid;

	memset((char *)plan + head, 0, sizeof(*plan) - head);
	pid = fork();
	CHECK(pid >= 0);
	if (pid == 0) {
		alarm(CHILD_SECONDS);
		return 1;
	}
	*code = test_wait(pid);
	if (*code == TEST_SKIPPED)
		_exit(TEST_SKIPPED);
	return 0;
}

static ssize_t base; /* bytes unaccounted for when nothing fails */
static long points, crashed, lost, refused, leaked;

static void run_base(void)
{
	int code;

	plan = mmap(NULL, sizeof(*plan), PROT_READ | PROT_WRITE,
		    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(plan != MAP_FAILED);
	if (in_child(&code)) {
		run_rounds(2);
		_exit(0);
	}
	CHECKF(code == 0, "without a fault: ended with %d", code);
	CHECKF(!plan->nulls[0], "%ld without memory", plan->nulls[0]);
	CHECKF(!plan->grown, "%zd bytes leaked", plan->grown);
	base = plan->extra;
}

/* A child ended with `code`, `nulls` calls too many without memory, `leak` */
__attribute__((format(printf, 4, 5))) static void
judge(int code, long nulls, ssize_t leak, const char *format, ...)
{
	char fault[128];
	va_list ap;

	va_start(ap, format);
	vsnprintf(fault, sizeof(fault), format, ap);
	va_end(ap);
	points++;
	crashed += code && code != TEST_FAILED;
	lost += code == TEST_FAILED;
	refused += !code && nulls > 0;
	leaked += !code && leak > 0;
	if ((code || nulls > 0 || leak > 0) &&
	    crashed + lost + refused + leaked <= SHOWN)
		say("%s: ended with %d, %ld calls without memory, "
		    "%zd bytes leaked\n",
		    fault, code, nulls, leak);
}

static void report(void)
{
	say("%ld points: %ld crashed, %ld lost bytes, %ld refused memory, "
	    "%ld leaked\n",
	    points, crashed, lost, refused, leaked);
	CHECK(points > 0 && !crashed && !lost && !refused && !leaked);
}

/* -- system calls that fail */

/*
 * As planned. Unless that lasts, a round follows where nothing fails. Others
 * take what is given up at every other point. The kernel is no older one, since
 * larger pages (pages.h) are made with targets that such a one would lose.
 */
static void run_plan(void)
{
	int lasts = plan->last == LONG_MAX, kind = plan->kind, code;
	int scarce = kind == MMAP || kind == ANY;
	int stuck = lasts && (kind == MUNMAP || kind == ANY);
	long first = plan->first;

	plan->squat = first % 2 == 1;
	if (in_child(&code)) {
		inject();
		run_rounds(lasts ? 2 : 1);
		if (!lasts)
			plan->first = 0;
		run_rounds(1);
		_exit(0);
	}
	if (plan->failed)
		judge(code, scarce && lasts ? 0 : plan->nulls[scarce],
		      stuck ? plan->grown : plan->extra - base,
		      "fault point %s %s %ld %ld", kinds[kind].name,
		      errors[plan->error].name, first, plan->last);
}

/* KIND ERROR FIRST LAST: one point, by the words that tell of it */
static void point(void)
{
	char **word = test_args;

	CHECK(word[0] && word[1] && word[2] && word[3]);
	run_base();
	while (strcmp(kinds[plan->kind].name, word[0]) != 0)
		CHECK(++plan->kind <= KINDS);
	while (strcmp(errors[plan->error].name, word[1]) != 0)
		CHECK(++plan->error < (int)COUNT(errors));
	plan->first = atol(word[2]);
	plan->last = atol(word[3]);
	run_plan();
	report();
}

static long calls[KINDS + 1]; /* in a round where nothing fails */

/* The injector sees each call that the allocator makes. */
static void count_calls(void)
{
	static const char *const names[] = { " mmap=", " munmap=", " mremap=",
					     " madvise=", " mprotect=" };
	int code, k;
	long made;

	if (in_child(&code)) {
		inject();
		for (k = 0; k < KINDS; k++)
			calls[k] = (long)stats(names[k]);
		load_round();
		for (k = 0; k < KINDS; k++) {
			made = (long)stats(names[k]) - calls[k];
			CHECKF(made == plan->seen[k], "%ld%s%ld", plan->seen[k],
			       names[k], made);
		}
		_exit(0);
	}
	CHECK(code == 0);
	for (k = 0; k <= KINDS; k++) {
		calls[k] = plan->seen[k];
		say("%s %ld%s", kinds[k].name, calls[k],
		    k < KINDS ? ", " : "\n");
	}
}

/*
 * The i-th of all points, in the plan; false: there are no more. A single call
 * fails with each of the errors, others take turns.
 */
static int plan_point(long i)
{
	int pattern, kind, ways;

	for (pattern = ONCE; pattern < PATTERNS; pattern++)
		for (kind = 0; kind <= KINDS - (pattern == ONCE); kind++) {
			ways = pattern == ONCE ? (int)COUNT(errors) : 1;
			if (i >= calls[kind] * ways) {
				i -= calls[kind] * ways;
				continue;
			}
			plan->kind = kind;
			plan->error = (int)(i % (int)COUNT(errors));
			plan->first = i / ways + 1;
			plan->last = pattern == ONCE ? plan->first :
				     pattern == ROW ? plan->first + ROW_LENGTH :
						      LONG_MAX;
			return 1;
		}
	return 0;
}

/* The first calls of a process are each of another kind. */
static int at_start(void)
{
	return plan->kind == MMAP && plan->first == plan->last &&
	       plan->first <= 12 && plan->error == plan->first % 3;
}

/* [WANTED]: about so many points, evenly spread over all; or all of them */
static void sweep(void)
{
	long wanted = test_args[0] ? atol(test_args[0]) : 0;
	long all = 0, step, i;

	run_base();
	count_calls();
	while (plan_point(all))
		all++;
	step = wanted && wanted < all ? all / wanted : 1;
	for (i = 0; plan_point(i); i++)
		if (i % step == step / 2 || (wanted > 50 && at_start()))
			run_plan();
	say("of %ld places, ", all);
	report();
}

/* -- what the whole machine refuses */

/* Filters that refuse these calls to the whole program, in all combinations */
static void filters(void)
{
	static const int numbers[] = { SYS_madvise, SYS_mremap, SYS_mprotect,
				       SYS_getrandom, SYS_prctl };
	unsigned int set, k;
	int code;

	run_base();
	for (set = 1; set < 1u << COUNT(numbers); set++) {
		if (in_child(&code)) {
			for (k = 0; k < COUNT(numbers); k++)
				if (set >> k & 1)
					refuse(numbers[k]);
			run_rounds((int)test_scale(1, 2));
			_exit(0);
		}
		judge(code, plan->nulls[0], plan->extra - base, "filter %#x",
		      set);
	}
	report();
}

/* 0: as much as is allowed */
static void set_limit(int resource, size_t soft)
{
	struct rlimit limit;

	CHECK(getrlimit(resource, &limit) == 0);
	limit.rlim_cur = soft ? soft : limit.rlim_max;
	CHECK(setrlimit(resource, &limit) == 0);
}

/* as | data: less and less room; once the limit is lifted all is as before */
static void limits(void)
{
	int data = test_args[0] && strcmp(test_args[0], "data") == 0, code;
	int resource = data ? RLIMIT_DATA : RLIMIT_AS;
	const char *name = data ? "VmData:" : "VmSize:";
	size_t room;
	void *p;

	run_base();
	for (room = 64 * MIB; room; room = room < 4096 ? 0 : room / 2) {
		if (in_child(&code)) {
			set_limit(resource, test_status(name) + room);
			run_rounds(2);
			p = malloc(room / 4);
			CHECK(p || room < 64 * MIB);
			free(p);
			set_limit(resource, 0);
			run_rounds(1);
			_exit(0);
		}
		judge(code, plan->nulls[1], plan->extra - base,
		      "%zu bytes of room", room);
		CHECK(room < 64 * MIB || !plan->nulls[0]);
		CHECK(room > 4 * MIB || plan->nulls[0]);
	}
	report();
}

/* Locked pages can't be purged, and new ones are there at once. */
static void locked(void)
{
	int code;

	run_base();
	if (in_child(&code)) {
		if (geteuid() != 0 || mlockall(MCL_CURRENT | MCL_FUTURE) != 0)
			SKIP("only root may lock all memory\n");
		run_rounds(3);
		_exit(0);
	}
	judge(code, plan->nulls[0], plan->extra - base, "locked memory");
	report();
}

/* As many mappings as the kernel allows, of one page each */
static char *crowd(size_t page, size_t *len)
{
	size_t most = 262144, i;
	char *p;

	*len = 2 * most * page;
	p = mmap(NULL, *len, PROT_NONE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	CHECK(p != MAP_FAILED);
	for (i = 1; i < most; i++)
		if (mprotect(p + (2 * i - 1) * page, page, PROT_READ) != 0)
			return p;
	SKIP("the kernel allows too many mappings\n");
}

/* No more mappings than a few; once there is room all is as before. */
static void crowded(void)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE), len, spare, i;
	char *p;
	int code;

	run_base();
	p = crowd(page, &len);
	for (spare = 0; spare < 300; spare += spare + 1) {
		if (in_child(&code)) {
			for (i = 0; i < spare; i++)
				CHECK(!munmap(p + (2 * i + 1) * page, page));
			for (i = 0; i < 3; i++)
				load_round();
			CHECK(munmap(p, len) == 0);
			run_rounds(1);
			_exit(0);
		}
		judge(code, plan->nulls[1], plan->extra - base,
		      "%zu mappings to spare", spare);
	}
	report();
}

/* Kernels that can't move several mappings at once; others map what is free. */
static void older(void)
{
	int code;

	run_base();
	plan->squat = 1;
	for (plan->older = 0; plan->older <= 2; plan->older++) {
		if (in_child(&code)) {
			inject();
			run_rounds(3);
			_exit(0);
		}
		judge(code, plan->nulls[0], plan->extra - base, "%s kernel",
		      plan->older == 2 ? "a full" :
		      plan->older      ? "an older" :
					 "this");
	}
	report();
}

/*
 * What can't be unmapped is used again: once there is enough of it, no more is
 * needed. When that was not so four rounds took 94 MiB more; while the cache
 * fills with pieces of many sizes, half of that may be.
 */
static void stuck(void)
{
	ssize_t size = 0;
	int code, i;

	run_base();
	if (in_child(&code)) {
		inject();
		plan->kind = MUNMAP;
		plan->first = 60;
		plan->last = LONG_MAX;
		for (i = 0; i < 2; i++) {
			run_rounds(4);
			size = (ssize_t)test_status("VmSize:") - size;
		}
		CHECKF(size < (ssize_t)(64 * MIB), "%zd more", size);
		_exit(0);
	}
	judge(code, plan->nulls[0], plan->grown, "munmap refused for ever");
	report();
}

enum { GUARDED = 30000, GUARDED_SIZE = 1000 };

/*
 * The inaccessible pages of slabs (ALLOC_CHECK=3) can't be undone for a while:
 * the slabs go back when they can.
 */
static void guards(void)
{
	static struct held b[GUARDED];
	ssize_t before, after;
	size_t i;
	int code;

	run_base();
	if (in_child(&code)) {
		inject();
		load_round();
		before = (ssize_t)stats(" system=");
		for (i = 0; i < GUARDED; i++)
			block_new(&b[i], GUARDED_SIZE, BY_MALLOC);
		plan->kind = MPROTECT;
		plan->first = plan->seen[MPROTECT] + 1;
		plan->last = LONG_MAX;
		drop_all(b, GUARDED);
		malloc_trim(0);
		plan->first = 0;
		malloc_trim(0);
		after = (ssize_t)stats(" system=");
		CHECKF(after - before <= (ssize_t)(8 * MIB), "%zd more",
		       after - before);
		run_rounds(1);
		_exit(0);
	}
	judge(code, plan->nulls[0], plan->extra - base, "guards stay");
	report();
}

/* No fault at all: for libraries that were built in another way */
static void none(void)
{
	run_base();
	CHECK(test_replaced());
}

#define CASES(X) \
	X(none) \
	X(sweep) \
	X(point) \
	X(filters) \
	X(limits) \
	X(locked) \
	X(older) \
	X(stuck) \
	X(guards) \
	X(crowded)

static const struct test cases[] = { CASES(TEST_ROW) };

int main(int argc, char **argv)
{
	if (getenv("ALLOC_DIRECT"))
		load_pile = PILE / 12;
	return test_main(cases, COUNT(cases), argc, argv);
}
