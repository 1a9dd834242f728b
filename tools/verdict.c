/*
 * verdict.c - what may be said of runs beside other runs: that they took less,
 * more, or the same within a few per cent; or that it can't be told.
 */
#include "alloc.h"
#include <math.h>

#define DIFFERS 0.005 /* as a part: less is the same */

struct verdict verdict_of(const double *a, size_t na, const double *b,
			  size_t nb)
{
	struct ratio r = ratio_of(a, na, b, nb);
	double more = r.high - 1, less = 1 - r.low;
	struct verdict v = { .finding = CANT_TELL, .ratio = r };

	v.runs = na < nb ? na : nb;
	v.within = more > less ? more : less;
	if (v.runs < RUNS_MIN)
		return v;
	if (r.high < 1 && r.value <= 1 - DIFFERS)
		v.finding = LESS;
	else if (r.low > 1 && r.value >= 1 + DIFFERS)
		v.finding = MORE;
	else if (v.within <= SAME_MAX)
		v.finding = SAME;
	return v;
}

char *run_count(size_t runs)
{
	return formatted("%zu run%s", runs, runs == 1 ? "" : "s");
}

char *run_range(size_t least, size_t most)
{
	if (least == most)
		return run_count(most);
	return formatted("%zu to %zu runs", least, most);
}

/* Rounded up: it must not say less than was measured. */
char *same_within(double part)
{
	double tenths = ceil(part * 1000 - 1e-9);

	return formatted("the same within %.1f %%",
			 (tenths > 1 ? tenths : 1) / 10);
}

/* A change, from the ratio that it made */
static char *change(double ratio)
{
	return formatted("%.1f %% %s", 100 * fabs(ratio - 1),
			 ratio < 1 ? "less" : "more");
}

char *verdict_text(const struct verdict *v, const char *less, const char *more)
{
	const struct ratio *r = &v->ratio;

	switch (v->finding) {
	case LESS:
		return formatted("%s: %s (95 %%: %.1f to %.1f)", less,
				 change(r->value), 100 * (1 - r->high),
				 100 * (1 - r->low));
	case MORE:
		return formatted("%s: %s (95 %%: %.1f to %.1f)", more,
				 change(r->value), 100 * (r->low - 1),
				 100 * (r->high - 1));
	case SAME: return same_within(v->within);
	default: break;
	}
	if (v->runs < RUNS_MIN)
		return formatted("can't tell (%s)", run_count(v->runs));
	return formatted("can't tell (%s): %s to %s", run_count(v->runs),
			 change(r->low), change(r->high));
}
