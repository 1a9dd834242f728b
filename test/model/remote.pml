/*
 * remote.pml - frees by other threads, as src/{slab,remote,heap,thread}.c do
 * them, for spin: it tries every interleaving on a very small heap. Here is
 * what threads share and what the others do; heap.pml is the heap's own part.
 *
 * One heap with one class. Its thread allocates, frees, trims and exits;
 * another adopts the heap and goes on; others free what they like of all that
 * is live. Nothing but the memory is bounded: runs are of any length. The
 * program makes no mistakes, so there are no LOST slabs.
 *
 * A step is one atomic operation of the C code, together with the plain code
 * next to it that no other thread can see. With WHOLE a loop around a cas is
 * one step, too: a cas that fails has no effect, and one that does not proves
 * that nothing changed since the load. All threads see the steps in one order;
 * weaker memory is not modelled.
 */
#ifndef SLABS
#define SLABS 1		/* to share out */
#endif
#ifndef CAP
#define CAP 2		/* blocks of a slab, at most 3 */
#endif
#ifndef WAKE
#define WAKE 1		/* slab_sleep: free blocks that wake a slab */
#endif
#ifndef FEW
#define FEW 0		/* blocks that a sparse slab lacks */
#endif
#ifndef MAG_MAX
#define MAG_MAX 1	/* a free adds no more to the magazine; a refill may */
#endif
#ifndef EMPTIED_MAX
#define EMPTIED_MAX 1	/* in slabs: one more is purged */
#endif
#ifndef THREADS
#define THREADS 1	/* with batches; one more frees alone */
#endif
#ifndef WHOLE
#define WHOLE 0
#endif
#ifndef BUG
#define BUG 0		/* one of these, to see that it is found */
#endif
#define NO_ZOMBIE 1	/* slab_release frees in spite of a note under way */
#define ADOPT_PARKS 2	/* remote_adopt sets PARKED itself */
#define ADOPT_CLEARS 3	/* remote_adopt loses PARKED */
#define NO_NOTE 4	/* remote_publish clears PARKED and tells nobody */
#define NO_REARM 5	/* drain_slab leaves PARKED as it is */
#define LATE_REARM 6	/* drain_slab reads the count, then sets PARKED */
#define NO_WAIT 7	/* remote_swap takes a word that is PURGING */
#define BARE_PURGE 8	/* remote_publish purges without PURGING */
#define LATE_TOUCH 9	/* remote_publish looks at the slab after PURGING */
#define NO_RESTORE 10	/* remote_take loses the word of a purged slab */
#define NO_PURGED 11	/* remote_take takes such a word for a list */
#define STORE_PARKED 12 /* remote_take takes, then stores PARKED */
#define DRAIN_STORES 13 /* remote_drain loads the inbox, then clears it */
#define LATE_NEXT 14	/* remote_drain reads `note` after drain_slab */
#define LATE_NOTE 15	/* remote_publish links the note after pushing it */
#define NO_REMOVE 16	/* slab_release leaves it on the partial list */
#define NOT_NOTED 17	/* drain_slab releases as if no note had come */
#define NO_FLUSH 18	/* thread_exit keeps a batch */
#define NO_LOCK 19	/* heap_obtain does without the lock */
#define STORE_PURGED 20 /* remote_publish stores PURGING, without a cas */
#define EMPTY_LIST 21	/* heap_empty forgets that blocks may be in use */
#define LIST_ONLY 22	/* slab_event sees the list alone */
#define OLD_TRIGGER 23	/* drain_slab leaves the trigger as it was */
#define FULL_TRIGGER 24 /* partial_add waits for a list of all blocks */
#define NOT_LEFT 25	/* remote_swap doesn't ask to be told of the end */
#define NOT_TOLD 26	/* remote_publish doesn't look whether it is asked to */
#define ALWAYS_LEFT 27	/* remote_take asks for a slab that stays active, too */
#define STAYS_ACTIVE 28 /* slab_release leaves an active slab on no list */
#define NO_HEED 29	/* drain_slab releases what was PURGING */
#define bug(name) (BUG == name)

/* The remote word. Slabs and blocks are numbers from 1; 0 is NULL. */
#define HEAD(w) ((w) & 7)
#define COUNT(w) ((w) >> 3 & 3)
#define PARKED 32
#define PURGING 64
#define WORD(head, count) ((head) | (count) << 3)
#define PURGED(w) (COUNT(w) && !HEAD(w))

#define BLOCKS (SLABS * CAP)
#define SLAB(b) (((b) - 1) / CAP + 1)
#define FIRST(s) (((s) - 1) * CAP + 1)
#define FINAL(s) ((s) * CAP)

/* States of a slab */
#define FREE 0
#define ACTIVE 1
#define FULL 2
#define PARTIAL 3
#define ZOMBIE 4

