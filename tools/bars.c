/*
 * bars.c - `alloc bars`: tables of numbers as bars of text.
 *
 * First what text is, then reading a table, then drawing one, then the command
 * line. Drawing asks nothing but the table, how it is to look, and the file it
 * writes to: other subcommands draw what they have in memory.
 */
#include "alloc.h"
#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define BLANKS " \t\r\n\v\f"

enum {
	MAX_WIDTH = 10000,
	MIN_BAR = 10, /* cells the longest bar has, however long the labels */
	MAX_COLORS = 32,
	MAX_QUOTE = 40 /* columns of a file's text in a message */
};

/* -- text */

/* The locale of the user, not of the process: nothing calls setlocale(). */
static bool is_utf8(void)
{
	static const char *const names[] = { "LC_ALL", "LC_CTYPE", "LANG" };
	const char *value;
	size_t i;

	for (i = 0; i < COUNT(names); i++) {
		value = getenv(names[i]);
		if (value && *value)
			return strcasestr(value, "utf-8") ||
			       strcasestr(value, "utf8");
	}
	return false;
}

/* Bytes of the character at `s`; 0 if it can't be shown: a control, no UTF-8 */
static size_t character(const char *s)
{
	/* By length; what comes before 0xa0 in two bytes is a control. */
	static const uint32_t least[] = { 0, 0, 0xa0, 0x800, 0x10000 };
	const unsigned char *u = (const unsigned char *)s;
	size_t n = u[0] >= 0xf0 ? 4 : u[0] >= 0xe0 ? 3 : 2, i;
	uint32_t point = u[0] & (0xffU >> (n + 1));

	if (u[0] < 0x80)
		return u[0] >= 0x20 && u[0] != 0x7f;
	if (u[0] < 0xc0 || u[0] > 0xf7)
		return 0;
	for (i = 1; i < n; i++) {
		if ((u[i] & 0xc0) != 0x80)
			return 0;
		point = point << 6 | (u[i] & 0x3f);
	}
	if (point < least[n] || point > 0x10ffff ||
	    (point >= 0xd800 && point <= 0xdfff))
		return 0;
	return n;
}

static size_t columns(const char *s)
{
	size_t count, n;

	for (count = 0; *s; count++) {
		n = character(s);
		s += n ? n : 1;
	}
	return count;
}

/* Writes at most `limit` columns, with a mark where text was cut off. */
static size_t put_text(FILE *out, const char *s, size_t limit)
{
	size_t all = columns(s), keep = all > limit ? limit - 1 : all, i, n;

	for (i = 0; i < keep; i++) {
		n = character(s);
		if (n)
			fwrite(s, 1, n, out);
		else
			putc('?', out);
		s += n ? n : 1;
	}
	if (keep == all)
		return all;
	fputs(is_utf8() ? "\u2026" : "~", out);
	return limit;
}

/* A copy fit for a message: in one line, and not too long */
static char *shown(const char *s, size_t limit)
{
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	if (out)
		put_text(out, s, limit);
	if (!out || fclose(out) != 0)
		fail("out of memory");
	return text;
}

static char *copy(const char *s)
{
	size_t size = strlen(s) + 1;

	return memcpy(need(size, 1), s, size);
}

static char *trim(char *s)
{
	char *end = s + strlen(s);

	while (end > s && strchr(BLANKS, end[-1]))
		end--;
	*end = 0;
	return s + strspn(s, BLANKS);
}

/* -- reading */

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

/* -- drawing */

struct view {
	const struct table *t;
	const struct look *look;
	FILE *out;
	bool utf8;
	int color[MAX_COLORS]; /* as in the escape sequence */
	size_t colors;
	double top;       /* the value of a bar of `width` cells */
	double low, high; /* how far bars reach down and up from 0 */
	double least;     /* smaller ones have an exponent, unless */
	int decimals;     /* so many show them exactly */
	size_t terminal, label_width, width;
	size_t left;   /* cells left of 0 */
	size_t blanks; /* owed to the line, in case that something follows */
	char *text;    /* of a value */
	size_t text_size;
};

