/*
 * misuse.pml - a program that frees twice, beside the checks of ALLOC_CHECK=1
 * in src/{slab,remote,heap}.c, for spin.
 *
 * One slab of the owner's, whose blocks the owner and one other thread free.
 * Some blocks they free again, in any order: the owner unseen, by the quick way
 * of free, which looks at no mark. Whatever happens then, no block may have two
 * owners, and no byte of a live one may change, unless there was a report, with
 * which a run ends. It also ends with the slab's release, which must find all
 * blocks free, and none in the magazine.
 *
 * Here each store is a step of its own, but for those of a free by the other
 * thread, of malloc and of cas_pair. The notes to the owner are left to remote.pml: he may
 * look at the remote word any time.
 */
#ifndef CAP
#define CAP 2		/* blocks of the slab, 2 or 3 */
#endif
#ifndef AGAIN
#define AGAIN 1		/* so many blocks are freed again */
#endif
#ifndef BUG
#define BUG 0		/* one of these, to see that it is found */
#endif
#define BLIND_LINK 1	/* remote_publish links the last block unproved */
#define LOOK_FIRST 2	/* it looks at that, then links it */
#define COUNT_PROVES 3	/* it purges because all blocks were counted */
#define NO_SEAL 4	/* it proves them while others may write there */
#define EARLY_ALLOW 5	/* it lets others write again, then purges */
#define KEEP_TAG 6	/* it purges what free still takes for a slab */
#define NO_LOOK 7	/* slab_release doesn't look at the magazine */
#define NO_MARK 8	/* malloc takes a block without looking at its mark */
#define KEEP_MARK 9	/* malloc leaves the mark on a block */
#define bug(name) (BUG == name)

#define DATA 77		/* what the program writes to a block */
#define MARK(n) ((n) + 1)

byte next[CAP + 1], mark[CAP + 1]; /* of blocks, from 1; 0 is NULL */
bool live[CAP + 1];
byte again = AGAIN;
bool known = 1; /* the page map has the slab */
bool sealed;	/* nobody may write to it: that would be a SIGSEGV */
bool over;	/* there was a report or that, or the slab is released */

/* The remote word */
byte head, count;
bool purging;

hidden byte i, k;

#define marked(b) (mark[b] == MARK(next[b]))
#define found() over = 1
/* More than there are would be found at once. */
#define room(n) ((n) <= CAP && !over)

/*
 * The second store of a free. That a thread is interrupted between its look at
 * the page map and this, for as long as the other takes to prove and purge the
 * slab, is left out.
 */
#define store_mark(x, m) \
	if \
	:: d_step { known -> mark[x] = m } \
	:: d_step { !known -> over = 1 } \
	fi

/* slab_all_free: all are marked, and each is linked to once */
inline all_free(a, b, good)
{
	good = 1;
	k = (1 << a) + (1 << b);
	i = 1;
	do
	:: i <= CAP ->
		good = good && marked(i);
		k = k + (1 << (next[i] <= CAP -> next[i] : 0)) - (1 << i);
		i++
	:: else -> break
	od;
	good = good && k == 2; /* two NULLs more than heads */
	i = 0;
	k = 0
}

inline nobody_has_any()
{
	i = 1;
	do
	:: i <= CAP -> assert(!live[i]); i++
	:: else -> break
	od;
	i = 0
}

/* -- the other thread */

#define link_tail(n) \
	assert(over || !live[tail]); \
	next[tail] = n; \
	mark[tail] = MARK(n)
#if bug(BLIND_LINK)
#define relink(was, n) d_step { link_tail(n) }
#elif bug(LOOK_FIRST)
#define relink(was, n) \
	if \
	:: next[tail] == was && mark[tail] == MARK(was) -> \
		d_step { link_tail(n) } \
	:: else -> found() \
	fi
#else
#define relink(was, n) \
	if \
	:: d_step { \
		next[tail] == was && mark[tail] == MARK(was) -> \
		link_tail(n) \
	} \
	:: else -> found() \
	fi
#endif

inline remote_purge()
{
	known = bug(COUNT_PROVES) || bug(KEEP_TAG);
	sealed = !bug(COUNT_PROVES) && !bug(NO_SEAL);
	if
	:: bug(COUNT_PROVES) -> good = 1
	:: !bug(COUNT_PROVES) -> d_step { all_free(first, 0, good) }
	fi;
	if
	:: good ->
#if bug(EARLY_ALLOW)
		sealed = 0;
#endif
		d_step {
			if
			:: !over -> nobody_has_any()
			:: else
			fi;
			i = 1;
			do
			:: i <= CAP -> next[i] = 0; mark[i] = 0; i++
			:: else -> break
			od;
			i = 0
		};
		sealed = 0;
		d_step { head = 0; count = CAP; purging = 0 }
	:: else ->
		sealed = 0;
		found()
	fi;
	good = 0
}

