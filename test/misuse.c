/*
 * misuse.c - what the allocator does with programs that misuse it.
 *
 * misuse GROUP...            run the groups, print each case that went wrong
 * misuse --case NAME A B C   be one case: one small program, one mistake
 *
 * A group starts every case as a process of its own with $TEST_SO preloaded
 * and compares how it ended and all that it wrote to descriptor 2: a mistake
 * costs one line and SIGABRT, an honest program neither. The options of the
 * allocator come from the environment of the group.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <malloc.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#define LEN(a) ((long)(sizeof(a) / sizeof((a)[0])))
#define PAGE 4096l
#define GRAIN 16l
#define UNIT 65536l
#define CHUNK (4l << 20)
#define SLAB_MAX 8192l          /* larger blocks are extents, */
#define EXTENT_MAX (256l << 10) /* and these mappings */
#define MANY 10000
#define SPARE 64   /* blocks taken beyond those freed */
#define ENOUGH 600 /* more than a list of fresh blocks may hold */
#define NOTE_FD 3  /* where a case says which pointer it misuses */
#define LIMIT 20   /* seconds for one case, SLOW times as many if that is set */

#define REQUIRE(x) \
	do { \
		if (!(x)) { \
			dprintf(2, "%s:%d: %s\n", __FILE__, __LINE__, #x); \
			exit(1); \
		} \
	} while (0)

/*
 * One of each kind: smallest, small, a handful a slab; extents that a thread
 * keeps when they are freed, one that goes back; mappings of their own.
 */
static const long sizes[] = { 16,    64,    1000,   5000,   8000,
			      20000, 60000, 200000, 300000, 16l << 20 };

static void *other[2 * MANY + 2 * SPARE];
static volatile unsigned long sink;

/* The compiler is not to know that a pointer is stale or bent. */
static void *hide(const void *p)
{
	volatile uintptr_t u = (uintptr_t)p;

	return (void *)u;
}

static void *shift(const void *p, long by)
{
	return hide((const void *)((uintptr_t)p + (uintptr_t)by));
}

static void *down(const void *p, long to)
{
	return hide((const void *)((uintptr_t)p & -(uintptr_t)to));
}

static void note(const void *p)
{
	/* run by hand, that descriptor is somebody else's */
	if (getenv("MISUSE_NOTE") && write(NOTE_FD, &p, sizeof(p)) < 0)
		errno = 0;
}

/* ---- blocks handed out, so that none is handed out twice -------------- */

static void *seen[1 << 16];

static void *take_one(size_t size)
{
	void *p = malloc(size);
	size_t at = ((uintptr_t)p >> 4) * 0x9e3779b97f4a7c15ull >> 48;

	REQUIRE(p);
	for (; seen[at]; at = (at + 1) % LEN(seen))
		REQUIRE(seen[at] != p);
	seen[at] = p;
	return p;
}

static void take(long n, size_t size)
{
	while (n--)
		take_one(size);
}

/* The first blocks of a size are lent by larger classes: those are taken. */
static void past_lent(size_t size)
{
	for (int i = 0; i < ENOUGH; i++)
		REQUIRE(malloc(size));
}

/* ---- threads that do one thing when told ------------------------------ */

struct worker {
	pthread_t id;
	sem_t go, done;
	void (*job)(void *);
	void *arg;
	int alive;
};

static struct worker workers[6];

static void *worker_main(void *arg)
{
	struct worker *w = arg;

	for (;;) {
		while (sem_wait(&w->go))
			;
		if (!w->job)
			return NULL;
		w->job(w->arg);
		sem_post(&w->done);
	}
}

static void worker_tell(struct worker *w, void (*job)(void *), void *arg)
{
	if (!w->alive) {
		REQUIRE(!sem_init(&w->go, 0, 0) && !sem_init(&w->done, 0, 0));
		REQUIRE(!pthread_create(&w->id, NULL, worker_main, w));
		w->alive = 1;
	}
	w->job = job;
	w->arg = arg;
	sem_post(&w->go);
	if (job) {
		while (sem_wait(&w->done))
			;
	} else {
		pthread_join(w->id, NULL);
		w->alive = 0;
	}
}

/* Thread 'A' is main, the others are workers, gone afterwards if `leave`. */
static void in_thread(int who, void (*job)(void *), void *arg, int leave)
{
	if (who == 'A') {
		job(arg);
		return;
	}
	worker_tell(&workers[who - 'B'], job, arg);
	if (leave)
		worker_tell(&workers[who - 'B'], NULL, NULL);
}

/* ---- double free ------------------------------------------------------ */

enum { EXIT_ONLY, EXIT_LATE, EXHAUST, LATE, MIXED, HOWS };

static const long depths[] = { 0, 1, 2, 10, 100, MANY };

/* Calls that fill and empty other lists. */
static void busy(void)
{
	for (size_t n = 0; n < 3000; n++)
		free(malloc(n));
}

/* Free a block, `depth` others, the block again; then want them all back. */
static int case_double(long size, long depth, long how)
{
	void *p = NULL;

	for (long i = 0; i <= depth; i++) {
		long s = how == MIXED && i % 3 ? 16 + i * 40 % 5000 : size;

		if (i == depth / 2)
			p = malloc((size_t)size);
		other[i] = malloc((size_t)s);
		REQUIRE(other[i]);
	}
	REQUIRE(p);
	note(p);
	free(p);
	for (long i = 0; i < depth; i++)
		free(other[i]);
	free(hide(p));
	if (how == EXIT_LATE || how == LATE)
		busy();
	if (how >= EXHAUST)
		take(depth + SPARE, (size_t)size);
	return 0;
}

/* First letter: who allocates. Then: who frees, in this order. */
static const char *const orders[] = { "AAB", "ABA", "ABB", "ABC", "BAA",
				      "BAB", "BBA", "BAC", "BCA" };

static size_t job_size;

static void job_malloc(void *arg)
{
	*(void **)arg = malloc(job_size);
}

static void job_free(void *arg)
{
	free(hide(arg));
}

static void job_free_others(void *arg)
{
	for (void **p = arg; *p; p++)
		free(*p);
}

static void job_take(void *arg)
{
	(void)arg;
	take(SPARE, job_size);
}

static void job_warm(void *arg)
{
	(void)arg;
	free(malloc(100));
}

/*
 * What a thread has gathered for the owner arrives when it exits, if not
 * before; then the owner must not have the block twice. The threads are there
 * from the start: to make one takes memory, and that could be the block's.
 * With `leave` a thread does but one thing, and letters go on to 'G'.
 */
static int remote(long size, long order, long depth, int leave)
{
	char who[4];
	void *p = NULL;
	size_t usable;

	strcpy(who, orders[order]);
	for (int i = 1; leave && i < 3; i++)
		if (who[i] != 'A')
			who[i] = (char)(who[i] + 2 * i);
	for (int w = 'B'; w <= 'G'; w++)
		in_thread(w, job_warm, NULL, 0);
	job_size = (size_t)size;
	in_thread(who[0], job_malloc, &p, 0);
	REQUIRE(p);
	usable = malloc_usable_size(p);
	for (long i = 0; i < depth; i++)
		in_thread(who[0], job_malloc, &other[i], 0);
	if (leave && who[0] != 'A')
		worker_tell(&workers[who[0] - 'B'], NULL, NULL);
	note(p);
	in_thread(who[1], job_free, p, 0);
	in_thread(who[1], job_free_others, other, leave);
	in_thread(who[2], job_free, p, leave);
	for (int w = 'G'; w >= 'A'; w--)
		in_thread(w, job_take, NULL, 1);
	take(depth + ENOUGH, job_size);
	if (usable <= (size_t)SLAB_MAX) /* it may be lent by a larger class */
		take(ENOUGH, usable);
	return 0;
}

static int case_remote(long size, long order, long depth)
{
	return remote(size, order, depth, 0);
}

static int case_remote_leave(long size, long order, long depth)
{
	return remote(size, order, depth, 1);
}

/* Every thread makes the same mistake at the same time. */
static void *double_main(void *arg)
{
	void *p = malloc(100);

	pthread_barrier_wait(arg);
	free(p);
	free(hide(p));
	take(SPARE, 100);
	return NULL;
}

static int case_crowd(long n, long b, long c)
{
	pthread_barrier_t line;
	pthread_t id[8];

	(void)b, (void)c;
	REQUIRE(n <= LEN(id));
	REQUIRE(!pthread_barrier_init(&line, NULL, (unsigned int)n));
	for (long i = 0; i < n; i++)
		REQUIRE(!pthread_create(&id[i], NULL, double_main, &line));
	for (long i = 0; i < n; i++)
		pthread_join(id[i], NULL);
	return 0;
}

/* ---- a second free while the first waits to be sent home -------------- */

/* With ALLOC_ABORT=0: has the library said anything so far? */
static off_t reports(void)
{
	struct stat st;

	REQUIRE(!fstat(2, &st));
	return st.st_size;
}

/*
 * A block that is in use, though it was freed twice before: only after a report
 * may any byte of it change, and nobody else ever gets it or a part of it.
 */
static struct {
	char *p;
	size_t size;
	char was[32768];
} live;

static void live_begin(void *p, size_t size)
{
	REQUIRE(size <= sizeof(live.was));
	live.p = p;
	live.size = size;
	memcpy(live.was, p, size);
}

static void live_see(void)
{
	REQUIRE(!live.p || reports() || !memcmp(live.p, live.was, live.size));
}

/* So many blocks of job_size, none of which is a part of the live one */
static void job_live_take(void *arg)
{
	char *p;

	for (long n = *(long *)arg; n > 0; n--) {
		p = take_one(job_size);
		REQUIRE(!live.p || p + job_size <= live.p ||
			p >= live.p + live.size);
		live_see();
	}
}

static void *mine[180000]; /* one thread's blocks, in no order */

/* Moves `n` blocks of the slab of `p`, but not `p`, to the list. */
static long slab_mates(void *p, long count, void **to, long n)
{
	long found = 0;

	for (long i = 0; i < count && found < n; i++) {
		if (!mine[i] || mine[i] == p ||
		    down(mine[i], UNIT) != down(p, UNIT))
			continue;
		to[found++] = mine[i];
		mine[i] = NULL;
	}
	to[found] = NULL;
	return found;
}

/*
 * Take all that the magazine has for this size: the link of a block that was
 * just freed, and is the next to be had, says whether there are others. No
 * program may look there.
 */
static void drain_magazine(size_t size)
{
	uintptr_t *p, *q, link;

	for (int i = 0; i < 2000; i++) {
		p = malloc(size);
		free(p);
		link = *(uintptr_t *)hide(p);
		q = malloc(size);
		if (p == q && !link)
			break;
	}
}

/* How many blocks of a size wait for one another, at most */
static long batch_of(long size)
{
	return size > 4096 ? 1 : size > 1024 ? 2 : size > 128 ? 8 : 64;
}

/* A has so many blocks, of which this one is going to be freed twice. */
static void *own_blocks(long count)
{
	for (int w = 'B'; w <= 'D'; w++)
		in_thread(w, job_warm, NULL, 0);
	for (long i = 0; i < count; i++)
		REQUIRE(mine[i] = malloc(job_size));
	return mine[count / 2];
}

/* B frees `before` blocks of the slab, and then `p`: they wait for others. */
static void wait_in_batch(void *p, long count, long before)
{
	slab_mates(p, count, other, before);
	in_thread('B', job_free_others, other, 0);
	in_thread('B', job_free, p, 0);
}

/* Frees again what B freed; may get it, and fill it. */
static void free_and_use(void *p, int again, int fill)
{
	void *q;

	free(hide(p));
	q = again ? malloc(job_size) : NULL;
	if (q)
		live_begin(memset(q, fill, job_size), job_size);
}

/* All that is free is taken, by all threads. */
static void take_all(long count)
{
	long few = ENOUGH;

	count += ENOUGH;
	job_live_take(&count);
	in_thread('B', job_live_take, &few, 1);
	in_thread('C', job_live_take, &few, 1);
}

enum { AGAIN = 1, DRAINED = 2, LEAVES = 4, LATE_WAYS = 8 };

/*
 * B frees some blocks of A's slab, and among them p: they wait. A frees p, too:
 * the quick way does not look. It may get p back, and use it. Then B has more
 * of the slab, or ends, and all of them are sent home.
 */
static int case_late_batch(long size, long before, long how)
{
	long count = 2 * UNIT / size + 200;
	void *p, *spare[3];

	job_size = (size_t)size;
	p = own_blocks(count);
	/* Else its links go on in A's list: all that shows is that they do. */
	if (how & AGAIN || !before)
		note(p);
	for (int i = 0; i < LEN(spare); i++) {
		spare[i] = mine[i];
		mine[i] = NULL;
	}
	if (how & DRAINED)
		drain_magazine(job_size);
	for (int i = 0; i < LEN(spare) && !(how & DRAINED); i++)
		free(spare[i]);
	wait_in_batch(p, count, before);
	free_and_use(p, how & AGAIN, how & LEAVES ? 0 : 0x5a);
	slab_mates(p, count, other, batch_of(size) - before - 1);
	if (!(how & LEAVES))
		in_thread('B', job_free_others, other, 0);
	else
		in_thread('B', job_warm, NULL, 1);
	live_see();
	for (long i = 0; i < count; i++) {
		if (mine[i] != p)
			free(mine[i]);
		live_see();
	}
	take_all(count);
	return 0;
}

/* How large the slots for blocks of `size` bytes are, up to 512. */
static long slot_of(long size)
{
	const char *check = getenv("ALLOC_CHECK");
	long tail = !check || *check == '1' ? 0 : *check == '2' ? 8 : 24;

	return (size + tail + 15) & -16l;
}

/* D frees all blocks but those of the slab of `p`, and ends: they go home. */
static void empty_slabs(void *p, long count)
{
	static void *gone[LEN(mine) + 1];
	long n = 0;

	for (long i = 0; i < count; i++) {
		if (down(mine[i], UNIT) == down(p, UNIT))
			continue;
		gone[n++] = mine[i];
		mine[i] = NULL;
	}
	in_thread('D', job_free_others, gone, 1);
}

/*
 * The same while A sleeps on more than 2 MiB of slabs that D has emptied: those
 * that follow have their memory given back, by the count of blocks alone. The
 * count is right, but one of the blocks was freed twice and is in use.
 */
static int case_late_purge(long size, long before, long drain)
{
	long count = 44 * UNIT / slot_of(size), left;
	void *p;

	job_size = (size_t)size;
	p = own_blocks(count);
	note(p);
	if (drain)
		drain_magazine(job_size);
	empty_slabs(p, count);
	wait_in_batch(p, count, before);
	free_and_use(p, 1, 0x5a);
	do {
		left = slab_mates(p, count, other, MANY);
		in_thread('B', job_free_others, other, 0);
		live_see();
	} while (left);
	in_thread('B', job_warm, NULL, 1);
	live_see();
	take_all(ENOUGH);
	for (long n = 16; n < 8 * UNIT; n *= 2)
		for (int i = 0; i < 64; i++) {
			memset(malloc((size_t)n), 0xa5, (size_t)n);
			live_see();
		}
	return 0;
}

/* ---- the ways into the allocator that take a pointer ------------------ */

enum {
	FREE,
	REALLOC,
	USABLE,
	FITS, /* realloc to the same size */
	WARM, /* realloc while there are free blocks of the new size */
	ARRAY,
	ZERO,
	SIZED,
	ASIZED,
	CFREE,
	DELETE,
	DELETE_SIZED,
	DELETE_ARRAY,
	OPS,
	AS_TOLD /* realloc to step_size */
};

static size_t step_size;

static void call(int op, void *p, size_t size)
{
	static const char *const name[OPS] = {
		[SIZED] = "free_sized",     [ASIZED] = "free_aligned_sized",
		[CFREE] = "cfree",          [DELETE] = "_ZdlPv",
		[DELETE_SIZED] = "_ZdlPvm", [DELETE_ARRAY] = "_ZdaPv"
	};
	union {
		void *any;
		void (*one)(void *);
		void (*two)(void *, size_t);
		void (*three)(void *, size_t, size_t);
	} f;

	switch (op) {
	case FREE: free(p); return;
	case REALLOC: other[0] = realloc(p, 2 * size); return;
	case USABLE: sink = malloc_usable_size(p); return;
	case FITS: other[0] = realloc(p, size); return;
	case WARM:
		if (size < UNIT / 2) /* else it might be this block's memory */
			free(malloc(2 * size));
		other[0] = realloc(p, 2 * size);
		return;
	case ARRAY: other[0] = reallocarray(p, 3, size); return;
	case AS_TOLD: other[0] = realloc(p, step_size); return;
	case ZERO: other[0] = realloc(p, 0); return;
	}
	f.any = dlsym(RTLD_DEFAULT, name[op]);
	REQUIRE(f.any);
	if (op == SIZED || op == DELETE_SIZED)
		f.two(p, size);
	else if (op == ASIZED)
		f.three(p, 16, size);
	else
		f.one(p);
}

/* What the line calls the mistake. */
static const char *op_text(int op)
{
	if (op == USABLE)
		return "usable size of";
	return op >= REALLOC && op <= ZERO ? "realloc of" : "free of";
}

/* A block given back by one entry point, used again through another. */
static int case_entry(long size, long first, long second)
{
	void *wall[8], *p = malloc((size_t)size);

	for (int i = 0; i < LEN(wall); i++)
		wall[i] = malloc((size_t)size);
	REQUIRE(p && wall[7]);
	note(p);
	if (first == REALLOC)
		REQUIRE(realloc(p, 64 * (size_t)size) != hide(p));
	else
		call((int)first, p, (size_t)size);
	call((int)second, hide(p), (size_t)size);
	take(SPARE, (size_t)size);
	return 0;
}

/* The same, long after the block was freed. */
static int case_stale(long size, long op, long depth)
{
	void *p = NULL;

	for (long i = 0; i < depth; i++) {
		if (i == depth / 2)
			p = malloc((size_t)size);
		other[i] = malloc((size_t)size);
	}
	REQUIRE(p);
	note(p);
	free(p);
	for (long i = 0; i < depth; i += 2)
		free(other[i]);
	call((int)op, hide(p), (size_t)size);
	return 0;
}

/* ---- pointers near a block -------------------------------------------- */

enum {
	ONE,
	EIGHT,
	SIXTEEN,
	HALF,
	BEFORE,
	NEXT_PAGE,
	NEXT_UNIT,
	NEXT_CHUNK,
	THIS_CHUNK,
	PAST,
	NEARS
};

#define FREED 100 /* added to the kind: the block is free */

/* NULL: a block of this size has no such place. */
static void *near(void *p, size_t size, int kind)
{
	void *end = shift(p, (long)size), *q = NULL;

	switch (kind) {
	case ONE: return shift(p, 1);
	case EIGHT: return shift(p, 8);
	case SIXTEEN: q = shift(p, 16); break;
	case HALF: q = down(shift(p, (long)size / 2), 16); break;
	case BEFORE: return size > 16 ? shift(p, -16) : NULL;
	case NEXT_PAGE: q = down(shift(p, PAGE), PAGE); break;
	case NEXT_UNIT: q = down(shift(p, UNIT), UNIT); break;
	case NEXT_CHUNK: q = down(shift(p, CHUNK), CHUNK); break;
	case THIS_CHUNK: q = down(p, CHUNK); return q == p ? NULL : q;
	case PAST:
		if (size <= (size_t)SLAB_MAX)
			return NULL;
		return shift(p, (long)malloc_usable_size(p));
	}
	return q > p && q < end ? q : NULL;
}

static int case_near(long size, long op, long kind)
{
	void *wall[4], *p, *q;

	for (int i = 0; i < LEN(wall); i++)
		wall[i] = malloc((size_t)size);
	p = malloc((size_t)size);
	REQUIRE(p && wall[0]);
	q = near(p, (size_t)size, (int)kind % FREED);
	if (!q)
		return 77;
	if (kind >= FREED)
		free(p);
	note(q);
	call((int)op, q, (size_t)size);
	return 0;
}

/* The last slot that starts in a unit; no block has room there. */
static int case_beyond(long size, long op, long unused)
{
	long slot = slot_of(size);
	char *p, *top = NULL;

	(void)unused;
	past_lent((size_t)size);
	p = malloc((size_t)size);
	REQUIRE(p);
	/* At best nothing is behind it: the last unit of the last chunk. */
	for (int i = 0; i < 40000; i++) {
		char *q = malloc((size_t)size);

		if ((long)((uintptr_t)q % CHUNK) >= CHUNK - UNIT && q > top)
			top = q;
	}
	p = (char *)down(top ? top : p, UNIT) + (UNIT - 1) / slot * slot;
	note(p);
	call((int)op, hide(p), (size_t)size);
	return 0;
}

/* A slot that was in use when the slab was another one, and is not yet now. */
static int case_recycled(long size, long trim, long thread)
{
	size_t slot = (size_t)slot_of(size), at = 0;
	char *p = NULL, *q = NULL;
	int i, k;

	past_lent((size_t)size);
	for (i = 0; i < MANY; i++)
		other[i] = malloc(2 * slot);
	for (i = 0; i < MANY; i++)
		free(other[i]);
	for (i = 0; i < 20000 && !p; i++) {
		q = memset(take_one((size_t)size), 1, (size_t)size);
		at = (size_t)(q - (char *)down(q, UNIT)) + UNIT / 4;
		for (k = 0; k < MANY && !p; k++)
			if (down(other[k], UNIT) == down(q, UNIT) &&
			    (uintptr_t)other[k] % UNIT > at &&
			    (uintptr_t)other[k] % UNIT % slot == 0)
				p = other[k];
	}
	REQUIRE(p);
	note(p);
	if (thread) {
		in_thread('B', job_free, hide(p), 0);
		return 0;
	}
	free(hide(p));
	if (trim) { /* all but one block of the slab go, and so would it */
		memset(malloc((size_t)size), 1, (size_t)size);
		for (i = 0; i < LEN(seen); i++)
			free(seen[i]);
		malloc_trim(0);
		return 0;
	}
	for (i = 0; i < 4000; i++)
		memset(take_one((size_t)size), 1, (size_t)size);
	return 0;
}

/* ---- extents, which have no links, and pages of slabs ------------------ */

enum {
	KEPT,
	ELSEWHERE,
	RETURNED,
	MERGED,
	CUT,
	CUT_USED,
	PURGED,
	AS_SLAB,
	STATES
};

/* An extent that is free in one of these ways, or a part of one that is not. */
static int case_extent(long size, long state, long op)
{
	char *p[24], *q;

	for (int i = 0; i < LEN(p); i++)
		REQUIRE(p[i] = memset(malloc((size_t)size), 1, (size_t)size));
	q = p[8];
	switch (state) {
	case KEPT: free(q); break;
	case ELSEWHERE: in_thread('B', job_free, q, 0); break;
	case RETURNED:
		for (int i = 8; i < LEN(p); i += 2)
			free(p[i]);
		break;
	case MERGED:
		for (int i = 0; i < 20; i++)
			free(p[i]);
		break;
	case CUT:
	case CUT_USED:
		REQUIRE(realloc(p[8], (size_t)size / 3) == p[8]);
		q = down(q + size / 3 * 2, 64);
		for (int i = 0; i < 100 && state == CUT_USED; i++)
			REQUIRE(malloc((size_t)size / 2 + 64) != q);
		break;
	case PURGED:
		for (int i = 0; i < 20; i++)
			free(p[i]);
		malloc_trim(0);
		break;
	case AS_SLAB:
		for (int i = 0; i < 20; i++)
			free(p[i]);
		malloc_trim(0);
		for (int i = 0; i < 8000; i++)
			memset(malloc(1000), 1, 1000);
		if ((uintptr_t)q % 1024 == 0)
			q += 64;
		break;
	}
	note(q);
	call((int)op, hide(q), (size_t)size);
	return 0;
}

enum { FIRST, TRIMMED, REMOTE, FILLED, TIMES };

/*
 * All blocks of a class but one a slab are free, and the pages that they have
 * to themselves are given back: before or after that one is freed again.
 */
static int case_hole(long size, long when, long op)
{
	long n = 40 * UNIT / size, k = n / 2;
	char *p = NULL, *last = NULL;

	past_lent((size_t)size);
	for (long i = 0; i < n; i++) {
		mine[i] = malloc((size_t)size);
		memset(mine[i], 1, (size_t)size);
	}
	for (; !p || down(p, UNIT) == down(mine[k], UNIT); k++)
		p = mine[k]; /* the last that is in a slab with others */
	for (long i = 0; i < n; i++) {
		char *q = mine[i];

		if (last && down(last, UNIT) == down(q, UNIT) &&
		    q != shift(down(q, UNIT), 0) && q != p)
			free(q);
		else if (q != p)
			last = q;
	}
	free(p);
	note(p);
	if (when == FIRST)
		call((int)op, hide(p), (size_t)size);
	malloc_trim(0);
	if (when == FILLED)
		for (long i = 0; i < n / 2; i++)
			if (memset(malloc((size_t)size), 2, (size_t)size) == p)
				return 77; /* it is a block again */
	if (when == REMOTE)
		in_thread('B', job_free, hide(p), 1);
	else if (when != FIRST)
		call((int)op, hide(p), (size_t)size);
	for (long i = 0; i < n; i++)
		memset(take_one((size_t)size), 3, (size_t)size);
	malloc_trim(0);
	return 0;
}

/* Blocks of slabs whose pages come and go keep what is in them. */
static int case_pages(long size, long rounds, long keep)
{
	static unsigned char byte[LEN(mine)];
	unsigned int seed = 7;
	long n = 40 * UNIT / size;

	for (long round = 0; round < rounds; round++) {
		for (long i = 0; i < n; i++) {
			if (mine[i])
				continue;
			byte[i] = (unsigned char)rand_r(&seed);
			mine[i] = malloc((size_t)size);
			memset(mine[i], byte[i], (size_t)size);
		}
		for (long i = 0; i < n; i++) {
			unsigned char *p = mine[i];

			for (long at = 0; at < size; at++)
				REQUIRE(p[at] == byte[i]);
			if (rand_r(&seed) % (unsigned int)keep == 0)
				continue;
			if (i % 5)
				free(p);
			else
				in_thread('B', job_free, p, 0);
			mine[i] = NULL;
		}
		malloc_trim(0);
	}
	return 0;
}

/* A mapping whose header was elsewhere before. */
static int case_moved(long size, long align, long size2)
{
	char *p = aligned_alloc((size_t)align, (size_t)size), *q;

	note(p);
	free(p);
	q = aligned_alloc((size_t)(PAGE + GRAIN - align), (size_t)size2);
	q[0] = q[size2 - 1] = 'q';
	free(hide(p));
	return 0;
}

/* A slot of a slab that was never handed out. */
static int case_unused(long size, long ahead, long op)
{
	char *top = NULL;
	size_t slot;

	past_lent((size_t)size);
	for (int i = 0; i < 40; i++) {
		char *p = malloc((size_t)size);

		REQUIRE(p);
		if (p > top)
			top = p;
	}
	slot = malloc_usable_size(top);
	if (down(top, UNIT) != down(top + (ahead + 1) * (long)slot, UNIT))
		return 77;
	top += (long)slot * ahead;
	note(top);
	call((int)op, hide(top), (size_t)size);
	/* Blocks in use have contents: that is how this one shows. */
	for (int i = 0; i < 8 * SPARE; i++)
		memset(take_one((size_t)size), 1, (size_t)size);
	return 0;
}

/* ---- pointers that were never a block --------------------------------- */

static char array[64] __attribute__((aligned(16)));
static __thread char local[64] __attribute__((aligned(16)));

static void *area(int prot, int fill)
{
	char *p = mmap(NULL, 2 * CHUNK, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	REQUIRE(p != MAP_FAILED);
	memset(p, fill, 2 * CHUNK);
	REQUIRE(!mprotect(p, 2 * CHUNK, prot));
	return p;
}

enum {
	STACK,
	STATIC,
	TLS,
	LITERAL,
	CODE,
	LIBC,
	BRK,
	OPEN_AREA,
	FULL_AREA,
	ODD_AREA,
	CHUNK_AREA,
	SHUT_AREA,
	GONE_AREA,
	ENVIRON,
	FIXED
};

static const uintptr_t fixed[] = { 1,
				   8,
				   16,
				   4096,
				   65536,
				   4u << 20,
				   1ull << 32,
				   1ull << 46,
				   0x7ffffffff000,
				   0x7ffffffffff0,
				   0x800000000000,
				   0x800000000010,
				   0xdeadbeefdeadbee0,
				   1ull << 63,
				   0xffff800000000000,
				   0xffffffff81000000,
				   0xffffffffff600000,
				   -4096ull,
				   -16ull,
				   -1ull };

static void *foreign(long kind, void *stack)
{
	union {
		int (*f)(long, long, long);
		void *p;
	} code = { case_double };
	char *p;

	switch (kind) {
	case STACK: return stack;
	case STATIC: return array;
	case TLS: return local;
	case LITERAL: return shift("abc", 0);
	case CODE: return code.p;
	case LIBC: return dlsym(RTLD_DEFAULT, "getpid");
	case BRK: return down(shift(sbrk(4 * PAGE), PAGE), PAGE);
	case OPEN_AREA: return area(PROT_READ | PROT_WRITE, 0);
	case FULL_AREA: return area(PROT_READ | PROT_WRITE, 255);
	case ODD_AREA: return shift(area(PROT_READ, 1), 4160);
	case CHUNK_AREA: return down(shift(area(PROT_READ, 0), CHUNK), CHUNK);
	case SHUT_AREA: return area(PROT_NONE, 0);
	case GONE_AREA:
		p = area(PROT_READ, 0);
		REQUIRE(!munmap(p, 2 * CHUNK));
		return p;
	case ENVIRON: return down(environ[0], 16);
	}
	return hide((void *)fixed[kind - FIXED]);
}

static int case_foreign(long op, long kind, long warm)
{
	char stack[64] __attribute__((aligned(16)));
	void *p;

	/* once as the first call of the program, once with a heap there */
	for (long i = 0; i < warm; i++)
		other[i] = malloc((size_t)sizes[i % LEN(sizes)]);
	p = foreign(kind, stack);
	note(p);
	call((int)op, p, 100);
	return 0;
}

/* ---- writing to freed memory ------------------------------------------ */

enum {
	GARBAGE,
	TO_STACK,
	TO_STATIC,
	TO_SELF,
	LOW_BIT,
	HIGH_BIT,
	ZEROES,
	ONES,
	ALL_ZERO,
	ALL_GARBAGE,
	CLOBBERS
};

static void clobber(void *block, size_t size, int how)
{
	char on_stack[64] __attribute__((aligned(16)));
	uintptr_t *p = block;

	switch (how) {
	case GARBAGE: p[0] = 0x4141414141414141; break;
	case TO_STACK: p[0] = (uintptr_t)on_stack; break;
	case TO_STATIC: p[0] = (uintptr_t)array; break;
	case TO_SELF: p[0] = (uintptr_t)p; break;
	case LOW_BIT: p[0] ^= 8; break;
	case HIGH_BIT: p[0] ^= 1ull << 62; break;
	case ZEROES: p[0] = 0; break;
	case ONES: p[0] = -1ul; break;
	case ALL_ZERO: memset(p, 0, size); break;
	case ALL_GARBAGE: memset(p, 0x41, size); break;
	}
}

/* The block at the head of its list (depth 0), or deeper in it. */
static int case_clobber(long size, long how, long depth)
{
	void *wall[4], *p;

	for (int i = 0; i < LEN(wall); i++)
		wall[i] = malloc((size_t)size);
	p = malloc((size_t)size);
	REQUIRE(p && wall[3]);
	for (long i = 0; i < depth; i++)
		other[i] = malloc((size_t)size);
	free(p);
	for (long i = 0; i < depth; i++)
		free(other[i]);
	clobber(hide(p), (size_t)size, (int)how);
	take(depth + ENOUGH, (size_t)size);
	return 0;
}

/* ---- memory that must not be there ------------------------------------ */

/* Blocks with a neighbour behind them, so that a guard has to be made. */
static int case_past_end(long size, long by, long c)
{
	volatile char *p[4];

	(void)c;
	for (int i = 0; i < LEN(p); i++)
		p[i] = malloc((size_t)size);
	for (int i = 0; i < LEN(p); i++)
		REQUIRE(p[i]);
	p[2][(long)malloc_usable_size(hide((void *)(uintptr_t)p[2])) + by] = 1;
	return 0;
}

enum { TOO_LARGE, HUGE_SIZE, LAST_SIZE, LIMITED };

/*
 * The page behind a block is as inaccessible after a realloc that failed. If
 * nothing at all is there now, something else could be later: it is put there.
 */
static int case_guard_kept(long size, long kind, long times)
{
	static const size_t to[] = { 1ull << 46, PTRDIFF_MAX, SIZE_MAX,
				     1ull << 30 };
	char *wall = malloc((size_t)size), *p = malloc((size_t)size), *end;
	struct rlimit as = { 0, 0 };

	REQUIRE(p && wall);
	end = p + (size + PAGE - 1) / PAGE * PAGE;
	memset(p, 7, (size_t)size);
	if (kind == LIMITED) {
		as.rlim_cur = as.rlim_max = 512l << 20;
		REQUIRE(!setrlimit(RLIMIT_AS, &as));
	}
	while (times--) {
		errno = 0;
		REQUIRE(!realloc(p, to[kind]) && errno == ENOMEM);
	}
	REQUIRE(p[0] == 7 && !memcmp(p, p + 1, (size_t)size - 1));
	REQUIRE(malloc_usable_size(p) >= (size_t)size);
	mmap(end, PAGE, PROT_READ | PROT_WRITE,
	     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	*(volatile char *)hide(end) = 1;
	return 0;
}

static int case_after_free(long size, long write, long c)
{
	volatile char *p = malloc((size_t)size);

	(void)c;
	REQUIRE(p);
	memset(hide((void *)(uintptr_t)p), 1, (size_t)size);
	free(hide((void *)(uintptr_t)p));
	if (write)
		p[size / 2] = 1;
	else
		sink = (unsigned long)p[size / 2];
	return 0;
}

/* ---- misuse while other threads take memory and give it back ---------- */

static volatile int enough;

/* Large blocks come and go, each a mapping of its own. */
static void *large_main(void *arg)
{
	unsigned int seed = (unsigned int)(uintptr_t)arg;
	void *p[8] = { NULL };

	while (!enough) {
		unsigned int r = (unsigned int)rand_r(&seed);

		free(p[r % LEN(p)]);
		p[r % LEN(p)] = malloc(EXTENT_MAX + 1 + r / 8 % (8 * UNIT));
	}
	for (int i = 0; i < LEN(p); i++)
		free(p[i]);
	return NULL;
}

/* Free what is none of ours: with ALLOC_ABORT=0 each call is told of. */
static void free_foreign(void *p)
{
	off_t before = reports();

	free(hide(p));
	REQUIRE(reports() > before);
}

/*
 * Pointers that nobody gave out lie behind and before the region where the
 * blocks of others come and go. To say what they are the library may look at
 * these blocks: but not at those that are just going.
 */
static int case_going(long seconds, long threads, long c)
{
	char *top = mmap(NULL, CHUNK, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS,
			 -1, 0);
	time_t end = time(NULL) + seconds;
	unsigned int seed = 3;
	pthread_t id[4];

	(void)c;
	REQUIRE(top != MAP_FAILED && threads <= LEN(id));
	for (long i = 0; i < threads; i++)
		REQUIRE(!pthread_create(&id[i], NULL, large_main,
					(void *)(i + 1)));
	while (time(NULL) < end)
		for (int i = 0; i < 100; i++) {
			long r = rand_r(&seed);

			free_foreign(top + r % CHUNK / 16 * 16);
			/* No block starts there, whatever is. */
			free_foreign(top - r % (64 * UNIT) - 8);
			free_foreign(down(top - r % (64 * UNIT), PAGE) + 16);
		}
	enough = 1;
	for (long i = 0; i < threads; i++)
		pthread_join(id[i], NULL);
	return 0;
}

static void *at_once; /* what two threads free in the same round */
static long at_once_round, at_once_done;

static void *frees_at_once(void *arg)
{
	for (long round = 1; round <= (long)arg; round++) {
		while (__atomic_load_n(&at_once_round, __ATOMIC_ACQUIRE) <
		       round)
			sched_yield();
		free(hide(at_once));
		__atomic_store_n(&at_once_done, round, __ATOMIC_RELEASE);
	}
	return NULL;
}

/* Two threads free one block at once: one of them is told, and once. */
static int case_at_once(long size, long rounds, long c)
{
	void *wall = malloc((size_t)size), *near[8];
	pthread_t id;

	(void)c;
	free(wall);
	/* To say what the other one is takes less where others are near. */
	for (int i = 0; i < LEN(near); i++)
		near[i] = malloc((size_t)size);
	free(near[0]);
	REQUIRE(!pthread_create(&id, NULL, frees_at_once, (void *)rounds));
	for (long round = 1; round <= rounds; round++) {
		off_t before = reports();

		at_once = malloc((size_t)size);
		REQUIRE(at_once);
		__atomic_store_n(&at_once_round, round, __ATOMIC_RELEASE);
		for (volatile int i = round % 64; i > 0; i--)
			;
		free(hide(at_once));
		while (__atomic_load_n(&at_once_done, __ATOMIC_ACQUIRE) < round)
			sched_yield();
		REQUIRE(reports() > before && reports() < before + 200);
	}
	pthread_join(id, NULL);
	return 0;
}

/* 20 MB of small blocks come and go, and so do the chunks that they are in. */
static void *small_main(void *arg)
{
	size_t size = (size_t)arg;
	long n = 20000000 / (long)size;
	static void *p[20000];

	REQUIRE(n <= LEN(p));
	while (!enough) {
		for (long i = 0; i < n; i++)
			p[i] = malloc(size);
		for (long i = 0; i < n; i++)
			free(p[i]);
	}
	return NULL;
}

/*
 * Stale pointers into chunks that are just going back: to places where no
 * block starts now (`inside`), or where one may, which is then freed.
 */
static int case_chunk_going(long size, long seconds, long inside)
{
	long n = 20000000 / size;
	time_t end = time(NULL) + seconds;
	pthread_t id;

	REQUIRE(n <= LEN(other));
	for (long i = 0; i < n; i++)
		other[i] = malloc((size_t)size);
	/* To say what a pointer is takes less where a block is near. */
	REQUIRE(malloc(24 << 20));
	for (long i = 0; i < n; i++)
		free(other[i]);
	malloc_trim(0);
	REQUIRE(!pthread_create(&id, NULL, small_main, (void *)size));
	while (time(NULL) < end)
		for (long i = 0; i < n; i += 61)
			if (inside)
				free_foreign(shift(other[i], 16));
			else
				free(hide(other[i]));
	enough = 1;
	pthread_join(id, NULL);
	return 0;
}

/*
 * What a free does is interrupted after so many of its instructions, by single
 * steps of the processor: another thread does its job there, unless that needs
 * a lock which is held. All that may happen between two instructions is tried.
 */
static struct {
	long left; /* steps before the job is to be done; 0: it was */
	struct worker *w;
	int pending;
} step;

static void on_step(int sig, siginfo_t *info, void *context)
{
	struct timespec now, start;

	(void)sig, (void)info;
	if (--step.left > 0)
		return;
#ifdef __x86_64__
	((ucontext_t *)context)->uc_mcontext.gregs[REG_EFL] &= ~0x100l;
#else
	(void)context;
#endif
	step.pending = 1;
	sem_post(&step.w->go);
	clock_gettime(CLOCK_MONOTONIC, &start);
	do {
		step.pending = sem_trywait(&step.w->done) != 0;
		clock_gettime(CLOCK_MONOTONIC, &now);
	} while (step.pending && (now.tv_sec - start.tv_sec) * 1000000000 +
						 now.tv_nsec - start.tv_nsec <
					 3000000);
}

/* False: the call had fewer instructions than that. */
static int call_stepped(int op, void *p, long steps, void (*job)(void *),
			void *arg)
{
	struct sigaction act = { .sa_sigaction = on_step };

	act.sa_flags = SA_SIGINFO;
	REQUIRE(!sigaction(SIGTRAP, &act, NULL));
	in_thread('B', job_warm, NULL, 0);
	step.w = &workers[0];
	step.w->job = job;
	step.w->arg = arg;
	step.left = steps;
#ifdef __x86_64__
	__asm__ volatile("pushfq\n\torq $0x100, (%%rsp)\n\tpopfq" ::
				 : "memory", "cc");
	call(op, p, 100);
	__asm__ volatile("pushfq\n\tandq $~0x100, (%%rsp)\n\tpopfq" ::
				 : "memory", "cc");
#else
	(void)op, (void)p;
	exit(77);
#endif
	if (step.pending)
		while (sem_wait(&step.w->done))
			;
	step.pending = 0;
	return step.left <= 0;
}

/* Other blocks are near: to say what a pointer is takes less then. */
static void *among_others(long size)
{
	void *p[3];

	for (int i = 0; i < LEN(p); i++)
		REQUIRE(p[i] = malloc((size_t)size));
	return p[1];
}

enum { STEPS = 300 };

/* Two threads free one mapping: one of them is told, and once. */
static int case_step_twice(long size, long op, long unused)
{
	long more = 1;

	(void)unused;
	for (long k = 1; more && k < STEPS; k++) {
		void *p = among_others(size);
		off_t before = reports();

		more = call_stepped((int)op, hide(p), k, job_free, p);
		if (op == FREE)
			REQUIRE(reports() > before && reports() < before + 200);
	}
	return 0;
}

/* A foreign pointer behind a block that another thread frees */
static int case_step_foreign(long size, long op, long at)
{
	long more = 1;

	for (long k = 1; more && k < STEPS; k++) {
		char *p = among_others(size);
		off_t before = reports();

		more = call_stepped((int)op, hide(p + at), k, job_free, p);
		REQUIRE(reports() > before);
	}
	return 0;
}

/*
 * One thread cuts an extent, or lets it grow, that another frees meanwhile and
 * may have kept for its next call: no two blocks have a part in common.
 */
static int case_step_cut(long size, long to, long unused)
{
	long more = 1, n = size - 1000;
	char *p;

	(void)unused;
	for (long k = 1; more && k < STEPS; k++) {
		p = among_others(size);
		step_size = (size_t)to;
		more = call_stepped(AS_TOLD, p, k, job_free, p);
		job_size = (size_t)n;
		in_thread('B', job_malloc, &other[1], 0);
		for (int i = 2; i < 16; i++)
			other[i] = malloc((size_t)n);
		for (int i = 1; i < 16; i++)
			memset(other[i], i, (size_t)n);
		for (int i = 1; i < 16; i++)
			for (long at = 0; at < n; at += 16)
				REQUIRE(((char *)other[i])[at] == i);
		for (int i = 1; i < 16; i++)
			free(other[i]);
	}
	return 0;
}

/* ---- the line itself -------------------------------------------------- */

static void twice(size_t size)
{
	void *p = malloc(size);

	note(p);
	free(p);
	free(hide(p));
	take(SPARE, size);
}

enum { CLOSE_2, CLOSE_ALL_3, REUSE_3 };

/* The program has closed, or put to other use, descriptors 0 to 2. */
static int case_closed(long how, long size, long c)
{
	void *p = malloc(10);

	(void)c;
	REQUIRE(p);
	close(2);
	if (how != CLOSE_2) {
		close(0);
		close(1);
	}
	for (int i = 0; how == REUSE_3 && i < 3; i++)
		if (open("/dev/null", O_RDWR) < 0)
			return 1;
	twice((size_t)size);
	return 0;
}

/* A file of the program's own sits on every number the log could have. */
static int case_taken(long size, long b, long c)
{
	const char *path = getenv("OWN_FILE");
	int fd;

	(void)b, (void)c;
	REQUIRE(path);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	REQUIRE(fd >= 0);
	for (int i = 0; i < 1100; i++)
		if (i != fd)
			dup2(fd, i);
	twice((size_t)size);
	return 0;
}

static void on_abort(int sig)
{
	(void)sig;
	for (int i = 0; i < 1000; i++)
		free(malloc((size_t)sizes[i % LEN(sizes)]));
	_exit(9);
}

/* A crash reporter: allocates in its SIGABRT handler, and must not hang. */
static int case_handler(long size, long b, long c)
{
	(void)b, (void)c;
	signal(SIGABRT, on_abort);
	twice((size_t)size);
	return 0;
}

static int case_blocked(long size, long b, long c)
{
	sigset_t all;

	(void)b, (void)c;
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	signal(SIGABRT, SIG_IGN);
	twice((size_t)size);
	return 0;
}

/* ---- honest programs -------------------------------------------------- */

/* Each allocating operator new beside the delete that belongs to it. */
static int case_operators(long b, long a, long c)
{
	void *(*make)(size_t, size_t);
	void (*drop)(void *, size_t, size_t);
	static const char *const pair[][2] = {
		{ "_ZnwmSt11align_val_t", "_ZdlPvmSt11align_val_t" },
		{ "_ZnamSt11align_val_t", "_ZdaPvmSt11align_val_t" }
	};

	(void)a, (void)b, (void)c;
	for (int k = 0; k < LEN(pair); k++) {
		void *m = dlsym(RTLD_DEFAULT, pair[k][0]);
		void *d = dlsym(RTLD_DEFAULT, pair[k][1]);

		REQUIRE(m && d);
		memcpy(&make, &m, sizeof(m));
		memcpy(&drop, &d, sizeof(d));
		for (size_t al = 32; al <= 1 << 21; al *= 2) {
			for (int i = 0; i < LEN(sizes); i++) {
				size_t n = (size_t)sizes[i];
				void *p = make(n, al);

				REQUIRE(p && !((uintptr_t)p % al));
				memset(p, 255, n);
				drop(p, n, al);
			}
		}
	}
	return 0;
}

static int case_overflow(long a, long b, long c)
{
	static const size_t big[] = { (size_t)PTRDIFF_MAX + 1, SIZE_MAX,
				      SIZE_MAX - 15, SIZE_MAX - 4096,
				      SIZE_MAX / 2 + 65536 };
	void *keep = malloc(100);

	(void)a, (void)b, (void)c;
	memset(keep, 7, 100);
#define FAILS(x) \
	do { \
		errno = 0; \
		REQUIRE(!(x)); \
		REQUIRE(errno == ENOMEM); \
	} while (0)
	for (int i = 0; i < LEN(big); i++) {
		volatile size_t n = big[i];

		FAILS(malloc(n));
		FAILS(calloc(1, n));
		FAILS(realloc(keep, n));
		FAILS(reallocarray(keep, 1, n));
		FAILS(aligned_alloc(64, n));
		FAILS(memalign(64, n));
		FAILS(valloc(n));
		FAILS(pvalloc(n));
		FAILS(calloc(n, 2));
		FAILS(calloc(n / 2 + 1, 2));
		FAILS(reallocarray(keep, n, 2));
	}
	for (int i = 0; i < 100; i++)
		REQUIRE(((char *)keep)[i] == 7);
	free(keep);
	return 0;
}

static int case_alignment(long a, long b, long c)
{
	static const size_t bad[] = { 0, 1, 2, 3, 4, 7, 12, 24, 100, 4097 };
	void *mark = array, *p = mark;

	(void)a, (void)b, (void)c;
	for (int i = 0; i < LEN(bad); i++) {
		volatile size_t al = bad[i];

		errno = 77;
		REQUIRE(posix_memalign(&p, al, 100) == EINVAL);
		REQUIRE(p == mark && errno == 77);
		if (!al || !(al & (al - 1)))
			continue;
		errno = 0;
		REQUIRE(!aligned_alloc(al, 100) && errno == EINVAL);
	}
	return 0;
}

/* Take memory until there is none, give it back, take it in another form. */
static int case_limit(long size, long mb, long c)
{
	struct rlimit lim = { 0, 0 };
	long n = 0, pages = 0;
	FILE *f = fopen("/proc/self/statm", "r");
	void **list = NULL;

	(void)c;
	REQUIRE(f && fscanf(f, "%ld", &pages) == 1);
	fclose(f);
	lim.rlim_cur = lim.rlim_max = (rlim_t)(pages * PAGE + (mb << 20));
	REQUIRE(!setrlimit(RLIMIT_AS, &lim));
	for (int round = 0; round < 3; round++) {
		void **p;

		errno = 0;
		for (n = 0; (p = malloc((size_t)size)); n++) {
			*p = list;
			list = p;
		}
		REQUIRE(errno == ENOMEM);
		/* a page or more for each with ALLOC_DIRECT */
		REQUIRE(getenv("ALLOC_DIRECT") || n * size > (mb << 20) / 2);
		while (list) {
			p = *list;
			free(list);
			list = p;
		}
		p = malloc((size_t)(mb << 20) / 2);
		REQUIRE(p);
		free(p);
	}
	return 0;
}

/* From here on this system call fails. */
static void forbid(int nr, int err)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned int)nr, 0, 1),
		BPF_STMT(BPF_RET | BPF_K,
			 SECCOMP_RET_ERRNO | (unsigned int)err),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)
	};
	struct sock_fprog prog = { LEN(code), code };

	REQUIRE(!prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	REQUIRE(!prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog));
}

