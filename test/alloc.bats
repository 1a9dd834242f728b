# The tool alloc: run, sweep, compare and bench, and what they say of bad
# usage. `alloc bars` is in bars.bats, its statistics in stats.c.
#
# The tool is run where it has the library under test and the workloads beside
# it, in an empty directory, and with a TMPDIR in which nothing may be left.
#
# shellcheck disable=SC2030,SC2031 # variables are those of one test
#
# test/run: alone

load lib

setup_file()
{
	make -s alloc workloads
	cc_once build/test/deadline test/deadline.c -O1
	cp alloc "$BATS_FILE_TMPDIR/alloc"
	ln -s "$ALLOC_SO" "$BATS_FILE_TMPDIR/allocator.so"
	ln -s "$ROOT/build" "$BATS_FILE_TMPDIR/build"
	libraries "$BATS_FILE_TMPDIR"
	# no libc.a is needed for this one
	echo 'void _start(void) { for (;;); }' |
		"${CC:-cc}" -static -nostdlib -x c - \
			-o "$BATS_FILE_TMPDIR/static"
}

# libraries DIR - slow.so, a malloc that takes long; big.so, one with 50 MiB
# more; other.so, which is no allocator; empty.so, which can't be loaded;
# crash.so, with which all programs abort
libraries()
{
	local cc=("${CC:-cc}" -O1 -fno-builtin -shared -fPIC -x c -)
	: >"$1/empty.so"
	"${cc[@]}" -o "$1/slow.so" <<-'END'
	#include <stddef.h>

	void *__libc_malloc(size_t n);

	void *malloc(size_t n)
	{
		for (volatile int i = 0; i < 5000; i++)
			;
		return __libc_malloc(n);
	}
	END
	"${cc[@]}" -o "$1/big.so" <<-'END'
	#include <string.h>

	char held[50 << 20];

	__attribute__((constructor)) static void hold(void)
	{
		memset(held, 1, sizeof(held));
	}
	END
	echo 'int other;' | "${cc[@]}" -o "$1/other.so"
	"${cc[@]}" -o "$1/crash.so" <<-'END'
	#include <stdlib.h>

	__attribute__((constructor)) static void crash(void)
	{
		abort();
	}
	END
}

setup()
{
	alloc=$BATS_FILE_TMPDIR/alloc
	libs=$BATS_FILE_TMPDIR
	dir=$BATS_TEST_TMPDIR/work
	out=$BATS_TEST_TMPDIR/out
	err=$BATS_TEST_TMPDIR/err
	unset NO_COLOR COLUMNS LC_CTYPE LANG
	export LC_ALL=C
	export TMPDIR=$BATS_TEST_TMPDIR/tmp
	mkdir "$dir" "$TMPDIR"
	cd "$dir" || return
}

# rounded DIGITS - each number of a line as C prints it, halves included
rounded()
{
	awk "{ printf \"%.$1f\\n\", \$1 }"
}

# is EXPECTED ACTUAL
is()
{
	[ "$1" = "$2" ] && return 0
	printf 'expected: %s\ngot:      %s\n' "$1" "$2"
	return 1
}

# show - what the tool said, less what a machine with other users makes it say
show()
{
	sed -i '/^alloc: other programs were busy during [0-9]* of /d' "$err"
	printf '%s: %s\n' "$*" "$status"
	head -n 20 "$err" "$out" | cut -c 1-200
}

# tool ARGUMENT... - runs alloc. Sets status; what it said is in $out and $err.
tool()
{
	status=0
	bare "$alloc" "$@" >"$out" 2>"$err" </dev/null || status=$?
	show "alloc" "$@"
	is "" "$(ls -A "$TMPDIR")"
}

# good ARGUMENT... - that ends with 0, and nothing on standard error
good()
{
	tool "$@"
	is 0 "$status"
	is "" "$(cat "$err")"
}

# refused PATTERN ARGUMENT... - that ends with 2, nothing on standard output
# and one line on standard error
refused()
{
	tool "${@:2}"
	is 2 "$status"
	is "" "$(cat "$out")"
	is 1 "$(wc -l <"$err")"
	# shellcheck disable=SC2053 # it is a pattern
	[[ "$(cat "$err")" == $1 ]]
}

# Runs are short here: there is no use in warm memory.
sweep()
{
	tool sweep --prewarm 0 "$@"
}

compare()
{
	tool compare --prewarm 0 "$@"
}

bench()
{
	tool bench --prewarm 0 "$@"
}

# holds FILE FILTER - jq finds it true
holds()
{
	jq -e "
		def median: sort | if length % 2 == 1 then .[length / 2 | floor]
			else (.[length / 2 - 1] + .[length / 2]) / 2 end;
		def near(x): . - x | fabs < 1e-9 + (x | fabs) * 1e-6;
		def metrics: [.wall_s, .cpu_s, .user_s, .system_s, .rss_kib,
			.faults, .syscalls, .reused];
		$2" "$1" >/dev/null && return 0
	echo "$1: not so: $2"
	head -c 2000 "$1"
	return 1
}

# recommended - the threshold, from the one line about it
recommended()
{
	is 1 "$(grep -c recommended "$out")"
	sed -n 's/^recommended: ALLOC_THRESH=\([0-9]*\)$/\1/p' "$out"
}

# labels FILE - of a data file, in one line
labels()
{
	is "" "$(grep -vE '^[0-9]+,[0-9.e+]+$' "$1")"
	cut -d , -f 1 "$1" | paste -sd ' '
}

# picture FILE... - each is an SVG that all can read, with a title
picture()
{
	local file
	for file; do
		xmllint --noout "$file"
		is 0 "$(grep -c 'scale(0' "$file" || true)"
		is 0 "$(grep -c '<title>Gnuplot' "$file" || true)"
		! command -v rsvg-convert >/dev/null ||
			rsvg-convert "$file" >/dev/null
	done
}

# png FILE - is one
png()
{
	is "89 50 4e 47 0d 0a 1a 0a" "$(head -c 8 "$1" | od -An -tx1 |
		sed 's/^ //')"
	above "$(wc -c <"$1")" 2000
}

# value THRESHOLD - what benchmark.out has for it
value()
{
	sed -n "s/^$1,//p" benchmark.out
}

# above NUMBER NUMBER
above()
{
	awk -v a="$1" -v b="$2" 'BEGIN { exit !(a + 0 > b + 0) }' && return 0
	echo "$1 is not above $2"
	return 1
}

# since TIME - seconds
since()
{
	awk -v a="$1" -v b="$EPOCHREALTIME" 'BEGIN { print b - a }'
}

# lines FILE - how many it has; 0 when there is none
lines()
{
	wc -l 2>/dev/null <"$1" || echo 0
}

# until_lines N FILE - waits until it has that many
until_lines()
{
	for _ in {1..200}; do
		[ "$(lines "$2")" -lt "$1" ] || return 0
		sleep 0.05
	done
	echo "only $(lines "$2") lines in $2"
	return 1
}

# start ARGUMENT... - alloc in the background, with a session of its own and
# the signals of a program that was typed at a terminal; sets pid
start()
{
	: >"$out" # lest somebody waits for what was in it
	env -u LD_PRELOAD --default-signal=INT,QUIT,TERM,HUP setsid \
		"$alloc" "$@" >"$out" 2>"$err" </dev/null 3>&- &
	pid=$!
}

# finish - waits for its end; sets status, and left: what else is still there
finish()
{
	status=0
	wait "$pid" || status=$?
	for _ in {1..10}; do
		left=$(ps -s "$pid" -o stat=,pid=,args= | awk '!/^Z/')
		[ -n "$left" ] || break
		sleep 0.05
	done
	[ -z "$left" ] || kill -KILL -- "-$pid" || true
	show "$pid"
	is "" "$left"
	is "" "$(ls -A "$TMPDIR")"
}

# stops_at_once LOG - on ^C, which it gets when LOG has a line
stops_at_once()
{
	local begin
	until_lines 1 "$1"
	begin=$EPOCHREALTIME
	kill -INT -- "-$pid"
	finish
	is 130 "$status"
	above 2 "$(since "$begin")"
}

# scripted LINE... - is ./cmd, for sh
scripted()
{
	printf '%s\n' "#!/bin/sh" "$@" >cmd
	chmod +x cmd
}

# napping THRESHOLD MS... - is ./cmd, which sleeps as ALLOC_THRESH says: the
# time after the last threshold named that is not above it
napping()
{
	printf '%s\n' "#!$(type -P perl)" 'my %ms = qw('"$*"');' \
		'my ($t) = sort { $b <=> $a }' \
		'	grep { $_ <= $ENV{ALLOC_THRESH} } keys %ms;' \
		'select(undef, undef, undef, $ms{$t} / 1000);' >cmd
	chmod +x cmd
}

# busy LOOPS - so many until $busy, their process group, is killed
busy()
{
	setsid perl -e 'fork || last for 2..$ARGV[0]; alarm 60; 1 while 1' \
		"$1" 3>&- &
	busy=$!
}

# is ./cmd, which takes 0.1 s of a processor
burning()
{
	printf '%s\n' "#!$(type -P perl)" 'open F, ">>log"; print F "\n";' \
		'1 while (times)[0] < 0.1;' >cmd
	chmod +x cmd
}

# Many hashes: what ALLOC_DIRECT=1 takes a mapping each for
hashes='for (1..300) { my %h = map { $_ => "x$_" } 1..5 }'

# -- run

@test "alloc run: CMD runs on the library" {
	is 0 "$(bare cat /proc/self/maps | grep -c allocator.so || true)"
	good run -- cat /proc/self/maps
	grep -q " $ALLOC_SO$" "$out"
	good run cat /proc/self/maps
	grep -q " $ALLOC_SO$" "$out"
	good run --lib "$libs/other.so" cat /proc/self/maps
	grep -q " $libs/other.so$" "$out"
	is 0 "$(grep -c "$ALLOC_SO" "$out" || true)"
}

@test "alloc run: a program, a script, and one found in PATH" {
	scripted 'cat /proc/self/maps'
	PATH=$dir:$PATH
	good run cmd
	grep -q " $ALLOC_SO$" "$out"
	good run ./cmd
	grep -q " $ALLOC_SO$" "$out"
	# no #! line: execvp takes the shell
	sed -i 1d cmd
	good run ./cmd
	grep -q " $ALLOC_SO$" "$out"
}

@test "alloc run: what is in LD_PRELOAD stays there, in front" {
	local more
	scripted 'echo "$LD_PRELOAD"; cat /proc/$$/maps'
	for more in "" --stats; do
		# shellcheck disable=SC2086 # an option or none
		bare env LD_PRELOAD="$libs/other.so" "$alloc" run $more \
			./cmd >"$out"
		is "$libs/other.so:$ALLOC_SO" "$(head -n 1 "$out")"
		grep -q " $libs/other.so$" "$out"
		grep -q " $ALLOC_SO$" "$out"
		# shellcheck disable=SC2086 # an option or none
		bare env LD_PRELOAD= "$alloc" run $more ./cmd >"$out"
		is "$ALLOC_SO" "$(head -n 1 "$out")"
	done
}

@test "alloc run: ends with the exit code of CMD" {
	local n
	for n in 0 1 2 77 126 127 130 255; do
		tool run -- sh -c "exit $n"
		is "$n" "$status"
		is "" "$(cat "$err")"
		tool run --stats -- sh -c "exit $n"
		is "$n" "$status"
	done
}

@test "alloc run: dies of the signal that CMD dies of" {
	local sig n
	for sig in HUP INT KILL SEGV ABRT TERM USR1; do
		n=$(kill -l $sig)
		is "$n" "$(bare perl -e 'system @ARGV; print $?&127' "$alloc" \
			run -- perl -e "kill $sig => \$\$; sleep 9" 2>&1)"
		is "$n" "$(bare perl -e 'system @ARGV; print $?&127' "$alloc" \
			run --stats -- perl -e "kill $sig => \$\$; sleep 9" \
			2>"$err")"
		is 1 "$(lines "$err")"
		grep -q "^alloc: perl was killed by signal $n (" "$err"
	done
}

# passes OPTION... SIG - that signal, sent to alloc, arrives in CMD
passes()
{
	local sig=${*: -1}
	start run "${@:1:$#-1}" -- perl -e '$| = 1;
		$SIG{$ARGV[0]} = sub { print "got $_[0]\n"; exit 7 };
		print "ready\n"; sleep 9; sleep 9' "$sig"
	until_lines 1 "$out"
	kill "-$sig" "$pid"
	finish
	is "ready got $sig" "$(paste -sd ' ' "$out")"
	is 7 "$status"
}

@test "alloc run: signals reach CMD" {
	local sig
	for sig in TERM HUP INT QUIT USR1 USR2; do
		passes $sig
	done
}

@test "alloc run: signals reach CMD with --stats: TERM and HUP" {
	passes --stats TERM
	passes --stats HUP
}

@test "alloc run: signals reach CMD with --stats: USR1, USR2 and others" {
	passes --stats USR1
	passes --stats USR2
	passes --stats WINCH
	passes --stats CONT
}

