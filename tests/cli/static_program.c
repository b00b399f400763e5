/* SPDX-License-Identifier: MIT */
/* Linked statically: a program into which nothing can be preloaded. */
#include <stdio.h>

int main(void)
{
	puts("the static program has run");
	return 0;
}
