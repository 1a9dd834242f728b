# alloc bars: what it draws of a data file, and what it says of a bad one.
#
# The golden files hold whole pages, as drawn for 40 and 80 columns with and
# without UTF-8:
#
#	UPDATE=1 test/run test/bars.bats
#
# writes those anew after a change that was meant. Whether the bars have the
# right length and fit is computed here.
#
# shellcheck disable=SC2030,SC2031 # variables are those of one test

load lib

setup_file()
{
	make -s alloc
}

setup()
{
	unset NO_COLOR COLUMNS LC_CTYPE LANG
	export LC_ALL=C
	data=$BATS_TEST_TMPDIR/data
	err=$BATS_TEST_TMPDIR/err
}

# given LINE... - is the data file of this test
given()
{
	printf '%s\n' "$@" >"$data"
}

# bars OPTION... - draws it
bars()
{
	bare "$ROOT/alloc" bars "$@" "$data"
}

# golden NAME OPTION... - draws it in four ways, as in the golden file
golden()
{
	local file=test/golden/bars/$1.txt now=$BATS_TEST_TMPDIR/now n locale
	for n in 40 80; do
		for locale in C.UTF-8 C; do
			echo "== COLUMNS=$n LC_ALL=$locale: bars${2:+ ${*:2}}"
			COLUMNS=$n LC_ALL=$locale bars "${@:2}"
		done
	done >"$now"
	if [ "${UPDATE:-}" = 1 ]; then
		mkdir -p "$(dirname "$file")"
		cp "$now" "$file"
	fi
	same "$file" "$now"
}

# values NUMBER... - how they are printed, side by side; OPTIONS go to bars
values()
{
	printf 'x,%s\n' "$@" >"$data"
	bars --width 1 "${OPTIONS[@]}" |
		sed 's/^x//; s/[#|<>]//g; s/^ *//' | paste -sd ' '
}

# is EXPECTED ACTUAL
is()
{
	[ "$1" = "$2" ] && return 0
	printf 'expected: %s\ngot:      %s\n' "$1" "$2"
	return 1
}

# refused MESSAGE OPTION... - one line on standard error, nothing drawn, 2
refused()
{
	local status=0 out
	out=$(bare "$ROOT/alloc" bars "${@:2}" 2>"$err" </dev/null) || status=$?
	is "alloc: $1" "$(cat "$err")"
	is "" "$out"
	is 2 "$status"
}

# bad MESSAGE LINE... - the same for a file of these lines
bad()
{
	printf '%b\n' "${@:2}" >"$data"
	refused "$data:$1" "${OPTIONS[@]}" "$data"
}

# wide - columns of the widest line
wide()
{
	LC_ALL=C.UTF-8 wc -L
}

# on_terminal COLUMNS COMMAND - as shown on a terminal that wide
on_terminal()
{
	script -qec "stty cols $1; $2" /dev/null </dev/null | tr -d '\r'
}

plain=("2007,183.32" "2008,231.23" "2009,16.43" "2010,50.21" "2011,508.97"
	"2012,212.05" "2014,1")
several=("@ Boys,Girls" "2007,183.32,190.52" "2008,231.23,5.0"
	"2009,16.43,53.1" "2010,50.21,7" "2011,508.97,10.45")
odd=("not a number,nan" "infinite,inf" "below,-inf" "ten,10" "five,5")

# -- pages

@test "bars: one series" {
	given "# Example" "" "${plain[@]}"
	golden plain
}

@test "bars: several series" {
	given "${several[@]}"
	golden several
}

@test "bars: several series without names" {
	given "${several[@]:1}"
	golden nameless
}

@test "bars: more series than there are kinds of bars" {
	given "@ one,two,three,four,five,six,seven,eight,nine" \
		"a,1,2,3,4,5,6,7,8,9" "b,9,8,7,6,5,4,3,2,1"
	golden many
}

@test "bars: negative numbers" {
	given "up,12" "down,-9" "nothing,0" "little,-0.01" "half,-4.6" "one,1"
	golden negative
}

