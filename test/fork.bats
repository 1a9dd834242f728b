#!/usr/bin/env bats
# Forks beside what waits for them, and calls of malloc that come while their
# own thread is inside another (fork.c)
#
# test/run: early

load lib

LIMIT=60

setup_file()
{
	cc_test fork
	cc_once build/test/first.so test/fork.c -DEARLY -O1 -g -fno-builtin \
		-pthread -shared -fPIC
}

# well SETTING PRELOAD CASE - ends well, without a word
well()
{
	run deadline "$LIMIT" env "$1" LD_PRELOAD="$2" build/test/fork "$3"
	echo "$1 $2: $status $output"
	[ "$status" -ne 77 ] || skip "$output"
	[ "$status" -eq 0 ]
	[ -z "$output" ]
}

# levels CASE [PRELOAD] - at each level of ALLOC_CHECK, and without a cache
levels()
{
	local setting
	for setting in ALLOC_CHECK=1 ALLOC_CHECK=2 ALLOC_CHECK=3 \
		ALLOC_THRESH=0 ALLOC_DIRECT=1; do
		well "$setting" "${2:-$ALLOC_SO}" "$1"
	done
}

# first CASE - beside a library whose constructor ran before ours, or after it;
# what the plain command builds does not know how to be the first
first()
{
	local so first=$PWD/build/test/first.so
	levels "$1" "$ALLOC_SO $first"
	for so in "$ALLOC_SO" build/plain.so; do
		[ -f "$so" ] || continue
		so=$(realpath "$so")
		well ALLOC_CHECK=1 "$first $so" "$1"
		well ALLOC_CHECK=1 "$so $first" "$1"
	done
}

@test "fork: every case of fork.c is run below" {
	local name
	for name in $(build/test/fork list); do
		grep -Eq "(levels|first|fork) \"?$name( |\"|\$)" \
			"$BATS_TEST_FILENAME" ||
			{ echo "fork $name is not run"; false; }
	done
}

@test "fork: other handlers take mutexes that allocating threads hold" {
	first mutexes
}

@test "fork: other handlers end a thread that allocates, and start one" {
	first workers
}

@test "fork: other handlers allocate and fork" {
	first handlers_fork
}

@test "fork: beside threads in getline and in fflush of all files" {
	levels stdio
}

@test "fork: by 16 threads at once" {
	levels crowd
}

@test "fork: in a signal handler, amid a fork" {
	levels nested
}

@test "fork: in signal handlers of three threads at once, amid malloc" {
	levels two_handlers
}

@test "handler: malloc amid malloc is served, and its blocks freed anywhere" {
	levels handler
}

@test "handler: the same beside threads that fork" {
	levels handler_forks
}

@test "handler: of the report of a misuse, which allocates and forks" {
	levels crash_report
}

@test "fork: a child of a child takes over what two threads had" {
	levels grandchild
}

@test "handler: of a fault under a lock, which allocates and forks" {
	levels crash_fault
}

# Processor time counts; the least of five, in turns
@test "fork: handlers that lock, join and allocate cost what glibc's do" {
	level_1
	local so cost glibc=999999 ours=999999
	for _ in {1..5}; do
		for so in "" "$ALLOC_SO"; do
			run deadline 60 env LD_PRELOAD="$so" \
				build/test/fork price 500
			[ "$status" -eq 0 ]
			cost=${output%% *}
			if [ -z "$so" ]; then
				glibc=$((cost < glibc ? cost : glibc))
			else
				ours=$((cost < ours ? cost : ours))
			fi
		done
	done
	echo "microseconds a fork: $glibc with glibc, $ours"
	[ "$ours" -le $((glibc * 5 / 4)) ]
}

@test "debugger: malloc is called in a process that is inside malloc" {
	levels debugger
}
