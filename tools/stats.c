/*
 * stats.c - medians and what is known about them.
 *
 * Times on a machine that others use have a long tail to one side: a mean or
 * a standard deviation says nothing about them.
 */
#include "alloc.h"
#include <math.h>

#define RESAMPLES 4000

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* A copy of those that are there: a run may leave none, which is NAN. */
static double *known(const double *v, size_t *n)
{
	double *to = need(*n + 1, sizeof(*to));
	size_t kept = 0;

	for (size_t i = 0; i < *n; i++)
		if (!isnan(v[i]))
			to[kept++] = v[i];
	*n = kept;
	return to;
}

/* The values from `v` are sorted in place; NAN when there are none. */
static double median_of(double *v, size_t n)
{
	if (!n)
		return NAN;
	qsort(v, n, sizeof(*v), by_value);
	return n % 2 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2;
}

double median(const double *v, size_t n)
{
	double *copy = known(v, &n), m = median_of(copy, n);

	free(copy);
	return m;
}

/* The median distance from the median. */
double mad(const double *v, size_t n)
{
	double m = median(v, n), *d = known(v, &n);

	for (size_t i = 0; i < n; i++)
		d[i] = fabs(d[i] - m);
	m = median_of(d, n);
	free(d);
	return m;
}

double least(const double *v, size_t n)
{
	double min = NAN;

	for (size_t i = 0; i < n; i++)
		min = fmin(min, v[i]); /* of a NAN and a number, the number */
	return min;
}

double most(const double *v, size_t n)
{
	double max = NAN;

	for (size_t i = 0; i < n; i++)
		max = fmax(max, v[i]);
	return max;
}

/* xorshift64: a fixed seed, so that the same runs give the same answer. */
uint64_t random_next(uint64_t *state)
{
	uint64_t x = *state;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	return *state = x;
}

static double resample(const double *v, size_t n, double *to, uint64_t *state)
{
	for (size_t i = 0; i < n; i++)
		to[i] = v[random_next(state) % n];
	return median_of(to, n);
}

/*
 * The ratio of two medians, and where it lies with 95 % confidence, by
 * drawing again from the runs at hand.
 */
struct ratio ratio_of(const double *va, size_t na, const double *vb, size_t nb)
{
	uint64_t state = 88172645463325252u;
	struct ratio r = { NAN, NAN, NAN };
	double *a = known(va, &na), *b = known(vb, &nb), *draw, *ratio;

	if (!na || !nb)
		return r;
	draw = need(na > nb ? na : nb, sizeof(*draw));
	ratio = need(RESAMPLES, sizeof(*ratio));
	for (size_t i = 0; i < RESAMPLES; i++) {
		double x = resample(a, na, draw, &state);

		ratio[i] = x / resample(b, nb, draw, &state);
	}
	qsort(ratio, RESAMPLES, sizeof(*ratio), by_value);
	r.value = median(a, na) / median(b, nb);
	r.low = ratio[RESAMPLES * 25 / 1000];
	r.high = ratio[RESAMPLES * 975 / 1000];
	free(a);
	free(b);
	free(draw);
	free(ratio);
	return r;
}
