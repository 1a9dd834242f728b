/*
 * bench.c - alloc bench: our own workloads on several allocators.
 */
#include "alloc.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <math.h>
#include <unistd.h>

static const char bench_help[] =
	"usage: alloc bench [OPTION...]\n"
	"\n"
	"Runs our own workloads on several allocators, in turns, and shows\n"
	"time, peak RSS, and RSS after all was freed, as ratios to glibc's;\n"
	"and how long malloc and free take at worst.\n"
	"\n"
	"  --list         the workloads, and what in real life behaves so\n"
	"  --only NAMES   some of them, with commas between\n"
	"  --with LIST, --runs N (5), --warmup N, --prewarm MIB, --lib FILE,\n"
	"  -i, --ignore-failure   as for alloc compare\n"
	"  --json FILE    all that was measured\n"
	"  --md FILE      a report in Markdown\n"
	"  --svg FILE     a picture of the geometric means, by gnuplot\n"
	"  --help         this\n"
	"\n"
	"Exit status: 0; 1 if a workload failed; 2 for bad usage; 130 after\n"
	"^C.\n"
	"Example: alloc bench --only pair,random --runs 9\n";

static struct {
	struct settings set;
	bool list;
	const char *only;
} opt = { .set = { .runs = 5, .warmup = 1, .prewarm = -1 } };

static const struct option options[] = { { "only", required_argument, NULL,
					   'o' },
					 { "list", no_argument, NULL, 'L' },
					 FIELD_SETTINGS };

/* False: help was asked for. */
static bool parse(int argc, char **argv)
{
	int c;

	while ((c = getopt_long(argc, argv, "+i", options, NULL)) != -1)
		switch (c) {
		case 'o': opt.only = optarg; break;
		case 'L': opt.list = true; break;
		default:
			if (!setting(&opt.set, c))
				return false;
		}
	return true;
}

/* -- the programs */

struct workload {
	char *name, *path;
	const char *about;
	struct field field;
};

static char *bench_dir(void)
{
	char *dir = beside("build/bench");

	if (!dir)
		dir = beside("../libexec/allocator");
	if (!dir)
		fail("no workloads beside %s; build them with make",
		     self_path());
	return dir;
}

static bool chosen(const char *name)
{
	const char *s = opt.only;
	size_t len = strlen(name);

	for (; s && *s; s += strcspn(s, ","), s += *s == ',')
		if (strncmp(s, name, len) == 0 && (!s[len] || s[len] == ','))
			return true;
	return !opt.only;
}

static void check_names(const char *dir)
{
	char *names = opt.only ? copy(opt.only) : NULL, *name;

	while (names && (name = strsep(&names, ",")) != NULL) {
		if (!*name || strpbrk(name, "./") ||
		    access(formatted("%s/%s", dir, name), X_OK) < 0)
			fail("no workload is named '%s'; see alloc bench "
			     "--list",
			     name);
	}
}

/* Runs a workload once, timing its calls, and reads its line of results. */
static const char *ask(char *path, const char *so)
{
	char *env[] = { "BENCH_LATENCY=1", "ALLOC_STATS=", NULL };
	static char line[1024];
	const char *args[] = { "-o", "/dev/null", "-p", so ? so : "", NULL };
	ssize_t n, len = 0;
	struct rusage ru;
	int fd[2];
	pid_t pid;

	if (pipe2(fd, O_CLOEXEC) < 0)
		fail("no pipe: %s", strerror(errno));
	pid = launch(args, (char *[]){ path, NULL }, env, fd[1]);
	close(fd[1]);
	while ((n = read(fd[0], line + len, sizeof(line) - 1 - (size_t)len)) >
	       0)
		len += n;
	close(fd[0]);
	line[len] = '\0';
	launch_wait(pid, &ru);
	return line;
}

static double key_of(const char *line, const char *name)
{
	const char *key = formatted(" %s=", name), *s = strstr(line, key);

	return s ? strtod(s + strlen(key), NULL) : NAN;
}

/* What the sources say of a workload: a line of the file `about`. */
static const char *about(const char *dir, const char *name)
{
	char *line = NULL;
	size_t size = 0, len = strlen(name);
	FILE *f = fopen(formatted("%s/about.txt", dir), "re");

	while (f && getline(&line, &size, f) > 0)
		if (strncmp(line, name, len) == 0 &&
		    strncmp(line + len, " - ", 3) == 0) {
			line[strcspn(line, "\n")] = '\0';
			return line + len + 3;
		}
	return "";
}

