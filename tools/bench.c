/*
 * bench.c - alloc bench: our own workloads on several allocators.
 */
#include "alloc.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
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
	"  -i, --ignore-failure, --prepare CMD, --show-output\n"
	"                 as for alloc compare\n"
	"  --json FILE, --csv FILE   all that was measured\n"
	"  --md FILE                 a report in Markdown\n"
	"  --svg FILE, --png FILE    a picture of the geometric means\n"
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
	int fd[2], status;
	pid_t pid;

	prepare(&opt.set);
	if (pipe2(fd, O_CLOEXEC) < 0)
		fail("no pipe: %s", strerror(errno));
	pid = launch(args, (char *[]){ path, NULL }, env, fd[1]);
	close(fd[1]);
	while ((n = read(fd[0], line + len, sizeof(line) - 1 - (size_t)len)) >
	       0)
		len += n;
	close(fd[0]);
	line[len] = '\0';
	status = launch_wait(pid, &ru);
	if (status && (!opt.set.ignore || status < 0 || status > 128))
		line[0] = '\0';
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

/* Of one workload the interval; of more the least and the largest ratio */
static struct plot_bar mean_bar(const struct workload *w, size_t n, size_t k,
				enum metric m)
{
	struct plot_bar bar = { geometric(w, n, k, (int)m), NAN, NAN };
	const struct side *side = w[0].field.side;

	if (!k || isnan(bar.value))
		return bar;
	if (n == 1 && side[0].runs >= RUNS_MIN && side[k].runs >= RUNS_MIN) {
		bar.low = to_first(&w[0].field, k, m).low;
		bar.high = to_first(&w[0].field, k, m).high;
	}
	for (size_t i = 0; n > 1 && i < n; i++) {
		bar.low = fmin(bar.low, cell_of(&w[i], k, (int)m));
		bar.high = fmax(bar.high, cell_of(&w[i], k, (int)m));
	}
	return bar;
}

static void plot_means(const struct workload *w, size_t n)
{
	static const enum metric what[] = { WALL, RSS };
	const struct field *f = &w[0].field;
	struct plot p = { .xlabel = "allocator",
			  .ylabel = "ratio to glibc: smaller is better",
			  .ratios = true,
			  .title = "alloc bench" };
	char *names = NULL, *runs;
	size_t least = SIZE_MAX, most = 0;

	for (size_t i = 0; i < n; i++) {
		names = i ? formatted("%s, %s", names, w[i].name) : w[i].name;
		count_runs(&w[i].field, &least, &most);
	}
	runs = run_range(least, most);
	p.subtitle = n == 1 ? formatted("medians of %s of the workload %s",
					runs, names) :
			      formatted("geometric mean over %zu workloads, "
					"medians of %s each: %s",
					n, runs, names);
	p.whiskers = n == 1 ? "95 % interval of the ratio" :
			      "least and largest of the workloads";
	p.n = p.mark = f->n;
	p.label = need(f->n, sizeof(*p.label));
	for (size_t m = 0; m < COUNT(what); m++) {
		struct plot_bar *bar =
			plot_new(&p, metrics[what[m]].title, what[m]);

		for (size_t k = 0; k < f->n; k++) {
			bar[k] = mean_bar(w, n, k, what[m]);
			p.label[k] = isnan(bar[k].value) ?
					     formatted("%s (failed)",
						       f->side[k].name) :
					     f->side[k].name;
		}
	}
	plot_draw(&p, &opt.set);
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

static void write_bench_csv(const struct workload *w, size_t n)
{
	FILE *out = open_output();

	fputs("workload,allocator,run", out);
	csv_names(out);
	for (size_t i = 0; i < n; i++)
		csv_sides(out, &w[i].field, w[i].name);
	close_output(out, opt.set.csv);
}

/* What was measured, for people and for files */
static void write_all(const struct workload *w, size_t n)
{
	puts("ratios to glibc, smaller is better; RSS when freed and calls are "
	     "of one run\n");
	bench_tables(stdout, w, n, false);
	bench_verdicts(w, n);
	if (opt.set.json)
		write_bench_json(w, n);
	if (opt.set.csv)
		write_bench_csv(w, n);
	plot_means(w, n);
	if (opt.set.md)
		write_report(w, n, &opt.set);
}

int bench_main(int argc, char **argv)
{
	struct workload *w;
	static struct field sides;
	size_t n, done = 0;
	struct tally sum = { .runs = 0 };
	bool measured;

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
	check_output(opt.set.csv);
	check_output(opt.set.svg);
	check_output(opt.set.png);
	choose_sides(&sides, opt.set.with, opt.set.lib);
	catch_interrupts();
	for (size_t i = 0; i < n && !interrupted; i++) {
		w[done] = w[i];
		measured = run_workload(&w[done], &sides);
		add_up(&sum, w[done].field.side, sides.n);
		done += measured;
	}
	if (!done) {
		warn("nothing was measured");
		return interrupted ? 130 : 1;
	}
	report_noisy(&sum);
	write_all(w, done);
	return end_status(sum.lost > 0);
}
