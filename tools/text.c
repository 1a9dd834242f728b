/*
 * text.c - text on a terminal: characters, columns, what can't be shown.
 *
 * A column is a character: wide ones, and those that combine, are not known.
 */
#include "alloc.h"

bool is_utf8(void)
{
	static const char *const names[] = { "LC_ALL", "LC_CTYPE", "LANG" };
	const char *value;
	size_t i;

	for (i = 0; i < COUNT(names); i++) {
		value = getenv(names[i]);
		if (value && *value)
			return strcasestr(value, "utf-8") ||
			       strcasestr(value, "utf8");
	}
	return false;
}

size_t utf8_bytes(const char *s)
{
	/* The least character of a length is no shorter one in disguise. */
	static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	const unsigned char *u = (const unsigned char *)s;
	size_t n = u[0] >= 0xf0 ? 4 : u[0] >= 0xe0 ? 3 : 2, i;
	uint32_t point = u[0] & (0xffU >> (n + 1));

	if (u[0] < 0x80)
		return 1;
	if (u[0] < 0xc0 || u[0] > 0xf7)
		return 0;
	for (i = 1; i < n; i++) {
		if ((u[i] & 0xc0) != 0x80)
			return 0;
		point = point << 6 | (u[i] & 0x3f);
	}
	if (point < least[n] || point > 0x10ffff ||
	    (point >= 0xd800 && point <= 0xdfff) || (point & 0xfffe) == 0xfffe)
		return 0;
	return n;
}

/* The same, but 0 for a control, which can't be shown */
static size_t character(const char *s)
{
	const unsigned char *u = (const unsigned char *)s;

	if (u[0] < 0x20 || u[0] == 0x7f || (u[0] == 0xc2 && u[1] < 0xa0))
		return 0;
	return utf8_bytes(s);
}

size_t columns(const char *s)
{
	size_t count, n;

	for (count = 0; *s; count++) {
		n = character(s);
		s += n ? n : 1;
	}
	return count;
}

size_t put_text(FILE *out, const char *s, size_t limit)
{
	size_t all = columns(s), keep = all > limit ? limit - 1 : all, i, n;

	for (i = 0; i < keep; i++) {
		n = character(s);
		if (n)
			fwrite(s, 1, n, out);
		else
			putc('?', out);
		s += n ? n : 1;
	}
	if (keep == all)
		return all;
	fputs(is_utf8() ? "\u2026" : "~", out);
	return limit;
}

char *shown(const char *s, size_t limit)
{
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	if (out)
		put_text(out, s, limit);
	if (!out || fclose(out) != 0)
		fail("out of memory");
	return text;
}

char *command_text(char **cmd)
{
	char *text = copy(cmd[0]);

	while (*++cmd)
		text = formatted("%s %s", text, *cmd);
	return text;
}
