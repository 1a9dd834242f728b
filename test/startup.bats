# How the library gets into a process: what it needs, what it leaves as it was.
#
# shellcheck disable=SC2030,SC2031 # status and output are those of this test

load lib

setup_file()
{
	cc_test startup
	part hook
	part audit
	part plugin
	part tls
	cc_once build/test/startup-own test/startup.c -O0 -DPART_OWN
	cc_once build/test/startup-hidden test/startup.c -O0 -DPART_OWN \
		-fvisibility=hidden
}

# part NAME - one of the libraries that test/startup.c makes
part()
{
	cc_once "build/test/startup-$1.so" test/startup.c \
		-O0 -g -shared -fPIC "-DPART_${1^^}"
}

# program ARG... - test/startup.c on the library, within ten seconds
program()
{
	LIMIT=10 run pre build/test/startup "$@"
	echo "startup $*: $status $output"
}

# fresh FILE - was FILE made from the library's source as it is?
fresh()
{
	[ -f "$1" ] || return 1
	[ -z "$(find allocator.c src test/startup.c -newer "$1")" ]
}

# built OUT CC FLAGS... - compiles unless that was done already
built()
{
	fresh "$1" && return
	"${@:2}" -o "$1.$$" 2>"$1.log" || { cat "$1.log"; return 1; }
	mv "$1.$$" "$1"
}

imports()
{
	nm -D --undefined-only "$ALLOC_SO" | awk '{ print $NF }' | sed 's/@.*//'
}

exports()
{
	nm -D --defined-only "$ALLOC_SO" | awk '{ print $NF }' | sed 's/@.*//' |
		LC_ALL=C sort -u
}

@test "startup: needs no function that may allocate or take libc's locks" {
	imports >"$BATS_TEST_TMPDIR/imports"
	[ -s "$BATS_TEST_TMPDIR/imports" ]
	# fprintf is what malloc_info needs, which is handed a FILE; dlsym is
	# called by our dlopen, and for a new that fails, under no lock of ours
	local names='dl(vsym|m?open)|f(d|re)?open|opendir'
	names="$names|puts|v?(sn?|d)?printf|pthread_once|qsort"
	names="$names|_*(cxa_)?(at|on)_?(quick_)?exit"
	names="$names|setlocale|sysconf|getenv"
	run grep -xE "$names" "$BATS_TEST_TMPDIR/imports"
	echo "$output"
	[ "$status" -eq 1 ]
}

@test "startup: runs with lazy and with immediate binding" {
	program work
	[ "$status" -eq 0 ]
	[ "$output" = worked ]
	LD_BIND_NOW=1 program work
	[ "$status" -eq 0 ]
	[ "$output" = worked ]
	run pre /bin/true
	[ "$status" -eq 0 ]
	[ -z "$output" ]
}

@test "startup: beside a preload that hooks system calls and allocates" {
	local hook=$ROOT/build/test/startup-hook.so both log
	log=$BATS_TEST_TMPDIR/log
	for both in "$hook $ALLOC_SO" "$ALLOC_SO $hook"; do
		run deadline 10 env LD_PRELOAD="$both" ls /usr/bin
		[ "$status" -eq 0 ]
		[ "$output" = "$(ls /usr/bin)" ]
		run deadline 10 env LD_PRELOAD="$both" ALLOC_HELP=1 \
			ALLOC_LOG="$log" build/test/startup work
		echo "$both: $status $output"
		[ "$status" -eq 0 ]
		[ "$output" = worked ]
		grep -q ALLOC_THRESH= "$log"
		rm "$log"
	done
}

@test "startup: without /proc and /sys" {
	need unshare
	unshare -rm true || skip "may not unshare"
	# shellcheck disable=SC2016 # the inner shell expands these
	run deadline 10 unshare -rm sh -c 'mount -t tmpfs none /proc &&
		mount -t tmpfs none /sys && ! [ -e /proc/self ] &&
		LD_PRELOAD=$TEST_SO exec build/test/startup work'
	echo "$output"
	[ "$status" -eq 0 ]
	[ "$output" = worked ]
}

