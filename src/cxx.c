/*
 * cxx.c - operators new and delete of C++; -DALLOC_CXX=0 leaves them out.
 *
 * A program may replace any, and most replace two. All forms end in those, by
 * what the standard says they do: call another by its name, which the linker
 * resolves as for everybody. The nothrow forms have to catch what a new_handler
 * throws, which C can't: the C++ library's do, and call ours. Weak, as there:
 * a program may have its own beside this file.
 *
 * As the Itanium ABI has it: na is new[], nw new, da delete[], dl delete.
 */
#if !defined(ALLOC_PREFIX) && (!defined(ALLOC_CXX) || ALLOC_CXX)

#define OPERATOR __attribute__((weak, visibility("default"))) BY_GOT
#if __has_attribute(noplt) /* one form calls another by a single jump */
#define BY_GOT __attribute__((noplt))
#else
#define BY_GOT
#endif

/* The C++ library's, if it is there when we are loaded or linked. */
typedef void new_handler(void);
new_handler *get_new_handler(void) __asm__("_ZSt15get_new_handlerv")
	__attribute__((weak));
_Noreturn void throw_bad_alloc(void) __asm__("_ZSt17__throw_bad_allocv")
	__attribute__((weak));
#if defined(__PIC__) && !defined(__PIE__) /* a shared library */

/*
 * A C++ library that a program in C opened with some plugin is hidden from us,
 * but not from who calls: it has an operator new that can throw.
 */
static void *hidden_new(const char *name, const void *caller)
{
	void *lib = NULL, *found = NULL;
	Dl_info info;

	if (dladdr(caller, &info))
		lib = dlopen(info.dli_fname, RTLD_LAZY | RTLD_NOLOAD);
	if (lib)
		found = dlsym(lib, name);
	return found && found != dlsym(RTLD_DEFAULT, name) ? found : NULL;
}
#else
#define hidden_new(name, caller) ((void)(name), NULL)
#endif

/* There is no way to go on. */
SLOW _Noreturn void die(const char *what, const void *p)
{
	static const uint64_t standard[4]; /* SIG_DFL for the kernel */
	static bool before;

	report_only = false;
	if (before) /* the program's handler came here again, and would */
		os_call(SYS_rt_sigaction, SIGABRT, standard, 0, 8);
	before = true;
	report(what, p, (struct facts){ 0 });
	abort();
}

/* Memory is out: run the handler for as long as there is one, else throw. */
SLOW void *new_slow(size_t n, size_t align, const char *name,
		    const void *caller)
{
	void *(*hidden)(size_t n, size_t align);
	new_handler *run;
	void *p;

	while (!(p = alloc_slow(n, align, caller))) {
		run = NULL;
		if (get_new_handler && power_of_two(align))
			run = get_new_handler();
		hidden = throw_bad_alloc ? NULL : hidden_new(name, caller);
		if (run)
			run();
		else if (throw_bad_alloc)
			throw_bad_alloc();
		else if (hidden)
			return hidden(n, align);
		else
			die("no memory and no C++ library to throw for",
			    caller);
	}
	return p;
}

PUBLIC OPERATOR void *_Znwm(size_t n)
{
	void *p = heap_pop(tls.me, n, MARK_SALT);

	return LIKELY(p != NULL) ? p : new_slow(n, GRAIN, "_Znwm", CALLER);
}

OPERATOR void *_ZnwmSt11align_val_t(size_t n, size_t align)
{
	return new_slow(n, align, "_ZnwmSt11align_val_t", CALLER);
}

/* What is the same in all that follows, but for the parameters */
#define FORM(type, name, params, does) \
	OPERATOR type name params \
	{ \
		does; \
	}
#define ALIGNED(name) name##St11align_val_t

FORM(void *, _Znam, (size_t n), return _Znwm(n))
FORM(void *, ALIGNED(_Znam), (size_t n, size_t align),
     return ALIGNED(_Znwm)(n, align))

OPERATOR void _ZdlPv(void *p) __attribute__((alias("free")));
OPERATOR void ALIGNED(_ZdlPv)(void *p, size_t align)
	__attribute__((alias("free")));

/* Local names, for whoever compares: the others may be somebody else's. */
static void own_delete(void *p) __attribute__((alias("free")));

static void own_array(void *p)
{
	_ZdlPv(p);
}

static void own_aligned(void *p, size_t align)
{
	ALIGNED(_ZdlPv)(p, align);
}

OPERATOR void _ZdaPv(void *p) __attribute__((alias("own_array")));
OPERATOR void ALIGNED(_ZdaPv)(void *p, size_t align)
	__attribute__((alias("own_aligned")));

/*
 * While no delete is replaced a sized one needs no other, and its size can be
 * proved, by those levels that do; else that is nobody's concern. Not found out
 * until a delete asks, which may be before any constructor of ours. Every one
 * does: a line of its own.
 */
static struct {
	bool none;
} __attribute__((aligned(LINE))) replaced;

SLOW void delete_slow(void *p, size_t n, size_t align, void *plain,
		      const void *caller)
{
	bool none = (void *)_ZdlPv == own_delete &&
		    (void *)ALIGNED(_ZdlPv) == own_delete &&
		    (void *)_ZdaPv == own_array &&
		    (void *)ALIGNED(_ZdaPv) == own_aligned;

	if (none && !replaced.none)
		store_relaxed(&replaced.none, true);
	if (none)
		free_sized_slow(p, n, caller);
	else
		((void (*)(void *, size_t))plain)(p, align);
}

INLINE void delete_sized(void *p, size_t n, size_t align, void *plain)
{
	if (UNLIKELY(!replaced.none || !heap_push(tls.me, p)))
		delete_slow(p, n, align, plain, CALLER);
}

PUBLIC FORM(void, _ZdlPvm, (void *p, size_t n),
	    delete_sized(p, n, 0, _ZdlPv)) PUBLIC
	FORM(void, _ZdaPvm, (void *p, size_t n), delete_sized(p, n, 0, _ZdaPv))
		FORM(void, ALIGNED(_ZdlPvm), (void *p, size_t n, size_t align),
		     delete_sized(p, n, align, ALIGNED(_ZdlPv)))
			FORM(void, ALIGNED(_ZdaPvm),
			     (void *p, size_t n, size_t align),
			     delete_sized(p, n, align, ALIGNED(_ZdaPv)))
#endif