@test "alloc run: ^C with --stats is left to CMD" {
	start run --stats -- perl -e '$| = 1; print "ready\n";
		$SIG{INT} = sub { print "got it\n"; exit 7 }; sleep 9'
	until_lines 1 "$out"
	sleep 0.1
	kill -INT -- "-$pid"
	finish
	is 7 "$status"
	is "ready got it" "$(paste -sd ' ' "$out")"
	is 1 "$(grep -c '^allocator\[' "$err")"
	start run --stats -- perl -e '$| = 1; print "ready\n"; sleep 9'
	until_lines 1 "$out"
	kill -INT -- "-$pid"
	finish
	is 130 "$status"
}

@test "alloc run: --thresh and --direct reach the library" {
	export ALLOC_HELP=1
	tool run -- true
	is 0 "$status"
	grep -q '^allocator: ALLOC_THRESH=200 ' "$err"
	grep -q '^allocator: ALLOC_DIRECT=0 ' "$err"
	tool run --thresh 7 --direct --check 1 -- true
	is 0 "$status"
	grep -q '^allocator: ALLOC_THRESH=7 ' "$err"
	grep -q '^allocator: ALLOC_DIRECT=1 ' "$err"
	tool run --stats --thresh=0 -- true
	is 0 "$status"
	grep -q '^allocator: ALLOC_THRESH=0 ' "$err"
	export ALLOC_THRESH=9 ALLOC_DIRECT=1
	tool run -- true
	grep -q '^allocator: ALLOC_THRESH=9 ' "$err"
	grep -q '^allocator: ALLOC_DIRECT=1 ' "$err"
	tool run --check 2 -- true
	grep -q '^allocator: ALLOC_CHECK=2 ' "$err"
	tool run --stats --check 3 -- true
	grep -q '^allocator: ALLOC_CHECK=3 ' "$err"
	tool run --thresh 65536 -- true
	grep -q '^allocator: ALLOC_THRESH=65536 ' "$err"
}

@test "alloc run: options behind CMD are its own" {
	good run -- echo --thresh 5 --help
	is "--thresh 5 --help" "$(cat "$out")"
	good run echo --stats -x
	is "--stats -x" "$(cat "$out")"
	good run -- echo -- "a  b" ""
	is "-- a  b " "$(cat "$out")"
}

@test "alloc run: --stats prints a line a process, and nothing else" {
	local n='[0-9]+' form
	form="^allocator\\[$n\\] system=$n in_use=$n peak=$n mmap=$n munmap=$n"
	form+=" mremap=$n madvise=$n mprotect=$n reused=$n\$"
	tool run --stats -- perl -e 'print "hello\n"; print STDERR "oh\n";
		system "/bin/true" for 1..2; exit 5'
	is 5 "$status"
	is hello "$(cat "$out")"
	is oh "$(head -n 1 "$err")"
	is "alloc: perl ended with status 5" "$(sed -n 2p "$err")"
	is 5 "$(lines "$err")"
	is 3 "$(grep -cE "$form" "$err")"
	is 3 "$(grep -o '^allocator\[[0-9]*' "$err" | sort -u | wc -l)"
	# 30 MiB are there to be seen
	tool run --stats -- perl -e 'my $x = "x" x (30 << 20)'
	is 1 "$(lines "$err")"
	above "$(sed 's/.* peak=\([0-9]*\).*/\1/' "$err")" $((30 << 20))
	good run -- perl -e 'my $x = "x" x (30 << 20)'
	is "" "$(cat "$out")"
}

@test "alloc run: --stats says how CMD ended, unless well" {
	tool run --stats -- sh -c 'kill -11 $$'
	is 139 "$status"
	is "alloc: sh was killed by signal 11 (Segmentation fault)" \
		"$(grep -v '^allocator' "$err")"
	tool run --stats -- perl -e 'exit 3'
	is 3 "$status"
	is "alloc: perl ended with status 3" "$(head -n 1 "$err")"
}

@test "alloc run: says so when CMD can't be started" {
	local option
	printf '#!/no/such/program\n' >cmd
	chmod +x cmd
	for option in "" --stats; do
		# shellcheck disable=SC2086 # none or one
		refused "alloc: ./cmd could not be started: No such file*" \
			run $option ./cmd
	done
}

@test "alloc run: --stats leaves no file, and keeps it in TMPDIR" {
	local file
	tool run --stats -- sh -c 'echo "$ALLOC_STATS"'
	file=$(cat "$out")
	[ ! -e "$file" ]
	# or a descriptor of alloc's
	[[ "$file" == "$TMPDIR"/* || "$file" == /proc/* ]]
}

@test "alloc run: --stats leaves no file when CMD leaves a process" {
	scripted '(sleep 0.3; ls >list) &' \
		'echo "$ALLOC_STATS" >name'
	tool run --stats -- ./cmd
	is 0 "$status"
	until_lines 1 list
	sleep 0.2
	[ ! -e "$(cat name)" ] || rm "$(cat name)" list
	[ -e list ]
}

@test "alloc run: --stats ends as CMD does when nobody reads them" {
	bare perl -e 'pipe R, W; close R; open STDERR, ">&W";
		$SIG{PIPE} = "DEFAULT"; exit system(@ARGV) >> 8' \
		"$alloc" run --stats -- perl -e 'exit 3' || status=$?
	is 3 "$status"
	is "" "$(ls -A "$TMPDIR")"
}

@test "alloc run: --stats with a TMPDIR that is relative, or has %p in it" {
	mkdir "$TMPDIR/%p" "$TMPDIR/a"
	TMPDIR=$TMPDIR/%p tool run --stats -- true
	is 1 "$(lines "$err")"
	grep -q '^allocator\[' "$err"
	rmdir "$TMPDIR/%p"
	cd "$TMPDIR"
	TMPDIR=a tool run --stats -- sh -c 'cd /; exec perl -e 1'
	is 1 "$(lines "$err")"
	grep -q '^allocator\[' "$err"
	is "" "$(ls -A a)"
	rmdir a
}

# What a program can see of how it was started
state='use Cwd; printf "umask %o, nice %d, in %s\n", umask,
		getpriority(0, 0), getcwd;
	print "$_ ", readlink("/proc/self/fd/$_"), "\n"
		for grep { defined readlink "/proc/self/fd/$_" } 0..40;
	/^ALLOC_|^LD_PRELOAD/ or print "$_=$ENV{$_}\n" for sort keys %ENV;
	open F, "/proc/self/status";
	print grep /^(Sig(Blk|Ign|Cgt)|Cap|NoNew|[UG]id|Groups|Seccomp:)/, <F>;
	open F, "/proc/self/limits"; print <F>; print map("<$_>", @ARGV), "\n"'

# stated COMMAND... - runs it with some things set that it has to pass on
stated()
{
	(
		umask 027
		ulimit -n 333 -s 4000
		exec 3>&- 5<cmd 17>>log
		env -i PATH="$PATH" A=1 EMPTY= B="x  y" TMPDIR="$TMPDIR" \
			nice -n 3 env --default-signal=QUIT,INT \
			--ignore-signal=USR1 --block-signal=USR2 "$@" \
			perl -e "$state" -- a "b  c" "" </dev/null >seen 2>&1
	)
	sed '/^allocator\[/d' seen
}

@test "alloc run: CMD finds all as without alloc" {
	scripted :
	stated >without
	grep -q '^umask 27, nice ' without
	grep -q "^17 $dir/log\$" without
	grep -q "^B=x  y\$" without
	is "<a><b  c><>" "$(tail -n 1 without)"
	stated "$alloc" run -- >with
	same without with
	stated "$alloc" run --stats --direct -- >with
	same without with
}

@test "alloc run: without --stats CMD takes the place of alloc" {
	start run -- perl -e 'print "$$ ", getppid, "\n"'
	wait "$pid"
	is "$pid $$" "$(cat "$out")"
}

@test "alloc run: refuses a static program" {
	refused "alloc: $libs/static is linked statically*" run "$libs/static"
	refused "alloc: *static is linked statically*" \
		run --stats -- "$libs/static"
	cp "$libs/static" .
	PATH=$dir:$PATH refused "alloc: $dir/static is *" run static
}

@test "alloc run: refuses a script whose interpreter is static" {
	printf '#!%s -x\n' "$libs/static" >cmd
	chmod +x cmd
	refused "alloc: $libs/static is linked statically*" run ./cmd
	printf '#! %s\n' "$libs/static" >cmd
	refused "alloc: $libs/static is linked statically*" run ./cmd
	# which runs another script
	cp cmd inner
	printf '#!%s\n' "$dir/inner" >cmd
	refused "alloc: $libs/static is linked statically*" run ./cmd
	mkdir envs
	cp "$libs/static" envs/cat
	printf '#!%s x\n' "$dir/envs/cat" >cmd
	refused "alloc: $dir/envs/cat is linked statically*" run ./cmd
	printf '#!/usr/bin/env static\n' >cmd
	PATH=$libs:$PATH
	refused "alloc: $libs/static is linked statically*" run ./cmd
}

@test "alloc run: refuses a program that is set-user-ID" {
	local program=$dir/env
	cp "$(type -P env)" "$program"
	good run ./env true
	if [ "$(id -u)" -eq 0 ]; then
		chown nobody "$program"
		good run "$program" true
		chmod u+s "$program"
	else
		program=$(find /bin /usr/bin -maxdepth 1 -perm -4001 \
			-user root | head -n 1)
		[ -n "$program" ] || skip "needs a set-user-ID program"
	fi
	refused "alloc: $program is set-user-ID*" run "$program" true
	refused "alloc: $program is set-user-ID*" run --stats "$program" true
	[ "$(id -u)" -eq 0 ] || return 0
	chown 0:nogroup "$program"
	chmod u-s,g+s "$program"
	refused "alloc: $program is set-*" run "$program" true
	# one's own gives no right that one hasn't
	chown 0:0 "$program"
	chmod u+s,g+s "$program"
	good run "$program" true
}

@test "alloc run: refuses a program of another ELF class or machine" {
	# byte 4 is the class, 18 and 19 are the machine
	cp "$(type -P true)" class
	cp class machine
	printf '\001' | dd of=class bs=1 seek=4 conv=notrunc status=none
	printf '\010' | dd of=machine bs=1 seek=18 conv=notrunc status=none
	refused "alloc: ./class is *machine*" run ./class
	refused "alloc: ./machine is *machine*" run ./machine
}

@test "alloc run: refuses what is not there" {
	refused "alloc: *no command*" run
	refused "alloc: *no command*" run --stats --
	refused "alloc: *no-such-program" run no-such-program
	refused "alloc: *no-such-program" run --stats no-such-program
	refused "alloc: */no/such/program" run /no/such/program
	refused "alloc: */no/such.so*No such file*" run --lib /no/such.so true
	refused "alloc: *" run --lib "" true
	refused "alloc: /etc/passwd is no library *" \
		run --lib /etc/passwd true
	refused "alloc: $dir is no library *" run --stats --lib "$dir" true
	refused "alloc: *" run ""
	: >file
	refused "alloc: *./file*" run ./file
	refused "alloc: *$dir*" run "$dir"
	refused "alloc: *$dir*" run --stats "$dir"
	mkdir "a b"
	cp "$ALLOC_SO" "a b/x.so"
	refused "alloc: $dir/a b/x.so *blank*" run --lib "a b/x.so" true
}

@test "alloc run: the library is beside the tool, or where it is installed" {
	local place
	mkdir -p bin lib/allocator
	cp "$alloc" bin
	alloc=$dir/bin/alloc
	refused "alloc: *allocator.so*--lib" run true
	for place in lib/allocator/allocator.so bin/allocator.so; do
		cp "$ALLOC_SO" $place
		good run cat /proc/self/maps
		grep -q " $dir/$place\$" "$out"
	done
	# and the tool may be a link, found in PATH
	mkdir links
	ln -s "$alloc" links/alloc
	PATH=$dir/links:$PATH
	alloc=alloc
	good run cat /proc/self/maps
	grep -q " $dir/bin/allocator.so\$" "$out"
}

# -- sweep

@test "alloc sweep: bars, data, JSON, CSV and a recommendation" {
	need jq
	local n
	sweep --direct --step 50 --runs 5 --json j.json --csv c.csv -- \
		perl -e "$hashes"
	is 0 "$status"
	is "" "$(cat "$err")"
	is "$(seq -s ' ' 0 50 400)" "$(sed -n '3,11s/ .* s$//p' "$out" |
		paste -sd ' ')"
	grep -q '^perl -e for (1..300) .*: ' "$out"
	is "$(seq -s ' ' 0 50 400)" "$(labels benchmark.out)"
	holds j.json '.schema == 1 and .direct and
		.command[:2] == ["perl", "-e"]'
	holds j.json '[.results[].threshold] == [range(0; 401; 50)]'
	holds j.json '.results | all(.runs == 5 and .failed == 0)'
	holds j.json '.results | all(metrics | length == 8 and all(
		.values as $v | .median as $m | ($v | length) == 5 and
		($m | near($v | median)) and
		.min == ($v | min) and .max == ($v | max) and
		(.mad | near($v | map(. - $m | fabs) | median))))'
	holds j.json '.results | all(.wall_s.median > 0 and
		.rss_kib.median > 500 and .faults.median > 50 and
		.syscalls.median > 0)'
	n=$(recommended)
	holds j.json ".recommendation.threshold == $n and
		.recommendation.verdict == \"faster\" and
		(.recommendation.threshold as \$t | .results |
			any(.threshold == \$t))"
	# what is drawn are the medians
	jq -r '.results[] | "\(.threshold),\(.wall_s.median)"' j.json >medians
	paste -d , benchmark.out medians | awk -F , '
		$1 != $3 || $2 > $4 * 1.00001 || $2 < $4 * 0.99999 { exit 1 }'
}

