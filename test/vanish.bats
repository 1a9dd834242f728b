#!/usr/bin/env bats
# A fork, wherever another thread is in a call (vanish.c): its child takes over
# what that thread has left. With ALLOC_CHECK set at that level, else at each.

load lib

setup_file()
{
	cc_test vanish
}

# vanish CASE STRIDE SIZE [LEVELS]
vanish()
{
	local level
	for level in ${ALLOC_CHECK:-${4:-1 2 3}}; do
		ALLOC_CHECK=$level run pre build/test/vanish "${@:1:3}"
		echo "ALLOC_CHECK=$level: $output"
		[ "$status" -ne 77 ] || skip "$output"
		[ "$status" -eq 0 ]
	done
}

@test "vanish: while a page that a slab gave back is filled" {
	vanish hole 29 2560 1
	vanish hole 199 2560 "2 3"
}

@test "vanish: while blocks are carved from memory with old contents" {
	vanish carve 25 1000
	vanish carve 60 100
}

@test "vanish: while a block is freed, and while others are taken" {
	vanish free 5 1000
	vanish extent 61 20000 1
}

@test "vanish: while a block shrinks" {
	vanish realloc 211 20000 "1 2"
	vanish realloc 499 1000
}

@test "vanish: while all is trimmed" {
	vanish trim 7001 1000
}

@test "vanish: a child adopts a heap while it frees a block for it" {
	vanish adopt 7 1000
}

@test "vanish: a stale pointer is freed while its unit becomes a slab" {
	export ALLOC_ABORT=0
	vanish stale 50 1000 1
}
