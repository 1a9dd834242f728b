#!/usr/bin/env bats
# What went wrong elsewhere when malloc was replaced, where no other file here
# has it (cases.c); doc/compatibility.md lists it all. FULL=1: long counts

load lib

LIMIT=${FULL:+900}
LIMIT=${LIMIT:-60}
[ "$LIMIT" = 60 ] || export BATS_TEST_TIMEOUT=1000

setup_file()
{
	cc_test cases
	cc_once build/test/case_hook.so test/case_hook.c -O1 -fno-builtin \
		-shared -fPIC
}

# A case that can't run here ends with 77.
cases() # CASE [ARGUMENT...]
{
	run pre build/test/cases "$@"
	echo "$output"
	[ "$status" -ne 77 ] || skip "$output"
	[ "$status" -eq 0 ]
}

# library OUT FLAGS... - a build of the library of its own
library()
{
	"${CC:-cc}" -O2 -std=gnu11 -shared -fPIC "${@:2}" allocator.c -o "$1"
}

@test "cases: every case of cases.c is run below" {
	local name
	for name in $(build/test/cases list); do
		grep -Eq "(cases|secure\") $name( |\$)" \
			"$BATS_TEST_FILENAME" ||
			{ echo "cases $name is not run"; false; }
	done
}

@test "cases: each test that doc/compatibility.md names is there" {
	local name names=$BATS_TEST_TMPDIR/names
	grep -v '`file:' doc/compatibility.md |
		grep -oE '`[a-z+]+( [a-z]+)?: [^`]*`' | tr -d '`' >"$names"
	[ "$(wc -l <"$names")" -gt 100 ]
	while IFS= read -r name; do
		grep -qF "@test \"$name" test/*.bats ||
			{ echo "there is no $name"; false; }
	done <"$names"
}

# -- start

@test "cases: what the library calls may be hooked, and the hook allocate" {
	local hook=$ROOT/build/test/case_hook.so both setting
	for both in "$hook $ALLOC_SO" "$ALLOC_SO $hook"; do
		for setting in ALLOC_THRESH= ALLOC_THRESH=0 ALLOC_DIRECT=1; do
			run deadline 60 env "$setting" LD_PRELOAD="$both" \
				build/test/cases errands
			echo "$setting $both: $status $output"
			[ "$status" -eq 0 ]
			[ "$output" = "done" ]
		done
	done
}

# What neither that preload hooks nor can be said to be harmless
@test "cases: there is a hook for all that the library calls" {
	local harmless='abort|ferror|fprintf|fwrite'
	harmless="$harmless|mem(cpy|set)|str(len|ncmp|str|chr)"
	harmless="$harmless|__abort_msg|dlsym"
	harmless="$harmless|_*environ|__errno_location|__cxa_finalize"
	harmless="$harmless|__gmon_start__|_ITM_.*|_Z.*|dl(addr|open|sym)"
	nm -D --defined-only build/test/case_hook.so |
		awk '{ print $3 }' >"$BATS_TEST_TMPDIR/hooked"
	grep -qx mmap "$BATS_TEST_TMPDIR/hooked"
	nm -D --undefined-only "$ALLOC_SO" |
		awk '{ sub(/@.*/, "", $NF); print $NF }' |
		grep -vxE "$harmless" >"$BATS_TEST_TMPDIR/called"
	grep -qx pthread_key_create "$BATS_TEST_TMPDIR/called"
	run grep -vxFf "$BATS_TEST_TMPDIR/hooked" "$BATS_TEST_TMPDIR/called"
	echo "$output"
	[ "$status" -eq 1 ]
}

@test "cases: an auditor that allocates at each symbol, and has the library" {
	local dir=$BATS_TEST_TMPDIR name
	cc_once build/test/case_audit.so test/case_audit.c -O1 -fno-builtin \
		-shared -fPIC
	"${CC:-cc}" -shared -fPIC -fno-builtin test/case_audit.c \
		-Wl,--no-as-needed "$ALLOC_SO" -o "$dir/linked.so"
	readelf -d "$dir/linked.so" | grep -q "NEEDED.*$(basename "$ALLOC_SO")"
	for name in "$ROOT/build/test/case_audit.so" "$dir/linked.so"; do
		run pre env LD_AUDIT="$name" build/test/cases errands
		echo "$name: $status $output"
		[ "$status" -eq 0 ]
		[ "$output" = "done" ]
		bare env LD_AUDIT="$name" LD_BIND_NOW=1 LD_PRELOAD="$ALLOC_SO" \
			sort /etc/passwd | same - <(sort /etc/passwd)
	done
}

