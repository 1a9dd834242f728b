/*
 * limit.c - memory from the OS and back to it: limits, bounds, locked memory,
 * fragmentation, growth, system calls that fail.
 *
 * Cases with numbers to choose take them as arguments after their name.
 */
#include "test.h"
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sys/auxv.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>

/* Blocks that are linked through their first word */
struct link {
	struct link *next;
};

static struct link *push(struct link *list, size_t n)
{
	struct link *p = malloc(n);

	if (!p)
		return NULL;
	p->next = list;
	return p;
}

static void drop(struct link *list)
{
	struct link *next;

	for (; list; list = next) {
		next = list->next;
		free(list);
	}
}

/* Blocks of `n` bytes and `total` bytes together, each byte touched */
static struct link *pile(size_t n, size_t total)
{
	struct link *list = NULL;
	size_t sum;

	for (sum = 0; sum < total; sum += n) {
		list = push(list, n);
		CHECK(list);
		memset(list + 1, 1, n - sizeof(*list));
	}
	return list;
}

/* Every kind of call; only the system calls of the allocator itself */
static void workload(void)
{
	static char *p[64];
	size_t n, i;

	for (n = 1; n < 8 * MIB; n += n / 4 + 1) {
		size_t count = n < 100000 ? 64 : 4;

		for (i = 0; i < count; i++) {
			p[i] = i % 3 ? malloc(n) : memalign(64, n);
			CHECK(p[i]);
			memset(p[i], 0xaa, n);
		}
		p[0] = realloc(p[0], n * 3);
		CHECK(p[0] && test_all(p[0], n, 0xaa));
		for (i = 0; i < count; i++) {
			errno = 1234;
			free(p[i]);
			CHECKF(errno == 1234, "free of %zu", n);
		}
		for (i = 0; i < count; i++) {
			p[i] = calloc(1, n);
			CHECKF(p[i] && test_all(p[i], n, 0), "calloc %zu", n);
		}
		for (i = 0; i < count; i++)
			free(p[i]);
	}
	p[0] = NULL;
	for (n = 100; n < 64 * MIB; n += n / 3) {
		p[0] = realloc(p[0], n);
		CHECK(p[0]);
		p[0][n - 1] = 1;
	}
	free(p[0]);
	malloc_trim(0);
}

/*
 * The first block of a process without privileges that has locked its memory:
 * all that is mapped counts from now on.
 */
static void locked_start(void)
{
	struct rlimit limit = { 8 * MIB, 8 * MIB };

	if (setrlimit(RLIMIT_MEMLOCK, &limit) != 0 ||
	    (getuid() == 0 && (setgid(65534) != 0 || setuid(65534) != 0)) ||
	    mlockall(MCL_CURRENT | MCL_FUTURE) != 0)
		SKIP("8 MiB may not be locked here\n");
	drop(pile(100, 100000));
	drop(pile(100000, MIB));
}

/*
 * Blocks of 1 byte to 64 KiB, as many short ones as long ones, replace one
 * another in an address space of 24 MiB, 11 MB of it live.
 */
static void tight(void)
{
	enum { SLOTS = 20000, LIVE = 11000000 };
	static struct {
		char *p;
		size_t n;
	} slot[SLOTS];
	struct rlimit limit = { 24 * MIB, 24 * MIB };
	uint64_t state = 5;
	size_t sum = 0, n, i, at;

	CHECK(setrlimit(RLIMIT_AS, &limit) == 0);
	for (i = 0; i < 300000; i++) {
		n = 1 + test_random(&state) %
				((size_t)16 << test_random(&state) % 13);
		do {
			at = test_random(&state) % SLOTS;
			sum -= slot[at].p ? slot[at].n : 0;
			free(slot[at].p);
			slot[at].p = NULL;
		} while (sum + n > LIVE);
		slot[at].p = malloc(n);
		CHECKF(slot[at].p, "%zu bytes after %zu calls, %zu live", n, i,
		       sum);
		slot[at].n = n;
		memset(slot[at].p, 1, n);
		sum += n;
	}
}

