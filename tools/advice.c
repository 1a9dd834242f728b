/*
 * advice.c - which ALLOC_THRESH `alloc sweep` recommends, and what that is
 * known to be worth.
 */
#include "alloc.h"
#include <math.h>

#define NOISE_MIN 0.02 /* of a time: less is not told apart */
#define WORTH 0.05     /* of all that caching saves: no more is asked for */

/* All runs of `n` sides. */
static double *pool(const struct side *s, size_t n, size_t *count)
{
	double *v;

	*count = 0;
	for (size_t i = 0; i < n; i++)
		*count += s[i].runs;
	v = need(*count, sizeof(*v));
	*count = 0;
	for (size_t i = 0; i < n; i++)
		for (size_t k = 0; k < s[i].runs; k++)
			v[(*count)++] = s[i].run[WALL][k];
	return v;
}

/* Where the `width` neighbours begin that take the least time together */
static size_t fastest(const double *level, size_t n, size_t width)
{
	double sum = 0, least = INFINITY;
	size_t best = 0;

	for (size_t i = 0; i < n; i++) {
		sum += level[i] - (i < width ? 0 : level[i - width]);
		if (i + 1 < width || sum > least)
			continue;
		least = sum;
		best = i + 1 - width;
	}
	return best;
}

/* How much the runs of one threshold differ, typically. */
static double noise_of(const struct side *s, size_t n)
{
	double *part = need(n, sizeof(*part)), noise;

	for (size_t i = 0; i < n; i++)
		part[i] = mad(s[i].run[WALL], s[i].runs) / middle(&s[i], WALL);
	noise = 1.4826 * median(part, n);
	return noise > NOISE_MIN ? noise : NOISE_MIN;
}

/*
 * The first as good as the plateau, within the noise, but no more than half of
 * what there is to gain, give or take a little. There is one, since one of the
 * plateau is no slower than its median.
 */
static size_t first_good(const double *level, double plateau, double noise)
{
	double gain = level[0] / plateau - 1, good;
	size_t pick = 0;

	if (gain <= 0)
		return 0;
	good = plateau * (1 + (noise < gain / 2 ? noise : gain / 2)) +
	       WORTH * (level[0] - plateau);
	while (level[pick] > good)
		pick++;
	return pick;
}

/* What is known of the first beside the plateau */
static enum advised judge(const struct ratio *r, size_t runs, double gain)
{
	if (runs < RUNS_MIN)
		return CANT_ADVISE;
	if (r->low > 1 && gain >= NOISE_MIN)
		return ADVISE_MORE;
	return r->high <= 1 + SAME_MAX ? ADVISE_FIRST : CANT_ADVISE;
}

/*
 * The plateau is the fastest third, beside the first, which is compared with
 * it: a threshold that others disturbed, or slow ones at the end, don't move
 * the pick.
 */
struct advice advise(const struct side *s, size_t n)
{
	struct advice a = { .width = (n + 2) / 3 };
	double *level = need(n, sizeof(*level)), *end, plateau;
	size_t count;

	for (size_t i = 0; i < n; i++)
		level[i] = middle(&s[i], WALL);
	a.plateau = n < 2 ? 0 : 1 + fastest(level + 1, n - 1, a.width);
	plateau = median(level + a.plateau, a.width);
	end = pool(s + a.plateau, a.width, &count);
	a.noise = noise_of(s, n);
	a.first = ratio_of(s[0].run[WALL], s[0].runs, end, count);
	a.pick = first_good(level, plateau, a.noise);
	a.runs = s[a.pick].runs < s[0].runs ? s[a.pick].runs : s[0].runs;
	a.advised = n < 2 ? CANT_ADVISE :
			    judge(&a.first, a.runs, level[0] / plateau - 1);
	if (a.advised == ADVISE_FIRST)
		a.pick = 0;
	a.end = ratio_of(s[a.pick].run[WALL], s[a.pick].runs, end, count);
	a.start = ratio_of(s[a.pick].run[WALL], s[a.pick].runs, s[0].run[WALL],
			   s[0].runs);
	return a;
}

/* -- in words */

static char *plateau_text(const struct side *s, const struct advice *a)
{
	const char *from = s[a->plateau].name;
	const char *to = s[a->plateau + a->width - 1].name;

	if (a->width == 1)
		return formatted("at %s", from);
	return formatted("from %s to %s", from, to);
}

