/*
 * field.c - several allocators that run the same program.
 */
#include "alloc.h"
#include <glob.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

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

static char *find_peer(const char *file)
{
	static const char *const dirs[] = { "/usr/local/lib", "/usr/lib/*",
					    "/usr/lib64", "/usr/lib" };

	for (size_t i = 0; i < COUNT(dirs); i++) {
		char *pattern = formatted("%s/%s", dirs[i], file);
		glob_t g;

		if (glob(pattern, 0, NULL, &g) == 0)
			return realpath(g.gl_pathv[0], NULL);
	}
	return NULL;
}

static void add_side(struct field *f, const char *name, const char *so)
{
	for (size_t i = 0; i < f->n; i++) {
		struct side *s = &f->side[i];

		if (so && s->so && strcmp(s->so, so) == 0) {
			if (strcmp(name, OURS) == 0)
				s->name = name; /* verdicts are about it */
			return;
		}
		if (so && strcmp(s->name, name) == 0)
			name = so;
	}
	if (f->n == SIDES)
		fail("more than %d allocators", SIDES);
	f->side[f->n++] = (struct side){ .name = name, .so = so };
}

static void add_named(struct field *f, char *name, const char *lib)
{
	char *so;

	if (strcmp(name, OURS) == 0) {
		add_side(f, OURS, library_path(lib));
		return;
	}
	if (strchr(name, '/') || strstr(name, ".so")) {
		so = library_path(name);
		add_side(f, shown(strrchr(so, '/') + 1, SIZE_MAX), so);
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
void choose_sides(struct field *f, const char *with, const char *lib)
{
	char *names = with ? copy(with) : NULL, *name;
	const char *preload = getenv("LD_PRELOAD");

	if (preload && *preload)
		warn("LD_PRELOAD is set: all sides run with %s, glibc's too",
		     preload);
	add_side(f, "glibc", NULL);
	if (!with)
		add_side(f, OURS, library_path(lib));
	while (names && (name = strsep(&names, ",")) != NULL)
		if (strcmp(name, "glibc") != 0)
			add_named(f, name, lib);
	for (size_t i = 0; !with && i < COUNT(peers); i++) {
		char *so = find_peer(peers[i].file);

		if (so)
			add_side(f, peers[i].name, so);
	}
}

static void report(const struct side *s, const char *cmd)
{
	report_failed(formatted("%s on %s", cmd, s->name), s);
	if (s->noisy)
		warn("other programs were busy during %zu of %zu runs on %s",
		     s->noisy, s->runs, s->name);
}

bool measure_field(struct field *f, char **cmd, struct settings *set,
		   const char *what)
{
	const struct plan p = { cmd, f->side, f->n, set, what };
	bool any = false;

	for (size_t i = 0; i < f->n; i++)
		if (f->side[i].so)
			check_loaded(cmd, f->side[i].so);
	measure_all(&p);
	for (size_t i = 0; i < f->n; i++) {
		report(&f->side[i], cmd[0]);
		any |= f->side[i].runs > 0;
	}
	return any;
}

void count_runs(const struct field *f, size_t *least, size_t *most)
{
	for (size_t i = 0; i < f->n; i++) {
		size_t runs = f->side[i].runs;

		*least = runs < *least ? runs : *least;
		*most = runs > *most ? runs : *most;
	}
}

size_t runs_lost(const struct field *f)
{
	size_t lost = 0;

	for (size_t i = 0; i < f->n; i++)
		lost += f->side[i].lost;
	return lost;
}

struct ratio to_first(const struct field *f, size_t i, enum metric m)
{
	const struct side *a = &f->side[i], *b = &f->side[0];

	return ratio_of(a->run[m], a->runs, b->run[m], b->runs);
}

const char *const once_names[] = { "rss_end_kib", "p999_ns", "max_ns" };

void json_sides(FILE *out, const struct field *f)
{
	fputs("\"allocators\":[", out);
	for (size_t i = 0; i < f->n; i++) {
		const struct side *s = &f->side[i];

		fputs(i ? ",\n{\"name\":" : "\n{\"name\":", out);
		json_string(out, s->name);
		fputs(",\"file\":", out);
		json_string(out, s->so ? s->so : "");
		fprintf(out, ",\"runs\":%zu,\"failed\":%zu,\"noisy\":%zu",
			s->runs, s->failed, s->noisy);
		for (size_t m = 0; m < METRICS; m++) {
			fprintf(out, ",\"%s\":", metrics[m].name);
			json_values(out, s->run[m], s->runs);
		}
		for (size_t m = 0; s->once && m < COUNT(once_names); m++) {
			fprintf(out, ",\"%s\":", once_names[m]);
			json_number(out, s->once[m]);
		}
		fputs("}", out);
	}
	fputs("]", out);
}

void plot_ratios(const struct field *f, const struct ratio (*r)[2],
		 const char *title, const char *path)
{
	struct plot p = { .title = title, .ylabel = "ratio to glibc" };
	const char *label[2 * SIDES];
	double value[2 * SIDES], low[2 * SIDES], high[2 * SIDES];

	for (; p.n < 2 * f->n; p.n++) {
		const struct ratio *one = &r[p.n / 2][p.n % 2];

		label[p.n] = formatted("%s %s", f->side[p.n / 2].name,
				       p.n % 2 ? "RSS" : "time");
		value[p.n] = one->value;
		low[p.n] = one->low;
		high[p.n] = one->high;
	}
	p.label = label;
	p.value = value;
	p.low = low;
	p.high = high;
	p.mark = p.n;
	plot_bars(&p, path, "svg");
}

void md_range(FILE *out, size_t least, size_t most)
{
	fprintf(out, least == most ? "%zu" : "%zu to %zu", least, most);
}

void md_machine(FILE *out)
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
