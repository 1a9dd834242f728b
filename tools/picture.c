/*
 * picture.c - bars drawn by gnuplot, as SVG or PNG.
 *
 * Time has one color and memory another, of which one is dark and one is light:
 * they differ on paper, too. Whiskers are vectors, since the points that
 * gnuplot's error bars have can't be left out.
 */
#include "alloc.h"
#include <math.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
	TITLE_COLUMNS = 86,
	TITLE_LINES = 3,
	SUBTITLE_LINES = 8,
	LABEL_COLUMNS = 30,
	LABEL_PIXELS = 8,   /* of a character */
	LABEL_SLANTED = 22, /* what a label needs that is not level */
	HEIGHT = 460,       /* without the title, and labels that slant */
	EDGES = 130,        /* pixels to the left and right of the bars */
	MANY = 150,         /* so many bars have no frames */
};

static const struct {
	const char *bar, *marked;
} colors[METRICS] = {
	[WALL] = { "#4477aa", "#b5e061" },
	[RSS] = { "#f5c04a", "#a866c9" },
	[FAULTS] = { "#c4c4c4", "#a866c9" },
	[SYSCALLS] = { "#c4c4c4", "#a866c9" },
};

struct plot_bar *plot_new(struct plot *p, const char *name, enum metric m)
{
	struct plot_series *s = &p->series[p->count++];

	s->name = name;
	s->metric = m;
	s->bar = need(p->n, sizeof(*s->bar));
	return s->bar;
}

/* -- the script */

/* In double quotes gnuplot takes escapes; it marks nothing up: noenhanced. */
static void put_string(FILE *out, const char *s)
{
	fputc('"', out);
	for (s = shown(s, SIZE_MAX); *s; s++) {
		if (*s == '"' || *s == '\\')
			fputc('\\', out);
		/* What is in backquotes would be run as a command. */
		fputc(*s == '`' ? '\'' : *s, out);
	}
	fputc('"', out);
}

/* Bytes of the line that `s` begins with, if a line has so many columns */
static size_t line_length(const char *s)
{
	size_t n = 0, blank = 0, count = 0, all;

	while (s[n] && count < TITLE_COLUMNS) {
		all = utf8_bytes(s + n);
		if (s[n] == ' ')
			blank = n;
		n += all ? all : 1;
		count++;
	}
	return s[n] && blank ? blank : n;
}

/* A line of the title as some that fit; returns how many. */
static size_t put_lines(FILE *g, const char *s, size_t room)
{
	size_t lines = 0, n;

	s = shown(s, TITLE_COLUMNS * room);
	do {
		n = line_length(s);
		if (lines++)
			fputs(" . \"\\n\" . ", g);
		put_string(g, formatted("%.*s", (int)n, s));
		s += n;
		s += strspn(s, " ");
	} while (*s);
	return lines;
}

static size_t put_title(FILE *g, const struct plot *p)
{
	size_t lines;

	fputs("set title ", g);
	lines = put_lines(g, p->title, TITLE_LINES);
	fputs(" . \"\\n\" . ", g);
	lines += put_lines(g, p->subtitle, SUBTITLE_LINES);
	fputc('\n', g);
	return lines;
}

/* As many labels as have room, level if they have. Returns pixels of height. */
static size_t put_labels(FILE *g, const struct plot *p, size_t width)
{
	size_t room = (width - EDGES) / (p->n > 5 ? p->n : 6), longest = 0,
	       step = 1;
	bool level;

	for (size_t i = 0; i < p->n; i++) {
		size_t len = columns(shown(p->label[i], LABEL_COLUMNS));

		longest = len > longest ? len : longest;
	}
	level = room > (longest + 1) * LABEL_PIXELS;
	if (!level)
		step = (LABEL_SLANTED + room - 1) / (room ? room : 1);
	if (!room)
		step = p->n * LABEL_SLANTED / (width - EDGES);
	fprintf(g, "set xtics nomirror scale 0 %s (",
		level ? "norotate" : "rotate by 45 right");
	for (size_t i = 0; i < p->n; i += step) {
		fputs(i ? ", " : "", g);
		put_string(g, shown(p->label[i], LABEL_COLUMNS));
		fprintf(g, " %zu", i);
	}
	fputs(")\n", g);
	return level ? 0 : longest * LABEL_PIXELS * 3 / 4;
}

/* Where a bar of a series is, of a label's width of 1 */
static double place(const struct plot *p, size_t s, size_t i)
{
	return (double)i + (p->count > 1 ? ((double)s - 0.5) * 0.4 : 0);
}

static void put_data(FILE *g, const struct plot *p)
{
	for (size_t s = 0; s < p->count; s++) {
		fprintf(g, "$bars%zu << EOD\n", s);
		for (size_t i = 0; i < p->n; i++)
			if (i != p->mark && !isnan(p->series[s].bar[i].value))
				fprintf(g, "%g %.10g\n", place(p, s, i),
					p->series[s].bar[i].value);
		fputs("EOD\n", g);
	}
	if (p->mark < p->n)
		fprintf(g, "$marked << EOD\n%zu %.10g\nEOD\n", p->mark,
			p->series[0].bar[p->mark].value);
	fputs("$whiskers << EOD\n", g);
	for (size_t s = 0; s < p->count; s++)
		for (size_t i = 0; i < p->n; i++) {
			const struct plot_bar *b = &p->series[s].bar[i];

			if (!isnan(b->low))
				fprintf(g, "%g %.10g %.10g\n", place(p, s, i),
					b->low, b->high - b->low);
		}
	fputs("EOD\n", g);
}