# Linked with the library, since LD_PRELOAD is ignored there
@test "cases: options are ignored by a program with file capabilities" {
	local options
	need setcap setpriv
	[ "$(id -u)" -eq 0 ] || skip "needs root to give capabilities"
	dir=$(mktemp -d /tmp/alloc.XXXXXX)
	mkdir -m 777 "$dir/out"
	cp "$ALLOC_SO" "$dir/allocator.so"
	"${CC:-cc}" -std=gnu11 -w -fno-builtin -pthread test/cases.c \
		-Wl,--no-as-needed -L"$dir" -l:allocator.so \
		-Wl,-rpath,"$dir" -o "$dir/secure"
	chmod 755 "$dir" "$dir/allocator.so"
	options=(ALLOC_HELP=1 ALLOC_THRESH=abc ALLOC_LOG="$dir/out/log"
		ALLOC_STATS="$dir/out/stats" ALLOC_TRACE="$dir/out/trace")

	run deadline 60 setpriv --reuid=nobody --clear-groups \
		env "${options[@]}" "$dir/secure" secure
	echo "ordinary: $output, files: $(ls "$dir/out")"
	[ "$output" = "secure=0" ]
	[ -s "$dir/out/stats" ]
	rm -f "$dir/out"/*
	setcap cap_net_raw+ep "$dir/secure" || skip "no file capabilities here"
	run deadline 60 setpriv --reuid=nobody --clear-groups \
		env "${options[@]}" "$dir/secure" secure
	echo "secure: $output, files: $(ls "$dir/out")"
	[ "$output" != "secure=0" ] || skip "no effect in /tmp"
	[ "$status" -eq 0 ]
	[ "$output" = "secure=1" ]
	[ -z "$(ls "$dir/out")" ]
}

# -- threads and fork

@test "cases: the program has taken all keys for thread-specific data" {
	cases thread_keys
	ALLOC_THRESH=0 cases thread_keys
}

@test "cases: fork while others ask for statistics, trim, log and trace" {
	local dir=$BATS_TEST_TMPDIR odd
	library "$dir/logging.so"
	ALLOC_SO=$dir/logging.so ALLOC_LOG=$dir/log ALLOC_TRACE=/dev/null \
		ALLOC_STATS=$dir/stats cases forks_while_asked
	odd=$(grep -avE '^allocator\[[0-9]+\]( [a-z_]+=[0-9]+)+$' \
		"$dir/stats" | head -n 3)
	echo "${odd:-whole}"
	[ -z "$odd" ]
	[ "$(wc -l <"$dir/stats")" -gt 40 ]
	odd=$(grep -avE '^allocator\[[0-9.]+\] event=[a-z]+ addr=0x[0-9a-f]+ '\
'size=[0-9]+$' "$dir/log" | head -n 3)
	echo "${odd:-whole}"
	[ -z "$odd" ]
	[ -s "$dir/log" ]
}

@test "cases: a daemon gives back what it frees" {
	cases in_daemon
}

@test "cases: memory is private, and of no file" {
	cases private_mappings
	ALLOC_DIRECT=1 cases private_mappings
}

@test "cases: malloc_trim beside threads that go on freeing" {
	cases trim_beside_others
}

@test "cases: closed before a thread ends that used it, then fork" {
	local so
	for so in "$ALLOC_SO" build/plain.so; do
		[ -f "$so" ] || continue
		bare build/test/cases unload "$so"
	done
}

# -- interfaces

@test "cases: signals are the program's, and tricks with SIGSEGV work" {
	cases own_signals
	ALLOC_DIRECT=1 cases own_signals
}

@test "cases: mallinfo says INT_MAX for what is more" {
	cases large_mallinfo
}

@test "cases: figures while blocks are freed by others" {
	level_2 # what is held back is in use
	cases figures
	ALLOC_THRESH=0 cases figures
}

@test "cases: a C++ program with libstdc++ in it" {
	local name
	need "${CXX:-g++}"
	"${CXX:-g++}" -std=gnu++17 -fsized-deallocation -O0 -fno-builtin \
		-static-libstdc++ -static-libgcc -pthread test/newdel.cc \
		-o "$BATS_TEST_TMPDIR/newdel"
	for name in pairs expressions handler handler_reserve thread_locals \
		static_objects; do
		echo "$name"
		pre "$BATS_TEST_TMPDIR/newdel" "$name"
	done
}

# plugin SO HOW SIZE - what new does in a library that a C program opened
plugin()
{
	run pre build/test/cases plugin "$@"
	echo "$(basename "$1") ${*:2}: $status $output"
}

# What it asks for and can't have is thrown by its C++ library, which is hidden
# from ours.
@test "cases: a plugin in C++, of a program that is not" {
	local dir=$BATS_TEST_TMPDIR flags how huge=1152921504606846976
	need "${CXX:-g++}"
	for flags in "" "-static-libstdc++ -static-libgcc"; do
		# shellcheck disable=SC2086 # options
		"${CXX:-g++}" -std=gnu++17 -O0 -fno-builtin -shared -fPIC \
			$flags test/case_plugin.cc -o "$dir/plugin.so"
		for how in 0 1 2 3 4; do
			plugin "$dir/plugin.so" $how 1000
			[ "$output" = 0 ]
			plugin "$dir/plugin.so" $how 500000
			[ "$output" = 0 ]
		done
		plugin "$dir/plugin.so" 1 $huge
		[ "$output" = -2 ]
		for how in 0 2 3 4; do
			plugin "$dir/plugin.so" $how $huge
			[ "$output" = -1 ] || [ "$how $output" = "4 -3" ]
		done
	done
}

@test "cases: a plugin by RTLD_DEEPBIND that is linked to the library" {
	local plugin=$BATS_TEST_TMPDIR/plugin.so how
	cc_test startup
	"${CC:-cc}" -shared -fPIC -w -fno-builtin -DPART_PLUGIN test/startup.c \
		-Wl,--no-as-needed "$ALLOC_SO" -o "$plugin"
	for how in pair text cross; do
		run pre build/test/startup deepbind "$plugin" $how
		echo "$how: $status $output"
		[ "$status" -eq 0 ]
		[ -z "$output" ]
	done
}

# -- reports

# What has an exit has a report, after all that the program frees at its end
@test "cases: which ends of a process have a line in ALLOC_STATS" {
	local file=$BATS_TEST_TMPDIR/stats how in_use
	for how in return exit; do
		rm -f "$file"
		ALLOC_STATS=$file cases ends $how
		[ "$(wc -l <"$file")" -eq 1 ]
		in_use=$(sed 's/.* in_use=\([0-9]*\) .*/\1/' "$file")
		echo "$how: $in_use"
		[ "$in_use" -lt 2000000 ]
	done
	for how in _exit quick_exit abort term; do
		rm -f "$file"
		ALLOC_STATS=$file run pre build/test/cases ends $how
		echo "$how: $status $output"
		[ "$status" -ne 125 ]
		[ ! -e "$file" ]
	done
	rm -f "$file"
	ALLOC_STATS=$file run pre build/test/cases ends exec
	[ "$status" -eq 0 ]
	[ "$(wc -l <"$file")" -eq 1 ]
	! grep -q 'peak=[0-9]\{8\}' "$file" || false
}

