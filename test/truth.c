/*
 * truth.c - is what a report says what the program did?
 *
 *	truth [N]	every N-th mistake of every kind of block, at each level
 *	truth MISTAKE KIND AROUND	be one program that makes this mistake
 *
 * A program tells by a pipe what it is about to do, so that each word of the
 * line that ends it can be judged: the name of the mistake, addresses, sizes,
 * distances, and the code that allocated. One that ends without a line, or by
 * the instruction that was wrong, says nothing false; how many are found is
 * counted, and level 3 is to find all that level 2 does.
 */
#define _GNU_SOURCE
#include <malloc.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define LEN(a) (sizeof(a) / sizeof((a)[0]))
#define NOTE_FD 3
#define LEVELS 3

/* What a program did. */
struct deed {
	const char *p; /* the block */
	size_t n;      /* that it asked for */
	size_t usable;
	const char *from, *to; /* what it wrote, */
	bool done;             /* and that it came so far */
};

/* -- the programs */

static char *plain(size_t n)
{
	return malloc(n);
}

static char *zeroed(size_t n)
{
	return calloc(1, n);
}

static char *grown(size_t n)
{
	return realloc(malloc(n / 3 + 1), n);
}

static char *shrunk(size_t n)
{
	return realloc(malloc(n + n / 2), n);
}

static char *aligned_line(size_t n)
{
	return memalign(64, n);
}

static char *aligned_page(size_t n)
{
	return memalign(4096, n);
}

static char *aligned_unit(size_t n)
{
	return memalign(65536, n);
}

static const struct kind {
	char *(*make)(size_t);
	size_t n;
	bool direct;
} kinds[] = {
	{ plain, 8, false },
	{ plain, 24, false },
	{ plain, 40, false },
	{ plain, 100, false },
	{ plain, 1000, false },
	{ plain, 5000, false },
	{ plain, 8168, false },
	{ plain, 20000, false },
	{ plain, 60000, false },
	{ plain, 100000, false },
	{ plain, 200000, false },
	{ plain, 300000, false },
	{ plain, 1 << 20, false },
	{ zeroed, 24, false },
	{ zeroed, 100, false },
	{ zeroed, 20000, false },
	{ zeroed, 300000, false },
	{ grown, 24, false },
	{ grown, 600, false },
	{ grown, 20000, false },
	{ grown, 100000, false },
	{ grown, 400000, false },
	{ shrunk, 40, false },
	{ shrunk, 600, false },
	{ shrunk, 30000, false },
	{ shrunk, 400000, false },
	{ aligned_line, 100, false },
	{ aligned_page, 100, false },
	{ aligned_page, 20000, false },
	{ aligned_page, 400000, false },
	{ aligned_unit, 70000, false },
	{ plain, 24, true },
	{ plain, 5000, true },
	{ plain, 100000, true },
	{ aligned_page, 5000, true },
};

enum { OVER, UNDER, LATE };
enum { LETTERS, ZEROS, BIT };

/* `len` bytes that begin so many behind the end, before the start, or in it. */
static const struct mistake {
	const char *name;
	int where;
	size_t at, len;
	int how;
} mistakes[] = {
	{ "over 1", OVER, 0, 1, LETTERS },
	{ "over 2", OVER, 0, 2, LETTERS },
	{ "over 8", OVER, 0, 8, LETTERS },
	{ "over 16", OVER, 0, 16, LETTERS },
	{ "over 24", OVER, 0, 24, LETTERS },
	{ "over 100", OVER, 0, 100, LETTERS },
	{ "over 4096", OVER, 0, 4096, LETTERS },
	{ "over 60000", OVER, 0, 60000, LETTERS },
	{ "over 16, zeros", OVER, 0, 16, ZEROS },
	{ "over 600, zeros", OVER, 0, 600, ZEROS },
	{ "over 16 at 40", OVER, 40, 16, LETTERS },
	{ "over 64 at 4000", OVER, 4000, 64, LETTERS },
	{ "under 1", UNDER, 1, 1, LETTERS },
	{ "under 8", UNDER, 8, 8, LETTERS },
	{ "under 16", UNDER, 16, 16, LETTERS },
	{ "under 24", UNDER, 24, 24, LETTERS },
	{ "under 100", UNDER, 100, 100, LETTERS },
	{ "under 8, zeros", UNDER, 8, 8, ZEROS },
	{ "under 16, zeros", UNDER, 16, 16, ZEROS },
	{ "late 1", LATE, 0, 1, LETTERS },
	{ "late 8", LATE, 0, 8, LETTERS },
	{ "late 8 at 8, zeros", LATE, 8, 8, ZEROS },
	{ "late 16, zeros", LATE, 0, 16, ZEROS },
	{ "late 1 at 20", LATE, 20, 1, LETTERS },
	{ "late 1 at the end", LATE, SIZE_MAX, 1, LETTERS },
	{ "late all", LATE, 0, SIZE_MAX, LETTERS },
	{ "over 1, a bit", OVER, 0, 1, BIT },
	{ "under 1, a bit", UNDER, 1, 1, BIT },
	{ "late 1, a bit", LATE, 0, 1, BIT },
};

