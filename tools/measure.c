/*
 * measure.c - runs of a program under several sides, fairly.
 *
 * The sides take turns, in a new order in every round, so that a change of the
 * machine's mood meets all of them. Each run is started by launch.c in a new
 * process, which stays small, and after memory was warmed up. A run during
 * which other programs took much of the processors is repeated, as long as that
 * doesn't take much longer than on a quiet machine.
 */
#include "alloc.h"
#include <math.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#define RETRIES 2         /* of a noisy run */
#define NOISY_SHARE 0.15  /* of all processors, taken by others */
#define NOISY_SECONDS .03 /* /proc/stat counts in hundredths */
/*
 * All may take so many times what it would on a quiet machine, by the run of
 * each side that was least disturbed; then no run is repeated any more.
 */
#define PATIENCE 3

const struct metric_name metrics[METRICS] = {
	[WALL] = { "wall_s", "time", "s" },
	[CPU] = { "cpu_s", "CPU time", "s" },
	[USER] = { "user_s", "user time", "s" },
	[SYS] = { "system_s", "system time", "s" },
	[RSS] = { "rss_kib", "peak RSS", "KiB" },
	[FAULTS] = { "faults", "page faults", "" },
	[SYSCALLS] = { "syscalls", "memory calls", "" },
	[REUSED] = { "reused", "cache hits", "" },
};

/* -- the machine */

/* Seconds that all processors were busy so far, stolen ones included. */
static double busy_seconds(void)
{
	double user, nice, sys, idle, wait, irq, soft, steal = 0;
	FILE *f = fopen("/proc/stat", "r");
	int n = f ? fscanf(f, "cpu %lf %lf %lf %lf %lf %lf %lf %lf", &user,
			   &nice, &sys, &idle, &wait, &irq, &soft, &steal) :
		    0;

	if (f)
		fclose(f);
	if (n < 7)
		return NAN;
	return (user + nice + sys + irq + soft + steal) /
	       (double)sysconf(_SC_CLK_TCK);
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static double cpu_of(const struct rusage *ru)
{
	return (double)(ru->ru_utime.tv_sec + ru->ru_stime.tv_sec) +
	       (double)(ru->ru_utime.tv_usec + ru->ru_stime.tv_usec) * 1e-6;
}

/*
 * MiB to touch before each run. The memory of a virtual machine is given back
 * to its host when it is free: a page fault then costs up to twenty times as
 * much, on whichever side comes first.
 */
static long prewarm_default(void)
{
	char line[4096];
	bool virtual = false;
	long kib = 0, available = 0;
	FILE *f = fopen("/proc/cpuinfo", "r");

	while (f && !virtual && fgets(line, sizeof(line), f))
		virtual = strstr(line, " hypervisor") != NULL;
	if (f)
		fclose(f);
	f = fopen("/proc/meminfo", "r");
	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "MemAvailable: %ld", &kib) == 1)
			available = kib;
	if (f)
		fclose(f);
	if (!virtual)
		return 0;
	return available / 4096 < 400 ? available / 4096 : 400;
}

/* -- settings */

bool setting(struct settings *s, int opt)
{
	switch (opt) {
	case 'r': s->runs = number("runs", optarg, 1, 10000); break;
	case 'w': s->warmup = number("warmup", optarg, 0, 1000); break;
	case 'W': s->prewarm = number("prewarm", optarg, 0, 1 << 20); break;
	case 'i': s->ignore = true; break;
	case 'l': s->lib = optarg; break;
	case 'j': s->json = optarg; break;
	case 'v': s->svg = optarg; break;
	case 'A': s->with = optarg; break;
	case 'M': s->md = optarg; break;
	case 'P': s->png = optarg; break;
	case 'C': s->csv = optarg; break;
	case 'B': s->prepare = optarg; break;
	case 'O': s->show_output = true; break;
	case 'h': s->help = true; break;
	default: exit(2); /* getopt() has said why */
	}
	return !s->help;
}

double middle(const struct side *s, enum metric m)
{
	return median(s->run[m], s->runs);
}

/* -- one run */

struct one {
	double value[METRICS];
	double seconds; /* with all that is done for it */
	double quiet;   /* as many would do if nobody else were there */
	int status;
	bool noisy;
};

/* Adds up ` key=` of one process's line; NAN stands for none so far. */
static void add_statistic(double *sum, const char *line, const char *key)
{
	char text[32];
	const char *s;

	snprintf(text, sizeof(text), " %s=", key);
	s = strstr(line, text);
	if (s)
		*sum = (isnan(*sum) ? 0 : *sum) +
		       strtod(s + strlen(text), NULL);
}