@test "bars: only negative numbers" {
	given "a,-1.5" "b,-3" "c,-0.25"
	golden below
}

@test "bars: nothing but zero" {
	given "a,0" "b,0.0" "c,-0"
	golden zero
}

@test "bars: numbers of all sizes" {
	given "none,0" "part,0.98" "nano,1e-9" "minus,-250.5" "edge,999.9996"
	golden sizes
}

@test "bars: large numbers" {
	given "peta,1e15" "exa,1e18" "bytes,1099511627776" "one,1"
	golden large
}

@test "bars: infinite, and not a number" {
	given "${odd[@]}"
	golden odd
}

@test "bars: infinite, and not a number, and nothing else" {
	given "${odd[@]:0:3}"
	golden oddest
}

@test "bars: labels in UTF-8" {
	given "Zürich,3" "Αθήνα,5" "Plain,4" "東京,2"
	golden utf8
}

@test "bars: long labels are cut" {
	given "a label which has far more letters than there is room for,7" \
		"$(printf 'ü%.0s' {1..70}),14" "short,3"
	golden long
}

@test "bars: title and suffix" {
	given "${plain[@]}"
	golden title --title "Sales per year" --suffix " M€"
}

@test "bars: sorted" {
	given "a,3" "none,nan" "b,-2" "c,10" "first 3,3" "d,inf"
	golden sort --sort
}

@test "bars: several series, sorted by the first" {
	given "${several[@]}"
	golden sort-several --sort
}

@test "bars: without labels" {
	given "${several[@]}"
	golden no-labels --no-labels
}

@test "bars: without values" {
	given "${plain[@]}" "zero,0"
	golden no-values --no-values
}

@test "bars: neither labels nor values" {
	given "${plain[@]}"
	golden bare --no-labels --no-values
}

@test "bars: a custom tick" {
	given "${several[@]}"
	golden tick --custom-tick ▲
}

@test "bars: a custom tick of several characters" {
	given "${plain[@]}" "minus,-300"
	golden ticks --custom-tick '<=>'
}

@test "bars: a tick that another series has already" {
	given "a,1,2"
	is "a = 1:  ## 2:" "$(bars --width 2 --custom-tick = | tr '\n' :)"
}

@test "bars: a given width" {
	given "a label longer than forty columns, all of which is there;3" \
		"b;12" "c;-6"
	golden width --width 24 --delim ';'
}

@test "bars: a given format" {
	given "${plain[@]}"
	golden format --format '%8.3f%%'
}

# -- the length of a bar

@test "bars: a cell for each unit" {
	local i
	for i in {1..100}; do
		echo "x,$i"
	done >"$data"
	bars --width 100 --no-labels --no-values |
		awk '{ print length($0) } !/^#+$/ { exit 1 }' >"$err"
	is "$(seq 100)" "$(cat "$err")"
}

@test "bars: in UTF-8 an eighth of a cell for each unit" {
	local i part=("" ▏ ▎ ▍ ▌ ▋ ▊ ▉) full=██████████
	export LC_ALL=C.UTF-8
	for i in {1..80}; do
		echo "x,$i"
	done >"$data"
	for i in {1..80}; do
		echo "${full:0:i / 8}${part[i % 8]}"
	done >"$err"
	bars --width 10 --no-labels --no-values >"$data.out"
	is 80 "$(wc -l <"$data.out")"
	same "$err" "$data.out"
}

@test "bars: left of zero they end on the left, in the same column" {
	given "a,-8" "b,-4" "c,4" "d,-2.5" "e,-2.2" "f,-0.1"
	LC_ALL=C.UTF-8 bars --width 8 --no-labels --no-values >"$data.out"
	printf '%s\n' "████████" "    ████" "        ████" "     ▐██" \
		"     ▕██" "       ▕" >"$err"
	same "$err" "$data.out"
}

