/*
 * trace.c - TRACE_ON: a line for each call, in the format of glibc's mtrace,
 * which /usr/bin/mtrace reads: it finds what was never freed, and where it
 * came from.
 *	@ [0xcaller] + 0xptr 0xsize	allocated
 *	@ [0xcaller] - 0xptr		freed
 *	@ [0xcaller] < 0xold		reallocated, in two lines
 *	@ [0xcaller] > 0xnew 0xsize
 *	@ [0xcaller] ! 0xptr 0xsize	failed to be
 * The thread's id follows; mtrace ignores it. Callers in the program itself
 * are given as offsets in its file, which mtrace turns into lines.
 *
 * A thread that is traced keeps the stub as its heap, so that every call is
 * slow and comes here; a thread that is not pays nothing.
 */
#if TRACE_CODE
static bool tracing;

static struct {
	uintptr_t base, start, end; /* of the program */
} image;

/* Where the program was loaded, from its program headers. */
static void trace_find_image(void)
{
	const Elf64_Phdr *ph = (const Elf64_Phdr *)getauxval(AT_PHDR);
	size_t n = getauxval(AT_PHNUM);

	for (size_t i = 0; i < n; i++)
		if (ph[i].p_type == PT_PHDR)
			image.base = (uintptr_t)ph - ph[i].p_vaddr;
	for (size_t i = 0; i < n; i++) {
		if (ph[i].p_type != PT_LOAD)
			continue;
		if (!image.end)
			image.start = image.base + ph[i].p_vaddr;
		image.end = image.base + ph[i].p_vaddr + ph[i].p_memsz;
	}
}

static void trace_mark(const char *text)
{
	struct line l = { .len = 0 };

	line_str(&l, text);
	output_write(&trace_out, &l);
}

static void trace_init(void)
{
	if (tracing || !opt_ready)
		return;
	if (!TRACE_START && !trace_out.path[0])
		return;
	if (!trace_out.path[0])
		trace_out = log_out;
	trace_find_image();
	output_open(&trace_out);
	trace_mark("= Start");
	tracing = true;
}

static void trace_end(void)
{
	if (tracing)
		trace_mark("= End");
}

SLOW void trace_line(char what, const void *p, const size_t *size,
		     const void *caller)
{
	uintptr_t at = (uintptr_t)caller;
	char sign[] = { ' ', what, ' ', '\0' };
	struct line l = { .len = 0 };

	/* The call, not the line after it. */
	at -= at > 0;
	if (at >= image.start && at < image.end)
		at -= image.base;
	line_str(&l, "@ [0x");
	line_num(&l, at, 16);
	line_str(&l, "]");
	line_str(&l, sign);
	line_ptr(&l, p);
	if (size) {
		line_str(&l, " 0x");
		line_num(&l, *size, 16);
	}
	line_str(&l, " tid=");
	line_dec(&l, (unsigned)os_tid());
	output_write(&trace_out, &l);
}

/* After an allocation. */
static void trace_alloc(const void *p, size_t n, const void *caller)
{
	if (tracing)
		trace_line(p ? '+' : '!', p, &n, caller);
}

/* Before a free: the block may be another thread's right after. */
static void trace_free(const void *p, const void *caller)
{
	if (tracing && p)
		trace_line('-', p, NULL, caller);
}

/* Around a realloc: the old block before it, the new one after. */
static void trace_realloc_old(const void *old, const void *caller)
{
	if (tracing && old)
		trace_line('<', old, NULL, caller);
}

/* When it failed the old block, of `size` bytes, is still there. */
static void trace_realloc_new(const void *old, size_t size, const void *p,
			      size_t n, const void *caller)
{
	if (!tracing)
		return;
	if (!p && old)
		trace_line('>', old, &size, caller);
	trace_line(!p ? '!' : old ? '>' : '+', p ? p : old, &n, caller);
}

static void trace_forked(void)
{
	if (output_forked(&trace_out))
		trace_mark("= Start");
}
#else
#define tracing false
#define trace_init() ((void)0)
#define trace_end() ((void)0)
#define trace_alloc(p, n, caller) ((void)(caller))
#define trace_free(p, caller) ((void)(caller))
#define trace_realloc_old(old, caller) ((void)(caller))
#define trace_realloc_new(old, size, p, n, caller) ((void)(size))
#define trace_forked() ((void)0)
#endif
