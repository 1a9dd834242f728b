/* A thousand blocks of mixed sizes, then all are freed in the same order. */
#include "bench.h"

enum { BATCH = 1000, ROUNDS = 20 * 1000, LARGEST = 512 };

int main(void)
{
	static uint64_t *block[BATCH];
	static size_t size[BATCH];
	uint64_t state = 88172645463325252u, sum = 0;

	for (int i = 0; i < BATCH; i++)
		size[i] = 8 + bench_random(&state) % LARGEST;
	for (int round = 0; round < ROUNDS; round++) {
		for (int i = 0; i < BATCH; i++)
			block[i] = bench_block(size[i], (uint64_t)(round ^ i));
		for (int i = 0; i < BATCH; i++) {
			sum = sum * 31 + *block[i];
			free(block[i]);
		}
	}
	return bench_done("batch", sum);
}
