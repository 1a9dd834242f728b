# make install, and what comes with it: the header, and the manual page, which
# both say what the sources say, too, and have to agree with them.
#
# shellcheck disable=SC2030,SC2031 # status and output are those of this test

load lib

PAGE=doc/alloc.1
HEADER=include/allocator.h

setup_file()
{
	export USR=$BATS_FILE_TMPDIR/usr
	make -s install PREFIX=/usr DESTDIR="$BATS_FILE_TMPDIR"
}

# workloads - the names of all of them
workloads()
{
	basename -s .c bench/*.c
}

@test "install: all is in its place, and nothing else" {
	local name
	{
		echo "755 bin/alloc"
		echo "644 include/allocator.h"
		echo "755 lib/allocator/allocator.so"
		echo "777 lib/allocator/liballocator.so.1"
		echo "644 lib/liballocator.a"
		echo "777 lib/liballocator.so"
		echo "777 lib/liballocator.so.1"
		echo "644 libexec/allocator/about.txt"
		for name in $(workloads); do
			echo "755 libexec/allocator/$name"
		done
		echo "644 share/man/man1/alloc.1"
	} | sort >"$BATS_TEST_TMPDIR/expected"
	find "$USR" ! -type d -printf '%m %P\n' | sort >"$BATS_TEST_TMPDIR/got"
	same "$BATS_TEST_TMPDIR/expected" "$BATS_TEST_TMPDIR/got"
	cmp "$HEADER" "$USR/include/allocator.h"
	cmp "$PAGE" "$USR/share/man/man1/alloc.1"
}

@test "install: make uninstall leaves nothing but what others put there" {
	local dir=$BATS_TEST_TMPDIR/usr
	cp -a "$USR" "$dir"
	touch "$dir/bin/other" "$dir/libexec/allocator/other"
	make -s uninstall PREFIX= DESTDIR="$dir"
	[ "$(cd "$dir" && find . ! -type d | sort | tr '\n' ' ')" = \
		"./bin/other ./libexec/allocator/other " ]
}

# linked OUT FLAGS... - a program that is linked to the library
linked()
{
	echo '#include <stdlib.h>
		int main(void) { return !malloc(1); }' |
		"${CC:-cc}" -fno-builtin -x c - -x none "${@:2}" -o "$1"
}

# serves PROGRAM - the library does, wherever it is run from
serves()
{
	ALLOC_HELP=1 run bare env -C / "$1"
	echo "$output"
	[ "$status" -eq 0 ]
	[[ "$output" == *"allocator: ALLOC_THRESH="* ]]
	[[ "$output" != *"not in use"* ]]
}

# gperftools #279, symengine PR 453: no name, or none to link by
@test "install: a program is linked to the library by its name or its file" {
	local p=$BATS_TEST_TMPDIR/p
	linked "$p" -L"$USR/lib" -lallocator -Wl,-rpath,"$USR/lib"
	readelf -d "$p" | grep -q 'NEEDED.*\[liballocator.so.1\]'
	serves "$p"
	cd "$USR"
	linked "$p" lib/allocator/allocator.so -Wl,-rpath,"$USR/lib/allocator"
	serves "$p"
	linked "$p" lib/liballocator.so -Wl,-rpath,"$USR/lib"
	serves "$p"
}

# incubator-pegasus PR 1858, kaldi #3271: it comes along, or by way of another
@test "install: a program brings the library along; a library finds it" {
	local dir=$BATS_TEST_TMPDIR
	mkdir "$dir/lib"
	cp "$USR/lib/liballocator.so.1" "$dir/lib"
	linked "$dir/p" -L"$USR/lib" -lallocator -Wl,-rpath,'$ORIGIN/lib'
	mv "$USR/lib" "$USR/gone"
	serves "$dir/p"
	mv "$USR/gone" "$USR/lib"
	echo 'int other(void) { return 0; }' | "${CC:-cc}" -x c - -x none \
		-shared -fPIC -Wl,--no-as-needed -L"$USR/lib" -lallocator \
		-Wl,-rpath,"$USR/lib" -o "$dir/libother.so"
	linked "$dir/p" -Wl,--no-as-needed -L"$dir" -lother \
		-Wl,-rpath,"$dir" -Wl,-rpath-link,"$USR/lib"
	# behind the program's own libc it serves nobody, and says so
	ALLOC_HELP=1 run bare "$dir/p"
	echo "$output"
	[ "$status" -eq 0 ]
	[[ "$output" == *"not in use, malloc is that of libc.so.6+0x"* ]]
}

# mapped ALLOC - the library that a program has which ALLOC runs
mapped()
{
	bare "$1" run cat /proc/self/maps | awk '/allocator/ { print $6 }' |
		sort -u
}

@test "install: the tool finds its library, wherever it is called from" {
	local so=$USR/lib/allocator/allocator.so
	[ "$(mapped "$USR/bin/alloc")" = "$so" ]
	cd /
	[ "$(mapped "$USR/bin/alloc")" = "$so" ]
	ln -s "$USR/bin/alloc" "$BATS_TEST_TMPDIR/alloc"
	[ "$(mapped "$BATS_TEST_TMPDIR/alloc")" = "$so" ]
	PATH=$BATS_TEST_TMPDIR:$PATH
	[ "$(mapped alloc)" = "$so" ]
}

@test "install: the tool finds its workloads, each with a sentence" {
	local dir=$BATS_TEST_TMPDIR
	workloads >"$dir/expected"
	cd /
	bare "$USR/bin/alloc" bench --list >"$dir/list"
	awk 'NF > 4 && /\.$/ { print $1 }' "$dir/list" | LC_ALL=C sort \
		>"$dir/got"
	same "$dir/expected" "$dir/got"
	run bare "$USR/bin/alloc" bench --only pair --with allocator \
		--runs 1 --warmup 0 --prewarm 0
	echo "$output"
	[ "$status" -eq 0 ]
	[[ "$output" == *"time "*"glibc"*"allocator"*"pair "* ]]
}

# -- the header

# compiles STANDARD CC... - the header in every order with those it completes
compiles()
{
	local std=$1 order name source=$BATS_TEST_TMPDIR/order.c
	shift
	need "$1"
	for order in allocator "allocator stdlib malloc" \
		"stdlib malloc allocator" "malloc allocator stdlib"; do
		for name in $order; do
			echo "#include <$name.h>"
		done >"$source"
		echo 'const char *version = ALLOCATOR_VERSION;' >>"$source"
		echo "$* -std=$std: $order"
		"$@" -std="$std" -Wall -Wextra -Werror -pedantic -Wundef \
			-Wredundant-decls -I "$USR/include" \
			-fsyntax-only "$source"
	done
}

# compiles_with CC - in each standard that programs are written in
compiles_with()
{
	local std
	for std in c11 gnu11 c2x; do
		compiles $std "$1"
	done
	for std in c++17 c++20; do
		compiles $std "$1" -x c++
	done
}

@test "install: the header compiles as C and C++ with gcc" {
	compiles_with gcc
}

@test "install: the header compiles as C and C++ with clang" {
	compiles_with clang
}

@test "install: the header compiles as C and C++ on musl" {
	compiles_with musl-gcc
}

# As a later glibc has them in <stdlib.h>
later()
{
	cat <<-'END'
	#include <stdlib.h>
	__BEGIN_DECLS
	extern void free_sized (void *__p, size_t __n) __THROW;
	extern void free_aligned_sized (void *__p, size_t __align, size_t __n)
	     __THROW;
	__END_DECLS
	END
}

@test "install: the header agrees with a libc that has what it declares" {
	local cc dir=$BATS_TEST_TMPDIR
	{ later && echo '#include <allocator.h>'; } >"$dir/before.c"
	{ echo '#include <allocator.h>' && later; } >"$dir/after.c"
	for cc in "gcc -std=c2x" "gcc -std=c++17 -x c++" "clang -std=c2x" \
		"clang -std=c++17 -x c++"; do
		command -v "${cc%% *}" >/dev/null || continue
		echo "$cc"
		# shellcheck disable=SC2086 # options
		$cc -Wall -Wextra -Werror -pedantic -fsyntax-only \
			-I "$USR/include" "$dir/before.c"
		# shellcheck disable=SC2086 # options
		$cc -Wall -Wextra -Werror -pedantic -fsyntax-only \
			-I "$USR/include" "$dir/after.c"
	done
}

# What the header promises of the functions it declares, and some others
contract()
{
	cat <<-'END'
	#include <allocator.h>
	#include <errno.h>
	#include <stdint.h>
	#include <string.h>

	#define CHECK(x) ((x) ? (void)0 : (puts(#x), exit(1)))

	/* The compiler is not to know what is freed. */
	static void *volatile p, *volatile q;
	static volatile size_t half = SIZE_MAX / 2 + 1;

	static void freeing(void)
	{
		p = malloc(100);
		q = aligned_alloc(64, 10);
		CHECK(p && (uintptr_t)p % 16 == 0);
		CHECK(q && (uintptr_t)q % 64 == 0);
		CHECK(malloc_usable_size(p) >= 100 && !malloc_usable_size(0));
		errno = 7;
		free_sized(p, 100);
		free_aligned_sized(q, 64, 10);
		free_sized(NULL, 1);
		free_aligned_sized(NULL, 1, 1);
		p = malloc(0);
		CHECK(p);
		cfree(p);
		p = malloc(9);
		CHECK(!realloc(p, 0) && errno == 7);
	}

	static void failing(void)
	{
		CHECK(!malloc(half) && errno == ENOMEM);
		CHECK(!calloc(half, 2) && errno == ENOMEM);
		CHECK(!aligned_alloc(24, 8) && errno == EINVAL);
		CHECK((p = memalign(24, 8)) && (uintptr_t)p % 32 == 0);
		CHECK(!realloc(p, half) && malloc_usable_size(p) >= 8);
		free(p);
	}

	static void asking(void)
	{
		CHECK((p = pvalloc(1)) && malloc_usable_size(p) >= 4096);
		CHECK((uintptr_t)p % 4096 == 0);
		free(p);
		p = malloc(8 << 20);
		memset(p, 1, 8 << 20);
		free(p);
		CHECK(malloc_trim(0) == 1 && malloc_trim(0) == 0);
		CHECK(mallopt(1, 0) == 1 && mallopt(-8, 0) == 1);
		CHECK(mallopt(0, 0) == 0 && mallopt(2, 0) == 0);
		CHECK(mallopt(-6, 1) == 0 && mallopt(-6, 0) == 1);
		CHECK(malloc_info(1, stdout) == EINVAL);
		CHECK(malloc_info(0, stdout) == 0);
		malloc_stats();
	}

	int main(void)
	{
		freeing();
		failing();
		asking();
		return 0;
	}
	END
}