@test "alloc sweep: CSV has a row a run, of what JSON has" {
	need jq
	sweep --step 50 --runs 3 --json j.json --csv c.csv -- true
	is 0 "$status"
	is 28 "$(lines c.csv)"
	is "threshold,run,wall_s,cpu_s,user_s,system_s,rss_kib,faults,syscalls,\
reused" "$(head -n 1 c.csv)"
	is "$(seq 0 50 400 | sed 'p;p' | paste -sd ' ')" \
		"$(sed 1d c.csv | cut -d , -f 1 | paste -sd ' ')"
	is "$(printf '1\n2\n3\n%.0s' {1..9})" \
		"$(sed 1d c.csv | cut -d , -f 2)"
	sed 1d c.csv | jq -Rn '[inputs | split(",") | map(tonumber)] |
		group_by(.[0]) | map(transpose[2:])' >rows
	jq '[.results[] | [.wall_s, .cpu_s, .user_s, .system_s, .rss_kib,
		.faults, .syscalls, .reused] | map(.values)]' j.json >values
	same rows values
}

@test "alloc sweep: alloc bars draws benchmark.out again" {
	need jq
	COLUMNS=70 sweep --step 50 --runs 3 -- perl -e 1
	is 0 "$status"
	COLUMNS=68 bare "$alloc" bars benchmark.out >again
	is 9 "$(lines again)"
	sed -n '3,11s/ s$//p' "$out" >drawn
	same again drawn
}

@test "alloc sweep: pictures" {
	need gnuplot xmllint
	sweep --step 50 --runs 2 --svg 'p"1.svg' --png p.png -- \
		true 'a"b\c' '<&>' '@x_y^z'
	is 0 "$status"
	is "" "$(cat "$err")"
	picture 'p"1.svg'
	xmllint --xpath 'string(/)' 'p"1.svg' >text
	is 2 "$(grep -cF 'true a"b\c <&> @x_y^z' text)"
	is 2 "$(grep -c 'median time over ALLOC_THRESH, of 2 runs each' text)"
	grep -q 'freed blocks of OS memory' text
	grep -q 'time, s$' text
	for n in 0 50 400; do
		grep -qx "[[:blank:]]*$n" text
	done
	png p.png
}

@test "alloc sweep: the picture says what is recommended" {
	need gnuplot xmllint
	napping 0 60 50 20
	sweep --to 150 --step 50 --warmup 0 --svg p.svg -- ./cmd
	picture p.svg
	xmllint --xpath 'string(/)' p.svg >text
	grep -q "recommended: $(recommended), the first within [0-9]* % of" text
	# of one run nothing is recommended, and nothing is known to be near
	sweep --to 150 --step 50 --runs 1 --warmup 0 --svg p.svg -- ./cmd
	picture p.svg
	is 0 "$(grep -c 'recommended\|median distance' p.svg || true)"
}

@test "alloc sweep: many labels have room" {
	need gnuplot xmllint
	sweep --to 300 --step 1 --runs 1 --warmup 0 --svg p.svg -- true
	picture p.svg
	above 100 "$(grep -c 'rotate(-45' p.svg)"
	above "$(grep -c 'rotate(-45' p.svg)" 20
}

# In double quotes gnuplot takes them for a command to run
@test "alloc sweep: backquotes in CMD are not run by gnuplot" {
	need gnuplot
	sweep --from 0 --to 0 --runs 1 --svg p.svg -- true '`touch ran`'
	is 0 "$status"
	[ ! -e ran ]
	[ -s p.svg ]
	sweep --from 0 --to 0 --runs 1 --svg '`touch ran`.svg' -- true
	[ ! -e ran ]
}

@test "alloc sweep: the name of a picture is no command of gnuplot" {
	need gnuplot xmllint
	local name
	for name in '|touch ran #.svg' 'a`touch ran`.svg' $'a\nb.svg' '~.svg'
	do
		sweep --to 0 --runs 1 --warmup 0 --svg "$name" -- \
			true $'\xff\xed\xa0\x80' $'\xef\xbf\xbf' é
		is 0 "$status"
		is "" "$(cat "$err")"
		picture "$name"
	done
	is 4 "$(find . -name '*.svg' | grep -c 'svg$')"
	[ ! -e ran ]
}

@test "alloc sweep: without gnuplot, a line names the package" {
	local tool
	mkdir bin
	for tool in sh true; do
		ln -s "$(type -P $tool)" bin
	done
	status=0
	bare env PATH="$dir/bin" "$alloc" sweep --prewarm 0 --to 100 --step 50 \
		--runs 1 --svg p.svg -- true >"$out" 2>"$err" || status=$?
	show sweep
	is 0 "$status"
	is 1 "$(lines "$err")"
	grep -q '^alloc: .*gnuplot-nox' "$err"
	is "0 50 100" "$(labels benchmark.out)"
	[ ! -e p.svg ]
}

@test "alloc sweep: --direct: caching pays" {
	level_2 # level 3 maps what is freed anew
	need jq
	sweep --direct --step 100 --runs 5 --json j.json -- perl -e "$hashes"
	is 0 "$status"
	above "$(value 0)" "$(value 400)"
	holds j.json '.direct and (.results[0].syscalls.median >
		2 * .results[4].syscalls.median)'
	holds j.json '.results[0].reused.median == 0 and
		.results[4].reused.median > 0'
	above "$(recommended)" 0
	grep -q "ALLOC_DIRECT=1$" "$out"
	# what is said of it is so
	holds j.json '.recommendation as $r | (.results[] |
		select(.threshold == $r.threshold) | .wall_s.median) as $m |
		($r.to_first[0] - $m / .results[0].wall_s.median | fabs) < 1e-4
		and $r.to_first[1] <= $r.to_first[0]
		and $r.to_first[0] <= $r.to_first[2]'
	is "$(jq '.recommendation.threshold as $t | .results |
		(map(select(.threshold == $t)) | .[0].wall_s.median) as $m |
		100 * (1 - $m / .[0].wall_s.median)' j.json | rounded 0)" \
		"$(sed -n 's/^  against 0: \([0-9]*\) % less .*/\1/p' "$out")"
}

@test "alloc sweep: without --direct, ALLOC_DIRECT is not what is measured" {
	need jq
	export ALLOC_DIRECT=1
	sweep --from 0 --to 0 --runs 1 --json j.json -- perl -e "$hashes"
	holds j.json 'if .direct then .results[0].syscalls.median > 1000
		else .results[0].syscalls.median < 1000 end'
}

@test "alloc sweep: the recommendation is the end of the slope" {
	napping 0 70 100 10
	sweep --to 200 --step 50 --warmup 0 -- ./cmd
	is 100 "$(recommended)"
	napping 0 120 50 80 100 50 150 20
	sweep --to 250 --step 50 --warmup 0 -- ./cmd
	is 150 "$(recommended)"
	is 0 "$(grep -c 'saves no time' "$out" || true)"
}

# no_advice WORDS - nothing is recommended, and the reason begins so
no_advice()
{
	is 0 "$(grep -c "^recommended\|saves no time\|95 %" "$out" || true)"
	grep -q "^no recommendation: $1" "$out"
}

@test "alloc sweep: few runs recommend nothing, whatever they took" {
	need jq
	local n
	for n in 1 2 4; do
		napping 0 20 50 1
		sweep --to 100 --step 50 --runs $n --warmup 0 --json j.json \
			-- ./cmd
		is 0 "$status"
		no_advice "can't tell ($n runs* each, and 5 are needed)"
		holds j.json '.recommendation | .threshold == null and
			.flat == false and .verdict == "can'"'"'t tell" and
			.to_first[1:] == [null, null]'
		napping 0 20
		sweep --to 100 --step 50 --runs $n --warmup 0 -- ./cmd
		no_advice "can't tell ($n runs* each"
	done
	napping 0 40 50 5
	sweep --to 100 --step 50 --runs 5 --warmup 0 -- ./cmd
	is 50 "$(recommended)"
	grep -q '(95 %: [0-9.]* to [0-9.]*)' "$out"
}

@test "alloc sweep: what is level, or rises, needs no cache" {
	napping 0 150
	sweep --to 200 --step 50 --warmup 0 -- ./cmd
	is 0 "$(recommended)"
	grep -q "time at 0 is the same within [0-9.]* % .*saves no time" "$out"
	napping 0 10 50 20 100 30 150 50
	sweep --to 200 --step 50 --warmup 0 -- ./cmd
	is 0 "$(recommended)"
	grep -q "saves no time" "$out"
}

@test "alloc sweep: 4 % more at 0, beyond the noise, is not level" {
	napping 0 416 100 400
	sweep --to 300 --step 100 --warmup 0 -- ./cmd
	is 100 "$(recommended)"
	is 0 "$(grep -c 'saves no time\|the same' "$out" || true)"
	grep -q '^  against 0: [345] % less time' "$out"
}

# What takes 10 or 40 ms by chance
@test "alloc sweep: what varies too much is not told" {
	printf '%s\n' "#!$(type -P perl)" \
		'select(undef, undef, undef, rand() < .5 ? .01 : .04)' >cmd
	chmod +x cmd
	sweep --to 50 --step 50 --warmup 0 -- ./cmd
	is 0 "$status"
	grep -q "^no recommendation: can't tell (5 runs each)\|of what it is" \
		"$out"
	is 0 "$(grep -c 'the same' "$out" || true)"
}

@test "alloc sweep: one threshold has no other" {
	sweep --to 0 --warmup 0 -- true
	no_advice "one threshold"
}

@test "alloc sweep: a slow threshold, or the last ones, change no pick" {
	need jq
	local slow
	for slow in "400 90" "300 40" "200 60 300 10"; do
		# shellcheck disable=SC2086 # words
		napping 0 150 100 10 $slow
		sweep --step 100 --runs 5 --warmup 0 --json j.json -- ./cmd
		is 0 "$status"
		is 100 "$(recommended)"
		holds j.json '.recommendation | .threshold == 100 and
			.to_plateau[0] < 2'
	done
}

@test "alloc sweep: --metric" {
	need jq
	local m key unit
	while read -r m key unit; do
		sweep --to 100 --step 100 --runs 5 --metric "$m" --json j.json \
			-- perl -e 'my $x = "x" x
			($ENV{ALLOC_THRESH} < 100 ? 40 << 20 : 1)'
		is 0 "$status"
		is "0 100" "$(labels benchmark.out)"
		holds j.json ".results | .[0].$key.median as \$a |
			.[1].$key.median as \$b |
			($(value 0) | near(\$a)) and ($(value 100) | near(\$b))"
		is 2 "$(grep -cE "^(0|100) .*[0-9] $unit\$" "$out")"
		# what is drawn is another thing than what is recommended
		is 100 "$(recommended)"
		[ "$m" != rss ] || above 65536 "$(value 0)"
		[ "$m" != rss ] || above "$(value 0)" $(($(value 100) + 40000))
		[ "$m" != time ] || above "$(value 0)" "$(value 100)"
	done <<-END
	time wall_s s
	rss rss_kib KiB
	END
	for m in syscalls faults; do
		sweep --to 100 --step 100 --runs 5 --metric "$m" --json j.json \
			-- perl -e "$hashes"
		is 0 "$status"
		holds j.json ".results | .[0].$m.median as \$a |
			.[1].$m.median as \$b |
			($(value 0) | near(\$a)) and ($(value 100) | near(\$b))"
		is "" "$(grep -n ' $' "$out")"
	done
}

@test "alloc sweep: odd ranges" {
	# with warm memory, as it is where nothing else is asked for
	tool sweep --from 7 --to 7 --runs 1 -- true
	is 0 "$status"
	is 7 "$(labels benchmark.out)"
	sweep --from 390 --step 7 --runs 1 --warmup 0 -- true
	is "390 397" "$(labels benchmark.out)"
	sweep --from 0 --to 65536 --step 65536 --runs 1 --out x -- true
	is "0 65536" "$(labels x)"
	sweep --from 3 --to 5 --step 9 --runs 1 -- true
	is 3 "$(labels benchmark.out)"
	sweep --to 5 --step 1 --runs 2 -- true
	is "0 1 2 3 4 5" "$(labels benchmark.out)"
}

