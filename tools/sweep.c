/*
 * sweep.c - alloc sweep: a program over ALLOC_THRESH, and which one to take.
 */
#include "alloc.h"
#include <getopt.h>
#include <math.h>

#define NOISE_MIN 0.02   /* of a time: less is not told apart */
#define WORTH 0.05       /* of all that caching saves: no more is asked for */
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
	"  --prewarm MIB  memory touched and freed before each run; default:\n"
	"                 400 on virtual machines, where cold memory is slow\n"
	"  --lib FILE     the library\n"
	"  --help         this\n"
	"\n"
	"^C ends it early; what was measured by then is kept.\n"
	"Exit status: 0; 1 if runs failed; 2 for bad usage; 130 after ^C.\n"
	"Example: alloc sweep --step 50 --runs 3 -- find /usr -xdev\n";

static struct {
	struct settings set;
	long from, to, step;
	bool direct;
	enum metric metric;
	const char *out, *csv, *png;
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
	{ "csv", required_argument, NULL, 'c' },
	{ "png", required_argument, NULL, 'p' },
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
		case 'c': opt.csv = optarg; break;
		case 'p': opt.png = optarg; break;
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

/* -- the recommendation */

struct advice {
	size_t pick;
	size_t plateau, width; /* where it begins, and how many it has */
	bool flat;
	double noise;            /* as a part of a time */
	struct ratio end, start; /* pick to plateau, pick to the first */
};

/* All runs of `n` sides. */
static double *pool(const struct side *s, size_t n, size_t *count)
{
	double *v;

	*count = 0;
	for (size_t i = 0; i < n; i++)
		*count += s[i].runs;
	v = need(*count, sizeof(*v));
	*count = 0;
	for (size_t i = 0; i < n; i++)
		for (size_t k = 0; k < s[i].runs; k++)
			v[(*count)++] = s[i].run[WALL][k];
	return v;
}

/* Where the `width` neighbours begin that take the least time together */
static size_t fastest(const double *level, size_t n, size_t width)
{
	double sum = 0, least = INFINITY;
	size_t best = 0;

	for (size_t i = 0; i < n; i++) {
		sum += level[i] - (i < width ? 0 : level[i - width]);
		if (i + 1 < width || sum > least)
			continue;
		least = sum;
		best = i + 1 - width;
	}
	return best;
}

/* How much the runs of one threshold differ, typically. */
static double noise_of(const struct side *s, size_t n)
{
	double *part = need(n, sizeof(*part)), noise;

	for (size_t i = 0; i < n; i++)
		part[i] = mad(s[i].run[WALL], s[i].runs) / middle(&s[i], WALL);
	noise = 1.4826 * median(part, n);
	return noise > NOISE_MIN ? noise : NOISE_MIN;
}

/*
 * The plateau is the fastest third: a threshold that others disturbed, or slow
 * ones at the end, don't move the pick. There is one to pick, since in any
 * third one is no slower than the median.
 */
static struct advice advise(const struct side *s, size_t n)
{
	struct advice a = { .width = (n + 2) / 3 };
	double *level = need(n, sizeof(*level)), *end, good, plateau;
	size_t count;

