/*
 * compare.c - alloc compare: a program on several allocators.
 */
#include "alloc.h"
#include <getopt.h>
#include <math.h>

static const char compare_help[] =
	"usage: alloc compare [OPTION...] [--] CMD...\n"
	"\n"
	"Runs CMD on several allocators, in turns, and shows time, CPU time,\n"
	"peak RSS and page faults as ratios to glibc's. Each is checked to\n"
	"be really loaded. The output of CMD is thrown away.\n"
	"\n"
	"  --with LIST    of glibc, allocator, jemalloc, tcmalloc, mimalloc,\n"
	"                 snmalloc, rpmalloc, hoard, scudo, FILE.so; default:\n"
	"                 all that are installed\n"
	"  --runs N       that count, of each (7)\n"
	"  --warmup N     before, that do not count (1)\n"
	"  --json FILE, --csv FILE   all that was measured\n"
	"  --md FILE                 the tables in Markdown\n"
	"  --svg FILE, --png FILE    a picture, by gnuplot\n"
	"  -i, --ignore-failure      count runs with a status above 0\n"
	"  --prepare CMD  for sh, before each run, not timed; if it fails,\n"
	"                 so did the run\n"
	"  --show-output  don't throw away what CMD prints\n"
	"  --prewarm MIB  memory touched and freed before each run; default:\n"
	"                 400 on virtual machines, where cold memory is slow\n"
	"  --lib FILE     our library\n"
	"  --help         this\n"
	"\n"
	"Exit status: 0; 1 if runs failed; 2 for bad usage; 130 after ^C.\n"
	"Example: alloc compare -- perl -e '$h{$_} = $_ for 1..1e6'\n";

static struct settings set = { .runs = 7, .warmup = 1, .prewarm = -1 };

/* False: help was asked for. */
static bool parse(int argc, char **argv)
{
	static const struct option options[] = { FIELD_SETTINGS };
	int c;

	while ((c = getopt_long(argc, argv, "+i", options, NULL)) != -1)
		if (!setting(&set, c))
			return false;
	return true;
}

/* What is not known has no number. */
static char *cell(int digits, double v)
{
	return isnan(v) ? "-" : formatted("%.*f", digits, v);
}

/* Of the ratio to glibc's: glibc has none, and few runs tell none. */
static char *interval(const struct field *f, size_t i, const struct ratio *r)
{
	if (!i || f->side[i].runs < RUNS_MIN || f->side[0].runs < RUNS_MIN)
		return "-";
	return formatted("%.3f - %.3f", r->low, r->high);
}

static void print_row(FILE *out, const struct field *f, size_t i, enum metric m,
		      bool md)
{
	const struct side *s = &f->side[i];
	const struct ratio r = to_first(f, i, m);
	double unit = m == RSS ? 1024 : 1;
	int digits = m == RSS ? 1 : 4;

	if (!s->runs) {
		fprintf(out,
			md ? "| %s | failed: %s | | | | | |\n" :
			     "%-16s failed: %s\n",
			s->name, ended(s->status));
		return;
	}
	fprintf(out,
		md ? "| %s | %s | %s | %s | %s | %s | %s |\n" :
		     "%-16s %9s %9s %9s %6s %15s %6s\n",
		s->name, cell(digits, middle(s, m) / unit),
		cell(digits, least(s->run[m], s->runs) / unit),
		cell(digits, most(s->run[m], s->runs) / unit), cell(3, r.value),
		interval(f, i, &r),
		cell(3, to_first(f, i, m == RSS ? FAULTS : CPU).value));
}

/* For people, or in Markdown: time, and the ratio of CPU time; then memory */
static void print_tables(FILE *out, const struct field *f, bool md)
{
	static const struct {
		enum metric metric;
		const char *title, *other;
	} table[] = { { WALL, "time in s", "CPU" },
		      { RSS, "peak RSS in MiB", "faults" } };

	for (size_t t = 0; t < COUNT(table); t++) {
		fprintf(out,
			md ? "%s| %s | median | min | max | ratio | 95 %% | "
			     "%s |\n|---|--:|--:|--:|--:|--:|--:|\n" :
			     "%s%-16s    median       min       max  ratio "
			     "           95 %% %6s\n",
			t ? "\n" : "", table[t].title, table[t].other);
		for (size_t i = 0; i < f->n; i++)
			print_row(out, f, i, table[t].metric, md);
	}
}

static void print_verdict(const struct side *us, const struct side *s,
			  enum metric m)
{
	const struct verdict v =
		verdict_of(us->run[m], us->runs, s->run[m], s->runs);
	const char *text;

