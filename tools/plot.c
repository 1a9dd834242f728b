/*
 * plot.c - what other programs read: JSON, and pictures drawn by gnuplot.
 */
#include "alloc.h"
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static char *written;
static size_t written_size;
static bool unwritten; /* an output could not be */

/* Before hours of measuring. It leaves what is in a file there as it is. */
void check_output(const char *path)
{
	struct stat st;
	bool absent, file;
	int fd;

	if (!path || strcmp(path, "-") == 0)
		return;
	absent = lstat(path, &st) < 0;
	file = stat(path, &st) < 0 || S_ISREG(st.st_mode) ||
	       S_ISDIR(st.st_mode);
	/* Who reads a FIFO would see its end if it were opened for this. */
	fd = file ? open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0666) :
		    access(path, W_OK);
	if (fd < 0)
		fail("%s can't be written: %s", path, strerror(errno));
	if (file)
		close(fd);
	if (absent)
		unlink(path);
}

FILE *open_output(void)
{
	FILE *out = open_memstream(&written, &written_size);

	if (!out)
		fail("out of memory");
	return out;
}

/* "-" is standard output, of which main() tells. */
void close_output(FILE *out, const char *path)
{
	bool standard = strcmp(path, "-") == 0, bad;

	if (fclose(out) != 0)
		fail("out of memory");
	out = standard ? stdout : fopen(path, "we");
	bad = !out || fwrite(written, 1, written_size, out) != written_size;
	if (out && !standard)
		bad |= fclose(out) != 0;
	free(written);
	if (!bad || standard)
		return;
	warn("%s can't be written: %s", path, strerror(errno));
	unwritten = true;
}

int end_status(bool failed)
{
	return unwritten ? 2 : interrupted ? 130 : failed;
}

/* What is no text in UTF-8 can't be in JSON. */
void json_string(FILE *out, const char *s)
{
	size_t n;

	fputc('"', out);
	for (; *s; s += n ? n : 1) {
		n = utf8_bytes(s);
		if (*s == '"' || *s == '\\')
			fprintf(out, "\\%c", *s);
		else if ((unsigned char)*s < ' ')
			fprintf(out, "\\u%04x", *s);
		else if (n)
			fwrite(s, 1, n, out);
		else
			fputs("\\ufffd", out);
	}
	fputc('"', out);
}

void json_number(FILE *out, double v)
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
	for (s = shown(s, SIZE_MAX); *s; s++) {
		if (*s == '"' || *s == '\\')
			fputc('\\', out);
		/* What is in backquotes would be run as a command. */
		fputc(*s == '`' ? '\'' : *s, out);
	}
	fputc('"', out);
}

static void gnuplot_script(FILE *g, const struct plot *p, const char *terminal)
{
	fprintf(g, "set terminal %s size 800,400 noenhanced\nset title ",
		terminal);
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

/* It gets no name of a file: it would take some for commands. */
void plot_bars(const struct plot *p, const char *path, const char *terminal)
{
	FILE *script = tmpfile(), *picture = tmpfile(), *out;
	char part[4096];
	int status = -1;
	size_t n;

	if (script && picture) {
		gnuplot_script(script, p, terminal);
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
		rewind(picture);
		while ((n = fread(part, 1, sizeof(part), picture)) > 0)
			fwrite(part, 1, n, out);
		close_output(out, path);
	}
}
