/*
 * report.c - what `alloc bench` has found: tables, verdicts, and a report in
 * Markdown.
 */
#include "alloc.h"
#include <limits.h>
#include <math.h>
#include <unistd.h>

/* -- tables */

/* Ratios to glibc's, and times that not all workloads tell */
double cell_of(const struct workload *w, size_t k, int m)
{
	const struct side *s = w->field.side;

	switch (m) {
	case END_RSS: return s[k].once[0] / s[0].once[0];
	case P999: return s[k].once[P999 - END_RSS];
	case LONGEST: return s[k].once[LONGEST - END_RSS] / 1000;
	default: return to_first(&w->field, k, (enum metric)m).value;
	}
}

static const char *title_of(int m)
{
	switch (m) {
	case END_RSS: return "RSS when freed";
	case P999: return "p99.9 call, ns";
	case LONGEST: return "longest, us";
	default: return metrics[m].title;
	}
}

/* Of all workloads that tell; NAN for a side that failed in one of them */
double geometric(const struct workload *w, size_t n, size_t k, int m)
{
	double sum = 0, rows = 0;

	for (size_t i = 0; i < n; i++)
		if (!isnan(cell_of(&w[i], 0, m))) {
			sum += log(cell_of(&w[i], k, m));
			rows++;
		}
	return exp(sum / rows);
}

static void bench_row(FILE *out, const char *name, const double *v, size_t n,
		      int digits, bool md)
{
	fprintf(out, md ? "| %s |" : "%-16s", name);
	for (size_t k = 0; k < n; k++)
		fprintf(out, md ? " %s |" : "%11s",
			isnan(v[k]) ? "failed" :
				      formatted("%.*f", digits, v[k]));
	fputc('\n', out);
}

/* A row each, a column an allocator; the last row has the geometric means. */
static void bench_table(FILE *out, const struct workload *w, size_t n, int m,
			bool md)
{
	const struct field *f = &w[0].field;
	int digits = m > END_RSS ? 0 : 3;
	double v[SIDES] = { 0 };

	if (isnan(geometric(w, n, 0, m)))
		return; /* no workload tells */
	fprintf(out, md ? "| %s |" : "%-16s", title_of(m));
	for (size_t k = 0; k < f->n; k++)
		fprintf(out, md ? " %s |" : "%11.10s", f->side[k].name);
	fputs(md ? "\n|---|" : "", out);
	for (size_t k = 0; md && k < f->n; k++)
		fputs("--:|", out);
	fputc('\n', out);
	for (size_t i = 0; i < n; i++) {
		for (size_t k = 0; k < f->n; k++)
			v[k] = cell_of(&w[i], k, m);
		if (!isnan(v[0]))
			bench_row(out, w[i].name, v, f->n, digits, md);
	}
	for (size_t k = 0; k < f->n; k++)
		v[k] = geometric(w, n, k, m);
	bench_row(out, md ? "geometric mean" : "mean", v, f->n, digits, md);
	fputc('\n', out);
}

static const int tables[] = { WALL, RSS, END_RSS, P999, LONGEST };

void bench_tables(FILE *out, const struct workload *w, size_t n, bool md)
{
	for (size_t i = 0; i < COUNT(tables); i++)
		bench_table(out, w, n, tables[i], md);
}

/* -- verdicts */

/* The names of the workloads with that verdict on our allocator */
static char *names_with(const struct workload *w, const struct verdict *v,
			size_t n, enum finding finding, size_t *runs)
{
	char *names = NULL;

	*runs = SIZE_MAX;
	for (size_t i = 0; i < n; i++) {
		const struct field *f = &w[i].field;

		if (v[i].finding != finding || !ours(f)->runs ||
		    !f->side[0].runs)
			continue;
		names = names ? formatted("%s, %s", names, w[i].name) :
				copy(w[i].name);
		*runs = v[i].runs < *runs ? v[i].runs : *runs;
	}
	return names;
}

static double widest(const struct verdict *v, size_t n)
{
	double within = 0;

	for (size_t i = 0; i < n; i++)
		if (v[i].finding == SAME && v[i].within > within)
			within = v[i].within;
	return within;
}