	if (!s->runs)
		text = formatted("%s failed", s->name);
	else if (m == RSS)
		text = verdict_text(&v, "less memory", "more memory");
	else
		text = verdict_text(&v, "faster", "slower");
	printf("  against %s: %s\n", s->name, text);
}

static void print_verdicts(const struct field *f)
{
	static const enum metric what[] = { WALL, RSS };
	const struct side *us = ours(f);

	if (!us || f->n < 2)
		return;
	if (!us->runs) {
		puts("\n" OURS " failed");
		return;
	}
	for (size_t m = 0; m < COUNT(what); m++) {
		printf("\n" OURS " in %s\n", metrics[what[m]].title);
		for (size_t i = 0; i < f->n; i++)
			if (&f->side[i] != us)
				print_verdict(us, &f->side[i], what[m]);
	}
}

/* As code in Markdown: the fence is longer than what looks like one inside. */
static void md_command(FILE *out, char **cmd)
{
	const char *text = shown(command_text(cmd), SIZE_MAX), *blank;
	size_t run = 0, fence = 1;
	char *marks;

	for (const char *s = text; *s; s++) {
		run = *s == '`' ? run + 1 : 0;
		fence = run >= fence ? run + 1 : fence;
	}
	marks = need(fence + 1, 1);
	memset(marks, '`', fence);
	blank = fence > 1 ? " " : "";
	fprintf(out, "%s%s%s%s%s", marks, blank, text, blank, marks);
}

static void write_md(const struct field *f, char **cmd)
{
	FILE *out = open_output();
	size_t least = SIZE_MAX, most = 0;

	count_runs(f, &least, &most);
	md_command(out, cmd);
	fputs(": medians of ", out);
	md_range(out, least, most);
	fputs(" runs, interleaved, with the least and the most; ratios to "
	      "glibc. ",
	      out);
	md_machine(out);
	fputc('\n', out);
	print_tables(out, f, true);
	close_output(out, set.md);
}

static void write_json(const struct field *f, char **cmd)
{
	FILE *out = open_output();

	fputs("{\"schema\":1,", out);
	json_command(out, cmd);
	fputc(',', out);
	json_sides(out, f);
	fputs("}\n", out);
	close_output(out, set.json);
}

static void write_csv(const struct field *f)
{
	FILE *out = open_output();

	fputs("allocator,run", out);
	csv_names(out);
	csv_sides(out, f, NULL);
	close_output(out, set.csv);
}

static const char *side_label(const struct field *f, size_t i)
{
	const struct side *s = &f->side[i];

	return s->runs ? s->name : formatted("%s (failed)", s->name);
}

static void draw(const struct field *f, char **cmd)
{
	static const enum metric what[] = { WALL, RSS };
	struct plot p = { .xlabel = "allocator",
			  .ylabel = "ratio to glibc: smaller is better",
			  .whiskers = "95 % interval of the ratio",
			  .ratios = true };

	p.title = command_text(cmd);
	p.subtitle = formatted("medians of %s with each allocator",
			       runs_each(f->side, f->n));
	p.n = p.mark = f->n;
	p.label = need(f->n, sizeof(*p.label));
	for (size_t m = 0; m < COUNT(what); m++) {
		struct plot_bar *bar =
			plot_new(&p, metrics[what[m]].title, what[m]);

		for (size_t i = 0; i < f->n; i++) {
			const struct ratio r = to_first(f, i, what[m]);
			bool known = *interval(f, i, &r) != '-';

			p.label[i] = side_label(f, i);
			bar[i] = (struct plot_bar){ r.value,
						    known ? r.low : NAN,
						    known ? r.high : NAN };
		}
	}
	plot_draw(&p, &set);
}

int compare_main(int argc, char **argv)
{
	static struct field f;
	struct tally sum = { .runs = 0 };
	char **cmd;

	if (!parse(argc, argv)) {
		fputs(compare_help, stdout);
		return 0;
	}
	cmd = argv + optind;
	check_command(cmd);
	check_output(set.json);
	check_output(set.md);
	check_output(set.csv);
	check_output(set.svg);
	check_output(set.png);
	choose_sides(&f, set.with, set.lib);
	catch_interrupts();
	if (!measure_field(&f, cmd, &set, "compare")) {
		warn("nothing was measured");
		return interrupted ? 130 : 1;
	}
	add_up(&sum, f.side, f.n);
	report_noisy(&sum);
	print_tables(stdout, &f, false);
	print_verdicts(&f);
	if (set.md)
		write_md(&f, cmd);
	if (set.json)
		write_json(&f, cmd);
	if (set.csv)
		write_csv(&f);
	draw(&f, cmd);
	return end_status(sum.lost > 0);
}