/* What bars of series are made of that no colour tells apart */
static const char *const blocks[] = { "\u2588", "\u2592", "\u2591", "\u2593",
				      "+",      "=",      "*",      "o" };
static const char *const letters[] = { "#", "=", "*", "+", "o", "x", "%", "-" };

enum { FILLS = COUNT(blocks) };

_Static_assert(COUNT(letters) == COUNT(blocks), "as many either way");

static size_t parse_colors(const char *list, int *color)
{
	static const char *const names[] = { "black",  "red",  "green",
					     "yellow", "blue", "magenta",
					     "cyan",   "white" };
	char *rest = copy(list), *name;
	size_t count = 0, i;

	while ((name = strsep(&rest, ","))) {
		for (i = 0; i < COUNT(names); i++)
			if (strcmp(name, names[i]) == 0)
				break;
		if (i == COUNT(names))
			fail("bars: unknown color '%s', not one of black red "
			     "green yellow blue magenta cyan white",
			     shown(name, MAX_QUOTE));
		if (count == MAX_COLORS)
			fail("bars: more than %d colors", MAX_COLORS);
		color[count++] = 30 + (int)i;
	}
	return count;
}

/* Colours first; fills only for more series than there are colours */
static const char *fill_of(const struct view *v, size_t series)
{
	const char *const *fills = v->utf8 ? blocks : letters;
	size_t i = series / (v->colors ? v->colors : 1) % FILLS;
	const char *tick = v->look->tick;

	if (!tick)
		return fills[i];
	/* The tick and the first fill change places. */
	if (i == 0)
		return tick;
	return strcmp(fills[i], tick) == 0 ? fills[0] : fills[i];
}

struct bar {
	size_t full;     /* whole fills */
	const char *end; /* a part of a cell at the far end, or "" */
	size_t cells;
};

static struct bar bar_of(const struct view *v, double x, const char *fill)
{
	/* The left side of a cell comes in eighths, the right side does not. */
	static const char *const up[] = { "",       "\u258f", "\u258e",
					  "\u258d", "\u258c", "\u258b",
					  "\u258a", "\u2589" };
	static const char *const down[] = { "",       "\u2595", "\u2595",
					    "\u2590", "\u2590", "\u2590",
					    "\u2588", "\u2588" };
	size_t width = columns(fill), most = 1, eighths;
	struct bar b = { 0, "", 0 };

	if (width && v->width > width)
		most = v->width / width;
	if (isnan(x) || x == 0)
		return b;
	if (isinf(x)) {
		b.full = most - 1;
		b.end = x < 0 ? "<" : ">";
	} else if (fill == blocks[0]) {
		eighths = (size_t)(fabs(x) / v->top * most * 8 + 0.5);
		b.full = eighths / 8;
		b.end = (x < 0 ? down : up)[eighths % 8];
	} else {
		b.full = (size_t)(fabs(x) / v->top * most + 0.5);
	}
	if (!b.full && !*b.end)
		b.end = !v->utf8 ? "|" : x < 0 ? down[1] : up[1];
	b.cells = b.full * width + (*b.end != 0);
	return b;
}

/* Cells that a bar of value `x` takes in the series where it takes most */
static size_t extent(const struct view *v, double x)
{
	size_t cells, most = 0, i, step = v->colors ? v->colors : 1;

	for (i = 0; i < v->t->cols && i < step * FILLS; i += step) {
		cells = bar_of(v, x, fill_of(v, i)).cells;
		most = cells > most ? cells : most;
	}
	return most;
}

static void find_scale(struct view *v)
{
	size_t count = v->t->rows * v->t->cols, i;
	bool up = false, down = false;
	double x;

	for (i = 0; i < count; i++) {
		x = v->t->value[i];
		if (isinf(x)) {
			up |= x > 0;
			down |= x < 0;
		} else {
			v->high = x > v->high ? x : v->high;
			v->low = x < v->low ? x : v->low;
		}
	}
	v->top = v->high > -v->low ? v->high : -v->low;
	if (v->top == 0)
		v->top = 1;
	if (up)
		v->high = v->top;
	if (down)
		v->low = -v->top;
}