# kept PROGRAM - it finds the contract kept, and writes what it should
kept()
{
	local dir=$BATS_TEST_TMPDIR
	bare "$1" >"$dir/out" 2>"$dir/err" || {
		cat "$dir/out" "$dir/err"
		return 1
	}
	[[ "$(head -n 1 "$dir/out")" == "<malloc version="* ]]
	[ "$(tail -n 1 "$dir/out")" = "</malloc>" ]
	[ "$(wc -l <"$dir/err")" -eq 1 ]
	[[ "$(cat "$dir/err")" == "allocator["*"] system="* ]]
}

@test "install: a program of the header runs on the installed library" {
	local dir=$BATS_TEST_TMPDIR
	contract >"$dir/use.c"
	"${CC:-cc}" -std=c2x -Wall -Wextra -Werror -fno-builtin \
		-I "$USR/include" "$dir/use.c" \
		-L"$USR/lib" -lallocator -Wl,-rpath,"$USR/lib" -o "$dir/use"
	kept "$dir/use"
}

@test "install: the same on musl, with the allocator linked in" {
	need musl-gcc
	local dir=$BATS_TEST_TMPDIR
	contract >"$dir/use.c"
	musl-gcc -std=c2x -Wall -Wextra -Werror -fno-builtin -c \
		-I "$USR/include" "$dir/use.c" -o "$dir/use.o"
	musl-gcc -std=gnu11 -static -DLOGGER=0 -DTRACE_ON=0 allocator.c \
		"$dir/use.o" -o "$dir/use"
	kept "$dir/use"
}