/* What a program may do to whole pages of a block before it frees that */
static const struct alteration {
	const char *name, *flag; /* what /proc/self/smaps calls it */
	int prot, advice;
} alterations[] = {
	{ "read-only", NULL, PROT_READ, 0 },
	{ "inaccessible", NULL, PROT_NONE, 0 },
	{ "executable", NULL, PROT_READ | PROT_WRITE | PROT_EXEC, 0 },
	{ "locked", " lo", 0, 0 },
	{ "not for children", " dc", 0, MADV_DONTFORK },
	{ "not for cores", " dd", 0, MADV_DONTDUMP },
	{ "wiped in children", " wf", 0, MADV_WIPEONFORK },
	{ "mergeable", " mg", 0, MADV_MERGEABLE },
	{ "of huge pages", " hg", 0, MADV_HUGEPAGE },
};

/* False: not on this kernel */
static int alter(const struct alteration *a, char *p, size_t n)
{
	if (a->advice)
		return madvise(p, n, a->advice) == 0;
	return a->flag ? mlock(p, n) == 0 : mprotect(p, n, a->prot) == 0;
}

/* Are all pages of a range readable and writable, and without that flag? */
static int as_new(char *p, size_t n, const char *flag)
{
	char line[512], perms[8];
	uintptr_t from, to, at = (uintptr_t)p, end = at + n;
	FILE *f = fopen("/proc/self/smaps", "r");
	int inside = 0, good = 1;

	CHECK(f);
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx %7s", &from, &to, perms) == 3) {
			inside = from < end && to > at;
			good &= !inside || strcmp(perms, "rw-p") == 0;
		} else if (inside && flag && strncmp(line, "VmFl", 4) == 0) {
			good &= !strstr(line, flag);
		}
	}
	fclose(f);
	return good;
}

/* With `cut` realloc gives the altered end back. */
static void alter_and_free(const struct alteration *a, size_t n, int part,
			   int cut)
{
	static char *old[8], *new[8];
	size_t page = (size_t)sysconf(_SC_PAGESIZE), i, len;
	char *from;

	for (i = 0; i < COUNT(old); i++) {
		old[i] = malloc(n);
		CHECK(old[i]);
		memset(old[i], 1, n);
	}
	for (i = 0; i < COUNT(old); i++) {
		from = (char *)(((uintptr_t)old[i] + page - 1) & -page);
		len = (size_t)(old[i] + n - from) & -page;
		from += part ? len / 2 & -page : 0;
		if (!alter(a, from, part ? page : len)) {
			dprintf(1, "%s: not here\n", a->name);
			break;
		}
	}
	for (i = 0; i < COUNT(old); i++) {
		old[i] = cut ? realloc(old[i], 20000) : old[i];
		free(cut ? NULL : old[i]);
	}
	n = cut ? 30000 : n;
	for (i = 0; i < COUNT(new); i++) {
		new[i] = malloc(n);
		CHECKF(new[i] && as_new(new[i], n, a->flag),
		       "%zu bytes that were %s", n, a->name);
		memset(new[i], 2, n);
	}
	for (i = 0; i < COUNT(new); i++)
		free(new[i]);
	for (i = 0; i < COUNT(old); i++)
		free(cut ? old[i] : NULL);
}

/* What became of a block in its life is not passed on to the next. */
static void altered(void)
{
	static const size_t sizes[] = { 132000, 250000, 300000, MIB, 5000000 };
	size_t i, k, rounds = test_argument(0, 2);

	for (i = 0; i < COUNT(sizes); i++)
		for (k = 0; k < rounds * COUNT(alterations); k++)
			alter_and_free(&alterations[k % COUNT(alterations)],
				       sizes[i], k % 2, 0);
	for (k = 0; k < COUNT(alterations); k++)
		alter_and_free(&alterations[k], 200000, 1, 1);
}

/* Only starts, for the shell to try under its limits */
static void starts(void)
{
	drop(pile(100, 100000));
	drop(pile(100000, MIB));
	CHECK(write(1, "started\n", 8) == 8);
}

/* Leaves `room` bytes below the limit "as" or "data". */
static void set_room(const char *what, size_t room)
{
	int data = strcmp(what, "data") == 0;
	struct rlimit limit;

	limit.rlim_cur = test_status(data ? "VmData:" : "VmSize:") + room;
	limit.rlim_max = limit.rlim_cur;
	CHECK(setrlimit(data ? RLIMIT_DATA : RLIMIT_AS, &limit) == 0);
}

