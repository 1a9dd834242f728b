/*
 * case_hello.c - a program of 32 bits that needs no more of the compiler than
 * -nostdlib: it is linked to the C library itself, for which headers may lack.
 */
int puts(const char *s);
void exit(int status);

__attribute__((force_align_arg_pointer)) void _start(void)
{
	puts("hello from 32 bits");
	exit(3);
}