@test "install: the header has the version of the library" {
	local version
	version=$(sed -n 's/^#define VERSION "\(.*\)"$/\1/p' src/base.h)
	[ -n "$version" ]
	grep -qxF "#define ALLOCATOR_VERSION \"$version\"" \
		"$USR/include/allocator.h"
	ALLOC_HELP=1 pre true 2>&1 |
		grep -q "^allocator: version ${version//./\\.},"
}

# -- the manual page

@test "install: the manual page is without fault" {
	need mandoc
	run mandoc -Tlint -W warning "$USR/share/man/man1/alloc.1"
	echo "$output"
	[ "$status" -eq 0 ]
	[ -z "$output" ]
}

# The options that the help of a subcommand names, one a line
in_help()
{
	bare ./alloc "$1" --help | grep -E '^ +-' |
		grep -oE '(^|[ ,])--?[a-z][a-z-]*' | tr -d ' ,' | sort -u
}

# The same of its section in the page
in_page()
{
	awk -v name="$1" '/^\.S[sh]/ { on = $0 == ".Ss " name } on' $PAGE |
		grep '^\.It Fl' | grep -oE '(Fl|,) -?[a-z][a-z-]*' |
		sed 's/.* /-/' | sort -u
}

@test "install: the page has the options of the help, and no others" {
	local sub dir=$BATS_TEST_TMPDIR
	for sub in run sweep compare bench bars; do
		echo "$sub"
		in_help $sub >"$dir/help"
		in_page $sub >"$dir/page"
		grep -qx -e --help "$dir/help"
		same "$dir/help" "$dir/page"
	done
}

