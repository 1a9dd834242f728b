/*
 * fork.pml - fork beside threads that are inside, as src/{os,thread}.c have it,
 * for spin.
 *
 * One thread forks, and a handler of its fork waits for another; one publishes,
 * one has a lock, one takes both. A signal may come to any of these three,
 * wherever it stands: its handler forks. (Two that hold a lock each would wait
 * for one another, for some seconds; so would who forks in a handler amid a
 * change, and another fork whose handler waits for him.) While memory is copied nobody may be
 * amid a change, but who is in a fork of his own, and nobody waits for ever. A
 * step is an atomic operation.
 */
#ifndef BUG
#define BUG 0		/* one of these, to see that it is found */
#endif
#define NO_BUSY 1	/* enter() doesn't say that it is inside */
#define LATE_BUSY 2	/* enter() looks at `forks`, then says so */
#define NO_PATIENCE 3	/* enter() waits for a fork, however long */
#define LATE_FORKS 4	/* fork_prepare waits, then counts itself */
#define NO_WAITS 5	/* lock_wait doesn't say what it waits for */
#define NO_PAUSE 6	/* a handler that forks is in the way of others */
#define HELD_PAUSE 7	/* it is not, although it has a lock */
#define NO_RESUME 8	/* what it interrupted goes on while others fork */
#define LATE_DONE 9	/* who was paused is busy after he is no fork */
#define EARLY_LEAVE 10	/* leave() before the lock is dropped */
#define bug(name) (BUG == name)

#define HEAPS 0
#define OS 1
#define THREADS 5
#define SENDER 2
byte held[2];		/* by whom */
byte forks;
byte own[THREADS];
bool busy[THREADS];
bool paused[THREADS];
byte waits[THREADS];	/* for which lock, plus one */

/* For the proof */
bool amid[THREADS];	/* a change that must be seen whole or not at all */
byte copying;
byte signals, holders;
bool frozen[THREADS];	/* in a fork of its own, and until it goes on */
bool wanted, gone;

#define me _pid
#define mine(l) (held[l] == me)
#define holds (mine(HEAPS) || mine(OS))
#define others (forks != own[me])

inline lock_take(l)
{
	if
	:: d_step { !held[l] -> held[l] = me }
	:: held[l] ->
		waits[me] = (bug(NO_WAITS) -> 0 : l + 1);
		d_step { !held[l] -> held[l] = me };
		waits[me] = 0
	fi
}

#define lock_drop(l)	held[l] = 0

/* `in` tells whether it is; with patience, or without. */
inline enter()
{
	in = 0;
	do
	::
#if bug(LATE_BUSY)
		!others;
		busy[me] = 1;
		in = 1;
		break
#else
		busy[me] = !bug(NO_BUSY);
		if
		:: !others -> in = 1; break
		:: others ->
			busy[me] = 0;
			if
			:: !others
#if !bug(NO_PATIENCE)
			:: true -> break
#endif
			fi
		fi
#endif
	od
}

#define leave() busy[me] = 0

#define out_of_the_way(t) \
	(t == me || !busy[t] || (waits[t] && held[waits[t] - 1] == me))

inline fork_wait()
{
	out_of_the_way(1);
	out_of_the_way(2);
	out_of_the_way(3);
	out_of_the_way(4)
}

inline forks_count()
{
	d_step {
		forks++;
		own[me]++;
		frozen[me] = 1;
		if
		:: busy[me] && (!holds || bug(HELD_PAUSE)) &&
		   !bug(NO_PAUSE) ->
			busy[me] = 0;
			paused[me] = 1
		:: else
		fi
	}
}

inline fork_prepare()
{
#if bug(LATE_FORKS)
	fork_wait();
	forks_count()
#else
	forks_count();
	fork_wait()
#endif
}

#define changes(t) (t != me && amid[t] && !frozen[t])

inline copy()
{
	d_step {
		assert(!changes(1) && !changes(2) && !changes(3) &&
		       !changes(4));
		/* For who has a lock a fork of his own is no excuse. */
		assert(!held[HEAPS] || mine(HEAPS) ||
		       (mine(OS) && waits[held[HEAPS]] == OS + 1));
		assert(!held[OS] || mine(OS));
		copying++
	};
	copying--
}

inline fork_parent()
{
#if bug(LATE_DONE)
	d_step { forks--; own[me]-- };
	if
	:: paused[me] -> paused[me] = 0; busy[me] = 1
	:: else
	fi;
	frozen[me] = 0
#else
	d_step {
		forks--;
		own[me]--;
		was = paused[me];
		if
		:: paused[me] -> paused[me] = 0; busy[me] = 1
		:: else
		fi
	};
	do
	:: !was || !others || bug(NO_RESUME) -> break
	:: was && others && !bug(NO_RESUME) ->
		busy[me] = 0;
		!others;
		busy[me] = 1
	od;
	frozen[me] = own[me] > 0;
	was = 0
#endif
}

/* A signal: the handler forks. */
inline interrupted()
{
	if
	:: d_step {
		signals < 2 && (!holds || !holders) ->
			signals++;
			h = holds;
			holders = holders + h
	   } ->
		fork_prepare();
		copy();
		fork_parent();
		d_step {
			signals--;
			holders = holders - h;
			h = 0
		}
	:: true
	fi
}

inline change()
{
	d_step { assert(!copying); amid[me] = 1 };
	interrupted();
	d_step { assert(!copying); amid[me] = 0 }
}

#define CALLS bool in, was, h

/* A handler of its fork waits until another has done something. */
proctype forker()
{
	bool was;

	do
	:: fork_prepare();
		if
		:: wanted = 1;
			(!wanted || gone || (frozen[SENDER] && !own[SENDER]))
		:: true
		fi;
		copy();
		fork_parent()
	:: break
	od
}

/* Publishes: no lock, and links before the word that leads to them. */
proctype sender()
{
	CALLS;

	do
	:: enter();
		if
		:: in ->
			interrupted();
			change();
			leave()
		:: else
		fi;
		wanted = 0
	:: break
	od;
	gone = 1
}

proctype allocates()
{
	CALLS;

	do
	:: enter();
		if
		:: in ->
			lock_take(OS);
			change();
#if bug(EARLY_LEAVE)
			leave();
			lock_drop(OS)
#else
			lock_drop(OS);
			leave()
#endif
		:: else
		fi
	:: break
	od
}

proctype adopts()
{
	CALLS;

	do
	:: enter();
		if
		:: in ->
			lock_take(HEAPS);
			lock_take(OS);
			change();
			lock_drop(OS);
			lock_drop(HEAPS);
			leave()
		:: else
		fi
	:: break
	od
}

init
{
	atomic {
		run forker();
		run sender();
		run allocates();
		run adopts()
	}
}
