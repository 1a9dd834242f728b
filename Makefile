# make            ./allocator.so, optimised; CC, CFLAGS, LOGGER, TRACE_ON to taste
# make plain      build/plain.so, by the one command without any flags
# make run        runs a program on the allocator: make run CMD='sort /etc/passwd'
# make check      installs what the tests need, then runs all of them
# make lint, make soak, make bench, make clean

CC      ?= cc
CFLAGS  ?= -O2
# 0: not in the library; 1: in it and on; empty: in it, switched on at run time
LOGGER   ?= 0
TRACE_ON ?= 0

WARN := -Wall -Wextra -Wshadow -Wundef -Wcast-qual -Wstrict-prototypes
NEED := -std=gnu11 -fPIC -shared
DEFS  = $(LOGGER:%=-DLOGGER=%) $(TRACE_ON:%=-DTRACE_ON=%)
# nodelete: a thread may outlive a dlclose() with its heap still to be parked
LINK := -Wl,-z,nodelete,-z,now,-z,relro,-z,defs,--hash-style=gnu

SRC     := allocator.c $(wildcard src/*.[ch] include/*.h)
BENCHES := $(patsubst bench/%.c,build/bench/%,$(wildcard bench/*.c))
BUILD    = $(CC) $(CFLAGS) $(NEED) $(WARN) $(DEFS) $(LDFLAGS) $(LINK)

# The program of `make run`, and in how many rounds it is compared with glibc
CMD  ?= find /usr
RUNS ?= 5
# Minutes for each part of `make soak`
SOAK ?= 5
export RUNS SOAK

all: allocator.so

# Put in place by one rename: programs may be starting on the old one
allocator.so: $(SRC) build/flags
	$(BUILD) allocator.c -o build/$@
	@mv -f build/$@ $@

# The command of the last build: other flags are a reason to build again
ifneq ($(strip $(BUILD)),$(strip $(shell cat build/flags 2>/dev/null)))
build/flags: FORCE
endif
build/flags:
	@mkdir -p build
	@echo '$(BUILD)' >$@

plain: build/plain.so
build/plain.so: $(SRC)
	@mkdir -p build
	cc allocator.c -shared -fPIC -DLOGGER=0 -DTRACE_ON=0 -o $@

run: compiler allocator.so build/launch
	@CMD='$(subst ','\'',$(CMD))' tools/runcost

# Static where libc.a is at hand: a small launcher keeps its own size out of
# the peak RSS that it reports
build/launch: tools/launch.c
	@mkdir -p build
	$(CC) -O1 $(WARN) -static $< -o $@ 2>/dev/null || \
		$(CC) -O1 $(WARN) $< -o $@

compiler:
	@command -v $(CC) >/dev/null || test/setup

check: setup
	@$(MAKE) --no-print-directory all plain
	@test/run

setup:
	@test/setup

lint:
	@tools/lint

soak: allocator.so
	@test/soak

bench: $(BENCHES)

build/bench/%: bench/%.c
	@mkdir -p build/bench
	$(CC) -O2 -std=gnu11 -fno-builtin -pthread $(WARN) $< -o $@

clean:
	rm -rf build allocator.so

FORCE:
.PHONY: all plain run compiler check setup lint soak bench clean FORCE
