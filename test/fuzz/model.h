/*
 * model.h - the blocks that should be live, and what should be in them.
 *
 * One thread at a time may use it. With ASan live blocks are poisoned but while
 * they are passed to a call: nobody may look at others. After misuse that would
 * be too much: a live block may be on a list, until the lack of a mark shows.
 */
#include "../test.h"
#include "../prefixed.h"
#include <sanitizer/asan_interface.h>

#define MOST_BLOCKS 2048
#define MOST_BYTES (16 * MIB)
#define PAGE 4096
#define PART 64

struct block {
	unsigned char *p;
	size_t n, usable;
	unsigned char fill;
};

/* Blocks in use, and their numbers in the order of addresses. */
static struct block live[MOST_BLOCKS];
static uint16_t order[MOST_BLOCKS];
static unsigned count;
static size_t bytes;
static unsigned calls; /* so far */
static bool misused;   /* figures may be wrong, and memory lost */

#define OK(cond) ((cond) ? (void)0 : broken(__FILE__, __LINE__, #cond, NULL))
#define OK_BLOCK(cond, b) \
	((cond) ? (void)0 : broken(__FILE__, __LINE__, #cond, b))

__attribute__((noreturn)) static void
broken(const char *file, int line, const char *cond, const struct block *b)
{
	dprintf(2, "%s:%d: failed: %s: call %u, errno %d\n", file, line, cond,
		calls, errno);
	if (b)
		dprintf(2, "block %p of %zu, usable %zu\n", (void *)b->p, b->n,
			b->usable);
	abort();
}

/* -- contents: all of a small block; of a large one parts, which end it, too */

/* Parts as far apart as no allocator moves less */
#define STRIDE (64 * KIB)

static size_t part_end(size_t n, size_t from)
{
	return n <= PAGE || n - from < PART ? n : from + PART;
}

static size_t part_next(size_t n, size_t from, size_t stride)
{
	if (n <= PAGE || from >= n - PART)
		return n;
	return from + stride < n - PART ? from + stride : n - PART;
}

static void conceal(const struct block *b)
{
	if (!misused)
		ASAN_POISON_MEMORY_REGION(b->p, b->usable);
}

static void paint(const struct block *b)
{
	size_t n = b->usable;

	for (size_t i = 0; i < n; i = part_next(n, i, STRIDE))
		memset(b->p + i, b->fill, part_end(n, i) - i);
	conceal(b);
}

/* Are the first `kept` bytes at `p` still those of the block? */
static bool painted(const unsigned char *p, const struct block *b, size_t kept)
{
	size_t n = b->usable, end;

	for (size_t i = 0; i < n && i < kept; i = part_next(n, i, STRIDE)) {
		end = part_end(n, i) < kept ? part_end(n, i) : kept;
		if (!test_all(p + i, end - i, b->fill))
			return false;
	}
	return true;
}

/* A part of each page: whatever was painted there is in one of them. */
static bool zeroed(const unsigned char *p, size_t n)
{
	for (size_t i = 0; i < n; i = part_next(n, i, PAGE))
		if (!test_all(p + i, part_end(n, i) - i, 0))
			return false;
	return true;
}

/* -- the model */

static void begin_misuse(void)
{
	for (unsigned i = 0; i < count && !misused; i++)
		ASAN_UNPOISON_MEMORY_REGION(live[i].p, live[i].usable);
	misused = true;
}

/* The place in `order` of the first block at or behind `p` */
static unsigned place_of(const unsigned char *p)
{
	unsigned low = 0, high = count;

	while (low < high) {
		unsigned middle = (low + high) / 2;

		if (live[order[middle]].p < p)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/*
 * What the allocator says of it. After misuse it need not know a live block: a
 * pointer to one that is not carved yet is taken, and handed out, unseen.
 */
static size_t usable(const struct block *b)
{
	unsigned before = al_reports();
	size_t n = al_malloc_usable_size(b->p);

	return misused && al_reports() > before ? b->n + !b->n : n;
}

/* A block is live: it must not overlap its neighbours. */
static void admit(void *p, size_t n)
{
	struct block *b = &live[count];
	unsigned place = place_of(p);

	*b = (struct block){ p, n, 0, (unsigned char)(calls % 255 + 1) };
	b->usable = usable(b);
	OK_BLOCK(b->usable >= n && (uintptr_t)p % 16 == 0, b);
	if (place > 0) {
		const struct block *before = &live[order[place - 1]];

		OK_BLOCK(before->p + before->usable <= b->p, b);
	}
	if (place < count)
		OK_BLOCK(b->p + b->usable <= live[order[place]].p, b);
	memmove(order + place + 1, order + place,
		(count - place) * sizeof(*order));
	order[place] = (uint16_t)count++;
	bytes += b->usable;
	paint(b);
}

/* The block may be looked at, and is as it was left. */
static void inspect(const struct block *b)
{
	ASAN_UNPOISON_MEMORY_REGION(b->p, b->usable);
	OK_BLOCK(painted(b->p, b, b->usable), b);
	OK_BLOCK(usable(b) == b->usable || misused, b);
}

/* The block `i` is not live any more; the last one gets its number. */
static struct block dismiss(unsigned i)
{
	struct block b = live[i];
	unsigned place = place_of(b.p);

	count--;
	order[place_of(live[count].p)] = (uint16_t)i;
	memmove(order + place, order + place + 1,
		(count - place) * sizeof(*order));
	live[i] = live[count];
	bytes -= b.usable;
	return b;
}