static long forbidden[2];

static void job_forbid(void *arg)
{
	(void)arg;
	forbid((int)forbidden[0], (int)forbidden[1]);
}

static void job_free_all(void *arg)
{
	void **p = arg;

	for (long i = 0; i < 20 * LEN(sizes); i++) {
		errno = 1234;
		free(p[i]);
		REQUIRE(errno == 1234);
	}
	errno = 1234;
	free(NULL);
	REQUIRE(errno == 1234);
}

/* Every size, cached or unmapped, here or in a thread, unmap failing. */
static int case_errno(long who, long nr, long err)
{
	forbidden[0] = nr;
	forbidden[1] = err;
	for (int round = 0; round < 3; round++) {
		for (long i = 0; i < 20 * LEN(sizes); i++)
			other[i] = malloc((size_t)sizes[i % LEN(sizes)]);
		if (!round && nr)
			in_thread((int)who, job_forbid, NULL, 0);
		in_thread((int)who, job_free_all, other, 0);
	}
	return 0;
}

static volatile int stop;

/* Random blocks, kept and dropped, until told to stop. */
static void *churn(void *arg)
{
	void *keep[64] = { NULL };
	unsigned int seed = (unsigned int)(uintptr_t)arg;

	while (!stop) {
		unsigned int r = (unsigned int)rand_r(&seed);
		void **at = &keep[r % 64];
		size_t n = (size_t)sizes[r / 64 % 8];

		free(*at);
		*at = malloc(r % 7 ? n / 8 + 16 : n);
		if (*at)
			memset(*at, 1, 16);
	}
	for (int i = 0; i < LEN(keep); i++)
		free(keep[i]);
	return NULL;
}

