/*
 * adopt.pml - a child takes what threads that it does not have left behind, as
 * src/{parked,remote,heap}.c do it, for spin.
 *
 * One slab. Its owner allocates and frees, another thread frees, and so does a
 * third, which forks between two of its calls: the others stop at whatever store
 * they stand. In the child that one goes on, frees what is live, and sends what
 * it had in its batch before; a new thread adopts the heap by the marks, beside
 * it, and then allocates. No block may be handed out that is in use, or is in a
 * batch; what is lost is what was on its way, and no more. All stores of the
 * owner, and of frees, are steps of their own. That a slab is purged or has
 * holes is left to other models.
 */
#ifndef CAP
#define CAP 3
#endif
#ifndef BUG
#define BUG 0		/* one of these, to see that it is found */
#endif
#define SELF_LINKED 1	/* slab_free_blocks counts the last of a batch */
#define NO_SEALS 2	/* it doesn't look at seals */
#define NO_PENDING 3	/* heaps_adopt doesn't ask what is in batches */
#define TAKE_ALL 4	/* slab_readopt takes the free blocks of such a slab */
#define KEEP_WORD 5	/* it keeps the word of any slab */
#define NOT_ARMED 6	/* it forgets PARKED */
#define TRUST_LISTS 7	/* it takes lists for what they were */
#define LINK_NULL 8	/* remote_free_alone ends its batch with NULL */
#define LINK_LATE 9	/* remote_publish relinks before it has the lock */
#define NO_LOCK 10	/* remote_free_alone without the lock */
#define SEND_ALONE 11	/* remote_send does not ask whose slab it is */
#define EARLY_FOUND 12	/* heaps_adopt clears `lost` first */
#define KEEP_MARK 13	/* malloc leaves the mark on a block */
#define KEEP_BATCH 14	/* remote_free adds to a batch for a lost slab */
#define bug(name) (BUG == name)

#define MARK(n) ((n) + 1)
#define DATA 77		/* what the program writes to a block */
#define STALE 1		/* of an earlier life */
#define PARKED 1

byte next[CAP + 1], mark[CAP + 1]; /* of blocks, from 1; 0 is NULL */
bool sealed[CAP + 1];		   /* seal and poison are those of now */
byte mag, list, carved;		   /* the owner's */
byte head, count;		   /* the remote word */
bool armed = 1, noted;		   /* PARKED; in the inbox */
bool carving;			   /* it is looked at anyway */
byte batch, tail, in_batch;	   /* of who forks */
bool forked, lost, locked;

/* For the proof */
bool live[CAP + 1];
byte its[3], last_of_other;	   /* the block that a thread works on */
#define OWNER 0
#define OTHER 1
#define FORKS 2
bool over;			   /* the slab was given back */
bool proving;			   /* of all blocks the marks are away */

hidden byte i, k;

#define marked(b) (mark[b] == MARK(next[b]))
#define block_link(b, n) \
	next[b] = n; \
	mark[b] = MARK(n)

inline handed_out(b)
{
	assert(!live[b] && sealed[b]);
	live[b] = 1;
	next[b] = DATA;
	mark[b] = (bug(KEEP_MARK) -> MARK(DATA) : DATA)
}

/* heap_pop */
inline pop(b)
{
	d_step { b = mag; assert(marked(b)) };
	mag = next[b];
	if
	:: bug(KEEP_MARK)
	:: !bug(KEEP_MARK) -> mark[b] = 0
	fi;
	d_step { handed_out(b); b = 0 }
}

#if CAP == 2
#define ANY(x) x(1) x(2)
#else
#define ANY(x) x(1) x(2) x(3)
#endif

/* -- before the fork */

#define free_own(x) \
	:: d_step { live[x] -> live[x] = 0; b = x } -> \
		if \
		:: block_link(b, mag); mag = b \
		:: block_link(b, list); list = b \
		fi; \
		b = 0
