/*
 * class.h - size classes: number, size, slabs; a row each. Class 0 is none.
 */
struct class
{
	uint32_t size;
	uint32_t recip; /* 2^32 / size + 1 */
	uint32_t limit; /* offset * recip < limit: a block starts there */
	uint32_t cap;   /* blocks a slab */
};

/*
 * With e = size * recip - 2^32, block q of a unit has q * size * recip = q * e
 * modulo 2^32, which is below cap * e; any other offset, the unused tail of
 * the unit included, comes out at recip or above.
 */
#define CLASS_EDGE(s) ((s) <= 1024 ? 64 : 0) /* see slab_carve */
#define CLASS_CAP(s) ((uint32_t)((UNIT - CLASS_EDGE(s)) / (s)))
#define CLASS_RECIP(s) ((uint32_t)(((uint64_t)1 << 32) / (s) + 1))
#define CLASS_LIMIT(s) (CLASS_CAP(s) * (uint32_t)(s)*CLASS_RECIP(s))
#define ROW(s) \
	{ \
		s, CLASS_RECIP(s), CLASS_LIMIT(s), CLASS_CAP(s) \
	}
#define LINEAR(s) \
	ROW((s) + 16), ROW((s) + 32), ROW((s) + 48), ROW((s) + 64), \
		ROW((s) + 80), ROW((s) + 96), ROW((s) + 112), ROW((s) + 128)
#define FINE(s) \
	ROW((s) / 8 * 9), ROW((s) / 8 * 10), ROW((s) / 8 * 11), \
		ROW((s) / 8 * 12), ROW((s) / 8 * 13), ROW((s) / 8 * 14), \
		ROW((s) / 8 * 15), ROW((s)*2)

static const struct class classes[] = {
	{ 0, 0, 0, 0 }, LINEAR(0),  LINEAR(128), LINEAR(256), LINEAR(384),
	FINE(512),      FINE(1024), FINE(2048),  FINE(4096),
};
_Static_assert(sizeof(classes) == CLASSES * sizeof(*classes),
	       "the table has a row for each class");

/* Class `k` / GRAIN. */
INLINE const struct class *class_at(size_t k)
{
	return (const struct class *)((const char *)classes + k);
}
_Static_assert(sizeof(struct class) == GRAIN, "a class k lies at 16 * k");

/* Of a slab; others have none. A stale pointer's slab may be changing. */
#define tag_class(tag) class_at((tag)&TAG_CLASS_MAX)

/* The class of sizes above LINEAR_MAX, up to SLAB_MAX. */
INLINE unsigned class_of_medium(size_t n)
{
	unsigned log2 = 63 - (unsigned)__builtin_clzl(n - 1);

	return LINEAR_CLASSES + 1 + (log2 - LINEAR_SHIFT) * 8 +
	       ((unsigned)((n - 1) >> (log2 - 3)) & 7);
}

/* The class of a size up to SLAB_MAX; a block of 0 bytes takes the first. */
INLINE unsigned class_of(size_t n)
{
	if (n > LINEAR_MAX)
		return class_of_medium(n);
	return n ? (unsigned)((n + GRAIN - 1) / GRAIN) : 1;
}

/* The first whose blocks are all aligned: steps are powers of two, too. */
INLINE unsigned class_aligned(size_t n, size_t align)
{
	return class_of(round_up(n ? n : 1, align));
}

/*
 * The class that lends its blocks to this, `lent` by now, while few are wanted:
 * a page for each is more than they waste. Itself when it lends no more. What
 * lends is aligned as well.
 */
INLINE unsigned class_lender(unsigned c, unsigned lent)
{
	unsigned to = (c + 3) & ~3u;

	if (c <= LINEAR_CLASSES / 2 && lent < 2)
		return LINEAR_CLASSES / 2;
	if (c > 8 && c <= LINEAR_CLASSES)
		to = (c + 7) & ~7u;
	return classes[c].size <= KIB && lent < 2 * PAGE / classes[to].size ?
		       to :
		       c;
}

/* Slabs of a heap that carved so much are populated ahead, 2^n pages a time. */
#define POPULATE_MIN (8 * MIB)
#define POPULATE_LOG2_MAX 4

/* Beyond so many, a heap that carved so much has chunks of huge pages. */
#define HUGE_MIN (128 * MIB)
#define HUGE_CHUNKS 32