/* -- the text of a value */

/* From here on a double has no digits to spare after the point. */
#define LARGE 1e15

static bool exact(double x, int decimals)
{
	char text[64];

	snprintf(text, sizeof(text), "%.*f", decimals, x);
	return strtod(text, NULL) == x;
}

static int exponent(double x)
{
	int e = 0;

	while (x >= 10) {
		x /= 10;
		e++;
	}
	while (x < 1) {
		x *= 10;
		e--;
	}
	return e;
}

/*
 * As many decimals for all values as give the largest five digits, and the
 * smallest three; fewer where fewer show each value exactly. A value which is
 * a millionth of the largest can't have its digits in a column of those.
 */
static void choose_decimals(struct view *v)
{
	size_t count = v->t->rows * v->t->cols, i;
	double x, most = 0, smallest = LARGE;
	int limit, other;

	for (i = 0; i < count; i++) {
		x = fabs(v->t->value[i]);
		if (x < LARGE && x > most)
			most = x;
	}
	v->least = most * 1e-6 > 1e-4 ? most * 1e-6 : 1e-4;
	for (i = 0; i < count; i++) {
		x = fabs(v->t->value[i]);
		if (x >= v->least && x < smallest)
			smallest = x;
	}
	if (smallest == LARGE)
		return;
	limit = 4 - exponent(most);
	other = 2 - exponent(smallest);
	limit = other > limit ? other : limit;
	for (i = 0; i < count; i++) {
		x = fabs(v->t->value[i]);
		if (!(x >= v->least && x < LARGE))
			continue;
		while (v->decimals < limit && !exact(x, v->decimals))
			v->decimals++;
	}
}

/* 1e+09 is 1e9 and 1e-09 is 1e-9 where people write it. */
static void shorten_exponent(char *text)
{
	char *e = strchr(text, 'e');

	if (e)
		snprintf(e + 1, strlen(e), "%ld", strtol(e + 1, NULL, 10));
}

static const char *value_text(const struct view *v, double x)
{
	double size = fabs(x);

	/* Neither has a sign that means anything. */
	if (isnan(x) || x == 0)
		x = size;
	if (v->look->format) {
		snprintf(v->text, v->text_size, v->look->format, x);
	} else if (size < LARGE &&
		   (size >= v->least || exact(x, v->decimals))) {
		snprintf(v->text, v->text_size, "%.*f", v->decimals, x);
	} else {
		snprintf(v->text, v->text_size, "%.5g", x);
		shorten_exponent(v->text);
	}
	return v->text;
}

/* -- the page */

static size_t terminal_columns(FILE *out)
{
	const char *text = getenv("COLUMNS");
	long n = text ? strtol(text, NULL, 10) : 0;
	struct winsize size;

	if (n > 0)
		return n < MAX_WIDTH ? (size_t)n : MAX_WIDTH;
	if (ioctl(fileno(out), TIOCGWINSZ, &size) == 0 && size.ws_col)
		return size.ws_col;
	return 80;
}

static size_t widest_label(const struct view *v)
{
	size_t widest = 0, width, i;

	for (i = 0; !v->look->no_labels && i < v->t->rows; i++) {
		width = columns(v->t->label[i]);
		widest = width > widest ? width : widest;
	}
	return widest;
}

/* With the blank before it */
static size_t widest_value(const struct view *v)
{
	size_t count = v->t->rows * v->t->cols, widest = 0, width, i;
	const char *suffix = v->look->suffix;

	if (v->look->no_values)
		return 0;
	for (i = 0; i < count; i++) {
		width = columns(value_text(v, v->t->value[i]));
		widest = width > widest ? width : widest;
	}
	return 1 + widest + (suffix ? columns(suffix) : 0);
}

static size_t all_cells(const struct view *v)
{
	return extent(v, v->low) + extent(v, v->high);
}

