/*
 * extent.pml - the words of extents, as src/{extent,chunk,pages}.c change them,
 * for spin.
 *
 * One chunk of a few pages, each of two lines. Two heaps with a stock of one
 * block each; threads take one that is parked, allocate, free, resize and trim,
 * take and return the unit of a slab, and park it again: so owners, adopters
 * and malloc_trim are the same here. Another gives pages back. Pointers that
 * are stale may be freed at any time, live blocks while they are resized; a run
 * ends with the report.
 *
 * What os.lock guards is one step, but for a purge, which is made outside. Words
 * are loaded in one step and changed by a cas in another. With VANISH a thread
 * forks between two calls: the others stop where they are, and it goes on with
 * their heaps. With HANDLER a signal comes to a thread, wherever that is; its
 * handler allocates and frees.
 */
#ifndef PAGES
#define PAGES 4
#endif
#ifndef THREADS
#define THREADS 2
#endif
#ifndef PURGE
#define PURGE 0		/* what is dirty matters, and is given back */
#endif
#ifndef VANISH
#define VANISH 0
#endif
#ifndef HANDLER
#define HANDLER 0
#endif
#ifndef STALE
#define STALE 0		/* so many frees of what is not in use, or busy */
#endif
#ifndef BUG
#define BUG 0		/* one of these, to see that it is found */
#endif
#define CLAIM_STORES 1	/* extent_claim looks, then stores */
#define CLAIM_STATE 2	/* extent_claim takes what is not in use, too */
#define NO_OFFSET 3	/* extent_at doesn't look where in the page it starts */
#define NO_CLAIM 4	/* extent_resize doesn't claim the block */
#define TAKE_STORES 5	/* stock_take trusts the slot */
#define GRAB_KEPT 6	/* extent_grab takes what a thread keeps */
#define NO_MERGE 7	/* extent_release forgets what is before */
#define SHORT_REST 8	/* extent_take leaves less than a page */
#define SHORT_TAIL 9	/* extent_resize does */
#define VICTIM_FREE 10	/* victim_extent leaves it free */
#define OUTWARD 11	/* extent_purge purges pages that neighbours share */
#define NOT_DONE 12	/* victim_return takes pages for clean in any case */
#define SOIL_INSIDE 13	/* extent_soil forgets pages that are shared */
#define NO_SOIL 14	/* extent_resize doesn't soil what it adds */
#define UNIT_USED 15	/* the unit of a slab is like a block in use */
#define STATE_ONLY 16	/* stock_take looks at the state alone */
#define RESIZE_KEEPS 17 /* extent_resize claims it as if it were in a stock */
#define VICTIM_KEPT 18	/* victim_extent does */
#define UNIT_CLEAN 19	/* unit_return forgets which pages have contents */
#define bug(name) (BUG == name)

#define LINES (2 * PAGES)
#define UNIT 4

/* The word of the extent that starts in a page; 0: none does. */
#define AWAY 0 /* on its way to another state; or the unit of a slab */
#define FREE 1
#define USED 2
#define KEPT 3 /* in a stock */
#define WORD(size, at, state) ((size) << 3 | (at) << 2 | (state))
#define LEN(w) ((w) >> 3)
#define AT(w) ((w) >> 2 & 1)
#define STATE(w) ((w) & 3)
byte word[PAGES];
bool dirty[PAGES];

/* Stocks: of each block the line it starts at, from 1, and its length */
#define STOCKED(line, size) ((line) + 1 | (size) << 4)
#define AT_LINE(s) (((s) & 15) - 1)
byte stock[2];
bool parked[2];

/* For the proof: whose each line is, which pages have contents */
#define NOBODY 0
#define PROGRAM 1
#define SLAB 2
byte whose[LINES];
bool old[PAGES];
bool live[PAGES];	/* a block of the program's starts in the page */
bool busy[PAGES];	/* it is in a call: another one would be misuse */
bool slab[PAGES];	/* the page map has a slab there */
byte stale = STALE;
bool over;		/* there was a report */
bool forked;
byte handling;		/* the thread whose handler runs */

