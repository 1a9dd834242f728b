#!/usr/bin/env bats
# Threads under TSan, ASan and UBSan (sanitize.c); the allocator is called
# al_malloc there (ALLOC_PREFIX), since malloc is the sanitizer's.

load lib
load sanitize

export LIMIT=100
CASES=(generations handover forks figures late_first alone)

setup_file()
{
	with_allocator gcc sanitize-gcc-tsan "${TSAN[@]}" test/sanitize.c
	with_allocator gcc sanitize-gcc-asan "${ASAN[@]}" test/sanitize.c
	command -v clang >/dev/null || return 0
	with_allocator clang sanitize-clang-tsan "${TSAN[@]}" test/sanitize.c
	with_allocator clang sanitize-clang-asan "${ASAN[@]}" test/sanitize.c
}

watched() # PROGRAM [CASE...]
{
	local name
	for name in "${@:2}"; do
		steady "build/test/sanitize-$1" "$name"
	done
}

# The options change who gives memory back, and when; at levels 2 and 3 there is
# no fast path.
watched_all() # PROGRAM
{
	watched "$1" "${CASES[@]}"
	ALLOC_THRESH=0 watched "$1" "${CASES[@]}"
	ALLOC_DIRECT=1 watched "$1" "${CASES[@]}"
	ALLOC_SAMPLE=10 watched "$1" "${CASES[@]}"
	ALLOC_CHECK=2 watched "$1" "${CASES[@]}"
	ALLOC_CHECK=3 watched "$1" "${CASES[@]}"
}

@test "sanitize: every case of sanitize.c is run below" {
	run build/test/sanitize-gcc-asan list
	[ "$output" = "$(printf '%s\n' "${CASES[@]}")" ]
}

@test "sanitize: threads under TSan (gcc)" {
	watched_all gcc-tsan
}

@test "sanitize: threads under TSan (clang)" {
	need clang
	watched_all clang-tsan
}

@test "sanitize: threads under ASan and UBSan (gcc)" {
	watched_all gcc-asan
}

@test "sanitize: threads under ASan and UBSan (clang)" {
	need clang
	watched_all clang-asan
}

@test "sanitize: logging, tracing and statistics" {
	local dir=$BATS_TEST_TMPDIR sanitizer
	export ALLOC_LOG=$dir/log ALLOC_TRACE=$dir/trace ALLOC_STATS=$dir/stats
	for sanitizer in asan tsan; do
		rm -f "$dir"/*
		ALLOC_HELP=1 watched gcc-$sanitizer "${CASES[@]}"
		grep -q 'event=park' "$ALLOC_LOG"
		grep -q '^@ .* + 0x' "$ALLOC_TRACE"
		grep -q 'in_use=' "$ALLOC_STATS"
	done
}

# Of the names in the golden list none is left without the prefix.
@test "sanitize: with ALLOC_PREFIX all names have it" {
	local so=$BATS_TEST_TMPDIR/lib.so cc
	grep -vE '^(_Z|__libc_|dlopen$|mlock|madvise$|(pkey_)?mprotect$)' \
		test/golden/exports.txt |
		sed 's/^/al_/' >"$BATS_TEST_TMPDIR/golden"
	for cc in gcc clang; do
		command -v $cc >/dev/null || continue
		$cc -O2 -shared -fPIC -Wall -Wextra -Wundef -Werror \
			-DALLOC_PREFIX=al_ allocator.c -o "$so"
		nm -D --defined-only "$so" | awk '{ print $3 }' |
			LC_ALL=C sort | same - "$BATS_TEST_TMPDIR/golden"
	done
}
