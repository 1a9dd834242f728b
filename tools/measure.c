/*
 * measure.c - runs of a program under several sides, fairly.
 *
 * The sides take turns, in a new order in every round, so that a change of the
 * machine's mood meets all of them. Each run is started by launch.c in a new
 * process, which stays small, and after memory was warmed up. A run during
 * which other programs took much of the processors is repeated.
 */
#include "alloc.h"
#include <math.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#define RETRIES 2         /* of a noisy run */
#define NOISY_SHARE 0.15  /* of all processors, taken by others */
#define NOISY_SECONDS .03 /* /proc/stat counts in hundredths */

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
		launch((const char *[]){ "-q", "-w", warm, "-o", result, "-p",
					 s->so ? s->so : "", NULL },
		       p->cmd, env, -1),
		&ru);
	other = busy_seconds() - busy - cpu_of(&ru);
	begin = now() - begin;
	o->noisy = other > NOISY_SECONDS &&
		   other > NOISY_SHARE * begin *
				   (double)sysconf(_SC_NPROCESSORS_ONLN);
	if (!read_result(result, o) && !interrupted) {
		if (status >= 0)
			fail("%s could not be run", p->cmd[0]);
		o->status = status; /* kill -9 0 */
	}
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

	if (!isatty(STDERR_FILENO))
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
 * by a signal never counts.
 */
static void keep(const struct plan *p, struct side *s, const struct one *o)
{
	s->failed += o->status != 0;
	s->status = o->status ? o->status : s->status;
	if (o->status && (!p->set->ignore || o->status < 0)) {
		s->lost++;
		return;
	}
	s->noisy += o->noisy;
	for (size_t m = 0; m < METRICS; m++)
		s->run[m][s->runs] = o->value[m];
	s->runs++;
}

void report_failed(const char *what, const struct side *s)
{
	char how[64];

	if (!s->failed)
		return;
	snprintf(how, sizeof(how),
		 s->status < 0 ? "were killed by signal %d" :
				 "ended with status %d",
		 abs(s->status));
	warn("%zu run%s of %s %s%s", s->failed, s->failed == 1 ? "" : "s", what,
	     how,
	     !s->lost      ? "" :
	     s->status < 0 ? " and do not count" :
			     " and do not count; see --ignore-failure");
}

static void shuffle(size_t *order, size_t n, uint64_t *state)
{
	for (size_t i = n; i > 1; i--) {
		size_t j = random_next(state) % i, swap = order[i - 1];

		order[i - 1] = order[j];
		order[j] = swap;
	}
}

void measure_all(const struct plan *p)
{
	size_t *order = need(p->sides, sizeof(*order)), done = 0;
	size_t warmup = (size_t)p->set->warmup, runs = (size_t)p->set->runs;
	size_t rounds = warmup + runs, all = rounds * p->sides;
	uint64_t state = 0x9e3779b97f4a7c15u;
	double begin = now();

	if (p->set->prewarm < 0)
		p->set->prewarm = prewarm_default();
	for (size_t i = 0; i < p->sides; i++) {
		order[i] = i;
		for (size_t m = 0; m < METRICS; m++)
			p->side[i].run[m] = need(runs + 1, sizeof(double));
	}
	for (size_t r = 0; r < rounds; r++) {
		shuffle(order, p->sides, &state);
		for (size_t i = 0; i < p->sides; i++) {
			struct side *s = &p->side[order[i]];
			struct one o = { .noisy = true };

			show_progress(p, done++, all, begin);
			for (int t = 0; o.noisy && t <= RETRIES; t++)
				if (!interrupted && !o.status)
					run_once(p, s, &o);
			if (interrupted) {
				show_progress(p, all, all, begin);
				return;
			}
			if (r >= warmup)
				keep(p, s, &o);
		}
	}
	show_progress(p, all, all, begin);
}
