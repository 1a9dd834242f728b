# TRACE_ON and LOGGER: what is in the output, that mtrace(1) can read it, and
# that it never goes where it does not belong.
#
# shellcheck disable=SC2030,SC2031 # status and output are those of this test

load lib

setup_file()
{
	cc_test trace
	cc_test startup
	library traced -DTRACE_ON=1 -DLOGGER=0
	library logged -DTRACE_ON=0 -DLOGGER=1
	library both -DTRACE_ON=1 -DLOGGER=1
	library either
	library neither -DTRACE_ON=0 -DLOGGER=0
}

setup()
{
	trace=$BATS_TEST_TMPDIR/trace
}

# library NAME FLAGS... - a build of its own, unless there is one
library()
{
	local out=build/test/lib-$1.so
	if [ -f "$out" ] && [ -z "$(find allocator.c src -newer "$out")" ]; then
		return
	fi
	"${CC:-cc}" allocator.c -shared -fPIC "${@:2}" -o "$out.$$"
	mv "$out.$$" "$out"
}

# with NAME CMD... - CMD on that build, as `run` does
with()
{
	ALLOC_SO=$ROOT/build/test/lib-$1.so LIMIT=20 run pre "${@:2}"
	echo "$*: $status, $(head -c 2000 <<<"$output")"
}

# traced PROGRAM... - with the trace in $trace; nothing else may be said
traced()
{
	rm -f "$trace"
	ALLOC_TRACE=$trace with traced build/test/trace "$@"
	[ "$status" -eq 0 ]
	[ -z "$output" ]
	[ -s "$trace" ]
}

number='0x[0-9a-f]+'
pairs='( [a-z_]+=[^ ]+)*$'

# whole FILE - every line of the file is a whole line of a trace
whole()
{
	local odd
	odd=$(grep -anvE "^= (Start|End)$|^(@ [^ ]+ )?([-<] $number|[+>] \
$number $number|! ($number|\(nil\)) $number)( [a-z]+=[^ ]+)*$" "$1" |
		head -n 5)
	echo "$1: ${odd:-whole}"
	[ -s "$1" ]
	[ -z "$odd" ]
}

# lines REGEX - how many lines of the trace match
lines()
{
	grep -caE "$1" "$trace" || true
}

# leaks [BINARY] - the blocks mtrace finds, a line each: size and place
leaks()
{
	mtrace "$@" "$trace" >"$BATS_TEST_TMPDIR/mtrace" || true
	cat "$BATS_TEST_TMPDIR/mtrace" >&2
	! grep -E "never alloc|duplicate" "$BATS_TEST_TMPDIR/mtrace" &&
		awk '$1 ~ /^0x/ { print $2, $4 }' "$BATS_TEST_TMPDIR/mtrace"
}

@test "trace: mtrace finds no leak where there is none" {
	need mtrace
	traced clean
	whole "$trace"
	run leaks build/test/trace
	echo "$output"
	[[ "$output" == *"No memory leaks."* ]]
}

@test "trace: mtrace finds the one leak, and its line" {
	need mtrace addr2line
	traced leak
	whole "$trace"
	local line
	line=$(grep -n 'the planted leak' test/trace.c | cut -d : -f 1)
	leaks build/test/trace >"$BATS_TEST_TMPDIR/leaks"
	[ "$(wc -l <"$BATS_TEST_TMPDIR/leaks")" -eq 1 ]
	grep -E "^0x3039 .*test/trace\\.c:$line\$" "$BATS_TEST_TMPDIR/leaks"
}

@test "trace: mtrace finds it without the program, too" {
	need mtrace
	traced leak
	leaks >"$BATS_TEST_TMPDIR/leaks"
	[ "$(wc -l <"$BATS_TEST_TMPDIR/leaks")" -eq 1 ]
	grep '^0x3039 ' "$BATS_TEST_TMPDIR/leaks"
}

@test "trace: the same in a program at a fixed address, and a static one" {
	need mtrace addr2line
	local line out=build/test/trace-fixed
	line=$(grep -n 'the planted leak' test/trace.c | cut -d : -f 1)
	cc_once $out test/trace.c -O0 -g -fno-builtin -pthread -no-pie
	ALLOC_TRACE=$trace with traced $out leak
	[ "$status" -eq 0 ]
	[ -z "$output" ]
	leaks $out >"$BATS_TEST_TMPDIR/leaks"
	grep -E "^0x3039 .*test/trace\\.c:$line\$" "$BATS_TEST_TMPDIR/leaks"
}

@test "trace: a start, an end, and no other marks" {
	traced clean
	[ "$(head -n 1 "$trace")" = "= Start" ]
	[ "$(tail -n 1 "$trace")" = "= End" ]
	[ "$(lines '^=')" -eq 2 ]
}

