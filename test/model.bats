#!/usr/bin/env bats
# Models of what threads do to each other (test/model), tried out by spin in
# all interleavings; FULL=1 runs the large ones, which take up to 2 GB each

load lib

[ -z "${FULL:-}" ] || export BATS_TEST_TIMEOUT=3000
# Steps of the longest run, 2^n slots for states; small models are compiled for
# longer than they run
DEPTH=1000000 SLOTS=22 OPT=-O0

setup()
{
	need spin gcc
}

# Makes the program that searches, in a directory of its own, and runs it
search() # MODEL SPIN-FLAGS...
{
	local name=$1
	shift
	dir=build/model/$name.$BATS_TEST_NUMBER
	rm -rf "$dir"
	mkdir -p "$dir"
	(
		cd "$dir"
		spin "$@" -a "$ROOT/test/model/$name.pml" &&
			gcc "$OPT" -w -DSAFETY -DCOLLAPSE -DMEMLIM=2000 \
				pan.c -o pan &&
			./pan "-m$DEPTH" "-w$SLOTS"
	) >"$dir/out" 2>&1 || true
}

# Nothing is found, and nothing was left out.
holds() # MODEL SPIN-FLAGS...
{
	search "$@"
	if ! grep -q ', errors: 0$' "$dir/out" ||
		grep -Eiq '^error|not completed|too small|out of|MEMLIM' \
			"$dir/out"; then
		cat "$dir/out"
		return 1
	fi
	echo "# $*: $(awk '/states, stored/ { print $1 }' "$dir/out")" \
		"states" >&3
	rm -rf "$dir"
}

# NAME of a mistake in the model is found, by an error that spin tells
found() # MODEL NAME SPIN-FLAGS...
{
	DEPTH=500000 SLOTS=18 search "$1" "-DBUG=$2" "${@:3}"
	if ! grep -Eq '^pan:1: (assertion violated|invalid end state)' \
		"$dir/out"; then
		echo "$2 was not found:"
		cat "$dir/out"
		return 1
	fi
	echo "$2: $(sed -n 's/^pan:1: //p' "$dir/out")"
	rm -rf "$dir"
}

# They are defined between BUG and bug().
mistakes() # MODEL
{
	awk '/^#define bug/ { exit }
		on && $1 == "#define" { print $2 }
		/^#define BUG/ { on = 1 }' "test/model/$1.pml"
}

@test "model: every mistake in the models is tried below" {
	local model name tried=0
	for model in remote fork misuse extent adopt; do
		while read -r name; do
			grep -Eq "found $model $name( |\$)" \
				"$BATS_TEST_FILENAME" ||
				{ echo "$model: $name is not tried"; false; }
			tried=$((tried + 1))
		done < <(mistakes $model)
	done
	[ $tried -ge 80 ]
}

@test "model: remote frees, one slab, step by step" {
	holds remote
}

@test "model: remote frees, one slab of three blocks" {
	holds remote -DWHOLE=1 -DCAP=3
}

@test "model: remote frees, the same that sleeps longer, one thread more" {
	holds remote -DWHOLE=1 -DCAP=3 -DWAKE=2 -DTHREADS=2
}

@test "model: remote frees, the same that are looked at when sparse" {
	holds remote -DWHOLE=1 -DCAP=3 -DFEW=1 -DTHREADS=2
}

@test "model: remote frees, two slabs" {
	OPT=-O1
	holds remote -DWHOLE=1 -DSLABS=2
}

@test "model: remote frees, as large as it goes" {
	[ -n "${FULL:-}" ] || skip "FULL=1 runs it"
	DEPTH=5000000 SLOTS=25 OPT=-O2
	holds misuse -DCAP=3
	holds remote -DEMPTIED_MAX=0
	holds remote -DTHREADS=2
	holds remote -DCAP=3 -DWAKE=2
	holds remote -DCAP=3 -DFEW=1
	holds remote -DSLABS=2 -DTHREADS=0
	holds remote -DWHOLE=1 -DTHREADS=2 -DCAP=3
	holds remote -DWHOLE=1 -DSLABS=2 -DTHREADS=0 -DCAP=3
	holds remote -DWHOLE=1 -DSLABS=2 -DTHREADS=0 -DCAP=3 -DWAKE=2
	holds remote -DWHOLE=1 -DSLABS=2 -DTHREADS=2
}

@test "model: blocks that are freed again, beside batches and purges" {
	holds misuse
	OPT=-O1
	holds misuse -DAGAIN=2
}

@test "model: mistakes in the checks of level 1 are found" {
	found misuse BLIND_LINK
	found misuse LOOK_FIRST
	found misuse COUNT_PROVES
	found misuse NO_SEAL
	found misuse EARLY_ALLOW
	found misuse KEEP_TAG
	found misuse NO_LOOK
	found misuse NO_MARK
	found misuse KEEP_MARK
}

@test "model: mistakes beside a purge are found" {
	found remote NO_WAIT
	found remote NOT_LEFT
	found remote NOT_TOLD
	found remote ALWAYS_LEFT
	found remote STAYS_ACTIVE
	found remote NO_HEED
}

