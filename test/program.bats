# Real programs give the same output, byte for byte, on the library as without
# it, with the freed-block cache off, at its default and larger.
#
# Each program has a function use_NAME, which runs it by "$under", that is by
# `bare` or `pre`, in an empty directory and prints what is compared. $n scales
# it: full, or short for the mode in which every block is a mapping. Each run
# has a subshell of its own, for its directory and its environment.
#
# test/run: early

load lib

export LIMIT=100 BATS_TEST_TIMEOUT=$((300 * ${SLOW:-1})) LC_ALL=C.UTF-8
PYTHON=/usr/bin/python3
FPM=$(compgen -G '/usr/sbin/php-fpm*' | head -n 1)

# attempt UNDER SCALE NAME OUT [VAR=VALUE] - one run, its output in OUT. It is
# in the background since errexit does not work on the left of an `||`.
attempt()
{
	local work=$BATS_TEST_TMPDIR/work
	rm -rf "$work"
	mkdir "$work"
	(
		under=$1 n=$2
		[ -z "${5:-}" ] || export "${5?}"
		cd "$work" || exit
		set -e -o pipefail
		"use_$3"
	) >"$4" 2>"$4.err" 3>&- &
	wait $! || {
		echo "use_$3 ended with $? by $1 ${5:-}:"
		tail -n 20 "$4.err"
		return 1
	}
	if grep -a '^allocator' "$4.err"; then
		echo "use_$3: the library had something to say ${5:-}"
		return 1
	fi
}

# compare SCALE NAME [VAR=VALUE...] - bare, once, against each of the settings
compare()
{
	local scale=$1 name=$2 reference=$BATS_FILE_TMPDIR/$2.$1 setting
	shift 2
	if [ ! -s "$reference" ]; then
		attempt bare "$scale" "$name" "$reference.new"
		mv "$reference.new" "$reference"
	fi
	[ -s "$reference" ]
	for setting; do
		echo "with ${setting:-the defaults}:"
		attempt pre "$scale" "$name" "$BATS_TEST_TMPDIR/out" "$setting"
		same "$reference" "$BATS_TEST_TMPDIR/out"
	done
}

everywhere()
{
	compare 100 "$1" ALLOC_THRESH=0 '' ALLOC_THRESH=400
}

direct()
{
	[ "${ALLOC_CHECK:-1}" -lt 3 ] || skip "three pages a block"
	compare 1 "$1" ALLOC_DIRECT=1
}

# takes_malloc CMD... - true if CMD's first malloc or calloc is the library's
takes_malloc()
{
	LD_DEBUG=bindings pre "$@" </dev/null 2>&1 |
		grep -aqE "to $ALLOC_SO .*\`(malloc|calloc)'"
}

@test "program: all of them take malloc from the library" {
	local program bad=0
	for program in "sqlite3 -version" "perl -v" "git --version" \
		"gcc --version" "clang --version" "node --version" \
		"sort --version" "xz --version" "gawk --version" \
		"gdb --version" "make --version" "$PYTHON --version" \
		"stress-ng --version" "redis-check-rdb --version" \
		"find --version" "php --version"; do
		command -v "${program%% *}" >/dev/null || continue
		# shellcheck disable=SC2086
		takes_malloc $program || {
			echo "not ${program%% *}"
			bad=1
		}
	done
	[ $bad -eq 0 ]
	run takes_malloc /nonexistent
	[ "$status" -ne 0 ]
}

use_sqlite()
{
	"$under" sqlite3 test.db <<-END
	pragma journal_mode = off;
	create table t(a integer primary key, b text, c integer);
	with recursive r(x) as (select 1 union all
		select x + 1 from r where x < 2000 * $n)
		insert into t select x, hex(x * 7919 % 100003),
			x * 31 % 977 from r;
	create index t_b on t(b);
	select count(distinct b), sum(c), max(b) from t;
	update t set b = b || b where c % 3 = 0;
	delete from t where c % 7 = 0;
	select c, count(*), group_concat(substr(b, 1, 3)) from t
		where a % 11 = 0 group by c order by 2 desc, 1 limit 50;
	vacuum;
	pragma integrity_check;
	END
}

@test "program: sqlite3" {
	need sqlite3
	everywhere sqlite
}

@test "program: sqlite3, every block a mapping" {
	need sqlite3
	direct sqlite
}

