/*
 * seal.c - blocks of ALLOC_CHECK=2 and 3: sealed behind their true end while
 * they are in use, poisoned while they are free.
 *
 *	user's n bytes | padding | seal | callers (3)
 *
 * Half of the seal depends on the address and on a secret, the rest says how
 * long the padding is and whether the block is free, whose bytes are known then
 * but for link and mark. A block that never was in use has a seal of 0. The
 * first byte is 0 in a block in use, and so is the first of the padding: a
 * string that is too long by its end does no harm.
 *
 * Mappings have no seal, but padding up to the end of their last page.
 */
#define PADDING 0xa5
#define POISON 0xde
#define PADDING_MAX 64 /* bytes that are written and checked */
#define POISON_MAX 64  /* likewise, up to ALLOC_CHECK=2 */

struct seal {
	uint64_t word; /* key << 32 | length of the padding << 8 | state */
	struct callers by[]; /* ALLOC_CHECK=3 */
};
#define SEAL_STATE 0xffu /* all of it is set in a free block, none else */
#define SEAL_PAD(word) ((uint32_t)(word) >> 8)

/* What they take. In hot code `deep`, which is ALLOC_CHECK=3, is constant. */
#define TAIL(deep) (sizeof(struct seal) + ((deep) ? sizeof(struct callers) : 0))
#define DEEP (OPT(check) > 2)

/* Of the block at `p`, `size` being that of its class or run. */
INLINE struct seal *seal_of(const void *p, size_t size, bool deep)
{
	return (struct seal *)((uintptr_t)p + size - TAIL(deep));
}

INLINE size_t seal_room(const struct seal *seal, const void *p)
{
	return (uintptr_t)seal - (uintptr_t)p;
}

/* What is in the word of a live block, but for the padding's length. */
INLINE uint64_t seal_key(const void *p)
{
	uint64_t n = ((uintptr_t)p ^ config.secret) * 0x9e3779b97f4a7c15u;

	return (n | (uint64_t)1 << 32) & ~(uint64_t)UINT32_MAX; /* never 0 */
}

/* A free block has the complement of key and state. */
#define SEAL_FLIP (~(uint64_t)UINT32_MAX ^ SEAL_STATE)
#define seal_free_key(key) ((key) ^ SEAL_FLIP)

/* All of a word but the length. */
INLINE uint64_t seal_fixed(const struct seal *seal)
{
	return seal->word & ~(uint64_t)(UINT32_MAX ^ SEAL_STATE);
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
	config.quick = quick && !OPT(sample) && !OPT(direct);
	if (!os.chunks) /* else there are blocks with the other mark */
		mark_salt = (uintptr_t)config.secret;
	if (page_size <= CONFIG_ALIGN)
		os_seal(&config, CONFIG_ALIGN);
}

/* -- padding and poison */

#define WORDS(x) ((x)*0x0101010101010101u)

INLINE uint64_t word_at(const void *p, size_t i)
{
	uint64_t word;

	memcpy(&word, (const char *)p + i, sizeof(word));
	return word;
}

/* How many of the bytes, from the first on, are `byte`. */
static size_t bytes_alike(const unsigned char *p, size_t n, unsigned char byte)
{
	uint64_t all = WORDS((uint64_t)byte), wrong = 0;
	size_t i = 0;

	for (; i + 64 <= n; i += 64) {
		for (size_t j = 0; j < 64; j += 8)
			wrong |= word_at(p, i + j) ^ all;
		if (wrong)
			break;
	}
	while (i + 8 <= n && word_at(p, i) == all)
		i += 8;
	while (i < n && p[i] == byte)
		i++;
	return i;
}

typedef uint64_t wide_word __attribute__((vector_size(16)));
#define WIDE(x) ((wide_word){ WORDS(x), WORDS(x) })

INLINE wide_word wide_at(const void *p, size_t i)
{
	wide_word word;

	memcpy(&word, (const char *)p + i, sizeof(word));
	return word;
}

/*
 * Write padding. `keep`: what is before it is in use; otherwise, as there are
 * 16 bytes at least up to its end, that may be overwritten.
 */
