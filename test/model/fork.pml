/*
 * fork.pml - fork beside threads that publish, as src/{os,remote,thread}.c
 * have it, for spin.
 *
 * One thread forks; one sends batches, one that has exited frees alone, one
 * allocates, one takes a census. A signal may come to any one of the last
 * four, wherever it stands: its handler forks. (Two that hold a lock each
 * would wait for one another.) While memory is copied nobody may publish, and
 * nobody may wait for ever. As in remote.pml a step is an atomic operation.
 */
#ifndef BUG
#define BUG 0		/* one of these, to see that it is found */
#endif
#define NO_BUSY 1	/* remote_send doesn't say that it publishes */
#define LATE_BUSY 2	/* remote_send looks at `forking`, then says so */
#define NO_PAUSE 3	/* lock_wait leaves it busy */
#define LATE_FORKING 4	/* fork_prepare waits, then sets `forking` */
#define LATE_DONE 5	/* fork_done drops the locks, then clears it */
#define NO_LOCK 6	/* remote_free_alone without the lock */
#define NOT_MINE 7	/* fork_prepare takes locks that are its own */
#define DROP_ALL 8	/* fork_done drops what it did not take */
#define WAIT_HOLDING 9	/* lock_both waits for one lock with the other */
#define EARLY_HAD 10	/* fork_prepare notes what it had before it waits */
#define bug(name) (BUG == name)

#define HEAPS 0
#define OS 1
byte held[2];		/* by whom */
bool forking;
bool busy;		/* of the sender's heap; the others never are */
bool had_heaps, had_os; /* the static ones */

/* For the proof */
bool copying;
bool signalled;

#define me _pid
#define SENDER 2
#define mine(l) (held[l] == me)

/*
 * What is the caller's own already is waited for until the end of the run. Who
 * has to wait is not busy meanwhile: that may be a handler, amid a publication.
 */
inline lock_take(l)
{
	if
	:: d_step { !held[l] -> held[l] = me }
	:: held[l] && me == SENDER && busy ->
		busy = bug(NO_PAUSE);
		d_step { !held[l] -> held[l] = me };
		busy = 1
	fi
}

/* Inside fork the locks stay; no other thread has any then. */
inline lock_drop(l)
{
	if
	:: forking
	:: !forking -> d_step { assert(mine(l)); held[l] = 0 }
	fi
}

/* Both; one is not waited for with the other, which a handler may have. */
inline lock_both()
{
	l = HEAPS;
	do
	:: lock_take(l);
		if
		:: d_step { !held[1 - l] -> held[1 - l] = me } -> break
		:: held[1 - l] && !bug(WAIT_HOLDING) ->
			lock_drop(l);
			l = 1 - l
		fi
	od;
	l = HEAPS
}

/* `self` is whether the caller sends: it doesn't wait for itself. */
inline fork_wait(self)
{
	self || !busy
}

inline fork_prepare(self)
{
	d_step { h = mine(HEAPS); o = mine(OS) };
#if bug(EARLY_HAD)
	had_heaps = h;
	had_os = o;
#endif
	if
	:: bug(NOT_MINE) || !h && !o -> lock_both()
	:: !bug(NOT_MINE) && !h && o -> lock_take(HEAPS)
	:: !bug(NOT_MINE) && h && !o -> lock_take(OS)
	:: !bug(NOT_MINE) && h && o
	fi;
#if !bug(EARLY_HAD)
	had_heaps = h;
	had_os = o;
#endif
#if bug(LATE_FORKING)
	fork_wait(self);
	forking = 1
#else
	forking = 1;
	fork_wait(self)
#endif
}

inline fork_done()
{
#if !bug(LATE_DONE)
	forking = 0;
#endif
	if
	:: !had_os || bug(DROP_ALL) -> lock_drop(OS)
	:: else
	fi;
	if
	:: !had_heaps || bug(DROP_ALL) -> lock_drop(HEAPS)
	:: else
	fi;
#if bug(LATE_DONE)
	forking = 0;
#endif
	h = 0;
	o = 0
}

inline fork(self)
{
	fork_prepare(self);
	d_step { assert(mine(HEAPS) && mine(OS) && !copying); copying = 1 };
	copying = 0;
	fork_done()
}

/* One signal at a time */
inline interrupted(self)
{
	if
	:: d_step { !signalled -> signalled = 1 } ->
		fork(self);
		signalled = 0
	:: true
	fi
}

/* Links, then the cas: not while somebody copies them. */
inline publish(self)
{
	assert(!copying);
	interrupted(self);
	assert(!copying)
}

#define FORKS bool h, o; bit l

proctype forker()
{
	FORKS;

	do
	:: fork(0)
	:: break
	od
}

/* remote_send */
proctype sender()
{
	FORKS;

	do
	:: do
#if bug(LATE_BUSY)
		:: !forking -> busy = 1; break
		:: forking ->
			lock_take(HEAPS);
			lock_drop(HEAPS)
#else
		:: busy = !bug(NO_BUSY);
			interrupted(1);
			if
			:: !forking -> break
			:: forking ->
				lock_take(HEAPS);
				interrupted(1);
				lock_drop(HEAPS)
			fi
#endif
		od;
		publish(1);
		busy = 0
	:: break
	od
}

/* remote_free_alone */
proctype exited()
{
	FORKS;

	do
	::
#if bug(NO_LOCK)
		publish(0)
#else
		lock_take(HEAPS);
		publish(0);
		lock_drop(HEAPS)
#endif
	:: break
	od
}

/* units_take and others */
proctype allocates()
{
	FORKS;

	do
	:: lock_take(OS);
		interrupted(0);
		lock_drop(OS)
	:: break
	od
}

/* take_census */
proctype counts()
{
	FORKS;

	do
	:: lock_both();
		interrupted(0);
		lock_drop(OS);
		lock_drop(HEAPS)
	:: break
	od
}

init
{
	atomic {
		run forker();
		run sender();
		run exited();
		run allocates();
		run counts()
	}
}
