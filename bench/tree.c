/*
 * tree - A document tree: built node by node, later torn down again.
 *
 * Binary trees of 131,071 nodes with some text in each, one after another.
 */
#include "bench.h"

enum { DEPTH = 17, TREES = 50, WORDS = 6 };

struct node {
	struct node *child[2];
	uint64_t words, word[];
};

static struct node *build(int depth, uint64_t key)
{
	uint64_t words = 1 + key * 7 % 11 % WORDS;
	struct node *n =
		bench_need(malloc(sizeof(*n) + words * sizeof(n->word[0])));

	n->words = words;
	for (uint64_t i = 0; i < words; i++)
		n->word[i] = key + i;
	for (uint64_t i = 0; i < 2; i++)
		n->child[i] = depth > 1 ? build(depth - 1, 2 * key + i) : NULL;
	return n;
}

static uint64_t tear_down(struct node *n)
{
	uint64_t sum;

	if (!n)
		return 0;
	sum = tear_down(n->child[0]) * 31 + tear_down(n->child[1]);
	for (uint64_t i = 0; i < n->words; i++)
		sum = sum * 31 + n->word[i];
	free(n);
	return sum;
}

int main(void)
{
	uint64_t nodes = ((uint64_t)1 << DEPTH) - 1, sum = 0;

	bench_start();
	for (uint64_t i = 0; i < TREES; i++)
		sum = sum * 31 + tear_down(build(DEPTH, i + 1));
	return bench_done("tree", sum, 2 * TREES * nodes);
}
