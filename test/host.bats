# The library as a guest: what the program opens by dlopen, who else stands in
# front of it, what a core tells of a report; at all levels of ALLOC_CHECK.
#
# shellcheck disable=SC2030,SC2031 # status and output are those of this test

load lib

DIR=$ROOT/build/test/host.d

setup_file()
{
	mkdir -p "$DIR/modules/inner"
	cc_test host -rdynamic
	part modules/inner/libinner INNER
	part modules/module MODULE -L"$DIR/modules/inner" -linner \
		-Wl,-rpath,'$ORIGIN/inner'
	part opener OPENER -Wl,-rpath,'$ORIGIN/modules'
	part hook HOOK
	part other OTHER
}

# part NAME PART FLAGS... - one of the libraries that test/host.c makes
part()
{
	cc_once "build/test/host.d/$1.so" test/host.c "-DPART_$2" -O0 -g \
		-shared -fPIC -fno-builtin "${@:3}" -Wl,--enable-new-dtags
}

# host EXPECTED ARG... - its output, at each level
host()
{
	local level
	for level in 1 2 3; do
		ALLOC_CHECK=$level run pre build/test/host "${@:2}"
		echo "level $level: $status $output"
		[ "$status" -eq 0 ]
		[ "$output" = "$1" ]
	done
}

# -- RTLD_DEEPBIND

# gperftools #1148, hardened_malloc #98: the program and what it opened so have
# two heaps, and each frees the other's blocks
@test "host: blocks cross between a program and a module by RTLD_DEEPBIND" {
	host crossed cross "$DIR/modules/module.so"
	export ALLOC_DEEPBIND=1
	run pre build/test/host cross "$DIR/modules/module.so"
	echo "$status $output"
	[ "$status" -eq 134 ]
	[[ "$output" == "allocator: free of foreign pointer 0x"* ]]
}

# CPython: malloc's address is that of an entry of the program's PLT
@test "host: the same of a program that is linked to where it lies" {
	local fixed=$BATS_TEST_TMPDIR/fixed
	"${CC:-cc}" -std=gnu11 -O0 -rdynamic -fno-builtin -no-pie -fno-pie \
		test/host.c -o "$fixed"
	run pre "$fixed" cross "$DIR/modules/module.so"
	echo "$status $output"
	[ "$output" = crossed ]
	run pre env ALLOC_HELP=1 "$fixed" cross "$DIR/modules/module.so"
	[[ "$output" != *"not in use"* ]]
	[ "${lines[-1]}" = crossed ]
}

# The real dlopen looks in the RUNPATH of its caller, and in its namespace
@test "host: who asks for a module stays who asks for it" {
	local opener=$DIR/opener.so how
	for how in deep plain; do
		bare build/test/host opener "$opener" $how module.so |
			grep -qx crossed
		host crossed opener "$opener" $how module.so
	done
	host "" opener "$opener" apart module.so
	# one that has a copy of the library in its namespace
	part linked OPENER -Wl,-rpath,'$ORIGIN/modules',--no-as-needed \
		"$ALLOC_SO"
	for how in deep plain; do
		host crossed opener "$DIR/linked.so" $how module.so
	done
	host "" opener "$DIR/linked.so" apart module.so
	run bare build/test/host opener "$opener" plain nowhere.so
	[ "$status" -eq 1 ]
	[[ "$output" == *nowhere.so* ]]
}

# A compiler that makes a call of the last jump would spoil that
@test "host: the same of builds by other compilers and flags" {
	local flags so=$BATS_TEST_TMPDIR/lib.so cc
	for cc in gcc clang; do
		command -v $cc >/dev/null || continue
		for flags in -O0 -O1 "-O2 -fstack-protector-all"; do
			echo "$cc $flags"
			# shellcheck disable=SC2086 # options
			$cc $flags -w -std=gnu11 -shared -fPIC -DLOGGER=0 \
				-DTRACE_ON=0 allocator.c -o "$so"
			ALLOC_SO=$so run pre build/test/host opener \
				"$DIR/opener.so" plain module.so
			echo "$status $output"
			[ "$output" = crossed ]
		done
	done
}

# google/sanitizers #611: a check of the flag ends programs that would have
# done without the module
@test "host: a module that is not there is an error, and no more" {
	local name
	for name in nowhere.so /etc/passwd; do
		bare build/test/host missing $name >"$BATS_TEST_TMPDIR/bare"
		host "$(cat "$BATS_TEST_TMPDIR/bare")" missing $name
	done
}

