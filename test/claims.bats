# What is said of a program that fails, is killed, is missing, takes a
# millisecond or long, by `alloc run`, `make run`, `alloc compare` and `alloc
# sweep`, in 1, 2 and 5 runs, beside nothing and beside two busy loops: never
# more than was measured. `FULL=1` has the long one take half a minute.
#
# test/run: early

load lib

LONG=${FULL:+30}
: "${LONG:=2}"
export BATS_TEST_TIMEOUT=$((120 + 22 * LONG))

setup_file()
{
	make -s allocator.so alloc
}

setup()
{
	dir=$BATS_TEST_TMPDIR
	export TMPDIR=$dir
	# as from a shell, not from make
	unset MAKEFLAGS MFLAGS MAKELEVEL
}

# beside_loops FUNCTION ARGUMENT... - without and then with two busy loops
beside_loops()
{
	local loops
	"$@"
	setsid perl -e 'fork; alarm shift; 1 while 1' "$BATS_TEST_TIMEOUT" \
		3>&- &
	loops=$!
	"$@" || { kill -- "-$loops"; return 1; }
	kill -- "-$loops"
}

# program NAME LINE... - is $dir/NAME, a script, which keeps count of its runs
program()
{
	printf '%s\n' '#!/bin/sh' 'echo >>"$0.$COUNT"' "${@:2}" >"$dir/$1"
	chmod +x "$dir/$1"
}

# ask NAME WHAT RUNS - asks run, make, compare or sweep about it. What it says
# is in $dir/NAME.WHAT.RUNS, and its status is set.
ask()
{
	local said=$dir/$1.$2.$3 cmd=$dir/$1 status=0
	local -x COUNT=$2.$3.ran
	local measured=(--lib "$ALLOC_SO" --prewarm 0 --warmup 0 --runs "$3"
		--json "$said.json")
	rm -f "$said" "$said."*
	case $2 in
	run) ./alloc run --lib "$ALLOC_SO" "$cmd" ;;
	make) make -s run CMD="$cmd" RUNS="$3" ;;
	compare) ./alloc compare "${measured[@]}" --with allocator "$cmd" ;;
	sweep) ./alloc sweep "${measured[@]}" --to 50 --step 50 \
		--out "$said.out" "$cmd" ;;
	esac >"$said" 2>&1 </dev/null || status=$?
	# what the machine, and the shell that runs this, make it say
	sed -i '/^alloc: other programs were busy\| Killed  */d' "$said"
	echo "$2 $1, $3 runs: status $status"
	cat "$said"
	echo "$status" >"$said.status"
}

# says NAME WHAT RUNS STATUS LINE... - that, by patterns, and no more
says()
{
	local said=$dir/$1.$2.$3 line i=0
	[ "$(cat "$said.status")" = "$4" ]
	for line in "${@:5}"; do
		i=$((i + 1))
		# shellcheck disable=SC2053 # it is a pattern
		[[ "$(sed -n "${i}p" "$said")" == $line ]]
	done
	[ "$(wc -l <"$said")" -eq $i ]
}

# none NAME STATUS FAILED - of runs that all failed nothing is said but that
none()
{
	local n compared="$3 on the allocator, $3 on glibc; not compared"
	ask "$1" run 1
	says "$1" run 1 "$2"
	for n in 1 2 5; do
		ask "$1" make $n
		says "$1" make $n 2 "make run: $compared" "make: \*\*\* *"
		ask "$1" compare $n
		says "$1" compare $n 1 "alloc: $n run* on glibc *" \
			"alloc: $n run* on allocator *" \
			"alloc: nothing was measured"
		ask "$1" sweep $n
		says "$1" sweep $n 1 "alloc: $((2 * n)) runs of *" \
			"alloc: nothing was measured"
	done
}

@test "claims: none of a program that fails" {
	program fails 'exit 3'
	beside_loops none fails 3 "exit status 3"
}

@test "claims: none of a program that is killed" {
	program killed 'kill -9 $$'
	beside_loops none killed 137 "killed by SIGKILL"
}

nothing_there()
{
	local n
	ask missing run 1
	says missing run 1 2 "alloc: no program $dir/missing"
	for n in 1 2 5; do
		ask missing make $n
		says missing make $n 2 "*: not found" \
			"make run: exit status 127 on the allocator, exit \
status 127 on glibc; not compared" "make: \*\*\* *"
		ask missing compare $n
		says missing compare $n 2 "alloc: no program $dir/missing"
		ask missing sweep $n
		says missing sweep $n 2 "alloc: no program $dir/missing"
	done
}

