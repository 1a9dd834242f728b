#!/usr/bin/env bats
# Memory from the OS and back to it (limit.c)

load lib

setup_file()
{
	cc_test limit
}

# A case that can't run here ends with 77.
limit() # CASE [ARGUMENT...]
{
	run pre build/test/limit "$@"
	echo "$output"
	[ "$status" -ne 77 ] || skip "$output"
	[ "$status" -eq 0 ]
}

# The calls of memory management in `limit rounds ARGUMENT...`
calls() # ARGUMENT...
{
	bare strace -f -c -e trace=mmap,munmap,mremap,madvise,brk \
		-o "$BATS_TEST_TMPDIR/calls" -E LD_PRELOAD="$ALLOC_SO" \
		build/test/limit rounds "$@"
	awk '$NF == "total" { print $(NF - 1) }' "$BATS_TEST_TMPDIR/calls" |
		grep -o '^[0-9]*' || echo 0
}

@test "limit: every case of limit.c is run below" {
	local name
	for name in $(build/test/limit list); do
		grep -Eq "(limit|secure\") $name( |\$|\")" \
			"$BATS_TEST_FILENAME" ||
			{ echo "limit $name is not run"; false; }
	done
}

@test "limit: starts under ulimit -v wherever the C library does" {
	local mib cmd tried=0
	for mib in 20 22 24 28 32 40 48 64 96 128; do
		for cmd in "build/test/limit starts" "/bin/echo hello" \
			   "/bin/ls /" "/bin/sh -c 'echo hello | cat'"; do
			bare sh -c "ulimit -v $((mib * 1024)); $cmd" \
				>"$BATS_TEST_TMPDIR/bare" 2>&1 || continue
			bare sh -c "ulimit -v $((mib * 1024));
				export LD_PRELOAD='$ALLOC_SO'; $cmd" \
				>"$BATS_TEST_TMPDIR/pre" 2>&1 ||
				{ echo "$cmd with $mib MiB:"
				  cat "$BATS_TEST_TMPDIR/pre"; false; }
			same "$BATS_TEST_TMPDIR/bare" "$BATS_TEST_TMPDIR/pre"
			tried=$((tried + 1))
		done
	done
	[ $tried -ge 30 ]
}

@test "limit: starts with little more than the C library needs" {
	level_2 # seals and inaccessible pages need room
	local kind kib i
	for kind in v d; do
		kib=2500
		until bare sh -c "ulimit -$kind $kib; build/test/limit starts" \
			>/dev/null 2>&1; do
			kib=$((kib + 250))
			[ $kib -le 20000 ]
		done
		echo "the C library: ulimit -$kind $kib"
		for i in 1 2 3 4 5; do
			bare sh -c "ulimit -$kind $((kib + 1400));
				LD_PRELOAD='$ALLOC_SO' build/test/limit starts"
		done
	done
}

@test "limit: a hundred starts with memory locked, of 8 MiB at most" {
	level_2 # inaccessible pages need room
	local i
	for ((i = 0; i < 100; i++)); do
		limit locked_start
	done
}

@test "limit: blocks that replace one another in little address space" {
	level_1 # seals and inaccessible pages need room
	limit tight
}

@test "limit: NULL and ENOMEM at RLIMIT_AS, and all is back after free" {
	level_2 # seals and inaccessible pages need room
	limit exhaust as
	limit exhaust as 24
}

@test "limit: the same with ALLOC_THRESH at 0 and at its highest" {
	level_2 # seals and inaccessible pages need room
	ALLOC_THRESH=0 limit exhaust as
	ALLOC_THRESH=65536 limit exhaust as
}

@test "limit: NULL and ENOMEM at RLIMIT_DATA, and all is back after free" {
	level_2 # seals and inaccessible pages need room
	limit exhaust data
}

@test "limit: four threads at RLIMIT_AS" {
	level_2 # seals and inaccessible pages need room
	limit exhaust_in_threads
}

