/*
 * inject.h - makes the library's system calls for memory fail, by a plan.
 *
 * A seccomp filter turns those calls of its code, and of no other, into a
 * signal, whose handler makes the call or gives an error instead. So the calls
 * of all threads are numbered in one row, from where main wants it on, which
 * no tracer does, and a plan costs a fork.
 */
#ifndef INJECT_H
#define INJECT_H

#include "test.h"
#include <link.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <ucontext.h>

enum { MMAP, MUNMAP, MREMAP, MADVISE, MPROTECT, KINDS, ANY = KINDS };

static const struct {
	const char *name;
	int nr;
} kinds[] = { { "mmap", SYS_mmap },         { "munmap", SYS_munmap },
	      { "mremap", SYS_mremap },     { "madvise", SYS_madvise },
	      { "mprotect", SYS_mprotect }, { "any", 0 } };

static const struct {
	const char *name;
	int number;
} errors[] = { { "ENOMEM", ENOMEM }, { "EPERM", EPERM }, { "EINVAL", EINVAL } };

/* In memory that is shared with the parent */
static struct plan {
	int kind, error;
	long first, last; /* the calls that fail; 0: none */
	int squat;        /* others map what the library gives up */
	int older;        /* mremap is that of kernels before 6.17; 2: full */
	/* What comes of it; all of this is cleared before each child. */
	atomic_long seen[KINDS + 1], failed;
	long nulls[2]; /* calls that had no memory: all, in the last round */
	ssize_t extra; /* bytes mapped that the allocator knows nothing of */
	ssize_t grown; /* how many more than a round before */
} * plan;

#ifdef __x86_64__
static const int registers[] = { REG_RDI, REG_RSI, REG_RDX,
				 REG_R10, REG_R8,  REG_R9 };
#define REGISTER(c, i) ((long)(c)->uc_mcontext.gregs[registers[i]])
#define RESULT(c) (c)->uc_mcontext.gregs[REG_RAX]
#else
#define REGISTER(c, i) ((long)(c)->uc_mcontext.regs[i])
#define RESULT(c) (c)->uc_mcontext.regs[0]
#endif

/* The number of this call among those that the plan is about */
static long number_of(int nr)
{
	long n = 0, any = ++plan->seen[ANY];
	int k;

	for (k = 0; k < KINDS; k++)
		if (kinds[k].nr == nr) {
			n = ++plan->seen[k];
			break;
		}
	return plan->kind == ANY ? any : plan->kind == k ? n : 0;
}

/*
 * Another thread may map a page that was given up, at once. That page is then
 * no longer the library's to write to, to unmap or to move something to.
 */
static uintptr_t *squatters[1 << 14];
static atomic_long squatter_count;

static void squat(long given_up)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	uintptr_t *p = mmap((void *)given_up, page, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE,
			    -1, 0);
	long i;

	if (p == MAP_FAILED)
		return;
	for (i = squatter_count; i-- > 0;)
		CHECKF(squatters[i] != p, "%p was unmapped", (void *)p);
	i = squatter_count++;
	CHECK((long)p == given_up && i < (long)COUNT(squatters));
	*p = p[page / sizeof(*p) - 1] = (uintptr_t)p;
	squatters[i] = p;
}

/* They find all as they left it, and go. */
TEST_UNUSED static void squatters_leave(void)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	uintptr_t *p;

	while (squatter_count > 0) {
		p = squatters[--squatter_count];
		squatters[squatter_count] = NULL; /* others count first */
		CHECKF(*p == (uintptr_t)p && p[page / sizeof(*p) - 1] == *p,
		       "%p was unmapped and then written to", (void *)p);
		CHECK(munmap(p, page) == 0);
	}
}

/* Is this range not one mapping? To grow one beyond all bounds says ENOMEM. */
static int several(long from, long len)
{
	return syscall(SYS_mremap, from, len, len + (1l << 46), 0) == -1 &&
	       errno == EFAULT;
}

/*
 * mremap of several mappings at once fails in older kernels, and any in one
 * without memory left, when it has unmapped its target already.
 */
static int refused_by_older(ucontext_t *c)
{
	int fixed = (REGISTER(c, 3) & MREMAP_FIXED) != 0;

	if (plan->older == 2 ?
		    !fixed :
		    !plan->older || !several(REGISTER(c, 0), REGISTER(c, 1)))
		return 0;
	if (fixed) {
		CHECK(syscall(SYS_munmap, REGISTER(c, 4), REGISTER(c, 2)) == 0);
		squat(REGISTER(c, 4));
	}
	return 1;
}

