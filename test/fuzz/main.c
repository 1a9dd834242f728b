/*
 * main.c - strings for driver.c from files, from numbers, or from AFL++.
 *
 * driver FILE...
 * driver random SEED STRINGS
 */
#include "../test.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#ifdef __AFL_COMPILER

__AFL_FUZZ_INIT();

int main(void)
{
	const uint8_t *data = __AFL_FUZZ_TESTCASE_BUF;

	while (__AFL_LOOP(10000))
		LLVMFuzzerTestOneInput(data, (size_t)__AFL_FUZZ_TESTCASE_LEN);
	return 0;
}

#else

static uint8_t text[1 << 16];

/* What is about to be played is said before: it may not return. */
static void play_file(const char *name)
{
	int fd = open(name, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	CHECKF(fd >= 0, "%s", name);
	n = read(fd, text, sizeof(text));
	CHECK(n >= 0);
	close(fd);
	dprintf(1, "%s\n", name);
	LLVMFuzzerTestOneInput(text, (size_t)n);
}

static void play_random(unsigned long seed)
{
	uint64_t state = seed * 0x9e3779b97f4a7c15ull + 1;
	size_t n = test_random(&state) % 400 + 1;

	for (size_t i = 0; i < n; i++)
		text[i] = (uint8_t)(test_random(&state) >> 32);
	dprintf(1, "random %lu 1\n", seed);
	LLVMFuzzerTestOneInput(text, n);
}

int main(int argc, char **argv)
{
	unsigned long seed, strings;

	if (argc == 4 && strcmp(argv[1], "random") == 0) {
		seed = strtoul(argv[2], NULL, 0);
		strings = strtoul(argv[3], NULL, 0);
		for (; strings > 0; strings--)
			play_random(seed++);
		return 0;
	}
	for (int i = 1; i < argc; i++)
		play_file(argv[i]);
	return 0;
}

#endif
