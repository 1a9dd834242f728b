/*
 * deadline SECONDS CMD... - runs CMD; once the time is over, shows the stacks
 * of all its processes by gdb, where that is installed, and kills them.
 *
 * Ends as CMD does: with its code, or 128 + the number of the signal that
 * killed it; with 124 when the time was over and with 127 when CMD can't run.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static volatile sig_atomic_t caught;

static void on_signal(int sig)
{
	caught = sig;
}

/* Every process of the group `pid`: the command may have started others. */
static void show_stacks(pid_t pid)
{
	static const char script[] =
		"for p in $(pgrep -g %d); do"
		" echo \"process $p: $(tr '\\0' ' ' </proc/$p/cmdline)\";"
		" timeout -k 1 20 gdb -p $p -batch"
		" -ex 'thread apply all bt 20' 2>&1 |"
		" grep -E '^(#|Thread)'; done >&2";
	char command[sizeof(script) + 16];

	snprintf(command, sizeof(command), script, (int)pid);
	if (system(command) != 0)
		fprintf(stderr, "deadline: no stacks from gdb\n");
}

static void start(char **argv)
{
	setpgid(0, 0);
	execvp(argv[0], argv);
	perror(argv[0]);
	_exit(127);
}

int main(int argc, char **argv)
{
	struct sigaction act = { .sa_handler = on_signal };
	int status, seconds = argc > 2 ? atoi(argv[1]) : 0;
	pid_t pid;

	if (seconds <= 0) {
		fprintf(stderr, "usage: deadline SECONDS CMD...\n");
		return 125;
	}
	sigaction(SIGALRM, &act, NULL);
	sigaction(SIGTERM, &act, NULL);
	sigaction(SIGINT, &act, NULL);
	pid = fork();
	if (pid == 0)
		start(argv + 2);
	if (pid < 0) {
		perror("fork");
		return 125;
	}
	setpgid(pid, pid);
	alarm((unsigned int)seconds);
	while (waitpid(pid, &status, 0) < 0) {
		if (errno != EINTR)
			return 125;
		if (!caught)
			continue;
		if (caught == SIGALRM) {
			fprintf(stderr, "deadline: %s: over after %d s\n",
				argv[2], seconds);
			show_stacks(pid);
		}
		kill(-pid, SIGKILL);
		waitpid(pid, &status, 0);
		return 124;
	}
	if (WIFSIGNALED(status))
		return 128 + WTERMSIG(status);
	return WEXITSTATUS(status);
}
