# ALLOC_CHECK=1, 2 and 3, ALLOC_SAMPLE and ALLOC_ABORT: what becomes of one
# mistake, and of programs that make none.
#
#	UPDATE=1 bats test/levels.bats
#
# writes the table of who catches what anew.

load lib

BATS_TEST_TIMEOUT=200
export BATS_TEST_TIMEOUT

setup_file()
{
	cc_test levels
	cc_test misuse
	cc_test contract
}

# mistake CASE SIZE - under the options that are set around it
mistake()
{
	run pre build/test/levels "$@"
}

# says STATUS REGEX - that is how it ended, and the one line it wrote
says()
{
	echo "$status: $output"
	[ "$status" -eq "$1" ]
	[ "${#lines[@]}" -eq 1 ]
	[[ $output =~ ^allocator:\ $2$ ]]
}

# what is in use before damaged memory, if anything is
behind="(, [0-9]+ bytes behind block 0x[0-9a-f]+ of [0-9]+)?"

# overflow CASE SIZE - found at the first byte behind the block
overflow()
{
	mistake "$@"
	says 134 "buffer overflow 0x.* \(thread [0-9]+, block size $2,\
 offset $2(, allocated by levels\+0x[0-9a-f]+)?\)"
}

@test "levels: each mistake, at each level" {
	level_1
	local golden=test/golden/levels.txt
	tools/catches >"$BATS_TEST_TMPDIR/levels"
	[ -z "${UPDATE:-}" ] || cp "$BATS_TEST_TMPDIR/levels" $golden
	same "$BATS_TEST_TMPDIR/levels" $golden
}

@test "levels: the same without optimisation" {
	level_1
	[ -f build/plain.so ] || skip "needs make plain"
	TEST_SO=$ROOT/build/plain.so tools/catches >"$BATS_TEST_TMPDIR/levels"
	same "$BATS_TEST_TMPDIR/levels" test/golden/levels.txt
}

# caught CASE SIZE - what becomes of it, as tools/catches has it
caught()
{
	mistake "$@"
	case $status in
	0) echo - ;;
	134) sed -n 's/^allocator: \([a-z -]*\) 0x.*/\1/p' <<<"$output" ;;
	139) echo SEGV ;;
	*) echo "$status" ;;
	esac
}

# Of more than 8 KiB, so that they have no links, and up to 256 KiB, so that
# no page behind them is inaccessible; at level 3 the second is a mapping
@test "levels: the same in larger blocks, where there are no lists" {
	level_1
	local golden=test/golden/extents.txt got=$BATS_TEST_TMPDIR/levels
	local mistake size level
	for mistake in $(build/test/levels); do
		for size in 20000 200000; do
			printf '%s %s' "$mistake" $size
			for level in 1 2 3; do
				printf '\t%s' "$(ALLOC_CHECK=$level \
					caught "$mistake" $size)"
			done
			echo
		done
	done >"$got"
	[ -z "${UPDATE:-}" ] || cp "$got" $golden
	same "$got" $golden
}

# They are larger than their class, so that an overflow by a few bytes that are
# the padding of another changes nothing, and come from several slabs
@test "levels: the same in the first blocks of a program" {
	local mistake size level want cold
	while read -r mistake size level want; do
		cold=$(ALLOC_CHECK=$level LEVELS_COLD=1 caught "$mistake" \
			"$size")
		echo "$level $mistake $size: $cold, not $want"
		[ "$cold" = "$want" ]
	done < <(awk -F '\t' '$1 ~ / 24$/ && $1 !~ /copied|underflow|word/ {
		for (i = 1; i < 4; i++) print $1, i, $(i + 1) }' \
		test/golden/levels.txt)
}

@test "levels: doc/security.md has the same table" {
	awk -F ' *[|] *' -v OFS='\t' 'NF > 6 && !/---/ {
		print $2, $7, $8, $9, $10 }' doc/security.md \
		>"$BATS_TEST_TMPDIR/doc"
	same "$BATS_TEST_TMPDIR/doc" test/golden/levels.txt
}

# Padding of every length, and a seal of each class: one byte behind the end
@test "levels: an overflow by one byte is found at every size" {
	local level size
	for level in 2 3; do
		for size in {1..40} 63 64 65 500 512 1000 1024 2047 5000 16384 \
			30000 65000 65537 70000 131000 131073 200000; do
			export ALLOC_CHECK=$level
			overflow overflow_byte "$size"
		done
	done
}

