/*
 * plot.c - what other programs read: files of JSON and CSV.
 */
#include "alloc.h"
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <sys/stat.h>
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
	fputs(",\"min\":", out);
	json_number(out, least(v, n));
	fputs(",\"max\":", out);
	json_number(out, most(v, n));
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

void csv_names(FILE *out)
{
	for (size_t m = 0; m < METRICS; m++)
		fprintf(out, ",%s", metrics[m].name);
	fputc('\n', out);
}

void csv_run(FILE *out, const struct side *s, size_t run)
{
	for (size_t m = 0; m < METRICS; m++)
		if (isnan(s->run[m][run]))
			fputs(",", out);
		else
			fprintf(out, ",%.10g", s->run[m][run]);
	fputc('\n', out);
}
