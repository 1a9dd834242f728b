/*
 * account.h - what is mapped, and what the allocator says of it, for fault.c.
 */
#ifndef ACCOUNT_H
#define ACCOUNT_H

#include "test.h"

/* Unlike dprintf this does not allocate: each child is to do that first. */
__attribute__((format(printf, 1, 2))) TEST_UNUSED static void
say(const char *format, ...)
{
	char text[256];
	va_list ap;
	int len;

	va_start(ap, format);
	len = vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	CHECK(len < (int)sizeof(text) && write(1, text, (size_t)len) == len);
}

/* A figure of the line that malloc_stats writes to standard error */
TEST_UNUSED static size_t stats(const char *name)
{
	int file = memfd_create("stats", 0), err = dup(2);
	char text[1024] = "";
	const char *s;

	CHECK(file >= 0 && err >= 0 && dup2(file, 2) == 2);
	malloc_stats();
	CHECK(dup2(err, 2) == 2 && pread(file, text, sizeof(text) - 1, 0) > 0);
	close(err);
	close(file);
	s = strstr(text, name);
	CHECKF(s, "%s%s", text, name);
	return strtoul(s + strlen(name), NULL, 10);
}

/*
 * What is mapped and not held for blocks: the program itself, the heaps. The
 * page map grows with the addresses that the kernel gives; it is told by its
 * being the only memory without reserve.
 */
TEST_UNUSED static ssize_t unaccounted(void)
{
	static char text[16 * MIB];
	int file = open("/proc/self/smaps", O_RDONLY | O_CLOEXEC);
	size_t len = 0, size = 0, map = 0;
	const char *s = text;
	ssize_t n;

	CHECK(file >= 0);
	while ((n = read(file, text + len, sizeof(text) - 1 - len)) > 0)
		len += (size_t)n;
	CHECK(n == 0 && len < sizeof(text) - 1);
	close(file);
	text[len] = '\0';
	for (; s; s = strchr(s + 1, '\n')) {
		if (strncmp(s, "\nSize:", 6) == 0)
			size = strtoul(s + 6, NULL, 10) * KIB;
		if (strncmp(s, "\nVmFlags:", 9) == 0 &&
		    memmem(s, strcspn(s + 1, "\n"), " nr", 3))
			map += size;
	}
	return (ssize_t)(test_status("VmSize:") - stats(" system=") - map);
}

#endif
