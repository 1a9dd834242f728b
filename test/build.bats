# Every way to build the library gives one that works and exports the same.
#
# test/run: early

load lib

BATS_TEST_TIMEOUT=300
export BATS_TEST_TIMEOUT
WARNINGS=(-Wall -Wextra -Wshadow -Wundef -Wcast-qual -Wstrict-prototypes
	-Werror)
EXPORTS=test/golden/exports.txt

setup_file()
{
	cc_once build/test/smoke test/smoke.c -O0 -g -fno-builtin -pthread
	make -s plain
}

exports()
{
	nm -D --defined-only "$1" | awk '{ print $3 }' | LC_ALL=C sort
}

# works SO - exports what it should, is loaded, and serves the smoke program
works()
{
	exports "$1" >"$BATS_TEST_TMPDIR/exports"
	same $EXPORTS "$BATS_TEST_TMPDIR/exports"
	ALLOC_SO=$1 pre grep -q "$(basename "$1")" /proc/self/maps 2>/dev/null
	ALLOC_SO=$1 pre build/test/smoke 2>"$BATS_TEST_TMPDIR/log" |
		grep -qx ok || {
		tail -n 5 "$BATS_TEST_TMPDIR/log"
		return 1
	}
}

# with FLAGS... - the nine builds by LOGGER and TRACE_ON: 0, 1 and undefined
with()
{
	local logger trace so=$BATS_TEST_TMPDIR/lib.so
	need "$1"
	for logger in -DLOGGER=0 -DLOGGER=1 -ULOGGER; do
		for trace in -DTRACE_ON=0 -DTRACE_ON=1 -UTRACE_ON; do
			echo "$* $logger $trace"
			"$@" -std=gnu11 -shared -fPIC "${WARNINGS[@]}" \
				$logger $trace allocator.c -o "$so"
			works "$so"
		done
	done
}

@test "build: gcc -O0, LOGGER and TRACE_ON 0, 1 and undefined" {
	with gcc -O0
}

@test "build: gcc -O2, LOGGER and TRACE_ON 0, 1 and undefined" {
	with gcc -O2
}

@test "build: gcc -O3, LOGGER and TRACE_ON 0, 1 and undefined" {
	with gcc -O3
}

@test "build: clang -O0, LOGGER and TRACE_ON 0, 1 and undefined" {
	with clang -O0
}

@test "build: clang -O2, LOGGER and TRACE_ON 0, 1 and undefined" {
	with clang -O2
}

@test "build: clang -O3, LOGGER and TRACE_ON 0, 1 and undefined" {
	with clang -O3
}

@test "build: other options that a user may have in mind" {
	local flags so=$BATS_TEST_TMPDIR/lib.so
	for flags in -Os -Og "-O2 -flto" "-O2 -g3" "-O2 -std=c11" \
		"-O2 -std=gnu17" "-O2 -fvisibility=hidden" "-O2 -march=native" \
		"-O2 -fcf-protection=full -fstack-protector-all" \
		"-O2 -fno-strict-aliasing" "-O2 -D_FORTIFY_SOURCE=2"; do
		echo "gcc $flags"
		# shellcheck disable=SC2086
		gcc $flags -shared -fPIC "${WARNINGS[@]}" allocator.c -o "$so"
		works "$so"
	done
}

@test "build: without checks (-DCHECKS=0) it frees as much" {
	local so=$BATS_TEST_TMPDIR/lib.so
	export ALLOC_STATS=$BATS_TEST_TMPDIR/stats
	cc_test walk
	"${CC:-cc}" -O2 -shared -fPIC -DLOGGER=0 -DTRACE_ON=0 -DCHECKS=0 \
		"${WARNINGS[@]}" allocator.c -o "$so"
	ALLOC_SO=$so pre build/test/walk 7 300000
	cat "$ALLOC_STATS"
	[[ $(<"$ALLOC_STATS") =~ in_use=([0-9]+) ]]
	[ "${BASH_REMATCH[1]}" -lt 2000000 ]
}

# Only what git would have in a clone, and the command as it is in the README
@test "build: the plain command, verbatim, from a clean copy" {
	local copy=$BATS_TEST_TMPDIR/copy
	mkdir "$copy"
	cp -r allocator.c src "$copy"
	cd "$copy"
	cc allocator.c -shared -fPIC -DLOGGER=0 -DTRACE_ON=0 -o allocator.so
	ALLOC_THRESH=100 LD_PRELOAD=$(pwd)/allocator.so find . >found
	grep -qx ./allocator.c found
	cd "$ROOT"
	works "$copy/allocator.so"
}