static int case_fork(long rounds, long threads, long c)
{
	pthread_t id[8];
	int status;

	(void)c;
	for (long i = 0; i < threads; i++)
		REQUIRE(!pthread_create(&id[i], NULL, churn, (void *)(i + 1)));
	while (rounds--) {
		pid_t pid = fork();

		REQUIRE(pid >= 0);
		if (!pid) {
			alarm(5);
			for (int i = 0; i < 2 * LEN(sizes); i++)
				free(malloc((size_t)sizes[i % LEN(sizes)]));
			_exit(0);
		}
		REQUIRE(waitpid(pid, &status, 0) == pid && !status);
	}
	stop = 1;
	for (long i = 0; i < threads; i++)
		pthread_join(id[i], NULL);
	return 0;
}

/* Threads are busy while main returns and lists are looked through. */
static int case_busy_exit(long threads, long b, long c)
{
	pthread_t id;

	(void)b, (void)c;
	while (threads--)
		REQUIRE(!pthread_create(&id, NULL, churn, (void *)threads));
	for (long i = 0; i < 2000; i++)
		free(malloc((size_t)(i % 3000)));
	return 0;
}

static void *late[3000];

/* Our static destructors run before those of a preloaded library. */
static __attribute__((destructor)) void free_late(void)
{
	for (int i = 0; i < LEN(late); i++) {
		if (!late[i])
			continue;
		free(late[i]);
		late[i] = NULL;
		free(malloc((size_t)i));
	}
}