/* Shares the terminal's columns between labels, bars and values. */
static void fit(struct view *v)
{
	size_t values, used, room;

	v->label_width = widest_label(v);
	if (v->look->width) {
		v->width = (size_t)v->look->width;
	} else {
		values = widest_value(v);
		v->width = MIN_BAR;
		used = values + all_cells(v) + 1;
		room = used < v->terminal ? v->terminal - used : 1;
		if (v->label_width > room)
			v->label_width = room;
		used = values + v->label_width + (v->label_width > 0);
		room = used < v->terminal ? v->terminal - used : 0;
		v->width = room > MIN_BAR ? room : MIN_BAR;
		while (v->width > MIN_BAR && all_cells(v) > room)
			v->width--;
	}
	v->left = extent(v, v->low);
}

/* Blanks go out only before something else, never at the end of a line. */
static void put_blanks(struct view *v)
{
	for (; v->blanks; v->blanks--)
		putc(' ', v->out);
}

static size_t put(struct view *v, const char *s, size_t limit)
{
	if (!*s)
		return 0;
	put_blanks(v);
	return put_text(v->out, s, limit);
}

static void end_line(struct view *v)
{
	v->blanks = 0;
	putc('\n', v->out);
}

static void put_bar(struct view *v, const struct bar *b, size_t series,
		    bool down)
{
	const char *fill = fill_of(v, series);
	size_t i;

	if (!b->cells)
		return;
	put_blanks(v);
	if (v->colors)
		fprintf(v->out, "\033[%dm", v->color[series % v->colors]);
	if (down)
		put(v, b->end, 1);
	for (i = 0; i < b->full; i++)
		put(v, fill, SIZE_MAX);
	if (!down)
		put(v, b->end, 1);
	if (v->colors)
		fputs("\033[0m", v->out);
}

static void draw_legend(struct view *v)
{
	const struct bar sample = { 1, "", 1 };
	size_t at = 0, fill, name, limit, i;

	if (!v->t->series)
		return;
	for (i = 0; i < v->t->cols; i++) {
		fill = columns(fill_of(v, i)) + 1;
		limit = fill < v->terminal ? v->terminal - fill : 1;
		name = columns(v->t->series[i]);
		name = name < limit ? name : limit;
		if (at && at + 2 + fill + name > v->terminal) {
			end_line(v);
			at = 0;
		}
		v->blanks = at ? 2 : 0;
		at += v->blanks + fill + name;
		put_bar(v, &sample, i, false);
		v->blanks = 1;
		put(v, v->t->series[i], limit);
	}
	end_line(v);
	end_line(v);
}

static void draw_value(struct view *v, double x, size_t series)
{
	struct bar b = bar_of(v, x, fill_of(v, series));

	v->blanks += x < 0 ? v->left - b.cells : v->left;
	put_bar(v, &b, series, x < 0);
	if (!v->look->no_values) {
		v->blanks++;
		put(v, value_text(v, x), SIZE_MAX);
		if (v->look->suffix)
			put(v, v->look->suffix, SIZE_MAX);
	}
	end_line(v);
}

static void draw_row(struct view *v, size_t row)
{
	const struct table *t = v->t;
	size_t used = 0, i;

	if (v->label_width)
		used = put(v, t->label[row], v->label_width);
	for (i = 0; i < t->cols; i++) {
		if (v->label_width)
			v->blanks += v->label_width - used + 1;
		draw_value(v, t->value[row * t->cols + i], i);
		used = 0;
	}
}

/* By the first series; without a number last, equal ones as in the table */
static int larger_first(const void *a, const void *b, void *table)
{
	const struct table *t = table;
	size_t i = *(const size_t *)a, k = *(const size_t *)b;
	double x = t->value[i * t->cols], y = t->value[k * t->cols];

	if (x > y || (!isnan(x) && isnan(y)))
		return -1;
	if (x < y || (isnan(x) && !isnan(y)))
		return 1;
	return i < k ? -1 : 1;
}

static void draw_rows(struct view *v)
{
	struct table t = *v->t;
	size_t *order = need(t.rows + 1, sizeof(*order)), i;

	for (i = 0; i < t.rows; i++)
		order[i] = i;
	if (v->look->sort)
		qsort_r(order, t.rows, sizeof(*order), larger_first, &t);
	for (i = 0; i < t.rows; i++) {
		if (i && t.cols > 1)
			end_line(v);
		draw_row(v, order[i]);
	}
	free(order);
}

