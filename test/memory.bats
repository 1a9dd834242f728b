#!/usr/bin/env bats
# What real programs do with a heap (memory.c): what it takes of memory, beside
# the C library in the same run. Limits are those of the best of five: where
# that is not the C library, it is a constant. With ALLOC_CHECK set a test runs
# at that level, without it at each; levels 2 and 3 may take twice as much.
#
#	ALLOC_CHECK=1 ALLOC_SO=/path/libjemalloc.so.2 bats test/memory.bats
#
# shows what another library does.

load lib

# The least of each figure so far, by who and its name
declare -gA least

setup_file()
{
	cc_once build/test/memory test/memory.c -O1 -g -fno-builtin -pthread
}

calc() # EXPRESSION...
{
	awk "BEGIN { print $* }"
}

# take WHO COMMAND... - its figures; what else the machine does only adds to
# those of time, so that the least of several runs counts
take()
{
	local text name value old
	text=$("${@:2}") || { echo "$text"; return 1; }
	while read -r name value; do
		old=${least[$1 $name]:-$value}
		least[$1 $name]=$(calc "$value < $old ? $value : $old")
	done <<<"$text"
}

# row CHECK CASE [ARGUMENT...] - runs the case on the C library and on ours,
# ROUNDS times in turn, and then the check for each level; a level with twice
# the limit runs once
row()
{
	local round level bad=0
	least=()
	for ((round = 0; round < ${ROUNDS:-1}; round++)); do
		take libc bare build/test/memory "${@:2}"
		for level in ${ALLOC_CHECK:-1 2 3}; do
			[ "$level" = 1 ] || [ $round -eq 0 ] || continue
			ALLOC_CHECK=$level take "$level" \
				pre build/test/memory "${@:2}"
		done
	done
	for level in ${ALLOC_CHECK:-1 2 3}; do
		echo "${*:2} at level $level:"
		$1 || bad=1 # words: a function and its arguments
	done
	return $bad
}

# judge NAME LIMIT - the figure, at most that; the other levels twice that
judge()
{
	local ours=${least[$level $1]} limit
	limit=$(calc "$2 * ($level > 1 ? 2 : 1)")
	echo "  $1 $ours, C library ${least[libc $1]}, limit $limit"
	[ "$(calc "$ours <= $limit")" = 1 ]
}

within() # FACTOR NAME - times what the C library takes
{
	judge "$2" "$(calc "$1 * ${least[libc $2]}")"
}

at_most() # LIMIT NAME
{
	judge "$2" "$1"
}

@test "memory: every case of memory.c is run below" {
	local name
	for name in $(build/test/memory list); do
		grep -Eq "row .* $name( |\$)" "$BATS_TEST_FILENAME" ||
			{ echo "memory $name is not run"; false; }
	done
}

# -- blocks that shrink, blocks half used

@test "memory: readers ask for much, and keep the little they got" {
	ALLOC_CHECK="1 2" row "within 1.15 rss_mib" shrink
	# Level 3 holds 128 freed blocks back, which are 8 MiB; judged by twice
	ALLOC_CHECK=3 row "at_most 6 rss_mib" shrink
}

# The others have 1.3 and 2.3; the C library keeps a page of each mapping
@test "memory: large blocks that shrink to one of 1000 bytes" {
	row "at_most 1.5 rss_mib" shrink 444 900000 900000 1000
	row "at_most 2.6 rss_mib" shrink 2000 200000 200000 1000
}

@test "memory: blocks of 1024 bytes that shrink to 100" {
	row "within 1.15 rss_mib" shrink 100000 1024 1024 100
}

@test "memory: blocks of 64 KiB of which little is used, first or last" {
	row "within 1.15 rss_mib" sparse
	row "within 1.15 rss_mib" sparse 16384 65536 100 1
}

# golang/go #61718, gperftools #1073: pages that nobody asked for
@test "memory: blocks of other sizes of which little is used" {
	row "within 1.15 rss_mib" sparse 30000 8192
	row "within 1.15 rss_mib" sparse 16384 16384
	row "within 1.15 rss_mib" sparse 4096 32768
	# At level 3 a mapping each: header, the first and the last page
	ALLOC_CHECK="1 2" row "within 1.25 rss_mib" sparse 1000 262144
}

little_waste()
{
	at_most 1.25 worst && at_most 1.06 mean
}

@test "memory: the usable size is little more than what was asked for" {
	row little_waste usable
	row little_waste usable 1048576 67108864 65552
}

# Of this figure more is better
holds()
{
	local ours=${least[$level blocks]} libc=${least[libc blocks]}
	echo "  blocks $ours, C library $libc"
	[ "$(calc "$ours * 1.15 * ($level > 1 ? 2 : 1) >= $libc")" = 1 ]
}

@test "memory: blocks of 66,000 bytes fill an address space of a GiB" {
	row holds fit
}

# Twice the logarithm of the number of rounds
@test "memory: a block that alternates between two sizes is not copied" {
	row "at_most 20 moved" alternate 9000 30000
	row "at_most 20 moved" alternate 30000 70000
	row "at_most 20 moved" alternate 70000 200000
	row "at_most 20 moved" alternate 400000 1000000
	row "at_most 20 moved" alternate 128 70000
	row "at_most 20 moved" alternate 1000 900000
}

@test "memory: the same for small sizes" {
	row "at_most 20 moved" alternate 100 1024
	row "at_most 20 moved" alternate 1000 5000
	row "at_most 20 moved" alternate 128 65536
}

# -- sizes that change

@test "memory: a heap in phases of other sizes, of which half stays" {
	row "within 1.15 peak_mib" phases
}

# jemalloc #2817, redis #8184: what one phase freed is of no use to the next
@test "memory: the same, where a tenth stays" {
	row "within 1.15 peak_mib" phases 190 10
}

