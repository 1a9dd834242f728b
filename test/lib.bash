# shellcheck shell=bash
# test/lib.bash - what the bats files share: `load lib` at their top.
#
# ALLOC_SO is the library under test, always an absolute path; TEST_SO is the
# same for what the tests start, since the library has no option of the other
# name. Nothing but the program under test is ever preloaded: not bats, not the
# tools around it.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
ALLOC_SO=$(readlink -f "${ALLOC_SO:-${TEST_SO:-$ROOT/allocator.so}}")
export ROOT TEST_SO="$ALLOC_SO"
export -n ALLOC_SO
cd "$ROOT" || exit 1
ulimit -c 0
mkdir -p build/test build/log

# Seconds a program under test may take before deadline ends it
: "${LIMIT:=60}"

# Like timeout(1), but prints where every thread of a hung program stood, and
# waits longer at slower levels of ALLOC_CHECK
deadline() # SECONDS CMD...
{
	cc_once build/test/deadline test/deadline.c -O1
	"$ROOT/build/test/deadline" $(($1 * ${SLOW:-1})) "${@:2}"
}

# pre CMD... - runs CMD on the library; ALLOC_* variables may be set around it
pre()
{
	deadline "$LIMIT" env -u ALLOC_SO LD_PRELOAD="$ALLOC_SO" "$@"
}

# level_1 - in a test of what ALLOC_CHECK=2 and 3, with seals, a quarantine and
# inaccessible pages, are known to do otherwise (SECURITY.md)
level_1()
{
	unset ALLOC_CHECK
}

# level_2 - the same, where level 2 does as level 1
level_2()
{
	[ "${ALLOC_CHECK:-1}" -lt 3 ] || export ALLOC_CHECK=2
}

# bare CMD... - the same without the library
bare()
{
	deadline "$LIMIT" env -u LD_PRELOAD -u ALLOC_SO "$@"
}

# cc_test NAME [FLAGS...] - compiles test/NAME.c to build/test/NAME
cc_test()
{
	local name=$1
	shift
	cc_once "build/test/$name" "test/$name.c" \
		-O0 -g -fno-builtin -pthread "$@"
}

# cc_once OUT SOURCE FLAGS... - compiles unless OUT is newer than its sources;
# both are named from the root. The new program replaces the old one in one
# step, since other tests may be running it.
cc_once()
{
	local out=$ROOT/$1 source=$ROOT/$2
	shift 2
	if [ "$out" -nt "$source" ] && [ "$out" -nt "$ROOT/test/test.h" ]; then
		return 0
	fi
	mkdir -p "$(dirname "$out")"
	"${CC:-cc}" -std=gnu11 -Wall -Wextra "$source" "$@" -o "$out.$$" &&
		mv "$out.$$" "$out"
}

# need TOOL... - skips the test when a tool is not installed
need()
{
	local tool
	for tool; do
		command -v "$tool" >/dev/null || skip "needs $tool"
	done
}

# same FILE FILE - fails with the first differences unless the files are equal
same()
{
	cmp -s "$1" "$2" && return 0
	echo "$1 and $2 differ:"
	diff -a "$1" "$2" | head -n 20 | cut -c 1-200
	return 1
}