@test "claims: none of a program that is not there" {
	beside_loops nothing_there
}

# ran NAME WHAT RUNS LEAST - as many times, or more where it was repeated
ran()
{
	[ "$(wc -l <"$dir/$1.$2.$3.ran")" -ge "$4" ]
}

# told NAME WHAT RUNS SECONDS - no more of it than so many runs can tell
told()
{
	local said=$dir/$1.$2.$3 many n=$3
	[ "$(cat "$said.status")" = 0 ]
	[ "$(grep -cw 'nan\|inf' "$said")" = 0 ]
	case $2 in
	run) [ ! -s "$said" ] ;;
	make)
		# shown, looked at, and then in rounds, for a minute
		n=$((($(wc -l <"$said.ran") - 2) / 2))
		[ "$n" -eq "$3" ] || [ "$4" -gt 9 ]
		many="medians of $n runs each"
		[ "$n" -gt 1 ] || many="one run each"
		[[ "$(cat "$said")" =~ ^make\ run:\ ([0-9.]+)\ s\ on\ the\
\ allocator,\ ([0-9.]+)\ s\ on\ glibc.*\;\ "$many"$ ]]
		[ "${BASH_REMATCH[1]%.*}" -ge "$4" ]
		[ "${BASH_REMATCH[2]%.*}" -ge "$4" ]
		;;
	compare)
		ran "${@:1:3}" $((1 + 2 * n))
		jq -e ".allocators | length == 2 and all(.runs == $n and
			.failed == 0 and .wall_s.min >= $4 and
			(.wall_s.values | length) == $n)" "$said.json"
		[ "$(grep -c '^  against glibc: ' "$said")" = 2 ]
		verdicts "$said" "$n"
		;;
	sweep)
		ran "${@:1:3}" $((1 + 2 * n))
		jq -e ".results | length == 2 and all(.runs == $n and
			.failed == 0 and .wall_s.min >= $4)" "$said.json"
		advice "$said" "$n"
		;;
	esac
}

# verdicts FILE RUNS - of few runs that they can't tell, of 5 with an interval
verdicts()
{
	local can="can't tell ($2 runs)"
	local x='[0-9]+\.[0-9]' interval
	interval="$x % (less|more) \(95 %: -?$x to -?$x\)"
	[ "$2" -gt 1 ] || can="can't tell (1 run)"
	if [ "$2" -lt 5 ]; then
		[ "$(grep -cxF "  against glibc: $can" "$1")" = 2 ]
		return
	fi
	[ "$(grep -cE "^  against glibc: (faster: $interval|slower: $interval|\
(less|more) memory: $interval|the same within [0-4]\.[0-9] %|the same within \
5\.0 %|can't tell \(5 runs\): $x % (less|more) to $x % (less|more))$" \
		"$1")" = 2 ]
}

# advice FILE RUNS - the same of what a sweep recommends
advice()
{
	local can="no recommendation: can't tell ($2 run"
	if [ "$2" -lt 5 ]; then
		grep -qF "$can" "$1"
		[ "$(grep -c '95 %\|^recommended\|saves no' "$1")" = 0 ]
	elif grep -q 'saves no' "$1"; then
		# of what is compared, not of itself
		grep -q '^  time at 0 is .* at 50: ' "$1"
	else
		grep -q '^recommended: ALLOC_THRESH=50$' "$1" ||
			grep -qF "$can" "$1"
		grep -q '(95 %: \|the same within [0-9.]* %' "$1"
	fi
}

brief()
{
	local what n
	ask brief run 1
	told brief run 1 0
	for n in 1 2 5; do
		for what in make compare sweep; do
			ask brief $what $n
			told brief $what $n 0
		done
	done
}

@test "claims: of a millisecond no more than the runs tell" {
	need jq
	program brief 'exit 0'
	beside_loops brief
}

# All at once, since it sleeps
long()
{
	local what n begin=$SECONDS pids=()
	for n in 1 2 5; do
		for what in run make compare sweep; do
			ask long $what $n >"$dir/log.$what.$n" 3>&- &
			pids+=($!)
		done
	done
	wait "${pids[@]}"
	cat "$dir"/log.*
	[ $((SECONDS - begin)) -ge "$LONG" ]
	for n in 1 2 5; do
		for what in run make compare sweep; do
			told long $what $n "$LONG"
		done
	done
}

@test "claims: of a long run no more than the runs tell" {
	need jq
	program long "exec sleep $LONG"
	beside_loops long
}
