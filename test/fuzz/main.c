/*
 * main.c - strings for driver.c from files, from numbers, or from AFL++.
 *
 * driver FILE...
 * driver random|misuse SEED STRINGS
 */
#include "../test.h"
#include <stdbool.h>

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

/* A byte of any value, or as often one that is small */
static uint8_t random_byte(uint64_t *state)
{
	uint64_t n = test_random(state);

	return (uint8_t)(n >> (n & 256 ? 32 : 61));
}

/*
 * Operations that bring old pointers, few sizes and few threads together, and
 * what follows each: driver.c knows what that means. All others, too, but not
 * as often as mere chance would have them.
 */
static const struct likely {
	uint8_t byte;
	enum { ALONE, WORD, SIZE, BYTE_WORD, BYTE_SIZE } operands;
} likely[] = {
	{ 0x0f, ALONE },     { 0x0f, ALONE },     { 0x0f, ALONE },
	{ 0x1f, ALONE },     { 0x1f, ALONE },     { 0x1f, ALONE },
	{ 0x2f, ALONE },     { 0x5f, ALONE },     { 0x0e, ALONE },
	{ 0x20, SIZE },      { 0x50, WORD },      { 0x50, WORD },
	{ 0x36, WORD },      { 0x36, WORD },      { 0x46, WORD },
	{ 0x46, WORD },      { 0x46, WORD },      { 0x66, WORD },
	{ 0x76, WORD },      { 0x08, BYTE_SIZE }, { 0x28, BYTE_SIZE },
	{ 0x48, BYTE_WORD }, { 0x68, BYTE_WORD }, { 0x0c, BYTE_WORD },
	{ 0x0c, BYTE_WORD }, { 0x1c, BYTE_WORD }, { 0x4c, BYTE_WORD },
	{ 0x5c, BYTE_WORD },
};

/* One operation, to the end of the text; `sizes` are four of two bytes. */
static uint8_t *add_misuse(uint8_t *end, uint64_t *state, const uint8_t *sizes)
{
	uint64_t choice = test_random(state) >> 32;
	const struct likely *l = &likely[choice / 8 % COUNT(likely)];

	*end++ = choice % 8 ? l->byte : (uint8_t)(choice >> 16);
	if (l->operands >= BYTE_WORD)
		*end++ = (uint8_t)(choice >> 24);
	if (l->operands == SIZE || l->operands == BYTE_SIZE) {
		*end++ = sizes[choice >> 20 & 6];
		*end++ = sizes[(choice >> 20 & 6) + 1];
	} else if (l->operands != ALONE) {
		*end++ = random_byte(state);
		*end++ = random_byte(state);
	}
	return end;
}

static size_t random_misuse(uint64_t *state)
{
	size_t most = test_random(state) % 400 + 4;
	uint64_t sizes = test_random(state);
	uint8_t *end = text;

	*end++ = (uint8_t)(test_random(state) >> 32 & 0xc3) | 0x20;
	while (end < text + most)
		end = add_misuse(end, state, (const uint8_t *)&sizes);
	return (size_t)(end - text);
}

static size_t random_bytes(uint64_t *state)
{
	size_t n = test_random(state) % 400 + 1;

	for (size_t i = 0; i < n; i++)
		text[i] = (uint8_t)(test_random(state) >> 32);
	return n;
}

static void play_random(unsigned long seed, bool misuse)
{
	uint64_t state = seed * 0x9e3779b97f4a7c15ull + 1;
	size_t n = misuse ? random_misuse(&state) : random_bytes(&state);

	dprintf(1, "%s %lu 1\n", misuse ? "misuse" : "random", seed);
	LLVMFuzzerTestOneInput(text, n);
}

int main(int argc, char **argv)
{
	bool misuse = argc == 4 && strcmp(argv[1], "misuse") == 0;
	unsigned long seed, strings;

	if (misuse || (argc == 4 && strcmp(argv[1], "random") == 0)) {
		seed = strtoul(argv[2], NULL, 0);
		strings = strtoul(argv[3], NULL, 0);
		for (; strings > 0; strings--)
			play_random(seed++, misuse);
		return 0;
	}
	for (int i = 1; i < argc; i++)
		play_file(argv[i]);
	return 0;
}

#endif
