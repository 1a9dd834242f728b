/*
 * alloc.c - the command-line tool: runs programs on the allocator, and finds
 * out what it does for them. Here are main, help, and `alloc run`.
 */
#include "alloc.h"
#include "../include/allocator.h"
#include <ctype.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#if defined(__x86_64__)
#define MACHINE EM_X86_64
#else
#define MACHINE EM_AARCH64
#endif

static void say(const char *format, va_list args)
{
	char *text;

	if (vasprintf(&text, format, args) < 0)
		text = "out of memory";
	fflush(stdout);
	fputs("alloc: ", stderr);
	put_text(stderr, text, SIZE_MAX);
	fputc('\n', stderr);
}

void fail(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	say(format, args);
	va_end(args);
	exit(2);
}

void warn(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	say(format, args);
	va_end(args);
}

void *need(size_t count, size_t size)
{
	void *p = calloc(count ? count : 1, size);

	if (!p)
		fail("out of memory");
	return p;
}

char *copy(const char *s)
{
	return formatted("%s", s);
}

char *formatted(const char *format, ...)
{
	va_list args;
	char *s;
	int n;

	va_start(args, format);
	n = vasprintf(&s, format, args);
	va_end(args);
	if (n < 0)
		fail("out of memory");
	return s;
}

long number(const char *option, const char *text, long min, long max)
{
	char *end;
	long n;

	errno = 0;
	n = strtol(text, &end, 10);
	if (errno || !isdigit((unsigned char)*text) || *end || n < min ||
	    n > max)
		fail("--%s '%s' is not a number from %ld to %ld", option, text,
		     min, max);
	return n;
}

/* -- can the program be preloaded? */

static char *find_program(const char *name)
{
	char *path = getenv("PATH"), *dirs, *full, *dir;

	if (strchr(name, '/'))
		return access(name, X_OK) == 0 ? copy(name) : NULL;
	dirs = copy(path ? path : "/usr/bin:/bin");
	while ((dir = strsep(&dirs, ":")) != NULL) {
		struct stat st;

		full = formatted("%s/%s", *dir ? dir : ".", name);
		if (access(full, X_OK) == 0 && stat(full, &st) == 0 &&
		    S_ISREG(st.st_mode))
			return full;
	}
	return NULL;
}

/* It gets rights that its caller lacks: then the loader ignores LD_PRELOAD. */
static bool gains_rights(const char *path)
{
	struct stat st;
	char caps[64];

	if (stat(path, &st) < 0)
		return false;
	return (st.st_mode & S_ISUID && st.st_uid != getuid()) ||
	       (st.st_mode & S_ISGID && st.st_gid != getgid()) ||
	       (getuid() &&
		getxattr(path, "security.capability", caps, sizeof(caps)) > 0);
}

static bool has_loader(int fd, const Elf64_Ehdr *e)
{
	for (unsigned i = 0; i < e->e_phnum; i++) {
		Elf64_Phdr ph;
		off_t at = (off_t)(e->e_phoff + i * sizeof(ph));

		if (pread(fd, &ph, sizeof(ph), at) == sizeof(ph) &&
		    ph.p_type == PT_INTERP)
			return true;
	}
	return false;
}

/* Of a script, its interpreter is looked at: that is what runs. */
static void check_file(const char *path, int depth)
{
	union {
		char text[256];
		Elf64_Ehdr elf;
	} head = { .text = "" };
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? 0 : read(fd, &head, sizeof(head) - 1);
	char *s = head.text + 2, *word;

	if (gains_rights(path))
		fail("%s is set-user-ID, or gets rights in another way: the "
		     "system does not let it be preloaded",
		     path);
	if (n > 2 && memcmp(head.text, "#!", 2) == 0 && depth < 4) {
		s[strcspn(s, "\n")] = '\0';
		s += strspn(s, " \t");
		word = strsep(&s, " \t");
		if (s && strcmp(basename(word), "env") == 0)
			word = find_program(s + strspn(s, " \t"));
		if (word && access(word, X_OK) == 0)
			check_file(word, depth + 1);
	} else if (n >= (ssize_t)sizeof(head.elf) &&
		   memcmp(head.text, ELFMAG, SELFMAG) == 0) {
		if (head.elf.e_ident[EI_CLASS] != ELFCLASS64 ||
		    head.elf.e_machine != MACHINE)
			fail("%s is a program for another kind of machine: the "
			     "library can't be preloaded into it",
			     path);
		if (!has_loader(fd, &head.elf))
			fail("%s is linked statically: nothing can be "
			     "preloaded into it",
			     path);
	}
	if (fd >= 0)
		close(fd);
}

