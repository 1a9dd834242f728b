/*
 * draw.c - tables of numbers as bars of text.
 *
 * All that is asked for is the table, how it is to look, and the file to write
 * to: other subcommands draw what they have in memory.
 */
#include "alloc.h"
#include <math.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { MIN_BAR = 10 }; /* cells the longest has, however long the labels */

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

size_t parse_colors(const char *list, int *color)
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