INLINE void padding_write(unsigned char *p, size_t n, bool keep)
{
	const wide_word all = WIDE(PADDING);

	if (!n)
		return;
	if (!keep && LIKELY(n <= sizeof(all)))
		memcpy(p + n - sizeof(all), &all, sizeof(all));
	else
		memset(p, PADDING, n < PADDING_MAX ? n : PADDING_MAX);
	p[0] = 0;
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

/* Is it as it was? As many bytes are before it, which can be read. */
INLINE bool padding_whole(const unsigned char *p, size_t n)
{
	uint64_t last;

	if (!n)
		return true;
	if (UNLIKELY(n > 16))
		return !padding_wrong(p, n);
	last = word_at(p + n - 8, 0) ^ WORDS(PADDING);
	if (n > 8)
		last |= word_at(p, 1) ^ WORDS(PADDING);
	else
		last = last >> 8 >> 8 * (8 - n);
	return !last && !p[0];
}

/*
 * The poison of `room` bytes, of which there are 24 or 16 times some more. The
 * first 16 are those of link and mark, but in quarantine.
 */
INLINE void poison_write(char *p, size_t room, bool deep)
{
	const uint64_t all = WORDS(POISON);
	const wide_word twice = WIDE(POISON);

	if (deep)
		memcpy(p, &twice, 16);
	if (room >= 40)
		memcpy(p + 16, &twice, 16);
	if (room >= 56)
		memcpy(p + 32, &twice, 16);
	if (room >= POISON_MAX)
		memcpy(p + 48, &twice, 16);
	else
		memcpy(p + room - 8, &all, 8);
	if (deep && room > POISON_MAX)
		memset(p + POISON_MAX, POISON, room - POISON_MAX);
}

INLINE bool poison_whole(const char *p, size_t room, bool deep)
{
	wide_word wrong = { 0, 0 };

	if (room >= 40)
		wrong = wide_at(p, 16) ^ WIDE(POISON);
	if (room >= 56)
		wrong |= wide_at(p, 32) ^ WIDE(POISON);
	if (room >= POISON_MAX)
		wrong |= wide_at(p, 48) ^ WIDE(POISON);
	else
		wrong[0] |= word_at(p, room - 8) ^ WORDS(POISON);
	if (wrong[0] | wrong[1])
		return false;
	if (!deep || room <= POISON_MAX)
		return true;
	room -= POISON_MAX;
	return bytes_alike((const unsigned char *)p + POISON_MAX, room,
			   POISON) == room;
}

/* -- blocks */

INLINE bool seal_is_free(const struct seal *seal, const void *p)
{
	return seal_fixed(seal) == seal_free_key(seal_key(p));
}

/* The user's size is known unless the seal is broken. */
static struct facts seal_facts(const struct seal *seal, const void *p)
{
	size_t room = seal_room(seal, p), pad = SEAL_PAD(seal->word);
	struct facts f = { .size = pad < room ? room - pad : room };

	if (DEEP)
		f.made = seal->by->made;
	if (DEEP && seal_is_free(seal, p))
		f.freed = seal->by->freed;
	return f;
}

INLINE bool seal_good(const struct seal *seal, const void *p, uint64_t key,
		      bool deep)
{
	return seal_fixed(seal) == key &&
	       SEAL_PAD(seal->word) <= seal_room(seal, p) &&
	       !(deep && seal->by->freed);
}

/* A live block, and what is behind the user's bytes is as it was. */
INLINE bool seal_whole(const struct seal *seal, const void *p, uint64_t key,
		       bool deep)
{
	size_t pad = SEAL_PAD(seal->word);

	return seal_good(seal, p, key, deep) &&
	       padding_whole((const unsigned char *)seal - pad, pad);
}

/* The user's size of a live block. */
static size_t seal_size(const struct seal *seal, const void *p)
{
	size_t room = seal_room(seal, p), pad = SEAL_PAD(seal->word);
	uint64_t key = seal_key(p);
	struct facts f;

	if (LIKELY(seal_whole(seal, p, key, DEEP)))
		return room - pad;
	f = seal_facts(seal, p);
	f.damage = room + 1;
	if (seal_good(seal, p, key, DEEP))
		f.damage +=
			padding_wrong((const unsigned char *)seal - pad, pad) -
			1 - pad;
	report(BUFFER_OVERFLOW, p, f);
	return room;
}

/* It is the user's from now on: the first `n` bytes of it. */
INLINE void seal_write(struct seal *seal, void *p, size_t n, uint64_t key,
		       bool keep)
{
	size_t pad = seal_room(seal, p) - n;

	padding_write((unsigned char *)p + n, pad, keep);
	seal->word = key | pad << 8;
}

/* A checked block is free from now on. */
INLINE void seal_poison(struct seal *seal, void *p, bool deep)
{
	poison_write(p, seal_room(seal, p), deep);
	seal->word ^= SEAL_FLIP;
}

/* It is not as a free block should be, unless it never was used. */
SLOW void seal_written(const struct seal *seal, const void *p, size_t from)
{
	size_t end = seal_room(seal, p), good;
	struct facts f;

	if (!seal->word)
		return;
	if (!DEEP && end > POISON_MAX)
		end = POISON_MAX;
	good = from +
	       bytes_alike((const unsigned char *)p + from, end - from, POISON);
	f = seal_facts(seal, p);
	f.damage = (good < end ? good : seal_room(seal, p)) + 1;
	report(WRITE_AFTER_FREE, p, f);
}

/* A block that is free, or never was used: nobody must have written to it. */
INLINE void seal_reuse(const struct seal *seal, const void *p, uint64_t key,
		       bool deep)
{
	if (UNLIKELY(seal_fixed(seal) != seal_free_key(key)) ||
	    UNLIKELY(!poison_whole(p, seal_room(seal, p), deep)))
		seal_written(seal, p, sizeof(struct block));
}

/* Where link and mark are going to be, if they never were there. */
static void seal_links(void *p, size_t size)
{
	if (word_at(p, 0) != WORDS(POISON) || word_at(p, 8) != WORDS(POISON))
		seal_written(seal_of(p, size, DEEP), p, 0);
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
		if (seal_key(b) >> 63) {
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

/* All blocks of a slab, those in use and those that wait. */
static void slab_check_seals(const struct slab *s)
{
	size_t size = slab_size(s);
	char *p = unit_start(s);

	for (unsigned i = 0; i < s->carved; i++, p += size) {
		const struct seal *seal = seal_of(p, size, DEEP);

		if (!seal->word || seal_is_free(seal, p))
			seal_reuse(seal, p, seal_key(p), DEEP);
		else
			seal_size(seal, p);
	}
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
