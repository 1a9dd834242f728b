/*
 * opt.c - the ALLOC_* environment variables, one row each.
 *
 * They are read once, as soon as there is an environment: at the first call
 * or from the constructor. A bad value costs a line and gives the default; an
 * empty one is none. Set-user-ID programs ignore them all: they name files.
 */
enum {
	OPT_thresh,
	OPT_direct,
	OPT_check,
	OPT_sample,
	OPT_abort,
	OPT_help,
	OPT_NUMBERS
};

/*
 * What is in force. With ALLOC_CHECK=2 and 3 it can't be written any more once
 * it is read, where a page is no larger than this.
 */
#define CONFIG_ALIGN 4096
static struct config {
	size_t value[OPT_NUMBERS];
	uint64_t secret; /* see seal.c */
	size_t tail;     /* bytes a sealed block has beyond the user's */
	bool slow;       /* no thread is to have a fast path */
	uint8_t quick;   /* ALLOC_CHECK 2 or 3, if that is all asked for */
	bool marked;     /* blocks are sealed, or some are traps */
} __attribute__((aligned(CONFIG_ALIGN)))
config __attribute__((section(".data.config"))) = {
	.value = { [OPT_thresh] = 200, [OPT_check] = 1, [OPT_abort] = 1 },
};
#define OPT(id) config.value[OPT_##id]

static const struct option {
	const char *name; /* with the = */
	size_t min, max;
	struct output *out; /* takes a path, not a number */
	const char *help;
} options[] = {
	[OPT_thresh] = { "ALLOC_THRESH=", 0, 65536, NULL,
			 "freed blocks of OS memory kept for reuse" },
	[OPT_direct] = { "ALLOC_DIRECT=", 0, 1, NULL,
			 "1: a mapping for every block, the original design" },
	[OPT_check] = { "ALLOC_CHECK=", 1, 3, NULL,
			"2: overflows and writes to freed blocks are found; "
			"3: more of them, at a price" },
	[OPT_sample] = { "ALLOC_SAMPLE=", 0, 1000000000, NULL,
			 "N: one block in N is put before inaccessible memory, "
			 "and is that when freed" },
	[OPT_abort] = { "ALLOC_ABORT=", 0, 1, NULL,
			"0: report misuse and go on" },
	[OPT_help] = { "ALLOC_HELP=", 0, 1, NULL, "1: print this, then run" },
	{ "ALLOC_LOG=", 0, 0, &log_out,
	  "file for all output; %p in it is the process id" },
	{ "ALLOC_TRACE=", 0, 0, &trace_out,
	  "file for a trace of every call, if built with TRACE_ON" },
	{ "ALLOC_STATS=", 0, 0, &stats_out,
	  "file to which a line of statistics is added at exit" },
};
#define OPTIONS_END (options + sizeof(options) / sizeof(*options))
static bool opt_ready;

/* To take a sample as often as that, every call has to be counted. */
#define SAMPLE_SLOW 64

static void opt_number(const struct option *o, const char *text)
{
	size_t *value = &config.value[o - options], n = 0;
	const char *s = text;

	for (; *s >= '0' && *s <= '9' && n <= o->max; s++)
		n = n * 10 + (size_t)(*s - '0');
	if (!*s && n <= o->max && n >= o->min)
		*value = n;
	else
		log_say("allocator: %s'%.40s' is not a number from %zu to %zu; "
			"using %zu",
			o->name, text, o->min, o->max, *value);
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
		for (const struct option *o = options; o < OPTIONS_END; o++) {
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

#ifdef __clang__
#define COMPILER __VERSION__
#else
#define COMPILER "gcc " __VERSION__
#endif
/* For ALLOC_HELP: what this is, and what is in force. */
SLOW void opt_help(void)
{
	log_say("allocator: version " VERSION ", built by " COMPILER "%s%s",
		LOGGER ? ", with LOGGER" : ", no LOGGER",
		TRACE_ON ? ", with TRACE_ON" : ", no TRACE_ON");
	for (const struct option *o = options; o < OPTIONS_END; o++)
		if (o->out)
			log_say("allocator: %s%s  %s", o->name, o->out->path,
				o->help);
		else
			log_say("allocator: %s%zu  %s, %zu to %zu", o->name,
				config.value[o - options], o->help, o->min,
				o->max);
}

/* True for the one call that reads them. */
static bool opt_init(void)
{
	if (opt_ready || !environ)
		return false;
	opt_ready = true;
	if (!getauxval(AT_SECURE)) {
		opt_parse(true);
		opt_parse(false);
	}
	report_only = !OPT(abort);
	config.marked = OPT(check) > 1 || OPT(sample);
	config.slow = OPT(check) > 1 ||
		      (OPT(sample) && OPT(sample) < SAMPLE_SLOW);
#if LOGGER
	log_events |= log_out.path[0] != '\0';
	if (log_events)
		output_open(&log_out);
#endif
	if (OPT(help))
		opt_help();
	EVENT("start", NULL, OPT(thresh));
	return true;
}