@test "build: make, make CC=clang, and again when the flags change" {
	local copy=$BATS_TEST_TMPDIR/copy
	need clang
	mkdir "$copy"
	cp -r Makefile allocator.c src include tools "$copy"
	make -s -C "$copy"
	works "$copy/allocator.so"
	make -C "$copy" -q
	run make -C "$copy" -q CC=clang
	[ "$status" -eq 1 ]
	make -s -C "$copy" CC=clang
	works "$copy/allocator.so"
	touch "$copy/src/base.h"
	run make -C "$copy" -q CC=clang
	[ "$status" -eq 1 ]
	make -s -C "$copy" LOGGER= TRACE_ON=1 CFLAGS=-O1
	works "$copy/allocator.so"
}

# run_line CMD - what `make run` says about it, which must be a single line
run_line()
{
	local status=0
	CMD=$1 RUNS=${2:-1} tools/runcost >"$BATS_TEST_TMPDIR/out" \
		2>"$BATS_TEST_TMPDIR/err" || status=$?
	cat "$BATS_TEST_TMPDIR/err"
	return $status
}

@test "build: make run shows the output, tells the cost, passes the status" {
	make -s alloc
	run run_line "find $ROOT/src"
	[ "$status" -eq 0 ]
	cost='[0-9.]+ s on the allocator, [0-9.]+ s on glibc \(x[0-9.]+\); '
	cost+='peak RSS [0-9.]+ MiB, [0-9.]+ MiB \(x[0-9.]+\); one run each'
	[[ $output =~ ^make\ run:\ $cost$ ]]
	find "$ROOT/src" | same - "$BATS_TEST_TMPDIR/out"
	run run_line "echo a b | (read x; echo \$x; exit 3)" 2
	[ "$status" -eq 3 ]
	[[ $output == *": exit status 3 on the allocator, exit status 3 on "* ]]
	[ "$(cat "$BATS_TEST_TMPDIR/out")" = "a b" ]
	run run_line "find $ROOT/src" 2
	[[ $output == *"medians of 2 runs each" ]]
	run run_line "find $ROOT/src" 0
	[[ $output == *"not compared with glibc (RUNS=0)" ]]
	echo 'int main(void) { return 0; }' >"$BATS_TEST_TMPDIR/s.c"
	gcc -static "$BATS_TEST_TMPDIR/s.c" -o "$BATS_TEST_TMPDIR/s"
	run run_line "$BATS_TEST_TMPDIR/s"
	[[ $output == *"NOT on the allocator"* ]]
}

@test "build: make run computes nothing from runs that failed" {
	make -s alloc
	run run_line "kill -TERM \$\$" 0
	[ "$status" -eq 143 ]
	[[ $output == *": killed by SIGTERM on the allocator; not compared" ]]
	run run_line "kill -TERM \$\$" 5
	[[ $output == *"killed by SIGTERM on glibc; not compared" ]]
	run run_line "LD_PRELOAD= kill -SEGV \$\$" 1
	[[ $output != *compatibility* ]]
	run run_line 'case $LD_PRELOAD in *?) kill -SEGV $$; esac' 1
	[[ $output == *"SIGSEGV on the allocator, exit status 0 on glibc; "* ]]
	[[ $output == *"; not compared; see doc/compatibility.md"* ]]
	status=0
	output=$(run_line /no/such/program 3) || status=$?
	[ "$status" -eq 127 ]
	[[ $output == *"exit status 127 on glibc; not compared" ]]
	for runs in x -1 1e3; do
		run run_line true "$runs"
		[[ ${lines[0]} == *": RUNS='$runs' is not a number"* ]]
		[[ ${lines[1]} == *"medians of 5 runs each" ]]
	done
	# It goes well three times, and with glibc never
	local n=$BATS_TEST_TMPDIR/n
	echo 0 >"$n"
	run run_line "i=\$((\$(cat $n)+1)); echo \$i >$n; [ \$i -lt 4 ]" 2
	[[ $output == *"failed, and "*"on glibc; not compared"* ]]
}

@test "build: with LOGGER=0 and TRACE_ON=0 their code is absent" {
	local none=build/plain.so both=$BATS_TEST_TMPDIR/both.so
	cc allocator.c -shared -fPIC -DLOGGER=1 -DTRACE_ON=1 -o "$both"
	grep -aq 'event=' "$both"
	grep -aq '= Start' "$both"
	run grep -aE 'event=|= Start' "$none"
	[ "$status" -eq 1 ]
	[ "$(text_size "$none")" -lt "$(text_size "$both")" ]
}

text_size()
{
	size "$1" | awk 'END { print $1 }'
}

# Thread-local storage must fit where the loader has room for libraries that
# come late, and reaching it must never call anything.
initial_exec()
{
	local size
	size=$(readelf -lW "$1" | awk '$1 == "TLS" { print $6 }')
	echo "$1: TLS ${size:-none}"
	[ $((size)) -le 24 ]
	run grep -E '__tls_get_addr|DTPMOD|DTPOFF|TLSDESC' \
		<(nm -D "$1"; readelf -rW "$1")
	echo "$output"
	[ "$status" -eq 1 ]
	run grep -vE 'R_X86_64_(RELATIVE|GLOB_DAT|JUMP_SLOT|64|TPOFF64)' \
		<(readelf -rW "$1" | grep R_X86_64_)
	echo "$output"
	[ "$status" -eq 1 ]
}