# 3: so each alteration is made to whole blocks and to single pages
@test "limit: a block that the program altered comes back as new" {
	local level direct
	for level in 1 2 3; do
		for direct in 0 1; do
			echo "ALLOC_CHECK=$level ALLOC_DIRECT=$direct"
			ALLOC_CHECK=$level ALLOC_DIRECT=$direct limit altered 3
		done
	done
	ALLOC_THRESH=0 limit altered
}

@test "limit: calloc gives zeroes when pages are locked" {
	limit locked
	ALLOC_THRESH=0 limit locked
	ALLOC_DIRECT=1 limit locked
}

@test "limit: resident memory falls when all is freed" {
	limit falls 32768 300 48
	limit falls 100 64 40
	limit falls 5000 100 48
	limit falls 100000 200 48
	limit falls 1048576 300 48
}

@test "limit: with ALLOC_THRESH=0 it falls to where it was" {
	level_2 # more is held back
	ALLOC_THRESH=0 limit falls 32768 200 5
	ALLOC_THRESH=0 limit falls 100 64 5
	ALLOC_THRESH=0 limit falls 5000 100 5
	ALLOC_THRESH=0 limit falls 100000 200 5
	ALLOC_THRESH=0 limit falls 1048576 200 5
}

# A magazine may hold blocks of each slab of its class
@test "limit: resident memory falls when blocks all over it are freed" {
	limit scattered 30
	ALLOC_THRESH=0 limit scattered 16
}

@test "limit: ALLOC_THRESH is the bound of what is kept" {
	level_2 # more is held back
	local n
	for n in 0 1 2 4 8 16 100 400; do
		ALLOC_THRESH=$n limit bound $n
	done
	ALLOC_THRESH=65536 limit bound 65536
	ALLOC_THRESH=99999999999999999999 limit bound 65536
}

@test "limit: no system calls in the steady state, unless nothing is kept" {
	level_2 # traps are made and moved
	need strace
	local base n thresh
	base=$(calls 10)
	n=$(ALLOC_THRESH=0 calls 5000)
	echo "nothing kept: $n, start: $base"
	[ "$n" -ge 5000 ]
	for thresh in 1 8 200; do
		n=$(ALLOC_THRESH=$thresh calls 5000)
		echo "ALLOC_THRESH=$thresh: $n"
		[ "$n" -le $((base + 20)) ]
	done
}

@test "limit: the larger ALLOC_THRESH, the fewer system calls" {
	level_2 # traps are made and moved
	need strace
	local n last=999999999 thresh direct
	for direct in 0 1; do
		last=999999999
		for thresh in 0 1 2 4 8 16 64; do
			n=$(ALLOC_DIRECT=$direct ALLOC_THRESH=$thresh \
				calls 150 12 300000)
			echo "direct $direct, ALLOC_THRESH=$thresh: $n"
			[ "$n" -le $((last + 20)) ]
			[ $thresh -gt 0 ] || [ "$n" -ge 1800 ]
			last=$n
		done
		[ "$n" -le 300 ]
	done
}

@test "limit: the number of mappings stays small" {
	level_2 # traps are made and moved
	limit few_mappings
	ALLOC_THRESH=0 limit few_mappings
}

# mappings LIVE LOW HIGH [ROUNDS GROW] - at each level of ALLOC_CHECK
mappings()
{
	local level
	for level in 1 2 3; do
		echo "ALLOC_CHECK=$level ALLOC_THRESH=${ALLOC_THRESH:-} $*"
		ALLOC_CHECK=$level limit mappings_bounded "$@"
	done
}

@test "limit: few mappings when large blocks replace one another" {
	mappings 40000 131 400
	mappings 30000 131 400
}

@test "limit: the same for blocks of nearly the same size, and of any" {
	mappings 40000 131 150
	mappings 10000 130 1000
	mappings 4000 130 4000
}

@test "limit: the same with ALLOC_THRESH=0" {
	ALLOC_THRESH=0 mappings 40000 131 400
	ALLOC_THRESH=0 mappings 4000 130 4000
}

@test "limit: the same for blocks that grow, more than can be moved" {
	mappings 10000 131 200 100000 1
}

@test "limit: munmap may fail for want of mappings" {
	ALLOC_DIRECT=1 ALLOC_THRESH=0 limit many_mappings
	ALLOC_DIRECT=1 ALLOC_THRESH=200 limit many_mappings
}

