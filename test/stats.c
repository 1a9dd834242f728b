/*
 * stats.c - what tools/stats.c computes, for test/alloc.bats.
 *
 * stats - reads two lines of numbers, the first of each being how many follow;
 * prints both medians, both median distances from them, and the ratio of the
 * medians with its interval.
 *
 * stats --coverage RUNS SETS - in how many of so many sets of random numbers,
 * all alike, the interval has a ratio of 1 in it.
 */
#include "../tools/stats.c"
#include <stdio.h>
#include <stdlib.h>

void *need(size_t count, size_t size)
{
	void *p = calloc(count ? count : 1, size);

	if (!p)
		abort();
	return p;
}

static double *read_line(size_t *n)
{
	double *v;

	if (scanf("%zu", n) != 1)
		exit(1);
	v = need(*n, sizeof(*v));
	for (size_t i = 0; i < *n; i++)
		if (scanf("%lf", &v[i]) != 1)
			exit(1);
	return v;
}

/* Skewed, as times are: most are near 1, a few far above. */
static double like_a_time(uint64_t *state)
{
	double u = (double)(random_next(state) >> 11) * 0x1p-53;

	return 1 - 0.05 * log(1 - u);
}

static void coverage(size_t runs, size_t sets)
{
	double *a = need(runs, sizeof(*a)), *b = need(runs, sizeof(*b));
	uint64_t state = 1234567;
	size_t good = 0;

	for (size_t i = 0; i < sets; i++) {
		struct ratio r;

		for (size_t k = 0; k < runs; k++) {
			a[k] = like_a_time(&state);
			b[k] = like_a_time(&state);
		}
		r = ratio_of(a, runs, b, runs);
		good += r.low <= 1 && r.high >= 1;
	}
	printf("%zu\n", good);
}

int main(int argc, char **argv)
{
	size_t na, nb;
	double *a, *b;
	struct ratio r;

	if (argc == 4) {
		coverage(strtoul(argv[2], NULL, 10),
			 strtoul(argv[3], NULL, 10));
		return 0;
	}
	a = read_line(&na);
	b = read_line(&nb);
	r = ratio_of(a, na, b, nb);
	printf("%.17g %.17g %.17g %.17g %.17g %.17g %.17g\n", median(a, na),
	       median(b, nb), mad(a, na), mad(b, nb), r.value, r.low, r.high);
	return 0;
}