@test "build: 24 bytes of thread-local storage, initial-exec" {
	[ "$(uname -m)" = x86_64 ] || skip "relocations of x86-64"
	initial_exec build/plain.so
	initial_exec "$ALLOC_SO"
	if command -v clang >/dev/null; then
		clang -O2 -shared -fPIC allocator.c -o "$BATS_TEST_TMPDIR/c.so"
		initial_exec "$BATS_TEST_TMPDIR/c.so"
	fi
}

# What needs a younger glibc than 2.17 is listed in the golden file.
@test "build: needs nothing from glibc after 2.17, but for a known list" {
	[ "$(uname -m)" = x86_64 ] || skip "versions of x86-64"
	nm -D --undefined-only build/plain.so |
		sed -n 's/^.* \([^ ]*\)@\(GLIBC_[0-9.]*\)$/\1 \2/p' |
		while read -r name version; do
			[ "$(printf '%s\n' "$version" GLIBC_2.17 | sort -V |
				tail -n 1)" = GLIBC_2.17 ] ||
				echo "$name $version"
		done | LC_ALL=C sort >"$BATS_TEST_TMPDIR/younger"
	same test/golden/younger-than-glibc-2.17.txt "$BATS_TEST_TMPDIR/younger"
	nm -D --undefined-only build/plain.so | grep -q '@GLIBC_2.2.5$'
}

@test "build: needs libc.so.6 and no other library" {
	local so
	for so in build/plain.so "$ALLOC_SO"; do
		readelf -dW "$so" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' \
			>"$BATS_TEST_TMPDIR/needed"
		echo libc.so.6 | same - "$BATS_TEST_TMPDIR/needed"
		run readelf -dW "$so"
		[[ $output != *TEXTREL* ]]
		[[ "$(readelf -lW "$so")" =~ GNU_STACK.*RW\ +0x ]]
	done
}

@test "build: calloc is not made of a call to calloc" {
	local so
	for so in build/plain.so "$ALLOC_SO"; do
		run grep -E '(call|jmp) .*<(calloc|malloc|memset)@plt>' \
			<(objdump -d --no-show-raw-insn "$so" |
				grep -vE 'memset@plt')
		echo "$output"
		[ "$status" -eq 1 ]
		objdump -d "$so" | grep -q '@plt>'
	done
}

@test "build: linked statically into a glibc program" {
	gcc -O2 -static -pthread -fno-builtin -DLOGGER=0 -DTRACE_ON=0 \
		allocator.c test/smoke.c -o "$BATS_TEST_TMPDIR/smoke"
	deadline "$LIMIT" "$BATS_TEST_TMPDIR/smoke" | grep -qx ok
	ALLOC_HELP=1 deadline "$LIMIT" "$BATS_TEST_TMPDIR/smoke" 2>&1 |
		grep -q ALLOC_THRESH
}

@test "build: linked statically into a musl program" {
	need musl-gcc
	local flags
	for flags in "-O0 -DLOGGER=0 -DTRACE_ON=0" "-O2"; do
		# shellcheck disable=SC2086
		musl-gcc $flags -static -pthread -fno-builtin "${WARNINGS[@]}" \
			allocator.c test/smoke.c -o "$BATS_TEST_TMPDIR/smoke"
		deadline "$LIMIT" "$BATS_TEST_TMPDIR/smoke" | grep -qx ok
		ALLOC_HELP=1 deadline "$LIMIT" "$BATS_TEST_TMPDIR/smoke" 2>&1 |
			grep -q ALLOC_THRESH
	done
}

arm()
{
	deadline "$LIMIT" qemu-aarch64-static -L /usr/aarch64-linux-gnu "$@"
}

@test "build: for aarch64, preloaded and linked statically" {
	need aarch64-linux-gnu-gcc qemu-aarch64-static
	local dir=$BATS_TEST_TMPDIR cross=aarch64-linux-gnu-gcc flags
	$cross -O1 -pthread -fno-builtin test/smoke.c -o "$dir/smoke"
	for flags in "-O0 -DLOGGER=0 -DTRACE_ON=0" "-O2"; do
		# shellcheck disable=SC2086
		$cross $flags -shared -fPIC "${WARNINGS[@]}" allocator.c \
			-o "$dir/lib.so"
		exports "$dir/lib.so" >"$dir/exports"
		same $EXPORTS "$dir/exports"
		arm -E LD_PRELOAD="$dir/lib.so" "$dir/smoke" | grep -qx ok
		arm -E ALLOC_HELP=1 -E LD_PRELOAD="$dir/lib.so" "$dir/smoke" \
			2>&1 | grep -q ALLOC_THRESH
	done
	$cross -O2 -static -pthread -fno-builtin allocator.c test/smoke.c \
		-o "$dir/static"
	arm "$dir/static" | grep -qx ok
}