static void read_statistics(const char *path, struct one *o)
{
	static const char *const calls[] = { "mmap", "munmap", "mremap",
					     "madvise", "mprotect" };
	FILE *f = fopen(path, "r");
	char line[512];

	o->value[SYSCALLS] = o->value[REUSED] = NAN;
	while (f && fgets(line, sizeof(line), f)) {
		for (size_t i = 0; i < COUNT(calls); i++)
			add_statistic(&o->value[SYSCALLS], line, calls[i]);
		add_statistic(&o->value[REUSED], line, "reused");
	}
	if (f)
		fclose(f);
}

static bool read_result(const char *path, struct one *o)
{
	FILE *f = fopen(path, "r");
	double minor = 0, major = 0;
	int n = f ? fscanf(f, "%lf %lf %lf %d %lf %lf %lf %lf", &o->value[WALL],
			   &o->value[CPU], &o->value[RSS], &o->status,
			   &o->value[USER], &o->value[SYS], &minor, &major) :
		    0;

	if (f)
		fclose(f);
	o->value[FAULTS] = minor + major;
	return n == 8;
}

bool prepare(const struct settings *set)
{
	char *cmd[] = { "sh", "-c", (char *)(uintptr_t)set->prepare, NULL };
	const char *args[] = { set->show_output ? "-s" : "-q", "-o",
			       "/dev/null", NULL };
	char *env[] = { "ALLOC_STATS=", NULL };
	struct rusage ru;

	if (!set->prepare)
		return true;
	return launch_wait(launch(args, cmd, env, -1), &ru) == 0;
}

/* Others delay it by what they took of each processor; not by its own time. */
static double undisturbed(double seconds, double own, double other)
{
	double least = seconds - other / (double)sysconf(_SC_NPROCESSORS_ONLN);

	return fmin(seconds, fmax(own, least));
}

/* Of a run that left no result */
static int unknown_end(const char *cmd, int status)
{
	if (status >= 0 && status != 127)
		fail("%s could not be run", cmd);
	return status < 0 ? status : NOT_STARTED; /* kill -9 0 */
}

static void run_once(const struct plan *p, const struct side *s, struct one *o)
{
	char *result = temp_file(TEMP_RESULT), warm[32];
	char *statistics = temp_file(TEMP_STATS);
	char *env[COUNT(s->env) + 2] = { NULL };
	double busy = busy_seconds(), begin = now(), other;
	struct rusage ru;
	int status;

	snprintf(warm, sizeof(warm), "%ld", p->set->prewarm);
	env[0] = formatted("ALLOC_STATS=%s", statistics);
	memcpy(env + 1, s->env, sizeof(s->env));
	status = launch_wait(
		launch((const char *[]){ p->set->show_output ? "-s" : "-q",
					 "-w", warm, "-o", result, "-p",
					 s->so ? s->so : "", NULL },
		       p->cmd, env, -1),
		&ru);
	other = busy_seconds() - busy - cpu_of(&ru);
	o->seconds = now() - begin;
	o->noisy = other > NOISY_SECONDS &&
		   other > NOISY_SHARE * o->seconds *
				   (double)sysconf(_SC_NPROCESSORS_ONLN);
	o->quiet = o->noisy ? undisturbed(o->seconds, cpu_of(&ru), other) :
			      o->seconds;
	if (!read_result(result, o) && !interrupted)
		o->status = unknown_end(p->cmd[0], status);
	read_statistics(statistics, o);
	temp_remove();
}

/* -- all runs */

static void show_progress(const struct plan *p, size_t done, size_t all,
			  double begin)
{
	double left =
		done ? (now() - begin) / (double)done * (double)(all - done) :
		       0;
	struct winsize w = { .ws_col = 80 };
	int cells, full;

	if (!isatty(STDERR_FILENO) || p->set->show_output)
		return;
	ioctl(STDERR_FILENO, TIOCGWINSZ, &w);
	cells = w.ws_col > 60 ? w.ws_col - 50 : 10;
	full = (int)((double)cells * (double)done / (double)all);
	fprintf(stderr, "\r%s [", p->what);
	for (int i = 0; i < cells; i++)
		fputc(i < full ? '#' : ' ', stderr);
	fprintf(stderr, "] %zu of %zu", done, all);
	if (done)
		fprintf(stderr, ", %d:%02d left", (int)left / 60,
			(int)left % 60);
	fprintf(stderr, "\033[K%s", done == all ? "\r\033[K" : "");
}

/*
 * A run counts unless it failed: then it is reported, not averaged in. A death
 * by a signal never counts, nor does what was never started.
 */