/* Others of its size that are there: none, all in use, every second one. */
enum { ALONE, CROWD, GAPS, AROUND };

static void tell(const struct deed *deed)
{
	if (write(NOTE_FD, deed, sizeof(*deed)) < 0)
		_exit(2);
}

static void misuse(const struct mistake *m, const struct kind *k, int around)
{
	static char *other[64];
	char *p = NULL;
	struct deed deed = { .n = k->n };

	for (size_t i = 0; i < LEN(other); i++) {
		if (i == LEN(other) / 2)
			p = k->make(k->n);
		if (around != ALONE)
			other[i] = k->make(k->n);
	}
	for (size_t i = 0; around == GAPS && i < LEN(other); i += 2) {
		free(other[i]);
		other[i] = NULL;
	}
	deed.p = p;
	deed.usable = malloc_usable_size(p);
	if (m->where == LATE) {
		deed.from = p + (m->at == SIZE_MAX ? k->n - 1 : m->at);
		deed.to = deed.from + m->len;
		if (m->len == SIZE_MAX || deed.to > p + k->n)
			deed.to = p + k->n;
		if (deed.from > deed.to)
			deed.from = deed.to;
		free(p);
	} else {
		deed.from = m->where == OVER ? p + k->n + m->at : p - m->at;
		deed.to = deed.from + m->len;
	}
	tell(&deed);
	if (m->how == BIT)
		*(char *)deed.from ^= 1;
	else
		memset((char *)deed.from, m->how == ZEROS ? 0 : 'A',
		       (size_t)(deed.to - deed.from));
	deed.done = true;
	tell(&deed);
	/* What a program does next. */
	for (int i = 0; i < 5; i++)
		free(malloc(100));
	if (m->where != LATE)
		free(p);
	for (size_t i = 0; i < LEN(other); i++)
		free(other[i]);
	for (size_t i = 0; i < 200; i++)
		if (!k->make(k->n))
			_exit(2);
	for (size_t n = 16; n < 3000; n += 16)
		if (!malloc(n))
			_exit(2);
	exit(0);
}

/* -- what became of them */

struct end {
	struct deed deed;
	int status;
	char line[600];
};

static void run(const char *const *argv, struct end *end, int level,
		bool direct)
{
	int note[2], err[2];
	char *const *args = (char *const *)argv;
	size_t len = 0;
	ssize_t got;
	struct deed deed;
	pid_t pid;

	memset(end, 0, sizeof(*end));
	if (pipe(note) || pipe(err) || (pid = fork()) < 0) {
		perror("truth");
		exit(2);
	}
	if (!pid) {
		char check[2] = { (char)('0' + level), '\0' };

		dup2(err[1], 2);
		dup2(note[1], 10);
		dup2(10, NOTE_FD);
		for (int fd = NOTE_FD + 1; fd < 20; fd++)
			close(fd);
		setenv("ALLOC_CHECK", check, 1);
		if (direct)
			setenv("ALLOC_DIRECT", "1", 1);
		setenv("LD_PRELOAD", getenv("TEST_SO"), 1);
		alarm(20);
		execv(argv[0], args);
		_exit(2);
	}
	close(note[1]);
	close(err[1]);
	while ((got = read(note[0], &deed, sizeof(deed))) == sizeof(deed))
		end->deed = deed;
	while (len < sizeof(end->line) - 1 &&
	       (got = read(err[0], end->line + len,
			   sizeof(end->line) - 1 - len)) > 0)
		len += (size_t)got;
	close(note[0]);
	close(err[0]);
	waitpid(pid, &end->status, 0);
}

