/*
 * step - malloc, interrupted at every so many instructions of it.
 *
 *	step SIZE STRIDE [malloc | free]
 *
 * The first malloc of a size is followed by single steps of the processor, and
 * a signal whose handler allocates the same size sent to it where it stands.
 * Or a later one, when some blocks are free, or a free.
 * It goes well, but for the few instructions that take a block off a list:
 * there it may end with the allocator's line and abort(). A crash, a hang or
 * blocks that overlap are failures.
 */
#include "test.h"
#include <signal.h>
#include <stdbool.h>
#include <sys/ptrace.h>

enum { HELD = 64, BLOCKS = 600, FREED = 16, FEW = 8 };

static size_t size;
static const char *later = "";
static unsigned char *held[HELD], *block[BLOCKS];

static unsigned char *make(int byte)
{
	return memset(malloc(size), byte, size);
}

static void whole(const unsigned char *p, int byte)
{
	for (size_t i = 0; i < size; i++)
		CHECKF(p[i] == byte, "byte %zu of %p", i, (const void *)p);
}

static void handler(int number)
{
	for (int i = 0; i < HELD; i++)
		held[i] = make(number);
	for (int i = 0; i < HELD; i += 2)
		free(held[i]);
}

/* Between its two stops is the malloc that is to be interrupted. */
static void child(void)
{
	dup2(open("/dev/null", O_WRONLY), 2);
	signal(SIGUSR1, handler);
	if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0)
		_exit(TEST_SKIPPED);
	for (int i = 0; i < FREED && *later; i++)
		block[i] = malloc(size);
	for (int i = 1; i < FREED && *later; i++)
		free(block[i]);
	raise(SIGSTOP);
	if (*later == 'f')
		free(block[0]);
	else
		block[0] = malloc(size);
	raise(SIGSTOP);
	if (*later == 'f')
		block[0] = malloc(size);
	memset(block[0], 0, size);
	for (int i = 1; i < BLOCKS; i++)
		block[i] = make(i & 127);
	for (int i = 0; i < BLOCKS; i++)
		whole(block[i], i & 127);
	for (int i = 1; i < HELD && held[0]; i += 2)
		whole(held[i], SIGUSR1);
	for (int i = 0; i < BLOCKS; i++)
		free(block[i]);
	_exit(0);
}

static int status;
static long tried, good;

static bool stopped(pid_t pid)
{
	CHECK(waitpid(pid, &status, 0) == pid);
	return WIFSTOPPED(status);
}

static void go(pid_t pid, int how, int number)
{
	CHECK(ptrace(how, pid, NULL, (void *)(intptr_t)number) == 0);
}

/* Interrupt it after so many steps; false: it had fewer. */
static bool interrupt(long steps)
{
	pid_t pid = fork();

	CHECK(pid >= 0);
	if (!pid)
		child();
	if (!stopped(pid))
		SKIP("no process may trace another here\n");
	for (long i = 0; i < steps; i++) {
		go(pid, PTRACE_SINGLESTEP, 0);
		CHECKF(stopped(pid), "step %ld, status %x", i, status);
		if (WSTOPSIG(status) == SIGTRAP)
			continue;
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		return false;
	}
	go(pid, PTRACE_CONT, SIGUSR1);
	while (stopped(pid)) {
		int number = WSTOPSIG(status);

		CHECKF(number != SIGSEGV && number != SIGBUS &&
			       number != SIGFPE && number != SIGILL,
		       "signal %d after %ld steps", number, steps);
		go(pid, PTRACE_CONT, number == SIGSTOP ? 0 : number);
	}
	CHECKF(status == 0 || (WIFSIGNALED(status) && !WCOREDUMP(status) &&
			       WTERMSIG(status) == SIGABRT),
	       "status %x after %ld steps", status, steps);
	tried++;
	good += status == 0;
	return true;
}

int main(int argc, char **argv)
{
	long stride = argc > 2 ? atol(argv[2]) : 1, steps = 0;

	size = argc > 1 ? strtoul(argv[1], NULL, 0) : 1000;
	later = argc > 3 ? argv[3] : later;
	while (interrupt(steps))
		steps += stride;
	printf("%ld steps, %ld of %ld went well\n", steps, good, tried);
	CHECKF(tried > 20 && tried - good <= FEW, "%ld of %ld", good, tried);
	return 0;
}
