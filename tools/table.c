/*
 * table.c - reads tables of numbers in termgraph's format.
 */
#include "alloc.h"
#include <errno.h>
#include <math.h>

#define BLANKS " \t\r\n\v\f"

static char *trim(char *s)
{
	char *end = s + strlen(s);

	while (end > s && strchr(BLANKS, end[-1]))
		end--;
	*end = 0;
	return s + strspn(s, BLANKS);
}

struct reader {
	const char *name; /* of the file, for messages */
	char delim;
	size_t line, names_line;
	struct table *t;
	size_t values, names;
	size_t value_room, label_room, name_room;
};

/* Where entry `used` of an array goes: there, or in a larger copy */
static void *room_for(void *array, size_t used, size_t *room, size_t size)
{
	if (used < *room)
		return array;
	*room = *room ? *room * 2 : 64;
	array = reallocarray(array, *room, size);
	if (!array)
		fail("out of memory");
	return array;
}

static void add_value(struct reader *r, double x)
{
	struct table *t = r->t;

	t->value = room_for(t->value, r->values, &r->value_room, sizeof(x));
	t->value[r->values++] = x;
}

static void add_label(struct reader *r, const char *label)
{
	struct table *t = r->t;

	t->label = room_for(t->label, t->rows, &r->label_room, sizeof(char *));
	t->label[t->rows++] = copy(label);
}

static void add_name(struct reader *r, const char *name)
{
	struct table *t = r->t;

	t->series =
		room_for(t->series, r->names, &r->name_room, sizeof(char *));
	t->series[r->names++] = copy(name);
}

_Noreturn static void bad_number(const struct reader *r, const char *s)
{
	fail("%s:%zu: '%s' is not a number", r->name, r->line,
	     shown(s, MAX_QUOTE));
}

static bool is_number(const struct reader *r, const char *s, double *x)
{
	char *end;

	errno = 0;
	*x = strtod(s, &end);
	if (end == s || *end)
		return false;
	if (errno == ERANGE && (isinf(*x) || *x == 0))
		fail("%s:%zu: '%s' is out of range", r->name, r->line,
		     shown(s, MAX_QUOTE));
	return true;
}

/* Label and values between delimiters; returns the label. */
static char *split(struct reader *r, char *line, char delim)
{
	const char delims[] = { delim, 0 };
	char *label = trim(strsep(&line, delims)), *field;
	double x;

	while ((field = strsep(&line, delims))) {
		field = trim(field);
		if (!is_number(r, field, &x))
			bad_number(r, field);
		add_value(r, x);
	}
	return label;
}

/* The same where the values are all the numbers at the end of the line */
static char *split_blanks(struct reader *r, char *line)
{
	size_t begin = r->values, i, k;
	char *label = trim(line), *end = label + strlen(label), *field;
	double x;

	for (;;) {
		field = end;
		while (field > label && !strchr(BLANKS, field[-1]))
			field--;
		if (field == label || !is_number(r, field, &x))
			break;
		add_value(r, x);
		end = field;
		while (strchr(BLANKS, end[-1]))
			end--;
		*end = 0;
	}
	if (r->values == begin && field > label)
		bad_number(r, field);
	/* They were found from the last to the first. */
	for (i = begin, k = r->values; i + 1 < k; i++) {
		x = r->t->value[--k];
		r->t->value[k] = r->t->value[i];
		r->t->value[i] = x;
	}
	return label;
}

static void read_row(struct reader *r, char *line, char delim)
{
	size_t begin = r->values, count;
	struct table *t = r->t;
	char *label = delim ? split(r, line, delim) : split_blanks(r, line);

	count = r->values - begin;
	if (count == 0)
		fail("%s:%zu: no value after '%s'", r->name, r->line,
		     shown(label, MAX_QUOTE));
	if (t->rows == 0)
		t->cols = count;
	if (count != t->cols)
		fail("%s:%zu: %zu value%s, but the first row has %zu", r->name,
		     r->line, count, count == 1 ? "" : "s", t->cols);
	add_label(r, label);
}

/* What comes after the @ */
static void read_names(struct reader *r, char *line, char delim)
{
	const char delims[] = { delim, 0 };
	char *name;

	if (r->names_line)
		fail("%s:%zu: the series have names already, from line %zu",
		     r->name, r->line, r->names_line);
	r->names_line = r->line;
	line = trim(line);
	while ((name = strsep(&line, delim ? delims : BLANKS)))
		if (delim || *name)
			add_name(r, trim(name));
}

static void read_line(struct reader *r, char *line)
{
	char *begin = line + strspn(line, BLANKS), delim = r->delim;

	if (!*begin || *begin == '#')
		return;
	if (!delim && strchr(line, ','))
		delim = ',';
	if (*begin == '@')
		read_names(r, begin + 1, delim);
	else
		read_row(r, line, delim);
}

static void read_lines(struct reader *r, FILE *in)
{
	static const char mark[] = "\ufeff";
	char *line = NULL;
	size_t room = 0;
	ssize_t size;

	while ((size = getline(&line, &room, in)) >= 0) {
		r->line++;
		if (strlen(line) != (size_t)size)
			fail("%s:%zu: not a line of text", r->name, r->line);
		if (r->line == 1 && strncmp(line, mark, strlen(mark)) == 0)
			memset(line, ' ', strlen(mark));
		read_line(r, line);
	}
	if (!feof(in))
		fail("%s: %s", r->name, strerror(errno));
	free(line);
}

struct table *table_read(const char *path, const struct look *look)
{
	bool standard = strcmp(path, "-") == 0;
	struct reader r = { .delim = look->delim };
	FILE *in;

	r.name = standard ? "standard input" : shown(path, SIZE_MAX);
	in = standard ? stdin : fopen(path, "re");
	if (!in)
		fail("%s: %s", r.name, strerror(errno));
	r.t = need(1, sizeof(*r.t));
	read_lines(&r, in);
	if (!standard)
		fclose(in);
	if (r.t->rows == 0)
		fail("%s: no line with a label and a value", r.name);
	if (r.names_line && r.names != r.t->cols)
		fail("%s:%zu: %zu series named, but each row has %zu", r.name,
		     r.names_line, r.names, r.t->cols);
	return r.t;
}
