/*
 * seal.c - blocks of ALLOC_CHECK=2 and 3: sealed behind their true end while
 * they are in use, poisoned while they are free.
 *
 *	user's n bytes | padding | seal | callers (3)
 *
 * The seal depends on the address and on a secret; to who knows both it says
 * how long the padding is and whether the block is free, whose bytes are known
 * then but for link and mark. A block that never was in use has a seal of 0.
 * The first byte is 0 in a block in use, and so is the first of the padding: a
 * string that is too long by its end does no harm.
 *
 * Mappings have no seal, but padding up to the end of their last page.
 */
#define PADDING 0xa5
#define POISON 0xde
#define PADDING_MAX 64 /* bytes that are written and checked */
#define POISON_MAX 64  /* likewise, up to ALLOC_CHECK=2 */

struct seal {
	uint64_t word; /* key ^ length of the padding << 40; if free, ~ that */
	struct callers by[]; /* ALLOC_CHECK=3 */
};

/* What they take. In hot code `deep`, which is ALLOC_CHECK=3, is constant. */
#define TAIL(deep) (sizeof(struct seal) + ((deep) ? sizeof(struct callers) : 0))
#define DEEP (OPT(check) > 2)

/* What is larger is a mapping, which can be closed when it is freed. */
static size_t extent_max(void)
{
	return DEEP ? UNIT + PAGE : EXTENT_MAX;
}

/* Of the block at `p`, `size` being that of its class or run. */
INLINE struct seal *seal_of(const void *p, size_t size, bool deep)
{
	return (struct seal *)((uintptr_t)p + size - TAIL(deep));
}

/* Of a block of a slab, or an extent, of this tag; NULL: it has none. */
static struct seal *seal_at(const void *p, uint32_t tag)
{
	uint32_t word;

	if (tag_is_slab(tag))
		return slab_of(p)->sealed ?
			       seal_of(p, slab_size(slab_of(p)), DEEP) :
			       NULL;
	word = extent_get(p);
	return word & EXTENT_SEALED ? seal_of(p, word_len(word), DEEP) : NULL;
}

INLINE size_t seal_room(const struct seal *seal, const void *p)
{
	return (uintptr_t)seal - (uintptr_t)p;
}

/* What the word of a live block without padding is. */
INLINE uint64_t seal_key(const void *p)
{
	return ((uintptr_t)p ^ config.secret) << 8;
}

/* The padding's length; more than any if `key` is not the word's. */
INLINE uint64_t seal_pad(const struct seal *seal, uint64_t key)
{
	uint64_t word = seal->word ^ key;

	return word >> 40 | word << 24;
}

/* Options are known: how blocks are to be sealed. */
static void seal_init(bool quick)
{
	const void *random = (const void *)getauxval(AT_RANDOM);

	config.secret = (uintptr_t)&config ^ (uint64_t)os_pid() << 32;
	if (random)
		memcpy(&config.secret, random, sizeof(config.secret));
	if (OPT(check) < 2)
		return;
	config.tail = TAIL(DEEP);
	if (!os.chunks) { /* else there are blocks with the other mark */
		mark_salt = (uintptr_t)config.secret;
		if (quick && !OPT(sample) && !OPT(direct))
			config.quick = (uint8_t)OPT(check);
	}
	if (page_size <= CONFIG_ALIGN)
		os_seal(&config, CONFIG_ALIGN);
}

/* What nobody can tell who doesn't know the secret. */
INLINE uint32_t heap_random(struct heap *h)
{
	h->random = h->random * 1664525 + (uint32_t)config.secret + 1013904223;
	return h->random;
}

/* -- padding and poison: without branches that depend on small sizes */

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

/* -- blocks */

INLINE bool seal_is_free(const struct seal *seal, const void *p)
{
	return seal_pad(seal, ~seal_key(p)) <= UINT32_MAX >> 8;
}

/* It is free, or never was in use. */
INLINE bool seal_unused(const struct seal *seal, const void *p)
{
	return !seal->word || seal_is_free(seal, p);
}

/* The user's size is known unless the seal is broken. */
static struct facts seal_facts(const struct seal *seal, const void *p)
{
	size_t room = seal_room(seal, p), pad = seal_pad(seal, seal_key(p));
	struct facts f = { .size = room };

	if (pad > room)
		pad = seal_pad(seal, ~seal_key(p));
	if (pad <= room)
		f.size -= pad;
	if (DEEP)
		f.made = seal->by->made;
	if (DEEP && seal_is_free(seal, p))
		f.freed = seal->by->freed;
	return f;
}

/* A live block, and what is behind the user's bytes is as it was. */
INLINE bool seal_whole(const struct seal *seal, const void *p, uint64_t key,
		       bool deep)
{
	const unsigned char *end = (const unsigned char *)seal;
	size_t pad = seal_pad(seal, key);

	if (deep && UNLIKELY(seal->by->freed != NULL))
		return false;
	if (LIKELY(pad <= 16))
		return padding_whole(end, pad);
	return pad <= seal_room(seal, p) && padding_whole_long(end - pad, pad);
}