@test "bars: something of a number is to be seen, nothing of 0" {
	given "a,1000" "b,0.001" "c,0" "d,-0.001"
	is "########## | |" "$(bars --width 10 --no-labels --no-values |
		awk '{ $1 = $1 } $0 != ""' | paste -sd ' ')"
	is 4 "$(bars --width 10 --no-labels --no-values | wc -l)"
	is "██████████ ▏ ▕" "$(LC_ALL=C.UTF-8 bars --width 10 --no-labels \
		--no-values | awk '{ $1 = $1 } $0 != ""' | paste -sd ' ')"
}

# A bar of 1e308 must not take the sum of two extremes beyond all numbers.
@test "bars: the largest and smallest numbers there are" {
	given "a,1.7e308" "b,-1.7e308" "c,-0.85e308"
	is "8 8 4" "$(bars --width 8 --no-labels --no-values |
		awk '{ print gsub(/#/, "") }' | paste -sd ' ')"
	given "a,4e-320" "b,2e-320"
	is "8 4" "$(bars --width 8 --no-labels --no-values |
		awk '{ print gsub(/#/, "") }' | paste -sd ' ')"
}

@test "bars: infinite ones and those which are no number have no scale" {
	given "a,8" "b,4" "c,inf" "d,-inf" "e,nan" "f,-nan"
	bars --width 8 >"$data.out"
	printf '%s\n' "a         ######## 8" "b         #### 4" \
		"c         #######> inf" "d <####### -inf" \
		"e          nan" "f          nan" >"$err"
	same "$err" "$data.out"
}

# -- what fits

@test "bars: a page is as wide as COLUMNS, never wider" {
	local n
	given "a label of some length,3" "b,12.50" "c,7.25" "d,0.5"
	for n in {40..120}; do
		is "$n" "$(COLUMNS=$n LC_ALL=C.UTF-8 bars | wide)"
		is "$n" "$(COLUMNS=$n bars | wide)"
	done
	# One step of scale may be a cell to the left and one to the right.
	given "a label of some length,-3" "b,12.50" "c,7.25" "d,0.5"
	for n in {43..120}; do
		for LC_ALL in C C.UTF-8; do
			width=$(COLUMNS=$n bars | wide)
			echo "$width of $n"
			[ "$width" -le "$n" ] && [ "$width" -ge $((n - 1)) ]
		done
	done
}

@test "bars: labels give way, but bars keep 10 cells" {
	local n
	given "a label of some length,12.50" "b,1.25"
	for n in {17..38}; do
		is "$n 10" "$n $(COLUMNS=$n bars | head -n 1 | tr -dc '#' |
			wc -c)"
		[ "$n" -lt 18 ] || is "$n" "$(COLUMNS=$n bars | wide)"
	done
	is "~ ##########" "$(COLUMNS=1 bars --no-values | head -n 1)"
}

@test "bars: names of series that don't fit in one line" {
	local i
	{
		printf '@ '
		for i in {1..39}; do
			printf 'series number %d,' "$i"
		done
		printf '%0100d\nx' 0
		printf ',%d' {1..40}
		echo
	} >"$data"
	is 50 "$(COLUMNS=50 bars | wide)"
	is 39 "$(COLUMNS=50 bars | grep -o 'series number' | wc -l)"
}

@test "bars: the size of a terminal, unless COLUMNS says otherwise" {
	need script stty
	given "a,12.50" "b,7.25"
	is 57 "$(on_terminal 57 "'$ROOT/alloc' bars '$data'" | wide)"
	is 103 "$(on_terminal 103 "'$ROOT/alloc' bars '$data'" | wide)"
	is 44 "$(on_terminal 57 "COLUMNS=44 '$ROOT/alloc' bars '$data'" |
		wide)"
	is 80 "$(bars | wide)"
	is 80 "$(COLUMNS='' bars | wide)"
	is 80 "$(COLUMNS=-5 bars | wide)"
	is 80 "$(COLUMNS=wide bars | wide)"
}

