/*
 * block.c - blocks of a slab: how a free one proves itself, which list its slab
 * is on, and the word by which other threads free.
 */
#define WAKE_MAX 16  /* free blocks that wake a sleeping slab, at most */
#define MAG_START 64 /* blocks that a magazine takes, at first */
#define MAG_MIN 2    /* and at least */
#define MAG_CLOSED (1 << 24) /* less room than it had: it takes none */
#define SPARSE_CHUNKS 4      /* from which on nearly free slabs matter */
#define MARK_SALT 0x2545f491 /* no pointer sum looks like that */
#define MARK_UNUSED (~(uintptr_t)MARK_SALT) /* see slab_stamp */
/* Of a block that was handed out, until its user writes there. */
#define MARK_TAKEN ((uintptr_t)MARK_SALT)

/* With ALLOC_CHECK=2 and 3 a secret; fast paths, not taken then, don't ask. */
static uintptr_t mark_salt = MARK_SALT;

/* The proof that `b` is free and that its link is `next`. */
INLINE uintptr_t mark_of(const struct block *b, const struct block *next,
			 uintptr_t salt)
{
	return (uintptr_t)b + (uintptr_t)next + salt;
}

INLINE void block_link_by(struct block *b, struct block *next, uintptr_t salt)
{
	b->next = next;
	if (CHECKS)
		b->mark = mark_of(b, next, salt);
}
#define block_link(b, next) block_link_by(b, next, mark_salt)

INLINE bool block_is_free_by(const struct block *b, uintptr_t salt)
{
	return b->mark == mark_of(b, b->next, salt);
}
#define block_is_free(b) block_is_free_by(b, mark_salt)

INLINE size_t slab_size(const struct slab *s)
{
	return classes[s->cls].size;
}

INLINE bool tag_is_slab(uint32_t tag)
{
	return tag >> TAG_ID_SHIFT && !(tag & TAG_MAPPING);
}

/* The pages, a bit each, that the block at `p` has a part of. */
INLINE uint32_t block_pages(const struct slab *s, const void *p)
{
	size_t at = (uintptr_t)p % UNIT;

	return ((uint32_t)2 << (at + slab_size(s) - 1) / PAGE) -
	       ((uint32_t)1 << at / PAGE);
}

/* Was it given back with a page that it has a part of? As if not carved. */
INLINE bool block_gone(const struct slab *s, const void *p)
{
	return UNLIKELY(s->holes) && s->holes & block_pages(s, p);
}

/* Blocks that are carved, but for those. */
static unsigned slab_blocks(const struct slab *s)
{
	size_t size = slab_size(s), gone = 0, end = 0;

	for (size_t page = 0; s->holes >> page; page++) {
		size_t first = page * PAGE / size;

		if (!(s->holes >> page & 1))
			continue;
		first = first > end ? first : end;
		end = ((page + 1) * PAGE - 1) / size + 1;
		end = end < s->carved ? end : s->carved;
		gone += end - first;
	}
	return s->carved - (unsigned)gone;
}

/* How many free blocks make it an empty one. */
static unsigned slab_whole(const struct slab *s)
{
	return s->cap - (s->carved - slab_blocks(s));
}

static struct slab **slab_list(const struct slab *s)
{
	return s->state == SLAB_HOLED ? &s->heap->holed[s->cls] :
					&s->heap->partial[s->cls];
}

static void slab_link(struct slab *s, enum slab_state state)
{
	struct slab **list;

	s->state = (uint8_t)state;
	list = slab_list(s);
	s->prev = NULL;
	s->next = *list;
	if (*list)
		(*list)->prev = s;
	*list = s;
}

/* From the list that it is on, if any. */
static void slab_unlink(struct slab *s)
{
	if (s->state != SLAB_PARTIAL && s->state != SLAB_HOLED)
		return;
	if (s->heap->cursor == s)
		s->heap->cursor = s->next;
	*(s->prev ? &s->prev->next : slab_list(s)) = s->next;
	if (s->next)
		s->next->prev = s->prev;
}

/* With `others` in the remote word it is empty when the rest has come home. */
static void partial_add(struct slab *s, unsigned others)
{
	unsigned few = s->cap / 16;

	slab_unlink(s);
	slab_link(s, SLAB_PARTIAL);
	few = others > few ? others : few;
	if (few >= slab_whole(s)) /* most of it was given back */
		few = others;
	s->trigger = (uint16_t)(slab_whole(s) - few);
}

/* It was taken off a list. */
static void slab_sleep(struct slab *s)
{
	unsigned wake = s->cap / 16;

	if (s->holes)
		slab_link(s, SLAB_HOLED);
	else
		s->state = SLAB_FULL;
	wake = wake > WAKE_MAX ? WAKE_MAX : wake ? wake : 1;
	if (s->holes && wake > slab_whole(s))
		wake = slab_whole(s); /* few are left, or none */
	s->trigger = (uint16_t)wake;
}

/*
 * The remote word: blocks that other threads freed, as the count and the head,
 * an offset, of a list in the slab. PARKED: nobody has told the owner yet;
 * whoever clears it must. PURGING: somebody empties the slab, of which all
 * blocks are in the word; then there is a count and no head.
 */
#define PARKED ((uint64_t)1 << 63)
#define PURGING ((uint64_t)1 << 62)

INLINE unsigned remote_count(uint64_t word)
{
	return (unsigned)((word & ~(PARKED | PURGING)) >> 32);
}

INLINE bool remote_purged(uint64_t word)
{
	return remote_count(word) && !(uint32_t)word;
}

INLINE struct block *remote_head(const struct slab *s, uint64_t word)
{
	size_t at = (uint32_t)word;

	return at ? (struct block *)(slab_start(s) + (at - 1) * GRAIN) : NULL;
}

INLINE uint64_t remote_word(const struct slab *s, const struct block *head,
			    unsigned count)
{
	size_t at = (size_t)((const char *)head - slab_start(s)) / GRAIN + 1;

	return (uint64_t)count << 32 | at;
}

/*
 * The owner takes the word and leaves another; but while it is PURGING he lets
 * it be, and leaves PARKED there if he is to be `told` of the end.
 */
static uint64_t remote_swap(struct slab *s, uint64_t word, uint64_t told)
{
	uint64_t old = load_acquire(&s->remote);

	while (old != word &&
	       !cas(&s->remote, &old, old & PURGING ? old | told : word))
		;
	return old;
}