@test "trace: every entry point is in it" {
	local size
	traced entries
	whole "$trace"
	for size in {1001..1008} {1010..1012} 7 300000; do
		echo "$size"
		[ "$(lines "\\+ $number $(printf 0x%x "$size")( |\$)")" -ge 1 ]
	done
	# pvalloc rounds up first
	[ "$(lines "\\+ $number 0x(3f1|1000)( |\$)")" -ge 1 ]
	# and every block has an address of its own
	[ "$(grep -oE "\\+ $number" "$trace" | sort | uniq -d | wc -l)" -eq 0 ]
}

@test "trace: every call is in it once" {
	traced clean
	[ "$(lines " \\+ ")" -ge 280 ]
	[ "$(lines "$number 0x3e9( |\$)")" -eq 20 ]
	local got gone
	got=$(lines ' [+>] ')
	gone=$(lines ' [-<] ')
	echo "$got blocks made, $gone gone"
	[ "$got" -eq "$gone" ]
}

@test "trace: realloc takes two lines, and one when it fails" {
	need mtrace
	traced realloc
	whole "$trace"
	[ "$(lines " > $number 0xd431( |\$)")" -eq 1 ]
	[ "$(lines ' < ')" -eq "$(lines ' > ')" ]
	[ "$(lines " ! $number 0x8000000000000063( |\$)")" -eq 1 ]
	run leaks build/test/trace
	echo "$output"
	[[ "$output" == *"No memory leaks."* ]]
}

@test "trace: threads write whole lines" {
	traced threads
	whole "$trace"
	[ "$(lines ' \+ ')" -ge 4000 ]
	[ "$(lines ' - ')" -ge 4000 ]
}

@test "trace: survives that the standard descriptors are closed" {
	traced closed
	whole "$trace"
	[ "$(lines "\\+ $number 0x7d2( |\$)")" -eq 1 ]
	[ "$(tail -n 1 "$trace")" = "= End" ]
}

@test "trace: never writes to a file that took its place" {
	local own=$BATS_TEST_TMPDIR/own lib
	traced closed "$own"
	[ -e "$own" ]
	[ ! -s "$own" ]
	traced taken "$own"
	[ -e "$own" ]
	[ ! -s "$own" ]
	# the default: a trace on standard error
	for lib in traced both logged; do
		for name in closed taken; do
			rm "$own"
			with $lib build/test/trace $name "$own"
			[ "$status" -eq 0 ]
			[ -e "$own" ]
			[ ! -s "$own" ]
		done
	done
}

@test "trace: without a file it goes to standard error" {
	with traced build/test/trace leak
	[ "$status" -eq 0 ]
	printf '%s\n' "$output" >"$trace"
	whole "$trace"
	[ "$(lines "\\+ $number 0x3039( |\$)")" -eq 2 ]
}

@test "trace: or to ALLOC_LOG, when there is one" {
	ALLOC_LOG=$trace with traced build/test/trace leak
	[ "$status" -eq 0 ]
	[ -z "$output" ]
	whole "$trace"
	[ "$(lines "\\+ $number 0x3039( |\$)")" -eq 2 ]
}

@test "trace: a file for each process with %p" {
	local dir=$BATS_TEST_TMPDIR file files size
	ALLOC_TRACE=$dir/t.%p with traced build/test/trace fork
	[ "$status" -eq 0 ]
	[ -z "$output" ]
	files=("$dir"/t.*)
	[ "${#files[@]}" -eq 3 ]
	# 4100, 4101, 4102: what each did last; no file has what another did
	for size in 0x1004 0x1005 0x1006; do
		[ "$(grep -lE "\\+ $number $size( |\$)" "${files[@]}" |
			wc -l)" -eq 1 ]
	done
	for file in "${files[@]}"; do
		whole "$file"
		[ "$(grep -cE "\\+ $number 0x100[456]( |\$)" "$file")" -eq 1 ]
		[ "$(head -n 1 "$file")" = "= Start" ]
		[ "$(tail -n 1 "$file")" = "= End" ]
	done
}

@test "trace: whole lines when processes and threads share a file" {
	traced fork-threads
	whole "$trace"
	[ "$(lines "\\+ $number 0x115c( |\$)")" -eq 20 ]
	ALLOC_TRACE=$trace with traced sh -c 'for i in 1 2 3 4; do
		ls / >/dev/null & done; wait'
	[ "$status" -eq 0 ]
	[ -z "$output" ]
	whole "$trace"
}

