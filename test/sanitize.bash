# shellcheck shell=bash
# test/sanitize.bash - for programs that have the allocator in them, under
# another name, and sanitizers: `load sanitize` after `load lib`.

# steady CMD... - bare, with the same addresses each time: sanitizers need some
# of their own to be free, and what failed is to fail again
steady()
{
	local still=(setarch -R)
	"${still[@]}" true 2>/dev/null || still=()
	bare "${still[@]}" "$@"
}

# with_allocator CC NAME FLAGS... FILES... - compiles to build/test/NAME, unless
# that is newer than all it is made of
with_allocator()
{
	local out=build/test/$2
	local parts=(allocator.c src test/test.h test/prefixed.[ch] "${@:3}")
	if [ -f "$out" ] && [ -z "$(find "${parts[@]/#-*/src}" \
		-newer "$out")" ]; then
		return 0
	fi
	"$1" -std=gnu11 -Wall -Wextra -g -pthread "${@:3}" test/prefixed.c \
		-o "$out.$$" && mv "$out.$$" "$out"
}

# A finding of UBSan ends the program, as those of the others do.
ASAN=(-O1 "-fsanitize=address,undefined" -fno-sanitize-recover=undefined)
TSAN=(-O1 -fsanitize=thread)
export ASAN TSAN
