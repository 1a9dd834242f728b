/*
 * poison.c - the bytes behind a block in use, padding, and those of a free one,
 * poison: written and compared without branches that depend on small sizes.
 */
#define PADDING 0xa5
#define POISON 0xde
#define PADDING_MAX 64 /* bytes that are written and checked */
#define POISON_MAX 64  /* likewise, up to ALLOC_CHECK=2 */

#define WORDS(x) ((x)*0x0101010101010101u)

typedef uint64_t wide_word __attribute__((vector_size(16)));
#define WIDE(x) ((wide_word){ WORDS(x), WORDS(x) })

#define READ_AT(name, type) \
	INLINE type name(const void *p, size_t i) \
	{ \
		type word; \
\
		memcpy(&word, (const char *)p + i, sizeof(word)); \
		return word; \
	}
READ_AT(word_at, uint64_t)
READ_AT(wide_at, wide_word)

/* How many of the bytes, from the first on, are `byte`. */
static size_t bytes_alike(const unsigned char *p, size_t n, unsigned char byte)
{
	uint64_t all = WORDS((uint64_t)byte);
	size_t i = 0;

	while (i + 8 <= n && word_at(p, i) == all)
		i += 8;
	while (i < n && p[i] == byte)
		i++;
	return i;
}

INLINE void wide_put(void *p, size_t i, wide_word word)
{
	memcpy((char *)p + i, &word, sizeof(word));
}

INLINE wide_word wide_wrong_three(const void *p, wide_word all)
{
	return (wide_at(p, 0) ^ all) | (wide_at(p, 16) ^ all) |
	       (wide_at(p, 32) ^ all);
}

INLINE size_t lesser(size_t a, size_t b)
{
	return a < b ? a : b;
}

/*
 * From byte `n` on: what the last 16 bytes are, when `n` of them are padding,
 * and from PADDING_COUNTS + n on, which of them count.
 */
#define EIGHT(x) x, x, x, x, x, x, x, x
#define PADDING_COUNTS 33
static const unsigned char padding_is[] = {
	EIGHT(0), EIGHT(0), 0,           EIGHT(PADDING), EIGHT(PADDING),
	EIGHT(0), EIGHT(0), EIGHT(0xff), EIGHT(0xff),
};

/* Padding of more than 16 bytes. */
INLINE void padding_write_long(unsigned char *p, size_t n)
{
	size_t last = lesser(n, PADDING_MAX) - 16;

	wide_put(p, last, WIDE(PADDING));
	wide_put(p, lesser(32, last), WIDE(PADDING));
	wide_put(p, lesser(16, last), WIDE(PADDING));
	wide_put(p, 0, wide_at(padding_is, 16));
}

/*
 * Write padding, before whose end are 16 bytes at least. `keep`: what is
 * before it is in use; otherwise it may be overwritten.
 */
INLINE void padding_write(unsigned char *p, size_t n, bool keep)
{
	wide_word was = { 0, 0 };

	if (UNLIKELY(n > 16)) {
		padding_write_long(p, n);
		return;
	}
	if (keep)
		was = wide_at(p + n - 16, 0) &
		      ~wide_at(padding_is, PADDING_COUNTS + n);
	wide_put(p + n - 16, 0, was | wide_at(padding_is, n));
}

/* The offset of the first byte that is wrong, plus one, or 0. */
static size_t padding_wrong(const unsigned char *p, size_t n)
{
	size_t good = 0;

	if (n > PADDING_MAX)
		n = PADDING_MAX;
	if (n && !p[0])
		good = 1 + bytes_alike(p + 1, n - 1, PADDING);
	return good < n ? good + 1 : 0;
}

INLINE bool padding_whole_long(const unsigned char *p, size_t n)
{
	size_t last = lesser(n, PADDING_MAX) - 16;
	wide_word wrong = wide_at(p, 0) ^ wide_at(padding_is, 16);

	wrong |= wide_at(p, lesser(16, last)) ^ WIDE(PADDING);
	wrong |= wide_at(p, lesser(32, last)) ^ WIDE(PADDING);
	wrong |= wide_at(p, last) ^ WIDE(PADDING);
	return !(wrong[0] | wrong[1]);
}

