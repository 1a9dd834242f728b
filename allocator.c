/*
 * allocator - a drop-in malloc for Linux programs.
 *
 *	cc allocator.c -shared -fPIC -DLOGGER=0 -DTRACE_ON=0 -o allocator.so
 *	ALLOC_THRESH=100 LD_PRELOAD=$(pwd)/allocator.so find /
 *
 * This is the one translation unit: every function below is static except
 * the malloc family in api.c and dlopen. The layers come bottom-up; calls go
 * down only.
 * doc/design.md tells how a malloc and a free pass through them.
 *
 * SPDX-License-Identifier: MIT
 */

/*
 * The command above has no -O. gcc optimises each function body all the same
 * when told so here, before any header; it still inlines nothing that is not
 * marked always_inline. clang has no such pragma: use `make CC=clang`.
 */
#if !defined(__OPTIMIZE__) && !defined(__clang__)
#pragma GCC optimize("O2")
#endif

#include "src/base.h"
#include "src/types.h"

#include "src/os.c"
#include "src/log.c"
#include "src/report.c"
#include "src/opt.c"
#include "src/pagemap.c"
#include "src/cache.c"
#include "src/extent.c"
#include "src/chunk.c"
#include "src/mapping.c"
#include "src/class.h"
#include "src/block.c"
#include "src/slab.c"
#include "src/holes.c"
#include "src/pages.c"
#include "src/poison.c"
#include "src/seal.c"
#include "src/check.c"
#include "src/aside.c"
#include "src/remote.c"
#include "src/parked.c"
#include "src/heap.c"
#include "src/choose.c"
#include "src/sealed.c"
#include "src/trace.c"
#include "src/thread.c"
#include "src/engine.c"
#include "src/stat.c"
#include "src/altered.c"
#include "src/api.c"
#include "src/bind.c"
#include "src/cxx.c"
#include "src/process.c"