static void keep(const struct plan *p, struct side *s, const struct one *o)
{
	if (o->status) {
		s->mixed |= s->failed && s->status != o->status;
		s->failed++;
		s->status = o->status;
	}
	if (o->status && (!p->set->ignore || o->status < 0)) {
		s->lost++;
		return;
	}
	s->noisy += o->noisy;
	for (size_t m = 0; m < METRICS; m++)
		s->run[m][s->runs] = o->value[m];
	s->runs++;
}

char *ended(int status)
{
	if (status == NOT_STARTED)
		return "could not be started";
	if (status == NOT_PREPARED)
		return "could not be prepared: the command of --prepare failed";
	if (status < 0)
		return formatted("killed by signal %d (%s)", -status,
				 strsignal(-status));
	return formatted("ended with status %d", status);
}

static bool killed(int status)
{
	return status < 0 && status > NOT_STARTED;
}

void report_end(const char *what, int status)
{
	warn("%s %s%s", what, killed(status) ? "was " : "", ended(status));
}

void report_failed(const char *what, const struct side *s)
{
	const char *verb = s->mixed           ? "failed, the last: " :
			   !killed(s->status) ? "" :
			   s->failed > 1      ? "were " :
						"was ";

	if (!s->failed)
		return;
	warn("%s of %s %s%s%s", run_count(s->failed), what, verb,
	     ended(s->status),
	     !s->lost      ? "" :
	     s->status < 0 ? " and do not count" :
			     " and do not count; see --ignore-failure");
}

void add_up(struct tally *t, const struct side *s, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		t->runs += s[i].runs;
		t->noisy += s[i].noisy;
		t->lost += s[i].lost;
	}
}

void report_noisy(const struct tally *t)
{
	if (t->noisy)
		warn("other programs were busy during %zu of %zu runs",
		     t->noisy, t->runs);
}

static void shuffle(size_t *order, size_t n, uint64_t *state)
{
	for (size_t i = n; i > 1; i--) {
		size_t j = random_next(state) % i, swap = order[i - 1];

		order[i - 1] = order[j];
		order[j] = swap;
	}
}

struct pace {
	double begin;
	double quiet; /* seconds for all turns on a quiet machine */
};

static void note_time(struct pace *pace, struct side *s, double quiet,
		      bool first)
{
	if (s->turns == 0 || quiet < s->least) {
		pace->quiet -= (s->least - quiet) * s->turns;
		s->least = quiet;
	}
	if (first) {
		s->turns++;
		pace->quiet += s->least;
	}
}

/* One run of a side: of those while others were busy, the last */
static void take_turn(const struct plan *p, struct side *s, struct one *o,
		      struct pace *pace, bool counts)
{
	int retries = counts ? RETRIES : 0;

	for (int t = 0; t <= retries && !interrupted; t++) {
		if (!prepare(p->set)) {
			o->status = NOT_PREPARED;
			return;
		}
		if (interrupted)
			return;
		run_once(p, s, o);
		note_time(pace, s, o->quiet, t == 0);
		if (!o->noisy || o->status ||
		    now() - pace->begin + o->seconds > PATIENCE * pace->quiet)
			return;
	}
}

/* False: it was interrupted. */
static bool measure_round(const struct plan *p, const size_t *order, size_t r,
			  struct pace *pace)
{
	size_t warmup = (size_t)p->set->warmup;
	size_t all = (warmup + (size_t)p->set->runs) * p->sides;

	for (size_t i = 0; i < p->sides; i++) {
		struct side *s = &p->side[order[i]];
		struct one o = { .status = 0 };

		show_progress(p, r * p->sides + i, all, pace->begin);
		take_turn(p, s, &o, pace, r >= warmup);
		if (interrupted)
			return false;
		if (r >= warmup)
			keep(p, s, &o);
	}
	return true;
}

void measure_all(const struct plan *p)
{
	size_t *order = need(p->sides, sizeof(*order));
	size_t runs = (size_t)p->set->runs;
	size_t rounds = (size_t)p->set->warmup + runs;
	uint64_t state = 0x9e3779b97f4a7c15u;
	struct pace pace = { .begin = now() };

	if (p->set->prewarm < 0)
		p->set->prewarm = prewarm_default();
	for (size_t i = 0; i < p->sides; i++) {
		order[i] = i;
		for (size_t m = 0; m < METRICS; m++)
			p->side[i].run[m] = need(runs + 1, sizeof(double));
	}
	for (size_t r = 0; r < rounds; r++) {
		shuffle(order, p->sides, &state);
		if (!measure_round(p, order, r, &pace))
			break;
	}
	show_progress(p, rounds * p->sides, rounds * p->sides, pace.begin);
}