static size_t find_workloads(struct workload **list)
{
	struct dirent **entry;
	char *dir = bench_dir();
	int n = scandir(dir, &entry, NULL, alphasort);
	size_t found = 0;

	check_names(dir);
	*list = need(n > 0 ? (size_t)n : 0, sizeof(**list));
	for (int i = 0; i < n; i++) {
		struct workload *w = &(*list)[found];
		const char *name = entry[i]->d_name;

		if (strchr(name, '.') || !chosen(name))
			continue;
		w->name = copy(name);
		w->about = about(dir, name);
		w->path = formatted("%s/%s", dir, name);
		found++;
	}
	if (!found)
		fail("no workloads in %s; build them with make", dir);
	return found;
}

static bool run_workload(struct workload *w, const struct field *sides)
{
	char *cmd[] = { w->path, NULL };

	w->field = *sides;
	for (size_t i = 0; i < sides->n; i++) {
		const char *line = ask(w->path, sides->side[i].so);

		w->field.side[i].once = need(COUNT(once_names), sizeof(double));
		for (size_t m = 0; m < COUNT(once_names); m++)
			w->field.side[i].once[m] = key_of(line, once_names[m]);
	}
	return measure_field(&w->field, cmd, &opt.set, w->name);
}

/* Ratios to glibc's, and times that not all workloads tell */
static double cell_of(const struct workload *w, size_t k, int m)
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
static double geometric(const struct workload *w, size_t n, size_t k, int m)
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

static void bench_tables(FILE *out, const struct workload *w, size_t n, bool md)
{
	for (size_t i = 0; i < COUNT(tables); i++)
		bench_table(out, w, n, tables[i], md);
}

static void plot_means(const struct workload *w, size_t n)
{
	const struct field *f = &w[0].field;
	struct ratio r[SIDES][2];

	for (size_t k = 0; k < f->n; k++)
		for (int i = 0; i < 2; i++) {
			double mean = geometric(w, n, k, i ? RSS : WALL);

			r[k][i] = (struct ratio){ mean, mean, mean };
		}
	plot_ratios(f, r, "geometric mean over all workloads", opt.set.svg);
}

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

static void write_report(const struct workload *w, size_t n)
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
		opt.set.warmup, libc_version());
	for (size_t k = 1; k < f->n; k++)
		md_version(out, &f->side[k]);
	fputs(".\n\n", out);
	if (opt.set.svg)
		fprintf(out, "![geometric means](<%s>)\n\n",
			shown(basename(opt.set.svg), SIZE_MAX));
	fputs("Calls of malloc and free are timed in a run of their own; that "
	      "includes some 20 ns\nfor the clock, and what the kernel does "
	      "meanwhile.\n\n",
	      out);
	bench_tables(out, w, n, true);
	fputs("| workload | what behaves so | glibc: s | glibc: MiB |\n"
	      "|---|---|--:|--:|\n",
	      out);
	for (size_t i = 0; i < n; i++)
		fprintf(out, "| %s | %s | %.3f | %.1f |\n", w[i].name,
			w[i].about, middle(&w[i].field.side[0], WALL),
			middle(&w[i].field.side[0], RSS) / 1024);
	close_output(out, opt.set.md);
}

static void write_bench_json(const struct workload *w, size_t n)
{
	FILE *out = open_output();

	fputs("{\"schema\":1,\"workloads\":[", out);
	for (size_t i = 0; i < n; i++) {
		fputs(i ? ",\n{\"name\":" : "\n{\"name\":", out);
		json_string(out, w[i].name);
		fputc(',', out);
		json_sides(out, &w[i].field);
		fputc('}', out);
	}
	fputs("]}\n", out);
	close_output(out, opt.set.json);
}

int bench_main(int argc, char **argv)
{
	struct workload *w;
	static struct field sides;
	size_t n, done = 0;
	bool failed = false, measured;

	if (!parse(argc, argv)) {
		fputs(bench_help, stdout);
		return 0;
	}
	if (argv[optind])
		fail("alloc bench takes no command; see alloc compare");
	n = find_workloads(&w);
	for (size_t i = 0; opt.list && i < n; i++)
		printf("%-12s %s\n", w[i].name, w[i].about);
	if (opt.list)
		return 0;
	check_output(opt.set.json);
	check_output(opt.set.md);
	check_output(opt.set.svg);
	choose_sides(&sides, opt.set.with, opt.set.lib);
	catch_interrupts();
	for (size_t i = 0; i < n && !interrupted; i++) {
		w[done] = w[i];
		measured = run_workload(&w[done], &sides);
		failed |= runs_lost(&w[done].field) > 0;
		done += measured;
	}
	if (!done) {
		warn("nothing was measured");
		return interrupted ? 130 : 1;
	}
	puts("ratios to glibc, smaller is better\n");
	bench_tables(stdout, w, done, false);
	if (opt.set.json)
		write_bench_json(w, done);
	if (opt.set.svg)
		plot_means(w, done);
	if (opt.set.md)
		write_report(w, done);
	return end_status(failed);
}
