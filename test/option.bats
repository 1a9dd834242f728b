# The ALLOC_* variables: what a value does, and that a bad one does no harm.
#
# shellcheck disable=SC2030,SC2031 # status and output are those of this test

load lib

setup_file()
{
	cc_test startup
}

# with VARIABLE VALUE - runs a program with it; its own output must be as ever
with()
{
	local dir=$BATS_TEST_TMPDIR
	status=0
	bare env "$1=$2" "${@:3}" LD_PRELOAD="$ALLOC_SO" \
		build/test/startup work \
		>"$dir/out" 2>"$dir/err" || status=$?
	lines=()
	mapfile -t lines <"$dir/err"
	echo "$1='$2': $status, $(cat "$dir/out"), ${lines[*]}"
	[ "$status" -eq 0 ]
	[ "$(cat "$dir/out")" = worked ]
}

# effective NAME - what ALLOC_HELP, just run, said of an option
effective()
{
	printf '%s\n' "${lines[@]}" |
		sed -n "s/^allocator: .*\\b$1=\\([^ ]*\\).*/\\1/p"
}

# refused VARIABLE VALUE DEFAULT - one line about it, and the default
refused()
{
	with "$1" "$2"
	[ "${#lines[@]}" -eq 1 ]
	[[ "${lines[0]}" == "allocator: $1="*"using $3"* ]]
	[ "${#lines[0]}" -le 200 ]
	with "$1" "$2" ALLOC_HELP=1
	[ "$(printf '%s\n' "${lines[@]}" | grep -c "$1=.*using")" -eq 1 ]
	[ "$(effective "$1" | tail -n 1)" = "$3" ]
}

# accepted VARIABLE VALUE EFFECTIVE - not a word, and it is in force
accepted()
{
	with "$1" "$2"
	[ "${#lines[@]}" -eq 0 ]
	with "$1" "$2" ALLOC_HELP=1
	[ "$(effective "$1")" = "$3" ]
}

@test "option: no variables, no output" {
	with UNRELATED 1
	[ "${#lines[@]}" -eq 0 ]
}

@test "option: ALLOC_THRESH takes 0 to 65536" {
	local n
	for n in 0 1 8 100 400 65535 65536; do
		accepted ALLOC_THRESH $n $n
	done
}

@test "option: an empty value is none" {
	accepted ALLOC_THRESH "" 200
	accepted ALLOC_DIRECT "" 0
	with ALLOC_HELP ""
	[ "${#lines[@]}" -eq 0 ]
	with ALLOC_LOG ""
	[ "${#lines[@]}" -eq 0 ]
	with ALLOC_TRACE ""
	[ "${#lines[@]}" -eq 0 ]
}

@test "option: a bad ALLOC_THRESH costs one line and gives the default" {
	local bad long
	long=$(printf '9%.0s' {1..3000})
	for bad in abc -1 1e3 " 8" "8 " 8k 99999999999999999999 65537 0x10 +5 \
		4294967296 18446744073709551616 18446744073709551617 "1,000" \
		"$long" $'8\n8' $'\e[31m' %s%n%p; do
		refused ALLOC_THRESH "$bad" 200
	done
}

@test "option: a bad ALLOC_DIRECT costs one line and gives the default" {
	local bad
	accepted ALLOC_DIRECT 0 0
	accepted ALLOC_DIRECT 1 1
	for bad in 2 yes -1 on "1 " 11; do
		refused ALLOC_DIRECT "$bad" 0
	done
}

@test "option: a bad ALLOC_HELP is one line, not the help" {
	local bad
	with ALLOC_HELP 0
	[ "${#lines[@]}" -eq 0 ]
	for bad in 2 yes -1; do
		with ALLOC_HELP "$bad"
		[ "${#lines[@]}" -eq 1 ]
		[[ "${lines[0]}" == "allocator: ALLOC_HELP="* ]]
	done
}

@test "option: a line about a bad value is all printable" {
	with ALLOC_THRESH $'a\nb\ec\x80\xff'
	[ "${#lines[@]}" -eq 1 ]
	run grep -aP '[^\x20-\x7e]' "$BATS_TEST_TMPDIR/err"
	echo "$output"
	[ "$status" -eq 1 ]
}

@test "option: several bad values, a line each" {
	with ALLOC_THRESH abc ALLOC_DIRECT=maybe ALLOC_HELP=perhaps
	[ "${#lines[@]}" -eq 3 ]
}

@test "option: ALLOC_HELP=1 names version and every option" {
	local name
	with ALLOC_HELP 1
	[[ "${lines[0]}" =~ ^allocator.*[0-9]+\.[0-9]+ ]]
	for name in THRESH DIRECT CHECK SAMPLE ABORT DEEPBIND HELP LOG TRACE \
		STATS; do
		echo "$name"
		[ "$(printf '%s\n' "${lines[@]}" |
			grep -c "^allocator: .*ALLOC_$name\\b")" -eq 1 ]
	done
	[ "$(effective ALLOC_THRESH)" = 200 ]
	[ "$(effective ALLOC_DIRECT)" = 0 ]
	[ "$(effective ALLOC_HELP)" = 1 ]
}

