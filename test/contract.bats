#!/usr/bin/env bats
# What each entry point promises, from C (contract.c) and C++ (newdel.cc)

load lib

setup_file()
{
	cc_test contract
	build_cxx
}

# newdel.cc needs flags of its own, so it does not go through cc_test.
build_cxx()
{
	local cxx=${CXX:-g++} out=build/test/newdel

	if command -v "$cxx" >/dev/null &&
	   ! { [ $out -nt test/newdel.cc ] && [ $out -nt test/test.h ]; }; then
		"$cxx" -std=gnu++17 -fsized-deallocation -O0 -g -fno-builtin \
			-Wall -Wextra -pthread test/newdel.cc -o $out
	fi
}

contract() # CASE
{
	pre build/test/contract "$1"
}

newdel() # CASE
{
	need "${CXX:-g++}"
	pre build/test/newdel "$1"
}

@test "contract: every case of the C and C++ tables is run below" {
	local name program
	for program in contract newdel; do
		[ "$program" = contract ] || need "${CXX:-g++}"
		for name in $(build/test/$program list); do
			grep -Eq "$program $name( |\$)" "$BATS_TEST_FILENAME" ||
				{ echo "$program $name is not run"; false; }
		done
	done
}

@test "contract: every name is exported, by one library" {
	contract exports
}

@test "contract: size 0 gives a block of its own" {
	contract zero_size
}

@test "contract: sizes past PTRDIFF_MAX are refused with ENOMEM" {
	contract too_large
}

@test "contract: calloc and reallocarray see overflow" {
	contract product_overflow
}

@test "contract: a realloc that fails keeps the block" {
	contract realloc_fails
}

@test "contract: a null pointer is fine everywhere" {
	contract null_pointer
}

@test "contract: errno is kept by free and by success" {
	contract errno_kept
}

@test "contract: posix_memalign returns its errors, and ENOMEM in errno, too" {
	contract posix_memalign_errors
}

@test "contract: aligned_alloc refuses what is no power of two" {
	contract aligned_alloc_errors
}

@test "contract: memalign rounds the alignment up" {
	contract memalign_rounds
}

@test "contract: valloc and pvalloc give whole pages" {
	contract valloc_pages
}

@test "contract: all sizes are aligned" {
	contract alignment
}

@test "contract: alignments up to 1 GiB, and their space comes back" {
	contract huge_alignment
}

@test "contract: calloc gives zeroes after dirt of every size" {
	contract calloc_zeroes
}

@test "contract: realloc keeps the bytes from every size to every other" {
	contract realloc_keeps
}

@test "contract: realloc to 0 frees" {
	contract realloc_zero
}

@test "contract: a block that realloc moves leaves nothing behind" {
	contract realloc_moves
}

@test "contract: all of the usable size is writable and kept" {
	contract usable_size
}

@test "contract: a block of any origin goes back by any door" {
	contract interchange
}

@test "contract: every way to free gives the memory back" {
	level_1
	contract free_returns
}

@test "contract: the first call of a thread may be any" {
	contract first_of_thread
}

@test "contract: the first call of a process may be any" {
	contract first_of_process
}

@test "contract: calls before main, and 200 exit handlers" {
	contract constructor
}

@test "contract: mallinfo2 rises and falls with what is live" {
	contract mallinfo2_figures
}

@test "contract: mallinfo2 counts what ended threads left" {
	contract mallinfo2_threads
}

@test "contract: mallinfo2 counts blocks that are mappings by ALLOC_DIRECT" {
	ALLOC_DIRECT=1 contract mallinfo2_direct
}

@test "contract: mallinfo rises with what is live" {
	contract mallinfo_figures
}

@test "contract: malloc_stats writes true figures to stderr" {
	contract stats_text
}

@test "contract: malloc_info writes to a stream that allocates" {
	contract info_stream
}

@test "contract: malloc_info is valid XML" {
	need xmllint
	contract info_xml >"$BATS_TEST_TMPDIR/info.xml"
	xmllint --noout "$BATS_TEST_TMPDIR/info.xml"
}

@test "contract: malloc_trim gives idle memory back" {
	level_1
	contract trim
}

@test "contract: mallopt takes the known parameters" {
	contract options
}

@test "contract: nothing wakes the heap of the C library" {
	contract no_other_heap
}

@test "contract: what the C library allocates can be freed" {
	contract libc_blocks
}

@test "contract: free_sized and free_aligned_sized" {
	contract sized_free
}

@test "contract: the heap goes on after requests that failed" {
	contract goes_on_after_failure
}

@test "c++: every new with every delete" {
	newdel pairs
}

@test "c++: the operators come from where malloc comes from" {
	newdel exports
}

@test "c++: expressions with over-aligned types" {
	newdel expressions
}

@test "c++: bad_alloc, or NULL from nothrow" {
	newdel no_memory
}

@test "c++: an alignment that is no power of two" {
	newdel bad_alignment
}

@test "c++: the new_handler runs and may throw" {
	newdel handler
}

@test "c++: a new_handler that frees a reserve" {
	newdel handler_reserve
}

@test "c++: thread_local objects free at the end of their thread" {
	newdel thread_locals
}

@test "c++: static objects free at exit" {
	newdel static_objects
}