@test "alloc sweep: what runs by default" {
	mkdir bin
	scripted 'echo "$ALLOC_THRESH $*" >>log; exit 1'
	mv cmd bin/find
	PATH=$dir/bin:$PATH sweep
	is 0 "$status"
	# before that, one to see whether it loads the library
	is " / -xdev" "$(head -n 1 log)"
	sed -i 1d log
	is "$(seq 0 10 400 | sed 's/$/ \/ -xdev/')" "$(sort -nu log)"
	is "$(seq -s ' ' 0 10 400)" "$(labels benchmark.out)"
	# five runs each and one before; more where the machine was busy
	is "" "$(sort -n log | uniq -c | awk '$1 < 6')"
}

@test "alloc sweep: the thresholds take turns" {
	scripted '[ -z "$ALLOC_THRESH" ] || echo "$ALLOC_THRESH" >>log'
	sweep --to 200 --step 50 --runs 6 --warmup 0 -- ./cmd
	above "$(uniq log | wc -l)" 23
	# in another order in each round
	above "$(uniq log | paste - - - - - | sort -u | wc -l)" 3
}

@test "alloc sweep: runs that warm up don't count" {
	need jq
	scripted '[ -e "$ALLOC_THRESH" ] || sleep 0.3; : >"$ALLOC_THRESH"'
	sweep --to 100 --step 50 --runs 1 --warmup 1 --json j.json -- ./cmd
	holds j.json '.results | all(.runs == 1 and .wall_s.values[0] < 0.3)'
	rm -f 0 50 100
	# a run that is repeated since others were busy would not sleep
	scripted '[ -e go ] || sleep 0.3'
	sweep --to 100 --step 50 --runs 1 --warmup 0 --json j.json -- ./cmd
	holds j.json '.results | all(.wall_s.values[0] >= 0.3)'
}

@test "alloc sweep: the numbers are those of CMD" {
	need jq
	sweep --to 0 --runs 1 --warmup 0 --json j.json -- perl -e '
		select(undef, undef, undef, 0.2);'
	holds j.json '.results[0] | .wall_s.median > 0.2 and
		.wall_s.median < 1 and .cpu_s.median < 0.1'
	sweep --to 0 --runs 1 --warmup 0 --json j.json -- perl -e '
		1 while (times)[0] < 0.2'
	holds j.json '.results[0] | .user_s.median > 0.19 and
		.user_s.median < 0.4 and .cpu_s.median >= .user_s.median and
		.wall_s.median > 0.19'
	sweep --to 0 --runs 1 --json j.json -- perl -e 'my $x = "x" x (9 << 20);
		open F, "/proc/self/status"; my ($s) = grep /^VmHWM/, <F>;
		open F, ">hwm"; print F $s =~ /(\d+)/'
	holds j.json ".results[0].rss_kib.median |
		. > $(cat hwm) * 0.97 and . < $(cat hwm) * 1.1"
	# of a small program's too: that of alloc itself is not in it
	bare perl -e 'system "true"; require "syscall.ph" if 0;'
	sweep --to 0 --runs 1 --json j.json -- true
	holds j.json '.results[0].rss_kib.median < 4000'
}

# calls_of PROGRAM OPTION... - strace counts what the library's code asks
# of the kernel, told from libc's and the loader's by where it was asked
calls_of()
{
	"${FIXED[@]}" strace -qq -i -f -o trace -E LD_PRELOAD="$ALLOC_SO" \
		-E ALLOC_STATS="$dir/stats" "${@:2}" \
		-e trace=openat,mmap,munmap,mremap,madvise,mprotect \
		perl -e "$1"
	perl -ne '($pid, $ip, $call, $rest) =
			/^(\d+) +\[(\w+)\] (\w+)\((.*)/ or next;
		if ($call eq "openat") {
			$fd{$pid} = $rest =~ / (\d+)$/ ? $1 : -1
				if index($rest, "\"$ENV{TEST_SO}\"") > 0;
		} elsif (defined $fd{$pid} && $rest =~
			/^NULL, (\d+), .*, $fd{$pid}, 0\) = 0x(\w+)/) {
			$from{$pid} = hex $2; $to{$pid} = $from{$pid} + $1;
			delete $fd{$pid};
		} elsif (defined $from{$pid} && hex $ip >= $from{$pid}) {
			$n++ if hex $ip < $to{$pid};
		}
		END { print $n + 0 }' trace
}

@test "alloc sweep: memory calls are those that strace counts" {
	need jq strace
	strace -o /dev/null true || skip "may not trace"
	level_2 # what 3 holds back, it frees at random
	# where nothing moves the count is the same each time
	local FIXED=(setarch -R) slack=0 t direct n program
	export PERL_HASH_SEED=0 PERL_PERTURB_KEYS=0
	program=$hashes'; for (1..9) { my $y; $y .= "y" x 99999 for 1..$_ }
		system "/bin/true"'
	"${FIXED[@]}" true || FIXED=() slack=8
	for t in 0 100; do
		for direct in --direct ""; do
			# shellcheck disable=SC2086 # an option or none
			set -- $direct --from $t --to $t --runs 1 --warmup 0
			bare "${FIXED[@]}" "$alloc" sweep --prewarm 0 "$@" \
				--json j.json -- perl -e "$program" >"$out"
			set -- -E ALLOC_THRESH=$t
			[ -z "$direct" ] || set -- "$@" -E ALLOC_DIRECT=1
			n=$(calls_of "$program" "$@")
			echo "$t $direct: $n by strace"
			[ "$n" -gt 3 ]
			holds j.json ".results[0].syscalls.values[0] - $n |
				fabs <= $slack"
		done
	done
	# the last had all kinds
	for n in mmap munmap mremap madvise mprotect; do
		grep -q " $n(" trace
	done
}

@test "alloc sweep: the output of CMD is thrown away, its input is empty" {
	scripted 'cat; echo out; echo err >&2; cat >>input'
	echo input | bare "$alloc" sweep --prewarm 0 --to 0 --runs 1 -- ./cmd \
		>"$out" 2>"$err"
	is "" "$(cat "$err")"
	is 0 "$(grep -c '^out\|^input' "$out" || true)"
	is "" "$(cat input)"
}

@test "alloc sweep: leaves no file when CMD leaves a process" {
	scripted '(sleep 0.3; ls >list) &'
	sweep --to 0 --runs 1 --warmup 0 -- ./cmd
	is 0 "$status"
	until_lines 1 list
	sleep 0.2
	is "" "$(ls "$TMPDIR")"
}

@test "alloc: whoever starts it may ignore SIGCHLD" {
	local ignore=(perl -e '$SIG{CHLD} = "IGNORE"; exec @ARGV')
	status=0
	bare "${ignore[@]}" "$alloc" run --stats -- sh -c 'exit 3' 2>"$err" ||
		status=$?
	is 3 "$status"
	bare "${ignore[@]}" "$alloc" run -- grep SigIgn /proc/self/status \
		>with
	bare "${ignore[@]}" grep SigIgn /proc/self/status >without
	same without with
	bare "${ignore[@]}" "$alloc" sweep --prewarm 0 --to 0 --runs 1 true
	is 0 "$(labels benchmark.out)"
	is "" "$(ls -A "$TMPDIR")"
}

@test "alloc sweep: a CMD that kills its process group is a failed run" {
	local sig
	for sig in TERM HUP USR1 KILL; do
		scripted '[ "$ALLOC_THRESH" != 50 ] || kill -'$sig' 0'
		sweep --to 100 --step 50 --runs 2 -- ./cmd
		is 1 "$status"
		is "0 100" "$(labels benchmark.out)"
		grep -q "^alloc: 2 runs of ./cmd were killed by signal $(
			kill -l $sig) " "$err"
	done
}

@test "alloc sweep: the program may be replaced or removed meanwhile" {
	cp "$alloc" .
	ln -s "$ALLOC_SO" allocator.so
	alloc=$dir/alloc
	scripted 'rm -f alloc; echo "exit 5" >alloc; chmod +x alloc'
	sweep --to 100 --step 50 --runs 2 -- ./cmd
	is 0 "$status"
	is "0 50 100" "$(labels benchmark.out)"
}

@test "alloc sweep: with standard descriptors closed" {
	scripted 'ls -l /proc/$$/fd >fds'
	bare sh -c '"$@" <&- 2>&-' sh "$alloc" sweep --prewarm 0 --to 0 \
		--runs 1 -- ./cmd
	is 2 "$(grep -c ' [02] -> /dev/null$' fds)"
}

@test "alloc sweep: CMD has the signals it has without alloc" {
	scripted 'grep ^Sig[BI] /proc/self/status >>signals'
	bare env --default-signal=INT,QUIT,TERM,PIPE "$alloc" sweep \
		--prewarm 0 --to 0 --runs 1 --warmup 0 -- ./cmd
	sort -u signals >with
	rm signals
	bare env --default-signal=INT,QUIT,TERM,PIPE ./cmd
	sort -u signals >without
	same without with
}

@test "alloc sweep: any command is kept whole in JSON" {
	need jq
	local odd=(true 'a"b\c' $'new\nline\ttab' $'\e[m\x01' 'é<&>' '' ' ')
	sweep --to 0 --runs 1 --json j.json -- "${odd[@]}"
	is 0 "$status"
	is "$(jq -nc '$ARGS.positional' --args -- "${odd[@]}")" \
		"$(jq -c .command j.json)"
	# but for what is no UTF-8, and so can't be in it
	sweep --to 0 --runs 1 --json j.json -- \
		true $'a\xff' $'\xed\xa0\x80' $'\xef\xbf\xbf' $'\xc3' \
		$'\xc2\x85'
	iconv -f UTF-8 -t UTF-8 j.json >/dev/null
	is "true a? ??? ??? ? $(printf '\302\205')" \
		"$(jq -r '.command | join(" ")' j.json |
			sed 's/\xef\xbf\xbd/?/g')"
	is 0 "$(grep -c $'\e' "$out" || true)"
}

@test "alloc sweep: runs that leave no statistics are null in JSON" {
	need jq
	printf '%s\n' "#!$(type -P perl)" 'use POSIX; open F, ">>log";
		print F "x"; close F; _exit(0) if -s "log" < 4;
		my @x = map { "x" x (1 << 20) } 1..3 * -s "log"' >cmd
	chmod +x cmd
	sweep --to 0 --runs 5 --warmup 0 --json j.json --csv c.csv -- ./cmd
	is 0 "$status"
	# two, or fewer where the machine was busy and they were repeated
	holds j.json '.results[0].syscalls | (.values | length) == 5 and
		(.median as $m | .values | map(select(. != null)) | median
		| near($m))'
	is "$(jq '[.results[0].syscalls.values[] | select(. == null)] |
		length' j.json)" "$(grep -c ',,$' c.csv || true)"
}

@test "alloc sweep: a failing CMD is reported, with status 1" {
	sweep --to 100 --step 50 --runs 2 -- sh -c 'exit 3'
	is 1 "$status"
	grep -q '^alloc: 6 runs of sh .*status 3 .*--ignore-failure' "$err"
	[ ! -s benchmark.out ]
}

@test "alloc sweep: failing runs are counted with --ignore-failure" {
	need jq
	local option
	for option in -i --ignore-failure; do
		sweep $option --to 100 --step 50 --runs 2 --json j.json -- \
			perl -e 'exit 3'
		is 0 "$status"
		is "0 50 100" "$(labels benchmark.out)"
		holds j.json '.results | all(.runs == 2 and
			(.wall_s.values | length) == 2)'
		is 1 "$(grep -c '^alloc: .*status 3' "$err")"
	done
}

@test "alloc sweep: failing runs are not averaged in" {
	need jq
	# of each threshold, the first run fails, and takes long
	scripted '[ -e "$ALLOC_THRESH" ] && exit 0' \
		': >"$ALLOC_THRESH"; sleep 0.3; exit 3'
	sweep --to 100 --step 50 --runs 3 --warmup 0 --json j.json \
		--csv c.csv -- ./cmd
	is 1 "$status"
	grep -q '^alloc: 3 runs of ./cmd ended with status 3 ' "$err"
	is "0 50 100" "$(labels benchmark.out)"
	holds j.json '.results | all(.runs == 2 and .failed == 1 and
		(.wall_s.values | length) == 2 and .wall_s.median < 0.3)'
	is 7 "$(lines c.csv)"
}

# Such a run is repeated, but not as if nothing had happened.
@test "alloc sweep: no run counts of what can't be started" {
	# gone after it was looked at
	scripted '[ -z "$ALLOC_THRESH" ] || echo "#!/no/such" >cmd'
	for option in "" -i; do
		scripted 'rm cmd; echo "#!/no/such" >cmd; chmod +x cmd'
		# shellcheck disable=SC2086 # none or one
		sweep $option --to 0 --runs 2 --warmup 0 -- ./cmd
		is 1 "$status"
		is "" "$(cat "$out")"
		grep -q '^alloc: 2 runs of ./cmd could not be started and' \
			"$err"
	done
	refused "alloc: ./cmd could not be started" sweep ./cmd
	refused "alloc: ./cmd could not be started" compare ./cmd
}

