/*
 * heap.pml - a part of remote.pml: what the thread does that has the heap.
 *
 * All variables of the heap that nobody else may touch are local here, so they
 * need no proof of that; who has the heap changes by `user` alone.
 */

/* -- slab.c */

inline partial_add(s, others)
{
	state[s] = PARTIAL;
	trigger[s] = CAP - (bug(FULL_TRIGGER) -> 0 :
			    (others > FEW -> others : FEW));
	before[s] = 0;
	after[s] = partial;
	before[partial] = s;	/* [0] is nobody's */
	before[0] = 0;
	partial = s
}

inline partial_remove(s)
{
	assert(before[s] || partial == s);
	partial = (before[s] -> partial : after[s]);
	after[before[s]] = after[s];
	before[after[s]] = before[s];
	after[s] = 0;
	before[s] = 0;
	after[0] = 0;
	before[0] = 0
}

inline slab_sleep(s)
{
	state[s] = FULL;
	trigger[s] = WAKE
}

/*
 * remote_swap, and what its caller does at once with the old word, `w`; if that
 * is PURGING, `let_be`.
 */
#define busy(s) ((remote[s] & PURGING) && !bug(NO_WAIT))
#define leave(s, told, let_be) \
	remote[s] = remote[s] | (bug(NOT_LEFT) -> 0 : told); \
	w = 0; \
	let_be
#if WHOLE
#define remote_swap(s, word, told, then, let_be) \
	if \
	:: d_step { \
		!busy(s) -> \
		touch(s); \
		w = remote[s]; \
		remote[s] = word; \
		then \
	} \
	:: d_step { busy(s) -> touch(s); leave(s, told, let_be) } \
	fi
#else
#define remote_swap(s, word, told, then, let_be) \
	do \
	:: d_step { touch(s); w = remote[s] } -> \
		if \
		:: d_step { \
			remote[s] == w && !busy(s) -> \
			remote[s] = word; \
			then \
		} -> \
			break \
		:: d_step { \
			remote[s] == w && busy(s) -> \
			leave(s, told, let_be) \
		} -> \
			break \
		:: remote[s] != w \
		fi \
	od
#endif

inline slab_verify(s)
{
	assert(nfree[s] + COUNT(w) == carved[s]);
	move(list[s], nfree[s], s, LIST, RAW);
	if
	:: PURGED(w) -> move_all(s, REMOTE, RAW)
	:: else -> move(HEAD(w), COUNT(w), s, REMOTE, RAW)
	fi;
	move_all(s, RAW, RAW);
	list[s] = 0;
	nfree[s] = 0
}

/* Nothing may lead to it any more. */
inline units_free(s)
{
	assert(used[s] && noted[s] == NONE);
	assert(partial != s && !after[s] && !before[s]);
	used[s] = 0;
	state[s] = FREE;
	carved[s] = 0;
	trigger[s] = 0;
	remote[s] = 0;
	note[s] = 0;
	armed[s] = 0
}

inline released(s, with_note)
{
	news[s] = 0;
	if
	:: state[s] != ZOMBIE -> slab_verify(s)
	:: else
	fi;
	if
	:: state[s] == PARTIAL && !bug(NO_REMOVE) -> partial_remove(s)
	:: else
	fi;
	if
	:: with_note || state[s] == ACTIVE || (w & PARKED) ||
	   bug(NO_ZOMBIE) -> units_free(s)
	:: else -> state[s] = ZOMBIE
	fi;
	w = 0
}

/* A note will come. */
inline not_released(s)
{
	if
	:: state[s] == ACTIVE && !bug(STAYS_ACTIVE) ->
		slab_sleep(s);
		armed[s] = 1
	:: else
	fi;
	awake(s)
}

#define slab_release(s, with_note) \
	remote_swap(s, 0, PARKED, released(s, with_note), not_released(s))

inline slab_event(s)
{
	if
	:: nfree[s] < trigger[s]
	:: else ->
		d_step {
			touch(s);
			assert(state[s] == FULL || state[s] == PARTIAL);
			o = (bug(LIST_ONLY) -> 0 : COUNT(remote[s]))
		};
		if
		:: nfree[s] + o >= CAP -> slab_release(s, false)
		:: else ->
			if
			:: state[s] == FULL -> d_step { partial_add(s, o) }
			:: else -> trigger[s] = CAP - o /* and mag_spill */
			fi
		fi;
		o = 0
	fi
}

/* slab_put, up to its event */
inline slab_link(b, from)
{
	touch(SLAB(b));
	assert(where[b] == from);
	where[b] = LIST;
	link[b] = list[SLAB(b)];
	list[SLAB(b)] = b;
	nfree[SLAB(b)]++
}