/* Frees at exit what it has, from atexit() if told so. */
static int case_late(long size, long at_exit, long c)
{
	(void)c;
	for (int i = 0; i < LEN(late); i++)
		late[i] = malloc((size_t)size);
	return at_exit && atexit(free_late);
}

/* ---- user data that looks like the allocator's own -------------------- */

#define WORDS 4

static uintptr_t stale[MANY][WORDS];
static const void *home[MANY]; /* where they were */
static long stales;

/* Remember what a block holds right after it was freed. */
static void free_and_look(void *p)
{
	free(p);
	home[stales % MANY] = p;
	memcpy(stale[stales++ % MANY], hide(p), sizeof(stale[0]));
}

/* Not with its own: to give a block back what it held when free is misuse. */
static void imitate(void *p, size_t size, unsigned int r)
{
	const uintptr_t *from = stale[r % MANY];

	if (home[r % MANY] == p)
		return;

	memcpy(p, from, size < sizeof(stale[0]) ? size : sizeof(stale[0]));
	if (size >= 2 * sizeof(stale[0]))
		memcpy(shift(p, (long)size - (long)sizeof(stale[0])), from,
		       sizeof(stale[0]));
}

/* Blocks whose user writes into them what freed ones held. */
static int case_imitate(long size, long rounds, long mixed)
{
	static void *live[500], *wall[4];
	unsigned int seed = 1;

	for (int i = 0; i < LEN(wall); i++)
		wall[i] = malloc((size_t)size);
	for (long i = 0; i < rounds; i++) {
		unsigned int r = (unsigned int)rand_r(&seed);
		void **at = &live[r % LEN(live)];
		size_t n = (size_t)size;

		if (mixed)
			n = 16 + (size_t)r / 512 % (size_t)size;
		if (*at && r / 1024 % 2) {
			imitate(*at, (size_t)16, r / 2048);
			free_and_look(*at);
			*at = NULL;
			continue;
		}
		free(*at);
		*at = malloc(n);
		REQUIRE(*at);
		imitate(*at, n, r / 2048);
	}
	for (int i = 0; i < LEN(live); i++)
		free(live[i]);
	return 0;
}

