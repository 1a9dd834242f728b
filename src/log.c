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
#define LOG_FD_MIN 100 /* out of the way of programs that count theirs */
#define PATH_LEN 512

struct line {
	char text[LINE_MAX_LEN + 2]; /* room for the newline */
	unsigned len;
};

/* A descriptor of ours, with what it pointed to when we made it. */
struct output {
	int fd; /* 0: none yet */
	dev_t dev;
	ino_t ino;
	char path[PATH_LEN]; /* from the environment; "" is standard error */
};

static struct output log_out;

static void line_str(struct line *l, const char *s)
{
	while (*s && l->len < LINE_MAX_LEN)
		l->text[l->len++] = *s++;
}

static void line_num(struct line *l, uint64_t n, unsigned base)
{
	char digits[24];
	unsigned i = sizeof(digits);

	digits[--i] = '\0';
	do {
		digits[--i] = "0123456789abcdef"[n % base];
	} while ((n /= base) != 0);
	line_str(l, digits + i);
}

static void line_dec(struct line *l, uint64_t n)
{
	line_num(l, n, 10);
}

static void line_ptr(struct line *l, const void *p)
{
	line_str(l, "0x");
	line_num(l, (uintptr_t)p, 16);
}

static bool output_same(const struct output *o)
{
	struct stat st;

	return !os_failed(os_call(SYS_fstat, o->fd, (long)&st, 0, 0, 0, 0)) &&
	       st.st_dev == o->dev && st.st_ino == o->ino;
}

static void output_adopt(struct output *o, long fd)
{
	struct stat st;

	if (os_failed(fd))
		return;
	if (os_failed(os_call(SYS_fstat, fd, (long)&st, 0, 0, 0, 0)))
		return;
	o->fd = (int)fd;
	o->dev = st.st_dev;
	o->ino = st.st_ino;
}

/* `path` with each %p replaced by the process id. */
static void path_expand(struct line *l, const char *path)
{
	char one[2] = "";

	for (; *path; path++) {
		if (path[0] == '%' && path[1] == 'p') {
			line_dec(l, (unsigned)os_pid());
			path++;
		} else {
			one[0] = *path;
			line_str(l, one);
		}
	}
	l->text[l->len] = '\0';
}

/* Open the file named, or take a copy of standard error. */
static void output_open(struct output *o)
{
	long fd = -1;

	if (o->path[0]) {
		struct line l = { .len = 0 };

		path_expand(&l, o->path);
		fd = os_call(SYS_openat, AT_FDCWD, (long)l.text,
			     O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644, 0,
			     0);
		if (!os_failed(fd) && fd <= STDERR_FILENO) {
			/* Never become a program's standard stream. */
			long low = fd;

			fd = os_call(SYS_fcntl, low, F_DUPFD_CLOEXEC,
				     LOG_FD_MIN, 0, 0, 0);
			os_call(SYS_close, low, 0, 0, 0, 0, 0);
		}
	}
	if (os_failed(fd))
		fd = os_call(SYS_fcntl, STDERR_FILENO, F_DUPFD_CLOEXEC,
			     LOG_FD_MIN, 0, 0, 0);
	output_adopt(o, fd);
}

static void output_write(struct output *o, struct line *l)
{
	int fd = STDERR_FILENO;

	if (!o->fd && o->path[0])
		output_open(o);
	if (o->fd) {
		if (!output_same(o))
			return;
		fd = o->fd;
	}
	l->text[l->len++] = '\n';
	os_call(SYS_write, fd, (long)l->text, l->len, 0, 0, 0);
}

/* In a fork child whose file name has a %p: open its own at the next line. */
static void output_forked(struct output *o)
{
	const char *p = o->path;

	while (*p && !(p[0] == '%' && p[1] == 'p'))
		p++;
	if (!*p || !o->fd)
		return;
	if (output_same(o))
		os_call(SYS_close, o->fd, 0, 0, 0, 0, 0);
	o->fd = 0;
}

/* One line `allocator: ...` to the log. */
static void log_line(struct line *l)
{
	output_write(&log_out, l);
}

/* The heap is being misused: say how, and stop before harm is done. */
SLOW _Noreturn void die(const char *what, const void *p, size_t size)
{
	struct line l = { .len = 0 };

	line_str(&l, "allocator: ");
	line_str(&l, what);
	line_str(&l, " ");
	line_ptr(&l, p);
	line_str(&l, " (thread ");
	line_dec(&l, (unsigned)os_tid());
	if (size) {
		line_str(&l, ", block size ");
		line_dec(&l, size);
	}
	line_str(&l, ")");
	log_line(&l);
	abort();
}

SLOW void lock_reentered(void)
{
	die("call of malloc from a signal handler that interrupted malloc at",
	    __builtin_return_address(0), 0);
}

/*
 * LOGGER: a line for what happens to chunks and heaps.
 *	allocator[<pid>.<tid>] event=map addr=0x... size=...
 */
#if LOG_CODE
static bool log_events = LOG_ON;

SLOW void log_event(const char *event, const void *addr, size_t size)
{
	struct line l = { .len = 0 };

	line_str(&l, "allocator[");
	line_dec(&l, (unsigned)os_pid());
	line_str(&l, ".");
	line_dec(&l, (unsigned)os_tid());
	line_str(&l, "] event=");
	line_str(&l, event);
	line_str(&l, " addr=");
	line_ptr(&l, addr);
	line_str(&l, " size=");
	line_dec(&l, size);
	log_line(&l);
}
#define EVENT(event, addr, size)                                               \
	do {                                                                   \
		if (UNLIKELY(log_events))                                      \
			log_event(event, addr, size);                          \
	} while (0)
#else
#define EVENT(event, addr, size) ((void)(addr), (void)(size))
#endif
