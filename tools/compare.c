/*
 * compare.c - alloc compare: a program on several allocators; alloc bench: our
 * own workloads.
 */
#include "alloc.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <glob.h>
#include <limits.h>
#include <math.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#define SIDES 32
#define OURS "allocator"
#define RUNS_MIN 3 /* for a verdict */

/* Where Debian and others put what they call so; the first found is taken. */
static const struct {
	const char *name, *file, *package;
} peers[] = {
	{ "jemalloc", "libjemalloc.so.2", "libjemalloc2" },
	{ "tcmalloc", "libtcmalloc_minimal.so.4", "libtcmalloc-minimal4" },
	{ "mimalloc", "libmimalloc.so.[0-9]*", "libmimalloc2.0" },
	{ "snmalloc", "libsnmallocshim.so", NULL },
	{ "rpmalloc", "librpmallocwrap.so", NULL },
	{ "hoard", "libhoard.so", NULL },
	{ "scudo", "libscudo.so", NULL },
};

static struct {
	long runs, warmup, prewarm;
	bool ignore, list;
	const char *with, *lib, *json, *md, *svg, *only;
} opt = { .runs = 7, .warmup = 1, .prewarm = -1 };

static char *find_peer(const char *file)
{
	static const char *const dirs[] = { "/usr/local/lib", "/usr/lib/*",
					    "/usr/lib64", "/usr/lib" };

	for (size_t i = 0; i < COUNT(dirs); i++) {
		char *pattern;
		glob_t g;

		if (asprintf(&pattern, "%s/%s", dirs[i], file) < 0)
			fail("out of memory");
		if (glob(pattern, 0, NULL, &g) == 0)
			return realpath(g.gl_pathv[0], NULL);
	}
	return NULL;
}

/* -- who takes part */

struct field {
	struct side side[SIDES];
	size_t n;
};

static void add_side(struct field *f, const char *name, const char *so)
{
	for (size_t i = 0; i < f->n; i++) {
		const struct side *s = &f->side[i];

		if (so && s->so && strcmp(s->so, so) == 0)
			return;
		if (so && strcmp(s->name, name) == 0)
			name = so;
	}
	if (f->n == SIDES)
		fail("more than %d allocators", SIDES);
	f->side[f->n++] = (struct side){ .name = name, .so = so };
}

static void add_named(struct field *f, char *name)
{
	char *so;

	if (strcmp(name, OURS) == 0) {
		add_side(f, OURS, library_path(opt.lib));
		return;
	}
	if (strchr(name, '/') || strstr(name, ".so")) {
		so = library_path(name);
		add_side(f, strrchr(so, '/') + 1, so);
		return;
	}
	for (size_t i = 0; i < COUNT(peers); i++) {
		if (strcmp(name, peers[i].name) != 0)
			continue;
		so = find_peer(peers[i].file);
		if (!so)
			fail("%s is not installed%s%s", name,
			     peers[i].package ? "; Debian has it in " : "",
			     peers[i].package ? peers[i].package : "");
		add_side(f, peers[i].name, so);
		return;
	}
	fail("no allocator '%s'; there are glibc, " OURS ", jemalloc, "
	     "tcmalloc, mimalloc, snmalloc, rpmalloc, hoard, scudo, or a "
	     "library's file",
	     name);
}

/* glibc is always the first, to which all are compared. */
static void choose_sides(struct field *f)
{
	char *names = opt.with ? strdup(opt.with) : NULL, *name;
	const char *preload = getenv("LD_PRELOAD");

	if (preload && *preload)
		warn("LD_PRELOAD is set: all sides run with %s, glibc's too",
		     preload);
	add_side(f, "glibc", NULL);
	if (!opt.with)
		add_side(f, OURS, library_path(opt.lib));
	while (names && (name = strsep(&names, ",")) != NULL)
		if (strcmp(name, "glibc") != 0)
			add_named(f, name);
	for (size_t i = 0; !opt.with && i < COUNT(peers); i++) {
		char *so = find_peer(peers[i].file);

		if (so)
			add_side(f, peers[i].name, so);
	}
}

static void verify(const struct field *f, char **cmd)
{
	for (size_t i = 0; i < f->n; i++)
		if (f->side[i].so)
			check_loaded(cmd, f->side[i].so);
}

/* -- what came out */

static struct ratio to_first(const struct field *f, size_t i, enum metric m)
{
	const struct side *a = &f->side[i], *b = &f->side[0];