/* Allocates until there is no more, gives all back, then one big block. */
static void fill_up(size_t n, size_t room)
{
	struct link *list = NULL, *p;
	size_t sum = 0;
	void *big;

	errno = 0;
	while ((p = push(list, n))) {
		list = p;
		sum += n;
	}
	CHECKF(errno == ENOMEM, "blocks of %zu", n);
	CHECKF(sum > room / (n < 32 ? 2 : 1) / 10 * 7,
	       "%zu KiB in blocks of %zu, of %zu", sum / KIB, n, room / KIB);
	errno = 0;
	CHECK(!calloc(1, room) && errno == ENOMEM);
	errno = 0;
	CHECK(!memalign(64, room) && errno == ENOMEM);
	errno = 0;
	CHECK(!realloc(list, room) && errno == ENOMEM);
	drop(list);
	big = malloc(room / 10 * 8);
	CHECKF(big, "no big block after blocks of %zu", n);
	free(big);
}

static void exhaust(void)
{
	static const size_t sizes[] = { 16,    100,    1000,   5000, 30000,
					60000, 100000, 200000, MIB,  5 * MIB };
	size_t room = test_argument(1, 96) * MIB, i;

	free(malloc(10));
	set_room(test_args[0] ? test_args[0] : "as", room);
	for (i = 0; i < COUNT(sizes); i++)
		fill_up(sizes[i], room);
	for (i = COUNT(sizes); i-- > 0;)
		fill_up(sizes[i], room);
}

static pthread_barrier_t barrier;

static void *exhausts(void *arg)
{
	size_t n = 100 + (uintptr_t)arg * 30000, round;
	struct link *list, *p;

	free(malloc(100));
	pthread_barrier_wait(&barrier);
	for (round = 0; round < 5; round++) {
		list = NULL;
		errno = 0;
		while ((p = push(list, n)))
			list = p;
		CHECK(errno == ENOMEM);
		drop(list);
	}
	return NULL;
}

/* Four threads at the limit at once; afterwards all is to be had again. */
static void exhaust_in_threads(void)
{
	pthread_t threads[4];
	uintptr_t i;
	void *p;

	CHECK(pthread_barrier_init(&barrier, NULL, 5) == 0);
	for (i = 0; i < 4; i++)
		CHECK(pthread_create(&threads[i], NULL, exhausts, (void *)i) ==
		      0);
	set_room("as", 64 * MIB);
	pthread_barrier_wait(&barrier);
	for (i = 0; i < 4; i++)
		CHECK(pthread_join(threads[i], NULL) == 0);
	p = malloc(32 * MIB);
	CHECK(p);
	free(p);
}

/* Locked pages can't be purged: what calloc takes for zero may not be. */
static void locked(void)
{
	if (mlockall(MCL_CURRENT | MCL_FUTURE) != 0)
		SKIP("mlockall is not permitted\n");
	drop(pile(1000, 48 * MIB));
	drop(pile(30000, 48 * MIB));
	workload();
}

/* How much of `total` bytes of `size` stays resident once it is free, KiB */
static void falls(void)
{
	size_t size = test_argument(0, 32768),
	       total = test_argument(1, 200) * MIB;
	size_t allowed = test_argument(2, 48) * MIB, begin, kept;

	drop(pile(size, 100000));
	begin = test_rss();
	drop(pile(size, total));
	kept = test_rss() - begin;
	CHECKF((ssize_t)kept < (ssize_t)allowed, "%zu KiB kept", kept / KIB);
}

/* Blocks of many sizes that replace one another; what stays when all go */
static void scattered(void)
{
	static char *p[100000];
	size_t begin = test_rss(), most, kept, i, at, n;
	uint64_t state = 5;

	for (i = 0; i < 4 * COUNT(p); i++) {
		at = i < COUNT(p) ? i : test_random(&state) % COUNT(p);
		n = 16 + test_random(&state) % 1000;
		free(p[at]);
		p[at] = memset(malloc(n), 1, n);
	}
	most = test_rss() - begin;
	for (i = 0; i < COUNT(p); i++)
		free(p[i]);
	kept = test_rss() - begin;
	CHECKF(kept < test_argument(0, 0) * MIB, "%zu of %zu KiB kept",
	       kept / KIB, most / KIB);
}

/* Rounds of `count` blocks: for strace to count the system calls */
static void rounds(void)
{
	size_t n = test_argument(0, 1000), count = test_argument(1, 1);
	size_t size = test_argument(2, MIB), i, k;
	char *p[64];

	CHECK(count <= COUNT(p));
	for (i = 0; i < n; i++) {
		for (k = 0; k < count; k++) {
			p[k] = malloc(size);
			CHECK(p[k]);
			p[k][0] = p[k][size - 1] = 1;
		}
		for (k = 0; k < count; k++)
			free(p[k]);
	}
}

