/*
 * case_audit.c - an auditor of the loader that allocates whenever it is asked.
 * It has a C library of its own, and the allocator too when linked to it.
 */
#define _GNU_SOURCE
#include <link.h>
#include <stdlib.h>
#include <string.h>

static void stir(void)
{
	enum { BLOCKS = 40 };
	void *p[BLOCKS];
	int i;

	for (i = 0; i < BLOCKS; i++) {
		size_t n = (size_t)(i * i) * 200 + 1;

		p[i] = malloc(n);
		if (!p[i])
			_Exit(66);
		memset(p[i], i, n);
	}
	for (i = 0; i < BLOCKS; i++)
		free(p[i]);
}

unsigned int la_version(unsigned int version)
{
	stir();
	return version;
}

unsigned int la_objopen(struct link_map *map, Lmid_t id, uintptr_t *cookie)
{
	(void)map;
	(void)id;
	(void)cookie;
	stir();
	return LA_FLG_BINDTO | LA_FLG_BINDFROM;
}

uintptr_t la_symbind64(Elf64_Sym *sym, unsigned int index, uintptr_t *from,
		       uintptr_t *to, unsigned int *flags, const char *name)
{
	(void)index;
	(void)from;
	(void)to;
	(void)flags;
	(void)name;
	free(malloc(3000));
	return sym->st_value;
}
