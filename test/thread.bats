#!/usr/bin/env bats
# Threads, fork and exit (thread.c); FULL=1 runs the long counts
#
# test/run: alone

load lib

LIMIT=${FULL:+900}
LIMIT=${LIMIT:-60}
[ "$LIMIT" = 60 ] || export BATS_TEST_TIMEOUT=1000

setup_file()
{
	cc_test thread
	cc_once build/test/early.so test/thread.c -DEARLY -O1 -g \
		-fno-builtin -pthread -shared -fPIC
}

thread() # CASE [ARGUMENT...]
{
	pre build/test/thread "$@"
}

@test "thread: every case of thread.c is run below" {
	local name
	for name in $(build/test/thread list); do
		grep -Eq "(thread|levels) $name( |\$)" "$BATS_TEST_FILENAME" ||
			{ echo "thread $name is not run"; false; }
	done
}

@test "thread: those that come and go share heaps, beside malloc_trim" {
	thread heaps_stay
}

# levels CASE - ends well at each level of ALLOC_CHECK; 77: it can't run here
levels()
{
	local level
	for level in 1 2 3; do
		ALLOC_CHECK=$level run thread "$1"
		echo "ALLOC_CHECK=$level: $output"
		[ "$status" -ne 77 ] || skip "$output"
		[ "$status" -eq 0 ]
	done
}

@test "thread: heaps of those whose first call comes late at their end" {
	levels late_heaps
}

@test "thread: children by vfork and clone keep their threads' heaps" {
	levels unknown_children
}

@test "thread: the heap of the main thread is used again" {
	levels main_heap
}

@test "thread: a real-time thread never waits in a loop for a normal one" {
	levels real_time
}

@test "fork: from a real-time thread, beside one that sends blocks home" {
	levels real_time_fork
}

@test "fork: from the main thread, beside 8 that allocate" {
	thread forks
}

@test "fork: from 8 threads that allocate" {
	thread forks_in_threads
}

@test "fork: children free the blocks of threads they lack" {
	thread child_frees
}

@test "fork: children of children, by new threads" {
	levels adoption
	ALLOC_THRESH=0 thread adoption
}

@test "fork: a thousand times in a signal handler" {
	thread fork_in_handler
	ALLOC_THRESH=0 thread fork_in_handler
	ALLOC_DIRECT=1 thread fork_in_handler
}

@test "fork: in constructors, beside threads, in either order of loading" {
	local early=$PWD/build/test/early.so
	bare env LD_PRELOAD="$ALLOC_SO $early" build/test/thread early
	bare env LD_PRELOAD="$early $ALLOC_SO" build/test/thread early
}

@test "fork: freed memory past the bound is gone before" {
	thread fork_after_free
	ALLOC_THRESH=65536 thread fork_after_free
}

@test "fork: memory is private" {
	thread private_memory
	ALLOC_DIRECT=1 thread private_memory
}

@test "fork: system() beside threads that allocate" {
	thread spawns
}

@test "exit: while threads are in the middle of malloc" {
	thread exit_while_running
}

@test "thread: create and join for ever" {
	thread churn
	ALLOC_THRESH=0 thread churn
}

@test "thread: blocks outlive their thread and pass through many" {
	level_1
	thread relay
	ALLOC_DIRECT=1 thread relay
}

@test "thread: one allocates, another frees" {
	thread producer_consumer
	ALLOC_THRESH=0 thread producer_consumer
}

@test "thread: four free what any of them allocated" {
	thread n_to_n
}

@test "thread: destructors of thread-specific data allocate" {
	thread late_destructors
	ALLOC_DIRECT=1 thread late_destructors
}

@test "thread: pthread_exit and pthread_cancel" {
	ALLOC_THRESH=8 thread cancellation # what is cached is no leak
}

@test "thread: an idle pool does not sit on its memory" {
	thread idle_pool
	ALLOC_THRESH=0 thread idle_pool
}

@test "thread: blocks freed while their owner sleeps" {
	thread sleeping_owner
}

@test "thread: the cost of 500 idle threads" {
	level_1
	thread idle_threads
}

@test "thread: the smallest stack there is" {
	thread small_stack
	ALLOC_DIRECT=1 thread small_stack
}

@test "thread: the smallest stack, while logging and tracing" {
	rm -f build/test/logging.so
	cc_once build/test/logging.so allocator.c -O2 -shared -fPIC
	ALLOC_LOG=/dev/null ALLOC_TRACE=/dev/null \
		bare env LD_PRELOAD="$PWD/build/test/logging.so" \
		build/test/thread small_stack
}

@test "thread: a signal stack with 4 to 8 KiB to spare" {
	thread signal_stack
	ALLOC_DIRECT=1 thread signal_stack
}

@test "thread: the library is closed before its user thread ends" {
	bare build/test/thread unload "$ALLOC_SO"
}

@test "thread: a hundred libraries with thread-local data" {
	local dir=build/test/tls i
	mkdir -p $dir
	echo '__thread char c[300] = { 1 }; char *touch(void) { return c; }' \
		>$dir/tls.c
	"${CC:-cc}" -shared -fPIC -x c $dir/tls.c -o $dir/tls.so
	for i in {1..100}; do
		cp $dir/tls.so "$dir/$i.so"
	done
	thread thread_local_libraries $dir/[0-9]*.so
}
