/*
 * plot.c - what other programs read: JSON, and pictures drawn by gnuplot.
 */
#include "alloc.h"
#include <errno.h>
#include <math.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

/* "-" is standard output. */
FILE *open_output(const char *path)
{
	FILE *out = strcmp(path, "-") == 0 ? stdout : fopen(path, "w");

	if (!out)
		fail("%s can't be written: %s", path, strerror(errno));
	return out;
}

/* Before hours of measuring. It leaves what is in a file there as it is. */
void check_output(const char *path)
{
	FILE *f;

	if (!path || strcmp(path, "-") == 0)
		return;
	f = fopen(path, "a");
	if (!f)
		fail("%s can't be written: %s", path, strerror(errno));
	fclose(f);
}

void close_output(FILE *out, const char *path)
{
	bool bad = ferror(out) || fflush(out) != 0;

	if (out != stdout)
		bad |= fclose(out) != 0;
	if (bad)
		fail("%s can't be written: %s", path, strerror(errno));
}

void json_string(FILE *out, const char *s)
{
	fputc('"', out);
	for (; *s; s++)
		if (*s == '"' || *s == '\\')
			fprintf(out, "\\%c", *s);
		else if ((unsigned char)*s < ' ')
			fprintf(out, "\\u%04x", *s);
		else
			fputc(*s, out);
	fputc('"', out);
}

/* A number, or null where there is none. */
static void json_number(FILE *out, double v)
{
	if (isfinite(v))
		fprintf(out, "%.10g", v);
	else
		fputs("null", out);
}

void json_values(FILE *out, const double *v, size_t n)
{
	fputs("{\"median\":", out);
	json_number(out, median(v, n));
	fputs(",\"mad\":", out);
	json_number(out, mad(v, n));
	fputs(",\"values\":[", out);
	for (size_t i = 0; i < n; i++) {
		fputs(i ? "," : "", out);
		json_number(out, v[i]);
	}
	fputs("]}", out);
}

void json_command(FILE *out, char **cmd)
{
	fputs("\"command\":[", out);
	for (size_t i = 0; cmd[i]; i++) {
		fputs(i ? "," : "", out);
		json_string(out, cmd[i]);
	}
	fputs("]", out);
}

/* In double quotes gnuplot takes escapes; it marks nothing up: noenhanced. */
static void gnuplot_string(FILE *out, const char *s)
{
	fputc('"', out);
	for (; *s; s++) {
		if (*s == '"' || *s == '\\')
			fputc('\\', out);
		/* What is in backquotes would be run as a command. */
		fputc((unsigned char)*s < ' ' ? '?' :
		      *s == '`'               ? '\'' :
						*s,
		      out);
	}
	fputc('"', out);
}

static void gnuplot_script(FILE *g, const struct plot *p, const char *path,
			   const char *terminal)
{
	fprintf(g, "set terminal %s size 800,400 noenhanced\nset output ",
		terminal);
	gnuplot_string(g, path);
	fputs("\nset title ", g);
	gnuplot_string(g, p->title);
	fputs("\nset ylabel ", g);
	gnuplot_string(g, p->ylabel);
	fprintf(g,
		"\nset yrange [0:*]\nset style fill solid 0.8 border\n"
		"set boxwidth 0.7\nset grid ytics\nset key off\n"
		"set xtics rotate by -%d\nset xrange [-0.6:%f]\n$data << EOD\n",
		p->n > 12 ? 60 : 0, (double)p->n - 0.4);
	for (size_t i = 0; i < p->n; i++) {
		fprintf(g, "%zu %.10g %.10g %.10g %d ", i, p->value[i],
			p->low ? p->low[i] : p->value[i],
			p->high ? p->high[i] : p->value[i],
			i == p->mark ? 0xd95f02 : 0x4477aa);
		gnuplot_string(g, p->label[i]);
		fputc('\n', g);
	}
	fprintf(g,
		"EOD\nplot $data using 1:2:5:xticlabels(6) with boxes "
		"linecolor rgb variable%s\n",
		p->low ? ", $data using 1:2:3:4 with yerrorbars "
			 "linecolor rgb \"#222222\" pointsize 0" :
			 "");
}

void plot_bars(const struct plot *p, const char *path, const char *terminal)
{
	FILE *g;
	int status;

	signal(SIGPIPE, SIG_IGN);
	if (system("command -v gnuplot >/dev/null 2>&1") != 0) {
		warn("no gnuplot to draw %s with; it is in Debian's package "
		     "gnuplot-nox",
		     path);
		return;
	}
	g = popen("exec gnuplot >/dev/null", "w");
	if (!g)
		fail("gnuplot can't be started: %s", strerror(errno));
	gnuplot_script(g, p, path, terminal);
	status = pclose(g);
	if (status)
		warn("gnuplot could not draw %s", path);
}