void check_command(char **cmd)
{
	char *path;

	if (!cmd[0])
		fail("no command given; see alloc help");
	path = find_program(cmd[0]);
	if (!path)
		fail("no program %s", cmd[0]);
	check_file(path, 0);
}

/* The loader would say so, and run the program without. */
static void check_library(const char *so)
{
	Elf64_Ehdr e = { .e_type = ET_NONE };
	int fd = open(so, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || read(fd, &e, sizeof(e)) != sizeof(e) ||
	    memcmp(e.e_ident, ELFMAG, SELFMAG) != 0 ||
	    e.e_ident[EI_CLASS] != ELFCLASS64 || e.e_type != ET_DYN ||
	    e.e_machine != MACHINE)
		fail("%s is no library for this kind of machine", so);
	close(fd);
}

/* -- alloc run */

static sighandler_t old_chld; /* what CMD is to have */

static const char run_help[] =
	"usage: alloc run [OPTION...] [--] CMD...\n"
	"\n"
	"Runs CMD on the allocator, and ends as CMD ends. The library is\n"
	"added to LD_PRELOAD, behind what is there.\n"
	"\n"
	"  --thresh N   freed blocks of OS memory kept (ALLOC_THRESH)\n"
	"  --direct     a mapping for every block (ALLOC_DIRECT)\n"
	"  --check N    level of checks, 1 to 3 (ALLOC_CHECK)\n"
	"  --stats      at the end, on standard error: what each process\n"
	"               held, and asked of the kernel\n"
	"  --lib FILE   the library; default: allocator.so beside this\n"
	"               program, or where it was installed\n"
	"  --help       this\n"
	"\n"
	"Exit status: that of CMD; 2 when it can't be run.\n"
	"Example: alloc run --thresh 50 --stats -- sort /etc/services\n";

static volatile pid_t running; /* 0: its number may be another's by now */

static void pass_on(int sig)
{
	if (running)
		kill(running, sig);
}

/*
 * What is sent to us is meant for CMD. INT and QUIT are what a terminal sends
 * to all of its foreground: CMD has them already, as under system().
 */
static void pass_signals_on(void)
{
	static const int signals[] = { SIGHUP,  SIGTERM,  SIGUSR1, SIGUSR2,
				       SIGALRM, SIGWINCH, SIGCONT };
	struct sigaction act = { .sa_handler = pass_on,
				 .sa_flags = SA_RESTART };

	for (size_t i = 0; i < COUNT(signals); i++)
		sigaction(signals[i], &act, NULL);
	signal(SIGINT, SIG_IGN);
	signal(SIGQUIT, SIG_IGN);
	signal(SIGPIPE, SIG_IGN); /* nobody reads the statistics */
}

_Noreturn static void not_started(const char *name, int error)
{
	fail("%s could not be started: %s", name, strerror(error));
}

/* Prints what the processes of CMD have written, and ends as CMD did. */
_Noreturn static void run_with_statistics(char **cmd)
{
	char *path = temp_file(TEMP_STATS), line[512];
	sigset_t all, old;
	siginfo_t info;
	int status, told[2], error = 0;
	pid_t pid;
	FILE *f;

	setenv("ALLOC_STATS", path, 1);
	sigfillset(&all);
	sigprocmask(SIG_BLOCK, &all, &old);
	pid = pipe2(told, O_CLOEXEC) < 0 ? -1 : fork();
	if (pid < 0)
		fail("no process can be started: %s", strerror(errno));
	if (pid == 0) {
		sigprocmask(SIG_SETMASK, &old, NULL);
		signal(SIGCHLD, old_chld);
		execvp(cmd[0], cmd);
		error = errno;
		_exit(write(told[1], &error, sizeof(error)) < 0);
	}
	close(told[1]);
	if (read(told[0], &error, sizeof(error)) > 0)
		not_started(cmd[0], error);
	close(told[0]);
	running = pid;
	pass_signals_on();
	sigprocmask(SIG_SETMASK, &old, NULL);
	while (waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT) < 0 &&
	       errno == EINTR)
		;
	running = 0;
	waitpid(pid, &status, 0);
	if (status)
		report_end(cmd[0], WIFSIGNALED(status) ? -WTERMSIG(status) :
							 WEXITSTATUS(status));
	f = fopen(path, "r");
	while (f && fgets(line, sizeof(line), f))
		fputs(line, stderr);
	temp_remove();
	if (!WIFSIGNALED(status))
		exit(WEXITSTATUS(status));
	signal(WTERMSIG(status), SIG_DFL);
	raise(WTERMSIG(status));
	exit(128 + WTERMSIG(status));
}

