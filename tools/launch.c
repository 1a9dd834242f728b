/*
 * launch.c - alloc launch [OPTIONS] CMD...: runs CMD once and measures it.
 *
 *   -o FILE  write the result to FILE: wall seconds, CPU seconds, peak RSS in
 *            KiB, exit status (of a signal that killed it, the negative),
 *            user and system seconds, minor and major page faults
 *   -p SO    preload SO, in front of what LD_PRELOAD has
 *   -w MB    first touch and free MB of memory in another process, so that
 *            page faults of CMD are served from memory the host has given
 *   -q       standard input, output and error are /dev/null
 *   -s       only standard input is
 *   -t       don't measure: trace CMD and the processes it starts, and write
 *            how many had SO mapped when they ended, how many there were, and
 *            the program of the first that had not
 *
 * For the other subcommands. A process starts with the peak RSS of the one that
 * forked it: therefore this is run in a process of its own, which stays small,
 * and the program is best linked statically.
 */
#include "alloc.h"
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const char *result = "/dev/stdout", *preload = "";
static size_t warm_bytes;
static int quiet, silent, tracing;
static int told[2] = { -1, -1 }; /* a byte when CMD could not be started */
static sigset_t old_mask;

static struct {
	int loaded, total;
	char without[PATH_MAX];
} seen;

static void warm(void)
{
	pid_t pid;
	void *p;

	if (!warm_bytes)
		return;
	pid = fork();
	if (pid == 0) {
		p = mmap(NULL, warm_bytes, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (p != MAP_FAILED)
			memset(p, 1, warm_bytes);
		_exit(0);
	}
	waitpid(pid, NULL, 0);
}

static void set_preload(void)
{
	const char *old = getenv("LD_PRELOAD");
	static char value[2 * PATH_MAX];

	if (!*preload)
		return;
	snprintf(value, sizeof(value), "%s%s%s", preload,
		 old && *old ? ":" : "", old ? old : "");
	setenv("LD_PRELOAD", value, 1);
}

static pid_t start(char **argv, int gate)
{
	pid_t pid = fork();
	char c;
	int null;

	if (pid)
		return pid;
	if (gate >= 0 && read(gate, &c, 1) != 1)
		_exit(127);
	sigprocmask(SIG_SETMASK, &old_mask, NULL);
	if (quiet || silent) {
		null = open("/dev/null", O_RDWR);
		dup2(null, 0);
		if (quiet) {
			dup2(null, 1);
			dup2(null, 2);
		}
		if (null > STDERR_FILENO)
			close(null);
	}
	set_preload();
	execvp(argv[0], argv);
	perror(argv[0]);
	if (told[1] >= 0 && write(told[1], "", 1) != 1)
		_exit(126);
	_exit(127);
}

/* Called for a process that is about to end, while its mappings still exist. */
static void look(pid_t pid)
{
	char line[PATH_MAX + 128], path[64];
	int found = 0;
	ssize_t n;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
	f = fopen(path, "r");
	if (!f)
		return;
	while (!found && fgets(line, sizeof(line), f))
		found = strstr(line, preload) != NULL;
	fclose(f);
	seen.total++;
	seen.loaded += found;
	if (found || seen.without[0])
		return;
	snprintf(path, sizeof(path), "/proc/%d/exe", (int)pid);
	n = readlink(path, seen.without, sizeof(seen.without) - 1);
	seen.without[n < 0 ? 0 : n] = 0;
}

/* Lets a stopped process go on: with its signal, or stopped if it must be. */
static void resume(pid_t pid, int status)
{
	int event = status >> 16, sig = WSTOPSIG(status);

	if (event == PTRACE_EVENT_EXIT)
		look(pid);
	if (event == PTRACE_EVENT_STOP && sig != SIGTRAP)
		ptrace(PTRACE_LISTEN, pid, NULL, NULL);
	else
		ptrace(PTRACE_CONT, pid, NULL, event ? 0L : (long)sig);
}

/* What could not be started has loaded nothing: 127. */
static int trace(char **argv)
{
	long options = PTRACE_O_TRACEEXIT | PTRACE_O_TRACEFORK |
		       PTRACE_O_TRACEVFORK;
	int gate[2], status;
	pid_t pid, p;
	char c;

	if (pipe2(gate, O_CLOEXEC) < 0 || pipe2(told, O_CLOEXEC) < 0)
		return 125;
	pid = start(argv, gate[0]);
	close(told[1]);
	if (ptrace(PTRACE_SEIZE, pid, NULL, options) < 0) {
		kill(pid, SIGKILL);
		return 125;
	}
	if (write(gate[1], "", 1) != 1)
		kill(pid, SIGKILL);
	while ((p = waitpid(-1, &status, __WALL)) > 0) {
		if (WIFSTOPPED(status))
			resume(p, status);
		else if (p == pid)
			break;
	}
	return read(told[0], &c, 1) == 1 ? 127 : 0;
}

static double seconds(struct timespec a, struct timespec b)
{
	return (double)(b.tv_sec - a.tv_sec) +
	       (double)(b.tv_nsec - a.tv_nsec) * 1e-9;
}

static double of(struct timeval t)
{
	return (double)t.tv_sec + (double)t.tv_usec * 1e-6;
}

/* There is no result of what could not be started. */
static int measure(char **argv, FILE *out)
{
	struct timespec begin, end;
	struct rusage ru;
	bool started;
	int status;
	pid_t pid;
	char c;

	if (pipe2(told, O_CLOEXEC) < 0)
		return 125;
	clock_gettime(CLOCK_MONOTONIC, &begin);
	pid = start(argv, -1);
	close(told[1]);
	started = read(told[0], &c, 1) == 0;
	if (pid < 0 || wait4(pid, &status, 0, &ru) < 0 || !started)
		return 127;
	clock_gettime(CLOCK_MONOTONIC, &end);
	status = WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
	fprintf(out, "%.6f %.6f %ld %d %.6f %.6f %ld %ld\n",
		seconds(begin, end), of(ru.ru_utime) + of(ru.ru_stime),
		ru.ru_maxrss, status, of(ru.ru_utime), of(ru.ru_stime),
		ru.ru_minflt, ru.ru_majflt);
	return status < 0 ? 128 - status : status;
}

int launch_main(int argc, char **argv)
{
	int opt, status = 0;
	sigset_t all;
	FILE *out;

	while ((opt = getopt(argc, argv, "+o:p:w:qst")) != -1) {
		switch (opt) {
		case 'o': result = optarg; break;
		case 'p': preload = optarg; break;
		case 'w': warm_bytes = strtoul(optarg, NULL, 10) << 20; break;
		case 'q': quiet = 1; break;
		case 's': silent = 1; break;
		case 't': tracing = 1; break;
		default: return 125;
		}
	}
	out = optind < argc ? fopen(result, "we") : NULL;
	if (!out) {
		fprintf(stderr, "usage: alloc launch [-qst] [-o FILE] [-p SO] "
				"[-w MB] CMD...\n");
		return 125;
	}
	/*
	 * Whoever types ^C means the program, which may kill its whole group,
	 * too; its result is still wanted.
	 */
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &old_mask);
	warm();
	if (tracing) {
		status = trace(argv + optind);
		fprintf(out, "%d %d %s\n", seen.loaded, seen.total,
			seen.without);
	} else {
		status = measure(argv + optind, out);
	}
	fclose(out);
	return status;
}