@test "alloc sweep: what failed in several ways is not said to be one" {
	scripted 'echo >>log; exit "$(wc -l <log)"'
	sweep --to 0 --runs 3 --warmup 0 -- ./cmd
	is 1 "$status"
	grep -q '^alloc: 3 runs of ./cmd failed, the last: ended with' "$err"
}

@test "alloc sweep: failing runs are reported when others are busy" {
	scripted '[ -e "$ALLOC_THRESH" ] && exit 0' \
		': >"$ALLOC_THRESH"; sleep 0.3; exit 3'
	local busy
	busy "$(nproc)"
	sweep --to 100 --step 50 --runs 2 --warmup 0 -- ./cmd
	kill -- "-$busy"
	is 1 "$status"
	grep -q '^alloc: 3 runs of ./cmd ended with status 3 ' "$err"
}

@test "alloc sweep: a threshold where all runs fail is left out" {
	scripted '[ "$ALLOC_THRESH" != 50 ]'
	sweep --to 100 --step 50 --runs 2 -- ./cmd
	is 1 "$status"
	is "0 100" "$(labels benchmark.out)"
	grep -q '^alloc: 2 runs of ./cmd ended with status 1 ' "$err"
}

@test "alloc sweep: a CMD that dies by a signal is reported" {
	scripted '[ "$ALLOC_THRESH" != 50 ] || kill -9 $$'
	sweep --to 100 --step 50 --runs 2 -- ./cmd
	is 1 "$status"
	is "0 100" "$(labels benchmark.out)"
	grep -q '^alloc: 2 runs of ./cmd were killed by signal 9' "$err"
}

@test "alloc sweep: a death by signal is no status to be ignored" {
	scripted '[ "$ALLOC_THRESH" != 50 ] || kill -9 $$'
	sweep -i --to 100 --step 50 --runs 2 -- ./cmd
	is 1 "$status"
	is "0 100" "$(labels benchmark.out)"
	sweep -i --to 100 --step 50 --runs 2 -- sh -c 'kill -9 $$'
	is 1 "$status"
	grep -q '^alloc: 6 runs of sh were killed by signal 9' "$err"
}

@test "alloc sweep: exit status 200 is no signal" {
	scripted '[ "$ALLOC_THRESH" != 50 ] || exit 200'
	sweep --to 100 --step 50 --runs 2 -- ./cmd
	is 1 "$status"
	is 0 "$(grep -c 'signal' "$err" || true)"
	grep -q '^alloc: 2 runs of ./cmd ended with status 200' "$err"
}

@test "alloc sweep: a library that does not load is an error" {
	refused "alloc: true did not load $libs/empty.so" \
		sweep --lib "$libs/empty.so" true
	mkdir "a b"
	cp "$ALLOC_SO" "a b/x.so"
	refused "alloc: $dir/a b/x.so *blank*" sweep --lib "a b/x.so" true
	[ ! -s benchmark.out ]
}

# dash is one of those: it says nothing of the library's statistics
@test "alloc sweep: doesn't say so when CMD ends by _exit" {
	sweep --to 100 --step 50 --runs 1 -- perl -MPOSIX -e '_exit(0)'
	is 0 "$status"
	is 0 "$(grep -c 'did not load' "$err" || true)"
}

@test "alloc sweep: what has no statistics is measured all the same" {
	need jq
	sweep --to 100 --step 50 --runs 1 --metric syscalls --json j.json \
		--csv c.csv --svg p.svg -- perl -MPOSIX -e '_exit(0)'
	is 1 "$status"
	is 1 "$(lines "$err")"
	grep -q '^alloc: perl left no statistics, .*_exit' "$err"
	holds j.json '.results | map(.runs) == [1, 1, 1] and
		all(.wall_s.median > 0 and .syscalls.median == null)'
	is 4 "$(lines c.csv)"
	[ ! -e p.svg ]
	grep -q "^no recommendation: " "$out"
	is 3 "$(bare "$alloc" bars benchmark.out | grep -c '^[0-9]* *nan$')"
	# nor is it said how many calls are saved
	printf '%s\n' "#!$(type -P perl)" 'use POSIX;
		$ENV{ALLOC_THRESH} < 50 || _exit(0);
		select(undef, undef, undef, 0.1)' >cmd
	chmod +x cmd
	sweep --to 100 --step 50 --warmup 0 -- ./cmd
	is 0 "$status"
	grep -q 'less time' "$out"
	is 0 "$(grep -c nan "$out" || true)"
}

# interrupted_sweep TARGET - by ^C, as soon as all thresholds were measured
interrupted_sweep()
{
	scripted 'echo >>log; sleep 0.03'
	start sweep --prewarm 0 --to 100 --step 50 --runs 1000 --warmup 0 \
		--json j.json -- ./cmd
	until_lines 13 log
	kill -INT -- "${1/PID/$pid}"
	finish
	is 130 "$status"
	is "0 50 100" "$(labels benchmark.out)"
	grep -q "recommend" "$out"
	is 3 "$(bare "$alloc" bars benchmark.out | wc -l)"
	holds j.json '.results | all(.runs > 0 and .failed == 0 and
		(.wall_s.values | length) == .runs)'
	rm -f log benchmark.out
}

@test "alloc sweep: ^C keeps what was measured, and leaves nothing" {
	need jq
	interrupted_sweep -PID
	interrupted_sweep PID
}

@test "alloc sweep: other signals that end it leave nothing, too" {
	local sig
	scripted '[ -z "$ALLOC_THRESH" ] || echo >>log' \
		'[ -z "$ALLOC_THRESH" ] || exec sleep 4'
	for sig in QUIT TERM HUP USR1 USR2 PIPE; do
		start sweep --prewarm 0 --to 100 --step 50 -- ./cmd
		until_lines 1 log
		kill "-$sig" "$pid"
		finish
		is 130 "$status"
		rm log
	done
}

@test "alloc sweep: ^C need not wait for a long CMD" {
	scripted '[ -z "$ALLOC_THRESH" ] || echo >>log' \
		'[ -z "$ALLOC_THRESH" ] || exec sleep 4'
	start sweep --prewarm 0 --to 100 --step 50 -- ./cmd
	stops_at_once log
}

@test "alloc sweep: ^C before anything was measured" {
	scripted '[ -z "$ALLOC_THRESH" ] || echo >>log; sleep 0.2'
	start sweep --prewarm 0 --to 100 --step 50 -- ./cmd
	until_lines 1 log
	kill -INT -- "-$pid"
	finish
	is 130 "$status"
	is "" "$(cat "$out")"
	[ "$(lines "$err")" -le 1 ]
}

@test "alloc sweep: ^C ends what CMD has in the background, too" {
	# sh lets that ignore SIGINT
	scripted '[ -n "$ALLOC_THRESH" ] || exit 0' \
		'sleep 60 & echo >>log' 'wait'
	start sweep --prewarm 0 --to 100 --step 50 -- ./cmd
	stops_at_once log
}

# -- compare

# need_peers - skips unless the three of Debian are installed
need_peers()
{
	local file
	for file in libjemalloc.so.2 libtcmalloc_minimal.so.4 libmimalloc.so.2
	do
		compgen -G "/usr/lib/*/$file" >/dev/null || skip "needs $file"
	done
}

@test "alloc compare: glibc, the library and three peers, each loaded" {
	need jq
	need_peers
	local five=(glibc allocator jemalloc tcmalloc mimalloc)
	local -x OURS=${ALLOC_SO##*/}
	printf '%s\n' "#!$(type -P perl)" 'open F, "/proc/self/maps";
		($so) = map m{/(lib[^/.]*malloc[^/\n]*|\Q$ENV{OURS}\E)$}, <F>;
		open F, ">>log"; print F $so // "none", "\n"' >cmd
	chmod +x cmd
	compare --runs 3 --json j.json --md t.md -- ./cmd \|
	is 0 "$status"
	is "" "$(cat "$err")"
	is "${five[*]}" "$(sed -n '2,6s/ .*//p' "$out" | paste -sd ' ')"
	is "${five[*]}" "$(sed -n '9,13s/ .*//p' "$out" | paste -sd ' ')"
	is "allocator in time" "$(sed -n 15p "$out")"
	is 8 "$(grep -c "^  against [a-z]*: can't tell (3 runs)\$" "$out")"
	# by its own maps, CMD had each at least four times, and checked once
	sort log | uniq -c | awk '$1 >= 4 { print $2 }' |
		sed 's/^\(lib[a-z_]*\)\..*/\1/' >loaded
	printf '%s\n' "$OURS" libjemalloc libmimalloc libtcmalloc_minimal \
		none | sort >names
	same names loaded
	holds j.json '.schema == 1 and .command == ["./cmd", "|"]'
	is "${five[*]}" "$(jq -r '.allocators[].name' j.json | paste -sd ' ')"
	holds j.json '.allocators | all(.runs == 3 and .failed == 0 and
		(metrics | all((.values | length) == 3)))'
	holds j.json '.allocators | all([.wall_s, .cpu_s, .rss_kib, .faults] |
		all(.values as $v | .min == ($v | min) and
		.max == ($v | max) and (.median | near($v | median))))'
	holds j.json '.allocators[0].file == "" and
		(.allocators[1:] | all(.file | test("^/.*\\.so")))'
	is "$ALLOC_SO" "$(jq -r '.allocators[1].file' j.json)"
	# the table's first numbers, and Markdown's
	jq -r '.allocators[].wall_s | .median, .min, .max | . * 10000 |
		round' j.json >medians
	sed -n 2,6p "$out" | awk '{ for (i = 2; i < 5; i++)
		printf "%d\n", $i * 10000 + 0.5 }' >table
	paste medians table | awk '$1 - $2 > 1 || $2 - $1 > 1 { exit 1 }'
	grep -qF '`./cmd |`: medians of 3 runs,' t.md
	is 14 "$(grep -c '^|' t.md)"
	is 8 "$(grep '^|' t.md | awk -F'|' '{ print NF - 1 }' | sort -u)"
	is "${five[*]} ${five[*]}" "$(sed -n \
		's/^| \([a-z]*\) |\( [0-9.]* |\)\{4\} - .*/\1/p' t.md |
		paste -sd ' ')"
}

@test "alloc compare: a picture" {
	need gnuplot xmllint
	compare --runs 2 --with allocator --svg p.svg --png p.png -- true 'x y'
	is 0 "$status"
	is "" "$(cat "$err")"
	picture p.svg
	png p.png
	xmllint --xpath 'string(/)' p.svg >text
	is 2 "$(grep -c 'true x y' text)"
	is 2 "$(grep -c 'medians of 2 runs with each allocator' text)"
	grep -q 'ratio to glibc: smaller is better' text
	for name in time 'peak RSS' glibc allocator; do
		grep -qx "[[:blank:]]*$name" text
	done
	# an interval is for 5 runs
	is 0 "$(grep -c '95 %' text || true)"
	compare --runs 5 --with "allocator,$libs/crash.so" --svg p.svg -- true
	picture p.svg
	grep -q '95 % interval of the ratio' p.svg
	grep -q 'crash.so (failed)' p.svg
}

@test "alloc compare: a picture of 1 and of 24 allocators, and long titles" {
	need gnuplot xmllint
	local i list=
	for i in {1..23}; do
		cp "$libs/other.so" "a_library_of_some_length_$i.so"
		list+=,./a_library_of_some_length_$i.so
	done
	compare --runs 1 --warmup 0 --with "${list#,}" --svg p.svg -- true
	picture p.svg
	is 24 "$(grep -c 'rotate(-45' p.svg)"
	compare --runs 1 --warmup 0 --with glibc --svg p.svg -- true \
		"$(printf 'word %.0s' {1..200})" "$(printf %0300d 0)"
	picture p.svg
}

@test "alloc compare: --with takes names and files, glibc is the first" {
	local dir2=$dir/other
	compare --runs 1 --with "$libs/other.so,allocator,glibc,allocator" true
	is 0 "$status"
	is "glibc other.so allocator" "$(sed -n '2,4s/ .*//p' "$out" |
		paste -sd ' ')"
	compare --runs 1 --with "$ALLOC_SO,allocator" true
	is "time glibc allocator" "$(sed -n '1,4s/ .*//p' "$out" |
		paste -sd ' ' | sed 's/ $//')"
	grep -qx 'allocator in time' "$out"
	compare --runs 1 --with glibc true
	is 5 "$(lines "$out")"
	# two files of the same name are two
	mkdir "$dir2"
	cp "$libs/other.so" "$dir2"
	compare --runs 1 --with "$libs/other.so,$dir2/other.so" true
	[ "$status" -eq 2 ] || is 9 "$(lines "$out")"
}

@test "alloc compare: what does not load is an error" {
	refused "alloc: true did not load $libs/empty.so" \
		compare --with "allocator,$libs/empty.so" true
	refused "alloc: *" compare --lib "$libs/empty.so" true
	mkdir "a b"
	cp "$libs/other.so" "a b"
	refused "alloc: *a b/other.so*" compare --with "a b/other.so" true
	refused "alloc: $libs/static is linked statically*" \
		compare "$libs/static"
	refused "alloc: *no-such-program" compare no-such-program
}

