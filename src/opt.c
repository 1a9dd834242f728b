/*
 * opt.c - the ALLOC_* environment variables, one row each.
 *
 * They are read once, as soon as the environment is there: at the first
 * allocation or from the constructor. A bad value costs a line and gives the
 * default; an empty one is none. A set-user-ID program ignores them all: they
 * name files.
 */
#define OPTIONS(X) \
	X(thresh, "ALLOC_THRESH", 200, 65536, NULL, \
	  "freed blocks of OS memory kept for reuse") \
	X(direct, "ALLOC_DIRECT", 0, 1, NULL, \
	  "1: a mapping of its own for every block, the original design") \
	X(help, "ALLOC_HELP", 0, 1, NULL, "1: print this, then run") \
	X(log, "ALLOC_LOG", 0, 0, &log_out, \
	  "file for all output; %p in it is the process id") \
	X(trace, "ALLOC_TRACE", 0, 0, &trace_out,                              \
	  "file for a trace of every call, if built with TRACE_ON")

enum option_id {
#define X(id, ...) OPT_##id,
	OPTIONS(X)
#undef X
		OPT_COUNT
};

static struct option {
	const char *name, *help;
	uint32_t value, max;
	struct output *out; /* takes a path, not a number */
} options[] = {
#define X(id, name, dfl, max, out, help) { name, help, dfl, max, out },
	OPTIONS(X)
#undef X
};

#define OPT(id) options[OPT_##id].value

static bool opt_ready;

static void opt_number(struct option *o, const char *text)
{
	struct line why = { .len = 0 };
	uint64_t n = 0;
	const char *s = text;

	for (; *s >= '0' && *s <= '9' && n <= o->max; s++)
		n = n * 10 + (uint64_t)(*s - '0');
	if (!*s && n <= o->max) {
		o->value = (uint32_t)n;
		return;
	}
	line_str(&why, "is not a number from 0 to ");
	line_dec(&why, o->max);
	line_str(&why, "; using ");
	line_dec(&why, o->value);
	why.text[why.len] = '\0';
	log_complain(o->name, text, why.text);
}

static void opt_path(const struct option *o, const char *text)
{
	size_t len = strlen(text);

	/* What it becomes with the process id must fit a line. */
	if (len > LINE_MAX_LEN - 24)
		log_complain(o->name, text, "is too long a name; not used");
	else
		memcpy(o->out->path, text, len + 1);
}

/* Paths first: the log is to take what is said of the numbers. */
static void opt_parse(bool paths)
{
	for (char **e = environ; *e; e++) {
		if (strncmp(*e, "ALLOC_", 6) != 0)
			continue;
		for (struct option *o = options; o < options + OPT_COUNT; o++) {
			size_t len = strlen(o->name);

			if (strncmp(*e, o->name, len) != 0 ||
			    (*e)[len] != '=' || !(*e)[len + 1])
				continue;
			if (o->out && paths)
				opt_path(o, *e + len + 1);
			else if (!o->out && !paths)
				opt_number(o, *e + len + 1);
		}
	}
}

/* For ALLOC_HELP: what this is, and what is in force. */
SLOW void opt_help(void)
{
	struct line l = { .len = 0 };

	line_str(&l, "allocator: version " VERSION ", built by " __VERSION__);
	line_str(&l, LOG_CODE ? ", with LOGGER" : ", no LOGGER");
	line_str(&l, TRACE_CODE ? ", with TRACE_ON" : ", no TRACE_ON");
	log_line(&l);
	for (const struct option *o = options; o < options + OPT_COUNT; o++) {
		l.len = 0;
		line_str(&l, "allocator: ");
		line_str(&l, o->name);
		line_str(&l, "=");
		if (o->out)
			line_str(&l, o->out->path);
		else
			line_dec(&l, o->value);
		line_str(&l, "  ");
		line_str(&l, o->help);
		if (!o->out) {
			line_str(&l, ", 0 to ");
			line_dec(&l, o->max);
		}
		log_line(&l);
	}
}

static void opt_init(void)
{
	if (opt_ready || !environ)
		return;
	opt_ready = true;
	if (!getauxval(AT_SECURE)) {
		opt_parse(true);
		opt_parse(false);
	}
#if LOG_CODE
	log_events |= log_out.path[0] != '\0';
	if (log_events)
		output_open(&log_out);
#endif
	if (OPT(help))
		opt_help();
	EVENT("start", NULL, OPT(thresh));
}