void table_draw(const struct table *t, const struct look *look, FILE *out)
{
	struct view v = { .t = t, .look = look, .out = out };
	const char *no_color = getenv("NO_COLOR");

	v.utf8 = is_utf8();
	v.terminal = terminal_columns(out);
	if (look->color)
		v.colors = parse_colors(look->color, v.color);
	if (!isatty(fileno(out)) || (no_color && *no_color))
		v.colors = 0;
	/* The largest double has 309 digits before the point. */
	v.text_size = 1024 + (look->format ? strlen(look->format) : 0);
	v.text = need(v.text_size, 1);
	find_scale(&v);
	choose_decimals(&v);
	fit(&v);
	if (look->title) {
		put(&v, look->title, SIZE_MAX);
		end_line(&v);
		end_line(&v);
	}
	draw_legend(&v);
	draw_rows(&v);
	free(v.text);
}

/* -- the command line */

static const char help[] =
	"Usage: alloc bars [OPTION]... FILE\n"
	"Draw a bar of text for each number in FILE, a data file of\n"
	"termgraph. With - as FILE, read standard input.\n"
	"\n"
	"      --title T         print T above the bars\n"
	"      --width N         cells of the longest bar, 1 to 10000\n"
	"      --format F        print values by F, as in %.2f or {:.2f}\n"
	"      --suffix S        print S after each value\n"
	"      --sort            largest value first, by the first series\n"
	"      --delim C         C parts label and values; \\t is a tab\n"
	"      --no-labels       don't print the labels\n"
	"      --no-values       don't print the values\n"
	"      --custom-tick T   make the bars of T, not of blocks or #\n"
	"      --color C[,C]...  colors of the series, on a terminal\n"
	"      --help            print this and exit\n"
	"\n"
	"A line of FILE is LABEL,VALUE[,VALUE]... or, if it has no comma, a\n"
	"label and then values, with blanks between. Empty lines and lines\n"
	"that begin with # are skipped. A line @ NAME[,NAME]... names the\n"
	"series. Every row has as many values as the first.\n"
	"\n"
	"All bars begin at one zero: those of positive numbers go right,\n"
	"those of negative numbers go left, with the value on the right.\n"
	"An infinite value has a full bar that ends in < or >, one that is\n"
	"not a number has none; neither changes the scale. 0 has no bar, and\n"
	"what is too little for a cell has a thin line. Series that have no\n"
	"color of their own differ in what their bars are made of.\n"
	"\n"
	"F has one conversion of a double by printf, or by Python. Without it\n"
	"all values are rounded to as many decimals as leave the largest 5\n"
	"digits and the smallest 3; those far too small or too large to print\n"
	"so have an exponent.\n"
	"\n"
	"Without --width all fits the terminal, or COLUMNS if it is set; for\n"
	"that labels are cut, where the longest bar would have less than 10\n"
	"cells. Bars are of block characters if the first of LC_ALL, LC_CTYPE\n"
	"and LANG that is set says UTF-8. Colors are black red green yellow\n"
	"blue magenta cyan white; NO_COLOR, if not empty, means none.\n"
	"\n"
	"Exit status: 0 when the bars were drawn, 2 when they could not be.\n"
	"\n"
	"Example:\n"
	"  printf 'glibc,1.31\\nalloc,0.98\\n' | alloc bars --suffix s -\n";

/* Up to two: what a value takes has a bound. */
static const char *skip_digits(const char *s)
{
	size_t n = strspn(s, "0123456789");

	return s + (n < 2 ? n : 2);
}

/* Is it for printf, with one double and nothing else to convert? */
static bool one_conversion(const char *s)
{
	int found = 0;

	for (; *s; s++) {
		if (*s != '%')
			continue;
		s++;
		if (*s == '%')
			continue;
		s = skip_digits(s + strspn(s, "-+ #0"));
		if (*s == '.')
			s = skip_digits(s + 1);
		if (!*s || !strchr("aAeEfFgG", *s))
			return false;
		found++;
	}
	return found == 1;
}

