/*
 * driver.c - plays a string of bytes as calls of the malloc family, by up to
 * four threads that take turns, beside a model of the blocks that are live.
 *
 * The first byte chooses the options. Each that follows is an operation, in
 * its low half, and how it is done, in its upper; operands come behind it. Any
 * string means something, and a byte that changes does not shift the meaning
 * of all that follow by much.
 *
 * Checked are alignment, usable size, zeroes, errno, and the contents of each
 * block when it is resized or freed; that no blocks overlap; that the figures
 * add up; and that nothing is left when all is freed.
 *
 * Bit 5 of the first byte chooses misuse, of the default engine at level 1 with
 * ALLOC_ABORT=0: some ways of the operations then use pointers that were freed.
 * All of this holds nevertheless, but for what is said of figures and the end:
 * memory that may be damaged stays lost.
 */
#include "input.h"
#include "misuse.h"
#include <limits.h>
#include <pthread.h>
#include <semaphore.h>

#define MOST_CALLS 5000
#define ACTORS 4
#define MOST_MAPPED (10 * MIB) /* two chunks, heaps and the page map */
#define KEPT 4711              /* what errno is before each call */

/* Threads; the first is the one that all others start from. */
static struct actor {
	pthread_t thread;
	sem_t go;
	int rounds; /* of thread-specific destructors */
	enum state { NONE, ALIVE, LATE } state;
} actors[ACTORS], *current;
static sem_t done;
static pthread_key_t late_key;

static struct mode {
	bool direct;
	unsigned check, sample;
} mode;
static bool misuse; /* some calls are to be wrong */

static enum refusal failure; /* what the kernel refuses the next calls */
static unsigned failing;     /* their number */
static bool no_memory;       /* this call may get none */
static bool unmap_failed;    /* then address space is lost */
static FILE *nowhere;

static bool room_for(size_t n)
{
	return n >= HOPELESS || (count < MOST_BLOCKS && n < MOST_BYTES &&
				 bytes + n < MOST_BYTES);
}

/* -- calls */

static void begin(void)
{
	calls++;
	no_memory = failing > 0 && failure & REFUSE_MMAP;
	al_refuse(failing > 0 ? failure : REFUSE_NOTHING);
	failing -= failing > 0;
	errno = KEPT;
}

/* The call is over; what errno was. */
static int end(void)
{
	al_refuse(REFUSE_NOTHING);
	return errno;
}

/* It gave `p`, of `n` bytes; NULL only for that error, or without memory. */
static bool given(const void *p, size_t n, int error)
{
	int err = end();

	if (p)
		OK(err == KEPT && !error && n < HOPELESS);
	else
		OK(err == (error ? error : ENOMEM) &&
		   (error || no_memory || n >= HOPELESS));
	return p != NULL;
}

static void made(void *p, size_t n, size_t align, int error)
{
	if (!given(p, n, error))
		return;
	OK((uintptr_t)p % align == 0);
	admit(p, n);
}

static void made_zeroed(void *p, size_t n)
{
	if (!given(p, n, 0))
		return;
	OK(zeroed(p, n));
	admit(p, n);
}

/* A size; with misuse and from some `how` on, that of a block freed before */
static size_t next_size_or_stale(unsigned how)
{
	size_t n = next_size();
	const struct stale *s = stale_at((unsigned)n);

	return misuse && how >= 4 && s ? s->n : n;
}

static void op_malloc(unsigned how)
{
	size_t n = next_size_or_stale(how), pages;

	if (!room_for(n))
		return;
	pages = n < HOPELESS ? (n + !n + PAGE - 1) / PAGE * PAGE : n;
	begin();
	switch (how) {
	case 0: made(al_valloc(n), n, PAGE, 0); break;
	case 1: made(al_pvalloc(n), pages, PAGE, 0); break;
	case 2: made(al_realloc(NULL, n), n, 16, 0); break;
	case 3: made(al_reallocarray(NULL, 1, n), n, 16, 0); break;
	default: made(al_malloc(n), n, 16, 0);
	}
}

static void op_calloc(unsigned how)
{
	size_t size = next_size(), n;

	if (__builtin_mul_overflow(size, how + 1, &n))
		n = SIZE_MAX;
	if (!room_for(n))
		return;
	begin();
	if (how % 2)
		made_zeroed(al_calloc(how + 1, size), n);
	else
		made_zeroed(al_calloc(size, how + 1), n);
}

