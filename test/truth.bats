# Reports that tell the truth: no word of one is false, whatever the mistake.

load lib

setup_file()
{
	cc_test truth
	cc_test levels
}

# overflow SIZE AT LEN - a program writes so far behind the end of a block, has
# some small blocks made, and frees it
overflow()
{
	[ -x "$BATS_FILE_TMPDIR/overflow" ] ||
		"${CC:-cc}" -x c - -fno-builtin \
			-o "$BATS_FILE_TMPDIR/overflow" <<-'END'
		#include <malloc.h>
		#include <stdlib.h>
		#include <string.h>

		int main(int argc, char **argv)
		{
			size_t n = strtoul(argv[1], NULL, 10);
			char *p = malloc(n);

			memset(p + n + strtoul(argv[2], NULL, 10), 'A',
			       strtoul(argv[argc - 1], NULL, 10));
			for (int i = 0; i < 100; i++)
				free(memset(malloc(100), 0, 100));
			free(p);
		}
		END
	run pre "$BATS_FILE_TMPDIR/overflow" "$@"
	echo "$* at level ${ALLOC_CHECK:-1}: $status: $output"
}

# A sample, others each time; FULL=1 for all of them
@test "truth: overflows, underflows and late writes of all kinds of blocks" {
	level_1
	[ -z "${FULL:-}" ] || export BATS_TEST_TIMEOUT=900
	deadline $((FULL ? 800 : 100)) build/test/truth $((FULL ? 1 : 29))
}

@test "truth: who wrote behind a block of 20,000 bytes freed nothing twice" {
	level_1
	overflow 20000 0 60000
	[ "$status" -eq 134 ]
	[[ $output =~ ^"allocator: write to free memory "(0x[0-9a-f]+)\ .*\
," "([0-9]+)" bytes behind block "(0x[0-9a-f]+)" of "([0-9]+)")"$ ]]
	[ $((BASH_REMATCH[1])) -eq $((BASH_REMATCH[2] + BASH_REMATCH[3] + \
		BASH_REMATCH[4])) ]
	[ "${BASH_REMATCH[4]}" -ge 20000 ]
	[ "${BASH_REMATCH[4]}" -lt 20100 ]
}

@test "truth: nothing is quoted that was written over" {
	local size level length
	for level in 2 3; do
		for size in 24 100 1000 20000 60000; do
			for length in 600 60000; do
				ALLOC_CHECK=$level overflow $size 0 $length
				[ "$status" -ne 0 ]
				[[ $output != *41414141* ]]
				[[ $output != *"allocated by "[^o]* ]]
			done
		done
	done
}

@test "truth: a byte before a block is found at levels 2 and 3, each time" {
	local level
	for level in 2 3; do
		for _ in {1..20}; do
			ALLOC_CHECK=$level run pre build/test/levels \
				underflow_byte 24
			[ "$status" -eq 134 ]
			[[ $output == "allocator: out-of-bounds write "* ||
				$output == "allocator: write to free "* ]]
		done
	done
}

@test "security: the page behind a block above 260 KiB, at level 3 68 KiB" {
	local level size
	for level in 1 2 3; do
		for size in 266241 300000; do
			ALLOC_CHECK=$level overflow $size 4096 1
			[ "$status" -eq 139 ]
		done
	done
	for size in 69633 100000 262145; do
		ALLOC_CHECK=3 overflow $size 4096 1
		[ "$status" -eq 139 ]
	done
}

@test "security: every report is in the manual page, and has one name" {
	local name
	while read -r name; do
		grep -qx "\.It $name" doc/alloc.1 || { echo "$name"; false; }
	done < <(sed -nE 's/^#define [A-Z_]+ "([a-z-]+ [a-z -]*)"$/\1/p' \
		src/report.c)
	run grep -n 'write after free' README.md SECURITY.md doc/*.md \
		doc/alloc.1
	[ "$status" -eq 1 ]
	grep -q 'write to free memory' SECURITY.md
	grep -q 'out-of-bounds write' SECURITY.md
}
