/*
 * aligned - Vector code and direct I/O: blocks aligned to 16 bytes or a page.
 *
 * 4000 live blocks of 16 to 4096 bytes, aligned to each power of 2 from 16 to
 * 4096, by aligned_alloc() and posix_memalign(); a random one is replaced.
 */
#include "bench.h"

enum { LIVE = 4000, STEPS = 2 * 1000 * 1000 };

static struct block make(uint64_t r)
{
	size_t align = (size_t)16 << (r >> 1) % 9;
	struct block b = { NULL, bench_between(16, 4096, r) };
	void *p = NULL;

	/* aligned_alloc() is for sizes that are multiples. */
	if (r & 1) {
		b.size = (b.size + align - 1) / align * align;
		p = aligned_alloc(align, b.size);
	} else if (posix_memalign(&p, align, b.size) != 0) {
		p = NULL;
	}
	b.p = bench_need(p);
	if ((uintptr_t)p % align != 0)
		bench_fail("a block that is not aligned", EFAULT);
	bench_write(b, r);
	return b;
}

int main(void)
{
	static struct block block[LIVE];
	uint64_t state = bench_seed(0), sum = 0;

	bench_start();
	for (int i = 0; i < STEPS; i++) {
		uint64_t r = bench_random(&state);
		struct block *b = &block[bench_random(&state) % LIVE];

		sum = sum * 31 + bench_drop(*b);
		*b = make(r);
	}
	for (int i = 0; i < LIVE; i++)
		sum = sum * 31 + bench_drop(block[i]);
	return bench_done("aligned", sum, 2 * STEPS);
}
