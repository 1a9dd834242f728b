# What README.md, SECURITY.md and the manual page say, as far as no other test
# shows it: test/bare has README's commands.

load lib

setup_file()
{
	make -s allocator.so alloc
}

setup()
{
	dir=$BATS_TEST_TMPDIR
	text=$(tr -s '\n ' ' ' <README.md)
	# as from a shell, not from make
	unset MAKEFLAGS MFLAGS MAKELEVEL
}

# has SENTENCE... - README says that
has()
{
	local sentence
	for sentence; do
		[[ $text == *"$sentence"* ]] || { echo "$sentence"; false; }
	done
}

# mean FILE ROW COLUMN - a figure of a table; the first such row counts
mean()
{
	awk -F' *[|] *' -v row="$2" -v column="$3" \
		'$2 == row { print $column; exit }' "$1"
}

@test "readme: the figures of all programs are those of doc/" {
	has "$(sed -n 's/^The geometric means of \([0-9]*\) rows\..*/\1/p' \
		doc/performance.md) benchmarks and real programs" \
		"take $(mean doc/performance.md 'time, all rows' 3) of" \
		"for $(mean doc/performance.md 'peak RSS' 3) of the" \
		"the $(find bench -name '*.c' | wc -l) workloads of bench/" \
		"$(mean doc/benchmarks.md 'geometric mean' 4) for" \
		"for $(sed -n '/^| peak RSS/,$p' doc/benchmarks.md |
			mean /dev/stdin 'geometric mean' 4) ("
}

