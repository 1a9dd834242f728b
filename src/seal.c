/*
 * seal.c - blocks of ALLOC_CHECK=2 and 3: sealed behind their true end while
 * they are in use, poisoned while they are free.
 *
 *	user's n bytes | padding | seal | callers (3)
 *
 * The seal depends on the address and on a secret; to who knows both it says
 * how long the padding is and whether the block is free, whose bytes are known
 * then but for link and mark, and so are its callers. A block that never was in
 * use has a seal of 0, and no callers.
 * The first byte is 0 in a block in use, and so is the first of the padding: a
 * string that is too long by its end does no harm.
 *
 * Mappings have no seal, but padding up to the end of their last page.
 */
struct seal {
	/* key ^ length of the padding << PAD_AT, or ~ if free; ^ seal_by */
	uint64_t word;
	struct callers by[]; /* ALLOC_CHECK=3; `freed` is ~ `made` before */
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

/* Of its last byte none of this is a part: that is next to another block. */
#define PAD_AT 37
_Static_assert(EXTENT_MAX < 1 << (56 - PAD_AT), "the padding may be all");

#define SPREAD 0x3779b97f4a7c1515u

/* What the callers make of the word of a free block, but of its first byte. */
INLINE uint64_t seal_by(const struct seal *seal, bool deep)
{
	uint64_t by = deep ? (uintptr_t)seal->by->made +
				      3 * (uintptr_t)seal->by->freed :
			     0;

	return by * SPREAD >> (64 - (PAD_AT - 8)) << 8;
}

INLINE uint64_t word_pad(uint64_t word)
{
	return word >> PAD_AT | word << (64 - PAD_AT);
}

/* The padding's length; more than any if `key` is not the word's. */
INLINE uint64_t seal_pad(const struct seal *seal, uint64_t key)
{
	return word_pad(seal->word ^ key);
}

/* What it was before the block was freed; more than any if it was not. */
INLINE uint64_t seal_pad_free(const struct seal *seal, uint64_t key, bool deep)
{
	return word_pad(~(seal->word ^ key ^ seal_by(seal, deep)));
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

INLINE bool seal_is_free(const struct seal *seal, const void *p)
{
	return seal_pad_free(seal, seal_key(p), DEEP) <= EXTENT_MAX;
}

/* It is on a list, or held back. */
INLINE bool seal_unused(const struct seal *seal, const void *p)
{
	return block_is_free((const struct block *)p) || seal_is_free(seal, p);
}

/* Is what is nearest to the block behind as it should be in a live one? */
INLINE bool seal_end_whole(const struct seal *seal, const void *p, bool deep)
{
	uint64_t word = seal->word ^ seal_key(p);

	return deep ? ((uintptr_t)seal->by->made ^
		       (uintptr_t)seal->by->freed) == UINTPTR_MAX :
		      !(word >> 32 & 31) &&
			       word >> PAD_AT <= seal_room(seal, p);
}

/* What the seal proves, be its first byte overwritten, or nothing. */
static struct facts seal_facts(const struct seal *seal, const void *p)
{
	uint64_t word = (seal->word ^ seal_key(p)) & ~(uint64_t)0xff;
	bool free = seal_is_free(seal, p);
	size_t pad = free ? seal_pad_free(seal, seal_key(p), DEEP) :
			    word_pad(word);
	struct facts f = { .known = pad <= seal_room(seal, p) };

	f.size = f.known ? seal_room(seal, p) - pad : 0;
	if (DEEP && (free || (f.known && seal_end_whole(seal, p, true))))
		f.made = seal->by->made;
	if (DEEP && free)
		f.freed = seal->by->freed;
	return f;
}

/* A live block, and what is behind the user's bytes is as it was. */
INLINE bool seal_whole(const struct seal *seal, const void *p, uint64_t key,
		       bool deep)
{
	const unsigned char *end = (const unsigned char *)seal;
	size_t pad = seal_pad(seal, key);

	if (deep && UNLIKELY(!seal_end_whole(seal, p, true)))
		return false;
	if (LIKELY(pad <= 16))
		return padding_whole(end, pad);
	return pad <= seal_room(seal, p) && padding_whole_long(end - pad, pad);
}

/*
 * A live block, or what is behind it, is not as it should be. An overflow of it
 * spoils what is next to it, one of another that is behind it what is next to
 * that: if it may have been either, no more is said.
 */
SLOW void seal_broken(struct seal *seal, const void *p)
{
	struct facts f = seal_facts(seal, p);
	size_t wrong = 0, room = seal_room(seal, p);
	/* The first byte is 0, or 255 if it was free. */
	bool over = (uint8_t)(seal->word + 1) > 1 &&
		    seal_end_whole(seal, p, DEEP);

	if (f.known)
		wrong = padding_wrong((const unsigned char *)p + f.size,
				      room - f.size);
	if (f.known && !(uint8_t)seal->word) /* so it is behind that */
		room += sizeof(*seal);
	f.damage = wrong ? f.size + wrong : room + 1;
	report(wrong || over ? BUFFER_OVERFLOW : OUT_OF_BOUNDS, p, f);
}

/* It is the user's from now on: the first `n` bytes of it. */
INLINE void seal_write(struct seal *seal, void *p, size_t n, uint64_t key,
		       const void *caller, bool deep, bool keep)
{
	size_t pad = seal_room(seal, p) - n;

	padding_write((unsigned char *)p + n, pad, keep);
	if (deep)
		*seal->by =
			(struct callers){ caller, (void *)~(uintptr_t)caller };
	seal->word = key ^ pad << PAD_AT;
}

/* The user's size of a live block. */
static size_t seal_size(struct seal *seal, void *p)
{
	uint64_t key = seal_key(p);
	size_t room = seal_room(seal, p);

	if (LIKELY(seal_whole(seal, p, key, DEEP)))
		return room - seal_pad(seal, key);
	seal_broken(seal, p);
	seal_write(seal, p, room, key, NULL, DEEP, true); /* once will do */
	return room;
}

/* A checked block is free from now on. */
INLINE void seal_poison(struct seal *seal, void *p, const struct steps *steps,
			const void *caller, bool deep)
{
	poison_write(p, seal_room(seal, p), steps, deep);
	if (deep)
		seal->by->freed = caller;
	seal->word = ~seal->word ^ seal_by(seal, deep);
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
	/* One that never was in use has no poison. */
	f.damage = (f.known && good < end ? good : seal_room(seal, p)) + 1;
	report_written(p, f);
}

/* A block is free, or never was used: has nobody written to it? */
INLINE bool seal_untouched(const struct seal *seal, const void *p, uint64_t key,
			   const struct steps *steps, bool deep)
{
	size_t room = seal_room(seal, p);

	/* Read again: kept till here, it would cost each call a register. */
	if (UNLIKELY(seal_pad_free(seal, key, deep) > room))
		return !load_relaxed(&seal->word) &&
		       !(deep && (seal->by->made || seal->by->freed));
	return poison_whole(p, room, steps, deep);
}

static void seal_reuse(const struct seal *seal, const void *p)
{
	if (!seal_untouched(seal, p, seal_key(p),
			    poison_steps_of(seal_room(seal, p)), DEEP))
		seal_written(seal, p, sizeof(struct block));
}

/* It is held back no more: where link and mark are going to be was poison. */
static void seal_leave(const void *p, uint32_t tag)
{
	const struct seal *seal = seal_at(p, tag);

	if (word_at(p, 0) != WORDS(POISON) || word_at(p, 8) != WORDS(POISON))
		seal_written(seal, p, 0);
	if (tag == TAG_EXTENT) /* it becomes part of others */
		seal_reuse(seal, p);
}

/* Of a block of a slab, in use or not: is all as it should be? */
static bool seal_good(const void *p, size_t size)
{
	const struct seal *seal = seal_of(p, size, DEEP);
	uint64_t key = seal_key(p);

	return seal_unused(seal, p) ?
		       seal_untouched(seal, p, key,
				      poison_steps_of(seal_room(seal, p)),
				      DEEP) :
		       seal_whole(seal, p, key, DEEP);
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
	memset(seal_of(first, size, DEEP), 0, config.tail);
	while (--n) {
		b = (struct block *)((char *)b + size);
		memset(seal_of(b, size, DEEP), 0, config.tail);
		/* Of the key itself any bit is one of the address, or none. */
		if (seal_key(b) * SPREAD >> 63) {
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

/* Bytes in front of a block that ends its mapping, which are padding, too. */
#define FRONT(m) lesser(mapping_head(m) - page_size, PADDING_MAX)

/* What is behind the user's bytes of a mapping. */
static void seal_mapping(struct mapping *m, size_t n, const void *caller)
{
	if (mapping_callers(m))
		*mapping_callers(m) = (struct callers){ caller, NULL };
	m->asked = n;
	m->sealed = true;
	padding_write((unsigned char *)m->user + n, mapping_room(m) - n, true);
	if (m->trap)
		memset((char *)m->user - FRONT(m), PADDING, FRONT(m));
}

static struct facts mapping_facts(const struct mapping *m)
{
	struct facts f = { .size = m->asked };

	if (mapping_callers(m)) {
		f.made = mapping_callers(m)->made;
		f.freed = mapping_callers(m)->freed;
	}
	return f;
}

/* The user's size; and for realloc, what there is. */
static size_t mapping_size(const struct mapping *m, bool exact)
{
	size_t room = mapping_room(m), n = m->asked, wrong = 0, front = 0;
	const unsigned char *p = m->user;
	struct facts f;

	if (m->sealed && n <= room)
		wrong = padding_wrong(p + n, room - n);
	if (m->sealed && m->trap)
		front = FRONT(m) - bytes_alike(p - FRONT(m), FRONT(m), PADDING);
	if (UNLIKELY(wrong || front)) {
		f = mapping_facts(m);
		f.damage = wrong ? n + wrong : 0;
		report(wrong ? BUFFER_OVERFLOW : OUT_OF_BOUNDS, p, f);
	}
	return m->trap || (exact && m->sealed) ? n : room;
}
