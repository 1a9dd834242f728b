/*
 * bind.c - whose malloc the program has, and the modules that it opens.
 *
 * A module that is opened with RTLD_DEEPBIND has libc's, while libc and all
 * others have ours, and the first block that crosses ends the process: so the
 * flag is taken off. The real dlopen tells by its return address who asks,
 * whose RUNPATH and namespace count: it is jumped to. Code that is compiled for
 * a program, which may be static, is without.
 */
/*
 * The library may be there, but behind libc or another malloc. What the name
 * is bound to does not tell: that may be an entry of the program's PLT.
 */
static bool malloc_ours(void)
{
	void *(*volatile make)(size_t) = NAME(malloc);
	void (*volatile drop)(void *) = NAME(free);
	void *p = make(1);
	bool ours = pagemap_get(p) != 0;

	drop(p);
	return ours;
}

static void bind_tell(void)
{
	struct line l = { .len = 0 };

	if (!OPT(help) || malloc_ours())
		return;
	line_add(&l, "allocator: not in use, malloc is that of ");
	line_place(&l, (const char *)NAME(malloc) + 1);
	line_add(&l, ": preload the library, or link it before others");
	output_line(&log_out, &l);
}

#if defined(RTLD_DEEPBIND) && defined(__PIC__) && !defined(__PIE__) && \
	!defined(ALLOC_PREFIX)
#ifdef __clang__
#define JUMP __attribute__((musttail)) return
#else
#define JUMP return
__attribute__((optimize("O2"))) /* calls at the end are jumps */
#endif
PUBLIC void *dlopen(const char *file, int mode)
{
	static void *(*next)(const char *file, int mode);

	if (!load_relaxed(&next)) {
		engine_init();
		store_relaxed(&next, dlsym(RTLD_NEXT, "dlopen"));
	}
	if (mode & RTLD_DEEPBIND && !OPT(deepbind) && malloc_ours())
		mode &= ~RTLD_DEEPBIND;
	JUMP next(file, mode);
}
#endif