proctype owner() provided (!forked)
{
#define b its[OWNER]
	byte n;

	do
	:: mag -> pop(b)
	ANY(free_own)
	/* refill_freed */
	:: !mag && list ->
		b = list;
		list = 0;
		d_step { mag = b; b = 0 }
	:: !mag && !list && head ->
		d_step { b = head; head = 0; count = 0 };
		d_step { mag = b; b = 0 }
	/* slab_carve, seal_carved */
	:: !mag && carved < CAP ->
		d_step { carved++; b = carved };
		block_link(b, 0);
		sealed[b] = 1;
		d_step { mag = b; b = 0 }
	/* mag_flush */
	:: mag ->
		d_step { b = mag; n = mag; proving = 1 };
		do
		:: n -> mark[n] = 0; n = next[n]
		:: else -> break
		od;
		mag = 0;
		do
		:: b ->
			n = next[b];
			block_link(b, list);
			list = b;
			d_step { b = n; n = 0 }
		:: else -> break
		od;
		proving = 0
	od
#undef b
}

/* fork waits for who publishes, so that is one step before it. */
inline published(first, last, n)
{
	assert(next[last] == last && marked(last));
	block_link(last, head);
	head = first;
	count = count + n;
	assert(count <= CAP);
	noted = noted || armed;
	armed = 0
}

#define free_for(x) \
	:: d_step { live[x] -> live[x] = 0; b = x } -> \
		n = (first -> first : b); \
		next[b] = n; \
		mark[b] = MARK(n); \
		d_step { last = (first -> last : b); first = b; n = 0; b = 0 }
proctype other() provided (!forked)
{
#define b its[OTHER]
#define last last_of_other
	byte n, first;

	do
	ANY(free_for)
	:: d_step {
		first ->
		i = 1;
		k = first;
		do
		:: k != last -> k = next[k]; i++
		:: else -> break
		od;
		published(first, last, i);
		first = 0;
		last = 0
	}
	od
#undef b
#undef last
}

/* -- who forks */

#define b its[FORKS]
#define lock_take() d_step { !locked -> locked = 1 }
#define lock_drop() locked = 0

/* The links of a batch, then the cas */
inline remote_publish(first, last, n)
{
	do
	:: d_step { h = head; next[last] = h; mark[last] = MARK(h) };
		if
		:: d_step {
			head == h ->
			head = first;
			count = count + n;
			assert(over || count <= CAP);
			noted = noted || armed;
			armed = 0;
			h = 0
		} ->
			break
		:: head != h
		fi
	od;
	skip
}

inline remote_free_alone()
{
	next[b] = (bug(LINK_NULL) -> 0 : b);
	mark[b] = MARK(next[b]);
#if !bug(NO_LOCK)
	lock_take();
#endif
	remote_publish(b, b, 1);
#if !bug(NO_LOCK)
	lock_drop();
#endif
	b = 0
}

inline remote_free()
{
	if
	:: forked && lost && !bug(KEEP_BATCH) -> remote_free_alone()
	:: else ->
		next[b] = (batch -> batch : b);
		mark[b] = MARK(next[b]);
		d_step {
			tail = (batch -> tail : b);
			batch = b;
			in_batch++;
			b = 0
		}
	fi
}

/* The slot of the batch says that it is empty first, but under the lock. */
inline remote_send()
{
	if
	:: !forked -> d_step { published(batch, tail, in_batch) ; sent() }
	:: forked && lost && !bug(SEND_ALONE) ->
#if bug(LINK_LATE)
		d_step { b = batch; n = in_batch; batch = 0; in_batch = 0 };
		lock_take();
		remote_publish(b, tail, n);
#else
		lock_take();
		d_step { b = batch; n = in_batch; batch = 0; in_batch = 0 };
		remote_publish(b, tail, n);
#endif
		lock_drop();
		d_step { sent() }
	:: forked && (!lost || bug(SEND_ALONE)) ->
		d_step { b = batch; n = in_batch; batch = 0; in_batch = 0 };
		remote_publish(b, tail, n);
		d_step { sent() }
	fi
}