/* Python's {:<5.2f} as printf's %.2f: the width is for the bars to choose. */
static char *from_python(const char *s)
{
	const char *open = strchr(s, '{'), *end, *spec;
	char *format;

	if (!open || open[1] != ':')
		return NULL;
	spec = open + 2 + strspn(open + 2, "<>^=+- 0123456789");
	end = strchr(spec, '}');
	if (!end || strpbrk(end + 1, "{}"))
		return NULL;
	if (asprintf(&format, "%.*s%%%.*s%s", (int)(open - s), s,
		     (int)(end - spec), spec, end + 1) < 0)
		return NULL;
	return format;
}

static const char *parse_format(const char *s)
{
	const char *format = one_conversion(s) ? s : from_python(s);

	if (!format || !one_conversion(format))
		fail("bars: '%s' is not one conversion of a number, "
		     "such as %%.2f",
		     shown(s, MAX_QUOTE));
	return format;
}

static char parse_delim(const char *s)
{
	if (strcmp(s, "\\t") == 0)
		return '\t';
	if (strlen(s) != 1)
		fail("bars: delimiter '%s' is not one character",
		     shown(s, MAX_QUOTE));
	return *s;
}

static void finish(void)
{
	if (fflush(stdout) != 0 || ferror(stdout))
		fail("bars: cannot write to standard output");
}

_Noreturn static void print_help(void)
{
	fputs(help, stdout);
	finish();
	exit(0);
}

static const struct option options[] = {
	{ "title", required_argument, NULL, 't' },
	{ "width", required_argument, NULL, 'w' },
	{ "format", required_argument, NULL, 'f' },
	{ "suffix", required_argument, NULL, 's' },
	{ "sort", no_argument, NULL, 'o' },
	{ "delim", required_argument, NULL, 'd' },
	{ "no-labels", no_argument, NULL, 'l' },
	{ "no-values", no_argument, NULL, 'v' },
	{ "custom-tick", required_argument, NULL, 'k' },
	{ "color", required_argument, NULL, 'c' },
	{ "help", no_argument, NULL, 'h' },
	{ NULL, 0, NULL, 0 },
};

static void apply(int opt, const char *value, struct look *look)
{
	int color[MAX_COLORS];

	switch (opt) {
	case 't': look->title = value; break;
	case 'w':
		look->width = (int)number("width", value, 1, MAX_WIDTH);
		break;
	case 'f': look->format = parse_format(value); break;
	case 's': look->suffix = value; break;
	case 'o': look->sort = true; break;
	case 'd': look->delim = parse_delim(value); break;
	case 'l': look->no_labels = true; break;
	case 'v': look->no_values = true; break;
	case 'k':
		if (!*value)
			fail("bars: --custom-tick is empty");
		look->tick = value;
		break;
	case 'c':
		/* A wrong one is told of before anything is read. */
		parse_colors(value, color);
		look->color = value;
		break;
	default: print_help();
	}
}

/* Sets `look` by the options, and returns the file. */
static const char *parse(int argc, char **argv, struct look *look)
{
	int files = 0, opt, at;
	const char *file = "";

	/* 0, not 1: another getopt() may have been at work before. */
	optind = 0;
	opterr = 0;
	for (;;) {
		at = optind ? optind : 1;
		opt = getopt_long(argc, argv, "-:", options, NULL);
		if (opt == -1)
			break;
		if (opt == ':')
			fail("bars: %s needs a value", argv[at]);
		if (opt == '?')
			fail("bars: unknown option '%s', see alloc bars --help",
			     shown(argv[at], MAX_QUOTE));
		if (opt == 1) {
			file = optarg;
			files++;
		} else {
			apply(opt, optarg, look);
		}
	}
	for (; optind < argc; files++)
		file = argv[optind++];
	if (files != 1)
		fail("bars: needs one FILE, see alloc bars --help");
	return file;
}

int bars_main(int argc, char **argv)
{
	struct look look = { .width = 0 };
	const char *file = parse(argc, argv, &look);

	table_draw(table_read(file, &look), &look, stdout);
	finish();
	return 0;
}
