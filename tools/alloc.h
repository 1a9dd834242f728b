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
uint64_t random_next(uint64_t *state);
struct ratio ratio_of(const double *a, size_t na, const double *b, size_t nb);

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
void check_loaded(char **cmd, const char *so);
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
	const char *lib, *json, *svg;
	const char *with, *md; /* of those that compare allocators */
};

/* The end of their tables of options, for getopt_long() */
#define SETTINGS \
	{ "runs", required_argument, NULL, 'r' }, \
		{ "warmup", required_argument, NULL, 'w' }, \
		{ "prewarm", required_argument, NULL, 'W' }, \
		{ "ignore-failure", no_argument, NULL, 'i' }, \
		{ "lib", required_argument, NULL, 'l' }, \
		{ "json", required_argument, NULL, 'j' }, \
		{ "svg", required_argument, NULL, 'v' }, \
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
	int status;   /* of the last that failed; negative: a signal */
	double *once; /* of bench: END_RSS and on; or NULL */
};

struct plan {
	char **cmd;
	struct side *side;
	size_t sides;
	struct settings *set;
	const char *what; /* for the progress bar */
};

void measure_all(const struct plan *p);
void report_failed(const char *what, const struct side *s);
double middle(const struct side *s, enum metric m); /* the median */

/* -- field.c: allocators side by side */

/* What bench asks for in a run of its own, by these names */
enum { END_RSS = METRICS, P999, LONGEST, ONCE_END };
extern const char *const once_names[ONCE_END - END_RSS];

enum { RUNS_MIN = 5 }; /* fewer can't tell a difference from noise */

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
size_t runs_lost(const struct field *f);
/* Widens a range to how many runs of each side count. */
void count_runs(const struct field *f, size_t *least, size_t *most);
struct ratio to_first(const struct field *f, size_t i, enum metric m);
void json_sides(FILE *out, const struct field *f);
/* Bars of time and peak RSS, side by side for each allocator */
void plot_ratios(const struct field *f, const struct ratio (*r)[2],
		 const char *title, const char *path);
void md_machine(FILE *out);
void md_range(FILE *out, size_t least, size_t most);

/* -- plot.c: files that others read */

void json_string(FILE *out, const char *s);
void json_values(FILE *out, const double *v, size_t n);
void json_command(FILE *out, char **cmd);
void json_number(FILE *out, double v); /* null for NAN */
void check_output(const char *path);
/* What is written goes to the file in the end: says so if it can't. */
FILE *open_output(void);
void close_output(FILE *out, const char *path);
/* Of the program, when all has been written that can be */
int end_status(bool failed);

struct plot {
	const char *title, *ylabel;
	const char **label;
	const double *value, *low, *high; /* low, high: NULL or whiskers */
	size_t n;
	size_t mark; /* the bar that stands out; n: none */
};
/* By gnuplot, as "svg" or "pngcairo". */
void plot_bars(const struct plot *p, const char *path, const char *terminal);

/* -- the subcommands */

int run_main(int argc, char **argv);
int bars_main(int argc, char **argv);
int sweep_main(int argc, char **argv);
int compare_main(int argc, char **argv);
int bench_main(int argc, char **argv);

#endif