/* What a line says; SIZE_MAX where it says nothing. */
struct said {
	const char *what, *addr, *at; /* `at`: addr and the offset */
	const char *before;           /* the block before, or NULL */
	size_t offset, size, gap, before_size;
};

/* The number behind a word of the line. */
static size_t number(const char *line, const char *word)
{
	const char *s = line ? strstr(line, word) : NULL;

	return s ? strtoull(s + strlen(word), NULL, 0) : SIZE_MAX;
}

static struct said parse(const char *line)
{
	const char *behind = strstr(line, " bytes behind "), *s = behind;
	struct said say = {
		.what = line + strlen("allocator: "),
		.addr = (const char *)strtoull(strstr(line, " 0x") + 1, NULL,
					       16),
		.offset = number(line, ", offset "),
		.size = number(line, ", block size "),
	};

	say.at = say.addr + (say.offset == SIZE_MAX ? 0 : say.offset);
	if (!behind)
		return say;
	while (s[-1] >= '0' && s[-1] <= '9')
		s--;
	say.gap = strtoull(s, NULL, 10);
	say.before = (const char *)number(behind, " block ");
	say.before_size = number(strstr(behind, " block "), " of ");
	return say;
}

static bool in(const char *at, const char *from, const char *to)
{
	return at >= from && at < to;
}

/* A size that is named, if one is: as asked for, or at level 1 what it got. */
static bool size_true(size_t size, const struct deed *d, int level)
{
	return size == SIZE_MAX || size == d->n ||
	       (level == 1 && size >= d->n && size <= d->usable + 4096);
}

static const char *lie_bounds(const struct said *say, const struct mistake *m,
			      const struct deed *d)
{
	bool over = strncmp(say->what, "buffer overflow ", 16) == 0;

	if (m->where == LATE || (over && m->where != OVER))
		return "no such mistake was made";
	if (over && say->addr != d->p)
		return "the address is another";
	if (say->addr == d->p && say->size != SIZE_MAX && say->size != d->n)
		return "the size is another";
	if (over)
		return in(say->at, d->from, d->to) ? NULL :
						     "nothing written there";
	/* of a header or seal any byte may be what is wrong */
	if (say->offset == SIZE_MAX)
		return d->from < say->addr && d->to > say->addr - 128 ?
			       NULL :
			       "not written there";
	return in(say->at, d->from - 23, d->to) ? NULL : "not written there";
}

static const char *lie_free(const struct said *say, const struct mistake *m,
			    const struct deed *d, int level)
{
	/* of a link and mark, or a seal, any byte may be what is wrong */
	if (say->offset == SIZE_MAX ? !in(say->addr, d->from - 15, d->to) :
				      !in(say->at, d->from - 23, d->to))
		return "nothing written there";
	if (m->where == LATE && say->addr == d->p &&
	    !size_true(say->size, d, level))
		return "the size is another";
	if (!say->before)
		return NULL;
	if (say->before + say->gap +
		    (say->before_size == SIZE_MAX ? 0 : say->before_size) !=
	    say->at)
		return "the distance is wrong";
	if (say->before == d->p && !size_true(say->before_size, d, level))
		return "the size of what is before is another";
	if (say->before == d->p && m->where == LATE)
		return "what is before is not in use";
	if (m->where == OVER && level > 1 &&
	    in(say->before, d->from + 1, d->to))
		return "what is before was written over itself";
	return NULL;
}