@test "startup: looks at no file" {
	need strace
	local log=$BATS_TEST_TMPDIR/trace
	strace -o "$log" true || skip "may not trace"
	deadline 10 strace -qq -o "$log" -e trace=%file -E LD_PRELOAD= \
		build/test/startup calloc
	deadline 10 strace -qq -o "$log.pre" -e trace=%file \
		-E LD_PRELOAD="$ALLOC_SO" build/test/startup calloc
	sed -i 's/0x[0-9a-f]*//g; s/[0-9]* vars//' "$log" "$log.pre"
	run bash -c 'diff "$1" "$1.pre" | grep "^>" | grep -vF "$TEST_SO" |
		grep -v "fstat[a-z0-9]*([0-9]*, \"\""' bash "$log"
	echo "$output"
	[ -z "$output" ]
}

@test "startup: leaves no descriptor open" {
	bare build/test/startup fds >"$BATS_TEST_TMPDIR/bare"
	pre build/test/startup fds >"$BATS_TEST_TMPDIR/pre"
	grep -qx 1 "$BATS_TEST_TMPDIR/bare"
	same "$BATS_TEST_TMPDIR/bare" "$BATS_TEST_TMPDIR/pre"
}

@test "startup: the descriptor of a log is out of the way, and not passed on" {
	local log=$BATS_TEST_TMPDIR/log bare=$BATS_TEST_TMPDIR/bare
	bare build/test/startup fds >"$bare"
	ALLOC_HELP=1 ALLOC_LOG=$log pre build/test/startup fds >"$bare.pre"
	[ -s "$log" ]
	[ -s "$bare.pre" ]
	run bash -c 'diff "$1" "$1.pre" | grep "^[<>]"' bash "$bare"
	echo "$output"
	[ -z "$output" ] || [[ "$output" =~ ^'> '[0-9]+' cloexec'$ ]]
}

@test "startup: exit functions and static objects before the first malloc" {
	need g++
	local i
	program atexit
	[ "$status" -eq 0 ]
	[ -z "$output" ]
	{
		echo '#include <string>'
		for i in {1..100}; do
			echo "std::string s$i(\"more than fifteen, $i\");"
		done
		echo 'int main() { return s100.size() == 22 ? 0 : 1; }'
	} >"$BATS_TEST_TMPDIR/strings.cc"
	g++ -o "$BATS_TEST_TMPDIR/strings" "$BATS_TEST_TMPDIR/strings.cc"
	LIMIT=10 run pre "$BATS_TEST_TMPDIR/strings"
	echo "$status $output"
	[ "$status" -eq 0 ]
	[ -z "$output" ]
}

@test "startup: with no environment, and with an odd one" {
	run deadline 10 env -i LD_PRELOAD="$ALLOC_SO" build/test/startup work
	[ "$status" -eq 0 ]
	[ "$output" = worked ]
	program environment none
	[ "$status" -eq 0 ]
	[ -z "$output" ]
	program environment work
	[ "$status" -eq 0 ]
	[ "${lines[-1]}" = worked ]
	[ "${#lines[@]}" -eq 3 ] # and two of names that are none
}

@test "startup: free, realloc and usable_size may come first" {
	program early
	[ "$status" -eq 0 ]
	[ -z "$output" ]
	GLIBC_TUNABLES=glibc.malloc.check=3 MALLOC_CHECK_=3 MALLOC_PERTURB_=7 \
		program early
	[ "$status" -eq 0 ]
	[ -z "$output" ]
}

@test "startup: under an auditor of the loader" {
	export LD_AUDIT=$ROOT/build/test/startup-audit.so
	program work
	unset LD_AUDIT
	[ "$status" -eq 0 ]
	[ "$output" = worked ]
}

@test "startup: takes 24 bytes of static TLS at most" {
	local size
	size=$(readelf -lW "$ALLOC_SO" | awk '$1 == "TLS" { print $6 }')
	echo "TLS segment: $size"
	[ $((${size:-0})) -le 24 ]
}

