#!/usr/bin/env bats
# Faults of the machine: calls that fail, limits, larger pages (fault.c)
#
# Without FULL=1 only some of the points where a call may fail are tried. With
# it all are, and many of each way to run; that takes most of an hour of
# a machine with nothing else to do, so FILE_TIMEOUT=3600 goes with it.

load lib

LIMIT=${FULL:+3000}
LIMIT=${LIMIT:-110}
[ "$LIMIT" = 110 ] || export BATS_TEST_TIMEOUT=3100

setup_file()
{
	local header
	for header in load inject account; do
		[ build/test/fault -nt test/$header.h ] ||
			rm -f build/test/fault
	done
	cc_test fault -O2
	cc_test contract
}

# How many points of failure there were in all
teardown_file()
{
	awk '{ n += $1 } END { print "# " n " points of failure" }' \
		"$BATS_FILE_TMPDIR/points" >&3
}

# A case that can't run here ends with 77.
fault() # CASE [ARGUMENT...]
{
	run pre build/test/fault "$@"
	echo "$output"
	grep -o '[0-9]* points: ' <<<"$output" \
		>>"$BATS_FILE_TMPDIR/points" || true
	[ "$status" -ne 77 ] || skip "$output"
	[ "$status" -eq 0 ]
}

# sweep SOME MANY - about so many points of failure; MANY with FULL=1, 0 is all
sweep()
{
	local points=$1
	[ -z "${FULL:-}" ] || points=$2
	fault sweep "$points"
}

# paged BYTES - the library with such pages is the one under test from here on
paged()
{
	ALLOC_SO=$ROOT/build/test/pages-$1.so
	local made_of="allocator.c src test/pages.h"
	# shellcheck disable=SC2086 # these are three
	[ -f "$ALLOC_SO" ] && [ -z "$(find $made_of -newer "$ALLOC_SO")" ] &&
		return
	"${CC:-cc}" -std=gnu11 -O2 -Wall -Wextra -fPIC -shared -DLOGGER=0 \
		-DTRACE_ON=0 "-DPAGE=$1l" -include test/pages.h allocator.c \
		-o "$ALLOC_SO.$$" && mv "$ALLOC_SO.$$" "$ALLOC_SO"
}

# What must hold with any size of pages
with_pages() # BYTES
{
	local name
	paged "$1"
	fault none
	ALLOC_THRESH=0 fault none
	ALLOC_DIRECT=1 fault none
	ALLOC_CHECK=3 fault none
	sweep 5 500
	ALLOC_THRESH=0 sweep 3 200
	ALLOC_DIRECT=1 sweep 3 200
	for name in $(build/test/contract list); do
		(
			[ "$name" != free_returns ] || level_1
			pre build/test/contract "$name"
		)
	done
}

@test "fault: every case of fault.c is run here" {
	local name
	for name in $(build/test/fault list); do
		[ "$name" = point ] ||
			grep -Eq "fault $name( |\$)" "$BATS_TEST_FILENAME" ||
			{ echo "fault $name is not run"; false; }
	done
}

@test "fault: any system call for memory may fail, once or from there on" {
	sweep 30 0
}

@test "fault: the same with nothing cached" {
	ALLOC_THRESH=0 sweep 8 1000
}

@test "fault: the same with a mapping for each block" {
	ALLOC_DIRECT=1 sweep 10 1000
}

@test "fault: the same with sealed blocks" {
	ALLOC_CHECK=2 sweep 8 400
}

@test "fault: the same with inaccessible pages" {
	ALLOC_CHECK=3 sweep 8 400
}

@test "fault: the same with samples" {
	ALLOC_SAMPLE=7 sweep 8 200
	[ -n "${FULL:-}" ] || return 0
	ALLOC_SAMPLE=1 sweep 0 30
	ALLOC_SAMPLE=2 sweep 0 60
	ALLOC_SAMPLE=100 sweep 0 200
	ALLOC_SAMPLE=7 ALLOC_CHECK=2 sweep 0 60
	ALLOC_SAMPLE=7 ALLOC_CHECK=3 sweep 0 60
	ALLOC_SAMPLE=7 ALLOC_THRESH=0 sweep 0 60
}

@test "fault: the same with a trap for each block" {
	ALLOC_DIRECT=1 ALLOC_CHECK=3 sweep 2 100
}

@test "fault: what can't be unmapped is used again, and no more is needed" {
	fault stuck
	ALLOC_CHECK=3 fault stuck
	[ -n "${FULL:-}" ] || return 0
	ALLOC_THRESH=0 fault stuck
	ALLOC_DIRECT=1 fault stuck
	ALLOC_CHECK=2 fault stuck
	ALLOC_SAMPLE=7 fault stuck
	ALLOC_DIRECT=1 ALLOC_CHECK=3 fault stuck
}

@test "fault: pages that stay inaccessible for a while" {
	ALLOC_CHECK=3 fault guards
}

@test "fault: others map at once what is given up, in older kernels too" {
	fault older
	ALLOC_THRESH=0 fault older
	ALLOC_DIRECT=1 fault older
	ALLOC_CHECK=2 fault older
	ALLOC_CHECK=3 fault older
}

@test "fault: filters that refuse madvise, mremap, mprotect and others" {
	fault filters
}

@test "fault: less and less room below RLIMIT_AS and RLIMIT_DATA" {
	fault limits as
	fault limits data
}

@test "fault: locked memory" {
	fault locked
	ALLOC_THRESH=0 fault locked
}

@test "fault: no more mappings than the kernel allows" {
	fault crowded
}

@test "fault: pages of 16 KiB" {
	with_pages 16384
}

@test "fault: pages of 64 KiB" {
	with_pages 65536
}
