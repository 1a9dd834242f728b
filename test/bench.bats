# The benchmark programs: each gives the same checksum on the library as
# without it, a wrong one where blocks overlap, and its result in one line.
# And replay, which reads a file that people bring.
#
# shellcheck disable=SC2030,SC2031 # status and output are those of this test

load lib

setup_file()
{
	make -s workloads
}

setup()
{
	trace=$BATS_TEST_TMPDIR/trace
}

# programs - the names of all of them
programs()
{
	basename -s .c bench/*.c
}

# result UNDER NAME [ARGUMENT...] - runs it by `bare` or `pre`; its one line
# must be well-formed and its numbers plausible. Sets sum and ops.
result()
{
	local n='([0-9]+)' form s rate peak end
	form="^$2 checksum=([0-9a-f]{16}) ops=$n seconds=([0-9]+\\.[0-9]{6})"
	form+=" ops_per_s=$n rss_peak_kib=$n rss_end_kib=$n\$"
	run "$1" "build/bench/$2" "${@:3}"
	echo "$1: $status, $output"
	[ "$status" -eq 0 ]
	[ "${#lines[@]}" -eq 1 ]
	[[ "$output" =~ $form ]]
	sum=${BASH_REMATCH[1]} ops=${BASH_REMATCH[2]} s=${BASH_REMATCH[3]}
	rate=${BASH_REMATCH[4]} peak=${BASH_REMATCH[5]} end=${BASH_REMATCH[6]}
	awk -v ops="$ops" -v s="$s" -v rate="$rate" -v peak="$peak" \
		-v end="$end" 'BEGIN {
		exit !(ops > 0 && s > 0 && rate * s > ops * 0.99 &&
			rate * s < ops * 1.01 && end > 0 && end <= peak &&
			peak < 200 * 1024) }'
}

# agree NAME [ARGUMENT...] - the same checksum without the library and on it
agree()
{
	local without
	result bare "$@"
	without=$sum
	result pre "$@"
	[ "$sum" = "$without" ]
}

@test "bench: each program begins with a sentence on what it is like" {
	local about=build/bench/about.txt
	same <(programs) <(sed 's/ - .*//' "$about")
	[ "$(wc -l <"$about")" -ge 16 ]
	run grep -vE '^[a-z]+ - [A-Z][^.]*\.$' "$about"
	echo "not name - Sentence.: $output"
	[ "$status" -eq 1 ]
	run grep -E '.{79}' "$about"
	echo "too long: $output"
	[ "$status" -eq 1 ]
}

@test "bench: the same checksum on the library as without it" {
	local name
	for name in $(programs); do
		agree "$name"
	done
}

# A malloc whose blocks overlap by up to 16 bytes, by more in the long run
overlapping()
{
	cat >"$BATS_TEST_TMPDIR/bad.c" <<-'END'
	#include <stddef.h>
	#include <stdint.h>
	#include <string.h>

	static char arena[64 << 20];
	static size_t next;

	void *malloc(size_t n)
	{
		size_t step = n > 32 ? (n - 1) / 16 * 16 : 16;

		return arena + __atomic_fetch_add(&next, step, 0) % (48 << 20);
	}

	void free(void *p)
	{
		(void)p;
	}

	void *calloc(size_t n, size_t size)
	{
		return memset(malloc(n * size), 0, n * size);
	}

	void *realloc(void *p, size_t n)
	{
		return p ? memmove(malloc(n), p, n) : malloc(n);
	}

	void *aligned_alloc(size_t align, size_t n)
	{
		uintptr_t p = (uintptr_t)malloc(n + align);

		return (void *)((p + align - 1) / align * align);
	}

	int posix_memalign(void **p, size_t align, size_t n)
	{
		*p = aligned_alloc(align, n);
		return 0;
	}
	END
	"${CC:-cc}" -O1 -fno-builtin -w -shared -fPIC \
		"$BATS_TEST_TMPDIR/bad.c" -o "$BATS_TEST_TMPDIR/bad.so"
}

@test "bench: with BENCH_LATENCY, how long calls take" {
	local form n='([0-9]+)'
	form=" p50_ns=$n p99_ns=$n p999_ns=$n max_ns=$n\$"
	# One call in 500 takes 0.1 ms
	cat >"$BATS_TEST_TMPDIR/slow.c" <<-'END'
	#include <malloc.h>
	#include <stddef.h>
	#include <time.h>
	void *__libc_malloc(size_t n);
	static long now(void)
	{
		struct timespec t;
		clock_gettime(CLOCK_MONOTONIC, &t);
		return t.tv_sec * 1000000000 + t.tv_nsec;
	}
	void *malloc(size_t n)
	{
		static int calls;
		if (++calls % 250 == 0)
			for (long end = now() + 100000; now() < end;)
				;
		return __libc_malloc(n);
	}
	END
	"${CC:-cc}" -O1 -w -shared -fPIC "$BATS_TEST_TMPDIR/slow.c" \
		-o "$BATS_TEST_TMPDIR/slow.so"
	export BENCH_LATENCY=1
	ALLOC_SO=$BATS_TEST_TMPDIR/slow.so run pre build/bench/random
	echo "$output"
	[ "$status" -eq 0 ]
	[[ "$output" =~ $form ]]
	[ "${BASH_REMATCH[1]}" -lt "${BASH_REMATCH[2]}" ]
	[ "${BASH_REMATCH[2]}" -lt 90000 ]
	[ "${BASH_REMATCH[3]}" -ge 90000 ]
	[ "${BASH_REMATCH[3]}" -le "${BASH_REMATCH[4]}" ]
}