hidden byte i, k, n, b;

#if PAGES == 3
#define ANY(x, y) x(0, y) x(1, y) x(2, y)
#elif PAGES == 4
#define ANY(x, y) x(0, y) x(1, y) x(2, y) x(3, y)
#elif PAGES == 5
#define ANY(x, y) x(0, y) x(1, y) x(2, y) x(3, y) x(4, y)
#endif

/* Extents lie side by side, no two free ones touch, and no word is left over. */
inline check()
{
	i = 0;
	n = 0;
	b = 0;
	do
	:: i < LINES ->
		k = i / 2;
		assert(word[k] && AT(word[k]) == i % 2 && LEN(word[k]) > 1);
		assert(!b || STATE(word[k]) != FREE);
		b = STATE(word[k]) == FREE;
		i = i + LEN(word[k]);
		n++
	:: else -> break
	od;
	assert(i == LINES);
	i = 0;
	do
	:: i < PAGES ->
		n = n - (word[i] != 0);
		assert(dirty[i] || !old[i] || whose[2 * i] || whose[2 * i + 1]);
		i++
	:: else -> break
	od;
	assert(!n);
	i = 0
}

/* A range has this owner, who writes to it, from now on. */
inline own(from, size, by)
{
	i = from;
	do
	:: i < from + size ->
		assert(!by || !whose[i]);
		whose[i] = by;
		old[i / 2] = PURGE && (old[i / 2] || by);
		i++
	:: else -> break
	od;
	i = 0
}

/* Has the page contents, as far as is known? Of all whole pages in a range. */
inline dirty_inside(from, size, set)
{
	b = 0;
	k = ((from) + 1) / 2;
	do
	:: 2 * k + 2 <= (from) + (size) ->
		b = b || dirty[k];
		dirty[k] = dirty[k] && set;
		k++
	:: else -> break
	od
}

inline extent_soil(from, size)
{
	k = (from + bug(SOIL_INSIDE)) / 2;
	do
	:: 2 * k + 2 * bug(SOIL_INSIDE) < from + (size) ->
		dirty[k] = PURGE;
		k++
	:: else -> break
	od
}

/* The length of what is behind a line, if that is free: it is on no list. */
inline extent_grab(line)
{
	n = 0;
	if
	:: line < LINES &&
	   (STATE(word[(line) / 2]) == FREE ||
	    bug(GRAB_KEPT) && STATE(word[(line) / 2]) == KEPT) ->
		n = LEN(word[(line) / 2]);
		word[(line) / 2] = 0
	:: else
	fi
}

inline extent_release(from, size)
{
	word[(from) / 2] = 0;
	extent_grab((from) + (size));
	i = from;
	n = n + (size);
	if
	:: i && !bug(NO_MERGE) ->
		k = (i - 1) / 2;
		do
		:: word[k] == 0 || 2 * k + AT(word[k]) >= i -> k--
		:: else -> break
		od;
		if
		:: STATE(word[k]) == FREE ->
			n = n + LEN(word[k]);
			i = 2 * k + AT(word[k]);
			word[k] = 0
		:: else
		fi
	:: else
	fi;
	word[i / 2] = WORD(n, i % 2, FREE);
	check()
}

/* `size` lines from `from` of the free extent that starts in page `e`; then `n`
 * are taken. */
inline extent_take(e, from, size, state)
{
	i = 2 * e + AT(word[e]);
	k = i + LEN(word[e]);
	word[e] = 0;
	n = size;
	if
	:: k - from - n < 2 - bug(SHORT_REST) -> n = k - from
	:: else ->
		word[(from + n) / 2] = WORD(k - from - n, (from + n) % 2, FREE)
	fi;
	if
	:: from > i -> word[i / 2] = WORD(from - i, i % 2, FREE)
	:: else
	fi;
	word[from / 2] = WORD(n, from % 2, state)
}