/* What threads share: of slabs, of the heap, of struct heaps, and links */
byte remote[SLABS + 1], note[SLABS + 1];
byte inbox, emptied;
bool locked, parked;
byte link[BLOCKS + 1];

/* For the proof: where each block is */
#define RAW 0	/* never carved, or its slab was released */
#define LIVE 1	/* the program's */
#define KEPT 2	/* in the magazine */
#define LIST 3	/* in the list of its slab */
#define BATCH 4 /* in a batch */
#define REMOTE 5 /* in the remote word of its slab */
byte where[BLOCKS + 1];

/* ... where the note about a slab is */
#define NONE 0
#define OWED 1	/* PARKED was cleared, the note is not in the inbox yet */
#define SENT 2	/* it is in the inbox */
#define TAKEN 3 /* in the hands of the heap's thread */
byte noted[SLABS + 1];

bool used[SLABS + 1];  /* from slab_open to units_free */
bool armed[SLABS + 1]; /* asleep: PARKED, or a note is under way */
bool news[SLABS + 1];  /* its word has what the heap's thread has not seen */
bool user;	       /* a thread has the heap */

hidden byte i, k;

/* A slab that was given back may not even be looked at. */
#define touch(s) assert(used[s])
/* No lost wake-up; after each change of a word */
#define awake(s) \
	assert(!armed[s] || noted[s] || \
	       (remote[s] & PARKED) && (!news[s] || (remote[s] & PURGING)))

/* All blocks of a list, as many as it should have, change their place. */
inline move(head, count, s, from, to)
{
	i = head;
	k = 0;
	do
	:: i ->
		assert(where[i] == from && SLAB(i) == s);
		where[i] = to;
		k++;
		i = link[i]
	:: else -> break
	od;
	assert(k == count)
}

/* All blocks of a slab: a list that was purged has no links. */
inline move_all(s, from, to)
{
	i = FIRST(s);
	do
	:: i <= FINAL(s) ->
		assert(where[i] == from);
		where[i] = to;
		link[i] = 0;
		i++
	:: else -> break
	od;
	i = 0
}

/* -- remote.c: what others do */

/* The batch, from head to tail, is linked in front of the word's list. */
inline published()
{
	touch(slab);
	link[tail] = HEAD(old);
	i = head;
	k = 0;
	do
	:: i ->
		assert(where[i] == (k < count -> BATCH : REMOTE));
		assert(SLAB(i) == slab);
		where[i] = REMOTE;
		k++;
		i = link[i]
	:: else -> break
	od;
	assert(k == COUNT(new));
	if
	:: (old & PARKED) ->
		assert(noted[slab] == NONE);
		noted[slab] = OWED
	:: else
	fi;
	remote[slab] = new;
	news[slab] = armed[slab];
	awake(slab);
	old = old & PARKED;
	head = 0;
	tail = 0;
	count = 0
}

#define PURGE_WORD (WORD(0, CAP) | (bug(BARE_PURGE) -> 0 : PURGING))

#if WHOLE
/* What `emptied` is does not matter: any full word may be purged, or not. */
inline remote_add()
{
	if
	:: d_step {
		old = remote[slab];
		new = WORD(head, count + COUNT(old));
		published()
	}
	:: d_step {
		count + COUNT(remote[slab]) == CAP ->
		old = remote[slab];
		new = PURGE_WORD;
		published()
	}
	fi
}
#else
#define fails (remote[slab] != old && !(bug(STORE_PURGED) && PURGED(new)))
inline remote_add()
{
	d_step { touch(slab); old = remote[slab] };
	do
	:: new = WORD(head, count + COUNT(old));
		if
		:: COUNT(new) == CAP ->
			if
			:: emptied >= EMPTIED_MAX -> new = PURGE_WORD
			:: emptied < EMPTIED_MAX
			fi
		:: else
		fi;
		if
		:: d_step { !fails -> published() } -> break
		:: d_step { fails -> touch(slab); old = remote[slab] }
		fi
	od;
	if
	:: COUNT(new) == CAP ->
		emptied = (emptied < EMPTIED_MAX -> emptied + 1 : emptied)
	:: else
	fi
}
#endif

#if WHOLE
inline inbox_push()
{
	d_step {
		touch(slab);
		assert(noted[slab] == OWED);
		note[slab] = inbox;
		inbox = slab;
		noted[slab] = SENT
	}
}
#else
inline inbox_push()
{
	first = inbox;
	do
	:: d_step {
		touch(slab);
		assert(noted[slab] == OWED);
		note[slab] = (bug(LATE_NOTE) -> note[slab] : first)
	};
		if
		:: d_step {
			inbox == first ->
			touch(slab);
			inbox = slab;
			noted[slab] = SENT
		} ->
			break
		:: inbox != first -> first = inbox
		fi
	od;
#if bug(LATE_NOTE)
	skip;
	d_step { touch(slab); note[slab] = first };
#endif
	first = 0
}
#endif