@test "bars: no line ends in a blank" {
	given "long label,0" "b,nan" ",-3" "c,5"
	is 4 "$(bars --no-values | wc -l)"
	is 0 "$(bars --no-values | grep -c ' $')"
	is 0 "$(bars --no-values --no-labels | grep -c ' $')"
}

# -- the text of a value

@test "bars: a number alone" {
	OPTIONS=()
	is 0 "$(values 0)"
	is 0 "$(values -0.0)"
	is 0.98 "$(values 0.98)"
	is 1e-9 "$(values 1e-9)"
	is -1e-9 "$(values -1e-9)"
	is 1000.00 "$(values 999.9996)"
	is 999.99 "$(values 999.99)"
	is -12.5 "$(values -12.5)"
	is 0.33333 "$(values 0.33333333333)"
	is 123457 "$(values 123456.78)"
	is 999999999999999 "$(values 999999999999999)"
	is 1e15 "$(values 1e15)"
	is 1.2346e17 "$(values 123456789012345678)"
	is 1e18 "$(values 1e18)"
	is 1.7977e308 "$(values 1.7976931348623157e308)"
	is "nan nan inf -inf inf" "$(values nan -nan inf -inf Infinity)"
}

@test "bars: numbers together have as many decimals" {
	OPTIONS=()
	is "183.32 231.23 16.43 1.00" "$(values 183.32 231.23 16.43 1)"
	is "0.5000 1.3333 2.0000" "$(values 0.5 1.33333333 2)"
	is "3 500 1024" "$(values 3 500 1024)"
	is "0.980 12.300 1500.251" "$(values 0.98 12.3 1500.2512)"
	is "0.98 12345.60" "$(values 0.98 12345.6)"
	is "0.00 nan 0.25 inf" "$(values 0 nan 0.25 inf)"
}

@test "bars: what others make too small to see has an exponent" {
	OPTIONS=()
	is "0.98 1e-9" "$(values 0.98 1e-9)"
	is "1e15 0.98 1e-9 -2.5e-7" "$(values 1e15 0.98 1e-9 -2.5e-7)"
	is "300000000 0.98" "$(values 300000000 0.98)"
	is "0.00012346" "$(values 0.00012345678)"
	is "1.2346e-5" "$(values 0.000012345678)"
}

@test "bars: --format is printf's" {
	OPTIONS=(--format %.2f)
	is "0.98 1000.00 inf nan 0.00" "$(values 0.98 999.9996 inf -nan -0.0)"
	OPTIONS=(--format '%+.1e%%')
	is "+9.8e-01% -1.0e+03%" "$(values 0.98 -999.9996)"
	OPTIONS=(--format '%%%g')
	is "%0.5" "$(values 0.5)"
	OPTIONS=(--format '%a')
	is "0x1p-1" "$(values 0.5)"
	OPTIONS=(--format '%.0f' --suffix %d)
	is "3%d" "$(values 3)"
	OPTIONS=(--format '%.99f')
	is 409 "$(values 1e308 | tr -d '\n' | wc -c)"
}

@test "bars: --format may be Python's" {
	OPTIONS=(--format '{:<5.2f}')
	is "0.98 1000.00" "$(values 0.98 999.9996)"
	OPTIONS=(--format '={:e} s')
	is "=1.000000e+00 s" "$(values 1)"
}

@test "bars: --format takes one conversion of a number, nothing else" {
	local format
	given "a,1"
	for format in %d %s %n %x %ld %Lf %lf %hf %m %c %p %i '%*f' '%.*f' \
		'%1$f' '%f%f' %.2f%n '%' '%%' '' x '%5' '%.' '%100f' \
		'%.100f' "%'f" '% ' '{}' '{:}' '{:d}' '{:.2f' '{x:.2f}' \
		'{:.2f}{:.2f}' '{:.2f}%' '%s{:.2f}' '{:%s}'; do
		refused "bars: '$format' is not one conversion of a number, \
such as %.2f" --format "$format" "$data"
	done
}

# -- reading