@test "install: the page has all subcommands" {
	local dir=$BATS_TEST_TMPDIR
	bare ./alloc help | sed -n 's/^  \([a-z]*\) .*/\1/p' >"$dir/help"
	sed -n 's/^\.Ss //p' $PAGE >"$dir/page"
	same "$dir/help" "$dir/page"
}

# described NAME DEFAULT MAX [MIN] - it is in the header's table, that of the
# README, and the page, with the same default
described()
{
	local page
	echo "$1, $2, ${4:-0} to $3"
	grep -q "^| \`$1\` | $2 *| " README.md
	page=$(sed -n "/^\.It Ev $1\$/,/^\.\(It Ev\|El\)/p" $PAGE |
		sed '1d;$d' | tr '\n' ' ')
	[ -n "$page" ]
	[ -n "$3" ] || {
		grep -qE "^ \*	$1 +file " $HEADER
		return
	}
	grep -qE "\b$2(, the| by) default\b" <<<"$page"
	grep -qE "^ \*	$1 +${4:-0}(,| to) $3 +$2 " $HEADER
}

@test "install: README, header and page have every variable of the library" {
	level_1 # the default is what is looked for
	local line name value max min n=0 dir=$BATS_TEST_TMPDIR
	local form='^allocator: (ALLOC_[A-Z]+)=([0-9]*) .*$'
	# not ALLOC_HELP itself: its value is not the default here
	ALLOC_HELP=1 pre true 2>&1 | grep ALLOC_ | grep -v ALLOC_HELP \
		>"$dir/help"
	while read -r line; do
		[[ "$line" =~ $form ]]
		name=${BASH_REMATCH[1]} value=${BASH_REMATCH[2]} max=
		[ -z "$value" ] || max=${line##* }
		min=${line% to *} min=${min##* }
		described "$name" "$value" "$max" "$min"
		n=$((n + 1))
	done <"$dir/help"
	described ALLOC_HELP 0 1
	[ $n -ge 4 ]
	# and none that it has not
	run bash -c "grep -ohE 'ALLOC_[A-Z]+' $HEADER $PAGE | sort -u | wc -l"
	[ "$output" -eq $((n + 1)) ]
	[ "$(grep -cE '^\| `ALLOC_[A-Z]+` \|' README.md)" -eq $((n + 1)) ]
}
