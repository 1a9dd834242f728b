/*
 * json - A builder of documents: nodes, keys and strings, then all as text.
 *
 * 60 documents of 20,000 values each: a tree of nodes whose arrays of children
 * double, with a key and often a string in each; then all of it is printed to
 * a buffer that grows, and freed.
 */
#include "bench.h"

enum { DOCUMENTS = 60, VALUES = 20 * 1000 };

struct value {
	char *key, *text;
	struct value **child;
	unsigned children, room;
};

struct buffer {
	unsigned char *p;
	size_t length, room;
};

static uint64_t state, ops;

static char *word(size_t least, size_t most)
{
	uint64_t r = bench_random(&state);
	size_t n = bench_between(least, most, r);
	char *s = bench_malloc(n + 1);

	memset(s, 'a' + (int)(r % 26), n);
	s[n] = '\0';
	ops++;
	return s;
}

static struct value *add(struct value *to)
{
	struct value *v = bench_malloc(sizeof(*v));

	*v = (struct value){ .key = word(3, 20) };
	if (bench_random(&state) % 3)
		v->text = word(1, bench_random(&state) % 50 ? 40 : 1000);
	if (to && to->children == to->room) {
		to->room = to->room ? 2 * to->room : 4;
		to->child = bench_need(
			realloc(to->child, to->room * sizeof(struct value *)));
		ops++;
	}
	if (to)
		to->child[to->children++] = v;
	ops++;
	return v;
}

static void print(struct buffer *b, const char *s)
{
	size_t n = strlen(s);

	while (b->length + n > b->room) {
		b->room = b->room ? b->room + b->room / 2 : 256;
		b->p = bench_need(realloc(b->p, b->room));
		ops++;
	}
	memcpy(b->p + b->length, s, n);
	b->length += n;
}

static void print_and_free(struct buffer *b, struct value *v)
{
	print(b, v->key);
	if (v->text)
		print(b, v->text);
	for (unsigned i = 0; i < v->children; i++)
		print_and_free(b, v->child[i]);
	ops += 4;
	bench_free(v->key);
	bench_free(v->text);
	bench_free(v->child);
	bench_free(v);
}

static uint64_t document(void)
{
	static struct value *all[VALUES];
	struct buffer b = { 0 };
	uint64_t sum;

	all[0] = add(NULL);
	for (unsigned i = 1; i < VALUES; i++)
		all[i] = add(all[bench_random(&state) % i]);
	print_and_free(&b, all[0]);
	sum = b.length;
	for (size_t i = 0; i + 8 <= b.length; i += 8)
		sum = sum * 31 + bench_get(b.p + i);
	free(b.p);
	return sum;
}

int main(void)
{
	uint64_t sum = 0;

	state = bench_seed(0);
	bench_start();
	for (int i = 0; i < DOCUMENTS; i++)
		sum = sum * 31 + document();
	return bench_done("json", sum, ops);
}