/* What stays mapped or resident of freed blocks, for ALLOC_THRESH=N */
static void bound(void)
{
	size_t count = test_argument(0, 0), i, begin, kept, allowed;
	struct link *list;

	/* Large blocks: address space, 2 MiB for each block that is kept */
	drop(pile(100, 100000));
	begin = test_status("VmSize:");
	for (i = 1; i <= 3; i++) {
		list = pile(2 * MIB - 8192, 48 * MIB * i);
		CHECK(test_status("VmSize:") >= begin + 46 * MIB * i);
		drop(list);
		kept = test_status("VmSize:") - begin;
		allowed = (count < 16 ? count : 16) * 2 * MIB + 5 * MIB;
		CHECKF((ssize_t)kept < (ssize_t)allowed,
		       "large: %zu KiB with ALLOC_THRESH=%zu", kept / KIB,
		       count);
	}
	/* Small ones: resident memory, 64 KiB for each unit that is kept */
	malloc_trim(0);
	begin = test_rss();
	drop(pile(1000, 96 * MIB));
	kept = test_rss() - begin;
	allowed = (count < 512 ? count : 512) * 64 * KIB + 5 * MIB;
	CHECKF((ssize_t)kept < (ssize_t)allowed,
	       "small: %zu KiB with ALLOC_THRESH=%zu", kept / KIB, count);
}

/* Frees every second block of a list. */
static struct link *thin_out(struct link *list)
{
	struct link *p, *q;

	for (p = list; p && p->next; p = p->next) {
		q = p->next;
		p->next = q->next;
		free(q);
	}
	return list;
}

static struct link *untouched(size_t n, size_t count)
{
	struct link *list = NULL;
	size_t i;

	for (i = 0; i < count; i++) {
		list = push(list, n + i % 64 * (n / 64));
		CHECK(list);
	}
	return list;
}

/* The kernel allows a process 65,530 mappings. */
static void few_mappings(void)
{
	struct link *list = thin_out(untouched(4096, 40000)), *more;

	CHECKF(test_maps() < 500, "%ld, small", test_maps());
	more = thin_out(untouched(40000, 10000));
	CHECKF(test_maps() < 1500, "%ld, medium", test_maps());
	drop(list);
	list = thin_out(untouched(200 * KIB, 6000));
	CHECKF(test_maps() < 8000, "%ld, large", test_maps());
	drop(more);
	drop(list);
	CHECKF(test_maps() < 1500, "%ld, all freed", test_maps());
}

/*
 * With a mapping for each block (ALLOC_DIRECT=1) the limit is met: munmap
 * fails when it would split one mapping too many. That is no one's error.
 */
static void many_mappings(void)
{
	enum { BLOCKS = 150000 };
	struct link *list = untouched(64, BLOCKS), *p;
	int i;

	errno = 1234;
	list = thin_out(list);
	CHECK(errno == 1234);
	for (i = 0; i < 1000; i++) {
		p = push(list, 100);
		if (p)
			list = p;
	}
	drop(list);
	p = malloc(MIB);
	CHECK(p);
	free(p);
	CHECKF(test_maps() < 2000, "%ld mappings left", test_maps());
}

/* How many mappings the kernel lets a process have */
static long most_maps(void)
{
	char text[32] = "";
	int fd = open("/proc/sys/vm/max_map_count", O_RDONLY | O_CLOEXEC);

	if (fd < 0 || read(fd, text, sizeof(text) - 1) <= 0)
		SKIP("no vm.max_map_count here\n");
	close(fd);
	return strtol(text, NULL, 10);
}

/* What could be used without swapping */
static size_t free_memory(void)
{
	char text[1024] = "";
	int fd = open("/proc/meminfo", O_RDONLY | O_CLOEXEC);
	const char *s;

	CHECK(fd >= 0 && read(fd, text, sizeof(text) - 1) > 0);
	close(fd);
	s = strstr(text, "MemAvailable:");
	return s ? strtoul(s + strlen("MemAvailable:"), NULL, 10) * KIB : 0;
}

/* A large block, of which one page alone is written to */
struct sparse {
	char *p;
	size_t size, at;
};