static void make_posix(size_t align, size_t n, bool bad)
{
	void *p = live;
	int code = al_posix_memalign(&p, align, n);

	OK(errno == (code == ENOMEM ? ENOMEM : KEPT));
	OK((p == live) == (code != 0));
	errno = code ? code : KEPT;
	bad |= align < sizeof(void *);
	made(code ? NULL : p, n, align, bad ? EINVAL : 0);
}

static void op_aligned(unsigned how)
{
	size_t align = next_alignment(), n = next_size(), power = 16;
	bool bad = !align || align & (align - 1);

	if (!room_for(n))
		return;
	while (power && power < align)
		power *= 2;
	begin();
	if (how < 2)
		make_posix(align, n, bad);
	else if (how < 4)
		made(al_memalign(align, n), n, power, power ? 0 : EINVAL);
	else
		made(al_aligned_alloc(align, n), n, align, bad ? EINVAL : 0);
}

static void resize(unsigned i, size_t n, bool array)
{
	struct block old;
	unsigned before;
	void *p;

	inspect(&live[i]);
	old = dismiss(i);
	before = al_reports();
	begin();
	p = array ? al_reallocarray(old.p, 1, n) : al_realloc(old.p, n);
	if (!p && al_reports() > before && end() == ENOMEM) {
		admit(old.p, old.n); /* it was not known: see usable */
	} else if (!n) {
		OK_BLOCK(end() == KEPT && !p, &old);
	} else if (given(p, n, 0)) {
		OK_BLOCK(painted(p, &old, n), &old);
		admit(p, n);
	} else {
		OK_BLOCK(painted(old.p, &old, old.usable), &old);
		admit(old.p, old.n);
	}
}

static void op_resize(unsigned how)
{
	unsigned i = next_word();
	size_t n;

	if (!count)
		return;
	i %= count;
	n = live[i].n;
	switch (how) {
	case 0: n += n / 2; break;
	case 1: n += 4000; break;
	case 2: n /= 2; break;
	default: n = next_size();
	}
	if (room_for(n))
		resize(i, n, how % 4 == 3);
}

static void give_back(unsigned i, unsigned how)
{
	struct block b;

	inspect(&live[i]);
	b = dismiss(i);
	begin();
	switch (how) {
	case 0: al_cfree(b.p); break;
	case 1: al_free_sized(b.p, b.n); break;
	case 2: al_free_aligned_sized(b.p, 16, b.n); break;
	default: al_free(b.p);
	}
	OK_BLOCK(end() == KEPT, &b);
	remember(&b);
}

/* -- calls that are wrong, unless a block came to be there meanwhile */

enum wrong { FREE, SIZE, RESIZE };

/* What is at `p` was freed: resized it may be missed, if it has no marks. */
static void resize_wrongly(void *p, size_t n)
{
	void *q = al_realloc(p, n);
	int err = end();

	OK(err == KEPT || (err == ENOMEM && !q));
	if (q)
		admit(q, n);
}

static void call_wrongly(enum wrong what, void *p, size_t n)
{
	unsigned before = al_reports();

	begin_misuse();
	begin();
	if (what == RESIZE) {
		resize_wrongly(p, n);
		return;
	}
	if (what == FREE)
		al_free(p);
	else if (al_malloc_usable_size(p) == 0)
		OK(al_reports() > before);
	OK(end() == KEPT);
}

static void use_stale(enum wrong what, unsigned char *p, size_t n)
{
	unsigned i = live_around(p), before = al_reports();

	if (what == RESIZE && !room_for(n))
		return;
	if (i == count) {
		call_wrongly(what, p, n);
	} else if (p != live[i].p) {
		call_wrongly(what, p, n);
		OK_BLOCK(al_reports() > before, &live[i]);
	} else if (what == FREE) {
		give_back(i, 7);
	} else if (what == RESIZE) {
		resize(i, n, false);
	}
}

