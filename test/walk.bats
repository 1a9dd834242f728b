#!/usr/bin/env bats
# Random walks against a shadow model (walk.c); WALK_SEED chooses another walk

load lib

setup_file()
{
	cc_test walk
}

walk() # [OPS [THREADS [BLOCKS [LARGEST]]]]
{
	pre build/test/walk "${WALK_SEED:-20240229}" "$@"
}

@test "walk: a million steps of one thread" {
	walk 1000000
}

@test "walk: a million steps of four threads that exchange blocks" {
	walk 1000000 4
}

@test "walk: many small blocks" {
	walk 1000000 1 60000 512
}

@test "walk: few large blocks, four threads" {
	WALK_SEED=7 walk 100000 4 1024 33554432
}

@test "walk: nothing kept (ALLOC_THRESH=0)" {
	ALLOC_THRESH=0 walk 400000 1
	ALLOC_THRESH=0 walk 400000 4
}

@test "walk: one block kept (ALLOC_THRESH=1)" {
	ALLOC_THRESH=1 walk 400000 1
	ALLOC_THRESH=1 walk 400000 4
}

@test "walk: much kept (ALLOC_THRESH=400)" {
	ALLOC_THRESH=400 walk 400000 1
	ALLOC_THRESH=400 walk 400000 4
}

@test "walk: every block a mapping of its own (ALLOC_DIRECT=1)" {
	ALLOC_DIRECT=1 walk 60000 1 1024 20000
	ALLOC_DIRECT=1 walk 60000 4 1024 200000
	ALLOC_DIRECT=1 ALLOC_THRESH=0 walk 20000 4 1024 20000
}