/* The first free extent that will do, in one page or in any. */
#define fits(e, size) (STATE(word[e]) == FREE && LEN(word[e]) >= size)
#define UNIT_AT(e) ((2 * (e) + AT(word[e]) + UNIT - 1) / UNIT * UNIT)
#define unit_fits(e) \
	(STATE(word[e]) == FREE && \
	 UNIT_AT(e) + UNIT <= 2 * (e) + AT(word[e]) + LEN(word[e]) && \
	 UNIT_AT(e) != 2 * (e) + 1 + AT(word[e]) && \
	 UNIT_AT(e) + UNIT + 1 != 2 * (e) + AT(word[e]) + LEN(word[e]))

/* -- blocks; `p` is the line that one starts at */

#define extent_live(w, p) \
	((STATE(w) == USED || bug(CLAIM_STATE) && w) && \
	 (AT(w) == (p) % 2 || bug(NO_OFFSET)))
#if bug(CLAIM_STORES)
#define unchanged(p, w) 1
#else
#define unchanged(p, w) (word[(p) / 2] == w)
#endif

/* Locals that are dead, so that states don't differ by them */
inline rest()
{
	p = 0;
	q = 0;
	w = 0;
	size = 0;
	got = 0
}

/* A block is the program's. Who is about to free it once more may do so. */
inline handed_out()
{
	own(p, LEN(word[p / 2]), PROGRAM);
	assert(!live[p / 2]);
	live[p / 2] = 1;
	over = over || busy[p / 2];
	w = 0;
	p = 0
}

/* extent_change: is it still what the stock `q` has? Then its state is `to`. */
#if bug(STATE_ONLY)
#define is_kept(w) (STATE(w) == KEPT)
#else
#define is_kept(w) (w == WORD(q >> 4, p % 2, KEPT))
#endif
#define extent_change(to, then) \
	w = word[p / 2]; \
	if \
	:: !is_kept(w) \
	:: is_kept(w) -> \
		if \
		:: d_step { \
			word[p / 2] == w -> \
			word[p / 2] = w ^ KEPT ^ to; \
			got = 1; \
			then \
		} \
		:: word[p / 2] != w \
		fi \
	fi

inline extent_drop()
{
	p = AT_LINE(q);
	extent_change(AWAY, skip);
	if
	:: d_step { got -> extent_release(p, q >> 4); rest() }
	:: d_step { !got -> rest() }
	fi
}

#define obtain_in(e, want) \
	:: d_step { \
		fits(e, want) -> \
		p = 2 * e + AT(word[e]); \
		extent_take(e, p, want, USED); \
		dirty_inside(p, n, 1); \
		k = (b -> PAGES : (p + 1) / 2); \
		do \
		:: 2 * k + 2 <= p + n -> assert(!old[k]); k++ \
		:: else -> break \
		od; \
		extent_soil(p, n); \
		check(); \
		handed_out() \
	}

inline heap_extent(want)
{
	if
	:: d_step {
		stock[h] >> 4 == want ->
		q = stock[h];
		p = AT_LINE(q)
	};
		stock[h] = 0;
#if bug(TAKE_STORES)
		d_step {
			word[p / 2] = word[p / 2] & ~1;
			got = 1;
			handed_out()
		};
#else
		extent_change(USED, handed_out());
#endif
	:: else
	fi;
	if
	:: d_step { got -> rest() }
	:: d_step { !got -> rest() } ->
		if
		ANY(obtain_in, want)
		:: else
		fi
	fi
}


/*
 * In use no more, and the caller's alone; or there is a report. Its page was in
 * use by nobody else meanwhile: a stale pointer to a block that is handed out
 * again is as good as any.
 */