static void op_wrong(unsigned how, unsigned word)
{
	const struct stale *s = stale_at(word);
	unsigned more = word >> 8;

	if (how == 3 && count)
		use_stale(FREE, live[word % count].p + 8 * (more + 1), 0);
	else if (s && how == 2)
		use_stale(more % 4 ? RESIZE : SIZE, s->p, s->n * (more % 3));
	else if (s)
		use_stale(FREE, s->p, 0);
	/* To tell of what is unmapped by now takes a millisecond or two. */
	calls += s && s->n > 2 * STRIDE ? 20 : 0;
}

static void op_free(unsigned how)
{
	unsigned i = next_word();

	if (misuse && how >= 4)
		op_wrong(how - 4, i);
	else if (count)
		give_back(i % count, how);
	al_free(NULL);
}

/*
 * Many of one size, or of sizes that grow: up to 2 MiB, for the sake of time;
 * with misuse up to 4: beyond 2 slabs are purged for an owner that sleeps.
 */
static void op_many(unsigned how)
{
	unsigned n = next_byte() + 1;
	size_t size = next_size_or_stale(how), most = bytes + 2 * MIB;

	if (size >= HOPELESS)
		return;
	if (misuse && how >= 6) {
		n *= 8;
		most += 2 * MIB;
	}
	for (; n-- && bytes < most && room_for(size); size += how == 1) {
		begin();
		if (how == 0)
			made_zeroed(al_calloc(1, size), size);
		else
			made(al_malloc(size), size, 16, 0);
	}
}

static void op_free_many(unsigned how)
{
	unsigned n = next_byte() + 1, i = next_word();

	if (misuse && how >= 4) {
		for (; n--; i += how - 3)
			op_wrong(0, i);
		return;
	}
	for (; n-- && count; i += how)
		give_back(i % count, 7);
}

/*
 * What is said of all blocks together; at most two pages go with a mapping. A
 * block that is sealed or a trap says it is no larger than asked for.
 */
static void check_figures(void)
{
	struct mallinfo2 m = al_mallinfo2();
	size_t sum = m.uordblks + m.hblkhd;
	size_t mappings = mode.direct ? count : m.hblks;

	if (misused)
		return;
	OK(sum >= bytes);
	OK(sum <= bytes + mappings * 2 * PAGE || mode.check > 1 || mode.sample);
	OK(m.hblks <= count && m.arena == m.uordblks + m.fordblks);
}

static void op_look(unsigned how)
{
	calls += 10;
	switch (how) {
	case 0:
		begin();
		OK((al_malloc_trim(0) & ~1) == 0);
		OK(end() == KEPT);
		break;
	case 1: OK(al_malloc_info(0, nowhere) == 0); break;
	case 2: check_figures(); break;
	default:
		for (unsigned i = how; i < count; i += 5) {
			inspect(&live[i]);
			conceal(&live[i]);
		}
	}
}

static void op_fail(unsigned how)
{
	static const enum refusal failures[] = {
		REFUSE_MMAP,   REFUSE_MMAP,    REFUSE_MMAP | REFUSE_MREMAP,
		REFUSE_MUNMAP, REFUSE_MREMAP,  REFUSE_MADVISE | REFUSE_MUNMAP,
		REFUSE_ALL,    REFUSE_MPROTECT
	};

	failure = failures[how];
	unmap_failed |= failure & REFUSE_MUNMAP;
	failing = next_byte() % 64 + 1;
}

static void (*const operations[])(unsigned how) = {
	op_malloc, op_malloc, op_calloc,    op_aligned,   op_resize,
	op_resize, op_free,   op_free,      op_many,      op_many,
	op_many,   op_fail,   op_free_many, op_free_many, op_look,
};
#define OP_TURN COUNT(operations)
_Static_assert(OP_TURN == 15, "an operation is half a byte");

static bool over(void)
{
	return input >= input_end || calls > MOST_CALLS;
}

/* This thread's turn, which ends where the next is due. */
static void turn(void)
{
	while (!over() && *input % 16 != OP_TURN) {
		unsigned byte = next_byte();

		operations[byte % 16](byte >> 4 & 7);
	}
}

/* -- threads: one plays at a time, until another gets its turn */

static void wait_for(sem_t *s)
{
	while (sem_wait(s) != 0)
		OK(errno == EINTR);
}

/* A thread's turns, until it gets another state */
static void serve(struct actor *a)
{
	enum state state = a->state;

	for (;;) {
		OK(sem_post(&done) == 0);
		wait_for(&a->go);
		if (a->state != state)
			return;
		turn();
	}
}

