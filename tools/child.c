/*
 * child.c - processes that run for us: where things lie, files for them to
 * write to, starting them and ending them.
 */
#include "alloc.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

/* -- files */

const char *self_path(void)
{
	static char path[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 1);

	if (n < 0)
		fail("/proc/self/exe can't be read: %s", strerror(errno));
	path[n] = '\0';
	return path;
}

char *beside(const char *place)
{
	char near[2 * PATH_MAX];
	const char *self = self_path();

	snprintf(near, sizeof(near), "%.*s/%s",
		 (int)(strrchr(self, '/') - self), self, place);
	return realpath(near, NULL);
}

static char *temp_dir; /* NULL: none is there */

/*
 * Absolute, for commands that go elsewhere; and the library would take %p for
 * the process id.
 */
static void make_temp_dir(void)
{
	const char *named = getenv("TMPDIR");
	char *dir;

	if (!named || !*named)
		named = "/tmp";
	dir = realpath(named, NULL);
	if (dir && strstr(dir, "%p"))
		dir = copy("/tmp");
	dir = formatted("%s/alloc.XXXXXX", dir ? dir : named);
	if (!mkdtemp(dir))
		fail("no temporary directory %s: %s", dir, strerror(errno));
	temp_dir = dir;
}

/*
 * In a directory for each run, which goes with it: what a process that
 * outlives its run writes there later must not stay behind.
 */
char *temp_file(enum temp which)
{
	if (!temp_dir)
		make_temp_dir();
	return formatted("%s/%d", temp_dir, which);
}

void temp_remove(void)
{
	if (!temp_dir)
		return;
	for (int i = 0; i < TEMPS; i++)
		unlink(temp_file((enum temp)i));
	rmdir(temp_dir);
	temp_dir = NULL;
}

/* -- processes */

volatile int interrupted;
static volatile pid_t group; /* of the run under way; 0: none */

/*
 * A run has a process group of its own, so that all of it can be ended: by
 * SIGINT first, and a second later for certain.
 */
static void on_interrupt(int sig)
{
	if (group)
		kill(-group, interrupted ? SIGKILL : SIGINT);
	interrupted = sig;
	alarm(1);
}

void catch_interrupts(void)
{
	static const int signals[] = { SIGINT,  SIGTERM, SIGHUP,  SIGALRM,
				       SIGQUIT, SIGUSR1, SIGUSR2, SIGPIPE };
	struct sigaction act = { .sa_handler = on_interrupt,
				 .sa_flags = SA_RESTART },
			 old;

	for (size_t i = 0; i < COUNT(signals); i++)
		if (sigaction(signals[i], NULL, &old) == 0 &&
		    old.sa_handler != SIG_IGN)
			sigaction(signals[i], &act, NULL);
}

/* Becomes launch.c: of this file, should another take its name meanwhile. */
_Noreturn static void become_launch(const char **args, char **cmd)
{
	const char *argv[16];
	size_t n = 0, words = 0;
	char **all;

	argv[n++] = "alloc";
	argv[n++] = "launch";
	while (*args)
		argv[n++] = *args++;
	while (cmd[words])
		words++;
	all = need(n + words + 1, sizeof(*all));
	memcpy(all, argv, n * sizeof(*all));
	memcpy(all + n, cmd, words * sizeof(*all));
	fexecve(open("/proc/self/exe", O_RDONLY | O_CLOEXEC), all, environ);
	_exit(127);
}

pid_t launch(const char **args, char **cmd, char **env, int out)
{
	pid_t pid = fork();

	if (pid < 0)
		fail("no process can be started: %s", strerror(errno));
	if (pid == 0) {
		setpgid(0, 0);
		if (out >= 0)
			dup2(out, STDOUT_FILENO);
		for (; env && *env; env++)
			putenv(*env);
		become_launch(args, cmd);
	}
	setpgid(pid, pid);
	group = pid;
	if (interrupted)
		kill(-pid, SIGINT);
	return pid;
}

int launch_wait(pid_t pid, struct rusage *ru)
{
	int status;

	while (wait4(pid, &status, 0, ru) < 0 && errno == EINTR)
		;
	if (interrupted)
		kill(-pid, SIGKILL); /* what it left behind */
	group = 0;
	alarm(0);
	return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

/* -- the library, and whether a program has it */

char *library_path(const char *named)
{
	char *path = named ? realpath(named, NULL) : beside("allocator.so");

	if (named && !path)
		fail("no library %s: %s", named, strerror(errno));
	if (!path)
		path = beside("../lib/allocator/allocator.so");
	if (!path)
		fail("no allocator.so beside %s; build it with make, or name "
		     "it with --lib",
		     self_path());
	if (strpbrk(path, " :"))
		fail("%s has a blank or a colon in its name: it can't be "
		     "preloaded",
		     path);
	return path;
}

/* Is `so` mapped by the program? 1, 0, or -1: can't tell. */
static int is_loaded(char **cmd, const char *so)
{
	char *file = temp_file(TEMP_RESULT), *env[] = { "ALLOC_STATS=", NULL };
	const char *args[] = { "-q", "-t", "-o", file, "-p", so, NULL };
	int loaded = 0, total = 0;
	struct rusage ru;
	FILE *f;

	if (launch_wait(launch(args, cmd, env, -1), &ru) == 127)
		fail("%s could not be started", cmd[0]);
	f = fopen(file, "r");
	if (f && fscanf(f, "%d %d", &loaded, &total) != 2)
		total = 0;
	if (f)
		fclose(f);
	temp_remove();
	return total ? loaded > 0 : -1;
}

void check_loaded(char **cmd, const char *so, const struct settings *set)
{
	int loaded;

	prepare(set);
	loaded = is_loaded(cmd, so);

	if (interrupted)
		return;
	if (!loaded)
		fail("%s did not load %s", cmd[0], so);
	if (loaded < 0)
		warn("could not check that %s was loaded", so);
}