	return ratio_of(a->run[m], a->runs, b->run[m], b->runs);
}

static double middle(const struct side *s, enum metric m)
{
	return median(s->run[m], s->runs);
}

static void measure_field(struct field *f, char **cmd, const char *what)
{
	struct plan p = { .cmd = cmd,
			  .side = f->side,
			  .sides = f->n,
			  .runs = (size_t)opt.runs,
			  .warmup = (size_t)opt.warmup,
			  .prewarm = opt.prewarm,
			  .statuses = opt.ignore,
			  .what = what };

	measure_all(&p);
	for (size_t i = 0; i < f->n; i++) {
		const struct side *s = &f->side[i];
		char who[2 * PATH_MAX];

		snprintf(who, sizeof(who), "%s on %s", cmd[0], s->name);
		report_failed(who, s);
		if (s->noisy)
			warn("other programs were busy during %zu of %zu runs "
			     "on %s",
			     s->noisy, s->runs, s->name);
	}
}

/* False when a side has no run that counts. */
static bool complete(const struct field *f)
{
	for (size_t i = 0; i < f->n; i++)
		if (!f->side[i].runs)
			return false;
	return true;
}

static void print_text(const struct field *f)
{
	printf("%-16s %9s %8s %6s %15s %6s %9s %6s %6s\n", "", "time s",
	       "+- MAD", "ratio", "95 %", "CPU", "RSS MiB", "ratio", "faults");
	for (size_t i = 0; i < f->n; i++) {
		const struct side *s = &f->side[i];
		struct ratio wall = to_first(f, i, WALL);

		printf("%-16s %9.4f %8.4f %6.3f   %5.3f - %5.3f %6.3f %9.1f "
		       "%6.3f %6.3f\n",
		       s->name, middle(s, WALL), mad(s->run[WALL], s->runs),
		       wall.value, wall.low, wall.high,
		       to_first(f, i, CPU).value, middle(s, RSS) / 1024,
		       to_first(f, i, RSS).value, to_first(f, i, FAULTS).value);
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

/* In Markdown, `|` ends a cell. */
static void md_command(FILE *out, char **cmd)
{
	fputc('`', out);
	for (size_t i = 0; cmd[i]; i++) {
		fputs(i ? " " : "", out);
		for (const char *s = cmd[i]; *s; s++)
			fprintf(out, *s == '|' ? "\\|" : "%c", *s);
	}
	fputc('`', out);
}

static void md_machine(FILE *out)
{
	char line[1024] = "", date[64];
	time_t now = time(NULL);
	struct utsname u;
	FILE *f = fopen("/proc/cpuinfo", "r");

	while (f && fgets(line, sizeof(line), f))
		if (strncmp(line, "model name", 10) == 0)
			break;
	if (f)
		fclose(f);
	uname(&u);
	strftime(date, sizeof(date), "%Y-%m-%d", localtime(&now));
	line[strcspn(line, "\n")] = '\0';
	fprintf(out, "%s, %ld processors%s, Linux %s %s.\n", date,
		sysconf(_SC_NPROCESSORS_ONLN),
		strchr(line, ':') ? strchr(line, ':') : "", u.release,
		u.machine);
}

static void md_rows(FILE *out, const struct field *f)
{
	fputs("| allocator | time s | ratio | 95 % | CPU | peak RSS MiB | "
	      "ratio | faults |\n|---|--:|--:|--:|--:|--:|--:|--:|\n",
	      out);
	for (size_t i = 0; i < f->n; i++) {
		const struct side *s = &f->side[i];
		struct ratio wall = to_first(f, i, WALL);

		fprintf(out,
			"| %s | %.4f +- %.4f | %.3f | %.3f - %.3f | %.3f | "
			"%.1f | %.3f | %.3f |\n",
			s->name, middle(s, WALL), mad(s->run[WALL], s->runs),
			wall.value, wall.low, wall.high,
			to_first(f, i, CPU).value, middle(s, RSS) / 1024,
			to_first(f, i, RSS).value,
			to_first(f, i, FAULTS).value);
	}
}

static void write_md(const struct field *f, char **cmd)
{
	FILE *out = open_output(opt.md);

	md_command(out, cmd);
	fprintf(out,
		": medians of %ld runs, interleaved, with the median "
		"distance from them; ratios to glibc. ",
		opt.runs);
	md_machine(out);
	fputc('\n', out);
	md_rows(out, f);
	close_output(out, opt.md);
}

static void json_sides(FILE *out, const struct field *f)
{
	fputs("\"allocators\":[", out);
	for (size_t i = 0; i < f->n; i++) {
		const struct side *s = &f->side[i];

		fputs(i ? ",\n{\"name\":" : "\n{\"name\":", out);
		json_string(out, s->name);
		fputs(",\"library\":", out);
		json_string(out, s->so ? s->so : "");
		fprintf(out, ",\"runs\":%zu,\"failed\":%zu,\"noisy\":%zu",
			s->runs, s->failed, s->noisy);
		for (size_t m = 0; m < METRICS; m++) {
			fprintf(out, ",\"%s\":", metrics[m].name);
			json_values(out, s->run[m], s->runs);
		}
		fputs("}", out);
	}
	fputs("]", out);
}

/* Ratios to glibc, time and RSS side by side for each. */
static void plot_field(const struct field *f, const char *title,
		       const char *path)
{
	struct plot p = { .title = title, .ylabel = "ratio to glibc" };
	const char *label[2 * SIDES];
	double value[2 * SIDES], low[2 * SIDES], high[2 * SIDES];

	for (size_t i = 0; i < f->n; i++) {
		static const enum metric what[] = { WALL, RSS };

		for (size_t m = 0; m < COUNT(what); m++) {
			struct ratio r = to_first(f, i, what[m]);
			char *text;

			if (asprintf(&text, "%s %s", f->side[i].name,
				     m ? "RSS" : "time") < 0)
				fail("out of memory");
			label[p.n] = text;
			value[p.n] = r.value;
			low[p.n] = r.low;
			high[p.n++] = r.high;
		}
	}
	p.label = label;
	p.value = value;
	p.low = low;
	p.high = high;
	p.mark = p.n;
	plot_bars(&p, path, "svg");
}

/* -- alloc compare */

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

static const char bench_help[] =
	"usage: alloc bench [OPTION...]\n"
	"\n"
	"Runs our own workloads on several allocators, in turns, and shows\n"
	"time, peak RSS, and RSS after all was freed, as ratios to glibc's.\n"
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

static const struct option options[] = {
	{ "with", required_argument, NULL, 'a' },
	{ "runs", required_argument, NULL, 'r' },
	{ "warmup", required_argument, NULL, 'w' },
	{ "json", required_argument, NULL, 'j' },
	{ "md", required_argument, NULL, 'm' },
	{ "svg", required_argument, NULL, 'v' },
	{ "ignore-failure", no_argument, NULL, 'i' },
	{ "prewarm", required_argument, NULL, 'W' },
	{ "lib", required_argument, NULL, 'l' },
	{ "help", no_argument, NULL, 'h' },
	{ "only", required_argument, NULL, 'o' },
	{ "list", no_argument, NULL, 'L' },
	{ NULL, 0, NULL, 0 }
};

/* False: help was asked for. `bench` has the last two options as well. */
static bool parse(int argc, char **argv, bool bench)
{
	int c;

	while ((c = getopt_long(argc, argv, "+i", options, NULL)) != -1) {
		if (!bench && (c == 'o' || c == 'L'))
			fail("that option is for alloc bench");
		switch (c) {
		case 'a': opt.with = optarg; break;
		case 'r': opt.runs = number("runs", optarg, 1, 10000); break;
		case 'w': opt.warmup = number("warmup", optarg, 0, 1000); break;
		case 'W':
			opt.prewarm = number("prewarm", optarg, 0, 1 << 20);
			break;
		case 'i': opt.ignore = true; break;
		case 'j': opt.json = optarg; break;
		case 'm': opt.md = optarg; break;
		case 'v': opt.svg = optarg; break;
		case 'l': opt.lib = optarg; break;
		case 'o': opt.only = optarg; break;
		case 'L': opt.list = true; break;
		case 'h': return false;
		default: exit(2);
		}
	}
	return true;
}

int compare_main(int argc, char **argv)
{
	static struct field f;
	bool failed = false;
	char **cmd;

	if (!parse(argc, argv, false)) {
		fputs(compare_help, stdout);
		return 0;
	}
	cmd = argv + optind;
	check_command(cmd);
	check_output(opt.json);
	check_output(opt.md);
	check_output(opt.svg);
	choose_sides(&f);
	catch_interrupts();
	verify(&f, cmd);
	measure_field(&f, cmd, "compare");
	for (size_t i = 0; i < f.n; i++)
		failed |= f.side[i].lost > 0;
	if (!complete(&f)) {
		warn("an allocator has no run that counts: no comparison");
		return interrupted ? 130 : 1;
	}
	print_text(&f);
	print_verdicts(&f);
	if (opt.md)
		write_md(&f, cmd);
	if (opt.json) {
		FILE *out = open_output(opt.json);

		fputs("{\"schema\":1,", out);
		json_command(out, cmd);
		fputc(',', out);
		json_sides(out, &f);
		fputs("}\n", out);
		close_output(out, opt.json);
	}
	if (opt.svg)
		plot_field(&f, cmd[0], opt.svg);
	return interrupted ? 130 : failed;
}

/* -- alloc bench */

struct workload {
	char *name, *path;
	const char *about;
	struct field field;
	double end_rss[SIDES]; /* KiB, after all was freed */
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
	char *names = opt.only ? strdup(opt.only) : NULL, *name, *path;

	while (names && (name = strsep(&names, ",")) != NULL) {
		if (asprintf(&path, "%s/%s", dir, name) < 0)
			fail("out of memory");
		if (!*name || strpbrk(name, "./") || access(path, X_OK) < 0)
			fail("no workload is named '%s'; see alloc bench "
			     "--list",
			     name);
	}
}

/* Runs a workload once, and reads its line of results. */
static const char *ask(char *path, const char *so)
{
	static char line[1024];
	const char *args[] = { "-o", "/dev/null", "-p", so ? so : "", NULL };
	ssize_t n, len = 0;
	struct rusage ru;
	int fd[2];
	pid_t pid;

	if (pipe2(fd, O_CLOEXEC) < 0)
		fail("no pipe: %s", strerror(errno));
	pid = launch(args, (char *[]){ path, NULL }, NULL, fd[1]);
	close(fd[1]);
	while ((n = read(fd[0], line + len, sizeof(line) - 1 - (size_t)len)) >
	       0)
		len += n;
	close(fd[0]);
	line[len] = '\0';
	launch_wait(pid, &ru);
	return line;
}

static double key_of(const char *line, const char *key)
{
	const char *s = strstr(line, key);

	return s ? strtod(s + strlen(key), NULL) : NAN;
}

/* What the sources say of a workload: a line of the file `about`. */
static const char *about(const char *dir, const char *name)
{
	char *path, *line = NULL;
	size_t size = 0, len = strlen(name);
	FILE *f;

	if (asprintf(&path, "%s/about.txt", dir) < 0)
		fail("out of memory");
	f = fopen(path, "r");
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
		w->name = strdup(name);
		w->about = about(dir, name);
		if (asprintf(&w->path, "%s/%s", dir, name) < 0)
			fail("out of memory");
		found++;
	}
	if (!found)
		fail("no workloads in %s; build them with make", dir);
	return found;
}

static bool run_workload(struct workload *w, const struct field *sides)
{
	char *cmd[] = { w->path, NULL };
	bool ok = true;

	w->field = *sides;
	verify(&w->field, cmd);
	for (size_t i = 0; i < sides->n; i++)
		w->end_rss[i] =
			key_of(ask(w->path, sides->side[i].so), "rss_end_kib=");
	measure_field(&w->field, cmd, w->name);
	for (size_t i = 0; i < sides->n; i++)
		ok &= !w->field.side[i].lost;
	return ok && complete(&w->field);
}

/* A ratio to glibc's; of what is left when all was freed, or of a metric. */
enum { END_RSS = METRICS };

static double cell_of(const struct workload *w, size_t k, int m)
{
	return m == END_RSS ? w->end_rss[k] / w->end_rss[0] :
			      to_first(&w->field, k, (enum metric)m).value;
}

static double geometric(const struct workload *w, size_t n, size_t k, int m)
{
	double sum = 0;

	for (size_t i = 0; i < n; i++)
		sum += log(cell_of(&w[i], k, m));
	return exp(sum / (double)n);
}

/* A row each, a column an allocator; the last row has the geometric means. */
static void bench_table(FILE *out, const struct workload *w, size_t n, int m,
			bool md)
{
	const struct field *f = &w[0].field;
	const char *cell = md ? " %.3f |" : "%11.3f";

	fprintf(out, md ? "| %s |" : "%-16s",
		m == END_RSS ? "RSS when freed" : metrics[m].title);
	for (size_t k = 0; k < f->n; k++)
		fprintf(out, md ? " %s |" : "%11.10s", f->side[k].name);
	fputs(md ? "\n|---|" : "", out);
	for (size_t k = 0; md && k < f->n; k++)
		fputs("--:|", out);
	for (size_t i = 0; i < n; i++) {
		fprintf(out, md ? "\n| %s |" : "\n%-16s", w[i].name);
		for (size_t k = 0; k < f->n; k++)
			fprintf(out, cell, cell_of(&w[i], k, m));
	}
	fprintf(out, md ? "\n| geometric mean |" : "\n%-16s", "mean");
	for (size_t k = 0; k < f->n; k++)
		fprintf(out, cell, geometric(w, n, k, m));
	fputs("\n\n", out);
}

static void plot_means(const struct workload *w, size_t n, const char *path)
{
	struct plot p = { .title = "geometric mean over all workloads",
			  .ylabel = "ratio to glibc" };
	const struct field *f = &w[0].field;
	const char *label[2 * SIDES];
	double value[2 * SIDES];

	for (size_t k = 0; k < f->n; k++)
		for (int m = 0; m < 2; m++) {
			char *text;

			if (asprintf(&text, "%s %s", f->side[k].name,
				     m ? "RSS" : "time") < 0)
				fail("out of memory");
			label[p.n] = text;
			value[p.n++] = geometric(w, n, k, m ? RSS : WALL);
		}
	p.label = label;
	p.value = value;
	p.mark = p.n;
	plot_bars(&p, path, "svg");
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
	FILE *out = open_output(opt.md);
	const struct field *f = &w[0].field;

	fputs("# Benchmarks\n\nWritten by `make bench`. ", out);
	md_machine(out);
	fprintf(out,
		"\n`alloc bench` ran each workload %ld times on each "
		"allocator, interleaved, after %ld runs\nthat do not "
		"count and with warm memory. All numbers are ratios of "
		"medians to glibc's:\nsmaller is better. "
		"`alloc bench --only NAME` repeats a row.\n\nglibc is "
		"%s",
		opt.runs, opt.warmup, libc_version());
	for (size_t k = 1; k < f->n; k++)
		md_version(out, &f->side[k]);
	fputs(".\n\n", out);
	if (opt.svg)
		fprintf(out, "![geometric means](%s)\n\n",
			strrchr(opt.svg, '/') ? strrchr(opt.svg, '/') + 1 :
						opt.svg);
	bench_table(out, w, n, WALL, true);
	bench_table(out, w, n, RSS, true);
	bench_table(out, w, n, END_RSS, true);
	fputs("| workload | what behaves so | glibc: s | glibc: MiB |\n"
	      "|---|---|--:|--:|\n",
	      out);
	for (size_t i = 0; i < n; i++)
		fprintf(out, "| %s | %s | %.3f | %.1f |\n", w[i].name,
			w[i].about, middle(&w[i].field.side[0], WALL),
			middle(&w[i].field.side[0], RSS) / 1024);
	close_output(out, opt.md);
}

static void write_bench_json(const struct workload *w, size_t n)
{
	FILE *out = open_output(opt.json);

	fputs("{\"schema\":1,\"workloads\":[", out);
	for (size_t i = 0; i < n; i++) {
		fputs(i ? ",\n{\"name\":" : "\n{\"name\":", out);
		json_string(out, w[i].name);
		fputc(',', out);
		json_sides(out, &w[i].field);
		fputc('}', out);
	}
	fputs("]}\n", out);
	close_output(out, opt.json);
}

int bench_main(int argc, char **argv)
{
	struct workload *w;
	static struct field sides;
	size_t n, done = 0;
	bool failed = false;

	opt.runs = 5;
	if (!parse(argc, argv, true)) {
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
	check_output(opt.json);
	check_output(opt.md);
	check_output(opt.svg);
	choose_sides(&sides);
	catch_interrupts();
	for (size_t i = 0; i < n && !interrupted; i++) {
		w[done] = w[i];
		if (run_workload(&w[done], &sides))
			done++;
		else if (!interrupted)
			failed = true;
	}
	if (!done) {
		warn("nothing was measured");
		return interrupted ? 130 : 1;
	}
	puts("ratios to glibc, smaller is better\n");
	bench_table(stdout, w, done, WALL, false);
	bench_table(stdout, w, done, RSS, false);
	bench_table(stdout, w, done, END_RSS, false);
	if (opt.json)
		write_bench_json(w, done);
	if (opt.svg)
		plot_means(w, done, opt.svg);
	if (opt.md)
		write_report(w, done);
	return interrupted ? 130 : failed;
}
