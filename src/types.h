/*
 * types.h - every structure, the tags, and the thread-local words.
 *
 * A field that says nothing else belongs to the owner of its structure.
 */

/*
 * A free block. `mark` proves that it is free and that `next` is what we
 * wrote: a double free, a wild write and a stale pointer all fail it. It is
 * cleared when the block is handed out.
 */
struct block {
	struct block *next;
	uintptr_t mark; /* mark_of(block, next) */
};

/*
 * A freed block of OS memory: an entry of the cache that ALLOC_THRESH bounds.
 * It lies in the node of a free extent or in the header of a mapping.
 */
struct span {
	struct span *newer, *older;
	size_t len;     /* bytes of OS memory, with old contents */
	uint64_t stamp; /* when it was freed, in frees */
};

enum slab_state {
	SLAB_ACTIVE = 1, /* being carved; on no list */
	SLAB_FULL,       /* asleep: few blocks of it are free */
	SLAB_PARTIAL,    /* on its heap's list of the class */
	SLAB_HOLED,      /* asleep, and on a list, since it has holes */
	SLAB_ZOMBIE,     /* empty, but a note about it is under way */
	SLAB_LOST        /* misused: it stays */
};

/* The descriptor of a unit that is a slab. */
struct slab {
	struct block *list; /* freed blocks */
	struct heap *heap;  /* constant while in use */
	struct slab *next;  /* partial list */
	struct slab *prev;
	struct slab *note; /* inbox link; whoever cleared PARKED */
	uint64_t remote;   /* any thread, acq/rel: see remote.c */
	uint16_t nfree;    /* length of `list` */
	uint16_t trigger;  /* nfree that makes an event */
	uint16_t carved;   /* blocks ever made; others may read */
	uint16_t cap;      /* blocks it can hold */
	uint16_t old;      /* pages with contents of an earlier life */
	uint16_t holes;    /* pages that were given back: see holes.c */
	uint8_t cls;
	uint8_t state;
	uint8_t ready : 6;   /* pages of the kernel that are populated */
	uint8_t stocked : 1; /* see mag_apart */
	uint8_t guarded : 1; /* its last page is inaccessible */
	bool sealed;         /* its blocks are: see seal.c */
};
_Static_assert(sizeof(struct slab) == 64, "one cache line a descriptor");

/* A free extent, at the page that it ends in; under os.lock. */
struct extent {
	struct span span;           /* cached while it has old contents */
	struct extent *next, *prev; /* in its bin */
	uint32_t page;              /* that it starts in */
	uint32_t weight;            /* bytes that ALLOC_THRESH counts */
};

/* What unit 0 of a chunk holds; that has no descriptor. Under os.lock. */
struct chunk {
	char unused[64];
	struct slab unit[CHUNK_UNITS - 1]; /* k at 64 * k */
	uint32_t page[CHUNK_PAGES];        /* what starts there: see extent.c */
	struct extent node[CHUNK_PAGES - UNIT_PAGES];
	/* The last node is that of fresh memory, so near is what it needs. */
	uint64_t starts[CHUNK_PAGES / 64]; /* where any extent does */
	uint64_t dirty[CHUNK_PAGES / 64];  /* pages with old contents */
	uint64_t had[CHUNK_PAGES / 64];    /* pages that once were dirty */
	struct chunk *next, *prev;
	size_t len; /* a limit may have left less than CHUNK */
	bool huge;  /* of huge pages: for slabs only */
};
_Static_assert(offsetof(struct chunk, page) == 4096, "a page of descriptors");
_Static_assert(sizeof(struct chunk) <= UNIT, "unit 0 holds it");

/* The header of a mapping of its own, HEADER bytes before the user's. */
struct mapping {
	struct span span; /* while it is cached; len counts the guard */
	char *base;       /* where the mapping starts */
	size_t asked;     /* bytes, at the last malloc or realloc */
	bool split;       /* it may be made of several VMAs */
	bool moved;       /* its VMA merges with no other: see mapping_remap */
	bool guard;       /* its last page is inaccessible */
	bool direct;      /* made by ALLOC_DIRECT: has the size it has */
	bool trap;        /* see trap_alloc; direct, too */
	bool sealed;      /* what is behind `asked` is known */
	bool aside;       /* in no account: see aside.c */
	void *user;       /* what malloc returned; last: an underflow shows */
};
_Static_assert(sizeof(struct mapping) == HEADER, "user memory is aligned");

/* A thread's stock of free blocks of one class. */
struct mag {
	struct block *head;
	int32_t room; /* frees it still takes; below 0: see MAG_CLOSED */
	union {
		uint32_t recip; /* of struct class: do blocks start there? */
		uint32_t seal;  /* of sealed blocks: where theirs is */
	};
	union {
		uint32_t limit; /* of struct class */
		uint32_t edge;  /* who starts below it ends in his unit */
	};
	uint32_t max;        /* length that `room` started from */
	struct slab *active; /* the slab that is carved for it */
};
_Static_assert(sizeof(struct mag) == 32, "a class k lies at 32 * k");

