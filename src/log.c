/*
 * log.c - everything the allocator ever says: whole lines, one write each,
 * formatted on the stack. No stdio, no allocation, errno kept.
 *
 * Lines go to the file ALLOC_LOG names, else to standard error. find, ls and
 * sort close that before they exit, so when a log is kept a copy of the
 * descriptor is taken early. A program may close our descriptor too and get
 * the number for a file of its own: we write only while it is what we opened.
 */
#define LINE_MAX_LEN 240
#define PATH_MAX_LEN (LINE_MAX_LEN - 24) /* a line, with the process id */
#define LOG_FD_MIN 100 /* out of the way of programs that count theirs */

struct line {
	char text[LINE_MAX_LEN + 1]; /* room for the newline */
	unsigned len;
};

/* A descriptor of ours, and what it pointed to when we made it. */
struct output {
	const char *name; /* of the option */
	int fd;           /* 0: none yet */
	dev_t dev;
	ino_t ino;
	char path[PATH_MAX_LEN + 1]; /* "" is standard error */
};

static struct output log_out, trace_out, stats_out;

static void line_char(struct line *l, char c)
{
	if (l->len < LINE_MAX_LEN)
		l->text[l->len++] = c;
}

static void line_str(struct line *l, const char *s)
{
	while (*s)
		line_char(l, *s++);
}

static void line_num(struct line *l, uint64_t n, unsigned base)
{
	if (n >= base)
		line_num(l, n / base, base);
	line_char(l, "0123456789abcdef"[n % base]);
}

/* What others wrote, such that it can't spoil a line. */
static void line_quote(struct line *l, const char *s)
{
	for (int i = 0; *s && i < 40; i++, s++)
		line_char(l, *s >= ' ' && *s < 127 ? *s : '?');
	if (*s)
		line_str(l, "...");
}

/* A little of vprintf: %s %d %zu %zx %p, and %.40s for line_quote. */
static void line_format(struct line *l, const char *f, va_list args)
{
	for (; *f; f++) {
		switch (*f == '%' ? *++f : '\0') {
		case '\0': line_char(l, *f); break;
		case 's': line_str(l, va_arg(args, const char *)); break;
		case 'd': line_num(l, (unsigned)va_arg(args, int), 10); break;
		case 'z':
			f++;
			line_num(l, va_arg(args, size_t), *f == 'x' ? 16 : 10);
			break;
		case 'p':
			line_str(l, "0x");
			line_num(l, (uintptr_t)va_arg(args, void *), 16);
			break;
		case '.':
			line_quote(l, va_arg(args, const char *));
			f += strlen("40s");
			break;
		}
	}
}

__attribute__((format(printf, 2, 3))) static void
line_add(struct line *l, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	line_format(l, format, args);
	va_end(args);
}

static bool output_same(const struct output *o)
{
	struct stat st;

	return !os_failed(os_call(SYS_fstat, o->fd, &st)) &&
	       st.st_dev == o->dev && st.st_ino == o->ino;
}

/* Open the file named, each %p in it being the process id; negative: no. */
static long output_file(const char *path)
{
	struct line l = { .len = 0 };
	long fd, copy;

	for (; *path; path++) {
		if (path[0] == '%' && path[1] == 'p') {
			line_num(&l, (unsigned)os_pid(), 10);
			path++;
		} else {
			line_char(&l, *path);
		}
	}
	l.text[l.len] = '\0';
	fd = os_call(SYS_openat, AT_FDCWD, l.text,
		     O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
	if (os_failed(fd) || fd > STDERR_FILENO)
		return fd;
	/* Never become a program's standard stream. */
	copy = os_call(SYS_fcntl, fd, F_DUPFD_CLOEXEC, LOG_FD_MIN);
	os_call(SYS_close, fd);
	return copy;
}

static void output_say(struct output *o, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
#define log_say(...) output_say(&log_out, __VA_ARGS__)

static void output_open(struct output *o)
{
	long fd = o->path[0] ? output_file(o->path) : -1;
	struct output was = *o;
	struct stat st;

	if (o->path[0] && os_failed(fd)) {
		o->path[0] = '\0';
		log_say("allocator: %s='%.40s' can't be opened; "
			"using standard error",
			o->name, was.path);
	}
	if (os_failed(fd))
		fd = os_call(SYS_fcntl, STDERR_FILENO, F_DUPFD_CLOEXEC,
			     LOG_FD_MIN);
	if (os_failed(fd) || os_failed(os_call(SYS_fstat, fd, &st)))
		return;
	o->fd = (int)fd;
	o->dev = st.st_dev;
	o->ino = st.st_ino;
}

static void output_line(struct output *o, struct line *l)
{
	l->text[l->len++] = '\n';
	if (!o->fd && o->path[0])
		output_open(o);
	if (!o->fd)
		os_call(SYS_write, STDERR_FILENO, l->text, l->len);
	else if (output_same(o))
		os_call(SYS_write, o->fd, l->text, l->len);
}

static void output_say(struct output *o, const char *format, ...)
{
	struct line l = { .len = 0 };
	va_list args;

	va_start(args, format);
	line_format(&l, format, args);
	va_end(args);
	output_line(o, &l);
}

/* In a fork child whose file name has a %p: true, it will open its own. */
static bool output_forked(struct output *o)
{
	if (!o->fd || !strstr(o->path, "%p"))
		return false;
	if (output_same(o))
		os_call(SYS_close, o->fd);
	o->fd = 0;
	return true;
}

/* LOGGER: a line for what happens to chunks and heaps. */
#if LOGGER
static bool log_events = LOGGER == 1;

SLOW void log_event(const char *event, const void *addr, size_t size)
{
	log_say("allocator[%d.%d] event=%s addr=%p size=%zu", os_pid(),
		os_tid(), event, addr, size);
}
#define EVENT(event, addr, size) \
	(UNLIKELY(log_events) ? log_event(event, addr, size) : (void)0)
#else
#define EVENT(event, addr, size) ((void)(addr), (void)(size))
#endif
#define REUSED(addr, size) (TALLY(reused), EVENT("reuse", addr, size))