	for (size_t i = 0; i < n; i++)
		level[i] = middle(&s[i], WALL);
	a.plateau = fastest(level, n, a.width);
	plateau = median(level + a.plateau, a.width);
	end = pool(s + a.plateau, a.width, &count);
	a.noise = noise_of(s, n);
	good = plateau * (1 + a.noise) + WORTH * (level[0] - plateau);
	a.flat = level[0] <= good ||
		 ratio_of(s[0].run[WALL], s[0].runs, end, count).low <=
			 1 + a.noise;
	while (!a.flat && level[a.pick] > good)
		a.pick++;
	a.end = ratio_of(s[a.pick].run[WALL], s[a.pick].runs, end, count);
	a.start = ratio_of(s[a.pick].run[WALL], s[a.pick].runs, s[0].run[WALL],
			   s[0].runs);
	return a;
}

static char *interval(bool enough, int digits, double low, double high)
{
	if (!enough)
		return "too few runs to tell";
	return formatted("95 %%: %.*f to %.*f", digits, low, digits, high);
}

static void print_advice(const struct side *s, const struct advice *a)
{
	const struct side *pick = &s[a->pick];
	bool enough = pick->runs >= RUNS_MIN && s->runs >= RUNS_MIN;
	double calls = middle(pick, SYSCALLS) / middle(s, SYSCALLS);

	printf("recommended: ALLOC_THRESH=%s\n", pick->name);
	if (a->flat) {
		printf("  the curve is flat within the noise of %.0f %%: "
		       "more caching saves no time here\n",
		       100 * a->noise);
		return;
	}
	printf("  time is %.2f (%s) of what it is from %s to %s; noise "
	       "%.0f %%\n",
	       a->end.value, interval(enough, 2, a->end.low, a->end.high),
	       s[a->plateau].name, s[a->plateau + a->width - 1].name,
	       100 * a->noise);
	printf("  against %s: %.0f %% less time (%s)", s[0].name,
	       100 * (1 - a->start.value),
	       interval(enough, 0, 100 * (1 - a->start.high),
			100 * (1 - a->start.low)));
	if (isfinite(calls))
		printf(", %.0f %% fewer memory calls", 100 * (1 - calls));
	printf(", %+.1f MiB peak RSS\n",
	       (middle(pick, RSS) - middle(&s[0], RSS)) / 1024);
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
	for (size_t m = 0; m < METRICS; m++)
		fprintf(out, ",%s", metrics[m].name);
	for (size_t i = 0; i < n; i++)
		for (size_t r = 0; r < s[i].runs; r++) {
			fprintf(out, "\n%s,%zu", s[i].name, r + 1);
			for (size_t m = 0; m < METRICS; m++)
				if (isnan(s[i].run[m][r]))
					fputs(",", out);
				else
					fprintf(out, ",%.10g", s[i].run[m][r]);
		}
	fputc('\n', out);
	close_output(out, opt.csv);
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
	fprintf(out,
		"],\n\"recommendation\":{\"threshold\":%s,\"flat\":%s,"
		"\"noise\":%.4f,\"to_plateau\":[%.4f,%.4f,%.4f],"
		"\"to_first\":[%.4f,%.4f,%.4f]}}\n",
		p->side[a->pick].name, a->flat ? "true" : "false", a->noise,
		a->end.value, a->end.low, a->end.high, a->start.value,
		a->start.low, a->start.high);
	close_output(out, opt.set.json);
}

static void draw(const struct side *s, size_t n, const char *title,
		 const struct advice *a)
{
	const struct metric_name *m = &metrics[opt.metric];
	struct table t = { .rows = n, .cols = 1 };
	struct look look = { .title = title };
	struct plot plot = { .title = title, .n = n, .mark = a->pick };
	double *low = need(n, sizeof(*low)), *high = need(n, sizeof(*high));

	t.label = need(n, sizeof(*t.label));
	t.value = need(n, sizeof(*t.value));
	for (size_t i = 0; i < n; i++) {
		double spread = mad(s[i].run[opt.metric], s[i].runs);

		t.label[i] = copy(s[i].name);
		t.value[i] = middle(&s[i], opt.metric);
		low[i] = t.value[i] - spread;
		high[i] = t.value[i] + spread;
	}
	look.suffix = formatted("%s%s", *m->unit ? " " : "", m->unit);
	plot.ylabel = formatted("%s %s", m->title, m->unit);
	table_draw(&t, &look, stdout);
	plot.label = (const char **)(uintptr_t)t.label;
	plot.value = t.value;
	plot.low = low;
	plot.high = high;
	if (opt.set.svg)
		plot_bars(&plot, opt.set.svg, "svg");
	if (opt.png)
		plot_bars(&plot, opt.png, "pngcairo");
}

/* True: some runs do not count. That is said, once for all thresholds. */
static bool report_failures(const struct plan *p)
{
	struct side sum = { .name = NULL };

	for (size_t i = 0; i < p->sides; i++) {
		const struct side *s = &p->side[i];

		sum.failed += s->failed;
		sum.lost += s->lost;
		sum.noisy += s->noisy;
		sum.runs += s->runs;
		sum.status = s->failed ? s->status : sum.status;
	}
	report_failed(p->cmd[0], &sum);
	if (sum.noisy)
		warn("other programs were busy during %zu of %zu runs",
		     sum.noisy, sum.runs);
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
	bool failed;

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
	check_output(opt.csv);
	check_output(opt.set.svg);
	check_output(opt.png);
	catch_interrupts();
	check_loaded(p.cmd, so);
	p.side = make_sides(so, p.sides);
	measure_all(&p);
	failed = report_failures(&p);
	p.sides = drop_empty(p.side, p.sides);
	if (!p.sides) {
		warn("nothing was measured");
		return interrupted ? 130 : 1;
	}
	failed |= report_missing(&p);
	a = advise(p.side, p.sides);
	write_out(p.side, p.sides);
	if (opt.csv)
		write_csv(p.side, p.sides);
	if (opt.set.json)
		write_json(&p, p.sides, &a);
	title = formatted("%s: median %s over ALLOC_THRESH%s",
			  command_text(p.cmd), metrics[opt.metric].title,
			  opt.direct ? ", ALLOC_DIRECT=1" : "");
	draw(p.side, p.sides, title, &a);
	print_advice(p.side, &a);
	return end_status(failed);
}