# rows LABELS VALUES - are what is read from the data file
rows()
{
	COLUMNS=200 bars "${OPTIONS[@]}" >"$data.out"
	is "$1" "$(sed 's/ *[#|].*//' "$data.out" | paste -sd :)"
	is "$2" "$(sed 's/.*[#|] *//' "$data.out" | paste -sd :)"
}

@test "bars: blanks around, comments, empty lines, a last line cut short" {
	OPTIONS=()
	printf '\n \t\n# no,row\n  # nor this\n  a b\t , 1 \n,2\r\nc,3' >"$data"
	rows "a b::c" "1:2:3"
	printf '\xef\xbb\xbfa,1\n' >"$data"
	rows a 1
	# A byte order mark is one at the beginning only.
	printf 'a,1\n\xef\xbb\xbfb,2\n' >"$data"
	rows a:$'\xef\xbb\xbf'b 1:2
}

@test "bars: without a comma the numbers at the end are the values" {
	OPTIONS=()
	given "New York 5" "b	7  " "  c   x	9" "1 2"
	rows "New York:b:c   x:1" "5:7:9:2"
	given "@ x y" "some label 1 2" "b 3 4" "c,5,6"
	bars --width 6 >"$data.out"
	printf '%s\n' "# x  = y" "" \
		"some label # 1" "           == 2" "" \
		"b          ### 3" "           ==== 4" "" \
		"c          ##### 5" "           ====== 6" >"$err"
	same "$err" "$data.out"
}

@test "bars: another delimiter" {
	OPTIONS=(--delim ';')
	given "a, b;1" "c d ; 2"
	rows "a, b:c d" "1:2"
	OPTIONS=(--delim '\t')
	printf 'a 7,5\t1\n\t2\n' >"$data"
	rows "a 7,5:" "1:2"
	OPTIONS=(--delim $'\t')
	rows "a 7,5:" "1:2"
}

@test "bars: - is standard input, and options may follow" {
	given "a,1"
	is "a ##### 1 s" "$(bare "$ROOT/alloc" bars - --suffix ' s' --width 5 \
		<"$data")"
	is "a ##### 1" "$(bare "$ROOT/alloc" bars --width=5 -- "$data")"
}

@test "bars: controls and bytes that are no UTF-8 are shown as ?" {
	printf 'a\x1b[31m\x07\x7fb,1\nc\xff\xc3d\xe2\x82,1\n' >"$data"
	printf '\xc2\x9bm\xed\xa0\x80,1\n\xc0\xaf\xf4\x90\x80\x80,1\n' >>"$data"
	printf 'ü€😀,1\n' >>"$data"
	LC_ALL=C.UTF-8 bars --width 1 --title $'t\e[m' --suffix $'\r' \
		--custom-tick '#' >"$data.out"
	printf '%s\n' "t?[m" "" "a?[31m??b # 1?" "c??d??    # 1?" \
		"??m???    # 1?" "??????    # 1?" "ü€😀       # 1?" >"$err"
	same "$err" "$data.out"
}

@test "bars: which locale is UTF-8" {
	local set
	given "a,1"
	for set in LC_ALL=de_DE.UTF-8 LC_ALL=x.utf8 LC_CTYPE=C.UTF8 \
		LANG=en_US.Utf-8 "LC_ALL= LC_CTYPE= LANG=C.UTF-8"; do
		echo "$set"
		# shellcheck disable=SC2086 # one assignment a word
		is "a █ 1" "$(unset LC_ALL; bare env $set "$ROOT/alloc" bars \
			--width 1 "$data")"
	done
	for set in LC_ALL=C LC_ALL=de_DE.ISO-8859-1 "LC_ALL=C LANG=C.UTF-8" \
		"LC_CTYPE=POSIX LANG=C.UTF-8" A=; do
		echo "$set"
		# shellcheck disable=SC2086 # one assignment a word
		is "a # 1" "$(unset LC_ALL; bare env $set "$ROOT/alloc" bars \
			--width 1 "$data")"
	done
}

