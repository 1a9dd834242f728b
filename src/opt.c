/*
 * opt.c - the ALLOC_* environment variables, one row each.
 *
 * They are read once, as soon as there is an environment: at the first call
 * or from the constructor. A bad value costs a line and gives the default, as
 * does a name that is none; an empty value is none. Set-user-ID programs ignore
 * them all: they name files.
 */
/* Numbers: the smallest, the default, the largest. */
#define NUMBERS(X) \
	X(thresh, "THRESH", 0, 200, 65536, \
	  "freed blocks of OS memory kept for reuse") \
	X(direct, "DIRECT", 0, 0, 1, \
	  "1: a mapping for every block, the original design") \
	X(check, "CHECK", 1, 1, 3, \
	  "2: overflows and writes to freed blocks are found; 3: more of " \
	  "them, at a price") \
	X(sample, "SAMPLE", 0, 0, 1000000000, \
	  "N: one block in N is put before inaccessible memory, and is that " \
	  "when freed") \
	X(abort, "ABORT", 0, 1, 1, "0: report misuse and go on") \
	X(deepbind, "DEEPBIND", 0, 0, 1, \
	  "1: dlopen keeps RTLD_DEEPBIND: such modules have libc's malloc") \
	X(help, "HELP", 0, 0, 1, "1: print this, then run")
/* Paths of files. */
#define FILES(X) \
	X(log_out, "LOG", "file for all output; %p in it is the process id") \
	X(trace_out, "TRACE", \
	  "file for a trace of every call, if built with TRACE_ON") \
	X(stats_out, "STATS", \
	  "file to which a line of statistics is added at exit")

#define ID(id, name, min, value, max, help) OPT_##id,
enum { NUMBERS(ID) OPT_NUMBERS };

/*
 * What is in force. With ALLOC_CHECK=2 and 3 it can't be written any more once
 * it is read, where a page is no larger than this.
 */
#define CONFIG_ALIGN 4096
#define VALUE(id, name, min, value, max, help) value,
static struct config {
	size_t value[OPT_NUMBERS];
	uint64_t secret; /* see seal.c */
	size_t tail;     /* bytes a sealed block has beyond the user's */
	bool slow;       /* no thread is to have a fast path */
	uint8_t quick;   /* ALLOC_CHECK 2 or 3, if that is all asked for */
	bool marked;     /* blocks are sealed, or some are traps */
} __attribute__((aligned(CONFIG_ALIGN))) config __attribute__((
	section(".data.config"))) = { .value = { NUMBERS(VALUE) } };
#define OPT(id) config.value[OPT_##id]

#define PREFIX "ALLOC_"
#define NUMBER(id, name, min, value, max, help) \
	{ PREFIX name, help, min, max, NULL },
#define PATH(out, name, help) { PREFIX name, help, 0, 0, &(out) },
static const struct option {
	const char *name, *help;
	size_t min, max;
	struct output *out; /* takes a path, not a number */
} options[] = { NUMBERS(NUMBER) FILES(PATH) };
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
		log_say("allocator: %s='%.40s' is not a number from %zu to "
			"%zu; using %zu",
			o->name, text, o->min, o->max, *value);
}

static void opt_path(const struct option *o, const char *text)
{
	size_t len = strlen(text);

	o->out->name = o->name;
	if (len > PATH_MAX_LEN)
		log_say("allocator: %s='%.40s' is too long a name; not used",
			o->name, text);
	else
		memcpy(o->out->path, text, len + 1);
}

/* Of the nearest name the least is left between equal begins and ends. */
static void opt_unknown(const char *entry, size_t len)
{
	const char *best = NULL;
	size_t least = SIZE_MAX, i;
	char name[48];

	for (const struct option *o = options; o < OPTIONS_END; o++) {
		const char *a = entry, *a_end = a + len;
		const char *b = o->name, *b_end = b + strlen(b);

		for (; *b && *a == *b; b++)
			a++;
		for (; a < a_end && b < b_end && a_end[-1] == b_end[-1];
		     a_end--)
			b_end--;
		if ((size_t)(a_end - a + b_end - b) < least) {
			least = (size_t)(a_end - a + b_end - b);
			best = o->name;
		}
	}
	/* What it is set to may be nobody's business. */
	for (i = 0; i < len && i < sizeof(name) - 1; i++)
		name[i] = entry[i];
	name[i] = '\0';
	log_say("allocator: '%.40s' is no option; the nearest is %s", name,
		best);
}

/* Paths first: the log is to take what is said of the others. */
static void opt_take(const char *entry, bool paths)
{
	const struct option *o = options;
	const char *text = strstr(entry, "=");
	size_t len = text ? (size_t)(text - entry) : 0;

	if (!text || !*++text)
		return;
	while (o < OPTIONS_END &&
	       (strncmp(entry, o->name, len) != 0 || o->name[len] != '\0'))
		o++;
	if (paths && o < OPTIONS_END && o->out)
		opt_path(o, text);
	else if (!paths && o == OPTIONS_END)
		opt_unknown(entry, len);
	else if (!paths && !o->out)
		opt_number(o, text);
	else if (!paths && o->out == &trace_out && !TRACE_ON)
		log_say("allocator: %s='%.40s' does nothing: the library was "
			"built without TRACE_ON",
			o->name, text);
}

static void opt_parse(bool paths)
{
	for (char **e = environ; *e; e++)
		if (strncmp(*e, PREFIX, strlen(PREFIX)) == 0)
			opt_take(*e, paths);
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
			log_say("allocator: %s=%s  %s", o->name, o->out->path,
				o->help);
		else
			log_say("allocator: %s=%zu  %s, %zu to %zu", o->name,
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