inline sent()
{
	batch = 0;
	in_batch = 0;
	tail = 0;
	b = 0;
	n = 0
}

#define free_any(x) :: d_step { live[x] -> live[x] = 0; b = x } -> remote_free()
proctype forks()
{
	byte n, h;

end:	do
	ANY(free_any)
	:: batch -> remote_send()
	:: d_step { !forked -> forked = 1; lost = 1; noted = 0 }
	od
#undef b
}

/* -- who adopts */

#define is_free(b) \
	(b <= carved && marked(b) && (next[b] != b || bug(SELF_LINKED)) && \
	 (sealed[b] || bug(NO_SEALS)))

/* A block of the set joins the list; all others are in use, or lost. */
inline relist(b)
{
	if
	:: set & 1 << b -> block_link(b, list); list = b
	:: else
	fi
}

/* What may be lost is on its way, but for a list whose marks are away. */
inline found_all()
{
	b = 1;
	do
	:: b <= carved ->
		assert(live[b] || set & 1 << b || pending || proving ||
		       b == its[OWNER] || b == its[OTHER] || b == its[FORKS] ||
		       b == last_of_other);
		assert(!live[b] || !(set & 1 << b));
		b++
	:: else -> break
	od;
	b = 0
}

proctype adopter() provided (forked)
{
	byte set, b;
	bool pending;

	lock_take();
#if bug(EARLY_FOUND)
	lost = 0;
#endif
	pending = batch && !bug(NO_PENDING); /* slabs_pending */
	b = 1;
	do
	:: b <= CAP ->
		d_step { set = set | is_free(b) << b; b++ }
	:: else -> break
	od;
	skip;
	d_step { found_all() };
	if
	:: set == (2 << carved) - 2 && !pending ->
		d_step {
			over = 1;
			assert(!batch || bug(LINK_LATE));
			b = 1;
			do
			:: b <= CAP -> assert(!live[b]); b++
			:: else -> break
			od;
			b = 0
		}
	:: else ->
		d_step {
			carving = !pending && carved < CAP;
			if
			:: pending
			:: bug(KEEP_WORD)
			:: else -> head = 0; count = 0
			fi;
			armed = !carving && !bug(NOT_ARMED);
			list = (bug(TRUST_LISTS) -> (list -> list : mag) : 0);
			mag = 0;
			if
			:: pending && !bug(TAKE_ALL) || bug(TRUST_LISTS)
			:: else ->
				b = CAP;
				do
				:: b -> relist(b); b--
				:: else -> break
				od
			fi;
			b = 0
		}
	fi;
	d_step { lost = 0; set = 0; pending = 0 };
	lock_drop();
end:	do
	:: !over && mag -> pop(b)
	:: d_step { !over && !mag && list -> mag = list; list = 0 }
	:: d_step {
		!over && !mag && !list && head && (carving || noted) ->
		mag = head;
		head = 0;
		count = 0;
		armed = !carving;
		noted = 0
	}
	/* What was sent is looked at, sooner or later. */
	:: d_step {
		!over && !batch && !its[FORKS] ->
		assert(carving || noted || !head)
	}
	:: d_step {
		!over && carving && !mag && !list && !head && carved < CAP ->
		carved++;
		b = carved;
		block_link(b, 0);
		sealed[b] = 1;
		mag = b;
		b = 0
	}
	od
}

init
{
	d_step {
		i = 1;
		do
		:: i <= CAP -> next[i] = STALE; i++
		:: else -> break
		od;
		i = 0;
		carving = 1;
		armed = 0
	};
	atomic { run owner(); run other(); run forks(); run adopter() };
	/* Those that were stopped are no deadlock. */
	do
	:: carved <= CAP
	od
}