@test "startup: TLS needs no call" {
	run bash -c "readelf -rW '$ALLOC_SO' | grep -E 'DTPMOD|DTPOFF|TLSDESC'"
	echo "$output"
	[ "$status" -eq 1 ]
	run bash -c "nm -D '$ALLOC_SO' | grep __tls_get_addr"
	[ "$status" -eq 1 ]
}

@test "startup: loaded late, after many libraries with static TLS" {
	local i libs=()
	for i in {1..24}; do
		libs+=("$BATS_TEST_TMPDIR/tls$i.so")
		cp build/test/startup-tls.so "${libs[-1]}"
	done
	run deadline 10 build/test/startup tls "${libs[@]}" "$ALLOC_SO"
	echo "$output"
	[ "$status" -eq 0 ]
}

@test "startup: exports the whole family" {
	local name
	exports >"$BATS_TEST_TMPDIR/exports"
	for name in malloc free calloc realloc reallocarray aligned_alloc \
		memalign posix_memalign valloc pvalloc cfree \
		malloc_usable_size free_sized free_aligned_sized \
		mallinfo mallinfo2 malloc_stats malloc_info malloc_trim \
		mallopt _Znwm _Znam _ZdlPv _ZdaPv \
		_ZdlPvm _ZdaPvm _ZnwmSt11align_val_t _ZdlPvmSt11align_val_t; do
		echo "$name"
		grep -qx "$name" "$BATS_TEST_TMPDIR/exports"
	done
}

@test "startup: exports nothing else" {
	local family='malloc|calloc|realloc|c?free|memalign|p?valloc'
	local more='reallocarray|aligned_alloc|posix_memalign|mallopt'
	more="$more|mallinfo2?|malloc_(usable_size|stats|info|trim)"
	more="$more|free_(aligned_)?sized|dlopen"
	more="$more|madvise|mlock2?|(pkey_)?mprotect"
	exports >"$BATS_TEST_TMPDIR/exports"
	more="(__libc_)?($family|$more)"
	more="$more|_Z(n[wa]m|d[la]Pv)[A-Za-z0-9_]*"
	run grep -vxE "$more" "$BATS_TEST_TMPDIR/exports"
	echo "$output"
	[ "$status" -eq 1 ]
}

@test "startup: whatever allocated a block, anything may free it" {
	program matrix
	[ "$status" -eq 0 ]
	[ -z "$output" ]
}

@test "startup: a plugin that is bound to libc's own malloc" {
	export ALLOC_DEEPBIND=1 # what dlopen does without, see host.bats
	local plugin=$ROOT/build/test/startup-plugin.so
	program deepbind "$plugin" pair
	[ "$status" -eq 0 ]
	[ -z "$output" ]
	program deepbind "$plugin" text
	[ "$status" -eq 0 ]
	[ -z "$output" ]
	program deepbind "$plugin" cross
	[ "$status" -eq 134 ]
	[[ "$output" =~ ^'allocator: free of foreign pointer 0x' ]]
	[ "${#lines[@]}" -eq 1 ]
}

@test "startup: programs with a malloc of their own" {
	local kind
	for kind in own hidden; do
		bare "build/test/startup-$kind" >"$BATS_TEST_TMPDIR/bare"
		pre "build/test/startup-$kind" >"$BATS_TEST_TMPDIR/pre" 2>&1
		cat "$BATS_TEST_TMPDIR/pre"
		same "$BATS_TEST_TMPDIR/bare" "$BATS_TEST_TMPDIR/pre"
	done
	grep -q 'of others: some' "$BATS_TEST_TMPDIR/pre"
}

@test "startup: libc's heap stays empty" {
	program maps
	[ "$status" -eq 0 ]
	[ -z "$output" ]
}

@test "startup: malloc_trim gives back what is cached, and does no harm" {
	program trim
	[ "$status" -eq 0 ]
	[ -z "$output" ]
}

