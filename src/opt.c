/*
 * opt.c - the ALLOC_* environment variables, one row each.
 *
 * They are read once, as soon as there is an environment: at the first call
 * or from the constructor. A bad value costs a line and gives the default; an
 * empty one is none. Set-user-ID programs ignore them all: they name files.
 */
enum { OPT_thresh, OPT_direct, OPT_help };

static struct option {
	const char *name; /* with the = */
	size_t value, max;
	struct output *out; /* takes a path, not a number */
	const char *help;
} options[] = {
	[OPT_thresh] = { "ALLOC_THRESH=", 200, 65536, NULL,
			 "freed blocks of OS memory kept for reuse" },
	[OPT_direct] = { "ALLOC_DIRECT=", 0, 1, NULL,
			 "1: a mapping for every block, the original design" },
	[OPT_help] = { "ALLOC_HELP=", 0, 1, NULL, "1: print this, then run" },
	{ "ALLOC_LOG=", 0, 0, &log_out,
	  "file for all output; %p in it is the process id" },
	{ "ALLOC_TRACE=", 0, 0, &trace_out,
	  "file for a trace of every call, if built with TRACE_ON" },
	{ "ALLOC_STATS=", 0, 0, &stats_out,
	  "file to which a line of statistics is added at exit" },
};
#define OPT(id) options[OPT_##id].value
#define OPTIONS_END (options + sizeof(options) / sizeof(*options))
static bool opt_ready;

static void opt_number(struct option *o, const char *text)
{
	const char *s = text;
	size_t n = 0;

	for (; *s >= '0' && *s <= '9' && n <= o->max; s++)
		n = n * 10 + (size_t)(*s - '0');
	if (!*s && n <= o->max)
		o->value = n;
	else
		log_say("allocator: %s'%.40s' is not a number from 0 to %zu; "
			"using %zu",
			o->name, text, o->max, o->value);
}

static void opt_path(const struct option *o, const char *text)
{
	size_t len = strlen(text);

	o->out->name = o->name;
	if (len > PATH_MAX_LEN)
		log_say("allocator: %s'%.40s' is too long a name; not used",
			o->name, text);
	else
		memcpy(o->out->path, text, len + 1);
}

/* Paths first: the log is to take what is said of the numbers. */
static void opt_parse(bool paths)
{
	for (char **e = environ; *e; e++) {
		if (strncmp(*e, "ALLOC_", 6) != 0)
			continue;
		for (struct option *o = options; o < OPTIONS_END; o++) {
			size_t len = strlen(o->name);

			if (strncmp(*e, o->name, len) != 0 || !(*e)[len] ||
			    (o->out != NULL) != paths)
				continue;
			if (paths)
				opt_path(o, *e + len);
			else
				opt_number(o, *e + len);
		}
	}
}

/* For ALLOC_HELP: what this is, and what is in force. */
SLOW void opt_help(void)
{
	log_say("allocator: version " VERSION ", built by " __VERSION__ "%s%s",
		LOGGER ? ", with LOGGER" : ", no LOGGER",
		TRACE_ON ? ", with TRACE_ON" : ", no TRACE_ON");
	for (const struct option *o = options; o < OPTIONS_END; o++)
		if (o->out)
			log_say("allocator: %s%s  %s", o->name, o->out->path,
				o->help);
		else
			log_say("allocator: %s%zu  %s, 0 to %zu", o->name,
				o->value, o->help, o->max);
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
#if LOGGER
	log_events |= log_out.path[0] != '\0';
	if (log_events)
		output_open(&log_out);
#endif
	if (OPT(help))
		opt_help();
	EVENT("start", NULL, OPT(thresh));
}