#define extent_claim(state, then) \
	if \
	:: d_step { !extent_live(word[p / 2], p) -> over = 1 } \
	:: d_step { extent_live(word[p / 2], p) -> w = word[p / 2] }; \
		if \
		:: d_step { \
			unchanged(p, w) -> \
			word[p / 2] = w ^ USED ^ state; \
			assert(over || live[p / 2]); \
			then \
		} \
		:: d_step { !unchanged(p, w) -> over = 1 } \
		fi \
	fi

inline given_up()
{
	live[p / 2] = 0;
	busy[p / 2] = 0;
	own(p, LEN(w), NOBODY)
}

inline free()
{
	extent_claim(KEPT, given_up());
	q = stock[h];
	d_step { stock[h] = STOCKED(p, LEN(w)); p = 0; w = 0 };
	if
	:: q -> extent_drop()
	:: else
	fi
}

inline resized(want)
{
	w = word[p / 2];
	extent_grab(p + LEN(w));
	size = want;
	n = n + LEN(w);
	size = (size > n -> LEN(w) : size);
	size = (n - size < 2 - bug(SHORT_TAIL) -> n : size);
	word[p / 2] = WORD(size, p % 2, USED);
	if
	:: n > size ->
		word[(p + size) / 2] = WORD(n - size, (p + size) % 2, FREE)
	:: else
	fi;
	if
	:: bug(NO_SOIL)
	:: else -> extent_soil(p, size)
	fi;
	if
	:: live[p / 2] ->
		busy[p / 2] = 0;
		own(p, LEN(w), NOBODY);
		own(p, size, PROGRAM)
	:: else
	fi;
	check();
	p = 0;
	w = 0;
	size = 0
}

inline extent_resize(want)
{
#if !bug(NO_CLAIM)
	extent_claim((bug(RESIZE_KEEPS) -> KEPT : AWAY), skip);
#endif
	if
	:: d_step { !over -> resized(want) }
	:: over
	fi
}

inline stock_empty()
{
	q = stock[h];
	stock[h] = 0;
	if
	:: q -> extent_drop()
	:: else
	fi
}

/* From here on a pointer into it is not taken for one to an extent. */
inline unit_return()
{
	slab[u / 2] = 0;
	d_step {
		own(u, UNIT, NOBODY);
		if
		:: PURGE && !bug(UNIT_CLEAN) ->
			dirty[u / 2] = 1;
			dirty[u / 2 + 1] = 1
		:: else
		fi;
		extent_release(u, UNIT);
		has_unit = 0;
		u = 0
	}
}

/* -- the threads */

#define obtain_unit(e, y) \
	:: d_step { \
		!over && !has_unit && unit_fits(e) -> \
		u = UNIT_AT(e); \
		extent_take(e, u, UNIT, (bug(UNIT_USED) -> USED : AWAY)); \
		own(u, UNIT, SLAB); \
		check(); \
		has_unit = 1 \
	} -> \
		slab[u / 2] = 1
#define free_any(e, y) \
	:: d_step { \
		!over && live[e] && !busy[e] -> \
		busy[e] = 1; \
		p = 2 * e + AT(word[e]) \
	} -> \
		free()
#define free_stale(e, at) \
	:: d_step { \
		!over && stale && !slab[e] && (!live[e] || busy[e] || \
					       at != AT(word[e])) -> \
		stale--; \
		busy[e] = 1; \
		p = 2 * e + at \
	} -> \
		free()
#define resize_any(e, want) \
	:: d_step { \
		!over && live[e] && !busy[e] && LEN(word[e]) != want -> \
		busy[e] = 1; \
		p = 2 * e + AT(word[e]) \
	} -> \
		extent_resize(want)

/* What a fork may lose: one extent of each thread, on its way. */
#define LOST(e) \
	(word[e] && STATE(word[e]) != FREE && (!live[e] || busy[e]) && \
	 !slab[e] && !kept(stock[0], e) && !kept(stock[1], e))