@test "bars: many rows" {
	seq 300000 | sed 's/.*/row &,&/' >"$data"
	COLUMNS=60 bars --sort >"$data.out"
	is 300000 "$(wc -l <"$data.out")"
	is "row 300000 $(printf '#%.0s' {1..42}) 300000" \
		"$(head -n 1 "$data.out")"
	is "row 1      | 1" "$(tail -n 1 "$data.out")"
}

@test "bars: long lines" {
	{
		printf 'l%.0s' {1..200000}
		echo ",1"
	} >"$data"
	is 80 "$(bars | wide)"
	is 200003 "$(bars --width 1 --no-values | wc -c)"
	given "x,$(seq -s , 100000)" "y $(seq -s ' ' 100000)"
	bars --no-labels --width 4 >"$data.out"
	is 200001 "$(wc -l <"$data.out")"
	is "---- 100000" "$(tail -n 1 "$data.out")"
	is "$(seq 100000)" "$(head -n 100000 "$data.out" | sed 's/.* //')"
	is "$(seq 100000)" "$(tail -n 100000 "$data.out" | sed 's/.* //')"
}

# -- colours

@test "bars: no escape sequences in a file or pipe" {
	given "${several[@]}"
	bars --color red,blue | cat >"$data.out"
	is 0 "$(grep -c $'\e' "$data.out")"
	bars | cat >"$err"
	same "$err" "$data.out"
}

@test "bars: colours on a terminal, by series" {
	need script stty
	given "@ x,y,z" "a,1,2,3"
	on_terminal 80 "'$ROOT/alloc' bars --width 3 --color red,blue '$data'" \
		>"$data.out"
	printf '%b\n' '\e[31m#\e[0m x  \e[34m#\e[0m y  \e[31m=\e[0m z' "" \
		'a \e[31m#\e[0m 1' '  \e[34m##\e[0m 2' '  \e[31m===\e[0m 3' \
		>"$err"
	same "$err" "$data.out"
}

@test "bars: each colour has its number" {
	need script stty
	local names=(black red green yellow blue magenta cyan white) i
	given "a,1"
	for i in {0..7}; do
		is $'a \e[3'"$i"$'m#\e[0m 1' "$(on_terminal 80 \
			"'$ROOT/alloc' bars --width 1 \
			--color ${names[i]} '$data'")"
	done
}

@test "bars: no colours unless asked for, none with NO_COLOR" {
	need script stty
	local command="'$ROOT/alloc' bars --width 1"
	given "a,1"
	is "a # 1" "$(on_terminal 80 "$command '$data'")"
	is "a # 1" "$(on_terminal 80 \
		"NO_COLOR=1 $command --color red '$data'")"
	is $'a \e[31m#\e[0m 1' "$(on_terminal 80 \
		"NO_COLOR= $command --color red '$data'")"
}

# -- errors

@test "bars: bad options are refused" {
	local see="see alloc bars --help" bad
	given "a,1"
	refused "bars: needs one FILE, $see"
	refused "bars: needs one FILE, $see" "$data" "$data"
	refused "bars: needs one FILE, $see" "$data" -- "$data"
	refused "bars: unknown option '--vertical', $see" "$data" --vertical
	refused "bars: unknown option '-x', $see" -x "$data"
	refused "bars: unknown option '-xy', $see" --sort -xy "$data"
	refused "bars: unknown option '--sort=1', $see" --sort=1 "$data"
	refused "bars: unknown option '--no-', $see" --no- "$data"
	refused "bars: --title needs a value" "$data" --title
	refused "bars: --custom-tick is empty" --custom-tick "" "$data"
	for bad in 0 -1 10001 abc 1x "" 1e3 99999999999999999999; do
		refused "--width '$bad' is not a number from 1 to 10000" \
			--width "$bad" "$data"
	done
	for bad in "" ab é; do
		refused "bars: delimiter '$bad' is not one character" \
			--delim "$bad" "$data"
	done
	for bad in pink Red "" "red " "red;blue"; do
		refused "bars: unknown color '$bad', not one of black red \
green yellow blue magenta cyan white" --color "$bad" "$data"
	done
	refused "bars: unknown color '', not one of black red \
green yellow blue magenta cyan white" --color "red,,blue" "$data"
	refused "bars: more than 32 colors" \
		--color "$(printf 'red,%.0s' {1..32})red" "$data"
}