static void job_look(void *arg)
{
	free_and_look(arg);
}

/* The same with what another thread left in blocks it freed for us. */
static int case_imitate_remote(long size, long b, long c)
{
	void *p[200];

	(void)b, (void)c;
	for (int round = 0; round < 20; round++) {
		for (int i = 0; i < LEN(p); i++) {
			p[i] = malloc((size_t)size);
			REQUIRE(p[i]);
		}
		for (int i = 0; i < LEN(p) / 2; i++)
			in_thread('B', job_look, p[i], 0);
		for (int i = LEN(p) / 2; i < LEN(p); i++) {
			imitate(p[i], (size_t)size, (unsigned int)i);
			in_thread(i % 2 ? 'B' : 'A', job_free, p[i], 0);
		}
	}
	return 0;
}

/* The same block again and again, always full of its own last words. */
static int case_union(long size, long b, long c)
{
	uintptr_t words[WORDS];
	size_t n = sizeof(words);

	(void)b, (void)c;
	if (n > (size_t)size)
		n = (size_t)size;
	for (int i = 0; i < 300; i++) {
		void *p = malloc((size_t)size), *q = malloc((size_t)size);

		REQUIRE(p && q);
		free(p);
		memcpy(words, hide(p), n);
		memcpy(q, words, n);
		p = malloc((size_t)size);
		memcpy(p, words, n);
		free(q);
		memcpy(p, hide(q), n);
		free(p);
	}
	return 0;
}

