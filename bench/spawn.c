/*
 * spawn - A shell script: 300 short-lived programs, one after another.
 *
 * What an allocator costs a program that hardly uses it: this one, with an
 * argument, which allocates 100 blocks, frees them and ends.
 */
#include "bench.h"
#include <spawn.h>
#include <sys/wait.h>

enum { PROGRAMS = 300, BLOCKS = 100, LARGEST = 2000 };

/* The program that is started: its sum is its output. */
static int child(uint64_t number)
{
	struct block block[BLOCKS];
	uint64_t state = bench_seed(number), sum = 0;

	for (int i = 0; i < BLOCKS; i++) {
		uint64_t r = bench_random(&state);

		block[i] = bench_make(bench_between(16, LARGEST, r), r);
	}
	for (int i = 0; i < BLOCKS; i++)
		sum = sum * 31 + bench_drop(block[i]);
	return write(STDOUT_FILENO, &sum, sizeof(sum)) != sizeof(sum);
}

static void run(int number, const posix_spawn_file_actions_t *actions)
{
	char name[] = "spawn", argument[16], *argv[] = { name, argument, NULL };
	int error, status;
	pid_t pid;

	snprintf(argument, sizeof(argument), "%d", number);
	error = posix_spawn(&pid, "/proc/self/exe", actions, NULL, argv,
			    environ);
	if (error)
		bench_fail("posix_spawn", error);
	if (waitpid(pid, &status, 0) != pid || status != 0)
		bench_fail("a program that was started", ECHILD);
}

int main(int argc, char **argv)
{
	posix_spawn_file_actions_t actions;
	uint64_t sum = 0, one;
	int fd[2];

	if (argc > 1)
		return child(strtoull(argv[1], NULL, 10));
	if (pipe2(fd, O_CLOEXEC) < 0)
		bench_fail("pipe", errno);
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, fd[1], STDOUT_FILENO);
	bench_start();
	for (int i = 0; i < PROGRAMS; i++) {
		run(i, &actions);
		if (read(fd[0], &one, sizeof(one)) != sizeof(one))
			bench_fail("read", errno);
		sum = sum * 31 + one;
	}
	posix_spawn_file_actions_destroy(&actions);
	return bench_done("spawn", sum, 2 * PROGRAMS * BLOCKS);
}