@test "startup: reads past the end of a block, within its last 16 bytes" {
	program reads
	[ "$status" -eq 0 ]
	[ -z "$output" ]
}

@test "startup: children inherit the preload, and do as without" {
	# shellcheck disable=SC2016 # for the inner shell
	local script='echo a; (echo b; exit 3); echo $?; ls / | cat | sort
		x=$(echo c | tr c d); echo $x; exit 5'
	run bare sh -c "$script"
	local want=$output
	[ "$status" -eq 5 ]
	run pre sh -c "$script"
	echo "$output"
	[ "$status" -eq 5 ]
	[ "$output" = "$want" ]
	ALLOC_HELP=1 pre sh -c "$script" >"$BATS_TEST_TMPDIR/out" \
		2>"$BATS_TEST_TMPDIR/err" || true
	[ "$(cat "$BATS_TEST_TMPDIR/out")" = "$want" ]
	[ "$(grep -c ' ALLOC_THRESH=' "$BATS_TEST_TMPDIR/err")" -ge 3 ]
}

@test "startup: no symbol newer than its first place in Debian 12's headers" {
	# beyond GLIBC_2.17: only what moved into libc in 2.34
	run bash -c "objdump -T '$ALLOC_SO' | awk '/GLIBC_/ {
		v = \$0; sub(/.*GLIBC_/, \"\", v); sub(/[) ].*/, \"\", v)
		split(v, n, \".\")
		moved = n[2] == 34 && \$NF ~ /^(pthread_|sem_|dl(sym|addr)\$)/
		if (n[1] == 2 && n[2] > 17 && !moved) print v, \$NF }'"
	echo "$output"
	[ "$status" -eq 0 ]
	[ -z "$output" ]
	objdump -T "$ALLOC_SO" | grep -q GLIBC_
}

@test "startup: runs under valgrind, which replaces it or watches it" {
	need valgrind
	local how
	for how in malloc nouserintercepts; do
		run deadline 60 env LD_PRELOAD="$ALLOC_SO" valgrind -q \
			--error-exitcode=9 --soname-synonyms=somalloc=$how \
			build/test/startup work
		echo "$how: $status $output"
		[ "$status" -eq 0 ]
		[ "$output" = worked ]
	done
}

@test "startup: before AddressSanitizer, which says so or comes first" {
	local asan cc
	asan=$(gcc -print-file-name=libasan.so)
	for cc in gcc clang; do
		CC=$cc cc_once build/test/startup-asan-$cc test/startup.c -O0 \
			-g -fsanitize=address 2>/dev/null || continue
		run pre build/test/startup-asan-$cc work
		echo "$cc: $status $output"
		[ "$status" -lt 124 ]
		[ -n "$output" ]
	done
	[ -f "$asan" ] || skip "needs libasan"
	run deadline 20 env LD_PRELOAD="$(realpath "$asan") $ALLOC_SO" \
		ASAN_OPTIONS=detect_leaks=0 build/test/startup-asan-gcc work
	echo "$status $output"
	[ "$status" -eq 0 ]
	[ "$output" = worked ]
}

# static NAME CC - a static program with the library compiled in
static()
{
	built "build/test/startup-$1" "$2" -static -O1 -w -DSTATIC -DLOGGER=0 \
		-DTRACE_ON=0 -pthread test/startup.c allocator.c
	for how in work early calloc reads signal-first; do
		run deadline 20 "build/test/startup-$1" $how
		echo "$1 $how: $status $output"
		[ "$status" -eq 0 ]
	done
	ALLOC_HELP=1 run deadline 20 "build/test/startup-$1" work
	[[ "$output" == *ALLOC_THRESH=* ]]
}

@test "startup: linked into a static program" {
	static static gcc
}

@test "startup: a program that may open no file" {
	static static gcc
	local me=build/test/startup-static
	ALLOC_HELP=1 ALLOC_LOG=$BATS_TEST_TMPDIR/log run deadline 10 \
		"$me" nofile "$me" work
	echo "$status $output"
	[ "$status" -eq 0 ]
	[[ "$output" == *worked* ]]
}

@test "startup: linked into a static program of musl" {
	need musl-gcc
	static musl musl-gcc
}

@test "startup: preloaded into a program of musl" {
	need musl-gcc
	[ -e /lib/ld-musl-x86_64.so.1 ] || skip "needs musl"
	built build/test/musl.so musl-gcc -shared -fPIC -O1 -w -DLOGGER=0 \
		-DTRACE_ON=0 allocator.c
	CC=musl-gcc cc_once build/test/startup-musl-shared test/startup.c -O0
	for how in work early calloc reads signal-first; do
		ALLOC_SO=$ROOT/build/test/musl.so run pre \
			build/test/startup-musl-shared $how
		echo "$how: $status $output"
		[ "$status" -eq 0 ]
	done
	ALLOC_HELP=1 ALLOC_SO=$ROOT/build/test/musl.so run pre \
		build/test/startup-musl-shared work
	[[ "$output" == *ALLOC_THRESH=* ]]
}

@test "startup: a static program is left alone" {
	printf 'int main(void) { return 4; }' >"$BATS_TEST_TMPDIR/none.c"
	gcc -static -o "$BATS_TEST_TMPDIR/none" "$BATS_TEST_TMPDIR/none.c"
	ALLOC_HELP=1 run deadline 10 env LD_PRELOAD="$ALLOC_SO" \
		"$BATS_TEST_TMPDIR/none"
	[ "$status" -eq 4 ]
}

# Calls of calloc anywhere, and of malloc and its like within calloc: what a
# compiler makes of "malloc, then memset" when it knows too well.
self_calls() # OBJECT
{
	objdump -dr --no-show-raw-insn "$1" | awk '
	/^[0-9a-f]+ <.*>:$/ { f = $2; gsub(/[<>:]/, "", f) }
	/R_X86_64_/ && $3 ~ /^calloc[-+]?/ { print f ": " $0 }
	/(call|jmp) .*<calloc>/ { print f ": " $0 }
	f == "calloc" && /R_X86_64_/ &&
		$3 ~ /^(malloc|realloc|free|memalign)[-+]/ { print f ": " $0 }
	f == "calloc" && /call.*<(malloc|realloc|free)>/ { print f ": " $0 }'
}

# What -O0 and -O3 make of it is run in build.bats.
@test "startup: no compiler makes calloc call itself" {
	local cc level out
	for cc in gcc clang; do
		command -v $cc >/dev/null || continue
		for level in 1 2 s; do
			out=build/test/calloc-$cc-$level
			built "$out.o" $cc -O$level -w -c -fPIC -DLOGGER=0 \
				-DTRACE_ON=0 -std=gnu11 allocator.c
			nm "$out.o" | grep -q ' T calloc'
			run self_calls "$out.o"
			echo "$cc -O$level: $output"
			[ -z "$output" ]
			$cc -shared -o "$out.so" "$out.o"
			run deadline 10 env LD_PRELOAD="$ROOT/$out.so" \
				build/test/startup calloc
			[ "$status" -eq 0 ]
		done
	done
}

# The handler finds main in the middle of malloc: to abort with a word is
# allowed, to hang or to hand a block out twice is not
survives()
{
	local i
	for i in {1..5}; do
		LIMIT=5 run pre build/test/startup "$@"
		echo "startup $*: $status $output"
		[ "$status" -eq 0 ] || [ "$status" -eq 134 ]
		[ -z "$output" ] || [[ "$output" == "allocator: "* ]]
		[ "$status" -eq 0 ] || [ "${#lines[@]}" -eq 1 ]
	done
}

@test "startup: malloc in a signal handler does not hang or corrupt" {
	survives signal
}

@test "startup: malloc may be interrupted anywhere by such a handler" {
	local check
	cc_test step
	for check in 1 2 3; do
		ALLOC_CHECK=$check run pre build/test/step 1000 23
		echo "ALLOC_CHECK=$check: $status $output"
		[ "$status" -ne 77 ] || skip "$output"
		[ "$status" -eq 0 ]
	done
}

# A block of the thread's lists, and one that it keeps for its next call
@test "startup: the same where there are free blocks, and free" {
	level_1
	local size call
	for size in 1000 20000; do
		for call in malloc free; do
			run pre build/test/step $size $((size / 2000 + 1)) $call
			echo "$size $call: $status $output"
			[ "$status" -ne 77 ] || skip "$output"
			[ "$status" -eq 0 ]
		done
	done
}

@test "startup: nor if the handler of SIGABRT allocates, too" {
	"${CC:-cc}" -fno-builtin -x c - -o "$BATS_TEST_TMPDIR/both" <<-'END'
	#include <signal.h>
	#include <stdlib.h>
	#include <sys/time.h>
	#include <time.h>

	static void allocate(int sig)
	{
		for (int i = 0; i < 100; i++)
			free(malloc(1 << 20));
		(void)sig;
	}

	int main(void)
	{
		struct itimerval once = { { 0, 0 }, { 0, 20 } };

		signal(SIGABRT, allocate);
		signal(SIGALRM, allocate);
		while (clock() < CLOCKS_PER_SEC / 3) {
			setitimer(ITIMER_REAL, &once, 0);
			for (int i = 0; i < 100; i++)
				free(malloc(1 << 20));
		}
		return 0;
	}
	END
	run pre "$BATS_TEST_TMPDIR/both"
	echo "$status, ${#lines[@]} lines: $output" | head -n 3
	[ "$status" -eq 0 ] || [ "$status" -eq 134 ]
	[ "${#lines[@]}" -le 2 ]
}

@test "startup: a jump out of such a handler does not hang" {
	level_1
	survives signal jump
}

@test "startup: the first malloc of a thread is in a signal handler" {
	program signal-first
	[ "$status" -eq 0 ]
	[ -z "$output" ]
}

@test "startup: every way to end a process" {
	local how want
	for how in return exit _exit quick_exit abort term exec thread \
		pthread_exit; do
		run bare build/test/startup exit $how
		want="$status $output"
		for so in "$ALLOC_SO" build/plain.so; do
			[ -f "$so" ] || continue
			ALLOC_SO=$(realpath "$so") program exit $how
			[ "$status $output" = "$want" ]
		done
		ALLOC_DIRECT=1 program exit $how
		[ "$status $output" = "$want" ]
	done
}

# Libraries of the program end after ours; what was our key may be theirs
@test "startup: a key that a library makes at its end is its own" {
	local dir=$BATS_TEST_TMPDIR cc=${CC:-cc}
	$cc -shared -fPIC -pthread -x c - -o "$dir/liblast.so" <<-'END'
	#include <pthread.h>
	#include <stdio.h>
	#include <stdlib.h>

	static void *run(void *arg)
	{
		free(malloc(100));
		return arg;
	}

	static void unset(void *value)
	{
		printf("called with %p\n", value);
	}

	void last(void)
	{
	}

	__attribute__((destructor)) static void end(void)
	{
		pthread_key_t key;
		pthread_t thread;

		pthread_key_create(&key, unset);
		pthread_create(&thread, NULL, run, NULL);
		pthread_join(thread, NULL);
	}
	END
	echo 'void last(void); int main(void) { last(); }' |
		$cc -x c - -o "$dir/ends" -L"$dir" -llast \
			-Wl,-rpath,"$dir"
	run pre "$dir/ends"
	echo "$status $output"
	[ "$status" -eq 0 ]
	[ -z "$output" ]
}

@test "startup: ALLOC_HELP=1 tells that it is there" {
	ALLOC_HELP=1 program work
	[ "$status" -eq 0 ]
	[[ "$output" =~ 'allocator'.*[0-9]'.'[0-9] ]]
	[[ "$output" =~ ALLOC_THRESH=200 ]]
	[ "${lines[-1]}" = worked ]
}