@test "option: ALLOC_HELP=1 tells the values in force, in any order" {
	local log=$BATS_TEST_TMPDIR/a.log
	with ALLOC_HELP 1 ALLOC_THRESH=7 ALLOC_DIRECT=1
	[ "$(effective ALLOC_THRESH)" = 7 ]
	[ "$(effective ALLOC_DIRECT)" = 1 ]
	with ALLOC_LOG "$log" ALLOC_THRESH=9 ALLOC_HELP=1
	[ "${#lines[@]}" -eq 0 ]
	mapfile -t lines <"$log"
	[ "$(effective ALLOC_THRESH)" = 9 ]
	[ "$(effective ALLOC_LOG)" = "$log" ]
}

# nearest ENTRY NAME - one line about ENTRY, without its value, which may be a
# secret of others; it takes it for NAME
nearest()
{
	with "${1%%=*}" "${1#*=}"
	[ "${#lines[@]}" -eq 1 ]
	[ "${lines[0]}" = \
		"allocator: '${1%%=*}' is no option; the nearest is ALLOC_$2" ]
}

@test "option: a name that is none costs one line with the nearest" {
	nearest ALLOC_TRESH=1 THRESH
	nearest ALLOC_THRESHOLD=abc THRESH
	nearest ALLOC_DIRECTT=1 DIRECT
	nearest ALLOC_CHEK=3 CHECK
	nearest ALLOC_CEHCK=3 CHECK
	nearest ALLOC_SMAPLE=3 SAMPLE
	nearest ALLOC_ABRT=0 ABORT
	nearest ALLOC_HLEP=1 HELP
	nearest ALLOC_LOGS=/x LOG
	nearest ALLOC_STAT=/x STATS
	nearest ALLOC_TRACES=/x TRACE
	nearest ALLOC_DEEP_BIND=1 DEEPBIND
	# and no value takes effect
	with ALLOC_CHEK 3 ALLOC_HELP=1 ALLOC_CHECK=
	[ "$(effective ALLOC_CHECK)" = 1 ]
	# empty, or with another prefix, it is nobody's
	with ALLOC_TRESH "" ALLOC=1 ALLOCTRESH=1 alloc_thresh=1 XALLOC_LOG=x
	[ "${#lines[@]}" -eq 0 ]
}

@test "option: odd names cost a line each, and nothing else" {
	local long
	long=$(printf 'X%.0s' {1..5000})
	with ALLOC_ x ALLOC_DIRECT_=2 "ALLOC_$long=1" $'ALLOC_\e[31m=1' \
		'ALLOC_%s%n=%s' 'ALLOC_=THRESH=1'
	[ "${#lines[@]}" -eq 5 ] # the last stands in for the first
	run grep -aPv '^allocator: [\x20-\x7e]{1,120}$' "$BATS_TEST_TMPDIR/err"
	echo "$output"
	[ "$status" -eq 1 ]
	with ALLOC_TRESH 1 ALLOC_LOG="$BATS_TEST_TMPDIR/log"
	[ "${#lines[@]}" -eq 0 ]
	grep -q "'ALLOC_TRESH'" "$BATS_TEST_TMPDIR/log"
}

@test "option: ALLOC_TRACE without the code for it costs one line" {
	local so=$BATS_TEST_TMPDIR/lib.so name=$BATS_TEST_TMPDIR/trace on
	for on in 0 1 2; do
		"${CC:-cc}" -O1 -std=gnu11 -shared -fPIC -DLOGGER=0 \
			-DTRACE_ON=$on allocator.c -o "$so"
		ALLOC_SO=$so with ALLOC_TRACE "$name"
		if [ $on -eq 0 ]; then
			[ "${#lines[@]}" -eq 1 ]
			[[ "${lines[0]}" == *" ALLOC_TRACE="*TRACE_ON ]]
			[ ! -e "$name" ]
		else
			[ "${#lines[@]}" -eq 0 ]
			[ -s "$name" ]
			rm "$name"
		fi
	done
}

@test "option: ALLOC_LOG takes all output, whatever the order" {
	local log=$BATS_TEST_TMPDIR/log
	with ALLOC_THRESH abc ALLOC_LOG="$log"
	[ "${#lines[@]}" -eq 0 ]
	[ "$(grep -c '^allocator: ALLOC_THRESH=' "$log")" -eq 1 ]
	# appends, as a program's children need it
	with ALLOC_LOG "$log" ALLOC_THRESH=abc
	[ "$(grep -c '^allocator: ALLOC_THRESH=' "$log")" -eq 2 ]
}

