#!/usr/bin/env bats
# Strings of bytes that are played as calls, against a model (fuzz/driver.c).
# These are old ones and random ones; `make fuzz` looks for new ones.

load lib
load sanitize

export LIMIT=100

setup_file()
{
	local player=(-DLOGGER=0 -DTRACE_ON=0 test/fuzz/driver.c
		test/fuzz/main.c)
	with_allocator "${CC:-cc}" fuzz-plain -O2 "${player[@]}"
	with_allocator "${CC:-cc}" fuzz-asan "${ASAN[@]}" "${player[@]}"
}

setup()
{
	level_1 # the strings say which level they are played at
}

play() # PROGRAM ARGUMENT...
{
	steady "build/test/$1" "${@:2}" >"$BATS_TEST_TMPDIR/log" ||
		{ echo "at $(tail -n 1 "$BATS_TEST_TMPDIR/log")"; false; }
}

kept()
{
	find test/fuzz/corpus test/fuzz/crashes -type f 2>/dev/null
}

@test "fuzz: the corpus, and what once failed, under ASan and UBSan" {
	mapfile -t files < <(kept)
	[ ${#files[@]} -ge 40 ]
	play fuzz-asan "${files[@]}"
}

@test "fuzz: the same as users have it" {
	mapfile -t files < <(kept)
	play fuzz-plain "${files[@]}"
}

@test "fuzz: random strings under ASan and UBSan" {
	play fuzz-asan random 1 200
}

@test "fuzz: random strings as users have it" {
	play fuzz-plain random 1001 200
}

@test "fuzz: random misuse by several threads under ASan and UBSan" {
	play fuzz-asan misuse 1 400
}

@test "fuzz: random misuse as users have it" {
	play fuzz-plain misuse 1001 1000
}

@test "fuzz: both fuzzers can be built, and run" {
	need clang afl-fuzz
	FUZZ_SECONDS=2 FUZZ_OUT=$BATS_TEST_TMPDIR bare test/fuzz/run
}