/* Whole blocks copied, what lies unwritten in them included. */
static int case_copy(long size, long b, long c)
{
	void *p[64];

	(void)b, (void)c;
	for (int i = 0; i < LEN(p); i++)
		p[i] = malloc((size_t)size);
	for (int i = 0; i < LEN(p); i += 2)
		free(p[i]);
	for (int i = 0; i < LEN(p); i += 2)
		p[i] = malloc((size_t)size);
	for (int round = 0; round < 4; round++)
		for (int i = 0; i < LEN(p); i++)
			memmove(p[i], p[(i * 7 + 1) % LEN(p)],
				malloc_usable_size(p[i]));
	for (int i = 0; i < LEN(p); i++)
		free(p[i]);
	return 0;
}

static int case_realloc_loop(long from, long to, long step)
{
	char *p = NULL;

	for (long n = from; n < to; n += step) {
		p = realloc(p, (size_t)n);
		REQUIRE(p);
		p[n - 1] = 1;
		if (n % 3 == 0)
			free(malloc((size_t)n));
	}
	for (long n = to; n > from; n -= step) {
		p = realloc(p, (size_t)n);
		REQUIRE(p);
	}
	free(p);
	return 0;
}

/* Blocks made here, freed there, made again from what came back. */
static int case_hand_over(long size, long leave, long c)
{
	(void)c;
	job_size = (size_t)size;
	for (int round = 0; round < 10; round++) {
		memset(other, 0, sizeof(other));
		for (int i = 0; i < 200; i++)
			in_thread("ABC"[i % 3], job_malloc, &other[i], 0);
		in_thread("ABC"[round % 3], job_free_others, other, (int)leave);
	}
	return 0;
}

/* ---- running a case --------------------------------------------------- */

static const struct {
	const char *name;
	int (*run)(long, long, long);
} cases[] = { { "double", case_double },
	      { "remote", case_remote },
	      { "remote-leave", case_remote_leave },
	      { "late-batch", case_late_batch },
	      { "late-purge", case_late_purge },
	      { "crowd", case_crowd },
	      { "entry", case_entry },
	      { "stale", case_stale },
	      { "near", case_near },
	      { "unused", case_unused },
	      { "beyond", case_beyond },
	      { "recycled", case_recycled },
	      { "extent", case_extent },
	      { "hole", case_hole },
	      { "pages", case_pages },
	      { "moved", case_moved },
	      { "foreign", case_foreign },
	      { "clobber", case_clobber },
	      { "past-end", case_past_end },
	      { "guard-kept", case_guard_kept },
	      { "going", case_going },
	      { "at-once", case_at_once },
	      { "chunk-going", case_chunk_going },
	      { "step-twice", case_step_twice },
	      { "step-foreign", case_step_foreign },
	      { "step-cut", case_step_cut },
	      { "after-free", case_after_free },
	      { "closed", case_closed },
	      { "taken", case_taken },
	      { "handler", case_handler },
	      { "blocked", case_blocked },
	      { "operators", case_operators },
	      { "overflow", case_overflow },
	      { "alignment", case_alignment },
	      { "limit", case_limit },
	      { "errno", case_errno },
	      { "fork", case_fork },
	      { "busy-exit", case_busy_exit },
	      { "late", case_late },
	      { "imitate", case_imitate },
	      { "imitate-remote", case_imitate_remote },
	      { "union", case_union },
	      { "copy", case_copy },
	      { "realloc-loop", case_realloc_loop },
	      { "hand-over", case_hand_over } };

static int ran, failed;

struct result {
	int status;
	char err[4096]; /* all of descriptor 2 */
	ssize_t len;
	uintptr_t note; /* the pointer that was misused, 0: any */
};

static void start_case(const char *name, const long *arg, int err, int where)
{
	const char *slow = getenv("SLOW");
	char num[3][24];

	dup2(err, 2);
	dup2(where, NOTE_FD);
	for (int i = NOTE_FD + 1; i < 20; i++)
		close(i);
	for (int i = 0; i < 3; i++)
		sprintf(num[i], "%ld", arg[i]);
	setenv("LD_PRELOAD", getenv("TEST_SO"), 1);
	setenv("MISUSE_NOTE", "", 1);
	alarm(LIMIT * (unsigned int)(slow ? atoi(slow) : 1));
	execl("/proc/self/exe", "misuse", "--case", name, num[0], num[1],
	      num[2], (char *)NULL);
	_exit(126);
}

static void run_case(struct result *r, const char *name, const long *arg)
{
	int err = memfd_create("err", 0), where = memfd_create("note", 0);
	pid_t pid = fork();

	if (!pid)
		start_case(name, arg, err, where);
	if (pid < 0 || waitpid(pid, &r->status, 0) != pid) {
		perror("misuse");
		exit(2);
	}
	r->len = pread(err, r->err, sizeof(r->err) - 1, 0);
	r->err[r->len < 0 ? 0 : r->len] = 0;
	r->note = 0;
	if (pread(where, &r->note, sizeof(r->note), 0) < 0)
		r->note = 0;
	close(err);
	close(where);
	ran++;
}