/* What is written there has to stay, however the block is moved. */
static void sparse_put(struct sparse *b, size_t size, size_t at)
{
	b->size = size;
	b->at = at & -sizeof(uintptr_t);
	memcpy(b->p + b->at, &b, sizeof(b));
}

static void sparse_see(const struct sparse *b)
{
	CHECKF(!b->p || memcmp(b->p + b->at, &b, sizeof(b)) == 0,
	       "%zu bytes at %p, page %zu", b->size, (void *)b->p, b->at);
}

static void sparse_new(struct sparse *b, size_t size, uint64_t r)
{
	sparse_see(b);
	free(b->p);
	b->p = malloc(size);
	CHECKF(b->p, "%zu bytes, %ld mappings", size, test_maps());
	sparse_put(b, size, r % (size - sizeof(b)));
}

/* Half as large again: the page stays where it was in the block. */
static void sparse_grow(struct sparse *b)
{
	size_t size = b->size + b->size / 2;
	char *p = realloc(b->p, size);

	CHECKF(p, "grown to %zu bytes, %ld mappings", size, test_maps());
	b->p = p;
	sparse_see(b);
	b->size = size;
}

/*
 * LIVE blocks of LOW to HIGH KB that replace one another for so many rounds,
 * or grow three times first: the kernel lets a process have 65,530 mappings,
 * and what is moved to and fro must not use them up.
 */
static void mappings_bounded(void)
{
	static struct sparse blocks[40000];
	size_t live = test_argument(0, 40000),
	       low = test_argument(1, 131) * 1000;
	size_t range = test_argument(2, 400) * 1000 - low;
	size_t rounds = test_argument(3, 300000), grow = test_argument(4, 0), i;
	long most = most_maps() / 2, maps, peak_maps = 0;
	uint64_t state = 17, r;
	struct sparse *b;

	CHECK(live <= COUNT(blocks));
	/* A block that grows is populated; of others some pages stay. */
	if (free_memory() < live * (grow ? 300 * KIB : 100 * KIB))
		SKIP("not enough free memory\n");
	if (most > 2 * (long)live + 1000)
		most = 2 * (long)live + 1000;
	for (i = 0; i < live + rounds; i++) {
		r = test_random(&state);
		b = &blocks[i < live ? i : r % live];
		if (grow && b->p && b->size < low * 3)
			sparse_grow(b);
		else
			sparse_new(b, low + (r >> 20) % range, r >> 40);
		if (i % 10000 && i + 1 < live + rounds)
			continue;
		maps = test_maps();
		peak_maps = maps > peak_maps ? maps : peak_maps;
		CHECKF(maps < most, "%ld mappings, round %zu", maps, i);
	}
	dprintf(1, "%ld mappings at most, %zu MiB resident\n", peak_maps,
		test_rss() / MIB);
}

/* Address space that could be written is what strict overcommit counts. */
static void committed(void)
{
	static const size_t sizes[] = { 24, 500, 5000, 40000, 90000, MIB };
	size_t begin = test_status("VmData:"), sum = 0, i, used;
	struct link *list[COUNT(sizes)];

	for (i = 0; i < COUNT(sizes); i++) {
		list[i] = pile(sizes[i], 20 * MIB);
		sum += 20 * MIB;
	}
	used = test_status("VmData:") - begin;
	CHECKF(used < sum + sum / 3 + 16 * MIB, "%zu KiB for %zu", used / KIB,
	       sum / KIB);
	for (i = 0; i < COUNT(sizes); i++)
		drop(list[i]);
	used = test_status("VmData:") - begin;
	CHECKF((ssize_t)used < 64 * (ssize_t)MIB, "%zu KiB", used / KIB);
}

/* 2^x, straight between whole numbers: near enough for a distribution */
static double power_of_two(double x)
{
	int whole = x < 0 ? (int)x - 1 : (int)x;
	double y = 1 + (x - whole);

	for (; whole > 0; whole--)
		y *= 2;
	for (; whole < 0; whole++)
		y /= 2;
	return y;
}

/* Log-normal with sigma 3.43 and median 206, between 16 B and 64 KiB */
static size_t lognormal(uint64_t *state)
{
	double z = -6, n;
	int i;

	for (i = 0; i < 12; i++)
		z += (double)(test_random(state) >> 11) / 9007199254740992.0;
	n = 206 * power_of_two(z * 3.43 * 1.442695);
	return n < 16 ? 16 : n > 65536 ? 65536 : (size_t)n;
}