# Blocks of a class, without padding: only their address makes the difference
@test "levels: another block's seal is not taken for a block's own" {
	local class level n
	for level in 2 3; do
		for class in 48 64 112 512 1024 4096 8192 16448; do
			export ALLOC_CHECK=$level
			n=$((class - (level == 2 ? 8 : 24)))
			# all of the seal: the next block may have done that
			mistake overflow_copied $n
			says 134 "out-of-bounds write 0x.* \(thread [0-9]+,\
 offset $n\)"
		done
	done
}

# At ALLOC_CHECK=3 an inaccessible page is next to it
@test "levels: an interior pointer into the last block of a slab" {
	local level size
	for level in 1 2 3; do
		for size in 17 24 33 40 100 500 1000 2000 5000 16000 30000; do
			export ALLOC_CHECK=$level
			mistake free_interior_last "$size"
			says 134 "free of interior pointer 0x.* \(thread \
[0-9]+, block 0x.*, block size [0-9]+\)"
		done
	done
}

@test "levels: the end of a string that is too long by it is absorbed" {
	local level size
	for level in 2 3; do
		for size in {1..40} 500 5000 70000; do
			export ALLOC_CHECK=$level
			mistake overflow_zero "$size"
			echo "$level $size: $output"
			[ "$status" -eq 0 ]
			[ "$output" = survived ]
		done
	done
}

@test "levels: a write to the last byte of a freed block" {
	local size
	export ALLOC_CHECK=3
	for size in {21..40} 64 65 1000 5000 16384 60000; do
		mistake write_after_free_end "$size"
		says 134 "write to free memory 0x.* \(thread [0-9]+,\
 block size $size, offset $((size - 1))$behind,\
 allocated by levels\+0x[0-9a-f]+, freed by levels\+0x[0-9a-f]+\)"
	done
	export ALLOC_CHECK=2
	for size in {21..40} 64; do
		mistake write_after_free_end "$size"
		says 134 "write to free memory 0x.* \(thread [0-9]+,\
 block size $size, offset $((size - 1))$behind\)"
	done
}

@test "levels: the same when the program ends" {
	local size
	export ALLOC_CHECK=3
	for size in 24 100 1000 8000 9000 20000 60000; do
		mistake written_last "$size"
		says 134 "write to free memory 0x.* \(thread [0-9]+,\
 block size $size, offset $((size - 1))$behind,\
 allocated by levels\+0x[0-9a-f]+, freed by levels\+0x[0-9a-f]+\)"
	done
}

@test "levels: a report says where in the program it was" {
	need addr2line
	export ALLOC_CHECK=3
	mistake double_free 100
	says 134 "double free 0x.* \(thread [0-9]+, block size 100,\
 allocated by levels\+0x[0-9a-f]+, freed by levels\+0x[0-9a-f]+\)"
	[[ $output =~ allocated\ by\ levels\+(0x[0-9a-f]+) ]]
	addr2line -f -e build/test/levels "${BASH_REMATCH[1]}" | grep -x main
	[[ $output =~ freed\ by\ levels\+(0x[0-9a-f]+) ]]
	addr2line -f -e build/test/levels "${BASH_REMATCH[1]}" |
		grep -x double_free
}

# Another thread freed the last block of a slab: its memory, and all seals in
# it, may be gone at once
@test "levels: a double free in a slab that was emptied meanwhile" {
	local level i
	for level in 2 3; do
		export ALLOC_CHECK=$level
		for i in {1..20}; do
			run pre build/test/misuse --case remote 8000 7 2000
			echo "$level, $i: $status $output"
			[ "$status" -eq 134 ]
			[[ $output == "allocator: double free "* ]]
		done
	done
}

@test "levels: interior and misaligned pointers come with their block" {
	export ALLOC_CHECK=1
	mistake free_interior 100
	says 134 "free of interior pointer (0x.*) \(thread [0-9]+,\
 block (0x.*), block size 112\)"
	[ $((BASH_REMATCH[1] - BASH_REMATCH[2])) -eq 16 ]
	mistake free_interior 20000
	says 134 "free of interior pointer (0x.*) \(thread [0-9]+,\
 block (0x.*), block size [0-9]+\)"
	[ $((BASH_REMATCH[1] - BASH_REMATCH[2])) -eq 16 ]
}