use_perl()
{
	PERL_HASH_SEED=0 "$under" perl -e '
		my %h; my ($n, $sum) = (3000 * $ARGV[0], 0);
		$h{"key$_"} = "v" x ($_ % 97) for 1 .. $n;
		delete $h{"key" . 3 * $_} for 1 .. $n / 3;
		$sum += length $h{$_} for keys %h;
		my @words = sort map { join "-", reverse split //, $_ } keys %h;
		my $text = join " ", @words;
		$text =~ s/(\d)-(\d)/$2$1/g;
		printf "%d %d %d %s\n", scalar keys %h, $sum, length $text,
			unpack "%32C*", $text' "$n"
}

@test "program: perl" {
	need perl
	everywhere perl
}

@test "program: perl, every block a mapping" {
	need perl
	direct perl
}

use_git()
{
	local i commits=$((n > 1 ? 40 : 3))
	export HOME=$PWD GIT_CONFIG_NOSYSTEM=1
	export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b
	export GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b
	"$under" git init -q -b main repo
	cd repo
	for ((i = 1; i <= commits; i++)); do
		seq $i 7 $((2000 + i * 13)) >"file$((i % 5))"
		export GIT_AUTHOR_DATE="@$((1700000000 + i)) +0000"
		export GIT_COMMITTER_DATE=$GIT_AUTHOR_DATE
		"$under" git add .
		"$under" git commit -q -m "change $i"
	done
	"$under" git gc -q
	"$under" git fsck --full --strict --no-progress
	"$under" git cat-file --batch-all-objects --batch-check | sort
	"$under" git log -p --stat
	"$under" git blame file1
	"$under" git diff HEAD~2 --word-diff
}

@test "program: git" {
	need git
	everywhere git
}

@test "program: git, every block a mapping" {
	need git
	direct git
}

# The compilers get what is at hand: the library itself and its tool, or some
# of the benchmarks.
use_compiler()
{
	local source sources=("$ROOT"/bench/[a-g]*.c)
	[ "$n" -eq 1 ] || sources=("$ROOT"/tools/*.c "$ROOT/allocator.c")
	for source in "${sources[@]}"; do
		"$under" "$1" -std=gnu11 -O2 -w -c "$source" -o out.o
		sha256sum out.o
	done
	"$under" "$1" -std=gnu11 -O2 -w -S "$source" -o - | tail -n 50
}

use_gcc()
{
	use_compiler gcc
}

use_clang()
{
	use_compiler clang
}

use_gxx()
{
	cat >a.cc <<-END
	#include <map>
	#include <regex>
	#include <string>
	int main() {
		std::map<std::string, std::regex> m;
		m["a"] = std::regex("[a-z]+(x|y)*");
		return std::regex_match("abcx", m["a"]) ? 0 : 1;
	}
	END
	"$under" g++ -O1 -c a.cc -o a.o
	sha256sum a.o
	g++ a.o -o a
	"$under" ./a
}

@test "program: gcc -O2" {
	need gcc
	everywhere gcc
}

@test "program: gcc -O2, every block a mapping" {
	need gcc
	direct gcc
}

@test "program: clang -O2" {
	need clang
	everywhere clang
}

@test "program: g++, and a program with maps and regular expressions" {
	need g++
	everywhere gxx
}

use_node()
{
	"$under" node -e '
		const n = 2000 * Number(process.argv[1])
		const crypto = require("crypto"), zlib = require("zlib")
		let all = [], sum = 0
		for (let i = 0; i < n; i++) {
			const b = Buffer.alloc(1 + i % 300, i % 251)
			all[i % 5000] = b
			sum = (sum * 31 + b[b.length - 1] + b.length) % 1e9
		}
		const text = JSON.stringify(all.map(b => b.toString("hex")))
		console.log(sum, text.length,
			zlib.gzipSync(text, {level: 6}).length,
			crypto.createHash("sha256").update(text).digest("hex"))
	' "$n"
}

@test "program: node" {
	need node
	everywhere node
}

use_sort()
{
	"$under" seq 1 $((3000 * n)) >lines
	"$under" gawk '{ print ($1 * 7919) % 1000003, $1 }' lines >numbers
	"$under" sort -R --random-source=lines numbers >shuffled
	"$under" sort -n --parallel=2 shuffled
	"$under" sort -k2,2r -S 1M -T . shuffled | tail -n 1000
	cat shuffled
}

@test "program: sort" {
	need gawk
	everywhere sort
}

@test "program: sort, every block a mapping" {
	need gawk
	direct sort
}

use_xz()
{
	seq 1 $((6000 * n)) >data
	"$under" xz -T2 -1 --block-size=262144 -c data >data.xz
	sha256sum <data.xz
	"$under" xz -T2 -dc data.xz >back
	cmp data back
	"$under" xz -l --robot data.xz | grep -v '^name'
}

@test "program: xz with two threads" {
	need xz
	everywhere xz
}

@test "program: xz, every block a mapping" {
	need xz
	direct xz
}

use_gawk()
{
	"$under" gawk -v n=$((3000 * n)) 'BEGIN {
		for (i = 0; i < n; i++)
			cell[i % 777, i] = "value " i
		for (k in cell)
			total += length(cell[k] k)
		for (i = 0; i < n; i += 2)
			delete cell[i % 777, i]
		PROCINFO["sorted_in"] = "@ind_str_asc"
		for (k in cell)
			if (++shown <= 100)
				print cell[k]
		print length(cell), total
	}'
}

@test "program: gawk" {
	need gawk
	everywhere gawk
}

@test "program: gawk, every block a mapping" {
	need gawk
	direct gawk
}

# Addresses and process numbers differ between any two runs.
use_gdb()
{
	cp "$ROOT/bench/grow.c" "$ROOT/bench/bench.h" .
	gcc -g -O0 -pthread grow.c -o grow
	"$under" gdb -nx -batch -ex 'info functions grow' -ex 'list main' \
		-ex 'ptype pthread_mutex_t' -ex 'break next_size' -ex run \
		-ex bt -ex finish -ex 'info locals' -ex 'print sum + size' \
		-ex kill ./grow 2>&1 |
		sed -E 's/0x[0-9a-f]+/ADDR/g; s/process [0-9]+/process N/
			s/^(sum|small|p|n) = .*/\1/; /debuginfod/d'
}

@test "program: gdb" {
	need gdb gcc
	everywhere gdb
}

use_make()
{
	cat >Makefile <<-'END'
	parts := $(shell seq 1 $(N))
	all: $(parts:%=part%) ; cat $^ >all
	part%: ; echo $* $(foreach i,$(wordlist 1,$*,$(parts)),$i.) >$@
	END
	"$under" make -s -j2 N=$((n > 1 ? 100 : 10))
	cat all
	"$under" make -pn N=10 | grep -a '^part'
}

@test "program: make" {
	everywhere make
}

@test "program: make, every block a mapping" {
	direct make
}

# Verdicts, not output: the output of the test modules has times in it, and a
# module may fail for reasons of the machine as long as it also does without us.
use_python()
{
	local module
	export PYTHONMALLOC=malloc PYTHONDONTWRITEBYTECODE=1 TMPDIR=$PWD
	for module in list dict set bytes json zlib hashlib sqlite3 gc \
		memoryview mmap array re pickle decimal ctypes queue; do
		if "$under" "$PYTHON" -m test -q "test_$module" >&2; then
			echo "$module passed"
		else
			echo "$module failed"
		fi
	done
}

python_verdicts()
{
	[ -f /usr/lib/python3.11/test/test_dict.py ] ||
		skip "needs libpython3.11-testsuite"
	compare 1 python "$1"
	[ "$(grep -c passed "$BATS_TEST_TMPDIR/out")" -ge 9 ]
}

@test "program: python's own test modules" {
	python_verdicts ''
}

@test "program: python's own test modules, nothing cached" {
	python_verdicts ALLOC_THRESH=0
}

@test "program: python's own test modules, 400 blocks cached" {
	python_verdicts ALLOC_THRESH=400
}

redis_answers()
{
	redis-cli -s "$BATS_TEST_TMPDIR/socket" "$@"
}

# redis_serves [VAR=VALUE] - a server on a socket, some load, a clean end. Its
# binary serves when it is called redis-server; that name is not in the same
# package, which would start a server of its own.
redis_serves()
{
	local dir=$BATS_TEST_TMPDIR i server status=0
	ln -sf "$(command -v redis-check-rdb)" "$dir/redis-server"
	(
		[ -z "${1:-}" ] || export "${1?}"
		pre "$dir/redis-server" --port 0 --unixsocket "$dir/socket" \
			--save '' --appendonly no --dir "$dir"
	) >"$dir/log" 2>&1 3>&- &
	server=$!
	for ((i = 0; i < 100; i++)); do
		redis_answers ping 2>/dev/null | grep -q PONG && break
		sleep 0.1
	done
	redis-benchmark -s "$dir/socket" -n 3000 -c 20 -q -d 200 -r 1000 \
		-t set,get,incr,lpush,rpop,sadd,hset,zadd,mset,lrange_100 \
		>"$dir/benchmark" || status=1
	redis_answers debug object key:000000000001 >/dev/null || status=1
	[ "$(redis_answers eval \
		'return redis.call("dbsize") > 100' 0)" = 1 ] || status=1
	redis_answers flushall async | grep -q OK || status=1
	redis_answers shutdown nosave || status=1
	wait "$server" || status=$?
	[ $status -eq 0 ] || tail -n 30 "$dir/log" "$dir/benchmark"
	if grep -aE '^allocator|CRASH|BUG' "$dir/log"; then
		status=1
	fi
	return $status
}

@test "program: redis under load" {
	need redis-check-rdb redis-benchmark redis-cli
	redis_serves
	redis_serves ALLOC_THRESH=0
	redis_serves ALLOC_THRESH=400
}

# stressor NAME OPTIONS... - with its own checks on; counted in operations, so
# that the time limit is only for when something is wrong
stressor()
{
	local setting
	need stress-ng
	for setting in ALLOC_THRESH=0 ALLOC_THRESH= ALLOC_THRESH=400; do
		echo "stress-ng --$* with $setting"
		(
			export "${setting?}"
			pre stress-ng "--$1" 1 "${@:2}" --verify \
				--timeout 60 --temp-path "$BATS_TEST_TMPDIR"
		) 3>&-
	done
}

@test "program: stress-ng malloc" {
	stressor malloc --malloc-pthreads 3 --malloc-touch \
		--malloc-bytes 256K --malloc-ops 100000
}

@test "program: stress-ng tree" {
	stressor tree --tree-ops 3
}

@test "program: stress-ng list" {
	stressor list --list-ops 20
}

@test "program: stress-ng hsearch" {
	stressor hsearch --hsearch-ops 50
}

@test "program: stress-ng fork" {
	stressor fork --fork-ops 500
}

@test "program: stress-ng bigheap" {
	stressor bigheap --bigheap-ops 1000
}

# What changes by itself is left out, and the rest may change while we look:
# what was there before and after must be listed, and nothing else may be.
listing()
{
	"$1" sh -c 'find / -xdev \( -path /proc -o -path /sys -o -path /dev \
		-o -path /run -o -path /tmp -o -path /var/tmp \
		-o -path /var/log -o -path "$0" \) -prune -o -print |
		sort' "$ROOT" 2>"$BATS_TEST_TMPDIR/err"
}

find_agrees()
{
	cd "$BATS_TEST_TMPDIR"
	mv after before
	listing pre >with
	listing bare >after
	comm -12 before after | comm -23 - with >missing
	sort -mu before after | comm -13 - with >extra
	head missing extra
	[ "$(wc -l <with)" -gt 1000 ] && [ ! -s missing ] && [ ! -s extra ]
}

@test "program: find / gives the same list for every ALLOC_THRESH" {
	local value
	listing bare >"$BATS_TEST_TMPDIR/after"
	echo "ALLOC_THRESH unset"
	find_agrees
	for value in 0 1 100 400 '' abc 99999999999999999999; do
		echo "ALLOC_THRESH='$value'"
		export ALLOC_THRESH=$value
		find_agrees
	done
}

# Its modules are opened by RTLD_DEEPBIND; by USE_ZEND_ALLOC=0 it takes all that
# it needs by malloc.
use_php()
{
	"$under" php -v
	"$under" php -m
	USE_ZEND_ALLOC=0 "$under" php -r '
		$n = 2000 * $argv[1];
		for ($i = 0; $i < $n; $i++)
			$a["k" . $i * 7919 % $n][] = str_repeat("x", $i % 300);
		ksort($a);
		$text = json_encode(array_map("count", $a)) . serialize($a);
		echo strlen($text), " ", md5($text), " ",
			count(unserialize(serialize($a))), " ",
			iconv("UTF-8", "UTF-16", "\u{e9}") === false, " ",
			preg_match_all("/x{3,9}/", $text), " ",
			strlen(gzcompress($text)), " ",
			(new finfo(FILEINFO_MIME))->buffer($text), " ",
			count(token_get_all("<?php echo 1 + 2;")), "\n";
		echo ctype_digit("12"), gettext("none"), "\n";' "$n"
}

@test "program: php" {
	need php
	compare 10 php ALLOC_CHECK=1 ALLOC_CHECK=2 ALLOC_CHECK=3
}

# A page from a server with processes of its own, which it is told to end
use_fpm()
{
	local i dir=$PWD
	cat >fpm.conf <<-END
	[global]
	error_log = $dir/log
	pid = $dir/pid
	[www]
	listen = $dir/socket
	pm = static
	pm.max_children = 2
	END
	cat >page.php <<-'END'
	<?php echo md5(json_encode(range(1, 20000))), " ",
		count(get_loaded_extensions()), "\n";
	END
	trap 'kill $(cat pid) 2>/dev/null || true' EXIT
	"$under" "$FPM" -D -R -y fpm.conf
	for ((i = 0; i < n; i++)); do
		SCRIPT_FILENAME=$dir/page.php REQUEST_METHOD=GET bare \
			cgi-fcgi -bind -connect "$dir/socket" | tail -n 1
	done
	kill -QUIT "$(cat pid)"
	for ((i = 0; i < 100; i++)); do
		[ -e pid ] || break
		sleep 0.1
	done
	tail -n 1 log | grep -o 'exiting, bye-bye!'
	! grep -E 'signal|SIG[A-Z]|allocator' log || false
}

@test "program: php-fpm serves a page" {
	need cgi-fcgi "${FPM:-php-fpm}"
	compare 5 fpm ALLOC_CHECK=1 ALLOC_CHECK=2 ALLOC_CHECK=3
}