/* The user's size of a live block. */
static size_t seal_size(struct seal *seal, const void *p)
{
	uint64_t key = seal_key(p);
	size_t room = seal_room(seal, p), pad = seal_pad(seal, key);
	struct facts f;

	if (LIKELY(seal_whole(seal, p, key, DEEP)))
		return room - pad;
	f = seal_facts(seal, p);
	f.damage = room + 1;
	if (pad <= room && !(DEEP && seal->by->freed))
		f.damage +=
			padding_wrong((const unsigned char *)seal - pad, pad) -
			1 - pad;
	report(BUFFER_OVERFLOW, p, f);
	seal->word = key; /* one report will do */
	if (DEEP)
		seal->by->freed = NULL;
	return room;
}

/* It is the user's from now on: the first `n` bytes of it. */
INLINE void seal_write(struct seal *seal, void *p, size_t n, uint64_t key,
		       bool keep)
{
	size_t pad = seal_room(seal, p) - n;

	padding_write((unsigned char *)p + n, pad, keep);
	seal->word = key ^ pad << 40;
}

/* A checked block is free from now on. */
INLINE void seal_poison(struct seal *seal, void *p, const struct steps *steps,
			bool deep)
{
	poison_write(p, seal_room(seal, p), steps, deep);
	seal->word = ~seal->word;
}

/* It is not as a free block should be. */
SLOW void seal_written(const struct seal *seal, const void *p, size_t from)
{
	size_t end = seal_room(seal, p), good;
	struct facts f;

	if (!DEEP && end > POISON_MAX)
		end = POISON_MAX;
	good = from +
	       bytes_alike((const unsigned char *)p + from, end - from, POISON);
	f = seal_facts(seal, p);
	f.damage = (good < end ? good : seal_room(seal, p)) + 1;
	report(WRITE_AFTER_FREE, p, f);
}

/* A block is free, or never was used: has nobody written to it? */
INLINE bool seal_untouched(const struct seal *seal, const void *p, uint64_t key,
			   const struct steps *steps, bool deep)
{
	size_t room = seal_room(seal, p);

	/* Read again: kept till here, it would cost each call a register. */
	if (UNLIKELY(~seal_pad(seal, key) > room))
		return !load_relaxed(&seal->word);
	return poison_whole(p, room, steps, deep);
}

static void seal_reuse(const struct seal *seal, const void *p)
{
	if (!seal_untouched(seal, p, seal_key(p),
			    poison_steps_of(seal_room(seal, p)), DEEP))
		seal_written(seal, p, sizeof(struct block));
}

/* Where link and mark are going to be, if they never were there. */
static void seal_links(const void *p)
{
	if (word_at(p, 0) != WORDS(POISON) || word_at(p, 8) != WORDS(POISON))
		seal_written(seal_at(p, pagemap_get(p)), p, 0);
}

/*
 * Blocks that were just carved never were in use. They are put in an order that
 * can't be guessed without the secret: each goes before or behind the others.
 */
static struct block *seal_carved(const struct slab *s, struct block *first,
				 unsigned n)
{
	struct block *head = first, *tail = first, *b = first;
	size_t size = slab_size(s);

	block_link(first, NULL);
	*seal_of(first, size, DEEP) = (struct seal){ 0 };
	while (--n) {
		b = (struct block *)((char *)b + size);
		*seal_of(b, size, DEEP) = (struct seal){ 0 };
		/* Of the key itself any bit is one of the address, or none. */
		if (seal_key(b) * 0x3779b97f4a7c1515u >> 63) {
			block_link(b, head);
			head = b;
		} else {
			block_link(b, NULL);
			block_link(tail, b);
			tail = b;
		}
	}
	return head;
}

/* What is behind the user's bytes of a mapping. */
static void seal_mapping(struct mapping *m, size_t n, const void *caller)
{
	if (mapping_callers(m))
		*mapping_callers(m) = (struct callers){ caller, NULL };
	m->asked = n;
	m->sealed = true;
	padding_write((unsigned char *)m->user + n, mapping_room(m) - n, true);
}

/* The user's size; and for realloc, what there is. */
static size_t mapping_size(const struct mapping *m, bool exact)
{
	size_t room = mapping_room(m), n = m->asked, wrong = 0;
	struct facts f = { .size = n };

	if (m->sealed && n <= room)
		wrong = padding_wrong((unsigned char *)m->user + n, room - n);
	if (UNLIKELY(wrong)) {
		f.damage = n + wrong;
		if (mapping_callers(m))
			f.made = mapping_callers(m)->made;
		report(BUFFER_OVERFLOW, m->user, f);
	}
	return m->trap || (exact && m->sealed) ? n : room;
}