@test "bars: files that can't be read are refused" {
	local dir=$BATS_TEST_TMPDIR
	refused "$dir/none: No such file or directory" "$dir/none"
	refused "$dir: Is a directory" "$dir"
	refused "$dir/a?b: No such file or directory" "$dir/a"$'\n'b
	: >"$data"
	refused "$data: no line with a label and a value" "$data"
	refused "standard input: no line with a label and a value" -
	printf '# a,1\n\n@ x\n' >"$data"
	refused "$data: no line with a label and a value" "$data"
}

@test "bars: bad lines are named" {
	OPTIONS=()
	bad "2: 'x' is not a number" a,1 b,x
	bad "1: '' is not a number" a,
	bad "1: '' is not a number" a,1,
	bad "3: '1.5.2' is not a number" "# b" "" a,1.5.2
	bad "1: '1 000' is not a number" "a,1 000"
	bad "1: 'France' is not a number" "Paris, France,3"
	bad "2: 'x' is not a number" "a 1" "b 1 x"
	bad "1: no value after 'abc'" abc
	bad "1: no value after '7'" 7
	bad "1: '1e999' is out of range" a,1e999
	bad "1: '-1e999' is out of range" "a -1e999 1"
	bad "1: '1e-999' is out of range" a,1e-999
	bad "2: 2 values, but the first row has 1" a,1 b,1,2
	bad "4: 1 value, but the first row has 3" a,1,2,3 "" "#" b,1
	bad "1: 1 series named, but each row has 2" "@ x" a,1,2
	bad "2: 3 series named, but each row has 1" a,1 "@ x,y,z"
	bad "3: the series have names already, from line 1" "@ x" a,1 "@ y"
	bad "2: not a line of text" a,1 'b\0,2'
	bad "1: 'x?[31m?' is not a number" 'a,x\e[31m\xff'
	bad "1: '$(printf 'x%.0s' {1..39})~' is not a number" \
		"a,$(printf 'x%.0s' {1..5000})"
	OPTIONS=(--delim ';')
	bad "1: no value after 'a,1'" a,1
	bad "1: 'b' is not a number" "a;b"
	printf 'a,1\nb,x\n' >"$data"
	OPTIONS=()
	is "alloc: standard input:2: 'x' is not a number" \
		"$(bare "$ROOT/alloc" bars - 2>&1 <"$data")"
}

@test "bars: output that can't be written is an error" {
	local status=0
	given "a,1"
	bars 2>"$err" >/dev/full || status=$?
	is 2 "$status"
	is "alloc: bars: cannot write to standard output" "$(cat "$err")"
	status=0
	bars --help 2>"$err" >/dev/full || status=$?
	is 2 "$status"
}

# -- help

@test "bars: --help names every option, and its example works" {
	local option
	run bare "$ROOT/alloc" bars --help
	is 0 "$status"
	[[ "${lines[0]}" == "Usage: alloc bars "* ]]
	for option in title width format suffix sort delim no-labels no-values \
		custom-tick color help; do
		echo "--$option"
		is 1 "$(grep -c -e "^      --$option\>" <<<"$output")"
	done
	is "" "$(awk 'length($0) > 79' <<<"$output")"
	grep -q '^Exit status: 0 .* 2 ' <<<"$output"
	option=$(sed -n 's/^  printf/printf/p' <<<"$output")
	is "printf" "${option%% *}"
	is 2 "$(PATH=$ROOT:$PATH COLUMNS=40 bash -c "$option" | grep -c '#')"
}