/* -- remote.c */

inline adopted(s)
{
	touch(s);
	assert(!list[s] && !nfree[s]);
	remote[s] = (bug(ADOPT_CLEARS) -> 0 :
		     (bug(ADOPT_PARKS) -> PARKED : w & PARKED));
	list[s] = HEAD(w);
	nfree[s] = COUNT(w);
	news[s] = 0;
	move(list[s], nfree[s], s, REMOTE, LIST);
	awake(s);
	w = 0
}

#if WHOLE
inline remote_adopt(s)
{
	if
	:: d_step { HEAD(remote[s]) -> w = remote[s]; adopted(s) }
	:: d_step { !HEAD(remote[s]) -> touch(s) }
	fi;
	slab_event(s)
}
#else
inline remote_adopt(s)
{
	d_step { touch(s); w = remote[s] };
	do
	:: d_step { HEAD(w) && remote[s] == w -> adopted(s) } -> break
	:: HEAD(w) && remote[s] != w -> w = remote[s] /* the cas failed */
	:: !HEAD(w) -> w = 0; break
	od;
	slab_event(s)
}
#endif

/* The atomic or, and the note has arrived. */
inline rearm(s)
{
	if
	:: state[s] != ZOMBIE ->
		n = COUNT(remote[s]);
		o = remote[s] & PURGING;
		news[s] = news[s] && o;
		remote[s] = remote[s] | (bug(NO_REARM) -> 0 : PARKED)
	:: else
	fi;
	noted[s] = NONE;
	if
	:: state[s] != ZOMBIE -> awake(s)
	:: else
	fi
}

inline drain_slab(s)
{
#if bug(LATE_REARM)
	d_step { n = COUNT(remote[s]); nx = note[s]; news[s] = 0 };
	d_step {
		noted[s] = NONE;
		remote[s] = remote[s] | PARKED;
		awake(s)
	};
#else
	d_step {
		touch(s);
		assert(noted[s] == TAKEN && state[s] != ACTIVE);
		nx = note[s];
		note[s] = (bug(LATE_NEXT) -> nx : 0);
		rearm(s)
	};
#endif
	if
	:: o && !bug(NO_HEED) -> o = 0
	:: (!o || bug(NO_HEED)) &&
	   (state[s] == ZOMBIE || nfree[s] + n >= CAP) ->
		o = 0;
		slab_release(s, !bug(NOT_NOTED))
	:: else ->
		if
		:: !list[s] -> remote_adopt(s)
		:: list[s] && state[s] == PARTIAL ->
			trigger[s] = (bug(OLD_TRIGGER) -> trigger[s] : CAP - n)
		:: list[s] && state[s] == FULL ->
			if
			:: nfree[s] + n >= trigger[s] ->
				d_step { partial_add(s, n) }
			:: else
			fi
		fi
	fi;
	n = 0
#if bug(LATE_NEXT)
	;
	d_step { touch(s); nx = note[s] }
#endif
}

/* The exchange; what was in the inbox is ours now. */
inline inbox_take()
{
	s = inbox;
	i = s;
	do
	:: i ->
		touch(i);
		assert(noted[i] == SENT);
		noted[i] = TAKEN;
		i = note[i]
	:: else -> break
	od;
	inbox = (bug(DRAIN_STORES) -> inbox : 0)
}

inline remote_drain()
{
	if
	:: !inbox
	:: inbox ->
#if !WHOLE
		emptied = 0;
#endif
		d_step { inbox_take() };
#if bug(DRAIN_STORES)
		inbox = 0;
#endif
		do
		:: s -> drain_slab(s); s = nx; nx = 0
		:: else -> break
		od;
		s = 0
	fi
}

/* remote_take: its list becomes the magazine. */
inline taken(s, word)
{
	news[s] = 0;
	armed[s] = (word == PARKED);
	if
	:: !PURGED(w) || bug(NO_PURGED) ->
		mag = HEAD(w);
		stock = COUNT(w);
		move(mag, stock, s, REMOTE, KEPT);
		awake(s);
		w = 0
	:: else
	fi
}

inline not_taken(s, word)
{
	armed[s] = (word == PARKED);
	awake(s)
}

/* The word of a purged slab is put back; `w` says so. */
inline remote_take(s, word)
{
	remote_swap(s, word, (bug(ALWAYS_LEFT) -> PARKED : word),
		    taken(s, word), not_taken(s, word));
	if
	:: w -> remote[s] = (bug(NO_RESTORE) -> word : w)
	:: else
	fi
}

/* -- heap.c */