@test "trace: is complete when the program aborts" {
	ALLOC_TRACE=$trace with traced build/test/trace abort
	[ "$status" -eq 134 ]
	[ -z "$output" ]
	whole "$trace"
	[ "$(lines "\\+ $number 0x1389( |\$)")" -eq 1 ]
	[ "$(lines ' - ')" -ge 1 ]
}

@test "trace: a misuse is still caught, and reported apart" {
	cc_test misuse
	ALLOC_TRACE=$trace with traced build/test/misuse --case double 64 0 0
	[ "$status" -eq 134 ]
	[[ "$output" == "allocator: double free 0x"* ]]
	[ "${#lines[@]}" -eq 1 ]
	whole "$trace"
}

@test "trace: the undefined build is silent until ALLOC_TRACE is set" {
	need mtrace
	with either build/test/trace leak
	[ "$status" -eq 0 ]
	[ -z "$output" ]
	ALLOC_TRACE="" with either build/test/trace leak
	[ "$status" -eq 0 ]
	[ -z "$output" ]
	ALLOC_TRACE=$trace with either build/test/trace leak
	[ "$status" -eq 0 ]
	[ -z "$output" ]
	whole "$trace"
	leaks >"$BATS_TEST_TMPDIR/leaks"
	grep '^0x3039 ' "$BATS_TEST_TMPDIR/leaks"
	[ "$(wc -l <"$BATS_TEST_TMPDIR/leaks")" -eq 1 ]
}

@test "trace: the undefined build is silent until ALLOC_LOG is set" {
	with either build/test/trace heaps
	[ "$status" -eq 0 ]
	[ -z "$output" ]
	ALLOC_LOG=$trace with either build/test/trace heaps
	[ "$status" -eq 0 ]
	[ -z "$output" ]
	grep -q event=map "$trace"
}

@test "trace: goes with ALLOC_DIRECT=1" {
	need mtrace
	ALLOC_DIRECT=1 traced leak
	whole "$trace"
	leaks >"$BATS_TEST_TMPDIR/leaks"
	[ "$(wc -l <"$BATS_TEST_TMPDIR/leaks")" -eq 1 ]
}

@test "trace: a file that can't be opened, or takes nothing" {
	local path
	for path in /dev/full /dev/null; do
		ALLOC_TRACE=$path with traced build/test/trace clean
		[ "$status" -eq 0 ]
		[ -z "$output" ]
	done
	for path in /nonexistent/x "$BATS_TEST_TMPDIR" \
		"/tmp/$(printf 'x%.0s' {1..5000})"; do
		ALLOC_TRACE=$path with traced build/test/trace clean
		[ "$status" -eq 0 ]
		ALLOC_TRACE=$path with either build/test/trace clean
		[ "$status" -eq 0 ]
		[ "$(grep -c '^allocator: ' <<<"$output")" -le 1 ]
	done
}

@test "trace: a program whose path has blanks and brackets" {
	need mtrace
	local dir="$BATS_TEST_TMPDIR/a b [0x1]: c"
	mkdir "$dir"
	cp build/test/trace "$dir/tr ace"
	ALLOC_TRACE=$trace with traced "$dir/tr ace" leak
	[ "$status" -eq 0 ]
	[ -z "$output" ]
	whole "$trace"
	leaks >"$BATS_TEST_TMPDIR/leaks"
	[ "$(wc -l <"$BATS_TEST_TMPDIR/leaks")" -eq 1 ]
}

@test "trace: keeps errno, and works on the smallest stack" {
	local lib
	for lib in traced logged both either; do
		with $lib build/test/trace errno
		[ "$status" -eq 0 ]
		ALLOC_TRACE=$trace ALLOC_LOG=$trace.log with $lib \
			build/test/trace stack
		[ "$status" -eq 0 ]
		[ -z "$output" ]
	done
}

@test "trace: works with 128 KiB of stack for the whole process" {
	local bind
	for bind in "" 1; do
		ulimit -S -s 128
		LD_BIND_NOW=$bind ALLOC_TRACE=$trace ALLOC_LOG=$trace.log \
			with both ls -l /usr/bin
		ulimit -S -s 8192
		[ "$status" -eq 0 ]
		[ "${#lines[@]}" -gt 10 ]
		whole "$trace"
	done
}

@test "trace: real programs say the same" {
	local cmd
	for cmd in "ls -lR /usr/share/doc/bash /etc/apt" "sort /etc/services" \
		"find /etc -name *a*" "sed -n 1,9p /etc/passwd"; do
		set -f
		# shellcheck disable=SC2086 # a command line
		bare $cmd >"$BATS_TEST_TMPDIR/bare"
		# shellcheck disable=SC2086
		ALLOC_TRACE=$trace ALLOC_LOG=$trace.log with both $cmd
		[ "$status" -eq 0 ]
		printf '%s\n' "$output" >"$BATS_TEST_TMPDIR/both"
		same "$BATS_TEST_TMPDIR/bare" "$BATS_TEST_TMPDIR/both"
		whole "$trace"
		[ "$(grep -c '^= Start' "$trace")" -eq \
			"$(grep -c '^= End' "$trace")" ]
		rm "$trace"
	done
}