static void set_preload(const char *so)
{
	const char *old = getenv("LD_PRELOAD");
	char *value;

	value = formatted("%s%s%s", old ? old : "", old && *old ? ":" : "", so);
	setenv("LD_PRELOAD", value, 1);
}

int run_main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "thresh", required_argument, NULL, 't' },
		{ "direct", no_argument, NULL, 'd' },
		{ "check", required_argument, NULL, 'c' },
		{ "stats", no_argument, NULL, 's' },
		{ "lib", required_argument, NULL, 'l' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 }
	};
	const char *lib = NULL, *so;
	bool stats = false;
	int opt;

	while ((opt = getopt_long(argc, argv, "+", options, NULL)) != -1) {
		switch (opt) {
		case 't':
			number("thresh", optarg, 0, 65536);
			setenv("ALLOC_THRESH", optarg, 1);
			break;
		case 'd': setenv("ALLOC_DIRECT", "1", 1); break;
		case 'c':
			number("check", optarg, 1, 3);
			setenv("ALLOC_CHECK", optarg, 1);
			break;
		case 's': stats = true; break;
		case 'l': lib = optarg; break;
		case 'h': fputs(run_help, stdout); return 0;
		default: return 2;
		}
	}
	argv += optind;
	check_command(argv);
	so = library_path(lib);
	check_library(so);
	set_preload(so);
	if (stats)
		run_with_statistics(argv);
	signal(SIGCHLD, old_chld);
	execvp(argv[0], argv);
	not_started(argv[0], errno);
}

/* -- main */

static const char help[] =
	"usage: alloc COMMAND [OPTION...]\n"
	"\n"
	"  run       run a program on the allocator\n"
	"  sweep     measure a program over ALLOC_THRESH, and recommend one\n"
	"  compare   measure a program on several allocators\n"
	"  bench     measure our own workloads on several allocators\n"
	"  bars      draw a data file as bars of text\n"
	"  help      this; alloc help COMMAND tells more\n"
	"\n"
	"  --version, --help\n"
	"\n"
	"Exit status: 0; 1 if something measured went wrong; 2 for bad\n"
	"usage; 130 when interrupted. alloc run ends as the program does.\n";

static int help_main(int argc, char **argv);

static int version_main(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	puts("alloc " ALLOCATOR_VERSION);
	return 0;
}

static const struct {
	const char *name;
	int (*run)(int argc, char **argv);
} commands[] = {
	{ "run", run_main },         { "sweep", sweep_main },
	{ "compare", compare_main }, { "bench", bench_main },
	{ "bars", bars_main },       { "launch", launch_main },
	{ "help", help_main },       { "--help", help_main },
	{ "-h", help_main },         { "--version", version_main },
};

/* Messages of getopt() begin with the name of the program. */
static int command_main(const char *name, int argc, char **argv)
{
	for (size_t i = 0; i < COUNT(commands); i++)
		if (strcmp(name, commands[i].name) == 0) {
			argv[0] = "alloc";
			return commands[i].run(argc, argv);
		}
	fail("no command '%s'; see alloc help", name);
}

/* Of a command, if one is named. */
static int help_main(int argc, char **argv)
{
	char *ask[] = { "alloc", "--help", NULL };

	if (argc > 1 && strncmp(argv[1], "-", 1) != 0 &&
	    strcmp(argv[1], "help") != 0)
		return command_main(argv[1], 2, ask);
	fputs(help, stdout);
	return 0;
}

int main(int argc, char **argv)
{
	int status;

	/* Ignored, it would hide how a child ended. */
	old_chld = signal(SIGCHLD, SIG_DFL);
	atexit(temp_remove);
	if (argc < 2)
		fail("no command; see alloc help");
	status = command_main(argv[1], argc - 1, argv + 1);
	if (fflush(stdout) || ferror(stdout))
		fail("standard output can't be written");
	return status;
}
