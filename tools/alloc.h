/*
 * alloc.h - what the files of the command-line tool share.
 *
 * alloc.c has main, help and `run`; each other subcommand has a file. All data
 * are small and live until the process ends: nothing is freed.
 */
#ifndef ALLOC_H
#define ALLOC_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/types.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* One line on standard error, then exit status 2. */
void fail(const char *format, ...)
	__attribute__((noreturn, format(printf, 1, 2)));
void warn(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Memory, zeroed; a copy; a text by printf. Or the end of the program. */
void *need(size_t count, size_t size);
char *copy(const char *s);
char *formatted(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The argument of an option, or the end of the program. */
long number(const char *option, const char *text, long min, long max);

/* -- text.c */

enum { MAX_QUOTE = 40 }; /* columns of others' text in a message */

bool is_utf8(void); /* by the user's locale: nothing calls setlocale() */
/* Of the character at `s`; 0: it is none that a file of text may have. */
size_t utf8_bytes(const char *s);
size_t columns(const char *s);
/* Writes at most `limit` columns, with a mark where text was cut off. */
size_t put_text(FILE *out, const char *s, size_t limit);
/* A copy fit for a message: in one line, and not too long */
char *shown(const char *s, size_t limit);
/* All words, with blanks between */
char *command_text(char **cmd);

/* -- table.c reads rows of numbers, draw.c makes bars of them */

enum { MAX_WIDTH = 10000, MAX_COLORS = 32 };

struct table {
	size_t rows, cols;
	char **label;  /* rows */
	char **series; /* cols, or NULL when they have no names */
	double *value; /* rows * cols; NAN where there is none */
};

struct look {
	const char *title;  /* NULL: none */
	int width;          /* columns of the longest bar; 0: what fits */
	const char *format; /* of a value, for printf; NULL: what suits all */
	const char *suffix; /* after each value; NULL: none */
	const char *tick;   /* NULL: block characters, or # */
	const char *color;  /* names, comma separated; NULL: none */
	bool sort;          /* largest first */
	bool no_labels, no_values;
	char delim; /* between label and value; 0: comma or blanks */
};

/* Reads termgraph's format; fails with one line that names file and line. */
struct table *table_read(const char *path, const struct look *look);
void table_draw(const struct table *t, const struct look *look, FILE *out);
/* Numbers for escape sequences; fails for a name that is none of a color. */
size_t parse_colors(const char *list, int *color);

/* -- stats.c */

struct ratio {
	double value, low, high; /* the interval of 95 % */
};

double median(const double *v, size_t n);
double mad(const double *v, size_t n);
double least(const double *v, size_t n);
double most(const double *v, size_t n);
uint64_t random_next(uint64_t *state);
struct ratio ratio_of(const double *a, size_t na, const double *b, size_t nb);

/* -- verdict.c */

enum { RUNS_MIN = 5 }; /* fewer can't tell a difference from noise */
#define SAME_MAX 0.05  /* as a part: what may be more than that can't be told */

enum finding { LESS, MORE, SAME, CANT_TELL, FINDINGS };

struct verdict {
	enum finding finding;
	struct ratio ratio; /* of the first to the second */
	double within;      /* how far its interval is from 1 */
	size_t runs;        /* of the one that has fewer */
};

struct verdict verdict_of(const double *a, size_t na, const double *b,
			  size_t nb);
/* In words: `less` and `more` say what that is, of time "faster" */
char *verdict_text(const struct verdict *v, const char *less, const char *more);
char *same_within(double part);
char *run_count(size_t runs);
char *run_range(size_t least, size_t most);

/* -- launch.c: the process that starts and measures one run */

int launch_main(int argc, char **argv);

/* -- child.c: processes that run for us */

extern volatile int interrupted; /* by ^C */
void catch_interrupts(void);
/* Starts `alloc launch ARGS... CMD...`, with its output to `out`, if >= 0. */
pid_t launch(const char **args, char **cmd, char **env, int out);
/* Its exit status, or the negative of the signal that killed it */
int launch_wait(pid_t pid, struct rusage *ru);
enum temp { TEMP_RESULT, TEMP_STATS, TEMPS };
char *temp_file(enum temp which);
void temp_remove(void); /* of all of them; at the end of the program, too */
const char *self_path(void);
/* The file of that name, from where this program lies; or NULL. */
char *beside(const char *place);
char *library_path(const char *named);
/* A number is worth nothing if the library was not there: fails then. */
struct settings;
void check_loaded(char **cmd, const char *so, const struct settings *set);
void check_command(char **cmd); /* in alloc.c */

/* -- measure.c: runs of a program, side by side */

enum metric { WALL, CPU, USER, SYS, RSS, FAULTS, SYSCALLS, REUSED, METRICS };

struct metric_name {
	const char *name, *title, *unit;
};
extern const struct metric_name metrics[METRICS];

/* What all that measure may be told. */
struct settings {
	long runs, warmup; /* those that count, and those before */
	long prewarm;      /* MiB; -1: what suits the machine */
	bool ignore;       /* any exit status counts */
	bool help;
	bool show_output;    /* of the program */
	const char *prepare; /* for a shell, before each run; NULL: none */
	const char *lib, *json, *csv, *svg, *png;
	const char *with, *md; /* of those that compare allocators */
};

/* The end of their tables of options, for getopt_long() */
#define SETTINGS \
	{ "runs", required_argument, NULL, 'r' }, \
		{ "warmup", required_argument, NULL, 'w' }, \
		{ "prewarm", required_argument, NULL, 'W' }, \
		{ "ignore-failure", no_argument, NULL, 'i' }, \
		{ "lib", required_argument, NULL, 'l' }, \
		{ "prepare", required_argument, NULL, 'B' }, \
		{ "show-output", no_argument, NULL, 'O' }, \
		{ "json", required_argument, NULL, 'j' }, \
		{ "csv", required_argument, NULL, 'C' }, \
		{ "svg", required_argument, NULL, 'v' }, \
		{ "png", required_argument, NULL, 'P' }, \
		{ "help", no_argument, NULL, 'h' }, \
	{ \
		NULL, 0, NULL, 0 \
	}

#define FIELD_SETTINGS \
	{ "with", required_argument, NULL, 'A' }, \
		{ "md", required_argument, NULL, 'M' }, SETTINGS

/* Takes one of these options; false: help was asked for. */
bool setting(struct settings *s, int opt);

/* A way to run the program: an allocator, or a threshold. */
struct side {
	const char *name;
	const char *so; /* NULL: what the program has by itself */
	char *env[2];   /* NAME=VALUE */
	double *run[METRICS];
	size_t runs;  /* that count */
	size_t noisy; /* of these, with a busy machine */
	size_t failed;
	size_t lost;  /* of these, that do not count */
	int status;   /* of the last that failed; negative: see below */
	bool mixed;   /* the others had another */
	double least; /* seconds that a run takes on a quiet machine */
	double turns; /* in all rounds */
	double *once; /* of bench: END_RSS and on; or NULL */
};

/* Status of a run that was none; those of signals are above these */
enum { NOT_STARTED = -1000, NOT_PREPARED = -1001 };

struct plan {
	char **cmd;
	struct side *side;
	size_t sides;
	struct settings *set;
	const char *what; /* for the progress bar */
};

void measure_all(const struct plan *p);
/* Runs the command of --prepare, if there is one; false: it failed. */
bool prepare(const struct settings *set);
char *ended(int status); /* how a failed run did, in words */
void report_end(const char *what, int status);
void report_failed(const char *what, const struct side *s);

struct tally {
	size_t runs, noisy, lost;
};
void add_up(struct tally *t, const struct side *s, size_t n);
void report_noisy(const struct tally *t);
double middle(const struct side *s, enum metric m); /* the median */

/* -- field.c: allocators side by side */

/* What bench asks for in a run of its own, by these names */
enum { END_RSS = METRICS, P999, LONGEST, ONCE_END };
extern const char *const once_names[ONCE_END - END_RSS];

#define SIDES 32
#define OURS "allocator"

struct field {
	struct side side[SIDES]; /* the first is glibc's own */
	size_t n;
};

/* `with` names them, with commas between; NULL: all that are installed. */
void choose_sides(struct field *f, const char *with, const char *lib);
/* False when no run counts. */
bool measure_field(struct field *f, char **cmd, struct settings *set,
		   const char *what);
const struct side *ours(const struct field *f); /* NULL: not among them */
/* Widens a range to how many runs of each side count. */
void count_runs(const struct field *f, size_t *least, size_t *most);
struct ratio to_first(const struct field *f, size_t i, enum metric m);
void json_sides(FILE *out, const struct field *f);
/* A line for each run; `before` and a comma begin it, if it is not NULL. */
void csv_sides(FILE *out, const struct field *f, const char *before);
void md_machine(FILE *out);
void md_range(FILE *out, size_t least, size_t most);

/* -- report.c: what bench has found */

struct workload {
	char *name, *path;
	const char *about;
	struct field field;
};

/* Of a metric or what is asked once; of allocator k */
double cell_of(const struct workload *w, size_t k, int m);
double geometric(const struct workload *w, size_t n, size_t k, int m);
void bench_tables(FILE *out, const struct workload *w, size_t n, bool md);
void bench_verdicts(const struct workload *w, size_t n);
void write_report(const struct workload *w, size_t n,
		  const struct settings *set);

/* -- advice.c */

enum advised { CANT_ADVISE, ADVISE_FIRST, ADVISE_MORE };

struct advice {
	enum advised advised; /* no threshold, the first, a larger one */
	size_t pick;
	size_t plateau, width;   /* where it begins, and how many it has */
	size_t runs;             /* of the first or the pick: the fewer */
	double noise;            /* as a part of a time */
	struct ratio first;      /* the first threshold to the plateau */
	struct ratio end, start; /* pick to plateau, pick to the first */
};

struct advice advise(const struct side *s, size_t n);
void print_advice(const struct side *s, size_t n, const struct advice *a);
char *why(const struct side *s, const struct advice *a); /* for a picture */
char *runs_each(const struct side *s, size_t n);
void json_advice(FILE *out, const struct side *s, const struct advice *a);

/* -- plot.c: files that others read */

void json_string(FILE *out, const char *s);
void json_values(FILE *out, const double *v, size_t n);
void json_command(FILE *out, char **cmd);
/* The names of all that is measured, and the values of a run */
void csv_names(FILE *out);
void csv_run(FILE *out, const struct side *s, size_t run);
void json_number(FILE *out, double v); /* null for NAN */
void check_output(const char *path);
/* What is written goes to the file in the end: says so if it can't. */
FILE *open_output(void);
void close_output(FILE *out, const char *path);
/* Of the program, when all has been written that can be */
int end_status(bool failed);

/* -- picture.c: bars drawn by gnuplot */

struct plot_bar {
	double value;     /* NAN: there is none */
	double low, high; /* of its whisker; NAN: none */
};

struct plot {
	const char *title, *subtitle; /* in lines as needed */
	const char *xlabel, *ylabel;
	size_t n;
	const char **label; /* n */
	struct plot_series {
		const char *name;
		enum metric metric;   /* which color it has */
		struct plot_bar *bar; /* n */
	} series[2];                  /* side by side */
	size_t count;                 /* of them */
	const char *whiskers;         /* what they are */
	size_t mark;                  /* the bar of another color; n: none */
	const char *marked;           /* what it is */
	bool ratios;                  /* with a line at 1 */
};

struct plot_bar *plot_new(struct plot *p, const char *name, enum metric m);
/* To the files of --svg and --png */
void plot_draw(const struct plot *p, const struct settings *set);

/* -- the subcommands */

int run_main(int argc, char **argv);
int bars_main(int argc, char **argv);
int sweep_main(int argc, char **argv);
int compare_main(int argc, char **argv);
int bench_main(int argc, char **argv);

#endif