@test "cases: a leak is the exit status of mtrace, and of nothing else" {
	local trace=$BATS_TEST_TMPDIR/trace
	need mtrace
	cc_test trace
	library "$trace.so" -DTRACE_ON=1 -DLOGGER=0
	ALLOC_SO=$trace.so ALLOC_TRACE=$trace pre build/test/trace clean
	mtrace build/test/trace "$trace"
	rm "$trace"
	ALLOC_SO=$trace.so ALLOC_TRACE=$trace pre build/test/trace leak
	run mtrace build/test/trace "$trace"
	echo "$status $output"
	[ "$status" -eq 1 ]
}

# -- other tools, and programs that are built otherwise

@test "cases: a child of 32 bits runs without the library" {
	local hello=$BATS_TEST_TMPDIR/hello libc=/lib32/libc.so.6
	[ -f $libc ] || skip "needs libc6-i386"
	[ "$(uname -m)" = x86_64 ] || skip "i386 on x86-64"
	gcc -m32 -nostdlib -fno-pie -no-pie -fno-stack-protector \
		test/case_hello.c $libc -o "$hello" \
		-Wl,--dynamic-linker=/lib/ld-linux.so.2
	run pre sh -c "$hello; echo \$?"
	echo "$output"
	[ "${#lines[@]}" -eq 3 ]
	[[ "${lines[0]}" == *"ld.so: object '$ALLOC_SO'"*"ignored." ]]
	[ "${lines[1]}" = "hello from 32 bits" ]
	[ "${lines[2]}" = 3 ]
}