/* The time as a part of that on the plateau */
static char *part_text(const struct side *s, const struct advice *a,
		       const struct ratio *r)
{
	return formatted("%.2f (95 %%: %.2f to %.2f) of what it is %s",
			 r->value, r->low, r->high, plateau_text(s, a));
}

static void print_doubt(const struct side *s, size_t n, const struct advice *a)
{
	const char *each =
		formatted("%s%s", run_count(a->runs), n > 1 ? " each" : "");

	fputs("no recommendation: ", stdout);
	if (n < 2)
		puts("one threshold has no other to be compared with");
	else if (a->runs < RUNS_MIN)
		printf("can't tell (%s, and %d are needed)\n", each, RUNS_MIN);
	else
		printf("can't tell (%s)\n  time at %s is %s\n", each, s->name,
		       part_text(s, a, &a->first));
}

/* The first is as good as any: the same, or faster. */
static void print_level(const struct side *s, const struct advice *a)
{
	double less = 1 - a->first.low, more = a->first.high - 1;

	printf("  time at %s is ", s->name);
	if (less <= SAME_MAX)
		printf("%s as %s", same_within(less > more ? less : more),
		       plateau_text(s, a));
	else
		fputs(part_text(s, a, &a->first), stdout);
	puts(": more caching saves no time here");
}

static void print_gain(const struct side *s, const struct advice *a)
{
	const struct side *pick = &s[a->pick];
	double calls = middle(pick, SYSCALLS) / middle(s, SYSCALLS);

	if (a->width > 1 || a->pick != a->plateau)
		printf("  time is %s; noise %.0f %%\n",
		       part_text(s, a, &a->end), 100 * a->noise);
	printf("  against %s: %.0f %% less time (95 %%: %.0f to %.0f)", s->name,
	       100 * (1 - a->start.value), 100 * (1 - a->start.high),
	       100 * (1 - a->start.low));
	if (isfinite(calls))
		printf(", %.0f %% %s memory calls", 100 * fabs(1 - calls),
		       calls > 1 ? "more" : "fewer");
	printf(", %+.1f MiB peak RSS\n",
	       (middle(pick, RSS) - middle(s, RSS)) / 1024);
}

void print_advice(const struct side *s, size_t n, const struct advice *a)
{
	if (a->advised == CANT_ADVISE) {
		print_doubt(s, n, a);
		return;
	}
	printf("recommended: ALLOC_THRESH=%s\n", s[a->pick].name);
	if (a->advised == ADVISE_FIRST)
		print_level(s, a);
	else
		print_gain(s, a);
}

char *why(const struct side *s, const struct advice *a)
{
	double more = ceil(100 * (a->end.value - 1) - 1e-9);

	return formatted("recommended: %s, the first within %.0f %% of the "
			 "time %s",
			 s[a->pick].name, more > 1 ? more : 1,
			 plateau_text(s, a));
}

/* Of those with runs */
char *runs_each(const struct side *s, size_t n)
{
	size_t least = SIZE_MAX, most = 0;

	for (size_t i = 0; i < n; i++) {
		if (s[i].runs)
			least = s[i].runs < least ? s[i].runs : least;
		most = s[i].runs > most ? s[i].runs : most;
	}
	return run_range(least, most);
}

static void json_ratio(FILE *out, const struct ratio *r, bool known)
{
	fprintf(out, "[%.4f,", r->value);
	if (known)
		fprintf(out, "%.4f,%.4f]", r->low, r->high);
	else
		fputs("null,null]", out);
}

void json_advice(FILE *out, const struct side *s, const struct advice *a)
{
	static const char *const verdicts[] = { [CANT_ADVISE] = "can't tell",
						[ADVISE_FIRST] = "no faster",
						[ADVISE_MORE] = "faster" };
	bool known = a->runs >= RUNS_MIN;

	fprintf(out,
		"{\"threshold\":%s,\"verdict\":\"%s\",\"flat\":%s,"
		"\"noise\":%.4f,\"to_plateau\":",
		a->advised == CANT_ADVISE ? "null" : s[a->pick].name,
		verdicts[a->advised],
		a->advised == ADVISE_FIRST ? "true" : "false", a->noise);
	json_ratio(out, &a->end, known);
	fputs(",\"to_first\":", out);
	json_ratio(out, &a->start, known);
	fputc('}', out);
}
