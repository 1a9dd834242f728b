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

/*
 * What dies on our allocator but not on glibc's may be a program that is known
 * to, or that misuses its memory.
 */
static void report(const struct field *f, const struct side *s, const char *cmd)
{
	const struct side *glibc = &f->side[0];

	report_failed(formatted("%s on %s", cmd, s->name), s);
	if (s == ours(f) && s->lost && s->status < 0 &&
	    s->status > NOT_STARTED && glibc->runs && !glibc->failed)
		warn("no run of %s on glibc failed: doc/compatibility.md tells "
		     "what to do",
		     cmd);
}

bool measure_field(struct field *f, char **cmd, struct settings *set,
		   const char *what)
{
	const struct plan p = { cmd, f->side, f->n, set, what };
	bool any = false;

	for (size_t i = 0; i < f->n; i++)
		if (f->side[i].so)
			check_loaded(cmd, f->side[i].so, set);
	measure_all(&p);
	for (size_t i = 0; i < f->n; i++) {
		report(f, &f->side[i], cmd[0]);
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

const struct side *ours(const struct field *f)
{
	for (size_t i = 0; i < f->n; i++)
		if (strcmp(f->side[i].name, OURS) == 0)
			return &f->side[i];
	return NULL;
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

/* Only the name of a library's file may need quotes. */
static void csv_text(FILE *out, const char *s)
{
	bool quote = strpbrk(s, ",\"\n") != NULL;

	fputs(quote ? "\"" : "", out);
	for (; *s; s++)
		fprintf(out, quote && *s == '"' ? "\"%c" : "%c", *s);
	fputs(quote ? "\"" : "", out);
}

void csv_sides(FILE *out, const struct field *f, const char *before)
{
	for (size_t i = 0; i < f->n; i++)
		for (size_t r = 0; r < f->side[i].runs; r++) {
			if (before)
				fprintf(out, "%s,", before);
			csv_text(out, f->side[i].name);
			fprintf(out, ",%zu", r + 1);
			csv_run(out, &f->side[i], r);
		}
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
