#!/usr/bin/env bats
# What runs the tests (test/run): what it prints, and what it leaves behind

load lib

# Files with a test that fails with 300 lines, one that passes, an endless one
setup()
{
	local test=@test # bats takes lines that begin so for tests of its own
	cat >"$BATS_TEST_TMPDIR/sample.bats" <<-END
		$test "long-winded" { seq 300; false; }
		$test "good" { true; }
	END
	echo "$test \"endless\" { sleep 4711; }" \
		>"$BATS_TEST_TMPDIR/endless.bats"
}

# As from a shell, not from a test
runner() # FILE.bats...
{
	env -i HOME="$HOME" PATH="${PATH//*bats-core:/}" LANES=2 test/run "$@"
}

@test "run: a test that fails prints 60 lines at most" {
	run runner "$BATS_TEST_TMPDIR/sample.bats"
	echo "$output"
	[ "$status" -ne 0 ]
	[ "${lines[-1]}" = "1 passed, 1 failed" ]
	[ "${#lines[@]}" -le 70 ]
	[ "$(grep -c '^# [0-9]*$' <<<"$output")" -le 60 ]
	grep -q 'build/log/sample.tap' <<<"$output"
}

@test "run: nothing is left when nobody reads on" {
	runner "$BATS_TEST_TMPDIR"/{sample,endless}.bats | head -n 2
	run pgrep -f 'sleep 4711'
	[ "$status" -eq 1 ]
}