inline remote_publish()
{
	remote_add();
	if
	:: PURGED(new) ->
		d_step { touch(slab); move_all(slab, REMOTE, REMOTE) };
		d_step {
			touch(slab);
			assert((remote[slab] & ~PARKED) == new);
			if
			:: (remote[slab] & PARKED) && !bug(NOT_TOLD) ->
				assert(!noted[slab]);
				noted[slab] = OWED;
				old = PARKED
			:: else
			fi;
			remote[slab] = new & ~PURGING;
			awake(slab)
		}
	:: else
	fi;
	new = 0;
#if bug(LATE_TOUCH)
	touch(slab);
#endif
	if
	:: old && !bug(NO_NOTE) -> inbox_push()
	:: else
	fi;
	old = 0;
	slab = 0
}

#define BATCH_OF_ONE_SLAB byte slab, head, tail, count, old, new, first

inline remote_free(b)
{
	touch(SLAB(b));
	where[b] = BATCH;
	slab = SLAB(b);
	link[b] = head;
	tail = (head -> tail : b);
	head = b;
	count++
}

/* -- thread.c, and the threads */

#if BLOCKS == 2
#define ANY(x) x(1) x(2)
#elif BLOCKS == 3
#define ANY(x) x(1) x(2) x(3)
#elif BLOCKS == 4
#define ANY(x) x(1) x(2) x(3) x(4)
#elif BLOCKS == 6
#define ANY(x) x(1) x(2) x(3) x(4) x(5) x(6)
#endif

/* One that has a heap of its own; its batch goes whenever it likes. */
#define free_any(b) \
	:: d_step { \
		where[b] == LIVE && (!slab || slab == SLAB(b)) -> \
		remote_free(b) \
	}
proctype thread()
{
	BATCH_OF_ONE_SLAB;

end:	do
	ANY(free_any)
	:: slab -> remote_publish()
#if bug(NO_FLUSH)
	:: d_step { slab -> move(head, count, slab, BATCH, RAW) } -> break
#endif
	od
}

/* heaps.lock. With WHOLE nobody waits inside: what it guards is one step. */
#if WHOLE
#define locking !locked
inline heap_obtain(free_to)
{
	d_step {
		free_to && parked && !locked ->
		parked = 0;
		assert(!user);
		user = 1
	}
}

inline heap_park()
{
	d_step { !locked -> user = 0; parked = 1 }
}
#else
#define locking 1
inline lock_take()
{
	d_step { !locked -> locked = 1 }
}

inline heap_obtain(free_to)
{
	free_to && parked; /* else it would make a new one */
#if !bug(NO_LOCK)
	lock_take();
#endif
	if
	:: parked ->
		parked = 0;
		d_step { assert(!user); user = 1 }
	:: !parked
	fi;
	locked = 0
}

inline heap_park()
{
	lock_take();
	d_step { user = 0; parked = 1 };
	locked = 0
}
#endif

/* One that has exited: it frees alone, and borrows the heap. */
#define free_one(b) \
	:: d_step { \
		where[b] == LIVE && !slab && locking -> \
		locked = (WHOLE -> 1 : locked); \
		remote_free(b) \
	}
proctype exited()
{
	BATCH_OF_ONE_SLAB;

end:	do
	ANY(free_one)
	:: slab ->
#if !WHOLE
		lock_take();
#endif
		remote_publish();
		locked = 0
	:: heap_obtain(!slab)
	od
}

/* One that adopts the heap whenever it is parked, or empties it so. */
proctype adopter()
{
end:	do
	:: heap_obtain(1)
	od
}

/* -- what is true at last; the rest is asserted on the way */

/* Nothing is under way but notes in the inbox. */
#define at_rest(b) && where[b] != BATCH && noted[SLAB(b)] != OWED && \
	!(remote[SLAB(b)] & PURGING)

/* The inbox was read: nothing is left of what anybody told. */
inline check_quiet()
{
	k = 1;
	do
	:: k <= SLABS ->
		assert(noted[k] == NONE && state[k] != ZOMBIE);
		if
		:: state[k] == FULL || state[k] == PARTIAL ->
			assert(remote[k] & PARKED);
			assert(list[k] || !COUNT(remote[k]));
			assert(state[k] == PARTIAL || nfree[k] < WAKE)
		:: else
		fi;
		k++
	:: else -> break
	od;
	k = 0
}

/* All blocks are free: no slab is left. */
inline check_end()
{
	assert(!inbox && !mag && !carver);
	k = 1;
	do
	:: k <= SLABS ->
		assert(!used[k]);
		k++
	:: else -> break
	od;
	k = 0
}

#include "heap.pml"

init
{
	atomic {
		user = 1;
		run heap();
		run exited();
		run adopter();
#if THREADS > 0
		run thread();
#endif
#if THREADS > 1
		run thread()
#endif
	}
}