/*
 * Blocks of one foreign slab that wait to be sent home together, in a list that
 * ends with a block linked to itself.
 */
struct batch {
	struct slab *slab;
	struct block *head, *tail;
	uint32_t count;
	uint32_t tag; /* what the page map had for the slab */
};

#define BATCHES 64
#define QUARANTINE 64
#define STOCK 8

/* A block that shrank: see fickle_moved. */
#define FICKLE 16
struct fickle {
	const void *p;
	uint32_t grown; /* how often it grew again */
	uint32_t left;  /* times that it does not shrink */
};

struct heap {
	uint32_t tag;            /* id << 13: what the map has for its slabs */
	uint32_t ticks;          /* refills so far */
	struct slab *inbox;      /* slabs with news; any thread, acq/rel */
	size_t emptied;          /* bytes of slabs with nothing but news */
	uint32_t busy;           /* its thread is inside; seq_cst */
	bool leaving;            /* its thread ends */
	struct mag mag[CLASSES]; /* [0] stays empty: malloc(0) is slow */
	struct slab *partial[CLASSES];
	struct slab *holed[CLASSES];
	uint8_t populate[CLASSES]; /* log2 of the next batch of pages */
	bool used[CLASSES];        /* refilled since the last trim */
	uint8_t lent[CLASSES];     /* blocks of larger classes for this */
	bool flushed;              /* parked and emptied */
	bool sampled;              /* `until` is set */
	bool shrunk;               /* some block is in `fickle` */
	uint32_t last_trim;        /* tick of the last trim */
	uint32_t stocked;          /* extents ever put in `stock` */
	uint32_t random, turn;     /* of the quarantine */
	uint32_t punching;         /* class of `cursor` */
	size_t punch;              /* peak from which slabs are looked at */
	struct slab *cursor;       /* the next that is: see heap_punch */
	size_t carved;             /* bytes ever: when to populate ahead */
	struct heap *parked;       /* next without a thread; heaps.lock */
	struct heap *all;          /* next of all; constant */
	uint64_t owner;            /* its thread, see owner_self; relaxed */
	struct lock *waits;        /* its thread sleeps for it; relaxed */
	int64_t until;             /* blocks to hand out before a sample */
	uint64_t stock[STOCK];     /* freed extents: address << 16 | lines */
	struct fickle fickle[FICKLE];
	/* What an idle thread never needs is on a page of its own. */
	struct batch batch[BATCHES];
	void *held[2 * QUARANTINE]; /* a queue, then chosen at random */
};
_Static_assert(offsetof(struct heap, batch) < 4096, "the rest is hot");
_Static_assert(offsetof(struct heap, mag) == 32, "a class k lies at 32 * k");

/*
 * Tags: what the page map has for a unit.
 *	0                             not ours
 *	heap id << 13 | class << 4    part of a slab
 *	TAG_EXTENT                    extents, free or not: see extent.c
 *	TAG_FREE                      a slab without a block in use
 *	pages << 16 | TAG_MAPPING     headers of mappings lie in these pages
 */
#define TAG_ID_SHIFT 13
#define TAG_MAPPING ((uint32_t)1 << 12)
#define TAG_EXTENT ((uint32_t)0x10)
#define TAG_FREE ((uint32_t)0x20)
#define TAG_CLASS_MAX ((uint32_t)0xfff)
#define HEAPS_MAX (((uint32_t)1 << (32 - TAG_ID_SHIFT)) - 1)

/*
 * The heap of a thread that has none: empty magazines and nobody's tag send
 * every call to the slow path. Nothing writes through a miss: it is constant.
 */
static const struct heap stub[] = {
	{ .tag = HEAPS_MAX << TAG_ID_SHIFT },
	{ .tag = HEAPS_MAX << TAG_ID_SHIFT },
};
#define STUB ((struct heap *)(uintptr_t)&stub[0])
#define DEAD ((struct heap *)(uintptr_t)&stub[1])

/*
 * `me` is all that a fast path reads. On the stub, `mine` is, too, before
 * the first heap, DEAD after the last, else that of a thread that is traced,
 * or inside.
 */
static __thread struct {
	struct heap *me, *mine;
	uint32_t within; /* where its stack was when it went inside */
	uint8_t inside;  /* see enter */
	uint8_t forks;   /* that this thread has under way */
} tls __attribute__((tls_model("initial-exec"))) = { STUB, STUB, 0, 0, 0 };
_Static_assert(sizeof(tls) <= 24, "static TLS is scarce: dlopen needs it");
