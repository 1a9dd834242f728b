/*
 * aligned - Vector code and direct I/O: blocks aligned to 16 bytes or a page.
 *
 * 4000 live blocks, a random one is replaced. Three of four are vectors of 16
 * to 4096 bytes, aligned to 16, 32 or 64; the others are buffers of one to
 * four pages.
 */
#include "bench.h"

enum { LIVE = 4000, STEPS = 1000 * 1000, PAGE = 4096 };

static struct block make(uint64_t r)
{
	size_t align = r % 4 == 3 ? PAGE : (size_t)16 << r % 4;
	struct block b = { 0 };
	void *p = NULL;

	if (align == PAGE) {
		b.size = PAGE * bench_between(1, 4, r);
		p = aligned_alloc(align, b.size);
	} else {
		b.size = bench_between(16, 4096, r);
		if (posix_memalign(&p, align, b.size) != 0)
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

	bench_start();
	return bench_done("aligned", bench_replace(block, LIVE, STEPS, make),
			  2 * STEPS);
}
