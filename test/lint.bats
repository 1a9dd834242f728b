# The source is clean under every checker, and within its limits.
#
# test/run: early

load lib

BATS_TEST_TIMEOUT=600
export BATS_TEST_TIMEOUT

checked()
{
	run tools/lint "$1"
	[ "$status" -ne 77 ] || skip "$output"
	echo "$output"
	[ "$status" -eq 0 ]
}

@test "lint: clang-format would change nothing" {
	checked format
}

@test "lint: clang-tidy has nothing to say" {
	checked tidy
}

@test "lint: cppcheck has nothing to say" {
	checked cppcheck
}

@test "lint: shellcheck has nothing to say" {
	checked shell
}

@test "lint: lengths of files, functions and lines are within the limits" {
	checked limits
}