@test "alloc compare: an allocator that fails leaves the others" {
	need jq
	compare --runs 5 --with "$libs/crash.so,allocator" --json j.json \
		--md t.md -- true
	is 1 "$status"
	is 1 "$(lines "$err")"
	grep -q '^alloc: 5 runs of true on crash.so .* signal 6 ' "$err"
	is "glibc crash.so allocator" \
		"$(sed -n '2,4s/ .*//p' "$out" | paste -sd ' ')"
	is 2 "$(grep -cx 'crash.so  *failed: killed by signal 6 (Aborted)' \
		"$out")"
	is 2 "$(grep -cx '  against crash.so: crash.so failed' "$out")"
	holds j.json '[.allocators[] | .runs] == [5, 0, 5]'
	is 8 "$(grep '^|' t.md | awk -F'|' '{ print NF - 1 }' | sort -u)"
	grep -q ': medians of 0 to 5 runs, ' t.md
}

@test "alloc compare: any command is code in Markdown" {
	compare --runs 1 --warmup 0 --with glibc --md t.md \
		true '`a`' '```' $'b\n\nc'
	is '```` true `a` ``` b??c ````' \
		"$(head -n 1 t.md | grep -o '.*````')"
}

@test "alloc compare: says it when LD_PRELOAD makes glibc no glibc" {
	status=0
	bare env LD_PRELOAD="$ALLOC_SO" "$alloc" compare --runs 1 --prewarm 0 \
		--with glibc true >"$out" 2>"$err" || status=$?
	show compare
	grep -q "^alloc: LD_PRELOAD is set: .*$ALLOC_SO" "$err"
}

# verdict ALLOCATOR WORDS - ours is that against it, in time or memory; the
# percentage must be as computed from the medians of JSON
verdict()
{
	local line key=wall_s
	line=$(grep "^  against $1: $2: " "$out")
	echo "$line"
	[[ "$2" != *memory ]] || key=rss_kib
	line=$(sed -E 's/.*: ([0-9.]+) % (less|more) .*/\1/' <<<"$line")
	holds j.json "[.allocators[] | select(.name == \"allocator\",
		.name == \"$1\") | {(.name): .$key.median}] | add |
		100 * (.allocator / .[\"$1\"] - 1) | fabs - $line |
		fabs < 0.06"
}

@test "alloc compare: faster than what is slow, less memory than more" {
	need jq
	compare --runs 7 --with "allocator,$libs/slow.so,$libs/big.so" \
		--json j.json perl -e "for (1..5) { $hashes }"
	is 0 "$status"
	verdict slow.so faster
	verdict big.so "less memory"
}

@test "alloc compare: slower when it is slow, more memory when it is more" {
	need jq
	compare --runs 7 --with allocator --lib "$libs/slow.so" --json j.json \
		perl -e "for (1..5) { $hashes }"
	is 0 "$status"
	verdict glibc slower
	is "$libs/slow.so" "$(jq -r '.allocators[1].file' j.json)"
	compare --runs 7 --with allocator --lib "$libs/big.so" --json j.json \
		perl -e "$hashes"
	verdict glibc "more memory"
}

@test "alloc compare: what takes the same time is the same within some" {
	scripted 'sleep 0.2'
	compare --runs 5 --warmup 0 --with "allocator,$libs/other.so" ./cmd
	is 2 "$(sed -n '/^allocator in time/,/^$/p' "$out" | grep -cE \
		'^  against [a-z.]+: the same within [0-4]\.[0-9] %$')"
}

@test "alloc compare: one run proves nothing, nor do four" {
	local n
	for n in 1 2 4; do
		for _ in {1..5}; do
			compare --runs $n --warmup 0 --with allocator true
			is 0 "$status"
			is 2 "$(grep -c \
				"^  against glibc: can't tell ($n runs*)$" \
				"$out")"
			# and has no interval
			is 4 "$(grep -cE '^(glibc|allocator) .* -  +[0-9.]+$' \
				"$out")"
		done
	done
}

# claims_nothing - no comparison of what there is
claims_nothing()
{
	is 0 "$(grep -cE 'faster|slower|the same|memory:|against|nan|inf' \
		"$out" || true)"
	is 0 "$(grep -c '^recommended' "$out" || true)"
}

@test "alloc compare: one side that fails is compared with nothing" {
	# glibc's
	scripted 'case $LD_PRELOAD in "") exit 1 ;; esac'
	compare --runs 5 --with allocator ./cmd
	is 1 "$status"
	is 0 "$(grep -c 'nan\|faster\|slower\|the same' "$out" || true)"
	is 2 "$(grep -cx '  against glibc: glibc failed' "$out")"
	is 2 "$(grep -cx 'allocator .* -  *-  *-' "$out")"
	# ours: that it runs on glibc is known here
	scripted 'case $LD_PRELOAD in "") ;; *) kill -11 $$ ;; esac'
	compare --runs 5 --with allocator ./cmd
	is 1 "$status"
	is 1 "$(grep -cx 'allocator failed' "$out")"
	is 0 "$(grep -c 'against' "$out" || true)"
	is 1 "$(grep -c 'on glibc failed: doc/compatibility.md' "$err")"
	# and here that it does not
	compare --runs 5 --with allocator -- sh -c 'kill -11 $$'
	is 0 "$(grep -c compatibility "$err" || true)"
}

@test "alloc: the pictures in doc/ are ones that all can read" {
	need xmllint
	picture "$ROOT"/doc/*.svg
}

# -- options of all that measure

@test "alloc compare: CSV has a row a run" {
	compare --runs 3 --with allocator --csv c.csv -- true
	is 7 "$(lines c.csv)"
	is "allocator,run,wall_s,cpu_s,user_s,system_s,rss_kib,faults,\
syscalls,reused" "$(head -n 1 c.csv)"
	is "glibc,1 glibc,2 glibc,3 allocator,1 allocator,2 allocator,3" \
		"$(sed 1d c.csv | cut -d , -f 1,2 | paste -sd ' ')"
	is 10 "$(awk -F , '{ print NF }' c.csv | sort -u)"
}

@test "alloc: --prepare runs before each run, outside of its time" {
	need jq
	scripted 'echo run >>log; rm ready'
	for sub in "compare --with allocator" "sweep --to 50 --step 50"; do
		rm -f log
		# shellcheck disable=SC2086 # words
		$sub --runs 2 --json j.json --prepare \
			'echo "prepare$ALLOC_STATS" >>log; touch ready
			sleep .2' \
			-- ./cmd
		is 0 "$status"
		is "prepare run" "$(paste -d ' ' - - <log | sort -u)"
		holds j.json '.allocators // .results |
			all(.failed == 0 and .wall_s.max < 0.2)'
	done
}

@test "alloc: where --prepare fails there was no run" {
	scripted 'echo >>log'
	for sub in "compare --with allocator" "sweep --to 0"; do
		rm -f log
		# shellcheck disable=SC2086 # words
		$sub -i --runs 2 --warmup 0 --prepare 'exit 4' -- ./cmd
		is 1 "$status"
		claims_nothing
		grep -q '^alloc: 2 runs of .* could not be prepared: ' "$err"
		# but to see what it loads
		is 1 "$(lines log)"
	done
	# one that fails but once
	compare --runs 3 --warmup 0 --with glibc \
		--prepare 'echo >>tries; [ "$(wc -l <tries)" != 2 ]' -- true
	is 1 "$status"
	grep -q '^alloc: 1 run of true on glibc could not be prepared' "$err"
	is 2 "$(grep -c '^glibc ' "$out")"
}

@test "alloc: ^C while it prepares leaves nothing" {
	start compare --prewarm 0 --runs 3 --with glibc \
		--prepare 'echo >>log; sleep 5' true
	stops_at_once log
}

@test "alloc: --show-output shows it, and no input is there" {
	for sub in "compare --with glibc" "sweep --to 0"; do
		# shellcheck disable=SC2086 # words
		$sub --runs 2 --warmup 0 --show-output -- \
			sh -c 'echo hello; echo oh >&2; cat' <<<input
		is 0 "$status"
		# more where the machine was busy
		above "$(grep -cx hello "$out")" 1
		is "$(grep -cx hello "$out")" "$(grep -cx oh "$err")"
		is 0 "$(grep -c input "$out" || true)"
	done
}

@test "alloc: a busy machine is told of once, and runs are repeated" {
	local busy
	burning
	busy $((($(nproc) + 1) / 2))
	bare "$alloc" compare --prewarm 0 --runs 5 \
		--with "allocator,$libs/other.so" ./cmd >"$out" 2>"$err"
	kill -- "-$busy"
	cat "$out" "$err"
	is 1 "$(lines "$err")"
	is 1 "$(grep -c 'busy during [0-9]* of 15 runs$' "$err")"
	# two before, 3 to warm up, and 15 of which some were repeated
	above "$(lines log)" 20
}

# Where each run takes twice as long, and would be made three times
@test "alloc: on a busy machine all ends in three times the quiet time" {
	local busy begin=$EPOCHREALTIME quiet
	burning
	compare --runs 7 --with allocator ./cmd
	quiet=$(since "$begin")
	busy "$(nproc)"
	begin=$EPOCHREALTIME
	bare "$alloc" compare --prewarm 0 --runs 7 --with allocator ./cmd \
		>"$out" 2>"$err"
	begin=$(since "$begin")
	kill -- "-$busy"
	echo "quiet $quiet, busy $begin"
	cat "$out" "$err"
	is 1 "$(grep -c 'busy during [0-9]* of 14 runs$' "$err")"
	# and a run that was begun, or checks what is loaded
	above "$(awk -v t="$quiet" 'BEGIN { print 3 * t + 0.5 }')" "$begin"
}

@test "alloc: the user's ALLOC_STATS gets no line from a check" {
	local -x ALLOC_STATS=$dir/lines
	compare --runs 1 --with allocator true
	fake one 'exec /bin/true'
	bench --runs 1 --warmup 0 --with allocator
	is 0 "$status"
	[ ! -e lines ]
}

@test "alloc compare: failing runs are reported, with status 1" {
	need jq
	compare --runs 2 --with allocator -- sh -c 'exit 3'
	is 1 "$status"
	is "" "$(cat "$out")"
	is 2 "$(grep -c '^alloc: 2 runs of sh on .* ended' "$err")"
	compare --runs 2 --with allocator -i --json j.json -- sh -c 'exit 3'
	is 0 "$status"
	is 4 "$(sed 1d "$out" | grep -c '^glibc \|^allocator  ')"
	holds j.json '.allocators | all(.runs == 2)'
	# each side but once
	scripted 'echo >>log; [ "$(wc -l <log)" != 4 ]'
	compare --runs 3 --warmup 0 --with allocator --json j.json -- ./cmd
	is 1 "$status"
	is 1 "$(grep -c '^alloc: 1 run of ./cmd on .* ended' "$err")"
	holds j.json '[.allocators[] | .runs] | add == 5'
	compare --runs 2 --with allocator -- sh -c 'kill -9 $$'
	is 1 "$status"
	is 2 "$(grep -c '^alloc: .* signal 9' "$err")"
}

@test "alloc compare: ^C leaves nothing" {
	scripted 'echo >>log; sleep 0.05'
	start compare --prewarm 0 --runs 1000 --warmup 0 --with allocator ./cmd
	until_lines 10 log
	kill -INT -- "-$pid"
	finish
	is 130 "$status"
	is 4 "$(sed 1d "$out" | grep -c '^glibc \|^allocator  ')"
}

@test "alloc: ^C leaves nothing while it checks what is loaded" {
	local sub
	scripted 'echo >>log; exec sleep 4'
	for sub in "compare --with allocator" sweep; do
		# shellcheck disable=SC2086 # words
		start $sub ./cmd
		stops_at_once log
		rm log
	done
}

# -- bench

@test "alloc bench: --list names all workloads, each with a sentence" {
	good bench --list
	is "$(basename -s .c "$ROOT"/bench/*.c)" "$(sed 's/ .*//' "$out")"
	is "" "$(grep -vE '^[a-z]+ +[A-Z].* .*\.$' "$out")"
	good bench --list --only ring,pair
	is "pair ring" "$(sed 's/ .*//' "$out" | paste -sd ' ')"
}

@test "alloc bench: --only some workloads, --with glibc" {
	bench --only pair,random --runs 1 --warmup 0 --with glibc
	is 0 "$status"
	is "" "$(cat "$err")"
	is 3 "$(grep -cx 'pair  *1\.000' "$out")"
	is 3 "$(grep -cx 'random  *1\.000' "$out")"
	is 3 "$(grep -cx 'mean  *1\.000' "$out")"
	is 0 "$(grep -c ring "$out" || true)"
}

# fake NAME LINE... - a workload by that name, a script; alloc is beside it
fake()
{
	mkdir -p build/bench
	cp "$BATS_FILE_TMPDIR/alloc" .
	ln -sf "$ALLOC_SO" allocator.so
	alloc=$dir/alloc
	scripted "${@:2}"
	mv cmd "build/bench/$1"
}

@test "alloc bench: JSON and Markdown" {
	need jq
	fake one 'sleep 0.02; echo "one rss_end_kib=100"'
	fake two 'sleep 0.01; echo "two rss_end_kib=200"'
	printf '%s\n' "one - What sleeps long." "two - What does not." \
		>build/bench/about.txt
	good bench --list
	is "one          What sleeps long." "$(head -n 1 "$out")"
	bench --runs 3 --with allocator --json j.json --md t.md
	is 0 "$status"
	is "" "$(cat "$err")"
	holds j.json '.schema == 1 and [.workloads[].name] == ["one", "two"]
		and (.workloads | all([.allocators[].name] ==
		["glibc", "allocator"] and (.allocators | all(.runs == 3))))'
	is 3 "$(grep -c '^| one | 1.000 | ' t.md)"
	is 3 "$(grep -c '^| geometric mean | 1.000 | ' t.md)"
	is 1 "$(grep -cE \
		'^\| one \| What sleeps long. \|( 0.0[2-9][0-9] \|){3}' t.md)"
	is 1 "$(grep -c "^  can't tell (3 runs): one, two$" <(sed -n \
		'/^allocator against glibc in time$/,/^allo.*RSS$/p' "$out"))"
	grep -q '^# ' t.md
	# a column in each row of each table
	is "" "$(awk -F'|' '/^\|/ && n && NF != n { print } { n = NF }
		!/^\|/ { n = 0 }' t.md)"
	# ratios of medians, and their geometric mean
	for key in wall_s rss_kib; do
		jq -r '[.workloads[].allocators | .[1].'$key'.median /
			.[0].'$key'.median] | .[],
			(map(log) | add / length | exp)' j.json | rounded 3
	done >computed
	awk '/^time|^peak/, /^mean/' "$out" |
		awk '/^(one|two|mean) / { print $3 }' >printed
	same computed printed
	is "1.000 1.000" "$(sed -n 's/^one *//p' "$out" | tail -n 1 |
		tr -s ' ')"
}