@test "readme: the figures of find are those of doc/sweep.json" {
	need jq
	text=${text//,/}
	jq -r '
		def at(t): .points[] | select(.threshold == t);
		def s(d): . * pow(10; d) | round | . / pow(10; d) | tostring;
		def mb: . * 1024 / 1e6 | round | tostring;
		(.command | join(" ")) as $c | .glibc as $g | .engine as $e |
		.direct.recommended as $r | .direct |
		at($r.threshold).time_s as $pick |
		"`\($c)` takes \(at(0).time_s | s(1)) s at 0 " +
		"\(at(200).time_s | s(1)) s at 200 and " +
		"\(at(400).time_s | s(1)) s at 400 for \(at(200).rss_kib | mb)",
		"Up to \($r.threshold) caching pays",
		"beyond adds \(($pick - $pick / $r.to_plateau[0]) /
			(at(0).time_s - $pick) * 100 | round) % to what",
		"so \($r.threshold) is what",
		"takes \($e | at(200).time_s | s(2)) s and " +
		"\($e | at(200).rss_kib | mb) MB glibc " +
		"\($g.time_s | s(2)) s and \($g.rss_kib | mb) MB",
		"\($e | at(200).memory_calls) memory calls are left of " +
		"\(at(200).memory_calls)",
		if $e.recommended.flat then "the curve is flat and the sweep " +
		"recommends \($e.recommended.threshold)" else "not flat" end' \
		doc/sweep.json >"$dir/sentences"
	cat "$dir/sentences"
	mapfile -t sentences <"$dir/sentences"
	[ ${#sentences[@]} -eq 7 ]
	has "${sentences[@]}"
}

@test "readme: the table has the options, their defaults and bounds" {
	level_1 # the default is what is looked for
	ALLOC_HELP=1 pre true 2>&1 |
		sed -nE 's/^allocator: (ALLOC_[A-Z]*)=([^ ]*).*/\1 \2/p' |
		sed 's/^ALLOC_HELP 1$/ALLOC_HELP 0/; s/ $//' | sort >"$dir/is"
	awk -F'|' '/^\| `ALLOC_/ { gsub(/[` ]/, "", $2); gsub(/ /, "", $3)
		print $2 ($3 == "" ? "" : " ") $3 }' README.md |
		sort >"$dir/said"
	[ -s "$dir/said" ]
	same "$dir/said" "$dir/is"
	has "kept for reuse, 0 to 65536 |"
}

@test "readme: options are read at start, not later" {
	pre perl -e '$ENV{ALLOC_STATS} = $ARGV[0]' "$dir/late"
	[ ! -e "$dir/late" ]
	ALLOC_STATS=$dir/at-start pre perl -e 'delete $ENV{ALLOC_STATS}'
	[ "$(wc -l <"$dir/at-start")" -eq 1 ]
}

@test "readme: the functions it names are those that are exported" {
	text=${text#* with each: }
	tr -s ', ' '\n' <<<"${text%%, their*}" | sort >"$dir/said"
	grep -vE '^(_|dlopen$|mlock|madvise$|(pkey_)?mprotect$)' \
		test/golden/exports.txt | sort >"$dir/is"
	same "$dir/said" "$dir/is"
	sed -n 's/^__libc_//p' test/golden/exports.txt >"$dir/twins"
	[ "$(sort "$dir/twins" | comm -12 - "$dir/is" | wc -l)" -eq \
		"$(wc -l <"$dir/twins")" ]
	[ "$(wc -l <test/golden/younger-than-glibc-2.17.txt)" -eq 5 ]
	has "needs glibc 2.34 for dladdr, dlsym and three pthread functions"
}

@test "readme: files, targets and commands that it names are there" {
	local name
	while read -r name; do
		[ -e "$name" ] || { echo "$name"; false; }
	done < <(grep -oE '\]\([^)#]+|\b(tools|test|doc|bench)/[a-z.]*' \
		README.md | sed 's/^](//')
	while read -r name; do
		grep -q "^$name:" Makefile || { echo "make $name"; false; }
	done < <(sed -nE 's/.*(^    |`)make ([a-z-]+).*/\2/p' README.md)
	while read -r name; do
		bare ./alloc "$name" --help >"$dir/help"
	done < <(sed -nE 's/.*`alloc ([a-z]+)`.*/\1/p' README.md)
}

@test "readme: make run without CMD runs find /usr" {
	run make -n run
	echo "$output"
	[[ $output == *"CMD='find /usr' tools/runcost"* ]]
}

@test "readme: with RUNS=0 a program runs once" {
	run make -s run CMD="echo >>$dir/ran" RUNS=0
	echo "$output"
	[ "$(wc -l <"$dir/ran")" -eq 1 ]
	[[ $output == "make run: "*"not compared with glibc (RUNS=0)" ]]
}

@test "readme: CHECK=3 runs the tests at that level" {
	local test=@test level
	for level in 2 3; do
		echo "$test \"level\" { [ \"\$ALLOC_CHECK\" = $level ]; }" \
			>"$dir/level.bats"
		run env -i HOME="$HOME" PATH="${PATH//*bats-core:/}" \
			CHECK=$level test/run "$dir/level.bats"
		echo "$output"
		[ "${lines[-1]}" = "1 passed, 0 failed" ]
	done
}

# -- SECURITY.md

# inaccessible - how many mappings are, with 300,000 small blocks in use
inaccessible()
{
	pre perl -e 'my @x = map { "y" x (20 + $_ % 100) } 1..300000;
		open F, "/proc/self/maps"; print scalar grep / ---p /, <F>'
}

@test "security: 32 samples at level 1, 10,000 inaccessible pages at most" {
	level_1
	local none few many
	none=$(inaccessible)
	few=$(ALLOC_SAMPLE=64 inaccessible)
	many=$(ALLOC_CHECK=3 ALLOC_SAMPLE=10 inaccessible)
	echo "$none, $few, $many"
	[ "$few" -gt $((none + 16)) ] && [ "$few" -le $((none + 64)) ]
	[ "$many" -gt 9000 ] && [ "$many" -lt 10500 ]
}

# order - how far 64 fresh blocks are from the first; and after how many others
# a freed block comes back
order()
{
	if [ ! -x "$dir/order" ]; then
		"${CC:-cc}" -x c - -fno-builtin -o "$dir/order" <<-'END'
		#include <stdio.h>
		#include <stdlib.h>

		int main(void)
		{
			char *first = malloc(3000), *p;
			int n = 0;

			for (int i = 0; i < 64; i++)
				printf("%td ", (char *)malloc(200) - first);
			free(first);
			do {
				p = malloc(3000);
				free(p);
			} while (p != first && ++n < 100000);
			printf("\n%d\n", n);
		}
		END
	fi
	ALLOC_CHECK=$1 pre "$dir/order" >"$dir/order.out"
	sed -n "$2p" "$dir/order.out"
}

@test "security: fresh blocks come in an order that depends on a secret" {
	[ "$(order 1 1)" = "$(order 1 1)" ]
	[ "$(order 2 1)" != "$(order 2 1)" ]
	[ "$(order 3 1)" != "$(order 3 1)" ]
}

@test "security: a freed block comes back soon, at level 3 after 64 frees" {
	[ "$(order 1 2)" -le 1 ]
	[ "$(order 2 2)" -le 1 ]
	[ "$(order 3 2)" -ge 64 ]
	# at random
	[ "$(for _ in {1..5}; do order 3 2; done | sort -u | wc -l)" -gt 1 ]
}

# room LEVEL SIZE - how many such blocks there are in 400 MB of addresses
room()
{
	[ -x "$dir/room" ] ||
		"${CC:-cc}" -x c - -fno-builtin -o "$dir/room" <<-'END'
		#include <stdio.h>
		#include <stdlib.h>

		int main(int argc, char **argv)
		{
			size_t size = strtoul(argv[argc - 1], NULL, 10), n = 0;

			while (malloc(size))
				n++;
			printf("%zu\n", n);
		}
		END
	(ulimit -v 400000 && LD_PRELOAD=$ALLOC_SO ALLOC_CHECK=$1 \
		"$dir/room" "$2")
}

# part SIZE - how many per cent of level 1 there are at level 3
part()
{
	echo $(($(room 3 "$1") * 100 / $(room 1 "$1")))
}

@test "security: at level 3 a third of the small blocks have room" {
	local small large
	small=$(part 16) large=$(part 1000)
	echo "$small %, $large %"
	[ "$small" -ge 28 ] && [ "$small" -le 36 ]
	[ "$large" -ge 85 ] && [ "$large" -le 95 ]
}

# -- the manual page

@test "manual: its examples work" {
	local line lines
	mkdir "$dir/bin" "$dir/repository"
	ln -s "$ROOT/alloc" "$ROOT/allocator.so" "$ROOT/build" "$dir/bin"
	mapfile -t lines < <(sed -n 's/^\.Dl \$ //p' doc/alloc.1 |
		sed 's/\\-/-/g; s/--runs 9/--runs 1 --with glibc/
			s/alloc \(sweep\|compare\) /&--runs 1 /
			s/alloc [sc][wo][a-z]* \|alloc bench /&--prewarm 0 /
			s/\/usr -xdev/doc/; s/allocator,jemalloc/allocator/')
	[ ${#lines[@]} -eq 6 ]
	cd "$dir/repository"
	git -c init.defaultBranch=main init -q
	mkdir doc
	git -c user.name=a -c user.email=b commit -q --allow-empty -m first
	for line in "${lines[@]}"; do
		echo "$line"
		PATH=$dir/bin:$PATH bare bash -e -c "$line" >"$dir/out"
		[ -s "$dir/out" ] || [[ $line == *'>/dev/null' ]]
	done
}

@test "manual: the reports it names are those of the library" {
	local name
	while read -r name; do
		grep -qF "$name" src/*.c || { echo "$name"; false; }
	done < <(sed -n '/^The reports are/,/^\.El/s/^\.It //p' doc/alloc.1 |
		sed 's/^free of \(.*\)/ of \1/; s/^realloc of.*/freed/')
}

@test "manual: a long option may be shortened, - is standard output" {
	ALLOC_HELP=1 bare ./alloc run --thr 7 true 2>&1 |
		grep -q '^allocator: ALLOC_THRESH=7 '
	run bare ./alloc compare --pre x true
	[[ $output == *ambiguous* ]]
	bare ./alloc sweep --prewarm 0 --to 0 --runs 1 --warmup 0 --out - \
		--csv - true >"$dir/out"
	grep -q '^0,[0-9.e-]*$' "$dir/out"
	grep -q '^threshold,run,' "$dir/out"
	bare ./alloc compare --prewarm 0 --with glibc --runs 1 --warmup 0 \
		--md - true >"$dir/out"
	grep -q '^`true`: medians of 1 run' "$dir/out"
}