# checked PROGRAM [OPTION...] - by memcheck, which finds no fault
checked()
{
	run deadline 60 valgrind --error-exitcode=9 "${@:2}" "$1" work
	echo "$*: $status $output"
	[ "$status" -eq 0 ]
	grep -q worked <<<"$output"
}

@test "cases: valgrind, with the library linked to the program" {
	need valgrind
	local dir=$BATS_TEST_TMPDIR
	"${CC:-cc}" -O0 -w -fno-builtin -pthread test/startup.c \
		-Wl,--no-as-needed "$ALLOC_SO" -o "$dir/linked"
	checked "$dir/linked"
	[[ "$output" =~ 'total heap usage: '[1-9] ]]
	checked "$dir/linked" --soname-synonyms=somalloc=nouserintercepts
	[[ "$output" == *"total heap usage: 0 allocs"* ]]
}

# sanitized CC KIND - builds a program; fails where the compiler can't
sanitized()
{
	command -v "$1" >/dev/null &&
		"$1" -O0 -g -std=gnu11 -w -pthread "-fsanitize=$2" \
			test/trace.c -o "$BATS_TEST_TMPDIR/$1-$2" 2>/dev/null
}

# The runtime has a malloc: who comes first serves. Nothing may crash.
@test "cases: the other sanitizers" {
	local kind cc tried=0
	setarch -R true || skip "may not switch off randomisation"
	for cc in gcc clang; do
		for kind in undefined leak thread memory; do
			sanitized $cc $kind || continue
			run pre setarch -R "$BATS_TEST_TMPDIR/$cc-$kind" threads
			echo "$cc $kind: $status ${output:0:300}"
			# 66: a race that only the other malloc would rule out
			[ "$status" -eq 0 ] ||
				[ "$kind $status" = "thread 66" ]
			tried=$((tried + 1))
		done
	done
	[ $tried -ge 2 ]
}

@test "cases: ThreadSanitizer's own malloc, when it comes first" {
	local tsan
	tsan=$(gcc -print-file-name=libtsan.so)
	sanitized gcc thread && [ -f "$tsan" ] || skip "needs libtsan"
	setarch -R true || skip "may not switch off randomisation"
	run bare env LD_PRELOAD="$(realpath "$tsan") $ALLOC_SO" setarch -R \
		"$BATS_TEST_TMPDIR/gcc-thread" threads
	echo "$status $output"
	[ "$status" -eq 0 ]
	[ -z "$output" ]
}

# whole CC FLAGS... - links library and program as one, sees whose malloc runs
whole()
{
	local out=$BATS_TEST_TMPDIR/whole
	echo "$*"
	"$1" -std=gnu11 -O2 -flto -pthread -fno-builtin test/smoke.c "${@:2}" \
		-o "$out"
	deadline "$LIMIT" "$out" | grep -qx ok
	ALLOC_HELP=1 deadline "$LIMIT" "$out" 2>&1 | grep -q ALLOC_THRESH=
}

@test "cases: optimised with the program as a whole, by -flto" {
	local cc object=$BATS_TEST_TMPDIR/allocator
	for cc in gcc clang; do
		command -v $cc >/dev/null || continue
		$cc -std=gnu11 -O2 -flto -DLOGGER=0 -DTRACE_ON=0 -c \
			allocator.c -o "$object-$cc.o"
		whole $cc "$object-$cc.o"
	done
	need gcc gcc-ar
	gcc-ar rcs "$object.a" "$object-gcc.o"
	whole gcc -static "$object.a"
}

teardown()
{
	[ -z "${dir:-}" ] || case $dir in
	/tmp/alloc.*) rm -rf "$dir" ;;
	esac
}