# VirtualGL #39: others stand in front of dlopen, too
@test "host: a preload that has a dlopen of its own, on either side" {
	local both expected
	expected=$(printf 'hooked\ncrossed')
	for both in "$DIR/hook.so $ALLOC_SO" "$ALLOC_SO $DIR/hook.so"; do
		ALLOC_SO=$both host "$expected" cross "$DIR/modules/module.so"
	done
}

# php-src PR 16779: a web server and a module have different things by a name
@test "host: ALLOC_DEEPBIND=1 keeps apart what has the same name" {
	host "the program's" whose "$DIR/modules/module.so"
	[ "$(bare build/test/host whose "$DIR/modules/module.so")" = \
		"the module's" ]
	export ALLOC_DEEPBIND=1
	host "the module's" whose "$DIR/modules/module.so"
}

@test "host: where malloc is not ours RTLD_DEEPBIND stays" {
	local late=$BATS_TEST_TMPDIR/late
	"${CC:-cc}" -std=gnu11 -O0 -rdynamic -fno-builtin test/host.c \
		-Wl,--no-as-needed -lc "$ALLOC_SO" -o "$late"
	[ "$(bare "$late" whose "$DIR/modules/module.so")" = "the module's" ]
	"${CC:-cc}" -std=gnu11 -O0 -rdynamic -fno-builtin test/host.c \
		-Wl,--no-as-needed "$ALLOC_SO" -o "$late"
	[ "$(bare "$late" whose "$DIR/modules/module.so")" = "the program's" ]
	ALLOC_SO="$DIR/other.so $ALLOC_SO" \
		host "the module's" whose "$DIR/modules/module.so"
}

# Which in a handle of libc is glibc's: it can't end well, and should not hang
@test "host: free by a handle of the program, or of libc" {
	host "" handle
	run pre build/test/host handle libc.so.6
	echo "$status $output"
	[ "$status" -ne 124 ]
}

# -- who has malloc

# jemalloc #1636, mimalloc #545: it is loaded, but somebody else serves
@test "host: ALLOC_HELP=1 says who has malloc if the library has not" {
	local late=$BATS_TEST_TMPDIR/late
	local not="^allocator: not in use, malloc is that of"
	run pre env ALLOC_HELP=1 /bin/true
	[[ "$output" == *"ALLOC_THRESH=200"* ]]
	! grep "$not" <<<"$output" || false
	"${CC:-cc}" -std=gnu11 -O0 -rdynamic -fno-builtin test/host.c \
		-Wl,--no-as-needed -lc "$ALLOC_SO" -o "$late"
	ALLOC_HELP=1 run bare "$late" perturb
	echo "$output"
	grep -q "$not libc.so.6+0x[0-9a-f]*: preload" <<<"$output"
	ALLOC_HELP=1 ALLOC_SO="$DIR/other.so $ALLOC_SO" run pre /bin/true
	echo "$output"
	grep -q "$not other.so+0x[0-9a-f]*: preload" <<<"$output"
}

# -- reports

@test "host: a report is where crash reporters look for the reason" {
	local level
	for level in 1 2 3; do
		ALLOC_CHECK=$level run pre build/test/host misuse
		echo "$status $output"
		[ "$status" -eq 3 ]
		[ "$(grep -c '^allocator: double free 0x' <<<"$output")" -eq 2 ]
		[ "${lines[0]}" = "${lines[1]}" ]
		[[ "${lines[-1]}" == *"all is well"* ]]
	done
}

@test "host: gdb finds the reason in a process that aborted" {
	need gdb
	run bare gdb -q -nx -batch -ex "set startup-with-shell off" \
		-ex "set environment LD_PRELOAD $ALLOC_SO" -ex run \
		-ex 'x/s *(char **)&__abort_msg + 4' \
		--args build/test/host misuse quiet
	[[ "$output" == *SIGABRT* ]] || skip "may not trace"
	echo "$output"
	[[ "${lines[-1]}" == 0x*'"allocator: double free 0x'*'\n"' ]]
}

@test "host: a report on musl, which keeps no reason" {
	need musl-gcc
	echo '#include <stdlib.h>
		int main(void) { void *volatile p = malloc(24);
		free(p); free(p); return 0; }' >"$BATS_TEST_TMPDIR/twice.c"
	musl-gcc -w -fno-builtin -static -std=gnu11 allocator.c \
		"$BATS_TEST_TMPDIR/twice.c" -o "$BATS_TEST_TMPDIR/twice"
	run bare "$BATS_TEST_TMPDIR/twice"
	echo "$status $output"
	[ "$status" -eq 134 ]
	[[ "$output" == "allocator: double free 0x"* ]]
}

@test "host: mallopt says whether M_PERTURB fills" {
	[ "$(bare build/test/host perturb)" = "1 1" ]
	host "0 0" perturb
}
