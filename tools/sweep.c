/*
 * sweep.c - alloc sweep: a program over ALLOC_THRESH, and which one to take.
 */
#include "alloc.h"
#include <getopt.h>
#include <math.h>

#define SIDES_MAX 10000L /* thresholds */

static const char sweep_help[] =
	"usage: alloc sweep [OPTION...] [--] [CMD...]\n"
	"\n"
	"Runs CMD (find / -xdev) at each of a range of ALLOC_THRESH, draws\n"
	"bars of what it cost, and recommends the smallest threshold that\n"
	"gets nearly all that caching can give. All thresholds take turns in\n"
	"every round, in random order; the output of CMD is thrown away.\n"
	"\n"
	"  --from N, --to N, --step N   the thresholds: 0 to 400 by 10\n"
	"  --runs N       that count, at each threshold (5)\n"
	"  --warmup N     before, that do not count (1)\n"
	"  --direct       the original design: a mapping for every block\n"
	"  --metric NAME  what is drawn: time (default), rss, syscalls,\n"
	"                 faults\n"
	"  --out FILE     what is drawn, for alloc bars (benchmark.out)\n"
	"  --json FILE, --csv FILE   all that was measured\n"
	"  --svg FILE, --png FILE    a picture, by gnuplot\n"
	"  -i, --ignore-failure      count runs with a status above 0\n"
	"  --prepare CMD  for sh, before each run, not timed; if it fails,\n"
	"                 so did the run\n"
	"  --show-output  don't throw away what CMD prints\n"
	"  --prewarm MIB  memory touched and freed before each run; default:\n"
	"                 400 on virtual machines, where cold memory is slow\n"
	"  --lib FILE     the library\n"
	"  --help         this\n"
	"\n"
	"^C ends it early; what was measured by then is kept.\n"
	"Exit status: 0; 1 if runs failed; 2 for bad usage; 130 after ^C.\n"
	"Example: alloc sweep --step 50 -- find /usr -xdev\n";

static struct {
	struct settings set;
	long from, to, step;
	bool direct;
	enum metric metric;
	const char *out;
} opt = { .set = { .runs = 5, .warmup = 1, .prewarm = -1 },
	  .to = 400,
	  .step = 10,
	  .metric = WALL,
	  .out = "benchmark.out" };

static enum metric metric_named(const char *name)
{
	static const struct {
		const char *name;
		enum metric metric;
	} names[] = { { "time", WALL },
		      { "rss", RSS },
		      { "syscalls", SYSCALLS },
		      { "faults", FAULTS } };

	for (size_t i = 0; i < COUNT(names); i++)
		if (strcmp(name, names[i].name) == 0)
			return names[i].metric;
	fail("--metric '%s' is none of time, rss, syscalls, faults", name);
}

static const struct option options[] = {
	{ "from", required_argument, NULL, 'f' },
	{ "to", required_argument, NULL, 't' },
	{ "step", required_argument, NULL, 's' },
	{ "direct", no_argument, NULL, 'd' },
	{ "metric", required_argument, NULL, 'm' },
	{ "out", required_argument, NULL, 'o' },
	SETTINGS
};

/* False: help was asked for. */
static bool parse(int argc, char **argv)
{
	int c;

	while ((c = getopt_long(argc, argv, "+i", options, NULL)) != -1)
		switch (c) {
		case 'f': opt.from = number("from", optarg, 0, 65536); break;
		case 't': opt.to = number("to", optarg, 0, 65536); break;
		case 's': opt.step = number("step", optarg, 1, 65536); break;
		case 'd': opt.direct = true; break;
		case 'm': opt.metric = metric_named(optarg); break;
		case 'o': opt.out = optarg; break;
		default:
			if (!setting(&opt.set, c))
				return false;
		}
	if (opt.to < opt.from)
		fail("--to %ld is below --from %ld", opt.to, opt.from);
	if ((opt.to - opt.from) / opt.step >= SIDES_MAX)
		fail("more than %ld thresholds; a larger --step is needed",
		     SIDES_MAX);
	return true;
}

static struct side *make_sides(const char *so, size_t n)
{
	struct side *side = need(n, sizeof(*side));

	for (size_t i = 0; i < n; i++) {
		char *env = formatted("ALLOC_THRESH=%ld",
				      opt.from + (long)i * opt.step);

		side[i].name = strchr(env, '=') + 1;
		side[i].so = so;
		side[i].env[0] = env;
		side[i].env[1] = formatted("ALLOC_DIRECT=%d", opt.direct);
	}
	return side;
}

/* Those that have runs come first. */
static size_t drop_empty(struct side *side, size_t n)
{
	size_t kept = 0;

	for (size_t i = 0; i < n; i++)
		if (side[i].runs)
			side[kept++] = side[i];
	return kept;
}

/* -- what is written */

static void write_out(const struct side *s, size_t n)
{
	FILE *out = open_output();

	for (size_t i = 0; i < n; i++)
		fprintf(out, "%s,%.6g\n", s[i].name, middle(&s[i], opt.metric));
	close_output(out, opt.out);
}

static void write_csv(const struct side *s, size_t n)
{
	FILE *out = open_output();

	fputs("threshold,run", out);
	csv_names(out);
	for (size_t i = 0; i < n; i++)
		for (size_t r = 0; r < s[i].runs; r++) {
			fprintf(out, "%s,%zu", s[i].name, r + 1);
			csv_run(out, &s[i], r);
		}
	close_output(out, opt.set.csv);
}

