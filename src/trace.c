/*
 * trace.c - TRACE_ON: a line for each call, in the format of glibc's mtrace,
 * which /usr/bin/mtrace reads: it finds what was never freed, and where it
 * came from.
 *	@ [0xcaller] + 0xptr 0xsize	allocated
 *	@ [0xcaller] - 0xptr		freed
 *	@ [0xcaller] < 0xold		reallocated, in two lines
 *	@ [0xcaller] > 0xnew 0xsize
 *	@ [0xcaller] ! 0xptr 0xsize	failed to be
 * and the thread's id. Callers in the program are offsets in its file.
 *
 * A thread that is traced keeps the stub as its heap, so that every call is
 * slow and comes here; a thread that is not pays nothing.
 */
#if TRACE_ON
static bool tracing;
static uintptr_t image, image_size; /* where the program was loaded */

static void trace_find_image(void)
{
	const Elf64_Phdr *ph = (const Elf64_Phdr *)getauxval(AT_PHDR);
	size_t n = getauxval(AT_PHNUM);

	for (size_t i = 0; i < n; i++)
		if (ph[i].p_type == PT_PHDR)
			image = (uintptr_t)ph - ph[i].p_vaddr;
		else if (ph[i].p_type == PT_LOAD)
			image_size = ph[i].p_vaddr + ph[i].p_memsz;
}

static void trace_init(void)
{
	if (tracing || !opt_ready || !(TRACE_ON == 1 || trace_out.path[0]))
		return;
	if (!trace_out.path[0])
		trace_out = log_out;
	trace_find_image();
	output_open(&trace_out);
	output_say(&trace_out, "= Start");
	tracing = true;
}

static void trace_end(void)
{
	if (tracing)
		output_say(&trace_out, "= End");
}

SLOW void trace_line(const char *what, const void *p, size_t n,
		     const void *caller)
{
	uintptr_t at = (uintptr_t)caller;
	bool gone = *what == '-' || *what == '<';

	at -= at > 0; /* the call, not the line after it */
	if (at - image < image_size)
		at -= image;
	if (!gone)
		output_say(&trace_out, "@ [0x%zx] %s %p 0x%zx tid=%d", at, what,
			   p, n, os_tid());
	else if (p)
		output_say(&trace_out, "@ [0x%zx] %s %p tid=%d", at, what, p,
			   os_tid());
}

/* When it failed the old block, of `size` bytes, is still there. */
static void trace_realloc_new(const void *old, size_t size, const void *p,
			      size_t n, const void *caller)
{
	if (!tracing)
		return;
	if (!p && old)
		trace_line(">", old, size, caller);
	trace_line(!p ? "!" : old ? ">" : "+", p ? p : old, n, caller);
}

static void trace_forked(void)
{
	if (output_forked(&trace_out))
		output_say(&trace_out, "= Start");
}
#define TRACE(what, p, n, caller) \
	(tracing ? trace_line(what, p, n, caller) : (void)0)
#else
#define tracing false
#define trace_init() ((void)0)
#define trace_end() ((void)0)
#define trace_forked() ((void)0)
#define trace_realloc_new(old, size, p, n, caller) ((void)(size))
#define TRACE(what, p, n, caller) ((void)(caller))
#endif

/*
 * After an allocation; before a free, since the block may be another thread's
 * right after; before a realloc, which trace_realloc_new follows.
 */
#define trace_alloc(p, n, caller) TRACE((p) ? "+" : "!", p, n, caller)
#define trace_free(p, caller) TRACE("-", p, 0, caller)
#define trace_realloc_old(p, caller) TRACE("<", p, 0, caller)