@test "option: %p in ALLOC_LOG is the process id" {
	local dir=$BATS_TEST_TMPDIR file pids=()
	# shellcheck disable=SC2016 # for the inner shell
	ALLOC_HELP=1 ALLOC_LOG=$dir/%p.x.%p pre sh -c \
		'echo $$; sh -c "echo \$\$; :"; ls / >/dev/null' >"$dir/pids"
	mapfile -t pids <"$dir/pids"
	[ "${#pids[@]}" -eq 2 ]
	for file in "${pids[@]}"; do
		[ "$(grep -c ALLOC_THRESH= "$dir/$file.x.$file")" -eq 1 ]
	done
	for file in "$dir"/*.x.*; do
		[ "$(grep -c ALLOC_THRESH= "$file")" -eq 1 ]
	done
}

@test "option: other percent signs in ALLOC_LOG stay as they are" {
	local dir=$BATS_TEST_TMPDIR
	with ALLOC_LOG "$dir/a%s%d%%n%" ALLOC_HELP=1
	[ "${#lines[@]}" -eq 0 ]
	[ -s "$dir/a%s%d%%n%" ] || [ -s "$dir/a%s%d%n%" ]
}

# An ALLOC_LOG that can't be used: the help comes to standard error instead
@test "option: an ALLOC_LOG that can't be opened" {
	local path long
	long=/tmp/$(printf 'x%.0s' {1..5000})
	touch "$BATS_TEST_TMPDIR/file"
	for path in /nonexistent/x "$BATS_TEST_TMPDIR" / \
		"$BATS_TEST_TMPDIR/file/x" "$long" \
		"/tmp/$(printf 'x%.0s' {1..300})"; do
		with ALLOC_LOG "$path"
		[ "${#lines[@]}" -le 1 ]
		with ALLOC_LOG "$path" ALLOC_HELP=1
		[ "$(effective ALLOC_THRESH)" = 200 ]
	done
}

@test "option: an ALLOC_LOG that takes nothing" {
	with ALLOC_LOG /dev/full ALLOC_HELP=1
	[ "${#lines[@]}" -eq 0 ]
	with ALLOC_LOG /dev/null ALLOC_HELP=1
	[ "${#lines[@]}" -eq 0 ]
}

@test "option: a misuse is reported in ALLOC_LOG" {
	local log=$BATS_TEST_TMPDIR/log
	cc_test misuse
	ALLOC_LOG=$log run pre build/test/misuse --case double 64 0 0
	echo "$status $output"
	[ "$status" -eq 134 ]
	[ -z "$output" ]
	[ "$(grep -c '^allocator: double free 0x' "$log")" -eq 1 ]
	[ "$(wc -l <"$log")" -eq 1 ]
	ALLOC_LOG=/nonexistent/x run pre build/test/misuse --case double 64 0 0
	[ "$status" -eq 134 ]
	[[ "$output" == *"allocator: double free 0x"* ]]
	ALLOC_LOG=/dev/full run pre build/test/misuse --case double 64 0 0
	[ "$status" -eq 134 ]
	[ -z "$output" ]
}

@test "option: the values have the effect they name" {
	level_1
	need strace
	strace -o /dev/null true || skip "may not trace"
	local n log=$BATS_TEST_TMPDIR/calls last=1000000
	# shellcheck disable=SC2016 # this is perl
	local program='for (1..2000) { my %h = map { $_ => "x$_" } 1..5 }'
	for n in "ALLOC_DIRECT=1 ALLOC_THRESH=0" "ALLOC_DIRECT=1" \
		"ALLOC_DIRECT=0"; do
		# shellcheck disable=SC2086 # one assignment a word
		env $n strace -qq -f -o "$log" -e trace=mmap,munmap \
			-E LD_PRELOAD="$ALLOC_SO" perl -e "$program"
		n=$(wc -l <"$log")
		echo "$n calls, before $last"
		[ $((n * 3)) -lt "$last" ]
		last=$n
	done
}

@test "option: standard error may be closed, or full" {
	run bash -c 'ALLOC_HELP=1 ALLOC_THRESH=abc LD_PRELOAD=$TEST_SO \
		build/test/startup work 2>&-'
	[ "$status" -eq 0 ]
	[ "$output" = worked ]
	run bash -c 'ALLOC_HELP=1 ALLOC_THRESH=abc LD_PRELOAD=$TEST_SO \
		build/test/startup work 2>/dev/full'
	[ "$status" -eq 0 ]
	[ "$output" = worked ]
}

# statistics FILE KEY - the values of a key in it, one a line
statistics()
{
	sed -n "s/^allocator\\[[0-9]*\\] .*\\b$2=\\([0-9]*\\).*/\\1/p" "$1"
}

