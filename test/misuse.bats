# What a misused heap costs: one line that names the mistake, and abort().
#
# test/run: early

load lib

setup_file()
{
	cc_test misuse
}

# check GROUP... - every case of the groups ends as it should
check()
{
	run deadline 110 build/test/misuse "$@"
	# the last line counts the cases, so show it however many went wrong
	echo "$output" | head -n 30 | cut -c 1-300
	echo "${lines[-1]}"
	[ "$status" -eq 0 ]
}

# plain GROUP... - the same on the library of the one command without flags
plain()
{
	[ -f build/plain.so ] || skip "needs make plain"
	TEST_SO=$ROOT/build/plain.so check "$@"
}

# case NAME A B C - one program, as a user would see it
one()
{
	run pre build/test/misuse --case "$@"
}

@test "misuse: a double free, at every distance, is caught" {
	check double
}

@test "misuse: a double free is caught with ALLOC_THRESH=0" {
	ALLOC_THRESH=0 check double stale entry
}

@test "misuse: a double free is caught with ALLOC_DIRECT=1" {
	ALLOC_DIRECT=1 check double stale entry
}

@test "misuse: a double free is caught with ALLOC_DIRECT=1 ALLOC_THRESH=0" {
	ALLOC_DIRECT=1 ALLOC_THRESH=0 check double stale entry
}

@test "misuse: a double free by several threads, in every order" {
	check remote crowd
}

@test "misuse: the same with ALLOC_THRESH=0" {
	ALLOC_THRESH=0 check remote crowd
}

@test "misuse: the same with ALLOC_DIRECT=1" {
	ALLOC_DIRECT=1 check remote crowd
}

@test "misuse: every entry point refuses what any of them has freed" {
	check entry
}

@test "misuse: realloc and usable_size of a block freed long ago" {
	check stale
}

@test "misuse: misaligned and interior pointers, and what lies around" {
	check near
}

@test "misuse: misaligned and interior pointers with ALLOC_THRESH=0" {
	ALLOC_THRESH=0 check near
}

@test "misuse: misaligned and interior pointers with ALLOC_DIRECT=1" {
	ALLOC_DIRECT=1 check near
	ALLOC_DIRECT=1 ALLOC_THRESH=0 check near
}

@test "misuse: a slot that was never handed out" {
	level_1 # slots are larger than the usable size says
	check unused
	ALLOC_THRESH=0 check unused
}

@test "misuse: what once was a block, or lies behind the last of a slab" {
	check former
	ALLOC_THRESH=0 check former
}

@test "misuse: extents that are free in every way, cut and merged" {
	local level
	for level in 1 2 3; do
		ALLOC_CHECK=$level check extent
		ALLOC_CHECK=$level ALLOC_THRESH=0 check extent
	done
}

@test "misuse: a block whose page of a slab was given back" {
	local level
	for level in 1 2 3; do
		ALLOC_CHECK=$level check hole
	done
}

@test "misuse: what is in blocks beside pages that were given back" {
	local level
	for level in 1 2 3; do
		ALLOC_CHECK=$level check pages
	done
}

@test "misuse: a mapping that was freed and is another block's by now" {
	ALLOC_DIRECT=1 check moved
}

@test "misuse: pointers that nobody gave out" {
	check foreign
	ALLOC_THRESH=0 check foreign
}

@test "misuse: pointers that nobody gave out, with ALLOC_DIRECT=1" {
	ALLOC_DIRECT=1 check foreign
}

@test "misuse: a freed block that was written to" {
	level_2 # level 3 has another name for it
	check clobber
	ALLOC_THRESH=0 check clobber
}

@test "misuse: writing past the end of a large block is a fault" {
	level_1 # usable is what was asked for
	check guard
}

@test "misuse: a freed large block is gone with ALLOC_THRESH=0" {
	ALLOC_THRESH=0 check unmapped
}

@test "misuse: every freed block is gone with ALLOC_DIRECT=1 ALLOC_THRESH=0" {
	ALLOC_DIRECT=1 ALLOC_THRESH=0 check unmapped
}

@test "misuse: SIGABRT handled, blocked or ignored, and closed descriptors" {
	check line handler
	ALLOC_DIRECT=1 check line handler
}

@test "misuse: the line is in ALLOC_LOG though descriptors are closed" {
	local how size log
	for how in 0 1 2; do
		for size in 64 5000 20000 300000; do
			log=$BATS_TEST_TMPDIR/log.$how.$size
			ALLOC_LOG=$log one closed "$how" "$size" 0
			echo "$how $size: $status $output"
			[ "$status" -eq 134 ]
			[ -z "$output" ]
			grep -E '^allocator: (double|free of)' "$log"
			[ "$(grep -c ^allocator: "$log")" -eq 1 ]
		done
	done
}

@test "misuse: no line ever goes to a file of the program" {
	local size
	export OWN_FILE=$BATS_TEST_TMPDIR/own
	for size in 64 5000 20000 300000; do
		ALLOC_LOG=$BATS_TEST_TMPDIR/log one taken "$size" 0 0
		echo "$size: $status $output, $(cat "$OWN_FILE")"
		[ "$status" -eq 134 ]
		[ ! -s "$OWN_FILE" ]
	done
}

@test "misuse: size overflow, bad alignment and a full address space" {
	level_2 # seals and inaccessible pages need room
	check limits
	ALLOC_THRESH=0 check limits
}

@test "misuse: size overflow and limits with ALLOC_DIRECT=1" {
	level_2 # seals and inaccessible pages need room
	ALLOC_DIRECT=1 check limits
}

@test "misuse: free keeps errno, also when the kernel refuses" {
	check errno
	ALLOC_THRESH=0 check errno
	ALLOC_DIRECT=1 check errno
}

@test "misuse: a second free while the first is on its way home" {
	local level abort
	for level in 1 2 3; do
		for abort in 1 0; do
			ALLOC_CHECK=$level ALLOC_ABORT=$abort check late
		done
	done
}

@test "misuse: a realloc that fails leaves the page behind as it was" {
	local level
	for level in 1 2 3; do
		ALLOC_CHECK=$level check kept
		ALLOC_CHECK=$level ALLOC_THRESH=0 check kept
	done
}

@test "misuse: a report while others take memory and give it back" {
	local level
	for level in 1 2 3; do
		ALLOC_CHECK=$level ALLOC_ABORT=0 ALLOC_THRESH=0 check going
	done
}

@test "misuse: a call that others overtake, at each of its instructions" {
	local level
	for level in 1 2 3; do
		ALLOC_CHECK=$level ALLOC_ABORT=0 ALLOC_THRESH=0 check steps
	done
}

@test "misuse: a thousand forks while four threads allocate" {
	check fork
}

@test "misuse: honest programs are left alone" {
	check honest imitate exit
}

@test "misuse: honest programs are left alone with ALLOC_THRESH=0" {
	ALLOC_THRESH=0 check honest imitate exit
}

@test "misuse: honest programs are left alone with ALLOC_DIRECT=1" {
	level_2 # some look at what they freed
	ALLOC_DIRECT=1 check honest imitate exit
}

@test "misuse: all of it in the build without flags" {
	level_1
	plain double remote unused clobber line
}

@test "misuse: honest programs in the build without flags" {
	plain errno honest imitate exit
}