/* gnuplot refuses to plot an empty block of data. */
static bool has_bars(const struct plot *p, size_t s)
{
	for (size_t i = 0; i < p->n; i++)
		if (i != p->mark && !isnan(p->series[s].bar[i].value))
			return true;
	return false;
}

static bool has_whiskers(const struct plot *p)
{
	for (size_t s = 0; s < p->count; s++)
		for (size_t i = 0; i < p->n; i++)
			if (!isnan(p->series[s].bar[i].low))
				return true;
	return false;
}

static void put_plot(FILE *g, const struct plot *p)
{
	const char *comma = "plot ";

	for (size_t s = 0; s < p->count; s++) {
		if (!has_bars(p, s))
			continue;
		fprintf(g,
			"%s$bars%zu using 1:2 with boxes linecolor "
			"rgb \"%s\" title ",
			comma, s, colors[p->series[s].metric].bar);
		put_string(g, p->series[s].name);
		comma = ", ";
	}
	if (p->mark < p->n) {
		fprintf(g,
			"%s$marked using 1:2 with boxes linecolor "
			"rgb \"%s\" title ",
			comma, colors[p->series[0].metric].marked);
		put_string(g, p->marked);
		comma = ", ";
	}
	if (has_whiskers(p)) {
		fprintf(g,
			"%s$whiskers using 1:2:(0):3 with vectors heads "
			"size screen 0.004,90 nofilled linewidth 1.5 "
			"linecolor rgb \"#111111\" title ",
			comma);
		put_string(g, p->whiskers);
		comma = ", ";
	}
	if (p->ratios)
		fprintf(g,
			"%s1 with lines dashtype 2 linewidth 1.5 linecolor "
			"rgb \"#111111\" title \"1: as glibc\"",
			comma);
	fputc('\n', g);
}

static void put_script(FILE *g, const struct plot *p, const char *terminal)
{
	size_t width = EDGES + p->n * (p->count > 1 ? 56 : 16), lines, slanted;
	/* Of few bars none is as wide as a hand. */
	double edge = p->n < 5 ? (6 - (double)p->n) / 2 : 0.7;
	char *body = NULL;
	size_t size;
	FILE *b = open_memstream(&body, &size);

	if (!b)
		fail("out of memory");
	width = width < 800 ? 800 : width > 2000 ? 2000 : width;
	lines = put_title(b, p);
	slanted = put_labels(b, p, width);
	if (fclose(b) != 0)
		fail("out of memory");
	fprintf(g,
		"set terminal %s size %zu,%zu noenhanced background "
		"\"white\"\n%s",
		terminal, width, HEIGHT + 18 * lines + slanted, body);
	/* An empty line is between that and the legend. */
	fputs("set xlabel ", g);
	put_string(g, p->xlabel);
	fputs(" . \"\\n\"\nset ylabel ", g);
	put_string(g, p->ylabel);
	fputc('\n', g);
	fprintf(g,
		"set yrange [0:*]\nset offsets 0, 0, graph 0.06, 0\n"
		"set xrange [%g:%g]\n"
		"set style fill solid 1 %s\nset boxwidth %g\n"
		"set grid ytics linecolor rgb \"#cccccc\"\n"
		"set key bmargin center vertical maxcols 1 Left reverse "
		"samplen 3\n",
		-edge, (double)p->n - 1 + edge,
		p->n < MANY ? "border linecolor rgb \"#111111\"" : "noborder",
		p->count > 1 ? 0.4 : 0.8);
	put_data(g, p);
	put_plot(g, p);
}

/* -- the picture */

/* Its wait status */
static int run_gnuplot(FILE *script, FILE *picture)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		dup2(fileno(script), STDIN_FILENO);
		dup2(fileno(picture), STDOUT_FILENO);
		execlp("gnuplot", "gnuplot", NULL);
		_exit(127);
	}
	return pid > 0 && waitpid(pid, &status, 0) == pid ? status : -1;
}

static void put_xml(FILE *out, const char *s)
{
	for (; *s; s++)
		if (strchr("<>&", *s))
			fprintf(out, "&#%d;", *s);
		else
			fputc(*s, out);
}

/* Whoever points at a picture in a browser is shown its title: not "Gnuplot" */
static void copy_picture(FILE *picture, FILE *out, const struct plot *p)
{
	static const char anonymous[] = "<title>Gnuplot</title>\n";
	char *line = NULL;
	size_t room = 0;
	ssize_t n;

	rewind(picture);
	while ((n = getline(&line, &room, picture)) > 0) {
		if (strcmp(line, anonymous) != 0) {
			fwrite(line, 1, (size_t)n, out);
			continue;
		}
		fputs("<title>", out);
		put_xml(out, shown(p->title, SIZE_MAX));
		fputs("\n", out);
		put_xml(out, shown(p->subtitle, SIZE_MAX));
		fputs("</title>\n", out);
	}
	free(line);
}

/* It gets no name of a file: it would take some for commands. */
static void draw_to(const struct plot *p, const char *path,
		    const char *terminal)
{
	FILE *script = tmpfile(), *picture = tmpfile(), *out;
	int status = -1;

	if (script && picture) {
		put_script(script, p, terminal);
		rewind(script);
		status = run_gnuplot(script, picture);
	}
	if (WIFEXITED(status) && WEXITSTATUS(status) == 127) {
		warn("no gnuplot to draw %s with; it is in Debian's package "
		     "gnuplot-nox",
		     path);
	} else if (status) {
		warn("gnuplot could not draw %s", path);
	} else {
		out = open_output();
		copy_picture(picture, out, p);
		close_output(out, path);
	}
}

void plot_draw(const struct plot *p, const struct settings *set)
{
	if (set->svg)
		draw_to(p, set->svg, "svg");
	if (set->png)
		draw_to(p, set->png, "pngcairo font \",10\"");
}