/* What is wrong with the line, or NULL. */
static const char *lie(const struct end *end, const struct mistake *m,
		       int level)
{
	const char *line = end->line, *s = line;
	struct said say;

	if (strncmp(line, "allocator: ", strlen("allocator: ")) != 0 ||
	    strchr(line, '\n') != line + strlen(line) - 1 ||
	    !strstr(line, " 0x"))
		return "no line";
	while ((s = strstr(s, "ed by ")) != NULL) {
		s += strlen("ed by ");
		if (strncmp(s, "truth+0x", strlen("truth+0x")) != 0)
			return "who allocated or freed";
	}
	say = parse(line);
	if (strncmp(say.what, "buffer overflow ", 16) == 0 ||
	    strncmp(say.what, "out-of-bounds write ", 20) == 0)
		return lie_bounds(&say, m, &end->deed);
	if (strncmp(say.what, "write to free memory ", 21) == 0)
		return lie_free(&say, m, &end->deed, level);
	return "no such mistake was made";
}

/* By a line, or by the instruction that was wrong. */
static bool found(const struct end *end)
{
	return end->line[0] ||
	       (WIFSIGNALED(end->status) && WTERMSIG(end->status) == SIGSEGV);
}

static bool judge(const struct end *end, const struct mistake *m,
		  const struct kind *k, int around, int level)
{
	const char *wrong = NULL;

	if (end->line[0])
		wrong = lie(end, m, level);
	else if (WIFSIGNALED(end->status) && WTERMSIG(end->status) == SIGSEGV)
		wrong = end->deed.done && !k->direct ? "a fault elsewhere" :
						       NULL;
	else if (!WIFEXITED(end->status) || WEXITSTATUS(end->status))
		wrong = "another end";
	if (wrong)
		printf("%s, kind %zu (%zu%s), around %d, level %d: %s\n"
		       "  p=%p from=%p to=%p, status %x\n  %s\n",
		       m->name, (size_t)(k - kinds), k->n,
		       k->direct ? " direct" : "", around, level, wrong,
		       (void *)end->deed.p, (void *)end->deed.from,
		       (void *)end->deed.to, (unsigned)end->status, end->line);
	return wrong;
}

int main(int argc, char **argv)
{
	static struct end end[LEVELS + 1];
	unsigned lies = 0, missed = 0, all = 0, count[LEVELS + 1] = { 0 };
	size_t step = argc > 1 ? strtoul(argv[1], NULL, 10) : 1;
	size_t turn = (size_t)getpid(); /* others each time */

	if (argc == 4) {
		misuse(&mistakes[atoi(argv[1])], &kinds[atoi(argv[2])],
		       atoi(argv[3]));
		return 2;
	}
	for (size_t i = 0; i < LEN(mistakes); i++)
		for (size_t j = 0; j < LEN(kinds) * AROUND; j++) {
			const struct mistake *m = &mistakes[i];
			const struct kind *k = &kinds[j / AROUND];
			int around = (int)(j % AROUND);
			char a[3][8];
			const char *args[] = { argv[0], a[0], a[1], a[2],
					       NULL };

			if (turn++ % step)
				continue;
			snprintf(a[0], 8, "%zu", i);
			snprintf(a[1], 8, "%zu", j / AROUND);
			snprintf(a[2], 8, "%d", around);
			all++;
			for (int level = 1; level <= LEVELS; level++) {
				run(args, &end[level], level, k->direct);
				lies += judge(&end[level], m, k, around, level);
				count[level] += found(&end[level]);
			}
			/* Where blocks lie is chance at level 3. */
			for (int again = 0;
			     again < 4 && found(&end[2]) && !found(&end[3]);
			     again++)
				run(args, &end[3], 3, k->direct);
			if (found(&end[2]) && !found(&end[3]) &&
			    (m->where != OVER || !m->at)) {
				missed++;
				printf("%s, kind %zu, around %d: missed at "
				       "level 3, not 2\n  %s",
				       m->name, j / AROUND, around,
				       end[2].line);
			}
		}
	printf("%u mistakes, found at levels 1 to 3: %u, %u, %u; %u false "
	       "reports, %u found at 2 and not at 3\n",
	       all, count[1], count[2], count[3], lies, missed);
	return lies || missed || count[1] < all / 8 || count[2] < all / 2;
}