/* Is the output one line `allocator: WHAT 0xPTR...`, WHAT one of `texts`? */
static int one_line(const struct result *r, const char *texts)
{
	static const char head[] = "allocator: ";
	const char *at = r->err + sizeof(head) - 1, *end;
	size_t n;

	end = strchr(r->err, '\n');
	if (!end || end[1] || strncmp(r->err, head, sizeof(head) - 1))
		return 0;
	for (; *texts; texts += n + (texts[n] == '|')) {
		n = strcspn(texts, "|");
		if (strncmp(at, texts, n) || strncmp(at + n, " 0x", 3))
			continue;
		return !r->note || strtoul(at + n + 3, NULL, 16) == r->note;
	}
	return 0;
}

/* Lines `allocator: ...` and nothing else, as far as they are known */
static int all_lines(const struct result *r)
{
	static const char head[] = "allocator: ";
	const char *s = r->err, *end;

	for (; (end = strchr(s, '\n')); s = end + 1)
		if (strncmp(s, head, sizeof(head) - 1))
			return 0;
	return r->len > 0 && (!*s || r->len == sizeof(r->err) - 1);
}

static const char any_text[] =
	"double free|free of foreign pointer|"
	"free of misaligned pointer|free of interior pointer|"
	"free of unallocated pointer|write to free memory|out-of-bounds write|"
	"free list corrupted|realloc of freed pointer|"
	"realloc of foreign pointer|realloc of misaligned pointer|"
	"realloc of interior pointer|usable size of freed pointer|"
	"usable size of foreign pointer|usable size of misaligned pointer|"
	"usable size of interior pointer";

/*
 * Run one case. `want` is "ok" (exit 0, silent), "segv" (silent), "maybe"
 * (ok, or any mistake reported), "dies" (by abort(), silently or not), "told"
 * (exit 0 after reports, with ALLOC_ABORT=0) or the texts that may be reported.
 */
static void expect(const char *want, const char *name, long a, long b, long c)
{
	long arg[3] = { a, b, c };
	struct result r;
	int good, aborted;

	run_case(&r, name, arg);
	aborted = WIFSIGNALED(r.status) && WTERMSIG(r.status) == SIGABRT;
	if (WIFEXITED(r.status) && WEXITSTATUS(r.status) == 77)
		return;
	if (!strcmp(want, "ok"))
		good = !r.status && !r.len;
	else if (!strcmp(want, "segv"))
		good = WIFSIGNALED(r.status) && !r.len &&
		       WTERMSIG(r.status) == SIGSEGV;
	else if (!strcmp(want, "maybe"))
		good = (!r.status && !r.len) ||
		       (aborted && one_line(&r, any_text));
	else if (!strcmp(want, "told"))
		good = !r.status && all_lines(&r);
	else if (!strcmp(want, "dies"))
		good = aborted && (!r.len || one_line(&r, any_text));
	else
		good = aborted && one_line(&r, want);
	if (good)
		return;
	failed++;
	printf("misuse --case %s %ld %ld %ld: wanted %s, got %s %d", name, a, b,
	       c, want, WIFSIGNALED(r.status) ? "signal" : "exit",
	       WIFSIGNALED(r.status) ? WTERMSIG(r.status) :
				       WEXITSTATUS(r.status));
	printf(", pointer 0x%lx, output: %s\n", (unsigned long)r.note,
	       r.len ? r.err : "none");
}

/* "freed|foreign" for an entry point: the texts it would use for these. */
static const char *texts(int op, const char *words)
{
	static char s[512];

	*s = 0;
	while (*words) {
		size_t n = strcspn(words, "|");

		if (*s)
			strcat(s, "|");
		if (op_text(op)[0] == 'f' && !strncmp(words, "freed", n))
			strcat(s, "double free");
		else
			sprintf(s + strlen(s), "%s %.*s pointer", op_text(op),
				(int)n, words);
		words += n + (words[n] == '|');
	}
	return s;
}

static int is_direct(void)
{
	const char *direct = getenv("ALLOC_DIRECT");

	return direct && *direct == '1';
}

static int level(void)
{
	const char *check = getenv("ALLOC_CHECK");

	return check ? atoi(check) : 1;
}

/* Is a block of that size a mapping of its own? */
static int is_mapping(long size)
{
	return size > (level() > 2 ? UNIT + PAGE - 24 :
				     EXTENT_MAX - 8 * (level() - 1));
}

/*
 * How a freed block may be called. Once nothing of its chunk or mapping is in
 * use any more, its memory may be with the OS: then it is foreign.
 */
static const char *stale_words(long size, long frees, int crowded)
{
	const char *thresh = getenv("ALLOC_THRESH");

	if (is_direct())
		crowded = frees <= 100 && frees * size <= 8 << 20 && !thresh;
	else if (is_mapping(size))
		crowded = 0;
	return crowded ? "freed" : "freed|foreign";
}

/* ---- the groups ------------------------------------------------------- */

/* Of what is no slab's 1000 are many: by default 200 are kept. */
static long depth_at(int d, long size)
{
	int mappings = size > SLAB_MAX || is_direct();

	return depths[d] == MANY && mappings ? 1000 : depths[d];
}

static void double_hows(long size, long depth)
{
	const char *t = texts(FREE, stale_words(size, depth, depth < 3));

	for (int how = 0; how < HOWS; how++) {
		/* there other calls have no lists to mix up */
		if (is_direct() && (how == EXIT_LATE || how == LATE))
			continue;
		expect(t, "double", size, depth, how);
	}
}

static void group_double(void)
{
	for (int i = 0; i < LEN(sizes); i++)
		for (int d = 0; d < LEN(depths); d++)
			double_hows(sizes[i], depth_at(d, sizes[i]));
}

static void group_remote(void)
{
	static const long deep[] = { 0, 1, 100, 2000 };

	for (int i = 0; i < LEN(sizes); i++)
		for (int o = 0; o < LEN(orders); o++)
			for (int d = 0; d < LEN(deep); d++) {
				const char *t = "double free|free of foreign "
						"pointer";

				if (d > 1 && i % 2)
					continue;
				/* The last free may stay unseen: A never sends
				 * the block home, B has it once. */
				if (!strcmp(orders[o], "BAB"))
					t = "maybe";
				expect(t, "remote", sizes[i], o, deep[d]);
				expect(t, "remote-leave", sizes[i], o, deep[d]);
			}
}

/* What the same mistake comes to with ALLOC_ABORT=0, and without */
static const char *told_or(const char *texts)
{
	const char *abort = getenv("ALLOC_ABORT");

	return abort && *abort == '0' ? "told" : texts;
}

/* Where in its batch the block is: the first, in the middle, or the last */
static void group_late(void)
{
	static const long some[] = { 16, 64, 1024, 4096, 8000 };
	/* What was written where the link was may be called damage. */
	const char *t = told_or("double free|write to free memory");

	for (int i = 0; i < LEN(some); i++) {
		long most = batch_of(some[i]), step = most > 4 ? most / 2 : 2;

		for (long before = 0; before < most; before += step - 1) {
			for (int how = 0; how < LATE_WAYS; how++)
				expect(t, "late-batch", some[i], before, how);
			for (int drain = 0; drain < 2; drain++)
				expect(t, "late-purge", some[i], before, drain);
		}
	}
}

static void group_entry(void)
{
	static const long some[] = { 64, 5000, 20000, 200000, 300000 };

	for (int i = 0; i < LEN(some); i++)
		for (int first = 0; first < OPS; first++) {
			if (first >= USABLE && first <= ARRAY)
				continue;
			for (int op = 0; op < OPS; op++)
				expect(texts(op, stale_words(some[i], 0, 1)),
				       "entry", some[i], first, op);
		}
}

static void group_stale(void)
{
	for (int i = 0; i < LEN(sizes); i++)
		for (int op = FREE; op <= ZERO; op++)
			for (int d = 1; d < LEN(depths); d++) {
				long n = depth_at(d, sizes[i]);

				expect(texts(op, stale_words(sizes[i], n, 1)),
				       "stale", sizes[i], op, n);
			}
}

static const char *near_words(int kind, int freed)
{
	if (kind == ONE || kind == EIGHT)
		return freed ? "misaligned|foreign" : "misaligned";
	if (kind == PAST) /* what is behind an extent is free */
		return "interior|foreign|misaligned|freed";
	if (freed)
		return "interior|foreign|freed";
	if (kind == BEFORE || kind == THIS_CHUNK)
		return "interior|foreign";
	return "interior";
}

static void group_near(void)
{
	for (int i = 0; i < LEN(sizes); i++)
		for (int op = FREE; op <= ARRAY; op++)
			for (int k = 0; k < NEARS; k++) {
				expect(texts(op, near_words(k, 0)), "near",
				       sizes[i], op, k);
				expect(texts(op, near_words(k, 1)), "near",
				       sizes[i], op, k + FREED);
			}
}

static void group_unused(void)
{
	static const long ahead[] = { 1, 2, 10, 40 };

	for (int i = 0; sizes[i] <= 1000; i++)
		for (int k = 0; k < LEN(ahead); k++) {
			expect("free of unallocated pointer|double free|"
			       "write to free memory",
			       "unused", sizes[i], ahead[k], FREE);
			expect(texts(FITS, "freed|unallocated"), "unused",
			       sizes[i], ahead[k], FITS);
		}
}

/* What was once a block, or would be one if slabs were larger. */
static void group_former(void)
{
	static const long small[] = { 24, 100, 136, 480 };
	static const char again[] = "double free|write to free memory";

	for (int i = 0; i < LEN(small); i++) {
		expect("free of unallocated pointer", "beyond", small[i], FREE,
		       0);
		expect("realloc of unallocated pointer", "beyond", small[i],
		       FITS, 0);
		expect("usable size of unallocated pointer", "beyond", small[i],
		       USABLE, 0);
		/* At level 1 its mark was written over. */
		expect(again, "recycled", small[i], 0, 0);
		if (getenv("ALLOC_THRESH")) /* 0: it is no recycled one */
			continue;
		expect(again, "recycled", small[i], 1, 0);
		expect("double free", "recycled", small[i], 0, 1);
	}
}

static void group_extent(void)
{
	static const long some[] = { 9000, 20000, 60000, 100000, 200000 };

	for (int i = 0; i < LEN(some) && !is_mapping(some[i]); i++)
		for (int op = FREE; op <= ARRAY; op++)
			for (int state = 0; state < STATES; state++) {
				const char *t = "freed";

				if (state == CUT_USED || state == AS_SLAB)
					t = "freed|interior";
				if (state == PURGED)
					t = "freed|foreign";
				/* Cut to less, it is one of a slab. */
				if ((state == CUT || state == CUT_USED) &&
				    some[i] / 3 <= SLAB_MAX)
					continue;
				expect(texts(op, t), "extent", some[i], state,
				       op);
			}
}