static void write_json(const struct plan *p, size_t n, const struct advice *a)
{
	FILE *out = open_output();

	fputs("{\"schema\":1,", out);
	json_command(out, p->cmd);
	fprintf(out, ",\"direct\":%s,\"results\":[",
		opt.direct ? "true" : "false");
	for (size_t i = 0; i < n; i++) {
		const struct side *s = &p->side[i];

		fprintf(out,
			"%s\n{\"threshold\":%s,\"runs\":%zu,\"failed\":%zu,"
			"\"noisy\":%zu",
			i ? "," : "", s->name, s->runs, s->failed, s->noisy);
		for (size_t m = 0; m < METRICS; m++) {
			fprintf(out, ",\"%s\":", metrics[m].name);
			json_values(out, s->run[m], s->runs);
		}
		fputc('}', out);
	}
	fputs("],\n\"recommendation\":", out);
	json_advice(out, p->side, a);
	fputs("}\n", out);
	close_output(out, opt.set.json);
}

static void draw_bars(const struct side *s, size_t n, const char *title)
{
	const struct metric_name *m = &metrics[opt.metric];
	struct table t = { .rows = n, .cols = 1 };
	struct look look = { .title = title };

	t.label = need(n, sizeof(*t.label));
	t.value = need(n, sizeof(*t.value));
	for (size_t i = 0; i < n; i++) {
		t.label[i] = copy(s[i].name);
		t.value[i] = middle(&s[i], opt.metric);
	}
	look.suffix = formatted("%s%s", *m->unit ? " " : "", m->unit);
	table_draw(&t, &look, stdout);
}

static void draw_picture(const struct plan *p, const struct advice *a)
{
	const struct metric_name *m = &metrics[opt.metric];
	struct plot plot = { .xlabel = "ALLOC_THRESH: freed blocks of OS "
				       "memory that are kept",
			     .whiskers = "median distance from the median" };
	struct plot_bar *bar;

	plot.title = command_text(p->cmd);
	plot.subtitle = formatted("median %s over ALLOC_THRESH%s, of %s each",
				  m->title,
				  opt.direct ? ", ALLOC_DIRECT=1" : "",
				  runs_each(p->side, p->sides));
	plot.ylabel =
		formatted("%s%s%s", m->title, *m->unit ? ", " : "", m->unit);
	plot.n = p->sides;
	plot.mark = a->advised == CANT_ADVISE ? plot.n : a->pick;
	plot.marked = why(p->side, a);
	plot.label = need(plot.n, sizeof(*plot.label));
	bar = plot_new(&plot, m->title, opt.metric);
	for (size_t i = 0; i < plot.n; i++) {
		const struct side *s = &p->side[i];
		double spread = mad(s->run[opt.metric], s->runs);

		plot.label[i] = s->name;
		bar[i].value = middle(s, opt.metric);
		bar[i].low = s->runs > 1 ? bar[i].value - spread : NAN;
		bar[i].high = bar[i].value + spread;
	}
	plot_draw(&plot, &opt.set);
}

/* True: some runs do not count. That is said, once for all thresholds. */
static bool report_failures(const struct plan *p)
{
	struct side sum = { .name = NULL };
	struct tally tally = { .runs = 0 };

	for (size_t i = 0; i < p->sides; i++) {
		const struct side *s = &p->side[i];

		if (!s->failed)
			continue;
		sum.mixed |= s->mixed ||
			     (sum.failed && sum.status != s->status);
		sum.failed += s->failed;
		sum.lost += s->lost;
		sum.status = s->status;
	}
	add_up(&tally, p->side, p->sides);
	report_failed(p->cmd[0], &sum);
	report_noisy(&tally);
	return sum.lost > 0;
}

/* True: a threshold has none of what is to be drawn. */
static bool report_missing(const struct plan *p)
{
	for (size_t i = 0; i < p->sides; i++) {
		if (!isnan(middle(&p->side[i], opt.metric)))
			continue;
		warn("%s left no statistics, so there are no %s to draw: it "
		     "ends by _exit()?",
		     p->cmd[0], metrics[opt.metric].title);
		return true;
	}
	return false;
}

int sweep_main(int argc, char **argv)
{
	static char *standard[] = { "find", "/", "-xdev", NULL };
	struct plan p = { .what = "sweep", .set = &opt.set };
	const char *so;
	struct advice a;
	char *title;
	bool failed, missing;

	if (!parse(argc, argv)) {
		fputs(sweep_help, stdout);
		return 0;
	}
	p.cmd = argv[optind] ? argv + optind : standard;
	opt.set.ignore |= p.cmd == standard;
	check_command(p.cmd);
	p.sides = (size_t)((opt.to - opt.from) / opt.step) + 1;
	so = library_path(opt.set.lib);
	check_output(opt.out);
	check_output(opt.set.json);
	check_output(opt.set.csv);
	check_output(opt.set.svg);
	check_output(opt.set.png);
	catch_interrupts();
	check_loaded(p.cmd, so, &opt.set);
	p.side = make_sides(so, p.sides);
	measure_all(&p);
	failed = report_failures(&p);
	p.sides = drop_empty(p.side, p.sides);
	if (!p.sides) {
		warn("nothing was measured");
		return interrupted ? 130 : 1;
	}
	missing = report_missing(&p);
	a = advise(p.side, p.sides);
	write_out(p.side, p.sides);
	if (opt.set.csv)
		write_csv(p.side, p.sides);
	if (opt.set.json)
		write_json(&p, p.sides, &a);
	title = formatted("%s: median %s over ALLOC_THRESH%s",
			  command_text(p.cmd), metrics[opt.metric].title,
			  opt.direct ? ", ALLOC_DIRECT=1" : "");
	draw_bars(p.side, p.sides, title);
	if (!missing)
		draw_picture(&p, &a);
	print_advice(p.side, p.sides, &a);
	return end_status(failed || missing);
}