static long make_call(int nr, ucontext_t *c)
{
	long ret;

	if (nr == SYS_mremap && refused_by_older(c))
		return -EFAULT;
	ret = syscall(nr, REGISTER(c, 0), REGISTER(c, 1), REGISTER(c, 2),
		      REGISTER(c, 3), REGISTER(c, 4), REGISTER(c, 5));
	if (ret == -1)
		return -errno;
	if (plan->squat &&
	    (nr == SYS_munmap || (nr == SYS_mremap && ret != REGISTER(c, 0))))
		squat(REGISTER(c, 0));
	return ret;
}

static void on_call(int sig, siginfo_t *info, void *context)
{
	ucontext_t *c = context;
	long n = number_of(info->si_syscall);
	int err = errno;

	(void)sig;
	if (n && plan->first && n >= plan->first && n <= plan->last) {
		plan->failed++;
		RESULT(c) = -errors[plan->error].number;
	} else {
		RESULT(c) = make_call(info->si_syscall, c);
	}
	errno = err;
}

/* The code of the object that has malloc */
struct code {
	uintptr_t begin, end;
};

static int find_code(struct dl_phdr_info *object, size_t size, void *arg)
{
	struct code *code = arg;
	int i;

	(void)size;
	for (i = 0; i < object->dlpi_phnum; i++) {
		const ElfW(Phdr) *part = &object->dlpi_phdr[i];

		code->begin = object->dlpi_addr + part->p_vaddr;
		code->end = code->begin + part->p_memsz;
		if (part->p_type == PT_LOAD && part->p_flags & PF_X &&
		    (uintptr_t)malloc - code->begin < part->p_memsz)
			return 1;
	}
	return 0;
}

#define LOAD_FIELD(field) \
	BPF_STMT(BPF_LD | BPF_W | BPF_ABS, \
		 (unsigned int)offsetof(struct seccomp_data, field))
#define LOAD_UPPER(field) \
	BPF_STMT(BPF_LD | BPF_W | BPF_ABS, \
		 (unsigned int)offsetof(struct seccomp_data, field) + 4)
#define IF(test, value, yes, no) \
	BPF_JUMP(BPF_JMP | BPF_K | test, (unsigned int)(value), yes, no)
#define RETURN(what) BPF_STMT(BPF_RET | BPF_K, what)

static void filter(struct sock_filter *code, size_t length)
{
	struct sock_fprog program = { (unsigned short)length, code };

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
		SKIP("this kernel has no seccomp filters\n");
}

/* From here on the whole program is refused this call. */
TEST_UNUSED static void refuse(int nr)
{
	struct sock_filter code[] = { LOAD_FIELD(nr), IF(BPF_JEQ, nr, 0, 1),
				      RETURN(SECCOMP_RET_ERRNO | EPERM),
				      RETURN(SECCOMP_RET_ALLOW) };

	filter(code, COUNT(code));
}

/* From here on the plan is in force. */
static void inject(void)
{
	struct sigaction act = { .sa_flags = SA_SIGINFO };
	struct code lib;

	act.sa_sigaction = on_call;
	CHECK(sigaction(SIGSYS, &act, NULL) == 0);
	CHECK(test_replaced() && dl_iterate_phdr(find_code, &lib) == 1);
	if (lib.begin >> 32 != lib.end >> 32)
		SKIP("the library lies across 4 GiB\n");
	struct sock_filter steps[] = {
		LOAD_FIELD(nr),
		IF(BPF_JEQ, SYS_mmap, 5, 0),
		IF(BPF_JEQ, SYS_munmap, 4, 0),
		IF(BPF_JEQ, SYS_mremap, 3, 0),
		IF(BPF_JEQ, SYS_madvise, 2, 0),
		IF(BPF_JEQ, SYS_mprotect, 1, 0),
		RETURN(SECCOMP_RET_ALLOW),
		LOAD_UPPER(instruction_pointer),
		IF(BPF_JEQ, lib.begin >> 32, 0, 3),
		LOAD_FIELD(instruction_pointer),
		IF(BPF_JGE, lib.begin, 0, 1),
		IF(BPF_JGE, lib.end, 0, 1),
		RETURN(SECCOMP_RET_ALLOW),
		RETURN(SECCOMP_RET_TRAP),
	};
	filter(steps, COUNT(steps));
}

#endif