@test "levels: ALLOC_SAMPLE=1 puts every block before inaccessible memory" {
	local size
	export ALLOC_SAMPLE=1
	for size in 1 16 24 100 4096 5000 70000; do
		mistake overflow_page "$size"
		[ "$status" -eq 139 ]
		mistake read_overflow "$size"
		[ "$status" -eq 139 ]
		mistake read_after_free "$size"
		[ "$status" -eq 139 ]
		mistake double_free "$size"
		says 134 "double free 0x.* \(thread [0-9]+, block size $size,\
 allocated by levels\+0x[0-9a-f]+, freed by levels\+0x[0-9a-f]+\)"
	done
}

# A thousand blocks: a sample of one in 2000 has one of them in a quarter of the
# runs, which are other ones each time
@test "levels: ALLOC_SAMPLE=2000 finds in some runs what it misses in others" {
	local found=0 missed=0 i
	export ALLOC_SAMPLE=2000
	for i in {1..60}; do
		mistake sampled_read 64
		case $status in
		0) missed=$((missed + 1)) ;;
		139) found=$((found + 1)) ;;
		*) echo "$i: $status: $output"; return 1 ;;
		esac
	done
	echo "found $found, missed $missed"
	[ "$found" -ge 2 ]
	[ "$missed" -ge 2 ]
}

# 20 of 200,000: the distances are even from 1 to 20,000
@test "levels: ALLOC_SAMPLE=10000 takes one block in 10,000" {
	local i sum=0
	level_1
	export ALLOC_SAMPLE=10000
	for i in {1..10}; do
		mistake sampled_rate 24
		[[ ${lines[0]} =~ ^([0-9]+)\ samples$ ]]
		echo "${BASH_REMATCH[1]}"
		sum=$((sum + BASH_REMATCH[1]))
	done
	[ $sum -ge 160 ]
	[ $sum -le 240 ]
}

@test "levels: ALLOC_SAMPLE=2: also a thread that frees before it allocates" {
	local level
	export ALLOC_SAMPLE=2
	for level in 1 2 3; do
		export ALLOC_CHECK=$level
		mistake sampled_thread
		[[ ${lines[0]} =~ ^([0-9]+)\ samples$ ]]
		echo "$level: ${BASH_REMATCH[1]} of 2000"
		[ "${BASH_REMATCH[1]}" -ge 800 ]
	done
}

@test "levels: a handler of SIGABRT may allocate, also in the end" {
	export ALLOC_CHECK
	for ALLOC_CHECK in 2 3; do
		mistake handled_kept
		says 3 "buffer overflow 0x.*"
	done
}

@test "levels: ALLOC_ABORT=0 says it once for each mistake" {
	export ALLOC_ABORT=0 ALLOC_CHECK
	for ALLOC_CHECK in 2 3; do
		mistake overflow_realloc
		echo "$ALLOC_CHECK: $output"
		[ "$status" -eq 0 ]
		[ "$(grep -c ^allocator: <<<"$output")" -eq 1 ]
	done
}

@test "levels: ALLOC_ABORT=0 reports, ignores the call and goes on" {
	local case level
	export ALLOC_ABORT=0
	for level in 1 2 3; do
		export ALLOC_CHECK=$level
		for case in double_free double_free_delayed free_stack \
			free_misaligned free_interior free_one realloc_freed \
			realloc_foreign usable_freed write_link; do
			mistake $case 24
			echo "$level $case: $status $output"
			[ "$status" -eq 0 ]
			[ "${lines[-1]}" = survived ]
			[[ $output =~ allocator:\  ]]
		done
	done
	for case in overflow_byte overflow_word overflow_realloc \
		write_after_free size_wrong; do
		mistake $case 24
		echo "$case: $status $output"
		[ "$status" -eq 0 ]
		[[ $output =~ allocator:\  ]]
	done
}

@test "levels: a bad level costs a line, and is level 1" {
	ALLOC_CHECK=0 run pre build/test/levels overflow_byte 24
	[ "$status" -eq 0 ]
	[ "${lines[0]}" = "allocator: ALLOC_CHECK='0' is not a number from 1\
 to 3; using 1" ]
	[ "${lines[1]}" = survived ]
}

@test "levels: the contract of the functions holds at each level" {
	local level case
	for level in 2 3; do
		for case in alignment calloc_zeroes realloc_keeps usable_size \
			interchange goes_on_after_failure; do
			ALLOC_CHECK=$level pre build/test/contract "$case"
		done
	done
}