static void *act(void *arg)
{
	struct actor *a = arg;

	OK(pthread_setspecific(late_key, a) == 0);
	serve(a);
	return NULL;
}

/*
 * In the last round of destructors, after the allocator's, it plays again. A
 * thread that has no heap gets one in the first: later it would be too late.
 */
static void act_late(void *arg)
{
	struct actor *a = arg;

	if (++a->rounds == PTHREAD_DESTRUCTOR_ITERATIONS) {
		serve(a);
		return;
	}
	if (a->rounds == 1)
		al_free(al_malloc(1));
	OK(pthread_setspecific(late_key, a) == 0);
}

static void start(struct actor *a)
{
	a->state = ALIVE;
	a->rounds = 0;
	OK(pthread_create(&a->thread, NULL, act, a) == 0);
	wait_for(&done);
}

static void advance(struct actor *a)
{
	if (a->state == NONE)
		return;
	a->state = a->state == ALIVE ? LATE : NONE;
	OK(sem_post(&a->go) == 0);
	if (a->state == LATE)
		wait_for(&done);
	else
		OK(pthread_join(a->thread, NULL) == 0);
	if (a->state == NONE && a == current)
		current = actors;
}

static void op_turn(unsigned how)
{
	struct actor *a = &actors[how % ACTORS];

	if (how >= ACTORS && a != actors) {
		advance(a);
		return;
	}
	if (a != actors && a->state == NONE)
		start(a);
	current = a;
}

static void play(void)
{
	while (!over()) {
		if (*input % 16 == OP_TURN) {
			op_turn(next_byte() >> 4 & 7);
		} else if (current == actors) {
			turn();
		} else {
			OK(sem_post(&current->go) == 0);
			wait_for(&done);
		}
	}
}

/* Free all, before or after the threads end: then nothing may be left. */
static void finish(bool threads_first, bool backwards)
{
	struct mallinfo2 m;

	for (unsigned i = 0; i < 2 * ACTORS && threads_first; i++)
		advance(&actors[i / 2]);
	for (failing = 0; count > 0;)
		give_back(backwards ? count - 1 : 0, 7);
	for (unsigned i = 0; i < 2 * ACTORS; i++)
		advance(&actors[i / 2]);
	check_figures();
	al_malloc_trim(0);
	check_figures();
	if (misused)
		return;
	m = al_mallinfo2();
	OK(m.uordblks == 0 && m.hblks == 0 && m.hblkhd == 0);
	OK(al_held() == 0);
	OK(al_mapped() < MOST_MAPPED || unmap_failed);
}

/* The key that the allocator will make fills the hole: it comes before ours. */
static void set_up(void)
{
	pthread_key_t hole;

	OK(pthread_key_create(&hole, NULL) == 0);
	OK(pthread_key_create(&late_key, act_late) == 0);
	OK(pthread_key_delete(hole) == 0);
	OK(sem_init(&done, 0, 0) == 0);
	for (unsigned i = 0; i < ACTORS; i++)
		OK(sem_init(&actors[i].go, 0, 0) == 0);
	nowhere = fopen("/dev/null", "w");
	OK(nowhere);
	setvbuf(nowhere, NULL, _IONBF, 0);
	current = actors;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const size_t thresholds[] = { 200, 0, 1, 8 };
	static const struct mode modes[] = { { 0, 1, 0 }, { 0, 1, 0 },
					     { 0, 1, 0 }, { 1, 3, 0 },
					     { 0, 1, 3 }, { 0, 2, 0 },
					     { 0, 3, 0 }, { 1, 1, 0 } };

	if (size == 0)
		return 0;
	if (!nowhere)
		set_up();
	mode = modes[data[0] / 4 % 8];
	misuse = data[0] & 32 && mode.check == 1 && !mode.direct &&
		 !mode.sample;
	al_reset(thresholds[data[0] % 4], mode.direct, mode.check, mode.sample,
		 !misuse);
	input = data + 1;
	input_end = data + size;
	calls = failing = stale_count = 0;
	unmap_failed = misused = false;
	al_free(al_malloc(1)); /* the first heap is the first thread's */
	play();
	finish(data[0] & 64, data[0] & 128);
	return 0;
}
