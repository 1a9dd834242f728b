# make            ./allocator.so, optimised, ./alloc and the workloads;
#                 CC, CFLAGS, LOGGER, TRACE_ON to taste
# make liballocator.a   the same for static programs; install has it, too
# make plain      build/plain.so, by the one command without any flags
# make run        runs a program on the allocator: make run CMD='sort /etc/passwd'
# make check      installs what the tests need, then runs all of them; all with
#                 ALLOC_CHECK=3 when given CHECK=3, likewise 2
# make bench      measures the workloads, writes doc/benchmarks.md
# make install    library, tool, header and manual; PREFIX, DESTDIR to taste;
#                 make uninstall takes the same away
# make check-bare all of README's commands in a bare Debian 12; needs mmdebstrap
# make fuzz       random calls by libFuzzer and AFL++, for MINUTES each
# make lint, make soak, make clean

CC      ?= cc
CFLAGS  ?= -O2
# 0: not in the library; 1: in it and on; empty: in it, switched on at run time
LOGGER   ?= 0
TRACE_ON ?= 0

WARN := -Wall -Wextra -Wshadow -Wundef -Wcast-qual -Wstrict-prototypes
NEED := -std=gnu11 -fPIC -shared
DEFS  = $(LOGGER:%=-DLOGGER=%) $(TRACE_ON:%=-DTRACE_ON=%)
# nodelete: a thread may outlive a dlclose() with its heap still to be parked;
# initfirst: fork handlers that others register run before ours
LINK := -Wl,-z,nodelete,-z,initfirst,-z,now,-z,relro,-z,defs,-z,noseparate-code,--hash-style=gnu

SRC     := allocator.c $(wildcard src/*.[ch] include/*.h)
TOOL    := $(wildcard tools/*.c)
BENCHES := $(patsubst bench/%.c,build/bench/%,$(wildcard bench/*.c))
BUILD    = $(CC) $(CFLAGS) $(NEED) $(WARN) $(DEFS) $(LDFLAGS) $(LINK)

# The program of `make run`, and in how many rounds it is compared with glibc
CMD  ?= find /usr
RUNS ?= 5
# Minutes for each of the five parts of `make soak`
SOAK ?= 6
# Minutes for each fuzzer of `make fuzz`
MINUTES ?= 10
export RUNS SOAK

PREFIX ?= /usr/local
TO      = '$(DESTDIR)$(PREFIX)'

all: allocator.so alloc workloads

# Put in place by one rename: programs may be starting on the old one
allocator.so: $(SRC) build/flags
	$(BUILD) allocator.c -o build/$@
	@mv -f build/$@ $@

liballocator.a: $(SRC) build/flags
	$(CC) $(CFLAGS) $(filter-out -shared -fPIC,$(NEED)) -fPIE $(WARN) $(DEFS) \
		-c allocator.c -o build/allocator.o
	@rm -f $@
	$(AR) rcs $@ build/allocator.o

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

# The same with a name, under which programs that are linked to it look for it
SONAME := liballocator.so.1
build/$(SONAME): $(SRC) build/flags
	$(BUILD) -Wl,-soname,$(SONAME) allocator.c -o $@

run: compiler allocator.so alloc
	@CMD='$(subst ','\'',$(CMD))' tools/runcost

# Static where libc.a is at hand: what starts a program and measures it should
# be small, since the peak RSS of a process begins with that of its parent
alloc: $(TOOL) tools/alloc.h include/allocator.h
	$(CC) -O2 -std=gnu11 $(WARN) -static $(TOOL) -lm -o $@ 2>/dev/null || \
		$(CC) -O2 -std=gnu11 $(WARN) $(TOOL) -lm -o $@

compiler:
	@command -v $(CC) >/dev/null || test/setup

check: setup
	@$(MAKE) --no-print-directory all plain
	@test/run

check-bare:
	@test/bare

setup:
	@test/setup

lint:
	@tools/lint

soak: allocator.so
	@test/soak

fuzz:
	@test/fuzz/run $(MINUTES)

bench: all
	./alloc bench --md doc/benchmarks.md --svg doc/benchmarks.svg

workloads: $(BENCHES) build/bench/about.txt

build/bench/%: bench/%.c bench/bench.h
	@mkdir -p build/bench
	$(CC) -O2 -std=gnu11 -fno-builtin -pthread $(WARN) $< -o $@

# What each is about: the sentence that its first comment begins with
build/bench/about.txt: $(wildcard bench/*.c)
	@mkdir -p build/bench
	@awk 'FNR == 1 { s = "" } { gsub(/^ ?[\/*]+ ?| \*\/$$/, "") } \
		s !~ /\.$$/ { s = s (s == "" ? "" : " ") $$0 } \
		s ~ /\.$$/ { print s; nextfile }' $^ >$@

install: all liballocator.a build/$(SONAME)
	install -d $(TO)/bin $(TO)/include $(TO)/lib/allocator \
		$(TO)/libexec/allocator $(TO)/share/man/man1
	install alloc $(TO)/bin
	install build/$(SONAME) $(TO)/lib/allocator/allocator.so
	ln -sf allocator.so $(TO)/lib/allocator/$(SONAME)
	ln -sf allocator/allocator.so $(TO)/lib/$(SONAME)
	ln -sf $(SONAME) $(TO)/lib/liballocator.so
	install -m 644 liballocator.a $(TO)/lib
	install -m 644 include/allocator.h $(TO)/include
	install -m 644 doc/alloc.1 $(TO)/share/man/man1
	install $(BENCHES) $(TO)/libexec/allocator
	install -m 644 build/bench/about.txt $(TO)/libexec/allocator

uninstall:
	rm -f $(TO)/bin/alloc $(TO)/include/allocator.h \
		$(TO)/lib/allocator/allocator.so $(TO)/share/man/man1/alloc.1 \
		$(TO)/lib/allocator/$(SONAME) $(TO)/lib/$(SONAME) \
		$(TO)/lib/liballocator.so $(TO)/lib/liballocator.a \
		$(BENCHES:build/bench/%=$(TO)/libexec/allocator/%) \
		$(TO)/libexec/allocator/about.txt
	rmdir $(TO)/lib/allocator $(TO)/libexec/allocator 2>/dev/null || true

clean:
	rm -rf build allocator.so liballocator.a alloc

FORCE:
.PHONY: all plain run compiler check check-bare setup lint soak fuzz bench \
	workloads install uninstall clean FORCE
