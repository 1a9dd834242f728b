# What the fast paths cost in instructions. Counts repeat exactly, where times
# do not, so they can be held to a limit and compared with golden files:
#
#	UPDATE=1 bats test/cost.bats
#
# writes those anew after a change that was meant.

load lib

BATS_TEST_TIMEOUT=300
export BATS_TEST_TIMEOUT
FEW=1000 MANY=21000

setup_file()
{
	make -s plain
	cc_once build/test/cost test/cost.c -O1 -fno-builtin
}

setup()
{
	level_1 # the others have no fast paths
	need valgrind gcc
	[ "$(uname -m)" = x86_64 ] || skip "counts of x86-64"
	# Only what gcc makes of it is known, not what another compiler does
	readelf -p .comment "$ALLOC_SO" | grep -q GCC || skip "not built by gcc"
}

# instructions SO WHAT COUNT - of a whole run
instructions()
{
	deadline 120 env LD_PRELOAD="$1" valgrind --tool=callgrind \
		--callgrind-out-file=/dev/null build/test/cost "$2" "$3" 2>&1 |
		sed -n 's/.*Collected : //p'
}

# cost SO WHAT STUB - instructions inside the allocator for a pair of calls:
# a round with it, less one with two functions of a single instruction
cost()
{
	local with without
	with=$(($(instructions "$1" "$2" $MANY) -
		$(instructions "$1" "$2" $FEW)))
	without=$(($(instructions "$1" "$3" $MANY) -
		$(instructions "$1" "$3" $FEW)))
	awk -v d=$((with - without)) -v n=$((MANY - FEW)) \
		'BEGIN { printf "%d\n", d / n + 2 + 0.999 }'
}

# within LIMIT WHAT STUB - in the plain build and in the optimised one
within()
{
	local so pair bad=0
	for so in build/plain.so "$ALLOC_SO"; do
		pair=$(cost "$(readlink -f "$so")" "$2" "$3")
		echo "$so: $pair instructions, limit $1"
		[ "$pair" -gt 4 ] && [ "$pair" -le "$1" ] || bad=1
	done
	return $bad
}

@test "cost: malloc and free of a small block take 50 instructions or fewer" {
	within 50 pair stub
}

@test "cost: calloc(1, 24) and free take 65 instructions or fewer" {
	within 65 calloc stub2
}

@test "cost: aligned_alloc(64, 200) and free take 105 instructions or fewer" {
	within 105 aligned stub2
}

# The plain forms and what C++14 calls most of all; new[] and delete[] have one
# more each, a jump
@test "cost: new and delete take 2 instructions more than malloc and free" {
	local so base pair more
	for so in "$ROOT/build/plain.so" "$ALLOC_SO"; do
		base=$(cost "$so" malloc+free stub)
		for pair in _Znwm+_ZdlPv:0 _Znwm+_ZdlPvm:2 _Znam+_ZdaPv:2 \
			_Znam+_ZdaPvm:3; do
			more=$(($(cost "$so" ${pair%:*} stub) - base))
			echo "$so: $pair: $more more than $base"
			[ "$base" -gt 40 ] && [ $more -le ${pair#*:} ]
		done
	done
}

@test "cost: malloc and free start on a cache line" {
	local so
	for so in build/plain.so "$ALLOC_SO"; do
		nm -D "$so" | awk '$3 == "malloc" || $3 == "free" {
			print; n += $1 ~ /[048c]0$/
		} END { exit n != 2 }'
	done
}

# The golden files begin with the compiler they are true for.
golden()
{
	local file=test/golden/fastpath-$1.txt now=$BATS_TEST_TMPDIR/mix
	{
		echo "gcc $(gcc -dumpfullversion)"
		tools/fastpath "$2" build/test/cost | sort -r # malloc, free
	} >"$now"
	[ "$(wc -l <"$now")" -ge 3 ]
	if [ "${UPDATE:-}" = 1 ]; then
		cp "$now" "$file"
	fi
	[ -s "$file" ]
	[ "$(head -n 1 "$file")" = "$(head -n 1 "$now")" ] ||
		skip "$(head -n 1 "$file") made the golden file"
	same "$file" "$now"
}

@test "cost: instruction mix of the fast paths, plain build" {
	golden plain build/plain.so
}

@test "cost: instruction mix of the fast paths, optimised build" {
	golden opt "$ALLOC_SO"
}

# own SO WHAT COUNT - instructions of a whole run, in SO itself
own()
{
	local profile=$BATS_TEST_TMPDIR/profile
	deadline 120 env LD_PRELOAD="$1" valgrind --tool=callgrind \
		--compress-strings=no --compress-pos=no \
		--callgrind-out-file="$profile" build/test/cost "$2" "$3" \
		>/dev/null 2>&1
	# What follows `calls=` is the cost of what was called
	awk -v so="$1" '
		/^ob=/ { inside = substr($0, 4) == so }
		/^calls=/ { getline; next }
		inside && /^[0-9]/ { sum += $2 }
		END { print sum + 0 }' "$profile"
}

@test "cost: three programs take as many instructions as before, within 2 %" {
	local file=test/golden/instructions.txt now=$BATS_TEST_TMPDIR/now what
	local so=$ALLOC_SO
	{
		echo "gcc $(gcc -dumpfullversion)"
		for what in replaced grown batched; do
			echo "$what $(own "$(readlink -f "$so")" $what 50000)"
		done
	} >"$now"
	cat "$now"
	if [ "${UPDATE:-}" = 1 ]; then
		cp "$now" "$file"
	fi
	[ "$(head -n 1 "$file")" = "$(head -n 1 "$now")" ] ||
		skip "$(head -n 1 "$file") made the golden file"
	# Fewer by more than that is good news: UPDATE=1 makes it the measure
	paste "$file" "$now" | awk 'NR > 1 {
		rows++
		bad += $4 < 100000 || $4 > $2 * 1.02 || $4 < $2 * 0.98
	} END { exit !(rows == 3 && !bad) }'
}