@test "alloc bench: which workloads are faster, and which are not" {
	fake one 'case $LD_PRELOAD in "") sleep 0.06 ;; *) sleep 0.02 ;; esac'
	fake two 'case $LD_PRELOAD in "") sleep 0.02 ;; *) sleep 0.06 ;; esac'
	fake ten 'exec sleep 0.3'
	fake bad 'case $LD_PRELOAD in "") ;; *) exit 1 ;; esac'
	bench --runs 5 --warmup 0 --with allocator
	is 1 "$status"
	sed -n '/^allocator against glibc in time$/,/^allo.*RSS$/p' "$out" >said
	grep -qx '  faster: one' said
	grep -qx '  slower: two' said
	grep -qxE '  the same within [0-4]\.[0-9] %: ten' said
	is 5 "$(lines said)"
	grep -qx '  failed: bad' "$out"
}

@test "alloc bench: pictures of 1, 2 and 24 workloads, and CSV" {
	need gnuplot xmllint
	local i
	for i in {1..24}; do
		fake "workload$i" ':'
	done
	bench --only workload1 --runs 5 --warmup 0 --svg p.svg --png p.png \
		--with allocator --csv c.csv
	picture p.svg
	png p.png
	grep -q 'medians of 5 runs of the workload workload1' p.svg
	grep -q '95 % interval of the ratio' p.svg
	is 11 "$(lines c.csv)"
	is "workload,allocator,run,wall_s" \
		"$(head -n 1 c.csv | cut -d , -f 1-4)"
	is "workload1,glibc,1" "$(sed -n 2p c.csv | cut -d , -f 1-3)"
	bench --only workload1,workload2 --runs 1 --warmup 0 --svg p.svg \
		--with glibc
	picture p.svg
	is 2 "$(grep -c 'mean over 2 workloads, medians of 1 run each: worklo' \
		p.svg)"
	bench --runs 1 --warmup 0 --svg p.svg --with \
		"allocator,$libs/other.so,$libs/big.so,$libs/slow.so"
	picture p.svg
	xmllint --xpath 'string(/)' p.svg >text
	for i in {1..24}; do
		is 2 "$(grep -cw "workload$i" text)"
	done
}

@test "alloc bench: how long calls take, from the workloads that tell" {
	fake one 'echo "one rss_end_kib=1" \
		"${BENCH_LATENCY:+p999_ns=740 max_ns=91400}"'
	fake two 'echo "two rss_end_kib=1"'
	bench --runs 1 --warmup 0 --with allocator --md t.md --json j.json
	is 0 "$status"
	is "" "$(cat "$err")"
	is "one 740 740
mean 740 740" "$(sed -n '/^p99.9 call, ns /,/^mean/p' "$out" | tail -n +2 |
		tr -s ' ')"
	is "one 91 91
mean 91 91" "$(sed -n '/^longest, us /,/^mean/p' "$out" | tail -n +2 |
		tr -s ' ')"
	grep -qxF '| one | 740 | 740 |' t.md
	need jq
	holds j.json '[.workloads[0].allocators[] |
		.rss_end_kib, .p999_ns, .max_ns] == [1, 740, 91400, 1, 740,
		91400]'
	holds j.json '.workloads[1].allocators[0].p999_ns == null'
}

@test "alloc bench: a workload that fails is reported, the others measured" {
	fake bad 'echo bad; exit 3'
	fake fine 'echo "fine rss_end_kib=100"'
	bench --runs 2 --with allocator
	is 1 "$status"
	is 2 "$(grep -c '^alloc: .*bad on .*status 3' "$err")"
	is 3 "$(grep -c '^fine ' "$out")"
	is 0 "$(grep -c '^bad ' "$out" || true)"
	grep -qx 'fine  *1\.000  *1\.000' "$out"
}

@test "alloc bench: an allocator that fails leaves the others" {
	need jq
	fake one 'echo "one rss_end_kib=100"'
	bench --runs 1 --warmup 0 --only one --json j.json --md t.md \
		--with "$libs/crash.so,allocator"
	is 1 "$status"
	grep -q '^alloc: 1 run of .* on crash.so was killed by signal 6' \
		"$err"
	is 6 "$(grep -cE '^(one|mean) +1\.000 +failed +[0-9]' "$out")"
	holds j.json '[.workloads[0].allocators[].runs] == [1, 0, 1]'
	grep -q 'ran each workload 0 to 1 times' t.md
}

@test "alloc bench: no workloads, or none of that name" {
	refused "alloc: *nosuch*" bench --only nosuch
	refused "alloc: *'pai'*" bench --only pai
	refused "alloc: *pairs*" bench --only pairs
	refused "alloc: *" bench --only ""
	refused "alloc: *nosuch*" bench --list --only nosuch
	refused "alloc: *no command*" bench pair
	cp "$alloc" "$ALLOC_SO" .
	alloc=$dir/alloc
	refused "alloc: no workloads *" bench --list
}

@test "alloc bench: one unknown name among others is refused" {
	refused "alloc: *nosuch*" bench --only pair,nosuch --list
	refused "alloc: *nosuch*" bench --only nosuch,pair --runs 1 --with glibc
}

@test "alloc bench: ^C leaves nothing" {
	fake one 'echo >>log; sleep 0.05'
	fake two 'echo >>log; sleep 0.05'
	start bench --prewarm 0 --runs 1000 --warmup 0 --with allocator
	until_lines 12 log
	kill -INT -- "-$pid"
	finish
	is 130 "$status"
}

# -- bad usage

@test "alloc: unknown command, none" {
	refused "alloc: *nosuch*" nosuch
	refused "alloc: *" ""
	refused "alloc: *--nosuch*" --nosuch
	refused "alloc: *" run
	refused "alloc: *" compare
}

@test "alloc: no command at all is one line, too" {
	refused "alloc: *"
}

@test "alloc: unknown options and missing arguments are refused" {
	local sub
	for sub in run sweep compare bench bars; do
		refused "*--nosuch*" $sub --nosuch
		refused "*--nosuch*" $sub --nosuch=1 -- true
		refused "*x*" $sub -x true
	done
	refused "*--thresh*" run --thresh
	refused "*--stats*" run --stats=1 true
	for sub in from to step runs warmup metric out json csv svg png \
		prewarm lib prepare; do
		refused "*--$sub*" sweep --$sub
	done
	for sub in with runs warmup json csv md svg png prewarm lib prepare; do
		refused "*--$sub*" compare --$sub
		refused "*--$sub*" bench --$sub
	done
	refused "*--only*" bench --only
	refused "*--title*" bars --title
}

@test "alloc: such a line begins with alloc:, as all do" {
	local sub
	for sub in run sweep compare bench; do
		refused "alloc: *--nosuch*" $sub --nosuch
		refused "alloc: *--lib*" $sub --lib
	done
}

@test "alloc: the options of bench are no options of compare" {
	refused "alloc: unrecognized option '--only'" compare --only x true
	refused "alloc: unrecognized option '--list'" compare --list true
	refused "alloc: unrecognized option '--with'" sweep --with glibc true
}

@test "alloc: what is no number, or out of range, is refused" {
	local bad option
	for bad in "" abc 1x 1.5 -1 1e99999 99999999999999999999 65537 0x10 \
		1e3 "1 "; do
		refused "alloc: --thresh '$bad' *0 to 65536" \
			run --thresh "$bad" true
	done
	for bad in "" abc -1 1e99999; do
		refused "alloc: --from '$bad' *" sweep --from "$bad" true
		refused "alloc: --to '$bad' *" sweep --to "$bad" true
		refused "alloc: --step '$bad' *" sweep --step "$bad" true
		refused "alloc: --runs '$bad' *" sweep --runs "$bad" true
		refused "alloc: --warmup '$bad' *" sweep --warmup "$bad" true
		refused "alloc: --prewarm '$bad' *" sweep --prewarm "$bad" true
		refused "alloc: --runs '$bad' *" compare --runs "$bad" true
		refused "alloc: --runs '$bad' *" bench --runs "$bad"
		refused "alloc: --check '$bad' *" run --check "$bad" true
	done
	for option in --step --runs; do
		refused "alloc: $option '0' *" sweep $option 0 true
	done
	refused "alloc: --runs '0' *" compare --runs 0 true
	refused "alloc: --check '4' *1 to 3" run --check 4 true
}

@test "alloc run: --thresh takes no number that the library refuses" {
	local n
	for n in +5 " 8" $'\t8'; do
		refused "alloc: --thresh '${n/$'\t'/?}' *" \
			run --thresh "$n" true
	done
}

@test "alloc sweep: bad ranges, metrics and libraries are refused" {
	refused "alloc: *--to 4 *--from 5" sweep --from 5 --to 4 true
	refused "alloc: *--to 400 *--from 500" sweep --from 500 true
	refused "alloc: more than 10000 *" sweep --to 65536 --step 1 true
	refused "alloc: --metric 'x' *" sweep --metric x true
	refused "alloc: --metric '' *" sweep --metric "" true
	refused "alloc: */no/such.so*" sweep --lib /no/such.so true
	refused "alloc: *no-such-program" sweep no-such-program
	refused "alloc: *static*" sweep "$libs/static"
}

@test "alloc compare: unknown allocators, and peers that are missing" {
	local sub name
	for sub in compare bench; do
		set -- true
		[ $sub = compare ] || set --
		refused "alloc: no allocator 'nosuch'*" $sub --with nosuch "$@"
		refused "alloc: no allocator ''*" $sub --with "" "$@"
		refused "alloc: *" $sub --with "glibc,,allocator" "$@"
		refused "alloc: no allocator 'Glibc'*" $sub --with Glibc "$@"
		refused "alloc: */no/such.so*" $sub --with /no/such.so "$@"
		refused "alloc: */no/such.so*" $sub --lib /no/such.so "$@"
	done
	for name in rpmalloc hoard snmalloc scudo; do
		compgen -G "/usr/lib/*/lib$name*" >/dev/null ||
			refused "alloc: $name is not installed*" \
				compare --with "allocator,$name" true
	done
}

@test "alloc: a file that can't be written is noticed before the runs" {
	local option
	scripted 'echo >>log'
	for option in out json csv svg png; do
		refused "alloc: */no/such/x*" sweep --prewarm 0 --to 0 \
			--runs 1 --$option /no/such/x.$option ./cmd
		is 0 "$(lines log)"
	done
	for option in json csv md svg png; do
		refused "alloc: */no/such/x*" compare --prewarm 0 --runs 1 \
			--with glibc --$option /no/such/x.$option ./cmd
		is 0 "$(lines log)"
	done
	fake one 'echo >>log'
	for option in json csv md svg png; do
		refused "alloc: */no/such/x*" bench --prewarm 0 --runs 1 \
			--with glibc --$option /no/such/x.$option
		is 0 "$(lines log)"
	done
	scripted 'echo >>log'
	refused "alloc: *$dir*" sweep --prewarm 0 --to 0 --out "$dir" ./cmd
	is 0 "$(lines log)"
}