# logged PROGRAM... - the build with LOGGER on; its lines in $trace
logged()
{
	rm -f "$trace"
	ALLOC_LOG=$trace with logged "$@"
	[ "$status" -eq 0 ]
	[ -s "$trace" ]
	local odd
	odd=$(grep -anvE '^allocator\[[0-9]+\.[0-9]+\] event=[a-z]+'"$pairs" \
		"$trace" | head -n 5)
	echo "$odd"
	[ -z "$odd" ]
	[ "$(awk 'length($0) > 160' "$trace" | wc -l)" -eq 0 ]
}

event()
{
	grep -caE "^allocator\\[[0-9.]*\\] event=$1( |\$)" "$trace" || true
}

@test "logger: lines are whole, and tell of every kind of event" {
	level_1
	local name
	logged build/test/startup work
	[ "$output" = worked ]
	for name in start map cache reuse; do
		echo "$name: $(event $name)"
		[ "$(event $name)" -ge 1 ]
	done
	logged build/test/trace heaps
	for name in park adopt; do
		echo "$name: $(event $name)"
		[ "$(event $name)" -ge 1 ]
	done
	ALLOC_THRESH=0 logged build/test/startup work
	for name in unmap purge; do
		echo "$name: $(event $name)"
		[ "$(event $name)" -ge 1 ]
	done
	ALLOC_DIRECT=1 logged build/test/startup work
	for name in map cache reuse; do
		echo "$name: $(event $name)"
		[ "$(event $name)" -ge 1 ]
	done
	logged build/test/trace threads
}

@test "logger: no event that is not in the list" {
	logged build/test/startup work
	logged build/test/trace heaps
	local all='start|map|unmap|cache|reuse|purge|park|adopt'
	run grep -avE " event=($all)( |\$)" "$trace"
	echo "$output"
	[ "$status" -eq 1 ]
}

@test "logger: without ALLOC_LOG it goes to standard error" {
	with logged build/test/startup work
	[ "$status" -eq 0 ]
	[ "$(grep -c '^allocator\[' <<<"$output")" -ge 2 ]
	grep -qx worked <<<"$output"
}

@test "logger: the process and the thread are named" {
	local ids
	logged build/test/trace threads
	ids=$(sed -E 's/^allocator\[([0-9]+)\.([0-9]+)\].*/\1/' "$trace" |
		sort -u | wc -l)
	[ "$ids" -eq 1 ]
	logged build/test/trace heaps
	ids=$(sed -E 's/^allocator\[([0-9]+\.[0-9]+)\].*/\1/' "$trace" |
		sort -u | wc -l)
	[ "$ids" -ge 2 ]
}

@test "logger: and the trace apart from it" {
	ALLOC_TRACE=$trace ALLOC_LOG=$trace.log with both build/test/trace heaps
	[ "$status" -eq 0 ]
	[ -z "$output" ]
	whole "$trace"
	[ -s "$trace.log" ]
	[ "$(grep -cv '^allocator\[' "$trace.log")" -eq 0 ]
}

@test "trace: a build without has neither the code nor the output" {
	run strings -a build/test/lib-neither.so
	[[ "$output" == *ALLOC_THRESH* ]]
	run bash -c 'strings -a build/test/lib-neither.so |
		grep -E "event=|= Start|= End|^@ \\["'
	echo "$output"
	[ "$status" -eq 1 ]
	run bash -c 'strings -a build/test/lib-both.so |
		grep -cE "event=|= Start|= End"'
	[ "$output" -ge 3 ]
	ALLOC_TRACE=$trace ALLOC_LOG=$trace.log with neither \
		build/test/trace heaps
	[ "$status" -eq 0 ]
	[ -z "$output" ]
	[ ! -s "$trace" ]
	grep -q "ALLOC_TRACE=.*does nothing" "$trace.log"
	[ "$(wc -l <"$trace.log")" -eq 1 ]
}

@test "trace: a build without writes nothing by itself" {
	need strace
	strace -o "$trace" true || skip "may not trace"
	deadline 20 strace -f -qq -o "$trace" -e trace=write,writev,pwrite64 \
		-E LD_PRELOAD="$ROOT/build/test/lib-neither.so" \
		build/test/trace heaps
	cat "$trace"
	[ ! -s "$trace" ]
}