@test "model: mistakes of slab.c are found" {
	found remote NO_ZOMBIE
	found remote NO_REMOVE -DSLABS=2
	found remote LIST_ONLY -DCAP=3 -DWHOLE=1
	found remote FULL_TRIGGER -DCAP=3 -DWAKE=2 -DWHOLE=1
}

@test "model: mistakes of remote.c are found, on the side that frees" {
	found remote NO_NOTE
	found remote LATE_NOTE -DSLABS=2
	found remote BARE_PURGE
	found remote STORE_PURGED
	found remote LATE_TOUCH
}

@test "model: mistakes of remote.c are found, in adopting and taking" {
	found remote ADOPT_PARKS
	found remote ADOPT_CLEARS
	found remote NO_RESTORE
	found remote NO_PURGED
	found remote STORE_PARKED
}

@test "model: mistakes of remote.c are found, in draining" {
	found remote NO_REARM
	found remote LATE_REARM
	found remote DRAIN_STORES -DSLABS=2 -DTHREADS=0 -DWHOLE=1
	found remote LATE_NEXT -DSLABS=2
	found remote NOT_NOTED
	found remote OLD_TRIGGER -DCAP=3 -DWHOLE=1
}

@test "model: mistakes of heap.c and thread.c are found" {
	found remote NO_FLUSH
	found remote NO_LOCK
	found remote EMPTY_LIST
}

@test "model: fork, beside threads that publish" {
	holds fork
}

@test "model: mistakes of fork and its other side are found" {
	found fork NO_BUSY
	found fork LATE_BUSY
	found fork NO_PATIENCE
	found fork LATE_FORKS
	found fork NO_WAITS
	found fork NO_PAUSE
	found fork HELD_PAUSE
	found fork NO_RESUME
	found fork LATE_DONE
	found fork EARLY_LEAVE
}

@test "model: the words of extents, two threads" {
	holds extent -DPAGES=3 -DVANISH=1
	holds extent
}

@test "model: extents that are given back, beside a handler that allocates" {
	holds extent -DTHREADS=1 -DPURGE=1 -DHANDLER=1
}

@test "model: extents, a stale pointer; and two threads and a handler" {
	OPT=-O1
	holds extent -DPAGES=3 -DTHREADS=1 -DSTALE=2
	holds extent -DPAGES=3 -DHANDLER=1
}

@test "model: extents, as large as it goes" {
	[ -n "${FULL:-}" ] || skip "FULL=1 runs it"
	DEPTH=5000000 SLOTS=25 OPT=-O2
	holds extent -DPAGES=3 -DSTALE=1
	holds extent -DPAGES=3 -DSTALE=1 -DVANISH=1
	holds extent -DPAGES=3 -DPURGE=1
}

@test "model: mistakes of pages.c are found" {
	found extent CLAIM_STORES -DPAGES=3 -DSTALE=1
	found extent CLAIM_STATE -DPAGES=3 -DSTALE=1
	found extent NO_OFFSET -DPAGES=3 -DSTALE=1
	found extent NO_CLAIM -DPAGES=3 -DSTALE=1
	found extent TAKE_STORES -DPAGES=3 -DTHREADS=1 -DHANDLER=1
	found extent STATE_ONLY -DPAGES=3 -DHANDLER=1
	found extent RESIZE_KEEPS -DPAGES=3 -DHANDLER=1
	found extent SHORT_TAIL -DPAGES=3 -DTHREADS=1
	found extent NO_SOIL -DTHREADS=1 -DPURGE=1
}

@test "model: mistakes of extent.c and chunk.c are found" {
	found extent GRAB_KEPT -DPAGES=3 -DTHREADS=1
	found extent NO_MERGE -DPAGES=3 -DTHREADS=1
	found extent SHORT_REST -DPAGES=3 -DTHREADS=1
	found extent VICTIM_FREE -DTHREADS=1 -DPURGE=1
	found extent VICTIM_KEPT -DTHREADS=1 -DPURGE=1 -DHANDLER=1
	found extent OUTWARD -DTHREADS=1 -DPURGE=1
	found extent NOT_DONE -DTHREADS=1 -DPURGE=1
	found extent SOIL_INSIDE -DTHREADS=1 -DPURGE=1
	found extent UNIT_USED -DPAGES=3 -DSTALE=1
	found extent UNIT_CLEAN -DTHREADS=1 -DPURGE=1
}

@test "model: a child adopts what vanished threads left" {
	holds adopt -DCAP=2
	OPT=-O1
	holds adopt
}

@test "model: mistakes of parked.c are found" {
	found adopt SELF_LINKED -DCAP=2
	found adopt NO_SEALS -DCAP=2
	found adopt NO_PENDING -DCAP=2
	found adopt TAKE_ALL -DCAP=2
	found adopt KEEP_WORD -DCAP=2
	found adopt NOT_ARMED -DCAP=2
	found adopt TRUST_LISTS -DCAP=2
	found adopt EARLY_FOUND -DCAP=2
}

@test "model: mistakes of frees to heaps that were left are found" {
	found adopt LINK_NULL -DCAP=2
	found adopt LINK_LATE -DCAP=2
	found adopt NO_LOCK -DCAP=2
	found adopt SEND_ALONE -DCAP=2
	found adopt KEEP_MARK -DCAP=2
	found adopt KEEP_BATCH -DCAP=2
}
