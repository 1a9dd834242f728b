/*
 * report.c - what is said of a misused heap: one line, and then abort().
 *
 * With ALLOC_ABORT=0 a call without a live block is ignored, and memory of
 * which it is not certain that it is free is never used again.
 */
#define FREE_OF_NONE "free of unallocated pointer"
#define LIST_CORRUPTED "free list corrupted"
#define BUFFER_OVERFLOW "buffer overflow"
#define OUT_OF_BOUNDS "out-of-bounds write"
#define SIZE_MISMATCH "size mismatch"
/* These two are told apart by their address. */
static const char WRITE_TO_FREE[] = "write to free memory";
static const char DOUBLE_FREE[] = "double free";

/* What else is known; what is not is 0. */
struct facts {
	const void *start;        /* of the block, if not the pointer */
	size_t size;              /* of the block */
	size_t damage;            /* the first byte that is wrong, plus one */
	bool known;               /* the size is, be it 0 */
	const void *made, *freed; /* return addresses */
	const char *before;       /* what is in use before the damage, */
	size_t end, gap;          /* its size, and how far behind it that is */
};

static bool report_only; /* ALLOC_ABORT=0 */

/* A line of /proc/self/maps: its range, and the file's name or "". */
static const char *maps_parse(const char *s, uintptr_t *start, uintptr_t *end)
{
	const char *name = "";
	uintptr_t n = 0;

	for (; *s && *s != ' '; s++) {
		if (*s != '-') {
			n = n * 16 + (uintptr_t)(*s & 15) + (*s > '9' ? 9 : 0);
			continue;
		}
		*start = n;
		n = 0;
	}
	*end = n;
	for (; *s; s++)
		if (*s == '/')
			name = s + 1;
	return name;
}

/* A line of a file, without the end of it; false: there is none. */
static bool read_line(long fd, char *line, size_t size)
{
	size_t n = 0;
	char c;

	while (os_call(SYS_read, fd, &c, 1) == 1 && c != '\n')
		if (n < size - 1)
			line[n++] = c;
	line[n] = '\0';
	return n > 0;
}

/* Code is known by its file, and where in it: addr2line can tell the rest. */
static void line_place(struct line *l, const void *code)
{
	long fd = os_call(SYS_openat, AT_FDCWD, "/proc/self/maps",
			  O_RDONLY | O_CLOEXEC);
	uintptr_t at = (uintptr_t)code - 1, base = 0, start = 0, end = 0;
	char text[256], last[64] = "";
	size_t i;

	while (!os_failed(fd) && read_line(fd, text, sizeof(text))) {
		const char *name = maps_parse(text, &start, &end);

		if (strncmp(name, last, sizeof(last) - 1) != 0) {
			for (i = 0; i < sizeof(last) - 1 && name[i]; i++)
				last[i] = name[i];
			last[i] = '\0';
			base = start;
		}
		if (at >= start && at < end)
			break;
		end = 0;
	}
	if (!os_failed(fd))
		os_call(SYS_close, fd);
	if (*last && end)
		line_add(l, "%s+0x%zx", last, at - base);
	else
		line_add(l, "%p", code);
}

/* glibc's: why a process ended, for those who look at its core. */
extern struct abort_msg {
	unsigned size; /* of the mapping that it is, and that glibc unmaps */
	char text[];
} * __abort_msg __attribute__((weak));

/* Returns only with ALLOC_ABORT=0. */
SLOW void report(const char *what, const void *p, struct facts f)
{
	struct line l = { .len = 0 };
	struct abort_msg *m;

	line_add(&l, "allocator: %s %p (thread %d", what, p, os_tid());
	if (f.start && f.start != p)
		line_add(&l, ", block %p", f.start);
	if (f.size)
		line_add(&l, ", block size %zu", f.size);
	if (f.damage)
		line_add(&l, ", offset %zu", f.damage - 1);
	if (f.before)
		line_add(&l, ", %zu bytes behind %sblock %p", f.gap,
			 f.known ? "" : "the start of ", f.before);
	if (f.before && f.known)
		line_add(&l, " of %zu", f.end);
	if (f.made) {
		line_add(&l, ", allocated by ");
		line_place(&l, f.made);
	}
	if (f.freed) {
		line_add(&l, ", freed by ");
		line_place(&l, f.freed);
	}
	line_add(&l, ")");
	output_line(&log_out, &l);
	if (report_only)
		return;
	m = &__abort_msg ? os_map(page_size) : NULL;
	if (m) {
		m->size = (unsigned)page_size;
		memcpy(m->text, l.text, l.len);
		__abort_msg = m;
	}
	abort();
}

/* A list was wrong, so others may be: no slab is given back any more. */
static bool doubtful;

/* What is to be told of it, when no lock is held; .what NULL: nothing. */
struct wrong {
	const char *what;
	const void *p;
	size_t size;
};

/* See check.c. */
static void list_report(struct wrong w);
static void report_written(const void *p, struct facts f);
