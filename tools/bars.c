/*
 * bars.c - alloc bars: its options.
 */
#include "alloc.h"
#include <getopt.h>

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

	if (!open || open[1] != ':')
		return NULL;
	spec = open + 2 + strspn(open + 2, "<>^=+- 0123456789");
	end = strchr(spec, '}');
	if (!end || strpbrk(end + 1, "{}"))
		return NULL;
	return formatted("%.*s%%%.*s%s", (int)(open - s), s, (int)(end - spec),
			 spec, end + 1);
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
