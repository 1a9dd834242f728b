/*
 * compare.c - alloc compare: a program on several allocators.
 */
#include "alloc.h"
#include <getopt.h>

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
	"  --json FILE    all that was measured\n"
	"  --md FILE      a table in Markdown\n"
	"  --svg FILE     a picture, by gnuplot\n"
	"  -i, --ignore-failure   count runs with a status above 0\n"
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

/* For people, or a table in Markdown */
static void print_rows(FILE *out, const struct field *f, bool md)
{
	if (md)
		fputs("| allocator | time s | ratio | 95 % | CPU | "
		      "peak RSS MiB | ratio | faults |\n"
		      "|---|--:|--:|--:|--:|--:|--:|--:|\n",
		      out);
	else
		fprintf(out, "%-16s %9s %8s %6s %15s %6s %9s %6s %6s\n", "",
			"time s", "+- MAD", "ratio", "95 %", "CPU", "RSS MiB",
			"ratio", "faults");
	for (size_t i = 0; i < f->n; i++) {
		const struct side *s = &f->side[i];
		struct ratio wall = to_first(f, i, WALL);

		if (!s->runs) {
			fprintf(out,
				md ? "| %s | no run counts | | | | | | |\n" :
				     "%-16s no run counts\n",
				s->name);
			continue;
		}
		fprintf(out,
			md ? "| %s | %.4f +- %.4f | %.3f | %.3f - %.3f | %.3f |"
			     " %.1f | %.3f | %.3f |\n" :
			     "%-16s %9.4f %8.4f %6.3f   %5.3f - %5.3f %6.3f "
			     "%9.1f %6.3f %6.3f\n",
			s->name, middle(s, WALL), mad(s->run[WALL], s->runs),
			wall.value, wall.low, wall.high,
			to_first(f, i, CPU).value, middle(s, RSS) / 1024,
			to_first(f, i, RSS).value,
			to_first(f, i, FAULTS).value);
	}
}

static const struct side *ours(const struct field *f)
{
	for (size_t i = 0; i < f->n; i++)
		if (strcmp(f->side[i].name, OURS) == 0)
			return &f->side[i];
	return NULL;
}

static void print_verdict(const char *other, const char *what,
			  const struct ratio *r, bool enough)
{
	if (!enough)
		printf("  %s in %s: too few runs to tell\n", other, what);
	else if (r->low > 1 && r->value >= 1.005)
		printf("  loses to %s in %s: %.1f %% more (95 %%: %.1f to "
		       "%.1f)\n",
		       other, what, 100 * (r->value - 1), 100 * (r->low - 1),
		       100 * (r->high - 1));
	else if (r->high < 1 && r->value <= 0.995)
		printf("  beats %s in %s: %.1f %% less (95 %%: %.1f to %.1f)\n",
		       other, what, 100 * (1 - r->value), 100 * (1 - r->high),
		       100 * (1 - r->low));
	else
		printf("  %s in %s: no difference beyond the noise "
		       "(%.3f to %.3f)\n",
		       other, what, r->low, r->high);
}

static void print_verdicts(const struct field *f)
{
	static const enum metric what[] = { WALL, RSS };
	const struct side *us = ours(f);

	if (us)
		puts(OURS);
	for (size_t m = 0; us && m < COUNT(what); m++)
		for (size_t i = 0; i < f->n; i++) {
			const struct side *s = &f->side[i];
			struct ratio r = ratio_of(us->run[what[m]], us->runs,
						  s->run[what[m]], s->runs);

			if (s != us)
				print_verdict(s->name, metrics[what[m]].title,
					      &r,
					      us->runs >= RUNS_MIN &&
						      s->runs >= RUNS_MIN);
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
	fputs(" runs, interleaved, with the median distance from them; ratios "
	      "to glibc. ",
	      out);
	md_machine(out);
	fputc('\n', out);
	print_rows(out, f, true);
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

static void draw(const struct field *f, const char *title)
{
	struct ratio r[SIDES][2];

	for (size_t i = 0; i < f->n; i++) {
		r[i][0] = to_first(f, i, WALL);
		r[i][1] = to_first(f, i, RSS);
	}
	plot_ratios(f, r, title, set.svg);
}

int compare_main(int argc, char **argv)
{
	static struct field f;
	char **cmd;

	if (!parse(argc, argv)) {
		fputs(compare_help, stdout);
		return 0;
	}
	cmd = argv + optind;
	check_command(cmd);
	check_output(set.json);
	check_output(set.md);
	check_output(set.svg);
	choose_sides(&f, set.with, set.lib);
	catch_interrupts();
	if (!measure_field(&f, cmd, &set, "compare")) {
		warn("nothing was measured");
		return interrupted ? 130 : 1;
	}
	print_rows(stdout, &f, false);
	print_verdicts(&f);
	if (set.md)
		write_md(&f, cmd);
	if (set.json)
		write_json(&f, cmd);
	if (set.svg)
		draw(&f, cmd[0]);
	return end_status(runs_lost(&f) > 0);
}
