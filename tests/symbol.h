/* What the symbol of a kernel instance says. */
#ifndef TESTS_SYMBOL_H
#define TESTS_SYMBOL_H

#include <stdbool.h>

/* The n numbers of "...KERNEL_WHATLi1ELi2EE" in a mangled symbol, `what` being "case" or "config";
 * zeros at the end need not be written. False when there are none. */
bool symbol_values(const char *symbol, const char *kernel, const char *what, int *values, int n);

#endif
