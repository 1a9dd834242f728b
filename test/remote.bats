#!/usr/bin/env bats
# One thread and the memory and locks of another (remote.c)

load lib

setup_file()
{
	cc_test remote
}

remote() # CASE
{
	pre build/test/remote "$1"
}

@test "remote: every case of remote.c is run below" {
	local name
	for name in $(build/test/remote list); do
		grep -q "remote $name\$" "$BATS_TEST_FILENAME" ||
			{ echo "remote $name is not run"; false; }
	done
}

@test "remote: what another thread freed a little of goes back" {
	level_2 # quarantine
	remote few_by_another
}

@test "fork: in a handler, while another thread forks" {
	remote handler_beside_fork
}

@test "fork: in a handler, while another thread reads mallinfo" {
	remote handler_beside_census
}

@test "fork: beside malloc_trim, which sends what others left" {
	local level
	for level in 1 2 3; do
		ALLOC_CHECK=$level pre build/test/remote forks_beside_trim
	done
}
