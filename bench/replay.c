/*
 * replay - A recorded program: the calls of its trace, or of a made-up one.
 *
 *	replay [FILE]
 *
 * FILE is a trace of one process, as ALLOC_TRACE of this library and mtrace()
 * of glibc write it. Without a file a short synthetic recording is replayed,
 * which the program makes up, always the same: a start that keeps what it
 * allocates, and then short-lived blocks.
 *
 * All is read first, into arrays that are mapped, so that the allocator sees
 * the calls of the recording only. They are made by one thread, several times
 * over; the first and the last byte of each block are used. Blocks that never
 * were freed are freed at the end of each time.
 */
#include "bench.h"
#include <sys/mman.h>
#include <sys/stat.h>

enum { CALLS = 12 * 1000 * 1000, MADE_UP = 60 * 1000, MOST_PENDING = 1024 };

enum kind { ALLOC, FREE, REALLOC };

struct event {
	size_t size;
	uint32_t slot;
	uint32_t kind;
};

/* A slot is used again once its block is freed: there are few of them. */
static struct {
	struct event *event;
	size_t count;
	uint32_t *spare; /* slots, a stack */
	size_t spares;
	uint32_t slots;
	uint64_t calls; /* in one time through, the frees at its end included */
} tape;

static void *map(size_t count, size_t size)
{
	void *p = mmap(NULL, count * size, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		bench_fail("mmap", errno);
	return p;
}

/* -- recording */

static void tape_new(size_t most)
{
	tape.event = map(most, sizeof(*tape.event));
	tape.spare = map(most, sizeof(*tape.spare));
}

static uint32_t slot_new(void)
{
	return tape.spares ? tape.spare[--tape.spares] : tape.slots++;
}

static void record(enum kind kind, uint32_t slot, size_t size)
{
	tape.event[tape.count++] = (struct event){ size, slot, kind };
	if (kind == FREE)
		tape.spare[tape.spares++] = slot;
	else
		tape.calls += kind == ALLOC ? 2 : 1;
}

/* Half of the calls allocate, most others free one of the newest blocks. */
static void make_up(void)
{
	static uint32_t live[MADE_UP];
	uint64_t state = bench_seed(0);
	uint32_t count = 0, *one;

	tape_new(MADE_UP);
	for (int i = 0; i < MADE_UP; i++) {
		uint64_t r = bench_random(&state), what = r >> 60;
		size_t size = bench_skewed(bench_random(&state));

		if (i < MADE_UP / 20 || what < 8) {
			live[count] = slot_new();
			record(ALLOC, live[count++], size);
			continue;
		}
		one = &live[count - 1 - r % (what < 15 ? 8 : count)];
		if (what == 14) {
			record(REALLOC, *one, size);
		} else {
			record(FREE, *one, 0);
			*one = live[--count];
		}
	}
}

/* -- reading a trace */

struct line {
	char what;
	uint64_t address, size;
	unsigned long thread;
};

/* Where the live blocks of the trace are: a hash table that only grows */
struct place {
	uint64_t address;
	uint32_t slot; /* and 1; 0 when no block is there */
};
static struct place *place;
static size_t places; /* a power of 2 */

/* A realloc is two lines, and other threads' may be between them. */
static struct {
	unsigned long thread;
	uint32_t slot; /* and 1; 0 when the block was not known */
} pending[MOST_PENDING];
static int pendings;

static _Noreturn void refuse(const char *path, size_t line, const char *why)
{
	if (line)
		fprintf(stderr, "replay: %s:%zu: %s\n", path, line, why);
	else
		fprintf(stderr, "replay: %s: %s\n", path, why);
	exit(2);
}

static uint32_t *slot_at(uint64_t address)
{
	size_t i = address * 0x9e3779b97f4a7c15u >> 32 & (places - 1);

	while (place[i].address && place[i].address != address)
		i = (i + 1) & (places - 1);
	place[i].address = address;
	return &place[i].slot;
}

/* Takes a realloc out of those that are pending: its slot, as it is there. */
static bool pending_take(unsigned long thread, uint32_t *slot)
{
	for (int i = 0; i < pendings; i++) {
		if (pending[i].thread == thread) {
			*slot = pending[i].slot;
			pending[i] = pending[--pendings];
			return true;
		}
	}
	return false;
}

/* That of a size of 0 has no second line: the block is freed. */
static void pending_freed(unsigned long thread)
{
	uint32_t slot;

	if (pending_take(thread, &slot) && slot)
		record(FREE, slot - 1, 0);
}

static void pending_add(unsigned long thread, uint32_t slot)
{
	if (pendings == MOST_PENDING)
		pending_freed(pending[0].thread);
	pending[pendings].thread = thread;
	pending[pendings++].slot = slot;
}

static const char *put(const struct line *l, enum kind kind, uint32_t slot)
{
	uint32_t *at = slot_at(l->address);

	if (*at)
		return "allocated again: is this of more than one process?";
	*at = slot + 1;
	record(kind, slot, l->size);
	return NULL;
}

/* Blocks that are not known are from before the trace, or from the parent. */
static const char *take(const struct line *l)
{
	uint32_t *at, slot;

	if (l->what == '>') {
		if (!pending_take(l->thread, &slot))
			return "the new block of a realloc without the old one";
		return slot ? put(l, REALLOC, slot - 1) :
			      put(l, ALLOC, slot_new());
	}
	pending_freed(l->thread);
	if (l->what == '+')
		return put(l, ALLOC, slot_new());
	if (l->what == '!')
		return NULL;
	at = slot_at(l->address);
	if (l->what == '<')
		pending_add(l->thread, *at);
	else if (*at)
		record(FREE, *at - 1, 0);
	*at = 0;
	return NULL;
}

/* A blank and a hexadecimal number; returns what follows, or NULL. */
static const char *number(const char *s, const char *end, uint64_t *value)
{
	static const char digits[] = "0123456789abcdef";
	const char *begin = s + 3, *digit;

	*value = 0;
	if (end - s < 4 || memcmp(s, " 0x", 3) != 0)
		return NULL;
	for (s = begin; s < end && *s != ' '; s++) {
		digit = *s ? strchr(digits, *s) : NULL;
		if (!digit)
			return NULL;
		*value = *value << 4 | (uint64_t)(digit - digits);
	}
	return s == begin || s - begin > 16 ? NULL : s;
}

/* What follows the numbers, ` name=value`, is not looked at but for `tid`. */
static bool parse(const char *s, const char *end, struct line *l)
{
	*l = (struct line){ .what = 0 };
	if (end - s > 2 && s[0] == '@') {
		s = memchr(s + 2, ' ', (size_t)(end - s - 2));
		if (!s++)
			return false;
	}
	if (end - s < 4 || !*s || !strchr("+-<>!", *s))
		return false;
	l->what = *s++;
	if (l->what != '!') {
		s = number(s, end, &l->address);
		if (s && (l->what == '+' || l->what == '>'))
			s = number(s, end, &l->size);
		if (!s || !l->address)
			return false;
	}
	s = memmem(s, (size_t)(end - s), " tid=", 5);
	for (s = s ? s + 5 : end; s < end && *s >= '0' && *s <= '9'; s++)
		l->thread = l->thread * 10 + (unsigned long)(*s - '0');
	return true;
}

static size_t count_lines(const char *s, const char *end)
{
	size_t lines = 0;

	for (; (s = memchr(s, '\n', (size_t)(end - s))); s++)
		lines++;
	return lines;
}

static char *read_file(const char *path, size_t *size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	char *text;

	if (fd < 0 || fstat(fd, &st) < 0)
		refuse(path, 0, strerror(errno));
	if (!S_ISREG(st.st_mode))
		refuse(path, 0, "not a regular file");
	if (st.st_size == 0)
		refuse(path, 0, "an empty file");
	*size = (size_t)st.st_size;
	text = mmap(NULL, *size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (text == MAP_FAILED)
		refuse(path, 0, strerror(errno));
	close(fd);
	return text;
}

static void read_trace(const char *path)
{
	size_t size, at = 1;
	char *text = read_file(path, &size), *end = text + size, *next;
	size_t lines = count_lines(text, end);
	struct line line;
	const char *why;

	tape_new(lines + 1);
	for (places = 1024; places < 2 * lines;)
		places *= 2;
	place = map(places, sizeof(*place));
	for (char *s = text; s < end; s = next + 1, at++) {
		next = memchr(s, '\n', (size_t)(end - s));
		if (!next)
			refuse(path, at, "the last line is cut off");
		if (*s == '=')
			continue;
		why = parse(s, next, &line) ? take(&line) :
					      "not a line of a trace";
		if (why)
			refuse(path, at, why);
	}
	while (pendings > 0)
		pending_freed(pending[0].thread);
	if (!tape.count)
		refuse(path, 0, "no calls in it");
	munmap(place, places * sizeof(*place));
	munmap(text, size);
}

/* -- replaying */

static uint64_t ends(struct block b)
{
	return b.size ? b.p[0] * 31u + b.p[b.size - 1] : 0;
}

/* malloc(0) may give no block, and realloc() to 0 gives none. */
static void use(struct block *b, void *p, size_t size, uint64_t tag)
{
	b->p = size ? bench_need(p) : p;
	b->size = size;
	if (size) {
		b->p[0] = (unsigned char)tag;
		b->p[size - 1] = (unsigned char)(tag >> 8);
	}
}

static uint64_t replay(struct block *live, uint64_t tag)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < tape.count; i++, tag++) {
		const struct event *e = &tape.event[i];
		struct block *b = &live[e->slot];

		switch (e->kind) {
		case ALLOC: use(b, malloc(e->size), e->size, tag); break;
		case REALLOC:
			sum = sum * 31 + ends(*b);
			use(b, realloc(b->p, e->size), e->size, tag);
			break;
		default:
			sum = sum * 31 + ends(*b);
			free(b->p);
			*b = (struct block){ 0 };
		}
	}
	for (size_t i = 0; i < tape.slots; i++) {
		sum = sum * 31 + ends(live[i]);
		free(live[i].p);
		live[i] = (struct block){ 0 };
	}
	return sum;
}

int main(int argc, char **argv)
{
	uint64_t sum = 0, times;
	struct block *live;

	if (argc > 2) {
		fprintf(stderr, "usage: replay [FILE]\n");
		return 2;
	}
	if (argc == 2)
		read_trace(argv[1]);
	else
		make_up();
	times = 3 + CALLS / tape.calls;
	live = map(tape.slots, sizeof(*live));
	bench_start();
	for (uint64_t i = 0; i < times; i++)
		sum = sum * 31 + replay(live, i * 12345);
	return bench_done("replay", sum, times * tape.calls);
}