static void print_findings(const struct workload *w, size_t n, enum metric m)
{
	const char *title[FINDINGS] = {
		[LESS] = m == WALL ? "faster" : "less memory",
		[MORE] = m == WALL ? "slower" : "more memory"
	};
	struct verdict *v = need(n, sizeof(*v));
	size_t runs;
	char *names;

	for (size_t i = 0; i < n; i++) {
		const struct side *us = ours(&w[i].field);
		const struct side *glibc = &w[i].field.side[0];

		v[i] = verdict_of(us->run[m], us->runs, glibc->run[m],
				  glibc->runs);
	}
	title[SAME] = same_within(widest(v, n));
	printf(OURS " against glibc in %s\n", metrics[m].title);
	for (int k = 0; k < FINDINGS; k++) {
		names = names_with(w, v, n, (enum finding)k, &runs);
		if (names && k == CANT_TELL)
			title[k] =
				formatted("can't tell (%s)", run_count(runs));
		if (names)
			printf("  %s: %s\n", title[k], names);
	}
}

static void print_failures(const struct workload *w, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!ours(&w[i].field)->runs || !w[i].field.side[0].runs)
			printf("  failed: %s\n", w[i].name);
}

void bench_verdicts(const struct workload *w, size_t n)
{
	if (!ours(&w[0].field) || w[0].field.n < 2)
		return;
	print_findings(w, n, WALL);
	print_findings(w, n, RSS);
	print_failures(w, n);
}

/* -- a report in Markdown */

static const char *libc_version(void)
{
	static char version[128];
	size_t n = confstr(_CS_GNU_LIBC_VERSION, version, sizeof(version));

	return n ? version : "the C library";
}

/* The version of the Debian package that a peer's library belongs to. */
static void md_version(FILE *out, const struct side *s)
{
	char version[128] = "", cmd[PATH_MAX + 128];
	FILE *f;

	if (!s->so || strchr(s->so, '\''))
		return;
	snprintf(cmd, sizeof(cmd),
		 "p=$(dpkg -S '%s' 2>/dev/null) && "
		 "dpkg-query -W -f '${Package} ${Version}' ${p%%%%:*}",
		 s->so);
	f = popen(cmd, "r");
	if (f && !fgets(version, sizeof(version), f))
		version[0] = '\0';
	if (f)
		pclose(f);
	fprintf(out, "; %s is %s%s%s", s->name, strrchr(s->so, '/') + 1,
		version[0] ? ", " : "", version);
}

static void write_glibc(FILE *out, const struct workload *w)
{
	const struct side *s = &w->field.side[0];

	if (!s->runs)
		fprintf(out, "| %s | %s | failed | | | |\n", w->name, w->about);
	else
		fprintf(out, "| %s | %s | %.3f | %.3f | %.3f | %.1f |\n",
			w->name, w->about, middle(s, WALL),
			least(s->run[WALL], s->runs),
			most(s->run[WALL], s->runs), middle(s, RSS) / 1024);
}

void write_report(const struct workload *w, size_t n,
		  const struct settings *set)
{
	FILE *out = open_output();
	const struct field *f = &w[0].field;
	size_t least = SIZE_MAX, most = 0;

	for (size_t i = 0; i < n; i++)
		count_runs(&w[i].field, &least, &most);
	fputs("# Benchmarks\n\nWritten by `make bench`. ", out);
	md_machine(out);
	fputs("\n`alloc bench` ran each workload ", out);
	md_range(out, least, most);
	fprintf(out,
		" times on each allocator, interleaved, after %ld runs\n"
		"that do not count and with warm memory. Times and peak RSS "
		"are ratios of medians to\nglibc's, RSS when freed is the "
		"ratio of one run, and calls are in ns and us: smaller\nis "
		"better. `alloc bench --only NAME` repeats a row.\n\nglibc "
		"is %s",
		set->warmup, libc_version());
	for (size_t k = 1; k < f->n; k++)
		md_version(out, &f->side[k]);
	fputs(".\n\n", out);
	if (set->svg)
		fprintf(out, "![geometric means](<%s>)\n\n",
			shown(basename(set->svg), SIZE_MAX));
	fputs("Calls of malloc and free are timed in a run of their own; that "
	      "includes some 20 ns\nfor the clock, and what the kernel does "
	      "meanwhile.\n\n",
	      out);
	bench_tables(out, w, n, true);
	fputs("| workload | what behaves so | glibc: s | min | max | "
	      "glibc: MiB |\n|---|---|--:|--:|--:|--:|\n",
	      out);
	for (size_t i = 0; i < n; i++)
		write_glibc(out, &w[i]);
	close_output(out, set->md);
}
