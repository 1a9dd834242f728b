/*
 * strings - A renderer of text: thousands of strings, each grows bit by bit.
 *
 * 10,000 strings; 1 to 64 bytes are appended to a random one of them, which
 * is finished, and a new one begun, when it has reached its own length.
 */
#include "bench.h"

enum { STRINGS = 10 * 1000, STEPS = 3 * 1000 * 1000, LONGEST = 4000 };

struct string {
	unsigned char *text;
	size_t length, limit;
};

static struct string string[STRINGS];
static uint64_t ops;

static void append(struct string *s, size_t n, int c)
{
	s->text = bench_need(realloc(s->text, s->length + n));
	memset(s->text + s->length, c, n);
	s->length += n;
	ops++;
}

/* All of it was copied, perhaps many times: all of it counts. */
static uint64_t finish(struct string *s)
{
	uint64_t sum = s->length;
	size_t i = 0;

	for (; i + 8 <= s->length; i += 8)
		sum = sum * 31 + bench_get(s->text + i);
	for (; i < s->length; i++)
		sum = sum * 31 + s->text[i];
	ops += s->text != NULL;
	free(s->text);
	*s = (struct string){ 0 };
	return sum;
}

int main(void)
{
	uint64_t state = bench_seed(0), sum = 0;

	bench_start();
	for (int i = 0; i < STEPS; i++) {
		uint64_t r = bench_random(&state);
		struct string *s = &string[r % STRINGS];

		if (s->length >= s->limit) {
			sum = sum * 31 + finish(s);
			s->limit = bench_between(64, LONGEST, r);
		}
		append(s, 1 + (r >> 20) % 64, (int)(r >> 40 & 255));
	}
	for (int i = 0; i < STRINGS; i++)
		sum = sum * 31 + finish(&string[i]);
	return bench_done("strings", sum, ops);
}
