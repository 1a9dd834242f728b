/*
 * lru - A cache of values: the one that was used longest ago makes room.
 *
 * 32 MiB of values, log-normal with a median of 300 bytes, under 200,000 keys,
 * of which some are far more popular; each entry has a node and a key.
 */
#include "bench.h"

enum { KEYS = 200 * 1000, STEPS = 1500 * 1000 };
#define FULL ((size_t)32 << 20)

struct entry {
	struct entry *newer, *older;
	char *key;
	struct block value;
	unsigned number;
};

static struct entry *table[KEYS], ring = { .newer = &ring, .older = &ring };
static size_t bytes;
static uint64_t state, sum, ops;

/* The sum of many numbers is near enough to normal: 2^8.2, 2^1.5 either way */
static size_t lognormal(uint64_t r)
{
	unsigned twelfth = 0;

	for (int i = 0; i < 12; i++, r >>= 5)
		twelfth += (unsigned)r & 31;
	/* 186 on average; 32 a standard deviation, about */
	return (bench_between(256, 511, r) << twelfth / 24) / 230 + 8;
}

static void link_newest(struct entry *e)
{
	e->older = ring.older;
	e->newer = &ring;
	ring.older->newer = e;
	ring.older = e;
}

static void unlink_entry(struct entry *e)
{
	e->older->newer = e->newer;
	e->newer->older = e->older;
}

static void evict(struct entry *e)
{
	unlink_entry(e);
	table[e->number] = NULL;
	bytes -= e->value.size;
	sum = sum * 31 + bench_drop(e->value);
	bench_free(e->key);
	bench_free(e);
	ops += 3;
}

static void insert(unsigned number, uint64_t r)
{
	struct entry *e = bench_malloc(sizeof(*e));

	*e = (struct entry){ .number = number, .key = bench_malloc(24) };
	snprintf(e->key, 24, "key:%u", number);
	e->value = bench_make(lognormal(r), r);
	bytes += e->value.size;
	table[number] = e;
	link_newest(e);
	ops += 3;
}

int main(void)
{
	state = bench_seed(0);
	bench_start();
	for (int i = 0; i < STEPS; i++) {
		uint64_t r = bench_random(&state), q = bench_random(&state);
		unsigned number = (unsigned)(r % KEYS * (q % KEYS) / KEYS);
		struct entry *e = table[number];

		if (e) {
			sum += bench_read(e->value);
			unlink_entry(e);
			link_newest(e);
			continue;
		}
		insert(number, r);
		while (bytes > FULL)
			evict(ring.newer);
	}
	while (ring.newer != &ring)
		evict(ring.newer);
	return bench_done("lru", sum, ops);
}