@test "memory: malloc_trim gives back pages between blocks in use" {
	row "within 1.3 trimmed_mib" trim
}

# One block in each slab, in one page: the slab must go with that
@test "memory: nothing stays of slabs that gave back most of their pages" {
	row "at_most 3 rest_mib" trim 4000 48 1300
}

@test "memory: a block that was cut again and again does not keep its pages" {
	ROUNDS=2 row "at_most 0.3 rss_mib" alternate 1000 900000
}

# Below a MiB it may stay as large as it was, without pages
@test "memory: a large block that was cut is as small as was asked for" {
	row "at_most 0.1 kept_mib" alternate 1000 3000000 50
}

@test "memory: buffers that grow and are cut, one after the other" {
	row "at_most 3 rss_mib" settle
	row "at_most 4 rss_mib" settle 100 1000000
}

@test "memory: calloc takes clean pages" {
	row "within 1.15 rss_mib" calloc_clean
}

# The C library keeps all of it
store_is_small()
{
	within 1.2 peak_mib && at_most 50 deleted_mib
}

@test "memory: a key-value server, deleted and refilled by other sizes" {
	row store_is_small store
}

# mimalloc #1111, rust #29931: sizes that have been are never used again
@test "memory: vectors that grow by half, all at once" {
	row "within 1.15 peak_mib" vectors 2000 50000 150
}

@test "memory: buffers that grow by a line each, in turn" {
	row "within 1.15 peak_mib" append
	# The best of the others has 1.24
	row "within 1.35 peak_mib" append 5000 10000
}

# jemalloc #2542, #468: whole pages more for what describes a page
@test "memory: pages of a database; a block each of many sizes" {
	row "within 1.15 rss_mib" aligned
	row "within 1.15 rss_mib" aligned 100000 512 512
	row "within 1.15 rss_mib" assorted
}

# jemalloc #2817, icinga2 #10302
@test "memory: a configuration that is read anew, again and again" {
	row "within 1.15 peak_mib" reload
}

# A bare repository of files of 4 to 128 KiB
repository() # DIRECTORY
{
	export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1
	git init -q --bare "$1"
	awk -v files=60 -v commits=200 '
	function random(n) {
		seed = (seed * 1103515245 + 12345) % 2147483648
		return int(seed / 65536) % n
	}
	function change(f, i) {
		line[f, i] = sprintf("%05d %05d %05d %05d %05d %05d %05d\n",
			random(32768), random(32768), random(32768),
			random(32768), random(32768), random(32768), i)
	}
	function show(f,  i, text) {
		for (i = 0; i < lines[f]; i++)
			text = text line[f, i]
		printf "M 100644 inline %d\ndata %d\n%s\n", f,
			length(text), text
	}
	BEGIN {
		seed = 1
		for (f = 0; f < files; f++) {
			lines[f] = 100 + int(3000 * (f / files) ^ 2)
			for (i = 0; i < lines[f]; i++)
				change(f, i)
		}
		for (c = 0; c < commits; c++) {
			printf "commit refs/heads/master\n" \
				"committer a <a@b> %d +0000\ndata 0\n",
				1000000000 + c
			for (k = 0; k < (c ? 4 : files); k++) {
				f = c ? random(files) : k
				for (i = 0; i < 5; i++)
					change(f, random(lines[f]))
				show(f)
			}
		}
	}' | git -C "$1" fast-import --quiet
	git -C "$1" -c pack.threads=1 repack -adfq --window=5 --depth=50
}

@test "memory: git log --stat of objects of 4 to 128 KiB" {
	need git
	repository "$BATS_TEST_TMPDIR/git"
	row "within 1.12 peak_mib" command \
		git -C "$BATS_TEST_TMPDIR/git" log --stat
}

# -- the processor's caches

@test "memory: blocks written in step do not share the same cache lines" {
	ROUNDS=3 row "within 3 ns" sets
	ROUNDS=3 row "within 3 ns" sets 500 20000
}

# -- threads and children

last_like_first()
{
	judge last_mib "$(calc "1.7 * ${least[$level first_mib]}")"
}

@test "memory: children use what threads they lack have freed" {
	row last_like_first generations
}

# The kernel's part, for page tables, is measured without the C library's fork
# and ours; it may be more.
fork_is_quick()
{
	local more
	more=$(calc "${least[$level kernel_p99_ms]} - \
		${least[libc kernel_p99_ms]}")
	echo "  the kernel: $more ms more"
	judge p99_ms "$(calc "1.5 * ${least[libc p99_ms]} + \
		($more > 0 ? $more : 0)")"
}

@test "memory: fork beside 200 idle threads takes no longer" {
	# What else runs can spoil one p99 in a hundred forks, not all of them
	ROUNDS=5 row fork_is_quick fork_time ||
		ROUNDS=5 row fork_is_quick fork_time
}

little_more()
{
	judge private_kb "$(calc "${least[libc private_kb]} + 72")" &&
		judge thread_kb "$(calc "${least[libc thread_kb]} + 12")"
}

@test "memory: a small program, and its idle threads" {
	row little_more idle
}

# mimalloc #1107
@test "memory: many threads, each of which has a block of many sizes" {
	row "within 1.4 rss_mib" crowd
}

# jemalloc #1229: what one thread has freed is of no use to the others
@test "memory: threads that do large work in turn" {
	row "within 1.15 peak_mib" turns
	row "within 1.15 peak_mib" turns 8 1000
	row "within 1.15 peak_mib" turns 8 40000
}

# puma #2099: memory that was shared until somebody looked at it
@test "memory: a child that changes little shares the rest" {
	row "within 1.15 private_mib" inherit
}