@test "limit: munmap may fail always" {
	level_2 # more is held back
	limit munmap_fails
	ALLOC_THRESH=0 limit munmap_fails
	ALLOC_DIRECT=1 limit munmap_fails
}

@test "limit: little more is committed than is live" {
	limit committed
	ALLOC_THRESH=65536 limit committed
}

@test "limit: fragmentation by sizes that replace one another" {
	limit fragmentation
}

@test "limit: a few blocks of many sizes each share pages" {
	limit many_sizes
}

@test "limit: huge pages in large heaps, and in no other" {
	level_2 # traps are made and moved
	need strace
	strace -o /dev/null true || skip "may not trace"
	local mib chunks
	for mib in 100 300; do
		bare strace -f -e trace=madvise -o "$BATS_TEST_TMPDIR/huge" \
			-E LD_PRELOAD="$ALLOC_SO" \
			build/test/limit falls 1000 $mib 400
		chunks=$(grep -c MADV_HUGEPAGE "$BATS_TEST_TMPDIR/huge" || true)
		echo "$mib MiB: $chunks"
		[ "$chunks" -ge $((mib > 200 ? 40 : 0)) ]
		[ "$chunks" -le $((mib > 200 ? 50 : 0)) ]
	done
}

@test "limit: no page without memory within 64 bytes of a small block" {
	limit page_edges
}

@test "limit: growing by realloc takes linear time and less than twice" {
	local i ours theirs
	read -ra theirs < <(bare build/test/limit growth)
	limit growth
	read -ra ours <<<"$output"
	echo "ms: ${ours[*]}, with the C library: ${theirs[*]}"
	for i in 0 1 2 3; do
		[ "${ours[i]}" -le $((theirs[i] * 3 + 500)) ]
	done
}

@test "limit: a sandbox without mremap, madvise, prctl and others" {
	limit sandbox
	ALLOC_THRESH=0 limit sandbox
	ALLOC_DIRECT=1 limit sandbox
}

@test "limit: a sandbox with mmap and munmap alone" {
	limit strict_sandbox
	ALLOC_THRESH=0 limit strict_sandbox
	ALLOC_DIRECT=1 limit strict_sandbox
}

# Linked with the library, since LD_PRELOAD is ignored there as well
@test "limit: all options are ignored with the set-user-ID bit" {
	local options
	[ "$(id -u)" -eq 0 ] || skip "needs root to give a file away"
	# A place where the other user may read, and could write
	dir=$(mktemp -d /tmp/alloc.XXXXXX)
	mkdir -m 777 "$dir/out"
	cp "$ALLOC_SO" "$dir/allocator.so"
	"${CC:-cc}" -std=gnu11 -fno-builtin -pthread test/limit.c \
		-Wl,--no-as-needed -L"$dir" -l:allocator.so \
		-Wl,-rpath,"$dir" -o "$dir/secure"
	chmod 755 "$dir" "$dir/allocator.so"
	options=(ALLOC_HELP=1 ALLOC_THRESH=abc ALLOC_DIRECT=x
		ALLOC_LOG="$dir/out/log" ALLOC_TRACE="$dir/out/trace")

	run bare env "${options[@]}" "$dir/secure" secure
	echo "ordinary: $output, files: $(ls "$dir/out")"
	[ "$status" -eq 0 ]
	[ "$output" != "secure=0" ] || [ -n "$(ls "$dir/out")" ]

	rm -f "$dir/out"/*
	chown nobody "$dir/secure"
	chmod u+s "$dir/secure"
	run bare env "${options[@]}" "$dir/secure" secure
	echo "secure: $output, files: $(ls "$dir/out")"
	[ "${output##*$'\n'}" != "secure=0" ] ||
		skip "set-user-ID has no effect in /tmp"
	[ "$status" -eq 0 ]
	[ "$output" = "secure=1" ]
	[ -z "$(ls "$dir/out")" ]
}

teardown()
{
	[ -z "${dir:-}" ] || rm -rf "$dir"
}
