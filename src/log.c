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

/* A descriptor of ours, and what it pointed to when we made it. */
struct output {
	int fd; /* 0: none yet */
	dev_t dev;
	ino_t ino;
	char path[PATH_LEN]; /* from the environment; "" is standard error */
};

static struct output log_out, trace_out;

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

/* A copy of descriptor `fd`, out of the way; negative: it is not open. */
static long output_copy(long fd)
{
	return os_call(SYS_fcntl, fd, F_DUPFD_CLOEXEC, LOG_FD_MIN, 0, 0, 0);
}

/* Open the file named, each %p in it being the process id; negative: no. */
static long output_file(const char *path)
{
	struct line l = { .len = 0 };
	long fd, copy;

	for (; *path; path++) {
		char one[2] = { *path, '\0' };

		if (path[0] == '%' && path[1] == 'p') {
			line_dec(&l, (unsigned)os_pid());
			path++;
		} else {
			line_str(&l, one);
		}
	}
	l.text[l.len] = '\0';
	fd = os_call(SYS_openat, AT_FDCWD, (long)l.text,
		     O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644, 0, 0);
	if (os_failed(fd) || fd > STDERR_FILENO)
		return fd;
	/* Never become a program's standard stream. */
	copy = output_copy(fd);
	os_call(SYS_close, fd, 0, 0, 0, 0, 0);
	return copy;
}

static void log_complain(const char *name, const char *value, const char *why);

static void output_open(struct output *o)
{
	long fd = o->path[0] ? output_file(o->path) : -1;
	struct stat st;

	if (o->path[0] && os_failed(fd)) {
		char path[PATH_LEN];

		memcpy(path, o->path, PATH_LEN);
		o->path[0] = '\0';
		log_complain(o == &log_out ? "ALLOC_LOG" : "ALLOC_TRACE", path,
			     "can't be opened; using standard error");
	}
	if (os_failed(fd))
		fd = output_copy(STDERR_FILENO);
	if (os_failed(fd) ||
	    os_failed(os_call(SYS_fstat, fd, (long)&st, 0, 0, 0, 0)))
		return;
	o->fd = (int)fd;
	o->dev = st.st_dev;
	o->ino = st.st_ino;
}

static void output_write(struct output *o, struct line *l)
{
	if (!o->fd && o->path[0])
		output_open(o);
	if (o->fd && !output_same(o))
		return;
	l->text[l->len++] = '\n';
	os_call(SYS_write, o->fd ? o->fd : STDERR_FILENO, (long)l->text, l->len,
		0, 0, 0);
}

/* In a fork child whose file name has a %p: true, it will open its own. */
static bool output_forked(struct output *o)
{
	if (!o->fd || !strstr(o->path, "%p"))
		return false;
	if (output_same(o))
		os_call(SYS_close, o->fd, 0, 0, 0, 0, 0);
	o->fd = 0;
	return true;
}

static void log_line(struct line *l)
{
	output_write(&log_out, l);
}

/* A setting that can't be had: what it is, and what is used instead. */
static void log_complain(const char *name, const char *value, const char *why)
{
	struct line l = { .len = 0 };

	line_str(&l, "allocator: ");
	line_str(&l, name);
	line_str(&l, "='");
	for (int i = 0; *value && i < 40; i++, value++) {
		char one[2] = { *value, '\0' };

		line_str(&l, *value >= ' ' && *value < 127 ? one : "?");
	}
	line_str(&l, *value ? "...' " : "' ");
	line_str(&l, why);
	log_line(&l);
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
	die("malloc called by a signal handler that interrupted malloc, at",
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
#define EVENT(event, addr, size) \
	do { \
		if (UNLIKELY(log_events)) \
			log_event(event, addr, size); \
	} while (0)
#else
#define EVENT(event, addr, size) ((void)(addr), (void)(size))
#endif