@test "alloc: a file that takes nothing is an error" {
	sweep --to 0 --runs 1 --json /dev/full true
	is 2 "$status"
	is "alloc: /dev/full can't be written: No space left on device" \
		"$(cat "$err")"
	compare --runs 1 --with glibc --md /dev/full true
	is 2 "$status"
	is "alloc: /dev/full can't be written: No space left on device" \
		"$(cat "$err")"
}

@test "alloc: an output that can't be written takes none with it" {
	need jq
	local option
	for option in out json csv svg; do
		rm -f benchmark.out j.json c.csv
		sweep --to 50 --step 50 --runs 1 --json j.json --csv c.csv \
			"--$option" /dev/full true
		# --svg may have no gnuplot
		is 2 "$status" || [ $option = svg ]
		is "0 50" "$(sed -n '3,4s/ .*//p' "$out" | paste -sd ' ')"
		grep -q "^no recommendation: " "$out"
		[ $option = json ] || holds j.json '.results | length == 2'
		[ $option = csv ] || is 3 "$(lines c.csv)"
		[ $option = out ] || is "0 50" "$(labels benchmark.out)"
	done
	compare --runs 1 --with glibc --md /dev/full --json j.json true
	is 2 "$status"
	holds j.json '.allocators | length == 1'
	fake one 'echo "one rss_end_kib=1"'
	bench --runs 1 --with glibc --json /dev/full --md t.md --svg 'v v.svg'
	is 2 "$status"
	grep -q '^| one |' t.md
	grep -qxF '![geometric means](<v v.svg>)' t.md
}

@test "alloc: no empty file stays where nothing is measured" {
	refused "alloc: no allocator 'x'*" compare --with x --json j --md m \
		--svg s true
	echo old >m
	refused "alloc: */no/such*" sweep --lib /no/such --csv c true
	compare --runs 1 --json j --md m --with glibc false
	is 1 "$status"
	is "m" "$(ls)"
	is old "$(cat m)"
}

# A FIFO has no room for all of it
@test "alloc: an output may be a FIFO, and a signal cuts nothing off" {
	need jq
	mkfifo fifo
	start sweep --prewarm 0 --to 0 --runs 1 --warmup 0 --json fifo -- \
		true "$(printf %0100000d 0)"
	exec 9<fifo
	sleep 0.2
	kill -TERM "$pid"
	sleep 0.2
	cat <&9 >j.json
	exec 9<&-
	finish
	is 130 "$status"
	holds j.json '.command[1] | length == 100000'
}

@test "alloc: output that can't be written is an error" {
	local sub
	for sub in "help" "run --help" "sweep --help" "compare --help" \
		"bench --list" "sweep --prewarm 0 --to 0 --runs 1 true" \
		"compare --prewarm 0 --runs 1 --with glibc true"; do
		status=0
		# shellcheck disable=SC2086 # words
		bare "$alloc" $sub >/dev/full 2>"$err" || status=$?
		: >"$out"
		show "$sub"
		is 2 "$status"
		is 1 "$(lines "$err")"
	done
}

@test "alloc: messages are one line, whatever is in them" {
	refused "alloc: no program a?b?[mc" run $'a\nb\e[mc'
	refused "alloc: no library a?b: *" compare --lib $'a\nb' true
	refused "alloc: no?dir/x can't be *" sweep --json $'no\ndir/x' true
}

@test "alloc: make install takes a DESTDIR with a blank" {
	make -s -C "$ROOT" install DESTDIR="$dir/a b" PREFIX=/usr
	alloc="$dir/a b/usr/bin/alloc"
	good --version
}

# -- help

# options_of FILE... - the long options of their getopt tables
options_of()
{
	(cd "$ROOT/tools" && sed -n \
		's/^\t*{ "\([a-z-]*\)", \(required\|no\)_argument,.*/\1/p' "$@")
}

# helps SUB OPTION... - its help names all these, and fits a terminal
helps()
{
	local option
	[ $# -gt 6 ]
	good "$1" --help
	[[ "$(head -n 1 "$out")" == "usage: alloc $1 "* ]]
	is "" "$(awk 'length($0) > 79' "$out")"
	for option in "${@:2}"; do
		echo "--$option"
		grep -qE -e "(^|[ ,])--$option([ ,]|\$)" "$out"
	done
	grep -q '^Exit status: ' "$out"
	grep -q "^Example: alloc $1 " "$out"
}

@test "alloc run: --help names every option" {
	local names
	mapfile -t names < <(options_of alloc.c)
	helps run "${names[@]}"
}

@test "alloc sweep: --help names every option" {
	local names
	mapfile -t names < <(options_of sweep.c alloc.h | grep -vx 'with\|md')
	helps sweep "${names[@]}"
}

@test "alloc compare: --help names every option" {
	local names
	mapfile -t names < <(options_of compare.c alloc.h)
	helps compare "${names[@]}"
}

@test "alloc bench: --help names every option" {
	local names
	mapfile -t names < <(options_of bench.c alloc.h)
	helps bench "${names[@]}"
}

@test "alloc: help names every command" {
	local name
	good help
	cp "$out" first
	good --help
	same first "$out"
	for name in $(sed -n '/^} commands/,/^}/p' "$ROOT/tools/alloc.c" |
		grep -o '"[a-z]*"' | tr -d '"'); do
		echo "$name"
		# for the tool itself
		[ "$name" != launch ] || continue
		grep -q "^  $name  *[a-z]" "$out"
	done
	grep -q '^Exit status: ' "$out"
	for name in run sweep compare bench bars; do
		good help $name
		cp "$out" first
		good $name --help
		same first "$out"
	done
	refused "alloc: *nosuch*" help nosuch
}

@test "alloc: --version" {
	good --version
	grep -qxE 'alloc [0-9]+\.[0-9.]+' "$out"
}

@test "alloc: the examples in the help work" {
	local sub
	mkdir bin
	ln -s "$alloc" bin/alloc
	for sub in run compare bench sweep; do
		good $sub --help
		sed -n 's/^Example: //p' "$out" |
			sed 's/--runs [0-9]*/--runs 1/; s/1e6/1e3/' |
			sed 's/^alloc [sc][a-z]*/& --warmup 0 --prewarm 0/' |
			sed 's/^alloc b.*/& --with glibc --warmup 0/' |
			sed 's/\/usr -xdev/\/usr\/share\/doc/' >example
		cat example
		PATH=$dir/bin:$PATH bash example >shown
		[ -s shown ]
	done
}

# -- progress

@test "alloc: a progress bar on a terminal, and only there" {
	need script
	local run="'$alloc' sweep --prewarm 0 --to 100 --step 50 --runs 2 true"
	script -qec "stty cols 80; $run >'$out'" /dev/null </dev/null >"$err"
	cat -v "$err"
	grep -q 'sweep \[#* *\] 0 of 9' "$err"
	grep -q '\] 8 of 9, 0:00 left' "$err"
	# gone in the end
	[[ "$(grep -v busy "$err" | tail -c 20)" == *$'\r\e[K' ]]
	is "0 50 100" "$(labels benchmark.out)"
	run=${run/sweep/compare --with glibc}
	script -qec "${run/--to 100 --step 50}" /dev/null </dev/null >"$err"
	grep -q 'compare \[#* *\] 1 of 3' "$err"
	sweep --to 100 --step 50 --runs 2 true
	is "" "$(cat "$err")"
}

# -- statistics

@test "alloc: medians, and how they are spread, as Python has them" {
	need python3
	"${CC:-cc}" -std=gnu11 -Wall -Wextra -O1 -g "$ROOT/test/stats.c" \
		-lm -o "$dir/stats"
	bare python3 - "$dir/stats" <<-'END'
	import random, statistics, subprocess, sys

	def ask(a, b):
	    text = "".join(" ".join(map(repr, [len(v)] + v)) + "\n"
	                   for v in (a, b))
	    out = subprocess.run([sys.argv[1]], input=text, text=True,
	                         stdout=subprocess.PIPE, check=True).stdout
	    return list(map(float, out.split()))

	def mad(v):
	    m = statistics.median(v)
	    return statistics.median(abs(x - m) for x in v)

	def near(x, y):
	    return abs(x - y) <= 1e-12 * max(abs(x), abs(y))

	def resampled(a, b, n):
	    def one(v):
	        return statistics.median(random.choices(v, k=len(v)))
	    return sorted(one(a) / one(b) for i in range(n))

	random.seed(1)
	sizes = [(1, 1), (1, 2), (2, 3), (3, 3), (5, 5), (7, 7), (10, 4),
	         (25, 25), (25, 24), (100, 31)]
	for na, nb in sizes * 4:
	    a = [random.lognormvariate(0, .2) for i in range(na)]
	    b = [random.lognormvariate(.1, .1) for i in range(nb)]
	    if random.random() < .3:
	        a = [round(x, 1) for x in a]
	    given = ask(a, b)
	    print(na, nb, given)
	    assert given == ask(a, b), "not the same twice"
	    ma, mb, da, db, value, low, high = given
	    assert near(ma, statistics.median(a))
	    assert near(mb, statistics.median(b))
	    assert near(da, mad(a)) and near(db, mad(b))
	    assert near(value, ma / mb)
	    assert low <= value <= high
	    assert near(ask([4 * x for x in a], b)[4], 4 * value)
	    assert near(ask([4 * x for x in a], b)[5], 4 * low)

	# the interval is that of other random numbers, too
	for na, nb in [(5, 5), (7, 7), (21, 20), (41, 41)]:
	    a = [random.lognormvariate(0, .2) for i in range(na)]
	    b = [random.lognormvariate(.1, .1) for i in range(nb)]
	    low, high = ask(a, b)[5:]
	    n = 8000
	    r = resampled(a, b, n)
	    print(na, nb, low, high, r[n // 40], r[-n // 40])
	    assert r[n * 15 // 1000] <= low <= r[n * 35 // 1000]
	    assert r[n * 965 // 1000] <= high <= r[n * 985 // 1000]

	# what is missing does not count
	nan = float("nan")
	assert ask([30, nan, 10, 20, 40.0], [nan])[0] == 25
	for na, nb in [(2, 3), (5, 5), (9, 8)]:
	    a = [random.lognormvariate(0, .2) for i in range(na)]
	    b = [random.lognormvariate(.1, .1) for i in range(nb)]
	    assert ask([nan] + a[:1] + [nan] + a[1:], b + [nan]) == ask(a, b)
	assert all(x != x for x in ask([nan], [1.0])[4:])

	# what is always the same is certain; of nothing, nothing is known
	assert ask([2.0] * 5, [8.0] * 3)[2:] == [0, 0, .25, .25, .25]
	assert all(x != x for x in ask([], [1.0])[4:])
	assert all(x != x for x in ask([1.0], [])[4:])
	assert ask([], [])[0] != ask([], [])[0]
	END
}

@test "alloc: 95 % intervals hold in 95 of 100 cases" {
	need python3
	"${CC:-cc}" -std=gnu11 -O2 "$ROOT/test/stats.c" -lm -o "$dir/stats"
	run bare "$dir/stats" --coverage 7 600
	echo "$output"
	[ "$output" -ge 560 ]
	[ "$output" -le 594 ]
	run bare "$dir/stats" --coverage 5 600
	echo "$output"
	[ "$output" -ge 550 ]
}

# -- valgrind

# clean ARGUMENT... - nothing to say of memory, in any process of the tool
clean()
{
	status=0
	bare valgrind -q --error-exitcode=9 --leak-check=no \
		--log-file="$dir/valgrind.%p" "$alloc" "$@" \
		>"$out" 2>"$err" </dev/null || status=$?
	show valgrind alloc "$@"
	cat valgrind.*
	is "" "$(cat valgrind.*)"
	is 0 "$status"
}

@test "alloc: valgrind finds no fault" {
	need valgrind
	"${CC:-cc}" -std=gnu11 -g -O1 "$ROOT"/tools/*.c -lm -o alloc
	ln -s "$ALLOC_SO" allocator.so
	alloc=$dir/alloc
	valgrind -q true || skip "valgrind does not run here"
	fake one 'echo "one rss_end_kib=1"'
	"${CC:-cc}" -std=gnu11 -g -O1 "$ROOT"/tools/*.c -lm -o alloc
	printf '%s\n' "@ a,b" "x,1,2" "y,3,-4" >data
	clean bars --title t --color red,blue data
	clean sweep --prewarm 0 --to 50 --step 50 --runs 1 --warmup 0 \
		--json j.json --csv c.csv --svg p.svg -- true 'a"b'
	clean compare --prewarm 0 --runs 1 --warmup 0 \
		--with "allocator,$libs/other.so" --json j.json --md t.md true
	clean run --stats --thresh 5 -- true
	clean bench --list
	clean bench --prewarm 0 --runs 1 --warmup 0 --with allocator \
		--json j.json --md t.md
	clean launch -q -w 1 -o result -p "$ALLOC_SO" true
	clean launch -t -q -o result -p "$ALLOC_SO" true
	grep -q '^1 1 ' result
}
