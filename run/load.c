/* SPDX-License-Identifier: MIT
 *
 * load.c - what is loaded later has the same malloc as the program.
 *
 * RTLD_DEEPBIND has a library find its names in itself and in what it depends on first, so that its malloc would be libc's, while what it gets from the
 * program and gives to it is the runtime's. The flag is taken away (PHP's extensions are loaded with it). Who calls tells libc where to look, so the
 * way to it is a jump.
 */
#include <dlfcn.h>

#include "run/runtime.h"

__attribute__((visibility("hidden"))) void *rt_next_dlopen;
__attribute__((visibility("hidden"))) void *rt_find_dlopen(void);

void *rt_find_dlopen(void)
{
	return rt_next_dlopen = dlsym(RTLD_NEXT, "dlopen");
}

/* The runtime starts before libc has an environment, and a program may have a getenv of its own (sudo). What is linked into the runtime asks for settings of its
 * own, which aren't the program's. */
char *__wrap_getenv(const char *name);
char *__wrap_getenv(const char *name)
{
	return NULL;
}

char *__wrap_secure_getenv(const char *name);
char *__wrap_secure_getenv(const char *name)
{
	return NULL;
}

#if defined(__x86_64__)
_Static_assert(RTLD_DEEPBIND == 8, "in the code below");
__asm__(".text\n"
	".globl dlopen\n"
	".type dlopen,@function\n"
	"dlopen:\n"
	"	.cfi_startproc\n"
	"	and $~8, %esi\n"
	"	mov rt_next_dlopen(%rip), %rax\n"
	"	test %rax, %rax\n"
	"	jz 1f\n"
	"	jmp *%rax\n"
	"1:	push %rdi\n"
	"	.cfi_adjust_cfa_offset 8\n"
	"	push %rsi\n"
	"	.cfi_adjust_cfa_offset 8\n"
	"	sub $8, %rsp\n"
	"	.cfi_adjust_cfa_offset 8\n"
	"	call rt_find_dlopen\n"
	"	add $8, %rsp\n"
	"	.cfi_adjust_cfa_offset -8\n"
	"	pop %rsi\n"
	"	.cfi_adjust_cfa_offset -8\n"
	"	pop %rdi\n"
	"	.cfi_adjust_cfa_offset -8\n"
	"	jmp *%rax\n"
	"	.cfi_endproc\n"
	".size dlopen,.-dlopen\n");
#endif
