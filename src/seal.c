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
#define PADDING_MAX 128      /* bytes that are written and checked */
#define POISON_MAX 64        /* likewise, up to ALLOC_CHECK=2 */

struct seal {
	uint32_t state; /* the length of the padding << 8, SEAL_FREE or 0 */
	uint32_t key;   /* seal_key, of a free block its complement */
	struct callers by[]; /* ALLOC_CHECK=3 */
};
#define SEAL_FREE 0xff

INLINE struct seal *seal_of(const void *p, size_t size)
{
	return (struct seal *)((uintptr_t)p + size - config.tail);
}

INLINE uint32_t seal_key(const void *p)
{
	uint64_t n = ((uintptr_t)p ^ config.secret) * 0x9e3779b97f4a7c15u;

	return (uint32_t)(n >> 32) | 1; /* never 0 */
}

/* Options are known: how blocks are to be sealed. */
static void seal_init(void)
{
	const void *random = (const void *)getauxval(AT_RANDOM);

	if (OPT(check) < 2)
		return;
	config.secret = (uintptr_t)&config ^ (uint64_t)os_pid() << 32;
	if (random)
		memcpy(&config.secret, random, sizeof(config.secret));
	config.tail = sizeof(struct seal);
	if (OPT(check) > 2)
		config.tail += sizeof(struct callers);
	if (!os.chunks) /* else there are blocks with the other mark */
		mark_salt = (uintptr_t)config.secret;
	if (page_size <= CONFIG_ALIGN)
		os_seal(&config, CONFIG_ALIGN);
}

/* -- padding and poison */

/* How many of the bytes, from the first on, are `byte`. */
static size_t bytes_alike(const unsigned char *p, size_t n, unsigned char byte)
{
	uint64_t all = byte * 0x0101010101010101u, word;
	size_t i = 0;

	for (; i + sizeof(word) <= n; i += sizeof(word)) {
		memcpy(&word, p + i, sizeof(word));
		if (word != all)
			break;
	}
	while (i < n && p[i] == byte)
		i++;
	return i;
}

static void padding_write(unsigned char *p, size_t n)
{
	if (!n)
		return;
	p[0] = 0;
	memset(p + 1, PADDING, (n < PADDING_MAX ? n : PADDING_MAX) - 1);
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

/* Where the poison of a free block ends. */
INLINE size_t poison_end(size_t size)
{
	size_t end = size - config.tail;

	return OPT(check) > 2 || end < POISON_MAX ? end : POISON_MAX;
}

/* -- blocks: `size` is what the class or run has */

INLINE bool seal_is_free(const void *p, size_t size)
{
	return seal_of(p, size)->key == ~seal_key(p);
}

/* The user's size is known unless the seal is broken. */
static struct facts seal_facts(const void *p, size_t size)
{
	const struct seal *seal = seal_of(p, size);
	size_t room = size - config.tail, pad = seal->state >> 8;
	struct facts f = { .size = pad < room ? room - pad : room };

	if (OPT(check) > 2)
		f.made = seal->by->made;
	if (OPT(check) > 2 && seal_is_free(p, size))
		f.freed = seal->by->freed;
	return f;
}

/* The user's size of a live block; what is behind it must be as it was. */
static size_t seal_size(const void *p, size_t size)
{
	const struct seal *seal = seal_of(p, size);
	size_t room = size - config.tail, pad = seal->state >> 8, wrong = 0;
	bool whole = seal->key == seal_key(p) && !(seal->state & SEAL_FREE) &&
		     pad <= room && (OPT(check) < 3 || !seal->by->freed);
	struct facts f;

	if (whole)
		wrong = padding_wrong((const unsigned char *)p + room - pad,
				      pad);
	if (LIKELY(whole && !wrong))
		return room - pad;
	f = seal_facts(p, size);
	f.damage = whole ? room - pad + wrong : room + 1;
	report(BUFFER_OVERFLOW, p, f);
	return room;
}

/* It is the user's from now on: the first `n` bytes of it. */
static void seal_write(void *p, size_t size, size_t n, const void *caller)
{
	struct seal *seal = seal_of(p, size);
	size_t pad = size - config.tail - n;

	padding_write((unsigned char *)p + n, pad);
	*seal = (struct seal){ (uint32_t)pad << 8, seal_key(p) };
	if (OPT(check) > 2)
		*seal->by = (struct callers){ caller, NULL };
}

/* A checked block is free from now on. */
static void seal_poison(void *p, size_t size, const void *caller)
{
	struct seal *seal = seal_of(p, size);

	memset(p, POISON, poison_end(size));
	if (OPT(check) > 2)
		seal->by->freed = caller;
	seal->state |= SEAL_FREE;
	seal->key = ~seal_key(p);
}

/*
 * A block that is free, or never was used: nobody must have written to it. On a
 * list it begins with link and mark, of `links` bytes.
 */
static void seal_reuse(const void *p, size_t size, size_t links)
{
	const struct seal *seal = seal_of(p, size);
	size_t end = poison_end(size), good = links;
	struct facts f;

	if (!seal->key && !seal->state)
		return;
	good += bytes_alike((const unsigned char *)p + good, end - good,
			    POISON);
	if (LIKELY(good == end && seal_is_free(p, size) &&
		   (seal->state & SEAL_FREE) == SEAL_FREE))
		return;
	f = seal_facts(p, size);
	f.damage = (good < end ? good : size - config.tail) + 1;
	report(WRITE_AFTER_FREE, p, f);
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
	*seal_of(first, size) = (struct seal){ 0 };
	while (--n) {
		b = (struct block *)((char *)b + size);
		*seal_of(b, size) = (struct seal){ 0 };
		if (seal_key(b) >> 31) {
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

	for (unsigned i = 0; i < s->carved; i++, p += size)
		if (!seal_of(p, size)->key || seal_is_free(p, size))
			seal_reuse(p, size, sizeof(struct block));
		else
			seal_size(p, size);
}

/* What is behind the user's bytes of a mapping. */
static void seal_mapping(struct mapping *m, size_t n, const void *caller)
{
	if (mapping_callers(m))
		*mapping_callers(m) = (struct callers){ caller, NULL };
	m->asked = n;
	m->sealed = true;
	padding_write((unsigned char *)m->user + n, mapping_room(m) - n);
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