inline remote_publish()
{
	was = tail;
	do
	:: over -> break
	:: !over ->
		d_step { n = head; c = count };
		if
		:: batch + c > CAP -> found(); break
		:: else
		fi;
		relink(was, n);
		was = n;
		if
		:: over -> break
		:: d_step {
			!over && head == n && count == c && !purging ->
			head = first;
			count = c + batch
		} ->
			break
		:: d_step {
			!over && head == n && count == c && !purging &&
			c + batch == CAP ->
			head = 0;
			count = CAP;
			purging = 1
		} ->
			remote_purge();
			break
		:: d_step {
			!over && (head != n || count != c || purging) ->
			n = 0;
			c = 0 /* again */
		}
		fi
	od;
	skip;
	d_step { first = 0; tail = 0; batch = 0; was = 0; n = 0; c = 0 }
}

/*
 * The check of heap_free, then remote_free. If the owner has freed the block and
 * got it again in between, this is a free of a block that is live.
 */
inline remote_free(b)
{
	if
	:: marked(b) || !known -> found()
	:: !marked(b) && known ->
		if
		:: d_step {
			known ->
			live[b] = 0;
			next[b] = (batch -> first : b);
			mark[b] = MARK(next[b]);
			over = over || sealed;
			tail = (batch -> tail : b);
			first = b;
			batch++
		}
		:: d_step { !known -> over = 1 }
		fi
	fi
}

#if CAP == 2
#define ANY(x) x(1) x(2)
#else
#define ANY(x) x(1) x(2) x(3)
#endif

#define free_any(b) \
	:: d_step { live[b] && room(batch) -> live[b] = 0 } -> remote_free(b)
#define free_again(b) \
	:: d_step { !live[b] && again && room(batch) -> again-- } -> \
		remote_free(b)

proctype other()
{
	byte first, tail, batch, was, n, c;
	bool good;

end:	do
	:: over -> break
	ANY(free_any)
	ANY(free_again)
	:: batch && !over -> remote_publish()
	od
}

/* -- the owner */

inline heap_pop()
{
	if
	:: d_step {
		marked(mag) || bug(NO_MARK) ->
		b = mag;
		over = over || sealed;
		assert(over || !live[b]);
		live[b] = 1;
		mag = next[b];
		mark[b] = (bug(KEEP_MARK) -> mark[b] : 0)
	}
	:: else -> found()
	fi;
	if
	:: d_step { live[b] && !sealed -> next[b] = DATA; mark[b] = DATA }
	:: true /* the program may write to it later, or never */
	fi;
	b = 0
}

/* mag_apart: the magazine has no block of the slab, and so none. */
#define apart (!mag || bug(NO_LOOK))

/* The quick way of free */
inline heap_push(x)
{
	if
	:: mag == x || !known -> found()
	:: d_step {
		mag != x && known ->
		over = over || sealed;
		next[x] = mag
	};
		store_mark(x, MARK(mag));
		mag = x
	fi
}

/* A full magazine: home to the slab */
inline slab_put(x)
{
	if
	:: marked(x) || !known -> found()
	:: d_step {
		!marked(x) && known ->
		over = over || sealed;
		next[x] = list
	};
		store_mark(x, MARK(list));
		list = x;
		nfree++
	fi
}

#define free_own(x) \
	:: d_step { live[x] && room(nfree) -> live[x] = 0 } -> heap_push(x) \
	:: d_step { live[x] && room(nfree) -> live[x] = 0 } -> slab_put(x)
#define own_again(x) \
	:: d_step { !live[x] && again && room(nfree) -> again-- } -> \
		heap_push(x) \
	:: d_step { !live[x] && again && room(nfree) -> again-- } -> \
		slab_put(x)

proctype owner()
{
	byte mag, list, nfree, b;
	bool good;

end:	do
	:: over -> break
	:: mag && !over -> heap_pop()
	ANY(free_own)
	ANY(own_again)
	/* heap_refill; the first is handed out at once */
	:: !mag && list && !over ->
		mag = list;
		list = 0;
		nfree = 0;
		heap_pop()
	:: d_step {
		!mag && !list && head && !purging && !over ->
		mag = head;
		head = 0;
		count = 0
	} ->
		heap_pop()
	/* slab_release; what was purged is free */
	:: d_step {
		nfree + count >= CAP && !purging && !over ->
		if
		:: head || list || bug(COUNT_PROVES) ->
			all_free(list, head, good)
		:: else -> good = 1
		fi;
		if
		:: good && nfree + count == CAP && apart ->
			nobody_has_any();
			assert(!mag)
		:: else
		fi;
		good = 0;
		over = 1
	}
	od
}

init
{
	d_step {
		i = 1;
		do
		:: i <= CAP -> live[i] = 1; next[i] = DATA; mark[i] = DATA; i++
		:: else -> break
		od;
		i = 0
	};
	atomic { run owner(); run other() }
}
