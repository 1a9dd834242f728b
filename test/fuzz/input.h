/*
 * input.h - bytes as numbers, mostly small ones and those at some edge.
 */
#include "../test.h"

/* Sizes from here on can't be had. */
#define HOPELESS ((size_t)1 << 46)

static const uint8_t *input, *input_end;

static unsigned next_byte(void)
{
	return input < input_end ? *input++ : 0;
}

static unsigned next_word(void)
{
	unsigned low = next_byte();

	return low | next_byte() << 8;
}

static size_t next_size(void)
{
	static const size_t edges[] = { 16,       512,         1024,
					8192,     16384,       32768,
					65536,    65536,       131072,
					131072,   MIB,         4 * MIB,
					HOPELESS, PTRDIFF_MAX, SIZE_MAX - 3 };
	unsigned word = next_word(), n = word & 0x1fff;

	switch (word >> 13) {
	case 0:
	case 1: return n % 530;
	case 2: return n % 2100;
	case 3: return n;
	case 4: return (size_t)n * 9;
	case 5: return (size_t)n * 20;
	case 6: return (size_t)n * 600;
	default: return edges[n / 8 % COUNT(edges)] + n % 8 - 4;
	}
}

/* Mostly a power of two, up to 8 MiB. */
static size_t next_alignment(void)
{
	unsigned byte = next_byte();

	if (byte >= 250)
		return byte == 255 ? SIZE_MAX : byte - 250;
	return ((size_t)1 << byte % 24) + (byte >= 240);
}