@test "option: ALLOC_STATS gets a line from each process" {
	local file=$BATS_TEST_TMPDIR/stats
	with ALLOC_STATS "$file"
	[ "${#lines[@]}" -eq 0 ]
	[ "$(wc -l <"$file")" -eq 1 ]
	grep -Eq '^allocator\[[0-9]+\]( [a-z_]+=[0-9]+)+$' "$file"
	[ "$(statistics "$file" peak)" -gt 0 ]
	[ "$(statistics "$file" mmap)" -gt 0 ]
	ALLOC_STATS=$file pre perl -e 'fork for 1..3; 1 while wait > 0'
	[ "$(wc -l <"$file")" -eq 9 ]
	[ "$(cut -d']' -f1 "$file" | sort -u | wc -l)" -eq 9 ]
	ALLOC_STATS=$file.%p pre perl -e 'fork; wait'
	[ "$(cat "$file".[0-9]* | wc -l)" -eq 2 ]
	[ "$(find "$BATS_TEST_TMPDIR" -name 'stats.*' | wc -l)" -eq 2 ]
	# what the parent did before the fork is not the child's
	rm "$file"
	ALLOC_STATS=$file pre perl -e '$x = "a" x 3e6; fork or exit; wait'
	[ "$(statistics "$file" mmap | head -n 1)" -lt \
		"$(statistics "$file" mmap | tail -n 1)" ]
	with ALLOC_STATS /nowhere/file
	[ "${#lines[@]}" -eq 2 ]
	[[ ${lines[0]} == "allocator: ALLOC_STATS='/nowhere/file'"* ]]
	[[ ${lines[1]} == allocator\[*\]\ system=* ]]
}

@test "option: malloc_stats goes to ALLOC_STATS; a child has its own file" {
	need /usr/bin/python3
	local file=$BATS_TEST_TMPDIR/stats
	ALLOC_STATS=$file.%p pre /usr/bin/python3 -c '
import ctypes, os
ctypes.CDLL(None).malloc_stats()
if os.fork():
	os.wait()'
	[ "$(find "$BATS_TEST_TMPDIR" -name 'stats.*' | wc -l)" -eq 2 ]
	[ "$(cat "$file".* | wc -l)" -eq 3 ]
	for file in "$file".*; do
		grep -q "^allocator\\[${file##*.}\\]" "$file"
		! grep -qv "^allocator\\[${file##*.}\\]" "$file" || false
	done
}

@test "option: ALLOC_STATS counts each use of the cache" {
	level_1
	local log=$BATS_TEST_TMPDIR/log stats=$BATS_TEST_TMPDIR/stats direct
	cc allocator.c -shared -fPIC -DTRACE_ON=0 -o "$log.so"
	for direct in 0 1; do
		rm -f "$stats" "$log"
		ALLOC_LOG=$log ALLOC_STATS=$stats ALLOC_DIRECT=$direct \
			ALLOC_SO=$log.so pre perl -e 'for $i (1..300) {
				push @a, "x" x ($i * 5e3);
				shift @a if @a > 20 }'
		grep -q event=reuse "$log"
		[ "$(statistics "$stats" reused)" -eq \
			"$(grep -c event=reuse "$log")" ]
	done
}

# strace_counts FILE - calls made from inside the library, as NAME=N lines
strace_counts()
{
	perl -ne '
		if (/mmap\(NULL, (\d+),.*<\Q$ENV{TEST_SO}\E>.*= 0x(\w+)/) {
			($from, $to) = (hex $2, hex($2) + $1);
		}
		$n{$2}++ if /^\[(\w+)\] (\w+)\(/ && defined $from &&
			hex $1 >= $from && hex $1 < $to;
		END { print "$_=$n{$_}\n" for keys %n }' "$1"
}

@test "option: ALLOC_STATS counts exactly what the kernel was asked" {
	need strace perl
	local stats=$BATS_TEST_TMPDIR/stats trace=$BATS_TEST_TMPDIR/trace n
	for thresh in 0 1 200; do
		rm -f "$stats"
		deadline "$LIMIT" strace -i -y -o "$trace" \
			-e trace=memory -E LD_PRELOAD="$ALLOC_SO" \
			-E ALLOC_STATS="$stats" -E ALLOC_THRESH=$thresh \
			perl -e 'for $i (1..300) {
				push @a, "x" x ($i * 5e3);
				shift @a if @a > 20 }'
		grep -q 'mmap=[1-9]' <(strace_counts "$trace")
		for call in mmap munmap mremap madvise mprotect; do
			n=$(strace_counts "$trace" | sed -n "s/^$call=//p")
			echo "$thresh $call: ${n:-0} by strace"
			[ "$(statistics "$stats" $call)" -eq "${n:-0}" ]
		done
	done
}