inline heap_pop()
{
	k = mag;
	assert(where[k] == KEPT);
	where[k] = LIVE;
	mag = link[k];
	link[k] = 0;
	stock--
}

inline heap_push(b)
{
	touch(SLAB(b));
	where[b] = KEPT;
	link[b] = mag;
	mag = b;
	stock++
}

inline take_list(s)
{
	touch(s);
	mag = list[s];
	stock = nfree[s];
	move(mag, stock, s, LIST, KEPT);
	list[s] = 0;
	nfree[s] = 0
}

/* What refill_freed does after its drain; `mag` is what it finds. */
inline refill_freed()
{
	t = partial;
	if
	:: t ->
		d_step {
			assert(state[t] == PARTIAL && list[t]);
			partial_remove(t);
			slab_sleep(t);
			take_list(t)
		};
		remote_adopt(t)
	:: else ->
		t = carver;
		if
		:: t ->
			remote_take(t, 0);
			w = 0;
			if
			:: mag || carved[t] < CAP
			:: else ->
				d_step { carver = 0; slab_sleep(t) };
#if bug(STORE_PARKED)
				remote_take(t, 0);
				d_step { remote[t] = PARKED; armed[t] = 1 };
#else
				remote_take(t, PARKED);
#endif
				if
				:: w -> slab_release(t, true)
				:: else
				fi
			fi
		:: else
		fi
	fi;
	t = 0
}

/* A page has one block; `mag` stays empty when memory is out. */
inline refill_carve()
{
	if
	:: !carver ->
		k = 1;
		do
		:: k <= SLABS && used[k] -> k++
		:: else -> break
		od;
		if
		:: k <= SLABS -> /* slab_open */
			used[k] = 1;
			state[k] = ACTIVE;
			trigger[k] = CAP + 1;
			carver = k
		:: else
		fi
	:: else
	fi;
	if
	:: carver ->
		assert(carved[carver] < CAP);
		mag = FIRST(carver) + carved[carver];
		carved[carver]++;
		assert(where[mag] == RAW);
		where[mag] = KEPT;
		stock = 1
	:: else
	fi
}

/* -- all that its thread may do */

#define free_own(b) \
	:: d_step { where[b] == LIVE && stock < MAG_MAX -> heap_push(b) } \
	:: d_step { \
		where[b] == LIVE && stock >= MAG_MAX -> \
		slab_link(b, LIVE); \
		t = SLAB(b) \
	}
#define collect(b) \
	if \
	:: where[b] == LIVE -> heap_push(b) \
	:: else \
	fi;

/*
 * The heap, and what the thread does that has it, if there is a `user`. Its
 * `last` deed is to free and give back all.
 */
proctype heap()
{
	byte state[SLABS + 1], list[SLABS + 1], nfree[SLABS + 1];
	byte carved[SLABS + 1], trigger[SLABS + 1];
	byte after[SLABS + 1], before[SLABS + 1];	/* next, prev */
	byte partial, carver, mag, stock;
	byte w, n, o, s, nx, t;
	bool last;

	do
	/* malloc */
	:: d_step { user && !last && mag -> heap_pop() }
	:: d_step {
		user && !last && !mag && carver && list[carver] ->
		take_list(carver);
		heap_pop()
	}
	/* free, or one block of mag_flush */
	:: user ->
		if
		ANY(free_own)
		:: d_step {
			mag ->
			k = mag;
			t = SLAB(k);
			mag = link[k];
			stock--;
			slab_link(k, KEPT)
		}
		:: else
		fi;
		if
		:: t -> slab_event(t); t = 0
		:: else
		fi
	/* thread_exit */
	:: user && !last -> heap_park()
	/* heap_refill, or heap_empty up to its flush */
	:: user && !last ->
		if
		:: last = 1;
			d_step { !locked ANY(at_rest) -> ANY(collect) k = 0 }
		:: true
		fi;
		remote_drain();
		if
		:: d_step { last -> check_quiet() }
		:: !last
		:: !last && !mag && (!carver || !list[carver]) ->
			refill_freed();
			d_step {
				if
				:: !mag -> refill_carve()
				:: else
				fi;
				if
				:: mag -> heap_pop()
				:: else
				fi
			}
		fi
	/* heap_empty after its flush */
	:: user && !mag ->
		t = carver;
		if
		:: d_step {
			t && (nfree[t] + COUNT(remote[t]) == carved[t] ||
			      bug(EMPTY_LIST)) ->
			carver = 0
		} ->
			slab_release(t, false)
		:: else
		fi;
		t = 0;
		if
		:: last -> break
		:: else
		fi
	od;
	skip;
	d_step { check_end() }
}