#define kept(s, e) (s && AT_LINE(s) / 2 == e)
#define lost_in(e, y) + LOST(e)

proctype thread() provided (handling != _pid && (!forked || _pid == 1))
{
	byte h, p, q, w, size, u;
	bool has, got, has_unit;

end:	do
	:: d_step {
		!over && !has && parked[0] && (!HANDLER || _pid == 1) ->
		parked[0] = 0;
		has = 1
	}
	:: d_step {
		!over && !has && parked[1] && (!HANDLER || _pid == 2) ->
		parked[1] = 0;
		h = 1;
		has = 1
	}
#if !HANDLER
	:: d_step { has -> parked[h] = 1; h = 0; has = 0 }
#endif
	:: has && !over -> heap_extent(2)
	:: has && !over -> heap_extent(3)
	:: has && !over && stock[h] -> stock_empty()
	ANY(resize_any, 2)
	ANY(resize_any, 3)
	:: has && !over ->
		if
		ANY(free_any, 0)
		ANY(free_stale, 0)
		ANY(free_stale, 1)
		:: else
		fi
	ANY(obtain_unit, 0)
	:: has_unit && !over -> unit_return()
#if VANISH
	:: d_step {
		_pid == 1 && !forked && !has && !has_unit ->
		forked = 1;
		parked[0] = 1;
		parked[1] = 1;
		assert((0 ANY(lost_in, 0)) <= 2)
	}
#endif
	od
}

/* victim_extent: the dirty page `at`, or all from the start; to the end or not */
inline victim(e)
{
	i = 2 * e + AT(word[e]);
	k = (i + 1) / 2;
	do
	:: !dirty[k] -> k++
	:: else -> break
	od;
	at = (2 * k < i + 2 -> i : 2 * k);
	n = i + LEN(word[e]) - at
}
#define victim_in(e, part) \
	:: d_step { \
		!over && STATE(word[e]) == FREE -> \
		dirty_inside(2 * e + AT(word[e]), LEN(word[e]), 1); \
		if \
		:: b -> \
			victim(e); \
			n = (part && n > 3 -> 3 : n); \
			extent_take(e, at, n, (bug(VICTIM_FREE) -> FREE : (bug(VICTIM_KEPT) -> KEPT : AWAY))); \
			size = n; \
			check() \
		:: else \
		fi \
	}

/* cache_unlock */
proctype purger() provided (!forked)
{
	byte at, size;
	bool done;

end:	do
	:: if
		ANY(victim_in, 0)
		ANY(victim_in, 1)
		fi;
		if
		:: size ->
			if
			:: d_step {
				k = (at + !bug(OUTWARD)) / 2;
				do
				:: 2 * k + 2 * !bug(OUTWARD) <= at + size -
				   bug(OUTWARD) ->
					assert(over || !whose[2 * k]);
					assert(over || !whose[2 * k + 1]);
					old[k] = 0;
					k++
				:: else -> break
				od;
				done = 1
			}
			:: done = bug(NOT_DONE) /* the kernel refuses */
			fi;
			d_step {
				dirty_inside(at, size, !done);
				extent_release(at, size);
				at = 0;
				size = 0;
				done = 0
			}
		:: else
		fi
	od
}

/* It is called while thread 1 is anywhere but under the lock. */
proctype handler() provided (handling)
{
	byte h, p, q, w, size;
	bool got;

	heap_extent(2);
	if
	ANY(free_any, 0)
	:: true
	fi;
	handling = 0
}

init
{
	d_step { word[0] = WORD(LINES, 0, FREE); parked[0] = 1; parked[1] = 1 };
	atomic {
		run thread();
#if THREADS > 1
		run thread();
#endif
#if PURGE
		run purger();
#endif
#if HANDLER
		run handler()
#endif
	};
#if HANDLER
	handling = 1
#endif
}