/* Sizes far apart that replace one another at random, for a long time */
static void fragmentation(void)
{
	enum { SLOTS = 20000 };
	static char *p[SLOTS];
	static size_t size[SLOTS];
	size_t begin = test_rss(), live = 0, rss, i, at;
	uint64_t state = 77;

	for (i = 0; i < 500000; i++) {
		at = i < SLOTS ? i : test_random(&state) % SLOTS;
		free(p[at]);
		live -= size[at];
		size[at] = lognormal(&state);
		live += size[at];
		p[at] = malloc(size[at]);
		CHECK(p[at]);
		memset(p[at], 1, size[at]);
	}
	rss = test_rss() - begin;
	dprintf(1, "resident %zu KiB, live %zu KiB, %zu %%\n", rss / KIB,
		live / KIB, rss * 100 / live);
	CHECK(rss < live + live * 2 / 5);
	for (i = 0; i < SLOTS; i++)
		if (i % 100)
			free(p[i]);
	CHECKF(test_rss() - begin < live / 2 + 16 * MIB, "%zu KiB",
	       (test_rss() - begin) / KIB);
}

static long milliseconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static size_t peak(void)
{
	struct rusage usage;

	CHECK(getrusage(RUSAGE_SELF, &usage) == 0);
	return (size_t)usage.ru_maxrss * KIB;
}

/* Grows a block by `step` bytes at a time, and touches all of it. */
static void grow_by(size_t step, size_t top)
{
	char *p = NULL;
	size_t n;

	for (n = step; n <= top; n += step) {
		p = realloc(p, n);
		CHECK(p);
		memset(p + n - step, (int)(n >> 12), step);
	}
	for (n = step; n <= top; n += step)
		CHECK(p[n - 1] == (char)(n >> 12));
	free(p);
}

static void grow_double(void)
{
	size_t n, k;
	char *p;

	for (k = 0; k < 30; k++) {
		p = malloc(4);
		for (n = 8; n <= 256 * MIB; n *= 2) {
			p = realloc(p, n);
			CHECK(p);
			p[n - 1] = 1;
		}
		free(p);
	}
}

/* Two arrays that grow in turns stand in each other's way. */
static void grow_two(size_t step, size_t top)
{
	char *p = NULL, *q = NULL;
	size_t n;

	for (n = step; n <= top; n += step) {
		p = realloc(p, n);
		q = realloc(q, n);
		CHECK(p && q);
		memset(p + n - step, 1, step);
		memset(q + n - step, 2, step);
	}
	CHECK(test_all(p, top, 1) && test_all(q, top, 2));
	free(p);
	free(q);
}

/* Prints the milliseconds of each kind of growth; checks their peaks. */
static void growth(void)
{
	long begin = milliseconds(), times[4];
	size_t base = peak();

	grow_by(8, 16 * MIB);
	times[0] = milliseconds() - begin;
	CHECKF(peak() < base + 32 * MIB, "8 B at a time: %zu", peak());
	grow_two(4096, 32 * MIB);
	times[1] = milliseconds() - begin - times[0];
	CHECKF(peak() < base + 128 * MIB, "two in turns: %zu", peak());
	grow_by(4096, 96 * MIB);
	times[2] = milliseconds() - begin - times[0] - times[1];
	CHECKF(peak() < base + 192 * MIB, "4 KiB at a time: %zu", peak());
	grow_double();
	times[3] = milliseconds() - begin - times[0] - times[1] - times[2];
	CHECKF(peak() < base + 192 * MIB, "doubling: %zu", peak());
	dprintf(1, "%ld %ld %ld %ld\n", times[0], times[1], times[2], times[3]);
}

/* For a program with the set-user-ID bit */
static void secure(void)
{
	workload();
	dprintf(1, "secure=%lu\n", getauxval(AT_SECURE));
}

#define LOAD_NUMBER \
	BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr))
#define RETURN(what) BPF_STMT(BPF_RET | BPF_K, what)
#define CALL(number, what) \
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1), RETURN(what)
#define DENY(number) CALL(number, SECCOMP_RET_ERRNO | EPERM)
#define ALLOW(number) CALL(number, SECCOMP_RET_ALLOW)

static void filter(struct sock_filter *code, size_t length)
{
	struct sock_fprog program = { (unsigned short)length, code };

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
		SKIP("this kernel has no seccomp filters\n");
}

static void *workload_thread(void *arg)
{
	workload();
	return arg;
}