INLINE uint64_t padding_wrong_word(const unsigned char *end,
				   const unsigned char *is, size_t i)
{
	return (word_at(end - 16, i) ^ word_at(is, i)) &
	       word_at(is, PADDING_COUNTS + i);
}

/*
 * Is that of up to 16 bytes as it was? As many are before its `end`. They are
 * read by words: a wide one would wait for what the user has just written.
 */
INLINE bool padding_whole(const unsigned char *end, size_t n)
{
	const unsigned char *is = padding_is;

	__asm__("" : "+r"(is)); /* or gcc takes an address for each word */
	is += n;
	return !(padding_wrong_word(end, is, 0) |
		 padding_wrong_word(end, is, 8));
}

/*
 * Where to write and compare poison but at byte 16, by the class, whose seal
 * leaves 24 bytes or 16 times some more, of which 64 count: in as many steps,
 * whatever the size. At ALLOC_CHECK=3 blocks have the room of the class below.
 */
static const struct steps {
	_Alignas(GRAIN) unsigned char word[5];
	unsigned char wide[3];
} poison_at[CLASSES] = {
	[2] = { { 16, 16, 16, 16, 16 }, { 8, 8, 8 } },
	[3] = { { 24, 32, 32, 32, 32 }, { 16, 24, 24 } },
	[4] = { { 24, 32, 40, 48, 48 }, { 16, 32, 40 } },
	[5 ... CLASSES - 1] = { { 24, 32, 40, 48, 56 }, { 16, 32, 48 } },
};
_Static_assert(sizeof(struct steps) == GRAIN, "a class k lies at 16 * k");

/* Of all blocks of at least POISON_MAX. */
#define POISON_STEPS_LARGE (&poison_at[CLASSES - 1])

/* Of class `k` / GRAIN. */
INLINE const struct steps *poison_steps(size_t k, bool deep)
{
	return (const struct steps *)((const char *)poison_at + k) - deep;
}

INLINE const struct steps *poison_steps_of(size_t room)
{
	return &poison_at[1 + lesser(room, POISON_MAX) / GRAIN];
}

/* The first 16 bytes are those of link and mark, but in quarantine. */
INLINE void poison_write(char *p, size_t room, const struct steps *steps,
			 bool deep)
{
	const wide_word all = WIDE(POISON);
	const unsigned char *at = steps->wide;

	if (deep)
		wide_put(p, 0, all);
	wide_put(p, at[0], all);
	wide_put(p, at[1], all);
	wide_put(p, at[2], all);
	if (deep && room > POISON_MAX)
		memset(p + POISON_MAX, POISON, room - POISON_MAX);
}

/* All of a block of more than POISON_MAX bytes but link and mark. */
INLINE bool poison_whole_deep(const char *p, size_t room)
{
	const wide_word all = WIDE(POISON);
	wide_word wrong = wide_wrong_three(p + 16, all);

	for (size_t i = POISON_MAX; i + 64 <= room; i += 64)
		wrong |= wide_wrong_three(p + i, all) |
			 (wide_at(p, i + 48) ^ all);
	wrong |= wide_wrong_three(p + room - 48, all) |
		 (wide_at(p, room < 80 ? 16 : room - 64) ^ all);
	return !(wrong[0] | wrong[1]);
}

INLINE bool poison_whole(const char *p, size_t room, const struct steps *steps,
			 bool deep)
{
	const uint64_t all = WORDS(POISON);
	const unsigned char *at = steps->word;

	if (deep && room > POISON_MAX)
		return poison_whole_deep(p, room);
	return word_at(p, 16) == all && word_at(p, at[0]) == all &&
	       word_at(p, at[1]) == all && word_at(p, at[2]) == all &&
	       word_at(p, at[3]) == all && word_at(p, at[4]) == all;
}
