/*
 * opt.c - the ALLOC_* environment variables, one row each.
 *
 * They are read once, as soon as the environment is there: at the first
 * allocation or from the constructor. A bad value costs a line and gives the
 * default. A set-user-ID program ignores them all: they name files.
 */
#define OPTIONS(X)                                                             \
	X(thresh, "ALLOC_THRESH", 200, 0, 65536,                               \
	  "freed blocks of OS memory kept for reuse")                          \
	X(direct, "ALLOC_DIRECT", 0, 0, 1,                                     \
	  "1: a mapping of its own for every block, the original design")      \
	X(help, "ALLOC_HELP", 0, 0, 1, "1: print this, then run the program")

#define PATHS(X)                                                               \
	X(log, "ALLOC_LOG", "file for all output, %p is the process id")       \
	X(trace, "ALLOC_TRACE", "file for a trace of every call")

enum option_id {
#define X(id, ...) OPT_##id,
	OPTIONS(X)
#undef X
	OPT_COUNT
};

static struct option {
	const char *name, *help;
	uint32_t value, min, max;
} options[] = {
#define X(id, name, dfl, min, max, help)                                       \
	[OPT_##id] = { name, help, dfl, min, max },
	OPTIONS(X)
#undef X
};

#define OPT(id) options[OPT_##id].value

#if TRACE_CODE
static struct output trace_out;
#endif
static bool opt_ready;

/* The value of `name` when `entry` is `name=value`, else NULL. */
static const char *opt_match(const char *entry, const char *name)
{
	while (*name && *entry == *name)
		entry++, name++;
	return !*name && *entry == '=' ? entry + 1 : NULL;
}

SLOW void opt_complain(const char *name, const char *value, const char *why)
{
	struct line l = { .len = 0 };

	line_str(&l, "allocator: ");
	line_str(&l, name);
	line_str(&l, "='");
	for (int i = 0; *value && i < 40; i++, value++) {
		char one[2] = { *value, 0 };

		line_str(&l, *value >= ' ' && *value < 127 ? one : "?");
	}
	line_str(&l, *value ? "...' " : "' ");
	line_str(&l, why);
	log_line(&l);
}

static void opt_complain_number(const struct option *o, const char *value)
{
	struct line why = { .len = 0 };

	line_str(&why, "is not a number from ");
	line_dec(&why, o->min);
	line_str(&why, " to ");
	line_dec(&why, o->max);
	line_str(&why, "; using ");
	line_dec(&why, o->value);
	why.text[why.len] = '\0';
	opt_complain(o->name, value, why.text);
}

static void opt_number(struct option *o, const char *value)
{
	uint64_t n = 0;
	const char *s = value;

	for (; *s >= '0' && *s <= '9' && n <= o->max; s++)
		n = n * 10 + (uint64_t)(*s - '0');
	if (*s || n < o->min || n > o->max)
		opt_complain_number(o, value);
	else
		o->value = (uint32_t)n;
}

static void opt_path(struct output *o, const char *name, const char *value)
{
	size_t len = strlen(value);

	/* What it becomes with the process id must fit a line. */
	if (len > LINE_MAX_LEN - 24)
		opt_complain(name, value, "is too long a name; not used");
	else
		memcpy(o->path, value, len + 1);
}

static void opt_entry(const char *entry)
{
	const char *value;

	for (struct option *o = options; o < options + OPT_COUNT; o++) {
		value = opt_match(entry, o->name);
		if (value && *value)
			opt_number(o, value);
	}
#if TRACE_CODE
	value = opt_match(entry, "ALLOC_TRACE");
	if (value)
		opt_path(&trace_out, "ALLOC_TRACE", value);
#endif
}

/* One line an option for ALLOC_HELP; true to what is in force. */
SLOW void opt_help(void)
{
	struct line l = { .len = 0 };

	line_str(&l, "allocator: version " VERSION ", built by " __VERSION__);
#ifndef __OPTIMIZE__
	line_str(&l, " without -O");
#endif
	line_str(&l, LOG_CODE ? ", with LOGGER" : ", no LOGGER");
	line_str(&l, TRACE_CODE ? ", with TRACE_ON" : ", no TRACE_ON");
	log_line(&l);
	for (const struct option *o = options; o < options + OPT_COUNT; o++) {
		l.len = 0;
		line_str(&l, "allocator: ");
		line_str(&l, o->name);
		line_str(&l, "=");
		line_dec(&l, o->value);
		line_str(&l, "  ");
		line_str(&l, o->help);
		line_str(&l, ", ");
		line_dec(&l, o->min);
		line_str(&l, " to ");
		line_dec(&l, o->max);
		log_line(&l);
	}
#if TRACE_CODE
#define TRACE_PATH trace_out.path
#else
#define TRACE_PATH "(no TRACE_ON in this build)"
#endif
#define log_path log_out.path
#define trace_path TRACE_PATH
#define X(id, name, help)                                                      \
	l.len = 0;                                                             \
	line_str(&l, "allocator: " name "=");                                  \
	line_str(&l, id##_path);                                               \
	line_str(&l, "  " help);                                               \
	log_line(&l);
	PATHS(X)
#undef X
}

/* Once the environment is there. */
static void opt_init(void)
{
	if (opt_ready || !environ)
		return;
	opt_ready = true;
	if (getauxval(AT_SECURE))
		return;
	for (char **e = environ; *e; e++) {
		const char *log = opt_match(*e, "ALLOC_LOG");

		if (log)
			opt_path(&log_out, "ALLOC_LOG", log);
	}
#if LOG_CODE
	log_events |= log_out.path[0] != '\0';
#endif
	for (char **e = environ; *e; e++)
		if ((*e)[0] == 'A' && (*e)[1] == 'L')
			opt_entry(*e);
#if LOG_CODE
	if (log_events)
		output_open(&log_out);
#endif
	if (OPT(help))
		opt_help();
	EVENT("start", NULL, OPT(thresh));
}