@test "bench: another checksum where blocks overlap" {
	local name good
	overlapping
	# Without threads: what libc keeps of those would be overwritten, too
	for name in aligned batch calloc fragment lognormal mixed random \
		replay spawn strings; do
		result bare "$name"
		good=$sum
		ALLOC_SO=$BATS_TEST_TMPDIR/bad.so run pre "build/bench/$name"
		echo "overlapping: $status, $output"
		[ "$status" -eq 0 ]
		[[ "$output" == "$name checksum="* ]]
		[[ "$output" != *" checksum=$good "* ]]
	done
}

@test "bench: when memory is out, one line and status 1" {
	local under
	for under in bare pre; do
		run "$under" bash -c \
			'ulimit -v 50000; exec build/bench/fragment'
		echo "$under: $status, $output"
		[ "$status" -eq 1 ]
		[ "$output" = "fragment: malloc: Cannot allocate memory" ]
	done
}

# replayed CALLS - the trace, on both; it is replayed 3 or more times, CALLS
# each time, with those that free at its end what is left
replayed()
{
	agree replay "$trace"
	echo "$ops calls, $1 each time"
	[ "$ops" -eq $(((3 + 12000000 / $1) * $1)) ]
}

@test "bench: replay of a real trace" {
	local so=$BATS_TEST_TMPDIR/traced.so
	"${CC:-cc}" allocator.c -shared -fPIC -DLOGGER=0 -o "$so"
	ALLOC_SO=$so ALLOC_TRACE=$trace pre ls -R /usr/include >/dev/null
	[ "$(wc -l <"$trace")" -ge 1000 ]
	replayed "$(awk '$3 == "+" { n += 2 } $3 == ">" { n++ }
		END { print n }' "$trace")"
}

@test "bench: replay of threads, reallocs and blocks from elsewhere" {
	# 0x10 is another thread's as soon as it is freed by a realloc; 0x50 is
	# freed by a realloc to size 0; nobody knows where 0x90 came from
	cat >"$trace" <<-END
	= Start
	@ [0x1] + 0x10 0x20 tid=1
	@ [0x1] < 0x10 tid=1
	@ [0x2] + 0x10 0x8 tid=2
	@ [0x1] > 0x50 0x40 tid=1
	@ [0x1] ! 0x50 0xffffffffffff tid=1
	@ [0x1] ! (nil) 0xffffffffffff tid=1
	@ [0x2] - 0x10 tid=2
	@ [0x1] < 0x50 tid=1
	@ [0x1] + 0x50 0x3000 tid=1
	@ [0x2] - 0x90 tid=2
	@ [0x2] < 0xa0 tid=2
	@ [0x2] > 0xb0 0x1 tid=2
	@ [0x2] + 0xc0 0x0 tid=2
	= End
	END
	replayed 11
	# of glibc, and with no callers at all
	cat >"$trace" <<-END
	= Start
	@ ./a.out:(main+0x1a)[0x401156] + 0x10 0x20
	@ ./a.out:[0x401156] < 0x10
	@ ./a.out:[0x401156] > 0x50 0x40
	+ 0x10 0x400
	- 0x50
	END
	replayed 5
}

# refused LINE - what is in the trace; one line about it, and status 2
refused()
{
	run bare build/bench/replay "$trace"
	echo "$status, $output"
	[ "$status" -eq 2 ]
	[ "${#lines[@]}" -eq 1 ]
	[[ "$output" == "replay: $trace${1:+:$1}: "* ]]
}

@test "bench: replay refuses what is no trace" {
	local line
	for line in hello "@ [0x1] + 0x10" "@ [0x1] + 0x10 20" "@ [0x1] - 0x" \
		"@ [0x1] + 0x1g 0x20" "@ [0x1] ? 0x10 0x20" "@ [0x1]" "@ " "" \
		"@ [0x1] + 0x0 0x10" "@ [0x1] - 0x11112222333344445" \
		"@ [0x1] > 0x10 0x20" "@ [0x1] + 0x50 0x20"; do
		printf '= Start\n@ [0x1] + 0x50 0x20\n%s\n- 0x50\n' "$line" \
			>"$trace"
		echo "'$line'"
		refused 3
	done
	printf '= Start\n@ [0x1] + 0x50 0x20\n@ [0x1] - 0x5' >"$trace"
	refused 3
	printf '= Start\n= End\n' >"$trace"
	refused
	: >"$trace"
	refused
	cp /bin/ls "$trace"
	refused 1
	rm "$trace"
	refused
	mkdir "$trace"
	refused
	run bare build/bench/replay /dev/null /dev/null
	[ "$status" -eq 2 ]
	[ "$output" = "usage: replay [FILE]" ]
}