static void group_hole(void)
{
	static const long some[] = { 100, 1000, 1500, 3000, 5000, 8000 };

	for (int i = 0; i < LEN(some); i++)
		for (int when = 0; when < TIMES; when++) {
			/* Who has it by then may have written there. */
			expect("double free|free of unallocated pointer|"
			       "write to free memory",
			       "hole", some[i], when, FREE);
			for (int op = REALLOC; op <= ARRAY && when != REMOTE;
			     op++)
				expect(texts(op, "freed|unallocated"), "hole",
				       some[i], when, op);
		}
}

static void group_pages(void)
{
	static const long some[] = { 16, 100, 1000, 1500, 3000, 5000, 8000 };

	for (int i = 0; i < LEN(some); i++) {
		expect("ok", "pages", some[i], 6, 3);
		expect("ok", "pages", some[i], 6, 50);
	}
}

static void group_moved(void)
{
	expect("free of interior pointer|double free", "moved", 100, PAGE,
	       8000);
	expect("free of interior pointer|double free", "moved", 8000, GRAIN,
	       100);
}

static void group_foreign(void)
{
	for (int op = FREE; op <= USABLE; op++)
		for (int k = 0; k < FIXED + LEN(fixed); k++) {
			int odd = k == CODE || k == LIBC || k == LITERAL ||
				  (k >= FIXED && fixed[k - FIXED] % 16);
			const char *t = texts(op, odd ? "foreign|misaligned" :
							"foreign");

			expect(t, "foreign", op, k, 0);
			expect(t, "foreign", op, k, 20);
		}
}

static void group_clobber(void)
{
	static const long deep[] = { 0, 1, 20 };

	/* Extents have no links; level 3 finds it when it is not used again. */
	for (int i = 0; i < LEN(sizes) && !is_mapping(sizes[i]); i++)
		for (int how = 0; how < CLOBBERS; how++)
			for (int d = 0; d < LEN(deep); d++)
				expect(sizes[i] > SLAB_MAX ?
					       "ok" :
				       how <= HIGH_BIT ?
					       "write to free memory" :
					       "maybe",
				       "clobber", sizes[i], how, deep[d]);
}

static void group_guard(void)
{
	static const long big[] = { 300000, 1l << 20, 16l << 20 };

	for (int i = 0; i < LEN(big); i++) {
		expect("segv", "past-end", big[i], 0, 0);
		expect("segv", "past-end", big[i], PAGE - 1, 0);
	}
}

/* With and without a second try, of blocks that end with a page or do not */
static void group_kept(void)
{
	static const long big[] = { 300000, 1l << 20 };

	for (int i = 0; i < LEN(big); i++)
		for (int kind = TOO_LARGE; kind <= LIMITED; kind++)
			for (int times = 1; times <= 3; times += 2)
				expect("segv", "guard-kept", big[i], kind,
				       times);
}

/* All with ALLOC_ABORT=0: who goes on must not end by a fault of ours. */
static void group_going(void)
{
	expect("told", "going", 3, 1, 0);
	expect("told", "going", 2, 2, 0);
	expect("told", "at-once", 20000, 10000, 0);
	expect("told", "at-once", 200000, 10000, 0);
	expect("told", "at-once", 300000, 10000, 0);
	expect("told", "at-once", 1 << 20, 10000, 0);
	expect("told", "chunk-going", 1000, 2, 1);
	expect("told", "chunk-going", 1000, 2, 0);
}

static void group_steps(void)
{
	static const long some[] = { 20000, 200000, 300000 };

	for (int i = 0; i < LEN(some); i++) {
		expect("told", "step-twice", some[i], FREE, 0);
		for (int op = FREE; op <= USABLE; op++)
			expect("told", "step-foreign", some[i], op, 8);
	}
	for (long to = 9000; to < 60000; to *= 3) {
		expect("told", "step-cut", 20000, to, 0);
		expect("told", "step-cut", 60000, to, 0);
	}
}

static void group_unmapped(void)
{
	for (int i = 0; i < LEN(sizes); i++)
		for (int write = 0; write < 2; write++)
			if (is_mapping(sizes[i]) || is_direct())
				expect("segv", "after-free", sizes[i], write,
				       0);
}

/* What is closed is lost, unless there is an ALLOC_LOG; but it must end. */
static void group_line(void)
{
	static const long some[] = { 64, 5000, 20000, 300000 };

	for (int i = 0; i < LEN(some); i++) {
		expect(texts(FREE, stale_words(some[i], 0, 1)), "blocked",
		       some[i], 0, 0);
		for (int how = CLOSE_2; how <= REUSE_3; how++)
			expect("dies", "closed", how, some[i], 0);
	}
}

/* Mistakes in all threads at once: whole lines, one at least. */
static void group_crowd(void)
{
	long arg[3] = { 8, 0, 0 };
	struct result r;

	for (int i = 0; i < 20; i++) {
		char *s, *end;
		int good;

		run_case(&r, "crowd", arg);
		good = WIFSIGNALED(r.status) && WTERMSIG(r.status) == SIGABRT;
		good = good && r.len > 0;
		for (s = r.err; *s && good; s = end + 1) {
			end = strchr(s, '\n');
			good = end &&
			       !strncmp(s, "allocator: double free 0x", 25);
		}
		if (!good) {
			failed++;
			printf("crowd: status %d, output: %s\n", r.status,
			       r.err);
		}
	}
}

static void group_handler(void)
{
	long arg[3] = { 0, 0, 0 };
	struct result r;

	for (int i = 0; i < LEN(sizes); i++) {
		arg[0] = sizes[i];
		run_case(&r, "handler", arg);
		if (!WIFEXITED(r.status) || WEXITSTATUS(r.status) != 9 ||
		    !one_line(&r, texts(FREE, "freed|foreign"))) {
			failed++;
			printf("handler %ld: status %d, output: %s\n", sizes[i],
			       r.status, r.err);
		}
	}
}

static void group_limits(void)
{
	static const long some[] = { 16, 1000, 60000, 100000, 1l << 20 };

	expect("ok", "overflow", 0, 0, 0);
	expect("ok", "alignment", 0, 0, 0);
	for (int i = 0; i < LEN(some); i++)
		expect("ok", "limit", some[i], 64, 0);
}

static void group_errno(void)
{
	static const int calls[] = { SYS_munmap, SYS_madvise, SYS_mremap,
				     SYS_mprotect };
	static const int errors[] = { ENOMEM, EPERM, EINVAL };

	for (int who = 'A'; who <= 'B'; who++) {
		expect("ok", "errno", who, 0, 0);
		for (int i = 0; i < LEN(calls); i++)
			for (int e = 0; e < LEN(errors); e++)
				expect("ok", "errno", who, calls[i], errors[e]);
	}
}

static void group_fork(void)
{
	expect("ok", "fork", 1000, 4, 0);
}

static void group_honest(void)
{
	expect("ok", "operators", 0, 0, 0);
	for (int i = 0; i < LEN(sizes); i++) {
		expect("ok", "copy", sizes[i], 0, 0);
		expect("ok", "hand-over", sizes[i], 0, 0);
		expect("ok", "hand-over", sizes[i], 1, 0);
	}
	expect("ok", "realloc-loop", 1, 3000, 1);
	expect("ok", "realloc-loop", 16, 300000, 1024);
	expect("ok", "realloc-loop", 60000, 20l << 20, 400000);
}

/* Reads freed memory, so only where it stays mapped: small, cached. */
static void group_imitate(void)
{
	for (int i = 0; sizes[i] <= 1000; i++) {
		expect("ok", "imitate", sizes[i], 200000, 0);
		expect("ok", "union", sizes[i], 0, 0);
		expect("ok", "imitate-remote", sizes[i], 0, 0);
	}
	expect("ok", "imitate", 1500, 200000, 1);
}

static void group_exit(void)
{
	for (int i = 0; sizes[i] <= 200000; i++) {
		expect("ok", "late", sizes[i] > 5000 ? 5000 : sizes[i], 0, 0);
		expect("ok", "late", sizes[i] > 5000 ? 5000 : sizes[i], 1, 0);
	}
	for (int i = 0; i < 30; i++)
		expect("ok", "busy-exit", 3, 0, 0);
}

static const struct {
	const char *name;
	void (*run)(void);
} groups[] = { { "double", group_double },     { "remote", group_remote },
	       { "entry", group_entry },       { "stale", group_stale },
	       { "near", group_near },         { "unused", group_unused },
	       { "former", group_former },     { "extent", group_extent },
	       { "hole", group_hole },         { "pages", group_pages },
	       { "moved", group_moved },       { "foreign", group_foreign },
	       { "clobber", group_clobber },   { "guard", group_guard },
	       { "unmapped", group_unmapped }, { "kept", group_kept },
	       { "going", group_going },       { "steps", group_steps },
	       { "late", group_late },         { "line", group_line },
	       { "crowd", group_crowd },       { "handler", group_handler },
	       { "limits", group_limits },     { "errno", group_errno },
	       { "fork", group_fork },         { "honest", group_honest },
	       { "imitate", group_imitate },   { "exit", group_exit } };

static int one_case(char **argv)
{
	struct rlimit none = { 0, 0 };

	setrlimit(RLIMIT_CORE, &none);
	for (int i = 0; i < LEN(cases); i++)
		if (!strcmp(argv[0], cases[i].name))
			return cases[i].run(atol(argv[1]), atol(argv[2]),
					    atol(argv[3]));
	return 125;
}

int main(int argc, char **argv)
{
	if (argc == 6 && !strcmp(argv[1], "--case"))
		return one_case(argv + 2);
	if (argc < 2 || !getenv("TEST_SO")) {
		fprintf(stderr, "usage: TEST_SO=LIBRARY misuse GROUP...\n");
		return 2;
	}
	while (*++argv) {
		int known = 0;

		for (int i = 0; i < LEN(groups); i++) {
			if (strcmp(*argv, groups[i].name))
				continue;
			known = 1;
			groups[i].run();
		}
		if (!known) {
			fprintf(stderr, "misuse: no group %s\n", *argv);
			return 2;
		}
	}
	printf("%d cases, %d wrong\n", ran, failed);
	return failed || !ran;
}