/* A sandbox that knows nothing of the calls an allocator likes to use */
static void sandbox(void)
{
	struct sock_filter code[] = { LOAD_NUMBER,
				      DENY(SYS_mremap),
				      DENY(SYS_madvise),
				      DENY(SYS_prctl),
				      DENY(SYS_getrandom),
				      DENY(SYS_membarrier),
				      DENY(SYS_sched_getaffinity),
				      DENY(SYS_openat),
				      RETURN(SECCOMP_RET_ALLOW) };
	pthread_t thread;
	int i;

	filter(code, COUNT(code));
	workload();
	for (i = 0; i < 3; i++) {
		CHECK(pthread_create(&thread, NULL, workload_thread, NULL) ==
		      0);
		CHECK(pthread_join(thread, NULL) == 0);
	}
}

/* A sandbox where mmap and munmap are all that there is */
static void strict_sandbox(void)
{
	struct sock_filter code[] = { LOAD_NUMBER,
				      ALLOW(SYS_mmap),
				      ALLOW(SYS_munmap),
				      ALLOW(SYS_brk),
				      ALLOW(SYS_futex),
				      ALLOW(SYS_write),
				      ALLOW(SYS_exit_group),
				      ALLOW(SYS_rt_sigreturn),
				      RETURN(SECCOMP_RET_ERRNO | EPERM) };

	filter(code, COUNT(code));
	workload();
}

/* munmap fails for want of mappings: nothing may abort or be forgotten. */
static void munmap_fails(void)
{
	struct sock_filter code[] = {
		LOAD_NUMBER, CALL(SYS_munmap, SECCOMP_RET_ERRNO | ENOMEM),
		RETURN(SECCOMP_RET_ALLOW)
	};
	size_t begin, rss, i, n;
	char *p;

	free(malloc(MIB));
	begin = test_status("VmSize:");
	rss = test_rss();
	filter(code, COUNT(code));
	for (i = 0; i < 3000; i++) {
		n = MIB + i % 7 * 100000;
		p = malloc(n);
		CHECK(p);
		memset(p, 1, n);
		errno = 1234;
		free(p);
		CHECK(errno == 1234);
	}
	CHECKF(test_status("VmSize:") < begin + 512 * MIB, "%zu MiB mapped",
	       (test_status("VmSize:") - begin) / MIB);
	CHECKF(test_rss() < rss + 128 * MIB, "%zu MiB resident",
	       (test_rss() - rss) / MIB);
	workload();
}

/*
 * Two blocks of each of 96 sizes: they have to share pages. Those of files do
 * not count, which the kernel maps sixteen at a time or not.
 */
static void many_sizes(void)
{
	size_t begin = test_status("RssAnon:"), live = 0, n, kept;

	for (n = 16; n <= 16 * KIB; n += n < KIB ? 16 : n / 8) {
		memset(malloc(n), 1, n);
		memset(malloc(n), 1, n);
		live += 2 * n;
	}
	kept = test_status("RssAnon:") - begin;
	CHECKF(kept < live + 220 * KIB, "%zu KiB for %zu", kept / KIB,
	       live / KIB);
}

/* What a vector load at the end of a small block may reach is there. */
static void page_edges(void)
{
	uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
	unsigned char in;
	size_t n, i;

	for (n = 16; n <= KIB; n += 16)
		for (i = 0; i < 300; i++) {
			char *p = malloc(n);
			uintptr_t end = (uintptr_t)p + n + 63;

			memset(p, 1, n);
			CHECKF(!mincore((char *)(end & -page), 1, &in) &&
				       in & 1,
			       "block %zu of %zu bytes: %p", i, n, (void *)p);
		}
}

#define CASES(X) \
	X(starts) \
	X(locked_start) \
	X(tight) \
	X(altered) \
	X(exhaust) \
	X(exhaust_in_threads) \
	X(locked) \
	X(falls) \
	X(scattered) \
	X(rounds) \
	X(bound) \
	X(few_mappings) \
	X(many_mappings) \
	X(mappings_bounded) \
	X(committed) \
	X(fragmentation) \
	X(growth) \
	X(many_sizes) \
	X(page_edges) \
	X(secure) \
	X(sandbox) \
	X(strict_sandbox) \
	X(munmap_fails)

static const struct test cases[] = { CASES(TEST_ROW) };

int main(int argc, char **argv)
{
	return test_main(cases, COUNT(cases), argc, argv);
}
