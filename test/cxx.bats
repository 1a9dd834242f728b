#!/usr/bin/env bats
# Operators new and delete that a program replaces, or nobody does
# (cxx.cc): each form ends where the standard says, and every call is counted

load lib

OUT=build/test/cxx

setup()
{
	need "${CXX:-g++}"
	mkdir -p $OUT
}

# built NAME CXX FLAGS... - compiles cxx.cc unless that is done
built()
{
	local out=$OUT/$1
	[ "$out" -nt test/cxx.cc ] ||
		"${@:2}" -fPIC -w test/cxx.cc -o "$out"
}

# linked NAME CXX FLAGS... - makes a program or library of such
linked()
{
	(cd $OUT && "${@:2}" -rdynamic -o "$1")
}

# parts - what the other tests are made of
parts()
{
	CXX=${CXX:-g++}
	built work.o "$CXX" -std=c++17 -O1 -c -DPART_WORK
	built pair.o "$CXX" -O1 -c -DPART_PAIR=2
	built main.o "$CXX" -O1 -c -DPART_MAIN
	linked none "$CXX" work.o main.o
}

# counts CMD... - no form was where it does not belong, at any level
counts()
{
	local setting
	for setting in ALLOC_CHECK={1..3} ALLOC_THRESH=0; do
		run deadline 30 env "$setting" "$@"
		echo "$setting $*: $status $output"
		[ "$status" -eq 0 ]
		[ "$output" = "0 failed" ]
	done
}

# replaced CXX... - by the program itself: two operators, then also the aligned
replaced()
{
	local std level=0 pair name
	for pair in 1 2; do
		built "$1-$pair.o" "$@" -O2 -c -DPART_PAIR=$pair
	done
	built "$1-main.o" "$@" -c -DPART_MAIN
	for std in 11 14 17 20; do
		name=$1-$std
		built "$name.o" "$@" -std=c++$std -O$level -c -DPART_WORK
		for pair in 1 2; do
			linked "$name-$pair" "$@" "$name.o" "$1-$pair.o" \
				"$1-main.o"
			counts LD_PRELOAD="$ALLOC_SO" $OUT/"$name-$pair" $pair
		done
		level=$((2 - level))
	done
}

@test "cxx: two operators of a program get what every form is asked, g++" {
	replaced "${CXX:-g++}"
}

@test "cxx: two operators of a program get what every form is asked, libc++" {
	need clang++
	echo '#include <vector>' |
		clang++ -stdlib=libc++ -fsyntax-only -xc++ - ||
		skip "needs libc++"
	replaced clang++ -stdlib=libc++
}

@test "cxx: without any replaced, and with the library that has none" {
	parts
	counts LD_PRELOAD="$ALLOC_SO" $OUT/none 0
	"${CC:-cc}" -shared -fPIC -DALLOC_CXX=0 allocator.c \
		-o "$BATS_TEST_TMPDIR/c.so"
	run nm -D --defined-only "$BATS_TEST_TMPDIR/c.so"
	[[ "$output" != *_Z* ]]
	counts LD_PRELOAD="$BATS_TEST_TMPDIR/c.so" $OUT/none 0
}

@test "cxx: operators of a shared library that comes before" {
	parts
	linked pair.so "$CXX" -shared pair.o
	counts LD_PRELOAD="$ROOT/$OUT/pair.so $ALLOC_SO" $OUT/none 2
	linked both "$CXX" work.o main.o "$ROOT/$OUT/pair.so" "$ALLOC_SO"
	counts $OUT/both 2
	# Its static objects do their work before our constructor runs
	built early.o "$CXX" -std=c++17 -c -DEARLY=2 -DPART_WORK
	linked early.so "$CXX" -shared early.o pair.o
	counts LD_PRELOAD="$ROOT/$OUT/early.so $ALLOC_SO" $OUT/none 2
}

# What a plugin calls is bound by the linker: to the program's operators, else
# to the library's, even where the plugin has some of its own
@test "cxx: a plugin, with the operators of the program or its own" {
	local name flags
	parts
	cc_test cases
	linked plugin.so "$CXX" -shared work.o
	linked own.so "$CXX" -shared work.o pair.o
	linked host "$CXX" main.o pair.o
	linked bare "$CXX" main.o
	for flags in 2 258; do # RTLD_NOW, RTLD_GLOBAL
		counts LD_PRELOAD="$ALLOC_SO" $OUT/host 2 $OUT/plugin.so $flags
		counts LD_PRELOAD="$ALLOC_SO" $OUT/bare 0 $OUT/plugin.so $flags
		counts LD_PRELOAD="$ALLOC_SO" $OUT/bare 0 $OUT/own.so $flags
	done
	for name in plugin own; do
		run pre build/test/cases plugin $OUT/$name.so 0 0
		echo "$name: $status $output"
		[ "$output" = 0 ]
	done
}

# static NAME LIBRARY... - programs with operators of their own, and with none
static()
{
	local pair part out=$BATS_TEST_TMPDIR/static
	for pair in 0 2; do
		part=(work.o main.o)
		[ $pair = 0 ] || part+=(pair.o)
		linked "$out" "$CXX" -static "${part[@]}" "$1" 2>&1 |
			grep -v "dlopen\|in function .main'" || true
		counts "$out" $pair
		ALLOC_HELP=1 run deadline 9 "$out" $pair
		[[ "$output" == *ALLOC_THRESH=* ]]
	done
}

@test "cxx: linked statically, with and without operators of one's own" {
	local dir=$BATS_TEST_TMPDIR
	parts
	"${CC:-cc}" -c -DALLOC_CXX=0 allocator.c -o "$dir/c.o"
	run nm "$dir/c.o"
	[[ "$output" != *" _Z"* ]]
	"${CC:-cc}" -c allocator.c -o "$dir/allocator.o"
	make -s liballocator.a
	static "$dir/c.o"
	static "$dir/allocator.o"
	static "$ROOT/liballocator.a"
}
